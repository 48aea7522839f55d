"""Plugins: layers that TensorRT does not have itself."""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..basics import dtypes as types
from ..basics.code import Code, source_of
from ..basics.dims import Size
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, require_function, shown
from ..graph.recorder import recorder
from ..graph.tensor import Array, Tensor
from ..layers import plugin as layers
from ..layers.constant import constant
from ..layers.targets import PluginField
from .module import Module


class Plugin(Module):
    """A layer of a plugin's: subclass it, and say what TensorRT is to call.

    The keywords of `super().__init__(...)` are its attributes: numbers, text, bytes, lists of numbers, NumPy arrays.
    They become the plugin's fields, converted to what its creator asks for, and are kept as long as the network lives.
    Parameters and buffers become constants and further inputs, behind those of the call in the order in which they were
    set: they refit by their `state_dict` keys and can be live.

    Attributes:
        creator, version, namespace: of TensorRT's plugin registry (`trtnet.plugins.available()` shows it). Without a
            creator there is the composition alone.
        library: the shared library that registers the creator: a path, which may be relative to the file of the class,
            or a name that is looked for there and on LD_LIBRARY_PATH. Not needed for TensorRT's own plugins, nor after
            `trtnet.plugins.load(path)`.
        reference_in: "torch", or "numpy" where `reference` computes NumPy arrays.

    Methods:
        shapes(self, *inputs): shape and dtype of the output, or a list of them. Each input is such a pair, with Dims
            where sizes are dynamic: `return x`, or `return (x.shape[0], 10), x.dtype`. What TensorRT says is compared.
        reference(self, *tensors): the same numbers in PyTorch (or NumPy), parameters behind the inputs; float64 there
            where the reference computes in it. `compose` takes its place where there is none.
        compose(self, *tensors): the same of trtnet's functions: what is recorded for a TensorRT that has no plugins, as
            TensorRT-RTX.

    A graph from a file, or unpickled, takes the class of that name, if that is the same one and its module is imported.

    Shape: what `shapes` says.
    Layers: one `plugin`, and a `constant` for each parameter.

    >>> class Scaled(trtnet.Plugin):
    ...     creator, version = "Scaled", "1"
    ...     def __init__(self, slope):
    ...         super().__init__(slope=slope)
    ...     def shapes(self, x):
    ...         return x
    ...     def reference(self, x):
    ...         return x * self.slope
    ...     def compose(self, x):
    ...         return x * self.slope
    >>> graph = trtnet.record(Scaled(0.5), x=Input((2, 3)))
    >>> graph.layers
    [Plugin(Scaled 1, slope=0.5)]
    """

    creator: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    namespace: ClassVar[str] = ""
    library: ClassVar[str | os.PathLike[str] | None] = None
    reference_in: ClassVar[str] = "torch"
    _digest: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        layers.definitions[cls.definition()] = cls

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        for name, value in fields.items():
            if hasattr(Plugin, name) or name in self.__dict__:
                raise ArgumentError(
                    f"{name!r} is a name that every plugin has itself",
                    expected="another attribute",
                    found=f"{name}={shown(value)}",
                    remedy="keep the value under another name, and give it to TensorRT under this one: "
                    "def fields(self): return {**super().fields(), ...}",
                )
            layers.field(name, value)
            setattr(self, name, value)
        self._fields = tuple(fields)

    def shapes(self, *inputs: Any, **named: Any) -> Any:
        """Shape and dtype of the output, or a list of such."""
        raise ArgumentError(
            f"{type(self).__name__} says no shapes",
            expected="def shapes(self, *inputs) in the class",
            remedy="def shapes(self, x): return x",
        )

    def reference(self, *tensors: Any, **named: Any) -> Any:
        """The output, in PyTorch or NumPy; a tuple where there are several."""
        raise NotImplementedError

    def compose(self, *tensors: Any, **named: Any) -> Any:
        """The output, by other layers; a tuple where there are several."""
        raise NotImplementedError

    def fields(self) -> Mapping[str, Any]:
        """The attributes that TensorRT's creator gets, by its own names."""
        return {name: getattr(self, name) for name in self._fields}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        own = (*self._parameters.values(), *self._buffers.values())
        return self.layer(*inputs, *named.values(), *(one for one in own if one is not None))

    def layer(self, *tensors: Any) -> Any:
        """Record the plugin's layer with these inputs: tensors, parameters, arrays."""
        if "_fields" not in self.__dict__:
            raise ArgumentError(
                f"{type(self).__name__} was not initialized",
                expected="super().__init__(...) first in its __init__",
                remedy="call it, with the plugin's attributes as keywords",
            )
        given = tuple([constant(t) if isinstance(t, (Array, np.ndarray)) else t for t in tensors])
        for one in given:
            if not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"the plugin {type(self).__name__} takes tensors",
                    expected="recorded tensors, parameters or arrays",
                    found=shown(one),
                    remedy="what is no tensor is an attribute: a keyword of super().__init__",
                )
        return recorder().emit(self._made(given))

    def _made(self, given: tuple[Tensor, ...]) -> layers.Plugin:
        """The layer of these inputs."""
        definition = self.definition()
        self._require_functions(given)
        shapes, dtypes = layers.outputs_of(self.shapes(*[Pair((t.shape, t.dtype)) for t in given]), definition)
        fields = tuple(layers.field(name, value) for name, value in self.fields().items())
        self._require_implementation(definition)
        code = Code(_snapshot(self), definition, self.digest())
        library = "" if self.library is None else Path(self.library).name
        return layers.Plugin(given, code, self.creator, self.version, self.namespace, library, fields, shapes, dtypes)

    def _require_functions(self, given: tuple[Tensor, ...]) -> None:
        """Raises where the methods take another number of tensors."""
        for name in ("shapes", *(one for one in ("reference", "compose") if self.has(one))):
            require_function(f"{self.definition()}.{name}", getattr(self, name), *given)

    def _require_implementation(self, definition: str) -> None:
        if self.reference_in not in ("torch", "numpy"):
            raise ArgumentError(
                f"{definition}.reference_in says what its reference computes with",
                expected="'torch' or 'numpy'",
                found=repr(self.reference_in),
            )
        if not self.creator and not self.has("compose"):
            raise ArgumentError(
                f"the plugin {definition} has neither a creator nor a composition",
                expected="creator = its name in TensorRT's registry, or def compose(self, *tensors)",
                found="neither",
                remedy="trtnet.plugins.available() shows the creators that there are",
            )

    # --- what layers/plugin.py asks for

    @classmethod
    def definition(cls) -> str:
        """Module and name."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @classmethod
    def digest(cls) -> str:
        """SHA-256 of the source of the class and of those that it comes from; of its code where there is no source."""
        if "_digest" not in cls.__dict__:
            hasher = hashlib.sha256()
            for one in cls.__mro__[: cls.__mro__.index(Plugin)]:
                hasher.update(source_of(one))
            cls._digest = hasher.hexdigest()
        return cls._digest

    @classmethod
    def restored(cls, fields: Sequence[PluginField]) -> Plugin:
        """An instance with these attributes, for what a graph from a file computes."""
        made: Plugin = object.__new__(cls)
        Module.__init__(made)
        for one in fields:
            setattr(made, one.name, _value(one))
        made._fields = tuple(one.name for one in fields)
        return made

    @property
    def jit(self) -> Any:
        """Nothing: what Triton compiles is a `trtnet.kernel`."""
        return None

    def has(self, method: str) -> bool:
        """Whether the class itself has `reference` or `compose`."""
        return getattr(type(self), method) is not getattr(Plugin, method)

    def places(self) -> tuple[str, ...]:
        """Where the library may lie, the likeliest first."""
        if self.library is None:
            return ()
        path = Path(self.library)
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        beside = () if path.is_absolute() or file is None else (str(Path(file).parent / path),)
        return (*beside, str(path))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={shown(value)}" for name, value in self.fields().items())


class Pair(tuple[Any, ...]):
    """Shape and dtype of an input, by these names."""

    __slots__ = ()

    @property
    def shape(self) -> Size:
        return self[0]

    @property
    def dtype(self) -> Dtype:
        return self[1]


def _snapshot(plugin: Plugin) -> Plugin:
    """The plugin as it is now, without its parameters: those come as arguments."""
    made = copy.copy(plugin)
    for name in ("_parameters", "_buffers", "_modules"):
        made.__dict__[name] = {}
    for name in plugin._fields:
        value = plugin.__dict__.get(name)
        if isinstance(value, (list, np.ndarray)):
            made.__dict__[name] = copy.copy(value)
    return made


def _value(field: PluginField) -> Any:
    """An attribute as it was."""
    if isinstance(field.values, str):
        return field.values if field.type == "text" else field.values.encode("latin-1")
    if field.type in ("int", "float"):
        return tuple(field.values) if field.shape else field.values[0]
    return np.asarray(field.values, types.get(field.type).numpy).reshape(field.shape)
