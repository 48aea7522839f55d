"""What kinds of layers ask of their inputs in one way."""

from __future__ import annotations

import pytest

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import DtypeError

BATCH = Dim("batch", min=1, opt=2, max=4)
FLOATING = {
    "pooling": (lambda x: F.max_pool2d(x, 2), (3, 8, 8)),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2), (3, 8, 8)),
    "a convolution": (lambda x: F.conv2d(x, x.new_ones(2, 2, 3, 3)), (2, 4, 4)),
    "a deconvolution": (lambda x: F.conv_transpose2d(x, x.new_ones(2, 2, 3, 3)), (2, 4, 4)),
    "softmax": (lambda x: F.softmax(x, 1), (3,)),
    "a linear layer": (lambda x: F.linear(x, x.new_ones(5, 3)), (3,)),
}


@pytest.mark.parametrize("name", FLOATING)
@pytest.mark.parametrize("batch", [2, BATCH])
def test_kinds_that_take_floating_point_tensors_say_so_and_the_remedy_helps(name, batch):
    function, sizes = FLOATING[name]
    inputs = {"x": Input((batch, *sizes), "int32")}
    with pytest.raises(DtypeError, match="takes floating-point tensors") as caught:
        trtnet.record(function, **inputs)
    assert caught.value.expected == "float32, float16 or bfloat16"
    assert str(caught.value.found) == "int32"
    assert caught.value.where.file == __file__
    assert caught.value.remedy == "convert it first: x.float()"
    trtnet.record(lambda x: function(x.float()), **inputs)
