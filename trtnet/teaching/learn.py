"""Checks of a network that was written by hand, without a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..basics.bundled import bundled, models
from ..basics.dims import Dim, SizeLike, format_shape
from ..basics.errors import ArgumentError, BuildError, ShapeError, TrtnetError, WeightsError, nearest, shown
from ..graph.graph import Graph, Input
from ..graph.tensor import Producer, Tensor, seeded
from ..rewriting.composing import for_provider
from ..tensorrt import provider as providers
from ..weights.recipes import Weight, evaluate
from .reading import from_network

if TYPE_CHECKING:
    from ..tensorrt.bindings import INetworkDefinition

CLOSE = 1e-4
"""How far outputs may be apart, relative to the largest one: of float32 that is rounded in another order."""

TRAINED = {"lenet": "weights/lenet.safetensors"}
"""Goals whose trained weights come with trtnet."""
ANY_BATCH = Dim("batch", min=1, opt=2, max=8)


class Checked:
    """What differs between a network and its goal; true where nothing does. `print` shows it.

    Attributes:
        differences: each as an error, with what was expected and found; what they follow from comes first.
    """

    def __init__(self, differences: Sequence[TrtnetError]) -> None:
        self.differences = tuple(differences)

    def __bool__(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.differences)) or "the network computes what its goal does"

    __repr__ = __str__


def goal(name: str, batch: SizeLike = 1) -> Graph:
    """A network that comes with trtnet, recorded: what an exercise is to become, and where its weights are.

    `goal("lenet")` has the trained weights. Those of the others are initial values, the same at each call; what
    `trtnet.manual_seed` was given does not matter, and is left as it was.

    Args:
        name: one of those that `trtnet models` lists: "lenet", "resnet18", ...
        batch: the first size of each input; the others are those that are listed.

    Raises:
        ArgumentError: there is no network of this name.

    >>> weights = trtnet.learn.goal("lenet").state_dict()
    >>> weights["conv1.weight"].shape
    (20, 1, 5, 5)
    """
    from ..recording import record  # the door up (tests/test_imports.py)

    package = models()
    if not isinstance(name, str) or name not in package.NETWORKS:
        near = nearest(name, package.NETWORKS) if isinstance(name, str) else None
        raise ArgumentError(
            "there is no goal of this name",
            expected=", ".join(package.NETWORKS),
            found=shown(name),
            remedy="list them: trtnet models" if near is None else f"did you mean {near!r}?",
        )
    listed = package.NETWORKS[name]
    file, _, made_by = listed.made_by.partition(":")
    with seeded(0):
        network = getattr(importlib.import_module(f"{package.__name__}.{file}"), made_by)()
    if name in TRAINED:
        network.load_weights(bundled(TRAINED[name]))
    inputs: dict[str, Any] = {}
    for text in listed.inputs.split():
        key, _, rest = text.partition("=")
        sizes, _, dtype = rest.partition(":")
        inputs[key] = Input((batch, *map(int, sizes.split("x")[1:])), dtype or "float32")
    return record(network, **inputs)


def check(goal: Graph | str, network: INetworkDefinition) -> Checked:
    """Compare an INetworkDefinition with a graph: inputs, layers one by one, weights, and what they compute.

    The network is made with TensorRT's own API; nothing is built, and no GPU is needed. Layers may have any names, and
    stand in any order; where the kinds differ, what is computed says whether that matters. The numbers are the
    reference's, so PyTorch is needed.

    Args:
        goal: what the network should be, recorded; its Dims stand for the network's dynamic sizes. Or a name that
            `trtnet.learn.goal` takes: that goal, in the network's own batch, which may be dynamic.
        network: what was written.

    Raises:
        ArgumentError: there is no goal of this name; and what `trtnet.from_network` raises, ArgumentError and
            UnsupportedError.
    """
    provider = providers.of(network)
    if not isinstance(goal, Graph):
        goal = _goal_of(goal, network)
    wanted = for_provider(goal, provider)
    found = list(_ends(wanted, network))
    if found:
        return Checked(found)
    read = from_network(network, **{n: Input(t.shape, t.dtype) for n, t in wanted.inputs.items()})
    found += _layers(wanted, read)
    wrong = _outputs(goal, read)
    # other layers that compute the same are as right
    return Checked([*found, *wrong] if wrong else [one for one in found if isinstance(one, WeightsError)])


def _goal_of(name: str, network: Any) -> Graph:
    """The goal of a name, in the batch of the network's first input."""
    batch = network.get_input(0).shape[0] if network.num_inputs and len(network.get_input(0).shape) else 1
    return goal(name, ANY_BATCH if batch == -1 else batch)


def _ends(wanted: Graph, network: Any) -> Iterator[TrtnetError]:
    """What differs in the inputs, and in the names and shapes of the outputs."""
    for what, tensors in (("input", wanted.inputs), ("output", wanted.outputs)):
        natives = [getattr(network, f"get_{what}")(i) for i in range(getattr(network, f"num_{what}s"))]
        given = {native.name: tuple(native.shape) for native in natives}
        if list(given) != list(tensors):
            yield BuildError(
                f"the network has other {what}s",
                expected=", ".join(tensors),
                found=", ".join(given) or "none",
                remedy='network.add_input("name", ...)'
                if what == "input"
                else 'tensor.name = "name"; network.mark_output(tensor)',
            )
            continue
        for name, tensor in tensors.items():
            shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
            if given[name] != shape:
                yield ShapeError(
                    f"the {what} {name!r} has another shape",
                    expected=format_shape(shape),
                    found=format_shape(given[name]),
                    remedy="the layers just before it decide that"
                    if what == "output"
                    else "a size that may change is -1, and stands in an optimization profile",
                )


def _layers(wanted: Graph, read: Graph) -> list[TrtnetError]:
    """What differs between layers of the same place; the first where a kind does."""
    found: list[TrtnetError] = []
    for one, other in zip(wanted.layers, read.layers):
        place = f"{other.name!r}, which stands for {one.name!r}"
        if one.kind != other.kind:
            return [*found, _difference(f"the layer {place} is of another kind", one.headline(), other.headline(), one)]
        if one.headline() != other.headline():
            found.append(_difference(f"the layer {place} does another thing", one.headline(), other.headline(), one))
        for name in one.attributes:
            a, b = getattr(one, name), getattr(other, name)
            if str(a) != str(b) and not isinstance(a, str):
                text = f"the layer {place} has another {name}"
                found.append(_difference(text, f"{name} = {a}", f"{name} = {b}", one))
        found += _weights(one, other, place)
    if len(wanted.layers) != len(read.layers):
        counts = f"{len(wanted.layers)} layers", f"{len(read.layers)} layers"
        found.append(_difference("the network has another number of layers", *counts, None))
    return found


def _difference(problem: str, expected: str, found: str, layer: Producer | None) -> TrtnetError:
    return BuildError(
        problem,
        expected=expected,
        found=found,
        module=layer.path or None if layer is not None else None,
        where=layer.location if layer is not None else None,
        remedy="the goal's explain() shows the calls that are wanted",
    )


def _weights(one: Producer, other: Producer, place: str) -> Iterator[TrtnetError]:
    for a, b in zip(one.inputs, other.inputs):
        if not isinstance(a, Weight) or not isinstance(b, Weight):
            if (a is None) != (b is None) and not (isinstance(a, Tensor) or isinstance(b, Tensor)):
                given = [str(w.name) if isinstance(w, Weight) else "none" for w in (a, b)]
                yield _difference(f"the layer {place} has other weights", given[0], given[1], one)
            continue
        left, right = (np.asarray(evaluate(w, lambda leaf: leaf.value.read())).reshape(-1) for w in (a, b))
        if left.size != right.size or left.dtype != right.dtype or left.tobytes() != right.tobytes():
            same = left.size == right.size
            count = int((left != right).sum()) if same else 0
            yield WeightsError(
                f"the layer {place} has other weights than {a.name or 'the constant of the goal'}",
                expected=f"{a.count} numbers of {a.dtype}, from {left[:3]}",
                found=f"{b.count} numbers of {b.dtype}, from {right[:3]}" + (f"; {count} differ" if same else ""),
                module=one.path or None,
                where=one.location,
                remedy="give them the values of the goal's state_dict(), in the layout that its explain() shows; an "
                "array must live until the network is built",
            )


def _outputs(goal: Graph, read: Graph) -> list[TrtnetError]:
    """What differs in the numbers, of random inputs: at the best sizes, at the smallest, and beyond the best."""
    from ..pytorch.engine import reference  # the doors up (tests/test_imports.py)
    from ..pytorch.sampling import FREE, Sampler

    sampler = Sampler(goal)
    wanted, given = (reference(graph, dtype="float64") for graph in (goal, read))
    tried = [
        {name: size(symbol) for name, symbol in goal.dims.items()}
        for size in (lambda d: d.opt, lambda d: d.min, lambda d: min(d.opt + d.multiple_of, d.max))
    ]
    found: list[TrtnetError] = []
    for sizes in [one for place, one in enumerate(tried) if one not in tried[:place]]:
        for free in FREE:
            inputs: dict[str, Any] = sampler.draw(sizes, free=free)
            try:
                left = _named(goal, wanted(**inputs))
            except TrtnetError as error:  # these numbers, or sizes, may be none that the goal takes
                found = [error] if sizes == tried[0] else []
                continue
            try:
                found = list(_numbers(left, _named(read, given(**inputs)), sizes))
            except TrtnetError as error:
                found = [error]
            break
        if found:
            return found
    return []


def _numbers(
    left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> Iterator[TrtnetError]:
    """What differs in outputs."""
    at = f", at {', '.join(f'{name} = {size}' for name, size in sizes.items())}" if sizes else ""
    for name, a in left.items():
        b = right[name]
        far = float(np.abs(a.astype(np.float64) - b).max(initial=0.0)) if a.shape == b.shape else float("nan")
        most = float(np.abs(a.astype(np.float64)).max(initial=0.0))
        if not far <= CLOSE * max(most, 1e-30):
            yield BuildError(
                f"the output {name!r} has other numbers",
                expected=f"{a.reshape(-1)[:4]}, within {CLOSE} of the largest",
                found=f"{b.reshape(-1)[:4]}{at}; the largest difference is {far:.3g}",
                remedy="the goal's explain() shows the calls that are wanted",
            )


def _named(graph: Graph, results: Any) -> dict[str, np.ndarray]:
    """The outputs by name, whatever form they have."""
    flat: list[np.ndarray] = []

    def collect(one: Any) -> None:
        if isinstance(one, dict):
            for value in one.values():
                collect(value)
        elif isinstance(one, (tuple, list)):
            for value in one:
                collect(value)
        elif one is not None:
            flat.append(np.asarray(one))

    collect(results)
    return dict(zip(graph.outputs, flat))
