"""A random program as data: inputs, parameters and lines of Python that torch and trtnet both understand."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import torch


class Hazard(Exception):
    """torch's own answer is unspecified here (a tie, an overflow of a cast), so there is nothing to compare with."""


@dataclass(frozen=True)
class Array:
    """An input, parameter or buffer: its shape (None is the batch), dtype, and how its values are drawn."""

    shape: tuple[int | None, ...]
    dtype: str
    values: str = "normal"
    trained: bool = False

    def draw(self, seed: Any, batch: int) -> np.ndarray:
        """The same values for the same seed."""
        return _drawn(self, seed, batch).copy()

    def _draw(self, seed: Any, batch: int) -> np.ndarray:
        shape = tuple(batch if s is None else s for s in self.shape)
        generator = np.random.default_rng(seed)
        if self.dtype == "bool":
            return generator.integers(0, 2, shape).astype(bool)
        if "int" in self.dtype:
            return generator.integers(0 if self.dtype == "uint8" or self.values == "index" else -3, 4, shape).astype(
                self.dtype
            )
        if self.values == "normal":
            found = generator.normal(size=shape)
        elif self.values == "positive":
            found = np.abs(generator.normal(size=shape)) + 0.5
        else:
            found = generator.integers(-6, 7, shape) / 2
        if self.values == "special":
            special = generator.choice([np.nan, np.inf, -np.inf, -0.0, 0.0], shape)
            found = np.where(generator.random(shape) < 0.25, special, found)
        return np.asarray(found).astype(self.dtype)


@functools.lru_cache(maxsize=256)
def _drawn(array: Array, seed: Any, batch: int) -> np.ndarray:
    return array._draw(seed, batch)


@dataclass(frozen=True)
class Step:
    """One line.

    Attributes:
        text: the line.
        targets: the names that it makes.
        reads: the names that it takes.
        cards: (function, origin, family) of the calls in it, for the table of what was covered.
        exact: whether its floating-point results carry no rounding of their own.
        guard: an expression that must hold where the line runs; else torch's answer is unspecified.
        changes: the name that is written in place.
        sums: whether it adds up, so that what cancels leaves errors of the size of what was added.
    """

    text: str
    targets: tuple[str, ...]
    reads: frozenset[str]
    cards: tuple[tuple[str, str, str], ...] = ()
    exact: bool = True
    guard: str | None = None
    changes: str | None = None
    sums: bool = False


@functools.lru_cache(maxsize=20000)
def compiled(text: str) -> CodeType:
    return compile(text, "<program>", "exec")


@functools.lru_cache(maxsize=5000)
def condition(text: str) -> CodeType:
    return compile(text, "<guard>", "eval")


@dataclass(frozen=True)
class Program:
    """Attributes:
    inputs, weights: by name; weights are called `s.NAME` in the lines.
    steps: the lines.
    sizes: the batch sizes that it runs at; the first is the one that it was written for. One of them: static.
    least: the smallest batch, where dynamic.
    frozen: whether a line may read a weight as a number, or what is computed of it, which freezes it.
    returned: the names that are returned; None for all.
    """

    seed: int
    inputs: Mapping[str, Array]
    weights: Mapping[str, Array]
    steps: tuple[Step, ...]
    sizes: tuple[int, ...]
    least: int = 2
    frozen: bool = False
    returned: tuple[str, ...] | None = None
    cloned: bool = False

    @property
    def dynamic(self) -> bool:
        return len(self.sizes) > 1

    def draw_inputs(self, batch: int) -> dict[str, np.ndarray]:
        return {n: a.draw((self.seed, int(n[1:])), batch) for n, a in self.inputs.items()}

    def draw_weights(self, generation: int = 0) -> dict[str, np.ndarray]:
        return {n: a.draw((self.seed, 100 + int(n[1:]), generation), 0) for n, a in self.weights.items()}

    def without(self, drop: Iterable[int]) -> Program:
        """Without these steps, and those that need what they made."""
        gone, kept, lost = set(drop), [], set()
        for i, step in enumerate(self.steps):
            if i in gone or step.reads & lost:
                lost |= set(step.targets)
            else:
                kept.append(step)
        return self.with_steps(kept)

    def with_steps(self, steps: Iterable[Step]) -> Program:
        """With other steps; inputs and weights that none of them names go."""
        steps = tuple(steps)
        read = {name for step in steps for name in step.reads}
        inputs = {n: a for n, a in self.inputs.items() if n in read}
        if self.dynamic and not any(None in a.shape for a in inputs.values()):
            inputs |= {n: a for n, a in self.inputs.items() if None in a.shape and n not in inputs}
        if not inputs:
            inputs = dict(list(self.inputs.items())[:1])
        weights = {n: a for n, a in self.weights.items() if f"s.{n}" in read}
        made = {t for step in steps for t in step.targets} | set(inputs)
        returned = None if self.returned is None else tuple(n for n in self.returned if n in made)
        return replace(self, inputs=inputs, weights=weights, steps=steps, returned=returned)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What is returned: every name, for lost writes hide in tensors that nobody returns."""
        if self.returned is not None:
            return self.returned
        made = dict.fromkeys(t for step in self.steps for t in step.targets if t.startswith("v"))
        return (*self.inputs, *made)

    @property
    def moving(self) -> tuple[str, ...]:
        """The outputs that an input decides, as far as names show it; a network is made for these."""
        found = set(self.inputs)
        for step in self.steps:
            if step.reads & found:
                found |= {*step.targets, *([step.changes] if step.changes else [])}
        return tuple(n for n in self.outputs if n in found)

    def expression(self, name: str) -> str:
        """As it is returned. An input cannot be an output of a network: its copy is."""
        return f"{name}.clone()" if name in self.inputs or self.cloned else name


def integral(*values: torch.Tensor) -> bool:
    """Whether a cast to an integer is defined: finite, and well inside every type's range."""
    return all(v.numel() == 0 or bool((v.abs() < 100).all()) for v in values)


def unsigned(*values: torch.Tensor) -> bool:
    """Whether a cast to uint8 is defined."""
    return all(v.numel() == 0 or bool(((v >= 0) & (v < 200)).all()) for v in values)


def without_infinities(value: torch.Tensor) -> bool:
    """Whether torch's mean, where it gives it with the spread, is defined: with an infinity it depends on its place."""
    return not bool(torch.isinf(value).any())


def scored(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether no score of attention is NaN or minus infinity.

    Where all of a row's are NaN, torch's kernels differ from each other: its flash attention, for four dimensions on
    the CPU, takes the row for one that is masked and gives 0, its composition of products and softmax, for any other,
    NaN.
    Where all are minus infinity without a mask, both give 0 and trtnet NaN, as its docstring says.
    """
    scores = query @ key.transpose(-1, -2)
    return not bool((torch.isnan(scores) | torch.isneginf(scores)).any())


def distinct(value: torch.Tensor, dim: int | None = None) -> bool:
    """Whether nothing ties along a dimension (None: over all): torch leaves open which of two is first."""
    if not value.numel():
        return True
    value = value.detach().double()
    value = value.reshape(-1) if dim is None or value.dim() == 0 else value.movedim(dim, -1)
    if not bool(torch.isfinite(value).all()):
        return False
    ordered = value.sort(-1).values
    return bool((ordered.diff(dim=-1) > 1e-4).all())


def different(index: torch.Tensor, size: int, dim: int = -1) -> bool:
    """Whether every index is its own element, in range: writes to one twice have no order."""
    index = torch.as_tensor(index)
    if index.dtype == torch.bool or not index.numel():
        return True
    index = index % size
    return bool((index.sort(dim).values.diff(dim=dim) > 0).all()) if index.dim() else True


def apart(a: torch.Tensor, b: Any) -> bool:
    """Whether what is written shares no memory with where it is written to."""
    return not isinstance(b, torch.Tensor) or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr()


def holds(target: torch.Tensor, *values: Any) -> bool:
    """Whether writing the values into the target converts them to its type in a way that is defined."""
    if target.is_floating_point() or target.dtype == torch.bool:
        return True
    tensors = [torch.as_tensor(v) for v in values]
    floats = [v for v in tensors if v.is_floating_point()]
    return unsigned(*floats) if target.dtype == torch.uint8 else integral(*floats)


GUARDS = {
    "holds": holds,
    "integral": integral,
    "unsigned": unsigned,
    "without_infinities": without_infinities,
    "scored": scored,
    "distinct": distinct,
    "different": different,
    "apart": apart,
}


def namespace(library: Any, functional: Any, values: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    return {"T": library, "F": functional, "s": SimpleNamespace(**weights), **values}


def torch_namespace(program: Program, batch: int, generation: int = 0) -> dict[str, Any]:
    inputs = {n: torch.from_numpy(a) for n, a in program.draw_inputs(batch).items()}
    weights = {n: torch.from_numpy(a) for n, a in program.draw_weights(generation).items()}
    return namespace(torch, torch.nn.functional, inputs, weights)


def execute(step: Step, names: dict[str, Any]) -> None:
    """Run a line with torch. Raises Hazard where its answer is unspecified."""
    if step.guard is not None and not eval(condition(step.guard), {**GUARDS, **names}):
        raise Hazard(step.guard)
    exec(compiled(step.text), names)


def run(program: Program, batch: int, generation: int = 0, noise: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """torch's answers, by name. `noise` disturbs each rounded result by that much, to find what is ill-conditioned;
    where it is negative, the other way."""
    names = torch_namespace(program, batch, generation)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for step in program.steps:
            if noise and not step.exact:
                disturbed(step, names, noise, generator)
            else:
                execute(step, names)
        return {name: names[name].detach().clone() for name in program.outputs if is_tensor(names.get(name))}


def disturbed(step: Step, names: dict[str, Any], noise: float, generator: torch.Generator) -> None:
    """Run a line whose results are rounded with what it reads, and then what it makes, a little off."""
    read = {n: names[n] for n in step.reads if n in names and n != step.changes}
    weights = names["s"]
    for name, value in read.items():
        if isinstance(value, torch.Tensor):
            names[name] = value.clone()
            disturb(names[name], noise / 10, generator)
    names["s"] = SimpleNamespace(**{n: value.clone() for n, value in vars(weights).items()})
    for name, value in vars(names["s"]).items():
        if f"s.{name}" in step.reads:
            disturb(value, noise / 10, generator)
    try:
        execute(step, names)
    finally:
        names["s"] = weights
        names.update({n: value for n, value in read.items() if n not in step.targets})
    added = [v for n, v in {**read, **{f"s.{n}": v for n, v in vars(weights).items()}}.items() if n in step.reads]
    floor = max((rms(v) for v in added), default=0.0) if step.sums else 0.0
    for name in step.targets or (step.changes,):
        disturb(names.get(name or ""), noise, generator, floor)


def rms(value: Any) -> float:
    """Of the finite elements; 0 where there are none."""
    if not isinstance(value, torch.Tensor) or value.dtype is torch.bool:
        return 0.0
    finite = value[torch.isfinite(value)].double()
    return float(finite.square().mean().sqrt()) if finite.numel() else 0.0


def disturb(value: Any, noise: float, generator: torch.Generator, floor: float = 0.0) -> None:
    """Move each element at random, by `noise` of itself, of a tenth of the RMS, and of half of `floor`; or to 0 what
    may be nothing but the rounding of a sum."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.numel():
        return
    noise = math.copysign(max(abs(noise), 2 * torch.finfo(value.dtype).eps), noise)
    random = torch.rand(value.shape, generator=generator, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        size = value.double().abs()
        moved = value.double() + noise * random * (size + max(0.1 * rms(value), 0.5 * floor))
        try:
            value.copy_(moved.masked_fill((size <= 100 * abs(noise) * floor) & (random > 0), 0).to(value.dtype))
        except RuntimeError:
            return  # expanded: its elements share memory


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


# --- as text ----------------------------------------------------------------------------------------------------------


def literal(array: np.ndarray) -> str:
    return re.sub(r"\b(nan|inf)\b", r'float("\1")', repr(array.tolist()))


@dataclass
class Printed:
    """A program as a file of Python that runs by itself and shows both answers."""

    program: Program
    why: str = ""
    generation: int = 0
    batch: int | None = None
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        p = self.program
        batch = self.batch or p.sizes[0]
        weights, inputs = p.draw_weights(), p.draw_inputs(batch)
        self.lines = [*(f"# {line}" for line in self.why.splitlines()), "import numpy as np, torch, trtnet", ""]
        self.lines += [f"weights = {{{', '.join(self.array(n, a) for n, a in weights.items())}}}"]
        if self.generation:
            new = p.draw_weights(self.generation)
            self.lines += [f"new = {{{', '.join(self.array(n, a) for n, a in new.items())}}}"]
        self.lines += [f"inputs = {{{', '.join(self.array(n, a) for n, a in inputs.items())}}}", "", ""]
        self.lines += [*self.module(), "", "", *self.main(batch)]
        return "\n".join(self.lines) + "\n"

    def array(self, name: str, array: np.ndarray) -> str:
        shape = f".reshape({array.shape})" if 0 in array.shape else ""
        return f'"{name}": np.array({literal(array)}, "{array.dtype}"){shape}'

    def module(self) -> Iterator[str]:
        p = self.program
        yield "def module(T, F, NN, weights):"
        yield "    class M(NN.Module):"
        yield "        def __init__(s):"
        yield "            super().__init__()"
        for name, array in p.weights.items():
            if array.trained:
                yield f'            s.{name} = NN.Parameter(T.tensor(weights["{name}"]))'
            else:
                yield f'            s.register_buffer("{name}", T.tensor(weights["{name}"]))'
        yield ""
        yield f"        def forward(s, {', '.join(p.inputs)}):"
        for step in p.steps:
            yield f"            {step.text}" + (f"  # holds: {step.guard}" if step.guard else "")
        yield f"            return {{{', '.join(f'{chr(34)}{n}_{chr(34)}: {p.expression(n)}' for n in p.outputs)}}}"
        yield ""
        yield "    return M().eval()"

    def main(self, batch: int) -> Iterator[str]:
        p = self.program
        yield "with torch.no_grad():"
        yield "    theirs = module(torch, torch.nn.functional, torch.nn, weights)"
        if self.generation:
            yield "    theirs.load_state_dict({n: torch.tensor(a) for n, a in new.items()})"
        yield "    want = theirs(*(torch.tensor(a) for a in inputs.values()))"
        if p.dynamic:
            yield f'batch = trtnet.Dim("batch", min={p.least}, opt={max(p.sizes[0], p.least)}, max=8)'
        else:
            yield f"batch = {batch}"
        shapes = {
            n: "(" + "".join(f"{'batch' if d is None else d}, " for d in a.shape) + ")" for n, a in p.inputs.items()
        }
        specs = ", ".join(f'{n}=trtnet.Input({shapes[n]}, "{a.dtype}")' for n, a in p.inputs.items())
        yield f"graph = trtnet.record(module(trtnet, trtnet.functional, trtnet.nn, weights), {specs})"
        yield "engine = trtnet.reference(graph)"
        if self.generation:
            yield "engine.refit(new)"
        yield "got = engine(**inputs)"
        yield "for name in want:"
        yield '    print(name, "torch:", want[name], "trtnet:", got[name], got[name].dtype)'
