"""Every call that trtnet makes while it lowers, configures and builds, judged by the bindings of 16 versions.

It shows that calls conform to the signatures, members and enums of `tests/bindings/api.json`; nothing is computed.
"""

from __future__ import annotations

import numpy as np
import pytest
from bindings import Bindings, versions
from cases import CASES, recorded
from conformity import OPTIONS, configured, graphs, lowered, provider_of

import trtnet
from trtnet.errors import ProviderError
from trtnet.layers.normalization import SoftMax
from trtnet.tensorrt import provider as installed
from trtnet.tensorrt.build.job import Job
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.build.options import SINCE, BuildOptions

VERSIONS = versions()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("refit", [False, True])
def test_every_case_lowers(version, refit):
    """None is refused: what a version lacks is composed."""
    provider = provider_of(version)
    for name, graph in graphs():
        assert lowered(graph, provider, refit).network.num_layers > 0, name


@pytest.mark.parametrize("version", VERSIONS)
def test_options_are_taken_from_the_version_on_that_has_them(version):
    provider = provider_of(version)
    for name, value in OPTIONS:
        try:
            configured(provider, BuildOptions(**{name: value}))
        except ProviderError as error:
            said = str(error)
            since = SINCE.get(name)
            assert since is None or VERSIONS.index(version) < VERSIONS.index(since), said
            assert since is None or f"expected: TensorRT {since} or newer" in said
            assert since is not None or name in ("tactic_sources", "hardware_compatibility", "memory_pools"), said
        else:
            since = SINCE.get(name, VERSIONS[0])
            assert VERSIONS.index(version) >= VERSIONS.index(since), f"{name} is taken before {since}"


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
    assert plan.data == b"a plan"


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


def test_the_cases_are_not_few():
    assert len(CASES) > 50
    assert len(VERSIONS) == 16
