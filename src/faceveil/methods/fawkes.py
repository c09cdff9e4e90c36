"""Fawkes (Shan et al., 2020): Protecting Privacy against Unauthorized Deep Learning Models.

A face's features are moved to those of somebody dissimilar, while the face may look different only so far
(Eq. 2 to 4). https://arxiv.org/abs/2002.08327
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from faceveil.methods.base import Personal
from faceveil.methods.identities import Candidates, apart, candidates
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.objectives.base import Objective
from faceveil.objectives.dissimilarity import Dissimilarity
from faceveil.objectives.feature import SQUARED, Dodging, Impersonation
from faceveil.recognizers import Recognizer
from faceveil.types import Images, Own

AIMS = ("target", "away")  # the paper's (section 4.2), and that of the released v1.0


@dataclass(frozen=True)
class Mode:
    """How much a face may change, as DSSIM, and how long and how fast it is changed."""

    dssim: float
    steps: int
    rate: float


# The released v1.0 (fawkes/protection.py). The paper has one budget, 0.007, and no modes.
MODES: Mapping[str, Mode] = {"low": Mode(0.004, 40, 25.0), "mid": Mode(0.012, 75, 20.0), "high": Mode(0.017, 150, 15.0)}
START, FIRST = 1e-4, 0.01  # in tanh's space: the random start, and the first step, along the gradient's sign
MOST = 128.0  # how much the features count at the most; 1 / MOST at the least


@dataclass(frozen=True)
class Fawkes(Personal):
    """Cloaks inside a budget of structural dissimilarity: `mode` is low, mid or high, as in the released v1.0.

    `dssim` is that budget (the paper's is 0.007), `steps` and `rate` those of Adadelta; the mode's where not given.
    With the aim `target`, the paper's, features move to those of the most dissimilar of the `targets`, embeddings [m,
    d] of others for each surrogate; without any, of `identities` virtual ones, so that nobody real is impersonated. All
    photos of a person who is enrolled have one target (section 4.2). With the aim `away`, the released v1.0's, they
    move anywhere.

    From the released code: no channel moves by more than `epsilon` 8-bit levels; the walk in tanh's space starts
    `START` away from the face; the penalty is `penalty` max(DSSIM - budget, 0)^2, and how much the features count is
    doubled after a step that left the DSSIM below 0.9 budgets and halved after one beyond the budget (1.1 there). What
    is kept is the step inside the budget whose features lie best.
    """

    surrogates: tuple[Recognizer, ...]
    targets: tuple[Own, ...] = ()
    mode: str = "mid"
    aim: str = "target"
    dssim: float | None = None
    steps: int | None = None
    rate: float | None = None
    epsilon: float = 15.0
    penalty: float = 1e7
    identities: int = 20
    batch: int = 16
    seed: int = 0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(MODES, mode=self.mode)
        one_of(AIMS, aim=self.aim)

    def enroll(self, scene: Scene) -> "Fawkes":
        """The same with one target for all photos of the person in the scene's: argmax over k of min over x (Eq. 1)."""
        sources = scene.embed()
        others = [
            some[:1].expand_as(some) for some in candidates(scene, sources, self.targets, self.identities, self.seed)
        ]
        chosen = _away(scene, sources, others).amin(0).argmax()
        return replace(self, targets=tuple(some[0, chosen, None] for some in others))

    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""
        images, share = scene.images, 1 if scene.share is None else scene.share
        given = {name: getattr(self, name) for name in ("dssim", "steps", "rate") if getattr(self, name) is not None}
        mode = replace(MODES[self.mode], **given)
        features, look = self._objective(scene), Dissimilarity(images, scene.share)
        place = (torch.atanh((2 * images - 1) * (1 - 1e-6)) + START * scene.noise(self.seed)).requires_grad_()
        optimizer = torch.optim.Adadelta([place], mode.rate, rho=0.95, eps=1e-7)  # TensorFlow's defaults
        best, least = images, images.new_full((len(images),), torch.inf)
        weight = torch.ones_like(least)
        for step in range(mode.steps + 1):
            change = ((place.tanh() + 1) / 2 - images).clamp(-self.epsilon / 255, self.epsilon / 255)
            cloaked = images + share * change
            loss, unlike = features(cloaked), look(cloaked)
            better = (unlike <= mode.dssim) & (loss < least)
            best = torch.where(better[:, None, None, None], cloaked, best).detach()
            least = torch.where(better, loss, least).detach()
            total = weight * loss + self.penalty * (unlike - mode.dssim).clamp(min=0).square()
            (place.grad,) = torch.autograd.grad(total.sum(), place)
            if step:
                optimizer.step()
            else:
                place.data -= FIRST * place.grad.sign()
            weight = torch.where(unlike < 0.9 * mode.dssim, 2 * weight, weight)
            weight = torch.where(unlike > mode.dssim, weight / 2, weight).clamp(1 / MOST, MOST)
        return best

    def _objective(self, scene: Scene) -> Objective:
        sources = scene.embed()
        if self.aim == "away":
            return scene.mean(lambda i, surrogate: Dodging(surrogate, sources[i], SQUARED))
        others = candidates(scene, sources, self.targets, self.identities, self.seed)
        chosen = _away(scene, sources, others).argmax(1)
        aims = [some[torch.arange(len(chosen)), chosen] for some in others]
        return scene.mean(lambda i, surrogate: Impersonation(surrogate, aims[i], SQUARED))


def _away(scene: Scene, sources: Sequence[Own], others: Sequence[Candidates]) -> Float[Tensor, "n k"]:
    """How far each image's candidates lie from it, in units in which strangers have 1."""
    pairs = zip(scene.surrogates, sources, others, strict=True)
    return scene.combine([(some - own[:, None]).norm(dim=2) / apart(surrogate) for surrogate, own, some in pairs])
