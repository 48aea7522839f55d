"""What publishers and followers count, for Prometheus and for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from ..basics.errors import ArgumentError, ArgumentTypeError, ProviderError, shown
from .following import Follower
from .publishing import Publisher

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import CollectorRegistry

GAUGES = {
    "version": "The trainer's number of the weights",
    "lag": "How far the version is from the newest one",
    "age": "Seconds since the weights were published",
    "alive": "Whether the publisher lives",
}
COUNTERS = {
    "publishes": "Publishes",
    "refits": "Refits",
    "bytes": "Bytes moved",
    "changed": "Tensors that were moved, or engine weights that were changed",
    "failures": "Publishes or refits that failed",
    "went_back": "Versions that were lower than the one before",
    "calls": "Calls of the follower",
    "waits": "Calls that waited for newer weights",
    "waited": "Seconds that they waited",
    "seconds": "Seconds spent in publishes or refits",
}


class ScalarWriter(Protocol):
    """What takes scalars: torch.utils.tensorboard's SummaryWriter."""

    add_scalar: Callable[[str, float, int], object]


def expose(ends: Mapping[str, Publisher | Follower], registry: CollectorRegistry | None = None) -> None:
    """Show the metrics of publishers and followers to Prometheus, by its client: read when it asks.

    Each is `trtnet_fleet_NAME`, with labels `end` ("publisher" or "follower") and `name`. Needs the package
    prometheus_client: `pip install 'trtnet[prometheus]'`.

    Args:
        ends: by a name of its own for each; what is added to the mapping later is shown, too.
        registry: of prometheus_client; its default one unless given.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> with trtnet.fleet.Publisher("shm:example-of-metrics") as publisher:
    ...     _ = publisher.publish({"weight": np.ones(3, np.float32)}, version=17)
    ...     trtnet.fleet.expose({"learner": publisher}, registry)
    ...     registry.get_sample_value("trtnet_fleet_version", {"end": "publisher", "name": "learner"})
    17.0
    """
    try:
        import prometheus_client
    except ImportError:
        raise ProviderError(
            "metrics are shown by prometheus_client, which is not installed",
            remedy="pip install 'trtnet[prometheus]', or read publisher.metrics() and follower.metrics()",
        ) from None
    for name, end in ends.items():
        if not isinstance(end, (Publisher, Follower)):
            raise ArgumentTypeError(
                f"{name!r} has no metrics of a fleet", expected="a Publisher or a Follower", found=shown(end)
            )
    try:
        (prometheus_client.REGISTRY if registry is None else registry).register(_Collector(ends))
    except ValueError as error:
        raise ArgumentError(
            "this registry shows a fleet's metrics already",
            expected="one call of expose for each registry",
            found=str(error)[:200],
            remedy="give all ends in one mapping, which may grow afterwards",
        ) from None


class _Collector:
    def __init__(self, ends: Mapping[str, Publisher | Follower]) -> None:
        self.ends = ends

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The names alone, by which a registry tells collectors apart."""
        return iter(self._families())

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        families = self._families()
        for name, end in dict(self.ends).items():
            found, kind = end.metrics(), "publisher" if isinstance(end, Publisher) else "follower"
            for family, metric in zip(families, (*GAUGES, *COUNTERS)):
                if metric in found:
                    family.add_metric([kind, name], found[metric])
        return iter(families)

    def _families(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ("end", "name")
        return [
            *(GaugeMetricFamily(f"trtnet_fleet_{name}", said, labels=labels) for name, said in GAUGES.items()),
            *(CounterMetricFamily(f"trtnet_fleet_{name}", said, labels=labels) for name, said in COUNTERS.items()),
        ]


def add_scalars(writer: ScalarWriter, end: Publisher | Follower, step: int, prefix: str = "fleet/") -> None:
    """Write the metrics of a publisher or a follower as TensorBoard's scalars.

    >>> class Printer:
    ...     def add_scalar(self, tag, scalar_value, global_step):
    ...         if tag == "fleet/version":
    ...             print(tag, scalar_value, global_step)
    >>> with trtnet.fleet.Publisher("shm:example-of-scalars") as publisher:
    ...     _ = publisher.publish({"weight": np.ones(3, np.float32)}, version=17)
    ...     trtnet.fleet.add_scalars(Printer(), publisher, step=1000)
    fleet/version 17.0 1000
    """
    for name, value in end.metrics().items():
        writer.add_scalar(prefix + name, value, step)
