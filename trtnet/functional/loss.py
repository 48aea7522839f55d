"""torch's losses: names that model files mention. A network has no use for them: each raises."""

from __future__ import annotations

from typing import Any

from ..basics.errors import UnsupportedError

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
    "multi_margin_loss", "nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
]  # fmt: skip


def unsupported_loss(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: a network computes no loss",
        remedy="leave targets out when recording, and train trtnet.to_torch(graph) with torch's losses",
    )


def _declare(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise unsupported_loss(name)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = (
        "Raises UnsupportedError: a network computes no loss.\n\n"
        f">>> try:\n...     trtnet.functional.{name}()\n"
        "... except trtnet.TrtnetError as error:\n...     print(error.remedy)\n"
        f"{unsupported_loss(name).remedy}\n"
    )
    return refuse


binary_cross_entropy = _declare("binary_cross_entropy")
binary_cross_entropy_with_logits = _declare("binary_cross_entropy_with_logits")
cosine_embedding_loss = _declare("cosine_embedding_loss")
cross_entropy = _declare("cross_entropy")
ctc_loss = _declare("ctc_loss")
gaussian_nll_loss = _declare("gaussian_nll_loss")
hinge_embedding_loss = _declare("hinge_embedding_loss")
huber_loss = _declare("huber_loss")
kl_div = _declare("kl_div")
l1_loss = _declare("l1_loss")
margin_ranking_loss = _declare("margin_ranking_loss")
mse_loss = _declare("mse_loss")
multi_margin_loss = _declare("multi_margin_loss")
nll_loss = _declare("nll_loss")
poisson_nll_loss = _declare("poisson_nll_loss")
smooth_l1_loss = _declare("smooth_l1_loss")
soft_margin_loss = _declare("soft_margin_loss")
triplet_margin_loss = _declare("triplet_margin_loss")
