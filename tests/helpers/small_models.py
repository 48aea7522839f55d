"""The networks of `models/`, made small, with inputs; and each beside itself in torch, with the same weights."""

from __future__ import annotations

import numpy as np
import torch
from harness import torch_state
from swapped_models import swapped

from models import (
    alexnet,
    atari,
    bert,
    convnext,
    ddpm,
    densenet,
    efficientnet,
    gpt2,
    inception,
    katago,
    llama,
    mobilenet,
    pointnet,
    retinanet,
    squeezenet,
    swin,
    unet,
    vgg,
    vision_transformer,
    wavenet,
    yolo,
)


def image(channels=3, size=64, batch=2, scale=1.0):
    return scale * np.random.default_rng(0).standard_normal((batch, channels, size, size)).astype(np.float32)


def boards(size):
    """The first of two is larger; nothing is seen off the board."""
    seen = image(22, size)
    seen[:, 0] = 1
    seen[1, 0, :, 7:] = 0
    return seen * seen[:, :1]


def tokens(most, length=7, batch=2):
    return np.random.default_rng(1).integers(0, most, (batch, length))


SMALL = {
    "alexnet": (alexnet, lambda m: m.AlexNet(10, hidden=32), {"image": image(size=80)}),
    "vgg": (vgg, lambda m: m.VGG(11, 10, hidden=32, batch_norm=True), {"image": image(size=32)}),
    "squeezenet": (squeezenet, lambda m: m.SqueezeNet(10), {"image": image()}),
    "mobilenet_v2": (mobilenet, lambda m: m.MobileNetV2(10, 0.25), {"image": image()}),
    "mobilenet_v3": (mobilenet, lambda m: m.MobileNetV3(10), {"image": image()}),
    "densenet": (densenet, lambda m: m.DenseNet((2, 3), 8, 16, 10), {"image": image(size=48)}),
    "efficientnet": (efficientnet, lambda m: m.EfficientNet(10), {"image": image()}),
    "convnext": (convnext, lambda m: m.ConvNeXt((8, 16), (1, 2), 10), {"image": image()}),
    "inception": (inception, lambda m: m.InceptionV3(10, unit=2), {"image": image(size=80)}),
    "swin": (swin, lambda m: m.SwinTransformer(8, (2, 2), (2, 4), 4, 10), {"image": image(size=48)}),
    "retinanet": (retinanet, lambda m: m.RetinaNet(3, (1, 1, 1, 1), 16, 8), {"image": image(size=64)}),
    "vision_transformer": (
        vision_transformer, lambda m: m.VisionTransformer(32, 8, 2, 4, 32, 64, 10), {"image": image(size=32)},
    ),
    "unet": (unet, lambda m: m.UNet(3, 2, (8, 16, 32)), {"image": image(size=32)}),
    "yolo": (yolo, lambda m: m.YOLO(3, (4, 8, 8, 16, 16), (1, 1, 1, 1)), {"image": image(size=64)}),
    "pointnet": (pointnet, lambda m: m.PointNet(5, (8, 16, 32), True), {"points": image(size=20)[:, :, 0]}),
    "wavenet": (wavenet, lambda m: m.WaveNet(3, 2, 8, 8, 16, 16, 20), {"samples": tokens(20)}),
    "ddpm": (
        ddpm, lambda m: m.UNet2D(3, (8, 16), (False, True), 1, 4),
        {"sample": image(size=16), "timestep": np.array([3, 70])},
    ),
    "katago": (
        katago, lambda m: m.KataGo(3, 12, (1,), 4, 8, 6, 2, 9),
        {"input_spatial": boards(9), "input_global": image(19, 1)[:, :, 0, 0]},
    ),
    "nature_dqn": (atari, lambda m: m.NatureDQN(6), {"frames": image(4, 84, scale=80.0)}),
    "impala": (atari, lambda m: m.Impala(6, widths=(4, 8)), {"frames": image(4, 84, scale=80.0)}),
    "gpt2": (gpt2, lambda m: m.GPT2(2, 32, 4, 50, 16), {"tokens": tokens(50)}),
    "bert": (
        bert, lambda m: m.BERT(2, 32, 4, 64, 50, 16),
        {"tokens": tokens(50), "types": tokens(2), "mask": np.array([[1] * 7, [1] * 4 + [0] * 3])},
    ),
    "llama": (llama, lambda m: m.Llama(2, 32, 4, 2, 48, 50), {"tokens": tokens(50)}),
}  # fmt: skip


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
