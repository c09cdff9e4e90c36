"""Inception-ResNet-v1 as David Sandberg's FaceNet has it: 160 x 160 to 512 numbers.

23.5 million parameters, 27.9 with the head over VGGFace2's 8,631 people. Szegedy et al., 2016,
https://arxiv.org/abs/1602.07261; Schroff et al., 2015, https://arxiv.org/abs/1503.03832; facenet on GitHub.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.recognizers import checkpoint

Layer = tuple[int, int | tuple[int, int], int]  # filters, kernel, stride
Paths = tuple[tuple[Layer, ...], ...]

PATHS_35: Paths = (((32, 1, 1),), ((32, 1, 1), (32, 3, 1)), ((32, 1, 1), (32, 3, 1), (32, 3, 1)))
PATHS_17: Paths = (((128, 1, 1),), ((128, 1, 1), (128, (1, 7), 1), (128, (7, 1), 1)))
PATHS_8: Paths = (((192, 1, 1),), ((192, 1, 1), (192, (1, 3), 1), (192, (3, 1), 1)))
PATHS_6A: Paths = (((384, 3, 2),), ((192, 1, 1), (192, 3, 1), (256, 3, 2)))
PATHS_7A: Paths = (
    ((256, 1, 1), (384, 3, 2)),
    ((256, 1, 1), (256, 3, 2)),
    ((256, 1, 1), (256, 3, 1), (256, 3, 2)),
)


class Branches(nn.Module):
    """Chains of convolutions with ReLU, side by side, joined along the channels; named b0, b1a, b1b and so on.

    A convolution keeps the size at stride 1 and pads nothing at stride 2.
    """

    def __init__(self, before: int, paths: Paths) -> None:
        super().__init__()
        self.chains: list[list[str]] = []
        for i, path in enumerate(paths):
            channels = before
            self.chains.append([f"b{i}{letter}" for letter in "abc"[: len(path)]] if len(path) > 1 else [f"b{i}"])
            for name, (filters, kernel, stride) in zip(self.chains[-1], path, strict=True):
                self.add_module(name, nn.Conv2d(channels, filters, kernel, stride, "same" if stride == 1 else 0))
                channels = filters

    def forward(self, x: Tensor) -> Tensor:
        ends = []
        for chain in self.chains:
            y = x
            for name in chain:
                y = F.relu(self.get_submodule(name)(y))
            ends.append(y)
        return torch.cat(ends, 1)


class Block(nn.Module):
    """Branches, carried back to the block's own channels and added to what came in."""

    def __init__(self, channels: int, paths: Paths, activated: bool = True) -> None:
        super().__init__()
        self.branches = Branches(channels, paths)
        self.up = nn.Conv2d(sum(path[-1][0] for path in paths), channels, 1)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.up(self.branches(x))
        return F.relu(y) if self.activated else y


class Reduction(nn.Module):
    """Branches that halve height and width, beside a max-pooling that does the same."""

    def __init__(self, channels: int, paths: Paths) -> None:
        super().__init__()
        self.branches = Branches(channels, paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branches(x), F.max_pool2d(x, 3, 2)], 1)


class InceptionResNetV1(nn.Module):
    """Normalized images [n, 3, 160, 160] to embeddings [n, 512]; batch norm and residual scales are folded in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, 32, 3, 2)
        self.conv2a = nn.Conv2d(32, 32, 3)
        self.conv2b = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3b = nn.Conv2d(64, 80, 1)
        self.conv4a = nn.Conv2d(80, 192, 3)
        self.conv4b = nn.Conv2d(192, 256, 3, 2)
        self.block35 = nn.Sequential(*(Block(256, PATHS_35) for _ in range(5)))
        self.mixed6a = Reduction(256, PATHS_6A)
        self.block17 = nn.Sequential(*(Block(896, PATHS_17) for _ in range(10)))
        self.mixed7a = Reduction(896, PATHS_7A)
        self.block8 = nn.Sequential(*(Block(1792, PATHS_8, activated=i < 5) for i in range(6)))
        self.fc = nn.Linear(1792, 512)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1a, self.conv2a, self.conv2b):
            x = F.relu(conv(x))
        x = F.max_pool2d(x, 3, 2)
        for conv in (self.conv3b, self.conv4a, self.conv4b):
            x = F.relu(conv(x))
        x = self.mixed7a(self.block17(self.mixed6a(self.block35(x))))
        embeddings: Tensor = self.fc(self.block8(x).mean((2, 3)))
        return embeddings


def build() -> nn.Module:
    """The network, without weights."""
    return InceptionResNetV1()


SHORT = ((r"^(block\d+\.\d+)\.b", r"\1.branches.b"), (r"^m(\d)a_", r"mixed\1a.branches."))

# BruceDai/test-data: a NumPy file for each tensor, named as in TensorFlow; kernels are stored [out, height, width, in]
TENSORFLOW = (
    (r"_(kernel|kernel_transpose)$", ".weight"),
    (r"_(Conv2D|MatMul)_bias$", ".bias"),
    *((rf"^(Block\d+)_{i + 1}_", rf"\1_{i}_") for i in range(10)),
    (r"^Bottleneck", "fc"),
    (r"^Conv2d_(\d[ab])_\dx\d", r"conv\1"),
    (r"^Block(\d+)_(\d)_Conv2d_1x1", r"block\1.\2.up"),
    (r"^Block(\d+)_(\d)_Branch_(\d)_", r"block\1.\2.branches.b\3"),
    (r"^Mixed_(\da)_Branch_(\d)_", r"mixed\1.branches.b\2"),
    (r"Conv2d_0([abc])_\dx\d", r"\1"),
    (r"Conv2d_1x1", ""),
    (r"(6a\.branches\.b0)Conv2d_1a_3x3", r"\1"),
    (r"(7a\.branches\.b[01])Conv2d_1a_3x3", r"\1b"),
    (r"Conv2d_1a_3x3", "c"),
)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of the safetensors file, or of the NumPy files of BruceDai/test-data, under our names."""
    if len(files) == 1:
        return checkpoint.rename(checkpoint.tensors(files[0]), SHORT)
    arrays = {file.stem: torch.from_numpy(np.load(file, allow_pickle=False)) for file in files}
    tensors = {name: a.permute(0, 3, 1, 2).contiguous() if a.ndim == 4 else a for name, a in arrays.items()}
    return checkpoint.rename(tensors, TENSORFLOW)
