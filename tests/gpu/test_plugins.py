"""Plugins on a GPU: TensorRT's own, the example's, kernels; refitted, live, saved, loaded elsewhere, from 8 threads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from networks import LEVEL, close, same
from threads import at_once

import trtnet
from trtnet import Dim, Input, nn
from trtnet.tensorrt.kernels import shim

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
BATCH = Dim("batch", min=1, opt=4, max=16)


@pytest.fixture(scope="module", autouse=True)
def tensorrt() -> trtnet.provider.Provider:
    try:
        found = trtnet.provider.load("tensorrt")
    except trtnet.errors.ProviderError as error:
        pytest.skip(error.problem)
    if found.cannot_execute is not None:
        pytest.skip(found.cannot_execute)
    return found


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# --- TensorRT's own ---------------------------------------------------------------------------------------------------


class Gelu(trtnet.Plugin):
    """GELU of a sum, by the approximation with tanh."""

    creator = "CustomGeluPluginDynamic"

    def __init__(self, bias: np.ndarray) -> None:
        super().__init__(type_id=0, bias=bias)

    def shapes(self, x):
        return x

    def reference(self, x):
        return torch.nn.functional.gelu(x + torch.as_tensor(self.bias).to(x), approximate="tanh")


class RoiAlign(trtnet.Plugin):
    creator = "ROIAlign_TRT"

    def __init__(self, size: int, scale: float, sampling: int) -> None:
        super().__init__(
            coordinate_transformation_mode=1, mode=1, output_height=size, output_width=size, sampling_ratio=sampling,
            spatial_scale=scale,
        )  # fmt: skip

    def shapes(self, x, boxes, indices):
        return (boxes.shape[0], x.shape[1], self.output_height, self.output_width), x.dtype

    def reference(self, x, boxes, indices):
        """Bilinear samples at the middle of each part of each bin, and their mean."""
        n, size = self.sampling_ratio, self.output_height
        parts = (torch.arange(size * n, dtype=x.dtype, device=x.device) + 0.5) / (size * n)
        corners = boxes * self.spatial_scale - 0.5
        at = [corners[:, i, None] + (corners[:, i + 2] - corners[:, i])[:, None] * parts for i in (0, 1)]
        h, w = x.shape[2:]
        ys, xs = at[1] * 2 / (h - 1) - 1, at[0] * 2 / (w - 1) - 1
        grid = torch.stack([xs[:, None, :].expand(-1, size * n, -1), ys[:, :, None].expand(-1, -1, size * n)], -1)
        sampled = torch.nn.functional.grid_sample(x[indices.long()], grid, padding_mode="border", align_corners=True)
        return torch.nn.functional.avg_pool2d(sampled, n)


class ScatterND(trtnet.Plugin):
    creator = "ScatterND"

    def shapes(self, data, indices, updates):
        return data

    def reference(self, data, indices, updates):
        return data.index_put(tuple(indices.long().T), updates)


BIAS = np.linspace(-1, 1, 6).astype(np.float32)
CORNERS = np.array([[1.0, 2.0, 9.0, 12.5], [0.5, 0.5, 15.0, 15.0], [3.0, 4.0, 8.0, 6.0]], np.float32)


def gelu(batch):
    op = Gelu(BIAS)
    return trtnet.record(lambda x: op(x * 2), x=Input((batch, 3, 6))), {"x": draw(4, 3, 6)}


def roi_align(batch):
    op = RoiAlign(4, 0.5, 2)
    graph = trtnet.record(
        lambda x, boxes, indices: op(x, boxes, indices), x=Input((batch, 5, 8, 8)), boxes=Input((3, 4)),
        indices=Input((3,), "int32"),
    )  # fmt: skip
    return graph, {"x": draw(4, 5, 8, 8), "boxes": CORNERS, "indices": np.array([0, 2, 1], np.int32)}


def scatter_nd(batch):
    op = ScatterND()
    graph = trtnet.record(
        lambda data, indices, updates: op(data, indices, updates), data=Input((batch, 6)),
        indices=Input((2, 2), "int32"), updates=Input((2,)),
    )  # fmt: skip
    return graph, {"data": draw(4, 6), "indices": np.array([[0, 1], [0, 5]], np.int32), "updates": draw(2)}


@pytest.mark.parametrize("batch", [4, BATCH], ids=["static", "dynamic"])
@pytest.mark.parametrize("make", [gelu, roi_align, scatter_nd])
def test_plugins_of_tensorrts_library(make, batch):
    graph, inputs = make(batch)
    engine = trtnet.build(graph, check=False, **LEVEL)
    close(engine(**inputs), trtnet.reference(graph, dtype="float64")(**inputs))
    assert [one["library"] for one in engine.plan.plugins] == [None]


def test_what_tensorrt_says_of_fields_and_creators():
    graph, _ = gelu(4)
    layer = graph.layers[-1]
    layer.fields = tuple(f._replace(type="float", values=(0.5,)) if f.name == "type_id" else f for f in layer.fields)
    with pytest.raises(trtnet.errors.ArgumentTypeError, match=r"'type_id' of the plugin CustomGelu.* another type"):
        trtnet.build(graph, **LEVEL)
    graph, _ = gelu(4)
    layer = graph.layers[-1]
    layer.fields = tuple(f._replace(name="bais") if f.name == "bias" else f for f in layer.fields)
    with pytest.raises(trtnet.errors.ArgumentError, match="has no field 'bais'") as caught:
        trtnet.build(graph, **LEVEL)
    assert "did you mean 'bias'?" in str(caught.value)
    assert "return trtnet.record(lambda x: op(x * 2)" in str(caught.value)


def test_a_plugin_of_networks_without_batch_dimension_is_refused(tensorrt):
    if tensorrt.strongly_typed:
        pytest.skip(f"{tensorrt} has other plugins")

    class Leaky(trtnet.Plugin):
        creator = "LReLU_TRT"

        def shapes(self, x):
            return x

    op = Leaky(negSlope=0.1)
    graph = trtnet.record(lambda x: op(x), x=Input((2, 3)))
    with pytest.raises(trtnet.errors.BuildError, match="TensorRT refused this plugin layer") as caught:
        trtnet.build(graph, check=False, **LEVEL)
    assert "trtnet.record(lambda x: op(x)" in str(caught.value)


# --- the example, and kernels -----------------------------------------------------------------------------------------


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soft_clip", ROOT / "examples" / "plugin" / "soft_clip.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["soft_clip"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.LIBRARY.exists():
        pytest.skip(f"{module.LIBRARY} was not built (examples/plugin/CMakeLists.txt)")
    return module


def soft_clip() -> tuple[Any, np.ndarray]:
    net = example().Net()
    net.clip.scale = nn.Parameter(np.linspace(0.5, 2, 8).astype(np.float32))
    return trtnet.record(net, image=Input((BATCH, 3, 8, 8))), draw(4, 3, 8, 8)


SCALED = """
extern "C" __global__ void scaled(const float* x, const float* w, float* y, int count, int columns, float alpha)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = alpha * x[i] + w[i % columns];
}
"""
ROW_SUMS = """
#include <cuda_fp16.h>
template <typename T> __device__ float wide(T value) { return static_cast<float>(value); }

__global__ void row_sums(const __half* x, __half* sums, bool* positive, int rows, int columns)
{
    extern __shared__ float parts[];
    int row = blockIdx.y * gridDim.x + blockIdx.x;
    if (row >= rows) return;
    float sum = 0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += wide(x[row * columns + i]);
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < blockDim.x; ++i) sum += parts[i];
    sums[row] = __float2half(sum);
    positive[row] = sum > 0;
}
"""


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 6)
        self.weight = nn.Parameter(np.arange(6, dtype=np.float32))
        self.scaled = trtnet.kernel(
            SCALED,
            shapes=lambda x, w: x,
            grid=lambda x, w: (x.shape.numel() + 255) // 256,
            arguments=lambda x, w: (x.shape.numel(), x.shape[-1], 0.5),
            reference=lambda x, w: x * 0.5 + w,
        )

    def forward(self, x):
        return self.scaled(self.head(x), self.weight)


def scaled() -> tuple[Any, np.ndarray]:
    try:
        tensorrt = trtnet.provider.load("tensorrt")
        if tensorrt.plugin_module is None:  # which needs no headers
            shim.headers(tensorrt)
    except trtnet.errors.ProviderError as error:
        pytest.skip(f"{error.problem}: {error.found}")
    return trtnet.record(Scaled(), x=Input((BATCH, 50, 6))), draw(4, 50, 6)


def test_a_kernel_of_two_outputs_in_half_precision():
    scaled()
    sums = trtnet.kernel(
        ROW_SUMS,
        shapes=lambda x: [((x.shape[0],), x.dtype), ((x.shape[0],), trtnet.bool)],
        grid=lambda x: (2, (x.shape[0] + 1) // 2),
        block=32,
        shared=32 * 4,
        arguments=lambda x: x.shape,
        reference=lambda x: (x.sum(1), x.sum(1) > 0),
    )
    graph = trtnet.record(lambda x: sums(x), x=Input((Dim("rows", max=64), 40), "float16"))
    engine = trtnet.build(graph, check=False, **LEVEL)
    for rows in (1, 7, 64):
        x = draw(rows, 40, seed=rows).astype(np.float16)
        found, positive = engine(x)
        np.testing.assert_allclose(found.astype(np.float64), x.astype(np.float64).sum(1), atol=2e-2)
        assert (positive == (found > 0)).all()


def test_a_kernel_that_does_not_compile():
    scaled()
    wrong = trtnet.kernel(
        SCALED.replace("alpha * x", "alhpa * x"), shapes=lambda x, w: x, grid=1, arguments=(1, 1, 0.5)
    )
    graph = trtnet.record(lambda x: wrong(x, np.ones(6, np.float32)), x=Input((2, 6)))
    with pytest.raises(trtnet.errors.BuildError, match="the kernel scaled does not compile") as caught:
        trtnet.build(graph, **LEVEL)
    assert 'identifier "alhpa" is undefined' in caught.value.details
    assert caught.value.found == "line 5: if (i < count) y[i] = alhpa * x[i] + w[i % columns];"
    assert "trtnet.record(lambda x: wrong(x" in str(caught.value)


@pytest.mark.parametrize(("make", "weight"), [(soft_clip, "clip.scale"), (scaled, "weight")])
def test_its_weight_is_refitted_and_restored(make, weight):
    graph, x = make()
    engine = trtnet.build(graph, refit=True, **LEVEL)
    double = trtnet.reference(graph, dtype="float64")
    before = engine(x)
    close(before, double(x))
    snapshot = engine.snapshot()
    other = {weight: np.asarray(graph.state_dict()[weight]) * 3 + 1}
    engine.refit(other)
    double.refit(other)
    close(engine(x), double(x))
    close(engine(x[:1]), double(x[:1]))
    assert not same(engine(x), before)
    engine.restore(snapshot)
    assert same(engine(x), before)


@pytest.mark.parametrize(("make", "weight"), [(soft_clip, "clip.scale"), (scaled, "weight")])
def test_its_weight_is_live(make, weight):
    graph, x = make()
    engine = trtnet.build(graph, live=weight, **LEVEL)
    bound = torch.as_tensor(np.array(graph.state_dict()[weight])).cuda()
    engine.bind_weights({weight: bound})
    call = engine.bind(torch.as_tensor(x).cuda(), graph=True)
    double = trtnet.reference(graph, dtype="float64")
    close(call(), double(x))
    bound.mul_(2)
    double.refit({weight: bound.cpu()})
    close(call(), double(x))


@pytest.mark.parametrize("make", [soft_clip, scaled])
def test_eight_threads(make):
    graph, _ = make()
    engine = trtnet.build(graph, **LEVEL)
    inputs = [draw(1 + i, *(int(s) for s in next(iter(graph.inputs.values())).shape[1:]), seed=i) for i in range(8)]
    wanted = [engine(x) for x in inputs]

    def work(i: int) -> None:
        with engine.context() as context:
            for _ in range(20):
                assert same(context(inputs[i]), wanted[i])

    at_once(work, range(8))


def test_a_plan_from_the_cache(tmp_path):
    graph, x = soft_clip()
    first = trtnet.build(graph, cache=tmp_path, **LEVEL)
    second = trtnet.build(graph, cache=tmp_path, **LEVEL)
    assert (first.plan.cached, second.plan.cached) == (False, True)
    assert same(first(x), second(x))


LOADING = """
import sys
import numpy as np
import trtnet

for path in sys.argv[1:]:
    engine = trtnet.load(path)
    np.save(path + ".npy", engine(np.load(path + ".x.npy")))
    print(path, [(one["creator"], one["library"]) for one in engine.plan.plugins])
"""


def test_loading_in_another_process(tmp_path):
    paths = []
    for make in (soft_clip, scaled, lambda: (gelu(BATCH)[0], gelu(BATCH)[1]["x"])):
        graph, x = make()
        engine = trtnet.build(graph, check=False, **LEVEL)
        path = engine.save(tmp_path / f"net{len(paths)}.engine")
        np.save(f"{path}.x.npy", x)
        paths.append((path, engine(x)))
    ran = subprocess.run(
        [sys.executable, "-c", LOADING, *(str(path) for path, _ in paths)], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "[('SoftClip', 'libsoft_clip.so')]" in ran.stdout
    for path, wanted in paths:
        assert same(np.load(f"{path}.npy"), wanted)


def test_every_creator_and_its_fields():
    """In a process of its own: what 70 libraries' creators say of themselves is read."""
    code = "import trtnet\nfor one in trtnet.plugins.available(): print(one)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert "CustomGeluPluginDynamic 1 (type_id: int32, bias: float32)" in ran.stdout
