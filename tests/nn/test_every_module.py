"""No module of trtnet.nn is without a comparison with torch.nn's of the same name and arguments, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, randomize, torch_state
from modules import same_printed

import trtnet
from trtnet import nn
from trtnet.errors import NameNotFoundError, TrtnetError, UnsupportedError

SIZES = {1: (11,), 2: (8, 11), 3: (5, 6, 7)}


def image(dimensions: int, channels: int = 4) -> tuple[int, ...]:
    return (2, channels, *SIZES[dimensions])


TABLE: dict[str, tuple[tuple, dict, list[tuple[int, ...]]]] = {}
for d in (1, 2, 3):
    pads = tuple(range(1, 2 * d + 1))
    TABLE |= {
        f"Conv{d}d": ((4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, [image(d)]),
        f"ConvTranspose{d}d": ((4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}, [image(d)]),
        f"BatchNorm{d}d": ((4,), {"eps": 1e-3}, [image(d)]),
        f"InstanceNorm{d}d": ((4,), {"affine": True}, [image(d)]),
        f"MaxPool{d}d": ((3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [image(d)]),
        f"AvgPool{d}d": ((3,), {"stride": 2, "padding": 1, "count_include_pad": False}, [image(d)]),
        f"LPPool{d}d": ((2, 3), {"stride": 2}, [image(d)]),
        f"AdaptiveAvgPool{d}d": ((3,), {}, [image(d)]),
        f"AdaptiveMaxPool{d}d": ((3,), {}, [image(d)]),
        f"Dropout{d}d": ((0.4,), {}, [image(d)]),
        f"ZeroPad{d}d": ((pads,), {}, [image(d)]),
        f"ConstantPad{d}d": ((pads, 1.5), {}, [image(d)]),
        f"ReflectionPad{d}d": ((2,), {}, [image(d)]),
        f"ReplicationPad{d}d": ((pads,), {}, [image(d)]),
        f"CircularPad{d}d": ((2,), {}, [image(d)]),
    }
for name in [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Identity",
    "Dropout",
    "AlphaDropout",
    "FeatureAlphaDropout",
]:
    TABLE[name] = ((), {}, [(3, 7)])
TABLE |= {
    "GLU": ((1,), {}, [(3, 8)]),
    "PReLU": ((4,), {}, [image(2)]),
    "Threshold": ((0.1, 2.0), {}, [(3, 7)]),
    "Softmax": ((1,), {}, [(3, 7)]),
    "LogSoftmax": ((1,), {}, [(3, 7)]),
    "Softmin": ((1,), {}, [(3, 7)]),
    "Softmax2d": ((), {}, [image(2)]),
    "Linear": ((7, 5), {}, [(3, 2, 7)]),
    "Bilinear": ((7, 4, 5), {}, [(3, 2, 7), (3, 2, 4)]),
    "LayerNorm": (((4, 7),), {}, [(3, 4, 7)]),
    "RMSNorm": ((7,), {"eps": 1e-5}, [(3, 4, 7)]),
    "GroupNorm": ((2, 4), {}, [image(2)]),
    "LocalResponseNorm": ((3,), {"alpha": 0.5}, [image(2)]),
    "SyncBatchNorm": ((4,), {}, [image(2)]),
    "CosineSimilarity": ((1,), {}, [(3, 7), (3, 7)]),
    "PairwiseDistance": ((), {}, [(3, 7), (3, 7)]),
    "Flatten": ((1, 2), {}, [image(2)]),
    "Unflatten": ((1, (2, 2)), {}, [image(2)]),
    "PixelShuffle": ((2,), {}, [image(2, 8)]),
    "PixelUnshuffle": ((2,), {}, [(2, 3, 6, 8)]),
    "ChannelShuffle": ((2,), {}, [image(2)]),
    "Fold": (((5, 6), (2, 3)), {}, [(2, 4 * 6, 16)]),
    "Unfold": (((2, 3),), {"padding": 1}, [image(2)]),
    "Upsample": ((), {"scale_factor": 2, "mode": "bilinear"}, [image(2)]),
    "UpsamplingNearest2d": ((), {"scale_factor": 2}, [image(2)]),
    "UpsamplingBilinear2d": ((), {"size": (13, 9)}, [image(2)]),
    "RNN": ((4, 6, 2), {"bidirectional": True}, [(3, 2, 4)]),
    "GRU": ((4, 6), {"batch_first": True}, [(2, 3, 4)]),
    "LSTM": ((4, 6, 2), {"proj_size": 3}, [(3, 2, 4)]),
    "RNNCell": ((4, 6), {"nonlinearity": "relu"}, [(2, 4), (2, 6)]),
    "GRUCell": ((4, 6), {"bias": False}, [(2, 4), (2, 6)]),
    "LSTMCell": ((4, 6), {}, [(2, 4)]),
    "TransformerEncoderLayer": ((8, 2, 12), {"batch_first": True, "dropout": 0.0}, [(2, 5, 8)]),
    "TransformerDecoderLayer": ((8, 2, 12), {"batch_first": True, "dropout": 0.0}, [(2, 5, 8), (2, 3, 8)]),
    "Transformer": (
        (8, 2, 1, 1, 12), {"batch_first": True, "dropout": 0.0}, [(2, 5, 8), (2, 3, 8)],
    ),
}  # fmt: skip

REFUSED = {
    "CrossMapLRN2d",
    "EmbeddingBag",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
}
# compared in test_container, test_init, test_linear, test_module, test_rnn, test_sparse and test_transformer
ELSEWHERE = {
    "Buffer",
    "Embedding",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NonDynamicallyQuantizableLinear",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RNNBase",
    "RNNCellBase",
    "Sequential",
    "TransformerDecoder",
    "TransformerEncoder",
    "functional",
    "init",
}


def test_the_table_is_complete():
    losses = {name for name in nn.__all__ if name.endswith("Loss")}
    assert set(nn.__all__) - losses == set(TABLE) | REFUSED | ELSEWHERE


@pytest.mark.parametrize("name", TABLE)
def test_module(name):
    args, kwargs, shapes = TABLE[name]
    rng = np.random.default_rng(len(name))
    theirs = randomize(getattr(torch.nn, name)(*args, **kwargs)).eval()
    ours = getattr(nn, name)(*args, **kwargs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    same_printed(ours, theirs)
    ours.load_state_dict(torch_state(theirs))

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = ours

        def forward(self, a, b=None):
            result = self.module(a) if b is None else self.module(a, b)
            return result if isinstance(result, tuple) else result.clone()  # an identity would give the input itself

    inputs = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in zip("ab", shapes)}
    check_against_torch(Called(), theirs.double(), inputs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(name):
    with pytest.raises(UnsupportedError, match=name):
        getattr(nn, name)(3, 4)


def test_losses_are_torchs():
    for name in (n for n in nn.__all__ if n.endswith("Loss")):
        with pytest.raises(TrtnetError, match="to_torch"):
            trtnet.record(lambda x, name=name: getattr(nn, name)()(x, x), x=trtnet.Input((2, 3)))
    with pytest.raises(NameNotFoundError):
        _ = nn.NoSuchLoss
