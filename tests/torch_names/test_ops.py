"""torchvision.ops' names, against loops over boxes in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import boxes as some_boxes
from harness import check_against_torch, lower_and_compare

import trtnet
from trtnet import Dim, Input, ops
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

BATCH = Dim("count", min=1, opt=8, max=60)


def overlap(a, b):
    """Intersection over union of two boxes, by hand."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def kept(boxes, scores, threshold):
    found = []
    for one in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(overlap(boxes[one].astype(float), boxes[other].astype(float)) <= threshold for other in found):
            found.append(one)
    return found


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(40, 4), (BATCH, 4)])
def test_nms(threshold, shape) -> None:
    boxes = some_boxes(40)
    scores = np.random.default_rng(1).permutation(40).astype(np.float32) - 20  # negative ones too
    wanted = kept(boxes, scores, threshold)
    assert 1 < len(wanted) < 40 or threshold == 1
    specs = {"boxes": Input(shape), "scores": Input(shape[:1])}
    graph = trtnet.record(lambda boxes, scores: ops.nms(boxes, scores, threshold), **specs)
    assert "nms" in {layer.kind for layer in graph.layers}
    lower_and_compare(graph, compile=False)  # TensorRT-RTX infers its shapes and has nothing that runs it
    found = trtnet.reference(graph)(boxes, scores)
    assert found.dtype == np.int64
    assert found.tolist() == wanted
    assert ops.nms(trtnet.tensor(boxes), trtnet.tensor(scores), threshold).tolist() == wanted
    chosen = trtnet.record(lambda boxes, scores: boxes[ops.nms(boxes, scores, threshold)], **specs)
    np.testing.assert_array_equal(trtnet.reference(chosen)(boxes, scores), boxes[wanted])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_nms_mask(threshold) -> None:
    boxes, scores = some_boxes(24), np.random.default_rng(2).permutation(24).astype(np.float32) - 12
    wanted = np.isin(np.arange(24), kept(boxes, scores, threshold))
    assert 1 < wanted.sum() < 24
    specs = {"boxes": Input((24, 4)), "scores": Input((24,))}
    graph = trtnet.record(lambda boxes, scores: ops.nms_mask(boxes, scores, threshold), **specs)
    lower_and_compare(graph)
    np.testing.assert_array_equal(trtnet.reference(graph)(boxes, scores), wanted)
    assert ops.nms_mask(trtnet.tensor(boxes), trtnet.tensor(scores), threshold).tolist() == wanted.tolist()
    assert ops.nms_mask(trtnet.zeros(0, 4), trtnet.zeros(0), 0.5).tolist() == []


def test_batched_nms() -> None:
    boxes, scores = some_boxes(30), np.random.default_rng(3).permutation(30).astype(np.float32)
    classes = np.random.default_rng(4).integers(0, 3, 30)
    wanted = sorted(
        (
            int(np.flatnonzero(classes == c)[i])
            for c in range(3)
            for i in kept(boxes[classes == c], scores[classes == c], 0.3)
        ),
        key=lambda i: -scores[i],
    )
    specs = {"boxes": Input((BATCH, 4)), "scores": Input((BATCH,)), "idxs": Input((BATCH,), "int64")}
    graph = trtnet.record(lambda boxes, scores, idxs: ops.batched_nms(boxes, scores, idxs, 0.3), **specs)
    lower_and_compare(graph, compile=False)
    assert trtnet.reference(graph)(boxes, scores, classes).tolist() == wanted
    given = trtnet.tensor(boxes), trtnet.tensor(scores), trtnet.tensor(classes)
    assert ops.batched_nms(*given, 0.3).tolist() == wanted
    assert ops.batched_nms(trtnet.zeros(0, 4), trtnet.zeros(0), trtnet.zeros(0), 0.3).tolist() == []


@pytest.mark.parametrize("shapes", [None, {"a": (BATCH, 4), "b": (5, 4)}])
def test_box_iou_and_area(shapes) -> None:
    a, b = some_boxes(7, seed=6), some_boxes(5, seed=7)

    def wanted(a, b):
        return torch.tensor([[overlap(x, y) for y in b.tolist()] for x in a.tolist()], dtype=a.dtype)

    check_against_torch(lambda a, b: ops.box_iou(a, b), wanted, {"a": a, "b": b}, shapes=shapes)
    check_against_torch(
        lambda a: ops.box_area(a),
        lambda a: torch.tensor([(x[2] - x[0]) * (x[3] - x[1]) for x in a.tolist()], dtype=a.dtype),
        {"a": a},
    )


def test_box_convert() -> None:
    corners = some_boxes(5)
    sized = np.stack([corners[:, 0], corners[:, 1], corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]], 1)
    centred = np.stack([sized[:, 0] + sized[:, 2] / 2, sized[:, 1] + sized[:, 3] / 2, sized[:, 2], sized[:, 3]], 1)
    formats = {"xyxy": corners, "xywh": sized, "cxcywh": centred}
    for source, given in formats.items():
        for target, wanted in formats.items():
            graph = trtnet.record(lambda x, a=source, b=target: ops.box_convert(x, a, b), x=Input((BATCH, 4)))
            lower_and_compare(graph)
            np.testing.assert_allclose(trtnet.reference(graph)(given), wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ArgumentError, match="no such format"):
        ops.box_convert(trtnet.tensor(corners), "xyxy", "yxyx")


def aligned_by_hand(x, rois, size, scale, ratio, aligned):
    """torchvision's roi_align_kernel.cpp, one sample at a time."""
    _, channels, height, width = x.shape
    out = np.zeros((len(rois), channels, *size))
    for k, roi in enumerate(rois.astype(np.float64)):
        image = x[int(roi[0])].astype(np.float64)
        x1, y1, x2, y2 = roi[1:] * scale - (0.5 if aligned else 0.0)
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        for i, j in np.ndindex(*size):
            for p, q in np.ndindex(ratio, ratio):
                y = y1 + (i + (p + 0.5) / ratio) * h / size[0]
                at = x1 + (j + (q + 0.5) / ratio) * w / size[1]
                if y < -1 or y > height or at < -1 or at > width:
                    continue
                y, at = max(y, 0.0), max(at, 0.0)
                y0, x0 = int(y), int(at)
                if y0 >= height - 1:
                    y0 = y1_ = height - 1
                    y = float(y0)
                else:
                    y1_ = y0 + 1
                if x0 >= width - 1:
                    x0 = x1_ = width - 1
                    at = float(x0)
                else:
                    x1_ = x0 + 1
                b, a = y - y0, at - x0
                out[k, :, i, j] += (
                    image[:, y0, x0] * (1 - b) * (1 - a) + image[:, y0, x1_] * (1 - b) * a
                    + image[:, y1_, x0] * b * (1 - a) + image[:, y1_, x1_] * b * a
                ) / ratio**2  # fmt: skip
    return out


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
def test_roi_align(aligned, dynamic) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(np.float32)
    rois = np.concatenate([np.array([[0], [1], [1], [0], [1], [0]]), some_boxes(6) * 1.7 - 1], 1).astype(np.float32)
    rois[0, 1:] = [2.0, 2.0, 2.2, 2.3]  # smaller than one element
    wanted = aligned_by_hand(x, rois, (4, 2), 0.75, 2, aligned)
    assert (wanted == 0).any()  # places outside the image
    specs = {"x": Input(x.shape), "rois": Input(rois.shape)}
    if dynamic:
        height = Dim("height", min=4, opt=7, max=9)
        specs = {"x": Input((Dim("batch", min=1, opt=2, max=3), 3, height, 6)), "rois": Input((BATCH, 5))}
    graph = trtnet.record(
        lambda x, rois: ops.roi_align(x, rois, (4, 2), 0.75, sampling_ratio=2, aligned=aligned), **specs
    )
    lower_and_compare(graph)
    found = trtnet.reference(graph, dtype="float64", raw=True)(x.astype(float), rois.astype(float))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    each = [trtnet.tensor(rois[rois[:, 0] == i, 1:]) for i in range(2)]
    listed = ops.roi_align(trtnet.tensor(x), each, (4, 2), 0.75, 2, aligned).numpy()
    order = np.argsort(rois[:, 0], kind="stable")
    np.testing.assert_allclose(listed, wanted[order], rtol=1e-4, atol=1e-5)


def _error(kind, match, function, *shapes):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **{name: s if isinstance(s, Input) else Input(s) for name, s in zip("abc", shapes)})
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return caught.value


def test_refused() -> None:
    def suppressed(a, b):
        return ops.nms(a, b, 0.5)

    _error(ShapeError, r"takes boxes of four", suppressed, (5, 3), (5,))
    _error(ShapeError, r"a score of each", suppressed, (5, 4), (5, 1))
    error = _error(ShapeError, "too many boxes", suppressed, (5001, 4), (5001,))
    assert "topk(5000)" in error.remedy
    trtnet.record(
        lambda a, b: ops.nms(a[b.topk(50).indices], b.topk(50).values, 0.5), a=Input((3000, 4)), b=Input((3000,))
    )
    wide = Dim("n", min=1, opt=10, max=6000)
    _error(ShapeError, "too many boxes", suppressed, (wide, 4), (wide,))
    _error(ArgumentError, "from 0 to 1", lambda a, b: ops.nms(a, b, 1.5), (5, 4), (5,))
    _error(DtypeError, "one type", suppressed, Input((5, 4), "float16"), (5,))
    error = _error(ShapeError, "a fixed number", lambda a, b: ops.nms_mask(a, b, 0.5), (BATCH, 4), (BATCH,))
    assert error.remedy == "take a number of them: best = scores.topk(100).indices; boxes[best]"
    error = _error(
        UnsupportedError, "fixed number of samples", lambda a, b: ops.roi_align(a, b, 2), (1, 3, 4, 4), (2, 5)
    )
    assert error.remedy.startswith("sampling_ratio=2")
    _error(ShapeError, "features and boxes", lambda a, b: ops.roi_align(a, b, 2, 1.0, 2), (1, 3, 4, 4), (2, 4))
    half = Input((2, 5), "float16")
    error = _error(DtypeError, "one type", lambda a, b: ops.roi_align(a, b, 2, 1.0, 2), (1, 3, 4, 4), half)
    assert error.remedy == "convert the boxes: .to(x.dtype)"
