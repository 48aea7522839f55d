"""Rows of gpu.py: the networks of `models/`, against PyTorch eager, in a CUDA graph in both layouts, and torch.compile.

PyTorch runs the same files with their imports swapped (tests/helpers/swapped_models.py).
"""

from __future__ import annotations

import functools
import importlib
import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _gpu_device import Call, Clock
from _gpu_models import first, network
from _gpu_rows import times
from _gpu_session import TOLERANCES, Session

import trtnet
from models import NETWORKS
from trtnet import Input, nn
from trtnet.cli.inputs import parse_inputs

LIMIT = 1.15
ORDER = (
    "lenet", "resnet18", "vit_b_16", "resnet50", "bert", "convnext_tiny", "swin_t", "gpt2", "mobilenet_v2", "alexnet",
    "squeezenet", "nature_dqn", "impala", "katago", "pointnet", "unet", "mobilenet_v3_small", "googlenet", "vgg16",
    "yolo", "ddpm", "wavenet", "efficientnet_b0", "densenet121", "inception_v3", "resnet34", "retinanet",
)  # fmt: skip


@dataclass
class Pair:
    """A network of `models/` with random weights, and the same in torch, on the device."""

    name: str
    dtype: str
    model: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    graph: Any
    expected: torch.Tensor

    @property
    def torchs(self) -> tuple[torch.Tensor, ...]:
        """The inputs as PyTorch takes them: whole numbers as int64, which TensorRT 8.6 does not have."""
        return tuple(v if v.is_floating_point() else v.long() for v in self.inputs.values())

    @property
    def title(self) -> str:
        batch = len(next(iter(self.inputs.values())))
        return f"{self.name}, {'FP16' if self.dtype == 'float16' else 'FP32'}, batch {batch}"


def networks(session: Session) -> None:
    names = ("lenet",) if session.quick else ORDER
    for batch, dtype, name in itertools.product((1, 8), ("float16", "float32"), names):
        what = f"{name} {dtype} batch {batch}"
        if session.wants(what):
            with session.part(what):
                _one(session, pair_of(session, name, dtype, batch))


def pair_of(session: Session, name: str, dtype: str, batch: int) -> Pair:
    """A network of `models/` with random weights."""
    file, _, made_by = NETWORKS[name].made_by.partition(":")
    net: nn.Module = getattr(importlib.import_module(f"models.{file}"), made_by)().eval()
    model = network(name)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    net.load_state_dict(state)
    if dtype == "float16":
        net.to("float16")
    inputs = _inputs(name, batch, dtype)
    specs = {key: Input(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in inputs.items()}
    graph = trtnet.record(net, **specs)
    given = {key: value.to(session.device) for key, value in inputs.items()}
    model = model.to(session.device)
    torch.backends.cudnn.benchmark = False
    with torch.no_grad():
        expected = first(model.double()(*(v.double() if v.is_floating_point() else v.long() for v in given.values())))
    torch.backends.cudnn.benchmark = True
    return Pair(name, dtype, model.to(getattr(torch, dtype)), given, graph, expected)


def _inputs(name: str, batch: int, dtype: str) -> dict[str, torch.Tensor]:
    """Those that `trtnet models` lists, with another batch."""
    generator, found = torch.Generator().manual_seed(1), {}
    for key, spec in parse_inputs(NETWORKS[name].inputs.split()).items():
        shape = (batch, *map(int, spec.shape[1:]))
        if spec.dtype.is_floating_point:
            found[key] = torch.rand(shape, generator=generator).to(getattr(torch, dtype))
        else:
            found[key] = torch.randint(0, 2, shape, generator=generator, dtype=torch.int32)
    return found


def captured(clock: Clock, call: Call) -> Call:
    """The call as the replay of a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), clock.here():
        for _ in range(3):
            call()
        clock.synchronize()
        with torch.cuda.graph(graph, stream=clock.stream, capture_error_mode="thread_local"):
            output = call()

    def replay(held: Any = (output, call)) -> Any:  # the graph reads the memory of what the call holds
        graph.replay()
        return held[0]

    return replay


def _torchs(session: Session, pair: Pair) -> dict[str, Call]:
    """PyTorch's ways, each over tensors of its own."""
    given = pair.torchs
    found: dict[str, Call] = {"PyTorch eager": functools.partial(pair.model, *given)}
    if not session.cuda:
        return found
    found["PyTorch, CUDA graph"] = captured(session.clock, found["PyTorch eager"])
    if any(isinstance(module, torch.nn.Conv2d) for module in pair.model.modules()):
        last = network(pair.name).to(session.device, getattr(torch, pair.dtype)).to(memory_format=torch.channels_last)
        last.load_state_dict(pair.model.state_dict())
        images = [v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for v in given]
        found["PyTorch, CUDA graph, channels_last"] = captured(session.clock, functools.partial(last, *images))
    return found


def _one(session: Session, pair: Pair) -> None:
    session.compile_network(f"models/{pair.name}", pair.dtype, pair.model, dict(zip(pair.inputs, pair.torchs)))
    engine, built = _built(session, pair)
    session.say(f"{pair.title}: {_told(built)}")
    with session.clock.here(), torch.inference_mode():
        variants: dict[str, Call] = {"trtnet": engine.bind(graph=True, **pair.inputs)}
        variants |= _torchs(session, pair)
        outputs = {name: first(call()).double().clone() for name, call in variants.items()}
        session.clock.synchronize()
    samplers = {name: session.both(call, 20) for name, call in variants.items()}
    compiled, about = session.compiled(20)
    samplers |= compiled
    if "torch.compile output" in about:
        outputs["torch.compile"] = about.pop("torch.compile output").to(session.device).double()
    scale = float(pair.expected.abs().max())
    errors = {name: float((value - pair.expected).abs().max()) / scale for name, value in outputs.items()}
    agree = bool(errors["trtnet"] <= max(TOLERANCES[pair.dtype], 1.5 * errors["PyTorch eager"]))
    samples = session.sample(samplers, 30)
    others = [name for name in samplers if name != "trtnet"]
    session.row(
        f"{pair.title}, call and wait", {n: [s[1] for s in v] for n, v in samples.items()},
        [times("trtnet", *others, limit=LIMIT)], agree, errors=errors,
        layers=len(pair.graph.layers), **built, **about,
    )  # fmt: skip
    if session.cuda and np.isfinite(errors["trtnet"]):
        _by_layer(session, pair, engine)
    engine.close()


def _built(session: Session, pair: Pair) -> tuple[Any, dict[str, Any]]:
    """The engine; and the seconds of its build, and those of them within TensorRT's own call."""
    options: dict[str, Any] = {"provider": "tensorrt" if session.cuda else "reference"}
    if not session.cuda:
        started = time.perf_counter()
        engine = trtnet.build(pair.graph, **options)
        return engine, {"build": time.perf_counter() - started}
    assert session.provider is not None
    options |= {"optimization_level": session.given.level or 3, "check": False}
    builder, inside = session.provider.trt.Builder, 0.0
    original = builder.build_serialized_network

    def timed(*given: Any) -> Any:
        nonlocal inside
        started = time.perf_counter()
        try:
            return original(*given)
        finally:
            inside += time.perf_counter() - started

    builder.build_serialized_network = timed
    started = time.perf_counter()
    try:
        engine = trtnet.build(pair.graph, **options)
    finally:
        builder.build_serialized_network = original
    return engine, {"build": time.perf_counter() - started, "within TensorRT": inside}


def _told(built: dict[str, Any]) -> str:
    text = f"built in {built['build']:.1f} s"
    if "within TensorRT" in built:
        text += f", of it TensorRT's own call {built['within TensorRT']:.1f} s"
    return text


def _by_layer(session: Session, pair: Pair, engine: Any) -> None:
    """Where the time goes, by TensorRT's layers: the ten longest."""
    try:
        session.say(f"{pair.title}: {engine.profile(**pair.inputs)}")
    except trtnet.TrtnetError as error:
        session.say(f"no profile: {error.problem}")
