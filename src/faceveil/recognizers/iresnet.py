"""IResNet-50, ArcFace's network, and IR-SE-50, the same with channel attention.

112 x 112 to 512 numbers; 43.59 and 43.80 million parameters. Deng et al., 2019, https://arxiv.org/abs/1801.07698;
Hu et al., 2018, https://arxiv.org/abs/1709.01507
"""

from pathlib import Path

from torch import Tensor, nn

from faceveil.recognizers import checkpoint
from faceveil.recognizers.layers import PReLU

FILTERS = (64, 128, 256, 512)
BLOCKS = (3, 4, 14, 3)


class Attention(nn.Module):
    """Scales each channel by what two small layers make of all channels' averages."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * scale


class Block(nn.Module):
    """Normalization, convolution, PReLU, convolution, normalization, and at the end perhaps attention.

    IR-SE-50 has no normalization before the PReLU, and its shortcut drops pixels where only the size changes.
    """

    def __init__(self, before: int, filters: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, filters, 3, padding=1, bias=False)
        self.bn2 = nn.Identity() if attention else nn.BatchNorm2d(filters)
        self.prelu = PReLU(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(filters)
        self.se = Attention(filters) if attention else nn.Identity()
        if before != filters or (stride > 1 and not attention):
            convolution = nn.Conv2d(before, filters, 1, stride, bias=False)
            self.downsample: nn.Module = nn.Sequential(convolution, nn.BatchNorm2d(filters))
        else:
            self.downsample = nn.MaxPool2d(1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.se(self.bn3(self.conv2(y)))
        both: Tensor = y + self.downsample(x)
        return both


class IResNet(nn.Module):
    """Normalized images [n, 3, 112, 112] to embeddings [n, 512]; the tensors are named as in insightface."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        before = (64, *FILTERS)
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = PReLU(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Block(before[i], filters, 2, attention),
                *(Block(filters, filters, 1, attention) for _ in range(BLOCKS[i] - 1)),
            )
            for i, filters in enumerate(FILTERS)
        )
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embeddings: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return embeddings


def build(attention: bool = False) -> nn.Module:
    """The network, without weights: IResNet-50, or IR-SE-50 with `attention`."""
    return IResNet(attention)


# TreB1eN/InsightFace_Pytorch counts the blocks through all stages, and numbers the layers in them
STARTS = [sum(BLOCKS[:stage]) for stage in range(4)]
TREB1EN = (
    (r"^input_layer\.0\.", "conv1."),
    (r"^input_layer\.1\.", "bn1."),
    (r"^input_layer\.2\.", "prelu."),
    (r"^output_layer\.0\.", "bn2."),
    (r"^output_layer\.3\.", "fc."),
    (r"^output_layer\.4\.", "features."),
    *(
        (rf"^body\.{STARTS[stage] + block}\.", f"layer{stage + 1}.{block}.")
        for stage in range(4)
        for block in range(BLOCKS[stage])
    ),
    (r"\.shortcut_layer\.", ".downsample."),
    *(
        (rf"\.res_layer\.{number}\.", f".{layer}.")
        for number, layer in enumerate(("bn1", "conv1", "prelu", "conv2", "bn3", "se"))
    ),
)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of insightface's arcface_torch or of TreB1eN's InsightFace_Pytorch."""
    return checkpoint.rename(checkpoint.tensors(files[0]), TREB1EN)
