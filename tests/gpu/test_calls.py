"""Calls: kinds of arrays, streams, ownership, profiles, bound calls, CUDA graphs, contexts."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from networks import LEVEL, any_batch, close, convolutions, flat, policy, same

import trtnet
from trtnet.errors import ArgumentTypeError, DtypeError, EngineError, ProviderError, ShapeError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def engine():
    return trtnet.build(policy(any_batch()), refit=True, **LEVEL)


@pytest.fixture(scope="module")
def reference(engine):
    return trtnet.reference(engine.graph, dtype="float64")


def data(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)


SLEEP = 200_000_000  # cycles: about a tenth of a second


def test_kinds(engine, reference):
    x = data(5)
    wanted = reference(x)
    for value, kind in (
        (x, np.ndarray),
        (torch.from_numpy(x), torch.Tensor),
        (torch.from_numpy(x).cuda(), torch.Tensor),
    ):
        found = engine(value)
        assert all(isinstance(v, kind) for v in found.values())
        assert all(v.device == value.device for v in found.values() if kind is torch.Tensor)
        close(found, wanted)
        close(engine(x=value), wanted)
    close(engine(torch.from_numpy(x).cuda().t().contiguous().t()), wanted)


def test_outputs_are_the_callers_own(engine):
    for to in (lambda a: a, torch.from_numpy, lambda a: torch.from_numpy(a).cuda()):
        first = engine(to(data(3, 1)))
        kept = [v.copy() if isinstance(v, np.ndarray) else v.clone() for v in first.values()]
        for seed in range(2, 6):
            engine(to(data(3, seed)))
        assert same(first, kept)


@pytest.mark.parametrize("default", [True, False])
def test_runs_on_the_current_stream_without_waiting(engine, reference, default):
    stream = torch.cuda.default_stream() if default else torch.cuda.Stream()
    x, new = torch.zeros(3, 16, device="cuda"), torch.from_numpy(data(3, 7)).cuda()
    engine(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(SLEEP)
        x.copy_(new)
        found = engine(x)
        done = torch.cuda.Event()
        done.record()
        assert not done.query(), "the call returned while the GPU was still busy"
        late = {name: value * 1 for name, value in found.items()}
    torch.cuda.synchronize()
    close(late, reference(new.cpu().numpy()))


def test_a_given_stream(engine, reference):
    stream = torch.cuda.Stream()
    x, new = torch.zeros(3, 16, device="cuda"), torch.from_numpy(data(3, 8)).cuda()
    torch.cuda.synchronize()
    for given in (stream, stream.cuda_stream):
        x.zero_()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(SLEEP)
            x.copy_(new)
        found = engine(x, stream=given)
        stream.synchronize()
        close(found, reference(new.cpu().numpy()))


def test_streams_do_not_meet_in_the_context(engine):
    streams = [torch.cuda.Stream() for _ in range(6)]
    inputs = [torch.from_numpy(data(4, s)).cuda() for s in range(6)]
    wanted = [engine(x) for x in inputs]
    torch.cuda.synchronize()
    for _ in range(20):
        found = []
        for stream, x in zip(streams, inputs):
            with torch.cuda.stream(stream):
                found.append(engine(x))
        torch.cuda.synchronize()
        assert all(same(a, b) for a, b in zip(found, wanted))


def test_out_and_generation(engine):
    x = torch.from_numpy(data(4)).cuda()
    wanted = engine(x)
    out = {name: torch.empty_like(v) for name, v in wanted.items()}
    result, generation = engine(x, out=out, with_generation=True)
    assert result["logits"] is out["logits"]
    assert same(out, wanted)
    assert generation == engine.generation
    with pytest.raises(ShapeError, match="out for 'logits' has the wrong shape"):
        engine(x, out={"logits": torch.empty(1, 1, device="cuda"), "value": out["value"]})


def test_wrong_inputs(engine):
    with pytest.raises(ShapeError, match=r"(?s)batch is outside its range.*1 to 64.*65"):
        engine(torch.zeros(65, 16, device="cuda"))
    with pytest.raises(ShapeError, match="wrong size in dimension 1"):
        engine(torch.zeros(4, 15, device="cuda"))
    with pytest.raises(DtypeError, match=r"(?s)input 'x' has the wrong dtype.*float32.*float16"):
        engine(torch.zeros(4, 16, device="cuda", dtype=torch.float16))
    with pytest.raises(ArgumentTypeError, match="input 'x' is no array"):
        engine([1.0, 2.0])
    with pytest.raises(ProviderError, match="no CUDA device 7"):
        trtnet.build(policy(), device="cuda:7", **LEVEL)


def test_bound_calls(engine, reference):
    x = torch.from_numpy(data(6)).cuda()
    plain, graph = engine.bind(x), engine.bind(x=x, graph=True)
    for seed in range(3):
        x.copy_(torch.from_numpy(data(6, seed)))
        for call in (plain, graph):
            first = call()
            assert first is call.result
            close(first, reference(x.cpu().numpy()))
        assert same(plain.result, engine(x))
        assert same(graph.result, engine(x))
        close(engine(x, graph=True), reference(x.cpu().numpy()))
    assert len(engine._default._bound) == 1
    engine(x[:3].contiguous(), graph=True)
    assert len(engine._default._bound) == 2, "one graph for each shape"
    interface = type("Foreign", (), {"__cuda_array_interface__": x.__cuda_array_interface__})()
    close(engine(interface, graph=True), reference(x.cpu().numpy()))
    x.resize_(5, 16)
    for call in (plain, graph):
        with pytest.raises(EngineError, match=r"(?s)bound tensor was moved or resized: x"):
            call()
    x.resize_(600, 16)
    with pytest.raises(EngineError, match=r"(?s)bound tensor was moved or resized: x.*bind again"):
        plain()
    with pytest.raises(ArgumentTypeError, match=r"(?s)cannot be bound.*a CUDA tensor of torch.*contiguous.*ndarray"):
        engine.bind(data(3))


def test_a_graph_of_the_users_own(engine, reference):
    x = torch.from_numpy(data(4)).cuda()
    for _ in range(2):
        engine(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = {name: v * 2 for name, v in engine(x).items()}
    x.copy_(torch.from_numpy(data(4, 9)))
    graph.replay()
    torch.cuda.synchronize()
    close({name: v / 2 for name, v in doubled.items()}, reference(data(4, 9)))


def test_a_call_on_another_stream_during_a_capture(engine, reference):
    x, other = torch.from_numpy(data(4)).cuda(), torch.cuda.Stream()
    with torch.cuda.stream(other):
        kept = engine(x)  # whose memory leaves room for more on this stream
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = engine(x)
        with torch.cuda.stream(other), pytest.raises(EngineError, match=r"(?s)captured on another.*engine\.context"):
            engine(x)
    x.copy_(torch.from_numpy(data(4, 9)))
    graph.replay()
    torch.cuda.synchronize()
    close(found, reference(data(4, 9)))
    close(kept, reference(data(4)))
    close(engine(x), reference(data(4, 9)))


@pytest.mark.parametrize("shared", [False, True, None])
def test_eight_threads(engine, shared):
    """With a context each, with contexts that share scratch memory, and all on the engine itself."""
    inputs = [torch.from_numpy(data(4 + t, t)).cuda() for t in range(8)]
    wanted, wrong = [engine(x) for x in inputs], []
    torch.cuda.synchronize()

    def work(number):
        call = engine if shared is None else engine.context(shared_memory=shared)
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(50):
                found = call(inputs[number])
                torch.cuda.current_stream().synchronize()
                if not same(found, wanted[number]):
                    wrong.append(number)
                if not same(call(inputs[number].cpu().numpy()), wanted[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_several_profiles():
    profiles = [{"batch": (1, 1, 1)}, {"batch": (2, 8, 16)}, {"batch": (17, 64, 64)}]
    engine = trtnet.build(policy(any_batch()), profiles=profiles, **LEVEL)
    reference = trtnet.reference(engine.graph, dtype="float64")
    for rows in (1, 2, 16, 17, 64, 1):
        close(engine(data(rows)), reference(data(rows)))
        close(engine(torch.from_numpy(data(rows)).cuda()), reference(data(rows)))
    assert engine.profile_for({"batch": 9}) == 1


def test_shapes_that_the_data_decides():
    if not hasattr(trtnet, "nonzero"):
        pytest.skip("this trtnet has no nonzero")
    graph = trtnet.record(lambda x: trtnet.nonzero(x), x=trtnet.Input((any_batch(), 5)))
    engine = trtnet.build(graph, **LEVEL)
    for seed in range(4):
        x = (np.random.default_rng(seed).random((3 + seed, 5)) > 0.6).astype(np.float32)
        wanted = torch.from_numpy(x).nonzero().numpy()
        assert np.array_equal(flat(engine(x))[0], wanted)
        found = engine(torch.from_numpy(x).cuda())
        assert np.array_equal(found.cpu().numpy(), wanted)


def test_close_and_use_after(tmp_path):
    with trtnet.build(convolutions(), **LEVEL) as engine:
        engine.warmup()
        context, x = engine.context(), torch.zeros(2, 3, 8, 8, device="cuda")
        call = engine.bind(x, graph=True)
        call()
    for use in (
        lambda: engine(x),
        lambda: context(x),
        call,
        lambda: engine.save(tmp_path / "a.engine"),
        engine.context,
    ):
        with pytest.raises(EngineError, match="cannot be used any more"):
            use()


def test_an_engine_is_freed_when_nothing_keeps_it():
    """Its own context and replays refer to it, and do not keep it; what the user bound does."""
    import gc
    import weakref

    x = torch.randn(2, 3, 8, 8, device="cuda")
    engine = trtnet.build(convolutions(), **LEVEL)
    engine(x), engine(x.cpu().numpy()), engine(x, graph=True)
    call = engine.bind(x)
    gone = weakref.ref(engine)
    gc.collect()
    gc.disable()
    try:
        del engine
        assert gone() is not None
        call()
        del call
        assert gone() is None, "there is no cycle"
    finally:
        gc.enable()


def test_dropped_while_a_call_is_in_flight():
    import gc

    x = torch.randn(2, 3, 8, 8, device="cuda")
    engine = trtnet.build(convolutions(), **LEVEL)
    wanted = engine(x).clone()
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()) as _, torch.no_grad():
        torch.cuda._sleep(SLEEP)
        found = engine(x)
        del engine
        gc.collect()
    torch.cuda.synchronize()
    assert torch.equal(found, wanted)
