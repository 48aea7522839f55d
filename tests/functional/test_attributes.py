"""What tensors say of themselves: as torch's in inference, recorded, concrete and as parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import DtypeError, UnsupportedError

ATTRIBUTES = (
    "is_cpu", "is_cuda", "is_mkldnn", "is_mps", "is_sparse_csr", "is_xla", "is_xpu", "is_leaf", "grad", "grad_fn",
    "retains_grad", "ndim",
)  # fmt: skip
METHODS = ("is_floating_point", "is_conj", "is_neg")
DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool", "int8")
SIZES = [2, Dim("n", 1, 2, 4)]


def forward_of(body: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(trtnet.ones(2, 3), requires_grad=False)
            self.register_buffer("b", trtnet.ones(2, 3))

        def forward(self, x):
            return body(self, x)

    return Net()


@pytest.mark.parametrize("dtype", DTYPES)
def test_attributes_are_torchs(dtype: str) -> None:
    theirs = torch.ones(2, 3, dtype=getattr(torch, dtype))
    wanted = {name: getattr(theirs, name) for name in ATTRIBUTES} | {name: getattr(theirs, name)() for name in METHODS}
    seen = []

    def look(tensor: Any) -> None:
        seen.append({name: getattr(tensor, name) for name in ATTRIBUTES} | {n: getattr(tensor, n)() for n in METHODS})

    look(trtnet.ones(2, 3, dtype=getattr(trtnet, dtype)))
    trtnet.record(lambda x: look(x) or look(x.clone()) or x.clone(), x=Input((2, 3), dtype))
    assert seen == [wanted] * 3
    for name in METHODS:
        assert getattr(trtnet, name)(trtnet.ones(2, dtype=getattr(trtnet, dtype))) is getattr(torch, name)(theirs)


def test_parameters_have_them_too() -> None:
    def body(s, x):
        assert (s.w.is_leaf, s.w.grad, s.b.is_cpu, s.b.requires_grad) == (True, None, True, False)
        return x + s.w

    assert trtnet.record(forward_of(body), x=Input((2, 3))).frozen == {}


@pytest.mark.parametrize("size", SIZES)
def test_a_tensor_that_requires_gradients_is_the_same_tensor(size: Any) -> None:
    def body(T, x):
        y = x * 2
        before = y.requires_grad
        assert y.requires_grad_() is y
        between = y.requires_grad, (y * 2).requires_grad, y.detach().requires_grad
        y.requires_grad = False
        return before, between, y.requires_grad, y + 1

    with torch.no_grad():
        *wanted, _ = body(torch, torch.ones(2, 3))
    found = []
    graph = trtnet.record(lambda x: (r := body(trtnet, x), found.extend(r[:3]))[0][3], x=Input((size, 3)))
    assert found == wanted
    plain = trtnet.record(lambda x: (y := x * 2, y * 2)[0] + 1, x=Input((size, 3)))
    assert [layer.kind for layer in graph.layers] == [layer.kind for layer in plain.layers]
    trtnet.record(lambda x: x.retain_grad() or x + 1, x=Input((size, 3)))


def test_whole_numbers_require_no_gradients() -> None:
    with pytest.raises(RuntimeError, match="floating point"):
        torch.ones(2, dtype=torch.int64).requires_grad_()
    with pytest.raises(DtypeError, match="only floating-point tensors can require gradients"):
        trtnet.record(lambda x: x.requires_grad_(), x=Input((2,), "int64"))


@pytest.mark.parametrize("size", SIZES)
def test_data_is_a_tensor_of_the_same_memory(size: Any) -> None:
    def body(x):
        y = x * 2
        z = y.data
        z[0] = 5
        y.data.add_(1)
        part = y[:, 1].data
        part.zero_()
        return y, z

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = body(torch.from_numpy(array))
    found = trtnet.reference(trtnet.record(body, x=Input((size, 3))))(array)
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)
    made = trtnet.ones(2, 3)
    made.data[0] = 4
    assert made[0].tolist() == [4, 4, 4]
    assert made.data is not made


def test_memory_is_not_replaced() -> None:
    def tensor(s, x):
        y = x * 2
        y.data = x
        return y

    def parameter(s, x):
        s.w.data = trtnet.zeros(2, 3)
        return x + s.w

    for body, problem in ((tensor, "cannot be replaced"), (parameter, "a parameter cannot be changed in forward")):
        net = forward_of(body)
        with pytest.raises(UnsupportedError, match=problem) as caught:
            trtnet.record(net, x=Input((2, 3)))
        assert "test_attributes.py" in str(caught.value)
        assert net.w.numpy().all()

    def cured(x):
        y = x * 2
        y.copy_(x)
        return y

    np.testing.assert_array_equal(trtnet.reference(trtnet.record(cured, x=Input((2,))))(np.ones(2, np.float32)), 1)
    net = forward_of(parameter)
    net.w.data = trtnet.zeros(2, 3)
    assert not net.w.numpy().any()


@pytest.mark.parametrize("size", SIZES)
def test_real_numbers_in_place_of_complex_ones(size: Any) -> None:
    def body(T, x):
        y = x * 2
        same = [y.real, y.conj(), T.conj_physical(y), y.resolve_conj(), y.resolve_neg(), T.real(y)]
        assert all(one is y for one in same)
        return y.mH, y.isreal(), T.isreal(y)

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = body(torch, torch.from_numpy(array))
    graph = trtnet.record(lambda x: body(trtnet, x), x=Input((size, 3)))
    for one, other in zip(trtnet.reference(graph)(array), wanted):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(body(trtnet, trtnet.tensor(array)), wanted):
        np.testing.assert_array_equal(one.numpy(), other)


def test_is_nonzero_is_a_bool() -> None:
    def body(s, x):
        return x if trtnet.is_nonzero(s.b.sum()) and (s.w[0, 0] * 0 + 1).is_nonzero() else -x

    with pytest.warns(UserWarning, match="is read as a number"):
        graph = trtnet.record(forward_of(body), x=Input((2, 3)))
    assert sorted(graph.frozen) == ["b", "w"]
    np.testing.assert_array_equal(trtnet.reference(graph)(np.ones((2, 3), np.float32)), 1)
