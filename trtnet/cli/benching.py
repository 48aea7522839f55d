"""What a network costs: `trtnet bench`."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..basics import dtypes
from ..basics.arrays import as_array, from_numpy
from ..basics.disk import write_text
from ..basics.errors import ArgumentError, EngineError, ProviderError, TrtnetError
from ..basics.tables import render
from ..graph.graph import Graph
from ..pytorch.engine import reference, to_torch
from ..pytorch.exported.wrappers import tensors_of
from ..pytorch.program import Program
from .cases import Case
from .console import note, print_text
from .exported import onnx_runtime
from .pictures import draw_latencies
from .timing import (
    FEWEST,
    PHASES,
    Clock,
    GpuClock,
    HostClock,
    Query,
    Sample,
    StreamLane,
    Timed,
    as_json,
    measure,
    measure_at_once,
    surroundings,
)  # fmt: skip

AGAINST = ("eager", "graph", "compile", "onnxruntime", "reference")


@dataclass(frozen=True)
class Asked:
    """What is measured, and for how long.

    Attributes:
        against: the other ways, of `AGAINST`.
        duration, warmup: seconds for each way.
        iterations: calls at least; None: as `measure` has it.
        graph: whether a call is the replay of a CUDA graph.
        spin: whether the host asks again and again, and does not sleep, until the GPU is done.
        transfers: whether inputs and outputs are copied from and to the host.
        refit: whether refits are measured, too.
        streams: how many calls are under way at a time, each on a stream with a context of its own; 1: only calls one
            after the other.
    """

    against: tuple[str, ...] = ()
    duration: float = 3.0
    warmup: float = 0.2
    iterations: int | None = None
    graph: bool = False
    spin: bool = False
    transfers: bool = True
    refit: bool = False
    streams: int = 1


def parse_against(texts: Sequence[str]) -> tuple[str, ...]:
    """Raises ArgumentError for ways that are not known."""
    names = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))
    if unknown := [name for name in names if name not in AGAINST]:
        raise ArgumentError(
            f"there is no way {unknown[0]!r} to compute a network",
            expected=", ".join(AGAINST),
            found=", ".join(names),
            remedy="--against eager,compile",
        )
    return names


# --- the ways ---------------------------------------------------------------------------------------------------------


def timed(case: Case, asked: Asked) -> Iterator[Timed]:
    """The engine, and the other ways that were asked for, on the same inputs; each compared with the reference."""
    wanted = _wanted(case)
    ways: list[tuple[str, Callable[[], tuple[Clock, Query, Any]]]] = [(case.way, lambda: engine_query(case, asked))]
    for name in asked.against:
        ways.append((_title(name, case), lambda name=name: _way(name, case, asked)))  # type: ignore[misc]
    for title, make in ways:
        facts = case.facts if title == case.way else {}
        try:
            clock, query, made = make()
            difference = _difference(case.graph, made, wanted)
            samples = _measured(title, clock, query, asked)
        except Exception as error:  # the others' ways fail by whatever they raise
            if title == case.way:
                raise
            yield Timed(title, case.batch, note=_reason(error))
            continue
        yield Timed(title, case.batch, samples, difference, facts=facts)
        if title == case.way and asked.streams > 1:
            yield _at_once(case, asked, wanted)
    if asked.refit:
        if not case.again:  # a refit takes as long for each size, and is the first one once
            yield from _refits(case, asked)
        yield from _without_refits(case, asked, wanted)


def _measured(way: str, clock: Clock, query: Query, asked: Asked) -> list[Sample]:
    samples = measure(clock, query, asked.duration, asked.warmup, asked.iterations)
    if asked.iterations is None and len(samples) < FEWEST:
        note(
            f"{way}: calls measured: {len(samples)}, in {seconds(sum(one['wall'] for one in samples))}; "
            f"--iterations {FEWEST} measures more"
        )
    return samples


def _wanted(case: Case) -> list[np.ndarray] | None:
    """What the outputs should be, in float64. None, with a note, of a file whose plan alone has the weights."""
    graph = case.graph
    if graph.layers and all(leaf.value.there for *_, weight in graph.weights() for leaf in weight.leaves()):
        return case.run(reference(graph, dtype="float64"))
    note("nothing is compared: the plan alone has the weights, and nothing else can compute with them")
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, TrtnetError):
        return error.problem + (f": {error.details}" if error.details else "")
    text = str(error).strip().partition("\n")[0]
    reason = text if text and isinstance(error, (ImportError, RuntimeError)) else f"{type(error).__name__}: {text}"
    return ": ".join((reason, *getattr(error, "__notes__", ())))


MODULE = {"eager": "PyTorch eager", "graph": "PyTorch, CUDA graph", "compile": "torch.compile"}
"""What PyTorch's ways are called where they run the user's own torch.nn.Module."""
LAYERS = {
    "eager": "its layers in PyTorch", "graph": "its layers, CUDA graph", "compile": "its layers, torch.compile",
}  # fmt: skip
"""What they are called where they run the layers that were recorded."""
OTHERS = {"onnxruntime": "ONNX Runtime, CPU", "reference": "reference, CPU"}
ABOUT_LAYERS = (
    "its layers: those that trtnet recorded, one call of torch's each; a module that was written for torch may be "
    "faster, and is measured where MODEL is the torch.nn.Module itself"
)


def _title(name: str, case: Case) -> str:
    return ((LAYERS if case.module is None else MODULE) | OTHERS)[name]


def engine_query(case: Case, asked: Asked) -> tuple[Clock, Query, Any]:
    """What measures the engine, what it does each time, and the outputs."""
    engine = case.engine
    if not case.on_gpu:
        for given, does, remedy in (
            (asked.graph, "replays no CUDA graph", "leave --graph out"),
            (asked.streams > 1, "runs on no streams", "leave --streams out"),
        ):
            if given:
                raise ProviderError(
                    f"the reference {does}",
                    expected="an engine of TensorRT's, on a GPU",
                    found="the reference, in PyTorch",
                    remedy=remedy,
                )
        return HostClock(), Query(lambda: case.run(engine)), case.run(engine)
    return _on_a_stream(case, asked)


def _at_once(case: Case, asked: Asked, wanted: Sequence[np.ndarray] | None) -> Timed:
    """As many calls as there are streams, at once; the difference is the largest of any stream's."""
    made = [_on_a_stream(case, asked) for _ in range(asked.streams)]
    differences = [_difference(case.graph, results, wanted) for *_, results in made]
    known = [one for one in differences if one is not None]
    lanes = [StreamLane(clock, query) for clock, query, _ in made]
    samples, taken = measure_at_once(lanes, asked.duration, asked.warmup, asked.iterations or FEWEST)
    worst = max(known, key=lambda one: (math.isnan(one), one), default=None)
    return Timed(f"{case.way}, {asked.streams} streams", case.batch, samples, worst, seconds=taken)


def _on_a_stream(case: Case, asked: Asked) -> tuple[GpuClock, Query, list[np.ndarray]]:
    """A call of the engine on a stream of its own, with a context and arrays of its own."""
    clock = GpuClock(asked.spin)
    host = [from_numpy(case.inputs[name]).pin_memory() for name in case.graph.inputs]
    device = [one.cuda() for one in host]
    with torch.cuda.stream(clock.stream):
        bound: Any = case.engine.bind(*device, graph=asked.graph)
        bound()
    torch.cuda.synchronize()
    query = _with_copies(bound, host, device, list(bound.results), asked.transfers)
    return clock, query, [as_array(one.cpu()) for one in bound.results]


def _with_copies(call: Callable[[], Any], host: Any, device: Any, results: Any, transfers: bool) -> Query:
    if not transfers:
        return Query(call)
    answers = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in results]

    def before() -> None:
        for one, other in zip(device, host):
            one.copy_(other, non_blocking=True)

    def after() -> None:
        for one, other in zip(answers, results):
            one.copy_(other, non_blocking=True)

    return Query(call, before, after)


def _way(name: str, case: Case, asked: Asked) -> tuple[Clock, Query, Any]:
    if name == "reference":
        engine = reference(case.graph, device="cpu")
        return HostClock(), Query(lambda: case.run(engine)), case.run(engine)
    if name == "onnxruntime":
        compute = onnx_runtime(case.graph, case.inputs)
        return HostClock(), Query(compute), compute()
    if name == "graph" and not case.on_gpu:
        raise EngineError("there is no GPU here to replay a CUDA graph")
    if name != "compile":
        return _by_torch(name, case, asked)
    torch.compiler.reset()  # else sizes that differ from those of an earlier batch become dynamic
    with _quiet_compilers():
        return _by_torch(name, case, asked)


@contextlib.contextmanager
def _quiet_compilers() -> Iterator[None]:
    """Keep what compilers write to stderr from the terminal; of an error, what they call one becomes its note."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception as error:
            kept.seek(0)
            lines = [line.strip() for line in kept.read().decode(errors="replace").splitlines() if line.strip()]
            for line in ([one for one in lines if "error:" in one] or lines[-1:])[:1]:
                error.add_note(line)
            kept.truncate(0)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr.fileno(), 2)
            kept.seek(0)
            stderr.write(kept.read())


def _by_torch(name: str, case: Case, asked: Asked) -> tuple[Clock, Query, Any]:
    """The user's own torch.nn.Module, or the network's layers."""
    host = {key: from_numpy(case.inputs[key]) for key in case.graph.inputs}
    if case.on_gpu:
        return _on_the_gpu(name, host, case, asked)
    module = _module(case, host, torch.device("cpu"))
    called: Any = torch.compile(module) if name == "compile" else module

    def call() -> Any:
        with torch.inference_mode():
            return called(**host)

    return HostClock(), Query(call), [as_array(one) for one in tensors_of(call())]


def _module(case: Case, inputs: Mapping[str, torch.Tensor], device: torch.device) -> torch.nn.Module:
    """What PyTorch runs: a copy of the user's module, which itself stays as and where it is; or the layers."""
    if case.module is not None:
        held = [value for one in case.module.modules() for value in vars(one).values()]
        tensors = [one for one in held if isinstance(one, torch.Tensor) and not one.is_leaf]  # deepcopy takes none
        module: torch.nn.Module = copy.deepcopy(case.module, {id(one): one.detach().clone() for one in tensors})
        return module.eval().to(device)
    return Layers(case.graph if case.fused is None else case.fused(), inputs, device)


class Layers(torch.nn.Module):
    """A graph's layers in PyTorch, for inputs of one size. As in a module that is written by hand, what depends on the
    weights alone is there before the first call."""

    def __init__(self, graph: Graph, inputs: Mapping[str, torch.Tensor], device: torch.device) -> None:
        super().__init__()
        self._program = Program(graph, False, explains=False)
        self._sizes = graph.bind({name: tuple(one.shape) for name, one in inputs.items()})
        with torch.inference_mode():
            self._constants = self._program.constants(lambda leaf: from_numpy(leaf.value.read()).to(device), device)
        self._device = device

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Takes the inputs in the graph's order."""
        return tuple(self._program.run(list(self._constants), list(inputs.values()), self._device, self._sizes))


def _on_the_gpu(
    name: str, host: Mapping[str, torch.Tensor], case: Case, asked: Asked
) -> tuple[Clock, Query, list[np.ndarray]]:
    clock = GpuClock(asked.spin)
    module = _module(case, host, torch.device("cuda", torch.cuda.current_device()))
    host = {key: one.pin_memory() for key, one in host.items()}
    device = {key: one.cuda() for key, one in host.items()}
    called = torch.compile(module, mode="reduce-overhead") if name == "compile" else module
    with torch.cuda.stream(clock.stream), torch.inference_mode():
        for _ in range(3):
            result = called(**device)
        torch.cuda.synchronize()
        if name == "graph":
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured, stream=clock.stream):
                result = called(**device)

            def replay(held: Any = (called, device)) -> None:  # it reads their memory
                captured.replay()

            call: Callable[[], Any] = replay
        else:

            def call() -> Any:
                return called(**device)

        call()
    torch.cuda.synchronize()
    results = tensors_of(result)
    query = _with_copies(call, list(host.values()), list(device.values()), results, asked.transfers)
    return clock, query, [as_array(one.cpu()) for one in results]


def _refits(case: Case, asked: Asked) -> Iterator[Timed]:
    """The first refit, those after it, and those that change one weight, with other values each time."""
    engine, state = case.engine, {name: np.array(value) for name, value in case.engine.parameters().items()}
    floats = [name for name, value in state.items() if dtypes.get(value.dtype).is_floating_point]
    if not floats:
        raise ArgumentError(
            "nothing can be refitted",
            expected="weights of floating-point types",
            found="none",
            remedy="leave --refit out",
        )
    changed = {name: (state[name].astype(np.float64) * 1.01).astype(state[name].dtype) for name in floats}
    others = [state, state | changed]
    smallest = min(floats, key=lambda name: state[name].size)
    turn = 0

    def refit(changing: Sequence[str], given: Sequence[str]) -> None:
        nonlocal turn
        turn += 1
        new = others[turn % 2]
        engine.refit({name: new[name] if name in changing else state[name] for name in given})

    clock = HostClock()
    every, one = list(state), [smallest]
    first = clock.sample(Query(lambda: refit(every, every)))
    yield Timed("first refit", samples=[first])
    for title, changing, given in (
        ("refit of every weight", every, every),
        (f"refit of all, of which {smallest} changed", one, every),
        (f"refit of {smallest}", one, one),
    ):
        query = Query(lambda changing=changing, given=given: refit(changing, given))  # type: ignore[misc]
        yield Timed(title, samples=_measured(title, clock, query, replace(asked, warmup=0.0)))
    engine.refit(state)


def _without_refits(case: Case, asked: Asked, wanted: Sequence[np.ndarray] | None) -> Iterator[Timed]:
    """What calls cost with weights that are fixed, and with live ones, whose updates are the trainer's own writes."""
    fixed, live = f"{case.way}, weights fixed", f"{case.way}, live weights"
    if case.rebuilt is None:
        reason = "an engine's file is not built anew: name the network"
        yield from (Timed(title, case.batch, note=reason) for title in (fixed, live))
        return
    for title, options in ((fixed, {}), (live, {"live": True})):
        try:
            engine = case.rebuilt(**options)
            other = replace(case, engine=engine)
            clock, query, made = engine_query(other, asked)
        except TrtnetError as error:
            yield Timed(title, case.batch, note=_reason(error))
            continue
        samples = _measured(title, clock, query, asked)
        yield Timed(title, case.batch, samples, _difference(case.graph, made, wanted))
        if options:
            yield _live_update(other, asked)
        engine.close()


def _live_update(case: Case, asked: Asked) -> Timed:
    """The writes of a trainer into the weights that the engine reads, of every parameter, by torch."""
    module = to_torch(case.graph)
    if case.on_gpu:
        module.cuda()
    case.engine.bind_weights(module)
    weights = [one.detach() for one in module.parameters()]
    others = [one.clone() for one in weights]

    def update() -> None:
        torch._foreach_copy_(weights, others)
        if case.on_gpu:
            torch.cuda.synchronize()

    title = "live update of every weight"
    return Timed(title, samples=_measured(title, HostClock(), Query(update), replace(asked, warmup=0.0)))


def _difference(graph: Graph, found: Sequence[np.ndarray], wanted: Sequence[np.ndarray] | None) -> float | None:
    """The largest difference of any output, relative to that output's largest value: infinity where it has another
    shape or one is missing, NaN where one side alone is NaN. None where every output hangs on a draw or is empty, and
    of unknown ones."""
    if wanted is None:
        return None
    if len(found) != len(wanted):
        return math.inf
    worst: float | None = None
    drawn = set(graph.drawn_outputs())
    for name, mine, theirs in zip(graph.outputs, found, wanted):
        if name in drawn:
            continue
        if mine.shape != theirs.shape:
            return math.inf
        if theirs.size:
            error = _relative(mine.astype(np.float64), theirs.astype(np.float64))
            worst = error if worst is None or not error <= worst else worst
    return worst


def _relative(mine: np.ndarray, theirs: np.ndarray) -> float:
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    if same.all():
        return 0.0
    with np.errstate(all="ignore"):
        error = float(np.abs(mine - theirs)[~same].max())
    scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    return error / scale if scale else error * math.inf


# --- what is printed --------------------------------------------------------------------------------------------------

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def seconds(value: float) -> str:
    """With three digits, in a unit that suits.

    >>> seconds(0.0123456)
    '12.3 ms'
    """
    scale, unit = next((one for one in UNITS if value >= one[0]), UNITS[-1])
    return f"{value / scale:.3g} {unit}" if value / scale < 999.5 else f"{value / scale:.0f} {unit}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def report(found: Sequence[Timed], file: Path | None, picture: Path | None = None) -> None:
    """Print the tables; and everything, with each sample, into a JSON file; the times of calls as a picture."""
    rows = []
    for one in found:
        if not one.samples:
            note(f"{one.way} was not measured: {one.note}")
            continue
        for number, (phase, spread) in enumerate(one.phases().items()):
            batch = str(one.batch) if one.batch else ""
            rate = _rate(one.throughput * max(one.batch, 1)) if phase == "wall" and len(one.samples) > 1 else ""
            times = (spread.min, spread.median, spread.mean, spread.p90, spread.p95, spread.p99, spread.max)
            differs = "" if one.difference is None or number else f"{one.difference:.0e}"
            label = (one.way, batch) if not number else ("", "")
            rows.append((*label, phase, *map(seconds, times), f"{spread.variation:.0%}", rate, differs))
    titles = (
        "way", "batch", "phase", "least", "median", "mean", "90 %", "95 %", "99 %", "most", "variation", "a second",
        "difference",
    )  # fmt: skip
    print_text(render(titles, rows, right=titles[3:]))
    phases = dict.fromkeys(phase for one in found for phase in one.phases())
    for phase in phases:
        print_text(f"{phase}: {PHASES[phase]}")
    if any(row[titles.index("a second")] for row in rows):
        print_text("a second: calls × batch; of refits and updates, how many")
    if any(one.samples and one.way in LAYERS.values() for one in found):
        print_text(ABOUT_LAYERS)
    if file is not None:
        write_text(file, json.dumps(_data(found), indent=1, allow_nan=False) + "\n")
    if picture is not None:
        walls = {
            one.way + (f", batch {one.batch}" if one.batch else ""): [sample["wall"] for sample in one.samples]
            for one in found if len(one.samples) > 1
        }  # fmt: skip
        draw_latencies(picture, "how long calls take", walls)


def _data(found: Sequence[Timed]) -> dict[str, Any]:
    return surroundings() | {
        "results": [
            {
                "way": one.way, "batch": one.batch, "note": one.note, "difference": as_json(one.difference),
                "throughput": one.throughput * max(one.batch, 1), **one.facts, "samples": one.samples,
                "phases": {phase: asdict(spread) for phase, spread in one.phases().items()},
            }
            for one in found
        ],
    }  # fmt: skip
