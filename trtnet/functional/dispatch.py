"""How a function of torch's name finds what to do: record layers, or compute with NumPy now."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array, require_unmasked
from ..basics.cycles import refuse_cycle
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    ShapeError,
    TrtnetError,
    UnsupportedError,
    refusal,
    shown,
    too_large,
    wrong_arguments,
)
from ..graph.recorder import emit, recorder
from ..graph.tensor import Array, DeviceLike, Parameter, Tensor, current_recorder
from ..layers.casting import Cast
from ..layers.constant import Constant, constant, with_rank
from ..layers.generation import Fill
from ..layers.shaping import Shuffle
from ..weights.recipes import Literal, Weight
from . import memory, strides
from .concrete import category
from .strides import Rule

if TYPE_CHECKING:
    import torch

C = TypeVar("C", bound=Callable[..., Any])

Value = Tensor | float | np.ndarray | np.generic | Dim
"""What stands where torch takes a tensor or a number."""

Ints = int | Sequence[int]
"""A number for all spatial dimensions, or one for each."""

Axes = int | Sequence[int] | None
"""One dimension, several, or all."""

Sizes = SizeLike | Sequence[SizeLike] | Tensor
"""One of the sizes that are given one by one, or all of them."""

MemoryFormat: TypeAlias = "str | torch.memory_format"
"""In which order torch lays out a tensor."""

Option: TypeAlias = "DeviceLike | bool | torch.layout | MemoryFormat | Seeded | Tensor | None"
"""What torch's functions that make tensors are told besides: `out=`, and what means nothing here."""

Arguments = tuple[Any, ...]
"""A call's positional arguments."""


class Seeded(Protocol):
    """torch's Generator, or ours."""

    def manual_seed(self, seed: int) -> Self: ...


def operation(
    numpy: Callable[..., Any] | None = None,
    *,
    method: bool | str | tuple[str, ...] = False,
    view: bool | Rule = False,
    gives_itself: bool = False,
    strided: bool = False,
    order: str | None = None,
) -> Callable[[C], C]:
    """Declare a function of torch's.

    The decorated function records: it is called where an argument is a recorded Tensor, or a Parameter inside a
    recording. `numpy` takes the same arguments with arrays in place of Arrays, and computes now; its results lie in
    memory in the order in which torch's do.

    Args:
        numpy: the same on NumPy arrays; None where there is no use for it outside a network, and the network computes
            it of constants too.
        method: whether it is a method of tensors too, and under which names if not its own.
        view: whether torch's function gives tensors that share the first argument's memory: never (its results are
            new tensors, also where nothing had to be computed), always, or by a rule over sizes and strides.
        gives_itself: whether torch's view is the first argument itself where nothing has to be done, and no second
            tensor of its memory.
        strided: whether torch's results may lie in memory in another order than the row-major one.
        order: in which order torch's results lie in memory: "rows", "all" (as TensorIterator lays out what is computed
            of all arguments elementwise; in files that say KEEPS_ORDER), "first" (as a copy of the first argument), or
            "natural" (as NumPy's).
    """
    rule = None if view is True or view is False else view

    def declare(function: C) -> C:
        names = list(inspect.signature(function).parameters)
        place = names.index("inplace") if "inplace" in names else None
        laid = _order(function, names, order)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs and "out" in kwargs:
                return _write_out(call, function, args, kwargs)
            try:
                if (args and type(args[0]) is Tensor) or _recorded(args) or (kwargs and _recorded(kwargs.values())):
                    if view is not False:
                        result = function(*args, **kwargs)
                        base = args[0] if args else kwargs.get("input")
                        if type(result) is Tensor and type(base) is Tensor:
                            return memory.view_of(result, base, rule, False, gives_itself)
                        return _sharing(result, base, rule, gives_itself)
                    current = current_recorder.get()
                    layers = () if current is None else current.layers
                    before = len(layers)
                    result = function(*args, **kwargs)
                    if place is not None and (args[place] if len(args) > place else kwargs.get("inplace")):
                        return args[0] if args else kwargs["input"]
                    if (
                        len(layers) == before  # nothing was recorded: an argument, perhaps
                        or type(result) is not Tensor
                        or (layer := result.layer) is not layers[-1]
                        or type(layer) is Constant
                        or result._note is not None
                    ):
                        result = _own(result, args, kwargs)
                    if strided:
                        memory.forget_strides(result)
                    return result
                result = _compute(function, numpy, args, kwargs, view, gives_itself, laid)
                if place is not None and (args[place] if len(args) > place else kwargs.get("inplace")):
                    return args[0] if args else kwargs["input"]
                return result
            except TrtnetError:
                raise
            except (*WRONG_TYPES, *WRONG_VALUES, RecursionError) as error:
                raise _refused(function, args, kwargs, error) from None

        _install(call, function.__name__, method)
        return call  # type: ignore[return-value]

    return declare


def _install(call: Callable[..., Any], name: str, method: bool | str | tuple[str, ...]) -> None:
    for own in (name,) if method is True else (method,) if isinstance(method, str) else method or ():
        setattr(Tensor, own, call)


def _order(function: Callable[..., Any], names: list[str], order: str | None) -> str:
    """In which order the results of a function with these parameters lie in memory."""
    laid = order or ("all" if function.__globals__.get("KEEPS_ORDER") else "rows")
    return "pair" if laid == "all" and "other" in names else laid


_write_out: Callable[..., Any]


def writes_out(function: C) -> C:
    """Have this function write the results of all others into the tensors that `out=` names (out.py)."""
    global _write_out
    _write_out = function
    return function


def _own(result: Any, args: Arguments, kwargs: dict[str, Any]) -> Any:
    """What a function that copies gives, where that may be a tensor that the user, or the recording, has already."""
    current = current_recorder.get()
    if current is None or current.takes_values:
        return result
    return memory.own(result, (args, tuple(kwargs.values())))


def _noted(result: Any, args: Arguments, kwargs: dict[str, Any], view: bool | Rule, gives_itself: bool) -> Any:
    """What a recording function gave, with a note of the memory that it has in torch."""
    if view is False:
        return _own(result, args, kwargs)
    base = args[0] if args else kwargs.get("input")
    return _sharing(result, base, None if view is True else view, gives_itself)


def _compute(
    function: Callable[..., Any],
    numpy: Callable[..., Any] | None,
    args: Arguments,
    kwargs: dict[str, Any],
    view: bool | Rule,
    gives_itself: bool,
    order: str,
) -> Any:
    """Compute with NumPy. Views are of the same memory as in torch, other results have memory of their own."""
    current = current_recorder.get()
    made_in = args[0].recorder if current is not None and args and type(args[0]) is Array else None
    is_ours = current is not None and made_in is current.token
    is_around = current is not None and any(made_in is body.outside for body in current.bodies)
    if numpy is None:
        if current is not None:  # of constants
            return _noted(function(*args, **kwargs), args, kwargs, view, gives_itself)
        raise UnsupportedError(
            f"{function.__name__} works on recorded tensors",
            found=", ".join(map(shown, args)) or "no tensor",
            remedy="call it inside forward, while trtnet.record runs",
        )
    computed = numpy(*_unwrapped(args), **{k: _unwrapped(v) for k, v in kwargs.items()})
    if gives_itself and args and type(args[0]) is Array and computed is args[0].numpy():
        return args[0]
    result = wrapped(computed, args)
    if view is False:
        return _owned(result, (*args, *kwargs.values()), order)
    if is_ours or (is_around and type(result) is not Tensor):
        if type(result) is Tensor:  # a view of a size that is known at run time only
            memory.become_recorded(args[0])
            return _noted(function(*args, **kwargs), args, kwargs, view, gives_itself)
        _share_concrete(result, function, args, kwargs)
    elif current is not None and args and type(args[0]) is Array:  # what is of memory from outside was made there, too
        for _, one in _views_among(result, args[0]):
            one.recorder = made_in
    return result


def _sharing(result: Any, base: Any, rule: Rule | None, gives_itself: bool) -> Any:
    """`result`, with a note that it shares the memory of `base`."""
    if type(base) is not Tensor and isinstance(base, Array) and type(result) in (Tensor, tuple, list):
        current = current_recorder.get()
        if not isinstance(base, Parameter) or current is None or current.takes_values:
            return result
        base = tensor(base)
    if type(result) is Tensor:
        return memory.view_of(result, base, rule, gives_itself=gives_itself)
    if isinstance(result, (tuple, list)):
        return type(result)([_sharing(one, base, rule, gives_itself) for one in result])
    return result


def _share_concrete(result: Any, function: Callable[..., Any], args: Arguments, kwargs: dict[str, Any]) -> None:
    base = args[0]
    others = [Array(a.numpy()) if type(a) is Array else a for a in args[1:]]  # their shapes may change in place
    for index, one in _views_among(result, base):

        def make(value: Tensor, index: int = index) -> Tensor:
            made = function(value, *others, **kwargs)
            found: Tensor = made[index] if isinstance(made, (tuple, list)) else made
            return found

        memory.mark_concrete_view(one, base, make)


def _views_among(result: Any, base: Array) -> Iterator[tuple[int, Array]]:
    """The concrete tensors in a result that are of the memory of `base`, by number."""
    for index, one in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
        if type(one) is Array and one is not base and owner_of(one.numpy()) is owner_of(base.numpy()):
            yield index, one


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory another one is a view of."""
    owner: Any = array
    while getattr(owner, "base", None) is not None:  # as_strided puts an object of its own between
        owner = owner.base
    return owner


def _owned(result: Any, values: tuple[Any, ...], order: str) -> Any:
    """Concrete results with memory of their own, in the order in which torch's lie in memory."""
    if isinstance(result, (tuple, list)):
        made = [_owned(r, values, order) for r in result]
        return type(result)(*made) if hasattr(result, "_fields") else type(result)(made)
    if type(result) is not Array:
        return result
    given = [value.numpy() for value in values if isinstance(value, Array)]
    array = result.numpy()
    shared = array.base is not None or any(array is one for one in given)
    if order == "natural":
        return Array(array.copy(order="K")) if shared else result
    if order == "first" and given:
        laid = like_a_copy(array, given[0], shared)
    else:
        if order == "pair" and any(isinstance(value, (int, float)) for value in values[:2]):
            given.append(_NUMBER)
        laid = laid_out(array, [] if order == "rows" else given, shared)
    return result if laid is array else Array(laid)


_NUMBER = np.zeros(())  # torch computes with a number as with a tensor without dimensions


def steps_of(array: np.ndarray) -> tuple[int, ...]:
    """Strides as torch counts them: in elements."""
    width = array.itemsize
    return tuple([step // width for step in array.strides])


def laid_out(array: np.ndarray, like: list[np.ndarray], copy: bool = False) -> np.ndarray:
    """An array in the order in memory that torch gives to what is computed elementwise of others: itself unless it has
    to be copied."""
    is_plain = array.flags.c_contiguous and 1 not in array.shape  # then NumPy's strides are torch's
    if is_plain and not copy and all(one.flags.c_contiguous for one in like):
        return array
    wanted = strides.contiguous_strides(array.shape)
    if like and array.ndim > 1:
        wanted = strides.elementwise_strides(array.shape, [(one.shape, steps_of(one)) for one in like])
    return in_order(array, wanted, copy)


def like_a_copy(array: np.ndarray, of: np.ndarray, copy: bool = False) -> np.ndarray:
    """An array in the order in memory of torch's copy of another one: itself unless it has to be copied."""
    if not copy and array.flags.c_contiguous and of.flags.c_contiguous and 1 not in array.shape:
        return array
    if array.shape != of.shape:
        return in_order(array, strides.contiguous_strides(array.shape), copy)
    return in_order(array, strides.copied_strides(of.shape, steps_of(of)), copy)


def in_order(array: np.ndarray, wanted: tuple[int, ...], copy: bool = False) -> np.ndarray:
    """An array with these strides, which leave no gaps: itself, or a view of it, unless it has to be copied."""
    if copy or any(a != b for a, b, size in zip(steps_of(array), wanted, array.shape) if size > 1):
        axes = sorted(range(array.ndim), key=lambda axis: -wanted[axis])
        made = np.empty([array.shape[axis] for axis in axes], array.dtype).transpose(np.argsort(axes))
        made[...] = array
        array = made
    return with_steps(array, wanted)


def with_steps(array: np.ndarray, wanted: tuple[int, ...] | None) -> np.ndarray:
    """An array with other strides of its dimensions of size 1: NumPy's own choice is not torch's."""
    if wanted is None or 1 not in array.shape or steps_of(array) == wanted:
        return array
    if array.flags.c_contiguous and wanted == strides.contiguous_strides(array.shape):
        return array.reshape(-1).reshape(array.shape)
    return np.lib.stride_tricks.as_strided(array, array.shape, [step * array.itemsize for step in wanted])


def is_recorded(value: Any) -> bool:
    """Whether a value stands for one inside the network: a recorded tensor, or a parameter while recording."""
    return type(value) is Tensor or (isinstance(value, Parameter) and current_recorder.get() is not None)


def _recorded(values: Iterable[Any]) -> bool:
    for value in values:
        if type(value) is Tensor or (isinstance(value, Parameter) and current_recorder.get() is not None):
            return True
        if isinstance(value, (list, tuple)) and _recorded(value):
            return True
        if type(value) is slice and (is_computed(value.start) or is_computed(value.stop)):
            return True
    return False


def is_computed(value: Any) -> bool:
    """Whether a size or a bound is a recorded tensor whose value is not known."""
    return type(value) is Tensor and value._known_value() is None


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Array):
        return value.numpy()
    require_unmasked(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, Size):
        return type(value)(_unwrapped(v) for v in value) if type(value) in (list, tuple) else value
    return value


def wrapped(result: Any, args: Iterable[Any] = ()) -> Any:
    """NumPy results as Arrays; float64 that no argument had becomes float32."""
    if isinstance(result, (np.ndarray, np.generic)):
        array = np.asarray(result)
        if array.dtype == np.float64 and not any(isinstance(a, Array) and a.dtype is dtypes.float64 for a in args):
            array = array.astype(np.float32)
        return Array(array)
    if isinstance(result, (list, tuple)):
        made = [wrapped(r, args) for r in result]
        return type(result)(*made) if hasattr(result, "_fields") else type(result)(made)
    return result


WRONG_TYPES = (TypeError, AttributeError, AssertionError)
WRONG_VALUES = (ValueError, IndexError, KeyError, ArithmeticError, MemoryError)
"""What Python and NumPy raise where arguments are of the wrong types, and of the wrong values."""


def _refused(function: Callable[..., Any], args: Arguments, kwargs: dict[str, Any], error: Exception) -> Exception:
    """What to raise in place of what Python or NumPy raised in a call."""
    if isinstance(error, RecursionError):
        for name, value in {**dict(zip(inspect.signature(function).parameters, args)), **kwargs}.items():
            refuse_cycle(f"{function.__name__}: the argument {name!r}", name, value)
        return error
    if isinstance(error, WRONG_TYPES):
        return _bad_arguments(function, args, kwargs, error)
    return refusal(function.__name__, (*args, *kwargs.values()), error)


def _bad_arguments(
    function: Callable[..., Any], args: Arguments, kwargs: dict[str, Any], error: Exception
) -> Exception:
    name, signature = function.__name__, inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        return wrong_arguments(name, signature, args, kwargs, mismatch)
    values = (*args, *kwargs.values())
    if "numpy boolean" in str(error):  # NumPy subtracts and negates no bools, as torch
        masks = [v for v in values if isinstance(v, Tensor) and v.dtype is dtypes.bool_]
        return of_bools(name, masks[0].shape if masks else ())
    if too_large(values):
        return refusal(name, values, error)
    types = [f"{p.name}: {p.annotation}" for p in signature.parameters.values() if p.annotation is not p.empty]
    return ArgumentTypeError(
        f"{name} takes no arguments of these types",
        details=f"{type(error).__name__}: {error}",
        expected=", ".join(types) or None,
        found=", ".join([*map(shown, args), *(f"{key}={shown(value)}" for key, value in kwargs.items())]),
    )


def of_bools(name: str, shape: Sequence[SizeLike]) -> DtypeError:
    return DtypeError(
        f"{name}: arithmetic with a bool tensor",
        expected="numbers",
        found=f"bool {format_shape(shape)}",
        remedy="convert it first: mask.to(x.dtype) or mask.to(trtnet.int32); ~mask inverts a mask",
    )


def refusing(function: C) -> C:
    """Raise ArgumentError in place of what NumPy and Python say of values that they cannot hold; and take `out=`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs and "out" in kwargs:
            return _write_out(call, function, args, kwargs)
        try:
            return function(*args, **kwargs)
        except TrtnetError:
            raise
        except (*WRONG_TYPES, *WRONG_VALUES, RecursionError) as error:
            raise _refused(function, args, kwargs, error) from None

    return call  # type: ignore[return-value]


# --- operands ---------------------------------------------------------------------------------------------------------


def tensor(value: Any) -> Tensor:
    """A recorded tensor of a Tensor, a Parameter, an Array or a number.

    >>> trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if type(value) is Tensor:
        return value
    if isinstance(value, (Array, Weight)):
        return constant(value)
    if isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        return constant(Array(as_array(value)))
    raise ArgumentTypeError("this is no tensor", expected="a tensor or a number", found=shown(value))


def operand(value: Any) -> Tensor | Weight | None:
    """What a layer that takes weights or tensors is given: weights for parameters and arrays."""
    if isinstance(value, Array):
        current = current_recorder.get()
        return (recorder() if current is None else current).weight(value)
    if value is None or type(value) is Tensor or isinstance(value, Weight):
        return value
    if isinstance(value, np.ndarray):
        return recorder().weight(Array(value))
    raise ArgumentTypeError("these are no weights", expected="a parameter, an array or a tensor", found=shown(value))


def require_bools(name: str, **flags: Any) -> None:
    """Raises ArgumentTypeError for flags that are not True or False."""
    for flag, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentTypeError(f"{name}: {flag} is True or False", found=shown(value))


def require_ints(name: str, **numbers: Any) -> None:
    """Raises ArgumentTypeError for what are no whole numbers."""
    for what, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise ArgumentTypeError(f"{name}: {what} is a whole number", found=shown(value))


def is_scalar(value: Any) -> bool:
    """Whether a value takes the dtype of the tensor that it meets: Python numbers, and arrays without dimensions."""
    return isinstance(value, (bool, int, float, np.generic)) or (
        isinstance(value, Array) and not isinstance(value, Parameter) and not value.shape
    )


def scalar(value: Any, dtype: Dtype, rank: int) -> Tensor:
    """A constant of `rank` dimensions of size 1."""
    number = value.item() if isinstance(value, (Array, np.generic)) else value
    if isinstance(number, float) and not dtype.is_floating_point:
        raise DtypeError(
            "an integer tensor met a float number",
            expected=f"a number of {dtype}",
            found=number,
            remedy="convert the tensor first: x.float() or x.to(trtnet.float32)",
        )
    if dtype is dtypes.uint8 and isinstance(number, int):
        number = int(number) % 256  # as torch
    with np.errstate(over="ignore"):
        array = np.full((1,) * rank, number).astype(dtype.numpy)
    if not dtype.is_floating_point and array.size and array.reshape(-1)[0] != number:
        raise DtypeError(
            "a number does not fit the tensor that it meets", expected=f"a number of {dtype}", found=number
        )
    return constant(Literal(array), (1,) * rank)


def common_type(name: str, *values: Value) -> Dtype:
    """torch's result type of tensors and numbers, for what a strongly typed network may cast by itself.

    Bools give way to integers, integers to floating point, narrow integers to wide ones. Within one of these three
    kinds tensors with dimensions decide, then those without, then numbers: a Python float makes float32 of integers and
    leaves float16 as it is. Two floating-point types stay an error, where torch widens: which of them is computed in
    is what a network that is typed strongly lets its author decide.

    Raises DtypeError for tensors of two floating-point types, and for uint8 with int8, which is int16 in torch.
    """
    best: Dtype | None = None
    for level in range(3):
        found: Dtype | None = None
        for value in values:
            if _level(value) == level:
                dtype = _type_of(value)
                found = dtype if found is None or found is dtype else _wider(name, found, dtype, values)
        if found is not None and (best is None or category(found.numpy) > category(best.numpy)):
            best = found
    assert best is not None
    return best


def _level(value: Value) -> int:
    if isinstance(value, (Tensor, np.ndarray)):
        return 0 if len(value.shape) else 1
    return 2


def _type_of(value: Value) -> Dtype:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, np.ndarray):
        return dtypes.get(value.dtype)
    if isinstance(value, (bool, np.bool_)):
        return dtypes.bool_
    return dtypes.int64 if isinstance(value, (int, np.integer, Dim)) else dtypes.float32


def _wider(name: str, a: Dtype, b: Dtype, values: tuple[Value, ...]) -> Dtype:
    kinds = category(a.numpy), category(b.numpy)
    if kinds[0] != kinds[1]:
        return a if kinds[0] > kinds[1] else b
    wide = dtypes.get(np.promote_types(a.numpy, b.numpy)) if kinds[0] == 1 else None
    if wide is None or wide.tensorrt is None:
        shown = [v for v in values if isinstance(v, Tensor)]
        raise DtypeError(
            f"{name}: the two tensors have different dtypes",
            expected="one floating-point dtype: TensorRT casts nothing by itself" if wide is None else f"no {wide}",
            found=" and ".join(f"{v.dtype} {format_shape(v.shape)}" for v in shown) or f"{a} and {b}",
            remedy=f"convert one of them: .to(trtnet.{a}) or .to(trtnet.{b})"
            if wide is None
            else "convert both first: .to(trtnet.int32)",
        )
    return wide


def size_tensor(size: SizeLike, dtype: Dtype = dtypes.int64) -> Tensor:
    """A size as a recorded tensor without dimensions."""
    if isinstance(size, int):
        return constant(Literal(np.asarray(size, dtype.numpy)))
    made = emit(Fill((), (1,), "LINSPACE", dtypes.int64, size, 0))
    made = emit(Shuffle((made,), reshape_dims=Size(())))
    return made if dtype is dtypes.int64 else emit(Cast((made,), dtypes.for_network(dtype, "a recorded tensor")))


def typed(value: Any, dtype: Dtype, rank: int) -> Tensor:
    """`value` as a recorded tensor of the dtype that it is promoted to, with dimensions of size 1 in front."""
    if isinstance(value, Dim):
        return with_rank(size_tensor(value, dtype), rank)
    if is_scalar(value):
        return scalar(value, dtype, rank)
    if isinstance(value, np.ndarray):
        value = Array(value)
    if value.dtype is dtype:
        return with_rank(value, rank)
    if isinstance(value, Array) and not isinstance(value, Parameter):
        return with_rank(Array(value.numpy().astype(dtype.numpy)), rank)
    made: Tensor = recorder().emit(Cast((with_rank(value, rank),), dtype))
    return made


def pair(name: str, a: Value, b: Value, *, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Two operands of one dtype and one rank, as TensorRT's elementwise layers want them.

    They are promoted as torch does (`common_type`), with casts that are recorded; where `floating`, integers to
    float32. Raises DtypeError for two floating-point types.
    """
    if type(a) is Tensor and type(b) in (int, float) and a.dtype.is_floating_point:  # by far the most frequent
        return a, scalar(b, a.dtype, len(a.shape))
    for value in (a, b):
        if not isinstance(value, (Tensor, bool, int, float, np.generic, np.ndarray, Dim)):
            raise ArgumentTypeError(f"{name} takes tensors and numbers", found=shown(value))
    dtype = common_type(name, a, b)
    if floating and not dtype.is_floating_point:
        dtype = dtypes.float32
    rank = max(len(getattr(a, "shape", ())), len(getattr(b, "shape", ())))
    return typed(a, dtype, rank), typed(b, dtype, rank)


def axis_of(dim: Any, rank: int, what: str = "dim") -> int:
    """A dimension from 0. Raises ShapeError where there is none."""
    if type(dim) is int and -rank <= dim < rank:
        return dim if dim >= 0 else dim + rank
    if isinstance(dim, (Array, np.integer)):
        dim = int(dim)
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ArgumentTypeError(f"{what} must be a whole number", found=shown(dim))
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise ShapeError(f"there is no dimension {dim}", expected=f"{-rank} to {rank - 1}", found=dim)
    return dim % rank if rank else 0


def axes_of(dim: Axes, rank: int) -> tuple[int, ...]:
    """Dimensions from 0, in order; all of them for None and for an empty tuple."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    axes = [axis_of(d, rank) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(axes)) != len(axes):
        raise ShapeError("a dimension is named twice", found=dim)
    return tuple(sorted(axes))


def tuple_of(value: Ints, count: int, what: str) -> tuple[int, ...]:
    """`count` whole numbers from a number or a sequence, as torch's kernel sizes and strides."""
    if type(value) is int:
        return (value,) * count
    if type(value) is tuple and len(value) == count:
        for number in value:
            if type(number) is not int:
                break
        else:
            return value
    if isinstance(value, (list, tuple)):
        values = list(value) * count if len(value) == 1 else list(value)
    else:
        values = [value] * count
    if len(values) != count or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values):
        raise ArgumentError(f"{what} is a whole number or {count} of them", found=shown(value))
    return tuple(int(v) for v in values)
