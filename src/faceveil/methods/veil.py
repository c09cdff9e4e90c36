"""veil, our default: away from the person, with everything that a shared file suffers inside the loop.

Iterative dodging with momentum (MI-FGSM) inside an L-infinity budget that fades out around the face. A cloak changes
brightness only: colors show more than they protect. Each step sees the face through a random alignment, as detectors
differ, and as the 8-bit file, as a JPEG of it, or at half its size. A face is done when it is farther from the person
than `margin` times every surrogate's threshold, after JPEG 75.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import GradientAttack, Stop
from faceveil.attacks.transforms import Colorless, Momentum
from faceveil.methods.base import Method
from faceveil.methods.scene import Scene
from faceveil.objectives.base import Largest
from faceveil.objectives.feature import Dodging
from faceveil.objectives.views import JPEG, Halving, OneOf, Rounding
from faceveil.recognizers import Recognizer
from faceveil.types import Images

STRENGTHS = {"light": 4.0, "balanced": 8.0, "strong": 12.0}  # epsilon, 8-bit levels


@dataclass(frozen=True)
class Veil(Method):
    """Cloaks against the surrogates inside `epsilon` 8-bit levels, `batch` faces at a time.

    `step_size` is in levels, `decay` the momentum's, `jitter` the alignment's (see `Alignment`).
    """

    surrogates: tuple[Recognizer, ...]
    epsilon: float = STRENGTHS["balanced"]
    steps: int = 50
    step_size: float = 1.0
    decay: float = 0.5
    jitter: tuple[float, float, float] = (0.03, 0.03, 0.02)
    margin: float = 2.0
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(self.epsilon)  # raises `SettingError` for a budget that makes no sense

    def cloak(self, scene: Scene) -> Images:
        sources = scene.embed()
        windows = None if scene.share is None else _windows(scene.share)
        suffered = OneOf((JPEG(60, 95, windows), Halving(), Rounding(), Rounding()))

        def away(i: int, guide: Recognizer) -> Dodging:
            return Dodging(guide, sources[i])

        objective = scene.mean(away).through(suffered)
        stop = Stop(Largest(scene.each(away)).through(JPEG(75, 75, windows)), -self.margin, every=10)
        budget = Linf(self.epsilon, scene.share)
        walk = (Colorless(), Momentum(self.decay))
        attack = GradientAttack(budget, self.steps, self.step_size / 255, walk, random_start=True, seed=self.seed)
        return attack(scene.images, objective, stop)


def _windows(share: Tensor) -> Tensor:
    """The windows [n, 4] (top, bottom, left, right) that hold all that may change."""
    found = []
    for image in share[:, 0] > 0:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        found.append([int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1])
    return torch.tensor(found)
