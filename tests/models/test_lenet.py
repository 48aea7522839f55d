"""LeNet and its weights: against torch, against digits that were held out, and through TensorRT-RTX's compiler."""

import numpy as np
import pytest
from harness import check_against_torch, lower_and_compare, needs_rtx

import trtnet
from models.lenet import LeNet
from trtnet import Dim, Input
from trtnet.basics.bundled import bundled
from trtnet.cli.demo.digits import load_digits, mnist_like

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")


class TorchLeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 20, 5)
        self.conv2 = torch.nn.Conv2d(20, 50, 5)
        self.fc1 = torch.nn.Linear(800, 500)
        self.fc2 = torch.nn.Linear(500, 10)

    def forward(self, image):
        x = torch.max_pool2d(self.conv1(image), 2)
        x = torch.max_pool2d(self.conv2(x), 2)
        return torch.softmax(self.fc2(torch.relu(self.fc1(x.flatten(1)))), dim=1)


@pytest.fixture(scope="module")
def lenet():
    return LeNet().load_weights(bundled("weights/lenet.safetensors"))


@pytest.fixture(scope="module")
def graph(lenet):
    return trtnet.record(lenet, image=Input((Dim("batch", min=1, opt=8, max=1000), 1, 28, 28)))


@pytest.fixture(scope="module")
def held_out():
    return load_digits()[1]


def test_reads_the_held_out_digits(graph, held_out):
    prob = trtnet.reference(graph)(image=held_out.images)["prob"]
    assert prob.shape == (899, 10)
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-5)
    assert (prob.argmax(axis=1) == held_out.labels).mean() >= 0.97


def test_its_weights_matter(lenet, held_out):
    """Untrained, it reads about one in ten: the accuracy above comes from the file."""
    trtnet.manual_seed(0)
    graph = trtnet.record(LeNet(), image=Input((899, 1, 28, 28)))
    answers = trtnet.reference(graph)(image=held_out.images)["prob"].argmax(axis=1)
    assert (answers == held_out.labels).mean() < 0.4


def test_equals_a_lenet_written_in_torch(lenet, held_out):
    module = TorchLeNet()
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in lenet.state_dict().items()})
    check_against_torch(
        lenet,
        module,
        {"image": held_out.images[:16]},
        shapes={"image": (Dim("batch", min=1, opt=8, max=64), 1, 28, 28)},
    )


def test_torch_takes_its_state_dict(graph):
    module = TorchLeNet()
    found = trtnet.to_torch(graph).state_dict()
    assert list(found) == list(module.state_dict())
    module.load_state_dict(found)
    assert sum(p.numel() for p in module.parameters()) == 431_080


def test_layers_as_recorded(graph):
    kinds = [layer.kind for layer in graph.layers]
    for kind, count in {"convolution": 2, "pooling": 2, "shuffle": 1, "activation": 1, "softmax": 1}.items():
        assert kinds.count(kind) == count, kinds
    assert [str(s) for s in graph.outputs["prob"].shape] == ["batch", "10"]
    assert {layer.path for layer in graph.layers} == {"", "conv1", "conv2", "fc1", "fc2"}
    lowering = lower_and_compare(graph)
    if lowering is not None:
        names = {held.name for held in lowering.ledger}
        assert names >= {f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")}


def test_compiles_fixed_and_refittable(lenet):
    needs_rtx()
    graph = trtnet.record(lenet, image=Input((1, 1, 28, 28)))
    whole = trtnet.build_plan(graph, targets=["sm86", "sm120"], optimization_level=0)
    stripped = trtnet.build_plan(graph, targets="sm86", optimization_level=0, refit=True)
    weights = 431_080 * 4
    assert len(whole) > weights > len(stripped)
    assert whole.targets == ("sm86", "sm120")
    assert stripped.stripped


def test_training_goes_through_to_torch(graph, held_out):
    """A few steps of gradient descent lower the loss, and the engine takes the new weights."""
    module = trtnet.to_torch(graph)
    image, label = torch.from_numpy(held_out.images[:32]), torch.from_numpy(held_out.labels[:32])
    target = (label + 1) % 10
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.nll_loss(torch.log(module(image)["prob"].clamp_min(1e-12)), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    engine = trtnet.reference(graph)
    engine.refit(module.state_dict())
    with torch.no_grad():
        np.testing.assert_allclose(engine(image=image)["prob"].numpy(), module(image)["prob"].numpy(), atol=1e-6)


def test_digits_look_like_mnist():
    images = np.zeros((2, 8, 8))
    images[0, 1:7, 3:5] = 16  # a one
    made = mnist_like(images)
    assert made.shape == (2, 28, 28)
    assert made.dtype == np.float32
    assert made.min() == 0
    assert made.max() == 1
    rows, columns = made[0].sum(1), made[0].sum(0)
    centre = [float(v @ np.arange(28) / v.sum()) for v in (rows, columns)]
    assert centre == pytest.approx([13.5, 13.5], abs=0.5)
    inked = np.flatnonzero(rows > 0)
    assert 13 <= inked[-1] - inked[0] + 1 <= 18
    assert not made[1].any()  # nothing to centre


def test_halves_of_the_digits():
    training, held_out = load_digits()
    assert training.images.shape == (898, 1, 28, 28)
    assert held_out.images.shape == (899, 1, 28, 28)
    assert set(held_out.labels) == set(range(10))
