"""A plan that TensorRT has loaded on a GPU: what its execution contexts ask of it."""

from __future__ import annotations

import functools
import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...basics import dtypes
from ...basics.arrays import import_torch, is_torch, overflow
from ...basics.errors import BuildError, EngineError, ProviderError, ShapeError
from ...engine.checked import Checked
from ...engine.debugging import Listening
from ...engine.engine import Engine
from ...engine.inputs import StreamLike, TensorSpec
from ...engine.options import CHOICES, SINCE, RunOptions
from ...engine.plan import Plan
from ...engine.revision import Revision
from ...graph.tensor import DeviceLike
from .. import plugins
from ..callbacks import DebugListener
from ..device import Device, Owned, ordinal
from ..provider import Provider
from .layouts import layouts_of
from .live_memory import LiveMemory
from .runtime_cache import RuntimeCache
from .stream_lock import StreamLock

if TYPE_CHECKING:
    from torch import device as TorchDevice

    from ...layers.targets import EnumMember
    from ..bindings import ICudaEngine, IExecutionContext, IRuntimeConfig, Runtime


class Running(Protocol):
    """What runs a loaded plan: a context or a bound call."""

    closed: str | None

    @property
    def stream_locks(self) -> list[StreamLock]: ...
    def renew(self) -> None: ...
    def release(self) -> None: ...
    def abandon(self) -> None: ...
    def holds(self) -> tuple[int, int, int]: ...


class Loaded(Engine):
    """A plan on a device: TensorRT's engine object, types and layouts of inputs and outputs, profiles, scratch memory,
    live weights.

    Args:
        plan: what to run, and what its weights come from.
        provider: the TensorRT that runs it.
        device: the CUDA device: "cuda:1", 1, or torch's object; the first unless given.
        options: how it runs.
    """

    device: Device

    def __init__(
        self,
        plan: Plan,
        provider: Provider,
        device: DeviceLike | None = None,
        options: RunOptions = RunOptions(),  # noqa: B008
    ) -> None:
        super().__init__(plan.graph)
        require(provider, options)
        self.provider = provider
        self.options = options
        self.device = Device(ordinal(device))
        with self.device.current():
            self._load(plan)

    def _load(self, plan: Plan) -> None:
        provider = self.provider
        plugins.require(provider, plan.plugins)
        self._runtime = provider.runtime()
        if plan.options.get("version_compatible"):
            self._runtime.engine_host_code_allowed = True  # such a plan has a part of TensorRT in it
        if plan.options.get("dla_core") is not None:
            self._runtime.DLA_core = plan.options["dla_core"]
        cache = self.options.runtime_cache
        self.runtime_cache = None if cache is None else RuntimeCache(cache)
        self._set_choice(self._runtime, "dla_workspace_allocation_strategy", "DLAWorkspaceAllocationStrategy")
        with provider.recorded(self._runtime) as errors:
            engine = self._runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            raise BuildError(
                f"{provider} could not load the plan",
                details=errors.text() or "(TensorRT gave no reason)",
                expected=f"a plan of {provider} for {self.device.properties[1]}",
                found=f"{len(plan.data):,} bytes, built by {plan.provider} {plan.version}",
                remedy="build it here: a plan is for one version of TensorRT and one kind of GPU; if memory ran out, "
                "close other engines first",
            )
        self._engine = engine
        self._streamed: int | None = 0
        self.streams_weights = self._stream_weights()
        self.plan = plan = plan.kept()
        self.revision = Revision(0, plan.weights_version)
        self.checked = None if plan.checked is None else Checked.of(plan.checked)
        self.refittable = plan.refittable
        self.live = frozenset(n for n, leaf in plan.graph.parameters.items() if leaf.name in plan.live)
        self.profiles = self._engine.num_optimization_profiles
        self.stored = {s.name: provider.stored(s.dtype) for s in (*self.inputs, *self.outputs)}
        self.converts = any(self.stored[s.name] is not s.dtype for s in self.outputs)
        self.layouts = layouts_of(self._engine, {s.name: s.shape for s in (*self.inputs, *self.outputs)})
        self._check_types()
        self.aliases = self._aliases()
        told = plan.options.get("debug_tensors")
        self._debug_paths = {name: tuple(paths) for name, paths in told.items()} if isinstance(told, dict) else {}
        self._shows_unfused = bool(plan.options.get("unfused_tensors_as_debug_tensors"))
        self.listening: Listening | None = None
        self._admin = threading.RLock()
        self._scratch = threading.Lock()
        self._contexts: weakref.WeakSet[Running] = weakref.WeakSet()
        self._shared: Owned | None = None
        self._streams: Callable[[int], int] | None = None
        self._torch_device: TorchDevice | None = None
        self.draws = self.graph.drawn_outputs()
        self._drawing: weakref.WeakSet[Any] = weakref.WeakSet()
        self.shared_stream_lock = StreamLock(self.device)
        self.live_weights: LiveMemory | None = None
        if plan.live:
            self.live_weights = LiveMemory(plan, provider, self.device)
        self._refitted_on: int | None = None

    def _aliases(self) -> list[tuple[int, int]]:
        """The outputs that TensorRT writes into an input, and these inputs, by number."""
        if not self.provider.has("ICudaEngine", "get_aliased_input_tensor"):
            return []
        numbers = {spec.name: number for number, spec in enumerate(self.inputs)}
        names = [self._engine.get_aliased_input_tensor(spec.name) for spec in self.outputs]
        return [(number, numbers[name]) for number, name in enumerate(names) if name]

    def _set_choice(self, native: Runtime, name: str, kind: str) -> None:
        """Tell one of TensorRT's objects an option whose value is a member of an enum, unless it is TensorRT's own."""
        choice = getattr(self.options, name)
        if choice != CHOICES[name][0]:
            setattr(native, name, self.provider.enum(kind, choice.upper()))

    def _stream_weights(self) -> bool:
        """Tell TensorRT the budget of weights on the GPU; whether others are copied there at each call.

        `weight_streaming_budget_v2` counts from 0; the first form (10.0) has a least budget, and 0 as "automatic".
        """
        budget, engine, provider = self.options.weight_streaming_budget, self._engine, self.provider
        if budget is None:
            return False
        size = int(engine.streamable_weights_size)
        newer = hasattr(engine, "weight_streaming_budget_v2")
        name = "weight_streaming_budget_v2" if newer else "weight_streaming_budget"
        if newer:
            given = int(engine.get_weight_streaming_automatic_budget()) if budget == "automatic" else int(budget)
            given = min(given, size)
        else:
            given = 0 if budget == "automatic" else max(int(budget), int(engine.minimum_weight_streaming_budget))
            given = -1 if given >= size else given  # no streaming
        if size:
            setattr(engine, name, given)
        if not size or getattr(engine, name) != given:
            raise ProviderError(
                f"{provider} does not take a weight_streaming_budget of {budget}",
                expected="a plan that was built with weight_streaming=True" if size == 0 else f"0 to {size:,} bytes",
                found=f"{size:,} bytes of weights that can be streamed",
                remedy="build(graph, weight_streaming=True), or leave the budget out: all weights are on the GPU then",
            )
        streams = 0 <= given < size
        if streams:
            self._streamed = size - given if newer or given else None  # 0 lets the first form choose
        return streams

    def _check_types(self) -> None:
        for name, dtype in self.stored.items():
            found = self._engine.get_tensor_dtype(name)
            if found != self.provider.data_type(dtype):
                raise BuildError(
                    f"TensorRT changed the dtype of {name!r}",
                    expected=dtype.name,
                    found=found,
                    remedy="this plan is of another network, or TensorRT did not keep to the recorded types: report it",
                )

    # --- what contexts ask for

    @property
    def torch(self) -> ModuleType:
        """torch, which has been imported where there are torch tensors."""
        return sys.modules.get("torch") or import_torch()

    @property
    def torch_device(self) -> TorchDevice:
        if self._torch_device is None:
            self._torch_device = self.torch.device("cuda", self.device.ordinal)
        return self._torch_device

    def stream_of(self, stream: StreamLike | None) -> int:
        """The address of the stream to run on: the given one, else the caller's current one."""
        if stream is None:
            return self.current_streams()(self.device.ordinal)
        if isinstance(stream, int):
            return stream
        found: Any = getattr(stream, "cuda_stream", stream)
        if found is stream and hasattr(stream, "__cuda_stream__"):
            found = stream.__cuda_stream__()[1]
        return int(found)

    def current_streams(self) -> Callable[[int], int]:
        """What gives the address of torch's current stream on a device."""
        if self._streams is None:
            self._streams = _current_streams(self.torch)
        return self._streams

    def make_context(self, memory: int | None, options: RunOptions | None = None) -> IExecutionContext:
        """A new IExecutionContext, with scratch memory of its own unless it is given an address."""
        options = options or self.options
        with self.device.current(), self.provider.recorded(self._engine) as errors:
            context = _new_context(self.provider, self._engine, memory, options, self.runtime_cache)
        if context is None:
            raise ProviderError(
                f"{self.provider} made no execution context",
                details=errors.text() or "(TensorRT gave no reason)",
                expected="free GPU memory for its scratch space",
                remedy="close other engines or contexts, use engine.context(shared_memory=True), or build with a "
                "smaller workspace",
            )
        limit = options.persistent_cache_limit
        if limit is not None:
            context.persistent_cache_limit = limit
            if context.persistent_cache_limit != limit:
                raise ProviderError(
                    f"{self.provider} does not take a persistent_cache_limit of {limit:,} bytes",
                    expected="at most what the GPU sets aside of its L2 cache (persistingL2CacheMaxSize)",
                    found=f"{context.persistent_cache_limit:,} bytes kept",
                    remedy="give less, or leave the option out",
                )
        return context

    def show_debug_tensors(self, context: IExecutionContext) -> DebugListener | None:
        """Have a new context show the tensors that somebody listens to."""
        listening, device, provider = self.listening, self.device, self.provider
        if listening is None:
            return None

        def show(address: int, native: EnumMember, shape: Iterable[int], name: str, stream: int) -> None:
            dtype, sizes = provider.dtype_of(native), tuple(shape)
            memory = np.empty(dtype.nbytes(math.prod(sizes)), np.uint8)
            device.copy(memory.ctypes.data, address, memory.nbytes, stream)
            device.synchronize(stream)
            listening.show(name, memory.view(dtype.numpy).reshape(sizes))

        heard = DebugListener(provider.trt, show)
        done = context.set_debug_listener(heard.native)
        for name in listening.paths:
            done = context.set_tensor_debug_state(name, True) and done
        if self._shows_unfused:
            context.unfused_tensors_debug_state = True
        if not done:
            raise ProviderError(
                f"{provider} shows no such tensors of this plan",
                expected=", ".join(listening.paths),
                found="a plan of another network, or the reason is in the log of 'trtnet.tensorrt'",
                remedy="build it again with debug_tensors=",
            )
        return heard

    def about_to_draw(self, native: object = None) -> None:
        """An execution context is to be made. Raises ProviderError where there is one, and the network draws."""
        if not self.draws:
            return
        if self._drawing:
            raise ProviderError(
                "TensorRT takes no seed: two execution contexts would draw the same random numbers",
                expected="one execution context of a network that draws: that of the engine's own calls, one "
                "engine.context(), or one bound call, for shapes of one optimization profile",
                found=f"another one, while these outputs are drawn: {', '.join(self.draws)}",
                remedy='record(..., draws="inputs") makes the draws inputs, which every call may be given anew; or '
                "close the other context first: the new one begins the same numbers again",
            )
        if native is not None:
            self._drawing.add(native)

    def shared_memory(self) -> int:
        """The address of the scratch memory that contexts share."""
        with self._scratch:  # not _admin: the caller holds its stream lock, for which a refit waits that holds _admin
            if self._shared is None:
                self._shared = self.device.allocate(scratch_bytes(self._engine))
            return self._shared.handle

    def _scratch_by_profile(self) -> tuple[int, ...]:
        """The scratch memory that a context needs: on each profile where TensorRT says that, else on any."""
        engine, has = self._engine, functools.partial(self.provider.has, "ICudaEngine")
        if has("get_device_memory_size_for_profile_v2"):
            return tuple(int(engine.get_device_memory_size_for_profile_v2(n)) for n in range(self.profiles))
        if has("get_device_memory_size_for_profile"):
            return tuple(int(engine.get_device_memory_size_for_profile(n)) for n in range(self.profiles))
        return (scratch_bytes(engine),)

    def _weight_bytes(self) -> int | None:
        """All weights of the plan; None where TensorRT does not say."""
        if not self.provider.has("ICudaEngine", "get_engine_stat"):
            return None
        found = int(self._engine.get_engine_stat(self.provider.enum("EngineStat", "TOTAL_WEIGHTS_SIZE")))
        return found if found >= 0 else None

    def profile_for(self, sizes: dict[str, int]) -> int:
        """The optimization profile for these sizes: of those that they fit, the one whose opt is nearest."""
        profiles = self.plan.profiles
        if len(profiles) < 2:
            return 0
        fitting = [
            (sum(abs(sizes[name] - opt) / opt for name, (_, opt, _) in profile.items() if name in sizes), index)
            for index, profile in enumerate(profiles)
            if all(low <= sizes[name] <= high for name, (low, _, high) in profile.items() if name in sizes)
        ]
        if not fitting:
            raise ShapeError(
                "no optimization profile has these sizes",
                expected=" or ".join(str(dict(p)) for p in profiles),
                found=str(sizes),
                remedy="build with a profile that has them: build(graph, profiles=[...])",
            )
        return min(fitting)[1]

    def check_device(self, spec: TensorSpec, value: Any) -> None:
        """Raises ProviderError for a CUDA tensor on another device, or of int64 where TensorRT has none."""
        if not is_torch(value):
            return
        if not value.is_cuda or value.device.index != self.device.ordinal:
            raise ProviderError(
                f"input {spec.name!r} is on another device",
                expected=self.device,
                found=value.device,
                remedy=f"tensor.to('{self.device}'), or build the engine there: device='{value.device}'",
            )
        if self.stored[spec.name] is not spec.dtype and dtypes.get(value.dtype) is dtypes.int64:
            raise ProviderError(
                f"{self.provider} has no int64, and input {spec.name!r} is on the GPU",
                expected="an int32 tensor or host data",
                found="a CUDA int64 tensor",
                remedy="record the input as int32: Input(shape, 'int32')",
            )

    def to_stored(self, spec: TensorSpec, array: np.ndarray) -> np.ndarray:
        """A host array as TensorRT takes it: contiguous in the input's format, and int32 where it has no int64."""
        stored = self.stored[spec.name]
        if stored is not spec.dtype:
            if wrong := overflow(array, stored):
                raise ShapeError(
                    f"input {spec.name!r} does not fit {stored}, which {self.provider} has in place of {spec.dtype}",
                    expected=wrong[0],
                    found=wrong[1],
                    remedy="give smaller numbers",
                )
            array = array.astype(stored.numpy)
        return self.placed(spec.name, np.asarray(array, order="C"))

    def placed(self, name: str, value: Any) -> Any:
        """An input in the order that its format has in memory."""
        layout = self.layouts.get(name)
        if layout is not None:
            return layout.pack(value)
        return value if isinstance(value, np.ndarray) else value.contiguous()

    def buffer_like(self, name: str, value: Any) -> Any:
        """A copy of a CUDA tensor, in the order that the input's format has in memory where that is a tensor's."""
        layout = self.layouts.get(name)
        if layout is None:
            return value.clone(memory_format=self.torch.contiguous_format)
        return layout.unpack(layout.pack(value).clone(), tuple(value.shape))

    def buffer_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an output's memory."""
        layout = self.layouts.get(name)
        return shape if layout is None else layout.buffer_shape(shape)

    def read(self, name: str, memory: Any, shape: tuple[int, ...]) -> Any:
        """An output of this shape from its memory."""
        layout = self.layouts.get(name)
        return memory if layout is None else layout.unpack(memory, shape)

    def failed(self) -> ProviderError:
        return ProviderError(
            f"{self.provider} could not run the engine",
            details="its reasons are in the log of 'trtnet.tensorrt'",
            remedy="if GPU memory ran out, run smaller batches or close other engines",
        )

    def register(self, context: Running) -> None:
        with self._admin:
            self._contexts.add(context)
            for stream_lock in context.stream_locks:
                if stream_lock.stream is None:  # its first work waits for a refit that goes on on the device
                    stream_lock.stream = self._refitted_on


class Owner:
    """The attribute `engine` of what an engine has for its own calls: it does not keep the engine alive."""

    def __get__(self, instance: Any, kind: type | None = None) -> Loaded:
        """The engine. Raises EngineError once it is gone."""
        found: Loaded | None = instance._owner()
        if found is None:
            raise EngineError(
                "this engine cannot be used any more: nothing kept it", expected="an open engine", found="none"
            )
        return found

    def __set__(self, instance: Any, engine: Loaded) -> None:
        instance._owner = weakref.ref(engine)


def _new_context(
    provider: Provider, engine: ICudaEngine, memory: int | None, options: RunOptions, cache: RuntimeCache | None
) -> IExecutionContext | None:
    """A new IExecutionContext, or None; with `memory`, an address, as its scratch memory where that is given."""
    strategy = options.execution_context_allocation_strategy if memory is None else "user_managed"
    told = [name for name in JIT_STRATEGIES if getattr(options, name) != CHOICES[name][0]]
    if strategy == CHOICES["execution_context_allocation_strategy"][0] and not told and cache is None:
        return engine.create_execution_context()
    if not provider.offers("ExecutionContextAllocationStrategy"):
        context = engine.create_execution_context_without_device_memory()
    else:
        how = provider.enum("ExecutionContextAllocationStrategy", strategy.upper())
        config = None if cache is None and not told else _runtime_config(provider, engine, how, options, told)
        if config is not None and cache is not None:
            cache.add_to(config)
        context = engine.create_execution_context(how if config is None else config)
    if context is None or memory is None:
        return context
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(memory, scratch_bytes(engine))
    else:
        context.device_memory = memory
    return context


WHERE = {
    "weight_streaming_budget": ("ICudaEngine", "streamable_weights_size"),
    "execution_context_allocation_strategy": ("ExecutionContextAllocationStrategy", "ON_PROFILE_CHANGE"),
    "dynamic_shapes_kernel_specialization_strategy": ("DynamicShapesKernelSpecializationStrategy", "EAGER"),
    "cuda_graph_strategy": ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    "runtime_cache": ("IRuntimeConfig", "create_runtime_cache"),
    "dla_workspace_allocation_strategy": ("Runtime", "dla_workspace_allocation_strategy"),
}
"""What a TensorRT has that has an option."""


def require(provider: Provider, options: RunOptions) -> None:
    """Raises ProviderError for an option that this TensorRT has not."""
    for name, (kind, member) in WHERE.items():
        if getattr(options, name) != getattr(RunOptions, name) and not provider.has(kind, member):
            raise provider.lacking(name, SINCE[name])


JIT_STRATEGIES = {
    "dynamic_shapes_kernel_specialization_strategy": "DynamicShapesKernelSpecializationStrategy",
    "cuda_graph_strategy": "CudaGraphStrategy",
}
"""Options that an IRuntimeConfig holds, and their enums."""


def _runtime_config(
    provider: Provider, engine: ICudaEngine, strategy: EnumMember, options: RunOptions, told: list[str]
) -> IRuntimeConfig:
    """An IRuntimeConfig with these options."""
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategy)
    for name in told:
        setattr(config, name, provider.enum(JIT_STRATEGIES[name], getattr(options, name).upper()))
    return config


def scratch_bytes(engine: ICudaEngine) -> int:
    """The scratch memory that a context of any profile needs."""
    name = "device_memory_size_v2" if hasattr(engine, "device_memory_size_v2") else "device_memory_size"
    return int(getattr(engine, name))


def _current_streams(torch: ModuleType) -> Callable[[int], int]:
    """What gives the address of torch's current stream on a device; by the function that torch's own compiler calls
    where there is one (0.2 µs in place of 9)."""
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if raw is not None:
        return raw
    return lambda ordinal: int(torch.cuda.current_stream(ordinal).cuda_stream)
