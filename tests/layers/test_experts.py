"""Mixtures of experts against the formula in float64; the layer, and what it is composed of."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Experts, image
from harness import needs_rtx, new_network
from judged_engines import provider_of

import trtnet
from trtnet import Dim, Input, layers
from trtnet.errors import ArgumentError, DtypeError, ShapeError
from trtnet.rewriting.composing import for_provider
from trtnet.tensorrt.build.lowering import Lowering

torch = pytest.importorskip("torch")
B, S, H, E, I, K = 2, 3, 6, 5, 7, 2  # noqa: E741
SHAPES = {"x": (B, S, H), "scores": (B, S, K), "gate": (E, H, I), "up": (E, H, I), "down": (E, I, H)}
BIASES = {"gate_bias": (E, I), "up_bias": (E, I), "down_bias": (E, H)}
CHOSEN = np.array([[[4, 1], [0, 0], [2, 3]], [[3, 4], [1, 2], [4, 0]]], np.int32)


def values(bias):
    shapes = SHAPES | (BIASES if bias else {})
    return {name: image(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}


def record(batch=B, tokens=S, bias=True, dtype="int32", scale=None, **attributes):
    """A network whose every operand is an input, but for the scale."""
    shapes = SHAPES | (BIASES if bias else {}) | {"x": (batch, tokens, H), "scores": (batch, tokens, K)}
    inputs = {name: Input(shape) for name, shape in shapes.items()}

    def forward(x, chosen, scores, gate, up, down, gate_bias=None, up_bias=None, down_bias=None):
        biases = (gate_bias, up_bias, down_bias) if bias else ()
        if scale is not None:
            biases = (*(biases or (None, None, None)), trtnet.tensor(scale))
        return layers.add_moe(x, chosen, scores, gate, up, down, *biases, **attributes)

    return trtnet.record(forward, x=inputs.pop("x"), chosen=Input((batch, tokens, K), dtype), **inputs)


def formula(chosen, given, inner=lambda gate, up: torch.nn.functional.silu(gate) * up):
    """Token by token, in float64."""
    v = {name: torch.from_numpy(value).double() for name, value in given.items()}
    x = v["x"]
    out = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for s in range(x.shape[1]):
            for k in range(K):
                e = int(chosen[b, s, k])
                gate, up = x[b, s] @ v["gate"][e], x[b, s] @ v["up"][e]
                if "gate_bias" in v:
                    gate, up = gate + v["gate_bias"][e], up + v["up_bias"][e]
                made = inner(gate, up) @ v["down"][e]
                out[b, s] += v["scores"][b, s, k] * (made + v["down_bias"][e] if "down_bias" in v else made)
    return out.numpy()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("batch", "tokens"), [(2, 3), (1, 2), (Dim("batch", 1, 2, 4), 3), (2, Dim("tokens", 1, 2, 4))])
def test_the_layer_and_its_composition_are_the_formula(batch, tokens, bias, dtype):
    graph = record(batch, tokens, bias, dtype)
    composed = for_provider(graph, provider_of("8.6.1"))
    assert "moe" not in {layer.kind for layer in composed.layers}
    given = values(bias)
    rows = batch if isinstance(batch, int) else 2
    columns = tokens if isinstance(tokens, int) else 3
    chosen = CHOSEN[:rows, :columns].astype(dtype)
    given |= {"x": given["x"][:rows, :columns], "scores": given["scores"][:rows, :columns]}
    wanted = formula(chosen, given)
    for one in (graph, composed):
        engine = trtnet.reference(one, dtype="float64")
        np.testing.assert_allclose(engine(chosen=chosen, **given), wanted, rtol=1e-6, atol=1e-6)


def gpt_oss(gate, up, limit, alpha, beta):
    """As GptOssExperts of transformers computes it."""
    gate, up = gate.clamp(min=None, max=limit), up.clamp(min=-limit, max=limit)
    return (up + beta) * (gate * torch.sigmoid(gate * alpha))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("limit", "alpha", "beta"), [(0.7, 1.702, 1.0), (np.inf, 1.0, 0.5), (0.3, 1.0, 0.0)])
def test_parameters_of_swiglu(limit, alpha, beta, bias, monkeypatch):
    given = {"swiglu_param_limit": limit, "swiglu_param_alpha": alpha, "swiglu_param_beta": beta}
    provider = provider_of("11.4")
    monkeypatch.setitem(provider.__dict__, "runs_experts", True)
    for tokens in (S, 2):
        numbers, chosen = values(bias), CHOSEN[:1, :tokens]
        numbers |= {"x": numbers["x"][:1, :tokens], "scores": numbers["scores"][:1, :tokens]}
        graph = record(1, tokens, bias, **given)
        composed = for_provider(graph, provider)  # TensorRT has it, and does not support it yet
        assert "moe" not in {layer.kind for layer in composed.layers}
        wanted = formula(chosen, numbers, lambda gate, up: gpt_oss(gate, up, limit, alpha, beta))
        for one in (graph, composed):
            engine = trtnet.reference(one, dtype="float64")
            np.testing.assert_allclose(engine(chosen=chosen, **numbers), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_what_goes_into_down_is_quantized(bias, monkeypatch):
    def few(gate, up):
        product = (torch.nn.functional.silu(gate) * up / 0.05).clamp(-448, 448)
        return product.float().to(torch.float8_e4m3fn).double() * 0.05

    graph = record(bias=bias, scale=0.05, quantization_to_type="float8_e4m3fn")
    wanted = formula(CHOSEN, values(bias), few)
    assert not np.allclose(wanted, formula(CHOSEN, values(bias)), rtol=1e-3)
    composed = for_provider(graph, provider_of("11.4"))
    assert [layer.kind for layer in composed.layers].count("quantize") == 1
    for one in (graph, composed):
        engine = trtnet.reference(one, dtype="float64")
        np.testing.assert_allclose(engine(chosen=CHOSEN, **values(bias)), wanted, rtol=1e-5, atol=1e-5)
    provider = provider_of("11.4")
    monkeypatch.setitem(provider.__dict__, "runs_experts", True)
    network = provider.create_network(provider.builder())
    Lowering(for_provider(graph, provider), network, provider).run()
    assert network.num_layers == 2  # the scale is a constant
    with pytest.raises(trtnet.TrtnetError, match="no quantize of float8_e4m3fn"):
        for_provider(graph, provider_of("8.6.1"))


def test_a_network_of_before_has_its_hash():
    """What a mixture of experts says beyond what it said at first is structure where it says something."""
    plain = record().structure_hash()
    assert plain == record(swiglu_param_alpha=1.0).structure_hash()
    assert plain.startswith("5a697e2c1dcaca90")
    hashes = {record(swiglu_param_alpha=2.0).structure_hash(), record(swiglu_param_limit=7.0).structure_hash(), plain}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("attributes", "error", "remedy"),
    [
        ({"swiglu_param_limit": 0.0}, ArgumentError, "leave them out"),
        ({"swiglu_param_alpha": np.inf}, ArgumentError, "leave them out"),
        ({"swiglu_param_beta": np.nan}, ArgumentError, "leave them out"),
        ({"quantization_to_type": "int8", "scale": 0.05}, DtypeError, "by layers of their own"),
        ({"quantization_to_type": "float8_e4m3fn", "scale": [0.1, 0.2]}, DtypeError, "one scale for all experts"),
        ({"quantization_to_type": "float8_e4m3fn"}, ShapeError, None),
        ({"scale": 0.05}, ShapeError, None),
    ],
)
def test_attributes_that_do_not_fit_are_refused(attributes, error, remedy):
    with pytest.raises(error, match=r"experts|SwiGLU") as caught:
        record(**attributes)
    assert caught.value.where.file == __file__
    assert remedy is None or remedy in caught.value.remedy


@pytest.mark.parametrize(("tokens", "chosen_alone"), [(2, True), (3, False)])
def test_few_tokens_read_the_weights_of_their_experts_alone(tokens, chosen_alone):
    graph = for_provider(record(1, tokens), provider_of("8.6.1"))
    products = [layer.outputs[0].shape for layer in graph.layers if layer.kind == "matrix_multiply"]
    assert products == ([(4, 1, I), (4, 1, I), (4, 1, H)] if chosen_alone else [(E, 3, I), (E, 3, I), (E, 3, H)])


def test_what_was_not_selected_does_not_count():
    """Not even infinity."""
    given = values(True)
    given["down"][3] = np.inf
    given["gate_bias"][3] = np.nan
    chosen = np.where(CHOSEN == 3, 2, CHOSEN).astype(np.int32)
    for graph in (record(), for_provider(record(), provider_of("8.6.1"))):
        assert np.isfinite(trtnet.reference(graph)(chosen=chosen, **given)).all()


def test_a_negative_number_of_an_expert_is_refused():
    with pytest.raises(trtnet.TrtnetError, match="the number of an expert is negative: -1"):
        trtnet.reference(record())(chosen=CHOSEN.astype(np.int32) * 0 - 1, **values(True))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("version", ["10.16", "11.0", "11.4"])
def test_where_the_gpu_has_it_it_is_one_layer(version, bias, monkeypatch):
    provider = provider_of(version)
    monkeypatch.setitem(provider.__dict__, "runs_experts", True)
    graph = record(bias=bias)
    assert [layer.kind for layer in for_provider(graph, provider).layers] == ["moe"]
    network = provider.create_network(provider.builder())
    Lowering(graph, network, provider).run()
    assert network.num_layers == 1


def test_tensorrt_infers_the_recorded_shape(monkeypatch):
    """TensorRT-RTX infers it, and compiles it for none of its targets."""
    found = needs_rtx()
    assert not found.runs_experts
    graph = record()
    lowering = Lowering(graph, new_network(), found).run()
    assert tuple(lowering.tensor("output").shape) == graph.outputs["output"].shape


def test_weights_refit_by_their_keys():
    module = Experts(E, H, I)
    graph = trtnet.record(module, x=Input((1, 4, H)))
    engine = trtnet.build(graph, provider="reference", refit=True)
    x = image(1, 4, H)
    before = engine(x)
    engine.refit({"down": np.zeros((E, I, H), np.float32), "biases.2": np.zeros((E, H), np.float32)})
    assert before.any()
    assert not engine(x).any()


def test_operands_that_do_not_fit_are_refused():
    with pytest.raises(DtypeError, match=r"experts are whole numbers\n  expected: int32 or int64\n  found:    float32"):
        record(dtype="float32")
    with pytest.raises(ArgumentError, match="experts have one activation"):
        record(activation_type="RELU")
    with pytest.raises(ShapeError, match=r"six tensors, or nine with biases\n.*\n  found:    7 operands"):
        trtnet.record(lambda x: layers.add_moe(*[x] * 7), x=Input((1, 2, 3)))
    x, i, w = Input((B, S, H)), Input((B, S, K), "int32"), Input((E, H, I))
    down, scores = Input((E, I, H)), Input((B, S, K))

    def forward(x, i, scores, w, down):
        return layers.add_moe(x, i, scores, w, w, down)

    with pytest.raises(ShapeError, match=r"\(5, 7, 5\) does not fit \(5, 7, 6\)"):
        trtnet.record(forward, x=x, i=i, scores=scores, w=w, down=Input((E, I, H - 1)))
    with pytest.raises(ShapeError, match="hidden states of three dimensions"):
        trtnet.record(forward, x=Input((S, H)), i=i, scores=scores, w=w, down=down)
    with pytest.raises(DtypeError, match=r"computes in one type\n  expected: float32\n  found: .*float16"):
        trtnet.record(forward, x=x, i=i, scores=Input((B, S, K), "float16"), w=w, down=down)
