"""Views that make a cloak depend less on one recognizer's details; see `views` for what files and detectors do.

Each step of an attack sees images through one, or through the mean of several (`GradientAttack.views`). All of them
draw the same for the whole batch, and show the image as it is where nothing is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from faceveil.faces.align import warp
from faceveil.objectives.base import View
from faceveil.types import Aligned, Images


@dataclass(frozen=True)
class Chain(View):
    """One view after the other."""

    views: Sequence[View]

    def __call__(self, images: Images, generator: Generator | None = None) -> Aligned:
        for view in self.views:
            images = view(images, generator)
        return images

    def __getitem__(self, chosen: Tensor) -> "Chain":
        return Chain(tuple(view[chosen] for view in self.views))


@dataclass(frozen=True)
class Sometimes(View):
    """A view that is drawn with a probability, and else left out; APF has 0.5 (Zhang et al., 2020, section 4.1)."""

    view: View
    probability: float = 0.5

    def __call__(self, images: Images, generator: Generator | None = None) -> Aligned:
        if generator is None or float(torch.rand((), generator=generator)) >= self.probability:
            return images
        return self.view(images, generator)

    def __getitem__(self, chosen: Tensor) -> "Sometimes":
        return Sometimes(self.view[chosen], self.probability)


@dataclass(frozen=True)
class Padding(View):
    """Shrunk by a factor between `lowest` and 1 and set somewhere on black (DI: Xie et al., 2019).

    By RobFR's factors (Yang et al., 2020), with the images' own size kept. https://arxiv.org/abs/1803.06978
    """

    lowest: float = 0.9

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        size = images.shape[2:]
        factor, *place = torch.rand(3, generator=generator).tolist()
        inner = [round(side * (self.lowest + (1 - self.lowest) * factor)) for side in size]
        small = F.interpolate(images, inner, mode="bilinear", antialias=True)
        top, left = (round(share * (side - new)) for share, side, new in zip(place, size, inner, strict=True))
        return F.pad(small, (left, size[1] - inner[1] - left, top, size[0] - inner[0] - top))


@dataclass(frozen=True)
class Affinity(View):
    """A random affine map and a rotation, as in TIP-IM's released code (input_diversify.py).

    Two spreads are drawn between `least` and `most`: one for the numbers that are added to the matrix of a map over
    [-1, 1], one for the rotation in radians.
    """

    least: float = 0.01
    most: float = 0.1

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        spread = self.least + (self.most - self.least) * torch.rand(2, generator=generator)
        drawn = torch.randn(7, generator=generator)
        matrix = torch.eye(2, 3) + spread[0] * drawn[:6].view(2, 3)
        cosine, sine = (spread[1] * drawn[6]).cos(), (spread[1] * drawn[6]).sin()
        turn = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
        return _sampled(images, matrix[:, :2] @ turn, matrix[:, 2])


@dataclass(frozen=True)
class Turning(View):
    """Turned about the center by up to so many degrees; APF's code has 15."""

    degrees: float = 15.0

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        angle = math.radians(self.degrees) * (2 * float(torch.rand((), generator=generator)) - 1)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return _sampled(images, turn, torch.zeros(2))


@dataclass(frozen=True)
class Tinting(View):
    """Each channel shifted by up to so many 8-bit levels; APF's color conversion, with its code's 5."""

    levels: float = 5.0

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        shift = self.levels / 255 * (2 * torch.rand(3, 1, 1, generator=generator) - 1)
        return (images + shift.to(images.device)).clamp(0, 1)


@dataclass(frozen=True)
class Dimming(View):
    """Darker by a factor; never random."""

    factor: float

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        return self.factor * images


def scales(copies: int = 5) -> tuple[Dimming, ...]:
    """SI: the image divided by 1, 2, 4 ... (Lin et al., 2020, Eq. 8, https://arxiv.org/abs/1908.06281)."""
    return tuple(Dimming(2.0**-power) for power in range(copies))


@dataclass(frozen=True)
class Spectrum(View):
    """Gaussian noise, then each frequency of the image stronger or weaker (SSA: Long et al., 2022, Eq. 6).

    `sigma` is the noise's deviation in 8-bit levels, `rho` the largest change of a frequency's share; the paper takes
    the mean gradient of 20 draws: `views=(Spectrum(),) * 20`. https://arxiv.org/abs/2207.05382
    """

    sigma: float = 16.0
    rho: float = 0.5

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        shape = images.shape[1:]
        noise = self.sigma / 255 * torch.randn(shape, generator=generator)
        mask = 1 + self.rho * (2 * torch.rand(shape, generator=generator) - 1)
        rows, columns = (_cosines(side).to(images) for side in shape[1:])
        frequencies = rows @ (images + noise.to(images.device)) @ columns.T
        return rows.T @ (mask.to(images.device) * frequencies) @ columns


@dataclass(frozen=True)
class Blocks(View):
    """Cut into rows and columns at random places, the pieces shuffled and turned (BSR: Wang et al., 2024).

    The paper has 2 x 2 blocks, turned by up to 24 degrees, and the mean gradient of 20 draws: `views=(Blocks(),) * 20`.
    https://arxiv.org/abs/2308.10299
    """

    blocks: int = 2
    degrees: float = 24.0

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        if generator is None:
            return images
        turning = Turning(self.degrees)
        bands = [
            torch.cat([turning(piece, generator) for piece in self._shuffled(band, 3, generator)], 3)
            for band in self._shuffled(images, 2, generator)
        ]
        return torch.cat(bands, 2)

    def _shuffled(self, images: Images, dimension: int, generator: Generator) -> list[Tensor]:
        side = images.shape[dimension]
        lengths = torch.ones(self.blocks) + torch.rand(self.blocks, generator=generator)
        ends = (side * lengths.cumsum(0) / lengths.sum()).round().long().tolist()
        pieces = torch.tensor_split(images, ends[:-1], dimension)
        return [pieces[i] for i in torch.randperm(self.blocks, generator=generator).tolist()]


def _sampled(images: Images, linear: Tensor, shift: Tensor) -> Images:
    """Sampled where a map about the center points, its shift in half images; black outside."""
    height, width = images.shape[2:]
    half = torch.tensor([width, height]) / 2
    matrix = torch.column_stack([linear, half + half * shift - linear @ half])
    return warp(images, matrix.expand(len(images), 2, 3), (height, width))


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix [size, size]."""
    place, frequency = torch.arange(size) + 0.5, torch.arange(size)[:, None]
    basis = math.sqrt(2 / size) * torch.cos(math.pi / size * frequency * place)
    basis[0] /= math.sqrt(2)
    return basis
