"""The structure hash: what changes it and what does not."""

from __future__ import annotations

import re
import subprocess
import sys
import types

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F


class Net(nn.Module):
    def __init__(self, width=4, stride=1, bias=True, name="conv", epsilon=1e-5):
        super().__init__()
        self.add_module(name, nn.Conv2d(1, width, 3, stride=stride, bias=bias))
        self.norm = nn.BatchNorm2d(width, eps=epsilon)
        self.name = name

    def forward(self, x):
        return F.relu(self.norm(getattr(self, self.name)(x)))


def image(batch=2, size=8, dtype="float32"):
    return Input((batch, 1, size, size), dtype)


def hash_of(module, x=None):
    return trtnet.record(module, x=image() if x is None else x).structure_hash()


BASE = hash_of(Net())


def test_it_is_a_sha256():
    assert re.fullmatch(r"[0-9a-f]{64}", BASE)


def test_the_same_structure_has_the_same_hash():
    trtnet.manual_seed(5)
    net = Net()
    assert hash_of(net) == BASE
    net.load_state_dict({name: np.full_like(value, 0.5) for name, value in net.state_dict().items()})
    assert hash_of(net) == BASE


def test_class_file_line_and_module_paths_of_layers_mean_nothing():
    class Other(Net):
        def forward(self, x):

            x = self.conv(x)
            x = self.norm(x)
            return F.relu(x)

    assert hash_of(Other()) == BASE
    assert trtnet.record(Other(), x=image()).title != trtnet.record(Net(), x=image()).title
    scope = {"nn": nn, "F": F}
    exec(
        compile(
            "class Elsewhere(nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.conv = nn.Conv2d(1, 4, 3)\n"
            "        self.norm = nn.BatchNorm2d(4)\n"
            "    def forward(self, x):\n"
            "        return F.relu(self.norm(self.conv(x)))\n",
            "elsewhere.py",
            "exec",
        ),
        scope,
    )
    assert hash_of(scope["Elsewhere"]()) == BASE


def test_it_is_the_same_in_another_process():
    code = (
        "import trtnet\nfrom trtnet import nn, functional as F\n"
        "class N(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 4, 3)\n"
        "        self.norm = nn.BatchNorm2d(4)\n"
        "    def forward(self, x):\n"
        "        return F.relu(self.norm(self.conv(x)))\n"
        "print(trtnet.record(N(), x=trtnet.Input((2, 1, 8, 8))).structure_hash())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert found.stdout.split()[-1] == BASE


def b(**kwargs):
    return image(Dim("b", **kwargs))


CHANGES = {
    "width": lambda: hash_of(Net(width=5)),
    "stride": lambda: hash_of(Net(stride=2)),
    "no bias": lambda: hash_of(Net(bias=False)),
    "a weight's name": lambda: hash_of(Net(name="convolution")),
    "epsilon, a constant in a recipe": lambda: hash_of(Net(epsilon=1e-3)),
    "input size": lambda: hash_of(Net(), image(size=9)),
    "dtype": lambda: hash_of(Net().half(), image(dtype="float16")),
    "a Dim": lambda: hash_of(Net(), b(min=1, opt=2, max=4)),
    "a Dim's min": lambda: hash_of(Net(), b(min=2, opt=2, max=4)),
    "a Dim's opt": lambda: hash_of(Net(), b(min=1, opt=3, max=4)),
    "a Dim's max": lambda: hash_of(Net(), b(min=1, opt=2, max=5)),
    "a Dim's multiple": lambda: hash_of(Net(), b(min=2, opt=2, max=4, multiple_of=2)),
    "a Dim's name": lambda: hash_of(Net(), image(Dim("c", min=1, opt=2, max=4))),
    "another activation": lambda: hash_of(functional(lambda self, x: F.sigmoid(self.norm(self.conv(x))))),
    "wiring": lambda: hash_of(functional(lambda self, x: F.relu(self.norm(self.conv(x))) + x[:, :, 1:-1, 1:-1])),
    "form": lambda: hash_of(functional(lambda self, x: (F.relu(self.norm(self.conv(x))),))),
    "an output's name": lambda: hash_of(functional(lambda self, x: {"prob": F.relu(self.norm(self.conv(x)))})),
    "a constant": lambda: hash_of(functional(lambda self, x: F.relu(self.norm(self.conv(x))) * 2)),
    "a constant's value": lambda: hash_of(functional(lambda self, x: F.relu(self.norm(self.conv(x))) * 3)),
    "a constant's bytes": lambda: hash_of(
        functional(lambda self, x: F.relu(self.norm(self.conv(x))) * trtnet.full((1,), 3.0))
    ),
}


def functional(forward):
    net = Net()
    net.forward = types.MethodType(forward, net)
    return net


def test_every_change_of_structure_gives_another_hash():
    hashes = {what: make() for what, make in CHANGES.items()} | {"": BASE}
    by_hash: dict[str, list[str]] = {}
    for what, found in hashes.items():
        by_hash.setdefault(found, []).append(what)
    assert [names for names in by_hash.values() if len(names) > 1] == []


def test_the_order_of_operands_is_structure():
    one = trtnet.record(lambda x, y: x - y, x=Input((2,)), y=Input((2,))).structure_hash()
    two = trtnet.record(lambda x, y: y - x, x=Input((2,)), y=Input((2,))).structure_hash()
    assert one != two


def test_the_order_of_outputs_is_structure():
    def swapped(first, second):
        def forward(x):
            a, s = F.relu(x), F.sigmoid(x)
            return {first: a, second: s}

        return trtnet.record(forward, x=Input((2,))).structure_hash()

    assert swapped("a", "b") != swapped("b", "a")


def test_zero_and_minus_zero_are_different_constants():
    one, two = (
        trtnet.record(lambda x, c=c: x + trtnet.tensor(np.array([c], np.float32)), x=Input((1,))).structure_hash()
        for c in (0.0, -0.0)
    )
    assert one != two


def test_a_buffer_is_a_weight_and_not_a_constant():
    class Table(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("table", trtnet.full((3,), value))

        def forward(self, x):
            return x + self.table

    assert hash_of(Table(1.0), Input((3,))) == hash_of(Table(2.0), Input((3,)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-30])
def test_odd_numbers_in_constants_hash(value):
    found = [trtnet.record(lambda x: x * value, x=Input((2,))).structure_hash() for _ in range(2)]
    assert found[0] == found[1]


def test_plans_that_were_saved_before_still_load():
    """A kind's attributes are structure: one more would make every saved plan with that kind another network's."""
    graph = trtnet.record(
        lambda x: x + trtnet.arange(x.shape[0]).float().unsqueeze(1), x=Input((Dim("b", min=1, opt=2, max=4), 3))
    )
    assert graph.structure_hash().startswith("c5c8b16b4c052575")
