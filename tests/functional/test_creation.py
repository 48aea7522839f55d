"""Tensors out of nothing, conversions, and what a Dim or a recorded tensor makes of them."""

import ml_dtypes
import numpy as np
import pytest
import torch
from families import check, check_concrete, values
from harness import lower_and_compare
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Array, Dim, Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)
N = Dim("n", min=2, opt=5, max=9)
DTYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int8", "uint8", "bool"]
dtypes = st.none() | st.sampled_from(DTYPES)


def of(T, name):
    return None if name is None else getattr(T, name)


@given(st.lists(st.integers(0, 3), max_size=3), dtypes, st.sampled_from([0, 1, 2.5, -3, True]))
def test_one_value(sizes, dtype, value) -> None:
    if dtype == "uint8" and value == -3:
        value = 3

    def function(T, x):
        d = of(T, dtype)
        return (
            T.zeros(sizes, dtype=d), T.zeros(2, *sizes, dtype=d), T.ones(tuple(sizes), dtype=d),
            T.full(sizes, value, dtype=d),
            T.zeros(size=sizes, dtype=d), T.full_like(x, value), T.full_like(x, value, dtype=d),
            T.zeros_like(x, dtype=d), T.ones_like(x),
            x.new_zeros(sizes), x.new_ones(2, *sizes, dtype=d), x.new_full(sizes, value), x.new_tensor([1, 2]),
            x.new_zeros(2, 3),
            T.zeros_like(T.empty(sizes, dtype=d)), T.zeros_like(T.empty_like(x)), T.zeros_like(x.new_empty(2)),
        )  # fmt: skip

    check_concrete(function, values((2, 3)))
    check_concrete(function, values((2,), "int64"))


numbers = st.integers(-5, 9) | st.sampled_from([0.5, -1.25, 2.0, 3.75])


@given(
    numbers,
    numbers,
    st.integers(1, 3) | st.sampled_from([0.25, 1.5]),
    dtypes.filter(lambda d: d not in ("bool", "uint8")),
)
def test_sequences(start, end, step, dtype) -> None:
    if end < start:
        step = -step
    if dtype is not None and "float" not in dtype:  # torch rounds fractions first, and then counts
        start, end, step = (int(np.ceil(v)) if v > 0 else int(np.floor(v)) for v in (start, end, step))

    def function(T):
        d = of(T, dtype)
        return (
            T.arange(abs(end)), T.arange(start, end, step, dtype=d), T.arange(start=start, end=end, step=step),
            T.arange(0, 5, dtype=d),
            T.linspace(start, end, 5), T.linspace(0, 1, steps=1), T.eye(3), T.eye(2, 4, dtype=d), T.logspace(-1, 1, 3),
            T.tril_indices(3, 4), T.triu_indices(4, 3, 1),
        )  # fmt: skip

    check_concrete(function)


def test_values() -> None:
    def function(T):
        return (
            T.tensor([1, 2]), T.tensor([1.0, 2]), T.tensor([[True], [False]]), T.tensor(3), T.tensor(2.5),
            T.tensor([], dtype=T.float32),
            T.tensor([1, 2], dtype=T.float16), T.as_tensor([[1, 2], [3, 4]], dtype=T.float32),
            T.tensor(np.float64(1.5)),
            T.from_numpy(np.arange(3, dtype=np.int32)), T.as_tensor(np.ones(2)), T.asarray([1.0]), T.scalar_tensor(2),
            T.tensor([1, 2], device="cpu", requires_grad=False), T.tensor(((1, 2), (3, 4))),
        )  # fmt: skip

    check_concrete(function)
    array = np.zeros(3, np.float32)
    shared, own = trtnet.as_tensor(array), trtnet.tensor(array)
    array[0] = 5
    assert shared[0].item() == 5
    assert own[0].item() == 0
    assert trtnet.as_tensor(shared) is shared
    np.testing.assert_array_equal(trtnet.as_tensor(torch.arange(3)).numpy(), [0, 1, 2])
    assert trtnet.tensor([trtnet.tensor(1), trtnet.tensor(2)]).tolist() == [1, 2]


def test_conversions_of_concrete_tensors() -> None:
    def function(T, x):
        i = T.tensor([1, 0])
        return (
            x.half(), x.double(), x.bfloat16(), x.long(), x.int(), x.short(), x.char(), x.bool(), x.to(T.float16),
            x.to("cpu"),
            x.to("cpu", T.float64), x.to(i), x.to(dtype=T.int32), x.type(T.int64), x.type_as(i), i.float(), i.to(x),
            i.byte(), i.to(T.bool),
            x.cpu(), x.contiguous(), x.detach(), x.clone(), x.to(x.dtype, copy=True), x.float(),
            x.to(T.float32, non_blocking=True),
        )  # fmt: skip

    check_concrete(function, values((2, 3)) * 3)
    x = trtnet.tensor([1.0])
    assert x.to(trtnet.float32) is x
    assert x.to("cuda") is x
    assert x.to(trtnet.device("cuda:0")) is x
    assert x.to(x.dtype, copy=True) is not x
    assert x.type() == torch.tensor([1.0]).type() == "torch.FloatTensor"
    assert trtnet.is_floating_point(x)
    assert trtnet.tensor([1.0]).bfloat16().numpy().dtype == ml_dtypes.bfloat16
    with pytest.raises(ArgumentTypeError, match="neither a dtype nor a device"):
        x.to("gpu")
    with pytest.raises(ArgumentTypeError, match="no argument 'dytpe'"):
        x.to(dytpe=trtnet.float16)


def test_writing_into_concrete_tensors() -> None:
    x = trtnet.zeros(2, 3)
    assert x.fill_(2.0) is x
    assert x.tolist() == [[2.0] * 3] * 2
    x[0].zero_()
    assert x.tolist() == [[0.0] * 3, [2.0] * 3]
    x.copy_(trtnet.tensor([1, 2, 3]))
    assert x.tolist() == [[1.0, 2.0, 3.0]] * 2
    with pytest.raises(ShapeError, match="copy_: the shapes do not fit"):
        x.copy_(trtnet.zeros(4))
    trtnet.manual_seed(3)
    first = trtnet.zeros(400).normal_(1.0, 2.0).numpy().copy()
    trtnet.manual_seed(3)
    np.testing.assert_array_equal(trtnet.zeros(400).normal_(1.0, 2.0).numpy(), first)
    assert abs(first.mean() - 1) < 0.5
    assert abs(first.std() - 2) < 0.5
    uniform = trtnet.zeros(400).uniform_(-1, 3).numpy()
    assert uniform.min() >= -1
    assert uniform.max() <= 3
    assert abs(uniform.mean() - 1) < 0.3
    weight = nn.Parameter(shape=(4, 5))
    weight.data.normal_(0, 0.02)
    weight.data.fill_(3.0)
    assert weight.value.array is None  # drawn at the first read
    assert weight.numpy().tolist() == [[3.0] * 5] * 4
    assert weight.dtype is trtnet.float32


def test_dims_and_recorded_tensors_record() -> None:
    def function(T, x, i):
        b, n = x.shape[:2]
        return (
            x.new_zeros(b, 3), T.arange(n), T.arange(1, n + 1, 2), T.arange(n, 0, -1), T.arange(n, dtype=T.int32),
            T.full((b,), 7),
            T.full((b, 2), True), T.full_like(x, 2.0), T.zeros_like(i), T.ones_like(x, dtype=T.int64),
            T.zeros(b, dtype=T.bool),
            T.eye(n, dtype=T.int64), T.eye(n, 3).to(x.dtype), T.full((2,), 1.5, dtype=x.dtype).expand(b, 2),
            x.new_full((n,), 3),
            T.arange(b).unsqueeze(1) * 3 + T.arange(n), T.tensor([1, 2]).expand(b, 2),
            T.arange(n).flip(0).to(x.dtype) + x[..., 0],
            x.new_ones(x.shape[1:]), T.ones(n, 2, dtype=T.float16).to(x.dtype),
        )  # fmt: skip

    inputs = {"x": values((3, 4, 2)), "i": values((3,), "int64")}
    graph = check(function, inputs, {"x": (BATCH, N, 2), "i": (BATCH,)}, concrete=False, rtol=1e-3)
    assert str(graph.outputs["output_2"].shape) == "((n + 1)//2,)"
    kinds = {layer.kind for layer in graph.layers}
    assert {"fill", "slice", "constant"} <= kinds


def test_sizes_as_values() -> None:
    def forward(x):
        n = x.shape[1]
        return (
            trtnet.as_tensor(n * 2),
            trtnet.tensor([n, 3, x.shape[0]]),
            trtnet.full((2,), n),
            trtnet.full((1,), n, dtype=trtnet.float32),
        )

    graph = trtnet.record(forward, x=Input((BATCH, N)))
    one, several, filled, floats = trtnet.reference(graph)(x=values((3, 5)))
    assert (one, several.tolist(), filled.tolist(), floats.tolist()) == (10, [5, 3, 3], [5, 5], [5.0])
    lower_and_compare(graph)


def test_conversions_of_recorded_tensors() -> None:
    def function(T, x, i, m):
        return (
            x.half().to(x.dtype), x.to(T.int32), i.to(x.dtype), i.half().to(x.dtype), m.long(), x.bool(), i.bool(),
            x.to("cuda" if T is trtnet else "cpu"),
            m.to(x), i.type_as(m), x.to(dtype=T.int64), i.int(), m.int(), x.to(x.dtype, copy=True),
            x.long().to(x.dtype),
        )  # fmt: skip

    inputs = {"x": values((3, 4)) * 4, "i": values((3, 2), "int64"), "m": values((3,), "bool")}
    check(function, inputs, {"x": (BATCH, 4), "i": (BATCH, 2), "m": (BATCH,)}, rtol=1e-3, atol=1e-3)

    def nothing(x):
        assert x.float() is x
        assert x.to(trtnet.float32) is x
        assert x.to("cuda:0", non_blocking=True) is x
        assert x.cuda() is x.cpu() is x.type(trtnet.float32) is x.to(x) is x
        return x.half()

    assert [layer.kind for layer in trtnet.record(nothing, x=Input((2,))).layers] == ["cast"]


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors() -> None:
    x = Input((BATCH, 4))
    text = _error(DtypeError, "TensorRT has no float64", lambda x: x.double(), x=x)
    assert "float32" in text
    _error(DtypeError, "TensorRT has no int16", lambda x: x.short(), x=x)
    _error(ArgumentTypeError, "Dims and floats do not mix", lambda x: trtnet.arange(0, x.shape[0], 0.5), x=x)
    _error(UnsupportedError, "linspace of a dynamic size", lambda x: trtnet.linspace(0, 1, x.shape[0]), x=x)
    _error(ArgumentTypeError, "needs a value", lambda x: trtnet.tensor(x.numpy()), x=x)
    with pytest.raises(ShapeError, match="negative"):
        trtnet.zeros(2, -1)
    with pytest.raises(ArgumentError, match="the step must not be 0"):
        trtnet.arange(0, 5, 0)
    with pytest.raises(ArgumentError, match="the end is before the start"):
        trtnet.arange(5, 0)
    with pytest.raises(ArgumentTypeError, match="no argument 'typ'"):
        trtnet.zeros(2, typ=3)
    with pytest.raises(ArgumentTypeError, match="a size must be a whole number"):
        trtnet.zeros(2.5)
    with pytest.raises(ArgumentTypeError, match="from_numpy takes a NumPy array"):
        trtnet.from_numpy([1])
    with pytest.raises(ArgumentTypeError, match="outside its recording"):
        trtnet.zeros(BATCH, 2)
    assert isinstance(trtnet.ones(2, device="cuda", pin_memory=True), Array)
