"""Padding modules against torch.nn's."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from modules import both, check_module, values

from trtnet import Dim
from trtnet.errors import ArgumentError

BATCH = Dim("batch", min=1, opt=4, max=8)
KINDS = ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"]


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_padding(kind, spatial, data) -> None:
    low = -1 if kind in ("ZeroPad", "ConstantPad") else 0
    amounts = st.integers(low, 3)
    padding = data.draw(amounts | st.tuples(*[amounts] * (2 * spatial)))
    assume(padding != 0 and padding != (0,) * (2 * spatial))  # an input is no output
    args = (padding, data.draw(st.sampled_from([0.0, 2, -1.5]))) if kind == "ConstantPad" else (padding,)
    shape = (3, 2, 5, 4, 6)[: spatial + 2]
    compile = data.draw(st.integers(0, 3)) == 0
    check_module(f"{kind}{spatial}d", args, values(shape), shapes={"input": (BATCH, *shape[1:])}, compile=compile)


@pytest.mark.parametrize("name", [f"{kind}{spatial}d" for kind in KINDS for spatial in (1, 2, 3)])
def test_wrong_count(name) -> None:
    with pytest.raises(ArgumentError, match="padding is a whole number or"):
        both(name, (1, 2, 3), *((0.0,) if "Constant" in name else ()))
