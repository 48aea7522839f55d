"""The algebra of sizes: polynomials with integer coefficients over atoms, always in one form, and their bounds.

An atom is a symbol in units of its `multiple_of` (so that half of a size that is a multiple of 32 is 16 units, and no
fraction is ever kept), or a floor division, maximum or minimum that could not be simplified. `a % b` is
`a - b*(a//b)`. One name must stand for one symbol; `_operand` is where a subclass checks that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import gcd, lcm, prod
from numbers import Integral
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .errors import ShapeError

if TYPE_CHECKING:
    from typing import Self

Bounds = tuple[int, int]
Monomial = tuple["Atom", ...]  # sorted by key, repeated for powers; () is the constant
Terms = dict[Monomial, int]  # without zeros
Factor = tuple[str, tuple[Any, ...]]
Symbols = dict[str, "Atom"]


class Atom:
    """A symbol, args = (name, min, opt, max, multiple_of), or an operation over sizes: floor, max, min."""

    __slots__ = ("_bounds", "_hash", "_key", "args", "kind", "symbols", "unit")

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind = kind
        self.args = args
        self._hash = hash((kind, args))
        self._bounds: Bounds | None = None
        self._key: str | None = None
        self.unit: int = 1
        self.symbols: Symbols
        if kind == "symbol":
            self._key, self.unit = args[0], args[4]
            self.symbols = {args[0]: self}
        else:
            self.symbols = _union(arg._symbols for arg in args if isinstance(arg, Polynomial))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Atom):
            return NotImplemented
        return self._hash == other._hash and self.kind == other.kind and self.args == other.args

    def __reduce__(self) -> tuple[Any, ...]:
        return Atom, (self.kind, self.args)

    @property
    def key(self) -> str:
        """What atoms are ordered by: the names, then the operations."""
        if self._key is None:
            self._key = f"~{self.kind}({', '.join(map(str, self.args))})"
        return self._key

    @property
    def bounds(self) -> Bounds:
        if self._bounds is None:
            self._bounds = self._find_bounds()
        return self._bounds

    def _find_bounds(self) -> Bounds:
        if self.kind == "symbol":
            _, low, _, high, unit = self.args
            return low // unit, high // unit
        ranges = [bounds_of(arg) for arg in self.args]
        if self.kind != "floor":
            choose = max if self.kind == "max" else min
            return choose(low for low, _ in ranges), choose(high for _, high in ranges)
        (low, high), (first, last) = ranges
        # a division by zero has no value, so the divisors nearest to zero are -1 and 1
        ends = {end for end in (first, last, -1, 1) if end and first <= end <= last}
        quotients = [number // end for number in (low, high) for end in ends]
        return min(quotients), max(quotients)


def digits(number: int) -> str:
    """A number for people: Python writes none of more than 4,300 digits."""
    return str(number) if abs(number) < 1 << 63 else f"2^{number.bit_length() - 1}..."


class Polynomial:
    """Terms that depend on a symbol; operations give an int where their result does not."""

    __slots__ = ("_bounds_cache", "_hash", "_max_cache", "_parts_cache", "_symbols_cache", "_terms", "_text_cache")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._hash: int | None = None
        self._bounds_cache: Bounds | None = None
        self._max_cache: int | None = None
        self._symbols_cache: Symbols | None = None
        self._parts_cache: tuple[int, list[tuple[int, tuple[Factor, ...]]]] | None = None
        self._text_cache: str | None = None

    @classmethod
    def _of(cls, terms: Terms) -> int | Self:
        if not any(terms):
            return terms.get((), 0)
        made = object.__new__(cls)  # a subclass's own `__init__` makes symbols
        Polynomial.__init__(made, terms)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return self._of, (self._terms,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._terms.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Polynomial):
            return self is other or self._terms == other._terms
        return False if isinstance(other, (int, Integral)) else NotImplemented

    @property
    def _symbols(self) -> Symbols:
        if self._symbols_cache is None:
            self._symbols_cache = _union(atom.symbols for monomial in self._terms for atom in monomial)
        return self._symbols_cache

    @property
    def bounds(self) -> Bounds:
        """(low, high) that no value in range leaves; not always the tightest."""
        if self._bounds_cache is None:
            self._bounds_cache = _bounds_of_terms(self._terms)
        return self._bounds_cache

    @property
    def multiple_of(self) -> int:
        """The largest number that is known to divide every value."""
        return gcd(*self._terms.values())

    # --- arithmetic -------------------------------------------------------------------------------------------

    def _operand(self, other: object) -> Any:
        """The other side of an operator, where that is no int: as int or as the own class, or NotImplemented."""
        raise NotImplementedError

    def __add__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._of(plus(self._terms, terms_of(size)))

    __radd__ = __add__

    def __sub__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._of(plus(self._terms, terms_of(size), -1))

    def __rsub__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._of(plus(terms_of(size), self._terms, -1))

    def __mul__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._of(times(self._terms, terms_of(size)))

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._quotient(self, size)

    def __rfloordiv__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self._quotient(size, self)

    def __mod__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else self - size * self._quotient(self, size)

    def __rmod__(self, other: int | Self) -> int | Self:
        size = other if type(other) is int else self._operand(other)
        return size if size is NotImplemented else size - self * self._quotient(size, self)

    def __neg__(self) -> int | Self:
        return self * -1

    def __pos__(self) -> Self:
        return self

    @classmethod
    def _quotient(cls, a: int | Self, b: int | Self) -> int | Self:
        """`a // b`."""
        if bounds_of(b) == (0, 0):
            raise division_by_zero(f"{a}//{b}")
        above, below = terms_of(a), terms_of(b)
        if (exact := exact_quotient(above, below)) is not None:
            return cls._of(exact)
        if isinstance(b, int):
            return cls._of(cls._divide_by_number(above, b)) if b > 0 else cls._quotient(-a, -b)
        if below[max(below, key=_order)] < 0:
            return cls._quotient(-a, -b)
        outside: Terms = {}
        if len(below) == 1:
            for monomial, factor in above.items():
                outside |= exact_quotient({monomial: factor}, below) or {}
            above = plus(above, times(outside, below), -1)
        common = gcd(*above.values(), *below.values())
        args = (cls._of({m: c // common for m, c in terms.items()}) for terms in (above, below))
        return cls._of(plus(outside, _operation("floor", tuple(args))))

    @classmethod
    def _divide_by_number(cls, terms: Terms, k: int) -> Terms:
        """Floor division by k > 0: what is divisible goes out, the rest is reduced to coefficients below k."""
        outside: Terms = {}
        while True:
            outside = plus(outside, {m: c // k for m, c in terms.items()})
            rest = {m: c % k for m, c in terms.items() if c % k}
            constant = rest.pop((), 0)
            if not rest:
                return outside
            # (g*a + c) // (g*k) == (a + c//g) // k
            common = gcd(k, *rest.values())
            k //= common
            rest = {m: c // common for m, c in rest.items()}
            if constant // common:
                rest[()] = constant // common
            # (a//m + b) // k == (a + b*m) // (k*m)
            nested = [atom for atom, factor in _lone(rest) if factor == 1]
            if len(nested) != 1:
                return plus(outside, _operation("floor", (cls._of(rest), k)))
            del rest[(nested[0],)]
            inner, m = nested[0].args
            terms, k = plus(inner._terms, rest, m), k * m

    @classmethod
    def _extremum(cls, kind: str, sizes: Iterable[int | Self]) -> int | Self:
        """The maximum (kind "max") or minimum ("min") of one or more sizes."""
        flat: list[int | Self] = []
        for size in sizes:
            ((monomial, scale), *others) = terms_of(size).items() or [((), 0)]
            if not others and len(monomial) == 1 and monomial[0].kind == kind and scale > 0:
                flat += [arg * scale for arg in monomial[0].args]
            else:
                flat.append(size)
        sign = 1 if kind == "max" else -1
        kept: list[int | Self] = []
        for size in flat:
            if not any(bounds_of((size - one) * sign)[1] <= 0 for one in kept):
                kept = [one for one in kept if bounds_of((one - size) * sign)[1] > 0] + [size]
        if len(kept) == 1:
            return kept[0]
        common = gcd(*(factor for size in kept for factor in terms_of(size).values()))
        reduced = [cls._of({m: c // common for m, c in terms_of(size).items()}) for size in kept]
        return cls._of(_operation(kind, tuple(sorted(reduced, key=str)), common))

    # --- in whole symbols -------------------------------------------------------------------------------------

    @property
    def _parts(self) -> tuple[int, list[tuple[int, tuple[Factor, ...]]]]:
        """The expression in whole symbols: a common denominator, and a factor and operations of each term."""
        if self._parts_cache is None:
            found = sorted(_split(self._terms), key=lambda part: (-len(part[2]), [str(factor) for factor in part[2]]))
            denominator = lcm(*(below for _, below, _ in found))
            self._parts_cache = denominator, [(n * (denominator // below), factors) for n, below, factors in found]
        return self._parts_cache

    def __str__(self) -> str:
        if self._text_cache is None:
            self._text_cache = self._text()
        return self._text_cache

    def _text(self) -> str:
        denominator, parts = self._parts
        text = ""
        # what is positive first: `h - 2`, `4 - h`
        first = next((index for index, (number, _) in enumerate(parts) if number > 0), 0)
        for number, factors in (parts[first], *parts[:first], *parts[first + 1 :]):
            sign = "-" if number < 0 else "+"
            common = gcd(number, denominator)
            number, below = abs(number) // common, denominator // common
            plain = number == below == len(factors) == 1 and (sign == "+" or bool(text))
            texts = [_factor_text(factor, plain) for factor in factors]
            powers = [f"{one}**{texts.count(one)}" if texts.count(one) > 1 else one for one in dict.fromkeys(texts)]
            if number > 1 or not factors:
                powers.append(digits(number))
            term = "*".join(powers) + (f"/{digits(below)}" if below > 1 else "")
            text += f" {sign} {term}" if text else term if sign == "+" else f"-{term}"
        return text


def _split(terms: Terms) -> Iterator[tuple[int, int, tuple[Factor, ...]]]:
    """Numerator, denominator and factors of each term, as a reader would write them."""
    for atom, factor in list(_lone(terms)):
        above, k = atom.args
        scale, left = divmod(-factor, k)
        inner = {m: c * scale for m, c in above._terms.items() if m}
        # a - k*(a//k), where a is there
        if not left and all(terms.get(m, 0) * c > 0 and abs(terms[m]) >= abs(c) for m, c in inner.items()):
            terms = plus(plus(terms, {(atom,): factor}, -1), above._terms, -scale)
            below = above._parts[0]
            yield scale, below, (("mod", (above * below, k * below)),)
    if len(terms) == 2 and () in terms:
        for atom, factor in _lone(terms):
            if factor == 1:  # a//k + c
                above, k = atom.args
                terms = {(Atom("floor", (above + terms[()] * k, k)),): 1}
    for monomial, number in terms.items():
        if len(monomial) == 1 and monomial[0].kind in ("max", "min"):
            kind, args = monomial[0].kind, monomial[0].args
            yield (-1 if number < 0 else 1), 1, ((kind, tuple(arg * abs(number) for arg in args)),)
            continue
        below = 1
        factors: list[Factor] = []
        for atom in monomial:
            below *= atom.unit
            args = atom.args
            if atom.kind == "floor":
                scale = lcm(*(arg._parts[0] for arg in args if isinstance(arg, Polynomial)))
                args = tuple(arg * scale for arg in args)
            factors.append((atom.kind, args))
        common = gcd(number, below)
        yield number // common, below // common, tuple(factors)


def _factor_text(factor: Factor, plain: bool) -> str:
    kind, args = factor
    if kind == "symbol":
        return str(args[0])
    if kind in ("max", "min"):
        return f"{kind}({', '.join(map(str, args))})"
    sides = [text if text.replace("_", "a").isalnum() else f"({text})" for text in map(str, args)]
    text = f"{sides[0]}//{sides[1]}" if kind == "floor" else f"{sides[0]}%{sides[1]}"
    return text if plain else f"({text})"


# --- terms ----------------------------------------------------------------------------------------------------


def terms_of(size: int | Polynomial) -> Terms:
    return size._terms if isinstance(size, Polynomial) else {(): size} if size else {}


def plus(a: Terms, b: Terms, scale: int = 1) -> Terms:
    result = dict(a)
    for monomial, factor in b.items():
        if total := result.get(monomial, 0) + factor * scale:
            result[monomial] = total
        else:
            result.pop(monomial, None)
    return result


def times(a: Terms, b: Terms) -> Terms:
    result: Terms = {}
    for one, c in a.items():
        for two, d in b.items():
            both = tuple(sorted(one + two, key=_key)) if one and two else one or two
            result[both] = result.get(both, 0) + c * d
    if len(a) > 1 and len(b) > 1:  # some may have cancelled out
        result = {monomial: factor for monomial, factor in result.items() if factor}
    return result


def exact_quotient(a: Terms, b: Terms) -> Terms | None:
    """The terms `q` with `a == q * b`, or None where there are none; b is not empty."""
    quotient: Terms = {}
    if len(b) == 1:
        ((lead, k),) = b.items()
        for monomial, c in a.items():
            step = _without(monomial, lead)
            if step is None or c % k:
                return None
            quotient[step] = c // k
        return quotient
    lead = max(b, key=_order)
    while a:
        top = max(a, key=_order)
        step = _without(top, lead)
        if step is None or a[top] % b[lead]:
            return None
        quotient[step] = a[top] // b[lead]
        a = plus(a, times({step: quotient[step]}, b), -1)
    return quotient


def _without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    if not divisor:
        return monomial
    rest = list(monomial)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


_key = attrgetter("key")


def _order(monomial: Monomial) -> tuple[int, list[str]]:
    """By degree and names: an order that multiplication keeps, as long division needs it."""
    return len(monomial), [atom.key for atom in monomial]


def _union(many: Iterable[Symbols]) -> Symbols:
    union: Symbols = {}
    for symbols in many:
        if symbols is not union:
            union = union | symbols if union else symbols
    return union


def _lone(terms: Terms) -> Iterator[tuple[Atom, int]]:
    """The floor divisions by a number that stand alone in a term, and their coefficients."""
    for monomial, factor in terms.items():
        if len(monomial) == 1 and monomial[0].kind == "floor" and isinstance(monomial[0].args[1], int):
            yield monomial[0], factor


def _operation(kind: str, args: tuple[int | Polynomial, ...], scale: int = 1) -> Terms:
    atom = Atom(kind, args)
    low, high = atom.bounds
    return terms_of(low * scale) if low == high else {(atom,): scale}


def division_by_zero(what: object, env: Mapping[str, int] | None = None) -> ShapeError:
    return ShapeError(
        f"{what} divides by zero",
        expected="a divisor that is not 0",
        found=", ".join(f"{name}={value}" for name, value in (env or {}).items()) or "0",
        remedy="give the Dims in the divisor a min of at least 1",
    )


# --- bounds ---------------------------------------------------------------------------------------------------


def bounds_of(size: int | Polynomial) -> Bounds:
    return size.bounds if isinstance(size, Polynomial) else (size, size)


BRANCHES = 8
"""As many maxima and minima of a sum are looked at one argument at a time: two of three arguments, three of two."""


def _bounds_of_terms(terms: Terms, branches: int = BRANCHES) -> Bounds:
    """Bounds with the arguments of each maximum and minimum in its place, too: lets `n - max(0, n - 2)` see that it is
    the smaller one of n and 2."""
    low, high = _bounds_of_sum(terms)
    if len(terms) - (() in terms) < 2:
        return low, high
    for monomial, factor in terms.items():
        if len(monomial) != 1 or monomial[0].kind not in ("max", "min") or len(monomial[0].args) > branches:
            continue
        args = monomial[0].args
        rest = {m: c for m, c in terms.items() if m != monomial}
        found = [_bounds_of_terms(plus(rest, terms_of(arg), factor), branches // len(args)) for arg in args]
        choose = max if (monomial[0].kind == "max") == (factor > 0) else min
        return max(low, choose(least for least, _ in found)), min(high, choose(most for _, most in found))
    return low, high


def _bounds_of_sum(terms: Terms) -> Bounds:
    low, high = _interval(terms)
    if len(terms) - (() in terms) > 1 and any(_lone(terms)):
        # a//k is between (a - k + 1)/k and a/k: lets `h - h//2` see that both are the same h
        above, scale = _relax(terms, 1)
        high = min(high, _interval(above)[1] // scale)
        below, scale = _relax(terms, -1)
        low = max(low, -(-_interval(below)[0] // scale))
    return low, high


def _relax(terms: Terms, side: int) -> tuple[Terms, int]:
    """Terms and a divisor of something at least (side 1) or at most (-1) as large, without floor divisions."""
    scale = 1
    while found := next(_lone(terms), None):
        atom, factor = found
        above, k = atom.args
        if factor * side < 0:
            above = above - (k - 1)
        rest = {m: c * k for m, c in terms.items() if m != (atom,)}
        terms, scale = plus(rest, above._terms, factor), scale * k
    return terms, scale


def _interval(terms: Terms) -> Bounds:
    """Bounds with every atom on its own, as they are and counted from their low and from their high ends."""
    low = high = 0
    for monomial, factor in terms.items():
        least = most = factor
        for atom in monomial:
            first, last = atom.bounds
            ends = (least * first, least * last, most * first, most * last)
            least, most = min(ends), max(ends)
        low, high = low + least, high + most
    if max(map(len, terms), default=0) < 2:
        return low, high
    for side, sign in ((0, 1), (1, -1)):  # atom = end + sign*t with t in 0..width: b*h - b becomes b*t
        shifted: Terms = {}
        for monomial, factor in terms.items():
            part: Terms = {(): factor}
            for atom in monomial:
                part = plus({(*m, atom): c * sign for m, c in part.items()}, part, atom.bounds[side])
            shifted = plus(shifted, part)
        start = shifted.pop((), 0)
        spans = [factor * prod(atom.bounds[1] - atom.bounds[0] for atom in m) for m, factor in shifted.items()]
        low = max(low, start + sum(span for span in spans if span < 0))
        high = min(high, start + sum(span for span in spans if span > 0))
    return low, high
