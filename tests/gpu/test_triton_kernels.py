"""Functions of Triton's as layers, launched by TensorRT: refitted, live, in half precision, loaded from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import LEVEL, close, same

import trtnet
from trtnet import Dim, Input, nn
from trtnet.tensorrt.kernels import shim

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
BATCH = Dim("batch", min=1, opt=4, max=16)


@triton.jit
def scaled(x, w, y, count, columns, alpha, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    kept = i < count
    tl.store(y + i, tl.load(x + i, mask=kept) * alpha + tl.load(w + i % columns, mask=kept), mask=kept)


@triton.jit
def row_softmax(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    value = tl.load(x + row * columns + i, mask=i < columns, other=-float("inf")).to(tl.float32)
    power = tl.exp(value - tl.max(value, 0))
    tl.store(y + row * columns + i, (power / tl.sum(power, 0)).to(y.dtype.element_ty), mask=i < columns)


@pytest.fixture(scope="module", autouse=True)
def headers() -> None:
    try:
        tensorrt = trtnet.provider.load("tensorrt")
        if tensorrt.plugin_module is None:  # which needs no headers
            shim.headers(tensorrt)
    except trtnet.errors.ProviderError as error:
        pytest.skip(f"{error.problem}: {error.found}")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 6)
        self.weight = nn.Parameter(np.arange(6, dtype=np.float32))
        self.scaled = trtnet.kernel(
            scaled,
            shapes=lambda x, w: x,
            grid=lambda x, w: (x.shape.numel() + 127) // 128,
            arguments=lambda x, w: (x.shape.numel(), x.shape[-1], 0.5),
            constants={"BLOCK": 128},
            reference=lambda x, w: x * 0.5 + w,
        )

    def forward(self, x):
        return self.scaled(self.head(x), self.weight)


def recorded() -> tuple[trtnet.Graph, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((4, 50, 6), np.float32)
    return trtnet.record(Net(), x=Input((BATCH, 50, 6))), x


def test_it_is_refitted_and_restored():
    graph, x = recorded()
    engine = trtnet.build(graph, refit=True, **LEVEL)
    double = trtnet.reference(graph, dtype="float64")
    before = engine(x)
    close(before, double(x))
    snapshot = engine.snapshot()
    other = {"weight": np.full(6, 3, np.float32)}
    engine.refit(other)
    double.refit(other)
    close(engine(x), double(x))
    close(engine(x[:1]), double(x[:1]))
    engine.restore(snapshot)
    assert same(engine(x), before)


def test_its_weight_is_live():
    graph, x = recorded()
    engine = trtnet.build(graph, live="weight", **LEVEL)
    bound = torch.arange(6, dtype=torch.float32).cuda()
    engine.bind_weights({"weight": bound})
    call = engine.bind(torch.as_tensor(x).cuda(), graph=True)
    double = trtnet.reference(graph, dtype="float64")
    close(call(), double(x))
    bound.mul_(2)
    double.refit({"weight": bound.cpu()})
    close(call(), double(x))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
@pytest.mark.parametrize("options", [{"num_warps": 1}, {"num_warps": 8, "num_stages": 2}])
def test_a_reduction_in_each_precision(dtype: str, tolerance: float, options: dict[str, Any]):
    """Shared memory, and as many threads as Triton says."""
    softmax = trtnet.kernel(
        row_softmax,
        shapes=lambda x: x,
        grid=lambda x: x.shape[0],
        arguments=lambda x: [x.shape[1]],
        constants={"BLOCK": 1024},
        options=options,
        reference=lambda x: x.softmax(1),
    )
    graph = trtnet.record(lambda x: softmax(x), x=Input((Dim("rows", max=64), 700), dtype))
    engine = trtnet.build(graph, **LEVEL)
    for rows in (1, 7, 64):
        x = (np.random.default_rng(rows).standard_normal((rows, 700)) * 3).astype(dtype)
        wanted = torch.as_tensor(x.astype(np.float64)).softmax(1).numpy()
        np.testing.assert_allclose(engine(x).astype(np.float64), wanted, rtol=tolerance, atol=tolerance * wanted.max())


def test_it_is_saved_and_loaded(tmp_path):
    graph, x = recorded()
    before = trtnet.build(graph, **LEVEL)(x)
    trtnet.build_plan(graph, **LEVEL).save(tmp_path / "net.engine")
    assert same(trtnet.load(tmp_path / "net.engine")(x), before)
