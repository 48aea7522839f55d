"""A mixture of experts: gates by top-k, dense dispatch by scatter and one_hot, tables from Python numbers."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Experts(nn.Module):
    def __init__(self, count: int, width: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(count, width, hidden))
        self.b1 = nn.Parameter(torch.Tensor(count, 1, hidden))
        self.w2 = nn.Parameter(torch.randn(count, hidden, width).div_(hidden**0.5))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in self.w1:
            nn.init.xavier_uniform_(weight)
        self.b1.data.fill_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.baddbmm(self.b1, x.unsqueeze(0).expand(self.w1.size(0), -1, -1), self.w1)
        return torch.bmm(F.mish(h), self.w2)


class MoE(nn.Module):
    def __init__(self, width: int = 12, count: int = 4, k: int = 2) -> None:
        super().__init__()
        self.k, self.count = k, count
        self.gate = nn.Linear(width, count, bias=False)
        self.noise = nn.Parameter(torch.zeros(count))
        self.experts = Experts(count, width, 24)
        self.norm = nn.LayerNorm([width])
        self.register_buffer("penalty", torch.tensor([0.0, -0.1, -0.2, -0.3][:count]))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.long))

    def forward(self, tokens: torch.Tensor):
        b, n, d = tokens.shape
        x = self.norm(tokens).reshape(-1, d)
        logits = self.gate(x) + self.penalty + F.softplus(self.noise)
        values, chosen = torch.topk(logits, self.k, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, chosen, values.softmax(-1))
        y = torch.einsum("te,etd->td", weights, self.experts(x)).view(b, n, d)
        load = F.one_hot(chosen, num_classes=self.count).sum(dim=1).float().mean(dim=0)
        importance = weights.sum(0) / weights.sum()
        order = torch.argsort(weights, dim=-1, descending=True)
        aux = (load * importance).sum() * self.count + torch.logsumexp(logits, dim=-1).square().mean()
        return tokens + y, aux, order[:, 0]


def build():
    return MoE()


INPUTS = {"tokens": ((2, 5, 12), ("batch", 5, 12))}
