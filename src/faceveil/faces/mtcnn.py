"""The three networks of MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878) and their weights.

The weights are those of the `mtcnn` distribution on the package index (MIT). Only its files are read; its code, which
would ask for TensorFlow, is never imported.
"""

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import torch
from numpy import ndarray
from torch import Tensor, nn

from faceveil.errors import WeightsError

SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}


class Network(nn.Module):
    """A trunk and its heads: the offsets of a box, in O-Net also landmarks, and the class."""

    def __init__(self, trunk: nn.Sequential, *heads: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """From RGB [n, 3, h, w] in [-1, 1], (level - 127.5) / 128, to what each head says; last the probability of a face."""
        features = self.trunk(images)
        *geometry, classes = (head(features) for head in self.heads)
        return *geometry, classes.softmax(1)[:, 1]


class ColumnsFirst(nn.Module):
    """Flattens [n, c, h, w] as the published weights expect it: columns, then rows, then channels."""

    def forward(self, features: Tensor) -> Tensor:
        """To [n, w * h * c]."""
        return features.permute(0, 3, 2, 1).flatten(1)


def convolution(channels: int, out: int, size: int) -> tuple[nn.Module, nn.Module]:
    """A convolution without padding, and its activation."""
    return nn.Conv2d(channels, out, size), nn.PReLU(out)


def pooling(size: int) -> nn.Module:
    """Halves the resolution; windows that reach over the right or bottom edge count."""
    return nn.MaxPool2d(size, 2, ceil_mode=True)


def pnet() -> Network:
    """Proposes: offsets [n, 4, h', w'] and score [n, h', w'] of windows of 12 pixels at every second pixel."""
    trunk = nn.Sequential(*convolution(3, 10, 3), pooling(2), *convolution(10, 16, 3), *convolution(16, 32, 3))
    return load(Network(trunk, nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)), "pnet.lz4")


def rnet() -> Network:
    """Refines: offsets [n, 4] and score [n] of patches of 24 pixels."""
    trunk = nn.Sequential(
        *(*convolution(3, 28, 3), pooling(3)),
        *(*convolution(28, 48, 3), pooling(3)),
        *(*convolution(48, 64, 2), ColumnsFirst()),
        *(nn.Linear(576, 128), nn.PReLU(128)),
    )
    return load(Network(trunk, nn.Linear(128, 4), nn.Linear(128, 2)), "rnet.lz4")


def onet() -> Network:
    """Decides: offsets [n, 4], landmarks [n, 10] (five x, five y) and score [n] of patches of 48 pixels."""
    trunk = nn.Sequential(
        *(*convolution(3, 32, 3), pooling(3)),
        *(*convolution(32, 64, 3), pooling(3)),
        *(*convolution(64, 64, 3), pooling(2)),
        *(*convolution(64, 128, 2), ColumnsFirst()),
        *(nn.Linear(1152, 256), nn.PReLU(256)),
    )
    return load(Network(trunk, nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)), "onet.lz4")


def load(network: Network, name: str) -> Network:
    """The network with its published weights, for inference only."""
    for parameter, array in zip(network.parameters(), arrays(name), strict=True):
        parameter.data = torch.from_numpy(torch_order(array)).reshape(parameter.shape).contiguous()
    return network.eval().requires_grad_(False)
