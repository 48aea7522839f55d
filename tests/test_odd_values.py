"""Values, names and sizes that no network has: each an error of trtnet's that says so."""

import os
import subprocess
import sys
import textwrap
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.plan import Plan
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ProviderError, ShapeError, TrtnetError
from trtnet.tensorrt.build.lowering import has_implicit_batch

torch = pytest.importorskip("torch")
DENSE = torch.ones(3, 4)


def wrapped():
    class Wrapped(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise NotImplementedError

    return torch.Tensor._make_wrapper_subclass(Wrapped, (3, 4))


ODD = {
    "sparse": lambda: (DENSE.to_sparse(), "to_dense"), "sparse_csr": lambda: (DENSE.to_sparse_csr(), "to_dense"),
    "meta": lambda: (DENSE.to("meta"), "meta device"), "wrapped": lambda: (wrapped(), "Wrapped"),
    "quantized": lambda: (torch.quantize_per_tensor(DENSE, 1.0, 0, torch.qint8), "dequantize"),
    "complex": lambda: (DENSE.to(torch.complex64), "complex64"),
    "complex array": lambda: (np.ones((3, 4), np.complex64), "complex64"),
    "objects": lambda: (np.empty((3, 4), object), "object"), "text": lambda: (np.full((3, 4), "a"), "U1"),
    "lazy": lambda: (torch.nn.LazyLinear(3).weight, "lazy"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_values_that_are_no_plain_arrays(name):
    value, said = ODD[name]()
    module = nn.Linear(4, 3)
    graph = trtnet.record(module, input=Input((3, 4)))
    engine, live = trtnet.reference(graph), trtnet.reference(graph, live=["weight"])
    before = engine.parameters()["weight"]
    uses = {
        "call": lambda: engine(value), "named": lambda: engine(input=value), "context": lambda: engine.context()(value),
        "bind": lambda: engine.bind(value), "refit": lambda: engine.refit({"weight": value}),
        "load": lambda: module.load_state_dict({"weight": value}, strict=False),
        "graph": lambda: graph.load_state_dict({"weight": value}, strict=False),
        "live": lambda: live.bind_weights({"weight": value}), "parameter": lambda: nn.Parameter(value),
    }  # fmt: skip
    if name == "wrapped":  # a class of the user's own is read by NumPy, whose error it is
        del uses["parameter"]
    for use, act in uses.items():
        with pytest.raises(TrtnetError) as caught:
            act()
        assert said in str(caught.value) or use in ("bind", "live"), (use, str(caught.value))
    assert np.array_equal(engine.parameters()["weight"], before)


def test_a_dtensor_says_how_to_be_whole(tmp_path):
    pytest.importorskip("torch.distributed.tensor")
    code = f"""
        import torch, torch.distributed as dist, trtnet
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Replicate, distribute_tensor
        dist.init_process_group("gloo", init_method="file://{tmp_path}/ranks", rank=0, world_size=1)
        value = distribute_tensor(torch.ones(3, 4), init_device_mesh("cpu", (1,)), [Replicate()])
        engine = trtnet.reference(trtnet.record(trtnet.nn.Linear(4, 3), input=trtnet.Input((3, 4))))
        try:
            engine(value)
        except trtnet.TrtnetError as error:
            print("found:", error.found, "remedy:", error.remedy)
            engine(eval(error.remedy, {{"tensor": value}}))
        engine.refit({{"weight": value}})  # is gathered
        assert (engine.parameters()["weight"] == 1).all()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    if done.returncode and "gloo" in done.stderr:
        pytest.skip("this torch has no gloo")
    assert done.stdout.count("found: a DTensor remedy: tensor.full_tensor()") == 1, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "dtype",
    ["complex64", "cfloat", complex, np.complex64, torch.complex64, torch.qint8, object, "9" * 5000],
    ids=range(8),
)
def test_types_that_there_are_not(dtype):
    for use in (
        lambda: Input((3,), dtype), lambda: nn.Parameter(shape=(3,), dtype=dtype), lambda: trtnet.zeros(3, dtype=dtype),
        lambda: trtnet.record(lambda x: x.to(dtype), x=Input((2,))),
    ):  # fmt: skip
        with pytest.raises(TrtnetError):
            use()


@pytest.mark.parametrize(
    "path",
    ["a\0.engine", Path("a\0.engine"), "\ud800.engine", 3, None, b"a.engine", "x" * 300 + ".engine"],
    ids=range(7),
)
def test_paths_that_name_no_file(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = nn.Linear(4, 3)
    engine = trtnet.reference(trtnet.record(module, input=Input((3, 4))))
    uses = [
        lambda: trtnet.load(path), lambda: Plan.load(path), lambda: engine.save(path),
        lambda: module.load_weights(path), lambda: module.save_weights(path),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(TrtnetError):
            use()
    assert os.listdir(tmp_path) == []


def test_a_cache_that_no_disk_has():
    needs_rtx()
    graph = trtnet.record(nn.Linear(4, 3), input=Input((3, 4)))
    with pytest.raises(ArgumentError, match="no file can have this name"):
        trtnet.build_plan(graph, "sm86", cache="a\0")


@pytest.mark.parametrize("name", ["_parameters", "_buffers", "_modules"])
def test_names_that_a_module_keeps_its_own_things_under(name):
    parameter, child = nn.Parameter(np.ones(3, np.float32)), nn.ReLU()
    for use in (
        lambda m: m.add_module(name, child), lambda m: m.register_parameter(name, parameter),
        lambda m: m.register_buffer(name, np.ones(3, np.float32)), lambda m: setattr(m, name, child),
        lambda m: setattr(m, name, parameter), lambda m: nn.Sequential(OrderedDict([(name, child)])),
        lambda m: nn.ModuleDict({name: child}),
    ):  # fmt: skip
        module = nn.Module()
        with pytest.raises(ArgumentTypeError, match=rf"'{name}' is where \w+ keeps its {name[1:]}"):
            use(module)
        module.other = child
        assert list(module.named_children()) == [("other", child)]


BIG = {
    "input": lambda b: trtnet.record(lambda x: x + 1, x=Input((b, 2**16, 2**15))),
    "expand": lambda b: trtnet.record(lambda x: x.expand(-1, 2**16, 2**15), x=Input((b, 1, 1))),
    "product": lambda b: trtnet.record(lambda x: x @ x.transpose(1, 2), x=Input((b, 2**16, 1))),
    "constant": lambda b: trtnet.record(
        lambda x: trtnet.where(trtnet.zeros(2**16, 2**15, dtype=trtnet.bool), x, 0.0), x=Input((b, 1, 1))
    ),
    "linear": lambda b: trtnet.record(nn.Linear(2**16, 2**15), input=Input((b, 2**16))),
    "embedding": lambda b: trtnet.record(nn.Embedding(2**20, 2**11), input=Input((b,), "int64")),
}


@pytest.mark.parametrize("batch", [1, Dim("b", min=1, opt=2, max=8)], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", BIG)
def test_tensors_of_2_31_elements(name, batch):
    with pytest.raises(ShapeError, match=r"(?s)2\^31 elements or more.*fewer than 2,147,483,648") as caught:
        BIG[name](batch)
    assert caught.value.where.file == __file__


def test_one_element_less_is_taken():
    graph = trtnet.record(lambda x: x + 1, x=Input((2**31 - 1,)))
    assert graph.outputs["output"].shape == (2**31 - 1,)


DYNAMIC_BIG = {
    "input": lambda n: trtnet.record(lambda x: x + 1, x=Input((n, 2**15))),
    "product": lambda n: trtnet.record(lambda x: x @ x.transpose(0, 1), x=Input((n, 1))),
    "expression": lambda n: trtnet.record(lambda x: x.reshape(-1, 1).expand(-1, 2**15), x=Input((n // 2, 2))),
    "filled": lambda n: trtnet.record(lambda x: x + trtnet.zeros(2**15, x.shape[1]), x=Input((1, n))),
}


@pytest.mark.parametrize("name", DYNAMIC_BIG)
def test_the_max_of_a_dim_counts(name):
    with pytest.raises(ShapeError, match=r"(?s)2\^31 elements or more.*where every Dim is at its max") as caught:
        DYNAMIC_BIG[name](Dim("n", min=2, max=2**16))
    assert caught.value.where.file == __file__
    assert caught.value.remedy.startswith("a smaller max of the Dims")
    assert DYNAMIC_BIG[name](Dim("n", min=2, max=2**15 - 2))


def test_a_size_that_the_data_decides_counts_as_one():
    """Its max is the number of all elements; a table of those that are found is usually small."""
    graph = trtnet.record(lambda x: x[x > 0][:, None] * x[x > 0][None], x=Input((2**16,)))
    assert graph.data_dims


@pytest.mark.parametrize("size", [10**20, 10**5000], ids=["20", "5000"])
def test_sizes_that_python_does_not_write(size):
    for use in (
        lambda: Input((size,)), lambda: Dim("b", max=size), lambda: Dim("b", min=size, max=size),
        lambda: trtnet.record(lambda x: x.expand(size), x=Input((1,))),
        lambda: trtnet.record(lambda x: x.repeat(size), x=Input((1,))),
    ):  # fmt: skip
        with pytest.raises((ShapeError, ArgumentError)):
            use()


def test_no_deprecated_attribute_is_asked_for_where_lowering():
    rtx = needs_rtx()
    code = """
        import trtnet
        from trtnet import nn, Input
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
        trtnet.build_plan(trtnet.record(net, input=Input((1, 1, 8, 8))), "sm86")
        print("built")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "built", done.stderr

    class Network:  # TensorRT 10 and 11 warn here
        @property
        def has_implicit_batch_dimension(self):
            raise DeprecationWarning

    assert has_implicit_batch(rtx, Network()) is False


def test_volumes_are_sampled_where_tensorrt_takes_them(monkeypatch):
    rtx = needs_rtx()
    graph = trtnet.record(
        lambda x, grid: trtnet.functional.grid_sample(x, grid, align_corners=True),
        x=Input((1, 1, 3, 3, 3)), grid=Input((1, 2, 2, 2, 3)),
    )  # fmt: skip
    graph.lower(rtx.create_network(rtx.builder()))
    monkeypatch.setitem(rtx.__dict__, "samples_volumes", False)
    with pytest.raises(ProviderError, match=r"(?s)samples images, not volumes.*TensorRT 11.3") as caught:
        graph.lower(rtx.create_network(rtx.builder()))
    assert caught.value.where.file == __file__


def test_complex_and_dtype_errors_are_type_errors():
    with pytest.raises(DtypeError, match="this is no element type"):
        Input((3,), "complex64")


HUGE = 10**5000


def of(function, shape=(2, 3), dtype="float32"):
    return lambda: trtnet.record(function, x=Input(shape, dtype))


TAKES_NUMBERS = {
    "reshape": of(lambda x: x.reshape(HUGE, -1)),
    "view": of(lambda x: x.view(-1, HUGE)),
    "concrete reshape": lambda: trtnet.ones(2, 3).reshape(HUGE, -1),
    "Linear in": lambda: nn.Linear(HUGE, 3),
    "Linear out": lambda: nn.Linear(3, HUGE),
    "Conv2d": lambda: nn.Conv2d(3, 4, HUGE),
    "Embedding": lambda: nn.Embedding(HUGE, 3),
    "LayerNorm": lambda: nn.LayerNorm(HUGE),
    "zeros": lambda: trtnet.zeros(HUGE),
    "ones": lambda: trtnet.ones(2, HUGE),
    "empty": lambda: trtnet.empty(HUGE),
    "full of": lambda: trtnet.full((HUGE,), 1.0),
    "full with": lambda: trtnet.full((2,), HUGE),
    "full recorded": of(lambda x: x + trtnet.full((3,), HUGE)),
    "full_like": of(lambda x: x + trtnet.full_like(x, HUGE)),
    "arange": lambda: trtnet.arange(HUGE),
    "arange step": lambda: trtnet.arange(0, 10, HUGE),
    "linspace steps": lambda: trtnet.linspace(0, 1, HUGE),
    "linspace to": lambda: trtnet.linspace(0, HUGE, 3),
    "eye": lambda: trtnet.eye(HUGE),
    "rand": lambda: trtnet.rand(HUGE),
    "randint": lambda: trtnet.randint(0, HUGE, (3,)),
    "randint recorded": of(lambda x: x + trtnet.randint(0, HUGE, (3,))),
    **{
        f"{name} {kind}": (of(function, dtype=kind) if kind != "concrete" else lambda f=function: f(trtnet.ones(2, 3)))
        for kind in ("float32", "int32", "concrete")
        for name, function in {
            "+": lambda x: x + HUGE, "-": lambda x: HUGE - x, "*": lambda x: x * HUGE, "/": lambda x: x / HUGE,
            "%": lambda x: x % HUGE, "//": lambda x: x // HUGE, ">": lambda x: x > HUGE, "==": lambda x: x == HUGE,
            "**": lambda x: x**HUGE, "clamp": lambda x: x.clamp(0, HUGE), "maximum": lambda x: x.clamp(min=HUGE),
            "where": lambda x: trtnet.where(x > 0, x, HUGE), "fill": lambda x: x.clone().fill_(HUGE),
            "masked_fill": lambda x: x.masked_fill(x > 0, HUGE), "index": lambda x: x[HUGE],
            "write": lambda x: x.clone().__setitem__(0, HUGE) or x,
            "unsqueeze": lambda x: x.unsqueeze(HUGE), "sum": lambda x: x.sum(HUGE),
            "expand": lambda x: x.expand(HUGE, 2, 3),
            "repeat": lambda x: x.repeat(HUGE, 1), "topk": lambda x: x.topk(HUGE), "pad": lambda x: F.pad(x, (HUGE, 0)),
        }.items()
    },
    "max_pool2d": of(lambda x: F.max_pool2d(x, HUGE), (1, 3, 8, 8)),
    "interpolate": of(lambda x: F.interpolate(x, size=(HUGE, HUGE)), (1, 3, 8, 8)),
    "one_hot": of(lambda x: F.one_hot(x, HUGE), (2,), "int32"),
    "leaky_relu": of(lambda x: F.leaky_relu(x, HUGE)),
    "dim": lambda: Input((Dim("n", max=4) * HUGE,)),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES_NUMBERS)
def test_numbers_of_5000_digits(name):
    with pytest.raises(TrtnetError) as caught:
        TAKES_NUMBERS[name]()
    assert caught.value.where.file == __file__
    assert len(str(caught.value)) < 3000
