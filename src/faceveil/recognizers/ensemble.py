"""Several recognizers as one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from faceveil.errors import SettingError
from faceveil.recognizers.base import Recognizer
from faceveil.types import Embeddings, Images, PerImage

Cut = Callable[[str, tuple[int, int]], Images]


@dataclass(frozen=True)
class Ensemble:
    """Recognizers that look at the same faces; `weights` say how much each one's loss counts (equally unless given).

    Raises `SettingError` for no recognizers, or weights that are not one positive number for each.
    """

    members: tuple[Recognizer, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise SettingError("an ensemble has no recognizers; give it at least one")
        if self.weights and (len(self.weights) != len(self.members) or min(self.weights) <= 0):
            raise SettingError(f"the weights are {self.weights}; give {len(self.members)} positive numbers")

    @property
    def inputs(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        """Every template and size (height, width) that some member wants, once."""
        return tuple(dict.fromkeys((member.card.input.template, member.size) for member in self.members))

    def embed(self, cut: Cut) -> tuple[Embeddings, ...]:
        """Each member's embeddings of faces that `cut` aligns to a template at a size; members share what it cuts."""
        images = {wanted: cut(*wanted) for wanted in self.inputs}
        return tuple(member(images[member.card.input.template, member.size]) for member in self.members)

    def combine(self, losses: Sequence[PerImage]) -> PerImage:
        """The weighted mean of the members' losses [n], in their order."""
        weights = self.weights or (1.0,) * len(self.members)
        total = sum(weights)
        return torch.stack([loss * (weight / total) for weight, loss in zip(weights, losses, strict=True)]).sum(0)

    def surrogate(self) -> "Ensemble":
        """The same of the members' fast copies, for making cloaks."""
        return Ensemble(tuple(member.surrogate() for member in self.members), self.weights)
