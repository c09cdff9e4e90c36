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
    brightness = _brightness(images)
    return (_ratio((_mean(brightness.square()) - _mean(brightness).square()).clamp(min=0)) + 1).sqrt()


def detail_masking(images: Images) -> Map:
    """The same for changes of detail, which detail alone masks; without the 1, so that a blurred picture gets none."""
    return _ratio(_mean(detail(_brightness(images)).square())).sqrt()


def detail(maps: Map) -> Map:
    """What is lost under weights of 1, 2, 1 each way: what is finer than some two pixels."""
    sums = F.pad(maps, (1,) * 4, mode="reflect")
    for _ in range(2):  # sums of two neighbors, twice each way: several times as fast as pooling
        sums = sums[..., 1:, :] + sums[..., :-1, :]
        sums = sums[..., 1:] + sums[..., :-1]
    return maps - sums / 16


def _brightness(images: Images) -> Map:
    """In 8-bit levels."""
    return 255 * (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def _ratio(variance: Map) -> Map:
    """2 v / C2, its mean around each pixel."""
    return _mean(2 * variance / STABILITY)


def _mean(maps: Map) -> Map:
    return F.avg_pool2d(F.pad(maps, (WINDOW // 2,) * 4, mode="reflect"), WINDOW, 1)
