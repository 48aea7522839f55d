"""Make `plugin_module.json`, and try trtnet's kernels with `tensorrt.plugin` itself, as the bindings' wheels have it.

    python tests/bindings/plugin_module.py           compare, and try (`make bindings`)
    python tests/bindings/plugin_module.py --write   and keep what it says of itself

`tensorrt.plugin` is Python: it is imported over `tests/helpers/bindings.py` in the place of TensorRT's own bindings.
What it makes of a kernel is asked in the order in which TensorRT asks, and compared with what
`tests/helpers/plugin_module.py`, which the suite runs with, makes of the same.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "helpers"), str(HERE)]

import make  # noqa: E402
from bindings import Bindings  # noqa: E402
from kernels import KERNELS, asked  # noqa: E402
from plugin_module import DATA, ExprBuilder, Kernel, PluginModule, Sizes  # noqa: E402

FIRST = "10.9"
WHEELS = {FIRST: "tensorrt-cu12-bindings==10.9.0.34"} | {
    make.NAMES[version]: wheel
    for version, wheel in make.WHEELS.items()
    if make.NAMES[version] not in ("8.6.1", "10.0.1", "10.3", "10.6", "10.8")
}


def bindings_of(version: str) -> Bindings:
    """Those of a version, with what `tensorrt.plugin` uses and their docstrings do not say."""
    module = Bindings("10.11" if version == FIRST else version)
    module.Logger = lambda: SimpleNamespace(log=lambda *_: None)  # type: ignore[attr-defined]
    module.Logger.WARNING = 2  # type: ignore[attr-defined]
    module.int32 = module.DataType.INT32  # type: ignore[attr-defined]
    module.Dims.MAX_DIMS = 8
    module.DimsExprs = lambda count: [None] * count  # type: ignore[attr-defined]
    return module


def real(folder: Path, module: Bindings) -> ModuleType:
    """`tensorrt.plugin` of a wheel, over bindings."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt"]:
        del sys.modules[name]
    sys.modules["tensorrt"] = module
    module.__path__ = [str(folder / "tensorrt_bindings")]  # type: ignore[attr-defined]
    found = importlib.import_module("tensorrt.plugin")
    vars(module)["plays"] = functools.partial(played, module)
    return found


def wheels() -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        for version, wheel in WHEELS.items():
            place = Path(folder, version)
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.11"]
            subprocess.run([*pip, "--only-binary=:all:", "-d", place, wheel], check=True)
            (archive,) = place.glob("*.whl")
            zipfile.ZipFile(archive).extractall(place)
            yield version, place


def described(module: ModuleType) -> dict[str, Any]:
    """The public names: a function's signature; a class's, and its members."""
    found: dict[str, Any] = {}
    for name in sorted(module.__all__):
        one = getattr(module, name)
        if inspect.isclass(one):
            members = sorted(member for member in dir(one) if member[0] != "_")
            found[name] = {"takes": str(inspect.signature(one)), "has": members}
        else:
            found[name] = str(inspect.signature(one)) if callable(one) else ""
    return found


def played(module: Bindings, plugin: Any, dtypes: Sequence[Any], ranks: Sequence[int]) -> Kernel:
    """What a plugin of `tensorrt.plugin` answers, in TensorRT's order. The builder of expressions lives until all is
    asked: for the launch the module uses sizes that it was told when it was asked for the shapes."""
    types_ = plugin.get_output_data_types(list(dtypes), list(ranks))
    assert plugin.get_num_outputs() == len(types_)
    builder = ExprBuilder(module)
    dims = [[builder.size(index, axis) for axis in range(rank)] for index, rank in enumerate(ranks)]
    shapes = [[vars(size)["at"] for size in one] for one in plugin.get_output_shapes(dims, [], builder)]
    plugin = plugin.clone()
    tensors = [_described(module, dtype, rank) for dtype, rank in zip(dtypes, ranks)]
    tensors += [_described(module, dtype, len(shape)) for dtype, shape in zip(types_, shapes)]
    formats = plugin.get_supported_format_combinations(tensors, len(dtypes))
    assert [one.type for one in formats] == [*dtypes, *types_]
    assert {one.format for one in formats} == {module.TensorFormat.LINEAR}
    assert [plugin.get_aliased_input(index) for index in range(len(types_))] == [-1] * len(types_)
    plugin.configure_plugin(tensors[: len(dtypes)], tensors[len(dtypes) :])
    assert plugin.get_valid_tactics() == []
    plugin.set_tactic(0)
    launch, extra = SimpleNamespace(), Extra()
    plugin.get_launch_params(dims, tensors, len(dtypes), launch, extra, builder)
    names = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")
    for one in (*(getattr(launch, name) for name in names), *extra.values):
        assert isinstance(one, module.ISymExpr)
        assert (one.type, one.dtype) == (module.PluginArgType.INT, module.PluginArgDataType.INT32)
    sizes = [vars(getattr(launch, name).expr)["at"] for name in names]
    numbers = [vars(one.expr)["at"] for one in extra.values]
    builder.is_alive = False
    plain = [one.desc for one in tensors]
    name, code = plugin.get_kernel(plain[: len(dtypes)], plain[len(dtypes) :])
    assert isinstance(code, bytes)

    def shapes_at(given: Sizes) -> list[list[int]]:
        return [[size(given) for size in one] for one in shapes]

    def launch_at(given: Sizes) -> tuple[list[int], list[int]]:
        return [size(given) for size in sizes], [number(given) for number in numbers]

    return Kernel(name, code.decode(), tuple(types_), shapes_at, launch_at)


class Extra:
    """An ISymExprs."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "nbSymExprs":
            self.values = [None] * value

    def __setitem__(self, index: int, value: Any) -> None:
        self.values[index] = value


def _described(module: Bindings, dtype: Any, rank: int) -> Any:
    made, desc = module.new("DynamicPluginTensorDesc"), module.new("PluginTensorDesc")
    vars(desc).update(type=dtype, format=module.TensorFormat.LINEAR, scale=1.0, dims=(-1,) * rank)
    vars(made).update(desc=desc, min=(1,) * rank, opt=(2,) * rank, max=(4,) * rank)
    return made


def main(given: list[str]) -> int:
    said: dict[str, dict[str, Any]] = {}
    problems = []
    for version, folder in wheels():
        module = bindings_of(version)
        found = real(folder, module)
        said[version] = described(found)
        ours = bindings_of(version)
        answers = {name: asked(name, module, found) for name in KERNELS}
        if "--write" not in given:
            judged = PluginModule(ours, version)
            problems += [
                f"{version}: {name}: {answers[name]} of the real module, {other}"
                for name in KERNELS
                if (other := asked(name, ours, judged)) != answers[name]
            ]
    merged: dict[str, Any] = {}
    for version, one in said.items():
        same = next((key for key, value in merged.items() if value == one), None)
        merged[version if same is None else f"{same} {version}"] = one if same is None else merged.pop(same)
    if "--write" in given:
        DATA.write_text(json.dumps(merged, indent=0) + "\n")
        return 0
    problems += make.differences(json.loads(DATA.read_text()), merged)
    print(
        "\n".join(problems) or f"tensorrt.plugin of {len(said)} versions takes the {len(KERNELS)} kernels as expected"
    )
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
