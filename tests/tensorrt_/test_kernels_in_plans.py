"""Kernels that become part of a plan: their PTX, and what `tensorrt.plugin` is told of them.

The calls are judged by what the module says of itself (tests/bindings/plugin_module.json); `make bindings` makes the
same calls on the module itself, of 11 versions. tests/gpu/test_kernels_in_plans.py runs the code.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
from bindings import Bindings, versions
from kernels import KERNELS, asked, code_for, compiled, fresh, function_of, text_of
from plugin_module import PluginModule, data

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ProviderError
from trtnet.tensorrt import plugins
from trtnet.tensorrt.kernels import launch, ptx, shim
from trtnet.tensorrt.kernels.ptx import Unsuitable
from trtnet.tensorrt.provider import Provider

VERSIONS = [version for version in versions() if any(version in ranges.split() for ranges in data())]
MIXED = "_Z5mixedPKfPKaPfifxdbjmix"
HEARD: dict[str, tuple[str, list[str], list[str], list[Any]]] = {
    "mixed": (
        MIXED,
        [f"{MIXED}_param_{number}" for number in (0, 1, 3, 5, 8, 2)],
        ["FLOAT"],
        [
            ([[1, 4]], ([1, 1, 1, 128, 1, 1, 0], [4, -6, 1])),
            ([[1000, 4]], ([32, 1, 1, 128, 1, 1, 0], [4000, 993, 1])),
        ],
    ),
    "rows": (
        "rows",
        [f"rows_param_{number}" for number in (0, 3, 1, 2)],
        ["INT32", "BOOL"],
        [
            ([[1], [1, 1, 3]], ([1, 1, 1, 1, 1, 1, 4], [1])),
            ([[7], [7, 1, 7]], ([7, 1, 1, 33, 1, 1, 132], [33])),
            ([[1000], [1000, 1, 1000]], ([1000, 1, 1, 64, 1, 1, 256], [4096])),
        ],
    ),
    "weighted": (
        "weighted",
        [f"weighted_param_{number}" for number in (0, 1, 2)],
        ["FLOAT"],
        [([[3, 4]], ([1, 1, 1, 12, 1, 1, 0], []))],
    ),
    "scaled": (
        "scaled",
        [f"scaled_param_{number}" for number in (0, 2, 1)],
        ["FLOAT"],
        [([[1, 4]], ([1, 1, 1, 128, 1, 1, 4096], [4])), ([[1000, 4]], ([16, 1, 1, 128, 1, 1, 4096], [4000]))],
    ),
}
"""The kernel's name, its parameters in order, the outputs' types; their shapes, and the launch with its numbers."""


def provider_of(version: str) -> Provider:
    module = Bindings(version)
    found = Provider("tensorrt", module)
    found.__dict__["plugin_module"] = PluginModule(module, version) if found.keeps_kernels else None
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KERNELS)
def test_what_tensorrt_hears(version: str, name: str) -> None:
    found = provider_of(version)
    function, parameters, dtypes, launches = asked(name, found.trt, found.plugin_module)
    assert (function, [one for one, _ in parameters], dtypes, launches) == HEARD[name]


def test_from_which_version_on() -> None:
    able = [version for version in versions() if provider_of(version).keeps_kernels]
    assert able == VERSIONS == versions()[versions().index("10.11") : -1]


# --- the code ---------------------------------------------------------------------------------------------------------


def table(text: str) -> list[tuple[int, int]]:
    """Offset and size of each parameter, in a cubin that ptxas makes of PTX, as the driver reads them
    (EIATTR_KPARAM_INFO of .nv.info)."""
    ptxas = shutil.which("ptxas")
    if ptxas is None:
        pytest.skip("there is no ptxas")
    made = subprocess.run(
        [ptxas, "-arch=sm_90a", "-o", "/dev/stdout", "/dev/stdin"], input=text.encode(), capture_output=True
    )
    if b"Unsupported .version" in made.stderr:
        pytest.skip(made.stderr.decode())
    assert made.returncode == 0, made.stderr.decode()
    cubin = made.stdout
    (start,), (size, count, _) = struct.unpack_from("<Q", cubin, 40), struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, start + size * index) for index in range(count)]
    found = {}
    for _, kind, _, _, place, length, *_ in sections:
        at = place if kind == 0x70000000 else place + length  # SHT_CUDA_INFO
        while at < place + length:
            form, attribute, more = struct.unpack_from("<BBH", cubin, at)
            if (form, attribute) == (4, 0x17):
                _, number, offset, facts = struct.unpack_from("<IHHI", cubin, at + 4)
                found[number] = (offset, facts >> 18)
            at += 4 + (more if form == 4 else 0)
    return [found[number] for number in sorted(found)]


PLACES = {
    "mixed": [(0, 8), (8, 8), (16, 4), (20, 4), (24, 4), (32, 8)],
    "rows": [(0, 8), (8, 4), (16, 8), (24, 8)],
    "weighted": [(0, 8), (8, 8), (16, 8)],
    "scaled": [(0, 8), (8, 4), (16, 8)],
}


@pytest.mark.parametrize("name", KERNELS)
def test_an_assembler_finds_the_parameters_in_this_order(name: str) -> None:
    assert len(table(text_of(name))) == len(ptx.parameters(text_of(name), function_of(name)))
    assert table(code_for(name)[1]) == PLACES[name]


@pytest.mark.parametrize("name", KERNELS)
def test_code_that_is_compiled_here(name: str) -> None:
    if name == "scaled":
        pytest.importorskip("triton")
    try:
        text = fresh(name)
    except ProviderError as error:
        pytest.skip(str(error))
    function, code = code_for(name, text)
    assert [one.name for one in ptx.parameters(code, function)] == HEARD[name][1]
    assert table(code) == PLACES[name]


def test_numbers_in_the_code() -> None:
    code = code_for("mixed")[1]
    numbers = [int(line.split("0x")[1].rstrip(";"), 16) for line in code.splitlines() if ", 0x" in line]
    wanted = [
        1,  # true
        int(np.float32(-0.5).view(np.uint32)),
        int(np.float64(1e-300).view(np.uint64)),
        5,
        (1 << 32) - 3,
        (1 << 64) - (1 << 40),
    ]
    assert sorted(numbers) == sorted(wanted)
    assert f"ld.param.s32 \t%rd9, [{MIXED}_param_5];" in code
    before, after = text_of("mixed").splitlines(), code.splitlines()
    changed = [one for one in before if one not in after]
    assert all("param" in one for one in changed)


LOAD = "ld.param.f32 \t%f2, ["


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace(f"{LOAD}{MIXED}_param_4]", f"ld.param.b8 %rs2, [{MIXED}_param_4]"), "another width"),
        (lambda text: text.replace(f"{LOAD}{MIXED}_param_4]", f"{LOAD}{MIXED}_param_4+0]"), "otherwise: ld.param.f32"),
        (lambda text: text.replace("ret;", f"mov.b64 %rd5, {MIXED}_param_5;\nret;"), "otherwise: mov.b64"),
        (lambda text: text.replace("ld.param.u64 \t%rd9", "ld.param.u32 \t%r9"), "reads a part of the parameter"),
        (lambda text: text.replace(".param .f64", ".param .f32"), "parameters of 64, 64, 64, 32, 32, 64, 32"),
        (lambda text: text.replace(".f64 " + MIXED, ".align 8 .b8 " + MIXED), "no number and no pointer"),
        (lambda text: text.replace(".entry", ".func"), "has no entry"),
        (lambda text: text.replace(".reg .f32", ".reg .f32 %f1, %f2; //"), "another width"),
    ],
)
def test_code_that_is_not_understood(change: Any, match: str) -> None:
    text = text_of("mixed")
    assert change(text) != text
    with pytest.raises(Unsuitable, match=match):
        code_for("mixed", change(text))


def test_what_is_no_number_is_no_bool() -> None:
    with pytest.raises(Unsuitable, match="a bool argument depends on"):
        ptx.arranged(".entry f(.param .u64 a, .param .u64 b, .param .u8 c) {}", "f", 1, 1, [("bool", None)])


@pytest.mark.parametrize(("read", "register", "number", "moved"), [
    ("s8", "%rs1", 1, "mov.b16 %rs1, 0x1;"),
    ("u8", "%r1", 1, "mov.b32 %r1, 0x1;"),
    ("s32", "%rd1", -3, "mov.b64 %rd1, 0xFFFFFFFFFFFFFFFD;"),
    ("u32", "%rd1", -3, "mov.b64 %rd1, 0xFFFFFFFD;"),
    ("b32", "%r1", -3, "mov.b32 %r1, 0xFFFFFFFD;"),
    ("f32", "%f1", 1e39, "mov.b32 %f1, 0x7F800000;"),
])  # fmt: skip
def test_a_load_becomes_what_it_loads(read: str, register: str, number: float, moved: str) -> None:
    kind = {"8": "bool", "f32": "float"}.get(read[1:] if read[1:] == "8" else read, "int32")
    text = f""".entry f(.param .u64 a, .param .u64 b, .param .{read} c) {{
        .reg .b16 %rs<2>; .reg .b32 %r<2>; .reg .f32 %f<2>; .reg .b64 %rd<2>;
        ld.param.{read} {register}, [c];
    }}"""
    assert moved in ptx.arranged(text, "f", 1, 1, [(kind, number)])


# --- what stays with the C++ plugin -----------------------------------------------------------------------------------


SOURCE = 'extern "C" __global__ void weighted(const float* x, const float* w, float* y) {}'


def lowered(x: Any, found: Provider, **changes: Any) -> None:
    """Lower a kernel where there are no headers."""
    given = {"shapes": lambda x, w: x, "grid": 1, "block": 12} | changes
    kernel = trtnet.kernel(given.pop("source", SOURCE), **given)
    graph = trtnet.record(lambda x: kernel(x, x), x=x)
    layer: Any = graph.layers[-1]
    with compiled(), mock.patch.object(shim, "_roots", return_value=()):
        plugins.make(found, layer.request())


COUNTED = 'extern "C" __global__ void weighted(const float* x, const float* w, float* y, long long n) {}'
EMPTY, HUGE = Dim("batch", min=0, opt=2, max=4), Dim("batch", min=1, opt=2, max=1 << 28)


@pytest.mark.parametrize(
    ("x", "changes", "why"),
    [
        (Input((EMPTY, 4)), {"grid": lambda x, w: x.shape[0]}, "its grid is 0 to 4, and must be 1 to 2147483647"),
        (Input((HUGE, 4)), {"grid": lambda x, w: x.shape.numel() * 16}, "its grid is 64 to 17179869184"),
        (Input((2, 4)), {"shared": 49156}, "its shared memory is 49156 to 49156, and must be 0 to 49152"),
        (
            Input((HUGE, 4)),
            {"source": COUNTED, "arguments": lambda x, w: [x.shape.numel() * 16]},
            "its argument is 64 to 17179869184, and must be -2147483648 to 2147483647",
        ),
        (Input(()), {}, "it has no input with dimensions"),
    ],
)
def test_what_tensorrt_plugin_cannot_say(x: Any, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ProviderError, match="TensorRT's headers to build it are not here") as caught:
        lowered(x, provider_of("11.4"), **changes)
    assert f"the kernel cannot be part of the plan, which needs no such plugin: {why}" in caught.value.details


def test_a_number_of_64_bits_is_no_obstacle() -> None:
    kernel = trtnet.kernel(COUNTED, shapes=lambda x, w: x, grid=1, block=12, arguments=[1 << 40])
    graph = trtnet.record(lambda x: kernel(x, x), x=Input((3, 4)))
    (argument,) = launch.read(graph.layers[0].launch).arguments
    assert argument.value == 1 << 40


def test_where_the_module_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Provider("tensorrt", Bindings("11.4"))
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.delitem(sys.modules, "tensorrt.plugin", raising=False)
    assert found.plugin_module is None
    with pytest.raises(ProviderError, match="TensorRT's headers to build it are not here") as caught:
        lowered(Input((3, 4)), found)
    assert not caught.value.details
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", ModuleType("tensorrt.plugin"))
    assert Provider("tensorrt", Bindings("11.4")).plugin_module is sys.modules["tensorrt.plugin"]
    assert Provider("tensorrt", Bindings("10.8")).plugin_module is None


# --- the plugin -------------------------------------------------------------------------------------------------------


def test_equal_kernels_are_one_plugin() -> None:
    found = provider_of("11.4")
    for name in ("mixed", "mixed", "rows"):
        asked(name, found.trt, found.plugin_module)
    defined = vars(vars(found.plugin_module)["op"])["trtnet"]
    assert len(vars(defined)) == 2
    assert all(name.startswith("kernel_") for name in vars(defined))


def test_the_launch_is_read_as_it_was_written() -> None:
    layer: Any = KERNELS["mixed"]().layers[0]
    found = launch.read(layer.launch)
    assert found.inputs == ("float32", "int8")
    assert [one.type for one in found.outputs] == ["float32"]
    assert [len(one.shape) for one in found.outputs] == [2]
    assert found.block == (("128",), ("1",), ("1",))
    assert [one.type for one in found.arguments] == [
        "int32", "float", "int64", "double", "bool", "uint32", "int64", "int32", "int64",
    ]  # fmt: skip
    assert [one.value for one in found.arguments] == [None, -0.5, None, 1e-300, 1, None, 5, -3, -(1 << 40)]
    for batch in (1, 2, 999):
        sizes = [
            launch.evaluate(one.words, lambda index, axis, batch=batch: ((batch, 4), (8,))[index][axis], launch.DIMS)
            for one in found.arguments
            if one.value is None
        ]
        assert sizes == [batch * 4, batch - 7, batch % 3]
