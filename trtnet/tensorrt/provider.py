"""The only module that imports TensorRT: `tensorrt` 8.6 to 11 or `tensorrt_rtx`, and every call that their versions
differ in.

Features are found by name, never by version number or enum integer: LayerType, BuilderFlag and others were renumbered
between releases (NvInfer.h of 8.6, 10.16 and 11.1). The version itself is asked only for a layout in memory
(`run.refit_without_gil`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..basics import dtypes
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ProviderError
from . import device as gpu
from .build.options import BuildOptions
from .callbacks import ErrorRecorder, OutputAllocator, ProgressMonitor, logger
from .run import refit_without_gil

MODULES = ("tensorrt", "tensorrt_rtx")


class Provider:
    """One installed TensorRT.

    Attributes:
        name: "tensorrt" or "tensorrt_rtx".
        trt: the module itself.
        version: its version string.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self.trt = module
        self.version: str = module.__version__
        self.logger = logger(module)
        self._data_types: dict[Dtype, Any] = {}
        self._first_builder: Any = None

    def __repr__(self) -> str:
        return f"{self.name} {self.version}"

    # --- what there is

    def has(self, kind: str, member: str) -> bool:
        """Whether the enum `kind` has `member`, or the class `kind` the attribute."""
        return hasattr(getattr(self.trt, kind, None), member)

    def enum(self, kind: str, member: str) -> Any:
        """`trt.<kind>.<member>`. Raises ProviderError where this TensorRT has none."""
        found = getattr(getattr(self.trt, kind, None), member, None)
        if found is None:
            raise ProviderError(
                f"{self} has no {kind}.{member}",
                remedy="use a TensorRT that has it (`trtnet doctor` shows what is installed)",
            )
        return found

    def has_layer(self, method: str) -> bool:
        """Whether INetworkDefinition has `add_...`."""
        return hasattr(self.trt.INetworkDefinition, method)

    @functools.cached_property
    def strongly_typed(self) -> bool:
        """Whether networks can be strongly typed; 8.6's cannot, and are held to the recorded types by constraints."""
        return self.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    def is_strongly_typed(self, network: Any) -> bool:
        """Whether this network is: from TensorRT 11 on always (no layer has a precision), before where asked for."""
        if not self.strongly_typed:
            return False
        if not hasattr(self.trt.ILayer, "precision"):
            return True
        return bool(network.get_flag(self.enum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")))

    @functools.cached_property
    def shape_dtype(self) -> Dtype:
        """The type of shape tensors: int32 before TensorRT 9.1, int64 since."""
        return dtypes.int64 if self.has("DataType", "INT64") else dtypes.int32

    def stored(self, dtype: Dtype) -> Dtype:
        """What `dtype` is on the device: int64 is int32 where TensorRT has no int64 (8.6)."""
        return self.shape_dtype if dtype is dtypes.int64 else dtype

    def data_type(self, dtype: Dtype) -> Any:
        """`trt.DataType` of a dtype. Raises ProviderError where this TensorRT has none."""
        found = self._data_types.get(dtype)
        if found is None:
            if dtype is dtypes.int8 and not self.strongly_typed:
                raise ProviderError(
                    f"{self} has int8 only for quantized tensors: with whole numbers in them nothing builds",
                    remedy="use int32: x.to(trtnet.int32), or a newer TensorRT",
                )
            member = self.stored(dtype).tensorrt
            if member is None or not self.has("DataType", member):
                raise ProviderError(
                    f"{self} has no element type {dtype.name}", remedy="use float16 or float32, or a newer TensorRT"
                )
            found = self._data_types[dtype] = self.enum("DataType", member)
        return found

    def dtype_of(self, native: Any) -> Dtype:
        """The dtype of a `trt.DataType`."""
        for dtype in dtypes.ALL:
            if dtype.tensorrt is not None and native == getattr(self.trt.DataType, dtype.tensorrt, None):
                return dtype
        raise ProviderError(f"trtnet does not know the element type {native}", remedy="use a newer trtnet")

    # --- weights

    def weights(self, array: np.ndarray, dtype: Dtype, address: int | None = None) -> Any:
        """What `network.add_*` takes for `array`. Nothing is copied, and the caller keeps the array alive.

        By address where the bindings allow it (9.1 on): they know no bfloat16, float8 and int4 arrays, and are slower
        with arrays.
        """
        if self._by_address:
            native = self._data_types.get(dtype) or self.data_type(dtype)
            return self.trt.Weights(native, array.ctypes.data if address is None else address, array.size)
        return self.trt.Weights(array)

    @functools.cached_property
    def _by_address(self) -> bool:
        try:
            self.trt.Weights(self.data_type(dtypes.float32), 0, 0)
        except TypeError:
            return False
        return True

    def no_weights(self, dtype: Dtype) -> Any:
        """Empty weights: no bias, or a kernel that is a tensor."""
        return self.trt.Weights(self.data_type(dtype))

    def placeholder(self, dtype: Dtype, count: int) -> Any:
        """Weights without values, which a refit gives later (TensorRT-RTX; needs REFIT_INDIVIDUAL and STRIP_PLAN)."""
        return self.trt.Weights(self.data_type(dtype), 0, count)

    # --- networks

    def builder(self) -> Any:
        """A new Builder. The first one stays: TensorRT 8.6 unloads its kernels with the last (10 s to load them
        again)."""
        if self._first_builder is None:
            self._first_builder = self.trt.Builder(self.logger)
        return self.trt.Builder(self.logger)

    def create_network(self, builder: Any) -> Any:
        """An empty network: explicit batch, strongly typed where there is such a thing."""
        flags = 0
        for member in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
            if self.has("NetworkDefinitionCreationFlag", member):
                flags |= 1 << int(self.enum("NetworkDefinitionCreationFlag", member))
        if self.name == "tensorrt_rtx":
            flags = 0  # always strongly typed, and other flags are refused
        return builder.create_network(flags)

    @functools.cached_property
    def samples_volumes(self) -> bool:
        """Whether grid sample takes 5 dimensions: documented from 11.2 on, which added no name; 11.3 did. RTX compiles
        it."""
        return self.name == "tensorrt_rtx" or hasattr(self.trt, "DLAWorkspaceAllocationStrategy")

    def has_implicit_batch(self, network: Any) -> bool:
        """Whether a network has no batch dimension of its own, as some have before TensorRT 10, where asking warns."""
        return hasattr(self.trt.Builder, "max_batch_size") and bool(network.has_implicit_batch_dimension)

    def constrain_types(self, layer: Any, inputs: tuple[Dtype, ...], outputs: tuple[Dtype, ...]) -> None:
        """Hold a layer of a weakly typed network to the recorded types.

        One without such outputs is held to its inputs' type: free to choose, 8.6 reads the float32 of a comparison or a
        cast as float16 where the network has any, and gives what else shares that tensor rounded.
        """
        held = [d for d in (*inputs, *outputs) if d.is_floating_point or d is dtypes.int8]
        if held:
            layer.precision = self.data_type(held[-1])
        for index, dtype in enumerate(outputs):
            layer.set_output_type(index, self.data_type(dtype))

    def add_cast(self, network: Any, tensor: Any, dtype: Dtype) -> Any:
        return network.add_cast(tensor, self.data_type(dtype))

    def add_fill(self, network: Any, shape: Any, operation: str, dtype: Dtype) -> Any:
        member = self.enum("FillOperation", operation)
        if not self.strongly_typed:
            return network.add_fill(shape, member)
        return network.add_fill(shape, member, self.data_type(dtype))

    def add_topk(self, network: Any, tensor: Any, operation: str, k: int, axes: int) -> Any:
        return network.add_topk(tensor, self.enum("TopKOperation", operation), k, axes)

    # --- configuration

    def configure(self, config: Any, options: BuildOptions) -> None:
        """Tell a builder config its options. Raises ProviderError for what this TensorRT lacks or does not take."""
        if self.has("PreviewFeature", "PROFILE_SHARING_0806"):  # several contexts on one profile; always so later
            config.set_preview_feature(self.enum("PreviewFeature", "PROFILE_SHARING_0806"), True)
        flag = self.enum("BuilderFlag", "TF32")
        config.set_flag(flag) if options.tf32 else config.clear_flag(flag)
        for wanted, member in (
            (options.sparsity, "SPARSE_WEIGHTS"),
            (options.version_compatible, "VERSION_COMPATIBLE"),
        ):
            if wanted:
                config.set_flag(self.enum("BuilderFlag", member))
        pools = dict(options.memory_pools)
        if options.workspace is not None:
            pools["workspace"] = options.workspace
        for name, size in pools.items():
            pool = self.enum("MemoryPoolType", name.upper())
            config.set_memory_pool_limit(pool, size)
            self._require(f"a limit of {size} bytes for {name}", config.get_memory_pool_limit(pool) == size)
        for name, value in (
            ("builder_optimization_level", options.optimization_level),
            ("max_aux_streams", options.max_aux_streams),
            ("avg_timing_iterations", options.avg_timing_iterations),
        ):
            if value is not None:
                self._set(config, name, value)
        for name, kind, choice, usual in (
            ("hardware_compatibility_level", "HardwareCompatibilityLevel", options.hardware_compatibility, "none"),
            ("engine_capability", "EngineCapability", options.engine_capability, "standard"),
            ("profiling_verbosity", "ProfilingVerbosity", options.profiling_verbosity, "layer_names_only"),
        ):
            if choice != usual:
                self._set(config, name, self.enum(kind, choice.upper()))
        if options.dla_core is not None:
            self._set(config, "default_device_type", self.enum("DeviceType", "DLA"))
            self._set(config, "DLA_core", options.dla_core)
            if options.gpu_fallback:
                config.set_flag(self.enum("BuilderFlag", "GPU_FALLBACK"))
        if options.tactic_sources is not None:
            mask = 0
            for name in options.tactic_sources:
                if not self.has("TacticSource", name.upper()):
                    raise ProviderError(
                        f"{self} has no tactic source {name!r}",
                        expected="one of TensorRT's own TacticSource; later versions have fewer",
                        found=name,
                        remedy="leave tactic_sources out: TensorRT takes kernels from all that it has",
                    )
                mask |= 1 << int(self.enum("TacticSource", name.upper()))
            self._require(f"the tactic sources {options.tactic_sources}", config.set_tactic_sources(mask))

    def _set(self, config: Any, name: str, value: Any) -> None:
        if hasattr(config, name):
            setattr(config, name, value)
        self._require(f"{name} = {value}", getattr(config, name, None) == value)

    def _require(self, what: str, taken: bool) -> None:
        if not taken:
            raise ProviderError(
                f"{self} does not take {what}",
                expected="a TensorRT and a machine that have this builder option",
                found="the builder kept its own; what it said, if anything, is in the log of 'trtnet.tensorrt'",
                remedy="leave the option out",
            )

    def set_formats(self, network: Any, formats: Mapping[str, str]) -> None:
        """The memory formats of inputs and outputs, by name."""
        if not formats:
            return
        tensors = [network.get_input(i) for i in range(network.num_inputs)]
        tensors += [network.get_output(i) for i in range(network.num_outputs)]
        known = {tensor.name: tensor for tensor in tensors}
        for name, one in formats.items():
            if name not in known:
                raise ArgumentError(
                    f"io_formats names {name!r}, which is neither input nor output",
                    expected=", ".join(known),
                    found=name,
                    remedy="graph.inputs and graph.outputs have the names",
                )
            known[name].allowed_formats = 1 << int(self.enum("TensorFormat", one.upper()))

    def use_timings(self, config: Any, data: bytes) -> Any:
        """Have a build start from timings and add to them; what it gave, or None where TensorRT keeps none (RTX)."""
        if self.name == "tensorrt_rtx" or not hasattr(config, "create_timing_cache"):
            return None
        cache = config.create_timing_cache(data)
        if cache is None:
            cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
        return cache

    def merged_timings(self, config: Any, cache: Any, others: bytes) -> bytes | None:
        """Timings of a build and of others, serialised."""
        if others:
            other = config.create_timing_cache(others)
            if other is not None:
                cache.combine(other, True)
        return bytes(cache.serialize())

    def allow_types(self, config: Any, used: Iterable[Dtype]) -> None:
        """Hold a weakly typed build to the types that `constrain_types` set."""
        if self.strongly_typed:
            return
        config.set_flag(self.enum("BuilderFlag", "OBEY_PRECISION_CONSTRAINTS"))
        for dtype, member in ((dtypes.float16, "FP16"), (dtypes.bfloat16, "BF16"), (dtypes.int8, "INT8")):
            if dtype in used:
                config.set_flag(self.enum("BuilderFlag", member))

    def set_targets(self, config: Any, targets: Sequence[str]) -> None:
        """Compute capabilities to compile for (TensorRT-RTX)."""
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(self.enum("ComputeCapability", target.upper()), index)

    def set_progress(self, config: Any, monitor: ProgressMonitor) -> bool:
        """Have the build report to `monitor`; False where this TensorRT reports nothing (before 9.1)."""
        if not hasattr(self.trt, "IProgressMonitor"):
            return False
        config.progress_monitor = monitor.native(self.trt)
        return True

    # --- engines

    @functools.cached_property
    def waits_on_default_stream(self) -> bool:
        """Whether work on the default stream may make TensorRT synchronise the device, as its log says from 10 on.

        8.6 enqueued there as fast as on another stream (300 enqueues of a small MLP on an H100).
        """
        return self.strongly_typed

    @functools.cached_property
    def highest_level_for_tensor_weights(self) -> int:
        """The highest optimization level for convolutions whose weights are tensors.

        8.6.1 crashes the process at 5 (a segmentation fault on an H100) where a network has nothing but such ones.
        """
        return 5 if self.strongly_typed else 4

    @functools.cached_property
    def refits_attention(self) -> bool:
        """Whether a refittable network with attention may hold its weights on the right of its products.

        8.6.1 (H100, H200) exchanges batch and rows of the tensors behind an attention: right numbers in wrong places.
        Seen in float32 at every optimization level, static and dynamic, with heads on `x[:, 0]`, `x[:, -1]`,
        `x.mean(1)`, `x[0:1]`, a transposition, and in a language model whose products all have one shape; in float16 at
        level 0. With weights on the left in the one product behind the attention, every one of these is right; in the
        products before it, or in the last alone, none is.
        """
        return self.strongly_typed

    @functools.cached_property
    def activates_integers(self) -> bool:
        """Whether RELU, ABS, NEG, POW and top-k layers take whole numbers: 8.6.1 has "only activation types"."""
        return self.strongly_typed

    @functools.cached_property
    def draws_anew(self) -> bool:
        """Whether every fill layer draws other numbers at each call.

        8.6.1 draws the same at each call wherever it fuses the fill with comparisons, matrix products and the like. It
        fuses neither poolings nor convolutions with them: with a pooling behind each fill, all networks that were tried
        drew anew (H200, levels 0 and 3, static and dynamic).
        """
        return self.strongly_typed

    @functools.cached_property
    def selects_equals(self) -> bool:
        """Whether both values of a select may be one constant.

        8.6.1 gives what was in memory for `log(where(x == 0, 1.0, 1.0))`, and refuses `where(x == 0, 3.0, 3.0) + x`.
        """
        return self.strongly_typed

    @functools.cached_property
    def finds_infinity_equal(self) -> bool:
        """Whether infinity equals a constant infinity. On 8.6.1 (H200, level 3) `atan2(inf, inf)`, which asked so, was
        NaN, while ISINF finds infinities; equality by itself was not looked at."""
        return self.strongly_typed

    @functools.cached_property
    def refits_version_compatible(self) -> bool:
        """Whether a version-compatible plan can be refitted.

        8.6.1 refuses to build one, or, where its lean runtime is installed, builds one that lets nothing be refitted.
        Of later ones it is assumed: `engine.weights` says what each plan lets be refitted.
        """
        return self.strongly_typed

    def create_context(self, engine: Any, memory: int | None) -> Any:
        """A new IExecutionContext, or None; with `memory`, an address, as its scratch memory where that is given."""
        if memory is None:
            return engine.create_execution_context()
        if self.has("ExecutionContextAllocationStrategy", "USER_MANAGED"):
            context = engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            context = engine.create_execution_context_without_device_memory()
        if context is not None and hasattr(context, "set_device_memory"):
            context.set_device_memory(memory, self.scratch_bytes(engine))
        elif context is not None:
            context.device_memory = memory
        return context

    def scratch_bytes(self, engine: Any) -> int:
        """The scratch memory that a context of any profile needs."""
        name = "device_memory_size_v2" if hasattr(engine, "device_memory_size_v2") else "device_memory_size"
        return int(getattr(engine, name))

    def output_allocator(self, allocate: Callable[[int], Any]) -> OutputAllocator:
        """What TensorRT asks for the memory of an output whose shape the data decides."""
        return OutputAllocator(self.trt, allocate)

    def refitter(self, engine: Any) -> Any:
        return self.trt.Refitter(engine, self.logger)

    @functools.cached_property
    def refits_on_device(self) -> bool:
        """Whether a Refitter takes weights in device memory, in the order of a stream (9.1 on)."""
        return hasattr(self.trt.Refitter, "refit_cuda_engine_async") and self._by_address

    def set_device_weights(self, refitter: Any, name: str, dtype: Dtype, address: int, count: int) -> bool:
        weights = self.trt.Weights(self.data_type(dtype), address, count)
        return bool(refitter.set_named_weights(name, weights, self.trt.TensorLocation.DEVICE))

    def refit(self, refitter: Any, stream: int, on_device: bool) -> bool:
        """Whether TensorRT took the weights that were set."""
        if on_device:
            return bool(refitter.refit_cuda_engine_async(stream))
        if self.version.startswith("8.6."):
            return refit_without_gil.refit(refitter)
        return bool(refitter.refit_cuda_engine())

    # --- errors

    def error_recorder(self, native: Any = None) -> ErrorRecorder:
        """A new collector of errors: of `native`'s for all its life, or of what takes its `.native` later."""
        errors = ErrorRecorder(self.trt)
        if native is not None:
            native.error_recorder = errors.native
        return errors

    @contextlib.contextmanager
    def recorded(self, native: Any) -> Iterator[ErrorRecorder]:
        """Collect the errors of a runtime or an engine for a while."""
        before, errors = native.error_recorder, self.error_recorder(native)
        try:
            yield errors
        finally:
            native.error_recorder = before

    # --- building and running

    @functools.cached_property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that can be compiled for without a GPU (TensorRT-RTX), like "sm86"."""
        members = getattr(self.trt, "ComputeCapability", None)
        if members is None:
            return ()
        return tuple(sorted((n.lower() for n in members.__members__ if n.startswith("SM")), key=lambda n: int(n[2:])))

    @functools.cached_property
    def cannot_execute(self) -> str | None:
        """Why this provider cannot run an engine here, in one line; None where it can."""
        capability = gpu.capability()
        if capability is None:
            return f"{self}: no CUDA GPU"
        name = f"sm{capability[0]}{capability[1]}"
        if self.targets and name not in self.targets:
            return f"{self}: does not run on {name}"
        return None


class Newest(Provider):
    """A TensorRT that has every layer: what `summary` shows where nothing else is said. It makes no networks."""

    def __init__(self) -> None:
        self.name = "the newest TensorRT"
        self.version = ""

    def has(self, kind: str, member: str) -> bool:
        return True

    def has_layer(self, method: str) -> bool:
        return True


@functools.cache
def load(name: str) -> Provider:
    """The provider of that name. Raises ProviderError if it is not installed or does not load."""
    if name not in MODULES:
        raise ArgumentError(
            "there is no such provider",
            expected=" or ".join(MODULES),
            found=repr(name),
            remedy="leave it out to use what is installed (`trtnet doctor` shows it)",
        )
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        extra = "rtx" if name == "tensorrt_rtx" else "tensorrt"
        raise ProviderError(
            f"{name} is not usable here",
            details=f"{type(error).__name__}: {error}",
            remedy=f"pip install 'trtnet[{extra}]' (`trtnet doctor` shows what is installed)",
        ) from None
    return Provider(name, module)


def find(name: str | None = None) -> Provider:
    """The named provider, or the first that is installed: tensorrt, then tensorrt_rtx."""
    if name is not None:
        return load(name)
    reasons = []
    for candidate in MODULES:
        try:
            return load(candidate)
        except ProviderError as error:
            reasons.append(error.details or "")
    raise ProviderError(
        "no TensorRT is installed",
        details="\n".join(reasons),
        remedy="pip install 'trtnet[rtx]' compiles plans without a GPU; 'trtnet[tensorrt]' builds and runs on one",
    )


def of(network: Any) -> Provider:
    """The provider that an INetworkDefinition came from."""
    name = type(network).__module__.partition(".")[0]
    for candidate in MODULES:
        if name == candidate or name.startswith(candidate + "_bindings"):
            found = load(candidate)
            if isinstance(network, found.trt.INetworkDefinition):
                return found
    raise ArgumentError(
        "this is no INetworkDefinition of a TensorRT that trtnet knows",
        expected=" or ".join(f"{m}.INetworkDefinition" for m in MODULES),
        found=f"{type(network).__module__}.{type(network).__name__}",
        remedy="give a network made by builder.create_network(flags), "
        "or let trtnet.build and trtnet.build_plan make one",
    )


def can_execute() -> str | None:
    """None where an installed TensorRT can run an engine on a GPU of this machine; else why not, in one line."""
    reasons = []
    for name in MODULES:
        try:
            reason = load(name).cannot_execute
        except ProviderError as error:
            reason = f"{name}: {(error.details or error.problem).splitlines()[-1]}"
        if reason is None:
            return None
        reasons.append(reason)
    return "; ".join(reasons)


def executing() -> Provider | None:
    """The provider that can run an engine here, or None."""
    for name in MODULES:
        try:
            provider = load(name)
        except ProviderError:
            continue
        if provider.cannot_execute is None:
            return provider
    return None
