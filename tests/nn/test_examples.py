"""What the docstrings of trtnet.nn show and say is so."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest
from nn.test_every_module import TABLE

import trtnet
from trtnet import Dim, Input, nn
from trtnet.layers.base import Layer

CLASSES = [name for name in nn.__all__ if inspect.isclass(getattr(nn, name))]


def kinds(of: type[Layer] = Layer) -> set[str]:
    return {of.kind}.union(*map(kinds, of.__subclasses__()))


@pytest.mark.parametrize("name", CLASSES)
def test_example(name: str) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    given = {"trtnet": trtnet, "nn": nn, "Dim": Dim, "Input": Input}
    for test in doctest.DocTestFinder(recurse=False).find(getattr(nn, name), name, globs=given):
        runner.run(test, out=said.append)
    assert runner.tries > 0, f"{name} shows no example"
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", TABLE)
def test_the_layers_that_are_named_are_those_that_are_recorded(name: str) -> None:
    arguments, options, shapes = TABLE[name]
    module = getattr(nn, name)(*arguments, **options)
    inputs = dict(zip(inspect.signature(module.forward).parameters, map(Input, shapes)))
    graph = trtnet.record(module, **inputs)
    said = inspect.getdoc(type(module)).split("Layers: ")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+)`", said))
    assert named <= kinds(), "every name is a layer's kind"
    assert {layer.kind for layer in graph.layers} <= named | {"identity"}


def test_arguments_that_are_named_are_there() -> None:
    for name in CLASSES:
        text = inspect.getdoc(getattr(nn, name)) or ""
        if "\nArgs:\n" not in text or "Not in trtnet" in text:
            continue
        said = re.findall(r"^    ([\w*, ]+):", text.split("\nArgs:\n")[1].split("\n\n")[0], re.M)
        named = {argument.lstrip("*") for line in said for argument in line.split(", ")}
        there = inspect.signature(getattr(nn, name).__init__).parameters
        assert named == {argument for argument in there if argument != "self" and argument[0] != "_"}, name
