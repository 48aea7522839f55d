"""The examples in the functions' docstrings give what they say."""

from __future__ import annotations

import ast
import doctest
import inspect
import math
import re
from typing import Any

import pytest

import trtnet
import trtnet.functional

NAMES = [name for name in trtnet.functional.__all__ if ">>>" in (getattr(trtnet.functional, name).__doc__ or "")]


def test_every_function_has_an_example() -> None:
    assert set(trtnet.functional.__all__) - set(NAMES) == {"fft"}  # which is no function


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str) -> None:
    function = getattr(trtnet.functional, name)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for test in doctest.DocTestFinder(recurse=False).find(function, name, globs={"trtnet": trtnet, "math": math}):
        runner.run(test, out=said.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(said)


SAID = "\nLayers of the example: "


@pytest.mark.parametrize("name", [n for n in NAMES if SAID in inspect.cleandoc(getattr(trtnet.functional, n).__doc__)])
def test_the_layers_of_an_example_are_those_that_it_records(name: str) -> None:
    """The example once more, with its arrays as inputs of a network."""
    text = inspect.cleandoc(getattr(trtnet.functional, name).__doc__)
    said = text.split(SAID)[1].split("\n\n")[0]
    if ">>> graph = " in text:
        shown: dict[str, Any] = {"trtnet": trtnet}
        exec("\n".join(re.findall(r"^(?:>>>|\.\.\.) (.*)", text, re.M)), shown)
        assert set(re.findall(r"`(\w+)`", said)) == {layer.kind for layer in shown["graph"].layers}
        return
    line = re.search(r"^>>> (.*?)(?:\.numpy\(\)\.round\(3\)|\.tolist\(\)|\.item\(\))?$", text, re.M).group(1)
    if listed := re.fullmatch(r"\[x\.\w+\(\)(?:\.round\(3\))? for x in (.*)\]", line):
        line = listed.group(1)
    arrays: dict[str, trtnet.Array] = {}

    class Inputs(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            if ast.unparse(node.func) != "trtnet.tensor":
                return self.generic_visit(node)
            arrays[f"x{len(arrays)}"] = eval(ast.unparse(node))
            return ast.Name(f"x{len(arrays) - 1}", ast.Load())

    code = ast.unparse(Inputs().visit(ast.parse(line, mode="eval")))
    function = eval(f"lambda {', '.join(arrays)}: {code}")
    inputs = {key: trtnet.Input(array.shape, dtype=str(array.dtype)) for key, array in arrays.items()}
    graph = trtnet.record(function, **inputs)
    assert set(re.findall(r"`(\w+)`", said)) | {"identity"} == {layer.kind for layer in graph.layers} | {"identity"}
