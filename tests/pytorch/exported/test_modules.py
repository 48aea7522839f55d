"""torch.nn.Modules as they are: numbers, names, paths, lines, modes, wrappers, refits."""

from __future__ import annotations

import copy
import random
import tomllib
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import BATCH, agree, check, leaves, randomized
from harness import compile_network, lower_and_compare
from torch import nn

import trtnet
from trtnet import Dim, Input
from trtnet.errors import ArgumentError, ArgumentTypeError, ProviderError, ShapeError, UnsupportedError, WeightsError

HERE = Path(__file__).name


class Agent(nn.Module):
    """In the style of CleanRL's files."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.actor = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

    def get_value(self, x: torch.Tensor) -> torch.Tensor:
        return self.critic(x)

    def forward(self, obs: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.actor(obs)
        return {"logits": logits, "probs": torch.distributions.Categorical(logits=logits).probs}


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.conv(image))))
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(self.drop(x))


def test_an_agent_and_one_of_its_methods() -> None:
    agent = Agent()
    graph = check(agent, obs=Input((BATCH, 4)))
    assert list(graph.outputs) == ["logits", "probs"]
    value = check(agent.get_value, x=Input((BATCH, 4)))
    keys = ["critic.0.weight", "critic.0.bias", "critic.2.weight", "critic.2.bias"]
    keys += [key.replace("critic", "actor") for key in keys]
    assert list(graph.parameters) == list(value.parameters) == list(agent.state_dict()) == keys
    assert graph.title == value.title == "Agent"
    assert value.trainable == set(keys)


def test_a_convolutional_network_keeps_its_mode() -> None:
    net = randomized(Convolutions())
    net.train()
    net.drop.eval()
    graph = check(net, image=Input((BATCH, 3, 8, 8)))
    assert [module.training for module in (net, net.norm, net.drop)] == [True, True, False]
    assert set(graph.parameters) == set(net.state_dict())
    assert graph.buffers == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    kinds = [(layer.kind, layer.path) for layer in graph.layers]
    assert kinds[:3] == [("convolution", "conv"), ("scale", "norm"), ("activation", "")]
    lines = {layer.path: str(layer.location) for layer in graph.layers}
    first = Convolutions.forward.__code__.co_firstlineno
    assert lines["conv"].endswith(f"{HERE}:{first + 1}")
    assert lines["head"].endswith(f"{HERE}:{first + 3}")
    assert "self.head(self.drop(x))" in next(layer.location.excerpt() for layer in graph.layers if layer.path == "head")
    lowering = lower_and_compare(graph, compile=False)
    if lowering is not None:
        assert compile_network(lowering)


def test_a_fixed_batch_and_plain_arguments() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, factor: float = 1.0, *, negate: bool = False) -> torch.Tensor:
            return -x * factor if negate else x * factor

    graph = check(Scaled(), x=Input((1, 3)), factor=2.5, negate=True)
    assert graph.outputs["output"].shape == (1, 3)
    check(Scaled(), x=Input((BATCH, 3)))


def test_a_refit_from_the_module_and_from_its_state_dict() -> None:
    agent = Agent()
    engine = trtnet.build(trtnet.record(agent.get_value, x=Input((BATCH, 4))), provider="reference", refit=True)
    x = np.ones((2, 4), np.float32)
    before = engine(x)
    with torch.no_grad():
        for one in agent.parameters():
            one.mul_(1.5)
    assert np.array_equal(engine(x), before), "the graph has its own copy of the weights"
    engine.refit(agent)
    after = agent.get_value(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(engine(x), after, rtol=1e-5)


def test_tied_weights_are_one_parameter_under_both_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 4)
            self.head = nn.Linear(4, 8, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(ids))

    net = Tied()
    graph = check(net, ids=Input((BATCH, 3), "int64"))
    assert graph.parameters["embedding.weight"] is graph.parameters["head.weight"]
    for name in ("embedding.weight", "head.weight"):
        engine = trtnet.build(graph, provider="reference", refit=True)
        engine.refit({name: torch.eye(8, 4)})
        found = engine(np.array([[0, 1, 2]]))
        np.testing.assert_allclose(found, np.eye(8, 4)[[[0, 1, 2]]] @ np.eye(8, 4).T, atol=1e-6)


def test_buffers_constants_and_plain_tensors() -> None:
    class Constants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.randn(3))
            self.register_buffer("left_out", torch.randn(3), persistent=False)
            self.plain = torch.randn(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + self.kept) * self.left_out + self.plain * torch.tensor([1.0, 2.0, 3.0])

    net = Constants()
    graph = trtnet.record(net, x=Input((BATCH, 3)))
    x = torch.randn(2, 3)
    np.testing.assert_allclose(trtnet.reference(graph)(x.numpy()), net(x).numpy(), rtol=1e-6)
    assert set(graph.parameters) == {"kept", "left_out"}
    assert set(graph.state_dict()) == {"kept"}


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("count", torch.tensor([3, 1]))
        self.plain = torch.tensor([2, 3])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.count.sum() > 3 and (self.plain > 2).any():
            x = x * 2
        first, _ = self.plain.tolist()
        return x.repeat(int(self.count[0]), 1) * float(self.scale) * first + self.scale


def test_numbers_that_are_read_of_buffers_are_frozen() -> None:
    net = Numbers()
    with pytest.warns(UserWarning, match="is read as a number") as found:
        graph = trtnet.record(net, x=Input((BATCH, 3)))
    agree(graph, net, {"x": Input((BATCH, 3))})
    first = Numbers.forward.__code__.co_firstlineno
    said = {str(one.message).split(" ")[0]: str(one.message) for one in found}
    assert f"{HERE}:{first + 1}" in said["count"]
    assert f"{HERE}:{first + 4}" in said["scale"]
    engine = trtnet.build(graph, provider="reference", refit=True)
    engine.refit(net.state_dict())
    with pytest.raises(WeightsError, match="frozen"):
        engine.refit({"scale": torch.tensor(5.0)})
    assert graph.parameters["scale"].frozen is not None


def test_what_forward_changes_before_it_is_read_is_not_taken_for_what_it_was() -> None:
    class Changes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("flags", torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.flags.clone()
            made[0] = 1
            return x * 2 if made.any() else x

    with pytest.raises(UnsupportedError, match="cannot follow"):
        trtnet.record(Changes(), x=Input((2, 3)))


def test_wrappers_are_looked_through() -> None:
    agent = Agent()
    keys = list(agent.state_dict())
    for wrapped in (torch.compile(agent), nn.DataParallel(agent), nn.DataParallel(torch.compile(agent))):
        graph = trtnet.record(wrapped, obs=Input((BATCH, 4)))
        assert list(graph.parameters) == keys
        trtnet.build(graph, provider="reference", refit=True).refit(wrapped)


def test_live_weights_are_read_where_the_trainer_keeps_them() -> None:
    agent = Agent()
    engine = trtnet.build(trtnet.record(agent.get_value, x=Input((BATCH, 4))), provider="reference", live=True)
    engine.bind_weights(agent)
    x = torch.ones(3, 4)
    for _ in range(2):
        with torch.no_grad():
            agent.critic[2].bias.add_(1.0)
            np.testing.assert_allclose(engine(x.numpy()), agent.get_value(x).numpy(), rtol=1e-5)


def test_parametrized_weights_are_computed_in_the_network() -> None:
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)),
    ).eval()
    graph = check(net, input=Input((BATCH, 4)))
    assert set(graph.parameters) == set(net.state_dict())
    assert "0.parametrizations.weight.original0" in graph.parameters
    trtnet.build(graph, provider="reference", refit=True).refit(net.state_dict())


def test_a_sampled_action_is_drawn_and_validation_is_put_back() -> None:
    class Sampling(Agent):
        def forward(self, obs: torch.Tensor) -> torch.Tensor:
            made = torch.distributions.Categorical(logits=self.actor(obs))
            return made.sample(), made.entropy(), made.log_prob(made.logits.argmax(-1))

    class Normal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Linear(4, 2)
            self.log_std = nn.Parameter(torch.zeros(2))

        def forward(self, obs: torch.Tensor) -> torch.Tensor:
            mean = self.mean(obs)
            made = torch.distributions.Normal(mean, self.log_std.expand_as(mean).exp())
            action = made.rsample()
            return action, made.log_prob(mean).sum(1), made.entropy()

    before = torch.distributions.Distribution._validate_args
    agent = Sampling()
    graph = trtnet.record(agent, obs=Input((BATCH, 4)))
    assert torch.distributions.Distribution._validate_args is before
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    action, entropy, best = trtnet.reference(graph)(x)
    assert action.shape == (5,)
    assert set(np.unique(action)) <= {0, 1}
    expected = torch.distributions.Categorical(logits=agent.actor(torch.from_numpy(x)))
    np.testing.assert_allclose(entropy, expected.entropy().detach(), rtol=1e-5)
    np.testing.assert_allclose(best, expected.log_prob(expected.logits.argmax(-1)).detach(), rtol=1e-5)

    normal = Normal()
    made = trtnet.reference(trtnet.record(normal, obs=Input((BATCH, 4))))(x)
    with torch.no_grad():
        mean = normal.mean(torch.from_numpy(x))
    np.testing.assert_allclose(made[1], torch.distributions.Normal(mean, 1.0).log_prob(mean).sum(1), rtol=1e-5)
    assert np.abs(made[0] - mean.numpy()).max() > 1e-3


def test_caches_of_forward_are_as_they_were_before() -> None:
    """In dicts, lists and sets, also inside each other: what torch traces with is no tensor for anybody else."""

    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(2, 4))
            self.register_buffer("index", torch.tensor([1, 0, 1]))
            self.cache: dict[str, torch.Tensor] = {}
            self.seen: list[torch.Tensor] = [torch.zeros(1)]
            self.nested = {"lists": [[]], "counts": defaultdict(list)}
            self.names = {"a"}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if "bias" not in self.cache:
                self.cache["bias"] = self.table[:, :3][self.index]
            self.seen.append(x)
            self.nested["lists"][0].append(x)
            self.nested["counts"]["x"].append(x)
            self.names.add("b")
            return x + self.cache["bias"].sum(0)

    module = Caching().eval()
    first = module.seen[0]
    graph = trtnet.record(module, x=Input((BATCH, 3)))
    assert (module.cache, module.names) == ({}, {"a"})
    assert module.seen == [first]
    assert module.nested == {"lists": [[]], "counts": {}}
    x = torch.randn(2, 3)
    with torch.no_grad():
        wanted = module(x).numpy()
    np.testing.assert_allclose(trtnet.reference(graph)(x.numpy()), wanted, rtol=1e-5, atol=1e-6)
    assert type(module.cache["bias"]) is torch.Tensor
    copy.deepcopy(module)


def test_what_forward_keeps_is_as_it_was_before() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.last = torch.zeros(1)
            self.holder = Holder()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = self.linear(x)
            self.holder.value = self.last
            return self.last * 2

    net = Keeps()
    last = net.last
    check(net, x=Input((BATCH, 3)))
    assert net.last is last
    assert net.holder.value is None


class Holder:
    value: torch.Tensor | None

    def __init__(self) -> None:
        self.value = None


def test_arguments_by_place_are_inputs_by_any_name() -> None:
    class Joins(nn.Module):
        def forward(self, scale: float = 2.0, *parts: torch.Tensor) -> torch.Tensor:
            return torch.cat(parts, -1) * scale

    class Alone(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return inputs[0] + 1

    graph = check(Alone(), obs=Input((BATCH, 4)), wrap=lambda made: lambda obs: made(obs))
    assert list(graph.inputs) == ["obs"]
    graph = check(
        Joins(), scale=3.0, obs=Input((BATCH, 4)), action=Input((BATCH, 2)),
        wrap=lambda made: lambda scale, obs, action: made(scale, obs, action),
    )  # fmt: skip
    assert list(graph.inputs) == ["obs", "action"]


def test_plain_values_beside_inputs_are_not_taken_for_inputs() -> None:
    """Though they stand where an input of that name would."""

    class Step(nn.Module):
        def forward(self, h: Any, h_0: float, more: Any) -> torch.Tensor:
            assert more["none"] == []
            assert more.default_factory is list
            return h[0] * h_0 + more["by"]["1"] * more["by"][1] + len(more["other"])

    one = Input((2, 3))
    more = defaultdict(list, none=[], by={"1": one, 1: 7.0})
    graph = trtnet.record(Step(), h=(one,), h_0=5.0, more=more)
    assert list(graph.inputs) == ["h_0", "more_by_1"]
    a, b = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(trtnet.reference(graph)(a, b), a * 5 + b * 7)


def test_it_cannot_be_trained_as_it_was_recorded() -> None:
    module = trtnet.to_torch(trtnet.record(Convolutions(), image=Input((2, 3, 8, 8))))
    with pytest.raises(UnsupportedError, match=r"recorded from a torch\.nn\.Module in eval mode"):
        module.train()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_inputs_that_do_not_fit_are_said_before_anything_is_exported() -> None:
    with pytest.raises(ArgumentTypeError, match="these inputs do not fit forward") as found:
        trtnet.record(Agent(), x=Input((2, 4)))
    assert found.value.expected == "obs"
    with pytest.raises(ArgumentTypeError, match="record takes Inputs"):
        trtnet.record(Agent(), obs=torch.zeros(2, 4))

    class Out(nn.Module):
        def forward(self, out: torch.Tensor) -> torch.Tensor:
            return out + 1

    with pytest.raises(ArgumentError, match="cannot be the name of an input"):
        trtnet.record(Out(), out=Input((2,)))


def test_what_forward_changes_is_refused_by_name() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.steps += 1
            return x * self.steps

    class Writes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(2)
            return x + 1

    with pytest.raises(UnsupportedError, match="forward changes the buffer 'steps' in place"):
        trtnet.record(Counts(), x=Input((2, 3)))
    with pytest.raises(UnsupportedError, match="forward changes its input 'x' in place"):
        trtnet.record(Writes(), x=Input((2, 3)))


def test_a_decision_by_values_names_the_line() -> None:
    class Decides(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:
                return x * 2
            return x

    with pytest.raises(UnsupportedError, match=r"torch\.export cannot follow this module") as found:
        trtnet.record(Decides(), x=Input((2, 3)))
    assert found.value.where.line == Decides.forward.__code__.co_firstlineno + 1
    assert "torch.where" in found.value.remedy


def test_float64_weights_are_refused() -> None:
    with pytest.raises(trtnet.TrtnetError, match="float64"):
        trtnet.record(nn.Linear(3, 2).double(), input=Input((2, 3)))


def test_weights_without_values_are_refused_by_name() -> None:
    with pytest.raises(WeightsError, match="weight"):
        trtnet.record(nn.Linear(3, 2, device="meta"), input=Input((2, 3)))
    with pytest.raises(WeightsError, match="weight"):
        trtnet.record(nn.LazyLinear(2), input=Input((2, 3)))


# --- sizes ------------------------------------------------------------------------------------------------------------


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 3 if x.shape[0] == 1 else x * 2


def test_another_answer_at_a_batch_of_one_is_refused_at_its_line() -> None:
    with pytest.raises(ShapeError, match="batch=1") as found:
        trtnet.record(Branches(), x=Input((BATCH, 3)))
    assert found.value.where.line == Branches.forward.__code__.co_firstlineno + 1
    above = Dim("batch", min=2, opt=4, max=8)
    check(Branches(), x=Input((above, 3)), at=(2, 5))
    check(Branches(), x=Input((1, 3)))


def test_other_decisions_by_sizes() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] > 4:
                return x * 2
            return x

    with pytest.raises(ShapeError, match="forward decides by a size") as found:
        trtnet.record(Halves(), x=Input((Dim("batch", min=1, opt=8, max=8), 3)))
    assert found.value.where.line == Halves.forward.__code__.co_firstlineno + 1
    assert "not so at batch=" in found.value.found
    check(Halves(), x=Input((Dim("batch", min=5, opt=8, max=8), 3)), at=(5, 8))


def test_squeeze_over_a_dim_is_refused() -> None:
    class Squeezes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.squeeze()

    with pytest.raises(UnsupportedError, match=r"squeeze\(\) without dimensions") as found:
        trtnet.record(Squeezes(), x=Input((BATCH, 3, 1)))
    assert found.value.where.line == Squeezes.forward.__code__.co_firstlineno + 1
    check(Squeezes(), x=Input((Dim("batch", min=2, opt=4, max=8), 3, 1)), at=(2, 5))


def test_a_fixed_size_names_the_line() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.table

    with pytest.raises(ShapeError) as found:
        trtnet.record(Fixed(), x=Input((BATCH, 3)))
    assert found.value.where.line == Fixed.forward.__code__.co_firstlineno + 1


class SmallUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, padding=1)
        self.bottom = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = torch.relu(self.down(x))
        y = self.up(torch.relu(self.bottom(nn.functional.max_pool2d(skip, 2))))
        return self.last(torch.cat([skip, y], 1))


def test_a_unet_with_free_height_keeps_torchs_conditions_as_checks() -> None:
    height, width = Dim("height", min=2, opt=8, max=32), Dim("width", min=4, opt=16, max=32, multiple_of=2)
    net = SmallUNet()
    graph = check(
        net, x=Input((BATCH, 2, height, width)),
        at=({"batch": 1, "height": 8, "width": 4}, {"batch": 2, "height": 2, "width": 32}),
    )  # fmt: skip
    assert any(str(one.left) != str(one.right) for one in graph.equalities)
    with pytest.raises(ShapeError) as found:
        trtnet.reference(graph)(np.zeros((1, 2, 5, 4), np.float32))
    assert found.value.where.file.endswith(HERE)


def test_two_dims_that_must_be_equal_become_a_check() -> None:
    class Adds(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    left, right = Dim("left", min=1, opt=4, max=8), Dim("right", min=1, opt=4, max=8)
    graph = check(Adds(), a=Input((left, 3)), b=Input((right, 3)), at=({"left": 3, "right": 3},))
    with pytest.raises(ShapeError, match="equal"):
        trtnet.reference(graph)(np.zeros((2, 3), np.float32), np.zeros((3, 3), np.float32))


def test_sizes_in_arithmetic() -> None:
    class Sizes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c, h, w = x.shape
            rows = torch.arange(h, dtype=x.dtype) / h
            y = x.reshape(n, c, h * w) * (h * w) ** -0.5 + x.sum() / x.numel()
            small = nn.functional.interpolate(x, size=(h // 2, w), mode="nearest")
            return y, rows + n, small, x.new_zeros(n, h), x[:, :, : h // 2]

    height = Dim("height", min=4, opt=8, max=16, multiple_of=2)
    check(Sizes(), x=Input((BATCH, 3, height, 5)), at=({"batch": 1, "height": 4}, {"batch": 3, "height": 10}))


def test_multiple_of() -> None:
    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(-1, 2, x.shape[1])

    check(Pairs(), x=Input((Dim("batch", min=2, opt=4, max=8, multiple_of=2), 3)), at=(2, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trtnet.record(Pairs(), x=Input((Dim("batch", min=2, opt=4, max=8), 3)))
    with pytest.raises(trtnet.TrtnetError):
        trtnet.reference(graph)(np.zeros((3, 3), np.float32))


def test_one_recording_at_every_height() -> None:
    class Heights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = nn.functional.adaptive_avg_pool2d(self.conv(x), 1)
            z = nn.functional.interpolate(self.conv(x), size=x.shape[-2:], mode="nearest")
            return y, z

    height, width = Dim("height", min=8, opt=16, max=64), Dim("width", min=8, opt=16, max=64)
    at = [{"batch": 1, "height": 17, "width": 64}, {"batch": 2, "height": 33, "width": 16}]
    check(Heights(), x=Input((BATCH, 3, height, width)), at=at)


def test_sizes_that_happen_to_be_equal_are_not_taken_to_be() -> None:
    class Compares(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            same = x.shape[0] == y.shape[0]
            return x.sum() + y.sum() if same else x.sum() - y.sum()

    class Harmless(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            total = x.sum() if x.shape[0] == y.shape[0] else x.sum(0).sum()
            return total + x.gather(1, x.argmax(1, keepdim=True))[:, 0]

    left, right = Dim("left", min=2, opt=4, max=8), Dim("right", min=2, opt=4, max=8)
    at = ({"left": 4, "right": 4}, {"left": 3, "right": 8})
    graph = check(Harmless(), x=Input((left, 3)), y=Input((right, 3)), at=at)
    assert not graph.equalities
    with pytest.raises(ShapeError, match="forward is another one at") as found:
        trtnet.record(Compares(), x=Input((left, 3)), y=Input((right, 3)))
    assert found.value.where.line == Compares.forward.__code__.co_firstlineno + 2


@pytest.mark.parametrize("best", [1, 2, 8])
def test_where_a_dim_is_best_decides_nothing(best) -> None:
    batch = Dim("batch", min=1, opt=best, max=8)
    graph = check(Agent(), obs=Input((batch, 4)))
    assert graph.structure_hash() != trtnet.record(Agent(), obs=Input((2, 4))).structure_hash()
    zero = Dim("batch", min=0, opt=best, max=8)
    check(Agent().get_value, x=Input((zero, 4)), at=(1, 0, 3))


def test_a_dim_of_one_value() -> None:
    check(Agent(), obs=Input((Dim("batch", min=3, opt=3, max=3), 4)), at=(3,))
    check(Agent(), obs=Input((Dim("batch", min=1, opt=1, max=1), 4)), at=(1,))


def test_sizes_that_the_data_decides() -> None:
    class Selects(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[x > 0] * 2, torch.nonzero(x > 0)

    net = Selects()
    graph = trtnet.record(net, x=Input((BATCH, 3)))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(trtnet.reference(graph)(x.numpy()), net(x)):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


def test_it_is_saved_and_made_into_a_torch_module_again(tmp_path) -> None:
    net = randomized(Convolutions()).eval()
    graph = trtnet.record(net, image=Input((BATCH, 3, 8, 8)))
    x = torch.randn(3, 3, 8, 8)
    again = trtnet.to_torch(graph)
    assert set(again.state_dict()) == set(net.state_dict())
    torch.testing.assert_close(again(x), net(x), rtol=1e-4, atol=1e-5)
    import pickle

    other = pickle.loads(pickle.dumps(graph))
    assert other.structure_hash() == graph.structure_hash()
    assert str(other.layers[0].location) == str(graph.layers[0].location)


class Text(torch.nn.Module):
    """Weights by the text of a size."""

    def __init__(self, read) -> None:
        super().__init__()
        self.read = read
        self.register_buffer("k3", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(self, x)


@pytest.mark.parametrize(
    "read",
    [
        lambda self, x: x + getattr(self, f"k{x.shape[0]}", torch.zeros(4)),
        lambda self, x: x * 2 if repr(tuple(x.shape)) == "(3, 4)" else x,
        lambda self, x: x * {"1": 2.0, "3": 5.0}.get(str(x.shape[0]), 1.0),
        lambda self, x: x * 2 if isinstance(x.shape[0], int) else x * 3,
    ],
)
def test_sizes_read_as_text_or_by_type_are_not_taken_for_any(read) -> None:
    with pytest.raises(ShapeError, match=r"forward is another one at b=[12]") as caught:
        trtnet.record(Text(read), x=Input((Dim("b", min=1, opt=3, max=8), 4)))
    assert "the text of one" in str(caught.value)
    static = trtnet.record(Text(read), x=Input((3, 4)))
    x = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(trtnet.reference(static)(x), Text(read)(torch.from_numpy(x)).numpy())


def test_what_is_printed_of_sizes_changes_nothing(capsys) -> None:
    graph = trtnet.record(Text(lambda self, x: (print(f"{x.shape}"), x * 2)[1]), x=Input((Dim("b", max=8), 4)))
    assert capsys.readouterr().out == ""
    assert [layer.kind for layer in graph.layers] == ["constant", "elementwise"]


def test_part_of_a_size_says_where_it_is_another_one() -> None:
    with pytest.raises(ShapeError, match="forward decides by a size"):
        trtnet.record(Text(lambda self, x: x * int(x.shape[0] * 0.7)), x=Input((Dim("b", max=8, opt=3), 4)))


class Beside(torch.nn.Module):
    """Buffers that its state_dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.register_buffer("shift", torch.ones(4), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) + self.shift


@pytest.mark.parametrize("wrap", [lambda module: module, torch.compile, torch.nn.DataParallel])
def test_a_refit_follows_buffers_beside_the_state_dict(wrap) -> None:
    module = Beside()
    engine = trtnet.reference(trtnet.record(module, x=Input((2, 4))))
    module.shift.add_(1)
    with torch.no_grad():
        module.fc.bias.mul_(2)
    report = engine.refit(wrap(module))
    assert sorted(report.changed) == ["fc.bias", "shift"]
    x = torch.randn(2, 4)
    with torch.no_grad():
        np.testing.assert_allclose(engine(x.numpy()), module(x).numpy(), rtol=1e-5, atol=1e-6)


class Forward(nn.Module):
    """A forward of one's own, with a parameter and what Python keeps."""

    def __init__(self, how) -> None:
        super().__init__()
        self.how = how
        self.table = nn.Parameter(torch.randn(8, 4))
        self.linear = nn.Linear(4, 4)
        self.count = 0
        self.kept = [0]
        self.chance = np.random.default_rng(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.how(self, x)


def counted(self, x):
    self.count += 1
    return x * self.count


def kept(self, x):
    self.kept[0] += 1
    return x * self.kept[0]


@pytest.mark.parametrize("fixed", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    "how",
    [
        lambda self, x: x * float(np.random.rand()),
        lambda self, x: x + random.random(),
        lambda self, x: x * float(self.chance.random()),
        counted,
        kept,
    ],
    ids=["numpy", "random", "generator", "attribute", "list"],
)
def test_what_python_draws_or_counts_is_refused(how, fixed) -> None:
    with pytest.raises(UnsupportedError, match="something else at a second call") as caught:
        trtnet.record(Forward(how), x=Input((2 if fixed else BATCH, 4)))
    assert "differs by" in str(caught.value)


def test_recording_takes_no_draws_of_torchs_from_the_caller() -> None:
    torch.manual_seed(3)
    trtnet.record(Forward(lambda self, x: torch.randn_like(self.linear(x))), x=Input((BATCH, 4)))
    found = torch.rand(4)
    torch.manual_seed(3)
    Forward(None)
    assert torch.equal(found, torch.rand(4))


def test_draws_beside_a_size_that_is_printed() -> None:
    def printed(self, x):
        print(f"{x.shape}")
        mean = self.linear(x)
        return torch.distributions.Normal(mean, 1.0).sample(), mean

    graph = trtnet.record(Forward(printed), x=Input((BATCH, 4)))
    assert graph.drawn_outputs() == ["output_0"]

    def other(self, x):
        mean = self.linear(x) * (2.0 if f"{x.shape[0]}" == "3" else 1.0)
        return torch.distributions.Normal(mean, 1.0).sample(), mean

    with pytest.raises(ShapeError, match="forward is another one at batch=3"):
        trtnet.record(Forward(other), x=Input((BATCH, 4)))


def test_a_slice_that_may_be_all_of_a_parameter() -> None:
    check(Forward(lambda self, x: x + self.table[: x.shape[0]]), x=Input((BATCH, 4)), at=(1, 2, 7, 8))
    with pytest.raises(ShapeError, match="another one at batch=8"):
        trtnet.record(Forward(lambda self, x: x * 3 if x.shape[0] < 8 else x * 2), x=Input((BATCH, 4)))
    with pytest.raises(ShapeError):
        trtnet.record(
            Forward(lambda self, x: x + self.table[: x.shape[0]]), x=Input((Dim("n", min=1, opt=4, max=64), 4))
        )


@pytest.mark.parametrize("options", [(2,), (3, 2, 1), (2, 1, 0, 2), (2, 2, 0, 1, True)])
def test_max_pool1d_over_a_dynamic_length(options) -> None:
    length = Dim("length", min=5, opt=8, max=11)
    sizes = [{"batch": 2, "length": n} for n in (5, 8, 11)]
    check(Forward(lambda self, x: nn.functional.max_pool1d(x, *options)), x=Input((BATCH, 3, length)), at=sizes)
    check(nn.MaxPool1d(2), input=Input((BATCH, 3, 8)))


def test_triangles_and_truths_of_nothing() -> None:
    def triangle(self, x):
        row, column = torch.tril_indices(4, 4)
        return x[:, row] * x[:, column] + torch.triu_indices(4, 4, dtype=torch.int32)[0]

    check(Forward(triangle), x=Input((BATCH, 4)))
    check(Forward(lambda self, x: (x[:0].bool().any() | (x[:0] > 0).all()) * x), x=Input((BATCH, 4)))
    check(Forward(lambda self, x: x[:, :0].bool().any(1)), x=Input((BATCH, 4)))
    check(Forward(lambda self, x: (x > 0).all(0)), x=Input((Dim("batch", min=0, opt=2, max=8), 4)), at=(0, 1, 5))


@pytest.mark.parametrize("kind", ["tensor", "channel", "observed"])
def test_fake_quantization(kind) -> None:
    def per_channel(self, x):
        scales, zeros = torch.tensor([0.1, 0.2, 0.05, 0.3]), torch.zeros(4, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(x, scales, zeros, 1, -128, 127)

    if kind == "tensor":
        module = Forward(lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127))
    elif kind == "channel":
        module = Forward(per_channel)
    else:
        observer = torch.ao.quantization.FakeQuantize(observer=torch.ao.quantization.MinMaxObserver)
        observer(torch.randn(64, 4))
        module = Forward(lambda self, x: self.observer(x))
        observer.disable_observer()
        module.observer = observer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = trtnet.record(module, x=Input((BATCH, 4)))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(trtnet.reference(graph)(x=x.numpy()), module(x), atol=1e-6)


@pytest.mark.parametrize("version", ["2.4.1+cu121", "2.10.0"])
def test_an_older_torch_is_named(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["torch"] == ["torch>=2.11"]
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(ProviderError, match="this PyTorch is too old to record its modules") as caught:
        trtnet.record(nn.ReLU(), input=Input((2, 3)))
    assert (caught.value.expected, caught.value.found) == ("2.11 or newer", version)
    monkeypatch.setattr(torch, "__version__", "2.11.0a0+git1")
    assert trtnet.record(nn.ReLU(), input=Input((2, 3))).layers


def test_scripts_and_functions_of_torchs_say_what_to_record() -> None:
    scripts = [torch.jit.trace(nn.Linear(4, 4), torch.zeros(2, 4)), nn.Sequential(torch.jit.script(nn.Linear(4, 4)))]
    for script in scripts:
        with pytest.raises(UnsupportedError, match=r"torch\.jit"):
            trtnet.record(script, input=Input((BATCH, 4)))
    for function in (torch.relu, nn.functional.gelu, nn.functional.softmax):
        with pytest.raises(ArgumentTypeError, match="cannot be recorded by itself"):
            trtnet.record(function, input=Input((BATCH, 4)))
    with pytest.raises(ArgumentTypeError, match=r"expected: trtnet\.functional\.relu"):
        trtnet.record(lambda x: torch.relu(x), x=Input((BATCH, 4)))
    with pytest.raises(UnsupportedError, match=r"round\(x\.shape\[0\] / 2\)"):
        trtnet.record(Forward(lambda self, x: x[: round(x.shape[0] / 2)]), x=Input((BATCH, 4)))


class _Masked(torch.nn.Module):
    """Attention, or an encoder, with a mask and padding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.inner: Any = (
            torch.nn.TransformerEncoder(layer, 2)
            if kind == "encoder"
            else torch.nn.MultiheadAttention(8, 2, batch_first=True)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor, padding: torch.Tensor) -> Any:
        if isinstance(self.inner, torch.nn.MultiheadAttention):
            return self.inner(x, x, x, padding, attn_mask=mask)
        return self.inner(x, mask, padding)


@pytest.mark.parametrize("kind", ["encoder", "attention"])
def test_masks_that_hide_whole_rows_of_what_is_drawn_to_compare(kind: str) -> None:
    net, time = randomized(_Masked(kind)).eval(), Dim("time", min=1, opt=5, max=9)
    before = torch.backends.mha.get_fastpath_enabled()
    graph = trtnet.record(
        net, x=Input((BATCH, time, 8)), mask=Input((time, time), "bool"), padding=Input((BATCH, time), "bool")
    )
    assert torch.backends.mha.get_fastpath_enabled() is before
    engine = trtnet.reference(graph)
    for count, length in ((1, 1), (2, 4), (7, 9)):
        generator = torch.Generator().manual_seed(length)
        x = torch.randn(count, length, 8, generator=generator)
        mask, padding = (torch.rand(n, length, generator=generator) < 0.4 for n in (length, count))
        mask[:, 0] = padding[:, 0] = False
        expected = leaves(net(x, mask, padding))  # with gradients: without, torch puts zeros where it is padded
        found = engine(x.numpy(), mask.numpy(), padding.numpy())
        for one, two in zip(found if isinstance(found, tuple) else [found], expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
