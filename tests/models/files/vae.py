"""A VAE and a DCGAN generator that share a file: reparameterisation by an input, transposed convolutions, weight init."""

import torch
import torch.nn as nn


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


class Generator(nn.Module):
    def __init__(self, nz=8, ngf=4, nc=1):
        super(Generator, self).__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, input):
        return self.main(input)


class VAE(nn.Module):
    def __init__(self, latent: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.SELU(),
            nn.Flatten(start_dim=1),
        )
        self.mu, self.logvar = nn.Linear(8 * 4 * 4, latent), nn.Linear(8 * 4 * 4, latent)
        self.generator = Generator(latent)
        self.generator.apply(weights_init)

    def encode(self, x):
        h = self.encoder(x)
        return self.mu(h), self.logvar(h)

    def reparameterize(self, mu, logvar, noise):
        std = torch.exp(0.5 * logvar)
        return noise.mul(std).add_(mu)

    def forward(self, x, noise):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar, noise)
        image = self.generator(z.view(z.size(0), z.size(1), 1, 1))
        divergence = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
        return image, mu, logvar, divergence


def build():
    return VAE()


INPUTS = {"x": ((2, 1, 16, 16), ("batch", 1, 16, 16)), "noise": ((2, 8), ("batch", 8))}
