"""Digits and their probabilities, in the terminal and as a picture."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ...basics.errors import ArgumentError
from .digits import BOX

SHADES = " ░▒▓█"
BAR = 10


class Answer(NamedTuple):
    """A digit (28×28, 0 to 1), the probability of each class, what it is, and its place among the digits."""

    image: np.ndarray
    prob: np.ndarray
    label: int
    place: int = 0

    @property
    def guess(self) -> int:
        return int(self.prob.argmax())

    @property
    def right(self) -> bool:
        return self.guess == self.label


def named(digit: int) -> str:
    return f"{'an' if digit == 8 else 'a'} {digit}"


def crop(image: np.ndarray) -> np.ndarray:
    """The 20×20 box around a digit."""
    corner = []
    for axis in (1, 0):
        inked = np.flatnonzero(image.max(axis=axis))
        middle = (inked[0] + inked[-1] + 1 - BOX) / 2 if len(inked) else (len(image) - BOX) / 2
        corner.append(int(np.clip(round(middle), 0, len(image) - BOX)))
    return image[corner[0] : corner[0] + BOX, corner[1] : corner[1] + BOX]


def draw_digit(image: np.ndarray, colours: bool) -> list[Text]:
    """10 lines of 20 characters: half blocks in greys, or shades where there are no colours."""
    lines = []
    box = crop(image)
    for upper, lower in zip(box[::2], box[1::2]):
        line = Text()
        for top, bottom in zip(upper, lower):
            if colours:
                a, b = (int(v * 255) for v in (top, bottom))
                line.append("▀", Style(color=f"rgb({a},{a},{a})", bgcolor=f"rgb({b},{b},{b})"))
            else:
                line.append(SHADES[round((top + bottom) / 2 * (len(SHADES) - 1))])
        lines.append(line)
    return lines


def draw_answer(answer: Answer, colours: bool) -> RenderableType:
    """The digit, and beside each of its ten lines one class with a bar."""
    body = Text()
    for number, (line, prob) in enumerate(zip(draw_digit(answer.image, colours), answer.prob)):
        body.append_text(line)
        style = ("bold green" if answer.right else "bold red") if number == answer.guess else "dim"
        bar = "█" * round(float(prob) * BAR) or ("▏" if prob >= 0.005 else "")
        percent = f" {prob:.0%}" if prob >= 0.005 else ""
        body.append(f"  {number} ", style)
        body.append(f"{bar}{percent}".ljust(BAR + 5), style)
        body.append("\n")
    body.rstrip()
    verdict = "right" if answer.right else f"wrong: it is {named(answer.label)}"
    title = Text(
        f"{named(answer.guess)}, at {float(answer.prob.max()):.1%}: {verdict}", "green" if answer.right else "red"
    )
    return Group(title, body, Text())


def draw_answers(console: Console, answers: Sequence[Answer]) -> None:
    """As many beside each other as fit."""
    colours = console.color_system is not None
    width = BOX + 4 + BAR + 5
    columns = max(1, min(3, (console.width + 1) // (width + 1)))
    grid = Table.grid(padding=(0, 1))
    for start in range(0, len(answers), columns):
        grid.add_row(*(draw_answer(a, colours) for a in answers[start : start + columns]))
    console.print(grid)


# --- the picture ------------------------------------------------------------------------------------------------------

TILE, MARGIN, SCALE, LINE = 280, 24, 5, 14
PAPER, INK, FAINT, RIGHT, WRONG = "#ffffff", "#1f2328", "#8c959f", "#1a7f37", "#cf222e"


def save_picture(path: Path, title: str, subtitle: str, answers: Iterable[Answer], columns: int = 5) -> tuple[int, int]:
    """A PNG: each digit with the probabilities of its classes. Returns width and height."""
    from PIL import Image, ImageDraw

    tiles = list(answers)
    rows = -(-len(tiles) // columns)
    high = 28 * SCALE + 36
    size = columns * TILE + 2 * MARGIN, 92 + rows * (high + 16) + MARGIN
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, 20), title, INK, _font(26))
    draw.text((MARGIN, 56), subtitle, FAINT, _font(15))
    for number, answer in enumerate(tiles):
        left, top = MARGIN + number % columns * TILE, 92 + number // columns * (high + 16)
        pixels = Image.fromarray((answer.image * 255).round().astype(np.uint8))
        picture.paste(pixels.resize((28 * SCALE, 28 * SCALE), Image.Resampling.NEAREST), (left, top))
        for digit, prob in enumerate(answer.prob):
            y = top + digit * LINE
            best = digit == answer.guess
            colour = (RIGHT if answer.right else WRONG) if best else FAINT
            draw.text((left + 28 * SCALE + 10, y), str(digit), colour, _font(12))
            draw.rectangle(
                (left + 28 * SCALE + 24, y + 3, left + 28 * SCALE + 24 + round(float(prob) * 90), y + 10), colour
            )
        verdict = f"{named(answer.guess)}, at {float(answer.prob.max()):.1%}" + (
            "" if answer.right else f": it is {named(answer.label)}"
        )
        draw.text((left, top + 28 * SCALE + 6), verdict, RIGHT if answer.right else WRONG, _font(16))
    data = io.BytesIO()
    picture.save(data, "png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
    except OSError as error:
        raise ArgumentError(
            f"{path} could not be written", found=str(error), remedy="name another: --output FILE.png"
        ) from error
    return size


def _font(size: int) -> object:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # Pillow before 10.1, or without FreeType: one small bitmap font
        return ImageFont.load_default()
