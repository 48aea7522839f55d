"""Model files written for PyTorch, in `models/files/`, loaded as they are or with imports swapped for trtnet's."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

import trtnet
from trtnet import Dim

FILES = Path(trtnet.__file__).parents[1] / "tests" / "models" / "files"
DIMS = {
    "batch": Dim("batch", min=1, opt=2, max=4),
    "time": Dim("time", min=4, opt=6, max=10),
    "rays": Dim("rays", min=1, opt=3, max=64),
}

SWAPS = (
    (r"^import torch\.nn\.functional as (\w+)$", r"from trtnet import functional as \1"),
    (r"^import torch\.nn as (\w+)$", r"from trtnet import nn as \1"),
    (r"^import torch\.[\w.]+$", "import trtnet as torch"),
    (r"^import torch$", "import trtnet as torch"),
    (r"^from torch\b", "from trtnet"),
)


def swapped(text: str) -> str:
    """The text of a model file with its imports of torch swapped for trtnet's, and nothing else changed."""
    for pattern, replacement in SWAPS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def load(name: str, *, swap: bool) -> types.ModuleType:
    """The model file as a module, of torch or (`swap`) of trtnet."""
    path = FILES / f"{name}.py"
    text = path.read_text()
    module = types.ModuleType(f"{name}_{'trtnet' if swap else 'torch'}_file")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(swapped(text) if swap else text, str(path), "exec"), module.__dict__)
    return module


def perturbed(model: Any) -> Any:
    """The torch model with noise on every parameter and running statistic, so that none is at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *buffers.items()):
            if name.endswith("running_var"):
                value.add_(torch.rand(value.shape, generator=generator))
            elif value.is_floating_point() and (name not in buffers or name.endswith("running_mean")):
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
    return model


def values(shape: tuple[int, ...], kind: Any, rng: np.random.Generator) -> np.ndarray:
    if kind == "bool":
        made = np.zeros(shape, bool)
        made[..., -4:] = True
        return made
    if kind == "mask":
        made = np.ones(shape, np.float32)
        made[0, -2:] = 0
        return made
    if kind == "bytes":
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.standard_normal(shape).astype(np.float32) if kind is None else rng.integers(0, kind, shape)


def inputs_of(module: types.ModuleType) -> tuple[dict[str, np.ndarray], dict[str, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    arrays, shapes = {}, {}
    for name, (shape, recorded, *kind) in module.INPUTS.items():
        arrays[name] = values(shape, kind[0] if kind else None, rng)
        shapes[name] = tuple(DIMS[s] if isinstance(s, str) else s for s in recorded)
    return arrays, shapes
