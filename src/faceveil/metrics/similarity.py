"""Picture against picture, both uint8 RGB [height, width, 3] of one size; `SettingError` for anything else."""

import numpy as np
from skimage.metrics import structural_similarity

from faceveil.errors import SettingError
from faceveil.types import Pixels


def ssim(pixels: Pixels, others: Pixels) -> float:
    """Structural similarity, scikit-image's defaults (7x7 windows), the mean over RGB (Wang et al., 2004); 1 is equal.

    Where pictures are under 7 pixels wide or high, their edge is repeated.
    """
    _check(pixels, others)
    missing = [(0, max(0, 7 - side)) for side in pixels.shape[:2]]
    padded = (np.pad(picture, (*missing, (0, 0)), "edge") for picture in (pixels, others))
    return float(structural_similarity(*padded, channel_axis=2))


def psnr(pixels: Pixels, others: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal pictures."""
    _check(pixels, others)
    error = np.square(pixels.astype(np.float64) - others).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def largest_change(pixels: Pixels, others: Pixels) -> int:
    """The largest change of any channel, in 8-bit levels."""
    _check(pixels, others)
    return int(np.abs(pixels.astype(np.int16) - others).max())


def _check(pixels: Pixels, others: Pixels) -> None:
    fits = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size and pixels.shape == others.shape
    if not fits or {pixels.dtype, others.dtype} != {np.dtype(np.uint8)}:
        found = " and ".join(f"{some.dtype} {list(some.shape)}" for some in (pixels, others))
        raise SettingError(f"the pictures are {found}; give two of one size, uint8 [height, width, 3]")
