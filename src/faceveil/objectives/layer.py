"""Feature-level loss: away from what the recognizer's inner layer found important."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from faceveil.objectives.base import Objective
from faceveil.objectives.feature import squared
from faceveil.recognizers import Recognizer
from faceveil.types import Images, PerImage


@dataclass(frozen=True)
class FeatureImportance(Objective):
    """The features of an inner layer, each times its importance (FIA: Wang et al., 2021, Eq. 5).

    `layer` is the name of a module of the recognizer's network. https://arxiv.org/abs/2107.14185
    """

    recognizer: Recognizer
    layer: str
    importance: Tensor

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        features, _ = _observed(self.recognizer, self.layer, images)
        return (self.importance * features).flatten(1).sum(1)

    def __getitem__(self, chosen: Tensor) -> "FeatureImportance":
        return FeatureImportance(self.recognizer, self.layer, self.importance[chosen])

    @classmethod
    def of(
        cls, recognizer: Recognizer, layer: str, images: Images, draws: int = 30, drop: float = 0.1, seed: int = 0
    ) -> "FeatureImportance":
        """Importances from clean images: the mean gradient, over masked copies, of how near they are to themselves.

        Each copy has pixels dropped with probability `drop`; each image's importance has unit length (Eq. 4). Where the
        paper has the logit of the true class, here is minus the squared distance to the clean embedding.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            sources = recognizer(images)
        total = torch.zeros(())
        for _ in range(draws):
            kept = torch.rand(images.shape[1:], generator=generator) >= drop
            features, embeddings = _observed(recognizer, layer, (images * kept.to(images)).requires_grad_())
            (gradient,) = torch.autograd.grad(-squared(embeddings, sources).sum(), features)
            total = total + gradient
        return cls(recognizer, layer, torch.nn.functional.normalize(total.flatten(1)).view_as(total))


def _observed(recognizer: Recognizer, layer: str, images: Images) -> tuple[Tensor, Tensor]:
    """What the layer gives, and the embeddings."""
    seen: list[Tensor] = []
    hook = recognizer.network.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2]))
    try:
        embeddings = recognizer(images)
    finally:
        hook.remove()
    return seen[0], embeddings
