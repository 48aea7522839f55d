"""`record`: run a module's forward once on symbolic tensors, and keep the layers that it made."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .basics import dims, dtypes
from .basics.arrays import import_torch
from .basics.cycles import refuse_cycle
from .basics.errors import ArgumentError, ArgumentTypeError, ProviderError, TrtnetError, UnsupportedError, shown
from .basics.garbage import no_collection
from .basics.location import raised_at
from .engine.graph_json import from_json, to_json
from .engine.plan import Plan
from .graph import arguments as nested
from .graph import forms
from .graph.graph import Graph, Input, require_bytes
from .graph.recorder import Recorder
from .graph.regions import are_nested
from .graph.tensor import Array, Buffer, Tensor
from .layers.casting import Identity
from .layers.constant import constant
from .layers.training import undropped, without_dropouts
from .nn.module import Module
from .rewriting import pruning  # noqa: F401  # it gives graphs a method
from .tensorrt.build import lowering, summary  # noqa: F401  # they, too
from .weights.recipes import Leaf, Weight

if TYPE_CHECKING:
    from .pytorch.exported.module import TorchModule

TEACHING = {
    "trtnet.teaching.drawing": ("draw", "_repr_html_"),
    "trtnet.teaching.explaining": ("explain",),
    "trtnet.teaching.script": ("to_script",),
}
"""Methods of graphs that are loaded when they are first called: a recording has no need of them."""
OLDEST_TORCH = (2, 11)
"""Whose modules are recorded; pyproject.toml names the same."""
RESERVED = ("graph", "stream", "out", "with_generation", "with_version")
"""What a call of an engine takes beside inputs."""


def record(module: Callable[..., Any], /, *positional: Any, draws: str = "layers", **inputs: Any) -> Graph:
    """Run `module`'s forward once on symbolic tensors and return the layers that it made.

    Args:
        module: a trtnet Module, one of its methods, or a function of tensors (whose parameters become constants); or a
            torch.nn.Module as it is, or one of its methods, which torch.export takes in eval mode.
        positional: refused: inputs are given by name.
        draws: what `rand`, `randn`, `multinomial`… inside forward become: "layers" that draw at
            each call (TensorRT takes no seed), or "inputs" of the network, for who must reproduce them: float32, in
            the order of drawing `uniform_0`, `uniform_1`… from [0, 1) and `normal_0`… of mean 0 and deviation 1, from
            which the network computes what was asked for.
        inputs: for each argument of forward an Input; or tuples, lists and dicts of Inputs, which are the network's
            inputs `NAME_0`, `NAME_1`… and `NAME_KEY`; or a plain Python value (None, bool, int, float, str), which
            forward gets as it is, also beside Inputs. Arguments with defaults may be left out.

    Python's garbage collector does not run meanwhile: what is recorded stays.

    Raises:
        ArgumentError, ArgumentTypeError: an unknown or missing argument, a reserved name, no outputs.
        ShapeError, DtypeError: sizes and types that do not fit, at the user's source line.
    """
    _require_recordable(module, positional)
    of_torch = _of_torch(module, inputs)
    module = module if of_torch is None else of_torch
    if "einops" in sys.modules:
        importlib.import_module("trtnet.torch_names.einops")  # einops then knows our tensors
    forward = module.forward if isinstance(module, Module) else module
    # `record(net.encode, x=...)` records that method, with the parameters of `net`
    method_of = module.__self__ if isinstance(module, MethodType) else None
    owner = module if isinstance(module, Module) else method_of if isinstance(method_of, Module) else None
    recorder = Recorder()
    recorder.draws_inputs = _are_inputs(draws)
    weights = _weights(recorder, owner)
    arguments = _arguments(recorder, _signature(forward), inputs)
    with no_collection(), recorder:
        with _refusing_torchs():
            made = module(**arguments)
        outputs, form = _outputs(recorder, made)
        recorder.drop_spare(outputs.values())
        layers = without_dropouts(recorder.training, recorder.layers, outputs)
        if recorder.training.instead:
            recorder.training.leave([name for name, leaf in weights.parameters.items() if leaf.frozen is not None])
    if not recorder.inputs:
        raise ArgumentError(
            "a network needs an input",
            expected="at least one Input",
            found=", ".join(inputs) or "none",
            remedy="record(module, x=Input((1, 3, 224, 224)))",
        )
    for tensor in outputs.values():
        tensor.name = None
    title = type(owner).__name__ if owner is not None else getattr(module, "__name__", "function")
    graph = Graph(
        layers,
        recorder.inputs,
        outputs,
        form,
        weights.parameters,
        frozenset(weights.trainable),
        frozenset(weights.buffers),
        recorder.equalities,
        title,
        data_dims=frozenset(recorder.data_dims),
        ranges=recorder.ranges,
        training=recorder.training,
    )
    _refuse_state(recorder, graph, weights)
    if not are_nested(layers):
        graph = graph.prune()
    for name, tensor in outputs.items():
        tensor.name = name
    if of_torch is not None:
        graph.title = of_torch.title
        of_torch.check(graph)
    return graph


def _load_when_called(module: str, name: str) -> None:
    """Have a module give Graph this method at its first call."""

    @functools.wraps(getattr(Graph, name))
    def call(graph: Graph, *args: Any, **kwargs: Any) -> Any:
        importlib.import_module(module)
        return getattr(graph, name)(*args, **kwargs)

    setattr(Graph, name, call)


for _module, _names in TEACHING.items():
    for _name in _names if _module not in sys.modules else ():
        _load_when_called(_module, _name)


@contextlib.contextmanager
def _refusing_torchs() -> Iterator[None]:
    """Say what to do where a function of torch's is called with our tensors."""
    try:
        yield
    except TypeError as error:
        if isinstance(error, TrtnetError) or "must be Tensor, not Tensor" not in str(error):
            raise
        name = str(error).partition("(")[0]
        raise ArgumentTypeError(
            "a function of torch's was called with a tensor of trtnet's",
            expected=f"trtnet.functional.{name}",
            found=f"torch: {error}",
            where=raised_at(error, "torch"),
            remedy="call the function of that name of trtnet.functional; a torch.nn.Module whose forward calls "
            "torch's is recorded as it is",
        ) from error


def _of_torch(module: Any, inputs: dict[str, Any]) -> TorchModule | None:
    """What records a torch.nn.Module, or a method of one; None for what is ours."""
    owner = getattr(module, "__self__", module)
    if not any(kind.__module__.startswith("torch.nn.") for kind in type(owner).__mro__):
        return None
    _require_torch(import_torch().__version__)
    from .pytorch.exported.module import recorded, signature  # the door up (tests/test_imports.py)

    _arguments(Recorder(), signature(module, inputs), inputs)
    return recorded(module, inputs)


def _require_torch(version: str) -> None:
    if tuple(map(int, version.split(".")[:2])) < OLDEST_TORCH:
        raise ProviderError(
            "this PyTorch is too old to record its modules",
            expected=".".join(map(str, OLDEST_TORCH)) + " or newer",
            found=version,
            remedy="pip install 'trtnet[torch]'",
        )


def _require_recordable(module: Any, positional: tuple[Any, ...]) -> None:
    if positional:
        raise ArgumentTypeError(
            "inputs are given by name",
            expected="record(module, name=Input(shape), ...)",
            found=", ".join(map(shown, positional)),
            remedy="the keywords of record are forward's argument names; they become the names of the network's inputs",
        )
    if not callable(module):
        raise ArgumentTypeError(
            "only a module or a function can be recorded", expected="a trtnet.nn.Module", found=type(module).__name__
        )
    if _is_torchs_function(module):
        raise ArgumentTypeError(
            "a function of torch's cannot be recorded by itself",
            expected="a torch.nn.Module, or a function that calls trtnet.functional",
            found=f"{module.__name__} of torch",
            remedy=f"record trtnet.functional.{module.__name__}, or a torch.nn.Module whose forward calls torch's",
        )
    if isinstance(module, type):
        raise ArgumentTypeError(
            "a class was given in place of a module",
            expected="a trtnet.nn.Module",
            found=f"the class {module.__name__}",
            remedy=f"make one first: record({module.__name__}(...), ...)",
        )


def _is_torchs_function(module: Any) -> bool:
    if not isinstance(module, (FunctionType, BuiltinFunctionType)) or "torch" not in sys.modules:
        return False
    home: Any = getattr(module, "__module__", None) or getattr(getattr(module, "__self__", None), "__name__", "")
    return str(home).partition(".")[0] == "torch" or getattr(sys.modules["torch"], module.__name__, None) is module


class _Weights(NamedTuple):
    """A module's parameters and buffers by their `state_dict` keys, which of them are what, and its modules by path."""

    parameters: dict[str, Leaf]
    trainable: set[str]
    buffers: set[str]
    modules: list[tuple[str, Module]]


def _weights(recorder: Recorder, owner: Module | None) -> _Weights:
    """Have the modules' paths and parameters known to the recorder."""
    found = _Weights({}, set(), set(), [])
    if owner is None:
        return found
    leaves, keep, paths = recorder.leaves, recorder.keep, recorder.paths
    parameters, trainable, buffers, modules = found
    for path, child in owner.named_modules(remove_duplicate=False):
        paths.setdefault(id(child), path)
        keep.append(child)  # ids are taken again once their object is gone
        modules.append((path, child))
        for store in (child._parameters, child._buffers):
            if not store:
                continue
            start = f"{path}." if path else ""
            for key, parameter in store.items():
                if parameter is None:
                    continue
                name = start + key
                leaf = leaves.get(id(parameter))
                if leaf is None:
                    leaf = leaves[id(parameter)] = parameter.leaf(name)
                    keep.append(parameter)
                parameters[name] = leaf
                if isinstance(parameter, Buffer):
                    buffers.add(name)
                elif parameter.requires_grad:
                    trainable.add(name)
    return found


def _refuse_state(recorder: Recorder, graph: Graph, weights: _Weights) -> None:
    """Raises UnsupportedError where forward gave a module another tensor in place of one that the outputs depend on:
    those of the next call would depend on the other one."""
    leaves = recorder.leaves
    given = [
        f"{path}.{key}" if path else key
        for path, child in weights.modules
        for store in (child._parameters, child._buffers)
        if store
        for key, value in store.items()
        if id(value) not in leaves
    ]
    replaced: list[tuple[str, Leaf | None, int]] = [
        (name, weights.parameters[name], 0) for name in given if name in weights.parameters
    ]
    for owner, key, value in recorder.replaced:
        path = recorder.paths.get(id(owner))
        if path is not None and owner.__dict__.get(key, owner._buffers.get(key)) is not value:
            replaced.append((f"{path}.{key}" if path else key, leaves.get(id(value)), id(value)))
    if not replaced:
        return
    taken = {leaf for layer in graph.reaching() for o in layer.inputs if isinstance(o, Weight) for leaf in o.leaves()}
    for name, leaf, place in replaced:
        if place in recorder.outside if leaf is None else leaf in taken or leaf.frozen is not None:
            raise UnsupportedError(
                "forward takes a tensor of its module and gives it another one, for the next call: an engine keeps no "
                "state between calls",
                expected="a module whose tensors stay as they are",
                found=name,
                remedy="take the state as an argument of forward and return the new one: h, and h_out",
            )


def restored(make: Callable[..., Any], *parts: Any) -> Any:
    """A graph or a plan that was pickled. Who unpickles it has loaded what gives graphs their methods."""
    return make(*parts)


def _reduced_graph(graph: Graph) -> tuple[Any, ...]:
    values = {leaf.name: leaf.value for leaf in graph.parameters.values()}
    return restored, (from_json, to_json(graph), values)


def _reduced_plan(plan: Plan) -> tuple[Any, ...]:
    make, parts = plan.__reduce__()
    return restored, (make, *parts)


copyreg.pickle(Graph, _reduced_graph)
copyreg.pickle(Plan, _reduced_plan)


def _read_value(current: Recorder, tensor: Tensor) -> np.ndarray | None:
    """What a tensor holds now, if that is known: computed by the reference, which is asked where it is first needed."""
    from .pytorch.reading import known

    return known(current, tensor)


Recorder.read_value = _read_value


def _are_inputs(draws: Any) -> bool:
    if isinstance(draws, str) and draws in ("layers", "inputs"):
        return draws == "inputs"
    raise ArgumentError(
        "draws= says what random numbers become",
        expected="'layers' or 'inputs'",
        found=repr(draws),
        remedy="rename forward's argument, if an input of that name is meant",
    )


def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    if isinstance(forward, MethodType):
        return _signature_of_method(forward.__func__)
    return inspect.signature(forward)


@functools.lru_cache(maxsize=256)
def _signature_of_method(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(MethodType(function, object()))


def _arguments(recorder: Recorder, signature: inspect.Signature, given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        refuse_cycle(f"the argument {name!r} of record", name, value)
    known = list(signature.parameters)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    try:
        bound = signature.bind(**given)
    except TypeError as error:
        required = [n for n, p in signature.parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        raise ArgumentTypeError(
            f"these inputs do not fit forward: {error}",
            expected=", ".join(required) or "no inputs",
            found=", ".join(given) or "no inputs",
            remedy="the keywords of record(module, name=Input(...)) are forward's argument names",
        ) from None
    dims.check_same_ranges(s for spec in nested.inputs_of(given).values() for s in spec.shape)

    def argument(name: str, spec: Any) -> Any:
        if not isinstance(spec, Input):
            return _plain(name, spec, given)
        if name in RESERVED or name in recorder.inputs:
            raise ArgumentError(
                f"{name!r} cannot be the name of {'an' if name in RESERVED else 'a second'} input",
                expected="another name than " + ", ".join((*RESERVED, *recorder.inputs)),
                found=name,
                remedy="rename forward's argument",
            )
        made = recorder.inputs[name] = Tensor(spec.shape, spec.dtype, recorder, name=name)
        if spec.range is not None:
            recorder.ranges[name] = spec.range
        return made

    # forward's order, not the keywords', so that positional calls work
    order = [n for n in known if n in bound.arguments] + [n for n in given if n not in known and takes_any]
    return {name: nested.mapped(name, given[name], argument) for name in order if name in given}


def _plain(name: str, value: Any, given: dict[str, Any]) -> Any:
    """A plain Python value, which forward gets as it is."""
    if isinstance(value, (Array, bool, int, float, str, type(None), dtypes.dtype)):
        return value
    raise ArgumentTypeError(
        f"record takes Inputs, and {name!r} is none",
        expected="Input(shape, dtype)",
        found=shown(value),
        remedy=f"record(module, {name}=Input((1, 3, 224, 224)))"
        if given.get(name) is value
        else "let an Input, or a plain value, stand in its place",
    )


def _outputs(recorder: Recorder, result: Any) -> tuple[dict[str, Tensor], forms.Form]:
    refuse_cycle("what forward returned", "result", result)
    form, named = forms.named(result)
    if not named:
        raise ArgumentError(
            "an empty network: forward returned no tensor",
            expected="a tensor, or a tuple, list or dict of tensors",
            found=repr(result),
            remedy="return what the network computes",
        )
    for name in recorder.marks:
        if name in named:
            raise ArgumentError(
                f"a marked tensor and an output have the same name {name!r}",
                expected="another name than " + ", ".join(map(repr, named)),
                found=name,
                remedy="give trtnet.mark another name",
            )
    if recorder.marks:
        form = forms.with_marks(form, recorder.marks)
        named |= recorder.marks
    outputs: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in named.items():
        if isinstance(value, Array):
            value = constant(value)
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise ArgumentTypeError(
                "forward returned something that is no tensor"
                if isinstance(name, str)
                else "an output's name must be a string",
                expected="a tensor, or a tuple, list or dict of tensors",
                found=f"{type(value).__name__} for {name!r}",
                remedy="return tensors, or tuples, lists and dicts of them",
            )
        value = recorder.settle(value)
        recorder.check_outside((value,))
        require_bytes(value.dtype, f"the output {name!r}")
        if not name:
            raise ArgumentError("an output needs a name", expected="a string that is not empty", found=repr(name))
        if name in recorder.inputs:
            raise ArgumentError(
                f"an input and an output have the same name {name!r}",
                expected="different names",
                found=name,
                remedy="rename the key in the dict that forward returns",
            )
        marked = undropped(value)
        if marked.layer is None or id(marked) in taken:  # TensorRT marks no input, and nothing twice
            with recorder.values():
                marked = value = recorder.emit(Identity((value,)))
        taken.add(id(marked))
        outputs[name] = value
    return outputs, form
