"""Changes in place: `x += y`, `x.relu_()`, `inplace=True`.

A concrete array is changed. A recorded tensor is a handle: it comes to stand for the new value, and what was recorded
before keeps the old one under another handle. Every name that the user has for the tensor sees the change, as in torch.

A change of a slice, a transpose or an unsqueezed form of a tensor is written into the tensor where that is used next.
Through a reshape it is not, because torch may or may not copy there: such a tensor raises at its next use, and so does
every other form that would show the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ..dims import format_shape
from ..errors import DtypeError, ShapeError, UnsupportedError
from ..graph import Pending, Recorder, recorder
from ..layers.base import Layer
from ..layers.casting import Cast, Identity
from ..layers.shaping import Shuffle, Slice
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
            found=repr(x),
            remedy="write a = a + b in place of a += b",
        )
    _same(x, new)
    current: Recorder = recorder()
    if x.recorder is not current:
        current.settle(x)
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
    return _become(current, x, new, made, later)


def _become(current: Recorder, x: Tensor, new: Tensor, made: Layer, later: list[Layer]) -> Tensor:
    """Let the handle `x` stand for what `made` gives; the layers recorded since its own keep the old value."""
    producer = x.layer
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
            "a change in place cannot change the dtype",
            expected=x.dtype,
            found=new.dtype,
            remedy="write it out of place: a = a + b",
        )
    if new.shape is not x.shape and new.shape != x.shape:
        raise ShapeError(
            "a change in place cannot change the shape",
            expected=format_shape(x.shape),
            found=format_shape(new.shape),
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
    error = _stale()
    changed, writable = x, True
    on_the_way = set()
    for layer in path:  # from x to the root
        base = layer.inputs[0]
        assert isinstance(base, Tensor)
        on_the_way.add(id(base))
        if not isinstance(base.recorder, Writes) and base.recorder is not current:
            writable = False
        if not _is_plain(layer) or (base is root and root.layer is not None and _takes_no_tensor(root.layer)):
            writable = False
        if writable:
            if not isinstance(base.recorder, Writes):
                base.recorder = Writes(current)
            base.recorder.add(layer, changed)
        else:
            base.recorder = error
        changed = base
    pending: list[tuple[Tensor, Layer | None]] = [(root, path.pop() if path else None)]
    while pending:
        base, toward = pending.pop()
        if base is not x and id(base) not in on_the_way:
            base.recorder = error
        for view in views[id(base)]:
            if toward is not None and view is not toward and toward.is_apart_from(view):
                continue
            on_path = view is toward and path
            pending.append((view.outputs[0], path.pop() if on_path else None))


def _stale() -> UnsupportedError:
    return UnsupportedError(
        "this tensor was changed in place through another tensor that shares its memory",
        remedy="write the change out of place (y = y + 1, not y += 1), or put the parts together with trtnet.cat",
    )


# --- changes of a part, written into the whole ------------------------------------------------------------------------


def _is_plain(layer: Layer) -> bool:
    """Whether a view is one in torch too, whatever its strides: a slice, a permutation, a dimension of size 1
    more or less."""
    if isinstance(layer, Slice):
        return all(isinstance(step, int) and step > 0 for step in layer.stride)
    if not isinstance(layer, Shuffle):
        return False
    return layer.reshape_dims is None or _without_ones(layer._between()) == _without_ones(layer.reshape_dims)


def _without_ones(shape: Any) -> list[Any]:
    return [size for size in shape if not (isinstance(size, int) and size == 1)]


class Writes(Pending):
    """Views of a tensor that were changed: their values belong into the tensor."""

    def __init__(self, current: Recorder) -> None:
        self.recorder = current
        self.views: list[tuple[Layer, Tensor]] = []

    def add(self, layer: Layer, view: Tensor) -> None:
        if not any(view is known for _, known in self.views):
            self.views.append((layer, view))

    def holds(self, value: Tensor, start: Any, shape: Any, stride: Any) -> bool:
        """Whether `value` is the last view that was changed, and that part of the tensor."""
        part, view = self.views[-1]
        if not isinstance(part, Slice):
            return False
        while view is not value:
            if not isinstance(view.recorder, Writes):
                return False
            layer, view = view.recorder.views[-1]
            if not isinstance(layer, Shuffle) or layer.first_transpose or layer.second_transpose:
                return False
        return tuple(part.start) == start and tuple(part.shape) == shape and tuple(part.stride) == stride

    def resolve(self, tensor: Tensor) -> None:
        current = self.recorder
        tensor.recorder = current
        shown = [v for t in (tensor, *(view for _, view in self.views)) for v in _views_of(current, t)]
        for layer, view in self.views:
            new = _rewritten(tensor, layer, view)
            if new is view or new.layer is not current.layers[-1]:
                new = current.emit(Identity((new,)))
            later = []
            for since in reversed(current.layers):
                if since is tensor.layer:
                    break
                later.append(since)
            _become(current, tensor, new, current.layers[-1], later)
        error = _stale()
        for handle in (*shown, *(view for _, view in self.views)):
            handle.recorder = error


def _views_of(current: Recorder, tensor: Tensor) -> list[Tensor]:
    """The tensors that are views of this one, and views of those."""
    found = {id(tensor)}
    views = []
    for layer in current.layers:
        if layer.is_view and id(layer.inputs[0]) in found:
            found.add(id(layer.outputs[0]))
            views.append(layer.outputs[0])
    return views


def _rewritten(base: Tensor, layer: Layer, value: Tensor) -> Tensor:
    """`base` with `value` in the place of this view of it."""
    if isinstance(layer, Slice):
        from .indexing import write_part

        return write_part(base, layer.start, layer.shape, layer.stride, value)
    assert isinstance(layer, Shuffle)
    if layer.second_transpose is not None:
        value = _permuted(value, _inverse(layer.second_transpose))
    between = layer._between() if layer.reshape_dims is not None else None
    if between is not None and between != value.shape:
        value = recorder().emit(Shuffle((value,), reshape_dims=between))
    return value if layer.first_transpose is None else _permuted(value, _inverse(layer.first_transpose))


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _permuted(value: Tensor, order: tuple[int, ...]) -> Tensor:
    made: Tensor = recorder().emit(Shuffle((value,), first_transpose=order))
    return made


# --- methods ----------------------------------------------------------------------------------------------------------


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that writes the result of `function` into its first argument and returns it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = current_recorder.get()
        before = 0 if current is None else len(current.layers)
        result = function(self, *args, **kwargs)
        if type(self) is Tensor or type(result) is Tensor:
            return rebind(self, _in_kind(self, tensor(result)), before)
        return _write(self, result)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name.rstrip('_')}`, in place."
    return method


def _in_kind(target: Tensor, result: Tensor) -> Tensor:
    """A result that was promoted, in the target's dtype where that is of the same kind or a higher one."""
    if result.dtype is target.dtype or category(result.dtype.numpy) > category(target.dtype.numpy):
        return result
    made: Tensor = recorder().emit(Cast((result,), target.dtype))
    return made


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
