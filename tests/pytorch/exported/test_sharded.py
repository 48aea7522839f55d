"""Modules that FullyShardedDataParallel or fully_shard took, in a group of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from exported import BATCH
from torch import nn

import trtnet
from trtnet import Input

if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("needs torch.distributed with gloo", allow_module_level=True)

from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file: Path = tmp_path_factory.mktemp("group") / "rendezvous"
    dist.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{file}")
    yield
    dist.destroy_process_group()


class Actor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.head = nn.Linear(8, 4)
        self.tied = nn.Linear(4, 8)
        self.tied.weight = self.body[0].weight
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x * self.scale) + self.tied(x))

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).sum(-1)


def by_shard(net: Actor) -> Any:
    fully_shard(net.head)
    fully_shard(net)
    return net


def unsharded(net: Actor) -> Any:
    by_shard(net)
    net.unshard()  # type: ignore[operator]
    return net


def wrapped(net: Actor) -> Any:
    return FullyShardedDataParallel(net, device_id=torch.device("cpu"))


def with_parts(net: Actor) -> Any:
    policy = ModuleWrapPolicy({nn.Tanh})
    return FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=True, auto_wrap_policy=policy)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shard", [by_shard, unsharded, wrapped, with_parts])
def test_a_sharded_module(shard: Callable[[Actor], Any]) -> None:
    torch.manual_seed(0)
    plain = Actor()
    net = Actor()
    net.load_state_dict(plain.state_dict())
    learner = shard(net)
    graph = trtnet.record(learner, x=Input((BATCH, 4)))
    assert set(graph.state_dict()) == set(plain.state_dict())
    x = torch.randn(3, 4)
    with torch.no_grad():
        np.testing.assert_allclose(trtnet.reference(graph)(x.numpy()), plain(x), rtol=1e-5, atol=1e-6)
    before = learner(x)  # which trains as before
    before.sum().backward()
    np.testing.assert_allclose(before.detach(), plain(x).detach(), rtol=1e-5, atol=1e-6)
    engine = trtnet.build(graph, provider="reference", refit=True)
    engine.refit({key: value * 2 for key, value in plain.state_dict().items()})
    with torch.no_grad():
        for one in [*plain.parameters(), *plain.buffers()]:
            one.mul_(2)
        np.testing.assert_allclose(engine(x.numpy()), plain(x), rtol=1e-5, atol=1e-5)


def test_a_method_of_a_sharded_module() -> None:
    net = by_shard(Actor())
    graph = trtnet.record(net.value, x=Input((BATCH, 4)))
    plain = Actor()
    plain.load_state_dict({key: torch.from_numpy(value) for key, value in graph.state_dict().items()})
    x = torch.randn(2, 4)
    with torch.no_grad():
        np.testing.assert_allclose(trtnet.reference(graph)(x.numpy()), plain.value(x), rtol=1e-5, atol=1e-6)
