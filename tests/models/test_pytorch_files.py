"""Model files written for PyTorch, in `files/`, loaded twice: as they are, and with their imports swapped.

Both must have the same `state_dict` keys and shapes, and give the same numbers for the same weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, torch_state
from pytorch_files import FILES, inputs_of, load, perturbed, swapped

NAMES = sorted(path.stem for path in FILES.glob("*.py"))
COMPILED = {"actor_critic", "gpt", "lstm", "mobile", "swin", "unet"}


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


@pytest.mark.parametrize("name", NAMES)
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
