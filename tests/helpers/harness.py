"""Comparisons that the tests share: with torch in float64, and with TensorRT-RTX's own shape inference and compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import provider
from trtnet.basics import dims
from trtnet.graph.graph import Graph
from trtnet.tensorrt.abilities import Newest
from trtnet.tensorrt.build.lowering import Lowering, lower

TARGET = "sm86"


def rtx() -> provider.Provider | None:
    """TensorRT-RTX, or None where it is not installed: the one that a build uses, also after it was loaded anew."""
    try:
        return provider.load("tensorrt_rtx")
    except trtnet.TrtnetError:
        return None


def needs_rtx() -> provider.Provider:
    found = rtx()
    if found is None:
        pytest.skip("tensorrt_rtx is not installed on this platform")
    return found


class Lacking(Newest):
    """A TensorRT that has everything but these methods of INetworkDefinition and abilities."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._lacking = names
        for name in names:
            if not name.startswith("add_"):
                setattr(self, name, False)

    def has_layer(self, method: str) -> bool:
        return method not in self._lacking


def composed_without(graph: Graph, *names: str) -> Graph:
    """The graph for a TensorRT that lacks these: its layers are composed of others."""
    made = graph.for_provider(Lacking(*names))
    assert made is not graph
    assert not {method for layer in made.layers for method in layer.methods[-1:]} & set(names)
    return made


@functools.cache
def builder() -> Any:
    found = needs_rtx()
    return found.trt.Builder(found.logger)


def new_network() -> Any:
    return needs_rtx().create_network(builder())


def record(
    function: Callable[..., Any], inputs: Mapping[str, np.ndarray], shapes: Mapping[str, Any] | None = None
) -> Graph:
    """Record with fixed shapes from the arrays, or with `shapes` (ints and Dims) where given."""
    specs = {
        name: trtnet.Input((shapes or {}).get(name, array.shape), trtnet.dtypes.get(array.dtype))
        for name, array in inputs.items()
    }
    return trtnet.record(function, **specs)


def lower_and_compare(graph: Graph, *, compile: bool = True, target: str = TARGET) -> Lowering | None:
    """Lower onto TensorRT-RTX; shape and dtype of every layer as TensorRT infers them must equal ours; compile.

    Returns None where TensorRT-RTX is not installed (the comparison is then left out;
    tests/tensorrt_/build/test_lowering.py says so once).
    """
    if rtx() is None:
        return None
    network = new_network()
    lowering = lower(graph, network)
    for layer in lowering.graph.layers:
        for tensor in layer.outputs:
            native = lowering[tensor]
            expected = tuple(s if isinstance(s, int) else -1 for s in tensor.shape)
            assert tuple(native.shape) == expected, (
                f"{layer.name} {layer!r}: TensorRT {tuple(native.shape)}, trtnet {tensor.shape}"
            )
            assert native.dtype == lowering.provider.data_type(tensor.dtype), (
                f"{layer.name}: {native.dtype} {tensor.dtype}"
            )
    if compile:
        compile_network(lowering, target)
    return lowering


def compile_network(lowering: Lowering, target: str = TARGET) -> bytes:
    """The plan, compiled on the CPU for one compute capability; TensorRT's reasons where there is none."""
    found = needs_rtx()
    config = builder().create_builder_config()
    config.builder_optimization_level = 0
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(found.trt.ComputeCapability, target.upper()), 0)
    symbols = lowering.graph.dims
    if symbols:
        profile = builder().create_optimization_profile()
        for name, tensor in lowering.graph.inputs.items():
            at = [
                tuple(dims.evaluate(s, {n: getattr(d, which) for n, d in symbols.items()}) for s in tensor.shape)
                for which in ("min", "opt", "max")
            ]
            profile.set_shape(name, *at)
        assert config.add_optimization_profile(profile) >= 0
    lowering.network.error_recorder = builder().error_recorder = lowering.errors.native
    plan = builder().build_serialized_network(lowering.network, config)
    builder().error_recorder = None  # networks would inherit it
    assert plan is not None, f"TensorRT refused to build: {lowering.errors.text()}"
    return bytes(plan)


def check_against_torch(
    function: Callable[..., Any],
    expected: Callable[..., Any],
    inputs: Mapping[str, np.ndarray],
    *,
    shapes: Mapping[str, Any] | None = None,
    state_dict: Mapping[str, Any] | None = None,
    compile: bool = True,
    rtol: float = 1e-9,
    atol: float = 1e-9,
    single: bool = True,
) -> Graph:
    """Record `function` (a trtnet module or function), run it, and compare with `expected` (torch) in float64.

    - the reference engine in float64 must equal torch in float64 to `rtol`, `atol` (values, shape, dtype kind);
    - in the recorded dtypes it must be close to that (`single`);
    - every layer is lowered on TensorRT-RTX, shapes and dtypes compared, and compiled for sm86 (`compile`).

    `inputs`: float32 / int / bool arrays by argument name. `expected` is called with torch tensors in the same
    order, floats as
    float64. `shapes`: recorded shapes with Dims. `state_dict` is loaded into the graph first.
    """
    import torch

    graph = record(function, inputs, shapes)
    if state_dict is not None:
        graph.load_state_dict(state_dict)
    tensors = [torch.from_numpy(np.array(a)) for a in inputs.values()]
    doubles = [t.double() if t.is_floating_point() else t for t in tensors]
    if isinstance(expected, torch.nn.Module):
        expected = expected.double().eval()
    with torch.no_grad():
        wanted = _flat(expected(*doubles))
        found = _flat(trtnet.reference(graph, dtype="float64", raw=True)(*doubles))
    assert len(found) == len(wanted), f"{len(found)} outputs, torch has {len(wanted)}"
    for name, spec, mine, torchs in zip(graph.outputs, graph.outputs.values(), found, wanted, strict=True):
        assert tuple(mine.shape) == tuple(torchs.shape), (
            f"{name}: shape {tuple(mine.shape)}, torch has {tuple(torchs.shape)}"
        )
        assert (
            mine.dtype == torchs.dtype or not (mine.is_floating_point() or torchs.is_floating_point()) or shapes is None
        ), name
        assert len(spec.shape) == torchs.dim()
        np.testing.assert_allclose(mine.double().numpy(), torchs.double().numpy(), rtol=rtol, atol=atol, err_msg=name)
    if single:
        engine = trtnet.reference(graph)
        results = _flat(engine(**inputs))
        for name, mine, torchs in zip(graph.outputs, results, wanted, strict=True):
            tolerance = {"float16": 2e-2, "bfloat16": 1e-1}.get(mine.dtype.name, 2e-4)
            scale = max(
                1.0,
                float(np.nanmax(np.abs(torchs.double().numpy()[np.isfinite(torchs.double().numpy())]), initial=0.0)),
            )
            np.testing.assert_allclose(
                mine.astype(np.float64), torchs.double().numpy(), rtol=tolerance, atol=tolerance * scale, err_msg=name
            )
            assert mine.dtype == graph.outputs[name].dtype.numpy, (
                f"{name}: engine gave {mine.dtype}, recorded {graph.outputs[name].dtype}"
            )
    lowering = lower_and_compare(graph, compile=compile)
    if lowering is not None and lowering.graph is not graph:
        # what layers are composed of must compute the same
        with torch.no_grad():
            composed = _flat(trtnet.reference(lowering.graph, dtype="float64", raw=True)(*doubles))
        for name, mine, torchs in zip(graph.outputs, composed, wanted, strict=True):
            np.testing.assert_allclose(
                mine.double().numpy(),
                torchs.double().numpy(),
                rtol=max(rtol, 1e-7),
                atol=max(atol, 1e-7),
                err_msg=f"composed {name}",
            )
    return graph


def _flat(result: Any) -> list[Any]:
    if isinstance(result, Mapping):
        result = list(result.values())
    return [one for part in result for one in _flat(part)] if isinstance(result, (tuple, list)) else [result]


def torch_state(module: Any) -> dict[str, np.ndarray]:
    """A torch module's state_dict as float32 NumPy arrays, for `check_against_torch(state_dict=...)`."""
    return {
        name: value.detach().float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in module.state_dict().items()
    }


def randomize(module: Any, seed: int = 0) -> Any:
    """Random values for every parameter and buffer of a torch module (positive variances), so that none is at its
    default."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return module
