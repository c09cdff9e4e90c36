"""Cilloni et al., 2020: Preventing Personal Data Theft from Images with Adversarial Machine Learning.

A triplet loss, positive and negative exchanged, pulls a face from its own embedding toward somebody else's. Steps are
the gradient itself, scaled, and add up until the loss is 0 or the face hardly moves. https://arxiv.org/abs/2010.10242
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from faceveil.attacks.budget import Unlimited
from faceveil.attacks.gradient import GradientAttack, Stop
from faceveil.errors import SettingError
from faceveil.methods.base import Method
from faceveil.methods.identities import Candidates, candidates
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.objectives.base import Objective
from faceveil.objectives.feature import PLAIN, Dodging, Impersonation
from faceveil.objectives.triplet import Triplet
from faceveil.recognizers import Recognizer
from faceveil.types import Images, Own

SELECTIONS = ("none", "farthest", "random", "random+farthest", "similar")  # sections IV-F, B, C, D and E
MARGINS = tuple(round(0.2 * i, 1) for i in range(1, 11))  # section III-B; no effect on `none`
STIR = 0.1  # 8-bit levels


@dataclass(frozen=True)
class Cilloni(Method):
    """Cloaks with one of the paper's five ways to select whose embedding is the negative example.

    `targets` are embeddings [m, d] of other people for each surrogate; without any, `identities` virtual ones (250, as
    many as the paper's development set has faces). `step_size` is the largest change of a step in 8-bit levels (section
    IV), `slowest` the halting threshold (section IV-B), `negatives` the number of random ones (section IV-C). Distances
    that halt are those to the negative example, as in section IV-B, or from the source where there is none.

    With `none` the loss is a constant (section IV-F), so what is followed is the distance from the source, as in FGSM.
    It has no gradient at the source itself, so the walk starts `STIR` levels of noise away.

    `similar` takes the nearest target that is farther than the margin, as section IV-E says; its Eq. 6 has the sign
    of the comparison wrong. Raises `SettingError` where there is none.
    """

    surrogates: tuple[Recognizer, ...]
    targets: tuple[Own, ...] = ()
    select: str = "none"
    margin: float = 1.0
    step_size: float = 2.5
    slowest: float = 0.01
    negatives: int = 5
    steps: int = 200
    identities: int = 250
    batch: int = 16
    seed: int = 0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(SELECTIONS, select=self.select)

    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""
        sources = scene.embed()
        if self.select == "none":
            away = scene.mean(lambda i, surrogate: Dodging(surrogate, sources[i], PLAIN))
            return self._walk(scene, self._stirred(scene), away, Stop(away, -torch.inf, 1, away, self.slowest))
        others = candidates(scene, sources, self.targets, self.identities, self.seed)
        cloaked = scene.images
        for chosen in self._select(scene, sources, others):
            negatives = [some[torch.arange(len(chosen)), chosen] for some in others]
            cloaked = self._pull(scene, cloaked, sources, negatives)
        return cloaked

    def _pull(self, scene: Scene, cloaked: Images, sources: Sequence[Own], negatives: Sequence[Own]) -> Images:
        """One triplet, processed until it halts."""
        triplet = scene.mean(lambda i, surrogate: Triplet(surrogate, sources[i], negatives[i], self.margin))
        near = scene.mean(lambda i, surrogate: Impersonation(surrogate, negatives[i], PLAIN))
        return self._walk(scene, cloaked, triplet, Stop(triplet, 0.0, 1, near, self.slowest))

    def _walk(self, scene: Scene, images: Images, objective: Objective, stop: Stop) -> Images:
        return GradientAttack(Unlimited(scene.share), self.steps, self.step_size / 255)(images, objective, stop)

    def _stirred(self, scene: Scene) -> Images:
        share = 1 if scene.share is None else scene.share
        return (scene.images + STIR / 255 * share * scene.noise(self.seed)).clamp(0, 1)

    def _select(self, scene: Scene, sources: Sequence[Own], others: Sequence[Candidates]) -> list[Tensor]:
        """The negative examples of each image, as indices [n], in the order in which they are processed."""
        away = scene.combine([(some - own[:, None]).norm(dim=2) for own, some in zip(sources, others, strict=True)])
        if self.select == "similar":
            if (away.amax(1) <= self.margin).any():
                raise SettingError(
                    f"nobody is farther than the margin of {self.margin:g}; lower it, or give more targets"
                )
            return [away.where(away > self.margin, torch.inf).argmin(1)]
        farthest = [] if self.select == "random" else [away.argmax(1)]
        if self.select == "farthest":
            return farthest
        count = away.shape[1]
        generators = [Generator().manual_seed(seed) for seed in scene.seeds(self.seed)]
        drawn = [torch.randperm(count, generator=generator)[: self.negatives] for generator in generators]
        return [*farthest, *torch.stack(drawn, 1).to(away.device)]
