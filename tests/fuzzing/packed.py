"""Many programs in one network, so that compiling and executing them takes seconds and not minutes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import trtnet
from trtnet.errors import TrtnetError

from .compare import TORCHS, Difference, Verdict, check, compare, message, module
from .generate import programs
from .program import Hazard, Program, run


@dataclass
class Pack:
    """Programs as one graph. Names of inputs and outputs begin with `pN_`, of weights with `pN.`."""

    programs: Sequence[Program]
    graph: Any = None

    def __post_init__(self) -> None:
        if self.graph is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.graph = trtnet.record(self.module(), **self.specs())

    def module(self) -> Any:
        programs = self.programs

        class Packed(trtnet.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for i, program in enumerate(programs):
                    self.add_module(f"p{i}", module(program, [], f"p{i}_"))

            def forward(self, **inputs: Any) -> dict[str, Any]:
                found: dict[str, Any] = {}
                for i, program in enumerate(programs):
                    found.update(self._modules[f"p{i}"](**{n: inputs[f"p{i}_{n}"] for n in program.inputs}))
                return found

        return Packed()

    def specs(self) -> dict[str, trtnet.Input]:
        batches = {least: trtnet.Dim(f"batch{least}", least, 3, 8) for least in (1, 2)}
        return {
            f"p{i}_{n}": trtnet.Input(
                tuple((batches[p.least] if p.dynamic else p.sizes[0]) if s is None else s for s in a.shape), a.dtype
            )
            for i, p in enumerate(self.programs)
            for n, a in p.inputs.items()
        }

    def inputs(self, batch: int) -> dict[str, np.ndarray]:
        """For every program; those of fixed size at their own."""
        return {
            f"p{i}_{n}": a
            for i, p in enumerate(self.programs)
            for n, a in p.draw_inputs(batch if p.dynamic else p.sizes[0]).items()
        }

    def weights(self, generation: int) -> dict[str, np.ndarray]:
        return {f"p{i}.{n}": a for i, p in enumerate(self.programs) for n, a in p.draw_weights(generation).items()}

    def compare(
        self, outputs: Mapping[str, Any], batch: int, generation: int = 0, noise: float = 1e-5
    ) -> list[tuple[Program, Verdict]]:
        """What differs from torch, program by program."""
        found = []
        for i, program in enumerate(self.programs):
            size = batch if program.dynamic else program.sizes[0]
            start = f"p{i}_"
            mine = {n.removeprefix(start).removesuffix("_"): v for n, v in outputs.items() if n.startswith(start)}
            verdict = Verdict(program)
            found.append((program, verdict))
            try:
                theirs = run(program, size, generation)
            except (Hazard, *TORCHS):  # of these inputs torch's answer is unspecified
                continue
            verdict.difference = compare(program, theirs, mine, size, generation, verdict, noise=noise)
        return found


@dataclass
class Outcome:
    """Attributes:
    built: packs, and what `build` made of each.
    refused: programs that the provider does not take, with the message.
    failed: programs that it should have taken, with what was raised.
    """

    built: list[tuple[Pack, Any]] = field(default_factory=list)
    refused: list[tuple[Program, str]] = field(default_factory=list)
    failed: list[tuple[Program, str]] = field(default_factory=list)


def build_all(
    programs: Sequence[Program], build: Callable[[Any], Any], each: int, outcome: Outcome | None = None
) -> Outcome:
    """Build the programs, `each` to a network; where that fails, halve until it is known which program it is."""
    outcome = outcome or Outcome()
    for start in range(0, len(programs), each):
        part = programs[start : start + each]
        try:
            pack = Pack(part)
            outcome.built.append((pack, build(pack.graph)))
        except Exception as error:  # which program it was is found below, and what was raised is kept
            if len(part) > 1:
                build_all(part, build, (len(part) + 1) // 2, outcome)
            elif isinstance(error, TrtnetError) and not isinstance(
                error, (trtnet.errors.BuildError, trtnet.errors.EngineError)
            ):
                outcome.refused.append((part[0], message(error)))
            else:
                outcome.failed.append((part[0], f"{type(error).__name__}: {error}"))
    return outcome


def agreeing(seed: int, count: int, lines: int = 30, dtypes: Set[str] | None = None) -> list[Program]:
    """`count` programs of which the reference gives torch's numbers, without their refused lines; those in whose
    networks there are no floating-point tensors but of `dtypes`, where that is given."""
    found: list[Program] = []
    first = 0
    while len(found) < count:
        for _, program in programs(seed, first, 20):
            verdict = check(program.with_steps(program.steps[:lines]))
            graph = verdict.graph
            settled = graph is not None and not graph.data_dims and not graph.frozen  # so that a pack can be refitted
            if dtypes is not None and settled and not floating(graph) <= dtypes:
                continue
            if verdict.difference is None and settled and verdict.program.moving and not verdict.skipped:
                found.append(replace(verdict.program, returned=verdict.program.moving))
        first += 20
    return found[:count]


def floating(graph: Any) -> set[str]:
    """The floating-point types in a network."""
    tensors = [*graph.inputs.values(), *(tensor for layer in graph.layers for tensor in layer.outputs)]
    return {str(tensor.dtype) for tensor in tensors if tensor.dtype.is_floating_point}


__all__ = ["Difference", "Outcome", "Pack", "agreeing", "build_all"]
