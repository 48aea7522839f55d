"""Who records which operator of torch's: the table, and `converts`, which adds to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ...basics.errors import ArgumentError, ArgumentTypeError, shown
from ...basics.location import PACKAGE

C = TypeVar("C", bound=Callable[..., Any])

_NAME = re.compile(r"(\w+)(?:::|\.)(\w+)(?:\.(\w+))?")


class Converter(NamedTuple):
    """What records an operator.

    Attributes:
        function: called with the operator's arguments, tensors recorded, sizes as ints and Dims.
        ours: whether it came with trtnet.
    """

    function: Callable[..., Any]
    ours: bool


class Missing(NamedTuple):
    """Stands for a result of an operator that is not computed.

    Attributes:
        what: the problem, where it is used.
        remedy: what to do then.
    """

    what: str
    remedy: str


TABLE: dict[str, Converter] = {}
"""By `namespace.operator` or `namespace.operator.overload`."""


def converts(*names: str) -> Callable[[C], C]:
    """Have the decorated function record an operator of torch's, one's own or one that trtnet does not take.

    It is called while `trtnet.record` goes through a torch.nn.Module, with the operator's arguments: tensors are
    recorded ones, sizes ints and Dims, dtypes trtnet's. It returns what the operator does. A later one for the same
    operator takes the place of the one before.

    Args:
        names: "mylib::scale", or "mylib::scale.overload" for one of its overloads.

    >>> @trtnet.converts("mylib::scale")
    ... def scale(x, factor):
    ...     return x * factor
    """
    keys = [_key(name) for name in names]
    if not keys:
        raise ArgumentTypeError("converts takes an operator's name", expected='"mylib::scale"', found="none")

    def declare(function: C) -> C:
        is_ours = (function.__module__ or "").startswith(f"{PACKAGE}.")
        for key in keys:
            if not (is_ours and key in TABLE):  # a user's that came before ours were loaded
                TABLE[key] = Converter(function, is_ours)
        return function

    return declare


def _key(name: Any) -> str:
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise ArgumentError(
            "this is no operator's name",
            expected='"namespace::operator" or "namespace::operator.overload"',
            found=shown(name),
            remedy='@trtnet.converts("mylib::scale"), as in torch.library.custom_op("mylib::scale", ...)',
        )
    return ".".join(part for part in found.groups() if part)


def converter(target: str) -> Converter | None:
    """What records `namespace.operator.overload`, if anything does."""
    return TABLE.get(target) or TABLE.get(target.rpartition(".")[0])
