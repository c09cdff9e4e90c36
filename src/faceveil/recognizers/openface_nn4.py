"""OpenFace's nn4.small2.v1: a small Inception network, 96 x 96 to 128 numbers, 3,733,968 parameters.

Amos et al., 2016, https://cmusatyalab.github.io/openface/; after Schroff et al., 2015, https://arxiv.org/abs/1503.03832
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.recognizers import checkpoint


def _unit(before: int, filters: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, filters, kernel, stride, kernel // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU())


class NormPool(nn.Module):
    """The Euclidean length of each 3x3 cell.

    Cells of zeros, which are common after a ReLU, get no gradient instead of an infinite one.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (9 * F.avg_pool2d(x.square(), 3)).clamp(min=1e-12).sqrt()


@dataclass(frozen=True)
class Plan:
    """One Inception block: channels before, (kernel, 1x1 filters, filters) of each path, stride, the two others.

    `pooled` is the filters after the pooling (0: the pooled channels as they are), `plain` those of the 1x1
    convolution alone (0: there is none).
    """

    before: int
    paths: tuple[tuple[int, int, int], ...]
    stride: int
    pool: type[nn.Module]
    pooled: int
    plain: int


class MaxPool(nn.Module):
    """The largest of 3x3 at every other place."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2)


PLANS = {
    "inception3a": Plan(192, ((3, 96, 128), (5, 16, 32)), 1, MaxPool, 32, 64),
    "inception3b": Plan(256, ((3, 96, 128), (5, 32, 64)), 1, NormPool, 64, 64),
    "inception3c": Plan(320, ((3, 128, 256), (5, 32, 64)), 2, MaxPool, 0, 0),
    "inception4a": Plan(640, ((3, 96, 192), (5, 32, 64)), 1, NormPool, 128, 256),
    "inception4e": Plan(640, ((3, 160, 256), (5, 64, 128)), 2, MaxPool, 0, 0),
    "inception5a": Plan(1024, ((3, 96, 384),), 1, NormPool, 96, 256),
    "inception5b": Plan(736, ((3, 96, 384),), 1, MaxPool, 96, 256),
}


class Inception(nn.Module):
    """Paths side by side; smaller maps are framed with zeros to the size of the largest, and all are joined."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        before = plan.before
        paths = [
            nn.Sequential(_unit(before, narrow), _unit(narrow, filters, kernel, plan.stride))
            for kernel, narrow, filters in plan.paths
        ]
        paths.append(nn.Sequential(plan.pool(), *([_unit(before, plan.pooled)] if plan.pooled else [])))
        if plan.plain:
            paths.append(nn.Sequential(_unit(before, plan.plain)))
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        maps = [path(x) for path in self.paths]
        height, width = (max(y.shape[side] for y in maps) for side in (2, 3))
        return torch.cat([_frame(y, height, width) for y in maps], 1)


def _frame(x: Tensor, height: int, width: int) -> Tensor:
    rows, columns = height - x.shape[2], width - x.shape[3]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class OpenFace(nn.Module):
    """Normalized images [n, 3, 96, 96] to embeddings [n, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.unit1 = _unit(3, 64, 7, 2)
        self.unit2a = _unit(64, 64)
        self.unit2b = _unit(64, 192, 3)
        self.inceptions = nn.Sequential(*(Inception(plan) for plan in PLANS.values()))
        self.fc = nn.Linear(736, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = _contrast(F.max_pool2d(self.unit1(x), 3, 2, 1))
        x = F.max_pool2d(_contrast(self.unit2b(self.unit2a(x))), 3, 2, 1)
        embeddings: Tensor = self.fc(self.inceptions(x).mean((2, 3)))
        return embeddings


def _contrast(x: Tensor) -> Tensor:
    """Local response normalization, in float32: the CPU has none in half precision."""
    return F.local_response_norm(x.float(), 5, alpha=1e-4, beta=0.75, k=1.0).to(x.dtype)


def build() -> nn.Module:
    """The network, without weights."""
    return OpenFace()


# OpenFacePytorch's conversion numbers the lines of the definition in Lua
CONVERTED = (
    (r"^layer1\.", "unit1.0."),
    (r"^layer2\.", "unit1.1."),
    (r"^layer6\.", "unit2a.0."),
    (r"^layer7\.", "unit2a.1."),
    (r"^layer9\.", "unit2b.0."),
    (r"^layer10\.", "unit2b.1."),
    (r"^layer25\.", "fc."),
    *((rf"^layer{14 + i}\.seq_list\.", f"inceptions.{i}.paths.") for i in range(6)),
    (r"^layer21\.seq_list\.", "inceptions.6.paths."),
    (r"\.1_conv\.", ".0.0."),
    (r"\.2_bn\.", ".0.1."),
    (r"\.4_conv\.", ".1.0."),
    (r"\.5_bn\.", ".1.1."),
    (r"\.2_conv\.", ".1.0."),
    (r"\.3_bn\.", ".1.1."),
)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of OpenFace's Torch 7 file, which come in the order of use, or of its conversion to PyTorch."""
    found = checkpoint.tensors(files[0])
    if "layer1.weight" in found:
        return checkpoint.rename(found, CONVERTED)
    with torch.device("meta"):
        expected = {name: t for name, t in OpenFace().state_dict().items() if "num_batches" not in name}
    flat = [tensor.reshape(-1) for tensor in found.values()]
    same = len(flat) == len(expected) and all(
        a.numel() == b.numel() for a, b in zip(flat, expected.values(), strict=True)
    )
    if not same:
        return found
    return {name: a.reshape(b.shape) for (name, b), a in zip(expected.items(), flat, strict=True)}
