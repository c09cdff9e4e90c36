"""Objectives on embeddings: away from the person (dodging)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from faceveil.objectives.base import Objective
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, PerImage


@dataclass(frozen=True)
class Dodging(Objective):
    """Minus the Euclidean distance from each image's embedding to its source, the person's own embedding [n, d].

    In units of the recognizer's threshold: at -1 the face is no longer recognized, whatever the recognizer.
    """

    recognizer: Recognizer
    sources: Embeddings

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return -distance(self.recognizer(images), self.sources) / self.recognizer.threshold

    def __getitem__(self, chosen: Tensor) -> "Dodging":
        return Dodging(self.recognizer, self.sources[chosen])


def distance(embeddings: Embeddings, others: Embeddings) -> PerImage:
    """Euclidean distances, row by row; smooth where two embeddings are the same."""
    return ((embeddings - others).square().sum(1) + 1e-12).sqrt()
