"""The reference engine: calls, dtypes, refits, snapshots, threads."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref

import ml_dtypes
import numpy as np
import pytest
from networks import Tied
from threads import at_once, beside

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input, nn  # noqa: E402
from trtnet import functional as F  # noqa: E402
from trtnet.basics.arrays import from_numpy, to_numpy  # noqa: E402
from trtnet.errors import (  # noqa: E402
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    EngineError,
    ProviderError,
    ShapeError,
    WeightsError,
)
from trtnet.pytorch.engine import ReferenceEngine  # noqa: E402

B = Dim("b", min=1, opt=2, max=8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.fc2 = nn.Linear(6, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc2(F.relu(self.norm(self.fc1(x))))


def net_engine(dtype="float32", **options):
    return trtnet.reference(trtnet.record(Net().to(dtype), x=Input((B, 4), dtype)), **options)


def x(batch=2, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 4)).astype(dtype)


def expected(state, value):
    """The network in float64."""
    s = {name: np.asarray(a, np.float64) for name, a in state.items()}
    y = value.astype(np.float64) @ s["fc1.weight"].T + s["fc1.bias"]
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5) * s["norm.weight"] + s["norm.bias"]
    return np.maximum(y, 0) @ s["fc2.weight"].T + s["fc2.bias"]


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_numpy_in_numpy_out():
    engine = net_engine()
    found = engine(x=x())
    assert type(found) is np.ndarray
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(engine.graph.state_dict(), x()), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(engine(x()), found)


def test_torch_in_torch_out():
    engine = net_engine()
    found = engine(torch.from_numpy(x()))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), engine(x()))


def test_array_in_array_out():
    engine = net_engine()
    found = engine(trtnet.tensor(x()))
    assert isinstance(found, trtnet.Array)
    np.testing.assert_array_equal(found.numpy(), engine(x()))


def test_torch_results_can_be_changed_and_trained_on():
    engine = net_engine()
    found = engine(torch.from_numpy(x()))
    found += 1
    weight = torch.ones(3, requires_grad=True)
    (found * weight).sum().backward()
    assert weight.grad is not None
    given = torch.from_numpy(x()).requires_grad_()
    assert not engine(given).requires_grad


@pytest.mark.parametrize(
    "value",
    [
        np.asfortranarray(x()),
        np.repeat(x(4), 2, 0)[::2],
        np.ascontiguousarray(x().T).T,
        x()[::-1],
        x(4)[1:3],
        np.broadcast_to(x(1), (3, 4)),
    ],
)
def test_inputs_of_any_layout(value):
    engine = net_engine()
    np.testing.assert_array_equal(engine(value), engine(np.ascontiguousarray(value)))


def test_torch_inputs_of_any_layout():
    engine = net_engine()
    value = torch.from_numpy(np.ascontiguousarray(x().T)).t()
    assert not value.is_contiguous()
    np.testing.assert_array_equal(engine(value).numpy(), engine(x()))
    assert engine(value).is_contiguous()


def test_read_only_inputs_warn_of_nothing():
    value = x()
    value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net_engine()(value)


def test_scalars():
    engine = trtnet.reference(trtnet.record(lambda s: s * 2, s=Input(())))
    for value in (np.array(3, np.float32), np.float32(3)):
        found = engine(value)
        assert (found.shape, found.dtype, float(found)) == ((), np.float32, 6)
    assert engine(torch.tensor(3.0)).shape == ()


def test_an_empty_batch():
    engine = trtnet.reference(trtnet.record(lambda x: F.relu(x), x=Input((Dim("n", min=0, max=4), 3))))
    assert engine(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_several_inputs_by_position_and_by_name():
    engine = trtnet.reference(trtnet.record(lambda a, b: a - b, a=Input((2,)), b=Input((2,))))
    a, b = np.array([5, 7], np.float32), np.array([1, 2], np.float32)
    for found in (engine(a, b), engine(a=a, b=b), engine(a, b=b), engine(b=b, a=a)):
        assert found.tolist() == [4, 5]


# --- whose the outputs are --------------------------------------------------------------------------------------------


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(trtnet.tensor([[1.0, 2.0], [3.0, 4.0]]))

    def forward(self, x):
        y = F.relu(x)
        return x.reshape(4), self.w.t(), self.w, y, y.reshape(4), y[0], trtnet.ones(2)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_outputs_are_the_callers_own(convert):
    engine = trtnet.reference(trtnet.record(Views(), x=Input((2, 2))))
    given = np.array([[1, -2], [3, 4]], np.float32)
    kept = given.copy()
    wanted = [np.asarray(o).copy() for o in engine(convert(given.copy()))]
    value = convert(given)
    outputs = engine(value)
    for i, output in enumerate(outputs):
        output[...] = 100 + i
    for i, output in enumerate(outputs):
        assert (np.asarray(output) == 100 + i).all(), f"output {i} shares its memory with another"
    np.testing.assert_array_equal(given, kept)
    for mine, old in zip(engine(convert(kept)), wanted):
        np.testing.assert_array_equal(np.asarray(mine), old)
    assert engine.graph.state_dict()["w"].tolist() == [[1, 2], [3, 4]]


def test_nothing_is_kept_of_a_call():
    engine = net_engine()
    value = torch.from_numpy(x())
    seen = weakref.ref(value)
    engine(value)
    del value
    gc.collect()
    assert seen() is None


# --- what a call refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [x(dtype=np.float64), torch.from_numpy(x()).double()], ids=["numpy", "torch"])
def test_float64_is_refused_with_the_remedy(value):
    with pytest.raises(DtypeError, match="input 'x' has the wrong dtype") as caught:
        net_engine()(value)
    assert (caught.value.expected, caught.value.found) == ("float32", "float64")
    assert "float32" in caught.value.remedy
    assert isinstance(caught.value, TypeError)
    assert caught.value.where.file == __file__


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_, ml_dtypes.bfloat16, np.complex64, ">f4", "U3"])
def test_other_dtypes_are_refused(dtype):
    value = np.zeros((2, 4), dtype)
    with pytest.raises(DtypeError) as caught:
        net_engine()(value)
    assert "x" in caught.value.problem


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((2, 5), "wrong size in dimension 1"),
        ((4,), "wrong number of dimensions"),
        ((9, 4), "b is outside its range"),
        ((0, 4), "b is outside its range"),
    ],
)
def test_shapes_are_refused(shape, problem):
    engine = net_engine()
    for _ in range(2):
        with pytest.raises(ShapeError, match=problem) as caught:
            engine(np.zeros(shape, np.float32))
        assert caught.value.where.file == __file__
        assert "(b, 4)" in str(caught.value.expected) or "1 to 8" in caught.value.expected
    engine(x())


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda e: e(), "none"),
        (lambda e: e(x(), x()), "x and 1 more"),
        (lambda e: e(image=x()), "image"),
        (lambda e: e(x(), x=x()), "x"),
        (lambda e: e(x=x(), y=x()), "x, y"),
    ],
)
def test_other_inputs_are_refused(call, found):
    with pytest.raises(ArgumentTypeError, match="not the engine's inputs") as caught:
        call(net_engine())
    assert caught.value.expected == "x"
    assert found in caught.value.found
    assert "engine(x=array)" in caught.value.remedy


@pytest.mark.parametrize("value", [[[1.0] * 4], None, 3.0, "abc", object()])
def test_what_is_no_array(value):
    with pytest.raises(ArgumentTypeError, match="input 'x' is no array") as caught:
        net_engine()(value)
    assert "numpy.asarray" in caught.value.remedy


def test_kinds_do_not_mix():
    engine = trtnet.reference(trtnet.record(lambda a, b: a - b, a=Input((2,)), b=Input((2,))))
    a = np.ones(2, np.float32)
    with pytest.raises(ArgumentTypeError, match="of one kind") as caught:
        engine(a, torch.from_numpy(a))
    assert caught.value.found == "numpy, torch"


def test_a_recorded_tensor_is_no_input():
    kept = []

    def forward(x):
        kept.append(x)
        return F.relu(x)

    trtnet.record(forward, x=Input((2, 4)))
    with pytest.raises(ArgumentTypeError, match="input 'x' needs a value"):
        net_engine()(kept[0])


def test_devices():
    graph = trtnet.record(Net(), x=Input((B, 4)))
    with pytest.raises(ArgumentError, match="no such device"):
        trtnet.reference(graph, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ProviderError, match="cannot use the device cuda") as caught:
            trtnet.reference(graph, device="cuda")
        assert caught.value.remedy


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"dtype": "float16"}, ArgumentError), ({"dtype": "floaty"}, DtypeError), ({"raw": True}, ArgumentError)],
)
def test_options_are_checked(options, kind):
    with pytest.raises(kind):
        trtnet.reference(trtnet.record(Net(), x=Input((B, 4))), **options)


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-3), ("bfloat16", 5e-2)])
def test_half_types(dtype, tolerance):
    numpy = trtnet.dtypes.get(dtype).numpy
    engine = net_engine(dtype)
    found = engine(x(dtype=numpy))
    assert found.dtype == numpy
    wanted = expected({n: v.astype(np.float64) for n, v in engine.graph.state_dict().items()}, x(dtype=numpy))
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=tolerance, atol=4 * tolerance)
    theirs = engine(torch.from_numpy(x()).to(getattr(torch, dtype)))
    assert theirs.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(theirs.float().numpy(), found.astype(np.float32))


def test_float64_takes_and_gives_the_recorded_types():
    engine = trtnet.reference(trtnet.record(Net(), x=Input((B, 4))), dtype="float64")
    found = engine(x())
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(engine.graph.state_dict(), x()).astype(np.float32))
    with pytest.raises(DtypeError):
        engine(x(dtype=np.float64))


def test_raw_float64_takes_and_gives_float64():
    engine = trtnet.reference(trtnet.record(Net(), x=Input((B, 4))), dtype="float64", raw=True)
    value = x(dtype=np.float64) + 1e-12
    found = engine(value)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected(engine.graph.state_dict(), value), rtol=1e-12)
    assert engine.inputs[0].dtype is trtnet.float64
    with pytest.raises(DtypeError, match="wrong dtype"):
        engine(x())


def test_float64_computes_recorded_casts_in_float64_too():
    def forward(x):
        return (x.half() + 2**-12).to(trtnet.float32)

    graph = trtnet.record(forward, x=Input((1,)))
    one = np.ones(1, np.float32)
    assert trtnet.reference(graph)(one)[0] == 1
    assert trtnet.reference(graph, dtype="float64", raw=True)(one.astype(np.float64))[0] == 1 + 2**-12


def test_integers_and_bools_stay_what_they_are_in_float64():
    graph = trtnet.record(lambda i, m: (i + 1, ~m), i=Input((2,), "int64"), m=Input((2,), "bool"))
    i, m = np.array([1 << 40, 2], np.int64), np.array([True, False])
    for options in ({}, {"dtype": "float64"}, {"dtype": "float64", "raw": True}):
        a, b = trtnet.reference(graph, **options)(i, m)
        assert (a.dtype, a.tolist()) == (np.int64, [(1 << 40) + 1, 3])
        assert (b.dtype, b.tolist()) == (np.bool_, [False, True])


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool", "float8_e4m3fn"]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_numpy_and_torch_share_memory_both_ways(dtype, read_only):
    array = np.array([0, 1, 1, 0], trtnet.dtypes.get(dtype).numpy)
    array.flags.writeable = not read_only
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = from_numpy(array)
    assert str(tensor.dtype) == f"torch.{dtype}"
    assert tensor.data_ptr() == array.__array_interface__["data"][0]
    assert tensor.float().tolist() == [0, 1, 1, 0]
    back = to_numpy(tensor)
    assert back.dtype == array.dtype
    assert back.__array_interface__["data"][0] == tensor.data_ptr()
    seen = weakref.ref(array)
    del array, back
    gc.collect()
    assert seen() is not None, "the tensor keeps the array alive"
    assert tensor.float().tolist() == [0, 1, 1, 0]


# --- refit ------------------------------------------------------------------------------------------------------------


def values(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(v.shape).astype(dtype) for n, v in Net().state_dict().items()}


def test_refit_changes_the_engine_and_not_graph_or_module():
    net = Net()
    graph = trtnet.record(net, x=Input((B, 4)))
    engine, other = trtnet.reference(graph), trtnet.reference(graph)
    before = other(x())
    state = {n: v.copy() for n, v in graph.state_dict().items()}
    new = values(1)
    report = engine.refit(new)
    np.testing.assert_allclose(engine(x()), expected(new, x()), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(other(x()), before)
    for name, value in state.items():
        np.testing.assert_array_equal(graph.state_dict()[name], value)
        np.testing.assert_array_equal(net.state_dict()[name], value)
    assert report.given == list(new)
    assert {"fc1.weight", "fc2.bias"} <= set(report.changed)
    assert not any("unused" in name for name in report.changed)
    assert report.converted == {}
    assert engine.generation == 1
    assert "refitted" in str(report)


def test_a_subset_is_enough():
    engine = net_engine()
    state = dict(engine.graph.state_dict()) | {"fc2.bias": np.array([1, 2, 3], np.float32)}
    report = engine.refit({"fc2.bias": state["fc2.bias"]})
    assert report.changed == ["fc2.bias"]
    np.testing.assert_allclose(engine(x()), expected(state, x()), rtol=1e-4, atol=1e-5)
    engine.refit({"unused.bias": np.ones(2, np.float32)})
    engine.refit({})
    np.testing.assert_allclose(engine(x()), expected(state, x()), rtol=1e-4, atol=1e-5)
    assert engine.generation == 3


def test_refit_copies_what_it_is_given():
    engine = net_engine()
    new = values(1)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in new.items()}
    engine.refit(tensors)
    found = engine(x())
    for tensor in tensors.values():
        tensor.zero_()
    engine.refit({"fc2.bias": new["fc2.bias"]})
    np.testing.assert_array_equal(engine(x()), found)
    engine.refit(new)
    for value in new.values():
        value[:] = 0
    engine.refit({"unused.bias": np.ones(2, np.float32)})
    np.testing.assert_array_equal(engine(x()), found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_refit_converts_half_types_and_says_so(dtype):
    numpy = trtnet.dtypes.get(dtype).numpy
    engine = net_engine()
    new = values(1, numpy)
    report = engine.refit(new)
    assert report.converted == dict.fromkeys(new, dtype)
    np.testing.assert_allclose(
        engine(x()), expected({n: v.astype(np.float64) for n, v in new.items()}, x()), rtol=1e-4, atol=1e-4
    )
    half = net_engine(dtype)
    assert half.refit(values(1)).converted == dict.fromkeys(new, "float32")
    assert half(x(dtype=numpy)).dtype == numpy


def test_refit_takes_a_torch_module_with_a_prefix():
    engine = net_engine()
    new = values(2)
    engine.refit({"_orig_mod." + name: torch.from_numpy(value) for name, value in new.items()}, prefix="_orig_mod.")
    np.testing.assert_allclose(engine(x()), expected(new, x()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"fc2.bias": np.ones(4, np.float32)}, WeightsError, "misshapen"),
        ({"fc2.bias": np.ones(3, np.int32)}, DtypeError, "wrong dtype"),
        ({"fc2.bais": np.ones(3, np.float32)}, WeightsError, "nearest: fc2.bias"),
        ({"fc2.bias": np.ones(6, np.float32)[::2]}, WeightsError, "not contiguous"),
        ({"fc2.bias": [1.0, 2.0, 3.0]}, WeightsError, "no array"),
        ({"fc2.bias": np.array([1, np.nan, 2], np.float32)}, WeightsError, "NaN or infinity"),
        ({"fc2.bias": torch.tensor([1, float("inf"), 2])}, WeightsError, "NaN or infinity"),
        ({"fc2.bias": torch.tensor([1, float("inf"), 2]).bfloat16()}, WeightsError, "NaN or infinity"),
    ],
)
def test_refit_is_all_or_nothing(change, kind, message):
    engine = net_engine()
    before = engine(x())
    snapshot = engine.snapshot()
    with pytest.raises(kind, match=message) as caught:
        engine.refit(values(3) | change, finite="raise")
    assert caught.value.where.file == __file__
    assert engine.generation == 0
    np.testing.assert_array_equal(engine(x()), before)
    engine.restore(snapshot)
    np.testing.assert_array_equal(engine(x()), before)


def test_nonfinite_values_at_refit():
    engine = net_engine()
    bad = {"fc2.bias": np.array([1, np.nan, 2], np.float32)}
    with pytest.warns(UserWarning, match=r"NaN or infinity: fc2\.bias") as caught:
        engine.refit(bad)
    assert caught[0].filename == __file__
    assert np.isnan(engine(x())[:, 1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.refit(bad, finite=None)
        engine.refit(values(1))
    with pytest.raises(ArgumentTypeError, match="finite"):
        engine.refit(bad, finite="yes")


def test_tied_parameters_take_either_name():
    engine = trtnet.reference(trtnet.record(Tied(lambda: nn.Linear(2, 2, bias=False)), x=Input((1, 2))))
    double = np.diag([2, 2]).astype(np.float32)
    for name in ("a.weight", "b.weight"):
        engine.refit({"a.weight": np.eye(2, dtype=np.float32)})
        assert engine.refit({name: double}).given == [name]
        assert engine(np.ones((1, 2), np.float32)).tolist() == [[4, 4]]


# --- snapshots --------------------------------------------------------------------------------------------------------


class Forgetful(ReferenceEngine):
    """Holds other values than it was given, once it is told to."""

    wrong = False

    def _copied(self, values, finite):
        made = super()._copied(values, finite)
        if self.wrong:
            made["fc2.bias"].view(torch.int32)[0] ^= 1
        return made


@pytest.mark.parametrize("swap", [False, True])
def test_verify_reads_back_what_the_engine_holds(swap):
    engine = Forgetful(net_engine().graph)
    target = trtnet.HotSwap(engine) if swap else engine
    assert target.refit(values(1)).verified is False
    report = target.refit(values(2), verify=True, version=2)
    assert report.verified
    assert "read back" in str(report)
    before, wanted = target(x()), target.parameters()
    Forgetful.wrong = True
    try:
        with pytest.raises(EngineError, match=r"other weights than it was given(.|\n)*found: +fc2\.bias"):
            target.refit(values(3), verify=True, version=3)
    finally:
        Forgetful.wrong = False
    assert np.array_equal(target(x()), before)
    assert all(np.array_equal(value, wanted[name]) for name, value in target.parameters().items())
    assert target.version == 2
    assert target.refit(values(3), verify=True).verified


def test_a_to_b_to_a_is_bit_equal():
    engine = net_engine()
    first = engine(x())
    a = engine.snapshot()
    engine.refit(values(1))
    second = engine(x())
    b = engine.snapshot()
    assert not np.array_equal(first, second)
    for snapshot, wanted in ((a, first), (b, second), (a, first)):
        engine.restore(snapshot)
        assert engine(x()).tobytes() == wanted.tobytes()
    assert engine.generation == 4
    assert (a.generation, b.generation) == (0, 1)


def test_a_snapshot_outlives_later_refits():
    engine = net_engine()
    engine.refit(values(1))
    snapshot, wanted = engine.snapshot(), engine(x())
    for seed in range(2, 6):
        engine.refit({"fc1.weight": values(seed)["fc1.weight"]})
    engine.restore(snapshot)
    assert engine(x()).tobytes() == wanted.tobytes()


def test_snapshots_of_other_engines_are_refused():
    one, two = net_engine(), net_engine()
    for wrong in (two.snapshot(), None, {}, one.graph.state_dict()):
        with pytest.raises(ArgumentTypeError, match="no snapshot of this engine"):
            one.restore(wrong)


# --- threads, files, dims ---------------------------------------------------------------------------------------------


def test_eight_threads_call_one_engine():
    engine = net_engine()
    wanted = {i: net_engine_result(engine, i) for i in range(8)}
    fresh = trtnet.reference(engine.graph)
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        for _ in range(30):
            np.testing.assert_array_equal(fresh(x(i + 1, seed=i)), wanted[i])

    at_once(work, range(8))


def net_engine_result(engine, i):
    return engine(x(i + 1, seed=i))


def test_a_call_sees_old_or_new_weights_and_never_both():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(trtnet.zeros(1))
            self.b = nn.Parameter(trtnet.zeros(1))

        def forward(self, x):
            return x + self.a, x + self.b

    engine = trtnet.reference(trtnet.record(Two(), x=Input((1,))))
    stop, mixed = threading.Event(), []

    def call(number):
        while not stop.is_set():
            a, b = engine(np.zeros(1, np.float32))
            if a[0] != b[0]:
                mixed.append((a, b))

    with beside(call, range(4)):
        try:
            for i in range(300):
                value = np.full(1, i, np.float32)
                engine.refit({"a": value, "b": value})
        finally:
            stop.set()
    assert mixed == []


def test_mapped_weights(tmp_path):
    source = Net()
    source.save_weights(tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = trtnet.reference(trtnet.record(Net().load_weights(tmp_path / "w.safetensors"), x=Input((B, 4))))
        found = engine(x())
    np.testing.assert_array_equal(found, trtnet.reference(trtnet.record(source, x=Input((B, 4))))(x()))
    data = (tmp_path / "w.safetensors").read_bytes()
    engine.refit(values(1))
    assert (tmp_path / "w.safetensors").read_bytes() == data


def test_every_size_in_range():
    engine = net_engine()
    for batch in range(1, 9):
        assert engine(x(batch)).shape == (batch, 3)


@pytest.mark.parametrize("first", ["call", "nothing"])
def test_weights_are_the_graphs_when_the_engine_was_made(first):
    graph = trtnet.record(Net(), x=Input((B, 4)))
    engine = trtnet.reference(graph)
    before = trtnet.reference(graph)(x())
    if first == "call":
        engine(x())
    graph.load_state_dict(values(5))
    np.testing.assert_array_equal(engine(x()), before)
    np.testing.assert_allclose(trtnet.reference(graph)(x()), expected(values(5), x()), rtol=1e-4, atol=1e-5)


def test_repr():
    assert repr(net_engine()) == "ReferenceEngine(x=(b, 4) -> output=(b, 3))"


def test_what_pytorch_cannot_compute_is_explained():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 2)

        def forward(self, ids):
            return self.table(ids)

    engine = trtnet.reference(trtnet.record(Words(), ids=Input((3,), "int64")))
    with pytest.raises(ProviderError, match="index out of range") as error:
        engine(ids=np.array([0, 9, 1]))
    assert error.value.module == "table"
    assert "return self.table(ids)" in str(error.value)
    assert engine(ids=np.array([0, 4, 1])).shape == (3, 2)
