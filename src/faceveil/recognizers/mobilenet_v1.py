"""MobileNet v1: depthwise separable convolutions (Howard et al., 2017, https://arxiv.org/abs/1704.04861).

192 x 192 to the 1,024 averages of the last map, 3.2 million parameters, trained on VGGFace2 by Savchenko (2019).
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.recognizers import checkpoint

FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVING = (1, 3, 5, 11)


class MobileNetV1(nn.Module):
    """Normalized images [n, 3, h, w] to embeddings [n, 1024]; batch normalization is folded in.

    TensorFlow's padding: where a convolution halves an even side, the extra row and column lie at the far end.
    """

    def __init__(self) -> None:
        super().__init__()
        before = (32, *FILTERS)
        self.stem = nn.Conv2d(3, 32, 3, stride=2)
        self.dw = nn.ModuleList(_depthwise(n, i in HALVING) for i, n in enumerate(before[:-1]))
        self.pw = nn.ModuleList(nn.Conv2d(before[i], n, 1) for i, n in enumerate(FILTERS))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem(_far(x)))
        for i, (dw, pw) in enumerate(zip(self.dw, self.pw, strict=True)):
            x = F.relu6(pw(F.relu6(dw(_far(x) if i in HALVING else x))))
        return x.mean((2, 3))


def _depthwise(channels: int, halving: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, 2 if halving else 1, 0 if halving else 1, groups=channels)


def _far(x: Tensor) -> Tensor:
    return F.pad(x, (0, 1, 0, 1))


def build() -> nn.Module:
    """The network, without weights."""
    return MobileNetV1()


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of the safetensors file."""
    return checkpoint.tensors(files[0])
