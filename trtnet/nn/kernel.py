"""CUDA kernels as layers: source text or a Triton function, how it is launched, and the same in PyTorch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..basics import dtypes as types
from ..basics.code import Code
from ..basics.dims import Dim, Size, SizeLike
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, require_function, shown
from ..graph.tensor import Tensor
from ..layers import plugin as layers
from ..layers.targets import PluginField
from .plugin import Pair, Plugin

Sizes = SizeLike | Sequence[SizeLike]
THREADS = 1024
"""Of a block, on every GPU of CUDA's."""


def kernel(
    source: Any,
    function: str | None = None,
    *,
    shapes: Callable[..., Any],
    grid: Sizes | Callable[..., Sizes],
    block: Sizes | Callable[..., Sizes] | None = None,
    arguments: Sequence[Any] | Callable[..., Sequence[Any]] = (),
    shared: SizeLike | Callable[..., SizeLike] = 0,
    reference: Callable[..., Any] | None = None,
    compose: Callable[..., Any] | None = None,
    reference_in: str = "torch",
    options: Sequence[str] | Mapping[str, int] = (),
    constants: Mapping[str, Any] | None = None,
) -> Kernel:
    """A CUDA kernel as a layer: call what it returns in a forward, with tensors, parameters and arrays.

    The kernel takes pointers to its inputs (`const`), pointers to its outputs, and then `arguments`, in this order. It
    is compiled by NVRTC when a network with it is lowered, for the GPU there, and is part of the plan. From 10.9 on
    TensorRT launches it itself, but for what docs/plugins.md names; else a small C++ plugin, which is built once
    against TensorRT's headers (TENSORRT_ROOT, and the usual places).
    TensorRT-RTX has no plugins: there `compose` is recorded.

    A function that `triton.jit` gave takes the place of the source: its parameters are the inputs' pointers, the
    outputs', the arguments, and `tl.constexpr` ones, which `constants` gives, in any places among them. Triton
    (`pip install triton`) compiles it when a network with it is lowered, and says how many threads there are.

    Args:
        source: CUDA C++, or a function of Triton's. What the source includes is looked for in CUDA_HOME,
            /usr/local/cuda and pip's packages.
        function: the kernel's name; the only `__global__` function unless given.
        shapes: a function of the inputs, as `Plugin.shapes`.
        grid, block: of the launch, one to three sizes; or functions of the inputs that give them, of Dims where shapes
            are dynamic: `grid=lambda x: (x.shape.numel() + 255) // 256`. 256 threads unless given.
        arguments: numbers after the tensors: sizes, ints and floats; or a function of the inputs that gives them. They
            are passed in the types that the source declares.
        shared: bytes of dynamic shared memory.
        reference, compose: the same in PyTorch, or in NumPy (`reference_in="numpy"`), and of trtnet's functions.
        options: further options of NVRTC, like "--use_fast_math"; of Triton, {"num_warps": 8, "num_stages": 3}.
        constants: of a Triton kernel, its `tl.constexpr` parameters by name: numbers, bools and texts.

    Raises:
        ArgumentError, DtypeError: no such kernel in the source, or its parameters are not those of the tensors and
            arguments, at the user's line. BuildError, when it is lowered: it does not compile, with the compiler's
            messages.

    >>> halved = trtnet.kernel(
    ...     '''extern "C" __global__ void halve(const float* x, float* y, int n) {
    ...            int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...            if (i < n) y[i] = x[i] * 0.5f;
    ...        }''',
    ...     shapes=lambda x: x,
    ...     grid=lambda x: (x.shape.numel() + 255) // 256,
    ...     arguments=lambda x: [x.shape.numel()],
    ...     reference=lambda x: x / 2,
    ... )
    >>> graph = trtnet.record(lambda x: halved(x), x=Input((Dim("batch", max=8), 3)))
    >>> graph.layers
    [Kernel(halve)]
    """
    if hasattr(source, "arg_names") and hasattr(source, "src"):
        how = _Launch(shapes, grid, 1 if block is None else block, arguments, shared)
        if function is not None or block is not None or shared != 0:
            raise ArgumentError(
                "Triton says by itself how a kernel is launched, but for its grid",
                expected="grid=, arguments=, constants=, options={'num_warps': 8}",
                found=", ".join(n for n, v in (("function", function), ("block", block), ("shared", shared)) if v),
                remedy="leave these out",
            )
        return TritonKernel(source, how, reference, compose, reference_in, options, constants or {})
    if constants:
        raise ArgumentError(
            "a kernel of CUDA source has no constants",
            expected="numbers in arguments=, or in the source",
            found=", ".join(constants),
            remedy="define them in the source, or give options=['-DBLOCK=256']",
        )
    how = _Launch(shapes, grid, 256 if block is None else block, arguments, shared)
    return Kernel(source, function, how, reference, compose, reference_in, options)


class _Launch(NamedTuple):
    shapes: Callable[..., Any]
    grid: Sizes | Callable[..., Sizes]
    block: Sizes | Callable[..., Sizes]
    arguments: Sequence[Any] | Callable[..., Sequence[Any]]
    shared: SizeLike | Callable[..., SizeLike]


class Kernel(Plugin):
    """What `trtnet.kernel` returns.

    Shape: what its `shapes` say.
    Layers: one `plugin`.
    """

    creator = "TrtnetKernel"

    def __init__(
        self,
        source: str,
        function: str | None,
        launch: _Launch,
        reference: Callable[..., Any] | None,
        compose: Callable[..., Any] | None,
        reference_in: str,
        options: Any,
    ) -> None:
        super().__init__()
        if not isinstance(source, str):
            raise ArgumentTypeError(
                "a kernel is CUDA source text",
                expected="a string, or a function that triton.jit gave",
                found=shown(source),
            )
        if isinstance(options, str) or not all(isinstance(one, str) for one in options):
            raise ArgumentTypeError(
                "the options of a kernel are a list of texts",
                expected='["--use_fast_math"]',
                found=shown(options),
                remedy="put them into a list",
            )
        self._function = _function_in(source, function)
        self._signature = _parameters(source, self._function)
        self._keep(source, launch, reference, compose, reference_in, tuple(options))

    def _keep(
        self,
        source: str,
        launch: _Launch,
        reference: Callable[..., Any] | None,
        compose: Callable[..., Any] | None,
        reference_in: str,
        options: tuple[str, ...],
    ) -> None:
        self._source, self._launch, self._options = source, launch, options
        self._functions = {"reference": reference, "compose": compose}
        self.__dict__["reference_in"] = reference_in
        digests = [Code(one).digest for one in (reference, compose) if callable(one)]
        text = "\0".join([source, self._function, *self._options, *digests])
        self._identity = hashlib.sha256(text.encode()).hexdigest()
        layers.definitions[self._name] = _Definition(self)

    @property
    def _name(self) -> str:
        return f"kernel.{self._function}"

    def shapes(self, *inputs: Any) -> Any:
        return self._launch.shapes(*inputs)

    def has(self, method: str) -> bool:
        return self._functions[method] is not None

    def reference(self, *tensors: Any) -> Any:
        function = self._functions["reference"]
        assert function is not None
        return function(*tensors)

    def compose(self, *tensors: Any) -> Any:
        function = self._functions["compose"]
        assert function is not None
        return function(*tensors)

    @property
    def program(self) -> tuple[str, str, tuple[str, ...]]:
        """The source, the function's name, and NVRTC's options."""
        return self._source, self._function, self._options

    def _require_functions(self, given: tuple[Tensor, ...]) -> None:
        require_function(f"shapes of the kernel {self._function}", self._launch.shapes, *given)
        for name, one in {**self._launch._asdict(), **self._functions}.items():
            if callable(one) or (name in self._functions and one is not None):
                require_function(f"{name} of the kernel {self._function}", one, *given)

    def _made(self, given: tuple[Tensor, ...]) -> layers.Plugin:
        self._require_functions(given)
        pairs = [Pair((t.shape, t.dtype)) for t in given]
        shapes, dtypes = layers.outputs_of(self.shapes(*pairs), self._name)
        self._require_implementation(self._name)
        written = self._written(_stand_ins(pairs), dtypes)
        code = Code(self, self._name, self._identity)
        options = (*self._told([one.dtype for one in given], dtypes, written), *self._options)
        return layers.Kernel(
            given, code, self.creator, self.version, "", "", (), shapes, dtypes,
            self._source, self._function, options, written, self.language,
        )  # fmt: skip

    language: ClassVar[str] = "cuda"

    def _told(self, inputs: Sequence[Dtype], outputs: Sequence[Dtype], launch: str) -> tuple[str, ...]:
        """What the compiler is told beside the options, of these tensors and arguments."""
        return ()

    def _written(self, inputs: list[Pair], dtypes: tuple[Dtype, ...]) -> str:
        """The launch, as the plugin reads it. Raises where the kernel's parameters are others."""
        how = self._launch
        shapes, _ = layers.outputs_of(self.shapes(*inputs), self._name)
        places = {
            size.name: f"d{i},{axis}"
            for i, one in reversed(list(enumerate(inputs)))
            for axis, size in reversed(list(enumerate(one.shape)))
            if isinstance(size, Dim) and size.name is not None
        }
        arguments = self._arguments(inputs)
        kinds = self._checked([one.dtype for one in inputs], dtypes, arguments)

        def size(one: Any, what: str) -> str:
            if isinstance(one, (int, np.integer)) and not isinstance(one, bool):
                return f"{int(one)} ;"
            if not isinstance(one, Dim):
                raise ArgumentTypeError(
                    f"{what} of the kernel {self._function} is no size",
                    expected="a whole number or a Dim",
                    found=shown(one),
                    remedy="divide sizes by //: (x.shape.numel() + 255) // 256",
                )
            return f"{_postfix(one, places)} ;"

        def three(given: Any, what: str) -> str:
            found = given(*inputs) if callable(given) else given
            sizes = list(found) if isinstance(found, (tuple, list)) else [found]
            if not 1 <= len(sizes) <= 3:
                raise ArgumentError(f"{what} has one to three sizes", expected="1 to 3", found=shown(found))
            written = " ".join(size(one, what) for one in (*sizes, 1, 1)[:3])
            self._check_launch(what, sizes)
            return written

        outputs = [
            f"{dtype} {len(shape)} {' '.join(size(s, 'an output') for s in shape)}"
            for shape, dtype in zip(shapes, dtypes)
        ]
        numbers = [
            f"{kind} {float(one)!r}"
            if kind in ("float", "double")
            else f"{kind} {size(int(one) if isinstance(one, (bool, np.bool_)) else one, 'an argument')}"
            for kind, one in zip(kinds, arguments)
        ]
        shared = how.shared(*inputs) if callable(how.shared) else how.shared
        if isinstance(shared, int) and shared < 0:
            raise ArgumentError("shared is bytes of memory", expected="0 or more", found=shared)
        lines = [
            "trtnet-kernel 1 <function>",
            " ".join(["inputs", str(len(inputs)), *(str(one.dtype) for one in inputs)]),
            " ".join(["outputs", str(len(outputs)), *outputs]),
            f"grid {three(how.grid, 'grid')}",
            f"block {three(how.block, 'block')}",
            f"shared {size(shared, 'shared')}",
            " ".join(["arguments", str(len(numbers)), *numbers]),
        ]
        return "\n".join(lines)

    def _arguments(self, inputs: list[Pair]) -> list[Any]:
        """The numbers after the tensors."""
        how = self._launch
        given = how.arguments(*inputs) if callable(how.arguments) else how.arguments
        if not isinstance(given, (tuple, list)):
            raise ArgumentTypeError(
                f"arguments of the kernel {self._function} is a list of numbers",
                expected="a list, or a function that gives one",
                found=shown(given),
                remedy="put a single one into a list: arguments=[n]",
            )
        return list(given)

    def _check_launch(self, what: str, sizes: list[Any]) -> None:
        """Raises ArgumentError for a grid or a block that no GPU launches."""
        known = [one for one in sizes if isinstance(one, (int, np.integer))]
        threads = math.prod(int(one) for one in known) if what == "block" else 1
        if any(one < 1 for one in known) or threads > THREADS:
            raise ArgumentError(
                f"{what} of the kernel {self._function} cannot be launched",
                expected="sizes of 1 or more" + f", of at most {THREADS} threads together" * (what == "block"),
                found=", ".join(map(str, sizes)),
                remedy="round up: (x.shape.numel() + 255) // 256 blocks of 256 threads",
            )

    def _checked(self, inputs: list[Dtype], outputs: Sequence[Dtype], arguments: list[Any]) -> list[str]:
        """The types of the arguments, as the plugin names them. Raises where the source declares other parameters."""
        layers.require_types((*inputs, *outputs))
        declared = self._signature
        wanted = len(inputs) + len(outputs) + len(arguments)
        if len(declared) != wanted:
            raise ArgumentError(
                f"the kernel {self._function} has another number of parameters than it is given",
                expected=f"{len(inputs)} inputs, {len(outputs)} outputs, {len(arguments)} arguments: {wanted}",
                found=f"{len(declared)}: {', '.join(one.text for one in declared)}",
                remedy="declare pointers to the inputs, pointers to the outputs, then what arguments= gives",
            )
        for index, (one, dtype) in enumerate(zip(declared, (*inputs, *outputs))):
            is_input = index < len(inputs)
            right = f"{'const ' if is_input else ''}{_NAMES.get(dtype, ('?',))[0]}*"
            known = _POINTEES.get(one.type)
            if not one.is_pointer or (known is not None and known is not dtype) or one.is_const is not is_input:
                raise DtypeError(
                    f"parameter {index + 1} of the kernel {self._function} does not fit its tensor",
                    expected=f"{right}: {'an input' if is_input else 'an output'} of {dtype}",
                    found=one.text,
                    remedy="inputs are const pointers, and what they point to is of the tensor's dtype",
                )
        return [self._argument(one, value) for one, value in zip(declared[len(inputs) + len(outputs) :], arguments)]

    def _argument(self, declared: _Parameter, value: Any) -> str:
        kind = None if declared.is_pointer else _SCALARS.get(declared.type)
        is_float = isinstance(value, (float, np.floating))
        is_whole = isinstance(value, (bool, int, np.integer, np.bool_, Dim))
        if kind is None or not (is_float or is_whole) or is_float != (kind in ("float", "double")):
            raise DtypeError(
                f"an argument of the kernel {self._function} does not fit its parameter {declared.text!r}",
                expected="a float for float and double; a size or a whole number for int, unsigned, long long and bool",
                found=shown(value),
                remedy=f"give float({shown(value)})"
                if kind in ("float", "double") and not isinstance(value, Dim)
                else "declare the parameter in the argument's type",
            )
        low, high = value.bounds if isinstance(value, Dim) else (value, value)
        least, most = _RANGES.get(kind, (low, high))
        if not least <= low <= high <= most:
            raise ArgumentError(
                f"an argument of the kernel {self._function} does not fit its parameter {declared.text!r}",
                expected=f"{least} to {most}",
                found=f"{low} to {high}" if low != high else low,
                remedy="declare the parameter as long long, or give the Dims a smaller max",
            )
        return kind

    def extra_repr(self) -> str:
        return self._function


class TritonKernel(Kernel):
    """What `trtnet.kernel` returns for a function of Triton's.

    Shape: what its `shapes` say.
    Layers: one `plugin`.
    """

    language = "triton"

    def __init__(
        self,
        jit: Any,
        launch: _Launch,
        reference: Callable[..., Any] | None,
        compose: Callable[..., Any] | None,
        reference_in: str,
        options: Any,
        constants: Any,
    ) -> None:
        Plugin.__init__(self)
        self.__dict__["_jit"] = jit
        self._function = str(jit.__name__)
        if not isinstance(options, Mapping | tuple) or (isinstance(options, tuple) and options):
            raise ArgumentTypeError(
                "the options of a Triton kernel are Triton's own, by name",
                expected="{'num_warps': 8}",
                found=shown(options),
                remedy="give a dict: options={'num_warps': 8, 'num_stages': 3}",
            )
        self._names = [one.name for one in jit.params if not one.is_constexpr]
        wanted = [one.name for one in jit.params if one.is_constexpr]
        if not isinstance(constants, Mapping) or sorted(constants) != sorted(wanted):
            raise ArgumentError(
                f"the constants of the kernel {self._function} are its tl.constexpr parameters",
                expected=", ".join(wanted) or "none",
                found=", ".join(map(str, constants)) or "none",
                remedy="give each of them: constants={'BLOCK': 1024}",
            )
        for name, value in {**constants, **dict(options)}.items():
            if not isinstance(value, (bool, int, float, str, type(None))):
                raise ArgumentTypeError(
                    f"{name} of the kernel {self._function} is no constant",
                    expected="a number, a bool or a text",
                    found=shown(value),
                    remedy="a size of a tensor is an argument: arguments=lambda x: [x.shape[0]]",
                )
        told = [f"constant {name} {value!r}" for name, value in constants.items()]
        told += [f"option {name} {value!r}" for name, value in dict(options).items()]
        key = f"code {getattr(jit, 'cache_key', '')}"  # with the functions that it calls
        self._keep(str(jit.src), launch, reference, compose, reference_in, (*told, key))

    @property
    def jit(self) -> Any:
        return self.__dict__["_jit"]

    @property
    def program(self) -> tuple[str, str, tuple[str, ...]]:
        raise ArgumentError(
            f"the Triton kernel {self._function} is compiled for the types of its tensors",
            expected="a network with it, that is built",
            found="the kernel alone",
            remedy="record a network with it, and build that",
        )

    def _told(self, inputs: Sequence[Dtype], outputs: Sequence[Dtype], launch: str) -> tuple[str, ...]:
        words = launch.rpartition("\narguments ")[2].split()[1:]
        numbers = [one for one in words if one in _OF_TRITON]
        kinds = [*("*" + _TRITON[one] for one in (*inputs, *outputs)), *(_OF_TRITON[one] for one in numbers)]
        return tuple([f"parameter {name} {kind}" for name, kind in zip(self._names, kinds, strict=True)])

    def _checked(self, inputs: list[Dtype], outputs: Sequence[Dtype], arguments: list[Any]) -> list[str]:
        layers.require_types((*inputs, *outputs))
        if len(self._names) != len(inputs) + len(outputs) + len(arguments):
            raise ArgumentError(
                f"the kernel {self._function} has another number of parameters than it is given",
                expected=f"{len(inputs)} inputs, {len(outputs)} outputs, {len(arguments)} arguments, and tl.constexpr",
                found=f"{len(self._names)}: {', '.join(self._names)}",
                remedy="declare pointers to the inputs, pointers to the outputs, then what arguments= gives",
            )
        return [self._kind(name, one) for name, one in zip(self._names[len(self._names) - len(arguments) :], arguments)]

    def _kind(self, name: str, value: Any) -> str:
        if isinstance(value, (float, np.floating)):
            return "float"
        if isinstance(value, bool) or not isinstance(value, (int, np.integer, Dim)):
            raise ArgumentTypeError(
                f"the argument {name} of the kernel {self._function} is no number",
                expected="a size, a whole number or a float",
                found=shown(value),
                remedy="a bool or a text is a constant: declare it tl.constexpr, and give constants={...}",
            )
        low, high = value.bounds if isinstance(value, Dim) else (int(value), int(value))
        return "int32" if _RANGES["int32"][0] <= low <= high <= _RANGES["int32"][1] else "int64"


_TRITON = {
    types.float32: "fp32", types.float16: "fp16", types.bfloat16: "bf16", types.int8: "i8", types.int32: "i32",
    types.int64: "i64", types.bool_: "i1",
}  # fmt: skip
_OF_TRITON = {"int32": "i32", "int64": "i64", "float": "fp32"}


class _Definition:
    """A kernel, for a graph from a file in the process that has it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def digest(self) -> str:
        return self.kernel._identity

    def restored(self, fields: Sequence[PluginField]) -> Kernel:
        return self.kernel


# --- the source -------------------------------------------------------------------------------------------------------


class _Parameter(NamedTuple):
    text: str
    type: str
    is_pointer: bool
    is_const: bool


_NAMES: dict[Dtype, tuple[str, ...]] = {
    types.float32: ("float",),
    types.float16: ("__half", "half"),
    types.bfloat16: ("__nv_bfloat16", "nv_bfloat16"),
    types.int8: ("signed char", "int8_t", "char"),
    types.int32: ("int", "int32_t", "signed int", "signed"),
    types.int64: ("long long", "int64_t", "long", "long long int", "long int"),
    types.bool_: ("bool",),
}
_OTHERS = ("double", "short", "unsigned", "unsigned int", "uint8_t", "unsigned char")
_POINTEES: dict[str, Dtype] = {
    **{name: dtype for dtype, names in _NAMES.items() for name in names},
    **dict.fromkeys(_OTHERS, types.float64),
}
_SCALARS = {
    **dict.fromkeys(_NAMES[types.int32], "int32"),
    **dict.fromkeys(_NAMES[types.int64], "int64"),
    **dict.fromkeys(("unsigned", "unsigned int", "uint32_t"), "uint32"),
    **dict.fromkeys(("size_t", "unsigned long long", "uint64_t", "unsigned long"), "int64"),
    "bool": "bool", "float": "float", "double": "double",
}  # fmt: skip
_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "uint32": (0, (1 << 32) - 1), "bool": (0, 1)}
_IGNORED = ("__restrict__", "__restrict", "restrict", "volatile", "__grid_constant__")


def _bare(source: str) -> str:
    """The source without comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.S)


def _function_in(source: str, wanted: str | None) -> str:
    names = re.findall(
        r"__global__\s+(?:[\w:]+\s*\([^)]*\)\s*)?void\s+(?:__\w+__\s*\([^)]*\)\s*)?(\w+)\s*\(", _bare(source)
    )
    if wanted is None and len(names) == 1:
        return str(names[0])
    if wanted is not None and wanted in names:
        return wanted
    raise ArgumentError(
        "the source has no kernel of this name" if wanted else "the source has not one kernel, but none or several",
        expected=wanted or "one __global__ void function",
        found=", ".join(names) or "no __global__ void function",
        remedy="name one of them: trtnet.kernel(source, 'name', ...)",
    )


def _parameters(source: str, function: str) -> list[_Parameter]:
    """What a kernel takes, as its source declares it."""
    text = _bare(source)
    found = re.search(rf"\bvoid\s+(?:__\w+__\s*\([^)]*\)\s*)?{function}\s*\(([^)]*)\)", text)
    inside = "" if found is None else found[1].strip()
    made = []
    for part in inside.split(",") if inside and inside != "void" else ():
        words = re.findall(r"[\w:]+|\*|&", part)
        stars = words.count("*")
        kept = [w for w in words if w not in ("*", "&", "const", *_IGNORED)]
        name = " ".join(kept[:-1] if len(kept) > 1 and not (stars == 0 and len(kept) == 1) else kept)
        is_const = "const" in words[: words.index("*")] if stars else False
        made.append(_Parameter(" ".join(part.split()), name.removeprefix("std::"), stars == 1, is_const))
    return made


# --- sizes ------------------------------------------------------------------------------------------------------------


def _stand_ins(inputs: Sequence[Pair]) -> list[Pair]:
    """The inputs with a Dim of its own for each dynamic size, so that sizes are expressions over the inputs' sizes."""
    known: dict[Dim, Dim] = {}
    made = []
    for i, one in enumerate(inputs):
        sizes: list[SizeLike] = []
        for axis, size in enumerate(one.shape):
            if isinstance(size, Dim):
                low, high = size.bounds
                size = known.setdefault(size, Dim(f"d{i}_{axis}", min=low, opt=size.opt, max=high))
            sizes.append(size)
        made.append(Pair((Size(sizes), one.dtype)))
    return made


def _postfix(size: Dim, places: Mapping[str, str]) -> str:
    def call(sign: str) -> Callable[[str, str], str]:
        return lambda a, b: f"{a} {b} {sign}"

    return size.fold(
        number=str, symbol=lambda name: places[name], add=call("+"), multiply=call("*"), floor_divide=call("/"),
        maximum=call("max"), minimum=call("min"), modulo=call("%"),
    )  # fmt: skip
