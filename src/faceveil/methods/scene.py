"""What a method works on: the faces of some photos, or aligned ones, as its surrogates see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from faceveil.errors import SettingError
from faceveil.faces import templates
from faceveil.faces.align import similarity
from faceveil.faces.region import Region
from faceveil.objectives.base import Objective, Sum, View, chosen_view
from faceveil.objectives.diversity import Chain
from faceveil.objectives.views import Alignment, Gray
from faceveil.recognizers import Recognizer
from faceveil.types import Images

STILL = (0.0, 0.0, 0.0)  # no jitter
Own = Float[Tensor, "_ _"]  # one surrogate's embeddings; each has a length of its own


@dataclass(frozen=True)
class Scene:
    """Images [n, 3, h, w], the surrogates, and the view through which each of them sees the images.

    `share` [n, 1, h, w] in [0, 1] says how much of a cloak each pixel takes; all of it without one.
    """

    images: Images
    surrogates: tuple[Recognizer, ...]
    views: tuple[View, ...]
    share: Float[Tensor, "n 1 h w"] | None = None

    @classmethod
    def of(
        cls, regions: Sequence[Region], surrogates: Sequence[Recognizer], jitter: tuple[float, float, float] = STILL
    ) -> "Scene":
        """Faces in their photos, aligned with some jitter; gray photos are seen gray."""
        device = surrogates[0].scale.device
        gray = torch.tensor([region.gray for region in regions], device=device)
        views: list[View] = []
        for surrogate in surrogates:
            template = templates.template(surrogate.card.input.template, *surrogate.size)
            matrices = torch.cat([region.matrices(template) for region in regions]).to(device)
            alignment = Alignment(matrices, surrogate.size, jitter)
            views.append(Chain((Gray(gray), alignment)) if gray.any() else alignment)
        images = torch.cat([region.images for region in regions]).to(device)
        share = torch.cat([region.mask() for region in regions]).to(device)
        return cls(images, tuple(surrogates), tuple(views), share)

    @classmethod
    def aligned(cls, images: Images, surrogates: Sequence[Recognizer]) -> "Scene":
        """Images aligned for the first surrogate; others see them aligned for themselves.

        Raises `SettingError` for images of another size than the first surrogate's.
        """
        first, size = surrogates[0].card.input, images.shape[2:]
        if tuple(size) != surrogates[0].size:
            raise SettingError(
                f"images are {size[0]} x {size[1]}; {surrogates[0].name} takes {first.height} x {first.width}"
            )
        landmarks = templates.template(first.template, *size)[None]
        views: list[View] = []
        for surrogate in surrogates:
            card = surrogate.card.input
            if (card.template, surrogate.size) == (first.template, surrogates[0].size):
                views.append(_same)
            else:
                matrix = similarity(landmarks, templates.template(card.template, *surrogate.size))
                views.append(Alignment(matrix.expand(len(images), 2, 3).to(images.device), surrogate.size))
        return cls(images, tuple(surrogates), tuple(views))

    def embed(self, images: Images | None = None) -> tuple[Own, ...]:
        """Each surrogate's embeddings of the scene's images, or of others in their place."""
        with torch.no_grad():
            return self.see(self.images if images is None else images)

    def see(self, images: Images, generator: Generator | None = None) -> tuple[Own, ...]:
        """Each surrogate's embeddings of images in the place of the scene's; gradients pass."""
        pairs = zip(self.surrogates, self.views, strict=True)
        return tuple(surrogate(view(images, generator)) for surrogate, view in pairs)

    def mean(self, make: Callable[[int, Recognizer], Objective]) -> Objective:
        """The mean of an objective for each surrogate, by number, seen through its view."""
        terms = self.each(make)
        return Sum(tuple(1 / len(terms) * term for term in terms))

    def each(self, make: Callable[[int, Recognizer], Objective]) -> tuple[Objective, ...]:
        """An objective for each surrogate, by number, seen through its view."""
        return tuple(make(i, surrogate).through(self.views[i]) for i, surrogate in enumerate(self.surrogates))

    def seeds(self, seed: int) -> list[int]:
        """A number for each image that its pixels and the seed alone decide: photos differ, neighbors do not matter."""
        levels = (255 * self.images).round().byte().cpu().numpy()
        return [crc32(image.tobytes(), seed) for image in levels]

    def __getitem__(self, chosen: Tensor) -> "Scene":
        views = tuple(chosen_view(view, chosen) for view in self.views)
        share = None if self.share is None else self.share[chosen]
        return Scene(self.images[chosen], self.surrogates, views, share)


def _same(images: Images, generator: Generator | None = None) -> Images:
    return images
