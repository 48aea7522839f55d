"""WaveNet (van den Oord et al. 2016): sound, sample by sample, from all samples within reach before it."""

from trtnet import Tensor, nn
from trtnet import functional as F


class WaveNet(nn.Module):
    """What comes next: `samples` (batch, time), mu-law levels as int64 -> logits (batch, levels, time) of the next one.

    `layers` convolutions of two samples, 1, 2, 4, … samples apart, make a block; there are `blocks` of them, one after
    the other. The standard sizes reach back 4093 samples.
    """

    def __init__(
        self,
        layers: int = 10,
        blocks: int = 4,
        residual: int = 32,
        dilated: int = 32,
        skip: int = 256,
        end: int = 256,
        levels: int = 256,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.dilations = [2**layer for layer in range(layers)] * blocks
        self.start_conv = nn.Conv1d(levels, residual, 1, bias=False)
        self.filter_convs = nn.ModuleList(nn.Conv1d(residual, dilated, 2, dilation=d) for d in self.dilations)
        self.gate_convs = nn.ModuleList(nn.Conv1d(residual, dilated, 2, dilation=d) for d in self.dilations)
        self.residual_convs = nn.ModuleList(nn.Conv1d(dilated, residual, 1) for _ in self.dilations)
        self.skip_convs = nn.ModuleList(nn.Conv1d(dilated, skip, 1) for _ in self.dilations)
        self.end_conv_1 = nn.Conv1d(skip, end, 1)
        self.end_conv_2 = nn.Conv1d(end, levels, 1)

    def forward(self, samples: Tensor) -> Tensor:
        one_hot = F.one_hot(samples, self.levels).to(self.start_conv.weight.dtype)
        x = self.start_conv(one_hot.transpose(1, 2))
        total = 0
        layers = zip(self.dilations, self.filter_convs, self.gate_convs, self.residual_convs, self.skip_convs)
        for dilation, filtered, gate, residual, skip in layers:
            before = F.pad(x, (dilation, 0))  # a sample sees none that comes later
            y = filtered(before).tanh() * gate(before).sigmoid()
            total = total + skip(y)
            x = x + residual(y)
        return self.end_conv_2(F.relu(self.end_conv_1(F.relu(total))))
