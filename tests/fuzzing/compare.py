"""Runs a program with trtnet and holds the answers against torch's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

import trtnet
from trtnet.errors import TrtnetError

from .program import Hazard, Printed, Program, compiled, run

TORCHS = (RuntimeError, IndexError, ValueError, TypeError)  # what torch raises for values that it cannot take
SMALL = {"float16": 2e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Difference:
    """What two answers differ in.

    Attributes:
        kind: "dtype", "shape", "values", "raised" (while recording), "failed" (when run), "refit".
        text: what was found.
        name: of the output.
        batch: the size that it was run at.
        generation: of the weights' values: 0 those recorded with, 1 those given later.
    """

    kind: str
    text: str
    name: str = ""
    batch: int = 0
    generation: int = 0


@dataclass
class Verdict:
    """Attributes:
    program: what was compared: without the lines that were refused.
    refused: first lines of messages, with the line of the program.
    difference: the first disagreement, or None.
    compared: how many outputs were compared.
    skipped: runs whose answer torch leaves open.
    unstable: outputs that differ no more than torch's own answer does when its roundings are disturbed.
    """

    program: Program
    refused: list[tuple[str, str]] = field(default_factory=list)
    difference: Difference | None = None
    compared: int = 0
    skipped: int = 0
    unstable: int = 0
    graph: Any = None

    def printed(self) -> str:
        d = self.difference
        why = f"{d.kind}: {d.text}" if d else "no disagreement"
        return str(Printed(self.program, why, d.generation if d else 0, d.batch if d and d.batch else None))


class Raised(Exception):
    """Recording raised something that is no TrtnetError."""

    def __init__(self, step: int, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.step, self.error = step, error


def module(program: Program, refused: list[tuple[int, TrtnetError]], prefix: str = "") -> Any:
    """The program as a trtnet module. Lines that are refused are left out, with what needs them."""

    class Recorded(trtnet.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in program.draw_weights().items():
                if program.weights[name].trained:
                    setattr(self, name, trtnet.nn.Parameter(trtnet.tensor(array)))
                else:
                    self.register_buffer(name, trtnet.tensor(array))

        def forward(self, x0: Any = None, x1: Any = None, x2: Any = None) -> dict[str, Any]:
            given = {"x0": x0, "x1": x1, "x2": x2}
            names = {"T": trtnet, "F": trtnet.functional, "s": self, **{n: given[n] for n in program.inputs}}
            return {prefix + n + "_": value for n, value in perform(program, names, refused).items()}

    return Recorded()


def perform(program: Program, names: dict[str, Any], refused: list[tuple[int, TrtnetError]]) -> dict[str, Any]:
    lost: set[str] = set()
    for i, step in enumerate(program.steps):
        if step.reads & lost:
            lost |= set(step.targets)
            continue
        try:
            exec(compiled(step.text), names)
        except TrtnetError as error:
            refused.append((i, error))
            lost |= set(step.targets)
        except Exception as error:  # anything else is what this looks for
            raise Raised(i, error) from error
    found = {}
    for name in program.outputs:
        if name in lost or not isinstance(names.get(name), trtnet.Tensor):
            continue
        try:
            found[name] = names[name].clone() if program.expression(name) != name else names[name]
        except TrtnetError as error:
            refused.append((-1, error))
        except Exception as error:  # anything else is what this looks for
            raise Raised(-1, error) from error
    return found


def specs(program: Program) -> dict[str, trtnet.Input]:
    batch: Any = program.sizes[0]
    if program.dynamic:
        batch = trtnet.Dim("batch", program.least, program.sizes[0], 8)
    return {
        n: trtnet.Input(tuple(batch if s is None else s for s in a.shape), a.dtype) for n, a in program.inputs.items()
    }


def message(error: TrtnetError) -> str:
    """The first line, with numbers and names of tensors made alike."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"'[xv]\d+'", "'v'", re.sub(r"(?<![\w.])-?\d+(\.\d+)?(e-?\d+)?", "#", first))[:160]


def recorded(program: Program, verdict: Verdict) -> Any:
    """The graph of the program, and the program without what was refused. None where nothing is left."""
    for _ in range(8):
        if not program.outputs or not program.steps:
            return None
        refused: list[tuple[int, TrtnetError]] = []
        error: TrtnetError | None = None
        graph = None
        verdict.program = program
        try:
            graph = trtnet.record(module(program, refused), **specs(program))
        except TrtnetError as caught:
            error = caught
        except Raised:  # torch may not take the lines that are left either: they are tried alone
            if not any(i >= 0 for i, _ in refused):
                raise
        steps = [i for i, _ in refused if i >= 0]
        for i, refusal in refused:
            verdict.refused.append((message(refusal), program.steps[i].text if i >= 0 else "return"))
        if not refused and error is None:
            return graph
        if steps:
            program = program.without(steps)
            continue
        if error is not None and not program.cloned and not refused:
            program = replace(program, cloned=True)  # an output that is an input
            continue
        if error is not None and not refused:
            verdict.refused.append((message(error), "record"))
            return None
        return graph  # some outputs cannot be returned; the others are
    return None


def check(program: Program, *, refit: bool = True) -> Verdict:
    """Run it both ways. Raises nothing that the program or trtnet raises: that is in the verdict."""
    verdict = Verdict(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = recorded(program, verdict)
        except Raised as raised:
            if verdict.refused and not _wanted(verdict, 0):
                return verdict  # without the lines that were refused, torch cannot run the others either
            text = verdict.program.steps[raised.step].text if raised.step >= 0 else "return"
            verdict.difference = Difference("raised", f"{raised} (at {text})")
            return verdict
        except Exception as error:  # as above, outside of any line
            verdict.difference = Difference("raised", f"{type(error).__name__}: {error}")
            return verdict
        if graph is None:
            return verdict
        verdict.graph = graph
        _compare(graph, verdict, 0, _wanted(verdict, 0))
        if refit and verdict.difference is None and verdict.program.weights:
            _refit(graph, verdict)
    return verdict


def _wanted(verdict: Verdict, generation: int) -> dict[int, dict[str, torch.Tensor]]:
    """torch's answers by batch size; those that it cannot give with other weights, or without refused lines, are
    left out."""
    found = {}
    for batch in verdict.program.sizes:
        try:
            found[batch] = run(verdict.program, batch, generation)
        except (Hazard, *TORCHS):
            verdict.skipped += 1
    return found


def _compare(graph: Any, verdict: Verdict, generation: int, wanted: Mapping[int, Any], engine: Any = None) -> None:
    program = verdict.program
    try:
        engine = engine or trtnet.reference(graph)
    except Exception as error:  # what recorded must run
        if wanted or not isinstance(
            error, trtnet.errors.WeightsError
        ):  # else torch takes these weights nowhere, either
            verdict.difference = Difference("failed", f"{type(error).__name__}: {error}", generation=generation)
        return
    for batch, answers in wanted.items():
        try:
            got = engine(**program.draw_inputs(batch))
        except Exception as error:  # what recorded must run
            text = f"{type(error).__name__}: {error}"
            verdict.difference = Difference("failed", text, batch=batch, generation=generation)
            return
        found = {n.removesuffix("_"): value for n, value in got.items()}
        verdict.difference = compare(program, answers, found, batch, generation, verdict)
        if verdict.difference is not None:
            return


def _refit(graph: Any, verdict: Verdict) -> None:
    """The weights' other values, by one of the ways that give them."""
    program = verdict.program
    wanted = _wanted(verdict, 1)
    if len(wanted) < len(program.sizes):
        return
    new = program.draw_weights(1)
    engine = None
    try:
        if program.seed % 2:
            graph.load_state_dict(new)
        else:
            engine = trtnet.reference(graph)
            engine.refit(new)
    except TrtnetError as error:
        if not (program.frozen and "frozen" in str(error)):
            verdict.difference = Difference("refit", message(error), generation=1)
        return
    except Exception as error:  # a refit raises TrtnetErrors alone
        verdict.difference = Difference("refit", f"{type(error).__name__}: {error}", generation=1)
        return
    _compare(graph, verdict, 1, wanted, engine)


def compare(
    program: Program, wanted: Mapping[str, torch.Tensor], found: Mapping[str, Any], batch: int, generation: int,
    verdict: Verdict, *, noise: float = 1e-6, exact: bool = False,
) -> Difference | None:  # fmt: skip
    """The first output that differs. `noise`: how much each rounded result may differ by itself."""
    disturbed: list[Mapping[str, torch.Tensor]] = []
    rough = max((SMALL.get(str(v.dtype).split(".")[1], 0.0) for v in wanted.values()), default=0.0)
    for name, torchs in wanted.items():
        if name not in found:
            continue
        mine = np.asarray(found[name])
        verdict.compared += 1
        expected = str(torchs.dtype).split(".")[1]
        if mine.dtype.name != expected:
            return Difference("dtype", f"{name}: torch {expected}, trtnet {mine.dtype}", name, batch, generation)
        if mine.shape != tuple(torchs.shape):
            disturbed = disturbed or _disturbed(program, batch, generation, max(noise, rough))
            if not disturbed or any(d[name].shape != torchs.shape for d in disturbed):
                verdict.unstable += 1  # a rounding decides how many elements there are
                continue
            return Difference(
                "shape", f"{name}: torch {tuple(torchs.shape)}, trtnet {mine.shape}", name, batch, generation
            )
        if torchs.dtype is not torch.bfloat16 and mine.tobytes() == torchs.numpy().tobytes():
            continue
        theirs = torchs.double().numpy() if torchs.is_floating_point() else torchs.numpy()
        ours = mine.astype(np.float64) if torchs.is_floating_point() else mine
        bad = differing(ours, theirs, max(rough, SMALL.get(expected, 0.0), 20 * noise))
        if not bad.any():
            continue
        disturbed = disturbed or _disturbed(program, batch, generation, max(noise, rough))
        if not disturbed or unsteady(ours, theirs, bad, [d[name] for d in disturbed]):
            verdict.unstable += 1
            continue
        where = tuple(np.argwhere(bad)[0].tolist())
        text = (
            f"{name}{list(where)}: torch {theirs[where]}, trtnet {ours[where]} ({int(bad.sum())} of {bad.size} differ)"
        )
        return Difference("values", text, name, batch, generation)
    return None


def _disturbed(program: Program, batch: int, generation: int, noise: float) -> list[Mapping[str, torch.Tensor]]:
    """torch's answers with roundings that differ, each way and the opposite one: what lies at a threshold then comes
    to lie on both sides of it. None where torch has none then."""
    try:
        return [run(program, batch, generation, by, seed) for seed in range(3) for by in (noise, -noise)]
    except (Hazard, *TORCHS):
        return []


def differing(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> np.ndarray:
    """Which elements differ: integers and bools exactly, NaN equal to NaN, floats relative to themselves and, by a
    tenth, to their RMS."""
    if theirs.dtype.kind != "f":
        return np.asarray(ours != theirs)
    with np.errstate(all="ignore"):
        finite = np.isfinite(theirs)
        scale = float(np.sqrt(np.mean(np.square(theirs[finite])))) if finite.any() else 0.0
        close = np.abs(ours - theirs) <= tolerance * (np.abs(theirs) + 0.1 * scale) + 1e-12
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.asarray(~np.where(finite & np.isfinite(ours), close, same))


def unsteady(ours: np.ndarray, theirs: np.ndarray, bad: np.ndarray, disturbed: list[torch.Tensor]) -> bool:
    """Whether torch's own answer moves as much where the roundings on its way are disturbed."""
    moved = np.zeros(theirs.shape)
    for other in disturbed:
        if tuple(other.shape) != theirs.shape:
            return True
        with np.errstate(all="ignore"):
            by = np.abs(other.double().numpy() - theirs.astype(np.float64))
        by = np.where(np.isnan(theirs.astype(np.float64)) & torch.isnan(other.double()).numpy(), 0, by)
        moved = np.maximum(moved, np.where(np.isnan(by), np.inf, by))
    with np.errstate(all="ignore"):
        by = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    by = np.where(np.isnan(by), np.inf, by)
    return bool((by[bad] <= 20 * moved[bad]).all())
