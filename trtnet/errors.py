"""trtnet's exceptions. Each says what was expected and found, where, and what to do."""

from __future__ import annotations

from textwrap import indent
from typing import Any

from .location import Location, here


class TrtnetError(Exception):
    """The base of everything that trtnet raises.

    Args:
        problem: one sentence, without a full stop.
        expected, found: what should have been there and what was.
        module: path of the module that was being called (`features.0`), where there is one.
        where: the user's source line; found by itself when left out.
        remedy: what to do.
        details: further text, quoted as it is: TensorRT's own messages, lists of names.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        module: str | None = None,
        where: Location | None = None,
        remedy: str | None = None,
        details: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = found
        self.module = module
        self.where = where or here()
        self.remedy = remedy
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        """With its whole message: what was expected and found as text, since an engine stays where it is."""
        state = dict(self.__dict__)
        for name in ("expected", "found"):
            state[name] = None if state[name] is None else str(state[name])
        return type(self), self.args, state

    def __str__(self) -> str:
        lines = [self.problem]
        if self.details:
            lines.append(indent(self.details, "    "))
        for label, value in (("expected", self.expected), ("found", self.found), ("module", self.module)):
            if value is not None:
                lines.append(f"  {label + ':':<10}{_hang(str(value))}")
        if self.where is not None:
            lines.append(f"  {'at:':<10}{self.where}, in {self.where.function}")
            if excerpt := self.where.excerpt():
                lines.append(indent(excerpt, " " * 14))
        if self.remedy is not None:
            lines.append(f"  {'remedy:':<10}{_hang(self.remedy)}")
        return "\n".join(lines)


def _hang(text: str) -> str:
    return text.replace("\n", "\n" + " " * 12)


def wrong_arguments(
    name: str, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError
) -> TrtnetError:
    """The error for a call whose arguments do not fit a signature; `error` is Python's own."""
    shown = []
    for parameter in signature.parameters.values():
        if parameter.name == "self" or parameter.name.startswith("_"):
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown.append(
            stars + parameter.name + ("" if parameter.default is parameter.empty else f"={parameter.default!r}")
        )
    given = [_short(value) for value in args] + [f"{key}={_short(value)}" for key, value in kwargs.items()]
    missing = str(error).startswith("missing")
    return ArgumentTypeError(
        f"{name}: {error}",
        expected=f"{name}({', '.join(shown)})",
        found=f"{name}({', '.join(given)})",
        remedy="give it"
        if missing
        else "leave the argument out; trtnet has those of PyTorch's arguments that TensorRT can follow",
    )


def _short(value: object, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


class ShapeError(TrtnetError, ValueError):
    """Sizes that do not fit: a reshape, a broadcast, a kernel, a Dim outside its range."""


class DtypeError(TrtnetError, TypeError):
    """Types that do not fit, or that TensorRT has not."""


class ArgumentError(TrtnetError, ValueError):
    """An argument whose value is wrong."""


class ArgumentTypeError(TrtnetError, TypeError):
    """An argument of the wrong kind, or one too many or too few."""


class UnsupportedError(TrtnetError, NotImplementedError):
    """What PyTorch can do and TensorRT, or trtnet, cannot."""


class NameNotFoundError(TrtnetError, AttributeError):
    """A name that trtnet has not."""


class WeightsError(TrtnetError, ValueError):
    """Weights that do not fit the module or the engine: names, shapes, values, broken files."""


class WeightsNotFoundError(TrtnetError, FileNotFoundError):
    """A file that is not there."""


class ProviderError(TrtnetError, RuntimeError):
    """What this TensorRT, or this machine, cannot do."""


class EngineError(TrtnetError, RuntimeError):
    """An engine that cannot be used any more, or not in this way."""


class BuildError(ProviderError):
    """TensorRT refused the network; its own reasons are in `details`."""
