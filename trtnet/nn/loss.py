"""torch.nn's losses: model files make them in `__init__`; called, they raise UnsupportedError."""

from __future__ import annotations

from typing import Any

from ..functional.loss import unsupported_loss
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiMarginLoss", "NLLLoss",
    "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss",
]  # fmt: skip


class _Loss(Module):
    """May be made, as in model files that compute their own loss; raises UnsupportedError when it is called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for name in ("weight", "pos_weight"):
            if kwargs.get(name) is not None:
                self.register_buffer(name, kwargs[name])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise unsupported_loss(type(self).__name__)


globals().update({name: type(name, (_Loss,), {"__module__": __name__, "__doc__": _Loss.__doc__}) for name in __all__})
