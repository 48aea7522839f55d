"""Build options: what TensorRT's own builder config holds after them; profiles, extra outputs and the audit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from harness import builder, needs_rtx, randomize
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolutions, policy

import trtnet
import trtnet.engine.weight_table
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.plan import Plan
from trtnet.engine.weight_table import require_refittable
from trtnet.errors import ArgumentError, ArgumentTypeError, BuildError, ProviderError, WeightsError
from trtnet.tensorrt import device as gpu
from trtnet.tensorrt.build import configuration
from trtnet.tensorrt.build.options import CHOICES, FORMATS, POOLS, BuildOptions

torch = pytest.importorskip("torch")


def configured(**options):
    found = needs_rtx()
    config = builder().create_builder_config()
    configuration.configure(found, config, BuildOptions.of(options))
    return found.trt, config


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_builder_is_told(data):
    sizes = st.integers(20, 27).map(lambda n: 1 << n)
    chosen = {
        "workspace": sizes,
        "memory_pools": st.dictionaries(st.sampled_from(["tactic_shared_memory", "tactic_dram"]), sizes),
        "optimization_level": st.integers(0, 5),
        "tf32": st.booleans(),
        "sparsity": st.booleans(),
        "version_compatible": st.booleans(),
        "engine_capability": st.sampled_from(CHOICES["engine_capability"]),
        "profiling_verbosity": st.sampled_from(CHOICES["profiling_verbosity"]),
        "max_aux_streams": st.integers(0, 4),
        "avg_timing_iterations": st.integers(1, 9),
    }
    options = {name: data.draw(one, label=name) for name, one in chosen.items() if data.draw(st.booleans(), label=name)}
    trt, config = configured(**options)
    plain = builder().create_builder_config()

    def holds(read, name, wanted):
        """What was asked for, or what a new config has."""
        assert read(config) == (wanted(options[name]) if name in options else read(plain)), name

    same = lambda value: value  # noqa: E731
    holds(lambda c: c.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE), "workspace", same)
    for pool in ("tactic_shared_memory", "tactic_dram"):
        asked = options.get("memory_pools", {}).get(pool)
        limit = trt.MemoryPoolType.__members__[pool.upper()]
        assert config.get_memory_pool_limit(limit) == (plain.get_memory_pool_limit(limit) if asked is None else asked)
    assert config.get_flag(trt.BuilderFlag.TF32) == options.get("tf32", False), "TF32 is off unless it is asked for"
    for name, flag in (("sparsity", "SPARSE_WEIGHTS"), ("version_compatible", "VERSION_COMPATIBLE")):
        assert config.get_flag(getattr(trt.BuilderFlag, flag)) == options.get(name, False)
    for name, attribute, kind in (
        ("engine_capability", "engine_capability", trt.EngineCapability),
        ("profiling_verbosity", "profiling_verbosity", trt.ProfilingVerbosity),
    ):
        holds(lambda c: getattr(c, attribute), name, lambda value: kind.__members__[value.upper()])  # noqa: B023
    for name, attribute in (
        ("optimization_level", "builder_optimization_level"),
        ("max_aux_streams", "max_aux_streams"),
        ("avg_timing_iterations", "avg_timing_iterations"),
    ):
        holds(lambda c: getattr(c, attribute), name, same)  # noqa: B023


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardware_compatibility": "ampere_plus"}, "hardware_compatibility_level"),
        ({"memory_pools": {"dla_local_dram": 1 << 24}}, "a limit of 16777216 bytes for dla_local_dram"),
        ({"dla_core": 1}, "DLA_core = 1"),
    ],
)
def test_what_the_builder_keeps_to_itself_is_an_error(options, message):
    """TensorRT-RTX has no DLA and no such compatibility: its config goes on with its own, and only logs."""
    with pytest.raises(ProviderError, match=rf"(?s)tensorrt_rtx \S+ does not take {message}.*leave the option out"):
        configured(**options)


def test_fallback_is_for_dlas():
    with pytest.raises(ArgumentError, match=r"(?s)gpu_fallback is for layers.*dla_core=0"):
        BuildOptions(gpu_fallback=True)


def test_version_compatible_plans_that_cannot_be_refitted(monkeypatch):
    """TensorRT 8.6 cannot; the remedy keeps one of the two."""
    needs_rtx()
    monkeypatch.setattr(trtnet.provider.load("tensorrt_rtx"), "refits_version_compatible", False)
    with pytest.raises(ProviderError, match=r"(?s)not refit version-compatible.*value\.bias.*live=") as raised:
        trtnet.build_plan(policy(), "sm86", refit="value.*", version_compatible=True)
    assert "policy.0.weight" not in str(raised.value)


def test_io_formats():
    found = needs_rtx()
    network = builder().create_network(0)
    graph = convolutions(dtype="float16")
    graph.lower(network)
    configuration.set_formats(found, network, {"x": "hwc8"})
    assert network.get_input(0).allowed_formats == 1 << int(found.trt.TensorFormat.HWC8)
    with pytest.raises(ArgumentError, match=r"(?s)io_formats names 'y'.*expected: x, output"):
        configuration.set_formats(found, network, {"y": "hwc8"})
    with_formats = trtnet.build_plan(graph, "sm86", optimization_level=0, io_formats={"x": "hwc8"})
    assert bytes(with_formats) != bytes(trtnet.build_plan(graph, "sm86", optimization_level=0))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"work_space": 1}, ArgumentTypeError, "no build option 'work_space'.*did you mean 'workspace'"),
        ({"hardware_compatibility": "ampere"}, ArgumentError, "no such hardware_compatibility.*'ampere_plus'"),
        ({"engine_capability": "safe"}, ArgumentError, "no such engine_capability.*'safety'.*found: +'safe'"),
        ({"profiling_verbosity": None}, ArgumentError, "no such profiling_verbosity.*'detailed'"),
        ({"memory_pools": {"work": 1}}, ArgumentError, "no memory pool 'work'.*tactic_dram"),
        ({"memory_pools": {"tactic_dram": -1}}, ArgumentError, "'tactic_dram' is a number of bytes.*-1"),
        ({"memory_pools": {"tactic_dram": 1.5}}, ArgumentError, "'tactic_dram' is a number of bytes.*1.5"),
        ({"io_formats": {"x": "hwc9"}}, ArgumentError, "no memory format for 'x' 'hwc9'.*hwc16.*leave it out"),
        ({"dla_core": -1}, ArgumentError, "dla_core is a whole number.*0 or more.*-1"),
        ({"max_aux_streams": True}, ArgumentError, "max_aux_streams is a whole number"),
        ({"avg_timing_iterations": 1.0}, ArgumentError, "avg_timing_iterations is a whole number"),
        ({"tf32": 1}, ArgumentTypeError, "tf32 is on or off.*True or False"),
        ({"memory_pools": 3}, ArgumentTypeError, "memory_pools are given by name.*a dict like.*found: +3"),
        ({"io_formats": "hwc8"}, ArgumentTypeError, "io_formats are given by name.*a dict like.*'hwc8'"),
        ({"tactic_sources": 1}, ArgumentTypeError, "tactic_sources are names.*a list of names.*found: +1"),
        ({"tactic_sources": "cublas"}, ArgumentTypeError, "tactic_sources are names.*a list of names"),
    ],
)
def test_what_is_refused(options, kind, message):
    with pytest.raises(kind, match="(?s)" + message):
        BuildOptions.of(options)


def test_what_this_tensorrt_lacks():
    with pytest.raises(ProviderError, match=r"(?s)no tactic source 'something'"):
        configured(tactic_sources=["something"])


def test_names_are_tensorrts():
    trt = needs_rtx().trt
    assert {name.upper() for name in POOLS} <= set(trt.MemoryPoolType.__members__)
    assert {name.upper() for name in FORMATS} == set(trt.TensorFormat.__members__)


def test_stripped_needs_refit():
    with pytest.raises(ArgumentError, match=r"(?s)a stripped plan.*refit=True"):
        trtnet.build_plan(policy(), "sm86", stripped=True)


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_profiles_are_kept_with_the_plan(tmp_path):
    needs_rtx()
    graph = policy(Dim("batch", min=1, opt=4, max=64))
    plan = trtnet.build_plan(
        graph, "sm86", optimization_level=0, profiles=[{"batch": (1, 1, 2)}, {"batch": (8, 16, 64)}]
    )
    again = Plan.load(plan.save(tmp_path / "net.fp32.engine"))
    assert again.profiles == plan.profiles == ({"batch": (1, 1, 2)}, {"batch": (8, 16, 64)})
    assert trtnet.build_plan(graph, "sm86", optimization_level=0).profiles == ({"batch": (1, 4, 64)},)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ([], "there is no profile"),
        ([{"height": (1, 2, 3)}], "names Dims that no input has.*batch.*height"),
        (
            [{"batch": (1, 2, 65)}],
            r"range of batch does not lie in the Dim's.*2 <= min <= opt <= max <= 64.*\(1, 2, 65\)",
        ),
        ([{"batch": (4, 2, 8)}], r"range of batch does not lie.*\(4, 2, 8\)"),
        ([{"batch": (2, 3, 8)}], "range of batch does not lie.*multiples of 2"),
        ([{"batch": (2, 8)}], r"range of batch is three sizes.*\(min, opt, max\).*\(2, 8\)"),
        ([{"batch": 8}], r"range of batch is three sizes.*8"),
    ],
)
def test_profiles_that_do_not_fit(profiles, message):
    graph = policy(Dim("batch", min=2, opt=4, max=64, multiple_of=2))
    with pytest.raises(ArgumentError, match="(?s)" + message):
        trtnet.build_plan(graph, "sm86", profiles=profiles)


# --- extra outputs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_extra_outputs_are_what_torchs_hooks_see(seed):
    chance = random.Random(seed)
    kinds = [lambda n: n.Linear(6, 6), lambda n: n.ReLU(), lambda n: n.Tanh(), lambda n: n.LayerNorm(6)]
    picks = [chance.choice(kinds) for _ in range(6)]

    def made(n):
        return n.Sequential(n.Sequential(*[p(n) for p in picks[:3]]), n.Sequential(*[p(n) for p in picks[3:]]))

    net = randomize(made(nn), seed)
    twin = made(torch.nn).double()
    twin.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in net.state_dict().items()})
    paths = [name for name, _ in twin.named_modules() if name]
    chosen = sorted(chance.sample(paths, 3), key=paths.index)
    seen = {}
    for path in chosen:
        twin.get_submodule(path).register_forward_hook(lambda *args, path=path: seen.__setitem__(path, args[2]))
    x = np.random.default_rng(seed).normal(size=(2, 6))
    wanted = twin(torch.from_numpy(x))
    graph = trtnet.record(net, input=Input((2, 6)))
    engine = trtnet.build(graph, provider="reference", extra_outputs=chosen)
    found = engine(x.astype(np.float32))
    assert list(found) == ["output", *chosen]
    np.testing.assert_allclose(found["output"], wanted.detach().numpy(), rtol=1e-5, atol=1e-5)
    for path in chosen:
        np.testing.assert_allclose(found[path], seen[path].detach().numpy(), rtol=1e-5, atol=1e-5)
    needs_rtx()
    plan = trtnet.build_plan(graph, "sm86", optimization_level=0, extra_outputs=chosen)
    assert list(plan.manifest["outputs"]) == ["output", *chosen]


def test_extra_outputs_by_pattern_and_by_a_name_that_is_none():
    engine = trtnet.build(policy(), provider="reference", extra_outputs="policy.*")
    assert [spec.name for spec in engine.outputs] == ["logits", "value", "policy.0", "policy.1", "policy.2"]
    with pytest.raises(ArgumentError, match=r"(?s)no layer was recorded in a module 'polcy'.*policy.*graph\.summary"):
        trtnet.build(policy(), provider="reference", extra_outputs=["polcy"])


# --- the audit --------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(8, 8)
        self.head.weight = self.fc.weight
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(F.relu(self.fc(self.bn(self.conv(x)).mean((2, 3)))))


def test_every_parameter_says_what_it_is_and_why():
    needs_rtx()
    graph = trtnet.record(randomize(Tied()), x=Input((2, 3, 8, 8)))
    plan = trtnet.build_plan(graph, "sm86", refit=["conv.*", "bn.*", "fc.weight"], live="fc.bias", optimization_level=0)
    table = trtnet.engine.weight_table.plan_table(plan, list(plan.weights))
    rows = {row.parameter: (row.status, row.reason) for row in table}
    assert set(rows) == set(graph.parameters)
    for name in ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        assert rows[name] == ("refittable", "through a recipe")
    assert rows["conv.weight"] == ("refittable", "as it is")
    assert rows["fc.weight"] == rows["head.weight"] == ("refittable", "as it is"), "tied parameters by both names"
    assert rows["fc.bias"] == ("live", "an input of the network")
    assert rows["head.bias"] == ("fixed", "not chosen by refit")
    assert rows["unused.weight"] == ("unused", "no output depends on it")
    assert str(table).rstrip().endswith("refittable, 1 live, 1 fixed")


def test_a_weight_that_tensorrt_dropped_is_an_error():
    needs_rtx()
    plan = trtnet.build_plan(policy(), "sm86", refit=True, optimization_level=0)
    require_refittable(plan, list(plan.weights))
    lost = next(
        name for name, one in plan.weights.items() if "value.bias" in {leaf.name for leaf in one.weight.leaves()}
    )
    with pytest.raises(BuildError, match=r"(?s)did not keep.*value\.bias.*does not let.*be refitted.*live=") as caught:
        require_refittable(plan, [name for name in plan.weights if name != lost])
    assert caught.value.expected == "value.bias"


# --- files that cannot be loaded here ---------------------------------------------------------------------------------


def test_load_says_what_to_do(tmp_path):
    needs_rtx()
    graph = policy()
    fixed = trtnet.build_plan(graph, "sm120", optimization_level=0).save(tmp_path / "fixed.fp32.engine")
    with pytest.raises(WeightsError, match=r"(?s)no values for the reference engine.*policy\.0\.weight.*refit=True"):
        trtnet.load(fixed, provider="reference")
    with pytest.raises(ArgumentError, match=r"(?s)of another TensorRT.*expected: tensorrt_rtx.*found: +tensorrt"):
        trtnet.load(fixed, provider="tensorrt")
    if gpu.capability() is None:
        with pytest.raises(ProviderError, match=r"(?s)cannot run here.*no CUDA GPU.*provider='reference'"):
            trtnet.load(fixed)
    changeable = trtnet.build_plan(graph, "sm120", refit=True, optimization_level=0)
    engine = trtnet.load(changeable.save(tmp_path / "net.fp32.engine"), provider="reference")
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    for name, value in trtnet.reference(graph)(x).items():
        np.testing.assert_array_equal(engine(x)[name], value)
    bare = tmp_path / "bare.engine"
    bare.write_bytes(bytes(changeable))
    with pytest.raises(ArgumentError, match=r"(?s)a bare plan holds no network.*bare\.engine\.json beside it"):
        trtnet.load(bare, provider="reference")


def test_streamed_weights_and_streams_to_time_on():
    trt, config = configured(weight_streaming=True)
    assert config.get_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    for stream, address in ((7, 7), (Stream(9), 9)):
        configuration.set_profile_stream(needs_rtx(), config, [], BuildOptions(profile_stream=stream))
        assert config.profile_stream == address
    profiles = [builder().create_optimization_profile() for _ in range(2)]
    configuration.set_profile_stream(needs_rtx(), config, profiles, BuildOptions(profile_stream=[Stream(3), 4]))
    assert [profile.profile_stream for profile in profiles] == [3, 4]
    assert "profile_stream" not in BuildOptions(profile_stream=7).plain(), "an address means nothing in a file"


class Stream:
    """As torch.cuda.Stream, as far as an address goes."""

    def __init__(self, address):
        self.cuda_stream = address


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"profile_stream": -1}, ArgumentTypeError, "this is no CUDA stream"),
        ({"profile_stream": ["default"]}, ArgumentTypeError, "this is no CUDA stream"),
        ({"refit_identical": True}, ArgumentError, r"refit_identical is for plans .*\n  expected: stripped=True"),
        ({"weight_streaming": 1}, ArgumentTypeError, "weight_streaming is on or off"),
        ({"unfused_tensors_as_debug_tensors": "yes"}, ArgumentTypeError, "is on or off"),
    ],
)
def test_what_later_versions_have_is_checked_as_well(options, error, message):
    with pytest.raises(error, match=message):
        BuildOptions(**options)
