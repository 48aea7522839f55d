"""Modules and parameters in sequences and dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from textwrap import indent
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar, overload

from ..basics.errors import ArgumentTypeError, NameNotFoundError, ShapeError
from ..graph.tensor import Array, Parameter
from .module import Module

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]

S = TypeVar("S", bound="_Sequence")


def _position(index: SupportsIndex, length: int) -> int:
    if not hasattr(index, "__index__"):
        raise ArgumentTypeError("an index is a whole number or a slice", found=repr(index))
    number = index.__index__()
    if not -length <= number < length:
        raise IndexOutOfRange(f"there is no module {number}", expected=f"{-length} to {length - 1}", found=number)
    return number % length


class IndexOutOfRange(ShapeError, IndexError):
    """An index that a container has not."""


class _Sequence(Module):
    """What Sequential and ModuleList share: children named "0", "1", ... in order."""

    _modules: dict[str, Any]

    def _name(self, index: SupportsIndex) -> str:
        return list(self._modules)[_position(index, len(self))]

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        self._modules.clear()
        for number, module in enumerate(modules):
            self.add_module(str(number), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __contains__(self, module: object) -> bool:
        return any(module is m for m in self._modules.values())

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self: S, index: slice) -> S: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Module:
        if isinstance(index, slice):
            return self._sliced(list(self._modules.items())[index])
        return self._modules[self._name(index)]

    def _sliced(self: S, items: list[tuple[str, Module]]) -> S:
        raise NotImplementedError

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            del self._modules[name]
        self._renumber(self._modules.values())

    def append(self: S, module: Module) -> S:
        self.add_module(str(len(self)), module)
        return self

    def extend(self: S, modules: Iterable[Module]) -> S:
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: S, index: int, module: Module) -> S | None:
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def pop(self, index: SupportsIndex = -1) -> Module:
        module = self[index]
        del self[index]
        return module


class Sequential(_Sequence):
    """Modules, one after the other, each called with what the one before gave.

    Args:
        *args: modules, named "0", "1", …; or one dict of them, with its names.

    Shape: what the first takes, what the last gives.
    Layers: the modules' own.

    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> len(net), net[-1]
    (3, Linear(in_features=16, out_features=3, bias=True))
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for number, module in enumerate(args):
                self.add_module(str(number), module)

    def _sliced(self, items: list[tuple[str, Module]]) -> Self:
        return type(self)(dict(items))

    def __add__(self, other: Iterable[Module]) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


class ModuleList(_Sequence):
    """Modules in a list, named "0", "1", …; `forward` of the module that holds it calls them.

    Args:
        modules: any iterable of modules.

    Shape: it is not called itself: ArgumentTypeError.
    Layers: none.

    >>> blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)]).append(nn.ReLU())
    >>> [name for name, _ in blocks.named_children()]
    ['0', '1', '2']
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _sliced(self, items: list[tuple[str, Module]]) -> Self:
        return type(self)(module for _, module in items)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def insert(self, index: int, module: Module) -> None:
        super().insert(index, module)

    def __repr__(self) -> str:
        """Equal neighbours on one line, as torch prints them."""
        lines: list[tuple[int, int, str]] = []
        for number, module in enumerate(self):
            text = repr(module)
            if lines and lines[-1][2] == text:
                lines[-1] = (lines[-1][0], number, text)
            else:
                lines.append((number, number, text))
        shown = [f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}" for a, b, text in lines]
        return f"{self._get_name()}(\n{indent(chr(10).join(shown), '  ')}\n)" if shown else f"{self._get_name()}()"

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ArgumentTypeError(
            "a ModuleList cannot be called", remedy="call its modules: for module in self.blocks: x = module(x)"
        )


class ModuleDict(Module):
    """Modules by name; `forward` of the module that holds it calls them.

    Args:
        modules: a dict, or pairs of names and modules.

    Shape: it is not called itself: ArgumentTypeError.
    Layers: none.

    >>> heads = nn.ModuleDict({"policy": nn.Linear(8, 4), "value": nn.Linear(8, 1)})
    >>> list(heads), heads["value"]
    (['policy', 'value'], Linear(in_features=8, out_features=1, bias=True))
    """

    _modules: dict[str, Any]

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        if key not in self._modules:
            raise MissingKey(
                f"there is no module {key!r}", expected=", ".join(self._modules) or "no modules", found=key
            )
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._modules))

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        self._modules.clear()

    def pop(self, key: str) -> Module:
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Module]]:
        return self._modules.items()

    def values(self) -> Iterable[Module]:
        return self._modules.values()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        for name, module in modules.items() if hasattr(modules, "items") else modules:
            self[name] = module

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ArgumentTypeError("a ModuleDict cannot be called", remedy="call one of its modules: self.heads[name](x)")


class MissingKey(NameNotFoundError, KeyError):
    """A key that a container has not."""

    __str__ = NameNotFoundError.__str__


def _parameter(value: Any) -> Parameter | Module | None:
    return Parameter(value) if isinstance(value, Array) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """Parameters in a list, named "0", "1", …; arrays become parameters, other values stay as they are.

    Args:
        values: any iterable of parameters and arrays.

    Shape: it is not called itself: ArgumentTypeError.
    Layers: none.

    >>> scales = nn.ParameterList([trtnet.ones(3), trtnet.zeros(2)])
    >>> {name: scale.shape for name, scale in scales.named_parameters()}
    {'0': Size([3]), '1': Size([2])}
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(self._size)])

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(*index.indices(self._size))])
        return getattr(self, str(_position(index, self._size)))

    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        setattr(self, str(_position(index, self._size)), _parameter(value))

    def append(self, value: Any) -> ParameterList:
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    def extra_repr(self) -> str:
        return "\n".join(f"({i}): {value!r}" for i, value in enumerate(self))

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ArgumentTypeError("a ParameterList cannot be called")


class ParameterDict(Module):
    """Parameters by name; arrays become parameters, other values stay as they are.

    Args:
        parameters: a dict, or pairs of names and parameters.

    Shape: it is not called itself: ArgumentTypeError.
    Layers: none.

    >>> tokens = nn.ParameterDict({"class": trtnet.zeros(1, 8)})
    >>> tokens["class"].shape
    Size([1, 8])
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise MissingKey(
                f"there is no parameter {key!r}", expected=", ".join(self._keys) or "no parameters", found=key
            )
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys[key] = None
        setattr(self, key, _parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys))

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> Iterable[str]:
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        return [self[key] for key in self._keys]

    def items(self) -> Iterable[tuple[str, Any]]:
        return [(key, self[key]) for key in self._keys]

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        for name, value in parameters.items() if hasattr(parameters, "items") else parameters:
            self[name] = value

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._keys else default

    def pop(self, key: str) -> Any:
        value = self[key]
        del self[key]
        return value

    def extra_repr(self) -> str:
        return "\n".join(f"({key}): {value!r}" for key, value in self.items())

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ArgumentTypeError("a ParameterDict cannot be called")
