"""Module itself, as torch.nn.Module: attributes, walks, types, state, printing, mistakes."""

import copy

import numpy as np
import pytest
import torch
from modules import same_structure

import trtnet
from trtnet import Input, nn
from trtnet.errors import ArgumentTypeError, NameNotFoundError, TrtnetError, UnsupportedError, WeightsError


def make(n, zeros):
    class Block(n.Module):
        def __init__(self, width):
            super().__init__()
            self.linear = n.Linear(width, width)
            self.scale = n.Parameter(zeros(width))
            self.register_buffer("table", zeros(3), persistent=False)
            self.register_buffer("mean", zeros(width))
            self.register_parameter("bias", None)
            self.skip = None

        def forward(self, x):
            return self.linear(x) * self.scale + self.mean

        def extra_repr(self):
            return "a block"

    class Net(n.Module):
        def __init__(self):
            super().__init__()
            self.first = Block(2)
            self.blocks = n.ModuleList([Block(2), self.first])
            self.add_module("last", n.Linear(2, 1))
            self.tied = self.last.weight

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.last(x)

    return Net()


def test_walks_and_state():
    ours, theirs = make(nn, trtnet.zeros), make(torch.nn, torch.zeros)
    same_structure(ours, theirs)
    assert [name for name, _ in ours.named_children()] == [name for name, _ in theirs.named_children()]
    assert len(list(ours.modules())) == len(list(theirs.modules()))
    for recurse in (True, False):
        assert len(list(ours.parameters(recurse))) == len(list(theirs.parameters(recurse)))
    everything = [name for name, _ in ours.named_parameters(remove_duplicate=False)]
    assert everything == [name for name, _ in theirs.named_parameters(remove_duplicate=False)]
    assert [name for name, _ in ours.named_modules(remove_duplicate=False)] == [
        name for name, _ in theirs.named_modules(remove_duplicate=False)
    ]
    assert list(ours.state_dict(prefix="net.")) == list(theirs.state_dict(prefix="net."))
    assert repr(ours) == repr(theirs)
    assert ours.get_submodule("blocks.0.linear") is ours.blocks[0].linear
    assert ours.get_parameter("last.weight") is ours.tied


def test_replacing_keeps_the_order():
    def edit(n):
        net = n.Sequential(n.Linear(2, 2), n.ReLU(), n.Linear(2, 2))
        net[1] = n.Linear(2, 2, bias=False)
        net[0].weight = n.Parameter(net[0].weight.data)
        net[2].bias = None
        return net

    same_structure(edit(nn), edit(torch.nn))


def test_attributes():
    module = nn.Module()
    module.a = nn.Linear(1, 1)
    with pytest.raises(ArgumentTypeError, match="'a' is a module"):
        module.a = 5
    module.a = nn.Parameter(trtnet.zeros(2))
    assert "a" not in dict(module.named_modules())
    module.b = nn.Parameter(trtnet.zeros(2))
    module.b = None
    assert module.b is None
    with pytest.raises(ArgumentTypeError, match="'b' is a parameter"):
        module.b = trtnet.zeros(2)
    module.register_buffer("c", trtnet.zeros(3))
    module.c = trtnet.ones(3)
    assert isinstance(module.c, nn.Buffer)
    assert module.state_dict()["c"].tolist() == [1, 1, 1]
    module.c = None
    del module.b
    assert not hasattr(module, "b")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_apply_reaches_children_first():
    def order(net):
        seen = []
        net.apply(lambda m: seen.append(type(m).__name__))
        return seen

    assert order(make(nn, trtnet.zeros)) == order(make(torch.nn, torch.zeros))


def test_training_is_false_while_recording():
    class Net(nn.Module):
        def forward(self, x):
            assert not self.training
            return x + 1

    net = Net()
    assert net.training
    trtnet.record(net, x=Input((2,)))
    assert net.training
    assert not net.eval().training
    assert nn.Sequential(net).train()[0].training


def test_types():
    net = make(nn, trtnet.zeros)
    net.register_buffer("index", trtnet.zeros(2, dtype=trtnet.int64))
    net.half()
    assert {p.dtype for p in net.parameters()} == {trtnet.float16}
    assert net.index.dtype is trtnet.int64
    assert net.to(trtnet.bfloat16).last.weight.dtype is trtnet.bfloat16
    assert net.to("cuda", torch.float32).last.weight.numpy().dtype == np.float32
    assert net.cuda().cpu().float() is net
    with pytest.raises(TypeError, match="float64"):
        net.double()


def test_conversion_draws_nothing():
    layer = nn.Linear(3, 3)
    layer.half()
    assert layer.weight.value.array is None
    assert layer.weight.numpy().dtype == np.float16


def test_deep_copies():
    net = make(nn, trtnet.zeros)
    twin = copy.deepcopy(net)
    assert twin.blocks[1] is twin.first
    assert twin.tied is twin.last.weight
    twin.first.scale.numpy()[:] = 5
    assert not net.first.scale.numpy().any()
    np.testing.assert_array_equal(net.last.weight.numpy(), twin.last.weight.numpy())


def test_freezing():
    net = make(nn, trtnet.zeros).requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.last.weight.requires_grad = True
    assert trtnet.record(net, x=Input((1, 2))).trainable >= {"last.weight"}


def test_load_state_dict():
    ours, theirs = make(nn, trtnet.zeros), make(torch.nn, torch.zeros)
    report = ours.load_state_dict(theirs.state_dict())
    assert (report.missing_keys, report.unexpected_keys) == ([], [])
    np.testing.assert_array_equal(ours.last.weight.numpy(), theirs.last.weight.detach().numpy())
    state = dict(theirs.state_dict())
    state["last.weights"] = state.pop("last.weight")
    with pytest.raises(WeightsError) as caught:
        ours.load_state_dict(state)
    assert "last.weights" in str(caught.value)
    assert "last.weight" in str(caught.value)
    ours.load_state_dict(state, strict=False)


def test_mistakes():
    class Forgot(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 2)

    class Returns(nn.Module):
        def forward(self, x):
            return 5

    cases = (
        (Forgot, NameNotFoundError, r"super\(\).__init__"),
        (lambda: nn.Linear(2, 2)(None), TrtnetError, "trtnet.record"),
        (lambda: nn.Module().register_buffer("a.b", trtnet.zeros(1)), ArgumentTypeError, "without dots"),
        (lambda: nn.Module().register_parameter("a", trtnet.zeros(1)), ArgumentTypeError, "only a Parameter"),
        (lambda: nn.Module().add_module("a", 5), ArgumentTypeError, "only a Module"),
        (lambda: nn.Sequential().add_module("forward", nn.ReLU()), ArgumentTypeError, "exists already"),
        (lambda: nn.ReLU().register_forward_hook(print), UnsupportedError, "hooks are not recorded"),
        (lambda: trtnet.record(Returns(), x=Input((1,))), TrtnetError, "no tensor"),
        (lambda: nn.Linear(2, 2).get_submodule("weights"), NameNotFoundError, "no submodule"),
    )
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()
