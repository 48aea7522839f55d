"""Which tensors of a recording share memory, as they do in torch, and what a change of one means for the others.

A recorded value never changes. A Tensor is a value, and at first the user's handle to it too; after a change in place
the handle stands for another value, and the layers recorded before keep the old one. What a view and its base show of
each other's changes is recorded when it is used: the base with the view's value written into it, the view as the same
slices and shuffles of the new base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..basics.errors import UnsupportedError
from ..graph.recorder import Body, Pending, Recorder, recorder
from ..graph.tensor import Array, Parameter, Producer, Recording, Tensor, current_recorder, recorded
from ..layers.constant import Constant, constant
from ..weights.recipes import Literal
from .strides import Decision, Rule, copied_strides, decide, known_strides, lies_contiguous

Positions = tuple[Any, ...]
"""For each dimension the one position that is written to, or None where that may be several."""

writers: dict[type[Producer], Callable[[Tensor, Any, Tensor, Positions], Tensor]] = {}
"""For a kind of view: `writers[kind](base, layer, value, positions)` is `base` with `value` in that view's place.
`functional` fills it."""


class Alias(Pending):
    """What is known of one tensor that shares memory with others, or that was changed in place.

    Attributes:
        base: the tensor that this one is a view of; None for one that is no view.
        rule: whether it is a view in torch, by the base's strides; None for one that always is.
        views: its own views, in the order in which they were made.
        value: what it stands for now; None where that has to be made again from the base.
        written: views that were changed, and whose values belong into this tensor.
        make: gives a view's value from its base's.
        requires_grad: what forward made it; nothing depends on it.
        has_unknown_strides: whether torch's tensor may lie in memory otherwise than in row-major order.
        strides: those of a tensor of fixed sizes that are known otherwise than from its layer.
        body: the body of a loop or a branch in which a tensor of its own memory was made that no layer gives.
        former: for a tensor that was given another shape in place, the value that it was made as.
        is_base_itself: whether it is the very same tensor as its base in torch, where it shares its memory.
    """

    # one is made for each view that is recorded: what few of them need is set where it is needed
    rule: Rule | None = None
    source: Tensor | None = None
    make: Callable[[Tensor], Tensor] | None = None
    has_unknown_strides: bool = False
    strides: tuple[int, ...] | None = None
    former: Tensor | None = None
    body: Body | None = None
    is_base_itself: bool = False
    requires_grad: bool = False
    views: Sequence[Tensor] = ()
    written: Sequence[Tensor] = ()
    _chain: tuple[Producer, ...] | None = None
    _decision: Decision | None = None

    def __init__(self, current: Recorder, value: Tensor | None, base: Tensor | None = None) -> None:
        self.recorder = current
        self.value = value
        self.base = base

    def chain(self, handle: Tensor) -> tuple[Producer, ...]:
        """The layers that make this view of its base's value."""
        if self._chain is None:
            assert self.base is not None
            if self.make is not None:  # of a concrete tensor that became a recorded one
                self.source = value_of(self.base)
                with self.recorder.values():
                    handle = self.make(self.source)
            found = _between(handle, _as_made(self.source))
            assert found is not None
            self._chain = found
        return self._chain

    def change_shape(self, change: Callable[[Tensor], Tensor], undo: Callable[[Tensor], Tensor]) -> None:
        """Note that a concrete tensor was given another shape in place: it is another view of its base, and the base
        of its own views is the tensor as it was."""
        if (make := self.make) is not None:
            self.make = lambda base: change(make(base))
        for view in self.views:
            made = view.alias.make
            view.alias.make = lambda base, made=made: made(undo(base))

    def shares(self, handle: Tensor) -> Decision:
        """Whether this tensor shares its base's memory in torch: for certain, not at all, or by sizes and strides
        that are not known."""
        if self.rule is None:
            return Decision.YES
        if self._decision is None:
            assert self.base is not None
            self._decision = decide(self.rule, self.base, handle.shape)
        return self._decision

    def resolve(self, tensor: Tensor) -> Tensor:
        """The value that the tensor stands for, recorded now if need be."""
        if self.value is None:
            assert self.base is not None
            self.value = again(self.chain(tensor), value_of(self.base))  # which records no operand of the user's
        self.value = _as_made(self.value)
        while self.written:
            view = self.written[0]
            value = value_of(view)
            positions = (None,) * len(view.shape)
            with self.recorder.values():
                self.value = _with(self.value, view.alias.chain(view), value, positions)
            self.written = self.written[1:]
        return self.value


def value_of(tensor: Tensor) -> Tensor:
    """The value that a recorded tensor stands for now."""
    current = recorder()
    return tensor if tensor.recorder is current else current.settle(tensor)


def again(chain: tuple[Producer, ...], base: Tensor) -> Tensor:
    """A view of another value of its base."""
    for layer in chain:
        base = layer.again((base, *layer.inputs[1:]), recorder())  # type: ignore[assignment]
    return base


def _as_made(value: Any) -> Any:
    """The value that a tensor was made as, where it was given another shape since."""
    if value is None or type(value._note) is not Alias or value._note.former is None:
        return value
    return value._note.former


def _between(handle: Tensor, source: Tensor | None) -> tuple[Producer, ...] | None:
    """The layers from `source` to `handle`; None where there is another path than through first inputs."""
    layers = []
    while handle is not source:
        if handle.layer is None or not handle.layer.inputs or type(handle.layer.inputs[0]) is not Tensor:
            return None
        layers.append(handle.layer)
        handle = handle.layer.inputs[0]
    return tuple(reversed(layers))


# --- views and copies -------------------------------------------------------------------------------------------------


def _add_view(alias: Alias, view: Tensor) -> None:
    if not alias.views:
        alias.views = []
    alias.views.append(view)  # type: ignore[attr-defined]


def alias_of(tensor: Tensor) -> Alias:
    if tensor.alias is None:
        tensor.alias = Alias(recorder(), tensor)
    return tensor.alias


def view_of(
    result: Tensor, base: Tensor, rule: Rule | None = None, any_layer: bool = False, gives_itself: bool = False
) -> Tensor:
    """What a function gives that torch gives a view of `base` for: `result`, which was made of it, with a note that it
    may share its memory: what comes of that is worked out when a change in place asks (`alias`).

    Where nothing had to be made, torch gives the tensor itself for some functions (`gives_itself`): what becomes of its
    shape in place then shows under both names. For all others it gives a second tensor of the same memory.
    """
    current = current_recorder.get()
    if current is None or current.takes_values:
        return result
    if result is base:
        return base if gives_itself else another_handle(base, base, rule)
    if result._note is None:
        result._note = note = (result, base, rule, any_layer)
        current.notes.append(note)
    return result


def mark_same(result: Tensor, base: Tensor) -> Tensor:
    """`result`, with a note that in torch it is `base` itself where it shares its memory: the shape of neither can be
    changed in place."""
    notes = recorder().notes
    if result._note is None:
        result._note = note = (result, base, None, False)
        notes.append(note)
    notes.append((result, None, "is_base_itself", False))
    return result


def _alias(tensor: Tensor) -> Alias | None:
    current = current_recorder.get()
    if current is not None and current.notes:
        _take_notes(current)
    return None if type(tensor._note) is tuple else tensor._note


def _set_alias(tensor: Tensor, alias: Alias | None) -> None:
    tensor._note = alias


Tensor.alias = property(_alias, _set_alias)
Tensor.alias_of = alias_of


def _take_notes(current: Recording) -> None:
    notes, current.notes = current.notes, []
    before, current.takes_values = current.takes_values, False
    try:
        for note in notes:
            result, base, what, any_layer = note
            if base is None:
                if what == "has_unknown_strides" or result._note is not None:
                    setattr(alias_of(result), what, True)
            elif result._note is note:
                result._note = None
                _link_view(result, base, what, any_layer)
            elif result._note.base is base:  # another handle
                _add_view(alias_of(base), result)
    finally:
        current.takes_values = before


def _link_view(result: Tensor, base: Tensor, rule: Rule | None, any_layer: bool) -> None:
    """Note that `result` shares the memory of `base`; unless it was made of it by other layers than those that always
    move elements about, and not `any_layer` will do."""
    current = result.recorder
    source = base if base.recorder is current else value_of(base)
    step = result
    while step is not source:
        layer = step.layer
        if layer is None or not (layer.is_view or any_layer) or type(layer.inputs[0]) is not Tensor:
            return
        step = layer.inputs[0]
    alias = result.alias = Alias(current, result, base)
    alias.source = source
    if rule is not None:
        alias.rule = rule
    _add_view(alias_of(base), result)


def another_handle(tensor: Tensor, base: Tensor | None = None, rule: Rule | None = None) -> Tensor:
    """A second tensor of the same value, as torch's copies are; with a base one that may share its memory."""
    value = value_of(tensor)
    current = recorder()
    if current.takes_values:
        return value
    made = recorded(value.shape, value.dtype, None, value.layer, value.index)
    alias = made._note = made.recorder = Alias(current, value, base)
    if base is None:
        alias.has_unknown_strides = True
        alias.body = current.bodies[-1] if current.bodies else None
    else:
        alias.rule, alias.source, alias._chain = rule, value, ()
        current.notes.append((made, base, rule, False))
    return made


def own(result: Any, arguments: Any) -> Any:
    """What a function that copies gives: nothing that shares memory with its arguments, or with a parameter."""
    if type(result) in (tuple, list):
        return type(result)([own(r, arguments) for r in result])
    if type(result) is not Tensor:  # named tuples are of layers with several outputs
        return result
    if isinstance(result.recorder, Pending) or _is_cached(result) or holds(arguments, result):
        return another_handle(result)
    if result._note is not None and result.alias is not None and result.alias.base is not None:
        above = alias_of(result.alias.base)
        above.views = [view for view in above.views if view is not result]
        result.alias.base = None
    return result


def holds(values: Any, wanted: Tensor) -> bool:
    for value in values:  # noqa: SIM110 - a generator costs more than the loop
        if value is wanted or (isinstance(value, (tuple, list)) and holds(value, wanted)):
            return True
    return False


def _is_cached(tensor: Tensor) -> bool:
    layer = tensor.layer
    return isinstance(layer, Constant) and not isinstance(layer.inputs[0], Literal)


def forget_strides(result: Any) -> None:
    """Note that torch's tensors may lie in memory in another order than the row-major one."""
    current = recorder()
    if type(result) is Tensor:
        current.notes.append((result, None, "has_unknown_strides", False))
    elif isinstance(result, (tuple, list)):
        for one in result:
            forget_strides(one)


def lie_as(result: Tensor, other: Tensor) -> None:
    """Note that torch's `result` lies in memory in the order of a tensor of the same shape (its `preserve_format`)."""
    if result.recorder is None or decide(lies_contiguous, other, other.shape) is Decision.YES:
        return
    steps, sizes = known_strides(other), [size for size in other.shape if isinstance(size, int)]
    if steps is None or len(sizes) != len(other.shape):
        forget_strides(result)
    else:
        alias_of(result).strides = copied_strides(tuple(sizes), steps)


# --- concrete tensors that become recorded ones -----------------------------------------------------------------------


def mark_concrete_view(result: Array, base: Array, make: Callable[[Tensor], Tensor]) -> None:
    """Note that one concrete tensor that was made while recording is a view of another; `make` records the same."""
    current = recorder()
    if base.alias is None:
        base.alias = Alias(current, None)
    alias = result.alias = Alias(current, None, base)
    alias.make = make
    _add_view(base.alias, result)


def become_recorded(array: Array) -> None:
    """Turn a concrete tensor that was made in this recording, and all that share its memory, into recorded ones.

    Raises UnsupportedError for a parameter, and for tensors that were made elsewhere.
    """
    current = recorder()
    root: Tensor = array
    while type(root) is Array and root.alias is not None and root.alias.base is not None:
        root = root.alias.base
    if type(root) is not Array or root.recorder is not current.token:
        what = "a parameter" if isinstance(root, Parameter) else "a tensor that was made outside of this recording"
        if current.bodies:
            raise current.bodies[-1].written_error(array)
        raise UnsupportedError(
            f"{what} cannot be changed in forward",
            found=repr(array),
            remedy="write a = a + b in place of a += b, or change a copy: a = a.clone()",
        )
    numbers = root.numpy()
    value = constant(Literal(numbers.copy()))
    _become(root, value)
    root.alias.body = current.bodies[-1] if current.bodies else None
    root.alias.strides = tuple(step // max(numbers.itemsize, 1) for step in numbers.strides)


def _become(array: Tensor, value: Tensor | None) -> None:
    shape, dtype = array.shape, array.dtype
    if array.alias is None:
        array.alias = Alias(recorder(), value)
    alias = array.alias
    array.__class__ = Tensor
    array.shape, array.dtype, array.layer, array.index, array.name = shape, dtype, None, 0, None
    alias.value = value
    array.recorder = alias
    for view in alias.views:
        _become(view, None)


# --- another shape in place -------------------------------------------------------------------------------------------


def change_shape(handle: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Give a recorded tensor the shape that `change` gives its value, in place, as torch's `transpose_` does.

    It becomes a view of a tensor that takes its place among those that share its memory.

    Raises UnsupportedError for a parameter, and for a tensor that other names may stand for.
    """
    current = recorder()
    value = value_of(handle)
    with current.values():
        made = change(value)
    if made is value:
        return
    chain = _between(made, value)
    assert chain is not None
    _check_root(handle)
    _check_body(handle)
    _check_names(handle)
    hidden = _in_place_of(handle)
    alias = Alias(current, made, hidden)
    alias.source, alias._chain = value, chain
    former, hidden.alias.former = hidden.alias.former, None
    alias.former = hidden if former is None else former
    handle.alias = handle.recorder = alias
    handle.shape, handle.layer, handle.index, handle.name = made.shape, None, 0, None
    _add_view(hidden.alias, handle)


def _check_names(handle: Tensor) -> None:
    same = [one for one in (handle, *alias_of(handle).views) if one.alias.is_base_itself]
    if any(one.alias.shares(one) is not Decision.NO for one in same):
        raise UnsupportedError(
            "the shape of a tensor for which another name may stand cannot be changed in place",
            expected="a tensor that contiguous() and dropout neither took nor gave",
            found=repr(handle),
            remedy="change the shape out of place: x = x.transpose(0, 1)",
        )


def _in_place_of(handle: Tensor) -> Tensor:
    """A tensor that is in the recording, and among those that share its memory, what `handle` was."""
    current, alias = recorder(), alias_of(handle)
    made = recorded(handle.shape, handle.dtype, handle.recorder, handle.layer, handle.index, handle.name)
    made.alias = alias

    def swapped(tensors: Any) -> Any:
        if any(tensor is handle for tensor in tensors):
            return tuple(made if tensor is handle else tensor for tensor in tensors)
        return tensors

    for layer in current.layers:
        layer.inputs, layer.outputs = swapped(layer.inputs), swapped(layer.outputs)
    for layer in current.training.instead.values():  # it gives what the layer gives in whose place it is noted
        layer.inputs = swapped(layer.inputs)
    current.handles.update({layer: swapped(tensors) for layer, tensors in current.handles.items()})
    current.inputs.update({name: made for name, tensor in current.inputs.items() if tensor is handle})
    if alias.value is handle:
        alias.value = made
    for view in alias.views:
        view.alias.base = made
    if alias.base is not None:
        above = alias.base.alias
        above.views, above.written = list(swapped(above.views)), swapped(above.written)
    return made


# --- writes -----------------------------------------------------------------------------------------------------------


def write(handle: Tensor, value: Tensor, positions: Positions | None = None) -> None:
    """Make `handle`, and all that share its memory in torch, show `value` from now on.

    `positions` says which one position of a dimension was written to, where that is known.

    Raises UnsupportedError for the memory of a parameter, and for elements that share one place in memory.
    """
    value = value_of(value)
    alias = alias_of(handle)
    path = list(_path(handle))
    _check_root(path[-1].base if path else handle)
    _check_body(handle)
    if any(_expands(link.child) for link in path):  # the other elements of that memory have to follow at once
        if positions is None:
            positions = tuple(0 if isinstance(size, int) and size == 1 else None for size in handle.shape)
        chain = alias.chain(handle)
        base = value_of(path[0].base)
        with recorder().values():
            value = _with(base, chain, value, positions)
        write(path[0].base, value, _origin(chain, positions))
        return
    for link in path:
        above = link.base.alias
        if above.value is None or any(v is not link.child and not _are_apart(v, link.child) for v in above.written):
            value_of(link.base)
    alias.value, alias.written = value, ()
    handle.recorder = alias
    if not path and not alias.views:
        return
    stale = _stale()
    for view in alias.views:
        _forget(view, stale, False)
    for link in path:
        above = link.base.alias
        if isinstance(link.base.recorder, UnsupportedError):
            pass  # its other elements are as unknown as before
        elif link.certain:
            if not any(view is link.child for view in above.written):
                above.written = (*above.written, link.child)
            link.base.recorder = above
        else:
            link.base.recorder = stale
        for view in above.views:
            if view is not link.child and not _are_apart(view, link.child):
                _forget(view, stale, not link.certain)


class _Link(NamedTuple):
    """A tensor that a change may reach through a view of it."""

    base: Tensor
    child: Tensor
    certain: bool


def _path(handle: Tensor) -> Iterator[_Link]:
    """From a tensor's base up."""
    certain = True
    while (base := handle.alias.base) is not None:
        decision = handle.alias.shares(handle)
        if decision is Decision.NO:
            return
        certain = certain and decision is Decision.YES
        yield _Link(base, handle, certain)
        handle = base


def _forget(view: Tensor, stale: UnsupportedError, is_open: bool) -> None:
    """Have a view made again from its base at its next use; raise there where torch may or may not show the change."""
    alias = view.alias
    decision = alias.shares(view)
    if decision is Decision.NO:
        return
    is_open = is_open or decision is Decision.MAYBE
    alias.value, alias.written = None, ()
    view.recorder = stale if is_open else alias
    for inner in alias.views:
        _forget(inner, stale, is_open)


def _are_apart(one: Tensor, two: Tensor) -> bool:
    """Whether two views of a tensor are sure to have no element in common."""
    first, second = one.alias.chain(one), two.alias.chain(two)
    return bool(first and second and first[0].is_apart_from(second[0]))


def _expands(view: Tensor) -> bool:
    return any(layer.expands for layer in view.alias.chain(view))


def _origin(chain: tuple[Producer, ...], positions: Positions) -> Positions:
    """Where positions of a view lie in its base."""
    for layer in reversed(chain):
        found = layer.origin(positions)
        if found is None:
            raise UnsupportedError(
                "more than one element of the tensor that is written to lies at one place in memory",
                found="an expanded tensor",
                remedy="write into the tensor that was expanded, or copy first: x.expand(...).clone()",
            )
        positions = found
    return positions


def _with(base: Tensor, chain: tuple[Producer, ...], value: Tensor, positions: Positions) -> Tensor:
    """`base` with `value` in the place of the view that `chain` makes of it."""
    if not chain:
        return value
    first, rest = chain[0], chain[1:]
    if rest:
        value = _with(again(chain[:1], base), rest, value, positions)
        positions = _origin(rest, positions)
    return writers[type(first)](base, first, value, positions)


def refuse_hazards(target: Tensor, operands: Iterable[Any], is_elementwise: bool = True) -> None:
    """Raises UnsupportedError where a change in place reads what it overwrites: torch's result then depends on the
    order of its elements, or it raises. Elementwise, the very same elements may be read."""
    for operand in operands:
        if isinstance(operand, (tuple, list)):
            refuse_hazards(target, operand, is_elementwise)
        elif _meets(target, operand, is_elementwise):
            raise UnsupportedError(
                "this change in place reads memory that it writes to",
                expected="operands that share no memory with the tensor that is changed, or all of it",
                found=repr(operand),
                remedy="copy the operand first: x.add_(y.clone())",
            )


def refuse_moves(target: Tensor, part: Callable[[], Tensor], value: Any) -> None:
    """Raises UnsupportedError where `value` is of the memory of `target` and would be moved into a part of it: torch
    reads what it has written by then, or raises."""
    if value is not target and _meets(target, value, False) and _moves(part(), value):
        raise UnsupportedError(
            "this assignment reads memory that it writes to, and moves it",
            expected="a value that shares no memory with what is assigned to",
            found=repr(value),
            remedy="copy the value first: x[1:] = x[:-1].clone()",
        )


def _moves(part: Tensor, value: Tensor) -> bool:
    """Whether an element is written that is read for another place, with a value other than its own."""
    if type(part) is not Array or type(value) is not Array:
        return _meets(part, value, True)
    to, read = part.numpy(), value.numpy()
    if to.size > 100_000:
        return overlap(to, read)
    try:
        sources = np.broadcast_to(_places(read), to.shape)
    except ValueError:  # sizes that do not fit are refused later
        return False
    written = _places(to)
    return bool(np.isin(sources, written[written != sources]).any())


def _places(array: np.ndarray) -> np.ndarray:
    """The address of each element."""
    found = np.full(array.shape, array.ctypes.data)
    for axis, (size, step) in enumerate(zip(array.shape, array.strides)):
        found += (np.arange(size) * step).reshape((-1, *(1,) * (array.ndim - axis - 1)))
    return found


def _meets(target: Tensor, operand: Any, same_is_fine: bool) -> bool:
    if type(target) is Tensor and type(operand) is Tensor:
        if operand is target:
            return not same_is_fine
        return operand.alias is not None and _collide(target, operand, same_is_fine)
    if type(target) is not Array or type(operand) is not Array:
        return False
    return overlap(target.numpy(), operand.numpy(), same_is_fine)


def overlap(one: np.ndarray, two: np.ndarray, same_is_fine: bool = True) -> bool:
    """Whether two arrays have some elements in common, but are not the very same ones in one order; as far as that is
    worked out soon."""
    if same_is_fine and (one.ctypes.data, one.shape, one.strides) == (two.ctypes.data, two.shape, two.strides):
        return False
    try:
        return bool(np.shares_memory(one, two, max_work=10_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _collide(one: Tensor, two: Tensor, same_is_fine: bool) -> bool:
    """Whether two tensors have some memory in common, but are not views of the very same elements in one order."""
    if one.alias is None:
        return any(base is one for base in _bases(two))
    first, second = [one, *_bases(one)], [two, *_bases(two)]
    common = next((base for base in first if any(base is other for other in second)), None)
    if common is None:
        return False
    mine, its = _chain_from(common, first), _chain_from(common, second)
    if mine and its and mine[0].is_apart_from(its[0]):
        return False
    return not same_is_fine or _forms(mine) != _forms(its)


def _chain_from(base: Tensor, tensors: list[Tensor]) -> list[Producer]:
    """What makes the first of these tensors of `base`, which is among them."""
    views = tensors[: next(i for i, one in enumerate(tensors) if one is base)]
    return [layer for view in reversed(views) for layer in view.alias.chain(view)]


def _forms(chain: list[Producer]) -> list[Any]:
    """What tells views apart; not positions without dimensions, which are the same or name other elements."""
    return [
        (type(layer), *(getattr(layer, name) for name in layer.attributes),
         *(id(o) for o in layer.inputs[1:] if o is not None and len(o.shape)))
        for layer in chain
    ]  # fmt: skip


def _bases(tensor: Tensor) -> Iterator[Tensor]:
    while tensor.alias is not None and (base := tensor.alias.base) is not None:
        if tensor.alias.shares(tensor) is Decision.NO:
            return
        yield base
        tensor = base


def _check_root(root: Tensor) -> None:
    layer = root.layer
    if isinstance(layer, Constant) and any(root is constant for constant in recorder().constants.values()):
        raise UnsupportedError(
            "a parameter cannot be changed in forward",
            found=f"{layer.inputs[0]!r}",
            remedy="write a = a + b in place of a += b, or change a copy: a = a.clone()",
        )


def _check_body(handle: Tensor) -> None:
    """Raises UnsupportedError where a tensor is of memory that was made outside of the body that is being recorded."""
    current = recorder()
    if not current.bodies:
        return
    body, root = current.bodies[-1], handle
    while root.alias is not None and root.alias.base is not None and root.alias.shares(root) is not Decision.NO:
        root = root.alias.base
    if (root.alias is None or root.alias.body is not body) and root.layer not in current.layers[body.start :]:
        raise body.written_error(handle)


def _stale() -> UnsupportedError:
    return UnsupportedError(
        "this tensor was changed in place through another tensor that may share its memory",
        remedy="write the change out of place (y = y + 1, not y += 1), or copy before the change: y.clone()",
    )
