"""What comes with trtnet beside its code."""

from __future__ import annotations

import pytest

import trtnet
from trtnet.basics import bundled


def test_the_installed_package_comes_first(monkeypatch, tmp_path):
    package = tmp_path / "trtnet"
    for root, text in ((package / "_bundled", "wheel"), (tmp_path, "checkout")):
        (root / "models").mkdir(parents=True)
        (root / "models" / "lenet.py").write_text(text)
    monkeypatch.setattr(bundled, "PACKAGE", package)
    assert bundled.bundled("models/lenet.py").read_text() == "wheel"
    (package / "_bundled" / "models" / "lenet.py").unlink()
    assert bundled.bundled("models/lenet.py").read_text() == "checkout"
    with pytest.raises(trtnet.TrtnetError, match=r"weights/x.safetensors is not beside"):
        bundled.bundled("weights/x.safetensors")
