"""Every call that trtnet makes while it lowers, configures, builds, loads, runs and refits, judged by the bindings of
16 versions.

It shows that calls conform to the signatures, members and enums of `tests/bindings/api.json`; nothing is computed.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from bindings import Bindings, versions
from cases import CASES, recorded
from conformity import OPTIONS, configured, graphs, lowered
from host_cuda import HostCUDA
from judged_engines import STEPS, X, judged, provider_of, standing_in

import trtnet
from trtnet.engine import options as engine_options
from trtnet.errors import ProviderError
from trtnet.layers.normalization import SoftMax
from trtnet.tensorrt import provider as installed
from trtnet.tensorrt.build.job import Job
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.build.options import SINCE, BuildOptions
from trtnet.tensorrt.callbacks import OutputAllocator
from trtnet.tensorrt.run import loaded, refitting
from trtnet.tensorrt.run.execution import Native

VERSIONS = versions()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("refit", [False, True])
def test_every_case_lowers(version, refit):
    """None is refused: what a version lacks is composed."""
    provider = provider_of(version)
    for name, graph in graphs():
        assert lowered(graph, provider, refit).network.num_layers > 0, name


def place(version):
    """Of a version among those of the bindings, of which "10.0" is there as 10.0.1."""
    return next(place for place, one in enumerate(VERSIONS) if one == version or one.startswith(f"{version}."))


@pytest.mark.parametrize("version", VERSIONS)
def test_options_are_taken_from_the_version_on_that_has_them(version):
    provider = provider_of(version)
    for name, value in OPTIONS:
        try:
            configured(provider, BuildOptions(**{name: value}))
        except ProviderError as error:
            said = str(error)
            since = SINCE.get(name)
            assert since is None or place(version) < place(since), said
            assert since is None or f"expected: TensorRT {since} or newer" in said
            assert since is not None or name in ("tactic_sources", "hardware_compatibility", "memory_pools"), said
        else:
            since = SINCE.get(name, VERSIONS[0])
            assert place(version) >= place(since), f"{name} is taken before {since}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["fixed", "refit", "some", "live", "dynamic", "formats"])
def test_builds(version, how, monkeypatch):
    monkeypatch.setattr(Lowering, "check_outputs", lambda self: None)  # these bindings infer no shapes
    monkeypatch.setattr(installed, "of", lambda network: provider_of(version))  # no version of them is installed
    batch = trtnet.Dim("batch", 1, 2, 4)
    graph = trtnet.record(recorded_module(), x=trtnet.Input((batch if how == "dynamic" else 2, 3, 8, 8)))
    keys = frozenset(graph.state_dict())
    options = BuildOptions(io_formats={"x": "hwc"}) if how == "formats" else BuildOptions()
    refittable = keys if how == "refit" else frozenset(("conv.weight",)) if how == "some" else frozenset()
    profiles = ({"batch": (1, 2, 4)}, {"batch": (1, 1, 1)}) if how == "dynamic" else ()
    live = frozenset(("conv.bias",)) if how == "live" else frozenset()
    plan = Job(graph, provider_of(version), options, refittable, live, profiles=profiles).run()
    told = json.loads(plan.data)
    assert [one["name"] for one in told["inputs"]] == ["x", *plan.live.values()]
    assert bool(told["weights"]) == bool(refittable)
    assert len(told["profiles"]) == len(profiles)


def before(version):
    return VERSIONS[: VERSIONS.index(version)]


REFUSED = {
    "a budget without streamed weights": VERSIONS,
    "cuda graph strategy": VERSIONS[:-1],
    "debug tensors": ["8.6.1"],
    "dla workspace allocation strategy": before("11.3"),
    "dynamic shapes kernel specialization strategy": VERSIONS[:-1],
    "execution context allocation strategy": ["8.6.1"],
    "kernels in the plan": [*before("10.11"), "rtx1.7.1"],
    "plugins of a library": ["rtx1.7.1"],
    "plugins of the registry": ["rtx1.7.1"],
    "plugins that python runs": ["8.6.1", "rtx1.7.1"],
    "profile streams": before("11.4"),
    "runtime cache": VERSIONS[:-1],
    "streamed weights": ["8.6.1"],
    "unfused debug tensors": before("10.13"),
    "stripped plan": ["8.6.1"],
    "stripped plan for the same weights": ["8.6.1"],
    "timing cache": ["rtx1.7.1"],
}
"""The steps that some versions refuse."""


@pytest.mark.parametrize("version", VERSIONS)
def test_engines(version):
    """Loading, calls, contexts, graphs, refits, live weights, saving: each is taken, or refused by trtnet itself."""
    refused = {name: why for name in STEPS if (why := judged(version, name)) is not None}
    assert set(refused) == {name for name, versions in REFUSED.items() if version in versions}, refused
    for name, said in refused.items():
        who = engine_options.SINCE.get(name.replace(" ", "_"))
        assert who is None or f"expected: {who}\n" in said, said
    for name in refused.keys() & {"streamed weights", "stripped plan", "profile streams", "debug tensors"}:
        assert "or newer" in refused[name], refused[name]


def recorded_module():
    from trtnet import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.linear = nn.Linear(4, 2)

        def forward(self, x):
            return self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))

    return Net()


# --- the judge --------------------------------------------------------------------------------------------------------


def network(version):
    provider = provider_of(version)
    return provider, provider.create_network(provider.builder())


def test_the_judge_knows_the_versions():
    assert not hasattr(Bindings("11.0").BuilderFlag, "FP16")
    assert hasattr(Bindings("10.16").BuilderFlag, "FP16")
    assert not hasattr(Bindings("8.6.1"), "IProgressMonitor")
    assert int(Bindings("8.6.1").BuilderFlag.REFIT) != int(Bindings("11.4").BuilderFlag.REFIT)


def test_the_judge_refuses_what_the_bindings_refuse():
    provider, old = network("8.6.1")
    x = old.add_input("x", provider.trt.DataType.FLOAT, (1, 3, 8, 8))
    with pytest.raises(TypeError, match=r"add_fill.*incompatible"):
        old.add_fill((2,), provider.trt.FillOperation.LINSPACE, provider.trt.DataType.FLOAT)
    with pytest.raises(AttributeError, match="add_cumulative"):
        old.add_cumulative(x, x, None, False, False)
    with pytest.raises(TypeError, match="incompatible"):
        old.add_softmax(3)
    with pytest.raises(TypeError, match="incompatible"):
        old.add_convolution_nd(x, 4, (3, 3), "kernel")
    with pytest.raises(TypeError, match="incompatible"):
        provider.trt.Weights(provider.trt.DataType.FLOAT, 0, 3)
    old.add_softmax(x).precision = provider.trt.DataType.FLOAT
    provider, new = network("11.0")
    x = new.add_input("x", provider.trt.DataType.FLOAT, (1, 3, 8, 8))
    with pytest.raises(AttributeError, match="precision"):
        new.add_softmax(x).precision = provider.trt.DataType.FLOAT
    with pytest.raises(AttributeError, match="no setter"):
        new.num_layers = 3
    with pytest.raises(TypeError, match="No constructor"):
        provider.trt.INetworkDefinition()
    assert provider.trt.Weights(provider.trt.DataType.FLOAT, 0, 3) is not None
    new.add_constant((2,), np.zeros(2, np.float32))


def test_a_lowering_that_does_not_conform_is_noticed(monkeypatch):
    monkeypatch.setattr(SoftMax, "add_to", lambda self, lowering: lowering.network.add_softmax())
    with pytest.raises(trtnet.TrtnetError, match=r"bindings refused this softmax layer.*incompatible"):
        lowered(recorded("softmax")[0], provider_of("10.8"), False)


@pytest.mark.parametrize(
    ("where", "name", "wrong", "step", "message"),
    [
        (Native, "set_shapes", lambda self, route: self.context.set_shape(1), "dynamic sizes", "attribute 'set_shape'"),
        (
            Native,
            "set_addresses",
            lambda self, names, addresses: self.context.set_tensor_address(names[0], "there"),
            "call",
            r"set_tensor_address\('x', 'there'\): incompatible",
        ),
        (OutputAllocator, "__init__", lambda self, trt, allocate: None, "sizes that the data decides", "native"),
        (
            refitting,
            "execute",
            lambda provider, refitter, stream, on_device: refitter.refit_engine(),
            "refit",
            "attribute 'refit_engine'",
        ),
        (
            loaded,
            "_new_context",
            lambda provider, engine, memory, options, cache: engine.create_execution_context(memory, 3),
            "contexts",
            "create_execution_context.*incompatible",
        ),
    ],
)
@pytest.mark.parametrize("version", ["8.6.1", "10.16", "11.4"])
def test_an_engine_that_does_not_conform_is_noticed(where, name, wrong, step, message, version, monkeypatch):
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises((TypeError, AttributeError), match=message):
        judged(version, step)


def test_an_enqueue_needs_addresses_shapes_and_scratch_memory():
    with standing_in("11.4") as here, here.build() as engine:
        context = engine.make_context(None)
        with pytest.raises(AssertionError, match="the input x has no address"):
            context.execute_async_v3(1)
        context.set_tensor_address("x", X.ctypes.data)
        with pytest.raises(AssertionError, match="the output output has no address"):
            context.execute_async_v3(1)
        strategy = here.provider.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with pytest.raises(AssertionError, match="without scratch memory"):
            engine._engine.create_execution_context(strategy).execute_async_v3(1)
        with pytest.raises(AssertionError, match="the engine has no y"):
            context.set_tensor_address("y", 1)


def test_a_refit_needs_what_belongs_together():
    with standing_in("8.6.1") as here, here.build(refit=True) as engine:
        refitter = here.provider.refitter(engine._engine)
        assert refitter.set_named_weights("linear.bias", np.zeros(2, np.float32))
        assert not refitter.set_named_weights("linear.bias", np.zeros(3, np.float32)), "another number of elements"
        assert not refitter.set_named_weights("other.bias", np.zeros(2, np.float32))
        assert refitter.get_missing_weights() == ["linear.weight"]
        assert not refitter.refit_cuda_engine()


def test_memory_is_not_used_after_it_was_freed():
    host = HostCUDA()
    address = host.cudaMalloc(16)[1]
    host.cudaMemcpyAsync(address, X.ctypes.data, 16, 4, 0)
    host.cudaFree(address)
    with pytest.raises(AssertionError, match="freed"):
        host.cudaMemcpyAsync(address, X.ctypes.data, 16, 4, 0)
    with pytest.raises(KeyError):
        host.cudaFree(address)


def test_the_cases_are_not_few():
    assert len(CASES) > 50
    assert len(STEPS) >= 28
    assert len(VERSIONS) == 16
