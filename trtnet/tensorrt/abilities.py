"""What one TensorRT can and another cannot.

Features are found by name, never by version number or enum integer: LayerType, BuilderFlag and others were renumbered
between releases (NvInfer.h of 8.6, 10.16 and 11.1).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod

from ..basics import dtypes
from ..basics.dtypes import dtype as Dtype
from . import device as gpu


class Abilities(ABC):
    """What is asked of a TensorRT before anything is made with it: by `supported` and `failing` of the layer kinds, by
    builds, by engines.

    Attributes:
        name: "tensorrt" or "tensorrt_rtx".
        version: its version string.
    """

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version

    def __repr__(self) -> str:
        return f"{self.name} {self.version}"

    # --- by name

    @abstractmethod
    def offers(self, name: str) -> bool:
        """Whether there is `trt.<name>`."""

    @abstractmethod
    def has(self, kind: str, member: str) -> bool:
        """Whether the enum `kind` has `member`, or the class `kind` the attribute."""

    def has_layer(self, method: str) -> bool:
        """Whether INetworkDefinition has `add_...`."""
        return self.has("INetworkDefinition", method)

    @property
    def keeps_timings(self) -> bool:
        """Whether a build can start from the timings of others; not TensorRT-RTX's, which has the method, too."""
        return self.name != "tensorrt_rtx" and self.has("IBuilderConfig", "create_timing_cache")

    @property
    def keeps_kernels(self) -> bool:
        """Whether a plan can hold kernels themselves, as PTX: `tensorrt.plugin` compiles ahead of time from 10.9 on."""
        return self.has_layer("add_plugin") and self.has("QuickPluginCreationRequest", "STRICT_AOT")

    # --- types

    @functools.cached_property
    def strongly_typed(self) -> bool:
        """Whether networks can be strongly typed; 8.6's cannot, and are held to the recorded types by constraints."""
        return self.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    @functools.cached_property
    def shape_dtype(self) -> Dtype:
        """The type of shape tensors: int32 before TensorRT 9.1, int64 since."""
        return dtypes.int64 if self.has("DataType", "INT64") else dtypes.int32

    def stored(self, dtype: Dtype) -> Dtype:
        """What `dtype` is on the device: int64 is int32 where TensorRT has no int64 (8.6)."""
        return self.shape_dtype if dtype is dtypes.int64 else dtype

    # --- what layers must do without

    @functools.cached_property
    def samples_volumes(self) -> bool:
        """Whether grid sample takes 5 dimensions: documented from 11.2 on, which added no name; 11.3 did. RTX compiles
        it."""
        return self.name == "tensorrt_rtx" or self.offers("DLAWorkspaceAllocationStrategy")

    @functools.cached_property
    def runs_experts(self) -> bool:
        """Whether the GPU here has kernels for mixtures of experts: compute capability 10 or 11, as NvInfer.h of 11.1
        says. TensorRT-RTX 1.7.1, which compiles for neither, refuses them ("Cannot decompose operation", for sm86 and
        sm120)."""
        found = gpu.capability()
        return self.name != "tensorrt_rtx" and found is not None and found[0] in (10, 11)

    @functools.cached_property
    def activates_integers(self) -> bool:
        """Whether RELU, ABS, NEG, POW and top-k layers take whole numbers: 8.6.1 has "only activation types"."""
        return self.strongly_typed

    @functools.cached_property
    def quantizes_by_tensors(self) -> bool:
        """Whether the scales of quantize and dequantize layers may be computed, but for those of blocks.

        Up to 10.12 "the subgraph which terminates with the scale tensor must be a build-time constant" (NvInfer.h), and
        no longer in 10.13, which has E8M0. RTX 1.7.1 builds some of them, and crashes the process (a segmentation
        fault) with a convolution of quantized constants behind a scale that is an input.
        """
        return self.name != "tensorrt_rtx" and self.has("DataType", "E8M0")

    @functools.cached_property
    def writes_reshaped_outputs(self) -> bool:
        """Whether an output of the network is written of which a reshape is an output, too.

        8.6.1 leaves some of them as the memory was, and writes most (an H200, static and dynamic, at levels 0 and 3,
        refittable and not): one in a network that returns a stack of whole numbers and four reshapes of it, and one in
        every third network of fifty random programs. With an identity behind each reshape that is an output, that
        network was right, and 18 stayed so.
        """
        return self.strongly_typed

    @functools.cached_property
    def computes_constants(self) -> bool:
        """Whether what no input reaches is right, and may be an output.

        8.6.1 computes it while it builds: of a select between constant bools by a constant condition it makes True
        everywhere. And an engine whose output is a constant layer's cannot run; with an identity behind it, it can
        (an H200, level 0).
        """
        return self.strongly_typed

    @functools.cached_property
    def slopes_scalars(self) -> bool:
        """Whether a parametric ReLU takes a tensor without dimensions: 8.6.1 wants one at least, RTX compiles it."""
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
    def selects_settled(self) -> bool:
        """Whether both values of a select may be one constant, and its condition a constant, everywhere the same.

        8.6.1 gives what was in memory for `log(where(x == 0, 1.0, 1.0))` and for `log1p(where(tensor(True), 2.0, x))`,
        and refuses `where(x == 0, 3.0, 3.0) + x`: it has the value in place of the select, with its own shape.
        """
        return self.strongly_typed

    @functools.cached_property
    def finds_infinity_equal(self) -> bool:
        """Whether infinity equals a constant infinity. On 8.6.1 (H200, level 3) `atan2(inf, inf)`, which asked so, was
        NaN, while ISINF finds infinities; equality by itself was not looked at."""
        return self.strongly_typed

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

    # --- what builds and engines must do without

    @functools.cached_property
    def waits_on_default_stream(self) -> bool:
        """Whether work on the default stream may make TensorRT synchronise the device, as its log says from 10 on.

        8.6 enqueued there as fast as on another stream (300 enqueues of a small MLP on an H100).
        """
        return self.strongly_typed

    @property
    def captures_loops(self) -> bool:
        """Whether a CUDA graph may hold a loop or a conditional. 8.6 fails to capture any (static and dynamic trip
        counts, conditions; an H200); later ones were not run, and are tried."""
        return self.strongly_typed

    @functools.cached_property
    def highest_level_for_tensor_weights(self) -> int:
        """The highest optimization level for convolutions whose weights are tensors.

        8.6.1 crashes the process at 5 (a segmentation fault on an H100) where a network has nothing but such ones.
        """
        return 5 if self.strongly_typed else 4

    @functools.cached_property
    def refits_version_compatible(self) -> bool:
        """Whether a version-compatible plan can be refitted.

        8.6.1 refuses to build one, or, where its lean runtime is installed, builds one that lets nothing be refitted.
        Of later ones it is assumed: `engine.weights` says what each plan lets be refitted.
        """
        return self.strongly_typed


class Newest(Abilities):
    """A TensorRT that has everything: what `summary` shows where nothing else is said."""

    def __init__(self) -> None:
        super().__init__("the newest TensorRT", "")
        self.runs_experts = True

    def offers(self, name: str) -> bool:
        return True

    def has(self, kind: str, member: str) -> bool:
        return True
