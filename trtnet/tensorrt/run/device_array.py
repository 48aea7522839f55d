"""Arrays of other libraries on the GPU, in and out, without PyTorch: DLPack and `__cuda_array_interface__`.

What is followed here: DLPack's structures and its Python specification
(https://dmlc.github.io/dlpack/latest/python_spec.html), `__dlpack__` of the Python array API standard 2023.12, and the
CUDA Array Interface, version 3 (https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html).
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ...basics import dtypes
from ...basics.dims import format_shape
from ...basics.dtypes import dtype as Dtype
from ...basics.errors import ArgumentTypeError, DtypeError, NameNotFoundError, ProviderError, ShapeError
from ..device import Device, Owned, checked

if TYPE_CHECKING:
    from typing_extensions import CapsuleType

CPU, CUDA = 1, 2  # kDLCPU, kDLCUDA of dlpack.h
_DEVICES = {1: "the CPU", 2: "a CUDA device", 3: "page-locked host memory", 10: "ROCm", 13: "CUDA managed memory"}

# DLDataTypeCode and bits of dlpack.h
_CODES: dict[Dtype, tuple[int, int]] = {
    dtypes.int8: (0, 8), dtypes.int16: (0, 16), dtypes.int32: (0, 32), dtypes.int64: (0, 64), dtypes.uint8: (1, 8),
    dtypes.float16: (2, 16), dtypes.float32: (2, 32), dtypes.float64: (2, 64), dtypes.bfloat16: (4, 16),
    dtypes.bool_: (6, 8), dtypes.float8_e4m3fn: (10, 8), dtypes.float8_e8m0fnu: (14, 8),
}  # fmt: skip
_DTYPES = {code: dtype for dtype, code in _CODES.items()}


class _Tensor(ctypes.Structure):
    """DLTensor, with DLDevice and DLDataType written out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_NEW, _USED = b"dltensor", b"used_dltensor"  # capsules keep these addresses
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_set_name = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))


class _Memory:
    """Memory that belongs to something else, as NumPy finds it."""

    def __init__(self, address: int, shape: tuple[int, ...], itemsize: int, owner: Any) -> None:
        self.handle = address
        self.owner = owner
        self.__array_interface__ = {
            "shape": shape, "typestr": f"<u{itemsize}", "data": (address, False), "version": 3,
        }  # fmt: skip


def capsule(address: int, shape: tuple[int, ...], dtype: Dtype, owner: Any, device: tuple[int, int]) -> CapsuleType:
    """A DLPack capsule; it and what is made of it keep `owner` alive.

    NumPy makes it, for an array at that address which nobody reads, and device and type are written in. So deleter and
    destructor are NumPy's, in C: a destructor in Python (ctypes) loses an exception that is being raised while a
    capsule dies that nobody consumed.
    """
    if dtype not in _CODES:
        raise DtypeError(f"DLPack has no {dtype}", expected=", ".join(d.name for d in _CODES), found=dtype.name)
    made = np.asarray(_Memory(address, shape, dtype.itemsize, owner)).__dlpack__()
    tensor = _Managed.from_address(_pointer(made, _NEW)).tensor
    tensor.device_type, tensor.device_id = device
    tensor.code, tensor.bits = _CODES[dtype]
    return made


class Handled(Protocol):
    """Memory that lives as long as this object."""

    @property
    def handle(self) -> int: ...


class DeviceArray:
    """An array in GPU memory, offered to other libraries: `torch.from_dlpack(a)`, `cupy.from_dlpack(a)`,
    `numba.cuda.as_cuda_array(a)`. `a.numpy()` copies it to the host.

    Its memory is freed when it and everything that was made of it are gone.

    Attributes:
        shape, dtype: as the engine's output.
        device: the `trtnet.device.Device` where it is.
        stream: the address of the CUDA stream that its values are computed on; consumers wait for it by themselves.
    """

    def __init__(
        self,
        memory: Handled,
        shape: tuple[int, ...],
        dtype: Dtype,
        device: Device | None,
        stream: int = 0,
        ready: Owned | None = None,
        _kind: int = CUDA,
    ) -> None:
        self.memory = memory
        self.shape = tuple(shape)
        self.dtype = dtype
        self.device = device
        self.stream = stream
        self._ready = ready
        self._kind = _kind

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.dtype.nbytes(self.size)

    @property
    def address(self) -> int:
        return int(self.memory.handle)

    def numpy(self) -> np.ndarray:
        """A copy on the host; waits for the values."""
        array = np.empty(self.shape, self.dtype.numpy)
        if self.device is None:
            ctypes.memmove(array.ctypes.data, self.address, array.nbytes)
        else:
            with self.device.current():
                self.device.copy(array.ctypes.data, self.address, array.nbytes, self.stream)
                self.device.synchronize(self.stream)
        return array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e8m0fnu):
            raise NameNotFoundError(  # an AttributeError: hasattr says no, and libraries look for __dlpack__
                f"__cuda_array_interface__ has no way to say {self.dtype}",
                expected="a type that NumPy has",
                found=self.dtype.name,
                remedy="DLPack has it: torch.from_dlpack(array), cupy.from_dlpack(array)",
            )
        if self._kind != CUDA:
            raise NameNotFoundError("this array is not on a GPU", remedy="numpy.from_dlpack(array)")
        return {
            "shape": self.shape,
            "typestr": self.dtype.numpy.str,
            "data": (self.address if self.size else 0, False),
            "strides": None,
            "version": 3,
            "stream": None if self._is_ready() else self.stream or 1,
        }

    def _is_ready(self) -> bool:
        if self._ready is None or self.device is None:
            return True
        with self.device.current():
            return int(self.device.runtime.cudaEventQuery(self._ready.handle)[0]) == 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, 0 if self.device is None else self.device.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType:
        """A DLPack capsule (not versioned, which every consumer takes).

        Args:
            stream: the consumer's CUDA stream, which is made to wait for the values: 1 or None for the legacy default
                stream, 2 for the thread's own, -1 for no waiting.
            dl_device, copy: what is not possible without a copy raises BufferError, as the standard asks.
        """
        if copy or (dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__()):
            raise BufferError("a DeviceArray gives its own memory, where it is; array.numpy() copies it to the host")
        if self._kind == CUDA:
            if stream is not None and (not isinstance(stream, int) or stream == 0 or stream < -1):
                raise ArgumentTypeError(
                    "DLPack has no such CUDA stream",
                    expected="None, -1, 1, 2 or a stream's address",
                    found=repr(stream),
                    remedy="1 is the legacy default stream; 0 could mean two",
                )
            if stream != -1 and self._ready is not None and self.device is not None:
                runtime, handle = self.device.runtime, 1 if stream is None else stream
                with self.device.current():
                    checked(runtime.cudaStreamWaitEvent(handle, self._ready.handle, 0))
        elif stream is not None:
            raise ArgumentTypeError("there are no streams on the CPU", expected="stream=None", found=repr(stream))
        return capsule(self.address, self.shape, self.dtype, self.memory, self.__dlpack_device__())

    def __repr__(self) -> str:
        return f"DeviceArray({format_shape(self.shape)}, {self.dtype}, {self.device or 'cpu'})"


# --- arrays of others --------------------------------------------------------------------------------------------


class Foreign(NamedTuple):
    """Where another library's array is. Its memory lives as long as `owner` does."""

    address: int
    shape: tuple[int, ...]
    dtype: Dtype
    owner: Any


class _Taken:
    """A consumed capsule's tensor; its deleter is called when this object dies."""

    __slots__ = ("__weakref__",)

    def __init__(self, managed: int) -> None:
        deleter = _Managed.from_address(managed).deleter
        if deleter:
            weakref.finalize(self, _Deleter(deleter), managed).atexit = False


def foreign(value: Any, device: Device | None, stream: int, _kind: int = CUDA) -> Foreign:
    """Read an array by `__dlpack__`, else by `__cuda_array_interface__`. What comes on `stream` waits for its values.

    Raises:
        ArgumentTypeError: it is on no CUDA device. ProviderError: on another one. ShapeError: it is not contiguous.
        DtypeError: a type that trtnet has not.
    """
    if hasattr(value, "__dlpack_device__"):
        check_place(value, device, _kind)
        try:
            made = value.__dlpack__(stream=stream or 1) if _kind == CUDA else value.__dlpack__()
        except (BufferError, TypeError):
            if not hasattr(value, "__cuda_array_interface__"):
                raise
        else:
            return _consumed(made, value)
    return by_interface(value, device, stream)


def check_place(value: Any, device: Device | None, wanted: int) -> None:
    kind, number = (int(v) for v in value.__dlpack_device__())
    if kind != wanted:
        raise ArgumentTypeError(
            "this array is on another kind of device",
            expected=_DEVICES[wanted],
            found=f"{type(value).__name__} on {_DEVICES.get(kind, f'DLPack device type {kind}')}",
            remedy="numpy.from_dlpack(array)" if kind in (1, 3) else "copy it to the GPU by its own library",
        )
    if device is not None and number != device.ordinal:
        raise _elsewhere(device, number)


def _elsewhere(device: Device, number: int) -> ProviderError:
    return ProviderError(
        "this array is on another device",
        expected=device,
        found=f"cuda:{number}",
        remedy=f"copy it to {device}, or build the engine there: device='cuda:{number}'",
    )


def _consumed(made: CapsuleType, value: Any) -> Foreign:
    """What a capsule holds; the capsule is used up."""
    if not _is_valid(made, _NEW):
        raise ArgumentTypeError(
            "this is no DLPack capsule that can be taken",
            expected="a new capsule named 'dltensor'",
            found=f"{made!r} of {type(value).__name__}",
            remedy="a capsule can be taken once: give the array itself, not its capsule",
        )
    managed = _pointer(made, _NEW)
    _set_name(made, _USED)
    owner = _Taken(managed)
    tensor = _Managed.from_address(managed).tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    dtype = _DTYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if dtype is None:
        raise DtypeError(
            "trtnet has no such element type",
            expected=", ".join(d.name for d in _CODES),
            found=f"DLPack code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes",
        )
    if tensor.strides:
        _check_strides(shape, tuple(tensor.strides[axis] for axis in range(tensor.ndim)), 1, value)
    return Foreign((tensor.data or 0) + tensor.byte_offset, shape, dtype, owner)


def by_interface(value: Any, device: Device | None, stream: int) -> Foreign:
    """What `__cuda_array_interface__` says."""
    interface = value.__cuda_array_interface__
    shape, typestr = tuple(int(s) for s in interface["shape"]), interface["typestr"]
    if interface.get("mask") is not None:
        raise ArgumentTypeError(
            "masked arrays cannot be inputs", expected="an array without a mask", found=type(value).__name__
        )
    numpy = np.dtype(typestr)
    if numpy.kind == "V":
        raise DtypeError(
            "__cuda_array_interface__ cannot say which element type this is",
            expected="a type that NumPy has",
            found=f"typestr {typestr!r}",
            remedy="DLPack has bfloat16 and float8: give an array that has __dlpack__",
        )
    if not numpy.isnative:
        raise DtypeError("the bytes of this array are in another order", expected=numpy.newbyteorder("="), found=numpy)
    dtype = dtypes.get(numpy)
    if interface.get("strides") is not None:
        _check_strides(shape, tuple(interface["strides"]), dtype.itemsize, value)
    address = int(interface["data"][0] or 0)
    if device is not None:
        if 0 not in shape:
            with device.current():
                attributes = checked(device.runtime.cudaPointerGetAttributes(address))
            kinds = device.runtime.cudaMemoryType
            if attributes.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged):
                raise ArgumentTypeError(
                    "this array is on no CUDA device", expected=device, found=f"memory at {address:#x} of another kind"
                )
            if attributes.device != device.ordinal:
                raise _elsewhere(device, attributes.device)
        source = interface.get("stream")
        if source is not None and (source or 1) != (stream or 1):
            device.order(device.event(), int(source), stream)
    return Foreign(address, shape, dtype, value)


def _check_strides(shape: tuple[int, ...], strides: tuple[int, ...], unit: int, value: Any) -> None:
    """Raises ShapeError unless the array is C-contiguous."""
    expected = unit
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size != 1 and stride != expected and 0 not in shape:
            raise ShapeError(
                "this array is not contiguous",
                expected=f"C order, without gaps, of shape {format_shape(shape)}",
                found=f"{type(value).__name__} with strides {strides}" + (" bytes" if unit > 1 else ""),
                remedy="make a contiguous copy by its own library: cupy.ascontiguousarray(array)",
            )
        expected *= size
