"""One group of rows of gpu.py in its process: networks, engines, samples, and the file that rows are written to."""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import inspect
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import _gpu_models as plain
import numpy as np
import torch
from _common import interleaved, machine, versions
from _gpu_device import Call, Clock, Compiled, QuickClock, QuickEngine, RawEngine
from _gpu_raw import NETWORKS, Raw, timing_cache
from _gpu_rows import Check, Row, cannot_run, duration, verdict

import trtnet
from trtnet import Input, nn
from trtnet.cli import preload

TOLERANCES = {"float32": 1e-4, "float16": 3e-2}
COMPILING = 480  # seconds that torch.compile may take for one network
BIG = ("resnet18", "googlenet")


class MLP(nn.Module):
    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(features):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Any) -> Any:
        return self.layers(x)


def module(name: str, quick: bool) -> nn.Module:
    """The network as a trtnet module."""
    if name in plain.SIZES:
        return MLP(plain.sizes(name, quick))
    if name == "lenet":
        from models.lenet import LeNet

        return LeNet()
    if name == "resnet18":
        from models.resnet import resnet18

        return resnet18()
    from models.googlenet import GoogLeNet

    return GoogLeNet()


@dataclass
class Case:
    """A network with weights, at a batch size, in one dtype.

    Attributes:
        model: in PyTorch, on the device.
        x: the input, on the device.
        expected: the output in float64.
        state: float32 weights by name, as NumPy arrays; `half` weights were rounded to float16 before.
    """

    name: str
    batch: int
    dtype: str
    model: torch.nn.Module
    x: torch.Tensor
    expected: torch.Tensor
    state: dict[str, np.ndarray]
    graph: Any

    @property
    def label(self) -> str:
        names = {
            "policy": "policy MLP", "mlp42m": "42 M MLP", "lenet": "LeNet", "resnet18": "ResNet-18",
            "googlenet": "GoogLeNet", "lstm": "LSTM",
        }  # fmt: skip
        return names[self.name]

    @property
    def title(self) -> str:
        return f"{self.label}, {'FP16' if self.dtype == 'float16' else 'FP32'}, batch {self.batch}"

    def error(self, output: Any) -> float:
        """The largest difference from float64, relative to the largest output."""
        output = next(iter(output.values())) if isinstance(output, dict) else output
        expected = self.expected
        return float((output.to(expected.device).double() - expected).abs().max() / expected.abs().max())


def reference_of(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The output in float64."""
    torch.backends.cudnn.benchmark = False  # one call is not worth the search
    try:
        with torch.no_grad():
            return copy.deepcopy(model).double()(x.double())
    finally:
        torch.backends.cudnn.benchmark = True


def sgd_step(parameters: Sequence[torch.Tensor], rate: float) -> Call:
    """An optimiser's step over these, with gradients equal to their values."""
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    try:
        return torch.optim.SGD(parameters, lr=rate).step
    except Exception as error:  # torch.optim imports torch's compiler, which a torch put together by hand may lack
        print(f"torch.optim does not work here ({error}): the same kernels without it", flush=True)
    gradients = [parameter.grad for parameter in parameters]

    def step() -> None:
        with torch.no_grad():
            torch._foreach_add_(list(parameters), gradients, alpha=-rate)

    return step


class Session:
    """What the functions of a group use.

    Attributes:
        quick: tiny sizes and few repeats.
        cuda: whether this runs on a GPU with TensorRT; else stand-ins take their places.
        clock: times calls on a stream of its own.
        preloaded: whether trtnet's library answers for the driver in this process.
    """

    def __init__(self, group: str, given: argparse.Namespace, file: Path) -> None:
        self.group, self.given, self.file = group, given, file
        self.started = time.monotonic()
        self.quick = given.quick
        reason = cannot_run()
        self.cuda = torch.cuda.is_available() and reason is None
        if not self.cuda and not self.quick:
            raise SystemExit(f"gpu.py needs TensorRT and a GPU: {reason or 'this torch has no CUDA'}")
        self.device = "cuda" if self.cuda else "cpu"
        self.provider = trtnet.provider.load("tensorrt") if self.cuda else None
        self.preloaded = preload.answers() is not None
        assert self.preloaded == group.startswith("preload"), "LD_PRELOAD is not what the group is about"
        plain.without_tf32()
        self.clock: Clock = Clock() if self.cuda else QuickClock()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{group}-", dir=file.parent)
        self.folder = Path(self._folder.name)
        self.cache = self.folder / "cache"
        self.cache.mkdir()
        self._compiled: Compiled | None = None
        self.data: dict[str, Any] = {"group": group, "about": self._about(), "rows": [], "error": None, "seconds": 0.0}
        self.write()

    def _about(self) -> dict[str, Any]:
        found = {"versions": {**versions(), "torch": torch.__version__, "numpy": np.__version__}, "machine": machine()}
        found["settings"] = {
            "tf32": False, "optimization_level": self.given.level or "3; of ResNet-18 and GoogLeNet 2",
            "quick": self.quick,
        }  # fmt: skip
        if self.cuda:
            assert self.provider is not None
            found["versions"]["tensorrt"] = self.provider.version
            found["machine"]["gpu"] = torch.cuda.get_device_name(0)
            found["machine"]["driver"] = _driver()
        return found

    # --- time, and what to leave out

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def wants(self, text: str) -> bool:
        """Whether `--only` names it."""
        only = [part for part in self.given.only.split(",") if part]
        return not only or any(part.lower() in text.lower() for part in only)

    def say(self, text: str) -> None:
        print(f"[{self.group} {self.seconds():5.0f} s] {text}", flush=True)

    def repeats(self, number: int) -> int:
        return 2 if self.quick else number

    def level(self, name: str) -> int:
        """The optimization level, the same for trtnet and by hand."""
        return self.given.level or (2 if name in BIG else 3)

    # --- networks and engines

    def case(self, name: str, batch: int, dtype: str = "float32") -> Case:
        quick = self.quick
        batch = min(batch, 2) if quick else batch
        model = plain.trained(name, quick)
        net = module(name, quick)
        if dtype == "float16":
            model.half()
        state = {k: v.float().numpy() for k, v in model.state_dict().items() if v.is_floating_point()}
        net.load_state_dict(state)
        if dtype == "float16":
            net.to("float16")
        x = torch.randn(batch, *plain.shape(name, quick)).to(getattr(torch, dtype))
        parameter = list(inspect.signature(type(net).forward).parameters)[1]
        graph = trtnet.record(net, **{parameter: Input(tuple(x.shape), dtype)})
        model, x = model.to(self.device), x.to(self.device)
        return Case(name, batch, dtype, model, x, reference_of(model, x), state, graph)

    def build(self, case: Case, level: int | None = None, **options: Any) -> Any:
        """The engine of `trtnet.build`."""
        started = time.perf_counter()
        if self.cuda:
            level = level or self.level(case.name)
            engine = trtnet.build(case.graph, provider="tensorrt", optimization_level=level, **options)
        else:
            options.pop("cache", None)
            engine = trtnet.build(case.graph, provider="reference", **options)
        self.say(f"{case.title}: trtnet.build({', '.join(options)}) in {time.perf_counter() - started:.1f} s")
        return engine

    def same_plan(self, engine: Any, case: Case) -> RawEngine:
        """The engine's own plan, by TensorRT's own API."""
        if not self.cuda:
            return QuickEngine(None, b"", case.x, case.model)
        return RawEngine(self.provider, bytes(engine.plan), case.x)

    def by_hand(self, case: Case, held: bool = True) -> tuple[RawEngine, dict[str, Any]]:
        """The network by raw add_* calls, with the timing cache of trtnet's builds; and how it was built."""
        if not self.cuda:
            return QuickEngine(None, b"", case.x, case.model), {}
        assert self.provider is not None
        raw = Raw(self.provider.trt, self.provider.logger, case.state, case.dtype == "float16", held)
        NETWORKS[case.name](raw, tuple(case.x.shape))
        timings = timing_cache(self.cache)
        plan, seconds = raw.build(self.level(case.name), timings)
        self.say(f"{case.title}: by hand in {seconds:.1f} s" + ("" if timings else ", without a timing cache"))
        return RawEngine(self.provider, plan, case.x), {
            "seconds": seconds, "timing_cache_bytes": len(timings or b""), "plan_bytes": len(plan), "held": held,
        }  # fmt: skip

    def bind(self, engine: Any, x: torch.Tensor, graph: bool = False) -> Call:
        return engine.bind(x, graph=graph)

    # --- torch.compile

    def compile(self, case: Case) -> None:
        """Have torch.compile begin with a network, while TensorRT builds it."""
        self.compile_network(case.name, case.dtype, case.model, {"x": case.x})

    def compile_network(self, name: str, dtype: str, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
        if self._compiled is None:
            self._compiled = Compiled(self.given.compile_python, self.folder / "compile.log")
        weights, given = self.folder / "weights.pt", self.folder / "input.pt"
        torch.save({k: v.cpu() for k, v in model.state_dict().items()}, weights)
        torch.save([value.cpu() for value in inputs.values()], given)
        self._compiled.order(
            "prepare", model=name, dtype=dtype, quick=self.quick, device=self.device, weights=str(weights),
            input=str(given), output=str(self.folder / "output.pt"), mode=self.given.compile_mode,
        )  # fmt: skip

    def compiled(self, calls: int) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
        """Its samples, as a variant, once it is ready; none where it failed. And its output or error."""
        ready = self._compiled
        assert ready is not None
        try:
            about = ready.answer(COMPILING)
        except RuntimeError as error:
            self.say(f"torch.compile: {str(error).strip().splitlines()[-1]}")
            return {}, {"torch.compile error": str(error)[-500:]}
        self.say(f"torch.compile ready in {about['seconds']:.1f} s")

        def sample() -> tuple[float, float] | None:
            ready.order("sample", calls=calls)
            try:
                found = ready.answer(60)
            except RuntimeError as error:
                self.say(f"torch.compile: {error}")
                return None
            return found["enqueue"], found["latency"]

        return {"torch.compile": sample}, {
            "torch.compile output": torch.load(self.folder / "output.pt"), "torch.compile": about,
        }  # fmt: skip

    # --- samples

    def both(self, call: Call, calls: int, clock: Clock | None = None) -> Callable[[], tuple[float, float]]:
        """A sample of the host's seconds alone, and with a wait after each call."""
        clock = clock or self.clock
        calls = 1 if self.quick else calls
        return lambda: (clock.enqueue(call, calls), clock.latency(call, calls))

    def once(self, call: Call) -> Callable[[], float]:
        return functools.partial(self.clock.once, call)

    def sample(self, variants: dict[str, Callable[[], Any]], repeats: int, warmup: int = 3) -> dict[str, list[Any]]:
        """Variants take turns; a sample that failed is None, and left out."""
        found = interleaved(variants, self.repeats(repeats), 1 if self.quick else warmup, collect=False)
        return {name: [s for s in samples if s is not None] for name, samples in found.items()}

    # --- rows

    def agree(self, case: Case, outputs: dict[str, Any]) -> tuple[bool, dict[str, float]]:
        """Whether all outputs are those of float64 within the dtype's tolerance, and their errors."""
        errors = {name: case.error(output) for name, output in outputs.items()}
        bad = {name: error for name, error in errors.items() if not error <= TOLERANCES[case.dtype]}
        if bad:
            self.say(f"{case.title}: OUTPUTS DIFFER: {bad}")
        return not bad, errors

    def row(
        self,
        what: str,
        samples: dict[str, Sequence[float]],
        checks: Sequence[Check],
        agree: bool | None = None,
        **details: Any,
    ) -> None:
        """Keep a row, print it, and write the file."""
        assert all(row["what"] != what for row in self.data["rows"]), f"two rows are called {what!r}"
        big = next((name for name in BIG if name in self.group), "")
        found = Row(self.group, what, samples, checks, agree, {"optimization_level": self.level(big), **details}).data()
        self.data["rows"].append(found)
        self.say(f"{what}: " + ", ".join(f"{name} {duration(s['median'])}" for name, s in found["seconds"].items()))
        for check in found["checks"]:
            if check.get("value") is not None:
                against = check["fastest"]
                text = f"    {check['subject']} against {against}: {check['result']} ({check['target']})"
                print(f"{text} {verdict(found, check)}", flush=True)
        self.write()

    def write(self) -> None:
        """All of it or the old file: whoever reads it while this process runs sees no half."""
        self.data["seconds"] = self.seconds()
        new = self.file.with_name(f".{self.file.name}.new")
        new.write_text(json.dumps(self.data), encoding="utf-8")
        new.replace(self.file)

    def run(self, function: Callable[[Session], None]) -> bool:
        """Whether the group ran to its end."""
        try:
            function(self)
        except Exception as error:
            self.data["error"] = traceback.format_exc(limit=-6)
            print(self.data["error"], file=sys.stderr, flush=True)
            self.say(f"failed: {type(error).__name__}: {error}")
        self.data["ended"] = True
        self.write()
        if self._compiled is not None:
            self._compiled.close()
        self._folder.cleanup()
        return self.data["error"] is None

    @contextlib.contextmanager
    def part(self, what: str) -> Any:
        """A part whose failure leaves the group's other parts alone."""
        try:
            yield
        except Exception:
            text = traceback.format_exc(limit=-6)
            self.data["error"] = (self.data["error"] or "") + f"{what}:\n{text}\n"
            print(text, file=sys.stderr, flush=True)
            self.say(f"{what} failed")
            self.write()


def _driver() -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError, IndexError):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.split()[0]
    return "unknown"
