"""`trtnet`'s commands, called in this process."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from trtnet.cli.commands import app

TORCHS = """
import torch

class Net(torch.nn.Module):
    def __init__(self, slope=0.0):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.act = torch.nn.LeakyReLU(slope)
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.act(self.first(x)))

class Steeper(Net):
    def __init__(self):
        super().__init__(0.5)

class Wider(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 5)
"""


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, and what was printed to stdout and stderr, without colours."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    out, err = (re.sub(r"\x1b\[[\d;]*m", "", text) for text in (result.stdout, result.stderr))
    return result.exit_code, out, err


def fails(*arguments: object) -> str:
    """The message of a command that ends with an error."""
    code, _, text = call(*arguments)
    assert code == 2
    assert text.startswith("error: ")
    assert "Traceback" not in text
    return text


def row_of(text: str, name: str) -> list[str]:
    """The cells of the row of a table that begins with this name."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])
