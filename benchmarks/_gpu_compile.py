"""torch.compile beside gpu.py, in the machine's own Python, which needs torch and Triton alone.

Orders come as lines of JSON, answers go out as lines of JSON after an "@": prepare a network, give a sample, so that
its samples take turns with those of the other variants.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any

import _gpu_models as models
import torch

_run: Any = None
_stream: Any = None


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """Compile a network with the given weights, run it on the given input, and save the output."""
    global _run, _stream
    started = time.perf_counter()
    torch._dynamo.reset()
    cuda = order["device"] == "cuda"
    model = models.make(order["model"], order["quick"])
    model.load_state_dict(torch.load(order["weights"]))
    model.to(order["device"], getattr(torch, order["dtype"])).requires_grad_(False)
    inputs = [value.to(order["device"]) for value in torch.load(order["input"])]
    settings = {"mode": order["mode"]} if cuda else {"backend": "eager"}  # quick runs on the CPU compile nothing
    compiled = torch.compile(model, **settings)
    if cuda:
        _stream = torch.cuda.Stream()

    def run() -> Any:
        return compiled(*inputs)

    _run = run
    with torch.inference_mode(), _on_stream():
        for _ in range(8):
            output = run()
            _synchronize()
        torch.save(models.first(output).float().cpu(), order["output"])
    return {"seconds": time.perf_counter() - started, "torch": torch.__version__, "settings": settings}


def _on_stream() -> Any:
    return torch.cuda.stream(_stream)


def _synchronize() -> None:
    if _stream is not None:
        _stream.synchronize()


def sample(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a call: enqueued alone, and with a wait after each."""
    calls, run = order["calls"], _run
    with torch.inference_mode(), _on_stream():
        _synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            run()
        enqueue = time.perf_counter() - started
        _synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            run()
            _synchronize()
        latency = time.perf_counter() - started
    return {"enqueue": enqueue / calls, "latency": latency / calls}


def main() -> None:
    models.without_tf32()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"prepare": prepare, "sample": sample}[order["do"]](order)
        except Exception:
            answer = {"error": traceback.format_exc(limit=-3)}
        print("@" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
