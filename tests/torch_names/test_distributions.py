"""Categorical, against torch.distributions."""

from __future__ import annotations

import numpy as np
import pytest
from harness import lower_and_compare

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input  # noqa: E402
from trtnet.distributions import Categorical  # noqa: E402
from trtnet.errors import ArgumentTypeError, ShapeError  # noqa: E402

B = Dim("b", min=1, opt=4, max=9)
P = np.array([[0.1, 0.7, 0.2], [0.0, 3.0, 1.0], [1.0, 1.0, 2.0], [0.0, 0.0, 1.0]], np.float32)
VALUE = np.array([[0, 1, 2, 2], [1, 1, 0, 2]], np.int64)


def figures(Categorical, given, value, kind):
    d = Categorical(**{kind: given})
    return d.probs, d.logits, d.log_prob(value), d.entropy(), d.mode


@pytest.mark.parametrize("kind", ["probs", "logits"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_figures_as_torchs(kind, dynamic):
    graph = trtnet.record(
        lambda p, v: figures(Categorical, p, v, kind), p=Input((B if dynamic else 4, 3)),
        v=Input((2, B if dynamic else 4), "int64"),
    )  # fmt: skip
    lower_and_compare(graph)
    wanted = figures(torch.distributions.Categorical, torch.from_numpy(P), torch.from_numpy(VALUE), kind)
    for found in (
        trtnet.reference(graph)(p=P, v=VALUE),
        figures(Categorical, trtnet.tensor(P), trtnet.tensor(VALUE), kind),
    ):
        for mine, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(mine), theirs.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["probs", "logits"])
@pytest.mark.parametrize("inside", [True, False])
def test_samples_by_probability(kind, inside):
    given = P if kind == "probs" else np.log(P + 1e-30)
    if inside:
        graph = trtnet.record(lambda p: Categorical(**{kind: p}).sample((20_000,)), p=Input((B, 3)))
        small = trtnet.record(lambda p: Categorical(**{kind: p}).sample(), p=Input((B, 3)))
        lower_and_compare(graph)
        lower_and_compare(small)
        assert small.drawn_outputs() == ["output"]
        assert trtnet.reference(small)(p=given).shape == (4,)
        found = trtnet.reference(graph)(p=given)
    else:
        found = Categorical(**{kind: trtnet.tensor(given)}).sample((20_000,)).numpy()
    assert found.shape == (20_000, 4)
    assert found.dtype == np.int64
    for row, probabilities in zip(found.T, P / P.sum(1, keepdims=True)):
        share = np.bincount(row, minlength=3) / len(row)
        assert np.all(np.abs(share - probabilities) <= 6 * np.sqrt(probabilities * (1 - probabilities) / len(row)))


def test_shapes_and_what_is_refused():
    d = Categorical(logits=trtnet.tensor(P))
    theirs = torch.distributions.Categorical(logits=torch.from_numpy(P))
    assert tuple(d.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(d.event_shape) == tuple(theirs.event_shape)
    assert tuple(d.param_shape) == tuple(theirs.param_shape)
    assert repr(d) == "Categorical(logits: (4, 3))"
    with pytest.raises(ArgumentTypeError, match="probs or logits"):
        Categorical()
    with pytest.raises(ArgumentTypeError, match="probs or logits"):
        trtnet.record(lambda p: Categorical(p, p).sample(), p=Input((3,)))
    with pytest.raises(ShapeError, match="one dimension or more"):
        trtnet.record(lambda p: Categorical(p.sum()).sample(), p=Input((3,)))
