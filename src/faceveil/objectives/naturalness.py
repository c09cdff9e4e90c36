"""Naturalness: how far images lie from their originals as distributions."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from faceveil.metrics.mmd import mmd
from faceveil.objectives.base import Objective
from faceveil.types import Images, PerImage


@dataclass(frozen=True)
class Naturalness(Objective):
    """The maximum mean discrepancy of each image from its original, over views of both (TIP-IM, Eq. 3 and footnote 4).

    One picture has no distribution, so each makes up a batch by augmentation: itself, mirrored, and both of them moved
    by `shift` pixels each way. The paper does not name its augmentations; these are exact and change no pixel's value.
    """

    originals: Images
    shift: int = 2

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        pairs = zip(self._augmented(images), self._augmented(self.originals), strict=True)
        return torch.stack([mmd(some, others) for some, others in pairs])

    def __getitem__(self, chosen: Tensor) -> "Naturalness":
        return Naturalness(self.originals[chosen], self.shift)

    def _augmented(self, images: Images) -> Iterator[Images]:
        """For each image its batch [10, 3, h, w]."""
        moves = [(0, 0), (self.shift, 0), (-self.shift, 0), (0, self.shift), (0, -self.shift)]
        for image in images:
            both = torch.stack([image, image.flip(2)])
            yield torch.cat([both.roll(move, (2, 3)) for move in moves])
