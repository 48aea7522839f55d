"""The PTX that a plan is given, launched as TensorRT launches it: inputs, whole numbers of 32 bits, outputs."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from bindings import Bindings
from kernels import asked, code_for, fresh
from plugin_module import PluginModule

from trtnet.errors import ProviderError

driver = pytest.importorskip("cuda.bindings.driver")


def checked(result: tuple[Any, ...]) -> Any:
    error, *values = result
    assert error == driver.CUresult.CUDA_SUCCESS, driver.cuGetErrorString(error)
    return values[0] if len(values) == 1 else values


@pytest.fixture(params=["kept", "compiled here"])
def text(request: pytest.FixtureRequest) -> Any:
    """The PTX by a kernel's name: None for that in the folder."""
    if request.param == "kept":
        return lambda name: None

    def of(name: str) -> str:
        try:
            return fresh(name)
        except ProviderError as error:
            pytest.skip(str(error))

    return of


def launched(name: str, text: Any, inputs: list[np.ndarray], outputs: list[np.ndarray], launch: Any) -> None:
    """Run a kernel on arrays."""
    checked(driver.cuInit(0))
    context = checked(driver.cuDevicePrimaryCtxRetain(checked(driver.cuDeviceGet(0))))
    checked(driver.cuCtxSetCurrent(context))
    function, code = code_for(name, text(name))
    module = checked(driver.cuModuleLoadData(code.encode() + b"\0"))
    kernel = checked(driver.cuModuleGetFunction(module, function.encode()))
    places = []
    for array in (*inputs, *outputs):
        places.append(checked(driver.cuMemAlloc(array.nbytes)))
        checked(driver.cuMemcpyHtoD(places[-1], array.ctypes.data, array.nbytes))
    sizes, numbers = launch
    pointers = [int(one) for one in places]
    values = (*pointers[: len(inputs)], *numbers, *pointers[len(inputs) :])
    kinds = (*[ctypes.c_uint64] * len(inputs), *[ctypes.c_int32] * len(numbers), *[ctypes.c_uint64] * len(outputs))
    checked(driver.cuLaunchKernel(kernel, *sizes, 0, (values, kinds), 0))
    checked(driver.cuCtxSynchronize())
    for array, place in zip(outputs, places[len(inputs) :]):
        checked(driver.cuMemcpyDtoH(array.ctypes.data, place, array.nbytes))
    for place in places:
        checked(driver.cuMemFree(place))
    checked(driver.cuModuleUnload(module))


def launches(name: str) -> list[Any]:
    module = Bindings("11.4")
    return [launch for _, launch in asked(name, module, PluginModule(module, "11.4"))[3]]


@pytest.mark.parametrize(("place", "batch"), [(0, 1), (1, 1000)])
def test_every_kind_of_argument(text: Any, place: int, batch: int) -> None:
    random = np.random.default_rng(1)
    x, w = random.standard_normal((batch, 4)).astype(np.float32), np.arange(8, dtype=np.int8) - 3
    y = np.full_like(x, np.nan)
    launched("mixed", text, [x, w], [y], launches("mixed")[place])
    m = batch - 7
    wanted = x * -0.5 + 1 + w[batch % 3 % 5] + ((m + (1 << 40)) >> 36) + m * 0.5 - 3
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(("place", "shape"), [(0, (1, 1)), (1, (7, 33)), (2, (1000, 4096))])
def test_several_outputs_and_shared_memory(text: Any, place: int, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(2).integers(-99, 99, shape).astype(np.int32)
    total, even = np.zeros(shape[0], np.int32), np.zeros(shape[0], np.bool_)
    launched("rows", text, [x], [total, even], launches("rows")[place])
    np.testing.assert_array_equal(total, x.sum(1))
    np.testing.assert_array_equal(even, x.sum(1) % 2 == 0)


def test_weights_and_no_arguments(text: Any) -> None:
    x, w = np.arange(12, dtype=np.float32).reshape(3, 4), np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    y = np.full_like(x, np.nan)
    launched("weighted", text, [x, w], [y], launches("weighted")[0])
    np.testing.assert_array_equal(y, x * w)


@pytest.mark.parametrize(("place", "batch"), [(0, 1), (1, 1000)])
def test_code_of_tritons(text: Any, place: int, batch: int) -> None:
    x = np.random.default_rng(3).standard_normal((batch, 4)).astype(np.float32)
    y = np.full_like(x, np.nan)
    launched("scaled", text, [x], [y], launches("scaled")[place])
    np.testing.assert_allclose(y, x * np.float32(0.1) + np.float32(1 << 33), rtol=1e-6)
