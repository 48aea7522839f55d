"""Kernels that become part of the plan: plugins that `tensorrt.plugin` compiles ahead of time (TensorRT 10.9 on).

TensorRT is given PTX, and expressions over the inputs' shapes for the launch; a plan with such a kernel needs neither
a library nor Python. Its kernels take inputs, then 32-bit whole numbers, then outputs.
"""

from __future__ import annotations

import hashlib
import inspect
import operator
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...basics import dtypes
from ...basics.dims import Size
from ...basics.size_algebra import bounds_of
from ..provider import Provider
from . import launch as launches
from . import ptx
from .launch import Launch, Words
from .ptx import Unsuitable

NAMESPACE = "trtnet"
SHARED = 48 << 10
"""Bytes of dynamic shared memory that every kernel gets, without an attribute that has to be set."""
LEAST, MOST = -(1 << 31), (1 << 31) - 1

lock = threading.RLock()
"""Held while TensorRT may ask for shapes and launches: `tensorrt.plugin` keeps whom to ask for expressions in one
place for all threads."""


class Definition(NamedTuple):
    """A plugin that `tensorrt.plugin` knows: called with tensors, it gives what `add_plugin` takes."""

    native: Callable[..., Any]

    def add(self, network: Any, tensors: Sequence[Any]) -> Any:
        """The layer; None where TensorRT refuses it."""
        with lock:
            return network.add_plugin(self.native(*tensors), True)


def require_suitable(launch: Launch, shapes: Sequence[Size]) -> None:
    """Raises Unsuitable, before anything is compiled, where `tensorrt.plugin` cannot say a launch.

    Args:
        shapes: of the inputs.
    """
    if not any(shapes):
        raise Unsuitable("it has no input with dimensions")
    for what, sizes, least, most in (
        ("grid", launch.grid, 1, MOST),
        ("block", launch.block, 1, MOST),
        ("shared memory", (launch.shared,), 0, SHARED),
        *(("argument", (one.words,), LEAST, MOST) for one in launch.arguments if one.value is None),
    ):
        for size in sizes:
            low, high = bounds_of(launches.evaluate(size, lambda index, axis: shapes[index][axis], launches.DIMS))
            if not least <= low <= high <= most:
                raise Unsuitable(f"its {what} is {low} to {high}, and must be {least} to {most}")


def defined(provider: Provider, module: types.ModuleType, function: str, launch: Launch, text: str) -> Definition:
    """The plugin of a kernel, which `module`, the `tensorrt.plugin` of a provider, knows from then on.

    Args:
        function: the kernel's name in `text`, PTX whose parameters are inputs, outputs and arguments.

    Raises Unsuitable where its parameters cannot be put into the order of `tensorrt.plugin`.
    """
    arguments = [(one.type, one.value) for one in launch.arguments]
    code = ptx.arranged(text, function, len(launch.inputs), len(launch.outputs), arguments)
    told = "\0".join([code, function, *map(repr, launch)])
    name = f"kernel_{hashlib.sha256(told.encode()).hexdigest()[:24]}"
    with lock:
        known = getattr(getattr(module.op, NAMESPACE, None), name, None)
        if known is None:
            given = [provider.native_type(dtypes.get(one.type)) for one in launch.outputs]
            _register(module, f"{NAMESPACE}::{name}", launch, given, function, code)
            known = getattr(getattr(module.op, NAMESPACE), name)
    return Definition(known)


def _register(
    module: types.ModuleType, name: str, launch: Launch, given: Sequence[Any], function: str, code: str
) -> None:
    """Tell `tensorrt.plugin` what a kernel gives, and how it is launched. It reads parameters out of signatures."""
    operations = _operations(module)
    sizes = [one.words for one in launch.arguments if one.value is None]

    def evaluated(words: Words, tensors: Sequence[Any]) -> Any:
        return launches.evaluate(words, lambda index, axis: tensors[index].shape_expr[axis], operations)

    def described(*tensors: Any) -> Any:
        is_known = not any(size.is_fake for one in tensors for size in one.shape_expr)
        return tuple(
            [
                module.from_shape_expr(
                    tuple([evaluated(size, tensors) if is_known else module.ShapeExpr() for size in one.shape]), dtype
                )
                for one, dtype in zip(launch.outputs, given)
            ]
        )

    def implemented(*given: Any) -> Any:
        tensors = given[: len(launch.inputs)]
        how = [evaluated(one, tensors) for one in (*launch.grid, *launch.block, launch.shared)]
        extra = module.SymIntExprs(len(sizes))
        for index, size in enumerate(sizes):
            extra[index] = module.SymInt32(evaluated(size, tensors))
        return function, code, module.KernelLaunchParams(*how), extra

    inputs = {f"input{index}": module.TensorDesc for index in range(len(launch.inputs))}
    outputs: Any = types.GenericAlias(tuple, (module.TensorDesc,) * len(launch.outputs))
    _sign(described, inputs, outputs)
    gives = types.GenericAlias(tuple, (str, str, module.KernelLaunchParams, module.SymIntExprs))
    _sign(implemented, {**inputs, "outputs": outputs, "tactic": int}, gives)
    module.register(name, lazy_register=True)(described)
    module.aot_impl(name)(implemented)


def _sign(function: Callable[..., Any], takes: Mapping[str, Any], gives: Any) -> None:
    """Have a function say that it takes these parameters."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=one) for name, one in takes.items()]
    vars(function)["__signature__"] = inspect.Signature(parameters, return_annotation=gives)


def _operations(module: types.ModuleType) -> Mapping[str, Callable[[Any, Any], Any]]:
    """What the signs of a size mean for numbers and expressions of `tensorrt.plugin`, of which one is always an
    expression on the left."""

    def computed(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda a, b: operation(module.ShapeExpr(a) if isinstance(a, int) else a, b)

    known: dict[str, Callable[[Any, Any], Any]] = {
        "+": operator.add, "*": operator.mul, "/": operator.floordiv, "max": module.max, "min": module.min,
        "%": lambda a, b: a - a // b * b,
    }  # fmt: skip
    return {sign: computed(operation) for sign, operation in known.items()}
