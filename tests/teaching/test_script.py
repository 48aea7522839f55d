"""Programs in TensorRT's own API, which make the plans that trtnet makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bindings import DATA, Bindings, versions
from cases import CASES, DATA_SIZED, recorded
from conformity import graphs
from harness import needs_rtx
from small_models import SMALL, pair

import trtnet
from models.character_lstm import CharacterLSTM
from models.googlenet import GoogLeNet
from models.lenet import LeNet
from models.policy import ConvPolicy, MLPPolicy
from models.resnet import resnet18
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, UnsupportedError
from trtnet.tensorrt.versions import known

sys.path.insert(0, str(DATA.parent))
import make

BATCH = Dim("batch", min=1, opt=2, max=4)
UNSTEADY = {"computed_positions", "computed_sizes", "scan"}
"""Cases of which TensorRT-RTX 1.7.1 itself builds another plan each time, as of many networks with dynamic sizes."""

OTHERS = {
    "lenet": lambda: trtnet.record(LeNet(), image=Input((BATCH, 1, 28, 28))),
    "resnet": lambda: trtnet.record(resnet18(classes=4), image=Input((1, 3, 32, 32))),
    "googlenet": lambda: trtnet.record(GoogLeNet(classes=4), image=Input((1, 3, 64, 64))),
    "mlp_policy": lambda: trtnet.record(MLPPolicy(4, 2), observation=Input((BATCH, 4))),
    "conv_policy": lambda: trtnet.record(ConvPolicy(4, 6), image=Input((BATCH, 4, 84, 84))),
    "character_lstm": lambda: trtnet.record(CharacterLSTM(12), text=Input((2, 5), "int64")),
}


def small(name: str) -> trtnet.Graph:
    if name in OTHERS:
        return OTHERS[name]()
    net, _, inputs = pair(name)
    return trtnet.record(net, **{n: Input(a.shape, str(a.dtype)) for n, a in inputs.items()})


def run(script: Path) -> bytes:
    """What the script writes as its plan, in a process of its own, in which there is no trtnet."""
    code = "import runpy, sys; sys.modules['trtnet'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    subprocess.run([sys.executable, "-I", "-c", code, str(script)], check=True, cwd=script.parent)
    return script.with_suffix(".engine").read_bytes()


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
def test_its_plan_is_that_of_build_plan(name, tmp_path):
    needs_rtx()
    graph = small(name)
    text = graph.to_script(tmp_path / "net.py", provider="tensorrt_rtx", targets="sm86")
    assert run(tmp_path / "net.py") == bytes(trtnet.build_plan(graph, "sm86")), "another plan"
    assert all(f'"{key}"' in text for key, used in keys(graph).items() if used), "a parameter's key is missing"
    paths = {layer.path for layer in graph.layers if layer.path}
    assert all(f"# {path}\n" in text for path in paths), "a module is missing"


def keys(graph: trtnet.Graph) -> dict[str, bool]:
    """The parameters, and whether a layer takes one as it is."""
    taken = {weight.name for _, _, weight in graph.for_provider(needs_rtx()).weights()}
    return {name: leaf.name in taken and leaf.name == name for name, leaf in graph.parameters.items()}


@pytest.mark.parametrize("name", sorted(set(CASES) - DATA_SIZED - UNSTEADY))
def test_plans_of_every_kind_of_layer(name, tmp_path):
    """In this process, as there are many."""
    needs_rtx()
    graph, _ = recorded(name)
    graph.to_script(tmp_path / "net.py", provider="tensorrt_rtx", targets="sm86")
    made = loaded(tmp_path / "net.py")
    plan = made.build(made.trt.Logger(made.trt.Logger.ERROR))
    assert plan == bytes(trtnet.build_plan(graph, "sm86"))


def loaded(script: Path) -> ModuleType:
    made = ModuleType("net")
    made.__file__ = str(script)
    exec(compile(script.read_text(), str(script), "exec"), vars(made))
    return made


@pytest.mark.parametrize("version", versions())
def test_the_bindings_of_every_version_take_it(version, tmp_path, monkeypatch):
    """Written for each version without it; its signatures take every call, names of arguments included."""
    bindings = Bindings(version)
    bindings.Logger.WARNING = 2
    bindings.nptype = lambda dtype: {"FLOAT": np.float32, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
                                     "INT8": np.int8, "HALF": np.float16, "UINT8": np.uint8}[dtype.name]  # fmt: skip
    provider = f"tensorrt_rtx=={bindings.__version__}" if version.startswith("rtx") else f"tensorrt=={version}"
    refused = []
    for name, graph in graphs() if version in ("8.6.1", "10.8", "11.4") else graphs()[::9]:
        try:
            graph.to_script(tmp_path / "net.py", provider=provider)
        except trtnet.errors.ProviderError:
            refused.append(name)
            continue
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, bindings.__name__, bindings)
            made = loaded(tmp_path / "net.py")
        network = bindings.new("INetworkDefinition")
        made.define(network)
        assert network.num_layers > 0, name
    assert len(refused) < 8, refused


def test_the_names_that_the_package_has_are_those_of_the_bindings():
    data = json.loads(DATA.read_text())
    assert make.NAMES_FILE.read_text() == make.short_text(data), "run tests/bindings/make.py --names"


def test_which_version_is_meant():
    assert known("tensorrt", "8.6.1.6").version == "8.6.1"
    assert known("tensorrt", "10.12").version.startswith("10.11")
    assert known("tensorrt", "10").version.startswith("10.16")
    assert known("tensorrt", "99").version == known("tensorrt").version
    graph = trtnet.record(lambda x: F.relu(x), x=Input((2, 3)))
    for wrong in ("tensorrt==7.2", "tensorrt==", "tensorrt==new", "tensorflow", ""):
        with pytest.raises(ArgumentError, match=r"provider|knows no"):
            graph.explain(provider=wrong)


def test_faults(tmp_path):
    graph = trtnet.record(lambda x: F.relu(x), x=Input((2, 3)))
    with pytest.raises(ArgumentError, match="a script is a file of Python"):
        graph.to_script(tmp_path / "net.txt")
    with pytest.raises(ArgumentError, match="cannot compile for these targets"):
        graph.to_script(targets="sm1")
    with pytest.raises(trtnet.errors.WeightsNotFoundError):
        graph.to_script(tmp_path / "missing" / "net.py")
    assert list(tmp_path.iterdir()) == []


def test_raw_layers():
    """The calls of a user's function, which may read shapes of what it is given, and not what TensorRT would infer."""

    def add(network, x):
        layer = network.add_activation(x, type=1 if x.shape != (2, 3) else kind())
        return layer.get_output(0)

    def kind():
        return needs_rtx().trt.ActivationType.RELU

    graph = trtnet.record(lambda x: trtnet.raw(add, x, shapes=(2, 3)), x=Input((2, 3)))
    assert "raw" in str(graph.explain())
    assert "network.add_activation(x, type=trt.ActivationType.RELU)" in graph.to_script(), graph.to_script()

    def asks(network, x):
        inside = network.add_identity(x).get_output(0)
        return network.add_identity(inside if inside.shape == (2, 3) else x).get_output(0)

    graph = trtnet.record(lambda x: trtnet.raw(asks, x, shapes=(2, 3)), x=Input((2, 3)))
    with pytest.raises(UnsupportedError, match="known to TensorRT alone"):
        graph.explain()


def test_options_are_written():
    graph = trtnet.record(lambda x: F.relu(x), x=Input((2, 3)))
    text = graph.to_script(provider="tensorrt==10.13", workspace=1 << 20, tf32=True, optimization_level=2)
    assert "config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1048576)" in text
    assert "config.set_flag(trt.BuilderFlag.TF32)" in text
    assert "config.builder_optimization_level = 2" in text
