"""What a recognizer is trained with: a classifier over its identities, with or without a margin, or triplets.

A head takes the network's features [n, d] and the classes [n] of the people, and gives one loss per image. It is
removed after training (Vos, 2023, section 3).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.objectives.cross_entropy import Centroids, Classes, Logits, Softmax
from faceveil.types import Embeddings, PerImage


class TrainingHead(nn.Module, ABC):
    """Features and classes to losses; so many photos of one person as `together` says stand side by side in a batch."""

    together = 1

    @abstractmethod
    def forward(self, features: Embeddings, classes: Classes) -> PerImage:
        """One loss per image."""

    def enroll(self, features: Embeddings, classes: Classes) -> None:
        """Starts from these features of everybody's photos."""


class Linear(TrainingHead):
    """Cross-entropy of a linear layer with as many outputs as there are identities (Vos, 2023, Algorithm 1)."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, classes)

    def enroll(self, features: Embeddings, classes: Classes) -> None:
        """The layer that tells them apart best."""
        best = Softmax.train(features, classes)
        self.layer.load_state_dict({"weight": best.weights, "bias": best.biases})

    def forward(self, features: Embeddings, classes: Classes) -> PerImage:
        return F.cross_entropy(self.layer(features), classes, reduction="none")


class Angular(TrainingHead):
    """Cross-entropy of the cosines to a center of each identity, made harder for the right one by a margin."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.empty(classes, size))
        nn.init.normal_(self.centers, std=0.01)

    def enroll(self, features: Embeddings, classes: Classes) -> None:
        """Each identity's center is the mean of its photos' directions."""
        self.centers.data = Centroids.enroll(F.normalize(features), classes).centroids[0]

    @abstractmethod
    def margin(self, cosines: PerImage) -> PerImage:
        """What stands for the cosine to the right center."""

    def scale(self, features: Embeddings) -> Tensor:
        """What the logits are multiplied by."""
        return features.new_tensor(64.0)

    def logits(self, features: Embeddings, classes: Classes) -> Logits:
        """The scaled cosines, the right one after the margin."""
        cosines = F.linear(F.normalize(features), F.normalize(self.centers))
        own = cosines.gather(1, classes[:, None])[:, 0]
        return self.scale(features) * cosines.scatter(1, classes[:, None], self.margin(own)[:, None])

    def forward(self, features: Embeddings, classes: Classes) -> PerImage:
        return F.cross_entropy(self.logits(features, classes), classes, reduction="none")


class ArcFace(Angular):
    """cos(angle + 0.5), scale 64 (Deng et al., 2019, Eq. 3, https://arxiv.org/abs/1801.07698).

    Where the sum would exceed pi, where the cosine rises again, it is the cosine less 0.5 sin 0.5 (released code).
    """

    angle = 0.5

    def margin(self, cosines: PerImage) -> PerImage:
        sines = (1 - cosines.square()).clamp(min=1e-12).sqrt()
        moved = cosines * math.cos(self.angle) - sines * math.sin(self.angle)
        return torch.where(cosines > -math.cos(self.angle), moved, cosines - self.angle * math.sin(self.angle))


class CosFace(Angular):
    """The cosine less 0.35, scale 64 (Wang et al., 2018, Eq. 4, https://arxiv.org/abs/1801.09414)."""

    less = 0.35

    def margin(self, cosines: PerImage) -> PerImage:
        return cosines - self.less


class SphereFace(Angular):
    """The angle times 4, scaled by the features' own length (Liu et al., 2017, Eq. 7, https://arxiv.org/abs/1704.08063).

    psi = (-1)^k cos(4 angle) - 2k in the k-th quarter of the half circle, averaged with `ease` times the cosine, where
    the released code ends its annealing.
    """

    ease = 5.0

    def scale(self, features: Embeddings) -> Tensor:
        lengths: Tensor = features.norm(dim=1, keepdim=True)
        return lengths

    def margin(self, cosines: PerImage) -> PerImage:
        quarter = (cosines.detach().clamp(-1, 1).acos() * 4 / math.pi).floor().clamp(max=3)
        fourfold = 8 * cosines**4 - 8 * cosines**2 + 1
        psi = (1 - 2 * (quarter % 2)) * fourfold - 2 * quarter
        return (self.ease * cosines + psi) / (1 + self.ease)


class Triplets(TrainingHead):
    """Squared distance to a photo of the same person less that to another person's, plus 0.2, if positive.

    All pairs of a person in the batch, each with its semi-hard negative: the nearest that is farther than the positive,
    or else the farthest (Schroff et al., 2015, Eq. 3 and 4, https://arxiv.org/abs/1503.03832). An image's loss is the
    mean over its pairs.
    """

    together = 4
    distance = 0.2

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()

    def forward(self, features: Embeddings, classes: Classes) -> PerImage:
        unit = F.normalize(features)
        distances = 2 - 2 * unit @ unit.T
        same = classes[:, None] == classes
        positive = same & ~torch.eye(len(classes), dtype=torch.bool, device=same.device)
        wrong = torch.where(same, torch.inf, distances)[:, None, :].expand(-1, len(classes), -1)
        nearest = torch.where(wrong > distances[:, :, None], wrong, torch.inf).amin(2)
        farthest = torch.where(same, -torch.inf, distances).amax(1, keepdim=True)
        negative = torch.where(nearest.isinf(), farthest, nearest)
        losses = torch.where(positive & negative.isfinite(), distances - negative + self.distance, 0).clamp(min=0)
        return losses.sum(1) / positive.sum(1).clamp(min=1)


HEADS: Mapping[str, Callable[[int, int], TrainingHead]] = {
    "linear": Linear,
    "arcface": ArcFace,
    "cosface": CosFace,
    "sphereface": SphereFace,
    "triplet": Triplets,
}
