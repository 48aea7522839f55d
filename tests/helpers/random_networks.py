"""Random networks with random weights, by a seed; the same ones corrupted in one place, and computed in another way."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from cases import randomize

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.graph.graph import Graph
from trtnet.layers.convolution import Convolution
from trtnet.layers.matrix import MatrixMultiply
from trtnet.layers.quantization import Quantize
from trtnet.layers.reduction import Reduce

ACTIVATIONS = (F.relu, F.gelu, F.silu, F.tanh, F.sigmoid, F.elu, F.leaky_relu, F.softplus, F.hardswish)


class Images(nn.Module):
    """Convolutions, norms, pools, residual sums; a head."""

    def __init__(self, chance: np.random.Generator) -> None:
        super().__init__()
        self.steps: list[Any] = []
        self.parts = nn.ModuleList()
        channels = self.channels = int(chance.integers(2, 4))
        for _ in range(int(chance.integers(2, 6))):
            kind = chance.choice(["conv", "conv", "norm", "pool", "residual", "pad", "up", "softmax"])
            act = ACTIVATIONS[int(chance.integers(len(ACTIVATIONS)))]
            if kind == "conv":
                groups = int(chance.choice([1, channels]))
                out = channels * int(chance.integers(1, 3)) if channels < 9 else channels
                size, stride, padding = (int(chance.choice(c)) for c in ([1, 2, 3], [1, 1, 2], [0, 1]))
                part = nn.Conv2d(channels, out, size, stride, padding, groups=groups, bias=bool(chance.integers(2)))
                self.add(part, lambda m, x, act=act: act(m(x)))
                channels = out
            elif kind == "norm":
                norms = [nn.BatchNorm2d(channels), nn.GroupNorm(1, channels), nn.InstanceNorm2d(channels, affine=True)]
                self.add(norms[int(chance.integers(3))], lambda m, x, act=act: act(m(x)))
            elif kind == "residual":
                self.add(nn.Conv2d(channels, channels, 3, padding=1), lambda m, x, act=act: x + act(m(x)))
            elif kind == "pool":
                pools = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=bool(chance.integers(2)))]
                self.add(pools[int(chance.integers(2))], lambda m, x: m(x))
            elif kind == "pad":
                mode = str(chance.choice(["constant", "replicate", "reflect"]))
                self.add(None, lambda m, x, mode=mode: F.pad(x, (1, 0, 0, 1), mode=mode))
            elif kind == "up":
                mode = str(chance.choice(["nearest", "bilinear"]))
                self.add(None, lambda m, x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode))
            else:
                self.add(None, lambda m, x: F.softmax(x, 1) * x)
        self.fc = nn.Linear(channels, 5)

    def add(self, part: Any, call: Any) -> None:
        self.steps.append((len(self.parts) if part is not None else None, call))
        if part is not None:
            self.parts.append(part)

    def forward(self, x: Any) -> Any:
        for place, call in self.steps:
            x = call(None if place is None else self.parts[place], x)
        return {"scores": self.fc(x.mean((2, 3))), "map": x}


class Tokens(nn.Module):
    """Embeddings, attention, norms, gated layers; logits and the best token."""

    def __init__(self, chance: np.random.Generator) -> None:
        super().__init__()
        self.width = width = int(chance.choice([8, 12, 16]))
        self.embed, self.position = nn.Embedding(17, width), nn.Parameter(trtnet.zeros(1, 6, width))
        self.blocks = nn.ModuleList()
        self.pre = bool(chance.integers(2))
        for _ in range(int(chance.integers(1, 3))):
            parts = {
                "attend": nn.MultiheadAttention(width, int(chance.choice([1, 2, 4])), batch_first=True),
                "first": nn.LayerNorm(width),
                "second": nn.RMSNorm(width) if chance.integers(2) else nn.LayerNorm(width),
                "up": nn.Linear(width, 2 * width),
                "down": nn.Linear(width, width),
            }
            self.blocks.append(nn.ModuleDict(parts))
        self.head = nn.Linear(width, 17, bias=False)

    def forward(self, ids: Any) -> Any:
        x = self.embed(ids) + self.position
        for b in self.blocks:
            y = b["first"](x)
            x = x + b["attend"](y, y, y, need_weights=False)[0]
            y = b["up"](b["second"](x) if self.pre else x)
            x = x + b["down"](F.glu(y, -1))
        logits = self.head(x)
        return {"logits": logits, "best": logits[:, -1].argmax(-1)}


class Rows(nn.Module):
    """Linear layers over rows, softmax, reductions, joins, sorting."""

    def __init__(self, chance: np.random.Generator) -> None:
        super().__init__()
        size = 7
        self.layers = nn.ModuleList()
        self.acts: list[Any] = []
        self.joins = [bool(chance.integers(2)) for _ in range(4)]
        for place in range(int(chance.integers(1, 5))):
            out = int(chance.integers(3, 12))
            self.layers.append(nn.Linear(size, out))
            self.acts.append(ACTIVATIONS[int(chance.integers(len(ACTIVATIONS)))])
            size = out * 2 if self.joins[place] else out
        self.norm = nn.LayerNorm(size)
        self.scale = nn.Parameter(trtnet.ones(size))
        self.ranks = bool(chance.integers(2))

    def forward(self, x: Any) -> Any:
        for layer, act, join in zip(self.layers, self.acts, self.joins, strict=False):
            y = layer(x)
            x = trtnet.cat([act(y), y], -1) if join else act(y)
        x = self.norm(x) * self.scale
        found = {"rows": x, "mean": x.mean(-1), "weights": F.softmax(x, -1)}
        return found | {"ranks": x.argsort(-1)} if self.ranks else found


class FewBits(nn.Module):
    """Convolutions and a head between quantizations of activations and weights, by tensor and by channel, to int8 and
    float8, with scales that fit, are too coarse, or cut much off."""

    def __init__(self, chance: np.random.Generator) -> None:
        super().__init__()
        self.channels = channels = int(chance.integers(2, 6))
        self.convs, self.scales, self.grids = nn.ModuleList(), [], []
        self.dtype = str(chance.choice(["int8", "int8", "float8_e4m3fn"]))
        for _ in range(int(chance.integers(1, 5))):
            out = int(chance.integers(4, 13))
            self.convs.append(nn.Conv2d(channels, out, int(chance.choice([1, 3])), padding=1))
            self.scales.append(float(np.exp(chance.uniform(-5, -2))))
            self.grids.append(trtnet.tensor(np.exp(chance.uniform(-6, -4, out)).astype(np.float32)))
            channels = out
        self.fc = nn.Linear(channels, 5)
        self.residual = bool(chance.integers(2))

    def few(self, x: Any, scale: Any, axis: int | None = None) -> Any:
        scale = scale if self.dtype == "int8" else scale / 4
        if axis is None:
            return trtnet.quantize_per_tensor(x, scale, 0, self.dtype).dequantize()
        return trtnet.quantize_per_channel(x, scale, 0, axis, self.dtype).dequantize()

    def forward(self, x: Any) -> Any:
        for conv, scale, grid in zip(self.convs, self.scales, self.grids, strict=True):
            y = F.relu(F.conv2d(self.few(x, scale), self.few(conv.weight, grid, 0), conv.bias, padding=1))
            x = y + y.mean((2, 3), keepdim=True) if self.residual else y
        coarse = self.few(x.mean((2, 3)), 0.02)
        return {"scores": F.linear(coarse, self.few(self.fc.weight, 0.004), self.fc.bias), "map": x, "coarse": coarse}


def few_bits(seed: int) -> Graph:
    """A quantized network with random weights; every third with a dynamic batch."""
    chance = np.random.default_rng(seed)
    net = randomize(FewBits(chance), seed)
    return trtnet.record(net, x=Input((Dim("batch", 1, 3, 5) if seed % 3 == 0 else 3, net.channels, 8, 8)))


def network(seed: int, dtype: str = "float32") -> Graph:
    """One network with random weights; every third with a dynamic batch."""
    chance = np.random.default_rng(seed)
    batch: Any = Dim("batch", 1, 3, 5) if seed % 3 == 0 else 3
    kind = (Images, Tokens, Rows)[seed % 3 if seed % 2 else int(chance.integers(3))]
    net = randomize(kind(chance), seed)
    if dtype != "float32":
        net.to(dtype)
    if kind is Tokens:
        return trtnet.record(net, ids=Input((batch, 6), "int64"))
    return trtnet.record(net, x=Input((batch, net.channels, 8, 8) if kind is Images else (batch, 4, 7), dtype))


# --- one place corrupted ----------------------------------------------------------------------------------------------


def corrupted(graph: Graph, chance: np.random.Generator) -> tuple[trtnet.Engine, str]:
    """An engine of the graph with one weight, axis or padding that is not the graph's."""
    ways = [_weight, _axis, _padding]
    while True:
        made = ways[int(chance.integers(3))](graph, chance)
        if made is not None:
            return made


def _weight(graph: Graph, chance: np.random.Generator) -> tuple[trtnet.Engine, str] | None:
    used = {leaf.name for _, _, weight in graph.weights() for leaf in weight.leaves()}
    names = [n for n, leaf in graph.parameters.items() if leaf.name in used and leaf.dtype.is_floating_point]
    name = str(chance.choice(names))
    old = graph.state_dict()[name]
    new = np.array(old, np.float32)
    way = str(chance.choice(["drawn", "shuffled", "one row", "doubled", "zeros", "transposed"]))
    if way == "drawn":
        new = np.abs(chance.normal(size=new.shape)) if "var" in name else chance.normal(size=new.shape) * 0.3
    elif way == "shuffled":
        new = chance.permutation(new.reshape(-1)).reshape(new.shape)
    elif way == "one row":
        new[int(chance.integers(len(new)))] *= 1.5
    elif way == "doubled":
        new *= 2
    elif way == "zeros":
        new *= 0
    elif new.ndim == 2 and new.shape[0] == new.shape[1]:
        new = new.T
    else:
        return None
    engine = trtnet.reference(graph)
    engine.refit({name: np.ascontiguousarray(new).astype(old.dtype)})
    return engine, f"{name} {way}"


def _changed(graph: Graph, place: int, **attributes: Any) -> Graph | None:
    """The graph with other attributes of one layer, if its outputs keep their shapes."""
    layer = copy.copy(graph.layers[place])
    for name, value in attributes.items():
        setattr(layer, name, value)
    try:
        shapes = [tuple(shape) for shape, _ in layer.infer()]
    except trtnet.TrtnetError:
        return None
    if shapes != [tuple(t.shape) for t in layer.outputs]:
        return None
    return _of([*graph.layers[:place], layer, *graph.layers[place + 1 :]], graph)


def _of(layers: list[Any], graph: Graph) -> Graph:
    """The graph with these layers, whose outputs are the same tensors."""
    return dataclasses.replace(graph, layers=layers, training=None)


def _axis(graph: Graph, chance: np.random.Generator) -> tuple[trtnet.Engine, str] | None:
    names = {"axis", "axes", "first_transpose"}
    places = [
        i for i, one in enumerate(graph.layers) if names & set(one.attributes) and getattr(one, "axis", 0) is not None
    ]
    if not places:
        return None
    place = int(chance.choice(places))
    layer = graph.layers[place]
    rank = len(layer.inputs[0].shape)
    if "axes" in layer.attributes:
        change = {"axes": tuple((a + 1) % rank for a in layer.axes)}
    elif "axis" in layer.attributes:
        change = {"axis": (layer.axis + int(chance.integers(1, rank))) % rank if rank > 1 else 0}
    elif layer.first_transpose is not None:
        order = list(layer.first_transpose)
        a, b = chance.choice(rank, 2, replace=False)
        order[a], order[b] = order[b], order[a]
        change = {"first_transpose": tuple(order)}
    else:
        return None
    if all(getattr(layer, name) == value for name, value in change.items()):
        return None
    return _engine(_changed(graph, place, **change), f"{layer.name} {change}")


def _padding(graph: Graph, chance: np.random.Generator) -> tuple[trtnet.Engine, str] | None:
    places = [i for i, one in enumerate(graph.layers) if {"pre_padding", "mode"} <= {*one.attributes, "mode"}
              and ("pre_padding" in one.attributes or one.kind == "slice")]  # fmt: skip
    if not places:
        return None
    place = int(chance.choice(places))
    layer = graph.layers[place]
    if layer.kind == "slice":
        axis = int(chance.integers(len(layer.start)))
        start = list(layer.start)
        start[axis] = start[axis] + (1 if layer.mode == "STRICT_BOUNDS" else -1)
        if layer.mode == "STRICT_BOUNDS" and not layer.start[axis]:
            return None
        change: dict[str, Any] = {"start": tuple(start)}
    else:
        axis = int(chance.integers(len(layer.pre_padding)))
        before, after = list(layer.pre_padding), list(layer.post_padding)
        if before[axis] == 0:
            before, after = after, before
        if before[axis] == 0:
            return None
        before[axis], after[axis] = before[axis] - 1, after[axis] + 1
        change = {"pre_padding": tuple(before), "post_padding": tuple(after)}
    return _engine(_changed(graph, place, **change), f"{layer.name} {change}")


def _engine(graph: Graph | None, what: str) -> tuple[trtnet.Engine, str] | None:
    if graph is None:
        return None
    engine = trtnet.reference(graph)
    try:
        engine.warmup()
    except (trtnet.TrtnetError, RuntimeError):  # it does not fit beside the others
        return None
    return engine, what


# --- the same, computed in another way --------------------------------------------------------------------------------


def reordered(graph: Graph) -> Graph:
    """The graph with the sums of matrix products, convolutions and reductions in another order."""
    return _of([_reordered(layer) for layer in graph.layers], graph)


def _reordered(layer: Any) -> Any:
    return _like(layer, {MatrixMultiply: Product, Convolution: Convolved, Reduce: Reduced, Quantize: Multiplied})


def _like(layer: Any, kinds: dict[Any, Any]) -> Any:
    """The layer as one of another class, if there is one for its own."""
    kind = kinds.get(type(layer))
    if kind is None:
        return layer
    made = kind(layer.inputs, **{name: getattr(layer, name) for name in layer.attributes})
    for name in ("outputs", "name", "path", "location"):
        setattr(made, name, getattr(layer, name))
    return made


def _order(run: Any, count: int) -> Any:
    return run.torch.from_numpy(np.random.default_rng(count).permutation(count))


class Product(MatrixMultiply):
    def compute(self, run: Any, *inputs: Any) -> Any:
        a, b = inputs
        if "VECTOR" in (self.op0, self.op1):
            return super().compute(run, a, b)
        first, second = -2 if self.op0 == "TRANSPOSE" else -1, -1 if self.op1 == "TRANSPOSE" else -2
        order = _order(run, a.shape[first])
        return super().compute(run, a.index_select(a.ndim + first, order), b.index_select(b.ndim + second, order))


class Convolved(Convolution):
    def compute(self, run: Any, *inputs: Any) -> Any:
        x, kernel, *rest = inputs
        if self.num_groups == 1:
            order = _order(run, x.shape[1])
            x, kernel = x.index_select(1, order), kernel.index_select(1, order)
        return super().compute(run, x, kernel, *rest)


class Reduced(Reduce):
    def compute(self, run: Any, *inputs: Any) -> Any:
        (x,) = inputs
        for axis in self.axes:
            x = x.index_select(axis, _order(run, x.shape[axis]))
        return super().compute(run, x)


class Multiplied(Quantize):
    """By 1 / scale, as kernels do."""

    def compute(self, run: Any, *inputs: Any) -> Any:
        x, scale = inputs
        y = x.float() * (1 / self.spread(run, x, scale).float())
        return super().compute(run, y, run.torch.ones_like(scale))


def in_tf32(graph: Graph) -> Graph:
    """The graph with the products of convolutions and matrix products of numbers of ten bits behind the point."""
    return _of(
        [_like(layer, {MatrixMultiply: ShortProduct, Convolution: ShortConvolved}) for layer in graph.layers], graph
    )


def floored(graph: Graph) -> Graph:
    """The graph with quantizations that round down."""
    return _of([_like(layer, {Quantize: Floored}) for layer in graph.layers], graph)


def _short(x: Any) -> Any:
    return None if x is None else ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class ShortProduct(MatrixMultiply):
    def compute(self, run: Any, *inputs: Any) -> Any:
        return super().compute(run, *map(_short, inputs))


class ShortConvolved(Convolution):
    def compute(self, run: Any, *inputs: Any) -> Any:
        return super().compute(run, *map(_short, inputs[:2]), *inputs[2:])


class Floored(Quantize):
    """Rounded down, which is wrong."""

    def compute(self, run: Any, *inputs: Any) -> Any:
        x, scale = inputs
        return super().compute(run, x - 0.499 * self.spread(run, x, scale), scale)
