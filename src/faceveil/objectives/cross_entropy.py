"""Closed-set cross-entropy: a head over enrolled identities, and a loss toward one of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from faceveil.objectives.base import Objective
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, PerImage

Classes = Int64[Tensor, " n"]
Logits = Float[Tensor, "n classes"]


class Head(ABC):
    """Embeddings [n, d] to logits [n, classes] over enrolled identities."""

    @abstractmethod
    def __call__(self, embeddings: Embeddings) -> Logits:
        """Logits, higher for likelier identities."""

    def __getitem__(self, chosen: Tensor) -> "Head":
        """The head of some of the images; a head that judges all alike is itself."""
        return self


@dataclass(frozen=True)
class Softmax(Head):
    """A linear layer on embeddings: weights [classes, d] and biases [classes]."""

    weights: Float[Tensor, "classes d"]
    biases: Float[Tensor, " classes"]

    def __call__(self, embeddings: Embeddings) -> Logits:
        return F.linear(embeddings, self.weights, self.biases)

    @classmethod
    def train(cls, embeddings: Embeddings, classes: Classes, decay: float = 1e-4, steps: int = 100) -> "Softmax":
        """The head that tells enrolled embeddings apart best: least mean cross-entropy plus decay |weights|^2 / 2.

        The loss is convex, so L-BFGS finds its one minimum from zero, the same each time.
        """
        count = int(classes.max()) + 1
        weights = embeddings.new_zeros(count, embeddings.shape[1]).requires_grad_()
        biases = embeddings.new_zeros(count).requires_grad_()
        optimizer = torch.optim.LBFGS([weights, biases], max_iter=steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(F.linear(embeddings, weights, biases), classes)
            value = value + decay / 2 * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return cls(weights.detach(), biases.detach())


@dataclass(frozen=True)
class Centroids(Head):
    """Minus the squared distances to centroids [1, classes, d], or each image's own [n, classes, d], times `sharpness`.

    The likeliest identity is that of the nearest centroid.
    """

    centroids: Float[Tensor, "n classes d"]
    sharpness: float = 1.0

    def __call__(self, embeddings: Embeddings) -> Logits:
        return -self.sharpness * (embeddings[:, None] - self.centroids).square().sum(2)

    def __getitem__(self, chosen: Tensor) -> "Centroids":
        return self if len(self.centroids) == 1 else Centroids(self.centroids[chosen], self.sharpness)

    @classmethod
    def enroll(cls, embeddings: Embeddings, classes: Classes, sharpness: float = 1.0) -> "Centroids":
        """The mean of each identity's embeddings."""
        members = F.one_hot(classes).to(embeddings)
        return cls((members.T @ embeddings / members.sum(0)[:, None])[None], sharpness)


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """-log p(class | image): toward a class; `-1.0 *` it is away from one (Kurakin et al., 2016)."""

    recognizer: Recognizer
    head: Head
    classes: Classes

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return F.cross_entropy(self.head(self.recognizer(images)), self.classes, reduction="none")

    def __getitem__(self, chosen: Tensor) -> "CrossEntropy":
        return CrossEntropy(self.recognizer, self.head[chosen], self.classes[chosen])
