"""Rows of gpu.py: samples of variants, what they are checked against, and the tables made of them. No GPU needed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

TITLES = {
    "calls": "Calls with CUDA tensors, policy MLP 64-256-256-8, FP32",
    "refit": "Refit from CUDA tensors, FP32",
    "preload": "Refit from CUDA tensors, FP32, in a process with LD_PRELOAD=$(trtnet preload)",
    "serving": "Calls with CUDA tensors in one thread while another refits, FP32",
    "check": "The comparison with the reference beside the build; the first row's loads torch's GPU libraries",
    "live": "Live weights, bound with graph=True",
    "recurrent": "An LSTM of 128 to 256 features, FP32, as a loop of the network and unrolled",
    "networks": "The networks of models/, random weights, beside the fastest of PyTorch's ways",
    "bench": "What `trtnet bench` says of an engine, beside TensorRT's own calls on its plan",
    "memory": "Seconds of a build, a check and a refit of which the results hold the GPU's memory",
    "fleet": "Weights from one process's GPU memory to another's",
    "inference": "Inference",
}
HALF = 0.5  # seconds
COLUMNS = ("what", "trtnet", "against", "that takes", "result", "target", "")


def cannot_run() -> str | None:
    """Why nothing can be measured here, in one line; None where TensorRT runs on a GPU."""
    import trtnet

    try:
        return trtnet.provider.load("tensorrt").cannot_execute
    except trtnet.TrtnetError as error:
        return error.problem


def stats(samples: Sequence[float]) -> dict[str, Any]:
    """Median and spread of seconds."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {
        "median": statistics.median(ordered),
        "p10": ordered[round(0.1 * last)],
        "p90": ordered[round(0.9 * last)],
        "min": ordered[0],
        "samples": len(ordered),
    }


def duration(seconds: float) -> str:
    """Three digits or so, with a unit."""
    if seconds < 1e-3:
        value, unit = seconds * 1e6, "µs"
    elif seconds < 1:
        value, unit = seconds * 1e3, "ms"
    else:
        value, unit = seconds, "s"
    return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def shown(found: dict[str, Any]) -> str:
    """`29.1 µs (28.8 to 30.2)`, the spread in the median's unit."""
    text = duration(found["median"])
    scale = {"µs": 1e6, "ms": 1e3, "s": 1.0}[text.split()[1]]
    digits = 1 if found["median"] * scale < 100 else 0
    return f"{text} ({found['p10'] * scale:,.{digits}f} to {found['p90'] * scale:,.{digits}f})"


@dataclass
class Check:
    """One comparison of two variants' medians.

    Attributes:
        subject: the variant of trtnet's.
        against: the other; of several the fastest counts.
        kind: "more" (seconds more), "times" (ratio), "equal" (a ratio of 1, or less), "nothing" (no more than noise),
            "saves" (ratio the other way round), "share" (a part of the other, or half a second), "faster", or
            "reported".
        limit: the target, in seconds or as a ratio.
        plus: a variant whose time is allowed on top.
    """

    subject: str
    against: tuple[str, ...]
    kind: str
    limit: float = 0.0
    plus: str | None = None

    def judge(self, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
        there = [name for name in self.against if name in found]
        if self.subject not in found or not there or (self.plus is not None and self.plus not in found):
            return {**asdict(self), "met": None, "result": "not measured", "target": self.target()}
        fastest = min(there, key=lambda name: found[name]["median"])
        mine, other = found[self.subject]["median"], found[fastest]["median"]
        extra = found[self.plus]["median"] if self.plus is not None else 0.0
        value, met, result = self._value(mine, other, extra)
        return {
            **asdict(self), "fastest": fastest, "value": value, "met": met, "result": result, "target": self.target(),
        }  # fmt: skip

    def _value(self, mine: float, other: float, extra: float) -> tuple[float, bool | None, str]:
        if self.kind == "more":
            value = mine - other
            text = f"{value * 1e6:+.1f} µs" if abs(value) < 1e-3 else f"{value * 1e3:+.2f} ms"
            return value, value <= self.limit, text
        if self.kind == "saves":
            value = other / mine
            return value, value >= self.limit, f"{value:,.1f} times faster"
        if self.kind == "faster":
            value = other / mine
            return value, value > 1, f"{value:.2f} times as fast"
        if self.kind == "share":
            return mine / other, mine <= max(self.limit * other, HALF), f"{mine / other:.1%}"
        value = (mine - extra) / other
        text = f"{value:.3f} times" if value < 0.2 else f"{value:.2f} times"
        if self.plus is not None:
            text += f" + {self.plus} {duration(extra)}"
        if self.kind == "reported":
            return value, None, text
        return value, value <= self.limit + (self.kind in ("equal", "nothing")), text

    def target(self) -> str:
        if self.kind == "more":
            return f"at most +{self.limit * 1e6:g} µs"
        if self.kind == "times":
            return f"at most {self.limit:.2f} times" + (f" + {self.plus}" if self.plus else "")
        if self.kind == "share":
            return f"at most {self.limit:.0%} or {duration(HALF)}"
        if self.kind == "saves":
            return f"at least {self.limit:.0f} times"
        if self.kind == "equal":
            return f"1.00 ± {self.limit:.2f}"
        if self.kind == "nothing":
            return "nothing more"
        return "faster" if self.kind == "faster" else "–"


def more(subject: str, *against: str, limit: float) -> Check:
    """At most `limit` seconds more."""
    return Check(subject, against, "more", limit)


def times(subject: str, *against: str, limit: float, plus: str | None = None) -> Check:
    """At most `limit` times as long, and `plus`."""
    return Check(subject, against, "times", limit, plus)


def saves(subject: str, *against: str, limit: float) -> Check:
    """At least `limit` times faster."""
    return Check(subject, against, "saves", limit)


def share(subject: str, *against: str, limit: float) -> Check:
    """At most this part of its time, or half a second."""
    return Check(subject, against, "share", limit)


def equal(subject: str, *against: str, limit: float = 0.03) -> Check:
    """The same time, or less."""
    return Check(subject, against, "equal", limit)


def nothing(subject: str, *against: str) -> Check:
    """No more time than without it, within noise."""
    return Check(subject, against, "nothing", 0.05)


def faster(subject: str, *against: str) -> Check:
    return Check(subject, against, "faster")


def reported(subject: str, *against: str) -> Check:
    """No target."""
    return Check(subject, against, "reported")


@dataclass
class Row:
    """What one measurement gave.

    Attributes:
        group: the process that measured it; its first word is the table that it is in.
        what: its name, unique.
        samples: seconds by variant.
        checks: what was compared.
        agree: whether the outputs of all variants agreed before timing; None where nothing was compared.
        details: anything else.
    """

    group: str
    what: str
    samples: dict[str, Sequence[float]]
    checks: Sequence[Check]
    agree: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        found = {name: stats(values) for name, values in self.samples.items() if len(values)}
        return {
            "group": self.group,
            "what": self.what,
            "seconds": found,
            "checks": [check.judge(found) for check in self.checks],
            "agree": self.agree,
            "details": self.details,
        }


def verdict(row: dict[str, Any], check: dict[str, Any]) -> str:
    if row["agree"] is False:
        return "outputs differ"
    if check["kind"] == "reported" or check["result"] == "not measured":
        return ""
    return "met" if check["met"] else "missed"


def judged(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's checks, judged anew from its times: rows of other runs are shown as those of this one."""
    names = [one.name for one in fields(Check)]
    return [Check(**{name: check[name] for name in names}).judge(row["seconds"]) for check in row["checks"]]


def tables(rows: Sequence[dict[str, Any]], errors: dict[str, str]) -> list[dict[str, Any]]:
    """One table for each kind of row, one line for each check."""
    made = []
    for kind, title in TITLES.items():
        lines = []
        for row in rows:
            if row["group"].partition("-")[0] != kind:
                continue
            found = row["seconds"]
            for check in judged(row):
                other = check.get("fastest") or " or ".join(check["against"])
                spent = row["details"].get("times", {}) if check["met"] is False else {}
                goes_to = ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent.items())
                lines.append([
                    f"{row['what']}: {check['subject']}",
                    shown(found[check["subject"]]) if check["subject"] in found else "–",
                    other,
                    shown(found[other]) if other in found else "–",
                    check["result"] + (f" (of it {goes_to})" if goes_to else ""),
                    check["target"],
                    verdict(row, check),
                ])  # fmt: skip
        for group, error in errors.items():
            if group.partition("-")[0] == kind:
                lines.append([group, "–", "–", "–", f"failed: {error.strip().splitlines()[-1][:100]}", "–", ""])
        if lines:
            made.append({"title": title, "columns": list(COLUMNS), "rows": lines})
    return made


def merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], order: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by group and name: new ones in place of old ones, in the order of the groups."""
    found = {(row["group"], row["what"]): row for row in old}
    found.update({(row["group"], row["what"]): row for row in new})
    places = {group: place for place, group in enumerate(order)}
    return sorted(found.values(), key=lambda row: places.get(row["group"], len(places)))
