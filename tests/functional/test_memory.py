"""Which tensors share memory, and what a change of one shows in the others: as in torch, static and dynamic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import check

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F
from trtnet.errors import UnsupportedError

X = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def same(program: Callable[..., Any], x: np.ndarray = X, **names: Any) -> None:
    """`program(T, F, x)` gives in trtnet what it gives in torch, with a fixed and with a dynamic batch."""
    wanted = program(torch, torch.nn.functional, torch.from_numpy(x.copy()))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    batch = Dim("batch", min=2, opt=len(x), max=8)
    for size in (len(x), batch):
        graph = trtnet.record(lambda x: program(trtnet, F, x), x=Input((size, *x.shape[1:]), str(x.dtype)))
        found = trtnet.reference(graph)(x=x)
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted):
            np.testing.assert_array_equal(mine, theirs.numpy())
            assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch.")


def program_of(statements: str, result: str) -> Callable[..., Any]:
    """What `statements` leave under the name of `result`, of T, F and x."""

    def program(T, F, x):
        names = {"T": T, "F": F, "x": x}
        exec(statements, names)
        return names[result]

    return program


VIEWS = [
    "x[:, 1]", "x[..., 1:3]", "x[:, None]", "x[:, ::2]", "x.select(2, 0)", "x.narrow(1, 1, 2)", "x.transpose(1, 2)",
    "x.permute(0, 2, 1)", "x.mT", "x.movedim(0, 2)", "x.unsqueeze(1)", "x.unsqueeze(1).squeeze(1)", "x.flatten(1)",
    "x.reshape(x.shape[0], 12)", "x.view(x.shape[0], 4, 3)", "x.unflatten(2, (2, 2))", "x.split(2, 1)[0]",
    "x.chunk(2, 2)[1]", "x.unbind(1)[2]", "x.tensor_split(2, 1)[0]", "x.diagonal(0, 1, 2)", "x.diagonal(1, 2, 1)",
    "x.detach()", "x.contiguous()", "x.view_as(x)", "x[...]", "x.expand(-1, -1, 4)", "T.einsum('bij->bji', x)",
    "T.einsum('bii->bi', x[:, :, :3])", "x.transpose(1, 2).transpose(1, 2).reshape(x.shape[0], -1)", "x.float()",
    "T.broadcast_to(x, x.shape)", "x.ravel()", "x.swapaxes(1, 2)[:, 1]", "x[:, 1:][:, :, 1:]", "x.T", "x.to(x.dtype)",
    "x.cpu()", "F.dropout(x, 0.5, False)", "T.atleast_3d(x)", "x.unfold(2, 2, 2)", "x.unfold(1, 1, 2)",
    "x.hsplit([1])[1]", "T.positive(x)",
]  # fmt: skip
COPIES = [
    "x.clone()", "x[:, [0, 1]]", "x.transpose(1, 2).contiguous()", "x.transpose(1, 2).reshape(x.shape[0], -1)",
    "x.transpose(1, 2).flatten(1)", "F.pad(x, (0, 0))", "T.cat([x], 1)", "T.stack([x])", "x.repeat(1, 1, 1)",
    "x.roll(0, 1)", "x.roll(4, 2)", "x.flip(())", "T.tensor(x)", "x.to(x.dtype, copy=True)", "x.tile((1,))",
    "x.repeat_interleave(1, 1)", "F.pixel_shuffle(x[:, None], 1)", "F.interpolate(x, size=4)", "x.abs()",
    "T.hstack([x])", "F.avg_pool1d(x, 1)", "F.max_pool1d(x, 1)", "T.diag_embed(x)",
    "x.index_select(1, T.tensor([0, 1, 2]))",
]  # fmt: skip


@pytest.mark.parametrize("how", [*VIEWS, *COPIES])
def test_what_is_written_through_a_result(how: str) -> None:
    def program(T, F, x):
        x = x * 1
        result = eval(how, {"T": T, "F": F, "x": x})
        result += 50
        return x * 1, result * 1

    same(program)


@pytest.mark.parametrize("how", [*VIEWS, *COPIES])
def test_what_a_result_shows_of_its_source(how: str) -> None:
    def program(T, F, x):
        x = x * 1
        result = eval(how, {"T": T, "F": F, "x": x})
        x[:, 1] = -7
        x *= 2
        return x, result * 1

    same(program)


@pytest.mark.parametrize(
    "statements",
    [
        "c = T.zeros(4); c[0].add_(5); y = x + c",
        "c = T.zeros(4); a, b, d, e = c.unbind(); b.fill_(5); y = x + c",
        "c = T.eye(4); c.diagonal().fill_(4); y = x @ c",
        "c = T.zeros(4); c.expand_as(x[0, 0]).add_(5); y = x + c",
        "c = T.zeros(3, 4); c.t()[1] += 3; y = x + c",
        "c = T.arange(4); c.flip(0).add_(7); y = x + c.float()",
        "c = T.zeros(4); v = c[1:]; c += 1; v[0] = 9; y = x + c + v.sum()",
        "c = T.zeros(4); v = c.reshape(2, 2); v[1] += x[0, 0, 0]; y = x + c",
        "c = T.zeros(4); v = c[1:]; v += x[0, 0, 1:]; c[0] = 2; y = x + c + v[0]",
        "c = T.zeros(3, 4); c[1] = x[0, 0]; c.t()[0] -= 1; y = x + c",
        "c = T.zeros(3, 4); r = c[0]; c.copy_(x[0]); r.mul_(2); y = x + c + r",
        "c = T.zeros(4); d = c; d += x[0, 0]; y = x + c",
        "a = T.meshgrid(T.zeros(3), T.zeros(4), indexing='ij')[0]; a[:, 1] += 5; y = x + a",
        "c = T.zeros(x.shape[0], 4); c[:, 0] = x[:, 0, 0]; c[:, 1:] += x[:, 0, 1:]; y = x + c[:, None]",
        "c = T.empty(4).fill_(2); c.scatter_(0, T.tensor([1]), x[0, 0, :1]); y = x + c",
        "c = x.new_zeros(3, 4); c[0], c[1] = x[0, 0], x[0, 1]; y = x * c",
        "c = T.tensor([[1.0, 2.0], [3.0, 4.0]]); d = T.diag(c); c.fill_(9); y = x[:, :2, :2] + d",
    ],
)
def test_tensors_that_are_made_in_forward(statements: str) -> None:
    same(program_of(statements, "y"))


def test_memory_that_an_expanded_tensor_repeats_is_written_once_for_all() -> None:
    def column(T, F, x):
        y = x[:, 0, :1] * 1
        v = y.expand(x.shape[0], 2)
        v[:, 1] += 1
        return v * 1, y * 1

    def unbound(T, F, x):
        v = (x[:, 0, :1] * 1).expand(x.shape[0], 2)
        a, b = v.unbind(-1)
        b.add_(10)
        return a, b

    def indexed(T, F, x):
        v = (x[:, 0, :1] * 1).expand(x.shape[0], 3)
        v[:, [0]] = -3
        return v * 1

    def twice(T, F, x):
        y = x[:1, 0] * 1
        v = y.expand(3, 4)
        v[0] = 1
        v[2, 1] = 5
        return v * 1, y * 1

    def transposed(T, F, x):
        y = x[:, 0, :1] * 1
        v = y.expand(x.shape[0], 3).t()
        v[1, 0] = 8
        return v * 1, y

    def last(T, F, x):
        v = (x[0, 0, :2] * 1).broadcast_to((x.shape[0], 2))
        v[-1] = 37.5
        return v * 1

    def filled(T, F, x):
        y, z, w = x[:, 0, :1] * 1, x[:, 0] * 1, x[0] * 1
        y.expand(x.shape[0], 3).fill_(3)
        z[:, None].expand(x.shape[0], 3, 4)[:, 1:, 2:].zero_()
        w.expand(x.shape[0], 3, 4).transpose(0, 1)[1].fill_(-1)
        c = T.zeros(1, 4)
        c.expand(3, 4)[1:].fill_(2)
        return y, z, w, x[:, 0] + c

    def named_by_the_network(T, F, x):
        y = x[:, 0, :1] * 1
        v = y.expand(x.shape[0], 3)
        part = v[:, x[0, 0, 1].long()]
        part *= 4
        c = T.zeros(1, 3)
        c.expand(2, 3)[x[0, 0, 0].long()] = 7
        return v * 1, y, c + x[0, 0, 0]

    for program in (column, unbound, indexed, twice, transposed, last, filled, named_by_the_network):
        same(program)


@pytest.mark.parametrize("how", ["v += 1", "v.copy_(x)", "v[1:] = 0", "v.mul_(x[0])"])
def test_all_of_an_expanded_tensor_cannot_be_written(how: str) -> None:
    def program(x):
        v = (x[:1] * 1).expand(2, 3, 4)
        exec(how, {"v": v, "x": x})
        return v

    if "[1:]" not in how:
        with pytest.raises(RuntimeError, match="more than one element"):
            program(torch.from_numpy(X))
    how = how.replace("[1:]", "[0:]")
    with pytest.raises(UnsupportedError, match="more than one element") as caught:
        trtnet.record(program, x=Input((2, 3, 4)))
    assert "clone()" in str(caught.value)

    def cured(x):
        v = (x[:1] * 1).expand(2, 3, 4).clone()
        exec(how, {"v": v, "x": x})
        return v

    graph = trtnet.record(cured, x=Input((2, 3, 4)))
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X), cured(torch.from_numpy(X)).numpy())


def test_a_source_that_is_used_again_after_it_was_assigned() -> None:
    def whole(T, F, x):
        y = x * 2
        x[:] = y
        return y + 1, x

    def newest(T, F, x):
        h = x + 1
        y = x * 2
        h[:] = y
        return h - y, y

    def chained(T, F, x):
        y = x * 2
        z = x + 1
        z.copy_(y)
        y += 1
        return z, y

    for program in (whole, newest, chained):
        same(program)


def test_what_a_dim_leaves_undecided_refuses_the_write_and_not_the_read() -> None:
    def write(x):  # of one row, the transpose is contiguous, and torch copies nothing
        y = x * 1
        z = y.t().contiguous()
        z += 1
        return y, z

    def read(x):
        y = x * 1
        z = y.t().contiguous()
        return y * 2, z * 3

    one, two = Dim("n", min=1, opt=2, max=4), Dim("n", min=2, opt=2, max=4)
    with pytest.raises(UnsupportedError, match="changed in place through another tensor") as caught:
        trtnet.record(write, x=Input((one, 3)))
    assert "z += 1" in str(caught.value)
    for function, batch in ((read, one), (write, two)):
        graph = trtnet.record(function, x=Input((batch, 3)))
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        for mine, theirs in zip(trtnet.reference(graph)(x=x), function(torch.from_numpy(x))):
            np.testing.assert_array_equal(mine, theirs.numpy())


def test_the_remedy_for_an_undecided_write() -> None:
    def cured(x):
        y = x * 1
        z = y.t().clone()
        z += 1
        return y, z

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = trtnet.record(cured, x=Input((Dim("n", min=1, opt=2, max=4), 3)))
    for mine, theirs in zip(trtnet.reference(graph)(x=x), cured(torch.from_numpy(x))):
        np.testing.assert_array_equal(mine, theirs.numpy())


def test_halves_that_are_changed_apart_record_nothing_more() -> None:
    def program(x):
        a, b = (x * 2).chunk(2, 1)
        a += 1
        b *= 3
        return trtnet.cat([a, b], 1)

    kinds = [layer.kind for layer in trtnet.record(program, x=Input((2, 4))).layers]
    assert kinds.count("slice") == 2
    assert kinds.count("concatenation") == 1

    def rotated(x):
        even, odd = x[..., 0::2], x[..., 1::2]
        even *= 2
        return even + odd

    kinds = [layer.kind for layer in trtnet.record(rotated, x=Input((2, 4))).layers]
    assert "select" not in kinds


def test_layers_are_compiled_and_written_as_they_are_played() -> None:
    def program(x):
        y = x * 2
        view = y[:, 1:].transpose(1, 2)
        view[:, 0] += x[:, 1:, 0]
        table = trtnet.zeros(4)
        table[1:3] = x[0, 0, 1:3]
        return y + table

    graph = trtnet.record(program, x=Input((Dim("batch", 1, 2, 4), 3, 4)))
    x = torch.from_numpy(X)
    y = x * 2
    y[:, 1:, 0] += x[:, 1:, 0]
    table = torch.zeros(4)
    table[1:3] = x[0, 0, 1:3]
    np.testing.assert_array_equal(trtnet.reference(graph)(x=X), (y + table).numpy())
    assert trtnet.build_plan(graph, targets=["sm86"])


def test_dropout_gives_the_tensor_itself() -> None:
    def made(package: Any, module: Any) -> Any:
        class Net(module.Module):
            def __init__(self) -> None:
                super().__init__()
                self.drop = module.Dropout(0.5)

            def forward(self, x):
                y = x * 2
                z = self.drop(y)
                z += 1
                y[:, 0] = 5
                return y, z * 1

        return Net().eval()

    wanted = made(torch, torch.nn)(torch.from_numpy(X))
    for size in (2, Dim("batch", 1, 2, 4)):
        graph = trtnet.record(made(trtnet, trtnet.nn), x=Input((size, 3, 4)))
        for mine, theirs in zip(trtnet.reference(graph)(x=X), wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy())


@pytest.mark.parametrize(
    "key", ["i", "(i, ...)", "(slice(None), i)", "(..., i)", "(slice(1, 2), i, slice(None))", "(i, None)"]
)
def test_an_integer_tensor_without_dimensions_selects_as_a_number_does(key: str) -> None:
    def program(x, i):
        y = x * 1
        part = y[eval(key, {"i": i})]
        part += 50
        y[eval(key, {"i": i})] *= 2
        y[i] = 7
        return y, part * 1, y[i, :, trtnet.tensor([0, 1]) if isinstance(i, trtnet.Tensor) else torch.tensor([0, 1])]

    for index in (1, -1, -2):
        x = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
        at = np.asarray(index, np.int64)
        wanted = program(torch.from_numpy(x.copy()), torch.from_numpy(at))
        for size in (2, Dim("batch", 2, 2, 4)):
            graph = trtnet.record(program, x=Input((size, 4, 3)), i=Input((), "int64"))
            for mine, theirs in zip(trtnet.reference(graph)(x=x, i=at), wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs.numpy())
        assert trtnet.build_plan(graph, targets=["sm86"])


@pytest.mark.parametrize(
    "statements",
    [
        "c = T.zeros(4); v = c.reshape(2, 2).flatten(); v.unsqueeze_(0); c += x[0, 0]; y = x + v.flatten()",
        "c = T.zeros(3, 4); v = c[1]; c.t_(); c += x[0].t(); y = x + v",
        "c = T.zeros(3, 4); v = c[1:]; v.transpose_(0, 1); v[0] = x[0, 0, 0]; y = x + c",
        "c = T.zeros(3, 4); v = c.t(); w = T.stack([v, v], -1); w.flatten(1).mul_(2); y = x + w.sum() + w[0, 0, 0] * x",
        "c = T.ones(4, 3).t(); d = c * 2; d.flatten().add_(5); y = x + d",
        "c = T.ones(4, 3).t(); d = c[T.tensor([2, 0, 1])]; e = d.contiguous(); e += 1; y = x + d",
        "c = T.tensor([[[1.5, 2.0]]]); v = c.unfold(-3, 1, 2); v.mul_(x[0, 0, 0]); y = x * c.sum()",
        "c = T.zeros(1, 4); v = c.expand(3, 4); v[1] = x[0, 0]; y = x + c + v",
        "c = T.zeros(3, 4); v = c.expand_as(c); c.unsqueeze_(0); c += x[0, 0]; y = x + v",
    ],
)
def test_the_order_in_memory_of_tensors_that_are_made_in_forward(statements: str) -> None:
    same(program_of(statements, "y"))


def test_a_made_tensor_that_a_recorded_index_selects_from() -> None:
    def program(T, F, x):
        c = T.zeros(3, 4)
        row = c[x[0, 0, 0].long() * 0 + 1]
        c += 2
        row[1] = 7
        v = T.arange(4)
        w = v.ravel()
        v += x[0, 0].long()
        return x + c + row, w * 1

    same(program)


def test_windows_that_overlap_are_not_written() -> None:
    with pytest.raises(UnsupportedError, match="more than one element"):
        trtnet.zeros(2, 4).unfold(1, 3, 1)[:, [0, 1]] = trtnet.arange(12).float().reshape(2, 2, 3)

    def program(x):
        windows = (x * 1).unfold(1, 2, 1)
        windows[:, :, [0]] = 5
        return windows

    with pytest.raises(UnsupportedError, match="windows that overlap") as caught:
        trtnet.record(program, x=Input((2, 3)))
    assert "clone()" in str(caught.value)
    copied = trtnet.record(lambda x: (x * 1).unfold(1, 2, 1).clone().fill_(5), x=Input((2, 3)))
    assert copied.outputs["output"].shape == (2, 2, 2)


@pytest.mark.parametrize(
    "statements",
    [
        "y=x*1; v=y[:,1]; y.transpose_(1,2); y[:,0]=5; v+=1; r = (y,v,y+1)",
        "x.unsqueeze_(1); x+=1; r = (x,x.squeeze(1)*2)",
        "y=x*2; z=y+1; y.transpose_(0,2); w=y[0]; w.fill_(7); y.transpose_(0,1); y+=w.sum(); r = (y,z,w)",
        "y=x*2; b=y[:,1:]; b.swapaxes_(1,2); b[:,0]=-1; y*=2; b.unsqueeze_(-1); b-=3; r = (y,b)",
        "m=x[0]*1; v=m[0]; w=m.t(); m.t_(); m[0]=9; w[1]=4; r = (m,v,w)",
        "m=x[:,:,0]*1; m.t_(); m+=1; n=m.clone(); m.t_(); m.mul_(2); r = (m,n)",
        "y=x*1; c=y.clone(); d=c[0]; c.transpose_(0,1); c[0]=3; r = (y,c,d)",
        "a,b=x.split(2,2); a.transpose_(1,2); a+=1; r = (a,b,x*1)",
        "v,i=x.topk(2); v.transpose_(1,2); v+=1; r = (v,i)",
        "c=T.zeros(3,4); c[0]=x[0,0]; k=c[1]; c.t_(); c+=1; r = (c*1,k*1,x*1)",
        "y=x*1; y.transpose_(1,2); f=y.reshape(y.shape[0],-1); r = (f,y.is_floating_point() and y*1)",
        "y=x*1; y.transpose_(1,2); g=y.transpose(1,2).reshape(x.shape[0],12); g+=1; r = (y*1,g*1)",
        "y=F.relu(x); y.unsqueeze_(0); z=y*2; y.squeeze_(0); y-=z[0]; r = (y,z)",
        "y=x*1; y[y>3]*=2; y.transpose_(1,2); y[y>9]=-y[y>9]; r = (y,)",
        "y=x*1; y.squeeze_(); e=y[:,:1].expand(-1,3,-1); e.transpose_(1,2); e[:,:,1]=8; r = (e*1,y)",
    ],
)
def test_a_shape_that_is_changed_in_place(statements: str) -> None:
    """Views that were made before keep their shapes, and all go on to share their memory."""

    same(program_of(statements, "r"))


def test_a_shape_that_is_changed_in_place_is_compiled() -> None:
    def function(T, x):
        y = x * 2
        row, z = y[:, 0], y + 1
        y.transpose_(1, 2)
        y[:, 0] = 3
        row += 1
        y.unsqueeze_(1).swapaxes_(0, 1)
        return y.relu(), row, z

    check(function, {"x": X}, {"x": (Dim("batch", min=1, opt=2, max=8), 3, 4)}, concrete=False)


def test_memory_of_a_tensor_that_many_ways_lead_to() -> None:
    """Each block uses its input twice; ways are as many as 2 to the number of blocks."""

    def program(T, F, x):
        y = x
        for _ in range(50):
            y = (y + F.relu(y)) * 0.5
        z = y.reshape(-1)
        z += 1
        w = (y * 1).transpose(1, 2).reshape(-1)
        w += 1
        return y, z, w

    same(program)


NOTHING_TO_DO = [
    "x[:]", "x[...]", "x.detach()", "x.expand(x.shape)", "x.view(x.shape)", "x.reshape(x.shape)", "x.transpose(1, 1)",
    "x.permute(0, 1, 2)", "x.squeeze()", "T.broadcast_to(x, x.shape)", "x.expand_as(x)", "x.movedim(0, 0)",
    "x.split(9, 1)[0]", "x.chunk(1, 2)[0]", "x.narrow(1, 0, 3)", "x[0].ravel().ravel()", "T.einsum('bij->bij', x)",
    "T.positive(x)", "+x", "x.flatten(1, 1)", "x.float()", "x.to(x.dtype)", "x.cpu()", "x.type_as(x)",
    "x.type(T.float32)", "T.atleast_3d(x)", "T.atleast_2d(x)", "T.broadcast_tensors(x, x)[0]", "x.detach_()",
    "F.dropout(x, 0.5, False)", "F.dropout1d(x, 0.5, False)", "F.dropout1d(x[0], 0.5, False)",
    "F.dropout2d(x, 0.5, False)", "F.dropout3d(x, 0.5, False)", "F.dropout3d(x, 0.5, False, True)",
    "F.dropout3d(x[None, None], 0.5, False)", "F.alpha_dropout(x, 0.5, False)", "F.dropout3d(x, 0.0, True)",
]  # fmt: skip


@pytest.mark.parametrize("how", NOTHING_TO_DO)
@pytest.mark.parametrize("source", ["x * 1", "T.arange(24).reshape(2, 3, 4) * 0.5"], ids=["recorded", "made"])
def test_the_tensor_itself_or_a_second_one_of_its_memory(how: str, source: str) -> None:
    """What is given another shape in place is one tensor under two names where it is in torch, else two."""

    def program(T, F, x):
        names = {"T": T, "F": F, "x": eval(source, {"T": T, "x": x})}
        y = eval(how, names)
        given = names["x"]
        z = y.unsqueeze(0)
        y.unsqueeze_(1)
        y += 1
        given.unsqueeze_(0)
        given *= 2
        return given + x[0, 0, 0], y + x[0, 0, 0], z + x[0, 0, 0]

    same(program)


@pytest.mark.parametrize("how", ["x.contiguous()", "F.dropout(x, 0.5, self.training)"])
@pytest.mark.parametrize("changed", ["x", "y"])
def test_a_shape_that_another_name_may_stand_for(how: str, changed: str) -> None:
    class Net(trtnet.nn.Module):
        def forward(self, x):
            names = {"x": x * 1, "F": F, "self": self}
            names["y"] = eval(how, names)
            names[changed].transpose_(1, 2)
            return names["x"], names["y"]

    with pytest.raises(UnsupportedError, match="for which another name may stand") as caught:
        trtnet.record(Net(), x=Input((2, 3, 4)))
    assert caught.value.where is not None
    assert "x = x.transpose(0, 1)" in str(caught.value)


@pytest.mark.parametrize(
    "statements",
    [
        "y = x * 1; v = y[None].to(memory_format=T.channels_last); v += 7; y = y + v[0]",
        "y = x * 1; v = T.cartesian_prod(y[0, 0]); v += 7",
        "y = x[[T.tensor([0, 1]), T.tensor([2, 0])]]",
        "y = x[[[0, 1], [2, 0]]]",
        "y = T.arange(12).reshape(3, 4)[[[0, 1], [2, 0]]] + x[0, 0, :2]",
        "y = x * 1; y[[[0, 1], [2, 0]]] = 5",
    ],
)
def test_more_views_copies_and_keys(statements: str) -> None:
    same(program_of(statements, "y"))


def test_a_resize_to_the_same_size_copies() -> None:
    def program(T, F, x):
        y = x[:, None] * 1
        v = F.interpolate(y, scale_factor=1.01, mode="bilinear", antialias=True)
        v += 7
        return y, v * 1

    same(program)


@pytest.mark.parametrize(
    "statement", ["x[:, 1:].copy_(x[:, :-1])", "x.add_(x[:, :1])", "x[:, 1:].mul_(x[:, :-1])", "x[:, 0].add_(x)[0]"]
)
def test_a_change_in_place_does_not_read_what_it_writes(statement: str) -> None:
    def program(x):
        x = x * 1
        exec(statement, {"x": x})
        return x

    if not statement.endswith("[0]"):
        with pytest.raises(UnsupportedError, match="reads memory that it writes to") as caught:
            trtnet.record(program, x=Input((2, 3, 4)))
        assert "clone()" in str(caught.value)
        statement = statement[:-1] + ".clone())"  # the remedy
        same(lambda T, F, x: program(x))


READ_WHAT_THEY_WRITE = [
    "x[1:].copy_(x[:-1])", "x.copy_(x.t())", "x.add_(x[0])", "x.sub_(x[:, :1])", "x.mul_(x.t())", "x.clamp_(x[0])",
    "x[1:] += x[:-1]", "x.lerp_(x[0], 0.5)", "x.div_(x[1, 1])", "x.detach().add_(x[0])", "x.masked_scatter_(x > 4, x)",
    "x.masked_scatter_(x > 4, x[1:])", "x.index_add_(0, T.tensor([0, 1]), x[:2])", "x.put_(T.tensor([0, 1]), x[1, :2])",
    "x.index_copy_(0, T.tensor([2, 0]), x[:2])", "x.index_put_((T.tensor([2, 0]),), x[:2])",
    "x.scatter_(0, T.tensor([[1, 2, 0]]), x[:1])", "x.scatter_add_(0, T.tensor([[1, 2, 0]]), x)", "x.addmm_(x, x)",
    "x[T.tensor([2, 0])] = x[:2]", "x[:, T.tensor([2, 0])] = x[:, :2]", "x[[0, 2], 1:] = x[:2, 1:]",
]  # fmt: skip


@pytest.mark.parametrize("statement", READ_WHAT_THEY_WRITE)
def test_no_order_of_reads_and_writes_decides(statement: str) -> None:
    """Of recorded tensors, of those that are made in forward, and outside of it."""
    square = X[0, :, :3] + 1

    def change(T, F, x):
        exec(statement, {"x": x, "T": T})
        return x

    with pytest.raises(UnsupportedError, match="memory that it writes to"):
        change(trtnet, F, trtnet.tensor(square))
    for made in (lambda x: x * 1, lambda x: trtnet.tensor(square)):
        with pytest.raises(UnsupportedError, match="memory that it writes to"):
            trtnet.record(lambda x, made=made: x + change(trtnet, F, made(x)), x=Input((3, 3)))


@pytest.mark.parametrize(
    "statement",
    [
        "x[0].add_(x[1])", "x[:, :1].mul_(x[:, 1:2])", "x.add_(x)", "x[1:].sub_(x[1:])", "x.detach()[0].copy_(x[1])",
        "x.masked_fill_(x > 3, x[1, 1])", "x.index_fill_(0, T.tensor([0]), x[2, 2])", "x.copy_(x.flip(0))",
        "x[::2].add_(x[1::2])", "x[:, 2:] *= x[:, 1:2]", "x[:].detach().add_(x)", "x.fill_(x[1, 1])",
        "x[:2].index_add_(0, T.tensor([1]), x[2:])", "x.addmm_(x * 1, x * 2)", "x[x > 4] = x[0, 0]",
        "x[T.tensor([2, 0])] = x[:2] * 1", "x[1] = x[0]", "x[T.tensor([2, 0])] += 1", "x[:2][T.tensor([1])] = x[2:]",
    ],
)  # fmt: skip
def test_no_order_of_reads_and_writes_matters(statement: str) -> None:
    def change(T, F, x):
        y = x[0, :, :3] + 1
        exec(statement, {"x": y, "T": T})
        z = T.arange(9).float().reshape(3, 3) + 1
        exec(statement, {"x": z, "T": T})
        return y, z + y

    same(change)


def test_parts_apart_and_the_same_part_are_read_and_written() -> None:
    def program(T, F, x):
        x = x * 1
        x[:, 0].add_(x[:, 1])
        x[:, 1:].mul_(x[:, 1:])
        x[:, :1].add_(x[:, :1])
        a, b = x.chunk(2, 2)
        a.add_(b)
        x.mul_(x)
        x.add_(x.mean(1, True))
        return x

    same(program)
