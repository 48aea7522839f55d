"""Packed sequences in torch.nn.Modules: while torch exports, they stay padded, beside their lengths.

torch's own would put the steps of all sequences together, by lengths that have to be known when it traces.
"""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.modules import rnn
from torch.nn.utils import rnn as utils

from ... import functional as F
from ...basics.errors import UnsupportedError
from ...functional.recurrent import inside
from ...graph.tensor import Tensor
from .table import converts

_RECURRENT = (
    "(Tensor input, Tensor lengths, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, "
    "bool train, bool bidirectional, bool batch_first) -> Tensor[]"
)
_PADDED = "(Tensor input, Tensor lengths, float value, bool batch_first, bool whole) -> Tensor"
_KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}

_library = torch.library.Library("trtnet", "FRAGMENT")
_library.define("padded" + _PADDED)
for _kind in _KINDS.values():
    _library.define(f"packed_{_kind}{_RECURRENT}")


@torch.library.register_fake("trtnet::padded", lib=_library)
def _padded_shape(
    input: torch.Tensor, lengths: torch.Tensor, value: float, batch_first: bool, whole: bool
) -> torch.Tensor:
    if whole:
        return input.new_empty(input.shape)
    shape = list(input.shape)
    shape[int(batch_first)] = torch.library.get_ctx().new_dynamic_size(min=1)
    return input.new_empty(shape)


def _recurrent_shapes(
    input: torch.Tensor, lengths: torch.Tensor, hx: Sequence[torch.Tensor], *rest: object
) -> list[torch.Tensor]:
    width = hx[0].shape[-1] * (2 if rest[5] else 1)
    return [input.new_empty([*input.shape[:-1], width]), *(one.new_empty(one.shape) for one in hx)]


for _kind in _KINDS.values():
    torch.library.register_fake(f"trtnet::packed_{_kind}", _recurrent_shapes, lib=_library)


class Packed(utils.PackedSequence):
    """What pack_padded_sequence gives while torch exports.

    Attributes:
        padded: (N, L, …) with batch_first, else (L, N, …).
        lengths: (N,) of int64.
        batch_first: whether the batch is the first dimension.
    """

    padded: torch.Tensor
    lengths: torch.Tensor
    batch_first: bool

    def __new__(cls, padded: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Packed:
        made = tuple.__new__(cls, (None,) * 4)
        made.padded, made.lengths, made.batch_first = padded, lengths, batch_first
        return made

    def __iter__(self) -> Iterator[torch.Tensor]:
        raise _not_there("data, batch_sizes")

    def __getattribute__(self, name: str) -> object:
        if name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
            raise _not_there(name)
        return super().__getattribute__(name)


def _not_there(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} of a packed sequence cannot be recorded: its sequences stay padded",
        expected="a packed sequence that LSTM, GRU, RNN and pad_packed_sequence take and give",
        found=name,
        remedy="compute with the padded batch: torch.nn.utils.rnn.pad_packed_sequence(packed)",
    )


def pack(
    input: torch.Tensor,
    lengths: torch.Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> utils.PackedSequence:
    """torch.nn.utils.rnn.pack_padded_sequence."""
    if not _is_here():
        return _BEFORE["pack"](input, lengths, batch_first, enforce_sorted)
    if not isinstance(lengths, torch.Tensor):
        lengths = torch.stack([torch.as_tensor(one, dtype=torch.int64) for one in lengths])
    return Packed(input, lengths.to(device=input.device, dtype=torch.int64), bool(batch_first))


def pad(
    sequence: utils.PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """torch.nn.utils.rnn.pad_packed_sequence."""
    if not isinstance(sequence, Packed):
        return _BEFORE["pad"](sequence, batch_first, padding_value, total_length)
    x, axis = sequence.padded, int(sequence.batch_first)
    made = torch.ops.trtnet.padded(
        x, sequence.lengths, float(padding_value), sequence.batch_first, total_length is not None
    )
    if total_length is not None:
        size = x.shape[axis]
        if total_length > size:
            places = [0, 0] * (x.dim() - 1 - axis) + [0, total_length - size]
            made = torch.nn.functional.pad(made, places, value=padding_value)
        elif total_length < size:
            made = made.narrow(axis, 0, total_length)
    return (made if bool(batch_first) == sequence.batch_first else made.transpose(0, 1)), sequence.lengths


_BEFORE: dict[str, Callable[..., Any]] = {
    name: types.FunctionType(one.__code__, one.__globals__, name, one.__defaults__)
    for name, one in (("pack", utils.pack_padded_sequence), ("pad", utils.pad_packed_sequence))
}
_THREADS: set[int] = set()


def _is_here() -> bool:
    return threading.get_ident() in _THREADS


def _pack(input: object, lengths: object, batch_first: object = False, enforce_sorted: object = True) -> object:
    from trtnet.pytorch.exported.packing import pack

    return pack(input, lengths, batch_first, enforce_sorted)  # type: ignore[arg-type]


def _pad(
    sequence: object, batch_first: object = False, padding_value: object = 0.0, total_length: object = None
) -> object:
    from trtnet.pytorch.exported.packing import pad

    return pad(sequence, batch_first, padding_value, total_length)  # type: ignore[arg-type]


def _forward(before: Callable[..., Any]) -> Callable[..., Any]:
    """The forward of a recurrent module, which takes our packed sequences too."""

    def forward(self: rnn.RNNBase, input: object, hx: Any = None) -> object:
        if not isinstance(input, Packed):
            return before(self, input, hx)
        self._update_flat_weights()  # while torch exports, the weights are others than those of _flat_weights
        x, kind = input.padded, _KINDS[self.mode]
        directions = 2 if self.bidirectional else 1
        if hx is None:
            count, batch = self.num_layers * directions, x.shape[1 - int(input.batch_first)]
            sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if kind == "lstm" else 1]
            states = [torch.zeros(count, batch, size, dtype=x.dtype, device=x.device) for size in sizes]
        else:
            states = list(hx) if kind == "lstm" else [hx]
        made = getattr(torch.ops.trtnet, f"packed_{kind}")(
            x, input.lengths, states, self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
            self.bidirectional, input.batch_first,
        )  # fmt: skip
        last = tuple(made[1:]) if kind == "lstm" else made[1]
        return Packed(made[0], input.lengths, input.batch_first), last

    return forward


@contextlib.contextmanager
def padded() -> Iterator[None]:
    """Have this thread's packed sequences stay padded. The functions' code is changed, by whatever name they were
    imported."""
    functions: list[Any] = [utils.pack_padded_sequence, utils.pad_packed_sequence]
    classes: list[Any] = [rnn.LSTM, rnn.GRU, rnn.RNN]
    codes, forwards = [one.__code__ for one in functions], [one.forward for one in classes]
    _THREADS.add(threading.get_ident())
    for one, code in zip(functions, (_pack.__code__, _pad.__code__)):
        one.__code__ = code
    for one, before in zip(classes, forwards):
        one.forward = _forward(before)
    try:
        yield
    finally:
        for one, code in zip(functions, codes):
            one.__code__ = code
        for one, before in zip(classes, forwards):
            one.forward = before
        _THREADS.discard(threading.get_ident())


# --- what is recorded -------------------------------------------------------------------------------------------------


@converts("trtnet::padded")
def _record_padded(input: Tensor, lengths: Tensor, value: float, batch_first: bool, whole: bool) -> Tensor:
    axis = int(batch_first)
    kept = inside(lengths, input.shape[axis], input.shape[1 - axis], axis)
    for _ in input.shape[3:]:
        kept = F.unsqueeze(kept, -1)
    x = F.where(kept if input.ndim > 2 else F.squeeze(kept, -1), input, value)
    return x if whole else F.getitem(x, (*[slice(None)] * axis, slice(0, F.max(lengths))))


def _recurrent(kind: str) -> None:
    @converts(f"trtnet::packed_{kind}")
    def record(input: Tensor, lengths: Tensor, hx: list[Tensor], *options: object) -> list[Tensor]:
        made = getattr(F, kind)(input, tuple(hx) if kind == "lstm" else hx[0], *options, lengths=lengths)
        return list(made)


for _kind in _KINDS.values():
    _recurrent(_kind)
