"""The rules of strides against PyTorch's own tensors, over random layouts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import trtnet
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
    assert found == (a + b).stride()
    assert strides.copied_strides(tuple(a.shape), a.stride()) == a.clone().stride()


def views(random: np.random.Generator, shape: tuple[int, ...]) -> list[str]:
    """Functions of a tensor `x` of this shape, as text."""
    rank = len(shape)
    axis, other = (int(random.integers(rank)) for _ in range(2))
    ahead = ":, " * axis
    return [
        f"x.reshape({split(random, math.prod(shape))})", f"x.flatten({min(axis, other)}, {max(axis, other)})",
        f"x.unsqueeze({axis})", "x.unsqueeze(-1)", "x.squeeze()", f"x.squeeze({axis})", f"x.movedim({axis}, {other})",
        f"x.permute({[int(v) for v in random.permutation(rank)]})", f"x.narrow({axis}, 0, 1)", f"x.select({axis}, 0)",
        f"x.expand({[1, 2, *(-1 for _ in shape)]})", f"x.expand({[2 if n == 1 else n for n in shape]})",
        f"x.unfold({axis}, {int(random.integers(1, shape[axis] + 1))}, 1)", f"x[{ahead}None, :1]", f"x[{ahead}0, None]",
        f"x[{ahead}::2]", f"x[{ahead}T.tensor([0])]", "x.diagonal() if x.ndim > 1 else x", f"x.split(1, {axis})[0]",
        "x.contiguous()", "x.clone()", "x.double()", "T.zeros_like(x)", "T.relu(x)", "T.sigmoid(x)", "x + x", "x * 2",
        "x * x[0]", "x[:1] - x",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(300))
def test_concrete_tensors_have_the_strides_of_torchs(seed: int) -> None:
    random = np.random.default_rng(seed)
    array = np.zeros(random.integers(1, 5, random.integers(1, 5)), np.float32)
    theirs, mine, done = torch.from_numpy(array), trtnet.tensor(array), []
    for _ in range(6):
        if not theirs.ndim or theirs.ndim > 5:
            break
        text = str(random.choice(views(random, tuple(theirs.shape))))
        theirs = eval(text, {"T": torch, "x": theirs})
        mine = eval(text, {"T": trtnet, "x": mine})
        done.append(text)
        found = mine.numpy()
        assert tuple(step // found.itemsize for step in found.strides) == theirs.stride(), done


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


def test_what_is_recorded_of_a_constant_that_lies_otherwise_is_of_unknown_strides() -> None:
    class Written(trtnet.nn.Module):
        def forward(self, x: trtnet.Tensor) -> tuple[trtnet.Tensor, trtnet.Tensor]:
            windows = trtnet.zeros(3, 2, 3).unfold(0, 3, 1)  # torch's sum with it lies as it does
            flat = (made := windows + x).flatten(2)
            flat[0, 0].sigmoid_()
            return made, flat

    with pytest.raises(trtnet.errors.UnsupportedError, match="may share its memory") as caught:
        trtnet.record(Written(), x=trtnet.Input((1,)))
    assert "flat" in str(caught.value)
    assert "clone()" in str(caught.value)


LIKE = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like")


@pytest.mark.parametrize("name", LIKE)
@pytest.mark.parametrize("batch", [3, trtnet.Dim("n", min=1, opt=3, max=5)])
def test_what_is_made_like_a_tensor_lies_in_its_order(name: str, batch: trtnet.Dim | int) -> None:
    """As torch's: so that `contiguous()` gives a copy, or the tensor itself, where torch's does."""
    more = {"full_like": (2.0,), "randint_like": (5,)}.get(name, ())
    orders = [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)]
    asked: list[object] = []

    def module(T: Any, x: Any) -> Any:
        made = []
        for order in orders:
            y = getattr(T, name)(x.permute(order), *more)
            try:
                known = tuple(y.stride())
            except trtnet.errors.UnsupportedError:
                known = None
            asked.append(known if known is None or all(type(step) is int for step in known) else "rows")
            z = getattr(T, name)(x.permute(order), *more, memory_format=T.contiguous_format)
            z.contiguous().fill_(7.0)  # itself
            made.append(z)
        return tuple(made)

    graph = trtnet.record(lambda x: module(trtnet, x), x=trtnet.Input((batch, 2, 4)))
    recorded, asked = asked, []
    x = np.zeros((3, 2, 4), np.float32)
    wanted = module(torch, torch.from_numpy(x))
    for found, theirs in zip(recorded, asked, strict=True):
        assert found == theirs if batch == 3 else found in (None, "rows", theirs), (found, theirs)
    for found, theirs in zip(trtnet.reference(graph)(x), wanted, strict=True):
        np.testing.assert_array_equal(found, theirs.numpy())


@pytest.mark.parametrize("name", ["zeros_like", "ones_like"])
def test_a_write_to_the_copy_of_a_transposed_one_leaves_it_alone(name: str) -> None:
    def module(T: Any, x: Any) -> Any:
        y = getattr(T, name)(x.t())
        z = y.contiguous()
        z[None] = T.tensor(-0.5)
        return y, z

    x = np.ones((2, 3), np.float32)
    found = trtnet.reference(trtnet.record(lambda x: module(trtnet, x), x=trtnet.Input((2, 3))))(x)
    for one, theirs in zip(found, module(torch, torch.from_numpy(x)), strict=True):
        np.testing.assert_array_equal(one, theirs.numpy())
