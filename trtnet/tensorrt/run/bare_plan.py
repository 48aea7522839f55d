"""A plan without its manifest: inputs and outputs as TensorRT describes them."""

from __future__ import annotations

from typing import Any

from ...basics import dtypes
from ...basics.dims import Dim
from ...basics.errors import BuildError
from ...engine.plan import Plan
from ...graph.graph import Graph
from ...graph.recorder import Recorder
from ...graph.tensor import Tensor, recorded
from ..device import Device
from ..provider import Provider


def bare_plan(data: bytes, provider: Provider, device: Device) -> Plan:
    """A Plan whose graph has inputs and outputs, and no layers: dynamic sizes become Dims of the profiles' ranges.

    `device` is the current one. Raises BuildError, with TensorRT's reasons, for what it cannot load.
    """
    runtime = provider.runtime()
    with provider.recorded(runtime) as errors:
        engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise BuildError(
            f"{provider} could not load this plan",
            details=errors.text() or "(TensorRT gave no reason)",
            expected=f"a whole plan of {provider} for {device.properties[1]}",
            found=f"{len(data):,} bytes",
            remedy="build it again with this version of TensorRT on this kind of GPU",
        )
    recorder = Recorder()
    profiles = range(engine.num_optimization_profiles)
    ranges: list[dict[str, tuple[int, int, int]]] = [{} for _ in profiles]
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    free: set[str] = set()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == provider.trt.TensorIOMode.INPUT
        dtype = provider.dtype_of(engine.get_tensor_dtype(name))
        shape: list[Any] = list(engine.get_tensor_shape(name))
        for axis, size in enumerate(shape):
            if size >= 0:
                continue
            label = f"{name}_{axis}"
            if is_input:
                found = []
                for profile, range_ in zip(profiles, ranges):
                    least, best, most = engine.get_tensor_profile_shape(name, profile)
                    range_[label] = (least[axis], best[axis], most[axis])
                    found.append(range_[label])
                low, high = min(f[0] for f in found), max(f[2] for f in found)
                shape[axis] = Dim(label, min=low, opt=found[0][1], max=high)
            else:
                free.add(label)
                shape[axis] = Dim(label, min=0, opt=1, max=2**31 - 1)
        tensor = recorded(tuple(shape), dtypes.get(dtype), recorder, None)
        tensor.name = name
        (inputs if is_input else outputs)[name] = tensor
    form = "one" if len(outputs) == 1 else "dict"
    graph = Graph([], inputs, outputs, form, title="plan", data_dims=frozenset(free))
    return Plan(
        data=data, targets=(), provider=provider.name, version=provider.version, seconds=0.0, stripped=False,
        graph=graph, weights={}, parameters={}, refittable=frozenset(), live={}, gpu=None, options={},
        profiles=tuple(ranges) if any(ranges) else (),
    )  # fmt: skip
