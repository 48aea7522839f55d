"""to_torch: the graph as a torch.nn.Module to train."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from networks import Tied

torch = pytest.importorskip("torch")

import trtnet  # noqa: E402
from trtnet import Dim, Input, nn  # noqa: E402
from trtnet.errors import ArgumentTypeError, ShapeError  # noqa: E402

B = Dim("b", min=4, opt=4, max=8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 3)
        self.register_buffer("steps", trtnet.tensor(np.array([1, 2, 3], np.int64)))
        self.register_buffer("shift", trtnet.full((3,), 0.5), persistent=False)
        self.frozen = nn.Parameter(trtnet.ones(3), requires_grad=False)

    def forward(self, x):
        x = self.fc(self.features(x).mean((2, 3)))
        return x * self.frozen + self.shift + self.steps.to(trtnet.float32)


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.BatchNorm2d(4))
        self.fc = torch.nn.Linear(4, 3)
        self.register_buffer("steps", torch.tensor([1, 2, 3]))
        self.register_buffer("shift", torch.full((3,), 0.5), persistent=False)
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        x = self.fc(self.features(x).mean((2, 3)))
        return x * self.frozen + self.shift + self.steps.float()


def pair():
    torch.manual_seed(0)
    theirs = TorchNet().eval()
    with torch.no_grad():
        theirs.features[2].running_mean.normal_()
        theirs.features[2].running_var.uniform_(0.5, 2)
        theirs.features[2].weight.normal_()
    net = Net()
    net.load_state_dict(theirs.state_dict())
    graph = trtnet.record(net, x=Input((B, 1, 6, 6)))
    return graph, trtnet.to_torch(graph), theirs


def image(batch=4):
    return torch.randn(batch, 1, 6, 6, generator=torch.Generator().manual_seed(batch))


def test_the_same_keys_shapes_and_values():
    graph, mine, theirs = pair()
    assert set(mine.state_dict()) == set(theirs.state_dict()) == set(graph.state_dict())
    for name, value in theirs.state_dict().items():
        found = mine.state_dict()[name]
        assert (found.dtype, found.shape) == (value.dtype, value.shape), name
        assert torch.equal(found, value), name
    assert {n for n, _ in mine.named_parameters()} == {n for n, _ in theirs.named_parameters()}
    assert {n for n, _ in mine.named_buffers()} == {n for n, _ in theirs.named_buffers()}
    assert {n for n, p in mine.named_parameters() if p.requires_grad} == {
        n for n, p in theirs.named_parameters() if p.requires_grad
    }
    assert isinstance(mine.features, torch.nn.Module)
    assert mine.get_parameter("features.0.weight").shape == (4, 1, 3, 3)


def test_the_same_results_and_gradients():
    _, mine, theirs = pair()
    mine, theirs = mine.double(), theirs.double()
    x1, x2 = image().double().requires_grad_(), image().double().requires_grad_()
    a, b = mine(x1), theirs(x2)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    for output in (a, b):
        (output**2).sum().backward()
    torch.testing.assert_close(x1.grad, x2.grad, rtol=1e-5, atol=1e-5)
    wanted = dict(theirs.named_parameters())
    for name, parameter in mine.named_parameters():
        if wanted[name].grad is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-5, atol=1e-5, msg=name)
    assert mine.get_parameter("features.0.weight").grad.abs().sum() > 0


def test_its_values_are_copies():
    graph, mine, _ = pair()
    before = graph.state_dict()["fc.weight"].copy()
    with torch.no_grad():
        mine.fc.weight.zero_()
    np.testing.assert_array_equal(graph.state_dict()["fc.weight"], before)


def test_training_steps_and_the_way_back():
    graph, mine, _ = pair()
    optimizer = torch.optim.Adam(mine.parameters(), lr=0.05)
    x, y = image(8), torch.arange(8) % 3
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(mine(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] * 0.9
    graph.load_state_dict(mine.state_dict())
    engine = trtnet.reference(graph)
    torch.testing.assert_close(engine(x), mine(x).detach(), rtol=1e-5, atol=1e-5)
    before = engine(x)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(mine(x), y).backward()
    optimizer.step()
    assert torch.equal(engine(x), before), "further training does not reach the graph"
    engine.refit(mine.state_dict())
    torch.testing.assert_close(engine(x), mine(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
def test_minibatches_of_any_size(batch):
    graph, mine, theirs = pair()
    torch.testing.assert_close(mine(image(batch)), theirs(image(batch)), rtol=1e-5, atol=1e-5)
    if batch > 8:
        with pytest.raises(ShapeError, match="outside its range"):
            trtnet.reference(graph)(image(batch))


def test_sizes_that_are_fixed_and_equalities_are_checked():
    _, mine, _ = pair()
    with pytest.raises(ShapeError, match="wrong size in dimension 2"):
        mine(torch.zeros(4, 1, 7, 6))
    n, m = Dim("n", min=2, max=8), Dim("m", min=2, max=8)
    add = trtnet.to_torch(trtnet.record(lambda x, y: x + y, x=Input((n,)), y=Input((m,))))
    assert add(torch.ones(20), torch.ones(20)).shape == (20,)
    with pytest.raises(ShapeError, match="sizes differ"):
        add(torch.ones(1), torch.ones(3))


def test_tied_parameters_stay_tied():
    graph = trtnet.record(Tied(lambda: nn.Linear(2, 2, bias=False)), x=Input((1, 2)))
    module = trtnet.to_torch(graph)
    assert module.a.weight is module.b.weight
    assert set(module.state_dict()) == {"a.weight", "b.weight"}
    assert len(list(module.parameters())) == 1
    module(torch.ones(1, 2)).sum().backward()
    twin = copy.deepcopy(module)
    assert twin.a.weight is twin.b.weight
    with torch.no_grad():
        module.b.weight.fill_(3)
    assert module(torch.ones(1, 2)).tolist() == [[36, 36]]
    graph.load_state_dict(module.state_dict())
    assert trtnet.reference(graph)(np.ones((1, 2), np.float32)).tolist() == [[36, 36]]


def test_deep_copies_are_independent():
    _, mine, _ = pair()
    before = mine(image())
    twin = copy.deepcopy(mine)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    torch.testing.assert_close(mine(image()), before)
    assert not torch.allclose(twin(image()), before)


def test_state_dicts_go_through_torch_save():
    _, mine, theirs = pair()
    file = io.BytesIO()
    torch.save(mine.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    fresh = trtnet.to_torch(trtnet.record(Net(), x=Input((B, 1, 6, 6))))
    fresh.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(fresh(image()), theirs(image()), rtol=1e-5, atol=1e-5)


def test_forms_and_keyword_inputs():
    def forward(x, y):
        return {"sum": x + y, "difference": x - y}

    module = trtnet.to_torch(trtnet.record(forward, x=Input((2,)), y=Input((2,))))
    x, y = torch.tensor([5.0, 7.0]), torch.tensor([1.0, 2.0])
    for found in (module(x, y), module(x=x, y=y), module(x, y=y), module(y=y, x=x)):
        assert list(found) == ["sum", "difference"]
        assert found["difference"].tolist() == [4, 5]
    assert type(trtnet.to_torch(trtnet.record(lambda x: (x + 1,), x=Input((2,))))(x)) is tuple


@pytest.mark.parametrize(
    "call", [lambda m, x: m(), lambda m, x: m(x, x), lambda m, x: m(x, x=x), lambda m, x: m(image=x)]
)
def test_other_inputs_are_refused(call):
    _, mine, _ = pair()
    with pytest.raises(ArgumentTypeError, match="not the inputs") as caught:
        call(mine, image())
    assert caught.value.expected == "x"


def test_eval_is_the_recorded_network_and_the_first_mode():
    """In eval, dropout is the identity and BatchNorm uses its running statistics; test_training.py has the rest."""
    _, mine, _ = pair()
    assert not mine.training
    before = mine.state_dict()["features.2.running_mean"].clone()
    first = mine(image())
    torch.testing.assert_close(mine.eval()(image()), first)
    assert torch.equal(mine.state_dict()["features.2.running_mean"], before)
    assert not torch.allclose(mine.train()(image()), first)
    assert not torch.equal(mine.state_dict()["features.2.running_mean"], before)


def test_half_and_double_modules():
    half = trtnet.to_torch(trtnet.record(nn.Linear(3, 2).half(), input=Input((2, 3), "float16")))
    assert half.weight.dtype == torch.float16
    assert half(torch.ones(2, 3, dtype=torch.float16)).dtype == torch.float16
    _, mine, _ = pair()
    assert mine.double()(image().double()).dtype == torch.float64


def test_gradcheck_through_recipes():
    """BatchNorm is folded by a recipe; its gradient is the recipe's."""

    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(x)

    module = trtnet.to_torch(trtnet.record(Folded(), x=Input((2, 3)))).double()
    x = torch.randn(2, 3, dtype=torch.float64)
    epsilon = 1e-4
    for name in ("norm.weight", "norm.bias"):
        parameter = module.get_parameter(name)
        module.zero_grad()
        (module(x) ** 2).sum().backward()
        found = parameter.grad.clone()
        with torch.no_grad():
            for i in range(3):
                ends = []
                for sign in (1, -1):
                    parameter[i] += sign * epsilon
                    ends.append(float((module(x) ** 2).sum()))
                    parameter[i] -= sign * epsilon
                assert found[i].item() == pytest.approx((ends[0] - ends[1]) / (2 * epsilon), rel=1e-3, abs=1e-3)


def test_names_that_torch_modules_have_already():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("0", nn.Linear(2, 2))
            self.layers = nn.ModuleDict({"a-b": nn.Linear(2, 2)})

        def forward(self, x):
            return self.layers["a-b"](self._modules["0"](x))

    module = trtnet.to_torch(trtnet.record(Odd(), x=Input((1, 2))))
    assert set(module.state_dict()) == {"0.weight", "0.bias", "layers.a-b.weight", "layers.a-b.bias"}
    assert module(torch.ones(1, 2)).shape == (1, 2)


def test_repr_shows_the_graph():
    graph, mine, _ = pair()
    assert repr(graph) in repr(mine)
