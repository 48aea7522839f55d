"""Rows of gpu.py: what the comparison with the reference takes of a build."""

from __future__ import annotations

import time

from _gpu_rows import share
from _gpu_session import Case, Session

from trtnet.engine.checked import Checked
from trtnet.pytorch import checking

CHECK, BUILD = "check", "build"
NETWORKS = {"policy": 3, "mlp42m": 2, "lenet": 3, "resnet18": 1, "googlenet": 1}
"""Networks, and how often each is built."""


def check(session: Session) -> None:
    for name, builds in NETWORKS.items():
        if not session.wants(name):
            continue
        with session.part(name):
            case = session.case(name, 1)
            for what, options in {"": {}, ", refittable": {"refit": True}}.items():
                _row(session, case, what, options, session.repeats(builds))


def _row(session: Session, case: Case, what: str, options: dict[str, bool], builds: int) -> None:
    found: dict[str, list[float]] = {CHECK: [], BUILD: []}
    figures = Checked()
    for _ in range(builds):
        started = time.perf_counter()
        engine = session.build(case, check=False, **options)
        built = time.perf_counter()
        # as build does, but to its end, however long that takes
        figures, _wrong = checking.check(engine, case.graph, ordinal=0 if session.cuda else None, refit=bool(options))
        found[CHECK].append(time.perf_counter() - built)
        found[BUILD].append(built - started)
        engine.close()
    session.row(
        f"{case.title}{what}", found, [share(CHECK, BUILD, limit=checking.SHARE)], figures.passed,
        device=figures.device, error=max((row.error for row in figures.rows if row.error is not None), default=None),
        first_in_process=session.data["rows"] == [],
    )  # fmt: skip
