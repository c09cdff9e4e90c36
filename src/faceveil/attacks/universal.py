"""The contract: a trained attack learns from many faces, once, and then cloaks any without a look at a recognizer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from faceveil.attacks.budget import Linf
from faceveil.objectives.base import Objective
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, Track, digest, from_0, positive, untracked
from faceveil.types import Images

Perturbation = Float[Tensor, "3 h w"]  # in [0, 1]: a level is 1/255
Aim = Callable[[Images], Objective]  # from clear images to what their cloaks are judged by


@dataclass(frozen=True)
class Universal:
    """One perturbation, added to every image; an attack that needs no objective."""

    perturbation: Perturbation

    def __call__(self, images: Images, objective: Objective | None = None) -> Images:
        return (images + self.perturbation.to(images)).clamp(0, 1)


class TrainedAttack(ABC):
    """Learns one perturbation of up to `epsilon` 8-bit levels from images [n, 3, h, w], `batch` of them at a time.

    All that is random is drawn from `seed`. Raises `SettingError` for a number that makes no sense.
    """

    epsilon: float
    batch: int
    seed: int

    def __post_init__(self) -> None:
        Linf(self.epsilon)  # raises `SettingError` for a budget that makes no sense
        positive(batch=self.batch)
        from_0(seed=self.seed)

    @abstractmethod
    def fit(
        self, images: Examples, aim: Aim, folder: Path, engine: Engine | None = None, track: Track = untracked
    ) -> Universal:
        """The perturbation, learned from images that `read` gives; `folder` keeps what a stopped run goes on from.

        `aim` gives the objective of a batch of clear images: at -1 a face is no longer recognized (see `Dodging`). As
        a function cannot tell whom it aims at, `images.told` is to say that, too (see `fooled`).

        Raises `SettingError` where the folder holds a run of other settings or of images that are told otherwise.
        """

    @property
    def radius(self) -> float:
        """Epsilon in [0, 1]."""
        return self.epsilon / 255


def fooled(recognizers: Sequence[Recognizer]) -> list[str]:
    """Who is to be fooled, as a checkpoint knows them: names, each with a digest of thresholds and weights."""
    return [f"{net.name} {digest([dict(net.card.thresholds), net])}" for net in recognizers]
