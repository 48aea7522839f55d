"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict as torch.nn's."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from harness import check_against_torch, randomize, torch_state
from modules import same_structure, values

import trtnet
from trtnet import Input, nn
from trtnet.errors import ArgumentTypeError


def chain(n):
    return n.Sequential(n.Linear(3, 4), n.ReLU(), n.Sequential(n.Linear(4, 5)), n.Linear(5, 2))


def test_sequential():
    ours, theirs = chain(nn), chain(torch.nn)
    same_structure(ours, theirs)
    randomize(theirs)
    check_against_torch(ours, theirs, {"input": values((2, 3))}, state_dict=torch_state(theirs), compile=False)


@pytest.mark.parametrize(
    "edit",
    [
        lambda s, n: s[1:3],
        lambda s, n: s[::2],
        lambda s, n: s[-1],
        lambda s, n: s.append(n.Linear(2, 2)),
        lambda s, n: s.extend([n.Linear(2, 2), n.ReLU()]),
        lambda s, n: s.insert(1, n.Linear(4, 4)),
        lambda s, n: s + n.Sequential(n.ReLU(), n.Linear(2, 3)),
        lambda s, n: (s.__setitem__(1, n.Linear(4, 4)), s)[1],
        lambda s, n: (s.__delitem__(1), s)[1],
        lambda s, n: (s.__delitem__(slice(1, 3)), s)[1],
        lambda s, n: (s.pop(0), s)[1],
        lambda s, n: s * 2 if hasattr(n, "nothing") else s,
    ],
)
def test_editing_sequences(edit):
    same_structure(edit(chain(nn), nn), edit(chain(torch.nn), torch.nn))


def test_sequential_by_name():
    ours, theirs = (
        n.Sequential(OrderedDict([("conv", n.Conv2d(1, 2, 3)), ("act", n.ReLU()), ("norm", n.BatchNorm2d(2))]))
        for n in (nn, torch.nn)
    )
    same_structure(ours, theirs)
    assert list(dict(ours[:2].named_children())) == ["conv", "act"]
    assert ours.conv is ours[0]
    graph = trtnet.record(ours, input=Input((1, 1, 5, 5)))
    assert [layer.path for layer in graph.layers] == ["conv", "act", "norm"]
    assert list(ours)[1] is ours.act
    assert len(ours) == 3


def test_module_list():
    def make(n):
        blocks = n.ModuleList([n.Linear(2, 2) for _ in range(3)])
        blocks += [n.ReLU()]
        blocks.insert(1, n.Linear(2, 2))
        blocks[0] = n.Linear(2, 2, bias=False)
        return blocks

    ours, theirs = make(nn), make(torch.nn)
    same_structure(ours, theirs)
    assert repr(ours) == repr(theirs)
    assert repr(nn.ModuleList()) == repr(torch.nn.ModuleList())
    assert [type(m).__name__ for m in ours[1:]] == [type(m).__name__ for m in theirs[1:]]
    assert [type(m).__name__ for m in reversed(ours)] == [type(m).__name__ for m in reversed(theirs)]
    assert ours[1] in ours
    with pytest.raises(ArgumentTypeError, match="for module in self"):
        trtnet.record(ours, x=Input((1, 2)))
    with pytest.raises(IndexError, match="no module 9"):
        ours[9]


def test_module_dict():
    def make(n):
        heads = n.ModuleDict({"a": n.Linear(2, 2), "b": n.ReLU()})
        heads["c"] = n.Linear(2, 3)
        heads.update([("d", n.Linear(2, 4))])
        del heads["b"]
        heads.pop("a")
        return heads

    ours, theirs = make(nn), make(torch.nn)
    same_structure(ours, theirs)
    assert list(ours) == list(theirs) == list(ours.keys())
    assert "c" in ours
    assert "a" not in ours
    assert [k for k, _ in ours.items()] == ["c", "d"]
    assert len(list(ours.values())) == 2
    with pytest.raises(KeyError, match="there is no module 'x'"):
        ours["x"]
    with pytest.raises(ArgumentTypeError, match="exists already"):
        ours["forward"] = nn.ReLU()


def test_parameter_containers():
    def make(n, ones):
        class Net(n.Module):
            def __init__(self):
                super().__init__()
                self.list = n.ParameterList([n.Parameter(ones(2, i + 1)) for i in range(2)])
                self.list.append(n.Parameter(ones(3)))
                self.dict = n.ParameterDict({"a": n.Parameter(ones(2)), "b": n.Parameter(ones(1))})
                self.dict["c"] = n.Parameter(ones(4))
                del self.dict["b"]

            def forward(self, x):
                for p in self.list[:1]:
                    x = x * p
                return x + self.dict["a"] + sum(p.sum() for p in self.dict.values())

        return Net()

    ours, theirs = make(nn, trtnet.ones), make(torch.nn, torch.ones)
    same_structure(ours, theirs)
    randomize(theirs)
    check_against_torch(ours, theirs, {"x": values((2, 2))}, state_dict=torch_state(theirs), compile=False)
    assert len(ours.list) == 3
    assert len(ours.list[1:]) == 2
    assert list(ours.dict.keys()) == ["a", "c"]


def test_tied_weights_stay_tied():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.table(x))

    net = Net()
    assert [name for name, _ in net.named_parameters()] == ["table.weight"]
    assert list(net.state_dict()) == ["table.weight", "head.weight"]
    twin = copy.deepcopy(net)
    assert twin.head.weight is twin.table.weight
    assert twin.head.weight is not net.head.weight
    graph = trtnet.record(net, x=Input((2,), "int64"))
    assert {weight for _, _, weight in graph.weights()} == {graph.parameters["table.weight"]}
    assert graph.parameters["table.weight"] is graph.parameters["head.weight"]
    np.testing.assert_array_equal(twin.table.weight.numpy(), net.head.weight.numpy())
