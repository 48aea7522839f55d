"""A classifier of sequences by an LSTM."""

import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, words: int = 20, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.embed(words))
        return self.out(x[:, -1])


def build():
    return Classifier()


INPUTS = {"words": ((2, 6), ("batch", 6), 20)}
