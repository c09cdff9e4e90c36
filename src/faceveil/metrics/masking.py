"""Masking: where a picture is busy, a change is seen less."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.types import Images, PerImage

WINDOW = 7  # pixels, as SSIM's
STABILITY = (0.03 * 255) ** 2  # SSIM's C2 (Wang et al., 2004)
LUMA = (0.299, 0.587, 0.114)
EFFECTIVE = 0.5  # of its largest square, a change that a sign attack makes has about this mean square

Map = Float[Tensor, "n 1 h w"]


def allowance(images: Images, share: Map, dissimilarity: PerImage, largest: float) -> Map:
    """How many 8-bit levels each pixel may change, for a wanted cost in structure.

    Levels are in proportion to `share` (in [0, 1]) and to the square root of local contrast, at most `largest`, and so
    scaled for each image that the mean of 1 - SSIM is its `dissimilarity` where `share` is not 0, as near as `largest`
    allows. The cost is SSIM's own (Wang et al., 2004, Eq. 13) for a change that is independent of the picture:
    q / (2 v + C2 + q), with the variance v of the window's brightness and the change's mean square q.
    """
    structure = 2 * _variance(images) + STABILITY
    shape = share * _mean(structure / STABILITY).sqrt().sqrt()
    seen = (share > 0).float()

    def cost(levels: Map) -> Tensor:
        square = EFFECTIVE * levels.square()
        return (seen * square / (structure + square)).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)

    low, high = shape.new_zeros(len(images)), shape.new_full((len(images),), largest)
    for _ in range(16):  # halvings: to a thousandth of a level
        middle = (low + high) / 2
        above = cost(_scaled(shape, middle, largest)) > dissimilarity
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return _scaled(shape, low, largest)


def _scaled(shape: Map, levels: Tensor, largest: float) -> Map:
    return (levels[:, None, None, None] * shape).clamp(max=largest)


def _variance(images: Images) -> Map:
    """The variance of brightness in the window around each pixel, in squared 8-bit levels."""
    brightness = 255 * (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return (_mean(brightness.square()) - _mean(brightness).square()).clamp(min=0)


def _mean(maps: Map) -> Map:
    return F.avg_pool2d(F.pad(maps, (WINDOW // 2,) * 4, mode="reflect"), WINDOW, 1)
