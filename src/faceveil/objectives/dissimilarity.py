"""Structural dissimilarity: how far images look from their originals."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from faceveil.metrics.structure import WIDTH, structure
from faceveil.objectives.base import Objective
from faceveil.types import Images, PerImage


@dataclass(frozen=True)
class Dissimilarity(Objective):
    """DSSIM, (1 - SSIM) / 2, to the originals; 0 is equal (Wang et al., 2004; Fawkes: Shan et al., 2020, section 4.2).

    With `scales` the mean over the images and their halves, quarters ..., as far as windows fit into them, so that
    blotches count as grain does. Where a map `share` [n, 1, h, w] says what may change, the mean over that, so that a
    wide margin makes no cloak look better.
    """

    originals: Images
    share: Float[Tensor, "n 1 h w"] | None = None
    scales: int = 1

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return self.by_scale(images).mean(0)

    def by_scale(self, images: Images) -> Float[Tensor, "scales n"]:
        """What it is at each scale, the images' own first."""
        originals = self.originals
        share = images.new_ones(len(images), 1, *images.shape[2:]) if self.share is None else self.share
        edge = WIDTH // 2
        found = []
        while True:
            inside = share[:, :, edge:-edge, edge:-edge]
            likeness = (structure(images, originals).mean(1, keepdim=True) * inside).sum((1, 2, 3))
            found.append((1 - likeness / inside.sum((1, 2, 3))) / 2)
            if len(found) == self.scales or min(images.shape[2:]) < 2 * WIDTH:
                return torch.stack(found)
            images, originals, share = (F.avg_pool2d(some, 2) for some in (images, originals, share))

    def __getitem__(self, chosen: Tensor) -> "Dissimilarity":
        share = None if self.share is None else self.share[chosen]
        return Dissimilarity(self.originals[chosen], share, self.scales)
