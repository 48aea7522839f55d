"""Build options on a real builder: memory formats, precision as the inspector sees it, pools, kernels, devices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases import randomize
from networks import LEVEL, close, convolutions, policy

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentTypeError, BuildError, ProviderError, ShapeError

torch = pytest.importorskip("torch")


class Image(nn.Module):
    """Channels that no vector length divides, unless told."""

    def __init__(self, inside=3, outside=5):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, outside, 3, padding=1)

    def forward(self, x):
        return self.conv2(F.relu(self.conv1(x)))


def image_graph(dtype, batch=2, inside=3, outside=5):
    net = randomize(Image(inside, outside)).to(dtype)
    return trtnet.record(net, x=Input((batch, inside, 6, 7), dtype))


def image(dtype, batch=2, inside=3):
    return np.random.default_rng(1).normal(size=(batch, inside, 6, 7)).astype(dtype)


FORMATS = [("float32", "hwc"), ("float32", "chw32"), ("float16", "hwc8"), ("float16", "chw2"), ("float16", "chw16")]


@pytest.mark.parametrize(("dtype", "form"), FORMATS)
@pytest.mark.parametrize("where", ["x", "output", "both"])
def test_memory_formats_do_not_change_the_meaning(dtype, form, where):
    """With 3 and 5 channels, so that TensorRT's memory is larger than the array; batches of several sizes."""
    graph = image_graph(dtype, Dim("batch", 1, 2, 4))
    formats = dict.fromkeys(["x", "output"] if where == "both" else [where], form)
    engine = trtnet.build(graph, io_formats=formats, **LEVEL)
    assert {name: layout.name for name, layout in engine.layouts.items()} == formats
    reference, tolerance = trtnet.reference(graph, dtype="float64"), 1e-4 if dtype == "float32" else 2e-2
    for batch in (1, 4, 2):
        x = image(dtype, batch)
        on_gpu = torch.from_numpy(x).cuda()
        wanted = reference(x)
        close(engine(x), wanted, tolerance)
        close(engine(torch.from_numpy(x)), wanted, tolerance)
        for given in (on_gpu, on_gpu.to(memory_format=torch.channels_last), on_gpu.flip(0).flip(0)):
            found = engine(given)
            assert tuple(found.shape) == wanted.shape
            close(found, wanted, tolerance)
    if "x" in formats and form != "hwc":
        with pytest.raises(ArgumentTypeError, match=r"(?s)'x' cannot be bound.*in memory as.*channels_last"):
            engine.bind(on_gpu)
        close(engine(x), wanted, tolerance)
    elif "x" not in formats:
        for call in (engine.bind(on_gpu), engine.bind(on_gpu, graph=True)):
            close(call(), wanted, tolerance)
            close(engine(on_gpu, graph=True), wanted, tolerance)


def test_channels_last_tensors_are_read_where_they_lie():
    graph = image_graph("float16", inside=8, outside=16)
    engine = trtnet.build(graph, io_formats={"x": "hwc8", "output": "hwc8"}, **LEVEL)
    x = torch.from_numpy(image("float16", inside=8)).cuda()
    last = x.to(memory_format=torch.channels_last)
    call = engine.bind(last, graph=True)
    reference = trtnet.reference(graph, dtype="float64")
    close(call(), reference(x.cpu().numpy()), 2e-2)
    assert call.result.is_contiguous(memory_format=torch.channels_last)
    last.mul_(0.5)
    close(call(), reference(last.cpu().contiguous().numpy()), 2e-2)
    close(engine(last, graph=True), reference(last.cpu().contiguous().numpy()), 2e-2)
    with pytest.raises(ArgumentTypeError, match="cannot be bound"):
        engine.bind(x)
    with pytest.raises(ShapeError, match="wrong number of dimensions"):
        engine(x[0])


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3).to("float16")
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5).to("float16")

    def forward(self, x):
        y = F.relu(self.conv(x)).mean((2, 3)).float()
        return self.head(F.softmax(self.norm(y) * 3.0, 1).to("float16"))


def types_of(engine):
    """The types of every tensor that a layer of the built engine writes, by the inspector."""
    found = {}
    for layer in engine.inspect()["Layers"]:
        layer = json.loads(layer) if isinstance(layer, str) else layer
        for output in layer["Outputs"]:
            found[output["Name"]] = output["Format/Datatype"]
    return found


def test_an_all_float32_engine_holds_nothing_else():
    engine = trtnet.build(convolutions(), profiling_verbosity="detailed", **LEVEL)
    types = types_of(engine)
    assert types
    assert all("FP32" in text for text in types.values()), types


def test_a_float16_engine_holds_no_float32():
    engine = trtnet.build(convolutions(dtype="float16"), profiling_verbosity="detailed", **LEVEL)
    types = types_of(engine)
    assert any("FP16" in text for text in types.values())
    assert not [name for name, text in types.items() if "FP32" in text], types


def test_recorded_types_hold_in_a_mixed_engine():
    """Each tensor that is still there after fusion has the type that was recorded."""
    graph = trtnet.record(randomize(Mixed()), x=Input((2, 3, 8, 8), "float16"))
    engine = trtnet.build(graph, profiling_verbosity="detailed", **LEVEL)
    recorded = {t.name: t.dtype.name for layer in graph.layers for t in layer.outputs if t.name}
    lowered = trtnet.build(graph, profiling_verbosity="detailed", extra_outputs=["norm"], **LEVEL)
    assert {s.name: s.dtype.name for s in lowered.outputs} == {"output": "float16", "norm": "float32"}
    texts = {"float16": "FP16", "float32": "FP32"}
    seen = set()
    for name, text in types_of(engine).items():
        if name in recorded:
            assert texts[recorded[name]] in text, (name, text, recorded[name])
            seen.add(recorded[name])
    assert any("FP32" in text for text in types_of(engine).values()), "the float32 island is there"
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float16)
    close(engine(x), trtnet.reference(graph, dtype="float64")(x), 2e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"memory_pools": {"workspace": 1 << 25, "tactic_dram": 1 << 30}},
        {"tactic_sources": ["cublas", "cublas_lt"]},
        {"tactic_sources": []},
        {"avg_timing_iterations": 2, "max_aux_streams": 1},
    ],
    ids=lambda options: " ".join(options),
)
def test_engines_of_these_options_give_the_same_numbers(options, tmp_path):
    graph, x = convolutions(), np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    wanted = trtnet.reference(graph, dtype="float64")(x)
    engine = trtnet.build(graph, refit=True, **options, **LEVEL)
    close(engine(x), wanted)
    close(trtnet.load(engine.save(tmp_path / "net.fp32.engine"))(x), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dla_core": 0, "gpu_fallback": True}, "does not take DLA_core = 0"),
        ({"memory_pools": {"dla_local_dram": 1 << 24}}, "does not take a limit of 16777216 bytes for dla_local_dram"),
        ({"tactic_sources": ["cutlass"]}, "has no tactic source 'cutlass'"),
        ({"hardware_compatibility": "same_compute_capability"}, "has no HardwareCompatibilityLevel"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_this_machine_lacks(options, message):
    with pytest.raises(ProviderError, match=f"(?s){message}"):
        trtnet.build(policy(), **options, **LEVEL)


def test_version_compatible_plans(tmp_path):
    graph, x = convolutions(), np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    reference = trtnet.reference(graph, dtype="float64")
    try:
        engine = trtnet.build(graph, version_compatible=True, **LEVEL)
    except BuildError as error:
        if "nvinfer_lean" in (error.details or ""):
            pytest.skip("TensorRT's lean runtime is not installed: " + str(error.details).strip().splitlines()[-1])
        raise
    close(engine(x), reference(x))
    close(trtnet.load(engine.save(tmp_path / "net.engine"))(x), reference(x))
    live = trtnet.build(graph, version_compatible=True, live=True, **LEVEL)
    call = live.bind(torch.from_numpy(x).cuda(), graph=True)
    close(call(), reference(x))
    learner = trtnet.to_torch(graph).cuda()
    live.bind_weights(learner)
    with torch.no_grad():
        for value in learner.parameters():
            value.mul_(0.5)
    reference.refit(learner.state_dict())
    close(call(), reference(x))


def test_a_version_compatible_plan_is_not_refitted_by_8_6():
    if trtnet.provider.load("tensorrt").refits_version_compatible:
        pytest.skip("later versions refit such plans")
    with pytest.raises(ProviderError, match=r"(?s)does not refit version-compatible plans.*policy\.0\.weight"):
        trtnet.build(policy(), refit=True, version_compatible=True, **LEVEL)


def test_stripped_plans():
    provider = trtnet.provider.load("tensorrt")
    if provider.has("BuilderFlag", "STRIP_PLAN"):
        engine = trtnet.build(policy(), refit=True, stripped=True, check=True, **LEVEL)
        assert engine.plan.stripped
        return
    with pytest.raises(ProviderError, match="has no stripped"):
        trtnet.build(policy(), refit=True, stripped=True, **LEVEL)


# --- several GPUs -----------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_the_second_gpu():
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    graph = policy(Dim("batch", 1, 4, 64))
    reference = trtnet.reference(graph, dtype="float64")
    first, second = (trtnet.build(graph, refit=True, device=f"cuda:{n}", **LEVEL) for n in (0, 1))
    live = trtnet.build(graph, live=True, device=1, **LEVEL)
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    here, there = (torch.from_numpy(x).to(f"cuda:{n}") for n in (0, 1))
    assert torch.cuda.current_device() == 0
    for engine, given in ((first, here), (second, there), (live, there), (first, x), (second, x)):
        found = engine(given)
        if torch.is_tensor(given):
            assert found["logits"].device == given.device
        close(found, reference(x))
    for engine, given in ((first, there), (second, here), (live, here)):
        for use in (engine, engine.bind, lambda v, engine=engine: engine(v, graph=True)):
            with pytest.raises(
                ProviderError, match=r"(?s)input 'x' is on another device.*expected: cuda:\d.*tensor\.to"
            ):
                use(given)
    calls = [second.bind(there), second.bind(there, graph=True), live.bind(there, graph=True)]
    learner = trtnet.to_torch(graph)
    with torch.no_grad():
        for value in learner.parameters():
            value.mul_(0.5)
    reference.refit(learner.state_dict())
    second.refit(learner.to("cuda:1").state_dict())
    live.bind_weights(learner)
    for call in calls:
        close(call(), reference(x))
    assert torch.cuda.current_device() == 0
    with pytest.raises(trtnet.TrtnetError, match=r"(?s)another device.*cuda:0.*cuda:1"):
        first.refit(learner.state_dict())
    first.refit(learner.to("cuda:0").state_dict())
    close(first(here), reference(x))
    second.close()
    close(first(here), reference(x))
    with pytest.raises(ProviderError, match=r"there is no CUDA device"):
        trtnet.build(graph, device=f"cuda:{torch.cuda.device_count()}", **LEVEL)


def test_a_limit_of_persistent_cache_does_not_change_the_numbers():
    """The limit is kept, by the engine's own calls, its contexts and bound calls."""
    graph = image_graph("float32")
    engine = trtnet.build(graph, persistent_cache_limit=1 << 20, **LEVEL)
    x = image("float32")
    wanted = trtnet.reference(graph, dtype="float64")(x)
    other = engine.context(persistent_cache_limit=0)
    close(engine(x), wanted, 1e-4)
    close(other(x), wanted, 1e-4)
    close(other.bind(torch.from_numpy(x).cuda(), graph=True)(), wanted, 1e-4)
    assert engine._default.native(0).context.persistent_cache_limit == 1 << 20
    assert other.native(0).context.persistent_cache_limit == 0


def test_options_that_this_tensorrt_lacks_are_refused_with_the_versions_that_have_them():
    """On 8.6: none of a later version's has any effect that nobody is told of."""
    graph = image_graph("float32")
    engine = trtnet.build(graph, **LEVEL)
    if engine.provider.strongly_typed:
        pytest.skip("of TensorRT 8.6")
    for name, value in (("weight_streaming_budget", 0), ("execution_context_allocation_strategy", "on_profile_change")):
        with pytest.raises(ProviderError, match=f"has no {name}\n  expected: TensorRT 10.0 or newer"):
            trtnet.build(graph, **LEVEL, **{name: value})
    with pytest.raises(ProviderError, match="expected: TensorRT-RTX"):
        engine.context(cuda_graph_strategy="whole_graph_capture")
    with pytest.raises(ProviderError, match=r"has no weight_streaming\n  expected: TensorRT 10.0 or newer"):
        trtnet.build(graph, **LEVEL, weight_streaming=True)


def test_kernels_are_timed_on_a_given_stream():
    graph = image_graph("float32")
    x = image("float32")
    with torch.cuda.device(0):
        engine = trtnet.build(graph, profile_stream=torch.cuda.Stream(), **LEVEL)
    close(engine(x), trtnet.reference(graph, dtype="float64")(x), 1e-4)


def test_debug_tensors_are_shown_or_refused():
    graph, x = image_graph("float32"), image("float32")
    if not trtnet.build(graph, **LEVEL).provider.has("INetworkDefinition", "mark_debug"):
        with pytest.raises(ProviderError, match=r"has no debug_tensors\n  expected: TensorRT 10.0 or newer"):
            trtnet.build(graph, debug_tensors="conv1", **LEVEL)
        return
    engine, shown = trtnet.build(graph, debug_tensors="conv1", **LEVEL), {}
    wanted = trtnet.build(graph, provider="reference", extra_outputs="conv1")(x)
    for given in (x, torch.from_numpy(x).cuda()):
        engine.set_debug_listener(shown.__setitem__)
        engine(given)
        close(shown.pop("conv1"), wanted["conv1"], 1e-4)
        engine.set_debug_listener(None)
        engine(given)
        assert not shown


def test_an_engine_is_drawn_over_what_was_recorded(tmp_path):
    """Each layer's time stands in the picture once, whatever this TensorRT fused."""
    engine = trtnet.build(convolutions(dtype="float16"), profiling_verbosity="detailed", **LEVEL)
    times = engine.profile(np.zeros((2, 3, 8, 8), np.float16))
    page = engine.draw(tmp_path / "net.html", times=times)
    (told,) = (json.loads(line[16:-1]) for line in page.splitlines() if line.startswith("const picture = "))
    assert any("convolution" in box["label"][0] for box in told["boxes"])
    total = sum(float(part.split(" ms")[0]) for box in told["boxes"] for part in box["label"] if " ms, " in part)
    groups = [frame["label"] for frame in told["frames"] if "closed" not in frame]
    total += sum(float(part.split(" ms")[0]) for label in groups for part in label if " ms, " in part)
    assert total == pytest.approx(times.milliseconds, abs=1e-4 * len(times.layers))
    stored = json.loads(json.dumps(engine.inspect()))
    assert engine.graph.draw(provider=engine.provider, engine=stored) == engine.draw()
