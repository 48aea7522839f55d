"""`tensorrt.plugin` over the bindings of one version, as far as kernels that become part of a plan use it.

`tests/bindings/plugin_module.json` holds what the real module says of itself. A `PluginModule` takes the calls that
its signatures take, and has the names that it has. `played` is what TensorRT does with a plugin of it, or of the real
module (tests/bindings/plugin_module.py): it asks for types and shapes, for the launch and for the kernel.
"""

from __future__ import annotations

import functools
import inspect
import json
import operator
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from bindings import Bindings, parsed

DATA = Path(__file__).resolve().parent.parent / "bindings" / "plugin_module.json"


@functools.cache
def data() -> dict[str, Any]:
    return json.loads(DATA.read_text())


# --- sizes ------------------------------------------------------------------------------------------------------------

Sizes = Sequence[tuple[int, ...]]
"""The shapes of a plugin's inputs."""


class ExprBuilder:
    """What gives expressions (IDimensionExpr), whose `at` computes them for shapes of the inputs.

    Each belongs to its builder alone: TensorRT destroys them with it.
    """

    def __init__(self, module: Bindings) -> None:
        kinds = module.DimensionOperation
        self._module = module
        self._operations: dict[Any, Callable[[int, int], int]] = {
            kinds.SUM: operator.add, kinds.PROD: operator.mul, kinds.MAX: max, kinds.MIN: min,
            kinds.SUB: operator.sub, kinds.FLOOR_DIV: operator.floordiv, kinds.CEIL_DIV: lambda a, b: -(-a // b),
        }  # fmt: skip
        self.is_alive = True

    def _expression(self, at: Callable[[Sizes], int]) -> Any:
        assert self.is_alive, "an expression of a builder that TensorRT has destroyed"
        made = self._module.new("IDimensionExpr")
        vars(made).update(at=at)
        return made

    def constant(self, value: int) -> Any:
        assert type(value) is int
        return self._expression(lambda sizes: value)

    def size(self, index: int, axis: int) -> Any:
        return self._expression(lambda sizes: sizes[index][axis])

    def operation(self, kind: Any, first: Any, second: Any) -> Any:
        assert isinstance(first, self._module.IDimensionExpr)
        assert isinstance(second, self._module.IDimensionExpr)
        compute, a, b = self._operations[kind], vars(first)["at"], vars(second)["at"]
        return self._expression(lambda sizes: compute(a(sizes), b(sizes)))


# --- the module -------------------------------------------------------------------------------------------------------


class PluginModule(ModuleType):
    """The module of one version. A class of it has no other public names than the real one."""

    def __init__(self, module: Bindings, version: str) -> None:
        super().__init__("tensorrt.plugin")
        self._module, self._builder = module, None
        self._said = next(said for ranges, said in data().items() if version in ranges.split())
        self.op = SimpleNamespace()
        self.TensorDesc, self.KernelLaunchParams, self.SymIntExprs = TensorDesc, KernelLaunchParams, SymIntExprs
        self.ShapeExpr = type("ShapeExpr", (ShapeExpr,), {"_of": self})
        self.SymInt32 = type("SymInt32", (SymInt32,), {"_of": self})
        for name in ("register", "aot_impl", "from_shape_expr", "max", "min"):
            setattr(self, name, self._judged(name, getattr(self, f"_{name}")))
        assert "op" in self._said
        for kind in (TensorDesc, KernelLaunchParams, SymIntExprs, ShapeExpr, SymInt32):
            said = self._said[kind.__name__]
            assert {name for name in dir(kind) if name[0] != "_"} <= set(said["has"])
            own = list(inspect.signature(kind).parameters)
            assert own == list(parsed("f" + said["takes"]).takes)[: len(own)]
        vars(module)["plays"] = played

    def _judged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        signature = parsed(name + self._said[name])

        def call(*args: Any, **kwargs: Any) -> Any:
            assert signature.bound(args, kwargs) is not None, f"{name}{self._said[name]}: {args}, {kwargs}"
            return function(*args, **kwargs)

        return call

    def _register(self, plugin_id: str, lazy_register: bool = False) -> Callable[..., Any]:
        namespace, name = plugin_id.split("::")

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            said = inspect.signature(function)
            assert said.parameters, "a plugin has inputs"
            assert all(one.annotation is TensorDesc for one in said.parameters.values())
            assert typing.get_origin(said.return_annotation) is tuple
            assert set(typing.get_args(said.return_annotation)) == {TensorDesc}
            space = vars(self.op).setdefault(namespace, SimpleNamespace())
            assert not hasattr(space, name), f"there is a plugin {name}"
            setattr(space, name, PluginDef(self, function, len(said.parameters)))
            return function

        return decorate

    def _aot_impl(self, plugin_id: str) -> Callable[..., Any]:
        namespace, name = plugin_id.split("::")
        definition = getattr(getattr(self.op, namespace), name)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            said = inspect.signature(function)
            wanted = [*inspect.signature(definition.register_func).parameters, "outputs", "tactic"]
            assert list(said.parameters) == wanted
            gives = typing.get_args(said.return_annotation)
            assert gives == (str, str, KernelLaunchParams, SymIntExprs)
            definition.aot_impl_func = function
            return function

        return decorate

    def _from_shape_expr(self, shape_expr: Any, dtype: Any) -> Any:
        assert isinstance(shape_expr, tuple)
        assert isinstance(dtype, self._module.DataType)
        return TensorDesc([one if isinstance(one, ShapeExpr) else self.ShapeExpr(one) for one in shape_expr], dtype)

    def _max(self, first: Any, second: Any) -> Any:
        return first._op("MAX", second)

    def _min(self, first: Any, second: Any) -> Any:
        return first._op("MIN", second)


class PluginDef:
    """What was registered; called with tensors, a function that gives what a network adds."""

    def __init__(self, owner: PluginModule, register_func: Callable[..., Any], inputs: int) -> None:
        self.owner, self.register_func, self.inputs = owner, register_func, inputs
        self.aot_impl_func: Callable[..., Any] | None = None

    def __call__(self, *tensors: Any) -> Callable[[Any], Any]:
        module = self.owner._module
        assert len(tensors) == self.inputs
        assert all(isinstance(one, module.ITensor) for one in tensors)

        def create(request: Any) -> Any:
            assert request == module.QuickPluginCreationRequest.STRICT_AOT
            return list(tensors), [], self

        return create


class ShapeExpr:
    """An expression; without a value one that is fake."""

    _of: PluginModule

    def __init__(self, value: Any = None) -> None:
        self.is_fake = value is None
        if isinstance(value, int):
            assert self._of._builder is not None, "TensorRT asks for no expressions now"
            self._expr = self._of._builder.constant(value)
        else:
            self._expr = value._expr if isinstance(value, ShapeExpr) else value

    def _op(self, kind: str, other: Any) -> Any:
        assert isinstance(other, (int, ShapeExpr))
        if self.is_fake:
            return self._of.ShapeExpr()
        builder = self._of._builder
        second = builder.constant(other) if isinstance(other, int) else other._expr
        operation = getattr(self._of._module.DimensionOperation, kind)
        return self._of.ShapeExpr(builder.operation(operation, self._expr, second))

    def __add__(self, other: Any) -> Any:
        return self._op("SUM", other)

    def __sub__(self, other: Any) -> Any:
        return self._op("SUB", other)

    def __mul__(self, other: Any) -> Any:
        return self._op("PROD", other)

    def __floordiv__(self, other: Any) -> Any:
        return self._op("FLOOR_DIV", other)

    __eq__ = __lt__ = __bool__ = __hash__ = None  # type: ignore[assignment]


class SymInt32(ShapeExpr):
    pass


class TensorDesc:
    def __init__(self, shape_expr: Any = None, dtype: Any = None) -> None:
        self.shape_expr, self.dtype = shape_expr, dtype


class SymIntExprs:
    def __init__(self, length: int) -> None:
        self._exprs: list[Any] = [None] * length

    def __setitem__(self, index: int, value: Any) -> None:
        assert isinstance(value, SymInt32)
        self._exprs[index] = value


class KernelLaunchParams:
    def __init__(
        self, grid_x: Any = 1, grid_y: Any = 1, grid_z: Any = 1, block_x: Any = 1, block_y: Any = 1, block_z: Any = 1,
        shared_mem: Any = 0,
    ) -> None:  # fmt: skip
        self._sizes = [grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_mem]
        assert all(isinstance(one, (int, ShapeExpr)) for one in self._sizes)


# --- what TensorRT asks -----------------------------------------------------------------------------------------------


class Kernel(typing.NamedTuple):
    """A plugin that became part of a network.

    Attributes:
        name, code: of the kernel.
        dtypes, shapes: of its outputs; `shapes` and `launch` are functions of the inputs' shapes.
        launch: the grid, the block, shared memory, and the further parameters.
    """

    name: str
    code: str
    dtypes: tuple[Any, ...]
    shapes: Callable[[Sizes], list[list[int]]]
    launch: Callable[[Sizes], tuple[list[int], list[int]]]


def played(plugin: Any, dtypes: Sequence[Any], ranks: Sequence[int]) -> Kernel:
    """What a plugin answers. A builder of expressions is destroyed after each question."""
    module = plugin.owner

    def described(is_fake: bool) -> list[TensorDesc]:
        builder = module._builder
        return [
            TensorDesc([module.ShapeExpr(None if is_fake else builder.size(i, axis)) for axis in range(rank)], dtype)
            for i, (dtype, rank) in enumerate(zip(dtypes, ranks))
        ]

    first = plugin.register_func(*described(True))
    module._builder = ExprBuilder(module._module)
    outputs = plugin.register_func(*described(False))
    shapes = [[vars(size._expr)["at"] for size in one.shape_expr] for one in outputs]
    module._builder.is_alive = False
    module._builder = ExprBuilder(module._module)
    name, code, launch, extra = plugin.aot_impl_func(*described(False), list(outputs), 0)
    sizes = [vars(module.ShapeExpr(one)._expr)["at"] for one in launch._sizes]
    numbers = [vars(one._expr)["at"] for one in extra._exprs]
    module._builder.is_alive, module._builder = False, None
    assert [one.dtype for one in first] == [one.dtype for one in outputs]
    assert [len(one.shape_expr) for one in first] == [len(one) for one in shapes]
    return Kernel(
        name, code, tuple(one.dtype for one in outputs),
        lambda given: [[size(given) for size in one] for one in shapes],
        lambda given: ([size(given) for size in sizes], [number(given) for number in numbers]),
    )  # fmt: skip
