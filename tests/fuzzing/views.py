"""Programs that find out whether a result shares memory with an argument: one is written to, both are returned."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch

from . import functions
from .generate import Card, Generator, Skip, ranks
from .program import Program, Step

SOURCES = ("recorded", "made", "parameter")
LAYOUTS = ("plain", "transposed", "sliced", "stepped", "expanded", "sized one")
WRITES = ("fill_", "setitem", "add_")


def names() -> list[str]:
    """Functions of one tensor and more that give tensors: all of the table that do not write in place themselves."""
    return sorted(
        n
        for n in functions.offered()
        if (n in functions.TABLE and not n.endswith("_")) or n in functions.OPERATORS or n.startswith("getitem")
    )


def prepared(generator: Generator, rank: int | str, family: str, source: str, layout: str) -> str:
    """A tensor of the given layout in memory."""
    low, high = ranks(rank)
    wanted = generator.random.randint(max(low, 1 if high else 0), max(low, min(high, 4)))
    if source == "parameter":
        return generator.weight(tuple(generator.size() for _ in range(wanted)), family)
    if source == "made":
        shape = tuple(generator.size() for _ in range(wanted))
        x = generator.expression(
            generator.constant(shape, {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[family])
        )[0]
    else:
        x = generator.shaped(family, wanted)
        x = generator.expression(f"{x}.clone()")[0]
    return laid_out(generator, x, layout, wanted)


def laid_out(generator: Generator, x: str, layout: str, rank: int) -> str:
    if layout == "transposed" and rank > 1:
        x = generator.expression(f"{x}.transpose({generator.dim(x)}, {generator.dim(x)})")[0]
    elif layout == "sliced" and rank:
        x = generator.expression(f"{x}[1:]" if generator.chance(0.5) else f"{x}[..., :1]")[0]
    elif layout == "stepped" and rank:
        x = generator.expression(f"{x}[..., ::2]")[0]
    elif layout == "expanded" and rank:
        x = generator.expression(f"{x}[..., :1]")[0]
        sizes = ", ".join(["-1"] * (rank - 1) + [generator.pick("2", "3")])
        x = generator.expression(f"{x}.expand({sizes})")[0]
    elif layout == "sized one" and rank:
        x = generator.expression(f"{x}.narrow({generator.dim(x)}, 0, 1)")[0]
    return x


def written(generator: Generator, x: str) -> None:
    """A write that every element of `x` shows."""
    family = generator.family(x)
    kind = generator.pick(*WRITES)
    value = {"float": "37.5", "int": "7", "bool": "True"}[family]
    if kind == "setitem" and generator.rank(x):
        text = f"{x}[{generator.pick('0', '...', ':', '-1')}] = {value}"
    elif kind == "add_" and family != "bool":
        text = f"{x}.add_({value})"
    else:
        text = f"{x}.logical_not_()" if family == "bool" else f"{x}.fill_({value})"
    generator.statement(text, x, fills="=" in text or "fill_" in text)


def program(seed: int, card: Card, layout: str, backwards: bool, dynamic: bool) -> Program:
    """source; result = f(source); write to the one; return both. Raises Skip where torch does not take it."""
    name, source, family = card
    generator = Generator(seed, (), 99, dynamic)
    generator.inputs = {n: replace(a, values="grid") for n, a in generator.inputs.items() if n == "x0"}
    generator.origins = {"x0": "recorded"}
    generator.rebuild()
    entry = functions.entry(name)
    x = prepared(generator, entry.rank if entry else "any", family, source, layout)
    low, high = ranks(entry.rank if entry else "any")
    if not low <= generator.rank(x) <= high:
        raise Skip
    before = len(generator.steps)
    if name in functions.OPERATORS:
        generator.operator(name, x, card)
    elif "[" in name:
        generator.indexed(name, x, card)
    else:
        generator.call(name, x, [card])
    results = [t for step in generator.steps[before:] for t in step.targets if t not in generator.wild]
    if not results:
        raise Skip
    written(generator, x if backwards else generator.random.choice(results))
    return generator.program()


def asked_for_identity(program: Program) -> Program | None:
    """The program, with an output in place of its write that says which results are an argument itself."""
    *made, call, _ = program.steps
    arguments = [n for n in sorted(call.reads) if "." not in n and n not in ("T", "F", "s")]
    pairs = [(result, n) for result in call.targets for n in arguments if result != n]
    if not pairs:
        return None
    text = " + ".join(f"{2**i} * int({result} is {n})" for i, (result, n) in enumerate(pairs))
    names = frozenset(n for pair in pairs for n in pair)
    asking = Step(f"v99 = T.zeros_like(x0) + ({text})", ("v99",), names | {"x0"})
    return replace(program.with_steps((*made, call, asking)), returned=("v99",))


def programs(seed: int, each: int, names: list[str]) -> Iterator[tuple[Card, bool, Program]]:
    """`each` programs for every function, origin and family; half of them dynamic, many written backwards."""
    chooser = random.Random(seed)
    for name in names:
        entry = functions.entry(name)
        for source in SOURCES:
            for family in entry.families if entry else ("float", "int", "bool"):
                for _ in range(each):
                    backwards, dynamic = source != "parameter" and chooser.random() < 0.4, chooser.random() < 0.5
                    for _ in range(6):
                        layout = chooser.choice(LAYOUTS)
                        try:
                            with torch.no_grad(), warnings.catch_warnings():
                                warnings.simplefilter("ignore")
                                card = (name, source, family)
                                made = program(chooser.getrandbits(40), card, layout, backwards, dynamic)
                        except Skip:
                            continue
                        yield card, backwards, made
                        break
