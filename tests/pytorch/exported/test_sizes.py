"""Numbers that torch.nn.Modules compute of dynamic sizes, compared with themselves in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exported import BATCH, check
from torch import nn

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ShapeError

CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a quotient of sizes added": lambda x: x * 2 + x.shape[0] / 3,
    "a quotient of a quotient": lambda x: x - x.shape[0] / 3 / x.shape[1],
    "a quotient from the left": lambda x: 1 / (x.shape[0] + 1) + x,
    "a clamp at a quotient": lambda x: x.clamp(max=x.shape[0] / 8),
    "linspace": lambda x: x + torch.linspace(-1, 2, x.shape[0])[:, None],
    "linspace downwards": lambda x: x + torch.linspace(0.5, -3, steps=x.shape[0], dtype=torch.float32)[:, None],
    "the distance of sizes": lambda x: x * abs(3 - x.shape[0]) + torch.ones(abs(x.shape[0] - 4), 4).sum(),
    "linspace of a fixed size": lambda x: x + torch.linspace(0, 1, 4),
}


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", CASES)
def test_numbers_of_sizes(name: str) -> None:
    for batch in (BATCH, 3):
        check(Net(CASES[name]), x=Input((batch, 4)))


def test_a_size_that_becomes_a_number_is_refused_at_its_line() -> None:
    with pytest.raises(ShapeError, match="forward takes these sizes to be equal") as caught:
        trtnet.record(Net(lambda x: x / len(x)), x=Input((Dim("n", min=1, opt=4, max=8), 4)))
    assert "len(x)" in str(caught.value.remedy)
