"""Makes programs up: each line is tried with torch at every batch size before it is taken."""

from __future__ import annotations

import functools
import math
import random
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from . import functions
from .program import GUARDS, Array, Program, Step, condition, execute, torch_namespace

Shape = tuple[Any, ...]
Card = tuple[str, str, str]
DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


class Skip(Exception):
    """This line cannot be made here."""


def family_of(dtype: torch.dtype) -> str:
    return "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "int"


class Operands:
    """The texts of arguments for the functions of the table."""

    random: random.Random
    current: str
    guards: list[str]
    names: list[dict[str, Any]]
    sizes: tuple[int, ...]
    program_least: int

    # --- what there is ------------------------------------------------------------------------------------------------

    def value(self, x: str, which: int = 0) -> Any:
        names = self.names[which]
        return getattr(names["s"], x[2:]) if x.startswith("s.") else names[x]

    def shape(self, x: str) -> Shape:
        shapes = [self.value(x, i).shape for i in range(len(self.names))]
        return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes))

    def rank(self, x: str) -> int:
        return self.value(x).dim()

    def family(self, x: str) -> str:
        return family_of(self.value(x).dtype)

    def is_float(self, x: str) -> bool:
        return self.family(x) == "float"

    def tensors(self) -> list[str]:
        raise NotImplementedError

    def weight(self, shape: Shape, family: str, values: str = "normal") -> str:
        raise NotImplementedError

    # --- choices ------------------------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def maybe(self, *options: str) -> list[str]:
        return [] if self.chance(0.35) else [self.pick(*options)]

    def seldom(self, *options: str) -> list[str]:
        return [self.pick(*options)] if self.chance(0.1) else []

    def skip(self) -> Any:
        raise Skip

    def size(self) -> int:
        return self.random.choice((1, 2, 2, 3, 3, 4))

    def some_sizes(self, most: int) -> Shape:
        return tuple(self.size() for _ in range(self.random.randint(0, most)))

    # --- numbers and dimensions ---------------------------------------------------------------------------------------

    def number(self, x: str) -> str:
        family = self.family(x)
        if family == "bool":
            return self.pick("True", "False")
        if family == "int" and not self.chance(0.15):
            return self.pick("0", "1", "2", "3", "-1", "-2")
        return self.pick("0.5", "2.0", "-1.5", "1", "3", "0", "-0.25")

    def dim(self, x: str) -> str:
        rank = max(self.rank(x), 1)
        return str(self.random.randint(-rank, rank - 1))

    def dims(self, x: str) -> str:
        rank = self.rank(x)
        if not rank or self.chance(0.4):
            return self.dim(x)
        chosen = self.random.sample(range(rank), self.random.randint(1, rank))
        return f"({', '.join(str(d - rank * self.chance(0.3)) for d in chosen)},)"

    def static_dim(self, x: str) -> str:
        static = [i for i, s in enumerate(self.shape(x)) if s is not None and s <= 5]
        if not static:
            raise Skip
        dim = self.random.choice(static)
        return str(dim - self.rank(x) * self.chance(0.3))

    def within(self, x: str, dim: int) -> int:
        size = self.shape(x)[dim] if self.rank(x) else self.skip()
        if size == 0:
            raise Skip
        least = size or min(self.program_least, 2)
        return self.random.randint(-least, least - 1)

    def extent(self, x: str, i: int) -> str:
        """The text of a size."""
        size = self.shape(x)[i]
        return str(size) if size is not None else self.pick(f"{x}.shape[{i}]", f"{x}.size({i})")

    def extent_of_batch(self) -> str:
        moving = [(x, i) for x in self.tensors() for i, s in enumerate(self.shape(x)) if s is None]
        if not moving or self.chance(0.5):
            return "4"
        x, i = self.random.choice(moving)
        return self.extent(x, i)

    def sizes_text(self, x: str) -> str:
        return "".join(f"{self.extent(x, i)}, " for i in range(self.rank(x)))

    def made_shape(self) -> str:
        sizes = [str(self.size()) for _ in range(self.random.randint(1, 3))]
        if self.chance(0.25):
            sizes[0] = self.extent_of_batch()
        return ", ".join(sizes)

    def dtype_option(self) -> str:
        return self.pick("", "", ", dtype=T.int64", ", dtype=T.bool", ", dtype=T.float32")

    def least_numel(self, x: str) -> int:
        return min(self.value(x, i).numel() for i in range(len(self.names)))

    # --- other tensors ------------------------------------------------------------------------------------------------

    def literal(self, shape: Shape | None = None, family: str | None = None) -> str:
        """A nested list."""
        shape = self.some_sizes(2) if shape is None else shape
        family = family or self.pick("float", "float", "int", "bool")
        if math.prod(shape) > 36:
            raise Skip

        def nested(sizes: Shape) -> str:
            if sizes:
                return f"[{', '.join(nested(sizes[1:]) for _ in range(sizes[0]))}]"
            if family == "bool":
                return self.pick("True", "False")
            return str(self.random.randint(-3, 3) if family == "int" else self.random.randint(-8, 8) / 4)

        return nested(shape)

    def made(self, shape: Shape) -> str:
        return f"T.tensor({self.literal(shape, 'float')})"

    def table(self, rows: int) -> str:
        """A matrix to look rows up in."""
        return self.weight((rows, self.size()), "float")

    def constant(self, shape: Shape, dtype: torch.dtype) -> str:
        """A tensor that is made in place."""
        if None in shape:
            raise Skip
        option = "" if dtype in DTYPES.values() else f", dtype=T.{str(dtype).split('.')[1]}"
        if math.prod(shape) > 36 or 0 in shape:
            return f"T.full({shape}, {self.pick('0.5', '1.0', '-1.0')}).to(T.{str(dtype).split('.')[1]})"
        return f"T.tensor({self.literal(shape, family_of(dtype))}{option})"

    def of(self, shape: Shape, family: str | None = None, positive: bool = False) -> str:
        """A tensor of exactly this shape; of the dtype of the first one unless a family is given."""
        first = self.value(self.current).dtype
        dtype = first if family in (None, family_of(first)) else DTYPES[family or "float"]
        if family is None and not first.is_floating_point:
            dtype = torch.float32
        mine = self.shape(self.current)
        shape = tuple((mine[0] if len(mine) == 2 else 2) if s == "n" else s for s in shape)
        if positive:
            return self.weight(shape, "float", "positive")
        there = [x for x in self.tensors() if self.value(x).dtype == dtype and self.shape(x) == shape]
        if there and (self.chance(0.5) or None in shape):
            return self.random.choice(there)
        if None in shape:
            raise Skip
        if dtype in DTYPES.values() and self.chance(0.7):
            return self.weight(shape, family_of(dtype))
        return self.constant(shape, dtype)

    def fits(self, small: Shape, large: Shape) -> bool:
        return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1]))

    def other(self, x: str, numbers: bool = True, mixed: bool = False) -> str:
        """What meets `x`: a number, or a tensor that broadcasts with it."""
        if numbers and self.chance(0.25):
            return self.number(x)
        if self.chance(0.05):
            return x
        shape, dtype = self.shape(x), self.value(x).dtype
        kind = self.random.random()
        if kind < 0.6:
            anything = self.chance(0.5 if mixed else 0.12)
            there = [
                y
                for y in self.tensors()
                if (anything or self.value(y).dtype == dtype)
                and (self.fits(self.shape(y), shape) or (not mixed and self.fits(shape, self.shape(y))))
            ]
            if there:
                return self.random.choice(there)
        part = shape[self.random.randint(0, len(shape)) :]
        part = tuple(1 if s is None or self.chance(0.15) else s for s in part)
        if kind < 0.8 and dtype in DTYPES.values():
            return self.weight(part, family_of(dtype))
        if not part and self.chance(0.5):
            return f"T.tensor({self.number(x)})"
        return self.constant(part, dtype)

    def same(self, x: str) -> str:
        there = [
            y for y in self.tensors() if self.value(y).dtype == self.value(x).dtype and self.shape(y) == self.shape(x)
        ]
        if len(there) > 1 and self.chance(0.7):
            return self.random.choice(there)
        return f"~{x}" if self.family(x) == "bool" else self.pick(f"{x} * 2", f"{x} + 1", f"-{x}")

    def alike(self, x: str) -> list[str]:
        return [self.same(x)] if self.chance(0.8) else []

    def any_tensor(self, x: str) -> str:
        return self.random.choice(self.tensors())

    def vector(self, x: str) -> str:
        there = [y for y in self.tensors() if self.rank(y) == 1 and self.value(y).dtype == self.value(x).dtype]
        if there and self.chance(0.6):
            return self.random.choice(there)
        return self.of((self.size(),), self.family(x))

    def mask(self, x: str) -> str:
        there = [y for y in self.tensors() if self.family(y) == "bool" and self.fits(self.shape(y), self.shape(x))]
        if there and self.chance(0.6):
            return self.random.choice(there)
        return x if self.family(x) == "bool" else f"{x} {self.pick('>', '<', '>=')} {self.pick('0', '1')}"

    def larger(self, x: str) -> str:
        there = [y for y in self.tensors() if self.fits(self.shape(x), self.shape(y))]
        if len(there) > 1 and self.chance(0.7):
            return self.random.choice(there)
        return f"T.ones({self.size()}, {self.sizes_text(x)})"

    def with_numel(self, x: str) -> str:
        sizes = [self.value(x, i).numel() for i in range(len(self.names))]
        there = [y for y in self.tensors() if [self.value(y, i).numel() for i in range(len(self.names))] == sizes]
        return self.random.choice(there)

    # --- shapes -------------------------------------------------------------------------------------------------------

    def factors(self, number: int) -> list[int]:
        """Sizes whose product is this."""
        found = []
        for _ in range(self.random.randint(0, 2)):
            divisors = [d for d in range(1, 7) if number % d == 0 and number]
            if divisors:
                found.append(self.random.choice(divisors))
                number //= found[-1]
        return [*found, number]

    def new_shape(self, x: str) -> str:
        shape = self.shape(x)
        moving = [i for i, s in enumerate(shape) if s is None]
        if len(moving) > 1 or self.chance(0.1):
            return self.pick("-1", f"({self.sizes_text(x)})", f"(-1, {self.extent(x, -1)})" if shape else "(1, -1)")
        rest = self.factors(math.prod(s for s in shape if s is not None))
        if not moving:
            texts = [str(f) for f in rest]
            if self.chance(0.4) and math.prod(rest):
                texts[self.random.randrange(len(texts))] = "-1"
            return f"({', '.join(texts)},)"
        place = self.random.choice((0, 0, len(rest)))
        rest[place:place] = [self.pick("-1", self.extent(x, moving[0]))]  # type: ignore[list-item]
        return f"({', '.join(map(str, rest))},)"

    def unflattened(self, x: str) -> list[str]:
        dim = self.random.randrange(self.rank(x))
        size = self.shape(x)[dim]
        if size is None:
            return [str(dim), self.pick("(-1, 1)", "(1, -1)")]
        parts = self.factors(size)
        return [str(dim - self.rank(x) * self.chance(0.3)), f"({', '.join(map(str, parts))},)"]

    def expansion(self, x: str) -> str:
        texts = []
        for i, size in enumerate(self.shape(x)):
            texts.append(str(self.size()) if size == 1 else self.pick("-1", self.extent(x, i)))
        if self.chance(0.3) or not texts:
            texts.insert(0, self.pick("2", "3", self.extent_of_batch()))
        return ", ".join(texts)

    def narrowed(self, x: str) -> list[str]:
        dim = self.random.randrange(self.rank(x))
        size = self.shape(x)[dim]
        least = min(size if size is not None else self.program_least, 4)
        start = self.random.randint(0, least)
        return [
            str(dim),
            str(start),
            str(self.random.randint(0 if self.chance(0.05) else min(1, least - start), least - start)),
        ]

    def strided(self, x: str) -> list[str]:
        """Sizes and strides within the tensor."""
        left, sizes, strides = self.least_numel(x) - 1, [], []
        if left < 0:
            raise Skip
        for _ in range(self.random.randint(1, 3)):
            step, size = self.random.randint(0, 3), self.random.randint(1, 3)
            size = min(size, left // step + 1) if step else size
            left -= (size - 1) * step
            sizes.append(size)
            strides.append(step)
        return [f"{tuple(sizes)}", f"{tuple(strides)}"]

    def placed(self, x: str) -> list[str]:
        """An index over all elements, and as many others."""
        least = self.least_numel(x) or self.skip()
        places = self.random.sample(range(least), min(self.size(), least))
        places = [place - least * (self.shape(x).count(None) == 0 and self.chance(0.3)) for place in places]
        return [f"T.tensor({places})", self.of((len(places),), self.family(x))]

    def split(self, x: str, always: bool = False) -> list[str]:
        dim = self.static_dim(x)
        size = self.shape(x)[int(dim)]
        if size and (always or self.chance(0.4)):
            cut = self.random.randint(0, size)
            return [f"[{', '.join(str(p) for p in (cut, size - cut) if p)}]", dim]
        return [self.pick("1", "2", "3"), dim]

    def order(self, x: str) -> list[str]:
        order = self.random.sample(range(self.rank(x)), self.rank(x))
        return [f"({', '.join(str(d - self.rank(x) * self.chance(0.2)) for d in order)},)"]

    def joined(self, x: str) -> list[str]:
        dim = int(self.dim(x))
        self.joining_dim = dim
        kind = self.random.random()
        if kind < 0.1:
            return [x]
        if kind < 0.4 and self.shape(x)[dim] != 0:
            other = f"{x}.narrow({dim}, 0, 1)"
        elif kind < 0.5:
            other = f"{x}.float()"
        else:
            other = self.same(x)
        return [x, other][:: self.random.choice((1, -1))]

    def padding(self, x: str) -> list[str]:
        count = self.random.randint(1, min(self.rank(x), 3))
        mode = self.pick("constant", "constant", "replicate", "reflect", "circular")
        choices = (0, 1, 2, -1) if mode == "constant" else (0, 1, 1)
        if mode != "constant":
            count = min(count, max(self.rank(x) - 2, 1))
        amounts = [str(self.random.choice(choices)) for _ in range(2 * count)]
        text = f"({', '.join(amounts)})"
        if mode == "constant":
            return [text, *self.maybe(f"value={self.number(x)}", "'constant', 1")]
        return [text, f"mode='{mode}'"]

    def resized(self, x: str) -> list[str]:
        to = self.pick("scale_factor=2", "size=2", "size=3", "scale_factor=0.5", "size=" + self.extent(x, -1))
        four = self.rank(x) == 4
        mode = self.pick("nearest", "area", "nearest-exact", *(("bilinear", "bicubic") if four else ("linear",)))
        corners = ["align_corners=True"] if mode in ("bilinear", "linear", "bicubic") and self.chance(0.4) else []
        args = [to, f"mode='{mode}'", *corners]
        if mode not in (
            "nearest",
            "area",
            "nearest-exact",
        ):  # of one size torch copies on a GPU; on a CPU 0 * inf is NaN
            same = f"F.interpolate({', '.join([x, *args])}).shape == {x}.shape"
            self.guards.append(f"(not {same} or without_infinities({x}))")
        return args

    def bounds(self, x: str) -> list[str]:
        if self.chance(0.25):
            return [self.other(x, numbers=False), *([self.other(x, numbers=False)] if self.chance(0.5) else [])]
        return [self.pick("-1, 1", "min=0", "max=1", "-0.5, 2.0", "0, 2", "None, 1", "2, -2")]

    def extreme(self, x: str) -> list[str]:
        kind = self.random.random()
        if kind < 0.3:
            return []
        if kind < 0.5:
            return [self.other(x, numbers=False)]
        dim = self.dim(x)
        self.guards.append(f"distinct({x}, {dim})")
        return [dim, *self.maybe("keepdim=True")]

    # --- indices ------------------------------------------------------------------------------------------------------

    def indices(self, size: int, negative: bool = False, unique: bool = False) -> str:
        if size == 0:
            raise Skip
        there = [y for y in self.tensors() if self.value(y).dtype == torch.int64 and self.rank(y) == 1]
        if there and self.chance(0.3):
            return self.random.choice(there)
        low = -size if negative and self.chance(0.5) else 0
        if unique:
            numbers = self.random.sample(range(size), self.random.randint(1, min(size, 3)))
        else:
            numbers = [self.random.randint(low, size - 1) for _ in range(self.random.randint(1, 4))]
        return f"T.tensor({numbers})"

    def gathered(self, x: str) -> list[str]:
        dim = self.random.randrange(self.rank(x))
        least = [min(self.value(x, i).shape[d] for i in range(len(self.names))) for d in range(self.rank(x))]
        if 0 in least:
            raise Skip
        shape = [s if self.chance(0.6) else self.random.randint(1, s) for s in least]
        shape[dim] = self.random.randint(1, 3)

        def nested(sizes: Sequence[int]) -> Any:
            return [nested(sizes[1:]) for _ in range(sizes[0])] if sizes else self.random.randrange(least[dim])

        return [str(dim), f"T.tensor({nested(shape)})"]

    def scattered(self, x: str, numbers: bool = True) -> list[str]:
        dim, index = self.gathered(x)
        shape = tuple(eval(index, {"T": torch}).shape)
        number = numbers and self.chance(0.5)
        return [dim, index, self.number(x) if number else self.constant(shape, self.value(x).dtype)]

    def slices(self, x: str, dim: int | None = None, unique: bool = False) -> list[str]:
        """A dimension, indices of it, and as many slices."""
        d = int(self.dim(x)) % self.rank(x) if dim is None else dim
        least = min(self.value(x, i).shape[d] for i in range(len(self.names)))
        if not least:
            raise Skip
        count = self.random.randint(1, least)
        numbers = self.random.sample(range(least), count)
        if not unique:
            numbers = [self.random.randrange(least) for _ in range(count)]
        shape = (*self.shape(x)[:d], count, *self.shape(x)[d + 1 :])
        return [str(d), f"T.tensor({numbers})", self.constant(shape, self.value(x).dtype)]

    def key(self, x: str, kind: str, write: bool) -> str:
        """What stands in x[...]."""
        rank, shape = self.rank(x), self.shape(x)
        if not rank and kind not in ("none", "ellipsis", "run mask"):
            raise Skip
        if kind == "run mask":
            return f"{x} > 0" if self.family(x) != "bool" else x
        if kind == "mask":
            size = shape[0]
            return f"T.tensor({[self.chance(0.6) for _ in range(size)]})" if size else self.skip()
        parts: list[str] = [self.plain(x, d) for d in range(self.random.randint(0, max(rank - 1, 0)))]
        one = self.random.randrange(len(parts) + 1) if parts else 0
        size = shape[one] if one < rank else None
        least = self.program_least if size is None else size
        if kind in ("int", "negative", "list", "indices") and not least:
            raise Skip
        special = {
            "int": lambda: str(self.random.randrange(least)),
            "negative": lambda: str(-1 - self.random.randrange(least)),
            "slice": lambda: self.pick("1:", ":1", ":-1", "-1:", "0:2", ":", "1:2", "2:2"),
            "step": lambda: self.pick("::2", "1::2", ":3:2", "::3"),
            "none": lambda: "None",
            "ellipsis": lambda: "...",
            "list": lambda: str(self.random.sample(range(least), self.random.randint(1, min(least, 3)))),
            "indices": lambda: self.indices(least, negative=True, unique=write),
            "run indices": self.running,
            "mixed": lambda: f"{self.indices(least, unique=write)}, None",
        }[kind]()
        parts.insert(one, special)
        if kind in ("list", "indices") and len(parts) == 1 and rank > 1 and self.chance(0.3):
            parts = [":", *parts] if shape[1] == size else parts
        return ", ".join(parts[: rank + 1])

    def running(self) -> str:
        there = [y for y in self.tensors() if self.value(y).dtype == torch.int64 and self.rank(y) in (0, 1)]
        if there:
            return self.random.choice(there)
        floats = [y for y in self.tensors() if self.family(y) == "float" and self.origins[y] == "recorded"]
        return f"({self.random.choice(floats)}.flatten()[:1] > 0).long()" if floats else self.skip()

    def plain(self, x: str, dim: int) -> str:
        size = self.shape(x)[dim]
        if size and self.chance(0.3):
            return str(self.random.randint(-size, size - 1))
        return self.pick(":", ":", "1:", ":-1", "::2", ":2", "-2:")

    # --- whole calls --------------------------------------------------------------------------------------------------

    def einsum(self, x: str) -> str:
        shape = self.shape(x)
        if len(shape) == 1:
            return self.pick(f"'i->', {x}", f"'i->i', {x}", f"'i,j->ij', {x}, {self.vector(x)}", f"'i,i->i', {x}, {x}")
        if len(shape) == 2:
            more = self.of((shape[1], self.size()), self.family(x))
            return self.pick(
                f"'ij->ji', {x}", f"'ij->j', {x}", f"'ij,jk->ik', {x}, {more}", f"'ii->i', {x}", f"'...j->...', {x}",
                f"'ij,ij->i', {x}, {x}",
            )  # fmt: skip
        return self.pick(f"'bij->bji', {x}", f"'bij->bj', {x}", f"'bij,bkj->bik', {x}, {x}", f"'b...->...b', {x}")

    def grid(self, x: str) -> str:
        return f"{x}.new_zeros({self.extent(x, 0)}, 2, 2, 2) + T.tensor({self.literal((2,), 'float')})"

    def attention(self, x: str) -> list[str]:
        return [self.same(x), self.same(x), *self.maybe("is_causal=True", "scale=0.5")]

    def heads(self, x: str) -> list[str]:
        width = self.shape(x)[2]
        if not width:
            raise Skip
        weights = [self.weight((3 * width, width), "float"), self.weight((3 * width,), "float")]
        last = [self.weight((width, width), "float"), self.weight((width,), "float")]
        return [x, x, str(width), "1", *weights, "None, None, False, 0.0", *last, "training=False"]


class Generator(Operands):
    """One program.

    Args:
        seed: of everything random in it.
        cards: (function, origin, family): the calls that it should hold, where they can be made.
        length: how many lines.
        dynamic: whether a dimension of its inputs is a Dim.
    """

    def __init__(self, seed: int, cards: Iterable[Card] = (), length: int = 12, dynamic: bool = False) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.cards = list(cards)
        self.length = length
        self.program_least = self.random.choice((1, 2)) if dynamic else 99
        self.sizes = ((3, 5, 1) if self.program_least == 1 else (3, 5, 2)) if dynamic else (self.random.choice((2, 3)),)
        if not dynamic:
            self.program_least = self.sizes[0]
        self.inputs: dict[str, Array] = {}
        self.weights: dict[str, Array] = {}
        self.steps: list[Step] = []
        self.frozen = False
        self.wild: set[str] = set()
        self.weighted: set[str] = set()
        self.origins: dict[str, str] = {}
        self.count = 0
        self.current = ""
        self.guards = []
        self.tried: list[tuple[Card, bool]] = []
        self.begin(dynamic)

    def begin(self, dynamic: bool) -> None:
        values = self.random.choices(("grid", "normal", "special"), (0.55, 0.35, 0.1))[0]
        for i in range(self.random.choice((1, 1, 2, 3))):
            rank = self.random.choice((1, 2, 2, 3, 3, 4))
            shape: list[Any] = [self.size() for _ in range(rank)]
            if dynamic and (i == 0 or self.chance(0.7)):
                shape[0 if self.chance(0.85) else self.random.randrange(rank)] = None
            dtype = (
                "float32" if i == 0 else self.pick("float32", "float32", "int64", "int32", "bool", "float16", "uint8")
            )
            self.inputs[f"x{i}"] = Array(tuple(shape), dtype, values)
            self.origins[f"x{i}"] = "recorded"
        self.rebuild()

    def program(self) -> Program:
        frozen = self.frozen or any(re.search(r"\b(equal|allclose)\(", step.text) for step in self.steps)
        return Program(self.seed, self.inputs, self.weights, tuple(self.steps), self.sizes, self.program_least, frozen)

    def rebuild(self) -> None:
        """Run all lines anew."""
        program = self.program()
        self.names = [torch_namespace(program, size) for size in self.sizes]
        with torch.no_grad():
            for names in self.names:
                for step in self.steps:
                    execute(step, names)

    def tensors(self) -> list[str]:
        return [x for x in self.origins if x not in self.wild]

    def weight(self, shape: Shape, family: str, values: str = "normal") -> str:
        """A parameter (or, of integers and bools, a buffer) of this shape."""
        if None in shape:
            raise Skip
        dtype = str(DTYPES[family]).split(".")[1]
        for name, array in self.weights.items():
            if array.shape == shape and array.dtype == dtype and array.values == values and self.chance(0.6):
                return f"s.{name}"
        name = f"p{len(self.weights)}"
        trained = family == "float" and self.chance(0.8)
        array = Array(shape, dtype, values, trained)
        self.weights[name] = array
        for names in self.names:
            setattr(names["s"], name, torch.from_numpy(array.draw((self.seed, 100 + int(name[1:]), 0), 0)))
        self.origins[f"s.{name}"] = "parameter"
        return f"s.{name}"

    # --- lines --------------------------------------------------------------------------------------------------------

    def reads(self, text: str) -> frozenset[str]:
        return frozenset(re.findall(r"\b(?:s\.p\d+|[xv]\d+)\b", text))

    def expression(self, text: str, cards: Iterable[Card] = (), exact: bool = True, guard: str | None = None,
                   wild: bool = False) -> list[str]:  # fmt: skip
        """Take a line `names = text`; returns the names. Raises Skip where torch does not take it."""
        results = self.evaluate(text, guard)
        first = results[0]
        if isinstance(first, (bool, int, float)):
            text = f"T.tensor([1.0, 2.0]) * ({text})"
            results = self.evaluate(text, guard)
            first = results[0]
        if isinstance(first, torch.Tensor):
            parts = [[r] for r in results]
        else:
            parts = [list(r) for r in results]
            if not parts[0] or len({len(p) for p in parts}) > 1:
                raise Skip
            if not isinstance(first, (tuple, list)) or len(parts[0]) > 4:
                i = self.random.randrange(len(parts[0]))
                text, parts = f"{self.bracketed(text)}[{i}]", [[p[i]] for p in parts]
                first = parts[0][0]
        for values in zip(*parts):
            self.check(values, wild)
        targets = [f"v{self.count + i}" for i in range(len(parts[0]))]
        self.count += len(targets)
        single = isinstance(first, torch.Tensor)
        line = f"{targets[0] if single else ', '.join(targets) + ',' * (len(targets) == 1)} = {text}"
        reads = self.reads(text)
        for names, values in zip(self.names, parts):
            names.update(zip(targets, values))
        self.steps.append(Step(line, tuple(targets), reads, tuple(cards), exact, guard, sums=added(cards)))
        origin = self.origin(reads)
        for target in targets:
            self.origins[target] = origin
            if wild or reads & self.wild:
                self.wild.add(target)
            if self.has_weights(reads):
                self.weighted.add(target)
        return targets

    def origin(self, reads: Iterable[str]) -> str:
        found = {self.origins[name] for name in reads if name in self.origins}
        return "recorded" if found else "made"

    def bracketed(self, text: str) -> str:
        return text if text.startswith("[") or re.fullmatch(r"[\w.]+\(.*\)", text) else f"({text})"

    def evaluate(self, text: str, guard: str | None) -> list[Any]:
        code = condition(text)
        found = []
        try:
            for names in self.names:
                if guard is not None and not eval(condition(guard), {**GUARDS, **names}):
                    raise Skip
                found.append(eval(code, names))
        except Skip:
            raise
        except Exception as error:  # whatever torch raises: the line is not taken
            raise Skip from error
        return found

    def check(self, values: Sequence[Any], wild: bool = False) -> None:
        """Whether a result is worth having at every batch size."""
        first = values[0]
        if not all(isinstance(v, torch.Tensor) for v in values):
            raise Skip
        if first.dtype.is_complex or (first.dtype == torch.float64 and self.chance(0.97)):
            raise Skip
        for value in values:
            if value.dtype != first.dtype or value.dim() != first.dim() or value.numel() > 2000 or value.dim() > 6:
                raise Skip
            if 0 in value.shape and not wild and self.chance(0.9):
                raise Skip
            if value.is_floating_point() and value.numel():
                finite = torch.isfinite(value)
                if not bool(finite.all()) and self.chance(0.8):
                    raise Skip
                if bool((value[finite].abs() > 1e4).any()):
                    raise Skip
            elif value.dtype != torch.bool and value.numel() and bool((value.long().abs() > 10**6).any()):
                raise Skip

    def statement(self, text: str, changes: str, cards: Iterable[Card] = (), exact: bool = True,
                  guard: str | None = None, part: str = "", fills: bool = False) -> None:  # fmt: skip
        """Take a line that writes in place: into `part` of what it changes, `fills` with one number."""
        if changes in self.wild or changes.startswith("s."):
            raise Skip
        if not fills and any(overlaps(p) for p in self.evaluate(part or changes, None)):
            raise Skip
        if any(self.meets(changes, name) for name in self.reads(text)):
            raise Skip
        step = Step(text, (), self.reads(text), tuple(cards), exact, guard, changes, added(cards))
        done = 0
        try:
            for names in self.names:
                execute(step, names)
                done += 1
            self.check([self.value(changes, i) for i in range(len(self.names))])
        except Exception as error:  # whatever torch raises: the line is not taken
            if done:
                self.rebuild()
            raise Skip from error
        self.steps.append(step)
        if self.has_weights(step.reads):
            self.weighted |= {x for x in self.origins if self.shares(changes, x)}
        if self.origins[changes] == "made" and self.origin(step.reads - {changes}) == "recorded":
            self.origins[changes] = "recorded"

    def has_weights(self, reads: Iterable[str]) -> bool:
        """Whether a line that reads these gives what depends on a parameter or buffer."""
        return any(name.startswith("s.") or name in self.weighted for name in reads)

    def shares(self, one: str, other: str) -> bool:
        """Whether two tensors are of one memory."""
        a, b = self.value(one), self.value(other)
        return bool(a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr())

    def meets(self, changes: str, name: str) -> bool:
        """Whether an operand lies in the memory that is written, and is not the same tensor: the order is open then."""
        for i in range(len(self.names)):
            a, b = self.value(changes, i), self.value(name, i)
            if a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr():
                continue
            if (a.data_ptr(), a.shape, a.stride()) != (b.data_ptr(), b.shape, b.stride()):
                return True
        return False

    # --- the first tensor of a call -----------------------------------------------------------------------------------

    def main(self, rank: int | str, origin: str, family: str) -> str:
        """A tensor that a card asks for, made where there is none."""
        low, high = ranks(rank)
        there = [
            x
            for x in self.tensors()
            if self.is_a(x, origin) and self.family(x) == family and low <= self.rank(x) <= high
        ]
        if there and (origin == "parameter" or self.chance(0.85)):
            return self.random.choice(there)
        wanted = self.random.randint(low, min(high, max(low, 3)))
        shape = tuple(self.size() for _ in range(wanted))
        if origin == "parameter":
            return self.weight(shape, family)
        if origin in ("made", "made view"):
            x = self.expression(self.constant(shape, DTYPES[family]))[0]
        else:
            x = self.shaped(family, wanted)
        x = self.viewed(x) if "view" in origin else x
        if not low <= self.rank(x) <= high:
            raise Skip
        return x

    def is_a(self, x: str, origin: str) -> bool:
        if "view" in origin:
            recorded = "made" if "made" in origin else "recorded"
            return self.origins[x] == recorded and self.value(x)._base is not None
        return self.origins[x] == origin

    def shaped(self, family: str, rank: int) -> str:
        """A recorded tensor of this family and rank, from one that is there."""
        recorded = [x for x in self.tensors() if self.origins[x] == "recorded"]
        of_family = [x for x in recorded if self.family(x) == family]
        x = self.random.choice(of_family or recorded)
        if self.family(x) != family:
            text = {
                "float": f"{x}.float()",
                "bool": f"{x} > 0",
                "int": f"{x}.to(T.{self.pick('int64', 'int64', 'int32')})",
            }[family]
            x = self.expression(text, guard=f"integral({x})" if family == "int" else None)[0]
        while self.rank(x) < rank:
            moves = [f"{x}.unsqueeze({self.random.randint(0, self.rank(x))})", f"T.stack([{x}, {x}], -1)"]
            if family != "bool":
                moves.append(f"{x}.unsqueeze(-1) * T.tensor({self.literal((2,), family)})")
            x = self.expression(self.pick(*moves))[0]
        while self.rank(x) > rank:
            x = self.expression(self.pick(f"{x}[{self.pick('0', '-1')}]", f"{x}.flatten({self.rank(x) - 2})"))[0]
        return x

    def viewed(self, x: str) -> str:
        name = self.pick(*VIEWING)
        low, high = ranks(functions.TABLE[name].rank)
        if not low <= self.rank(x) <= high:
            raise Skip
        return self.call(name, x, (), views=True)[0]

    # --- calls --------------------------------------------------------------------------------------------------------

    def call(self, name: str, x: str, cards: Iterable[Card], views: bool = False) -> list[str]:
        """A line that calls a function of the table on `x`; returns what it makes."""
        entry = functions.entry(name)
        if entry is None:
            raise Skip
        self.current, self.guards = x, []
        args = entry.args(self, x) if entry.args is not None else []
        form = self.pick(*self.possible(name, args))
        text = self.spelled(name, form, x, args)
        if "empty" in name:
            text += f".fill_({self.number(x)})"
        guards = [*self.guards, *([self.guard(entry.guard, x, args)] if entry.guard else [])]
        guard = " and ".join(guards) or None
        if name.endswith("_") or form == "inplace":
            self.statement(text, x, cards, functions.is_exact(name), guard, fills=name in ("fill_", "zero_"))
            return [x]
        if form == "T." and self.chance(0.04) and functions.takes_out(name):
            text = self.with_out(text)
        return self.expression(text, cards, functions.is_exact(name) or views, guard, entry.wild)

    def with_out(self, text: str) -> str:
        """A call that writes its result into a tensor made for it: one of its shape, or an empty one."""
        made = self.evaluate(text, None)
        if not isinstance(made[0], torch.Tensor):
            return text
        dtype = str(made[0].dtype).removeprefix("torch.")
        out = self.pick(f"T.zeros_like({text})", f"T.empty(0, dtype=T.{dtype})", f"T.ones_like({text})[...]")
        return f"{text[:-1]}, out={out})"

    def possible(self, name: str, args: list[str] | str) -> list[str]:
        found = functions.forms(name)
        if isinstance(args, str):
            found = [f for f in found if f in ("T.", "F.")]
        if not found:
            raise Skip
        return found

    def spelled(self, name: str, form: str, x: str, args: list[str] | str) -> str:
        if form == "p":
            return f"{x}.{name}"
        if isinstance(args, str):
            return f"{form}{name}({args})"
        if form == ".":
            return f"{x}.{name}({', '.join(args)})"
        if form == "inplace":
            return f"F.{name}({', '.join([x, *args, 'inplace=True'])})"
        return f"{form}{name}({', '.join([x, *args])})"

    def guard(self, text: str, x: str, args: list[str] | str) -> str:
        arguments = [args] if isinstance(args, str) else args
        dim = re.match(r"-?\d+", arguments[0]) if arguments else None
        return text.format(*arguments, x=x, dim=dim and dim[0], dim_or_last=dim[0] if dim else -1)

    def operator(self, name: str, x: str, card: Card) -> None:
        self.current = x
        template = functions.OPERATORS[name]
        values = {"x": x}
        if "{y}" in template:
            values["y"] = self.other(x)
        if "{n}" in template:
            values["n"] = self.number(x)
        if "{e}" in template:
            values["e"] = self.pick("2", "3", "0.5", "-1", "0", "2.0") if self.chance(0.7) else self.other(x)
        if "{m}" in template:
            left = name == "__matmul__"
            if not self.rank(x):
                raise Skip
            inner = self.shape(x)[-1] if left else self.shape(x)[-2 if self.rank(x) > 1 else -1]
            values["m"] = self.of((inner, self.size()) if left else (self.size(), inner), self.family(x))
        self.expression(template.format(**values), [card], functions.is_exact(name))

    def augmented(self, name: str, x: str, card: Card) -> None:
        self.current = x
        other = self.pick("2", "3", "0.5") if name == "__ipow__" else self.other(x)
        self.statement(f"{x} {functions.AUGMENTED[name]} {other}", x, [card], functions.is_exact(name))

    def read(self, name: str, x: str, card: Card) -> None:
        """A number of a tensor's, used in arithmetic."""
        if self.origins[x] == "recorded":
            raise Skip
        y = self.main("any", "recorded", "float")
        is_frozen = self.origins[x] == "parameter"
        computed = x if not is_frozen or self.chance(0.5) else self.pick(*functions.COMPUTED).format(x=x)
        number = functions.NUMBERS[name].format(x=computed)
        self.expression(f"{y} * ({number})", [card], True, f"integral({x})")
        self.frozen = self.frozen or is_frozen or x in self.weighted

    def indexed(self, name: str, x: str, card: Card) -> None:
        """x[key], and x[key] = value."""
        self.current = x
        kind = name[8:-1]
        write = name.startswith("setitem")
        key = self.key(x, kind, write)
        wild = kind == "run mask" and not write
        if not write:
            self.expression(f"{x}[{key}]", [card], True, wild=wild)
            return
        guard = None
        index = re.search(r"T\.tensor\(\[.*?\]\)|\b[xv]\d+\b", key)
        if kind in ("indices", "run indices", "mixed") and index and ".flatten()[:1]" not in key:
            guard = f"different({index[0]}, {x}.shape[{key[: index.start()].count(',')}]) and apart({x}, {index[0]})"
        text, value, fills = f"{x}[{key}]", None, False
        if kind == "run mask" or self.chance(0.4):
            value, fills = self.number(x), True
        elif self.chance(0.2):
            operator = self.pick("+=", "*=", "-=")
            self.statement(f"{text} {operator} {self.number(x)}", x, [card], True, guard, part=text)
            return
        if value is None:
            part = self.evaluate(text, None)
            shapes = [tuple(p.shape) for p in part]
            shape = tuple(s[0] if len(set(s)) == 1 else None for s in zip(*shapes))
            value = self.written(shape, part[0].dtype)
            guard = " and ".join([*([guard] if guard else []), f"apart({x}, {value})", f"holds({x}, {value})"])
        self.statement(f"{text} = {value}", x, [card], True, guard, text, fills)

    def written(self, shape: Shape, dtype: torch.dtype) -> str:
        mixed = self.chance(0.25)
        there = [
            y for y in self.tensors() if (mixed or self.value(y).dtype == dtype) and self.fits(self.shape(y), shape)
        ]
        if there and self.chance(0.75):
            return self.random.choice(there)
        return self.constant(tuple(1 if s is None else s for s in shape), dtype)

    def play(self, card: Card) -> None:
        """One call that a card asks for. Raises Skip where it cannot be made."""
        name, origin, family = card
        if name in functions.FRESH:
            self.expression(functions.FRESH[name](self), [card])
            return
        entry = functions.entry(name)
        x = self.main(entry.rank if entry else "any", origin, family)
        if name in functions.OPERATORS:
            self.operator(name, x, card)
        elif name in functions.AUGMENTED:
            self.augmented(name, x, card)
        elif name in functions.NUMBERS:
            self.read(name, x, card)
        elif "[" in name:
            self.indexed(name, x, card)
        else:
            made = self.call(name, x, [card])
            if made[0] in self.wild and self.chance(0.5):
                self.expression(f"{made[0]}.float().sum()")

    def glue(self) -> Card:
        """A call of the kinds that faults live in: views, writes, arithmetic."""
        kind = self.random.random()
        family = self.random.choices(("float", "int", "bool"), (0.75, 0.15, 0.1))[0]
        origin = self.random.choices(("recorded", "made", "parameter"), (0.7, 0.2, 0.1))[0]
        if kind < 0.35:
            return self.pick(*VIEWING, *INDEX_READS), origin, family
        if kind < 0.7:
            origin = self.pick("recorded", "view", "view", "made", "made view")
            return self.pick(*WRITING), origin, family
        return self.pick(*ARITHMETIC), origin, family

    def generate(self) -> Program:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._generate()

    def _generate(self) -> Program:
        cards, failures = list(self.cards), 0
        while len(self.steps) < self.length and failures < 60:
            dealt = bool(cards) and self.chance(0.6)
            card = cards.pop() if dealt else self.glue()
            for _ in range(4 if dealt else 1):
                try:
                    with torch.no_grad():
                        self.play(card)
                    break
                except Skip:
                    failures += 1
            else:
                self.tried.append((card, False))
                continue
            self.tried.append((card, True))
        return self.program()


VIEWING = (
    "reshape", "view", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "expand", "narrow", "select",
    "unbind", "split", "chunk", "diagonal", "unfold", "movedim", "t", "unflatten", "T", "expand_as",
    "detach", "contiguous",
)  # fmt: skip
INDEX_READS = tuple(f"getitem[{k}]" for k in functions.KEYS)
WRITING = (
    *(f"setitem[{k}]" for k in functions.KEYS), "setitem[slice]", "setitem[int]",
    "add_", "mul_", "fill_", "zero_", "copy_", "masked_fill_", "relu_", "clamp_", "sub_", "neg_", "abs_", "scatter_",
    "__iadd__", "__imul__", "__isub__", "squeeze_", "transpose_", "unsqueeze_", "round_",
)  # fmt: skip
ARITHMETIC = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__rsub__", "__neg__", "__gt__", "__lt__", "__matmul__", "sum",
    "mean", "amax", "relu", "where", "cat", "stack", "float", "to", "maximum", "clone", "abs",
)  # fmt: skip


def overlaps(value: torch.Tensor) -> bool:
    """Whether two elements may lie at one place in memory: torch leaves open what a write to them gives."""
    reach = 0
    for stride, size in sorted((st, si) for st, si in zip(value.stride(), value.shape) if si > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def added(cards: Iterable[Card]) -> bool:
    return any(name.removesuffix("_") in functions.SUMS or name in functions.SUMS for name, _, _ in cards)


def ranks(rank: int | str) -> tuple[int, int]:
    """The least and the greatest rank that an entry allows."""
    if isinstance(rank, int):
        return rank, rank
    if rank == "any":
        return 0, 5
    if rank.endswith("+"):
        return int(rank[:-1]), 5
    if rank.startswith("-"):
        return 0, int(rank[1:])
    if "-" in rank:
        low, high = rank.split("-")
        return int(low), int(high)
    return int(rank), int(rank)


@functools.lru_cache(maxsize=4)
def deck(seed: int) -> list[Card]:
    """Every function with every origin and family of its first tensor, shuffled; each function once, then each again,
    so that few programs call them all."""
    shuffler = random.Random(seed)
    hands = []
    for name in functions.offered():
        hand = cards_of(name)
        shuffler.shuffle(hand)
        hands.append(sorted(hand, key=lambda card: card[2] == "bool" or (card[2] == "int" and shuffler.random() < 0.5)))
    cards: list[Card] = []
    for turn in range(max(map(len, hands))):
        dealt = [hand[turn] for hand in hands if turn < len(hand)]
        shuffler.shuffle(dealt)
        cards += dealt
    return cards


def cards_of(name: str) -> list[Card]:
    if name in functions.FRESH:
        return [(name, "made", "float")] * 2
    entry = functions.entry(name)
    writes = (name.endswith("_") and not name.startswith("__")) or name in functions.AUGMENTED or "setitem" in name
    origins: Sequence[str] = ("recorded", "made", "view", "made view") if writes else ("recorded", "made", "parameter")
    if name in functions.NUMBERS:
        origins = ("made", "parameter")
    families = entry.families if entry else ("float", "int", "bool")
    return [(name, origin, family) for origin in origins for family in families]


def programs(seed: int, first: int, count: int) -> Iterable[tuple[Generator, Program]]:
    """The programs `first` to `first + count` of a seed: the cards are dealt around, so that all come up."""
    hand, cards = 9, deck(seed)
    for number in range(first, first + count):
        start = number * hand % len(cards)
        dealt = [*cards[start : start + hand], *cards[: max(0, start + hand - len(cards))]]
        chooser = random.Random(seed * 1_000_003 + number)
        generator = Generator(
            seed * 1_000_003 + number,
            dealt,
            chooser.randint(5, 30) if number % 3 else chooser.randint(5, 12),
            chooser.random() < 0.5,
        )
        yield generator, generator.generate()
