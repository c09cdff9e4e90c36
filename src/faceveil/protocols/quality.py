"""Quality: how visible cloaks are, as distributions over images."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from faceveil import metrics
from faceveil.metrics.mmd import mmd
from faceveil.types import Images


@dataclass(frozen=True)
class Quality:
    """One number for each image, after rounding to 8 bits; changes are in 8-bit levels, PSNR in decibels.

    `mmd` compares each cloaked image with its own original (TIP-IM, Eq. 3, batches of one).
    """

    ssim: Float[ndarray, " n"]
    psnr: Float[ndarray, " n"]
    mmd: Float[ndarray, " n"]
    largest_change: Float[ndarray, " n"]
    mean_change: Float[ndarray, " n"]

    @property
    def dssim(self) -> Float[ndarray, " n"]:
        """Structural dissimilarity, (1 - SSIM) / 2 (Cilloni et al., 2020, IV-A)."""
        return np.asarray((1 - self.ssim) / 2)


@dataclass(frozen=True)
class Summary:
    """What a box plot shows, and what the papers print; quartiles as NumPy has them."""

    mean: float
    std: float
    least: float
    quartiles: tuple[float, float, float]
    most: float

    @classmethod
    def of(cls, values: Float[ndarray, " n"]) -> "Summary":
        """The summary of at least one value."""
        least, low, middle, high, most = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
        return cls(float(values.mean()), float(values.std()), least, (low, middle, high), most)


def quality(clear: Images, cloaked: Images) -> Quality:
    """The quality of cloaked images beside their originals, pair by pair."""
    levels = [(255 * images).round().to(torch.uint8).cpu() for images in (clear, cloaked)]
    pairs = [[image.permute(1, 2, 0).numpy() for image in pair] for pair in zip(*levels, strict=True)]
    return Quality(
        ssim=np.array([metrics.ssim(*pair) for pair in pairs]),
        psnr=np.array([metrics.psnr(*pair) for pair in pairs]),
        mmd=np.array([float(mmd(b[None] / 255, a[None] / 255)) for a, b in zip(*levels, strict=True)]),
        largest_change=np.array([float(metrics.largest_change(*pair)) for pair in pairs]),
        mean_change=np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairs]),
    )
