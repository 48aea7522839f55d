"""Triton's functions to machine code, ahead of time, by Triton itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from ...basics.errors import BuildError, ProviderError
from . import compiling

ALIGNED = 16
"""Bytes to which TensorRT's tensors lie at least; it asks for 256."""


class Compiled(NamedTuple):
    """Machine code of one kernel, and how Triton says that it is launched.

    Attributes:
        code, text, function: a cubin, the PTX that it was made of, and the kernel's name in both.
        threads: of a block.
        shared: bytes of dynamic shared memory.
        more: how many parameters it has beside its own, all null pointers.
    """

    code: bytes
    text: str
    function: str
    threads: int
    shared: int
    more: int


def compiled(jit: Any, function: str, options: Sequence[str], arch: str | None = None) -> Compiled:
    """The machine code of a function that `triton.jit` gave.

    Args:
        options: its parameters with their types, its constants, and Triton's own options, a line for each.
        arch: for which GPUs, as "sm_90"; the first one here unless given.

    Raises:
        ProviderError: Triton is not installed, or no GPU is here and no `arch`; or the kernel needs what a plugin does
            not give it. BuildError: it does not compile, with Triton's own messages.
    """
    triton = _triton()
    told: dict[str, dict[str, str]] = {"parameter": {}, "constant": {}, "option": {}, "code": {}}
    for line in options:
        what, name, *value = line.split(" ", 2)
        told[what][name] = value[0] if value else ""
    constants = {name: ast.literal_eval(text) for name, text in told["constant"].items()}
    signature = {name: told["parameter"].get(name, "constexpr") for name in jit.arg_names}
    places = {name: (place,) for place, name in enumerate(jit.arg_names)}
    aligned = {places[n]: [["tt.divisibility", ALIGNED]] for n, kind in signature.items() if kind.startswith("*")}
    capability = (arch or compiling.gpu()).removeprefix("sm_")
    try:
        source = triton.compiler.ASTSource(
            fn=jit, signature=signature, constexprs={places[n]: v for n, v in constants.items()}, attrs=aligned
        )
        target = triton.backends.compiler.GPUTarget("cuda", int(capability), 32)
        chosen = {name: ast.literal_eval(text) for name, text in told["option"].items()}
        made = triton.compile(source, target=target, options=chosen)
    except Exception as error:
        raise BuildError(
            f"the Triton kernel {function} does not compile",
            details=f"{type(error).__name__}: {error}",
            expected=f"what Triton {triton.__version__} takes, for sm_{capability}",
            found=", ".join(f"{name}: {kind}" for name, kind in signature.items()),
            remedy="mend the function, its constants or Triton's options as the message asks",
        ) from error
    return _launched(made, function)


def _launched(made: Any, function: str) -> Compiled:
    facts = made.metadata
    needs = [
        name
        for name, none in (
            ("global_scratch_size", 0), ("profile_scratch_size", 0), ("num_ctas", 1), ("launch_pdl", False),
            ("launch_cooperative_grid", False),
        )
        if getattr(facts, name, none) != none
    ]  # fmt: skip
    if needs:
        raise ProviderError(
            f"the Triton kernel {function} needs more than a plain launch",
            expected="no scratch memory of Triton's, no clusters, no cooperative launch",
            found=", ".join(f"{name}={getattr(facts, name)}" for name in needs),
            remedy="write it without tensor descriptors made on the GPU, and with num_ctas=1",
        )
    code, text = made.asm["cubin"], made.asm["ptx"]
    entry = re.search(rf"\.entry\s+{re.escape(facts.name)}\s*\((.*?)\)", text, re.S)
    given = entry[1].count(".param") if entry else 0
    own = sum(kind != "constexpr" for kind in made.src.signature.values())
    return Compiled(code, text, facts.name, facts.num_warps * 32, facts.shared, max(given - own, 0))


def _triton() -> ModuleType:
    try:
        import triton
        import triton.backends.compiler
        import triton.compiler
    except (ImportError, RuntimeError, OSError) as error:
        raise ProviderError(
            "compiling this kernel needs Triton",
            details=f"{type(error).__name__}: {error}",
            remedy="pip install triton",
        ) from None
    found: ModuleType = triton
    return found
