"""ResNet-50 and SENet-50 as they were trained on VGGFace2: 224 x 224 to the 2,048 averages of the last map.

41.19 and 43.72 million parameters with their heads over 8,631 people. He et al., 2016,
https://arxiv.org/abs/1512.03385; Hu et al., 2018, https://arxiv.org/abs/1709.01507; Cao et al., 2018,
https://arxiv.org/abs/1710.08092
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.recognizers import checkpoint

BLOCKS = (3, 4, 6, 3)
PEOPLE = 8631


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut; as in Caffe, the first one halves the image.

    With `attention` each channel of the branch is scaled by what two small layers make of all channels' averages.
    """

    def __init__(self, before: int, filters: int, stride: int, attention: bool) -> None:
        super().__init__()
        after = 4 * filters
        self.conv1 = nn.Conv2d(before, filters, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module = nn.Identity()
        if before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.attention = attention
        if attention:
            self.conv4 = nn.Conv2d(after, after // 16, 1)
            self.conv5 = nn.Conv2d(after // 16, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        if self.attention:
            y = y * self.conv5(F.relu(self.conv4(y.mean((2, 3), keepdim=True)))).sigmoid()
        return F.relu(y + self.downsample(x))


class ResNet50(nn.Module):
    """Normalized images [n, 3, 224, 224] to embeddings [n, 2048]; the tensors are named as in VGGFace2-pytorch.

    The head `fc` gives a score for each of the 8,631 people that the network was trained on.
    """

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Bottleneck(2 * filters if i else 64, filters, 2 if i else 1, attention),
                *(Bottleneck(4 * filters, filters, 1, attention) for _ in range(BLOCKS[i] - 1)),
            )
            for i, filters in enumerate((64, 128, 256, 512))
        )
        self.fc = nn.Linear(2048, PEOPLE)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, ceil_mode=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


def build(attention: bool = False) -> nn.Module:
    """The network, without weights: ResNet-50, or SENet-50 with `attention`."""
    return ResNet50(attention)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of cydonia999/VGGFace2-pytorch: a dictionary of NumPy arrays, or a checkpoint made by its trainer."""
    return checkpoint.tensors(files[0])
