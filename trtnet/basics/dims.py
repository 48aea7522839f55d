"""Named dynamic sizes (`Dim`), the arithmetic over them, and shapes made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from math import prod
from numbers import Integral
from typing import Any, NoReturn, SupportsIndex, TypeVar, overload

from .errors import ArgumentError, ArgumentTypeError, ShapeError, TrtnetError
from .size_algebra import (
    Atom,
    Factor,
    Polynomial,
    Symbols,
    bounds_of,
    digits,
    division_by_zero,
    exact_quotient,
    terms_of,
)

T = TypeVar("T")


class Dim(Polynomial):
    """A size that is known by name and range only, or an expression over such sizes.

    ``Dim("batch", min=1, opt=8, max=64)``: `max` defaults to `opt`, else to `min`; `opt` to `max`; `min` to
    `multiple_of`. Dims are immutable, and equal if their expressions are; two made alike are the same Dim.
    An operation whose result does not depend on any Dim gives an int.

    Raises:
        ArgumentError: a name that is no identifier, or a range that is none.
        ArgumentTypeError: a size that is no int; also `int()` and `bool()` of a Dim, and of a `Quotient` (`size / 2`).
        ShapeError: arithmetic over two Dims of one name with different ranges.
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy's integers leave the arithmetic to us

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
            if abs(int(value)) >= 1 << 63:
                raise ArgumentError(
                    f"{label} of the Dim {name} is no size",
                    expected="less than 2^63",
                    found=f"a number of {int(value).bit_length():,} bits",
                    remedy=f"give the {label} that will be needed",
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
        atom = Atom("symbol", (name, int(low), int(best), int(high), int(multiple_of)))
        super().__init__({(atom,): atom.unit})

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The symbol's name; None of an expression."""
        if len(self._terms) == 1:
            ((monomial, factor),) = self._terms.items()
            if len(monomial) == 1 and monomial[0].kind == "symbol" and factor == monomial[0].unit:
                return monomial[0].key
        return None

    @property
    def symbols(self) -> tuple[Dim, ...]:
        """The symbols that the expression depends on, by name."""
        return (self,) if self.name else _dims(self._symbols)

    @property
    def min(self) -> int:
        """The value with all symbols at their min: of `10 - h` the largest (see `bounds`)."""
        return evaluate(self, {name: atom.args[1] for name, atom in self._symbols.items()})

    @property
    def opt(self) -> int:
        """The value with all symbols at their opt."""
        return evaluate(self, {name: atom.args[2] for name, atom in self._symbols.items()})

    @property
    def max(self) -> int:
        """The value with all symbols at their max."""
        if self._max_cache is None:
            self._max_cache = evaluate(self, {name: atom.args[3] for name, atom in self._symbols.items()})
        return self._max_cache

    # --- operators, where they differ from a polynomial's -----------------------------------------------------

    def _operand(self, other: object) -> Any:
        if isinstance(other, Dim):
            _check_names(self._symbols, other._symbols)
            return other
        if isinstance(other, float):
            raise ArgumentTypeError(
                f"the size {self} and a float do not mix",
                expected="an int or a Dim",
                found=other,
                remedy="write the factor as integers: size*3//2 for size*1.5",
            )
        return int(other) if isinstance(other, Integral) else NotImplemented

    def __abs__(self) -> SizeLike:
        return maximum(self, -self)

    def __pow__(self, power: Any) -> SizeLike:
        if isinstance(power, (float, Dim)):
            raise self._no_power(f"{self}**{power}")
        if not isinstance(power, Integral):
            return NotImplemented
        if power < 0:
            raise ArgumentError(
                f"{self} to a negative power is no size", expected="an exponent >= 0", found=power, remedy="use //"
            )
        return product([self] * int(power))

    def __rpow__(self, base: Any) -> Any:
        raise self._no_power(f"{base}**{self}")

    def _no_power(self, text: str) -> TrtnetError:
        return ArgumentTypeError(
            f"{text} is no size",
            expected="a size to the power of an int",
            found=text,
            remedy="take the power of a tensor, trtnet.full((), size), or make the size an int: Input((8, ...))",
        )

    def __truediv__(self, other: object) -> Quotient:
        if isinstance(other, float) and not other.is_integer():
            raise ArgumentTypeError(
                f"the size {self} and a float do not mix",
                expected="an int or a Dim",
                found=other,
                remedy="write the factor as integers: size*2//3 for size/1.5",
            )
        size = int(other) if isinstance(other, (Integral, float)) else self._operand(other)
        return NotImplemented if size is NotImplemented else Quotient(self, size)

    def __rtruediv__(self, other: object) -> Quotient:
        return Quotient(int(other), self) if isinstance(other, Integral) else NotImplemented

    def _compare(self, other: SizeLike, sign: str, limit: int, below: bool) -> bool:
        """`below` where the difference never exceeds the limit, its opposite where it always does."""
        size = other if type(other) is int else self._operand(other)
        if size is NotImplemented:
            return NotImplemented
        low, high = bounds_of(self - size)
        if high <= limit or low > limit:
            return below == (high <= limit)
        ranges = (f"{one} in {one.bounds[0]}..{one.bounds[1]}" for one in (self, size) if isinstance(one, Dim))
        raise ArgumentTypeError(
            f"{self} {sign} {other} has no single answer while recording",
            expected="a comparison with the same answer at every size",
            found=", ".join(ranges),
            remedy="narrow the Dim's range, or compare its .min, .opt or .max; for max() and min() of sizes: "
            "trtnet.sym_max(a, b), trtnet.sym_min(a, b)",
        )

    def __lt__(self, other: SizeLike) -> bool:
        return self._compare(other, "<", -1, True)

    def __le__(self, other: SizeLike) -> bool:
        return self._compare(other, "<=", 0, True)

    def __gt__(self, other: SizeLike) -> bool:
        return self._compare(other, ">", 0, False)

    def __ge__(self, other: SizeLike) -> bool:
        return self._compare(other, ">=", -1, False)

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

    def __repr__(self) -> str:
        if self.name is None:
            return f"<Dim {self}>"
        name, low, best, high, unit = self._symbols[self.name].args
        return f"Dim({name!r}, min={low}, opt={best}, max={high}{f', multiple_of={unit}' if unit > 1 else ''})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    # --- evaluation -------------------------------------------------------------------------------------------

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
        calls = {"floor": floor_divide, "max": maximum, "min": minimum, "mod": modulo}

        def operate(kind: str, args: tuple[Any, ...]) -> T:
            if kind == "symbol":
                return symbol(args[0])
            call = calls[kind]
            if call is None:
                quotient = once(("floor", args))
                return add(size(args[0]), multiply(number(-1), multiply(quotient, size(args[1]))))
            return reduce(call, [size(arg) for arg in args])

        def once(factor: Factor) -> T:
            if factor not in done:
                done[factor] = operate(*factor)
            return done[factor]

        def size(of: SizeLike) -> T:
            if of not in done:
                done[of] = total(of) if isinstance(of, Dim) else number(of)
            return done[of]

        def total(of: Dim) -> T:
            denominator, parts = of._parts
            result = reduce(add, (term(*part) for part in parts))
            return result if denominator == 1 else floor_divide(result, size(denominator))

        def term(scale: int, factors: tuple[Factor, ...]) -> T:
            values = [once(factor) for factor in factors]
            if scale != 1 or not values:
                values.append(size(scale))
            return reduce(multiply, values)

        return total(self)


SizeLike = int | Dim


class Quotient:
    """`size / 2`, which is no size: `math.floor`, `math.ceil` and `trtnet.sym_int` of it are.

    Python's `int()` gives nothing but an int, which a dynamic size has not: it raises ArgumentTypeError, as does
    arithmetic.
    """

    __slots__ = ("denominator", "numerator")
    __array_ufunc__ = None

    def __init__(self, numerator: SizeLike, denominator: SizeLike) -> None:
        if denominator == 0:
            raise ShapeError(f"the size {numerator} is divided by 0", expected="another divisor", found=denominator)
        self.numerator = numerator
        self.denominator = denominator

    def __floor__(self) -> SizeLike:
        return self.numerator // self.denominator

    def __ceil__(self) -> SizeLike:
        return ceil_divide(self.numerator, self.denominator)

    def _refused(self, *_: object) -> NoReturn:
        raise ArgumentTypeError(
            f"{self} is no size, and no number while recording",
            expected="sizes, which are integers",
            found=f"{self}",
            remedy=f"write {self.numerator} // {self.denominator} for int({self}), or math.floor({self}), "
            f"math.ceil({self}), torch.sym_int({self}): Python's int() cannot give a dynamic size",
        )

    __int__ = __trunc__ = __index__ = __float__ = __bool__ = __round__ = __neg__ = _refused
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refused
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refused
    __lt__ = __le__ = __gt__ = __ge__ = _refused

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"

    __repr__ = __str__


def sym_int(a: Any) -> SizeLike:
    """torch's `int` for sizes: of a quotient of sizes what is before the point, which may be a Dim."""
    if isinstance(a, Dim):
        return a
    if isinstance(a, Quotient):
        if bounds_of(a.numerator)[0] < 0 or bounds_of(a.denominator)[0] < 0:
            a._refused()
        return math.floor(a)
    return int(a)


_item = tuple.__getitem__


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
        found = _item(self, index)
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
    sizes = [digits(s) if isinstance(s, int) else str(s) for s in shape]
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
                        expected=f"values for {', '.join(sorted(size._symbols))}",
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
                    raise division_by_zero(size, env)
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
    if (isinstance(a, int) and isinstance(b, int) and b) or bounds_of(b)[0] < 0:
        return -(-a // b)
    return Dim._quotient(a + b - 1, b)


def maximum(*sizes: SizeLike) -> SizeLike:
    """The largest of the sizes."""
    return _extremum("max", sizes)


def minimum(*sizes: SizeLike) -> SizeLike:
    """The smallest of the sizes."""
    return _extremum("min", sizes)


def _extremum(kind: str, sizes: tuple[SizeLike, ...]) -> SizeLike:
    if not sizes:
        raise ArgumentTypeError(
            f"{kind}imum of nothing", expected="at least one size", found="none", remedy="give one or more sizes"
        )
    if not any(isinstance(size, Dim) for size in sizes):
        return max(sizes) if kind == "max" else min(sizes)
    check_same_ranges(sizes)
    return Dim._extremum(kind, sizes)


def product(sizes: Iterable[SizeLike]) -> SizeLike:
    """The product of the sizes; 1 of none."""
    return prod(reversed(tuple(sizes)))  # as a rule the dynamic sizes come first, and ints multiply faster


def divide_exactly(a: SizeLike, b: SizeLike) -> SizeLike | None:
    """The size `q` with `a == q * b` at every value, or None where there is none or none is found."""
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return None if a % b else a // b
    check_same_ranges((a, b))
    quotient = exact_quotient(terms_of(a), terms_of(b))
    return None if quotient is None else Dim._of(quotient)


def solve(expression: SizeLike, value: int) -> tuple[str, int] | None:
    """The name and value of the one symbol in `a*s + c`, where that has the given value.

    None if the expression has another form, or no integer solves it. The symbol's range is not looked at.
    """
    terms = dict(terms_of(expression))
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return None
    ((monomial, factor),) = terms.items()
    if len(monomial) != 1 or monomial[0].kind != "symbol":
        return None
    result, left = divmod((value - constant) * monomial[0].unit, factor)
    return None if left else (monomial[0].key, result)


def equal_at_profile(a: SizeLike, b: SizeLike) -> bool:
    """Whether both have the same value with all symbols at min, at opt and at max."""
    if a == b:
        return True
    symbols = _symbols_of((a, b))
    profile = [{name: atom.args[at] for name, atom in symbols.items()} for at in (1, 2, 3)]
    return all(evaluate(a, env) == evaluate(b, env) for env in profile)


def symbols_of(sizes: Iterable[SizeLike]) -> tuple[Dim, ...]:
    """The symbols that any of the sizes depends on, by name.

    Raises:
        ShapeError: one name with two ranges.
    """
    return _dims(_symbols_of(sizes))


def check_same_ranges(sizes: Iterable[SizeLike]) -> None:
    """Raises ShapeError if one name has two ranges among the sizes."""
    _symbols_of(sizes)


def _symbols_of(sizes: Iterable[SizeLike]) -> Symbols:
    found: Symbols = {}
    for size in sizes:
        if isinstance(size, Dim):
            _check_names(found, size._symbols)
            found |= size._symbols
    return found


def _check_names(one: Symbols, two: Symbols) -> None:
    if one is two:
        return
    for name, atom in two.items():
        known = one.get(name, atom)
        if known is not atom and known != atom:
            raise ShapeError(
                f"the name {name} stands for two ranges",
                expected=repr(Dim(*known.args)),
                found=repr(Dim(*atom.args)),
                remedy="make one Dim and use it in both places, or give one of them another name",
            )


def _dims(symbols: Symbols) -> tuple[Dim, ...]:
    return tuple(Dim(*symbols[name].args) for name in sorted(symbols))
