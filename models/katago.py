"""KataGo's network for Go (Wu 2019), with the parameter names of its `model_pytorch.py`: the kind of `b6c96`.

Boards of any size up to `size` × `size` run together: channel 0 of what is seen is 1 where there is a board.
"""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F


class BiasMask(nn.Module):
    """A bias for each channel, and nothing off the board; `scaled`: times 1 + gamma before."""

    def __init__(self, channels: int, scaled: bool = False) -> None:
        super().__init__()
        self.beta = nn.Parameter(trtnet.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(trtnet.zeros(1, channels, 1, 1)) if scaled else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.gamma is not None:
            x = x * (self.gamma + 1.0)
        return (x + self.beta) * mask


def conv(channels: int, out: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)


def pooled(x: Tensor, mask: Tensor, for_value: bool = False) -> Tensor:
    """Of each channel: its mean over the board, that times the board's size, and its maximum (or a square).

    (batch, channels, H, W) -> (batch, 3·channels); x is 0 off the board, and above -1.
    """
    area = mask.sum((1, 2, 3)).unsqueeze(1)
    larger = area.sqrt() - 14.0
    mean = x.sum((2, 3)) / area
    last = mean * (larger * larger / 100.0 - 0.1) if for_value else (x + (mask - 1.0)).amax((2, 3))
    return trtnet.cat([mean, mean * (larger / 10.0), last], 1)


class ConvAndPool(nn.Module):
    """A convolution, to which is added what the whole board looks like."""

    def __init__(self, channels: int, out: int, board: int) -> None:
        super().__init__()
        self.conv1r = conv(channels, out, 3)
        self.conv1g = conv(channels, board, 3)
        self.normg = BiasMask(board)
        self.linear_g = nn.Linear(3 * board, out, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = F.relu(self.normg(self.conv1g(x), mask))
        return self.conv1r(x) + self.linear_g(pooled(seen, mask))[:, :, None, None]


class NormActConv(nn.Module):
    """A bias, ReLU and a convolution, which sees the `board` where it is given."""

    def __init__(self, channels: int, out: int, board: int = 0, scaled: bool = False) -> None:
        super().__init__()
        self.norm = BiasMask(channels, scaled)
        self.convpool = ConvAndPool(channels, out, board) if board else None
        self.conv = None if board else conv(channels, out, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = F.relu(self.norm(x, mask))
        return self.conv(x) if self.convpool is None else self.convpool(x, mask)


class ResBlock(nn.Module):
    def __init__(self, channels: int, board: int) -> None:
        super().__init__()
        self.normactconv1 = NormActConv(channels, channels - board, board)
        self.normactconv2 = NormActConv(channels - board, channels, scaled=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.normactconv2(self.normactconv1(x, mask), mask)


class PolicyHead(nn.Module):
    """Six policies, of each place and last of a pass: (batch, 6, H·W + 1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1p = conv(channels, width, 1)
        self.conv1g = conv(channels, width, 1)
        self.biasg = BiasMask(width)
        self.linear_g = nn.Linear(3 * width, width, bias=False)
        self.linear_pass = nn.Linear(3 * width, width)
        self.linear_pass2 = nn.Linear(width, 6, bias=False)
        self.bias2 = BiasMask(width)
        self.conv2p = conv(width, 6, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        board = pooled(F.relu(self.biasg(self.conv1g(x), mask)), mask)
        passing = self.linear_pass2(F.relu(self.linear_pass(board)))
        y = self.conv1p(x) + self.linear_g(board)[:, :, None, None]
        y = self.conv2p(F.relu(self.bias2(y, mask))) - (1.0 - mask) * 5000.0
        return trtnet.cat([y.flatten(2), passing.unsqueeze(2)], 2)


class ValueHead(nn.Module):
    """Who wins, by how much and with what certainty, and whose each place is."""

    def __init__(self, channels: int, width: int, hidden: int, belief: int, beliefs: int, size: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, width, 1)
        self.bias1 = BiasMask(width)
        self.linear2 = nn.Linear(3 * width, hidden)
        self.linear_valuehead = nn.Linear(hidden, 3)
        self.linear_miscvaluehead = nn.Linear(hidden, 10)
        self.linear_moremiscvaluehead = nn.Linear(hidden, 8)
        self.conv_ownership = conv(width, 1, 1)
        self.conv_scoring = conv(width, 1, 1)
        self.conv_futurepos = conv(channels, 2, 1)
        self.conv_seki = conv(channels, 4, 1)
        self.linear_s2 = nn.Linear(3 * width, belief)
        self.linear_s2off = nn.Linear(1, belief, bias=False)
        self.linear_s2par = nn.Linear(1, belief, bias=False)
        self.linear_s3 = nn.Linear(belief, beliefs)
        self.linear_smix = nn.Linear(3 * width, beliefs)
        middle = size * size + 60
        score = trtnet.arange(-middle, middle, dtype=trtnet.float32)
        self.register_buffer("offsets", 0.05 * (score + 0.5).reshape(1, -1, 1), persistent=False)
        self.register_buffer("parities", (0.5 - score % 2).reshape(1, -1), persistent=False)

    def forward(self, x: Tensor, mask: Tensor, input_global: Tensor) -> dict[str, Tensor]:
        y = F.relu(self.bias1(self.conv1(x), mask))
        board = pooled(y, mask, for_value=True)
        hidden = F.relu(self.linear2(board))
        parity = (self.parities * input_global[:, -1:]).unsqueeze(2)
        belief = self.linear_s2(board).unsqueeze(1) + self.linear_s2off(self.offsets) + self.linear_s2par(parity)
        belief = self.linear_s3(F.relu(belief)).log_softmax(1)
        weights = self.linear_smix(board).log_softmax(1).unsqueeze(1)
        return {
            "value": self.linear_valuehead(hidden),
            "miscvalue": self.linear_miscvaluehead(hidden),
            "moremiscvalue": self.linear_moremiscvaluehead(hidden),
            "ownership": self.conv_ownership(y) * mask,
            "scoring": self.conv_scoring(y) * mask,
            "futurepos": self.conv_futurepos(x) * mask,
            "seki": self.conv_seki(x) * mask,
            "scorebelief": (belief + weights).logsumexp(2),
        }


class KataGo(nn.Module):
    """`input_spatial` (batch, 22, H, W) and `input_global` (batch, 19) -> policies and values, as logits.

    `boards` has the blocks that see the whole board.
    """

    def __init__(
        self,
        blocks: int = 6,
        channels: int = 96,
        boards: tuple[int, ...] = (2, 4),
        width: int = 32,
        hidden: int = 64,
        belief: int = 48,
        beliefs: int = 4,
        size: int = 19,
    ) -> None:
        super().__init__()
        self.conv_spatial = conv(22, channels, 3)
        self.linear_global = nn.Linear(19, channels, bias=False)
        self.blocks = nn.ModuleList(ResBlock(channels, width if i in boards else 0) for i in range(blocks))
        self.norm_trunkfinal = BiasMask(channels)
        self.policy_head = PolicyHead(channels, width)
        self.value_head = ValueHead(channels, width, hidden, belief, beliefs, size)

    def forward(self, input_spatial: Tensor, input_global: Tensor) -> dict[str, Tensor]:
        mask = input_spatial[:, :1]
        x = self.conv_spatial(input_spatial) + self.linear_global(input_global)[:, :, None, None]
        for block in self.blocks:
            x = block(x, mask)
        x = F.relu(self.norm_trunkfinal(x, mask))
        return {"policy": self.policy_head(x, mask), **self.value_head(x, mask, input_global)}
