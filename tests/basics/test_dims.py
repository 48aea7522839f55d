"""Dims against the same arithmetic over ints."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import trtnet
from trtnet.basics.dims import (
    Dim,
    Size,
    ceil_divide,
    check_same_ranges,
    divide_exactly,
    equal_at_profile,
    evaluate,
    format_shape,
    maximum,
    minimum,
    product,
    solve,
    symbols_of,
)
from trtnet.errors import ArgumentError, ArgumentTypeError, ShapeError, TrtnetError

B = Dim("b", min=1, opt=8, max=64)
H = Dim("h", min=32, opt=64, max=320, multiple_of=32)
Z = Dim("z", min=0, opt=3, max=7)
SYMBOLS = (B, H, Z)

OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "max": maximum,
    "min": minimum,
    "ceil": ceil_divide,
}
ON_INTS = OPERATIONS | {"max": max, "min": min, "ceil": lambda a, b: -(-a // b)}

environments = st.fixed_dictionaries(
    {"b": st.integers(1, 64), "h": st.integers(1, 10).map(lambda n: 32 * n), "z": st.integers(0, 7)}
)
numbers = st.integers(-40, 70)
leaves = st.one_of(st.sampled_from(SYMBOLS), numbers)
trees = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from(sorted(OPERATIONS)), inner, inner), max_leaves=7)


def compute(tree, leaf, operations):
    if not isinstance(tree, tuple):
        return leaf(tree)
    sign, left, right = tree
    return operations[sign](compute(left, leaf, operations), compute(right, leaf, operations))


def symbolic(tree):
    try:
        return compute(tree, lambda leaf: leaf, OPERATIONS)
    except (ZeroDivisionError, ShapeError):
        assume(False)


def concrete(tree, env):
    try:
        return compute(tree, lambda leaf: env[leaf.name] if isinstance(leaf, Dim) else leaf, ON_INTS)
    except ZeroDivisionError:
        assume(False)


def bounds(size):
    return size.bounds if isinstance(size, Dim) else (size, size)


def folded(size, env, **extra):
    if isinstance(size, int):
        return size
    return size.fold(
        number=int,
        symbol=env.__getitem__,
        add=operator.add,
        multiply=operator.mul,
        floor_divide=operator.floordiv,
        maximum=max,
        minimum=min,
        **extra,
    )


@settings(max_examples=600, deadline=None)
@given(trees, environments)
def test_like_ints(tree, env):
    expected = concrete(tree, env)
    size = symbolic(tree)
    assert evaluate(size, env) == expected
    low, high = bounds(size)
    assert low <= expected <= high
    assert folded(size, env) == folded(size, env, modulo=operator.mod) == expected
    if isinstance(size, Dim):
        assert type(size) is Dim
        assert size.symbols
        assert expected % size.multiple_of == 0
        assert pickle.loads(pickle.dumps(size)) == size


@settings(max_examples=300, deadline=None)
@given(trees, environments)
def test_text_is_the_value(tree, env):
    expected = concrete(tree, env)
    size = symbolic(tree)
    # in exact arithmetic: the text may hold h/2
    from fractions import Fraction

    values = {name: Fraction(value) for name, value in env.items()}
    assert eval(str(size), {"max": max, "min": min}, values) == expected


@settings(max_examples=300, deadline=None)
@given(trees, trees, environments)
def test_comparisons(one, two, env):
    a, b = symbolic(one), symbolic(two)
    x, y = concrete(one, env), concrete(two, env)
    if a == b:
        assert x == y
        assert hash(a) == hash(b)
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        try:
            answer = compare(a, b)
        except ArgumentTypeError:
            continue
        assert answer == compare(x, y)


polynomials = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=5).map(
    lambda tree: compute(tree, lambda leaf: leaf, OPERATIONS)
)


@settings(max_examples=300, deadline=None)
@given(polynomials, polynomials)
def test_canonical(a, b):
    assert a + b == b + a
    assert a * b == b * a
    assert (a - b) + b == a
    assert (a + b) * (a - b) == a * a - b * b
    assert a - a == 0
    assert type(a - a) is int
    assert hash(a * b + a) == hash((b + 1) * a)
    if b != 0:
        assert divide_exactly(a * b, b) == a
        assert (a * b) // b == a
        assert (a * b) % b == 0
        assert a // b * b + a % b == a


@settings(max_examples=200, deadline=None)
@given(trees, trees, environments)
def test_divide_exactly(one, two, env):
    a, b = symbolic(one), symbolic(two)
    x, y = concrete(one, env), concrete(two, env)
    quotient = divide_exactly(a, b)
    if quotient is not None:
        assert quotient * b == a
        assert evaluate(quotient, env) * y == x


def test_divide_exactly_by_hand():
    assert divide_exactly(B * H * 64, B * 8) == H * 8
    assert divide_exactly(B * B - Z * Z, B + Z) == B - Z
    assert divide_exactly(H, 32) == H // 32
    assert divide_exactly(H, 64) is None
    assert divide_exactly(B, 2) is None
    assert divide_exactly(B, H) is None
    assert divide_exactly(7, B) is None
    assert divide_exactly(12, 4) == 3
    assert divide_exactly(12, 5) is None
    assert divide_exactly(B, 0) is None
    assert divide_exactly(0, B) == 0


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (2 * B, B + B),
        (B * 4 // 2, B * 2),
        (2 * (H // 2), H),
        (B * 6 // 4, B * 3 // 2),
        ((B - 2) // 2 + 1, B // 2),
        (B // 2 // 3, B // 6),
        (B * 3 // 2 // 2, B * 3 // 4),
        (B // 2 * 2 + B % 2, B),
        (maximum(B, Z, 3), maximum(3, maximum(Z, B))),
        (minimum(B * 2, Z * 2), minimum(Z, B) * 2),
        (maximum(B, B - 1, 0), B),
        (minimum(B, 100), B),
        (-H // -32, H // 32),
        ((B * H + B + 3) // B, H + 1 + 3 // B),
        (B**3, B * B * B),
        (ceil_divide(H, 32), H // 32),
        ((H + 5) // 64, H // 64),
    ],
)
def test_equal(one, two):
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("size", "value"),
    [(B * 4 % 2, 0), (H % 32, 0), (B * 0, 0), (B - B, 0), (B**0, 1), (B // 65, 0), (B * 4 // B, 4), (Z % 8 - Z, 0)],
)
def test_plain_ints(size, value):
    assert type(size) is int
    assert size == value


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (B * 4, "b*4"),
        (H // 2, "h/2"),
        (H * 3 // 2, "h*3/2"),
        (2 * B + 1, "b*2 + 1"),
        (1 - B, "1 - b"),
        (-B, "-b"),
        ((B - 5) // 2 + 1, "(b - 3)//2"),
        (-(B // 2), "-(b//2)"),
        (4 - B // 2, "4 - b//2"),
        (B % 3, "b%3"),
        (B % 3 * 2 + 1, "(b%3)*2 + 1"),
        (H // 64, "h//64"),
        (B * H * B, "b**2*h"),
        (B * (Z // 2), "b*(z//2)"),
        (maximum(H, B) * 2, "max(b*2, h*2)"),
    ],
)
def test_text(size, text):
    assert str(size) == text
    assert f"{size:>20}" == text.rjust(20)


def test_attributes():
    assert (B.name, B.min, B.opt, B.max, B.bounds, B.multiple_of) == ("b", 1, 8, 64, (1, 64), 1)
    assert (H.name, H.min, H.opt, H.max, H.bounds, H.multiple_of) == ("h", 32, 64, 320, (32, 320), 32)
    size = 100 - B * 2
    assert (size.name, size.min, size.opt, size.max, size.bounds) == (None, 98, 84, -28, (-28, 98))
    assert (B * H + Z).symbols == (B, H, Z)
    assert B.symbols == (B,)
    assert (H * 3).multiple_of == 96
    assert (H // 2).name is None
    assert (H // 2 * 2).name == "h"
    assert repr(H) == "Dim('h', min=32, opt=64, max=320, multiple_of=32)"
    assert repr(B * 2) == "<Dim b*2>"
    assert Dim("n", max=64, multiple_of=32) == Dim("n", 32, 64, 64, 32)
    assert Dim("n", 1, 8) == Dim("n", 1, 8, 8)
    assert Dim("n", 4) == Dim("n", 4, 4, 4)
    assert Dim("n", 1, 8, 64) == Dim("n", 1, 8, 64)
    assert hash(Dim("n", 1, 8)) == hash(Dim("n", 1, 8))
    assert Dim("n", 1, 8, 64) != Dim("n", 1, 8, 32)
    assert B != 8
    assert (B == "b") is False
    assert copy.deepcopy([B * 2]) == [B * 2]
    assert copy.copy(B) is B


def test_bounds_see_shared_symbols():
    assert B - B // 2 >= 0
    assert B // 2 <= B
    assert B * H >= B
    assert B**2 >= B
    assert (B % 4).bounds == (0, 3)
    assert (B * H - B).bounds == (31, 64 * 319)
    assert not B > 64
    assert B < 65
    assert B > 0


@pytest.mark.parametrize("count", range(4))
def test_bounds_see_what_maxima_hold(count):
    """As `x[-2:] = 3` has it, where the rows behind those that are written to are none."""
    written = B - maximum(0, B - count)
    assert bounds(written) == (min(1, count), count)
    assert maximum(0, written) == written
    assert B - maximum(0, B - count) - written == 0
    assert (minimum(B, count) - B).bounds == (count - 64, min(0, count - 1))
    assert (maximum(B, H) - minimum(B, H)).bounds == (0, 319)
    assert (maximum(0, B - 2) + maximum(0, Z - 2)).bounds == (0, 62 + 5)


def test_numpy_integers():
    assert np.int64(2) * B == B * np.int64(2) == B * 2
    assert np.int64(2) + B == B + 2
    assert np.int32(5) - B == 5 - B
    assert np.int64(7) // B == 7 // B


def test_functions():
    assert ceil_divide(7, 2) == 4
    assert ceil_divide(-7, 2) == -3
    assert ceil_divide(B, 2) == (B + 1) // 2
    assert maximum(3, 5) == 5
    assert minimum(3, 5) == 3
    assert maximum(B) == B
    assert abs(B - H) == maximum(B - H, H - B)
    assert [evaluate(abs(B - H), {"b": b, "h": 32}) for b in (30, 32, 35)] == [2, 0, 3]
    assert abs(-B) == B
    assert product([]) == 1
    assert product([2, B, 3]) == B * 6
    assert solve(B * 4 + 2, 34) == ("b", 8)
    assert solve(H // 2, 48) == ("h", 96)
    assert solve(B * 4, 33) is None
    assert solve(B * H, 32) is None
    assert solve(B // 2, 4) is None
    assert solve(5, 5) is None
    assert solve(B + Z, 4) is None
    assert solve(10 - B, 4) == ("b", 6)
    unit = Dim("u", 32, 48, 64)
    pooled = unit // 16 * 16
    assert unit != pooled
    assert equal_at_profile(unit, pooled)
    assert not equal_at_profile(B, 8)
    assert equal_at_profile(8, 8)
    assert symbols_of([3, B * H, Z, B]) == (B, H, Z)
    check_same_ranges([B, B * 2, Dim("b", 1, 8, 64)])


def test_size():
    size = Size((B, 20, 24, 24))
    assert str(size) == format_shape(size) == "(b, 20, 24, 24)"
    assert repr(size) == "Size([b, 20, 24, 24])"
    assert size[0] is B
    assert type(size[1:]) is Size
    assert size[1:] == (20, 24, 24)
    assert type(size + Size((1,))) is Size
    assert type(operator.add((1,), size)) is Size
    assert operator.add((1,), size) == (1, B, 20, 24, 24)
    assert size.numel() == B * 11520
    assert Size((2, 3)).numel() == 6
    assert Size().numel() == 1
    assert format_shape((3,)) == "(3,)"
    assert format_shape(()) == "()"
    assert pickle.loads(pickle.dumps(size)) == size


def test_fold_shares_and_divides_last():
    calls = []

    def log(sign):
        def call(*args):
            calls.append(sign)
            return f"({sign.join(args)})"

        return call

    operations = {
        "number": str,
        "symbol": str,
        "add": log("+"),
        "multiply": log("*"),
        "floor_divide": log("//"),
        "maximum": max,
        "minimum": min,
    }
    assert (H * 3 // 2).fold(**operations) == "((h*3)//2)"
    calls.clear()
    (B // 2 * H + B // 2).fold(**operations)
    assert calls.count("//") == 1


def message(kind, call):
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert isinstance(error, TrtnetError)
    assert error.remedy
    assert error.expected is not None
    assert error.found is not None
    assert error.where is not None
    assert error.where.file == __file__
    return str(error)


@pytest.mark.parametrize(
    ("kind", "call", "texts"),
    [
        (ArgumentError, lambda: Dim(""), ["needs a name", "identifier"]),
        (ArgumentTypeError, lambda: Dim(3), ["needs a name"]),  # type: ignore[arg-type]
        (ArgumentError, lambda: Dim("b", 8, 4, 64), ["min=8, opt=4, max=64", "0 <= min <= opt <= max"]),
        (ArgumentError, lambda: Dim("b", -1, 4, 64), ["min=-1"]),
        (ArgumentError, lambda: Dim("b", 1, 64, 64, multiple_of=32), ["multiples of 32", "min=1"]),
        (ArgumentError, lambda: Dim("b", 1, 2, 3, multiple_of=0), ["multiple_of=0"]),
        (ArgumentTypeError, lambda: Dim("b", 1.0), ["1.0 (float)", "min"]),  # type: ignore[arg-type]
        (ArgumentTypeError, lambda: Dim("b", max=True), ["True (bool)"]),
        (ArgumentTypeError, lambda: int(B * 2), ["int() of the dynamic size b*2", "2..128", "Input("]),
        (ArgumentTypeError, lambda: bool(B), ["bool() of the dynamic size b", "1..64"]),
        (ArgumentTypeError, lambda: float(B), ["float() of"]),
        (ArgumentTypeError, lambda: range(B), ["int() of"]),  # type: ignore[arg-type]
        (ArgumentTypeError, lambda: [0] * B, ["int() of"]),  # type: ignore[operator]
        (ArgumentTypeError, lambda: int(B / 2), ["//", "b/2"]),
        (ArgumentTypeError, lambda: int(2 / B), ["//"]),
        (ArgumentTypeError, lambda: B * 1.5, ["1.5", "float"]),
        (ArgumentTypeError, lambda: B < 5, ["b < 5", "b in 1..64", "maximum"]),
        (ArgumentTypeError, lambda: Z >= B, ["z >= b", "z in 0..7, b in 1..64"]),
        (ArgumentTypeError, maximum, ["maximum of nothing"]),
        (ArgumentError, lambda: B**-1, ["negative power"]),
        (ShapeError, lambda: B // 0, ["divides by zero"]),
        (ShapeError, lambda: B % 0, ["divides by zero"]),
        (ShapeError, lambda: evaluate(B // Z, {"b": 3, "z": 0}), ["b//z divides by zero", "z=0"]),
        (ShapeError, lambda: evaluate(B * H, {"b": 3}), ["b*h", "a value for h", "values for b, h"]),
        (ShapeError, lambda: evaluate(H // 2, {"h": 41}), ["h/2 is no integer", "h a multiple of 32", "h=41"]),
        (ShapeError, lambda: B + Dim("b", 1, 8, 32), ["max=64", "max=32", "two ranges"]),
        (ShapeError, lambda: maximum(B, Dim("b", 1, 8, 32)), ["max=64", "max=32"]),
        (ShapeError, lambda: check_same_ranges([B, Dim("b", 1, 8, 32) * 2]), ["max=64", "max=32"]),
    ],
)
def test_errors(kind, call, texts):
    text = message(kind, call)
    for part in texts:
        assert part in text


def test_other_operands():
    with pytest.raises(TypeError):
        B + "a"  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = B < None  # type: ignore[operator]


def test_a_quotient_becomes_a_size_by_name():
    torch = pytest.importorskip("torch")
    half = B / 2
    assert math.floor(half) == B // 2 == trtnet.sym_int(half)
    assert math.ceil(half) == ceil_divide(B, 2)
    assert (trtnet.sym_int(B), trtnet.sym_int(2.7), trtnet.sym_int(B / 2.0)) == (B, 2, B // 2)
    assert torch.sym_int(7 / 2) == trtnet.sym_int(7 / 2)
    for function in (
        lambda: int(half), lambda: half + 1, lambda: 3 * half, lambda: half < 2, lambda: range(half), lambda: -half,
        lambda: float(half), lambda: half // 1, lambda: bool(half), lambda: round(half), lambda: math.trunc(half),
    ):  # fmt: skip
        with pytest.raises(ArgumentTypeError, match="is no size") as caught:
            function()
        assert "write b // 2 for int(b/2)" in caught.value.remedy
    with pytest.raises(ShapeError, match="divided by 0"):
        B / 0
    with pytest.raises(ArgumentTypeError, match="do not mix"):
        B / 1.5
    graph = trtnet.record(lambda x: x[: trtnet.sym_int(x.shape[0] / 2)], x=trtnet.Input((B, 3)))
    assert graph.outputs["output"].shape[0] == B // 2
    with pytest.raises(ArgumentTypeError, match="is no size") as caught:
        trtnet.record(lambda x: x[: int(x.shape[0] / 2)], x=trtnet.Input((B, 3)))
    assert "int(x.shape[0] / 2)" in str(caught.value)
