"""GoogLeNet: against the same network written in torch, and through TensorRT-RTX's shape inference and compiler."""

import numpy as np
import pytest
from harness import check_against_torch, lower_and_compare, needs_rtx, randomize, torch_state

import trtnet
from models.googlenet import googlenet, googlenet_2014
from trtnet import Dim, Input
from trtnet.errors import WeightsError

torch = pytest.importorskip("torch")
nn = torch.nn

# Table 1 of the paper: 1×1, 3×3 reduced, 3×3, 5×5 reduced, 5×5, pool
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def torch_block(before, after, kernel, stride=1, *, paper=False):
    """Keys conv.weight and, of torchvision's network, bn.*; of the paper's, conv.bias."""
    made = nn.Sequential()
    made.add_module("conv", nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=paper))
    if not paper:
        made.add_module("bn", nn.BatchNorm2d(after, eps=1e-3))
    made.add_module("relu", nn.ReLU())
    return made


class TorchInception(nn.Module):
    def __init__(self, before, sizes, paper):
        super().__init__()
        one, small, three, tiny, five, pooled = sizes
        large = 5 if paper else 3
        self.branch1 = torch_block(before, one, 1, paper=paper)
        self.branch2 = nn.Sequential(
            torch_block(before, small, 1, paper=paper), torch_block(small, three, 3, paper=paper)
        )
        self.branch3 = nn.Sequential(
            torch_block(before, tiny, 1, paper=paper), torch_block(tiny, five, large, paper=paper)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), torch_block(before, pooled, 1, paper=paper))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class TorchAux(nn.Module):
    def __init__(self, before, classes):
        super().__init__()
        self.conv = torch_block(before, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.conv(torch.nn.functional.adaptive_avg_pool2d(x, 4))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class TorchGoogLeNet(nn.Module):
    """torchvision's network, or (`paper`) Caffe's."""

    def __init__(self, classes=1000, *, paper=False, aux=False, transform=False):
        super().__init__()
        self.paper, self.aux, self.transform = paper, aux, transform
        self.conv1 = torch_block(3, 64, 7, 2, paper=paper)
        self.conv2 = torch_block(64, 64, 1, paper=paper)
        self.conv3 = torch_block(64, 192, 3, paper=paper)
        before = 192
        for name, sizes in TABLE.items():
            self.add_module(f"inception{name}", TorchInception(before, sizes, paper))
            before = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        if aux:
            self.aux1 = TorchAux(512, classes)
            self.aux2 = TorchAux(528, classes)
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        norm = nn.LocalResponseNorm(5) if self.paper else nn.Identity()
        pool, last = nn.MaxPool2d(3, 2, ceil_mode=True), 3 if self.paper else 2
        if self.transform:
            mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=x.dtype)
            x = ((x * deviation[:, None, None] + mean[:, None, None]) - 0.5) / 0.5
        x = norm(pool(self.conv1(x)))
        x = pool(norm(self.conv3(self.conv2(x))))
        heads = {}
        for name in TABLE:
            x = self.get_submodule(f"inception{name}")(x)
            if self.aux and name in ("4a", "4d"):
                heads[name] = self.get_submodule("aux1" if name == "4a" else "aux2")(x)
            if name == "3b":
                x = pool(x)
            if name == "4e":
                x = torch.max_pool2d(x, last, 2, ceil_mode=True)
        logits = self.fc(x.mean((2, 3)))
        return (logits, heads["4d"], heads["4a"]) if self.aux else logits


def torch_net(**options):
    """Weights and statistics that keep the numbers of every layer near 1."""
    net = randomize(TorchGoogLeNet(**options)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if value.dim() > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
            elif name.endswith("bn.weight"):
                value.abs_().add_(0.5)
    return net


@pytest.mark.parametrize(
    ("make", "parameters", "keys"),
    [
        (googlenet, 6_624_904, 344),  # torchvision's documentation has this count
        (lambda: googlenet(aux_logits=True), 13_004_888, 344 + 20),
        (googlenet_2014, 6_998_552, 116),  # and this one is of Caffe's file
    ],
    ids=["torchvision", "torchvision with aux", "paper"],
)
def test_it_has_the_known_parameters(make, parameters, keys):
    net = make()
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(list(net._leaves())) == keys


@pytest.mark.parametrize("options", [{}, {"aux": True}, {"paper": True}], ids=["", "aux", "paper"])
def test_its_keys_and_shapes_are_torchs(options):
    net = googlenet_2014() if options.get("paper") else googlenet(aux_logits=bool(options))
    mine = {name: tuple(leaf.shape) for name, leaf in net._leaves().items()}
    assert mine == {name: tuple(value.shape) for name, value in TorchGoogLeNet(**options).state_dict().items()}


def test_torchvisions_names():
    names = set(googlenet(aux_logits=True)._leaves())
    assert {
        "conv1.conv.weight", "conv3.bn.running_var", "inception3a.branch1.conv.weight",
        "inception4e.branch2.1.bn.num_batches_tracked", "inception5b.branch3.1.conv.weight",
        "inception5b.branch4.1.conv.weight", "aux1.conv.bn.bias", "aux2.fc2.weight", "fc.bias",
    } <= names  # fmt: skip


@pytest.mark.parametrize(("transform", "tolerance"), [(False, 1e-9), (True, 1e-6)])  # its factors are float32
def test_equals_the_network_in_torch(transform, tolerance):
    module = torch_net(classes=10, transform=transform)
    image = np.random.default_rng(0).standard_normal((2, 3, 64, 96)).astype(np.float32)
    graph = check_against_torch(
        googlenet(10, transform_input=transform),
        module,
        {"image": image},
        shapes={"image": (Dim("batch", min=1, opt=2, max=4), 3, 64, 96)},
        state_dict=torch_state(module),
        compile=False,
        rtol=tolerance,
        atol=tolerance,
    )
    assert [str(s) for s in graph.outputs["output"].shape] == ["batch", "10"]


def test_the_papers_network_equals_torchs():
    module = torch_net(classes=10, paper=True)
    image = np.random.default_rng(0).standard_normal((2, 3, 96, 64)).astype(np.float32)
    check_against_torch(googlenet_2014(10), module, {"image": image}, state_dict=torch_state(module), compile=False)


def test_the_auxiliary_heads_run_where_asked():
    module = torch_net(classes=10, aux=True)
    net = googlenet(10, aux_logits=True)
    net.load_state_dict(torch_state(module))
    graph = trtnet.record(net, image=Input((2, 3, 64, 64)), aux=True)
    assert list(graph.outputs) == ["logits", "aux2", "aux1"]
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 64, 64)))
    with torch.inference_mode():
        expected = module.double()(image)
        found = trtnet.reference(graph, dtype="float64", raw=True)(image)
    for (name, mine), torchs in zip(found.items(), expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), torchs.numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_file_with_auxiliary_heads_loads(tmp_path):
    state = torch_state(torch_net(classes=10, aux=True))
    np.savez(tmp_path / "weights.npz", **state)
    whole = googlenet(10, aux_logits=True).load_weights(tmp_path / "weights.npz")
    with pytest.raises(WeightsError, match=r"aux1\.conv\.conv\.weight"):
        googlenet(10).load_weights(tmp_path / "weights.npz")
    without = googlenet(10).load_weights(tmp_path / "weights.npz", strict=False)
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    one, two = (trtnet.reference(trtnet.record(n, image=Input((1, 3, 64, 64))))(image=image) for n in (whole, without))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one).max() > 0


@pytest.mark.parametrize("make", [googlenet, googlenet_2014], ids=["torchvision", "paper"])
def test_sizes_are_the_papers(make):
    """Table 1: 28×28 after 3a, 14×14 after 4a, 7×7 after 5a, for images of 224×224; TensorRT infers the same."""
    graph = trtnet.record(make(), image=Input((Dim("batch", min=1, opt=8, max=32), 3, 224, 224)))
    lower_and_compare(graph, compile=False)
    found = {layer.path: layer.outputs[0].shape for layer in graph.layers if layer.kind == "concatenation"}
    for name, (one, _, three, _, five, pooled) in TABLE.items():
        side = {"3": 28, "4": 14, "5": 7}[name[0]]
        assert found[f"inception{name}"][1:] == (one + three + five + pooled, side, side), name


def test_compiles():
    needs_rtx()
    graph = trtnet.record(googlenet(), image=Input((1, 3, 224, 224)))
    plan = trtnet.build_plan(graph, targets="sm86", optimization_level=0, refit=True)
    assert plan.stripped
    assert len(plan) < 4 * 6_000_000
