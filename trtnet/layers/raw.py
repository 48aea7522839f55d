"""What a user adds to the network by TensorRT's own calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..basics.code import Code
from ..basics.dims import Size
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, BuildError, ProviderError, TrtnetError
from ..graph.tensor import Tensor
from ..weights.recipes import Weight
from .base import Layer, Operand, Output
from .targets import ITensor, Network, Run

if TYPE_CHECKING:
    import torch

Names = tuple[str, ...]


@dataclass(slots=True, eq=False, repr=False)
class Raw(Layer):
    """Any calls on the INetworkDefinition, made by a function of the user's.

    Inputs: the tensors that the function gets, and after them the weights that it gets by the names `keywords`.
    """

    add: Code
    shapes: tuple[Size, ...]
    dtypes: tuple[Dtype, ...]
    reference: Code | None = None
    keywords: Names = ()

    kind: ClassVar[str] = "raw"
    is_offered: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ()
    passes_bytes: ClassVar[bool] = True

    def infer(self) -> tuple[Output, ...]:
        return tuple(zip(self.shapes, self.dtypes))

    def _apart(self, operands: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The tensors, and the weights by their names."""
        first = len(operands) - len(self.keywords)
        return operands[:first], dict(zip(self.keywords, operands[first:]))

    def with_operands(self, operands: tuple[Operand, ...]) -> Tensor | tuple[Tensor, ...]:
        for name, operand in self._apart(operands)[1].items():
            if not isinstance(operand, Weight):
                raise ArgumentError(
                    f"the weights {name!r} of a raw layer cannot be live",
                    expected="a parameter among the tensors of trtnet.raw",
                    found=f"weights={{{name!r}: ...}}",
                    module=self.path or None,
                    where=self.location,
                    remedy="give it as a tensor: trtnet.raw(add, x, self.weight, ...); the function then gets an "
                    "ITensor, for set_input",
                )
        return Layer.with_operands(self, operands)

    def add_to(self, lowering: Network) -> tuple[ITensor, ...]:
        if self.add.function is None:
            raise BuildError(
                f"the function {self.add} of this raw layer is not in the file that the graph came from",
                expected="a graph that was recorded in this process",
                found="a graph that was loaded or unpickled",
                remedy="record the module again, and build that graph",
            )
        tensors, weights = self._apart(self.inputs)
        network = lowering.network
        before = network.num_layers
        try:
            made = self.add.function(
                network, *[lowering[t] for t in tensors], **{name: lowering.weights(w) for name, w in weights.items()}
            )
        except TrtnetError:
            raise
        except Exception as error:
            raise BuildError(
                f"the function {self.add} of this raw layer raised {type(error).__name__}: {error}",
                remedy="mend the function: its own traceback is above this one",
            ) from error
        outputs = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        if len(outputs) != len(self.shapes) or not all(hasattr(one, "is_network_input") for one in outputs):
            raise BuildError(
                f"the function {self.add} of this raw layer did not return its outputs",
                expected=f"{len(self.shapes)} ITensors, one for each of shapes=",
                found=", ".join(type(one).__name__ for one in outputs),
                remedy="return layer.get_output(0), or a tuple of such",
            )
        for number in range(before, network.num_layers):
            layer = network.get_layer(number)
            if layer.name.startswith("(Unnamed Layer"):
                layer.name = f"{self.name}:{number - before}"
        return outputs

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if self.reference is None or self.reference.function is None:
            raise ProviderError(
                f"the raw layer {self.name} has no reference",
                expected="trtnet.raw(..., reference=a function of torch tensors)",
                found="none" if self.reference is None else "a graph that was loaded or unpickled, without its code",
                module=self.path or None,
                where=self.location,
                remedy="give one: it gets what the layer gets, as torch tensors",
            )
        tensors, weights = self._apart(inputs)
        try:
            made = self.reference.function(*tensors, **weights)
        except (TrtnetError, RuntimeError, IndexError):  # PyTorch's are told with the layer
            raise
        except Exception as error:
            raise ProviderError(
                f"the reference {self.reference} of the raw layer {self.name} raised {type(error).__name__}: {error}",
                module=self.path or None,
                where=self.location,
                remedy="mend it: its own traceback is above this one",
            ) from error
        return run.results(made, self.shapes, self.dtypes, self._other_shapes)

    def _other_shapes(self, expected: str, found: str) -> ProviderError:
        return ProviderError(
            f"the reference {self.reference} of the raw layer {self.name} gives other shapes",
            expected=expected,
            found=found,
            module=self.path or None,
            where=self.location,
            remedy="make shapes= and reference= agree",
        )
