"""Numbers that forward reads of what it computes: known where no input, no draw and no dynamic size decides them."""

from __future__ import annotations

import math

import numpy as np

from ..basics import dims
from ..basics.arrays import from_numpy, import_torch, lasting, to_numpy
from ..graph.graph import Graph
from ..graph.recorder import Recorder, sizes_of
from ..graph.tensor import Producer, Tensor
from ..graph.training import Trained, cannot_train
from ..layers.training import Dropout
from ..weights.recipes import Weight
from .program import Program

SMALL = 64
"""Elements of a tensor that is kept, for what is computed of it and read later."""


def known(current: Recorder, tensor: Tensor) -> np.ndarray | None:
    """The tensor's value now, computed by the reference; None where it depends on an input, a draw or a dynamic size.

    The parameters that it was computed from are frozen in the recording. Layers that nothing else uses are left out of
    the graph. The array cannot be written to.

    Raises WeightsError where a parameter has no value; ProviderError where PyTorch is not installed.
    """
    value = current.settle(tensor)
    layers = _layers(current, value)
    if layers is None:
        return None
    for layer in layers:
        for operand in layer.inputs:
            for leaf in operand.leaves() if isinstance(operand, Weight) else ():
                current.freeze_leaf(leaf)
        trained: Trained | None = layer if type(layer) is Dropout else current.training.instead.get(layer)
        if trained is not None:
            cannot_train("forward reads a number that is another one in training", trained.owner)
    assert value.layer is not None
    current.spare.append(value.layer)
    current.has_read = True
    if value not in current.read:
        _compute(current, value, layers)
    array = current.read[value]
    if array.size > SMALL:
        del current.read[value]
    array.flags.writeable = False
    return array


def _layers(current: Recorder, value: Tensor) -> list[Producer] | None:
    """What has to be computed for a value, each layer behind those that it needs; None where that cannot be done."""
    order: dict[Producer, None] = {}
    pending: list[tuple[Tensor | Producer, bool]] = [(value, False)]
    while pending:
        one, is_ready = pending.pop()
        if not isinstance(one, Tensor):
            if is_ready:
                order[one] = None
            elif one not in order:
                if (one.draws and type(one) is not Dropout) or one.region is not None:
                    return None
                pending.append((one, True))
                pending += [(operand, False) for operand in one.inputs if isinstance(operand, Tensor)]
        elif one not in current.read:
            if one.layer is None:
                return None
            pending.append((one.layer, False))
    decided = {str(size) for layer in order for size in layer.decides}
    needed = {str(symbol) for layer in order for symbol in dims.symbols_of(sizes_of(layer))}
    return list(order) if needed <= decided else None


def _compute(current: Recorder, value: Tensor, layers: list[Producer]) -> None:
    """Compute a value, and note it and small ones on the way."""
    made = [tensor for layer in layers for tensor in layer.outputs]
    wanted = [t for t in made if t is value or _is_small(t)]
    given = [t for layer in layers for t in layer.inputs if isinstance(t, Tensor) and t in current.read]
    inputs = {str(number): tensor for number, tensor in enumerate(dict.fromkeys(given))}
    outputs = {str(number): tensor for number, tensor in enumerate(wanted)}
    graph = Graph(layers, inputs, outputs, "tuple")
    device = import_torch().device("cpu")
    with lasting():
        program = Program(graph)
        slots = program.constants(lambda leaf: from_numpy(leaf.value.read()), device)
        results = program.run(slots, [from_numpy(current.read[t]) for t in inputs.values()], device, {})
        current.read.update({tensor: to_numpy(result).copy() for tensor, result in zip(wanted, results)})


def _is_small(tensor: Tensor) -> bool:
    sizes = [size for size in tensor.shape if isinstance(size, int)]
    return len(sizes) == len(tensor.shape) and math.prod(sizes) <= SMALL
