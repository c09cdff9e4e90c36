"""Masking: where a picture is busy, a change is seen less."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.types import Images

WINDOW = 7  # pixels, as SSIM's
STABILITY = (0.03 * 255) ** 2  # SSIM's C2 (Wang et al., 2004)
LUMA = (0.299, 0.587, 0.114)

Map = Float[Tensor, "n 1 h w"]


def masking(images: Images) -> Map:
    """By how much more a pixel may change than on a flat ground: 1 there, elsewhere as the local contrast.

    What a small change of mean square q costs of SSIM is q / (2 v + C2), with the variance v of the window's brightness
    (Wang et al., 2004, Eq. 13). This is the root of (2 v + C2) / C2, its mean around each pixel.
    """
    return _mean(2 * _variance(images) / STABILITY + 1).sqrt()


def _variance(images: Images) -> Map:
    """The variance of brightness in the window around each pixel, in squared 8-bit levels."""
    brightness = 255 * (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return (_mean(brightness.square()) - _mean(brightness).square()).clamp(min=0)


def _mean(maps: Map) -> Map:
    return F.avg_pool2d(F.pad(maps, (WINDOW // 2,) * 4, mode="reflect"), WINDOW, 1)
