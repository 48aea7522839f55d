"""PyTorch's checkpoints (.pt, .pth, .bin), read with `weights_only`: nothing in the file is ever run.

Source: the PyTorch documentation of `torch.load` and `torch.save`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ml_dtypes

from ..basics.errors import ProviderError, WeightsError
from . import torch_claims
from ._common import Array, Arrays, check_bool, corrupt, mapped, native, no_metadata, some

if TYPE_CHECKING:
    import torch

HOLDERS = ("state_dict", "model_state_dict", "model")
_RESAVE = "save its tensors alone where it was made: torch.save(model.state_dict(), path)"


def read(path: Path, *, mmap: bool = True) -> dict[str, Array]:
    """The tensors of a mapping from name to tensor, or of one under `state_dict`, `model_state_dict` or `model`.

    With `mmap`, where the file is of torch's zip format (1.6 and later) and nothing in it is compressed, the arrays are
    read-only views of a mapping of the file, and none is copied but strided ones; else they are their own. Raises
    WeightsError, and ProviderError without torch.
    """
    torch = _torch(path)
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    mapped_file = archive and torch_claims.check(path)
    # torch's own reader of records gives memory that it did not write where an archive is damaged
    source = torch_claims.stored(path) if archive and not mapped_file else os.fspath(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped_file)
    except UnpicklingError as error:
        raise WeightsError(
            f"torch refuses to load {path} with weights_only: it holds more than tensors, or is damaged",
            expected="a mapping from name to tensor",
            found=_reason(str(error)),
            remedy=f"{_RESAVE}; or download or copy the file again",
        ) from error
    except (OSError, WeightsError):
        raise
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError and more for damaged files
        raise corrupt(
            path,
            "torch cannot load it",
            expected="a file written by torch.save",
            found=f"{type(error).__name__}: {_reason(str(error))}",
            remedy=f"download or copy the file again, or {_RESAVE}",
        ) from error
    arrays = {name: _array(torch, path, name, tensor) for name, tensor in _tensors(torch, path, loaded).items()}
    if mapped_file and not mmap:
        arrays = {name: array.copy() for name, array in arrays.items()}
    for name, array in arrays.items():
        check_bool(path, name, array)
    return {name: mapped(array) for name, array in arrays.items()} if mapped_file and mmap else arrays


def write(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Writes a mapping from name to tensor. Raises WeightsError, and OSError where the disk refuses."""
    no_metadata(path.suffix, metadata)
    torch = _torch(path)
    tensors = {name: _tensor(torch, name, array) for name, array in arrays.items()}
    with path.open("wb") as file:  # by name, torch would keep the temporary file's in the archive
        try:
            torch.save(tensors, file)
        except RuntimeError as error:  # so torch's archive writer takes a full disk
            raise OSError(str(error)) from error


def _torch(path: Path) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise ProviderError(
            f"{path.suffix} files need torch, which cannot be imported",
            expected="torch",
            found=str(error),
            remedy="pip install 'trtnet[torch]', or use .safetensors, which needs no torch",
        ) from error
    return torch


def _tensors(torch: ModuleType, path: Path, loaded: Any) -> dict[str, Any]:
    def refuse(found: str) -> WeightsError:
        problem = f"{path} is no mapping from name to tensor"
        expected = f"one, or one under {', '.join(HOLDERS[:-1])} or {HOLDERS[-1]}"
        return WeightsError(problem, expected=expected, found=found, remedy=_RESAVE)

    if not isinstance(loaded, Mapping):
        raise refuse(f"a {type(loaded).__name__}")
    for key in HOLDERS:
        if isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    strangers = [
        f"{name!r} (a {type(value).__name__})"
        for name, value in loaded.items()
        if not isinstance(name, str) or not isinstance(value, torch.Tensor)
    ]
    if strangers:
        raise refuse(some(strangers))
    return dict(loaded)


def _array(torch: ModuleType, path: Path, name: str, tensor: torch.Tensor) -> Array:
    dtype = str(tensor.dtype).removeprefix("torch.")
    special = getattr(ml_dtypes, dtype, None)
    try:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise TypeError(f"{tensor.layout}, on {tensor.device}")
        tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
        if special is None:
            array: Array = tensor.numpy()
            return array
        bits: Array = tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()]).numpy()
        return bits.view(special)
    except (TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{name!r} in {path} has no NumPy counterpart",
            expected="a dense tensor of a type that NumPy or ml_dtypes has",
            found=f"{tensor.dtype}: {_reason(str(error))}",
            remedy=f"convert it before saving: state_dict[{name!r}].to_dense().float()",
        ) from error


def _tensor(torch: ModuleType, name: str, array: Array) -> torch.Tensor:
    array = native(array)
    special = array.dtype.name.startswith(("bfloat16", "float8"))
    wanted = getattr(torch, array.dtype.name, None) if special else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that it could write to a read-only array; torch.save does not
            if wanted is None:
                return torch.from_numpy(array)
            return torch.from_numpy(array.view(f"i{array.dtype.itemsize}")).view(wanted)
    except TypeError as error:
        raise WeightsError(
            f"a PyTorch file cannot hold {name!r}",
            expected="a type that torch has",
            found=str(array.dtype),
            remedy=f"convert {name!r} with .astype(...), or leave it out",
        ) from error


def _reason(text: str) -> str:
    """What torch says was wrong, without its advice to switch the check off."""
    said = text.rpartition("WeightsUnpickler error:")[2].strip() or "no reason given"
    return said.splitlines()[0].partition(". Please use")[0].partition(". In PyTorch 2.6")[0][:300]
