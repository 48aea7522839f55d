"""One network with an output for each function that is composed of several of TensorRT's layers, and its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(7)
INPUTS: dict[str, np.ndarray] = {
    "x": RNG.normal(size=(3, 5, 4)).astype(np.float32),
    "i": RNG.integers(-1000, 1000, (3, 5)).astype(np.int32),
    "j": RNG.integers(-5, 5, (3, 5)),
    "places": RNG.integers(0, 5, (3, 6, 4)),
    "updates": RNG.normal(size=(3, 6, 4)).astype(np.float32),
    "rows": np.array([2, 0, 2, 1]),
    "image": RNG.integers(0, 256, (3, 4)).astype(np.uint8),
}
INPUTS["x"][0, 0, 0], INPUTS["x"][1, 1, 1] = -0.0, np.inf


def everything(m: Any, x: Any, i: Any, j: Any, places: Any, updates: Any, rows: Any, image: Any) -> dict[str, Any]:
    """`m` is torch or trtnet."""
    u = updates[:, :4]
    finite = x.clamp(-9, 9)
    made = {
        "scatter_add": finite.scatter_add(1, places, updates),
        "multiplied": finite.scatter(1, places, updates, reduce="multiply"),
        "index_add": x.index_add(1, rows, u, alpha=2),
        "index_fill": x.index_fill(1, rows - 3, 2.5),
        "index_copy": x.index_copy(1, rows[1:], u[:, 1:]),
        "index_put": finite.index_put((rows[:3] * 0, rows[:3] - 2), u[0, 0], accumulate=True),
        "median": m.median(finite, 1).values,
        "kthvalue": finite.kthvalue(2, -1).values,
        "cummax": x.cummax(1).values,
        "cummax_places": x.cummax(1).indices,
        "cummin": i.cummin(1).values,
        "logcumsumexp": finite.logcumsumexp(1),
        "msort": finite.msort(),
        "rot90": m.rot90(x, 1, (1, 2)),
        "signbit": m.signbit(x),
        "copysign": m.copysign(updates[:, :5], x),
        "and": i & (i * 7),
        "or": i | j,
        "xor": i ^ 1023,
        "low": i & 15,
        "left": i << 3,
        "right": m.bitwise_right_shift(i, j.abs().int()),
        "promoted": i * finite[:, :, 0],
        "halved": i / 2,
        "mixed": i < j,
        "joined": m.cat([i, finite[:, :, 1]], 1),
        "pixels": image / 255.0,
        "masked": (finite > 0) * 1.5,
        "clamped": i.clamp(-3.5, 7),
        "bytes": image * 3 + 250,
        "bytes_inside": (image - 7).float() * 2,
        "to_bytes": i.to(m.uint8),
        "counted": m.matmul(j, i.long().transpose(0, 1)),
        "itself": x,
        "nothing": None,
    }
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        made[f"reduced_{reduce}"] = finite.scatter_reduce(1, places, updates, reduce, include_self=False)
    return made


def compare(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    """Both as NumPy arrays: the same names, dtypes and shapes; floats to the tolerance, integers and bools equal."""
    assert list(found) == list(wanted)
    for name, torchs in wanted.items():
        mine = found[name]
        if torchs is None:
            assert mine is None
            continue
        assert (mine.dtype, mine.shape) == (torchs.dtype, torchs.shape), name
        exact = torchs.dtype.kind != "f"
        np.testing.assert_allclose(
            mine, torchs, rtol=0 if exact else tolerance, atol=0 if exact else tolerance, err_msg=name
        )
