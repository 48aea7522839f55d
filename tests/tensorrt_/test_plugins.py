"""TensorRT's plugin registry: creators, fields, libraries, what a plan needs.

The registry, the creators and the fields are real: TensorRT-RTX has them. What its networks lack, `add_plugin_v2` and
`add_plugin_v3`, is stood in for by methods of the same signatures.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from harness import needs_rtx, new_network

import trtnet
from trtnet import Input, nn
from trtnet.layers.targets import PluginField, PluginRequest
from trtnet.tensorrt import plugins
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.build.options import BuildOptions
from trtnet.tensorrt.build.plan_cache import plan_key
from trtnet.tensorrt.provider import Provider

ALPHA, TABLE = 0.5, np.arange(6, dtype=np.int32)
FIELDS = {
    "alpha": "FLOAT32", "count": "INT32", "flag": "INT8", "name": "CHAR", "table": "INT32", "sizes": "DIMS",
    "half": "FLOAT16", "wide": "INT64", "short": "BF16", "free": "UNKNOWN",
}  # fmt: skip


class WithPlugins(Provider):
    """TensorRT-RTX, if its networks had plugins."""

    def has_layer(self, method: str) -> bool:
        return method == "add_plugin_v3" or super().has_layer(method)


class Network:
    """A network of TensorRT-RTX, with the methods that 8.6 and 10 have for plugins."""

    def __init__(self, native: Any, outputs: int = 1) -> None:
        self.__dict__["native"], self.__dict__["added"], self.__dict__["outputs"] = native, [], outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.native, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.native, name, value)

    def add_plugin_v2(self, inputs: list[Any], plugin: Any) -> Any:
        return self._taken("v2", inputs, plugin)

    def add_plugin_v3(self, inputs: list[Any], shape_inputs: list[Any], plugin: Any) -> Any:
        assert shape_inputs == []
        return self._taken("v3", inputs, plugin)

    def _taken(self, kind: str, inputs: list[Any], plugin: Any) -> Any:
        assert isinstance(inputs, list)
        self.added.append((kind, len(inputs), plugin))
        layer = self.native.add_identity(inputs[0])
        return layer if self.outputs == layer.num_outputs else _Several(layer, self.outputs)


class _Several:
    def __init__(self, layer: Any, outputs: int) -> None:
        self.layer, self.num_outputs = layer, outputs


@pytest.fixture(scope="module")
def provider() -> Provider:
    return WithPlugins("tensorrt_rtx", needs_rtx().trt)


@pytest.fixture(scope="module")
def creator(provider):
    """A creator in the registry that keeps what it is given."""
    trt = provider.trt

    class Made(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
        def __init__(self) -> None:
            for base in Made.__mro__[1:5]:
                base.__init__(self)
            self.plugin_name, self.plugin_version, self.plugin_namespace, self.num_outputs = "TrtnetTest", "1", "", 1

    class Creator(trt.IPluginCreatorV3One):
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = "TrtnetTest", "1", ""
            empty = np.zeros(1, np.int8)
            self.field_names = trt.PluginFieldCollection(
                [trt.PluginField(n, empty, getattr(trt.PluginFieldType, t)) for n, t in FIELDS.items()]
            )
            self.refuses, self.given = False, {}

        def create_plugin(self, name, fields, phase):
            assert phase == trt.TensorRTPhase.BUILD
            unread = ("DIMS", "BF16", "FLOAT16")  # the bindings give no array of these
            self.given = {
                f.name: (f.type.name, f.size, None if f.type.name in unread else np.array(f.data)) for f in fields
            }
            return None if self.refuses else Made()

    made = Creator()
    registry = trt.get_plugin_registry()
    assert registry.register_creator(made, "")
    yield made
    registry.deregister_creator(made)


def make(provider: Provider, **fields: Any) -> plugins.Made:
    from trtnet.layers.plugin import field

    given = tuple(field(name, value) for name, value in fields.items())
    return plugins.make(provider, PluginRequest("layer", "TrtnetTest", "1", "", "", (), given))


class Test(trtnet.Plugin):
    __test__ = False
    creator = "TrtnetTest"

    def __init__(self, alpha: Any = ALPHA, **more: Any) -> None:
        super().__init__(alpha=alpha, **more)
        self.weight = nn.Parameter(np.ones(3, np.float32))

    def shapes(self, x, weight):
        return x


class Shaped(Test):
    __test__ = False

    def shapes(self, x, weight):
        return (x.shape[0], 7), x.dtype


class Typed(Test):
    __test__ = False

    def shapes(self, x, weight):
        return x.shape, trtnet.int32


def lowered(provider: Provider, plugin: trtnet.Plugin, outputs: int = 1) -> tuple[Lowering, Network]:
    graph = trtnet.record(plugin, x=Input((2, 3)))
    network = Network(new_network(), outputs)
    return Lowering(graph, network, provider).run(), network


def test_what_is_available(provider, creator, monkeypatch):
    without = needs_rtx()
    monkeypatch.setattr(plugins.providers, "load", lambda name: provider)
    found = {one.name: one for one in trtnet.plugins.available()}
    assert found["TrtnetTest"].fields == {name: kind.lower() for name, kind in FIELDS.items()}
    assert str(found["TrtnetTest"]).startswith("TrtnetTest 1 (alpha: float32, count: int32")
    monkeypatch.setattr(plugins.providers, "load", lambda name: without)
    assert trtnet.plugins.available() == []
    with pytest.raises(trtnet.errors.ProviderError, match="has no plugins") as caught:
        trtnet.plugins.load("libmine.so")
    assert "def compose" in str(caught.value)


def test_fields_become_what_the_creator_asks_for(provider, creator):
    made = make(
        provider, alpha=2, count=3, flag=True, name="hello", table=TABLE, sizes=(4, 5), half=0.5, wide=1 << 40,
        short=np.array([1.5], ml_dtypes.bfloat16), free=0.25,
    )  # fmt: skip
    given = creator.given
    assert {name: (kind, size) for name, (kind, size, _) in given.items()} == {
        "alpha": ("FLOAT32", 1), "count": ("INT32", 1), "flag": ("INT8", 1), "name": ("CHAR", 5),
        "table": ("INT32", 6), "half": ("FLOAT16", 1), "wide": ("INT64", 1), "short": ("BF16", 1),
        "free": ("FLOAT32", 1), "sizes": ("DIMS", 1),
    }  # fmt: skip
    assert [given[n][2].tolist() for n in ("alpha", "count", "flag", "wide", "free")] == [
        [2],
        [3],
        [1],
        [1 << 40],
        [0.25],
    ]
    assert bytes(given["name"][2]) == b"hello"
    assert (given["table"][2] == TABLE).all()
    assert made.plugin.generation == 3
    assert made.needs["creator"] == "TrtnetTest"


def test_a_field_of_dims_is_laid_out_as_tensorrt_does(provider, creator):
    from trtnet.tensorrt.plugins import _dims

    class Dims64(ctypes.Structure):
        _fields_ = [("count", ctypes.c_int32), ("sizes", ctypes.c_int64 * 8)]

    wanted = PluginRequest("layer", "TrtnetTest", "1", "", "", (), ())
    array = _dims(provider, wanted, PluginField("sizes", "int", (4, 5, 6), (3,)))
    read = Dims64.from_buffer_copy(array.tobytes())
    assert (read.count, list(read.sizes)) == (3, [4, 5, 6, 0, 0, 0, 0, 0])
    assert array.nbytes == ctypes.sizeof(Dims64)
    make(provider, sizes=(4, 5))
    assert creator.given["sizes"][:2] == ("DIMS", 1)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("count", 0.5, "float: 0.5"),
        ("count", 1 << 31, f"int: {1 << 31}"),
        ("alpha", "one", "text: one"),
        ("alpha", np.float16(0.5), "float16: 0.5"),
        ("name", 3, "int: 3"),
        ("table", np.arange(2, dtype=np.int64), "int64: (0, 1)"),
        ("sizes", list(range(9)), "int: (0, 1, 2, 3, 4, 5, 6, 7, 8)"),
        ("flag", 200, "int: 200"),
    ],
)
def test_a_field_of_the_wrong_type(provider, creator, name, value, found):
    plugin = Test(0.5, **({} if name == "alpha" else {name: value}))
    if name == "alpha":
        plugin.alpha = value
    with pytest.raises(trtnet.errors.ArgumentTypeError, match=f"field '{name}' .* is of another type") as caught:
        lowered(provider, plugin)
    assert (caught.value.expected, caught.value.found) == (FIELDS[name].lower(), found)
    assert "trtnet.record(plugin, x=Input((2, 3)))" in str(caught.value)
    remedied = {"alpha": 1.0, "count": 1, "name": "x", "table": TABLE, "sizes": (1, 2), "flag": 1}[name]
    setattr(plugin, name, remedied)
    lowered(provider, plugin)


def test_a_field_that_the_creator_has_not(provider, creator):
    with pytest.raises(trtnet.errors.ArgumentError, match="has no field 'alhpa'") as caught:
        make(provider, alhpa=1)
    assert "did you mean 'alpha'?" in str(caught.value)


def test_a_creator_that_refuses(provider, creator):
    creator.refuses = True
    try:
        with pytest.raises(trtnet.errors.BuildError, match="refused these fields") as caught:
            make(provider, alpha=1)
        assert "alpha=(1,)" in str(caught.value)
    finally:
        creator.refuses = False


@pytest.mark.parametrize(
    ("name", "version", "expected", "remedy"),
    [
        ("TrtnetTset", "1", "available() shows", "did you mean 'TrtnetTest'?"),
        ("TrtnetTest", "2", "TrtnetTest 1", "give that version"),
        ("Nothing", "1", "available() shows", "trtnet.plugins.load(path)"),
    ],
)
def test_an_unknown_creator(provider, creator, name, version, expected, remedy):
    class Unknown(Test):
        __test__ = False

    Unknown.creator, Unknown.version = name, version
    with pytest.raises(trtnet.errors.ProviderError, match=f"has no plugin {name} of version {version}") as caught:
        lowered(provider, Unknown())
    assert expected in caught.value.expected
    assert remedy in caught.value.remedy
    assert "trtnet.record(plugin, x=Input((2, 3)))" in str(caught.value)


def test_both_generations_are_added_by_their_own_calls(provider, creator, monkeypatch):
    lowering, network = lowered(provider, Test())
    assert [(kind, count) for kind, count, _ in network.added] == [("v3", 2)]
    assert [layer.kind for layer in lowering.graph.layers] == ["constant", "plugin"]
    assert lowering.plugins == [
        {
            "creator": "TrtnetTest", "version": "1", "namespace": "", "library": None, "path": None, "sha256": None,
            "is_loadable": False,
        }
    ]  # fmt: skip
    monkeypatch.setattr(provider, "plugin_generation", lambda plugin: 2)
    assert [(kind, count) for kind, count, _ in lowered(provider, Test())[1].added] == [("v2", 2)]


def test_the_plugin_and_its_attributes_live_as_long_as_the_network(provider, creator):
    table = np.arange(1000, dtype=np.int32)
    lowering, network = lowered(provider, Test(table=table))
    alive = weakref.ref(network.added[0][2])
    network.added.clear()
    del network
    gc.collect()
    assert alive() is not None
    del lowering
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("plugin", "outputs", "problem", "expected", "found"),
    [
        (Shaped, 1, "another shape or type of output 0", "(2, 7) float32", "(2, 3) DataType.FLOAT"),
        (Typed, 1, "another shape or type of output 0", "(2, 3) int32", "(2, 3) DataType.FLOAT"),
        (Test, 2, "another number of outputs", "2, as the plugin itself says", "1: (2, 3)"),
    ],
)
def test_shapes_that_are_not_the_plugins_own(provider, creator, plugin, outputs, problem, expected, found):
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        lowered(provider, plugin(), outputs)
    assert (caught.value.expected, caught.value.found) == (expected, found)
    assert "x=Input((2, 3))" in str(caught.value)
    assert "shapes(" in caught.value.remedy


# --- libraries --------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, provider, monkeypatch):
    """A shared library that exports creators, as far as the loader sees; TensorRT's own loading registers one."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler to make a shared library with")
    source, path = tmp_path / "mine.c", tmp_path / "libmine.so"
    source.write_text("void* getPluginCreators(int* count) { *count = 0; return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    monkeypatch.setattr(plugins, "_libraries", {})
    monkeypatch.setattr(plugins.providers, "load", lambda name: provider)
    return path


@pytest.fixture
def registers(provider, creator, monkeypatch):
    """Have TensorRT's loading of a library register TrtnetTest, which is not there before."""
    loaded: list[str] = []
    before = provider.plugin_creators

    class Registry:
        def load_library(self, plugin_path: str) -> object:
            loaded.append(plugin_path)
            return object()

    def creators() -> list[Any]:
        return [one for one in before() if one.name != "TrtnetTest" or loaded]

    monkeypatch.setattr(provider, "plugin_registry", Registry())
    monkeypatch.setattr(provider, "plugin_creators", creators)
    registry = provider.trt.get_plugin_registry()
    before = lambda: list(registry.all_creators)  # noqa: E731
    monkeypatch.setattr(
        provider, "plugin_creator", lambda *key: next((c for c in creators() if c.name == key[0]), None)
    )
    return loaded


class Mine(Test):
    __test__ = False


def test_a_library_is_loaded_once_and_named_in_the_plan(library, provider, registers):
    assert [str(one).partition(" ")[0] for one in trtnet.plugins.load(library)] == ["TrtnetTest"]
    assert registers == [str(library)]
    assert [one.name for one in trtnet.plugins.load(library)] == ["TrtnetTest"]
    assert registers == [str(library)]
    Mine.library = "libmine.so"
    needs = lowered(provider, Mine())[0].plugins
    assert [(one["library"], one["path"], one["is_loadable"]) for one in needs] == [("libmine.so", str(library), True)]


def test_a_plugin_loads_its_library(library, provider, registers):
    Mine.library = library
    lowering, _ = lowered(provider, Mine())
    assert registers == [str(library)]
    assert lowering.plugins[0]["sha256"] == plugins._digest(library)
    Mine.library = library.with_name("libother.so")
    plugins._libraries.clear()
    with pytest.raises(trtnet.errors.ProviderError, match=r"libother.so of the plugin TrtnetTest is not there"):
        lowered(provider, Mine())


def test_a_plugin_without_its_library(provider, creator, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_libraries", {})
    Mine.library = "libnowhere.so"
    with pytest.raises(
        trtnet.errors.ProviderError, match=r"libnowhere.so of the plugin TrtnetTest is not there"
    ) as caught:
        lowered(provider, Mine())
    assert str(Path(__file__).parent / "libnowhere.so") in caught.value.found
    assert "trtnet.plugins.load('/path/to/libnowhere.so')" in caught.value.remedy
    assert "trtnet.record(plugin, x=Input((2, 3)))" in str(caught.value)
    monkeypatch.setattr(plugins.providers, "load", lambda name: provider)
    with pytest.raises(trtnet.errors.ProviderError, match="there is no plugin library at"):
        trtnet.plugins.load(tmp_path / "no.so")
    (tmp_path / "no.so").write_text("text")
    with pytest.raises(trtnet.errors.ProviderError, match="does not load"):
        trtnet.plugins.load(tmp_path / "no.so")


def test_a_library_that_registers_nothing(library, provider, creator):
    class Registry:
        def load_library(self, plugin_path: str) -> object:
            return object()

    original = provider.__dict__.get("plugin_registry")
    provider.__dict__["plugin_registry"] = _Reading(provider.trt.get_plugin_registry(), Registry().load_library)
    try:
        with pytest.raises(trtnet.errors.ProviderError, match="registered no plugin"):
            trtnet.plugins.load(library)
    finally:
        provider.__dict__["plugin_registry"] = original


class _Reading:
    """A registry that loads nothing."""

    def __init__(self, native: Any, load_library: Any) -> None:
        self.all_creators, self.load_library = list(native.all_creators), load_library


def test_the_librarys_digest_is_part_of_the_plan_caches_key(library, provider, registers):
    Mine.library = library
    lowering, _ = lowered(provider, Mine())
    keys = set()
    for sha256 in ("a" * 64, "b" * 64):
        lowering.plugins[0] = {**lowering.plugins[0], "sha256": sha256}
        keys.add(plan_key(lowering, BuildOptions(), provider, None, (), [plugins.digests(lowering.plugins)]))
    assert len(keys) == 2


def needed(place: Path, **changes: Any) -> dict[str, Any]:
    found = {
        "creator": "TrtnetTest", "version": "1", "namespace": "", "library": place.name, "path": str(place),
        "sha256": plugins._digest(place), "is_loadable": True, "in_plan": False,
    }  # fmt: skip
    return found | changes


def test_loading_a_plan_loads_its_library(library, provider, registers, tmp_path):
    plugins.require(provider, [needed(library, in_plan=True)])
    assert registers == []
    plugins.require(provider, [needed(library)])
    assert registers == [str(library)]
    plugins.require(provider, [needed(library)])
    assert registers == [str(library)]


def test_the_library_is_looked_for_beside_the_plan(library, provider, registers, tmp_path):
    folder = tmp_path / "plans"
    folder.mkdir()
    shutil.copy(library, folder)
    plugins.require(provider, [needed(library, path="/nowhere/libmine.so")], folder)
    assert registers == [str(folder / "libmine.so")]


def test_what_is_missing_is_named(library, provider, registers, monkeypatch):
    library.chmod(0o666)
    for changes, found in (
        ({"path": "/nowhere/libmine.so"}, "/nowhere/libmine.so: not there"),
        ({}, f"{library}: others can write to it"),
        ({"sha256": "0" * 64}, f"{library}: another build"),
    ):
        if "sha256" in changes:
            library.chmod(0o755)
        with pytest.raises(trtnet.errors.ProviderError, match="needs the plugin TrtnetTest 1, which is not") as caught:
            plugins.require(provider, [needed(library, **changes)])
        assert caught.value.found == found
        assert "trtnet.plugins.load('/path/to/libmine.so')" in caught.value.remedy
    assert registers == []
    trtnet.plugins.load(library)
    with pytest.warns(UserWarning, match="of another build than the plan was made with"):
        plugins.require(provider, [needed(library, sha256="0" * 64)])


def test_the_manifest_says_what_must_be_loaded(tmp_path):
    needs_rtx()
    plan = trtnet.build_plan(trtnet.record(lambda x: x + 1, x=Input((2,))), "sm86")
    assert "plugins" not in plan.manifest
    path = tmp_path / "libmine.so"
    path.write_bytes(b"library")
    other = dataclasses.replace(plan, plugins=(needed(path),))
    other.save(tmp_path / "net.engine")
    again = trtnet.Plan.load(tmp_path / "net.engine")
    assert again.plugins == (needed(path),)
    text = (tmp_path / "net.engine.json").read_text()
    (tmp_path / "net.engine.json").write_text(text.replace('"library": "libmine.so"', '"library": "libyours.so"'))
    with pytest.raises(trtnet.errors.WeightsError, match="something was changed"):
        trtnet.Plan.load(tmp_path / "net.engine")
