"""Products of matrices against torch, in float64 and on TensorRT-RTX."""

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, needs_rtx
from hypothesis import given, settings
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from trtnet.graph.recorder import emit
from trtnet.layers.matrix import MatrixMultiply, is_of_weights, makers_of
from trtnet.rewriting.live_inputs import with_live


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@st.composite
def operands(draw):
    m, k, n = (draw(st.integers(1, 3)) for _ in range(3))
    batch = draw(st.lists(st.integers(1, 3), max_size=3))

    def front():
        cut = batch[draw(st.integers(0, len(batch))) :]
        return tuple(draw(st.sampled_from([1, size])) for size in cut)

    left = draw(st.one_of(st.just((k,)), st.builds(lambda f: (*f, m, k), st.just(front()))))
    right = draw(st.one_of(st.just((k,)), st.builds(lambda f: (*f, k, n), st.just(front()))))
    return values(left, 1), values(right, 2)


@given(operands(), st.sampled_from(["both", "left", "right"]))
@settings(max_examples=60)
def test_matmul(pair, recorded):
    a, b = pair
    if recorded == "both":
        check_against_torch(lambda a, b: a @ b, torch.matmul, {"a": a, "b": b}, compile=False)
    elif recorded == "left":
        other, theirs = trtnet.Array(b), torch.from_numpy(b).double()
        check_against_torch(lambda a: F.matmul(a, other), lambda a: a @ theirs, {"a": a}, compile=False)
    else:
        theirs = torch.from_numpy(a).double()
        check_against_torch(lambda b: a @ b, lambda b: theirs @ b, {"b": b}, compile=False)


@given(st.data())
@settings(max_examples=40)
def test_the_layer_alone(data):
    op0, op1 = (data.draw(st.sampled_from(["NONE", "TRANSPOSE", "VECTOR"])) for _ in range(2))
    m, k, n = (data.draw(st.integers(1, 3)) for _ in range(3))
    batch = data.draw(st.lists(st.integers(1, 3), max_size=2))
    front0, front1 = (tuple(data.draw(st.sampled_from([1, size])) for size in batch) for _ in range(2))
    shape0 = front0 + {"NONE": (m, k), "TRANSPOSE": (k, m), "VECTOR": (k,)}[op0]
    shape1 = front1 + {"NONE": (k, n), "TRANSPOSE": (n, k), "VECTOR": (k,)}[op1]

    def expected(a, b):
        a = {"NONE": a, "TRANSPOSE": a.mT if a.dim() > 1 else a, "VECTOR": a.unsqueeze(-2)}[op0]
        b = {"NONE": b, "TRANSPOSE": b.mT if b.dim() > 1 else b, "VECTOR": b.unsqueeze(-1)}[op1]
        y = a @ b
        y = y.squeeze(-1) if op1 == "VECTOR" else y
        return y.squeeze(-1 if op1 == "VECTOR" else -2) if op0 == "VECTOR" else y

    check_against_torch(
        lambda a, b: emit(MatrixMultiply((a, b), op0, op1)),
        expected,
        {"a": values(shape0, 1), "b": values(shape1, 2)},
        compile=False,
    )


@pytest.mark.parametrize(
    ("left", "right"), [((4,), (4,)), ((4,), (3, 4, 5)), ((3, 5, 4), (4,)), ((2, 1, 5, 4), (3, 4, 6)), ((5, 4), (4, 6))]
)
def test_matmul_compiles(left, right):
    check_against_torch(torch_like("matmul"), torch.matmul, {"a": values(left, 1), "b": values(right, 2)})


def torch_like(name):
    return lambda a, b: getattr(F, name)(a, b)


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("mm", (2, 3), (3, 4)),
        ("bmm", (2, 2, 3), (2, 3, 4)),
        ("mv", (2, 3), (3,)),
        ("dot", (3,), (3,)),
        ("outer", (3,), (4,)),
        ("inner", (2, 3), (4, 3)),
        ("inner", (3,), (2, 4, 3)),
    ],
)
def test_named_products(name, left, right):
    a, b = values(left, 1), values(right, 2)
    check_against_torch(torch_like(name), getattr(torch, name), {"a": a, "b": b}, compile=False)
    concrete = getattr(F, name)(trtnet.Array(a), trtnet.Array(b)).numpy()
    np.testing.assert_allclose(
        concrete, getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy(), atol=1e-6
    )


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0, 2), (0.5, 3)])
def test_sums_of_products(beta, alpha):
    a, b, c = values((2, 3), 1), values((3, 4), 2), values((4,), 3)
    for name, inputs in (("addmm", {"c": c, "a": a, "b": b}), ("baddbmm", {"c": c, "a": a[None], "b": b[None]})):
        check_against_torch(
            lambda c, a, b, name=name: getattr(F, name)(c, a, b, beta=beta, alpha=alpha),
            lambda c, a, b, name=name: getattr(torch, name)(c, a, b, beta=beta, alpha=alpha),
            inputs,
            compile=False,
        )


def test_dynamic_batch():
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=3, max=8)
    weight = values((5, 4), 3)

    def forward(x, w, transpose):
        return x @ transpose(x), x @ w.T, transpose(x) @ x

    theirs = torch.from_numpy(weight).double()
    graph = check_against_torch(
        lambda x: forward(x, trtnet.Array(weight), lambda t: t.transpose(-1, -2)),
        lambda x: forward(x, theirs, lambda t: t.mT),
        {"x": values((2, 3, 4))},
        shapes={"x": (batch, length, 4)},
    )
    assert [str(o.shape) for o in graph.outputs.values()] == [
        "(batch, length, length)",
        "(batch, length, 5)",
        "(batch, 4, 4)",
    ]


@given(st.lists(st.integers(1, 4), min_size=0, max_size=3), st.booleans(), st.sampled_from(["constant", "input"]))
@settings(max_examples=30)
def test_linear(front, bias, weights):
    x, w, b = values((*front, 3)), values((4, 3), 1), values((4,), 2) if bias else None
    if weights == "input":
        inputs = {"x": x, "w": w} | ({"b": b} if bias else {})
        check_against_torch(lambda x, w, b=None: F.linear(x, w, b), torch.nn.functional.linear, inputs, compile=False)
        return
    mine = [None if v is None else trtnet.Array(v) for v in (w, b)]
    theirs = [None if v is None else torch.from_numpy(v).double() for v in (w, b)]
    check_against_torch(
        lambda x: F.linear(x, *mine), lambda x: torch.nn.functional.linear(x, *theirs), {"x": x}, compile=False
    )


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3)])
def test_linear_compiles(shape):
    w, b = values((4, 3), 1), values((4,), 2)
    check_against_torch(
        lambda x: F.linear(x, trtnet.Array(w), trtnet.Array(b)),
        lambda x: torch.nn.functional.linear(x, torch.from_numpy(w).double(), torch.from_numpy(b).double()),
        {"x": values(shape)},
    )


def test_linear_with_one_output():
    w = values((3,), 1)
    check_against_torch(
        lambda x: F.linear(x, trtnet.Array(w), trtnet.Array(np.float32(0.5))),
        lambda x: torch.nn.functional.linear(x, torch.from_numpy(w).double(), torch.tensor(0.5).double()),
        {"x": values((2, 4, 3))},
        compile=False,
    )


EQUATIONS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("bhqd, bhkd -> bhqk", [(1, 2, 3, 4), (1, 2, 5, 4)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,...jk->...ik", [(5, 2, 3, 4), (2, 4, 5)]),
    ("...d,d", [(2, 3, 4), (4,)]),
    ("BNd,BMd->BNMd", [(2, 3, 4), (2, 5, 4)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("i,j->ij", [(2,), (3,)]),
    ("bi,oij,bj->bo", [(2, 3), (4, 3, 5), (2, 5)]),
    ("nchw,ncvw->nhv", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum(equation, shapes):
    inputs = {name: values(shape, seed) for seed, (name, shape) in enumerate(zip("abc", shapes, strict=False))}

    def call(einsum):
        return lambda *args, **named: einsum(equation, *args, *named.values())

    arguments = ", ".join(inputs)
    ours = eval(f"lambda {arguments}: einsum(equation, {arguments})", {"einsum": F.einsum, "equation": equation})
    check_against_torch(ours, call(torch.einsum), inputs)
    concrete = F.einsum(equation, [trtnet.Array(a) for a in inputs.values()])
    np.testing.assert_allclose(
        concrete.numpy(), torch.einsum(equation, *map(torch.from_numpy, inputs.values())).numpy(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dims", [0, 1, 2, ([0], [1]), ([0, -1], [1, 0])])
def test_tensordot(dims):
    a, b = (values((2, 2), 1), values((2, 2), 2)) if isinstance(dims, int) else (values((2, 3), 1), values((3, 2), 2))
    check_against_torch(
        lambda a, b: F.tensordot(a, b, dims), lambda a, b: torch.tensordot(a, b, dims), {"a": a, "b": b}, compile=False
    )
    np.testing.assert_allclose(
        F.tensordot(trtnet.Array(a), trtnet.Array(b), dims).numpy(),
        torch.tensordot(torch.from_numpy(a), torch.from_numpy(b), dims).numpy(),
        rtol=1e-5,
    )


@pytest.mark.parametrize("equation", ["i->", "i->i", "ij->j", "ij", "ij->ji", "ii"])
@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_einsum_of_concrete_integers_sums_as_torchs(equation, dtype):
    array = np.ones((2, 2) if "j" in equation or equation == "ii" else 3, dtype)
    found, wanted = F.einsum(equation, trtnet.Array(array)), torch.einsum(equation, torch.from_numpy(array))
    assert (str(found.dtype), found.tolist()) == (str(wanted.dtype).removeprefix("torch."), wanted.tolist())


def test_einsum_of_dynamic_sizes():
    batch = Dim("batch", min=1, opt=2, max=4)
    check_against_torch(
        lambda a: F.einsum("bij,bkj->bik", a, a),
        lambda a: torch.einsum("bij,bkj->bik", a, a),
        {"a": values((2, 3, 4))},
        shapes={"a": (batch, 3, 4)},
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    to = trtnet.dtypes.get(dtype).numpy
    x, w, b = (values(s, i).astype(to) for i, s in enumerate([(2, 3), (4, 3), (4,)]))

    def forward(x):
        weight = trtnet.Array(w)
        return F.linear(x, weight, trtnet.Array(b)), x @ weight.T, F.einsum("ij,kj->ik", x, weight)

    graph = trtnet.record(forward, x=Input(x.shape, dtype))
    lower_and_compare(graph)
    found = trtnet.reference(graph)(x=x)
    wide = [a.astype(np.float32) for a in (x, w, b)]
    for mine, theirs in zip(
        found, (wide[0] @ wide[1].T + wide[2], wide[0] @ wide[1].T, wide[0] @ wide[1].T), strict=True
    ):
        assert mine.dtype == to
        np.testing.assert_allclose(mine.astype(np.float32), theirs, atol=0.05)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: x @ x, ShapeError, "the inner sizes of a matrix multiplication differ"),
        (lambda x: F.bmm(x, x), ShapeError, "bmm takes tensors of 3 and 3 dimensions"),
        (lambda x: F.mm(x, x.half().transpose(0, 1)), DtypeError, "one dtype"),
        (lambda x: (x > 0) @ (x > 0).transpose(0, 1), DtypeError, "floating-point"),
        (lambda x: F.matmul(x, x.sum()), ShapeError, "one dimension or more"),
        (lambda x: F.linear(x, trtnet.Array(values((4, 2)))), ShapeError, "3 features in the last|in_features equal"),
        (
            lambda x: F.linear(x, trtnet.Array(values((4, 3))), trtnet.Array(values((3,)))),
            ShapeError,
            "bias of this linear",
        ),
        (lambda x: F.linear(x, trtnet.Array(values((4, 3)).astype(np.float16))), DtypeError, "must have one dtype"),
        (lambda x: F.einsum("ii,i->i", x, x[0]), UnsupportedError, "no diagonals"),
        (lambda x: F.einsum("ij,jk->ik", x), ArgumentError, "as many terms as operands"),
        (lambda x: F.einsum("ijk->ij", x), ShapeError, "does not fit its operand"),
        (lambda x: F.einsum("ij->ik", x), ArgumentError, "only such as the operands have"),
        (lambda x: F.einsum("i?->i", x), ArgumentError, "letters"),
        (lambda x: F.einsum("ij,ik->jk", x, x[:1, :].reshape(3, 1)), ShapeError, "index 'i' has two sizes"),
        (lambda x: F.bilinear(x, x, x), ShapeError, r"a weight \(out, in1, in2\)"),
        (lambda x: F.bilinear(x, x[:1], trtnet.zeros(4, 3, 3)), ShapeError, "alike but for the last size"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        trtnet.record(lambda x: call(x), x=Input((2, 3)))
    assert caught.value.where.file == __file__


# --- what TensorRT 8.6 gets wrong in refittable networks


class First(nn.Module):
    """Tokens that attend to each other, and a head on the first one (or `pick`'s)."""

    def __init__(self, pick=lambda x: x[:, 0], dtype="float32"):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head, self.pick = nn.Linear(8, 3), pick
        self.to(dtype)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head(self.pick(x))


def as_8_6(monkeypatch):
    """The provider that a build uses, with this fault of 8.6."""
    needs_rtx()
    found = trtnet.provider.load("tensorrt_rtx")
    monkeypatch.setattr(found, "refits_attention", False)
    return found


def products(graph):
    """For each product: whether its left and its right side are weights."""
    makers = makers_of(graph.layers)
    return [
        tuple(is_of_weights(operand, makers) for operand in layer.inputs)
        for layer in graph.layers
        if isinstance(layer, MatrixMultiply)
    ]


ATTENTION = [(False, False)] * 2  # queries by keys, and what is left of them by values
RIGHT, LEFT = (False, True), (True, False)


@pytest.mark.parametrize("batch", [3, Dim("batch", min=1, opt=2, max=5)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "pick", [lambda x: x[:, 0], lambda x: x.mean(1), lambda x: x.transpose(0, 1), lambda x: F.max(x, 1)[0], lambda x: x]
)
def test_weights_stand_on_the_left_where_a_refit_would_lose_the_order_of_rows(monkeypatch, pick, dtype, batch):
    graph = trtnet.record(First(pick, dtype), x=Input((batch, 5, 8), dtype))
    found = as_8_6(monkeypatch)
    refittable = graph.for_provider(found)
    assert products(refittable) == [RIGHT, *ATTENTION, LEFT, RIGHT], "the one behind the attention"
    assert products(graph.for_provider(found, refit=False)) == [RIGHT, *ATTENTION, RIGHT, RIGHT]

    x = values((3, 5, 8), 4).astype(np.float64)
    mine, plain = (trtnet.reference(g, dtype="float64", raw=True)(x=x) for g in (refittable, graph))
    np.testing.assert_allclose(mine, plain, rtol=1e-12, atol=1e-12)
    assert {o.name for _, _, o in refittable.weights() if o.name} == {o.name for _, _, o in graph.weights() if o.name}
    lower_and_compare(refittable)

    monkeypatch.setattr(found, "refits_attention", True)
    assert products(graph.for_provider(found)) == [RIGHT, *ATTENTION, RIGHT, RIGHT]


@pytest.mark.parametrize(
    "network",
    [
        lambda: (nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), (3, 8)),
        lambda: (nn.Sequential(nn.Linear(8, 8), nn.Flatten(), nn.Linear(40, 2)), (3, 5, 8)),
    ],
)
def test_what_a_refit_leaves_right_stays_as_it_is(monkeypatch, network):
    module, shape = network()
    found = as_8_6(monkeypatch)
    graph = trtnet.record(module, input=Input(shape))
    assert LEFT not in products(graph.for_provider(found))


class Heads(First):
    """Two heads apart, side by side; `scale` is what comes between them and the product with weights."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.out, self.scale = nn.Linear(16, 8), scale

    def forward(self, x):
        y = self.norm(x)
        heads = [F.softmax(F.matmul(a, a.transpose(1, 2)), -1) @ a for a in (y, y + 1)]
        joined = F.cat([F.where(y[..., :1] > 0, h.half().float(), 0.0) for h in heads], -1)
        return self.head(self.pick(x + self.out(joined if self.scale == 1 else joined * self.scale)))


@pytest.mark.parametrize(("scale", "side"), [(1.0, LEFT), (2.0, RIGHT)])
def test_what_is_moved_between_an_attention_and_a_product(monkeypatch, scale, side):
    found = as_8_6(monkeypatch)
    graph = trtnet.record(Heads(scale), x=Input((3, 5, 8)))
    assert products(graph.for_provider(found)) == [*ATTENTION, *ATTENTION, side, RIGHT]


def test_live_weights_stay_on_the_right(monkeypatch):
    found = as_8_6(monkeypatch)
    graph = trtnet.record(First(), x=Input((3, 5, 8)))
    live = with_live(graph, set(graph.parameters))
    assert LEFT not in products(live.for_provider(found))


def test_builds_say_whether_their_engines_will_be_refittable(monkeypatch):
    as_8_6(monkeypatch)
    graph = trtnet.record(First(), x=Input((3, 5, 8)))
    seen = []
    compose = MatrixMultiply.compose
    monkeypatch.setattr(MatrixMultiply, "compose", lambda self, *o: seen.append(self.name) or compose(self, *o))
    trtnet.build_plan(graph, "sm86")
    assert not seen
    trtnet.build_plan(graph, "sm86", refit=True)
    assert len(seen) == 1


@given(st.sampled_from([("NONE", "NONE"), ("NONE", "TRANSPOSE"), ("TRANSPOSE", "NONE"), ("TRANSPOSE", "TRANSPOSE")]))
@settings(max_examples=4)
def test_the_other_order_is_the_same_product(ops):
    a = values((2, 3, 4) if ops[0] == "NONE" else (2, 4, 3), 1)
    b = values((2, 4, 5) if ops[1] == "NONE" else (2, 5, 4), 2)

    def other(a, b):
        layer = MatrixMultiply((a, b), *ops)
        return layer.compose(F, a, b)

    left, right = (torch.from_numpy(x).double() for x in (a, b))
    expected = (left if ops[0] == "NONE" else left.mT) @ (right if ops[1] == "NONE" else right.mT)
    check_against_torch(other, lambda a, b: expected, {"a": a, "b": b}, compile=False)
