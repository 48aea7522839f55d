"""Lesson 5: twelve networks, repaired."""

RIGHT = r'''class Stem(nn.Module):
    """A convolution to 8 maps, ReLU, a convolution to 4 maps; both have 3×3 kernels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 4, 3)

    def forward(self, image):
        return self.conv2(F.relu(self.conv1(image)))


class Head(nn.Module):
    """Ten scores of each image, from all of its numbers."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 10)

    def forward(self, image):
        return self.fc(image.flatten(1))


def gate(row):
    """Each number times its sigmoid."""
    return row * F.sigmoid(row)


def pairs(row):
    """The six numbers of each row as 2×3."""
    return row.reshape(-1, 2, 3)


def share(row):
    """Softmax over the six numbers of each row."""
    return F.softmax(row, dim=1)


def upright(row):
    """A row as it is where its sum is positive, else negated: each row by its own sum."""
    return trtnet.where(row.sum(1, keepdim=True) > 0, row, -row)


def lowered(row):
    """Each number that is positive less 1, the others as they are."""
    return row - (row > 0).to(row.dtype)


def doubled(row):
    """Each number plus what float16 makes of it, in float32."""
    return row + row.half().float()


def averaged(row):
    """The six numbers of each row, and their mean as the seventh."""
    return trtnet.cat([row, row.mean(1, keepdim=True)], 1)


def positive(row):
    """0 in place of what is negative."""
    return F.relu(row)


class Deep(nn.Module):
    """Two linear layers with ReLU between; the parameters are layers.0.weight, layers.1.weight and biases."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])

    def forward(self, row):
        return self.layers[1](F.relu(self.layers[0](row)))


class Scorer(nn.Module):
    """Five scores of each row."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 5)

    def forward(self, row):
        return self.fc(row)
'''

WRONG = [
    (
        RIGHT.replace(
            "trtnet.where(row.sum(1, keepdim=True) > 0, row, -row)", "trtnet.where(row.sum() > 0, row, -row)"
        ),
        "it records, but computes other numbers than its docstring says",
    ),
    (
        RIGHT.replace("nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])", "[nn.Linear(6, 6), nn.Linear(6, 6)]"),
        "it records, with a warning",
    ),
    (RIGHT.replace("row - (row > 0).to(row.dtype)", "row - (row > 0)"), "lowered   not yet"),
]
