"""Arguments of wrong types of functions that take more than tensors: only TrtnetErrors come out, recorded or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Input
from trtnet import functional as F
from trtnet.errors import ArgumentTypeError, DtypeError, ShapeError, TrtnetError
from trtnet.torch_names import ops


def of(*shape: int, dtype: str = "float32") -> Input:
    return Input(shape, dtype)


STEPS, ZEROS = trtnet.tensor([0.1, 0.2]), trtnet.tensor([0, 0])
QKV = {"query": of(5, 2, 8), "key": of(5, 2, 8), "value": of(5, 2, 8)}
CALLS: dict[Callable[..., Any], dict[str, Any]] = {
    F.scaled_dot_product_attention: {
        "query": of(1, 2, 4, 8), "key": of(1, 2, 4, 8), "value": of(1, 2, 4, 8), "attn_mask": None, "dropout_p": 0.0,
        "is_causal": False, "scale": None, "enable_gqa": False,
    },
    F.rotary_embedding: {
        "X": of(1, 5, 16), "cos_cache": of(9, 4), "sin_cache": of(9, 4), "position_ids": of(1, 5, dtype="int64"),
        "interleaved": False, "num_heads": 2, "rotary_embedding_dim": 0,
    },
    F.multi_head_attention_forward: QKV | {
        "embed_dim_to_check": 8, "num_heads": 2, "in_proj_weight": of(24, 8), "in_proj_bias": of(24), "bias_k": None,
        "bias_v": None, "add_zero_attn": False, "dropout_p": 0.0, "out_proj_weight": of(8, 8), "out_proj_bias": of(8),
        "training": False, "key_padding_mask": None, "need_weights": True, "attn_mask": None,
    },
    F.fake_quantize_per_tensor_affine: {
        "input": of(2, 3), "scale": 0.1, "zero_point": 0, "quant_min": -128, "quant_max": 127,
    },
    F.fake_quantize_per_channel_affine: {
        "input": of(2, 3), "scale": STEPS, "zero_point": ZEROS, "axis": 0, "quant_min": -128, "quant_max": 127,
    },
    F.quantize_per_tensor: {"input": of(2, 3), "scale": 0.1, "zero_point": 0, "dtype": "int8"},
    F.quantize_per_channel: {"input": of(2, 3), "scales": STEPS, "zero_points": ZEROS, "axis": 0, "dtype": "int8"},
    F.dequantize: {"tensor": of(2, 3)},
    F.diff: {"input": of(2, 3), "n": 1, "dim": -1, "prepend": None, "append": None},
    F.cdist: {"x1": of(2, 3), "x2": of(4, 3), "p": 2.0, "compute_mode": None},
    F.combinations: {"input": of(4), "r": 2, "with_replacement": False},
    F.pdist: {"input": of(4, 3), "p": 2.0},
    F.dist: {"input": of(4, 3), "other": of(4, 3), "p": 2},
    F.trapezoid: {"y": of(4, 3), "x": None, "dx": 1, "dim": -1},
    F.cumulative_trapezoid: {"y": of(4, 3), "x": None, "dx": 1, "dim": -1},
    F.vander: {"x": of(4), "N": 3, "increasing": False},
    F.unravel_index: {"indices": of(4, dtype="int64"), "shape": (2, 3)},
    F.cross: {"input": of(4, 3), "other": of(4, 3), "dim": -1},
    F.isin: {"elements": of(4), "test_elements": of(3), "assume_unique": False, "invert": False},
    F.searchsorted: {"sorted_sequence": of(4), "input": of(3), "out_int32": False, "right": False, "side": None},
    F.bucketize: {"input": of(3), "boundaries": of(4), "out_int32": False, "right": False},
    F.unique: {"input": of(4), "sorted": True, "return_inverse": False, "return_counts": False, "dim": None},
    F.bincount: {"input": of(4, dtype="int64"), "weights": None, "minlength": 5},
    F.scan: {
        "body": lambda carry, x: (carry + x, carry), "init": of(3), "xs": of(4, 3), "dim": 0, "reverse": False,
        "length": None,
    },
    F.while_loop: {"condition": lambda *x: x[0].sum() < 9, "body": lambda *x: (x[0] + 9,), "init": [of(3)]},
    F.cond: {"predicate": of(dtype="bool"), "if_true": lambda: trtnet.ones(2), "if_false": lambda: trtnet.zeros(2)},
    ops.box_area: {"boxes": of(4, 4)},
    ops.box_iou: {"boxes1": of(4, 4), "boxes2": of(4, 4)},
    ops.box_convert: {"boxes": of(4, 4), "in_fmt": "xyxy", "out_fmt": "xywh"},
    ops.nms: {"boxes": of(4, 4), "scores": of(4), "iou_threshold": 0.5},
    ops.nms_mask: {"boxes": of(4, 4), "scores": of(4), "iou_threshold": 0.5},
    ops.batched_nms: {"boxes": of(4, 4), "scores": of(4), "idxs": of(4, dtype="int64"), "iou_threshold": 0.5},
}  # fmt: skip
WRONG = [
    None, "text", 1.5, -3, 10**30, True, [1, "a"], {}, object(), [None], float("nan"), trtnet.float32, np.zeros((2, 2)),
    trtnet.tensor([1.0]), [[1]], 1j,
]  # fmt: skip


def recorded(function: Callable[..., Any], given: dict[str, Any]) -> None:
    tensors = {name: one[0] if isinstance(one, list) else one for name, one in given.items() if has_input(one)}

    def forward(extra: Any, *found: Any) -> Any:
        values = {n: [x] if isinstance(given[n], list) else x for n, x in zip(tensors, found, strict=True)}
        if function is F.cond:
            function(*(given | values).values())
        else:
            function(**(given | values))
        return extra

    names = ["extra", *tensors]
    called: Any = eval(f"lambda {', '.join(names)}: forward({', '.join(names)})", {"forward": forward})
    trtnet.record(called, extra=Input((1,)), **tensors)


def has_input(value: Any) -> bool:
    return isinstance(value[0] if isinstance(value, list) and value else value, Input)


def computed(function: Callable[..., Any], given: dict[str, Any]) -> None:
    def concrete(value: Any) -> Any:
        if not has_input(value):
            return value
        return [concrete(value[0])] if isinstance(value, list) else trtnet.ones(*value.shape, dtype=value.dtype)

    values = {name: concrete(value) for name, value in given.items()}
    if function is F.cond:
        function(*values.values())
    else:
        function(**values)


@pytest.mark.parametrize("run", [recorded, computed])
@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_only_trtnets_errors_come_out(function: Callable[..., Any], run: Callable[..., None]) -> None:
    given = CALLS[function]
    if run is recorded and function not in (F.unique, F.bincount):
        run(function, given)  # as it is
    for name in given:
        for wrong in WRONG:
            if function is F.while_loop and name == "init" and isinstance(wrong, list):
                continue  # these reach the user's own functions
            try:
                run(function, given | {name: wrong})
            except TrtnetError as error:
                if error.where is None or "trtnet/" in error.where.file.replace("tests/", ""):
                    pytest.fail(f"{name}={wrong!r}: at {error.where}")
            except Exception as error:
                pytest.fail(f"{name}={wrong!r}: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("function", "kind", "match"),
    [
        (lambda x: F.rotary_embedding(x, x, x, num_heads="2"), ArgumentTypeError, "num_heads is a whole number"),
        (lambda x: F.rotary_embedding(x, x, x, num_heads=1, rotary_embedding_dim=2.0), ArgumentTypeError,
         "rotary_embedding_dim is a whole number"),
        (lambda x: F.rotary_embedding(x, x, x, interleaved=1), ArgumentTypeError, "interleaved is True or False"),
        (lambda x: F.rotary_embedding(x, x[0], x[0], x[0, :1], num_heads=1), DtypeError,
         r"position_ids are whole numbers[\s\S]*float32 \(1, 4\)[\s\S]*position_ids.long\(\)"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal="no"), ArgumentTypeError, "is_causal is True or"),
        (lambda x: F.quantize_per_tensor(x, 0.1, {}, "int8"), ArgumentTypeError, "a zero point is a whole number"),
        (lambda x: F.quantize_per_tensor(x, 0.1, False, "int8"), ArgumentTypeError, "a zero point is a whole number"),
        (lambda x: trtnet.scan("body", x, x), ArgumentTypeError, r"scan: body is no function[\s\S]*'body'"),
        (lambda x: trtnet.scan(len, x, 3.0), ShapeError, "xs has no dimension to be iterated over"),
        (lambda x: trtnet.scan(len, {"h": "x"}, x), ArgumentTypeError, r"carry\['h'\] is no tensor"),
        (lambda x: trtnet.cond("yes", len, len), ArgumentTypeError, "predicate of cond is one bool"),
        (lambda x: trtnet.cond(trtnet.ones(2), len, len), ShapeError, "predicate of cond is one bool"),
        (lambda x: trtnet.cond(True, 1, len), ArgumentTypeError, "if_true is no function"),
        (lambda x: F.vander(x[0, 0], 1 << 20), ShapeError, "1 to 4096 columns"),
        (lambda x: F.unravel_index(x, None), ArgumentTypeError, "a size must be a whole number"),
    ],
)  # fmt: skip
def test_messages(function: Callable[[Any], Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, x=Input((1, 4, 4)))
    assert "test_wrong_arguments.py" in str(caught.value)
