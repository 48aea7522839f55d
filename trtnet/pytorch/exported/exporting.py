"""A torch.nn.Module, exported by torch.export as operators of ATen."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import threading
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from operator import is_not
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.fx.experimental._config as symbolic
from torch.export import ExportedProgram

from ...basics import dims, dtypes
from ...basics.cycles import refuse_cycle
from ...basics.dims import Dim, SizeLike
from ...basics.errors import ProviderError, ShapeError, TrtnetError, UnsupportedError
from ...basics.location import Location, Place
from ...graph.arguments import filled, inputs_of
from ...graph.graph import Input
from .guards import Guard, guards_of
from .packages import settled
from .packing import padded
from .playing import unknown
from .reading import Reads
from .stacks import OWNER, inside, is_torchs
from .swaps import swapped
from .texts import noted

Container: TypeAlias = "dict[Any, Any] | list[Any] | set[Any] | deque[Any]"
CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
MANY = 1000
"""Of more values than these none is looked into."""
_LOCK = threading.RLock()  # torch.export changes classes and settings of the whole process


class Exported(NamedTuple):
    """What torch made of a module.

    Attributes:
        program: the ExportedProgram, its operators functional ones.
        sizes: a value of each Dim by name, at which it was exported.
        symbols: what each of torch's symbols is.
        guards: what Python code decided by sizes.
        is_oblivious: whether sizes of 0 and 1 were taken to be possible.
        frozen: keys of parameters that were read as numbers, and where.
        texts: where a size was read as text.
    """

    program: ExportedProgram
    sizes: dict[str, int]
    symbols: dict[Any, SizeLike]
    guards: list[Guard]
    is_oblivious: bool
    frozen: dict[str, Location | None]
    texts: tuple[Location, ...] = ()


class _Call(torch.nn.Module):
    """One call of a module, or of one of its methods, by the names of its arguments."""

    def __init__(self, owner: torch.nn.Module, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
        super().__init__()
        setattr(self, OWNER, owner)
        self.__dict__["function"] = function
        self.__dict__["names"] = list(inputs_of(given))
        self.__dict__["given"] = dict(given)
        self.__dict__["reads"] = Reads(dict(named_weights(owner)))

    def forward(self, *tensors: torch.Tensor) -> Any:
        self.__dict__["reads"].begin(named_weights(getattr(self, OWNER)))
        function: Callable[..., Any] = self.__dict__["function"]
        result = function(**filled(self.__dict__["given"], dict(zip(self.__dict__["names"], tensors))))
        refuse_cycle("what forward returned", "result", result)
        return result


def export(owner: torch.nn.Module, function: Callable[..., Any], given: Mapping[str, Any]) -> Exported:
    """Export `function`, the module or a method of it, for these Inputs and plain values.

    Raises UnsupportedError with the user's line, in torch's words, where torch cannot.
    """
    if not hasattr(symbolic, "backed_size_oblivious") or not hasattr(torch.export, "default_decompositions"):
        raise ProviderError(
            "this PyTorch cannot export modules as it has to be done here",
            expected="a torch.export that takes sizes of 1 to be possible",
            found=f"PyTorch {torch.__version__}",
            remedy="pip install --upgrade torch; it was tried with 2.13",
        )
    specs = list(inputs_of(given).values())
    call = _Call(owner, function, given)
    symbols = {str(s): s for spec in specs for s in dims.symbols_of(spec.shape)}
    failed: Exception | None = None
    with _LOCK, noted() as texts, _undisturbed(owner):
        sizes = {name: _example(symbol) for name, symbol in symbols.items()}
        for oblivious in (True, False) if symbols else (True,):
            try:
                program = _program(call, specs, sizes, oblivious)
            except Exception as error:
                failed = failed or error
                continue
            made = _exported(program, call, specs, sizes, oblivious)
            return _without_coincidences(made, call, specs, symbols)._replace(texts=tuple(texts))
    assert failed is not None
    if isinstance(failed, TrtnetError):
        failed.where = _line(failed) or failed.where
        raise failed
    if isinstance(failed, RecursionError):  # torch walks through what modules hold
        for path, module in owner.named_modules():
            for name, held in vars(module).items():
                refuse_cycle(f"the attribute {name!r}", name, held, path or type(module).__name__)
    raise _refused(failed) from failed


def _program(call: _Call, specs: list[Input], sizes: dict[str, int], oblivious: bool) -> ExportedProgram:
    device = _device(getattr(call, OWNER))
    tensors = tuple(_tensor(spec, sizes, device) for spec in specs)
    shapes = tuple({axis: _free(size) for axis, size in enumerate(spec.shape)} for spec in specs)
    with symbolic.patch(backed_size_oblivious=oblivious, use_duck_shape=False):
        with call.__dict__["reads"]:
            program = torch.export.export(call, tensors, dynamic_shapes=(shapes,), strict=False)
        return _taken_apart(program.run_decompositions({}))


def _exported(
    program: ExportedProgram, call: _Call, specs: list[Input], sizes: dict[str, int], oblivious: bool
) -> Exported:
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-len(specs) :]
    env = next((v.fake_mode.shape_env for v in values if isinstance(v, torch.Tensor)), None)
    guards = [] if env is None else guards_of(env)
    frozen = dict(call.__dict__["reads"].frozen)
    return Exported(program, sizes, _symbols(values, specs), guards, oblivious, frozen)


def _without_coincidences(made: Exported, call: _Call, specs: list[Input], symbols: Mapping[str, Dim]) -> Exported:
    """Export again at other sizes, where a size happened to be equal to another one in a comparison.

    Where it has to be equal, torch refuses the other sizes, and the first export stays.
    """
    other = {name for guard in made.guards for name in guard.equal_dims(made.symbols)}
    if not other:
        return made
    sizes = dict(made.sizes)
    for name in sorted(other):
        sizes[name] = _beside(symbols[name], {*made.sizes.values(), *sizes.values()})
    try:
        program = _program(call, specs, sizes, made.is_oblivious)
    except Exception:
        return made
    again = _exported(program, call, specs, sizes, made.is_oblivious)
    return made if any(guard.equal_dims(again.symbols) for guard in again.guards) else again


def _beside(symbol: Dim, taken: set[int]) -> int:
    """A value of a Dim beside those that are taken, if it has one."""
    every = range(symbol.min, symbol.max + 1, symbol.multiple_of)
    free = [value for value in every if value >= 2 and value not in taken]
    return min(free, key=lambda value: abs(value - symbol.opt), default=symbol.opt)


def named_weights(owner: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's parameters and buffers by their keys; tied ones by each."""
    yield from owner.named_parameters(remove_duplicate=False)
    yield from owner.named_buffers(remove_duplicate=False)


def _free(size: SizeLike) -> Any:
    return torch.export.Dim.STATIC if isinstance(size, int) else torch.export.Dim.AUTO


def _example(symbol: Dim) -> int:
    """A value of a Dim: where the network is meant to work best, but two or more where that may be."""
    if symbol.opt >= 2:
        return symbol.opt
    return next((v for v in range(symbol.min, symbol.max + 1, symbol.multiple_of) if v >= 2), symbol.opt)


def _tensor(spec: Input, sizes: Mapping[str, int], device: torch.device) -> torch.Tensor:
    dtype = getattr(torch, dtypes.get(spec.dtype).name.removesuffix("_"))
    return torch.zeros([dims.evaluate(size, sizes) for size in spec.shape], dtype=dtype, device=device)


def _device(owner: torch.nn.Module) -> torch.device:
    for one in (*owner.parameters(), *owner.buffers()):
        return one.device
    return torch.device("cpu")


def _symbols(values: list[Any], specs: list[Input]) -> dict[Any, SizeLike]:
    """What each of torch's symbols is, by the inputs' shapes. Raises ShapeError where torch has none for a Dim."""
    found: dict[Any, SizeLike] = {}
    for value, spec in zip(values, specs):
        for size, ours in zip(value.shape, spec.shape):
            symbol = None if isinstance(size, int) else size.node._expr
            if symbol is not None and symbol.is_Symbol:
                found.setdefault(symbol, ours)
            elif isinstance(ours, Dim):  # by no PyTorch that was tried
                raise ShapeError(
                    f"torch.export takes the dynamic size {ours} for a fixed one",
                    expected="a Dim with two values or more, of 2 or larger",
                    found=f"{ours!r}, taken for {size}",
                )
    return found


# --- surroundings -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kept(owner: torch.nn.Module) -> Iterator[None]:
    """The module in eval mode and without gradients; its modes, and what forward keeps on it, put back."""
    modes = [(module, module.training) for module in owner.modules()]
    attributes = _attributes(owner)
    for module, _ in modes:
        module.training = False
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for held, before in attributes:
            _put_back(held, before)
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Without torch's fast path for transformers, which puts zeros at hidden positions and NaN around them."""
    with _LOCK:
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _undisturbed(owner: torch.nn.Module) -> Iterator[None]:
    """As `kept`, with nothing printed, and distributions that do not look at values."""
    validates = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # pages of graphs; what it says is in its exceptions
    try:
        with (
            kept(owner), plainly(), torch.inference_mode(False), torch.no_grad(), swapped(), padded(), settled(),
            warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(validates)
        logging.disable(disabled)


def _attributes(owner: torch.nn.Module) -> list[tuple[Container, Container]]:
    """What modules, and objects, dicts and lists that they hold, have in them, and copies of that: a forward that keeps
    something (a distribution, a cache) would keep what torch traced with."""
    found: dict[int, tuple[Container, Container]] = {}
    pending: deque[tuple[Container, int]] = deque((module.__dict__, 0) for module in owner.modules())
    while pending:
        held, depth = pending.popleft()
        if id(held) in found:
            continue
        found[id(held)] = held, copy.copy(held)
        if depth < 3 and len(held) <= MANY:
            values = held.values() if isinstance(held, dict) else held
            pending += [(one, depth + 1) for value in values if (one := _container(value)) is not None]
    return list(found.values())


def _container(value: object) -> Container | None:
    """What a value keeps other values in, and may be given others."""
    if type(value) in CONTAINERS:
        return value  # type: ignore[return-value]
    if isinstance(value, (torch.Tensor, type, ModuleType)):
        return None
    held = getattr(value, "__dict__", None)
    return held if type(held) is dict else None


def _put_back(held: Container, before: Container) -> None:
    """Make a container what its copy is, where it is not."""
    if isinstance(held, dict) and isinstance(before, dict):
        same = held.keys() == before.keys() and not any(held[name] is not before[name] for name in before)
    else:
        same = len(held) == len(before) and not any(map(is_not, held, before))
    if same:
        return
    held.clear()
    if isinstance(held, (dict, set)):
        held.update(before)
    else:
        held.extend(before)


# --- operators without a counterpart ----------------------------------------------------------------------------------


def _taken_apart(program: ExportedProgram) -> ExportedProgram:
    """The program with operators that nothing records made of others, by torch's own table, each alone."""
    for _ in range(4):
        targets = {node.target for graph in _graphs(program.graph_module) for node in unknown(graph)}
        if not targets:
            break
        table = torch.export.default_decompositions()
        known = {target: table[target] for target in targets if target in table}
        if not known:
            break
        program = program.run_decompositions(known)
    return program


def _graphs(module: Any) -> Iterator[Any]:
    for one in module.modules():
        if isinstance(one, torch.fx.GraphModule):
            yield one.graph


# --- what torch refuses -----------------------------------------------------------------------------------------------


def _refused(error: Exception) -> TrtnetError:
    text = str(error)
    kind = type(error).__name__
    remedy = (
        "torch.export says what it needs; write forward so, or record a module that does without: nothing but tensors "
        "and plain values goes in and out"
    )
    if kind == "GuardOnDataDependentSymNode" or "data-dependent" in text:
        remedy = (
            "let the network decide: torch.where(condition, a, b), or torch.cond(condition, f, g, (x,)); a number that "
            "never changes becomes a plain attribute: self.count = int(count)"
        )
    where = _line(error)
    lines = [line for line in text.splitlines() if line.strip()]
    return UnsupportedError(
        "torch.export cannot follow this module",
        expected="a forward that torch.export takes",
        found=f"{kind}: {lines[0][:300] if lines else ''}",
        where=where,
        details="\n".join(lines[1:12]) or None,
        remedy=remedy,
    )


def _line(error: BaseException | None) -> Location | None:
    """The innermost line of the user's that was being traced."""
    found: Location | None = None
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if not is_torchs(code.co_filename):
                found = Place(code.co_filename, trace.tb_lineno, code.co_name, _text(code.co_filename, trace.tb_lineno))
            trace = trace.tb_next
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _text(file: str, line: int) -> str:
    import linecache

    return linecache.getline(file, line).strip()


def keys_of(program: ExportedProgram) -> Iterator[tuple[str, Any, str, bool]]:
    """Name of the placeholder, its kind, the key of what it stands for, for parameters, buffers and constants."""
    for spec in program.graph_signature.input_specs:
        yield spec.arg.name, spec.kind.name, inside(spec.target or ""), bool(spec.persistent)
