"""`trtnet demo` where TensorRT runs: it uses it, and agrees with the reference engine."""

import io
import re

import pytest
from rich.console import Console


def test_demo_runs_tensorrt(tmp_path):
    for module in ("torch", "sklearn", "PIL"):
        pytest.importorskip(module)
    from trtnet.cli.demo import run_demo

    text = io.StringIO()
    run_demo(Console(file=text, width=200, color_system=None), tmp_path / "digits.png")
    same, of, difference = re.search(r"same answer for (\d+) of (\d+) digits; .*: (\S+)\.\n", text.getvalue()).groups()
    assert int(same) == int(of) == 899
    assert float(difference) < 1e-3
    assert text.getvalue().count("same bits as before") == 2
    assert "not the same bits" not in text.getvalue()
