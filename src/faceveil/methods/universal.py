"""UAP, GAP and RHP alone: one perturbation for every face, that we trained and ship, or that a user trained.

Zhang et al. (APF, 2020) compare with these: what is the same for all hides few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from faceveil import trained
from faceveil.attacks.universal import Aim, Universal
from faceveil.errors import WeightsError
from faceveil.methods.learned import Learned
from faceveil.methods.scene import Scene
from faceveil.objectives.base import Objective
from faceveil.objectives.feature import Dodging
from faceveil.recognizers import Recognizer
from faceveil.types import Images


@dataclass(frozen=True)
class UniversalMethod(Learned):
    """Adds the same perturbation to every face, scaled to `epsilon` 8-bit levels.

    Raises `WeightsError` where there is no such perturbation.
    """

    surrogates: tuple[Recognizer, ...]
    model: str = "uap"
    epsilon: float = 8.0
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (found := tuple(self.lesson.tensors.get("perturbation", torch.empty(0)).shape)) != (3, *self.size):
            raise WeightsError(f"{self.model} holds a perturbation of {found}, not {(3, *self.size)}; train another")

    def perturbation(self, faces: Scene) -> Images:
        """What is to be added to aligned faces: the same for each."""
        scale: float = self.epsilon / self.lesson.options["epsilon"] / 255
        return (scale * self.lesson.tensors["perturbation"]).to(faces.images).expand_as(faces.images)


def dodging(servers: Sequence[Recognizer], template: str) -> Aim:
    """What a universal attack learns by: how far, as the servers see it, faces of a template come from themselves."""

    def aim(clear: Images) -> Objective:
        scene = Scene.cut(clear, template, [server.to(clear.device) for server in servers])
        sources = scene.embed()
        return scene.mean(lambda i, server: Dodging(server, sources[i]))

    return aim


def keep(attack: Universal, epsilon: float, recipe: dict[str, object]) -> trained.Trained:
    """What is to be written of an attack of so many levels: its perturbation, in levels."""
    return trained.Trained({"perturbation": 255 * attack.perturbation}, {"epsilon": epsilon}, recipe)
