"""A program that uses what trtnet offers, as its users write them; test_types.py has it checked, nobody runs it."""

import trtnet
import trtnet as torch
import trtnet.cuda.amp
import trtnet.nn as nn
import trtnet.nn.init
from trtnet import Dim, Input, Tensor
from trtnet import functional as F
from trtnet.amp import autocast as autocast2
from trtnet.autograd import Function
from trtnet.cuda.amp import autocast
from trtnet.dtypes import float16
from trtnet.einops import Rearrange
from trtnet.jit import Final
from trtnet.nn.modules.batchnorm import _BatchNorm
from trtnet.nn.parameter import Parameter
from trtnet.utils.checkpoint import checkpoint


class Net(nn.Module):
    scale: Final[int]

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.scale = 2
        self.body = nn.Sequential(nn.Linear(4, width), nn.ReLU())
        self.table = nn.Parameter(torch.zeros(width))
        self.register_buffer("steps", torch.arange(width))

    def forward(self, x: torch.Tensor, mask: Tensor | None = None) -> torch.Tensor:
        x = self.body(x) + self.table
        x = x * self.scale - 1
        x[:, 0] = 0.0
        if mask is not None:
            x = torch.where(mask, x, torch.zeros_like(x))
        with torch.no_grad():
            y = torch.cat([x, -x], dim=1).view(x.size(0), -1).to(torch.float16).float()
        return F.softmax(y.transpose(0, 1) @ y, dim=-1)


net = Net()
graph = trtnet.record(net, x=Input((Dim("batch", min=1, opt=2, max=8), 4)))
plan: trtnet.Plan = trtnet.build_plan(graph)
engine: trtnet.Engine = trtnet.build(graph, refit=True)
report: trtnet.RefitReport = engine.refit(net.state_dict())
print(graph.summary(), plan, report, engine(x=1).shape)
with trtnet.HotSwap(engine) as swap:
    print(swap.refit({}))
for name, parameter in net.named_parameters():
    print(name, parameter.shape, parameter.dtype, parameter.numel())
state = trtnet.load("x.engine").snapshot()
reference: trtnet.Engine = trtnet.reference(graph)
dtype: torch.dtype = torch.float32
device = torch.device("cpu")
with autocast(enabled=False), autocast2("cuda", enabled=False):
    small = Parameter(trtnet.nn.init.zeros_(nn.Parameter(torch.ones(3))), requires_grad=False)
same: torch.Tensor = checkpoint(net, small.to(float16))
print(Function, isinstance(nn.BatchNorm2d(3), _BatchNorm), Rearrange("a b -> b a"), trtnet.cuda.amp.autocast)
small.mul_(2).add_(1)
small += 1
print(small == 1, (small < 2).any(), -small @ small.t())
