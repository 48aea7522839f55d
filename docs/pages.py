"""The pages of the site: those of docs/, README and its neighbours, the lessons, and one for each folder of trtnet/.

`make docs` runs this and then zensical, by mkdocs.yml; it also has `Examples`, by which docstrings become Markdown.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import griffe
import nbclient
import nbformat

ROOT = Path(__file__).parents[1]
PACKAGE, PAGES, NOTEBOOKS = ROOT / "trtnet", ROOT / "build" / "pages", ROOT / "notebooks"
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "weights/README.md")
VERBS = ("recording", "building", "loading")
RUNS = importlib.util.find_spec("tensorrt_rtx") is not None
"""Whether the lessons' code can be run: where TensorRT-RTX has no wheel their pages have no outputs."""


def main() -> None:
    """Write every page into build/pages, from which the site is made."""
    shutil.rmtree(PAGES, ignore_errors=True)
    order = rooms()
    pages = {"index.md": ROOT / "README.md"} | {path: ROOT / path for path in OUTSIDE}
    pages |= {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").glob("**/*.md")}
    pages["zh/index.md"] = ROOT / "README.zh.md"
    for language, start in (("en", "README.md"), ("zh", "README.zh.md")):
        pages[f"lessons/{language}/index.md"] = NOTEBOOKS / start
        pages |= {f"lessons/{language}/{path.stem}.md": path for path in (NOTEBOOKS / language).glob("*.ipynb")}
    made = {"house/index.md": overview(order), "house/verbs.md": verbs()}
    made |= {f"house/{room}.md": page(room, order) for level in order for room in level if (PACKAGE / room).is_dir()}
    for name, path in pages.items():
        if path.suffix == ".md":
            made[name] = linked(path.read_text(), path, name, pages)
    made |= lessons(pages)
    for name, text in made.items():
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / name).write_text(text)
    shutil.copy(ROOT / "docs" / "site.css", PAGES)


def linked(text: str, path: Path, name: str, pages: dict[str, Path]) -> str:
    """A text of a page, with links to the other pages' places in the site; of links to other files the words alone.
    Pictures are copied."""
    places = {source: place for place, source in pages.items()}

    def link(found: re.Match[str]) -> str:
        sign, words, target = found.groups()
        if sign:
            picture = (path.parent / target).resolve()
            (PAGES / "pictures").mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, PAGES / "pictures")
            return f"![{words}]({posixpath.relpath(f'pictures/{picture.name}', posixpath.dirname(name))})"
        file, hash, anchor = target.partition("#")
        if not file or ":" in file:
            return found.group()
        place = places.get((path.parent / file).resolve())
        if place is None:
            return words
        chinese = pages.get(f"zh/{place}") if name.startswith("lessons/zh/") else None
        if chinese is not None and (not anchor or f'id="{anchor}"' in chinese.read_text(encoding="utf-8")):
            place = f"zh/{place}"
        return f"[{words}]({posixpath.relpath(place, posixpath.dirname(name))}{hash}{anchor})"

    return re.sub(r"(!?)\[([^\[\]]+)\]\(([^()\s]+)\)", link, text)


def lessons(pages: dict[str, Path]) -> dict[str, str]:
    """The lessons with what their code gives: it is run once, as it is the same in every language."""
    made: dict[str, str] = {}
    results: dict[str, list[str]] = {}
    for name, path in sorted(pages.items()):
        if path.suffix != ".ipynb":
            continue
        notebook = nbformat.read(path, as_version=4)
        if path.name not in results and not RUNS:
            results[path.name] = [""] * len(notebook.cells)
        elif path.name not in results:
            resources = {"metadata": {"path": str(path.parent)}}
            nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
            results[path.name] = ["".join(map(output, joined(cell.get("outputs", ())))) for cell in notebook.cells]
        parts = []
        for cell, result in zip(notebook.cells, results[path.name]):
            is_code = cell.cell_type == "code"
            parts.append(fenced("python", cell.source) if is_code else linked(cell.source, path, name, pages))
            parts.append(result)
        made[name] = "\n\n".join(filter(None, parts)) + "\n"
    return made


def joined(outputs: Iterable[Any]) -> Iterator[Any]:
    """The outputs of a cell; what it printed in several pieces is one, as in a notebook."""
    for name, pieces in itertools.groupby(outputs, lambda given: given.get("name")):
        if name is None:
            yield from pieces
        else:
            yield {"text": "".join(given["text"] for given in pieces)}


def output(given: Any) -> str:
    """What a cell gave: its Markdown or HTML as it is, or else its text."""
    data = given.get("data", {})
    if "text/markdown" in data:
        return f"{data['text/markdown']}\n"
    if "text/html" in data:
        return f"<div>{data['text/html']}</div>\n"
    text = given.get("text") or data.get("text/plain", "")
    return fenced("text", text.replace(f"{ROOT}/", "")) + "\n"


def fenced(language: str, text: str) -> str:
    return f"````{language}\n{text.strip(chr(10))}\n````" if text.strip() else ""


def rooms() -> list[list[str]]:
    """From the ground up, as the import test has them."""
    for node in ast.parse((ROOT / "tests" / "test_imports.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            return [sorted(level) for level in ast.literal_eval(node.value)]
    raise LookupError("tests/test_imports.py has no ROOMS")


def said(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def overview(order: list[list[str]]) -> str:
    lines = ["# Which room holds what", "", "From the ground up; imports go to the same room or up this list.", ""]
    for level in order:
        for name in level:
            folder = PACKAGE / name
            if folder.is_dir():
                lines.append(f"- [`{name}/`]({name}.md): {said(folder / '__init__.py').splitlines()[0]}")
            elif name in VERBS:
                lines.append(f"- [`{name}.py`](verbs.md): {said(folder.with_suffix('.py')).splitlines()[0]}")
    return "\n".join(lines) + "\n"


def verbs() -> str:
    lines = ["# The three verbs", "", "What users call first; each is one file at the top of `trtnet/`.", ""]
    return "\n".join([*lines, *(f"::: trtnet.{name}\n" for name in VERBS)])


def page(name: str, order: list[list[str]]) -> str:
    """What lives here, what it may import, where to add a thing, and the reference of every file."""
    level = next(i for i, names in enumerate(order) if name in names)
    below = [room for names in order[:level] for room in names]
    links = (f"[{room}]({room}.md)" if (PACKAGE / room).is_dir() else room for room in below)
    may = ", ".join(links) or "nothing of trtnet"
    lines = [f"# {name}/", "", said(PACKAGE / name / "__init__.py"), "", "## What it may import", ""]
    lines += [f"Files of its own room, and: {may}.", "", "## Its files", ""]
    files = sorted(p for p in (PACKAGE / name).rglob("*.py") if not p.name.startswith("_"))
    for file in files:
        lines += [f"::: trtnet.{'.'.join(file.relative_to(PACKAGE).with_suffix('').parts)}", ""]
    return "\n".join(lines)


class Examples(griffe.Extension):
    """`>>>` as code, `Shape: ...` as a point of a list, and types and defaults where one line has several names."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is None:
            return
        obj.docstring.value = markdown_of(obj.docstring.value)
        for section in obj.docstring.parsed:
            for one in section.value if section.kind.value in ("parameters", "attributes") else ():
                if len(names := one.name.split(",")) > 1:
                    types, defaults = zip(*(said_of(obj, name) for name in names))
                    one.name, one.annotation = ", ".join(names), together(types, "Any")
                    if section.kind.value == "parameters":
                        one.value = together(defaults, "required")


def together(texts: Sequence[str], missing: str) -> str:
    """What several have in common, or what each has."""
    return texts[0] if len(set(texts)) == 1 else ", ".join(text or missing for text in texts)


def said_of(obj: griffe.Object, name: str) -> tuple[str, str]:
    """Type and default of a parameter or an attribute, as they stand in the code; "" where there is none."""
    parameters = getattr(obj, "parameters", ())
    if name.lstrip("*") in parameters:
        found = parameters[name.lstrip("*")]
        return str(found.annotation or ""), str(found.default or "")
    try:
        return str(obj[name].annotation or ""), ""
    except (KeyError, AttributeError):
        return "", ""


def markdown_of(text: str) -> str:
    text = re.sub(r"\[bold\](.*?)\[/(?:bold)?\]", r"**\1**", text, flags=re.S)  # the command's help
    text = re.sub(r"\[dim\](.*?)\[/(?:dim)?\]", r"\1", text)
    text = re.sub(r"^(Parameters|Shape|Layers|Layers of the example|Unlike torch): ", r"\n- **\1:** ", text, flags=re.M)
    text = re.sub(
        r"^    (\*{0,2}[a-z_]\w*(?:, \*{0,2}[a-z_]\w*)+):", lambda found: found[0].replace(", ", ","), text, flags=re.M
    )  # griffe takes the first word for the name
    blocks = re.sub(r"(?:^|\n)\n?(>>> (?:.|\n(?!\n))*)", r"\n\n```pycon\n\1\n```\n", text)
    return blocks.strip("\n")


if __name__ == "__main__":
    main()
