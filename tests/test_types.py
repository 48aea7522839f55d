"""What type checkers say of programs that use trtnet as it is installed from the wheel."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trtnet
import trtnet.functional
from trtnet.graph import tensor

ROOT = Path(__file__).parents[1]
KINDS = ("_unary", "_binary", "_in_place", "_method", "_changed")  # of methods, in graph/tensor.py
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def wanted(module: str) -> str:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed; the extra 'test' brings it")
    return module


def run(*command: str | Path, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # a checkout
    found = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=environment)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what is here, and with trtnet from its wheel; beside it the programs, in programs/."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", wanted("hatchling"), "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    paths = sysconfig.get_paths("venv", {"base": str(folder / "env"), "platbase": str(folder / "env")})
    site = Path(paths["purelib"])
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    (site / "here.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    programs = folder / "programs"
    programs.mkdir()
    for page in PAGES:
        if code := re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            (programs / f"{page.stem.replace('-', '_').lower()}_page.py").write_text("\n".join(code))
    (programs / "typed_program.py").write_text((ROOT / "tests" / "typed_program.py").read_text())
    assert len(list(programs.iterdir())) > 3
    return folder


def python(installed: Path) -> Path:
    return installed / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def test_mypy(installed: Path) -> None:
    arguments = ["--strict", "--python-executable", python(installed), "--cache-dir", installed / "cache"]
    if np.lib.NumpyVersion(np.__version__) < "2.3.0":
        arguments += ["--disable-error-code", "type-arg"]  # np.ndarray alone is not strict before
    run(sys.executable, "-m", wanted("mypy"), *arguments, "programs", cwd=installed)


def test_pyright(installed: Path) -> None:
    run(sys.executable, "-m", wanted("pyright"), "--pythonpath", python(installed), "programs", cwd=installed)


def test_the_wheel_has_every_file(installed: Path) -> None:
    site = next((installed / "env").rglob("trtnet/__init__.py")).parent
    here = {path.relative_to(ROOT / "trtnet") for path in (ROOT / "trtnet").rglob("*.py")}
    there = {path.relative_to(site) for path in site.rglob("*.py")}
    assert here <= there, sorted(here - there)


def test_a_wrong_program_is_found(installed: Path, tmp_path: Path) -> None:
    """The checkers do see trtnet's types: a name that is missing, and arguments of the wrong type."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import trtnet\nfrom trtnet.errors import NoSuchError\n"
        "plan: int = trtnet.build_plan(trtnet.record(lambda x: x, x=trtnet.Input((2,))))\n"
        "trtnet.nn.Linear('3', 4)\n"
    )
    arguments = ("--strict", "--python-executable", python(installed), "--cache-dir", installed / "cache")
    found = subprocess.run(
        [sys.executable, "-m", wanted("mypy"), *map(str, arguments), str(wrong)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    for line, code in ((2, "attr-defined"), (3, "assignment"), (4, "arg-type")):
        assert re.search(rf"wrong\.py:{line}: error: .*\[{code}\]", found.stdout), found.stdout


def test_the_stubs_name_what_is_there() -> None:
    """Each module has, at run time, what `trtnet-stubs` says of it."""
    wanted("hatchling")
    wanted("einops")
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hatch_build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(hatch_build)
    aliases = hatch_build.aliases()
    assert {"errors", "cuda.amp", "einops", "nn.modules.instancenorm", "utils.checkpoint"} <= set(aliases)
    for alias, home in aliases.items():
        file = ROOT / "trtnet" / home.replace(".", "/")
        text = hatch_build.stub(home, file / "__init__.py" if file.is_dir() else file.with_suffix(".py"))
        names = re.findall(r" as (\w+)$", text, re.M)
        assert names, alias
        module = importlib.import_module(f"trtnet.{alias}")
        for name in names:
            if not name.startswith("_"):
                assert hasattr(module, name), f"trtnet.{alias}.{name}"


def test_the_declared_methods_are_those_that_functional_sets() -> None:
    """What graph/tensor.py tells type checkers of a tensor's methods is true of the tensors."""
    declared = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(ast.parse(Path(tensor.__file__).read_text()))
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in KINDS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    given = {
        name: function
        for name, function in vars(trtnet.Tensor).items()
        if getattr(function, "__module__", "").startswith("trtnet.functional") and callable(function)
    }
    assert set(declared) <= set(given)
    for name, function in given.items():
        if name not in declared and name not in trtnet.Tensor.__annotations__ and not name.startswith("__"):
            assert inspect.signature(function).return_annotation != "Tensor", f"declare {name} in graph/tensor.py"
            assert not name.endswith("_"), f"declare {name} in graph/tensor.py"
