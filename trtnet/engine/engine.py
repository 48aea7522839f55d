"""What every engine is: named inputs in, the form that `forward` returned out, weights by `state_dict` key."""

from __future__ import annotations

import contextlib
import itertools
import math
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import numpy as np

from ..basics import dims, dtypes
from ..basics.arrays import as_array, equal_bytes, import_torch, is_torch, to_numpy
from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentTypeError, DtypeError, EngineError, ShapeError, WeightsError
from ..graph import forms
from ..graph.graph import Graph
from ..graph.tensor import Array
from ..weights.matching import Matched, match, nonfinite, warn_of
from ..weights.sources import Named, Opaque, Rename, Selection, Source, named_values
from ..weights.table import WeightTable
from .bound_call import BoundCall
from .checked import Checked
from .debugging import Listener, Paths
from .inputs import StreamLike, TensorSpec, one_kind, remember
from .layer_times import CALLS, LayerTimes
from .memory import Memory
from .options import Option
from .refit import Refit, RefitReport
from .revision import Revised, Revision, number
from .update import Incoming, Update
from .weight_table import used_by


@dataclass(frozen=True)
class Snapshot(Revised, Opaque):
    """The weights of an engine at one moment; `engine.restore` takes it. Opaque.

    Attributes:
        engine: whose they are: what no engine of any process has in common with another.
        structure: the structure hash of its graph.
    """

    engine: str
    structure: str
    revision: Revision
    weights: Any
    instead: ClassVar[str] = (
        "engine.restore(snapshot) brings a snapshot back; engine.parameters() gives weights by name"
    )


next_serial = itertools.count().__next__


class Engine(Revised):
    """Runs a graph. The reference engine and the TensorRT engine take the same calls with the same meaning.

    `engine(x=array)` or `engine(array)`: NumPy in, NumPy out; torch in, torch out. The result has the form that
    `forward` returned: one array, a tuple, or a dict.

    An engine may be called from several threads: calls take turns. `context()` gives each thread a context of its own.

    Attributes:
        graph: the recorded graph.
        inputs, outputs: TensorSpecs, in order.
        generation: how many refits, restores and `bind_weights` there were; what a trainer writes to live weights is
            not counted.
        version: the trainer's number of the present weights, as the last `refit(..., version=)` told it: None where
            that told none, or there was no refit; "live" once `bind_weights` bound a trainer's tensors. `snapshot`,
            `clone` and `save` keep it.
        revision: these two, read as one.
        serial: a number of its own in this process.
        refittable: the parameters that `refit` takes.
        live: the parameters that are inputs of the network, for `bind_weights`.
        checked: the figures of the comparison with the reference; None where there was none.
    """

    device: Any
    """Where it runs, as torch names devices: `str(engine.device)` is "cpu" or "cuda:0"."""
    _looks_while_copying = False
    """Whether given values are searched for NaN and infinity while they are copied, and not before."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs = [TensorSpec.of(name, tensor) for name, tensor in graph.inputs.items()]
        self.outputs = [TensorSpec.of(name, tensor) for name, tensor in graph.outputs.items()]
        self.revision = Revision()
        self.serial = next_serial()
        self._identity = secrets.token_hex(16)
        self._structure: str | None = None
        self.refittable: frozenset[str] = frozenset(graph.parameters)
        self.live: frozenset[str] = frozenset()
        self.checked: Checked | None = None
        """What the comparison with the reference found when the engine was built; None where there was none."""
        self.closed: str | None = None
        """Why the engine cannot be used any more; None while it can."""
        self._updating: weakref.ref[Update] | None = None
        self._input_names = tuple(graph.inputs)
        self._debug_paths: Paths = {}
        self._sizes: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}

    # --- calls

    def __call__(
        self,
        /,
        *args: Any,
        stream: StreamLike | None = None,
        out: Any = None,
        graph: bool = False,
        with_generation: bool = False,
        with_version: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Run the network. Raises ShapeError, DtypeError or ArgumentTypeError before anything runs.

        Args:
            stream: the CUDA stream to run on, as torch's object or an address; the caller's current one unless given.
            out: arrays of the outputs' shapes and dtypes, in the result's form, to write to in place of new ones.
            graph: replay a CUDA graph, captured at the first call with these shapes (CUDA inputs; nothing on the CPU).
            with_generation: return (result, generation), the number of weight changes that this call ran with.
            with_version: return (result, version), the trainer's number of the weights that this call ran with; with
                both, (result, generation, version).
        """
        if self.closed:
            raise self.closed_error()
        values = self._ordered(args, kwargs)
        if stream is not None and is_torch(values[0]) and values[0].is_cuda:
            with self._on_stream(stream):  # copies that torch makes for the call belong there, too
                results, revision = self._results(values, None, graph)
                if out is not None:
                    results = self._written(results, out)
        else:
            results, revision = self._results(values, stream, graph)
            if out is not None:
                results = self._written(results, out)
        if with_generation or with_version:
            told = [revision.generation] * with_generation + [revision.version] * with_version
            return (self._formed(results), *told)
        return results[0] if self.graph.form == "one" else self._formed(results)

    def _on_stream(self, stream: StreamLike) -> AbstractContextManager[None]:
        """A context in which torch's current stream is this one."""
        torch = import_torch()
        if isinstance(stream, torch.cuda.Stream):
            return torch.cuda.stream(stream)
        found = stream.__cuda_stream__()[1] if hasattr(stream, "__cuda_stream__") else int(stream)
        return torch.cuda.stream(torch.cuda.ExternalStream(found) if found else torch.cuda.default_stream())

    def _results(self, values: list[Any], stream: StreamLike | None, graph: bool) -> tuple[list[Any], Revision]:
        """Outputs of the inputs' kind, and the weights' revision that they were computed with."""
        kind = one_kind(self.inputs, values)
        if kind == "array":
            values = [v.numpy() for v in values]
        sizes = self._check(values)
        results, revision = self._run(values, sizes)
        if kind == "torch":
            device = values[0].device
            return [r.to(device) for r in results], revision
        results = [to_numpy(r) for r in results]
        return [Array(r) for r in results] if kind == "array" else results, revision

    def _flat_result(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs for these inputs, in order, without `forward`'s form."""
        return self._results([inputs[name] for name in self._input_names], None, False)[0]

    def _formed(self, results: list[Any]) -> Any:
        """Outputs in the form that `forward` returned."""
        return forms.formed(self.graph.form, list(self.graph.outputs), results)

    def _flat(self, out: Any) -> list[Any]:
        """The arrays of a result's form, in order."""
        form, names = self.graph.form, list(self.graph.outputs)
        found = forms.flat(form, names, out)
        if found is None:
            a_tuple = form == "tuple" or isinstance(form, list)
            several = f"{len(names)} arrays" if a_tuple else "a dict of " + ", ".join(names)
            raise ArgumentTypeError(
                "out has not the form of the result",
                expected="one array" if form == "one" else several,
                found=type(out).__name__,
            )
        return found

    def _written(self, results: list[Any], out: Any) -> list[Any]:
        given = self._flat(out)
        for spec, result, target in zip(self.outputs, results, given):
            self._check_out(spec, target, tuple(result.shape), is_torch(result))
            if is_torch(target):
                target.copy_(result)
            else:
                np.copyto(target, result)
        return given

    def _check_out(self, spec: TensorSpec, target: Any, shape: tuple[int, ...], torch: bool) -> None:
        if is_torch(target) is not torch or not (torch or isinstance(target, np.ndarray)):
            raise ArgumentTypeError(
                f"out for {spec.name!r} is of another kind than the inputs",
                expected="a torch tensor" if torch else "a NumPy array",
                found=type(target).__name__,
            )
        if tuple(target.shape) != shape:
            raise ShapeError(
                f"out for {spec.name!r} has the wrong shape",
                expected=format_shape(shape),
                found=format_shape(tuple(target.shape)),
            )
        if _known(target.dtype) is not spec.dtype:
            raise DtypeError(f"out for {spec.name!r} has the wrong dtype", expected=spec.dtype, found=target.dtype)

    def bind(self, /, *args: Any, graph: bool = False, **kwargs: Any) -> BoundCall:
        """Fix the input arrays; returns a callable without arguments that runs on what they hold at each call.

        The result is in the same arrays at each call, and the next one overwrites them. With `graph=True` a call is one
        replay of a CUDA graph. Bind again for arrays of another shape or at another place.
        """
        raise NotImplementedError

    def context(self, shared_memory: bool = False, **options: Option) -> Engine:
        """An execution context of its own over the same weights: called as the engine is; one for each thread.

        Args:
            shared_memory: whether its scratch memory is the one block that all such contexts of this engine share;
                their calls then run one after the other.
            options: those of `RunOptions` that contexts have, like persistent_cache_limit; the engine's unless given.
        """
        raise NotImplementedError

    @property
    def debug_tensors(self) -> tuple[str, ...]:
        """The module paths of the tensors that `set_debug_listener` can show."""
        return tuple(path for paths in self._debug_paths.values() for path in paths)

    def set_debug_listener(self, listener: Listener | None, tensors: str | Iterable[str] = "*") -> None:
        """Have tensors inside shown at every call from now on, of contexts and bound calls, too; None: no more.

        `listener(path, array)` is called during the call, which waits for the GPU: with the module path, and a NumPy
        array of its own. What it raises, the call raises. It must not call the engine. Calls that replay a CUDA graph
        raise ProviderError while there is a listener.

        Args:
            listener: the function.
            tensors: module paths of `build(debug_tensors=...)`, or patterns over them.

        Raises ArgumentError for a path that was not named there.
        """
        raise NotImplementedError

    def warmup(self) -> None:
        """Run once at the Dims' opt sizes, so that the first call of a user need not load and set up everything."""
        sizes = {name: dim.opt for name, dim in self.graph.dims.items()}
        self(*[np.zeros([dims.evaluate(s, sizes) for s in spec.shape], spec.dtype.numpy) for spec in self.inputs])

    def close(self) -> None:
        """Wait for what is running, and free what the engine holds. A closed engine raises at its next use.

        Not for signal handlers: one that interrupts a call of this engine would wait for it for ever.
        """
        self.closed = self.closed or "it was closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def closed_error(self) -> EngineError:
        """The error of a use after `close`."""
        return EngineError(
            f"this engine cannot be used any more: {self.closed}",
            expected="an open engine",
            found=repr(self),
            remedy="build or load it again"
            + (" in this process (multiprocessing: start method 'spawn')" if "fork" in str(self.closed) else ""),
        )

    def __reduce__(self) -> NoReturn:
        raise EngineError(
            "an engine cannot be pickled or copied",
            expected="files, or one engine for each process",
            found=repr(self),
            remedy="engine.save(path), and trtnet.load(path) in the other process",
        )

    def _ordered(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        names = self._input_names
        if not kwargs and len(args) == len(names):
            return list(args)
        if len(args) + len(kwargs) == len(names):
            try:
                return [*args, *(kwargs[name] for name in names[len(args) :])]
            except KeyError:
                pass
        given = [*names[: len(args)], *kwargs]
        raise ArgumentTypeError(
            "these are not the engine's inputs",
            expected=", ".join(names),
            found=", ".join(given) + (f" and {len(args) - len(names)} more" if len(args) > len(names) else "")
            or "none",
            remedy="engine(" + ", ".join(f"{name}=array" for name in names) + ")",
        )

    def _run(self, values: list[Any], sizes: dict[str, int]) -> tuple[list[Any], Revision]:
        """Outputs as torch tensors of the caller's own, from checked NumPy arrays or torch tensors, and the weights'
        revision that they were computed with."""
        raise NotImplementedError

    def _check(self, values: list[Any]) -> dict[str, int]:
        """Dtypes at every call, shapes at the first with those shapes; the sizes of the Dims."""
        for spec, value in zip(self.inputs, values):
            if value.dtype != spec.dtype.numpy and _known(value.dtype) is not spec.dtype:
                raise DtypeError(
                    f"input {spec.name!r} has the wrong dtype",
                    expected=spec.dtype.name,
                    found=str(_known(value.dtype) or value.dtype),
                    remedy=f"array.astype(numpy.{spec.dtype.name}), or tensor.to(torch.{spec.dtype.name})",
                )
        shapes = tuple([tuple(value.shape) for value in values])
        sizes = self._sizes.get(shapes)
        if sizes is None:
            sizes = remember(self._sizes, shapes, self.graph.bind(dict(zip(self._input_names, shapes))))
        return sizes

    # --- weights

    def refit(
        self,
        state_dict: Source,
        *,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
        finite: str | None = "warn",
        fresh_contexts: bool = False,
        version: int | None = None,
        verify: bool = False,
    ) -> RefitReport:
        """Give the engine new weights by parameter name; a subset is enough. All or nothing.

        Values that the engine has already are found, and cost no more than finding them. So a whole state_dict may be
        given where some parameters are fixed (`build(refit=[patterns])`), or frozen, and have the values in it. Ctrl-C
        is heard before or after the change, never in the midst of it.

        Args:
            state_dict: arrays or torch tensors by `state_dict` key, or what holds them: a module, torch's or trtnet's;
                pairs of name and value; dicts in dicts (TensorDict); the path of a weights file; an open
                `safetensors.safe_open`. fp64, fp32, fp16 and bf16 convert. DTensors are gathered, so that every rank
                must refit. Of a torch module, parametrized weights are read as in evaluation.
            prefix: selects the keys that begin with it, and strips it; all others are somebody else's. `module.` of
                DistributedDataParallel and `_orig_mod.` of torch.compile are seen through without it, at any depth.
            select: patterns over the names behind prefix and rename; all others are somebody else's.
            rename: new names by old ones (an old one that ends in "." renames the beginning of names), or a function
                that gives the new name, or None to leave a value out.
            finite: what NaN and infinity do: "warn" (CUDA tensors are not looked at), "raise" or None (not looked for).
            fresh_contexts: make all execution contexts and CUDA graphs anew, as the documentation of TensorRT 8.6
                asks; tests found no difference on 8.6, so they are kept unless this is said.
            version: the trainer's number of these weights, for `engine.version` and calls `with_version`. Any whole
                number; `report.went_back` says whether it is lower than the one before.
            verify: read back what the engine holds, and compare it with what was given, byte by byte. TensorRT gives no
                weights back: its engines raise ProviderError.

        Raises:
            WeightsError, DtypeError: before anything is changed, or with the old weights back in place. So for values
                that a layer does not take: the scales of a quantization that are not positive and finite, indices
                beyond their table. CUDA tensors are not looked at for these: that would wait for the GPU.
            EngineError: the engine holds other values than it was given (`verify`); the old weights are back.
        """
        selection = Selection.of(prefix, select, rename)
        return self._refit_with(Refit(state_dict, selection, finite, fresh_contexts, number(version), bool(verify)))

    def _refit_with(
        self,
        asked: Refit,
        beside: Callable[[set[str]], dict[str, Any]] | None = None,
        before: Revision | None = None,
    ) -> RefitReport:
        """A refit, in which `beside` gives further values, by the parameters' own names, to those that are given.

        `before` is the revision that it follows: this engine's own at that moment, unless given.
        """
        started = time.perf_counter()
        if self.closed:
            raise self.closed_error()
        self._check_asked(asked)
        parameters = self.graph.parameters
        given = named_values(asked.source, parameters, asked.selection, buffers=self.refittable | self.live)
        matched = self._fitting(given, asked, "the weights given to refit")
        checked = time.perf_counter() - started
        values = {parameters[name].name: value for name, value in matched.values.items()}
        self.graph.check_values(values, self.parameters)
        if beside is not None and (further := beside(set(values))):
            if self._looks_while_copying:  # at what is given alone
                self._tell_nonfinite(matched.values, asked.finite)
                asked = asked._replace(finite=None)
            values |= further
        report = self._refit(values, asked, before)
        report.given = list(matched.values)
        same = set(report.unchanged)  # by the parameters' own names; a tied one may have been given by another
        report.unchanged = [name for name in report.given if parameters[name].name in same]
        report.converted = matched.converted
        report.times["check"] = checked
        report.seconds = time.perf_counter() - started
        return report

    def _fitting(self, given: Named, asked: Refit, text: str) -> Matched:
        """Given values that fit, and that this engine takes."""
        matched = match(
            self.graph.parameters, given.values, partial=True, selection=asked.selection, flat=given.flat,
            source=given.text or text,
        )  # fmt: skip
        fixed = [name for name in matched.values if name not in self.refittable and name not in self.live]
        if other := [name for name in fixed if not self._has_fixed(name, matched.values[name])]:
            raise WeightsError(
                "these weights were fixed when the engine was built, and other values are given",
                expected="some of " + ", ".join(sorted(self.refittable)[:8])
                if self.refittable
                else "none: it was built without refit",
                found=", ".join(other[:8]),
                remedy="build(graph, refit=True), or refit=[patterns] that match these names",
            )
        for name in fixed:  # of equal value: nothing to do
            del matched.values[name]
            matched.converted.pop(name, None)
        if not self._looks_while_copying:
            self._tell_nonfinite(matched.values, asked.finite)
        return matched

    @staticmethod
    def _tell_nonfinite(values: Mapping[str, Any], finite: str | None) -> None:
        if finite is not None:
            tell_nonfinite([name for name, value in values.items() if is_nonfinite(value, finite)], finite)

    def _has_fixed(self, name: str, value: Any) -> bool:
        """Whether a parameter that was fixed is known to have these bytes, or no output depends on it; never in an
        engine in which nothing can be changed."""
        if not (self.refittable or self.live):
            return False
        own = self.graph.parameters[name].name
        held = self._fixed_value(own)
        if held is not None and equal_bytes(as_array(held), as_array(value)):
            return True
        return own not in used_by(self.graph)

    def _fixed_value(self, name: str) -> Any:
        """The value of a parameter, by its own name, that was fixed; None where only the plan has it."""
        raise NotImplementedError

    def _refit(self, values: dict[str, Any], asked: Refit, before: Revision | None) -> RefitReport:
        """Change the weights and the revision, as one, to that which follows `before`, or the present one."""
        raise NotImplementedError

    def bind_weights(
        self,
        weights: Source,
        *,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Read the live parameters where a trainer keeps them: what it writes there, the next call uses.

        Args:
            weights: a torch.nn.Module, a state_dict, pairs, or dicts in dicts; their tensors have the parameters'
                shapes and dtypes, are contiguous and on the engine's device. Their memory is kept alive.
            prefix, select, rename: as `refit`'s.

        Raises:
            WeightsError: the engine has no live weights, a name is missing, or a tensor does not fit. Values that a
                layer does not take (see `refit`) are refused when tensors on the CPU are bound; what is written to
                them later is not looked at, and CUDA tensors are not.
        """
        self._bind_weights(weights, Selection.of(prefix, select, rename))

    def update(
        self,
        *,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
        finite: str | None = "warn",
        fresh_contexts: bool = False,
        version: int | None = None,
        complete: bool = False,
    ) -> Update:
        """New weights as they arrive, one by one; all or none become the engine's at the end of the block.

        Each goes into the engine's own next copy at once, so that what was given may be freed or overwritten, and calls
        go on with the old weights meanwhile. An exception in the block leaves the engine as it was. While an update is
        open, another one, `refit`, `restore` and `bind_weights` are refused. The arguments are `refit`'s, and with
        `complete=True` the block fails unless every weight was put that can be refitted, that the network uses, that a
        `state_dict` holds, and that `select=` means: a sender that ends early, and says nothing, then changes nothing.

        >>> net = nn.Linear(3, 4)
        >>> engine = trtnet.reference(trtnet.record(net, input=Input((2, 3))))
        >>> with engine.update() as update:
        ...     for name, value in net.state_dict().items():  # from a socket, a stream, a file
        ...         update.put(name, value + 1)
        ...     update.version = 17
        >>> update.report.version, engine.generation
        (17, 1)
        """
        selection = Selection.of(prefix, select, rename)
        asked = Refit((), selection, finite, fresh_contexts, number(version))
        self._check_asked(asked)
        return Update(self, asked, complete)

    @staticmethod
    def _check_asked(asked: Refit) -> None:
        if asked.finite not in ("warn", "raise", None):
            raise ArgumentTypeError(
                "finite is none of the known ones", expected="'warn', 'raise' or None", found=repr(asked.finite)
            )

    def _receive(self, update: Update) -> Incoming:
        """The engine's own next copy of weights; nobody else changes any until the update is over."""
        raise NotImplementedError

    def _adopt(self, incoming: Incoming, asked: Refit, before: Revision | None = None) -> RefitReport:
        """Make what was received the present weights."""
        raise NotImplementedError

    def _begin(self, update: Update) -> None:
        """From now on this update is the open one. Raises EngineError where there is one. The lock is held."""
        self._require_no_update()
        self._updating, update.open = weakref.ref(update), True

    def _require_no_update(self) -> None:
        """Raises EngineError while an update is open."""
        found = None if self._updating is None else self._updating()
        if found is not None and found.open:
            raise EngineError(
                "an update of this engine is open, and weights are changed by one at a time",
                expected="no open update",
                found=f"one with {len(found.given)} weights so far",
                remedy="put these weights into that update, or wait until its with block is over",
            )

    def _bind_weights(self, weights: Source, selection: Selection) -> None:
        raise NotImplementedError

    def _bound_tensors(self) -> Mapping[str, Any]:
        """The trainer's tensors that are bound, by the parameters' own names."""
        return {}

    def parameters(self) -> dict[str, np.ndarray]:
        """Present values of the parameters that the network uses, by `state_dict` key; copies."""
        raise NotImplementedError

    @property
    def weights(self) -> WeightTable:
        """Each parameter, the engine weights that come from it, and whether they can be changed, and why."""
        raise NotImplementedError

    def clone(self) -> Engine:
        """Another engine of the same network, with the present weights. It has no debug listener: that is this
        engine's own."""
        raise NotImplementedError

    def save(self, path: str | PathLike[str], weights: bool = True) -> Path:
        """Write `path`, its manifest and, where anything can be refitted, present weights.

        `path` ends in `.engine` or `.trt`. With `weights=False` a loaded engine takes only complete refits. A crash
        leaves the old engine or the new one.
        """
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """The engine's weights as they are now, for `restore`."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot) -> None:
        """Bring back the weights of a snapshot of this engine, bit for bit."""
        raise NotImplementedError

    def keep_checked(self, figures: Checked) -> None:
        """Keep what the comparison with the reference found."""
        self.checked = figures

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """What refits inside do is undone at the end, bit for bit, and not counted."""
        snapshot, revision = self.snapshot(), self.revision
        try:
            yield
        finally:
            self.restore(snapshot)
            self.revision = revision

    def _snapshot(self, weights: Any) -> Snapshot:
        return Snapshot(self._identity, self._structure_hash(), self.revision, weights)

    def _structure_hash(self) -> str:
        if self._structure is None:
            self._structure = self.graph.structure_hash()
        return self._structure

    def _check_snapshot(self, snapshot: Snapshot) -> None:
        expected, found, remedy = "what engine.snapshot() gave", type(snapshot).__name__, None
        if isinstance(snapshot, Snapshot):
            if (snapshot.engine, snapshot.structure) == (self._identity, self._structure_hash()):
                return
            remedy = "engine.refit(other.parameters()) gives it the weights of another engine of this structure"
            found = "one of another engine of this structure"
            if snapshot.structure != self._structure_hash():
                expected, found = f"structure {self._structure_hash()[:16]}", f"structure {snapshot.structure[:16]}"
                remedy = "engine.save(path) and trtnet.load(path) keep an engine with its network"
        raise ArgumentTypeError("this is no snapshot of this engine", expected=expected, found=found, remedy=remedy)

    def inspect(self) -> dict[str, Any]:
        """What the engine was made of: {"Layers": [...], "Bindings": [...]}, as TensorRT's engine inspector says it.

        Layers are names unless a TensorRT engine was built with `profiling_verbosity="detailed"`; then each has its
        inputs' and outputs' formats and types, and its kernel. The reference engine runs the recorded layers.
        """
        raise NotImplementedError

    def memory(self) -> Memory:
        """What the engine takes of the device's memory and of the host's, as far as it is known; prints as a table.

        >>> graph = trtnet.record(nn.Linear(3, 4), input=Input((2, 3)))
        >>> trtnet.reference(graph).memory().weights
        64
        """
        raise NotImplementedError

    def lowered(self) -> Graph:
        """The graph of the layers that the engine was made of: `graph.for_provider` of its provider."""
        return self.graph

    def draw(
        self,
        path: str | PathLike[str] | None = None,
        depth: int | None = None,
        *,
        color: str | None = None,
        times: LayerTimes | None = None,
    ) -> str:
        """Draw the engine's layers, with those in them that were recorded: as `graph.draw` does, with `engine=` this.

        `engine.draw("net.html", times=engine.profile(x))` colors them by the time that they take.

        >>> engine = trtnet.reference(trtnet.record(nn.Linear(3, 4), input=Input((2, 3))))
        >>> "fully_connected" in engine.draw()
        True
        """
        return self.graph.draw(path, depth=depth, color=color, engine=self, times=times)

    def _repr_html_(self) -> str:
        return self.graph._repr_html_(self)

    def profile(self, /, *args: Any, calls: int = CALLS, **kwargs: Any) -> LayerTimes:
        """How long each layer takes in a call on these inputs: in each of `calls`, after one that sets up.

        TensorRT says the times itself, of its own, fused layers; each row has the module and the source line of what it
        was made of. While they are taken, layers do not overlap, and each call waits for its end. An input that is
        called "calls" is given by its place.

        >>> graph = trtnet.record(nn.Linear(3, 4), input=Input((2, 3)))
        >>> times = trtnet.reference(graph).profile(np.zeros((2, 3), "float32"))
        >>> [layer.name for layer in times.layers]
        ['fully_connected']
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        inputs = ", ".join(f"{s.name}={format_shape(s.shape)}" for s in self.inputs)
        outputs = ", ".join(f"{s.name}={format_shape(s.shape)}" for s in self.outputs)
        return f"{type(self).__name__}({inputs} -> {outputs})"


def is_nonfinite(value: Any, finite: str) -> bool:
    """Whether a given value holds NaN or infinity, as far as it is to be looked at."""
    if isinstance(value, np.ndarray):
        return nonfinite(value)
    if not value.is_floating_point() or (value.is_cuda and finite == "warn"):  # to look there takes time
        return False
    # a sum is read in half the time, and is finite only where all are
    return not math.isfinite(value.sum()) and not bool(value.isfinite().all())


def tell_nonfinite(names: list[str], finite: str) -> None:
    """Of given values that hold NaN or infinity: warn, or raise WeightsError."""
    if names and finite == "raise":
        raise WeightsError(
            "these weights hold NaN or infinity",
            expected="finite numbers",
            found=", ".join(names),
            remedy="find out where they come from, or refit(..., finite=None)",
        )
    warn_of(names)


def _known(dtype: DtypeLike | None) -> Dtype | None:
    try:
        return dtypes.get(dtype)
    except DtypeError:
        return None
