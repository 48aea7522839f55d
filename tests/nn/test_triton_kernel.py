"""Functions of Triton's as layers: what is recorded needs no Triton; compiled where it is installed, without a GPU."""

from __future__ import annotations

import linecache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input
from trtnet.layers.targets import KernelRequest
from trtnet.tensorrt import plugins
from trtnet.tensorrt.kernels import triton_code

SOURCE = """
import triton
import triton.language as tl

@triton.jit
def scaled(x, y, n, alpha, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * alpha, mask=i < n)

@triton.jit
def wrong(x, y, n, alpha, BLOCK: tl.constexpr):
    tl.store(y + tl.arange(0, BLOCK), missing)
"""
BATCH = Dim("batch", min=1, opt=4, max=64)


def jitted(names: str = "x y n alpha", constants: str = "BLOCK", name: str = "scaled") -> Any:
    """What `triton.jit` gives, as far as recording asks."""
    parameters = [SimpleNamespace(name=one, is_constexpr=False) for one in names.split()]
    parameters += [SimpleNamespace(name=one, is_constexpr=True) for one in constants.split()]
    return SimpleNamespace(
        __name__=name,
        arg_names=[one.name for one in parameters],
        params=parameters,
        src="def scaled(...)",
        cache_key="k",
    )


def kernel(jit: Any, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "shapes": lambda x: x,
        "grid": lambda x: (x.shape.numel() + 255) // 256,
        "arguments": lambda x: [x.shape.numel(), 0.5],
        "constants": {"BLOCK": 256},
        "reference": lambda x: x * 0.5,
        "compose": lambda x: x * 0.5,
    }
    return trtnet.kernel(jit, **(given | changes))


def recorded(made: Any, dtype: str = "float32", rows: Any = BATCH) -> trtnet.Graph:
    return trtnet.record(lambda x: made(x), x=Input((rows, 4), dtype))


def request(graph: trtnet.Graph) -> KernelRequest:
    layer: Any = graph.layers[0]
    found: KernelRequest = layer.request().kernel
    return found


@pytest.mark.parametrize(("dtype", "type"), [("float32", "*fp32"), ("float16", "*fp16"), ("int32", "*i32")])
def test_what_is_recorded(dtype: str, type: str) -> None:
    jit = jitted()
    graph = recorded(kernel(jit), dtype)
    wanted = request(graph)
    assert wanted.triton is jit
    assert wanted.options == (
        f"parameter x {type}", f"parameter y {type}", "parameter n i32", "parameter alpha fp32",
        "constant BLOCK 256", "code k",
    )  # fmt: skip
    assert "arguments 2 int32 d0,0 4 * ; float 0.5" in wanted.launch
    x = np.ones((3, 4), dtype)
    np.testing.assert_array_equal(trtnet.reference(graph)(x), x * np.asarray(0.5, dtype))


def test_what_it_is_compiled_of_is_structure() -> None:
    made = [recorded(kernel(jitted(), **changes)).structure_hash() for changes in ({}, {"options": {"num_warps": 8}},
            {"constants": {"BLOCK": 128}}, {"arguments": lambda x: [x.shape.numel(), 0.25]})]  # fmt: skip
    assert len(set(made)) == 4
    assert made[0] == recorded(kernel(jitted())).structure_hash()


def test_large_sizes_are_wide_arguments() -> None:
    graph = recorded(kernel(jitted()), rows=Dim("rows", min=1, max=1 << 28))
    assert "parameter n i32" in request(graph).options
    graph = recorded(kernel(jitted(), arguments=lambda x: [x.shape.numel() * 16, 0.5]), rows=Dim("rows", 1, 1 << 28))
    assert "parameter n i64" in request(graph).options


@pytest.mark.parametrize(
    ("jit", "changes", "match", "remedy"),
    [
        (jitted(), {"block": 128}, "says by itself how a kernel is launched", "leave these out"),
        (jitted(), {"shared": 128}, "says by itself how a kernel is launched", "leave these out"),
        (jitted(), {"constants": None}, "are its tl.constexpr parameters", "give each of them"),
        (jitted(), {"constants": {"BLOCK": 1, "OTHER": 2}}, "are its tl.constexpr parameters", "give each of them"),
        (jitted(), {"constants": {"BLOCK": [1]}}, "BLOCK of the kernel scaled is no constant", "is an argument"),
        (jitted(), {"options": ["num_warps=8"]}, "options of a Triton kernel are Triton's own", "give a dict"),
        (jitted("x y n"), {}, "another number of parameters", "pointers to the outputs"),
        (
            jitted(),
            {"arguments": lambda x: [True, 0.5]},
            "the argument n of the kernel scaled",
            "constexpr",
        ),
        ("__global__ void f(const float* x, float* y) {}", {}, "CUDA source has no constants", "-DBLOCK=256"),
    ],
)
def test_refused(jit: Any, changes: dict[str, Any], match: str, remedy: str) -> None:
    with pytest.raises(trtnet.TrtnetError, match=match) as caught:
        recorded(kernel(jit, **changes))
    assert remedy in caught.value.remedy
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_it_is_compiled_for_the_types_of_its_tensors() -> None:
    with pytest.raises(trtnet.TrtnetError, match="is compiled for the types of its tensors") as caught:
        trtnet.plugins.compiled(kernel(jitted()), "sm_90")
    assert "record a network with it" in str(caught.value)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    with pytest.raises(trtnet.errors.ProviderError, match="compiling this kernel needs Triton") as caught:
        triton_code.compiled(jitted(), "scaled", (), "sm_90")
    assert caught.value.remedy == "pip install triton"


# --- with Triton ------------------------------------------------------------------------------------------------------


def functions() -> dict[str, Any]:
    pytest.importorskip("triton")
    name = "<triton functions>"
    linecache.cache[name] = (len(SOURCE), None, SOURCE.splitlines(True), name)  # where Triton reads the source
    found: dict[str, Any] = {"__name__": "functions"}
    exec(compile(SOURCE, name, "exec"), found)
    return found


@pytest.mark.parametrize("warps", [4, 8])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_code_and_how_it_is_launched(dtype: str, warps: int) -> None:
    wanted = request(recorded(kernel(functions()["scaled"], options={"num_warps": warps}), dtype))
    made = triton_code.compiled(wanted.triton, wanted.function, wanted.options, "sm_90")
    assert made.code[:4] == b"\x7fELF"
    assert made.function.encode() in made.code
    assert made.threads == warps * 32
    lines = dict(line.split(" ", 1) for line in plugins._as_triton(wanted.launch, made).split("\n"))
    assert lines["block"] == f"{warps * 32} ; 1 ; 1 ;"
    assert lines["shared"] == f"{made.shared} ;"
    count, numbers = lines["arguments"].split(" ", 1)
    assert int(count) == 2 + made.more
    assert numbers == "int32 d0,0 4 * ; float 0.5" + " int64 0 ;" * made.more


def test_a_function_that_does_not_compile() -> None:
    wanted = request(recorded(kernel(functions()["wrong"])))
    with pytest.raises(trtnet.errors.BuildError, match="the Triton kernel wrong does not compile") as caught:
        triton_code.compiled(wanted.triton, wanted.function, wanted.options, "sm_90")
    assert "missing" in caught.value.details
    assert "x: *fp32" in str(caught.value)


def test_an_option_that_triton_has_not() -> None:
    wanted = request(recorded(kernel(functions()["scaled"], options={"num_warps": 3})))
    with pytest.raises(trtnet.errors.BuildError, match="does not compile"):
        triton_code.compiled(wanted.triton, wanted.function, wanted.options, "sm_90")
