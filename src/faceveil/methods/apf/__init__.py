"""APF (Zhang et al., 2020): Adversarial Privacy-preserving Filter. https://doi.org/10.1145/3394171.3413906

The device finds the gradient of a photo with a small recognizer; the cloud, which never gets the photo, makes it into
the noise that fools large ones; the device adds the noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator

from faceveil.attacks.quantization import Grid
from faceveil.methods.apf import cloud as clouds
from faceveil.methods.apf import device
from faceveil.methods.learned import Learned
from faceveil.methods.scene import Scene
from faceveil.objectives.feature import PLAIN, Dodging, scattered
from faceveil.recognizers import Recognizer
from faceveil.types import Images, Own

REACH = 0.07  # of delta, Eq. 13
Cloud = Callable[[Images], Images]  # gradients to noise, each [n, 3, 112, 112], a level being 1/255


@dataclass(frozen=True)
class Apf(Learned):
    """Cloaks inside `epsilon` 8-bit levels; the surrogates are the probe, one of them in the paper.

    `attack` of `device.ATTACKS` finds the gradient, in `steps` steps of `step_size` levels, with momentum of `decay`
    (section 4.1). It leads away from the photo's own embedding or, with `scatter`, from a place near it, drawn for each
    photo, so that the cloaked photos of one person do not match one another (Eq. 13): as near as in the paper, or so
    many times as far.

    `cloud` is given gradients and gives noise: a server's client, say. Without one it is the module that ships under
    the name `model`, or lies in that file, on this machine, and gets what a server would get.
    """

    surrogates: tuple[Recognizer, ...]
    attack: str = "di2"
    epsilon: float = 8.0
    step_size: float = 2.0
    steps: int = 30
    decay: float = 1.0
    scatter: float = 1.0
    cloud: Cloud | None = None
    model: str = "apf"
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        device.build(self.attack, self.epsilon, self.steps, self.step_size, self.decay, self.seed)  # may raise

    @property
    def attacked(self) -> tuple[str, ...]:
        """The probe, and whom the module learned to fool: a server's, where it says that, else the one that is here."""
        probes = (probe.name for probe in self.surrogates)
        fools = getattr(self.cloud, "fools", None)
        return tuple(dict.fromkeys((*probes, *(super().attacked if fools is None else fools))))

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether the last faces were cloaked without the cloud."""
        return ("cloaked without the cloud, which is weaker; --force makes it anew",) * getattr(
            self.cloud, "away", False
        )

    def perturbation(self, faces: Scene) -> Images:
        """The noise for the scene's images, the faces aligned."""
        return self._noise(self.gradient(faces))

    def gradient(self, faces: Scene, sources: Sequence[Own] | None = None) -> Images:
        """The gradient g for the scene's images, the faces aligned: away from these embeddings, for each surrogate.

        They may be those of enrolled photos (Eq. 2); they are those of the images unless given.
        """
        sources = faces.embed() if sources is None else sources
        if self.scatter:
            draws = [Generator().manual_seed(seed) for seed in faces.seeds(self.seed)]
            reach = REACH * self.scatter
            sources = [
                torch.cat([scattered(own[i : i + 1], draw, reach=reach) for i, draw in enumerate(draws)])
                for own in sources
            ]
        away = faces.mean(lambda i, probe: Dodging(probe, sources[i], PLAIN))
        walk = device.build(self.attack, self.epsilon, self.steps, self.step_size, self.decay, self.seed)
        return device.gradient(faces.images, away, walk)

    def _noise(self, gradient: Images) -> Images:
        if self.cloud is not None:
            return self.cloud(gradient)
        module = self._module.to(gradient.device)
        larger = module.epsilon / self.epsilon
        seen = Grid(module.epsilon, module.values)(larger * gradient) if module.values else larger * gradient
        noise: Images = module(seen) / larger
        return noise

    @cached_property
    def _module(self) -> clouds.Cloud:
        return self.lesson.build(clouds.Cloud)
