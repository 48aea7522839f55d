"""Arguments of wrong types: whatever is given to a function of trtnet.layers, what comes out is a TrtnetError."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import CASES, NEWER, recorded

import trtnet
from trtnet import Dim, Input, layers
from trtnet.basics.dtypes import dtype as Dtype
from trtnet.errors import ArgumentError, ArgumentTypeError, TrtnetError
from trtnet.graph.graph import weights_of
from trtnet.graph.tensor import Operand, Tensor
from trtnet.layers.adding import methods
from trtnet.layers.base import Layer
from trtnet.weights.recipes import evaluate

OF_ATTRIBUTES = [
    None, "text", 1.5, -3, 10**30, True, [1, "a"], (), {}, object(), [None], trtnet.float32, np.zeros((2, 2)),
    trtnet.tensor([1.0]), [[1]], (1, 1, 1, 1, 1), 1j,
]  # fmt: skip
OF_INPUTS = [None, "text", 1.5, object(), trtnet.tensor([1.0]), np.zeros((2, 3), np.float32), [1, 2], {}, 2**70]


@functools.cache
def examples() -> dict[str, Layer]:
    """One recorded layer for each method, from the networks that together use every kind."""
    found: dict[str, Layer] = {}
    for name in CASES | NEWER:
        for layer in recorded(name)[0].layers:
            for method, kind in methods().items():
                if type(layer) is kind:
                    found.setdefault(method, layer)  # type: ignore[arg-type]
    return found


def value(operand: Operand) -> Operand | np.ndarray:
    """Constants and weights as arrays."""
    weight = None if operand is None else weights_of(operand)
    if weight is None or operand is None:
        return operand
    array = np.asarray(evaluate(weight, lambda leaf: leaf.value.read()))
    return array.reshape([size for size in operand.shape if isinstance(size, int)])


def attributes(layer: Layer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in layer.attributes if name not in layer.chooses}


def added(method: str, operands: list[Any], given: dict[str, Any]) -> trtnet.Graph:
    """A network of one layer, with an input for each recorded tensor among the operands."""
    tensors = [o for o in dict.fromkeys(examples()[method].inputs) if type(value(o)) is Tensor]
    inputs = {f"x{i}": Input(tuple(o.shape), o.dtype) for i, o in enumerate(tensors) if o is not None}

    def forward(extra: Any, *found: Any) -> Any:
        of = dict(zip(map(id, tensors), found, strict=True))
        return getattr(layers, method)(*(of.get(id(o), o) for o in operands), **given), extra

    names = ["extra", *inputs]
    called: Any = eval(f"lambda {', '.join(names)}: forward({', '.join(names)})", {"forward": forward})
    return trtnet.record(called, extra=Input((1,)), **inputs)


def fits(declared: str, given: Any) -> bool:
    """Whether a value is of a field's declared type: written again, and not the code that is tested."""
    if " | " in declared:
        return any(fits(one, given) for one in declared.split(" | "))
    if declared.startswith("tuple["):
        inside, count = declared[6:-1].split(", ")
        whole = isinstance(given, (tuple, list)) and all(fits(inside, one) for one in given)
        return whole and (count == "..." or len(given) == 2)
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,), "SizeLike": (int, Dim), "float": (int, float), "str": (str,), "Dtype": (Dtype, str),
        "None": (type(None),), "bool": (bool,),
    }  # fmt: skip
    return isinstance(given, kinds[declared]) and isinstance(given, bool) == (declared == "bool")


def attempts(method: str) -> Iterator[tuple[str, list[Any], dict[str, Any], bool]]:
    """What is done wrong, the operands and the attributes, and whether it must be refused."""
    layer = examples()[method]
    operands, given = [value(o) for o in layer.inputs], attributes(layer)
    for name in given:
        declared = str(type(layer).__dataclass_fields__[name].type)
        for wrong in OF_ATTRIBUTES:
            yield f"{name}={wrong!r}", operands, given | {name: wrong}, not fits(declared, wrong)
    for index in range(len(operands)):
        for wrong in OF_INPUTS:
            must = isinstance(wrong, (str, list, dict)) or type(wrong) is object
            yield f"input {index} {wrong!r}", [*operands[:index], wrong, *operands[index + 1 :]], given, must
        yield f"{index} inputs", operands[:index], given, index < layer.input_counts[1]
    most = layer.input_counts[2]
    yield "too many", [*operands, *operands[:1] * 9], given, most is not None
    yield "an unknown attribute", operands, given | {"no_such": 1}, True


@pytest.mark.parametrize("method", methods())
def test_only_trtnets_errors_come_out(method: str) -> None:
    if method not in examples():
        pytest.fail(f"no network of tests/helpers/cases.py has {method}")
    layer = examples()[method]
    added(method, [value(o) for o in layer.inputs], attributes(layer))  # as it is
    for what, operands, given, must in attempts(method):
        try:
            added(method, operands, given)
        except TrtnetError as error:
            if error.where is None or error.where.file != __file__:
                pytest.fail(f"{method}, {what}: at {error.where}")
        except Exception as error:
            pytest.fail(f"{method}, {what}: {type(error).__name__}: {error}")
        else:
            assert not must, f"{method}, {what}: taken"


def pooled(x: Any, **given: Any) -> Any:
    whole = {"window_size": (1, 1), "stride": (1, 1), "pre_padding": (0, 0), "post_padding": (0, 0)}
    return layers.add_pooling_nd(x.reshape(1, 1, 2, 3), type="MAX", **(whole | given))


def gathered(x: Any, **given: Any) -> Any:
    return layers.add_dist_collective(x, operation="ALL_GATHER", **given)


@pytest.mark.parametrize(
    ("function", "kind", "match"),
    [
        (lambda x: layers.add_softmax(x, axis="1"), ArgumentTypeError, r"'axis'[\s\S]*: a whole number[\s\S]*'1'"),
        (lambda x: layers.add_softmax(x, axis=True), ArgumentTypeError, r"a whole number"),
        (lambda x: layers.add_reduce(x, op="SUM", axes=1), ArgumentTypeError, r"several of: a[\s\S]*\(1, 1\)"),
        (lambda x: layers.add_reduce(x, op="SUM", axes=(1,), keep_dims=1), ArgumentTypeError, "True or False"),
        (lambda x: layers.add_cast(x, to_type=3), ArgumentTypeError, r"a dtype[\s\S]*trtnet.float32"),
        (lambda x: layers.add_topk(x, op="MAXIMUM", k=1, axes=(1,)), ArgumentError, "expected: MAX or MIN"),
        (lambda x: layers.add_topk(x, op="MAX", k=-1, axes=(1,)), ArgumentError, "some elements of one dimension"),
        (lambda x: layers.add_topk(x, op="MAX", k=1, axes=(0, 1)), ArgumentError, "some elements of one dimension"),
        (lambda x: layers.add_cumulative(x, axis=0, op="PROD"), ArgumentError, "expected: SUM"),
        (lambda x: layers.add_matrix_multiply(x), ArgumentTypeError, r"expected: 2 of them[\s\S]*found: +Tensor"),
        (lambda x: layers.add_matrix_multiply(x, None), ArgumentTypeError, "the first 2 not None"),
        (lambda x: layers.add_identity(x, x), ArgumentTypeError, "expected: 1 of them"),
        (lambda x: layers.add_concatenation([x, None], axis=0), ArgumentTypeError, "1 or more of them"),
        (lambda x: layers.add_einsum(x, x, equation="ij->ij"), ArgumentError, r"2 terms before[\s\S]*ij->ij"),
        (lambda x: layers.add_einsum(x, equation="ij->ik"), ArgumentError, "letters of theirs"),
        (lambda x: pooled(x, stride=(0, 1)), ArgumentError, r"stride of a pool[\s\S]*1 or more[\s\S]*=\(1, 1\)"),
        (lambda x: pooled(x, post_padding=(0,)), ArgumentError, r"post_padding of a pooling[\s\S]*2 numbers"),
        (lambda x: gathered(x, num_ranks=2**31), ArgumentError, "groups are the ranks"),
        (lambda x: gathered(x, groups=(0, 0), num_ranks=2), ArgumentError, "groups are the ranks"),
        (lambda x: layers.add_one_hot(x.long(), np.array([0, 1]), depth=-1), ArgumentError, "number of classes"),
        (lambda x: layers.add_gather(x, np.array([0]), num_elementwise_dims=-1), ArgumentError, "0 to 1"),
    ],
)  # fmt: skip
def test_messages(function: Callable[[Any], Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((2, 3)))
    assert "test_wrong_arguments.py" in str(caught.value)


def test_what_has_the_type_in_another_form_is_taken() -> None:
    def forward(x: Any) -> Any:
        y = layers.add_reduce(x, op="SUM", axes=[np.int64(1)], keep_dims=np.True_)
        return layers.add_cast(y, to_type=np.float16), layers.add_quantize(x, 0.5, axis=None).dequantize()

    graph = trtnet.record(forward, x=Input((2, 3)))
    assert graph.outputs["output_0"].dtype is trtnet.float16
    graph.structure_hash()
