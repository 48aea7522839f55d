"""The memory that an engine keeps its weights in: against a dict, with torch CPU tensors as the device's memory."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtnet import dtypes
from trtnet.basics.arrays import from_numpy
from trtnet.tensorrt.run.staging import CHUNK, Staging

torch = pytest.importorskip("torch")

DTYPES = (dtypes.float32, dtypes.float16, dtypes.bfloat16, dtypes.int8, dtypes.int32)
WHERE = torch.device("cpu")
SHAPES = st.one_of(
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    # around the pieces in which segments are laid out and compared
    st.integers(CHUNK - 2, CHUNK + 2).map(lambda n: (n,)),
    st.tuples(st.integers(1, 3), st.just(CHUNK // 4)),
)
ITEMS = st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=1, max_size=7).map(
    lambda found: [(f"w{i}", dtype, shape) for i, (dtype, shape) in enumerate(found)]
)


class Memory:
    """What a CUDA device offers to Staging, over host memory; counts."""

    def __init__(self):
        self.copies: list[int] = []
        self.allocated: list[int] = []
        self.waits = 0

    def pinned(self, nbytes):
        self.allocated.append(nbytes)
        return np.full(nbytes, 0xA5, np.uint8)  # as memory comes: with something in it

    def copy(self, to, source, nbytes, stream):
        self.copies.append(nbytes)
        ctypes.memmove(to, source, nbytes)

    def synchronize(self, stream):
        self.waits += 1


class Model:
    """Staging beside the plain dict that it must agree with."""

    def __init__(self, items, seed=0):
        self.items = {name: (dtype, shape) for name, dtype, shape in items}
        self.memory = Memory()
        self.staging = Staging(items, self.memory.pinned, self.memory.copy, self.memory.synchronize)
        self.random = np.random.default_rng(seed)
        self.present = {}
        for name in self.items:
            self.present[name] = self.value(name)
            np.copyto(self.staging.host(name), self.present[name])

    def value(self, name):
        """Any bytes: NaN of every kind, infinity, denormal numbers."""
        dtype, shape = self.items[name]
        nbytes = dtype.nbytes(int(np.prod(shape)))
        return self.random.integers(0, 256, nbytes, np.uint8).view(dtype.numpy).reshape(shape)

    def refit(self, on_host, on_device, fails, direct=False):
        """As Refitting.apply does it; `fails`: TensorRT refuses, so nothing is turned."""
        staging = self.staging
        changed = [name for name, value in on_host.items() if not staging.has(name, value)]
        for name in changed:
            np.copyto(staging.new(name), on_host[name])
        assert changed == [n for n, v in on_host.items() if v.tobytes() != self.present[n].tobytes()]
        different = []
        if on_device:
            staging.into_device({name: from_numpy(value) for name, value in on_device.items()}, torch, WHERE, 0)
            different = staging.differing(list(on_device), torch, 0)
            assert different == [n for n, v in on_device.items() if v.tobytes() != self.present[n].tobytes()]
            if not direct:
                straight = len(on_device) % 2 == 1  # as Refitting does with few tensors, and with large ones
                if straight:
                    staging.into_host({name: from_numpy(value) for name, value in on_device.items()}, 0)
                    assert different == [name for name in on_device if not staging.has(name, staging.new(name))]
                else:
                    staging.device_to_host(different, 0)
                for name in on_device if straight else different:
                    assert staging.new(name).tobytes() == on_device[name].tobytes()
        self.check()  # until it is turned, the old values are there
        if fails:
            return
        staging.flip(changed)
        staging.flip(different, host=not direct, device=True)
        for name in (*changed, *different):
            self.present[name] = {**on_host, **on_device}[name]
        self.check()

    def check(self):
        for name, value in self.present.items():
            segment = self.staging.segments[name]
            if segment.on_host:
                assert self.staging.host(name).tobytes() == value.tobytes(), name
            if segment.on_device:
                found = self.staging.device(name, segment.buffer, torch, WHERE)
                assert found.reshape(-1).view(torch.uint8).numpy().tobytes() == value.tobytes(), name
            assert segment.on_host or segment.on_device


@given(st.data())
def test_present_values_are_those_of_a_dict(data):
    model = Model(data.draw(ITEMS), data.draw(st.integers(0, 99)))
    for _ in range(data.draw(st.integers(1, 8), label="refits")):
        places = {name: data.draw(st.sampled_from(["", "host", "device"]), label=name) for name in model.items}
        values = {
            name: model.present[name].copy() if data.draw(st.booleans(), label="the same") else model.value(name)
            for name, place in places.items()
            if place
        }
        model.refit(
            {n: v for n, v in values.items() if places[n] == "host"},
            {n: v for n, v in values.items() if places[n] == "device"},
            fails=data.draw(st.booleans(), label="fails"),
            direct=data.draw(st.booleans(), label="direct"),
        )
        for name in data.draw(st.lists(st.sampled_from(list(model.items))), label="read"):
            assert model.staging.present(name).tobytes() == model.present[name].tobytes()
    for name, value in model.present.items():
        found = model.staging.present(name)
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.tobytes() == value.tobytes()


@given(ITEMS)
def test_segments_are_packed_and_do_not_overlap(items):
    staging = Model(items).staging
    place = 0
    for name, dtype, shape in items:
        segment = staging.segments[name]
        assert segment.start == place
        assert segment.start % CHUNK == 0
        assert segment.nbytes == dtype.nbytes(int(np.prod(shape)))
        assert segment.nbytes <= segment.stop - segment.start < segment.nbytes + CHUNK
        place = segment.stop
    assert staging.nbytes == place


def test_memory_is_allocated_once():
    model = Model([("a", dtypes.float32, (2000,)), ("b", dtypes.float16, (30,))])
    nbytes = model.staging.nbytes
    for _ in range(20):
        model.refit({"a": model.value("a")}, {"b": model.value("b")}, fails=False)
    assert sorted(model.memory.allocated) == [nbytes // CHUNK, nbytes, nbytes]
    buffers = [buffer.data_ptr() for buffer in model.staging._device]
    assert buffers[0] != buffers[1]
    views = dict(model.staging._views)
    for _ in range(20):
        model.refit({}, {"a": model.value("a"), "b": model.value("b")}, fails=False)
    assert [buffer.data_ptr() for buffer in model.staging._device] == buffers
    assert {key: model.staging._views[key] is view for key, view in views.items()} == dict.fromkeys(views, True)
    assert len(model.memory.allocated) == 3


def test_a_value_is_written_beside_the_one_that_is_in_use():
    model = Model([("a", dtypes.float32, (5,))])
    before = model.staging.host("a").copy()
    np.copyto(model.staging.new("a"), 7)
    np.testing.assert_array_equal(model.staging.host("a"), before)
    model.staging.flip(["a"])
    np.testing.assert_array_equal(model.staging.host("a"), np.full(5, 7, np.float32))


# --- copies -----------------------------------------------------------------------------------------------------------

FOUR = [
    ("a", dtypes.float32, (2000,)),
    ("b", dtypes.int8, (3,)),
    ("c", dtypes.float16, ()),
    ("d", dtypes.int32, (8, 8)),
]


def staged(model, names):
    """New values of these, on the device."""
    given = {name: model.value(name) for name in names}
    model.staging.into_device({name: from_numpy(value) for name, value in given.items()}, torch, WHERE, 0)
    model.memory.copies.clear()
    model.memory.waits = 0
    return given


@pytest.mark.parametrize(
    ("names", "runs"),
    [("abcd", [5]), ("dcba", [5]), ("ab", [3]), ("acd", [2, 2]), ("ac", [2, 1]), ("bd", [1, 1]), ("d", [1]), ("", [])],
)
def test_neighbours_are_fetched_by_one_copy(names, runs):
    model = Model(FOUR)
    given = staged(model, list("abcd"))
    model.staging.device_to_host(list(names), 0)
    assert [nbytes // CHUNK for nbytes in model.memory.copies] == runs
    assert model.memory.waits == 1
    for name in names:
        assert model.staging.new(name).tobytes() == given[name].tobytes()


def test_neighbours_in_other_buffers_are_copied_apart():
    model = Model(FOUR)
    model.refit({}, {"b": model.value("b")}, fails=False)
    given = staged(model, list("abcd"))
    model.staging.device_to_host(list("abcd"), 0)
    assert [nbytes // CHUNK for nbytes in model.memory.copies] == [2, 1, 2]
    for name, value in given.items():
        assert model.staging.new(name).tobytes() == value.tobytes()


def test_what_the_device_has_is_not_uploaded_again():
    model = Model(FOUR)
    staged(model, list("abcd"))
    staged(model, list("abcd"))
    model.staging.host_to_device(list("abcd"), torch, WHERE, 0)
    assert model.memory.copies == []
    np.copyto(model.staging.new("b"), 1)
    model.staging.flip(["b"])
    model.staging.host_to_device(list("abcd"), torch, WHERE, 0)
    assert model.memory.copies == [3]


def test_a_comparison_is_one_copy_of_flags_and_one_wait():
    model = Model(FOUR)
    staged(model, list("abcd"))
    model.staging.differing(list("abcd"), torch, 0)
    assert model.memory.copies == [5]  # one byte for each piece
    assert model.memory.waits == 1


def test_a_value_on_the_device_alone_is_fetched_once():
    model = Model(FOUR)
    model.refit({}, {name: model.value(name) for name in "abcd"}, fails=False, direct=True)
    model.memory.copies.clear()
    for _ in range(3):
        assert model.staging.present("a").tobytes() == model.present["a"].tobytes()
    assert model.memory.copies == [2 * CHUNK]


# --- differences are bytes --------------------------------------------------------------------------------------------


def both(before, after):
    """Whether a change is found on the host, and on the device."""
    before, after = np.asarray(before), np.asarray(after)
    items = [("one", dtypes.get(before.dtype), before.shape), ("other", dtypes.int8, (5,))]
    model = Model(items)
    np.copyto(model.staging.host("one"), before)
    on_host = not model.staging.has("one", after)
    other = model.present["other"]
    model.staging.into_device({"one": from_numpy(after), "other": from_numpy(other)}, torch, WHERE, 0)
    return on_host, model.staging.differing(["one", "other"], torch, 0) == ["one"]


def bits(number, kind=np.uint32, as_=np.float32):
    return np.array([1, number, 2], kind).view(as_)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.float32([0.0, 1]), np.float32([-0.0, 1])),
        (bits(0x7FC00000), bits(0x7FC00001)),
        (bits(0x7FC00000), bits(0xFFC00000)),
        (bits(0x7E00, np.uint16, np.float16), bits(0x7E01, np.uint16, np.float16)),
        (bits(0x0000, np.uint16, ml_dtypes.bfloat16), bits(0x8000, np.uint16, ml_dtypes.bfloat16)),
        (np.int8(1), np.int8(-1)),
        (np.int32([[1, 2], [3, 4]]), np.int32([[1, 2], [3, 5]])),
    ],
)
def test_other_bytes_are_a_change(before, after):
    assert both(before, after) == (True, True)


@pytest.mark.parametrize(
    "value",
    [
        bits(0x7FC00001),
        bits(0x7F800001),
        bits(0x80000000),
        bits(0xFE01, np.uint16, np.float16),
        bits(0xFFC1, np.uint16, ml_dtypes.bfloat16),
        np.float32(3),
        np.empty((0, 3), np.float32),
    ],
)
def test_the_same_bytes_are_none(value):
    assert both(value, value.copy()) == (False, False)


@pytest.mark.parametrize("at", [0, 1023, 1024, 4095, 4096, 9999, -1])
def test_one_element_anywhere(at):
    before = np.zeros(20000, np.float32)
    after = before.copy()
    after[at] = np.finfo(np.float32).smallest_subnormal
    assert both(before, after) == (True, True)


@given(st.data())
def test_exactly_the_changed_ones_are_found(data):
    model = Model(data.draw(ITEMS))
    given, changed = {}, []
    for name, value in model.present.items():
        given[name] = value.copy()
        if value.size and data.draw(st.booleans(), label=name):
            place = data.draw(st.integers(0, value.nbytes - 1), label="byte")
            given[name].reshape(-1).view(np.uint8)[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
            changed.append(name)
    names = data.draw(st.permutations(list(given)))[: data.draw(st.integers(1, len(given)))]
    model.staging.into_device({name: from_numpy(given[name]) for name in names}, torch, WHERE, 0)
    assert model.staging.differing(names, torch, 0) == [name for name in names if name in changed]
    assert [name for name in names if not model.staging.has(name, given[name])] == [n for n in names if n in changed]


def test_tensors_with_gaps_are_gathered():
    model = Model([("a", dtypes.float32, (3, 4)), ("b", dtypes.float32, (2, 2))])
    base = torch.arange(24.0).reshape(4, 6)
    given = {"a": base[:, :3].t(), "b": base[:2, ::3]}
    model.staging.into_device(given, torch, WHERE, 0)
    assert model.staging.differing(["a", "b"], torch, 0) == ["a", "b"]
    model.staging.device_to_host(["a", "b"], 0)
    for name, value in given.items():
        np.testing.assert_array_equal(model.staging.new(name), value.numpy())


def test_tensors_with_gaps_are_brought():
    model = Model([("a", dtypes.float32, (3, 5)), ("b", dtypes.float16, (700, 3))])
    a, b = torch.arange(15.0).reshape(5, 3).t(), torch.arange(4200.0).half().reshape(700, 6)[:, ::2]
    model.staging.into_host({"b": b, "a": a}, 0)
    assert model.memory.copies == [4200, 60]
    assert model.memory.waits == 0
    for name, value in (("a", a), ("b", b)):
        np.testing.assert_array_equal(model.staging.new(name), value.numpy())


def test_nothing_at_all():
    memory = Memory()
    staging = Staging([], memory.pinned, memory.copy, memory.synchronize)
    assert staging.nbytes == 0
    empty = Model([("a", dtypes.float32, (0,)), ("b", dtypes.int8, (2, 0))])
    empty.refit({"a": empty.value("a")}, {"b": empty.value("b")}, fails=False)
    assert empty.staging.present("b").shape == (2, 0)


def test_what_was_made_in_inference_mode_is_written_to_outside_of_it():
    model = Model([("a", dtypes.float32, (5,)), ("b", dtypes.float16, (3, 2))])
    staging = model.staging
    for number in range(4):
        new = {name: from_numpy(np.ascontiguousarray(model.value(name))) for name in model.items}
        with torch.inference_mode(number % 2 == 0):
            staging.into_device(new, torch, WHERE, 0)
            assert set(staging.differing(list(new), torch, 0)) <= set(new)
        staging.flip(new, host=False, device=True)
        for name, value in new.items():
            assert staging.present(name).tobytes() == value.numpy().tobytes()
