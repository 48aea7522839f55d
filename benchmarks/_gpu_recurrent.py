"""Rows of gpu.py: an LSTM as a loop and unrolled, against PyTorch eager, which runs cuDNN's."""

from __future__ import annotations

import functools
from typing import Any

import torch
from _gpu_rows import reported, times
from _gpu_session import Case, Session, reference_of

import trtnet
from trtnet import Input, nn

FEATURES, SIZE = 128, 256
LIMIT = 2.0


class LSTM(nn.Module):
    def __init__(self, unroll: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, SIZE, batch_first=True)
        self.lstm.unroll = unroll

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0]


class Theirs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(FEATURES, SIZE, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


def recurrent(session: Session) -> None:
    """256 steps as a loop; and few steps both ways, for where to unroll."""
    for steps, batch, forms in (
        (256, 1, ("loop",)), (256, 64, ("loop",)), *((s, 1, ("loop", "unrolled")) for s in (2, 4, 8, 16)),
        (8, 64, ("loop", "unrolled")), (16, 64, ("loop", "unrolled")),
    ):  # fmt: skip
        what = f"{steps} steps, batch {batch}"
        if session.wants(what):
            with session.part(what):
                _one(session, min(steps, 3) if session.quick else steps, batch, what, forms)


def _case(session: Session, steps: int, batch: int, form: str) -> Case:
    torch.manual_seed(0)
    model, net = Theirs().eval(), LSTM(form == "unrolled")
    state = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    net.load_state_dict(state)
    x = torch.randn(batch, steps, FEATURES)
    graph = trtnet.record(net, x=Input(tuple(x.shape)))
    model, x = model.to(session.device), x.to(session.device)
    return Case("lstm", batch, "float32", model, x, reference_of(model, x), state, graph)


def _one(session: Session, steps: int, batch: int, what: str, forms: tuple[str, ...]) -> None:
    cases = {form: _case(session, steps, batch, form) for form in forms}
    engines = {form: session.build(case) for form, case in cases.items()}
    case = cases["loop"]
    with session.clock.here(), torch.inference_mode():
        variants: dict[str, Any] = {form: session.bind(engine, case.x) for form, engine in engines.items()}
        for form, engine in engines.items():
            try:
                variants[f"{form}, graph=True"] = session.bind(engine, case.x, graph=True)
            except trtnet.TrtnetError as error:
                session.say(f"{what}: {form}, graph=True: {error.problem}")
        variants["PyTorch eager"] = functools.partial(case.model, case.x)
        agree, errors = session.agree(case, {name: call() for name, call in variants.items()})
    samples = session.sample({name: session.both(call, 10) for name, call in variants.items()}, 40)
    latency = {name: [s[1] for s in found] for name, found in samples.items()}
    fastest = min((n for n in variants if n.startswith("loop")), key=lambda n: sorted(latency[n])[len(latency[n]) // 2])
    checks = [times(fastest, "PyTorch eager", limit=LIMIT)]
    if "unrolled" in forms:
        checks = [
            reported(name, "PyTorch eager", *(["loop"] if name != "loop" else []))
            for name in latency
            if name != "PyTorch eager"
        ]
    session.row(f"LSTM, {what}, call and wait", latency, checks, agree, calls_per_sample=10, errors=errors)
