"""Files, caches and faults: clear errors, and an engine that still answers as before."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from cases import randomize
from networks import LEVEL, Convolutions, close, convolutions, policy, same

import trtnet
from trtnet.errors import BuildError, EngineError, ProviderError, WeightsError

torch = pytest.importorskip("torch")


def data():
    return np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def test_save_and_load(tmp_path):
    engine, x = trtnet.build(convolutions(), refit=True, **LEVEL), data()
    path = engine.save(tmp_path / "net.fp32.engine")
    assert same(trtnet.load(path)(x), engine(x))
    other = randomize(Convolutions(), 5).state_dict()
    engine.refit(other)
    loaded = trtnet.load(engine.save(path))
    assert same(loaded(x), engine(x))
    report = loaded.refit({"conv.weight": np.zeros((8, 3, 3, 3), np.float32)})
    assert report.companions
    reference = trtnet.load(path, provider="reference")
    reference.refit({"conv.weight": np.zeros((8, 3, 3, 3), np.float32)})
    close(loaded(x), reference(x))


def test_without_weights_complete_refits_only(tmp_path):
    engine, x = trtnet.build(convolutions(), refit=True, **LEVEL), data()
    loaded = trtnet.load(engine.save(tmp_path / "net.fp32.engine", weights=False))
    assert same(loaded(x), engine(x))
    state = dict(engine.graph.state_dict())
    with pytest.raises(WeightsError, match=r"(?s)first refit must be complete.*without .*fc\.bias"):
        loaded.refit({"conv.bias": state["conv.bias"]})
    assert same(loaded(x), engine(x))
    loaded.refit(state)
    close(loaded(x), engine(x))
    loaded.refit({"conv.bias": state["conv.bias"] + 1})


def test_damaged_and_bare_plans(tmp_path):
    engine, x = trtnet.build(convolutions(), **LEVEL), data()
    path = engine.save(tmp_path / "net.fp32.engine")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(WeightsError, match=r"(?s)not the plan.*cut off"):
        trtnet.load(path)
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(WeightsError, match="not the plan that its manifest describes"):
        trtnet.load(path)
    bare = tmp_path / "bare.engine"
    bare.write_bytes(whole)
    loaded = trtnet.load(bare)
    assert [s.name for s in loaded.inputs] == ["x"]
    assert same(loaded(x), engine(x))
    for foreign in (b"", b"no plan at all" * 100, whole[: len(whole) // 2]):
        bare.write_bytes(foreign)
        with pytest.raises(BuildError, match="could not load this plan"):
            trtnet.load(bare)
    assert same(loaded(x), engine(x))


def test_another_version_or_gpu_says_so(tmp_path):
    import json

    path = trtnet.build(convolutions(), **LEVEL).save(tmp_path / "net.fp32.engine")
    manifest = path.with_name(path.name + ".json")
    written = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(written | {"version": "8.5.0"}))
    with pytest.raises(ProviderError, match=r"(?s)another version of TensorRT.*8\.5\.0.*pip install"):
        trtnet.load(path)
    manifest.write_text(json.dumps(written | {"gpu": {"name": "NVIDIA T4", "capability": "sm75"}}))
    with pytest.raises(ProviderError, match=r"(?s)another GPU.*sm75.*NVIDIA T4"):
        trtnet.load(path)


def test_plan_cache(tmp_path):
    x = data()
    first = trtnet.build(convolutions(), refit=True, cache=tmp_path, **LEVEL)
    assert not first.plan.cached
    again = trtnet.build(convolutions(), refit=True, cache=tmp_path, **LEVEL)
    assert again.plan.cached
    assert same(again(x), first(x))
    graph = convolutions(seed=8)
    other = trtnet.build(graph, refit=True, cache=tmp_path, **LEVEL)
    assert other.plan.cached, "the same structure with other weights"
    close(other(x), trtnet.reference(graph, dtype="float64")(x))
    loaded = trtnet.load(other.save(tmp_path / "net.fp32.engine"))
    assert same(loaded(x), other(x))
    fixed = trtnet.build(graph, cache=tmp_path, **LEVEL)
    assert not fixed.plan.cached, "another plan: these weights cannot change"
    close(fixed(x), trtnet.reference(graph, dtype="float64")(x))
    assert list(tmp_path.glob("timing-tensorrt-*.cache"))
    for entry in tmp_path.glob("*.plan"):
        raw = bytearray(entry.read_bytes())
        raw[len(raw) // 2] ^= 1
        entry.write_bytes(bytes(raw))
    mended = trtnet.build(graph, refit=True, cache=tmp_path, **LEVEL)
    assert not mended.plan.cached
    close(mended(x), trtnet.reference(graph, dtype="float64")(x))


def test_options_and_extra_outputs():
    graph, x = convolutions(), data()
    engine = trtnet.build(
        graph, provider="tensorrt", workspace=1 << 26, optimization_level=1, sparsity=True, tf32=True,
        max_aux_streams=0, profiling_verbosity="detailed", extra_outputs=["conv", "bn"], check=True,
    )  # fmt: skip
    found = engine(x)
    assert list(found) == ["output", "conv", "bn"]
    close(found, trtnet.reference(engine.graph, dtype="float64")(x), 1e-2)
    with pytest.raises(ProviderError, match="has no HardwareCompatibilityLevel"):
        trtnet.build(graph, hardware_compatibility="same_compute_capability", **LEVEL)
    ampere = trtnet.build(graph, hardware_compatibility="ampere_plus", **LEVEL)
    close(ampere(x), trtnet.reference(graph, dtype="float64")(x))


@pytest.mark.alone
def test_out_of_gpu_memory():
    engine, x = trtnet.build(policy(trtnet.Dim("batch", 1, 4, 1 << 24)), **LEVEL), torch.randn(4, 16, device="cuda")
    before = engine(x)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - (300 << 20), dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises((ProviderError, torch.OutOfMemoryError)) as caught:
            engine(np.zeros((1 << 24, 16), np.float32))
        assert "memory" in str(caught.value).lower()
    finally:
        del taken
        torch.cuda.empty_cache()
    assert same(engine(x), before)


@pytest.mark.alone
def test_out_of_gpu_memory_while_building():
    process = run("""
        import torch, trtnet
        from models.resnet import resnet18
        from networks import policy, LEVEL, same
        engine, x = trtnet.build(policy(), refit=True, **LEVEL), torch.ones(4, 16, device="cuda")
        before = engine(x)
        graph = trtnet.record(resnet18(), image=trtnet.Input((8, 3, 224, 224)))
        torch.cuda.empty_cache()
        taken = torch.empty(torch.cuda.mem_get_info()[0] - (48 << 20), dtype=torch.uint8, device="cuda")
        try:
            trtnet.build(graph, **LEVEL)
        except trtnet.TrtnetError as error:
            print("raised:", error, flush=True)
        assert same(engine(x), before)
        assert engine.refit({"value.bias": torch.ones(1)}).changed
        del taken
        torch.cuda.empty_cache()
        trtnet.build(graph, **LEVEL).warmup()
        print("builds again")
    """)
    text = process.communicate(timeout=200)[0]
    assert "raised:" in text, text
    assert "memory" in text.lower(), text
    assert "remedy:" in text, text
    assert "builds again" in text, text


def test_two_processes_build_with_one_cache(tmp_path):
    code = """
        import sys, numpy as np, trtnet
        from networks import convolutions, close, LEVEL
        x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
        trtnet.provider.load("tensorrt").builder()
        print("ready", flush=True)
        sys.stdin.readline()
        for seed in range(int(sys.argv[2]), 6, 2):
            graph = convolutions(seed=seed)
            for refit in (True, False):
                engine = trtnet.build(graph, refit=refit, cache=sys.argv[1], **LEVEL)
                close(engine(x), trtnet.reference(graph, dtype="float64")(x))
        print("done")
    """
    processes = [run(code, str(tmp_path), str(number), stdin=subprocess.PIPE) for number in (0, 1)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=200)[0] == "done\n"
    assert trtnet.build(convolutions(seed=0), refit=True, cache=tmp_path, **LEVEL).plan.cached
    assert len(list(tmp_path.glob("timing-*.cache"))) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_freed_inputs():
    process = run("""
        import torch, trtnet
        from networks import policy, LEVEL, same
        engine = trtnet.build(policy(), **LEVEL)
        x = torch.ones(4, 16, device="cuda")
        before = engine(x)
        for device in ("cuda", "cpu"):
            freed = torch.ones(4, 16, device=device)
            freed.untyped_storage().resize_(0)
            try:
                engine(freed)
            except trtnet.TrtnetError as error:
                print(device + ":", error, flush=True)
            torch.cuda.synchronize()
            assert same(engine(x), before)
        print("answers as before")
    """)
    text = process.communicate(timeout=120)[0]
    assert "cuda: input 'x' has no memory" in text, text
    assert "cpu: input 'x' has no memory" in text, text
    assert "answers as before" in text, text


def test_pickling_is_refused():
    engine = trtnet.build(policy(), **LEVEL)
    with pytest.raises(EngineError, match=r"(?s)cannot be pickled.*engine\.save"):
        pickle.dumps(engine)


def run(code, *args, **options):
    where = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([where, where + "/tests/helpers", where + "/tests/gpu"])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def test_fork_after_use():
    process = run("""
        import os, numpy as np, trtnet
        from networks import policy, LEVEL
        engine = trtnet.build(policy(), refit=True, **LEVEL)
        x = np.ones((4, 16), np.float32)
        before = engine(x)["logits"]
        pid = os.fork()
        if pid == 0:
            try:
                engine(x)
            except trtnet.errors.EngineError as error:
                print("child:", error, flush=True)
            del engine
            import gc; gc.collect()
            os._exit(3)
        print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert np.array_equal(engine(x)["logits"], before)
        print("parent still answers")
    """)
    text = process.communicate(timeout=120)[0]
    assert "child: this engine cannot be used any more: this process was forked" in text, text
    assert "status 3" in text, text
    assert "parent still answers" in text, text


def test_fork_while_another_thread_refits():
    """The child has copies of the locks that the thread held, and nobody who releases them."""
    process = run("""
        import os, signal, threading, numpy as np, trtnet
        from networks import policy, LEVEL
        swap = trtnet.HotSwap(trtnet.build(policy(), refit=True, **LEVEL))
        engine, state = swap.active, dict(policy().state_dict())
        snapshot, context = engine.snapshot(), engine.context()
        held, done = threading.Event(), threading.Event()

        def refitting():
            with swap._lock, engine._paused():
                held.set()
                done.wait()

        thread = threading.Thread(target=refitting)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            uses = {
                "refit": lambda: engine.refit(state), "swap": lambda: swap.refit(state),
                "snapshot": engine.snapshot, "restore": lambda: engine.restore(snapshot),
                "parameters": engine.parameters, "weights": lambda: engine.weights, "inspect": engine.inspect,
                "context": lambda: context(np.ones((4, 16), np.float32)), "clone": engine.clone,
            }
            for name, use in uses.items():
                try:
                    use()
                except trtnet.errors.EngineError as error:
                    print(name + ":", str(error).splitlines()[0], flush=True)
            os._exit(3)
        print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        done.set()
        thread.join()
        assert engine.refit({n: v + 1 for n, v in state.items()}).changed
        print("parent still refits")
    """)
    text = process.communicate(timeout=120)[0]
    refusal = "this engine cannot be used any more: this process was forked"
    assert text.count(refusal) == 9, text
    assert "status 3" in text, text
    assert "parent still refits" in text, text


def test_a_closed_engine_says_so_at_every_use():
    engine = trtnet.build(convolutions(), refit=True, live="fc.*", **LEVEL)
    x = torch.from_numpy(data()).cuda()
    snapshot, live = (
        engine.snapshot(),
        {n: torch.zeros(*s, device="cuda") for n, s in (("fc.weight", (5, 8)), ("fc.bias", (5,)))},
    )
    context, bound, replayed = engine.context(), engine.bind(x), engine.bind(x, graph=True)
    engine.close()
    engine.close()
    uses = {
        "call": lambda: engine(x), "with arrays": lambda: engine(data()), "graph": lambda: engine(x, graph=True),
        "bind": lambda: engine.bind(x), "bound": bound, "replayed": replayed, "context": engine.context,
        "in a context": lambda: context(x), "bound in a context": lambda: context.bind(x),
        "refit": lambda: engine.refit({"conv.bias": np.zeros(8, np.float32)}), "refit_all": engine.refit_all,
        "snapshot": engine.snapshot, "restore": lambda: engine.restore(snapshot), "parameters": engine.parameters,
        "weights": lambda: engine.weights, "bind_weights": lambda: engine.bind_weights(live), "clone": engine.clone,
        "save": lambda: engine.save("never.engine"), "warmup": engine.warmup, "inspect": engine.inspect,
    }  # fmt: skip
    for name, use in uses.items():
        with pytest.raises(EngineError, match="cannot be used any more: it was closed") as caught:
            use()
        assert "build or load it again" in str(caught.value), name


def test_closing_frees_what_the_object_held():
    engine = trtnet.build(policy(trtnet.Dim("batch", 1, 4, 1 << 18)), live=True, **LEVEL)
    context, x = engine.context(shared_memory=True), np.zeros((1 << 18, 16), np.float32)
    context(x)
    engine(x)
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    engine.close()
    assert torch.cuda.mem_get_info()[0] - before > x.nbytes, "inputs, outputs and scratch of two contexts"
    assert context.closed


@pytest.mark.parametrize("use", ["refit", "snapshot", "parameters", "inspect", "close"])
def test_closed_while_another_thread_waits_for_it(use):
    engine = trtnet.build(convolutions(), refit=True, **LEVEL)
    arguments = [{"conv.bias": np.zeros(8, np.float32)}] if use == "refit" else []
    raised = []

    def wait():
        try:
            getattr(engine, use)(*arguments)
        except EngineError as error:
            raised.append(str(error))

    thread = threading.Thread(target=wait)
    with engine._admin:
        thread.start()
        while sys._current_frames()[thread.ident].f_code.co_name not in ("_held", "close"):
            pass
        engine.close()
    thread.join()
    assert [text.splitlines()[0] for text in raised] == ["this engine cannot be used any more: it was closed"] * (
        use != "close"
    )


def test_interrupt_during_a_build():
    """8.6 cannot be interrupted: the user gets the prompt back at once, and the result is dropped."""
    process = run("""
        import time, threading, os, trtnet
        from models.resnet import resnet50
        graph = trtnet.record(resnet50(), image=trtnet.Input((8, 3, 224, 224)))
        trtnet.provider.load("tensorrt").builder()
        print("building", flush=True)
        try:
            trtnet.build(graph, provider="tensorrt", optimization_level=5)
            print("built")
        except KeyboardInterrupt:
            print("back at the prompt", flush=True)
        os._exit(0)
    """)
    assert process.stdout.readline() == "building\n"
    try:
        process.wait(timeout=4)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=20)[0]
    assert text.endswith("back at the prompt\n"), text
