"""torchvision.ops' names for boxes, as far as TensorRT's layers go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape
from ..basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError, shown
from ..functional import (
    amax,
    arange,
    argsort,
    cat,
    floor,
    full,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    ones,
    permute,
    sort,
    unsqueeze,
    where,
    zeros,
)
from ..functional.dispatch import operation, refusing, tensor
from ..graph.tensor import Array, Tensor
from ..layers import adding
from ..layers.selection import MOST_BOXES

__all__ = ["batched_nms", "box_area", "box_convert", "box_iou", "nms", "nms_mask", "roi_align"]

LEAST = float(np.finfo(np.float32).min)
UNROLLED = 1024
"""Boxes of `nms_mask` at most: each is a handful of layers."""


@refusing
def box_area(boxes: Tensor) -> Tensor:
    """The areas of boxes (N, 4) of corners (x1, y1, x2, y2): (N,).

    >>> trtnet.ops.box_area(trtnet.tensor([[0.0, 0.0, 2.0, 3.0]])).tolist()
    [6.0]
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


@refusing
def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """The intersection over union of each box of (N, 4) with each of (M, 4), corners (x1, y1, x2, y2): (N, M).

    >>> a = trtnet.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> trtnet.ops.box_iou(a, trtnet.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]])).tolist()
    [[1.0, 0.3333333432674408]]
    """
    for boxes in (boxes1, boxes2):
        _check_boxes("box_iou", boxes)
    low = maximum(unsqueeze(boxes1[:, :2], 1), boxes2[:, :2])
    high = minimum(unsqueeze(boxes1[:, 2:], 1), boxes2[:, 2:])
    sides = (high - low).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    return shared / (unsqueeze(box_area(boxes1), 1) + box_area(boxes2) - shared)


@refusing
def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Boxes (..., 4) of one format in another: "xyxy" (corners), "xywh" (corner, size), "cxcywh" (centre, size).

    >>> trtnet.ops.box_convert(trtnet.tensor([[1.0, 1.0, 2.0, 4.0]]), "cxcywh", "xyxy").tolist()
    [[0.0, -1.0, 2.0, 3.0]]
    """
    formats = ("xyxy", "xywh", "cxcywh")
    for given in (in_fmt, out_fmt):
        if given not in formats:
            raise ArgumentError("there is no such format of boxes", expected=", ".join(formats), found=given)
    first, second = boxes[..., :2], boxes[..., 2:]
    if in_fmt == out_fmt:
        return boxes.clone()
    if in_fmt == "xywh":
        first, second = first, first + second
    elif in_fmt == "cxcywh":
        first, second = first - second / 2, first + second / 2
    if out_fmt == "xywh":
        second = second - first
    elif out_fmt == "cxcywh":
        first, second = (first + second) / 2, second - first
    return cat([first, second], -1)


def _check_boxes(name: str, boxes: Tensor, scores: Tensor | None = None) -> None:
    found = format_shape(boxes.shape)
    if scores is not None:
        found += f" and {format_shape(scores.shape)}"
    if len(boxes.shape) != 2 or boxes.shape[1] != 4 or (scores is not None and len(scores.shape) != 1):
        raise ShapeError(
            f"{name} takes boxes of four coordinates{' and a score of each' if scores is not None else ''}",
            expected="(N, 4)" if scores is None else "(N, 4) and (N,)",
            found=found,
        )


def _nms_numpy(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    for what, given in (("boxes", boxes), ("scores", scores)):
        if not isinstance(given, np.ndarray):
            raise ArgumentTypeError(f"nms: {what} are a tensor", found=shown(given))
    _check_boxes("nms", Array(boxes), Array(scores))
    low, high = boxes[:, :2], boxes[:, 2:]
    area = (high - low).prod(1)
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        one = left.pop(0)
        kept.append(one)
        rest = np.asarray(left, np.int64)
        sides = (np.minimum(high[one], high[rest]) - np.maximum(low[one], low[rest])).clip(0)
        shared = sides.prod(1)
        with np.errstate(invalid="ignore"):
            left = list(rest[~(shared / (area[one] + area[rest] - shared) > iou_threshold)])
    return np.asarray(kept, np.int64)


@operation(_nms_numpy)
@refusing
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: the boxes, from the highest score down, that overlap none of those before them by more
    than `iou_threshold` (intersection over union, 0 to 1).

    Shape: boxes (N, 4) of corners (x1, y1, x2, y2), N at most 5000; scores (N,), finite; the result (count,) int64,
        where the data decides the count. TensorRT-RTX has no such layer: `nms_mask` runs there.

    Layers of the example: `shuffle`, `constant`, `nms`, `slice`, `cast`.

    >>> boxes = trtnet.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    >>> trtnet.ops.nms(boxes, trtnet.tensor([0.5, 0.9, 0.1]), 0.5).tolist()
    [1, 2]
    """
    given, points = tensor(boxes), tensor(scores)
    _check_boxes("nms", given, points)
    most = _most_boxes(given.shape[0], MOST_BOXES, "take the best first: scores.topk(5000), boxes[indices]")
    _check_threshold(iou_threshold)
    found, _ = adding.adder("add_nms")(
        unsqueeze(given, 0),
        unsqueeze(unsqueeze(points, 0), -1),
        np.asarray(most, np.int32),
        np.asarray(iou_threshold, np.float32),
        np.asarray(LEAST, np.float32),
    )
    return found[:, 2].long()


def _most_boxes(count: SizeLike, limit: int, remedy: str) -> int:
    most = count if isinstance(count, int) else count.bounds[1]
    if most > limit:
        raise ShapeError(
            "there are too many boxes for a non-maximum suppression",
            expected=f"at most {limit}",
            found=f"{count}" if isinstance(count, int) else f"{count}, up to {most}",
            remedy=remedy,
        )
    return most


def _check_threshold(iou_threshold: float) -> None:
    if not 0 <= iou_threshold <= 1:
        raise ArgumentError("an overlap is from 0 to 1", expected="iou_threshold of 0 to 1", found=iou_threshold)


@refusing
def nms_mask(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Whether `nms` keeps each box: (N,) bool, of a fixed number N of boxes, at most 1024.

    No size depends on the data, so it runs where TensorRT has no layer for `nms` (TensorRT-RTX); it costs a few layers
    for each box. torchvision has no such function.

    >>> boxes = trtnet.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    >>> trtnet.ops.nms_mask(boxes, trtnet.tensor([0.5, 0.9, 0.1]), 0.5).tolist()
    [False, True, True]
    """
    _check_boxes("nms_mask", boxes, scores)
    _check_threshold(iou_threshold)
    count = boxes.shape[0]
    if not isinstance(count, int):
        raise ShapeError(
            "nms_mask takes a fixed number of boxes",
            expected="a number",
            found=f"{count!r}",
            remedy="take a number of them: best = scores.topk(100).indices; boxes[best]",
        )
    _most_boxes(count, UNROLLED, "take the best first: scores.topk(100), boxes[indices]")
    if count == 0:
        return ones((0,), dtype=dtypes.bool_)
    order = sort(scores, descending=True).indices
    sorted_boxes = boxes[order]
    later = Array(np.tri(count, count, -1, dtype=bool).T.copy())
    hides = logical_and(box_iou(sorted_boxes, sorted_boxes) > iou_threshold, later)
    hidden = zeros((count,), dtype=dtypes.bool_)
    for place in range(count - 1):
        hidden = logical_or(hidden, logical_and(hides[place], logical_not(hidden[place : place + 1])))
    return logical_not(hidden)[argsort(order)]


@refusing
def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` of each class by itself: boxes of different `idxs` (N,) hide none of each other.

    As torchvision's: the boxes of each class are moved so far that classes do not overlap, which rounds their
    coordinates.

    >>> boxes = trtnet.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [0.0, 0.0, 2.0, 2.0]])
    >>> trtnet.ops.batched_nms(boxes, trtnet.tensor([0.5, 0.9, 0.1]), trtnet.tensor([0, 0, 1]), 0.5).tolist()
    [1, 2]
    """
    _check_boxes("batched_nms", boxes, scores)
    if isinstance(boxes.shape[0], int) and boxes.shape[0] == 0:
        return zeros((0,), dtype=dtypes.int64)
    far = amax(boxes) + 1
    return nms(boxes + unsqueeze(idxs.to(boxes.dtype) * far, 1), scores, iou_threshold)


@refusing
def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """The features (N, C, H, W) under each box, averaged to `output_size`: (K, C, height, width).

    Each cell is the mean of sampling_ratio**2 values, interpolated between four elements (He et al., "Mask R-CNN").

    Args:
        boxes: (K, 5) of image, x1, y1, x2, y2; or for each image a tensor (L, 4).
        spatial_scale: what coordinates are multiplied by.
        sampling_ratio: 1 or more. Raises UnsupportedError for -1, with which torchvision counts by each box's size.
        aligned: whether coordinates are half an element less, as elements have their centres there.

    >>> x = trtnet.arange(16.0).reshape(1, 1, 4, 4)
    >>> box = trtnet.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
    >>> trtnet.ops.roi_align(x, box, 1, sampling_ratio=2).tolist()
    [[[[5.0]]]]
    """
    if sampling_ratio < 1:
        raise UnsupportedError(
            "roi_align takes a fixed number of samples",
            expected="sampling_ratio of 1 or more",
            found=sampling_ratio,
            remedy="sampling_ratio=2, as torchvision's detectors have it: the sizes of the boxes are known to no layer",
        )
    if not isinstance(boxes, Tensor):
        boxes = cat(
            [cat([full((one.shape[0], 1), float(i), dtype=one.dtype), one], 1) for i, one in enumerate(boxes)], 0
        )
    if len(input.shape) != 4 or len(boxes.shape) != 2 or boxes.shape[1] != 5:
        raise ShapeError(
            "roi_align takes features and boxes",
            expected="(N, C, H, W), and (K, 5) or (L, 4) for each image",
            found=f"{format_shape(input.shape)} and {format_shape(boxes.shape)}",
        )
    if boxes.dtype is not input.dtype:
        raise DtypeError(
            "the features and boxes of roi_align have one type", expected=input.dtype, found=boxes.dtype,
            remedy="convert the boxes: .to(x.dtype)",
        )  # fmt: skip
    cells = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    count, channels, height, width = input.shape
    corners = boxes[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    sides = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1.0)
    places = []  # for y and x: the two elements, the share of the second, and whether the place is inside
    for axis, size, cell in ((1, height, cells[0]), (0, width, cells[1])):
        steps = (arange(cell * sampling_ratio) + 0.5) / (sampling_ratio * cell)
        at = corners[:, axis : axis + 1] + sides[:, axis : axis + 1] * steps.to(input.dtype)
        inside = logical_and(at >= -1.0, at <= size)
        at = minimum(at.clamp(min=0.0), size - 1)
        low = floor(at)
        places.append((low.long(), minimum(low + 1, size - 1).long(), at - low, inside))
    rows = permute(input, (0, 2, 3, 1)).reshape(count * height * width, channels)
    image = (boxes[:, 0].long() * (height * width)).reshape(-1, 1, 1)
    (y0, y1, fy, in_y), (x0, x1, fx, in_x) = places
    fy, fx = unsqueeze(fy, 2), unsqueeze(fx, 1)
    total = None
    for y, share_y in ((y0, 1 - fy), (y1, fy)):
        for x, share_x in ((x0, 1 - fx), (x1, fx)):
            index = image + unsqueeze(y * width, 2) + unsqueeze(x, 1)
            part = rows[index] * unsqueeze(share_y * share_x, 3)
            total = part if total is None else total + part
    inside = unsqueeze(logical_and(unsqueeze(in_y, 2), unsqueeze(in_x, 1)), 3)
    samples = where(inside, total, 0.0)
    split = samples.reshape(boxes.shape[0], cells[0], sampling_ratio, cells[1], sampling_ratio, channels)
    return permute(split.mean((2, 4)), (0, 3, 1, 2))
