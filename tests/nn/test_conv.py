"""Conv1d, Conv2d, Conv3d and their transposes against torch.nn."""

import numpy as np
import pytest
import torch
from harness import check_against_torch, randomize, torch_state
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import both, check_module, same_structure, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError


@given(st.data())
@settings(max_examples=50)
def test_convolutions(data):
    n = data.draw(st.integers(1, 3))
    groups = data.draw(st.integers(1, 2))
    kernel = data.draw(st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * n)))
    by_name = data.draw(st.booleans())
    padding = data.draw(st.sampled_from(["same", "valid"]) if by_name else st.integers(0, 2))
    mode = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    options = {
        "stride": 1 if by_name else data.draw(st.integers(1, 2)),
        "padding": padding,
        "dilation": data.draw(st.integers(1, 2)),
        "groups": groups,
        "bias": data.draw(st.booleans()),
        "padding_mode": mode,
    }
    lead = data.draw(st.sampled_from([(), (2,)]))
    x = values((*lead, 2 * groups, *data.draw(st.tuples(*[st.integers(5, 7)] * n))))
    check_module(f"Conv{n}d", (2 * groups, groups, kernel), x, **options)


@given(st.data())
@settings(max_examples=30)
def test_transposed_convolutions(data):
    n = data.draw(st.integers(1, 3))
    groups, stride = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    options = {
        "stride": stride,
        "padding": data.draw(st.integers(0, 1)),
        "output_padding": data.draw(st.integers(0, stride - 1)),
        "groups": groups,
        "bias": data.draw(st.booleans()),
        "dilation": 1 if stride > 1 else data.draw(st.integers(1, 2)),
    }
    x = values((2, groups, *data.draw(st.tuples(*[st.integers(2, 4)] * n))))
    check_module(f"ConvTranspose{n}d", (groups, 2 * groups, 3), x, **options)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_compiles(mode):
    check_module(
        "Conv2d", (3, 4, (3, 5)), values((2, 3, 8, 9)), compile=True, padding=(1, 2), stride=2, padding_mode=mode
    )


def test_a_dynamic_batch_compiles():
    batch = Dim("batch", min=1, opt=2, max=8)
    graph = check_module(
        "Conv1d", (3, 4, 3), values((2, 3, 8)), compile=True, shapes={"input": (batch, 3, 8)}, groups=1
    )
    assert str(graph.outputs["output"].shape) == "(batch, 4, 6)"
    check_module(
        "ConvTranspose2d", (4, 2, 3, 2, 1, 1), values((2, 4, 5, 6)), compile=True, shapes={"input": (batch, 4, 5, 6)}
    )


def test_output_size():
    ours, theirs = both("ConvTranspose2d", 2, 3, 3, stride=2, padding=1)
    randomize(theirs)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = ours

        def forward(self, x):
            return self.up(x, output_size=(10, 9))

    check_against_torch(
        Net(),
        lambda x: theirs.double()(x, output_size=(10, 9)),
        {"x": values((1, 2, 5, 5))},
        state_dict={f"up.{k}": v for k, v in torch_state(theirs).items()},
        compile=False,
    )
    with pytest.raises(ArgumentError, match="cannot give this output_size"):
        trtnet.record(lambda x: ours(x, output_size=(12, 9)), x=Input((1, 2, 5, 5)))


@pytest.mark.parametrize(
    ("name", "args"),
    [("Conv2d", (64, 128, 3)), ("ConvTranspose2d", (64, 96, 4)), ("Conv1d", (96, 200, 5)), ("Conv3d", (16, 64, 3))],
)
def test_initial_distributions(name, args):
    trtnet.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = both(name, *args)
    for key in ("weight", "bias"):
        mine, torchs = getattr(ours, key).numpy(), getattr(theirs, key).detach().numpy()
        bound = 1 / np.sqrt(np.prod(theirs.weight.shape[1:]))
        assert np.abs(mine).max() <= bound
        if key == "weight":
            assert abs(mine.std() / torchs.std() - 1) < 0.02
            assert np.abs(mine).max() > 0.98 * bound


def test_half_and_dtype():
    assert nn.Conv2d(3, 4, 3, dtype=trtnet.float16).weight.dtype is trtnet.float16
    assert nn.Conv2d(3, 4, 3, device="cuda", dtype=torch.bfloat16).bias.dtype is trtnet.bfloat16
    assert nn.Conv2d(3, 4, 3).half().weight.numpy().dtype == np.float16
    with pytest.raises(DtypeError, match="float64"):
        nn.Conv2d(3, 4, 3, dtype=trtnet.float64)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ArgumentError, "divisible by groups"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ArgumentError, "'same', 'valid' or numbers"),
        (lambda: nn.Conv2d(3, 4, 3, 2, padding="same"), ArgumentError, "not for strided"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), ArgumentError, "padding_mode"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), ArgumentError, "padding_mode"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ArgumentError, "kernel_size is a whole number or 2 of them"),
        (lambda: nn.Conv2d(3, 4, 3, paddings=1), ArgumentTypeError, "paddings"),
    ],
)
def test_constructor_errors(make, kind, message):
    with pytest.raises(kind, match=message) as caught:
        make()
    assert caught.value.where.file == __file__


def test_call_errors_name_the_module_and_the_line():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3))

        def forward(self, x):
            return self.features(x)  # here

    with pytest.raises(ShapeError, match="make in_channels equal to the input's channels") as caught:
        trtnet.record(Net(), x=Input((1, 3, 8, 8)))
    assert caught.value.module == "features.1 (Conv2d)"
    assert "return self.features(x)" in str(caught.value)
    with pytest.raises(DtypeError, match=r"module\.half\(\)"):
        trtnet.record(Net(), x=Input((1, 3, 8, 8), "float16"))


def test_structure():
    same_structure(*both("Conv2d", 4, 8, (3, 2), (1, 2), (0, 1), (2, 1), 2, False, "circular"))
    same_structure(*both("ConvTranspose3d", 4, 8, 3, 2, 1, 1, 2, False, 1))
