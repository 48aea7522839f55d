"""Plugins as a user writes them: shapes, attributes, parameters, reference, composition; without a TensorRT that has
them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F

torch = pytest.importorskip("torch")

ROWS = np.random.default_rng(0).standard_normal((3, 4), np.float32)
BATCH = Dim("batch", min=1, opt=3, max=8)


class Leaky(trtnet.Plugin):
    """A leaky ReLU, scaled for each column."""

    creator, version = "LeakyScaled", "2"

    def __init__(self, slope: float, offsets: Any = (0, 1)) -> None:
        super().__init__(slope=slope, offsets=offsets, mode="plain")
        self.weight = nn.Parameter(np.arange(1, 5, dtype=np.float32))

    def shapes(self, x, weight):
        return x

    def reference(self, x, weight):
        return torch.where(x > 0, x, x * self.slope) * weight + self.offsets[1]

    def compose(self, x, weight):
        return F.leaky_relu(x, self.slope) * weight + self.offsets[1]


class Composed(trtnet.Plugin):
    """Two outputs, of a composition alone."""

    def shapes(self, x):
        return [(x.shape[:1], trtnet.int32), (x.shape, x.dtype)]

    def compose(self, x):
        return x.argmax(1).to(trtnet.int32), F.relu(x)


class InNumPy(trtnet.Plugin):
    creator = "Cumulated"
    reference_in = "numpy"

    def shapes(self, x):
        return x

    def reference(self, x):
        assert isinstance(x, np.ndarray)
        return np.cumsum(x, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.op = Leaky(0.25)

    def forward(self, x):
        return self.op(self.head(x))


def leaky(x: np.ndarray, weight: np.ndarray, slope: float = 0.25) -> np.ndarray:
    return np.where(x > 0, x, x * slope) * weight + 1


def line_of(error: trtnet.TrtnetError) -> str:
    return str(error).partition("at:")[2]


@pytest.mark.parametrize("rows", [3, BATCH])
def test_the_reference_and_the_composition(rows):
    graph = trtnet.record(Leaky(0.25), x=Input((rows, 4)))
    wanted = leaky(ROWS, np.arange(1, 5))
    np.testing.assert_allclose(trtnet.reference(graph)(ROWS), wanted, rtol=1e-6)
    np.testing.assert_allclose(trtnet.reference(graph, dtype="float64")(ROWS), wanted, rtol=1e-6)
    composed = graph.for_provider(needs_rtx())
    assert "plugin" not in [layer.kind for layer in composed.layers]
    np.testing.assert_allclose(trtnet.reference(composed)(ROWS), wanted, rtol=1e-6)
    lower_and_compare(graph)


def test_what_is_recorded():
    graph = trtnet.record(Net(), x=Input((3, 4)))
    assert [layer.kind for layer in graph.layers] == ["fully_connected", "constant", "plugin"]
    assert list(graph.parameters) == ["head.weight", "head.bias", "op.weight"]
    layer = graph.layers[-1]
    assert (layer.path, layer.name) == ("op", "op/plugin")
    assert layer.location is not None
    assert layer.location.excerpt().startswith("return self.op(self.head(x))")
    assert repr(layer) == "Plugin(LeakyScaled 2, slope=0.25, offsets=(0, 1), mode='plain')"
    assert "plugin" in graph.summary()


def test_attributes_are_those_of_the_recording():
    offsets = np.array([0, 1])
    net = Leaky(0.25, offsets)
    graph = trtnet.record(net, x=Input((3, 4)))
    net.slope, offsets[1] = 9.0, 100
    np.testing.assert_allclose(trtnet.reference(graph)(ROWS), leaky(ROWS, np.arange(1, 5)), rtol=1e-6)
    again = trtnet.record(net, x=Input((3, 4)))
    assert again.structure_hash() != graph.structure_hash()
    assert again.layers[-1].fields[0].values == (9.0,)


def test_its_weights_refit_and_can_be_live():
    graph = trtnet.record(Net(), x=Input((3, 4)))
    needs_rtx()
    plan = trtnet.build_plan(graph, "sm86", refit=True)
    assert plan.refittable == {"op.weight", "head.weight", "head.bias"}
    assert dict(trtnet.build_plan(graph, "sm86", live="op.*").live) == {"op.weight": "op.weight"}
    engine = trtnet.build(graph, provider="reference", refit=True)
    before = engine(ROWS)
    engine.refit({"op.weight": np.zeros(4, np.float32)})
    assert (engine(ROWS) == 1).all()
    assert not (before == 1).all()


def test_several_outputs_of_a_composition_alone():
    graph = trtnet.record(Composed(), x=Input((BATCH, 4)))
    first, second = trtnet.reference(graph)(ROWS)
    assert (first == ROWS.argmax(1)).all()
    assert first.dtype == np.int32
    assert (second == np.maximum(ROWS, 0)).all()
    lower_and_compare(graph)


def test_a_reference_in_numpy():
    graph = trtnet.record(InNumPy(), x=Input((3, 4)))
    np.testing.assert_allclose(trtnet.reference(graph)(ROWS), np.cumsum(ROWS, 1), rtol=1e-6)


def test_training():
    module = trtnet.to_torch(trtnet.record(Net(), x=Input((BATCH, 4))))
    module(torch.from_numpy(ROWS)).sum().backward()
    assert module.op.weight.grad.abs().sum() > 0


def test_json_and_pickling():
    graph = trtnet.record(Net(), x=Input((BATCH, 4)))
    again = pickle.loads(pickle.dumps(graph))
    assert again.structure_hash() == graph.structure_hash()
    assert (trtnet.reference(again)(ROWS) == trtnet.reference(graph)(ROWS)).all()
    lower_and_compare(again)


def test_a_graph_of_another_process_needs_the_class(monkeypatch):
    from trtnet.layers import plugin

    graph = pickle.loads(pickle.dumps(trtnet.record(Leaky(0.25), x=Input((3, 4)))))
    monkeypatch.delitem(plugin.definitions, Leaky.definition())
    with pytest.raises(trtnet.errors.ProviderError, match="is not here: the graph came from a file") as caught:
        trtnet.reference(graph)(ROWS)
    assert f"import {__name__} before" in str(caught.value)

    class Other(trtnet.Plugin):
        def compose(self, x):
            return x

    monkeypatch.setitem(plugin.definitions, Leaky.definition(), Other)
    with pytest.raises(trtnet.errors.ProviderError, match="is not here") as caught:
        trtnet.reference(graph)(ROWS)
    assert "another class of that name" in str(caught.value)


def test_saved_for_the_reference(tmp_path):
    graph = trtnet.record(Net(), x=Input((3, 4)))
    engine = trtnet.build(graph, provider="reference", refit=True)
    engine.save(tmp_path / "net.engine")
    assert (trtnet.load(tmp_path / "net.engine")(ROWS) == engine(ROWS)).all()


def shaped(said: Any) -> trtnet.Plugin:
    class Shaped(trtnet.Plugin):
        creator = "Shaped"

        def shapes(self, x):
            return said(x) if callable(said) else said

    return Shaped()


@pytest.mark.parametrize("said", [None, (2, 3), lambda x: x.shape, [], lambda x: ((2, "a"), x.dtype)])
def test_shapes_that_say_nothing(said):
    op = shaped(said)
    with pytest.raises(
        trtnet.errors.ArgumentError, match=r"shapes (says no shape and dtype|names no output)"
    ) as caught:
        trtnet.record(lambda x: op(x), x=Input((2, 3)))
    assert "trtnet.record(lambda x: op(x)" in line_of(caught.value)


def test_types_that_no_plugin_has():
    op = shaped(lambda x: (x.shape, "float64"))
    with pytest.raises(trtnet.errors.DtypeError, match="TensorRT has no float64"):
        trtnet.record(lambda x: op(x), x=Input((2, 3)))
    op = shaped(lambda x: x)
    with pytest.raises(trtnet.errors.DtypeError, match="no uint8") as caught:
        trtnet.record(lambda x: op(x), x=Input((2, 3), "uint8"))
    assert "x.to(trtnet.int32)" in str(caught.value)
    trtnet.record(lambda x: op(x.to(trtnet.int32)), x=Input((2, 3), "uint8"))


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (None, "leave out what is None"),
        (nn.Parameter(np.ones(3, np.float32)), "set a Parameter after super().__init__()"),
        (Dim("n", max=4), "read in the plugin from its inputs' shapes"),
        ([], "give numbers, text or arrays"),
        (np.ones(2, np.complex64), "give numbers, text or arrays"),
    ],
)
def test_attributes_that_are_no_fields(value, remedy):
    class Wrong(trtnet.Plugin):
        def __init__(self, value):
            super().__init__(value=value)

    with pytest.raises(trtnet.errors.ArgumentTypeError, match="'value' of a plugin cannot become") as caught:
        Wrong(value)
    assert remedy in str(caught.value)
    assert "super().__init__(value=value)" in line_of(caught.value)


def test_names_that_a_plugin_has_itself():
    class Wrong(trtnet.Plugin):
        creator = "Wrong"

        def __init__(self):
            super().__init__(training=1)

    with pytest.raises(trtnet.errors.ArgumentError, match="'training' is a name that every plugin has itself"):
        Wrong()

    class Right(trtnet.Plugin):
        creator = "Right"

        def __init__(self):
            super().__init__()
            self.trains = 1

        def fields(self):
            return {**super().fields(), "training": self.trains}

        def shapes(self, x):
            return x

    layer = trtnet.record(Right(), x=Input((2,))).layers[-1]
    assert layer.fields == (("training", "int", (1,), ()),)


def test_neither_creator_nor_composition():
    class Nothing(trtnet.Plugin):
        def shapes(self, x):
            return x

    op = Nothing()
    with pytest.raises(trtnet.errors.ArgumentError, match="neither a creator nor a composition"):
        trtnet.record(lambda x: op(x), x=Input((2,)))


def test_what_is_no_tensor():
    op = Leaky(0.1)
    with pytest.raises(trtnet.errors.ArgumentTypeError, match="the plugin Leaky takes tensors") as caught:
        trtnet.record(lambda x: op(x, 3), x=Input((3, 4)))
    assert "a keyword of super().__init__" in str(caught.value)


def test_without_composition_there_is_none_for_a_tensorrt_without_plugins():
    needs_rtx()
    op = shaped(lambda x: x)
    graph = trtnet.record(lambda x: op(x), x=Input((2, 3)))
    with pytest.raises(
        trtnet.errors.ProviderError, match=r"this TensorRT has no plugins, and .* has no comp"
    ) as caught:
        trtnet.build_plan(graph, "sm86")
    assert "graph = trtnet.record(lambda x: op(x)" in line_of(caught.value)
    with pytest.raises(trtnet.errors.ProviderError, match="has no reference") as caught:
        trtnet.reference(graph)(np.ones((2, 3), np.float32))
    assert "check=False" in str(caught.value)


def test_a_composition_or_a_reference_of_another_shape():
    class Wrong(trtnet.Plugin):
        creator = "Wrong"

        def shapes(self, x):
            return (x.shape[0],), x.dtype

        def reference(self, x):
            return x

        def compose(self, x):
            return x

    op = Wrong()
    graph = trtnet.record(lambda x: op(x), x=Input((3, 4)))
    with pytest.raises(trtnet.errors.ShapeError, match=r"the reference of the plugin .* gives other shapes") as caught:
        trtnet.reference(graph)(ROWS)
    assert "make shapes() and reference() agree" in str(caught.value)
    with pytest.raises(
        trtnet.errors.ShapeError, match=r"the composition of the plugin .* gives other shapes"
    ) as caught:
        graph.for_provider(needs_rtx())
    assert "(3, 4) float32" in str(caught.value)


def test_a_reference_that_reads_a_parameter_of_the_object():
    class Stale(trtnet.Plugin):
        creator = "Stale"

        def __init__(self):
            super().__init__(slope=2.0)
            self.weight = nn.Parameter(np.ones(3, np.float32))

        def shapes(self, x, weight):
            return x

        def reference(self, x, weight):
            return x * self.weight

    graph = trtnet.record(Stale(), x=Input((2, 3)))
    with pytest.raises(trtnet.errors.NameNotFoundError, match="no attribute 'weight'") as caught:
        trtnet.reference(graph)(np.ones((2, 3), np.float32))
    assert "arguments of reference, after the inputs" in str(caught.value)


def test_init_that_was_not_called():
    class Forgot(trtnet.Plugin):
        creator = "Forgot"

        def __init__(self):
            nn.Module.__init__(self)

        def shapes(self, x):
            return x

    op = Forgot()
    with pytest.raises(trtnet.errors.ArgumentError, match="Forgot was not initialized"):
        trtnet.record(lambda x: op(x), x=Input((2,)))


def test_the_digest_of_a_class_without_source_knows_its_numbers():
    """As one typed at a prompt: classes that differ in a number alone are two."""

    def typed(number):
        names = {"trtnet": trtnet}
        text = f"class Typed(trtnet.Plugin):\n    creator = 'T'\n\n    def reference(self, x): return x * {number}\n"
        exec(compile(text, "<prompt>", "exec"), names)
        return names["Typed"].digest()

    assert typed(2) == typed(2)
    assert typed(2) != typed(3)


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ({"shapes": lambda self: 1}, "shapes is called with other arguments"),
        ({"shapes": lambda self, x: x, "reference": lambda self: 1}, "reference is called with other arguments"),
        ({"shapes": lambda self, x: x, "compose": lambda self, x, y: x}, "compose is called with other arguments"),
        ({"shapes": lambda self, x: ((-1, 3), x.dtype)}, "says no shape and dtype"),
    ],
)
def test_methods_that_do_not_fit(methods, problem):
    op = type("Odd", (trtnet.Plugin,), {"creator": "Odd", **methods})()
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        trtnet.record(lambda x: op(x), x=Input((2, 3)))
    assert caught.value.where.file == __file__
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (lambda self, x: None, r"gives other shapes(.|\n)*found: +None"),
        (lambda self, x: {1 // 0}, r"raised ZeroDivisionError(.|\n)*own traceback"),
    ],
)
def test_a_reference_that_fails(reference, problem):
    methods = {"creator": "Odd", "shapes": lambda self, x: x, "reference": reference}
    op = type("Odd", (trtnet.Plugin,), methods)()
    graph = trtnet.record(lambda x: op(x), x=Input((2, 3)))
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        trtnet.reference(graph)(np.ones((2, 3), np.float32))
    assert caught.value.where.file == __file__
