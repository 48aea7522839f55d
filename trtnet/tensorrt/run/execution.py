"""One IExecutionContext, and what calls with the same shapes have in common."""

from __future__ import annotations

from typing import Any

from ...basics import dims
from ...basics.dims import format_shape
from ...basics.errors import ProviderError, ShapeError
from ...engine.options import RunOptions
from .loaded import Loaded
from .stream_lock import StreamLock


class Native:
    """One IExecutionContext, on one optimization profile.

    Attributes:
        shapes: the input shapes that it is set to.
        live: which version of the live weights' addresses it is set to.
        debug: what hears of tensors inside; None unless somebody listens.
    """

    def __init__(
        self,
        engine: Loaded,
        profile: int,
        memory: int | None,
        stream_lock: StreamLock,
        options: RunOptions | None = None,
    ) -> None:
        engine.about_to_draw(self)
        self.context = engine.make_context(memory, options)
        self.debug = engine.show_debug_tensors(self.context)
        self.memory = memory
        self.shapes: Route | None = None
        self.live = -1
        self.addresses: list[int] = []
        self.live_weights = engine.live_weights
        if engine.profiles > 1 or self.context.active_optimization_profile != profile:
            side = stream_lock.side()
            if not self.context.set_optimization_profile_async(profile, side):
                raise ProviderError(
                    f"{engine.provider} gives no second context on optimization profile {profile}",
                    expected="a plan that lets contexts share a profile",
                    remedy="build the plan with trtnet, which asks for that (PROFILE_SHARING_0806), or close the other "
                    "context first",
                )
            engine.device.synchronize(side)

    def set_shapes(self, route: Route) -> None:
        context = self.context
        self.shapes = None  # until all are set
        for name, shape in route.dynamic:
            if not context.set_input_shape(name, shape):
                raise ShapeError(f"TensorRT refused the shape of {name!r}", found=format_shape(shape))
        self.shapes = route

    def set_addresses(self, names: tuple[str, ...], addresses: list[int]) -> None:
        self.addresses = []  # until all are set
        for name, address in zip(names, addresses):
            self.context.set_tensor_address(name, address)
        self.addresses = addresses

    def set_live(self) -> None:
        live = self.live_weights
        assert live is not None
        for name, address in live.addresses():
            self.context.set_tensor_address(name, address)
        self.live = live.version


class Route:
    """What calls with the same shapes, dtypes and devices have in common.

    Attributes:
        profile: the optimization profile that they run on.
        dynamic: (input, shape) of the inputs that have Dims.
        shapes: the outputs' shapes; None for one that the data decides.
    """

    __slots__ = ("dynamic", "inputs", "makers", "names", "open", "outputs", "profile", "shapes", "sizes")

    def __init__(self, engine: Loaded, values: list[Any]) -> None:
        sizes = self.sizes = engine._check(values)
        self.profile = engine.profile_for(sizes)
        given = [tuple(v.shape) for v in values]
        self.inputs = given
        self.dynamic = [
            (spec.name, shape)
            for spec, shape in zip(engine.inputs, given)
            if any(not isinstance(s, int) for s in spec.shape)
        ]
        open_dims = engine.graph.data_dims
        self.shapes: list[tuple[int, ...] | None] = [
            None
            if any(not isinstance(s, int) and not open_dims.isdisjoint(map(str, s.symbols)) for s in spec.shape)
            else tuple([dims.evaluate(s, sizes) for s in spec.shape])
            for spec in engine.outputs
        ]
        self.open = any(shape is None for shape in self.shapes)
        self.names = (*(spec.name for spec in engine.inputs), *(spec.name for spec in engine.outputs))
        self.outputs: list[tuple[str, Any, Any]] = []
        """Name, shape and torch dtype, for calls with CUDA tensors."""
        self.makers: list[tuple[Any, tuple[int, ...]]] = []
        """What makes each output's memory, and the shape of that, for calls with CUDA tensors."""
        if self.open and engine.layouts:
            raise ProviderError(
                "outputs whose shapes the data decides are row-major only",
                found="io_formats for " + ", ".join(engine.layouts),
                remedy="build without io_formats",
            )
