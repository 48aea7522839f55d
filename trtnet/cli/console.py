"""Where the command line prints, and how errors and warnings look there."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ..basics.errors import TrtnetError
from ..basics.location import Instruction, here

out = Console(highlight=False, emoji=False)
err = Console(highlight=False, emoji=False, stderr=True)

Traceback = Annotated[
    bool,
    typer.Option(
        "--traceback", envvar="TRTNET_TRACEBACK", help="Show Python's traceback with an error.", show_envvar=True
    ),
]


class _AsTrtexec(logging.Formatter):
    """`[V] [TRT] what it says`."""

    def format(self, record: logging.LogRecord) -> str:
        return f"[{LETTERS.get(record.levelno, 'V')}] [TRT] {record.getMessage()}"


@contextlib.contextmanager
def tensorrts_log(asked: bool) -> Iterator[None]:
    """Print everything that TensorRT logs, as trtexec does."""
    if not asked:
        yield
        return
    log = logging.getLogger("trtnet.tensorrt")
    handler, before = logging.StreamHandler(sys.stderr), log.level
    handler.setFormatter(_AsTrtexec())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


LETTERS = {logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "F"}


def note(text: str) -> None:
    err.print(Text.assemble(("note: ", "bold yellow"), text), soft_wrap=True)


def say(text: str) -> None:
    """A line with rich's markup, never wrapped: paths stay whole."""
    out.print(text, soft_wrap=True)


def print_text(text: str) -> None:
    """Text as it is, without markup, never wrapped."""
    out.print(text, markup=False, soft_wrap=True)


def print_error(error: TrtnetError) -> None:
    """The message as it is, its first line bold."""
    first, _, rest = str(error).partition("\n")
    err.print(Text.assemble(("error: ", "bold red"), (first, "bold")), soft_wrap=True)
    if rest:
        err.print(Text(rest), soft_wrap=True)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A typer command that prints trtnet's errors without a traceback and exits with 2; warnings become notes."""
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(*args: Any, traceback: bool = False, **kwargs: Any) -> None:
        outside = here()
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: note(str(message))
                function(*args, **kwargs)
        except TrtnetError as error:
            if traceback:
                raise
            # found in typer, not in a file of the user's
            if isinstance(error.where, Instruction) and outside is not None and error.where.code is outside.code:
                error.where = None
            print_error(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            err.print("cancelled")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # `trtnet summary ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (OSError, MemoryError) as error:  # which no file knows better
            if traceback:
                raise
            refused = TrtnetError("the system refuses this", found=str(error) or type(error).__name__)
            refused.where = None
            print_error(refused)
            raise typer.Exit(2) from None

    parameter = inspect.Parameter("traceback", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Traceback)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), parameter]
    )
    run.__annotations__ = {name: p.annotation for name, p in run.__signature__.parameters.items()}  # type: ignore[attr-defined]
    del run.__wrapped__
    return run


def robust_streams() -> None:
    """Characters that a terminal's encoding lacks become question marks, not errors."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
