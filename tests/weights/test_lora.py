"""Low-rank adapters on top of a base: `trtnet.lora`."""

from __future__ import annotations

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn
from trtnet.errors import ArgumentTypeError, WeightsError

torch = pytest.importorskip("torch")


def learner(seed=1):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def graph_of():
    return trtnet.record(net(), input=Input((2, 3)))


def adapter(seed, where=("0.weight", "2.weight"), rank=2):
    rng = np.random.default_rng(seed)
    shapes = {"0.weight": (4, 3), "2.weight": (2, 4)}
    first = {name: rng.normal(size=(rank, shapes[name][1])).astype(np.float32) for name in where}
    return first, {name: rng.normal(size=(shapes[name][0], rank)).astype(np.float32) for name in where}


@pytest.mark.parametrize("move", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_adapters(move):
    base, engine = learner(), trtnet.reference(graph_of())
    engine.refit(base)
    plain = engine.parameters()
    for seed, where in ((1, ("0.weight", "2.weight")), (2, ("2.weight",)), (3, ("0.weight",))):
        A, B = adapter(seed, where)
        source = trtnet.lora(base, {n: move(v) for n, v in A.items()}, {n: move(v) for n, v in B.items()}, 0.25)
        engine.refit(source, version=seed)
        for name, value in engine.parameters().items():
            wanted = plain[name].astype(np.float64)
            if name in where:
                wanted = wanted + 0.25 * (B[name].astype(np.float64) @ A[name].astype(np.float64))
                np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6, err_msg=name)
            else:
                assert value.tobytes() == plain[name].tobytes(), f"{name} has another adapter's values"
    engine.refit(base, version=0)
    for name, value in engine.parameters().items():
        assert value.tobytes() == plain[name].tobytes(), name
    again = trtnet.lora(base, *adapter(1))
    for target in (graph_of(), net()):
        target.load_state_dict(again)
        np.testing.assert_array_equal(target.state_dict()["0.bias"], plain["0.bias"])
        assert not np.array_equal(target.state_dict()["0.weight"], plain["0.weight"])


@pytest.mark.parametrize("inside", ["", "default."])
def test_the_names_of_pefts_adapters(inside):
    state = {"conv.weight": torch.randn(4, 3, 2, 2), "emb.weight": torch.randn(5, 3), "fc.weight": torch.randn(4, 6),
             "fc.bias": torch.randn(4), "head.weight": torch.randn(2, 2)}  # fmt: skip
    kinds = {"conv.lora_A": (2, 3, 2, 2), "conv.lora_B": (4, 2, 1, 1), "fc.lora_A": (2, 6), "fc.lora_B": (4, 2)}
    peft = {f"base_model.model.{name}.{inside}weight": torch.randn(shape) for name, shape in kinds.items()}
    end = inside.removesuffix(".")
    embedding = {f"base_model.model.emb.lora_embedding_{k}{'.' + end if end else ''}": torch.randn(shape)
                 for k, shape in (("A", (2, 5)), ("B", (3, 2)))}  # fmt: skip
    whole = {"base_model.model.head.modules_to_save.default.weight" if inside else "base_model.model.head.weight":
             torch.randn(2, 2)}  # fmt: skip
    wrapped = {f"base_model.model.{n.replace('.', '.base_layer.', 1)}": v for n, v in state.items()}
    for base in (state, wrapped):
        merged = trtnet.lora(base, peft | embedding | whole, scale=2.0)
        assert sorted(merged) == sorted(state)
        assert merged["fc.bias"] is state["fc.bias"]
        assert merged["head.weight"] is next(iter(whole.values()))
        a, b = (next(v.double() for n, v in peft.items() if f"fc.lora_{k}" in n) for k in "AB")
        torch.testing.assert_close(
            merged["fc.weight"].double(), state["fc.weight"].double() + 2 * (b @ a), rtol=1e-5, atol=1e-5
        )
        a, b = (v.double() for v in embedding.values())
        torch.testing.assert_close(
            merged["emb.weight"].double(), state["emb.weight"].double() + 2 * (b @ a).T, rtol=1e-5, atol=1e-5
        )
        a, b = (next(v.double() for n, v in peft.items() if f"conv.lora_{k}" in n) for k in "AB")
        x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
        wanted = torch.nn.functional.conv2d(x, state["conv.weight"].double())
        wanted += 2 * torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, a), b)
        found = torch.nn.functional.conv2d(x, merged["conv.weight"].double())
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    magnitudes = {"base_model.model.fc.lora_magnitude_vector": torch.ones(4)}
    with pytest.raises(WeightsError, match="more than a product"):
        trtnet.lora(state, peft | magnitudes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adapters_of_half_types_are_computed_in_float32(dtype):
    base = {"weight": torch.randn(4, 3).to(dtype)}
    a, b = torch.randn(2, 3).to(dtype), torch.randn(4, 2).to(dtype)
    found = trtnet.lora(base, {"weight": a}, {"weight": b}, 0.5)["weight"]
    assert found.dtype is dtype
    assert found.equal((base["weight"].float() + 0.5 * (b.float() @ a.float())).to(dtype))


def test_matrices_that_lie_the_other_way():
    base = {"weight": np.zeros((4, 4), np.float32)}
    A, B = {"weight": np.arange(8, dtype=np.float32).reshape(2, 4)}, {"weight": np.ones((4, 2), np.float32)}
    product = B["weight"] @ A["weight"]
    np.testing.assert_array_equal(trtnet.lora(base, A, B)["weight"], product)
    np.testing.assert_array_equal(trtnet.lora(base, A, B, fan_in_fan_out=True)["weight"], product.T)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"1": np.ones((2, 3))}, {"1": np.ones((4, 2))}, "no weight for the adapter of '1'"),
        ({"0": np.ones((2, 3))}, {"0": np.ones((4, 3))}, "does not fit"),
        ({"0": np.ones((2, 3))}, {"0": np.ones((3, 2))}, "does not fit"),
        ({"0": np.ones(3)}, {"0": np.ones(4)}, "does not fit"),
        ({"0": np.ones((2, 3))}, {"2": np.ones((4, 2))}, "no pairs"),
        ({}, {}, "no pairs"),
        ({"fc.lora_A.weight": np.ones((2, 3))}, None, "no pairs"),
    ],
)
def test_adapters_that_do_not_fit(first, second, message):
    with pytest.raises(WeightsError, match=message):
        trtnet.lora(learner(), first, second)


def test_a_scale_that_is_no_number():
    with pytest.raises(ArgumentTypeError, match="scale is no number"):
        trtnet.lora(learner(), *adapter(1), scale="2")


def test_from_an_adapter_to_another_and_back_is_bit_equal():
    base, engine = learner().state_dict(), trtnet.reference(graph_of())
    found = {}
    for seed in (1, 2, 1, 0):
        engine.refit(trtnet.lora(base, *adapter(seed)) if seed else base)
        state = {name: value.tobytes() for name, value in engine.parameters().items()}
        assert found.setdefault(seed, state) == state
    assert found[0] == {name: value.numpy().tobytes() for name, value in base.items()}


def test_products_are_made_of_what_is_meant_alone():
    engine = trtnet.reference(graph_of())
    source = trtnet.lora(learner(), *adapter(1))
    source._base["2.weight"] = None  # which would not fit
    assert engine.refit(source, select="0.*").given == ["0.weight", "0.bias"]
