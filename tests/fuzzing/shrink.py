"""Makes a program that disagrees as small as it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .compare import Verdict, check
from .program import Array, Program

Check = Callable[[Program], Verdict]


def alike(a: Verdict, b: Verdict) -> bool:
    """Whether both disagree in the same way."""
    if a.difference is None or b.difference is None or a.difference.kind != b.difference.kind:
        return False
    if a.difference.kind in ("raised", "failed"):
        return a.difference.text.split(":")[0] == b.difference.text.split(":")[0]
    return True


def shrink(verdict: Verdict, test: Check = check, most: int = 400) -> Verdict:
    """Drop lines, outputs, sizes and the batch's freedom, as long as it disagrees as before."""
    best, left = verdict, most
    improved = True
    while improved and left > 0:
        improved = False
        for candidate in smaller(best.program, best):
            left -= 1
            if left <= 0:
                break
            try:
                found = test(candidate)
            except Exception:
                continue
            if alike(verdict, found) and cost(found.program) < cost(best.program):
                best, improved = found, True
                break
    return best


def cost(program: Program) -> tuple[int, ...]:
    elements = sum(_numel(a) for a in (*program.inputs.values(), *program.weights.values()))
    values = sum(a.values != "count" for a in program.inputs.values())
    return (
        len(program.steps),
        len(program.sizes),
        len(program.inputs) + len(program.weights),
        len(program.outputs),
        elements,
        values,
    )


def _numel(array: Array) -> int:
    count = 1
    for size in array.shape:
        count *= 3 if size is None else size
    return count


def smaller(program: Program, verdict: Verdict) -> Iterator[Program]:
    """Candidates, the greatest steps first."""
    count = len(program.steps)
    name = verdict.difference.name if verdict.difference else ""
    if name and program.outputs != (name,):
        yield replace(program, returned=(name,))
    part = count // 2
    while part >= 1:
        for start in range(count - part, -1, -part):
            candidate = program.without(range(start, start + part))
            if candidate.steps:
                yield candidate
        part //= 2
    if program.dynamic:
        fixed = {
            n: replace(a, shape=tuple(program.sizes[0] if s is None else s for s in a.shape))
            for n, a in program.inputs.items()
        }
        yield replace(program, inputs=fixed, sizes=program.sizes[:1])
        for size in program.sizes:
            if len(program.sizes) > 2:
                yield replace(program, sizes=(size, next(s for s in program.sizes if s != size)))
    for n in program.outputs:
        if len(program.outputs) > 1:
            yield replace(program, returned=tuple(o for o in program.outputs if o != n))
    for group in ("inputs", "weights"):
        arrays = getattr(program, group)
        for n, array in arrays.items():
            for other in simpler(array):
                yield replace(program, **{group: {**arrays, n: other}})


def simpler(array: Array) -> Iterator[Array]:
    for i, size in enumerate(array.shape):
        if size is not None and size > 1:
            for less in (1, 2):
                if less < size:
                    yield replace(array, shape=(*array.shape[:i], less, *array.shape[i + 1 :]))
    if array.values == "special":
        yield replace(array, values="grid")
    if array.values == "normal":
        yield replace(array, values="grid")
