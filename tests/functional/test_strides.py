"""The rules of strides against PyTorch's own tensors, over random layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trtnet.functional import strides
from trtnet.functional.strides import Decision


def laid_out(random: np.random.Generator, most: int = 4) -> torch.Tensor:
    """A tensor of random sizes, permuted, sliced, stepped and expanded at random."""
    x = torch.zeros([int(v) for v in random.integers(1, 5, random.integers(1, most + 1))])
    if random.random() < 0.6:
        x = x.permute([int(v) for v in random.permutation(x.ndim)])
    for axis in range(x.ndim):
        kind = random.random()
        if kind < 0.15:
            x = x.narrow(axis, 0, int(random.integers(1, x.shape[axis] + 1)))
        elif kind < 0.25:
            x = x[(slice(None),) * axis + (slice(None, None, 2),)]
        elif kind < 0.35 and x.shape[axis] == 1:
            x = x.expand([3 if a == axis else -1 for a in range(x.ndim)])
    return x


def split(random: np.random.Generator, count: int) -> tuple[int, ...]:
    """Sizes with this product, and ones among them."""
    sizes = []
    while count > 1:
        divisors = [d for d in range(2, count + 1) if count % d == 0]
        sizes.append(int(random.choice(divisors)))
        count //= sizes[-1]
    for _ in range(random.integers(0, 3)):
        sizes.insert(int(random.integers(0, len(sizes) + 1)), 1)
    return tuple(sizes)


@pytest.mark.parametrize("seed", range(200))
def test_views_and_contiguity(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = laid_out(random)
    shape, steps = tuple(x.shape), x.stride()
    target = split(random, x.numel())
    try:
        wanted = x.view(target).stride()
    except RuntimeError:
        wanted = None
    assert strides.view_strides(shape, steps, target) == wanted
    assert strides.can_be_viewed(shape, steps, target) is (x.reshape(target).data_ptr() == x.data_ptr())
    assert strides.is_contiguous(shape, steps) is x.is_contiguous()
    assert strides.contiguous_strides(shape) == torch.zeros(shape).stride()
    if x.ndim == 4:
        last = x.is_contiguous(memory_format=torch.channels_last)
        assert strides.lies_channels_last(shape, steps, shape) is last


@pytest.mark.parametrize("seed", range(200))
def test_what_is_computed_elementwise(seed: int) -> None:
    random = np.random.default_rng(seed)
    a = laid_out(random)
    b = torch.zeros(a.shape).permute([int(v) for v in random.permutation(a.ndim)])
    if tuple(b.shape) != tuple(a.shape) or random.random() < 0.3:
        b = a[..., :1] if random.random() < 0.5 else torch.zeros(())
    found = strides.elementwise_strides(tuple(a.shape), [(tuple(t.shape), t.stride()) for t in (a, b)])
    wanted = (a + b).stride()
    assert [s for s, n in zip(found, a.shape) if n > 1] == [s for s, n in zip(wanted, a.shape) if n > 1]


def test_elements_at_one_place() -> None:
    for x, wanted in (
        (torch.zeros(3, 4), False),
        (torch.zeros(3, 4).t()[1:, ::2], False),
        (torch.zeros(3, 1).expand(3, 4), True),
        (torch.zeros(6).unfold(0, 3, 1), True),
        (torch.zeros(6).unfold(0, 3, 3), False),
        (torch.zeros(1).expand(1), False),
    ):
        assert strides.overlaps(tuple(x.shape), x.stride()) is wanted


def test_what_no_sizes_decide_is_no_decision() -> None:
    assert {d.name for d in Decision} == {"YES", "NO", "MAYBE"}
    assert strides.view_strides((0, 3), (3, 1), (3, 0)) == strides.contiguous_strides((3, 0))
    assert strides.view_strides((), (), (1, 1)) == (1, 1)
