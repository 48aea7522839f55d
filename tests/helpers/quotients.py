"""Dividends and divisors that show what a division loses, and the comparison of what a division gave with torch's."""

from __future__ import annotations

from typing import Any

import numpy as np

NUMBERS = (1.0, -1.0, 0.5, -4.0, 3.0, -3.0, 360.0, 0.1, 2 * np.pi, 1e-30, -2e-38, 1e38, -3e38, 0.0)
NUMBERS += (float("inf"), -float("inf"), float("nan"), 2.0**-40, 2.0**100, 2.0**127)
OPERATIONS = {"remainder": 2.0**33, "fmod": 2.0**33, "floor_divide": 2.0**22}
"""With the quotients below which each is torch's."""
SPECIAL = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 7, -7, 1e-20, 1e-30, 3e38, -3e38, 2.5, 6e-8], np.float32)


def pairs(count: int = 20_000, divisor: float | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dividends at, beside and between the multiples of divisors of all sizes, and special values."""
    generator = np.random.default_rng(seed)
    exponents = generator.integers(-64, 40, count)
    b = np.ldexp(generator.integers(2**23, 2**24, count), exponents).astype(np.float32)
    b *= generator.choice([-1, 1], count).astype(np.float32)
    if divisor is not None:
        b = np.full(count, divisor, np.float32)
    quotient = np.exp2(generator.uniform(-2, 32.99, count))
    with np.errstate(all="ignore"):
        multiple = (np.floor(quotient) * b.astype(np.float64)).astype(np.float32)
        beside = np.nextafter(multiple, generator.choice([-np.inf, np.inf], count).astype(np.float32))
        between = (quotient * b.astype(np.float64)).astype(np.float32)
    a = np.choose(generator.integers(0, 3, count), [multiple, beside, between])
    a *= generator.choice([-1, 1], count).astype(np.float32)
    a[np.abs(a) < 2.0**-126] = 0  # subnormal numbers count as zero
    x, y = (v.reshape(-1) for v in np.meshgrid(SPECIAL, SPECIAL if divisor is None else b[:1]))
    return np.concatenate([a, x]), np.concatenate([b, y])


def wanted_of(name: str, a: np.ndarray, b: Any) -> np.ndarray:
    import torch

    return getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b) if isinstance(b, np.ndarray) else b).numpy()


def compare(name: str, found: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Equal to torch's, the sign of zeros apart, for quotients below the limit."""
    wanted = wanted_of(name, a, b)
    with np.errstate(all="ignore"):
        beyond = np.abs(a.astype(np.float64) / b.astype(np.float64)) >= OPERATIONS[name]
    beyond &= np.isfinite(a) & (b != 0)
    wrong = ~beyond & (found != wanted) & ~(np.isnan(found) & np.isnan(wanted))
    at = np.flatnonzero(wrong)[:5]
    assert not wrong.any(), f"{name}: {[(a[i], b[i], found[i], wanted[i]) for i in at]}"
    assert beyond.mean() < 0.5
