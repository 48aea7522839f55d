"""What a network costs: `trtnet bench`."""

from __future__ import annotations

import importlib
import io
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..basics import dtypes
from ..basics.arrays import as_array, from_numpy
from ..basics.disk import explained, replacing
from ..basics.errors import ArgumentError, EngineError, ProviderError, TrtnetError
from ..basics.tables import render
from ..building import build
from ..engine.engine import Engine
from ..graph import forms
from ..graph.graph import Graph, Input
from ..loading import load
from ..pytorch.engine import ReferenceEngine, reference, to_torch
from ..pytorch.sampling import Sampler
from .console import note, out
from .model import record_model
from .timing import PHASES, Clock, GpuClock, HostClock, Query, Timed, measure

AGAINST = ("eager", "graph", "compile", "onnxruntime", "reference")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """What is measured, and for how long.

    Attributes:
        against: the other ways, of `AGAINST`.
        batches: sizes of a call; none: as the inputs are.
        duration, warmup: seconds for each way.
        iterations: calls at least.
        graph: whether a call is the replay of a CUDA graph.
        spin: whether the host asks again and again, and does not sleep, until the GPU is done.
        transfers: whether inputs and outputs are copied from and to the host.
        refit: whether refits are measured, too.
        provider: "reference": in PyTorch, even where TensorRT could run.
    """

    against: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    duration: float = 3.0
    warmup: float = 0.2
    iterations: int = 10
    graph: bool = False
    spin: bool = False
    transfers: bool = True
    refit: bool = False
    provider: str | None = None


def parse_batches(text: str | None) -> tuple[int, ...]:
    """Raises ArgumentError for what are no sizes.

    >>> parse_batches("1,8,64")
    (1, 8, 64)
    """
    parts = text.split(",") if text is not None else []
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ArgumentError(
            "--batch takes sizes", expected="whole numbers from 1 on", found=repr(text), remedy="--batch 1,8,64"
        )
    return tuple(int(part) for part in parts)


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


@dataclass(frozen=True)
class Case:
    """A network at one size, with an engine and inputs for it.

    Attributes:
        graph: what was recorded; of a file, what it was built from.
        batch: the size of a call; 0 where that is not known.
    """

    graph: Graph
    engine: Engine
    inputs: Arrays
    batch: int
    facts: Mapping[str, Any]

    @property
    def on_gpu(self) -> bool:
        return not isinstance(self.engine, ReferenceEngine)

    @property
    def way(self) -> str:
        return "TensorRT" if self.on_gpu else "reference"

    def run(self, engine: Engine) -> list[np.ndarray]:
        """The outputs of an engine of this graph."""
        given: dict[str, Any] = dict(self.inputs)
        return _flat(self.graph, engine(**given))


def of_file(path: Path, asked: Asked, arrays: Arrays, refused: Sequence[str] = ()) -> Iterator[Case]:
    """An engine's file, at each size. Raises ArgumentError for options that are for networks, by their names."""
    if refused:
        raise ArgumentError(
            "an engine's file has its weights, types and shapes",
            expected="arrays as --input NAME=FILE.npy, and --batch",
            found=", ".join(refused),
            remedy="leave these out, or name the network that it was built from",
        )
    engine = load(path)
    for batch, sizes in _sizes(engine.graph, asked.batches, arrays):
        yield Case(engine.graph, engine, Sampler(engine.graph).draw(sizes) | dict(arrays), batch, {})


def of_network(
    network: Callable[..., Any], inputs: Mapping[str, Input], asked: Asked, arrays: Arrays
) -> Iterator[Case]:
    """A network, built once where its batch is a Dim, and once for each size where it is a number."""
    if asked.batches and not any(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs.values()):
        for batch in asked.batches:
            given = {name: _resized(name, spec, batch, arrays) for name, spec in inputs.items()}
            yield from of_network(network, given, Asked(refit=asked.refit, provider=asked.provider), arrays)
        return
    graph = record_model(network, inputs)
    started = time.perf_counter()
    engine = reference(graph) if asked.provider == "reference" else build(graph, refit=asked.refit)
    facts = {"build": time.perf_counter() - started, "layers": len(graph.layers)}
    for batch, sizes in _sizes(graph, asked.batches, arrays):
        yield Case(graph, engine, Sampler(graph).draw(sizes) | dict(arrays), batch, facts)


def _resized(name: str, spec: Input, batch: int, arrays: Arrays) -> Input:
    if not spec.shape:
        raise ArgumentError(
            f"the input {name!r} has no dimension for a batch",
            expected="a first dimension",
            found=name,
            remedy="leave --batch out",
        )
    if name in arrays and arrays[name].shape[0] != batch:
        raise _of_another_batch(name, arrays[name].shape[0], batch)
    return Input((batch, *spec.shape[1:]), spec.dtype, spec.range)


def _of_another_batch(name: str, found: int, batch: int) -> ArgumentError:
    return ArgumentError(
        f"the array for {name!r} has another batch than is asked for",
        expected=str(batch),
        found=str(found),
        remedy="leave --batch out, or give a shape in the place of the array: values are drawn for it",
    )


def _sizes(graph: Graph, batches: tuple[int, ...], arrays: Arrays) -> Iterator[tuple[int, dict[str, int]]]:
    """The size of a call, and that of each Dim: of the one that is called batch, or is the inputs' first. The arrays
    decide where they have a Dim."""
    given = {
        str(size): (number, name)
        for name, array in arrays.items() if name in graph.inputs
        for size, number in zip(graph.inputs[name].shape, array.shape) if not isinstance(size, int)
    }  # fmt: skip
    best = {name: given[name][0] if name in given else dim.opt for name, dim in graph.dims.items()}
    firsts = [tensor.shape[0] for tensor in graph.inputs.values() if tensor.shape]
    leading = next((str(size) for size in firsts if not isinstance(size, int)), None)
    name = "batch" if "batch" in best else leading
    if name is None or name not in best:
        fixed = {size for size in firsts if isinstance(size, int)}
        if batches and not (len(fixed) == 1 and fixed == set(batches)):
            raise ArgumentError(
                "the batch of this network is fixed",
                expected=", ".join(map(str, sorted(fixed))) or "no batch",
                found=", ".join(map(str, batches)),
                remedy="leave --batch out, or build it with a dynamic one: --input image=batch=1..8..64x3x224x224",
            )
        yield (fixed.pop() if len(fixed) == 1 else 0), best
        return
    for batch in batches or (best[name],):
        dim = graph.dims[name]
        if name in given and given[name][0] != batch:
            raise _of_another_batch(given[name][1], given[name][0], batch)
        if not dim.min <= batch <= dim.max:
            raise ArgumentError(
                f"a batch of {batch} is beyond the network's",
                expected=f"{dim.min} to {dim.max}",
                found=str(batch),
                remedy=f"--batch {dim.min},{dim.max}; or record it with a wider range",
            )
        yield batch, best | {name: batch}


# --- the ways ---------------------------------------------------------------------------------------------------------


def timed(case: Case, asked: Asked) -> Iterator[Timed]:
    """The engine, and the other ways that were asked for, on the same inputs; each compared with the reference."""
    wanted = case.run(reference(case.graph, dtype="float64"))
    ways: list[tuple[str, Callable[[], tuple[Clock, Query, Any]]]] = [(case.way, lambda: _engine(case, asked))]
    for name in asked.against:
        ways.append((TITLES[name], lambda name=name: _way(name, case, asked)))  # type: ignore[misc]
    for title, make in ways:
        facts = case.facts if title == case.way else {}
        try:
            clock, query, made = make()
        except Exception as error:  # the others' ways fail by whatever they raise
            if title == case.way:
                raise
            yield Timed(title, case.batch, note=_reason(error))
            continue
        difference = _difference(case.graph, made, wanted)
        samples = measure(clock, query, asked.duration, asked.warmup, max(asked.iterations, 1))
        yield Timed(title, case.batch, samples, difference, facts=facts)
    if asked.refit:
        yield from _refits(case, asked)


def _reason(error: Exception) -> str:
    if isinstance(error, TrtnetError):
        return error.problem
    text = str(error).strip().partition("\n")[0]
    return text if text and isinstance(error, (ImportError, RuntimeError)) else f"{type(error).__name__}: {text}"


TITLES = {
    "eager": "PyTorch eager", "graph": "PyTorch, CUDA graph", "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime, CPU", "reference": "reference, CPU",
}  # fmt: skip


def _engine(case: Case, asked: Asked) -> tuple[Clock, Query, Any]:
    engine = case.engine
    if not case.on_gpu:
        if asked.graph:
            raise ProviderError(
                "the reference replays no CUDA graph",
                expected="an engine of TensorRT's, on a GPU",
                found="the reference, in PyTorch",
                remedy="leave --graph out",
            )
        return HostClock(), Query(lambda: case.run(engine)), case.run(engine)
    clock = GpuClock(asked.spin)
    host = [from_numpy(case.inputs[name]).pin_memory() for name in case.graph.inputs]
    device = [one.cuda() for one in host]
    with torch.cuda.stream(clock.stream):
        bound = engine.bind(*device, graph=asked.graph)
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
        return _onnxruntime(case)
    if name == "graph" and not case.on_gpu:
        raise EngineError("there is no GPU here to replay a CUDA graph")
    module = to_torch(case.graph).eval()
    host = [from_numpy(case.inputs[key]) for key in case.graph.inputs]
    if not case.on_gpu:
        called: Any = torch.compile(module) if name == "compile" else module

        def call() -> Any:
            with torch.inference_mode():
                return called(*host)

        return HostClock(), Query(call), _flat(case.graph, _arrays(call()))
    return _on_the_gpu(name, module.cuda(), host, case, asked)


def _on_the_gpu(name: str, module: Any, host: list[torch.Tensor], case: Case, asked: Asked) -> tuple[Clock, Query, Any]:
    clock = GpuClock(asked.spin)
    host = [one.pin_memory() for one in host]
    device = [one.cuda() for one in host]
    called = torch.compile(module, mode="reduce-overhead") if name == "compile" else module
    with torch.cuda.stream(clock.stream), torch.inference_mode():
        for _ in range(3):
            result = called(*device)
        torch.cuda.synchronize()
        if name == "graph":
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured, stream=clock.stream):
                result = called(*device)

            def replay(held: Any = called) -> None:  # it reads the module's memory
                captured.replay()

            call: Callable[[], Any] = replay
        else:

            def call() -> Any:
                return called(*device)

        call()
    torch.cuda.synchronize()
    results = forms.flat(case.graph.form, list(case.graph.outputs), result) or []
    return clock, _with_copies(call, host, device, results, asked.transfers), [as_array(one.cpu()) for one in results]


def _onnxruntime(case: Case) -> tuple[Clock, Query, Any]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    module = to_torch(case.graph).eval()
    file = io.BytesIO()
    values = tuple(from_numpy(case.inputs[name]) for name in case.graph.inputs)
    torch.onnx.export(module, values, file, input_names=list(case.graph.inputs), dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    given = {one.name: case.inputs[one.name] for one in session.get_inputs()}
    return HostClock(), Query(lambda: session.run(None, given)), session.run(None, given)


def _refits(case: Case, asked: Asked) -> Iterator[Timed]:
    """The first refit, those after it, and those of one weight, with other values each time."""
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

    def refit(names: Sequence[str]) -> None:
        nonlocal turn
        turn += 1
        given = others[turn % 2]
        engine.refit({name: given[name] for name in names})

    clock = HostClock()
    every, one = list(state), [smallest]
    first = clock.sample(Query(lambda: refit(every)))
    yield Timed("first refit", samples=[first])
    for title, names in (("refit of every weight", every), (f"refit of {smallest}", one)):
        query = Query(lambda names=names: refit(names))  # type: ignore[misc]
        yield Timed(title, samples=measure(clock, query, asked.duration, 0.0, max(asked.iterations, 1)))
    engine.refit(state)


def _flat(graph: Graph, results: Any) -> list[np.ndarray]:
    return [np.asarray(one) for one in forms.flat(graph.form, list(graph.outputs), results) or []]


def _arrays(results: Any) -> Any:
    if isinstance(results, torch.Tensor):
        return as_array(results)
    if isinstance(results, dict):
        return {key: _arrays(value) for key, value in results.items()}
    return None if results is None else tuple(_arrays(value) for value in results)


def _difference(graph: Graph, found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float | None:
    """The largest difference of any output, relative to that output's largest value: infinity where it has another
    shape, NaN where one side alone is NaN. None where every output hangs on a draw, or is empty."""
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


def report(found: Sequence[Timed], file: Path | None) -> None:
    """Print the tables; and everything, with each sample, into a JSON file."""
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
    out.print(render(titles, rows, right=titles[3:]), markup=False, soft_wrap=True)
    phases = dict.fromkeys(phase for one in found for phase in one.phases())
    for phase in phases:
        out.print(f"{phase}: {PHASES[phase]}", markup=False, soft_wrap=True)
    if file is not None:
        with explained(file), replacing(file) as new:
            new.write_text(json.dumps(_data(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _number(value: float | None) -> float | str | None:
    """As JSON takes it, which has no word for infinity and NaN."""
    return value if value is None or math.isfinite(value) else str(value)


def _data(found: Sequence[Timed]) -> dict[str, Any]:
    from .. import __version__

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"trtnet": __version__, "python": platform.python_version(), "torch": torch.__version__},
        "machine": {"cpu": platform.processor() or platform.machine(), "gpu": gpu, "os": platform.platform()},
        "results": [
            {
                "way": one.way, "batch": one.batch, "note": one.note, "difference": _number(one.difference),
                "throughput": one.throughput * max(one.batch, 1), **one.facts, "samples": one.samples,
                "phases": {phase: asdict(spread) for phase, spread in one.phases().items()},
            }
            for one in found
        ],
    }  # fmt: skip
