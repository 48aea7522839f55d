"""The oldest Python that trtnet takes, said in one way everywhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = PROJECT["project"]["requires-python"].removeprefix(">=")


def test_every_file_names_the_same_oldest_python():
    minor = int(OLDEST.split(".")[1])
    named = [c.rsplit(" ", 1)[1] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == [f"3.{m}" for m in range(minor, minor + len(named))]
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{minor}"
    assert PROJECT["tool"]["mypy"]["python_version"] == OLDEST
    makefile = (ROOT / "Makefile").read_text()
    assert f"sys.version_info < (3, {minor})" in makefile
    assert re.search(r"for version in ([\d. ]+);", makefile)[1].split()[: len(named)] == named
    for page in ("Makefile", "README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"Python (3\.\d+) or newer", (ROOT / page).read_text())) == {OLDEST}


def test_no_constraint_leaves_a_python_out():
    assert "python_version" not in (ROOT / "constraints.txt").read_text()


def test_all_pythons_that_run_are_found(tmp_path):
    """`make test-all` takes what is on PATH and what pyenv has, and passes over what does not start."""
    on_path, pyenv = tmp_path / "bin", tmp_path / "pyenv"
    good = "#!/bin/sh\nexit 0\n"
    for path, text in {
        on_path / "python3.11": good,
        on_path / "python3.12": "#!/bin/sh\necho 'not chosen by pyenv'; exit 127\n",
        pyenv / "versions" / "3.12.1" / "bin" / "python3": good,
        on_path / "python3.13": "#!/bin/sh\nexit 127\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    recipe = re.search(r"^test-all:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    (tmp_path / "Makefile").write_text(f'test-all:\n{recipe}\ntest:\n\t@echo "ran $(VENV) $(PYTHON)"\n')
    environment = {"PATH": f"{on_path}:/usr/bin:/bin", "PYENV_ROOT": str(pyenv), "HOME": str(tmp_path)}

    def make():
        return subprocess.run(
            ["make", "-s", "test-all"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    (on_path / "python3.14").write_text("#!/bin/sh\nexit 1\n")  # the machine's own is hidden
    (on_path / "python3.14").chmod(0o755)
    found = make()
    assert found.returncode == 0, found.stderr
    assert [line for line in found.stdout.splitlines() if line.startswith("ran")] == [
        "ran .venv-3.11 python3.11",
        f"ran .venv-3.12 {pyenv}/versions/3.12.1/bin/python3",
    ]
    assert found.stdout.endswith("The suite passed on Python 3.11 3.12.\n")
    (tmp_path / "Makefile").write_text(f"test-all:\n{recipe}\ntest:\n\t@exit 3\n")
    assert make().returncode != 0


@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_older_python_is_refused_by_name(target, tmp_path):
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.13\nexit 1\n')
    old.chmod(0o755)
    found = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), target, f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},  # without the flags of the make that runs the tests
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode != 0
    assert f"trtnet needs Python {OLDEST} or newer, and '{old}' is Python 3.10.13" in found.stdout + found.stderr
