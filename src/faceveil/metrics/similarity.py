"""Picture against picture, both uint8 RGB of one size."""

import numpy as np
from skimage.metrics import structural_similarity

from faceveil.types import Pixels


def ssim(pixels: Pixels, others: Pixels) -> float:
    """Structural similarity, scikit-image's defaults (7x7 windows), the mean over RGB (Wang et al., 2004); 1 is equal.

    Pictures under 7 pixels wide or high have the largest odd window that fits.
    """
    window = min(7, *(side - (side + 1) % 2 for side in pixels.shape[:2]))
    return float(structural_similarity(pixels, others, channel_axis=2, win_size=max(window, 1)))


def psnr(pixels: Pixels, others: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal pictures."""
    error = np.square(pixels.astype(np.float64) - others).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def largest_change(pixels: Pixels, others: Pixels) -> int:
    """The largest change of any channel, in 8-bit levels."""
    return int(np.abs(pixels.astype(np.int16) - others).max())
