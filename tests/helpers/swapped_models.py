"""A file of `models/` as one written for PyTorch: the same lines, with their imports swapped."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import torch

import models


def nms(boxes, scores, iou_threshold):
    """torchvision's, by its definition."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, kept = scores.sort(descending=True, stable=True).indices, []
    while len(left):
        one, left = left[0], left[1:]
        kept.append(int(one))
        sides = torch.minimum(boxes[one, 2:], boxes[left, 2:]) - torch.maximum(boxes[one, :2], boxes[left, :2])
        shared = sides.clamp(min=0).prod(1)
        left = left[shared / (area[one] + area[left] - shared) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64)


OPS = ModuleType("torchs_ops")
OPS.nms = nms
OPS.batched_nms = lambda boxes, scores, idxs, limit: nms(boxes + (idxs * (boxes.max() + 1))[:, None], scores, limit)
sys.modules["torchs_ops"] = OPS
FOLDER = Path(models.__file__).parent
SWAPPED: dict[str, ModuleType] = {}


def swapped(module: ModuleType) -> ModuleType:
    """The same file, as one written for PyTorch."""
    name = module.__name__.rpartition(".")[2]
    if name not in SWAPPED:
        text = (FOLDER / f"{name}.py").read_text()
        text = text.replace(
            "from trtnet import Tensor, nn, ops", "import torchs_ops as ops\nfrom trtnet import Tensor, nn"
        )
        text = text.replace("from trtnet import Tensor, nn", "from torch import Tensor, nn")
        text = text.replace("from trtnet import functional as F", "import torch.nn.functional as F")
        text = re.sub(r"^from trtnet import nn$", "from torch import nn", text, flags=re.MULTILINE)
        text = re.sub(r"^import trtnet$", "import torch as trtnet", text, flags=re.MULTILINE)
        for other in re.findall(r"^from \.(\w+) import", text, flags=re.MULTILINE):
            sys.modules[f"{other}_of_torch"] = swapped(importlib.import_module(f"models.{other}"))
        text = re.sub(r"^from \.(\w+) import", r"from \1_of_torch import", text, flags=re.MULTILINE)
        made = SWAPPED[name] = ModuleType(name)
        exec(compile(text, f"{name}.py, of torch", "exec"), vars(made))
    return SWAPPED[name]
