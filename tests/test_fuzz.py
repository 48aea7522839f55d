"""Random programs over torch's functions: torch and trtnet must agree, or trtnet must say that it does not take them.

`python tests/fuzzing --help` runs as many as wanted, and prints what disagrees as programs that run by themselves.
"""

from __future__ import annotations

import functools
import io
import os
import secrets
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fuzzing import apart, functions
from fuzzing.compare import Difference, Verdict, check, compare, differing, unsteady
from fuzzing.generate import Generator, programs
from fuzzing.packed import Pack, agreeing, build_all
from fuzzing.program import Array, Hazard, Program, Step, execute, run, torch_namespace
from fuzzing.report import Report
from fuzzing.shrink import shrink
from harness import lower_and_compare, needs_rtx

import trtnet

torch = pytest.importorskip("torch")
SEED = 20261128
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what the programs call


def lines(*texts: str) -> tuple[Step, ...]:
    """Steps of lines of the form `v0 = f(x0)`."""
    found = []
    for text in texts:
        left, _, right = text.partition(" = ")
        makes = bool(right) and left.isidentifier()
        reads = {
            name for name in ("x0", "x1", "s.p0", *(f"v{i}" for i in range(9))) if name in (right if makes else text)
        }
        found.append(
            Step(text, (left,) if makes else (), frozenset(reads), exact=True, changes=None if makes else left)
        )
    return tuple(found)


def program(
    *texts: str, inputs: dict[str, Array], weights: dict[str, Array] | None = None, batch: bool = False
) -> Program:
    return Program(1, inputs, weights or {}, lines(*texts), (3, 5, 2) if batch else (3,))


def test_every_public_name_is_called_or_left_out_with_a_reason():
    assert functions.missing() == []
    public = {*trtnet.functional.__all__, *dir(trtnet.Tensor)}
    assert functions.left_out() <= public, "names that are gone"
    assert not functions.left_out() & set(functions.TABLE)
    assert len(functions.left_out()) < 0.2 * len(functions.offered())


def test_a_seed_gives_the_same_programs():
    first, again = ([p for _, p in programs(SEED, 4, 3)] for _ in range(2))
    assert first == again
    assert [p for _, p in programs(SEED, 5, 1)] == first[1:2], "whichever was made before"
    assert [p for _, p in programs(SEED + 1, 4, 3)] != first


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", ["roll", "cumsum", "amax"])
def test_a_fault_is_found_and_shrunk(monkeypatch, name, batch):
    right = getattr(trtnet, name)
    monkeypatch.setattr(trtnet, name, lambda x, *args: right(x, *args) * 1.001)
    wrong = program(
        "v0 = x0 * 2",
        "v1 = x1 + 1",
        "v2 = v0.relu()",
        f"v3 = T.{name}(v0, 1)",
        "v4 = v3 + 1",
        "v5 = v1.t()",
        inputs={"x0": Array((None if batch else 3, 4), "float32"), "x1": Array((2, 2), "float32")},
        batch=batch,
    )
    verdict = check(wrong)
    assert verdict.difference is not None
    assert verdict.difference.kind == "values"
    small = shrink(verdict)
    assert [s.text for s in small.program.steps] in (
        [f"v3 = T.{name}(v0, 1)"],
        ["v0 = x0 * 2", f"v3 = T.{name}(v0, 1)"],
    )
    assert list(small.program.inputs) == ["x0"]
    assert not small.program.dynamic


def test_exceptions_wrong_types_and_lost_writes_are_found(monkeypatch):
    monkeypatch.setattr(trtnet, "sin", lambda x: x.missing_attribute_of_ours.foo)
    monkeypatch.setattr(trtnet, "cos", lambda x: 1 / 0)
    monkeypatch.setattr(trtnet, "tan", lambda x: x.to(trtnet.float16))
    monkeypatch.setattr(trtnet, "neg", lambda x: (x + 0).unsqueeze(0))
    monkeypatch.setattr(trtnet, "detach", lambda x: x * 1)
    x0 = {"x0": Array((3, 4), "float32")}
    found = {}
    for text in ("v0 = T.cos(x0)", "v0 = T.tan(x0)", "v0 = T.neg(x0)"):
        verdict = check(program(text, inputs=x0))
        assert verdict.difference is not None, text
        found[text] = verdict.difference.kind
    assert found == {"v0 = T.cos(x0)": "raised", "v0 = T.tan(x0)": "dtype", "v0 = T.neg(x0)": "shape"}
    refused = check(program("v0 = T.sin(x0)", "v1 = x0 + 1", "v2 = v0 * v1", inputs=x0))
    assert refused.difference is None
    assert [text for _, text in refused.refused] == ["v0 = T.sin(x0)"]
    assert [s.text for s in refused.program.steps] == ["v1 = x0 + 1"], "what needs a refused line goes with it"
    lost = check(program("v0 = T.detach(x0)", "v0.add_(1)", inputs=x0))
    assert lost.difference is not None
    assert lost.difference.name == "x0", "the input is compared, though no line returns it"


def test_weights_that_froze_are_found(monkeypatch):
    p0 = {"p0": Array((4,), "float32", trained=True)}
    kept = program("v0 = x0 * s.p0", inputs={"x0": Array((3, 4), "float32")}, weights=p0)
    assert check(kept).difference is None
    monkeypatch.setattr(trtnet, "mul", lambda x, y: x * trtnet.tensor(y.value.read()))
    frozen = check(program("v0 = T.mul(x0, s.p0)", inputs={"x0": Array((3, 4), "float32")}, weights=p0))
    assert frozen.difference is not None
    assert (frozen.difference.kind, frozen.difference.generation) == ("values", 1)


def test_weights_that_torch_takes_nowhere_may_be_refused():
    """As where a line that mends an index was refused: torch raises at each call, trtnet when the engine is made."""
    far = program("v0 = x0[s.p0]", inputs={"x0": Array((1, 3), "float32")}, weights={"p0": Array((8,), "int64")})
    with pytest.raises(IndexError):
        run(far, 3, 0)
    with pytest.raises(trtnet.errors.WeightsError, match="an index of a gather is out of range"):
        trtnet.reference(check(far).graph)
    verdict = check(far)
    assert verdict.difference is None
    assert verdict.compared == 0


def test_a_printed_program_runs_by_itself_and_shows_the_fault(monkeypatch):
    right = trtnet.roll
    monkeypatch.setattr(trtnet, "roll", lambda x, *args: right(x, *args) + 0.5)
    inputs = {"x0": Array((None, 2), "float32", "special"), "x1": Array((), "int64")}
    weights = {"p0": Array((2,), "float32", trained=True), "p1": Array((1,), "bool")}
    verdict = check(
        program(
            "v0 = T.roll(x0, 1)",
            "v1 = v0 + s.p0",
            "v2 = v1 * x1",
            "v3 = v2 * s.p1",
            inputs=inputs,
            weights=weights,
            batch=True,
        )
    )
    assert verdict.difference is not None
    text = verdict.printed()
    shown = io.StringIO()
    with redirect_stdout(shown):
        exec(compile(text, "printed.py", "exec"), {})
    assert "torch: " in shown.getvalue()
    assert "trtnet: " in shown.getvalue()


def test_what_counts_as_equal():
    nan, inf = np.nan, np.inf
    a = np.array([nan, inf, -inf, 1.0, 1e-3])
    assert not differing(a, a, 1e-5).any()
    assert differing(np.array([0.0, inf]), np.array([nan, nan]), 1e-5).all()
    assert differing(np.array([inf, 1.0]), np.array([-inf, inf]), 1e-5).all()
    assert differing(np.array([1.0001]), np.array([1.0]), 2e-5).all()
    assert differing(np.array([1.001e-6]), np.array([1e-6]), 2e-5).all(), "small numbers by their own size"
    assert not differing(np.array([1e-9, 1.0]), np.array([0.0, 1.0]), 2e-5).any(), "cancellation"
    assert differing(np.array([3]), np.array([4]), 1.0).all()
    assert differing(np.array([True]), np.array([False]), 1.0).all()


def test_ill_conditioned_answers_are_set_apart_and_others_not():
    x = {"x0": Array((3,), "float32", "grid")}
    jump = Program(1, x, {}, (
        Step("v0 = x0 / 3", ("v0",), frozenset({"x0"}), exact=False),
        Step("v1 = (v0 - v0.detach()).sign()", ("v1",), frozenset({"v0"})),
        Step("v2 = (v0 * 3 - x0 + 1e-9).sign()", ("v2",), frozenset({"v0", "x0"})),
    ), (3,))  # fmt: skip
    wanted = {"v2": torch.tensor([1.0, 1.0, 1.0])}
    verdict = Verdict(jump)
    assert compare(jump, wanted, {"v2": np.array([1, -1, 1], np.float32)}, 3, 0, verdict) is None
    assert verdict.unstable == 1
    wanted = {"v0": torch.from_numpy(jump.draw_inputs(3)["x0"]) / 3}
    found = {"v0": wanted["v0"].numpy() * np.float32(1.001) + 1e-3}
    assert compare(jump, wanted, found, 3, 0, Verdict(jump)) is not None


def test_what_lies_at_a_threshold_is_set_apart_for_every_element():
    x = {"x0": Array((256,), "float64")}
    near = Program(1, x, {}, (
        Step("v0 = x0 / 3", ("v0",), frozenset({"x0"}), exact=False),
        Step("v1 = v0 - x0 / 3 >= 0", ("v1",), frozenset({"v0", "x0"})),
    ), (3,))  # fmt: skip
    wanted = {"v1": torch.ones(256, dtype=torch.bool)}
    assert torch.equal(wanted["v1"], run(near, 3)["v1"])
    verdict = Verdict(near)
    assert compare(near, wanted, {"v1": np.zeros(256, bool)}, 3, 0, verdict) is None
    assert verdict.unstable == 1


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_what_cancels_is_judged_by_what_it_was_computed_of(dtype):
    step = Step("v0 = T.sinc(x0)", ("v0",), frozenset({"x0"}), exact=False, sums=True)
    given = Program(5, {"x0": Array((8,), dtype, "grid")}, {}, (step,), (3,))
    wanted = run(given, 3)
    whole = (torch.from_numpy(given.draw_inputs(3)["x0"]) % 1 == 0).numpy()
    assert whole.any()
    value = wanted["v0"].numpy()
    for by, agrees in ((2e-8, True), (1e-4, False)):
        found = {"v0": value + np.where(whole, np.float32(by), np.float32(0))}
        assert (compare(given, wanted, found, 3, 0, Verdict(given)) is None) is agrees


def test_tensorrt_rtx_compiles_programs_packed_into_one_network():
    needs_rtx()
    outcome = build_all(agreeing(SEED, 40), lower_and_compare, 20)
    assert [text for _, text in outcome.failed] == []
    assert len(outcome.refused) <= 4, [text for _, text in outcome.refused]
    assert sum(len(pack.programs) for pack, _ in outcome.built) + len(outcome.refused) == 40


def other(value: np.ndarray) -> np.ndarray:
    """Other numbers of the same shape and dtype; no NaN."""
    if value.dtype == bool:
        return ~value
    return np.where(np.isfinite(value.astype(np.float64)), value + np.asarray(1, value.dtype), 0).astype(value.dtype)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_pack_gives_what_its_programs_give(batch):
    programs = [p for p in agreeing(SEED, 12) if not p.dynamic or batch >= p.least]
    pack = Pack(programs)
    engine = trtnet.reference(pack.graph)
    for generation in (0, 1):
        results = pack.compare(engine(**pack.inputs(batch)), batch, generation, noise=1e-6)
        assert [v.difference for _, v in results if v.difference] == []
        assert sum(v.compared for _, v in results) > 30
        wrong = {n: other(v) for n, v in engine(**pack.inputs(batch)).items()}
        assert all(v.difference for p, v in pack.compare(wrong, batch, generation) if v.compared), "each is compared"
        if pack.weights(1):
            engine.refit(pack.weights(1))


def test_the_program_that_fails_in_a_pack_is_found():
    def build(graph):
        if any(layer.kind == "matrix_multiply" for layer in graph.layers):
            raise AssertionError("no products today")
        return graph

    programs = agreeing(SEED, 16)
    outcome = build_all(programs, build, 8)
    wrong = [p for p in programs if any(layer.kind == "matrix_multiply" for layer in Pack([p]).graph.layers)]
    assert [p for p, _ in outcome.failed] == wrong
    assert sum(len(pack.programs) for pack, _ in outcome.built) == 16 - len(wrong)


THOROUGH = os.environ.get("TRTNET_HYPOTHESIS") == "thorough"
PARTS, EACH = 4, 1500 if THOROUGH else 75


@functools.cache
def seed_of_this_run() -> int:
    return secrets.randbelow(10**6) if THOROUGH else SEED


@functools.cache
def random_programs(part: int) -> tuple[Report, list[str]]:
    """What a quarter of the programs found, and those that disagree, shrunk."""
    report, wrong = Report(), []
    for generator, made in programs(seed_of_this_run(), part * EACH, EACH):
        verdict = check(made)
        report.add(generator, verdict)
        if verdict.difference is not None:
            wrong.append(shrink(verdict).printed())
    return report, wrong


@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs_agree_with_torch(part):
    report, wrong = random_programs(part)
    first = part * EACH
    again = f"python tests/fuzzing --seed {seed_of_this_run()} --first {first} --programs {EACH}"
    assert not wrong, f"{len(wrong)} of {EACH} programs disagree; {again}\n\n" + "\n\n".join(wrong)
    assert report.unstable <= 0.002 * report.compared
    assert report.skipped <= 0.1 * report.programs  # runs: one for each size and each set of weights


def test_most_programs_record_and_nearly_every_function_is_called():
    total = Report()
    for part in range(PARTS):
        total.merge(random_programs(part)[0])
    print(f"seed {seed_of_this_run()}: {total.summary()}\n{total.refused(20)}\n{total.table()}")
    assert total.recorded >= 0.6 * total.programs, total.summary()
    assert 0.35 < total.dynamic / total.programs < 0.65
    offered, called = set(functions.offered()), total.functions(total.called)
    assert len(called & offered) >= 0.9 * len(offered), total.summary()
    cells, recorded = total.cells()
    assert len(recorded) >= 0.85 * len(cells), total.summary()


@pytest.mark.parametrize(
    ("target", "value", "defined"),
    [
        ("uint8", -1.3, False), ("uint8", float("nan"), False), ("uint8", 3.7, True), ("int64", -1.3, True),
        ("int32", float("inf"), False), ("float32", float("nan"), True), ("bool", -1.3, True),
    ],
)  # fmt: skip
def test_floats_are_written_into_integers_only_where_torch_defines_what_becomes_of_them(target, value, defined) -> None:
    given = program("x0[...] = x1 * 1", inputs={"x0": Array((2,), target), "x1": Array((2,), "float32")})
    step = replace(given.steps[0], guard="holds(x0, x1)")
    names = torch_namespace(given, 3) | {"x1": torch.full((2,), value)}
    if defined:
        execute(step, names)
    else:
        with pytest.raises(Hazard, match="holds"):
            execute(step, names)


def test_numbers_of_what_a_parameter_wrote_freeze_it() -> None:
    for writes, frozen in ((True, True), (False, False)):
        generator = Generator(3)
        whole = generator.expression("T.tensor([1.0, 2.0])")[0]
        part = generator.expression(f"{whole}[:1]")[0]
        value = generator.weight((1,), "float") if writes else "2.0"
        generator.statement(f"{part}.mul_({value})", part)
        generator.origins[whole] = "made"
        generator.read("item", whole, ("item", "made", "float"))
        assert generator.program().frozen is frozen


def test_the_command_runs_programs_in_processes():
    command = [sys.executable, str(Path(__file__).parent / "fuzzing"), "--programs", "2", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "seed 0: 0 disagreements" in done.stdout


def test_a_fault_of_an_engine_is_made_small():
    """As tests/gpu does it, where a TensorRT gets a program wrong: here one that fails over a function."""
    program = max(agreeing(4, 4, lines=12), key=lambda program: len(program.steps))
    culprit = next(step.cards[0][0] for step in reversed(program.steps) if step.cards)

    def again(program):
        report = apart.Report()
        if culprit in {card[0] for step in program.steps for card in step.cards}:
            report.failed.append((program, "BuildError: no implementation"))
        return report

    failed = Verdict(program, difference=Difference("failed", "BuildError: no implementation"))
    small = apart.smallest(failed, again, most=100)
    assert again(small.program).faults()
    assert len(small.program.steps) < len(program.steps)
    assert "failed: BuildError: no implementation" in small.printed()


def test_programs_in_a_process_of_their_own():
    process = apart.Apart({"provider": "reference"})
    try:
        report = process(agreeing(5, 3, lines=8), refit=True)
    finally:
        process.close()
    assert report.faults() == []
    assert report.built == 3
    assert report.compared > 10


def test_what_torch_loses_to_a_rounding_is_no_disagreement() -> None:
    """As log1p of -1, which a rounding makes less than -1; not where torch has NaN whatever is disturbed."""
    theirs, ours = np.array([np.nan, 1.0]), np.array([-np.inf, 1.0])
    bad = np.array([True, False])
    lost = torch.tensor([np.nan, 1.0], dtype=torch.float64)
    found = torch.tensor([-30.0, 1.0], dtype=torch.float64)
    for disturbed in ([found, lost], [lost, found], [lost, found, lost]):
        assert unsteady(ours, theirs, bad, disturbed)
    assert not unsteady(ours, theirs, bad, [lost, lost])
    assert not unsteady(np.array([-np.inf, 2.0]), theirs, np.array([True, True]), [lost, found])
