"""Random numbers, named as torch's.

Outside of a recording they are drawn now, seeded by `trtnet.manual_seed`; the numbers are not torch's. Inside, they are
recorded as layers that draw at each call, or, by `record(..., draws="inputs")`, as inputs of the network. TensorRT
draws float32, uniformly or normally, and takes no seed; everything else is computed from that. Each execution context,
so each engine and each process, draws the same numbers from its first call on (TensorRT 8.6, H200): an engine of such a
network is refused a second context, and `draws="inputs"` is the way to give different ones. A reference engine's draws
are seeded by `trtnet.manual_seed`, those of a module to train (`to_torch`) by `torch.manual_seed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import as_array
from ..basics.dims import Dim, Size, SizeLike, format_shape
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import Recorder, recorder
from ..graph.tensor import Array, Parameter, Tensor, current_recorder, recorded
from ..layers.casting import converted
from ..layers.generation import Fill
from ..layers.shaping import reshaped
from .arithmetic import add, div, mul, neg, sub
from .broadcasting import broadcast_shapes
from .comparison import eq, lt
from .creation import _default, _ignore, arange, filling, generator, lying_as
from .dispatch import Option, Sizes, Value, refusing
from .inplace import in_place
from .normalization import softmax
from .shape import has_dims, not_negative, size_of, sizes_of, unsqueeze
from .sorting import argmax, argsort, topk
from .unary import ceil, exp, floor, log, tan

__all__ = [
    "bernoulli", "binomial", "gumbel_softmax", "multinomial", "normal", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm",
]  # fmt: skip

TINY = float(np.finfo(np.float32).tiny)
MOST = 2**24  # a float32 between 0 and 1 has 24 bits


# --- what TensorRT draws ----------------------------------------------------------------------------------------------


def _records(options: Mapping[str, Option | Sizes], *sizes: Any | Sequence[SizeLike]) -> bool:
    """Whether a draw is recorded. Raises UnsupportedError where it is, and is to come from a generator."""
    current = current_recorder.get()
    if current is None and not has_dims(sizes):
        return False
    current = recorder()
    if options.get("generator") is not None and not current.draws_inputs:
        raise UnsupportedError(
            "a draw inside a network cannot come from a generator: TensorRT takes no seed",
            expected="generator=None",
            found=repr(options["generator"]),
            remedy='record(module, ..., draws="inputs") makes the draws inputs, which a generator may give',
        )
    return True


def _drawn(sizes: tuple[SizeLike, ...], operation: str, alpha: float, beta: float) -> Tensor:
    """Recorded float32: uniform in [alpha, beta), or of mean alpha and standard deviation beta."""
    not_negative(sizes)
    current = recorder()
    normally = operation == "RANDOM_NORMAL"
    if current.draws_inputs:
        x = _input(current, "normal" if normally else "uniform", sizes)
        scale = beta if normally else beta - alpha
        x = x if scale == 1 else mul(x, scale)
        return x if alpha == 0 else add(x, alpha)
    # TensorRT's numbers may be the upper end itself, torch's are below it
    end = beta if normally else float(np.nextafter(np.float32(beta), np.float32(alpha)))
    made = current.emit(Fill((), sizes or (1,), operation, dtypes.float32, float(alpha), float(end)))
    return made if sizes else reshaped(made, ())


def _input(current: Recorder, stem: str, sizes: tuple[SizeLike, ...]) -> Tensor:
    if not current.data_dims.isdisjoint(map(str, dims.symbols_of(sizes))):
        raise UnsupportedError(
            "a draw of a size that the data decides cannot be an input of the network",
            expected="sizes that are known before the network runs",
            found=format_shape(sizes),
            remedy="draw as many as there can be, and take a part: rand(x.numel())[:count]",
        )
    name = next(name for i in range(len(current.inputs) + 1) if (name := f"{stem}_{i}") not in current.inputs)
    current.inputs[name] = made = recorded(Size(sizes), dtypes.float32, current, name=name)
    if stem == "uniform":  # of a build's check
        current.ranges[name] = (0.0, float(np.nextafter(np.float32(1), np.float32(0))))
    return made


def _uniform(sizes: tuple[SizeLike, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    """float32 in [low, high), recorded or drawn now."""
    if current_recorder.get() is None and not has_dims(sizes):
        return Array(generator().random(sizes, np.float32) * np.float32(high - low) + np.float32(low))
    return _drawn(sizes, "RANDOM_UNIFORM", low, high)


def _below(high: float, low: float, dtype: Dtype) -> float:
    """The end of the float32 numbers that are below `high` still when they are rounded to `dtype`."""
    bits = {dtypes.float16: 12, dtypes.bfloat16: 9}.get(dtype)
    return high if bits is None else high - (high - low) * 2.0**-bits


def _floating(name: str, dtype: Dtype) -> Dtype:
    if not dtype.is_floating_point:
        raise DtypeError(
            f"{name} draws floating-point numbers",
            expected="float32, float16 or bfloat16",
            found=dtype,
            remedy="randint draws whole numbers",
        )
    return dtype


# --- functions --------------------------------------------------------------------------------------------------------


@refusing
def rand(*size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
    """Uniform in [0, 1).

    >>> x = trtnet.rand(2, 3)
    >>> x.shape, bool((x >= 0).all()), bool((x < 1).all())
    (Size([2, 3]), True, True)
    """
    sizes = sizes_of(size, options.pop("size", None))
    _ignore("rand", options)
    to = _floating("rand", _default(dtype))
    if _records(options, sizes):
        return converted(_drawn(sizes, "RANDOM_UNIFORM", 0.0, _below(1.0, 0.0, to)), to)
    drawn = generator().random(sizes, np.float32)
    return Array(drawn if to is dtypes.float32 else (drawn * np.float32(_below(1.0, 0.0, to))).astype(to.numpy))


@refusing
def randn(*size: Sizes, dtype: DtypeLike | None = None, **options: Option | Sizes) -> Tensor:
    """Of the standard normal distribution.

    >>> trtnet.randn(2, 3).shape
    Size([2, 3])
    """
    sizes = sizes_of(size, options.pop("size", None))
    _ignore("randn", options)
    to = _floating("randn", _default(dtype))
    if _records(options, sizes):
        return converted(_drawn(sizes, "RANDOM_NORMAL", 0.0, 1.0), to)
    return Array(np.asarray(generator().standard_normal(sizes, np.float32)).astype(to.numpy))


@refusing
def randint(
    *bounds: Any, size: SizeLike | Sequence[SizeLike] | None = None, dtype: DtypeLike | None = None, **options: Any
) -> Tensor:
    """`randint(high, size)` or `randint(low, high, size)`: whole numbers from low to high - 1.

    Recorded, they are made of float32 in [0, 1), so that there are at most 2**24 different ones, and of n one is up to
    n / 2**24 more likely than another. `high` may be a Dim then.

    >>> x = trtnet.randint(3, 5, (100,))
    >>> sorted(set(x.tolist()))
    [3, 4]
    """
    low, high = options.pop("low", 0), options.pop("high", None)
    given = list(bounds)
    if size is None and given:
        size = given.pop()
    if len(given) == 2:
        low, high = given
    elif len(given) == 1:
        low, high = (low, given[0]) if high is None else (given[0], high)
    _ignore("randint", options)
    if high is None or size is None:
        raise ArgumentTypeError("randint takes (high, size) or (low, high, size)", found=bounds)
    sizes, to = sizes_of((size,)), _default(dtype, dtypes.int64)
    low, high = size_of(low), size_of(high)
    if _records(options, sizes, low, high):
        return _whole("randint", sizes, low, high, to)
    if low >= high:
        raise _empty("randint", low, high)
    return Array(np.asarray(generator().integers(low, high, sizes)).astype(to.numpy))  # type: ignore[arg-type]


def _empty(name: str, low: SizeLike, high: SizeLike) -> ArgumentError:
    return ArgumentError(f"{name}: the upper end must be above the lower", expected=f"above {low}", found=high)


def _whole(name: str, sizes: tuple[SizeLike, ...], low: SizeLike, high: SizeLike, to: Dtype) -> Tensor:
    """Recorded whole numbers from low to high - 1."""
    count = high - low
    least, most = (count.min, count.max) if isinstance(count, Dim) else (count, count)
    if least < 1:
        raise _empty(name, low, high)
    if most > MOST:
        raise UnsupportedError(
            f"{name}: TensorRT's random numbers have 24 bits",
            expected=f"at most {MOST:,} different numbers",
            found=f"{most:,}",
            remedy="put two draws together: randint(a, size) * b + randint(b, size), "
            "or make the numbers an input of the network",
        )
    # below `count` in float32: u is at most 1 - 2**-24
    scaled = mul(_drawn(sizes, "RANDOM_UNIFORM", 0.0, 1.0), count)
    if to.is_floating_point:
        whole = floor(scaled)
        return converted(whole if low == 0 else add(whole, low), to)
    whole = converted(scaled, dtypes.int32 if to is dtypes.int32 else dtypes.int64)
    return converted(whole if low == 0 else add(whole, low), to)


@refusing
def randperm(n: SizeLike, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """The whole numbers from 0 to n - 1 in some order; recorded, n is at most 3840, as for `sort`.

    >>> sorted(trtnet.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    _ignore("randperm", options)
    count, to = size_of(n), _default(dtype, dtypes.int64)
    if _records(options, count):
        return converted(argsort(_drawn((count,), "RANDOM_UNIFORM", 0.0, 1.0)), to)
    return Array(generator().permutation(count).astype(to.numpy))  # type: ignore[arg-type]


def _like(input: Tensor) -> tuple[SizeLike, ...]:
    if type(input) is Tensor:
        recorder()  # raises where there is none
    return tuple(input.shape)


def rand_like(input: Tensor, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """As `rand`, in the shape and dtype of `input`.

    >>> trtnet.rand_like(trtnet.zeros(2, 3)).shape
    Size([2, 3])
    """
    return lying_as(input, rand(_like(input), dtype=_default(dtype, input.dtype), **options), options)


def randn_like(input: Tensor, *, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """As `randn`, in the shape and dtype of `input`.

    >>> trtnet.randn_like(trtnet.zeros(2, 3)).shape
    Size([2, 3])
    """
    return lying_as(input, randn(_like(input), dtype=_default(dtype, input.dtype), **options), options)


def randint_like(input: Tensor, *bounds: int, dtype: DtypeLike | None = None, **options: Option) -> Tensor:
    """`randint_like(input, high)` or `(input, low, high)`: as `randint`, in the shape and dtype of `input`.

    >>> trtnet.randint_like(trtnet.zeros(2, 3), 5).dtype
    trtnet.float32
    """
    return lying_as(input, randint(*bounds, size=_like(input), dtype=_default(dtype, input.dtype), **options), options)


@refusing
def normal(
    mean: Value,
    std: Value = 1.0,
    size: SizeLike | Sequence[SizeLike] | None = None,
    *,
    dtype: DtypeLike | None = None,
    **options: Option,
) -> Tensor:
    """Normally distributed: of tensors (broadcast) or numbers as mean and standard deviation, or of a `size`.

    With a tensor the result has its dtype.

    >>> trtnet.normal(0.0, 1.0, (2, 3)).shape
    Size([2, 3])
    """
    _ignore("normal", options)
    like = next((v for v in (mean, std) if isinstance(v, Tensor)), None)
    if like is None:
        if size is None:
            raise ArgumentTypeError("normal takes a tensor, or a size", expected="normal(mean, std, size)")
        drawn = randn(size, dtype=dtype, **options)
    elif size is not None:
        raise ArgumentTypeError("normal takes a size with numbers only", found=f"size={size}")
    else:
        shapes = [v.shape for v in (mean, std) if isinstance(v, Tensor)]
        drawn = randn(broadcast_shapes(*shapes), dtype=like.dtype, **options)
    return add(mul(drawn, std), mean)


def bernoulli(input: Tensor, p: float | None = None, **options: Option) -> Tensor:
    """1 with the probability that `input` (or the number p) says for each element, else 0, in the dtype of `input`.

    >>> trtnet.bernoulli(trtnet.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    _ignore("bernoulli", options)
    _records(options)
    return _chosen(tuple(input.shape), input if p is None else p).to(input.dtype)


def _chosen(sizes: tuple[SizeLike, ...], p: Any) -> Tensor:
    """bool: True with the probability p, a number or a tensor."""
    if isinstance(p, Tensor):
        return lt(_uniform(sizes), p.to(dtypes.float32))
    if not 0 <= p <= 1:
        raise ArgumentError("a probability is between 0 and 1", expected="0 to 1", found=p)
    return lt(_uniform(sizes), float(p))


@refusing
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax((logits + noise) / tau) along `dim`, with Gumbel noise, -log(-log(u)) of uniform u; `hard` gives 1 at the
    largest and 0 elsewhere (https://arxiv.org/abs/1611.01144). `eps` has no effect, as in torch.

    >>> trtnet.functional.gumbel_softmax(trtnet.zeros(2, 3), hard=True).sum(-1).tolist()
    [1.0, 1.0]
    """
    noise = neg(log(neg(log(add(rand_like(logits.float()), TINY)))))
    noisy = div(add(logits, noise.to(logits.dtype)), tau)
    if not hard:
        return softmax(noisy, dim)
    size, rank = noisy.shape[dim], noisy.ndim
    places = arange(size).reshape(tuple(size if a == dim % rank else 1 for a in range(rank)))
    return eq(argmax(noisy, dim, True), places).to(logits.dtype)


@refusing
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, **options: Option) -> Tensor:
    """Indices (int64) drawn from rows of weights: (n,) gives (num_samples,), (m, n) gives (m, num_samples).

    The weights are not negative and need not sum to 1. Each weight's logarithm gets Gumbel noise, -log(-log(u)), and
    the largest are taken (https://arxiv.org/abs/1903.06059), which is drawing without replacement in the order of
    drawing. A row of zeros, and fewer positive weights than samples without replacement, raise in torch and outside of
    a recording; inside, where no value is known, they give indices without meaning.

    >>> trtnet.multinomial(trtnet.tensor([0.0, 1.0, 0.0]), 1).tolist()
    [1]
    """
    _ignore("multinomial", options)
    _records(options)
    x = input
    if len(x.shape) not in (1, 2):
        raise ShapeError(
            "multinomial takes one or two dimensions", expected="(n,) or (m, n)", found=format_shape(x.shape)
        )
    if not x.dtype.is_floating_point:
        raise DtypeError("multinomial takes floating-point weights", found=x.dtype, remedy="convert them: x.float()")
    count, categories = size_of(num_samples), x.shape[-1]
    if isinstance(count, Dim) or count < 1:
        raise ArgumentError("multinomial draws one sample or more", expected="a whole number", found=num_samples)
    if not replacement and isinstance(categories, int) and count > categories:
        raise ArgumentError(
            "multinomial cannot draw more samples than there are weights without replacement",
            expected=f"at most {categories}",
            found=count,
            remedy="pass replacement=True",
        )
    if isinstance(x, Array) and current_recorder.get() is None:
        _check_weights(x.numpy(), 1 if replacement else count)
    return gumbel_choice(log(x.to(dtypes.float32)), count, replacement)


def _check_weights(weights: np.ndarray, count: int) -> None:
    if not (np.isfinite(weights).all() and (weights >= 0).all() and ((weights > 0).sum(-1) >= count).all()):
        raise ArgumentError(
            "multinomial: these are no weights to draw from",
            expected=f"finite numbers that are not negative, {count} or more of each row above 0",
            found=f"{weights.min()} to {weights.max()}",
        )


def gumbel_choice(logits: Tensor, count: int, replacement: bool) -> Tensor:
    """Indices (int64) of `count` categories of the last dimension, from float32 log-probabilities up to a constant."""
    sizes = tuple(logits.shape)
    if replacement and count > 1:
        logits, sizes = unsqueeze(logits, -2), (*sizes[:-1], count, sizes[-1])
    noise = neg(log(neg(log(_uniform(sizes, TINY)))))
    scores = add(logits, noise)
    if replacement and count > 1:
        return argmax(scores, -1)
    return argmax(scores, -1, True) if count == 1 else topk(scores, count, -1).indices


_OUTSIDE = "draw outside, and make the numbers an input of the network: record(module, noise=Input(shape))"


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            f"{name}: TensorRT draws uniformly and normally",
            expected="rand, randn, randint, bernoulli, multinomial, exponential_ and their kin",
            remedy=_OUTSIDE,
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = (
        "Raises UnsupportedError: TensorRT draws uniformly and normally.\n\n"
        f">>> try:\n...     trtnet.{name}(trtnet.ones(2, 2))\n"
        "... except trtnet.TrtnetError as error:\n...     print(error.remedy)\n"
        f"{_OUTSIDE}\n"
    )
    return refuse


poisson, binomial = _refused("poisson"), _refused("binomial")


# --- methods ----------------------------------------------------------------------------------------------------------


def _to_uniform(sizes: tuple[SizeLike, ...], dtype: Dtype, from_: float = 0.0, to: float = 1.0) -> Tensor:
    low, high = float(from_), float(to)
    if low > high:
        raise ArgumentError("uniform_: the upper end is below the lower", expected=f"at least {low}", found=high)
    return _uniform(sizes, low, _below(high, low, _floating("uniform_", dtype)))


def _to_normal(sizes: tuple[SizeLike, ...], dtype: Dtype, mean: float = 0.0, std: float = 1.0) -> Tensor:
    if std < 0:
        raise ArgumentError("normal_: a standard deviation is not negative", expected="at least 0", found=std)
    _floating("normal_", dtype)
    return _drawn(sizes, "RANDOM_NORMAL", float(mean), float(std))


def _to_exponential(sizes: tuple[SizeLike, ...], dtype: Dtype, lambd: float = 1.0) -> Tensor:
    _floating("exponential_", dtype)
    return div(log(sub(1.0, _uniform(sizes))), -float(lambd))


def _to_log_normal(sizes: tuple[SizeLike, ...], dtype: Dtype, mean: float = 1.0, std: float = 2.0) -> Tensor:
    _floating("log_normal_", dtype)
    return exp(_to_normal(sizes, dtypes.float32, mean, std))


def _to_cauchy(sizes: tuple[SizeLike, ...], dtype: Dtype, median: float = 0.0, sigma: float = 1.0) -> Tensor:
    _floating("cauchy_", dtype)
    return add(mul(tan(mul(sub(_uniform(sizes), 0.5), math.pi)), float(sigma)), float(median))


def _to_geometric(sizes: tuple[SizeLike, ...], dtype: Dtype, p: float) -> Tensor:
    if not 0 < p < 1:
        raise ArgumentError("geometric_: a probability is between 0 and 1", expected="between 0 and 1", found=p)
    # 1 - u, in (0, 1], for which the logarithm is finite; the first trial is number 1
    return ceil(div(log(_uniform(sizes, TINY)), math.log1p(-p)))


def _to_random(sizes: tuple[SizeLike, ...], dtype: Dtype, from_: Any = None, to: Any = None) -> Tensor:
    low, high = (0, from_) if to is None else (from_, to)
    if high is None:
        raise UnsupportedError(
            "random_ inside a network needs its upper end: TensorRT's random numbers have 24 bits",
            expected="random_(to) or random_(from, to)",
            found="random_()",
            remedy=f"random_({MOST}) draws as many numbers as there can be",
        )
    return _whole("random_", sizes, size_of(low), size_of(high), dtype)


def _to_bernoulli(sizes: tuple[SizeLike, ...], dtype: Dtype, p: Value = 0.5) -> Tensor:
    return _chosen(sizes, p)


def _random_numpy(
    generator: np.random.Generator, shape: tuple[SizeLike, ...], from_: Any = None, to: Any = None
) -> np.ndarray:
    low, high = (0, from_) if to is None else (from_, to)
    if high is None:
        raise ArgumentTypeError("random_ needs its upper end", expected="random_(to) or random_(from, to)")
    return generator.integers(low, high, shape)


_FILLS: dict[str, tuple[Callable[..., Any], Callable[..., Any], str]] = {
    "uniform_": (
        _to_uniform,
        lambda generator, shape, from_=0.0, to=1.0: generator.uniform(from_, to, shape),
        "Write uniform random numbers from `from_` to `to` (which, as in torch, rounding may reach unless it is 1).",
    ),
    "normal_": (
        _to_normal,
        lambda generator, shape, mean=0.0, std=1.0: generator.normal(mean, std, shape),
        "Write normally distributed numbers.",
    ),
    "bernoulli_": (
        _to_bernoulli,
        lambda generator, shape, p=0.5: generator.random(shape, np.float32) < as_array(p),
        "Write 1 with probability p, a number or a tensor, else 0.",
    ),
    "exponential_": (
        _to_exponential,
        lambda generator, shape, lambd=1.0: generator.exponential(1 / lambd, shape),
        "Write exponentially distributed numbers of rate `lambd`, 0 or more.",
    ),
    "log_normal_": (
        _to_log_normal,
        lambda generator, shape, mean=1.0, std=2.0: generator.lognormal(mean, std, shape),
        "Write numbers whose logarithm is normally distributed.",
    ),
    "cauchy_": (
        _to_cauchy,
        lambda generator, shape, median=0.0, sigma=1.0: median + sigma * generator.standard_cauchy(shape),
        "Write numbers of the Cauchy distribution.",
    ),
    "geometric_": (
        _to_geometric,
        lambda generator, shape, p: generator.geometric(p, shape),
        "Write how many trials of probability p the first success takes.",
    ),
    "random_": (_to_random, _random_numpy, "Write whole numbers from `from_`, or 0, to `to` - 1."),
}  # fmt: skip


def _install(name: str, record: Callable[..., Any], draw: Callable[..., Any], doc: str) -> None:
    filling(name, draw, doc)
    fill_now = getattr(Array, name)

    def drawn(self: Tensor, *args: Any, generator: Option = None, **kwargs: Any) -> Tensor:
        _records({"generator": generator}, self.shape)
        return converted(record(tuple(self.shape), self.dtype, *args, **kwargs), self.dtype)

    recorded_now = in_place(drawn, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = current_recorder.get()
        if type(self) is Tensor:
            recorder()  # raises where there is none
        elif current is None or (isinstance(self, Parameter) and id(self) not in current.leaves):
            return fill_now(self, *args, **kwargs)
        return recorded_now(self, *args, **kwargs)

    method.__name__, method.__qualname__, method.__doc__ = name, name, doc
    setattr(Tensor, name, method)
    setattr(Array, name, method)


for _name, _entry in _FILLS.items():
    _install(_name, *_entry)

for _name, _method in (("multinomial", multinomial), ("bernoulli", bernoulli)):
    setattr(Tensor, _name, _method)
