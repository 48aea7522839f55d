"""Recurrent networks, each step with layers of its own and as a loop: compared with torch, refitted, and restored."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVEL, host, same

import trtnet
from models.character_lstm import CHARACTERS, LONGEST, CharacterLSTM, Writer, encoded, gumbel
from trtnet import Dim, Input, nn
from trtnet.basics.bundled import bundled

torch = pytest.importorskip("torch")

FORMS = pytest.mark.parametrize("unroll", [True, False], ids=["unrolled", "loop"])
KINDS = {
    "tanh": ("RNN", {"batch_first": True}),
    "relu": ("RNN", {"nonlinearity": "relu", "bias": False}),
    "gru": ("GRU", {"num_layers": 2}),
    "gru both ways": ("GRU", {"bidirectional": True, "batch_first": True}),
    "lstm": ("LSTM", {}),
    "lstm both ways": ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True, "proj_size": 12}),
}
PACKED = {"tanh", "gru both ways", "lstm both ways"}
"""Those whose sequences have lengths of their own."""
LENGTH, BATCH, FEATURES, SIZE = 6, 3, 16, 24


class Calls(nn.Module):
    """A recurrent module, with lengths and without."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, lengths=None):
        return self.inner(x, lengths=lengths)


def flat(result):
    """The arrays of a nested result."""
    return [one for part in result for one in flat(part)] if isinstance(result, tuple) else [host(result)]


def error(found, wanted):
    """The largest error of any output, relative to that output's own size."""
    pairs = list(zip(flat(found), flat(wanted), strict=True))
    return max(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b) for a, b in pairs)


def their_result(theirs, x, lengths):
    """torch's, in float64, by way of packing where there are lengths."""
    rnn, first = torch.nn.utils.rnn, theirs.batch_first
    theirs, given = theirs.double(), torch.from_numpy(x).double()
    with torch.no_grad():
        if lengths is None:
            return theirs(given)
        packed = rnn.pack_padded_sequence(given, torch.from_numpy(lengths), batch_first=first, enforce_sorted=False)
        output, last = theirs(packed)
        return rnn.pad_packed_sequence(output, batch_first=first, total_length=x.shape[1 if first else 0])[0], last


def pair(kind, seed):
    name, options = KINDS[kind]
    torch.manual_seed(seed)
    return name, options, getattr(torch.nn, name)(FEATURES, SIZE, **options).eval()


def state_of(theirs):
    return {f"inner.{key}": value.detach().numpy().astype(np.float32) for key, value in theirs.state_dict().items()}


def array(first, length=LENGTH, batch=BATCH):
    shape = (batch, length) if first else (length, batch)
    return np.random.default_rng(0).standard_normal((*shape, FEATURES)).astype(np.float32)


@FORMS
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_right_before_and_after_a_refit(kind, unroll):
    (name, options, one), (_, _, two) = pair(kind, 0), pair(kind, 1)
    module = getattr(nn, name)(FEATURES, SIZE, **options)
    module.unroll = unroll
    inputs = {"x": array(one.batch_first)}
    if kind in PACKED:
        inputs["lengths"] = np.array([LENGTH, 2, 4], np.int64)
    states = [state_of(one), state_of(two)]
    calls = Calls(module)
    calls.load_state_dict(states[0])
    graph = trtnet.record(calls, **{key: Input(value.shape, str(value.dtype)) for key, value in inputs.items()})
    wanted = [their_result(theirs, inputs["x"], inputs.get("lengths")) for theirs in (one, two)]
    with trtnet.build(graph, refit=True, **LEVEL) as engine:
        before = engine(**inputs)
        assert error(before, wanted[0]) < 1e-5
        engine.refit(states[1])
        other = engine(**inputs)
        assert error(other, wanted[1]) < 1e-5
        assert error(other, wanted[0]) > 1e-2
        engine.refit(states[0])
        assert same(flat(engine(**inputs)), flat(before))


@pytest.mark.parametrize("kind", ["tanh", "gru both ways", "lstm both ways"])
def test_a_loop_of_any_number_of_steps(kind):
    """One engine for 1 to 40 steps and 1 to 4 sequences."""
    name, options, theirs = pair(kind, 0)
    calls = Calls(getattr(nn, name)(FEATURES, SIZE, **options))
    calls.load_state_dict(state_of(theirs))
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=8, max=40)
    graph = trtnet.record(calls, x=Input((batch, length, FEATURES)), lengths=Input((batch,), "int64"))
    with trtnet.build(graph, **LEVEL) as engine:
        for sequences, steps, lengths in ((1, 1, [1]), (3, 9, [4, 9, 1]), (4, 40, [40, 3, 17, 39]), (2, 8, [8, 8])):
            x, counts = array(True, steps, sequences), np.array(lengths, np.int64)
            assert error(engine(x=x, lengths=counts), their_result(theirs, x, counts)) < 1e-5, (sequences, steps)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells(name):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(FEATURES, SIZE)
    mine = getattr(nn, name)(FEATURES, SIZE)
    mine.load_state_dict({key: value.detach().numpy() for key, value in theirs.state_dict().items()})
    x = array(True)[:, 0]
    with trtnet.build(trtnet.record(mine, input=Input(x.shape)), **LEVEL) as engine, torch.no_grad():
        assert error(engine(x), theirs.double()(torch.from_numpy(x).double())) < 1e-5


def test_half_precision():
    _, _, theirs = pair("lstm", 0)
    module = nn.LSTM(FEATURES, SIZE)
    module.unroll = False
    calls = Calls(module)
    calls.load_state_dict(state_of(theirs))
    x = array(False).astype(np.float16)
    with trtnet.build(trtnet.record(calls.half(), x=Input(x.shape, "float16")), **LEVEL) as engine:
        found = engine(x)
        assert all(part.dtype == np.float16 for part in flat(found))
        assert error(found, their_result(theirs, x.astype(np.float32), None)) < 1e-2


def test_lines_of_the_character_lstm():
    """One call a character and one call a line write what the reference writes, likeliest characters and draws."""
    writer = Writer(CharacterLSTM().load_weights(bundled("weights/character_lstm.safetensors")))
    noise = [gumbel((1, LONGEST, len(CHARACTERS)), temperature, seed) for seed, temperature in enumerate((0, 0.7))]
    wanted = [writer.line("at dawn, ", each) for each in noise]
    writer.engines = {name: trtnet.build(graph, **LEVEL) for name, graph in writer.graphs.items()}
    assert [writer.line("at dawn, ", each) for each in noise] == wanted
    assert [writer.characters("at dawn, ", each) for each in noise] == wanted
    several = {name: np.zeros((1, 5, 96), np.float32) for name in ("hidden", "cell")}
    text = writer.engines["line"](
        character=np.repeat(encoded("\n"), 5, 0), **several, noise=np.zeros((5, LONGEST, len(CHARACTERS)), np.float32)
    )["text"]
    assert (text == text[0]).all()
    for engine in writer.engines.values():
        engine.close()
