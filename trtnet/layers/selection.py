"""Layers whose values decide the size of what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from ..basics import dtypes
from ..basics.dims import Dim, Size, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.recorder import recorder
from ..graph.tensor import Tensor
from .base import Layer, Operand, Output, require_equal
from .bounds import Bounds
from .targets import ILayer, Network, Run, Source

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, eq=False, repr=False)
class NonZero(Layer):
    """`add_non_zero`: where a bool tensor is True, as int32 of shape (its rank, `count`), in row-major order.

    `count` is a Dim that no input has: the data decides it at each call.
    """

    count: Dim

    kind: ClassVar[str] = "non_zero"
    chooses: ClassVar[tuple[str, ...]] = ("count",)
    is_dense: ClassVar[bool] = False
    rounds: ClassVar[bool] = False

    @property
    def decides(self) -> tuple[Dim, ...]:
        return (self.count,)

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        x = operands[0]
        assert isinstance(x, Tensor)
        elements = x.shape.numel()
        return {"count": recorder().data_dim("nonzero", elements if isinstance(elements, int) else elements.bounds[1])}

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        operands = (source.operand(native, 0),)
        return cls(operands, **cls.chosen(operands, {}))

    def infer(self) -> tuple[Output, ...]:
        x = self.inputs[0]
        assert isinstance(x, Tensor)
        if x.dtype is not dtypes.bool_:
            raise DtypeError(
                "a non-zero layer takes bool", expected="bool", found=x.dtype, remedy="compare first: x != 0"
            )
        if not x.shape:
            raise ShapeError("a non-zero layer takes at least one dimension", found=format_shape(x.shape))
        return ((Size((len(x.shape), self.count)), dtypes.int32),)

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def add_to(self, lowering: Network) -> ILayer | None:
        layer = lowering.network.add_non_zero(lowering[self.inputs[0]])
        if layer is not None:
            lowering.data_decides(self.count, layer.get_output(0), 1)
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor:
        found = inputs[0].nonzero().T
        run.data_decides(self.count, found.shape[1])
        return found.to(run.torch.int32)


@dataclass(slots=True, eq=False, repr=False)
class NMS(Layer):
    """`add_nms`: the boxes of each batch item and class that overlap none of a higher score by more than a threshold.

    Inputs: boxes (B, N, 4), or (B, N, C, 4) of each class its own; scores (B, N, C); the most boxes of an item and
    class (int32 without dimensions); the intersection over union beyond which a box is left out, 0 to 1, and the score
    that a box must exceed (float32 without dimensions; 0 where they are left out).

    Outputs, int32: (count, 3) of batch item, class and box, by item and then from the highest score down; and the
    count. Which of two boxes of one score comes first is not determined.

    `topk_box_limit`: how many boxes and classes of an item are considered, from the highest score on, at most 5000.
    `count` is a Dim that the data decides.
    """

    count: Dim
    bounding_box_format: str = "CORNER_PAIRS"
    topk_box_limit: int = 5000

    kind: ClassVar[str] = "nms"
    chooses: ClassVar[tuple[str, ...]] = ("count",)
    input_counts: ClassVar[tuple[int, int, int | None]] = (3, 3, 5)
    is_dense: ClassVar[bool] = False
    rounds: ClassVar[bool] = False

    @classmethod
    def chosen(cls, operands: tuple[Operand, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        if len(operands) < 3 or operands[1] is None or len(operands[1].shape) != 3:
            raise ShapeError(
                "an NMS layer takes boxes, scores (B, N, C) and the most boxes of a class",
                expected="(B, N, 4), (B, N, C) and a number",
                found=", ".join("nothing" if o is None else format_shape(o.shape) for o in operands),
            )
        batch, boxes, classes = (size if isinstance(size, int) else size.bounds[1] for size in operands[1].shape)
        limit = operands[2]
        known = limit.layer.holds(fixed=True) if isinstance(limit, Tensor) and limit.layer is not None else None
        most = min(boxes, known[1]) if known is not None and isinstance(known[1], int) else boxes
        return {"count": recorder().data_dim("nms", batch * classes * max(most, 0))}

    @property
    def decides(self) -> tuple[Dim, ...]:
        return (self.count,)

    @classmethod
    def read(cls, native: ILayer, source: Source) -> Layer:
        operands = tuple(source.operand(native, index) for index in range(native.num_inputs))
        given = cls.read_attributes(native, source, "bounding_box_format", "topk_box_limit")
        return cls(operands, **cls.chosen(operands, given), **given)

    def infer(self) -> tuple[Output, ...]:
        boxes, scores, limit = self.inputs[:3]
        assert isinstance(boxes, Tensor)
        assert isinstance(scores, Tensor)
        assert isinstance(limit, Tensor)
        found = f"{format_shape(boxes.shape)} and {format_shape(scores.shape)}"
        if len(boxes.shape) not in (3, 4) or boxes.shape[-1] != 4 or len(scores.shape) != 3:
            raise ShapeError(
                "an NMS layer takes boxes of four coordinates, and a score of each box and class",
                expected="(B, N, 4) or (B, N, C, 4), and (B, N, C)",
                found=found,
            )
        for axis in range(len(boxes.shape) - 1):
            require_equal(boxes.shape[axis], scores.shape[axis], f"NMS: sizes differ in dimension {axis}: {found}")
        if boxes.dtype not in (dtypes.float32, dtypes.float16) or scores.dtype is not boxes.dtype:
            raise DtypeError(
                "the boxes and scores of an NMS layer have one type",
                expected="float32 or float16",
                found=f"{boxes.dtype} and {scores.dtype}",
                remedy="convert them first: .float()",
            )
        wanted = (dtypes.int32, dtypes.float32, dtypes.float32)
        for what, dtype, one in zip(("most boxes", "overlap", "least score"), wanted, self.inputs[2:]):
            if one is not None and (one.dtype is not dtype or len(one.shape)):
                raise DtypeError(
                    f"the {what} of an NMS layer is one number",
                    expected=f"() {dtype}",
                    found=f"{format_shape(one.shape)} {one.dtype}",
                )
        if self.bounding_box_format not in ("CORNER_PAIRS", "CENTER_SIZES"):
            raise ArgumentError(
                "there is no such format of boxes",
                expected="CORNER_PAIRS or CENTER_SIZES",
                found=self.bounding_box_format,
            )
        if not 0 < self.topk_box_limit <= MOST_BOXES:
            raise ArgumentError(
                "TensorRT considers few boxes of an item", expected=f"1 to {MOST_BOXES}", found=self.topk_box_limit
            )
        return ((Size((self.count, 3)), dtypes.int32), (Size(()), dtypes.int32))

    def takes(self, position: int, wanted: Bounds | None, output: int = 0) -> Bounds | None:
        return None

    def add_to(self, lowering: Network) -> ILayer | None:
        boxes, scores, limit = (lowering[one] for one in self.inputs[:3])
        layer = lowering.network.add_nms(boxes, scores, limit)
        if layer is None:
            return None
        layer.bounding_box_format = lowering.enum("BoundingBoxFormat", self.bounding_box_format)
        layer.topk_box_limit = self.topk_box_limit
        for index in (3, 4):
            one = self.operand(index)
            if one is not None:
                layer.set_input(index, lowering[one])
        lowering.data_decides(self.count, layer.get_output(0), 0)
        return layer

    def nonnegative_if(self, index: int) -> tuple[Operand, ...] | None:
        return ()

    def compute(self, run: Run, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        torch = run.torch
        boxes, scores, limit, *thresholds = inputs
        overlap, least = (
            float(thresholds[i]) if i < len(thresholds) and thresholds[i] is not None else 0.0 for i in range(2)
        )
        corners = boxes if self.bounding_box_format == "CORNER_PAIRS" else _corners(torch, boxes)
        rows: list[tuple[int, int, int]] = []
        for item in range(scores.shape[0]):
            flat = scores[item].T.reshape(-1)
            order = flat.argsort(descending=True, stable=True)
            order = order[flat[order] > least][: self.topk_box_limit]
            kept: dict[int, list[int]] = {}
            for place in order.tolist():
                of_class, box = divmod(place, scores.shape[1])
                chosen = kept.setdefault(of_class, [])
                of_it = corners[item] if boxes.ndim == 3 else corners[item, :, of_class]
                if len(chosen) < int(limit) and not bool((_overlaps(torch, of_it[box], of_it[chosen]) > overlap).any()):
                    chosen.append(box)
                    rows.append((item, of_class, box))
        run.data_decides(self.count, len(rows))
        found = torch.tensor(rows, dtype=torch.int32, device=scores.device).reshape(-1, 3)
        return found, torch.tensor(len(rows), dtype=torch.int32, device=scores.device)


MOST_BOXES = 5000
"""Boxes of one batch item that TensorRT's NMS considers at most: INMSLayer's K."""


def _corners(torch: ModuleType, boxes: torch.Tensor) -> torch.Tensor:
    """(x, y, width, height) about the centre as two opposite corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def _overlaps(torch: ModuleType, box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The intersection over union of a box and each of others, by any two opposite corners."""
    a, b = (
        torch.stack([torch.minimum(x[..., :2], x[..., 2:]), torch.maximum(x[..., :2], x[..., 2:])])
        for x in (box, others)
    )
    sides = (torch.minimum(a[1], b[1]) - torch.maximum(a[0], b[0])).clamp(min=0)
    shared = sides.prod(-1)
    return shared / ((a[1] - a[0]).prod(-1) + (b[1] - b[0]).prod(-1) - shared)
