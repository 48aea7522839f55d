"""Scaled dot product attention against torch, in float64 and on TensorRT-RTX."""

import doctest
import functools

import numpy as np
import pytest
import torch
from conformity import provider_of
from harness import check_against_torch, composed_without
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from trtnet.nn.attention import SDPBackend, sdpa_kernel

T = torch.nn.functional


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def attention(draw):
    front = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    length, source, size, width = (draw(st.integers(1, 4)) for _ in range(4))
    inputs = {
        "query": values((*front, length, size), 1),
        "key": values((*front, source, size), 2),
        "value": values((*front, source, width), 3),
    }
    kind = draw(st.sampled_from(["none", "bool", "float", "causal"]))
    options = {"scale": draw(st.sampled_from([None, 0.5]))}
    shape = draw(st.sampled_from([(length, source), (1, source), (*front, length, source)]))
    if kind == "bool":
        mask = np.random.default_rng(4).random(shape) > 0.4
        inputs["attn_mask"] = mask
    elif kind == "float":
        inputs["attn_mask"] = np.where(np.random.default_rng(5).random(shape) > 0.4, values(shape, 4), -np.inf)
        inputs["attn_mask"] = inputs["attn_mask"].astype(np.float32)
    options["is_causal"] = kind == "causal"
    return inputs, options


def one_layer(function):
    """The function, with attention recorded as one layer."""

    def call(*args, **kwargs):
        with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            return function(*args, **kwargs)

    return functools.wraps(function)(call)


@given(attention(), st.booleans())
@settings(max_examples=60)
def test_attention(case, fused):
    inputs, options = case

    def call(f):
        return lambda query, key, value, attn_mask=None: f.scaled_dot_product_attention(
            query, key, value, attn_mask, **options
        )

    mine = one_layer(call(F)) if fused else call(F)
    graph = check_against_torch(mine, call(T), inputs, compile=False, rtol=1e-6, atol=1e-7)
    q = inputs["query"]
    mask = inputs.get("attn_mask", q)
    taken = q.shape[-1] == inputs["value"].shape[-1] and mask.ndim <= q.ndim
    assert ("attention" in [layer.kind for layer in graph.layers]) == (fused and taken)
    if fused and taken:
        composed = composed_without(graph, "add_attention", "add_attention_v2")
        found, wanted = (trtnet.reference(one, dtype="float64")(**inputs) for one in (composed, graph))
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("fused", [False, True])
def test_grouped_queries(fused):
    inputs = {"q": values((2, 6, 3, 4), 1), "k": values((2, 2, 5, 4), 2), "v": values((2, 2, 5, 4), 3)}

    def call(f):
        return lambda q, k, v: f.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    graph = check_against_torch(one_layer(call(F)) if fused else call(F), call(T), inputs)
    assert fused == ("attention" in [layer.kind for layer in graph.layers])
    with pytest.raises(ShapeError, match="multiple of the key's"):
        trtnet.record(call(F), q=Input((2, 5, 3, 4)), k=Input((2, 2, 5, 4)), v=Input((2, 2, 5, 4)))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("causal", [True, False])
def test_dynamic_lengths_compile(causal, fused):
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=3, max=8)
    call = one_layer if fused else lambda function: function
    check_against_torch(
        call(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=causal)),
        lambda x: T.scaled_dot_product_attention(x, x, x, is_causal=causal),
        {"x": values((2, 3, 4))},
        shapes={"x": (batch, length, 4)},
    )


def test_a_concrete_mask():
    mask = np.tri(3, dtype=bool)
    check_against_torch(
        lambda x: F.scaled_dot_product_attention(x, x, x, trtnet.ones(3, 3, dtype=trtnet.bool).tril()),
        lambda x: T.scaled_dot_product_attention(x, x, x, torch.from_numpy(mask)),
        {"x": values((2, 3, 4))},
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1),
            UnsupportedError,
            "if self.training else 0.0",
        ),
        (lambda x: F.scaled_dot_product_attention(x, x, x, x, is_causal=True), ArgumentError, "not both"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, trtnet.ones(3, 3, dtype=trtnet.int32)),
            DtypeError,
            "bool or floating",
        ),
        (lambda x: F.scaled_dot_product_attention(x[0, 0], x, x), ShapeError, "two dimensions or more"),
        (lambda x: F.scaled_dot_product_attention(x, x.half(), x), DtypeError, "one dtype"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x), x=Input((2, 3, 4)))
    assert caught.value.where.file == __file__


ROWS = np.array([[True, True, False], [False, False, False], [True, False, True]])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("how", ["input", "constant", "buffer"])
def test_a_row_that_is_masked_entirely_is_zero(how, kind, dynamic, fused):
    mask = ROWS if kind == "bool" else np.where(ROWS, np.float32(0.5), np.float32(-np.inf))

    class Net(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", trtnet.tensor(mask))

        def forward(self, x, m):
            given = {"input": m, "constant": trtnet.tensor(mask), "buffer": self.mask}[how]
            attend = F.scaled_dot_product_attention
            return (one_layer(attend) if fused else attend)(x, x, x, given)

    graph = check_against_torch(
        Net(),
        lambda x, m: T.scaled_dot_product_attention(x, x, x, torch.from_numpy(mask).to(m.dtype)),
        {"x": values((2, 4, 3, 8)), "m": mask},
        shapes={"x": (Dim("batch", 2, 2, 4), 4, 3, 8)} if dynamic else None,
        rtol=1e-6,
    )
    assert np.array_equal(trtnet.reference(graph)(values((2, 4, 3, 8)), mask)[:, :, 1], np.zeros((2, 4, 8)))
    for layer in graph.layers:
        if layer.kind == "attention" and layer.inputs[3].layer.kind == "constant":
            weights = layer.inputs[3].layer.inputs[0].array
            assert np.any(weights if kind == "bool" else np.isfinite(weights), -1).all(), "TensorRT meets no empty row"


@pytest.mark.parametrize("masked", [None, "causal", "open"])
def test_nothing_is_added_where_every_row_is_open(masked):
    def call(x):
        given = trtnet.ones(3, 3, dtype=trtnet.bool).tril() if masked == "open" else None
        return F.scaled_dot_product_attention(x, x, x, given, is_causal=masked == "causal")

    graph = trtnet.record(call, x=Input((2, 3, 4)))
    kinds = [layer.kind for layer in graph.layers]
    assert kinds.count("reduce") == 0
    assert kinds.count("select") == (0 if masked is None else 1)


def test_float16_scores_that_become_infinite():
    """torch looks at the scores: the smallest number of a mask and a negative score are minus infinity together."""
    q = np.full((1, 2, 4), 4, np.float16)
    mask = np.array([[-65504, -65504], [0, -65504]], np.float16)

    def call(f):
        return lambda q, k, m: f.scaled_dot_product_attention(q, k, k, m)

    graph = trtnet.record(call(F), q=Input(q.shape, "float16"), k=Input(q.shape, "float16"), m=Input((2, 2), "float16"))
    found = trtnet.reference(graph)(q, -q * 8, mask)
    wanted = call(torch.nn.functional)(*(torch.from_numpy(v).float() for v in (q, -q * 8, mask))).numpy()
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1].astype(np.float32), wanted[:, 1], rtol=2e-3)


# --- sdpa_kernel


def kinds_with(*args, **kwargs):
    def forward(x):
        with sdpa_kernel(*args, **kwargs):
            return F.scaled_dot_product_attention(x, x, x)

    return [layer.kind for layer in trtnet.record(forward, x=Input((1, 2, 3, 4))).layers]


MATH, FLASH, CUDNN = SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION


def test_which_backends_record_one_layer():
    for backends, priority, fused in (
        (MATH, False, False),
        ([MATH], False, False),
        (FLASH, False, True),
        ([MATH, CUDNN], False, True),
        ([MATH, CUDNN], True, False),
        ([CUDNN, MATH], True, True),
        (torch.nn.attention.SDPBackend.FLASH_ATTENTION, False, True),
        (torch.nn.attention.SDPBackend.MATH, False, False),
        ([], False, False),
    ):
        assert ("attention" in kinds_with(backends, set_priority=priority)) == fused, backends
    for wrong in ("flash", 3, [FLASH, None]):
        with pytest.raises(ArgumentTypeError, match="sdpa_kernel takes backends"):
            kinds_with(wrong)
    assert [b.name for b in SDPBackend] == list(torch.nn.attention.SDPBackend.__members__)


def test_it_lasts_as_long_as_the_block():
    def forward(x):
        made = []

        def attend():
            made.append(F.scaled_dot_product_attention(x, x, x))

        attend()
        with sdpa_kernel(FLASH):
            attend()
            with sdpa_kernel(MATH):
                attend()
            attend()
        sdpa_kernel(FLASH)(attend)()
        with pytest.raises(ShapeError), sdpa_kernel(FLASH):
            F.scaled_dot_product_attention(x, x[..., :2], x)
        attend()
        return made

    graph = trtnet.record(forward, x=Input((1, 2, 3, 4)))
    made = [t.layer.kind == "attention" for t in graph.outputs.values()]
    assert made == [False, True, False, True, True, False]


def test_it_stands_around_a_recording_too():
    with sdpa_kernel(FLASH):
        graph = trtnet.record(lambda x: F.scaled_dot_product_attention(x, x, x), x=Input((1, 2, 3, 4)))
    assert "attention" in [layer.kind for layer in graph.layers]
    made = graph.for_provider(provider_of("8.6.1"))
    assert "attention" not in [layer.kind for layer in made.layers]


def test_its_example():
    runner, said = doctest.DocTestRunner(verbose=False), []
    for test in doctest.DocTestFinder().find(
        sdpa_kernel, "sdpa_kernel", globs={"trtnet": trtnet, "nn": nn, "Input": Input}
    ):
        runner.run(test, out=said.append)
    assert (runner.tries, runner.failures) == (3, 0), "".join(said)


@pytest.mark.parametrize("mask", [None, "attn_mask", "key_padding_mask", "both", "float"])
def test_multi_head_attention_is_one_layer(mask):
    ours, theirs = nn.MultiheadAttention(8, 2, batch_first=True), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    inputs = {"x": values((2, 4, 8))}
    if mask in ("attn_mask", "both"):
        inputs["attn_mask"] = ~np.tri(4, dtype=bool)
    if mask in ("key_padding_mask", "both"):
        inputs["key_padding_mask"] = np.array([[False, False, True, True], [False, True, False, False]])
    if mask == "float":
        inputs["attn_mask"] = values((4, 4), 5)

    def call(module):
        def forward(x, *masks):
            given = dict(zip(list(inputs)[1:], masks))
            return module(x, x, x, need_weights=False, **given)[0]

        return forward

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ours

        def forward(self, x, attn_mask=None, key_padding_mask=None):
            return one_layer(ours)(x, x, x, need_weights=False, attn_mask=attn_mask, key_padding_mask=key_padding_mask)[
                0
            ]

    graph = check_against_torch(
        Net(),
        call(theirs.double().eval()),
        inputs,
        shapes={"x": (Dim("batch", 1, 2, 4), 4, 8)} if mask in (None, "attn_mask", "float") else None,
        state_dict={f"inner.{n}": v.float().numpy() for n, v in theirs.state_dict().items()},
        rtol=1e-6,
        atol=1e-7,
    )
    assert [layer.kind for layer in graph.layers].count("attention") == 1


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_that_needs_its_weights_is_not(dropout, need_weights):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, dropout=dropout)

        def forward(self, x):
            return one_layer(self.inner)(x, x, x, need_weights=need_weights)[0]

    graph = trtnet.record(Net(), x=Input((4, 2, 8)))
    assert ("attention" in [layer.kind for layer in graph.layers]) == (not dropout and not need_weights)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_a_mask_of_numpy_is_one_of_the_layers_operands(dtype):
    q = values((2, 5, 8))
    mask = np.tril(np.ones((5, 5))).astype(dtype)

    def call(x):
        with sdpa_kernel(FLASH):
            return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    graph = trtnet.record(call, x=Input(q.shape))
    assert [layer.kind for layer in graph.layers].count("attention") == 1
    x = torch.from_numpy(q).double()
    mask = torch.from_numpy(mask) if dtype is bool else torch.from_numpy(mask).double()
    wanted = torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)
    np.testing.assert_allclose(trtnet.reference(graph)(q), wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("query", "key", "value", "mask"),
    [
        ((1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 6), None),
        ((1, 1, 2, 5, 8), (1, 1, 2, 7, 8), (1, 1, 2, 7, 8), None),
        ((3, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), None),
        ((1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), (1, 1, 1, 5, 7)),
    ],
    ids=["width", "five dimensions", "batch", "mask"],
)
def test_what_no_layer_takes_is_composed_only_where_that_is_asked_for(query, key, value, mask) -> None:
    """As torch raises where no backend that is named fits."""
    inputs = {"q": Input(query), "k": Input(key), "v": Input(value)}
    if mask is not None:
        inputs["mask"] = Input(mask, "bool")

    def attend(backends):
        def forward(q, k, v, mask=None):
            with sdpa_kernel(backends):
                return F.scaled_dot_product_attention(q, k, v, mask)

        return trtnet.record(forward, **inputs)

    for backends in (SDPBackend.FLASH_ATTENTION, [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]):
        with pytest.raises(UnsupportedError, match="no one layer of TensorRT's") as caught:
            attend(backends)
        assert trtnet.basics.dims.format_shape(query) in str(caught.value.found)
        assert "SDPBackend.MATH" in str(caught.value.remedy)
        assert "test_attention.py" in str(caught.value)
    for backends in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        assert "softmax" in [layer.kind for layer in attend(backends).layers]
