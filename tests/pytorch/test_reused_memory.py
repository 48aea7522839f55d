"""Memory that a refit uses again: never while somebody has what lies in it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Input, nn  # noqa: E402
from trtnet.pytorch.reused_memory import LEAST, PIECE, ReusedMemory  # noqa: E402

CPU = torch.device("cpu")
SIZE = 160
assert SIZE * SIZE * 4 >= LEAST


def filled(number: float) -> np.ndarray:
    return np.full((SIZE, SIZE), number, np.float32)


@pytest.fixture
def engine():
    return trtnet.reference(trtnet.record(nn.Linear(SIZE, SIZE, bias=False), input=Input((1, SIZE))))


def answer(engine) -> float:
    """The sum of the ones that come in, times the number that all weights are."""
    result = np.unique(engine(np.ones((1, SIZE), np.float32)))
    assert len(result) == 1
    return float(result[0]) / SIZE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_memory_is_used_again_when_no_view_is_left(dtype):
    memory = ReusedMemory()
    given = (torch.arange(LEAST) % 3).to(dtype).reshape(-1, 8)
    first = memory.copied("a", given, CPU)[0]
    address = first.data_ptr()
    assert address % 64 == 0
    assert address != given.data_ptr()
    view = first[3:].view(-1)
    del first
    second = memory.copied("a", given + given, CPU)[0]
    assert second.data_ptr() != address
    assert torch.equal(view, given[3:].view(-1))
    del view
    third = memory.copied("a", given, CPU)[0]
    assert third.data_ptr() == address
    assert torch.equal(third, given)
    assert torch.equal(second, given + given)


def test_strided_values_are_copied_as_they_are_meant():
    value = torch.arange(2.0 * LEAST).reshape(2, -1).t()
    copied = ReusedMemory().copied("a", value, CPU)[0]
    assert copied.is_contiguous()
    assert torch.equal(copied, value)


@pytest.mark.parametrize("size", [LEAST, 3 * PIECE, 3 * PIECE + 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_copied_is_looked_at(size, bad):
    """A yes is sure; what is very large, or not float32, or strided, is looked at by others."""
    memory, value = ReusedMemory(), torch.randn(size)
    for place in (None, 0, size // 2, size - 1):
        given = value.clone()
        if place is not None:
            given[place] = bad
        copied, is_finite = memory.copied("a", given.reshape(1, -1), CPU, look=True)
        assert is_finite is (place is None)
        np.testing.assert_array_equal(copied, given.reshape(1, -1))
    assert memory.copied("a", torch.full((size,), 3e38), CPU, look=True)[1] is False
    assert memory.copied("a", value, CPU)[1] is False
    assert memory.copied("a", value.half(), CPU, look=True)[1] is False
    strided = torch.randn(size, 2)[:, 0]
    copied, is_finite = memory.copied("a", strided, CPU, look=True)
    assert is_finite is False
    assert torch.equal(copied, strided)


@pytest.mark.parametrize("kind", ["refit", "update"])
@pytest.mark.parametrize("make", [np.array, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_large_weights_that_are_not_finite(engine, kind, make, dtype):
    def give(value, finite):
        if kind == "refit":
            engine.refit({"weight": make(value)}, finite=finite)
            return
        with engine.update(finite=finite) as update:
            update.put("weight", make(value))

    odd = filled(2).astype(dtype)
    odd[-1, -1] = -np.inf
    with pytest.raises(trtnet.errors.WeightsError, match="hold NaN or infinity") as caught:
        give(odd, "raise")
    assert caught.value.found == "weight"
    assert engine.generation == 0
    with pytest.warns(UserWarning, match="^weights hold NaN or infinity: weight$") as warned:
        give(odd, "warn")
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        give(odd, None)
        give(np.full((SIZE, SIZE), 3e38 if dtype is np.float32 else 6e4, dtype), "raise")
        give(filled(3).astype(dtype), "raise")
    assert answer(engine) == 3


@pytest.mark.parametrize("kind", ["refit", "update"])
def test_what_only_the_other_engine_of_two_was_given_is_not_looked_at_again(kind):
    """Whoever gave it said that it may be: what is given now is finite."""
    module = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False), nn.Linear(SIZE, SIZE, bias=False))
    swap = trtnet.HotSwap(trtnet.reference(trtnet.record(module, input=Input((1, SIZE)))))
    swap.refit({"0.weight": filled(np.nan)}, finite=None)
    if kind == "refit":
        swap.refit({"1.weight": filled(1)}, finite="raise")
        with pytest.raises(trtnet.errors.WeightsError, match="hold NaN or infinity"):
            swap.refit({"0.weight": filled(np.nan)}, finite="raise")
    else:
        with swap.update(finite="raise") as update:
            update.put("1.weight", filled(1))
    assert np.isnan(swap(np.ones((1, SIZE), np.float32))).all()
    assert {name: float(value[0, 0]) for name, value in swap.parameters().items()} == {
        "0.weight": pytest.approx(np.nan, nan_ok=True), "1.weight": 1,
    }  # fmt: skip


def test_of_each_name_two_pieces_are_kept():
    memory = ReusedMemory()
    held = [memory.copied("a", torch.full((LEAST,), float(i)), CPU)[0] for i in range(5)]
    assert [set(one.tolist()) for one in held] == [{float(i)} for i in range(5)]
    assert len(memory._places["a"]) == 2


def test_the_engine_counts_it_among_its_buffers(engine):
    nbytes = filled(0).nbytes
    assert engine.memory().buffers == 0
    engine.refit({"weight": filled(1)})
    assert engine.memory().buffers == 0
    snapshot = engine.snapshot()
    engine.refit({"weight": filled(2)})
    assert engine.memory().buffers == 0
    del snapshot
    assert engine.memory().buffers == nbytes
    assert engine.memory().weights == nbytes


def test_snapshots_and_clones_keep_their_values_through_refits(engine):
    engine.refit({"weight": filled(1)})
    snapshot = engine.snapshot()
    engine.refit({"weight": filled(2)})
    clone = engine.clone()
    kept = engine.parameters()["weight"]
    for number in range(3, 8):
        engine.refit({"weight": torch.full((SIZE, SIZE), float(number))})
        assert answer(engine) == number
        assert answer(clone) == 2
    assert np.unique(kept).tolist() == [2]
    engine.restore(snapshot)
    assert answer(engine) == 1
    for number in (8, 9):
        clone.refit({"weight": filled(number)})
        assert (answer(engine), answer(clone)) == (1, number)


def test_a_refused_refit_leaves_the_values(engine):
    engine.refit({"weight": filled(1)})
    for _ in range(3):
        with pytest.raises(trtnet.errors.WeightsError, match="NaN or infinity"):
            engine.refit({"weight": filled(np.nan)}, finite="raise")
        assert answer(engine) == 1
        with engine.update() as update:
            update.put("weight", filled(2))
            assert answer(engine) == 1
        assert answer(engine) == 2
        engine.refit({"weight": filled(1)})


def test_a_call_in_the_midst_keeps_its_weights(engine):
    """The weights that a call has taken are not written to by the refits that come while it runs."""
    engine.refit({"weight": filled(1)})
    seen = []

    def watch(run, step, slots):
        engine.watch = None
        held = [slot for slot in slots if isinstance(slot, torch.Tensor) and slot.shape == (SIZE, SIZE)]
        for number in (2, 3, 4):
            engine.refit({"weight": filled(number)})
        seen.extend(held)

    engine.watch = watch
    engine(np.ones((1, SIZE), np.float32))
    assert seen
    assert all(torch.equal(one, torch.ones(SIZE, SIZE)) for one in seen)
    assert answer(engine) == 4
