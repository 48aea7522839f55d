"""record: what a module's forward becomes, and what it refuses."""

from __future__ import annotations

import asyncio
import copy
import math
import re
import threading
import types
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from harness import lower_and_compare
from threads import at_once

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, TrtnetError, UnsupportedError
from trtnet.graph.tensor import current_recorder

SOURCE = Path(__file__).read_text().splitlines()


def line(mark: str) -> int:
    """The number of the line of this file that ends in `# <mark>`."""
    (number,) = (i for i, text in enumerate(SOURCE, 1) if text.endswith(f"# {mark}"))
    return number


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv(x)) + x  # block


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, 5)

    def forward(self, image):
        x = self.blocks(self.stem(image))
        return self.head(x.mean((2, 3)))


def record_net(**kwargs):
    return trtnet.record(Net(), image=Input((2, 3, 8, 8)), **kwargs)


# --- names, paths, lines ----------------------------------------------------------------------------------------------


def test_layers_carry_the_path_of_their_module():
    graph = record_net()
    convolutions = [layer.path for layer in graph.layers if layer.kind == "convolution"]
    assert convolutions == ["stem", "blocks.0.conv", "blocks.1.conv"]
    assert [layer.path for layer in graph.layers if layer.kind == "activation"] == ["blocks.0", "blocks.1"]
    assert graph.layers[-1].path == "head"
    assert [layer.path for layer in graph.layers if layer.kind == "reduce"] == [""]


def test_layer_names_are_unique_and_begin_with_the_path():
    graph = record_net()
    names = [layer.name for layer in graph.layers]
    assert len(set(names)) == len(names)
    for layer in graph.layers:
        assert layer.name.startswith(f"{layer.path}/{layer.kind}" if layer.path else layer.kind)
    assert "stem/convolution" in names
    assert "blocks.1.conv/convolution" in names


def test_many_layers_of_one_kind_get_numbers():
    def chain(x):
        for _ in range(50):
            x = F.relu(x)
        return x

    graph = trtnet.record(chain, x=Input((2,)))
    assert [layer.name for layer in graph.layers][:3] == ["activation", "activation_1", "activation_2"]
    assert len({layer.name for layer in graph.layers}) == 50


def test_a_number_behind_a_name_never_meets_a_name_that_ends_in_it():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("a", nn.ReLU())

        def forward(self, x):
            recorder = x.recorder
            made = [
                recorder.unique("n"),
                recorder.unique("n_1"),
                recorder.unique("n"),
                recorder.unique("n"),
                recorder.unique("n_1"),
            ]
            assert len(set(made)) == 5, made
            return self.a(x)

    trtnet.record(Twice(), x=Input((2,)))


def test_every_layer_knows_the_users_file_and_line():
    graph = record_net()
    adds = [layer for layer in graph.layers if layer.kind == "elementwise" and layer.path.startswith("blocks")]
    assert len(adds) == 2
    for layer in adds:
        assert layer.location.file == __file__
        assert layer.location.line == line("block")
        assert layer.location.function == "forward"
        assert str(layer.location) == f"{__file__}:{line('block')}"
    # modules of trtnet.nn record in trtnet; what counts is where the user called them
    convolution = next(layer for layer in graph.layers if layer.path == "blocks.0.conv")
    assert convolution.location.line == line("block")


def test_the_excerpt_underlines_the_expression():
    graph = record_net()
    add = next(layer for layer in graph.layers if layer.kind == "elementwise" and layer.path.startswith("blocks"))
    activation = next(layer for layer in graph.layers if layer.kind == "activation")
    text, marks = add.location.excerpt().split("\n")
    assert text == "return F.relu(self.conv(x)) + x  # block"
    assert underlined(text, marks) == "F.relu(self.conv(x)) + x"
    assert underlined(*activation.location.excerpt().split("\n")) == "F.relu(self.conv(x))"


def underlined(text, marks):
    start = len(marks) - len(marks.lstrip())
    assert set(marks.strip()) == {"^"}
    return text[start : len(marks)]


def test_underlining_counts_characters_where_the_line_is_not_ascii():
    def forward(x):
        größe = "ü"
        return F.softmax(F.relu(x), 1) if größe else x  # umlaut

    graph = trtnet.record(forward, x=Input((2, 3)))
    assert graph.layers[0].location.line == line("umlaut")
    assert underlined(*graph.layers[0].location.excerpt().split("\n")) == "F.relu(x)"


def test_a_call_over_several_lines_has_the_line_where_it_begins():
    def forward(x):
        return F.softmax(  # several lines
            x,
            dim=1,
        )

    graph = trtnet.record(forward, x=Input((2, 3)))
    assert {layer.location.line for layer in graph.layers} == {line("several lines")}


def test_code_without_a_file_records_all_the_same():
    scope = {"F": F}
    exec(compile("def forward(x):\n    return F.relu(x)", "<notebook>", "exec"), scope)
    layer = trtnet.record(scope["forward"], x=Input((2,))).layers[0]
    assert (layer.location.file, layer.location.line, layer.location.excerpt()) == ("<notebook>", 2, "")


def test_an_error_names_path_line_and_excerpt():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ModuleList([nn.Conv2d(4, 4, 3)])

        def forward(self, x):
            return self.inner[0](x)  # wrong channels

    with pytest.raises(ShapeError) as caught:
        trtnet.record(Wrong(), x=Input((1, 3, 8, 8)))
    error = caught.value
    assert error.module == "inner.0 (Conv2d)"
    assert (error.where.file, error.where.line) == (__file__, line("wrong channels"))
    assert "return self.inner[0](x)" in str(error)
    assert re.search(r"\n +return self\.inner\[0\]\(x\).*\n +\^{16}\n", str(error))


def test_layers_outside_any_module_of_the_network_are_named_after_its_class():
    helper = nn.ReLU()

    class Uses(nn.Module):
        def forward(self, x):
            return helper(x)

    graph = trtnet.record(Uses(), x=Input((2,)))
    assert [layer.path for layer in graph.layers] == ["ReLU"]


def test_the_path_is_back_after_a_module_raised():
    class Bad(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad = Bad()

        def forward(self, x):
            try:
                self.bad(x)
            except ValueError:
                return F.relu(x)

    graph = trtnet.record(Outer(), x=Input((2,)))
    assert graph.layers[0].path == ""


def test_a_users_own_exception_comes_through_unchanged():
    def forward(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trtnet.record(forward, x=Input((2,)))
    assert current_recorder.get() is None


# --- re-entrant, threads, tasks ---------------------------------------------------------------------------------------


def test_record_inside_record():
    inner_graphs = []

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            y = self.a(x)
            inner_graphs.append(trtnet.record(nn.Linear(3, 2), input=Input((5, 3))))
            return F.relu(y)

    outer = trtnet.record(Outer(), x=Input((2, 4)))
    (inner,) = inner_graphs
    assert [layer.path for layer in outer.layers] == ["a", ""]
    assert [layer.path for layer in inner.layers] == [""]
    assert inner.outputs["output"].shape == (5, 2)
    assert outer.outputs["output"].shape == (2, 4)


def test_a_failed_inner_record_leaves_the_outer_one_alone():
    def outer(x):
        with pytest.raises(ShapeError):
            trtnet.record(nn.Linear(3, 2), input=Input((5, 4)))
        return F.relu(x)

    assert len(trtnet.record(outer, x=Input((2,))).layers) == 1


def names_and_shapes(graph):
    return [(layer.name, layer.path, layer.kind, [tuple(t.shape) for t in layer.outputs]) for layer in graph.layers]


def test_eight_threads_record_at_once():
    net = Net()
    expected = {size: names_and_shapes(trtnet.record(net, image=Input((size, 3, 8, 8)))) for size in range(1, 9)}
    found = {}
    barrier = threading.Barrier(8)

    def work(size):
        barrier.wait()
        for _ in range(10):
            found[size] = names_and_shapes(trtnet.record(net, image=Input((size, 3, 8, 8))))

    at_once(work, range(1, 9))
    assert found == expected


def test_a_thread_started_in_forward_has_no_recording():
    seen = []

    def forward(x):
        thread = threading.Thread(target=lambda: seen.append(error_of(lambda: F.relu(x))))
        thread.start()
        thread.join()
        return F.relu(x)

    assert len(trtnet.record(forward, x=Input((2,))).layers) == 1
    assert "outside its recording" in str(seen[0])


def error_of(call):
    try:
        call()
    except TrtnetError as error:
        return error


def test_asyncio_tasks_record_each_for_themselves():
    async def one(size):
        class Steps(nn.Module):
            def forward(self, x):
                return F.relu(F.relu(x))

        await asyncio.sleep(0)
        graph = trtnet.record(Steps(), x=Input((size,)))
        await asyncio.sleep(0)
        return graph

    async def every():
        return await asyncio.gather(*(one(size) for size in range(1, 6)))

    graphs = asyncio.run(every())
    assert [g.outputs["output"].shape for g in graphs] == [(n,) for n in range(1, 6)]
    assert [len(g.layers) for g in graphs] == [2] * 5


# --- training ---------------------------------------------------------------------------------------------------------


def test_training_is_false_while_recording_and_as_it_was_afterwards():
    seen = []

    class Net(nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return F.relu(x)

    net = Net()
    assert net.training
    trtnet.record(net, x=Input((2,)))
    assert seen == [False]
    assert net.training


# --- arguments --------------------------------------------------------------------------------------------------------


def test_inputs_are_in_forwards_order_whatever_the_keywords_order():
    def forward(a, b, c):
        return a - b * c

    graph = trtnet.record(forward, c=Input((3,)), a=Input((3,)), b=Input((3,)))
    assert list(graph.inputs) == ["a", "b", "c"]
    a, b, c = (np.asarray(v, np.float32) for v in ([1, 2, 3], [4, 5, 6], [7, 8, 9]))
    np.testing.assert_array_equal(trtnet.reference(graph)(a, b, c), a - b * c)


def test_defaults_may_be_left_out():
    class Net(nn.Module):
        def forward(self, x, mask=None, scale=2.0):
            assert mask is None
            return x * scale

    graph = trtnet.record(Net(), x=Input((2,)))
    assert list(graph.inputs) == ["x"]
    np.testing.assert_array_equal(trtnet.reference(graph)(np.ones(2, np.float32)), [2, 2])


def test_an_optional_input_may_be_given():
    class Net(nn.Module):
        def forward(self, x, mask=None):
            return x if mask is None else x * mask

    graph = trtnet.record(Net(), mask=Input((2,)), x=Input((2,)))
    assert list(graph.inputs) == ["x", "mask"]


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "mean"])
def test_plain_values_reach_forward_as_they_are(value):
    seen = []

    def forward(x, option):
        seen.append(option)
        return F.relu(x)

    graph = trtnet.record(forward, x=Input((2,)), option=value)
    assert seen == [value]
    assert type(seen[0]) is type(value)
    assert list(graph.inputs) == ["x"]


def test_keyword_only_and_variable_keywords():
    def forward(x, *, y, **more):
        return x + y + more["z"]

    graph = trtnet.record(forward, x=Input((2,)), z=Input((2,)), y=Input((2,)))
    assert list(graph.inputs) == ["x", "y", "z"]


def test_functions_lambdas_partials_and_callables_are_recorded():
    import functools

    class Callable:
        def __call__(self, x):
            return F.relu(x)

    for function in (lambda x: F.relu(x), functools.partial(F.softmax, dim=0), Callable(), Net().blocks[0].forward):
        shape = (1, 4, 2, 2) if isinstance(function, types.MethodType) else (2,)
        name = "input" if isinstance(function, functools.partial) else "x"
        assert trtnet.record(function, **{name: Input(shape)}).layers


@pytest.mark.parametrize("name", ["graph", "stream", "out"])
def test_reserved_names(name):
    scope = {"F": F}
    exec(f"def forward({name}):\n    return F.relu({name})", scope)
    with pytest.raises(ArgumentError, match=f"'{name}' cannot be the name of an input") as caught:
        trtnet.record(scope["forward"], **{name: Input((2,))})
    assert caught.value.remedy
    # a plain value of that name is no input
    exec(f"def forward(x, {name}):\n    return F.relu(x)", scope)
    trtnet.record(scope["forward"], x=Input((2,)), **{name: 3})


def test_missing_and_unknown_arguments():
    with pytest.raises(ArgumentTypeError, match="missing a required argument: 'image'") as caught:
        trtnet.record(Net())
    assert "image" in caught.value.expected
    assert caught.value.found == "no inputs"
    with pytest.raises(ArgumentTypeError, match="do not fit forward") as caught:
        trtnet.record(Net(), picture=Input((1, 3, 8, 8)))  # picture
    assert (caught.value.expected, caught.value.found) == ("image", "picture")
    assert caught.value.where.line == line("picture")
    with pytest.raises(ArgumentTypeError, match="unexpected keyword argument 'more'"):
        trtnet.record(Net(), image=Input((1, 3, 8, 8)), more=Input((2,)))


def relu_of_torch(x):
    return torch.relu(x)  # called with ours


def wrapped_relu_of_torch(x):
    return torch.nn.functional.relu(x)  # written in Python


@pytest.mark.parametrize(
    ("function", "mark"), [(relu_of_torch, "called with ours"), (wrapped_relu_of_torch, "written in Python")]
)
def test_a_function_of_torchs_is_refused_at_the_line_that_calls_it(function, mark):
    with pytest.raises(ArgumentTypeError, match="a function of torch's was called") as caught:
        trtnet.record(function, x=Input((2, 3)))
    assert (caught.value.where.file, caught.value.where.line) == (__file__, line(mark))


@pytest.mark.parametrize(
    ("function", "meant"),
    [
        (lambda x: F.softmax(x, axis=1), "dim"),
        (lambda x: x.sum(1, keepdims=True), "keepdim"),
        (lambda x: F.softmax(x, 1, dtyp=trtnet.float32), "dtype"),
    ],
)
def test_the_argument_that_was_meant_is_named(function, meant):
    with pytest.raises(ArgumentTypeError, match="unexpected keyword argument") as caught:
        trtnet.record(function, x=Input((2, 3)))
    assert caught.value.remedy == f"did you mean {meant!r}?"


@pytest.mark.parametrize("value", [np.ones(3, np.float32), (2, 3), [1], {"a": 1}, object()])
def test_what_is_no_input_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="record takes Inputs, and 'x' is none") as caught:
        trtnet.record(lambda x: F.relu(x), x=value)
    assert "Input(" in caught.value.remedy


@pytest.mark.parametrize("module", [None, 3, "LeNet", [nn.ReLU()]])
def test_what_cannot_be_recorded(module):
    with pytest.raises(ArgumentTypeError, match="only a module or a function can be recorded"):
        trtnet.record(module, x=Input((2,)))


def test_a_class_in_place_of_a_module():
    with pytest.raises(ArgumentTypeError, match="class") as caught:
        trtnet.record(Net, image=Input((1, 3, 8, 8)))
    assert "Net(...)" in caught.value.remedy


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((2, -1), "float32", ShapeError),
        ((2, 3.0), "float32", ShapeError),
        ((True,), "float32", ShapeError),
        ((None, 3), "float32", ShapeError),
        ("ab", "float32", ShapeError),
        (None, "float32", ShapeError),
        (2.5, "float32", ShapeError),
        ((1,) * 9, "float32", ShapeError),
        ((2,), "float64", DtypeError),
        ((2,), "int16", DtypeError),
        ((2,), "floaty", DtypeError),
        ((2,), "complex64", DtypeError),
    ],
)
def test_input_refuses(shape, dtype, kind):
    with pytest.raises(kind) as caught:
        Input(shape, dtype)  # input refuses
    assert caught.value.where.line == line("input refuses")
    assert caught.value.expected
    assert caught.value.found is not None


def test_input_takes_sizes_and_dtypes_of_every_kind():
    torch = pytest.importorskip("torch")
    batch = Dim("batch", min=1, max=4)
    assert Input(3).shape == (3,)
    assert Input(batch).shape == (batch,)
    assert Input([np.int64(2), batch * 2]).shape == (2, batch * 2)
    assert Input(torch.Size([2, 3])).shape == (2, 3)
    for dtype in ("float16", np.float16, torch.float16, trtnet.float16, np.dtype("float16")):
        assert Input((2,), dtype).dtype is trtnet.float16
    assert Input(()).shape == ()


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_the_three_forms_of_a_result():
    one = trtnet.record(lambda x: F.relu(x), x=Input((2,)))
    several = trtnet.record(lambda x: (F.relu(x), F.sigmoid(x)), x=Input((2,)))
    listed = trtnet.record(lambda x: [F.relu(x)], x=Input((2,)))
    named = trtnet.record(lambda x: {"a": F.relu(x), "b": F.sigmoid(x)}, x=Input((2,)))
    assert (one.form, list(one.outputs)) == ("one", ["output"])
    assert (several.form, list(several.outputs)) == ("tuple", ["output_0", "output_1"])
    assert (listed.form, list(listed.outputs)) == ("tuple", ["output_0"])
    assert (named.form, list(named.outputs)) == ("dict", ["a", "b"])
    x = np.array([-1, 2], np.float32)
    assert trtnet.reference(one)(x).tolist() == [0, 2]
    result = trtnet.reference(several)(x)
    assert type(result) is tuple
    assert len(result) == 2
    assert type(trtnet.reference(listed)(x)) is tuple
    assert list(trtnet.reference(named)(x)) == ["a", "b"]
    assert one.outputs["output"].name == "output"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda x: None, "NoneType"),
        (lambda x: (F.relu(x), (F.relu(x), 2.0)), "float for 'output_1_1'"),
        (lambda x: {"a": {"b": "text"}}, "str for 'a_b'"),
        (lambda x: {"a": {1: F.relu(x)}}, "1"),
        (lambda x: (F.relu(x), x.shape), "Size for 'output_1'"),
        (lambda x: 3.0, "float"),
        (lambda x: "abc", "str"),
        (lambda x: {1: F.relu(x)}, "1"),
    ],
)
def test_outputs_that_are_no_tensors_are_refused(make, found):
    with pytest.raises(ArgumentTypeError) as caught:
        trtnet.record(make, x=Input((2,)))
    assert found in caught.value.found
    assert "tensor" in caught.value.expected
    assert caught.value.remedy


NESTED = {
    "tuples": (lambda x: (F.relu(x), (x + 1, [x + 2, None])), ["output_0", "output_1_0", "output_1_1_0"]),
    "dicts": (lambda x: {"a": {"b": F.relu(x), "c": None}, "d": (x + 1, x + 2)}, ["a_b", "d_0", "d_1"]),
    "empty": (lambda x: (F.relu(x), (), {"a": x + 1, "b": [x + 2]}), ["output_0", "output_2_a", "output_2_b_0"]),
}  # fmt: skip


def shape_of(value):
    """The form of a value, with its numbers in place of arrays."""
    if isinstance(value, dict):
        return {key: shape_of(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(shape_of, value))
    return value if value is None else value.tolist()


@pytest.mark.parametrize("name", NESTED)
def test_nested_outputs(name, tmp_path):
    make, names = NESTED[name]
    graph = trtnet.record(make, x=Input((2,)))
    assert list(graph.outputs) == names
    x = np.array([-1, 2], np.float32)
    wanted = {
        "tuples": ([0, 2], ([0, 3], ([1, 4], None))),
        "dicts": {"a": {"b": [0, 2], "c": None}, "d": ([0, 3], [1, 4])},
        "empty": ([0, 2], (), {"a": [0, 3], "b": ([1, 4],)}),
    }[name]
    trtnet.reference(graph).save(tmp_path / "net.fp32.engine")
    for engine in (trtnet.reference(graph), trtnet.load(tmp_path / "net.fp32.engine", provider="reference")):
        out = engine(x)
        assert shape_of(out) == wanted
        assert shape_of(engine(-x)) != wanted
        assert shape_of(engine(x, out=out)) == wanted
        with pytest.raises(ArgumentTypeError, match="out has not the form"):
            engine(x, out=(out,))
    assert shape_of(trtnet.to_torch(graph)(torch.from_numpy(x))) == wanted
    flat = trtnet.record(lambda x: (x + 1, x + 2, F.relu(x)), x=Input((2,)))
    assert flat.structure_hash() != graph.structure_hash()


def test_nested_outputs_of_one_name():
    with pytest.raises(ArgumentError, match="two outputs would have the same name 'a_0'") as caught:
        trtnet.record(lambda x: {"a_0": x + 1, "a": (x + 2,)}, x=Input((2,)))
    assert caught.value.where.file == __file__
    assert "rename the key" in caught.value.remedy
    assert list(trtnet.record(lambda x: {"a_0": x + 1, "b": (x + 2,)}, x=Input((2,))).outputs) == ["a_0", "b_0"]


@pytest.mark.parametrize("empty", [(), [], {}])
def test_an_empty_network(empty):
    with pytest.raises(ArgumentError, match="empty network"):
        trtnet.record(lambda x: empty, x=Input((2,)))


def test_a_network_without_inputs():
    with pytest.raises(ArgumentError, match="a network needs an input"):
        trtnet.record(lambda: trtnet.ones(3))


@pytest.mark.parametrize("size", [2, Dim("batch", min=1, opt=2, max=4)])
def test_an_output_that_is_an_input(size):
    graph = trtnet.record(lambda x, y: (x, y * 2, y, x), x=Input((size,), "uint8"), y=Input((size, 3)))
    assert [layer.kind for layer in graph.layers] == ["constant", "elementwise", "identity", "identity", "identity"]
    lower_and_compare(graph)
    x, y = np.array([1, 255], np.uint8), np.ones((2, 3), np.float32)
    for found, wanted in zip(trtnet.reference(graph)(x, y), (x, y * 2, y, x), strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_none_among_the_outputs(tmp_path):
    x = np.array([-1, 2], np.float32)
    several = trtnet.record(lambda x: (F.relu(x), None, -x, None), x=Input((2,)))
    named = trtnet.record(lambda x: {"loss": None, "logits": F.relu(x)}, x=Input((2,)))
    assert (list(several.outputs), list(named.outputs)) == (["output_0", "output_2"], ["logits"])
    assert several.structure_hash() != trtnet.record(lambda x: (F.relu(x), -x), x=Input((2,))).structure_hash()
    for graph in (several, named):
        trtnet.reference(graph).save(tmp_path / "net.fp32.engine")
        for engine in (trtnet.reference(graph), trtnet.load(tmp_path / "net.fp32.engine", provider="reference")):
            out = engine(x)
            again = engine(x, out=out)
            for found in (out, again):
                if graph is named:
                    assert list(found) == ["loss", "logits"]
                    assert found["loss"] is None
                    assert found["logits"].tolist() == [0, 2]
                else:
                    assert isinstance(found, tuple)
                    assert [v if v is None else v.tolist() for v in found] == [[0, 2], None, [1, -2], None]
        with pytest.raises(TypeError, match="out has not the form"):
            trtnet.reference(graph)(x, out=[x])
    assert trtnet.to_torch(several)(torch.from_numpy(x))[1] is None

    class Model(nn.Module):
        def forward(self, x):
            return x + 1, None

    assert Model()(trtnet.ones(2))[1] is None
    with pytest.raises(ArgumentError, match="returned no tensor"):
        trtnet.record(lambda x: (None, None), x=Input((2,)))


def test_an_output_named_as_an_input():
    with pytest.raises(ArgumentError, match="same name 'x'") as caught:
        trtnet.record(lambda x: {"x": F.relu(x)}, x=Input((2,)))
    assert caught.value.found == "x"


def test_an_output_without_a_name():
    with pytest.raises(ArgumentError, match="name"):
        trtnet.record(lambda x: {"": F.relu(x)}, x=Input((2,)))


def test_one_tensor_returned_twice_makes_two_outputs():
    def forward(x):
        y = F.relu(x)
        return y, y

    graph = trtnet.record(forward, x=Input((2,)))
    assert [layer.kind for layer in graph.layers] == ["activation", "identity"]
    first, second = trtnet.reference(graph)(np.array([-1, 2], np.float32))
    np.testing.assert_array_equal(first, second)
    first[:] = 9
    assert second.tolist() == [0, 2]


def test_constants_parameters_and_arrays_can_be_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(trtnet.tensor([1.0, 2.0]))

        def forward(self, x):
            return F.relu(x), self.w, trtnet.arange(3)

    graph = trtnet.record(Net(), x=Input((2,)))
    _, w, steps = trtnet.reference(graph)(np.zeros(2, np.float32))
    assert w.tolist() == [1, 2]
    assert steps.tolist() == [0, 1, 2]
    assert steps.dtype == np.int64


# --- tensors in the wrong place ---------------------------------------------------------------------------------------


def test_a_tensor_kept_from_another_recording():
    kept = []

    def first(x):
        kept.append(F.relu(x))
        return kept[0]

    trtnet.record(first, x=Input((2,)))

    def second(x):
        return x + kept[0]  # kept

    with pytest.raises(ArgumentError, match="belongs to another graph") as caught:
        trtnet.record(second, x=Input((2,)))
    assert caught.value.where.line == line("kept")
    assert caught.value.remedy
    with pytest.raises(ArgumentError, match="belongs to another graph"):
        trtnet.record(lambda x: kept[0], x=Input((2,)))


def test_a_recorded_tensor_outside_any_recording():
    kept = []

    def forward(x):
        kept.append(x)
        return F.relu(x)

    trtnet.record(forward, x=Input((2,)))
    with pytest.raises(ArgumentTypeError, match="outside its recording") as caught:
        kept[0] + 1  # outside
    assert caught.value.where.line == line("outside")


def test_a_module_called_outside_a_recording():
    with pytest.raises(ArgumentTypeError, match="outside a recording") as caught:
        nn.ReLU()(np.ones(3, np.float32))
    assert "trtnet.record" in caught.value.remedy


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda x: bool(x), r"bool\(\)"),
        (lambda x: 1 if x > 0 else 2, r"bool\(\)"),
        (lambda x: int(x), r"int\(\)"),
        (lambda x: float(x), r"float\(\)"),
        (lambda x: x.item(), r"\.item\(\)"),
        (lambda x: x.tolist(), r"\.tolist\(\)"),
        (lambda x: x.numpy(), r"\.numpy\(\)"),
        (lambda x: np.asarray(x), "NumPy"),
        (lambda x: [1, 2][x], "index"),
        (lambda x: range(x), "index"),
    ],
)
def test_a_recorded_tensor_has_no_value(use, what):
    def forward(x):
        use(x[0])
        return F.relu(x)

    with pytest.raises(ArgumentTypeError, match=what) as caught:
        trtnet.record(forward, x=Input((2,)))
    assert caught.value.where.file == __file__
    assert "trtnet.where" in caught.value.remedy


@pytest.mark.parametrize(
    ("use", "what", "remedy", "followed"),
    [
        (int, r"int\(\) of the dynamic size batch", "use it as it is in reshape", lambda b: b),
        (bool, r"bool\(\) of the dynamic size batch", "use it as it is in reshape", lambda b: b),
        (float, r"float\(\) of the dynamic size batch", "use it as it is in reshape", lambda b: b),
        (range, r"int\(\) of the dynamic size batch", "use it as it is in reshape, expand or arange", trtnet.arange),
        (lambda b: int(b / 2), "batch/2 is no size", "write batch // 2 for int(batch/2)", lambda b: b // 2),
        (lambda b: b / 2 + 1, "batch/2 is no size", "math.ceil(batch/2)", lambda b: math.ceil(b / 2) + 1),
        (lambda b: b / 2.5, "the size batch and a float", "size*2//3 for size/1.5", lambda b: b * 2 // 5),
        (lambda b: b * 1.5, "the size batch and a float", "size*3//2 for size*1.5", lambda b: b * 3 // 2),
        (lambda b: b**0.5, r"batch\*\*0.5 is no size", "make the size an int: Input((8, ...))", None),
        (
            lambda b: 2**b,
            r"2\*\*batch is no size",
            "trtnet.full((), size)",
            lambda b: 2.0 ** trtnet.full((), b).float(),
        ),
        (lambda b: b**-1, "batch to a negative power", "use //", lambda b: 12 // b),
        (lambda b: b > 2, "batch > 2 has no single answer", "compare its .min, .opt or .max", lambda b: b.max > 2),
    ],
)
def test_a_dim_has_no_value(use, what, remedy, followed):
    batch = Dim("batch", min=1, max=4)

    def forward(x):
        return F.relu(x + use(x.shape[0]))

    with pytest.raises(TrtnetError, match=what) as caught:
        trtnet.record(forward, x=Input((batch, 2)))
    assert caught.value.where.file == __file__
    assert remedy in caught.value.remedy
    assert "batch" in str(caught.value)
    if followed is None:  # 8 rows, as the remedy says
        assert trtnet.record(lambda x: x + use(x.shape[0]), x=Input((8, 2)))
    else:
        assert trtnet.record(lambda x: trtnet.relu(x).flatten()[:1] + followed(x.shape[0]), x=Input((batch, 2)))


def test_int_of_a_dim_names_the_users_line():
    def forward(x):
        return x.reshape(int(x.shape[0]), 2)  # int of a dim

    with pytest.raises(ArgumentTypeError, match="dynamic size batch") as caught:
        trtnet.record(forward, x=Input((Dim("batch", min=1, max=4), 2)))
    assert (caught.value.where.file, caught.value.where.line) == (__file__, line("int of a dim"))


def test_one_name_with_two_ranges():
    with pytest.raises(ShapeError, match="the name n stands for two ranges") as caught:
        trtnet.record(lambda x, y: x + y, x=Input((Dim("n", max=4),)), y=Input((Dim("n", max=8),)))
    assert "max=4" in caught.value.expected
    assert "max=8" in caught.value.found


def test_dims_made_alike_are_one():
    graph = trtnet.record(lambda x, y: x + y, x=Input((Dim("n", max=4),)), y=Input((Dim("n", max=4),)))
    assert graph.equalities == []
    assert list(graph.dims) == ["n"]


def test_unknown_methods_name_the_nearest():
    with pytest.raises(TrtnetError, match="no method or attribute 'reshap'") as caught:
        trtnet.record(lambda x: x.reshap(2), x=Input((2,)))
    assert "reshape" in caught.value.remedy
    assert isinstance(caught.value, AttributeError)
    assert trtnet.record(lambda x: F.relu(x) if not hasattr(x, "is_sparse") else x, x=Input((2,)))


# --- parameters -------------------------------------------------------------------------------------------------------


def test_a_shared_module_is_recorded_twice_under_its_first_path():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    graph = trtnet.record(Net(), x=Input((2, 3)))
    assert {layer.path for layer in graph.layers} == {"a"}
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)
    assert set(graph.parameters) >= {"a.weight", "a.bias"}
    weights = {id(w) for _, _, w in graph.weights() if w.name == "a.weight"}
    assert len(weights) == 1


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 3, bias=False)
        self.decoder = nn.Linear(4, 3, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.encoder(x) + self.decoder(x)


def test_tied_parameters_are_one_leaf_under_two_keys():
    net = Tied()
    graph = trtnet.record(net, x=Input((2, 4)))
    assert list(graph.parameters) == ["encoder.weight", "decoder.weight"]
    assert graph.parameters["encoder.weight"] is graph.parameters["decoder.weight"]
    assert sorted(net.state_dict()) == ["decoder.weight", "encoder.weight"]
    assert graph.state_dict()["encoder.weight"] is graph.state_dict()["decoder.weight"]


def test_deep_copies_are_independent_and_keep_ties():
    net = Tied()
    net.encoder.weight.numpy()
    twin = copy.deepcopy(net)
    assert twin.encoder.weight is twin.decoder.weight
    assert twin.encoder.weight is not net.encoder.weight
    np.testing.assert_array_equal(twin.encoder.weight.numpy(), net.encoder.weight.numpy())
    twin.encoder.weight.numpy()[:] = 0
    assert net.encoder.weight.numpy().any()
    assert {layer.path for layer in trtnet.record(twin, x=Input((2, 4))).layers} == {"encoder", "decoder", ""}


def test_a_deep_copy_before_the_first_read_draws_the_same_values():
    net = Net()
    twin = copy.deepcopy(net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, twin.state_dict()[name], err_msg=name)


def test_a_method_of_a_module_is_recorded_with_its_parameters():
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def encode(self, x):
            return self.inner(x)

    net = Coder()
    for method, name in ((net.encode, "x"), (net.inner.forward, "input")):
        graph = trtnet.record(method, **{name: Input((1, 3))})
        prefix = "" if name == "input" else "inner."
        assert list(graph.parameters) == [f"{prefix}weight", f"{prefix}bias"]
        assert {w.name for _, _, w in graph.weights()} == {f"{prefix}weight", f"{prefix}bias"}
    assert trtnet.record(net.encode, x=Input((1, 3))).title == "Coder"
    assert trtnet.record(net.encode, x=Input((1, 3))).layers[0].path == "inner"


def test_a_module_inside_a_function_gives_constants_and_a_warning():
    net = nn.Linear(3, 2)
    with pytest.warns(UserWarning, match="does not own became a constant") as caught:
        graph = trtnet.record(lambda x: net(x), x=Input((1, 3)))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert graph.parameters == {}


@pytest.mark.filterwarnings("ignore:a parameter")
def test_a_parameter_of_no_module_is_a_constant():
    loose = nn.Parameter(trtnet.tensor([1.0, 2.0]))

    class Net(nn.Module):
        def forward(self, x):
            return x * loose

    graph = trtnet.record(Net(), x=Input((2,)))
    assert graph.parameters == {}
    assert [w.name for _, _, w in graph.weights()] == [None]
    assert trtnet.reference(graph)(np.ones(2, np.float32)).tolist() == [1, 2]


@pytest.mark.filterwarnings("ignore:a parameter")
def test_a_parameter_made_in_forward_never_passes_for_another():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(trtnet.tensor([1.0, 2.0]))

        def forward(self, x):
            own = self.w
            y = x * own
            for value in range(2, 40):
                self.w = nn.Parameter(trtnet.tensor([float(value), 0.0]))
                y = y + self.w
            self.w = own
            return y

    graph = trtnet.record(Net(), x=Input((2,)))
    assert trtnet.reference(graph)(np.ones(2, np.float32)).tolist() == [1 + sum(range(2, 40)), 2]


class Held(nn.Module):
    """Tensors that `change` changes, by a road of its own."""

    def __init__(self, change):
        super().__init__()
        self.change, self.weight = change, nn.Parameter(trtnet.tensor([1.0, -2.0]))
        self.register_buffer("kept", trtnet.tensor([1.0, 2.0]))
        self.plain = trtnet.tensor([3.0, 4.0])

    def forward(self, x):
        y = x * self.weight + self.kept - self.plain
        self.change(self, y)
        return y * self.weight + self.kept - self.plain


@pytest.mark.parametrize("name", ["weight", "kept"])
@pytest.mark.parametrize(
    "change",
    [
        lambda held: nn.init.ones_(held),
        lambda held: nn.init.uniform_(held),
        lambda held: held.set(np.ones(2, np.float32)),
        lambda held: held.normal_(),
        lambda held: held.add_(1),
        lambda held: setattr(held, "data", trtnet.ones(2)),
    ],
    ids=["ones_", "uniform_", "set", "normal_", "add_", "data"],
)
def test_what_a_module_holds_is_not_written_in_forward(name, change):
    net = Held(lambda self, y: change(getattr(self, name)))
    before = net.state_dict()
    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward"):
        trtnet.record(net, x=Input((2,)))
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize(
    "change",
    [
        lambda self: self.load_state_dict({"weight": np.ones(2), "kept": np.zeros(2)}),
        lambda self: self.half(),
        lambda self: self.change_all(),
    ],
    ids=["load_state_dict", "half", "apply"],
)
def test_a_module_is_not_loaded_or_converted_in_its_forward(change):
    net = Held(lambda self, y: change(self))
    net.change_all = lambda: net.apply(lambda module: nn.init.zeros_(module.weight))
    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward"):
        trtnet.record(net, x=Input((2,)))
    assert net.weight.dtype is trtnet.float32
    assert net.state_dict()["weight"].tolist() == [1, -2]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("kept", lambda self, y: setattr(self, "kept", y)),
        ("kept", lambda self, y: setattr(self, "kept", trtnet.ones(2))),
        ("kept", lambda self, y: self.register_buffer("kept", trtnet.ones(2))),
        ("weight", lambda self, y: setattr(self, "weight", nn.Parameter(trtnet.ones(2)))),
        ("plain", lambda self, y: setattr(self, "plain", y)),
        ("plain", lambda self, y: setattr(self, "plain", self.plain + 1)),
    ],
)
def test_a_module_that_keeps_a_state_is_refused(name, change):
    net = nn.Sequential(nn.ReLU(), Held(change))
    with pytest.raises(
        UnsupportedError, match=rf"no\s+state between calls(.|\n)*found: +1\.{name}\n(.|\n)*h, and h_out"
    ):
        trtnet.record(net, input=Input((2,)))


def test_what_no_layer_takes_may_be_given_anew():
    class Notes(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("last", trtnet.zeros(2))
            self.register_buffer("calls", trtnet.tensor(0))
            self.register_buffer("scale", trtnet.tensor([2.0, 3.0]))
            self.table = trtnet.zeros(1)

        def forward(self, x):
            self.last, self.calls, self.table = x + 1, self.calls + 1, trtnet.arange(2.0)
            scale = self.scale
            self.scale = scale
            return x * scale + self.table

    graph = trtnet.record(Notes(), x=Input((2,)))
    assert trtnet.reference(graph)(np.ones(2, np.float32)).tolist() == [2, 4]


def test_buffers_and_what_trains():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(trtnet.ones(2))
            self.fixed = nn.Parameter(trtnet.ones(2), requires_grad=False)
            self.register_buffer("kept", trtnet.ones(2))
            self.register_buffer("passing", trtnet.full((2,), 3.0), persistent=False)

        def forward(self, x):
            return x * self.w + self.fixed + self.kept * self.passing

    net = Net()
    graph = trtnet.record(net, x=Input((2,)))
    assert list(graph.parameters) == ["w", "fixed", "kept", "passing"]
    assert graph.trainable == {"w"}
    assert graph.buffers == {"kept", "passing"}
    assert list(graph.state_dict()) == list(net.state_dict()) == ["w", "fixed", "kept"]
    graph.load_state_dict(
        {"w": np.zeros(2, np.float32), "fixed": np.zeros(2, np.float32), "kept": np.ones(2, np.float32)}
    )
    assert trtnet.reference(graph)(np.ones(2, np.float32)).tolist() == [3, 3]


def test_recording_draws_no_values():
    drawn = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(shape=(3,), initializer=lambda rng, shape: drawn.append(shape) or rng.random(shape))

        def forward(self, x):
            return x * self.w

    graph = trtnet.record(Net(), x=Input((2, 3)))
    graph.summary()
    assert drawn == []
    graph.state_dict()
    assert drawn == [(3,)]


def test_a_scalar_parameter_that_is_drawn_has_no_dimensions():
    parameter = nn.Parameter(shape=(), initializer=lambda rng, shape: rng.random(shape) + 1)
    assert parameter.shape == ()
    assert parameter.numpy().shape == ()


def test_an_array_changed_after_recording_does_not_change_the_graph():
    table = trtnet.tensor([1.0, 2.0])
    graph = trtnet.record(lambda x: x + table, x=Input((2,)))
    table[0] = 100.0
    assert trtnet.reference(graph)(np.zeros(2, np.float32)).tolist() == [1, 2]


# --- Inputs in tuples and dicts ---------------------------------------------------------------------------------------


class States(NamedTuple):
    hidden: Any
    cell: Any


def test_an_argument_holds_several_inputs() -> None:
    def step(x, states, more):
        cell = states.cell[0] * 3 + states.cell[1] * 5
        return x + states.hidden * 2 + cell + more["a"] * 7 + more["b"][0] * more["b"][1]

    batch = trtnet.Dim("batch", min=1, opt=2, max=8)
    one = Input((batch, 3))
    graph = trtnet.record(step, x=one, states=States(one, [one, one]), more={"a": one, "b": (one, 11)})
    assert list(graph.inputs) == ["x", "states_hidden", "states_cell_0", "states_cell_1", "more_a", "more_b_0"]
    values = [np.full((4, 3), 10.0**k, np.float32) for k in range(6)]
    wanted = values[0] + sum(v * k for v, k in zip(values[1:], (2, 3, 5, 7, 11), strict=True))
    np.testing.assert_array_equal(trtnet.reference(graph)(*values), wanted)
    np.testing.assert_array_equal(trtnet.reference(graph)(**dict(zip(graph.inputs, values, strict=True))), wanted)


def test_plain_values_stand_beside_inputs() -> None:
    """Also containers of them, and empty ones; an OrderedDict and a defaultdict are what they were."""

    def step(x, states):
        assert (states["sizes"], states["more"], states["none"]) == ((2, (3, "a")), [], [{}, None])
        assert type(states) is OrderedDict
        assert type(states["cells"]) is defaultdict
        assert states["cells"]["other"] == 7
        states.move_to_end("cells")
        return x * states["sizes"][0] + states["cells"]["one"] * states["sizes"][1][0]

    cells = defaultdict(lambda: 7, one=Input((2,)))
    states = OrderedDict(sizes=(2, (3, "a")), more=[], none=[{}, None], cells=cells)
    graph = trtnet.record(step, x=Input((2,)), states=states)
    assert list(graph.inputs) == ["x", "states_cells_one"]
    assert "other" not in cells
    assert list(states) == ["sizes", "more", "none", "cells"]
    values = np.float32([1, 10]), np.float32([100, 1000])
    np.testing.assert_array_equal(trtnet.reference(graph)(*values), [302, 3020])


@pytest.mark.parametrize("found", [np.ones(2, np.float32), Input, {1}])
def test_what_may_not_stand_beside_an_input(found: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="record takes Inputs, and 'x_1_a' is none") as caught:
        trtnet.record(lambda x: x[0], x=(Input((2,)), {"a": found}))
    assert caught.value.remedy == "let an Input, or a plain value, stand in its place"
    for right in (Input((2,)), 1.0):
        trtnet.record(lambda x: x[0] + x[1]["a"], x=(Input((2,)), {"a": right}))


def test_two_inputs_of_one_name() -> None:
    one = Input((2, 3))
    with pytest.raises(ArgumentError, match="'h_0' cannot be the name of a second input") as caught:
        trtnet.record(lambda h_0, h: h_0 + h[0], h_0=one, h=(one,))
    assert caught.value.remedy == "rename forward's argument"
    assert list(trtnet.record(lambda first, h: first + h[0], first=one, h=(one,)).inputs) == ["first", "h_0"]


@pytest.mark.parametrize("given", [(1, 3, 8, 8), [], {"a": 3}, {"a": (None,)}])
def test_a_container_without_inputs(given: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="record takes Inputs, and 'x' is none"):
        trtnet.record(lambda x: x, x=given)
