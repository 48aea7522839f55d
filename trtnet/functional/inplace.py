"""Changes in place: `x += y`, `x.relu_()`, `inplace=True`.

A concrete array is changed. A recorded tensor is a handle: it comes to stand for the new value, and what was recorded
before keeps the old one under another handle. Every name that the user has for the tensor sees the change, as in torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ..dims import format_shape
from ..errors import DtypeError, ShapeError, UnsupportedError
from ..graph import Recorder, foreign_tensor, recorder
from ..layers.base import Layer
from ..layers.casting import Identity
from ..tensor import Array, Parameter, Tensor, current_recorder
from .concrete import category
from .dispatch import tensor

__all__ = ["rebind"]


def rebind(x: Any, new: Tensor, since: int = -1) -> Tensor:
    """Make the recorded tensor `x` stand for the value of `new`, as if it had been changed in place; returns `x`.

    The handle `new` is used up if its layer was recorded at `since` or later (unless given: is the last one), else the
    value is copied by an identity layer.

    Raises:
        ShapeError, DtypeError: the new value has another shape or type.
        UnsupportedError: `x` is a parameter or a concrete array.
    """
    if type(x) is not Tensor:
        what = "a parameter" if isinstance(x, Parameter) else "a concrete array"
        raise UnsupportedError(
            f"{what} cannot become a recorded value in place",
            found=repr(x), remedy="write a = a + b in place of a += b",
        )
    _same(x, new)
    current: Recorder = recorder()
    if x.recorder is not current:
        raise foreign_tensor(x)
    if new is x:
        return x
    made = next((layer for layer in current.layers[since:] if layer is new.layer), None)
    if made is None or len(made.outputs) != 1:
        new = current.emit(Identity((new,)))  # a value that has a handle of its own already
        made = current.layers[-1]
    producer = x.layer
    later = []
    has_aliases = producer is not None and producer.is_view
    for layer in reversed(current.layers):
        if layer is producer:
            break
        later.append(layer)
        if layer.is_view and layer.inputs[0] is x:
            has_aliases = True
    if has_aliases:
        _forbid_aliases(current, x)
    old = Tensor(x.shape, x.dtype, current, producer, x.index, x.name)
    for layer in later:
        for operand in layer.inputs:
            if operand is x:
                layer.inputs = tuple(old if o is x else o for o in layer.inputs)
                break
    if producer is None:
        current.inputs = {name: old if given is x else given for name, given in current.inputs.items()}
    else:
        producer.outputs = tuple(old if output is x else output for output in producer.outputs)
    if _takes_no_tensor(producer) or _takes_no_tensor(made):
        for key, constant in current.constants.items():  # one of them may be a parameter's own tensor
            if constant is x or constant is new:
                current.constants[key] = old if constant is x else x
    x.shape, x.dtype, x.layer, x.index, x.name = new.shape, new.dtype, made, new.index, None
    made.outputs = (x,)
    return x


def _takes_no_tensor(layer: Layer | None) -> bool:
    if layer is not None:
        for operand in layer.inputs:
            if type(operand) is Tensor:
                return False
    return True


def _same(x: Tensor, new: Tensor) -> None:
    if new.dtype is not x.dtype:
        raise DtypeError(
            "a change in place cannot change the dtype", expected=x.dtype, found=new.dtype,
            remedy="write it out of place: a = a + b",
        )
    if new.shape is not x.shape and new.shape != x.shape:
        raise ShapeError(
            "a change in place cannot change the shape",
            expected=format_shape(x.shape), found=format_shape(new.shape),
            remedy="write it out of place: a = a + b",
        )


def _forbid_aliases(current: Recorder, x: Tensor) -> None:
    """Make what shares memory with `x` in torch raise at its next use: here it would hold the old value."""
    root, path = x, []
    while root.layer is not None and root.layer.is_view and isinstance(root.layer.inputs[0], Tensor):
        path.append(root.layer)
        root = root.layer.inputs[0]
    views: dict[int, list[Layer]] = defaultdict(list)
    for layer in reversed(current.layers):
        if layer is root.layer:
            break
        if layer.is_view:
            views[id(layer.inputs[0])].append(layer)
    if not views:
        return
    error = UnsupportedError(
        "this tensor was changed in place through another tensor that shares its memory",
        remedy="write the change out of place (y = y + 1, not y += 1), or put the parts together with trtnet.cat",
    )
    pending: list[tuple[Tensor, Layer | None]] = [(root, path.pop() if path else None)]
    while pending:
        base, toward = pending.pop()
        if base is not x:
            base.recorder = error
        for view in views[id(base)]:
            if toward is not None and view is not toward and toward.is_apart_from(view):
                continue
            on_path = view is toward and path
            pending.append((view.outputs[0], path.pop() if on_path else None))


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that writes the result of `function` into its first argument and returns it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = current_recorder.get()
        before = 0 if current is None else len(current.layers)
        result = function(self, *args, **kwargs)
        if type(self) is Tensor or type(result) is Tensor:
            return rebind(self, tensor(result), before)
        return _write(self, result)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name.rstrip('_')}`, in place."
    return method


def _write(target: Array, result: Any) -> Array:
    new, written = result.numpy(), target.writeable()
    if new.shape != written.shape or category(new.dtype) > category(written.dtype):
        _same(target, result)
    written[...] = new.astype(written.dtype, copy=False)
    return target


def install(functions: dict[str, Callable[..., Any]]) -> None:
    """Give tensors the methods `name_` of these functions."""
    for name, function in functions.items():
        setattr(Tensor, name + "_", in_place(function, name + "_"))


def install_operators(functions: dict[str, Callable[..., Any]]) -> None:
    """Give tensors Python's augmented operators: `__iadd__` and its kin."""
    for name, function in functions.items():
        setattr(Tensor, f"__i{name}__", in_place(function, f"__i{name}__"))


# --- values written over ----------------------------------------------------------------------------------------------


def _filled(self: Tensor, value: Any) -> Any:
    from .creation import full_like

    return full_like(self, value)


def _copied(self: Tensor, src: Any, non_blocking: bool = False) -> Any:
    from .casting import converted

    return converted(tensor(src), self.dtype).expand(self.shape)


install({"fill": _filled, "copy": _copied, "zero": lambda self: _filled(self, 0)})
