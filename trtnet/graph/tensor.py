"""Tensors: recorded ones, concrete ones backed by NumPy, and parameters.

All three have torch's methods; `trtnet.functional` defines them. A recorded Tensor stands for a value inside a
network. An Array holds numbers now, and becomes a constant where it meets a recorded Tensor. A Parameter (or
Buffer) is an Array that is weights: inside `forward` it acts as a recorded Tensor.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsIndex, TypeAlias, overload

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array, require_unmasked
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import (
    ArgumentTypeError,
    DtypeError,
    NameNotFoundError,
    ShapeError,
    UnsupportedError,
    instead_of,
    shown,
)
from ..basics.location import Location
from ..weights.demands import Demand
from ..weights.recipes import Leaf, Value, Weight

if TYPE_CHECKING:
    import torch


class Producer(Protocol):
    """What gives tensors: a layer of whatever kind. `layers/base.py` says what each of these is.

    Parameters without a type here are what `layers` asks of its surroundings.
    """

    inputs: tuple[Operand, ...]
    outputs: tuple[Tensor, ...]
    name: str
    path: str
    location: Location | None

    def __init__(self, inputs: tuple[Operand, ...], **attributes: Any) -> None: ...

    @property
    def kind(self) -> str: ...
    @property
    def attributes(self) -> tuple[str, ...]: ...
    @property
    def weight_attributes(self) -> dict[int, str]: ...
    @property
    def is_view(self) -> bool: ...
    @property
    def is_dense(self) -> bool: ...
    @property
    def is_elementwise(self) -> bool: ...
    @property
    def rounds(self) -> bool: ...
    @property
    def reads_sizes(self) -> bool: ...
    @property
    def computes_sizes(self) -> bool: ...
    @property
    def takes_quantized(self) -> bool: ...
    @property
    def quantizes(self) -> bool: ...
    @property
    def draws(self) -> bool: ...
    @property
    def decides(self) -> tuple[Dim, ...]: ...
    @property
    def reads_back(self) -> bool: ...
    @property
    def expands(self) -> bool: ...
    @property
    def passes_bytes(self) -> bool: ...
    @property
    def has_bytes(self) -> bool: ...
    @property
    def has_tensor_weights(self) -> bool: ...
    @property
    def region(self) -> int | None: ...
    @property
    def feeds(self) -> Tensor | None: ...

    def infer(self) -> tuple[tuple[Size, Dtype], ...]: ...
    def holds(self, fixed: bool = False) -> tuple[SizeLike, SizeLike] | None: ...
    def structure(self) -> dict[str, Any]: ...
    def precision(self) -> Dtype | None: ...
    def lies(self) -> tuple[int, ...] | None: ...
    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None: ...
    def is_apart_from(self, other: Any) -> bool: ...
    def origin(self, positions: tuple[Any, ...]) -> tuple[Any, ...] | None: ...
    def picks(self, output: int) -> int | None: ...
    def following(self, before: Any) -> Any: ...
    def takes(self, position: int, wanted: Any, output: int = 0) -> Any: ...
    def operand(self, index: int) -> Operand: ...
    def demands(self) -> tuple[Demand, ...]: ...
    def as_weight(self, of: Callable[[Operand], Weight | None]) -> Weight | None: ...
    def fold(self, size: Callable[[SizeLike], int], *values: Any) -> Any: ...
    def divide(self, layers: Any) -> Any: ...
    def begun(self) -> Any: ...

    def again(self, operands: tuple[Operand, ...], recorder: Any) -> Tensor | tuple[Tensor, ...]: ...
    def compose(self, F: Any, *inputs: Operand) -> Tensor | tuple[Tensor, ...]: ...
    def widened(self, F: Any, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]: ...
    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]: ...

    def supported(self, provider: Any) -> bool: ...
    @classmethod
    def failing(cls, graph: Any, provider: Any, refit: bool) -> Collection[Any]: ...
    def add_to(self, lowering: Any) -> Any: ...
    def compute(self, run: Any, *inputs: Any) -> Any: ...
    def either(self, run: Any, number: int, *inputs: Any) -> Any: ...
    def grain(self, run: Any, *inputs: Any) -> tuple[float, float] | None: ...

    def headline(self) -> str: ...
    def describe(self) -> str: ...


class Recording(Protocol):
    """The recording that goes on. `recorder.py` says what each of these is."""

    token: object
    bodies: list[Any]
    path: str
    nested: int
    where: Location | None
    paths: dict[int, str]
    leaves: dict[int, Leaf]
    replaced: list[tuple[Any, str, Array]]
    notes: list[tuple[Tensor, Tensor | None, Any, bool]]
    takes_values: bool

    @property
    def layers(self) -> Sequence[Producer]: ...
    def emit(self, layer: Producer) -> Any: ...
    def weight(self, value: Array) -> Weight: ...
    def check_made_inside(self, array: Array) -> None: ...
    def known(self, tensor: Tensor) -> np.ndarray | None: ...
    def freeze(self, parameter: Parameter) -> None: ...
    def require_equal(self, left: SizeLike, right: SizeLike, problem: str) -> None: ...
    def cannot_train(self, text: str, owner: str) -> None: ...
    def cut_gradients(self, text: str) -> None: ...


current_recorder: ContextVar[Recording | None] = ContextVar("trtnet.recorder", default=None)
"""The recording that this thread (or asyncio task) is in, if any."""


class _Kind(type):
    """The class of Tensor: called as torch's, with sizes or data, it makes an array."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Tensor and (len(args) < 3 or type(args[1]) is not Dtype) and "recorder" not in kwargs:
            return cls.from_data(args, dtypes.float32)
        return super().__call__(*args, **kwargs)


if TYPE_CHECKING:

    class _Functions:
        """The operators and methods that give one tensor; `functional` sets them."""

        def _unary(self) -> Tensor: ...
        def _binary(self, other: Any) -> Tensor: ...
        def _method(self, *args: Any, **kwargs: Any) -> Tensor: ...
        def _changed(self, *args: Any, **kwargs: Any) -> Self: ...
        def _in_place(self, other: Any) -> Self: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...

        __abs__ = __invert__ = __neg__ = __pos__ = _unary
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _binary
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _binary
        __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = _binary
        __rrshift__ = __lt__ = __le__ = __gt__ = __ge__ = _binary
        __iadd__ = __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __imod__ = __ipow__ = _in_place
        __iand__ = __ior__ = __ixor__ = __ilshift__ = __irshift__ = _in_place
        abs = absolute = acos = acosh = add = addbmm = addcdiv = addcmul = addmm = addmv = addr = adjoint = _method
        all = amax = amin = any = arccos = arccosh = arcsin = arcsinh = arctan = arctan2 = arctanh = argmax = _method
        argmin = argsort = argwhere = as_strided = asin = asinh = atan = atan2 = atanh = baddbmm = bernoulli = _method
        bfloat16 = bincount = bitwise_and = bitwise_left_shift = bitwise_not = bitwise_or = _method
        bitwise_right_shift = bitwise_xor = bmm = bool = broadcast_to = byte = ceil = char = clamp = _method
        clamp_max = clamp_min = clip = clone = conj = conj_physical = contiguous = copysign = corrcoef = cos = _method
        cosh = count_nonzero = cov = cpu = cross = cuda = cumprod = cumsum = deg2rad = dequantize = detach = _method
        diag = diag_embed = diagflat = diagonal = diagonal_scatter = diff = digamma = dist = div = divide = _method
        dot = double = eq = erf = erfc = erfinv = exp = exp2 = expand = expand_as = expm1 = fix = flatten = _method
        flip = fliplr = flipud = float = floor = floor_divide = fmax = fmin = fmod = frac = gather = ge = _method
        ger = greater = greater_equal = gt = half = hardshrink = heaviside = hypot = index_add = index_copy = _method
        index_fill = index_put = index_reduce = index_select = inner = int = isclose = isfinite = isinf = _method
        isnan = isneginf = isposinf = isreal = kron = le = lerp = less = less_equal = lgamma = log = log10 = _method
        log1p = log2 = log_softmax = logaddexp = logaddexp2 = logcumsumexp = logical_and = logical_not = _method
        logical_or = logical_xor = logit = logsumexp = long = lt = masked_fill = masked_scatter = _method
        masked_select = matmul = maximum = mean = minimum = mm = moveaxis = movedim = msort = mul = _method
        multinomial = multiply = mv = nan_to_num = nanmean = nanquantile = nansum = narrow = ne = neg = _method
        negative = new_tensor = norm = not_equal = outer = permute = pin_memory = positive = pow = prelu = _method
        prod = put = quantile = rad2deg = ravel = reciprocal = relu = remainder = repeat = repeat_interleave = _method
        reshape = reshape_as = resolve_conj = resolve_neg = roll = rot90 = round = rsqrt = scatter = _method
        scatter_add = scatter_reduce = select = select_scatter = sgn = short = sigmoid = sign = signbit = _method
        ldexp = new_empty = new_full = new_ones = new_zeros = sin = sinc = sinh = _method
        slice_scatter = softmax = sqrt = square = squeeze = std = sub = subtract = sum = swapaxes = swapdims = _method
        t = take = take_along_dim = tan = tanh = tile = to = trace = transpose = tril = triu = true_divide = _method
        trunc = type_as = unflatten = unfold = unsqueeze = var = vdot = view = view_as = where = xlogy = _method
        abs_ = absolute_ = acos_ = acosh_ = add_ = addbmm_ = addcdiv_ = addcmul_ = addmm_ = addmv_ = addr_ = _changed
        arccos_ = arccosh_ = arcsin_ = arcsinh_ = arctan2_ = arctan_ = arctanh_ = asin_ = asinh_ = atan2_ = _changed
        atan_ = atanh_ = baddbmm_ = bernoulli_ = bitwise_and_ = bitwise_left_shift_ = bitwise_not_ = _changed
        bitwise_or_ = bitwise_right_shift_ = bitwise_xor_ = cauchy_ = ceil_ = clamp_ = clamp_max_ = _changed
        clamp_min_ = clip_ = copy_ = copysign_ = cos_ = cosh_ = cumprod_ = cumsum_ = deg2rad_ = detach_ = _changed
        digamma_ = div_ = divide_ = eq_ = erf_ = erfc_ = erfinv_ = exp2_ = exp_ = expm1_ = exponential_ = _changed
        fill_ = fill_diagonal_ = fix_ = floor_ = floor_divide_ = fmod_ = frac_ = ge_ = geometric_ = _changed
        greater_ = greater_equal_ = gt_ = heaviside_ = hypot_ = index_add_ = index_copy_ = index_fill_ = _changed
        index_put_ = index_reduce_ = ldexp_ = le_ = lerp_ = less_ = less_equal_ = lgamma_ = log10_ = log1p_ = _changed
        log2_ = log_ = log_normal_ = logical_and_ = logical_not_ = logical_or_ = logical_xor_ = logit_ = _changed
        lt_ = masked_fill_ = masked_scatter_ = mul_ = multiply_ = nan_to_num_ = ne_ = neg_ = negative_ = _changed
        normal_ = not_equal_ = pow_ = put_ = rad2deg_ = random_ = reciprocal_ = relu_ = remainder_ = round_ = _changed
        rsqrt_ = scatter_ = scatter_add_ = scatter_reduce_ = sgn_ = sigmoid_ = sign_ = sin_ = sinc_ = sinh_ = _changed
        sqrt_ = square_ = squeeze_ = sub_ = subtract_ = swapaxes_ = swapdims_ = t_ = tan_ = tanh_ = _changed
        transpose_ = tril_ = triu_ = true_divide_ = trunc_ = uniform_ = unsqueeze_ = xlogy_ = zero_ = _changed
else:
    _Functions = object


class Tensor(_Functions, metaclass=_Kind):
    """A value inside a network that is being recorded.

    Called by the user as torch's class is, `Tensor(3, 4)` or `Tensor([1.0, 2.0])`, it gives a float32 Array.

    Attributes:
        shape: a Size of ints and Dims.
        dtype: the element type.
    """

    # `_array` is an Array's: with the same slots a concrete tensor can become a recorded one
    __slots__ = ("__weakref__", "_array", "_note", "dtype", "index", "layer", "name", "recorder", "shape")
    from_data: Callable[[tuple[Any, ...], Dtype], Any]
    """torch's old constructor; `functional` sets it."""

    __array_ufunc__ = None  # NumPy arrays on the left leave the operator to us

    shape: Size
    dtype: Dtype
    recorder: Any
    _note: Any
    """What functional/memory.py keeps of it; to be read as `alias`."""
    alias: Any
    """What is known of the memory that it shares, if anything; functional/memory.py sets it."""
    alias_of: Callable[[Tensor], Any]
    """The same, noted from now on."""
    layer: Producer | None
    index: int
    name: str | None

    def __init__(
        self,
        shape: Size,
        dtype: Dtype,
        recorder: Any,
        layer: Producer | None = None,
        index: int = 0,
        name: str | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.recorder = recorder
        self._note = None
        self.layer = layer
        self.index = index
        self.name = name

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def device(self) -> Device:
        """Where model files that ask put what they make; a recorded value is nowhere before the network runs."""
        return Device("cpu")

    @property
    def is_cuda(self) -> bool:
        return False

    is_cpu = True
    is_mkldnn = is_mps = is_sparse_csr = is_xla = is_xpu = False

    @property
    def requires_grad(self) -> bool:
        """What forward made it of a recorded tensor: no gradient is computed by it."""
        return self.alias is not None and self.alias.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """The tensor itself. What is trained is made by `to_torch`; there are no gradients here."""
        if requires_grad and not self.dtype.is_floating_point:
            raise DtypeError(
                "only floating-point tensors can require gradients",
                expected="a floating-point type",
                found=self.dtype,
                remedy="leave it out: gradients are computed by trtnet.to_torch(graph)",
            )
        if current_recorder.get() is not None:
            Tensor.alias_of(self).requires_grad = bool(requires_grad)
        return self

    is_leaf = True
    grad = grad_fn = None
    retains_grad = False

    def retain_grad(self) -> None:
        """Nothing: there are no gradients."""

    def dim(self) -> int:
        return len(self.shape)

    ndimension = dim

    @overload
    def size(self) -> Size: ...
    @overload
    def size(self, dim: int) -> SizeLike: ...
    def size(self, dim: int | None = None) -> Size | SizeLike:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> SizeLike:
        return self.shape.numel()

    nelement = numel

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentTypeError("a tensor without dimensions has no length")
        if not isinstance(self.shape[0], int):
            raise ArgumentTypeError(
                "the length of this tensor is not known while recording",
                found=f"{format_shape(self.shape)}",
                remedy="use x.size(0), which may be a Dim",
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])

    def _no_value(self, what: str) -> ArgumentTypeError:
        return ArgumentTypeError(
            f"{what} needs a value, and a recorded tensor has none before the network runs",
            expected="a number or an array",
            found=repr(self),
            remedy="decide with Python values (shapes that are ints, constructor arguments), "
            "or record both results and choose with trtnet.where(condition, a, b); or let the network decide:\n"
            "y = trtnet.cond(condition, lambda x: x * 2, lambda x: x, x)  # for an if\n"
            "i, x = trtnet.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, x * 2), (0, x))  # or trtnet.scan",
        )

    def _known_value(self) -> Array | None:
        """The value now, where it depends on constants and parameters alone, while a module is recorded; else None.

        Its parameters are frozen in that graph, as by reading them themselves. The array cannot be written to.
        """
        current = current_recorder.get()
        array = None if current is None else current.known(self)
        return None if array is None else Array(array)

    def _value(self, what: str) -> Array:
        found = self._known_value()
        if found is None:
            raise self._no_value(what)
        return found

    def __bool__(self) -> bool:
        return bool(self._value("bool()"))

    def __int__(self) -> int:
        return int(self._value("int()"))

    def __index__(self) -> int:
        return self._value("an index").__index__()

    def __float__(self) -> float:
        return float(self._value("float()"))

    def __contains__(self, element: Tensor | float | np.ndarray) -> bool:
        return bool((self == element).any())

    def __format__(self, spec: str) -> str:
        """As torch: the number of a tensor without dimensions; one that has no value yet is shown as by `repr`."""
        if self.shape:
            return super().__format__(spec)
        found = self._value("a format") if spec else self._known_value()
        return repr(self) if found is None else format(found.item(), spec)

    def item(self) -> Any:
        return self._value(".item()").item()

    def tolist(self) -> Any:
        return self._value(".tolist()").tolist()

    def numpy(self) -> np.ndarray:
        """The value as an array that cannot be written to, where it depends on constants and parameters alone, while a
        module is recorded: the parameters are frozen in that graph. Raises ArgumentTypeError for other tensors."""
        return self._value(".numpy()").numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._value("a NumPy array").__array__(*args, **kwargs)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({format_shape(self.shape)}, {self.dtype}{name})"

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NameNotFoundError(
            f"tensors have no method or attribute {name!r} here",
            expected="a method or attribute of torch.Tensor that TensorRT can follow",
            found=f"a {type(self).__name__} of shape {format_shape(self.shape)}",
            remedy=instead_of(name, [n for n in dir(type(self)) if not n.startswith("_")])
            or "write it with the functions of trtnet.functional",
        )


Operand = Tensor | Weight | None

recorded: Callable[..., Tensor] = functools.partial(type.__call__, Tensor)
"""Makes recorded Tensors, without asking first what is meant."""


class Device(str):
    """What `tensor.device` gives: code that passes it on works, and nothing depends on it."""

    __slots__ = ()

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        return None


DeviceLike: TypeAlias = "str | int | torch.device"
"""What names a device in torch; nothing depends on it here."""


class Array(Tensor):
    """A concrete tensor: a NumPy array with torch's method names.

    `trtnet.tensor`, `zeros`, `arange` and their kin make them, inside `forward` and outside. `.numpy()` gives the
    array itself, not a copy.
    """

    __slots__ = ()

    def __init__(self, array: np.ndarray) -> None:
        current = current_recorder.get()
        require_unmasked(array)
        self._array = array
        self._note = None
        self.recorder = None if current is None else current.token

    def __reduce__(self) -> tuple[Any, ...]:
        return Array, (self.numpy(),)

    def numpy(self) -> np.ndarray:
        return self._array

    @property
    def shape(self) -> Size:  # type: ignore[override]
        return Size(self.numpy().shape)

    @property
    def dtype(self) -> Dtype:  # type: ignore[override]
        return dtypes.get(self.numpy().dtype)

    def item(self) -> Any:
        if self.numpy().size != 1:
            raise ShapeError(
                ".item() takes a tensor of one element", expected="1 element", found=format_shape(self.shape)
            )
        return self.numpy().item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.numpy().dtype.kind not in "iub":
            raise ArgumentTypeError("only an integer tensor of one element can be an index", found=repr(self))
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy) if copy else np.asarray(self.numpy(), dtype=dtype)

    def __format__(self, spec: str) -> str:
        is_number = self.numpy().size == 1 if spec else not self.shape and type(self) is not Parameter
        return format(self.item(), spec) if is_number else str(self)

    def writeable(self) -> np.ndarray:
        """The array, for changes in place. Raises UnsupportedError where it was made outside of what is recorded."""
        current = current_recorder.get()
        if current is not None:
            current.check_made_inside(self)
        if not self._array.flags.writeable:
            self._array = self._array.copy()
        return self._array

    def __repr__(self) -> str:
        return f"{type(self).__name__}({np.array2string(self.numpy(), separator=', ', threshold=20)}, {self.dtype})"


def refuse_in_forward(parameter: Parameter) -> None:
    """Raises UnsupportedError where a parameter of the module that is being recorded would be changed."""
    current = current_recorder.get()
    if current is not None and id(parameter) in current.leaves:
        raise UnsupportedError(
            "a parameter cannot be changed in forward",
            found=repr(parameter),
            remedy="write a = a + b in place of a += b, or change a copy: a = a.clone()",
        )


Initializer = Callable[["np.random.Generator", tuple[int, ...]], np.ndarray]


class Parameter(Array):
    """Weights that training changes: shape, dtype, an initialiser, and a value or None.

    The value is drawn when it is first read, from a generator seeded by `trtnet.manual_seed` and by the order in
    which parameters were made, so that it does not depend on the order of reading.

    Args:
        data: the value: an array, an Array, or a torch tensor; or None with `shape`.
        requires_grad: whether `to_torch` makes it trainable.
        shape, dtype: of a parameter without a value; float32 unless given.
        initializer: called with a NumPy generator and the shape when the value is first read; zeros when left out.

    >>> scale = trtnet.nn.Parameter(trtnet.tensor([1.0, 2.0]))
    >>> scale.shape, scale.dtype, scale.requires_grad, scale.tolist()
    (Size([2]), trtnet.float32, True, [1.0, 2.0])
    """

    __slots__ = ("__dict__", "_dtype", "_requires_grad", "_shape", "value")  # model files leave notes on parameters

    persistent: bool = True

    def __init__(
        self,
        data: Any = None,
        requires_grad: bool = True,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DtypeLike | None = None,
        initializer: Initializer | None = None,
    ) -> None:
        self._requires_grad = requires_grad
        if data is not None:
            array = as_array(data, dtype)
            dtypes.for_network(array.dtype, "a parameter")
            self.set(array)
            return
        if shape is None:
            raise ArgumentTypeError("a Parameter needs a value or a shape", remedy="Parameter(trtnet.zeros(3, 4))")
        self._shape: tuple[int, ...] = tuple(_concrete_size(s) for s in shape)
        self._dtype = dtypes.for_network(dtype or dtypes.float32, "a parameter")
        self.initialize(initializer or (lambda _, size: np.zeros(size, np.float32)))

    def set(self, array: np.ndarray) -> None:
        """Give it a value; graphs that were recorded before keep the old one. Raises UnsupportedError while it is being
        recorded, as all that changes it does."""
        self.hold(Value(array))
        self._shape = array.shape
        self._dtype = dtypes.get(array.dtype)

    def hold(self, value: Value) -> None:
        """Have this value, of the shape and dtype that it has."""
        refuse_in_forward(self)
        self.value = value

    def initialize(self, initializer: Initializer) -> None:
        """Have the value drawn by `initializer` when it is first read."""
        shape, to, seed = self._shape, self._dtype.numpy, next_seed()
        self.hold(Value(make=lambda: np.asarray(initializer(np.random.default_rng(seed), shape), dtype=to, order="C")))

    def leaf(self, name: str) -> Leaf:
        """These weights under a `state_dict` key, with the value of this moment."""
        return Leaf(name, self._shape, self._dtype, self.value, self.persistent)

    def convert(self, dtype: Dtype) -> None:
        """Change the dtype; a value that is not drawn yet stays so."""
        old, to = self.value, dtype.numpy
        self.hold(Value(make=lambda: old.read().astype(to)) if old.array is None else Value(old.array.astype(to)))
        self._dtype = dtype

    def numpy(self) -> np.ndarray:
        """The value. Inside `forward` this freezes the parameter in the graph that is being recorded."""
        current = current_recorder.get()
        if current is not None:
            current.freeze(self)
        return self.value.read()

    def writeable(self) -> np.ndarray:
        """The value, for changes in place. Raises UnsupportedError while it is being recorded."""
        refuse_in_forward(self)
        array = self.value.read()
        if not array.flags.writeable:
            array = array.copy()
            self.value.array = array
        return array

    @property
    def shape(self) -> Size:  # type: ignore[override]
        return Size(self._shape)

    @property
    def dtype(self) -> Dtype:  # type: ignore[override]
        return self._dtype

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        self._requires_grad = requires_grad
        return self

    @property
    def data(self) -> Parameter:
        current = current_recorder.get()
        if current is not None:
            current.cut_gradients("forward takes .data")
        return self

    @data.setter
    def data(self, value: Any) -> None:
        self.set(as_array(value))

    def __reduce__(self) -> tuple[Any, ...]:
        state = self._requires_grad, self._shape, self._dtype, self.value, self.persistent, self.__dict__
        return object.__new__, (type(self),), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._requires_grad, self._shape, self._dtype, self.value, persistent, notes = state
        self.__dict__.update(notes)
        if isinstance(self, Buffer):
            self.persistent = persistent

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        current = current_recorder.get()
        if current is not None and id(self) in current.leaves:
            return self.clone()  # a tensor that depends on the parameter
        copy = object.__new__(type(self))
        copy._requires_grad, copy._shape, copy._dtype = self._requires_grad, self._shape, self._dtype
        value = self.value
        copy.value = Value(None if value.array is None else value.array.copy(), value.make)
        copy.__dict__.update(self.__dict__)
        memo[id(self)] = copy
        return copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({format_shape(self._shape)}, {self._dtype})"


class Buffer(Parameter):
    """Weights that training does not change: running statistics, position tables, masks.

    Args:
        data, kwargs: as Parameter's.
        persistent: whether it has a `state_dict` key.

    >>> steps = trtnet.nn.Buffer(trtnet.arange(3))
    >>> steps.tolist(), steps.requires_grad
    ([0, 1, 2], False)
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any = None, *, persistent: bool = True, **kwargs: Any) -> None:
        super().__init__(data, False, **kwargs)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        copy = super().__deepcopy__(memo)
        assert isinstance(copy, Buffer)
        copy.persistent = self.persistent
        return copy


def frozen(parameter: Tensor) -> Array:
    """The parameter's value as a concrete tensor, with the word that it is meant to be a part of the network.

    What becomes a Python number while recording (`float(p)`, `p.item()`, `range(int(p))`, `if (p > 0).any():`) cannot
    follow a later change of the parameter: it is frozen in that graph. Recording warns of that, once for each
    parameter, unless it was passed to `frozen`, in `forward` or before.

    >>> scale = trtnet.nn.Parameter(trtnet.tensor(2.0))
    >>> graph = trtnet.record(lambda x: x * float(trtnet.frozen(scale)), x=trtnet.Input((3,)))
    """
    if not isinstance(parameter, Parameter):
        raise ArgumentTypeError("frozen takes a parameter or a buffer", found=repr(parameter))
    parameter.__dict__["is_meant_frozen"] = True
    return Array(parameter.numpy().copy())


class _Seeds:
    seed = 0
    drawn = 0
    lock = threading.Lock()


def manual_seed(seed: int) -> None:
    """Seed what is drawn from now on: `trtnet.rand` and its kin, the initial values of parameters that are made, and
    each call of a reference engine whose network draws. A TensorRT engine's draws cannot be seeded.

    Until it is called, the seed is 0.
    """
    with _Seeds.lock:
        _Seeds.seed, _Seeds.drawn = int(seed) & 0xFFFFFFFFFFFFFFFF, 0


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn inside is drawn from this seed, and what is drawn after as if nothing had been drawn inside."""
    with _Seeds.lock:
        kept, _Seeds.seed, _Seeds.drawn = (_Seeds.seed, _Seeds.drawn), seed, 0
    try:
        yield
    finally:
        with _Seeds.lock:
            _Seeds.seed, _Seeds.drawn = kept


def next_seed() -> tuple[int, int]:
    """A seed for `numpy.random.default_rng`, another one at each call, in whatever thread."""
    with _Seeds.lock:
        _Seeds.drawn += 1
        return _Seeds.seed, _Seeds.drawn


def _concrete_size(size: SupportsIndex) -> int:
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise ShapeError("the sizes of a parameter are whole numbers", expected="int", found=repr(size))
    number = size.__index__()
    if number < 0:
        raise ShapeError("a size cannot be negative", found=shown(number))
    if number >= 1 << 63:
        raise ShapeError("no parameter is of this size", expected="less than 2^63", found=shown(number))
    return number
