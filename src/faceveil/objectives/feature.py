"""Objectives on embeddings: away from the person (dodging), toward another (impersonation), or both."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from faceveil.objectives.base import Objective
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, Own, PerImage


def distance(embeddings: Embeddings, others: Embeddings) -> PerImage:
    """Euclidean distances, row by row; smooth where two embeddings are the same."""
    return ((embeddings - others).square().sum(1) + 1e-12).sqrt()


def squared(embeddings: Embeddings, others: Embeddings) -> PerImage:
    """Squared Euclidean distances, row by row."""
    return (embeddings - others).square().sum(1)


@dataclass(frozen=True)
class Measure:
    """A distance between embeddings, row by row, and the unit in which a recognizer's are given."""

    distance: Callable[[Embeddings, Embeddings], PerImage]
    unit: Callable[[Recognizer], float]


EUCLIDEAN = Measure(distance, lambda recognizer: recognizer.threshold)
SQUARED = Measure(squared, lambda recognizer: recognizer.threshold**2)
PLAIN = Measure(distance, lambda recognizer: 1.0)  # Euclidean, for recognizers without a threshold too


@dataclass(frozen=True)
class Dodging(Objective):
    """Minus the distance from each image's embedding to its source, the person's own embedding [n, d].

    In units of the recognizer's threshold: at -1 the face is no longer recognized, whatever the recognizer. With the
    embedding of an enrolled image as source and `PLAIN` this is APF's Eq. 2, with `scattered` ones its Eq. 13.
    At the source itself its gradient is 0: a walk from the very image whose embedding it is needs some noise first.
    """

    recognizer: Recognizer
    sources: Embeddings
    measure: Measure = EUCLIDEAN

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        away = self.measure.distance(self.recognizer(images), self.sources)
        return -away / self.measure.unit(self.recognizer)

    def __getitem__(self, chosen: Tensor) -> "Dodging":
        return Dodging(self.recognizer, self.sources[chosen], self.measure)


@dataclass(frozen=True)
class Impersonation(Objective):
    """The distance from each image's embedding to its target, another person's embedding [n, d].

    In units of the recognizer's threshold: below 1 the face is taken for the target.
    """

    recognizer: Recognizer
    targets: Embeddings
    measure: Measure = EUCLIDEAN

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        away = self.measure.distance(self.recognizer(images), self.targets)
        return away / self.measure.unit(self.recognizer)

    def __getitem__(self, chosen: Tensor) -> "Impersonation":
        return Impersonation(self.recognizer, self.targets[chosen], self.measure)


@dataclass(frozen=True)
class RelativeIdentification(Objective):
    """The squared distance to the nearest target less that to the source (TIP-IM: Yang et al., 2021, Eq. 2).

    `targets` are [n, k, d]. With several for an image it is their least loss. The distance to the source counts `away`
    times as much; in the paper, as much. With `company`, the distance to its nearest counts `apart` times (ours).
    """

    recognizer: Recognizer
    sources: Embeddings
    targets: Float[Tensor, "n k d"]
    away: float = 1.0
    company: "Company | None" = None
    apart: float = 1.0

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        embeddings = self.recognizer(images)
        nearest: Tensor = (embeddings[:, None] - self.targets).square().sum(2).amin(1)
        led = self.away * squared(embeddings, self.sources)
        if self.company is not None:
            led = led + self.apart * self.company(embeddings)
        return nearest - led

    def __getitem__(self, chosen: Tensor) -> "RelativeIdentification":
        company = self.company and self.company[chosen]
        return replace(self, sources=self.sources[chosen], targets=self.targets[chosen], company=company)


@dataclass(frozen=True)
class Company:
    """Cloaked faces of the same people: the other images as they are now, and `known` ones [m, d] that stay.

    `same` [n, n + m] says which of them show whom an image shows.
    """

    same: Bool[Tensor, "n _"]
    known: Own

    def __call__(self, embeddings: Embeddings) -> PerImage:
        """The squared distance from each image's embedding to its nearest; 0 where nobody else shows that person."""
        others = torch.cat([embeddings.detach(), self.known])
        lengths = embeddings.square().sum(1)[:, None] + others.square().sum(1)
        away = (lengths - 2 * embeddings @ others.T).masked_fill(~self.same, torch.inf).amin(1)
        return torch.where(self.same.any(1), away, 0.0)

    def __getitem__(self, chosen: Tensor) -> "Company":
        mine = torch.arange(len(self.same), device=self.same.device)[chosen]
        those = torch.arange(len(self.same), self.same.shape[1], device=self.same.device)
        return Company(self.same[mine][:, torch.cat([mine, those])], self.known)


def scattered(sources: Embeddings, generator: Generator, share: float = 0.1, reach: float = 0.07) -> Embeddings:
    """Sources, each moved at random, so that photos cloaked away from one source do not meet (APF, Eq. 13).

    A tenth of an embedding's numbers, drawn at random, change by up to `reach` (Zhang et al., 2020, section 4.3.2).
    """
    n, d = sources.shape
    moved = torch.rand(n, d, generator=generator).argsort(1) < round(share * d)
    delta = reach * (2 * torch.rand(n, d, generator=generator) - 1) * moved
    return sources + delta.to(sources)
