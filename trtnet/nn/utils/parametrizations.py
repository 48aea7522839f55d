"""torch.nn.utils.parametrizations' names: refused, with the way to bring such weights here."""

from __future__ import annotations

from typing import Any

from ...basics.errors import UnsupportedError

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _refuse(name: str, how: str) -> Any:
    def refuse(module: Any, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            f"{name} computes a weight from others, which is not recorded",
            found=type(module).__name__,
            remedy=f"leave it out here, and fold it in PyTorch before taking the state_dict: {how}",
        )

    refuse.__name__ = name
    refuse.__doc__ = "Raises UnsupportedError."
    return refuse


_FOLD = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
weight_norm = _refuse("weight_norm", f"torch.nn.utils.remove_weight_norm(layer), or {_FOLD}")
spectral_norm = _refuse("spectral_norm", f"torch.nn.utils.remove_spectral_norm(layer), or {_FOLD}")
orthogonal = _refuse("orthogonal", _FOLD)
