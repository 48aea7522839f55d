"""The list of ATen's operators in docs/torch-modules.md, made from the code.

python docs/torch_modules.py      write it
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trtnet.pytorch.exported import operators, same, swaps
from trtnet.pytorch.exported.table import TABLE, converter

PAGE = Path(__file__).with_name("torch-modules.md")
MARK = "<!-- made by docs/torch_modules.py, of PyTorch {} -->\n"
assert operators
assert swaps


def core() -> Iterator[Any]:
    """The overloads that PyTorch calls core ATen, those of inference."""
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        if not name.startswith("aten::"):
            continue
        packet, _, overload = name[6:].partition(".")
        if packet.endswith(("_backward", "_")) or packet.startswith("sym_"):
            continue
        target = getattr(getattr(torch.ops.aten, packet), overload or "default")
        if torch.Tag.core in target.tags:
            yield target


def sorts() -> dict[str, set[str]]:
    """Operators by what becomes of them."""
    found: dict[str, set[str]] = {"same": set(), "other": set(), "apart": set(), "refused": set()}
    apart = torch.export.default_decompositions()
    for target in core():
        packet = target._overloadpacket.__name__
        if converter(str(target)) is not None:
            found["other"].add(packet)
        elif same.function_of(packet) is not None:
            found["same"].add(packet)
        else:
            found["apart" if target in apart else "refused"].add(packet)
    return found


def listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def lists() -> str:
    """The lists of the page."""
    found = sorts()
    known = {key.split(".")[1] for key in TABLE if key.startswith("aten.")}
    beside = known - set().union(*found.values())
    return f"""{MARK.format(torch.__version__.partition("+")[0])}
**Recorded by the function of the same name** ({len(found["same"])}): {listed(found["same"])}.

**Recorded with arguments in another form** ({len(found["other"])}): {listed(found["other"])}.

**Taken apart by PyTorch first** ({len(found["apart"])}): {listed(found["apart"])}.

**Refused, unless a converter is given** ({len(found["refused"])}): {listed(found["refused"])}.

**Beside core ATen** ({len(beside)}): {listed(beside)}; and every operator with the name and the arguments of a
function of `trtnet.functional`.
"""


def page(text: str) -> str:
    """The page with its lists made anew."""
    return text[: text.index(MARK.partition("{}")[0])] + lists()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
