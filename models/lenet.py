"""LeNet, as Caffe's MNIST example has it: two convolutions, two pools, two matrices. 431,080 parameters."""

from trtnet import functional as F
from trtnet import nn


class LeNet(nn.Module):
    """Handwritten digits: `image` (batch, 1, 28, 28), white on black, 0 to 1 -> `prob` (batch, classes)."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, image):
        x = F.max_pool2d(self.conv1(image), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return {"prob": F.softmax(self.fc2(x), dim=1)}
