"""Model files written for PyTorch, in `files/`, loaded twice: as they are, and with their imports swapped.

Both must have the same `state_dict` keys and shapes, and give the same numbers for the same weights.
"""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import check_against_torch, torch_state

import trtnet
from trtnet import Dim
from trtnet.errors import UnsupportedError

FILES = Path(__file__).parent / "files"
NAMES = sorted(path.stem for path in FILES.glob("*.py"))
COMPILED = {"actor_critic", "gpt", "mobile", "swin", "unet"}
REFUSED = {"lstm"}
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
    import sys

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


def test_the_swap_changes_imports_and_nothing_else() -> None:
    text = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\nfrom torch import nn, Tensor\nx = 1\n"
    assert swapped(text).splitlines() == [
        "import trtnet as torch",
        "from trtnet import nn as nn",
        "from trtnet import functional as F",
        "from trtnet import nn, Tensor",
        "x = 1",
    ]
    for name in NAMES:
        before, after = (FILES / f"{name}.py").read_text(), swapped((FILES / f"{name}.py").read_text())
        changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
        assert changed, name
        assert all(a.startswith(("import torch", "from torch")) for a, _ in changed), name


@pytest.mark.parametrize("name", [n for n in NAMES if n not in REFUSED])
def test_a_model_file_records_unchanged(name: str) -> None:
    file = load(name, swap=False)
    torch.manual_seed(0)
    model = perturbed(file.build()).eval()
    mine = load(name, swap=True).build().eval()

    state, own = torch_state(model), mine.state_dict()
    assert list(own) == list(state)
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in state.items()}
    assert {k for k, _ in mine.named_parameters()} == {k for k, _ in model.named_parameters()}
    mine.load_state_dict(state)

    arrays, shapes = inputs_of(file)
    # Python numbers in a model are constants of float32 in a network, and of float64 in this comparison
    check_against_torch(mine, model, arrays, shapes=shapes, compile=name in COMPILED, rtol=1e-6, atol=1e-6)


def test_the_initial_values_are_of_torchs_distributions() -> None:
    for name in ("gpt", "vit", "detr"):
        model, mine = (load(name, swap=swap).build() for swap in (False, True))
        for (key, a), (_, b) in zip(model.named_parameters(), mine.named_parameters(), strict=True):
            spread = float(a.detach().std()) if a.numel() > 1 else 0.0
            found = float(np.std(b.numpy(), ddof=1)) if a.numel() > 1 else 0.0
            if a.numel() >= 256 or spread == 0:
                assert found == pytest.approx(spread, rel=0.25, abs=1e-6), f"{name}: {key}"


def test_a_recurrent_model_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="LSTM") as caught:
        load("lstm", swap=True).build()
    assert caught.value.where.file.endswith("lstm.py")
    assert caught.value.remedy
    assert trtnet.nn.LSTM
