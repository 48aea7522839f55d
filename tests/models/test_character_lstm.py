"""The character LSTM: against torch, what it writes by a call a character and a call a line, and compiled."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from harness import check_against_torch, lower_and_compare, needs_rtx, torch_state

import trtnet
from models.character_lstm import CHARACTERS, LONGEST, CharacterLSTM, Lines, Writer, decoded, encoded, gumbel
from models.train_character_lstm import examples, is_sentence, text_of, train
from trtnet import Dim, Input
from trtnet.basics.bundled import bundled

torch = pytest.importorskip("torch")


class TorchCharacterLSTM(torch.nn.Module):
    def __init__(self, characters=30, size=96):
        super().__init__()
        self.embedding = torch.nn.Embedding(characters, 32)
        self.lstm = torch.nn.LSTM(32, size, batch_first=True)
        self.linear = torch.nn.Linear(size, characters)

    def forward(self, text, hidden, cell):
        x, states = self.lstm(self.embedding(text), (hidden, cell))
        return self.linear(x), *states


@pytest.fixture(scope="module")
def net():
    return CharacterLSTM().load_weights(bundled("weights/character_lstm.safetensors"))


@pytest.fixture(scope="module")
def writer(net):
    return Writer(net)


@pytest.fixture(scope="module")
def theirs(net):
    module = TorchCharacterLSTM()
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in net.state_dict().items()})
    return module


def states(batch, seed=1):
    draw = np.random.default_rng(seed)
    return {name: draw.uniform(-1, 1, (1, batch, 96)).astype(np.float32) for name in ("hidden", "cell")}


@pytest.mark.parametrize("length", [1, 20], ids=["one character", "a loop"])
@pytest.mark.parametrize("moves", [False, True], ids=["static", "dynamic"])
def test_equals_one_written_in_torch(net, length, moves):
    """On other weights than the trained ones too; 20 characters are a loop, 1 is none."""
    other = TorchCharacterLSTM(12, 96)
    mine = CharacterLSTM(12)
    assert list(mine.state_dict()) == list(other.state_dict())
    text = np.random.default_rng(0).integers(0, 12, (2, length))
    batch, steps = Dim("batch", min=1, opt=2, max=4), Dim("steps", min=1, opt=20, max=40)
    sizes = (batch, length if length == 1 else steps)
    state = (1, batch, 96)
    check_against_torch(
        mine,
        other,
        {"text": text, **states(2)},
        shapes={"text": sizes, "hidden": state, "cell": state} if moves else None,
        state_dict=torch_state(other),
        rtol=1e-9,
        atol=1e-9,
    )


def their_line(theirs, start, noise):
    """The same line, by torch alone in float64."""
    theirs = theirs.double()
    given, text = torch.from_numpy(encoded("\n" + start)), []
    hidden = cell = torch.zeros(1, 1, 96, dtype=torch.float64)
    with torch.no_grad():
        for step in noise[0]:
            logits, hidden, cell = theirs(given, hidden, cell)
            given = (logits[:, -1] + torch.from_numpy(step)).argmax(-1, keepdim=True)
            text.append(given.item())
    return start + decoded(np.array(text))


@pytest.mark.parametrize("start", ["", "at dawn, ", "seven "])
def test_a_line_is_the_same_by_calls_for_each_character_by_one_call_and_in_torch(writer, theirs, start):
    for seed, temperature in enumerate((0.0, 0.5, 1.0)):
        noise = gumbel((1, LONGEST, len(CHARACTERS)), temperature, seed)
        line = writer.line(start, noise)
        assert line == writer.characters(start, noise)
        assert line == their_line(theirs, start, noise)
        assert line.startswith(start)
        assert len(line) > len(start)


def test_it_writes_sentences_that_it_has_not_read(writer):
    """The grammar checks what it wrote; of these draws it had read few before."""
    noise = gumbel((64, LONGEST, len(CHARACTERS)), 0.7, 1)
    start = {"character": np.repeat(encoded("\n"), 64, 0), **{n: np.zeros((1, 64, 96), np.float32) for n in states(1)}}
    lines = list(map(decoded, writer.engines["line"](**start, noise=noise)["text"]))
    assert sum(map(is_sentence, lines)) >= 58, [line for line in lines if not is_sentence(line)]
    assert len(set(lines)) >= 60
    assert len(set(lines) - set(text_of(2000, 0))) >= 55
    alone = writer.engines["line"](**{n: a[:, :1] if a.ndim == 3 else a[:1] for n, a in start.items()}, noise=noise[:1])
    assert decoded(alone["text"][0]) == lines[0]


def test_its_weights_matter():
    trtnet.manual_seed(0)
    untrained = Writer(CharacterLSTM())
    lines = [untrained.line("", gumbel((1, LONGEST, len(CHARACTERS)), 0.7, seed)) for seed in range(5)]
    assert not any(map(is_sentence, lines))


def test_the_grammar():
    lines = text_of(300, 7)
    assert all(map(is_sentence, lines))
    assert max(map(len, lines)) < LONGEST
    assert set("".join(lines)) <= set(CHARACTERS)
    assert lines == text_of(300, 7) != text_of(300, 8)
    for wrong in ("", "the sailor mend a net.", "two sailors mends a net.", "the sailor mends a net", "a b."):
        assert not is_sentence(wrong)


def test_it_is_trained_through_to_torch():
    lines = text_of(8, 0)
    read, following = examples(lines)
    assert read.shape == following.shape
    assert decoded(following[0].numpy()[: len(lines[0])]) == lines[0]
    assert (read[:, 0] == 0).all()
    trtnet.manual_seed(0)
    graph = trtnet.record(CharacterLSTM(), text=Input((Dim("batch", min=1, opt=4, max=8), read.shape[1]), "int64"))
    module = trtnet.to_torch(graph)
    first = train(module, lines, 1, 8, 0)
    assert train(module, lines, 12, 8, 0) < first - 0.3


def test_both_networks_compile(writer):
    needs_rtx()
    for graph in writer.graphs.values():
        lower_and_compare(graph)


def test_a_line_of_one_static_batch_compiles(net):
    needs_rtx()
    specs = {name: Input((1, 1, 96)) for name in ("hidden", "cell")}
    lower_and_compare(trtnet.record(Lines(net), character=Input((1, 1), "int64"), **specs, noise=Input((1, 9, 30))))


def test_the_demo(net):
    script = bundled("models/character_lstm.py")
    command = [sys.executable, str(script), "--lines", "2", "--start", "late at night, ", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (part.splitlines()[1:3] for part in done.stdout.split("one call a ")[1:])
    assert one == two
    assert all(line.startswith("  late at night, ") for line in one)
    assert any(is_sentence(line.strip()) for line in one)
