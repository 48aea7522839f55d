"""The networks of `models/`: what `trtnet models` lists, and what models/NAME means."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple, Protocol

from ..basics.bundled import bundled, models
from ..basics.tables import render
from .model import ModelError, nearest

PREFIX = "models/"


class Listed(Protocol):
    """A line of NETWORKS in models/__init__.py."""

    made_by: str
    what: str
    inputs: str
    parameters: int


class Resolved(NamedTuple):
    """MODEL as `load_model` takes it, and the inputs that it is listed with: none for a network of the user's own."""

    model: str
    inputs: list[str]


def networks() -> dict[str, Listed]:
    found: dict[str, Listed] = models().NETWORKS
    return found


def resolve(model: str) -> Resolved:
    """models/NAME as a file and its class; what else MODEL may be as it is.

    Raises:
        ModelError: there is no such network.
    """
    name = model.removeprefix(PREFIX)
    if name == model and name.isidentifier() and name.lower() in networks() and not _is_module(name):
        raise ModelError(
            f"there is no module {model}",
            expected="path/to/file.py:Class, package.module:Class, or one of those that `trtnet models` lists",
            found=name,
            remedy=f"did you mean {PREFIX}{name.lower()}?",
        )
    if name == model or "/" in name or ":" in name or name.endswith(".py") or Path(model).exists():
        return Resolved(model, [])
    known = networks()
    if name not in known:
        near = nearest(name, known)
        raise ModelError(
            f"there is no network {model}",
            expected="one of those that `trtnet models` lists",
            found=name,
            remedy=f"did you mean {PREFIX}{near}?" if near else "list them: trtnet models",
        )
    file, _, made_by = known[name].made_by.partition(":")
    return Resolved(f"{_folder() / file}.py:{made_by}", known[name].inputs.split())


def _is_module(name: str) -> bool:
    here = Path(name)
    return here.exists() or here.with_suffix(".py").exists() or importlib.util.find_spec(name) is not None


def listing() -> str:
    """A line for each network: its name, what it is, its inputs, and how many parameters it has."""
    rows = [(PREFIX + n, one.what, one.inputs, f"{one.parameters:,}") for n, one in networks().items()]
    return render(("network", "what it is", "inputs", "parameters"), rows, right=("parameters",))


def _folder() -> Path:
    return bundled("models/__init__.py").parent
