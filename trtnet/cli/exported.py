"""A network in ONNX Runtime on the CPU, by PyTorch's exporter: another's arithmetic, to compare with."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..basics.arrays import from_numpy
from ..basics.errors import ProviderError
from ..graph import forms
from ..graph.graph import Graph
from ..pytorch.engine import to_torch


class _Flat(torch.nn.Module):
    """A graph's module, with its outputs in their order, whatever their form."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module = to_torch(graph)
        self.graph = graph

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(forms.flat(self.graph.form, list(self.graph.outputs), self.module(*inputs)) or ())


def onnx_runtime(graph: Graph, inputs: Mapping[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    """What computes the graph's outputs, in their order, from these inputs.

    Raises ProviderError where ONNX Runtime is not installed, and where the network cannot be exported or is refused.
    """
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ProviderError(
            "ONNX Runtime is not installed", details=str(error), remedy="pip install onnx onnxruntime"
        ) from None
    file = io.BytesIO()
    given = tuple(from_numpy(inputs[name]) for name in graph.inputs)
    names = list(graph.outputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about what it traces
            torch.onnx.export(
                _Flat(graph).eval(), given, file, input_names=list(graph.inputs), output_names=names, dynamo=False
            )
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        feed = {one.name: inputs[one.name] for one in session.get_inputs()}
        session.run(names, feed)  # which refuses some types
    except Exception as error:  # the exporter and ONNX Runtime raise whatever they raise
        first = str(error).strip().partition("\n")[0]
        raise ProviderError(
            "ONNX Runtime does not compute this network",
            details=f"{type(error).__name__}: {first}",
            remedy="compare with another: float64, or the torch.nn.Module",
        ) from error
    return lambda: list(session.run(names, feed))
