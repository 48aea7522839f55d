"""A graph as a program in TensorRT's own API, which runs without trtnet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..basics.disk import as_path, explained, replacing
from ..basics.errors import ArgumentError, ArgumentTypeError
from ..basics.garbage import no_collection
from ..graph.graph import Graph, method
from ..graph.tensor import Producer, Tensor
from ..rewriting.composing import for_provider
from ..tensorrt.build.job import Job
from ..tensorrt.build.options import BuildOptions
from ..tensorrt.provider import Provider
from ..weights.files import write
from .calls import Writing, provider_of, written
from .statements import Statement, Statements, as_text


@method
def to_script(
    graph: Graph,
    path: str | os.PathLike[str] | None = None,
    provider: str | Provider | None = None,
    targets: Sequence[str] | str = (),
    **options: Any,
) -> str:
    place = None if path is None else as_path(path)
    if place is not None and place.suffix != ".py":
        raise ArgumentError(
            "a script is a file of Python", expected="NAME.py", found=str(path), remedy='graph.to_script("net.py")'
        )
    if not isinstance(targets, (str, Sequence)):
        raise ArgumentTypeError(
            "targets are names", expected='"sm86" or a list of such', found=repr(targets), remedy='targets="sm86"'
        )
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    with no_collection():
        made = writing(graph, provider, names, BuildOptions.of(options))
        statements = Statements(made)
        lines = list(statements.all())
        weights = "NAME.safetensors" if place is None else place.with_suffix(".safetensors").name
        text = _program(made, lines, statements, weights)
    if place is not None:
        arrays = {one.name: _plain(one.array) for one in statements.weights.values()}
        write(place.with_suffix(".safetensors"), arrays, {})
        with explained(place), replacing(place) as other:
            other.write_text(text, encoding="utf-8")
    return text


def writing(
    graph: Graph,
    provider: str | Provider | None,
    targets: tuple[str, ...] = (),
    options: BuildOptions | None = None,
    takes_plugins: bool = False,
) -> Writing:
    """A build of the graph, as `written`."""
    found = provider_of(provider)
    unknown = [one for one in targets if one not in found.targets]
    if unknown:
        raise ArgumentError(
            f"{found} cannot compile for these targets",
            expected=", ".join(found.targets) or "no targets: it builds for the GPU that it runs on",
            found=", ".join(unknown),
            remedy="leave targets out, or give names that this TensorRT knows",
        )
    profile = {name: (dim.min, dim.opt, dim.max) for name, dim in graph.dims.items()}
    profiles = (profile,) if profile else ()
    job = Job(graph, found, options or BuildOptions(), targets=targets, profiles=profiles)
    return written(job, for_provider, takes_plugins)


def _plain(array: np.ndarray) -> np.ndarray:
    """The bytes of an array, in a type that every safetensors library knows."""
    if array.dtype.kind in "fiub":
        return array
    return array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)


# --- the program ------------------------------------------------------------------------------------------------------


def _program(made: Writing, lines: list[Statement], statements: Statements, weights: str) -> str:
    provider = made.provider
    builds = [line for line in lines if line.layer is None and line.of in _BUILDING]
    network = [line for line in lines if not (line.layer is None and line.of in _BUILDING)]
    is_first = [line.text for line in builds if line.text.startswith(("builder =", "network ="))]
    rest = [line.text for line in builds if line.text not in is_first]
    arrays = [f"        {as_text(name)}: {_random(made, tensor)}," for name, tensor in made.graph.inputs.items()]
    parts = [
        _HEAD.format(title=made.graph.title, provider=provider, module=provider.name, weights=weights),
        _WEIGHTS.format(make=_BY_ADDRESS if provider.weights_by_address else _BY_ARRAY),
        _NUMBERS if statements.numbers else "",
        f"\n\ndef define(network: trt.INetworkDefinition) -> None:\n{_indented(_sections(made, network))}\n",
        "\n\ndef build(logger: trt.ILogger) -> bytes:\n",
        '    """The plan: what TensorRT compiles of the network."""\n',
        _indented([*is_first, "define(network)", *rest]),
        _BUILT,
        _RUN.format(arrays="\n".join(arrays)),
        _MAIN,
    ]
    return "".join(parts)


_BUILDING = frozenset(("Builder", "IBuilderConfig", "IOptimizationProfile"))


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"    {part}" if part else "" for line in lines for part in line.split("\n"))


def _sections(made: Writing, lines: list[Statement]) -> list[str]:
    """The lines of the network under headings: modules, and lines of `forward`."""
    found = ['"""The network: a call for each layer."""']
    before: tuple[str, str] | None = None
    last: Producer | None = None
    for line in lines:
        layer = line.layer
        if layer is None:
            if last is not None or before is None:
                found += ["", "# inputs" if last is None else "# outputs"]
                before, last = ("", ""), None
        elif layer is not last:
            heading = (layer.path, place_of(layer))
            if heading != before:
                found += ["", *_heading(*heading)]
            before, last = heading, layer
        found.append(line.text)
    return found


def _heading(path: str, place: str) -> list[str]:
    return [f"# {path or '(the module itself)'}", *([f"#   {place}"] if place else [])]


def place_of(layer: Producer) -> str:
    """File, line and text of the user's line that recorded a layer."""
    where = layer.location
    if where is None:
        return ""
    text = where.excerpt().split("\n")[0]
    return os.path.basename(str(where)) + (f": {text}" if text else "")


def _random(made: Writing, tensor: Tensor) -> str:
    """An array of random numbers for an input, at its opt sizes."""
    shape = tuple(size if isinstance(size, int) else size.opt for size in tensor.shape)
    name = made.provider.stored(tensor.dtype).numpy.name
    if tensor.dtype.is_floating_point:
        return f"random.standard_normal({shape}).astype(np.{name})"
    return f"random.integers(0, 2, {shape}).astype(np.{name})"


_HEAD = '''"""{title} in the API of {provider}, written by trtnet's graph.to_script.

    python THIS.py             builds the plan, and writes it to THIS.engine
    python THIS.py --run       runs it, too, on random inputs (needs a GPU, and cuda-python)

The weights are in {weights}, beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import {module} as trt
from safetensors import deserialize

HERE = Path(__file__)
# TensorRT copies no weights: what the network points to must stay until the plan is built
HELD = dict(deserialize(HERE.with_suffix(".safetensors").read_bytes()))
'''

_WEIGHTS = '''

def weights(name: str, dtype: trt.DataType, count: int) -> trt.Weights:
    """The weights of this name in the file: so many numbers of this type, where they lie in memory."""
    array = HELD[name]["array"] = np.frombuffer(HELD[name]["data"], np.uint8).copy()
{make}
'''

_BY_ADDRESS = "    return trt.Weights(dtype, array.ctypes.data, count)"

_BY_ARRAY = """    array = HELD[name]["array"] = array.view(trt.nptype(dtype))
    assert array.size == count
    return trt.Weights(array)"""

_NUMBERS = '''

def numbers(values: int | list[int], dtype: type[np.generic]) -> np.ndarray:
    """Sizes, as TensorRT takes them: an array, which must stay, too."""
    array = np.array(values, dtype)
    HELD[f"numbers {len(HELD)}"] = {"array": array}
    return array
'''

_BUILT = """
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SystemExit("TensorRT refused the network; its reasons are above")
    return bytes(plan)
"""

_RUN = '''

def check(result: tuple) -> object:
    """What a function of CUDA's gives, behind its error code."""
    error, *values = result
    if int(error) != 0:
        raise SystemExit(f"CUDA says {{error!r}}")
    return values[0] if values else None


def run(logger: trt.ILogger, plan: bytes) -> dict[str, np.ndarray]:
    """The outputs for random inputs: buffers on the GPU, copies there, the work, copies back, all on one stream."""
    from cuda.bindings import runtime as cuda

    random = np.random.default_rng(0)
    inputs = {{
{arrays}
    }}
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    stream = check(cuda.cudaStreamCreate())
    buffers = {{}}
    for name, array in inputs.items():
        context.set_input_shape(name, array.shape)
        buffers[name] = check(cuda.cudaMalloc(max(array.nbytes, 1)))
        context.set_tensor_address(name, buffers[name])
        to_device = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(cuda.cudaMemcpyAsync(buffers[name], array.ctypes.data, array.nbytes, to_device, stream))
    outputs = {{}}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            shape = tuple(context.get_tensor_shape(name))
            outputs[name] = np.empty(shape, trt.nptype(engine.get_tensor_dtype(name)))
            buffers[name] = check(cuda.cudaMalloc(max(outputs[name].nbytes, 1)))
            context.set_tensor_address(name, buffers[name])
    if not context.execute_async_v3(stream):
        raise SystemExit("TensorRT could not run the network; its reasons are above")
    for name, array in outputs.items():
        to_host = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(cuda.cudaMemcpyAsync(array.ctypes.data, buffers[name], array.nbytes, to_host, stream))
    check(cuda.cudaStreamSynchronize(stream))
    for buffer in buffers.values():
        check(cuda.cudaFree(buffer))
    check(cuda.cudaStreamDestroy(stream))
    return outputs
'''

_MAIN = """

def main() -> None:
    logger = trt.Logger(trt.Logger.WARNING)
    plan = build(logger)
    HERE.with_suffix(".engine").write_bytes(plan)
    print(f"{len(plan):,} bytes in {HERE.with_suffix('.engine')}")
    if "--run" in sys.argv[1:]:
        for name, array in run(logger, plan).items():
            print(f"{name}: {array.dtype} {array.shape}\\n{array}")


if __name__ == "__main__":
    main()
"""
