"""Loops and conditionals: against plain loops over torch in float64, TensorRT's own inference, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import check_against_torch, lower_and_compare

import trtnet
from trtnet import Dim, Input, nn
from trtnet.basics.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError

T = Dim("t", min=1, opt=4, max=9)
B = Dim("b", min=1, opt=2, max=6)


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- scan


def rnn(m, scan, x, h, w):
    """A recurrent layer, written once for both: `m` is torch or trtnet."""

    def body(h, x):
        h = m.tanh(x @ w + h)
        return h, h * 2

    return scan(body, h, x)


def torch_scan(body, carry, xs, dim=0, reverse=False):
    """What scan is, as a plain loop."""
    ys = []
    places = range(xs.shape[dim])
    for place in reversed(places) if reverse else places:
        carry, y = body(carry, xs.select(dim, place))
        ys.append(y)
    return carry, torch.stack(ys[::-1] if reverse else ys, dim)


INPUTS = {"x": values(5, 2, 3), "h": values(2, 4, seed=1), "w": values(3, 4, seed=2)}


@pytest.mark.parametrize("shapes", [None, {"x": (T, B, 3), "h": (B, 4)}, {"x": (5, B, 3), "h": (B, 4)}])
def test_scan_is_a_loop(shapes):
    check_against_torch(
        lambda x, h, w: rnn(trtnet, trtnet.scan, x, h, w),
        lambda x, h, w: rnn(torch, torch_scan, x, h, w),
        INPUTS,
        shapes=shapes,
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -2])
def test_scan_along_any_dimension_both_ways(dim, reverse):
    def both(scan):
        return lambda x: scan(lambda c, x: (c * 0.5 + x, c - x), x.select(dim, 0) * 0, x, dim=dim, reverse=reverse)

    def stacked(body, carry, xs, dim, reverse):
        last, ys = torch_scan(body, carry, xs, dim % 3, reverse)
        return last, ys

    check_against_torch(both(trtnet.scan), both(stacked), {"x": values(2, 5, 3)}, shapes={"x": (B, T, 3)})


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(7, 16)

    def forward(self, x):
        def body(carry, x):
            h, c = carry["h"], carry["c"]
            i, f, g, o = self.cell(trtnet.cat([x, h], 1)).chunk(4, 1)
            c = trtnet.sigmoid(f) * c + trtnet.sigmoid(i) * trtnet.tanh(g)
            h = trtnet.sigmoid(o) * trtnet.tanh(c)
            return {"h": h, "c": c}, h

        zeros = trtnet.zeros_like(x[0, :, :1].expand(-1, 4))
        carry, ys = trtnet.scan(body, {"h": zeros, "c": zeros}, x)
        return ys, carry["h"], carry["c"]


class TorchLSTM(torch.nn.Module):
    """torch's own."""

    def __init__(self, state):
        super().__init__()
        weight, bias = (torch.from_numpy(np.array(state[n])) for n in ("cell.weight", "cell.bias"))
        self.lstm = torch.nn.LSTM(3, 4)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(weight[:, :3])
            self.lstm.weight_hh_l0.copy_(weight[:, 3:])
            self.lstm.bias_ih_l0.copy_(bias)
            self.lstm.bias_hh_l0.zero_()

    def forward(self, x):
        y, (h, c) = self.lstm(x)
        return y, h[0], c[0]


@pytest.mark.parametrize("shapes", [None, {"x": (T, B, 3)}])
def test_an_lstm_is_torchs(shapes):
    net = LSTM()
    check_against_torch(net, TorchLSTM(net.state_dict()), {"x": values(5, 2, 3)}, shapes=shapes)


# --- while_loop and cond


def test_while_loop_ends_where_the_data_says():
    def both(m, loop):
        return lambda x, n: loop(lambda i, x: i < n.sum(), lambda i, x: (i + 1, m.tanh(x) + x), (0 * n.sum(), x))

    def torch_loop(condition, body, carry):
        while bool(condition(*carry)):
            carry = body(*carry)
        return carry

    for count in (0, 1, 7):
        given = {"x": values(2, 3), "n": np.array([count], np.int32)}
        check_against_torch(both(trtnet, trtnet.while_loop), both(torch, torch_loop), given)
    check_against_torch(
        both(trtnet, trtnet.while_loop), both(torch, torch_loop), given, shapes={"x": (B, 3), "n": (1,)}, compile=False
    )


SCALE = trtnet.tensor([1.0, 2.0, 3.0])


def branching(m, cond, x, y):
    scale = SCALE if m is trtnet else torch.tensor([1.0, 2.0, 3.0])
    shifted = y * 2
    return cond(
        x.sum() > 0,
        lambda x: {"a": m.relu(x) * scale + y, "b": [shifted, x]},
        lambda x: {"a": x * scale, "b": [y - shifted.flatten(1).reshape(x.shape), x]},
        x,
    )["a" if y.shape[1] else "b"]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shapes", [None, {"x": (B, 2, 3), "y": (B, 2, 3)}])
def test_cond_takes_one_branch(sign, shapes):
    check_against_torch(
        lambda x, y: branching(trtnet, trtnet.cond, x, y),
        lambda x, y: branching(torch, lambda p, a, b, *x: a(*x) if bool(p) else b(*x), x, y),
        {"x": sign * np.abs(values(4, 2, 3)), "y": values(4, 2, 3, seed=1)},
        shapes=shapes,
    )


def test_cond_gives_structures_and_operands_as_they_are():
    def both(cond):
        def forward(x, y):
            found = cond(x.sum() > 0, lambda x, y: (x, {"b": [y]}), lambda x, y: (y, {"b": [x]}), x, y)
            return found[0], found[1]["b"][0]

        return forward

    for sign in (1, -1):
        check_against_torch(
            both(trtnet.cond),
            both(lambda p, a, b, *x: a(*x) if bool(p) else b(*x)),
            {"x": sign * np.abs(values(2, 3)), "y": values(2, 3, seed=1)},
        )


def test_the_reference_computes_only_the_branch_taken():
    """The one that is not taken would not end."""

    def forward(x):
        return trtnet.cond(
            x.sum() > 0,
            lambda x: trtnet.while_loop(lambda y: y.sum() > 0, lambda y: (y * 2,), (x,))[0],
            lambda x: -x,
            x,
        )

    graph = trtnet.record(forward, x=Input((2,)))
    assert trtnet.reference(graph)(x=np.array([-1, 0], np.float32)).tolist() == [1, 0]


# --- nested


def nested(m, scan, cond, x):
    """A scan of scans, with a conditional in the inner one."""

    def rows(total, row):
        def cells(c, cell):
            c = cond(cell.sum() > 0, lambda: c + cell, lambda: c * cell)
            return c, c + total.sum()

        last, ys = scan(cells, row[0] * 0, row)
        return total + last.sum(), m.tanh(ys)

    return scan(rows, x[0, 0, 0] * 0, x)


def torch_cond(predicate, a, b, *x):
    return a(*x) if bool(predicate) else b(*x)


@pytest.mark.parametrize("shapes", [None, {"x": (T, 5, B)}])
def test_loops_in_loops_and_conditionals_in_them(shapes):
    check_against_torch(
        lambda x: nested(trtnet, trtnet.scan, trtnet.cond, x),
        lambda x: nested(torch, torch_scan, torch_cond, x),
        {"x": values(4, 5, 2)},
        shapes=shapes,
    )


@pytest.mark.parametrize("shapes", [None, {"x": (T, 3)}])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_loop_in_a_branch(sign, shapes):
    def both(scan, cond):
        return lambda x: cond(
            x.sum() > 0,
            lambda x: scan(lambda c, x: (c + x, c * x), x[0] * 0, x)[1] + x.flatten().reshape(x.shape),
            lambda x: cond(x.amax() > -0.5, lambda x: x * 2, lambda x: x.reshape(-1).reshape(x.shape) * 3, x),
            x,
        )

    given = {"x": sign * np.abs(values(4, 3))}
    check_against_torch(both(trtnet.scan, trtnet.cond), both(torch_scan, torch_cond), given, shapes=shapes)


def test_a_condition_may_ask_for_what_a_loop_around_gives():
    """TensorRT wants it computed of the inner loop's own recurrences, so such tensors are carried through it."""

    def both(scan, loop):
        def body(carry, x):
            limit = x.abs().sum() + carry.sum()
            (found,) = loop(lambda y: y.sum() < limit, lambda y: (y * 2 + 1,), (x,))
            return carry + 1, found

        return lambda x: scan(body, x[0] * 0, x)

    def torch_loop(condition, body, carry):
        while bool(condition(*carry)):
            carry = body(*carry)
        return carry

    graph = check_against_torch(
        both(trtnet.scan, trtnet.while_loop), both(torch_scan, torch_loop), {"x": values(4, 3) * 4}
    )
    assert [layer.kind for layer in graph.layers].count("recurrence") == 3


# --- what a body may use and return


def test_what_does_not_change_may_be_carried_and_returned():
    def both(scan):
        def forward(x, y):
            two = y * 2

            def body(carry, x):
                a, b, _ = carry
                return (b, a, two), (x, two, a)

            return scan(body, (y, y + 1, y), x)

        def flat(x, y):
            carry, ys = forward(x, y)
            return *carry, *ys

        return flat

    def plain(body, carry, xs):
        ys = []
        for x in xs:
            carry, y = body(carry, x)
            ys.append(y)
        return carry, tuple(map(torch.stack, zip(*ys)))

    check_against_torch(both(trtnet.scan), both(plain), {"x": values(5, 3), "y": values(3)})


def test_what_a_loop_in_a_loop_computes_in_vain_pulls_it_into_none():
    """The inner loop depends on the outer one by a sum that nothing reads: it stands outside, with its layers."""

    def function(scan, x, xs):
        def outer(h, _):
            def inner(c, x):
                _ = x + h
                return c * 0.5 + x, c

            _, all_of_them = scan(inner, x, xs)
            return h * 0.5 + 1, all_of_them

        return scan(outer, x, xs)

    inputs = {"x": values(2, 3), "xs": values(4, 2, 3, seed=1)}
    graph = check_against_torch(
        lambda x, xs: function(trtnet.scan, x, xs), lambda x, xs: function(torch_scan, x, xs), inputs
    )
    assert graph.prune() is graph


def test_a_scan_over_nothing_has_a_length():
    check_against_torch(
        lambda x: trtnet.scan(lambda c, nothing: (c * 2 if nothing is None else c, c), x, length=x.shape[0]),
        lambda x: torch_scan(lambda c, _: (c * 2, c), x, x),
        {"x": values(4, 3)},
        shapes={"x": (T, 3)},
    )


def test_changes_in_place_of_what_is_made_in_the_body():
    def both(m, scan):
        def body(carry, x):
            carry += x
            x[0] = 7
            y = carry.clone()
            y.mul_(x)
            table = m.zeros(2, 3)
            table[1] = x
            return carry, y + table[1]

        return lambda x: scan(body, x[0] * 1, x)

    def plain(body, carry, xs):
        return torch_scan(lambda c, x: body(c.clone(), x.clone()), carry, xs)

    check_against_torch(both(trtnet, trtnet.scan), both(torch, plain), {"x": values(5, 3)})


@pytest.mark.parametrize(
    "view",
    [lambda t: t, lambda t: t[:1], lambda t: t[0:][:1], lambda t: t.reshape(3, 1), lambda t: t.split(1)[0],
     lambda t: t.unbind(0)[1], lambda t: t.detach(), lambda t: t.data.view(3), lambda t: t.expand(1, 3)],
)  # fmt: skip
def test_a_body_does_not_write_to_memory_from_outside(view):
    """Torch would see it in the next iteration."""
    table = trtnet.ones(3)

    def body(carry, x):
        view(table).add_(1)
        return carry + table, x

    with pytest.raises(UnsupportedError, match="the body of scan changes a tensor from outside in place"):
        trtnet.record(lambda x: trtnet.scan(body, x[0], x), x=Input((4, 3)))
    assert table.tolist() == [1, 1, 1]


def test_no_iterations_give_the_first_carry_and_nothing():
    graph = trtnet.record(
        lambda x: trtnet.scan(lambda c, x: (c + x + 1, c * 2), x.new_tensor([1.0, 2.0]), x),
        x=Input((Dim("n", 0, 1, 4), 2)),
    )
    carry, ys = trtnet.reference(graph)(x=np.zeros((0, 2), np.float32))
    assert carry.tolist() == [1, 2]
    assert ys.shape == (0, 2)
    assert ys.dtype == np.float32


# --- without a recording


def test_outside_of_a_recording_loops_are_pythons():
    x = trtnet.tensor([[1.0, 2.0], [3.0, 4.0]])
    carry, ys = trtnet.scan(lambda c, x: ({"s": c["s"] + x}, (c["s"], x)), {"s": trtnet.zeros(2)}, x, reverse=True)
    assert carry["s"].tolist() == [4, 6]
    assert ys[0].tolist() == [[3, 4], [0, 0]]
    assert ys[1].tolist() == x.tolist()
    count, doubled = trtnet.while_loop(lambda i, x: i < 3, lambda i, x: [i + 1, x * 2], (0, x))
    assert count.item() == 3
    assert doubled.tolist() == [[8, 16], [24, 32]]
    assert trtnet.cond(True, lambda x: x + 1, lambda x: x, x).tolist() == [[2, 3], [4, 5]]
    with pytest.raises(
        ShapeError, match=r"the carry changes from one iteration to the next: carry in its shape"
    ) as caught:
        trtnet.scan(lambda c, x: (c + x, None), 0.0, x)
    assert (caught.value.expected, caught.value.found) == ("() float32", "(2,) float32")


def test_a_predicate_that_is_known_chooses_while_recording():
    graph = trtnet.record(lambda x: trtnet.cond(trtnet.tensor(True), lambda: x + 1, lambda: 1 / 0), x=Input((2,)))
    assert "condition" not in {layer.kind for layer in graph.layers}


# --- errors


def refused(kind, forward, problem, at, **inputs):
    """Recording raises at the line that holds the text `at`."""
    inputs = inputs or {"x": Input((4, 3))}
    with pytest.raises(kind, match=problem) as caught:
        trtnet.record(forward, **inputs)
    assert at in caught.value.where.excerpt(), str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_carry_that_changes_is_refused_at_the_body():
    def grown(carry, x):
        wide = trtnet.cat([carry, x])
        return wide, None

    error = refused(ShapeError, lambda x: trtnet.scan(grown, x[0], x)[0], "the carry changes", "wide = trtnet.cat")
    assert (error.expected, error.found) == ("(3,) float32", "(6,) float32")

    def halved(carry, x):
        return {"h": carry["h"].half()}, x

    error = refused(
        DtypeError, lambda x: trtnet.scan(halved, {"h": x[0]}, x)[1], r"carry\['h'\] in its dtype", 'carry["h"].half()'
    )
    assert (error.expected, error.found) == ("(3,) float32", "(3,) float16")

    def other(carry, x):
        return (carry, x), None

    error = refused(ArgumentTypeError, lambda x: trtnet.scan(other, x[0], x)[0], "in their structure", "def other(")
    assert (error.expected, error.found) == ("tensor", "(tensor, tensor)")


def test_a_carry_of_dynamic_size_that_changes_is_refused():
    def shorter(carry, x):
        return carry[1:], None

    refused(
        ShapeError,
        lambda x: trtnet.scan(shorter, x[0], x)[0],
        "carry in its shape",
        "carry[1:]",
        x=Input((4, B)),
    )


def test_a_body_that_returns_no_pair_is_refused():
    def alone(carry, x):
        return carry + x

    refused(ArgumentTypeError, lambda x: trtnet.scan(alone, x[0], x), "returns what is carried on, and a", "def alone")


def test_branches_that_differ_are_refused():
    def small(x):
        return x.half()

    refused(DtypeError, lambda x: trtnet.cond(x.sum() > 0, lambda x: x, small, x), "different results", "x.half()")
    refused(
        ShapeError,
        lambda x: trtnet.cond(x.sum() > 0, lambda x: x[0], lambda x: x[0, :2], x),
        "if_true and if_false give different results: the result in its shape",
        "x[0, :2]",
    )
    refused(
        ArgumentTypeError,
        lambda x: trtnet.cond(x.sum() > 0, lambda x: x, lambda x: (x,), x),
        "different results: in their structure",
        "lambda x: (x,)",
    )


def test_what_is_no_condition_is_refused():
    refused(
        DtypeError, lambda x: trtnet.cond(x.sum(), lambda: x, lambda: x), "the predicate of cond is a bool", "cond("
    )
    refused(ShapeError, lambda x: trtnet.cond(x > 0, lambda: x, lambda: x), "has one element", "trtnet.cond(x > 0")
    refused(
        ArgumentError,
        lambda x: trtnet.while_loop(lambda y: x.sum() > 0, lambda y: (y,), (x,)),
        "does not depend on what is carried",
        "lambda y: x.sum() > 0",
    )
    refused(
        ArgumentTypeError,
        lambda x: trtnet.while_loop(lambda y: True, lambda y: (y,), (x,)),
        "does not depend on what the network computes",
        "lambda y: True",
    )


def test_sizes_that_differ_are_refused():
    refused(
        ShapeError,
        lambda x: trtnet.scan(lambda c, xs: (c, xs[0]), x[0], (x, x[1:])),
        "scan: xs differ in size along dim",
        "trtnet.scan",
    )
    refused(
        ShapeError, lambda x: trtnet.scan(lambda c, x: (c, x), x[0], x, length=5), "xs and length differ", "trtnet.scan"
    )
    refused(ArgumentTypeError, lambda x: trtnet.scan(lambda c, x: (c, x), x[0]), "needs a length", "trtnet.scan")
    refused(
        ArgumentTypeError, lambda x: trtnet.scan(lambda c, x: (c, x), x[0], length=x.sum()), "is a size", "trtnet.scan"
    )


@pytest.mark.parametrize("how", ["plain", "cloned", "reshaped", "output"])
def test_what_is_computed_inside_is_not_there_outside(how):
    def forward(x):
        kept = []

        def body(carry, x):
            inner = x * 2
            kept.append({"plain": inner, "cloned": inner.clone(), "reshaped": inner[None], "output": inner}[how])
            return carry + x, inner

        trtnet.scan(body, x[0], x)
        return kept[0] if how == "output" else trtnet.relu(kept[0])

    with pytest.raises(ArgumentError, match="computed in the body of scan, and is not there outside") as caught:
        trtnet.record(forward, x=Input((4, 3)))
    assert "trtnet.scan(body, x[0], x)" in caught.value.remedy or "test_control.py:" in caught.value.remedy
    if how != "output":
        assert "trtnet.relu(kept[0])" in caught.value.where.excerpt()


def test_what_does_not_hang_on_the_loop_is_there_outside():
    def forward(x):
        kept = []
        trtnet.scan(lambda c, one: (c + one, kept.append(x * 2)), x[0], x)
        return kept[0] + 1

    graph = trtnet.record(forward, x=Input((4, 3)))
    assert trtnet.reference(graph)(x=np.ones((4, 3), np.float32)).tolist() == [[3] * 3] * 4


def test_what_a_branch_computes_is_not_there_outside():
    def forward(x):
        kept = []
        trtnet.cond(x.sum() > 0, lambda: (kept.append(x * 2), x)[1], lambda: x)
        return trtnet.relu(kept[0])

    refused(ArgumentError, forward, "computed in if_true of cond, and is not there outside", "trtnet.relu(kept[0])")


def concrete_outside(x):
    table = trtnet.zeros(3)

    def body(c, x):
        view = table[:2]
        view += 1
        return c, x

    return trtnet.scan(body, x[0], x)[1]


def view_outside(x):
    y = x * 2
    view = y[1:]
    return trtnet.scan(lambda c, x: (c, view.add_(1)), x[0], x)[1]


def in_a_branch(x):
    return trtnet.cond(x.sum() > 0, lambda x: x.add_(1), lambda x: x, x * 2)


def concrete_part(x):
    table = trtnet.zeros(3)

    def body(c, x):
        table[1] = 2.0
        return c, x

    return trtnet.scan(body, x[0], x)[1]


def concrete_with_recorded(x):
    table = trtnet.zeros(4)
    return trtnet.scan(lambda c, x: (c, table[1:].add_(x)), x[0], x)[1]


@pytest.mark.parametrize(
    ("forward", "at"),
    [
        (concrete_outside, "view += 1"),
        (concrete_part, "table[1] = 2.0"),
        (concrete_with_recorded, "table[1:].add_(x)"),
        (view_outside, "view.add_(1)"),
        (in_a_branch, "x.add_(1)"),
    ],
)
def test_changes_in_place_of_what_is_outside_are_refused(forward, at):
    refused(UnsupportedError, forward, "changes a tensor from outside in place", at)


def test_draws_in_a_body_are_refused():
    refused(
        UnsupportedError, lambda x: trtnet.scan(lambda c, x: (c + trtnet.rand(3), None), x[0], x)[0],
        "the body of scan draws random numbers", "trtnet.rand(3)",
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="if_true of cond draws"):
        trtnet.record(
            lambda x: trtnet.cond(x.sum() > 0, lambda: x + trtnet.rand(3), lambda: x), x=Input((3,)), draws="inputs"
        )


def test_sizes_that_the_data_decides_are_refused():
    refused(
        UnsupportedError, lambda x: trtnet.scan(lambda c, x: (c + x[x > 0].sum(), None), 0.0, x)[0],
        "hangs on the data, in the body of scan", "x[x > 0]",
    )  # fmt: skip


def test_an_if_in_a_body_names_what_to_write():
    error = refused(
        ArgumentTypeError, lambda x: trtnet.scan(lambda c, x: (x if x.sum() > 0 else c, None), x[0], x)[0],
        "needs a value", "x.sum() > 0",
    )  # fmt: skip
    assert "trtnet.cond(condition, " in error.remedy
    assert "trtnet.while_loop(" in error.remedy


def test_a_condition_with_a_loop_in_it_is_refused():
    refused(
        UnsupportedError,
        lambda x: trtnet.while_loop(
            lambda x: trtnet.scan(lambda c, x: (c + x, None), 0.0, x.sum(1))[0] < 9, lambda x: (x + 1,), (x,)
        ),
        "has a loop or a conditional in it",
        "trtnet.scan",
    )


def half(x, p):
    return trtnet.cond(p, lambda: x * 2, lambda: x.half())


def loud(x, p):
    return trtnet.scan(lambda carry, row: (carry[:2], trtnet.rand(3)), x[0], x)


def long(x, p):
    return trtnet.while_loop(lambda y: y.sum() < 9, lambda y: (y @ trtnet.ones(4, 4),), (x,))


@pytest.mark.parametrize("draws", ["layers", "inputs"])
@pytest.mark.parametrize("failing", [half, loud, long])
def test_what_ends_with_an_error_leaves_nothing_behind(failing, draws):
    """Forward may catch the error, and go on."""

    def forward(x, p):
        with pytest.raises(trtnet.TrtnetError):
            failing(x, p)
        return trtnet.cond(p, lambda: x + 1, lambda: x * 2)

    graph = trtnet.record(forward, x=Input((4, 3)), p=Input((), "bool"), draws=draws)
    assert {layer.region for layer in graph.layers} <= {None, 1}
    assert list(graph.inputs) == ["x", "p"]
    lower_and_compare(graph)
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(trtnet.reference(graph)(x=x, p=np.array(True)), x + 1)


def test_what_was_computed_before_an_error_is_not_there():
    made = []

    def forward(x):
        with pytest.raises(ZeroDivisionError):
            trtnet.scan(lambda carry, row: (made.append(row.exp()), 1 // 0), x[0], x)
        return made[0] + 1

    error = refused(trtnet.TrtnetError, forward, "was computed in a loop, which ended with an error", "made[0] + 1")
    assert "compute it anew" in error.remedy


def test_an_index_is_counted_in_each_branch_for_itself():
    def forward(x, i, p):
        return trtnet.cond(p, lambda: x[i], lambda: x[i] * 2) + x[i]

    graph = trtnet.record(forward, x=Input((4, 3)), i=Input((), "int64"), p=Input((), "bool"))
    lower_and_compare(graph)
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    for p in (True, False):
        found = trtnet.reference(graph)(x=x, i=np.array(-1), p=np.array(p))
        np.testing.assert_array_equal(found, x[-1] * (2 if p else 3))


@pytest.mark.parametrize(
    ("forward", "problem", "remedy"),
    [
        (lambda x: trtnet.scan(None, x[0], x), "the body of scan is no function", "a lambda"),
        (lambda x: trtnet.scan(lambda carry: (carry, carry), x[0], x), "body of scan is called with other", "each"),
        (
            lambda x: trtnet.while_loop(lambda a, b: a, lambda a: (a,), (x,)),
            "condition of while_loop is called",
            "each",
        ),
        (lambda x: trtnet.while_loop(lambda a: a.sum() > 0, 3, (x,)), "body of while_loop is no function", "a lambda"),
        (lambda x: trtnet.cond(x.sum() > 0, lambda: x, None), "if_false of cond is no function", "a lambda"),
        (lambda x: trtnet.cond(x.sum() > 0, lambda a: x, lambda a: a), "if_true of cond is called with other", "each"),
    ],
)
def test_functions_that_do_not_fit(forward, problem, remedy):
    with pytest.raises(trtnet.TrtnetError, match=problem) as caught:
        trtnet.record(forward, x=Input((4, 3)))
    assert caught.value.where.file == __file__
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("inner", ["while_loop", "scan", "cond"])
def test_what_a_branch_computes_in_vain_is_left_out_whole(inner, order) -> None:
    """Of a loop, one carry hangs on what the branch computes, and the other one, or the limit, does not."""

    def branch(x):
        x = x * 2
        if inner == "while_loop":
            begin = (x.tanh(), 0)[::order]
            trtnet.while_loop(
                lambda *carry: carry[::order][1] < 3,
                lambda *carry: (carry[::order][0] * 1.5, carry[::order][1] + 1)[::order],
                begin,
            )
        elif inner == "scan":
            trtnet.scan(lambda c, row: ((c[0] + row, c[1] + 1), c[1]), (x[0], 0), x * 3)
        else:
            trtnet.cond(x.sum() > 1, lambda: (x + 1, trtnet.zeros(3)), lambda: (x, trtnet.ones(3)))
        return x

    graph = trtnet.record(lambda x: trtnet.cond(x.sum() > 0, branch, lambda x: x - 1, x), x=Input((2, 3)))
    numbers = [layer.region for layer in graph.layers if layer.region is not None]
    assert len(set(numbers)) == 1, "half of a loop is left"
    lower_and_compare(graph)
    engine = trtnet.reference(graph)
    for x in (np.ones((2, 3), np.float32), -np.ones((2, 3), np.float32)):
        np.testing.assert_array_equal(engine(x), x * 2 if x.sum() > 0 else x - 1)
