"""Refit: subsets, companions, deltas, snapshots, contexts and graphs that are kept, threads, memory."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from cases import CASES, randomize
from cases import recorded as case
from networks import LEVEL, Convolutions, Policy, close, convolutions, policy, same

import trtnet
from trtnet import nn
from trtnet.cli import preload
from trtnet.errors import WeightsError
from trtnet.tensorrt.run import refit_without_gil as unlocked
from trtnet.tensorrt.run.refitting import execute

torch = pytest.importorskip("torch")


def on_gpu(state):
    return {name: torch.from_numpy(np.array(value)).cuda() for name, value in state.items()}


def state_of(net, seed):
    return {name: np.array(value) for name, value in randomize(net, seed).state_dict().items()}


class Idle(nn.Module):
    """Two heads, of which only one is an output; a parameter that both a dead layer and a living one use."""

    def __init__(self):
        super().__init__()
        self.fc, self.policy, self.value = nn.Linear(16, 8), nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x):
        x = self.fc(x).relu()
        self.value(x)
        (self.policy.weight.T @ self.policy.weight).sum()
        return self.policy(x)


def test_weights_that_no_output_depends_on_are_taken_and_change_nothing(tmp_path):
    graph = trtnet.record(randomize(Idle()), x=trtnet.Input((4, 16)))
    reference = trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    with trtnet.build(graph, refit=True, **LEVEL) as engine:
        before = engine(x)
        path = engine.save(tmp_path / "idle.engine")
        with trtnet.load(path) as loaded:
            for one in (engine, loaded):
                state = state_of(Idle(), 1)
                assert {row.parameter for row in one.weights if row.status == "unused"} == {
                    "value.weight",
                    "value.bias",
                }
                one.refit(state)
                reference.refit(state)
                close(one(x), reference(x))
                one.refit(graph.state_dict())
                assert same(one(x), before)


@pytest.mark.parametrize("name", [n for n in CASES if case(n)[0].parameters])
def test_kept_contexts_agree_with_fresh_ones(name):
    """8.6's documentation asks for new contexts after a refit; what is kept must give the same bits."""
    graph, inputs = case(name)
    engine = trtnet.build(graph, refit=True, **LEVEL)
    reference = trtnet.reference(graph, dtype="float64")
    tensors = {n: torch.from_numpy(v).cuda() for n, v in inputs.items() if v.dtype != np.int64}
    bound = engine.bind(graph=True, **tensors) if len(tensors) == len(inputs) else None
    engine(**inputs)
    state = graph.state_dict()
    chance = np.random.default_rng(3)
    for _ in range(2):
        state = {
            n: (v + 0.1 * chance.random(v.shape)).astype(v.dtype) if v.dtype.kind == "f" else v
            for n, v in state.items()
        }
        report = engine.refit(state)
        reference.refit(state)
        assert report.changed or not any(v.dtype.kind == "f" for v in state.values())
        found = engine(**inputs)
        close(found, reference(**inputs))
        assert same(found, engine.context()(**inputs)), "a fresh context"
        if bound is not None:
            assert same(bound(), found), "the captured graph"


def model(name):
    if name == "lenet":
        from models.lenet import LeNet

        return trtnet.record(randomize(LeNet()), image=trtnet.Input((2, 1, 28, 28)))
    if name == "resnet18":
        from models.resnet import resnet18

        return trtnet.record(resnet18(), image=trtnet.Input((1, 3, 64, 64)))
    if name == "googlenet":
        from models.googlenet import GoogLeNet

        return trtnet.record(GoogLeNet(), image=trtnet.Input((1, 3, 64, 64)))
    from models.policy import ConvPolicy, MLPPolicy

    if name == "convolutional policy":
        return trtnet.record(ConvPolicy(4, 6), image=trtnet.Input((2, 4, 84, 84)))
    return trtnet.record(MLPPolicy(4, 2), observation=trtnet.Input((3, 4)))


@pytest.mark.parametrize("name", ["lenet", "resnet18", "googlenet", "policy", "convolutional policy"])
def test_models_keep_their_contexts(name):
    graph = model(name)
    engine = trtnet.build(graph, refit=True, **LEVEL)
    reference = trtnet.reference(graph, dtype="float64")
    x = torch.randn([*next(iter(graph.inputs.values())).shape], device="cuda")
    bound = engine.bind(x, graph=True)
    state = on_gpu(graph.state_dict())
    for _ in range(3):
        for value in state.values():
            if value.is_floating_point():
                value.mul_(1.02)
        engine.refit(state)
        reference.refit({n: v.cpu() for n, v in state.items()})
        found = engine(x)
        close(found, reference(x.cpu().numpy()), 1e-3)
        assert same(found, engine.context()(x))
        assert same(bound(), found)
    engine.refit(state, fresh_contexts=True)
    assert same(engine(x), found)
    assert same(bound(), found)


@pytest.mark.parametrize("where", ["numpy", "cpu", "cuda"])
def test_subsets_recipes_and_deltas(where):
    graph = convolutions()
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    other = state_of(Convolutions(), 5)
    put = {"numpy": lambda a: a, "cpu": torch.from_numpy, "cuda": lambda a: torch.from_numpy(a).cuda()}[where]
    report = engine.refit({"bn.weight": put(other["bn.weight"])})
    assert report.changed
    assert all("bn.weight" in name for name in report.changed), "only what depends on it"
    assert not any(name.startswith(("conv", "fc")) for name in report.changed)
    reference.refit({"bn.weight": other["bn.weight"]})
    close(engine(x), reference(x))
    report = engine.refit({"conv.weight": put(other["conv.weight"])})
    assert report.changed == ["conv.weight"]
    assert report.companions, "TensorRT fused the convolution with others"
    reference.refit({"conv.weight": other["conv.weight"]})
    close(engine(x), reference(x))
    before = engine(x)
    full = {n: put(v) for n, v in other.items()}
    report = engine.refit(full)
    assert {"conv.weight", "bn.weight"} <= set(report.unchanged)
    assert "fc.weight" in report.changed
    assert "conv.weight" not in report.changed
    reference.refit(other)
    close(engine(x), reference(x))
    assert not same(engine(x), before)
    report = engine.refit(full)
    assert report.changed == []
    generation = engine.generation
    assert engine(x, with_generation=True)[1] == generation


def test_there_and_back_bit_for_bit():
    engine = trtnet.build(convolutions(), refit=True, **LEVEL)
    x = torch.randn(2, 3, 8, 8, device="cuda")
    first, snapshot = engine(x), engine.snapshot()
    for seed in range(3):
        engine.refit(on_gpu(state_of(Convolutions(), seed + 1)))
        assert not same(engine(x), first)
        engine.refit({"fc.bias": np.full(5, seed, np.float32)})
        engine.restore(snapshot)
        assert same(engine(x), first)
    with pytest.raises(trtnet.errors.ArgumentTypeError, match="no snapshot of this engine"):
        trtnet.build(convolutions(), refit=True, **LEVEL).restore(snapshot)


def test_half_precision_and_mixed_places():
    graph = convolutions()
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    state = state_of(Convolutions(), 9)
    mixed = {n: torch.from_numpy(v).cuda() if i % 2 else v for i, (n, v) in enumerate(state.items())}
    mixed["fc.weight"] = torch.from_numpy(state["fc.weight"]).cuda().half()
    state["fc.weight"] = mixed["fc.weight"].float().cpu().numpy()
    report = engine.refit(mixed)
    assert report.converted == {"fc.weight": "float16"}
    reference.refit(state)
    close(engine(x), reference(x))


def test_reads_tensors_in_the_order_of_the_stream():
    graph = policy()
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    x = np.ones((4, 16), np.float32)
    state, new = on_gpu(graph.state_dict()), on_gpu(state_of(Policy(), 4))
    engine.refit(state)
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(200_000_000)
        for name, value in state.items():
            value.copy_(new[name])
        engine.refit(state)
    reference.refit({n: v.cpu() for n, v in new.items()})
    close(engine(x), reference(x))


class Deep(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.first = nn.Linear(16, width)
        self.rest = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.BatchNorm1d(width))])

    def forward(self, x):
        return self.rest(self.first(x))


class Attention(nn.Module):
    """Its engine weights are parts of a parameter."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(16, width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x):
        x = self.first(x)
        return self.attend(x, x * 2, x + 1, need_weights=False)[0]


@pytest.mark.parametrize(
    "net",
    [Deep(64, 1), Deep(40, 8), Deep(1100, 1), Deep(1600, 1), Attention(32), Attention(160), Attention(700)],
    ids=["few", "many tensors", "many bytes", "large tensors", "parts", "larger parts", "large parts"],
)
def test_a_training_loop(net):
    """All tensors new a few times, then none, then one, then all again, in turns of all ways to the Refitter."""
    shape = (3, 16) if isinstance(net, Deep) else (2, 3, 16)
    graph = trtnet.record(randomize(net, 1), x=trtnet.Input(shape))
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    state = on_gpu({n: v for n, v in graph.state_dict().items() if not n.endswith("num_batches_tracked")})
    state["first.weight"] = state["first.weight"].t().contiguous().t()
    names, one, other = sorted(state), sorted(state)[2], sorted(state)[-1]
    for step, changed in enumerate([names, names, names, names, [], [one], names, names, names, [other], []]):
        for name in changed:
            state[name].mul_(1.02).add_(1e-3 * (step + 1))
        report = engine.refit(state)
        assert sorted(set(names) - set(report.unchanged)) == changed, step
        assert bool(report.changed) == bool(changed)
        reference.refit({n: v.cpu() for n, v in state.items()})
        close(engine(x), reference(x))


PRELOADED = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy as np
import torch
import trtnet
from networks import LEVEL, close, convolutions
from trtnet.cli import preload

graph = convolutions()
engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
for _ in range(3):
    for change in ({"conv.weight"}, graph.state_dict().keys() - {"bn.num_batches_tracked"}):
        state = {name: value * np.float32(1.1) for name, value in engine.parameters().items() if name in change}
        engine.refit({name: torch.from_numpy(value).cuda() for name, value in state.items()})
        reference.refit(state)
        close(engine(x), reference(x))
print("answers", preload.answers())
"""


def test_with_the_library_that_answers_for_the_driver(tmp_path, pytestconfig):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    folders = [str(pytestconfig.rootpath / folder) for folder in (".", "tests/helpers")]
    environment = os.environ | {"LD_PRELOAD": str(preload.library(tmp_path))}
    done = subprocess.run([sys.executable, "-c", PRELOADED, *folders], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 10


def memory():
    gc.collect()
    torch.cuda.synchronize()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * 4096
    free, total = torch.cuda.mem_get_info()
    return resident, total - free


@pytest.mark.alone
@pytest.mark.parametrize(("which", "refits"), [("policy", 2000), ("resnet18", 200)])
def test_memory_stays(which, refits):
    if which == "policy":
        graph = policy()
    else:
        from models.resnet import resnet18

        graph = trtnet.record(resnet18(), image=trtnet.Input((1, 3, 64, 64)))
    engine = trtnet.build(graph, refit=True, **LEVEL)
    state = on_gpu(graph.state_dict())
    every = [n for n, v in state.items() if v.is_floating_point()]

    def run(count):
        for number in range(count):
            changed = (every, every[:1], every[-2:])[number % 3]
            for name in changed:
                state[name].add_(1e-3)
            given = state if number % 2 else {name: state[name] for name in changed}
            report = engine.refit(given)
            assert sorted(set(given) & set(every) - set(report.unchanged)) == sorted(changed)

    run(24)
    before = memory()
    run(refits)
    after = memory()
    assert after[0] - before[0] < 16 << 20, "host"
    assert after[1] - before[1] < 16 << 20, "GPU"


def test_refit_while_eight_threads_call():
    engine = trtnet.build(policy(), refit=True, **LEVEL)
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    states = [on_gpu(state_of(Policy(), s)) for s in (1, 2)]
    wanted = []
    for state in states:
        engine.refit(state)
        wanted.append(engine(x))
    base, stop, wrong, calls = engine.generation, threading.Event(), [], [0] * 8

    def work(number):
        call = engine.context() if number % 2 else engine
        tensor = torch.from_numpy(x).cuda() if number % 4 == 3 else x
        while not stop.is_set():
            found, generation = call(tensor, with_generation=True)
            if number % 4 == 3:
                torch.cuda.current_stream().synchronize()
            calls[number] += 1
            if not same(found, wanted[(generation - base + 1) % 2]):
                wrong.append((number, generation))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        engine.refit(states[turn % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(calls) > 0


def test_hot_swap():
    swap = trtnet.HotSwap(trtnet.build(policy(), refit=True, **LEVEL))
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    states = [state_of(Policy(), s) for s in (1, 2, 3)]  # not two, which each engine would keep
    wanted = []
    for state in states:
        swap.refit(state)
        wanted.append(swap(x))
    base, stop, wrong = swap.generation, threading.Event(), []

    def work():
        while not stop.is_set():
            found, generation = swap(x, with_generation=True)
            if not same(found, wanted[(generation - base - 1) % 3]):
                wrong.append(generation)

    thread = threading.Thread(target=work)
    thread.start()
    for turn in range(42):
        assert swap.refit(states[turn % 3]).changed
    stop.set()
    thread.join()
    assert not wrong
    swap.refit({"value.bias": np.full(1, 3, np.float32)})
    reference = trtnet.reference(swap.active.graph, dtype="float64")
    reference.refit(states[2] | {"value.bias": np.full(1, 3, np.float32)})
    close(swap(x), reference(x))


def test_other_threads_run_during_a_refit():
    """TensorRT 8.6's bindings hold the interpreter's lock meanwhile, which trtnet does not."""
    engine, found = trtnet.build(convolutions(), refit=True, **LEVEL), trtnet.provider.load("tensorrt")
    native, gate, ran = found.refitter(engine._engine), threading.Lock(), []
    for name, one in engine.plan.weights.items():
        assert native.set_named_weights(name, found.weights(one.array, one.dtype))

    def wait():
        with gate:
            ran.append(True)

    gate.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # only who gives the lock away lets others run
    try:
        gate.release()
        assert execute(found, native, 0, on_device=False)
        seen = bool(ran)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert seen
    if found.version.startswith("8.6."):
        assert unlocked.agrees(native)


def test_a_refusal_without_the_lock():
    """TensorRT's reasons come through Python's logger and error recorder, which take the lock again."""
    engine, found = trtnet.build(convolutions(), refit=True, **LEVEL), trtnet.provider.load("tensorrt")
    native = found.refitter(engine._engine)
    errors = found.error_recorder(native)
    name = next(n for n, one in engine.plan.weights.items() if one.weight.count > 8)
    one = engine.plan.weights[name]
    assert native.set_named_weights(name, found.weights(one.array, one.dtype))
    if not native.get_missing_weights():
        pytest.skip("this TensorRT asks for nothing more")
    assert not execute(found, native, 0, on_device=False)
    assert "eights" in errors.text()
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    close(engine(x), trtnet.reference(engine.graph, dtype="float64")(x))


def test_patterns_and_the_audit():
    engine = trtnet.build(convolutions(), refit="fc.*", **LEVEL)
    assert {row.parameter for row in engine.weights if row.status == "refittable"} == {"fc.weight", "fc.bias"}
    assert engine.weights["conv.weight"].status == "fixed"
    engine.refit({"fc.bias": np.zeros(5, np.float32)})
    with pytest.raises(WeightsError, match="fixed when the engine was built"):
        engine.refit({"conv.bias": np.zeros(8, np.float32)})
    state = {name: np.array(value) for name, value in engine.graph.state_dict().items()}
    for whole in (state, on_gpu(state)):  # the trunk as it was built
        whole["fc.bias"] = whole["fc.bias"] + 1
        assert engine.refit(whole).given == ["fc.weight", "fc.bias"]
    every = trtnet.build(convolutions(), refit=True, check=True, **LEVEL)
    assert all(row.status == "refittable" for row in every.weights if "num_batches" not in row.parameter)
    assert "bn.weight" in str(every.weights)


def test_waits_for_what_a_dropped_context_enqueued():
    graph = policy()
    engine, x = trtnet.build(graph, refit=True, **LEVEL), torch.ones(4, 16, device="cuda")
    before = engine(x)
    state = state_of(Policy(), 3)
    for make in (lambda: engine.context(), lambda: engine.context(shared_memory=True), lambda: engine.bind(x)):
        with torch.cuda.stream(torch.cuda.Stream()) as _:
            stream, call = torch.cuda.current_stream(), make()
            call() if hasattr(call, "tensors") else call(x)
            stream.synchronize()
            torch.cuda._sleep(300_000_000)
            found = call() if hasattr(call, "tensors") else call(x)
            del call
            engine.refit(state)
            assert stream.query(), "done"
        assert same(found, before)
        engine.refit(dict(graph.state_dict()))


def test_what_was_made_in_inference_mode_serves_outside_of_it():
    graph = policy()
    engine, x = trtnet.build(graph, refit=True, **LEVEL), torch.ones(4, 16, device="cuda")
    reference = trtnet.reference(graph, dtype="float64")
    large = trtnet.record(randomize(Deep(40, 8), 1), x=trtnet.Input((3, 16)))
    other = trtnet.build(large, refit=True, **LEVEL)
    with torch.inference_mode():
        engine(x, graph=True)
        bound = engine.bind(x)
        other.refit(on_gpu(state_of(Deep(40, 8), 2)))
    engine.refit(on_gpu(state_of(Policy(), 4)))
    reference.refit(state_of(Policy(), 4))
    for found in (engine(x, graph=True), bound(), engine(x)):
        close(found, reference(x.cpu().numpy()))
    state = {n: np.array(v) for n, v in large.state_dict().items()}
    other.refit(on_gpu(state))
    y = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    close(other(y), trtnet.reference(large, dtype="float64")(y))


def test_refits_and_snapshots_of_live_and_other_weights():
    graph = policy()
    engine = trtnet.build(graph, refit=True, live="value.*", **LEVEL)
    reference = trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    before, snapshot = engine(x), engine.snapshot()
    state = state_of(Policy(), 2)
    for bad in ({"value.bias": torch.zeros(2)}, {"policy.0.bias": freed(torch.zeros(32, device="cuda"))}):
        with pytest.raises(WeightsError):
            engine.refit(state | bad)
        assert same(engine(x), before)
    assert engine.generation == 0
    engine.refit(state)
    reference.refit(state)
    close(engine(x), reference(x))
    engine.restore(snapshot)
    assert same(engine(x), before)
    assert engine.generation == 2


def test_what_is_written_to_the_module_does_not_reach_the_engine():
    net = randomize(Policy(), 0)
    graph = trtnet.record(net, x=trtnet.Input((4, 16)))
    engine, reference = trtnet.build(graph, refit=True, **LEVEL), trtnet.reference(graph, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    before, arrays = engine(x), net.state_dict()
    old = {name: np.array(value) for name, value in arrays.items()}
    for array in arrays.values():
        array *= 1.5
    found = engine.parameters()
    assert all(np.array_equal(found[name], old[name]) for name in found)
    assert same(engine.clone()(x), before)
    assert not engine.refit(arrays).unchanged
    reference.refit(arrays)
    close(engine(x), reference(x))
    assert not same(engine(x), before)


def freed(tensor):
    tensor.untyped_storage().resize_(0)
    return tensor


def test_bad_refits_change_nothing():
    engine = trtnet.build(convolutions(), refit=True, **LEVEL)
    x = torch.randn(2, 3, 8, 8, device="cuda")
    before, good = engine(x), torch.zeros(5, device="cuda")
    for bad, message in (
        ({"fc.weight": torch.zeros(5, 9, device="cuda")}, r"fc.weight: expected \(5, 8\), found \(5, 9\)"),
        ({"fc.weights": good}, "nearest: fc.weight"),
        ({"conv.bias": torch.zeros(8, dtype=torch.int32, device="cuda")}, "wrong dtype"),
        ({"conv.bias": torch.full((8,), float("nan"), device="cuda")}, "NaN or infinity"),
        ({"conv.bias": freed(torch.zeros(8, device="cuda"))}, "has no memory"),
        ({"conv.bias": freed(torch.zeros(8))}, "has no memory"),
    ):
        with pytest.raises(trtnet.TrtnetError, match=message):
            engine.refit({"fc.bias": good} | bad, finite="raise")
        assert same(engine(x), before)
    assert engine.generation == 0
