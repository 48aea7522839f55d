"""Calls: kinds of arrays in and out, the caller's stream, nothing that waits, outputs that are the caller's own."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
from gpu_tools import KINDS, SLEEP, Offered, cuda, data
from networks import LEVEL, any_batch, close, convolutions, flat, host, policy, same

import trtnet
from trtnet import Input
from trtnet.errors import ArgumentTypeError, DtypeError, ProviderError, ShapeError, TrtnetError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def engine():
    return trtnet.build(policy(any_batch()), refit=True, **LEVEL)


@pytest.fixture(scope="module")
def reference(engine):
    return trtnet.reference(engine.graph, dtype="float64")


def rows(count, seed=0):
    return data(count, 16, seed=seed)


# --- kinds


def test_kinds(engine, reference):
    x = rows(5)
    wanted = reference(x)
    for value, kind in ((x, np.ndarray), (KINDS["cpu"](x), torch.Tensor), (cuda(x), torch.Tensor)):
        found = engine(value)
        assert all(isinstance(v, kind) for v in found.values())
        assert all(v.device == value.device for v in found.values() if kind is torch.Tensor)
        close(found, wanted)
        close(engine(x=value), wanted)
    found = engine(trtnet.as_array(x)) if hasattr(trtnet, "as_array") else None
    if found is not None:
        assert all(isinstance(v, trtnet.Array) for v in found.values())


@pytest.mark.parametrize("protocol", ["DLPack", "interface"])
def test_arrays_of_other_libraries(engine, reference, protocol):
    x = cuda(rows(5))
    found = engine(Offered(x, protocol))
    close({name: torch.as_tensor(v, device="cuda") for name, v in found.items()}, reference(rows(5)))
    assert same({name: torch.as_tensor(v, device="cuda") for name, v in found.items()}, engine(x))


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_any_layout(engine, reference, kind):
    to = KINDS[kind]
    wide = to(data(5, 32))
    values = [
        to(rows(5)).T.copy().T if kind == "numpy" else to(rows(5)).t().contiguous().t(),
        wide[:, ::2],
        wide[:, 16:],
        to(data(5, 1)) * to(np.ones((1, 16), np.float32)),
        np.broadcast_to(to(data(1, 16)), (5, 16)) if kind == "numpy" else to(data(1, 16)).expand(5, 16),
    ]
    if kind == "numpy":
        locked = rows(5)
        locked.flags.writeable = False
        values += [wide[::-1, 31:15:-1], locked]
    for value in values:
        close(engine(value), reference(np.ascontiguousarray(host(value))))


def test_what_is_made_for_a_call_lives_as_long_as_it_runs(engine, reference):
    """A contiguous copy of an input is dropped when the call returns, long before the GPU reads it."""
    wide = cuda(data(5, 32))
    engine(wide[:, ::2])
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(SLEEP)
        found = engine(wide[:, ::2])
        others = [torch.full((5, 16), 7.0, device="cuda") for _ in range(20)]
    torch.cuda.synchronize()
    assert len(others) == 20
    close(found, reference(data(5, 32)[:, ::2].copy()))


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_tensors_that_are_trained_on(engine, reference, kind):
    x = KINDS[kind](rows(3)).requires_grad_()
    for value in (x, torch.nn.Parameter(x.detach())):
        found = engine(value)
        close(found, reference(rows(3)))
        assert not any(v.requires_grad for v in found.values())
    if kind == "cuda":
        close(engine(x, graph=True), reference(rows(3)))


@pytest.mark.parametrize("graph", [False, True])
def test_inference_mode_first_and_then_not(graph):
    engine = trtnet.build(policy(), **LEVEL)
    x = cuda(rows(4))
    with torch.inference_mode():
        first = engine(x, graph=graph)
    assert same(engine(x, graph=graph), first)
    with torch.no_grad():
        assert same(engine(x, graph=graph), first)


def test_half_and_bool():
    graph = trtnet.record(
        lambda x, mask: (trtnet.where(mask, x, -x), x > 0, ~mask),
        x=Input((3, 8), "float16"),
        mask=Input((3, 8), "bool"),
    )
    engine = trtnet.build(graph, **LEVEL)
    x, mask = data(3, 8).astype(np.float16), data(3, 8, seed=1) > 0
    for to in KINDS.values():
        chosen, positive, turned = (host(v) for v in engine(to(x), to(mask)))
        assert (chosen.dtype, positive.dtype, turned.dtype) == (np.float16, np.bool_, np.bool_)
        assert np.array_equal(chosen, np.where(mask, x, -x))
        assert np.array_equal(positive, x > 0)
        assert np.array_equal(turned, ~mask)


def test_int64_outputs_stay_int64():
    engine = trtnet.build(trtnet.record(lambda x: (x.argmax(1), x.max(1).values), x=Input((6, 9))), **LEVEL)
    x = data(6, 9)
    for kind, to in KINDS.items():
        best, value = engine(to(x))
        assert str(best.dtype).endswith("int64"), kind
        assert np.array_equal(host(best), x.argmax(1))
        assert np.array_equal(host(value), x.max(1))
    out = (torch.zeros(6, dtype=torch.int64, device="cuda"), torch.zeros(6, device="cuda"))
    assert engine(cuda(x), out=out)[0] is out[0]
    assert np.array_equal(host(out[0]), x.argmax(1))


def test_int64_inputs():
    engine = trtnet.build(trtnet.record(lambda i: (i + 1, i.float() * 0.5), i=Input((4,), "int64")), **LEVEL)
    i = np.array([1, -5, 2**20, 0], np.int64)
    for kind in ("numpy", "cpu"):
        plus, scaled = (host(v) for v in engine(KINDS[kind](i)))
        assert plus.dtype == np.int64
        assert np.array_equal(plus, i + 1)
        assert np.array_equal(scaled, i * 0.5)
    with pytest.raises(ShapeError, match=r"(?s)'i' does not fit int32.*2147483648"):
        engine(np.array([0, 0, 0, 2**31], np.int64))
    with pytest.raises(
        ProviderError, match=r"(?s)has no int64, and input 'i' is on the GPU.*record the input as int32"
    ):
        engine(cuda(i))
    assert np.array_equal(engine(i)[0], i + 1)


# --- ownership


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_the_callers_own(engine, kind, graph):
    if graph and kind != "cuda":
        with pytest.raises(ProviderError, match="reads its inputs on the GPU"):
            engine(KINDS[kind](rows(3)), graph=True)
        return
    first = engine(KINDS[kind](rows(3, 1)), graph=graph)
    kept = [host(v).copy() for v in first.values()]
    others = [engine(KINDS[kind](rows(3, seed)), graph=graph) for seed in range(2, 6)]
    assert same(first, kept)
    assert not any(same(first, other) for other in others)
    for value in flat(first):
        value += 1  # and may be written to
    assert same(engine(KINDS[kind](rows(3, 1)), graph=graph), kept)


@pytest.mark.parametrize("kind", KINDS)
def test_out(engine, kind):
    x = KINDS[kind](rows(4))
    wanted = engine(x)
    out = {name: v * 0 - 1 for name, v in wanted.items()}
    result, generation = engine(x, out=out, with_generation=True)
    assert all(result[name] is out[name] for name in out)
    assert same(out, wanted)
    assert generation == engine.generation
    one = out["value"]
    for bad, error, message in (
        ({"logits": out["logits"][:1], "value": one}, ShapeError, "out for 'logits' has the wrong shape"),
        ({"logits": np.zeros((4, 4), np.float16), "value": one} if kind == "numpy" else
         {"logits": out["logits"].half(), "value": one}, DtypeError, "out for 'logits' has the wrong dtype"),
        ({"logits": host(out["logits"]) if kind != "numpy" else torch.zeros(4, 4), "value": one},
         ArgumentTypeError, "out for 'logits' is of another kind"),
        ({"logits": out["logits"]}, ArgumentTypeError, "out has not the form of the result"),
        (one, ArgumentTypeError, "out has not the form of the result"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            engine(x, out=bad)


# --- streams

WAYS = {
    "a call": lambda engine, x: lambda: engine(x),
    "a given stream": lambda engine, x: lambda: engine(x, stream=torch.cuda.current_stream()),
    "a stream's address": lambda engine, x: lambda: engine(x, stream=torch.cuda.current_stream().cuda_stream),
    "given outputs": lambda engine, x: lambda out=engine(x): engine(x, out=out),
    "graph=True": lambda engine, x: lambda: engine(x, graph=True),
    "bind": lambda engine, x: engine.bind(x),
    "bind, graph=True": lambda engine, x: engine.bind(x, graph=True),
    "a context": lambda engine, x: lambda context=engine.context(): context(x),
    "a context's bind": lambda engine, x: engine.context().bind(x),
    "shared memory": lambda engine, x: lambda context=engine.context(shared_memory=True): context(x),
    "DLPack": lambda engine, x: lambda: engine(Offered(x, "DLPack")),
    "interface": lambda engine, x: lambda: engine(Offered(x, "interface")),
}


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_runs_in_the_order_of_the_current_stream_without_waiting(engine, reference, way, default):
    """The input is written by work that the GPU has not come to yet; a later kernel reads the outputs."""
    stream = torch.cuda.default_stream() if default else torch.cuda.Stream()
    x, new = torch.zeros(3, 16, device="cuda"), cuda(rows(3, 7))
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        call = WAYS[way](engine, x)
        for value in flat(call()):
            torch.as_tensor(value, device="cuda") * 1  # torch's memory for what follows is there
        torch.cuda.synchronize()
        torch.cuda._sleep(SLEEP)
        x.copy_(new)
        found = call()
        done = torch.cuda.Event()
        done.record()
        assert not done.query(), "the call waited for the GPU"
        late = [torch.as_tensor(value, device="cuda") * 1 for value in flat(found)]
    torch.cuda.synchronize()
    close(late, reference(rows(3, 7)))


def test_waits_for_no_other_stream(engine, reference):
    mine, other = torch.cuda.Stream(), torch.cuda.Stream()
    x = cuda(rows(3))
    with torch.cuda.stream(mine):
        engine(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(other):
        torch.cuda._sleep(5 * SLEEP)
        busy = torch.cuda.Event()
        busy.record()
    with torch.cuda.stream(mine):
        found = engine(x)
    mine.synchronize()
    assert not busy.query(), "the call waited for another stream"
    torch.cuda.synchronize()
    close(found, reference(rows(3)))


def test_a_given_stream_is_not_the_current_one(engine, reference):
    stream = torch.cuda.Stream()
    x, new = torch.zeros(3, 16, device="cuda"), cuda(rows(3, 8))
    for given in (stream, stream.cuda_stream):
        for layout in (x, x.t().contiguous().t()):
            layout.zero_()
            torch.cuda.synchronize()
            with torch.cuda.stream(stream):
                torch.cuda._sleep(SLEEP)
                layout.copy_(new)
            found = engine(layout, stream=given)
            stream.synchronize()
            close(found, reference(rows(3, 8)))


def test_streams_do_not_meet_in_the_context(engine):
    streams = [torch.cuda.Stream() for _ in range(6)]
    inputs = [cuda(rows(4, s)) for s in range(6)]
    wanted = [engine(x) for x in inputs]
    torch.cuda.synchronize()
    for _ in range(20):
        found = []
        for stream, x in zip(streams, inputs):
            with torch.cuda.stream(stream):
                found.append(engine(x))
        torch.cuda.synchronize()
        assert all(same(a, b) for a, b in zip(found, wanted))


def test_host_calls_beside_work_on_the_gpu(engine, reference):
    """A NumPy call has a stream of its own, and waits for what its context is doing."""
    x, y = cuda(rows(3, 1)), rows(4, 2)
    engine(x), engine(y)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(SLEEP)
        found = engine(x)
        close(engine(y), reference(y))
    torch.cuda.synchronize()
    close(found, reference(rows(3, 1)))


# --- what is refused


def test_wrong_inputs(engine, reference):
    def zeros(*shape, **options):
        return torch.zeros(*shape, device="cuda", **options)

    for value, error, message in (
        (zeros(65, 16), ShapeError, r"(?s)batch is outside its range.*1 to 64.*65"),
        (zeros(0, 16), ShapeError, r"(?s)batch is outside its range.*1 to 64.*0"),
        (zeros(4, 15), ShapeError, "wrong size in dimension 1"),
        (zeros(4, 16, 1), ShapeError, "x"),
        (zeros(4, 16, dtype=torch.float16), DtypeError, r"(?s)input 'x' has the wrong dtype.*float32.*float16"),
        (np.zeros((4, 16)), DtypeError, r"(?s)input 'x' has the wrong dtype.*float32.*float64.*astype"),
        ([1.0, 2.0], ArgumentTypeError, "input 'x' is no array"),
        (None, ArgumentTypeError, "input 'x' is no array"),
    ):
        for graph in (False, True):
            with pytest.raises(error, match=message):
                engine(value, graph=graph)
        close(engine(cuda(rows(4))), reference(rows(4)))
    for call in (lambda: engine(), lambda: engine(rows(4), rows(4)), lambda: engine(y=rows(4))):
        with pytest.raises(ArgumentTypeError, match="these are not the engine's inputs"):
            call()


def test_a_device_that_is_not_there():
    with pytest.raises(ProviderError, match=r"(?s)there is no CUDA device 7.*cuda:0"):
        trtnet.build(policy(), device="cuda:7", **LEVEL)
    with pytest.raises(ProviderError, match="TensorRT does not run on 'mps'"):
        trtnet.build(policy(), device="mps", **LEVEL)


def test_inputs_of_several_kinds():
    graph = trtnet.record(lambda x, y: x * 2 + y, x=Input((3, 4)), y=Input((3, 4)))
    engine = trtnet.build(graph, **LEVEL)
    x, y = data(3, 4), data(3, 4, seed=1)
    for first, second in (("numpy", "cuda"), ("cuda", "numpy"), ("cpu", "numpy"), ("numpy", "cpu")):
        with pytest.raises(ArgumentTypeError, match="the inputs of a call must be of one kind"):
            engine(KINDS[first](x), KINDS[second](y))
    with pytest.raises(ProviderError, match=r"(?s)input 'y' is on another device.*cuda:0.*cpu"):
        engine(cuda(x), KINDS["cpu"](y))
    with pytest.raises(TrtnetError, match="device"):  # whichever comes first
        engine(KINDS["cpu"](x), cuda(y))
    close(engine(y=cuda(y), x=cuda(x)), x * 2 + y)


# --- the rest


def test_tensorrt_speaks_through_logging(caplog):
    with caplog.at_level(logging.DEBUG, logger="trtnet.tensorrt"):
        trtnet.build(policy(), **LEVEL)(rows(4))
    assert [r for r in caplog.records if r.name == "trtnet.tensorrt"]


def test_warmup(engine):
    fresh = trtnet.build(policy(any_batch()), **LEVEL)
    fresh.warmup()
    assert same(fresh(cuda(rows(4))), engine(cuda(rows(4))))


def test_what_engines_say_of_themselves(engine):
    assert [(s.name, str(s.shape[0]), s.shape[1], s.dtype) for s in engine.inputs] == [
        ("x", "batch", 16, trtnet.float32)
    ]
    assert [(s.name, s.shape[1]) for s in engine.outputs] == [("logits", 4), ("value", 1)]
    assert repr(engine).startswith("TensorRTEngine(x=")


def test_gpu_memory_comes_back():
    """Engines that were closed or dropped, and their contexts, leave nothing behind."""
    from gpu_tools import stays

    graph, x = convolutions(), torch.zeros(2, 3, 8, 8, device="cuda")

    def run(count):
        for number in range(count):
            engine = trtnet.build(graph, refit=True, **LEVEL)
            engine(x), engine(x, graph=True), engine.context()(x), engine.bind(x)()
            engine.refit({"fc.bias": np.full(5, number, np.float32)})
            if number % 2:
                engine.close()
            del engine
            gc.collect()

    stays(run, count=8, first=3, most=24 << 20)
