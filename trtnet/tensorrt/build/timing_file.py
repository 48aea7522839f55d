"""TensorRT's timings in a file of the user's, which trtexec shares."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from ...basics.disk import as_path, read_bytes, replacing
from ...basics.errors import ArgumentError
from ..provider import Provider
from .configuration import merged_timings

if TYPE_CHECKING:
    from ..bindings import IBuilderConfig, ITimingCache


class TimingFile:
    """The bytes of an ITimingCache, as `trtexec --timingCacheFile` reads and writes them; made where there is none yet.

    Raises ArgumentError where it could not be written: in no folder, or in a folder's place.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path)
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ArgumentError(
                f"{self.path} can be no timing cache",
                expected="a file, or a name for one in a folder that exists",
                found="a folder" if self.path.is_dir() else f"no folder {self.path.parent}",
                remedy="name a file in an existing folder",
            )

    def use(self, provider: Provider, config: IBuilderConfig) -> ITimingCache:
        """Have a build start from these timings, and add to them.

        Raises ProviderError for a TensorRT that keeps none; ArgumentError where these are not of this TensorRT and GPU.
        """
        if not provider.keeps_timings:
            raise provider.lacking("timing cache", "tensorrt 8.6 to 11", "leave it out: TensorRT-RTX times no kernels")
        data = self._read()
        cache = config.create_timing_cache(data)
        if cache is None or not config.set_timing_cache(cache, False):
            raise ArgumentError(
                f"{self.path} holds no timings of this TensorRT on this GPU",
                expected=f"what {provider} wrote here, or no file yet",
                found=f"{len(data):,} bytes",
                remedy="name another file: it is made",
            )
        return cache

    def _read(self) -> bytes:
        try:
            return read_bytes(self.path)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ArgumentError(
                f"{self.path} cannot be read", expected="a timing cache", found=str(error), remedy="may you read it?"
            ) from error

    def add(self, config: IBuilderConfig, cache: ITimingCache) -> None:
        """Write what a build timed, with what other builds did meanwhile; a warning where the disk refuses."""
        try:
            with replacing(self.path) as new:
                found = merged_timings(config, cache, self._read())
                if found is not None:
                    new.write_bytes(found)
        except OSError as error:
            warnings.warn(f"the timings {self.path} could not be written: {error}", stacklevel=4)
