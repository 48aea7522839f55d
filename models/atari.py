"""Networks of reinforcement learning from pixels: NatureDQN (Mnih et al. 2015) and IMPALA's (Espeholt et al. 2018)."""

from trtnet import Tensor, nn


class NatureDQN(nn.Module):
    """`frames` (batch, 4, 84, 84) of 0 to 255 -> the values of the actions (batch, actions)."""

    def __init__(self, actions: int = 18, frames: int = 4, hidden: int = 512) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(frames, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, hidden),
            nn.ReLU(),
            nn.Linear(hidden, actions),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(frames / 255.0)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(nn.functional.relu(x))
        return self.conv1(nn.functional.relu(y)) + x


class ConvSequence(nn.Module):
    """A convolution, half the size, and two residual blocks."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.res_block0 = ResidualBlock(out)
        self.res_block1 = ResidualBlock(out)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.conv(x), 3, stride=2, padding=1)
        return self.res_block1(self.res_block0(x))


class Impala(nn.Module):
    """`frames` (batch, 4, 84, 84) of 0 to 255 -> logits (batch, actions) and values (batch, 1)."""

    def __init__(self, actions: int = 18, frames: int = 4, widths: tuple[int, ...] = (16, 32, 32)) -> None:
        super().__init__()
        channels, size = frames, 84
        sequences = []
        for width in widths:
            sequences.append(ConvSequence(channels, width))
            channels, size = width, (size + 1) // 2
        self.network = nn.Sequential(
            *sequences, nn.Flatten(), nn.ReLU(), nn.Linear(channels * size * size, 256), nn.ReLU()
        )
        self.actor = nn.Linear(256, actions)
        self.critic = nn.Linear(256, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.network(frames / 255.0)
        return self.actor(hidden), self.critic(hidden)
