"""trtnet's exceptions. Each says what was expected and found, where, and what to do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import Any

from .location import Location, here, location_of


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
            state[name] = None if state[name] is None else _text(state[name])
        return type(self), self.args, state

    def __str__(self) -> str:
        lines = [self.problem]
        if self.details:
            lines.append(indent(self.details, "    "))
        for label, value in (("expected", self.expected), ("found", self.found), ("module", self.module)):
            if value is not None:
                lines.append(f"  {label + ':':<10}{_hang(_cut(value if isinstance(value, str) else _text(value)))}")
        if self.where is not None:
            lines.append(f"  {'at:':<10}{self.where}, in {self.where.function}")
            if excerpt := self.where.excerpt():
                lines.append(indent(excerpt, " " * 14))
        if self.remedy is not None:
            lines.append(f"  {'remedy:':<10}{_hang(self.remedy)}")
        return "\n".join(lines)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice of which `name` is a misspelling: other capitals or underscores, or one letter too many, too few,
    swapped, or (in six letters and more) another. What merely looks alike means something else."""
    for choice in choices:
        a, b = (text.replace("_", "").lower() for text in (name, choice))
        if a == b or (min(len(a), len(b)) > 2 and _one_slip(a, b)):
            return choice
    return None


def _one_slip(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), len(a))
    if len(a) < len(b):
        return len(b) == len(a) + 1 and a[at:] == b[at + 1 :] and not b[at].isdigit()
    swapped = a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]
    return swapped or (len(a) > 5 and a[at + 1 :] == b[at + 1 :] and not (a[at].isdigit() or b[at].isdigit()))


ABSENT = {
    **dict.fromkeys(
        ("cfloat", "cdouble", "chalf", "complex", "complex32", "complex64", "complex128", "view_as_complex"),
        "TensorRT has no complex numbers: keep the real and the imaginary part as two tensors",
    ),
}
"""What to do in place of names that PyTorch has and trtnet has not."""


def instead_of(name: str, choices: Iterable[str]) -> str | None:
    """The remedy for a name that is not there, if one is known."""
    if name in ABSENT:
        return ABSENT[name]
    near = nearest(name, choices)
    return None if near is None else f"did you mean {near!r}?"


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return _short(value)


def _cut(text: str, most: int = 2000) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def _hang(text: str) -> str:
    return text.replace("\n", "\n" + " " * 12)


NUMPYS = {"axis": "dim", "keepdims": "keepdim"}
"""What torch calls arguments that have these names in NumPy."""


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
    wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    meant = wrong and _keyword_meant(wrong.group(1), signature.parameters)
    return ArgumentTypeError(
        f"{name}: {error}",
        expected=f"{name}({', '.join(shown)})",
        found=f"{name}({', '.join(given)})",
        remedy="give it"
        if missing
        else f"did you mean {meant!r}?"
        if meant
        else "leave the argument out; trtnet has those of PyTorch's arguments that TensorRT can follow",
    )


def _keyword_meant(name: str, parameters: Mapping[str, Any]) -> str | None:
    known = NUMPYS.get(name, "")
    return known if known in parameters else nearest(name, parameters)


def shown(value: object, most: int = 200) -> str:
    """`value` for a message: of a larger array its shape and type, of what is long its beginning."""
    if not isinstance(value, type) and hasattr(value, "shape") and hasattr(value, "dtype") and len(value.shape):
        return f"{type(value).__name__} of shape ({', '.join(map(str, value.shape))}) and type {value.dtype}"
    return _short(value, most)


def _short(value: object, most: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        bits = (
            f" of {value.bit_length():,} bits" if isinstance(value, int) else ", with a number of thousands of digits"
        )
        text = f"{type(value).__name__}{bits}"
    return text if len(text) <= most else text[: most - 3] + "..."


def too_large(values: Iterable[object]) -> str | None:
    """The first whole number among the values, in sequences and slices too, that is of no type of a tensor's."""
    waiting, seen = [*values][::-1], set()  # a list may contain itself
    while waiting:
        value = waiting.pop()
        if type(value) is int:
            if not -(1 << 63) <= value < 1 << 64:
                return f"one of {value.bit_length():,} bits"
        elif isinstance(value, slice):
            waiting += (value.step, value.stop, value.start)
        elif isinstance(value, (tuple, list)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value[::-1]
    return None


def require_function(what: str, function: Any, *args: object, **kwargs: object) -> None:
    """Raises ArgumentTypeError for what cannot be called, or not with these arguments: at its own line, if it has
    one."""
    if not callable(function):
        raise ArgumentTypeError(
            f"{what} is no function",
            expected=f"a function of {len(args) + len(kwargs)} arguments",
            found=shown(function),
            remedy="give a function, a lambda or a module",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of what is not written in Python
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        named = "".join(f", {name}" for name in kwargs)
        raise ArgumentTypeError(
            f"{what} is called with other arguments than it takes: {error}",
            expected=f"a function of {len(args)} arguments{named}",
            found=f"{getattr(function, '__name__', type(function).__name__)}{signature}",
            where=location_of(function),
            remedy="give it a parameter for each; def function(*tensors) takes any number",
        ) from None


def refusal(name: str, values: Iterable[object], error: Exception) -> TrtnetError:
    """For what NumPy or Python says of the arguments of a function: that a number is too large, if one is."""
    values = tuple(values)
    if large := too_large(values):
        return ArgumentError(
            f"{name} takes no such number",
            expected="numbers that fit into 64 bits",
            found=large,
            remedy="give the size or the value that is needed; infinity is float('inf')",
        )
    return ArgumentError(f"{name}: {error}", found=", ".join(map(shown, values)) or None)


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


class FleetError(TrtnetError, RuntimeError):
    """Weights cannot be published or followed: another publisher has the place, or this end was closed."""


class StaleWeightsError(FleetError):
    """A call with weights that are further behind than was allowed."""
