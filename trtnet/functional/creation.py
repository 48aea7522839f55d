"""Tensors out of nothing. They are concrete (NumPy arrays with torch's methods), inside `forward` and outside; where a
size or a value is a Dim, or for the `*_like` of a recorded tensor, they are recorded. Names and defaults as torch's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array, require_unmasked
from ..basics.cycles import refuse_cycle
from ..basics.dims import Dim, Size, SizeLike, ceil_divide
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError, UnsupportedError
from ..graph.recorder import emit
from ..graph.tensor import Array, DeviceLike, Parameter, Tensor, next_seed
from ..layers.casting import converted
from ..layers.constant import constant
from ..layers.generation import Fill
from ..layers.shaping import expanded, reshaped
from ..weights.recipes import Literal
from .concrete import promote
from .dispatch import Option, Sizes, Value, is_recorded, like_a_copy, refusing, size_tensor
from .dispatch import tensor as recorded_tensor
from .joining import stack
from .memory import another_handle, become_recorded, forget_strides, lie_as, refuse_hazards
from .shape import has_dims, size_of, sizes_of

__all__ = [
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "fill",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "range",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
]

# --- from values ------------------------------------------------------------------------------------------------------


def _has_recorded(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_recorded(v) for v in value)
    return is_recorded(value) or isinstance(value, Dim)


def _common(value: Any) -> np.dtype:
    """The dtype of a tensor that is made of nested lists."""
    if isinstance(value, (list, tuple)):
        return functools.reduce(promote, [_common(v) for v in value])
    if isinstance(value, Tensor):
        return value.dtype.numpy
    return np.dtype(np.int64) if isinstance(value, Dim) else as_array(value).dtype


def _recorded_values(value: Any, dtype: Dtype) -> Tensor:
    """Nested lists with Dims or recorded tensors among them, as one recorded tensor."""
    if isinstance(value, (list, tuple)):
        return stack([_recorded_values(v, dtype) for v in value])
    if is_recorded(value):
        return converted(recorded_tensor(value), dtype)
    if isinstance(value, Dim):
        return size_tensor(value, dtype)
    return constant(Array(as_array(value, dtype)))


def as_tensor(data: Any, dtype: DtypeLike | None = None, device: DeviceLike | None = None) -> Tensor:
    """A tensor of nested lists, numbers, a NumPy array (not copied), a torch tensor or a tensor.

    Python ints are int64, floats float32. With a Dim among the values it is recorded.

    >>> trtnet.as_tensor([1, 2]).tolist()
    [1, 2]
    """
    to = None if dtype is None else dtypes.get(dtype)
    if isinstance(data, Tensor):
        return data if to is None else data.to(to)
    try:
        is_recorded_inside = _has_recorded(data)
    except RecursionError:
        refuse_cycle("the data", "data", data)
        raise
    if is_recorded_inside:
        return _recorded_values(data, to or dtypes.get(_common(data)))
    return Array(as_array(data, to))


def tensor(
    data: Any,
    *,
    dtype: DtypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """As `as_tensor`, always of its own memory.

    >>> trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    made = as_tensor(data, dtype, device)
    if is_recorded(made):
        return another_handle(recorded_tensor(made)) if isinstance(data, Tensor) else made
    array = made.numpy()
    shares = made is data or isinstance(data, np.ndarray) or type(data).__module__ == "torch"
    return Array(array.copy() if shares else array)


def from_data(data: tuple[Any, ...], dtype: Dtype) -> Tensor:
    """torch's old constructor: of sizes (zeros, where torch leaves what is in memory), of a sequence, or of an
    array."""
    if len(data) == 1 and (isinstance(data[0], np.ndarray) or not hasattr(data[0], "__index__")):
        if isinstance(data[0], Size):
            return zeros(*data[0], dtype=dtype)
        return tensor(data[0], dtype=dtype)
    if len(data) == 1 and is_recorded(data[0]):
        return tensor(data[0], dtype=dtype)
    return zeros(*data, dtype=dtype)


Tensor.from_data = staticmethod(from_data)


def asarray(
    obj: Any,
    *,
    dtype: DtypeLike | None = None,
    device: DeviceLike | None = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """As `as_tensor`, copied if `copy`.

    >>> trtnet.asarray([1.0, 2.0]).dtype
    trtnet.float32
    """
    return tensor(obj, dtype=dtype) if copy else as_tensor(obj, dtype)


def from_numpy(ndarray: np.ndarray) -> Array:
    """A tensor over the same memory.

    >>> import numpy
    >>> trtnet.from_numpy(numpy.arange(3)).tolist()
    [0, 1, 2]
    """
    if not isinstance(ndarray, np.ndarray):
        raise ArgumentTypeError("from_numpy takes a NumPy array", found=type(ndarray).__name__)
    require_unmasked(ndarray)
    dtypes.get(ndarray.dtype)
    return Array(np.asarray(ndarray))


def scalar_tensor(s: Value, *, dtype: DtypeLike | None = None, **kwargs: Option) -> Tensor:
    """A tensor without dimensions.

    >>> trtnet.scalar_tensor(2.0).item()
    2.0
    """
    return as_tensor(s, dtype or (dtypes.float32 if not isinstance(s, Dim) else None))


# --- of one value -----------------------------------------------------------------------------------------------------


def filled(shape: tuple[SizeLike, ...], value: Value, dtype: Dtype) -> Tensor:
    """A recorded tensor of one value: a constant of one element, expanded."""
    if isinstance(value, Dim):
        return expanded(size_tensor(value, dtype), shape)
    with np.errstate(over="ignore"):
        one = np.full((1,) * len(shape), value).astype(dtypes.for_network(dtype).numpy)
    return expanded(constant(Literal(one)), shape)


def _full(shape: tuple[SizeLike, ...], value: Value, dtype: Dtype) -> Tensor:
    if has_dims(shape, value):
        return filled(shape, value, dtype)
    for size in shape:
        if size < 0:
            raise ShapeError("a size cannot be negative", found=shape)
    with np.errstate(over="ignore"):
        return Array(np.full(shape, value, dtype.numpy))


def _default(dtype: DtypeLike | None, otherwise: Dtype = dtypes.float32) -> Dtype:
    return otherwise if dtype is None else dtypes.get(dtype)


_IGNORED = frozenset(("device", "layout", "requires_grad", "pin_memory", "memory_format", "generator"))


def _ignore(name: str, options: Mapping[str, Option | Sizes]) -> None:
    """Accept those of torch's arguments that mean nothing here, refuse the others."""
    for key, value in options.items():
        if key in _IGNORED:
            continue
        raise ArgumentTypeError(
            f"{name}() has no argument {key!r}",
            expected="the sizes, dtype=, device=",
            found=f"{key}={value!r}",
        )


@refusing
def zeros(*size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
    """Zeros, float32 unless said otherwise; recorded where a size is a Dim.

    >>> trtnet.zeros(2, 2).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    sizes = sizes_of(size, options.pop("size", None))
    _ignore("zeros", options)
    return _full(sizes, 0, _default(dtype))


@refusing
def ones(*size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
    """Ones, float32 unless said otherwise; recorded where a size is a Dim.

    >>> trtnet.ones(2, 2).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    sizes = sizes_of(size, options.pop("size", None))
    _ignore("ones", options)
    return _full(sizes, 1, _default(dtype))


@refusing
def empty(*size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
    """As `zeros`: what is not written yet is 0.

    >>> trtnet.empty(2, 3).shape
    Size([2, 3])
    """
    sizes = sizes_of(size, options.pop("size", None))
    _ignore("empty", options)
    return _full(sizes, 0, _default(dtype))


@refusing
def full(
    size: SizeLike | Sequence[SizeLike], fill_value: Value, *, dtype: DtypeLike | None = None, **options: Option
) -> Tensor:
    """One value everywhere, in its own dtype (int64, float32, bool) unless said otherwise.

    Recorded where a size or the value is a Dim, or the value a recorded tensor of one element.

    >>> trtnet.full((2, 2), 0.5).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    _ignore("full", options)
    sizes = sizes_of((size,))
    if is_recorded(fill_value):
        one = reshaped(recorded_tensor(fill_value), (1,) * len(sizes))
        return expanded(one if dtype is None else converted(one, dtypes.get(dtype)), sizes)
    return _full(sizes, _number(fill_value), _default(dtype, _dtype_of_number(fill_value)))


def _number(value: Value) -> Any:
    return value.item() if isinstance(value, (Array, np.ndarray, np.generic)) else value


def _dtype_of_number(value: Value) -> Dtype:
    if isinstance(value, Dim):
        return dtypes.int64
    return value.dtype if isinstance(value, Array) else dtypes.get(type(_number(value)))


# --- like another -----------------------------------------------------------------------------------------------------


@refusing
def full_like(input: Tensor, fill_value: Value, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """One value in the shape and dtype of `input`; recorded where that is.

    Layers of the example: `constant`, `slice`.

    >>> trtnet.full_like(trtnet.tensor([1.0, 2.0]), 3).tolist()
    [3.0, 3.0]
    """
    _ignore("full_like", options)
    to = _default(dtype, input.dtype)
    if is_recorded(fill_value):
        return lying_as(input, full(tuple(input.shape), fill_value, dtype=to), options)
    value = _number(fill_value)
    if type(input) is Tensor:
        return lying_as(input, filled(input.shape, value, to), options)
    made = _full(input.shape, value, to)
    if type(made) is Array and type(input) is Array:
        made = Array(like_a_copy(made.numpy(), input.numpy()))
    return made


def lying_as(input: Tensor, made: Tensor, options: Mapping[str, Option]) -> Tensor:
    """What was made in the shape of a recorded `input`, in its order in memory unless `memory_format` says another."""
    if type(input) is Tensor and type(made) is Tensor:
        wanted = options.get("memory_format")
        if wanted is None or "preserve" in str(wanted):
            lie_as(made, input)
        elif "contiguous" not in str(wanted):
            forget_strides(made)
    return made


@refusing
def fill(input: Tensor, value: Value) -> Tensor:
    """One value (a number, or a tensor without dimensions) in the shape and dtype of `input`.

    >>> trtnet.fill(trtnet.zeros(2), 3).tolist()
    [3.0, 3.0]
    """
    return full_like(input, value)


@refusing
def zeros_like(input: Tensor, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """Zeros in the shape and dtype of `input`; recorded where that is.

    Layers of the example: `constant`, `slice`.

    >>> trtnet.zeros_like(trtnet.tensor([1.0, 2.0])).tolist()
    [0.0, 0.0]
    """
    return full_like(input, 0, dtype=dtype, **options)


@refusing
def ones_like(input: Tensor, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """Ones in the shape and dtype of `input`; recorded where that is.

    Layers of the example: `constant`, `slice`.

    >>> trtnet.ones_like(trtnet.tensor([1, 2])).tolist()
    [1, 1]
    """
    return full_like(input, 1, dtype=dtype, **options)


@refusing
def empty_like(input: Tensor, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """As `zeros_like`.

    >>> trtnet.empty_like(trtnet.tensor([1, 2])).dtype
    trtnet.int64
    """
    return full_like(input, 0, dtype=dtype, **options)


# --- sequences --------------------------------------------------------------------------------------------------------


@refusing
def arange(*bounds: Any, dtype: DtypeLike | None = None, **options: Any) -> Tensor:
    """`arange(end)`, `arange(start, end)`, `arange(start, end, step)`, without the end.

    int64 where all three are whole numbers, else float32. With a Dim among them it is recorded.

    >>> trtnet.arange(1, 7, 2).tolist()
    [1, 3, 5]
    """
    named = {name: options.pop(name) for name in ("start", "end", "step") if name in options}
    _ignore("arange", options)
    names = ("end",) if len(bounds) == 1 and "end" not in named else ("start", "end", "step")
    given = {"start": 0, "step": 1} | dict(zip(names, bounds)) | named
    if len(bounds) > 3 or "end" not in given:
        raise ArgumentTypeError("arange takes an end, or start, end and step", found=bounds)
    start, end, step = (_number(_sized(given[name])) for name in ("start", "end", "step"))
    if not isinstance(step, Dim) and step == 0:
        raise ArgumentError("arange: the step must not be 0", found=step)
    whole = not any(isinstance(v, float) for v in (start, end, step))
    to = _default(dtype, dtypes.int64 if whole else dtypes.float32)
    if not has_dims(start, end, step):
        if (end - start) / step < 0:
            raise ArgumentError("arange: the end is before the start", found=f"arange({start}, {end}, {step})")
        count = math.ceil((end - start) / step)
        return Array((start + step * np.arange(count)).astype(to.numpy))
    if not whole:
        raise ArgumentTypeError("arange: Dims and floats do not mix", found=f"arange({start}, {end}, {step})")
    made = emit(Fill((), (ceil_divide(end - start, step),), "LINSPACE", dtypes.int64, start, step))
    return converted(made, to)


def _sized(value: Any) -> Any:
    if type(value) is Tensor:
        return size_of(value)  # raises
    return value


@refusing
def range(start: float = 0, end: float | None = None, step: float = 1, *, dtype: DtypeLike | None = None) -> Tensor:
    """As torch's deprecated `range`: floats, the end included.

    >>> trtnet.range(1, 3).tolist()
    [1.0, 2.0, 3.0]
    """
    if end is None:
        start, end = 0, start
    return arange(start, end + step * 0.5, step, dtype=_default(dtype))


@refusing
def linspace(
    start: Value, end: Value, steps: SizeLike | Tensor, *, dtype: DtypeLike | None = None, **options: Option
) -> Tensor:
    """`steps` numbers from start to end, both included.

    >>> trtnet.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _ignore("linspace", options)
    to = _default(dtype)
    if is_recorded(start) or is_recorded(end):
        return converted(_recorded_linspace(start, end, _count(steps, "linspace")), to)
    return Array(np.linspace(_number(start), _number(end), _count(steps, "linspace")).astype(to.numpy))


def _recorded_linspace(start: Value, end: Value, count: int) -> Tensor:
    """From both ends to the middle, as torch does."""
    first, last = (as_tensor(v, dtypes.float32).reshape(()) for v in (start, end))
    step = (last - first) / max(count - 1, 1)
    at = np.arange(count, dtype=np.float32)
    low = at < (count // 2 if count > 1 else 1)
    near = first + step * Array(at)
    return near if low.all() else near.where(Array(low), last - step * Array(count - 1 - at))


@refusing
def logspace(
    start: Value,
    end: Value,
    steps: SizeLike | Tensor,
    base: float = 10.0,
    *,
    dtype: DtypeLike | None = None,
    **options: Option,
) -> Tensor:
    """`steps` powers of `base`, from base**start to base**end.

    >>> trtnet.logspace(0, 2, 3).tolist()
    [1.0, 10.0, 100.0]
    """
    _ignore("logspace", options)
    to = _default(dtype)
    if is_recorded(start) or is_recorded(end):
        return converted(base ** _recorded_linspace(start, end, _count(steps, "logspace")), to)
    return Array(np.logspace(_number(start), _number(end), _count(steps, "logspace"), base=base).astype(to.numpy))


def _count(value: SizeLike | Tensor, name: str) -> int:
    size = size_of(value)
    if isinstance(size, Dim):
        raise UnsupportedError(
            f"{name} of a dynamic size is not built here",
            found=f"{size}",
            remedy="make it of arange(size), which is recorded: start + arange(size).float() * step",
        )
    return size


@refusing
def eye(
    n: SizeLike | Tensor, m: SizeLike | Tensor | None = None, *, dtype: DtypeLike | None = None, **options: Option
) -> Tensor:
    """The identity matrix of n rows and m columns; recorded where one of them is a Dim.

    >>> trtnet.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _ignore("eye", options)
    rows = size_of(n)
    columns = rows if m is None else size_of(m)
    if has_dims(rows, columns):
        equal = arange(rows).unsqueeze(1) == arange(columns)
        return converted(equal, _default(dtype))
    return Array(np.eye(rows, columns, dtype=_default(dtype).numpy))  # type: ignore[arg-type]


@refusing
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DtypeLike | None = None, **options: Option) -> Array:
    """Rows and columns of the lower triangle, (2, n).

    >>> trtnet.tril_indices(2, 2).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    _ignore("tril_indices", options)
    return Array(np.stack(np.tril_indices(row, offset, col)).astype(_default(dtype, dtypes.int64).numpy))


@refusing
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DtypeLike | None = None, **options: Option) -> Array:
    """Rows and columns of the upper triangle, (2, n).

    >>> trtnet.triu_indices(2, 2).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    _ignore("triu_indices", options)
    return Array(np.stack(np.triu_indices(row, offset, col)).astype(_default(dtype, dtypes.int64).numpy))


# --- methods ----------------------------------------------------------------------------------------------------------


def _new(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
        return make(*size, dtype=_default(dtype, self.dtype), **options)

    method.__name__ = f"new_{make.__name__}"
    method.__doc__ = f"As `{make.__name__}`, in the dtype of `self` unless said otherwise."
    return method


def _new_full(
    self: Tensor,
    size: SizeLike | Sequence[SizeLike],
    fill_value: Value,
    *,
    dtype: DtypeLike | None = None,
    **options: Option,
) -> Tensor:
    """As `full`, in the dtype of `self` unless said otherwise."""
    return full(size, fill_value, dtype=_default(dtype, self.dtype), **options)


def _new_tensor(self: Tensor, data: Any, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """As `tensor`, in the dtype of `self` unless said otherwise."""
    return tensor(data, dtype=_default(dtype, self.dtype))


for _name, _method in (
    ("new_zeros", _new(zeros)), ("new_ones", _new(ones)), ("new_empty", _new(empty)), ("new_full", _new_full),
    ("new_tensor", _new_tensor),
):  # fmt: skip
    setattr(Tensor, _name, _method)


def generator() -> np.random.Generator:
    return np.random.default_rng(next_seed())


def filling(name: str, draw: Callable[..., np.ndarray], doc: str) -> None:
    """A method that writes what `draw(generator, shape, ...)` gives: into an array now, a Parameter when it is read."""

    def method(self: Array, *args: Any, **kwargs: Any) -> Array:
        kwargs.pop("generator", None)
        if args and is_recorded(args[0]):
            become_recorded(self)
            return getattr(self, name)(*args, **kwargs)
        if isinstance(self, Parameter):
            self.initialize(lambda generator, shape: np.asarray(draw(generator, shape, *args, **kwargs)))
        else:
            array = self.writeable()
            array[...] = draw(generator(), array.shape, *args, **kwargs)
        return self

    method.__name__, method.__doc__ = name, doc
    setattr(Array, name, refusing(method))


def _copy(self: Array, src: Value, non_blocking: bool = False) -> Array:
    """Write another tensor's values, broadcast and converted."""
    if is_recorded(src):
        become_recorded(self)
        return self.copy_(src)
    refuse_hazards(self, (src,))
    array, source = self.writeable(), as_array(src)
    try:
        array[...] = source
    except ValueError:
        raise ShapeError("copy_: the shapes do not fit", expected=array.shape, found=source.shape) from None
    return self


setattr(Array, "copy_", _copy)  # noqa: B010
filling("fill_", lambda generator, shape, value: np.full(shape, _number(value)), "Write one value everywhere.")
filling("zero_", lambda generator, shape: np.zeros(shape, np.float32), "Write zeros.")
