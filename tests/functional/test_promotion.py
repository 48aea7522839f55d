"""Tensors and numbers of two dtypes: the dtypes and values of every result are torch's, or both refuse."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest
import torch
from harness import lower_and_compare

import trtnet
from trtnet import Dim, Input
from trtnet.errors import DtypeError, TrtnetError

DTYPES = ("bool", "int32", "int64", "int8", "float16", "float32")
NUMBERS = (True, 2, 2.5, -1)


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if "int" in dtype:
        return np.asarray(rng.integers(1, 5, shape) * rng.choice([-1, 1], shape)).astype(dtype)
    return np.asarray(rng.normal(size=shape)).astype(dtype)


def _where(m: Any, a: Any, b: Any) -> Any:
    return m.where(a > 0 if a.dtype is not m.bool else a, a, b)


TENSORS = {
    **{name: lambda m, a, b, n=name: getattr(m, n)(a, b) for name in (
        "add", "sub", "mul", "div", "true_divide", "floor_divide", "maximum", "minimum", "eq", "ne", "lt", "le", "gt",
        "ge", "atan2", "xlogy", "fmax", "fmin", "logical_and",
    )},
    **{name: lambda m, a, b, n=name: getattr(m, n)([a, b]) for name in ("cat", "stack", "hstack")},
    "where": _where,
    "pow": lambda m, a, b: (a * a) ** (b * b),
    "add alpha": lambda m, a, b: m.add(a, b, alpha=2),
    "trunc": lambda m, a, b: m.div(a, b, rounding_mode="trunc"),
    "addcmul": lambda m, a, b: m.addcmul(a, b, b),
    "clamp": lambda m, a, b: m.clamp(a, min=b),
}  # fmt: skip
WITH_NUMBERS = {
    **{name: lambda m, a, b, n=name: getattr(operator, n)(a, b) for name in (
        "add", "sub", "mul", "truediv", "floordiv", "eq", "lt", "ge", "pow",
    )},
    **{f"{name} reflected": lambda m, a, b, n=name: getattr(operator, n)(b, a) for name in (
        "add", "sub", "mul", "truediv",
    )},
    "where": _where,
    "masked_fill": lambda m, a, b: a.masked_fill(a == a, b),
    "clamp": lambda m, a, b: a.clamp(b),
}  # fmt: skip
IN_PLACE = ("iadd", "imul", "itruediv", "ifloordiv")


def in_place(name: str) -> Any:
    def call(m: Any, a: Any, b: Any) -> Any:
        a = a.clone()
        return getattr(operator, name)(a, b)

    return call


def outcome(function: Any, m: Any, a: Any, b: Any, dynamic: bool) -> Any:
    """What torch or trtnet gives: an array, or the exception."""
    try:
        if m is torch:
            given = (torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in (a, b))
            return function(torch, *given).numpy()
        arrays = {name: v for name, v in (("a", a), ("b", b)) if isinstance(v, np.ndarray)}
        batch = Dim("batch", min=1, opt=3, max=8)
        specs = {
            name: Input((batch, *v.shape[1:]) if dynamic and v.ndim else v.shape, str(v.dtype))
            for name, v in arrays.items()
        }
        graph = trtnet.record(
            (lambda a, b: function(trtnet, a, b)) if len(specs) == 2 else lambda a: function(trtnet, a, b), **specs
        )
        return np.asarray(trtnet.reference(graph)(**arrays))
    except (TrtnetError, RuntimeError, TypeError) as error:
        return error


def two_floats(*of: Any) -> bool:
    """A case that torch widens and we refuse: two floating-point types at one level."""
    if not all(isinstance(v, np.ndarray) for v in of):
        return False
    return {"float16", "float32"} == {str(v.dtype) for v in of} and len({v.ndim > 0 for v in of}) == 1


def compare(title: str, function: Any, a: Any, b: Any, dynamic: bool) -> None:
    wanted, found = (outcome(function, m, a, b, dynamic) for m in (torch, trtnet))
    title = f"{title} of {getattr(a, 'dtype', a)} and {getattr(b, 'dtype', b)} {np.shape(b)}"
    if isinstance(wanted, Exception):
        assert isinstance(found, TrtnetError), f"{title}: torch refuses ({wanted}), trtnet gives {found}"
    elif isinstance(found, Exception):
        assert isinstance(found, TrtnetError), f"{title}: {found!r}"
        refused = ("POW does not take int8", "pow: arithmetic with a bool")
        assert two_floats(a, b) or any(text in str(found) for text in refused), f"{title}: {found}"
    else:
        assert found.dtype == wanted.dtype, f"{title}: {found.dtype}, torch gives {wanted.dtype}"
        tolerance = 1e-3 if wanted.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(
            found.astype(np.float64), wanted.astype(np.float64), rtol=tolerance, atol=tolerance, err_msg=title
        )


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", TENSORS)
def test_two_tensors(name: str, dynamic: bool) -> None:
    for first in DTYPES:
        for second in DTYPES:
            for shape in ((3, 4),) if name in ("cat", "stack", "hstack") else ((3, 4), ()):
                compare(name, TENSORS[name], values(first, (3, 4)), values(second, shape, 1), dynamic)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_a_tensor_and_a_number(name: str, dynamic: bool) -> None:
    for dtype in DTYPES:
        for number in NUMBERS:
            compare(name, WITH_NUMBERS[name], values(dtype, (3, 4)), number, dynamic)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_keeps_the_dtype(name: str) -> None:
    for first in DTYPES:
        for second in DTYPES:
            compare(name, in_place(name), values(first, (3, 4)), values(second, (3, 4), 1), True)
        for number in NUMBERS:
            compare(name, in_place(name), values(first, (3, 4)), number, True)


@pytest.mark.parametrize("name", ["sqrt", "exp", "sin", "rsqrt", "reciprocal", "log1p", "sigmoid", "tanh"])
def test_functions_of_integers_give_float32(name: str) -> None:
    for dtype in DTYPES:
        a = np.abs(values(dtype, (3, 4))) + values(dtype, ()).dtype.type(1)
        compare(name, lambda m, a, b: getattr(m, name)(a), a, None, True)


def test_images() -> None:
    image = np.array([[0, 1, 127, 255]], np.uint8)
    for function in (
        lambda m, a, b: a / 255.0,
        lambda m, a, b: a * 0.5 - 1.0,
        lambda m, a, b: (a > 100) * 1.0,
        lambda m, a, b: a / 255,
        lambda m, a, b: a.float() != a,
    ):
        for dynamic in (False, True):
            compare("image", function, image, None, dynamic)


def test_parameters_and_constants_are_promoted_too() -> None:
    table = np.array([[1, 2, 3]], np.int64)

    class Scaled(trtnet.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = trtnet.nn.Parameter(trtnet.tensor([1.5, 2.5, 3.5]))
            self.register_buffer("offset", trtnet.tensor(table))

        def forward(self, i: Any) -> Any:
            return i * self.scale + self.offset + trtnet.tensor(table)

    graph = trtnet.record(Scaled(), i=Input((2, 3), "int32"))
    found = trtnet.reference(graph)(i=np.full((2, 3), 2, np.int32))
    assert found.dtype == np.float32
    assert found.tolist() == [[5.0, 9.0, 13.0]] * 2
    lower_and_compare(graph)


def test_promoted_operands_lower_and_compile() -> None:
    def everything(b: Any, i: Any, j: Any, h: Any, f: Any) -> Any:
        return (
            i * f, b * 1, b + 1.5, i / 2.5, j / i, i + j, h * i, f * h.sum(), i > 0.5, j < i, trtnet.where(b, i, f),
            trtnet.cat([i, f], 1), trtnet.stack([b, j]), i.sqrt(), trtnet.atan2(i, j), i.masked_fill(b, 2.5),
        )  # fmt: skip

    batch = Dim("batch", min=1, opt=3, max=8)
    dtypes = {"b": "bool", "i": "int32", "j": "int64", "h": "float16", "f": "float32"}
    for first in (3, batch):
        graph = trtnet.record(everything, **{name: Input((first, 4), dtype) for name, dtype in dtypes.items()})
        lower_and_compare(graph)


def test_two_floating_point_types_raise_and_the_remedy_works() -> None:
    specs = {"a": Input((2, 3), "float16"), "b": Input((2, 3), "bfloat16")}
    with pytest.raises(DtypeError, match="mul: the two tensors have different dtypes") as caught:
        trtnet.record(lambda a, b: a * b, **specs)
    assert ".to(trtnet.float16) or .to(trtnet.bfloat16)" in str(caught.value)
    graph = trtnet.record(lambda a, b: a.to(trtnet.bfloat16) * b, **specs)
    assert graph.outputs["output"].dtype is trtnet.bfloat16


def test_promote_types():
    """Every pair that torch promotes."""
    names = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
    for one, other in itertools.product(names, names):
        found = trtnet.promote_types(one, getattr(trtnet, other))
        assert found.name == str(torch.promote_types(getattr(torch, one), getattr(torch, other)))[6:], (one, other)
    assert trtnet.promote_types("int4", "int4") is trtnet.int4
    for pair in (("int4", "int8"), ("float16", "float8_e4m3fn"), ("float4_e2m1fn", "float32")):
        with pytest.raises(DtypeError, match="is promoted to no other type"):
            trtnet.promote_types(*pair)


@pytest.mark.parametrize("size", [(), (2,)])
@pytest.mark.parametrize("bound", [(), (2,)])
def test_numbers_and_tensors_without_dimensions_as_bounds(size: tuple[int, ...], bound: tuple[int, ...]) -> None:
    """What is known while recording: a tensor without dimensions is no number where others have none, either."""
    names = ("bool", "uint8", "int32", "int64", "float16", "float32")
    compared = 0
    for one, low, high in itertools.product(names, names, (*names, None)):

        def call(T, one=one, low=low, high=high):
            x = T.ones(size, dtype=getattr(T, one))
            bounds = [T.ones(bound, dtype=getattr(T, d)) for d in (low, high) if d is not None]
            made = [T.clamp(x, *bounds)]
            return made if high is not None else [*made, T.clamp_min(x, bounds[0]), T.clamp_max(x, bounds[0])]

        try:
            wanted = [str(made.dtype)[6:] for made in call(torch)]
        except RuntimeError:  # torch clamps no bools
            continue
        try:
            found = [made.dtype.name for made in call(trtnet)]
        except trtnet.TrtnetError:
            continue
        compared += 1
        assert found == wanted, (one, low, high)
    assert compared > 150
