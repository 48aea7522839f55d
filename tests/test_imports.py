"""What importing trtnet loads, and that imports point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trtnet

PACKAGE = Path(trtnet.__file__).parent
HEAVY = (
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_bindings",
    "tensorrt_rtx_bindings",
    "safetensors",
    "rich",
    "typer",
    "cuda",
    "PIL",
    "sklearn",
    "xxhash",
    "prometheus_client",
    "ray",
)


def loaded_after(code: str) -> set[str]:
    """Top-level names of what a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint('LOADED', *sorted({{n.partition('.')[0] for n in sys.modules}}))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(found.stdout.split("LOADED")[-1].split())


def test_import_loads_nothing_heavy():
    assert loaded_after("import trtnet").isdisjoint(HEAVY)


def test_import_prints_nothing():
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import trtnet"], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_recording_needs_neither_torch_nor_tensorrt():
    code = (
        "import trtnet\n"
        "from trtnet import nn, functional as F, Dim, Input\n"
        "class N(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 4, 3)\n"
        "        self.norm = nn.BatchNorm2d(4)\n"
        "    def forward(self, x):\n"
        "        return F.softmax(self.norm(self.conv(x)).flatten(1), 1)\n"
        "net = N()\n"
        "graph = trtnet.record(net, x=Input((Dim('b', max=4), 1, 8, 8)))\n"
        "net.load_state_dict(net.state_dict())\n"
        "graph.structure_hash(); repr(graph); graph.bind({'x': (2, 1, 8, 8)})\n"
    )
    assert loaded_after(code).isdisjoint(HEAVY)


def test_what_shows_a_graph_is_loaded_when_it_is_called():
    code = (
        "import sys, trtnet\n"
        "from trtnet import functional as F\n"
        "graph = trtnet.record(lambda x: F.relu(x), x=trtnet.Input((2,)))\n"
        "assert not [name for name in sys.modules if name.startswith('trtnet.teaching')]\n"
        "assert 'activation' in graph.draw()\n"
        "assert 'add_activation' in str(graph.explain(provider='tensorrt==10.13'))\n"
        "assert 'add_activation' in graph.to_script(provider='tensorrt==10.13')\n"
        "assert graph._repr_html_()\n"
        "assert trtnet.Graph.draw.__doc__.startswith('Draw the layers')\n"
        "assert trtnet.Graph.draw.__module__ == 'trtnet.teaching.drawing'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
    loaded_before = code.replace("import sys, trtnet", "import sys, trtnet, trtnet.teaching.drawing").splitlines()
    code = "\n".join(line for line in loaded_before if "sys.modules" not in line)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_recording_works_where_torch_and_tensorrt_are_not_installed():
    code = (
        "import sys\n"
        "for name in ('torch', 'tensorrt', 'tensorrt_rtx'):\n"
        "    sys.modules[name] = None\n"
        "import trtnet\n"
        "from trtnet import functional as F\n"
        "graph = trtnet.record(lambda x: F.relu(x), x=trtnet.Input((2,)))\n"
        "assert 'activation' in graph.summary()\n"
        "torch, rtx = 'trtnet[torch]', 'trtnet[rtx]'\n"
        "for call, remedy in {trtnet.reference: torch, trtnet.build_plan: rtx, trtnet.to_torch: torch}.items():\n"
        "    try:\n"
        "        call(graph)\n"
        "    except trtnet.TrtnetError as error:\n"
        "        assert remedy in error.remedy, error\n"
        "    else:\n"
        "        raise SystemExit(f'{call} did not raise')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_lowering_loads_no_torch():
    pytest.importorskip("tensorrt_rtx")
    code = (
        "import trtnet\n"
        "from trtnet import functional as F\n"
        "trtnet.build_plan(trtnet.record(lambda x: F.relu(x), x=trtnet.Input((2,))), 'sm86')"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.parametrize("name", ["Input", "Tensor", "record", "nn", "functional", "build", "load", "Engine", "relu"])
def test_any_name_may_be_imported_first(name):
    subprocess.run([sys.executable, "-c", f"from trtnet import {name}"], check=True, cwd=PACKAGE.parent)


def test_the_public_names():
    for name in (
        "Dim",
        "Input",
        "Tensor",
        "Array",
        "Graph",
        "Engine",
        "Plan",
        "Size",
        "TrtnetError",
        "record",
        "build",
        "build_plan",
        "reference",
        "to_torch",
        "manual_seed",
        "nn",
        "functional",
        "float32",
        "float16",
        "bfloat16",
        "int32",
        "int64",
        "bool",
        "float",
        "half",
        "no_grad",
        "tensor",
        "zeros",
        "ones",
        "full",
        "arange",
        "cat",
        "stack",
        "matmul",
        "where",
        "relu",
        "sigmoid",
        "tanh",
        "softmax",
    ):
        assert hasattr(trtnet, name), name
    assert trtnet.float is trtnet.float32


def test_only_provider_imports_tensorrt():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if isinstance(node, ast.ImportFrom) and node.level:
                continue  # our own folder
            if any(name.partition(".")[0] in ("tensorrt", "tensorrt_rtx") for name in names):
                assert path.name == "provider.py", path


ROOMS = [
    {"basics"}, {"weights"}, {"graph"}, {"layers"}, {"functional"}, {"nn", "rewriting", "engine"},
    {"tensorrt", "torch_names"}, {"teaching"}, {"recording"}, {"pytorch"}, {"building", "loading"}, {"fleet"}, {"cli"},
    {"__main__"},
]  # fmt: skip
"""From the ground up: a file imports from its own room and from those before it."""

UP: set[tuple[str, str]] = set()
"""Rooms that still import from one above them; nothing may be added."""

DOORS = {
    ("trtnet.recording", "trtnet.pytorch.reading"),  # what forward reads as numbers is computed
    ("trtnet.recording", "trtnet.pytorch.exported.module"),  # a torch.nn.Module is recorded as torch.export has it
    ("trtnet.teaching.learn", "trtnet.pytorch.engine"),  # what an exercise computes
    ("trtnet.teaching.learn", "trtnet.pytorch.sampling"),  # of what
    ("trtnet.teaching.learn", "trtnet.recording"),  # what it is to become is recorded
    ("trtnet.nn.module", "trtnet.pytorch.eager"),  # a module called on concrete arrays is recorded, then computed
}
"""Files that import one above them when they first need it, and shall."""

CIRCLES: list[int] = []
"""Files that import each other in a circle: how many in each; the numbers may only become smaller."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The files that a file imports anywhere: at its top, in functions, under TYPE_CHECKING, by `import_module`."""
    path = FILES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= names if names <= set(FILES) else names | {module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # import_module("trtnet.x.y")
    return {n for n in found if n in FILES and n not in ("trtnet", name)}


def imports_down(name: str) -> set[str]:
    """`imports` without the doors."""
    return {other for other in imports(name) if (name, other) not in DOORS}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_imports_point_down():
    level = {name: i for i, names in enumerate(ROOMS) for name in names}
    assert {room(name) for name in FILES if name != "trtnet"} == set(level), "each file has a room"
    up = {
        (room(name), room(other))
        for name in FILES
        if name != "trtnet"
        for other in imports_down(name)
        if level[room(other)] >= level[room(name)] and room(other) != room(name)
    }
    assert up == UP
    assert all(other in imports(name) for name, other in DOORS)


def circles() -> list[set[str]]:
    """Sets of files that reach each other, by Tarjan's algorithm."""
    graph = {name: imports_down(name) for name in FILES if name != "trtnet"}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(set(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_circles_of_imports():
    found = circles()
    assert sorted(map(len, found)) == CIRCLES, found


def test_a_circle_and_an_import_in_a_function_would_be_seen(monkeypatch, tmp_path):
    low, high = tmp_path / "low.py", tmp_path / "high.py"
    low.write_text("def f():\n    from trtnet import high\n")
    high.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trtnet.low\n")
    monkeypatch.setattr(sys.modules[__name__], "FILES", {"trtnet.low": low, "trtnet.high": high})
    assert circles() == [{"trtnet.low", "trtnet.high"}]


def test_few_names_at_the_top():
    names = {path.name for path in PACKAGE.iterdir() if not path.name.startswith("_") and path.name != "py.typed"}
    assert len(names) <= 17, sorted(names)


def test_no_function_is_longer_than_60_lines():
    long = []
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
                if (node.end_lineno or 0) - node.lineno + 1 - docstring > 60:
                    long.append(f"{module}.{node.name}")
    assert not long
