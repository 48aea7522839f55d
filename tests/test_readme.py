"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from harness import rtx

import trtnet

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def test_examples_run(tmp_path, monkeypatch):
    if rtx() is None:
        pytest.skip("the example compiles a plan, and tensorrt_rtx is not installed on this platform")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.py"
    path.write_text("\n".join(blocks()))
    namespace: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    assert len(bytes(namespace["plan"])) > 10_000
    assert namespace["before"].shape == (5, 4)
    engine, frames = namespace["engine"], namespace["frames"]
    assert not np.array_equal(engine(frame=frames), namespace["before"])
    engine.refit({"head.bias": namespace["policy"].state_dict()["head.bias"]})
    assert np.array_equal(engine(frame=frames), namespace["before"])
    assert (tmp_path / "policy.safetensors").exists()


@pytest.mark.parametrize("page", ["engines", "reinforcement-learning", "plugins", "quantization", "torch-modules"])
@pytest.mark.filterwarnings("ignore:no TensorRT can run here")
def test_pages_run(page, tmp_path, monkeypatch):
    """The code of a page of docs/, from top to bottom."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    text = (README.parent / "docs" / f"{page}.md").read_text()
    found = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(found) > 1
    path = tmp_path / f"{page}.py"
    path.write_text("\n".join(found))
    exec(compile(path.read_text(), str(path), "exec"), {})


def test_first_example_is_twenty_lines():
    body = blocks()[0].split("class Policy")[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_the_shown_error_is_the_real_one(tmp_path):
    shown = re.search(r"```\n(the kernel of this.*?)```", README.read_text(), re.S).group(1)
    source = blocks()[0].split("policy = Policy()")[0]
    path = tmp_path / "policy.py"
    path.write_text(source)
    namespace: dict = {}
    exec(compile(source, str(path), "exec"), namespace)
    batch = trtnet.Dim("batch", min=1, opt=8, max=64)
    with pytest.raises(trtnet.TrtnetError) as error:
        trtnet.record(namespace["Policy"](), frame=trtnet.Input((batch, 4, 32, 32)))
    found = re.sub(r"\S+policy\.py:\d+", "policy.py:N", str(error.value))
    assert [line.strip() for line in found.splitlines()] == [
        re.sub(r"policy\.py:\d+", "policy.py:N", line).strip() for line in shown.splitlines()
    ]
