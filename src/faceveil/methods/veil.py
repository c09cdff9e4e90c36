"""veil, our default: away from the person, with everything that a shared file suffers inside the loop.

Iterative gradient steps with momentum (MI-FGSM) inside a budget for each pixel: more where a face is busy than on
smooth skin, nothing around the face, and so much in all that its structure stays (see `allowance`). A cloak leads away
from the person and toward somebody else, in another direction for each photo (see `bent`), and with an album also from
the person's other cloaks, so that these do not match each other. It changes brightness only: colors show more than
they protect. Each step sees the face through a random alignment, as detectors differ, and as the 8-bit file, as a JPEG
of it, or at half its size. A face is done when it is farther from the person than `margin` times every surrogate's
threshold, after JPEG 75.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import GradientAttack, Stop
from faceveil.attacks.transforms import Colorless, Momentum
from faceveil.errors import SettingError
from faceveil.methods.base import Method
from faceveil.methods.identities import bent
from faceveil.methods.scene import Scene
from faceveil.metrics.masking import allowance
from faceveil.objectives.base import Largest, Objective
from faceveil.objectives.feature import Dodging, RelativeIdentification
from faceveil.objectives.views import JPEG, Halving, OneOf, Rounding
from faceveil.recognizers import Recognizer
from faceveil.types import Images

STRENGTHS = {"light": 0.07, "balanced": 0.13, "strong": 0.18}  # the dissimilarity that each allows

# A cloak that is enlarged with a large face is coarser and seen sooner: what it may cost falls by this power of its
# size. With 1.75 SSIMULACRA2 would stay the same, but even the surrogates would know the face: see docs/veil.md.
COARSENESS = 0.5

AWAY = 1.5  # how much the way from the person counts, beside the way toward somebody else


@dataclass(frozen=True)
class Veil(Method):
    """Cloaks against the surrogates that cost a face `dissimilarity` of its structure, `batch` faces at a time.

    No pixel changes by more than `epsilon` 8-bit levels. `stride` is a step's length as a share of what a pixel may
    change, `decay` the momentum's, `jitter` the alignment's (see `Alignment`).
    """

    keeps_apart = True

    surrogates: tuple[Recognizer, ...]
    dissimilarity: float = STRENGTHS["balanced"]
    epsilon: float = 16.0
    steps: int = 25
    stride: float = 0.125
    decay: float = 0.5
    jitter: tuple[float, float, float] = (0.06, 0.06, 0.04)
    margin: float = 2.0
    weights: tuple[float, ...] = ()
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(self.epsilon)  # raises `SettingError` for a budget that makes no sense
        if not 0 < self.dissimilarity < 1:
            raise SettingError(f"dissimilarity is {self.dissimilarity:g}; it is a share, more than 0 and less than 1")

    def cloak(self, scene: Scene) -> Images:
        sources = scene.embed()
        others = bent(scene, sources, self.seed)
        company = scene.album.company(scene.surrogates, sources) if scene.album else [None] * len(sources)
        share = torch.ones_like(scene.images[:, :1]) if scene.share is None else scene.share
        windows = _windows(share)

        def elsewhere(i: int, guide: Recognizer) -> Objective:
            nobody = others[i][:, None]
            return guide.threshold**-2 * RelativeIdentification(guide, sources[i], nobody, AWAY, company[i])

        def away(i: int, guide: Recognizer) -> Objective:
            return Dodging(guide, sources[i])

        objective = scene.mean(elsewhere).through(OneOf((JPEG(60, 95, windows), Halving(), Rounding(), Rounding())))
        stop = Stop(Largest(scene.each(away)).through(JPEG(75, 75, windows)), -self.margin, every=10)
        enlarged = torch.ones_like(share[:, 0, 0, 0]) if scene.enlarged is None else scene.enlarged
        levels = allowance(scene.images, share, self.dissimilarity * enlarged**-COARSENESS, self.epsilon)
        budget, step = Linf(self.epsilon, levels / self.epsilon), self.stride * self.epsilon / 255
        walk = (Colorless(), Momentum(self.decay))
        attack = GradientAttack(budget, self.steps, step, walk, random_start=True, seed=self.seed)
        return attack(scene.images, objective, stop)


def _windows(share: Tensor) -> Tensor:
    """The windows [n, 4] (top, bottom, left, right) that hold all that may change."""
    found = []
    for image in share[:, 0] > 0:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        found.append([int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1])
    return torch.tensor(found)
