"""An LSTM of one layer, 128 to 256 features, batch 1: each step with layers of its own, against a loop.

`trtnet.record`, and TensorRT-RTX's compilation for sm86, which needs no GPU. Nothing is run here.
"""

from __future__ import annotations

from typing import Any

from _common import interleaved, milliseconds, options, report, spread, timed

import trtnet
from trtnet import Input, nn

TARGET = 2.0
"""Seconds for the compilation of 256 steps."""
FEATURES, SIZE, COMPILED_FOR = 128, 256, "sm86"


def measured(steps: int, unroll: bool, repeats: int) -> dict[str, Any]:
    module = nn.LSTM(FEATURES, SIZE, batch_first=True)
    module.unroll = unroll
    spec = Input((1, steps, FEATURES))
    graph = trtnet.record(module, input=spec)
    variants = {
        "record": lambda: timed(lambda: trtnet.record(module, input=spec)),
        "compile": lambda: timed(lambda: trtnet.build_plan(graph, targets=[COMPILED_FOR])),
    }
    samples = interleaved(variants, repeats, warmup=min(1, repeats - 1))
    return {
        "steps": steps,
        "form": "unrolled" if unroll else "loop",
        "layers": len(graph.layers),
        "record_s": spread(samples["record"]),
        "compile_s": spread(samples["compile"]),
    }


def main() -> None:
    given = options(__doc__ or "")
    lengths = (1, 2) if given.quick else (1, 2, 4, 8, 16, 32, 64, 256)
    trtnet.build_plan(trtnet.record(nn.Linear(2, 2), input=Input((1, 2))), targets=[COMPILED_FOR])  # loads TensorRT
    results, rows = [], []
    for steps in lengths:
        for unroll in (True, False):
            found = measured(steps, unroll, 1 if given.quick or (unroll and steps > 32) else 5)
            results.append(found)
            rows.append([
                f"{steps} steps, {found['form']}", f"{found['layers']:,}", milliseconds(found["record_s"]["median"]),
                f"{found['compile_s']['median']:.2f}", f"{found['compile_s']['min']:.2f}",
            ])  # fmt: skip
    columns = ["LSTM, batch 1", "layers", "record, ms", "compile, s", "least, s"]
    title = f"Recurrent networks, unrolled and as a loop, medians (target: 256 steps within {TARGET:.0f} s)"
    settings = {"features": FEATURES, "size": SIZE, "compiled_for": COMPILED_FOR, "target_s": TARGET}
    report("recurrent", title, columns, rows, results, given, **settings)


if __name__ == "__main__":
    main()
