"""A small YOLO in the form of YOLOv8: one stage, no anchors, sides of boxes as distributions over whole strides."""

from collections.abc import Sequence

import trtnet
from trtnet import Tensor, nn, ops

BINS = 16
"""A side of a box is up to 15 strides away from the place that sees it."""


class Conv(nn.Module):
    """A convolution without a bias, BatchNorm and SiLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Twice 3×3, and around them where `shortcut`."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, 3)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.shortcut else self.cv2(self.cv1(x))


class C2f(nn.Module):
    """Half the channels through `depth` bottlenecks; all that came between them, together."""

    def __init__(self, channels: int, out: int, depth: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        self.cv1 = Conv(channels, out)
        self.cv2 = Conv((2 + depth) * (out // 2), out)
        self.m = nn.ModuleList(Bottleneck(out // 2, shortcut) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        return self.cv2(trtnet.cat(parts, 1))


class SPPF(nn.Module):
    """Maxima over 5×5, 9×9 and 13×13 places, by one pool after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels // 2)
        self.cv2 = Conv(channels * 2, channels)
        self.m = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(trtnet.cat(parts, 1))


class Detect(nn.Module):
    """Of each map, for each place: 4 × 16 numbers for the sides of a box, and one for each class."""

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        boxes, scores = max(16, widths[0] // 4, 4 * BINS), max(widths[0], min(classes, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, boxes, 3), Conv(boxes, boxes, 3), nn.Conv2d(boxes, 4 * BINS, 1)) for c in widths
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, scores, 3), Conv(scores, scores, 3), nn.Conv2d(scores, classes, 1)) for c in widths
        )

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for x, sides, kinds in zip(maps, self.cv2, self.cv3):
            boxes.append(decoded(sides(x), image.shape[-1] // x.shape[-1]))
            scores.append(kinds(x).flatten(2).transpose(1, 2).sigmoid())
        return trtnet.cat(boxes, 1), trtnet.cat(scores, 1)


def decoded(x: Tensor, stride: int) -> Tensor:
    """(batch, 4·16, H, W) -> corners (batch, H·W, 4): from the middle of each place, the mean of each distribution."""
    batch, _, rows, columns = x.shape
    chances = x.reshape(batch, 4, BINS, rows * columns).softmax(2)
    away = (chances * trtnet.arange(BINS, dtype=x.dtype, device=x.device).reshape(BINS, 1)).sum(2).transpose(1, 2)
    y = (trtnet.arange(rows, dtype=x.dtype, device=x.device) + 0.5)[:, None].expand(rows, columns).flatten()
    middle = trtnet.stack([(trtnet.arange(columns, dtype=x.dtype, device=x.device) + 0.5).repeat(rows), y], 1)
    return trtnet.cat([middle - away[..., :2], middle + away[..., 2:]], -1) * stride


class YOLO(nn.Module):
    """Detection: `image` (batch, 3, H, W) in 0..1, sides of multiples of 32 -> boxes and scores.

    Boxes (batch, places, 4) are corners (x1, y1, x2, y2) in pixels; scores (batch, places, classes) are 0 to 1.
    `detect` finds the objects among them. The standard sizes are YOLOv8n's.
    """

    def __init__(
        self, classes: int = 80, widths: Sequence[int] = (16, 32, 64, 128, 256), depths: Sequence[int] = (1, 2, 2, 1)
    ) -> None:
        super().__init__()
        stages = [Conv(3, widths[0], 3, 2)]
        for before, after, depth in zip(widths, widths[1:], depths):
            stages.append(nn.Sequential(Conv(before, after, 3, 2), C2f(after, after, depth, shortcut=True)))
        self.backbone = nn.ModuleList(stages)
        self.sppf = SPPF(widths[4])
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.up4 = C2f(widths[4] + widths[3], widths[3], depths[0])
        self.up3 = C2f(widths[3] + widths[2], widths[2], depths[0])
        self.down4 = Conv(widths[2], widths[2], 3, 2)
        self.out4 = C2f(widths[2] + widths[3], widths[3], depths[0])
        self.down5 = Conv(widths[3], widths[3], 3, 2)
        self.out5 = C2f(widths[3] + widths[4], widths[4], depths[0])
        self.detection = Detect(classes, widths[2:])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image
        maps = []
        for stage in self.backbone:
            x = stage(x)
            maps.append(x)
        c3, c4, c5 = maps[2], maps[3], self.sppf(maps[4])
        p4 = self.up4(trtnet.cat([self.upsample(c5), c4], 1))
        p3 = self.up3(trtnet.cat([self.upsample(p4), c3], 1))
        p4 = self.out4(trtnet.cat([self.down4(p3), p4], 1))
        p5 = self.out5(trtnet.cat([self.down5(p4), c5], 1))
        boxes, scores = self.detection([p3, p4, p5], image)
        return {"boxes": boxes, "scores": scores}

    def detect(self, image: Tensor, most: int = 100, overlap: float = 0.45) -> dict[str, Tensor]:
        """The `most` best boxes of one image (1, 3, H, W): corners, scores, classes, and whether each is an object.

        A box is none where one of its class with a higher score overlaps it by more than `overlap`. All sizes are
        fixed, so it runs on every TensorRT; which scores are high enough is for the caller to see.
        """
        found = self(image)
        best, labels = found["scores"][0].max(1)
        scores, places = best.topk(most)
        boxes, labels = found["boxes"][0][places], labels[places]
        far = boxes.amax() - boxes.amin() + 1
        apart = boxes + labels.to(boxes.dtype)[:, None] * far  # no box overlaps one of another class
        return {"boxes": boxes, "scores": scores, "labels": labels, "kept": ops.nms_mask(apart, scores, overlap)}
