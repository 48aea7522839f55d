"""Module: the base of every network and layer, as torch.nn.Module."""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import Callable, Iterable, Iterator
from html import escape
from os import PathLike
from textwrap import indent
from typing import Any, NoReturn, SupportsIndex, TypeVar

import numpy as np

from ..basics import dtypes
from ..basics.dims import format_shape
from ..basics.errors import (
    ArgumentError,
    ArgumentTypeError,
    NameNotFoundError,
    TrtnetError,
    UnsupportedError,
    instead_of,
    wrong_arguments,
)
from ..basics.location import here
from ..basics.stacks import LEVELS, on_a_new_stack
from ..graph.tensor import Array, Buffer, DeviceLike, Parameter, current_recorder
from ..graph.training import Mode
from ..weights.files import write
from ..weights.matching import load_file, load_into
from ..weights.recipes import Leaf
from ..weights.sources import Rename, Selection, Source

M = TypeVar("M", bound="Module")


class Module:
    """Parameters, buffers and child modules by attribute; `forward` says what to record.

    Names, `state_dict` keys and behaviour follow torch.nn.Module. Calling a module records it inside `trtnet.record`;
    `training` is False there. Called on concrete arrays, elsewhere, it computes them by PyTorch.

    Shape: what `forward` takes and gives.
    Layers: what `forward` records.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.head = nn.Linear(8, 3)
    ...     def forward(self, x):
    ...         return self.head(x).softmax(-1)
    >>> graph = trtnet.record(Net(), x=Input((Dim("batch", max=64), 8)))
    >>> [layer.kind for layer in graph.layers], list(graph.parameters)
    (['fully_connected', 'softmax'], ['head.weight', 'head.bias'])
    """

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]

    _is_own = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._is_own = cls.__module__.startswith("trtnet.")

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls._is_own:
            try:
                _signature(cls).bind(None, *args, **kwargs)
            except TypeError as error:
                raise wrong_arguments(cls.__name__, _signature(cls), args, kwargs, error) from None
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__setattr__("_parameters", {})
        super().__setattr__("_buffers", {})
        super().__setattr__("_modules", {})
        super().__setattr__("_training", True)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...] | str:
        reduced = super().__reduce_ex__(protocol)
        if isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
            # copies are made without arguments, which __new__ would miss
            make, state = object.__new__, reduced[2] or {}
            if isinstance(state, dict) and (below := _deep_below(self)):
                state = {_BELOW: below, **state}
            return make, reduced[1], state, *reduced[3:]
        return reduced

    def __setstate__(self, state: Any) -> None:
        state, slots = state if isinstance(state, tuple) else (state, None)
        self.__dict__.update(state or {})
        self.__dict__.pop(_BELOW, None)
        for name, value in (slots or {}).items():
            object.__setattr__(self, name, value)

    forward: Callable[..., Any]

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        recorder = current_recorder.get()
        if recorder is None:
            if "_modules" not in self.__dict__:
                raise _not_initialized(self)
            from ..pytorch.eager import call, has_arrays  # the one door up (tests/test_imports.py)

            if has_arrays((*args, *kwargs.values())):
                return call(self, args, kwargs)
            raise ArgumentTypeError(
                f"{type(self).__name__} was called outside a recording",
                expected="to be called inside trtnet.record",
                found=f"{type(self).__name__}({', '.join(type(a).__name__ for a in args)})",
                remedy="graph = trtnet.record(module, x=Input(shape)); "
                "engine = trtnet.reference(graph); engine(x=array)",
            )
        outer, where, nested = recorder.path, recorder.where, recorder.nested
        path = recorder.paths.get(id(self))
        if path is None:  # a module that the recorded one does not own
            if "_modules" not in self.__dict__:
                raise _not_initialized(self)
            path = f"{outer}.{type(self).__name__}" if outer else type(self).__name__
        recorder.path = path
        if not self._is_own:
            recorder.where = None
        elif where is None:
            recorder.where = here()
        recorder.nested = nested = nested + 1
        try:
            if nested % LEVELS == 0:
                return on_a_new_stack(self.forward, *args, **kwargs)
            return self.forward(*args, **kwargs)
        except TrtnetError as error:
            if error.module is None:
                error.module = f"{path} ({type(self).__name__})" if path else type(self).__name__
            raise
        finally:
            recorder.path, recorder.where, recorder.nested = outer, where, nested - 1

    # --- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if "_modules" not in own:
            if isinstance(value, (Parameter, Module)):
                raise _not_initialized(self)
            return super().__setattr__(name, value)
        if name in _STORES and not isinstance(value, dict):
            raise _taken(self, name)
        if isinstance(value, Buffer):
            self._remove(name, self._buffers)
            self._buffers[name] = value
        elif isinstance(value, Parameter):
            self._remove(name, self._parameters)
            self._parameters[name] = value
        elif isinstance(value, Module):
            self._remove(name, self._modules)
            self._modules[name] = value
        elif name in self._buffers and (value is None or isinstance(value, Array)):
            old = self._buffers[name]
            self._buffers[name] = None if value is None else Buffer(value, persistent=old is None or old.persistent)
        elif name in self._parameters or name in self._modules:
            if value is not None:
                raise ArgumentTypeError(
                    f"{name!r} is a {'parameter' if name in self._parameters else 'module'} of {type(self).__name__}",
                    expected="a Parameter, a Module or None",
                    found=type(value).__name__,
                    remedy="wrap it: trtnet.nn.Parameter(value)",
                )
            (self._parameters if name in self._parameters else self._modules)[name] = None
        else:
            old = own.get(name, self._buffers.get(name))
            if isinstance(old, Array) and (current := current_recorder.get()) is not None:
                current.replaced.append((self, name, old))
            super().__setattr__(name, value)

    def _remove(self, name: str, keep: Any = None) -> None:
        """Forget the name, except in the store that keeps its place in the order."""
        for store in (self._parameters, self._buffers, self._modules, self.__dict__):
            if store is not keep:
                store.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own and (
            name in (store := own["_parameters"])
            or name in (store := own["_modules"])
            or name in (store := own["_buffers"])
        ):
            return store[name]
        if name.startswith("__"):
            raise AttributeError(name)
        if "_modules" not in own:
            raise _not_initialized(self)
        names = [*self._parameters, *self._buffers, *self._modules, *vars(self), *vars(type(self))]
        raise NameNotFoundError(
            f"{type(self).__name__!r} object has no attribute {name!r}",
            expected="an attribute, parameter, buffer or module of it",
            found=name,
            remedy=instead_of(name, [n for n in names if not n.startswith("_")])
            or f"set it in {type(self).__name__}.__init__",
        )

    def __delattr__(self, name: str) -> None:
        for store in (self._parameters, self._buffers, self._modules):
            if name in store:
                del store[name]
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        self._check_name(name, self.__dict__.get("_parameters"))
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(
                "only a Parameter can be registered", expected="Parameter or None", found=type(param)
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        self._check_name(name, self.__dict__.get("_buffers"))
        if tensor is not None and not isinstance(tensor, (Array, np.ndarray)):
            raise ArgumentTypeError("only an array can be a buffer", expected="an array or None", found=type(tensor))
        self._buffers[name] = None if tensor is None else Buffer(tensor, persistent=persistent)

    def add_module(self, name: str, module: Module | None) -> None:
        self._check_name(name, self.__dict__.get("_modules"))
        if module is not None and not isinstance(module, Module):
            raise ArgumentTypeError("only a Module can be added", expected="Module or None", found=type(module))
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, name: str, keep: Any = None) -> None:
        if "_modules" not in self.__dict__:
            raise _not_initialized(self)
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentTypeError("a name must be a string without dots", found=repr(name))
        if name in _STORES:
            raise _taken(self, name)
        if hasattr(type(self), name):
            raise ArgumentTypeError(f"attribute {name!r} exists already in {type(self).__name__}")
        self._remove(name, keep)

    # --- walking

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Path and module, this one (path '') first, each module once, or once for each of its paths."""
        memo = set() if memo is None else memo
        above: set[int] = set()  # the modules that hold the present ones
        levels: list[tuple[int, str, Iterator[tuple[str, Module | None]]]] = [(0, "", iter(((prefix, self),)))]
        while levels:
            holder, start, children = levels[-1]
            for name, module in children:
                key = id(module)
                if module is None or key in memo:
                    continue
                path = start + name
                if remove_duplicate:
                    memo.add(key)
                elif key in above:
                    raise _holds_itself(module, path)
                yield path, module
                if module._modules:
                    above.add(key)
                    levels.append((key, f"{path}." if path else "", iter(list(module._modules.items()))))
                    break
            else:  # all that it holds were given
                levels.pop()
                above.discard(holder)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def _named(self, store: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, owner in owners:
            for name, value in getattr(owner, store).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise NameNotFoundError(f"{type(module).__name__} has no submodule {name!r}", found=target)
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise NameNotFoundError(f"there is no parameter {target!r}")
        return found

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module, children first; return this one."""
        waiting: list[tuple[Module, bool]] = [(self, False)]
        above: set[int] = set()
        while waiting:
            module, left = waiting.pop()
            if left:
                above.discard(id(module))
                fn(module)
                continue
            if id(module) in above:
                raise _holds_itself(module, "")
            above.add(id(module))
            waiting.append((module, True))
            waiting += [(child, False) for child in reversed(list(module.children()))]
        return self

    # --- mode and types

    @property
    def training(self) -> bool:
        """Whether it is in training mode; false while recording, and then only to be passed on."""
        current = current_recorder.get()
        if current is None:
            return self._training
        return Mode(current.paths.get(id(self), current.path))  # type: ignore[return-value]

    @training.setter
    def training(self, mode: bool) -> None:
        super().__setattr__("_training", bool(mode))

    def train(self: M, mode: bool = True) -> M:
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert floating-point parameters and buffers to a dtype; a device means nothing here and is accepted."""
        wanted = kwargs.get("dtype")
        for argument in args:
            if (
                isinstance(argument, dtypes.dtype)
                or (type(argument).__module__ == "torch" and "dtype" in type(argument).__name__)
                or (isinstance(argument, str) and argument in dtypes._BY_NAME)
            ):
                wanted = argument
            elif isinstance(argument, Array):
                wanted = argument.dtype
        if wanted is None:
            return self
        dtype = dtypes.for_network(wanted, "a module")
        if not dtype.is_floating_point:
            raise ArgumentTypeError("a module can only be converted to a floating-point type", found=dtype.name)
        for module in self.modules():
            for store in (module._parameters, module._buffers):
                for value in store.values():
                    if value is not None and value.dtype.is_floating_point and value.dtype is not dtype:
                        value.convert(dtype)
        return self

    def half(self: M) -> M:
        return self.to(dtypes.float16)

    def float(self: M) -> M:
        return self.to(dtypes.float32)

    def bfloat16(self: M) -> M:
        return self.to(dtypes.bfloat16)

    def double(self) -> Any:
        return self.to(dtypes.float64)

    def cuda(self: M, device: DeviceLike | None = None) -> M:
        return self

    def cpu(self: M) -> M:
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: trtnet parameters have no gradients; train `trtnet.to_torch(graph)`."""

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedError("hooks are not recorded", remedy="write it in forward")

    register_forward_pre_hook = register_full_backward_hook = register_forward_hook

    def _register_load_state_dict_pre_hook(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: keys are taken as they are. Rename old keys before they come here."""

    _register_state_dict_hook = register_load_state_dict_post_hook = register_load_state_dict_pre_hook = (
        _register_load_state_dict_pre_hook
    )

    # --- weights

    def _leaves(self) -> dict[str, Leaf]:
        """The parameters and buffers by key, as the loader takes them; a tied one is one Leaf."""
        leaves: dict[int, Leaf] = {}
        named: dict[str, Leaf] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            for store in (module._parameters, module._buffers):
                for name, value in store.items():
                    if value is None:
                        continue
                    key = f"{path}.{name}" if path else name
                    if id(value) not in leaves:
                        leaves[id(value)] = value.leaf(key)
                    named[key] = leaves[id(value)]
        return named

    def state_dict(self, prefix: str = "", **kwargs: Any) -> dict[str, np.ndarray]:
        """Every parameter and persistent buffer as a NumPy array, by torch's keys. Nothing is copied."""
        return {prefix + name: leaf.value.read() for name, leaf in self._leaves().items() if leaf.persistent}

    def load_state_dict(
        self,
        state_dict: Source,
        strict: bool = True,
        assign: bool = False,
        *,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
    ) -> Any:
        """Take values by key, from NumPy arrays, Arrays or torch tensors.

        Args:
            state_dict: values by key, or what holds them: a module, torch's or trtnet's; pairs; dicts in dicts; a path;
                an open `safetensors.safe_open`. fp64, fp32, fp16 and bf16 convert to the parameter's dtype.
            strict: whether missing and unknown keys raise.
            assign: take arrays that need no change as they are, as torch does. Else they are copied, unless they are
                read-only, as those of a mapped file are.
            prefix: selects the keys that begin with it, and strips it; all others are somebody else's. `module.` of
                DistributedDataParallel and `_orig_mod.` of torch.compile are seen through without it, at any depth.
            select: patterns over the names behind prefix and rename; all others are somebody else's.
            rename: new names by old ones (an old one that ends in "." renames the beginning of names), or a function
                that gives the new name, or None to leave a value out.

        Returns:
            A named tuple (missing_keys, unexpected_keys, converted).

        Raises:
            WeightsError: extra, missing and misshapen names, with the nearest name of each. Nothing is changed then.
        """
        leaves = self._leaves()
        report = load_into(
            leaves, state_dict, assign=assign, strict=strict, selection=Selection.of(prefix, select, rename)
        )
        self._take(leaves)
        return report

    def _take(self, leaves: dict[str, Leaf]) -> None:
        for path, module in self.named_modules(remove_duplicate=False):
            for store in (module._parameters, module._buffers):
                for name, value in store.items():
                    if value is not None:
                        value.hold(leaves[f"{path}.{name}" if path else name].value)

    def load_weights(
        self: M,
        path: str | PathLike[str],
        strict: bool = True,
        *,
        mmap: bool = True,
        prefix: str = "",
        select: str | Iterable[str] | None = None,
        rename: Rename | None = None,
    ) -> M:
        """Load `.safetensors` (memory-mapped), `.npz`, `.pt` or `.wts`; returns the module.

        `prefix`, `select` and `rename` are `load_state_dict`'s.

        The file is mapped and read when values are needed: by `state_dict`, `save_weights`, `graph.lower`, `build`,
        `build_plan`, `reference` and `to_torch`, whose results have copies. One that is changed in place before gives
        undefined values, or a SIGBUS where it was made shorter; `mmap=False` copies at once.
        """
        leaves = self._leaves()
        load_file(leaves, path, strict=strict, mmap=mmap, selection=Selection.of(prefix, select, rename))
        self._take(leaves)
        return self

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Write the `state_dict` as `.safetensors`, `.npz`, `.pt` or `.wts`, by the path's suffix."""
        write(path, self.state_dict())

    # --- printing

    def extra_repr(self) -> str:
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines: list[str] = []
        waiting: list[tuple[str, Module | None, str]] = [("", self, "")]
        while waiting:
            margin, module, label = waiting.pop()
            if module is None:  # a line as it is
                lines.append(margin + label)
            elif type(module).__repr__ is not Module.__repr__:
                lines.append(indent(f"{label}{module!r}", margin))
            elif not module._modules:
                lines.append(indent(f"{label}{module._get_name()}({module.extra_repr()})", margin))
            else:
                lines.append(f"{margin}{label}{module._get_name()}(")
                if extra := module.extra_repr():
                    lines.append(indent(extra, margin + "  "))
                waiting.append((margin, None, ")"))
                for name, child in reversed(module._modules.items()):
                    waiting.append((margin + "  ", child, f"({name}): " if child is not None else f"({name}): None"))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """In a notebook: the modules as boxes that open and close, with their parameters and buffers."""
        parts: list[str] = []
        waiting: list[tuple[str, Module | None]] = [("", self)]
        while waiting:
            name, module = waiting.pop()
            if module is None:
                parts.append(name)
                continue
            children = [(key, child) for key, child in module._modules.items() if child is not None]
            own = "".join(
                f"<br>{escape(key)} {escape(format_shape(one.shape))}"
                for key, one in (*module._parameters.items(), *module._buffers.items())
                if one is not None
            )
            called = escape(f"{module._get_name()}({module.extra_repr()})")
            line = f"<b>{escape(name)}</b> {called}{own}"
            if not children:
                parts.append(f'<div style="{_BOX}">{line}</div>')
                continue
            parts.append(f'<details style="{_BOX}"{" open" * (module is self)}><summary>{line}</summary>')
            waiting += [("</details>", None), *reversed(children)]
        return "".join(parts)


_BOX = "margin: 2px 0 2px 16px; padding: 2px 8px; border: 1px solid #ccc; border-radius: 5px; font-size: 13px"
_BELOW = "_deep_below"


def _deep_below(module: Module) -> tuple[Module, ...]:
    """The modules that lie 32 levels below, if any. They stand first in what is copied or pickled: either nests six
    frames and more for each level that was not copied yet."""
    level, seen = [module], {id(module)}
    for _ in range(32):
        below = [child for parent in level for child in parent.children() if id(child) not in seen]
        if not below:
            return ()
        seen.update(map(id, below))
        level = list({id(child): child for child in below}.values())
    return tuple(level)


def _holds_itself(module: Module, path: str) -> TrtnetError:
    return ArgumentError(
        f"this {type(module).__name__} holds itself, so that its paths have no end",
        expected="modules that hold others",
        found=path[:80] or None,
        remedy="keep the reference in a list or tuple: self.parent = [module]",
    )


_STORES = ("_parameters", "_buffers", "_modules")


def _taken(module: Module, name: str) -> TrtnetError:
    return ArgumentTypeError(
        f"{name!r} is where {type(module).__name__} keeps its {name[1:]}",
        expected="another name",
        found=name,
        remedy=f"call it {name[1:-1]!r}",
    )


_signatures: dict[Any, inspect.Signature] = {}


def _signature(cls: type[Module]) -> inspect.Signature:
    found = _signatures.get(cls)
    if found is None:
        found = _signatures[cls] = inspect.signature(cls.__init__)
    return found


def _not_initialized(module: Module) -> TrtnetError:
    return NameNotFoundError(
        f"{type(module).__name__}.__init__ did not call super().__init__() first",
        expected="super().__init__() before anything is set",
        found=f"{type(module).__name__}.__init__ without it",
        remedy="begin __init__ with super().__init__()",
    )
