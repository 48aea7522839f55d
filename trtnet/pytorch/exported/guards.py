"""What Python code decided by sizes while torch exported it: whether it is so at every size that the Dims allow.

torch notes each decision as a guard, an expression over symbols. One that is an equality becomes a check of the
graph's. Another one has to hold at every size; where it fails at single sizes alone (`n != 4`; 0 and 1, which torch
takes to be different from all others), the recording is compared with the module at these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter

from ...basics import dims
from ...basics.dims import Dim, SizeLike
from ...basics.errors import ShapeError
from ...basics.location import Location, Place
from ...graph.recorder import recorder
from .stacks import is_torchs

MOST = 20_000
"""At how many combinations of sizes a guard is looked at."""


class Guard(NamedTuple):
    """A decision.

    Attributes:
        expression: sympy's.
        where: the user's line.
    """

    expression: Any
    where: Location | None

    def equal_dims(self, sizes: Mapping[Any, SizeLike]) -> set[str]:
        """The Dims that are equal to another one, or to a number, by this guard alone."""
        if not isinstance(self.expression, sympy.Eq):
            return set()
        left, right = (_size(side, sizes) for side in self.expression.args)
        plain = [one for one in (left, right) if isinstance(one, int) or (isinstance(one, Dim) and one.name)]
        return {str(one) for one in plain if isinstance(one, Dim)} if len(plain) == 2 and left != right else set()


def guards_of(shape_env: Any) -> list[Guard]:
    """The guards that torch noted, each once."""
    found: dict[Any, Guard] = {}
    for guard in shape_env.guards:
        found.setdefault(guard.expr, Guard(guard.expr, _line(guard.sloc)))
    return list(found.values())


def _line(sloc: Any) -> Location | None:
    frame: Any
    for frame in (getattr(sloc, "framework_loc", None), getattr(sloc, "maybe_user_loc", None)):
        if hasattr(frame, "lineno") and not is_torchs(frame.filename):
            return Place(frame.filename, frame.lineno, frame.name, (frame.line or "").strip())
    return None


class Audit:
    """Guards, looked at inside the recording of what they are of.

    Args:
        sizes: what each of torch's symbols is.

    Attributes:
        odd: sizes by Dim at which the recording is to be compared with the module, and where it decides by them.
    """

    def __init__(self, sizes: Mapping[Any, SizeLike]) -> None:
        self.sizes = sizes
        self.odd: list[tuple[dict[str, int], Location | None]] = []

    def decisions(self, guards: Iterable[Guard]) -> None:
        """Raises ShapeError for a decision that is another one at a size that the Dims allow."""
        for guard in guards:
            if self._is_known(guard) and self._sides(guard) is None:
                self._require_always(guard)

    def equalities(self, guards: Iterable[Guard]) -> None:
        """Keep equalities as checks of the graph's, if what was recorded has not asked for them itself."""
        for guard in guards:
            sides = self._sides(guard) if self._is_known(guard) else None
            if sides is not None and not any({e.left, e.right} == set(sides) for e in recorder().equalities):
                self._require_equal(guard, *sides)

    def _is_known(self, guard: Guard) -> bool:
        """Whether it is not the data that decides."""
        return bool(guard.expression.free_symbols <= set(self.sizes))

    def _sides(self, guard: Guard) -> tuple[SizeLike, SizeLike] | None:
        """The two sizes of an equality."""
        if not isinstance(guard.expression, sympy.Eq):
            return None
        left, right = (_size(side, self.sizes) for side in guard.expression.args)
        return None if left is None or right is None else (left, right)

    def _require_equal(self, guard: Guard, left: SizeLike, right: SizeLike) -> None:
        current = recorder()
        try:
            count = len(current.equalities)
            current.require_equal(left, right, "forward takes these sizes to be equal")
            for check in current.equalities[count:]:
                check.location = guard.where or check.location
        except ShapeError as error:
            if guard.where is not None:
                error.where = guard.where
            if isinstance(left, int) or isinstance(right, int):
                error.remedy = (
                    "give the Input that size; or, where forward takes any, write x.shape[0] in place of len(x) and "
                    "int(x.shape[0]), which make a number of it, as some functions of torch's do"
                )
            raise

    def _require_always(self, guard: Guard) -> None:
        symbols = sorted(guard.expression.free_symbols, key=str)
        used = dims.symbols_of(self.sizes[one] for one in symbols)
        holds = _compiled(guard.expression, symbols)
        wrong: list[dict[str, int]] = []
        others = 0
        for values in _combinations(used):
            env = {str(one): value for one, value in zip(used, values)}
            given = [dims.evaluate(self.sizes[one], env) for one in symbols]
            if not holds(*given):
                is_single = any(value in (0, 1) for value in given) or isinstance(guard.expression, sympy.Ne)
                others += not is_single
                if others > 1:  # at one alone it is compared there: a slice `[:n]` of all that there is
                    raise self._changes(guard, env)
                wrong.append(env)
        few = wrong if others else wrong[:: max(1, len(wrong) // 2)][:3]
        self.odd += [(env, guard.where) for env in few]

    def _changes(self, guard: Guard, env: Mapping[str, int]) -> ShapeError:
        text = str(guard.expression.xreplace({one: sympy.Symbol(str(size)) for one, size in self.sizes.items()}))
        at = ", ".join(f"{name}={value}" for name, value in env.items())
        ranges = ", ".join(repr(one) for one in dims.symbols_of(self.sizes[s] for s in guard.expression.free_symbols))
        return ShapeError(
            "forward decides by a size, and not the same way at every size that the Dims allow",
            expected=f"{text}, as at the sizes that it was recorded at",
            found=f"not so at {at}, of {ranges}",
            where=guard.where,
            remedy="narrow the Dim's range so that one of both ways is taken, record one graph for each, or compute "
            "both and choose: torch.where",
        )


def _combinations(used: tuple[Dim, ...]) -> Iterator[tuple[int, ...]]:
    """Values of the Dims: all that there are, or the ends of their ranges and some between."""
    each = max(4, int(MOST ** (1 / max(1, len(used)))))
    return itertools.product(*(_values(one, each) for one in used))


def _values(one: Dim, most: int) -> list[int]:
    every = range(one.min, one.max + 1, one.multiple_of)
    if len(every) <= most:
        return list(every)
    few = most // 2
    step = max(1, len(every) // few)
    return sorted({*every[: few // 2], *every[::step], *every[-few // 4 :], one.opt})


def _compiled(expression: Any, symbols: list[Any]) -> Any:
    code = PythonPrinter().doprint(expression)
    return eval(f"lambda {', '.join(map(str, symbols))}: {code}", {"math": math, "torch": torch})


def _size(expression: Any, sizes: Mapping[Any, SizeLike]) -> SizeLike | None:
    """A sympy expression as a size; None where it is no sum, product or quotient of sizes."""
    if expression.is_Integer:
        return int(expression)
    if expression.is_Symbol:
        return sizes.get(expression)
    parts = [_size(part, sizes) for part in expression.args]
    if not parts or any(part is None for part in parts):
        return None
    kind = type(expression).__name__
    first, *rest = parts
    assert first is not None
    if kind == "Add":
        return sum((part for part in rest if part is not None), start=first)
    if kind == "Mul":
        return dims.product([part for part in parts if part is not None])
    if kind == "Pow" and isinstance(rest[0], int) and rest[0] >= 0:
        return first ** rest[0]
    if kind in ("FloorDiv", "CleanDiv", "IntTrueDiv"):
        return first // rest[0]  # type: ignore[operator]
    if kind in ("Mod", "PythonMod"):
        return first % rest[0]  # type: ignore[operator]
    return None
