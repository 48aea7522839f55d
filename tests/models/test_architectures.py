"""Known networks: the originals' parameters, and torch's numbers for the same file with its imports swapped."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from harness import check_against_torch, torch_state

import models
import trtnet
from models import (
    alexnet,
    atari,
    bert,
    convnext,
    densenet,
    efficientnet,
    gpt2,
    llama,
    mobilenet,
    squeezenet,
    unet,
    vgg,
    vision_transformer,
)

FOLDER = Path(models.__file__).parent
SWAPPED: dict[str, ModuleType] = {}


def swapped(module: ModuleType) -> ModuleType:
    """The same file, as one written for PyTorch."""
    name = module.__name__.rpartition(".")[2]
    if name not in SWAPPED:
        text = (FOLDER / f"{name}.py").read_text()
        text = text.replace("from trtnet import Tensor, nn", "from torch import Tensor, nn")
        text = text.replace("from trtnet import functional as F", "import torch.nn.functional as F")
        text = re.sub(r"^import trtnet$", "import torch as trtnet", text, flags=re.MULTILINE)
        text = text.replace("from .mobilenet import", "from mobilenet_of_torch import")
        made = SWAPPED[name] = ModuleType(name)
        if "mobilenet_of_torch" in text:
            import sys

            sys.modules["mobilenet_of_torch"] = swapped(mobilenet)
        exec(compile(text, f"{name}.py, of torch", "exec"), vars(made))
    return SWAPPED[name]


# torchvision's documentation, and transformers' checkpoints, have these counts
COUNTS = [
    (alexnet, "AlexNet", 61_100_840, {"features.0.weight", "classifier.6.bias"}),
    (vgg, "vgg16", 138_357_544, {"features.28.weight", "classifier.6.bias"}),
    (squeezenet, "SqueezeNet", 1_235_496, {"features.12.expand3x3.weight", "classifier.1.bias"}),
    (mobilenet, "MobileNetV2", 3_504_872, {"features.1.conv.0.0.weight", "features.17.conv.3.running_var"}),
    (mobilenet, "MobileNetV3", 2_542_856, {"features.1.block.1.fc1.weight", "classifier.3.bias"}),
    (densenet, "densenet121", 7_978_856, {"features.denseblock4.denselayer16.conv2.weight", "features.norm5.bias"}),
    (efficientnet, "EfficientNet", 5_288_548, {"features.7.0.block.2.fc2.bias", "classifier.1.weight"}),
    (convnext, "ConvNeXt", 28_589_128, {"features.1.0.layer_scale", "features.7.2.block.5.bias"}),
    (vision_transformer, "VisionTransformer", 86_567_656, {"encoder.layers.encoder_layer_11.mlp.3.bias"}),
    (gpt2, "GPT2", 124_439_808, {"h.11.attn.c_attn.weight", "wpe.weight"}),
    (bert, "BERT", 109_482_240, {"encoder.layer.11.attention.self.query.bias", "pooler.dense.weight"}),
]  # fmt: skip


@pytest.mark.parametrize(("module", "make", "count", "names"), COUNTS, ids=lambda v: v if isinstance(v, str) else "")
def test_the_originals_parameters(module, make, count, names):
    net = getattr(module, make)()
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert names <= set(net._leaves())


def image(channels=3, size=64, batch=2, scale=1.0):
    return scale * np.random.default_rng(0).standard_normal((batch, channels, size, size)).astype(np.float32)


def tokens(most, length=7, batch=2):
    return np.random.default_rng(1).integers(0, most, (batch, length))


BATCH = trtnet.Dim("batch", min=1, opt=2, max=4)
LENGTH = trtnet.Dim("length", min=2, opt=7, max=9)
SMALL = {
    "alexnet": (alexnet, lambda m: m.AlexNet(10, hidden=32), {"image": image(size=80)}),
    "vgg": (vgg, lambda m: m.VGG(11, 10, hidden=32, batch_norm=True), {"image": image(size=32)}),
    "squeezenet": (squeezenet, lambda m: m.SqueezeNet(10), {"image": image()}),
    "mobilenet_v2": (mobilenet, lambda m: m.MobileNetV2(10, 0.25), {"image": image()}),
    "mobilenet_v3": (mobilenet, lambda m: m.MobileNetV3(10), {"image": image()}),
    "densenet": (densenet, lambda m: m.DenseNet((2, 3), 8, 16, 10), {"image": image(size=48)}),
    "efficientnet": (efficientnet, lambda m: m.EfficientNet(10), {"image": image()}),
    "convnext": (convnext, lambda m: m.ConvNeXt((8, 16), (1, 2), 10), {"image": image()}),
    "vision_transformer": (
        vision_transformer, lambda m: m.VisionTransformer(32, 8, 2, 4, 32, 64, 10), {"image": image(size=32)},
    ),
    "unet": (unet, lambda m: m.UNet(3, 2, (8, 16, 32)), {"image": image(size=32)}),
    "nature_dqn": (atari, lambda m: m.NatureDQN(6), {"frames": image(4, 84, scale=80.0)}),
    "impala": (atari, lambda m: m.Impala(6, widths=(4, 8)), {"frames": image(4, 84, scale=80.0)}),
    "gpt2": (gpt2, lambda m: m.GPT2(2, 32, 4, 50, 16), {"tokens": tokens(50)}),
    "bert": (
        bert, lambda m: m.BERT(2, 32, 4, 64, 50, 16),
        {"tokens": tokens(50), "types": tokens(2), "mask": np.array([[1] * 7, [1] * 4 + [0] * 3])},
    ),
    "llama": (llama, lambda m: m.Llama(2, 32, 4, 2, 48, 50), {"tokens": tokens(50)}),
}  # fmt: skip
ONE_SIZE = {"vision_transformer", "nature_dqn", "impala"}


def pair(name):
    """The network, and the same of torch with the same weights, none of them trivial."""
    module, make, inputs = SMALL[name]
    torch.manual_seed(0)
    theirs = make(swapped(module)).eval()
    generator = torch.Generator().manual_seed(1)
    for key, value in theirs.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value += 0.1 * noise.abs() if key.endswith("running_var") else 0.05 * noise
    mine = make(module).eval()
    state = torch_state(theirs)
    assert list(mine.state_dict()) == list(state)
    mine.load_state_dict(state)
    return mine, theirs, inputs


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("name", SMALL)
def test_it_gives_torchs_numbers(name, batch):
    mine, theirs, inputs = pair(name)
    shapes = None
    if batch == "dynamic":
        text = "tokens" in inputs
        shapes = {n: (BATCH, LENGTH if text else a.shape[1], *a.shape[2:]) for n, a in inputs.items()}
    check_against_torch(mine, theirs, inputs, shapes=shapes, compile=batch == "dynamic", rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(SMALL) - ONE_SIZE))
def test_a_second_size(name):
    mine, theirs, inputs = pair(name)
    other = {
        n: np.concatenate([a, a[:, :2]], 1) if a.ndim == 2 else np.concatenate([a, a[:, :, :16]], 2)
        for n, a in inputs.items()
    }
    check_against_torch(mine, theirs, other, compile=False, rtol=1e-6, atol=1e-6)


def test_generation_step_by_step():
    """A prompt, then token by token with what was kept: the same logits as all tokens at once."""
    net, _, _ = pair("gpt2")
    past = trtnet.Dim("past", min=1, opt=4, max=15)
    whole = trtnet.reference(trtnet.record(net, tokens=trtnet.Input((1, LENGTH), "int64")), dtype="float64")
    first = trtnet.reference(trtnet.record(net.first, tokens=trtnet.Input((1, LENGTH), "int64")), dtype="float64")
    step = trtnet.reference(
        trtnet.record(
            net.step, token=trtnet.Input((1, 1), "int64"), past=trtnet.Input((2, 2, 1, 4, past, 8))
        ),
        dtype="float64",
    )  # fmt: skip
    text = [3, 17, 4]
    logits, kept = first(np.array([text]))
    for _ in range(4):
        text.append(int(logits[0, -1].argmax()))
        logits, kept = step(np.array([text[-1:]]), kept)
        np.testing.assert_allclose(logits[0, -1], whole(np.array([text]))[0, -1], rtol=1e-5, atol=1e-6)
    assert kept.shape[4] == len(text)
