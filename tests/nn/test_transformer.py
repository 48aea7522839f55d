"""MultiheadAttention and the transformer layers against torch.nn."""

import copy

import numpy as np
import pytest
import torch
from harness import check_against_torch, randomize, torch_state
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import both, same_structure, values

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, ArgumentTypeError, ShapeError


class Calls(nn.Module):
    """A module, called with what a test says."""

    def __init__(self, inner, call):
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, **inputs):
        return self.call(self.inner, **inputs)


def compare(ours, theirs, call, inputs, compile=False, shapes=None):
    same_structure(ours, theirs)
    randomize(theirs).double().eval()
    names = list(inputs)
    state = {f"inner.{key}": value for key, value in torch_state(theirs).items()}
    return check_against_torch(
        Calls(ours, call),
        lambda *tensors: call(theirs, **dict(zip(names, tensors, strict=True))),
        inputs,
        state_dict=state,
        compile=compile,
        shapes=shapes,
        rtol=1e-5,
        atol=1e-6,
    )


@st.composite
def attention(draw):
    heads, size = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    embed = heads * size
    options = {
        "bias": draw(st.booleans()),
        "add_bias_kv": draw(st.booleans()),
        "add_zero_attn": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "kdim": draw(st.sampled_from([None, 3])),
        "vdim": draw(st.sampled_from([None, 5])),
    }
    batch, length, source = draw(st.sampled_from([None, 1, 2])), draw(st.integers(1, 3)), draw(st.integers(1, 4))

    def shape(count, width):
        if batch is None:
            return (count, width)
        return (batch, count, width) if options["batch_first"] else (count, batch, width)

    inputs = {
        "query": values(shape(length, embed), 1),
        "key": values(shape(source, options["kdim"] or embed), 2),
        "value": values(shape(source, options["vdim"] or embed), 3),
    }
    generator = np.random.default_rng(4)
    if draw(st.booleans()):
        mask = generator.random((source,) if batch is None else (batch, source)) > 0.5
        mask[..., 0] = False
        inputs["key_padding_mask"] = mask
    kind = draw(st.sampled_from(["none", "bool", "float", "heads"]))
    if kind != "none":
        mask = generator.random((length, source) if kind != "heads" else ((batch or 1) * heads, length, source)) > 0.5
        mask[..., 0] = False
        # torch wants both masks of one type
        inputs["attn_mask"] = mask if kind != "float" else np.where(mask, -np.inf, 0.25).astype(np.float32)
        if kind == "float" and "key_padding_mask" in inputs:
            inputs["key_padding_mask"] = np.where(inputs["key_padding_mask"], -np.inf, 0.5).astype(np.float32)
    return (embed, heads), options, inputs, draw(st.booleans()), draw(st.booleans())


@given(attention())
@settings(max_examples=60)
def test_attention(case):
    args, options, inputs, need_weights, average = case

    def call(module, **given):
        out, weights = module(**given, need_weights=need_weights, average_attn_weights=average)
        assert (weights is not None) == need_weights
        return (out, weights) if need_weights else out

    compare(*both("MultiheadAttention", *args, **options), call, inputs)


@pytest.mark.parametrize("batch_first", [True, False])
def test_self_attention_compiles(batch_first):
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=3, max=8)
    shape = (batch, length, 4) if batch_first else (length, batch, 4)

    def call(module, x, padding):
        return module(x, x, x, key_padding_mask=padding)

    padding = np.array([[False, False, True], [False, True, True]])
    ours, theirs = both("MultiheadAttention", 4, 2, batch_first=batch_first)
    x = values((2, 3, 4)) if batch_first else values((3, 2, 4))
    graph = compare(
        ours, theirs, call, {"x": x, "padding": padding}, compile=True, shapes={"x": shape, "padding": (batch, length)}
    )
    assert graph.outputs["output_0"].shape == shape
    assert str(graph.outputs["output_1"].shape) == "(batch, length, length)"


@given(st.data())
@settings(max_examples=25)
def test_encoder_layer(data):
    options = {
        "activation": data.draw(st.sampled_from(["relu", "gelu"])),
        "batch_first": data.draw(st.booleans()),
        "norm_first": data.draw(st.booleans()),
        "bias": data.draw(st.booleans()),
        "layer_norm_eps": 1e-3,
    }
    inputs = {"src": values((3, 2, 4))}
    if data.draw(st.booleans()):
        inputs["src_mask"] = ~np.tri(2 if options["batch_first"] else 3, dtype=bool)
    compare(*both("TransformerEncoderLayer", 4, 2, 8, 0.1, **options), lambda module, **given: module(**given), inputs)


@given(st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=8)
def test_decoder_layer(batch_first, norm_first, masked):
    inputs = {"tgt": values((3, 3, 4)), "memory": values((3, 3, 4), 1)}
    if masked:
        inputs |= {"tgt_mask": ~np.tri(3, dtype=bool), "memory_key_padding_mask": ~np.tri(3, k=1, dtype=bool)}
    ours, theirs = both("TransformerDecoderLayer", 4, 2, 8, batch_first=batch_first, norm_first=norm_first)
    compare(ours, theirs, lambda module, **given: module(**given), inputs)


def test_encoder_with_padding():
    """torch's fast path would put zeros at hidden positions: nested tensors are left out."""
    ours, theirs = (
        n.TransformerEncoder(
            n.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, n.LayerNorm(4), enable_nested_tensor=False
        )
        for n in (nn, torch.nn)
    )
    padding = np.array([[False, False, True], [False, False, False]])
    compare(
        ours,
        theirs,
        lambda module, src, padding: module(src, src_key_padding_mask=padding),
        {"src": values((2, 3, 4)), "padding": padding},
    )


def test_transformer():
    ours, theirs = both("Transformer", 4, 2, 1, 2, 8, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask.numpy(), torch.nn.Transformer.generate_square_subsequent_mask(3).numpy())

    def call(module, src, tgt):
        causal = (
            mask if module is ours else torch.nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
        )
        return module(src, tgt, tgt_mask=causal, tgt_is_causal=True)

    compare(ours, theirs, call, {"src": values((2, 5, 4)), "tgt": values((2, 3, 4), 1)}, compile=True)


def test_initial_distributions():
    trtnet.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = both("MultiheadAttention", 96, 4)
    for key, value in theirs.state_dict().items():
        mine = ours.state_dict()[key]
        assert abs(mine.std() - value.numpy().std()) < 0.02 * value.numpy().std() + 1e-9, key
    ours, theirs = both("Transformer", 32, 4, 1, 1, 64)
    for key, value in theirs.state_dict().items():
        assert abs(ours.state_dict()[key].std() - value.numpy().std()) < 0.1 * value.numpy().std() + 0.02, key


def test_copies_are_independent():
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    encoder = nn.TransformerEncoder(layer, 2)
    first, second = (e.linear1.weight.numpy() for e in encoder.layers)
    np.testing.assert_array_equal(first, second)
    assert not np.shares_memory(first, second)
    twin = copy.deepcopy(encoder)
    twin.layers[0].linear1.weight.numpy()[:] = 0
    assert first.any()


def test_errors():
    with pytest.raises(ArgumentError, match="divisible by num_heads"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(ArgumentError, match="'relu', 'gelu' or a function"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh")
    with pytest.raises(ArgumentTypeError, match="is_causal needs attn_mask"):
        trtnet.record(lambda x: nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True), x=Input((2, 1, 4)))
    with pytest.raises(ShapeError, match="3 dimensions, or of 2"):
        trtnet.record(lambda x: nn.MultiheadAttention(4, 2)(x, x[0], x)[0], x=Input((2, 1, 4)))
    with pytest.raises(ShapeError, match="last size must be d_model"):
        trtnet.record(lambda x: nn.Transformer(4, 2, 1, 1)(x, x), x=Input((2, 1, 5)))


def test_an_activation_that_is_a_function():
    compare(
        *(n.TransformerEncoderLayer(4, 2, 8, activation=f.silu) for n, f in ((nn, F), (torch.nn, torch.nn.functional))),
        lambda module, src: module(src),
        {"src": values((3, 2, 4))},
    )


def masked_attention(module, x, hidden):
    """What torch.nn.MultiheadAttention computes without weights, and the weights, with 0 where everything is hidden."""
    count, length, size = x.shape
    heads = module.num_heads
    q, k, v = (
        part.reshape(count, length, heads, -1).transpose(1, 2)
        for part in torch.nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    )
    scores = (q @ k.transpose(-1, -2) / (size // heads) ** 0.5).masked_fill(hidden, float("-inf"))
    weights = scores.softmax(-1).nan_to_num(0.0)
    return module.out_proj((weights @ v).transpose(1, 2).reshape(count, length, size)), weights


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("mask_type", ["bool", "float"])
@pytest.mark.parametrize("padding_type", ["bool", "float"])
@pytest.mark.parametrize("need", [None, "heads", "mean"])
def test_rows_that_two_masks_hide_entirely(need, padding_type, mask_type, dynamic):
    """Neither mask hides a whole row, both together do; another row is hidden by one."""
    hidden = np.array([[False, False, True], [True, True, False], [True, True, True]])
    padding = np.array([[False, False, True], [False, False, False]])
    theirs = randomize(torch.nn.MultiheadAttention(4, 2, batch_first=True))
    both_hide = torch.from_numpy(hidden | padding[:, None, None, :])
    assert both_hide.all(-1).sum() == 3

    def given(mask, kind):
        return mask if kind == "bool" else np.where(mask, np.float32(-np.inf), np.float32(0))

    inputs = {"x": values((2, 3, 4)), "mask": given(hidden, mask_type), "padding": given(padding, padding_type)}

    def call(module, x, mask, padding):
        options = {"need_weights": need is not None, "average_attn_weights": need != "heads"}
        found = module(x, x, x, key_padding_mask=padding, attn_mask=mask, **options)
        return found[0] if need is None else found

    def expected(x, mask, padding):
        out, weights = masked_attention(theirs.double(), x, both_hide)
        return out if need is None else (out, weights.mean(1) if need == "mean" else weights)

    batch = Dim("batch", 2, 2, 4)
    check_against_torch(
        Calls(nn.MultiheadAttention(4, 2, batch_first=True), call),
        expected,
        inputs,
        state_dict={f"inner.{key}": value for key, value in torch_state(theirs).items()},
        shapes={"x": (batch, 3, 4), "padding": (batch, 3)} if dynamic else None,
        rtol=1e-5,
        atol=1e-6,
    )
    if need is None:
        found = theirs.double()(*[torch.from_numpy(inputs["x"]).double()] * 3, torch.from_numpy(padding), False,
                                torch.from_numpy(hidden))[0]  # fmt: skip
        torch.testing.assert_close(found, expected(torch.from_numpy(inputs["x"]).double(), None, None))


def test_a_mask_of_a_dynamic_size() -> None:
    length = trtnet.Dim("length", min=1, opt=3, max=9)

    def masks(x, module):
        make = module.nn.Transformer.generate_square_subsequent_mask
        sized = x.shape[1]
        return x + make(sized), x + make(sized, dtype=module.float16).to(x.dtype)

    inputs = {"x": np.ones((2, 3, 3), np.float32)}
    check_against_torch(
        lambda x: masks(x, trtnet), lambda x: masks(x, torch), inputs, shapes={"x": (2, length, length)}
    )
