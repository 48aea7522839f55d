"""A plugin of one's own: SoftClip in CUDA C++ (soft_clip.cu), the same in PyTorch, and the same of other layers.

    cmake -S examples/plugin -B build/plugin -DTENSORRT_ROOT=/path/to/TensorRT && cmake --build build/plugin
    python examples/plugin/soft_clip.py

Without the library, or without a GPU, the same network runs in PyTorch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F

LIBRARY = Path(__file__).parents[2] / "build" / "plugin" / "libsoft_clip.so"


class SoftClip(trtnet.Plugin):
    """limit * tanh(x * scale / limit), with a scale for each channel.

    Shape: (N, C, ...) to the same.
    """

    creator, version = "SoftClip", "1"
    library = LIBRARY

    def __init__(self, channels: int, limit: float) -> None:
        super().__init__(limit=limit)
        self.scale = nn.Parameter(np.ones(channels, np.float32))

    def shapes(self, x, scale):
        return x

    def reference(self, x, scale):
        scale = scale.reshape(-1, *[1] * (x.ndim - 2))
        return self.limit * (x * scale / self.limit).tanh()

    def compose(self, x, scale):
        scale = scale.reshape(-1, *[1] * (len(x.shape) - 2))
        return self.limit * F.tanh(x * scale / self.limit)


class Net(nn.Module):
    """A convolution and the plugin."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.clip = SoftClip(8, limit=0.5)

    def forward(self, image):
        return self.clip(self.conv(image))


def main() -> None:
    batch = Dim("batch", min=1, opt=2, max=8)
    graph = trtnet.record(Net(), image=Input((batch, 3, 16, 16)))
    print(graph.summary())
    provider = "tensorrt" if LIBRARY.exists() else "reference"
    engine = trtnet.build(graph, provider=provider, refit=True)
    image = np.random.default_rng(0).standard_normal((2, 3, 16, 16), np.float32)
    print(f"{engine.graph.title} by {provider}: at most {np.abs(engine(image)).max():.4f}")
    engine.refit({"clip.scale": np.zeros(8, np.float32)})
    print(f"after a refit of clip.scale to 0: {np.abs(engine(image)).max():.4f}")


if __name__ == "__main__":
    main()
