"""Names that are chosen by patterns: a text, or several."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from .errors import ArgumentTypeError, shown


def patterns_of(given: object, what: str, remedy: str | None = None) -> list[str]:
    """The patterns, a text or several. Raises ArgumentTypeError for anything else, `what` being the argument's name.

    >>> patterns_of("conv*", "refit"), patterns_of(["a", "b"], "refit")
    (['conv*'], ['a', 'b'])
    """
    if isinstance(given, str):
        return [given]
    patterns: list[str] = []
    for one in given if isinstance(given, Iterable) else [given]:
        if not isinstance(one, str):
            raise ArgumentTypeError(
                f"{what} are patterns of names", expected="a text, or a list of texts", found=shown(one), remedy=remedy
            )
        patterns.append(one)
    return patterns


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns is of this name.

    >>> matches("head.weight", ["body.*", "head.*"])
    True
    """
    return any(fnmatchcase(name, one) for one in patterns)
