"""What is around a torch.nn.Module, and around the tensors that it gives."""

from __future__ import annotations

from typing import Any

import torch


def unwrapped(module: Any) -> Any:
    """The module inside of torch.compile's, DataParallel's and DistributedDataParallel's wrappers."""
    while True:
        if isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
            module = module._orig_mod
        elif isinstance(module, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)):
            module = module.module
        else:
            return module


def tensors_of(result: Any) -> list[torch.Tensor]:
    """The tensors that a module returned, in the order of a recording's outputs."""
    return [one for one in torch.utils._pytree.tree_leaves(result) if isinstance(one, torch.Tensor)]
