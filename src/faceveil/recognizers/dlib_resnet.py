"""dlib's face recognition network: a ResNet of 29 convolutions with half the usual filters (dlib.net, 2017).

150x150 RGB to 128 numbers, 5.58 million parameters; two faces nearer than 0.6 are one person.
Source: http://dlib.net/dnn_face_recognition_ex.cpp.html
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

FILTERS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
HALVING = (3, 7, 10, 13)  # the blocks that halve height and width


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity; where a side is smaller or has fewer channels, zeros fill it."""

    def __init__(self, before: int, filters: int, halving: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, filters, 3, stride=2 if halving else 1, padding=0 if halving else 1)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)
        self.halving = halving

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.conv1(x)))
        if not self.halving:
            return F.relu(branch + x)
        shortcut = F.avg_pool2d(x, 2)
        height, width = shortcut.shape[2:]
        missing = branch.shape[1] - shortcut.shape[1]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, missing))
        return F.relu(F.pad(branch, (0, width - branch.shape[3], 0, height - branch.shape[2])) + shortcut)


class DlibResNet(nn.Module):
    """Normalized images [n, 3, 150, 150] to embeddings [n, 128]; each affine layer is folded into its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        before = (32, *FILTERS)
        self.blocks = nn.Sequential(*(Block(before[i], n, i in HALVING) for i, n in enumerate(FILTERS)))
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        embeddings: Tensor = self.fc(self.blocks(x).mean((2, 3)))
        return embeddings


def build() -> nn.Module:
    """The network, without weights."""
    return DlibResNet()


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors in dlib's own file, under our names.

    In dlib's serialization an integer is a byte that says how many bytes follow, then those, the lowest first; a
    string is its length and its characters; these tensors are four dimensions and raw float32. The layers stand in
    the order in which they are computed.
    """
    data = files[0].read_bytes()
    convolutions = [_tensor(data, at) for at in _layers(data, b"con_4")]
    affines = [_tensor(data, at) for at in _layers(data, b"affine_")]
    state = {}
    for (name, module), weights, affine in zip(_convolutions(), convolutions, affines, strict=True):
        bias = weights[-module.out_channels :]
        gamma, beta = affine.reshape(2, -1)
        kernel = weights[: -module.out_channels].reshape(module.weight.shape)
        state[f"{name}.weight"] = torch.from_numpy(kernel * gamma[:, None, None, None])
        state[f"{name}.bias"] = torch.from_numpy(bias * gamma + beta)
    (at,) = _layers(data, b"fc_2")
    for _ in ("outputs", "inputs"):
        _, at = _integer(data, at)
    state["fc.weight"] = torch.from_numpy(_tensor(data, at).reshape(256, 128).T.copy())
    return state


def _convolutions() -> Iterator[tuple[str, nn.Conv2d]]:
    with torch.device("meta"):
        network = DlibResNet()
    return ((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


def _layers(data: bytes, kind: bytes) -> list[int]:
    """Where each layer of that kind goes on after its name."""
    name = bytes((1, len(kind))) + kind
    return [match.end() for match in re.finditer(re.escape(name), data)]


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A whole number, and where the next thing stands."""
    end = at + 1 + data[at]
    return int.from_bytes(data[at + 1 : end], "little"), end


def _tensor(data: bytes, at: int) -> NDArray[np.float32]:
    """A tensor, flat: a version (2), four dimensions, then float32."""
    _, at = _integer(data, at)
    count = 1
    for _ in range(4):
        size, at = _integer(data, at)
        count *= size
    return np.frombuffer(data, "<f4", count, at)
