"""Trains LeNet on handwritten digits, through `trtnet.to_torch`, and writes weights/lenet.safetensors.

    python models/train_lenet.py --data DIR

DIR holds `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz`, as MNIST publishes them. The first 8,000 of
those 10,000 images train, the last 2,000 test. The first half of scikit-learn's digits, scaled to MNIST's form
(`trtnet.cli.demo.digits.mnist_like`), trains too; the other half tests. A few minutes on two cores.
"""

import argparse
import gzip
import math
import sys
from pathlib import Path

import numpy as np
from lenet import LeNet
from rich.progress import track

import trtnet
from trtnet.cli.demo.digits import Digits, load_digits

try:
    import sklearn  # noqa: F401 (load_digits reads it)
    import torch
    from torch.nn import functional
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(f"error: {error}\n  remedy:   pip install 'trtnet[demo]'", file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).resolve().parent.parent
TRAINING = 8000
FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
REPEAT = 3  # scikit-learn's 898 digits, beside MNIST's 8,000


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, type, number of dimensions, the dimensions (big-endian), the data."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_mnist(folder: Path) -> tuple[Digits, Digits]:
    images, labels = (read_idx(folder / name) for name in FILES)
    images, labels = images[:, None].astype(np.float32) / 255, labels.astype(np.int64)
    return Digits(images[:TRAINING], labels[:TRAINING]), Digits(images[TRAINING:], labels[TRAINING:])


def shaken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image turned by up to 12°, scaled by up to 10 %, slanted a little, and moved by up to 2 pixels."""

    def uniform(most: float) -> torch.Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * most

    angle, scale, slant = uniform(math.radians(12)), 1 + uniform(0.1), uniform(0.15)
    right, down = uniform(2 / 14), uniform(2 / 14)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([torch.stack([cosine, slant - sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    grid = functional.affine_grid(matrix, images.shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(module: torch.nn.Module, digits: Digits, epochs: int, batch: int, seed: int) -> None:
    images, labels = torch.from_numpy(digits.images), torch.from_numpy(digits.labels)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2.5e-3, epochs=epochs, steps_per_epoch=math.ceil(len(labels) / batch)
    )
    for _ in track(range(epochs), description="training"):
        for chosen in torch.randperm(len(labels), generator=generator).split(batch):
            prob = module(shaken(images[chosen], generator))["prob"]
            loss = functional.nll_loss(torch.log(prob.clamp_min(1e-12)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def accuracy(engine: trtnet.Engine, digits: Digits) -> str:
    answers = engine(image=digits.images)["prob"].argmax(axis=1)
    right = int((answers == digits.labels).sum())
    return f"{right} of {len(answers)} right, {right / len(answers):.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where MNIST's two t10k files are")
    parser.add_argument("--output", type=Path, default=ROOT / "weights" / "lenet.safetensors", metavar="FILE")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if missing := [name for name in FILES if not (options.data / name).is_file()]:
        parser.error(f"--data: there is no {missing[0]} in {options.data}")

    mnist, mnist_test = read_mnist(options.data)
    digits, digits_test = load_digits()
    training = Digits(*(np.concatenate([m, *[d] * REPEAT]) for m, d in zip(mnist, digits)))

    trtnet.manual_seed(options.seed)
    net = LeNet()
    graph = trtnet.record(net, image=trtnet.Input((trtnet.Dim("batch", min=1, opt=8, max=4096), 1, 28, 28)))
    module = trtnet.to_torch(graph)
    train(module, training, options.epochs, options.batch, options.seed)

    net.load_state_dict(module.state_dict())
    net.save_weights(options.output)
    engine = trtnet.reference(graph)
    engine.refit(module.state_dict())
    print(f"MNIST, the 2,000 held out:        {accuracy(engine, mnist_test)}")
    print(f"scikit-learn's, the 899 held out: {accuracy(engine, digits_test)}")
    print(f"{options.output} written")


if __name__ == "__main__":
    main()
