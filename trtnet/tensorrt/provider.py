"""The only module that imports TensorRT: `tensorrt` 8.6 to 11 or `tensorrt_rtx`. What is installed, its types and
weights, and the objects that everything else is made from."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..basics import dtypes
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ProviderError
from ..basics.garbage import no_collection
from . import device as gpu
from .abilities import Abilities
from .callbacks import ErrorRecorder, logger

if TYPE_CHECKING:
    from ..layers.targets import EnumMember, Weights
    from .bindings import (
        Builder,
        ICudaEngine,
        INetworkDefinition,
        IPlugin,
        IPluginCreator,
        IPluginRegistry,
        PluginField,
        Recording,
        Refitter,
        Runtime,
    )

T = TypeVar("T")

MODULES = ("tensorrt", "tensorrt_rtx")
PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Provider(Abilities):
    """One installed TensorRT.

    Attributes:
        trt: the module itself.
    """

    def __init__(self, name: str, module: ModuleType) -> None:
        super().__init__(name, module.__version__)
        self.trt = module
        self.logger = logger(module)
        self._data_types: dict[Dtype, EnumMember] = {}
        self._first_builder: Builder | None = None
        self._making = threading.RLock()

    def offers(self, name: str) -> bool:
        return hasattr(self.trt, name)

    def has(self, kind: str, member: str) -> bool:
        return hasattr(getattr(self.trt, kind, None), member)

    # --- types

    def enum(self, kind: str, member: str) -> EnumMember:
        """`trt.<kind>.<member>`. Raises ProviderError where this TensorRT has none."""
        found = getattr(getattr(self.trt, kind, None), member, None)
        if found is None:
            raise ProviderError(
                f"{self} has no {kind}.{member}",
                remedy="use a TensorRT that has it (`trtnet doctor` shows what is installed)",
            )
        return found

    def data_type(self, dtype: Dtype) -> EnumMember:
        """`trt.DataType` of a dtype. Raises ProviderError where this TensorRT has none, or none for whole numbers."""
        if dtype is dtypes.int8 and not self.strongly_typed:
            raise ProviderError(
                f"{self} has int8 only for quantized tensors: with whole numbers in them nothing builds",
                remedy="use int32: x.to(trtnet.int32), or a newer TensorRT",
            )
        return self.native_type(dtype)

    def native_type(self, dtype: Dtype) -> EnumMember:
        """`data_type`, also of quantized tensors."""
        found = self._data_types.get(dtype)
        if found is None:
            member = self.stored(dtype).tensorrt
            if member is None or not self.has("DataType", member):
                raise ProviderError(
                    f"{self} has no element type {dtype.name}", remedy="use float16 or float32, or a newer TensorRT"
                )
            found = self._data_types[dtype] = self.enum("DataType", member)
        return found

    def dtype_of(self, native: EnumMember) -> Dtype:
        """The dtype of a `trt.DataType`."""
        for dtype in dtypes.ALL:
            if dtype.tensorrt is not None and native == getattr(self.trt.DataType, dtype.tensorrt, None):
                return dtype
        raise ProviderError(f"trtnet does not know the element type {native}", remedy="use a newer trtnet")

    # --- weights

    def weights(self, array: np.ndarray, dtype: Dtype, address: int | None = None, count: int | None = None) -> Weights:
        """What `network.add_*` takes for `array`, of `count` elements if that is not its size, as where it is packed.
        Nothing is copied, and the caller keeps the array alive.

        By address where the bindings allow it (9.1 on): they know no bfloat16, float8 and int4 arrays, and are slower
        with arrays.
        """
        if self.weights_by_address:
            native = self._data_types.get(dtype) or self.data_type(dtype)
            place = array.ctypes.data if address is None else address
            return self.trt.Weights(native, place, array.size if count is None else count)
        return self.trt.Weights(array)

    @functools.cached_property
    def weights_by_address(self) -> bool:
        """Whether weights are given as a type, an address and a count (9.1 on)."""
        try:
            self.trt.Weights(self.data_type(dtypes.float32), 0, 0)
        except TypeError:
            return False
        return True

    @functools.cached_property
    def refits_on_device(self) -> bool:
        """Whether a Refitter takes weights in device memory, in the order of a stream (9.1 on)."""
        return hasattr(self.trt.Refitter, "refit_cuda_engine_async") and self.weights_by_address

    def no_weights(self, dtype: Dtype) -> Weights:
        """Empty weights: no bias, or a kernel that is a tensor."""
        return self.trt.Weights(self.data_type(dtype))

    def placeholder(self, dtype: Dtype, count: int) -> Weights:
        """Weights without values, which a refit gives later (TensorRT-RTX; needs REFIT_INDIVIDUAL and STRIP_PLAN)."""
        return self.trt.Weights(self.data_type(dtype), 0, count)

    # --- plugins

    @functools.cached_property
    def plugin_registry(self) -> IPluginRegistry:
        """TensorRT's registry of plugins, with those of its own library. Raises ProviderError where networks take none
        (TensorRT-RTX)."""
        if not (self.has_layer("add_plugin_v2") or self.has_layer("add_plugin_v3")):
            raise ProviderError(
                f"{self} has no plugins",
                expected="tensorrt 8.6 to 11",
                found=str(self),
                remedy="give the plugin a composition (def compose(self, *tensors)), which every TensorRT builds",
            )
        if hasattr(self.trt, "init_libnvinfer_plugins"):
            self.trt.init_libnvinfer_plugins(self.logger, "")
        return self.trt.get_plugin_registry()

    def plugin_creators(self) -> list[IPluginCreator]:
        """Every creator that is registered."""
        registry = self.plugin_registry
        return list(registry.all_creators if hasattr(registry, "all_creators") else registry.plugin_creator_list)

    def plugin_creator(self, name: str, version: str, namespace: str) -> IPluginCreator | None:
        """One creator, or None."""
        registry = self.plugin_registry
        find = registry.get_creator if hasattr(registry, "get_creator") else registry.get_plugin_creator
        return find(name, version, namespace)

    def make_plugin(self, creator: IPluginCreator, layer: str, fields: Sequence[PluginField]) -> IPlugin | None:
        """An IPluginV2 or IPluginV3 of a creator, or None where that refuses the fields (`trt.PluginField`)."""
        given = self.trt.PluginFieldCollection(fields)
        one = getattr(self.trt, "IPluginCreatorV3One", None)
        if one is not None and isinstance(creator, one):
            return creator.create_plugin(layer, given, self.trt.TensorRTPhase.BUILD)
        return creator.create_plugin(layer, given)

    def plugin_generation(self, plugin: IPlugin) -> int:
        """3 of an IPluginV3, else 2."""
        newer = getattr(self.trt, "IPluginV3", None)
        return 3 if newer is not None and isinstance(plugin, newer) else 2

    @functools.cached_property
    def plugin_module(self) -> ModuleType | None:
        """`tensorrt.plugin`, where plans hold kernels themselves; None where they do not, or where it is not installed.

        When it is imported it says on stderr that it is experimental.
        """
        if not self.keeps_kernels:
            return None
        try:
            return importlib.import_module(f"{self.name}.plugin")
        except ImportError:
            return None

    # --- what builds and engines are made from

    def builder(self) -> Builder:
        """A new Builder. The first one stays: TensorRT 8.6 unloads its kernels with the last (10 s to load them
        again)."""
        if self._first_builder is None:
            self._first_builder = self._made(self.trt.Builder, self.logger)
        return self._made(self.trt.Builder, self.logger)

    def with_builder(self, use: Callable[[Builder], T]) -> T:
        """What `use` makes of a new Builder, which does not outlive it."""
        builder = self.builder()
        try:
            return use(builder)
        except BaseException as error:
            _clear_frames(error)
            raise
        finally:
            with self._alone():
                del builder

    def runtime(self) -> Runtime:
        return self._made(self.trt.Runtime, self.logger)

    def _made(self, kind: Callable[..., T], *given: object) -> T:
        """One of TensorRT's objects that need the GPU."""
        try:
            with self._alone():
                return kind(*given)
        except TypeError as error:  # the bindings' word for a null pointer
            raise ProviderError(
                f"{self} cannot start: {error}",
                details="what TensorRT says of it is in the log, above",
                remedy="most often the GPU has no memory left, which nvidia-smi shows; "
                "`trtnet doctor` shows what else may be missing",
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While TensorRT makes or destroys one of its objects.

        It holds a lock of its own meanwhile, and may log. Code of the log's handlers, a garbage collection or another
        thread that destroyed such an object then would wait for that lock for ever. So this is done by one thread at a
        time, nothing is collected, and messages are written afterwards.
        """
        with self._making, no_collection():
            held, self.logger.held = self.logger.held, []
            try:
                yield
            finally:
                heard, self.logger.held = self.logger.held, held
        for level, message in heard or ():
            self.logger.write(level, message)

    def create_network(self, builder: Builder) -> INetworkDefinition:
        """An empty network: explicit batch, strongly typed where there is such a thing."""
        flags = 0
        for member in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
            if self.has("NetworkDefinitionCreationFlag", member):
                flags |= 1 << int(self.enum("NetworkDefinitionCreationFlag", member))
        if self.name == "tensorrt_rtx":
            flags = 0  # always strongly typed, and other flags are refused
        return builder.create_network(flags)

    def refitter(self, engine: ICudaEngine) -> Refitter:
        return self._made(self.trt.Refitter, engine, self.logger)

    # --- errors

    def lacking(self, option: str, who: str, remedy: str = "leave the option out") -> ProviderError:
        """What is raised for an option that this TensorRT has not; `who` has it."""
        return ProviderError(f"{self} has no {option}", expected=who, found=str(self), remedy=remedy)

    def error_recorder(self, native: Recording | None = None) -> ErrorRecorder:
        """A new collector of errors: of `native`'s for all its life, or of what takes its `.native` later."""
        errors = ErrorRecorder(self.trt)
        if native is not None:
            native.error_recorder = errors.native
        return errors

    @contextlib.contextmanager
    def recorded(self, native: Recording) -> Iterator[ErrorRecorder]:
        """Collect the errors of a runtime or an engine for a while."""
        before, errors = native.error_recorder, self.error_recorder(native)
        try:
            yield errors
        finally:
            native.error_recorder = before

    # --- where it builds for and runs

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


def _clear_frames(error: BaseException | None) -> None:
    """Let go of TensorRT's objects in those frames of trtnet that an error keeps."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
                with contextlib.suppress(RuntimeError):  # it runs still
                    trace.tb_frame.clear()
            trace = trace.tb_next
        error = error.__context__


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


def of(network: INetworkDefinition) -> Provider:
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
