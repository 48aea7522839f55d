"""torch.nn.Modules with packed sequences, compared with themselves in float64."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch
from exported import BATCH, doubled, leaves, randomized
from harness import lower_and_compare
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import trtnet
from trtnet import Dim, Input
from trtnet.errors import UnsupportedError

TIME = Dim("time", min=1, opt=5, max=9)


class Padded(nn.Module):
    def __init__(self, kind: str, batch_first: bool, total: bool, enforce_sorted: bool = False, **options: Any) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(4, 6, batch_first=batch_first, **options)
        self.batch_first, self.total, self.enforce_sorted = batch_first, total, enforce_sorted

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = pack_padded_sequence(x, lengths.cpu(), self.batch_first, self.enforce_sorted)
        assert isinstance(packed, PackedSequence)
        out, last = self.rnn(packed)
        total = x.shape[1 if self.batch_first else 0] if self.total else None
        return pad_packed_sequence(out, self.batch_first, -1.0, total), last


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, bidirectional=True, batch_first=True, proj_size=3)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        _, (last, _) = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), (h, c))
        return self.head(torch.cat([last[0], last[1]], -1))


def check(net: nn.Module, time: Any, batch_first: bool = True, **states: tuple[Any, ...]) -> trtnet.Graph:
    randomized(net)
    shape = (BATCH, time) if batch_first else (time, BATCH)
    inputs = {"x": Input((*shape, 4)), "lengths": Input((BATCH,), "int64")} | {k: Input(v) for k, v in states.items()}
    graph = trtnet.record(net, **inputs)
    engine, double = trtnet.reference(graph, dtype="float64"), doubled(net)
    draw = np.random.default_rng(0)
    for lengths in ([5], [2], [5, 3, 1], [2, 2, 1], [3, 5, 4]):
        if getattr(net, "enforce_sorted", False) and lengths != sorted(lengths, reverse=True):
            continue
        count = len(lengths)
        x = draw.standard_normal((count, 5, 4) if batch_first else (5, count, 4))
        arrays = [x.astype(np.float32), np.array(lengths)]
        arrays += [draw.standard_normal((s[0], count, s[2])).astype(np.float32) for s in states.values()]
        with torch.no_grad():
            given = [torch.from_numpy(one) for one in arrays]
            expected = leaves(double(*(one.double() if one.is_floating_point() else one for one in given)))
        found = torch.utils._pytree.tree_leaves(engine(*arrays))
        assert len(found) == len(expected)
        for one, two in zip(found, expected):
            assert one.shape == two.shape, f"lengths {lengths}"
            np.testing.assert_allclose(one, two, atol=1e-6, err_msg=f"lengths {lengths}")
    return graph


@pytest.mark.parametrize("time", [5, TIME], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(("kind", "batch_first", "total"), [("LSTM", True, True), ("GRU", False, True),
                                                            ("RNN", True, False), ("LSTM", False, False)])  # fmt: skip
def test_packed_and_padded_again(kind: str, batch_first: bool, total: bool, time: Any) -> None:
    """Without total_length the result is as long as the longest sequence, which the data decides."""
    graph = check(Padded(kind, batch_first, total), time, batch_first)
    lower_and_compare(graph, compile=False)


def test_several_layers_both_ways_and_sorted() -> None:
    check(Padded("GRU", True, True, enforce_sorted=True, num_layers=2, bidirectional=True, bias=False), 5)


def test_states_that_are_given_and_last_states() -> None:
    check(Last(), TIME, h=(2, BATCH, 3), c=(2, BATCH, 6))


def test_a_total_length_beyond_the_batch_is_padded() -> None:
    class Longer(Padded):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            out, _ = self.rnn(pack_padded_sequence(x, lengths, True, enforce_sorted=False))
            return pad_packed_sequence(out, batch_first=True, padding_value=2.0, total_length=7)[0]

    check(Longer("GRU", True, True), 5)


def test_what_lies_in_a_packed_sequence_is_refused_at_its_line() -> None:
    class Inside(Padded):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            return self.rnn(pack_padded_sequence(x, lengths, True, enforce_sorted=False))[0].data

    with pytest.raises(UnsupportedError, match="data of a packed sequence cannot be recorded") as caught:
        trtnet.record(Inside("GRU", True, True), x=Input((2, 5, 4)), lengths=Input((2,), "int64"))
    assert "enforce_sorted=False))[0].data" in str(caught.value)


def test_torchs_functions_are_as_before_and_in_other_threads_all_the_time() -> None:
    x, net = torch.randn(2, 5, 4), nn.GRU(4, 6, batch_first=True)
    found: list[Any] = []

    def eager() -> torch.Tensor:
        packed = pack_padded_sequence(x, [5, 2], batch_first=True)
        return pad_packed_sequence(net(packed)[0], batch_first=True)[0].detach()

    class Meanwhile(Padded):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            thread = threading.Thread(target=lambda: found.append(eager()))
            thread.start()
            thread.join()
            return super().forward(x, lengths)

    before = eager()
    trtnet.record(Meanwhile("GRU", True, True), x=Input((2, 5, 4)), lengths=Input((2,), "int64"))
    assert found
    for one in itertools.chain(found, [eager()]):
        assert torch.equal(one, before)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_refit_gives_the_weights_of_packed_sequences(kind: str) -> None:
    net = Padded(kind, True, True, num_layers=2, bidirectional=True).eval()
    engine = trtnet.reference(
        trtnet.record(net, x=Input((BATCH, TIME, 4)), lengths=Input((BATCH,), "int64")), dtype="float64"
    )
    other = randomized(Padded(kind, True, True, num_layers=2, bidirectional=True)).eval()
    assert len(net.state_dict()) == 16
    assert "refitted 16 weights from 16" in str(engine.refit(other.state_dict()))
    x, lengths = torch.randn(3, 5, 4), torch.tensor([2, 5, 1])
    found = engine(x.numpy(), lengths.numpy())
    with torch.no_grad():
        expected = leaves(other.double()(x.double(), lengths))
    for one, two in zip(leaves(torch.utils._pytree.tree_map(torch.from_numpy, found)), expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
