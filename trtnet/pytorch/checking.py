"""An engine against the reference in float64: what every TensorRT engine goes through before it is handed over.

Errors are relative to each output's own root mean square. What is allowed follows from the coarsest type that is
computed in on the way to that output (`TOLERANCES`). Where an engine differs by more, the reference is run again with
every computed value changed by some roundings of its type: what the output then changes by is no fault of the engine's
(networks that compare, round or sort numbers can be as sensitive as that), and such an output counts as unchecked.

Through a quantization an error does not pass as it is: most values are rounded to the same number all the same, and one
that lies as close to the middle between two as the error is large becomes the other one. Of values that are off by d,
and steps s, that is a share of d / s, each off by s: in the mean square d * s. So what is allowed behind it is the root
of what is allowed before it times the mean step (`Layer.grain`, as the reference finds it), relative to the values; and
for one value some of the largest steps. After many quantizations that tends to one step for all values, as it should:
each of them may then be off by that.

Unchecked are also values that are not finite in the reference, outputs that are one and the same number everywhere, and
what depends on random draws. Indices (of top-k, argmax, sorting) are judged by the values that they pick.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.arrays import from_numpy, import_torch
from ..basics.errors import BuildError, ProviderError, ShapeError, TrtnetError
from ..engine.checked import BUILT, PERTURBED, Checked, CheckedOutput
from ..engine.engine import Engine
from ..graph.graph import Graph
from ..graph.regions import interior
from ..graph.tensor import Producer, Tensor
from ..layers.targets import Run
from ..rewriting.extra_outputs import with_tensors
from ..weights.recipes import Leaf
from .engine import ReferenceEngine
from .program import Step
from .sampling import FREE, Sampler

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("trtnet.check")

Inputs = Mapping[str, np.ndarray]


class Tolerance(NamedTuple):
    """The most that an output may differ by, relative to its root mean square: one value, and all in the mean."""

    worst: float
    mean: float


TOLERANCES = {
    0.0: Tolerance(0.0, 0.0),  # values that are moved alone, and whole numbers
    2.0**-24: Tolerance(2e-3, 5e-4),  # float32
    2.0**-11: Tolerance(2e-2, 5e-3),  # float16, and float32 in TF32
    2.0**-8: Tolerance(1e-1, 3e-2),  # bfloat16
    2.0**-4: Tolerance(1.0, 3e-1),  # float8
}
STRENGTH = {2.0**-24: 64, 2.0**-11: 4, 2.0**-8: 2, 2.0**-4: 1}
"""Roundings by which values are changed to see how sensitive a network is: sums in float16 may be kept in float16."""
ROUNDING = {
    dtypes.float32: 2.0**-24, dtypes.float16: 2.0**-11, dtypes.bfloat16: 2.0**-8, dtypes.float8_e4m3fn: 2.0**-4,
}  # fmt: skip
SOME = 4
"""Of the largest steps: what one value may be off by behind a quantization."""
FREE_TO = "roundings, or what is left open,"  # such as the order of writes to one place
RUNS = 8  # of the reference with changed roundings
FIXED = 16  # values that another draw has otherwise: so many do not come out the same twice by chance
SHARE, LEAST = 0.05, 0.5  # of the build's time, and seconds: the most that a check takes


class Way(NamedTuple):
    """What lies on the way to a tensor.

    Attributes:
        rounding: the largest relative rounding; 0 where values are moved alone.
        drawn: whether random draws are on it.
        allowed: what it may differ by.
        quantized: whether a quantization is on it.
    """

    rounding: float = 0.0
    drawn: bool = False
    allowed: Tolerance = TOLERANCES[0.0]
    quantized: bool = False

    def rounded(self, own: float) -> Way:
        """Behind a layer that rounds its results to this, relatively."""
        return self._replace(rounding=max(self.rounding, own), allowed=_both(self.allowed, TOLERANCES[own]))

    def through(self, grain: tuple[float, float], repeated: bool) -> Way:
        """Behind a quantization with steps of this mean and largest size, once or in each iteration of a loop."""
        step, largest = grain
        mean = step if repeated else math.sqrt(self.allowed.mean * step)
        behind = Tolerance(SOME * max(largest, mean), mean)
        return self._replace(allowed=_both(self.allowed, behind), quantized=True)

    @staticmethod
    def joined(ways: Sequence[Way]) -> Way:
        made = Way()
        for one in ways:
            made = Way(
                max(made.rounding, one.rounding),
                made.drawn or one.drawn,
                _both(made.allowed, one.allowed),
                made.quantized or one.quantized,
            )
        return made


def _both(one: Tolerance, two: Tolerance) -> Tolerance:
    return Tolerance(max(one.worst, two.worst), max(one.mean, two.mean))


Grains = Mapping[Producer, tuple[float, float]]


def ways(graph: Graph, tf32: bool = False, grains: Grains = MappingProxyType({})) -> dict[Tensor, Way]:
    """The way to each tensor of a graph, whose quantizations have these steps."""
    found: dict[Tensor, Way] = {}
    carried: dict[Tensor, Way] = {}  # what a loop carries on to its next iteration
    entering: dict[Producer, Way] = {}  # what comes to a quantization before loops come round
    deciding: dict[int | None, Way] = {}  # what a loop or a conditional decides by
    while True:
        for layer in graph.layers:
            before = [found.get(o, Way()) for o in layer.inputs if isinstance(o, Tensor)]
            before += [carried[t] for t in layer.outputs if t in carried]
            if layer.region in deciding:
                before.append(deciding[layer.region])
            way = Way.joined(before)
            if layer.draws:
                way = way._replace(drawn=True)
            for tensor in layer.outputs:
                behind = way.rounded(_rounding(layer, tensor, tf32)) if layer.rounds else way
                if layer in grains:
                    behind = behind.through(grains[layer], entering.setdefault(layer, behind) != behind)
                found[tensor] = behind
            if not layer.outputs:
                deciding[layer.region] = way
        now = {layer.feeds: found[layer.outputs[0]] for layer in graph.layers if layer.feeds is not None}
        if now == carried:
            return found
        carried = now


def _rounding(layer: Producer, tensor: Tensor, tf32: bool) -> float:
    """How a layer rounds what it computes. Before a quantization that is float32; products of float8 are added up with
    fewer bits than that (Hopper's have 14)."""
    if layer.quantizes:
        return ROUNDING[dtypes.float16 if tensor.dtype.is_floating_point else dtypes.float32]
    found = ROUNDING.get(tensor.dtype, 0.0)
    return max(found, ROUNDING[dtypes.float16]) if tf32 and tensor.dtype is dtypes.float32 else found


@dataclass(frozen=True)
class Picked:
    """An output that holds indices: where they are found, and how they come from there to the output."""

    layer: Producer
    axis: int
    moves: tuple[Producer, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Picked | None:
        moves: list[Producer] = []
        layer = tensor.layer
        while layer is not None:
            axis = layer.picks(tensor.index)
            if axis is not None:
                return cls(layer, axis, tuple(reversed(moves)))
            operands = [o for o in layer.inputs if o is not None]
            if layer.rounds or layer.draws or len(operands) != 1 or not isinstance(operands[0], Tensor):
                return None
            if layer.region is not None:  # it keeps what it is given in each iteration
                return None
            moves.append(layer)
            tensor = operands[0]
            layer = tensor.layer
        return None

    def places(self, run: Run, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of the data in which values are picked, and the row of each of the output's elements."""
        torch = run.torch
        rows = data.movedim(self.axis, -1)
        count = run.size(self.layer.outputs[1].shape[self.axis])
        numbers = torch.arange(rows[..., 0].numel(), device=data.device).reshape(rows.shape[:-1])
        numbers = numbers.unsqueeze(-1).expand(*numbers.shape, count).movedim(-1, self.axis)
        for move in self.moves:
            numbers = move.compute(run, numbers)
        return rows.reshape(-1, rows.shape[-1]).double().cpu(), numbers.long().cpu()


class Late(Exception):
    """The reference is not done in time."""


class Comparing:
    """One graph's reference, and the judgement of engines by it.

    Args:
        graph: the recorded graph.
        device: where the reference runs, as torch names it.
        tf32: whether the engines may compute float32 in TF32.
        until: when the reference is to be done, by `time.perf_counter`; late, it raises Late.
    """

    def __init__(self, graph: Graph, device: str = "cpu", tf32: bool = False, until: float | None = None) -> None:
        self.graph = graph
        self.tf32 = tf32
        self.until = until
        self.reference = ReferenceEngine(graph, device=device, dtype="float64")
        self.ways = ways(graph, tf32)
        self.picked = {name: p for name, t in graph.outputs.items() if (p := Picked.of(t)) is not None}
        self._places: dict[str, tuple[Any, Any]] = {}
        self._grains: dict[Producer, tuple[float, float]] = {}
        self._quantizes = any(layer.quantizes for layer in graph.layers)

    def wanted(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """The reference's outputs by name. Raises Late, and what the reference raises."""
        self._places.clear()
        self._grains.clear()
        found = self._run(inputs, self._watch)
        if self._quantizes:
            self.reference.watch_constants(self._notice)
            self.ways = ways(self.graph, self.tf32, self._grains)
        return found

    def _run(self, inputs: Inputs, watch: Callable[[Run, Step, list[Any]], None]) -> dict[str, np.ndarray]:
        cudnn = self.reference.torch.backends.cudnn
        self.reference.watch = watch
        try:
            with cudnn.flags(enabled=cudnn.enabled, benchmark=False):  # one call is not worth a search
                values = self.reference._results([inputs[spec.name] for spec in self.reference.inputs], None, False)[0]
        finally:
            self.reference.watch = None
        return dict(zip(self.graph.outputs, values))

    def in_time(self) -> None:
        """Raises Late once it is."""
        if self.until is None:
            return
        if self.reference.device.type == "cuda":
            self.reference.torch.cuda.synchronize(self.reference.device)
        if time.perf_counter() > self.until:
            raise Late

    def _notice(self, run: Run, step: Step, slots: list[Any]) -> None:
        """Keep the steps of a quantization, the largest of all iterations of a loop."""
        grain = step.layer.grain(run, *(slots[slot] for slot in step.inputs)) if step.layer.quantizes else None
        if grain is not None:
            before = self._grains.get(step.layer, grain)
            self._grains[step.layer] = max(before[0], grain[0]), max(before[1], grain[1])

    def _watch(self, run: Run, step: Step, slots: list[Any]) -> None:
        self.in_time()
        self._notice(run, step, slots)
        for name, picked in self.picked.items():
            if picked.layer is step.layer:
                self._places[name] = picked.places(run, slots[step.inputs[0]])

    def rows(
        self,
        engine: Engine,
        inputs: Inputs,
        wanted: Mapping[str, np.ndarray],
        sizes: Mapping[str, int] | None = None,
        weights: str = BUILT,
    ) -> list[CheckedOutput]:
        """The judgement of an engine's outputs for these inputs, for which the reference gave `wanted`."""
        found = dict(zip(self.graph.outputs, engine._flat_result(inputs)))
        self._drawn_anew(engine, inputs, found, wanted)
        rows = [
            self._row(name, np.asarray(found[name]), wanted[name], CheckedOutput(name, dict(sizes or {}), weights))
            for name in self.graph.outputs
        ]
        suspect = [row.output for row in rows if row.wrong]
        if suspect:
            self.until = None  # what is found now is worth its time
            noisy = [self._noisy(inputs, run) for run in range(RUNS)]
            rows = [
                self._excused(row, np.asarray(found[row.output]), wanted[row.output], [n[row.output] for n in noisy])
                if row.wrong
                else row
                for row in rows
            ]
        return rows

    def _drawn_anew(
        self, engine: Engine, inputs: Inputs, found: Mapping[str, Any], wanted: Mapping[str, np.ndarray]
    ) -> None:
        """Raises BuildError where a second call gives the same draws, which are not the reference's either: TensorRT
        may compute once what depends on no input."""
        drawn = self.graph.drawn_outputs()
        again = dict(zip(self.graph.outputs, engine._flat_result(inputs))) if drawn else {}
        for name in drawn:
            one, two, reference = (np.asarray(of[name]).astype(np.float64) for of in (found, again, wanted))
            if one.shape != reference.shape or not np.array_equal(one, two, equal_nan=True):
                continue
            others = int((~np.isclose(one, reference, equal_nan=True)).sum())
            if others >= FIXED:
                raise BuildError(
                    f"TensorRT draws the random numbers of output {name!r} once for all calls",
                    expected="other numbers at each call",
                    found=f"the same at two calls, where the reference draws {others:,} of {one.size:,} otherwise",
                    remedy='record(..., draws="inputs") makes the draws inputs of the network',
                )

    # --- one output

    def _values(self, name: str, array: np.ndarray) -> torch.Tensor:
        """What an output is judged by, as a tensor of float64: its numbers, or those that its indices pick."""
        torch = self.reference.torch
        value = from_numpy(np.asarray(array, order="C"))
        places = self._places.get(name)
        if places is None:
            return value.double()
        data, rows = places
        inside = (value >= 0) & (value < data.shape[1])
        return torch.where(inside, data[rows, torch.where(inside, value, 0).long()], torch.nan)

    def _way(self, name: str) -> Way:
        picked = self.picked.get(name)
        return self.ways.get(self.graph.outputs[name] if picked is None else picked.layer.inputs[0], Way())  # type: ignore[arg-type]

    def _row(self, name: str, found: np.ndarray, wanted: np.ndarray, row: CheckedOutput) -> CheckedOutput:
        way = self._way(name)
        tensor = self.graph.outputs[name]
        if way.drawn or self.ways.get(tensor, Way()).drawn:
            return replace(row, unchecked="random draws are on the way to it")
        numbers = tensor.dtype.is_floating_point or (way.quantized and tensor.dtype is dtypes.int8)
        allowed = way.allowed if numbers or name in self.picked else TOLERANCES[0.0]
        row = replace(row, allowed=allowed.worst, mean_allowed=allowed.mean)
        if found.shape != wanted.shape:
            if way.rounding and not self.graph.data_dims.isdisjoint(map(str, _symbols(tensor))):
                return replace(row, unchecked=f"its size, {found.shape} for {wanted.shape}, hangs on roundings")
            return replace(row, error=math.inf, mean_error=math.inf, wrong=True)
        if not wanted.size:
            return replace(row, unchecked="it is empty")
        clean = self._values(name, wanted)
        finite = clean.isfinite()
        count = int(finite.sum())
        if not count:
            return replace(row, unchecked="no value is finite in the reference")
        error, mean = errors(self._values(name, found), clean)
        wrong = not (error <= allowed.worst and mean <= allowed.mean)
        known = clean if count == wanted.size else clean[finite]
        if wanted.size > 1 and not wrong and float(known.min()) == float(known.max()):
            return replace(row, unchecked=f"the reference gives {float(known.min()):g} everywhere")
        share = f"{wanted.size - count:,} of {wanted.size:,} values are not finite" if count < wanted.size else ""
        return replace(row, error=error, mean_error=mean, wrong=wrong, unchecked=share)

    # --- how sensitive the network is

    def _noisy(self, inputs: Inputs, number: int) -> dict[str, np.ndarray]:
        """The reference's outputs with every computed float changed by some roundings of its type, and with what is not
        decided the other way. Whole numbers stay: they are masks and counts, which roundings do not reach."""
        torch = self.reference.torch
        generator = torch.Generator(device=self.reference.device).manual_seed(number)
        strength = 1 if number < RUNS // 2 else 2

        def change(run: Run, step: Step, slots: list[Any]) -> None:
            other = step.layer.either(run, number, *(slots[slot] for slot in step.inputs))
            if other is not None:
                slots[step.outputs[0]] = other
            if not step.layer.rounds or step.layer.quantizes:
                return
            for slot, tensor in zip(step.outputs, step.layer.outputs):
                rounding = _rounding(step.layer, tensor, self.tf32)
                value = slots[slot]
                if not rounding or not value.is_floating_point():
                    continue
                size = rounding * strength * STRENGTH[rounding]
                noise = torch.randn(value.shape, generator=generator, device=value.device, dtype=value.dtype)
                value = torch.where(value == value.round(), value, value * (1 + size * noise))
                slots[slot] = value.to(tensor.dtype.torch).to(value.dtype) if rounding > 1e-6 else value

        return self._run(inputs, change)

    def _excused(
        self, row: CheckedOutput, found: np.ndarray, wanted: np.ndarray, noisy: Sequence[np.ndarray]
    ) -> CheckedOutput:
        """The row of an output that differs, once more, beside what roundings alone change."""
        if any(one.shape != found.shape for one in noisy):
            return row
        torch = self.reference.torch
        mine, clean = self._values(row.output, found), self._values(row.output, wanted)
        others = [self._values(row.output, one) for one in noisy]
        if not self.graph.outputs[row.output].dtype.is_floating_point:
            return self._excused_whole(row, mine, clean, others)
        stack = torch.stack(others[: RUNS // 2])
        stable = clean.isfinite() & stack.isfinite().all(0)
        if not stable.any():
            return replace(row, wrong=False, error=None, unchecked="it overflows in the type that it is computed in")
        scale = scale_of(clean)
        apart = ((mine - clean).abs() / scale)[stable]
        changed = ((stack - clean).abs() / scale)[:, stable]
        if not apart.isfinite().all():
            return row
        spread = changed.amax(0)
        mean = float(spread.square().mean().sqrt())
        few = _share(apart > row.allowed) <= 4 * max(_share(one > row.allowed) for one in changed)
        close = bool((apart <= (3 * spread + 3 * mean).clamp(min=row.allowed)).all())
        if float(apart.square().mean().sqrt()) <= max(row.mean_allowed, 3 * mean) and (close or few):
            why = f"{FREE_TO} alone change it by {float(spread.max()):.2g}, and it differs by {float(apart.max()):.2g}"
            return replace(row, wrong=False, unchecked=why)
        return row

    @staticmethod
    def _excused_whole(
        row: CheckedOutput, mine: torch.Tensor, clean: torch.Tensor, others: Sequence[torch.Tensor]
    ) -> CheckedOutput:
        """Of bools, whole numbers and indices: as many may differ as do where roundings are changed, or a few more."""
        differ = _share(mine != clean)
        most = max(_share(other != clean) for other in others)
        if most and differ <= 4 * most + 1 / mine.numel():
            why = f"{FREE_TO} alone change {most:.2%} of its values, and {differ:.2%} differ"
            return replace(row, wrong=False, unchecked=why)
        return row


def _share(condition: torch.Tensor) -> float:
    """Where a condition holds, of all."""
    return float(condition.double().mean())


def _symbols(tensor: Tensor) -> list[Any]:
    return [symbol for size in tensor.shape if not isinstance(size, int) for symbol in size.symbols]


FAR = 1e4
SMALLEST = 1e-34  # below it float32 has fewer digits, and a GPU may give 0


def scale_of(wanted: torch.Tensor) -> torch.Tensor | float:
    """What errors are relative to: the root mean square of the finite values. Values of 10,000 and more, as masks are
    filled with, count by themselves where the others are 10,000 times smaller, and the others without them."""
    finite = wanted.isfinite()
    rest = size = (wanted if finite.all() else wanted[finite]).abs()
    limit = None
    if float(size.max()) >= FAR:
        ordered = size[size > 0].unique()
        gaps = ((ordered[1:] >= FAR) & (ordered[1:] > FAR * ordered[:-1])).nonzero()
        if len(gaps):
            limit = ordered[int(gaps[0])]
            rest = size[size <= limit]
    scale = float(rest.square().mean().sqrt())
    scale = max(scale, SMALLEST) if scale else 1.0
    return scale if limit is None else wanted.abs().where(wanted.abs() > limit, scale)


def errors(found: torch.Tensor, wanted: torch.Tensor) -> tuple[float, float]:
    """The largest difference where the reference is finite, and the root mean square of all, relative to the scale."""
    apart = (found - wanted).abs_().div_(scale_of(wanted))
    finite = wanted.isfinite()
    if not finite.all():
        apart = apart[finite]
    worst, mean = float(apart.max()), float(apart.square().mean().sqrt())
    return (worst, mean) if worst == worst else (math.inf, math.inf)  # NaN where the reference is finite


# --- a whole check ----------------------------------------------------------------------------------------------------


@functools.cache
def _load(device: str, convolves: bool) -> None:
    """Have torch load its GPU libraries, once in a process."""
    torch = import_torch()
    one = torch.ones(1, 1, 8, 8, dtype=torch.float64, device=device)
    one @ one
    if convolves:
        torch.nn.functional.conv2d(one, one)
    torch.cuda.synchronize(device)


def devices(graph: Graph, ordinal: int | None, known: bool) -> list[str]:
    """Where the reference may run, the best first. An index beside its table is an error on the CPU, and the end of the
    process's CUDA on a GPU: so that is for graphs whose indices are all understood."""
    torch = import_torch()
    if ordinal is None or not known or not torch.cuda.is_available():
        return ["cpu"]
    device = f"cuda:{ordinal}"
    _load(device, any(len(weight.shape) > 2 for _, _, weight in graph.weights()))
    return [device, "cpu"]


def check(
    engine: Engine,
    graph: Graph,
    sample: Any = None,
    *,
    ordinal: int | None = None,
    profiles: Sequence[Mapping[str, tuple[int, int, int]]] = (),
    tf32: bool = False,
    seconds: float | None = None,
    refit: bool = True,
) -> tuple[Checked, Inputs | None]:
    """Compare an engine with the reference: the figures, and the inputs on which it is wrong, if it is.

    Args:
        engine: any engine of the graph. It is as before afterwards.
        sample: inputs to compare on, as `check=` takes them; None draws them at each profile's opt sizes.
        ordinal: the CUDA device on which the reference runs, where torch has CUDA; None: on the CPU.
        profiles: the ranges of the Dims, for each optimization profile.
        tf32: whether the engine may compute float32 in TF32.
        seconds: what the build took: the check stops, and says so, after 5 % of that or half a second.
        refit: whether to compare after a refit to perturbed weights, too, where the engine can be refitted.
    """
    try:
        torch = import_torch()
    except ProviderError as error:
        logger.warning("%s", why := f"the engine was not compared with the reference: {error.problem}")
        return Checked(skipped=why), None
    sampler = Sampler(graph)
    where = devices(graph, ordinal, sampler.is_known)
    started = time.perf_counter()  # torch is there by now
    until = None if seconds is None else started + max(LEAST, SHARE * seconds)
    tries = [(device, free) for device in where for free in (FREE if sample is None and device == "cpu" else FREE[:1])]
    for device, free in tries:
        cases = _cases(sampler, sample, profiles, free)
        try:
            with contextlib.closing(engine.context()) as own:  # whose memory is free again afterwards
                figures = _checked(own, Comparing(graph, device, tf32, until), cases, refit)
        except (_Unfit, torch.cuda.OutOfMemoryError) as error:
            figures = Checked(skipped=f"the engine was not compared with the reference: {error}")
            continue
        finally:
            _free(device)
        break
    figures = replace(figures, device=device, seconds=time.perf_counter() - started)
    if figures.skipped:
        logger.warning("%s", figures.skipped)
    wrong = figures.wrong
    return figures, next(inputs for sizes, inputs in cases if sizes == wrong[0].sizes) if wrong else None


def _cases(
    sampler: Sampler, sample: Any, profiles: Sequence[Mapping[str, tuple[int, int, int]]], free: tuple[int, int]
) -> list[tuple[dict[str, int], Inputs]]:
    """Sizes and inputs to compare at."""
    if sample is not None:
        inputs = sampler.given(sample)
        return [(sampler.graph.bind({name: array.shape for name, array in inputs.items()}), inputs)]
    whole = {name: dim.opt for name, dim in sampler.graph.dims.items()}
    sizes = [whole | {name: opt for name, (_, opt, _) in profile.items()} for profile in profiles] or [whole]
    return [(one, sampler.draw(one, seed, free)) for seed, one in enumerate(sizes)]


class _Unfit(Exception):
    """The reference cannot compute this here."""


def _free(device: str) -> None:
    """Give the reference's memory on a GPU back."""
    if device != "cpu":
        import_torch().cuda.empty_cache()


def _checked(engine: Engine, comparing: Comparing, cases: list[tuple[dict[str, int], Inputs]], refit: bool) -> Checked:
    rows: list[CheckedOutput] = []
    left = f"the reference takes longer than {SHARE:.0%} of the build's time and {LEAST} s"
    try:
        for sizes, inputs in cases:
            rows += comparing.rows(engine, inputs, _reference(comparing, inputs), sizes)
    except Late:
        what = "the engine was" if not rows else "some profiles of the engine were"
        return Checked(tuple(rows), skipped=f"{what} not compared with the reference: {left}")
    if not refit or any(row.wrong for row in rows):
        return Checked(tuple(rows))
    sizes, inputs = cases[0]
    try:
        comparing.in_time()
        state = perturbed(engine, comparing.reference)
        if not state:
            return Checked(tuple(rows))
        comparing.reference.refit(state, finite=None)
        wanted = _reference(comparing, inputs)
    except (Late, _Unfit) as error:
        why = left if isinstance(error, Late) else error
        return Checked(tuple(rows), skipped=f"the engine was not compared after a refit: {why}")
    with engine.undone():
        engine.refit(state, finite=None)
        rows += comparing.rows(engine, inputs, wanted, sizes, PERTURBED)
    return Checked(tuple(rows))


def _reference(comparing: Comparing, inputs: Inputs) -> dict[str, np.ndarray]:
    """The reference's outputs. Raises Late, and _Unfit for what it cannot compute."""
    try:
        return comparing.wanted(inputs)
    except (ProviderError, ShapeError) as error:
        raise _Unfit(f"{error.problem} ({error.details or error.found})") from error


def perturbed(engine: Engine, reference: ReferenceEngine) -> dict[str, Any]:
    """Other values for the floats that the engine lets be changed: each by up to a quarter, its sign kept; where all
    are zero, from a normal distribution of a tenth."""
    graph, state = engine.graph, {}
    used = {leaf for _, _, weight in graph.weights() for leaf in weight.leaves()}
    chance = np.random.default_rng(1)
    factors = from_numpy(chance.uniform(0.75, 1.25, 4099).astype(np.float32)).to(reference.device)
    offsets = from_numpy((0.1 * chance.normal(size=4099)).astype(np.float32)).to(reference.device)
    done: set[Leaf] = set()
    for name, leaf in graph.parameters.items():
        changeable = name in engine.refittable or name in engine.live
        if leaf in done or leaf not in used or not changeable or leaf.frozen or not leaf.dtype.is_floating_point:
            continue
        done.add(leaf)
        value = reference._read(leaf)
        pattern = factors if bool(value.any()) else offsets
        count = value.numel()
        tiled = pattern.repeat(-(-count // len(pattern)))[:count].reshape(value.shape)
        new = value.float() * tiled if pattern is factors else tiled
        state[name] = new.to(value.dtype)
    return state


# --- the first module that is wrong -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Divergence:
    """The first module, in the order of recording, whose tensor differs; true where there is one, prints as a sentence.

    Attributes:
        module: its path; None where no output differs.
        layer: the last layer that was recorded in it.
        where: the user's line of that layer.
        found: the judgement of its tensor.
        right_with: modules with whose tensor as a further output the build comes out right: what TensorRT fuses across
            them is where to look.
        builds: how many engines were built.
    """

    module: str | None = None
    layer: str = ""
    where: Any = None
    found: CheckedOutput | None = None
    right_with: tuple[str, ...] = ()
    builds: int = 1

    def __bool__(self) -> bool:
        return self.module is not None

    def __str__(self) -> str:
        if self.module is None or self.found is None:
            return "this build comes out right: no output differs from the reference"
        text = (
            f"the first module that is wrong is {self.module or 'the network itself'} (layer {self.layer}, "
            f"error {_number(self.found.error)}, allowed {_number(self.found.allowed)})"
        )
        if self.right_with:
            text += "; with these as further outputs the build comes out right: " + ", ".join(self.right_with)
        return text


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"


def first_wrong(
    graph: Graph,
    inputs: Inputs,
    build: Callable[[Graph], Engine],
    *,
    device: str = "cpu",
    tf32: bool = False,
    state: Mapping[str, Any] | None = None,
) -> Divergence:
    """The first module whose tensor is wrong, by bisection: each build has one more output, half way.

    Args:
        build: gives an engine of a graph; it is closed here.
        state: weights that the engines are refitted to before they are compared.
    """

    def judged(name: str | None, tensor: Tensor | None) -> dict[str, CheckedOutput]:
        wider = graph if tensor is None or name is None else with_tensors(graph, {name: tensor})
        comparing = Comparing(wider, device, tf32)
        with build(wider) as engine:
            if state:
                engine.refit(state, finite=None)
                comparing.reference.refit(state, finite=None)
            return {row.output: row for row in comparing.rows(engine, inputs, comparing.wanted(inputs))}

    plain = judged(None, None)
    wrong = [name for name, row in plain.items() if row.wrong]
    if not wrong:
        return Divergence()
    order = {layer: place for place, layer in enumerate(graph.layers)}
    target = min(wrong, key=lambda name: order[graph.outputs[name].layer])  # type: ignore[index]
    stops = _stops(graph, graph.outputs[target])
    low, high, builds, found, right = -1, len(stops) - 1, 1, plain[target], []
    while high - low > 1:
        middle = (low + high) // 2
        layer = stops[middle]
        builds += 1
        name = layer.name
        while name in graph.outputs or name in graph.inputs:
            name += "'"
        try:
            rows = judged(name, layer.outputs[0])
        except ProviderError:  # a tensor that TensorRT gives no output of
            del stops[middle]
            high -= 1
            continue
        if not rows[target].wrong:
            right.append(layer.path or layer.name)
        if rows[name].wrong:
            high, found = middle, rows[name]
        else:
            low = middle
    last = stops[high]
    return Divergence(last.path, last.name, last.location, found, tuple(right), builds)


def _stops(graph: Graph, target: Tensor) -> list[Producer]:
    """The last layers of modules in the order of recording, of those that `target` depends on; its own is the last."""
    needed: set[Any] = {target}
    chain: list[Producer] = []
    for layer in reversed(graph.layers):
        if not needed.isdisjoint(layer.outputs):
            chain.append(layer)
            needed.update(o for o in layer.inputs if isinstance(o, Tensor))
    chain.reverse()
    inside = interior(graph.layers)
    chain = [layer for layer in chain if layer not in inside]
    return [layer for layer, after in zip(chain, [*chain[1:], None]) if after is None or after.path != layer.path]


def failed(
    figures: Checked,
    graph: Graph,
    inputs: Inputs,
    build: Callable[[Graph], Engine],
    tries: Mapping[str, Callable[[Graph], Engine]],
    *,
    tf32: bool = False,
) -> BuildError:
    """The error for an engine that differs: its outputs, the first module that is wrong, and what is right.

    Args:
        build: builds a graph as the engine was built; tries: in other ways, by what these are called.
    """
    row, device = figures.wrong[0], figures.device
    reference = ReferenceEngine(graph, device=device, dtype="float64")
    state = None
    if row.weights == PERTURBED:
        with build(graph) as engine:
            state = perturbed(engine, reference)
    try:
        first: Divergence | None = first_wrong(graph, inputs, build, device=device, tf32=tf32, state=state)
        said = str(first)
    except TrtnetError as error:
        first, said = None, f"the first module that is wrong was not found: {error.problem}"
    right: list[str] = []
    other: list[str] = []
    for name, trial in tries.items():
        try:
            comparing = Comparing(graph, device, tf32)
            with trial(graph) as engine:
                fine = not any(r.wrong for r in comparing.rows(engine, inputs, comparing.wanted(inputs)))
            (right if fine else other).append(name)
        except TrtnetError as error:
            other.append(f"{name} ({error.problem})")
    lines = [said]
    if right:
        lines.append("right, tried by itself: " + ", ".join(right))
    if other:
        lines.append("wrong, too, or not to be built: " + ", ".join(other))
    names = ", ".join(dict.fromkeys(repr(r.output) for r in figures.wrong))
    when = " after a refit to other weights" if row.weights == PERTURBED else ""
    return BuildError(
        f"the engine's output {names} differs from the reference{when}",
        details="\n".join(lines) + f"\n\n{figures}",
        expected=f"errors of at most {row.allowed:.2g}, relative to the output's root mean square",
        found=", ".join(f"{r.output}: {_number(r.error)}" for r in figures.wrong[:8]),
        module=(first.module if first else None) or None,
        where=first.where if first else None,
        remedy=(f"build with {right[0]}" if right else "write that module in another way")
        + "; trtnet.diverges(graph, x) finds the module again; check=False hands the engine over as it is",
    )
