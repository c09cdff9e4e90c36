"""UAP, GAP and RHP alone: one perturbation for every face, that we trained and ship, or that a user trained.

Zhang et al. (APF, 2020) compare with these: what is the same for all hides few.
"""

from dataclasses import dataclass
from functools import cached_property

from faceveil import trained
from faceveil.attacks.budget import Linf
from faceveil.attacks.universal import Universal
from faceveil.errors import WeightsError
from faceveil.methods.scene import Scene
from faceveil.methods.stencil import Stencil
from faceveil.recognizers import Recognizer
from faceveil.types import Images


@dataclass(frozen=True)
class UniversalMethod(Stencil):
    """Adds the perturbation that ships under a name, or lies in a file: scaled to `epsilon` 8-bit levels.

    The surrogates make no difference. Raises `WeightsError` where there is no such perturbation.
    """

    surrogates: tuple[Recognizer, ...]
    file: str = "uap"
    epsilon: float = 8.0
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(self.epsilon)  # raises `SettingError` for a budget that makes no sense
        if (found := tuple(self.attack.perturbation.shape)) != (3, *self.size):
            raise WeightsError(f"{self.file} holds a perturbation of {found}, not {(3, *self.size)}; train another")

    @cached_property
    def attack(self) -> Universal:
        """The attack on aligned faces."""
        kept = trained.read(self.file)
        return Universal(kept.tensors["perturbation"] * (self.epsilon / kept.options["epsilon"] / 255))

    def perturbation(self, faces: Scene) -> Images:
        """What is to be added to aligned faces: the same for each."""
        return self.attack.perturbation.to(faces.images).expand_as(faces.images)


def keep(attack: Universal, epsilon: float, recipe: dict[str, object]) -> trained.Trained:
    """What is to be written of an attack of so many levels: its perturbation, in levels."""
    return trained.Trained({"perturbation": 255 * attack.perturbation}, {"epsilon": epsilon}, recipe)
