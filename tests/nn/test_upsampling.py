"""Upsample against torch.nn's, with the configurations that networks use."""

import pytest
from modules import check_module, values

from trtnet import Dim

BATCH = Dim("batch", min=1, opt=4, max=8)
H = Dim("h", min=4, opt=4, max=8)


@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    [
        ("Upsample", (), {"scale_factor": 2}, (3, 2, 4, 5)),
        ("Upsample", (None, 2, "bilinear"), {"align_corners": True}, (3, 2, 4, 5)),
        ("Upsample", ((8, 9),), {"mode": "bilinear", "align_corners": False}, (3, 2, 4, 5)),
        ("Upsample", (), {"scale_factor": (2, 3), "mode": "bicubic"}, (3, 2, 4, 5)),
        ("Upsample", (7,), {"mode": "linear"}, (3, 2, 4)),
        ("Upsample", (), {"scale_factor": 2, "mode": "trilinear"}, (3, 2, 4, 2, 3)),
        ("Upsample", (), {"scale_factor": 1.5, "recompute_scale_factor": True}, (3, 2, 4, 6)),
        ("Upsample", (), {"scale_factor": 1.3, "mode": "bilinear"}, (3, 2, 4, 6)),
        ("UpsamplingNearest2d", (), {"scale_factor": 3}, (3, 2, 4, 5)),
        ("UpsamplingBilinear2d", ((9, 7),), {}, (3, 2, 4, 5)),
    ],
)
def test_upsample(name, args, options, shape) -> None:
    recorded = (BATCH, *shape[1:])
    check_module(name, args, values(shape), shapes={"input": recorded}, compile=True, rtol=1e-5, **options)


def test_dynamic_height() -> None:
    for options in ({"mode": "bilinear", "align_corners": True}, {"mode": "nearest"}, {"mode": "bicubic"}):
        check_module(
            "Upsample",
            (),
            values((3, 2, 4, 5)),
            scale_factor=2,
            shapes={"input": (BATCH, 2, H, 5)},
            compile=True,
            **options,
        )
