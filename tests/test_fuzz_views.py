"""Whether a result shares memory with an argument, checked against torch itself for every function of the table.

Each program is a source, a call, and a write: into the result, or into the source. All three tensors are compared
with torch's, so a view that is none, or a copy that is a view, shows as other numbers.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from fuzzing import views
from fuzzing.compare import check
from fuzzing.program import Hazard, execute, namespace, run, torch_namespace

import trtnet
from trtnet import functional as F
from trtnet.errors import TrtnetError

torch = pytest.importorskip("torch")
# by the memory formats that torch chooses for images
LAID_OUT_OTHERWISE = ("interpolate", "upsample")
EACH = 24 if os.environ.get("TRTNET_HYPOTHESIS") == "thorough" else 2
SEED = 7
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what the programs call
# refused where it cannot be known, or need not be: a Dim decides whether memory is shared; parameters are not changed
# in forward; torch itself refuses to write where elements share memory, except where it does not look
UNDECIDED = "may share its memory"
ALLOWED = (
    "a parameter cannot be changed in forward",
    "lies at one place in memory",
    "through windows that overlap",
    "needs a dimension of fixed size",
    "of the dynamic size",
    "through windows that overlap",
)


@pytest.mark.parametrize("part", range(4))
def test_results_share_memory_where_torchs_do(part):
    names = views.names()[part::4]
    wrong, undecided, refused, seen = [], Counter(), Counter(), Counter()
    for (name, source, family), backwards, program in views.programs(SEED + part, EACH, names):
        verdict = check(program, refit=False)
        seen[name] += 1
        if verdict.difference is not None:
            wrong.append(
                (name, source, family, backwards, verdict.difference.text, [s.text for s in verdict.program.steps])
            )
        for message, text in verdict.refused:
            if UNDECIDED in message:
                undecided[(name, program.dynamic)] += 1
            elif text == program.steps[-1].text and not any(known in message for known in ALLOWED):
                refused[(name, text, message)] += 1
    assert wrong == []
    assert [key for key in undecided if not key[1]] == [], "with fixed sizes it is known what shares memory"
    assert not refused, "a write that torch takes"
    assert len(seen) >= 0.95 * len(names)


@pytest.mark.parametrize("part", range(4))
def test_results_are_the_argument_itself_where_torchs_are(part):
    wrong, itself = [], Counter()
    for (name, source, family), _, program in views.programs(SEED + part, EACH, views.names()[part::4]):
        if name == "contiguous":  # may be a second tensor, of which no shape can be changed in place
            continue
        asking = views.asked_for_identity(program)
        if asking is None:
            continue
        verdict = check(asking, refit=False)
        found = verdict.difference
        if found is not None and not (asking.dynamic and found.batch == 1):  # a Dim is no 1 while it is recorded
            wrong.append((name, source, family, found.text, [s.text for s in asking.steps]))
        itself[name] += int(run(asking, asking.sizes[0])["v99"].reshape(-1)[0])
    assert wrong == []
    assert sum(count > 0 for count in itself.values()) >= 2, "torch gives some of them as they are"
    assert sum(count == 0 for count in itself.values()) >= 50


def test_concrete_results_lie_in_memory_as_torchs_do():
    wrong, seen = [], 0
    for (name, source, family), _, program in views.programs(SEED, 2, views.names()):
        if source != "made":
            continue
        program = program.without([len(program.steps) - 1])
        theirs = torch_namespace(program, program.sizes[0])
        given = (program.draw_inputs(program.sizes[0]), program.draw_weights())
        mine = namespace(trtnet, F, *({n: trtnet.tensor(a) for n, a in group.items()} for group in given))
        try:
            with torch.no_grad():
                for step in program.steps:
                    execute(step, theirs)
                    exec(step.text, mine)
        except (Hazard, TrtnetError):
            continue
        for result in program.steps[-1].targets:
            wanted, found = theirs[result], mine[result]
            if name == "getitem[indices]" and 1 in wanted.shape:
                continue  # NumPy keeps no strides of such dimensions, which may decide torch's order
            if isinstance(found, trtnet.Tensor) and wanted.numel() and name not in LAID_OUT_OTHERWISE:
                steps = tuple(step // found.numpy().itemsize for step in found.numpy().strides)
                seen += 1
                if any(a != b for a, b, size in zip(steps, wanted.stride(), wanted.shape, strict=True) if size > 1):
                    wrong.append((name, family, steps, wanted.stride(), [s.text for s in program.steps]))
    assert wrong == []
    assert seen > 500


def test_the_calls_cover_every_function_and_layout():
    names = views.names()
    assert len(names) > 300
    assert {"reshape", "unfold", "einsum", "getitem[slice]", "__neg__"} <= set(names)
    with torch.no_grad():
        programs = [p for _, _, p in views.programs(SEED, 2, ["reshape", "flatten", "diagonal", "cat"])]
    kept = {bool(_shares(p)) for p in programs}
    assert kept == {True, False}, "views and copies"


def _shares(program) -> bool:
    """Whether torch's result shares memory with what it was made of."""
    from fuzzing.program import execute, torch_namespace

    names = torch_namespace(program, program.sizes[0])
    with torch.no_grad():
        for step in program.steps:
            execute(step, names)
    *_, call, _ = program.steps
    target = names.get(call.targets[0])
    others = [names[n] for n in call.reads if isinstance(names.get(n), torch.Tensor)]
    memory = target.untyped_storage().data_ptr()
    return any(o.untyped_storage().data_ptr() == memory for o in others)
