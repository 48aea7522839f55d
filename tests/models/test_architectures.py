"""Known networks: the originals' parameters, and torch's numbers for the same file with its imports swapped."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from harness import check_against_torch, torch_state
from networks import flat
from small_models import SMALL, image, pair, tokens
from swapped_models import nms

import models
import trtnet
from models import yolo
from trtnet.errors import ShapeError

# some of each original's names
NAMES = {
    "alexnet": {"features.0.weight", "classifier.6.bias"},
    "vgg16": {"features.28.weight", "classifier.6.bias"},
    "squeezenet": {"features.12.expand3x3.weight", "classifier.1.bias"},
    "mobilenet_v2": {"features.1.conv.0.0.weight", "features.17.conv.3.running_var"},
    "mobilenet_v3_small": {"features.1.block.1.fc1.weight", "classifier.3.bias"},
    "densenet121": {"features.denseblock4.denselayer16.conv2.weight", "features.norm5.bias"},
    "efficientnet_b0": {"features.7.0.block.2.fc2.bias", "classifier.1.weight"},
    "inception_v3": {"Mixed_5b.branch5x5_2.bn.bias", "Mixed_7c.branch3x3dbl_3b.conv.weight"},
    "convnext_tiny": {"features.1.0.layer_scale", "features.7.2.block.5.bias"},
    "vit_b_16": {"encoder.layers.encoder_layer_11.mlp.3.bias"},
    "swin_t": {"features.1.0.attn.relative_position_index", "head.bias"},
    "retinanet": {"backbone.fpn.extra_blocks.p7.bias", "head.regression_head.bbox_reg.bias"},
    "ddpm": {"up_blocks.2.attentions.2.to_out.0.bias", "mid_block.resnets.1.norm2.weight"},
    "katago": {"blocks.2.normactconv1.convpool.normg.beta", "value_head.linear_s2off.weight"},
    "pointnet": {"feat.stn.bn5.running_var", "feat.conv3.weight", "bn2.bias"},
    "wavenet": {"filter_convs.39.weight", "end_conv_2.bias"},
    "gpt2": {"h.11.attn.c_attn.weight", "wpe.weight"},
    "bert": {"encoder.layer.11.attention.self.query.bias", "pooler.dense.weight"},
}


@pytest.mark.parametrize("name", models.NETWORKS)
def test_the_parameters_that_are_listed(name):
    network = models.NETWORKS[name]
    file, _, made_by = network.made_by.partition(":")
    net = getattr(importlib.import_module(f"models.{file}"), made_by)()
    assert sum(parameter.numel() for parameter in net.parameters()) == network.parameters
    assert NAMES.get(name, set()) <= set(net._leaves())


BATCH = trtnet.Dim("batch", min=1, opt=2, max=4)
LENGTH = trtnet.Dim("length", min=2, opt=7, max=9)
# a scale that is no power of two is a constant of float32 in a network, and Python's float64 in torch
TOLERANCES = dict.fromkeys(["vision_transformer", "bert", "llama", "ddpm", "katago"], 1e-7)
ONE_SIZE = {"vision_transformer", "nature_dqn", "impala"}


def near(name):
    return dict.fromkeys(["rtol", "atol"], TOLERANCES.get(name, 1e-9))


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("name", SMALL)
def test_it_gives_torchs_numbers(name, batch):
    mine, theirs, inputs = pair(name)
    shapes = None
    if batch == "dynamic":
        text = next(iter(inputs.values())).ndim == 2
        shapes = {n: (BATCH, LENGTH) if text else (BATCH, *a.shape[1:]) for n, a in inputs.items()}
    check_against_torch(mine, theirs, inputs, shapes=shapes, compile=batch == "dynamic", **near(name))


@pytest.mark.parametrize("name", sorted(set(SMALL) - ONE_SIZE))
def test_a_second_size(name):
    mine, theirs, inputs = pair(name)
    other = {
        n: a
        if n == "input_global" or a.ndim == 1
        else np.concatenate([a, a[:, :2] if a.ndim == 2 else a[:, :, :32]], min(a.ndim - 1, 2))
        for n, a in inputs.items()
    }
    check_against_torch(mine, theirs, other, compile=False, **near(name))


@pytest.mark.parametrize("name", SMALL)
def test_half_precision(name):
    """As `model.half()` leaves it: every output near torch's float64 of the same rounded weights and inputs."""
    mine, theirs, inputs = pair(name)
    halves = {n: a.astype(np.float16) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    graph = trtnet.record(mine.half(), **{n: trtnet.Input(a.shape, str(a.dtype)) for n, a in halves.items()})
    floats = {t.dtype for t in graph.outputs.values() if t.dtype.is_floating_point}
    assert floats <= {trtnet.float16, trtnet.float32}
    found = flat(trtnet.reference(graph)(**halves))
    tensors = [torch.from_numpy(a) for a in halves.values()]
    with torch.no_grad():
        wanted = flat(theirs.half().double()(*(t.double() if t.is_floating_point() else t for t in tensors)))
    for mine, torchs in zip(found, wanted, strict=True):
        far = np.abs(mine.astype(np.float64) - torchs.numpy()).max()
        assert far <= 2e-2 * max(float(torchs.abs().max()), 0.1), name


def test_objects_in_an_image():
    """What RetinaNet finds, of a count that the data decides, is torch's."""
    net, theirs, _ = pair("retinanet")
    theirs.head.classification_head.cls_logits.bias.data += 4.0  # they begin at a probability of 0.01
    net.load_state_dict(torch_state(theirs))
    picture = image(size=64, batch=1, scale=3.0)
    graph = trtnet.record(net.detect, image=trtnet.Input(picture.shape))
    found = trtnet.reference(graph, dtype="float64", raw=True)(torch.from_numpy(picture).double())
    with torch.no_grad():
        wanted = theirs.double().detect(torch.from_numpy(picture).double())
    assert 0 < len(wanted["labels"]) <= 300
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key].numpy(), value.numpy(), rtol=1e-9, atol=1e-9, err_msg=key)


def test_where_the_boxes_of_yolo_are():
    """Every box by the definition: from the middle of its place, each side as far as its distribution's mean."""
    x = np.random.default_rng(3).standard_normal((2, 64, 2, 3)).astype(np.float32)
    graph = trtnet.record(lambda x: yolo.decoded(x, 8), x=trtnet.Input(x.shape))
    found = trtnet.reference(graph, dtype="float64")(x)
    for item, row, column in np.ndindex(2, 2, 3):
        chances = np.exp(x[item, :, row, column].astype(np.float64)).reshape(4, 16)
        left, top, right, bottom = (chances / chances.sum(1, keepdims=True)) @ np.arange(16)
        box = [column + 0.5 - left, row + 0.5 - top, column + 0.5 + right, row + 0.5 + bottom]
        np.testing.assert_allclose(found[item, row * 3 + column], np.multiply(8, box), rtol=1e-6)


def test_what_yolo_finds():
    """The best boxes of an image, and which of them stay; TensorRT-RTX, which has no layer for that, compiles it."""
    net, theirs, _ = pair("yolo")

    class Best(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, image):
            return self.net.detect(image, most=12, overlap=0.3)

    def wanted(image):
        found = theirs.double()(image)
        best, labels = found["scores"][0].max(1)
        scores, places = best.topk(12)
        boxes, labels = found["boxes"][0][places], labels[places]
        kept = torch.zeros(12, dtype=torch.bool)
        for label in range(3):
            places = (labels == label).nonzero()[:, 0]
            kept[places[nms(boxes[places], scores[places], 0.3)]] = True
        assert 0 < kept.sum() < 12
        return {"boxes": boxes, "scores": scores, "labels": labels, "kept": kept}

    check_against_torch(Best(), wanted, {"image": image(size=64, batch=1)})


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


@pytest.mark.parametrize("batch", ["static", "dynamic"])
def test_generation_in_one_call(batch):
    """A prompt gives the tokens that torch's network finds one by one; TensorRT-RTX compiles the loop."""
    net, theirs, _ = pair("gpt2")
    for key, value in theirs.state_dict().items():
        if "wpe" in key or "attn" in key:
            value *= 10  # small weights repeat one token
    net.load_state_dict(torch_state(theirs))
    theirs = theirs.double()

    class Writer(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, tokens):
            return self.net.generate(tokens, count=6)

    def wanted(tokens):
        for _ in range(6):
            tokens = torch.cat([tokens, theirs(tokens)[:, -1:].argmax(-1)], 1)
        return tokens[:, -6:]

    prompt = tokens(50, 5)
    assert len(set(wanted(torch.from_numpy(prompt)).flatten().tolist())) > 4
    with pytest.raises(ShapeError, match="index 23 is out of range"):  # 5 and 20 tokens; there are 16 positions
        trtnet.record(net.generate, tokens=trtnet.Input((1, 5), "int64"))
    shapes = {"tokens": (BATCH, LENGTH)} if batch == "dynamic" else None
    check_against_torch(Writer(), wanted, {"tokens": prompt}, shapes=shapes)
