"""A Graph as a torch.nn.Module, to train."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..basics.arrays import from_numpy
from ..basics.errors import ArgumentError, ArgumentTypeError
from ..engine.graph_json import from_json, to_json
from ..graph import forms
from ..graph.graph import Graph
from ..graph.training import Reason, Training
from ..weights.matching import check_frozen
from ..weights.recipes import Leaf
from .program import Program
from .training import trained_layers

REWRITTEN = Reason("this graph is a form of the recorded one, or was saved without what its modules do", "", None)


class _Followed:
    """The graph that a module runs; copied and pickled without values, which the module has."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.training = graph.training or Training(reasons=[REWRITTEN])
        self.programs = {double: Program(graph, double, explains=False) for double in (False, True)}
        self.names: dict[Leaf, str] = {}
        for name, leaf in graph.parameters.items():
            self.names.setdefault(leaf, name)

    @functools.cached_property
    def trained(self) -> dict[bool, Program]:
        """The programs of the network in training."""
        graph, training = self.graph, self.training
        layers = trained_layers(training, graph.layers)
        outputs = graph.outputs | {name: drop.outputs[0] for name, drop in training.outputs.items()}
        other = dataclasses.replace(graph, layers=layers, outputs=outputs, training=None)
        return {double: Program(other, double, explains=False) for double in (False, True)}

    @classmethod
    def again(cls, graph: dict[str, Any]) -> _Followed:
        return cls(from_json(graph))

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], _Followed], tuple[dict[str, Any]]]:
        return self.again, (to_json(self.graph),)


class Recorded(torch.nn.Module):
    """A trtnet Graph in PyTorch: nested modules with the recorded parameters' names, and a copy of their values.

    It is copied and pickled as any module is. `forward` takes the graph's inputs, in order or by name. It is in eval
    mode at first. In training, as a whole or in part, dropout drops and BatchNorm normalizes by the batch and updates
    its buffers, as in the recorded module.
    """

    _trtnet: _Followed

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._trtnet = _Followed(graph)
        made: dict[Leaf, Any] = {}
        for name, leaf in graph.parameters.items():
            path, _, last = name.rpartition(".")
            owner = self._owner(path)
            if leaf not in made:
                value = from_numpy(leaf.value.read()).clone()
                floating = value.is_floating_point()
                made[leaf] = (
                    value
                    if name in graph.buffers
                    else torch.nn.Parameter(value, name in graph.trainable and floating and leaf.frozen is None)
                )
            if isinstance(made[leaf], torch.nn.Parameter):
                _named(owner.register_parameter, last, made[leaf])
            else:
                _named(owner.register_buffer, last, made[leaf], persistent=leaf.persistent)

        training = self._trtnet.training
        for path in (*training.owners(), *(reason.owner for reason in training.reasons)):
            self._owner(path)
        self.eval()

    def _owner(self, path: str) -> torch.nn.Module:
        """The module at a path, made if need be."""
        owner: torch.nn.Module = self
        for part in path.split(".") if path else ():
            if part not in owner._modules:
                _named(owner.add_module, part, torch.nn.Module())
            owner = owner._modules[part]
        return owner

    def train(self, mode: bool = True) -> Recorded:
        """As torch's. Raises UnsupportedError, with the reason, where what was recorded is no network in training."""
        if mode:
            for reason in self._trtnet.training.reasons:
                raise reason.error()
        pending: list[Any] = [self]
        while pending:  # torch's own goes down by calls, and not 2,000 levels
            module = pending.pop()
            module.training = mode
            pending.extend(module._modules.values())
        return self

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if "self" in kwargs:  # torch's own would take it for the module
            args, kwargs = tuple(self._ordered(args, kwargs)), {}
        return super().__call__(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's. Raises WeightsError for another value of a parameter that is frozen in the graph, and for values
        that a layer does not take."""
        parameters = self._trtnet.graph.parameters
        check_frozen(parameters, state_dict)
        shapes = {key: tuple(leaf.shape) for key, leaf in parameters.items()}
        tensors = {key: value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
        fitting = {key: value for key, value in tensors.items() if shapes.get(key) == tuple(value.shape)}
        self._trtnet.graph.check_values({parameters[key].name: value.detach() for key, value in fitting.items()})
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, /, *args: Any, **kwargs: Any) -> Any:
        graph = self._trtnet.graph
        values = self._ordered(args, kwargs)
        sizes = graph.bind({name: tuple(v.shape) for name, v in zip(graph.inputs, values)}, ranges=False)
        device = values[0].device
        training = self._trtnet.training
        for reason in training.reasons:
            if self.get_submodule(reason.owner).training:
                raise reason.error()
        trains = training.always() or any(self.get_submodule(path).training for path in training.owners())
        programs = self._trtnet.trained if trains else self._trtnet.programs
        program = programs[any(v.dtype is torch.float64 for v in values)]
        read = functools.cache(self._read)  # a parametrization is computed once for a call
        results = program.run(program.constants(read, device), values, device, sizes, module=self)
        return forms.formed(graph.form, list(graph.outputs), results)

    def _ordered(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        names = self._trtnet.graph.inputs
        given = dict(zip(names, args)) | kwargs
        if set(given) != set(names) or len(args) + len(kwargs) != len(given):
            raise ArgumentTypeError("these are not the inputs", expected=", ".join(names), found=", ".join(given))
        return [given[name] for name in names]

    def _read(self, leaf: Leaf) -> torch.Tensor:
        owner: Any = self
        for part in self._trtnet.names[leaf].split("."):
            owner = getattr(owner, part)
        return owner

    def extra_repr(self) -> str:
        return repr(self._trtnet.graph)


def _named(register: Callable[..., None], name: str, *value: torch.nn.Module | torch.Tensor, **options: bool) -> None:
    try:
        register(name, *value, **options)
    except KeyError as error:
        raise ArgumentError(
            f"torch.nn.Module cannot hold the name {name!r}: {error.args[0]}",
            expected="names that are no attributes of torch.nn.Module",
            found=name,
            remedy=f"call the module's attribute {name!r} something else",
        ) from None
