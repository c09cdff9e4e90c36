"""The cloud's part: from a photo's gradient, never the photo, to the noise that hides it (APF, 3.4 and 3.5)."""

from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from faceveil import trained
from faceveil.types import Images

START = 0.25  # of u, in E
SLOPE = 0.2  # of leaky ReLUs
PASSING = 24  # channels that carry three colors of 2 x 2 pixels through leaky ReLUs: f(x) - f(-x) = 1.2 x


class UNet(nn.Module):
    """The gradient transfer module T: four stages of stride 2, skips between, no normalization; images to images.

    3x3 convolutions, `width` to 8 `width` channels, leaky ReLUs of slope 0.2, and transposed convolutions back, of
    which the last is linear. These details, and the width of 64, are those of the released code.

    Where it is wide enough, for `PASSING` channels, it starts as the identity: what it learns is how to do better than
    the gradient that it is given, not that gradient first.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)
            for before, after in ((8 * width, 4 * width), (8 * width, 2 * width), (4 * width, width), (2 * width, 3))
        )
        self.activation = nn.LeakyReLU(SLOPE)
        if width >= PASSING:
            self._pass()

    @torch.no_grad()
    def _pass(self) -> None:
        """Lets the first skip carry each pixel of 2 x 2, and its negative, and the last layer put them back."""
        first, last = cast(nn.Conv2d, self.down[0]), cast(nn.ConvTranspose2d, self.up[-1])
        for part in (first.weight[:PASSING], first.bias[:PASSING], last.weight, last.bias):  # type: ignore[index]
            part.zero_()  # type: ignore[union-attr]
        there = first.weight[:PASSING].view(3, 2, 2, 2, 3, 3, 3)  # channel, row, column, sign; channel and kernel
        back = last.weight[-len(first.weight) :][:PASSING].view(3, 2, 2, 2, 3, 3, 3)
        for channel, row, column in product(range(3), range(2), range(2)):
            for place, gain in ((there, 1.0), (back, 1 / (1 + SLOPE))):
                place[channel, row, column, :, channel, 1 + row, 1 + column] = torch.tensor([gain, -gain])

    def forward(self, x: Images) -> Images:
        levels = [x]
        for layer in self.down:
            levels.append(self.activation(layer(levels[-1])))
        y = levels.pop()
        for layer in self.up[:-1]:
            skip = levels.pop()
            y = torch.cat([_like(self.activation(layer(y)), skip), skip], 1)
        return _like(self.up[-1](y), x)


def _like(images: Tensor, others: Tensor) -> Tensor:
    """Cut to the others' size, which is odd where they are a row or column too large."""
    return images[:, :, : others.shape[2], : others.shape[3]]


class Enhancement(nn.Module):
    """The enhancement module E: conv1x1(beta u + gamma) (Eq. 8). It starts as a quarter of u, to leave T some room."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))
        self.gamma = nn.Parameter(torch.zeros(()))
        self.convolution = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.convolution.weight)
        self.convolution.weight.data *= START
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, u: Images) -> Images:
        y: Tensor = self.convolution(self.beta * u + self.gamma)
        return y


class Cloud(nn.Module):
    """Gradients to noise, each [n, 3, h, w], a level being 1/255: clip(T(g) + E(u)) to `epsilon` levels (Eq. 9).

    h and w are `size`, 112 for faces aligned to ArcFace's template. Without `enhanced`, clip(T(g)). T and E see and
    give shares of epsilon. `values` is how many values a gradient had in training: see `Grid`; 0 for any.
    """

    universal: Tensor

    def __init__(
        self,
        width: int = 64,
        epsilon: float = 8.0,
        enhanced: bool = True,
        values: int = 0,
        size: Sequence[int] = (112, 112),
    ) -> None:
        super().__init__()
        self.epsilon, self.values = epsilon, values
        self.transfer = UNet(width)
        self.enhancement = Enhancement() if enhanced else None
        self.register_buffer("universal", torch.zeros(3, *size))

    def forward(self, gradient: Images) -> Images:
        return self.raw(gradient).clamp(-1, 1) * (self.epsilon / 255)

    def raw(self, gradient: Images) -> Images:
        """The noise before it is clipped, as a share of epsilon."""
        share: Tensor = self.transfer(gradient * (255 / self.epsilon))
        return share if self.enhancement is None else share + self.enhancement(self.universal[None])


def load(name: str | Path = "apf", device: str | torch.device = "cpu") -> Cloud:
    """The cloud that ships under a name, or was trained into a file; raises `WeightsError`."""
    return trained.read(name).build(Cloud).to(device)
