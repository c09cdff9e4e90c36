"""A recognizer that looks once at images that are first judged, and then asked for their gradient."""

from typing import Any

import torch
from torch import Tensor

from faceveil.recognizers.base import Recognizer
from faceveil.types import Embeddings, Images


class Remembering(Recognizer):
    """The fast copy of a recognizer; it remembers the last images and what led to their features.

    A walk that looks at its cloaks after each step sees the same images three times: for how far they are, for whether
    they are done, and for the next gradient. Here the network runs forward once.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        guide = recognizer.surrogate()
        super().__init__(guide.card, guide.network)
        self.to(recognizer.device)
        self._place: object = None
        self._last: tuple[Images, Embeddings] | None = None

    def features(self, images: Images) -> Embeddings:
        """What the network gives, whatever its length."""
        features: Embeddings = _Remembered.apply(images, self)  # type: ignore[no-untyped-call]
        return features

    def recall(self, images: Images) -> tuple[Images, Embeddings]:
        """The leaf and the features of these images: the last ones' where they lie in the same memory, unchanged."""
        place = images.data_ptr(), images.shape, images.stride(), images._version
        if self._last is None or self._place != place:
            with torch.enable_grad():
                leaf = images.detach().requires_grad_()
                self._place, self._last = place, (leaf, super().features(leaf))
        return self._last


class _Remembered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, recognizer: Remembering) -> Tensor:
        context.leaf, context.features = recognizer.recall(images)
        features: Tensor = context.features.detach().clone()
        return features

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (found,) = torch.autograd.grad(context.features, context.leaf, gradient, retain_graph=True)
        return found, None
