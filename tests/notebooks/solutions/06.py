"""Lesson 6: inception 3a, by the paper's table."""

RIGHT = r'''class Block(nn.Module):
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
