"""A character LSTM: an embedding, an LSTM and a matrix. It writes lines like those that it was trained on.

    python models/character_lstm.py --lines 3 --start "at dawn, "

writes each line twice on the reference engine, with weights/character_lstm.safetensors: by one call a character, and by
one call a line, in which the loop is a part of the network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import trtnet
from trtnet import Dim, Input, nn

CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz,."
LONGEST = 100
"""Characters of the longest line, its end included."""


class CharacterLSTM(nn.Module):
    """What comes next: `text` (batch, length), numbers in CHARACTERS, and the states (1, batch, size) before it, zeros
    unless given -> `logits` (batch, length, characters), and the states behind it, `next_hidden` and `next_cell`."""

    def __init__(self, characters=30, size=96):
        super().__init__()
        self.embedding = nn.Embedding(characters, 32)
        self.lstm = nn.LSTM(32, size, batch_first=True)
        self.linear = nn.Linear(size, characters)

    def forward(self, text, hidden=None, cell=None):
        states = None if hidden is None else (hidden, cell)
        x, (hidden, cell) = self.lstm(self.embedding(text), states)
        return {"logits": self.linear(x), "next_hidden": hidden, "next_cell": cell}


class Lines(nn.Module):
    """Whole lines: after `character` (batch, 1) and its states, the character of the largest logit at each step, once
    `noise` (batch, length, characters) was added -> `text` (batch, length). Without noise it is the likeliest one; with
    Gumbel's, times a temperature, a draw (Gumbel 1954, "Statistical theory of extreme values")."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, character, hidden, cell, noise):
        def write(carry, noise):
            character, hidden, cell = carry
            after = self.net(character, hidden, cell)
            character = (after["logits"][:, -1] + noise).argmax(-1, keepdim=True)
            return (character, after["next_hidden"], after["next_cell"]), character[:, 0]

        _, text = trtnet.scan(write, (character, hidden, cell), noise, dim=1)
        return {"text": text}


def encoded(text: str) -> np.ndarray:
    """(1, length) of int64."""
    return np.array([[CHARACTERS.index(character) for character in text]], np.int64)


def decoded(numbers: np.ndarray) -> str:
    """The line, without what comes behind its end."""
    return "".join(CHARACTERS[number] for number in numbers).split("\n")[0]


def gumbel(shape: tuple[int, ...], temperature: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).gumbel(size=shape) * temperature).astype(np.float32)


def states_of(net: CharacterLSTM, batch: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((1, batch, net.lstm.hidden_size), np.float32) for name in ("hidden", "cell")}


class Writer:
    """Writes lines with a network, one call a character (`characters`) or one call a line (`line`)."""

    def __init__(self, net: CharacterLSTM) -> None:
        self.net = net
        batch = Dim("batch", min=1, opt=1, max=64)
        states = {name: Input((1, batch, net.lstm.hidden_size)) for name in ("hidden", "cell")}
        character = Input((batch, 1), "int64")
        noise = Input((batch, LONGEST, len(CHARACTERS)))
        self.graphs = {
            "character": trtnet.record(net, text=character, **states),
            "line": trtnet.record(Lines(net), character=character, **states, noise=noise),
        }
        self.engines = {name: trtnet.reference(graph) for name, graph in self.graphs.items()}

    def start(self, text: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The last character of what a line begins with, and the states before it."""
        given, states = encoded("\n" + text), states_of(self.net, 1)
        for at in range(given.shape[1] - 1):
            after = self.engines["character"](text=given[:, at : at + 1], **states)
            states = {name: after[f"next_{name}"] for name in states}
        return given[:, -1:], states

    def characters(self, text: str, noise: np.ndarray) -> str:
        """One call a character."""
        character, states = self.start(text)
        written = []
        for step in noise[0]:
            after = self.engines["character"](text=character, **states)
            states = {name: after[f"next_{name}"] for name in states}
            character = (after["logits"][:, -1] + step).argmax(-1)[:, None]
            written.append(character[0, 0])
            if CHARACTERS[written[-1]] == "\n":
                break
        return text + decoded(np.array(written))

    def line(self, text: str, noise: np.ndarray) -> str:
        """One call a line."""
        character, states = self.start(text)
        return text + decoded(self.engines["line"](character=character, **states, noise=noise)["text"][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=4)
    parser.add_argument("--start", default="", metavar="TEXT", help="what each line begins with: a to z, comma, space")
    parser.add_argument("--temperature", type=float, default=0.7, help="0 for the likeliest line, 1 as it was learnt")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    weights = Path(__file__).resolve().parent.parent / "weights" / "character_lstm.safetensors"
    writer = Writer(CharacterLSTM().load_weights(weights))
    for name, write in (("character", writer.characters), ("line", writer.line)):
        began, count = time.perf_counter(), 0
        print(f"one call a {name}:")
        for number in range(options.lines):
            noise = gumbel((1, LONGEST, len(CHARACTERS)), options.temperature, options.seed + number)
            line = write(options.start, noise)
            count += len(line)
            print(f"  {line}")
        print(f"  {count / (time.perf_counter() - began):.0f} characters a second\n")


if __name__ == "__main__":
    main()
