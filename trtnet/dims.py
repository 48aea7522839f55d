"""Named dynamic sizes (`Dim`), the arithmetic over them, and shapes made of them.

A Dim is a polynomial with integer coefficients over atoms. An atom is a symbol in units of its `multiple_of`
(so that half of a Dim that is a multiple of 32 is 16 units, and no fraction is ever kept), or a floor division,
maximum or minimum that could not be simplified. `a % b` is `a - b*(a//b)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd, lcm
from numbers import Integral
from typing import Any, SupportsIndex, TypeVar, overload

from .errors import ArgumentError, ArgumentTypeError, ShapeError, TrtnetError

T = TypeVar("T")
Bounds = tuple[int, int]
Monomial = tuple["_Atom", ...]  # sorted by key, repeated for powers; () is the constant
Terms = dict[Monomial, int]
Factor = tuple[str, tuple[Any, ...]]


class _Atom:
    """A symbol, args = (name, min, opt, max, multiple_of), or an operation over sizes: floor, max, min."""

    __slots__ = ("_bounds", "_hash", "args", "key", "kind", "symbols")

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind = kind
        self.args = args
        self._hash = hash((kind, args))
        self._bounds: Bounds | None = None
        self.symbols: frozenset[_Atom]
        if kind == "symbol":
            self.key: str = args[0]
            self.symbols = frozenset((self,))
        else:
            self.key = f"~{kind}({', '.join(map(str, args))})"  # after the symbols
            self.symbols = frozenset().union(*(arg._symbols for arg in args if isinstance(arg, Dim)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, _Atom):
            return NotImplemented
        return self._hash == other._hash and self.kind == other.kind and self.args == other.args

    def __reduce__(self) -> tuple[Any, ...]:
        return _Atom, (self.kind, self.args)

    @property
    def bounds(self) -> Bounds:
        if self._bounds is None:
            self._bounds = self._find_bounds()
        return self._bounds

    def _find_bounds(self) -> Bounds:
        if self.kind == "symbol":
            _, low, _, high, unit = self.args
            return low // unit, high // unit
        ranges = [_bounds(arg) for arg in self.args]
        if self.kind != "floor":
            choose = max if self.kind == "max" else min
            return choose(low for low, _ in ranges), choose(high for _, high in ranges)
        (low, high), (first, last) = ranges
        # a division by zero has no value, so the divisors nearest to zero are -1 and 1
        ends = {end for end in (first, last, -1, 1) if end and first <= end <= last}
        quotients = [number // end for number in (low, high) for end in ends]
        return min(quotients), max(quotients)


class Dim:
    """A size that is known by name and range only, or an expression over such sizes.

    ``Dim("batch", min=1, opt=8, max=64)``: `max` defaults to `opt`, else to `min`; `opt` to `max`; `min` to
    `multiple_of`. Dims are immutable, and equal if their expressions are; two made alike are the same Dim.
    An operation whose result does not depend on any Dim gives an int.

    Raises:
        ArgumentError: a name that is no identifier, or a range that is none.
        ArgumentTypeError: a size that is no int; also `int()`, `bool()` and `/` of a Dim.
        ShapeError: arithmetic over two Dims of one name with different ranges.
    """

    __slots__ = ("_bounds_cache", "_hash", "_parts_cache", "_symbols_cache", "_terms")
    __array_ufunc__ = None  # NumPy's integers leave the arithmetic to us

    _terms: Terms
    _hash: int
    _bounds_cache: Bounds | None
    _symbols_cache: frozenset[_Atom] | None
    _parts_cache: tuple[int, list[tuple[int, tuple[Factor, ...]]]] | None

    def __init__(
        self, name: str, min: int | None = None, opt: int | None = None, max: int | None = None, multiple_of: int = 1
    ) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            kind = ArgumentError if isinstance(name, str) else ArgumentTypeError
            raise kind(
                "a Dim needs a name", expected="an identifier", found=repr(name), remedy='Dim("batch", min=1, max=64)'
            )
        low = multiple_of if min is None else min
        high = max if max is not None else opt if opt is not None else low
        best = high if opt is None else opt
        given: dict[str, object] = {"min": low, "opt": best, "max": high, "multiple_of": multiple_of}
        for label, value in given.items():
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise ArgumentTypeError(
                    f"{label} of the Dim {name} is no integer",
                    expected="an int",
                    found=f"{value!r} ({type(value).__name__})",
                    remedy=f"give {label} as an int",
                )
        found = ", ".join(f"{label}={value}" for label, value in given.items())
        if multiple_of < 1 or not 0 <= low <= best <= high:
            raise ArgumentError(
                f"the Dim {name} has no valid range",
                expected="0 <= min <= opt <= max, and multiple_of >= 1",
                found=found,
                remedy="order the three sizes: the smallest, the usual and the largest that will be given",
            )
        if low % multiple_of or best % multiple_of or high % multiple_of:
            raise ArgumentError(
                f"the range of the Dim {name} does not fit its multiple_of",
                expected=f"min, opt and max that are multiples of {multiple_of}",
                found=found,
                remedy="round min up and max down to multiples, or leave multiple_of out",
            )
        self._set({(_Atom("symbol", (name, int(low), int(best), int(high), int(multiple_of))),): int(multiple_of)})

    def _set(self, terms: Terms) -> None:
        self._terms = terms
        self._hash = hash(frozenset(terms.items()))
        self._bounds_cache = self._symbols_cache = self._parts_cache = None

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The symbol's name; None of an expression."""
        if len(self._terms) == 1:
            ((monomial, factor),) = self._terms.items()
            if len(monomial) == 1 and monomial[0].kind == "symbol" and factor == monomial[0].args[4]:
                return str(monomial[0].args[0])
        return None

    @property
    def _symbols(self) -> frozenset[_Atom]:
        if self._symbols_cache is None:
            self._symbols_cache = frozenset().union(*(atom.symbols for monomial in self._terms for atom in monomial))
        return self._symbols_cache

    @property
    def symbols(self) -> tuple[Dim, ...]:
        """The symbols that the expression depends on, by name."""
        atoms = sorted(self._symbols, key=lambda atom: atom.key)
        return (self,) if self.name else tuple(_make({(atom,): atom.args[4]}) for atom in atoms)  # type: ignore[misc]

    @property
    def min(self) -> int:
        """The value with all symbols at their min: of `10 - h` the largest (see `bounds`)."""
        return evaluate(self, {atom.key: atom.args[1] for atom in self._symbols})

    @property
    def opt(self) -> int:
        """The value with all symbols at their opt."""
        return evaluate(self, {atom.key: atom.args[2] for atom in self._symbols})

    @property
    def max(self) -> int:
        """The value with all symbols at their max."""
        return evaluate(self, {atom.key: atom.args[3] for atom in self._symbols})

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

    def __add__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _make(_plus(self._terms, _terms(size)))

    __radd__ = __add__

    def __sub__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _make(_plus(self._terms, _terms(size), -1))

    def __rsub__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _make(_plus(_terms(size), self._terms, -1))

    def __mul__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _make(_times(self._terms, _terms(size)))

    __rmul__ = __mul__

    def __floordiv__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _floor_divide(self, size)

    def __rfloordiv__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else _floor_divide(size, self)

    def __mod__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else self - size * _floor_divide(self, size)

    def __rmod__(self, other: SizeLike) -> SizeLike:
        size = _operand(self, other)
        return size if size is NotImplemented else size - self * _floor_divide(size, self)

    def __pow__(self, power: Any) -> SizeLike:
        if not isinstance(power, Integral):
            return NotImplemented
        if power < 0:
            raise ArgumentError(
                f"{self} to a negative power is no size", expected="an exponent >= 0", found=power, remedy="use //"
            )
        return product([self] * int(power))

    def __neg__(self) -> SizeLike:
        return self * -1

    def __pos__(self) -> Dim:
        return self

    def __truediv__(self, other: object) -> SizeLike:
        if not isinstance(other, (Dim, Integral, float)):
            return NotImplemented
        raise ArgumentTypeError(
            "/ does not give a size", expected="sizes, which are integers", found=f"{self} and {other}", remedy="use //"
        )

    __rtruediv__ = __truediv__

    # --- comparison -------------------------------------------------------------------------------------------

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Dim):
            return self._hash == other._hash and self._terms == other._terms
        return False if isinstance(other, Integral) else NotImplemented

    def _compare(self, other: SizeLike, sign: str) -> bool:
        size = _operand(self, other)
        if size is NotImplemented:
            return NotImplemented
        low, high = _bounds(self - size)
        always, never = {
            "<": (high < 0, low >= 0),
            "<=": (high <= 0, low > 0),
            ">": (low > 0, high <= 0),
            ">=": (low >= 0, high < 0),
        }[sign]
        if always or never:
            return always
        ranges = (f"{one} in {_bounds(one)[0]}..{_bounds(one)[1]}" for one in (self, size) if isinstance(one, Dim))
        raise ArgumentTypeError(
            f"{self} {sign} {other} has no single answer while recording",
            expected="a comparison with the same answer at every size",
            found=", ".join(ranges),
            remedy="narrow the Dim's range, use trtnet's maximum or minimum, or compare its .min, .opt or .max",
        )

    def __lt__(self, other: SizeLike) -> bool:
        return self._compare(other, "<")

    def __le__(self, other: SizeLike) -> bool:
        return self._compare(other, "<=")

    def __gt__(self, other: SizeLike) -> bool:
        return self._compare(other, ">")

    def __ge__(self, other: SizeLike) -> bool:
        return self._compare(other, ">=")

    # --- conversion -------------------------------------------------------------------------------------------

    def _no_value(self, kind: str) -> TrtnetError:
        return ArgumentTypeError(
            f"{kind}() of the dynamic size {self}",
            expected="a number",
            found=f"{self}, a Dim, in {self.bounds[0]}..{self.bounds[1]}",
            remedy="a dynamic size has no single value while recording; use it as it is in reshape, expand or arange, "
            "or make it an int: Input((8, ...))",
        )

    def __bool__(self) -> bool:
        raise self._no_value("bool")

    def __int__(self) -> int:
        raise self._no_value("int")

    def __index__(self) -> int:
        raise self._no_value("int")

    def __float__(self) -> float:
        raise self._no_value("float")

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self._terms,)

    def __repr__(self) -> str:
        if self.name is None:
            return f"<Dim {self}>"
        name, low, best, high, unit = next(iter(self._symbols)).args
        return f"Dim({name!r}, min={low}, opt={best}, max={high}{f', multiple_of={unit}' if unit > 1 else ''})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __str__(self) -> str:
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
                powers.append(str(number))
            term = "*".join(powers) + (f"/{below}" if below > 1 else "")
            text += f" {sign} {term}" if text else term if sign == "+" else f"-{term}"
        return text

    # --- evaluation -------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> tuple[int, list[tuple[int, tuple[Factor, ...]]]]:
        """The expression in whole symbols: a common denominator, and a factor and operations of each term."""
        if self._parts_cache is None:
            found = sorted(_split(self._terms), key=lambda part: (-len(part[2]), [str(factor) for factor in part[2]]))
            denominator = lcm(*(below for _, below, _ in found))
            self._parts_cache = denominator, [(n * (denominator // below), factors) for n, below, factors in found]
        return self._parts_cache

    def fold(
        self,
        *,
        number: Callable[[int], T],
        symbol: Callable[[str], T],
        add: Callable[[T, T], T],
        multiply: Callable[[T, T], T],
        floor_divide: Callable[[T, T], T],
        maximum: Callable[[T, T], T],
        minimum: Callable[[T, T], T],
        modulo: Callable[[T, T], T] | None = None,
    ) -> T:
        """Computes the expression with the given operations, each common sub-expression once.

        Without `modulo` remainders are computed by `floor_divide`.
        """
        done: dict[object, T] = {}
        calls = {"floor": floor_divide, "max": maximum, "min": minimum}

        def operate(factor: Factor) -> T:
            kind, args = factor
            if kind == "symbol":
                return symbol(args[0])
            if kind == "mod" and modulo is None:
                quotient = once(("floor", args))
                return add(size(args[0]), multiply(number(-1), multiply(quotient, size(args[1]))))
            values = [size(arg) for arg in args]
            result = values[0]
            for value in values[1:]:
                result = modulo(result, value) if kind == "mod" and modulo else calls[kind](result, value)
            return result

        def once(factor: Factor) -> T:
            if factor not in done:
                done[factor] = operate(factor)
            return done[factor]

        def size(of: SizeLike) -> T:
            if of not in done:
                done[of] = total(of) if isinstance(of, Dim) else number(of)
            return done[of]

        def total(of: Dim) -> T:
            denominator, parts = of._parts
            result: T | None = None
            for scale, factors in parts:
                values = [once(factor) for factor in factors]
                if scale != 1 or not values:
                    values.append(size(scale))
                term = values[0]
                for value in values[1:]:
                    term = multiply(term, value)
                result = term if result is None else add(result, term)
            assert result is not None
            return result if denominator == 1 else floor_divide(result, size(denominator))

        return total(self)


SizeLike = int | Dim


class Size(tuple[SizeLike, ...]):
    """A shape: a tuple of sizes, as `torch.Size`."""

    __slots__ = ()

    def numel(self) -> SizeLike:
        """The number of elements; 1 of an empty shape."""
        return product(self)

    @overload
    def __getitem__(self, index: SupportsIndex) -> SizeLike: ...
    @overload
    def __getitem__(self, index: slice) -> Size: ...
    def __getitem__(self, index: SupportsIndex | slice) -> SizeLike | Size:
        found = super().__getitem__(index)
        return Size(found) if isinstance(found, tuple) else found

    def __add__(self, other: tuple[SizeLike, ...]) -> Size:  # type: ignore[override]
        return Size((*self, *other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: tuple[SizeLike, ...]) -> Size:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __str__(self) -> str:
        return format_shape(self)

    def __repr__(self) -> str:
        return f"Size([{', '.join(map(str, self))}])"


def format_shape(shape: Iterable[SizeLike]) -> str:
    """`(batch, 20, 24, 24)`."""
    sizes = [str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def evaluate(size: SizeLike, env: Mapping[str, int]) -> int:
    """The value of a size where the symbols have the values in `env`.

    Raises:
        ShapeError: a symbol without a value, a division by zero, or a result that is no integer.
    """
    if not isinstance(size, Dim):
        return size
    denominator, parts = size._parts
    total = 0
    for number, factors in parts:
        for kind, args in factors:
            if kind == "symbol":
                try:
                    number *= env[args[0]]
                except KeyError:
                    raise ShapeError(
                        f"the size {size} needs a value for {args[0]}",
                        expected=f"values for {', '.join(sorted(atom.key for atom in size._symbols))}",
                        found=f"values for {', '.join(sorted(env)) or 'nothing'}",
                        remedy=f"give an input whose shape tells {args[0]}",
                    ) from None
            elif kind == "max":
                number *= max(evaluate(arg, env) for arg in args)
            elif kind == "min":
                number *= min(evaluate(arg, env) for arg in args)
            else:
                divisor = evaluate(args[1], env)
                if divisor == 0:
                    raise _zero(size, env)
                value = evaluate(args[0], env)
                number *= value // divisor if kind == "floor" else value % divisor
        total += number
    if denominator == 1:
        return total
    result, left = divmod(total, denominator)
    if left:
        raise ShapeError(
            f"the size {size} is no integer",
            expected=", ".join(f"{one} a multiple of {one.multiple_of}" for one in size.symbols if one.multiple_of > 1),
            found=", ".join(f"{one}={env[str(one)]}" for one in size.symbols),
            remedy="give a size that is such a multiple",
        )
    return result


def ceil_divide(a: SizeLike, b: SizeLike) -> SizeLike:
    """`a / b`, rounded up."""
    if _bounds(b)[0] < 0:
        return -_floor_divide(-a, b)
    return _floor_divide(a + b - 1, b)


def maximum(*sizes: SizeLike) -> SizeLike:
    """The largest of the sizes."""
    return _extremum("max", sizes)


def minimum(*sizes: SizeLike) -> SizeLike:
    """The smallest of the sizes."""
    return _extremum("min", sizes)


def product(sizes: Iterable[SizeLike]) -> SizeLike:
    """The product of the sizes; 1 of none."""
    result: SizeLike = 1
    for size in sizes:
        result = result * size
    return result


def divide_exactly(a: SizeLike, b: SizeLike) -> SizeLike | None:
    """The size `q` with `a == q * b` at every value, or None where there is none or none is found."""
    if a == 0 or b == 0:
        return 0 if b != 0 else None
    if isinstance(b, int):
        terms = _terms(a)
        return None if any(c % b for c in terms.values()) else _make({m: c // b for m, c in terms.items()})
    if isinstance(a, int):
        return None
    _check_names(a, b)
    # long division by exponents, in lexicographic order
    atoms = sorted({atom for m in (*a._terms, *b._terms) for atom in m}, key=lambda atom: atom.key)
    rest = {tuple(map(m.count, atoms)): c for m, c in a._terms.items()}
    divisor = {tuple(map(m.count, atoms)): c for m, c in b._terms.items()}
    lead = max(divisor)
    quotient: Terms = {}
    while rest:
        top = max(rest)
        factor, left = divmod(rest[top], divisor[lead])
        step = tuple(x - y for x, y in zip(top, lead, strict=True))
        if left or min(step) < 0:
            return None
        quotient[tuple(atom for atom, power in zip(atoms, step, strict=True) for _ in range(power))] = factor
        for powers, c in divisor.items():
            at = tuple(x + y for x, y in zip(powers, step, strict=True))
            rest[at] = rest.get(at, 0) - c * factor
            if not rest[at]:
                del rest[at]
    return _make(quotient)


def solve(expression: SizeLike, value: int) -> tuple[str, int] | None:
    """The name and value of the one symbol in `a*s + c`, where that has the given value.

    None if the expression has another form, or no integer solves it. The symbol's range is not looked at.
    """
    terms = dict(_terms(expression))
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return None
    ((monomial, factor),) = terms.items()
    if len(monomial) != 1 or monomial[0].kind != "symbol":
        return None
    result, left = divmod((value - constant) * monomial[0].args[4], factor)
    return None if left else (monomial[0].key, result)


def equal_everywhere(a: SizeLike, b: SizeLike) -> bool:
    """Whether both are the same expression; some that are always equal are not recognised."""
    return bool(a == b)


def equal_at_profile(a: SizeLike, b: SizeLike) -> bool:
    """Whether both have the same value with all symbols at min, at opt and at max."""
    check_same_ranges((a, b))
    symbols = [atom for one in (a, b) if isinstance(one, Dim) for atom in one._symbols]
    profile = [{atom.key: atom.args[at] for atom in symbols} for at in (1, 2, 3)]
    return a == b or all(evaluate(a, env) == evaluate(b, env) for env in profile)


def symbols_of(sizes: Iterable[SizeLike]) -> tuple[Dim, ...]:
    """The symbols that any of the sizes depends on, by name.

    Raises:
        ShapeError: one name with two ranges.
    """
    named: dict[str, Dim] = {}
    for size in sizes:
        for symbol in size.symbols if isinstance(size, Dim) else ():
            _check_names(named.setdefault(str(symbol), symbol), symbol)
    return tuple(named[name] for name in sorted(named))


def check_same_ranges(sizes: Iterable[SizeLike]) -> None:
    """Raises ShapeError if one name has two ranges among the sizes."""
    symbols_of(sizes)


# --- polynomials ----------------------------------------------------------------------------------------------


def _make(terms: Terms) -> SizeLike:
    if not any(terms):
        return terms.get((), 0)
    dim = Dim.__new__(Dim)
    dim._set(terms)
    return dim


def _terms(size: SizeLike) -> Terms:
    return size._terms if isinstance(size, Dim) else {(): size} if size else {}


def _plus(a: Terms, b: Terms, scale: int = 1) -> Terms:
    result = dict(a)
    for monomial, factor in b.items():
        if total := result.get(monomial, 0) + factor * scale:
            result[monomial] = total
        else:
            result.pop(monomial, None)
    return result


def _times(a: Terms, b: Terms) -> Terms:
    result: Terms = {}
    for one, c in a.items():
        for two, d in b.items():
            both = tuple(sorted(one + two, key=lambda atom: atom.key)) if one and two else one or two
            result[both] = result.get(both, 0) + c * d
    return {monomial: factor for monomial, factor in result.items() if factor}


def _operand(dim: Dim, other: object) -> Any:
    """The other side of an operator as int or Dim, or NotImplemented."""
    if isinstance(other, Dim):
        _check_names(dim, other)
        return other
    if isinstance(other, int):
        return int(other)
    if isinstance(other, float):
        raise ArgumentTypeError(
            f"the size {dim} and a float do not mix",
            expected="an int or a Dim",
            found=other,
            remedy="write the factor as integers: size*3//2 for size*1.5",
        )
    return int(other) if isinstance(other, Integral) else NotImplemented


def _check_names(a: Dim, b: Dim) -> None:
    one, two = a._symbols, b._symbols
    if one is two or one == two:
        return
    seen = {atom.key: atom for atom in one}
    for atom in two:
        known = seen.get(atom.key, atom)
        if known != atom:
            ranges = [repr(_make({(s,): s.args[4]})) for s in (known, atom)]
            raise ShapeError(
                f"the name {atom.key} stands for two ranges",
                expected=ranges[0],
                found=ranges[1],
                remedy="make one Dim and use it in both places, or give one of them another name",
            )


def _zero(size: object, env: Mapping[str, int] | None = None) -> ShapeError:
    return ShapeError(
        f"{size} divides by zero",
        expected="a divisor that is not 0",
        found=", ".join(f"{name}={value}" for name, value in (env or {}).items()) or "0",
        remedy="give the Dims in the divisor a min of at least 1",
    )


def _lone(terms: Terms) -> Iterator[tuple[_Atom, int]]:
    """The floor divisions by a number that stand alone in a term, and their coefficients."""
    for monomial, factor in terms.items():
        if len(monomial) == 1 and monomial[0].kind == "floor" and isinstance(monomial[0].args[1], int):
            yield monomial[0], factor


def _from_atom(kind: str, args: tuple[SizeLike, ...], scale: int = 1) -> SizeLike:
    atom = _Atom(kind, args)
    low, high = atom.bounds
    return low * scale if low == high else _make({(atom,): scale})


def _floor_divide(a: SizeLike, b: SizeLike) -> SizeLike:
    if _bounds(b) == (0, 0):
        raise _zero(f"{a}//{b}")
    if isinstance(b, int):
        if isinstance(a, int):
            return a // b
        return _divide_by_number(a._terms, b) if b > 0 else _divide_by_number((-a)._terms, -b)  # type: ignore[union-attr]
    if (exact := divide_exactly(a, b)) is not None:
        return exact
    lead = max(b._terms, key=lambda monomial: (len(monomial), [atom.key for atom in monomial]))
    if b._terms[lead] < 0:
        return _floor_divide(-a, -b)
    outside: SizeLike = 0
    if len(b._terms) == 1:
        for monomial, factor in _terms(a).items():
            part = divide_exactly(_make({monomial: factor}), b)
            if part is not None:
                outside, a = outside + part, a - part * b
    common = gcd(*_terms(a).values(), *b._terms.values())
    above, below = ({m: c // common for m, c in _terms(one).items()} for one in (a, b))
    return outside + _from_atom("floor", (_make(above), _make(below)))


def _divide_by_number(terms: Terms, k: int) -> SizeLike:
    """Floor division by k > 0: what is divisible goes out, the rest is reduced to coefficients below k."""
    outside: Terms = {}
    while True:
        outside = _plus(outside, {m: c // k for m, c in terms.items()})
        rest = {m: c % k for m, c in terms.items() if c % k}
        constant = rest.pop((), 0)
        if not rest:
            return _make(outside)
        # (g*a + c) // (g*k) == (a + c//g) // k
        common = gcd(k, *rest.values())
        k //= common
        rest = {m: c // common for m, c in rest.items()}
        if constant // common:
            rest[()] = constant // common
        # (a//m + b) // k == (a + b*m) // (k*m)
        nested = [atom for atom, factor in _lone(rest) if factor == 1]
        if len(nested) != 1:
            return _make(outside) + _from_atom("floor", (_make(rest), k))
        del rest[(nested[0],)]
        inner, m = nested[0].args
        terms, k = _plus(inner._terms, rest, m), k * m


def _extremum(kind: str, sizes: tuple[SizeLike, ...]) -> SizeLike:
    if not sizes:
        raise ArgumentTypeError(
            f"{kind}imum of nothing", expected="at least one size", found="none", remedy="give one or more sizes"
        )
    check_same_ranges(sizes)
    flat: list[SizeLike] = []
    for size in sizes:
        ((monomial, scale), *others) = _terms(size).items() or [((), 0)]
        if not others and len(monomial) == 1 and monomial[0].kind == kind and scale > 0:
            flat += [arg * scale for arg in monomial[0].args]
        else:
            flat.append(size)
    sign = 1 if kind == "max" else -1
    kept: list[SizeLike] = []
    for size in flat:
        if not any(_bounds((size - one) * sign)[1] <= 0 for one in kept):
            kept = [one for one in kept if _bounds((one - size) * sign)[1] > 0] + [size]
    if len(kept) == 1:
        return kept[0]
    common = gcd(*(factor for size in kept for factor in _terms(size).values()))
    reduced = [_make({m: c // common for m, c in _terms(size).items()}) for size in kept]
    return _from_atom(kind, tuple(sorted(reduced, key=str)), common)


# --- bounds ---------------------------------------------------------------------------------------------------


def _bounds(size: SizeLike) -> Bounds:
    return size.bounds if isinstance(size, Dim) else (size, size)


def _bounds_of_terms(terms: Terms) -> Bounds:
    low, high = _interval(terms)
    if any(_lone(terms)):  # a//k is between (a - k + 1)/k and a/k: lets `h - h//2` see that both are the same h
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
        above = above if factor * side > 0 else above - (k - 1)
        rest = {m: c * k for m, c in terms.items() if m != (atom,)}
        terms, scale = _plus(rest, above._terms, factor), scale * k
    return terms, scale


def _interval(terms: Terms) -> Bounds:
    """Bounds with every atom on its own, as they are and counted from their low and from their high ends."""
    low = high = 0
    for monomial, factor in terms.items():
        ends = [factor]
        for atom in monomial:
            ends = [end * bound for end in (min(ends), max(ends)) for bound in atom.bounds]
        low, high = low + min(ends), high + max(ends)
    if all(len(monomial) < 2 for monomial in terms):
        return low, high
    for side, sign in ((0, 1), (1, -1)):  # atom = end + sign*t with t in 0..width: b*h - b becomes b*t
        shifted: Terms = {}
        for monomial, factor in terms.items():
            part: Terms = {(): factor}
            for atom in monomial:
                part = _plus({(*m, atom): c * sign for m, c in part.items()}, part, atom.bounds[side])
            shifted = _plus(shifted, part)
        ends = []
        start = shifted.pop((), 0)
        for monomial, factor in shifted.items():
            for atom in monomial:
                factor *= atom.bounds[1] - atom.bounds[0]
            ends.append(factor)
        low = max(low, start + sum(end for end in ends if end < 0))
        high = min(high, start + sum(end for end in ends if end > 0))
    return low, high


# --- in whole symbols -----------------------------------------------------------------------------------------


def _split(terms: Terms) -> Iterator[tuple[int, int, tuple[Factor, ...]]]:
    """Numerator, denominator and factors of each term, as a reader would write them."""
    terms = dict(terms)
    for atom, factor in list(_lone(terms)):
        above, k = atom.args
        scale, left = divmod(-factor, k)
        inner = {m: c * scale for m, c in above._terms.items() if m}
        # a - k*(a//k), where a is there
        if not left and all(terms.get(m, 0) * c > 0 and abs(terms[m]) >= abs(c) for m, c in inner.items()):
            terms = _plus(_plus(terms, {(atom,): factor}, -1), above._terms, -scale)
            below = above._parts[0]
            yield scale, below, (("mod", (above * below, k * below)),)
    if len(terms) == 2 and terms.get(()):
        for atom, factor in list(_lone(terms)):
            if factor == 1:  # a//k + c
                above, k = atom.args
                args = above + terms.pop(()) * k, k
                terms = {(_Atom("floor", args),): 1}
    for monomial, number in terms.items():
        if len(monomial) == 1 and monomial[0].kind in ("max", "min"):
            kind, args = monomial[0].kind, monomial[0].args
            yield (-1 if number < 0 else 1), 1, ((kind, tuple(arg * abs(number) for arg in args)),)
            continue
        below = 1
        factors: list[Factor] = []
        for atom in monomial:
            if atom.kind == "symbol":
                below *= atom.args[4]
            scale = lcm(*(arg._parts[0] for arg in atom.args if isinstance(arg, Dim))) if atom.kind == "floor" else 1
            factors.append((atom.kind, tuple(arg * scale for arg in atom.args) if scale > 1 else atom.args))
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
