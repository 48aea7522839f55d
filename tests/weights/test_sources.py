"""Everything that holds weights: the same values by each road, for modules, graphs and engines."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, WeightsError

torch = pytest.importorskip("torch")


def net() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def theirs(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def arrays(module: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def engine(**options: Any) -> Any:
    graph = trtnet.record(net(), input=Input((2, 3)))
    return trtnet.build(graph, provider="reference", refit=True, **options)


class Nested(dict):  # type: ignore[type-arg]
    """A mapping in mappings, which has a state_dict of another form, as a TensorDict has."""

    def state_dict(self) -> dict[str, Any]:
        return {"__batch_size": ()}


def nested(state: dict[str, Any]) -> Nested:
    made = Nested()
    for name, value in state.items():
        layer, _, last = name.partition(".")
        made.setdefault(layer, Nested())[last] = value
    return made


SOURCES: dict[str, Any] = {
    "arrays": lambda m, p: arrays(m),
    "state_dict": lambda m, p: m.state_dict(),
    "torch module": lambda m, p: m,
    "compiled module": lambda m, p: torch.compile(m),
    "data parallel": lambda m, p: torch.nn.DataParallel(torch.compile(m)),
    "trtnet module": lambda m, p: loaded(m),
    "pairs": lambda m, p: list(m.named_parameters()),
    "iterator": lambda m, p: iter(m.state_dict().items()),
    "generator": lambda m, p: ((name, value) for name, value in m.named_parameters()),
    "nested": lambda m, p: nested(m.state_dict()),
    "pairs of nested": lambda m, p: nested(m.state_dict()).items(),
    "safetensors": lambda m, p: written(m, p / "a.safetensors"),
    "safetensors as text": lambda m, p: str(written(m, p / "a.safetensors")),
    "npz": lambda m, p: written(m, p / "a.npz"),
    "pt": lambda m, p: written(m, p / "a.pt"),
    "wts": lambda m, p: written(m, p / "a.wts"),
    "sharded": lambda m, p: sharded(m, p),
    "open file of arrays": lambda m, p: opened(m, p, "np"),
    "open file of tensors": lambda m, p: opened(m, p, "pt"),
}


def loaded(module: Any) -> Any:
    made = net()
    made.load_state_dict(module)
    return made


def written(module: Any, path: Any) -> Any:
    loaded(module).save_weights(path)
    return path


def sharded(module: Any, folder: Any) -> Any:
    import json

    places = {}
    for number, (name, value) in enumerate(arrays(module).items()):
        places[name] = f"part-{number}.safetensors"
        trtnet.weights.files.write(folder / places[name], {name: value})
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def opened(module: Any, folder: Any, framework: str) -> Any:
    from safetensors import safe_open

    return safe_open(written(module, folder / "a.safetensors"), framework).__enter__()


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_values_by_every_road(name: str, tmp_path: Any) -> None:
    module, made = theirs(), engine()
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    report = made.refit(SOURCES[name](module, tmp_path))
    assert sorted(report.given) == sorted(arrays(module))
    own, graph = net(), trtnet.record(net(), input=Input((2, 3)))
    own.load_state_dict(SOURCES[name](module, tmp_path))
    graph.load_state_dict(SOURCES[name](module, tmp_path))
    for state in (made.parameters(), own.state_dict(), graph.state_dict()):
        for key, value in arrays(module).items():
            np.testing.assert_array_equal(state[key], value, err_msg=key)
    np.testing.assert_allclose(made(x), module(torch.from_numpy(x)).detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["state_dict", "torch module", "compiled module", "pairs", "nested"])
def test_live_weights_are_bound_by_every_road_that_has_tensors(name: str, tmp_path: Any) -> None:
    module = theirs()
    for made in (engine(live=True), trtnet.HotSwap(engine(live=True))):
        made.bind_weights(SOURCES[name](module, tmp_path))
        x = np.ones((2, 3), np.float32)
        with torch.no_grad():
            module[0].bias.add_(1)
        np.testing.assert_allclose(made(x), module(torch.from_numpy(x)).detach().numpy(), rtol=1e-6, atol=1e-6)


def test_a_generator_is_bound_to_both_engines_of_a_hot_swap() -> None:
    swap = trtnet.HotSwap(engine(live=True))
    swap.bind_weights(pair for pair in theirs().named_parameters())
    assert swap.version == "live"


# --- which are meant --------------------------------------------------------------------------------------------------


class Learner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor, self.actor_target, self.critic = theirs(1), theirs(2), torch.nn.Linear(3, 1)


@pytest.mark.parametrize("wrap", [lambda m: m, torch.compile, lambda m: torch.compile(torch.nn.DataParallel(m))],
                         ids=["plain", "compiled", "both"])  # fmt: skip
@pytest.mark.parametrize("prefix", ["actor.", "actor", "actor_target."])
def test_a_part_of_a_learner(wrap: Any, prefix: str) -> None:
    learner, made = Learner(), engine()
    learner.actor[0].compile()
    report = made.refit(wrap(learner), prefix=prefix)
    part = learner.actor_target if "target" in prefix else learner.actor
    assert sorted(report.given) == sorted(arrays(part))
    for key, value in arrays(part).items():
        np.testing.assert_array_equal(made.parameters()[key], value)


def test_what_is_meant_of_a_learner_is_said() -> None:
    with pytest.raises(WeightsError) as caught:
        engine().refit(Learner())
    assert caught.value.remedy == "take the part that is meant: prefix='actor.'"
    with pytest.raises(WeightsError, match=r"no key begins with the prefix 'policy\.'(.|\n)*actor\., actor_target\."):
        engine().refit(Learner(), prefix="policy.")
    made = engine()
    made.refit(Learner().actor)
    made.refit(Learner(), rename={"actor.": "", "actor_target.": None, "critic.": None})
    with pytest.raises(WeightsError, match="extra"):
        made.refit(Learner(), prefix="critic.")


def test_select_and_rename() -> None:
    made, module = engine(), theirs(3)
    assert made.refit(module, select="2.*").given == ["2.weight", "2.bias"]
    assert made.refit(module, select=["*.bias", "0.weight"]).given == ["0.weight", "0.bias", "2.bias"]
    state = {f"pi.{name.replace('weight', 'w')}": value for name, value in module.state_dict().items()}
    for rename in (
        {"0.w": "0.weight", "2.w": "2.weight"},
        lambda name: name if name.endswith("bias") else name.replace("w", "weight"),
    ):
        assert sorted(made.refit(state, prefix="pi.", rename=rename).given) == sorted(arrays(module))
    assert made.refit(state, rename={"pi.": "", "pi.0.w": None, "pi.2.w": "2.weight"}).given == [
        "0.bias", "2.weight", "2.bias",
    ]  # fmt: skip
    wrapped = torch.compile(module).state_dict()
    assert len(made.refit(wrapped, rename={"0.weight": "0.weight"}, select="0.*").given) == 2
    own = net()
    own.load_state_dict(state, prefix="pi.", rename={"0.w": "0.weight", "2.w": "2.weight"})
    before = made.parameters()
    for kind, options in (
        (ArgumentError, {"select": "3.*"}),
        (ArgumentError, {"rename": {"nothing": "0.weight"}}),
        (ArgumentTypeError, {"rename": {"0.weight": 3}}),
        (ArgumentTypeError, {"select": [3]}),
        (WeightsError, {"rename": {"0.weight": "2.weight"}}),
        (WeightsError, {"rename": lambda name: "0.weight"}),
    ):
        with pytest.raises(kind):
            made.refit(theirs(9), **options)
    assert all(np.array_equal(value, before[name]) for name, value in made.parameters().items())


def test_pairs_that_name_a_parameter_twice() -> None:
    state = list(theirs().state_dict().items())
    with pytest.raises(WeightsError, match="given twice"):
        engine().refit([*state, state[0]])


def test_the_sender_dies() -> None:
    made = engine()
    before = made.parameters()

    def sender() -> Any:
        yield from list(theirs(4).state_dict().items())[:2]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        made.refit(sender())
    assert all(np.array_equal(value, before[name]) for name, value in made.parameters().items())
    assert made.generation == 0


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["arrays", "tensors"])
def test_float64_converts_and_the_report_says_so(kind: str) -> None:
    module, made = theirs().double(), engine()
    state = arrays(module) if kind == "arrays" else module
    report = made.refit(state)
    assert report.converted == dict.fromkeys(arrays(module), "float64")
    for key, value in arrays(module).items():
        np.testing.assert_array_equal(made.parameters()[key], value.astype(np.float32))
    with pytest.warns(UserWarning, match=r"NaN or infinity: 0\.bias"):
        made.refit({"0.bias": np.full(4, 1e300)})


class Powers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(np.array(2, np.float32))
        self.scale = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x: Any) -> Any:
        return x ** self.power.item() * self.scale


def test_a_frozen_parameter_of_equal_value_is_skipped() -> None:
    with pytest.warns(UserWarning, match="power"):
        graph = trtnet.record(Powers(), x=Input((2, 3)))
    made = trtnet.build(graph, provider="reference", refit=["scale"])
    state = {"power": np.array(2, np.float32), "scale": np.full(3, 2, np.float32)}
    assert made.refit(state).given == ["scale"]
    with pytest.raises(WeightsError, match="frozen"):
        made.refit(state | {"power": np.array(3, np.float32)})


class Doubled(torch.nn.Module):
    def forward(self, weight: Any) -> Any:
        return weight * (3 if self.training else 2)


def test_parametrized_learners_are_read_by_attribute() -> None:
    module, made = theirs(), engine()
    torch.nn.utils.parametrize.register_parametrization(module[0], "weight", Doubled())
    torch.nn.utils.parametrizations.orthogonal(module[2])
    torch.nn.utils.parametrizations.spectral_norm(module[0], "weight")
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for source in (module, torch.compile(module)):
        report = made.refit(source)
        assert sorted(report.given) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "to read changes nothing"
    assert all(one.training for one in module.modules())
    module.eval()
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_allclose(made(x), module(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(WeightsError, match="computed at each use"):
        engine(live=True).bind_weights(module)


def test_an_open_file_reads_what_is_meant_alone() -> None:
    asked: list[str] = []
    state = {"a." + name: value for name, value in arrays(theirs()).items()} | {"b.huge": None}

    def get_tensor(name: str) -> Any:
        asked.append(name)
        return state[name]

    engine().refit(SimpleNamespace(keys=lambda: list(state), get_tensor=get_tensor), prefix="a.")
    assert asked == [name for name in state if name.startswith("a.")]


SHARDED = """
import sys, numpy as np, torch, trtnet, torch.distributed as dist
from torch.distributed.tensor import distribute_tensor, init_device_mesh, Shard
rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
mesh = init_device_mesh("cpu", (world,))
torch.manual_seed(0)
whole = torch.nn.Linear(3, 4)
state = {name: distribute_tensor(value.detach(), mesh, [Shard(0)]) for name, value in whole.state_dict().items()}
graph = trtnet.record(trtnet.nn.Linear(3, 4), input=trtnet.Input((2, 3)))
engine = trtnet.build(graph, provider="reference", refit=True)
engine.refit(state)
for name, value in whole.state_dict().items():
    assert np.array_equal(engine.parameters()[name], value.numpy()), name
try:
    trtnet.build(graph, provider="reference", live=True).bind_weights(state)
except trtnet.errors.WeightsError as error:
    assert "DTensors: weight, bias" in str(error), error
else:
    raise AssertionError("a part was bound")
dist.destroy_process_group()
print("agreed")
"""


@pytest.mark.parametrize("world", [1, 2])
def test_sharded_tensors_are_gathered(world: int, tmp_path: Any) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SHARDED, str(rank), str(world), str(tmp_path / "store")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    found = [rank.communicate(timeout=120) for rank in ranks]
    assert [out.strip() for out, _ in found] == ["agreed"] * world, found


def test_select_is_of_patterns():
    graph = trtnet.record(trtnet.nn.Linear(2, 1), input=trtnet.Input((1, 2)))
    for select in (lambda name: True, 3):
        with pytest.raises(trtnet.errors.ArgumentTypeError, match="select is no pattern"):
            trtnet.reference(graph).refit(graph.state_dict(), select=select)
