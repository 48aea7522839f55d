"""Everything that an engine of trtnet does, by the bindings of one version: `STEPS`, which `judged` runs.

The GPU is the host (`host_cuda.py`), and TensorRT's runtime computes nothing: what is judged is each call and callback,
by that version's signatures, members and enums, and in the order that TensorRT documents.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from bindings import Bindings
from bindings_state import SCRATCH, WEIGHTS
from host_cuda import Foreign, HostCUDA, TorchHere, on_device
from kernels import Weighted, compiled, text_of
from plugin_module import PluginModule

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, BuildError, EngineError, ProviderError, WeightsError
from trtnet.tensorrt import device, plugins, provider
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.kernels import shim
from trtnet.tensorrt.provider import Provider
from trtnet.tensorrt.run import loaded, refit_without_gil, refitting

X = np.ones((2, 3, 8, 8), np.float32)
BATCH = Dim("batch", 1, 2, 4)
STEPS: dict[str, Callable[[Here], None]] = {}


@functools.cache
def provider_of(version: str) -> Provider:
    bindings = Bindings(version)
    found = Provider(bindings.__name__, bindings)
    found.__dict__["plugin_module"] = PluginModule(bindings, version) if found.keeps_kernels else None
    return found


class Here:
    """The TensorRT of a step."""

    def __init__(self, found: Provider) -> None:
        self.provider = found

    def build(self, net: Any = None, batch: Any = 2, x: Any = None, **options: Any) -> Any:
        graph = trtnet.record(net or Net(), x=x or Input((batch, 3, 8, 8)))
        self.infers(graph)
        return trtnet.build(graph, provider=self.provider.name, check=False, **options)

    def infers(self, graph: trtnet.Graph) -> None:
        """Tell the bindings the types and shapes that TensorRT would infer."""
        tensors = {layer.name: layer.outputs[0] for layer in graph.layers if layer.outputs}
        tensors |= {layer.path: layer.outputs[0] for layer in graph.layers if layer.outputs}
        self.provider.trt.inferred = {
            name: (
                self.provider.data_type(one.dtype).name,
                tuple(size if isinstance(size, int) else -1 for size in one.shape),
            )
            for name, one in (tensors | dict(graph.outputs)).items()
            if self.provider.has("DataType", self.provider.stored(one.dtype).tensorrt or "")
        }


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))


@contextlib.contextmanager
def standing_in(version: str) -> Iterator[Here]:
    """Have this version's bindings as the TensorRT that is installed, with a GPU that it runs on."""
    found = provider_of(version)
    found.__dict__["cannot_execute"] = None
    host = HostCUDA()
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (device, "cuda", lambda: host),
            (provider, "load", lambda name: found),
            (provider, "of", lambda network: found),
            (Lowering, "check_outputs", lambda self: None),  # these bindings infer no shapes
            (loaded.Loaded, "torch", TorchHere()),
            (loaded, "_current_streams", lambda torch: lambda ordinal: 1),
            (refitting, "import_torch", TorchHere),
            (plugins, "_libraries", {}),
            (refit_without_gil, "agrees", lambda refitter: False),  # it looks at the memory of 8.6.1's own objects
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield Here(found)


def judged(version: str, step: str) -> str | None:
    """Why this version refuses a step, or None. What its bindings do not take is a TypeError or AttributeError."""
    with standing_in(version) as here:
        try:
            STEPS[step](here)
        except ProviderError as error:
            return str(error)
    return None


def step(run: Callable[[Here], None]) -> Callable[[Here], None]:
    STEPS[run.__name__.replace("_", " ").strip()] = run
    return run


# --- calls ------------------------------------------------------------------------------------------------------------


@step
def call(here: Here) -> None:
    with here.build() as engine:
        assert engine(X).shape == engine(torch.from_numpy(X)).shape == (2, 2)
        assert engine(Foreign(X)).shape == (2, 2)
        assert engine(on_device(X)).shape == engine(on_device(X)).shape == (2, 2)
        engine.warmup()
        assert engine.inspect() == {"Layers": []}


@step
def bound_call(here: Here) -> None:
    with here.build() as engine:
        for graph in (False, True):
            call = engine.bind(on_device(X), graph=graph)
            assert call().shape == call(stream=7).shape == (2, 2)
            call.close()
        assert engine(on_device(X), graph=True).shape == (2, 2)


@step
def dynamic_sizes(here: Here) -> None:
    profiles = [{"batch": (1, 1, 1)}, {"batch": (2, 3, 4)}]
    with here.build(batch=BATCH, profiles=profiles) as engine:
        for batch in (1, 3, 1, 4):
            x = np.ones((batch, 3, 8, 8), np.float32)
            assert engine(x).shape == engine(on_device(x)).shape == (batch, 2)
            assert engine.bind(on_device(x))().shape == (batch, 2)


@step
def sizes_that_the_data_decides(here: Here) -> None:
    with here.build(lambda x: F.nonzero(x), x=Input((2, 3))) as engine:
        x = np.ones((2, 3), np.float32)
        for given in (x, torch.from_numpy(x), Foreign(x), on_device(x)):
            assert tuple(engine(given).shape) == (2, 2)
    with here.build(lambda x: x[:, x.argmax().long() :].sum(), x=Input((2, 3))) as engine:
        assert engine.bind(on_device(x))().shape == ()
        for call in (lambda: engine.bind(on_device(x), graph=True), lambda: engine(on_device(x), graph=True)):
            with pytest.raises(ProviderError, match=r"cannot be captured(.|\n)*trtnet\.narrow"):
                call()
    with here.build(lambda x: trtnet.narrow(x, 0, x.argmax().long(), 1), x=Input((3,))) as engine:
        assert engine.bind(on_device(x[0]), graph=True)().shape == (1,)


@step
def memory_formats(here: Here) -> None:
    with here.build(batch=BATCH, io_formats={"x": "hwc"}) as engine:
        assert engine(X).shape == engine(on_device(X)).shape == (2, 2)


@step
def cache_in_place(here: Here) -> None:
    """The caller's cache stays as it is, and a bound call's is written into."""
    graph = trtnet.record(
        lambda keys, new, where: (new * 2, trtnet.layers.add_kv_cache_update(keys, new, where)),
        keys=Input((BATCH, 1, 5, 2)),
        new=Input((BATCH, 1, 1, 2)),
        where=Input((BATCH,), "int32"),
    )
    here.infers(graph)
    newer = here.provider.has_layer("add_kv_cache_update")
    given = np.arange(20, dtype="f").reshape(2, 1, 5, 2), np.ones((2, 1, 1, 2), "f"), np.zeros(2, np.int32)
    with trtnet.build(graph, provider=here.provider.name, check=False) as engine:
        for move in (np.asarray, torch.from_numpy, Foreign, on_device):
            made = engine(*map(move, given))[1]
            assert tuple(made.shape) == (2, 1, 5, 2)
            if newer:  # nothing is computed, and so nothing written into the copy
                assert np.array_equal(made if isinstance(made, np.ndarray) else made.numpy(), given[0])
        for graph in (False, True):
            keys = on_device(given[0])
            call = engine.bind(keys, *map(on_device, given[1:]), graph=graph)
            assert (call()[1].data_ptr() == keys.data_ptr()) == newer
        made = engine(keys, *map(on_device, given[1:]), graph=True)[1]
        assert made.data_ptr() != keys.data_ptr()


@step
def contexts(here: Here) -> None:
    with here.build(batch=BATCH) as engine:
        for shared in (False, True):
            context = engine.context(shared_memory=shared)
            assert context(X).shape == context.bind(on_device(X))().shape == (2, 2)
            context.close()


@step
def layer_times(here: Here) -> None:
    with here.build() as engine, engine.context() as context:
        for one in (engine, context):
            times = one.profile(X, calls=3)
            assert {layer.name: layer.samples for layer in times.layers} == {
                "conv/convolution": (2.0,) * 3, "copy": (1.5,) * 3,
            }  # fmt: skip
            assert [layer.module for layer in times.layers] == ["conv", ""]
        with pytest.raises(ArgumentError, match="at least one call"):
            engine.profile(X, calls=0)


def allocated() -> int:
    """What the host that is the GPU has given."""
    return sum(len(memory) - 256 for memory in device.cuda().live.values())


@step
def memory(here: Here) -> None:
    counts = here.provider.has("ICudaEngine", "get_engine_stat")
    with here.build(refit=True, live="linear.*") as engine:
        found = engine.memory()
        assert (found.weights, found.streamed) == (WEIGHTS if counts else None, 0)
        assert (found.live, found.contexts, found.shared, found.buffers) == (4 * (2 * 4 + 2), 0, 0, 0)
        assert (found.scratch, found.device, found.plan) == ((SCRATCH,), "cuda:0", len(engine.plan.data))
        assert ("does not count them" in str(found)) == (not counts)
        before = found
        engine(X)
        found = engine.memory()
        assert (found.contexts, found.buffers) == (1, X.nbytes + 4 * 2 * 2)
        assert found.live + found.buffers + found.pinned == allocated()
        assert found.pinned > before.pinned
        engine.refit({"conv.bias": np.ones(4, np.float32)})
        with engine.context(shared_memory=True) as shared, engine.context() as other:
            shared(X), other(X), other.bind(on_device(X))
            found = shared.memory()
            assert (found.contexts, found.shared) == (2, SCRATCH)
            assert found.live + found.buffers + found.pinned + found.shared == allocated()
        swap = trtnet.HotSwap(engine)
        assert swap.memory().live == 80
    with pytest.raises(EngineError, match="closed"):
        engine.memory()


@step
def memory_by_profile(here: Here) -> None:
    with here.build(batch=BATCH, profiles=[{"batch": (1, 1, 1)}, {"batch": (2, 3, 4)}]) as engine:
        told = here.provider.has("ICudaEngine", "get_device_memory_size_for_profile_v2") or here.provider.has(
            "ICudaEngine", "get_device_memory_size_for_profile"
        )
        assert engine.memory().scratch == ((SCRATCH, SCRATCH // 2) if told else (SCRATCH,))
        for batch in (1, 3):
            engine(np.ones((batch, 3, 8, 8), np.float32))
        assert engine.memory().contexts == 2
        assert ("scratch, profile 1" in str(engine.memory())) == told


# --- how it runs ------------------------------------------------------------------------------------------------------


@step
def streamed_weights(here: Here) -> None:
    for budget in (0, 100, "automatic"):
        with here.build(weight_streaming=True, weight_streaming_budget=budget) as engine:
            assert engine.streams_weights
            newer = here.provider.has("ICudaEngine", "weight_streaming_budget_v2")
            streamed = {0: 4096, 100: 3996, "automatic": 2048} if newer else {0: 4032, 100: 3996, "automatic": None}
            assert engine.memory().streamed == streamed[budget]
            assert engine(on_device(X)).shape == (2, 2)
            with pytest.raises(ProviderError, match="cannot be captured"):
                engine.bind(on_device(X), graph=True)
    with here.build(weight_streaming=True, weight_streaming_budget=1 << 40) as engine:
        assert not engine.streams_weights
        engine.bind(on_device(X), graph=True)()


@step
def a_budget_without_streamed_weights(here: Here) -> None:
    here.build(weight_streaming_budget=0).close()


@step
def persistent_cache_limit(here: Here) -> None:
    with here.build(persistent_cache_limit=1 << 10) as engine, engine.context(persistent_cache_limit=1 << 12) as other:
        assert engine(X).shape == other(X).shape == other.bind(on_device(X))().shape == (2, 2)
        limits = [one.native(0).context.persistent_cache_limit for one in (engine._default, other)]
        assert limits == [1 << 10, 1 << 12]


@step
def execution_context_allocation_strategy(here: Here) -> None:
    name = "execution_context_allocation_strategy"
    with here.build(**{name: "on_profile_change"}) as engine, engine.context(**{name: "static"}) as other:
        shared = engine.context(shared_memory=True)
        assert engine(X).shape == other(X).shape == shared(X).shape == (2, 2)


@step
def dynamic_shapes_kernel_specialization_strategy(here: Here) -> None:
    chosen = {"dynamic_shapes_kernel_specialization_strategy": "eager", "cuda_graph_strategy": "whole_graph_capture"}
    with here.build(batch=BATCH) as engine, engine.context(**chosen) as other:
        assert other(X).shape == (2, 2)


@step
def cuda_graph_strategy(here: Here) -> None:
    with here.build(cuda_graph_strategy="whole_graph_capture") as engine:
        assert engine.context(shared_memory=True)(X).shape == engine(X).shape == (2, 2)


@step
def runtime_cache(here: Here) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.cache")
        for kept in (b"kernels+", b"kernels++"):
            with here.build(runtime_cache=str(path)) as engine:
                assert engine.context(shared_memory=True)(X).shape == engine(X).shape == (2, 2)
            assert path.read_bytes() == kept


@step
def dla_workspace_allocation_strategy(here: Here) -> None:
    with here.build(dla_core=0, dla_workspace_allocation_strategy="shared_static") as engine:
        assert engine._runtime.DLA_core == 0


@step
def debug_tensors(here: Here) -> None:
    shown: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        here.build(debug_tensors=["conv", "linear"]) as built,
        trtnet.load(built.save(Path(folder, "net.engine"))) as engine,
    ):
        assert [spec.name for spec in engine.outputs] == ["output"]
        bound, context = engine.bind(on_device(X)), engine.context()
        engine.set_debug_listener(shown.__setitem__)
        for run in (lambda: engine(X), lambda: engine(on_device(X)), bound, lambda: context(X)):
            shown.clear()
            run()
            assert {path: (one.shape, str(one.dtype)) for path, one in shown.items()} == {
                "conv": ((2, 4, 6, 6), "float32"), "linear": ((2, 2), "float32"),
            }  # fmt: skip
        with pytest.raises(ProviderError, match="a CUDA graph shows no debug tensors"):
            engine(on_device(X), graph=True)
        engine.set_debug_listener(shown.__setitem__, "lin*")
        shown.clear()
        engine(X)
        assert list(shown) == ["linear"]
        engine.set_debug_listener(lambda path, array: 1 / 0)
        for run in (lambda: engine(X), lambda: engine(on_device(X)), bound):
            with pytest.raises(ZeroDivisionError):
                run()
        engine.set_debug_listener(None)
        shown.clear()
        assert engine(on_device(X), graph=True).shape == bound().shape == (2, 2)
        assert not shown


@step
def unfused_debug_tensors(here: Here) -> None:
    shown: list[str] = []
    with here.build(unfused_tensors_as_debug_tensors=True) as engine:
        engine.set_debug_listener(lambda name, array: shown.append(name))
        engine(X)
        assert shown == ["__mye12"]


@step
def profile_stream(here: Here) -> None:
    here.build(batch=BATCH, profile_stream=3).close()


@step
def profile_streams(here: Here) -> None:
    here.build(batch=BATCH, profiles=[{}, {"batch": (1, 1, 1)}], profile_stream=[3, 4]).close()


# --- weights ----------------------------------------------------------------------------------------------------------


@step
def refit(here: Here) -> None:
    net = Net()
    with here.build(net, refit=True) as engine:
        values = {name: np.array(value) + 1 for name, value in net.state_dict().items() if value.dtype == np.float32}
        snapshot = engine.snapshot()
        assert engine.refit(values, version=3).changed
        assert engine.version == 3
        assert engine.refit(values).unchanged
        assert engine.refit({"linear.bias": np.zeros(2, np.float32)}, fresh_contexts=True).companions is not None
        for scale in range(5):  # a training loop, which is given room of its own
            engine.refit({name: on_device(value * (scale + 2)) for name, value in values.items()})
        assert engine.refit({"norm.weight": on_device(np.full(4, 9, np.float32))}).changed
        report = engine.refit({"norm.weight": np.full(4, 8, np.float32)}, version=2)
        assert (report.version, report.previous, report.went_back) == (2, None, False)
        with pytest.raises(ProviderError, match="gives no weights back"):
            engine.refit(values, verify=True)
        later, call = engine.snapshot(), engine.bind(on_device(X))
        for move in (np.asarray, torch.from_numpy, Foreign, on_device):
            assert engine(move(X), with_version=True)[1] == engine.clone().version == 2
            assert engine(move(X), with_version=True, with_generation=True)[1:] == (engine.generation, 2)
        engine.restore(snapshot)
        assert engine.version is None
        assert call.version == 2
        call()
        assert call.version is None
        engine.restore(later)
        assert engine.version == 2
        engine.restore(snapshot)
        assert np.array_equal(engine.parameters()["linear.bias"], snapshot_of(net)["linear.bias"])
        assert "conv.weight" in str(engine.weights)
        assert engine(X).shape == (2, 2)


def snapshot_of(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in net.state_dict().items()}


@step
def update(here: Here) -> None:
    net = Net()
    values = {name: np.array(value) + 1 for name, value in net.state_dict().items() if value.dtype == np.float32}
    for made in (here.build(net, refit=True), trtnet.HotSwap(here.build(net, refit=True)),
                 here.build(net, live="linear.*", refit="conv.*")):  # fmt: skip
        with made as engine:
            names = [name for name in values if name in engine.refittable | engine.live]
            before = engine.parameters()
            for number, move in enumerate((np.array, lambda value: torch.from_numpy(np.array(value)), on_device)):
                with engine.update(version=number) as update:
                    for name in names:
                        given = move(values[name] * (number + 1))
                        update.put(name, given)
                        given[...] = 7  # the sender's buffer, which it uses again
                    assert all(np.array_equal(value, before[name]) for name, value in engine.parameters().items())
                    assert engine(X).shape == (2, 2)
                    with pytest.raises(EngineError, match="an update of this engine is open"):
                        engine.refit({name: values[name] for name in names})
                before = engine.parameters()
                for name in names:
                    assert np.array_equal(before[name], values[name] * (number + 1)), (name, number)
                assert (engine.version, engine.generation) == (number, number + 1)
            with contextlib.suppress(ZeroDivisionError), engine.update() as update:
                update.put(names[0], values[names[0]] * 9)
                raise ZeroDivisionError
            assert all(np.array_equal(value, before[name]) for name, value in engine.parameters().items())
            engine.refit({name: values[name] for name in names})


@step
def refit_of_some(here: Here) -> None:
    with here.build(refit="linear.*") as engine:
        engine.refit({"linear.weight": np.ones((2, 4), np.float32)})
        assert engine.refittable == {"linear.weight", "linear.bias"}


@step
def stripped_plan(here: Here) -> None:
    with tempfile.TemporaryDirectory() as folder, here.build(refit=True, stripped=True) as engine:
        path = engine.save(Path(folder, "net.engine"))
        with trtnet.load(path) as again:
            again.refit({"linear.bias": np.ones(2, np.float32)})


@step
def stripped_plan_for_the_same_weights(here: Here) -> None:
    options = {"stripped": True, "refit_identical": True}
    with tempfile.TemporaryDirectory() as folder, here.build(**options) as engine:
        path = engine.save(Path(folder, "net.engine"))
        with trtnet.load(path) as again, again.clone() as other:
            assert other(X).shape == (2, 2)
            assert engine._engine.refittable
            assert not engine.refittable
            with pytest.raises(WeightsError, match="none: it was built without refit"):
                again.refit({"linear.bias": np.ones(2, np.float32)})


@step
def live_weights(here: Here) -> None:
    net = Net()
    with here.build(net, live="linear.*") as engine:
        engine.refit({"linear.bias": np.ones(2, np.float32)})
        snapshot = engine.snapshot()
        assert engine(X).shape == engine.bind(on_device(X))().shape == (2, 2)
        engine.restore(snapshot)
        learner = {"linear.weight": on_device(np.ones((2, 4), np.float32)), "linear.bias": on_device(np.ones(2, "f"))}
        with mock.patch.object(type(engine.device), "__repr__", return_value="cpu:0"):  # where these tensors are
            engine.bind_weights(learner)
        assert engine.version == engine(on_device(X), with_version=True)[1] == "live"
        assert engine(on_device(X)).shape == (2, 2)


@step
def two_engines_in_turn(here: Here) -> None:
    with trtnet.HotSwap(here.build(refit=True)) as engine:
        engine.refit({"linear.bias": np.ones(2, np.float32)}, version=6)
        assert engine(X).shape == (2, 2)
        assert engine.version == engine(X, with_version=True)[1] == 6


# --- plugins ----------------------------------------------------------------------------------------------------------


class Judged(trtnet.Plugin):
    creator, version = "JudgedIPluginCreator", "1"

    def shapes(self, x: Any) -> Any:
        return x

    def reference(self, x: Any) -> Any:
        return x


class JudgedV3(Judged):
    creator = "JudgedIPluginCreatorV3One"


@step
def plugins_of_the_registry(here: Here) -> None:
    name = here.provider.name
    newer = here.provider.offers("IPluginCreatorV3One")
    for kind in (Judged, JudgedV3) if newer else (Judged,):
        with tempfile.TemporaryDirectory() as folder, here.build(kind(alpha=0.5)) as engine:
            assert kind.creator in [one.name for one in trtnet.plugins.available(name)]
            path = engine.save(Path(folder, "net.engine"))
            trtnet.load(path).close()


@step
def plugins_that_python_runs(here: Here) -> None:
    provider = here.provider
    if not provider.offers("IPluginCreatorV3One"):
        trtnet.plugins.register(object(), provider.name)  # which is refused
    creator = type("Mine", (provider.trt.IPluginCreatorV3One,), {})()
    said = provider.trt.PluginFieldCollection([])
    vars(creator).update(name="Mine", plugin_version="1", plugin_namespace="", field_names=said)
    for _ in range(2):
        assert str(trtnet.plugins.register(creator, provider.name)) == "Mine 1 ()"
    assert [one.name for one in trtnet.plugins.available(provider.name)].count("Mine") == 1
    kind = type("Mine", (Judged,), {"creator": "Mine"})
    here.build(kind()).close()
    other = type("Mine", (provider.trt.IPluginCreatorV3One,), {})()
    vars(other).update(vars(creator))
    with pytest.raises(ProviderError, match="the plugin Mine 1 is registered already"):
        trtnet.plugins.register(other, provider.name)
    with pytest.raises(ArgumentTypeError, match="this is no creator of plugins"):
        trtnet.plugins.register(type(creator), provider.name)


@step
def plugins_of_a_library(here: Here) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "creators.c"), Path(folder, f"lib{here.provider.version}.so")
        source.write_text(f'char const version[] = "{here.provider}"; void* getPluginCreators(void) {{ return 0; }}')
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        (loaded_one,) = trtnet.plugins.load(library, here.provider.name)
        assert dict(loaded_one.fields) == {"alpha": "float32"}
        kind = type("Loaded", (Judged,), {"creator": loaded_one.name})
        here.build(kind(alpha=0.5), version_compatible=True).close()


@step
def kernels_in_the_plan(here: Here) -> None:
    """Nothing has to be built for it, nor to be loaded with it."""
    no_headers = mock.patch.object(shim, "_roots", return_value=())
    x = np.ones((3, 4), np.float32)
    with no_headers, compiled(), here.build(Weighted(), x=Input((3, 4)), refit=True) as engine:
        assert engine.plan.plugins == ()
        (code,) = json.loads(engine.plan.data)["kernels"].values()
        assert code.partition("{")[2] == text_of("weighted").partition("{")[2]
        engine.refit({"weight": 2 * x})
        with tempfile.TemporaryDirectory() as folder:
            path = engine.save(Path(folder, "net.engine"))
            with trtnet.load(path) as again:
                assert again(x).shape == (3, 4)
    with tempfile.TemporaryDirectory() as folder, no_headers, compiled():
        for cached in (False, True):
            with here.build(Weighted(), x=Input((3, 4)), cache=folder) as engine:
                assert (engine.plan.cached, engine.plan.plugins) == (cached, ())


# --- files ------------------------------------------------------------------------------------------------------------


@step
def save_and_load(here: Here) -> None:
    with tempfile.TemporaryDirectory() as folder, here.build(batch=BATCH, refit=True) as engine:
        engine.refit({"linear.bias": np.ones(2, np.float32)}, version=7)
        path = engine.save(Path(folder, "net.engine"))
        with trtnet.load(path) as again, again.clone() as other:
            assert again.version == other.version == 7
            assert again(X).shape == other(on_device(X)).shape == (2, 2)
            again.refit({"linear.bias": np.zeros(2, np.float32)})
        bare = Path(folder, "bare.engine")
        bare.write_bytes(path.read_bytes())
        with trtnet.load(bare, provider=here.provider.name) as again:
            assert again(X).shape == (2, 2)
        bare.write_bytes(b"cut off")
        with pytest.raises(BuildError, match="this is no plan"):  # as the recorder was told
            trtnet.load(bare, provider=here.provider.name)


@step
def plans_without_a_gpu(here: Here) -> None:
    graph = trtnet.record(Net(), x=Input((2, 3, 8, 8)))
    name, targets = here.provider.name, here.provider.targets[:2]
    assert trtnet.build_plan(graph, targets, provider=name).data
    if targets:
        assert trtnet.build_plan(graph, targets[0], provider=name, refit=True).stripped


@step
def plan_cache(here: Here) -> None:
    phases: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        graph = trtnet.record(Net(), x=Input((2, 3, 8, 8)))
        here.infers(graph)

        def build(**options: Any) -> Any:
            return trtnet.build(
                graph, provider=here.provider.name, refit=True, cache=folder, check=False, **options,
                progress=lambda phase, done, steps: phases.append(phase),
            )  # fmt: skip

        build().close()
        assert phases if here.provider.offers("IProgressMonitor") else not phases
        graph.load_state_dict({"linear.bias": np.full(2, 3, np.float32)}, strict=False)
        engine = build()
        assert engine.plan.cached
        engine.close()
        engine = build(force=True)
        assert not engine.plan.cached
        engine.close()
        assert bool(list(Path(folder).glob("timing-*.cache"))) == here.provider.keeps_timings


@step
def timing_cache(here: Here) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "timings.cache")
        for kept in (b"timings+", b"timings++"):
            here.build(timing_cache=path).close()
            assert path.read_bytes() == kept
        for others in (b"of another TensorRT", b"timings of another GPU"):
            path.write_bytes(others)
            with pytest.raises(ArgumentError, match="holds no timings of this TensorRT on this GPU"):
                here.build(timing_cache=path)
            assert path.read_bytes() == others
        with pytest.raises(ArgumentError, match="no folder"):
            here.build(timing_cache=Path(folder, "none", "timings.cache"))
