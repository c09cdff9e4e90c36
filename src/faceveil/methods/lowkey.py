"""LowKey (Cherepanova et al., 2021): Leveraging Adversarial Attacks to Protect Social Media Users.

Away from the person for an ensemble, as the face is and as a Gaussian blurs it, at a perceptual price (Eq. 1).
https://arxiv.org/abs/2101.07922
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator

from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import GradientAttack
from faceveil.errors import SettingError
from faceveil.methods.base import Method
from faceveil.methods.scene import Scene
from faceveil.metrics.structure import blurred
from faceveil.objectives.base import Objective, View
from faceveil.objectives.dissimilarity import Dissimilarity
from faceveil.objectives.feature import Dodging, Measure, squared
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, PerImage

SCALES = 3


@dataclass(frozen=True)
class LowKey(Method):
    """Cloaks against all surrogates together, in `steps` sign steps of `step_size` 8-bit levels.

    Eq. 1's squared distances count relative to the features' squared length, so that surrogates count alike (the code
    divides by the length: the same for features of unit length). Numbers are the released
    code's: 50 steps of 0.0025 from noise of 0.005, a second view blurred by a Gaussian 7 pixels wide with sigma 3. Its
    `epsilon` of 0.05 stands there unused; here it is the budget, as otherwise a pixel could move by 32 levels.

    The source's perceptual price is 0.05 times LPIPS with AlexNet. Ours is `price` times the mean structural
    dissimilarity over 3 scales, which needs no other network's weights and, unlike a surrogate's early layers, does not
    pull against what is attacked. Its code's distances are means over 512 numbers of features about 20 long, 0.05 of
    ours: hence the price of 1.
    """

    surrogates: tuple[Recognizer, ...]
    epsilon: float = 12.75
    steps: int = 50
    step_size: float = 0.6375
    start: float = 1.275
    price: float = 1.0
    kernel: int = 7
    sigma: float = 3.0
    batch: int = 16
    seed: int = 0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise SettingError(f"kernel is {self.kernel}; give an odd number of pixels, so that it has a middle")

    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""
        images = scene.images
        sources, blurred = scene.embed(), Blur(self.kernel, self.sigma)

        def away(i: int, surrogate: Recognizer) -> Objective:
            plain = Dodging(surrogate, sources[i], RELATIVE)
            return 0.5 * (plain + plain.through(blurred))

        objective = scene.mean(away) + self.price * Dissimilarity(images, scene.share, SCALES)
        start = Linf(self.start, scene.share).start(images, Generator().manual_seed(self.seed))
        attack = GradientAttack(Linf(self.epsilon, scene.share), self.steps, self.step_size / 255)
        return attack(images, objective, start=start)


def _relative(embeddings: Embeddings, sources: Embeddings) -> PerImage:
    return squared(embeddings, sources) / squared(sources, torch.zeros_like(sources))


RELATIVE = Measure(_relative, lambda recognizer: 1.0)


@dataclass(frozen=True)
class Blur(View):
    """Images blurred by a Gaussian of that width in pixels; never random."""

    kernel: int
    sigma: float

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        wide = F.pad(images, (self.kernel // 2,) * 4, "replicate")
        return blurred(wide, self.kernel, self.sigma)
