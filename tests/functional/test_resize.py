"""interpolate, pixel_shuffle, grid_sample: random sizes and modes against torch, TensorRT's settings, the errors."""

import numpy as np
import pytest
import torch
from families import check, check_concrete, values
from harness import check_against_torch
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("batch", min=1, opt=4, max=8)
H = Dim("h", min=4, opt=6, max=12, multiple_of=2)
MODES = {1: ["nearest", "nearest-exact", "linear", "area"],
         2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
         3: ["nearest", "nearest-exact", "trilinear", "area"]}  # fmt: skip
ALIGNED = ("linear", "bilinear", "trilinear", "bicubic")


@pytest.mark.parametrize("spatial", [1, 2, 3])
@given(st.data())
def test_interpolate(spatial, data) -> None:
    sizes = tuple(data.draw(st.integers(1, 7)) for _ in range(spatial))
    mode = data.draw(st.sampled_from(MODES[spatial]))
    options = {"mode": mode}
    if mode in ALIGNED:
        options["align_corners"] = data.draw(st.booleans())
    if data.draw(st.booleans()):
        options["size"] = tuple(data.draw(st.integers(1, 9)) for _ in sizes)
    else:
        factor = st.sampled_from([2, 3, 1.5, 0.5, 2.25, 1.3, 1])
        options["scale_factor"] = [data.draw(factor) for _ in sizes] if data.draw(st.booleans()) else data.draw(factor)
        factors = (
            options["scale_factor"]
            if isinstance(options["scale_factor"], list)
            else [options["scale_factor"]] * spatial
        )
        if any(int(s * f) < 1 for s, f in zip(sizes, factors)):
            options["scale_factor"] = 2
        if data.draw(st.booleans()):
            options["recompute_scale_factor"] = True
    if mode in ("bilinear", "bicubic") and data.draw(st.booleans()):
        # torch 2.13 gives wrong values where a width is 1
        sizes = tuple(size + 2 for size in sizes)
        options = {
            "mode": mode,
            "align_corners": options["align_corners"],
            "size": [data.draw(st.integers(2, 9)) for _ in sizes],
        }
        options["antialias"] = True

    def function(T, x):
        return T.nn.functional.interpolate(x, **options)

    check(
        function,
        {"x": values((2, 3, *sizes))},
        {"x": (BATCH, 3, *sizes)},
        compile=data.draw(st.booleans()),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"mode": "nearest"}, ("NEAREST", "ASYMMETRIC", "FLOOR", "FORMULA")),
        ({"mode": "nearest-exact"}, ("NEAREST", "HALF_PIXEL", "HALF_UP", "FORMULA")),
        ({"mode": "bilinear"}, ("LINEAR", "HALF_PIXEL", None, "FORMULA")),
        ({"mode": "bilinear", "align_corners": True}, ("LINEAR", "ALIGN_CORNERS", None, "UPPER")),
        ({"mode": "bicubic"}, ("CUBIC", "HALF_PIXEL", None, "FORMULA")),
        ({"mode": "bicubic", "align_corners": True}, ("CUBIC", "ALIGN_CORNERS", None, "UPPER")),
    ],
)
def test_settings(options, settings) -> None:
    for size in ({"size": (8, 12)}, {"scale_factor": 2}):
        graph = trtnet.record(lambda x, size=size: F.interpolate(x, **size, **options), x=Input((1, 2, 4, 6)))
        (layer,) = graph.layers
        assert (layer.resize_mode, layer.coordinate_transformation, layer.selector_for_single_pixel) == (
            settings[0],
            settings[1],
            settings[3],
        )
        assert settings[2] in (None, layer.nearest_rounding)
        assert layer.cubic_coeff == -0.75
        assert not layer.exclude_outside
        assert (layer.scales is not None) == ("scale_factor" in size)


def test_dynamic_sizes() -> None:
    def function(T, x):
        f = T.nn.functional
        h = x.shape[2]
        return (
            f.interpolate(x, scale_factor=2, mode="bilinear"), f.interpolate(x, scale_factor=0.5),
            f.interpolate(x, size=(h * 3 // 2, 7), mode="bicubic"),
            f.interpolate(x, size=(5, 5), mode="bilinear", align_corners=True),
            f.upsample(x[:, :, 0], scale_factor=3), f.interpolate(x, (h, 10)),
            f.interpolate(x, scale_factor=(1.5, 2), recompute_scale_factor=True, mode="nearest-exact"),
            f.pixel_unshuffle(x, 2),
        )  # fmt: skip

    graph = check(function, {"x": values((3, 2, 6, 8))}, {"x": (BATCH, 2, H, 8)})
    assert str(graph.outputs["output_2"].shape) == "(batch, 2, h*3/2, 7)"


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(1, 2), max_size=2),
    st.booleans(),
)
def test_pixels_and_channels(r, c, h, w, front, compile) -> None:
    def function(T, x):
        f = T.nn.functional
        wide = f.pixel_shuffle(x, r)
        return (
            wide,
            f.pixel_unshuffle(wide, r),
            f.pixel_unshuffle(x, 1),
            f.channel_shuffle(x, r) if x.ndim == 4 else x * 1,
        )

    shape = (*front, c * r * r, h, w)
    recorded = (*front, c * r * r, Dim("h", h, h, h + 2), w)
    if front:
        recorded = (Dim("b", front[0], front[0], 4), *recorded[1:])
    check(function, {"x": values(shape)}, {"x": recorded}, compile=compile)


@pytest.mark.parametrize("align_corners", [False, True])
def test_grids(align_corners: bool) -> None:
    def function(T, x, grid, volume, points, theta):
        f = T.nn.functional
        made = [
            f.grid_sample(x, grid, mode, padding, align_corners)
            for mode in ("bilinear", "nearest", "bicubic") for padding in ("zeros", "border", "reflection")
        ]  # fmt: skip
        made += [
            f.grid_sample(volume, points, padding_mode=p, align_corners=align_corners) for p in ("zeros", "border")
        ]
        made += [
            f.affine_grid(theta, (3, 2, 4, 5), align_corners=align_corners),
            f.affine_grid(theta, [3, 2, 1, 3], align_corners),
        ]
        return made

    generator = np.random.default_rng(0)
    inputs = {
        "x": values((3, 2, 5, 6)), "grid": generator.uniform(-1.4, 1.4, (3, 4, 7, 2)).astype(np.float32),
        "volume": values((3, 2, 3, 4, 5)),
        "points": generator.uniform(-1.4, 1.4, (3, 2, 2, 4, 3)).astype(np.float32), "theta": values((3, 2, 3)),
    }  # fmt: skip
    recorded = {name: (BATCH, *array.shape[1:]) for name, array in inputs.items()}
    check(function, inputs, recorded, concrete=False, rtol=1e-6, atol=1e-6)


def test_concrete() -> None:
    def function(T, x):
        f = T.nn.functional
        return (
            f.interpolate(x, (7, 3), mode="bicubic"), f.interpolate(x, scale_factor=2),
            f.interpolate(x, (3, 3), mode="bilinear", antialias=True),
            f.pixel_shuffle(x, 2), f.channel_shuffle(x, 2), f.interpolate(x, (5, 5), mode="area"),
        )  # fmt: skip

    check_concrete(function, values((2, 4, 5, 6)))


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors() -> None:
    x = Input((1, 4, 5, 6))
    _error(ArgumentError, "no such interpolation", lambda x: F.interpolate(x, 3, mode="lanczos"), x=x)
    text = _error(
        ShapeError,
        'mode "linear" does not fit a tensor of 4 dimensions',
        lambda x: F.interpolate(x, 3, mode="linear"),
        x=x,
    )
    assert "3 dimensions" in text
    _error(ArgumentError, "either size or scale_factor", lambda x: F.interpolate(x), x=x)
    _error(ArgumentError, "either size or scale_factor", lambda x: F.interpolate(x, 3, 2), x=x)
    _error(ArgumentError, "align_corners goes with", lambda x: F.interpolate(x, 3, align_corners=True), x=x)
    _error(ArgumentError, "antialias goes with", lambda x: F.interpolate(x, 3, antialias=True), x=x)
    _error(ShapeError, "size takes 2 numbers", lambda x: F.interpolate(x, (3, 3, 3)), x=x)
    _error(
        DtypeError, "interpolate takes floating-point", lambda x: F.interpolate(x, 3), x=Input((1, 4, 5, 6), "int32")
    )
    dynamic = Input((1, 4, Dim("h", 4, 6, 9), 6))
    text = _error(UnsupportedError, "torch from scale_factor", lambda x: F.interpolate(x, scale_factor=0.5), x=dynamic)
    assert "recompute_scale_factor=True" in text
    assert "multiple_of" in text
    _error(UnsupportedError, '"area" over the dynamic size h', lambda x: F.interpolate(x, 3, mode="area"), x=dynamic)
    _error(
        UnsupportedError,
        "no exact size over a dynamic dimension",
        lambda x: F.interpolate(x, scale_factor=1.1),
        x=dynamic,
    )
    _error(ShapeError, "must be divisible by 9", lambda x: F.pixel_shuffle(x, 3), x=x)
    _error(ShapeError, "must be divisible by 2", lambda x: F.pixel_unshuffle(x, 2), x=x)
    _error(ShapeError, "must be divisible by 3", lambda x: F.channel_shuffle(x, 3), x=x)
    _error(ShapeError, "a reshape must keep|divisible", lambda x: F.pixel_unshuffle(x, 2), x=dynamic)
    _error(ShapeError, "grid_sample takes", lambda x, g: F.grid_sample(x, g), x=x, g=Input((1, 4, 5, 3)))
    _error(ArgumentError, "no such mode", lambda x, g: F.grid_sample(x, g, "cubic"), x=x, g=Input((1, 4, 5, 2)))
    _error(ShapeError, "affine_grid takes", lambda t, x: F.affine_grid(t, x.shape), t=Input((1, 3, 3)), x=x)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@pytest.mark.parametrize("sizes", [(1, 5), (4, 1)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_affine_grid_of_dynamic_sizes(align_corners, sizes) -> None:
    height, width = Dim("height", min=1, opt=4, max=9), Dim("width", min=1, opt=5, max=9)

    def function(theta, volume_theta, x):
        f = torch.nn.functional if isinstance(x, torch.Tensor) else F
        n, c, h, w = x.shape
        return (
            f.affine_grid(theta, x.shape, align_corners=align_corners),
            f.affine_grid(volume_theta, (n, c, h, 3, w), align_corners=align_corners),
        )

    inputs = {"theta": values((2, 2, 3)), "volume_theta": values((2, 3, 4)), "x": values((2, 1, *sizes))}
    shapes = {"theta": (BATCH, 2, 3), "volume_theta": (BATCH, 3, 4), "x": (BATCH, 1, height, width)}
    check_against_torch(function, function, inputs, shapes=shapes, rtol=1e-6, atol=1e-6)
