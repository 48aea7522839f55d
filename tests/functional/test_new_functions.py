"""Functions composed of TensorRT's layers: torch's values and dtypes, recorded (static and dynamic) and concrete."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from composed import INPUTS, compare, everything
from families import check
from harness import check_against_torch, lower_and_compare

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, DtypeError, ShapeError, TrtnetError, UnsupportedError

RNG = np.random.default_rng(0)
BATCH = Dim("batch", min=1, opt=3, max=16)
FLOATS = RNG.normal(size=(3, 5, 4)).astype(np.float32)
SPECIAL = np.array([[1, 1, np.nan, 2], [-0.0, np.inf, -np.inf, 0.0], [3, 3, 2, 3]], np.float32)
WIDE = np.array([-(2**63), 2**63 - 1, -1, 0, 1, 2**40 + 5, -(2**33) - 7, 65535, -65536], np.int64)
NARROW = np.array([-(2**31), 2**31 - 1, -1, 0, 1, 65535, -65536, 1 << 30, -12345], np.int32)
BYTES = np.array([-128, 127, -1, 0, 1, 5, 100, -100, 64], np.int8)
INDEX = np.array([2, 0, 2, 1], np.int64)
ELEMENTS = RNG.integers(0, 5, (3, 6, 4))
UPDATES = RNG.normal(size=(3, 6, 4)).astype(np.float32)


def outcome(function: Any, m: Any, arrays: tuple[np.ndarray, ...], way: str) -> Any:
    if m is torch:
        found = function(torch, *(torch.from_numpy(a.copy()) for a in arrays))
    elif way == "concrete":
        found = function(trtnet, *(trtnet.tensor(a) for a in arrays))
    else:
        names = "abcdef"[: len(arrays)]
        rows = arrays[0].shape[0]
        specs = {
            n: Input((BATCH, *a.shape[1:]) if way == "dynamic" and a.shape[:1] == (rows,) else a.shape, str(a.dtype))
            for n, a in zip(names, arrays)
        }
        body = {
            1: lambda a: function(trtnet, a),
            2: lambda a, b: function(trtnet, a, b),
            3: lambda a, b, c: function(trtnet, a, b, c),
            4: lambda a, b, c, d: function(trtnet, a, b, c, d),
        }[len(arrays)]
        graph = trtnet.record(body, **specs)
        lower_and_compare(graph, compile=False)
        found = trtnet.reference(graph)(**dict(zip(names, arrays)))
    found = found if isinstance(found, (tuple, list)) else (found,)
    return [v.numpy() if hasattr(v, "numpy") else np.asarray(v) for v in found]


WAYS = ("static", "dynamic", "concrete")


def agree(function: Any, *arrays: Any, ways: tuple[str, ...] = WAYS, indices: int = 0) -> None:
    """`indices`: how many of the last outputs are places of equal values, of which torch may choose another."""
    arrays = tuple(np.asarray(a) for a in arrays)
    wanted = outcome(function, torch, arrays, "")
    for way in ways:
        found = outcome(function, trtnet, arrays, way)
        assert len(found) == len(wanted)
        for number, (mine, torchs) in enumerate(zip(found, wanted)):
            assert (mine.dtype, mine.shape) == (torchs.dtype, torchs.shape), (way, number)
            if number < len(found) - indices:
                if mine.dtype.kind == "f":
                    np.testing.assert_allclose(mine, torchs, rtol=2e-6, atol=2e-6, err_msg=f"{way}, output {number}")
                else:
                    np.testing.assert_array_equal(mine, torchs, err_msg=f"{way}, output {number}")


@pytest.mark.parametrize("batch", [3, BATCH])
def test_all_of_them_compile(batch: Any) -> None:
    specs = {n: Input((batch, *a.shape[1:]) if a.shape[0] == 3 else a.shape, str(a.dtype)) for n, a in INPUTS.items()}
    graph = trtnet.record(lambda **given: everything(trtnet, **given), **specs)
    lowering = lower_and_compare(graph)
    wanted = everything(torch, **{name: torch.from_numpy(a.copy()) for name, a in INPUTS.items()})
    for one in (graph, lowering.graph if lowering else graph):
        found = trtnet.reference(one)(**INPUTS)
        compare(found, {name: None if v is None else v.numpy() for name, v in wanted.items()}, 2e-6)


# --- scattered --------------------------------------------------------------------------------------------------------

ALONG = {
    "scatter_add": lambda m, x, i, u: x.scatter_add(1, i, u),
    "scatter_add of fewer": lambda m, x, i, u: m.scatter_add(x, 1, i[:2, :, 1:3], u),
    "scatter add": lambda m, x, i, u: x.scatter(1, i, u, reduce="add"),
    "scatter multiply": lambda m, x, i, u: x.scatter(1, i, 2, reduce="multiply"),
    **{
        f"{reduce} {include}": lambda m, x, i, u, r=reduce, s=include: x.scatter_reduce(1, i, u, r, include_self=s)
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for include in (True, False)
    },
}


@pytest.mark.parametrize("name", ALONG)
def test_scattered_elements(name: str) -> None:
    ways = ("static", "concrete") if name == "scatter_add of fewer" else ("static", "dynamic", "concrete")
    agree(ALONG[name], FLOATS, ELEMENTS, UPDATES, ways=ways)
    whole = (RNG.integers(-9, 9, FLOATS.shape), ELEMENTS, RNG.integers(-9, 9, UPDATES.shape))
    agree(ALONG[name], *whole, ways=ways)


def test_an_infinite_update_stays_where_it_belongs() -> None:
    updates = UPDATES.copy()
    updates[0, 0, 0], updates[1, 2, 1] = np.inf, np.nan
    agree(ALONG["scatter_add"], FLOATS, ELEMENTS, updates)


ROWS = {
    "index_add": lambda m, x, i, u: x.index_add(1, i, u),
    "index_add alpha": lambda m, x, i, u: m.index_add(x, 1, i, u, alpha=3),
    "index_add_": lambda m, x, i, u: (x * 1).index_add_(1, i, u),
    "index_fill": lambda m, x, i, u: x.index_fill(1, i, 2.5),
    "index_fill_": lambda m, x, i, u: (x * 1).index_fill_(1, i - 3, 7),
    "index_put": lambda m, x, i, u: m.index_put(x, (i * 0, i), u[0, 0], accumulate=True),
    "index_put negative": lambda m, x, i, u: x.index_put((i - 2,), u[0, 0, 0], accumulate=True),
    "index_put one by one": lambda m, x, i, u: x.index_put((i[:3] * 0, i[:3] - 1, i[:3]), u[0, 0, :3], accumulate=True),
}


@pytest.mark.parametrize("name", ROWS)
def test_scattered_slices(name: str) -> None:
    updates = RNG.normal(size=(3, 4, 4)).astype(np.float32)
    agree(ROWS[name], FLOATS, INDEX, updates)
    agree(ROWS[name], RNG.integers(-9, 9, FLOATS.shape), INDEX, RNG.integers(-9, 9, updates.shape))


ADDED = {
    "index_put": lambda x, i, u: x.index_put((i,), u, accumulate=True),
    "index_add": lambda x, i, u: x.index_add(0, i, u),
    "index_reduce": lambda x, i, u: x.index_reduce(0, i, u, "amax"),
}


@pytest.mark.parametrize("shape", [(2, 4), (3, 3)])
@pytest.mark.parametrize("name", ADDED)
def test_updates_that_do_not_fit(name: str, shape: Any) -> None:
    """As torch refuses them; also where sizes happen to be equal in one call."""
    for index in (trtnet.tensor([0, 1, 1]), Input((3,), "int64")):
        for whole in ((3, 4), (3, Dim("m", min=2, opt=4, max=9))):
            with pytest.raises(ShapeError, match="cannot be broadcast"):
                record_added(name, index, whole, shape)
    record_added(name, trtnet.tensor([0, 1, 1]), (3, 4), (3, 1))


def record_added(name: str, index: Any, whole: Any, shape: Any) -> Any:
    if isinstance(index, Input):
        return trtnet.record(ADDED[name], x=Input(whole), i=index, u=Input(shape))
    return trtnet.record(lambda x, u: ADDED[name](x, index, u), x=Input(whole), u=Input(shape))


@pytest.mark.parametrize("name", ADDED)
def test_constant_indices_that_are_out_of_range(name: str) -> None:
    wrong = {3: "index 3 is out of range in dimension 0 of size 3"}
    wrong |= (
        {-4: "index -4 is out of range in dimension 0 of size 3"}
        if name == "index_put"
        else dict.fromkeys((-1, -4), f"{name} counts no index from the end")
    )
    for value, message in wrong.items():
        with pytest.raises(ShapeError, match=message):
            record_added(name, trtnet.tensor([0, value]), (3, 4), (2, 4))


def test_an_index_out_of_range_adds_to_no_other_row() -> None:
    x = np.zeros((3, 4), np.float32)
    graph = trtnet.record(
        lambda x, i, j, u: x.index_put((i, j), u, accumulate=True),
        x=Input((3, 4)), i=Input((5,), "int64"), j=Input((5,), "int64"), u=Input((5,)),
    )  # fmt: skip
    found = trtnet.reference(graph)(
        x, np.array([0, 1, 2, 7, 1]), np.array([4, -5, -1, 0, 1]), np.float32([1, 2, 3, 4, 5])
    )
    wanted = torch.zeros(3, 4).index_put((torch.tensor([2, 1]), torch.tensor([-1, 1])), torch.tensor([3.0, 5.0]))
    np.testing.assert_array_equal(found, wanted.numpy())
    with pytest.raises(ShapeError, match="index 4 is out of range in dimension 1 of size 4"):
        trtnet.record(lambda x: x.index_put((trtnet.tensor([0]), trtnet.tensor([4])), x[0, :1], True), x=Input((3, 4)))


@pytest.mark.parametrize(
    ("indices", "kind", "message"),
    [
        ((), ShapeError, "index_put needs an index"),
        (([0], [0], [0]), ShapeError, "too many indices"),
        (([0], [0.5]), DtypeError, "indices are whole numbers"),
    ],
)
def test_what_index_put_adds_at(indices: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        trtnet.record(lambda x: x.index_put([trtnet.tensor(i) for i in indices], x[0, :1], True), x=Input((3, 4)))


def test_index_copy_and_put_without_duplicates() -> None:
    index, updates = np.array([4, 2]), RNG.normal(size=(3, 2, 4)).astype(np.float32)
    agree(lambda m, x, i, u: x.index_copy(1, i, u), FLOATS, index, updates)
    agree(lambda m, x, i, u: (x * 1).index_put_((i[:2] * 0, i[:2]), u[0, 0]), FLOATS, index, updates, ways=("static",))


# --- ranked -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [FLOATS, RNG.integers(-5, 5, (3, 5, 4)), RNG.normal(size=(3, 6)).astype(np.float16)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_ranked(array: np.ndarray, dim: int) -> None:
    for keepdim in (False, True):
        agree(lambda m, x, k=keepdim: m.median(x, dim, k), array, indices=1)
        agree(lambda m, x, k=keepdim: x.kthvalue(2, dim, k), array, indices=1, ways=("static", "concrete"))
    agree(lambda m, x: x.median(), array)
    agree(lambda m, x: (x.msort(),), array)

    def picked(m: Any, x: Any) -> Any:
        values, where = m.median(x, dim, True)
        return (x.gather(dim, where) == values).all()

    assert outcome(picked, trtnet, (array,), "static")[0]


def test_ranked_of_special_values() -> None:
    agree(lambda m, x: m.median(x, 1), SPECIAL[:1], indices=0)
    agree(lambda m, x: m.median(x, 1), SPECIAL, indices=1)
    agree(lambda m, x: m.kthvalue(x, 3, 1), SPECIAL, indices=1)


@pytest.mark.parametrize("dim", [0, 1])
def test_running(dim: int) -> None:
    for name in ("cummax", "cummin"):
        for array in (SPECIAL, RNG.integers(-3, 3, (3, 7)), RNG.integers(0, 2, (3, 7)).astype(bool), FLOATS):
            agree(lambda m, x, n=name: getattr(x, n)(dim), array)
            agree(lambda m, x, n=name: getattr(x[:, :1], n)(1), array)
    agree(lambda m, x: x.logcumsumexp(dim), SPECIAL)
    agree(lambda m, x: m.logcumsumexp(x * 50, dim), FLOATS)


# --- turned, signs ----------------------------------------------------------------------------------------------------


def test_rot90() -> None:
    for k in (-1, 0, 1, 2, 3, 6):
        for dims in ((0, 1), (1, 2), (2, -3)):
            agree(lambda m, x, k=k, d=dims: m.rot90(x, k, d), FLOATS)

    def written(m: Any, x: Any) -> Any:
        y = x * 1
        m.rot90(y, 0).add_(5)
        return y

    agree(written, FLOATS)


def test_a_write_that_may_show_in_what_is_flat_of_rot90_is_refused() -> None:
    """torch's rot90 lies in memory in an order of its own, which decides whether flatten copies."""

    def written(x: Any) -> Any:
        y = trtnet.rot90(x, 1, (0, -1))
        z = y[0].flatten()
        y.add_(1)
        return z

    with pytest.raises(UnsupportedError, match="may share its memory"):
        trtnet.record(written, x=trtnet.Input(FLOATS.shape))


def test_signs() -> None:
    special = np.where(np.isnan(SPECIAL), np.float32(-4), SPECIAL)
    for array in (special, FLOATS.astype(np.float16), RNG.integers(-3, 3, (3, 4)), np.array([True, False])):
        agree(lambda m, x: m.signbit(x), array)
        agree(lambda m, x: (x.copysign(-1), x.copysign(-0.0), m.copysign(x, x.flip(0))), array)
    found = outcome(lambda m, x: x.copysign(-0.0), trtnet, (special,), "static")[0]
    assert np.signbit(found).all()


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [WIDE, NARROW, BYTES], ids=["int64", "int32", "int8"])
def test_bits(array: np.ndarray) -> None:
    other = np.roll(array, 2)[:, None]
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        agree(lambda m, x, y, n=name: getattr(m, n)(x, y), array, other)
        agree(lambda m, x, y, n=name: getattr(x, n)(y), array, other.reshape(-1))
    agree(lambda m, x: (x & 7, x & 1, x | 5, x ^ -3, 6 & x, ~x, x & True, x & -4), array)
    agree(lambda m, x: (x << 3, x >> 2, x << 0, x >> 0, x << 65, x >> 65, x << 7, x >> 7, 1 << (x & 3)), array)
    counts = np.array([0, 1, 7, 31, 63, 64, -1, 30, 33]).clip(-128, 127).astype(array.dtype)
    agree(lambda m, x, c: (m.bitwise_left_shift(x, c), x >> c), array, counts)

    def in_place(m: Any, x: Any) -> Any:
        x = x * 1
        x &= 12
        x |= 1
        x ^= 2
        x <<= 2
        x >>= 1
        return x

    agree(in_place, array)


def test_bits_of_two_types() -> None:
    agree(lambda m, x, y: (x & y, x | y, y ^ x), NARROW, WIDE)
    agree(lambda m, x, y: (x & y, x | 3, x ^ True, y & (x > 0)), NARROW > 0, NARROW)


# --- refused ----------------------------------------------------------------------------------------------------------

REFUSED = [
    (DtypeError, "bitwise_and takes integer", lambda x: x & 1, "compare first"),
    (DtypeError, "bitwise_left_shift takes integer", lambda x: x << 1, "x.long()"),
    (DtypeError, "median takes numbers", lambda x: (x > 0).median(), "x.int()"),
    (ArgumentError, "k is out of range", lambda x: x.kthvalue(9), ""),
    (ArgumentError, "no such reduction", lambda x: x.scatter_reduce(1, x.long(), x, "max"), ""),
    (DtypeError, "updates of the tensor's dtype", lambda x: x.scatter_add(1, x.long(), x.half()), ".to(trtnet"),
    (DtypeError, "logcumsumexp takes floating", lambda x: x.long().logcumsumexp(0), "x.float()"),
    (UnsupportedError, "adds nothing up", lambda x: x.expand(3, 1 << 15).scatter_add(
        1, x.long().expand(3, 1 << 15), x.expand(3, 1 << 15)), "one_hot"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "match", "function", "remedy"), REFUSED)
def test_refused(kind: type[TrtnetError], match: str, function: Any, remedy: str) -> None:
    width = 1 if kind is UnsupportedError else 5
    specs = {"x": Input((3, width))}
    if kind is UnsupportedError:
        function, specs = (lambda x, f=function: f(x)), {"x": Input((3, 1))}
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert remedy in (caught.value.remedy or "")
    assert caught.value.where is not None


# --- matrices of integers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_products_of_integers(dtype: str) -> None:
    def draw(*shape: int) -> np.ndarray:
        return RNG.integers(0 if dtype == "uint8" else -99, 200, shape).astype(dtype)

    agree(lambda m, a, b: (a @ b, m.mm(a, b), m.mv(a, b[:, 0]), a[0] @ b, a @ b[:, 1]), draw(3, 5), draw(5, 4))
    agree(lambda m, a, b: (m.bmm(a, b), a @ b[0], a @ b[0, :, 1], a[0, 0] @ b), draw(3, 2, 5), draw(3, 5, 4))
    agree(lambda m, a, b: m.dot(a[0], b), draw(3, 5), draw(5))


def test_products_of_integers_that_do_not_fit() -> None:
    whole = {"a": Input((3, 1), "int64"), "b": Input((5, 4), "int64")}
    with pytest.raises(ShapeError, match="inner sizes differ"):
        trtnet.record(lambda a, b: a @ b, **whole)
    large = {"a": Input((4096, 512), "int32"), "b": Input((512, 512), "int32")}
    with pytest.raises(UnsupportedError, match="multiplies no matrices of integers") as caught:
        trtnet.record(lambda a, b: a @ b, **large)
    assert ".float()" in caught.value.remedy


# --- every so many elements of a dynamic size -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 5, 6, 9])
def test_writes_with_a_step_into_a_dynamic_size(size: int) -> None:
    length = Dim("length", min=4, opt=5, max=12)

    def written(m: Any) -> Any:
        def function(x: Any) -> Any:
            a, b, c, d = (x * 1 for _ in range(4))
            a[::2] = 5.0
            b[1::3, 1:] = b[1::3, :-1] * 2
            c[::2, ::2] += 1
            d[-3::2] = 0.5
            d[5::2] = x[5::2] * 2
            return a, b, c, d

        return function

    x = {"x": RNG.normal(size=(size, 4)).astype(np.float32)}
    check_against_torch(written(trtnet), written(torch), x, shapes={"x": (length, 4)}, compile=size == 5)

    def empty(x: Any) -> Any:
        x = x[x > 0]
        x[5::2] = 1
        return x

    with pytest.raises(UnsupportedError, match="never empty") as caught:
        trtnet.record(empty, x=Input((length, 4)))
    assert "larger min" in caught.value.remedy


def test_what_a_network_alone_computes_is_computed_of_concrete_tensors_too() -> None:
    def function(T, x):
        F = T.nn.functional
        a, b, w = T.arange(24.0).reshape(1, 2, 3, 4) / 7, T.linspace(-1, 1, 12).reshape(1, 3, 4), T.ones(2, 2, 2)
        theta = T.tensor([[[1.0, 0.2, 0.1], [0.0, 0.9, -0.3]]])
        grid = F.affine_grid(theta, (1, 2, 3, 4), align_corners=False)
        made = [
            F.conv1d(b[:, :2], w), F.conv2d(a, w[None, :, :, :1].reshape(1, 2, 2, 1)), F.conv_transpose1d(b[:, :2], w),
            F.unfold(a, 2), F.fold(F.unfold(a, 2), (3, 4), 2), F.batch_norm(a, T.ones(2), T.ones(2)),
            F.layer_norm(a, (4,)), F.rms_norm(a, (4,)), F.group_norm(a, 2), F.instance_norm(a),
            F.local_response_norm(a, 2), F.cosine_similarity(b, b + 1), F.pairwise_distance(b, b * 2),
            F.max_pool1d(b, 2), F.max_pool2d(a, 2), F.max_pool3d(a, 2), F.avg_pool1d(b, 2), F.avg_pool2d(a, 2),
            F.avg_pool3d(a, 2), F.lp_pool1d(b, 2.0, 2), F.lp_pool2d(a, 2.0, 2), F.adaptive_avg_pool1d(b, 2),
            F.adaptive_avg_pool2d(a, 1), F.adaptive_avg_pool3d(a, 1), F.adaptive_max_pool1d(b, 2),
            F.adaptive_max_pool2d(a, 1), F.adaptive_max_pool3d(a, 1), grid, F.grid_sample(a, grid, align_corners=False),
        ]  # fmt: skip
        changed = F.max_pool1d(b, 2)
        changed += 1
        changed[0] *= x[0, 0]
        return x + sum(m.sum() for m in made), *(m * x[0, :1] for m in made), changed * x[0, :1]

    x = RNG.normal(size=(3, 5)).astype(np.float32)
    for batch in (3, BATCH):
        check(function, {"x": x}, {"x": (batch, 5)}, concrete=False, compile=batch is BATCH, rtol=1e-5, atol=1e-5)
    with pytest.raises(UnsupportedError, match="max_pool1d works on recorded tensors"):
        trtnet.functional.max_pool1d(trtnet.ones(1, 2, 4), 2)
