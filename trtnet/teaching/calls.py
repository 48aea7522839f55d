"""A TensorRT that computes nothing and writes down each call: its builder, network, layers and tensors.

A `Provider` over it is as any other, so a graph is lowered, and a build configured, by the same code; no layer kind
knows of it. Shapes and types come from the graph's own inference, names and signatures from the bindings that are
installed, or from those that trtnet knows of the version (tensorrt/versions.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ..basics.errors import ArgumentError, ProviderError, UnsupportedError
from ..graph.graph import Graph
from ..graph.tensor import Producer, Tensor
from ..layers.targets import ILayer, ITensor, NativePlugin, PluginRequest
from ..tensorrt import provider as providers
from ..tensorrt.build.job import Job
from ..tensorrt.build.lowering import Lowering
from ..tensorrt.provider import MODULES, Provider
from ..tensorrt.versions import Installed, Names, Parameters, known

if TYPE_CHECKING:
    from ..tensorrt.bindings import Builder, INetworkDefinition

UNWRITTEN = frozenset(("error_recorder", "progress_monitor"))
"""Attributes by which trtnet hears of a build, and that are none of it."""


class Member:
    """A member of an enum."""

    def __init__(self, kind: str, name: str, number: int) -> None:
        self.kind, self.name, self.number = kind, name, number

    def __int__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"trt.{self.kind}.{self.name}"


@dataclass(slots=True, eq=False)
class Call:
    """One call, or one attribute that was set or read.

    Attributes:
        of: the object.
        name: of the method or the attribute.
        kind: "call", "set" or "read".
        arguments: what was given.
        result: what came of it.
        layer: the layer of the graph that is being added; None before the first and behind the last.
        parameters: the signature that it was taken by, where one is known.
    """

    of: Written
    name: str
    kind: str
    arguments: tuple[Any, ...]
    result: Any = None
    layer: Producer | None = None
    parameters: Parameters | None = None


class Known(Protocol):
    """What is known of the network in the making."""

    @property
    def adding(self) -> Producer | None:
        """The layer that is being added."""

    def recorded(self, native: Written) -> Tensor | None:
        """The tensor of the graph that an ITensor is."""


class Written:
    """An object of the bindings'. What it is asked stands in the journal of its module."""

    _module: Bindings
    _name = ""

    def __init__(self, *args: object) -> None:
        if type(self).__module__ != __name__:  # trtnet's own ILogger and the like
            return
        own = vars(self)
        own["made_of"] = args
        taken = self._module.taken(self._name, "__init__", args)
        if self._name != "Weights":
            self._module.note(self, self._name, "call", args, self, taken)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if type(self).__module__ == __name__ and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class _Attribute:
    """A property: what was set, or else what is known of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: Written | None, cls: type) -> Any:
        if owner is None:
            return self
        found = vars(owner).get(self.name)
        return owner._module.known_of(owner, self.name) if found is None else found

    def __set__(self, owner: Written, value: object) -> None:
        vars(owner)[self.name] = value
        if self.name not in UNWRITTEN:
            owner._module.note(owner, self.name, "set", (value,))


class _Method:
    """A method: what it gives is of the class that the signature says."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: Written | None, cls: type) -> Any:
        if owner is None:
            return self
        return lambda *args, **kwargs: owner._module.called(owner, self.name, args, kwargs)


class _Enum:
    """An enum, by the names of its members."""

    def __init__(self, kind: str, members: Iterator[str]) -> None:
        self.__members__ = {name: Member(kind, name, number) for number, name in enumerate(members)}
        vars(self).update(self.__members__)


class Bindings(ModuleType):
    """The bindings of one version.

    Attributes:
        journal: the calls, in their order.
        network: what is known of the network that is being made.
    """

    def __init__(self, name: str, names: Names) -> None:
        super().__init__(name)
        self.__version__ = names.version
        self._names = names
        self.journal: list[Call] = []
        self.network: Known | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self._names.offers(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        members = self._names.members(name)
        found: Any
        if members is None:  # a function of the module's
            raise AttributeError(name)
        if self._names.is_enum(name):
            found = _Enum(name, iter(members))
        else:
            own: dict[str, Any] = {"_module": self, "_name": name, "__module__": __name__}
            for member, is_method in members.items():
                if member != "__init__":
                    own[member] = _Method(member) if is_method else _Attribute(member)
            found = type(name, (Written,), own)
        setattr(self, name, found)
        return found

    # --- what objects do

    def taken(self, cls: str, method: str, args: tuple[Any, ...]) -> Parameters | None:
        """The signature that takes these arguments, by their number. Raises TypeError where none does."""
        signatures = self._names.calls(cls, method)
        found = next((one for one in signatures if one.take(len(args))), None)
        if found is None and signatures:
            raise TypeError(f"{cls}.{method} takes {' or '.join(', '.join(s.names) for s in signatures)}")
        return found

    def note(
        self, of: Written, name: str, kind: str, args: tuple[Any, ...], result: Any = None, by: Parameters | None = None
    ) -> None:
        layer = self.network.adding if self.network is not None else None
        self.journal.append(Call(of, name, kind, args, result, layer, by))

    def called(self, of: Written, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of a method."""
        own: dict[Any, Any] = vars(of)
        if method.startswith("get_") and (method, *args) in own:
            return own[method, *args]
        if kwargs:  # a user's, of a raw layer
            named = self._names.calls(of._name, method)
            args = (*args, *(kwargs[name] for one in named[:1] for name in one.names[len(args) :] if name in kwargs))
        by = self.taken(of._name, method, args)
        result = self._result(of, method, args, by)
        if method.startswith("set_") and args:  # what was set is what `get_` gives
            own[f"get_{method[4:]}", *args[:-1]] = args[-1]
        if method.startswith("get_"):
            own[method, *args] = result
        else:
            self.note(of, method, "call", args, result, by)
        return result

    def _result(self, of: Written, method: str, args: tuple[Any, ...], by: Parameters | None) -> Any:
        own = vars(of)
        if of._name == "INetworkDefinition" and method == "get_layer":
            return own["layers"][args[0]]
        name = "ITensor" if method == "get_output" and of._name != "INetworkDefinition" else by.result if by else ""
        if name in ("bool", "int"):
            return name == "bool" or 0
        cls = getattr(self, name, None) if name not in ("", "None", "str") else None
        if not isinstance(cls, type):
            return None
        made: Any = object.__new__(cls)
        vars(made)["made_of"] = (of, method, *args)
        if method.startswith(("add_", "set_condition")) and name.endswith(("Layer", "IAttention")):
            network = of if of._name == "INetworkDefinition" else vars(of)["made_of"][0]
            vars(network).setdefault("layers", []).append(made)
        if method == "add_input" and of._name == "INetworkDefinition":
            vars(made).update(name=args[0], dtype=args[1], shape=args[2])
        return made

    def known_of(self, of: Written, name: str) -> Any:
        """The value of an attribute that nobody has set. Raises UnsupportedError for what only TensorRT knows."""
        own = vars(of)
        if name == "num_layers":
            return len(own.get("layers", ()))
        if name == "num_outputs" and "layers" not in own:
            return 1
        if name == "name":
            return "(Unnamed Layer)"
        if name in UNWRITTEN:
            return None
        tensor = self.network.recorded(of) if self.network is not None and of._name == "ITensor" else None
        if tensor is not None and name == "shape":
            return tuple(s if isinstance(s, int) else -1 for s in tensor.shape)
        if tensor is not None and name == "dtype":
            assert isinstance(self.network, WrittenLowering)
            self.note(of, name, "read", ())
            return self.network.provider.native_type(tensor.dtype)
        if name in ("is_network_input", "is_network_output", "has_implicit_batch_dimension"):
            return False
        if of._name != "ITensor" and not of._name.endswith("Layer"):
            return None
        raise UnsupportedError(
            f"{of._name}.{name} is known to TensorRT alone, and no TensorRT takes part in writing calls down",
            expected="attributes that were set, and shapes and types of recorded tensors",
            found=f"{of._name}.{name}",
            remedy="read it of the tensors that the function is given, or have it in a variable",
        )


class WrittenLowering(Lowering):
    """A lowering onto a network that writes its calls down.

    Attributes:
        wanted: the plugins that the network has, where it is not refused for them.
    """

    def __init__(
        self, graph: Graph, network: INetworkDefinition, provider: Provider, takes_plugins: bool = False
    ) -> None:
        super().__init__(graph, network, provider)
        self._made: dict[int, Tensor] = {}
        self._takes_plugins = takes_plugins
        self.wanted: list[PluginRequest] = []

    @property
    def adding(self) -> Producer | None:
        return self._layer

    def recorded(self, native: Written) -> Tensor | None:
        if len(self._made) != len(self._tensors):
            self._made = {id(one): tensor for tensor, one in self._tensors.items()}
        return self._made.get(id(native))

    def require(self, tensor: Tensor, native: ITensor, remedy: str) -> None:
        """Nothing: the shape is the recorded one, as nobody infers another."""

    def check_outputs(self) -> None:
        """Nothing, likewise."""

    def plugin(self, wanted: PluginRequest) -> NativePlugin:
        if self._takes_plugins:
            self.wanted.append(wanted)
            return NativePlugin(self, 0)
        raise UnsupportedError(
            f"calls that make a plugin ({wanted.creator}) are not written down",
            expected="layers of TensorRT's own",
            found=f"the layer {wanted.layer}",
            remedy="give the plugin a composition, and name provider='tensorrt_rtx', which has no plugins",
        )

    def add(self, network: INetworkDefinition, tensors: Sequence[ITensor]) -> ILayer:
        """A layer in place of a plugin's, whose calls only its library could tell."""
        layer: Any = object.__new__(self.provider.trt.ILayer)
        assert self._layer is not None
        vars(layer).update(made_of=(network, "add_plugin", *tensors), num_outputs=len(self._layer.outputs))
        vars(network).setdefault("layers", []).append(layer)
        return layer


def provider_of(given: str | Provider | None) -> Provider:
    """A provider whose objects write down what they are asked.

    Args:
        given: "tensorrt" or "tensorrt_rtx", as it is installed, or as the newest that trtnet knows; of another version:
            "tensorrt==8.6.1"; an installed provider; None: the TensorRT that is installed, or the newest.

    Raises ArgumentError for what is none of these.
    """
    if isinstance(given, Provider):
        return Provider(given.name, Bindings(given.name, Installed(given.trt)))
    name, equals, version = (given or "").partition("==")
    if given is not None and (name not in MODULES or (equals and not version)):
        raise ArgumentError(
            "there is no such provider",
            expected=f"{' or '.join(MODULES)}, perhaps with a version: tensorrt==10.13",
            found=repr(given),
            remedy="leave it out for what is installed, or for the newest that is known",
        )
    found: Provider | None = None
    with contextlib.suppress(ProviderError):
        found = providers.find(name or None)
    if found is not None and version in ("", found.version):
        return Provider(found.name, Bindings(found.name, Installed(found.trt)))
    name = name or MODULES[0]
    return Provider(name, Bindings(name, known(name, version)))


@dataclass(eq=False)
class Writing:
    """A build that was written down.

    Attributes:
        graph: as it was lowered.
        provider: over the `Bindings` that have the calls.
        lowering: of the network.
        calls: in their order.
    """

    graph: Graph
    provider: Provider
    lowering: WrittenLowering
    calls: list[Call] = field(default_factory=list)


def written(job: Job, composed: Callable[[Graph, Provider], Graph], takes_plugins: bool = False) -> Writing:
    """The calls by which a job, whose provider `provider_of` gave, makes its network and tells its builder what to do.

    `composed` gives the graph as it is for a provider. The calls that make a plugin are not known: a network that has
    one is refused, or with `takes_plugins` lowered without these.
    """
    provider = job.provider
    bindings = provider.trt
    assert isinstance(bindings, Bindings)
    bindings.journal.clear()
    builder: Builder = provider.trt.Builder(provider.logger)
    network = provider.create_network(builder)
    network.name = job.graph.title
    lowering = WrittenLowering(composed(job.graph, provider), network, provider, takes_plugins)
    bindings.network = lowering
    lowering.run()
    job.configured(builder, network, lowering)
    return Writing(lowering.graph, provider, lowering, bindings.journal)
