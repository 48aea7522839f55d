"""Each remedy that trtnet prints is followed, and helps.

A row provokes an error, finds its remedy in the message, does what it says, and succeeds. Every remedy in the sources
has a row, or a reason in `NOT_FOLLOWED`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import pickle
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from harness import composed_without, needs_rtx, new_network

import trtnet
from trtnet import Dim, Input, fleet, layers, nn
from trtnet import functional as F
from trtnet.cli import pictures, preload
from trtnet.cli import saved as outputs
from trtnet.errors import TrtnetError, nearest
from trtnet.tensorrt import device
from trtnet.tensorrt.build import timing_file
from trtnet.tensorrt.build.plan_cache import PlanCache
from trtnet.tensorrt.kernels import compiling, shim

SOURCES = Path(trtnet.__file__).parent
ROWS: dict[str, tuple] = {}
DYNAMIC = Dim("n", min=2, opt=4, max=9)


def record(function, *inputs, **given):
    """Record a function or a module whose arguments have these shapes, or are these Inputs."""
    of = function.forward if isinstance(function, nn.Module) else function
    names = list(inspect.signature(of).parameters)
    specs = {name: one if isinstance(one, Input) else Input(one) for name, one in zip(names, inputs)}
    return trtnet.record(function, **specs, **given)


def row(remedy, wrong, right):
    """A remedy, or a part of it that no other has; what brings it up; and what it says."""
    assert remedy not in ROWS, remedy
    ROWS[remedy] = (wrong, right)


def recorded(remedy, wrong, right, *inputs, other=None):
    """The same where both are functions of recorded tensors; `other` are the second one's inputs."""
    inputs = inputs or ((2, 3),)
    row(remedy, lambda: record(wrong, *inputs), lambda: record(right, *(other or inputs)))


HALF = Input((2, 3), "float16")
INTS = Input((2, 3), "int32")
BOOLS = Input((2, 3), "bool")
FOUR = (1, 3, 8, 8)
MXFP8 = {"to_type": "float8_e4m3fn", "scale_type": "float8_e8m0fnu"}
WINDOW = {"type": "MAX", "window_size": (2, 2), "pre_padding": (0, 0), "post_padding": (0, 0)}


class One(nn.Module):
    """Calls its one module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def linear():
    return One(nn.Linear(3, 4))


def engine(net=None, shape=(2, 3), **options):
    return trtnet.reference(trtnet.record(net or linear(), x=Input(shape)), **options)


def values(net):
    return {name: np.array(value) for name, value in net.state_dict().items()}


def wrapped(net, prefix):
    return {prefix + name: value for name, value in values(net).items()}


def around(given):
    given["beside"] = given
    return given


def kernel():
    """linear()'s values as another program names them."""
    return {name.replace("weight", "kernel"): value for name, value in values(linear()).items()}


ONES = np.ones((2, 3), np.float32)

# --- names
row(
    "write it with the functions there are",
    lambda: F.relu_of_everything,
    lambda: F.relu,
)
row("write it as a Module of those there are", lambda: nn.EverythingLayer, lambda: nn.Module)
row("set it in", lambda: linear().nothing_like_it, lambda: setattr(net := linear(), "a", 1) or net.a)
row("begin __init__ with super().__init__()", lambda: Early(), lambda: linear())
row(
    "wrap it: trtnet.nn.Parameter(value)",
    lambda: setattr(nn.Linear(3, 4), "bias", 3.0),
    lambda: setattr(nn.Linear(3, 4), "bias", nn.Parameter(np.zeros(4, np.float32))),
)
row(
    "keep the reference in a list or tuple",
    lambda: holds(lambda net: net).state_dict(),
    lambda: holds(lambda net: [net]).state_dict(),
)
recorded("write it with the functions of trtnet.functional", lambda x: x.blubber(), lambda x: F.relu(x))


def narrow_values(x, backends):
    with nn.attention.sdpa_kernel(backends):
        return F.scaled_dot_product_attention(x, x, x[:, :2])


class Early(nn.Module):
    def __init__(self):
        self.inner = nn.ReLU()


def holds(how):
    net = linear()
    net.inner.top = how(net)
    return net


# --- Dims and Inputs
row("use //", lambda: DYNAMIC**-1, lambda: 12 // DYNAMIC)
row("write the factor as integers: size*2//3 for size/1.5", lambda: DYNAMIC / 1.5, lambda: DYNAMIC * 2 // 3)
row("Python's int() cannot give a dynamic size", lambda: int(DYNAMIC / 2), lambda: DYNAMIC // 2)
row("write the factor as integers: size*3//2 for size*1.5", lambda: DYNAMIC * 1.5, lambda: DYNAMIC * 3 // 2)
row(
    "narrow the Dim's range, or compare its .min, .opt or .max; for max() and min() of sizes",
    lambda: max(DYNAMIC, 4),
    lambda: DYNAMIC.max > 4 and Dim("n", min=5, max=9) > 4 and trtnet.sym_max(DYNAMIC, 4) >= 4,
)
row(
    "a dynamic size has no single value while recording",
    lambda: int(DYNAMIC),
    lambda: record(lambda x: x.reshape(x.shape[0], -1), (DYNAMIC, 3, 2)),
)
row('Dim("batch", min=1, max=64)', lambda: Dim(""), lambda: Dim("batch", min=1, max=64))
row("order the three sizes", lambda: Dim("n", min=4, max=2), lambda: Dim("n", min=2, opt=3, max=4))
row(
    "round min up and max down to multiples",
    lambda: Dim("n", min=3, max=30, multiple_of=8),
    lambda: Dim("n", min=8, max=24, multiple_of=8),
)
row("as an int", lambda: Dim("n", min=1.5, max=2), lambda: Dim("n", min=1, max=2))
row(
    "make one Dim and use it in both places",
    lambda: record(lambda x, y: x + y, (Dim("b", max=4),), (Dim("b", max=5),)),
    lambda: record(lambda x, y: x + y, (DYNAMIC,), (DYNAMIC,)),
)
row("for a dynamic size give it a name", lambda: Input((None, 3)), lambda: Input((Dim("b", min=1, opt=8, max=64), 3)))
row(
    "put neighbouring dimensions together, and split them again in forward",
    lambda: Input((2,) * 9),
    lambda: record(lambda x: F.relu(x.unflatten(0, (2, 2))), (4, *(2,) * 6)),
)
row("convert it to", lambda: Input((2,), "float64"), lambda: Input((2,), "float32"))
recorded(
    "make the two equal: the shapes just before this line",
    lambda x, y: x + y,
    lambda x, y: x[:, :3] + y,
    (2, 5),
    (2, 3),
)
recorded(
    "select both with the same mask, or keep the shapes",
    lambda x, y: x[x > 0] + y[y > 0],
    lambda x, y: (x[mask := x > 0] + y[mask], trtnet.where(mask, x, 0) + y),
    (2, 3),
    (2, 3),
)

# --- recording
row(
    "the keywords of record are forward's argument names; they become",
    lambda: trtnet.record(linear(), Input((2, 3))),
    lambda: trtnet.record(linear(), x=Input((2, 3))),
)
row(
    "make one first: record(",
    lambda: trtnet.record(nn.ReLU, input=Input((2,))),
    lambda: trtnet.record(nn.ReLU(), input=Input((2,))),
)
row(
    "let an Input, or a plain value, stand in its place",
    lambda: trtnet.record(lambda x: x[0] + x[1], x=(Input((2, 3)), ONES)),
    lambda: trtnet.record(lambda x: x[0] + x[1], x=(Input((2, 3)), 1.0)),
)
row(
    "record(module, x=Input((1, 3, 224, 224)))",
    lambda: trtnet.record(lambda: trtnet.ones(2)),
    lambda: trtnet.record(nn.ReLU(), input=Input((1, 3, 224, 224))),
)
row("return what the network computes", lambda: record(lambda x: (), (2,)), lambda: record(F.relu, (2,)))
row(
    "the keywords of record(module, name=Input(...)) are",
    lambda: trtnet.record(linear(), image=Input((2, 3))),
    lambda: trtnet.record(linear(), x=Input((2, 3))),
)
row(
    "return tensors, or tuples, lists and dicts of them",
    lambda: record(lambda x: (x + 1, ["text"]), (2,)),
    lambda: record(lambda x: (x + 1, [x + 2]), (2,)),
)
row(
    "rename the key in the dict that forward returns",
    lambda: record(lambda x: {"x": x + 1}, (2,)),
    lambda: record(lambda x: {"y": x + 1}, (2,)),
)
row(
    "rename forward's argument",
    lambda: trtnet.record(lambda out: out + 1, out=Input((2,))),
    lambda: trtnet.record(lambda x: x + 1, x=Input((2,))),
)
row(
    "=Input((1, 3, 224, 224)))",
    lambda: trtnet.record(lambda x: x + 1, x=np.zeros((1, 3, 224, 224))),
    lambda: trtnet.record(lambda x: x + 1, x=Input((1, 3, 224, 224))),
)
row("engine.profile(x, calls=20)", lambda: engine().profile(ONES, calls=0), lambda: engine().profile(ONES, calls=20))
row("graph = trtnet.record(module, x=Input(shape))", lambda: linear()("x"), lambda: engine()(x=ONES))
row(
    "call it inside forward, while trtnet.record runs",
    lambda: F.conv2d(trtnet.ones(FOUR), trtnet.ones(2, 3, 1, 1)),
    lambda: record(lambda x: F.conv2d(x, trtnet.ones(2, 3, 1, 1)), FOUR),
)
row(
    "do not keep tensors on modules or in globals",
    lambda: kept(lambda x, old: x + old[0]),
    lambda: kept(lambda x, old: x + F.relu(x)),
)


def kept(forward):
    old = []
    record(lambda x: old.append(x) or x + 1, (2,))
    record(lambda x: forward(x, old), (2,))


# --- values that are not known while recording
recorded("decide with Python values", lambda x: x if x.sum() > 0 else -x, lambda x: trtnet.where(x.sum() > 0, x, -x))
recorded(
    "use x.size(0), which may be a Dim",
    lambda x: trtnet.ones(len(x)) + x,
    lambda x: trtnet.ones(x.size(0)) + x,
    (DYNAMIC,),
)
recorded("take sizes from shapes", lambda x: x.reshape(x.sum(), -1), lambda x: x.reshape(x.shape[0], -1))
recorded(
    "trtnet.isclose(a, b).all() gives a tensor", lambda x: trtnet.allclose(x, x), lambda x: trtnet.isclose(x, x).all()
)
recorded("(a == b).all() gives a tensor", lambda x: trtnet.equal(x, x), lambda x: (x == x).all())


def filled(x, stop):
    x[:, :stop] = 1.0
    return x


WIDE = Input((1 << 25,)), Input((2,), "int64")
recorded("trtnet.narrow(x, dim, start, length) takes any", lambda x, i: x[i[0] : i[0] + 4],
    lambda x, i: trtnet.narrow(x, 0, i[0], 4), *WIDE)  # fmt: skip
recorded(
    "pick the elements by an index: x[start + trtnet.arange(length)]",
    lambda x, i: layers.add_slice(x, i[:1], shape=(4,), stride=(1,)),
    lambda x, i: x[i[0] + trtnet.arange(4)],
    *WIDE,
)
recorded("pick one and convert it: x[i[0].long() : stop]", lambda x: x[:, x[0] :], lambda x: x[:, x[0, 0].long() :])
recorded(
    "choose where it is: trtnet.where((i >= start) & (i < stop), value, x) of i = trtnet.arange(n)",
    lambda x, i: filled(x.clone(), i[0]),
    lambda x, i: trtnet.where((trtnet.arange(3) >= 0) & (trtnet.arange(3) < i[0]), 1.0, x),
    (2, 3),
    Input((2,), "int64"),
)
recorded(
    "pick the elements by an index: x[start + step * trtnet.arange(count)]",
    lambda x, i: x[:, 0 : 3 : i[0]],
    lambda x, i: x[:, 0 + i[0] * trtnet.arange(2)],
    (2, 3),
    Input((2,), "int64"),
)
recorded(
    "pick elements by an index: trtnet.narrow(x, dim, start, length), x[start + trtnet.arange(length)]",
    lambda x, i: trtnet.cond(i[0] > 0, lambda: x[:, i[0] : i[0] + 1], lambda: x[:, :1]),
    lambda x, i: trtnet.cond(i[0] > 0, lambda: trtnet.narrow(x, 1, i[0], 1), lambda: x[:, :1]),
    (2, 3),
    Input((2,), "int64"),
)
STARTS = (2, 3), Input((2,), "int64")
recorded(
    "give start=(...), or a tensor as input 1",
    lambda x, i: layers.add_slice(x, None, i, stride=(1, 1)),
    lambda x, i: layers.add_slice(x, None, i, start=(0, 0), stride=(1, 1)),
    *STARTS,
)
recorded(
    "leave start= out, or the tensor",
    lambda x, i: layers.add_slice(x, i, start=(0, 0), shape=(1, 1), stride=(1, 1)),
    lambda x, i: layers.add_slice(x, i, shape=(1, 1), stride=(1, 1)),
    *STARTS,
)
recorded(
    "convert them: .long()",
    lambda x, i: layers.add_shuffle(x, x[0, :2], reshape_dims=(None, None)),
    lambda x, i: layers.add_shuffle(x, x[0, :2].long(), reshape_dims=(None, None)),
    *STARTS,
)
recorded(
    "put them together: trtnet.stack([a, b])",
    lambda x, i: layers.add_shuffle(x, i[0], reshape_dims=(None, None)),
    lambda x, i: layers.add_shuffle(x, trtnet.stack([i[0], i[1]]), reshape_dims=(None, None)),
    *STARTS,
)
recorded(
    "give the tensor: the inputs of add_fill are in TensorRT's order",
    lambda x, i: layers.add_fill(shape=(None,)),
    lambda x, i: layers.add_fill(i[:1], shape=(None,)),
    *STARTS,
)
# --- loops and conditionals
recorded("compute it anew where the error was caught", lambda x: caught_in(x, False), lambda x: caught_in(x, True))


def caught_in(x, anew):
    made = []
    try:
        trtnet.scan(lambda carry, row: (made.append(row.exp()), 1 // 0), x[0], x)
    except ZeroDivisionError:
        return x[0].exp() if anew else made[0] + 1


recorded(
    "while_loop(condition, body, (x,)) carries one tensor",
    lambda x: trtnet.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x),
    lambda x: trtnet.while_loop(lambda x: x.sum() < 9, lambda x: (x + 1,), (x,)),
)
recorded(
    "where there is no result: return carry, None",
    lambda x: trtnet.scan(lambda c, x: c + x, 0.0, x.sum(1)),
    lambda x: trtnet.scan(lambda c, x: (c + x, None), 0.0, x.sum(1)),
)
recorded(
    "scan(body, init, None, length=8)",
    lambda x: trtnet.scan(lambda c, _: (c * 2, None), x),
    lambda x: trtnet.scan(lambda c, _: (c * 2, None), x, None, length=8),
)
recorded(
    "scan to the most there can be and keep the carry by ",
    lambda x, n: trtnet.scan(lambda c, _: (c * 2, None), x, length=n),
    lambda x, n: trtnet.scan(lambda c, i: (trtnet.where(i < n, c * 2, c), None), x, trtnet.arange(8)),
    (2, 3),
    Input((), "int64"),
)
recorded(
    "return the same tuples, lists and dicts, with the same keys",
    lambda x: trtnet.scan(lambda c, x: ([c[0] + x, c[1]], None), (x[0], x[1]), x),
    lambda x: trtnet.scan(lambda c, x: ((c[0] + x, c[1]), None), (x[0], x[1]), x)[0],
)
recorded(
    ", or begin with the other type",
    lambda x: trtnet.scan(lambda c, x: (c + x, None), trtnet.zeros(3, dtype=trtnet.int32), x),
    lambda x: trtnet.scan(lambda c, x: (c + x, None), trtnet.zeros(3), x),
)
recorded(
    "begin with the shape that it has later, trtnet.zeros(...)",
    lambda x: trtnet.scan(lambda c, x: (c + x, None), 0.0, x),
    lambda x: trtnet.scan(lambda c, x: (c + x, None), trtnet.zeros(3), x),
)
recorded(
    "compute it of what is carried: lambda i, x: i < 10",
    lambda x: trtnet.while_loop(lambda i, x: True, lambda i, x: (i + 1, x * 2), (0, x)),
    lambda x: trtnet.while_loop(lambda i, x: i < 10, lambda i, x: (i + 1, x * 2), (0, x)),
)
recorded(
    "compute it of its arguments: lambda i, x: i < 10",
    lambda y: trtnet.while_loop(lambda i, x: y.sum() < 9, lambda i, x: (i + 1, x * 2), (0, y)),
    lambda y: trtnet.while_loop(lambda i, x: x.sum() < 9, lambda i, x: (i + 1, x * 2), (0, y)),
)
recorded(
    "compare: x > 0, x != 0",
    lambda x: trtnet.cond(x.sum(), lambda: x, lambda: -x),
    lambda x: trtnet.cond(x.sum() != 0, lambda: x, lambda: -x),
)
recorded(
    "x.any() or x.all(); where(condition, a, b) decides for each element",
    lambda x: trtnet.cond(x > 0, lambda: x, lambda: -x),
    lambda x: (trtnet.cond((x > 0).all(), lambda: x, lambda: -x), trtnet.where(x > 0, x, -x)),
)
recorded(
    "compute it in the body, and carry it: while_loop(lambda goes_on, x: goes_on, ",
    lambda x: trtnet.while_loop(
        lambda x: trtnet.scan(lambda c, x: (c + x, None), 0.0, x.sum(1))[0] < 9, lambda x: (x + 1,), (x,)
    ),
    lambda x: trtnet.while_loop(
        lambda goes_on, x: goes_on,
        lambda goes_on, x: (trtnet.scan(lambda c, x: (c + x, None), 0.0, x.sum(1))[0] < 9, x + 1),
        (True, x),
    ),
)
recorded(
    "draw them for all iterations before, and iterate over them: xs=trtnet.rand(8, 3)",
    lambda x: trtnet.scan(lambda c, _: (c + trtnet.rand(3), None), x[0], length=8),
    lambda x: trtnet.scan(lambda c, r: (c + r, None), x[0], trtnet.rand(8, 3)),
)
recorded(
    ", and use what ",
    lambda x: leaked(False, x),
    lambda x: leaked(True, x),
)
recorded(
    "keep the shape: trtnet.where(mask, x, 0)",
    lambda x: trtnet.scan(lambda c, x: (c + x[x > 0].sum(), None), 0.0, x),
    lambda x: trtnet.scan(lambda c, x: (c + trtnet.where(x > 0, x, 0).sum(), None), 0.0, x),
)
recorded(
    "return the new value: make it a part of what is carried on, or of the result",
    lambda x: (y := x.clone(), trtnet.scan(lambda c, x: (y.add_(x), None), 0.0, x)),
    lambda x: trtnet.scan(lambda y, x: (y.add_(x), None), x.clone(), x),
)


def leaked(follow, x):
    kept = []
    _, ys = trtnet.scan(lambda c, x: (c + x.sum(), kept.append(x * 2) or x * 2), 0.0, x)
    return (ys if follow else kept[0]) + 1


# --- dtypes
recorded("convert it first: x.float()", lambda x: F.softmax(x, 1), lambda x: F.softmax(x.float(), 1), INTS)
recorded("x.float().mean(), or mean(dtype=trtnet.float32)", lambda x: x.mean(), lambda x: x.float().mean(), INTS)
recorded("convert it first: mask.to(x.dtype)", lambda x: x - x, lambda x: x.to(trtnet.int32) - 1, BOOLS)
recorded("convert it first: mask.int()", lambda x: x.clamp(False, True), lambda x: x.int().clamp(0, 1), BOOLS)
recorded("x.clamp(min=0)", lambda x: x.clamp(), lambda x: x.clamp(min=0))
recorded(
    "convert it: .to(trtnet.",
    lambda x: x.clone().index_put_((trtnet.tensor([0]),), x[:1].half()),
    lambda x: x.clone().index_put_((trtnet.tensor([0]),), x[:1].half().to(trtnet.float32)),
)
recorded("convert one of them: .to(trtnet.", lambda x, y: x + y, lambda x, y: x + y.to(trtnet.float32), (2, 3), HALF)
recorded("convert the module (module.half(), module.to(dtype)) or the", nn.Linear(3, 4), nn.Linear(3, 4).half(), HALF)
recorded(
    "compare first: condition != 0",
    lambda x, y: trtnet.where(x, y, y),
    lambda x, y: trtnet.where(x != 0, y, y),
    INTS,
    (2, 3),
)
recorded("x.long()", nn.Embedding(5, 3), lambda input: nn.Embedding(5, 3)(input.long()))
recorded("write it out of place: a = a + b", lambda x: x.clone().mul_(0.5), lambda x: x * 0.5, INTS)
recorded("convert the values with x.to(dtype)", lambda x: x.view(trtnet.int32), lambda x: x.to(trtnet.int32))
row("trtnet.iinfo(dtype)", lambda: trtnet.finfo(trtnet.int32), lambda: trtnet.iinfo(trtnet.int32))
row("trtnet.finfo(dtype)", lambda: trtnet.iinfo(trtnet.float16), lambda: trtnet.finfo(trtnet.float16))

# --- shapes
recorded("make in_channels equal to the input's channels", nn.Conv2d(4, 2, 3), nn.Conv2d(3, 2, 3), FOUR)
recorded(
    "the channels come first: x.permute(0, ",
    nn.Conv2d(3, 2, 3),
    lambda x: nn.Conv2d(3, 2, 3)(x.permute(0, 3, 1, 2)),
    (1, 8, 8, 3),
)
recorded("make in_features equal to the input's last size", nn.Linear(4, 2), nn.Linear(3, 2))
recorded(
    "x.unsqueeze(0) adds a dimension",
    nn.Conv2d(3, 2, 3),
    lambda x: nn.Conv2d(3, 2, 1)(x.unsqueeze(0).unsqueeze(0).transpose(1, 2)),
    (3, 8),
)
recorded(
    "use trtnet.stack, or x.reshape(1)",
    lambda x: trtnet.cat([x.sum(), x.sum()]),
    lambda x: trtnet.cat([x.sum().reshape(1), x.sum().reshape(1)]),
)
recorded("multiply by a number with *", lambda x: trtnet.matmul(x, x.sum()), lambda x: x * x.sum())
recorded(
    "use matmul, which takes any number of them", lambda x: trtnet.mm(x, x), lambda x: trtnet.matmul(x, x), (2, 3, 3)
)
recorded("x.transpose(-2, -1)", lambda x: x.t(), lambda x: x.transpose(-2, -1), (2, 3, 4))
recorded("x.flip(dim) reverses a dimension", lambda x: x[::-1], lambda x: x.flip(0))
recorded("einsum('ij,jk->ik', a, b)", lambda x: trtnet.einsum(x, x), lambda x: trtnet.einsum("ij,kj->ik", x, x))
recorded("one_hot(x, num_classes=10)", lambda x: F.one_hot(x), lambda x: F.one_hot(x, num_classes=10), INTS)
recorded(
    "give the padding as numbers",
    lambda x: F.conv2d(x, trtnet.ones(1, 3, 3, 3), stride=2, padding="same"),
    lambda x: F.conv2d(x, trtnet.ones(1, 3, 3, 3), stride=2, padding=1),
    FOUR,
)
row("choose groups that divide both", lambda: nn.Conv2d(3, 4, 1, groups=2), lambda: nn.Conv2d(4, 4, 1, groups=2))
recorded("nn.PReLU(num_parameters) takes 1 or the number of channels", nn.PReLU(2), nn.PReLU(3), FOUR)
recorded(
    "use trtnet.where(mask, a, b)",
    lambda x: x[x.sum() > 0, 0],
    lambda x: trtnet.where(x.sum() > 0, x[0], 0.0),
)
recorded(
    "slice it (x[:, :n]), or say what it is a multiple of",
    lambda x: x.chunk(2),
    lambda x: x.chunk(2),
    (DYNAMIC,),
    other=[(Dim("n", min=2, max=8, multiple_of=2),)],
)
recorded(
    ", use output_size 1, or fix the size",
    lambda x: F.adaptive_avg_pool1d(x, 2),
    lambda x: F.adaptive_avg_pool1d(x, 2),
    (1, 3, DYNAMIC),
    other=[(1, 3, Dim("n", min=2, max=8, multiple_of=2))],
)

# --- what is for training, or not in TensorRT
recorded("training=False gives their mean", lambda x: F.rrelu(x, training=True), lambda x: F.rrelu(x, training=False))
recorded(
    "(x, p, training=self.training), which is False while recording",
    lambda x: F.dropout(x, 0.5, training=True),
    lambda x: F.dropout(x, 0.5, training=False),
)
recorded(
    "pass training=self.training, which is False",
    lambda x: F.batch_norm(x, trtnet.zeros(3), trtnet.ones(3), training=True),
    lambda x: F.batch_norm(x, trtnet.zeros(3), trtnet.ones(3), training=False),
)
recorded("leave targets out when recording", lambda x: F.mse_loss(x, x), lambda x: F.relu(x))
recorded(
    "leave return_indices out",
    lambda x: F.max_pool2d(x, 2, return_indices=True),
    lambda x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2),
    FOUR,
)
row(
    "use Embedding, and sum or average its output",
    lambda: nn.EmbeddingBag(5, 3),
    lambda: record(lambda x: nn.Embedding(5, 3)(x).sum(1), INTS),
)


def steps(unroll):
    module = nn.GRU(3, 4, batch_first=True)
    module.unroll = unroll
    return trtnet.record(module, input=Input((2, DYNAMIC, 3)))


def packed(use):
    def call(x):
        rnn = nn.utils.rnn
        return use(rnn, rnn.pack_padded_sequence(x, [3, 2], batch_first=True))

    return record(call, (2, 3, 3))


def gru():
    return nn.GRU(3, 4, batch_first=True)


row(
    "take pad_packed_sequence(packed), which gives them and their lengths",
    lambda: packed(lambda rnn, one: one.data),
    lambda: packed(lambda rnn, one: rnn.pad_packed_sequence(one)),
)
row(
    "pad the batch before it is packed",
    lambda: packed(lambda rnn, one: rnn.pad_packed_sequence(one, total_length=5)),
    lambda: record(lambda x: nn.utils.rnn.pack_padded_sequence(F.pad(x, (0, 0, 0, 2)), [3, 2], True).padded, (2, 3, 3)),
)
row(
    "give the padded batch and its lengths, or what pack_padded_sequence made of them",
    lambda: packed(lambda rnn, one: gru()(one, lengths=one.lengths)),
    lambda: packed(lambda rnn, one: (gru()(one)[1], gru()(one.padded, lengths=one.lengths)[1])),
)
row("leave unroll None: the steps are then a loop", lambda: steps(True), lambda: steps(None))
recorded("y.int()", lambda x: F.trapezoid(x > 0), lambda x: F.trapezoid((x > 0).int()))


def shifted(copy):
    x = trtnet.arange(5.0)
    x[1:] = copy(x[:-1])
    return x.tolist()


row(
    "copy the value first: x[1:] = x[:-1].clone()",
    lambda: shifted(lambda part: part),
    lambda: shifted(lambda part: part.clone()) == [0, 0, 1, 2, 3],
)
row(
    "LocalResponseNorm(size, alpha, beta, k)",
    lambda: nn.CrossMapLRN2d(3),
    lambda: record(nn.LocalResponseNorm(3), FOUR),
)
row(
    "resize with Upsample or trtnet.functional.interpolate",
    lambda: nn.MaxUnpool2d(2),
    lambda: record(nn.Upsample(scale_factor=2), FOUR),
)
row(
    "write it in forward", lambda: nn.ReLU().register_forward_hook(print), lambda: record(lambda x: F.relu(x) * 2, (2,))
)
row(
    "call its modules: for module in self.blocks",
    lambda: record(lambda x: nn.ModuleList([nn.ReLU()])(x), (2,)),
    lambda: record(lambda x: [x := one(x) for one in nn.ModuleList([nn.ReLU()])][-1], (2,)),
)
row(
    "call one of its modules: self.heads[name](x)",
    lambda: record(lambda x: nn.ModuleDict({"a": nn.ReLU()})(x), (2,)),
    lambda: record(lambda x: nn.ModuleDict({"a": nn.ReLU()})["a"](x), (2,)),
)
recorded(
    "take the diagonal first",
    lambda x: trtnet.einsum("ii,ij->ij", x, x),
    lambda x: trtnet.einsum("i,ij->ij", x.diagonal(), x),
    (3, 3),
)


# --- weights
row(
    "strip the keys' prefix: prefix=",
    lambda: linear().load_state_dict(wrapped(linear(), "learner.net.")),
    lambda: linear().load_state_dict(wrapped(linear(), "learner.net."), prefix="learner.net."),
)
row(
    "strict=False takes what fits by name",
    lambda: linear().load_state_dict(values(linear()) | {"x": ONES}),
    lambda: linear().load_state_dict(values(linear()) | {"x": ONES}, strict=False),
)
row(
    "what only has another name here: rename=",
    lambda: linear().load_state_dict(kernel()),
    lambda: linear().load_state_dict(kernel(), rename={"inner.kernel": "inner.weight"}),
)
row(
    "give numpy.ascontiguousarray(matrix.T)",
    lambda: nn.Linear(3, 4, bias=False).load_state_dict({"weight": np.ones((3, 4), np.float32)}),
    lambda: nn.Linear(3, 4, bias=False).load_state_dict(
        {"weight": np.ascontiguousarray(np.ones((3, 4), np.float32).T)}
    ),
)
row(
    "make the module with the sizes that were found",
    lambda: nn.Linear(3, 4).load_state_dict(values(nn.Linear(3, 5))),
    lambda: nn.Linear(3, 5).load_state_dict(values(nn.Linear(3, 5))),
)
row(
    "leave the other names out: a refit takes keys",
    lambda: engine().refit({"other": ONES}),
    lambda: engine().refit({"inner.bias": np.ones(4, np.float32)}),
)
row(
    "a refit changes values, not sizes",
    lambda: engine().refit(values(One(nn.Linear(3, 5)))),
    lambda: engine(One(nn.Linear(3, 5))).refit(values(One(nn.Linear(3, 5)))),
)
row("tied names are one parameter", lambda: tied(2.0), lambda: tied(1.0))
row(
    "convert it: array.astype(numpy.",
    lambda: linear().load_state_dict({"inner.bias": np.ones(4, int)}, strict=False),
    lambda: linear().load_state_dict({"inner.bias": np.ones(4, int).astype(np.float32)}, strict=False),
)
row(
    "numpy.ascontiguousarray(array)",
    lambda: linear().load_state_dict({"inner.bias": np.ones(8, np.float32)[::2]}, strict=False),
    lambda: linear().load_state_dict({"inner.bias": np.ascontiguousarray(np.ones(8, np.float32)[::2])}, strict=False),
)
row(
    "find out where they come from, or refit(..., finite=None)",
    lambda: engine().refit({"inner.bias": np.full(4, np.nan, np.float32)}, finite="raise"),
    lambda: engine().refit({"inner.bias": np.full(4, np.nan, np.float32)}, finite=None),
)
row(
    "refit(state_dict, version=step)",
    lambda: engine().refit({"inner.bias": np.ones(4, np.float32)}, version="17"),
    lambda: engine().refit({"inner.bias": np.ones(4, np.float32)}, version=17),
)


def tied(second):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    state = values(net) | {"0.weight": np.ones((3, 3), np.float32)}
    net.load_state_dict(state | {"1.weight": np.full((3, 3), second, np.float32)})


# --- engines
row("engine(", lambda: engine()(image=ONES), lambda: engine()(x=ONES))
row("array.astype(numpy.", lambda: engine()(x=ONES.astype(np.float64)), lambda: engine()(x=ONES.astype(np.float32)))
row(
    "numpy.asarray(value, numpy.",
    lambda: engine()(x=[[1, 2, 3]]),
    lambda: engine(shape=(1, 3))(x=np.asarray([[1, 2, 3]], np.float32)),
)
row(
    "fill it: array.filled(0.0)",
    lambda: engine()(x=np.ma.masked_less(ONES, 2)),
    lambda: engine()(x=np.ma.masked_less(ONES, 2).filled(0.0)),
)
row("array[None] adds a dimension", lambda: engine()(x=ONES[0]), lambda: engine(shape=(1, 3))(x=ONES[0][None]))
row(
    "give that size, or record with a Dim",
    lambda: engine()(x=ONES[:1]),
    lambda: engine(shape=(Dim("size", min=1, max=2), 3))(x=ONES[:1]),
)
row(
    "record with a wider Dim(",
    lambda: engine(shape=(DYNAMIC, 3))(x=ONES[:1]),
    lambda: engine(shape=(Dim("n", min=1, max=9), 3))(x=ONES[:1]),
)
row(
    "one Dim is one size in all inputs",
    lambda: two_inputs(DYNAMIC, DYNAMIC)(x=ONES, y=np.ones((3, 3), np.float32)),
    lambda: two_inputs(DYNAMIC, Dim("m", min=1, max=9))(x=ONES, y=np.ones((3, 3), np.float32)),
)
row(
    "use sizes for which both are equal",
    lambda: halves()(x=np.ones((3, 2), np.float32)),
    lambda: halves()(x=np.ones((4, 2), np.float32)),
)
row("engine.save(path), and trtnet.load(path) in the other process", lambda: pickle.dumps(engine()), lambda: saved())
row("build(graph, refit=True), or refit=[patterns]", lambda: fixed(["inner.weight"]), lambda: fixed(True))
row("'*' matches any part of them", lambda: fixed(["nothing"]), lambda: fixed(["*.bias"]))


def two_inputs(a, b):
    return trtnet.reference(record(lambda x, y: (x + 1, y + 1), (a, 3), (b, 3)))


def halves():
    size = Dim("n", min=2, opt=4, max=8)
    return trtnet.reference(record(lambda x: x[: x.shape[0] // 2] + x[x.shape[0] // 2 :], (size, 2)))


def fixed(refit):
    made = trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="reference", refit=refit)
    made.refit({"inner.bias": np.ones(4, np.float32)})


def shown(debug_tensors, path):
    graph = trtnet.record(linear(), x=Input((2, 3)))
    trtnet.build(graph, provider="reference", debug_tensors=debug_tensors).set_debug_listener(print, path)


def saved(**options):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        engine().save(f"{folder}/a.engine")
        return trtnet.load(f"{folder}/a.engine", provider="reference", **options)(x=ONES).shape == (2, 4)


row("leave groups out where all take part", lambda: collective(groups=(0, 0)), lambda: collective())
row("num_ranks=1 leaves the tensor as it is", lambda: exchanged(2), lambda: exchanged(1))
recorded(
    "condition.all() is one bool, condition.flatten() one dimension",
    lambda x: asserted(x, x > 0),
    lambda x: asserted(x, (x > 0).flatten()),
)
recorded(
    "condition.all(), or condition.any()",
    lambda x: trtnet._assert(x > 0, "") or x,
    lambda x: trtnet._assert((x > 0).all(), "") or x,
)
row(
    "have it as an output, trtnet.mark(condition, 'holds'), and look at it after the call",
    lambda: lower_onto_one(lambda x: asserted(x, (x > 0).all())),
    lambda: lower_onto_one(lambda x: x + trtnet.mark((x > 0).all(), "holds").float()),
)


def collective(ranks=2, **given):
    def exchange(x):
        return trtnet.layers.add_dist_collective(x, operation="ALL_REDUCE", reduce_op="SUM", num_ranks=ranks, **given)

    return record(exchange, (2, 3))


def exchanged(ranks):
    return trtnet.reference(collective(ranks))(x=ONES).shape == (2, 3)


def asserted(x, condition):
    trtnet.layers.add_assertion(condition)
    return x.relu()


def lower_onto_one(forward):
    return record(forward, (2, 3)).lower(new_network())


# --- builds: TensorRT-RTX compiles without a GPU
def cached(**options):
    with tempfile.TemporaryDirectory() as folder:
        return plan(cache=folder, **options)


def plan(inner=None, shape=FOUR, target="sm86", **options):
    needs_rtx()
    net = One(inner or nn.Conv2d(3, 4, 3))
    return trtnet.build_plan(trtnet.record(net, x=Input(shape)), target, **options)


row("a network computes in the types of its module", lambda: plan(fp16=True), lambda: plan_in_half())
row(
    "what is quantized is written in the network",
    lambda: plan(int8=True),
    lambda: plan(fake_quantized(lambda x: F.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127))),
)


def fake_quantized(function):
    module = nn.ReLU()
    module.forward = function
    return module


# --- quantized tensors
def few_bits(x, scale=0.1, **options):
    return trtnet.layers.add_dequantize(trtnet.layers.add_quantize(x, scale, **options), scale)


def for_old(dtype):
    from conformity import provider_of

    record(lambda x: few_bits(x, to_type=dtype), (2, 3)).for_provider(provider_of("8.6.1"))


def of_four_bits(refit, dtype):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones((3, 4), trtnet.dtypes.get(dtype).numpy), requires_grad=False)

        def forward(self, x):
            weight = self.weight
            return x @ (few_bits(weight) if dtype == "float32" else trtnet.layers.add_dequantize(weight, 0.1))

    trtnet.build(record(Net(), (2, 3)), provider="reference", refit=refit)


def by_blocks(x, **options):
    options = {"axis": -1, "block_size": 32, "to_type": "float8_e4m3fn", "scale_type": "float8_e8m0fnu"} | options
    return trtnet.layers.add_dequantize(*trtnet.layers.add_dynamic_quantize(x, **options))


def for_one_without(function):
    from conformity import provider_of

    record(function, (2, 64)).for_provider(provider_of("8.6.1"))


FEW = trtnet.tensor([0.1, 0.2, 0.3])
recorded(
    "scale_type=trtnet.float8_e8m0fnu, block_size=32 is MXFP8",
    lambda x: by_blocks(x, to_type="int8"),
    by_blocks,
    (2, 64),
)
recorded(
    "pad it first: trtnet.functional.pad(x, (0, missing))",
    by_blocks,
    lambda x: by_blocks(F.pad(x, (0, 1))),
    (2, 63),
)
recorded("axis=-1, block_size=32 are blocks", lambda x: trtnet.layers.add_dynamic_quantize(x), by_blocks, (2, 64))
row(
    "quantize to int8 by a scale that is known",
    lambda: for_one_without(by_blocks),
    lambda: for_one_without(few_bits),
)
recorded(
    "dequantize it first (trtnet.layers.add_dequantize(x, scale)), or cast",
    lambda x: trtnet.layers.add_quantize(trtnet.layers.add_quantize(x, 0.1), 0.1),
    lambda x: trtnet.layers.add_quantize(few_bits(x), 0.1),
)
recorded(
    "leave to_type out: it is int8 then",
    lambda x: trtnet.layers.add_quantize(x, 0.1, to_type="int32"),
    lambda x: trtnet.layers.add_quantize(x, 0.1),
)
recorded(
    "leave to_type out: it is float32 then",
    lambda x: trtnet.layers.add_dequantize(trtnet.layers.add_quantize(x, 0.1), 0.1, to_type="int32"),
    few_bits,
)
recorded(
    "quantize it first: trtnet.layers.add_quantize(x, scale)",
    lambda x: trtnet.layers.add_dequantize(x, 0.1),
    few_bits,
)
recorded("give it one first: x.reshape(1)", few_bits, lambda x: few_bits(x.reshape(1)), ())
recorded(
    "convert it: scale.float()",
    lambda x, scale: few_bits(x, scale),
    lambda x, scale: few_bits(x, scale.float()),
    (2, 3),
    Input((), "float16"),
)
recorded(
    "of values of a range it is the largest absolute one / 127",
    lambda x: few_bits(x, 0.0),
    lambda x: few_bits(x, 5.0 / 127),
)
recorded(
    "indices count from the start of the dimension, and there are no more than it has elements",
    lambda x: trtnet.layers.add_gather(x, np.array([0, 3]), axis=1),
    lambda x: trtnet.layers.add_gather(x, np.array([0, 2]), axis=1),
)
row(
    "give a number of classes (num_classes, depth) of the largest class + 1, or more",
    lambda: F.one_hot(trtnet.tensor([0, 3]), 3),
    lambda: F.one_hot(trtnet.tensor([0, 3]), 4),
)
row(
    "give the smaller one first: quant_min=-128, quant_max=127",
    lambda: F.fake_quantize_per_tensor_affine(trtnet.ones(2, 3), 0.1, 0, 127, -128),
    lambda: F.fake_quantize_per_tensor_affine(trtnet.ones(2, 3), 0.1, 0, -128, 127),
)
recorded(
    "give one for each scale, or one number",
    lambda x: F.fake_quantize_per_channel_affine(x, FEW, [0, 0], 1, -128, 127),
    lambda x: F.fake_quantize_per_channel_affine(x, FEW, [0, 0, 0], 1, -128, 127),
)
recorded(
    "give them in TensorRT's order; help(trtnet.layers.",
    lambda x: layers.add_matrix_multiply(x),
    lambda x: layers.add_matrix_multiply(x, x.T),
)
recorded(
    "axes=(1, 1), for example",
    lambda x: layers.add_reduce(x, op="SUM", axes=1),
    lambda x: layers.add_reduce(x, op="SUM", axes=(1,)),
)
recorded(
    "stride=(1, 1), for example",
    lambda x: layers.add_pooling_nd(x, **WINDOW, stride=(1,)),
    lambda x: layers.add_pooling_nd(x, **WINDOW, stride=(1, 1)),
    FOUR,
)
recorded(
    "one term for each operand, as in 'ij,jk->ik'",
    lambda x: layers.add_einsum(x, equation="ij,jk->ik"),
    lambda x: layers.add_einsum(x, x.T, equation="ij,jk->ik"),
)
recorded(
    "k=1, axes=(1,), for example",
    lambda x: layers.add_topk(x, op="MAX", k=1, axes=(0, 1)),
    lambda x: layers.add_topk(x, op="MAX", k=1, axes=(1,)),
)
recorded(
    "convert them: position_ids.long()",
    lambda x: F.rotary_embedding(x, x[0], x[0], x[0, :1], num_heads=1),
    lambda x: F.rotary_embedding(x, x[0, :, :2], x[0, :, :2], x[0, :1].long(), num_heads=1),
    (1, 4, 4),
)
recorded(
    "scan(body, init, None, length=8) iterates over nothing",
    lambda x: trtnet.scan(lambda carry, part: (carry * 2, None), x, 8)[0],
    lambda x: trtnet.scan(lambda carry, part: (carry * 2, None), x, None, length=8)[0],
)
recorded(
    "record with a number in place of the Dim",
    lambda x: trtnet.layers.add_dynamic_quantize(x, axis=1, block_size=32, **MXFP8),
    lambda x: trtnet.layers.add_dynamic_quantize(x, axis=1, block_size=32, **MXFP8),
    (2, Dim("m", 32, 32, 64)),
    other=((2, 32),),
)
recorded(
    "dequantize it first: x.dequantize(), or trtnet.layers.add_dequantize(x, scale)",
    lambda x: F.softmax(trtnet.layers.add_quantize(x, 0.5, to_type="float8_e4m3fn"), 1),
    lambda x: F.softmax(trtnet.layers.add_quantize(x, 0.5, to_type="float8_e4m3fn").dequantize(), 1),
)
recorded(
    "quantize it: trtnet.layers.add_quantize(x, scale, to_type=trtnet.",
    lambda x: trtnet.layers.add_cast(x, to_type="float8_e4m3fn"),
    lambda x: trtnet.layers.add_quantize(x, 0.5, to_type=trtnet.float8_e4m3fn),
)
recorded(
    "record with a Dim of a smaller max, or with a larger table",
    lambda x: x + F.embedding(trtnet.arange(x.shape[0]), np.ones((8, 1), np.float32)),
    lambda x: x + F.embedding(trtnet.arange(x.shape[0]), np.ones((8, 1), np.float32)),
    (Dim("m", 1, 4, 9), 1),
    other=((Dim("m", 1, 4, 8), 1),),
)
recorded(
    "name SDPBackend.MATH too: sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])",
    lambda x: narrow_values(x, [nn.attention.SDPBackend.FLASH_ATTENTION]),
    lambda x: narrow_values(x, [nn.attention.SDPBackend.FLASH_ATTENTION, nn.attention.SDPBackend.MATH]),
)
recorded(
    "leave block_shape out",
    lambda x: trtnet.layers.add_quantize(x, np.ones((1, 3), np.float32), block_shape=(1, 1)),
    lambda x: trtnet.layers.add_quantize(x, np.ones((1, 3), np.float32)),
)
recorded(
    "one scale for all is a number; for each channel give axis=",
    lambda x: few_bits(x, FEW),
    lambda x: trtnet.layers.add_quantize(x, FEW, axis=1),
)
row("quantize to int8 (to_type=trtnet.int8)", lambda: for_old("float8_e4m3fn"), lambda: for_old("int8"))
recorded(
    "quantize and dequantize in the network",
    lambda x: trtnet.layers.add_quantize(x, 0.1, to_type="int4"),
    lambda x: trtnet.layers.add_dequantize(trtnet.layers.add_quantize(x, 0.1, to_type="int4"), 0.1),
)
row(
    "keep it as floats, which the network",
    lambda: of_four_bits("weight", "int4"),
    lambda: of_four_bits("weight", "float32"),
)
recorded(
    "use quant_min=-128, quant_max=127",
    lambda x: F.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255),
    lambda x: (F.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127), (x / 0.1).round().clamp(0, 255) * 0.1),
)
recorded(
    "one for each channel: fake_quantize_per_channel_affine",
    lambda x: F.fake_quantize_per_tensor_affine(x, FEW, 0, -128, 127),
    lambda x: F.fake_quantize_per_channel_affine(x, FEW, trtnet.tensor([0, 0, 0]), 1, -128, 127),
)
recorded(
    "one for all: fake_quantize_per_tensor_affine",
    lambda x: F.fake_quantize_per_channel_affine(x, trtnet.tensor(0.1), 0, 1, -128, 127),
    lambda x: F.fake_quantize_per_tensor_affine(x, trtnet.tensor(0.1), 0, -128, 127),
)
recorded(
    "quantize to int8, without a zero point",
    lambda x: trtnet.quantize_per_tensor(x, 0.1, 0, "quint8"),
    lambda x: trtnet.quantize_per_tensor(x, 0.1, 0, trtnet.int8),
)
recorded(
    "use 0, and a scale of the largest absolute value / 127",
    lambda x: trtnet.quantize_per_tensor(x, 0.1, 3, trtnet.int8),
    lambda x: trtnet.quantize_per_tensor(x, 0.1, 0, trtnet.int8),
)
recorded(
    "say the scale: trtnet.layers.add_dequantize(x, scale)",
    lambda x: F.relu(trtnet.layers.add_quantize(x, 0.1)).dequantize(),
    lambda x: trtnet.layers.add_dequantize(F.relu(trtnet.layers.add_quantize(x, 0.1)), 0.1),
)
row("workspace=1 << 30 is 1 GiB; leave it out", lambda: plan(workspace=0), lambda: plan(workspace=1 << 30))
row("0 builds fastest, 5 searches longest", lambda: plan(optimization_level=9), lambda: plan(optimization_level=0))
row("give a larger workspace= (it is", lambda: plan(workspace=1), lambda: plan(workspace=1 << 28))
row(
    "leave io_formats out, or give these tensors a type",
    lambda: plan(io_formats={"x": "hwc8"}),
    lambda: plan(io_formats={"x": "hwc"}),
)
row("leave version_compatible out", lambda: plan(version_compatible=True), lambda: plan())
row("leave the option out", lambda: plan(memory_pools={"dla_managed_sram": 1 << 20}), lambda: plan())
row("leave tactic_sources out", lambda: plan(tactic_sources=["cublas"]), lambda: plan())
row(
    "graph.inputs and graph.outputs have the names",
    lambda: plan(io_formats={"y": "linear"}),
    lambda: plan(io_formats={"x": "linear"}),
)
row("targets are compute capabilities", lambda: plan(target="rtx3090"), lambda: plan(target="sm86"))
row(
    "one plan for each: build_plan(graph",
    lambda: plan(target=["sm86", "sm89"], refit=True),
    lambda: plan(target=["sm86"], refit=True),
)
row(
    "leave it out to use what is installed",
    lambda: trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="tensor"),
    lambda: trtnet.build(trtnet.record(linear(), x=Input((2, 3)))),
)


def plan_in_half():
    needs_rtx()
    net = One(nn.Conv2d(3, 4, 3)).half()
    return trtnet.build_plan(trtnet.record(net, x=Input(FOUR, "float16")), "sm86")


# --- bound calls, live weights, snapshots: the reference engine has them too
def bound(change):
    import torch

    made, x = engine(), torch.ones(2, 3)
    call = made.bind(x=x)
    change(x)
    call()


row("tensor.to('", lambda: engine().bind(x=ONES), lambda: bound(lambda x: x.copy_(x * 2)))
row(
    "write to it in place (buffer.copy_(new)), or bind again",
    lambda: bound(lambda x: x.resize_(3, 3)),
    lambda: bound(lambda x: x.copy_(x * 2)),
)
row("call the engine itself", lambda: data_decides().bind(x=torch_ones()), lambda: data_decides()(x=ONES))
row(
    "build(graph, live=True), or live='policy.*'",
    lambda: engine().bind_weights(torch_linear()),
    lambda: live().bind_weights(torch_linear()),
)
row(
    "call this HotSwap itself",
    lambda: trtnet.HotSwap(trtnet.HotSwap(engine())),
    lambda: trtnet.HotSwap(engine())(np.zeros((2, 3), np.float32)).shape == (2, 4),
)
row(
    "give the module itself, module.state_dict(), or the path of its weights file",
    lambda: live().bind_weights(1),
    lambda: live().bind_weights(torch_linear()),
)
row(
    "put a copy there that does not contain itself",
    lambda: linear().load_state_dict(around(values(linear()))),
    lambda: linear().load_state_dict(values(linear()) | {"beside": {}}),
)
row(
    "engine.restore(snapshot) brings a snapshot back",
    lambda: engine().refit(engine().snapshot()),
    lambda: (one := engine()).restore(one.snapshot()),
)
row(
    "engine.parameters() gives weights by name",
    lambda: linear().load_state_dict(engine().snapshot()),
    lambda: linear().load_state_dict(engine().parameters()),
)
row(
    "give pairs, as of module.named_parameters() and state_dict.items()",
    lambda: engine().refit([1]),
    lambda: engine().refit(values(linear()).items()),
)
row(
    "prefix= selects the keys that begin with it, and strips it: give one that there is",
    lambda: engine().refit(values(linear()), prefix="actor."),
    lambda: engine().refit(wrapped(linear(), "actor."), prefix="actor."),
)
row(
    "rename={'pi.': 'actor.'}, or rename=lambda name",
    lambda: engine().refit(values(linear()), rename="actor."),
    lambda: engine().refit(wrapped(linear(), "pi."), rename={"pi.": ""}),
)
row(
    "have the function return the name as it is where it needs no other",
    lambda: engine().refit(values(linear()), rename=lambda name: 3),
    lambda: engine().refit(values(linear()), rename=lambda name: name),
)
row(
    "name what is given, behind the prefix; a name that ends in '.' stands for all that begin with it",
    lambda: engine().refit(values(linear()), rename={"outer": "inner"}),
    lambda: engine().refit(wrapped(linear(), "outer."), rename={"outer.": ""}),
)
row(
    "give patterns over the names behind prefix and rename",
    lambda: engine().refit(values(linear()), select="head.*"),
    lambda: engine().refit(values(linear()) | {"x": ONES}, select="inner.*"),
)
row(
    "prefix= and select= take a part of what is given",
    lambda: engine().refit(values(linear()) | wrapped(linear(), "module.")),
    lambda: engine().refit(values(linear()) | wrapped(linear(), "module."), prefix="module."),
)
row(
    "take the part that is meant: prefix=",
    lambda: engine().refit(wrapped(linear(), "actor.") | {"critic.x": ONES}),
    lambda: engine().refit(wrapped(linear(), "actor.") | {"critic.x": ONES}, prefix="actor."),
)
row("--warmUp=200", lambda: trtexec("--warmUp=fast"), lambda: trtexec("--warmUp=200"))
row("--memPoolSize=workspace:1024M", lambda: trtexec("--memPoolSize=64"), lambda: trtexec("--memPoolSize=workspace:64"))
row("trtnet trtexec models/lenet.py:LeNet --shapes=image:1x1x28x28", lambda: trtexec(model=()), lambda: trtexec())
row(
    "--exportTimes=times.json --exportProfile=profile.json",
    lambda: trtexec("--exportTimes=a.json", "--exportProfile=./a.json"),
    lambda: trtexec("--exportTimes=times.json", "--exportProfile=profile.json"),
)
row(
    "--saveEngine=FILE.engine, or leave --skipInference out",
    lambda: trtexec("--skipInference"),
    lambda: trtexec("--skipInference", "--saveEngine=a.engine"),
)
row(
    "--minShapes, --optShapes and --maxShapes of the same rank",
    lambda: trtexec("--minShapes=x:1x3", "--optShapes=x:2x3x4"),
    lambda: trtexec("--minShapes=x:1x3x4", "--optShapes=x:2x3x4"),
)
row(
    "--minShapes, --optShapes and --maxShapes, all three",
    lambda: trtexec("--minShapes=x:1x3", "--maxShapes=x:8x3"),
    lambda: trtexec("--minShapes=x:1x3", "--optShapes=x:2x3", "--maxShapes=x:8x3"),
)
row(
    "leave --shapes out, and give --optShapes the sizes that are to be timed",
    lambda: trtexec("--optShapes=x:2x3", "--maxShapes=x:8x9", "--shapes=x:2x9"),
    lambda: trtexec("--optShapes=x:2x9", "--maxShapes=x:8x9"),
)
row("=image:1x3x224x224", lambda: trtexec("--shapes=1x3"), lambda: trtexec("--shapes=image:1x3x224x224"))
row("--batch 1,8,64", lambda: benched(batch="one"), lambda: benched(batch="1,8"))
row("--against eager,compile", lambda: benched(against="jax"), lambda: benched(against="reference"))
row("name it ", lambda: benched(json="found.txt"), lambda: benched(json="found.json"))
row("--by module", lambda: profiled(by="kind"), lambda: profiled(by="module"))
row("leave --depth out", lambda: profiled(by="line", depth=1), lambda: profiled(by="line"))
row(
    "name them apart",
    lambda: profiled(flame=Path("a.json"), trace=Path("a.json")),
    lambda: profiled(flame=Path("a.json"), trace=Path("b.json")),
)
row("leave --batch out", lambda: benched(sizes=(), batch="2"), lambda: benched(sizes=()))
row(
    "leave --batch out, or build it with a dynamic one",
    lambda: benched(file=(2, 3), batch="3"),
    lambda: benched(file=(Dim("batch", 1, 2, 8), 3), batch="3"),
)
row(
    "leave --batch out, or give a shape in the place of the array",
    lambda: benched(batch="5", x=ONES),
    lambda: (benched(x=ONES), benched(batch="5")),
)
row(
    "leave these out, or name the network that it was built from",
    lambda: benched(file=(2, 3), half=False, refused=["--half"]),
    lambda: benched(file=(2, 3)),
)
row("; or record it with a wider range", lambda: benched((DYNAMIC, 3), "1"), lambda: benched((DYNAMIC, 3), "2,9"))
row("leave --graph out", lambda: benched(graph=True), lambda: benched())
row("leave --streams out", lambda: benched(streams=2), lambda: benched())
row("leave --refit out", lambda: benched(refit=True), lambda: benched())
row(
    "let the function take float16: --input x=1x3:float16", lambda: benched(half=True), lambda: benched(dtype="float16")
)
row("--target sm86 is 8.6, an RTX 30", lambda: checked("86"), lambda: checked("sm86"))
row("cast to a type that this GPU has, or name another", lambda: checked("sm75"), lambda: checked("sm80"))
row("put these weights into that update, or wait until", lambda: updated(twice=True), lambda: updated())
row(
    "put each weight once; engine.update() begins anew",
    lambda: updated(ONES[0, :1] + np.zeros(4, np.float32), np.zeros(4, np.float32)),
    lambda: updated(np.zeros(4, np.float32)),
)
row(
    "put these too; without complete=True, what is not put keeps its value",
    lambda: updated(np.zeros(4, np.float32), complete=True),
    lambda: updated(np.zeros(4, np.float32)),
)
row(
    "put what the engine has under that prefix, or give another one",
    lambda: updated(np.zeros(4, np.float32), prefix="actor."),
    lambda: updated(np.zeros(4, np.float32), prefix="inner.", rename=lambda name: "inner." + name),
)
row(
    "with engine.update() as update: update.put(name, value)",
    lambda: engine().update().put("inner.bias", np.zeros(4, np.float32)),
    lambda: updated(np.zeros(4, np.float32)),
)
row(
    "build(graph, refit=True) and engine.refit(module); or torch.nn.utils.parametrize.remove",
    lambda: live().bind_weights(normed()),
    lambda: engine().refit(normed()),
)
row(
    "give all of them, under the keys of graph.state_dict()",
    lambda: live().bind_weights({}),
    lambda: live().bind_weights(torch_linear()),
)
row(
    "refit takes arrays: engine.refit(state_dict) copies them",
    lambda: live().bind_weights(values(linear())),
    lambda: live().refit(values(linear())),
)
row(
    "an engine reads live weights where they lie",
    lambda: live().bind_weights(torch_linear(True)),
    lambda: live().bind_weights(torch_linear()),
)
row("write to those tensors, which the engine reads", lambda: bound_live(False), lambda: bound_live(True))


def adapted(A=(2, 3), B=(4, 2), name="inner.weight", **options):
    first, second = ({name: np.ones(shape, np.float32)} for shape in (A, B))
    return trtnet.lora(values(linear()), first, second, **options)


def of_peft(*names):
    shapes = {"lora_A": (2, 3), "lora_B": (4, 2)}
    found = {name: np.ones(shapes.get(name.split(".")[3], (4,)), np.float32) for name in names}
    return trtnet.lora(values(linear()), found)


A, B = "base_model.model.inner.lora_A.{}weight", "base_model.model.inner.lora_B.{}weight"
row("lora(base, A, B, scale=alpha / r)", lambda: adapted(scale="2"), lambda: adapted(scale=16 / 8))
row(
    "lora(base, A, B), by the same names; or lora(base, adapter), with PEFT's",
    lambda: of_peft(A.format("")),
    lambda: of_peft(A.format(""), B.format("")),
)
row(
    "give those of one adapter",
    lambda: of_peft(A.format("one."), B.format("one."), A.format("two.")),
    lambda: of_peft(A.format("one."), B.format("one.")),
)
row("give the base that the adapter was trained on", lambda: adapted(name="outer.weight"), adapted)
row("matrices of (in, out) take fan_in_fan_out=True", lambda: adapted((2, 4), (3, 2)),
    lambda: adapted((2, 4), (3, 2), fan_in_fan_out=True))  # fmt: skip


def torch_ones():
    import torch

    return torch.ones(2, 3)


def torch_linear(half=False):
    import torch

    net = torch.nn.Module()
    net.inner = torch.nn.Linear(3, 4)
    return net.half() if half else net


def benched(
    sizes=(2, 3),
    batch=None,
    against="",
    json=None,
    graph=False,
    refit=False,
    streams=1,
    half=False,
    dtype="float32",
    file=(),
    refused=(),
    **arrays,
):
    """What `trtnet bench` does of x * 2, for no time."""
    from trtnet.cli import benching, model, results
    from trtnet.cli import cases as sized

    if json is not None:
        results.check_json(Path(json))
    ways = benching.parse_against([against] if against else [])
    asked = benching.Asked(ways, 0.0, 0.0, 1, graph, refit=refit, streams=streams)
    batches = sized.parse_batches(batch)
    given = {"x": Input(file or sizes, dtype)}
    if half:
        model.halved(lambda x: x * 2, given, {})
    with tempfile.TemporaryDirectory() as folder:
        if file:
            path = Path(folder) / "net.engine"
            trtnet.build(record(lambda x: x * 2, **given), provider="reference").save(path)
            cases = list(sized.of_file(path, arrays, batches, refused))
        else:
            cases = list(sized.of_network(lambda x: x * 2, given, arrays, batches, provider="reference", refit=refit))
    for case in cases:
        list(benching.timed(case, asked))


def profiled(by="module", depth=None, **files):
    """What `trtnet profile` is asked for."""
    from trtnet.cli import profiling

    profiling.Asked(by, depth, 1, profiling.Files(**files)).check()


def trtexec(*flags, model=("models/lenet",)):
    from trtnet.cli.trtexec import translated

    return translated([*model, *flags])


def told(*texts):
    from trtnet.cli.inputs import parse_options

    return parse_options(texts)


def checked(target):
    from trtnet.cli.conforming import verdict

    found = verdict(record(lambda x: x.to("bfloat16") * 2, x=Input((2, 4))), "tensorrt==10.13", target)
    if not found.taken:
        raise TrtnetError(found.problem, remedy=found.remedy)


def updated(*biases, twice=False, **options):
    made = engine()
    with made.update(**options) as update:
        for bias in biases:
            update.put("inner.bias", bias)
        if twice:
            made.refit(values(linear()))


def live():
    return trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="reference", live=True)


def bound_live(follow):
    import torch

    made, learner = live(), torch_linear()
    made.bind_weights(learner)
    if not follow:
        made.refit(values(linear()))
    with torch.no_grad():
        learner.inner.bias.copy_(torch.ones(4))
    return np.allclose(made(x=ONES * 0), 1)


def data_decides():
    return trtnet.reference(record(lambda x: x[x > 0], (2, 3)))


# --- files
def in_folder(act):
    """Call `act` with a new folder."""
    import tempfile

    def call():
        with tempfile.TemporaryDirectory() as folder:
            return act(Path(folder))

    return call


def written(path, net=None):
    (net or linear()).save_weights(path)
    return path


def renamed(path, to):
    return written(path).rename(path.with_name(to))


row(
    "give the file the suffix of its format",
    in_folder(lambda p: linear().load_weights(renamed(p / "a.npz", "a.numbers"))),
    in_folder(lambda p: linear().load_weights(written(p / "a.npz"))),
)
row(
    "leave force out: without a cache every build compiles",
    lambda: trtnet.building.check_folder(None, force=True),
    in_folder(lambda p: trtnet.building.check_folder(p, force=True)),
)
row(
    "name a file in an existing folder",
    in_folder(lambda p: timing_file.TimingFile(p / "none" / "t.cache")),
    in_folder(lambda p: timing_file.TimingFile(p / "t.cache")),
)
row(
    "trtnet.build(graph, profile_stream=stream), in Python",
    lambda: told("profile_stream=5"),
    lambda: trtnet.tensorrt.build.options.BuildOptions(profile_stream=5),
)
row(
    "name a file in it:",
    in_folder(lambda p: linear().load_weights(written(p / "a.npz").parent)),
    in_folder(lambda p: linear().load_weights(written(p / "a.npz"))),
)
row(
    "create it first: path.parent.mkdir(parents=True)",
    in_folder(lambda p: written(p / "b" / "a.npz")),
    in_folder(lambda p: (p / "b").mkdir() or written(p / "b" / "a.npz")),
)
row(
    "did you mean",
    in_folder(lambda p: linear().load_weights(written(p / "lenet.npz").with_name("lenett.npz"))),
    in_folder(lambda p: linear().load_weights(written(p / "lenet.npz"))),
)
row(
    "engine.save(path) writes one",
    in_folder(lambda p: trtnet.load(p / "a.engine")),
    in_folder(lambda p: (engine().save(p / "a.engine"), trtnet.load(p / "a.engine", provider="reference"))),
)
row(
    "remove it, or save the engine under another name",
    in_folder(lambda p: (p / "a.engine").mkdir() or engine().save(p / "a.engine")),
    in_folder(lambda p: (p / "a.engine").mkdir() or engine().save(p / "b.engine")),
)


def kept_outputs(*runners, runner="", iterations=1):
    """Saved outputs, written and read again."""

    def act(folder):
        path = folder / "outputs.json"
        outputs.write(path, {name: {"output": ONES} for name in runners})
        data = json.loads(path.read_text())
        for one in data["lst"]:
            one[1] *= iterations
        path.write_text(json.dumps(data))
        return outputs.read(path, runner)

    return in_folder(act)


row("name one: ", kept_outputs("a", "b"), kept_outputs("a", "b", runner="b"))
row("write it again, with outputs", kept_outputs(), kept_outputs("a"))
row(
    "write it again; torch tensors in it are not read",
    in_folder(lambda p: (p / "a.json").write_text("{}") and outputs.read(p / "a.json")),
    kept_outputs("a"),
)
row(
    "polygraphy run --iterations 1 --save-outputs FILE.json",
    kept_outputs("a", iterations=2),
    kept_outputs("a", iterations=1),
)
row(
    "--picture ",
    lambda: pictures.check_picture(Path("o.pdf")),
    lambda: pytest.importorskip("matplotlib") and pictures.check_picture(Path("o.png")),
)


# --- the rest
recorded("(x, p, training=self.training)", lambda x: F.alpha_dropout(x, 0.5, training=True), lambda x: x)
recorded(
    "convert a tensor first: x.float()",
    lambda x: trtnet.add(x, x, alpha=0.5),
    lambda x: trtnet.add(x.float(), x.float(), alpha=0.5),
    INTS,
)
recorded("convert the tensor first: x.float()", lambda x: x**-1, lambda x: x.float() ** -1, INTS)
recorded(
    "put both into attn_mask",
    lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=trtnet.ones(3, 3, dtype=trtnet.bool), is_causal=True),
    lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=trtnet.ones(3, 3, dtype=trtnet.bool).tril()),
    (1, 3, 4),
)
recorded(
    "pass dropout_p=self.dropout if self.training else 0.0",
    lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=0.5),
    lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=0.0),
    (1, 3, 4),
)
recorded(
    "give scale=",
    lambda q: F.scaled_dot_product_attention(q, q, q),
    lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.5),
    (1, 3, DYNAMIC),
)
QKV = (1, 2, 3, 4)
recorded(
    "a dimension that it lacks has size 1",
    lambda q: layers.add_attention_v2(q, q, q),
    lambda q: layers.add_attention_v2(*(q.reshape(1, 1, 3, 4),) * 3),
    (3, 4),
)
recorded(
    "convert it first: .to(trtnet.float16)",
    lambda q, k: layers.add_attention_v2(q, k, k),
    lambda q, k: layers.add_attention_v2(q, *(k.to(trtnet.float16),) * 2),
    Input(QKV, "float16"),
    QKV,
)
recorded(
    "put both into the mask",
    lambda q, m: layers.add_attention_v2(q, q, q, m, causal_kind="UPPER_LEFT"),
    lambda q, m: layers.add_attention_v2(q, q, q, trtnet.tril(m)),
    QKV,
    Input((1, 1, 3, 3), "bool"),
)
recorded(
    "give sizes as shape=(...), and both tensors",
    lambda a, b: layers.add_fill(b, a, shape=(3,), to_type="float32"),
    lambda a, b: layers.add_fill(None, a, b, shape=(3,), to_type="float32"),
    (),
    (1,),
)
LENGTHS = Input((1,), "int32")
recorded(
    "give padded sequences, and a mask",
    lambda q, n, m: layers.add_attention_v2(q, q, q, None, None, n),
    lambda q, n, m: layers.add_attention_v2(q, q, q, m),
    QKV,
    LENGTHS,
    Input((1, 1, 3, 3), "bool"),
)
recorded(
    "put both into a mask",
    lambda q, n, m: layers.add_attention_v2(q, q, q, None, None, None, n, causal_kind="LOWER_RIGHT"),
    lambda q, n, m: layers.add_attention_v2(q, q, q, trtnet.tril(m)),
    QKV,
    LENGTHS,
    Input((1, 1, 3, 3), "bool"),
)
recorded(
    'leave norm_op="SOFTMAX"',
    lambda q: layers.add_attention(q, q, q, norm_op="NONE", causal=True),
    lambda q: layers.add_attention(q, q, q, norm_op="SOFTMAX", causal=True),
    QKV,
)
recorded(
    "convert them first: .long()",
    lambda x, cos, i: layers.add_rotary_embedding(x, cos, cos, i),
    lambda x, cos, i: layers.add_rotary_embedding(x, cos, cos, i.long()),
    QKV,
    (9, 2),
    Input((1, 3), "int32"),
)


def quantized(*to):
    one = [trtnet.tensor(0.01)] if to else []
    graph = record(
        lambda q: layers.add_attention_v2(
            q, q, q, *(None for _ in one), *one, normalization_quantize_to_type=to[0] if to else None
        ),
        QKV,
    )
    return composed_without(graph, "add_attention", "add_attention_v2")


row(
    "quantize the weights to int8, or leave the scale and",
    lambda: quantized("float8_e4m3fn"),
    lambda: quantized("int8"),
)
recorded(
    "normalize(x, out=y)",
    lambda x: F.normalize(x, 2.0, 1, 1e-12, x * 1),
    lambda x: F.normalize(x, 2.0, 1, 1e-12, out=x * 1),
)
recorded(
    "tensordot(a, b, dims, out=y)",
    lambda x: trtnet.tensordot(x, x.t(), 1, trtnet.empty(2, 2)),
    lambda x: trtnet.tensordot(x, x.t(), 1, out=trtnet.empty(2, 2)),
)
recorded(
    "norm(x, out=y)",
    lambda x: trtnet.norm(x, 2, 1, False, trtnet.empty(2)),
    lambda x: trtnet.norm(x, 2, 1, False, out=trtnet.empty(2)),
)
recorded(
    "out=trtnet.empty(..., dtype=trtnet.",
    lambda x: trtnet.mul(x, 0.5, out=trtnet.empty(2, 3, dtype=trtnet.int64)),
    lambda x: trtnet.mul(x, 0.5, out=trtnet.empty(2, 3, dtype=trtnet.float32)),
)
recorded(
    "give an empty tensor, which takes the result's shape",
    lambda x: trtnet.mul(x, 0.5, out=trtnet.empty(4)),
    lambda x: trtnet.mul(x, 0.5, out=trtnet.empty(0)),
)
recorded(
    "leave storage_offset out, or pick the elements by index",
    lambda x: x[1:].as_strided((2,), (1,), 0) + 0,
    lambda x: x[1:].as_strided((2,), (1,)) + 0,
)
recorded(
    "pick the elements by index: x.reshape(-1)[index]",
    lambda x: x.t().as_strided((2,), (1,)) + 0,
    lambda x: x.t().reshape(-1)[trtnet.arange(2)],
)
recorded(
    "copy it first: x.as_strided(...).clone()",
    lambda x: ((y := x * 1).as_strided((x.shape[0],), (1,)).add_(1), y + 0)[1],
    lambda x: ((y := x * 1).as_strided((x.shape[0],), (1,)).clone().add_(1), y + 0)[1],
    (DYNAMIC, 3),
)
recorded(
    "convert it first: mask.bool()",
    lambda x: x.masked_scatter(x, x),
    lambda x: x.masked_scatter(x.bool(), x),
)
recorded(
    "copy the operand first: x.addmm_(x.clone())",
    lambda x: (y := x[:, :2] * 1).addmm_(y, y),
    lambda x: (y := x[:, :2] * 1).addmm_(y.clone(), y.clone()),
)
recorded(
    "make a tensor in row-major order first: x.contiguous()",
    lambda x: x * (x.t() * 1).stride(0),
    lambda x: x * (x.t() * 1).contiguous().stride(0),
)
recorded(
    "pad the bags to one size, and name padding_idx",
    lambda x: F.embedding_bag(x[0], trtnet.ones(4, 3), trtnet.tensor([0, 2])),
    lambda x: F.embedding_bag(x, trtnet.ones(4, 3), padding_idx=0),
    INTS,
)
recorded(
    "weigh the centred columns: ((x - mean) * weights) @ (x - mean).T",
    lambda x: trtnet.cov(x, aweights=trtnet.ones(3)),
    lambda x: ((x - x.mean(1, True)) * trtnet.ones(3)) @ (x - x.mean(1, True)).T,
)
recorded("convert them: index.long()", lambda x: trtnet.gather(x, 0, x), lambda x: trtnet.gather(x, 0, x.long()))
recorded(
    "a mask names nothing twice",
    lambda x: x.clone().index_put_((x > 0,), x[0, 0], accumulate=True),
    lambda x: trtnet.where(x > 0, x + x[0, 0], x),
)
recorded("compare first: mask != 0", lambda x: trtnet.masked_select(x, x), lambda x: trtnet.masked_select(x, x != 0))
recorded(
    "randint draws whole numbers",
    lambda x: x + trtnet.rand(3, dtype=trtnet.int32),
    lambda x: x + trtnet.randint(0, 5, (3,)),
    INTS,
)
recorded(
    "leave out= away, and write the result: x.copy_(result)",
    lambda x: F.normalize(y := x.clone(), out=y),
    lambda x: (y := x.clone()).copy_(F.normalize(y)),
)
recorded(
    "renormalize the weight once, before recording",
    lambda x: F.embedding(x, trtnet.ones(5, 3), max_norm=1.0),
    lambda x: F.embedding(x, trtnet.ones(5, 3)),
    INTS,
)
recorded(
    "trtnet.linalg.vector_norm(x, ord, dim)",
    lambda x: trtnet.linalg.norm(x, ord=2),
    lambda x: trtnet.linalg.vector_norm(x, 2, 1),
)
recorded("convert modules and tensors by hand", lambda x: autocast(x), lambda x: x.half())
recorded(
    "give the dimension's number",
    lambda x: nn.Unflatten("C", (("a", 1), ("b", 3)))(x),
    lambda x: nn.Unflatten(1, (1, 3))(x),
)
row("Parameter(trtnet.zeros(3, 4))", lambda: nn.Parameter(), lambda: nn.Parameter(trtnet.zeros(3, 4)))
row(
    "give the Dim a larger min, where that is what is meant",
    lambda: record(lambda x: x[:, 4] + 1, (2, Dim("n", min=1, max=9))),
    lambda: record(lambda x: x[:, 4] + 1, (2, Dim("n", min=5, max=9))),
)


def autocast(x):
    with trtnet.autocast("cuda"):
        return x + 1


row(
    "profiles=[{",
    lambda: plan(profiles=[{"b": (1, 2, 3)}]),
    lambda: plan(shape=(Dim("batch", min=1, max=64), 3, 8, 8), profiles=[{"batch": (1, 1, 1)}, {"batch": (2, 8, 64)}]),
)
row(
    "record with a wider Dim, or give a narrower profile",
    lambda: plan(shape=(Dim("batch", min=1, max=4), 3, 8, 8), profiles=[{"batch": (1, 1, 8)}]),
    lambda: plan(shape=(Dim("batch", min=1, max=8), 3, 8, 8), profiles=[{"batch": (1, 1, 8)}]),
)
row("leave profiles out", lambda: plan(profiles=[]), lambda: plan())
row("build(graph, refit=True, stripped=True), or leave stripped out", lambda: plan(stripped=True), lambda: plan())
row(
    "build(graph, stripped=True, refit_identical=True), or leave it out",
    lambda: plan(refit_identical=True),
    lambda: plan(),
)
row(
    "leave refit_identical out",
    lambda: plan(refit=True, stripped=True, refit_identical=True),
    lambda: plan(refit=True, stripped=True),
)
row(
    "build_plan(graph, target, refit=True): that plan holds no weights either",
    lambda: plan(stripped=True, refit_identical=True),
    lambda: plan(refit=True),
)
row("profiles= of build says how many there are", lambda: plan(profile_stream=[1]), lambda: plan(profile_stream=[]))
row(
    "build(graph, debug_tensors=[paths]): these alone can be shown",
    lambda: shown([], "inner"),
    lambda: shown(["inner"], "inner"),
)
row("leave cache out", lambda: cached(profile_stream=0), lambda: plan(profile_stream=0))
row("it is an option of trtnet.load and trtnet.build", lambda: plan(persistent_cache_limit=1), lambda: plan())
row("what a plan was built with is in it: leave the option out", lambda: saved(tf32=True), lambda: saved())
row(
    "it is of the engine: give it to trtnet.build or trtnet.load",
    lambda: engine().context(weight_streaming_budget=0),
    lambda: saved(weight_streaming_budget=0),
)
row(
    "leave one of them out",
    lambda: engine().context(shared_memory=True, execution_context_allocation_strategy="static"),
    lambda: engine().context(shared_memory=True),
)
row("lower each graph onto a network of its own", lambda: lowered(True), lambda: lowered(False))
row(
    "give a network made by builder.create_network(flags)",
    lambda: trtnet.record(linear(), x=Input((2, 3))).lower(3),
    lambda: lowered(False),
)
row("Input(shape, range=(0.0, 1.0))", lambda: Input((2,), range=3), lambda: Input((2,), range=(0.0, 1.0)))
row("do this in a module's forward, or record a function", lambda: outside(), lambda: record(F.relu, (2,)))
row(
    "give a size of that form",
    lambda: doubled()(x=np.ones((3, 2), np.float32)),
    lambda: doubled()(x=np.ones((4, 2), np.float32)),
)
row("graph.summary() shows the module paths", lambda: extra("nothing.*"), lambda: extra("inner"))
row("leave the argument out; trtnet has those", lambda: nn.Linear(3, 4, color=1), lambda: nn.Linear(3, 4))
row("give it", lambda: nn.Linear(3), lambda: nn.Linear(3, 4))
row("leave it out", lambda: plan(banana=1), lambda: plan())
recorded(
    "give the numbers as ints or as a concrete tensor",
    lambda x, n: x.repeat_interleave(n, 0),
    lambda x, n: x.repeat_interleave(trtnet.tensor([1, 2]), 0),
    (2, 3),
    Input((2,), "int32"),
)
recorded(
    "convert both first: .to(trtnet.int32)",
    lambda x, y: x + y,
    lambda x, y: x.to(trtnet.int32) + y.to(trtnet.int32),
    Input((2,), "int8"),
    Input((2,), "uint8"),
)
recorded(
    "count it from the start, or use x[index]",
    lambda x: trtnet.gather(x, 1, trtnet.tensor([[-1], [-1]])),
    lambda x: trtnet.gather(x, 1, trtnet.tensor([[2], [2]])),
)
recorded(
    "convert them: x.float()", lambda x: trtnet.multinomial(x, 1), lambda x: trtnet.multinomial(x.float(), 1), INTS
)
recorded(
    "pass replacement=True", lambda x: trtnet.multinomial(x, 4), lambda x: trtnet.multinomial(x, 4, replacement=True)
)
recorded("x.int()", lambda x: trtnet.median(x), lambda x: trtnet.median(x.int()), BOOLS)
recorded("give it one: x.reshape(1)", lambda x: x.sum().nonzero(), lambda x: x.sum().reshape(1).nonzero())
recorded("leave stable out", lambda x: x.sort(stable=True), lambda x: x.sort())
recorded(
    "use scaled_dot_product_attention",
    lambda x: F.multi_head_attention_forward(
        x, x, x, 4, 2, None, None, None, None, False, 0.0, trtnet.ones(4, 4), None, static_k=x, training=False
    ),
    lambda x: F.scaled_dot_product_attention(x, x, x),
    (3, 1, 4),
)
recorded(
    "give the mask too: Transformer.generate_square",
    lambda x: nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True),
    lambda x: nn.MultiheadAttention(4, 2)(
        x, x, x, is_causal=True, attn_mask=(nn.Transformer.generate_square_subsequent_mask(3))
    ),
    (3, 1, 4),
)
row(
    "train trtnet.to_torch(graph) in PyTorch",
    lambda: nn.utils.clip_grad_norm_([], 1.0),
    lambda: trtnet.to_torch(trtnet.record(linear(), x=Input((2, 3)))).train(),
)
row(
    "convert it: numpy.asarray(value), or tensor",
    in_folder(lambda p: write(p / "a.npz", {"a": [1.0]})),
    in_folder(lambda p: write(p / "a.npz", {"a": np.asarray([1.0])})),
)
row(
    "write a .safetensors or .npz file, or leave metadata out",
    in_folder(lambda p: write(p / "a.wts", {"a": ONES}, {"made": "here"})),
    in_folder(lambda p: write(p / "a.npz", {"a": ONES}, {"made": "here"})),
)
row(
    "rename it, or write .safetensors",
    in_folder(lambda p: write(p / "a.wts", {"a b": ONES})),
    in_folder(lambda p: write(p / "a.safetensors", {"a b": ONES})),
)
row(
    "tensor.to(torch.",
    lambda: linear().load_state_dict({"inner.bias": torch_ones()[0].int().repeat(4)[:4]}, False),
    lambda: linear().load_state_dict({"inner.bias": torch_ones()[0].repeat(4)[:4]}, False),
)


def lowered(twice):
    needs_rtx()
    import tensorrt_rtx

    network = tensorrt_rtx.Builder(tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR)).create_network(0)
    graph = trtnet.record(linear(), x=Input((2, 3)))
    graph.lower(network)
    if twice:
        again = trtnet.record(Renamed(), y=Input((2, 3)))
        again.lower(network)


class Renamed(One):
    def __init__(self):
        super().__init__(nn.Linear(3, 4))

    def forward(self, y):
        return {"z": self.inner(y)}


def outside():
    made = []
    record(lambda x: made.append(x) or x + 1, (2,))
    return made[0] + 1


def doubled():
    size = Dim("n", min=2, opt=4, max=8)
    return trtnet.reference(record(lambda x: x + 1, (size * 2, 2)))


def extra(path):
    return trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="reference", extra_outputs=[path])


def write(*args):
    from trtnet.weights.files import write as write_file

    write_file(*args)


row(
    "keep them tensors in forward, or leave them out of live=",
    lambda: frozen(refit=False, live=["power"]),
    lambda: frozen(),
)
row(
    "give the module the new values and record it again",
    lambda: frozen().refit({"power": np.full((), 3, np.float32)}),
    lambda: frozen(3.0),
)
row(
    "engine.refit(other.parameters()) gives it",
    lambda: engine().restore(engine().snapshot()),
    lambda: engine().refit(engine().parameters()),
)
row(
    "engine.save(path) and trtnet.load(path) keep",
    lambda: engine().restore(engine(shape=(1, 3)).snapshot()),
    lambda: saved(),
)
row("build or load it again", lambda: closed(), lambda: engine()(x=ONES))
row(
    "a smaller max of the Dims; or split it: trtnet.chunk, or smaller sizes",
    lambda: record(lambda x: x @ x.t(), (Dim("n", max=2**16), 1)),
    lambda: (
        record(lambda x: x @ x.t(), (Dim("n", max=2**15), 1))
        and record(lambda x: x @ x[:9].t(), (Dim("n", min=9, max=2**16), 1))
    ),
)
row(
    "a min of at least 1",
    lambda: record(lambda x: x.reshape(12 // x.shape[0], -1), (Dim("n", min=0, max=4), 12)),
    lambda: record(lambda x: x.reshape(x.shape[0] * 12 // x.shape[0], -1), (Dim("n", min=1, max=4), 12)),
)
row("leave device out to run on the CPU", lambda: engine(device="cuda:63"), lambda: engine())
row("look at the values that reach this line", lambda: rows(7), lambda: rows(1))
row("bind them again: engine.bind_weights(module)", lambda: moved(False), lambda: moved(True))
row(
    "leave it out here, and fold it in PyTorch",
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
    lambda: nn.Linear(3, 4),
)
recorded(
    "make it of arange(size), which is recorded",
    lambda x: x + trtnet.linspace(0, 1, x.shape[0]),
    lambda x: x + trtnet.arange(x.shape[0]).float() * 0.5,
    (DYNAMIC,),
)
recorded(
    "draw outside, and make the numbers an input",
    lambda x: x + trtnet.poisson(x),
    lambda x, noise: x + noise,
    other=[(2, 3), (2, 3)],
)
row(
    'record(module, ..., draws="inputs") makes the draws inputs',
    lambda: record(lambda x: x + trtnet.rand(3, generator=trtnet.Generator()), (2, 3)),
    lambda: record(lambda x: x + trtnet.rand(3), (2, 3), draws="inputs"),
)
recorded(
    "before the network, or approximate it", lambda x: trtnet.digamma(x), lambda x, y: x + y, other=[(2, 3), (2, 3)]
)
recorded(
    "leave the index out where the dimension is empty",
    lambda x, i: x[:, 4:][:, i],
    lambda x, i: x[:, 4:] if x.shape[1] <= 4 else x[:, 4:][:, i],
    (3, 4),
    Input((2,), "int64"),
)
recorded(
    "x = x.transpose(0, 1)",
    lambda x: (x * 1).contiguous().transpose_(0, 1),
    lambda x: (x * 1).contiguous().transpose(0, 1),
)
recorded("copy them first: x.unfold(...).clone()", lambda x: windows(x, False), lambda x: windows(x, True), (8,))


def frozen(power=2.0, refit=True, **options):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.power = nn.Parameter(np.full((), power, np.float32))

        def forward(self, x):
            return x ** self.power.item()

    graph = trtnet.record(Frozen(), x=Input((2, 3)))
    return trtnet.build(graph, provider="reference", refit=refit, **options)


def closed():
    made = engine()
    made.close()
    made(x=ONES)


def rows(index):
    table = trtnet.reference(record(lambda i: nn.Embedding(5, 3)(i), Input((2,), "int32")))
    return table(i=np.full(2, index, np.int32)).shape == (2, 3)


def moved(follow):
    import torch

    made, learner = live(), torch_linear()
    made.bind_weights(learner)
    learner.inner.bias.data = torch.ones(4)
    if follow:
        made.bind_weights(learner)
    return made(x=ONES).shape == (2, 4)


def windows(x, copied):
    y = x.clone()
    part = y.unfold(0, 3, 1)
    part = part.clone() if copied else part
    part += 1
    return part + y[:1]


# --- dynamic sizes
FOURS = Dim("n", min=4, max=64, multiple_of=4)
HIGH = Dim("h", min=10, opt=20, max=40)
row(
    "take the power of a tensor, trtnet.full((), size), or make the size an int: Input((8, ...))",
    lambda: record(lambda x: x * 2 ** x.shape[0], (DYNAMIC,)),
    lambda: record(lambda x: x * 2 ** trtnet.full((), x.shape[0]).float(), (DYNAMIC,)),
)
row("that will be needed", lambda: Dim("n", max=2**70), lambda: Dim("n", max=2**20))
row(
    "give a size that is such a multiple",
    lambda: trtnet.basics.dims.evaluate(trtnet.basics.dims.divide_exactly(FOURS, 4), {"n": 6}),
    lambda: trtnet.basics.dims.evaluate(trtnet.basics.dims.divide_exactly(FOURS, 4), {"n": 8}) == 2,
)
row("give one or more sizes", lambda: trtnet.basics.dims.maximum(), lambda: trtnet.basics.dims.maximum(DYNAMIC, 3))
row(
    "give an input whose shape tells",
    lambda: trtnet.basics.dims.evaluate(DYNAMIC * 2, {"m": 1}),
    lambda: trtnet.basics.dims.evaluate(DYNAMIC * 2, {"n": 3}) == 6,
)
recorded(
    "give size=(…) made of Dims: size=(h * 3 // 10, w * 3 // 10)",
    lambda x: F.interpolate(x, scale_factor=0.3),
    lambda x: F.interpolate(x, size=(x.shape[2] * 3 // 10, x.shape[3] * 3 // 10)),
    (1, 3, HIGH, HIGH),
)
recorded(
    "recompute_scale_factor=True or size=(…), a Dim(..., multiple_of=…) that makes",
    lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear", recompute_scale_factor=True),
    (1, 3, HIGH, HIGH),
)

# --- writes and memory
recorded(
    "copy the operand first: x.add_(y.clone())",
    lambda x: (y := x * 1).add_(y[:, :1]),
    lambda x: (y := x * 1).add_(y[:, :1].clone()),
)
row(
    "write into the tensor that was expanded, or copy first: x.expand(...).clone()",
    lambda: trtnet.zeros(1, 3).expand(2, 3).add_(trtnet.ones(2, 3)),
    lambda: trtnet.zeros(1, 3).expand(2, 3).clone().add_(trtnet.ones(2, 3)).sum() == 6,
)
row(
    "x = x.",
    lambda: nn.Parameter(np.ones((1, 3), np.float32)).squeeze_(),
    lambda: nn.Parameter(np.ones((1, 3), np.float32)).squeeze().shape == (3,),
)
row(
    "give the size or the value that is needed; infinity is float('inf')",
    lambda: record(lambda x: x.clamp(0, 10**5000), (3,)),
    lambda: record(lambda x: x.clamp(0, float("inf")), (3,)),
)
row(
    "write a = a + b in place of a += b, or change a copy: a = a.clone()",
    lambda: record(Shifted(lambda a: a.add_(1)), (3,)),
    lambda: (record(Shifted(lambda a: a + 1), (3,)), record(Shifted(lambda a: a.clone().add_(1)), (3,))),
)

row(
    "write the change out of place (y = y + 1, not y += 1), or copy before the change",
    lambda: record(lambda x: turned(x, lambda y: (y[0].flatten(), y.add_(1))), (2, 3, 4)),
    lambda: (
        record(lambda x: turned(x, lambda y: (y[0].flatten(), y + 1)), (2, 3, 4)),
        record(lambda x: turned(x, lambda y: (y[0].clone().flatten(), y.add_(1))), (2, 3, 4)),
    ),
)
row(
    "load weights before recording: module.load_state_dict, module.load_weights",
    lambda: without_value(lambda net: net),
    lambda: without_value(lambda net: net.load_state_dict({"a": np.ones(3, np.float32)})),
)
row("load weights first: load_state_dict, load_weights", lambda: emptied(False), lambda: emptied(True))

recorded(
    "x.copy_(value), which all see who share the memory, or x = value",
    lambda x: setattr(x * 2, "data", x),
    lambda x: (x * 2).copy_(x),
)
recorded(
    "leave it out: gradients are computed by trtnet.to_torch(graph)",
    lambda x: (x + 1).requires_grad_(),
    lambda x: x + 1,
    INTS,
)

# --- numbers
recorded(
    "(a.float() @ b.float()).long() is exact for sums below 2**24",
    lambda x: x @ x.t(),
    lambda x: (x.float() @ x.t().float()).long(),
    Input((2**10, 2**10), "int32"),
)
recorded(
    "for positive numbers trtnet.exp(trtnet.cumsum(trtnet.log(x), dim))",
    lambda x: x.cumprod(0),
    lambda x: trtnet.exp(trtnet.cumsum(trtnet.log(x), 0)),
    (2000,),
)
recorded(
    "of finite values, one_hot(index, size).to(x.dtype).T @ source adds up rows",
    lambda x, i, s: x.index_add(0, i, s),
    lambda x, i, s: x + F.one_hot(i, 2**13).to(x.dtype).T @ s,
    (2**13, 64),
    Input((2**10,), "int64"),
    (2**10, 64),
)
recorded(
    "convert them: .to(trtnet.",
    lambda x, i, s: x.index_add(0, i, s),
    lambda x, i, s: x.index_add(0, i, s.to(trtnet.float32)),
    (4, 3),
    Input((2,), "int64"),
    HALF,
)
row(
    "sort it before",
    lambda: record(lambda s, v, i: trtnet.searchsorted(s, v, sorter=i), (4,), (3,), Input((4,), "int64")),
    lambda: record(lambda s, v, i: trtnet.searchsorted(s[i], v), (4,), (3,), Input((4,), "int64")),
)
recorded(
    "put neighbouring dimensions together with flatten before they are split again",
    lambda x: x.unflatten(0, (2, 2)).unflatten(0, (1, 2)).unsqueeze(0),
    lambda x: x.flatten(1).unflatten(0, (2, 2)).unflatten(0, (1, 2)).unsqueeze(0),
    (4, *(2,) * 6),
)
recorded(
    "convert them first: .to(dtype)",
    lambda x, y: raw_cat(x, y),
    lambda x, y: raw_cat(x, y.to(trtnet.float32)),
    (2, 3),
    HALF,
)
recorded(
    "reshape: sizes of 1 broadcast",
    lambda x, y: raw_sum(x, y),
    lambda x, y: raw_sum(x, y.reshape(1, 3)),
    (2, 3),
    (3,),
)
recorded(
    "compare first: x != 0",
    lambda x: raw_nonzero(x),
    lambda x: raw_nonzero(x != 0),
)

# --- draws
recorded(
    "put two draws together: randint(a, size) * b + randint(b, size)",
    lambda x: x + trtnet.randint(0, 2**30, (3,)),
    lambda x: x + trtnet.randint(0, 2**15, (3,)) * 2**15 + trtnet.randint(0, 2**15, (3,)),
    INTS,
)
recorded(
    ") draws as many numbers as there can be",
    lambda x: x + trtnet.empty(3, dtype=trtnet.int32).random_(),
    lambda x: x + trtnet.empty(3, dtype=trtnet.int32).random_(2**24),
    INTS,
)
row(
    "draw as many as there can be, and take a part: rand(x.numel())[:count]",
    lambda: record(lambda x: (y := x[x > 0]) + trtnet.rand(y.shape[0]), (4,), draws="inputs"),
    lambda: record(lambda x: (y := x[x > 0]) + trtnet.rand(x.numel())[: y.shape[0]], (4,), draws="inputs"),
)

# --- checks, names and weights
row(
    "Input(shape, dtype, range=(",
    lambda: embedded(Input((2,), "int32", range=(7, 9))),
    lambda: embedded(Input((2,), "int32", range=(0, 4))),
)
row(", or check=True to draw them", lambda: sampled({"y": 1}), lambda: sampled({"x": np.zeros(2, np.int32)}))
row(
    "give such as the network will get",
    lambda: sampled({"x": np.full(2, 9, np.int32)}),
    lambda: sampled({"x": np.full(2, 4, np.int32)}),
)
row(
    "call the module's attribute",
    lambda: trtnet.to_torch(record(Named("forward"), (2, 3))),
    lambda: trtnet.to_torch(record(Named("inner"), (2, 3))),
)
row(
    "write the file again from the state_dict that it was made of",
    in_folder(lambda p: counted().load_weights(write(p / "a.wts", {"n": np.full(1, 0.5, np.float32)}) or p / "a.wts")),
    in_folder(lambda p: counted().load_weights(counted().save_weights(p / "a.wts") or p / "a.wts")),
)
row(
    "build_plan(graph, targets=...) compiles without a GPU; provider='reference' runs",
    lambda: on_rtx_here(),
    lambda: (plan(), trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="reference")),
)
row(
    "fold it in PyTorch before the state dict is taken: torch.nn.utils.parametrize.remove_parametrizations",
    lambda: nn.Linear(3, 4).load_state_dict(spectral(fold=False)),
    lambda: nn.Linear(3, 4).load_state_dict(spectral(fold=True)),
)
row(
    "made: torch.nn.utils.remove_spectral_norm(module)",
    lambda: nn.Linear(4, 4).load_state_dict(old_spectral(fold=False)),
    lambda: nn.Linear(4, 4).load_state_dict(old_spectral(fold=True)),
)
row(
    "call it",
    lambda: nn.Module().add_module("_buffers", nn.ReLU()),
    lambda: nn.Module().add_module("buffer", nn.ReLU()),
)


def turned(x, change):
    """A quarter turn lies in memory in an order of torch's own, which decides whether flatten copies."""
    return change(trtnet.rot90(x, 1, (0, -1)))


def without_value(load):
    from trtnet.weights.recipes import Value

    net = nn.Module()
    net.a = nn.Parameter(np.zeros(3, np.float32))
    net.a.value = Value()
    net.forward = lambda x: x if net.a.sum() > 2 else -x
    load(net)
    return trtnet.reference(trtnet.record(net, x=Input((3,))))(x=ONES[0]).min() > 0


def emptied(load):
    """A graph as an engine's manifest holds it, whose values lie elsewhere."""
    from trtnet.engine.graph_json import from_json, to_json

    net = linear()
    graph = from_json(to_json(trtnet.record(net, x=Input((2, 3)))), {})
    if load:
        graph.load_state_dict(values(net))
    return len(graph.state_dict()) == 2


class Shifted(nn.Module):
    """Has a parameter, and changes it somehow."""

    def __init__(self, change):
        super().__init__()
        self.shift = nn.Parameter(np.ones(3, np.float32))
        self.change = change

    def forward(self, x):
        return x + self.change(self.shift)


class Named(nn.Module):
    """Has a parameter of this name."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self._parameters[name] = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x):
        return x + self._parameters[self.name]


def raw_cat(*tensors):
    from trtnet.graph.recorder import emit
    from trtnet.layers.shaping import Concatenation

    return emit(Concatenation(tensors, axis=0))


def raw_sum(*tensors):
    from trtnet.graph.recorder import emit
    from trtnet.layers.elementwise import ElementWise

    return emit(ElementWise(tensors, "SUM"))


def raw_nonzero(x):
    from trtnet.graph.recorder import recorder
    from trtnet.layers.selection import NonZero

    return recorder().emit(NonZero((x,), recorder().data_dim("nonzero", 6)))


def on_rtx_here():
    if needs_rtx().cannot_execute is None:
        pytest.skip("TensorRT-RTX runs engines here")
    trtnet.build(trtnet.record(linear(), x=Input((2, 3))), provider="tensorrt_rtx")


def spectral(fold):
    """The state of a spectral norm over the second dimension too, whose vectors fit neither dimension's rows."""
    import torch
    from torch.nn.utils import parametrizations, parametrize

    net = parametrizations.spectral_norm(torch.nn.Linear(3, 4))
    if fold:
        parametrize.remove_parametrizations(net, "weight")
        return net.state_dict()
    state = net.state_dict()
    state["parametrizations.weight.0._u"] = torch.ones(7)
    return state


def old_spectral(fold):
    """The state of the older spectral norm of a square weight, whose vectors fit its transpose better."""
    import torch

    net = torch.nn.utils.spectral_norm(torch.nn.Linear(4, 4), n_power_iterations=50)
    net(torch.zeros(1, 4))
    if fold:
        return torch.nn.utils.remove_spectral_norm(net).state_dict()
    state = net.state_dict()
    return state | {"weight_u": state["weight_v"], "weight_v": state["weight_u"]}


def counted():
    net = nn.Module()
    net.register_buffer("n", trtnet.tensor([3]))
    return net


def embedded(given):
    from trtnet.pytorch.sampling import Sampler

    return Sampler(record(lambda x: nn.Embedding(5, 3)(x), given)).draw({})["x"].max() < 5


def sampled(sample):
    from trtnet.pytorch.sampling import Sampler

    return Sampler(record(lambda x: nn.Embedding(5, 3)(x), Input((2,), "int32"))).given(sample)


# --- files that are damaged, lost or of another version
def damaged(damage):
    """Loads an engine after `damage` to one of its files."""
    return in_folder(lambda p: (damage(kept_engine(p)), trtnet.Plan.load(p / "a.engine")))


def kept_engine(folder, name="a.engine", net=None, **options):
    made = trtnet.build(trtnet.record(net or linear(), x=Input((2, 3))), provider="reference", refit=True)
    return made.save(folder / name, **options)


def again(damage):
    """The same, where the engine was saved again since."""
    return in_folder(lambda p: (damage(kept_engine(p)), kept_engine(p), trtnet.Plan.load(p / "a.engine")))


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def edited(**changes):
    """A change of the manifest: other values under these keys, or what a function makes of the value."""

    def damage(path):
        file = beside(path, ".json")
        manifest = json.loads(file.read_text())
        for key, new in changes.items():
            manifest[key] = new(manifest[key]) if callable(new) else new
        file.write_text(json.dumps(manifest))

    return damage


def other_weights(path, told=False):
    """The weights of another engine in this one's place; `told` where the manifest names them."""
    there = kept_engine(path.parent, "b.engine", One(nn.Linear(3, 5)))
    file = beside(path, ".safetensors")
    file.write_bytes(beside(there, ".safetensors").read_bytes())
    if told:
        edited(weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest())(path)


def folder_for_manifest(path):
    beside(path, ".json").unlink()
    beside(path, ".json").mkdir()


for remedy, damage in {
    "the manifest was changed: build the engine again, or restore the file": edited(structure="0" * 64),
    "load it with the version that wrote it, or build the engine again": edited(format=99),
    "load it with the version of trtnet that wrote it, or build the engine again": edited(
        graph=lambda graph: graph | {"format": 99, "layers": 3}
    ),
    "the files are of two engines: build the engine again, or restore them": lambda path: other_weights(path, True),
    "copy the three files of an engine together; save it again where one is lost": other_weights,
    "an engine is saved as NAME.engine, NAME.engine.json and, where it can be refitted": lambda path: beside(
        path, ".safetensors"
    ).unlink(),
    "save the engine again, or restore the file": lambda path: beside(path, ".json").write_text("{}"),
}.items():
    row(remedy, damaged(damage), again(damage))
row(
    "check that its files are files that you may read, or save the engine again",
    damaged(folder_for_manifest),
    in_folder(lambda p: folder_for_manifest(kept_engine(p)) or trtnet.Plan.load(kept_engine(p, "b.engine"))),
)
row(
    "copy the file again, together with its .json, or build the engine again",
    in_folder(lambda p: (path := kept_plan(p)).write_bytes(path.read_bytes()[:-9]) and trtnet.Plan.load(path)),
    in_folder(lambda p: (path := kept_plan(p)).write_bytes(path.read_bytes()) and trtnet.Plan.load(path)),
)
row(
    "make room, or check the folder's permissions; an old plan of this name is unchanged",
    in_folder(lambda p: without_room(lambda: kept_engine(p, weights=False))),
    in_folder(
        lambda p: (
            path := kept_engine(p),
            without_room(lambda: kept_engine(p, weights=False), True),
            trtnet.Plan.load(path),
            trtnet.Plan.load(kept_engine(p)),
        )
    ),
)
row(
    "make room, or check the folder's permissions; an old file of this name is unchanged",
    in_folder(lambda p: without_room(lambda: written(p / "a.npz"))),
    in_folder(lambda p: (written(p / "a.npz"), without_room(lambda: written(p / "a.npz"), True), loaded(p / "a.npz"))),
)
row(
    "check the path",
    in_folder(lambda p: trtnet.load(p / ("a" * 300 + ".engine"))),
    in_folder(lambda p: trtnet.load(kept_engine(p), provider="reference")),
)
row(
    ", or build(graph, cache=a folder of your own)",
    in_folder(lambda p: p.chmod(0o777) or PlanCache(p)),
    in_folder(lambda p: (p.chmod(0o777), PlanCache(p / "own"), p.chmod(0o755), PlanCache(p))),
)
row(
    "build(graph, cache=another folder)",
    in_folder(lambda p: (p / "a").write_text("") or PlanCache(p / "a")),
    in_folder(lambda p: (p / "a").write_text("") or PlanCache(p / "b")),
)


def kept_plan(folder):
    return plan().save(folder / "a.engine")


def without_room(write_it, catch=False):
    """Call while files may not grow beyond a few bytes; where the refusal is caught, there is room again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        write_it()
    except trtnet.TrtnetError:
        if not catch:
            raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return True


def loaded(path):
    linear().load_weights(path)
    return True


def at(path, act):
    """Write a file by `act`, and load it."""
    act(path)
    return loaded(path)


row(
    "does not exist; check the path (relative ones start at",
    in_folder(lambda p: loaded(p / "no" / "a.npz")),
    in_folder(lambda p: loaded(written(p / "a.npz"))),
)
row(
    "check the path (relative ones start at",
    in_folder(lambda p: loaded(p / "a.npz")),
    in_folder(lambda p: loaded(written(p / "a.npz"))),
)
row("name a file", in_folder(lambda p: loaded(p)), in_folder(lambda p: loaded(written(p / "a.npz"))))
row(
    "check that you may read it, or download or copy it again",
    in_folder(lambda p: (p / "a.pt").symlink_to("/proc/self/mem") or loaded(p / "a.pt")),
    in_folder(lambda p: loaded(written(p / "a.npz"))),
)
row(
    "convert it with str(...) or json.dumps(...)",
    in_folder(lambda p: write(p / "a.npz", {"a": ONES}, {"epoch": 3})),
    in_folder(lambda p: write(p / "a.npz", {"a": ONES}, {"epoch": str(3), "more": json.dumps([1])})),
)
OBJECTS = np.asarray([1.0, None, 2.0, 3.0])
BIAS = {"inner.weight": np.ones((4, 3), np.float32)}
row(
    "write it again as numbers:",
    in_folder(lambda p: at(p / "a.npz", lambda f: np.savez(f, **BIAS, **{"inner.bias": OBJECTS}))),
    in_folder(
        lambda p: at(p / "a.npz", lambda f: np.savez(f, **BIAS, **{"inner.bias": np.asarray(OBJECTS, dtype="float32")}))
    ),
)
row(
    "write it again with trtnet.weights.files.write, or as .safetensors",
    in_folder(lambda p: at(p / "a.npz", lambda f: np.savez(f, **bfloat16()))),
    in_folder(
        lambda p: (
            at(p / "a.npz", lambda f: write(f, bfloat16())) and at(p / "a.safetensors", lambda f: write(f, bfloat16()))
        )
    ),
)
row(
    "rename it, or convert it with .astype(...)",
    in_folder(lambda p: write(p / "a.npz", {"a": np.ones(2, "M8[s]")})),
    in_folder(lambda p: write(p / "a.npz", {"a": np.ones(2, "M8[s]").astype(np.int64)})),
)
row(
    "rename it",
    in_folder(lambda p: write(p / "a.safetensors", {"__metadata__": ONES})),
    in_folder(lambda p: write(p / "a.safetensors", {"metadata": ONES})),
)


def bfloat16():
    return {name: array.astype(trtnet.bfloat16.numpy) for name, array in values(linear()).items()}


def sharded(folder, shards=("inner.weight", "inner.bias"), place="{}.safetensors"):
    """A checkpoint of two shards, of which these are there, under an index."""
    held = values(linear())
    for name in shards:
        write(folder / f"{name}.safetensors", {name: held[name]})
    index = folder / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: place.format(name) for name in held}}))
    return index


row(
    "download the missing shards into the same folder",
    in_folder(lambda p: loaded(sharded(p, ["inner.bias"]))),
    in_folder(lambda p: loaded(sharded(p))),
)
row(
    "download the index and all shards again, from one revision",
    in_folder(lambda p: loaded(sharded(p, place="inner.bias.safetensors"))),
    in_folder(lambda p: loaded(sharded(p))),
)
row(
    "take the index from a source that you trust",
    in_folder(lambda p: loaded(sharded(p, place="../{}.safetensors"))),
    in_folder(lambda p: loaded(sharded(p))),
)
row(
    "write the file again with the tensor in one of these types, or without it",
    in_folder(lambda p: at(p / "a.safetensors", lambda f: retyped(written(f)))),
    in_folder(lambda p: loaded(written(p / "a.safetensors"))),
)
row(
    "; or download or copy the file again",
    in_folder(lambda p: at(p / "a.pt", lambda f: torch_saved(f, linear()))),
    in_folder(lambda p: at(p / "a.pt", lambda f: torch_saved(f, torch_linear().state_dict()))),
)
row(
    "download or copy the file again, or",
    in_folder(lambda p: at(p / "a.pt", lambda f: f.write_bytes(b""))),
    in_folder(lambda p: at(p / "a.pt", lambda f: torch_saved(f, torch_linear().state_dict()))),
)
row(
    "convert it before saving: state_dict[",
    in_folder(lambda p: at(p / "a.pt", lambda f: torch_saved(f, sparse(False)))),
    in_folder(lambda p: at(p / "a.pt", lambda f: torch_saved(f, sparse(True)))),
)


def retyped(path):
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F99"'))


def torch_saved(path, value):
    import torch

    torch.save(value, path)


def sparse(follow):
    state = torch_linear().state_dict()
    held = state["inner.weight"].to_sparse()
    return state | {"inner.weight": held.to_dense().float() if follow else held}


# --- other arrays and other places
def host(array, dtype=None, kind=1):
    """A DeviceArray over the host's memory."""
    from trtnet import dtypes
    from trtnet.tensorrt.run.device_array import DeviceArray

    memory = SimpleNamespace(array=array, handle=array.ctypes.data)
    return DeviceArray(memory, array.shape, dtype or dtypes.get(array.dtype), None, _kind=kind)


class Other:
    """An array of another library, over a torch tensor."""

    def __init__(self, tensor, capsules=None):
        self.tensor, self.capsules = tensor, capsules

    def __dlpack__(self, **options):
        return self.capsules[0] if self.capsules else self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def taken(value):
    from trtnet.tensorrt.run.device_array import foreign

    return foreign(value, None, 0, 1)


def used_capsule():
    import torch

    capsule = torch.ones(3).__dlpack__()
    torch.from_dlpack(capsule)
    return Other(torch.ones(3), [capsule])


def without_torch(act):
    """Call where `import torch` fails."""

    def call():
        there = sys.modules["torch"]
        sys.modules["torch"] = None
        try:
            return act()
        finally:
            sys.modules["torch"] = there

    return call


HALVES = np.zeros(4, np.uint16)
row(
    "numpy.from_dlpack(array)",
    lambda: host(ONES).__cuda_array_interface__,
    lambda: np.array_equal(np.from_dlpack(host(ONES)), ONES),
)
row(
    "DLPack has it: torch.from_dlpack(array), cupy.from_dlpack(array)",
    lambda: host(HALVES, trtnet.bfloat16).__cuda_array_interface__,
    lambda: __import__("torch").from_dlpack(host(HALVES, trtnet.bfloat16)).sum() == 0,
)
row(
    "a capsule can be taken once: give the array itself, not its capsule",
    lambda: taken(used_capsule()),
    lambda: taken(used_capsule().tensor),
)
row(
    "DLPack has bfloat16 and float8: give an array that has __dlpack__",
    lambda: taken(SimpleNamespace(__cuda_array_interface__={"shape": (4,), "typestr": "|V2", "data": (0, False)})),
    lambda: taken(host(HALVES, trtnet.bfloat16)).dtype is trtnet.bfloat16,
)
row(
    "make a contiguous copy by its own library: cupy.ascontiguousarray(array)",
    lambda: taken(Other(torch_ones().t())),
    lambda: taken(Other(torch_ones().t().contiguous())),
)
row(
    "1 is the legacy default stream; 0 could mean two",
    lambda: host(ONES, kind=2).__dlpack__(stream=0),
    lambda: host(ONES, kind=2).__dlpack__(stream=1),
)
row(
    "give tensors that hold values",
    lambda: linear().load_state_dict(torch_linear().to("meta").state_dict()),
    lambda: linear().load_state_dict(torch_linear().state_dict()),
)
row("pip install 'trtnet[torch]'", without_torch(engine), engine)
row(
    "pip install 'trtnet[torch]', or use .safetensors, which needs no torch",
    in_folder(lambda p: without_torch(lambda: loaded(written(p / "a.pt")))()),
    in_folder(lambda p: without_torch(lambda: loaded(written(p / "a.safetensors")))() and loaded(written(p / "a.pt"))),
)
row(
    "save the engine with trtnet: engine.save(path)",
    in_folder(lambda p: (p / "a.engine").write_bytes(b"plan") and trtnet.load(p / "a.engine", provider="reference")),
    in_folder(lambda p: trtnet.load(kept_engine(p), provider="reference")),
)
row(
    "save the engine with weights, and build it with refit=True; an engine that canno",
    in_folder(lambda p: trtnet.load(kept_engine(p, weights=False), provider="reference")),
    in_folder(lambda p: trtnet.load(kept_engine(p), provider="reference")),
)
row(
    "load(path, provider='reference') runs the recorded network in PyTorch, where wei",
    in_folder(lambda p: not on_rtx() and trtnet.load(refittable_plan(p), provider="tensorrt_rtx")),
    in_folder(lambda p: trtnet.load(refittable_plan(p), provider="reference")),
)
row(
    "trtnet preload --folder /another/folder, or set XDG_CACHE_HOME",
    in_folder(lambda p: preload.library(p / "a folder")),
    in_folder(lambda p: preload.library(p / "folder").exists()),
)
row(
    "install gcc; or build(graph, live=True), whose weights need no refit",
    in_folder(lambda p: compiled_by("no-compiler-of-this-name", p)),
    in_folder(lambda p: compiled_by("gcc", p) and bound_live(True)),
)
row(
    "name another compiler: CC=clang trtnet preload",
    in_folder(lambda p: compiled_by("false", p)),
    in_folder(lambda p: compiled_by("gcc", p)),
)


# --- pictures ---------------------------------------------------------------------------------------------------------


def drawn(path, programs=None, **options):
    """Draw a graph where these are the programs on PATH."""
    with pytest.MonkeyPatch.context() as patch:
        if programs is not None:
            patch.setenv("PATH", str(programs))
        return record(linear(), (2, 3)).draw(path, **options)


row(
    'graph.draw("net.html"), graph.draw("net.svg"), or graph.draw("net.mmd") for Mermaid\'s text',
    in_folder(lambda p: drawn(p / "net.jpg")),
    in_folder(lambda p: drawn(p / "net.mmd")),
)
row(
    "depth=1",
    in_folder(lambda p: drawn(p / "net.mmd", depth="one")),
    in_folder(lambda p: drawn(p / "net.mmd", depth=1)),
)
row(
    'or write Mermaid\'s text, graph.draw("net.mmd")',
    in_folder(lambda p: drawn(p / "net.svg", programs=p)),
    in_folder(lambda p: drawn(p / "net.mmd", programs=p)),
)
row(
    "engine=engine, or json.load of what engine.inspect() gave or trtexec --exportLayerInfo wrote",
    lambda: record(linear(), (2, 3)).draw(engine={"layers": ["inner/fully_connected"]}),
    lambda: record(linear(), (2, 3)).draw(engine={"Layers": ["inner/fully_connected/matrix_multiply"]}),
)
row(
    'engine.draw("net.html", times=engine.profile(x)); of stored ones, provider= says whose TensorRT it was',
    lambda: record(linear(), (2, 3)).draw(engine=engine(One(nn.ReLU()))),
    in_folder(lambda p: engine().draw(p / "net.html", times=engine().profile(ONES))),
)
row(
    "times=engine.profile(x), or json.load of what trtnet profile or trtexec wrote",
    lambda: engine().draw(times={"inner/fully_connected": 0.1}),
    lambda: engine().draw(times=engine().profile(ONES)),
)
row(
    "times=engine.profile(x)",
    lambda: engine().draw(color="time"),
    lambda: engine().draw(color="time", times=engine().profile(ONES)),
)
row("color='kind'", lambda: engine().draw(color="layer"), lambda: engine().draw(color="kind"))


def on_rtx():
    """Whether TensorRT-RTX runs engines here: then there is nothing to be seen."""
    if needs_rtx().cannot_execute is None:
        pytest.skip("TensorRT-RTX runs engines here")


row(
    "give the path of the file in place of what safe_open made of it",
    in_folder(lambda p: engine().refit(opened(p))),
    in_folder(lambda p: (linear().save_weights(p / "a.safetensors"), engine().refit(p / "a.safetensors"))),
)


def opened(folder):
    from safetensors import safe_open

    linear().save_weights(folder / "a.safetensors")
    with safe_open(folder / "a.safetensors", "np") as file:
        pass
    return file


def normed():
    import torch

    made = torch_linear()
    torch.nn.utils.parametrizations.weight_norm(made.inner)
    return made


def refittable_plan(folder):
    return plan(refit=True).save(folder / "a.engine")


def compiled_by(compiler, folder):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here")
    before = os.environ.get("CC")
    os.environ["CC"] = compiler
    try:
        return preload.library(folder).exists()
    finally:
        os.environ.pop("CC") if before is None else os.environ.update(CC=before)


# --- plugins and kernels ----------------------------------------------------------------------------------------------


def of_another_process(folder, imported):
    """Run a graph with a plugin that was pickled where the plugin's class was; here its module is `imported` first."""
    from trtnet.layers.plugin import definitions

    (folder / "ours_doubled.py").write_text(
        "import trtnet\n\nclass Doubled(trtnet.Plugin):\n"
        "    def shapes(self, x):\n        return x\n\n    def compose(self, x):\n        return x * 2\n"
    )
    sys.path.insert(0, str(folder))
    try:
        import ours_doubled

        pickled = pickle.dumps(trtnet.record(ours_doubled.Doubled(), x=Input((2, 3))))
        del sys.modules["ours_doubled"], definitions["ours_doubled.Doubled"]
        if imported:
            import ours_doubled
        return (trtnet.reference(pickle.loads(pickled))(np.ones((2, 3), np.float32)) == 2).all()
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("ours_doubled", None)
        definitions.pop("ours_doubled.Doubled", None)


row(
    "import ours_doubled before the graph is run",
    in_folder(lambda p: of_another_process(p, imported=False)),
    in_folder(lambda p: of_another_process(p, imported=True)),
)


def kept_in(folder):
    """Where the plugin that launches kernels is kept while TRTNET_CACHE names this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRTNET_CACHE", str(folder))
        return shim._folder()


row(
    "set TRTNET_CACHE to another folder",
    in_folder(lambda p: p.chmod(0o777) or kept_in(p)),
    in_folder(lambda p: kept_in(p / "own") == p / "own"),
)


def without_cuda_python(call):
    """Call where cuda-python is not there, as before it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cuda.bindings", None)
        device.cuda.cache_clear()
        return call()


def installed(call, *distributions):
    """Call where these are installed; the first is what trtnet's extra `cuda` installs."""
    import tomllib
    from importlib import metadata

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert [one.partition(">")[0] for one in project["optional-dependencies"]["cuda"]] == [distributions[0]]
    missing = set(distributions).difference(one.name for one in metadata.distributions())
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    return call()


row(
    "pip install 'trtnet[cuda]'",
    lambda: without_cuda_python(device.cuda),
    lambda: installed(device.cuda, "cuda-python"),
)
row(
    "pip install 'trtnet[cuda]' nvidia-cuda-nvrtc",
    lambda: without_cuda_python(compiling._nvrtc),
    lambda: installed(compiling._nvrtc, "cuda-python", "nvidia-cuda-nvrtc"),
)


GPU = "needs an engine on a GPU"

# --- TensorRT's own calls ---------------------------------------------------------------------------------------------


def passed_on(network, x, *more):
    return network.add_identity(x).get_output(0)


def raw(*more, add=passed_on, **options):
    return record(lambda x: trtnet.raw(add, x, *more, **{"shapes": x.shape, **options}), (2, 3))


def lowered_raw(graph):
    provider = needs_rtx()
    return graph.lower(provider.create_network(provider.builder()))


row(
    "let the function close over a Python value in place of taking it",
    lambda: raw(3),
    lambda: raw(add=lambda network, x, number=3: passed_on(network, x)),
)
recorded(
    "a tensor that is computed goes among the inputs",
    lambda x: trtnet.raw(passed_on, x, shapes=x.shape, weights={"kernel": x + 1}),
    lambda x: trtnet.raw(passed_on, x, x + 1, shapes=x.shape),
)
row("make it of x.shape, or of numbers: shapes=x.shape", lambda: raw(shapes=3), lambda: raw(shapes=(2, 3)))
row("give a function, a lambda or a module", lambda: raw(add=3), raw)
row(
    "give it a parameter for each; def function(*tensors) takes any number",
    lambda: raw(reference=lambda: 1),
    lambda: raw(reference=lambda *tensors: tensors[0]),
)
row(
    "give a dict: weights={'kernel': self.weight}",
    lambda: raw(weights=[trtnet.ones(2)]),
    lambda: raw(weights={"kernel": trtnet.ones(2)}, add=lambda network, x, kernel: passed_on(network, x)),
)
row(
    "mend it: its own traceback is above this one",
    lambda: trtnet.reference(raw(reference=lambda x: 1 // 0))(np.ones((2, 3), np.float32)),
    lambda: trtnet.reference(raw(reference=lambda x: x // 1))(np.ones((2, 3), np.float32)),
)
row(
    "give shapes= and dtypes= in the same order",
    lambda: raw(dtypes=["float32", "int32"]),
    lambda: raw(dtypes=["float32"], shapes=[(2, 3)]),
)
recorded(
    "in a module that is called several times, put the module's own name into it",
    lambda x: [trtnet.mark(x + i, "hidden") for i in range(2)][1],
    lambda x: [trtnet.mark(x + i, f"hidden.{i}") for i in range(2)][1],
)
row(
    "record the module again, and build that graph",
    lambda: lowered_raw(pickle.loads(pickle.dumps(raw()))),
    lambda: lowered_raw(raw()),
)
row(
    "mend the function: its own traceback is above this one",
    lambda: lowered_raw(raw(add=lambda network, x: network.add_nothing(x))),
    lambda: lowered_raw(raw()),
)
row(
    "return layer.get_output(0), or a tuple of such",
    lambda: lowered_raw(raw(add=lambda network, x: network.add_identity(x))),
    lambda: lowered_raw(raw()),
)
row(
    "make shapes= and dtypes= what the function adds",
    lambda: lowered_raw(raw(shapes=(3, 2))),
    lambda: lowered_raw(raw(shapes=(2, 3))),
)
row(
    "make shapes= and reference= agree",
    lambda: trtnet.reference(raw(reference=lambda x: x[0]))(np.ones((2, 3), np.float32)),
    lambda: trtnet.reference(raw(reference=lambda x: x))(np.ones((2, 3), np.float32)),
)
row(
    "give one: it gets what the layer gets, as torch tensors",
    lambda: trtnet.reference(raw())(np.ones((2, 3), np.float32)),
    lambda: trtnet.reference(raw(reference=lambda x: x))(np.ones((2, 3), np.float32)),
)
row(
    "the names are those of graph.inputs, graph.outputs and graph.layers",
    lambda: lowered_raw(raw()).tensor("outptu"),
    lambda: lowered_raw(raw()).tensor("output"),
)
recorded(
    "give trtnet.mark another name",
    lambda x: {"hidden": trtnet.mark(x + 1, "hidden")},
    lambda x: {"output": trtnet.mark(x + 1, "hidden")},
)


# --- layers by TensorRT's names ---------------------------------------------------------------------------------------


recorded(
    "trtnet.raw(function, ...) adds any calls of TensorRT's own",
    lambda x: trtnet.layers.add_quux(x),
    lambda x: trtnet.raw(passed_on, x, shapes=x.shape),
)
recorded("give a tensor", lambda x: trtnet.layers.add_softmax("x"), lambda x: trtnet.layers.add_softmax(x, axis=1))
recorded(
    "give them by keyword",
    lambda x: trtnet.layers.add_activation(x),
    lambda x: trtnet.layers.add_activation(x, type="RELU"),
)
recorded(
    "reshape both first; the softmax is over the last dimension",
    lambda x, lengths: trtnet.layers.add_ragged_softmax(x, lengths),
    lambda x, lengths: trtnet.layers.add_ragged_softmax(x.reshape(1, 2, 3), lengths.reshape(1, 2, 1)),
    (2, 3),
    Input((2,), "int32"),
)
recorded(
    "convert them first: .int()",
    lambda x, lengths: trtnet.layers.add_ragged_softmax(x, lengths),
    lambda x, lengths: trtnet.layers.add_ragged_softmax(x, lengths.int()),
    (1, 2, 3),
    (1, 2, 1),
)
recorded(
    "convert them first: .float()",
    lambda boxes, scores: trtnet.layers.add_nms(boxes, scores, 3),
    lambda boxes, scores: trtnet.layers.add_nms(boxes, scores.float(), 3),
    (1, 5, 4),
    Input((1, 5, 2), "float16"),
)
recorded(
    "take a number of them: best = scores.topk(100).indices; boxes[best]",
    lambda boxes, scores: trtnet.ops.nms_mask(boxes, scores, 0.5),
    lambda boxes, scores: trtnet.ops.nms_mask(boxes[scores.topk(2).indices], scores.topk(2).values, 0.5),
    (DYNAMIC, 4),
    (DYNAMIC,),
)
recorded(
    "sampling_ratio=2, as torchvision's detectors have it: the sizes of the boxes are known to no layer",
    lambda x, boxes: trtnet.ops.roi_align(x, boxes, 2),
    lambda x, boxes: trtnet.ops.roi_align(x, boxes, 2, sampling_ratio=2),
    FOUR,
    (3, 5),
)
recorded(
    "convert the boxes: .to(x.dtype)",
    lambda x, boxes: trtnet.ops.roi_align(x, boxes, 2, sampling_ratio=2),
    lambda x, boxes: trtnet.ops.roi_align(x, boxes.to(x.dtype), 2, sampling_ratio=2),
    FOUR,
    Input((3, 5), "float16"),
)


# --- plugins and kernels ----------------------------------------------------------------------------------------------


class Doubled(trtnet.Plugin):
    """A plugin of a creator that no TensorRT here has, with all that takes its place."""

    creator = "Doubled"

    def __init__(self, **attributes):
        super().__init__(**attributes)

    def shapes(self, x, *more):
        return x

    def reference(self, x, *more):
        return x * 2

    def compose(self, x, *more):
        return x * 2


def plugin(*more, shape=(2, 3), attributes=None, **changes):
    """The graph of one, of a class with these changes."""
    kind = type("Changed", (Doubled,), changes)
    return record(lambda x: kind(**(attributes or {}))(x, *more), shape)


def composed(graph):
    return graph.for_provider(needs_rtx())


def referred(graph):
    return trtnet.reference(graph)(np.ones((2, 3), np.float32))


def without(name):
    """A plugin that lacks a method."""
    methods = {n: getattr(Doubled, n) for n in ("shapes", "reference", "compose") if n != name}
    kind = type("Lacking", (trtnet.Plugin,), {"creator": "Lacking", **methods})
    return record(lambda x: kind()(x), (2, 3))


row(
    "a size that is known at run time only is read in the plugin from its inputs' shapes",
    lambda: plugin(attributes={"rows": DYNAMIC}),
    lambda: plugin(shape=(DYNAMIC, 3)),
)
row(
    "set a Parameter after super().__init__(): it becomes an input, and can be refitted",
    lambda: plugin(attributes={"scale": nn.Parameter(np.ones(3, np.float32))}),
    lambda: plugin(nn.Parameter(np.ones(3, np.float32))),
)
row(
    "give numbers, text or arrays; leave out what is None",
    lambda: plugin(attributes={"scale": None}),
    lambda: plugin(attributes={}),
)
row(
    "convert it before and after: x.to(trtnet.int32)",
    lambda: plugin(shape=Input((2, 3), "uint8")),
    lambda: plugin(shape=INTS),
)
row(
    "write it, with other layers (compose), which every TensorRT has",
    lambda: composed(without("compose")),
    lambda: composed(plugin()),
)
row(
    "write it, in PyTorch; or build without the comparison: build(graph, check=False)",
    lambda: referred(
        record(lambda x: type("Bare", (trtnet.Plugin,), {"creator": "B", "shapes": Doubled.shapes})()(x), (2, 3))
    ),
    lambda: referred(plugin()),
)
row(
    "make shapes() and compose() agree",
    lambda: composed(plugin(compose=lambda self, x: x[0])),
    lambda: composed(plugin(compose=lambda self, x: x)),
)
row(
    "make shapes() and reference() agree",
    lambda: referred(plugin(reference=lambda self, x: x[0])),
    lambda: referred(plugin(reference=lambda self, x: x)),
)
row(
    "parameters come as arguments of reference, after the inputs; attributes are ",
    lambda: referred(plugin(attributes={"slope": 2.0}, reference=lambda self, x: x * self.slop)),
    lambda: referred(plugin(attributes={"slope": 2.0}, reference=lambda self, x: x * self.slope)),
)
row(
    "return x, or (x.shape, x.dtype), or ((x.shape[0], 10), trtnet.float32)",
    lambda: plugin(shapes=lambda self, x: 3),
    lambda: plugin(shapes=lambda self, x: (x.shape, x.dtype)),
)
row(
    "def shapes(self, x): return x",
    lambda: record(lambda x: type("Bare", (trtnet.Plugin,), {"creator": "B"})()(x), (2, 3)),
    lambda: plugin(),
)
row(
    "trtnet.plugins.available() shows the creators that there are",
    lambda: record(lambda x: type("Bare", (trtnet.Plugin,), {"shapes": Doubled.shapes})()(x), (2, 3)),
    lambda: plugin(),
)
row(
    "what is no tensor is an attribute: a keyword of super().__init__",
    lambda: plugin(3),
    lambda: plugin(attributes={"number": 3}),
)

KERNEL = 'extern "C" __global__ void {name}({parameters}) {{}}'
POINTERS = "const float* x, float* y"


def launched(parameters=POINTERS, shape=(2, 3), source=None, name=None, grid=1, **options):
    made = trtnet.kernel(
        source or KERNEL.format(name="one", parameters=parameters), *([name] if name else []),
        shapes=lambda x: x, grid=grid, reference=lambda x: x, **options,
    )  # fmt: skip
    return record(lambda x: made(x), shape)


BOTH = KERNEL.format(name="one", parameters=POINTERS) + "\n" + KERNEL.format(name="two", parameters=POINTERS)
row(
    "name one of them: trtnet.kernel(source, 'name', ...)",
    lambda: launched(source=BOTH),
    lambda: launched(source=BOTH, name="one"),
)
row(
    "declare pointers to the inputs, pointers to the outputs, then what arguments= gives",
    lambda: launched("const float* x"),
    lambda: launched(POINTERS),
)
row(
    "inputs are const pointers, and what they point to is of the tensor's dtype",
    lambda: launched("float* x, float* y"),
    lambda: launched(POINTERS),
)
row(
    "give float(",
    lambda: launched(f"{POINTERS}, float a", arguments=lambda x: (2,)),
    lambda: launched(f"{POINTERS}, float a", arguments=lambda x: (float(2),)),
)
row(
    "declare the parameter in the argument's type",
    lambda: launched(f"{POINTERS}, int a", arguments=lambda x: (2.5,)),
    lambda: launched(f"{POINTERS}, float a", arguments=lambda x: (2.5,)),
)
row(
    "declare the parameter as long long, or give the Dims a smaller max",
    lambda: launched(f"{POINTERS}, int a", arguments=lambda x: (1 << 40,)),
    lambda: launched(f"{POINTERS}, long long a", arguments=lambda x: (1 << 40,)),
)
row("put them into a list", lambda: launched(options="--use_fast_math"), lambda: launched(options=["--use_fast_math"]))
row(
    "put a single one into a list: arguments=[n]",
    lambda: launched(f"{POINTERS}, int a", arguments=2),
    lambda: launched(f"{POINTERS}, int a", arguments=[2]),
)
row(
    "round up: (x.shape.numel() + 255) // 256 blocks of 256 threads",
    lambda: launched(grid=lambda x: x.shape.numel() // 256),
    lambda: launched(grid=lambda x: (x.shape.numel() + 255) // 256),
)
row(
    "divide sizes by //: (x.shape.numel() + 255) // 256",
    lambda: launched(grid=lambda x: x.shape.numel() / 256),
    lambda: launched(grid=lambda x: (x.shape.numel() + 255) // 256),
)
row(
    "convert them before and after: x.to(trtnet.float32)",
    lambda: launched("const unsigned char* x, unsigned char* y", Input((2, 3), "uint8")),
    lambda: launched(POINTERS),
)


# --- mixtures of experts
def experts(*more, **attributes):
    shapes = (1, 2, 4), (1, 2, 2), (5, 4, 3), (5, 4, 3), (5, 3, 4)
    return record(
        lambda x, scores, gate, up, down: layers.add_moe(
            x, (scores * 0).int(), scores, gate, up, down, None, None, None, *more, **attributes
        ),
        *shapes,
    )


row("leave them out: they are infinity, 1 and 0 then", lambda: experts(swiglu_param_limit=-1.0), experts)
row(
    "quantize weights and hidden states by layers of their own: add_quantize, add_dequantize",
    lambda: experts(0.1, quantization_to_type="int8"),
    lambda: record(lambda x: layers.add_dequantize(layers.add_quantize(x, 0.1), 0.1), (2, 3)),
)
row(
    "one scale for all experts: trtnet.tensor(0.02)",
    lambda: experts(trtnet.tensor([0.1, 0.2]), quantization_to_type="float8_e4m3fn"),
    lambda: experts(trtnet.tensor(0.02), quantization_to_type="float8_e4m3fn"),
)

# --- torch.nn.Modules as they are


def jitted():
    torch = pytest.importorskip("torch")
    return torch.jit.trace(torch.nn.Tanh(), torch.zeros(2, 3))


def faked(torch, x, zero_point):
    return torch.fake_quantize_per_tensor_affine(x, torch.tensor(0.1), torch.as_tensor(zero_point).int(), -100, 100)


def picking(least):
    """A network that picks by positions in a buffer, of a dimension of so many elements or more."""

    class Picking(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("places", trtnet.tensor([3, -1]))

        def forward(self, x):
            return x[self.places]

    return trtnet.reference(record(Picking(), (Dim("n", least, 6, 9), 3)))


def of_torch(forward, *shapes):
    """Record a torch.nn.Module with this forward and, as `self.h`, a buffer."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", torch.ones(3))

        forward = None

    Net.forward = lambda self, x, h=None: forward(torch, self, x, h)
    names = ("x", "h")[: len(shapes)]
    return trtnet.record(Net(), **{name: Input(shape) for name, shape in zip(names, shapes)})


def changed_buffer(torch, self, x, h):
    self.h += 1
    return x * self.h


def scaled(torch, x, out_dtype=None):
    from trtnet.pytorch.exported import same

    schema = torch.ops.aten.mm.dtype._schema
    return record(lambda x: same.call(F.mm, schema, [x, x], {"out_dtype": out_dtype}), x)


FROM_ONE = Dim("n", min=1, opt=4, max=9)
row(
    "torch.export says what it needs; write forward so",
    lambda: of_torch(lambda torch, self, x, h: object(), (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: x * 2, (2, 3)),
)
row(
    "let the network decide: torch.where(condition, a, b)",
    lambda: of_torch(lambda torch, self, x, h: x if x.sum() > 0 else -x, (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: torch.where(x.sum() > 0, x, -x), (2, 3)),
)
row(
    "narrow the Dim's range so that one of both ways is taken",
    lambda: of_torch(lambda torch, self, x, h: x if x.shape[0] > 3 else -x, (DYNAMIC, 3)),
    lambda: of_torch(lambda torch, self, x, h: x if x.shape[0] > 3 else -x, (Dim("n", min=4, opt=4, max=9), 3)),
)
row(
    "let the Dim begin above that size",
    lambda: of_torch(lambda torch, self, x, h: x if x.shape[0] == 1 else -x, (FROM_ONE, 3)),
    lambda: of_torch(lambda torch, self, x, h: x if x.shape[0] == 1 else -x, (DYNAMIC, 3)),
)
row(
    "take the state as an argument of forward and return the new one",
    lambda: of_torch(changed_buffer, (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: (x * h, h + 1), (2, 3), (3,)),
)
row(
    "leave the argument out, or give the operator a converter",
    lambda: scaled(pytest.importorskip("torch"), (3, 3), "float32"),
    lambda: scaled(pytest.importorskip("torch"), (3, 3)),
)
row(
    "write x.shape[0] // 2 in place of int(x.shape[0] / 2)",
    lambda: of_torch(lambda torch, self, x, h: x[: torch.sym_int(x.shape[0] * 0.5)], (DYNAMIC, 3)),
    lambda: of_torch(lambda torch, self, x, h: x[: x.shape[0] // 2], (DYNAMIC, 3)),
)
row(
    "draw by torch, as in torch.rand(()), which a network does",
    lambda: of_torch(lambda torch, self, x, h: x * float(np.random.rand()), (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: x * torch.rand(()), (2, 3)),
)
row(
    "record the module before torch.jit.script or torch.jit.trace",
    lambda: trtnet.record(jitted(), input=Input((2, 3))),
    lambda: trtnet.record(pytest.importorskip("torch").nn.Tanh(), input=Input((2, 3))),
)
row(
    "quantize symmetrically: a zero point of 0",
    lambda: of_torch(lambda torch, self, x, h: faked(torch, x, (x.sum() > 0).int()), (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: faked(torch, x, 0), (2, 3)),
)
row(
    "call the function of that name of trtnet.functional; a torch.nn.Module",
    lambda: record(lambda x: pytest.importorskip("torch").relu(x), (2, 3)),
    lambda: record(F.relu, (2, 3)),
)
row(
    "record trtnet.functional.relu, or a torch.nn.Module whose forward calls",
    lambda: trtnet.record(pytest.importorskip("torch").relu, input=Input((2, 3))),
    lambda: record(F.relu, (2, 3)),
)
row(
    "record with a Dim of a larger min: nothing checks on a GPU",
    lambda: picking(2),
    lambda: picking(4),
)
row(
    '@trtnet.converts("mylib::scale"), as in torch.library.custom_op',
    lambda: trtnet.converts("scale"),
    lambda: trtnet.converts("mylib::scale"),
)
row(
    "convert the numbers: x.to(dtype)",
    lambda: of_torch(lambda torch, self, x, h: x.view(torch.int32), (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: x.to(torch.int32), (2, 3)),
)
row(
    "name the dimensions: x.squeeze(-1)",
    lambda: of_torch(lambda torch, self, x, h: x.squeeze(), (FROM_ONE, 3, 1)),
    lambda: of_torch(lambda torch, self, x, h: x.squeeze(-1), (FROM_ONE, 3, 1)),
)
row(
    "squeeze dimensions that are always 1",
    lambda: of_torch(lambda torch, self, x, h: x.squeeze(0), (FROM_ONE, 3, 1)),
    lambda: of_torch(lambda torch, self, x, h: x.squeeze(2), (FROM_ONE, 3, 1)),
)


row(
    "write x.shape[0] in place of len(x) and int(x.shape[0])",
    lambda: of_torch(lambda torch, self, x, h: x / len(x), (DYNAMIC, 3)),
    lambda: of_torch(lambda torch, self, x, h: x / x.shape[0], (DYNAMIC, 3)),
)


def of_packed(take):
    """Record a torch.nn.Module that takes this of a packed sequence."""

    def forward(torch, self, x, h):
        return take(torch, torch.nn.utils.rnn.pack_padded_sequence(x, [2, 1], batch_first=True))

    return of_torch(forward, (2, 3, 4))


row(
    "compute with the padded batch: torch.nn.utils.rnn.pad_packed_sequence(packed)",
    lambda: of_packed(lambda torch, packed: packed.data * 2),
    lambda: of_packed(lambda torch, packed: torch.nn.utils.rnn.pad_packed_sequence(packed, True)[0] * 2),
)
row(
    "compute it otherwise at that line, or say what is recorded for it",
    lambda: of_torch(lambda torch, self, x, h: torch.linalg.svdvals(x), (2, 3)),
    lambda: of_torch(lambda torch, self, x, h: x.norm(), (2, 3)),
)


def triton_function(x, y, n, BLOCK):
    """What `triton.jit` gives, as far as recording asks."""


triton_function.params = [SimpleNamespace(name=name, is_constexpr=name == "BLOCK") for name in ("x", "y", "n", "BLOCK")]
triton_function.arg_names, triton_function.src = ["x", "y", "n", "BLOCK"], "def triton_function"


def by_triton(**options):
    given = {"grid": 1, "arguments": lambda x: [x.shape.numel()], "constants": {"BLOCK": 8}, "reference": lambda x: x}
    made = trtnet.kernel(triton_function, shapes=lambda x: x, **{**given, **options})
    return record(lambda x: made(x), (2, 3))


row("leave these out", lambda: by_triton(block=64), by_triton)
row("give each of them: constants={'BLOCK': 1024}", lambda: by_triton(constants={}), by_triton)
row(
    "a size of a tensor is an argument: arguments=lambda x: [x.shape[0]]",
    lambda: by_triton(constants={"BLOCK": DYNAMIC}),
    lambda: by_triton(arguments=lambda x: [x.shape[0]]),
)
row(
    "give a dict: options={'num_warps': 8, 'num_stages': 3}",
    lambda: by_triton(options=["num_warps=8"]),
    lambda: by_triton(options={"num_warps": 8, "num_stages": 3}),
)
row(
    "a bool or a text is a constant: declare it tl.constexpr, and give constants={...}",
    lambda: by_triton(arguments=lambda x: [True]),
    lambda: by_triton(constants={"BLOCK": True}),
)
row(
    "record a network with it, and build that",
    lambda: trtnet.plugins.compiled(trtnet.kernel(triton_function, shapes=lambda x: x, grid=1, constants={"BLOCK": 8})),
    by_triton,
)
row(
    "define them in the source, or give options=['-DBLOCK=256']",
    lambda: launched(constants={"BLOCK": 256}),
    lambda: launched(options=["-DBLOCK=256"]),
)


# --- calls, explained and written


def relu_graph():
    return record(F.relu, (2, 3))


def asks_tensorrt(network, x):
    inside = network.add_identity(x).get_output(0)
    return network.add_identity(inside if inside.shape else x).get_output(0)


row(
    "read it of the tensors that the function is given, or have it in a variable",
    lambda: record(lambda x: trtnet.raw(asks_tensorrt, x, shapes=(2, 3)), (2, 3)).explain(),
    lambda: record(
        lambda x: trtnet.raw(
            lambda network, x: network.add_identity(x if x.shape else None).get_output(0), x, shapes=(2, 3)
        ),
        (2, 3),
    ).explain(),
)
row(
    "leave it out for what is installed, or for the newest that is known",
    lambda: relu_graph().explain(provider="cuda"),
    lambda: relu_graph().explain(),
)
row("graph.explain() shows all", lambda: relu_graph().explain("conv7"), lambda: relu_graph().explain())
row('graph.to_script("net.py")', lambda: relu_graph().to_script("net.txt"), lambda: relu_graph().to_script())
row('targets="sm86"', lambda: relu_graph().to_script(targets=86), lambda: relu_graph().to_script())
row(
    "leave targets out, or give names that this TensorRT knows",
    lambda: relu_graph().to_script(targets="sm1"),
    lambda: relu_graph().to_script(),
)
row(
    "is the newest that is known",
    lambda: relu_graph().explain(provider="tensorrt==7.2"),
    lambda: relu_graph().explain(provider="tensorrt==11.4"),
)


def network_of(batch=2, names=("a", "b"), kind=""):
    """Two layers in a row, by TensorRT's own API."""
    trt = needs_rtx().trt
    network = new_network()
    x = network.add_input("x", trt.DataType.FLOAT, (batch, 3))
    for name in names:
        layer = network.add_identity(x)
        layer.name = layer.get_output(0).name = name
        x = layer.get_output(0)
    if kind == "loop":
        network.add_loop().add_recurrence(x)
    if names:
        network.mark_output(x)
    return network


BATCHES = Input((Dim("batch", min=1, opt=2, max=4), 3))
row(
    "network.add_input, network.mark_output",
    lambda: trtnet.from_network(network_of(names=())),
    lambda: trtnet.from_network(network_of()),
)
row(
    "name=Input(shape) for the network's own inputs",
    lambda: trtnet.from_network(network_of(), y=Input((2, 3))),
    lambda: trtnet.from_network(network_of(), x=Input((2, 3))),
)
row(
    "from_network(network, name=Input(shape)), a Dim in the place of each -1",
    lambda: trtnet.from_network(network_of(-1)),
    lambda: trtnet.from_network(network_of(-1), x=BATCHES),
)
row(
    "write the network with trtnet, or without this layer",
    lambda: trtnet.from_network(network_of(kind="loop")),
    lambda: trtnet.from_network(network_of()),
)
row(
    "give the plugin a composition, and name provider='tensorrt_rtx', which has no plugins",
    lambda: record(lambda x: Doubled()(x), (2, 3)).explain(provider="tensorrt==10.13"),
    lambda: record(lambda x: Doubled()(x), (2, 3)).explain(provider="tensorrt_rtx"),
)


# --- a fleet


def twice(follower_of):
    """Publish two tensors, then one, and poll each time, the second time by `follower_of(follower, engine)`."""
    engine = trtnet.reference(trtnet.record(nn.Linear(2, 1), input=Input((1, 2))))
    with tempfile.TemporaryDirectory() as folder, fleet.Publisher(f"dir:{folder}") as publisher:
        publisher.publish(WEIGHT | {"bias": np.ones(1, np.float32)})
        follower = fleet.Follower(engine, publisher.road)
        follower.poll()
        publisher.publish(WEIGHT)
        return follower_of(follower, engine).poll()


def fleet_of(publish=None, follow=None, graph=None, network=None, scheme="dir", **given):
    """Publish in a new place, by `publish(publisher)`, and follow by `follow(follower)`."""
    network = network or trtnet.record(nn.Linear(2, 1, bias=False), input=Input((1, 2)))
    with tempfile.TemporaryDirectory() as folder:
        where = f"dir:{folder}" if scheme == "dir" else f"shm:{Path(folder).name}"
        with fleet.Publisher(where, graph=graph) as publisher:
            publisher.folder = Path(folder)
            (publish or (lambda publisher: publisher.publish(WEIGHT)))(publisher)
            with fleet.Follower(trtnet.reference(network), where, **given) as follower:
                return (follow or fleet.Follower.poll)(follower) is not False


WEIGHT = {"weight": np.ones((1, 2), np.float32)}
STRUCTURE = trtnet.record(nn.Linear(2, 1, bias=False), input=Input((1, 2)))


def published_then(change):
    def publish(publisher):
        publisher.publish(WEIGHT)
        change(publisher.folder)

    return publish


def without_a_file(folder):
    next(folder.glob("*.safetensors")).unlink()


def with_half_a_manifest(folder):
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text()[:50])


def closed_before(use):
    def closed(of):
        of.close()
        use(of)

    return closed


row(
    "did you mean 'dir:weights'?",
    lambda: fleet.roads.road("dri:weights"),
    lambda: fleet.roads.road("dir:weights"),
)
row("a folder is named 'dir:weights'", lambda: fleet.roads.road("weights"), lambda: fleet.roads.road("dir:weights"))
row(
    "leave it out, or publish its real and imaginary parts",
    lambda: fleet_of(lambda one: one.publish({"weight": np.ones((1, 2), np.complex64)})),
    fleet_of,
)
row(
    "publish again: the engine has the weights that it had",
    lambda: fleet_of(published_then(with_half_a_manifest)),
    lambda: fleet_of(lambda one: [published_then(with_half_a_manifest)(one), one.publish(WEIGHT)]),
)
row(
    "publish again, or copy the whole folder",
    lambda: fleet_of(published_then(without_a_file)),
    lambda: fleet_of(
        lambda one: [published_then(without_a_file)(one), one.publish({"weight": np.zeros((1, 2), "f4")})]
    ),
)
row(
    "publish(module), or publish(module.state_dict())",
    lambda: fleet_of(lambda one: one.publish(3)),
    lambda: fleet_of(lambda one: one.publish(nn.Linear(2, 1, bias=False))),
)
row(
    "leave out of the state_dict what are no tensors",
    lambda: fleet_of(lambda one: one.publish(WEIGHT | {"step": 3})),
    fleet_of,
)
row(
    "close that one, or choose another name",
    lambda: fleet_of(lambda one: fleet.Publisher(one.road), scheme="shm"),
    lambda: fleet_of(lambda one: fleet.Publisher("shm:another-name").close() or one.publish(WEIGHT), scheme="shm"),
)
row(
    "let one of the two publish, or give each a folder of its own",
    lambda: fleet_of(lambda one: [fleet.Publisher(one.road).close(), one.publish(WEIGHT)]),
    fleet_of,
)
row(
    "make another one: trtnet.fleet.Publisher(where)",
    lambda: fleet_of(closed_before(lambda one: one.publish(WEIGHT))),
    lambda: fleet_of(lambda one: [one.close(), fleet.Publisher(one.road).publish(WEIGHT)]),
)
row(
    "Publisher(where, graph=trtnet.record(...)), or leave it out",
    lambda: fleet_of(graph=3),
    lambda: fleet_of(graph=STRUCTURE),
)
row(
    "Follower(trtnet.build(graph, refit=True), where)",
    lambda: fleet.Follower(STRUCTURE, "dir:weights"),
    fleet_of,
)
row(
    "build this engine from the graph that the publisher names",
    lambda: fleet_of(graph=trtnet.record(nn.Linear(2, 1), input=Input((1, 2)))),
    lambda: fleet_of(graph=STRUCTURE),
)
row(
    "start() it once",
    lambda: fleet_of(follow=lambda one: one.start().start()),
    lambda: fleet_of(follow=fleet.Follower.start),
)
row(
    "follower.start() once, or follower.poll() before calls",
    lambda: fleet_of(follow=lambda one: one(np.ones((1, 2), np.float32)), max_lag=0, on_lag="raise"),
    lambda: fleet_of(follow=lambda one: [one.poll(), one(np.ones((1, 2), np.float32))], max_lag=0, on_lag="raise"),
)
row(
    "make another one: trtnet.fleet.Follower(engine, where)",
    lambda: fleet_of(follow=closed_before(fleet.Follower.poll)),
    fleet_of,
)

row(
    "publish the whole state_dict each time, or make the Follower again",
    lambda: twice(lambda one, engine: one),
    lambda: twice(lambda one, engine: fleet.Follower(engine, one.road)),
)


def alone(use):
    """`use()` in a job of one rank."""
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            return use()
        finally:
            dist.destroy_process_group()


def publish_alone():
    with fleet.Publisher("dist:") as publisher:
        return publisher.publish(WEIGHT)


row("call it in every rank, or start the job by torchrun", publish_alone, lambda: alone(publish_alone))


def exposed(*ends):
    """Show these to Prometheus, one after the other."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    for named in ends:
        fleet.expose(named, registry)
    return True


row("give all ends in one mapping, which may grow afterwards", lambda: exposed({}, {}), lambda: exposed({}))

ELSEWHERE = "needs another TensorRT, or a machine on which a package, a compiler or a file of trtnet's is missing"
COMMAND = "a command's: tests/cli/test_commands.py sees it printed, and follows it"
MACHINE = "a command's, of a file or package that is not as it should be: tests/cli/test_commands.py at most sees it"
RANKS = "needs processes that end, or two that publish: tests/fleet/test_distributed.py sees it"
RAY = "needs a Ray cluster: tests/fleet/test_ray.py follows it"
NOT_FOLLOWED: dict[str, str] = {
    "build(graph, refit=True): engine.refit(module) gathers them": "tests/weights/test_sources.py sees it",
    "refit again; if this comes twice, the memory of": "tests/pytorch/test_engine.py sees it",
    "merge them in PEFT: model.merge_and_unload().state_dict()": "tests/weights/test_lora.py sees it",
    "--python /path/to/venv/bin/python": "tests/cli/test_upgrade_check.py sees it",
    "-m pip install 'trtnet==": "tests/cli/test_upgrade_check.py sees it",
    "name another file: it is made": "tests/helpers/judged_engines.py sees it",
    "leave verify out, and compare what the engine computes": "tests/helpers/judged_engines.py sees it",
    **dict.fromkeys(
        (
            "the goal's explain() shows the calls that are wanted",
            "give them the values of the goal's state_dict(), in the layout that its explain() shows",
            'network.add_input("name", ...)',
            'tensor.name = "name"; network.mark_output(tensor)',
            "the layers just before it decide that",
            "a size that may change is -1, and stands in an optimization profile",
        ),
        "what a network written by hand is told, and not raised: tests/teaching/test_learn.py has right and wrong ones",
    ),
    "give the layers different names: layer.name = 'conv1'": "TensorRT gives each tensor a name of its own",
    "publish in one rank, or name the roads": RANKS,
    "start the job again; the engine has the weights that it had": RANKS,
    "start the job again; where followers come and go": RANKS,
    "call ray.init(), or ray.init(address='auto')": RAY,
    "publish again; the engine has the weights that it had": RAY,
    "let one of the two publish, or give each a name of its own": RAY,
    "ActorPool(trtnet.record(...), count)": RAY,
    **dict.fromkeys(
        (
            "return one shape for each output from shapes(): a list where there are several",
            "mend that line of the source",
            "draw fewer boxes, graph.draw(path, depth=1); or write a text for another program: net.dot",
            "follow a folder: 'dir:PATH'",
            "make room in it, or choose another name; containers take a size for it: --shm-size",
            "make room in it; containers take a size for it: --shm-size",
            "remove that folder, and make the publisher again",
            "check that you may read it",
            "pip install 'trtnet[fleet]'",
            "pip install 'trtnet[prometheus]', or read publisher.metrics()",
            "pip install 'trtnet[ray]'; on one machine",
            "use 'dir:PATH', or another PyTorch",
            "use 'shm:NAME', which needs none",
            "use a library's plugin, or trtnet.kernel, which every TensorRT runs",
            "give an object, and call IPluginCreatorV3One.__init__ in its own __init__",
            "give it another version; a creator is registered once in a process",
            "leave graph=True out; for a slice from a computed start: trtnet.narrow(x, dim, start, length)",
            "remove the file: it is written anew",
            "name another file, which is made then: runtime_cache='kernels.cache'",
            "mend the function, its constants or Triton's options as the message asks",
            "write it without tensor descriptors made on the GPU, and with num_ctas=1",
            "pip install triton",
            "mend the source; for headers that are not found: options=['--include-path=/usr/local/cuda/include']",
            "build where the network is to run; trtnet.plugins.compiled(kernel, 'sm_90') looks for errors alone",
            "give a CUDA version that knows this GPU: pip install -U nvidia-cuda-nvrtc",
            "install them (Debian and Ubuntu: libnvinfer-headers-dev; or the tar file of TensorRT",
            "install one (Debian and Ubuntu: g++)",
            "the compiler's messages are above; CXX names another compiler",
            "build it, and load it before: trtnet.plugins.load('/path/to/{}')",
            "give that version",
            "extra_outputs= gives them as outputs",
            "load its library before: library = '...' in the class, or trtnet.plugins.load(path)",
            "give text",
            "give a number that fits, or numpy.{}(...)",
            "give a list of at most 8 whole numbers",
            "load it before: trtnet.plugins.load('/path/to/{}'); or load(path, provider='reference')",
            "what it said, if anything, is in the log of 'trtnet.tensorrt'; give the fields that it needs",
            "convert them before, and write the kernel for int32, and for float32 or float16",
            "build it, or give the path where it lies: trtnet.plugins.load(path)",
            "trtnet.plugins.available() shows what is there; restart Python to load another build",
            "load one of them only, or give one plugin another version",
            "build it against this TensorRT and CUDA; a missing library that it needs must be on LD_LIBRARY_PATH",
            "give the plugin a composition (def compose(self, *tensors)), which every TensorRT builds",
        ),
        ELSEWHERE,
    ),
    **dict.fromkeys(
        (
            "most often the GPU has no memory left, which nvidia-smi shows; `trtnet doctor` s",
            "choose others with refit=[patterns], or make them live=[patterns]; a change of t",
            "build it again with this version of TensorRT on this kind of GPU",
            "tensor.cuda().contiguous(), kept and written to in place: buffer.copy_(new)",
            "; trtnet.diverges(graph, x) finds the module again; check=False hands the engine",
            "write that module in another way; trtnet.diverges(graph, x) finds the module aga",
            "build without io_formats",
            "leave graph=True out; or unroll a short loop: a Python for over the steps",
            "leave graph=True out, or move the inputs to the GPU first: tensor.cuda()",
            "leave graph=True out, or give the engine room for all its weights",
            "engine.set_debug_listener(None) before calls that replay a CUDA graph",
            "build it again with debug_tensors=",
            "build(graph, weight_streaming=True), or leave the budget out: all weights are on the GPU then",
            "give less, or leave the option out",
            "build the plan with trtnet, which asks for that (PROFILE_SHARING_0806), or close",
            "call engine.context() for the other stream, or wait for the end of the capture",
            ", or build the engine there: device='cuda:",
            "copy it to the GPU by its own library",
            "import torch before the call",
            "engine.refit(learner) needs no road",
            "make the publisher again, in a process that sees this GPU",
            "record the input as int32: Input(shape, 'int32')",
            "free GPU memory (close engines that are not needed, torch.cuda.empty_cache()), o",
            "an earlier kernel or call may have failed: run with CUDA_LAUNCH_BLOCKING=1 to fi",
            "build(graph, provider='reference', device=...) runs elsewhere",
            "build(graph, device='cuda:0')",
            "build it with another io_formats, or leave that out",
            "print(engine.weights) shows which weights the engine has",
            "give all of them at once: engine.refit(module.state_dict())",
            "print(engine.weights) says which are; build the graph again with these weights",
            "build the plan with trtnet, which names every weight",
            "engine.refit(state_dict) with all of them",
            "engine.refit(state_dict) first",
            "this plan is of another network: build it again",
            "if GPU memory ran out, run smaller batches or close other engines",
            "build it here: a plan is for one version of TensorRT and one kind of GPU; if mem",
            "close other engines or contexts, use engine.context(shared_memory=True), or buil",
            "build with a profile that has them: build(graph, profiles=[...])",
            "this plan is of another network, or TensorRT did not keep to the recorded types:",
            "give smaller numbers",
            "free GPU memory, set a smaller workspace=, or build with a lower optimization_le",
            'record(..., draws="inputs") makes the draws inputs, which every call may be given',
            "makes the draws inputs of the network",
        ),
        GPU,
    ),
    **dict.fromkeys(
        (
            "-o {}",
            "create it first: mkdir",
            "=1..8..64 (smallest, best, largest)",
            "--workspace 256M",
            "let it be converted: --input",
            "--input NAME=",
            ", when all of them are inputs",
            "give the range once; elsewhere the name alone is enough",
            "name a class of modules, or a function that returns one",
            "give a file as path/to/file.py:Class; a module must be importable from here",
            "write the network as a Python file, and name its class:",
            "name the network that it was built from:",
            "write the file in the type that the network takes",
            "leave --weights out, or name a class of modules",
            "for instance",
            "list them: trtnet models",
            "compare what was computed on the same inputs",
            "a plan under another name is looked at as FILE.engine: copy it",
            "build it with --refit: trtnet build MODEL --refit",
            "`trtnet inspect {}` lists the names",
            "separate sizes by commas where one is a name",
            "write {}:{}",
            "look into",
            "constructor arguments are given as --arg name=value",
            "one for each argument of forward:",
            ".npz, or another folder",
            "-o another folder, or FILE.npz",
        ),
        COMMAND,
    ),
    **dict.fromkeys(
        (
            "may you read it?",
            "write it with numpy.savez",
            ", or put its folder on PYTHONPATH",
            "name another: --output FILE.png",
        ),
        MACHINE,
    ),
    **dict.fromkeys(
        (
            "pip install 'trtnet[demo]'",
            "pip install matplotlib",
            "pip install onnx onnxruntime",
            "compare with another: float64, or the torch.nn.Module",
            "sample slices of 4 dimensions, or build with TensorRT 11.3 or TensorRT-RTX",
            "; or weights that are not live, which refit changes",
            "leave one of them out; live= weights change in such a plan, too",
            "install trtnet again: pip install --force-reinstall 'trtnet[demo]'",
            "pip install --upgrade torch; it was tried with",
            "on a machine that has one: pip install 'trtnet[tensorrt]'; here trtnet.build run",
            "pip install 'trtnet[tensorrt]' (any NVIDIA GPU) or 'trtnet[rtx]' (GeForce and RT",
            "give the kernel as a Parameter or an array, or leave out stride or dilation",
            "change this layer's arguments or operands as TensorRT's reason, quoted above, as",
            "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
            "graph.summary() shows the layers; TensorRT's reason is quoted above",
            "live weights need no refit: build(graph, live=True)",
            "pip install 'trtnet[rtx]' compiles plans without a GPU; 'trtnet[tensorrt]' build",
            "use a newer trtnet",
            "use a TensorRT that has it (`trtnet doctor` shows what is installed)",
            "]' (`trtnet doctor` shows what is installed)",
            "use float16 or float32, or a newer TensorRT",
            "use int32: x.to(trtnet.int32), or a newer TensorRT",
            "', or build it again",
            "', or build it again; build(graph, version_compatible=True) makes plans that lat",
            "build it on this machine; build_plan(graph, targets=[...]) makes one plan for se",
            "build it on this machine; build(graph, hardware_compatibility='ampere_plus') mak",
            "build it where TensorRT runs: trtnet.build(graph)",
            "), or build it with",
        ),
        ELSEWHERE,
    ),
}


def test_names_that_merely_look_alike_are_not_suggested():
    names = ["conv2d", "conj", "relu", "softmax", "float16", "scatter", "int32", "bernoulli"]
    for wrong, right in {
        "conv": None,
        "cond": None,
        "rleu": "relu",
        "reluu": "relu",
        "soft_max": "softmax",
        "Softmax": "softmax",
        "float_16": "float16",
        "scatter_add": None,
        "int64": None,
        "conv1d": None,
        "bernouli": "bernoulli",
        "bernoullu": "bernoulli",
    }.items():
        assert nearest(wrong, names) == right, wrong
    for name in ("cfloat", "complex64"):
        with pytest.raises(TrtnetError, match="no complex numbers"):
            getattr(trtnet, name)


def sites():
    """Where a remedy stands in the sources: file, line and its text, with {} for what is filled in."""
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            found = None
            if (isinstance(node, ast.keyword) and node.arg == "remedy") or (
                isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).rpartition(".")[2] == "remedy"
            ):
                found = node.value
            if found is None or isinstance(found, ast.Name) or (text := texts(found)) == [""]:
                continue
            for one in text:
                yield path.relative_to(SOURCES).as_posix(), found.lineno, one


def texts(node):
    """The texts that an expression can give."""
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in texts(value)]
    if isinstance(node, ast.BinOp):
        return [left + right for left in texts(node.left) for right in texts(node.right)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else [""]


def test_every_remedy_has_a_row_or_a_reason():
    left = []
    for file, line, text in sites():
        known = [part for part in (*ROWS, *NOT_FOLLOWED) if part in text or (len(text) > 14 and text in part)]
        filled = [part for part in text.split("{}") if len(part) > 12 and any(part in one for one in ROWS)]
        if text.strip("{}") and not known and not filled:
            left.append(f"{file}:{line}: {text}")
    assert not left, "\n" + "\n".join(left)


def test_no_reason_outlives_its_remedy():
    found = [text for _, _, text in sites()]
    assert [part for part in NOT_FOLLOWED if not any(part in text for text in found)] == []


@pytest.mark.parametrize("remedy", ROWS)
@pytest.mark.filterwarnings(
    "ignore:no TensorRT can run here", "ignore:weights hold NaN", "ignore:a parameter", "ignore:(power|a) is read"
)
def test_a_remedy_helps(remedy):
    pytest.importorskip("torch")
    wrong, right = ROWS[remedy]
    with pytest.raises(TrtnetError) as caught:
        wrong()
    assert remedy in (caught.value.remedy or ""), caught.value
    assert f"remedy:   {caught.value.remedy.splitlines()[0]}" in str(caught.value)
    assert right() is not False
