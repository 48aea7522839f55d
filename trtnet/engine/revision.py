"""Which weights an engine has: how often they were changed, and the number that the trainer gave them."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from ..basics.errors import ArgumentTypeError

Version: TypeAlias = int | Literal["live"] | None
"""A trainer's number of weights; "live" where it writes to what is read; None where nobody told one."""


class Revision(NamedTuple):
    """The weights of an engine between two changes. Read as one, so that a call says both of the weights that it ran
    with.

    Attributes:
        generation: how many changes there were.
        version: the trainer's number.
    """

    generation: int = 0
    version: Version = None

    def next(self, version: Version, bound: bool) -> Revision:
        """That after a change: of this version, or "live" where a trainer's tensors are bound."""
        return Revision(self.generation + 1, "live" if bound else version)


class Revised:
    """What has a revision."""

    revision: Revision
    """Which weights: `generation` and `version`, read as one."""

    @property
    def generation(self) -> int:
        """How many times the weights had been changed."""
        return self.revision.generation

    @property
    def version(self) -> Version:
        """The trainer's number of the weights; "live" where its tensors are bound, None where nobody told one."""
        return self.revision.version


def number(version: object) -> int | None:
    """A trainer's version as an int; None stays None. Raises ArgumentTypeError for anything but a whole number."""
    if version is None:
        return None
    index = getattr(type(version), "__index__", None)
    if index is None or isinstance(version, bool):
        raise ArgumentTypeError(
            "version is no whole number",
            expected="an int that the trainer counts, as its optimizer's steps; or None",
            found=repr(version)[:80],
            remedy="refit(state_dict, version=step)",
        )
    return int(index(version))
