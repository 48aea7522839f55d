"""The lessons: the notebooks are what their sources say, they run, and their exercises know right from wrong."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(path.stem for path in (NOTEBOOKS / "lessons").glob("*.py"))


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = loaded(NOTEBOOKS / "make.py")


def cells_of(name: str, language: str) -> list[dict]:
    path = NOTEBOOKS / language / f"{name.replace('_', '-')}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_every_file_is_what_the_sources_say():
    made = make.files()
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is old: python notebooks/make.py"
    assert set(NOTEBOOKS.rglob("*.ipynb")) == {path for path in made if path.suffix == ".ipynb"}


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_asks_for_predictions_and_ends_with_what_was_learned(name):
    texts = ["".join(cell["source"]) for cell in cells_of(name, "en") if cell["cell_type"] == "markdown"]
    assert any(re.search(r"\bpredict", text, re.I) for text in texts)
    assert re.search("^## What you have now\n\n- ", texts[-1], re.M)
    sources = ["".join(cell["source"]) for cell in cells_of(name, "en")]
    (exercise,) = (source for source in sources if source.startswith(make.EXERCISE))
    assert sum(make.CHECK in source for source in sources) == exercise.count(make.CHECK) == 1


def test_lessons_are_numbered_by_their_files():
    for lesson in make.lessons():
        assert {lesson.title(language)[0] for language in make.LANGUAGES} == {int(lesson.name[:2])}


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_cells(name):
    english, chinese = cells_of(name, "en"), cells_of(name, "zh")
    assert [cell["cell_type"] for cell in english] == [cell["cell_type"] for cell in chinese]
    for one, other in zip(english, chinese):
        assert one["id"] == other["id"]
        assert (one["source"] == other["source"]) == (one["cell_type"] == "code")
        if one["cell_type"] == "markdown":
            text, wide = "".join(one["source"]), "".join(other["source"])
            assert not re.search("[\u4e00-\u9fff]", text)
            assert re.search("[\u4e00-\u9fff]", wide)
            assert text.count("```") == wide.count("```")
            assert re.findall(r"\]\((.+?)\)", text) == re.findall(r"\]\((.+?)\)", wide), "other links"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", make.LANGUAGES)
def test_stars_are_read_as_markdown(name, language):
    """CommonMark, by which JupyterLab shows texts, sees no end in `**word：**` before a Chinese character."""
    markdown = MarkdownIt("commonmark").enable("table")
    for cell in cells_of(name, language):
        if cell["cell_type"] == "markdown":
            tokens = [child for token in markdown.parse("".join(cell["source"])) for child in token.children or ()]
            assert not [token.content for token in tokens if token.type == "text" and "**" in token.content]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name):
    for cell in cells_of(name, "en"):
        if cell["cell_type"] == "markdown":
            for target in re.findall(r"\]\(([^):]+?)(?:#.*)?\)", "".join(cell["source"])):
                assert (NOTEBOOKS / "en" / target).is_file(), target


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_and_its_exercise_knows_right_from_wrong(name, monkeypatch):
    """The exercise's cell runs solved, wrong and as it is given, one after the other; then what follows. A solution is
    the reader's part of the cell; the check is the lesson's own."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorrt_rtx")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = NOTEBOOKS / "en" / f"{name.replace('_', '-')}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    (place,) = (i for i, cell in enumerate(notebook.cells) if cell.source.startswith(make.EXERCISE))
    solutions = loaded(ROOT / "tests" / "notebooks" / "solutions" / f"{name[:2]}.py")
    parts = [solutions.RIGHT, *(part for part, _ in solutions.WRONG)]
    assert len(set(parts)) == len(parts), "a wrong answer is the right one, or another wrong one"
    check = notebook.cells[place].source.partition(make.CHECK)[2]
    sources = [f"{make.EXERCISE}{part}\n\n{make.CHECK}{check}" for part in parts]
    notebook.cells[place:place] = [nbformat.v4.new_code_cell(source) for source in sources]
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    right, *wrongs, given = (printed(cell) for cell in notebook.cells[place : place + len(sources) + 1])
    assert re.search("^Right", right, re.M), right
    assert wrongs, "a typical wrong answer"
    for found, (_, part) in zip(wrongs, solutions.WRONG):
        assert part in found
        assert not re.search("^Right", found, re.M), found
    assert re.search("missing|not yet", given), given
    assert not re.search("^Right", given, re.M), given


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "01_short.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_sources_are_cells(tmp_path):
    path = written(
        tmp_path,
        "# %% [en]\n# # Lesson 1: A `b`\n#\n# two\n# lines\n\n"
        "# %% [zh]\n# # 第 1 课：甲\n#\n# 两行，\n# 连写。\n# `x` 与\n# y：\n# - 列表\n#   一项，\n#   `z`\n\n"
        "# %%\nx = 1\n\n\ndef f(): ...\n\n\n# %%\nf()\n",
    )
    lesson = make.read(path)
    assert [(cell.kind, cell.text) for cell in lesson.cells] == [
        ("en", "# Lesson 1: A `b`\n\ntwo\nlines"),
        ("zh", "# 第 1 课：甲\n\n两行，连写。`x` 与\ny：\n- 列表一项，`z`"),
        ("code", "x = 1\n\n\ndef f(): ..."),
        ("code", "f()"),
    ]
    assert lesson.title("en") == (1, "A `b`")
    assert lesson.title("zh") == (1, "甲")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n# %% [en]\n# text\n# %% [zh]\n# text\n", "begins with # %% [en]"),
        ("# %% [en]\n# text\n", "each [en] is followed by its [zh]"),
        ("# %% [zh]\n# text\n# %% [en]\n# text\n", "each [en] is followed by its [zh]"),
        ("# %% [en]\n# text\n# %%\nx = 1\n# %% [zh]\n# text\n", "code stands between"),
        ("# %% [de]\n# Text\n", "begins no cell"),
        ("# %% [en]\n# text\nx = 1\n# %% [zh]\n# text\n", "'x = 1' is no comment in a text"),
    ],
)
def test_what_is_no_lesson(text, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        make.read(written(tmp_path, text))


def test_a_lesson_without_a_number(tmp_path):
    lesson = make.read(written(tmp_path, "# %% [en]\n# # Layers\n# %% [zh]\n# # 层\n"))
    with pytest.raises(ValueError, match="the first \\[en\\] cell begins with '# Lesson"):
        lesson.title("en")
