"""Structural similarity that a gradient can pass, image by image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.types import Images

WIDTH, SIGMA = 11, 1.5  # the window of Wang et al., 2004, section III-B
C1, C2 = 0.01**2, 0.03**2


def structure(images: Images, others: Images) -> Float[Tensor, "n 3 rows columns"]:
    """Maps of structural similarity, rows and columns 10 fewer than the images', whose means are SSIM; 1 is equal.

    Wang et al., 2004, Eq. 13, with Gaussian windows of 11 x 11 inside the images, as TensorFlow has it,
    and Fawkes measures with it.
    """
    both = torch.cat([images, others, images.square(), others.square(), images * others])
    mean, other, square, other_square, product = blurred(both, WIDTH, SIGMA).chunk(5)
    luminance = (2 * mean * other + C1) / (mean.square() + other.square() + C1)
    variances = square - mean.square() + other_square - other.square()
    maps: Tensor = luminance * (2 * (product - mean * other) + C2) / (variances + C2)
    return maps


def blurred(images: Float[Tensor, "n _ h w"], width: int, sigma: float) -> Float[Tensor, "n _ rows columns"]:
    """Images of any channels under a Gaussian, so many pixels wide (an odd number), wherever it lies inside them."""
    taps = torch.exp(-(torch.arange(width) - width // 2).square() / (2 * sigma**2)).to(images)
    channels = images.shape[1]
    taps = (taps / taps.sum()).expand(channels, 1, 1, width)
    return F.conv2d(F.conv2d(images, taps, groups=channels), taps.mT, groups=channels)
