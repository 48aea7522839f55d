"""Anonymous memory while 2 GiB of weights go from a safetensors file into an INetworkDefinition.

The file is made in a temporary folder and deleted afterwards. Each variant runs in a process of its own: it makes the
module, loads the weights, records and lowers, and reads after each step how much anonymous memory the process has
(pages of the mapped file are not anonymous: the system may drop them at any time). A thread looks for the peak.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from _common import options, report

TARGET = 0.01
STEPS = ("loaded", "recorded", "lowered")


def network(gigabytes: float) -> Any:
    """Convolutions of 9 MiB, a quarter of the bytes, and matrices of 64 MiB, the rest."""
    from trtnet import nn

    size = 2**30 * gigabytes
    convolutions, matrices = math.ceil(size / 4 / (9 << 20)), math.ceil(size * 3 / 4 / (64 << 20))
    return nn.Sequential(
        *(nn.Conv2d(512, 512, 3, padding=1) for _ in range(convolutions)),
        nn.Flatten(),
        *(nn.Linear(4096, 4096) for _ in range(matrices)),
    )


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """A safetensors file of random float32 weights, written piece by piece; its size."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = np.random.default_rng(0).standard_normal(1 << 22, np.float32) * 0.01
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            left = math.prod(shape)
            while left:
                file.write(noise[:left].data)
                left -= min(left, noise.size)
    return path.stat().st_size


# --- in a process of its own ------------------------------------------------------------------------------------------


def status() -> dict[str, int]:
    """Bytes of anonymous memory and of file pages that the process has."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if line.startswith("Rss"))
    return {name: int(fields[key].split()[0]) * 1024 for name, key in (("anonymous", "RssAnon"), ("file", "RssFile"))}


def child(path: Path, gigabytes: float, mapped: bool) -> None:
    import gc

    import tensorrt_rtx as trt

    import trtnet

    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    module = network(gigabytes)
    made = builder.create_network(0)
    gc.collect()
    found = {"before": status()}
    peak, done = found["before"]["anonymous"], threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, status()["anonymous"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    module.load_weights(path, mmap=mapped)
    found["loaded"] = status()
    graph = trtnet.record(module, input=trtnet.Input((1, 512, 2, 4)))
    found["recorded"] = status()
    lowering = graph.lower(made)
    found["lowered"] = status()
    done.set()
    watcher.join()
    # every weight is in the network, unchanged
    weights = {holding.name: holding for holding in lowering.ledger}
    assert sum(holding.nbytes for holding in weights.values()) >= gigabytes * 2**30 * 0.99
    assert all(weights[name].array is array for name, array in module.state_dict().items())
    print(json.dumps({"steps": found, "peak": max(peak, found["lowered"]["anonymous"]), "layers": made.num_layers}))


# --- measuring --------------------------------------------------------------------------------------------------------


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "mapped")
        return
    given = options(__doc__ or "", gigabytes=2.0)
    if not Path("/proc/self/status").exists():
        print("memory: not measured, this system has no /proc/self/status")
        return
    gigabytes = 0.09 if given.quick else given.gigabytes
    runs = 1 if given.quick else 3
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="trtnet-memory-") as folder:
        path = Path(folder) / "weights.safetensors"
        shapes = {name: tuple(leaf.shape) for name, leaf in network(gigabytes).named_parameters()}
        size = write_weights(path, shapes)
        for variant in ("mapped", "copied"):
            command = [sys.executable, __file__, "--child", str(path), str(gigabytes), variant]
            samples = []
            for _ in range(runs):
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                samples.append(json.loads(done.stdout))
            steps = [s["steps"] for s in samples]
            growth = {step: max(s[step]["anonymous"] - s["before"]["anonymous"] for s in steps) for step in STEPS}
            growth["peak"] = max(s["peak"] - s["steps"]["before"]["anonymous"] for s in samples)
            results.append({
                "variant": variant, "weights_bytes": size, "layers": samples[0]["layers"], "runs": runs,
                "anonymous_growth_bytes": growth, "share": growth["lowered"] / size,
                "share_at_peak": growth["peak"] / size, "file_pages_bytes": steps[0]["lowered"]["file"],
            })  # fmt: skip
    labels = {"mapped": "load_weights(path)", "copied": "load_weights(path, mmap=False)"}
    rows = [
        [
            labels[r["variant"]],
            *(f"{r['anonymous_growth_bytes'][step] / 2**20:,.1f}" for step in (*STEPS, "peak")),
            f"{r['share']:.2%}", f"{r['share_at_peak']:.2%}",
        ]
        for r in results
    ]  # fmt: skip
    columns = [
        "variant", "loaded, MiB", "and recorded, MiB", "and lowered, MiB", "peak, MiB", "share of weights", "at peak",
    ]  # fmt: skip
    title = (
        f"Growth of anonymous memory with {size / 2**30:.2f} GiB of weights in {len(shapes)} tensors, "
        f"{results[0]['layers']} layers; the largest of {runs} runs (target: at most {TARGET:.0%})"
    )
    report("memory", title, columns, rows, results, given, target_share=TARGET)


if __name__ == "__main__":
    main()
