"""Kernels compiled by NVRTC, where that is installed; the plugin that launches them, where TensorRT's headers are."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import trtnet
from trtnet.tensorrt.kernels import compiling, shim
from trtnet.tensorrt.provider import Provider

SOURCE = """#include <cuda_fp16.h>
__global__ void halve(const __half* x, __half* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * __float2half(0.5f);
}
"""


@pytest.fixture
def nvrtc():
    try:
        compiling._nvrtc()
    except trtnet.errors.ProviderError as error:
        pytest.skip(str(error.details))
    if not compiling.includes():
        pytest.skip("CUDA's headers are not installed")


def kernel(source: str = SOURCE) -> trtnet.nn.Module:
    return trtnet.kernel(source, shapes=lambda x: x, grid=1, arguments=lambda x: [x.shape.numel()])


def provider(version: str) -> Provider:
    """All that building the plugin asks of a TensorRT."""
    return SimpleNamespace(version=version)  # type: ignore[return-value]


def test_the_code_is_for_the_gpu_that_was_asked_for(nvrtc):
    code = trtnet.plugins.compiled(kernel(), "sm_90")
    assert code[:4] == b"\x7fELF"
    made = compiling.compiled(SOURCE, "halve", (), "sm_90")
    assert made.code == code
    assert made.function.encode() in code  # mangled: it is no extern "C"
    assert made.function != "halve"


def test_a_kernel_that_does_not_compile_shows_the_compilers_message(nvrtc):
    wrong = kernel(SOURCE.replace("if (i < n)", "if (i < m)"))
    with pytest.raises(trtnet.errors.BuildError, match="the kernel halve does not compile") as caught:
        trtnet.plugins.compiled(wrong, "sm_90")
    assert 'identifier "m" is undefined' in caught.value.details
    assert caught.value.found == "line 4: if (i < m) y[i] = x[i] * __float2half(0.5f);"
    assert "trtnet.plugins.compiled(wrong" in str(caught.value)


def test_a_header_that_is_not_found(nvrtc):
    wrong = kernel('#include "nowhere.h"\n' + SOURCE)
    with pytest.raises(trtnet.errors.BuildError, match="does not compile") as caught:
        trtnet.plugins.compiled(wrong, "sm_90")
    assert "nowhere.h" in caught.value.details


def test_without_nvrtc(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(trtnet.errors.ProviderError, match="compiling a kernel needs NVRTC") as caught:
        trtnet.plugins.compiled(kernel(SOURCE + "// not compiled yet"), "sm_90")
    assert "pip install" in caught.value.remedy


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(compiling.device, "capability", lambda: None)
    with pytest.raises(trtnet.errors.ProviderError, match="compiled for the GPU that it runs on"):
        trtnet.plugins.compiled(kernel())


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Look for headers in TENSORRT_ROOT alone, and keep what is built in a new folder."""
    monkeypatch.setattr(shim, "_roots", lambda: iter([tmp_path / "root" / "include"]))
    monkeypatch.setenv("TRTNET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "root" / "include").mkdir(parents=True)
    return tmp_path


def write_headers(folder: Path, major: int, minor: int, style: str) -> None:
    (folder / "NvInferRuntime.h").write_text("#error these headers are empty\n")
    (folder / "NvInferVersion.h").write_text(
        f"#define NV_TENSORRT_MAJOR {major} //!< version\n#define NV_TENSORRT_MINOR {minor}\n"
        if style == "8"
        else f"#define TRT_MAJOR_ENTERPRISE {major}\n#define TRT_MINOR_ENTERPRISE {minor}\n"
        "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n"
    )


def test_without_headers_it_is_said_what_to_install(places):
    with pytest.raises(trtnet.errors.ProviderError, match="TensorRT's headers to build it are not here") as caught:
        shim.library(provider("8.6.1"))
    assert caught.value.expected == "NvInferRuntime.h of TensorRT 8.6"
    assert str(places / "root" / "include") in caught.value.found
    assert "libnvinfer-headers-dev" in caught.value.remedy
    assert "TENSORRT_ROOT" in caught.value.remedy


@pytest.mark.parametrize("style", ["8", "10"])
def test_headers_of_another_version(places, style):
    write_headers(places / "root" / "include", 10, 3, style)
    with pytest.raises(trtnet.errors.ProviderError, match="are not here") as caught:
        shim.headers(provider("8.6.1"))
    assert caught.value.found.endswith("include: of 10.3")
    assert shim.headers(provider("10.3.0")) == places / "root" / "include"


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_a_plugin_that_does_not_build(places):
    write_headers(places / "root" / "include", 8, 6, "8")
    with pytest.raises(trtnet.errors.BuildError, match="does not build") as caught:
        shim.library(provider("8.6.1"))
    assert "these headers are empty" in caught.value.details
    assert not list((places / "cache").glob("*.so"))


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shim.shutil, "which", lambda name: None)
    with pytest.raises(trtnet.errors.ProviderError, match="there is no C") as caught:
        shim.command(tmp_path / "x.so", tmp_path)
    assert "g++" in caught.value.remedy


def test_a_folder_that_others_can_write_to(monkeypatch, tmp_path):
    tmp_path.chmod(0o777)
    monkeypatch.setenv("TRTNET_CACHE", str(tmp_path))
    with pytest.raises(trtnet.errors.ProviderError, match="cannot be kept in") as caught:
        shim.library(provider("8.6.1"))
    assert "TRTNET_CACHE" in caught.value.remedy


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_plugin_builds_once_against_these_headers(monkeypatch, tmp_path):
    folder = next((one for one in shim._places() if (one / "NvInferRuntime.h").is_file()), None)
    if folder is None:
        pytest.skip("TensorRT's headers are not installed")
    monkeypatch.setenv("TRTNET_CACHE", str(tmp_path / "cache"))
    version = shim._version_in(folder)
    path = shim.library(provider(f"{version}.0"))
    assert re.fullmatch(rf"libtrtnet-kernel-\w{{16}}-tensorrt-{re.escape(version)}\.so", path.name)
    before = path.stat().st_mtime_ns
    assert shim.library(provider(f"{version}.0")) == path
    assert path.stat().st_mtime_ns == before
    library = ctypes.CDLL(str(path))
    count = ctypes.c_int32()
    library.getPluginCreators.restype = ctypes.c_void_p
    assert library.getPluginCreators(ctypes.byref(count))
    assert count.value == 1
