"""The comparison of engines with the reference: what it finds, what it lets pass, and what it says."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from cases import CASES, randomize, recorded
from fuzzing.packed import Pack, agreeing
from networks import convolutions, policy
from random_networks import corrupted, few_bits, floored, in_tf32, network, reordered

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.checked import Checked, CheckedOutput
from trtnet.engine.graph_json import from_json, kinds, to_json
from trtnet.errors import ArgumentError, ArgumentTypeError, BuildError, DtypeError, ShapeError, WeightsError
from trtnet.layers.base import Layer
from trtnet.layers.bounds import UNKNOWN, Bounds
from trtnet.pytorch import checking
from trtnet.pytorch.engine import ReferenceEngine
from trtnet.pytorch.sampling import Sampler


def check(engine, graph, sample=None, **options):
    return checking.check(engine, graph, sample, **options)[0]


def opts(graph):
    return {name: dim.opt for name, dim in graph.dims.items()}


# --- the comparator: what is wrong is found, what is right passes -----------------------------------------------------


def matters(engine, graph, inputs):
    """Whether a corruption changes a number at all: the bias of the keys of an attention, say, does not."""
    exact = ReferenceEngine(engine.graph, dtype="float64", values=engine._values)
    wanted = ReferenceEngine(graph, dtype="float64")._flat_result(inputs)
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(exact._flat_result(inputs), wanted)]
    return max(float(np.abs(a - b).max() / (np.abs(b).max() or 1)) for a, b in pairs) > 1e-5


def one_wrong(graph, seed):
    chance = np.random.default_rng(seed)
    inputs = Sampler(graph).draw(opts(graph))
    while True:
        engine, what = corrupted(graph, chance)
        if matters(engine, graph, inputs):
            return engine, what


def test_one_corrupted_weight_axis_or_padding_is_found_in_99_of_100_networks():
    missed = []
    for seed in range(200):
        graph = network(seed)
        engine, what = one_wrong(graph, seed + 1000)
        if not check(engine, graph).wrong:
            missed.append((seed, what))
    assert len(missed) <= 2, missed


@pytest.mark.parametrize(("dtype", "most"), [("float16", 4), ("bfloat16", 8)])
def test_most_are_found_in_half_precision_too(dtype, most):
    """Where a corruption is smaller than what roundings of the type change it is not found, and is named as such."""
    missed = []
    for seed in range(40):
        graph = network(seed, dtype)
        engine, what = one_wrong(graph, seed + 1000)
        if not check(engine, graph).wrong:
            missed.append((seed, what))
    assert len(missed) <= most, missed


@pytest.mark.parametrize(("dtype", "seeds"), [
    ("float32", range(200, 450)), ("float16", range(450, 600)), ("bfloat16", range(600, 700)),
])  # fmt: skip
def test_no_false_alarm_in_500_networks(dtype, seeds):
    """The same network with every sum in another order, in its own types: half ones are rounded after each layer."""
    differ = 0
    for seed in seeds:
        graph = network(seed, dtype)
        figures = check(trtnet.reference(reordered(graph)), graph)
        assert not figures.wrong, (seed, str(figures))
        assert not figures.skipped
        differ += any(row.error is not None and row.error > 0 for row in figures.rows)
    assert differ > 0.97 * len(seeds), "they were computed in another way"


@pytest.mark.parametrize(("changed", "tf32", "most"), [(reordered, False, 0), (in_tf32, True, 1e-2)])
def test_no_false_alarm_in_quantized_networks(changed, tf32, most):
    """Values close to the middle between two numbers become the other one; no further runs of the reference needed."""
    differ = 0
    for seed in range(30):
        graph = few_bits(seed)
        figures = check(trtnet.reference(changed(graph)), graph, tf32=tf32)
        assert not figures.wrong, (seed, str(figures))
        assert not any(row.error and row.unchecked for row in figures.rows), (seed, str(figures))
        differ += any(row.error > most for row in figures.rows if row.error is not None)
    assert differ >= 15, "some values came out otherwise"


def test_what_is_wrong_in_quantized_networks_is_found():
    missed = []
    for seed in range(24):
        graph = few_bits(seed)
        engine, what = one_wrong(graph, seed + 1000)
        if not check(engine, graph).wrong:
            missed.append((seed, what))
    assert len(missed) <= 2, missed
    assert sum(bool(check(trtnet.reference(floored(g)), g).wrong) for g in map(few_bits, range(20))) >= 17


def test_what_is_allowed_behind_a_quantization():
    """The root of what is allowed before, times a step; in a loop, a step."""

    def forward(x):
        one = F.fake_quantize_per_tensor_affine(x, 0.125, 0, -128, 127)
        rounded = trtnet.quantize_per_tensor(x, 0.125, 0, trtnet.int8)
        loop, _ = trtnet.scan(
            lambda c, x: (F.fake_quantize_per_tensor_affine(c + x, 0.125, 0, -128, 127), None), trtnet.zeros(400), x
        )
        return {"before": x * 2, "one": one, "whole": rounded, "loop": loop}

    graph = trtnet.record(forward, x=Input((4, 400)))
    rows = {row.output: row for row in check(trtnet.reference(graph), graph).rows}
    step = 0.125  # of values whose root mean square is 1
    assert rows["before"].allowed == 2e-3
    assert rows["one"].mean_allowed == pytest.approx((5e-4 * step) ** 0.5, rel=0.1)
    assert rows["one"].allowed == pytest.approx(checking.SOME * step, rel=0.1)
    assert rows["whole"].mean_allowed == pytest.approx(rows["one"].mean_allowed)
    assert rows["loop"].mean_allowed == pytest.approx(step, rel=0.1)

    def moved(count):
        def change(result):
            result = result.clone()
            result.view(-1)[:count] += step
            return result

        return change

    graph = trtnet.record(lambda x: F.fake_quantize_per_tensor_affine(x, 0.125, 0, -128, 127), x=Input((4, 400)))
    assert not off(graph, moved(4)).wrong
    assert off(graph, moved(200)).wrong
    assert off(graph, lambda result: result * 1.05).wrong


def test_no_false_alarm_in_random_programs():
    """Over all of torch's functions that trtnet records: drawn inputs suit them, and roundings are no difference."""
    compared = 0
    for program in agreeing(20261128, 60, lines=12):
        graph = Pack([program]).graph
        figures = check(trtnet.reference(graph), graph)
        assert not figures.wrong, ([step.text for step in program.steps], str(figures))
        compared += any(row.error is not None for row in figures.rows)
    assert compared > 40


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_layer_kind_passes(name):
    graph, _ = recorded(name)
    figures = check(trtnet.reference(graph), graph)
    assert not figures.wrong, str(figures)
    assert not figures.skipped
    assert {row.output for row in figures.rows} == set(graph.outputs)
    refits = any(leaf.dtype.is_floating_point for leaf in graph.parameters.values())
    assert {row.weights for row in figures.rows} == ({"as built", "after a refit"} if refits else {"as built"})


def test_layers_that_do_not_round_only_move_values():
    for name in CASES:
        graph, inputs = recorded(name)
        exact = ReferenceEngine(graph, dtype="float64")

        def watch(run, step, slots):
            layer = step.layer
            if layer.rounds or layer.kind == "constant" or layer.region is not None:  # of an iteration before, perhaps
                return
            given = [slots[i] for i in step.inputs if isinstance(slots[i], torch.Tensor)]
            known = torch.cat([torch.zeros(1).double(), *(v.double().reshape(-1) for v in given)])
            for slot, tensor in zip(step.outputs, layer.outputs):
                if tensor.dtype.is_floating_point and layer.kind != "cast":
                    value = slots[slot].double().reshape(-1)
                    value = value[value.isfinite()]
                    assert torch.isin(value, known).all(), layer

        exact.watch = watch
        exact(**inputs)
        exact.watch = None
    assert {cls.kind for cls in kinds().values() if cls.rounds is False} >= {"shuffle", "slice", "gather", "select"}


# --- what errors are measured by --------------------------------------------------------------------------------------


class Off(ReferenceEngine):
    """A reference engine that gives something else."""

    def __init__(self, graph, change):
        super().__init__(graph)
        self.change = change

    def _run(self, values, sizes):
        results, generation = super()._run(values, sizes)
        return self.change(results), generation


def off(graph, change):
    """The figures of an engine with the first output changed."""
    return check(Off(graph, lambda r: [change(r[0]), *r[1:]]), graph)


@pytest.mark.parametrize("batch", [4, Dim("batch", 1, 4, 8)])
def test_errors_are_relative_to_the_outputs_own_size(batch):
    graph = trtnet.record(lambda x: {"small": x.sin() * 1e-3, "large": x.cos() * 1e6}, x=Input((batch, 32)))
    assert not off(graph, lambda small: small * 1.0001).wrong
    (row,) = (r for r in off(graph, lambda small: small * 1.01).rows if r.wrong)
    assert row.output == "small"
    assert 0.005 < row.error < 0.1
    assert row.error > row.allowed == 2e-3


def test_each_output_has_the_tolerance_of_its_own_path():
    def forward(x):
        y = x * 3
        return {
            "exact": x[:, 1:],
            "single": y,
            "half": (y.half() + 1).float(),
            "brain": y.bfloat16() * 2,
            "whole": x.long() + 1,
        }

    graph = trtnet.record(forward, x=Input((4, 8)))
    rows = {row.output: row.allowed for row in check(trtnet.reference(graph), graph).rows}
    assert rows == {"exact": 0.0, "single": 2e-3, "half": 2e-2, "brain": 1e-1, "whole": 0.0}
    figures = check(trtnet.reference(graph), graph, tf32=True)
    assert {row.output: row.allowed for row in figures.rows}["single"] == 2e-2


def test_one_wrong_value_among_many_is_found():
    graph = trtnet.record(lambda x: x.sin(), x=Input((100, 100)))

    def one(result):
        result = result.clone()
        result[3, 5] += 0.1
        return result

    assert off(graph, one).wrong
    assert off(graph, lambda r: r[:, :50]).wrong, "a wrong shape"


def test_nan_is_not_equal_to_nan():
    graph = trtnet.record(lambda x: {"nan": (x * 0 - 1).log(), "some": x.log(), "fine": x.sin()}, x=Input((4, 8)))
    figures = check(trtnet.reference(graph), graph)
    assert not figures.wrong
    assert figures.unchecked["nan"] == "no value is finite in the reference"
    assert "of 32 values are not finite" in figures.unchecked["some"]
    assert "fine" not in figures.unchecked
    assert {row.output: row.verdict for row in figures.rows} == {"nan": "unchecked", "some": "right", "fine": "right"}
    fine = trtnet.record(lambda x: x.sin(), x=Input((4, 8)))
    for value in (float("nan"), float("inf")):
        assert off(fine, lambda r, value=value: r * value).wrong, "where the reference is finite"


def test_what_is_constant_counts_as_unchecked_but_may_be_wrong():
    graph = trtnet.record(
        lambda x: {"none": (x - 100).relu(), "one": (x * 0 + 1).sqrt(), "sin": x.sin()}, x=Input((4, 8))
    )
    figures = check(trtnet.reference(graph), graph)
    assert figures.unchecked == {"none": "the reference gives 0 everywhere", "one": "the reference gives 1 everywhere"}
    (wrong,) = off(graph, lambda r: r + 1).wrong
    assert wrong.output == "none"


def test_values_that_masks_are_filled_with_do_not_hide_the_rest():
    def forward(x):
        return trtnet.where(trtnet.arange(8) > 3, x.sin(), -1e9)

    graph = trtnet.record(forward, x=Input((4, 8)))

    def change(result):
        result = result.clone()
        result[:, 4:] *= 1.01
        return result

    assert off(graph, change).wrong
    assert not check(trtnet.reference(graph), graph).wrong


@pytest.mark.parametrize("batch", [3, Dim("batch", 1, 3, 8)])
def test_indices_are_judged_by_the_values_that_they_pick(batch):
    def forward(x):
        y = trtnet.cat([x.sin(), x.sin()], 1)  # every value twice
        return {"best": y.argmax(1), "three": y.topk(3, 1).indices.flatten(1)[:, 1:], "order": y.argsort(-1).float()}

    graph = trtnet.record(forward, x=Input((batch, 6)))
    twin = check(Off(graph, lambda r: [(v + 6) % 12 for v in r]), graph)
    assert not twin.wrong, "the other of two equal values"
    for name in graph.outputs:

        def other(results, name=name):
            return [(v + 1) % 12 if n == name else v for n, v in zip(graph.outputs, results)]

        assert [row.output for row in check(Off(graph, other), graph).wrong] == [name]
    assert off(graph, lambda r: r + 100).wrong, "beside the table"


def test_what_hangs_on_roundings_is_named_and_no_alarm():
    """1e-7 of an input decides about these."""

    def forward(x):
        y = (x * 1e3).sin() * 1e7 / 1e7
        return {"step": (y * 1e7).round() % 2, "y": y}

    graph = trtnet.record(forward, x=Input((64, 8)))
    figures = check(Off(graph, lambda r: [r[0].flip(0), r[1]]), graph)
    assert not figures.wrong
    assert "roundings, or what is left open, alone change" in figures.unchecked["step"]
    assert "y" not in figures.unchecked


@pytest.mark.parametrize("batch", [4, Dim("batch", 1, 4, 8)])
def test_writes_to_one_place_may_come_in_any_order(batch):
    def forward(x, i, y, rows, z):
        written = x.clone()
        written[rows] = z
        return {"elements": x.scatter(1, i, y), "written": written, "sin": x.sin()}

    graph = trtnet.record(
        forward, x=Input((batch, 6)), i=Input((batch, 5), "int64"), y=Input((batch, 5)), rows=Input((7,), "int64"),
        z=Input((7, 6)),
    )  # fmt: skip
    drawn = Sampler(graph).draw({"batch": 4})
    assert set(drawn["rows"]) == set(range(4)), "seven, to four places"
    assert all(len(set(row)) == 5 for row in drawn["i"]), "no two of them to one place"
    inputs = drawn | {"i": drawn["i"] // 2, "rows": drawn["rows"] // 2}

    def backwards(results):
        x, i, y, rows, z = (torch.from_numpy(inputs[name]) for name in graph.inputs)
        return [x.scatter(1, i.flip(1), y.flip(1)), x.index_put((rows.flip(0),), z.flip(0)), results[2]]

    figures = check(Off(graph, backwards), graph, inputs)  # PyTorch on the CPU keeps the last update, this the first
    assert not figures.wrong, str(figures)
    assert set(figures.unchecked) == {"elements", "written"}
    never = check(Off(graph, lambda r: [*r[:1], r[1] + 9, r[2]]), graph, inputs)
    assert [row.output for row in never.wrong] == ["written"]


def test_an_overflow_in_half_precision_is_named():
    graph = trtnet.record(lambda x: (x * 1e4) * 1e3 * 1e-4, x=Input((4, 8), "float16", range=(1, 2)))
    figures = check(trtnet.reference(graph), graph)
    assert not figures.wrong
    assert figures.unchecked == {"output": "it overflows in the type that it is computed in"}


def test_random_draws_are_named():
    graph = trtnet.record(lambda x: {"noisy": x + trtnet.rand(4), "sin": x.sin()}, x=Input((2, 4)))
    figures = check(trtnet.reference(graph), graph)
    assert figures.unchecked == {"noisy": "random draws are on the way to it"}
    x = np.zeros((2, 4), np.float32)
    engine, draws = trtnet.reference(graph), []
    for looked_at in (False, True):
        trtnet.manual_seed(5)
        if looked_at:
            checking.Comparing(graph).wanted({"x": x})
        draws.append(engine(x)["noisy"])
    assert np.array_equal(*draws), "a check draws by itself"
    given = trtnet.record(lambda x: {"noisy": x + trtnet.rand(4)}, draws="inputs", x=Input((2, 4)))
    assert check(trtnet.reference(given), given).unchecked == {}, "draws that are inputs are drawn for it"
    drawn = Sampler(given).draw({})["uniform_0"]
    assert 0 <= drawn.min() <= drawn.max() < 1


def test_sizes_that_the_data_decides():
    graph = trtnet.record(lambda x: {"exact": x[x > 0], "rounded": x[(x * 3).sin() > 0]}, x=Input((50,)))
    figures = check(trtnet.reference(graph), graph)
    assert not figures.wrong
    assert figures.unchecked == {}
    short = check(Off(graph, lambda r: [v[:-1] for v in r]), graph)
    assert [row.output for row in short.wrong] == ["exact"]
    assert "hangs on roundings" in short.unchecked["rounded"]


# --- inputs -----------------------------------------------------------------------------------------------------------


class Tables(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.kinds = nn.Embedding(50, 4), nn.Embedding(9, 4)
        self.register_buffer("offsets", trtnet.tensor([0, 10, 30]))

    def forward(self, ids, kind, parts, flags, pixels, mask, x, i, j, free):
        y = self.words(ids).sum(1) + self.kinds(kind.reshape(-1).long()) + self.words(parts + self.offsets).sum(1)
        z = F.one_hot(flags, 5).float() + trtnet.where(mask, 1.0, 0.0)
        return y, z, x[i, j], pixels.float(), self.kinds(free.clamp(0, 8))


@pytest.mark.parametrize("batch", [4, Dim("batch", 1, 4, 6)])
def test_inputs_cover_what_the_graph_allows(batch):
    graph = trtnet.record(
        randomize(Tables()), ids=Input((batch, 60), "int64"), kind=Input((batch, 1), "int32"),
        parts=Input((batch, 3), "int64"),
        flags=Input((20,), "int64"), pixels=Input((300,), "uint8"), mask=Input((20, 5), "bool"), x=Input((batch, 7)),
        i=Input((30,), "int64"), j=Input((30,), "int64"), free=Input((80,), "int32"),
    )  # fmt: skip
    sampler = Sampler(graph)
    assert sampler.is_known
    drawn = sampler.draw({"batch": 4})
    assert set(drawn["ids"].reshape(-1)) == set(range(50))
    assert set(drawn["kind"].reshape(-1)) <= set(range(9))
    assert {0, 8} <= set(drawn["kind"].reshape(-1)), "both ends"
    assert (drawn["parts"].min(), drawn["parts"].max()) == (0, 19), "with every offset a row of the table"
    assert set(drawn["flags"]) == set(range(5))
    assert set(drawn["pixels"]) == set(range(256))
    assert set(drawn["mask"].reshape(-1)) == {False, True}
    assert set(drawn["i"]) == set(range(-4, 4)), "counted from the end, too"
    assert set(drawn["j"]) == set(range(-7, 7))
    assert (drawn["free"].min(), drawn["free"].max()) == (-16, 16)
    assert abs(float(drawn["x"].mean())) < 1
    assert {n: a.dtype for n, a in drawn.items()} == {n: t.dtype.numpy for n, t in graph.inputs.items()}
    assert not check(trtnet.reference(graph), graph).skipped
    again = sampler.draw({"batch": 4})
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)


@pytest.mark.parametrize("rows", [7, Dim("rows", 2, 7, 9)])
def test_indices_that_may_be_counted_from_the_end(rows):
    def forward(x, i, j):
        return x[i], trtnet.where(j < 0, j + 5, j) + 0, x[trtnet.where(j < 0, j + 1, j)]

    graph = trtnet.record(forward, x=Input((rows, 2)), i=Input((40,), "int64"), j=Input((40,), "int64"))
    drawn = Sampler(graph).draw({"rows": 7})
    assert set(drawn["i"]) == set(range(-7, 7))
    assert set(drawn["j"]) == set(range(-7, 6)), "with one added they are in the table, too"
    assert not check(trtnet.reference(graph), graph).wrong


def test_what_nothing_says_is_no_alarm():
    def forward(x, i, j):
        wholes = {"byte": (x * 1e3).to("uint8").int(), "whole": (x / 0).to("int32")}
        return wholes | {"tiny": x * 1e-38, "parts": i // j, "rest": i % j}

    graph = trtnet.record(forward, x=Input((4, 8)), i=Input((40,), "int32"), j=Input((40,), "int32"))
    assert set(Sampler(graph).draw({})["j"]) == set(range(1, 17)), "nothing is divided by 0"

    def other(results):
        byte, whole, tiny, *rest = results
        return [torch.full_like(byte, 255), torch.zeros_like(whole), torch.zeros_like(tiny), *rest]

    figures = check(Off(graph, other), graph)
    assert not figures.wrong, str(figures)


def test_what_is_promised_not_to_be_negative_is_drawn_so():
    graph = trtnet.record(lambda i: trtnet.assume_nonnegative(i) + 1, i=Input((80,), "int32"))
    drawn = Sampler(graph).draw({})["i"]
    assert (drawn.min(), drawn.max()) == (0, 16)
    table = trtnet.record(lambda x, i: x[trtnet.assume_nonnegative(i)], x=Input((7, 2)), i=Input((80,), "int64"))
    assert set(Sampler(table).draw({})["i"]) == set(range(7))


def test_indices_that_are_not_understood_never_reach_a_gpu_beside_their_table():
    def forward(x, row, column):
        return x.reshape(-1).index_select(0, row * x.shape[1] + column)

    graph = trtnet.record(forward, x=Input((3, 4)), row=Input((5,), "int64"), column=Input((5,), "int64"))
    sampler = Sampler(graph)
    assert not sampler.is_known
    assert checking.devices(graph, 0, sampler.is_known) == ["cpu"]
    figures = check(trtnet.reference(graph), graph)
    assert [row.verdict for row in figures.rows] == ["right"], "drawn again until they fit"
    wide = trtnet.record(forward, x=Input((1, 1)), row=Input((9,), "int64"), column=Input((9,), "int64"))
    figures = check(trtnet.reference(wide), wide)
    assert figures.rows == ()
    assert "the engine was not compared with the reference: PyTorch could not compute this gather" in figures.skipped


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_ranges(dtype):
    graph = trtnet.record(lambda x: x.float() * 2, x=Input((4, 100), dtype, range=(3, 7)))
    drawn = Sampler(graph).draw({})["x"].astype(np.float64)
    assert 3 <= drawn.min() < 3.5
    assert 6.5 < drawn.max() <= 7
    assert from_json(to_json(graph)).ranges == {"x": (3, 7)}
    assert "range=(3, 7)" in repr(Input((4,), range=(3, 7)))


@pytest.mark.parametrize("given", [5, (1,), (2, 1), (0, float("inf")), ("a", "b"), (1, 2, 3)])
def test_ranges_that_are_none(given):
    with pytest.raises(ArgumentError, match="least and its greatest") as caught:
        Input((4,), range=given)
    assert caught.value.where.file == __file__
    assert eval(caught.value.remedy, {"Input": Input, "shape": (4,)}).range == (0.0, 1.0)


def test_a_range_beside_the_table():
    graph = trtnet.record(nn.Embedding(10, 3), input=Input((4,), "int64", range=(20, 30)))
    with pytest.raises(ArgumentError, match="lies beside the table") as caught:
        check(trtnet.reference(graph), graph)
    assert (caught.value.expected, caught.value.found) == ("0 to 9", "20 to 30")
    inside = trtnet.record(nn.Embedding(10, 3), input=Input((40,), "int64", range=(5, 30)))
    assert set(Sampler(inside).draw({})["input"]) == set(range(5, 10))


def test_samples_of_the_users_own():
    graph = trtnet.record(randomize(nn.Embedding(10, 3)), input=Input((Dim("n", 1, 4, 8),), "int64"))
    ids = np.array([1, 2, 9])
    for sample in (ids, {"input": ids}, (ids,), [ids]):
        figures = check(trtnet.reference(graph), graph, sample)
        assert figures.rows[0].sizes == {"n": 3}
        assert not figures.wrong


@pytest.mark.parametrize(
    ("sample", "kind", "message"),
    [
        ({"x": np.array([1])}, ArgumentTypeError, "the sample for the check is not the network's inputs"),
        ((np.array([1]), np.array([1])), ArgumentTypeError, "the sample for the check"),
        (np.array([10]), ArgumentError, "indices beside their table"),
        (np.array([-1]), ArgumentError, "indices beside their table"),
        (np.array([1.0]), DtypeError, "the sample for 'input' has the wrong dtype"),
        (np.array([[1]]), ShapeError, "wrong number of dimensions"),
        (np.zeros(9, np.int64), ShapeError, "outside its range"),
        ("yes", (ArgumentTypeError, DtypeError), "sample"),
    ],
)
def test_samples_that_do_not_fit(sample, kind, message):
    graph = trtnet.record(nn.Embedding(10, 3), input=Input((Dim("n", 1, 4, 8),), "int64"))
    with pytest.raises(kind, match=message) as caught:
        trtnet.build(graph, provider="reference", check=sample)
    assert caught.value.where.file == __file__
    assert caught.value.remedy


# --- profiles, refits, time -------------------------------------------------------------------------------------------


def test_every_profile_at_its_opt_sizes():
    graph = policy(Dim("batch", 1, 4, 64))
    profiles = ({"batch": (1, 1, 1)}, {"batch": (2, 8, 64)})
    figures = check(trtnet.reference(graph), graph, profiles=profiles)
    assert [(r.sizes["batch"], r.weights) for r in figures.rows if r.output == "value"] == [
        (1, "as built"), (8, "as built"), (1, "after a refit"),
    ]  # fmt: skip


class WrongRefit(ReferenceEngine):
    """Takes refits, and mistakes one parameter."""

    def _refit(self, values, asked, before):
        values = {n: -v if n == "conv.weight" else v for n, v in values.items()}
        return super()._refit(values, asked, before)


def test_a_refit_that_goes_wrong_is_found_and_put_back():
    graph = convolutions()
    for engine, wrong in ((WrongRefit(graph), True), (trtnet.reference(graph), False)):
        x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
        before, weights = engine(x), engine.parameters()
        figures = check(engine, graph)
        assert [row.weights for row in figures.wrong] == (["after a refit"] if wrong else [])
        assert engine.generation == 0
        assert np.array_equal(engine(x), before)
        after = engine.parameters()
        assert all(np.array_equal(after[name], weights[name]) for name in weights)


def test_only_what_can_be_changed_is_perturbed():
    graph = convolutions()
    engine = trtnet.build(graph, provider="reference", refit="fc.*", live="bn.bias")
    state = checking.perturbed(engine, ReferenceEngine(graph, dtype="float64"))
    assert set(state) == {"fc.weight", "fc.bias", "bn.bias"}
    old = graph.state_dict()
    for name, value in state.items():
        ratio = value.numpy() / old[name]
        assert value.dtype == old[name].dtype or str(value.dtype) == "torch.float32"
        assert 0.74 < ratio.min() < 0.9 < 1.1 < ratio.max() < 1.26
    assert engine.context().checked is engine.checked is None
    graph.load_state_dict({"fc.bias": np.zeros(5, np.float32)}, strict=False)
    zero = checking.perturbed(engine, ReferenceEngine(graph, dtype="float64"))["fc.bias"]
    assert zero.abs().min() > 0
    assert check(trtnet.build(graph, provider="reference", refit=False), graph).rows[-1].weights == "as built"


@pytest.mark.filterwarnings("ignore:.*frozen")
def test_frozen_parameters_keep_their_values():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.power = nn.Linear(4, 4), nn.Parameter(trtnet.tensor(2.0))

        def forward(self, x):
            return self.fc(x) * float(self.power) + self.power

    graph = trtnet.record(Scaled(), x=Input((3, 4)))
    figures = check(trtnet.reference(graph), graph)
    assert [row.verdict for row in figures.rows] == ["right", "right"]
    assert "power" not in checking.perturbed(trtnet.reference(graph), ReferenceEngine(graph, dtype="float64"))


def test_a_reference_that_takes_too_long_says_so_once(caplog, monkeypatch):
    graph = convolutions()
    monkeypatch.setattr(checking, "LEAST", 0.0)
    with caplog.at_level(logging.WARNING, "trtnet.check"):
        figures = check(trtnet.reference(graph), graph, seconds=0.0)
    assert figures.rows == ()
    assert not figures.passed
    (record,) = caplog.records
    assert record.getMessage() == figures.skipped
    assert "the engine was not compared with the reference: the reference takes longer than 5%" in figures.skipped
    figures = check(trtnet.reference(graph), graph, seconds=1e6)
    assert figures.passed
    assert 0 < figures.seconds < 1e3


def test_without_torch_one_line_says_so():
    code = (
        "import sys, logging\n"
        "sys.modules['torch'] = None\n"
        "import trtnet\n"
        "from trtnet.pytorch import checking\n"
        "graph = trtnet.record(lambda x: x.sin(), x=trtnet.Input((2,)))\n"
        "figures, inputs = checking.check(None, graph)\n"
        "print(repr(figures.skipped), inputs)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "not compared with the reference: this needs PyTorch, which is not installed" in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.strip() in done.stdout


# --- the first module that is wrong -----------------------------------------------------------------------------------


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        y = F.relu(self.first(x))
        y = y + self.second(self.norm(y))
        return {"out": self.third(y), "early": y.sum(1)}


def chain(batch=4):
    return trtnet.record(randomize(Chain()), x=Input((batch, 8)))


def builder(change, built=None):
    """Builds reference engines with other weights: what a wrong engine is."""

    def build(graph, **options):
        engine = trtnet.reference(graph)
        engine.refit({name: value * 2 for name, value in graph.state_dict().items() if name in change})
        if built is not None:
            built.append(list(graph.outputs))
        return engine

    return build


@pytest.mark.parametrize("batch", [4, Dim("batch", 1, 4, 8)])
@pytest.mark.parametrize("module", ["first", "second", "third", "norm"])
def test_the_first_wrong_module_is_found(module, batch):
    graph, built = chain(batch), []
    inputs = Sampler(graph).draw(opts(graph))
    found = checking.first_wrong(graph, inputs, builder({f"{module}.weight", "third.bias"}, built))
    assert found
    assert found.module == module
    assert found.layer.startswith(module)
    assert found.where.file == __file__
    assert found.found.error > found.found.allowed
    assert found.builds == len(built) <= 6
    assert f"the first module that is wrong is {module} (layer {module}/" in str(found)
    assert found.right_with == ()


def test_nothing_is_wrong():
    graph = chain()
    found = trtnet.diverges(graph, provider="reference")
    assert not found
    assert found.module is None
    assert str(found) == "this build comes out right: no output differs from the reference"
    assert not trtnet.diverges(graph, np.ones((4, 8), np.float32), provider="reference", refit=True)


def test_a_build_that_comes_out_right_with_a_further_output_is_named():
    """As where what is wrong is a fusion, which a further output forbids."""
    graph = chain()

    def build(wider):
        fused = not any(name.startswith("norm/") for name in wider.outputs)
        return builder({"third.weight"} if fused else set())(wider)

    found = checking.first_wrong(graph, Sampler(graph).draw({}), build)
    assert found.module == "third"
    assert found.right_with == ("norm",)
    assert "with these as further outputs the build comes out right: norm" in str(found)


def test_the_error_says_all_of_it():
    graph = chain()
    build = builder({"second.weight"})
    figures, inputs = checking.check(build(graph), graph)
    tries = {"optimization_level=0": build, "fixed weights": trtnet.reference}
    error = checking.failed(figures, graph, inputs, build, tries)
    assert isinstance(error, trtnet.errors.BuildError)
    text = str(error)
    assert "the engine's output 'out', 'early' differs from the reference\n" in text
    assert "the first module that is wrong is second" in text
    assert "right, tried by itself: fixed weights\n" in text
    assert "wrong, too, or not to be built: optimization_level=0" in text
    assert error.module == "second"
    assert error.where.file == __file__
    assert "out: " in error.found
    assert error.expected == "errors of at most 0.002, relative to the output's root mean square"
    assert error.remedy.startswith("build with fixed weights; trtnet.diverges(graph, x)")


def test_the_error_of_a_wrong_refit():
    graph = convolutions()
    figures, inputs = checking.check(WrongRefit(graph), graph)
    error = checking.failed(figures, graph, inputs, WrongRefit, {})
    assert "differs from the reference after a refit to other weights" in str(error)
    assert error.module == "conv"


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_survive_json():
    graph = chain()
    figures, _ = checking.check(builder({"norm.weight"})(graph), graph)
    rows = (*figures.rows, CheckedOutput("x", {}, error=float("inf"), mean_error=float("nan"), wrong=True))
    figures = Checked(rows, figures.device, figures.seconds, "")
    again = Checked.of(json.loads(json.dumps(figures.plain())))
    assert str(again) == str(figures)
    assert again.rows[:-1] == figures.rows[:-1]
    assert again.rows[-1].error == float("inf")
    assert "wrong" in str(figures)
    assert "as built" in str(figures)
    plain = figures.plain()
    for damage in ({"rows": 5}, {"rows": [{"output": 1, "colour": 2}]}, {"rows": [5]}, {"rows": [{"error": "much"}]}):
        with pytest.raises(WeightsError, match="the figures of the check in this manifest cannot be read") as caught:
            Checked.of(plain | damage)
        assert "build the engine again" in caught.value.remedy
    with pytest.raises(WeightsError):
        Checked.of({})


def test_layers_say_what_their_inputs_may_hold():
    """A new kind says nothing, and is not understood: its tensors are never taken for indices that lie in a table."""

    class Other(Layer):
        pass

    assert Other((None,)).takes(0, Bounds.below(5)) == UNKNOWN
    assert Other((None,)).takes(0, None) is None
    assert Other.rounds


def test_where_memory_runs_out_the_reference_goes_to_the_cpu(monkeypatch):
    graph, tried, init = convolutions(), [], checking.Comparing.__init__

    def narrow(self, graph, device="cpu", tf32=False, until=None):
        tried.append(device)
        if len(tried) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        init(self, graph, device, tf32, until)

    monkeypatch.setattr(checking.Comparing, "__init__", narrow)
    monkeypatch.setattr(checking, "devices", lambda graph, ordinal, known: ["meta", "cpu"])
    monkeypatch.setattr(checking, "_free", lambda device: None)
    figures = check(trtnet.reference(graph), graph)
    assert tried == ["meta", "cpu"]
    assert figures.passed
    assert figures.device == "cpu"


# --- draws that are not drawn anew


class Once:
    """An engine that gives what another gave at its first call."""

    def __init__(self, engine, outputs=...):
        self.engine, self.outputs, self.first = engine, outputs, None

    def _flat_result(self, inputs):
        result = list(self.engine._flat_result(inputs))
        self.first = self.first or result
        fixed = range(len(result)) if self.outputs is ... else self.outputs
        return [self.first[i] if i in fixed else value for i, value in enumerate(result)]


@pytest.mark.parametrize("rows", [40, Dim("rows", min=1, opt=40, max=64)])
def test_draws_that_are_the_same_at_each_call_are_refused(rows):
    def call(x):
        return {"noisy": x + trtnet.randn_like(x), "mask": trtnet.rand(x.shape[0], 3) < 0.5, "still": x * 2}

    graph = trtnet.record(call, x=Input((rows, 3)))
    inputs = {"x": np.zeros((40, 3), np.float32)}
    comparing = checking.Comparing(graph)
    engine, wanted = trtnet.reference(graph), comparing.wanted(inputs)
    rows = {row.output: row for row in comparing.rows(engine, inputs, wanted)}
    assert rows["mask"].unchecked == rows["noisy"].unchecked == "random draws are on the way to it"
    comparing.rows(Once(engine, [2]), inputs, wanted)
    for at, name in enumerate(("noisy", "mask")):
        with pytest.raises(BuildError, match=f"random numbers of output '{name}' once for all calls") as caught:
            comparing.rows(Once(engine, [at]), inputs, wanted)
        assert 'draws="inputs"' in caught.value.remedy


def test_draws_that_hardly_ever_differ_may_be_the_same_twice():
    graph = trtnet.record(lambda x: (trtnet.rand(100) < 1e-6, trtnet.rand(8)), x=Input((1,)))
    inputs = {"x": np.zeros(1, np.float32)}
    comparing = checking.Comparing(graph)
    comparing.rows(Once(trtnet.reference(graph)), inputs, comparing.wanted(inputs))


def test_indices_that_a_loop_keeps_are_compared():
    """An index of each iteration is judged as a whole number: what keeps them is not run once more."""

    def forward(x):
        return trtnet.scan(lambda c, row: (c, (row + c).argmax(-1)), trtnet.zeros(4), x)[1]

    graph = trtnet.record(forward, x=trtnet.Input((5, 3, 4)))
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)}
    comparing = checking.Comparing(graph)
    wanted = comparing.wanted(inputs)
    assert wanted["output"].shape == (5, 3)
    np.testing.assert_array_equal(wanted["output"], inputs["x"].argmax(-1))
