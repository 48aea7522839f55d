"""TensorRT's own calls inside a forward, and tensors inside it as outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..basics import dtypes as types
from ..basics.code import Code
from ..basics.dims import Dim, Size, SizeLike
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ArgumentTypeError, require_function, shown
from ..graph.recorder import recorder
from ..graph.tensor import Array, Tensor, current_recorder
from ..layers.constant import constant
from ..layers.raw import Raw

__all__ = ["mark", "raw"]


def raw(
    add: Callable[..., Any],
    *inputs: Tensor,
    shapes: Sequence[SizeLike] | Sequence[Sequence[SizeLike]],
    dtypes: DtypeLike | Sequence[DtypeLike] | None = None,
    reference: Callable[..., Any] | None = None,
    weights: Mapping[str, Array] | None = None,
) -> Any:
    """Layers by TensorRT's own calls, inside a forward.

    `add(network, *itensors, **weights)` is called when the graph is lowered, with the INetworkDefinition and an ITensor
    for each input, and returns an ITensor, or a tuple of them. It may add any number of layers. What it gets as weights
    are `tensorrt.Weights` (for a kernel, say): the network owns them under their `state_dict` keys, so that they refit.
    A parameter among the inputs is an ITensor of a constant layer, which refits and can be live.

    Args:
        add: the function; it is called once for each build.
        inputs: recorded tensors, parameters and Arrays.
        shapes: the output's shape, of ints and Dims; a list of shapes where there are several outputs. TensorRT's own
            are compared with them.
        dtypes: the output's dtype, or one for each; the first input's where it is left out. A weakly typed network
            (TensorRT 8.6) is told them for the outputs' layers by the function, if at all.
        reference: the same on torch tensors, for `trtnet.reference` and the check of a build, in float64 there; it gets
            the weights by the same names. Without it the reference refuses, and the check says so.
        weights: parameters, by the names under which `add` takes them.

    Returns: a tensor, or a tuple of them where `shapes` is a list of shapes.

    Raises:
        ArgumentError, ArgumentTypeError: no recording, inputs that are no tensors, dtypes that do not fit.
        BuildError: while lowering: the function raised, returned something else, or other shapes and dtypes.

    >>> def add(network, x):
    ...     return network.add_softmax(x).get_output(0)
    >>> def forward(x):
    ...     return trtnet.raw(add, x, shapes=x.shape, reference=lambda x: x.softmax(1))
    >>> graph = trtnet.record(forward, x=trtnet.Input((2, 3)))
    >>> trtnet.reference(graph)(trtnet.zeros(2, 3).numpy())[0].tolist()
    [0.3333333432674408, 0.3333333432674408, 0.3333333432674408]
    """
    current = recorder()
    operands = [constant(x) if isinstance(x, Array) else x for x in inputs]
    for operand in operands:
        if not isinstance(operand, Tensor):
            raise ArgumentTypeError(
                "raw takes tensors",
                expected="recorded tensors, parameters or Arrays",
                found=shown(operand),
                remedy="let the function close over a Python value in place of taking it",
            )
    if not isinstance(weights, Mapping | None) or not all(isinstance(name, str) for name in weights or ()):
        raise ArgumentTypeError(
            "weights= of raw says by which names the function takes parameters",
            expected="{'kernel': self.weight}",
            found=shown(weights),
            remedy="give a dict: weights={'kernel': self.weight}",
        )
    given = dict(weights or {})
    for name, value in given.items():
        if not isinstance(value, Array):
            raise ArgumentTypeError(
                f"weights={{{name!r}: ...}} of raw are parameters",
                expected="a Parameter or an Array",
                found=shown(value),
                remedy="a tensor that is computed goes among the inputs",
            )
    several = isinstance(shapes, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in shapes)
    sizes = tuple([_size(shape) for shape in (shapes if several else (shapes,))])
    if not callable(add):
        raise ArgumentTypeError(
            "what raw adds is no function",
            expected="add(network, *itensors, **weights)",
            found=shown(add),
            remedy="give a function, a lambda or a module",
        )
    if reference is not None:
        require_function("the reference of raw", reference, *operands, **given)
    layer = Raw(
        (*operands, *(current.weight(value) for value in given.values())),
        Code(add),
        sizes,
        _dtypes(dtypes, len(sizes), operands),
        None if reference is None else Code(reference),
        tuple(given),
    )
    made = current.emit(layer)
    return (made,) if several and len(sizes) == 1 else made


def _size(shape: Any) -> Size:
    """The shape of an output."""
    if not isinstance(shape, (list, tuple)) or not all(_is_size(one) for one in shape):
        raise ArgumentTypeError(
            "shapes= of raw is the shape of its output",
            expected="sizes from 0 on, and Dims: (x.shape[0], 4); a list of such where there are several outputs",
            found=shown(shape),
            remedy="make it of x.shape, or of numbers: shapes=x.shape",
        )
    return Size(shape)


def _is_size(one: Any) -> bool:
    return isinstance(one, Dim) or (isinstance(one, int) and not isinstance(one, bool) and one >= 0)


def _dtypes(given: Any, count: int, operands: Sequence[Tensor]) -> tuple[types.dtype, ...]:
    if given is None:
        if not operands:
            raise ArgumentError("a raw layer without inputs needs dtypes=", expected="a dtype", found="None")
        given = operands[0].dtype
    found = list(given) if isinstance(given, (tuple, list)) else [given] * count
    if len(found) != count:
        raise ArgumentError(
            "one dtype for each output",
            expected=f"{count} dtypes, or one for all",
            found=f"{len(found)}: {', '.join(map(str, found))}",
            remedy="give shapes= and dtypes= in the same order",
        )
    return tuple(types.for_network(one, "an output") for one in found)


def mark(input: Tensor | Array, name: str) -> Tensor | Array:
    """Make a tensor inside the network one of its outputs, by this name; forward goes on with it as before.

    The engine then gives a dict: what forward returned by the outputs' names (`output`, or `output_0`, `output_1`…, or
    the keys of its dict), and what is marked. Outside a recording nothing happens.

    Raises ArgumentError for a name that is taken.

    >>> def forward(x):
    ...     h = trtnet.mark(trtnet.relu(x), "hidden")
    ...     return h + 1
    >>> list(trtnet.record(forward, x=trtnet.Input((2,))).outputs)
    ['output', 'hidden']
    """
    if current_recorder.get() is None:
        return input
    current = recorder()
    input = constant(input) if isinstance(input, Array) else input
    if not isinstance(input, Tensor):
        raise ArgumentTypeError("only tensors can be marked", expected="a tensor", found=shown(input))
    if not isinstance(name, str) or not name or name in current.marks:
        raise ArgumentError(
            "a marked tensor needs a name of its own",
            expected="a string that is no other mark's",
            found=repr(name),
            remedy="in a module that is called several times, put the module's own name into it",
        )
    current.marks[name] = input
    return input
