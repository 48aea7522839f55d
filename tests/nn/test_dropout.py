"""Dropout is the identity, and says so where a caller wants it to drop."""

import pytest
import torch

import trtnet
from trtnet import Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, UnsupportedError

NAMES = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", NAMES)
def test_modules(name):
    module = getattr(nn, name)(0.3)
    assert repr(module) == repr(getattr(torch.nn, name)(0.3))
    graph = trtnet.record(nn.Sequential(module, nn.ReLU()), input=Input((1, 2)))
    assert [layer.path for layer in graph.layers] == ["1"]
    with pytest.raises(ArgumentError, match="0 to 1"):
        getattr(nn, name)(1.5)


@pytest.mark.parametrize(
    "name", ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
def test_functions(name):
    function = getattr(F, name)

    class Net(nn.Module):
        def forward(self, x):
            return F.relu(function(function(x, 0.5, training=self.training), p=0.0, training=True))

    assert Net().training
    assert len(trtnet.record(Net(), x=Input((1, 2))).layers) == 1
    with pytest.raises(UnsupportedError, match=r"training=self\.training"):
        trtnet.record(lambda x: function(x, 0.5, training=True), x=Input((1, 2)))


def test_the_default_trains_as_in_torch():
    with pytest.raises(UnsupportedError, match="training=False") as caught:
        trtnet.record(lambda x: F.dropout(x, 0.5), x=Input((1, 2)))
    assert "F.dropout(x, 0.5)" in str(caught.value)
