"""Masks and `nonzero`: sizes that the data decides, against torch."""

import numpy as np
import pytest
from families import check, check_concrete, shapes, values
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import ArgumentTypeError, DtypeError, ProviderError, ShapeError, UnsupportedError

torch = pytest.importorskip("torch")

BATCH = Dim("batch", min=1, opt=4, max=8)


def run(function, inputs, dims=None):
    # TensorRT-RTX infers the shapes, and has no runners to compile
    return check(function, inputs, dims, compile=False)


@given(shapes(max_rank=4), st.sampled_from(["float32", "int64", "bool"]), st.integers(0, 99))
def test_nonzero(given_shape, dtype, seed):
    sizes, recorded = given_shape
    x = values(sizes, dtype, seed)
    x[np.random.default_rng(seed).random(sizes) < 0.4] = 0

    def function(T, x):
        return x.nonzero(), T.argwhere(x), *x.nonzero(as_tuple=True), *T.where(x != 0)

    run(function, {"x": x}, {"x": recorded})


@given(shapes(min_rank=1, max_rank=4), st.data())
def test_masks_over_some_dimensions(given_shape, data):
    sizes, recorded = given_shape
    first = data.draw(st.integers(0, len(sizes) - 1))
    last = data.draw(st.integers(first + 1, len(sizes)))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(sizes[first:last]) < 0.5
    run(
        lambda T, x, mask: x[(slice(None),) * first + (mask,)],
        {"x": values(sizes), "mask": mask},
        {"x": recorded, "mask": recorded[first:last]},
    )


@pytest.mark.parametrize("threshold", [-9.0, 0.0, 9.0], ids=["all", "some", "none"])
def test_what_comes_after(threshold):
    """Elementwise, casts, reshapes, joins, reductions, and sizes computed from the count."""

    def function(T, x):
        mask = x > threshold
        y = x[mask]
        count = y.shape[0]
        index = mask.nonzero()
        return (
            (y * y + 1).exp(), y.to(T.int32), y.reshape(-1, 1), y[: count // 2], y[1::2], y.sum(),
            T.cat([y, x[0]]), T.stack([y, y], 1), T.zeros(count, dtype=T.int64), T.arange(count), index.sum(1),
            T.where(y > 0, y, 0), y[:, None] * x[0], index[:, 0], x[mask] * y, index.flip(1),
        )  # fmt: skip

    graph = run(function, {"x": values((4, 5))}, {"x": (BATCH, 5)})
    shown = [str(t.shape) for t in graph.outputs.values()]
    assert shown[:5] == ["(nonzero_0,)", "(nonzero_0,)", "(nonzero_0, 1)", "(nonzero_0//2,)", shown[4]]
    assert shown[6] == "(nonzero_0 + 5,)"
    assert [layer.kind for layer in graph.layers].count("non_zero") == 1  # one mask


def test_a_dimension_and_a_mask():
    def function(T, x):
        mask = x[0, :, 0] > 0
        return x[:, mask], x[0, mask], x[..., 1:, :][:, :, x[0, 0] > 0], x[:, mask, 0], x[:, mask, None]

    run(function, {"x": values((3, 4, 5))}, {"x": (BATCH, 4, 5)})


def test_masked_select_broadcasts():
    def function(T, x):
        return x.masked_select(x > 0), T.masked_select(x, x[0] > 0), T.masked_select(x[0], x > 0)

    run(function, {"x": values((4, 5))}, {"x": (BATCH, 5)})
    check_concrete(function, values((4, 5)))


def test_selected_elements_are_written_back():
    def function(T, x):
        mask = x > 0
        y = x.clone()
        y[mask] = x[mask].sqrt()
        rows = x[:, 0] < 0
        z = x.clone()
        z[rows] = z[rows] * 2
        w = x.clone()
        w[:, x[0] > 0] = 7.0
        v = x.clone()
        v[mask] = 0.0
        return y, z, w, v

    run(function, {"x": values((4, 5))}, {"x": (BATCH, 5)})


def changed_at_masks(T, x, i):
    a, b, c, d, e, f, g, h, k = (x.clone() for _ in range(9))
    a[a > 0] += 1
    mask = b > 0
    b[mask] *= 2
    b[mask] = -b[mask]
    c[c > 0.5] = -c[c > 0.5] * x[c > 0.5] + 3
    rows = d[:, 0] > 0
    d[rows] = d[rows] * d[0] + T.arange(5)
    columns = e[0] > 0
    e[:, columns] /= 4
    f[1:, columns] -= f[:-1, columns].abs()
    g[:, 1:3][g[:, 1:3] > 0] = g[:, 1:3][g[:, 1:3] > 0].clamp(max=0.5)
    h[(h > 0) & (h < 1)] = T.where(x[(h > 0) & (h < 1)] > 0.2, 1.0, h[(h > 0) & (h < 1)].relu())
    k[k > 0] = i[k > 0].to(x.dtype)
    whole = i.clone()
    whole[whole != 0] //= 2
    whole[whole > 1] = (x[whole > 1] * 10).long() % 4
    return a, b, c, d, e, f, g, h, k, whole


def test_what_is_computed_of_a_selection_is_chosen_by_its_mask():
    inputs = {"x": values((4, 5)), "i": values((4, 5), "int64")}
    for batch in (4, Dim("batch", min=2, opt=4, max=8)):
        graph = check(changed_at_masks, inputs, {"x": (batch, 5), "i": (batch, 5)}, concrete=False)  # and compiled
        assert not graph.data_dims
        assert not {"non_zero", "gather", "scatter"} & {layer.kind for layer in graph.layers}
    check_concrete(changed_at_masks, *inputs.values())


def test_what_is_not_selected_does_no_harm():
    """Neither a whole number divided by 0, nor a derivative that is infinite or not a number there."""

    def function(T, x, i):
        y, z, w, whole = x.clone(), x.clone(), x.clone(), i.clone()
        y[y > 0] = y[y > 0].sqrt()
        z[z < 1] = z[z < 1].exp()
        w[w < 1] *= w[w < 1] * w[w < 1]
        whole[i != 0] = 12 // i[i != 0]
        return y, z, w, whole

    x, i = np.array([-1.0, 0.5, 1e3, np.inf, 1e30], np.float32), np.array([0, 1, -5, 0, 7])
    graph = run(function, {"x": x, "i": i})
    results = []
    for call, T in ((trtnet.to_torch(graph), torch), (lambda x, i: function(torch, x, i), torch)):
        given = T.from_numpy(x.copy()).requires_grad_()
        made = call(given, T.from_numpy(i))
        sum(m[m.isfinite()].sum() for m in made[:3]).backward()
        results.append(given.grad.numpy())
    np.testing.assert_array_equal(*results)


def test_a_selection_that_is_used_again_stays():
    def function(T, x):
        y = x.clone()
        chosen = y[y > 0]
        chosen += 1
        y[y > 0] = chosen
        count = x[x > 1].shape[0]
        z = x.clone()
        z[z > 1] = z[z > 1] * 2
        return y, chosen, z, T.arange(count)

    graph = run(function, {"x": values((4, 5))}, {"x": (BATCH, 5)})
    assert len(graph.data_dims) == 2
    assert [layer.kind for layer in graph.layers].count("non_zero") == 2


def test_two_masks_that_were_computed_in_one_way_are_one():
    def function(T, x, y):
        return x[x.abs() > 1] * y[x.abs() > 1], x[(x > 0) | (y > 0)] + y[(x > 0) | (y > 0)]

    run(function, {"x": values((4, 5)), "y": values((4, 5), seed=1)}, {"x": (BATCH, 5), "y": (BATCH, 5)})
    for other in (lambda x: x[x > 0] + x[x > 1], lambda x: x[x > 0] + x[x >= 0], lambda x: x[x > 0] + x[(x * 1) > 0.5]):
        with pytest.raises(ShapeError, match=r"cannot be broadcast|sizes differ"):
            trtnet.record(other, x=Input((BATCH, 5)))
    drawn = trtnet.record(lambda x: (x[trtnet.rand(5) > 0.5], x[trtnet.rand(5) > 0.5]), x=Input((5,)))
    assert len(drawn.data_dims) == 2


def test_a_mask_changed_in_place_is_another_mask():
    def function(T, x):
        mask = x > 0
        before = x[mask]
        mask.logical_not_()
        return before, x[mask]

    graph = run(function, {"x": values((4, 5))})
    assert len(graph.data_dims) == 2


def test_one_engine_gives_each_size():
    graph = trtnet.record(lambda x: x[x > 0], x=Input((BATCH, 6)))
    engine, module = trtnet.reference(graph), trtnet.to_torch(graph)
    for seed in range(6):
        x = values((3, 6), seed=seed)
        np.testing.assert_array_equal(engine(x=x), x[x > 0])
        given = torch.from_numpy(x).requires_grad_()
        result = module(given)
        result.square().sum().backward()
        np.testing.assert_allclose(given.grad.numpy(), np.where(x > 0, 2 * x, 0))


def test_such_an_output_cannot_be_bound():
    engine = trtnet.reference(trtnet.record(lambda x: x[x > 0], x=Input((6,))))
    with pytest.raises(ProviderError, match="output shapes the data decides"):
        engine.bind(torch.zeros(6))


def test_numbers_that_are_concrete():
    for x in (values((3, 4)), np.zeros((2, 3), np.float32), np.float32(2) * np.ones(()), np.zeros(())):
        check_concrete(
            lambda T, x: (x.nonzero(), T.argwhere(x), x.nonzero(as_tuple=True), T.where(x > 0)), np.asarray(x, "f4")
        )
    check_concrete(lambda T, x: (x[x > 0], x.masked_select(x < 0)), values((3, 4)))


def _error(kind, match, function, **specs):
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **specs)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__
    return str(caught.value)


def test_errors():
    x = Input((BATCH, 5))
    text = _error(ShapeError, "sizes differ", lambda x: x[x > 0] + x[x < 0], x=x)
    assert "a size that the data decides" in text
    assert "the same mask" in text
    _error(ShapeError, "must keep the number of elements", lambda x: x[x > 0].reshape(-1, 5), x=x)
    _error(ShapeError, "does not fit dimension 1", lambda x: x[x[:, :3] > 0], x=x)
    _error(ShapeError, "more dimensions", lambda x: x[x[None] > 0], x=x)
    _error(DtypeError, "a mask is of bools", lambda x: x.masked_select(x), x=x)
    _error(UnsupportedError, "without dimensions", lambda x: x.sum().nonzero(), x=x)
    _error(ArgumentTypeError, "or both values", lambda x: F.where(x > 0, x), x=x)

    def assign(x):
        y = x.clone()
        y[x > 0] = x[x < 0]
        return y

    _error(ShapeError, "cannot be broadcast", assign, x=x)
