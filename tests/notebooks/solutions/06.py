"""Lesson 6: inception 3a, by the paper's table."""

RIGHT = r'''# Exercise
class Block(nn.Module):
    """A convolution and ReLU."""

    def __init__(self, before, after, kernel_size, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel_size, padding=padding)

    def forward(self, x):
        return F.relu(self.conv(x))


class Inception3a(nn.Module):
    """(batch, 192, 28, 28) to (batch, 256, 28, 28)."""

    def __init__(self):
        super().__init__()
        self.branch1 = Block(192, 64, 1)
        self.branch2 = nn.Sequential(Block(192, 96, 1), Block(96, 128, 3, padding=1))
        self.branch3 = nn.Sequential(Block(192, 16, 1), Block(16, 32, 5, padding=2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), Block(192, 32, 1))

    def forward(self, x):
        return trtnet.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def check():
    from models.googlenet import SIZES, Inception, PlainConv2d

    inputs = {"x": Input((batch, 192, 28, 28))}
    goal = trtnet.record(Inception(*SIZES["3a"], conv_block=PlainConv2d, large=5), **inputs)
    try:
        graph = trtnet.record(Inception3a(), **inputs)
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    names, wanted = graph.state_dict(), goal.state_dict()
    missing, spare = [sorted(set(one) - set(other)) for one, other in ((wanted, names), (names, wanted))]
    if missing or spare:
        return print(f"Not yet. Weights that are missing: {missing}; weights that nobody expects: {spare}")
    for name, value in names.items():
        if value.shape != wanted[name].shape:
            return print(f"Not yet: {name} is {value.shape}. What does the table say?")
    if graph.outputs["output"].shape != goal.outputs["output"].shape:
        return print(f"Not yet: the result is {graph.outputs['output'].shape}, not {goal.outputs['output'].shape}.")
    if graph.structure_hash() != goal.structure_hash():
        for one, other in zip(graph.layers, goal.layers):
            if (one.kind, one.outputs[0].shape, one.structure()) != (
                other.kind,
                other.outputs[0].shape,
                other.structure(),
            ):
                return print(f"Not yet: the first layer that differs is a {one.kind} in {one.path or 'forward'!r}.")
        return print("Not yet: the layers are right, but they read one another in another order.")
    print(f"Right: {graph.structure_hash()[:12]}, layer by layer what the paper says.")


check()
'''

WRONG = [
    (
        RIGHT.replace("nn.MaxPool2d(3, stride=1, padding=1)", "nn.MaxPool2d(3, stride=1)"),
        "the same sizes in every dimension but 1",
    ),
    (
        RIGHT.replace("nn.MaxPool2d(3, stride=1, padding=1)", "nn.AvgPool2d(3, stride=1, padding=1)"),
        "the first layer that differs is a pooling in 'branch4.0'",
    ),
    (
        RIGHT.replace("self.branch2(x), self.branch3(x)", "self.branch3(x), self.branch2(x)"),
        "the first layer that differs is a convolution",
    ),
    (
        RIGHT.replace("Block(192, 96, 1), Block(96, 128", "Block(192, 64, 1), Block(64, 128"),
        "branch2.0.conv.weight is (64, 192, 1, 1)",
    ),
]
