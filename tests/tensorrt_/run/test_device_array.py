"""Arrays of other libraries: DLPack's structures and lifetimes over host memory, `__cuda_array_interface__`, errors."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtnet import dtypes
from trtnet.errors import ArgumentTypeError, DtypeError, NameNotFoundError, ShapeError, TrtnetError
from trtnet.tensorrt.run import device_array
from trtnet.tensorrt.run.device_array import CPU, DeviceArray, capsule, foreign

WITH_TORCH = [d for d in dtypes.ALL if d.bits >= 8]
TORCHS = (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e8m0fnu)  # of which NumPy takes no DLPack
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


class Memory:
    """Host memory as device.Owned is for the GPU: an address that is good while this object lives."""

    def __init__(self, array):
        self.array = np.ascontiguousarray(array)
        self.handle = self.array.ctypes.data


def on_host(array, dtype=None):
    array = np.asarray(array)
    return DeviceArray(Memory(array), array.shape, dtype or dtypes.get(array.dtype), None, _kind=CPU)


def values(shape, dtype, seed=0):
    bits = np.random.default_rng(seed).integers(0, 2 if dtype is dtypes.bool_ else 100, shape)
    return np.asarray(bits).astype(dtype.numpy)


# --- given to others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [d for d in WITH_TORCH if d not in TORCHS], ids=str)
@given(shape=SHAPES)
def test_numpy_takes_it(dtype, shape):
    array = values(shape, dtype)
    found = np.from_dlpack(on_host(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("dtype", WITH_TORCH, ids=str)
@given(shape=SHAPES)
def test_torch_takes_it(dtype, shape):
    torch = pytest.importorskip("torch")
    from trtnet.basics.arrays import to_numpy

    array = values(shape, dtype)
    found = torch.from_dlpack(on_host(array))
    assert found.dtype == dtype.torch
    assert to_numpy(found).tobytes() == array.tobytes()
    assert tuple(found.shape) == shape


def test_nothing_is_copied():
    array = on_host(np.arange(4.0))
    found = np.from_dlpack(array)
    array.memory.array[2] = 7
    assert found[2] == 7
    assert found.ctypes.data == array.address


def test_what_it_says_of_itself():
    array = on_host(np.zeros((2, 3), np.float16))
    assert (array.shape, array.dtype, array.ndim, array.size, array.nbytes) == ((2, 3), dtypes.float16, 2, 6, 12)
    assert array.__dlpack_device__() == (CPU, 0)
    assert repr(array) == "DeviceArray((2, 3), float16, cpu)"
    np.testing.assert_array_equal(array.numpy(), np.zeros((2, 3), np.float16), strict=True)


def test_memory_lives_as_long_as_what_was_made_of_it():
    array = on_host(np.arange(5.0))
    memory = weakref.ref(array.memory)
    first, second = np.from_dlpack(array), np.from_dlpack(array)
    del array
    gc.collect()
    assert memory() is not None
    del first
    gc.collect()
    assert memory() is not None
    np.testing.assert_array_equal(second, np.arange(5.0))
    del second
    gc.collect()
    assert memory() is None


def test_a_capsule_alone_keeps_the_memory_and_lets_it_go_unused():
    array = on_host(np.arange(5.0))
    memory, made = weakref.ref(array.memory), array.__dlpack__()
    del array
    gc.collect()
    assert memory() is not None
    del made
    gc.collect()
    assert memory() is None


def test_a_failing_consumer_keeps_its_error_and_frees_the_memory():
    array = on_host(np.zeros(2, np.uint16).view(ml_dtypes.bfloat16))
    memory = weakref.ref(array.memory)
    with pytest.raises((BufferError, RuntimeError), match=r"(?i)dtype|type"):  # NumPy has no bfloat16
        np.from_dlpack(array)
    del array
    gc.collect()
    assert memory() is None


def test_the_thousandth_capsule_leaves_nothing_behind():
    array = on_host(np.arange(5.0))
    for _ in range(10):
        array.__dlpack__(), np.from_dlpack(array)
    before = sys.getrefcount(array.memory)
    for _ in range(1000):
        array.__dlpack__(), np.from_dlpack(array)
    after = sys.getrefcount(array.memory)
    assert after == before


def test_torch_tensors_outlive_the_array():
    torch = pytest.importorskip("torch")
    array = on_host(np.arange(6, dtype=np.float32))
    memory, found = weakref.ref(array.memory), torch.from_dlpack(array)
    del array
    gc.collect()
    view = found.reshape(2, 3)[1]
    del found
    gc.collect()
    assert view.tolist() == [3, 4, 5]
    del view
    gc.collect()
    assert memory() is None


@pytest.mark.parametrize("options", [{"copy": True}, {"dl_device": (2, 0)}, {"dl_device": (CPU, 1)}])
def test_what_needs_a_copy_is_a_buffer_error(options):
    with pytest.raises(BufferError, match="its own memory"):
        on_host(np.arange(3.0)).__dlpack__(**options)


@pytest.mark.parametrize("options", [{"copy": False}, {"dl_device": (CPU, 0)}, {"max_version": (1, 0)}])
def test_what_needs_none_is_given(options):
    assert "dltensor" in repr(on_host(np.arange(3.0)).__dlpack__(**options))


@pytest.mark.parametrize("stream", [0, -2, "1", 1.0])
def test_streams_that_dlpack_has_not(stream):
    array = DeviceArray(Memory(np.arange(3.0)), (3,), dtypes.float64, None)
    with pytest.raises(ArgumentTypeError, match="no such CUDA stream"):
        array.__dlpack__(stream=stream)


def test_there_are_no_streams_on_the_cpu():
    with pytest.raises(ArgumentTypeError, match="no streams on the CPU"):
        on_host(np.arange(3.0)).__dlpack__(stream=1)


def test_int4_has_no_place_in_dlpack():
    with pytest.raises(DtypeError, match="DLPack has no int4"):
        capsule(16, (2,), dtypes.int4, None, (CPU, 0))


def test_a_capsule_that_outlives_everything_else_ends_with_the_process():
    script = """if True:
        import numpy as np
        from trtnet import dtypes
        from trtnet.tensorrt.run.device_array import DeviceArray, foreign
        class Memory: pass
        memory = Memory(); memory.array = np.arange(3.0); memory.handle = memory.array.ctypes.data
        array = DeviceArray(memory, (3,), dtypes.float64, None, _kind=1)
        kept = [array.__dlpack__(), np.from_dlpack(array), foreign(np.arange(4), None, 0, 1)]
        kept.append(kept)
        print("ends well")"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ends well", "")


# --- __cuda_array_interface__ -----------------------------------------------------------------------------------------


def test_the_interface():
    memory = Memory(np.arange(6, dtype=np.float32))
    interface = DeviceArray(memory, (2, 3), dtypes.float32, None, stream=77).__cuda_array_interface__
    place = {"shape": (2, 3), "typestr": "<f4", "data": (memory.handle, False), "strides": None}
    assert interface == {**place, "version": 3, "stream": None}


def test_empty_arrays_have_no_address():
    array = DeviceArray(Memory(np.empty(1)), (0, 3), dtypes.float32, None)
    assert array.__cuda_array_interface__["data"] == (0, False)


@pytest.mark.parametrize("dtype", [dtypes.bfloat16, dtypes.float8_e4m3fn], ids=str)
def test_types_without_a_typestr(dtype):
    array = DeviceArray(Memory(np.zeros(3, dtype.numpy)), (3,), dtype, None)
    assert not hasattr(array, "__cuda_array_interface__")  # so that libraries look for __dlpack__
    with pytest.raises(NameNotFoundError, match=f"no way to say {dtype}") as caught:
        array.__cuda_array_interface__  # noqa: B018
    assert "DLPack has it" in str(caught.value)


# --- taken from others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [d for d in WITH_TORCH if d not in TORCHS], ids=str)
@given(shape=SHAPES)
def test_taken_from_numpy(dtype, shape):
    array = values(shape, dtype)
    found = foreign(array, None, 0, CPU)
    assert (found.shape, found.dtype) == (shape, dtype)
    if array.size:
        assert found.address == array.ctypes.data


@pytest.mark.parametrize("dtype", WITH_TORCH, ids=str)
def test_taken_from_torch(dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(2, 3).to(dtype.torch)[1:]
    found = foreign(tensor, None, 0, CPU)
    assert found[:3] == (tensor.data_ptr(), (1, 3), dtype)


@given(shape=SHAPES, dtype=st.sampled_from(WITH_TORCH))
def test_taken_from_a_device_array(shape, dtype):
    array = on_host(values(shape, dtype))
    assert foreign(array, None, 0, CPU)[:3] == (array.address, shape, dtype)


def test_the_owner_keeps_the_memory_and_lets_it_go():
    array = np.arange(5.0)
    seen = weakref.ref(array)
    found = foreign(array, None, 0, CPU)
    del array
    gc.collect()
    assert seen() is not None
    np.testing.assert_array_equal(
        np.ctypeslib.as_array((ctypes.c_double * 5).from_address(found.address)), np.arange(5)
    )
    del found
    gc.collect()
    assert seen() is None


def test_what_is_refused_is_let_go():
    array = np.arange(6.0).reshape(2, 3).T
    seen = weakref.ref(array)
    with pytest.raises(ShapeError):
        foreign(array, None, 0, CPU)
    del array
    gc.collect()
    assert seen() is None


class Producer:
    """Gives one capsule, made beforehand, and says what device it is on."""

    def __init__(self, made, kind=CPU):
        self.made, self.kind = made, kind

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, **options):
        return self.made


def test_a_capsule_is_taken_once():
    made = np.arange(3.0).__dlpack__()
    first = foreign(Producer(made), None, 0, CPU)
    assert "used_dltensor" in repr(made)
    with pytest.raises(ArgumentTypeError, match="no DLPack capsule that can be taken") as caught:
        foreign(Producer(made), None, 0, CPU)
    assert "give the array itself" in str(caught.value)
    assert first.shape == (3,)
    with pytest.raises(ArgumentTypeError, match="no DLPack capsule"):
        foreign(Producer(object()), None, 0, CPU)


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [(CPU, "the CPU", "numpy.from_dlpack"), (3, "page-locked", "numpy.from_dlpack"), (10, "ROCm", "its own library"),
     (99, "device type 99", "its own library")],
)  # fmt: skip
def test_arrays_on_other_devices(kind, name, remedy):
    with pytest.raises(ArgumentTypeError, match="another kind of device") as caught:
        foreign(Producer(None, kind), None, 0)
    assert name in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3)).T, np.zeros((4, 4))[:, 1:3], np.zeros(8)[::2], np.zeros(8)[::-1]],
)
def test_arrays_with_gaps(array):
    with pytest.raises(ShapeError, match="not contiguous") as caught:
        foreign(array, None, 0, CPU)
    assert "ascontiguousarray" in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros((3, 1))[:, :1], np.zeros((1, 8))[:, 2:5], np.zeros((0, 4)).T])
def test_strides_of_sizes_one_and_zero_do_not_count(array):
    assert foreign(array, None, 0, CPU).shape == array.shape


def changed(array, **fields):
    """A capsule whose DLTensor says something else."""
    made = array.__dlpack__()
    tensor = device_array._Managed.from_address(device_array._pointer(made, b"dltensor")).tensor
    for name, value in fields.items():
        setattr(tensor, name, value)
    return Producer(made)


def test_the_offset_counts():
    array = np.arange(4.0)
    found = foreign(changed(array, byte_offset=16), None, 0, CPU)
    assert found.address == array.ctypes.data + 16


def test_no_strides_means_contiguous():
    found = foreign(changed(np.arange(6.0).reshape(2, 3), strides=None), None, 0, CPU)
    assert found.shape == (2, 3)


def test_vectors_are_no_elements():
    with pytest.raises(DtypeError, match="no such element type") as caught:
        foreign(changed(np.arange(4, dtype=np.float32), lanes=2), None, 0, CPU)
    assert "2 lanes" in str(caught.value)


def test_types_that_trtnet_has_not():
    with pytest.raises(DtypeError, match="no such element type") as caught:
        foreign(np.zeros(2, np.complex64), None, 0, CPU)
    assert "64 bits" in str(caught.value)


class Described:
    """An object that has only `__cuda_array_interface__`."""

    def __init__(self, **entries):
        self.__cuda_array_interface__ = {
            "shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 3, **entries,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, (4096, (2, 3), dtypes.float32)),
        ({"strides": None, "typestr": "|b1"}, (4096, (2, 3), dtypes.bool_)),
        ({"strides": (12, 4)}, (4096, (2, 3), dtypes.float32)),
        ({"shape": (), "strides": (), "typestr": "<i8"}, (4096, (), dtypes.int64)),
        ({"shape": (0, 3), "data": (0, True), "strides": (7, 9)}, (0, (0, 3), dtypes.float32)),
        ({"shape": (1, 3), "strides": (5, 4), "typestr": "<f4"}, (4096, (1, 3), dtypes.float32)),
    ],
)
def test_what_the_interface_says(entries, expected):
    value = Described(**entries)
    found = foreign(value, None, 0)
    assert found == (*expected, value)


@pytest.mark.parametrize(
    ("entries", "kind", "message"),
    [
        ({"strides": (4, 8)}, ShapeError, "not contiguous"),
        ({"strides": (24, 4)}, ShapeError, "not contiguous"),
        ({"mask": object()}, ArgumentTypeError, "masked"),
        ({"typestr": "<V2"}, DtypeError, "cannot say which element type"),
        ({"typestr": ">f4"}, DtypeError, "another order"),
        ({"typestr": "<c8"}, DtypeError, "no element type"),
    ],
)
def test_what_the_interface_may_not_say(entries, kind, message):
    with pytest.raises(kind, match=message) as caught:
        foreign(Described(**entries), None, 0)
    assert isinstance(caught.value, TrtnetError)
    if message.startswith("cannot"):
        assert "DLPack has bfloat16" in str(caught.value)


def test_the_interface_is_asked_where_dlpack_refuses():
    class Both(Described):
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, stream):
            raise BufferError("not this type")

    assert foreign(Both(), None, 0).address == 4096
