"""NonZero and NMS: the layers whose values decide the size of their output."""

import numpy as np
import pytest
from cases import boxes
from harness import lower_and_compare, needs_rtx

import trtnet
from trtnet import Dim, Input, dtypes, layers
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.graph.recorder import emit, recorder
from trtnet.layers.casting import Identity
from trtnet.layers.selection import NonZero
from trtnet.layers.shaping import Slice

torch = pytest.importorskip("torch")


def found(x):
    return emit(NonZero((x,), recorder().data_dim("nonzero", 24)))


def test_the_size_is_a_dim_that_no_input_has():
    batch = Dim("batch", min=1, opt=2, max=4)
    graph = trtnet.record(found, x=Input((batch, 2, 3), "bool"))
    (output,) = graph.outputs.values()
    rank, count = output.shape
    assert (rank, str(count), count.bounds, count.opt) == (3, "nonzero_0", (0, 24), 24)
    assert output.dtype is dtypes.int32
    assert graph.data_dims == {"nonzero_0"}
    assert set(graph.dims) == {"batch"}
    assert graph.bind({"x": (3, 2, 3)}) == {"batch": 3}


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 3, 2)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_equals_torchs(shape, share):
    x = np.random.default_rng(0).random(shape) < share
    graph = trtnet.record(found, x=Input(shape, "bool"))
    result = trtnet.reference(graph)(x=x)
    np.testing.assert_array_equal(result, torch.from_numpy(x).nonzero().T.numpy())
    assert result.dtype == np.int32
    lower_and_compare(graph, compile=False)


def test_names_are_new():
    """An input may have a Dim of that name already."""
    taken = Dim("nonzero_0", min=1, max=8)
    graph = trtnet.record(lambda x, y: (found(x), found(y)), x=Input((taken,), "bool"), y=Input((3,), "bool"))
    assert [str(t.shape[1]) for t in graph.outputs.values()] == ["nonzero_1", "nonzero_2"]
    assert graph.data_dims == {"nonzero_1", "nonzero_2"}


def test_later_sizes_are_found_from_its_output():
    """An expression over such a size becomes a shape of the layer's output, in TensorRT and in the reference."""

    def half(x):
        made = found(x)
        size = made.shape[1] // 2
        return emit(Slice((made,), start=(0, 0), shape=(2, size), stride=(1, 2)))

    graph = trtnet.record(half, x=Input((4, 6), "bool"))
    engine = trtnet.reference(graph)
    for seed in range(4):  # the same input shape, other sizes
        x = np.random.default_rng(seed).random((4, 6)) < 0.2 * (seed + 1)
        count = int(x.sum())
        expected = np.stack(np.nonzero(x))[:, : count // 2 * 2 : 2]
        np.testing.assert_array_equal(engine(x=x), expected)
    lowering = lower_and_compare(graph, compile=False)
    if lowering is not None:
        kinds = [lowering.network.get_layer(i).type.name for i in range(lowering.network.num_layers)]
        assert kinds.index("NON_ZERO") < kinds.index("SHAPE")


def test_a_count_of_constants_runs():
    graph = trtnet.record(
        lambda x: (found(trtnet.functional.dispatch.tensor(np.array([True, False, True]))), emit(Identity((x,)))),
        x=Input((1,)),
    )
    positions, _ = trtnet.reference(graph)(x=np.zeros(1, np.float32))
    np.testing.assert_array_equal(positions, [[0, 2]])


def test_survives_saving(tmp_path):
    graph = trtnet.record(lambda x: found(x).float() * 2, x=Input((4, 6), "bool"))
    x = np.random.default_rng(0).random((4, 6)) < 0.5
    trtnet.reference(graph).save(tmp_path / "found.engine")
    loaded = trtnet.load(tmp_path / "found.engine", provider="reference")
    assert loaded.graph.data_dims == {"nonzero_0"}
    np.testing.assert_array_equal(loaded(x=x), np.stack(np.nonzero(x)) * 2.0)
    assert graph.structure_hash() == loaded.graph.structure_hash()


def test_errors():
    with pytest.raises(DtypeError, match="a non-zero layer takes bool"):
        trtnet.record(found, x=Input((3,)))
    with pytest.raises(ShapeError, match="at least one dimension"):
        trtnet.record(found, x=Input((), "bool"))


def test_rtx_cannot_compile_it():
    """Remove what DATA_SIZED in tests/helpers/cases.py leaves out once it can."""
    needs_rtx()
    graph = trtnet.record(found, x=Input((4, 6), "bool"))
    with pytest.raises(trtnet.errors.BuildError, match="non_zero"):
        trtnet.build_plan(graph, targets="sm86", optimization_level=0)


CORNERS = boxes(2, 7, 3)


def suppressed(boxes, scores, most, threshold, least, limit):
    """NMS of each item and class by loops: rows (item, class, box), by item and score."""

    def overlap(a, b):
        low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
        shared = np.clip(high - low, 0, None).prod()
        return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)

    rows = []
    for item in range(len(scores)):
        places = sorted(np.ndindex(scores.shape[1:]), key=lambda at: -scores[item][at])
        places = [at for at in places if scores[item][at] > least][:limit]
        for box, of_class in places:
            mine = boxes[item, box, of_class] if boxes.ndim == 4 else boxes[item, box]
            before = [row for row in rows if row[:2] == (item, of_class)]
            others = [boxes[item, b, of_class] if boxes.ndim == 4 else boxes[item, b] for _, _, b in before]
            if len(before) < most and all(overlap(mine.astype(float), o.astype(float)) <= threshold for o in others):
                rows.append((item, of_class, box))
    return rows


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("most", "limit"), [(3, 5000), (20, 9)])
def test_nms(dynamic, shared, most, limit) -> None:
    given = CORNERS[:, :, 0] if shared else CORNERS
    scores = np.random.default_rng(0).permutation(42).astype(np.float32).reshape(2, 7, 3)
    batch = Dim("batch", min=1, opt=2, max=3) if dynamic else 2
    specs = {"boxes": Input((batch, *given.shape[1:])), "scores": Input((batch, 7, 3))}
    graph = trtnet.record(
        lambda boxes, scores: layers.add_nms(boxes, scores, most, 0.2, 4.5, topk_box_limit=limit), **specs
    )
    (layer,) = (one for one in graph.layers if one.kind == "nms")
    assert layer.count.max == (3 if dynamic else 2) * 3 * min(7, most)
    lower_and_compare(graph, compile=False)
    rows, count = trtnet.reference(graph)(given, scores)
    wanted = suppressed(given, scores, most, 0.2, 4.5, limit)
    assert [tuple(row) for row in rows.tolist()] == wanted
    assert count == len(wanted) > 3
    centred = np.concatenate([(given[..., :2] + given[..., 2:]) / 2, given[..., 2:] - given[..., :2]], -1)
    graph = trtnet.record(
        lambda boxes, scores: layers.add_nms(
            boxes, scores, most, 0.2, 4.5, bounding_box_format="CENTER_SIZES", topk_box_limit=limit
        )[0],
        **specs,
    )
    assert [tuple(row) for row in trtnet.reference(graph)(centred, scores).tolist()] == wanted


def test_nms_thresholds_are_0_where_they_are_left_out() -> None:
    scores = np.array([[[0.5], [-0.5], [0.2], [0.0]]], np.float32)
    apart = np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [0.9, 0, 2, 1], [5, 5, 6, 6]]], np.float32)
    graph = trtnet.record(
        lambda boxes, scores: layers.add_nms(boxes, scores, 4)[0], boxes=Input((1, 4, 4)), scores=Input((1, 4, 1))
    )
    lower_and_compare(graph, compile=False)
    assert trtnet.reference(graph)(apart, scores).tolist() == [[0, 0, 0]]


def test_nms_refused() -> None:
    def refuse(kind, match, function, boxes=(1, 4, 4), scores=(1, 4, 2), dtype="float32"):
        with pytest.raises(kind, match=match) as caught:
            trtnet.record(function, boxes=Input(boxes, dtype), scores=Input(scores))
        assert caught.value.where is not None
        assert caught.value.where.file == __file__

    def plain(boxes, scores):
        return layers.add_nms(boxes, scores, 4)

    refuse(ShapeError, "four coordinates", plain, boxes=(1, 4, 5))
    refuse(ShapeError, r"scores \(B, N, C\)", plain, scores=(1, 4))
    refuse(ShapeError, "differ in dimension 1", plain, boxes=(1, 5, 4))
    refuse(DtypeError, "one type", plain, dtype="float16")
    refuse(DtypeError, "the most boxes", lambda boxes, scores: layers.add_nms(boxes, scores, 4.0))
    refuse(DtypeError, "the overlap", lambda boxes, scores: layers.add_nms(boxes, scores, 4, scores[0, 0]))
    refuse(
        ArgumentError,
        "few boxes of an item",
        lambda boxes, scores: layers.add_nms(boxes, scores, 4, topk_box_limit=9000),
    )
    refuse(
        ArgumentError,
        "no such format",
        lambda boxes, scores: layers.add_nms(boxes, scores, 4, bounding_box_format="XYXY"),
    )
