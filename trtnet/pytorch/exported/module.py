"""A torch.nn.Module as a Module of trtnet's, whose forward records what torch.export made of it."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ...basics import dims
from ...basics.arrays import as_array, check_memory, from_numpy
from ...basics.errors import ShapeError, UnsupportedError, WeightsError
from ...basics.location import Location, user_level
from ...graph import forms
from ...graph.arguments import filled, inputs_of, values_of
from ...graph.graph import Graph
from ...graph.recorder import recorder
from ...graph.tensor import Array, Buffer, Parameter
from ...graph.training import Reason
from ...nn.module import Module
from ...weights.recipes import Frozen, digest
from ..engine import reference
from ..sampling import Sampler
from . import operators  # noqa: F401  # fills the table
from .caches import caches
from .exporting import Exported, export, kept, keys_of, named_weights, plainly
from .guards import Audit
from .merging import merge
from .playing import Player
from .sharded import whole
from .stacks import inside
from .wrappers import tensors_of, unwrapped


class TorchModule(Module):
    """What is recorded of a torch.nn.Module: its parameters by their keys, copied, and a forward of the same arguments.

    Args:
        function: the module, or a bound method of it.
        given: Inputs, also in tuples and dicts, and plain values, by the names of its arguments.
    """

    def __init__(self, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
        super().__init__()
        self._owner, called = plain(whole(function))
        self._function = _by_name(self._owner, called, given)
        self._given = dict(given)
        self._parameters_by_place: dict[Any, Parameter] = {}
        self._parameters_by_key = self._weights()
        self._exported: Exported = export(self._owner, self._function, given)
        self._odd: list[tuple[dict[str, int], Location | None]] = []

    @property
    def title(self) -> str:
        return type(self._owner).__name__

    @property
    def _attends(self) -> bool:
        """Whether it calls torch.nn.MultiheadAttention."""
        wanted = torch.ops.trtnet.attention.default
        return any(node.target is wanted for node in self._exported.program.graph.nodes)

    # --- weights

    def _weights(self) -> dict[str, Parameter]:
        """Every parameter and buffer by its key, under modules of torch's paths; tied ones are one."""
        made, found = self._parameters_by_place, dict[str, Parameter]()
        persistent = set(self._owner.state_dict(keep_vars=True))
        for key, value in named_weights(self._owner):
            same = _storage(value)
            if same not in made:
                check_memory(value, f"the parameter {key!r}", WeightsError)
                array = np.array(as_array(value.detach()))
                made[same] = (
                    Parameter(array, value.requires_grad)
                    if isinstance(value, torch.nn.Parameter)
                    else Buffer(array, persistent=key in persistent)
                )
            found[key] = made[same]
            _register(self, key, made[same])
        return found

    def _inputs(self) -> Iterator[Any]:
        """What the program's placeholders stand for, before the inputs."""
        program = self._exported.program
        for name, kind, key, _ in keys_of(program):
            if kind in ("PARAMETER", "BUFFER"):
                yield self._parameters_by_key[key]
            elif kind == "CONSTANT_TENSOR":
                yield self._held(_constant(program, name))
            elif kind == "TOKEN":  # of operators that raise, in the order in which they do
                yield None
            elif kind != "USER_INPUT":
                raise UnsupportedError(
                    f"an exported program takes {kind.lower().replace('_', ' ')}s, which cannot be recorded", found=key
                )

    def _held(self, tensor: torch.Tensor) -> Any:
        """What a tensor that the module holds beside its weights stands for: the weight that it is, in a list or in a
        function; else a constant. Weights of which it is a part, or another view, are frozen."""
        same = self._parameters_by_place.get(_storage(tensor))
        if same is not None:
            return same
        first, last = _extent(tensor)
        for key, value in named_weights(self._owner):
            start, stop = _extent(value)
            parameter = self._parameters_by_key[key]
            leaf = recorder().leaves[id(parameter)]
            if start < last and first < stop and leaf.frozen is None:
                leaf.frozen = Frozen("a view of it that the module holds", digest(leaf.value.read()))
                warnings.warn(
                    f"the module holds a view of {key}: a constant in this graph, in which {key} is frozen. Make the "
                    "view in forward, and the network computes it",
                    stacklevel=user_level(),
                )
        return Array(np.array(as_array(tensor)))

    # --- recording

    def forward(self, **inputs: Any) -> Any:
        program = self._exported.program
        current = recorder()
        tensors = values_of(self._given, inputs)
        _refuse_mutations(program.graph_signature, list(tensors))
        before = current.where
        for key, current.where in self._exported.frozen.items():
            current.freeze(self._parameters_by_key[key])
        current.where = before
        audit = Audit(self._exported.symbols)
        audit.decisions(self._exported.guards)
        player = Player(self._exported.sizes)
        made = player.play(program.graph_module, [*self._inputs(), *tensors.values()])
        audit.equalities(self._exported.guards)
        merge(current, made)
        texts = [(sizes, where) for where in self._exported.texts for sizes in _several(self._given)]
        self._odd = [*audit.odd, *texts, *_smallest(self._given)]
        current.training.reasons.append(
            Reason("it was recorded from a torch.nn.Module in eval mode, which can be trained itself", "", None)
        )
        return _formed(program.call_spec.out_spec, iter(made))

    def check(self, graph: Graph) -> None:
        """Compare the recording with the module: at the smallest sizes, where it decides by single ones, and at more
        where it reads one as text. Of results that hang on a draw the shapes are compared.

        Raises ShapeError where they differ; UnsupportedError where the module gives something else each time.
        """
        known_sizes, known_results = self._twice(graph)
        if known_sizes is not None:
            self._freeze_caches(graph, known_sizes)
        engine = reference(graph) if self._odd else None
        drawn = set(graph.drawn_outputs())
        for sizes, where in self._odd:
            assert engine is not None
            asked = where is not None or not self._exported.is_oblivious
            whole = {name: symbol.min for name, symbol in graph.dims.items()} | sizes
            at = ", ".join(f"{name}={value}" for name, value in whole.items())
            arrays = Sampler(graph).draw(whole)
            try:
                expected = list(known_results) if whole == known_sizes else self._calls(arrays, 1)[0]
            except Exception as error:
                if not asked:  # these numbers may be none that forward takes
                    continue
                raise _not_taken(at, error, where) from error
            try:
                made = engine(*(arrays[name] for name in graph.inputs))
            except ShapeError:  # it refuses these sizes itself
                continue
            found = forms.flat(graph.form, list(graph.outputs), made) or []
            for place, name in enumerate(graph.outputs):
                known = name in drawn and place < min(len(found), len(expected))
                if known and found[place].shape == expected[place].shape:
                    expected[place] = found[place]
            if self._attends:
                expected = [_with_nothing_hidden(*pair) for pair in zip(expected, found)]
            if len(found) == len(expected) and all(map(_agree, found, expected)):
                continue
            raise ShapeError(
                f"forward is another one at {at} than at the sizes that it was recorded at",
                expected="the same layers at every size that the Dims allow",
                found=_difference(found, expected),
                where=where,
                remedy="let the Dim begin above that size: Dim(..., min=2), and record a second graph for it; or find "
                "what is another one there: an if over a size, the text of one, x.squeeze()",
            )

    def _twice(self, graph: Graph) -> tuple[dict[str, int] | None, list[np.ndarray]]:
        """The smallest sizes, and what the module gives there; None where that is nothing.

        Raises UnsupportedError for a module that gives other numbers at a second call, though torch draws the same ones
        again: what Python draws or counts is a fixed number in a recording.
        """
        sizes = {name: symbol.min or symbol.opt for name, symbol in graph.dims.items()}
        try:
            arrays = Sampler(graph).draw(sizes)
            first, second = self._calls(arrays, 2)
        except Exception:  # these numbers may be none that forward takes
            return None, []
        same = functools.partial(_agree, tolerance=SAME)
        if len(first) == len(second) and all(map(same, first, second)):
            return sizes, first
        raise UnsupportedError(
            "forward gives something else at a second call with the same inputs",
            expected="the same numbers, as torch.manual_seed was called with the same seed before both",
            found=_difference(second, first, SAME, "the first call"),
            remedy="draw by torch, as in torch.rand(()), which a network does at each call; a number of NumPy's or "
            "Python's generators, a time or a count is the same at each call of a network: give it as an argument",
        )

    def _freeze_caches(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        """What an earlier call computed of weights, and the module keeps, is a constant here: freeze those weights."""
        given = filled(self._given, self._on_device(Sampler(graph).draw(sizes)))
        called = _Called(self._owner, self._function)

        def call(weights: Mapping[str, torch.Tensor], before: Callable[[], None], after: Callable[[], Any]) -> Any:
            named = {f"owner.{key}": value for key, value in weights.items()}
            with kept(self._owner):
                before()
                torch.func.functional_call(called, named, (), given)
                return after()

        for path, keys in caches(self._owner, self._exported.program.constants, call).items():
            frozen = [key for key in keys if (leaf := graph.parameters.get(key)) is not None and leaf.frozen is None]
            for key in frozen:
                leaf = graph.parameters[key]
                leaf.frozen = Frozen(f"{path}, which an earlier call of the module filled", digest(leaf.value.read()))
            warnings.warn(
                f"{path} holds what an earlier call of the module computed of {', '.join(keys[:8])}: a constant in "
                f"this graph, in which these weights are frozen. Empty it before recording, and the network computes "
                f"it: module.{path} = None",
                stacklevel=user_level(),
            )

    def _on_device(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        device = next((p.device for p in self._owner.parameters()), torch.device("cpu"))
        return {name: from_numpy(array).to(device) for name, array in arrays.items()}

    def _calls(self, arrays: Mapping[str, np.ndarray], count: int) -> list[list[np.ndarray]]:
        """The tensors that the module gives, at each of so many calls, with the same draws of torch's."""
        device = next((p.device for p in self._owner.parameters()), torch.device("cpu"))
        forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with kept(self._owner), forked, plainly():
            given = self._on_device(arrays)
            found = []
            for _ in range(count):
                torch.manual_seed(0)
                made = tensors_of(self._function(**filled(self._given, given)))
                found.append([np.array(as_array(one.detach())) for one in made])
        return found


class _Called(torch.nn.Module):
    """What is called of a module, as a module around it."""

    def __init__(self, owner: torch.nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.owner = owner
        self.__dict__["function"] = function

    def forward(self, **given: Any) -> Any:
        return self.__dict__["function"](**given)


def plain(function: Callable[..., Any]) -> tuple[torch.nn.Module, Callable[..., Any]]:
    """A module and what of it is called, without torch.compile, DataParallel and DistributedDataParallel around it."""
    if isinstance(function, MethodType):
        owner = unwrapped(function.__self__)
        if owner is not function.__self__:
            return owner, getattr(owner, function.__name__)
        return owner, function
    module = unwrapped(function)
    return module, module


def _refuse_scripts(owner: torch.nn.Module) -> None:
    """Raises UnsupportedError for modules of torch.jit."""
    for path, module in owner.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                "a module of torch.jit is compiled, and torch.export takes none",
                expected="the torch.nn.Module that it was made of",
                found=type(module).__name__ + (f" {path}" if path else ""),
                remedy="record the module before torch.jit.script or torch.jit.trace; its state_dict has the same "
                "keys: module.load_state_dict(scripted.state_dict())",
            )


def signature(function: Callable[..., Any], given: Mapping[str, Any]) -> inspect.Signature:
    """Of what is called: a module's forward, or the method. What `*args` takes has the names that are given."""
    owner, called = plain(function)
    _refuse_scripts(owner)
    found = inspect.signature(owner.forward if isinstance(called, torch.nn.Module) else called)
    parameters: list[inspect.Parameter] = []
    for one in found.parameters.values():
        if one.kind is not one.VAR_POSITIONAL:
            parameters.append(one)
            continue
        default = None if parameters and parameters[-1].default is not one.empty else one.empty
        parameters += [
            inspect.Parameter(name, one.POSITIONAL_OR_KEYWORD, default=default) for name in _starred(found, given)
        ]
    return found.replace(parameters=parameters)


def _starred(found: inspect.Signature, given: Mapping[str, Any]) -> list[str]:
    """The names of what `*args` takes."""
    kinds = {one.kind for one in found.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL not in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
        return []
    named = [name for name, one in found.parameters.items() if one.kind is not one.VAR_POSITIONAL]
    return [name for name in given if name not in named]


def _by_name(owner: torch.nn.Module, called: Callable[..., Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    """What is called, taking all its arguments by name."""
    found = inspect.signature(owner.forward if isinstance(called, torch.nn.Module) else called)
    starred = _starred(found, given)
    if not starred:
        return called
    places = [name for name, one in found.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]

    def call(**values: Any) -> Any:
        args = [values.pop(name) for name in (*places, *starred) if name in values]
        return called(*args, **values)

    return call


def recorded(function: Callable[..., Any], given: Mapping[str, Any]) -> TorchModule:
    """The trtnet Module that records a torch.nn.Module, or a method of one."""
    made = TorchModule(function, given)
    forward = functools.partial(TorchModule.forward, made)
    forward.__signature__ = signature(function, given)  # type: ignore[attr-defined]
    made.__dict__["forward"] = forward
    return made


def _storage(value: torch.Tensor) -> Any:
    if isinstance(value, torch.nn.parameter.UninitializedTensorMixin) or not value.numel():
        return id(value)
    return value.data_ptr(), value.shape, value.stride(), value.dtype, value.device


def _extent(value: torch.Tensor) -> tuple[int, int]:
    """Where a tensor's elements lie in memory, from the first byte to behind the last."""
    last = sum((size - 1) * step for size, step in zip(value.shape, value.stride())) if value.numel() else -1
    return value.data_ptr(), value.data_ptr() + (last + 1) * value.element_size()


def _register(module: Module, key: str, value: Parameter) -> None:
    *path, name = key.split(".")
    for part in path:
        child = module._modules.get(part)
        if child is None:
            child = module._modules[part] = Module()
        module = child
    store: dict[str, Any] = module._buffers if isinstance(value, Buffer) else module._parameters
    store[name] = value


def _constant(program: ExportedProgram, name: str) -> torch.Tensor:
    spec = next(one for one in program.graph_signature.input_specs if one.arg.name == name)
    found: torch.Tensor = program.constants[spec.target]
    return found.detach()


def _refuse_mutations(signature: Any, inputs: Sequence[str]) -> None:
    names = dict(zip(signature.user_inputs, inputs))
    for spec in signature.output_specs:
        kind = spec.kind.name
        if kind in ("BUFFER_MUTATION", "USER_INPUT_MUTATION", "PARAMETER_MUTATION"):
            what = {"BUFFER_MUTATION": "the buffer", "USER_INPUT_MUTATION": "its input"}.get(kind, "the parameter")
            name = names.get(spec.target) or inside(str(spec.target))
            raise UnsupportedError(
                f"forward changes {what} {name!r} in place",
                expected="a forward that changes nothing: a network keeps no state between calls",
                found=f"a change of {name}",
                remedy="take the state as an argument of forward and return the new one: h, and h_out",
            )


def _formed(spec: Any, values: Iterator[Any]) -> Any:
    """The flat results as tuples and dicts, as forward returned them."""
    if spec.is_leaf():
        return next(values)
    children = [_formed(child, values) for child in spec.children()]
    context = spec.context
    if isinstance(context, (tuple, list)) and len(context) == 2 and isinstance(context[1], (tuple, list)):
        context = context[1 if callable(context[0]) else 0]  # of a defaultdict, of a dataclass
    if (
        isinstance(context, (tuple, list))
        and len(context) == len(children)
        and children
        and spec.type not in (tuple, list)
        and all(isinstance(key, (str, int)) for key in context)
    ):
        return dict(zip(context, children))
    return tuple(children)


def _smallest(given: Mapping[str, Any]) -> list[tuple[dict[str, int], None]]:
    """Sizes with each Dim in turn at 0 or 1, where it may be that."""
    symbols = dims.symbols_of(size for spec in inputs_of(given).values() for size in spec.shape)
    small = [one for one in symbols if one.min <= 1]
    every = {str(one): max(one.min, min(one.opt, 2)) for one in symbols}
    found = [every | {str(one): one.min} for one in small]
    if len(small) > 1:
        found.append(every | {str(one): one.min for one in small})
    return [(sizes, None) for sizes in found]


def _not_taken(at: str, error: Exception, where: Location | None) -> ShapeError:
    return ShapeError(
        f"forward does not take {at}, which the Dims allow",
        found=f"{type(error).__name__}: {error}",
        where=where,
        remedy="let the Dim begin above that size: Dim(..., min=2)",
    )


def _several(given: Mapping[str, Any]) -> list[dict[str, int]]:
    """Sizes with each Dim in turn at the least few that it may be, at its best and at its greatest."""
    symbols = dims.symbols_of(size for spec in inputs_of(given).values() for size in spec.shape)
    every = {str(one): max(one.min, min(one.opt, 2)) for one in symbols}
    found = []
    for one in symbols:
        few = range(one.min, one.max + 1, one.multiple_of)[:FEW]
        found += [every | {str(one): value} for value in dict.fromkeys((*few, one.opt, one.max))]
    return found


FEW = 8
"""At how many sizes a recording is compared with a module that reads one as text, beside the best and the greatest."""


SAME = 1e-5
"""How far apart two calls of a module may be."""


def _agree(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-2) -> bool:
    if found.shape != expected.shape:
        return False
    if found.dtype.kind not in "fV" or not found.size:
        return np.array_equal(found, expected)
    a, b = found.astype(np.float64), expected.astype(np.float64)
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance / 10 * scale + 1e-6, equal_nan=True))


def _with_nothing_hidden(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """What the module gives, but where that is NaN, what was found: attention's rows of which a drawn mask hides
    everything, which torch gives as NaN and we as 0."""
    if expected.shape != found.shape or expected.dtype.kind not in "fV":
        return expected
    return np.where(np.isnan(expected), found, expected)


def _difference(
    found: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-2, other: str = "the module"
) -> str:
    for index, (one, two) in enumerate(zip(found, expected)):
        if one.shape != two.shape:
            return f"output {index} of shape {one.shape}, where {other} gives {two.shape}"
        if not _agree(one, two, tolerance):
            apart = np.abs(one.astype(np.float64) - two.astype(np.float64))
            if not np.isfinite(apart).all():
                finite = f"{np.isfinite(one).sum()} of {one.size} values finite, where {other} gives"
                return f"output {index} with {finite} {np.isfinite(two).sum()}"
            return f"output {index} differs by {apart.max():.3g}"
    return f"{len(found)} outputs, where {other} gives {len(expected)}"
