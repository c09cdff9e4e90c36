"""Blocks of the image transformation network of Johnson et al. (2016), normalized by instance.

Of what generators of cloaks are built. https://arxiv.org/abs/1603.08155
"""

from torch import Tensor, nn


def normalized(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    """With a normalization of each channel over its image, and a ReLU."""
    return convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), nn.ReLU()


class Residual(nn.Module):
    """Two 3x3 convolutions beside which the image passes as it is; the first may have a `bias`."""

    def __init__(self, width: int, bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *normalized(nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=bias)),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y
