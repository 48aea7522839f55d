"""What a TensorRT lacks, or gets wrong, composed of other layers; and int32 in place of uint8."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any

from ..basics import dtypes
from ..basics.errors import TrtnetError
from ..basics.garbage import no_collection
from ..graph.graph import Graph, method
from ..graph.recorder import Recorder
from ..graph.tensor import Operand, Producer, Tensor
from ..layers.casting import Cast, in_int32
from ..layers.constant import Constant
from ..layers.targets import Features, Functions
from . import functions
from .folding import folded, with_copied_constants
from .rewriting import Rewriting

F: Functions = functions


@method
def for_provider(graph: Graph, provider: Features, refit: bool = True) -> Graph:
    with no_collection():
        made = _composed(graph, methodcaller("supported", provider), _used_by_layers(graph))
    if not provider.computes_constants:
        made = folded(made)
    kinds: set[type[Producer]] = set(map(type, made.layers))
    failing = {id(layer) for kind in kinds for layer in kind.failing(made, provider, refit)}
    made = _composed(made, lambda layer: id(layer) not in failing) if failing else made
    return made if provider.computes_constants else with_copied_constants(made)


def _used_by_layers(graph: Graph) -> Collection[Tensor]:
    """What layers take, where there is uint8 in the graph; else nothing."""
    made = chain.from_iterable(map(attrgetter("outputs"), graph.layers))
    if dtypes.uint8 not in set(map(attrgetter("dtype"), chain(graph.inputs.values(), made))):
        return ()
    return {o for layer in graph.layers for o in layer.inputs if type(o) is Tensor}


def _composed(graph: Graph, takes: Callable[[Producer], bool], used: Collection[Tensor] = ()) -> Graph:
    """The graph in which every layer that is not taken is composed of others, and uint8 is int32.

    `used` is what layers take, where there is uint8 at all.
    """
    layers = graph.layers
    widened = {layer for layer in layers if _is_widened(layer, used)} if used else set()
    taken = list(map(takes, layers))
    if not widened and all(taken):
        return graph
    first = next(i for i, layer in enumerate(layers) if not taken[i] or layer in widened)
    rewriting = Rewriting(graph)
    for layer in layers[:first]:
        rewriting.share(layer)
    new, replaced = rewriting.recorder, rewriting.replaced
    with rewriting:
        for layer, is_taken in zip(layers[first:], taken[first:]):
            is_wide = layer in widened
            if is_taken and not is_wide and rewriting.share(layer):
                continue
            operands = rewriting.in_place_of(layer)
            before = len(new.layers)
            if is_wide:
                result = _all_taken(new, before, layer.widened(F, tuple([in_int32(o) for o in operands])), takes)
            elif is_taken:
                result = layer.again(operands, new)
            else:
                result = _all_taken(new, before, _instead(layer, operands), takes)
            if len(new.layers) == before or not _gives(new.layers[-1], result, layer.outputs):
                rewriting.replace(layer, result)
        outputs = {name: _narrowed(rewriting, t, replaced.get(t, t)) for name, t in graph.outputs.items()}
    return rewriting.graph(outputs)


def _instead(layer: Producer, operands: tuple[Operand, ...]) -> Any:
    """Record what a layer is composed of. Raises ProviderError where that is nothing, with the user's line."""
    try:
        return layer.compose(F, *operands)
    except TrtnetError as error:
        error.module, error.where = error.module or layer.path or None, layer.location or error.where
        raise


def _is_widened(layer: Producer, used: Collection[Tensor]) -> bool:
    """Whether uint8 is int32 in this layer; `used` is what layers take."""
    if not layer.has_bytes:
        return False
    if not layer.passes_bytes:
        return True
    inside = [o for o in layer.inputs if type(o) is Tensor and o.layer is not None]
    return any(t.dtype is dtypes.uint8 for t in (*inside, *(o for o in layer.outputs if o in used)))


def _narrowed(rewriting: Rewriting, recorded: Tensor, tensor: Tensor) -> Tensor:
    """An output of the network: uint8 again, where it was made int32."""
    if tensor.dtype is recorded.dtype:
        return tensor
    rewriting.in_place_of(recorded.layer)
    emit = rewriting.recorder.emit
    made: Tensor = emit(Cast((emit(Cast((tensor,), dtypes.float32)),), dtypes.uint8))
    return made


def _all_taken(recorder: Recorder, before: int, result: Any, takes: Callable[[Producer], bool]) -> Any:
    """What was recorded since `before`, composed in its turn where a layer of it is not taken."""
    added = recorder.layers[before:]
    if all(map(takes, added)):
        return result
    del recorder.layers[before:]
    replaced: dict[Tensor, Tensor] = {}
    for inner in added:
        inner_operands = tuple(replaced.get(o, o) if type(o) is Tensor else o for o in inner.inputs)
        again = _again(recorder, inner, inner_operands, takes)
        for old, tensor in zip(inner.outputs, again if isinstance(again, tuple) else (again,)):
            replaced[old] = tensor
    for key, tensor in recorder.constants.items():
        recorder.constants[key] = replaced.get(tensor, tensor)
    single = result if isinstance(result, tuple) else (result,)
    final = tuple(replaced.get(t, t) for t in single)
    return final if isinstance(result, tuple) else final[0]


def _gives(last: Producer, result: Any, outputs: tuple[Tensor, ...]) -> bool:
    """Let the last layer that was recorded for others give the recorded tensors, if what it gives is the result and is
    like them: then nothing that takes them has to change.

    Their `layer` stays the recorded one.
    """
    if isinstance(last, Constant):  # which others may share
        return False
    made = result if isinstance(result, tuple) else (result,)
    if len(made) != len(last.outputs):
        return False
    for one, two, old in zip(made, last.outputs, outputs):
        if one is not two or one.dtype is not old.dtype or (one.shape is not old.shape and one.shape != old.shape):
            return False
    last.outputs = outputs
    return True


def _again(
    recorder: Recorder, layer: Producer, operands: tuple[Operand, ...], takes: Callable[[Producer], bool]
) -> Any:
    """Record `layer`, or what it is composed of where it is not taken."""
    if not takes(layer):
        before = len(recorder.layers)
        return _all_taken(recorder, before, _instead(layer, operands), takes)
    return layer.again(operands, recorder)
