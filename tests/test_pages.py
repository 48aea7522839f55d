"""What CONTRIBUTING and the rooms say of themselves is there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from harness import needs_rtx
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
CHINESE = {ROOT / "README.zh.md": ROOT / "README.md"}
CHINESE |= {page: ROOT / "docs" / page.name for page in sorted((ROOT / "docs" / "zh").glob("*.md"))}
TWINS = CHINESE | {ROOT / "notebooks" / "README.zh.md": ROOT / "notebooks" / "README.md"}
TWINS |= {page: ROOT / "notebooks" / "en" / page.name for page in (ROOT / "notebooks" / "zh").glob("*.ipynb")}
"""The pages in Chinese, and those in English that they are of; `TWINS` has the lessons, too."""
ROOMS = sorted(path for path in (ROOT / "trtnet").iterdir() if path.is_dir() and not path.name.startswith("_"))


def test_each_room_says_what_lives_there_and_where_to_add() -> None:
    for room in ROOMS:
        said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        assert "\nWhere to add: " in said, room
        for name in re.findall(r"`(\w+\.py)`", said):
            assert (room / name).exists(), f"{room / '__init__.py'} speaks of {name}"


def test_contributing_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = [ROOT, ROOT / "tests", ROOT / "docs", *(ROOT / "trtnet", *ROOMS), ROOT / "tests" / "gpu"]
    for name in set(re.findall(r"`([\w/]+\.(?:py|txt|md))`", text)):
        assert any((place / name).exists() for place in places), name
    order = re.search(r"\n    (basics <- .*?)\n\n", text, re.S).group(1)
    assert {room.name for room in ROOMS} <= set(re.findall(r"\w+", order))


def test_each_room_has_its_tests() -> None:
    for room in ROOMS:
        folder = ROOT / "tests" / ("tensorrt_" if room.name == "tensorrt" else room.name)
        assert list(folder.glob("test_*.py")), f"no test in {folder} for {room}"


def test_tests_that_are_named_are_there() -> None:
    files = [path for folder in ("trtnet", "tests", "docs", "models", "weights") for path in (ROOT / folder).rglob("*")]
    for file in [*ROOT.glob("*.md"), *(file for file in files if file.suffix in {".py", ".md"})]:
        for name in re.findall(r"(?<![\w/])tests/[\w/]+\.py", file.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{file} names {name}"


def test_contributing_has_the_words_of_the_house() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert len(words) == len(set(words)) >= 10


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for room in ROOMS:
        assert f"house/{room.name}.md" in text
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in text


def texts(page: Path) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Each paragraph, heading and cell: its text, its code, and the numbers in it."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type == "inline" and not token.content.startswith("<a id="):
            children = token.children or ()
            plain = " ".join(child.content for child in children if child.type == "text")
            numbers = Counter(number.rstrip(".,^") for number in re.findall(r"\d[\d.,^]*", plain))
            code = Counter(child.content for child in children if child.type == "code_inline")
            found.append((token.content, code, numbers))
    return found


def parts(page: Path) -> dict[str, list[str]]:
    """What a page has in every language: headings, code, cells of tables, and links, to the pages in English."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {"heading": [], "code": [], "row": [], "link": []}
    for token in tokens:
        if token.type == "heading_open":
            found["heading"].append(token.tag)
        elif token.type in {"fence", "code_block"}:
            found["code"].append(f"```{token.info}\n{token.content}```")
        elif token.type in {"tr_open", "th_open", "td_open"}:
            found["row"].append(token.tag)
        for child in token.children or ():
            if child.type in {"link_open", "image"}:
                found["link"].append(english(page, str(child.attrs.get("href") or child.attrs.get("src"))))
    return found


def english(page: Path, target: str) -> str:
    """Where a link of a page leads in English, from the top of the checkout."""
    file, hash, anchor = target.partition("#")
    if "://" in file:
        return target
    place = (page.parent / file).resolve() if file else page
    assert place.exists(), f"{page.name} links to {target}, which is not there"
    if anchor:
        text = place.read_text(encoding="utf-8")
        headings = [re.sub(r"[^\w -]", "", line).lower() for line in re.findall("^#+ (.+)$", text, re.M)]
        there = anchor in {heading.replace(" ", "-") for heading in headings} or f'id="{anchor}"' in text
        assert there, f"{page.name} links to {target}, and there is no such place"
    return f"{TWINS.get(place, place).relative_to(ROOT)}{hash}{anchor}"


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_the_same_in_chinese(page: Path) -> None:
    ours, theirs = parts(CHINESE[page]), parts(page)
    for kind in ours:
        for number, (one, other) in enumerate(zip(ours[kind], theirs[kind]), 1):
            assert other == one, f"{kind} {number} of {page.relative_to(ROOT)} is another than in English"
        assert len(theirs[kind]) == len(ours[kind]), f"{page.relative_to(ROOT)} has another number: {kind}"
    for (text, code, numbers), (chinese, same, more) in zip(texts(CHINESE[page]), texts(page), strict=True):
        assert same == code, f"other code in Chinese:\n{text}\n{chinese}"
        assert not numbers - more, f"not in Chinese, {', '.join(numbers - more)}:\n{text}\n{chinese}"


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_chinese_page_reads_and_links_as_one(page: Path) -> None:
    """Its stars are Markdown, and it links to pages in Chinese where they are there."""
    text = page.read_text(encoding="utf-8")
    linked = [(page.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^:)]+)\)", text)]
    for chinese, original in TWINS.items():
        assert original not in linked or chinese in {page, *linked}, f"{original.name} is there in Chinese"
    inline = [child for token in MarkdownIt("commonmark").parse(text) for child in token.children or ()]
    assert not [token.content for token in inline if token.type == "text" and "**" in token.content]


def test_pages_show_what_cells_give() -> None:
    for needed in ("griffe", "nbclient", "nbformat"):
        pytest.importorskip(needed)
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    plain = {"text/plain": "Graph()"}
    assert pages.output({"text": "three layers\n"}) == "````text\nthree layers\n````\n"
    assert pages.output({"data": plain}) == "````text\nGraph()\n````\n"
    assert pages.output({"data": {**plain, "text/html": "<pre>x</pre>"}}) == "<div><pre>x</pre></div>\n"
    assert pages.output({"data": {**plain, "text/markdown": "```mermaid\na\n```"}}) == "```mermaid\na\n```\n"
    assert pages.output({"text": f"at: {ROOT}/models/lenet.py:20"}) == "````text\nat: models/lenet.py:20\n````\n"
    shown = {"data": plain}
    pieces = [{"name": "stdout", "text": "one\n"}, {"name": "stdout", "text": "two\n"}, shown, shown]
    assert list(pages.joined(pieces)) == [{"text": "one\ntwo\n"}, shown, shown]
    assert pages.markdown_of("[dim]Example:[/] [bold]trtnet demo[/]") == "Example: **trtnet demo**"
    assert pages.markdown_of("[bold]Exit codes[/bold]: x[0] of a[/b]") == "**Exit codes**: x[0] of a[/b]"


def test_brackets_behind_brackets_are_code_in_docstrings() -> None:
    """The site would take `[0]['h']` for a link."""
    found = []
    for file in sorted((ROOT / "trtnet").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                continue
            lines = (ast.get_docstring(node) or "").splitlines()
            text = "\n".join(line for line in lines if not line.startswith(" " * 12) and ">>>" not in line)
            if match := re.search(r".*\][\[(].*", re.sub(r"`[^`]*`", "", text)):
                found.append(f"{file.relative_to(ROOT)}: {match.group()}")
    assert not found


def test_a_docstrings_line_of_several_names_has_their_types_and_defaults(tmp_path) -> None:
    """As griffe reads it, which knows one name in a line."""
    griffe = pytest.importorskip("griffe")
    pytest.importorskip("nbclient")
    text = '''
class Spread:
    """A spread.

    Attributes:
        least, most: seconds.
        name, count: what, and how many.
    """

    least: float
    most: float
    name: str
    count: int

def clamp(x: Array, low: float = 0.0, high: float = 0.0, step: int = 1, *args: Any, **kwargs: Any) -> Array:
    """Keep it between two numbers.

    Args:
        x, low: of which only the first is required.
        low, high: the bounds.
        high, step: a bound, and how far
            apart values are: yes, apart, and: so.
        *args, **kwargs: left aside.
        x: alone.

    Raises:
        ShapeError, DtypeError: never.
    """
'''
    (tmp_path / "several.py").write_text(text)
    extensions = griffe.load_extensions(f"{ROOT}/docs/pages.py:Examples")
    module = griffe.load(
        "several", search_paths=[tmp_path], extensions=extensions, docstring_parser="google", allow_inspection=False
    )

    def lines(name: str, kind: str) -> list[tuple[str, str, object]]:
        section = next(one for one in module[name].docstring.parsed if one.kind.value == kind)
        return [(one.name, str(one.annotation), one.value) for one in section.value]

    assert lines("Spread", "attributes") == [("least, most", "float", None), ("name, count", "str, int", None)]
    assert lines("clamp", "parameters") == [
        ("x, low", "Array, float", "required, 0.0"),
        ("low, high", "float", "0.0"),
        ("high, step", "float, int", "0.0, 1"),
        ("*args, **kwargs", "Any", "(), {}"),
        ("x", "Array", None),
    ]
    raised = next(one for one in module["clamp"].docstring.parsed if one.kind.value == "raises")
    assert [one.description for one in raised.value] == ["never."]


def test_the_page_of_torchs_operators_is_what_the_code_says() -> None:
    torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("operators_page", ROOT / "docs" / "torch_modules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text()
    made = re.search(re.escape(module.MARK.strip()).replace(r"\{\}", "(.*)"), text)
    assert made is not None
    if made.group(1) != torch.__version__.partition("+")[0]:
        pytest.skip(f"docs/torch-modules.md is of PyTorch {made.group(1)}")
    assert text == module.page(text), "python docs/torch_modules.py writes it"


@pytest.fixture(scope="module")
def layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers_page", ROOT / "docs" / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_layers_is_what_the_code_says(layers) -> None:
    shown = json.loads(layers.SHOWN.read_text())
    assert layers.PAGE.read_text() == layers.page(shown), "python docs/layers.py writes it"
    rows = [line.split("|")[1:-1] for line in layers.PAGE.read_text().splitlines() if re.match(r"\| [A-Z]", line)]
    assert [row[0].strip() for row in rows] == sorted(layers.API["api"]["LayerType"]["enum"])
    assert all(cell.strip() for row in rows for cell in row)


def test_the_kinds_that_were_compiled_are_those_that_the_cases_compile(layers) -> None:
    provider = needs_rtx()
    shown = json.loads(layers.SHOWN.read_text())["compiled"]
    if shown["by"] != str(provider):
        pytest.skip(f"docs/layers.json is of {shown['by']}, and this is {provider}")
    assert shown["kinds"] == sorted(layers.compiled())
