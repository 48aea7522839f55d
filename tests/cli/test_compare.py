"""`trtnet compare`: figures, modules, saved outputs, pictures."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TORCHS, call, fails, row_of

import trtnet
from trtnet.cli import pictures, saved

pytest.importorskip("torch")
NET = """
import trtnet
from trtnet import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x))

class Two(nn.Module):
    def forward(self, a, b):
        return {"sum": a + b, "difference": (a - b, a.to("bfloat16"))}

def half(x):
    return x * 0.5

class Square(nn.Module):
    def forward(self, x):
        return (x * 1e4).square()

class Overflows(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.inner, self.after = nn.ReLU(), Square(), nn.ReLU()

    def forward(self, x):
        return self.after(self.inner(self.before(x)))
"""


# --- figures and modules ----------------------------------------------------------------------------------------------


def test_compare_two_sides(folder):
    pytest.importorskip("torch")
    (folder / "t.py").write_text(TORCHS)
    arguments = ("t.py:Net", "-i", "x=b=1..4..8,3")
    code, text, notes = call("compare", *arguments, "reference", "float64")
    assert code == 0
    assert "reference and float64 agree within 0.0001 of each output's root mean square" in text
    assert "(4, 2)" in text
    assert "both sides have the same random initial values" in notes
    code, text, _ = call("compare", *arguments, "float64", "t.py:Net")
    assert code == 0
    code, text, _ = call("compare", *arguments, "float64", "t.py:Steeper")
    assert code == 1
    assert "float64 and t.py:Steeper differ by more than 0.0001 in output" in text
    assert row_of(text, "output")[-1] == "differs"


def test_compare_figures(folder):
    """Against the same figures by NumPy, of saved outputs."""
    pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    saved = x * 0.5 + np.random.default_rng(1).normal(size=x.shape).astype(np.float32) / 8
    np.save("x.npy", x)
    np.savez("saved.npz", output=saved)
    code, text, _ = call("compare", "net.py:half", "reference", "saved.npz", "-i", "x=x.npy")
    assert code == 1
    rms = np.sqrt(np.mean(saved.astype(np.float64) ** 2))
    found = x.astype(np.float64) * 0.5
    cosine = np.vdot(found, saved) / np.linalg.norm(found) / np.linalg.norm(saved.astype(np.float64))
    wanted = np.abs(found - saved).max() / rms, np.sqrt(np.mean((found - saved) ** 2)) / rms, cosine
    np.testing.assert_allclose([float(one) for one in row_of(text, "output")[3:6]], wanted, rtol=5e-3)
    saved = x * np.float32(0.5)
    saved[0, 0] = np.nan
    np.savez("saved.npz", output=saved)
    code, text, _ = call("compare", "net.py:half", "reference", "saved.npz", "-i", "x=x.npy")
    assert code == 1
    assert row_of(text, "output")[3] == "inf"
    assert "0, 1" in text
    x[0, 0] = np.nan
    np.save("x.npy", x)
    code, text, _ = call("compare", "net.py:half", "reference", "saved.npz", "-i", "x=x.npy")
    assert code == 0, "NaN in the same place is the same"
    assert "1, 1" in text


@pytest.mark.parametrize(
    ("one", "other", "figure"),
    [
        (np.array([50_000, 101]), np.array([50_000, 100]), 1 / np.sqrt((50_000**2 + 100**2) / 2)),
        (np.array([2**53 + 1, 0]), np.array([2**53, 0]), np.sqrt(2) / 2**53),
        (np.array([2**63 - 1, 0], np.uint64), np.array([2**63 - 2, 0], np.uint64), np.sqrt(2) / 2**63),
    ],
)
def test_a_whole_number_beside_another_is_no_agreement(folder, one, other, figure):
    np.savez("one.npz", output=one)
    np.savez("other.npz", output=other)
    code, text, _ = call("compare", "net.py:half", "one.npz", "other.npz", "-i", "x=2x3")
    assert code == 1
    assert "one.npz and other.npz differ by more than 0.0001, or in whole numbers, in output" in text
    assert float(row_of(text, "output")[2]) == pytest.approx(figure, rel=5e-3)
    assert call("compare", "net.py:half", "one.npz", "one.npz", "-i", "x=2x3")[0] == 0
    np.savez("other.npz", output=other.astype(np.float64))
    assert call("compare", "net.py:half", "one.npz", "other.npz", "-i", "x=2x3")[0] == 0, "as floats, within 0.0001"


@pytest.mark.parametrize("array", [np.array(["a"]), np.ones(2, np.complex64), np.zeros(2, "V3"), np.zeros(2, "M8[s]")])
def test_what_is_no_real_number_is_refused(folder, array):
    np.savez("odd.npz", output=array)
    text = fails("compare", "net.py:half", "odd.npz", "odd.npz", "-i", "x=2x3")
    assert "holds no real numbers" in text or "odd.npz" in text  # NumPy reads some of these back as they are


def test_compare_names_the_first_module_that_differs(folder):
    """A sum that float32 loses: in the second of three modules."""
    pytest.importorskip("torch")
    (folder / "lost.py").write_text(
        """
from trtnet import nn

class Loses(nn.Module):
    def forward(self, x):
        return (x + 1e9) - 1e9

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.middle, self.after = nn.Linear(3, 3), Loses(), nn.Linear(3, 2)

    def forward(self, x):
        return self.after(self.middle(self.before(x)))
"""
    )
    code, text, _ = call("compare", "lost.py:Net", "reference", "float64", "-i", "x=4x3")
    assert code == 1
    assert "the first module that differs: middle\n" in text
    assert row_of(text, "middle")[-1] == "differs"


def test_compare_an_engine_and_what_cannot_be_compared(folder):
    pytest.importorskip("torch")
    (folder / "t.py").write_text(TORCHS)
    graph = trtnet.record(lambda x: x * 0.5, x=trtnet.Input((2, 3)))
    trtnet.reference(graph).save("half.engine")
    assert call("compare", "net.py:half", "reference", "half.engine", "-i", "x=2x3")[0] == 0
    np.savez("other.npz", logits=np.ones((2, 3), np.float32))
    np.savez("larger.npz", output=np.ones((2, 4), np.float32))
    for other, message in (
        ("quick", "there is no such way to compute: 'quick'"),
        ("other.npz", "other.npz has no output 'output'"),
        ("larger.npz", "'output' has not the same shape on both sides"),
        ("net.py:Net", "net.py:Net is no torch.nn.Module"),
    ):
        assert message in fails("compare", "net.py:half", "reference", other, "-i", "x=2x3")
    text = fails("compare", "t.py:Net", "reference", "t.py:Wider", "-i", "x=2x3")
    assert "the network's weights do not fit Wider" in text
    assert "size mismatch for first.weight" in text


# --- NaN and overflow -------------------------------------------------------------------------------------------------


def test_overflow_is_named_by_its_module_where_both_sides_agree(folder: Path) -> None:
    np.save("x.npy", np.array([[1.0, 2.0, -3.0]], np.float32))
    code, text, _ = call("compare", "net.py:Overflows", "reference", "float64", "-i", "x=x.npy", "--half")
    assert code == 0
    for side in ("reference", "float64"):
        assert f"the first module that is not finite in {side}: inner (2 infinite of 3)\n" in text
    assert "the first module that differs" not in text
    code, text, _ = call("compare", "net.py:Overflows", "reference", "float64", "-i", "x=x.npy")
    assert code == 0
    assert "not finite in" not in text  # float32 holds 1e8


def test_nan_is_named_by_the_side_that_has_it(folder: Path) -> None:
    np.save("x.npy", np.array([[np.nan, 2.0, 3.0]], np.float32))
    np.savez("saved.npz", output=np.ones((1, 3), np.float32))
    code, text, _ = call("compare", "net.py:Overflows", "reference", "saved.npz", "-i", "x=x.npy")
    assert code == 1
    assert "the first module that is not finite in reference: before (1 NaN of 3)\n" in text
    code, text, _ = call("compare", "net.py:half", "saved.npz", "reference", "-i", "x=x.npy")
    assert code == 1
    assert "no modules in it can be compared" in text


# --- saved outputs ----------------------------------------------------------------------------------------------------


def kept(folder: Path) -> dict[str, np.ndarray]:
    """What `compare --save` is given in these tests, and the outputs by NumPy."""
    a, b = (np.random.default_rng(seed).standard_normal((2, 3), np.float32) for seed in (0, 1))
    np.savez("both.npz", a=a, b=b)
    code, *_ = call("compare", "net.py:Two", "reference", "float64", "-i", "both.npz", "--save", "kept.json")
    assert code == 0
    import ml_dtypes

    return {"sum": a + b, "difference_0": a - b, "difference_1": a.astype(ml_dtypes.bfloat16).astype(np.float32)}


def test_saved_outputs_have_polygraphys_form(folder: Path) -> None:
    wanted = kept(folder)
    data = json.loads((folder / "kept.json").read_text())
    assert data["polygraphy_class"] == "RunResults"
    assert [name for name, _ in data["lst"]] == ["reference", "float64"]
    for name, iterations in data["lst"]:
        (one,) = iterations
        assert (one["polygraphy_class"], one["runner_name"], one["runtime"]) == ("IterationResult", name, None)
        assert list(one["outputs"]) == list(wanted)
        for output, array in wanted.items():
            lazy = one["outputs"][output]
            assert (lazy["polygraphy_class"], lazy["values"]["polygraphy_class"]) == ("LazyArray", "ndarray")
            found = np.load(io.BytesIO(base64.b64decode(lazy["values"]["array"])), allow_pickle=False)
            np.testing.assert_allclose(found, array, rtol=1e-6)


def test_polygraphy_reads_what_is_saved_and_is_read(folder: Path) -> None:
    polygraphy: Any = pytest.importorskip("polygraphy.comparator", reason="Polygraphy is not installed")
    wanted = kept(folder)
    results = polygraphy.RunResults.load("kept.json")
    for name in ("reference", "float64"):
        (iteration,) = results[name]
        for output, array in wanted.items():
            np.testing.assert_allclose(iteration[output], array, rtol=1e-6)
    accuracy = polygraphy.Comparator.compare_accuracy(results)
    assert bool(accuracy)
    theirs = polygraphy.RunResults()
    theirs.add([wanted], runner_name="trt-runner", runtime=0.5)
    theirs.save("theirs.json")
    for output, array in saved.read(Path("theirs.json")).items():
        np.testing.assert_array_equal(array, wanted[output])
    code, text, _ = call("compare", "net.py:Two", "float64", "theirs.json", "-i", "both.npz")
    assert code == 0, text
    theirs.add([wanted | {"sum": wanted["sum"] + 1}], runner_name="other")
    theirs.save("theirs.json")
    assert call("compare", "net.py:Two", "theirs.json:trt-runner", "theirs.json:other", "-i", "both.npz")[0] == 1


def test_saved_outputs_keep_their_shapes(folder: Path) -> None:
    arrays = {"number": np.array(3.0, np.float32), "none": np.zeros((0, 2)), "turned": np.arange(6).reshape(2, 3).T}
    saved.write(Path("kept.json"), {"one": arrays})
    for name, array in saved.read(Path("kept.json")).items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_saved_outputs_as_a_side(folder: Path) -> None:
    kept(folder)
    arguments = ("compare", "net.py:Two", "-i", "both.npz")
    code, text, _ = call(*arguments, "kept.json:float64", "reference")
    assert code == 0
    assert row_of(text, "sum")[-1] == "1.000000000"
    text = fails(*arguments, "reference", "kept.json")
    assert "kept.json holds the outputs of 2 runners" in text
    assert "remedy:   name one: kept.json:reference" in text
    assert "found:    float16" in fails(*arguments, "reference", "kept.json:float16")
    code, _, notes = call("compare", "net.py:half", "kept.json:float64", "reference", "-i", "x=2x3")
    assert code == 2
    np.savez("more.npz", output=np.ones((2, 3), np.float32), hidden=np.ones(2))
    code, _, notes = call("compare", "net.py:half", "more.npz", "float64", "-i", "x=2x3")
    assert code == 1
    assert "more.npz has more, which is not compared: hidden" in notes
    code, *_ = call("compare", "net.py:half", "float64", "float64", "-i", "x=2x3", "--save", "same.json")
    assert code == 0
    assert [name for name, _ in json.loads(Path("same.json").read_text())["lst"]] == ["float64", "float64 again"]


def test_a_side_that_lacks_an_output_is_no_agreement(folder: Path) -> None:
    wanted = kept(folder)
    np.savez("part.npz", sum=wanted["sum"])
    for sides in (("part.npz", "reference"), ("reference", "part.npz")):
        text = fails("compare", "net.py:Two", *sides, "-i", "both.npz")
        assert "part.npz has no output 'difference_0'" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not hold Polygraphy's outputs"),
        ("[]", "does not hold Polygraphy's outputs"),
        ('{"lst": []}', "does not hold Polygraphy's outputs"),
        ('{"lst": [], "polygraphy_class": "Algorithm"}', "it holds Algorithm"),
        ('{"lst": [], "polygraphy_class": "RunResults"}', "holds the outputs of 0 runners"),
        ("TENSOR", "an output is Tensor"),
        ("BASE64", "an array is no base64"),
        ("CUT", "does not hold Polygraphy's outputs"),
        ("TWICE", "holds outputs for 2 sets of inputs"),
    ],
)
def test_damaged_saved_outputs(folder: Path, text: str, message: str) -> None:
    saved.write(Path("good.json"), {"one": {"output": np.ones((2, 3), np.float32)}})
    assert call("compare", "net.py:half", "good.json", "good.json:one", "-i", "x=2x3")[0] == 0
    data = json.loads(Path("good.json").read_text())
    values = data["lst"][0][1][0]["outputs"]["output"]["values"]
    if text == "TENSOR":
        values["polygraphy_class"] = "Tensor"
    elif text == "BASE64":
        values["array"] = "????"
    elif text == "CUT":
        values["array"] = values["array"][:64]
    elif text == "TWICE":
        data["lst"][0][1] *= 2
    Path("bad.json").write_text(json.dumps(data) if text.isalnum() else text)
    assert message in fails("compare", "net.py:half", "reference", "bad.json", "-i", "x=2x3")


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_counts_every_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")
    figures: list[Any] = []
    save = pictures._save
    monkeypatch.setattr(pictures, "_save", lambda path, figure: (figures.append(figure), save(path, figure)))
    one = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    other = one * 0.5 + np.float32(1e-3)
    other[0] = one[0] * np.float32(0.5)
    other[1, 0] = np.nan
    np.save("x.npy", one)
    np.savez("saved.npz", output=other)
    for name, start in (("o.png", b"\x89PNG"), ("o.svg", b"<?xml")):
        code, *_ = call("compare", "net.py:half", "reference", "saved.npz", "-i", "x=x.npy", "--picture", name)
        assert code == 1
        assert Path(name).read_bytes().startswith(start)
    (panel,) = figures[0].axes
    assert panel.get_title() == "output: 120 values, 3 the same, 1 infinitely off"
    assert sum(bar.get_height() for bar in panel.patches) == 116
    assert panel.get_xscale() == "log"
    rms = np.sqrt(np.nanmean(other.astype(np.float64) ** 2))
    drawn = [bar.get_x() + bar.get_width() / 2 for bar in panel.patches if bar.get_height()]
    assert drawn == pytest.approx([1e-3 / rms] * len(drawn), rel=0.2)


def test_many_outputs_in_one_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")
    figures: list[Any] = []
    monkeypatch.setattr(pictures, "_save", lambda path, figure: figures.append(figure))
    errors = {f"a${n}": np.full(4, float(n)) for n in range(20)} | {"empty": np.zeros(0)}
    pictures.draw_errors(Path("o.png"), "Net", errors, 1e-3)
    assert [panel.get_title().partition(":")[0] for panel in figures[0].axes] == [f"a${n}" for n in range(8, 20)]
    assert figures[0].get_suptitle() == "Net (the 12 of 21 outputs that differ most)"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_files_that_could_not_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder.json").mkdir()
    for arguments, message in (
        (("--save", "o.npz"), "remedy:   name it o.json"),
        (("--save", "no/o.json"), "there is no folder no"),
        (("--save", "folder.json"), "folder.json is a folder"),
        (("--picture", "o.pdf"), "remedy:   --picture o.png"),
        (("--picture", "no/o.png"), "there is no folder no"),
    ):
        assert message in fails("compare", "net.py:half", "reference", "float64", "-i", "x=2x3", *arguments)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = fails("compare", "net.py:half", "reference", "float64", "-i", "x=2x3", "--picture", "o.png")
    assert "pictures are drawn by matplotlib, which is not installed" in text
    assert "remedy:   pip install matplotlib" in text
    assert not list(folder.glob("o.*"))


# --- ONNX Runtime -----------------------------------------------------------------------------------------------------


def test_onnx_runtime_as_a_side(folder: Path) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    assert call("compare", "net.py:Net", "onnxruntime", "float64", "-i", "x=2x3")[0] == 0
    text = fails("compare", "net.py:Two", "onnxruntime", "float64", "-i", "a=2x3", "-i", "b=2x3")
    assert "ONNX Runtime does not compute this network" in text
    assert "bfloat16" in text
    code, text, _ = call("compare", "net.py:Overflows", "onnxruntime", "float64", "-i", "x=2x3", "--half")
    assert code in (0, 1)
    assert "the first module that is not finite in onnxruntime: inner" in text


def test_onnx_runtime_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    text = fails("compare", "net.py:half", "onnxruntime", "float64", "-i", "x=2x3")
    assert "ONNX Runtime is not installed" in text
    assert "remedy:   pip install onnx onnxruntime" in text
