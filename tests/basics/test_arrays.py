"""NumPy and torch over the same memory, and tensors that are kept."""

from __future__ import annotations

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn
from trtnet.basics.arrays import lasting
from trtnet.errors import ArgumentTypeError
from trtnet.fleet.layout import plain
from trtnet.weights import files

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


MASKED = np.ma.masked_less(np.arange(12, dtype=np.float32).reshape(3, 4), 6)


def refitted(value):
    engine = trtnet.build(trtnet.record(nn.Linear(4, 3), input=Input((1, 4))), provider="reference", refit=True)
    engine.refit({"weight": value})


def updated(value):
    engine = trtnet.build(trtnet.record(nn.Linear(4, 3), input=Input((1, 4))), provider="reference", refit=True)
    with engine.update() as update:
        update.put("weight", value)


def updated_by_pieces(value):
    class Low(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(4, 3, bias=False)

        def forward(self, x):
            return self.base(x)

    engine = trtnet.build(trtnet.record(Low(), x=Input((1, 4))), provider="reference", refit=True)
    with engine.update() as update:
        update.put("base.parametrizations.weight.original1", value)
        update.put("base.parametrizations.weight.original0", np.ones((3, 1), np.float32))


ROADS = {
    "a constant": trtnet.tensor,
    "over its memory": trtnet.from_numpy,
    "a parameter": nn.Parameter,
    "an operand": lambda value: trtnet.record(lambda x: x + value, x=Input((3, 4))),
    "an operand of a known tensor": lambda value: trtnet.ones(3, 4) + value,
    "a function": trtnet.relu,
    "an input": lambda value: trtnet.reference(trtnet.record(trtnet.relu, input=Input((3, 4))))(value),
    "a state_dict": lambda value: nn.Linear(4, 3, bias=False).load_state_dict({"weight": value}),
    "a refit": refitted,
    "an update": updated,
    "pieces of a weight": updated_by_pieces,
    "a fleet": lambda value: plain({"weight": value}),
}


@pytest.mark.parametrize("road", ROADS)
def test_what_a_mask_hides_is_read_nowhere(road):
    with pytest.raises(ArgumentTypeError, match="a masked array has no numbers where it is masked") as caught:
        ROADS[road](MASKED)
    assert "found:    a masked array (3, 4), 6 of 12 masked" in str(caught.value)
    assert "remedy:   fill it: array.filled(0.0)" in str(caught.value)
    ROADS[road](MASKED.filled(0.0))


@pytest.mark.parametrize("name", ["masked.npz", "masked.safetensors"])
def test_what_a_mask_hides_is_not_saved(name, tmp_path):
    with pytest.raises(ArgumentTypeError, match="a masked array has no numbers where it is masked"):
        files.write(tmp_path / name, {"weight": MASKED})
    assert not list(tmp_path.iterdir())


def test_a_matrix_is_multiplied_as_an_array():
    given = np.matrix([[1.0, 2.0], [3.0, 4.0]], np.float32)
    for one in (trtnet.tensor(given), trtnet.from_numpy(given)):
        assert (one * one).tolist() == [[1.0, 4.0], [9.0, 16.0]]
