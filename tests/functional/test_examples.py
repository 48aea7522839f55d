"""The examples in the functions' docstrings give what they say."""

from __future__ import annotations

import doctest

import pytest

import trtnet
import trtnet.functional

NAMES = [name for name in trtnet.functional.__all__ if ">>>" in (getattr(trtnet.functional, name).__doc__ or "")]


def test_there_are_examples() -> None:
    assert {"select_scatter", "quantile", "block_diag"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str) -> None:
    function = getattr(trtnet.functional, name)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for test in doctest.DocTestFinder(recurse=False).find(function, name, globs={"trtnet": trtnet}):
        runner.run(test, out=said.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(said)
