"""Changes in place: `x += y`, `x.relu_()`, `inplace=True`.

A concrete array is changed. A recorded tensor comes to stand for the new value, and what was recorded before keeps the
old one. Every name that the user has for the tensor sees the change, as in torch, and so does every tensor that shares
its memory there (`trtnet/functional/memory.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..basics.dims import format_shape
from ..basics.errors import DtypeError, ShapeError, UnsupportedError
from ..graph.recorder import recorder
from ..graph.tensor import Array, Tensor, current_recorder
from ..layers.casting import converted
from ..layers.shaping import Shuffle, inverse
from . import memory
from .concrete import category
from .creation import full_like
from .dispatch import Value, is_scalar, tensor
from .strides import overlaps

__all__ = ["rebind"]


def rebind(x: Any, new: Tensor, positions: Any = None) -> Any:
    """Make the tensor `x` stand for the value of `new`, as if it had been changed in place; returns `x`.

    A concrete tensor that was made in this recording becomes a recorded one. `positions` says which one position of a
    dimension was written to, where that is known.

    Raises:
        ShapeError, DtypeError: the new value has another shape or type.
        UnsupportedError: `x` is a parameter, or was made outside of the recording.
    """
    if isinstance(x, Array):
        memory.become_recorded(x)
    if new.dtype is not x.dtype and category(new.dtype.numpy) <= category(x.dtype.numpy):
        new = converted(new, x.dtype)
    _same(x, new)
    memory.write(x, new, positions)
    return x


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


def _write_shuffle(base: Tensor, layer: Shuffle, value: Tensor, positions: Any) -> Tensor:
    """`base` with `value` in the place of its shuffled form: the shuffle undone."""
    if layer.second_transpose is not None:
        value = _permuted(value, inverse(layer.second_transpose))
    between = layer._between() if layer.reshape_dims is not None else None
    if between is not None and between != value.shape:
        value = recorder().emit(Shuffle((value,), reshape_dims=between))
    return value if layer.first_transpose is None else _permuted(value, inverse(layer.first_transpose))


memory.writers[Shuffle] = _write_shuffle


def _permuted(value: Tensor, order: tuple[int, ...]) -> Tensor:
    made: Tensor = recorder().emit(Shuffle((value,), first_transpose=order))
    return made


# --- methods ----------------------------------------------------------------------------------------------------------

_OF_A_NUMBER = ("index_fill_", "masked_fill_")  # their value is read before anything is written


def in_place(function: Callable[..., Any], name: str, is_elementwise: bool = True) -> Callable[..., Any]:
    """The method that writes the result of `function` into its first argument and returns it.

    Raises UnsupportedError where that is another argument too, unless each element depends on its own place alone.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_elementwise:
            for value in (*args, *kwargs.values()):
                if value is self:
                    raise reads_what_it_writes(name, value, f"copy the operand first: x.{name}(x.clone())")
        result = function(self, *args, **kwargs)
        if type(self) is not Tensor or current_recorder.get() is not None:
            operands = [*args, *kwargs.values()]
            if name in _OF_A_NUMBER and operands and not getattr(operands[-1], "shape", None):
                operands.pop()
            memory.refuse_hazards(self, operands, is_elementwise)
        if type(self) is Tensor or type(result) is Tensor:
            return rebind(self, tensor(result))
        return write_concrete(self, result)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name.rstrip('_')}`, in place."
    return method


def write_concrete(target: Array, result: Tensor, is_one_number: bool = False) -> Array:
    """Write concrete values over all of a concrete tensor; UnsupportedError where it is a parameter that is being
    recorded."""
    written, new = target.writeable(), result.numpy()
    if new.shape != written.shape or category(new.dtype) > category(written.dtype):
        _same(target, result)
    if not is_one_number:
        refuse_overlap(written)
    written[...] = new.astype(written.dtype, copy=False)
    return target


def refuse_overlap(array: np.ndarray) -> None:
    """Raises UnsupportedError where what is written to one element may reach others."""
    steps = tuple(step // max(array.itemsize, 1) for step in array.strides)
    if overlaps(array.shape, steps):
        raise UnsupportedError(
            "more than one element of the tensor that is written to lies at one place in memory",
            found=f"a view of shape {format_shape(array.shape)}",
            remedy="write into the tensor that was expanded, or copy first: x.expand(...).clone()",
        )


def reads_what_it_writes(name: str, operand: Tensor, remedy: str) -> UnsupportedError:
    """What is raised where torch's result depends on the order in which elements are read and written."""
    return UnsupportedError(
        f"{name} would read memory that it writes to",
        expected="a tensor to write to that shares no memory with the arguments",
        found=repr(operand),
        remedy=remedy,
    )


def is_elementwise(function: Callable[..., Any]) -> bool:
    """Whether a function is of a file of elementwise ones."""
    return bool(inspect.unwrap(function).__globals__.get("KEEPS_ORDER", False))


def install(functions: dict[str, Callable[..., Any]]) -> None:
    """Give tensors the methods `name_` of these functions."""
    for name, function in functions.items():
        setattr(Tensor, name + "_", in_place(function, name + "_", is_elementwise(function)))


def install_operators(functions: dict[str, Callable[..., Any]]) -> None:
    """Give tensors Python's augmented operators: `__iadd__` and its kin."""
    for name, function in functions.items():
        setattr(Tensor, f"__i{name}__", in_place(function, f"__i{name}__"))


# --- values written over ----------------------------------------------------------------------------------------------


def _filled(self: Tensor, value: Value) -> Tensor:
    return full_like(self, value)


def _copied(self: Tensor, src: Value, non_blocking: bool = False) -> Tensor:
    return converted(tensor(src), self.dtype).expand(self.shape)


def _fill(self: Any, value: Value) -> Any:
    """`fill`, in place: one number, also where elements of an expanded tensor share one place in memory."""
    result = _filled(self, value)
    if type(self) is not Tensor and type(result) is not Tensor:
        return write_concrete(self, result, is_one_number=True)
    if not is_scalar(value):
        return rebind(self, tensor(result))
    # any position holds what all of them hold
    positions = tuple(0 if (size if isinstance(size, int) else size.bounds[0]) > 0 else None for size in self.shape)
    return rebind(self, tensor(result), positions)


def _zero(self: Any) -> Any:
    """`zero`, in place."""
    return _fill(self, 0)


_fill.__name__ = _fill.__qualname__ = "fill_"
_zero.__name__ = _zero.__qualname__ = "zero_"
setattr(Tensor, "fill_", _fill)  # noqa: B010
setattr(Tensor, "zero_", _zero)  # noqa: B010
setattr(Tensor, "copy_", in_place(_copied, "copy_"))  # noqa: B010

_ARGUMENTS = {
    "addmv_": "trtnet.eye(2), trtnet.tensor([1.0, 2.0])", "clamp_": "min=0.75", "clamp_max_": "0.75",
    "clamp_min_": "0.75", "clip_": "min=0.75", "fill_": "2.0",
    "index_put_": "(trtnet.tensor([0]),), trtnet.tensor([2.0])", "ldexp_": "trtnet.tensor([1, 2])",
    "threshold_": "0.75, 0.0", "xlogy_": "2.0",
}  # fmt: skip


def document(name: str, function: Callable[..., Any]) -> None:
    """Show, in the docstring of one of torch's functions that change a tensor, that it gives the tensor itself."""
    call = ", ".join(filter(None, ("x", _ARGUMENTS.get(name, ""))))
    function.__doc__ = (
        f"`{name.rstrip('_')}`, written into the tensor, which is given back.\n\n"
        f">>> x = trtnet.tensor([0.5, 1.0])\n>>> trtnet.functional.{name}({call}) is x\nTrue\n"
    )


# those that torch has as functions too
FUNCTIONS = (
    "abs_", "acos_", "acosh_", "addmv_", "arccos_", "arccosh_", "arcsin_", "arcsinh_", "arctan_", "arctanh_",
    "asin_", "asinh_", "atan_", "atanh_", "ceil_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "cos_", "cosh_",
    "deg2rad_", "erf_", "erfc_", "exp_", "exp2_", "expm1_", "fill_", "fix_", "floor_", "frac_", "index_put_",
    "ldexp_", "log_", "log10_", "log1p_", "log2_", "logit_", "nan_to_num_", "neg_", "negative_", "rad2deg_",
    "reciprocal_", "round_", "rsqrt_", "sigmoid_", "sin_", "sinc_", "sinh_", "sqrt_", "square_", "tan_", "tanh_",
    "trunc_", "xlogy_", "zero_",
)  # fmt: skip
