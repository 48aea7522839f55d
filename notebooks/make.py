"""Make the notebooks of the lessons, in English and in Chinese, of their sources in notebooks/lessons/.

    python notebooks/make.py

A source is cells: `# %% [en]` begins text in English, as comments, `# %% [zh]` right after it the same in Chinese, and
`# %%` code, which is the same in both. The lists of lessons in notebooks/README.md, notebooks/README.zh.md and
mkdocs.yml are made, too.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parent
SITE = NOTEBOOKS.parent / "mkdocs.yml"
LANGUAGES = {"en": "README.md", "zh": "README.zh.md"}
"""The languages, and the page in each of them that lists the lessons."""
TITLES = {"en": r"# Lesson (\d+): (.+)", "zh": r"# 第 (\d+) 课:(.+)"}
EXERCISE = "# Exercise\n"
"""How the code of an exercise begins."""
CHECK = "# The check: nothing to change from here\n"
"""What ends the reader's part of it."""

_WIDE = "[\u2018-\u201d\u2026\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_STOP = "[\u3001\u3002\uff01\uff09\uff0c\uff1a\uff1b\uff1f]"
_JOINED = rf"(?<={_WIDE})\n *(?={_WIDE})|(?<={_STOP})\n *(?!```)(?=[^\s\-|#>*+\d])"
"""Where a line's end is no space: between two wide characters, and behind a wide stop."""


class Cell(NamedTuple):
    """A cell of a lesson.

    Attributes:
        kind: "code", or the language of a text.
    """

    kind: str
    text: str


class Lesson(NamedTuple):
    """A lesson as it is written.

    Attributes:
        name: its file's, "01-list-of-layers".
    """

    name: str
    cells: list[Cell]

    def title(self, language: str) -> tuple[int, str]:
        """Its number, and what it is called."""
        first = next(cell.text for cell in self.cells if cell.kind == language)
        found = re.match(TITLES[language], first.replace("\uff1a", ":"))
        if found is None:
            raise ValueError(f"{self.name}: the first [{language}] cell begins with {TITLES[language]!r}")
        return int(found.group(1)), found.group(2)


def read(path: Path) -> Lesson:
    """A source. Raises ValueError where it is not in this form, or not the same in both languages."""
    start, *parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.M)
    if start.strip():
        raise ValueError(f"{path}: a lesson begins with # %% [en]")
    cells = []
    for mark, text in zip(parts[::2], parts[1::2]):
        kind = mark.strip(" []") or "code"
        if kind not in ("code", *LANGUAGES):
            raise ValueError(f"{path}: '# %%{mark}' begins no cell")
        cells.append(Cell(kind, text.strip("\n") if kind == "code" else _prose(path, text)))
    kinds = [cell.kind for cell in cells if cell.kind != "code"]
    if kinds != ["en", "zh"] * (len(kinds) // 2):
        raise ValueError(f"{path}: each [en] is followed by its [zh]")
    for one, other in itertools.pairwise(cells):
        if one.kind == "en" and other.kind != "zh":
            raise ValueError(f"{path}: code stands between an [en] and its [zh]")
    return Lesson(path.stem.replace("_", "-"), cells)


def _prose(path: Path, text: str) -> str:
    lines = text.strip("\n").split("\n")
    for line in lines:
        if line != "#" and not line.startswith("# "):
            raise ValueError(f"{path}: {line!r} is no comment in a text")
    return re.sub(_JOINED, "", "\n".join(line[2:] for line in lines))


def notebook(lesson: Lesson, language: str) -> str:
    """The file of a notebook, without outputs."""
    cells: list[dict[str, object]] = []
    for number, (kind, text) in enumerate(cell for cell in lesson.cells if cell.kind in ("code", language)):
        cell: dict[str, object] = {"id": f"{lesson.name[:2]}-{number:02}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        code: dict[str, object] = {"execution_count": None, "outputs": []}
        cells.append({"cell_type": "code", **cell, **code} if kind == "code" else {"cell_type": "markdown", **cell})
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": spec, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def lessons() -> list[Lesson]:
    return [read(path) for path in sorted((NOTEBOOKS / "lessons").glob("[0-9]*.py"))]


def files() -> dict[Path, str]:
    """Everything that is made, by its path."""
    every = lessons()
    made = {
        NOTEBOOKS / language / f"{one.name}.ipynb": notebook(one, language) for one in every for language in LANGUAGES
    }
    navigation = SITE.read_text(encoding="utf-8")
    for language, page in LANGUAGES.items():
        rows, entries = "", ""
        for one in every:
            number, title = one.title(language)
            rows += f"| {number} | [{title}]({language}/{one.name}.ipynb) |\n"
            plain = json.dumps(f"{number}. {title}".replace("`", ""), ensure_ascii=False)
            entries += f"      - {plain}: lessons/{language}/{one.name}.md\n"
        text = (NOTEBOOKS / page).read_text(encoding="utf-8")
        made[NOTEBOOKS / page] = _replaced(r"(?<=\n\|---\|---\|\n)(\|.*\n)*", rows, text)
        made[SITE] = navigation = _replaced(rf"(?<=lessons/{language}/index.md\n)(      - .*\n)*", entries, navigation)
    return made


def _replaced(pattern: str, lines: str, text: str) -> str:
    found, count = re.subn(pattern, lambda _: lines, text, count=1)
    if not count:
        raise ValueError(f"{pattern!r} is not where the lessons are listed")
    return found


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
