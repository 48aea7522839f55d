"""Distributions, as torch.distributions: what a policy that chooses needs."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..basics.dims import Size, format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, ShapeError
from ..basics.limits import finfo
from ..functional.random import gumbel_choice
from ..graph.tensor import Tensor

__all__ = ["Categorical"]


class Categorical:
    """One of n categories, by their probabilities or by log-probabilities up to a constant, along the last dimension.

    Inside `forward` a sample is drawn at each call, by Gumbel noise; outside, now. See `trtnet.rand` for seeds.

    Args:
        probs: not negative; they need not sum to 1.
        logits: given in place of `probs`.
        validate_args: accepted; values are not known while recording, and are not looked at.
    """

    has_rsample = False

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ArgumentTypeError(
                "Categorical takes probs or logits",
                expected="one of the two",
                found="neither" if probs is None else "both",
            )
        given = logits if probs is None else probs
        if not isinstance(given, Tensor) or not given.shape:
            raise ShapeError(
                "Categorical takes a tensor of one dimension or more",
                expected="(..., n)",
                found=format_shape(given.shape) if isinstance(given, Tensor) else repr(given),
            )
        self._given = given
        self._are_logits = probs is None

    @property
    def probs(self) -> Any:
        """The probabilities, which sum to 1."""
        if self._are_logits:
            return F.softmax(self._given, -1)
        return F.div(self._given, F.sum(self._given, -1, True))

    @property
    def logits(self) -> Any:
        """Log-probabilities; of probabilities that are 0 or 1, those of the nearest number between, as torch's."""
        if self._are_logits:
            return F.log_softmax(self._given, -1)
        least = finfo(self._given.dtype).eps
        return F.log(F.clamp(self.probs, least, 1 - least))

    @property
    def batch_shape(self) -> Size:
        return Size(self._given.shape[:-1])

    @property
    def event_shape(self) -> Size:
        return Size(())

    @property
    def param_shape(self) -> Size:
        return Size(self._given.shape)

    @property
    def mode(self) -> Any:
        """The likeliest category, int64."""
        return F.argmax(self._given, -1)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Categories (int64), of `sample_shape` and then `batch_shape`."""
        front = tuple(sample_shape)
        logits = self._given if self._are_logits else F.log(self._given)
        shape = (*front, *logits.shape)
        found: Any = F.squeeze(gumbel_choice(F.expand(logits.to("float32"), shape), 1, False), -1)
        return found

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability of each category in `value`, which is broadcast against `batch_shape`."""
        if not isinstance(value, Tensor):
            raise ArgumentError("log_prob takes a tensor of categories", expected="a tensor", found=repr(value))
        logits = self.logits
        shape = F.broadcast_shapes(value.shape, self.batch_shape)
        index = F.unsqueeze(F.expand(value.to("int64"), shape), -1)
        return F.squeeze(F.gather(F.expand(logits, (*shape, logits.shape[-1])), -1, index), -1)

    def entropy(self) -> Any:
        """In nats."""
        logits = self.logits
        least = finfo(logits.dtype).min
        return F.neg(F.sum(F.mul(F.clamp(logits, min=least), self.probs), -1))

    def __repr__(self) -> str:
        return f"Categorical({'logits' if self._are_logits else 'probs'}: {format_shape(self._given.shape)})"
