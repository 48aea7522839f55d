"""CUDA kernels as layers: what is recorded of them, and what is refused, without a GPU."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, nn

torch = pytest.importorskip("torch")

SOURCE = """
// scaled(x) + w, for columns of w
extern "C" __global__ void scaled(const float* __restrict__ x, float const* w, float* y, int count, int columns,
                                  float alpha) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = alpha * x[i] + w[i % columns];
}
"""
BATCH = Dim("batch", min=1, opt=200, max=4096)
X = np.random.default_rng(0).standard_normal((5, 4), np.float32)


def scaled(source=SOURCE, **changes):
    given = {
        "shapes": lambda x, w: x,
        "grid": lambda x, w: (x.shape.numel() + 255) // 256,
        "arguments": lambda x, w: (x.shape.numel(), x.shape[-1], 0.5),
        "reference": lambda x, w: x * 0.5 + w,
        "compose": lambda x, w: x * 0.5 + w,
    }
    return trtnet.kernel(source, **(given | changes))


class Net(nn.Module):
    def __init__(self, kernel=None):
        super().__init__()
        self.weight = nn.Parameter(np.arange(4, dtype=np.float32))
        self.scaled = scaled() if kernel is None else kernel

    def forward(self, x):
        return self.scaled(x, self.weight)


def record(rows=BATCH, **changes):
    return trtnet.record(Net(scaled(**changes)), x=Input((rows, 4)))


@pytest.mark.parametrize("rows", [5, BATCH])
def test_the_reference_and_the_composition(rows):
    graph = record(rows)
    wanted = X * 0.5 + np.arange(4, dtype=np.float32)
    assert list(graph.parameters) == ["weight"]
    np.testing.assert_allclose(trtnet.reference(graph)(X), wanted, rtol=1e-6)
    composed = graph.for_provider(needs_rtx())
    np.testing.assert_allclose(trtnet.reference(composed)(X), wanted, rtol=1e-6)
    lower_and_compare(graph)


def test_the_launch_is_told_over_the_sizes_of_the_inputs():
    layer = record().layers[-1]
    assert layer.launch.splitlines() == [
        "trtnet-kernel 1 <function>",
        "inputs 2 float32 float32",
        "outputs 1 float32 2 d0,0 ; 4 ;",
        "grid d0,0 63 + 64 / ; 1 ; 1 ;",
        "block 256 ; 1 ; 1 ;",
        "shared 0 ;",
        "arguments 3 int32 d0,0 4 * ; int32 4 ; float 0.5",
    ]
    assert record(5).layers[-1].launch.splitlines()[3] == "grid 1 ; 1 ; 1 ;"


def test_sizes_that_are_expressions_of_the_networks_dims():
    """An input of `2 * batch` rows: the kernel knows its rows, not the batch."""

    def forward(x):
        return kernel(trtnet.cat([x, x]), np.ones(4, np.float32))

    kernel = scaled(grid=lambda x, w: (x.shape[0] // 2, 3), block=(32, 4, 2), shared=1024)
    graph = trtnet.record(forward, x=Input((BATCH, 4)))
    lines = graph.layers[-1].launch.splitlines()
    assert lines[3:6] == ["grid d0,0 2 / ; 3 ; 1 ;", "block 32 ; 4 ; 2 ;", "shared 1024 ;"]
    assert graph.outputs["output"].shape == (2 * BATCH, 4)


def test_json_and_pickling():
    graph = record()
    again = pickle.loads(pickle.dumps(graph))
    assert again.structure_hash() == graph.structure_hash()
    assert (trtnet.reference(again)(X) == trtnet.reference(graph)(X)).all()
    assert record(source=SOURCE.replace("scaled(x)", "changed")).structure_hash() != graph.structure_hash()


def test_a_reference_in_numpy_and_none_at_all():
    graph = record(reference=lambda x, w: np.add(x * 0.5, w), reference_in="numpy")
    np.testing.assert_allclose(trtnet.reference(graph)(X), X * 0.5 + np.arange(4), rtol=1e-6)
    graph = record(reference=None, compose=None)
    with pytest.raises(trtnet.errors.ProviderError, match=r"the plugin kernel\.scaled has no reference"):
        trtnet.reference(graph)(X)
    with pytest.raises(
        trtnet.errors.ProviderError, match=r"this TensorRT has no plugins, and kernel\.scaled has no comp"
    ):
        graph.for_provider(needs_rtx())
    graph = record(reference=None)
    np.testing.assert_allclose(trtnet.reference(graph)(X), X * 0.5 + np.arange(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "problem", "found"),
    [
        (", int columns,", ",", "another number of parameters", "5: const float* __restrict__ x"),
        ("const float* __restrict__ x", "float* x", "parameter 1 of the kernel scaled does not fit", "float* x"),
        ("float* y", "__half* y", "parameter 3 of the kernel scaled does not fit", "__half* y"),
        ("float* y", "const float* y", "parameter 3 of the kernel scaled does not fit", "const float* y"),
        ("float const* w", "float w", "parameter 2 of the kernel scaled does not fit", "float w"),
        ("float alpha", "int alpha", "an argument of the kernel scaled does not fit its parameter 'int alpha'", "0.5"),
        ("int columns", "float columns", "does not fit its parameter 'float columns'", "4"),
        ("int columns", "struct s columns", "does not fit its parameter 'struct s columns'", "4"),
    ],
)
def test_parameters_that_are_not_those_of_the_tensors(before, after, problem, found):
    assert before in SOURCE
    kernel = scaled(SOURCE.replace(before, after))
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        trtnet.record(Net(kernel), x=Input((5, 4)))
    assert str(caught.value.found).startswith(found)
    assert "return self.scaled(x, self.weight)" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "function", "problem"),
    [
        ("__device__ void f() {}", None, "has not one kernel, but none or several"),
        (SOURCE + SOURCE.replace("scaled(", "other("), None, "has not one kernel, but none or several"),
        (SOURCE, "other", "has no kernel of this name"),
    ],
)
def test_a_source_without_the_kernel(source, function, problem):
    with pytest.raises(trtnet.errors.ArgumentError, match=problem) as caught:
        trtnet.kernel(source, function, shapes=lambda x: x, grid=1)
    assert "trtnet.kernel(source, function, shapes=lambda x: x, grid=1)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"grid": lambda x, w: x.shape[0] / 2}, "grid of the kernel scaled is no size"),
        ({"grid": (1, 1, 1, 1)}, "grid has one to three sizes"),
        ({"arguments": lambda x, w: (x.shape[0], 4, "a")}, "an argument of the kernel scaled does not fit"),
        ({"arguments": lambda x, w: (1 << 40, 4, 0.5)}, "does not fit its parameter 'int count'"),
        ({"arguments": lambda x, w: (x.shape[0] * (1 << 21), 4, 0.5)}, "does not fit its parameter 'int count'"),
        ({"shapes": lambda x, w: x.shape}, "says no shape and dtype"),
        ({"reference_in": "jax"}, "reference_in says"),
        ({"grid": 0}, "grid of the kernel scaled cannot be launched"),
        ({"grid": lambda x, w: (4, -1)}, "grid of the kernel scaled cannot be launched"),
        ({"block": 1025}, "block of the kernel scaled cannot be launched"),
        ({"block": (32, 32, 2)}, "block of the kernel scaled cannot be launched"),
        ({"shared": -4}, "shared is bytes"),
        ({"arguments": None}, "arguments of the kernel scaled is a list"),
        ({"arguments": lambda x, w: 3}, "arguments of the kernel scaled is a list"),
        ({"shapes": None}, "shapes of the kernel scaled is no function"),
        ({"shapes": lambda x: x}, "shapes of the kernel scaled is called with other arguments"),
        ({"grid": lambda x: 1}, "grid of the kernel scaled is called with other arguments"),
        ({"reference": 3}, "reference of the kernel scaled is no function"),
        ({"compose": lambda: 1}, "compose of the kernel scaled is called with other arguments"),
    ],
)
def test_launches_that_are_none(changes, problem):
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        record(**changes)
    own = "is called with other" in problem  # at the line of that function
    assert own or "self.scaled(x, self.weight)" in str(caught.value)
    assert caught.value.where.file == __file__


@pytest.mark.parametrize("options", ["--use_fast_math", [3]])
def test_options_that_are_no_texts(options):
    with pytest.raises(trtnet.errors.ArgumentTypeError, match="options of a kernel are a list of texts") as caught:
        scaled(options=options)
    assert "put them into a list" in caught.value.remedy


def test_types_that_kernels_have_not():
    kernel = scaled(shapes=lambda x, w: x)
    with pytest.raises(trtnet.errors.DtypeError, match="a kernel takes and gives no tensors of this type") as caught:
        trtnet.record(lambda x: kernel(x, np.ones(4, np.float32)), x=Input((5, 4), "uint8"))
    assert "float32, float16" in caught.value.expected
