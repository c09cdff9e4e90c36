"""The three networks of MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878) with their published weights.

The weights come in the `mtcnn` distribution (MIT). Only its files are read; its code, which asks for TensorFlow, is not
imported.
"""

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from faceveil.weights import File, locate

SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}


def pnet() -> "Network":
    """Proposes: geometry [n, 4, h', w'] and scores [n, h', w'] of the 12-pixel windows at every second pixel."""
    trunk = nn.Sequential(convolution(3, 10, 3, pool=2), convolution(10, 16, 3), convolution(16, 32, 3))
    return load("pnet.lz4", Network(trunk, nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)))


def rnet() -> "Network":
    """Refines: geometry [n, 4] and scores [n] of 24-pixel patches."""
    trunk = nn.Sequential(
        convolution(3, 28, 3, pool=3),
        convolution(28, 48, 3, pool=3),
        convolution(48, 64, 2),
        FlattenColumns(),
        nn.Sequential(nn.Linear(576, 128), nn.PReLU(128)),
    )
    return load("rnet.lz4", Network(trunk, nn.Linear(128, 4), nn.Linear(128, 2)))


def onet() -> "Network":
    """Decides: geometry [n, 14] and scores [n] of 48-pixel patches."""
    trunk = nn.Sequential(
        convolution(3, 32, 3, pool=3),
        convolution(32, 64, 3, pool=3),
        convolution(64, 64, 3, pool=2),
        convolution(64, 128, 2),
        FlattenColumns(),
        nn.Sequential(nn.Linear(1152, 256), nn.PReLU(256)),
    )
    return load("onet.lz4", Network(trunk, nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)))


class Network(nn.Module):
    """A trunk and its heads: the offsets of a box's edges, in O-Net the landmarks, and last the class."""

    def __init__(self, trunk: nn.Module, *heads: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From RGB [n, 3, h, w] in 8-bit levels to geometry and the probability of a face.

        Geometry is in sides of the window or patch: how far the left, top, right and bottom edges of the box lie from
        those of the patch; from O-Net also the landmarks counted from its top left corner, five x and then five y.
        """
        features = self.trunk((images.float() - 127.5) / 128)
        *geometry, classes = (head(features) for head in self.heads)
        return torch.cat(geometry, 1), classes.softmax(1)[:, 1]


class FlattenColumns(nn.Module):
    """Flattens [n, c, h, w] in the order in which the weights were trained: columns, rows, channels."""

    def forward(self, features: Tensor) -> Tensor:
        """To [n, w * h * c]."""
        return features.permute(0, 3, 2, 1).flatten(1)


def convolution(channels: int, out: int, size: int, pool: int = 0) -> nn.Sequential:
    """A convolution without padding, its activation, and max-pooling to half the resolution with windows of `pool`."""
    layers = [nn.Conv2d(channels, out, size), nn.PReLU(out)]
    return nn.Sequential(*layers, nn.MaxPool2d(pool, 2, ceil_mode=True)) if pool else nn.Sequential(*layers)


def load(name: str, network: Network) -> Network:
    """The network with the weights of a file, for inference only.

    Raises `WeightsError` where the file is missing or is not the known one.
    """
    for parameter, array in zip(network.parameters(), read(name), strict=True):
        values = torch.from_numpy(outputs_first(array)).reshape(parameter.shape)
        parameter.data = values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
    return network.eval().requires_grad_(False)


def read(name: str) -> list[np.ndarray]:
    """Kernels (h, w, in, out), dense weights (in, out), biases and slopes in the order of the layers."""
    file = File(name, SHA256[name], package="mtcnn", path=f"assets/weights/{name}")
    return list(joblib.load(locate(file)))  # opening a pickle runs code; this one's hash was checked


def outputs_first(array: np.ndarray) -> np.ndarray:
    """From TensorFlow's order of axes to PyTorch's."""
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T)
