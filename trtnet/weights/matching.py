"""Values by `state_dict` key: checked as a whole, then taken as a whole."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..basics import dtypes
from ..basics.arrays import as_array, check_memory, is_torch
from ..basics.dims import format_shape
from ..basics.dtypes import dtype as Dtype
from ..basics.errors import DtypeError, TrtnetError, WeightsError
from ..basics.location import user_level
from .parametrizations import computed
from .recipes import Leaf, Value, digest
from .sources import ALL, File, Selection, Source, is_sharded, named_values

CONVERTIBLE = (dtypes.float32, dtypes.float16, dtypes.bfloat16)
GIVEN = "the given weights"
TURNED = ", the other way round"
"""What the line of a misshapen matrix ends with whose sizes are swapped."""


class LoadReport(NamedTuple):
    """What a load found, as torch's named tuple and a little more."""

    missing_keys: list[str]
    unexpected_keys: list[str]
    converted: dict[str, str]
    """Name and dtype of the given values that were converted to the parameter's dtype."""


@dataclass
class Matched:
    """Given values that fit, by the parameter's own name; nothing has been changed yet."""

    values: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)


def match(
    leaves: Mapping[str, Leaf],
    given: Mapping[str, Any],
    *,
    strict: bool = True,
    partial: bool = False,
    selection: Selection = ALL,
    flat: bool = False,
    source: str = GIVEN,
) -> Matched:
    """Check given values against parameters: names, shapes, dtypes.

    Args:
        leaves: the parameters by key; tied ones are one Leaf under several keys.
        given: arrays or torch tensors by key, as `named_values` gives them. torch tensors on a GPU stay what they are.
        strict: whether unknown keys, and missing ones unless `partial`, raise.
        partial: whether a subset is enough.
        selection: what was selected of the source, for the messages.
        flat: whether values are 1-D float32 and take the parameter's shape, and its dtype where that is of integers
            (tensorrtx's `.wts`).
        source: how messages call the given values.

    Raises:
        WeightsError: listing extra, then missing, then misshapen names; or another value for a parameter that is
        frozen in the graph. DtypeError: a type that does not convert.
    """
    matched = Matched()
    misshapen: list[str] = []
    untied: list[str] = []
    if not flat:  # which tells no shapes
        given = computed(leaves, given)
    keys: dict[Leaf, str] = {}
    reached: set[Leaf] = set()
    for key, value in given.items():
        leaf = leaves.get(key)
        if leaf is None:
            if key.rpartition(".")[2] != "num_batches_tracked":
                matched.unexpected.append(key)
            continue
        if not partial:
            reached.add(leaf)
        array = _value(key, value)
        shape = array.shape
        if shape != leaf.shape and flat and int(np.prod(shape)) == leaf.count:
            array = array.reshape(leaf.shape)
        elif shape != leaf.shape:
            turned = TURNED if len(shape) == 2 and shape == leaf.shape[::-1] else ""
            misshapen.append(f"{key}: expected {format_shape(leaf.shape)}, found {format_shape(shape)}{turned}")
            continue
        if flat and not leaf.dtype.is_floating_point:
            array = _whole(key, array, leaf.dtype)
        array, was = _converted(key, array, leaf.dtype)
        if was is not None:
            matched.converted[key] = was
        if leaf in keys and keys[leaf] != key and not _same(matched.values[keys[leaf]], array):
            untied.append(f"{key}: tied to {keys[leaf]}, but their values differ")
            continue
        keys[leaf] = key
        matched.values[key] = array
    if not partial:
        matched.missing = _missing(leaves, reached)
    extra, missing = (matched.unexpected, matched.missing) if strict else ([], [])
    if extra or missing or misshapen or untied:
        remedy = _remedy(leaves, matched, extra, misshapen, untied, partial, selection.prefix)
        raise _mismatch(leaves, extra, missing, misshapen, untied, source, remedy)
    check_frozen(leaves, matched.values)
    for name in [name for name in matched.values if leaves[name].frozen is not None]:  # of equal value: nothing to do
        del matched.values[name]
        matched.converted.pop(name, None)
    return matched


def _missing(leaves: Mapping[str, Leaf], reached: set[Leaf]) -> list[str]:
    return [
        name
        for name, leaf in leaves.items()
        if leaf not in reached and leaf.persistent and name.rpartition(".")[2] != "num_batches_tracked"
    ]


def check_frozen(leaves: Mapping[str, Leaf], values: Mapping[str, Any]) -> None:
    """Raises WeightsError where a value differs from the one that the graph has in it as a number."""
    changed = {
        key: leaf.frozen.place
        for key, leaf in leaves.items()
        if leaf.frozen is not None and key in values and leaf.frozen.digest != digest(as_array(values[key]))
    }
    if changed:
        raise WeightsError(
            "other values for parameters that are frozen in this graph, because forward reads them as numbers",
            details="\n".join(f"  {key}: read as a number at {place}" for key, place in changed.items()),
            expected="the values that they had when the module was recorded",
            found=_few(list(changed)),
            remedy="give the module the new values and record it again, or keep the parameter a tensor in forward",
        )


def load_into(
    leaves: Mapping[str, Leaf],
    source: Source,
    *,
    strict: bool = True,
    assign: bool = True,
    selection: Selection = ALL,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> LoadReport:
    """`match` the values of a source, and give each Leaf its new value; a warning names what is not finite.

    With `assign` given arrays that need no change are taken as they are; else those that can be written are copied.
    `check` looks at the new values, by the parameters' own names, before any is taken.
    """
    given = named_values(source, leaves, selection)
    matched = match(
        leaves, given.values, strict=strict, selection=selection, flat=given.flat, source=given.text or GIVEN
    )
    if check is not None:
        check({leaves[name].name: value for name, value in matched.values.items()})
    for name, value in matched.values.items():
        array = as_array(value)
        if not assign and array.flags.writeable and name not in matched.converted:
            array = array.copy()
        leaves[name].value = Value(array)
    warn_nonfinite({name: leaves[name].value.read() for name in matched.values})
    return LoadReport(matched.missing, matched.unexpected, matched.converted)


def load_file(
    leaves: Mapping[str, Leaf],
    path: str | PathLike[str],
    *,
    strict: bool = True,
    mmap: bool = True,
    selection: Selection = ALL,
) -> LoadReport:
    """Load a weights file by its suffix."""
    return load_into(leaves, File(path, mmap), strict=strict, selection=selection)


def _value(key: str, value: Any) -> Any:
    if is_torch(value):
        if is_sharded(value):
            value = value.full_tensor()
        check_memory(value, f"the tensor for {key!r}", WeightsError)
        return value.detach() if value.requires_grad else value
    if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
        raise WeightsError(
            f"the array for {key!r} is not contiguous",
            expected="a C-contiguous array",
            found=f"shape {format_shape(value.shape)}, strides {value.strides}",
            remedy="numpy.ascontiguousarray(array)",
        )
    reason = None
    if hasattr(type(value), "__array__"):
        try:
            return as_array(value)
        except TrtnetError:
            raise
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:  # the value's own
            reason = str(error)
    raise WeightsError(
        f"the value for {key!r} is no array",
        expected="a NumPy array, a trtnet Array or a torch tensor",
        found=type(value).__name__,
        details=reason,
    )


def _converted(key: str, array: Any, dtype: Dtype) -> tuple[Any, str | None]:
    found = dtypes.get(array.dtype)
    if found is dtype:
        return array, None
    if (found in CONVERTIBLE or found is dtypes.float64) and dtype in CONVERTIBLE:
        with np.errstate(over="ignore"):  # what becomes infinite is said as such
            return (array.astype(dtype.numpy) if isinstance(array, np.ndarray) else array.to(dtype.torch)), found.name
    remedy = (
        f"convert it: array.astype(numpy.{dtype.name})"
        if isinstance(array, np.ndarray)
        else f"tensor.to(torch.{dtype.name})"
    )
    raise DtypeError(
        f"the values for {key!r} have the wrong dtype", expected=dtype.name, found=found.name, remedy=remedy
    )


def _whole(key: str, array: Any, dtype: Dtype) -> Any:
    """The whole numbers that a file of float32 alone holds for a parameter of integers or bools."""
    if dtypes.get(array.dtype) is not dtypes.float32:
        return array
    with np.errstate(invalid="ignore"):
        made = array.astype(dtype.numpy)
    if not np.array_equal(made.astype(np.float64), array):
        raise DtypeError(
            f"the values for {key!r} are no {dtype}",
            expected="whole numbers in its range",
            found=str(array[made.astype(np.float64) != array][:3]),
            remedy="write the file again from the state_dict that it was made of",
        )
    return made


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        # as bytes: NaN is the same as NaN
        return a.__array_interface__["data"] == b.__array_interface__["data"] or a.tobytes() == b.tobytes()
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and a.device == b.device:
        return bool(a.data_ptr() == b.data_ptr() or a.equal(b))
    return np.array_equal(as_array(a), as_array(b))


def _mismatch(
    leaves: Mapping[str, Leaf],
    extra: list[str],
    missing: list[str],
    misshapen: list[str],
    untied: list[str],
    source: str,
    remedy: str,
) -> WeightsError:
    parts = []
    if extra:
        parts.append("extra (no such parameter):\n" + _listed(extra, missing or list(leaves)))
    if missing:
        parts.append("missing:\n" + _listed(missing, extra, mutual=True))
    if misshapen:
        parts.append("misshapen:\n" + "\n".join(f"  {line}" for line in misshapen))
    if untied:
        parts.append("tied, with two values:\n" + "\n".join(f"  {line}" for line in untied))
    problem = f"{len(extra)} extra, {len(missing)} missing, {len(misshapen)} misshapen"
    return WeightsError(
        f"{source} do not fit: {problem}" + (f", {len(untied)} tied to another value" if untied else ""),
        details="\n".join(parts),
        expected=f"the {len(leaves)} names of the module",
        found=_few(extra + missing + [line.partition(":")[0] for line in misshapen + untied]),
        remedy=remedy,
    )


def _remedy(
    leaves: Mapping[str, Leaf],
    matched: Matched,
    extra: list[str],
    misshapen: list[str],
    untied: list[str],
    partial: bool,
    prefix: str,
) -> str:
    if extra and (found := _inner_prefix(extra, leaves)):
        if all(one.startswith(found) for one in extra):
            return f"strip the keys' prefix: prefix={prefix + found!r}"
        return f"take the part that is meant: prefix={prefix + found!r}"
    if untied:
        return "tied names are one parameter: give one of them, or the same values for both"
    if misshapen and partial:
        return "a refit changes values, not sizes: record and build the network of these sizes"
    if misshapen and all(line.endswith(TURNED) for line in misshapen) and not (extra or matched.missing):
        return "another program keeps its matrices so: give numpy.ascontiguousarray(matrix.T)"
    if misshapen and not (extra or matched.missing):
        return "make the module with the sizes that were found: a class count or a width differs"
    if partial:
        return "leave the other names out: a refit takes keys of graph.state_dict(); select=[patterns] takes some"
    if misshapen or not matched.values:
        return "these are weights of another network: compare the names and shapes that are listed above"
    if extra and matched.missing:
        return "what only has another name here: rename={'its name': 'the name here'}"
    return "strict=False takes what fits by name"


def _inner_prefix(extra: list[str], leaves: Mapping[str, Leaf]) -> str | None:
    """What keys begin with whose rest is a parameter's key; of several beginnings that with the most of them."""
    counts: dict[str, int] = {}
    for name in extra:
        parts = name.split(".")
        for count in range(1, len(parts)):
            if ".".join(parts[count:]) in leaves:
                beginning = ".".join(parts[:count]) + "."
                counts[beginning] = counts.get(beginning, 0) + 1
    return max(counts, key=lambda one: counts[one], default=None)


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") + ", listed above"


def _listed(names: list[str], candidates: list[str], limit: int = 20, mutual: bool = False) -> str:
    """A line for each name, with the nearest candidate: where `mutual`, only one to which no other name is nearer."""
    lines = []
    for name in names[:limit]:
        close = difflib.get_close_matches(name, candidates, 1, 0.6)
        if mutual and close and difflib.get_close_matches(close[0], names, 1, 0.6) != [name]:
            close = []
        lines.append(f"  {name}" + (f"  (nearest: {close[0]})" if close else ""))
    if len(names) > limit:
        lines.append(f"  ... and {len(names) - limit} more")
    return "\n".join(lines)


SUMMED = 1 << 12
"""From so many elements on, a sum of squares says first whether all are finite: it takes half the time."""


def nonfinite(array: np.ndarray, chunk: int = 1 << 20) -> bool:
    """Whether a floating-point array holds NaN or infinity; reads it in pieces, so that nothing large is made."""
    if array.dtype.kind in "biu" or not dtypes.get(array.dtype).is_floating_point:
        return False
    flat = array.reshape(-1)
    if flat.dtype == np.float32 and flat.size >= SUMMED:
        with np.errstate(all="ignore"):
            if np.isfinite(np.dot(flat, flat)):  # else there is one, or squares were too large
                return False
    return any(
        not np.isfinite(flat[start : start + chunk].astype(np.float32, copy=False)).all()
        for start in range(0, flat.size, chunk)
    )


def warn_nonfinite(values: Mapping[str, np.ndarray]) -> None:
    """One warning that names the arrays that hold NaN or infinity."""
    warn_of([name for name, array in values.items() if nonfinite(array)])


def warn_of(names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        warnings.warn(f"weights hold NaN or infinity: {shown}", stacklevel=user_level())
