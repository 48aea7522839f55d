"""PointNet (Qi et al. 2017) for classification, with the parameter names of the usual PyTorch version of it."""

import trtnet
from trtnet import Tensor, nn
from trtnet import functional as F


class Transform(nn.Module):
    """A matrix of `size` × `size` for each cloud, seen from all of its points: (batch, size, points)."""

    def __init__(self, size: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, last = widths
        self.size = size
        self.conv1 = nn.Conv1d(size, first, 1)
        self.conv2 = nn.Conv1d(first, second, 1)
        self.conv3 = nn.Conv1d(second, last, 1)
        self.fc1 = nn.Linear(last, last // 2)
        self.fc2 = nn.Linear(last // 2, last // 4)
        self.fc3 = nn.Linear(last // 4, size * size)
        self.bn1 = nn.BatchNorm1d(first)
        self.bn2 = nn.BatchNorm1d(second)
        self.bn3 = nn.BatchNorm1d(last)
        self.bn4 = nn.BatchNorm1d(last // 2)
        self.bn5 = nn.BatchNorm1d(last // 4)

    def forward(self, points: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(points)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x))).amax(2)
        x = F.relu(self.bn4(self.fc1(x)))
        x = F.relu(self.bn5(self.fc2(x)))
        return self.fc3(x).reshape(-1, self.size, self.size) + trtnet.eye(self.size, dtype=x.dtype, device=x.device)


class Features(nn.Module):
    """Numbers for each cloud that do not depend on the order of its points: (batch, 3, points) -> (batch, last)."""

    def __init__(self, widths: tuple[int, int, int], feature_transform: bool) -> None:
        super().__init__()
        first, second, last = widths
        self.stn = Transform(3, widths)
        self.conv1 = nn.Conv1d(3, first, 1)
        self.conv2 = nn.Conv1d(first, second, 1)
        self.conv3 = nn.Conv1d(second, last, 1)
        self.bn1 = nn.BatchNorm1d(first)
        self.bn2 = nn.BatchNorm1d(second)
        self.bn3 = nn.BatchNorm1d(last)
        self.fstn = Transform(first, widths) if feature_transform else None

    def forward(self, points: Tensor) -> Tensor:
        x = self.stn(points).transpose(1, 2) @ points
        x = F.relu(self.bn1(self.conv1(x)))
        if self.fstn is not None:
            x = self.fstn(x).transpose(1, 2) @ x
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x)).amax(2)


class PointNet(nn.Module):
    """Classification of point clouds: `points` (batch, 3, points) -> logarithms of probabilities (batch, classes)."""

    def __init__(
        self, classes: int = 40, widths: tuple[int, int, int] = (64, 128, 1024), feature_transform: bool = False
    ) -> None:
        super().__init__()
        last = widths[-1]
        self.feat = Features(widths, feature_transform)
        self.fc1 = nn.Linear(last, last // 2)
        self.fc2 = nn.Linear(last // 2, last // 4)
        self.fc3 = nn.Linear(last // 4, classes)
        self.dropout = nn.Dropout(0.3)
        self.bn1 = nn.BatchNorm1d(last // 2)
        self.bn2 = nn.BatchNorm1d(last // 4)

    def forward(self, points: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.fc1(self.feat(points))))
        x = F.relu(self.bn2(self.dropout(self.fc2(x))))
        return F.log_softmax(self.fc3(x), 1)
