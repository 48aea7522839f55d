"""What is computed of constants alone, computed before TensorRT sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.functional.dispatch import tensor as recorded
from trtnet.graph.graph import Graph
from trtnet.layers.constant import Constant
from trtnet.rewriting import folding
from trtnet.rewriting.folding import folded, with_copied_constants

BATCH = Dim("batch", min=1, opt=2, max=4)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def constant(values: Any, dtype: str = "int32") -> Any:
    return recorded(trtnet.tensor(np.asarray(values, dtype)))


def kinds(graph: Graph) -> list[str]:
    return [layer.kind for layer in graph.layers]


def same(graph: Graph, other: Graph) -> None:
    found, wanted = trtnet.reference(other)(X), trtnet.reference(graph)(X)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


STEPS = (
    lambda a, b, m: (a + b, b, m),
    lambda a, b, m: (a * 3 - b, a, m),
    lambda a, b, m: (F.where(m, a, b), b, m),
    lambda a, b, m: (F.flip(a, (1,)), b, ~m),
    lambda a, b, m: (a, F.cat([b[:, 1:], b[:, :1]], 1), m),
    lambda a, b, m: (a, F.index_select(b, 0, trtnet.tensor([1, 0])), m & (a > b)),
    lambda a, b, m: (a, b.reshape(3, 2).transpose(0, 1), F.where(m, a < 2, m)),
    lambda a, b, m: (F.maximum(a, b), a.abs(), m | (a == b)),
)


@pytest.mark.parametrize("seed", range(20))
def test_random_computations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = ("int32", "int64")[seed % 2]

    def forward(x: Any) -> dict[str, Any]:
        a, b = (constant(rng.integers(-9, 9, (2, 3)), dtype) for _ in range(2))
        mask = constant(rng.random((2, 3)) < 0.5, "bool")
        for step in rng.integers(0, len(STEPS), 6):
            a, b, mask = STEPS[step](a, b, mask)
        return {"a": a, "b": b, "mask": mask, "y": F.where(mask, x[:2] * a.float(), b.float()), "z": x + 1}

    graph = trtnet.record(forward, x=Input((2, 3)))
    made = folded(graph)
    same(graph, made)
    rest = [layer for layer in made.layers if layer.kind != "constant" and not layer.outputs[0].dtype.is_floating_point]
    assert not rest, rest
    copied = with_copied_constants(made)
    same(graph, copied)
    assert all(copied.outputs[name].layer.kind == "identity" for name in ("a", "b", "mask"))
    assert copied.outputs["z"] is made.outputs["z"]
    assert with_copied_constants(copied) is copied


def test_what_has_no_dimension_is_given_none() -> None:
    def forward(x: Any) -> dict[str, Any]:
        one, yes = constant(0) + 1, constant(True, "bool") & constant(True, "bool")
        return {
            "number": one, "bool": yes, "column": x[:, one * 2], "chosen": constant([4, 5, 6])[one],
            "stacked": F.stack([one, one - 3]), "cast": one.long() * 2, "y": F.where(yes, x * one.float(), x),
        }  # fmt: skip

    graph = trtnet.record(forward, x=Input((2, 3)))
    made = folded(graph)
    same(graph, made)
    assert all(layer.shape == tuple(layer.outputs[0].shape) for layer in made.layers if isinstance(layer, Constant))


def test_what_is_not_known_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", trtnet.tensor([True, False, True]))

        def forward(self, x: Any) -> dict[str, Any]:
            own = F.where(self.mask, constant([1, 2, 3]), constant([4, 5, 6]))  # a buffer may be given another value
            sizes = F.zeros(x.shape[0], 1, dtype=trtnet.int32) + constant([[1, 2, 3]])
            return {"own": own, "sizes": sizes, "floats": F.flip(constant([1, 2, 3], "float32"), (0,)) + x}

    graph = trtnet.record(Net(), x=Input((BATCH, 3)))
    made = folded(graph)
    assert made is graph
    assert "select" in kinds(made)


def test_a_branch_has_constants_of_its_own() -> None:
    def forward(x: Any) -> dict[str, Any]:
        places = constant([0, 1, 2]) + 1 - 1
        made = F.cond(x.sum() > 3, lambda x: x * (places + 1).float(), lambda x: x - (places * 2).float(), x)
        return {"y": made}

    graph = trtnet.record(forward, x=Input((BATCH, 3)))
    made = folded(graph)
    assert kinds(made).count("elementwise") < kinds(graph).count("elementwise")
    same(graph, made)


def test_large_results_are_left_to_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST", 5)
    graph = trtnet.record(
        lambda x: {"large": constant(np.ones((2, 3))) + 1, "small": constant([1, 2]) + 1, "y": x * 2}, x=Input((2, 3))
    )
    made = folded(graph)
    assert kinds(made).count("elementwise") == kinds(graph).count("elementwise") - 1
    same(graph, made)


def test_constants_that_nothing_takes_any_more_are_gone() -> None:
    shared = []

    def forward(x: Any) -> dict[str, Any]:
        shared.append(constant([1, 2, 3]))
        return {"y": x * (shared[0] + 1).float(), "z": x + shared[0].float()}

    made = folded(trtnet.record(forward, x=Input((BATCH, 3))))
    values = [layer.inputs[0].array.tolist() for layer in made.layers if layer.kind == "constant"]
    assert sorted(values) == [[1, 2, 3], [2, 3, 4]]
