"""Trains the character LSTM on sentences of a small grammar, through `trtnet.to_torch`, and writes
weights/character_lstm.safetensors.

    python models/train_character_lstm.py

The sentences are drawn from the words below; nothing else is read. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.progress import track

import trtnet

try:
    import torch
    from torch.nn import functional
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(f"error: {error}\n  remedy:   pip install 'trtnet[torch]'", file=sys.stderr)
    sys.exit(2)
try:
    from models.character_lstm import CHARACTERS, LONGEST, CharacterLSTM, Writer, encoded, gumbel
except ImportError:  # run as a script
    from character_lstm import CHARACTERS, LONGEST, CharacterLSTM, Writer, encoded, gumbel

ROOT = Path(__file__).resolve().parent.parent

TIMES = ("at dawn", "in the evening", "after the rain", "on market day", "late at night", "when the wind turns")
LIKE = ("old", "young", "tired", "cheerful", "quiet", "tall")
PEOPLE = ("sailor", "baker", "farmer", "painter", "teacher", "miller", "singer", "fisher")
COUNTS = ("two", "three", "seven", "many")
DOES = {
    "mend": ("a net", "the torn sail", "the broken cart"),
    "bake": ("a cake", "ten loaves of bread", "an apple pie"),
    "paint": ("a boat", "the garden gate", "a small picture of the sea"),
    "sing": ("a slow song", "the song of the mill", "an old tune"),
    "read": ("a letter", "a long book", "the names of the ships"),
    "count": ("the sheep", "the stars", "the sacks of flour"),
    "row": ("a boat", "across the river", "home"),
    "plant": ("an apple tree", "rows of beans", "roses"),
}
PLACES = ("near the harbour", "by the river", "in the garden", "under the bridge", "on the hill", "at the market")


def sentence(draw: np.random.Generator) -> str:
    """A line: a time perhaps, one or several people, what they do, perhaps where."""

    def one_of(words: Iterable[str]) -> str:
        words = list(words)
        return words[draw.integers(len(words))]

    parts = [one_of(TIMES) + ","] if draw.random() < 0.6 else []
    several = draw.random() < 0.4
    parts.append(one_of(COUNTS) if several else "the")
    if draw.random() < 0.7:
        parts.append(one_of(LIKE))
    verb = one_of(DOES)
    parts += [one_of(PEOPLE) + "s" * several, verb + "s" * (not several), one_of(DOES[verb])]
    if draw.random() < 0.6:
        parts.append(one_of(PLACES))
    return " ".join(parts) + "."


def _any(words: Iterable[str], after: str = "") -> str:
    return "(?:" + "|".join(f"{word}{after}" for word in words) + ")"


def _deeds(ending: str) -> str:
    return "(?:" + "|".join(f"{verb}{ending} {_any(things)}" for verb, things in DOES.items()) + ")"


_BEGIN, _LIKE, _PLACE = f"(?:{_any(TIMES)}, )?", f"(?:{_any(LIKE)} )?", f"(?: {_any(PLACES)})?"
_ONE = f"the {_LIKE}{_any(PEOPLE)} {_deeds('s')}"
_SEVERAL = f"{_any(COUNTS)} {_LIKE}{_any(PEOPLE, 's')} {_deeds('')}"
SENTENCE = re.compile(rf"{_BEGIN}(?:{_ONE}|{_SEVERAL}){_PLACE}\.")


def is_sentence(line: str) -> bool:
    """Whether the grammar has this line."""
    return SENTENCE.fullmatch(line) is not None


def text_of(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [sentence(draw) for _ in range(count)]


def examples(lines: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """What is read, (lines, length) with an end of line before each, and what is to come next; -1 behind its end."""
    length = max(map(len, lines)) + 1
    read, following = torch.zeros(len(lines), length, dtype=torch.int64), torch.full((len(lines), length), -1)
    for row, line in enumerate(lines):
        numbers = torch.from_numpy(encoded(f"\n{line}\n")[0])
        read[row, : len(numbers) - 1] = numbers[:-1]
        following[row, : len(numbers) - 1] = numbers[1:]
    return read, following


def train(module: torch.nn.Module, lines: list[str], epochs: int, batch: int, seed: int) -> float:
    """The mean loss of the last epoch, in nats for each character."""
    read, following = examples(lines)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters())
    steps = -(-len(lines) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, epochs=epochs, steps_per_epoch=steps)
    losses: list[float] = []
    for _ in track(range(epochs), description="training"):
        losses = []
        for chosen in torch.randperm(len(lines), generator=generator).split(batch):
            logits = module(read[chosen])["logits"]
            loss = functional.cross_entropy(logits.flatten(0, 1), following[chosen].flatten(), ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return float(np.mean(losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "weights" / "character_lstm.safetensors", metavar="FILE")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    lines = text_of(options.lines, options.seed)
    length = max(map(len, lines)) + 1
    trtnet.manual_seed(options.seed)
    net = CharacterLSTM()
    graph = trtnet.record(net, text=trtnet.Input((trtnet.Dim("batch", min=1, opt=8, max=4096), length), "int64"))
    module = trtnet.to_torch(graph)
    loss = train(module, lines, options.epochs, options.batch, options.seed)
    net.load_state_dict(module.state_dict())
    net.save_weights(options.output)

    print(f"{len(lines)} lines, {sum(map(len, lines)):,} characters; loss {loss:.4f}")
    writer = Writer(net)
    drawn = [writer.line("", gumbel((1, LONGEST, len(CHARACTERS)), 0.7, seed)) for seed in range(100)]
    print(
        f"{sum(map(is_sentence, drawn))} of 100 drawn lines are sentences, {len(set(drawn) - set(lines))} of them new"
    )
    print(f"{options.output} written")


if __name__ == "__main__":
    main()
