"""Shuffle, slice, concatenation, padding and shape layers: what TensorRT's attributes mean, what it refuses."""

import numpy as np
import pytest
import torch
from families import values
from harness import compile_network, composed_without, lower_and_compare, needs_rtx
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, dtypes
from trtnet.basics.dims import Size
from trtnet.errors import DtypeError, ShapeError, TrtnetError
from trtnet.functional.dispatch import scalar
from trtnet.graph.recorder import emit
from trtnet.layers.shaping import Concatenation, Padding, Shape, Shuffle, Slice

BATCH = Dim("batch", min=1, opt=4, max=8)


def run(function, x, shape=None, compile=True):
    graph = trtnet.record(function, x=Input(shape or x.shape, dtypes.get(x.dtype)))
    lower_and_compare(graph, compile=compile)
    return graph, trtnet.reference(graph)(x=x)


@given(st.permutations(range(3)), st.permutations(range(4)))
def test_shuffle_is_transpose_reshape_transpose(first, second) -> None:
    x = values((2, 3, 4))
    sizes = (2, 1, *torch.from_numpy(x).permute(*first).reshape(2, -1, 3).shape[1:])
    graph, found = run(lambda x: emit(Shuffle((x,), tuple(first), Size(sizes), tuple(second))), x, compile=False)
    wanted = x.transpose(first).reshape(sizes).transpose(second)
    np.testing.assert_array_equal(found, wanted)
    assert graph.outputs["output"].shape == wanted.shape


@pytest.mark.parametrize(
    ("shape", "sizes", "layers"),
    [
        ((BATCH, 4), (BATCH, 2, 2), 1),  # 0 copies the batch
        ((BATCH, 4), (2, BATCH, 2), 1),  # -1
        ((BATCH, 4), (BATCH * 4,), 1),
        ((BATCH, 4), (4, 1, BATCH), 1),
        ((BATCH, Dim("n", 2, 4, 6)), (Dim("n", 2, 4, 6), BATCH), None),  # two that move: a shape tensor
        ((Dim("zero", 0, 4, 6), 4), (2, Dim("zero", 0, 4, 6) * 2), None),  # a size that may be 0 is no placeholder
    ],
)
def test_reshapes_use_numbers_where_tensorrt_takes_them(shape, sizes, layers) -> None:
    provider = needs_rtx()
    graph = trtnet.record(lambda x: emit(Shuffle((x,), reshape_dims=Size(sizes))), x=Input(shape))
    lowering = lower_and_compare(graph)
    assert lowering is not None
    if layers is None:
        assert lowering.network.num_layers > 1
    else:
        assert lowering.network.num_layers == layers
    assert provider.name == "tensorrt_rtx"


def test_reshape_of_nothing() -> None:
    graph, found = run(
        lambda x: emit(Shuffle((x,), reshape_dims=Size((0, 2, 3)))), np.zeros((3, 0, 4), np.float32), compile=False
    )
    assert found.shape == (0, 2, 3)
    assert len(graph.layers) == 1


MODES = {"CLAMP": "edge", "REFLECT": "reflect", "WRAP": "wrap"}


@pytest.mark.parametrize("mode", MODES)
@given(st.integers(-6, 6), st.integers(1, 12), st.sampled_from([1, 2, -1, 3]))
def test_slice_outside(mode, start, size, stride) -> None:
    x = values((2, 5))
    function = lambda x: emit(Slice((x,), (0, start), Size((2, size)), (1, stride), mode))  # noqa: E731
    _, found = run(function, x, compile=False)
    wide = np.pad(x, ((0, 0), (60, 60)), mode=MODES[mode])
    np.testing.assert_array_equal(found, wide[:, [60 + start + i * stride for i in range(size)]])


@given(st.integers(-4, 4), st.integers(1, 9), st.sampled_from([1, 2, -1]), st.booleans())
def test_slice_fill(start, size, stride, given_value) -> None:
    x = values((2, 5))

    def function(x):
        inputs = (x, None, None, None, scalar(2.5, x.dtype, 0)) if given_value else (x,)
        return emit(Slice(inputs, (0, start), Size((2, size)), (1, stride), "FILL"))

    _, found = run(function, x, compile=False)
    wide = np.pad(x, ((0, 0), (60, 60)), constant_values=2.5 if given_value else 0)
    np.testing.assert_array_equal(found, wide[:, [60 + start + i * stride for i in range(size)]])


def test_slice_everything_dynamic() -> None:
    n = Dim("n", min=4, opt=6, max=9)

    def function(x):
        size = x.shape[1]
        return (
            emit(Slice((x,), (0, size - 1), Size((x.shape[0], size)), (1, -1))),
            emit(Slice((x,), (0, 0), Size((x.shape[0] * 2, size)), (1, 1), "WRAP")),
            emit(Slice((x,), (0, size // 2), Size((3, 2)), (0, 1))),
            emit(Slice((x,), (0, -2), Size((x.shape[0], size + 4)), (1, 1), "FILL")),
        )

    x = values((2, 5))
    graph = trtnet.record(function, x=Input((BATCH, n)))
    with pytest.raises(ShapeError):
        trtnet.reference(graph)(x=values((2, 3)))
    lower_and_compare(graph)
    turned, twice, repeated, wide = trtnet.reference(graph)(x=x)
    np.testing.assert_array_equal(turned, x[:, ::-1])
    np.testing.assert_array_equal(twice, np.concatenate([x, x]))
    np.testing.assert_array_equal(repeated, np.repeat(x[:1, 2:4], 3, 0))
    np.testing.assert_array_equal(wide, np.pad(x, ((0, 0), (2, 2))))


def test_views() -> None:
    def of(**attributes):
        return Slice((None,), (0,), Size((2,)), attributes.pop("stride", (1,)), **attributes)

    assert of().is_view
    assert of(stride=(0,)).is_view
    assert not of(stride=(-1,)).is_view
    assert not of(mode="WRAP").is_view
    assert Shuffle((None,)).is_view
    assert not Concatenation((None,)).is_view


def test_padding_and_shape() -> None:
    x = values((2, 3, 4, 5))
    graph, found = run(lambda x: emit(Padding((x,), (1, -2), (0, 3))), x, (BATCH, 3, 4, Dim("w", 4, 5, 6)))
    np.testing.assert_array_equal(found, np.pad(x[..., 2:], ((0, 0), (0, 0), (1, 0), (0, 3))))
    assert str(graph.outputs["output"].shape) == "(batch, 3, 5, w + 1)"
    graph, found = run(lambda x: emit(Shape((x,))) + 0, x, (BATCH, 3, 4, 5))
    assert found.tolist() == [2, 3, 4, 5]
    assert graph.outputs["output"].dtype is dtypes.int64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "int32", "int8", "bool"])
def test_types_that_move(dtype) -> None:
    def function(x):
        y = emit(Shuffle((x,), (1, 0, 2)))
        return (
            emit(Concatenation((y, y), 1)),
            emit(Slice((y,), (0, 0, 0), Size((3, x.shape[0], 2)), (1, 1, 2))),
            emit(Slice((y,), (-1, 0, 0), Size((5, x.shape[0], 4)), (1, 1, 1), "CLAMP")),
        )

    graph = trtnet.record(function, x=Input((BATCH, 3, 4), dtype))
    assert {str(t.dtype) for t in graph.outputs.values()} == {dtype}
    lowering = lower_and_compare(graph, compile=False)
    if lowering is not None and dtype != "int8":
        compile_network(lowering)


def _error(kind, match, function, *specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **dict(zip("xy", specs)))
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_refused() -> None:
    text = _error(
        DtypeError,
        "shuffle does not take float8",
        lambda x: emit(Shuffle((x,), (1, 0))),
        Input((2, 3), "float8_e4m3fn"),
    )
    assert "dequantize it first" in text
    _error(DtypeError, "slice does not take float8", lambda x: x[:1], Input((2, 3), "float8_e4m3fn"))
    _error(
        ShapeError, "a start, a size and a stride", lambda x: emit(Slice((x,), (0,), Size((2,)), (1,))), Input((2, 3))
    )
    _error(ShapeError, "at least 4 dimensions", lambda x: emit(Padding((x,), (1, 1), (1, 1))), Input((2, 3, 4)))
    text = _error(
        DtypeError,
        "fills with has its input's dtype",
        lambda x: emit(Slice((x, None, None, None, scalar(1, dtypes.int64, 0)), (0,), Size((2,)), (1,), "FILL")),
        Input((2,)),
    )
    assert "float32" in text
    _error(ShapeError, "other than 0", lambda x, y: emit(Concatenation((x, y), 0)), Input((2, 3)), Input((2, 3, 4)))


@pytest.mark.parametrize("dynamic", [False, True])
def test_squeeze_and_unsqueeze(dynamic) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 1, 4, 1)
    first = Dim("batch", min=1, opt=3, max=5) if dynamic else 3

    def function(x):
        return (
            trtnet.layers.add_squeeze(x, axes=(1, -1)),
            trtnet.layers.add_squeeze(x, axes=[3]),
            trtnet.layers.add_unsqueeze(x, axes=(0, -1)),
            trtnet.layers.add_unsqueeze(x.sum(), axes=(0,)),
        )

    graph = trtnet.record(function, x=Input((first, 1, 4, 1)))
    assert {"squeeze", "unsqueeze"} <= {layer.kind for layer in graph.layers}
    lower_and_compare(graph)
    composed = composed_without(graph, "add_squeeze", "add_unsqueeze")
    for one in (graph, composed):
        found = trtnet.reference(one)(x)
        for mine, wanted in zip(found, (x[:, 0, :, 0], x[..., 0], x[None, ..., None], x.sum()[None]), strict=True):
            np.testing.assert_array_equal(mine, wanted)


def test_squeeze_and_unsqueeze_refuse() -> None:
    for match, function in (
        ("dimension 0 of", lambda x: trtnet.layers.add_squeeze(x, axes=(0,))),
        ("different dimensions", lambda x: trtnet.layers.add_squeeze(x, axes=(1, 1))),
        ("no dimension 4", lambda x: trtnet.layers.add_unsqueeze(x, axes=(0, 4))),
    ):
        with pytest.raises(TrtnetError, match=match) as caught:
            trtnet.record(function, x=Input((3, 1)))
        assert caught.value.where is not None
        assert caught.value.where.file == __file__


@pytest.mark.parametrize("batch", [2, BATCH])
def test_reshapes_of_what_another_output_is_are_copied(monkeypatch, batch) -> None:
    found = needs_rtx()
    monkeypatch.setattr(found, "writes_reshaped_outputs", False)

    def forward(x):
        y = (x * 2).to(trtnet.int32)
        flat = y.flatten(1)
        return {
            "y": y, "flat": flat, "again": flat.unsqueeze(0), "turned": y.transpose(1, 2), "alone": (x + 1).flatten(1),
            "one": x.flatten(1), "other": x.unsqueeze(1),
        }  # fmt: skip

    graph = trtnet.record(forward, x=Input((batch, 3, 4)))
    lowered = graph.for_provider(found)
    kinds = {tensor: layer.kind for layer in lowered.layers for tensor in layer.outputs}
    makers = {name: kinds[tensor] for name, tensor in lowered.outputs.items()}
    copied = {"flat", "again", "one", "other"}
    assert makers == {n: "identity" if n in copied else "cast" if n == "y" else "shuffle" for n in graph.outputs}
    lower_and_compare(lowered)
    x = values((2, 3, 4))
    for name, value in trtnet.reference(lowered)(x).items():
        np.testing.assert_array_equal(value, trtnet.reference(graph)(x)[name], strict=True)


def test_reshapes_are_copied_before_the_casts_that_make_outputs_of_them(monkeypatch) -> None:
    """As of bytes, which are whole numbers of 32 bits inside."""
    found = needs_rtx()
    monkeypatch.setattr(found, "writes_reshaped_outputs", False)

    def forward(x):
        y = x + 1
        return {"y": y, "flat": y.flatten(), "same": y.float(), "half": y.flatten().to(trtnet.float16)}

    graph = trtnet.record(forward, x=Input((BATCH, 3), "uint8"))
    lowered = graph.for_provider(found)
    made_by = {tensor: layer for layer in lowered.layers for tensor in layer.outputs}
    makers = {}
    for name, tensor in lowered.outputs.items():
        chain = []
        while (layer := made_by.get(tensor)) is not None and layer.kind in ("cast", "identity", "shuffle"):
            chain.append(layer.kind)
            tensor = layer.inputs[0]
        makers[name] = chain[: chain.index("shuffle") + 1] if "shuffle" in chain else []
    assert makers == {"y": [], "flat": ["cast", "cast", "identity", "shuffle"], "same": [], "half": ["cast", "shuffle"]}
    x = np.array([[1, 2, 255], [4, 5, 6]], np.uint8)
    for name, value in trtnet.reference(lowered)(x).items():
        np.testing.assert_array_equal(value, trtnet.reference(graph)(x)[name], strict=True)
