"""finfo and iinfo against torch's."""

import pytest
import torch

import trtnet
from trtnet import dtypes
from trtnet.basics.limits import finfo, iinfo
from trtnet.errors import DtypeError


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float64", "float8_e4m3fn"])
def test_finfo(name: str) -> None:
    mine, torchs = finfo(dtypes.get(name)), torch.finfo(getattr(torch, name))
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "dtype"):
        assert getattr(mine, field) == getattr(torchs, field), field
    assert mine.resolution == pytest.approx(torchs.resolution)
    assert isinstance(mine.min, float)
    assert finfo(name).dtype == name


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "int32", "int64"])
def test_iinfo(name: str) -> None:
    mine, torchs = iinfo(dtypes.get(name)), torch.iinfo(getattr(torch, name))
    assert (mine.bits, mine.min, mine.max, mine.dtype) == (torchs.bits, torchs.min, torchs.max, torchs.dtype)
    assert repr(mine) == f"iinfo(min={mine.min}, max={mine.max}, dtype={name})"


def test_int4_and_the_default() -> None:
    assert (iinfo(dtypes.int4).min, iinfo("int4").max, iinfo("int4").bits) == (-8, 7, 4)
    assert finfo().dtype == "float32"


def test_the_minimum_masks_a_tensor_of_its_type() -> None:
    def forward(x, mask):
        return x.masked_fill(mask, finfo(x.dtype).min)

    graph = trtnet.record(forward, x=trtnet.Input((2,), "float16"), mask=trtnet.Input((2,), "bool"))
    assert graph.outputs["output"].dtype is trtnet.float16


def test_wrong_kinds() -> None:
    with pytest.raises(DtypeError, match="finfo takes a floating-point dtype"):
        finfo("int32")
    for name in ("float32", "bool"):
        with pytest.raises(DtypeError, match="iinfo takes an integer dtype"):
            iinfo(name)
