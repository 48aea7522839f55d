"""Plans, compiled by TensorRT-RTX on the CPU; and what build() gives on a machine like this one."""

from __future__ import annotations

import _thread
import hashlib
import json
import os
import pickle
import signal
import stat
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from harness import needs_rtx
from networks import Tied
from threads import at_once

import trtnet
from trtnet import Dim, Input, building, nn, provider
from trtnet import functional as F
from trtnet.engine.choice import refittable_names
from trtnet.engine.options import RunOptions
from trtnet.errors import (
    ArgumentError,
    ArgumentTypeError,
    BuildError,
    ProviderError,
    TrtnetError,
    WeightsError,
    WeightsNotFoundError,
)
from trtnet.tensorrt.build.job import Job
from trtnet.tensorrt.build.options import BuildOptions
from trtnet.weights.files import read

needs_no_gpu = pytest.mark.skipif(provider.can_execute() is None, reason="TensorRT can run here")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("offset", trtnet.ones(3), persistent=False)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return F.softmax(self.fc(x.mean((2, 3))) + self.offset, 1)


def fixed():
    return trtnet.record(Net(), x=Input((2, 1, 8, 8)))


def dynamic():
    return trtnet.record(Net(), x=Input((Dim("batch", min=1, opt=2, max=4), 1, 8, 8)))


def plan(graph, targets="sm86", **kwargs):
    needs_rtx()
    return trtnet.build_plan(graph, targets, **({"optimization_level": 0} | kwargs))


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fixed, dynamic])
@pytest.mark.parametrize("targets", ["sm86", ["sm89"], ("sm120",), ["sm86", "sm89", "sm120"], None])
def test_plans_for_one_target_and_for_several(make, targets):
    made = plan(make(), targets)
    wanted = (targets,) if isinstance(targets, str) else tuple(targets or ())
    assert made.targets == wanted
    assert bytes(made)[:4] == b"vtrt"
    assert len(made) == len(bytes(made)) > 10_000
    assert made.seconds > 0
    assert not made.stripped
    assert made.manifest["targets"] == list(wanted)
    assert f"{len(made):,} bytes" in repr(made)


def test_a_plan_for_several_targets_holds_more_than_for_one():
    graph = fixed()
    assert len(plan(graph, ["sm86", "sm120"])) > len(plan(graph, "sm86"))


@pytest.mark.parametrize("target", ["sm86", "sm89", "sm120"])
@pytest.mark.parametrize("make", [fixed, dynamic])
def test_refittable_plans_hold_no_weights(make, target):
    made = plan(make(), target, refit=True)
    assert made.stripped
    assert made.targets == (target,)
    assert all(w["left_out"] for w in made.manifest["weights"].values() if w["parameters"])


def test_a_stripped_plan_does_not_depend_on_the_weights():
    one, two = fixed(), fixed()
    two.load_state_dict({name: value + 1 for name, value in two.state_dict().items()}, strict=False)
    first, second = bytes(plan(one, refit=True)), bytes(plan(two, refit=True))
    # TensorRT lists the names of refittable weights in an order that changes from build to build
    assert sorted(first) == sorted(second)
    whole = bytes(plan(one))
    assert whole != bytes(plan(two))
    kernel = one.state_dict()["conv.weight"].tobytes()[:16]
    assert kernel not in first
    assert kernel in whole


def test_patterns_choose_what_is_left_out():
    weights = plan(fixed(), refit="fc.*").manifest["weights"]
    assert {name for name, w in weights.items() if w["left_out"]} == {"fc.weight", "fc.bias"}
    weights = plan(fixed(), refit=["conv.weight", "norm.*"]).manifest["weights"]
    left = {name for name, w in weights.items() if w["left_out"]}
    assert "conv.weight" in left
    assert "conv.bias" not in left
    assert any("norm.running_var" in name for name in left)


def test_tied_parameters_are_left_out_by_either_name():
    graph = trtnet.record(Tied(lambda: nn.Conv2d(2, 2, 1, bias=False)), x=Input((1, 2, 4, 4)))
    assert refittable_names(graph, "b.*") == {"a.weight", "b.weight"}
    made = plan(graph, refit="b.*")
    assert made.stripped
    assert made.manifest["weights"]["a.weight"]["left_out"]


def test_a_graph_without_weights_and_refit():
    made = plan(trtnet.record(lambda x: F.relu(x), x=Input((2,))), ["sm86", "sm89"], refit=True)
    assert not made.stripped


def test_the_same_graph_gives_the_same_bytes():
    graph = fixed()
    assert bytes(plan(graph)) == bytes(plan(graph))
    twin = trtnet.record(Net(), x=Input((2, 1, 8, 8)))
    twin.load_state_dict(graph.state_dict())
    assert bytes(plan(twin)) == bytes(plan(graph))


def test_other_weights_give_other_bytes():
    graph = fixed()
    before = bytes(plan(graph))
    graph.load_state_dict({"fc.bias": np.full(3, 7, np.float32)}, strict=False)
    assert bytes(plan(graph)) != before


def test_options_reach_tensorrt():
    graph = fixed()
    for options in ({"workspace": 1 << 28}, {"workspace": 1 << 32}, {"optimization_level": 5}, {"tf32": True}):
        assert len(plan(graph, **options)) > 10_000
    with pytest.raises(BuildError, match="workspace limit") as caught:
        plan(graph, workspace=1)
    assert "Myelin" in caught.value.details, "TensorRT's own text is quoted"


def test_the_manifest():
    graph = dynamic()
    made = plan(graph)
    manifest = made.manifest
    assert manifest["format"] == 2
    assert manifest["inputs"] == {"x": {"shape": ["batch", "1", "8", "8"], "dtype": "float32"}}
    assert manifest["outputs"] == {"output": {"shape": ["batch", "3"], "dtype": "float32"}}
    assert manifest["dims"] == {"batch": {"min": 1, "opt": 2, "max": 4, "multiple_of": 1}}
    assert manifest["result"] == "one"
    assert manifest["precision"] == "fp32"
    assert (manifest["provider"], manifest["version"]) == ("tensorrt_rtx", needs_rtx().version)
    assert manifest["structure"] == graph.structure_hash()
    assert manifest["plan_sha256"] == hashlib.sha256(bytes(made)).hexdigest()
    assert manifest["weights"]["conv.weight"] == {
        "recipe": "conv.weight",
        "shape": [4, 1, 3, 3],
        "dtype": "float32",
        "parameters": ["conv.weight"],
        "consumers": ["conv/convolution"],
        "idle": False,
        "left_out": False,
    }
    assert json.loads(json.dumps(manifest)) == manifest


@pytest.mark.parametrize(
    ("dtype", "short"), [("float32", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16"), ("int32", "int")]
)
def test_precision(dtype, short):
    graph = trtnet.record(lambda x: x + x, x=Input((2,), dtype))
    assert plan(graph).manifest["precision"] == short


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["sm61", ["sm86", "sm999"], "8.6", "SM86", [86]])
def test_unknown_targets(targets):
    with pytest.raises(ArgumentError, match="cannot compile for these targets") as caught:
        plan(fixed(), targets)
    assert "sm86" in caught.value.expected
    assert "sm120" in caught.value.expected
    assert caught.value.remedy
    assert caught.value.where.file == __file__


def test_a_target_that_is_a_number():
    with pytest.raises(ArgumentTypeError, match="targets are names"):
        plan(fixed(), 86)


@pytest.mark.parametrize("targets", [["sm86", "sm89"], None, []])
def test_refit_wants_one_target_before_tensorrt_sees_it(targets):
    with pytest.raises(ArgumentError, match="exactly one target") as caught:
        plan(fixed(), targets, refit=True)
    assert "refit=True" in caught.value.remedy
    assert plan(fixed(), "sm86", refit=True).stripped, "the process still builds refittable plans"


def test_refittable_plans_build_again_after_tensorrt_failed():
    """In TensorRT-RTX 1.7.1 a failed build with placeholders breaks all later ones, until one without them succeeds."""
    found = needs_rtx()
    graph = fixed()
    names = refittable_names(graph, True)
    options = BuildOptions(optimization_level=0)
    job = Job(graph, found, options, names, left_out=names, targets=("sm86", "sm89"))
    with pytest.raises(BuildError) as caught:
        job.run()
    assert "sm_vers_" in caught.value.details, "TensorRT's reason is quoted"
    assert plan(graph, "sm86", refit=True).stripped
    assert plan(graph, "sm89", refit=True).stripped


@pytest.mark.parametrize("level", [-1, 6, 2.0, "3", True])
def test_optimization_levels(level):
    with pytest.raises(ArgumentError, match="no such optimization level") as caught:
        plan(fixed(), optimization_level=level)
    assert caught.value.expected == "0 to 5"


@pytest.mark.parametrize("workspace", [0, -5, 1.5, "1G", True])
def test_workspaces(workspace):
    with pytest.raises(ArgumentError, match="workspace limit must be a positive number of bytes"):
        plan(fixed(), workspace=workspace)


@pytest.mark.parametrize(
    ("refit", "kind"),
    [("fcc.*", WeightsError), (["fc.*", "no"], WeightsError), (5, ArgumentTypeError), ([3], ArgumentTypeError)],
)
def test_refit_patterns(refit, kind):
    with pytest.raises(kind) as caught:
        plan(fixed(), refit=refit)
    assert caught.value.expected
    assert caught.value.where.file == __file__


def test_the_references_live_weights_are_chosen_as_those_of_a_build():
    graph = trtnet.record(nn.Linear(4, 2), input=Input((1, 4)))
    for live, names in (
        (True, {"weight", "bias"}),
        ("w*", {"weight"}),
        (["bias"], {"bias"}),
        ((), set()),
        (False, set()),
    ):
        assert trtnet.reference(graph, live=live).live == names
    with pytest.raises(WeightsError, match="the pattern 'unknown' matches no parameter"):
        trtnet.reference(graph, live=["unknown"])


def test_refittable_names():
    graph = fixed()
    assert refittable_names(graph, False) == frozenset()
    assert refittable_names(graph, True) == set(graph.parameters)
    assert refittable_names(graph, "*.bias") == {"conv.bias", "norm.bias", "fc.bias", "unused.bias"}
    assert refittable_names(graph, ("conv.weight",)) == {"conv.weight"}


def test_a_provider_that_is_not_there():
    with pytest.raises(ArgumentError, match="no such provider"):
        trtnet.build_plan(fixed(), provider="onnxruntime")


def test_nonfinite_weights_are_warned_of_once_by_name():
    graph = fixed()
    with pytest.warns(UserWarning, match="NaN"):
        graph.load_state_dict({"fc.weight": np.full((3, 4), np.nan, np.float32)}, strict=False)
    needs_rtx()
    with pytest.warns(UserWarning, match="NaN") as caught:
        plan(graph)
    assert [str(w.message) for w in caught] == ["weights hold NaN or infinity: fc.weight"]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="NaN") as caught:
        trtnet.build(graph, provider="reference")
    assert [str(w.message) for w in caught] == ["weights hold NaN or infinity: fc.weight"]


# --- progress and cancelling ------------------------------------------------------------------------------------------


def test_the_progress_function_hears_of_phases():
    calls = []
    plan(fixed(), progress=lambda phase, done, steps: calls.append((phase, done, steps)))
    assert calls
    for phase, done, steps in calls:
        assert isinstance(phase, str)
        assert 0 <= done <= max(steps, 1)
    phases = list(dict.fromkeys(phase for phase, _, _ in calls))
    for phase in phases:
        mine = [(done, steps) for name, done, steps in calls if name == phase]
        assert mine[0][0] == 0
        assert mine[-1][0] == mine[-1][1], f"{phase} was not finished"


def test_the_progress_bar(capsys):
    plan(fixed(), progress=True)


def test_an_exception_in_the_progress_function_cancels_and_comes_through():
    class Mine(Exception):
        pass

    def progress(phase, done, steps):
        raise Mine("enough")

    with pytest.raises(Mine, match="enough"):
        plan(fixed(), progress=progress)
    with pytest.raises(Mine):
        plan(fixed(), refit=True, progress=progress)
    assert plan(fixed(), refit=True).stripped


def interrupt_main():
    _thread.interrupt_main()


def raise_sigint():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c_heard():
    """A shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
@pytest.mark.parametrize("interrupt", [interrupt_main, raise_sigint])
@pytest.mark.parametrize("refit", [False, True])
def test_ctrl_c_cancels_a_build(interrupt, refit):
    graph = fixed()
    heard = []

    def progress(phase, done, steps):
        if not heard:
            heard.append(threading.current_thread())
            interrupt()

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        plan(graph, refit=refit, progress=progress, optimization_level=3)
        # a build that ends before Python sees the signal: let it arrive
        for _ in range(1000):
            signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert heard[0] is not threading.main_thread()
    assert not [t for t in threading.enumerate() if t.name == "trtnet-build" and t.is_alive()]
    assert len(plan(graph, refit=refit)) > 10_000


def test_builds_in_several_threads():
    needs_rtx()
    graphs = [fixed() for _ in range(3)]
    found: dict[int, bytes] = {}

    def work(i):
        found[i] = bytes(plan(graphs[i]))

    at_once(work, range(3))
    assert sorted(found) == [0, 1, 2]
    for i, graph in enumerate(graphs):
        assert bytes(plan(graph)) == found[i]


# --- files ------------------------------------------------------------------------------------------------------------


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_save_writes_the_plan_and_its_manifest(tmp_path):
    made = plan(fixed())
    path = made.save(tmp_path / "net.fp32.engine")
    assert path == tmp_path / "net.fp32.engine"
    assert sorted(files(tmp_path)) == ["net.fp32.engine", "net.fp32.engine.json"]
    assert path.read_bytes() == bytes(made), "the plan exactly as TensorRT wrote it"
    manifest = json.loads((tmp_path / "net.fp32.engine.json").read_text())
    assert {name: manifest[name] for name in made.manifest} == json.loads(json.dumps(made.manifest))
    assert manifest["plan_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_save_writes_the_weights_of_a_stripped_plan(tmp_path):
    graph = fixed()
    before = {name: value.copy() for name, value in graph.state_dict().items()}
    made = plan(graph, refit=True)
    graph.load_state_dict({name: value + 1 for name, value in before.items()})
    made.save(str(tmp_path / "net.fp32.engine"))
    weights = tmp_path / "net.fp32.engine.safetensors"
    manifest = json.loads((tmp_path / "net.fp32.engine.json").read_text())
    assert manifest["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    found = read(weights)
    needed = {name for w in manifest["weights"].values() for name in w["parameters"]}
    assert set(found) == needed
    assert {"conv.weight", "norm.running_var", "offset"} <= needed, "buffers that are not persistent, too"
    assert not any(name.startswith("unused") for name in found)
    for name in needed - {"offset"}:
        np.testing.assert_array_equal(found[name], before[name], err_msg=f"{name}: of the moment of the build")


def test_save_replaces_and_leaves_nothing_else(tmp_path):
    one, two = plan(fixed(), refit=True), plan(dynamic(), refit=True)
    path = tmp_path / "net.fp32.engine"
    one.save(path)
    two.save(path)
    assert path.read_bytes() == bytes(two)
    assert len(files(tmp_path)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_files_have_the_permissions_that_the_user_asked_for(tmp_path):
    old = os.umask(0o022)
    try:
        plan(fixed(), refit=True).save(tmp_path / "net.fp32.engine")
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


@pytest.mark.parametrize("fail_at", range(12))
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_failure_at_any_step_leaves_the_old_files(tmp_path, monkeypatch, fail_at, kind):
    """Injected: the n-th rename, flush or copy of the save fails."""
    one, two = saved_pair()
    path = tmp_path / "net.fp32.engine"
    one.save(path)
    before = files(tmp_path)
    steps = []

    def failing(real):
        def call(*args, **kwargs):
            if len(steps) == fail_at:
                steps.append("failed")
                raise kind("no space left")
            steps.append(real.__name__)
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    try:
        two.save(path)
    except (WeightsError, KeyboardInterrupt):
        monkeypatch.undo()
        found = trtnet.Plan.load(path).data
        assert found == bytes(two) or (found == bytes(one) and files(tmp_path) == before)
    else:
        assert trtnet.Plan.load(path).data == bytes(two)
    monkeypatch.undo()
    two.save(path)
    assert path.read_bytes() == bytes(two)
    assert len(files(tmp_path)) == 3


def test_a_first_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    made, _ = saved_pair()
    real, count = os.replace, []

    def failing(*args):
        count.append(args)
        if len(count) == 2:  # 1 is the weights file, 2 the moment from which the new engine would count
            raise OSError("no space left")
        return real(*args)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(WeightsError, match="could not be written") as caught:
        made.save(tmp_path / "net.fp32.engine")
    assert "no space left" in caught.value.found
    assert files(tmp_path) == {}


_pair: list[trtnet.Plan] = []


def saved_pair():
    if not _pair:
        _pair.extend((plan(fixed(), refit=True), plan(dynamic(), refit=True)))
    return _pair


@pytest.mark.parametrize("name", ["net.plan", "net", "net.engine.json"])
def test_the_suffix_is_engine(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"ends in \.engine") as caught:
        saved_pair()[0].save(tmp_path / name)
    assert "fp32.engine" in caught.value.expected
    assert files(tmp_path) == {}


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="does not exist") as caught:
        saved_pair()[0].save(tmp_path / "no" / "net.fp32.engine")
    assert isinstance(caught.value, FileNotFoundError)
    assert "mkdir" in caught.value.remedy


# --- build() ----------------------------------------------------------------------------------------------------------


@needs_no_gpu
def test_build_without_a_gpu_warns_once_and_gives_the_reference():
    graph = fixed()
    with pytest.warns(UserWarning, match="no TensorRT can run here") as caught:
        engine = trtnet.build(graph)
    assert len(caught) == 1
    assert "reference engine" in str(caught[0].message)
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert type(engine).__name__ == "ReferenceEngine"
    x = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(engine(x), trtnet.reference(graph)(x))


@needs_no_gpu
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_a_named_provider_never_falls_back(name):
    with pytest.raises(ProviderError, match=f"{name}.*(cannot run here|is not usable here)") as caught:
        trtnet.build(fixed(), provider=name)
    assert caught.value.remedy
    assert caught.value.details


@needs_no_gpu
def test_a_named_device_never_falls_back():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ProviderError, match="cuda:0") as caught:
            trtnet.build(fixed(), device="cuda:0")
    assert caught.value.remedy


def test_the_reference_by_name_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({"provider": "reference"}, {"device": "cpu"}):
            assert type(trtnet.build(fixed(), **options)).__name__ == "ReferenceEngine"


def test_an_unknown_provider():
    with pytest.raises(ArgumentError, match="no such provider") as caught:
        trtnet.build(fixed(), provider="tensorflow")
    assert "tensorrt" in caught.value.expected


def test_what_refit_was_built_for():
    graph = fixed()
    bias = {"fc.bias": np.zeros(3, np.float32)}
    none = trtnet.build(graph, provider="reference")
    with pytest.raises(WeightsError, match="fixed when the engine was built") as caught:
        none.refit(bias)
    assert caught.value.found == "fc.bias"
    assert "refit" in caught.value.remedy
    some = trtnet.build(graph, provider="reference", refit="fc.*")
    assert some.refittable == {"fc.weight", "fc.bias"}
    some.refit(bias)
    with pytest.raises(WeightsError, match="fixed when the engine was built"):
        some.refit({"conv.bias": np.zeros(4, np.float32)})
    every = trtnet.build(graph, provider="reference", refit=True)
    every.refit(bias | {"conv.bias": np.zeros(4, np.float32)})


def test_errors_of_building_are_trtnet_errors():
    assert issubclass(BuildError, ProviderError)
    assert issubclass(ProviderError, TrtnetError)
    assert issubclass(BuildError, RuntimeError)


# --- the comparison with the reference --------------------------------------------------------------------------------


def built(tmp_path, graph, **options):
    """A job with a cache, and its plan: compiled for a GPU that is not here."""
    from trtnet.tensorrt.build.plan_cache import PlanCache

    found = needs_rtx()
    options = BuildOptions(optimization_level=0, **options)
    job = Job(
        graph, found, options, targets=("sm86",), profiles=building._profiles(graph, None), cache=PlanCache(tmp_path)
    )
    return job, job.run()


def never(*args, **kwargs):
    raise AssertionError("nothing else is built")


@pytest.mark.parametrize("make", [fixed, dynamic])
def test_a_plan_that_passed_is_not_compared_again(make, tmp_path):
    graph = make()
    job, plan = built(tmp_path, graph)
    assert (plan.cached, plan.checked) == (False, None)
    engine = trtnet.reference(graph)  # what a right engine of the plan gives
    building._compare(engine, plan, job, True, never, never)
    assert engine.checked.passed
    assert not engine.closed
    again = built(tmp_path, graph)[1]
    assert (again.cached, again.checked) == (True, engine.checked.plain())
    assert again.manifest["checked"]["rows"][0]["output"] == "output"
    assert json.loads(json.dumps(again.manifest)) == again.manifest
    saved = again.save(tmp_path / "net.fp32.engine")
    assert trtnet.Plan.load(saved).checked == again.checked
    figures = next(tmp_path.glob("*.checked"))
    for damage in (b"", b"{}", b"[1]", figures.read_bytes()[:-9], figures.read_bytes().replace(b"rows", b"sows")):
        figures.write_bytes(damage)
        assert built(tmp_path, graph)[1].checked is None


def test_a_plan_that_failed_is_compared_again(tmp_path):
    graph = fixed()
    job, plan = built(tmp_path, graph)

    def wrong(graph, **options):
        assert options.get("cache") not in (None, tmp_path), "trials leave the user's cache alone"
        engine = trtnet.reference(graph)
        if options.get("optimization_level") != 3:
            engine.refit({"fc.weight": graph.state_dict()["fc.weight"][:, ::-1].copy()})
        return engine

    engine = wrong(graph, cache=tmp_path / "x")
    with pytest.raises(BuildError, match="the engine's output 'output' differs from the reference") as caught:
        building._compare(engine, plan, job, True, wrong, never)
    assert engine.closed, "an engine that gives other numbers is not used by accident"
    assert caught.value.module == "fc"
    assert caught.value.where.file == __file__
    assert "right, tried by itself: optimization_level=3" in caught.value.details
    assert caught.value.remedy.startswith("build with optimization_level=3")
    assert built(tmp_path, graph)[1].checked is None


def test_a_check_that_cannot_be_done_closes_the_engine(tmp_path):
    graph = fixed()
    job, plan = built(tmp_path, graph)
    engine = trtnet.reference(graph)

    def broken(values, sizes):
        raise ProviderError("it does not run")

    engine._run = broken
    with pytest.raises(ProviderError, match="it does not run"):
        building._compare(engine, plan, job, True, never, never)
    assert engine.closed


def test_check_is_for_tensorrt_engines():
    engine = trtnet.build(fixed(), provider="reference", check=True)
    assert engine.checked is None


NO_PATTERNS: list[Any] = [[0], 0, None, [None], [["0"]], 3.5, ...]


@pytest.mark.parametrize("wrong", NO_PATTERNS, ids=str)
@pytest.mark.parametrize("argument", ["extra_outputs", "debug_tensors"])
def test_tensors_are_chosen_by_names(argument: str, wrong: Any) -> None:
    graph = trtnet.record(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), input=Input((2, 3)))
    with pytest.raises(ArgumentTypeError, match=f"{argument} are patterns of names") as caught:
        trtnet.build(graph, provider="reference", **{argument: wrong})
    assert "test_building.py" in str(caught.value)
    assert f"{argument}=['encoder.layers.0']" in str(caught.value.remedy)


@pytest.mark.parametrize("wrong", NO_PATTERNS, ids=str)
def test_a_listener_hears_of_names(wrong: Any) -> None:
    graph = trtnet.record(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), input=Input((2, 3)))
    engine = trtnet.build(graph, provider="reference", debug_tensors=["0"])
    with pytest.raises(ArgumentTypeError, match="the tensors of a debug listener are patterns of names"):
        engine.set_debug_listener(print, wrong)


def test_options_that_are_misspelled() -> None:
    graph = trtnet.record(nn.Linear(3, 4), input=Input((2, 3)))
    for act in (
        lambda: RunOptions(persistent_cache_limt=1),  # type: ignore[call-arg]
        lambda: RunOptions.of({"persistent_cache_limt": 1}),
        lambda: trtnet.build(graph, persistent_cache_limt=1),
        lambda: BuildOptions(persistent_cache_limt=1),
    ):
        with pytest.raises(ArgumentTypeError, match=r"no (build )?option 'persistent_cache_limt'") as caught:
            act()
        assert caught.value.remedy == "did you mean 'persistent_cache_limit'?"
        assert "test_building.py" in str(caught.value)
    assert pickle.loads(pickle.dumps(RunOptions(persistent_cache_limit=5))) == RunOptions(persistent_cache_limit=5)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"profiles": 5}, r"profiles are ranges of Dims[\s\S]*a list of dicts[\s\S]*profiles=\[\{"),
        ({"profiles": [5]}, r"profiles are ranges of Dims"),
        ({"profiles": "batch"}, r"profiles are ranges of Dims"),
        ({"profiles": [{"batch": (1, 1, "2")}]}, r"range of batch is three sizes"),
        ({"progress": 5}, "progress is True, False or a function"),
    ],
)
def test_other_arguments_of_wrong_types(given: dict[str, Any], match: str) -> None:
    graph = trtnet.record(nn.Linear(3, 4), input=Input((Dim("batch", 1, 1, 4), 3)))
    for build in (lambda: trtnet.build(graph, provider="reference", **given), lambda: build_plan(graph, given)):
        with pytest.raises(trtnet.TrtnetError, match=match):
            build()


def build_plan(graph: trtnet.Graph, given: dict[str, Any]) -> None:
    needs_rtx()
    trtnet.build_plan(graph, "sm86", **given)
