"""What the wheel has beside the package.

The networks of models/ and LeNet's weights, so that `trtnet demo` and models/NAME work without a checkout; and
`trtnet-stubs` (PEP 561, partial), which tells type checkers where the modules are that trtnet finds under other names
when they are imported: `trtnet.errors` is trtnet/basics/errors.py. It is made from the tables of these names.
"""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
PACKAGE = ROOT / "trtnet"
BUNDLED = (
    *sorted(f"models/{path.name}" for path in (ROOT / "models").glob("*.py") if not path.name.startswith("train_")),
    "weights/lenet.safetensors",
    "weights/README.md",
)


class BundleHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        self.stubs = tempfile.TemporaryDirectory()
        include = {str(write_stubs(Path(self.stubs.name))): "trtnet-stubs"}
        if version == "standard":
            build_data["force_include"].update({path: f"trtnet/_bundled/{path}" for path in BUNDLED} | include)
        else:  # an editable install reads the checkout
            build_data["force_include_editable"].update(include)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.target_name == "wheel":
            self.stubs.cleanup()


def write_stubs(folder: Path) -> Path:
    (folder / "py.typed").write_text("partial\n")
    for alias, home in aliases().items():
        source = PACKAGE.joinpath(*home.split("."))
        if source.is_dir():
            target = folder.joinpath(*alias.split("."), "__init__.pyi")
            text = stub(home, source / "__init__.py")
        else:
            target = folder.joinpath(*alias.split(".")).with_suffix(".pyi")
            text = stub(home, source.with_suffix(".py"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def aliases() -> dict[str, str]:
    """The modules that have another name than their place, by that name: {"cuda.amp": "torch_names.cuda.amp"}."""
    found = {}
    for room, names in table(PACKAGE / "__init__.py", "_ROOMS").items():
        for name in names:
            found[name] = f"{room}.{name}"
            for file in sorted((PACKAGE / room / name).glob("[a-z]*.py")):
                found[f"{name}.{file.stem}"] = f"{room}.{name}.{file.stem}"
    for name, file in table(PACKAGE / "nn" / "modules" / "__init__.py", "_FILES").items():
        found[f"nn.modules.{name}"] = f"nn.{file}"
    return found


def table(file: Path, name: str) -> dict[str, Any]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.literal_eval(node.value)
    raise LookupError(f"{file} has no {name}")


def stub(home: str, file: Path) -> str:
    """Every name that the module offers, its own submodules among them, under the module's other name."""
    names, submodules = set(), set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names.update(ast.literal_eval(node.value))
        elif isinstance(node, ast.Assign):
            names.update(n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.ImportFrom) and (node.level, node.module) == (1, None):
            submodules.update(alias.name for alias in node.names if file.name == "__init__.py")
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.name for alias in node.names if alias.asname == alias.name)
    names = {name for name in names - submodules if not name.startswith("__")}
    lines = [f"from . import {name} as {name}" for name in sorted(submodules)]
    return "\n".join([*lines, *(f"from trtnet.{home} import {name} as {name}" for name in sorted(names))]) + "\n"
