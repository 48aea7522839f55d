"""What layers ask of the values of weights, beyond shapes and dtypes: that scales are positive, indices in a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..basics.errors import TrtnetError, WeightsError


class Demand(NamedTuple):
    """What a layer asks of the values of one operand, where that is weights.

    Attributes:
        position: TensorRT's input index of the operand.
        wrong: which elements are not as they must be.
        error: what is raised while recording; what is given later raises WeightsError.
        problem, expected, remedy: what that says.
        least: whether it is about the least values of the Dims; else about their greatest.
    """

    position: int
    wrong: Callable[[np.ndarray], np.ndarray]
    error: type[TrtnetError]
    problem: str
    expected: str
    remedy: str
    least: bool = False

    def check(self, array: np.ndarray, remedy: str | None = None) -> None:
        """Raises `error` for a constant that does not fit."""
        found = self.found(array)
        if found is not None:
            raise self.error(self.problem, expected=self.expected, found=found, remedy=remedy or self.remedy)

    def found(self, array: np.ndarray) -> str | None:
        """The first wrong elements; None where there is none."""
        wrong = np.asarray(self.wrong(array))
        if not wrong.any():
            return None
        values = array[wrong]
        few = ", ".join(f"{float(value):g}" for value in values.reshape(-1)[:3])
        return few + (f" and {values.size - 3} more" if values.size > 3 else "")

    def given(self, array: np.ndarray, names: str, module: str | None, at: str) -> None:
        """Raises WeightsError for new values of the parameters of these names that do not fit."""
        found = self.found(array)
        if found is not None:
            raise WeightsError(
                self.problem,
                details=at,
                expected=self.expected,
                found=f"{names}: {found}",
                module=module,
                remedy=self.remedy,
            )
