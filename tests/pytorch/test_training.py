"""to_torch in training: as the torch module that was written again in trtnet."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input, nn  # noqa: E402
from trtnet import functional as F  # noqa: E402
from trtnet.engine.graph_json import from_json, to_json  # noqa: E402
from trtnet.errors import UnsupportedError  # noqa: E402

B = Dim("b", min=1, opt=4, max=64)


def both(make, *shape, dynamic=False, seed=0):
    """torch's module and ours to train, of the same random weights in float64, and inputs of this shape."""
    torch.manual_seed(seed)
    theirs = make(torch.nn, torch.nn.functional)
    with torch.no_grad():
        for name, value in (*theirs.named_parameters(), *theirs.named_buffers()):
            if value.is_floating_point():
                value.normal_(0.2, 0.5)
                if "running_var" in name:
                    value.abs_().add_(0.3)
    net = make(nn, F)
    net.load_state_dict(theirs.state_dict())
    inputs = {"input" if isinstance(net, nn.Sequential) else "x": Input((B if dynamic else shape[0], *shape[1:]))}
    graph = trtnet.record(net, **inputs)
    return theirs.double(), trtnet.to_torch(graph).double(), graph


def same_state(mine, theirs):
    wanted = theirs.state_dict()
    assert list(mine.state_dict()) == list(wanted)
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


def train_alike(mine, theirs, shape, steps=4, modes=lambda step: True):
    """Some steps of SGD on both with the same seed: outputs, gradients of inputs and parameters, and all the state."""
    ours, torchs = (torch.optim.SGD(m.parameters(), lr=0.05) if [*m.parameters()] else None for m in (mine, theirs))
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        x = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 0.5
        found = []
        for module, optimizer in ((mine, ours), (theirs, torchs)):
            module.train(modes(step))
            torch.manual_seed(step)
            given = x.clone().requires_grad_()
            y = module(given)
            if optimizer is not None:
                optimizer.zero_grad()
            (y.sin() * torch.arange(1, y.numel() + 1, dtype=torch.float64).reshape(y.shape)).mean().backward()
            if optimizer is not None:
                optimizer.step()
            found.append((y.detach(), given.grad))
        for a, b in zip(*found):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        same_state(mine, theirs)


NORMS = {"BatchNorm1d": (6, 3), "BatchNorm2d": (5, 3, 4, 2), "BatchNorm3d": (4, 3, 2, 3, 2),
         "InstanceNorm1d": (4, 3, 5), "InstanceNorm2d": (3, 3, 4, 2), "InstanceNorm3d": (2, 3, 2, 3, 2)}  # fmt: skip


@given(
    st.sampled_from(sorted(NORMS)), st.sampled_from([0.1, 0.37, 1.0, None]), st.booleans(), st.booleans(),
    st.booleans(), st.sampled_from([1e-5, 1e-2]), st.integers(0, 1000),
)  # fmt: skip
def test_normalization_trains_as_torchs(name, momentum, affine, tracked, dynamic, eps, seed):
    if name.startswith("Instance") and momentum is None:
        momentum = 0.5  # torch itself takes no None there
    shape = NORMS[name]

    def make(nn, F):
        return nn.Sequential(
            getattr(nn, name)(3, eps=eps, momentum=momentum, affine=affine, track_running_stats=tracked), nn.Tanh()
        )

    theirs, mine, graph = both(make, *shape, dynamic=dynamic, seed=seed)
    train_alike(mine, theirs, shape, modes=lambda step: step != 2)  # one step of it in eval
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-6)
    if tracked:
        before = graph.state_dict()["0.running_mean"]
        assert not np.allclose(mine.state_dict()["0.running_mean"].numpy(), before)
        assert int(mine.get_buffer("0.num_batches_tracked")) == (3 if name.startswith("Batch") else 0)


def test_statistics_that_are_kept_but_not_tracked():
    def make(nn, F):
        module = nn.BatchNorm1d(3)
        module.track_running_stats = False
        return nn.Sequential(module)

    theirs, mine, _ = both(make, 6, 3)
    train_alike(mine, theirs, (6, 3))


def test_torchs_own_complaints_stay():
    mine = trtnet.to_torch(trtnet.record(nn.Sequential(nn.BatchNorm1d(3)), input=Input((1, 3)))).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        mine(torch.ones(1, 3))


DROPS = {
    "Dropout": (40, 5),
    "Dropout1d": (8, 20, 5),
    "Dropout2d": (8, 20, 2, 3),
    "Dropout3d": (8, 20, 2, 2, 3),
    "AlphaDropout": (40, 5),
    "FeatureAlphaDropout": (8, 20, 2, 3),
}


@pytest.mark.parametrize("name", DROPS)
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_dropout_drops_as_torchs(name, inplace, dynamic):
    shape = DROPS[name]

    def make(nn, F):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.drop = getattr(nn, name)(0.4, inplace)

            def forward(self, x):
                h = x * 2
                y = self.drop(h)
                return y * 3 + h.sin()  # `h` itself is dropped from too where it is in place

        return Net()

    theirs, mine, graph = both(make, *shape, dynamic=dynamic)
    assert [layer.kind for layer in graph.layers].count("dropout") == 0
    train_alike(mine, theirs, shape, modes=lambda step: step != 1)
    x = torch.randn(shape, dtype=torch.float64)
    torch.manual_seed(0)
    a, b = mine.train()(x), mine(x)
    assert not torch.equal(a, b)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
def test_functions_drop_by_the_mode_of_the_module_whose_it_is(name):
    shape = (8, 20, 5) if name == "dropout1d" else (8, 20, 2, 2, 3) if name == "dropout3d" else (8, 20, 3, 2)

    def make(nn, F):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Tanh()
                self.p = 0.3

            def forward(self, x):
                function = getattr(F, name)
                a = function(self.inner(x), self.p, training=self.training)
                b = function(x, 0.5, training=False)
                c = function(x, 0.0, training=self.training)
                return function(a + b, self.p, self.training) * c + function(x, 0.7, self.inner.training)

        return Net()

    theirs, mine, _ = both(make, *shape)
    train_alike(mine, theirs, shape)
    for module in (mine, theirs):
        module.train()
        module.inner.eval()
    x, found = torch.randn(shape, dtype=torch.float64), []
    for module in (mine, theirs):
        torch.manual_seed(5)
        found.append(module(x))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("inplace", [False, True])
def test_changes_in_place_after_dropout(inplace):
    def make(nn, F):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(6, 6)
                self.drop = nn.Dropout(0.4, inplace)

            def forward(self, x):
                h = self.drop(self.fc(x))
                h += x
                h[:, 0] = 1.0
                y = self.drop(h * 2).view(-1, 3)
                y.mul_(2.0)
                return y

        return Net()

    theirs, mine, _ = both(make, 8, 6)
    train_alike(mine, theirs, (8, 6), modes=lambda step: step != 1)


def test_memory_that_dropout_shares_in_eval_alone_is_not_trained():
    class Given(nn.Module):
        def forward(self, x):
            h = x * 2
            y = F.dropout(h, 0.5, self.training)
            y += 1
            return y + h

    class Gave(nn.Module):
        def forward(self, x):
            h = x * 2
            y = F.dropout(h, 0.5, self.training)
            h += 1
            return y + h

    for make in (Given, Gave):
        module = trtnet.to_torch(trtnet.record(make(), x=Input((B, 3))))
        torch.testing.assert_close(module(torch.ones(2, 3)), torch.full((2, 3), 6.0))  # as torch in eval
        with pytest.raises(UnsupportedError, match="changed in place"):
            module.train()


def network(nn, F):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(4)
            self.drop = nn.Dropout2d(0.25)
            self.slopes = nn.RReLU()

        def forward(self, x):
            h = self.bn(self.conv(self.drop(x)))
            h += x
            return self.slopes(h)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(2, 4, 3, padding=1)
            self.blocks = nn.Sequential(Block(), Block())
            self.norm = nn.BatchNorm1d(4, momentum=None)
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            h = self.blocks(self.stem(x)).mean((2, 3))
            return self.fc(F.dropout(self.norm(h), 0.5, self.training))

    return Net()


SHAPE = (6, 2, 5, 5)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_a_network_trains_as_torchs(dynamic):
    theirs, mine, _ = both(network, *SHAPE, dynamic=dynamic)
    train_alike(mine, theirs, SHAPE, steps=6)
    # parts of it in eval, as for fine-tuning
    for module in (mine, theirs):
        for part in (module.blocks[0].bn if module is theirs else module.get_submodule("blocks.0.bn"), module.norm):
            part.eval()
    x, found = torch.randn(SHAPE, dtype=torch.float64), []
    for module in (mine, theirs):
        torch.manual_seed(3)
        found.append(module(x))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)
    same_state(mine, theirs)


def test_transformers_train_as_torchs():
    def make(nn, F):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.2, batch_first=True)
                self.attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)

            def forward(self, x):
                y = self.layer(x)
                out, weights = self.attention(y, x, x)
                return out + weights.sum(-1, keepdim=True)

        return Net()

    theirs, mine, _ = both(make, 3, 5, 8)
    assert mine.get_submodule("layer.dropout1")
    mine.train()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    assert not torch.equal(mine(x), mine(x))
    assert torch.equal(mine.eval()(x), mine(x))
    torch.testing.assert_close(mine(x), theirs.eval()(x), rtol=1e-5, atol=1e-6)
    # torch draws its masks in another order of dimensions: on average they are the same
    mine.train(), theirs.train()
    with torch.no_grad():
        means = [torch.stack([module(x) for _ in range(600)]).double() for module in (mine, theirs)]
    error = sum(m.var(0) / 600 for m in means).sqrt()
    assert ((means[0].mean(0) - means[1].mean(0)).abs() / error).max() < 6
    ratio = means[0].var(0) / means[1].var(0)
    assert (ratio.log().abs().mean()) < 0.15


@pytest.mark.parametrize("is_torchs", [False, True], ids=["ours", "torchs"])
@pytest.mark.parametrize(
    "options", [{"padding_idx": 0}, {"padding_idx": -2}, {"scale_grad_by_freq": True}, {}], ids=str
)
def test_the_gradients_of_a_table_are_torchs(options, is_torchs):
    def looks(modules):
        class Looks(modules.Module):
            """A table that is looked up, and whose every row is used as a matrix, too."""

            def __init__(self):
                super().__init__()
                self.table = modules.Embedding(6, 3, **options)

            def forward(self, ids):
                return self.table(ids) @ self.table.weight.t()

        return Looks()

    theirs = looks(torch.nn)
    net = theirs if is_torchs else looks(nn)
    if not is_torchs:
        net.load_state_dict(theirs.state_dict())
    graph = trtnet.record(net, ids=Input((B, 4), "int64"))
    ids = torch.tensor([[0, 4, 4, 1], [5, 4, 0, 0]])
    mine = trtnet.to_torch(graph)
    for module in (
        mine,
        copy.deepcopy(mine),
        pickle.loads(pickle.dumps(mine)),
        trtnet.to_torch(pickle.loads(pickle.dumps(graph))),
    ):
        module.load_state_dict(theirs.state_dict())
        for trains in (False, True) if not is_torchs else (False,):
            found = []
            for one in (module.train(trains), theirs.train(trains)):
                one.zero_grad()
                made = one(ids)
                (made * torch.arange(made.numel()).reshape(made.shape).sin()).sum().backward()
                found.append((made.detach(), one.get_parameter("table.weight").grad))
            for a, b in zip(*found):
                torch.testing.assert_close(a, b)


class Sign(trtnet.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.sign()

    @staticmethod
    def backward(context, gradient):
        return gradient


def under(context, function):
    with context:
        return function()


CUTS = {
    "detach": (lambda x, w: x + (x.round() - x).detach(), "forward detaches"),
    "weight": (lambda x, w: x * w.detach(), "forward detaches"),
    "detach_": (lambda x, w: (x * 2).detach_(), "forward detaches"),
    "data": (lambda x, w: (x * 2).data, "forward detaches"),
    "weight's data": (lambda x, w: x * w.data, "forward takes .data"),
    "Function": (lambda x, w: Sign.apply(x), "Sign has a backward of its own"),
    "no_grad": (lambda x, w: under(trtnet.no_grad(), lambda: x * w), "forward computes under no_grad"),
    "@no_grad": (lambda x, w: trtnet.no_grad(lambda: x * w)(), "forward computes under no_grad"),
    "@no_grad()": (lambda x, w: trtnet.no_grad()(lambda: x * w)(), "forward computes under no_grad"),
    "inference_mode": (lambda x, w: under(trtnet.inference_mode(), lambda: x * w), "under inference_mode"),
    "set_grad_enabled": (lambda x, w: under(trtnet.set_grad_enabled(False), lambda: x * w), "set_grad_enabled(False)"),
    "with gradients": (lambda x, w: under(trtnet.set_grad_enabled(True), lambda: x * w), ""),
    "enabled": (lambda x, w: under(trtnet.enable_grad(), lambda: x * w), ""),
    "inference_mode(False)": (lambda x, w: under(trtnet.inference_mode(False), lambda: x * w), ""),
    "dropout": (lambda x, w: F.dropout1d(x * w, 0.5, training=False), ""),
}


@pytest.mark.parametrize("name", CUTS)
def test_gradients_that_forward_keeps_back_are_warned_of(name):
    forward, text = CUTS[name]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(trtnet.ones(3))

        def forward(self, x):
            return forward(x, self.w) * self.w

    graph = trtnet.record(Net(), x=Input((2, 3)))
    for one in (graph, pickle.loads(pickle.dumps(graph)), graph.prune()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = trtnet.to_torch(one)
        assert [text in str(found.message) for found in caught] == ([True] if text else [])
        assert all(__file__ in str(found.message) and found.filename == __file__ for found in caught)
        assert module(torch.ones(2, 3)).shape == (2, 3)


def test_the_graph_is_the_one_without_dropout():
    class Net(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.fc, self.drop, self.bn = nn.Linear(4, 4), nn.Dropout(p), nn.BatchNorm1d(4)

        def forward(self, x):
            h = self.drop(self.drop(self.fc(x)))
            return h, self.bn(h) + self.drop(x), F.dropout(h, 0.5, self.training), self.drop(x)

    trtnet.manual_seed(0)
    dropping, plain = (trtnet.record(Net(p), x=Input((B, 4))) for p in (0.5, 0.0))
    assert [repr(layer) for layer in dropping.layers] == [repr(layer) for layer in plain.layers]
    assert [layer.name for layer in dropping.layers] == [layer.name for layer in plain.layers]
    assert dropping.structure_hash() == plain.structure_hash()
    assert dropping.summary() == plain.summary()
    assert dropping.drawn_outputs() == []
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    mine = trtnet.to_torch(dropping)
    assert not mine.training
    rows = torch.from_numpy(x).repeat(10, 1)
    torch.manual_seed(4)
    h, _, third, fourth = mine.train()(rows)
    assert 0.6 < (h == 0).float().mean() < 0.9  # of half, half is left
    assert ((third == 0) | (h != 0)).all()
    assert 0.3 < (fourth == 0).float().mean() < 0.7
    np.testing.assert_array_equal(mine.eval()(rows)[3].numpy(), rows.numpy())


def test_notes_survive_json_copies_and_pickle():
    theirs, mine, graph = both(network, *SHAPE)
    read = from_json(to_json(graph))
    for name, leaf in read.parameters.items():
        leaf.value.array = graph.parameters[name].value.read()
    again = [trtnet.to_torch(read).double(), copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))]
    for other in again:
        train_alike(other, copy.deepcopy(theirs), SHAPE, steps=3)
    assert to_json(read)["training"] == to_json(graph)["training"]
    assert to_json(graph)["training"]["instead"]


def test_a_graph_without_notes_is_not_trained():
    _, _, graph = both(network, *SHAPE)
    data = to_json(graph)
    del data["training"]
    read = from_json(data)
    for name, leaf in read.parameters.items():
        leaf.value.array = graph.parameters[name].value.read()
    module = trtnet.to_torch(read)
    with pytest.raises(UnsupportedError, match="saved without what its modules do"):
        module.train()
    module.eval()(torch.zeros(SHAPE))


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        p = 0.5 if self.training else 0.0  # the line that is at fault
        return F.dropout(self.fc(x), p, False)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Undecided()

    def forward(self, x):
        return self.inner(x)


def test_a_forward_that_decides_by_its_mode_is_not_trained():
    module = trtnet.to_torch(trtnet.record(Outer(), x=Input((B, 3))))
    x = torch.ones(2, 3)
    before = module(x)
    with pytest.raises(UnsupportedError, match=r"forward decides by self\.training") as caught:
        module.train()
    assert caught.value.where.file == __file__
    assert "the line that is at fault" in caught.value.where.excerpt()
    assert caught.value.module == "inner"
    assert "training=self.training" in caught.value.remedy
    assert not module.training
    module.inner.train()  # torch's own method of a part
    with pytest.raises(UnsupportedError, match="decides by"):
        module(x)
    module.eval()
    assert torch.equal(module(x), before)

    class Mended(Undecided):
        def forward(self, x):
            return F.dropout(self.fc(x), 0.5, training=self.training)

    mended = trtnet.to_torch(trtnet.record(Mended(), x=Input((B, 3)))).train()
    assert not torch.equal(mended(torch.ones(20, 3)), mended(torch.ones(20, 3)))


@pytest.mark.parametrize(
    "decide",
    [
        lambda mode: 1.0 if mode else 2.0,
        lambda mode: float(not mode),
        lambda mode: 1.0 + (mode == True),  # noqa: E712
        lambda mode: 0.5 * mode,
        lambda mode: 1.0 + int(mode),
    ],
)
def test_every_way_to_decide_is_seen(decide):
    class Net(nn.Module):
        def forward(self, x):
            return x + decide(self.training)

    with pytest.raises(UnsupportedError, match="decides by"):
        trtnet.to_torch(trtnet.record(Net(), x=Input((2,)))).train()


def test_what_else_cannot_be_trained():
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Buffer(trtnet.zeros(3))

        def forward(self, x):
            return F.batch_norm(x, self.mean * 2, self.mean + 1, training=self.training)

    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(trtnet.ones(3, 3))

        def forward(self, x):
            return F.linear(x, F.dropout(self.weight, 0.5, self.training))

    class InLoop(nn.Module):
        """The statistics of x, which no iteration changes: torch would count them three times."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return trtnet.scan(lambda h, _: (h + self.norm(x), None), x, length=3)[0]

    made = (
        (Computed, "that are computed"),
        (Weights, "does not compute"),
        (InLoop, "counted in a loop or a conditional"),
    )
    for make, text in made:
        module = trtnet.to_torch(trtnet.record(make(), x=Input((B, 3))))
        module.eval()(torch.ones(4, 3))
        with pytest.raises(UnsupportedError, match=text):
            module.train()


def test_functional_batch_norm_trains_as_torchs():
    def make(nn, F):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(3)

            def forward(self, x):
                n = self.norm
                return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, self.training, 0.2, n.eps)

        return Net()

    theirs, mine, _ = both(make, 6, 3)
    train_alike(mine, theirs, (6, 3))
    assert int(mine.norm.num_batches_tracked) == 0


def test_half_precision_and_float32():
    for dtype in ("float16", "float32"):
        net = nn.Sequential(nn.BatchNorm2d(4)).to(getattr(trtnet, dtype))
        mine = trtnet.to_torch(trtnet.record(net, input=Input((3, 4, 2, 2), dtype))).train()
        theirs = torch.nn.Sequential(torch.nn.BatchNorm2d(4)).to(getattr(torch, dtype))
        x = torch.randn(3, 4, 2, 2, dtype=getattr(torch, dtype))
        torch.testing.assert_close(mine(x), theirs(x), rtol=2e-3, atol=2e-3)
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], value, rtol=2e-3, atol=2e-3)


def test_what_is_trained_goes_back():
    theirs, mine, graph = both(network, *SHAPE)
    train_alike(mine, theirs, SHAPE)
    graph.load_state_dict(mine.float().state_dict())
    x = torch.randn(SHAPE)
    torch.testing.assert_close(trtnet.reference(graph)(x), theirs.float().eval()(x), rtol=1e-4, atol=1e-4)


def test_the_mode_is_false_while_recording_and_real_outside():
    seen = []

    class Net(nn.Module):
        def forward(self, x):
            seen.append((repr(self.training), not self.training))
            return x + 1

    net = Net().train()
    assert net.training is True
    trtnet.record(net, x=Input((2,)))
    assert seen == [("False", True)]
    assert net.training is True
    assert net.eval().training is False
