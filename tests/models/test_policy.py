"""The policies of models/policy.py against the same networks in torch."""

import itertools

import numpy as np
import pytest

import trtnet
from models.policy import ConvPolicy, MLPPolicy
from trtnet import Dim, Input

torch = pytest.importorskip("torch")


class TorchMLP(torch.nn.Module):
    def __init__(self, observations, actions, hidden):
        super().__init__()
        sizes = (observations, *hidden)

        def layers(after):
            found = []
            for a, b in itertools.pairwise(sizes):
                found += [torch.nn.Linear(a, b), torch.nn.Tanh()]
            return torch.nn.Sequential(*found, torch.nn.Linear(sizes[-1], after))

        self.actor, self.critic = layers(actions), layers(1)

    def forward(self, x):
        return {"logits": self.actor(x), "value": self.critic(x)[:, 0]}


class TorchConv(torch.nn.Module):
    def __init__(self, channels, actions):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(channels, 16, 8, 4), torch.nn.Conv2d(16, 32, 4, 2)
        self.fc = torch.nn.Linear(2592, 256)
        self.actor, self.critic = torch.nn.Linear(256, actions), torch.nn.Linear(256, 1)

    def forward(self, x):
        x = self.fc(self.conv2(self.conv1(x).relu()).relu().flatten(1)).relu()
        return {"logits": self.actor(x), "value": self.critic(x)[:, 0]}


@pytest.mark.parametrize("hidden", [(64, 64), (256, 256), (8,), ()])
def test_mlp(hidden):
    torch.manual_seed(0)
    mine, theirs = MLPPolicy(6, 3, hidden), TorchMLP(6, 3, hidden).double()
    mine.load_state_dict({n: v.float() for n, v in theirs.state_dict().items()})
    compare(mine, theirs.float().double(), "observation", (6,))


def test_convolutional():
    torch.manual_seed(0)
    mine, theirs = ConvPolicy(4, 6), TorchConv(4, 6)
    mine.load_state_dict(theirs.state_dict())
    compare(mine, theirs.double(), "image", (4, 84, 84))


def compare(mine, theirs, name, shape):
    graph = trtnet.record(mine, **{name: Input((Dim("batch", 1, 2, 8), *shape))})
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        found = trtnet.reference(graph, dtype="float64", raw=True)(x.astype(np.float64))
        wanted = theirs(torch.from_numpy(x).double())
        assert found["value"].shape == (batch,)
        for key in ("logits", "value"):
            np.testing.assert_allclose(found[key], wanted[key].detach().numpy(), rtol=1e-9, atol=1e-9)


def test_initial_weights_are_orthogonal():
    trtnet.manual_seed(3)
    weight = MLPPolicy(4, 2).actor[2].weight.numpy()
    np.testing.assert_allclose(weight @ weight.T, 2 * np.eye(64), atol=1e-5)
    assert np.abs(MLPPolicy(4, 2).actor[4].weight.numpy()).max() < 0.01
