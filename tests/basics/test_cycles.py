"""Lists, tuples and dicts that contain themselves are refused, by name, wherever something walks through them."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.basics.cycles import refuse_cycle
from trtnet.errors import ArgumentError

ONES = np.ones((2, 3), np.float32)


def itself(*values: Any) -> list[Any]:
    made = [*values]
    made.append(made)
    return made


def named(**values: Any) -> dict[str, Any]:
    made = {**values}
    made["self"] = made
    return made


def around() -> dict[str, Any]:
    outer: dict[str, Any] = {"states": ([0], {})}
    outer["states"][1]["back"] = outer
    return outer


SHARED: Any = [1]
for _ in range(60):  # of 2**60 paths
    SHARED = [SHARED, SHARED]
DEEP: Any = []
for _ in range(100_000):
    DEEP = (DEEP,)


@pytest.mark.parametrize(
    "value", [None, 3, "ab", [], [[], []], {"a": ((),) * 2}, SHARED, DEEP, ONES], ids=lambda value: type(value).__name__
)
def test_what_comes_to_an_end_is_taken(value: Any) -> None:
    refuse_cycle("it", "it", value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (itself(1, 2), "x[2] is x"),
        (named(a=1), "x['self'] is x"),
        (types.MappingProxyType(named(a=1)), "x['self']['self'] is x['self']"),
        ([SHARED, around()], "x[1]['states'][1]['back'] is x[1]"),
        ((3, itself()), "x[1][0] is x[1]"),
    ],
    ids=range(5),
)
def test_what_contains_itself_is_named(value: Any, found: str) -> None:
    with pytest.raises(ArgumentError, match="the thing contains itself") as caught:
        refuse_cycle("the thing", "x", value, "body.0")
    assert (caught.value.found, caught.value.module) == (found, "body.0")
    assert caught.value.remedy.startswith(f"take {found.partition(' is ')[0]} out of it")


CALLS = {
    "what forward returned": lambda x: itself(x),
    "what forward returned ": lambda x: named(value=x),
    "the data": lambda x: trtnet.tensor(itself(1.0)),
    "stack: the argument 'tensors'": lambda x: F.stack(itself(trtnet.ones(2))),
    "carry": lambda x: trtnet.scan(lambda c, y: (c, y), itself(x), x),
    "carry ": lambda x: trtnet.while_loop(lambda c: x.sum() > 0, lambda c: c, (itself(x),)),
    "the result": lambda x: trtnet.cond(x.sum() > 0, lambda y: named(y=y), lambda y: named(y=y), (x,)),
    "the dict of weights": lambda x: nn.Linear(3, 4).load_state_dict(named(weight=ONES)),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_a_forward_does_with_one(what: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        trtnet.record(CALLS[what], x=Input((Dim("n", min=1, opt=2, max=4), 3)))
    assert caught.value.problem == f"{what.strip()} contains itself"
    assert caught.value.where.file == __file__


@pytest.mark.parametrize(
    "argument", [itself(1), named(a=1), itself(Input((2, 3))), named(a=Input((2, 3)))], ids=range(4)
)
@pytest.mark.parametrize("kind", ["ours", "torch's"])
def test_an_argument_of_record(argument: Any, kind: str) -> None:
    network: Any = lambda x, state: x  # noqa: E731
    if kind == "torch's":
        torch = pytest.importorskip("torch")
        network = type("Net", (torch.nn.Module,), {"forward": lambda self, x, state: x})()
    with pytest.raises(ArgumentError, match="the argument 'state' of record contains itself"):
        trtnet.record(network, x=Input((2, 3)), state=argument)


def test_other_calls_are_refused_with_a_message() -> None:
    for call in (lambda: F.cat(itself(trtnet.ones(2))), lambda: trtnet.ones(3)[itself(1)], lambda: F.cat(itself(2))):
        with pytest.raises(trtnet.TrtnetError):
            call()
    engine = trtnet.reference(trtnet.record(nn.Linear(3, 4), input=Input((2, 3))))
    with pytest.raises(ArgumentError, match="the dict of weights contains itself"):
        engine.refit(named(weight=ONES))


def test_what_a_module_of_ours_holds_is_left_alone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cache, self.parent, self.linear = named(scale=2.0), [self], nn.Linear(3, 4)

        def forward(self, x: trtnet.Tensor) -> trtnet.Tensor:
            return self.linear(x) * self.cache["self"]["self"]["scale"]

    graph = trtnet.record(Net(), x=Input((2, 3)))
    assert list(graph.parameters) == ["linear.weight", "linear.bias"]


def test_what_a_module_of_torchs_holds_and_returns() -> None:
    """Which torch.export walks through."""
    torch = pytest.importorskip("torch")

    class Inner(torch.nn.Module):
        def __init__(self, cache: Any, returned: bool) -> None:
            super().__init__()
            self.cache, self.returned = cache, returned

        def forward(self, x):
            return itself(x) if self.returned else x + 1

    def record(cache: Any, returned: bool) -> Any:
        return trtnet.record(torch.nn.Sequential(torch.nn.ReLU(), Inner(cache, returned)), input=Input((2, 3)))

    record({"a": [1]}, False)
    with pytest.raises(ArgumentError, match="the attribute 'cache' contains itself") as caught:
        record({"a": [1, itself()]}, False)
    assert (caught.value.found, caught.value.module) == ("cache['a'][1][0] is cache['a'][1]", "1")
    with pytest.raises(ArgumentError, match="what forward returned contains itself"):
        record(None, True)
