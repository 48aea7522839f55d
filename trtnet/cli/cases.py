"""A network of the command line, built and with inputs at each size that is asked for: what is timed and profiled."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..basics.errors import ArgumentError
from ..building import build
from ..engine.engine import Engine
from ..functional.attention import fusing
from ..graph import forms
from ..graph.graph import Graph, Input
from ..loading import load
from ..pytorch.engine import ReferenceEngine
from ..pytorch.exported.wrappers import unwrapped
from ..pytorch.sampling import Sampler
from .model import is_torch_module, record_model

Arrays = Mapping[str, np.ndarray]


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


@dataclass(frozen=True)
class Case:
    """A network at one size, with an engine and inputs for it.

    Attributes:
        graph: what was recorded; of a file, what it was built from.
        batch: the size of a call; 0 where that is not known.
        rebuilt: makes an engine with other options of `trtnet.build`; None of a file.
        module: the torch.nn.Module that was recorded; None of a network of trtnet's own, and of a file.
        fused: records a network of trtnet's own with attention as one layer, where it is one; None of others.
        again: whether its engine is that of the case before, at another size.
    """

    graph: Graph
    engine: Engine
    inputs: Arrays
    batch: int
    facts: Mapping[str, Any]
    rebuilt: Callable[..., Engine] | None = None
    module: Any = None
    fused: Callable[[], Graph] | None = None
    again: bool = False

    @property
    def on_gpu(self) -> bool:
        return not isinstance(self.engine, ReferenceEngine)

    @property
    def way(self) -> str:
        return "TensorRT" if self.on_gpu else "reference"

    def run(self, engine: Engine) -> list[np.ndarray]:
        """The outputs of an engine of this graph."""
        given: dict[str, Any] = dict(self.inputs)
        return flat(self.graph, engine(**given))


def of_file(
    path: Path, arrays: Arrays, batches: tuple[int, ...] = (), refused: Sequence[str] = (), provider: str | None = None
) -> Iterator[Case]:
    """An engine's file, at each size. Raises ArgumentError as `opened` does."""
    engine = opened(path, refused, provider)
    for number, (batch, sizes) in enumerate(_sizes(engine.graph, batches, arrays)):
        drawn = Sampler(engine.graph).draw(sizes) | dict(arrays)
        yield Case(engine.graph, engine, drawn, batch, {}, again=number > 0)


def opened(path: Path, refused: Sequence[str] = (), provider: str | None = None) -> Engine:
    """The engine of a file. Raises ArgumentError for options that are for networks, by their names."""
    if refused:
        raise ArgumentError(
            "an engine's file has its weights, types and shapes",
            expected="arrays as --input NAME=FILE.npy",
            found=", ".join(refused),
            remedy="leave these out, or name the network that it was built from",
        )
    return load(path, provider=provider)


def of_network(
    network: Callable[..., Any],
    inputs: Mapping[str, Input],
    arrays: Arrays,
    batches: tuple[int, ...] = (),
    **options: Any,
) -> Iterator[Case]:
    """A network, built once where its batch is a Dim, and once for each size where it is a number; `trtnet.build` has
    the options."""
    if batches and not any(spec.shape and not isinstance(spec.shape[0], int) for spec in inputs.values()):
        for batch in batches:
            given = {name: _resized(name, spec, batch, arrays) for name, spec in inputs.items()}
            yield from of_network(network, given, arrays, **options)
        return
    graph = record_model(network, inputs)
    started = time.perf_counter()
    engine = build(graph, **options)
    facts = {"build": time.perf_counter() - started, "layers": len(graph.layers)}
    chosen = "reference" if isinstance(engine, ReferenceEngine) else options.get("provider")
    rebuilt = functools.partial(build, graph, **options | {"provider": chosen, "refit": False})
    module = unwrapped(network) if is_torch_module(network) else None
    fused = None if module is not None else functools.cache(functools.partial(_fused, network, inputs))
    for number, (batch, sizes) in enumerate(_sizes(graph, batches, arrays)):
        drawn = Sampler(graph).draw(sizes) | dict(arrays)
        yield Case(graph, engine, drawn, batch, facts, rebuilt, module, fused, number > 0)


def _fused(network: Callable[..., Any], inputs: Mapping[str, Input]) -> Graph:
    with fusing(True):
        return record_model(network, inputs)


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


def flat(graph: Graph, results: Any) -> list[np.ndarray]:
    return [np.asarray(one) for one in forms.flat(graph.form, list(graph.outputs), results) or []]
