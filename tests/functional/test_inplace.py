"""Changes in place: concrete arrays are changed, recorded tensors are seen changed under every name, as in torch."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare, record

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import DtypeError, ShapeError, UnsupportedError
from trtnet.graph.graph import Graph
from trtnet.graph.tensor import Array
from trtnet.nn import Parameter

X = np.array([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]], np.float32)


def same_as_torch(function, *, expected=None, **inputs: np.ndarray) -> Graph:
    """`function` recorded gives what it gives in torch; `expected` where torch's module names differ."""
    inputs = inputs or {"x": X}
    torchs = expected or function
    return check_against_torch(
        function, lambda *tensors: torchs(*(t.clone() for t in tensors)), inputs, compile=False, rtol=1e-6
    )


def test_a_residual_added_in_place() -> None:
    def block(x):
        identity = x
        out = x * 2
        out = out.relu_()
        out += identity
        return out.relu()

    graph = same_as_torch(block)
    assert [layer.kind for layer in graph.layers] == [
        "constant",
        "elementwise",
        "activation",
        "elementwise",
        "activation",
    ]


def test_every_name_sees_the_change() -> None:
    def forward(x):
        y = x * 2
        identity = y
        y += 1
        return identity, y - identity

    same_as_torch(forward)


def test_an_input_changed_in_place() -> None:
    def forward(x):
        before = x * 10
        x += 1
        x *= 3
        return before, x

    graph = same_as_torch(forward)
    assert list(graph.inputs) == ["x"]
    assert graph.inputs["x"].layer is None
    lower_and_compare(graph)


def test_statements_without_a_result() -> None:
    def forward(x):
        y = x + 0.5
        y.masked_fill_(x > 2, -1.0)
        y.clamp_(-3, 3)
        y.mul_(2).sub_(1, alpha=0.5).div_(4)
        y.neg_().exp_()
        return y

    same_as_torch(forward)


@pytest.mark.parametrize(
    "statement",
    [
        "y += 2", "y -= x", "y *= 2.0", "y /= 2", "y //= 2", "y %= 2", "y **= 2", "y.add_(x, alpha=2)", "y.abs_()",
        "y.fill_(3)", "y.zero_()", "y.copy_(x)", "y.copy_(x[0])", "y.lerp_(x, 0.25)", "y.addcmul_(x, x, value=2)",
        "y.sigmoid_()", "y.tanh_()", "y.round_()", "y.pow_(2)", "y.clamp_(min=0)", "y.nan_to_num_()", "y.trunc_()",
    ],
)  # fmt: skip
def test_every_form(statement: str) -> None:
    def forward(x):
        y = x + 0.25
        alias = y
        scope = {"x": x, "y": y}
        exec(statement, scope)
        return alias * 1, y * 1

    same_as_torch(forward)


def test_masks_in_place() -> None:
    def forward(x):
        mask = x > 0
        mask &= x < 4
        mask |= x == -4
        mask ^= x == 1
        return mask.logical_not_()

    same_as_torch(forward)


@pytest.mark.parametrize(
    "name",
    ["ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Mish", "Hardtanh", "Hardsigmoid", "Hardswish"],
)
def test_modules_with_inplace(name: str) -> None:
    def made(package):
        class Net(package.Module):
            def __init__(self):
                super().__init__()
                self.act = getattr(package, name)(inplace=True)

            def forward(self, x):
                y = x * 2
                result = self.act(y)
                return result * 1, y + 1

        return Net()

    check_against_torch(made(nn), made(torch.nn), {"x": X}, compile=False, rtol=1e-6)


def test_the_module_changes_its_callers_tensor() -> None:
    act = nn.ReLU(inplace=True)

    def forward(x):
        y = x * 2
        act(y)
        return y.clone()

    same_as_torch(forward, expected=lambda x: torch.relu(x * 2))


def test_functions_named_with_an_underscore() -> None:
    def forward(x):
        y = x * 2
        F.relu_(y)
        F.leaky_relu_(y, 0.2)
        return y.clone()

    same_as_torch(forward, expected=lambda x: torch.relu(x * 2))


def test_a_value_with_another_handle_is_copied() -> None:
    def forward(x):
        y = x + 1
        z = x * 2
        z.copy_(y)
        z += 1
        return y.clone(), z

    same_as_torch(forward)


def test_a_parameter_copied_into_a_tensor_stays_itself() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Parameter(np.array([1.0, 2.0, 3.0], np.float32))

        def forward(self, x):
            y = x * 1
            y.copy_(self.weight)
            y += 1
            return y + self.weight

    graph = trtnet.record(Net(), x=Input((3,)))
    np.testing.assert_array_equal(trtnet.reference(graph)(x=np.zeros(3, np.float32)), [3, 5, 7])


def test_dynamic_batch_compiles() -> None:
    def forward(x):
        x = x.relu_()
        x += x[:, :1].clone()
        return x

    lower_and_compare(trtnet.record(forward, x=Input((Dim("batch", min=1, max=4), 3))))


# --- views ------------------------------------------------------------------------------------------------------------


def refused(kind: type[Exception], match: str, function, **inputs: Input) -> str:
    with pytest.raises(kind, match=match) as caught:
        trtnet.record(function, **(inputs or {"x": Input((2, 4))}))
    return str(caught.value)


def test_a_base_shows_what_is_written_through_a_view() -> None:
    def forward(x):
        y = x * 2
        view = y.reshape(8)
        view += 1
        return y.relu(), view * 2

    same_as_torch(forward, x=np.arange(8, dtype=np.float32).reshape(2, 4))


def test_a_view_shows_what_is_written_to_its_base() -> None:
    def forward(x):
        y = x * 2
        rows = y.transpose(0, 1)
        y += 1
        return rows.relu(), y

    same_as_torch(forward)


def test_a_view_of_a_view() -> None:
    def forward(x):
        y = x * 2
        inner = y.reshape(4, 2)[1:]
        y += 1
        return inner.relu()

    def outward(x):
        y = x * 2
        y.reshape(4, 2)[1:].mul_(2)
        return y

    for function in (forward, outward):
        same_as_torch(function, x=np.arange(8, dtype=np.float32).reshape(2, 4))


def test_a_view_that_is_not_used_again_does_not_matter() -> None:
    def forward(x):
        y = (x * 2).reshape(6)
        y += 1
        y.relu_()
        return y.reshape(2, 3)

    same_as_torch(forward)


def test_slices_that_do_not_overlap_keep_their_values() -> None:
    def forward(x):
        a, b = (x * 2).chunk(2, 1)
        a *= 3
        c, d = (x + 1)[:, 0], (x + 1)[:, 1]
        c += 1
        return a + b, c + d

    same_as_torch(forward, x=np.arange(8, dtype=np.float32).reshape(2, 4))


def test_slices_that_overlap() -> None:
    def forward(x):
        y = x * 2
        a, b = y[:, :3], y[:, 2:]
        a += 1
        b *= 3
        a -= 5
        return b.relu(), a, y

    same_as_torch(forward, x=np.arange(8, dtype=np.float32).reshape(2, 4))


# --- errors -----------------------------------------------------------------------------------------------------------


def test_shape_and_dtype_stay() -> None:
    def wider(x):
        y = x[:1] * 1
        y += x
        return y

    assert "y += x" in refused(ShapeError, "cannot change the shape", wider)

    def divided(i):
        i /= 2
        return i

    refused(DtypeError, "cannot change the dtype", divided, i=Input((2,), "int32"))


def test_parameters_and_what_was_made_elsewhere_stay_what_they_are() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Parameter(np.ones(3, np.float32))

        def forward(self, x):
            self.weight.mul_(2)
            return x * self.weight

    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward") as caught:
        trtnet.record(Net(), x=Input((3,)))
    assert "self.weight.mul_(2)" in str(caught.value)

    total = trtnet.zeros(2, 4)

    def into_array(x):
        nonlocal total
        total += x
        return total

    text = refused(UnsupportedError, "a tensor that was made outside of this recording cannot be changed", into_array)
    assert "a = a.clone()" in text

    def into_a_copy(x):
        copy = total.clone()
        copy += x
        return copy

    graph = trtnet.record(into_a_copy, x=Input((2, 4)))
    np.testing.assert_array_equal(trtnet.reference(graph)(x=np.ones((2, 4), np.float32)), np.ones((2, 4)))


# --- concrete arrays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "x += 2", "x -= y", "x *= y", "x /= 2", "x //= 2", "x %= 2", "x **= 2", "x.clamp_(-1, 1)", "x.relu_()",
        "x.sqrt_()", "x.masked_fill_(x > 1, 7)", "x.erfinv_()", "x.add_(y, alpha=2)",
    ],
)  # fmt: skip
def test_concrete_arrays_change(statement: str) -> None:
    mine, torchs = Array(np.abs(X) / 7), torch.from_numpy(np.abs(X) / 7)
    memory = mine.numpy()
    exec(statement, {"x": mine, "y": Array(X[0])})
    exec(statement, {"x": torchs, "y": torch.from_numpy(X[0])})
    np.testing.assert_allclose(mine.numpy(), torchs.numpy(), rtol=1e-6)
    assert mine.numpy() is memory


def test_concrete_in_place_errors_and_read_only_arrays() -> None:
    ints = Array(np.array([1, 2]))
    with pytest.raises(DtypeError, match="cannot change the dtype"):
        ints /= 2
    with pytest.raises(ShapeError, match="cannot change the shape"):
        Array(np.ones(2, np.float32)).add_(Array(np.ones((3, 2), np.float32)))
    fixed = np.ones(2, np.float32)
    fixed.flags.writeable = False
    array = Array(fixed)
    array += 1
    np.testing.assert_array_equal(array.numpy(), [2, 2])
    np.testing.assert_array_equal(fixed, [1, 1])


def test_a_parameter_outside_a_recording_changes() -> None:
    weight = Parameter(np.ones(2, np.float32))
    weight.mul_(3).add_(1)
    np.testing.assert_array_equal(weight.numpy(), [4, 4])
    half = Parameter(np.ones(2, np.float16))
    half *= trtnet.tensor(2.0)
    assert half.dtype is trtnet.float16


def test_a_recorded_constant_does_not_follow_its_array() -> None:
    def forward(x):
        table = trtnet.ones(3)
        y = x + table
        table.add_(1)
        return y + table

    graph = record(forward, {"x": X})
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X), X + 1 + 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.add_(1), lambda table: table[:1].zero_(), lambda table: table.reshape(3, 1).fill_(2),
        lambda table: operator.setitem(table, 0, 5.0), lambda table: table.uniform_(),
        lambda table: trtnet.exp(table, out=table), lambda table: nn.init.zeros_(table),
    ],
)  # fmt: skip
def test_a_tensor_from_outside_is_not_written_to(change: Any) -> None:
    """The next recording would begin with what the last one left."""
    table = Array(np.ones(3, np.float32))
    with pytest.raises(UnsupportedError, match="made outside of this recording cannot be changed in forward"):
        record(lambda x: (x + table, change(table))[0], {"x": X})
    assert table.tolist() == [1, 1, 1]


# --- parts, written into the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "y[0] += 1",
        "y[:, 1].add_(1)",
        "y[:, 1:3].zero_()",
        "y[:, :2] *= 2; y[0, 1, 2] = 5",
        "y[..., 1:, 1:] += y[..., :1, :1]",
        "y.transpose(1, 2)[:, 0].fill_(3)",
        "a, b = y.chunk(2, 1); a.mul_(b); b += 1",
        "y.unsqueeze(1)[:, 0, 1:3, ::2].mul_(3)",
        "v = y[:, 1:]; v[:, 0] += 1; v.mul_(2)",
        "v = y[0]; v += 1; y[1] = v",
        "for i in range(3): y[:, i] += y[:, i + 1]",
    ],
)
def test_a_changed_part_is_written_into_the_whole_at_its_next_use(statement: str) -> None:
    def forward(x):
        y = x * 2
        exec(statement, {"y": y})
        return y * 3

    same_as_torch(forward, x=np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6))


def test_nothing_is_written_back_without_need() -> None:
    def forward(x):
        head = (x * 2)[:, 1:]
        head += 1
        return head

    kinds = [layer.kind for layer in trtnet.record(forward, x=Input((2, 4))).layers]
    assert "concatenation" not in kinds


def test_a_part_that_was_written_back_shows_what_its_base_becomes() -> None:
    def forward(x):
        y = x * 2
        head = y[:, :2]
        head += 1
        z = y.relu()
        y.zero_()
        return z, head

    same_as_torch(forward)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_are_right(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = [tuple(int(v) for v in random.integers(0, 1000, 4)) for _ in range(random.integers(3, 10))]

    def forward(x):
        pool = [x * 1.0, x + 1.0]
        for kind, which, how, value in steps:
            t = pool[which % len(pool)]
            rank = len(t.shape)
            dim = value % rank if rank else 0
            before = (slice(None),) * dim
            if kind % 5 < 2 and rank:
                forms = (
                    lambda t=t, b=before: t[(*b, slice(1, None))],
                    lambda t=t, d=dim: t.select(d, 0),
                    lambda t=t, d=dim, r=rank: t.transpose(d, (d + 1) % r),
                    lambda t=t, d=dim: t.unsqueeze(d),
                    lambda t=t: t.reshape(-1),
                    lambda t=t, b=before: t[(*b, slice(0, None, 2))],
                )
                if all(s > 1 for s in t.shape):
                    pool.append(forms[how % 6]())
            elif kind % 5 == 4:
                pool.append(t * 2.0)
            elif how % 3 == 0:
                t.add_(value % 7)
            elif how % 3 == 1 and rank:
                t[(*before, 0)] += 1
            else:
                t.mul_(3)
        return tuple(pool[i % len(pool)] * 1.0 for i in (seed, steps[0][1], steps[-1][2]))

    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    graph = trtnet.record(forward, x=Input((2, 3, 4)))
    for mine, wanted in zip(trtnet.reference(graph)(x=x), forward(torch.from_numpy(x.copy())), strict=True):
        np.testing.assert_array_equal(mine, wanted.numpy())


@pytest.mark.parametrize(
    "view", ["c.expand(2, 3)", "c.expand_as(x)", "c.broadcast_to((2, 3))", "c.unfold(1, 1, 1)", "c.t()"]
)
def test_views_of_made_tensors_see_a_recorded_value_that_is_written(view: str) -> None:
    def through_the_source(x):
        c = (torch if isinstance(x, torch.Tensor) else trtnet).tensor([[1.0, 2.0, 3.0]])
        v = eval(view, {"c": c, "x": x})
        c += x[:1]
        return v * 1, c * 1

    def through_the_view(x):
        c = (torch if isinstance(x, torch.Tensor) else trtnet).tensor([[1.0, 2.0, 3.0]])
        v = eval(view, {"c": c, "x": x})
        v[0] = x[1, 0]
        return v * 1, c * 1

    same_as_torch(through_the_source)
    same_as_torch(through_the_view)


@pytest.mark.parametrize("name", ["relu", "relu6", "elu", "selu", "celu", "silu", "mish", "hardswish", "leaky_relu"])
@pytest.mark.parametrize("is_made", [False, True])
def test_what_an_activation_in_place_gives_is_its_input(name, is_made):
    def forward(x):
        y = trtnet.ones(2, 3) if is_made else x * 1
        getattr(trtnet.functional, name)(y, inplace=True).add_(7)
        return x + y

    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    y = torch.ones(2, 3) if is_made else torch.tensor(x)
    getattr(torch.nn.functional, name)(y, inplace=True).add_(7)
    got = trtnet.reference(trtnet.record(forward, x=trtnet.Input((2, 3))))(x)
    np.testing.assert_allclose(got, (torch.tensor(x) + y).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: trtnet.fill_(p, 2.0),
        lambda p: trtnet.zero_(p),
        lambda p: trtnet.zero_(trtnet.atleast_1d(p)),
        lambda p: trtnet.ones(2, out=p),
        lambda p: trtnet.exp_(p),
        lambda p: p.zero_(),
    ],
)
def test_functions_of_concrete_results_do_not_change_a_buffer_either(change):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", trtnet.tensor([0.5, 0.25]))

        def forward(self, x):
            change(self.steps)
            return x + self.steps

    net = Net()
    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward"):
        trtnet.record(net, x=Input((3, 2)))
    assert net.steps.tolist() == [0.5, 0.25]
    assert change(net.steps) is net.steps, "outside of a recording it is the module's own"


@pytest.mark.parametrize(
    "write",
    [
        lambda module: module.weight.copy_(trtnet.tensor([-1.0, 1.0])),
        lambda module: module.weight.data.copy_(trtnet.tensor([-1.0, 1.0])),
        lambda module: module.buffer.copy_(trtnet.tensor([-1.0, 1.0])),
        lambda module: F.dropout(module.weight, training=False).copy_(trtnet.tensor([-1.0, 1.0])),
        lambda module: module.weight.view(-1).copy_(trtnet.tensor([-1.0, 1.0])),
        lambda module: module.weight.fill_(2.0),
        lambda module: module.weight.mul_(2.0),
    ],
)
def test_a_parameter_keeps_its_value_while_it_is_recorded(write) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(trtnet.tensor([3.0, 4.0]))
            self.register_buffer("buffer", trtnet.tensor([5.0, 6.0]))

        def forward(self, x):
            made = x * self.weight + self.buffer  # with the values of before
            write(self)
            return made

    net = Net()
    with pytest.raises(UnsupportedError, match="a parameter cannot be changed in forward") as caught:
        trtnet.record(net, x=Input((2,)))
    assert "lambda module: " in str(caught.value)
    assert net.weight.tolist() == [3.0, 4.0]
    assert net.buffer.tolist() == [5.0, 6.0]


def test_another_shape_beside_layers_with_a_form_for_training():
    """Those of training stand beside the recording's own layers."""

    class Net(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = trtnet.nn.Embedding(4, 2, padding_idx=1)
            self.norm = trtnet.nn.BatchNorm1d(2)

        def forward(self, x, index):
            y = F.rrelu(self.norm(x + self.table(index)), training=self.training).sum(1)
            z = y * 2
            z.unsqueeze_(1)
            return z, z[None]

    net = Net()
    graph = trtnet.record(net, x=Input((3, 2)), index=Input((3,), "int64"))
    x, index = np.ones((3, 2), np.float32), np.array([0, 1, 3])
    first, second = trtnet.reference(graph)(x, index)
    wanted = (
        torch.nn.functional.rrelu(
            torch.nn.functional.batch_norm(
                torch.from_numpy(x) + torch.from_numpy(net.table.weight.numpy())[index],
                *(torch.from_numpy(t.numpy()) for t in (net.norm.running_mean, net.norm.running_var)),
            )
        ).sum(1)[:, None]
        * 2
    )
    np.testing.assert_allclose(first, wanted.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(second, first[None])


TAKEN = {
    "unbind": lambda x: x.unbind(-1)[1],
    "flatten": lambda x: x.flatten(0),
    "transposed": lambda x: x.t(),
    "row": lambda x: x[1],
    "columns": lambda x: x[:, 1:],
    "viewed": lambda x: x.view(6),
    "chunk": lambda x: x.chunk(3, 1)[1],
}


def test_a_sure_view_makes_nothing_sure_of_what_another_may_have_changed():
    """Of a tensor whose order in memory is not known: what is read afterwards is torch's, or refused."""

    def add(x):
        x += 5

    changes = [add, lambda x: x.fill_(9.0)]
    read, refused = 0, 0
    for take, change, first, before in itertools.product(TAKEN.values(), changes, TAKEN.values(), changes):

        def module(T, x, take=take, change=change, first=first, before=before):
            y = T.tensordot(x, T.ones(3, 3), ([-1], [0]))
            one, two = take(y), first(y)
            before(two)
            change(one)
            return y, one, two

        wanted = module(torch, torch.from_numpy(X))
        for place, theirs in enumerate(wanted):
            try:
                graph = trtnet.record(lambda x, place=place: module(trtnet, x)[place].clone(), x=Input((2, 3)))
            except UnsupportedError:
                refused += 1
                continue
            np.testing.assert_allclose(trtnet.reference(graph)(X), theirs.numpy(), rtol=1e-6)
            read += 1
    assert min(read, refused) > 50
