"""Dilated causal convolutions over time with gated units and skip connections; an upsampling head."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalConv1d(nn.Conv1d):
    def __init__(self, channels_in, channels_out, kernel_size, dilation=1, **kwargs):
        self.reach = (kernel_size - 1) * dilation
        super().__init__(channels_in, channels_out, kernel_size, dilation=dilation, **kwargs)

    def forward(self, x):
        return super().forward(F.pad(x, (self.reach, 0)))


class Gate(nn.Module):
    def __init__(self, width, dilation):
        super(Gate, self).__init__()
        self.conv = CausalConv1d(width, 2 * width, 2, dilation)
        self.cond = nn.Conv1d(3, 2 * width, 1, bias=False)
        self.res, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x, condition):
        a, b = torch.chunk(self.conv(x) + self.cond(condition), 2, dim=1)
        z = torch.tanh(a) * torch.sigmoid(b)
        return (x + self.res(z)) * (0.5**0.5), self.skip(z)


class WaveNet(nn.Module):
    def __init__(self, width=8, levels=16, dilations=(1, 2, 4)):
        super().__init__()
        self.embed = nn.Embedding(levels, width)
        self.gates = nn.ModuleList([Gate(width, d) for d in dilations])
        self.glu = nn.Sequential(nn.ReLU(), nn.Conv1d(width, 2 * width, 1), nn.GLU(dim=1))
        self.logits = nn.Conv1d(width, levels, 1)
        self.up = nn.ConvTranspose1d(width, 1, kernel_size=4, stride=2, padding=1, output_padding=1)
        self.pool = nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, samples, condition):
        x = self.embed(samples).transpose(1, 2)
        total = 0
        for gate in self.gates:
            x, skip = gate(x, condition)
            total = total + skip
        y = self.glu(total)
        return F.log_softmax(self.logits(y), dim=1), self.up(y), self.pool(y)


def build():
    return WaveNet()


INPUTS = {"samples": ((2, 10), ("batch", "time"), 16), "condition": ((2, 3, 10), ("batch", 3, "time"))}
