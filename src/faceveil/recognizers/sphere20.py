"""Sphere20: twenty layers without batch normalization, by which SphereFace and CosFace were first shown.

112 high and 96 wide to 512 numbers, about 22.7 million parameters; SphereFace's file also holds its 10,574-way head.
Liu et al., 2017, https://arxiv.org/abs/1704.08063; Wang et al., 2018, https://arxiv.org/abs/1801.09414
"""

from pathlib import Path

from torch import Tensor, nn

from faceveil.recognizers import checkpoint
from faceveil.recognizers.layers import PReLU

FILTERS = (64, 128, 256, 512)
BLOCKS = (1, 2, 4, 1)


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity, each with its PReLU; nothing after the sum."""

    def __init__(self, filters: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.prelu1 = PReLU(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.prelu2 = PReLU(filters)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.prelu2(self.conv2(self.prelu1(self.conv1(x))))
        return x + y


class Sphere20(nn.Module):
    """Normalized images [n, 3, 112, 96] to embeddings [n, 512]; the tensors are named as in CosFace_pytorch."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        before = (3, *FILTERS)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                nn.Conv2d(before[i], filters, 3, 2, 1),
                PReLU(filters),
                *(Block(filters, bias) for _ in range(BLOCKS[i])),
            )
            for i, filters in enumerate(FILTERS)
        )
        self.fc = nn.Linear(512 * 7 * 6, 512)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embeddings: Tensor = self.fc(x.flatten(1))
        return embeddings


def build(bias: bool = True) -> nn.Module:
    """The network, without weights; `bias` says whether the convolutions in the blocks have one."""
    return Sphere20(bias)


# clcarwin/sphereface_pytorch counts a stage's convolutions: the first halves the image, then each block has two
SPHEREFACE = (
    (r"^fc5\.", "fc."),
    (r"^conv(\d)_1\.", r"layer\1.0."),
    (r"^relu(\d)_1\.", r"layer\1.1."),
    *(
        (rf"^{theirs}(\d)_{2 * block + i - 1}\.", rf"layer\1.{block + 1}.{ours}{i}.")
        for theirs, ours in {"conv": "conv", "relu": "prelu"}.items()
        for block in range(1, 5)
        for i in (1, 2)
    ),
)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of CosFace_pytorch's or sphereface_pytorch's file; the latter's head is left out."""
    found = checkpoint.tensors(files[0])
    return checkpoint.rename({name: tensor for name, tensor in found.items() if name != "fc6.weight"}, SPHEREFACE)
