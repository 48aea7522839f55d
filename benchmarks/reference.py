"""`trtnet.reference(graph)` against the same torch.nn model, eager on the CPU.

LeNet and ResNet-18 are models/*.py, run as they stand with trtnet and, with the imports swapped, with torch. Both take
and give torch tensors, with the same weights, under `torch.inference_mode`; their outputs are compared first.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _common import interleaved, milliseconds, options, report, spread, timed

import models.lenet
import models.resnet
import trtnet
from trtnet import Input, nn

TARGET = 1.10


def in_torch(module: types.ModuleType) -> types.ModuleType:
    """A model file with `trtnet` swapped for `torch`, the other way round from how one comes to trtnet."""
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    for ours, theirs in (
        ("from trtnet import functional as F", "import torch.nn.functional as F"),
        ("from trtnet import Tensor, nn", "from torch import Tensor, nn"),
        ("from trtnet import nn", "from torch import nn"),
    ):
        source = source.replace(ours, theirs)
    assert "trtnet import" not in source
    made = types.ModuleType(f"{module.__name__}_in_torch")
    exec(compile(source, module.__file__, "exec"), made.__dict__)
    return made


def attention(library: Any, layers: int) -> Callable[[], Any]:
    return lambda: library.Sequential(
        *(library.TransformerEncoderLayer(256, 8, 1024, batch_first=True, dropout=0.0) for _ in range(layers))
    )


def first(output: Any) -> torch.Tensor:
    return next(iter(output.values())) if isinstance(output, dict) else output


def measure(
    ours: nn.Module, theirs: torch.nn.Module, shape: tuple[int, ...], repeats: int, calls: int
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    theirs.eval()
    for name, buffer in theirs.named_buffers():  # running statistics that are not 0 and 1
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    ours.load_state_dict(theirs.state_dict())
    name = "image" if len(shape) == 4 else "input"
    engine = trtnet.reference(trtnet.record(ours, **{name: Input(shape)}))
    x = torch.rand(shape, generator=generator)
    with torch.inference_mode():
        mine, its = first(engine(x)), first(theirs(x))
        difference = float((mine - its).abs().max() / its.abs().max())
        assert difference < 1e-4, f"the outputs differ by {difference:.2e}"
        variants = {"torch": lambda: timed(lambda: theirs(x), calls), "trtnet": lambda: timed(lambda: engine(x), calls)}
        samples = interleaved(variants, repeats)
    torch_times, times = spread(samples["torch"]), spread(samples["trtnet"])
    return {
        "shape": shape,
        "calls_per_sample": calls,
        "torch_s": torch_times,
        "trtnet_s": times,
        "ratio": times["median"] / torch_times["median"],
        "ratio_of_minima": times["min"] / torch_times["min"],
        "relative_difference": difference,
    }


def cases(quick: bool) -> list[tuple[str, Any, Any, tuple[int, ...], int, int]]:
    lenet, resnet = in_torch(models.lenet), in_torch(models.resnet)
    if quick:
        return [
            ("LeNet, batch 1", models.lenet.LeNet, lenet.LeNet, (1, 1, 28, 28), 2, 1),
            ("ResNet-18, batch 1, 32×32", models.resnet.resnet18, resnet.resnet18, (1, 3, 32, 32), 1, 1),
            ("transformer, 1 layer", attention(nn, 1), attention(torch.nn, 1), (1, 4, 256), 2, 1),
        ]
    return [
        ("LeNet, batch 1", models.lenet.LeNet, lenet.LeNet, (1, 1, 28, 28), 100, 50),
        ("LeNet, batch 64", models.lenet.LeNet, lenet.LeNet, (64, 1, 28, 28), 100, 4),
        ("ResNet-18, batch 1, 224×224", models.resnet.resnet18, resnet.resnet18, (1, 3, 224, 224), 60, 1),
        ("ResNet-18, batch 8, 224×224", models.resnet.resnet18, resnet.resnet18, (8, 3, 224, 224), 15, 1),
        ("6 transformer layers, 1×128×256", attention(nn, 6), attention(torch.nn, 6), (1, 128, 256), 60, 1),
        ("6 transformer layers, 8×128×256", attention(nn, 6), attention(torch.nn, 6), (8, 128, 256), 20, 1),
    ]


def main() -> None:
    given = options(__doc__ or "", threads=1)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    results, rows = [], []
    for name, ours, theirs, shape, repeats, calls in cases(given.quick):
        found = measure(ours(), theirs(), shape, repeats, calls)
        results.append({"network": name, **found})
        rows.append([
            name, milliseconds(found["torch_s"]["median"]), milliseconds(found["trtnet_s"]["median"]),
            f"{milliseconds(found['torch_s']['p90'])}, {milliseconds(found['trtnet_s']['p90'])}",
            f"{found['relative_difference']:.0e}", f"{found['ratio']:.2f}",
        ])  # fmt: skip
    columns = ["network", "torch eager, ms", "trtnet, ms", "90th percentiles, ms", "largest difference", "ratio"]
    title = (
        f"The reference engine against torch.nn on the CPU, medians, threads: {given.threads} "
        f"(target: a ratio of at most {TARGET:.2f}; transformers have none)"
    )
    report("reference", title, columns, rows, results, given, target_ratio=TARGET, threads=given.threads)


if __name__ == "__main__":
    main()
