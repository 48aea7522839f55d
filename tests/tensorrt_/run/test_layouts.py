"""Memory formats: where TensorRT's documentation puts each element, computed here element by element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtnet.tensorrt.build.options import FORMATS
from trtnet.tensorrt.run.layouts import LAYOUTS

torch = pytest.importorskip("torch")


def place(name, index, shape):
    """The documentation's array subscripts for coordinates (n, c, h, w) or (n, c, d, h, w), and the array's sizes."""
    (n, c, *space), (batch, channels, *sizes) = index, shape
    if name in ("hwc", "dhwc"):
        return (n, *space, c), (batch, *sizes, channels)
    if name in ("hwc8", "hwc16", "dhwc8"):
        vector = int(name.lstrip("dhwc"))
        return (n, *space, c), (batch, *sizes, (channels + vector - 1) // vector * vector)
    vector = int(name.lstrip("cdhw"))
    return (n, c // vector, *space, c % vector), (batch, (channels + vector - 1) // vector, *sizes, vector)


@given(st.sampled_from(sorted(LAYOUTS)), st.data(), st.booleans())
def test_elements_lie_where_the_documentation_says(name, data, as_torch):
    layout = LAYOUTS[name]
    sizes = st.integers(1, 4)
    channels = data.draw(st.one_of(st.integers(1, 40), st.just(layout.vector)))
    shape = (data.draw(sizes), channels, *[data.draw(sizes) for _ in range(3 if "d" in name else 2)])
    x = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    memory = layout.pack(torch.from_numpy(x) if as_torch else x)
    if as_torch:
        assert memory.is_contiguous()
        assert layout.unpack(memory, shape).numpy().tobytes() == x.tobytes()
        memory = memory.numpy()
    assert memory.flags.c_contiguous
    assert layout.unpack(memory, shape).tobytes() == x.tobytes()
    wanted = np.zeros(place(name, (0,) * len(shape), shape)[1], np.float32)
    for index in itertools.product(*map(range, shape)):
        wanted[place(name, index, shape)[0]] = x[index]
    assert memory.shape == layout.buffer_shape(shape) == wanted.shape
    assert memory.tobytes() == wanted.tobytes(), "the channels that were added are 0"


@pytest.mark.parametrize("name", ["hwc", "hwc8", "hwc16", "dhwc8"])
def test_channels_last_tensors_are_not_copied(name):
    shape, form = ((2, 16, 3, 5), torch.channels_last) if "d" not in name else ((2, 8, 2, 3, 5), torch.channels_last_3d)
    x = torch.randn(shape).to(memory_format=form)
    assert LAYOUTS[name].pack(x).data_ptr() == x.data_ptr()
    assert LAYOUTS[name].pack(x.contiguous()).data_ptr() != x.data_ptr()
    memory = torch.randn(LAYOUTS[name].buffer_shape(shape))
    assert LAYOUTS[name].unpack(memory, shape).data_ptr() == memory.data_ptr()
    assert LAYOUTS[name].unpack(memory, shape).is_contiguous(memory_format=form)


def test_every_format_of_the_options_is_known():
    assert {*LAYOUTS, "linear", "dla_linear", "dla_hwc4"} == set(FORMATS)
