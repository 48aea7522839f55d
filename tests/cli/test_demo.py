"""`trtnet demo` from end to end, and what it draws."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from harness import rtx
from rich.console import Console

import trtnet
from trtnet.cli.demo import drawing

pytest.importorskip("torch")
pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    from trtnet.cli.demo import run_demo

    picture = tmp_path_factory.mktemp("demo") / "folder" / "digits.png"
    text = io.StringIO()
    run_demo(Console(file=text, width=100, color_system=None, force_terminal=False), picture)
    return text.getvalue(), picture


def test_tells_the_whole_story(shown):
    text, _ = shown
    for heading in (
        "written like a PyTorch module",
        "GPUs that need not be here",
        "has never seen",
        "Other weights, same engine",
    ):
        assert heading in text
    assert "def forward(self, image):" in text
    assert "431,080 parameters" in text


def test_plans_for_three_gpus(shown):
    text, _ = shown
    sizes = dict(re.findall(r"(sm\d+) .*?([\d,]{7,}) bytes +\d+\.\d s", text))
    if rtx() is None:
        assert "pip install 'trtnet[rtx]'" in text
    else:
        assert set(sizes) == {"sm86", "sm89", "sm120"}
        assert all(int(size.replace(",", "")) > 431_080 * 4 for size in sizes.values())


def test_accuracy_and_refits(shown):
    text, _ = shown
    right, of, percent = re.search(r"(\d+) of (\d+) right: (\d+\.\d)%", text).groups()
    assert int(of) == 899
    assert float(percent) >= 97
    assert int(right) == round(float(percent) * 899 / 100)
    before = re.search(r"it read +(\d(?:  \d)+)", text)[1].split()
    after = re.search(r"now +(\d(?:  \d)+)", text)[1].split()
    assert before == [str(d) for d in range(10)]
    assert after == [str((d + 1) % 10) for d in range(10)]
    assert text.count("same bits as before") == 2
    assert "not the same bits" not in text


def test_picture(shown):
    _, path = shown
    assert path.read_bytes().startswith(b"\x89PNG")
    with Image.open(path) as picture:
        assert picture.size == (5 * drawing.TILE + 2 * drawing.MARGIN, 92 + 3 * 192 + drawing.MARGIN)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0, 0, 0), (255, 255, 255), (26, 127, 55), (207, 34, 46)} <= colours


def test_draws_without_colours_in_80_columns():
    image = np.zeros((28, 28), np.float32)
    image[4:24, 13:15] = 1
    prob = np.full(10, 0.01, np.float32)
    prob[1] = 0.91
    text = io.StringIO()
    console = Console(file=text, width=80, color_system=None)
    drawing.draw_answers(console, [drawing.Answer(image, prob, 1), drawing.Answer(image, prob, 7)])
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "a 1, at 91.0%: right" in lines[0]
    assert "wrong: it is a 7" in lines[0]
    assert sum("█" * 2 in line for line in lines) >= 10
    assert "1 █████████ 91%" in text.getvalue()


def test_a_missing_package_is_named(monkeypatch):
    import sys

    from trtnet.cli.demo import run_demo

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(trtnet.TrtnetError, match="the demo needs scikit-learn") as caught:
        run_demo(Console(file=io.StringIO()), Path("digits.png"))
    assert caught.value.remedy == "pip install 'trtnet[demo]'"


def test_the_picture_is_a_png(tmp_path):
    from trtnet.cli.demo import run_demo

    with pytest.raises(trtnet.TrtnetError, match="the picture is a PNG"):
        run_demo(Console(file=io.StringIO()), Path("digits.gif"))
    (tmp_path / "file").write_text("")
    with pytest.raises(trtnet.TrtnetError, match="could not be written"):
        drawing.save_picture(tmp_path / "file" / "digits.png", "", "", [])


def test_without_tensorrt_rtx_plans_are_left_out(monkeypatch):
    from trtnet import provider
    from trtnet.cli import demo

    def missing(name):
        raise trtnet.errors.ProviderError(f"{name} is not usable here")

    monkeypatch.setattr(provider, "load", missing)
    text = io.StringIO()
    demo._compile(Console(file=text, width=100, color_system=None, highlight=False), None)
    assert "pip install 'trtnet[rtx]'" in text.getvalue()
