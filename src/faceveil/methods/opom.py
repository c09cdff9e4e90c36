"""OPOM (Zhong and Deng, 2022): Customized Invisible Cloak towards Face Privacy Protection.

One cloak for all photos of a person, made from a few of them: each is moved away from what the person's features span.
https://arxiv.org/abs/2205.11981
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from faceveil.methods.base import Personal
from faceveil.methods.identities import apart
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.methods.stencil import Stencil
from faceveil.objectives.feature import squared
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images

Known = Float[Tensor, "k d"]  # the features of a person's photos


def own(features: Known, moved: Embeddings) -> Embeddings:
    """Each photo's own features (FI-UAP)."""
    return features


def center(features: Known, moved: Embeddings) -> Embeddings:
    """The features' mean (OPOM-ClassCenter); FI-UAP+, away from each of them, has the same gradient."""
    return features.mean(0).expand_as(moved)


def affine_hull(features: Known, moved: Embeddings) -> Embeddings:
    """The nearest places in the features' affine hull (OPOM-AffineHull), by least squares.

    The directions from their mean depend on each other. So in double precision, where what rounding adds is far below
    `rcond`, and on the CPU: the solver for such is not on other devices.
    """
    known, here = (some.cpu().double() for some in (features, moved))
    mean = known.mean(0)
    directions = (known - mean).T
    weights = torch.linalg.lstsq(directions, (here - mean).T, rcond=1e-9, driver="gelsd").solution
    nearest: Tensor = mean + (directions @ weights).T
    return nearest.to(features)


def convex_hull(features: Known, moved: Embeddings, steps: int = 100) -> Embeddings:
    """The nearest places in the features' convex hull (OPOM-ConvexHull), by Frank and Wolfe's exact steps."""
    gram, against = features @ features.T, moved @ features.T
    weights = torch.full_like(against, 1 / len(features))
    for _ in range(steps):
        slopes = weights @ gram - against
        toward = torch.eye(len(features)).to(features)[slopes.argmin(1)] - weights
        bend = (toward @ gram * toward).sum(1, keepdim=True).clamp(min=1e-12)
        weights = weights + (-(slopes * toward).sum(1, keepdim=True) / bend).clamp(0, 1) * toward
    return weights @ features


# From a person's features [k, d] and those of the same photos moved: the places from which these are to be driven.
SPANS: Mapping[str, Callable[[Known, Embeddings], Embeddings]] = {
    "own": own,
    "center": center,
    "affine-hull": affine_hull,
    "convex-hull": convex_hull,
}


@dataclass(frozen=True)
class Opom(Stencil, Personal):
    """Adds one cloak of up to `epsilon` 8-bit levels, made in `steps` sign steps of `step_size` levels.

    It is made from the photos of the person who is enrolled, ten in the paper; without one each face has its own, made
    from that photo alone. `span` is what the person's features are taken to span, one of `SPANS`; of one photo they all
    span itself. Numbers are the paper's; its momentum and dropout (DFANet) are left out, and so are the rounds away
    from the mean with which its code begins for the convex hull. `mask` is what `enroll` makes.
    """

    surrogates: tuple[Recognizer, ...]
    epsilon: float = 8.0
    steps: int = 16
    step_size: float = 1.0
    span: str = "convex-hull"
    batch: int = 16
    seed: int = 0
    weights: tuple[float, ...] = ()
    mask: Images | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(SPANS, span=self.span)

    def enroll(self, scene: Scene) -> "Opom":
        """The same with one cloak for all photos of the person in the scene's."""
        faces = self.faces(scene)
        return replace(self, mask=self._learn(faces, torch.zeros(len(faces.images), dtype=torch.int64)))

    def perturbation(self, faces: Scene) -> Images:
        """What is to be added to the scene's images, the faces aligned."""
        if self.mask is None:
            return self._learn(faces, torch.arange(len(faces.images)))
        return self.mask.to(faces.images).expand_as(faces.images)

    def _learn(self, faces: Scene, people: Int64[Tensor, " n"]) -> Float[Tensor, "people 3 h w"]:
        """A cloak for each person, by number, from their faces."""
        shape, radius = faces.images.shape[1:], self.epsilon / 255
        noise = 2 * torch.rand(shape, generator=Generator().manual_seed(self.seed)) - 1
        masks = (radius * noise).to(faces.images).repeat(int(people.max()) + 1, 1, 1, 1)
        features = faces.embed()
        owned = [(people == person).nonzero()[:, 0] for person in range(len(masks))]
        for _ in range(self.steps):
            masks.requires_grad_()
            moved = faces.see((faces.images + masks[people]).clamp(0, 1))
            away = [
                squared(now, self._places(before, now.detach(), owned)) / apart(surrogate) ** 2
                for surrogate, before, now in zip(faces.surrogates, features, moved, strict=True)
            ]
            (gradient,) = torch.autograd.grad(faces.combine(away).sum(), masks)
            masks = (masks.detach() + self.step_size / 255 * gradient.sign()).clamp(-radius, radius)
        return masks

    def _places(self, features: Embeddings, moved: Embeddings, owned: Sequence[Tensor]) -> Embeddings:
        places = features.clone()
        for rows in owned:
            if len(rows) > 1:
                places[rows] = SPANS[self.span](features[rows], moved[rows])
        return places
