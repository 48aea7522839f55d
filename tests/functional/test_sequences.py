"""Differences, distances and sets, and what a network cannot have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, UnsupportedError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 3)).astype(np.float32)
Y = RNG.standard_normal((2, 5, 3)).astype(np.float32)
I = RNG.integers(0, 6, (3, 4))  # noqa: E741


def test_differences_and_distances() -> None:
    check_against_torch(lambda x: trtnet.diff(x, n=2, dim=1), lambda x: torch.diff(x, n=2, dim=1), {"x": X})
    check_against_torch(lambda x: x.diff(prepend=x[..., :1]), lambda x: x.diff(prepend=x[..., :1]), {"x": X})
    check_against_torch(
        trtnet.cdist,
        torch.cdist,
        {"x1": X, "x2": Y},
        shapes={"x1": (Dim("b", 1, 2, 3), 4, 3), "x2": (Dim("b", 1, 2, 3), 5, 3)},
    )
    check_against_torch(
        lambda x: trtnet.cross(x, x * 2 + 1, dim=-1), lambda x: torch.cross(x, x * 2 + 1, dim=-1), {"x": X}
    )
    assert trtnet.diff(trtnet.tensor([1, 4, 9])).tolist() == [3, 5]


def test_distances_of_nan_and_infinity() -> None:
    """With p=0 elements that differ are counted; a NaN is the result. By a comparison, not by a minimum, which loses it
    on some GPUs."""
    x = np.array([[1, np.nan, 3], [1, 2, 5], [np.inf, 2, 5], [np.inf, 2, -5], [1, 2, 5]], np.float32)
    for p in (0.0, 1.0, 2.0):
        check_against_torch(lambda x, p=p: trtnet.nn.functional.pdist(x, p), lambda x, p=p: torch.pdist(x, p), {"x": x})
    for p in (1.0, 2.0, np.inf):  # of which torch's cdist leaves NaN out of the greatest difference
        for shapes in (None, {"x": (Dim("b", 1, 2, 3), 3)}):
            check_against_torch(
                lambda x, p=p: trtnet.cdist(x, x, p), lambda x, p=p: torch.cdist(x, x, p), {"x": x[:2]}, shapes=shapes
            )
    graph = trtnet.record(lambda x: trtnet.nn.functional.pdist(x, 0.0), x=Input((5, 3)))
    assert not [
        layer for layer in graph.layers if getattr(layer, "op", "") in ("MIN", "MAX") or layer.kind == "activation"
    ]


def test_differences_of_bools() -> None:
    mask = np.array([[True, False, False], [False, True, False]])
    check_against_torch(lambda m: m.diff(), lambda m: m.diff(), {"m": mask})
    check_against_torch(
        lambda m: m.diff(2, 0),
        lambda m: m.diff(2, 0),
        {"m": np.tile(mask, (2, 1))},
        shapes={"m": (Dim("b", 3, 4, 8), 3)},
    )
    assert trtnet.tensor(mask).diff().tolist() == torch.tensor(mask).diff().tolist()


@pytest.mark.parametrize("dtype", ["float32", "bool"])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize(("shape", "dim"), [((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), 1), ((3, 0), 0), ((2, 3), 1)])
def test_differences_of_few_or_no_elements(shape, dim, n, dtype) -> None:
    x = np.ones((shape[0] + 1, *shape[1:]), dtype)
    check_against_torch(lambda x: x[1:].diff(n, dim), lambda x: x[1:].diff(n, dim), {"x": x})
    found = trtnet.tensor(x[1:]).diff(n, dim)
    wanted = torch.from_numpy(x[1:]).diff(n, dim)
    assert (found.dtype.torch, found.shape) == (wanted.dtype, tuple(wanted.shape))
    assert found.tolist() == wanted.tolist()


def test_no_difference_is_a_copy() -> None:
    def forward(x):
        y = x * 1
        z = y.diff(n=0, prepend=x[..., :1])
        z.add_(1)
        return y, z

    check_against_torch(forward, forward, {"x": X})
    x = trtnet.tensor([1.0, 2.0])
    x.diff(n=0).zero_()
    assert x.tolist() == [1.0, 2.0]
    with pytest.raises(ArgumentError, match="diff: n is how often the difference is taken") as caught:
        x.diff(-1)
    assert "found:    -1" in str(caught.value)


@pytest.mark.parametrize("right", [False, True])
def test_buckets(right: bool) -> None:
    edges = [-1.0, 0.0, 0.5]
    check_against_torch(
        lambda x: trtnet.bucketize(x, trtnet.tensor(edges), right=right),
        lambda x: torch.bucketize(x, torch.tensor(edges, dtype=torch.float64), right=right),
        {"x": X},
    )
    found = trtnet.searchsorted(trtnet.tensor(edges), trtnet.tensor([0.0, 2.0]), right=right)
    assert found.tolist() == torch.searchsorted(torch.tensor(edges), torch.tensor([0.0, 2.0]), right=right).tolist()


def test_sets() -> None:
    check_against_torch(
        lambda i: trtnet.isin(i, trtnet.tensor([1, 4])), lambda i: torch.isin(i, torch.tensor([1, 4])), {"i": I}
    )
    check_against_torch(
        lambda i: trtnet.isin(i, trtnet.tensor([1, 4]), invert=True),
        lambda i: torch.isin(i, torch.tensor([1, 4]), invert=True),
        {"i": I},
    )
    check_against_torch(lambda i: trtnet.isin(i, 4), lambda i: torch.isin(i, 4), {"i": I})
    check_against_torch(lambda i: trtnet.isin(4, i), lambda i: torch.isin(4, i), {"i": I})
    mine, theirs = trtnet.tensor([3, 1, 1, 3]), torch.tensor([3, 1, 1, 3])
    for name in ("unique", "unique_consecutive"):
        found = getattr(trtnet, name)(mine, return_inverse=True, return_counts=True)
        wanted = getattr(torch, name)(theirs, return_inverse=True, return_counts=True)
        assert [f.tolist() for f in found] == [w.tolist() for w in wanted]
    assert trtnet.bincount(mine).tolist() == torch.bincount(theirs).tolist()
    pairs = trtnet.cartesian_prod(trtnet.arange(2), trtnet.arange(3))
    assert pairs.tolist() == torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("no complex numbers", lambda x: trtnet.fft.rfft(x)),
        ("no complex numbers", lambda x: trtnet.view_as_complex(x)),
        ("depends on values", lambda x: x.unique()),
        ("no loss", lambda x: trtnet.functional.cross_entropy(x, x)),
        ("no loss", lambda x: trtnet.nn.CrossEntropyLoss()(x, x)),
    ],
)
def test_what_is_refused(name: str, call) -> None:
    with pytest.raises(UnsupportedError, match=name) as caught:
        trtnet.record(call, x=Input((4, 2)))
    assert caught.value.remedy
    assert caught.value.where.file == __file__
