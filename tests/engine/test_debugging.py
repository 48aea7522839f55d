"""Tensors inside that are shown while an engine runs. TensorRT's side of it: `tests/tensorrt_/test_conformity.py`."""

from __future__ import annotations

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, EngineError
from trtnet.pytorch.engine import ReferenceEngine
from trtnet.rewriting.extra_outputs import DebugTensors

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


class Net(nn.Module):
    """A block in which two paths have one tensor, and one whose tensor is the output."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.block = nn.Sequential(nn.ReLU(), nn.Linear(5, 6))
        self.head = nn.Softmax(1)

    def forward(self, x):
        return self.head(self.block(self.first(x)))


def graph(net=None):
    return trtnet.record(net or Net(), x=Input((Dim("batch", 1, 3, 8), 4)))


def built(graph, tensors="*", **options):
    return trtnet.build(graph, provider="reference", debug_tensors=tensors, **options)


def heard(engine, tensors="*"):
    found = []
    engine.set_debug_listener(lambda path, array: found.append((path, array)), tensors)
    return found


@pytest.mark.parametrize("batch", [1, 3])
def test_what_is_shown_is_what_extra_outputs_give(batch):
    net = graph()
    x = X[:batch]
    wanted = trtnet.build(net, provider="reference", extra_outputs="*")(x)
    engine = built(net)
    found = heard(engine)
    assert np.array_equal(engine(x), wanted["output"])
    assert {path for path, _ in found} == {"first", "block", "block.0", "block.1", "head"} == set(engine.debug_tensors)
    assert len(found) == 5
    for path, array in found:
        assert np.array_equal(array, wanted[path]), path
        array[:] = np.nan  # the listener's own
    arrays = [array for _, array in found]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    assert np.array_equal(engine(x), wanted["output"])


def test_patterns_choose_and_none_ends_it():
    engine = built(graph(), ["first", "block.*"])
    assert engine.debug_tensors == ("first", "block.0", "block.1")
    found = heard(engine, "block.*")
    engine(X)
    assert [path for path, _ in found] == ["block.0", "block.1"]
    other = heard(engine, ["first"])
    engine(X)
    assert (len(found), [path for path, _ in other]) == (2, ["first"])
    engine.set_debug_listener(None)
    engine(X)
    assert len(other) == 1


def test_contexts_bound_calls_and_both_engines_of_a_hot_swap_are_heard():
    torch = pytest.importorskip("torch")
    with trtnet.HotSwap(built(graph(), "first", refit=True)) as engine:
        context, bound = engine.context(), engine.bind(torch.from_numpy(X))
        found = heard(engine)
        context(X)
        bound()
        engine.refit({"first.bias": np.ones(5, np.float32)})
        engine(X)
        context(X)
        assert [path for path, _ in found] == ["first"] * 4
        assert engine.debug_tensors == context.debug_tensors == ("first",)
        assert np.allclose(found[2][1] - found[0][1], 1 - np.array(engine.clone().graph.state_dict()["first.bias"]))


def test_a_clone_and_a_loaded_engine_can_show_them_and_have_no_listener(tmp_path):
    engine = built(graph(), ["first", "head"])
    found = heard(engine)
    path = engine.save(tmp_path / "net.engine")
    for other in (engine.clone(), trtnet.load(path)):
        other(X)
        assert not found
        assert other.debug_tensors == ("first", "head")
        again = heard(other)
        other(X)
        assert [path for path, _ in again] == ["first", "head"]


def test_types_are_the_recorded_ones():
    class Types(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.Linear(4, 5).half()

        def forward(self, x):
            return self.small(x.to(trtnet.float16)).argmax(1)

    net = trtnet.record(Types(), x=Input((3, 4)))
    for dtype in (None, "float64"):
        engine = ReferenceEngine(net, dtype=dtype, debug=DebugTensors.at(net, "small"))
        found = heard(engine)
        engine(X)
        assert found[0][1].dtype == np.float16


def test_what_the_listener_raises_the_call_raises():
    engine = built(graph(), "first")
    engine.set_debug_listener(lambda path, array: {}[path])
    with pytest.raises(KeyError, match="first"):
        engine(X)
    engine.set_debug_listener(None)
    assert engine(X).shape == (3, 6)


def test_what_cannot_be_heard_is_refused():
    engine = built(graph(), ["first"])
    with pytest.raises(ArgumentError, match=r"no debug tensor of this engine is 'head'\n  expected: first"):
        engine.set_debug_listener(print, "head")
    with pytest.raises(ArgumentTypeError, match=r"function of a module path and an array\n.*\n  found:    dict"):
        engine.set_debug_listener({})
    with pytest.raises(ArgumentError, match="no layer was recorded in a module 'heads'"):
        built(graph(), ["heads"])
    with pytest.raises(ArgumentError, match="expected: an engine that was built with debug_tensors="):
        trtnet.reference(graph()).set_debug_listener(print)
    engine.close()
    with pytest.raises(EngineError, match="it was closed"):
        engine.set_debug_listener(print)


def test_a_path_that_is_the_name_of_an_output_does_not_take_its_place():
    class Output(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(4, 5)

        def forward(self, x):
            return self.output(x).relu()

    engine = built(trtnet.record(Output(), x=Input((3, 4))), "output")
    found = heard(engine)
    out = engine(X)
    assert np.array_equal(out, np.maximum(found[0][1], 0))
    assert (found[0][1] < 0).any()


@pytest.mark.parametrize("debug_tensors", [["first"], ["first", "block", "block.1", "head"]])
def test_tensorrt_compiles_them(debug_tensors):
    needs_rtx()
    plain = trtnet.build_plan(graph(), "sm86")
    plan = trtnet.build_plan(graph(), "sm86", debug_tensors=debug_tensors)
    assert plan.options["debug_tensors"]["first"] == ("first",)
    assert bytes(plan) != bytes(plain)
    assert list(plan.graph.outputs) == ["output"]
    assert trtnet.build_plan(graph(), "sm86", unfused_tensors_as_debug_tensors=True).data


def test_a_closed_engine_says_whose_line_used_it() -> None:
    engine = trtnet.build(trtnet.record(nn.Linear(3, 4), input=Input((2, 3))), provider="reference")
    clone = engine.clone()
    engine.close()
    acts = {
        "inspect": engine.inspect,
        "set_debug_listener": lambda: engine.set_debug_listener(None),
        "parameters": engine.parameters,
        "snapshot": engine.snapshot,
        "clone": engine.clone,
        "refit": lambda: engine.refit({}),
        "profile": lambda: engine.profile(np.zeros((2, 3), np.float32)),
        "call": lambda: engine(np.zeros((2, 3), np.float32)),
    }
    for name, act in acts.items():
        with pytest.raises(EngineError) as caught:
            act()
        assert caught.value.where is not None, name
        assert caught.value.where.file == __file__, name
    assert clone(np.zeros((2, 3), np.float32)).shape == (2, 4)


class OnADevice:
    """An array of another library's, with DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        import torch

        self.tensor = torch.from_numpy(array)
        self.shape, self.dtype = array.shape, array.dtype
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": array.dtype.str, "version": 3}

    def __dlpack__(self, **options: object) -> object:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_profiles_show_no_tensors_and_take_arrays_of_a_device() -> None:
    graph = trtnet.record(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), input=Input((2, 3)))
    engine = trtnet.build(graph, provider="reference", debug_tensors=["0"])
    seen: list[str] = []
    engine.set_debug_listener(lambda path, array: seen.append(path))
    x = np.zeros((2, 3), np.float32)
    engine.profile(x)
    assert seen == ["0"], "of the call that sets up"
    assert engine.profile(OnADevice(x)).layers
    assert engine.clone().profile(x).layers
    assert len(seen) == 2, "a clone has no listener"
