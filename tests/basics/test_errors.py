"""Bad input: each error says what was expected, what was found, the module, the user's line and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Dim, Input, errors, nn
from trtnet import functional as F
from trtnet.errors import TrtnetError
from trtnet.weights.files import write

SOURCE = Path(__file__).read_text().splitlines()


def line(mark: str) -> int:
    (number,) = (i for i, text in enumerate(SOURCE, 1) if text.endswith(f"# {mark}"))
    return number


def build_kernel(tmp_path):
    """TensorRT itself finds the kernel too small: the layer claims more output maps than its weights are for."""
    needs_rtx()
    graph = trtnet.record(Holder(nn.Conv2d(1, 4, 3)), x=Input((1, 1, 8, 8)))
    graph.layers[0].num_output_maps = 5
    trtnet.build_plan(graph, "sm86")


class Holder(nn.Module):
    """Calls its one module, `inner`, at a line that is known."""

    def __init__(self, inner, call=None):
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x, y=None):
        if self.call is None:
            return self.inner(x)  # inner
        return self.call(self, x, y)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Lenet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(F.relu(self.conv1(x)).mean((2, 3)))


def lenet_state():
    return {name: np.asarray(value).copy() for name, value in Lenet().state_dict().items()}


def in_module(function, *shapes, dtypes=None):
    """Record `function` inside the module `inner`."""
    dtypes = dtypes or ["float32"] * len(shapes)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Function(function)

        def forward(self, x, y=None):
            return self.inner(*(t for t in (x, y) if t is not None))

    inputs = dict(zip("xy", (Input(s, d) for s, d in zip(shapes, dtypes))))
    return trtnet.record(Outer(), **inputs)


KEPT = []


def keep(x):
    KEPT.append(F.relu(x))
    return KEPT[-1]


def truncated(tmp_path):
    path = tmp_path / "lenet.safetensors"
    write(path, lenet_state())
    path.write_bytes(path.read_bytes()[:-5])
    Lenet().load_weights(path)


def other_graph(tmp_path):
    in_module(keep, (2,))
    in_module(lambda x: x + KEPT[-1], (2,))


def weights(**changes):
    def call(tmp_path):
        state = lenet_state()
        for name, value in changes.items():
            name = name.replace("__", ".")
            if value is None:
                del state[name]
            else:
                state[name] = value
        Lenet().load_state_dict(state)

    return call


def engine_call(*args, **kwargs):
    def call(tmp_path):
        trtnet.reference(trtnet.record(Lenet(), x=Input((1, 1, 8, 8))))(*args, **kwargs)

    return call


ZEROS = np.zeros((1, 1, 8, 8))

# what, the built-in kind, whether a module is at fault, part of the problem, part of expected, part of found
CASES = {
    "wrong kernel count": (build_kernel, RuntimeError, "inner", "refused this convolution", "", "num_output_maps=5"),
    "wrong channels": (
        lambda _: trtnet.record(Holder(nn.Conv2d(3, 4, 3)), x=Input((1, 1, 8, 8))),
        ValueError,
        "inner (Conv2d)",
        "does not fit its input",
        "kernel",
        "(1, 1, 8, 8)",
    ),
    "wrong rank": (
        lambda _: trtnet.record(Holder(nn.Conv2d(3, 4, 3)), x=Input((8, 8))),
        ValueError,
        "inner (Conv2d)",
        "",
        "",
        "(8, 8)",
    ),
    "wrong features": (
        lambda _: trtnet.record(Holder(nn.Linear(3, 4)), x=Input((2, 5))),
        ValueError,
        "inner (Linear)",
        "",
        "3",
        "5",
    ),
    "a bad reshape": (
        lambda _: in_module(lambda x: x.reshape(7), (2, 3)),
        ValueError,
        "inner (Function)",
        "number of elements",
        "",
        "6",
    ),
    "a bad broadcast": (
        lambda _: in_module(lambda x, y: x + y, (2, 3), (2, 4)),
        ValueError,
        "inner (Function)",
        "sizes differ",
        "3 = 4",
        "3 and 4",
    ),
    "mixed dtypes": (
        lambda _: in_module(lambda x, y: x + y, (2,), (2,), dtypes=["float32", "float16"]),
        TypeError,
        "inner (Function)",
        "different dtypes",
        "one floating-point dtype",
        "float32 (2,) and float16 (2,)",
    ),
    "a module of another dtype": (
        lambda _: trtnet.record(Holder(nn.Linear(3, 4).half()), x=Input((2, 3))),
        TypeError,
        "inner (Linear)",
        "dtype",
        "float",
        "float",
    ),
    "a float number written into integers": (
        lambda _: in_module(lambda x: x.clone().mul_(0.5), (2,), dtypes=["int32"]),
        TypeError,
        "inner (Function)",
        "in place",
        "int32",
        "float32",
    ),
    "a missing weight": (weights(fc__bias=None), ValueError, None, "0 extra, 1 missing", "4 names", "fc.bias"),
    "an extra weight": (
        weights(fc__extra=np.ones(2, np.float32)),
        ValueError,
        None,
        "1 extra, 0 missing",
        "4 names",
        "fc.extra",
    ),
    "a misshapen weight": (
        weights(fc__bias=np.ones(4, np.float32)),
        ValueError,
        None,
        "1 misshapen",
        "4 names",
        "fc.bias",
    ),
    "a weight of integers": (
        weights(fc__bias=np.ones(3, np.int32)),
        TypeError,
        None,
        "wrong dtype",
        "float32",
        "int32",
    ),
    "a non-contiguous weight": (
        weights(fc__bias=np.ones(6, np.float32)[::2]),
        ValueError,
        None,
        "not contiguous",
        "C-contiguous",
        "strides",
    ),
    "a truncated file": (truncated, ValueError, None, "damaged", "", ""),
    "a missing file": (
        lambda p: Lenet().load_weights(p / "no.safetensors"),
        FileNotFoundError,
        None,
        "no file",
        None,
        None,
    ),
    "an unknown suffix": (
        lambda p: Lenet().load_weights((p / "a.onnx").touch() or p / "a.onnx"),
        ValueError,
        None,
        "suffix",
        ".safetensors",
        ".onnx",
    ),
    "a float64 input": (engine_call(ZEROS), TypeError, None, "input 'x' has the wrong dtype", "float32", "float64"),
    "an input of the wrong size": (
        engine_call(ZEROS[:, :, 1:].astype(np.float32)),
        ValueError,
        None,
        "wrong size in dimension 2",
        "(1, 1, 8, 8)",
        "(1, 1, 7, 8)",
    ),
    "an input of the wrong rank": (
        engine_call(ZEROS[0].astype(np.float32)),
        ValueError,
        None,
        "wrong number of dimensions",
        "(1, 1, 8, 8)",
        "(1, 8, 8)",
    ),
    "an input of another name": (engine_call(image=ZEROS), TypeError, None, "not the engine's inputs", "x", "image"),
    "no array": (engine_call([1, 2]), TypeError, None, "no array", "NumPy array", "list"),
    "a float64 Input": (lambda _: Input((2,), "float64"), TypeError, None, "no float64", "float32", "float64"),
    "float64 in forward": (
        lambda _: in_module(lambda x: x.double(), (2,)),
        TypeError,
        "inner (Function)",
        "float64",
        "float32",
        "float64",
    ),
    "an input named as an output": (
        lambda _: in_module(lambda x: {"x": F.relu(x)}, (2,)),
        ValueError,
        None,
        "same name 'x'",
        "different names",
        "x",
    ),
    "a tensor of another graph": (
        other_graph,
        ValueError,
        "inner (Function)",
        "another graph",
        "a tensor of the recording",
        "Tensor((2,), float32",
    ),
    "an output that is none": (
        lambda _: in_module(lambda x: None, (2,)),
        TypeError,
        None,
        "no tensor",
        "a tensor",
        "NoneType",
    ),
    "an empty network": (lambda _: in_module(lambda x: (), (2,)), ValueError, None, "empty network", "a tensor", "()"),
    "no input": (lambda _: trtnet.record(lambda: trtnet.ones(2)), ValueError, None, "needs an input", "Input", "none"),
    "a reserved name": (
        lambda _: trtnet.record(lambda out: F.relu(out), out=Input((2,))),
        ValueError,
        None,
        "cannot be the name",
        "",
        "out",
    ),
    "a Dim with max below min": (
        lambda _: Dim("b", min=4, max=2),
        ValueError,
        None,
        "no valid range",
        "min <= opt <= max",
        "min=4",
    ),
    "one Dim with two ranges": (
        lambda _: in_module(lambda x, y: x + y, (Dim("b", max=4),), (Dim("b", max=5),)),
        ValueError,
        None,
        "two ranges",
        "max=4",
        "max=5",
    ),
    "int of a Dim": (
        lambda _: in_module(lambda x: x.reshape(int(x.shape[0])), (Dim("b", max=4),)),
        TypeError,
        "inner (Function)",
        "int() of",
        "a number",
        "b",
    ),
    "bool of a tensor": (
        lambda _: in_module(lambda x: x if x.sum() > 0 else -x, (2,)),
        TypeError,
        "inner (Function)",
        "bool()",
        "",
        "Tensor(",
    ),
    "an unknown argument of a module": (
        lambda _: nn.Conv2d(1, 2, 3, nonsense=True),
        TypeError,
        None,
        "nonsense",
        "Conv2d(in_channels",
        "nonsense",
    ),
    "an unknown argument of a function": (
        lambda _: in_module(lambda x: F.softmax(x, 1, nonsense=2), (2, 3)),
        TypeError,
        "inner (Function)",
        "nonsense",
        "softmax(",
        "nonsense",
    ),
    "an argument out of range": (
        lambda _: nn.Conv2d(3, 4, 3, groups=2),
        ValueError,
        None,
        "divisible by groups",
        "multiples of 2",
        "in_channels 3",
    ),
    "an unknown name": (
        lambda _: in_module(lambda x: x.no_such(), (2,)),
        AttributeError,
        "inner (Function)",
        "no_such",
        "a method",
        "(2,)",
    ),
    "an unknown attribute of a module": (
        lambda _: Lenet().conv2,
        AttributeError,
        None,
        "conv2",
        "an attribute",
        "conv2",
    ),
    "super().__init__() forgotten": (lambda _: NoInit(), AttributeError, None, "super().__init__()", "", ""),
    "a module called outside a recording": (
        lambda _: nn.Linear(2, 2)(np.ones((2, 2))),
        TypeError,
        None,
        "outside a recording",
        "trtnet.record",
        "Linear",
    ),
    "an unknown target": (
        lambda _: needs_rtx() and trtnet.build_plan(in_module(F.relu, (2,)), "sm1"),
        ValueError,
        None,
        "targets",
        "sm86",
        "sm1",
    ),
    "an unknown provider": (
        lambda _: trtnet.build(in_module(F.relu, (2,)), provider="x"),
        ValueError,
        None,
        "provider",
        "tensorrt",
        "x",
    ),
    "a pattern that matches nothing": (
        lambda _: trtnet.build(trtnet.record(Lenet(), x=Input((1, 1, 8, 8))), provider="reference", refit="nope.*"),
        ValueError,
        None,
        "matches no parameter",
        "conv1.weight",
        "nope",
    ),
}


class NoInit(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(2, 2)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, tmp_path):
    call, kind, module, problem, expected, found = CASES[name]
    with pytest.raises(TrtnetError) as caught:
        call(tmp_path)
    error, text = caught.value, str(caught.value)
    assert isinstance(error, kind)
    assert problem in error.problem
    if expected is not None:
        assert error.expected is not None, f"no 'expected' in\n{text}"
        assert expected in str(error.expected)
        assert "expected: " in text
    if found is not None:
        assert error.found is not None, f"no 'found' in\n{text}"
        assert found in str(error.found) + str(error.details)
        assert "found: " in text
    assert error.remedy, f"no remedy in\n{text}"
    assert "remedy: " in text
    assert error.where is not None
    assert error.where.file == __file__, text
    assert f"at:       {__file__}:{error.where.line}, in " in text
    assert SOURCE[error.where.line - 1].strip() in text, "the source line is quoted"
    assert error.module == module, text
    if module:
        assert f"module:   {module}" in text
    assert "/trtnet/" not in text.replace(__file__, ""), "lines of trtnet's own help nobody"


def test_the_line_is_the_users_and_not_the_modules():
    with pytest.raises(TrtnetError) as caught:
        trtnet.record(Holder(nn.Conv2d(3, 4, 3)), x=Input((1, 1, 8, 8)))
    assert caught.value.where.line == line("inner")
    assert caught.value.where.function == "forward"


def test_an_error_while_constructing_names_the_users_line():
    with pytest.raises(TrtnetError) as caught:
        nn.Conv2d(3, 4, 3, groups=2)  # constructing
    assert caught.value.where.line == line("constructing")


def test_an_error_of_a_call_names_the_users_line():
    engine = trtnet.reference(trtnet.record(Lenet(), x=Input((1, 1, 8, 8))))
    with pytest.raises(TrtnetError) as caught:
        engine(ZEROS)  # calling
    assert caught.value.where.line == line("calling")


def test_an_error_of_a_build_names_the_line_that_recorded_the_layer():
    with pytest.raises(TrtnetError) as caught:
        build_kernel(None)
    assert caught.value.where.line == line("inner")


def test_a_nan_weight_is_warned_of_by_name():
    state = lenet_state()
    state["fc.bias"][1] = np.nan
    net = Lenet()
    with pytest.warns(UserWarning, match=r"NaN or infinity: fc\.bias$"):
        net.load_state_dict(state)
    graph = trtnet.record(net, x=Input((1, 1, 8, 8)))
    with pytest.warns(UserWarning, match=r"NaN or infinity: fc\.bias$"):
        trtnet.build(graph, provider="reference")


def test_the_form_of_a_message():
    error = errors.ShapeError(
        "sizes differ", expected="1\n2", found=3, module="a.b", remedy="use\nanother", details="TensorRT: no"
    )
    lines = str(error).split("\n")
    assert lines[:6] == [
        "sizes differ",
        "    TensorRT: no",
        "  expected: 1",
        "            2",
        "  found:    3",
        "  module:   a.b",
    ]
    assert re.match(rf"  at:       {re.escape(__file__)}:\d+, in test_the_form", lines[6])
    assert lines[-2:] == ["  remedy:   use", "            another"]


def test_a_message_without_parts():
    error = errors.WeightsError("broken", where=None)
    assert str(error).startswith("broken\n  at:")
    assert "expected" not in str(error)


def test_zero_and_false_are_found():
    assert "  found:    0" in str(errors.ShapeError("p", found=0))
    assert "  found:    False" in str(errors.ShapeError("p", found=False))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("ShapeError", ValueError),
        ("DtypeError", TypeError),
        ("ArgumentError", ValueError),
        ("ArgumentTypeError", TypeError),
        ("UnsupportedError", NotImplementedError),
        ("NameNotFoundError", AttributeError),
        ("WeightsError", ValueError),
        ("WeightsNotFoundError", FileNotFoundError),
        ("ProviderError", RuntimeError),
        ("BuildError", RuntimeError),
    ],
)
def test_each_kind_is_the_builtin_kind_too(kind, builtin):
    found = getattr(errors, kind)
    assert issubclass(found, TrtnetError)
    assert issubclass(found, builtin)
    assert str(found("problem")).startswith("problem")


def test_errors_can_be_pickled_or_at_least_copied():
    import copy

    error = errors.ShapeError("sizes differ", expected=1, found=2)
    assert str(copy.copy(error)) == str(error)


def test_errors_at_the_prompt_have_no_excerpt(tmp_path):
    code = (
        "import trtnet\ntry:\n    trtnet.Dim('b', min=4, max=2)\nexcept trtnet.TrtnetError as error:\n    print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(trtnet.__file__).parent.parent,
    )
    assert "at:       <string>:3, in <module>" in found.stdout


def test_all_of_trtnets_kinds_are_exported_as_one_base():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert all(issubclass(kind, trtnet.TrtnetError) for kind in kinds)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda big: trtnet.record(lambda x: x, x=big),
        lambda big: trtnet.record(lambda x: F.relu(x).sum(dim=big), x=Input((2, 3))),
        lambda big: trtnet.record(lambda x: trtnet.cat(big), x=Input((2, 3))),
        lambda big: trtnet.record(lambda x: F.relu(x)[big.astype(float)], x=Input((2, 3))),
        lambda big: trtnet.record(lambda x: trtnet.add(x, [big]), x=Input((2, 3))),
    ],
)
def test_arrays_are_not_printed_whole(wrong):
    with pytest.raises(TrtnetError) as caught:
        wrong(np.arange(400).reshape(20, 20))
    assert len(str(caught.value)) < 1500
    assert "19," not in str(caught.value)


def test_a_notebooks_cell_has_the_name_that_ipython_gives_it():
    pytest.importorskip("IPython")
    program = """
import pickle
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
shell.run_cell("import trtnet\\nfrom trtnet import Input, nn", store_history=True)
shell.run_cell('''def forward(x):
    return nn.Linear(4, 2)(x)
try:
    trtnet.record(forward, x=Input((1, 3)))
except trtnet.TrtnetError as error:
    found = error''', store_history=True)
print(shell.user_ns["found"])
print(pickle.loads(pickle.dumps(shell.user_ns["found"].where)))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "  at:       In[2]:2, in forward\n              return nn.Linear(4, 2)(x)\n" in found.stdout
    assert found.stdout.endswith("\nIn[2]:2\n")
