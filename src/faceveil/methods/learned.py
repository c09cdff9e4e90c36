"""Cloaks that were trained beforehand, by us or by a user."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from faceveil import trained
from faceveil.methods.identities import apart
from faceveil.methods.scene import Scene
from faceveil.methods.stencil import Stencil
from faceveil.objectives.feature import squared
from faceveil.recognizers import Recognizer
from faceveil.types import Images, PerImage


class Learned(Stencil):
    """Uses what ships under the name `model`, or lies in that file."""

    model: str

    @cached_property
    def lesson(self) -> trained.Trained:
        """What was trained; raises `WeightsError` where there is nothing."""
        return trained.read(self.model)

    @property
    def attacked(self) -> tuple[str, ...]:
        """The names of the recognizers that it learned to fool; the surrogates make no difference."""
        return self.lesson.servers


@dataclass(frozen=True)
class Generated(Learned):
    """Adds what a module makes of each face in one pass; `epsilon`, in 8-bit levels, limits it, as no paper does."""

    surrogates: tuple[Recognizer, ...]
    model: str
    epsilon: float = 255.0
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.module  # raises `WeightsError` now, before a photo is read

    @property
    @abstractmethod
    def kind(self) -> type[nn.Module]:
        """The module's class."""

    @cached_property
    def module(self) -> nn.Module:
        """The module, ready."""
        return self.lesson.build(self.kind)

    def perturbation(self, faces: Scene) -> Images:
        """What is to be added to the scene's images, the faces aligned."""
        added: Images = self.module.to(faces.images.device)(faces.images)
        return added


def likeness(clear: Images, cloaked: Images, surrogates: Sequence[Recognizer], template: str) -> PerImage:
    """How like its cloaked self each aligned face is: 1 is the same, 0 a stranger; the mean over the surrogates.

    On the unit sphere that is the cosine. Elsewhere it is 1 - D^2 with D in units in which strangers have 1.
    """
    scene = Scene.cut(clear, template, surrogates)
    pairs = zip(surrogates, scene.embed(), scene.see(cloaked), strict=True)
    return scene.combine([1 - squared(after, before) / apart(net) ** 2 for net, before, after in pairs])


def start_small(last: nn.Conv2d, share: float) -> nn.Conv2d:
    """The last layer, with changes of a few levels for a start: larger ones cost so much that none would be learned."""
    last.weight.data *= share
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return last
