"""The page "From add_* to trtnet": its code runs, and prints what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import needs_rtx

PAGE = Path(__file__).parents[2] / "docs" / "add-to-trtnet.md"


def test_the_page_shows_what_its_code_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    needs_rtx()
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(), re.S)
    code = "\n".join(text for language, text in blocks if language == "python")
    Path("net.py").write_text(code)
    names: dict[str, object] = {}
    exec(compile(code, "net.py", "exec"), names)
    names["by_hand"]()
    explained, wrong = (text for language, text in blocks if not language)
    assert capsys.readouterr().out.strip() == f"{explained}{wrong}".strip()
    assert Path("net.mmd").read_text().startswith("flowchart TD")
