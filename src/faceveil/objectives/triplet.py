"""Triplet loss, as a cloak wants it: positive and negative exchanged."""

from dataclasses import dataclass

from torch import Generator, Tensor

from faceveil.objectives.base import Objective
from faceveil.objectives.feature import distance
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, PerImage


@dataclass(frozen=True)
class Triplet(Objective):
    """max(D(image, negative) - D(image, positive) + margin, 0), with D the Euclidean distance.

    Cilloni et al., 2020, Eq. 2 with positive and negative exchanged (section III-A): zero once the image is nearer to
    its negative, somebody else's embedding [n, d], than to its positive, its own, by the margin.
    """

    recognizer: Recognizer
    positives: Embeddings
    negatives: Embeddings
    margin: float = 0.2

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        embeddings = self.recognizer(images)
        difference = distance(embeddings, self.negatives) - distance(embeddings, self.positives)
        return (difference + self.margin).clamp(min=0)

    def __getitem__(self, chosen: Tensor) -> "Triplet":
        return Triplet(self.recognizer, self.positives[chosen], self.negatives[chosen], self.margin)
