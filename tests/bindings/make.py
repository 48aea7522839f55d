"""Make `api.json`: what TensorRT's Python bindings of 16 versions say of themselves, from the wheels themselves; and of
that `trtnet/tensorrt/versions.json`, the names and the parameters, for `graph.explain` and `graph.to_script`.

    python tests/bindings/make.py           make it anew, and compare it with the one that is here (`make bindings`)
    python tests/bindings/make.py --write   and keep it
    python tests/bindings/make.py --names   only write versions.json, of the api.json that is here

Linux x86-64, CPython 3.11 and a C compiler. The wheels hold no TensorRT: they are imported over libraries whose every
function returns nothing (`stub.c`), and asked for classes, members and docstrings. TensorRT-RTX is the installed one.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CU12 = (
    "10.0.1", "10.3.0", "10.6.0", "10.8.0.43", "10.11.0.33", "10.13.3.9", "10.14.1.48.post1", "10.15.1.29",
    "10.16.1.11", "11.0.0.114", "11.1.0.106", "11.2.1.2", "11.3.0.99", "11.4.0.106",
)  # fmt: skip
WHEELS = {"8.6.1": "tensorrt-bindings==8.6.1", **{v: f"tensorrt-cu12-bindings=={v}" for v in CU12}}
RTX = "rtx1.7.1"
NAMES = {v: v if v in ("8.6.1", "10.0.1", RTX) else ".".join(v.split(".")[:2]) for v in (*WHEELS, RTX)}


# --- what one version says of itself ----------------------------------------------------------------------------------


def dump(name: str) -> dict[str, Any]:
    module = importlib.import_module(name)
    found: dict[str, Any] = {"version": module.__version__, "classes": {}, "functions": {}}
    for key in sorted(dir(module)):
        value = getattr(module, key)
        if key.startswith("__") or inspect.ismodule(value):
            continue
        if inspect.isclass(value):
            found["classes"][key] = _class(value)
        elif callable(value):
            plain = [str(inspect.signature(value))] if inspect.isfunction(value) else [""]
            found["functions"][key] = _signatures(value.__doc__, key) or plain
    return found


def _signatures(doc: str | None, name: str) -> list[str]:
    lines = (re.sub(r"^\d+\. ", "", line.strip()) for line in (doc or "").split("\n"))
    found = [line for line in lines if line.startswith(name + "(")]
    return found[1:] if found[:1] == [f"{name}(*args, **kwargs)"] else found


def _class(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {"bases": [b.__name__ for b in cls.__bases__ if b.__name__ != "pybind11_object"]}
    members = getattr(cls, "__members__", None)
    if hasattr(members, "items"):
        found["enum"] = {name: int(member) for name, member in members.items()}  # type: ignore[union-attr]
    kept = ("__init__", "__getitem__", "__len__", "__call__", "__enter__", "__exit__")
    methods, props = {}, {}
    for key, value in sorted(vars(cls).items()):
        if key in found.get("enum", {}):
            continue
        if isinstance(value, property):
            props[key] = "r" if value.fset is None else "rw"
        elif callable(value) or isinstance(value, (staticmethod, classmethod)):
            if (key.startswith("__") and key not in kept) or ("enum" in found and key == "__init__"):
                continue
            methods[key] = _signatures(getattr(cls, key).__doc__, key)
    found["methods"], found["props"] = methods, props
    return found


# --- all versions -----------------------------------------------------------------------------------------------------


def dumps() -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        libraries = Path(folder, "libraries")
        libraries.mkdir()
        stub = libraries / "stub.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", stub, HERE / "stub.c"], check=True)
        for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers"):
            for major in (8, 10, 11):
                (libraries / f"lib{name}.so.{major}").symlink_to(stub)
        for version, wheel in WHEELS.items():
            place = Path(folder, version)
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.11"]
            subprocess.run([*pip, "--only-binary=:all:", "-d", place, wheel], check=True)
            (archive,) = place.glob("*.whl")
            zipfile.ZipFile(archive).extractall(place)
            yield version, _apart("tensorrt_bindings", place, libraries)
        yield RTX, _apart("tensorrt_rtx", None, None)


def _apart(module: str, place: Path | None, libraries: Path | None) -> dict[str, Any]:
    env = dict(os.environ)
    if place is not None:
        env |= {"PYTHONPATH": str(place), "LD_LIBRARY_PATH": str(libraries)}
    said = subprocess.run(
        [sys.executable, __file__, "--dump", module], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(said.stdout)


def _clean(signature: str) -> str:
    return re.sub(r"tensorrt(_rtx)?_bindings\.tensorrt(_rtx)?\.", "", signature).replace("numpy.ndarray", "ndarray")


def ranges(per: Mapping[str, Any]) -> dict[str, Any]:
    """{version: value} as {"10.0.1..10.16": value}: runs of equal values in the order of versions."""
    order = list(NAMES)
    runs: list[tuple[int, int, Any]] = []
    for place, version in enumerate(order):
        if version not in per:
            continue
        if runs and runs[-1][1] == place - 1 and runs[-1][2] == per[version] and version != RTX:
            runs[-1] = (runs[-1][0], place, per[version])
        else:
            runs.append((place, place, per[version]))
    found = {NAMES[order[a]] if a == b else f"{NAMES[order[a]]}..{NAMES[order[b]]}": value for a, b, value in runs}
    if RTX in found:
        same = next((key for key, value in found.items() if key != RTX and value == found[RTX]), None)
        if same is not None:
            found.pop(RTX)
            found = {f"{key},rtx" if key == same else key: value for key, value in found.items()}
    return found


def merged(every: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    api: dict[str, Any] = {}
    for cls in sorted({name for one in every.values() for name in one["classes"]}):
        have = {v: one["classes"][cls] for v, one in every.items() if cls in one["classes"]}
        entry = api[cls] = {"in": list(ranges(dict.fromkeys(have, 1)))}
        if any(one["bases"] for one in have.values()):
            entry["bases"] = ranges({v: one["bases"] for v, one in have.items()})
        members = sorted({m for one in have.values() for m in one.get("enum", {})})
        if members:
            entry["enum"] = {
                m: ranges({v: one["enum"][m] for v, one in have.items() if m in one.get("enum", {})}) for m in members
            }
        own = ("name", "value", "__init__", "__getitem__", "__call__", "__len__") if members else ()
        for kind in ("methods", "props"):
            names = sorted({n for one in have.values() for n in one[kind]} - set(own))
            told = {n: ranges({v: _told(one[kind][n]) for v, one in have.items() if n in one[kind]}) for n in names}
            if told:
                entry[kind] = told
    functions = sorted({f for one in every.values() for f in one["functions"]})
    api["(module)"] = {
        "functions": {
            f: ranges({v: _told(one["functions"][f]) for v, one in every.items() if f in one["functions"]})
            for f in functions
        }
    }
    return {
        "versions": {NAMES[v]: one["version"] for v, one in every.items()},
        "note": "ranges are runs in the order of versions; a method's value is its pybind signatures; props: r or rw",
        "api": api,
    }


# --- the short form, which the package has ----------------------------------------------------------------------------

NAMES_FILE = HERE.parent.parent / "trtnet" / "tensorrt" / "versions.json"
CALLED = (
    "INetworkDefinition", "ILoop", "IIfConditional", "ILayer", "ITensor", "IMoELayer", "Weights", "Builder",
    "IBuilderConfig", "IOptimizationProfile",
)  # fmt: skip
"""The classes of whose methods the parameters are kept."""


def short(data: Mapping[str, Any]) -> dict[str, Any]:
    """`versions`; `names`: by range and class the members, a dot before those that are no methods; `calls`: by range
    the methods with their parameters (a star behind those with a default), and what they give."""
    names: dict[str, dict[str, list[str]]] = {}
    calls: dict[str, dict[str, str]] = {}
    enums = []
    for cls, entry in data["api"].items():
        for one in entry.get("in", ()):
            names.setdefault(one, {}).setdefault(cls, [])
        if "enum" in entry:
            enums.append(cls)
        for kind, mark in (("bases", "<"), ("enum", "."), ("methods", ""), ("props", "."), ("functions", "")):
            found = entry.get(kind, {})
            per = {"": found} if kind == "bases" else {n: p for n, p in found.items() if n[0] != "_" or n == "__init__"}
            for name, by_range in per.items():
                for one, value in by_range.items():
                    told = [f"<{base}" for base in value] if kind == "bases" else [mark + name]
                    names.setdefault(one, {}).setdefault(cls, []).extend(told)
                    if cls in CALLED and kind == "methods" and value:
                        calls.setdefault(one, {})[f"{cls}.{name}"] = "|".join(map(_parameters, value))
    return {
        "versions": data["versions"],
        "enums": " ".join(enums),
        "names": {one: {cls: " ".join(found) for cls, found in of.items()} for one, of in names.items()},
        "calls": calls,
    }


def _parameters(signature: str) -> str:
    """`f(self: A, x: B, y: C = D) -> E` as `x y* -> E`."""
    body = re.sub(r"<[^<>]*>", "None", signature)
    inside, _, result = body.partition("(")[2].rpartition(") -> ")
    parts = re.split(r",\s*(?![^\[]*\])", inside)
    names = [part.partition(":")[0].strip() + ("*" if " = " in part else "") for part in parts if part]
    return f"{' '.join(name for name in names if name != 'self')} -> {result}".strip()


def short_text(data: Mapping[str, Any]) -> str:
    return json.dumps(short(data), indent=0, ensure_ascii=False).replace('{\n"', '{"') + "\n"


def _told(one: Any) -> Any:
    return [_clean(text) for text in one] if isinstance(one, list) else one


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [text for key in keys for text in differences(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {one!r} here, {other!r} in the wheels"]


def main(given: list[str]) -> int:
    if given[:1] == ["--dump"]:
        print(json.dumps(dump(given[1])))
        return 0
    file = HERE / "api.json"
    if "--names" in given:
        NAMES_FILE.write_text(short_text(json.loads(file.read_text())))
        return 0
    made = merged(dict(dumps()))
    if "--write" in given:
        file.write_text(json.dumps(made, separators=(",", ":")) + "\n")
        NAMES_FILE.write_text(short_text(made))
        return 0
    found = differences(json.loads(file.read_text()), made)
    print("\n".join(found) or f"api.json is what the bindings of {len(made['versions'])} versions say")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
