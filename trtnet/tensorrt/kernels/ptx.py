"""PTX, as text: the parameters of a kernel in another order, and numbers in it that were parameters.

`.param` variables are read by their names (PTX ISA, "Parameter State Space"), so that their order is that of the
declarations alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BITS = {"int32": 32, "uint32": 32, "float": 32, "int64": 64, "double": 64, "bool": 8}
"""How wide the arguments of a kernel are, by the names that a launch has for their types."""


class Unsuitable(Exception):
    """Why a kernel cannot become part of a plan, in words."""


class Parameter(NamedTuple):
    """A parameter as PTX declares it."""

    name: str
    bits: int
    text: str


def parameters(text: str, function: str) -> list[Parameter]:
    """The parameters of an entry. Raises Unsuitable where one is no number and no pointer."""
    return [_declared(one) for one in _entry(text, function)[1].split(",") if one.strip()]


def arranged(
    text: str, function: str, inputs: int, outputs: int, arguments: Sequence[tuple[str, int | float | None]]
) -> str:
    """The same kernel with its parameters in the order of `tensorrt.plugin`: inputs, arguments, outputs.

    Args:
        text: PTX whose `function` takes inputs, outputs and arguments.
        arguments: the type of each and its number, which is written into the code; of None a parameter of 32 bits
            remains, of which an argument of 64 bits is widened with its sign.

    Raises Unsuitable where the code reads a parameter otherwise than whole and by its name.
    """
    declared = parameters(text, function)
    tensors = inputs + outputs
    wanted = [64] * tensors + [BITS[kind] for kind, _ in arguments]
    if [one.bits for one in declared] != wanted:
        raise Unsuitable(
            f"its code declares parameters of {', '.join(str(one.bits) for one in declared)} bits, where "
            f"{', '.join(map(str, wanted))} were expected"
        )
    kept = []
    body = _entry(text, function)[2]
    for one, (kind, value) in zip(declared[tensors:], arguments):
        if value is not None:
            body = _with_number(body, one, _bits(kind, value))
        elif kind == "int64":
            body = _widened(body, one)
        elif kind == "bool":
            raise Unsuitable("a bool argument depends on the inputs' shapes")
        if value is None:
            kept.append(f".param .u32 {one.name}")
    order = [*(one.text for one in declared[:inputs]), *kept, *(one.text for one in declared[inputs:tensors])]
    return _entry(text, function)[0] + "\n\t" + ",\n\t".join(order) + "\n" + body


def _entry(text: str, function: str) -> tuple[str, str, str]:
    """What is before the parameters of an entry, the parameters, and the rest."""
    found = re.search(rf"\.entry\s+{re.escape(function)}\s*\(([^)]*)\)", text)
    if found is None:
        raise Unsuitable(f"its code has no entry {function}")
    return text[: found.start(1)], found[1], text[found.end(1) :]


def _declared(text: str) -> Parameter:
    found = re.fullmatch(r"\.param\s+\.[bsuf](8|16|32|64)\s[^\[]*?([\w$]+)", " ".join(text.split()))
    if found is None:
        raise Unsuitable(f"its code declares a parameter that is no number and no pointer: {' '.join(text.split())}")
    return Parameter(found[2], int(found[1]), " ".join(text.split()))


def _bits(kind: str, value: int | float) -> int:
    """The bits of a number, as the kernel takes it."""
    if kind in ("float", "double"):
        with np.errstate(over="ignore"):
            one = np.asarray(value).astype(np.float32 if kind == "float" else np.float64)
        return int(one.view(np.uint32 if kind == "float" else np.uint64))
    return int(value) & ((1 << BITS[kind]) - 1)


def _loads(parameter: Parameter) -> re.Pattern[str]:
    """The instructions that read a parameter: kind, bits, space, register."""
    return re.compile(rf"\bld\.param\.([bsuf])(\d+)(\s+)(%\w+),\s*\[{re.escape(parameter.name)}\]\s*;")


def _with_number(body: str, parameter: Parameter, bits: int) -> str:
    """The code with a number in place of a parameter."""

    def moved(found: re.Match[str]) -> str:
        kind, read, space, register = found[1], int(found[2]), found[3], found[4]
        declared = re.search(rf"\.reg\s+\.[bsuf](\d+)\s+{register.rstrip('0123456789')}<", body)
        if read != parameter.bits or declared is None:
            raise Unsuitable(f"its code reads the parameter {parameter.name} in another width: {found[0]}")
        width, number = int(declared[1]), bits
        if kind == "s" and bits >> (read - 1):
            number = (bits - (1 << read)) & ((1 << width) - 1)
        return f"mov.b{width}{space}{register}, 0x{number:X};"

    return _without(_loads(parameter).sub(moved, body), parameter)


def _widened(body: str, parameter: Parameter) -> str:
    """The code with a parameter of 32 bits where one of 64 was: a load into a wider register extends the sign."""
    whole = _loads(parameter)
    if any(found[2] != "64" for found in whole.finditer(body)):
        raise Unsuitable(f"its code reads a part of the parameter {parameter.name}")
    _without(whole.sub("", body), parameter)
    return whole.sub(lambda found: found[0].replace(found[1] + "64", "s32", 1), body)


def _without(body: str, parameter: Parameter) -> str:
    """The code. Raises Unsuitable where it names a parameter."""
    found = re.search(rf"[^\n]*(?<![\w$]){re.escape(parameter.name)}(?![\w$])[^\n]*", body)
    if found is not None:
        raise Unsuitable(f"its code reads the parameter {parameter.name} otherwise: {found[0].strip()}")
    return body
