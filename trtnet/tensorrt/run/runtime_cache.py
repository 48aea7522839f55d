"""What TensorRT-RTX compiles for the GPU while an engine runs, kept in a file for the next process."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ...basics.disk import as_path, read_bytes, replacing, require_folder
from ...basics.errors import ProviderError

if TYPE_CHECKING:
    from ..bindings import IRuntimeCache, IRuntimeConfig

log = logging.getLogger("trtnet.tensorrt")


class RuntimeCache:
    """One engine's cache, which its contexts share: read when the first of them is made, written by `save`.

    Raises WeightsNotFoundError where the file's folder is not there; ProviderError for what is no file, or a file that
    others can write to: TensorRT-RTX runs what is in it.
    """

    def __init__(self, path: str) -> None:
        self.path = as_path(path)
        require_folder(self.path)
        self._kept = _read(self.path)
        self._native: IRuntimeCache | None = None

    def add_to(self, config: IRuntimeConfig) -> None:
        """Have contexts of this config use it."""
        if self._native is None:
            made = config.create_runtime_cache()
            if self._kept is not None and not made.deserialize(self._kept):
                log.info("%s is of another GPU, driver or TensorRT-RTX: it is written anew", self.path)
            self._native = made
        if not config.set_runtime_cache(self._native):
            raise ProviderError(
                "TensorRT-RTX did not take the runtime cache",
                expected="a cache of this engine",
                found=str(self.path),
                remedy="remove the file: it is written anew",
            )

    def save(self) -> None:
        """Write it, where it has become another one; a warning where the disk refuses."""
        if self._native is None:
            return
        native, self._native = self._native, None
        found = bytes(native.serialize())
        if found == self._kept:
            return
        try:
            with replacing(self.path) as new:
                new.write_bytes(found)
        except OSError as error:
            warnings.warn(f"the runtime cache {self.path} could not be written: {error}", stacklevel=4)


def _read(path: Path) -> bytes | None:
    try:
        return read_bytes(path, owned=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProviderError(
            f"the runtime cache {path} cannot be read",
            expected="a file of one's own, or none yet",
            found=str(error),
            remedy="name another file, which is made then: runtime_cache='kernels.cache'",
        ) from None
