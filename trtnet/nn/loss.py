"""torch.nn's losses: model files make them in `__init__`; called, they raise UnsupportedError."""

from __future__ import annotations

from typing import Any

from ..functional.loss import unsupported_loss
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiMarginLoss",
    "NLLLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss",
]  # fmt: skip


class _Loss(Module):
    """May be made, as in model files that compute their own loss; raises UnsupportedError when it is called.

    Args:
        *args, **kwargs: accepted; `weight` and `pos_weight` become buffers, as in torch, so that state_dicts fit.

    Shape: none.
    Layers: none: train what `trtnet.to_torch(graph)` gives, with torch's loss.

    >>> nn.MSELoss()
    MSELoss()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for name in ("weight", "pos_weight"):
            if kwargs.get(name) is not None:
                self.register_buffer(name, kwargs[name])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise unsupported_loss(type(self).__name__)


class BCELoss(_Loss):
    __doc__ = _Loss.__doc__


class BCEWithLogitsLoss(_Loss):
    __doc__ = _Loss.__doc__


class CTCLoss(_Loss):
    __doc__ = _Loss.__doc__


class CosineEmbeddingLoss(_Loss):
    __doc__ = _Loss.__doc__


class CrossEntropyLoss(_Loss):
    __doc__ = _Loss.__doc__


class GaussianNLLLoss(_Loss):
    __doc__ = _Loss.__doc__


class HingeEmbeddingLoss(_Loss):
    __doc__ = _Loss.__doc__


class HuberLoss(_Loss):
    __doc__ = _Loss.__doc__


class KLDivLoss(_Loss):
    __doc__ = _Loss.__doc__


class L1Loss(_Loss):
    __doc__ = _Loss.__doc__


class MSELoss(_Loss):
    __doc__ = _Loss.__doc__


class MarginRankingLoss(_Loss):
    __doc__ = _Loss.__doc__


class MultiMarginLoss(_Loss):
    __doc__ = _Loss.__doc__


class NLLLoss(_Loss):
    __doc__ = _Loss.__doc__


class PoissonNLLLoss(_Loss):
    __doc__ = _Loss.__doc__


class SmoothL1Loss(_Loss):
    __doc__ = _Loss.__doc__


class SoftMarginLoss(_Loss):
    __doc__ = _Loss.__doc__


class TripletMarginLoss(_Loss):
    __doc__ = _Loss.__doc__
