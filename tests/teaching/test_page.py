"""The page that a browser shows: everything is in it, and its boxes open and close."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest
from cases import CASES, recorded

import trtnet
from models.lenet import LeNet
from trtnet import Input, nn
from trtnet.teaching.drawing import as_page
from trtnet.teaching.picture import Shown
from trtnet.tensorrt.abilities import Newest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def told(page):
    """What the page's script is given."""
    return json.loads(re.search(r"^const picture = (.*);$", page, re.M).group(1))


def shown(page, tmp_path, script=""):
    """The page as a browser has it, after what `script` did to it."""
    if BROWSER is None:
        pytest.skip("Chromium is not installed")
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    command = [BROWSER, *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout


def boxes(dom):
    return len(re.findall(r'<g class="box', dom))


@pytest.mark.parametrize("name", CASES)
def test_every_box_and_arrow_is_in_the_page(name):
    made = Shown(recorded(name)[0].for_provider(Newest())).picture()
    given = told(as_page(made))
    assert [box["label"] for box in given["boxes"]] == [box.lines for box in made.boxes]
    assert [tuple(arrow) for arrow in given["arrows"]] == list(made.arrows)
    for box, one in zip(given["boxes"], made.boxes):
        path, frame = [], box["frame"]
        while frame >= 0:
            path.insert(0, given["frames"][frame]["label"][0])
            frame = given["frames"][frame]["parent"]
        assert [name for name in path if not name.startswith("layers ")] == [module.name for module in one.path]


def test_nothing_is_fetched_from_elsewhere():
    page = as_page(Shown(trtnet.record(LeNet(), image=Input((1, 1, 28, 28)))).picture())
    addresses = set(re.findall(r"https?://[^\s\"'`)<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert "Copyright (c) 2012-2014 Chris Pettitt" in page, "dagre's licence goes with it"


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("</script><b>&amp; {{dagre}}", nn.Linear(3, 3))

    def forward(self, x):
        return {"</script>": next(self.children())(x)}


def test_names_are_text_in_it(tmp_path):
    page = trtnet.record(Odd(), x=Input((2, 3))).draw(tmp_path / "odd.html")
    assert page.count("</script>") == 2
    given = told(page)
    assert [frame["label"] for frame in given["frames"]] == [["</script><b>&amp; {{dagre}}"]]
    assert given["boxes"][-1]["label"][0] == "output </script>"


def test_a_browser_shows_lenet(tmp_path):
    graph = trtnet.record(LeNet(), image=Input((1, 1, 28, 28)))
    page = graph.draw(tmp_path / "lenet.html")
    assert (tmp_path / "lenet.html").read_text(encoding="utf-8") == page
    dom = shown(page, tmp_path)
    assert boxes(dom) == 17
    assert len(re.findall(r'<g class="arrow', dom)) == 16
    for text in ("− conv1", "fc1.weight (500, 800)", "(1, 20, 24, 24) float32", "output prob"):
        assert f">{text}</text>" in dom, text


def test_boxes_close_and_open(tmp_path):
    page = trtnet.record(LeNet(), image=Input((1, 1, 28, 28))).draw(tmp_path / "lenet.html")
    closed = shown(page, tmp_path, 'document.getElementById("close").click()')
    assert boxes(closed) == 11
    assert closed.count(">4 layers</text>") == 2
    again = shown(
        page, tmp_path,
        'document.getElementById("close").click();'
        'document.querySelector(".module").dispatchEvent(new MouseEvent("click", {bubbles: true}));'
        'document.querySelectorAll(".module")[1].dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));',
    )  # fmt: skip
    assert len(re.findall(r'<g class="frame', again)) == 2
    assert len(re.findall(r'<g class="box module', again)) == 2


class Stages(nn.Module):
    """5,200 layers in 20 stages of 20 blocks."""

    def __init__(self):
        super().__init__()
        block = (nn.ReLU, nn.Tanh, nn.Sigmoid) * 4 + (nn.ReLU,)
        self.stages = nn.Sequential(
            *(nn.Sequential(*(nn.Sequential(*(one() for one in block)) for _ in range(20))) for _ in range(20))
        )

    def forward(self, x):
        return self.stages(x)


def test_five_thousand_layers(tmp_path):
    graph = trtnet.record(Stages(), x=Input((2, 3)))
    assert len(graph.layers) == 5200
    page = graph.draw(tmp_path / "large.html")
    assert len(told(page)["boxes"]) == 5202
    dom = shown(page, tmp_path)
    assert boxes(dom) == 22, "the stages"
    more = shown(page, tmp_path, 'for (let i = 0; i < 9; i++) document.getElementById("open").click();')
    assert 400 < boxes(more) <= 500
    assert "500 boxes are shown at most" in more


def test_many_layers_of_one_module_are_shown_in_runs(tmp_path):
    def forward(x):
        for _ in range(450):
            x = trtnet.relu(x)
        return x

    page = trtnet.record(forward, x=Input((2, 3))).draw(tmp_path / "flat.html")
    given = told(page)
    assert [frame["label"][0] for frame in given["frames"]][:2] == ["layers 1 to 100", "layers 101 to 200"]
    assert [sum(box["frame"] == number for box in given["boxes"]) for number in range(5)] == [100, 100, 100, 100, 52]
    assert boxes(shown(page, tmp_path)) == 5


class Again(nn.Module):
    """One module that is called at two places, and one that is called twice in a row."""

    def __init__(self):
        super().__init__()
        self.relu, self.linear = nn.ReLU(), nn.Linear(3, 3)

    def forward(self, x):
        return self.relu(self.linear(self.linear(self.relu(x))))


def test_a_module_that_is_called_at_two_places_is_two_boxes(tmp_path):
    graph = trtnet.record(Again(), x=Input((2, 3)))
    given = told(graph.draw(tmp_path / "again.html"))
    assert [frame["label"] for frame in given["frames"]] == [["relu"], ["linear"], ["relu"]]
    assert [sum(box["frame"] == number for box in given["boxes"]) for number in range(3)] == [1, 6, 1]
    assert graph.draw(depth=0).count('["relu<br>1 layer"]') == 2


def test_a_loop_leads_back(tmp_path):
    graph = recorded("scan")[0]
    dom = shown(graph.draw(tmp_path / "scan.html"), tmp_path)
    assert dom.count('class="arrow back"') == 2


def test_a_notebook_shows_the_page():
    graph = trtnet.record(LeNet(), image=Input((1, 1, 28, 28)))
    inside = html.unescape(
        re.fullmatch(r'<iframe srcdoc="(.*?)" style=".*"></iframe>', graph._repr_html_(), re.S).group(1)
    )
    assert len(told(inside)["boxes"]) == 17
    engine = trtnet.reference(graph)
    inside = html.unescape(re.match(r'<iframe srcdoc="(.*?)"', engine._repr_html_(), re.S).group(1))
    assert len(told(inside)["boxes"]) == 11, "the reference runs the layers that were recorded"


def test_a_notebook_shows_a_module():
    shown_as = Odd()._repr_html_()
    assert shown_as.count("<details") == shown_as.count("</details>") == 1
    assert "&lt;/script&gt;&lt;b&gt;&amp;amp;" in shown_as
    assert "weight (3, 3)" in shown_as
    text = LeNet()._repr_html_()
    assert re.findall(r"<b>(\w+)</b> (\w+)\(", text) == [
        ("conv1", "Conv2d"), ("conv2", "Conv2d"), ("fc1", "Linear"), ("fc2", "Linear"),
    ]  # fmt: skip
    assert "conv1</b> Conv2d(1, 20, kernel_size=(5, 5), stride=(1, 1))<br>weight (20, 1, 5, 5)<br>bias (20,)" in text
    deep = nn.Sequential(nn.ReLU())
    for _ in range(3000):
        deep = nn.Sequential(deep)
    assert deep._repr_html_().count("</details>") == 3001
