"""scikit-learn's handwritten digits, made to look like MNIST's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BOX, SIDE = 20, 28


class Digits(NamedTuple):
    """images (n, 1, 28, 28) float32, white on black, 0 to 1; labels (n,) int64."""

    images: np.ndarray
    labels: np.ndarray


def mnist_like(images: np.ndarray) -> np.ndarray:
    """8×8 counts from 0 to 16, as (n, 8, 8), to MNIST's form, (n, 28, 28) float32 from 0 to 1.

    MNIST's digits fill a 20×20 box that is placed with its centre of mass in the middle of 28×28
    (http://yann.lecun.com/exdb/mnist/). So: bilinear to 20×20, contrast raised until strokes are as solid as MNIST's
    (below a fifth black, above four fifths white), centred by mass.
    """
    position = (np.arange(BOX) + 0.5) * images.shape[-1] / BOX - 0.5
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(images.shape[-1])))
    weights /= weights.sum(axis=1, keepdims=True)
    boxes = np.clip((weights @ (images / 16) @ weights.T - 0.2) / 0.6, 0, 1)
    result = np.zeros((len(images), SIDE, SIDE), np.float32)
    for canvas, box in zip(result, boxes):
        total = box.sum() or 1
        centre = box.sum(1) @ np.arange(BOX) / total, box.sum(0) @ np.arange(BOX) / total
        top, left = (int(np.clip(round((SIDE - 1) / 2 - c), 0, SIDE - BOX)) for c in centre)
        canvas[top : top + BOX, left : left + BOX] = box
    return result


def load_digits() -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 digits in two halves: the first 898, which LeNet was trained on, and the 899 held out.

    The same halves as in scikit-learn's example "Recognizing hand-written digits".
    """
    import sklearn.datasets

    data = sklearn.datasets.load_digits()
    images = mnist_like(data.images)[:, None]
    labels = data.target.astype(np.int64)
    middle = len(labels) // 2
    return Digits(images[:middle], labels[:middle]), Digits(images[middle:], labels[middle:])
