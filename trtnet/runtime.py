"""The TensorRT engine: a plan that runs on a GPU, with buffers from PyTorch's allocator."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import dims, dtypes
from .engine import Engine, RefitReport, Snapshot, is_torch
from .errors import BuildError, ProviderError, ShapeError, WeightsError
from .graph import Graph
from .interchange import from_numpy, import_torch, to_numpy
from .lowering import Lowering
from .refitting import Refitting


class TensorRTEngine(Engine):
    """Runs a plan with TensorRT.

    NumPy arrays and CPU tensors are copied to the GPU and back; CUDA tensors are read where they lie, in the order of
    the caller's current stream. Calls from several threads take turns.

    Args:
        graph: the recorded graph.
        lowering: what the plan was built from: engine weight names, recipes.
        plan: the plan's bytes.
        device: the CUDA device, "cuda:0" unless given.
    """

    def __init__(self, graph: Graph, lowering: Lowering, plan: bytes, device: Any = None) -> None:
        super().__init__(graph)
        torch = self.torch = import_torch()
        if not torch.cuda.is_available():
            raise ProviderError(
                "running TensorRT needs a PyTorch with CUDA",
                found=f"torch {torch.__version__}",
                remedy="install the CUDA build of PyTorch, or use build(graph, provider='reference')",
            )
        self.device = torch.device("cuda", 0) if device is None else torch.device(device)
        self.provider = provider = lowering.provider
        with torch.cuda.device(self.device):
            self._runtime = provider.trt.Runtime(provider.logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise BuildError(f"{provider} could not load the plan that it built")
            self._context = self._engine.create_execution_context()
            self._stream = torch.cuda.Stream(self.device)
        self.plan = plan
        self._lock = threading.Lock()
        self._stored = {s.name: provider.stored(s.dtype) for s in (*self.inputs, *self.outputs)}
        self._check_types()
        self._refitting = Refitting(provider, self._engine, lowering, self.device) if self._engine.refittable else None

    def _check_types(self) -> None:
        for name, dtype in self._stored.items():
            found = self._engine.get_tensor_dtype(name)
            if found != self.provider.data_type(dtype):
                raise BuildError(f"TensorRT changed the dtype of {name!r}", expected=dtype.name, found=found)

    # --- calls

    def _run(self, values: list[Any], sizes: dict[str, int]) -> list[Any]:
        torch = self.torch
        with torch.cuda.device(self.device):
            tensors = [self._to_device(spec.name, value) for spec, value in zip(self.inputs, values)]
            results = [
                torch.empty(
                    [dims.evaluate(s, sizes) for s in spec.shape],
                    dtype=self._stored[spec.name].torch,
                    device=self.device,
                )
                for spec in self.outputs
            ]
            # one stream of the engine's own: calls that come on different streams do not meet in the context, and
            # TensorRT synchronises more when it is given the default stream
            current, stream = torch.cuda.current_stream(self.device), self._stream
            with self._lock:
                context = self._context
                for spec, tensor in zip(self.inputs, tensors):
                    if not context.set_input_shape(spec.name, tuple(tensor.shape)):
                        raise ShapeError(f"TensorRT refused the shape of {spec.name!r}", found=tuple(tensor.shape))
                    context.set_tensor_address(spec.name, tensor.data_ptr())
                for spec, tensor in zip(self.outputs, results):
                    context.set_tensor_address(spec.name, tensor.data_ptr())
                stream.wait_stream(current)
                if not context.execute_async_v3(stream.cuda_stream):
                    raise ProviderError(f"{self.provider} could not run the engine")
                current.wait_stream(stream)
            for tensor in (*tensors, *results):
                tensor.record_stream(stream)
            return [r.to(s.dtype.torch) for r, s in zip(results, self.outputs)]

    def _to_device(self, name: str, value: Any) -> Any:
        stored = self._stored[name]
        if stored is dtypes.int32 and dtypes.get(value.dtype) is dtypes.int64:
            if is_torch(value) and value.is_cuda:
                raise ProviderError(
                    f"{self.provider} has no int64, and input {name!r} is on the GPU",
                    expected="an int32 tensor or host data",
                    found="a CUDA int64 tensor",
                    remedy="record the input as int32: Input(shape, 'int32')",
                )
            array = to_numpy(value) if is_torch(value) else value
            limits = np.iinfo(np.int32)
            if array.size and (array.min() < limits.min or array.max() > limits.max):
                raise ShapeError(
                    f"input {name!r} does not fit int32, which {self.provider} has in place of int64",
                    expected=f"{limits.min} to {limits.max}",
                    found=f"{array.min()} to {array.max()}",
                )
            value = array.astype(np.int32)
        if not is_torch(value):
            value = from_numpy(np.ascontiguousarray(value))
        elif value.is_cuda and value.device != self.device:
            raise ProviderError(f"input {name!r} is on another device", expected=self.device, found=value.device)
        return value.to(self.device).contiguous()

    # --- weights

    def _refit(self, values: dict[str, Any]) -> RefitReport:
        with self._lock:
            report = self._changeable().apply(
                {n: v if isinstance(v, np.ndarray) else to_numpy(v) for n, v in values.items()}
            )
            self._new_context()
        return report

    def snapshot(self) -> Snapshot:
        return Snapshot(self.serial, self.generation, self._changeable().state())

    def restore(self, snapshot: Snapshot) -> None:
        self._check_snapshot(snapshot)
        with self._lock:
            self._changeable().bring_back(snapshot.weights)
            self._new_context()
        self.generation += 1

    def _new_context(self) -> None:
        # "existing contexts must not be used after a refit": documentation of TensorRT 8.6's IRefitter
        # and the old one must go first: 8.6 gives an optimization profile to one context at a time
        self._context = None
        self._context = self._engine.create_execution_context()

    def _changeable(self) -> Refitting:
        if self._refitting is None:
            raise WeightsError("this engine was built without refit", remedy="build(graph, refit=True)")
        self.torch.cuda.synchronize(self.device)  # a refit with enqueued work is undefined behaviour
        return self._refitting
