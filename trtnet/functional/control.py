"""Loops and conditionals that the network itself runs: `scan`, `while_loop`, `cond`.

Outside of a recording, on concrete tensors, they are Python's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array
from ..basics.cycles import refuse_cycle
from ..basics.dims import Dim, SizeLike, format_shape
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    DtypeError,
    ShapeError,
    UnsupportedError,
    require_function,
    shown,
)
from ..basics.location import Location, here, location_of
from ..graph.recorder import Body, Recorder, recorder
from ..graph.tensor import Array, Producer, Tensor, current_recorder
from ..layers.casting import Identity
from ..layers.conditionals import Condition, ConditionalInput, ConditionalOutput, confined
from ..layers.loops import Iterator, LoopOutput, Recurrence, TripLimit
from ..layers.shaping import reshaped
from ..layers.training import Dropout
from .dispatch import axis_of, require_bools, scalar, tensor
from .joining import stack

__all__ = ["cond", "scan", "while_loop"]

Structure = Any
"""A tensor, or tuples, lists and dicts of tensors, nested in any way, with None among them."""


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Structure,
    xs: Structure = None,
    *,
    dim: int = 0,
    reverse: bool = False,
    length: SizeLike | None = None,
) -> tuple[Structure, Structure]:
    """Call `body` once for each place of `xs` along `dim`, each time with what it gave before: a loop in the network,
    of TensorRT's layers trip limit, iterator, recurrence and loop output.

    While recording, `body` is called once. What it takes from outside is the same in each iteration.

    Args:
        body: called as body(carry, x); returns (carry, y): what is carried on, of the same structure, shapes and dtypes
            as before, and a result of this iteration, None if there is none.
        init: the first carry; numbers and arrays become constants.
        xs: what is iterated over, all of one size along `dim`, at each place a part without that dimension; or None,
            with a `length`, and each x is None.
        dim: the dimension of xs that is iterated over, and of ys in which the results lie.
        reverse: from the last place to the first; ys are in the order of xs all the same.
        length: how many iterations, where xs is None; an int, or a size of a tensor.

    Returns:
        (carry, ys): the last carry, and the y of all iterations.

    Raises:
        ShapeError, DtypeError, ArgumentTypeError: the carry changes, or xs differ in size; at the body's line.
        UnsupportedError: the body draws random numbers, changes a tensor from outside in place, or has results whose
            size the data decides.

    >>> total, sums = trtnet.scan(lambda carry, x: (carry + x, carry + x), 0.0, trtnet.tensor([1.0, 2.0, 3.0]))
    >>> total.item(), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    require_bools("scan", reverse=reverse)
    parts, carried = _Structured.given(xs, "xs"), _Structured.given(init, "carry")
    if current_recorder.get() is None:
        return _scanned(body, carried.changed(_now), parts.changed(_now), dim, bool(reverse), length)
    current, where = recorder(), _where()
    parts, carried = parts.changed(tensor), carried.changed(tensor)
    axes = parts.axes(dim)
    count = _length([one.shape[axis] for one, axis in zip(parts.values, axes)], length)
    require_function("the body of scan", body, init, xs)
    with current.whole("a loop"):
        number = _next_number(current)
        with current.body("the body of scan", where) as opened:
            now = carried.changed(lambda one: current.emit(Recurrence((one,), number)))
            current.emit(TripLimit((), number, "COUNT", count))
            slices = [current.emit(Iterator((one,), number, axis, reverse)) for one, axis in zip(parts.values, axes)]
            next_, y = _pair(body(now.whole(), parts.having(slices).whole()), body)
            last = _carried_on(current, opened, number, now, next_, body)
            results = _Structured.of(y, "y").changed(lambda one: _made_in(current, opened, tensor(one)))
            ys = []
            for one in results.values:
                axis = axis_of(dim, len(one.shape) + 1)
                kind = "REVERSE" if reverse else "CONCATENATE"
                ys.append(current.emit(LoopOutput((one,), number, kind, axis, count)))
        _close(current, opened, number)
        return last.whole(), results.having(ys).whole()


def while_loop(condition: Callable[..., Any], body: Callable[..., Any], init: Sequence[Any]) -> tuple[Structure, ...]:
    """Call `body` as long as `condition` is true: a loop in the network whose end the data decides.

    While recording, both are called once. There is no bound on the number of iterations: a condition that stays true
    hangs the GPU.

    Args:
        condition: called as condition(*carry); returns a bool tensor of one element. It is asked before each iteration.
        body: called as body(*carry); returns the next carry, of the same structure, shapes and dtypes.
        init: the first carry, a tuple or list; numbers and arrays become constants.

    Returns: the last carry, a tuple.

    Raises:
        ShapeError, DtypeError, ArgumentTypeError: the carry changes, or the condition is no bool tensor; at the line of
            the body or the condition.
        UnsupportedError: as `scan`.

    >>> doubled, = trtnet.while_loop(lambda x: x < 100, lambda x: (x * 2,), (trtnet.tensor(3.0),))
    >>> doubled.item()
    192.0
    """
    if not isinstance(init, (tuple, list)):
        raise ArgumentTypeError(
            "while_loop carries a tuple",
            expected="(first, second, ...)",
            found=shown(init),
            remedy="while_loop(condition, body, (x,)) carries one tensor",
        )
    require_function("the condition of while_loop", condition, *init)
    require_function("the body of while_loop", body, *init)
    carried = _Structured.given(tuple(init), "carry")
    if current_recorder.get() is None:
        return _looped(condition, body, carried.changed(_now))
    current, where = recorder(), _where()
    carried = carried.changed(tensor)
    with current.whole("a loop"):
        number = _next_number(current)
        with current.body("the body of while_loop", where) as opened:
            now = carried.changed(lambda one: current.emit(Recurrence((one,), number)))
            goes_on, brought = _asked(current, number, now, condition)
            current.emit(TripLimit((goes_on,), number, "WHILE"))
            made = body(*now.whole())
            last = _carried_on(current, opened, number, now, tuple(made) if isinstance(made, list) else made, body)
            for one in brought:
                _carry(current, number, current.emit(Identity((one,))), one)
        _close(current, opened, number)
    result: tuple[Structure, ...] = last.whole()
    return result


def cond(predicate: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], *operands: Any) -> Structure:
    """What `if_true` gives where the predicate is true, else what `if_false` gives; only that one is computed.

    While recording, both are called. Where the predicate is a Python bool or a concrete tensor, only the one that it
    chooses is.

    Args:
        predicate: a bool tensor of one element.
        if_true, if_false: called with the operands; both return the same structure, shapes and dtypes. They may use
            other tensors from outside too.
        operands: tensors, or tuples, lists and dicts of them.

    Raises:
        ShapeError, DtypeError, ArgumentTypeError: the branches' results differ; at the line of `if_false`.
        UnsupportedError: as `scan`.

    >>> x = trtnet.tensor([3.0, -4.0])
    >>> trtnet.cond(x.sum() > 0, lambda x: x, lambda x: -x, x).tolist()
    [-3.0, 4.0]
    """
    known = None if type(predicate) is Tensor else _is_true(predicate)
    require_function("if_true of cond", if_true, *operands)
    require_function("if_false of cond", if_false, *operands)
    if known is not None:
        return (if_true if known else if_false)(*operands)
    current, where = recorder(), _where()
    chosen = _decision(predicate, "the predicate of cond", None)
    with current.whole("a conditional"):
        number, start = _next_number(current), len(current.layers)
        current.emit(Condition((chosen,), number))
        branches: list[_Structured] = []
        bodies: list[Body] = []
        for name, branch in (("if_true", if_true), ("if_false", if_false)):
            before, current.constants = current.constants, {}  # TensorRT takes nothing from one branch to the other
            try:
                with current.body(f"{name} of cond", where) as opened:
                    made = _Structured.of(branch(*operands), "the result")
                    branches.append(made.changed(lambda one: _made_in(current, opened, tensor(one))))
            finally:
                current.constants = before
            bodies.append(opened)
        one, two = branches
        _require_same(current, one, two, "if_true and if_false give different results", if_false)
        results = [current.emit(ConditionalOutput(pair, number)) for pair in zip(one.values, two.values)]
        for opened, end in zip(bodies, (bodies[1].start, len(current.layers) - len(results))):
            _refuse_draws(current, opened, current.layers[opened.start : end])
            _refuse_assertions(current.layers[opened.start : end])
            current.inside.update((t, opened) for layer in current.layers[opened.start : end] for t in layer.outputs)
        _confine(current, start, number)
        return one.having(results).whole()


def _is_true(predicate: Any) -> bool:
    """A predicate that is known now. Raises ArgumentTypeError and ShapeError for what is no bool."""
    if isinstance(predicate, (Array, np.ndarray, np.generic)):
        if math.prod(predicate.shape) != 1:
            raise ShapeError("the predicate of cond is one bool", expected="one element", found=shown(predicate))
    elif not isinstance(predicate, (bool, int, float)):
        raise ArgumentTypeError("the predicate of cond is one bool", expected="True or False", found=shown(predicate))
    return bool(predicate)


# --- structures -------------------------------------------------------------------------------------------------------


class _Leaf:
    """Stands for a tensor in the form of a structure."""

    def __repr__(self) -> str:
        return "tensor"


_LEAF = _Leaf()


class _Structured(NamedTuple):
    """The tensors of a structure, in order, and what it is without them.

    Attributes:
        form: the structure, with `_LEAF` in place of tensors.
        values: the tensors.
        names: what messages call them: `carry[0]['h']`.
    """

    form: Any
    values: list[Any]
    names: list[str]

    @classmethod
    def of(cls, structure: Structure, name: str) -> _Structured:
        refuse_cycle(name, name, structure)
        values: list[Any] = []
        names: list[str] = []

        def walk(one: Any, name: str) -> Any:
            if one is None:
                return None
            if isinstance(one, (tuple, list)):
                items = [walk(item, f"{name}[{place}]") for place, item in enumerate(one)]
                return type(one)(*items) if hasattr(one, "_fields") else type(one)(items)
            if isinstance(one, dict):
                return {key: walk(item, f"{name}[{key!r}]") for key, item in one.items()}
            values.append(one)
            names.append(name)
            return _LEAF

        return cls(walk(structure, name), values, names)

    @classmethod
    def given(cls, structure: Structure, name: str) -> _Structured:
        """Of what a user gives. Raises ArgumentTypeError for what is no tensor and no number."""
        made = cls.of(structure, name)
        for value, place in zip(made.values, made.names, strict=True):
            if not isinstance(value, (Tensor, bool, int, float, np.ndarray, np.generic)):
                raise ArgumentTypeError(
                    f"{place} is no tensor",
                    expected="a tensor or a number, or tuples, lists and dicts of them",
                    found=shown(value),
                )
        return made

    def axes(self, dim: int) -> list[int]:
        """The dimension that is iterated over, of each."""
        for value, place in zip(self.values, self.names, strict=True):
            if not value.shape:
                raise ShapeError(
                    f"{place} has no dimension to be iterated over",
                    expected="one dimension or more",
                    found=shown(value),
                    remedy="scan(body, init, None, length=8) iterates over nothing",
                )
        return [axis_of(dim, len(one.shape)) for one in self.values]

    def having(self, values: Sequence[Any]) -> _Structured:
        """The same structure of other values."""
        return self._replace(values=list(values))

    def changed(self, change: Callable[[Any], Any]) -> _Structured:
        return self.having([change(value) for value in self.values])

    def whole(self) -> Structure:
        """The structure itself."""
        left = iter(self.values)

        def build(form: Any) -> Any:
            if form is _LEAF:
                return next(left)
            if isinstance(form, (tuple, list)):
                items = [build(item) for item in form]
                return type(form)(*items) if hasattr(form, "_fields") else type(form)(items)
            return {key: build(item) for key, item in form.items()} if isinstance(form, dict) else None

        return build(self.form)


def _now(value: Any) -> Array:
    """A concrete tensor of its own memory."""
    return Array(np.array(as_array(value)))


def _pair(made: Any, body: Any) -> tuple[Any, Any]:
    if isinstance(made, (tuple, list)) and len(made) == 2:
        return made[0], made[1]
    raise ArgumentTypeError(
        "the body of scan returns what is carried on, and a result",
        expected="(carry, y)",
        found=f"{len(made)} values" if isinstance(made, (tuple, list)) else shown(made),
        where=location_of(body),
        remedy="return carry, y; where there is no result: return carry, None",
    )


# --- recording --------------------------------------------------------------------------------------------------------


def _where() -> Location | None:
    return recorder().where or here()


def _next_number(current: Recorder) -> int:
    current.regions += 1
    return current.regions - 1


def _length(sizes: Sequence[SizeLike], length: Any) -> SizeLike:
    """How many iterations a scan has, by the sizes of its xs and what was asked for."""
    if isinstance(length, Array) and not length.shape:
        length = length.item()
    if length is None and not sizes:
        raise ArgumentTypeError(
            "scan over nothing needs a length", expected="xs, or length=", remedy="scan(body, init, None, length=8)"
        )
    if length is not None and (isinstance(length, bool) or not isinstance(length, (int, Dim)) or length < 0):
        raise ArgumentTypeError(
            "the length of scan is a size",
            expected="a whole number, or a size of a tensor: x.shape[0]",
            found=shown(length),
            remedy="where the data decides it: while_loop, or scan to the most there can be and keep the carry by "
            "trtnet.where(i < count, new, old)",
        )
    counts = [*sizes, *([] if length is None else [length])]
    for size in counts[1:]:
        if size != counts[0]:
            problem = "xs and length differ" if length is not None else "xs differ in size along dim"
            recorder().require_equal(counts[0], size, f"scan: {problem}")
    found: SizeLike = counts[0]
    return found


def _made_in(current: Recorder, body: Body, value: Tensor) -> Tensor:
    """A value that a body returns, from a layer in it that bounds nothing."""
    value = current.settle(value)
    layer = value.layer
    if layer is not None and layer.region is None and layer in current.layers[body.start :]:
        return value
    made: Tensor = current.emit(Identity((value,)))
    return made


def _carried_on(
    current: Recorder, opened: Body, number: int, now: _Structured, following: Structure, body: Any
) -> _Structured:
    """The outputs for a carry that is `following` in the next iteration."""
    made = _Structured.of(following, "carry")
    if made.form == now.form:
        likes = zip(made.values, now.values)
        made = made.having([scalar(v, t.dtype, 0) if type(v) in (bool, int, float) else tensor(v) for v, t in likes])
    _require_same(current, now, made, "the carry changes from one iteration to the next", body)
    values = [_made_in(current, opened, value) for value in made.values]
    return now.having([_carry(current, number, value, before) for value, before in zip(values, now.values)])


def _carry(current: Recorder, number: int, following: Tensor, now: Tensor) -> Tensor:
    with current.values():  # `now` may have been changed in place in the body
        made: Tensor = current.emit(LoopOutput((following, now), number, "LAST_VALUE"))
    return made


def _require_same(current: Recorder | None, one: _Structured, two: _Structured, problem: str, function: Any) -> None:
    """Raises where `two`, which `function` returned, is of another structure, or of other shapes or dtypes."""
    where = location_of(function)
    if one.form != two.form:
        raise ArgumentTypeError(
            f"{problem}: in their structure",
            expected=repr(one.form),
            found=repr(two.form),
            where=where,
            remedy="return the same tuples, lists and dicts, with the same keys",
        )
    for name, a, b in zip(one.names, one.values, two.values):
        expected, found = (f"{format_shape(t.shape)} {t.dtype}" for t in (a, b))
        layer = b.layer if type(b) is Tensor else None
        line = where if layer is None or layer.region is not None else layer.location
        if a.dtype is not b.dtype:
            raise DtypeError(
                f"{problem}: {name} in its dtype",
                expected=expected,
                found=found,
                where=line,
                remedy=f"convert it: .to(trtnet.{a.dtype}), or begin with the other type",
            )
        try:
            if len(a.shape) != len(b.shape) or (current is None and a.shape != b.shape):
                raise ShapeError(problem)
            for left, right in zip(a.shape, b.shape):
                if current is not None and left != right:
                    current.require_equal(left, right, f"{problem}: {name} in its shape")
        except ShapeError:
            raise ShapeError(
                f"{problem}: {name} in its shape",
                expected=expected,
                found=found,
                where=line,
                remedy="begin with the shape that it has later, trtnet.zeros(...); or bring it to that shape: expand, "
                "reshape",
            ) from None


def _decision(value: Any, what: str, function: Any) -> Tensor:
    """A recorded bool of one element, as one without dimensions."""
    where = None if function is None else location_of(function)
    if type(value) is not Tensor:
        raise ArgumentTypeError(
            f"{what} does not depend on what the network computes",
            expected="a recorded bool tensor of one element",
            found=shown(value),
            where=where,
            remedy="compute it of what is carried: lambda i, x: i < 10",
        )
    if value.dtype is not dtypes.bool_:
        raise DtypeError(
            f"{what} is a bool", expected="bool", found=value.dtype, where=where, remedy="compare: x > 0, x != 0"
        )
    if any(size != 1 for size in value.shape):
        raise ShapeError(
            f"{what} has one element",
            expected="shape ()",
            found=format_shape(value.shape),
            where=where,
            remedy="x.any() or x.all(); where(condition, a, b) decides for each element",
        )
    return reshaped(value, ()) if value.shape else recorder().settle(value)


def _asked(current: Recorder, number: int, now: _Structured, condition: Any) -> tuple[Tensor, list[Tensor]]:
    """What a loop goes on by, and recurrences of their own for what that takes from loops around.

    TensorRT wants it computed of recurrences of this loop, and of what no loop gives.
    """
    start = len(current.layers)
    goes_on = _decision(condition(*now.whole()), "the condition of while_loop", condition)
    layers = current.layers[start:]
    inner = next((layer for layer in layers if layer.region is not None), None)
    if inner is not None:
        raise UnsupportedError(
            "the condition of while_loop has a loop or a conditional in it, which TensorRT does not take",
            where=inner.location,
            remedy="compute it in the body, and carry it: while_loop(lambda goes_on, x: goes_on, body, (True, x))",
        )
    depending = set(now.values)
    for layer in layers:
        if not depending.isdisjoint(layer.inputs):
            depending.update(layer.outputs)
    if goes_on not in depending:
        raise ArgumentError(
            "the condition of while_loop does not depend on what is carried",
            expected="a condition that changes from one iteration to the next",
            found=repr(goes_on),
            where=location_of(condition),
            remedy="compute it of its arguments: lambda i, x: i < 10",
        )
    made = {tensor for layer in layers for tensor in layer.outputs}.union(now.values)
    taken: dict[Any, Tensor] = {}
    for layer in layers:
        for operand in layer.inputs:
            if isinstance(operand, Tensor) and operand not in made and operand not in taken and _is_of_a_loop(operand):
                taken[operand] = current.emit(Recurrence((operand,), number))
                current.layers.insert(start, current.layers.pop())
        layer.inputs = tuple([taken.get(o, o) for o in layer.inputs])
    return taken.get(goes_on, goes_on), list(taken.values())


def _is_of_a_loop(tensor: Tensor) -> bool:
    """Whether a loop or a conditional has a part in a tensor."""
    pending: list[Tensor] = [tensor]
    seen: set[Producer] = set()
    while pending:
        layer = pending.pop().layer
        if layer is None or layer in seen:
            continue
        if layer.region is not None:
            return True
        seen.add(layer)
        pending += [o for o in layer.inputs if isinstance(o, Tensor)]
    return False


def _close(current: Recorder, body: Body, number: int) -> None:
    """Let nothing outside take what hangs on a loop, but for what the loop gives."""
    layers = current.layers[body.start :]
    bounding = next(layer for layer in layers if layer.region == number)
    division = bounding.divide(layers)
    (inside,) = division.parts
    _refuse_draws(current, body, layers)
    given = set(division.after)
    current.inside.update((t, body) for layer in inside if layer not in given for t in layer.outputs)


def _refuse_draws(current: Recorder, body: Body, layers: Collection[Producer]) -> None:
    """Raises UnsupportedError where a body draws: TensorRT would draw once for all iterations."""
    drawing = next((layer for layer in layers if layer.draws and not isinstance(layer, Dropout)), None)
    if drawing is None and len(current.inputs) == body.inputs:
        return
    raise UnsupportedError(
        f"{body.what} draws random numbers, which TensorRT may draw once for all iterations",
        expected="numbers that are drawn before",
        where=body.where if drawing is None else drawing.location,
        remedy="draw them for all iterations before, and iterate over them: xs=trtnet.rand(8, 3)",
    )


def _refuse_assertions(layers: Sequence[Producer]) -> None:
    """What gives nothing belongs to no branch, and would be there whichever is taken."""
    for layer in layers:
        if not layer.outputs and layer.region is None:
            raise UnsupportedError(
                "a branch of cond asserts nothing by itself: TensorRT would assert it whichever branch is taken",
                expected="the assertion beside cond, of what holds either way: ~predicate | condition",
                found=f"a {layer.kind} layer in a branch",
                module=layer.path or None,
                where=layer.location,
            )


def _confine(current: Recorder, start: int, number: int) -> None:
    """Have what the branches use from outside come through conditional inputs, and leave out what no result needs."""

    def take(condition: Condition, tensor: Tensor) -> Producer:
        current.origin = condition
        with current.values():
            current.emit(ConditionalInput((tensor,), number))
        current.origin = None
        return current.layers.pop()

    before = set(current.layers[start:])
    current.layers[:] = confined(current.layers, number, take)
    for layer in before.difference(current.layers[start:]):
        current.training.instead.pop(layer, None)


# --- without a recording ----------------------------------------------------------------------------------------------


def _scanned(
    body: Callable[..., Any], carried: _Structured, parts: _Structured, dim: int, reverse: bool, length: Any
) -> tuple[Structure, Structure]:
    axes = parts.axes(dim)
    require_function("the body of scan", body, carried, parts)
    sizes = [one.shape[axis] for one, axis in zip(parts.values, axes)]
    length = _length(sizes[:1], length)
    if length is None or any(size != length for size in sizes):
        raise ShapeError("scan: xs differ in size along dim", expected=length, found=sizes)
    made: list[_Structured] = []
    for place in reversed(range(length)) if reverse else range(length):
        slices = [_now(one.select(axis, place)) for one, axis in zip(parts.values, axes)]
        following, y = _pair(body(carried.whole(), parts.having(slices).whole()), body)
        carried = _followed(carried, following, body)
        made.append(_Structured.of(y, "y").changed(_now))
    if not made:
        raise ShapeError(
            "scan: outside of a recording what y is of no iteration is not known",
            expected="at least one place in xs",
            found=0,
        )
    made = made[::-1] if reverse else made
    ys = [stack([one.values[place] for one in made], dim) for place in range(len(made[0].values))]
    return carried.whole(), made[0].having(ys).whole()


def _looped(condition: Callable[..., Any], body: Callable[..., Any], carried: _Structured) -> tuple[Structure, ...]:
    while bool(condition(*carried.whole())):
        following = body(*carried.whole())
        carried = _followed(carried, tuple(following) if isinstance(following, list) else following, body)
    result: tuple[Structure, ...] = carried.whole()
    return result


def _followed(carried: _Structured, following: Structure, body: Any) -> _Structured:
    """The next carry, of concrete tensors."""
    made = _Structured.of(following, "carry")
    if made.form == carried.form:
        likes = zip(made.values, carried.values)
        made = made.having(
            [Array(np.array(v, t.dtype.numpy)) if type(v) in (bool, int, float) else _now(v) for v, t in likes]
        )
    _require_same(None, carried, made, "the carry changes from one iteration to the next", body)
    return made
