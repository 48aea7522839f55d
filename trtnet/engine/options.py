"""How an engine and its contexts run, checked before TensorRT is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self, TypeAlias

from ..basics.errors import ArgumentError, ArgumentTypeError, instead_of

Option: TypeAlias = "int | str | None"

CHOICES: dict[str, tuple[str, ...]] = {
    "execution_context_allocation_strategy": ("static", "on_profile_change"),
    "dynamic_shapes_kernel_specialization_strategy": ("lazy", "eager", "none"),
    "cuda_graph_strategy": ("disabled", "whole_graph_capture"),
    "dla_workspace_allocation_strategy": ("default", "shared_static"),
}
"""What options may be; the first is what TensorRT does unless told."""
SINCE = {
    "weight_streaming_budget": "TensorRT 10.0 or newer",
    "execution_context_allocation_strategy": "TensorRT 10.0 or newer",
    "dla_workspace_allocation_strategy": "TensorRT 11.3 or newer",
    "dynamic_shapes_kernel_specialization_strategy": "TensorRT-RTX",
    "cuda_graph_strategy": "TensorRT-RTX",
    "runtime_cache": "TensorRT-RTX",
}
"""Which TensorRT has an option; every one has the others."""
OF_CONTEXTS = (
    "persistent_cache_limit", "execution_context_allocation_strategy",
    "dynamic_shapes_kernel_specialization_strategy", "cuda_graph_strategy",
)  # fmt: skip
"""What `engine.context` takes; an engine's own calls have what `build` and `load` were given."""


@dataclass(frozen=True)
class RunOptions:
    """Options of an engine, for `build` and `load`; those of contexts for `engine.context`, too. The default leaves
    TensorRT's own. What a TensorRT lacks raises ProviderError, which says which one has it.

    Attributes:
        weight_streaming_budget: bytes of GPU memory for the weights of a plan that was built with
            `weight_streaming=True`; the others stay on the host and are copied at each call. "automatic": as many as
            TensorRT thinks right (close to the memory that is free). None: all weights are on the GPU.
        persistent_cache_limit: most bytes of L2 cache in which a context may keep activations.
        execution_context_allocation_strategy: "static": scratch memory for the largest profile;
            "on_profile_change": allocated anew for each profile. `engine.context(shared_memory=True)` shares one block.
        dynamic_shapes_kernel_specialization_strategy: "lazy": kernels for the shapes at hand are compiled beside the
            calls, which use general ones meanwhile; "eager": before a shape's first call; "none": never (TensorRT-RTX).
        cuda_graph_strategy: "disabled" or "whole_graph_capture": TensorRT-RTX captures and replays a CUDA graph itself.
        dla_workspace_allocation_strategy: "default" or "shared_static": engines on one DLA core share their workspace,
            and must not run at the same time.
        runtime_cache: a file in which TensorRT-RTX keeps the kernels that it compiles for the GPU while the engine
            runs, so that another process has them at once. It is read, if it is there, and written when the engine is
            closed; one of another GPU, driver or version is written anew. A file that others can write to is refused.
    """

    weight_streaming_budget: int | str | None = None
    persistent_cache_limit: int | None = None
    execution_context_allocation_strategy: str = "static"
    dynamic_shapes_kernel_specialization_strategy: str = "lazy"
    cuda_graph_strategy: str = "disabled"
    dla_workspace_allocation_strategy: str = "default"
    runtime_cache: str | None = None

    def __new__(cls, *args: Option, **options: Option) -> Self:
        for name in options:
            if name not in NAMES:
                raise ArgumentTypeError(
                    f"there is no option {name!r} of an engine",
                    expected=", ".join(NAMES),
                    found=name,
                    remedy=instead_of(name, NAMES) or "what a plan was built with is in it: leave the option out",
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        require_choices(self, CHOICES)
        budget, limit = self.weight_streaming_budget, self.persistent_cache_limit
        if budget != "automatic" and not _is_size(budget):
            raise ArgumentError(
                "there is no such weight_streaming_budget",
                expected="bytes, 0 or more, or 'automatic'",
                found=repr(budget),
            )
        cache = self.runtime_cache
        if cache is not None and (not isinstance(cache, str) or not cache):
            raise ArgumentError("there is no such runtime_cache", expected="the path of a file", found=repr(cache))
        if not _is_size(limit):
            raise ArgumentError(
                "there is no such persistent_cache_limit", expected="bytes, 0 or more", found=repr(limit)
            )

    @classmethod
    def taken(cls, options: dict[str, Option]) -> RunOptions:
        """The options of an engine among others, from which they are taken."""
        return cls(**{name: options.pop(name) for name in NAMES if name in options})  # type: ignore[arg-type]

    @classmethod
    def of(cls, options: Mapping[str, Option]) -> RunOptions:
        """Options by name. Raises ArgumentTypeError for an unknown one, with the nearest."""
        return cls(**options)  # type: ignore[arg-type]

    def with_context(self, given: Mapping[str, Option], shared_memory: bool = False) -> RunOptions:
        """These with others for a context. Raises ArgumentTypeError for what is no option of a context."""
        for name in given:
            if name not in OF_CONTEXTS:
                raise ArgumentTypeError(
                    f"there is no option {name!r} of a context",
                    expected=", ".join(OF_CONTEXTS),
                    found=name,
                    remedy="it is of the engine: give it to trtnet.build or trtnet.load"
                    if name in NAMES
                    else instead_of(name, OF_CONTEXTS) or "leave it out",
                )
        if shared_memory and "execution_context_allocation_strategy" in given:
            raise ArgumentError(
                "contexts that share memory do not allocate their own",
                expected="shared_memory or execution_context_allocation_strategy",
                found="both",
                remedy="leave one of them out",
            )
        return RunOptions(**{**asdict(self), **given})


def require_choices(options: object, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ArgumentError for an option that is none of its choices."""
    for name, known in choices.items():
        if getattr(options, name) not in known:
            raise ArgumentError(
                f"there is no such {name}", expected=" or ".join(map(repr, known)), found=repr(getattr(options, name))
            )


NAMES = tuple(one.name for one in fields(RunOptions))


def _is_size(value: Option) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
