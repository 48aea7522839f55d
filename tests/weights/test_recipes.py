"""Recipes: one definition, evaluated in NumPy and in torch."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trtnet
from trtnet import dtypes
from trtnet.errors import DtypeError, WeightsError
from trtnet.weights import recipes
from trtnet.weights.recipes import Leaf, Literal, NumPyOperations, Recipe, TorchOperations, Value, evaluate

torch = pytest.importorskip("torch")


def leaf(name, array):
    array = np.asarray(array)
    return Leaf(name, array.shape, dtypes.get(array.dtype), Value(array))


def numpy_value(weight):
    return evaluate(weight, lambda leaf: leaf.value.read())


def torch_value(weight, double=False):
    operations = TorchOperations("cpu", double)
    found = evaluate(weight, lambda leaf: trtnet_from_numpy(leaf.value.read()), operations)
    return operations.storage(found, weight.dtype)


def trtnet_from_numpy(array):
    from trtnet.basics.arrays import from_numpy

    return from_numpy(array)


def batch_norm(gamma, beta, mean, variance, epsilon=1e-5):
    """scale and shift, as BatchNorm folds them."""
    scale = recipes.divide(gamma, recipes.sqrt(recipes.add(variance, epsilon)))
    return scale, recipes.subtract(beta, recipes.multiply(mean, scale))


def random(seed, *shape, dtype=np.float32):
    return (np.random.default_rng(seed).random(shape) + 0.5).astype(dtype)


# --- what there is ----------------------------------------------------------------------------------------------------


def test_the_list_is_closed_and_versioned():
    assert {
        "add", "subtract", "multiply", "divide", "sqrt", "negate", "cast", "reshape", "permute", "concatenate", "take",
    } == recipes.OPERATIONS  # fmt: skip
    assert recipes.VERSION == 1
    with pytest.raises(AssertionError):
        Recipe("exp", (leaf("a", random(0, 2)),), (2,), dtypes.float32)


def test_names_are_the_path_or_path_and_recipe():
    a, b = leaf("bn.weight", random(0, 4)), leaf("bn.bias", random(1, 4))
    assert a.name == "bn.weight"
    assert Literal(np.ones(2, np.float32)).name is None
    assert recipes.add(a, b).name == "add(bn.weight,bn.bias)"
    assert recipes.add(a, 1e-5).name == "add(bn.weight,9.999999747378752e-06)"
    assert recipes.cast(a, dtypes.float16).name == "cast(bn.weight,to=float16)"
    assert recipes.reshape(a, (2, 2)).name == "reshape(bn.weight,shape=2x2)"
    assert recipes.take(a, 0, 1, 3).name == "take(bn.weight,axis=0,start=1,stop=3)"
    assert recipes.add(Literal(np.ones(2, np.float32)), 1.0).name is None


def test_different_recipes_have_different_names():
    a = leaf("a", random(0, 4))
    made = [
        recipes.reshape(a, (2, 2)),
        recipes.reshape(a, (4, 1)),
        recipes.reshape(a, (1, 4)),
        recipes.permute(a, (0,)),
        recipes.take(a, 0, 0, 2),
        recipes.take(a, 0, 2, 4),
        recipes.cast(a, dtypes.float16),
        recipes.cast(a, dtypes.bfloat16),
        recipes.add(a, 1.0),
        recipes.add(1.0, a),
        recipes.negate(a),
        recipes.sqrt(a),
        recipes.add(a, Literal(random(1, 4))),
    ]
    assert len({w.name for w in made}) == len(made)


def test_recipes_over_different_arrays_have_different_names():
    """Two weights of one name would be one array to the ledger."""
    a = leaf("a", random(0, 4))
    first = recipes.multiply(a, Literal(np.array([1, 2, 3, 4], np.float32)))
    second = recipes.multiply(a, Literal(np.array([4, 3, 2, 1], np.float32)))
    assert first.name != second.name


def test_what_changes_nothing_is_the_weight_itself():
    a = leaf("a", random(0, 4))
    assert recipes.cast(a, dtypes.float32) is a
    assert recipes.reshape(a, (4,)) is a


def test_leaves():
    scale, shift = batch_norm(*(leaf(n, random(i, 3)) for i, n in enumerate("gbmv")))
    assert sorted({x.name for x in scale.leaves()}) == ["g", "v"]
    assert sorted({x.name for x in shift.leaves()}) == ["b", "g", "m", "v"]
    assert list(Literal(np.ones(1, np.float32)).leaves()) == []


def test_shapes_counts_and_bytes():
    a = leaf("a", random(0, 2, 3, 4))
    assert recipes.permute(a, (2, 0, 1)).shape == (4, 2, 3)
    assert recipes.concatenate((a, a), 1).shape == (2, 6, 4)
    assert recipes.take(a, 2, 1, 3).shape == (2, 3, 2)
    assert recipes.cast(a, dtypes.float16).nbytes == 48
    assert (a.count, a.nbytes) == (24, 96)
    assert recipes.multiply(a, leaf("s", random(1, 3, 1))).shape == (2, 3, 4)


def test_a_literal_of_a_type_without_tensorrt_is_refused():
    with pytest.raises(DtypeError, match="TensorRT has no float64"):
        Literal(np.ones(2))


def test_a_weight_without_a_value():
    empty = Leaf("a", (2,), dtypes.float32, Value())
    with pytest.raises(WeightsError, match="no value") as caught:
        numpy_value(empty)
    assert caught.value.remedy


def test_a_value_is_made_once():
    made = []
    value = Value(make=lambda: made.append(1) or np.ones(2, np.float32))
    assert value.read() is value.read()
    assert made == [1]


# --- evaluating -------------------------------------------------------------------------------------------------------


def test_a_leaf_alone_is_not_copied():
    array = random(0, 8)
    assert numpy_value(leaf("a", array)) is array


def test_arithmetic_is_float32_and_the_cast_is_last():
    half = [leaf(n, random(i, 64, dtype=np.float16)) for i, n in enumerate("gbmv")]
    scale, shift = batch_norm(*half)
    g, b, m, v = (x.value.read().astype(np.float32) for x in half)
    wanted = g / np.sqrt(v + np.float32(1e-5))
    found = numpy_value(scale)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(numpy_value(recipes.cast(shift, dtypes.float16)), (b - m * wanted).astype(np.float16))
    assert numpy_value(recipes.cast(shift, dtypes.bfloat16)).dtype == ml_dtypes.bfloat16


@given(seed=st.integers(0, 1000), kind=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]))
def test_numpy_and_torch_agree(seed, kind):
    parameters = [leaf(n, random(seed + i, 3, 4).astype(kind)) for i, n in enumerate("gbmv")]
    scale, shift = batch_norm(*parameters)
    flat = recipes.reshape(recipes.concatenate((scale, recipes.negate(shift)), 1), (6, 4))
    weights = [
        scale,
        shift,
        recipes.permute(parameters[0], (1, 0)),
        recipes.take(recipes.permute(flat, (1, 0)), 0, 1, 3),
        recipes.cast(flat, dtypes.get(kind)),
        recipes.concatenate((parameters[0], parameters[1]), 0),
    ]
    bias, mean = (parameters[i].value.read().astype(np.float32) for i in (1, 2))
    subtracted = float(np.abs(bias).max() + np.abs(mean * numpy_value(scale)).max())
    for weight in weights:
        mine = numpy_value(weight)
        other = torch_value(weight)
        assert mine.shape == weight.shape == tuple(other.shape)
        assert mine.dtype == weight.dtype.numpy
        assert other.dtype == weight.dtype.torch
        # a last bit of the sizes that were subtracted
        tolerance = {"rtol": 2e-7, "atol": 2.0**-23 * subtracted} if mine.dtype == np.float32 else {"rtol": 1e-2}
        np.testing.assert_allclose(mine.astype(np.float32), other.float().numpy(), **tolerance)


def test_double_computes_in_float64():
    parameters = [leaf(n, random(i, 16)) for i, n in enumerate("gbmv")]
    _, shift = batch_norm(*parameters)
    found = torch_value(shift, double=True)
    g, b, m, v = (x.value.read().astype(np.float64) for x in parameters)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), b - m * (g / np.sqrt(v + np.float32(1e-5))), rtol=1e-14)


def test_torch_recipes_are_differentiable():
    parameters = [leaf(n, random(i, 4)) for i, n in enumerate("gbmv")]
    values = {x.name: torch.from_numpy(x.value.read()).requires_grad_() for x in parameters}
    scale, shift = batch_norm(*parameters)
    both = recipes.concatenate((scale, recipes.reshape(shift, (4,))), 0)
    evaluate(recipes.take(both, 0, 2, 7), lambda x: values[x.name], TorchOperations()).sum().backward()
    for name, value in values.items():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_every_operation_is_contiguous():
    a = leaf("a", random(0, 3, 4, 5))
    for weight in (
        recipes.permute(a, (2, 0, 1)),
        recipes.take(a, 1, 1, 3),
        recipes.concatenate((a, a), 2),
        recipes.add(a, 1.0),
    ):
        assert numpy_value(weight).flags.c_contiguous
        assert torch_value(weight).is_contiguous()


def test_arithmetic_without_dimensions_gives_arrays():
    a = leaf("a", np.array(3, np.float32))
    for weight in (recipes.add(a, 1.0), recipes.negate(a), recipes.sqrt(recipes.multiply(a, 2.0))):
        found = numpy_value(weight)
        assert type(found) is np.ndarray
        assert found.shape == ()
        assert hold_and_read(weight) == float(found)


def hold_and_read(weight):
    from trtnet.weights.ledger import Ledger

    return float(Ledger().hold(weight, weight.dtype, "layer").array)


def test_numpy_operations_never_give_the_input_back_changed():
    array = random(0, 4)
    before = array.copy()
    a = leaf("a", array)
    for weight in (recipes.negate(a), recipes.add(a, 1.0), recipes.sqrt(a), recipes.cast(a, dtypes.float16)):
        numpy_value(weight)
    np.testing.assert_array_equal(array, before)
    assert NumPyOperations.to(array, dtypes.float32) is array


def test_a_module_that_folds_carries_path_and_recipe():
    from trtnet import nn

    graph = trtnet.record(nn.BatchNorm2d(3), input=trtnet.Input((1, 3, 4, 4)))
    names = [weight.name for _, _, weight in graph.weights()]
    assert any("weight" in n and "running_var" in n and "(" in n for n in names if n)
