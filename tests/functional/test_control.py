"""Loops and conditionals: against plain loops over torch in float64, TensorRT's own inference, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch

import trtnet
from trtnet import Dim, nn

T = Dim("t", min=1, opt=4, max=9)
B = Dim("b", min=1, opt=2, max=6)


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- scan


def rnn(m, scan, x, h, w):
    """A recurrent layer, written once for both: `m` is torch or trtnet."""

    def body(h, x):
        h = m.tanh(x @ w + h)
        return h, h * 2

    return scan(body, h, x)


def torch_scan(body, carry, xs, dim=0, reverse=False):
    """What scan is, as a plain loop."""
    ys = []
    places = range(xs.shape[dim])
    for place in reversed(places) if reverse else places:
        carry, y = body(carry, xs.select(dim, place))
        ys.append(y)
    return carry, torch.stack(ys[::-1] if reverse else ys, dim)


INPUTS = {"x": values(5, 2, 3), "h": values(2, 4, seed=1), "w": values(3, 4, seed=2)}


@pytest.mark.parametrize("shapes", [None, {"x": (T, B, 3), "h": (B, 4)}, {"x": (5, B, 3), "h": (B, 4)}])
def test_scan_is_a_loop(shapes):
    check_against_torch(
        lambda x, h, w: rnn(trtnet, trtnet.scan, x, h, w),
        lambda x, h, w: rnn(torch, torch_scan, x, h, w),
        INPUTS,
        shapes=shapes,
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -2])
def test_scan_along_any_dimension_both_ways(dim, reverse):
    def both(scan):
        return lambda x: scan(lambda c, x: (c * 0.5 + x, c - x), x.select(dim, 0) * 0, x, dim=dim, reverse=reverse)

    def stacked(body, carry, xs, dim, reverse):
        last, ys = torch_scan(body, carry, xs, dim % 3, reverse)
        return last, ys

    check_against_torch(both(trtnet.scan), both(stacked), {"x": values(2, 5, 3)}, shapes={"x": (B, T, 3)})


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(7, 16)

    def forward(self, x):
        def body(carry, x):
            h, c = carry["h"], carry["c"]
            i, f, g, o = self.cell(trtnet.cat([x, h], 1)).chunk(4, 1)
            c = trtnet.sigmoid(f) * c + trtnet.sigmoid(i) * trtnet.tanh(g)
            h = trtnet.sigmoid(o) * trtnet.tanh(c)
            return {"h": h, "c": c}, h

        zeros = trtnet.zeros_like(x[0, :, :1].expand(-1, 4))
        carry, ys = trtnet.scan(body, {"h": zeros, "c": zeros}, x)
        return ys, carry["h"], carry["c"]


class TorchLSTM(torch.nn.Module):
    """torch's own."""

    def __init__(self, state):
        super().__init__()
        weight, bias = (torch.from_numpy(np.array(state[n])) for n in ("cell.weight", "cell.bias"))
        self.lstm = torch.nn.LSTM(3, 4)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(weight[:, :3])
            self.lstm.weight_hh_l0.copy_(weight[:, 3:])
            self.lstm.bias_ih_l0.copy_(bias)
            self.lstm.bias_hh_l0.zero_()

    def forward(self, x):
        y, (h, c) = self.lstm(x)
        return y, h[0], c[0]


@pytest.mark.parametrize("shapes", [None, {"x": (T, B, 3)}])
def test_an_lstm_is_torchs(shapes):
    net = LSTM()
    check_against_torch(net, TorchLSTM(net.state_dict()), {"x": values(5, 2, 3)}, shapes=shapes)
