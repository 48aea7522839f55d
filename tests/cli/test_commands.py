"""The `trtnet` command: what it accepts, prints and writes, and how it fails."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from commands import TORCHS, call, fails, row_of
from harness import needs_rtx
from typer.testing import CliRunner

import trtnet
from trtnet import Dim
from trtnet.cli.commands import app
from trtnet.cli.inputs import parse_arguments, parse_bytes, parse_inputs, parse_options, read_arrays, split_dtype
from trtnet.cli.networks import networks
from trtnet.engine.plan import file_name
from trtnet.errors import ArgumentError, ProviderError
from trtnet.tensorrt.build.options import BuildOptions

ROOT = Path(trtnet.__file__).parents[1]
COMMANDS = (
    "demo", "models", "summary", "build", "run", "compare", "bench", "profile", "trtexec",
    "check", "upgrade-check", "inspect", "convert", "refit", "doctor", "preload",
)  # fmt: skip
NET = """
import trtnet
from trtnet import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.first(x))

class Two(nn.Module):
    def forward(self, a, b):
        return {"sum": a + b, "difference": a - b}

def wide():
    return Net(width=8)

def half(x):
    return x * 0.5

def Same(x):
    return x + 0

class Broken(nn.Module):
    def __init__(self, kind):
        super().__init__()
        raise RuntimeError("no such kind: " + kind)

class Mismatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        return self.layer(x)  # x has 3

class Crashes(nn.Module):
    def forward(self, x):
        return [][0]
"""


# --- the whole --------------------------------------------------------------------------------------------------------


def test_real_process(tmp_path):
    run = subprocess.run([sys.executable, "-m", "trtnet", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, f"trtnet {trtnet.__version__}", "")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "secret.npz"), MemoryError(), OSError(28, "No space left")]
)
def test_what_the_system_refuses_is_an_error_too(folder, monkeypatch, error):
    """Which no file of trtnet's knows better."""

    def refuse(path):
        raise error

    monkeypatch.setattr("trtnet.cli.inspecting.described", refuse)
    text = fails("inspect", "secret.npz")
    assert text.startswith("error: the system refuses this\n")
    assert f"found:    {str(error) or 'MemoryError'}\n" in text
    with pytest.raises(type(error)):
        call("inspect", "secret.npz", "--traceback")


def test_a_folder_in_a_files_place_is_refused_before_anything_is_computed(folder, monkeypatch):
    monkeypatch.setattr("trtnet.cli.model.record_model", None)
    for name in ("n.engine", "n.npz", "n.npy"):
        (folder / name).mkdir()
    assert "n.engine is a folder" in fails("build", "net.py:Net", "-i", "x=1x3", "-o", "n.engine")
    assert "n.engine is a folder" in fails("refit", "other.engine", "w.npz", "-o", "n.engine")
    for name in ("n.npz", "n.npy"):
        assert f"{name} is a folder" in fails("run", "net.py:Net", "-i", "x=x.npy", "-o", name)


def test_real_process_error_in_ascii(tmp_path):
    """No traceback, exit code 1, and no crash where the terminal knows ASCII only."""
    (tmp_path / "net.py").write_text(NET)
    run = subprocess.run(
        [sys.executable, "-m", "trtnet", "summary", str(tmp_path / "net.py:Nett"), "--input", "x=1x3"],
        capture_output=True, text=True, cwd=ROOT, env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )  # fmt: skip
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "did you mean" in run.stderr
    assert "net.py:Net?" in run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_example(command):
    code, text, _ = call(command, "--help")
    assert code == 0
    assert f"Example: trtnet {command}" in re.sub(r"\s+", " ", text)


def test_help_lists_the_commands():
    code, text, _ = call("--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", text)


# --- summary and MODEL ------------------------------------------------------------------------------------------------


def test_summary(folder):
    code, text, _ = call("summary", "net.py:Net", "--input", "x=batch=1..8..64x3", "--arg", "width=5")
    assert code == 0
    assert "(batch, 2)" in text
    assert "batch: 1 to 64, best at 8" in text
    assert "32 parameters" in text  # 3·5 + 5 + 5·2 + 2


def test_summary_of_lenet():
    code, text, _ = call("summary", ROOT / "models" / "lenet.py", "-i", "image=1x1x28x28")
    assert code == 0
    assert "431,080 parameters" in text


def test_a_function_is_a_factory_or_the_network_itself(folder):
    assert "50 parameters" in call("summary", "net.py:wide", "-i", "x=1x3")[1]  # 3·8 + 8 + 8·2 + 2
    code, text, _ = call("summary", "net.py:half", "-i", "x=1x3")
    assert code == 0
    assert text.startswith("half")


def test_model_from_a_package(folder):
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").write_text("")
    (folder / "mypackage" / "inner.py").write_text("from .other import *\n" + NET)
    (folder / "mypackage" / "other.py").write_text("")
    code, text, _ = call("summary", "mypackage.inner:Net", "-i", "x=1x3")
    assert code == 0
    assert "Net" in text


def test_model_imports_its_neighbours(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "helper_of_model.py").write_text("width = 7")
    text = NET.replace("width=4", "width=helper_of_model.width")
    (folder / "deep" / "m.py").write_text("import helper_of_model\n" + text)
    code, text, _ = call("summary", "deep/m.py:Net", "-i", "x=1x3")
    assert code == 0
    assert "44 parameters" in text


def test_model_file_of_a_package_imports_its_neighbours(folder):
    for name, width in (("one", 7), ("two", 8)):
        (folder / name / "networks").mkdir(parents=True)
        (folder / name / "networks" / "__init__.py").write_text("")
        (folder / name / "networks" / "sizes.py").write_text(f"WIDTH = {width}")
        text = NET.replace("width=4", "width=WIDTH")
        (folder / name / "networks" / "m.py").write_text("from .sizes import WIDTH\n" + text)
    assert "44 parameters" in call("summary", "one/networks/m.py:Net", "-i", "x=1x3")[1]
    assert "50 parameters" in call("summary", "two/networks/m.py:Net", "-i", "x=1x3")[1]
    (folder / "two" / "networks" / "__init__.py").write_text("1 / 0")
    (folder / "two").rename(folder / "three")
    assert "__init__.py raised ZeroDivisionError" in fails("summary", "three/networks/m.py:Net", "-i", "x=1x3")


# --- models/NAME ------------------------------------------------------------------------------------------------------


def test_models_lists_every_network_file(folder):
    code, text, _ = call("models")
    assert code == 0
    assert re.search(r"models/resnet50 +image classification +image=1x3x224x224 +25,557,032\n", text)
    listed = {network.made_by.partition(":")[0] for network in networks().values()}
    files = {path.stem for path in (ROOT / "models").glob("[a-z]*.py") if not path.stem.startswith("train_")}
    assert files - listed == {"policy"}  # its sizes are the task's
    assert listed <= files


def test_a_listed_network_anywhere(folder):
    code, text, _ = call("summary", "models/squeezenet")
    assert code == 0
    assert "image (1, 3, 224, 224)" in text
    code, text, _ = call("summary", "models/efficientnet_b0", "-i", "image=2x3x64x64", "--arg", "classes=10")
    assert code == 0
    assert "(2, 10)" in text
    needs_rtx()
    assert call("build", "models/lenet", "-o", "digits.engine", "-w", ROOT / "weights/lenet.safetensors")[0] == 0
    assert Path("digits.engine").is_file()


def test_a_file_or_folder_of_the_users_comes_first(folder):
    (folder / "models").mkdir()
    (folder / "models" / "lenet").write_text(NET)
    assert "lenet is no Python file" in fails("summary", "models/lenet", "-i", "x=1x3")
    (folder / "models" / "lenet.py").write_text(NET)
    assert "26 parameters" in call("summary", "models/lenet.py:Net", "-i", "x=1x3")[1]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("models/resnet51", ["there is no network models/resnet51", "did you mean models/resnet50?"]),
        ("resnet18", ["there is no module resnet18", "did you mean models/resnet18?"]),
        ("ResNet18", ["there is no module ResNet18", "did you mean models/resnet18?"]),
        ("models/qqqq", ["one of those that `trtnet models` lists", "list them: trtnet models"]),
        ("nett.py:Net", ["there is no file nett.py", "did you mean net.py?"]),
        ("net.py:Ne", ["net.py has no Ne", "expected: one of Net, Two", "did you mean net.py:Net?"]),
        ("net.py", ["which class of net.py", "Net, Two", "write net.py:"]),
        ("no_such_package_here:Net", ["ModuleNotFoundError", "a module must be importable from here"]),
        ("what is this", ["neither a Python file nor a module", "models/lenet.py:LeNet"]),
        ("net.py:NET_NAME", ["net.py has no NET_NAME"]),
    ],
)
def test_bad_model(folder, model, expected):
    text = fails("summary", model, "--input", "x=1x3")
    for part in expected:
        assert part in text


def test_errors_in_the_users_file_name_its_line(folder):
    def line(part):
        return next(i for i, row in enumerate(NET.splitlines(), 1) if part in row)

    text = fails("summary", "net.py:Mismatch", "-i", "x=1x3")
    assert f"net.py:{line('# x has 3')}, in forward" in text
    assert "^^^" in text
    text = fails("summary", "net.py:Broken", "-i", "x=1x3", "-a", "kind=odd")
    assert "Broken(kind='odd') raised RuntimeError" in text
    assert "no such kind: odd" in text
    assert f"net.py:{line('no such kind')}, in __init__" in text
    text = fails("summary", "net.py:Crashes", "-i", "x=1x3")
    assert f"net.py:{line('[][0]')}, in forward" in text
    text = fails("summary", "net.py:Broken", "-i", "x=1x3")
    assert "missing 1 required positional argument: 'kind'" in text
    assert "--arg name=value" in text
    (folder / "bad.py").write_text("x = 1\nimport no_such_module_at_all\n")
    text = fails("summary", "bad.py:Net", "-i", "x=1x3")
    assert "bad.py:2" in text
    assert "install what provides 'no_such_module_at_all', or put its folder on PYTHONPATH" in text
    (folder / "syntax.py").write_text("def f(:\n")
    assert "SyntaxError" in fails("summary", "syntax.py:Net", "-i", "x=1x3")


def test_errors_without_a_line_of_the_users_name_none(folder):
    assert "  at:" not in fails("summary", "net.py:Net")


def test_missing_and_unknown_inputs(folder):
    text = fails("summary", "net.py:Two", "--input", "a=2x3")
    assert "Two needs other inputs" in text
    assert "--input a=... --input b=..." in text
    assert "found:    a, c" in fails("summary", "net.py:Two", "-i", "a=2x3", "-i", "c=2x3")


def test_a_torch_module_as_it_is(folder):
    torch = pytest.importorskip("torch")
    (folder / "t.py").write_text(TORCHS)
    code, text, _ = call("summary", "t.py:Net", "-i", "x=b=1..2..8,3")
    assert code == 0
    assert "x (b, 3) float32" in text
    assert "26 parameters" in text
    torch.save(torch.nn.Linear(3, 4).state_dict(), "other.pt")
    text = fails("summary", "t.py:Net", "-i", "x=1x3", "-w", "other.pt")
    assert "other.pt do not fit Net" in text
    assert "Missing key(s) in state_dict" in text
    assert "`trtnet inspect other.pt` lists its names and shapes" in text


def test_traceback_on_demand(folder):
    with pytest.raises(trtnet.TrtnetError):
        call("summary", "net.py:Nett", "-i", "x=1x3", "--traceback")
    result = CliRunner().invoke(app, ["summary", "net.py:Nett"], env={"TRTNET_TRACEBACK": "1"})
    assert isinstance(result.exception, trtnet.TrtnetError)


# --- --input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("x=1x3x224x224", (1, 3, 224, 224), "float32"),
        ("x=1,3", (1, 3), "float32"),
        ("x=7", (7,), "float32"),
        ("x=scalar:int64", (), "int64"),
        ("x=1x77:int64", (1, 77), "int64"),
        ("x=2x3:half", (2, 3), "float16"),
        ("x=batch=1..8..64x1x28x28", (Dim("batch", 1, 8, 64), 1, 28, 28), "float32"),
        ("x=batch=1..64x3", (Dim("batch", 1, None, 64), 3), "float32"),
        ("x=2xside=32..64..512/32xe=2..4", (2, Dim("side", 32, 64, 512, 32), Dim("e", 2, None, 4)), "float32"),
        ("x=max=1..4,max", (Dim("max", 1, None, 4),) * 2, "float32"),
    ],
)
def test_shapes(text, shape, dtype):
    found = parse_inputs([text])["x"]
    assert tuple(found.shape) == shape
    assert found.dtype.name == dtype


def test_the_same_size_again_by_name():
    found = parse_inputs(["tokens=batch,77:int64", "image=batch=1..8..64x3"])
    assert found["tokens"].shape[0] == found["image"].shape[0] == Dim("batch", 1, 8, 64)
    assert list(found) == ["tokens", "image"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "cannot be read"),
        (["x="], "cannot be read"),
        (["3=1x3"], "cannot be read"),
        (["x=1xthree"], "the size 'three' cannot be read"),
        (["x=1x-3"], "cannot be read"),
        (["x=batch,3"], "'batch' cannot be read(.|\n)*batch=1..8..64"),
        (["x=3", "x=4"], "names 'x' twice"),
        (["x=n=1..4,3", "y=n=1..5,3"], "has two ranges"),
        (["x=n=9..4,3"], "n"),
        (["x=3:float99"], "no element type"),
        (["x=3:float64"], "TensorRT has no float64"),
    ],
)
def test_bad_shapes(texts, message):
    with pytest.raises(trtnet.TrtnetError) as caught:
        parse_inputs(texts)
    assert re.search(message, str(caught.value))


def test_drives_are_no_dtypes():
    assert split_dtype(r"C:\data\x.npy") == (r"C:\data\x.npy", "")
    assert split_dtype(r"C:\data\x.npy:float32") == (r"C:\data\x.npy", "float32")


def test_arguments():
    assert parse_arguments(["a=3", "b=(1, 2)", "c=relu", "d=None", "e=x=y"]) == {
        "a": 3,
        "b": (1, 2),
        "c": "relu",
        "d": None,
        "e": "x=y",
    }


@pytest.mark.parametrize(
    ("text", "count"), [(None, None), ("1024", 1024), ("256M", 2**28), ("1GiB", 2**30), ("1.5k", 1536)]
)
def test_bytes(text, count):
    assert parse_bytes(text) == count


def test_bad_bytes():
    for text in ("lots", "1.5", "-1", "1P"):
        with pytest.raises(ArgumentError, match=f"'{text}' is no size"):
            parse_bytes(text)


def test_arguments_are_given_once():
    with pytest.raises(ArgumentError, match="--arg names 'a' twice"):
        parse_arguments(["a=1", "b=1", "a=2"])


def test_weights_are_for_modules(folder):
    np.savez("w.npz", weight=np.ones((2, 3), np.float32))
    assert "--weights are for modules" in fails("summary", "net.py:half", "-i", "x=1x3", "-w", "w.npz")
    assert "found:    function half" in fails("summary", "net.py:half", "-i", "x=1x3", "-w", "w.npz")


@pytest.mark.parametrize(
    ("given", "dtype", "found"),
    [
        (np.array("text"), "float32", "<U4"),
        (np.ones(2, np.complex64), "float32", "complex64"),
        (np.float64([1, 1.5]), "int64", "1.5"),
        (np.float32([1, np.nan]), "int32", "nan"),
        (np.int64([1, 1 << 40]), "int32", str(1 << 40)),
        (np.int64([-1]), "uint8", "-1"),
        (np.int64([0, 1, 2]), "bool", "2"),
        (np.float32([1e6]), "float16", "1000000.0"),
    ],
)
def test_a_file_is_not_converted_to_other_numbers(folder, given, dtype, found):
    np.save("x.npy", given)
    with pytest.raises(ArgumentError, match=f"the file for 'x' is not to be converted to {dtype}") as caught:
        read_arrays([f"x=x.npy:{dtype}"])
    assert caught.value.found == found


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.float64([1 / 3, -2, np.inf, np.nan]), "float32"),
        (np.float64([1 / 3, 65504]), "float16"),
        (np.float64([3, -(2**40)]), "int64"),
        (np.int64([0, 255]), "uint8"),
        (np.int64([0, 1]), "bool"),
        (np.array([True, False]), "float32"),
        (np.int64([2**24 + 1]), "float32"),  # rounded
    ],
)
def test_a_file_is_converted(folder, given, dtype):
    np.save("x.npy", given)
    made = read_arrays([f"x=x.npy:{dtype}"])["x"]
    np.testing.assert_array_equal(made, given.astype(dtype))
    assert made.dtype == dtype


def test_files_are_given_once(folder):
    np.savez("both.npz", a=np.ones(2, np.float32), b=np.ones(2, np.float32))
    np.save("a.npy", np.ones(2, np.float32))
    for texts in (["both.npz", "a=a.npy"], ["a=a.npy", "both.npz"], ["a=a.npy", "a=a.npy"]):
        with pytest.raises(ArgumentError, match="--input names 'a' twice"):
            read_arrays(texts)


# --- build ------------------------------------------------------------------------------------------------------------


def test_build(folder):
    needs_rtx()
    trtnet.cli.model.load_module("net.py").Net().save_weights("net.safetensors")
    code, text, notes = call(
        "build", "net.py:Net", "-w", "net.safetensors", "-i", "x=batch=1..4x3", "-o", "net.fp32.engine",
        "-t", "sm86", "-t", "sm120", "--level", 0, "--workspace", "64M",
    )  # fmt: skip
    assert code == 0
    assert "note" not in notes
    plan = (folder / "net.fp32.engine").read_bytes()
    assert f"{len(plan):,} bytes for sm86, sm120" in text
    manifest = json.loads((folder / "net.fp32.engine.json").read_text())
    assert manifest["targets"] == ["sm86", "sm120"]


def test_build_refittable_under_its_own_name(folder):
    needs_rtx()
    code, text, notes = call("build", "net.py:Net", "-i", "x=1x3", "-t", "sm86", "--refit", "--level", 0)
    assert code == 0
    assert "random initial values" in notes
    assert "net.fp32.engine.safetensors" in text
    assert {p.name for p in folder.glob("net.fp32*")} == {
        "net.fp32.engine",
        "net.fp32.engine.json",
        "net.fp32.engine.safetensors",
    }


def test_build_as_trt_and_run(folder):
    """Under trtexec's usual suffix, with its manifest; `inspect`, `run`, `bench` and `compare` take it."""
    pytest.importorskip("torch")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save("x.npy", x)
    graph = trtnet.record(trtnet.nn.Linear(3, 2), input=trtnet.Input((2, 3)))
    trtnet.reference(graph).save("net.trt")
    assert {p.name for p in folder.glob("net.trt*")} == {"net.trt.json", "net.trt.safetensors"}
    assert "net.trt: an engine" in call("inspect", "net.trt")[1]
    assert "net.trt: an engine" in call("inspect", "net.trt.json")[1]
    code, text, notes = call("run", "net.trt", "-i", "input=x.npy", "-o", "y.npy")
    assert (code, notes) == (0, "")
    weight, bias = (graph.state_dict()[name] for name in ("weight", "bias"))
    np.testing.assert_allclose(np.load("y.npy"), x @ weight.T + bias, rtol=1e-5)
    assert call("bench", "net.trt", "--duration", 0, "--iterations", 2)[0] == 0
    (folder / "lin.py").write_text("from trtnet import nn\ndef lin():\n    return nn.Linear(3, 2)\n")
    np.savez("w.npz", **graph.state_dict())
    compared = ("compare", "lin.py:lin", "net.trt", "float64", "-i", "input=x.npy", "-w", "w.npz")
    assert call(*compared)[0] == 0
    text = fails("run", "net.trt", "-i", "input=x.npy", "-w", "w.npz", "--dtype", "float64")
    assert "an engine's file has its weights, types and shapes" in text
    assert "found:    --weights, --dtype" in text
    needs_rtx()
    assert call("build", "net.py:Net", "-i", "x=1x3", "-t", "sm86", "--level", 0, "-o", "n.trt")[0] == 0
    assert json.loads((folder / "n.trt.json").read_text())["targets"] == ["sm86"]


def test_nested_outputs_run(folder):
    pytest.importorskip("torch")
    np.save("x.npy", np.ones((2, 3), np.float32))
    Path("nested.py").write_text("def net(x):\n    return {'a': x * 2, 'b': (x * 3, None, (x * 4,))}\n")
    assert call("run", "nested.py:net", "-i", "x=x.npy", "-o", "y.npz", "--reference")[0] == 0
    with np.load("y.npz") as kept:
        assert {name: float(kept[name][0, 0]) for name in kept} == {"a": 2, "b_0": 3, "b_2_0": 4}


@pytest.mark.parametrize(
    ("inner", "outputs", "name"),
    [
        ("float32", "float32", "n.fp32.engine"),
        ("float16", "float16", "n.fp16infp16out.engine"),
        ("float16", "float32", "n.fp16.fp16infp32out.engine"),
        ("bfloat16", "int32", "n.bf16in.engine"),
        ("int32", "int32", "n.int.engine"),
    ],
)
def test_names_of_plans(inner, outputs, name):
    graph = trtnet.record(lambda x: (x * 2).to(outputs), x=trtnet.Input((2, 3), inner))
    assert file_name(graph, "n") == name
    mixed = trtnet.record(lambda x, y: x.half() * y, x=trtnet.Input((2,)), y=trtnet.Input((2,), "float16"))
    assert file_name(mixed, "m") == "m.fp16.fp32fp16infp16out.engine"
    inside = trtnet.record(lambda x: (x.half() * 2).float(), x=trtnet.Input((2,)))
    assert file_name(inside, "i") == "i.fp16.engine"


def test_a_plan_cache_and_all_that_tensorrt_logs(folder):
    needs_rtx()
    arguments = ("build", "net.py:Net", "-i", "x=1x3", "-t", "sm86", "--level", 0, "--half", "--cache", "plans")
    assert call("convert", save_net(folder), "w.npz")[0] == 0
    code, text, log = call(*arguments, "-w", "w.npz", "--verbose")
    assert code == 0
    assert "net.fp16infp16out.engine  " in text
    assert re.search(r"^\[V\] \[TRT\] ", log, re.MULTILINE)
    (plan,) = (folder / "plans").glob("*.plan")
    before = plan.stat().st_mtime_ns
    code, text, log = call(*arguments, "-w", "w.npz")
    assert code == 0
    assert "from the plan cache" in text
    assert "[TRT]" not in log
    assert plan.stat().st_mtime_ns == before
    code, text, _ = call(*arguments, "-w", "w.npz", "--force")
    assert code == 0
    assert "from the plan cache" not in text
    assert plan.stat().st_mtime_ns > before
    text = fails(*arguments, "--timing-cache", "t.cache", "--force")
    assert "tensorrt_rtx" in text
    assert "has no timing cache" in text


def save_net(folder):
    trtnet.cli.model.load_module("net.py").Net().save_weights("net.safetensors")
    return "net.safetensors"


@pytest.mark.parametrize("version", ["8.6.1", "11.4"])
def test_build_by_tensorrt(folder, monkeypatch, version):
    """By the bindings of a version, which compute nothing: so nothing is compared."""
    pytest.importorskip("torch")
    from judged_engines import standing_in

    monkeypatch.setattr("trtnet.building._compare", lambda *given: None)
    arguments = ("build", "net.py:Net", "-i", "x=1x3", "--provider", "tensorrt")
    with standing_in(version) as here:
        graph = trtnet.record(trtnet.cli.model.load_module("net.py").Net(), x=trtnet.Input((1, 3)))
        here.infers(graph)
        code, text, _ = call(*arguments, "--timing-cache", "t.cache", "--refit", "-o", "n.trt")
        assert code == 0, text
        assert f"bytes for a host, in 0.0 s, by {here.provider.name}" in text
        assert Path("t.cache").read_bytes() == b"timings+"
        manifest = json.loads(Path("n.trt.json").read_text())
        assert (manifest["gpu"]["name"], len(manifest["refittable"])) == ("a host", 4)
        assert "cannot compile for these targets" in fails(*arguments, "-t", "sm86")

        def load(name):
            if name == "tensorrt_rtx":
                raise ProviderError(f"{name} is not usable here")
            return here.provider

        with monkeypatch.context() as patched:
            patched.setattr("trtnet.tensorrt.provider.load", load)
            code, text, _ = call("build", "net.py:Net", "-i", "x=1x3", "-o", "left_out.engine")
            assert code == 0, text
            assert "bytes for a host" in text
            patched.setitem(here.provider.__dict__, "cannot_execute", "no GPU")
            assert "tensorrt_rtx is not usable here" in fails("build", "net.py:Net", "-i", "x=1x3")


def test_build_errors(folder):
    text = fails("build", "net.py:Net", "-i", "x=1x3", "-o", "net.plan")
    assert "remedy:   -o net.engine" in text
    assert "there is no folder" in fails("build", "net.py:Net", "-i", "x=1x3", "-o", "nowhere/net.engine")
    needs_rtx()
    assert "sm86" in fails("build", "net.py:Net", "-i", "x=1x3", "-t", "sm999")
    assert "exactly one target" in fails("build", "net.py:Net", "-i", "x=1x3", "-t", "sm86", "-t", "sm89", "--refit")
    assert not list(folder.glob("*.engine*"))
    assert call("build", "net.py:Net", "-i", "x=1x3", "--level", 9)[0] == 2


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays(folder):
    pytest.importorskip("torch")
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((2, 3), np.float32)}
    for name, value in values.items():
        np.save(f"{name}.npy", value)
    np.savez("both.npz", **values)
    return values


def test_run(arrays, folder):
    code, text, _ = call("run", "net.py:Two", "-i", "a=a.npy", "-i", "b=b.npy", "-o", "out.npz", "--reference")
    assert code == 0
    with np.load("out.npz") as kept:
        np.testing.assert_array_equal(kept["sum"], arrays["a"] + arrays["b"])
        np.testing.assert_array_equal(kept["difference"], arrays["a"] - arrays["b"])
    assert re.search(r"sum +\(2, 3\) +float32 +1 +3.5 +6", text)
    assert re.search(r"1 +2: 6 +1: 5 +0: 4", text)  # the largest of row 1


def test_run_prints_whole_numbers_as_they_are(folder):
    """An index is one of these: 7.654e+06 is none."""
    np.save("x.npy", np.int64([[1234567, 7654321, 50256], [2**53 + 1, 2**31, -7]]))
    code, text, _ = call("run", "net.py:Same", "-i", "x=x.npy", "--reference")
    assert code == 0
    assert re.search(rf"output +\(2, 3\) +int64 +-7 +1\.5012e\+15 +{2**53 + 1}\s", text)
    assert row_of(text, "0") == ["0", "1:", "7654321", "0:", "1234567", "2:", "50256"]
    assert row_of(text, "1") == ["1", "0:", str(2**53 + 1), "1:", str(2**31), "2:", "-7"]


def test_run_from_one_file_into_a_folder(arrays, folder):
    code, *_ = call("run", "net.py:Two", "-i", "both.npz", "-o", "results", "--reference")
    assert code == 0
    assert {p.name for p in (folder / "results").iterdir()} == {"sum.npy", "difference.npy"}
    np.testing.assert_array_equal(np.load("results/sum.npy"), arrays["a"] + arrays["b"])


def test_run_with_weights_in_float64(arrays, folder):
    net = trtnet.cli.model.load_module("net.py").Net()
    net.save_weights("net.safetensors")
    w = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    expected = (arrays["a"] @ w["first.weight"].T + w["first.bias"]) @ w["last.weight"].T + w["last.bias"]
    code, _, notes = call(
        "run", "net.py:Net", "-w", "net.safetensors", "-i", "x=a.npy", "--dtype", "float64", "-o", "y.npy"
    )
    assert code == 0
    assert notes == ""
    np.testing.assert_array_equal(np.load("y.npy"), expected.astype(np.float32))


def test_run_says_that_it_falls_back(arrays):
    code, _, notes = call("run", "net.py:half", "-i", "x=a.npy")
    assert code == 0
    if trtnet.provider.can_execute() is not None:
        assert notes.startswith("note: no TensorRT can run here")
        assert notes.count("\n") == 1


def test_run_errors(arrays, folder):
    np.save("double.npy", np.zeros((2, 3)))
    assert "--input x=FILE:float32" in fails("run", "net.py:half", "-i", "x=double.npy")
    assert call("run", "net.py:half", "-i", "x=double.npy:float32", "--reference")[0] == 0
    assert "did you mean a.npy" in fails("run", "net.py:half", "-i", "x=aa.npy")
    Path("cut.npy").write_bytes(Path("a.npy").read_bytes()[:100])
    assert "cut.npy is damaged: it cannot be read" in fails("run", "net.py:half", "-i", "x=cut.npy")
    assert "holds several arrays" in fails("run", "net.py:half", "-i", "x=both.npz")
    assert "-o out.npz" in fails("run", "net.py:half", "-i", "x=a.npy", "-o", "out.csv")
    text = fails("run", "net.py:Two", "-i", "both.npz", "-o", "out.npy", "--reference")
    assert "one .npy file holds one output" in text
    assert not list(folder.glob("*out.npy*"))


NAMES = ("allow_pickle", "file", "../x", "/abs", "a/b", "..", "[/red]", "[bold]", ":x:", "\\", "%2F", "é")


@pytest.fixture
def odd(folder):
    pytest.importorskip("torch")
    (folder / "odd.py").write_text(f"def odd(x):\n    return {{name: x + i for i, name in enumerate({NAMES!r})}}\n")
    np.save("x.npy", np.arange(3, dtype=np.float32).reshape(1, 3))
    return folder


def test_outputs_of_any_name_in_one_file(odd):
    code, text, _ = call("run", "odd.py:odd", "-i", "x=x.npy", "-o", "out.npz", "--reference")
    assert code == 0
    kept = trtnet.weights.files.read("out.npz")
    assert {name: value.tolist() for name, value in kept.items()} == {
        name: [[i, i + 1, i + 2]] for i, name in enumerate(NAMES)
    }
    for name in NAMES:
        assert f" {name}: the 3 largest of each row" in " ".join(text.split())


def test_outputs_of_any_name_stay_in_their_folder(odd):
    before = set(odd.parent.rglob("*"))
    code, *_ = call("run", "odd.py:odd", "-i", "x=x.npy", "-o", "results", "--reference")
    assert code == 0
    made = set(odd.parent.rglob("*")) - before - {odd / "results"} - set(odd.rglob("__pycache__"))
    made = {path for path in made if "__pycache__" not in path.parts}
    assert len(made) == len(NAMES)
    assert {path.parent for path in made} == {odd / "results"}
    assert sorted(float(np.load(path)[0, 0]) for path in made) == list(range(len(NAMES)))
    (odd / "taken").write_text("")
    assert "is a file" in fails("run", "odd.py:odd", "-i", "x=x.npy", "-o", "taken", "--reference")


def test_damaged_arrays_are_errors_and_never_tracebacks(arrays, folder):
    """Random damage to real files: what is read is an array, or the command's own error."""
    chance, refused = np.random.default_rng(0), 0
    files = {"x.npy": Path("a.npy").read_bytes(), "x.npz": Path("both.npz").read_bytes()}
    for number in range(1500):
        name = ("x.npy", "x.npz")[number % 2]
        data = bytearray(files[name])
        for _ in range(chance.integers(1, 4)):
            data[chance.integers(len(data))] = chance.integers(256)
        if number % 7 == 0:
            data = data[: chance.integers(len(data))]
        Path(name).write_bytes(data)
        try:
            read_arrays([f"a={name}"])
        except trtnet.TrtnetError:
            refused += 1
    assert 500 < refused < 1500


def test_a_wrong_checksum_and_objects_in_an_npz(arrays, folder):
    data = bytearray(Path("both.npz").read_bytes())
    at = data.index(np.float32(5).tobytes())
    data[at] ^= 1
    Path("bad.npz").write_bytes(data)
    assert "Bad CRC-32" in fails("run", "net.py:Two", "-i", "bad.npz")
    assert "Bad CRC-32" in fails("run", "net.py:half", "-i", "x=bad.npz")
    np.savez("objects.npz", a=np.array([{}], dtype=object))
    assert "holds Python objects in 'a.npy'" in fails("run", "net.py:half", "-i", "objects.npz")


def test_sizes_of_five_thousand_digits(folder):
    long = "9" * 5000
    for shape in (f"{long}x3", f"n=1..{long}x3", f"n={long}..{long}x3", f"n=1..2/{long}x3"):
        assert "a size of 5,000 digits" in fails("summary", "net.py:Net", "-i", f"x={shape}")
    assert "is no size" in fails("build", "net.py:Net", "-i", "x=1x3", "--workspace", f"{long}K")
    assert parse_arguments([f"a={long}"]) == {"a": long}
    assert parse_arguments(["a=" + "(" * 20_000]) == {"a": "(" * 20_000}


def test_pickled_arrays_are_refused(folder):
    np.save("evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(trtnet.TrtnetError, match="holds Python objects"):
        read_arrays(["x=evil.npy"])


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor():
    code, text, _ = call("doctor")
    assert code == 0
    for part in ("This machine", "Python", "Packages", f"numpy +{re.escape(np.__version__)}", "What works here"):
        assert re.search(part, text)


def test_doctor_says_when_refits_wait_for_the_driver(monkeypatch):
    from trtnet.cli import preload
    from trtnet.tensorrt import device as gpu

    def told(seconds, answers=None):
        monkeypatch.setattr(gpu, "clock_rate_seconds", lambda: seconds)
        monkeypatch.setattr(preload, "answers", lambda: answers)
        return re.sub(r"\s+", " ", call("doctor")[1])

    assert "takes 0.69 ms to tell a clock rate" in told(6.9e-4)
    assert "LD_PRELOAD=$(trtnet preload) python" in told(6.9e-4)
    assert "trtnet's library answers for the driver" in told(2e-7, answers=3)
    for seconds in (None, 2e-7):
        assert "clock rate" not in told(seconds)


def test_doctor_says_how_kernels_are_loaded(monkeypatch):
    from trtnet.tensorrt import device as gpu

    def told(lazily):
        monkeypatch.setattr(gpu, "loads_lazily", lambda: lazily)
        return re.sub(r"\s+", " ", call("doctor")[1])

    assert "CUDA loads kernels lazily, when they are first used" in told(True)
    assert "CUDA loads all kernels at once" in told(False)
    assert "CUDA_MODULE_LOADING=LAZY python ... loads them" in told(False)
    assert "kernels" not in told(None)


@pytest.mark.parametrize(
    ("mode", "told"),
    [("Enabled", ", MIG on: a process sees one of its instances"), ("Disabled", ", MIG off"), ("[N/A]", "")],
)
def test_doctor_reads_what_nvidia_smi_says(mode, told, tmp_path, monkeypatch):
    """A program in nvidia-smi's place, which answers the query's columns."""
    from trtnet.cli import doctor

    tool = tmp_path / "nvidia-smi"
    values = {
        "name": "NVIDIA A100-SXM4-40GB", "memory.total": "40960 MiB", "compute_cap": "8.0",
        "driver_version": "535.104.05", "mig.mode.current": mode,
    }  # fmt: skip
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nvalues = {values}\n"
        "query, form = sys.argv[1:]\nassert form == '--format=csv,noheader'\n"
        "print(', '.join(values[name] for name in query.removeprefix('--query-gpu=').split(',')))\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.inspect_machine().machine
    assert [one.found for one in found if one.name == "GPU"] == [
        f"NVIDIA A100-SXM4-40GB, 40960 MiB, sm80, driver 535.104.05{told}"
    ]


def test_doctor_survives_whatever_is_missing(monkeypatch):
    """No package, no driver, and a tool that fails: it still reports, and says what to install."""
    from trtnet import provider
    from trtnet.cli import doctor

    real = __import__("importlib").import_module

    def nothing(name, *rest):
        if name.partition(".")[0] in ("torch", "tensorrt", "tensorrt_rtx", "sklearn", "PIL"):
            raise OSError(f"lib{name}.so: cannot open shared object file")
        if name in doctor.PACKAGES.values():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return real(name, *rest)

    provider.load.cache_clear()
    monkeypatch.setattr("importlib.import_module", nothing)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: (_ for _ in ()).throw(RuntimeError(name)))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/no/such/nvidia-smi")
    try:
        code, text, _ = call("doctor")
    finally:
        provider.load.cache_clear()
    assert code == 0
    packages = text.partition("Packages")[2].partition("What works here")[0]
    assert packages.count("installed, but its import fails: lib") == 5
    assert packages.count("not installed") == len(doctor.PACKAGES) - 5
    assert "pip install 'trtnet[torch]'" in text
    assert "pip install 'trtnet[demo]'" in text
    assert "cannot open shared object file" in text


def test_doctor_finds_packages_that_were_copied(tmp_path, monkeypatch):
    """Without metadata the module says its version, where it has one; a mere folder is no package."""
    from trtnet.cli import doctor

    def told(name):
        return next(fact for fact in doctor.inspect_machine().packages if fact.name == name)

    def missing(name):
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    copies = {"told": '__version__ = "11.4.0.1"', "untold": "", "broken": "import no_such_library"}
    for name, text in copies.items():
        (tmp_path / f"copied_{name}").mkdir()
        (tmp_path / f"copied_{name}" / "__init__.py").write_text(text)
    (tmp_path / "copied_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor.importlib.metadata, "version", missing)
    names = ("told", "untold", "broken", "folder", "absent", "absent.within")
    monkeypatch.setattr(doctor, "PACKAGES", {name: f"copied_{name}" for name in names})
    assert [(told(name).found, told(name).there) for name in names] == [
        ("11.4.0.1", True),
        ("installed, version unknown", True),
        ("installed, but its import fails: No module named 'no_such_library'", False),
        *[("not installed", False)] * 3,
    ]
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: None)  # metadata without a version
    assert told("told").found == "11.4.0.1"


# --- inspect, convert, refit ---------------------------------------------------------------------------------


def test_inspect_an_engine(folder):
    pytest.importorskip("torch")
    engine = trtnet.reference(trtnet.record(trtnet.nn.Linear(3, 2), input=trtnet.Input((Dim("b", 1, 2, 8), 3))))
    engine.refit(engine.parameters(), version=17)
    engine.save("net.fp32.engine")
    for name in ("net.fp32.engine", "net.fp32.engine.json"):
        code, text, _ = call("inspect", name)
        assert code == 0
        for line in (
            r"net.fp32.engine: an engine",
            r"runs here +yes, in PyTorch",
            r"weights +2 parameters, 32 bytes; 2 refittable",
            r"version +17, as the trainer numbers them",
            r"input +input +\(b, 3\) +float32",
            r"output +output +\(b, 2\) +float32",
            r"b +1 +2 +8",
        ):
            assert re.search(line, text), line
    needs_rtx()
    assert call("build", "net.py:Net", "-i", "x=1x3", "-o", "plan.engine", "-t", "sm86")[0] == 0
    code, text, _ = call("inspect", "plan.engine")
    assert code == 0
    assert re.search(r"built by +tensorrt_rtx \d", text)
    assert re.search(r"for +sm86", text)
    assert re.search(r"weights +4 parameters, 104 bytes; fixed", text)
    Path("bare.engine").write_bytes(Path("plan.engine").read_bytes())
    assert "a plan of" in call("inspect", "bare.engine")[1]
    data = bytearray(Path("plan.engine").read_bytes())
    data[len(data) // 2] ^= 1
    Path("plan.engine").write_bytes(bytes(data))
    assert "plan.engine" in fails("inspect", "plan.engine")


def test_inspect_weights(folder):
    arrays = {
        "a.weight": np.array([[1.0, -2.0], [np.nan, 4.0]], np.float32),
        "b": np.arange(3),
        "none": np.zeros((0, 2)),
    }
    np.savez("w.npz", **arrays)
    code, text, _ = call("inspect", "w.npz")
    assert code == 0
    assert row_of(text, "a.weight") == ["a.weight", "(2,", "2)", "float32", "4", "16", "-2", "1", "4", "1"]
    assert row_of(text, "b") == ["b", "(3,)", "int64", "3", "24", "0", "1", "2"]
    assert "3 arrays, 7 elements, 40 bytes" in text
    assert "there is no" in fails("inspect", "no.npz")
    assert "this file's suffix is not one" in fails("inspect", "net.py")
    assert "there is no file no.engine" in fails("inspect", "no.engine")
    assert "File name too long" in fails("inspect", "x" * 300 + ".engine")


def test_convert(folder):
    pytest.importorskip("torch")
    arrays = {f"actor.{i}.weight": np.full((2, 3), i, np.float32) for i in range(3)} | {
        "critic": np.ones(2, np.float32)
    }
    np.savez("all.npz", **arrays)
    code, text, _ = call("convert", "all.npz", "actor.safetensors", "--prefix", "actor.")
    assert code == 0
    assert "3 arrays" in text
    from trtnet.weights import files

    found = files.read("actor.safetensors")
    assert list(found) == ["0.weight", "1.weight", "2.weight"]
    assert all(np.array_equal(found[f"{i}.weight"], arrays[f"actor.{i}.weight"]) for i in range(3))
    files.write("told.safetensors", found, {"step": "900"})
    assert "its metadata (step) has no place there" in call("convert", "told.safetensors", "told.pt")[1]
    assert call("convert", "told.safetensors", "told.npz")[0] == 0
    assert files.read_metadata("told.npz") == {"step": "900"}
    for prefix in ("actor", "actor."):  # the module's name will do
        assert call("convert", "all.npz", "parts.npz", "--prefix", prefix)[0] == 0
        assert list(files.read("parts.npz")) == ["0.weight", "1.weight", "2.weight"]
    text = fails("convert", "all.npz", "x.safetensors", "--prefix", "critic")
    assert "no name in all.npz begins with 'critic' and goes on" in text
    text = fails("convert", "all.npz", "x.safetensors", "--prefix", "actr.")
    assert "no name in all.npz begins with 'actr.'" in text
    assert "`trtnet inspect all.npz` lists the names" in text
    assert not Path("x.safetensors").exists()
    assert "all.txt" in fails("convert", "all.npz", "all.txt")


def test_refit_the_files_of_an_engine(folder):
    pytest.importorskip("torch")
    module = trtnet.nn.Linear(3, 2)
    graph = trtnet.record(module, input=trtnet.Input((4, 3)))
    trtnet.reference(graph).save("net.engine")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    np.savez("new.npz", **{"actor.weight": weight})
    code, text, _ = call(
        "refit", "net.engine", "new.npz", "-o", "other.engine", "--prefix", "actor.", "--version", "900"
    )
    assert code == 0
    assert "1 of 2 parameters" in text
    other, first = trtnet.load("other.engine"), trtnet.load("net.engine")
    np.testing.assert_allclose(other(x), x @ weight.T + first.parameters()["bias"], rtol=1e-5, atol=1e-6)
    assert (other.version, first.version) == (900, None)
    assert not np.allclose(first(x), other(x))
    np.savez("nan.npz", bias=np.float32([1, np.nan]))
    assert "note: weights hold NaN or infinity: bias" in call("refit", "net.engine", "nan.npz", "-o", "nan.engine")[2]
    np.savez("wrong.npz", weight=np.ones((2, 4), np.float32))
    before = Path("net.engine.safetensors").read_bytes()
    assert "weight: expected (2, 3), found (2, 4)" in fails("refit", "net.engine", "wrong.npz")
    assert Path("net.engine.safetensors").read_bytes() == before


def test_refit_an_engine_whose_weights_are_fixed(folder):
    needs_rtx()
    assert call("build", "net.py:Net", "-i", "x=1x3", "-o", "net.engine", "-t", "sm86")[0] == 0
    before = Path("net.engine").read_bytes()
    np.savez("new.npz", **{"last.weight": np.ones((2, 4), np.float32)})
    message = fails("refit", "net.engine", "new.npz")
    assert "the weights of net.engine are fixed" in message
    assert "remedy:   build it with --refit: trtnet build MODEL --refit" in message
    assert Path("net.engine").read_bytes() == before
    assert call("build", "net.py:Net", "-i", "x=1x3", "-o", "net.engine", "-t", "sm86", "--refit")[0] == 0
    assert call("refit", "net.engine", "new.npz")[0] == 0


def test_inspect_what_is_not_there(folder):
    assert "there is no file nothing" in fails("inspect", "nothing")
    assert "this file's suffix is not one" in fails("inspect", "net.py")


def test_models_are_called_as_the_help_calls_them():
    for name in ("summary", "build", "check", "compare", "upgrade-check", "trtexec"):
        assert "MODEL" in next(line for line in call(name, "--help")[1].splitlines() if "Usage" in line), name


def test_refit_a_plan_that_holds_no_weights(folder):
    """By TensorRT-RTX, without a GPU."""
    pytest.importorskip("torch")
    needs_rtx()
    assert call("build", "net.py:Net", "-i", "x=1x3", "-o", "net.engine", "-t", "sm86", "--refit")[0] == 0
    plan = Path("net.engine").read_bytes()
    weight = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    np.savez("new.npz", **{"last.weight": weight})
    assert call("refit", "net.engine", "new.npz")[0] == 0
    assert Path("net.engine").read_bytes() == plan
    engine = trtnet.load("net.engine", provider="reference")
    assert np.array_equal(engine.parameters()["last.weight"], weight)


# --- remedies, followed -----------------------------------------------------------------------------------------------

FOLLOWED = {
    "-o plan.engine": (
        ("build", "net.py:Net", "-i", "x=1x3", "-o", "plan.plan", "--target", "sm86"),
        ("build", "net.py:Net", "-i", "x=1x3", "-o", "plan.engine", "--target", "sm86"),
    ),
    "--workspace 256M": (
        ("build", "net.py:Net", "-i", "x=1x3", "-o", "plan.engine", "--target", "sm86", "--workspace", "much"),
        ("build", "net.py:Net", "-i", "x=1x3", "-o", "plan.engine", "--target", "sm86", "--workspace", "256M"),
    ),
    "create it first: mkdir new": (
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "new/y.npz", "--reference"),
        ("mkdir", "new"),
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "new/y.npz", "--reference"),
    ),
    "give the range once; elsewhere the name alone is enough": (
        ("summary", "net.py:Two", "-i", "a=n=1..8x3", "-i", "b=n=1..9x3"),
        ("summary", "net.py:Two", "-i", "a=n=1..8x3", "-i", "b=n,3"),
    ),
    "say its range once: n=1..8..64": (
        ("summary", "net.py:Two", "-i", "a=n,3", "-i", "b=n,3"),
        ("summary", "net.py:Two", "-i", "a=n=1..8..64x3", "-i", "b=n,3"),
    ),
    "separate sizes by commas where one is a name: n,3": (
        ("summary", "net.py:Two", "-i", "a=n=1..8x3", "-i", "b=nx3"),
        ("summary", "net.py:Two", "-i", "a=n=1..8x3", "-i", "b=n,3"),
    ),
    "--input NAME=a.npz": (
        ("run", "net.py:half", "-i", "a.npz", "--reference"),
        ("run", "net.py:half", "-i", "x=a.npz", "--reference"),
    ),
    "--input both.npz, when all of them are inputs": (
        ("run", "net.py:Two", "-i", "x=both.npz", "--reference"),
        ("run", "net.py:Two", "-i", "both.npz", "--reference"),
    ),
    "let it be converted: --input x=FILE:float32": (
        ("run", "net.py:half", "-i", "x=double.npy", "--reference"),
        ("run", "net.py:half", "-i", "x=double.npy:float32", "--reference"),
    ),
    "name a class of modules, or a function that returns one": (
        ("summary", "net.py:nothing", "-i", "x=1x3"),
        ("summary", "net.py:wide", "-i", "x=1x3"),
    ),
    "write the network as a Python file, and name its class": (
        ("summary", "net.onnx", "-i", "x=1x3"),
        ("summary", "net.py:Net", "-i", "x=1x3"),
    ),
    "write the file in the type that the network takes": (
        ("run", "net.py:half", "-i", "x=halves.npy:int32", "--reference"),
        ("run", "net.py:half", "-i", "x=halves.npy", "--reference"),
    ),
    "leave --weights out, or name a class of modules": (
        ("summary", "net.py:half", "-i", "x=1x3", "-w", "both.npz"),
        ("summary", "net.py:half", "-i", "x=1x3"),
    ),
    "ONNX files are not read": (("summary", "net.onnx", "-i", "x=1x3"), ("summary", "net.py:Net", "-i", "x=1x3")),
    "its weights are given by --weights FILE": (
        ("summary", "both.npz", "-i", "x=1x3"),
        ("summary", "net.py:half", "-i", "x=1x3"),
    ),
    "name the network that it was built from": (
        ("upgrade-check", "copied.engine", "--python", sys.executable),
        ("summary", "net.py:half", "-i", "x=1x3"),
    ),
    "for instance": (("summary", "no/such thing", "-i", "x=1x3"), ("summary", "net.py:Net", "-i", "x=1x3")),
    "write net.py:": (("summary", "net.py", "-i", "x=1x3"), ("summary", "net.py:Net", "-i", "x=1x3")),
    "did you mean net.py:Net": (("summary", "net.py:Nett", "-i", "x=1x3"), ("summary", "net.py:Net", "-i", "x=1x3")),
    "did you mean models/resnet50?": (("summary", "models/resnet51"), ("summary", "models/resnet50")),
    "list them: trtnet models": (("summary", "models/qqqq"), ("models",)),
    "compare what was computed on the same inputs": (
        ("compare", "net.py:half", "reference", "wider.npz", "-i", "x=a.npy"),
        ("compare", "net.py:half", "reference", "halves.npz", "-i", "x=a.npy"),
    ),
    "a plan under another name is looked at as FILE.engine: copy it": (
        ("inspect", "plan.plan"),
        ("inspect", "copied.engine"),
    ),
    "`trtnet inspect both.npz` lists the names": (
        ("convert", "both.npz", "c.npz", "--prefix", "actor."),
        ("inspect", "both.npz"),
    ),
    "look into net.py": (("summary", "net.py:Qqqqqqq", "-i", "x=1x3"), ("summary", "net.py:Net", "-i", "x=1x3")),
    "give a file as path/to/file.py:Class": (
        ("summary", "nett:Net", "-i", "x=1x3"),
        ("summary", "net.py:Net", "-i", "x=1x3"),
    ),
    "constructor arguments are given as --arg name=value": (
        ("summary", "net.py:Sized", "-i", "x=1x3"),
        ("summary", "net.py:Sized", "--arg", "width=4", "-i", "x=1x3"),
    ),
    "one for each argument of forward: --input a=... --input b=...": (
        ("summary", "net.py:Two", "-i", "x=1x3"),
        ("summary", "net.py:Two", "-i", "a=1x3", "-i", "b=1x3"),
    ),
    "-o taken.npz, or another folder": (
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "taken", "--reference"),
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "taken.npz", "--reference"),
    ),
    "-o out.npz": (
        ("run", "net.py:Two", "-i", "both.npz", "-o", "out.npy", "--reference"),
        ("run", "net.py:Two", "-i", "both.npz", "-o", "out.npz", "--reference"),
    ),
    "-o another folder, or FILE.npz": (
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "taken/results", "--reference"),
        ("run", "net.py:half", "-i", "x=a.npy", "-o", "results", "--reference"),
    ),
}


@pytest.mark.filterwarnings("ignore:no TensorRT can run here")
@pytest.mark.parametrize("remedy", FOLLOWED)
def test_a_remedy_helps(folder, remedy):
    wrong, *between, right = FOLLOWED[remedy]
    if wrong[0] == "build":
        needs_rtx()
    if wrong[0] in ("run", "compare"):
        pytest.importorskip("torch")
    ones = np.ones((2, 3), np.float32)
    np.save("a.npy", ones)
    np.save("double.npy", ones.astype(np.float64))
    np.save("halves.npy", ones / 2)
    Path("a.npz").write_bytes(Path("a.npy").read_bytes())
    np.savez("both.npz", a=ones, b=ones)
    np.savez("wider.npz", output=np.ones((2, 4), np.float32))
    np.savez("halves.npz", output=ones / 2)
    for name in ("plan.plan", "copied.engine"):
        Path(name).write_bytes(b"a plan")
    Path("taken").write_text("a file")
    Path("net.onnx").write_bytes(b"")
    with Path("net.py").open("a") as file:
        file.write("\ndef nothing():\n    return 3\n")
        file.write("\nclass Sized(Net):\n    def __init__(self, width):\n        super().__init__(width)\n")
    assert remedy in fails(*wrong)
    for command, name in between:
        assert command == "mkdir"
        Path(name).mkdir()
    assert call(*right)[0] == 0


# --- build options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (["tf32=true", "sparsity=False"], {"tf32": True, "sparsity": False}),
        (["workspace=1.5K", "max_aux_streams=2"], {"workspace": 1536, "max_aux_streams": 2}),
        (["tiling_level=fast"], {"tiling_level": "fast"}),
        (
            ["l2_limit_for_tiling=2M", "avg_timing_iterations=4"],
            {"l2_limit_for_tiling": 2 << 20, "avg_timing_iterations": 4},
        ),
        (["tactic_sources=cublas, cudnn"], {"tactic_sources": ("cublas", "cudnn")}),
        (
            ["memory_pools.workspace=1M", "memory_pools.tactic_dram=2M", "io_formats.image=hwc8"],
            {"memory_pools": {"workspace": 1 << 20, "tactic_dram": 2 << 20}, "io_formats": {"image": "hwc8"}},
        ),
    ],
)
def test_options_as_text(texts, options):
    assert parse_options(texts) == options
    assert all(getattr(BuildOptions(**options), name) == value for name, value in options.items())


def test_every_option_is_listed():
    code, text, _ = call("build", "--options")
    assert code == 0
    rows = {line.split()[0]: line for line in text.splitlines()[2:]}
    assert list(rows) == [option.name for option in fields(BuildOptions)]
    assert "10.8" in rows["tiling_level"]
    assert "none, fast, moderate, full" in rows["tiling_level"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--option", "worspace=1M"], "did you mean 'workspace'"),
        (["--option", "workspace=1M", "--workspace", "2M"], "the option workspace is given twice"),
        (["--option", "tf32"], "--option tf32=true"),
        (["--option", "memory_pools.dram=1M"], "memory pool"),
        (["--option", "optimization_level=7"], "there is no such optimization level"),
        (["--option", "optimization_level=2.5"], "there is no such optimization level"),
        (["--option", "max_aux_streams=1.5"], "max_aux_streams is a whole number"),
        (["--option", "max_aux_streams=1K"], "max_aux_streams is a whole number"),
        (["--option", "max_aux_streams=-1"], "max_aux_streams is a whole number"),
        (["--option", "memory_pools.workspace=1.5"], "'1.5' is no size"),
        (["--option", "tiling_level=much"], "there is no such tiling_level"),
        (["--option", "memory_pools=3"], "memory_pools are given by name"),
        (["--option", "memory_pools=3", "--option", "memory_pools.tactic_dram=1M"], "is given twice"),
        (["--option", "io_formats=hwc8"], "io_formats are given by name"),
        (["--option", "tactic_sources=1"], "tactic_sources are names"),
        (["--option", "a.b.c=1"], "--option a.b.c=1 cannot be read"),
        (["--option", f"max_aux_streams={'9' * 30}"], "max_aux_streams is a whole number"),
        (["--option", "refit=true"], "--refit of the command"),
        (["--option", "targets=sm86"], "--target of the command"),
        (["--option", "timing_cache=t.cache"], "--timing-cache of the command"),
        (["--option", "profile_stream=5"], "a command cannot be given a CUDA stream"),
        (["--option", "profile_stream.x=5"], "trtnet.build(graph, profile_stream=stream), in Python"),
        (["--force"], "there is no plan cache in which a plan could be replaced"),
        (["--provider", "tensort"], "there is no such provider"),
        (["--timing-cache", "no/t.cache"], "no folder no"),
        (["--option", "progress=true"], "there is no build option 'progress'"),
    ],
)
def test_wrong_options(folder, options, message):
    code, text, errors = call("build", "net.py:Net", "-i", "x=1x3", *options)
    assert code == 2
    assert message in text + errors
    assert not list(folder.glob("*.engine*"))


def test_options_reach_the_builder(folder):
    needs_rtx()
    code, text, errors = call(
        "build", "net.py:Net", "-i", "x=1x3", "--half", "--option", "profiling_verbosity=detailed", "-o", "n.engine"
    )
    assert code == 0, text + errors
    manifest = json.loads((folder / "n.engine.json").read_text())
    assert manifest["options"]["profiling_verbosity"] == "detailed"
    assert {one["dtype"] for one in manifest["inputs"].values()} == {"float16"}
