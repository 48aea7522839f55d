"""torch.autograd's names: the forward half of a Function is recorded, and there is no other."""

from __future__ import annotations

from typing import Any

from ..graph.training import cut_gradients
from .compat import enable_grad, no_grad, set_grad_enabled

__all__ = ["Function", "Variable", "enable_grad", "no_grad", "set_grad_enabled"]


class _Context:
    """What `forward` writes its notes for `backward` to."""

    needs_input_grad: tuple[bool, ...] = ()
    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    mark_dirty = mark_non_differentiable = set_materialize_grads = save_for_forward = lambda self, *args: None


class Function:
    """`apply` calls `forward`; `backward` is never called. What is trained is `trtnet.to_torch(graph)`, by autograd."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        if hasattr(cls, "backward"):
            cut_gradients(f"{cls.__name__} has a backward of its own")
        if "setup_context" in cls.__dict__:
            return cls.forward(*args, **kwargs)
        context = _Context()
        context.needs_input_grad = (False,) * len(args)
        return cls.forward(context, *args, **kwargs)


def Variable(data: Any, *args: Any, **kwargs: Any) -> Any:
    """The tensor itself, as in torch since 0.4."""
    return data
