"""Sliding windows as columns, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, record

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ShapeError

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


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_no_number_reaches_its_own_windows(options: dict, value: float) -> None:
    image = IMAGE.copy()
    image[1, 2, 4, 3] = value
    wanted = torch.nn.functional
    check_against_torch(
        lambda x: (F.unfold(x, (3, 2), **options), F.fold(F.unfold(x, (3, 2), **options), (9, 8), (3, 2), **options)),
        lambda x: (
            wanted.unfold(x, (3, 2), **options),
            wanted.fold(wanted.unfold(x, (3, 2), **options), (9, 8), (3, 2), **options),
        ),
        {"x": image},
        compile=False,
    )


def test_a_dynamic_width_and_number_of_channels() -> None:
    channels, width = Dim("channels", 1, 3, 4), Dim("width", 4, 8, 9)
    wanted = torch.nn.functional
    check_against_torch(
        lambda x: F.fold(F.unfold(x[:, :3], 3, padding=1), (9, x.shape[3]), 3, padding=1),
        lambda x: wanted.fold(wanted.unfold(x, 3, padding=1), (9, x.shape[3]), 3, padding=1),
        {"x": IMAGE},
        shapes={"x": (2, 3, 9, width)},
    )
    check_against_torch(
        lambda x: F.unfold(x, 3), lambda x: wanted.unfold(x, 3), {"x": IMAGE}, shapes={"x": (2, channels, 9, width)}
    )


def test_modules_and_a_dynamic_height() -> None:
    unfold, fold = nn.Unfold(3, padding=1), nn.Fold((9, 8), 3, padding=1)
    wanted = torch.nn.Unfold(3, padding=1), torch.nn.Fold((9, 8), 3, padding=1)
    check_against_torch(lambda x: fold(unfold(x)), lambda x: wanted[1](wanted[0](x)), {"x": IMAGE})
    check_against_torch(unfold, wanted[0], {"input": IMAGE}, shapes={"input": (2, 3, Dim("height", 5, 9, 12), 8)})
    assert repr(unfold) == "Unfold(kernel_size=3, dilation=1, padding=1, stride=1)"


def test_errors() -> None:
    with pytest.raises(ShapeError, match="a window of 5 does not fit into a padded size of 4"):
        trtnet.record(lambda x: F.unfold(x, 3, dilation=2), x=Input((2, 3, 4, 9)))
    with pytest.raises(ShapeError, match="a window of 3 does not fit"):
        trtnet.record(lambda x: F.unfold(x, 3), x=Input((2, 3, Dim("height", 2, 4, 9), 9)))
    with pytest.raises(ArgumentError, match="padding at least 0"):
        trtnet.record(lambda x: F.unfold(x, 3, padding=-1), x=Input((2, 3, 4, 9)))
    with pytest.raises(ShapeError, match="whole windows"):
        record(lambda x: F.fold(x, 4, 3), {"x": np.zeros((1, 10, 4), np.float32)})
