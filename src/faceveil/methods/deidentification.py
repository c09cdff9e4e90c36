"""Ghafourian et al., 2023: Toward Face Biometric De-identification using Adversarial Examples: BIM and ILLC.

Both walk on the cross-entropy of a head over enrolled identities, inside an L-infinity budget: BIM away from the
person's class (Eq. 3), ILLC toward the least likely one (Eq. 4). https://arxiv.org/abs/2302.03657
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import bim
from faceveil.errors import SettingError
from faceveil.methods.base import Method
from faceveil.methods.identities import candidates
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.objectives.cross_entropy import Centroids, Classes, CrossEntropy, Head
from faceveil.recognizers import Recognizer
from faceveil.types import Images, Own

ATTACKS = ("bim", "illc")
EPSILONS = (4, 8, 16, 32, 64, 128)  # 8-bit levels; "Evaluation settings", as in Kurakin et al., 2016


@dataclass(frozen=True)
class Deidentification(Method):
    """Cloaks with BIM or ILLC inside `epsilon` 8-bit levels, in min(epsilon + 4, 1.25 epsilon) steps of `step_size`.

    `heads` are over the same identities, one for each surrogate. Without any the identities are the face itself and
    the `targets`, embeddings [m, d] of other people for each surrogate, or else `identities` virtual ones; the nearest
    is the likeliest. `step_size` is in 8-bit levels (Kurakin et al., 2016, section 2.2).
    """

    surrogates: tuple[Recognizer, ...]
    attack: str = "bim"
    epsilon: float = 8.0
    heads: tuple[Head, ...] = ()
    targets: tuple[Own, ...] = ()
    step_size: float = 1.0
    identities: int = 100
    batch: int = 16
    seed: int = 0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(ATTACKS, attack=self.attack)
        if self.heads and len(self.heads) != len(self.surrogates):
            raise SettingError(
                f"there are {len(self.heads)} heads; give one for each of {len(self.surrogates)} surrogates"
            )

    def aligned(self, images: Images, classes: Classes | None = None) -> Images:
        """Cloaked images, aligned for the first surrogate as the images are; `classes` are the people's in the heads.

        Without classes, those that the heads find likeliest.
        """
        return self.cloak(Scene.aligned(images, self.surrogates, self.weights), classes)

    def cloak(self, scene: Scene, classes: Classes | None = None) -> Images:
        """The cloaked images of a scene."""
        sources = scene.embed()
        heads = self.heads or self._heads(scene, sources)
        scores = scene.combine([head(own).log_softmax(1) for head, own in zip(heads, sources, strict=True)])
        if self.attack == "illc":
            sign, chosen = 1.0, scores.argmin(1)
        else:
            sign, chosen = -1.0, scores.argmax(1) if classes is None else classes
        objective = scene.mean(lambda i, surrogate: sign * CrossEntropy(surrogate, heads[i], chosen))
        return bim(Linf(self.epsilon, scene.share), step_size=self.step_size / 255)(scene.images, objective)

    def _heads(self, scene: Scene, sources: Sequence[Own]) -> tuple[Head, ...]:
        others = candidates(scene, sources, self.targets, self.identities, self.seed)
        return tuple(Centroids(torch.cat([own[:, None], some], 1)) for own, some in zip(sources, others, strict=True))
