"""Attention and rotary positions against torch in float64, with and without TensorRT's own layers; compiled by
TensorRT-RTX."""

import ml_dtypes
import numpy as np
import pytest
import torch
from conformity import lowered, provider_of
from families import values
from harness import Lacking, composed_without, lower_and_compare, needs_rtx
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import decoded_by_torch, decoding

import trtnet
from trtnet import Dim, Input, layers
from trtnet import functional as F
from trtnet.errors import ArgumentError, BuildError, DtypeError, ProviderError, ShapeError
from trtnet.tensorrt.build import lowering

BATCH, ROWS, COLUMNS = Dim("batch", 1, 2, 4), Dim("rows", 1, 5, 8), Dim("columns", 1, 7, 9)
ATTENTION = ("add_attention", "add_attention_v2")


def recorded(function, inputs, shapes):
    """With these arrays' shapes, or where given with others."""
    return trtnet.record(function, **{n: Input((shapes or {}).get(n, a.shape), a.dtype) for n, a in inputs.items()})


def in_double(inputs):
    tensors = {n: torch.from_numpy(a) for n, a in inputs.items()}
    return {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}


def compare(graph, inputs, wanted, *methods, compile=True, tolerance=1e-12):
    """The layer, and what it is composed of without these methods."""
    assert any(set(methods) & set(layer.methods) for layer in graph.layers)
    composed = composed_without(graph, *methods)
    doubles = {
        n: torch.from_numpy(a).double() if a.dtype == np.float32 else torch.from_numpy(a) for n, a in inputs.items()
    }
    for one in (graph, composed):
        found = trtnet.reference(one, dtype="float64", raw=True)(**doubles)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
        lower_and_compare(one, compile=compile and one is graph)


# --- attention


def hidden(kind, rows, columns):
    """Which positions take part, for a causal kind."""
    return torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows if kind == "LOWER_RIGHT" else 0)


def attended(q, k, v, mask=None, kind="NONE"):
    """By torch, in float64."""
    q, k, v = (torch.from_numpy(a).double() for a in (q, k, v))
    if kind != "NONE":
        mask = hidden(kind, q.shape[2], k.shape[2])
    elif mask is not None:
        mask = torch.from_numpy(mask)
        mask = mask.double() if mask.is_floating_point() else mask
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=True)


def operands(heads=4, shared=2, rows=5, columns=7, size=8, batch=2):
    return {
        "q": values((batch, heads, rows, size), seed=1),
        "k": values((batch, shared, columns, size), seed=2),
        "v": values((batch, shared, columns, size), seed=3),
    }


DYNAMIC = {"q": (BATCH, 4, ROWS, 8), "k": (BATCH, 2, COLUMNS, 8), "v": (BATCH, 2, COLUMNS, 8)}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", ["NONE", "UPPER_LEFT", "LOWER_RIGHT"])
def test_attention(kind, dynamic):
    """With fewer heads of keys, and rows of LOWER_RIGHT that see nothing."""
    inputs = operands(rows=8, columns=6) if kind == "LOWER_RIGHT" else operands()
    graph = recorded(
        lambda q, k, v: layers.add_attention_v2(q, k, v, causal_kind=kind, decomposable=True),
        inputs,
        DYNAMIC if dynamic else None,
    )
    (layer,) = graph.layers
    assert (layer.kind, layer.causal_kind, layer.decomposable) == ("attention", kind, True)
    compare(graph, inputs, attended(**inputs, kind=kind), *ATTENTION)


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("front", [(2, 1), (1, 4)])
def test_masks(kind, dynamic, front):
    """The second row sees nothing and gives 0."""
    inputs = operands()
    shown = np.random.default_rng(0).random((*front, 5, 7)) > 0.4
    shown[:, :, 1], shown[:, :, 0, 0] = False, True
    inputs["mask"] = shown if kind == "bool" else np.where(shown, values(shown.shape, seed=4), -np.inf).astype("f")
    graph = recorded(
        lambda q, k, v, mask: layers.add_attention_v2(q, k, v, mask, decomposable=True),
        inputs,
        {**DYNAMIC, "mask": (BATCH if front[0] > 1 else 1, front[1], ROWS, COLUMNS)} if dynamic else None,
    )
    wanted = attended(**inputs)
    assert not wanted[:, :, 1].any()
    compare(graph, inputs, wanted, *ATTENTION, compile=dynamic and kind == "bool")


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "float", "UPPER_LEFT"])
def test_lengths_of_keys(kind, dynamic):
    """A length of 0 leaves nothing of any row."""
    inputs, lengths = operands(), np.array([3, 0], np.int32)
    shown = np.broadcast_to(np.arange(7) < lengths.reshape(2, 1, 1, 1), (2, 1, 5, 7))
    mask = np.random.default_rng(0).random((1, 1, 5, 7)) > 0.3
    given = {"bool": mask, "float": values(mask.shape, seed=4)}.get(kind)
    wanted = shown & (hidden(kind, 5, 7).numpy() if kind.isupper() else mask if kind == "bool" else True)
    if kind == "float":
        wanted = np.where(shown, given, -np.inf).astype("f")
    shapes = {**DYNAMIC, "lengths": (BATCH,)} if dynamic else {}
    if given is not None:
        inputs["mask"] = given
        shapes |= {"mask": (1, 1, ROWS, COLUMNS)} if dynamic else {}
    wanted = attended(inputs["q"], inputs["k"], inputs["v"], wanted)
    assert not wanted[1].any()
    graph = recorded(
        lambda q, k, v, lengths, mask=None: layers.add_attention_v2(
            q, k, v, mask, None, None, lengths, decomposable=True,
            causal_kind="UPPER_LEFT" if kind.isupper() else "NONE",
        ),
        inputs | {"lengths": lengths},
        shapes,
    )  # fmt: skip
    compare(graph, inputs | {"lengths": lengths}, wanted, *ATTENTION, compile=dynamic)


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (7, 7), (COLUMNS, COLUMNS), (1, COLUMNS), (ROWS, 8)])
def test_lower_right_is_tensorrts_where_each_row_sees_something(rows, columns):
    assert last_sees_all(rows, columns).for_provider(needs_rtx()).layers[-1].kind == "attention"


@pytest.mark.parametrize(("rows", "columns"), [(8, 7), (ROWS, COLUMNS), (COLUMNS, 1)])
def test_lower_right_is_composed_where_a_row_may_see_nothing(rows, columns):
    graph = last_sees_all(rows, columns)
    assert "attention" not in [layer.kind for layer in graph.for_provider(needs_rtx()).layers]
    lower_and_compare(graph, compile=False)


def last_sees_all(rows, columns):
    return trtnet.record(
        lambda q, k: layers.add_attention_v2(q, k, k, causal_kind="LOWER_RIGHT", decomposable=True),
        q=Input((2, 4, rows, 8)),
        k=Input((2, 4, columns, 8)),
    )


def test_the_first_version_is_added_where_there_is_no_second():
    """And composed for what that cannot say."""
    inputs = operands()
    for kind in ("UPPER_LEFT", "LOWER_RIGHT"):
        graph = recorded(lambda q, k, v, kind=kind: layers.add_attention_v2(q, k, v, causal_kind=kind), inputs, None)
        made = graph.for_provider(Lacking("add_attention_v2"))
        assert ("attention" in [layer.kind for layer in made.layers]) == (kind == "UPPER_LEFT")
    (layer,) = recorded(lambda q, k, v: layers.add_attention(q, k, v, causal=True), inputs, None).layers
    assert repr(layer) == "Attention(causal_kind=UPPER_LEFT)"


@pytest.mark.parametrize("version", ["10.14", "10.16"])
def test_in_a_weakly_typed_network(version, monkeypatch):
    """An IAttention is no ILayer: it has no types to be held to."""
    monkeypatch.setattr(lowering, "is_strongly_typed", lambda *network: False)
    graph = recorded(lambda q, k, v: layers.add_attention(q, k, v) * 2, operands(), None)
    made = lowered(graph, provider_of(version), False)
    assert made.graph.layers[0].kind == "attention"


def test_without_a_softmax():
    inputs = {**operands(), "mask": values((1, 4, 5, 7), seed=4)}
    q, k, v, mask = (torch.from_numpy(a).double() for a in inputs.values())
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    for count, wanted in ((4, (q @ k.mT + mask) @ v), (3, (q @ k.mT) @ v)):
        some = dict(list(inputs.items())[:count])
        graph = recorded(
            lambda q, k, v, mask=None: layers.add_attention_v2(q, k, v, mask, norm_op="NONE", decomposable=True),
            some,
            None,
        )
        compare(graph, some, wanted, *ATTENTION)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("masked", [False, True])
def test_quantized_weights(shape, masked):
    """int8, by hand; float8 by hand of ml_dtypes, and composed for no TensorRT."""
    inputs = {**operands(shared=4), **({"mask": np.tri(5, 7, -1, dtype=bool)[None, None]} if masked else {})}
    scale = np.full(shape, 1 / 100, np.float32)
    q, k, v = (torch.from_numpy(inputs[n]).double() for n in "qkv")
    scores = q @ k.mT
    if masked:
        scores = scores.masked_fill(~torch.from_numpy(inputs["mask"]), -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0.0).numpy()

    def graph_of(to):
        return recorded(
            lambda q, k, v, mask=None: layers.add_attention_v2(
                q, k, v, mask, scale, normalization_quantize_to_type=to, decomposable=True
            ),
            inputs,
            None,
        )

    step = float(scale.reshape(-1)[0])
    wanted = torch.from_numpy(np.rint(weights / step).clip(-128, 127) * step) @ v
    compare(graph_of("int8"), inputs, wanted, *ATTENTION)
    graph = graph_of("float8_e4m3fn")
    wanted = torch.from_numpy((weights / step).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * step) @ v
    found = trtnet.reference(graph, dtype="float64", raw=True)(**in_double(inputs))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    lower_and_compare(graph, target="sm89")
    with pytest.raises(ProviderError, match="cannot be composed") as caught:
        composed_without(graph, *ATTENTION)
    assert caught.value.where.file == __file__


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["none", "bool", "added", "UPPER_LEFT", "LOWER_RIGHT"])
def test_half_types_compile_to_one_kernel(dtype, kind):
    """TensorRT-RTX has fused ones for them, and refuses where it has none."""
    needs_rtx()
    shape, mask = (BATCH, 4, ROWS, 64), (BATCH, 1, ROWS, ROWS)
    causal = kind if kind.isupper() else "NONE"
    specs = {n: Input(shape, dtype) for n in "qkv"}
    if kind in ("bool", "added"):
        specs["mask"] = Input(mask, "bool" if kind == "bool" else dtype)
        graph = trtnet.record(lambda q, k, v, mask: layers.add_attention_v2(q, k, v, mask), **specs)
    else:
        graph = trtnet.record(lambda q, k, v: layers.add_attention_v2(q, k, v, causal_kind=causal), **specs)
    lower_and_compare(graph)


def test_float32_has_no_fused_kernel():
    """As TensorRT-RTX 1.7 says itself; `decomposable` builds."""
    needs_rtx()
    for decomposable in (False, True):
        graph = recorded(
            lambda q, k, v, d=decomposable: layers.add_attention_v2(q, k, v, decomposable=d), operands(), None
        )
        if decomposable:
            assert bytes(trtnet.build_plan(graph, ["sm86"], provider="tensorrt_rtx"))
            continue
        with pytest.raises(BuildError, match="not supported by a dedicated kernel"):
            trtnet.build_plan(graph, ["sm86"], provider="tensorrt_rtx")


def refused(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_attention_refuses():
    def attend(q, k, v, mask=None):
        return layers.add_attention_v2(q, k, v, mask)

    q, k = Input((2, 4, 5, 8)), Input((2, 2, 7, 8))
    three = Input((2, 5, 8))
    refused(ShapeError, "query of four dimensions", attend, q=three, k=three, v=three)
    refused(ShapeError, "value of the key's shape", attend, q=q, k=k, v=Input((2, 2, 7, 4)))
    refused(ShapeError, "one batch size", attend, q=Input((1, 4, 5, 8)), k=k, v=k)
    refused(ShapeError, "of one size", attend, q=Input((2, 4, 5, 4)), k=k, v=k)
    refused(ShapeError, "multiple of the key's", attend, q=Input((2, 3, 5, 8)), k=k, v=k)
    refused(DtypeError, "one dtype", attend, q=q, k=k, v=Input((2, 2, 7, 8), "float16"))
    refused(DtypeError, "floating-point", attend, **dict.fromkeys("qkv", Input((2, 4, 5, 8), "int32")))
    refused(ShapeError, "in dimension 2: expand it first", attend, q=q, k=k, v=k, mask=Input((2, 1, 1, 7), "bool"))
    refused(ShapeError, "in dimension 1: expand it first", attend, q=q, k=k, v=k, mask=Input((2, 2, 5, 7), "bool"))
    refused(ShapeError, "mask of four dimensions", attend, q=q, k=k, v=k, mask=Input((5, 7), "bool"))
    refused(DtypeError, "one dtype", attend, q=q, k=k, v=k, mask=Input((2, 1, 5, 7), "float16"))
    lengths = Input((2,), "int32")
    for match, kind, at, spec, attributes in (
        ("lengths of queries", ArgumentError, 5, lengths, {}),
        ("does not say where the last column", ArgumentError, 6, lengths, {"causal_kind": "LOWER_RIGHT"}),
        ("without a softmax", ArgumentError, 6, lengths, {"norm_op": "NONE"}),
        ("lengths of attention are int32", DtypeError, 6, Input((2,), "int64"), {}),
        ("one length for each", ShapeError, 6, Input((1,), "int32"), {}),
    ):
        refused(
            kind,
            match,
            lambda q, k, n, i=at, a=attributes: layers.add_attention_v2(q, k, k, *(None,) * (i - 3), n, **a),
            q=q,
            k=k,
            n=spec,
        )
    for match, attributes in {
        "no such normalization": {"norm_op": "MAX"},
        "no such causal mask": {"causal_kind": "LEFT"},
        "a scale and a type": {"normalization_quantize_to_type": "int8"},
    }.items():
        refused(ArgumentError, match, lambda q, k, a=attributes: layers.add_attention_v2(q, k, k, **a), q=q, k=k)
    for match, kind, scale, to in (
        ("no weights of this type", DtypeError, 0.1, "int32"),
        ("is one number", ShapeError, np.ones(2, np.float32), "int8"),
        ("a scale and a type", ArgumentError, 0.1, None),
    ):
        refused(
            kind,
            match,
            lambda q, k, s=scale, t=to: layers.add_attention_v2(q, k, k, None, s, normalization_quantize_to_type=t),
            q=q,
            k=k,
        )


# --- rotary positions


@st.composite
def rotations(draw):
    heads, length, size = draw(st.integers(1, 3)), draw(st.integers(1, 5)), 2 * draw(st.integers(1, 5))
    turned = draw(st.sampled_from([0, *range(2, size + 1, 2)]))
    half = (turned or size) // 2
    inputs = {"x": values((2, heads, length, size), seed=1)}
    tabled = draw(st.booleans())
    for seed, name in enumerate(("cos", "sin")):
        inputs[name] = values((6, half) if tabled else (draw(st.sampled_from([1, 2])), length, half), seed=seed)
    if tabled:
        inputs["ids"] = np.random.default_rng(0).integers(0, 6, (2, length))
    return inputs, {"interleaved": draw(st.booleans()), "rotary_embedding_dim": turned}


@given(rotations(), st.booleans())
@settings(max_examples=15)
def test_rotary_embedding(case, dynamic):
    inputs, options = case
    shapes = None
    if dynamic:
        first = {n: BATCH if a.shape[0] == 2 else 1 for n, a in inputs.items()}
        shapes = {"x": (BATCH, inputs["x"].shape[1], ROWS, inputs["x"].shape[3])}
        if "ids" in inputs:
            shapes["ids"] = (BATCH, ROWS)
        else:
            shapes |= {n: (first[n], ROWS, inputs[n].shape[2]) for n in ("cos", "sin")}
    graph = recorded(lambda x, cos, sin, ids=None: F.rotary_embedding(x, cos, sin, ids, **options), inputs, shapes)
    x, *tables = in_double(inputs).values()
    if "ids" not in inputs:
        tables = [t.expand(2, -1, -1) for t in tables]
    wanted = torch.onnx.ops.rotary_embedding(x, *tables, **options)
    compare(graph, inputs, wanted, "add_rotary_embedding", compile=False)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("tabled", [False, True])
def test_rotary_embedding_compiles(interleaved, dtype, tabled):
    specs = {n: Input((10, 4) if tabled else (BATCH, ROWS, 4), dtype) for n in ("cos", "sin")}
    graph = trtnet.record(
        lambda x, cos, sin, ids: F.rotary_embedding(x, cos, sin, ids if tabled else None, interleaved=interleaved),
        x=Input((BATCH, 4, ROWS, 8), dtype),
        **specs,
        ids=Input((BATCH, ROWS), "int32"),
    )
    assert {layer.kind for layer in graph.layers} <= {"rotary_embedding", "cast"}
    lower_and_compare(graph)


def test_rotary_embedding_of_three_dimensions():
    inputs = {"x": values((2, 5, 12), seed=1), "cos": values((2, 5, 2), seed=2), "sin": values((2, 5, 2), seed=3)}
    graph = recorded(lambda x, cos, sin: F.rotary_embedding(x, cos, sin, num_heads=3), inputs, {"x": (2, 5, 12)})
    wanted = torch.onnx.ops.rotary_embedding(*in_double(inputs).values(), num_heads=3)
    compare(graph, inputs, wanted, "add_rotary_embedding")


def test_rotary_embedding_refuses():
    def turn(x, cos, sin, ids=None):
        return layers.add_rotary_embedding(x, cos, sin, *(() if ids is None else (ids,)))

    x, cos = Input((2, 4, 5, 8)), Input((2, 5, 4))
    refused(ShapeError, "turns pairs", turn, x=Input((2, 4, 5, 7)), cos=cos, sin=cos)
    refused(ShapeError, "cosines .* do not fit", turn, x=x, cos=Input((2, 5, 8)), sin=cos)
    refused(ShapeError, "cosines .* do not fit", turn, x=x, cos=Input((1, 5, 4)), sin=cos)
    refused(ShapeError, "another shape than the cosines", turn, x=x, cos=cos, sin=Input((2, 5, 2)))
    refused(DtypeError, "one dtype", turn, x=Input((2, 4, 5, 8), "float16"), cos=cos, sin=cos)
    table = Input((9, 4))
    refused(DtypeError, "ids .* are int64", turn, x=x, cos=table, sin=table, ids=Input((2, 5), "int32"))
    refused(ShapeError, "a position for each", turn, x=x, cos=table, sin=table, ids=Input((5, 2), "int64"))
    for turned in (3, 10, -2):
        refused(
            ShapeError,
            "even rotary_embedding_dim",
            lambda x, cos, t=turned: layers.add_rotary_embedding(x, cos, cos, rotary_embedding_dim=t),
            x=x,
            cos=cos,
        )
    flat = Input((2, 5, 12))
    refused(ArgumentError, "needs num_heads", lambda x, c: F.rotary_embedding(x, c, c), x=flat, c=cos)
    refused(ShapeError, "multiple of num_heads", lambda x, c: F.rotary_embedding(x, c, c, num_heads=5), x=flat, c=cos)


def test_a_position_that_is_no_row_of_the_table_is_an_error():
    inputs = {"x": values((1, 1, 2, 4)), "t": values((3, 2)), "ids": np.array([[-1, 0]])}
    graph = recorded(lambda x, t, ids: F.rotary_embedding(x, t, t, ids), inputs, None)
    with pytest.raises(trtnet.TrtnetError, match="a position is negative: -1"):
        trtnet.reference(graph)(**inputs)


# --- caches of keys and values


def updated(cache, update, where):
    """By hand: what would lie beyond the cache is left out."""
    wanted = cache.copy()
    for row, first in enumerate(where):
        for place in range(update.shape[2]):
            if first + place < cache.shape[2]:
                wanted[row, :, first + place] = update[row, :, place]
    return wanted


CACHE = {"cache": (BATCH, 2, 6, 4), "update": (BATCH, 2, Dim("length", 1, 2, 6), 4), "where": (BATCH,)}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("length", [1, 3, 6])
def test_cache_update(length, dynamic):
    where = np.minimum(np.array([2, 0, 5]), 6 - length).astype(np.int32)
    inputs = {"cache": values((3, 2, 6, 4), seed=1), "update": values((3, 2, length, 4), seed=2), "where": where}
    graph = recorded(
        lambda cache, update, where: layers.add_kv_cache_update(cache, update, where, cache_mode="LINEAR"),
        inputs,
        CACHE if dynamic else None,
    )
    wanted = torch.from_numpy(updated(*inputs.values())).double()
    assert [layer.kind for layer in graph.for_provider(needs_rtx()).layers] == ["kv_cache_update"]
    compare(graph, inputs, wanted, "add_kv_cache_update")
    beyond = inputs | {"where": np.array([5, 6, 9], np.int32)}
    for one in (graph, composed_without(graph, "add_kv_cache_update")):
        np.testing.assert_array_equal(trtnet.reference(one)(**beyond), updated(*beyond.values()))
        if one is graph:
            with pytest.raises(trtnet.TrtnetError, match="a position of a cache update is negative: -1"):
                trtnet.reference(one)(**inputs | {"where": np.array([0, -1, 0], np.int32)})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_cache_update_of_half_types(dtype):
    specs = {n: Input(shape, "int32" if n == "where" else dtype) for n, shape in CACHE.items()}
    lower_and_compare(
        trtnet.record(lambda cache, update, where: layers.add_kv_cache_update(cache, update, where), **specs)
    )


LONGEST = Dim("longest", 3, 6, 8)


@pytest.mark.parametrize(
    ("function", "longest"),
    [
        (lambda c, u, w: layers.add_kv_cache_update(c * 2, u, w), 6),
        (lambda c, u, w: layers.add_kv_cache_update(c, u, w) * 2, 6),
        (lambda c, u, w: (layers.add_kv_cache_update(c, u, w), c * 2), 6),
        (lambda c, u, w: (layers.add_kv_cache_update(c, u, w), layers.add_kv_cache_update(c, u * 2, w)), 6),
        (lambda c, u, w: (layers.add_kv_cache_update(c, u, w), c.clone()), 6),
        (lambda c, u, w: layers.add_kv_cache_update(c, u, w), LONGEST),
        (lambda c, u, w: layers.add_kv_cache_update(c, c[:, :, :3], w), 6),
    ],
)
def test_a_cache_that_is_not_tensorrts_own_is_composed(function, longest):
    """TensorRT takes inputs and outputs alone, and would write into what others read."""
    graph = trtnet.record(function, c=Input((3, 2, longest, 4)), u=Input((3, 2, 3, 4)), w=Input((3,), "int32"))
    provider = needs_rtx()
    assert "kv_cache_update" not in [layer.kind for layer in graph.for_provider(provider).layers]
    lower_and_compare(graph)
    inputs = {"c": values((3, 2, 6, 4), seed=1), "u": values((3, 2, 3, 4), seed=2), "w": np.array([0, 3, 1], np.int32)}
    found, wanted = (trtnet.reference(one)(**inputs) for one in (graph.for_provider(provider), graph))
    np.testing.assert_array_equal(found, wanted)


def test_cache_update_refuses():
    def update(c, u, w):
        return layers.add_kv_cache_update(c, u, w)

    c, u, w = Input((3, 2, 6, 4)), Input((3, 2, 3, 4)), Input((3,), "int32")
    refused(ShapeError, "a cache of four dimensions", update, c=Input((3, 6, 4)), u=u, w=w)
    refused(ShapeError, "another size than its cache in dimension 1", update, c=c, u=Input((3, 1, 3, 4)), w=w)
    refused(ShapeError, "longer than its cache", update, c=c, u=Input((3, 2, 7, 4)), w=w)
    refused(ShapeError, "one position for each", update, c=c, u=u, w=Input((1,), "int32"))
    refused(DtypeError, "positions .* are int32", update, c=c, u=u, w=Input((3,), "int64"))
    refused(DtypeError, "one dtype", update, c=c, u=Input((3, 2, 3, 4), "float16"), w=w)
    refused(DtypeError, "floating-point", update, c=Input((3, 2, 6, 4), "int32"), u=Input((3, 2, 3, 4), "int32"), w=w)
    wrong = lambda c, u, w: layers.add_kv_cache_update(c, u, w, cache_mode="RING")  # noqa: E731
    refused(ArgumentError, "no such mode", wrong, c=c, u=u, w=w)


# --- together


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("batch", [2, BATCH])
def test_decoding_token_by_token_is_causal_attention(batch, composed):
    graph = decoding(batch)
    state = graph.state_dict()
    if composed:
        graph = composed_without(graph, *ATTENTION, "add_rotary_embedding", "add_kv_cache_update")
    lower_and_compare(graph)
    engine = trtnet.reference(graph, dtype="float64", raw=True)
    tokens = values((2, 5, 16))
    keys = cached = torch.full((2, 2, 6, 8), 7.0, dtype=torch.float64)
    for place, wanted in enumerate(decoded_by_torch(state, tokens).swapaxes(0, 1)):
        x = torch.from_numpy(tokens[:, place : place + 1]).double()
        y, keys, cached = engine(x, keys, cached, torch.full((2,), place, dtype=torch.int32))
        np.testing.assert_allclose(y[:, 0].numpy(), wanted, rtol=1e-7, atol=1e-7)


def test_decoding_uses_tensorrts_own_layers():
    kinds = [layer.kind for layer in decoding(BATCH, dtype="float16").for_provider(needs_rtx()).layers]
    assert [kinds.count(kind) for kind in ("attention", "rotary_embedding", "kv_cache_update")] == [1, 2, 2]
    lower_and_compare(decoding(BATCH, dtype="float16"))
