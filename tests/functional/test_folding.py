"""Sliding windows as columns, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, record

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ShapeError

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype(np.float32)
OPTIONS = ({}, {"padding": 1}, {"stride": 2, "padding": (1, 0)}, {"dilation": (2, 1), "stride": (1, 2)})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_unfold_and_fold(options: dict) -> None:
    shapes = {"x": (Dim("batch", 1, 2, 4), 3, 9, 8)}
    wanted = torch.nn.functional
    check_against_torch(
        lambda x: F.unfold(x, (3, 2), **options),
        lambda x: wanted.unfold(x, (3, 2), **options),
        {"x": IMAGE},
        shapes=shapes,
    )
    check_against_torch(
        lambda x: F.fold(F.unfold(x, (3, 2), **options), (9, 8), (3, 2), **options),
        lambda x: wanted.fold(wanted.unfold(x, (3, 2), **options), (9, 8), (3, 2), **options),
        {"x": IMAGE},
        shapes=shapes,
    )


def test_modules_and_a_dynamic_height() -> None:
    unfold, fold = nn.Unfold(3, padding=1), nn.Fold((9, 8), 3, padding=1)
    wanted = torch.nn.Unfold(3, padding=1), torch.nn.Fold((9, 8), 3, padding=1)
    check_against_torch(lambda x: fold(unfold(x)), lambda x: wanted[1](wanted[0](x)), {"x": IMAGE})
    check_against_torch(unfold, wanted[0], {"input": IMAGE}, shapes={"input": (2, 3, Dim("height", 5, 9, 12), 8)})
    assert repr(unfold) == "Unfold(kernel_size=3, dilation=1, padding=1, stride=1)"


def test_errors() -> None:
    with pytest.raises(ShapeError, match="fixed number of channels"):
        trtnet.record(lambda x: F.unfold(x, 3), x=Input((2, Dim("c", 1, 2, 3), 9, 9)))
    with pytest.raises(ShapeError, match="whole windows"):
        record(lambda x: F.fold(x, 4, 3), {"x": np.zeros((1, 10, 4), np.float32)})
