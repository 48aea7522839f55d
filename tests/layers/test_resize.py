"""The resize layer with every setting, also those that no function of torch's has; errors of grid-sample."""

import itertools

import numpy as np
import pytest
import torch
from families import values
from harness import lower_and_compare

import trtnet
from trtnet import Dim, Input
from trtnet.basics.dims import Size
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit
from trtnet.layers.resize import GridSample, Resize, taps

BATCH = Dim("batch", min=1, opt=4, max=8)
COORDINATES = ("ASYMMETRIC", "HALF_PIXEL", "ALIGN_CORNERS")
ROUNDINGS = ("FLOOR", "CEIL", "HALF_UP", "HALF_DOWN")


def resized(x: np.ndarray, sizes, mode, coordinates, rounding="FLOOR", **options) -> np.ndarray:
    for axis, target in enumerate(sizes, 2):
        index, weight = taps(x.shape[axis], target, mode, coordinates, rounding, **options)
        matrix = np.zeros((x.shape[axis], target))
        for i in range(index.shape[1]):
            np.add.at(matrix, (index[:, i], np.arange(target)), weight[:, i])
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)
    return x


def run(x, shape=None, **settings):
    def function(x):
        sizes = None if "scales" in settings else Size((*x.shape[:2], *shape))
        return emit(Resize((x,), shape=sizes, **settings))

    graph = trtnet.record(function, x=Input((BATCH, *x.shape[1:])))
    lower_and_compare(graph, compile=False)
    return trtnet.reference(graph, dtype="float64", raw=True)(torch.from_numpy(x).double()).numpy()


@pytest.mark.parametrize("size", [(7, 3), (4, 9), (1, 1), (5, 6)])
def test_every_setting(size) -> None:
    x = values((2, 3, 5, 6))
    wide = x.astype(np.float64)
    for coordinates, rounding in itertools.product(COORDINATES, ROUNDINGS):
        found = run(x, size, resize_mode="NEAREST", coordinate_transformation=coordinates, nearest_rounding=rounding)
        np.testing.assert_allclose(found, resized(wide, size, "NEAREST", coordinates, rounding), atol=1e-12)
    for mode, coordinates in itertools.product(("LINEAR", "CUBIC"), COORDINATES):
        found = run(x, size, resize_mode=mode, coordinate_transformation=coordinates)
        np.testing.assert_allclose(found, resized(wide, size, mode, coordinates), atol=1e-12)
    for options in ({"cubic_coeff": -0.5}, {"exclude_outside": True}):
        found = run(x, size, resize_mode="CUBIC", coordinate_transformation="HALF_PIXEL", **options)
        named = {"coefficient" if name == "cubic_coeff" else name: value for name, value in options.items()}
        np.testing.assert_allclose(found, resized(wide, size, "CUBIC", "HALF_PIXEL", **named), atol=1e-12)


def test_scales() -> None:
    x = values((2, 3, 5, 6))
    found = run(x, scales=(1.0, 1.0, 2.0, 0.5))
    assert found.shape == (2, 3, 10, 3)
    np.testing.assert_allclose(found, np.repeat(x, 2, 2)[..., ::2], atol=1e-12)
    graph = trtnet.record(
        lambda x: emit(Resize((x,), scales=(1.0, 1.0, 1.5, 2.0))),
        x=Input((BATCH, 3, Dim("h", 2, 4, 8, multiple_of=2), 6)),
    )
    assert str(graph.outputs["output"].shape) == "(batch, 3, h*3/2, 12)"
    lower_and_compare(graph)


def _error(kind, match, function, *specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **dict(zip("xg", specs)))
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_refused() -> None:
    x = Input((1, 2, 3, 4))
    _error(ArgumentError, "a shape or scales", lambda x: emit(Resize((x,))), x)
    _error(ShapeError, "keeps the first two dimensions", lambda x: emit(Resize((x,), shape=Size((1, 3, 3, 4)))), x)
    _error(
        DtypeError,
        "takes floating-point",
        lambda x: emit(Resize((x,), scales=(1.0,) * 4)),
        Input((1, 2, 3, 4), "int32"),
    )
    _error(
        DtypeError, "one floating-point dtype", lambda x, g: emit(GridSample((x, g))), x, Input((1, 3, 4, 2), "float16")
    )
    _error(ShapeError, "batch sizes differ", lambda x, g: emit(GridSample((x, g))), x, Input((2, 3, 4, 2)))
    volume, points = Input((1, 2, 3, 4, 5)), Input((1, 2, 3, 4, 3))
    _error(
        ShapeError, "cubic sampling takes 4 dimensions", lambda x, g: emit(GridSample((x, g), "CUBIC")), volume, points
    )
