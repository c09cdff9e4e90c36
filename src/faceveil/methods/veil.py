"""veil, our default: away from the person, with everything that a shared file suffers inside the loop.

Gradient steps with momentum inside a budget of what is seen: longer where a face is busy than on smooth skin, of detail
only where there is detail, nothing around the face, and after each a step back to where the whole change is seen no
more plainly than `quality` says (see `Unseen` and `Visibility`). A cloak leads away from the person and toward somebody
else, in another direction for each photo (see `bent`), and with an album also from the person's other cloaks, so that
these do not match each other. It changes brightness only: colors show more than they protect. Each step sees the face
through a random alignment, as detectors differ, and as the 8-bit file, as a JPEG of it, or at half its size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from faceveil.attacks.budget import Unseen
from faceveil.attacks.gradient import GradientAttack
from faceveil.attacks.transforms import Colorless, Momentum
from faceveil.errors import SettingError
from faceveil.methods.base import Method
from faceveil.methods.identities import bent
from faceveil.methods.scene import Scene
from faceveil.metrics.masking import detail_masking, masking
from faceveil.metrics.visibility import Visibility, error
from faceveil.objectives.base import Objective
from faceveil.objectives.feature import RelativeIdentification
from faceveil.objectives.views import JPEG, Halving, OneOf, Rounding
from faceveil.recognizers import Recognizer
from faceveil.types import Images

STRENGTHS = {"light": 50.0, "balanced": 30.0, "strong": 10.0}  # the SSIMULACRA2 that each keeps, see `Visibility`


class Usual(NamedTuple):
    """What a walk is like where nothing is said: its steps, and what the ways count (see `Veil`)."""

    steps: int
    away: float
    apart: float


# Against one surrogate more steps fit that one alone, and the way toward nobody gains nothing (see docs/veil.md).
SEVERAL, ONE = Usual(25, 3.0, 1.5), Usual(12, 5.0, 2.5)

SMALL = 112  # pixels: the aligned image of a smaller face is looked at as if it were as large


@dataclass(frozen=True)
class Veil(Method):
    """Cloaks against the surrogates that keep `quality`, `batch` faces at a time.

    The quality is SSIMULACRA2 as `Visibility` has it: 100 is no change, 90 none that is seen. No pixel changes by more
    than `epsilon` 8-bit levels. `away` is how much the way from the person counts beside the way toward somebody else:
    with more a cloak hides as much at a higher quality, and a person's cloaks that are made apart match each other more
    (see docs/veil.md). `apart` is how much the way from the nearest of the person's other cloaks in an album counts; 0
    leaves them alone. These two and `steps` are `SEVERAL`'s unless given, `ONE`'s against one surrogate. `stride` is a
    step's root mean square in levels, where the masking is 1; `decay` is the momentum's, `jitter` the alignment's (see
    `Alignment`).
    """

    surrogates: tuple[Recognizer, ...]
    quality: float = STRENGTHS["balanced"]
    epsilon: float = 24.0
    away: float | None = None
    apart: float | None = None
    steps: int | None = None
    stride: float = 1.0
    decay: float = 0.5
    jitter: tuple[float, float, float] = (0.06, 0.06, 0.04)
    weights: tuple[float, ...] = ()
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.quality < 100:
            raise SettingError(f"quality is {self.quality:g}; it is less than 100, which is no change at all")

    @property
    def keeps_apart(self) -> bool:
        """Whether the way from a person's other cloaks counts."""
        return self.walk.apart > 0

    @property
    def walk(self) -> Usual:
        """The steps, and what the ways count: as given, or as is usual with so many surrogates."""
        own = {key: value for key in Usual._fields if (value := getattr(self, key)) is not None}
        return (SEVERAL if len(self.surrogates) > 1 else ONE)._replace(**own)

    def cloak(self, scene: Scene) -> Images:
        sources = scene.embed()
        others = bent(scene, sources, self.seed)
        company = scene.album.company(scene.surrogates, sources) if scene.album else [None] * len(sources)
        share = torch.ones_like(scene.images[:, :1]) if scene.share is None else scene.share

        def elsewhere(i: int, guide: Recognizer) -> Objective:
            nobody, led = others[i][:, None], (self.walk.away, company[i], self.walk.apart)
            return guide.threshold**-2 * RelativeIdentification(guide, sources[i], nobody, *led)

        objective = scene.mean(elsewhere).through(
            OneOf((JPEG(60, 95, _windows(share)), Halving(), Rounding(), Rounding()))
        )
        part = None if scene.extents is None else (scene.extents / SMALL).clamp(max=1)
        masked = (share * mask(scene.images) for mask in (masking, detail_masking))
        budget = Unseen(Visibility(scene.images, part), error(self.quality), self.epsilon, *masked)
        parts = (Colorless(), Momentum(self.decay))
        attack = GradientAttack(budget, self.walk.steps, self.stride / 255, parts, random_start=True, seed=self.seed)
        return budget.hold(attack(scene.images, objective), scene.images)


def _windows(share: Tensor) -> Tensor:
    """The windows [n, 4] (top, bottom, left, right) that hold all that may change."""
    found = []
    for image in share[:, 0] > 0:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        found.append([int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1])
    return torch.tensor(found)
