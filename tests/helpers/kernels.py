"""Kernels that become part of a plan, as TensorRT is told of them: their PTX lies in `ptx/`, and no compiler is needed.

python tests/helpers/kernels.py     compile them anew, with NVRTC and Triton
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

import trtnet
from trtnet import Dim, Input, nn
from trtnet.basics.dims import maximum, minimum
from trtnet.tensorrt.build.lowering import Lowering
from trtnet.tensorrt.kernels import compiling, launch, ptx, triton_code
from trtnet.tensorrt.provider import Provider

FOLDER = Path(__file__).with_name("ptx")
BATCH = Dim("batch", 1, 2, 1000)

MIXED = """
__global__ void mixed(const float* x, const signed char* w, float* y, int n, float alpha, long long m, double d,
                      bool b, unsigned u, size_t c, int last, long long least) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && b)
        y[i] = x[i] * alpha + (float) (d * 1e300) + w[u % c] + (float) ((m - least) >> 36) + m * 0.5f + last;
}
"""
ROWS = """
extern "C" __global__ void rows(const int* x, int* total, bool* even, int columns) {
    extern __shared__ int parts[];
    int sum = 0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[blockIdx.x * columns + i];
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0;
    for (int i = 0; i < blockDim.x; ++i) sum += parts[i];
    total[blockIdx.x] = sum;
    even[blockIdx.x] = sum % 2 == 0;
}
"""
WEIGHTED = """
extern "C" __global__ void weighted(const float* x, const float* w, float* y) {
    y[threadIdx.x] = x[threadIdx.x] * w[threadIdx.x];
}
"""
SCALED = """
import triton
import triton.language as tl

@triton.jit
def scaled(x, y, n, alpha, m, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * alpha + m, mask=i < n)
"""


def mixed() -> trtnet.Graph:
    kernel = trtnet.kernel(
        MIXED,
        shapes=lambda x, w: (x.shape, trtnet.float32),
        grid=lambda x, w: (x.shape.numel() + 127) // 128,
        block=128,
        arguments=lambda x, w: [
            x.shape.numel(), -0.5, x.shape[0] - 7, 1e-300, True, x.shape[0] % 3, 5, -3, -(1 << 40)
        ],
    )  # fmt: skip
    return trtnet.record(lambda x, w: kernel(x, w), x=Input((BATCH, 4)), w=Input((8,), "int8"))


def rows() -> trtnet.Graph:
    kernel = trtnet.kernel(
        ROWS,
        shapes=lambda x: [(x.shape[:1], x.dtype), ((x.shape[0], 1, maximum(x.shape[0], 3)), trtnet.bool)],
        grid=lambda x: (x.shape[0], 1),
        block=lambda x: minimum(x.shape[1], 64),
        shared=lambda x: minimum(x.shape[1], 64) * 4,
        arguments=lambda x: [x.shape[1]],
    )
    return trtnet.record(lambda x: kernel(x), x=Input((BATCH, Dim("columns", 1, 4, 4096)), "int32"))


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones((3, 4), np.float32))
        self.kernel = trtnet.kernel(WEIGHTED, shapes=lambda x, w: x, grid=1, block=12)

    def forward(self, x: Any) -> Any:
        return self.kernel(x, self.weight)


def weighted() -> trtnet.Graph:
    return trtnet.record(Weighted(), x=Input((3, 4)))


def scaled(jit: Any = None) -> trtnet.Graph:
    names = ("x", "y", "n", "alpha", "m")
    jit = jit or SimpleNamespace(  # what `triton.jit` gives, as far as recording asks
        __name__="scaled", arg_names=[*names, "BLOCK"], src=SCALED,
        params=[SimpleNamespace(name=one, is_constexpr=one == "BLOCK") for one in (*names, "BLOCK")],
    )  # fmt: skip
    kernel = trtnet.kernel(
        jit,
        shapes=lambda x: x,
        grid=lambda x: (x.shape.numel() + 255) // 256,
        arguments=lambda x: [x.shape.numel(), 0.1, 1 << 33],
        constants={"BLOCK": 256},
    )
    return trtnet.record(lambda x: kernel(x), x=Input((BATCH, 4)))


KERNELS: dict[str, Callable[[], trtnet.Graph]] = {one.__name__: one for one in (mixed, rows, weighted, scaled)}
SHAPES = {
    "mixed": [((1, 4), (8,)), ((1000, 4), (8,))],
    "rows": [((1, 1),), ((7, 33),), ((1000, 4096),)],
    "weighted": [((3, 4), (3, 4))],
    "scaled": [((1, 4),), ((1000, 4),)],
}
"""Shapes of the inputs at which launches are compared."""
TENSORS = {"mixed": (2, 1), "rows": (1, 2), "weighted": (2, 1), "scaled": (1, 1)}
"""How many inputs and outputs each has."""


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.ptx").read_text()


def function_of(name: str) -> str:
    """The name in the code, which C++ has mangled unless the source forbids it."""
    return next(line for line in text_of(name).splitlines() if ".entry" in line).split()[2].rstrip("(")


@contextmanager
def compiled() -> Iterator[None]:
    """Have the kernels compiled to what lies in `ptx/`."""

    def cuda(source: str, function: str, options: Any, arch: Any = None, as_ptx: bool = False) -> compiling.Compiled:
        assert as_ptx, "a plan holds PTX"
        return compiling.Compiled(text_of(function).encode(), function_of(function))

    def of_triton(jit: Any, function: str, options: Any, arch: Any = None) -> triton_code.Compiled:
        return triton_code.Compiled(b"", text_of(function), function, 128, 4096, 2)

    with (
        mock.patch.object(compiling, "compiled", cuda),
        mock.patch.object(triton_code, "compiled", of_triton),
    ):
        yield


def asked(name: str, module: Any, plugin_module: Any) -> Any:
    """What TensorRT hears of a kernel, that trtnet has lowered by these modules: names, the parameters, types, shapes
    and launches at SHAPES."""
    provider = Provider("tensorrt", module)
    provider.__dict__["plugin_module"] = plugin_module
    network = provider.create_network(provider.builder())
    graph = KERNELS[name]()
    with compiled(), mock.patch.object(Lowering, "require"):
        lowering = Lowering(graph, network, provider).run()
    assert lowering.keeps_kernels
    assert lowering.plugins == []
    (kernel,) = vars(network)["kernels"]
    parameters = [(one.name, one.bits) for one in ptx.parameters(kernel.code, kernel.name)]
    dtypes = [one.name for one in kernel.dtypes]
    return kernel.name, parameters, dtypes, [(kernel.shapes(one), kernel.launch(one)) for one in SHAPES[name]]


def code_for(name: str, text: str | None = None) -> tuple[str, str]:
    """A kernel's name and its PTX, as a plan is given it."""
    layer: Any = KERNELS[name]().layers[-1]
    arguments = [(one.type, one.value) for one in launch.read(layer.launch).arguments]
    arguments += [("int64", 0)] * (2 if name == "scaled" else 0)  # of Triton's scratch memory
    return function_of(name), ptx.arranged(text or text_of(name), function_of(name), *TENSORS[name], arguments)


def jitted() -> Any:
    """The function of Triton's."""
    file = "<scaled>"
    linecache.cache[file] = (len(SCALED), None, SCALED.splitlines(True), file)  # where Triton reads the source
    found: dict[str, Any] = {"__name__": "functions"}
    exec(compile(SCALED, file, "exec"), found)
    return found["scaled"]


def fresh(name: str) -> str:
    """The PTX that the compiler here gives, for sm_90."""
    graph = scaled(jitted()) if name == "scaled" else KERNELS[name]()
    layer: Any = graph.layers[-1]
    wanted = layer.request().kernel
    if wanted.triton is not None:
        return triton_code.compiled(wanted.triton, wanted.function, wanted.options, "sm_90").text
    return compiling.compiled(wanted.source, wanted.function, wanted.options, "sm_90", as_ptx=True).code.decode()


if __name__ == "__main__":
    for name in KERNELS:
        text = fresh(name).partition("\n\t.file\t")[0].partition("\n\t.section")[0]  # without what debuggers read
        lines = [line.rstrip() for line in text.splitlines() if not line.lstrip().startswith((".loc", ".file"))]
        text = re.sub(r"\.version .*", ".version 8.0", "\n".join(lines))  # which has all that is in them
        (FOLDER / f"{name}.ptx").write_text(text + "\n")
