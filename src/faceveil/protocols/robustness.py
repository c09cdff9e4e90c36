"""Robustness: what photos suffer on their way, and what a tracker may do to wash a cloak off.

A treatment takes 8-bit RGB pixels and gives pixels of the same height and width, so that any protocol can be run on
whole photos and on aligned faces alike.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from skimage.restoration import denoise_tv_chambolle

from faceveil.errors import SettingError
from faceveil.photo import jpeg
from faceveil.types import Images, Pixels

Treatment = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Ladder:
    """One treatment at several strengths, the mildest first: a curve's abscissas; `limits` bound every strength."""

    act: Callable[[Pixels, float], Pixels]
    strengths: tuple[float, ...]
    limits: tuple[float, float]


def webp(pixels: Pixels, quality: float) -> Pixels:
    """WebP at this quality, 0 to 100, lossy."""
    stream = io.BytesIO()
    _picture(pixels).save(stream, "WEBP", quality=round(quality))
    return np.array(Image.open(stream).convert("RGB"))


def shrink(pixels: Pixels, share: float) -> Pixels:
    """Smaller by that share of width and height (Lanczos), and brought back (bicubic), as an aligner does."""
    height, width = pixels.shape[:2]
    small = _picture(pixels).resize(
        (max(1, round(share * width)), max(1, round(share * height))), Image.Resampling.LANCZOS
    )
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur, its standard deviation in pixels (Pillow's, three box filters)."""
    return np.array(_picture(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def screenshot(pixels: Pixels, zoom: float) -> Pixels:
    """Shown at another size, half a pixel off the grid, as a browser does it (bilinear), captured and brought back."""
    height, width = pixels.shape[:2]
    shown = max(2, round(zoom * width)), max(2, round(zoom * height))
    box = 0.5, 0.5, width, height
    screen = _picture(pixels).resize(shown, Image.Resampling.BILINEAR, box)
    return np.array(screen.resize((width, height), Image.Resampling.BICUBIC))


def median(pixels: Pixels, side: float) -> Pixels:
    """The median of each channel in a window that many pixels wide, rounded down to an odd number."""
    return np.array(_picture(pixels).filter(ImageFilter.MedianFilter(2 * int((side - 1) // 2) + 1)))


def reduce_depth(pixels: Pixels, bits: float) -> Pixels:
    """Only that many bits of each channel, 1 to 8 (Xu et al., 2018, https://arxiv.org/abs/1704.01155)."""
    levels = 2 ** round(bits) - 1
    return np.asarray(np.rint(np.rint(pixels / 255 * levels) / levels * 255), np.uint8)


def minimize_variation(pixels: Pixels, weight: float) -> Pixels:
    """Total variation minimization, scikit-image's Chambolle; larger weights smooth more.

    A defense against adversarial examples (Guo et al., 2018, https://arxiv.org/abs/1711.00117).
    """
    smooth = denoise_tv_chambolle(pixels / 255, weight=weight, channel_axis=2)
    return np.asarray(np.rint(np.clip(smooth, 0, 1) * 255), np.uint8)


LADDERS: Mapping[str, Ladder] = {
    "JPEG": Ladder(lambda pixels, quality: jpeg(pixels, round(quality)), (95, 85, 75, 60, 40), (1, 100)),
    "WebP": Ladder(webp, (95, 85, 75, 60, 40), (0, 100)),
    "size": Ladder(shrink, (0.75, 0.5, 0.35, 0.25), (0.01, 1)),
    "blur": Ladder(blur, (0.5, 1, 1.5, 2), (0, 100)),
    "screenshot": Ladder(screenshot, (1, 0.75, 0.5, 0.35), (0.01, 4)),
    "median": Ladder(median, (3, 5), (1, 99)),
    "bits": Ladder(reduce_depth, (6, 5, 4, 3), (1, 8)),
    "TVM": Ladder(minimize_variation, (0.02, 0.05, 0.1), (0, 10)),
}


def treatment(name: str) -> Treatment:
    """The treatment of that name: one of `LADDERS` and a strength, such as "JPEG 75" or "blur 1.5".

    Raises `SettingError` where there is none.
    """
    kind, _, strength = name.rpartition(" ")
    try:
        ladder, value = LADDERS[kind], float(strength)
    except (KeyError, ValueError) as error:
        raise SettingError(f"{name!r} is no treatment; say one of {', '.join(LADDERS)} and a strength") from error
    low, high = ladder.limits
    if not low <= value <= high:
        raise SettingError(f"{kind} cannot be {strength}; choose from {low:g} to {high:g}")
    return lambda pixels: ladder.act(pixels, value)


def names() -> list[str]:
    """All rungs of all ladders, as `treatment` takes them."""
    return [f"{kind} {strength:g}" for kind, ladder in LADDERS.items() for strength in ladder.strengths]


def treated(images: Images, act: Treatment) -> Images:
    """Images after rounding to 8 bits and a treatment."""
    levels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    after = torch.from_numpy(np.stack([act(pixels) for pixels in levels]))
    return after.to(images.device).permute(0, 3, 1, 2) / 255


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
