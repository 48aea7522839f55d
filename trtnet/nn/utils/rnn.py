"""torch.nn.utils.rnn's names: batches of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...basics.dims import SizeLike, format_shape
from ...basics.errors import ShapeError, UnsupportedError
from ...functional.comparison import where
from ...functional.creation import as_tensor
from ...functional.recurrent import inside
from ...graph.tensor import Tensor

__all__ = ["PackedSequence", "pack_padded_sequence", "pad_packed_sequence"]


class PackedSequence(NamedTuple):
    """What `pack_padded_sequence` gives, and RNN, LSTM and GRU take and give: a padded batch and its lengths.

    Unlike torch's, nothing is put together: sizes that the data decides are dear. `data` and `batch_sizes` raise.

    Attributes:
        padded: (L, N, …), or (N, L, …) with batch_first; beyond the lengths it may hold anything.
        lengths: (N,) of int32 or int64.
        batch_first: whether the batch is the first dimension.
    """

    padded: Tensor
    lengths: Tensor
    batch_first: bool

    @property
    def data(self) -> Tensor:
        raise _not_there("data")

    @property
    def batch_sizes(self) -> Tensor:
        raise _not_there("batch_sizes")


def _not_there(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"a PackedSequence has no {name} here: its sequences stay padded",
        found=name,
        remedy="take pad_packed_sequence(packed), which gives them and their lengths",
    )


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch (L, N, …), or (N, L, …) with batch_first, with the lengths of its sequences, in any order.

    Raises ShapeError, DtypeError where lengths are not (N,) of int32 or int64.
    """
    return PackedSequence(input, as_tensor(lengths), batch_first)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: SizeLike | None = None,
) -> tuple[Tensor, Tensor]:
    """The batch, (N, L, …) with batch_first, else (L, N, …), with `padding_value` beyond the lengths; and the lengths.

    Unlike torch's, L is the size that was packed, and not the longest length. Raises ShapeError for another
    total_length.
    """
    x, axis = sequence.padded, int(sequence.batch_first)
    if total_length is not None and total_length != x.shape[axis]:
        raise ShapeError(
            "a packed sequence keeps the size that it had",
            expected=f"total_length={x.shape[axis]}, or none",
            found=f"total_length={total_length}, of {format_shape(x.shape)}",
            remedy="pad the batch before it is packed",
        )
    kept = inside(sequence.lengths, x.shape[axis], x.shape[1 - axis], axis)
    for _ in x.shape[3:]:
        kept = kept.unsqueeze(-1)
    padded = where(kept if x.ndim > 2 else kept.squeeze(-1), x, padding_value)
    return (padded if bool(batch_first) == bool(axis) else padded.transpose(0, 1)), sequence.lengths
