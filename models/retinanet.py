"""RetinaNet (Lin et al. 2017) on ResNet-50 with a feature pyramid, with torchvision's `state_dict` keys.

torchvision's weights load as they are; they were trained with statistics that are fixed, and no `eps` added to the
variance: `RetinaNet(eps=0.0)`. torchvision's own class also normalizes, resizes and pads what it is given.
"""

import math
from collections.abc import Sequence

import trtnet
from trtnet import Tensor, nn, ops
from trtnet import functional as F

from .resnet import Bottleneck, ResNet

SIZES = (32, 64, 128, 256, 512)
"""The sides of the anchors of each level, of which there are also those of 2^(1/3) and 2^(2/3) times the side."""


def convolution(channels: int, out: int, kernel: int, relu: bool = False) -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(channels, out, kernel, padding=kernel // 2))
    return made.append(nn.ReLU(inplace=True)) if relu else made


class Body(ResNet):
    """ResNet up to its last three stages: maps of 1/8, 1/16 and 1/32 of the size."""

    def __init__(self, layers: tuple[int, int, int, int], width: int) -> None:
        super().__init__(Bottleneck, layers, width=width)
        del self.fc

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        c3 = self.layer2(self.layer1(x))
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]


class LastLevels(nn.Module):
    """Two levels more, from the coarsest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


class FeaturePyramid(nn.Module):
    """Each map plus the coarser ones, enlarged; all with `out` channels."""

    def __init__(self, channels: Sequence[int], out: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(convolution(c, out, 1) for c in channels)
        self.layer_blocks = nn.ModuleList(convolution(out, out, 3) for _ in channels)
        self.extra_blocks = LastLevels(out)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        inner = self.inner_blocks[-1](maps[-1])
        levels = [self.layer_blocks[-1](inner)]
        for index in reversed(range(len(maps) - 1)):
            beside = self.inner_blocks[index](maps[index])
            inner = beside + F.interpolate(inner, size=beside.shape[-2:], mode="nearest")
            levels.insert(0, self.layer_blocks[index](inner))
        return levels + self.extra_blocks(levels[-1])


class Backbone(nn.Module):
    def __init__(self, layers: tuple[int, int, int, int], width: int, body_width: int) -> None:
        super().__init__()
        self.body = Body(layers, body_width)
        self.fpn = FeaturePyramid((8 * body_width, 16 * body_width, 32 * body_width), width)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.fpn(self.body(image))


class Head(nn.Module):
    """Four convolutions and one more, the same for every level: (batch, anchors of all levels, `numbers`)."""

    def __init__(self, width: int, numbers: int, last: str, bias: float) -> None:
        super().__init__()
        self.numbers, self.last = numbers, last
        self.conv = nn.Sequential(*(convolution(width, width, 3, relu=True) for _ in range(4)))
        setattr(self, last, nn.Conv2d(width, 9 * numbers, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        nn.init.constant_(getattr(self, last).bias, bias)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found = []
        for level in levels:
            x = getattr(self, self.last)(self.conv(level))
            x = x.unflatten(1, (9, self.numbers)).permute(0, 3, 4, 1, 2)
            found.append(x.reshape(x.shape[0], -1, self.numbers))
        return found


class Heads(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classification_head = Head(width, classes, "cls_logits", -math.log(99))  # a probability of 0.01
        self.regression_head = Head(width, 4, "bbox_reg", 0.0)


def anchors(size: int, image: Tensor, level: Tensor) -> Tensor:
    """Nine boxes around each place of a map, as corners: (H·W·9, 4), float32 at the least."""
    dtype = trtnet.promote_types(image.dtype, trtnet.float32)
    sides = trtnet.tensor([float(int(size * 2 ** (third / 3))) for third in range(3)], device=image.device)
    high = trtnet.tensor([0.5, 1.0, 2.0], device=image.device).sqrt()[:, None]
    wide = (1 / high * sides).flatten()
    high = (high * sides).flatten()
    cell = (trtnet.stack([-wide, -high, wide, high], 1) / 2).round()
    rows, columns = level.shape[-2:]
    y = (trtnet.arange(rows, device=image.device) * (image.shape[-2] // rows)).to(dtype)[:, None].expand(rows, columns)
    x = (
        (trtnet.arange(columns, device=image.device) * (image.shape[-1] // columns))
        .to(dtype)[None]
        .expand(rows, columns)
    )
    places = trtnet.stack([x, y, x, y], -1)
    return (places[:, :, None] + cell).reshape(-1, 4)


def decoded(moves: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    """Boxes moved by (x, y) and stretched by (width, height), cut off at the image's edges."""
    moves, size = moves.to(boxes.dtype), boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + 0.5 * size + moves[..., :2] * size
    half = 0.5 * (moves[..., 2:].clamp(max=math.log(1000 / 16)).exp() * size)
    low, high = center - half, center + half
    x, y = trtnet.cat([low[..., :1], high[..., :1]], -1), trtnet.cat([low[..., 1:], high[..., 1:]], -1)
    x, y = x.clamp(0, image.shape[-1]), y.clamp(0, image.shape[-2])
    return trtnet.stack([x, y], -1).flatten(-2)


class RetinaNet(nn.Module):
    """Detection: `image` (batch, 3, H, W), normalized as ImageNet's, of multiples of 32 -> boxes and scores.

    Boxes (batch, anchors, 4) are corners (x1, y1, x2, y2) in pixels; scores (batch, anchors, classes) are 0 to 1.
    `detect` finds the objects among them.
    """

    def __init__(
        self,
        classes: int = 91,
        layers: tuple[int, int, int, int] = (3, 4, 6, 3),
        width: int = 256,
        body_width: int = 64,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(layers, width, body_width)
        self.head = Heads(width, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = eps

    def levels(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Boxes and scores of each level."""
        maps = self.backbone(image)
        logits, moves = self.head.classification_head(maps), self.head.regression_head(maps)
        boxes = [decoded(move, anchors(size, image, level), image) for move, size, level in zip(moves, SIZES, maps)]
        return boxes, [x.sigmoid() for x in logits]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        boxes, scores = self.levels(image)
        return {"boxes": trtnet.cat(boxes, 1), "scores": trtnet.cat(scores, 1)}

    def detect(self, image: Tensor) -> dict[str, Tensor]:
        """The objects in one image (1, 3, H, W), as torchvision finds them: at most 300, from the best down."""
        boxes, scores, labels = [], [], []
        for box, score in zip(*self.levels(image)):
            best = score[0].flatten().topk(min(1000, score.shape[1] * score.shape[2]))
            boxes.append(box[0][best.indices // score.shape[2]])
            scores.append(best.values)
            labels.append(best.indices % score.shape[2])
        box, score, label = trtnet.cat(boxes), trtnet.cat(scores), trtnet.cat(labels)
        kept = ops.batched_nms(box, score, label, 0.5)
        kept = kept[score[kept] > 0.05][:300]
        return {"boxes": box[kept], "scores": score[kept], "labels": label[kept]}
