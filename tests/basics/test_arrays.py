"""NumPy and torch over the same memory, and tensors that are kept."""

from __future__ import annotations

import pytest

from trtnet.basics.arrays import lasting

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_kept_tensors_can_be_written_to_and_hold_nothing_else(mode):
    x = torch.ones(4, requires_grad=True) * 2
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with lasting():
            copy, memory = x.clone(), torch.zeros(16, dtype=torch.uint8)
            view = memory.view(torch.float32)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert not copy.requires_grad
    for kept in (copy, memory, view):
        assert not kept.is_inference()
        kept.fill_(3)
