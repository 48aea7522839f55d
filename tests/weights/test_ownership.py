"""The ledger: which array TensorRT is pointed to, and that nothing else is copied."""

from __future__ import annotations

import gc
import mmap
import weakref

import ml_dtypes
import numpy as np
import pytest

import trtnet
from trtnet import dtypes, nn
from trtnet.errors import WeightsError
from trtnet.weights import recipes
from trtnet.weights.files import read, write
from trtnet.weights.ledger import Ledger
from trtnet.weights.recipes import Leaf, Literal, Value


def leaf(name, array):
    return Leaf(name, array.shape, dtypes.get(array.dtype), Value(array))


def address(array):
    return array.__array_interface__["data"][0]


def hold(ledger, weight, consumer="layer"):
    return ledger.hold(weight, weight.dtype, consumer)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.int8, np.bool_])
def test_an_array_that_needs_no_change_is_held_as_it_is(dtype):
    array = np.ones((2, 3), dtype)
    ledger = Ledger()
    holding = hold(ledger, leaf("a", array))
    assert holding.array is array
    assert (holding.name, holding.owner, holding.shape) == ("a", "the module's own", (2, 3))
    assert holding.nbytes == array.nbytes


def test_one_weight_is_held_once_for_all_its_consumers():
    a = leaf("a", np.ones(3, np.float32))
    ledger = Ledger()
    first, second = hold(ledger, a, "one"), hold(ledger, a, "two")
    assert first is second
    assert first.consumers == ["one", "two"]
    assert len(ledger) == 1


def test_a_recipe_that_is_recorded_twice_is_evaluated_once():
    a = leaf("a", np.ones(3, np.float32))
    ledger = Ledger()
    first, second = hold(ledger, recipes.add(a, 1.0)), hold(ledger, recipes.add(a, 1.0))
    assert first is second
    assert first.owner == "recipe"
    np.testing.assert_array_equal(first.array, [2, 2, 2])


def test_recipes_over_different_constants_are_held_apart():
    a = leaf("a", np.ones(2, np.float32))
    ledger = Ledger()
    found = [
        hold(ledger, recipes.multiply(a, Literal(np.array(c, np.float32)))).array.tolist() for c in ([1, 2], [3, 4])
    ]
    assert found == [[1, 2], [3, 4]]


def test_two_weights_never_share_an_address():
    base = np.arange(12, dtype=np.float32)
    ledger = Ledger()
    weights = [
        leaf("whole", base),
        leaf("same", base),
        leaf("front", base[:4]),
        leaf("shaped", base.reshape(3, 4)),
        leaf("back", base[4:]),
        recipes.reshape(leaf("whole", base), (4, 3)),
        Literal(base),
        Literal(base[:1]),
        leaf("empty", base[:0]),
        leaf("none", base[:0]),
    ]
    holdings = [hold(ledger, w) for w in weights]
    addresses = [address(h.array) for h in holdings]
    assert len(set(addresses)) == len(addresses)
    assert [h.address for h in holdings] == addresses
    for weight, holding in zip(weights, holdings):
        np.testing.assert_array_equal(
            holding.array.reshape(-1), recipes.evaluate(weight, lambda x: x.value.read()).reshape(-1)
        )
    assert holdings[0].array is base
    assert address(holdings[4].array) == address(base[4:])
    assert [h.owner for h in holdings[:4]] == ["the module's own", "copy", "copy", "copy"]


def test_what_tensorrt_cannot_read_is_copied():
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    raw = np.zeros(17, np.uint8)
    unaligned = raw[1:].view(np.float32)
    ledger = Ledger()
    for name, array in {"t": wide.T, "strided": wide[:, ::2], "unaligned": unaligned}.items():
        holding = hold(ledger, leaf(name, array))
        assert holding.array.flags.c_contiguous
        assert holding.array.flags.aligned
        np.testing.assert_array_equal(holding.array, array)


def test_constants_are_named_after_their_first_layer_each_by_another_name():
    ledger = Ledger()
    names = [
        hold(ledger, Literal(np.full(3, i, np.float32)), layer).name for i, layer in enumerate(["a", "a", "b", "a"])
    ]
    assert len(set(names)) == 4
    assert names[0] == "a:constant"
    assert all(name.startswith(("a:constant", "b:constant")) for name in names)


def test_a_memory_mapped_file_is_never_copied(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = {f"w{i}": np.full((7, 3), i, np.float32) for i in range(5)} | {"half": np.ones(5, ml_dtypes.bfloat16)}
    write(path, arrays)
    loaded = read(path)
    ledger = Ledger()
    maps = set()
    for name, array in loaded.items():
        holding = hold(ledger, leaf(name, array))
        assert holding.array is array
        assert holding.owner == "memory-mapped file"
        found = base(array)
        maps.add(id(found))
        start = address(np.frombuffer(found, np.uint8))
        assert start <= address(holding.array) < start + len(found)
        assert address(holding.array) + holding.array.nbytes <= start + len(found)
        np.testing.assert_array_equal(holding.array, arrays[name])
    assert len(maps) == 1


def base(array):
    found = array
    while not isinstance(found, mmap.mmap):
        found = found.obj if isinstance(found, memoryview) else found.base
    return found


def test_a_parameter_is_not_copied_on_its_way_from_file_to_ledger(tmp_path):
    path = tmp_path / "w.safetensors"
    nn.Linear(3, 4).save_weights(path)
    net = nn.Linear(3, 4).load_weights(path)
    graph = trtnet.record(net, input=trtnet.Input((2, 3)))
    ledger = Ledger()
    for _, _, weight in graph.weights():
        assert hold(ledger, weight).owner == "memory-mapped file"


def test_the_ledger_keeps_arrays_alive_that_nobody_else_has():
    ledger = Ledger()
    array = np.arange(1000, dtype=np.float32)
    seen = weakref.ref(array)
    hold(ledger, leaf("a", array))
    where = address(array)
    del array
    gc.collect()
    junk = [np.full(1000, -1, np.float32) for _ in range(50)]
    assert seen() is not None
    (holding,) = ledger
    assert address(holding.array) == where
    np.testing.assert_array_equal(holding.array, np.arange(1000))
    del holding, ledger, junk
    gc.collect()
    assert seen() is None


def test_int64_where_tensorrt_has_none():
    ledger = Ledger()
    small = leaf("index", np.array([1, -5], np.int64))
    holding = ledger.hold(small, dtypes.int32, "gather")
    assert (holding.array.dtype, holding.owner) == (np.int32, "converted to int32")
    assert holding.array.tolist() == [1, -5]
    with pytest.raises(WeightsError, match="do not fit int32") as caught:
        ledger.hold(leaf("large", np.array([1 << 40], np.int64)), dtypes.int32, "gather")
    assert "1099511627776" in caught.value.found
    assert "large" in caught.value.found


def test_the_table_has_name_shape_dtype_bytes_owner_and_consumers():
    ledger = Ledger()
    hold(ledger, leaf("conv1.weight", np.ones((20, 1, 5, 5), np.float32)), "conv1/convolution")
    hold(ledger, Literal(np.ones((), np.float16)), "mul/constant")
    text = ledger.table()
    assert str(ledger) == text
    head, row = (next(line for line in text.splitlines() if word in line) for word in ("consumers", "conv1.weight"))
    assert head.split() == ["name", "shape", "dtype", "bytes", "owner", "consumers"]
    assert row.split() == [
        "conv1.weight",
        "(20,",
        "1,",
        "5,",
        "5)",
        "float32",
        "2,000",
        "the",
        "module's",
        "own",
        "conv1/convolution",
    ]
    assert "2 arrays, 2,002 bytes" in text
    assert ledger.nbytes == 2002


def test_a_weight_without_a_value_raises_and_holds_nothing():
    ledger = Ledger()
    with pytest.raises(WeightsError, match="no value"):
        hold(ledger, Leaf("a", (2,), dtypes.float32, Value()))
    assert len(ledger) == 0
