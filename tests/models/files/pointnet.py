"""PointNet: a learned transform of the points, maxima over them, an identity that is added, and nearest neighbours."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Transform(nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(k, 16, 1), nn.Conv1d(16, 32, 1)
        self.fc1, self.fc2 = nn.Linear(32, 16), nn.Linear(16, k * k)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(16), nn.BatchNorm1d(32), nn.BatchNorm1d(16)
        self.k = k

    def forward(self, x):
        batchsize = x.size()[0]
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = torch.max(x, 2, keepdim=True)[0]
        x = x.view(-1, 32)
        x = self.fc2(F.relu(self.bn3(self.fc1(x))))
        identity = torch.eye(self.k).view(1, self.k * self.k).repeat(batchsize, 1)
        if x.is_cuda:
            identity = identity.cuda()
        x = x + identity.type_as(x)
        return x.view(-1, self.k, self.k)


def neighbours(x, k):
    inner = -2 * torch.matmul(x.transpose(2, 1), x)
    xx = torch.sum(x**2, dim=1, keepdim=True)
    distance = -xx - inner - xx.transpose(2, 1)
    return distance.topk(k=k, dim=-1)[1]


class PointNet(nn.Module):
    def __init__(self, classes=5):
        super(PointNet, self).__init__()
        self.transform = Transform(3)
        self.edges = nn.Conv2d(6, 16, kernel_size=1, bias=False)
        self.conv = nn.Conv1d(16, 32, 1)
        self.head = nn.Linear(32, classes)

    def forward(self, points):
        B, _, N = points.shape
        x = torch.bmm(points.transpose(2, 1), self.transform(points)).transpose(2, 1)
        index = neighbours(x, k=4)
        table = x.transpose(2, 1).contiguous()
        near = torch.gather(table, 1, index.reshape(B, -1, 1).expand(-1, -1, 3)).view(B, N, 4, 3)
        center = table.view(B, N, 1, 3).repeat(1, 1, 4, 1)
        edge = torch.cat((near - center, center), dim=3).permute(0, 3, 1, 2)
        x = F.leaky_relu(self.edges(edge), negative_slope=0.2).max(dim=-1, keepdim=False)[0]
        x = self.conv(x)
        return F.log_softmax(self.head(x.amax(-1)), -1)


def build():
    return PointNet()


INPUTS = {"points": ((2, 3, 9), ("batch", 3, 9))}
