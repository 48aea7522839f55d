"""Every layer kind, on TensorRT-RTX: shapes and dtypes as TensorRT infers them, and compiled for sm86."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from cases import CASES, DATA_SIZED, NEWER, recorded
from harness import lower_and_compare, needs_rtx

import trtnet.layers
from trtnet.layers.base import Layer


def kinds() -> set[type[Layer]]:
    """Those of TensorRT: not what layers/training.py notes for to_torch, nor what is a user's own."""
    for module in pkgutil.iter_modules(trtnet.layers.__path__):
        importlib.import_module(f"trtnet.layers.{module.name}")
    apart = ("trtnet.layers.training", "trtnet.layers.raw", "trtnet.layers.plugin")
    found, pending = set(), [Layer]
    while pending:
        for kind in pending.pop().__subclasses__():
            if kind.__module__.startswith("trtnet.layers.") and kind.__module__ not in apart:
                found.add(kind)
                pending.append(kind)
    return found


@pytest.mark.parametrize("name", CASES)
def test_case_compiles(name):
    needs_rtx()
    lower_and_compare(recorded(name)[0], compile=name not in DATA_SIZED)


@pytest.mark.parametrize("name", NEWER)
def test_what_is_new_compiles(name):
    needs_rtx()
    lower_and_compare(recorded(name)[0], target="sm120")


def test_the_cases_use_every_kind():
    # by name: a dataclass with slots leaves the class that it was made from behind
    used: set[str] = set()
    for name in CASES | NEWER:
        graph, _ = recorded(name)
        used |= {type(layer).__name__ for layer in graph.layers}
        used |= {type(layer).__name__ for layer in graph.for_provider(needs_rtx()).layers}
    assert not {kind.__name__ for kind in kinds()} - used
