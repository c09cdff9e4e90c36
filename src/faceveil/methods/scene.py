"""What a method works on: the faces of some photos, or aligned ones, as its surrogates see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from faceveil.cores import side_by_side
from faceveil.errors import SettingError
from faceveil.faces import templates
from faceveil.faces.align import similarity
from faceveil.faces.region import Region
from faceveil.methods.album import Album
from faceveil.objectives.base import Objective, View
from faceveil.objectives.diversity import Chain
from faceveil.objectives.ensemble import Ensemble
from faceveil.objectives.views import Alignment, Gray
from faceveil.recognizers import Recognizer, Wanted
from faceveil.types import Images, Landmarks, Matrices, Own, PerImage

STILL = (0.0, 0.0, 0.0)  # no jitter


@dataclass(frozen=True)
class Scene:
    """Images [n, 3, h, w], several recognizers as one, the surrogates, and the views through which they see the images.

    There is a view for each template and size: surrogates that want the same see the same, and it is made once.
    `landmarks` [n, 5, 2] lie in the images; those that are `gray` [n] are to stay gray.
    `weights` say how much each surrogate counts, equally unless given. `share` [n, 1, h, w] in [0, 1] says how much of
    a cloak each pixel takes; all of it without one. `extents` [n] are the faces' sizes in their photos (see `Region`).
    With an `album`, a person's cloaks are to stay apart from those in it, and from each other. Raises `SettingError`
    for weights that are not one positive number for each surrogate.
    """

    images: Images
    surrogates: tuple[Recognizer, ...]
    views: Mapping[Wanted, View]
    landmarks: Landmarks
    gray: Bool[Tensor, " n"]
    weights: tuple[float, ...] = ()
    share: Float[Tensor, "n 1 h w"] | None = None
    extents: PerImage | None = None
    album: Album | None = None

    def __post_init__(self) -> None:
        check_weights(self.weights, self.surrogates)

    @classmethod
    def of(
        cls,
        regions: Sequence[Region],
        surrogates: Sequence[Recognizer],
        jitter: tuple[float, float, float] = STILL,
        weights: tuple[float, ...] = (),
        album: Album | None = None,
    ) -> "Scene":
        """Faces in their photos, aligned with some jitter; gray photos are seen gray."""
        device = surrogates[0].device
        gray = torch.tensor([region.gray for region in regions], device=device)

        def view(name: str, size: tuple[int, int]) -> View:
            template = templates.template(name, size)
            matrices = torch.cat([region.matrices(template) for region in regions]).to(device)
            alignment = Alignment(matrices, size, jitter)
            return Chain((Gray(gray), alignment)) if gray.any() else alignment

        images = torch.cat([region.images for region in regions]).to(device)
        share = torch.cat([region.mask() for region in regions]).to(device)
        views = {net.wanted: view(*net.wanted) for net in surrogates}
        landmarks = torch.cat([region.on_grid for region in regions]).to(device)
        extents = torch.tensor([region.extent for region in regions], device=device)
        return cls(images, tuple(surrogates), views, landmarks, gray, weights, share, extents, album)

    @classmethod
    def aligned(cls, images: Images, surrogates: Sequence[Recognizer], weights: tuple[float, ...] = ()) -> "Scene":
        """Images aligned for the first surrogate; others see them aligned for themselves.

        Raises `SettingError` for images of another size than the first surrogate's.
        """
        size, first = tuple(images.shape[2:]), surrogates[0].wanted
        if size != first[1]:
            raise SettingError(
                f"images are {size[0]} x {size[1]}; {surrogates[0].name} takes {first[1][0]} x {first[1][1]}"
            )
        return cls.cut(images, first[0], surrogates, weights)

    @classmethod
    def cut(
        cls, images: Images, template: str, surrogates: Sequence[Recognizer], weights: tuple[float, ...] = ()
    ) -> "Scene":
        """Images aligned to a template, of any size; the surrogates see them aligned for themselves."""
        own: Wanted = template, (images.shape[2], images.shape[3])
        landmarks = templates.template(*own)[None]

        def view(name: str, size: tuple[int, int]) -> View:
            if (name, size) == own:
                return Chain(())
            matrix = similarity(landmarks, templates.template(name, size))
            return Alignment(matrix.expand(len(images), 2, 3).to(images.device), size)

        views = {net.wanted: view(*net.wanted) for net in surrogates}
        gray = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        return cls(images, tuple(surrogates), views, landmarks.to(images).expand(len(images), 5, 2), gray, weights)

    @property
    def parts(self) -> tuple[float, ...]:
        """Each surrogate's part of the whole, 1."""
        weights = self.weights or (1.0,) * len(self.surrogates)
        return tuple(weight / sum(weights) for weight in weights)

    def matrices(self, template: str, size: tuple[int, int]) -> Matrices:
        """The matrices that lead from images aligned to a template, of that height and width, to the scene's."""
        return similarity(self.landmarks, templates.template(template, size).to(self.landmarks))

    def embed(self, images: Images | None = None) -> tuple[Own, ...]:
        """Each surrogate's embeddings of the scene's images, or of others in their place."""
        with torch.no_grad():
            return self.see(self.images if images is None else images)

    def see(self, images: Images, generator: Generator | None = None) -> tuple[Own, ...]:
        """Each surrogate's embeddings of images in the place of the scene's; gradients pass."""
        seen = {wanted: view(images, generator) for wanted, view in self.views.items()}
        return tuple(side_by_side([partial(net, seen[net.wanted]) for net in self.surrogates], images.device))

    def mean(self, make: Callable[[int, Recognizer], Objective]) -> Objective:
        """The weighted mean of an objective for each surrogate, by number, seen through its view; it draws nothing."""
        wanted, pairs = list(self.views), enumerate(zip(self.parts, self.surrogates, strict=True))
        terms = ((wanted.index(net.wanted), part * make(i, net)) for i, (part, net) in pairs)
        return Ensemble(tuple(self.views.values()), tuple(terms))

    def combine(self, values: Sequence[Tensor]) -> Tensor:
        """The weighted mean of what the surrogates say, in their order."""
        return torch.stack([part * value for part, value in zip(self.parts, values, strict=True)]).sum(0)

    def noise(self, seed: int) -> Images:
        """Noise [n, 3, h, w], uniform in [-1, 1], the same for every image; all channels' is one where it is gray."""
        drawn = 2 * torch.rand(self.images.shape[1:], generator=Generator().manual_seed(seed)) - 1
        drawn = drawn.to(self.images)
        return torch.where(self.gray[:, None, None, None], drawn[:1], drawn)

    def seeds(self, seed: int) -> list[int]:
        """A number for each image that its pixels and the seed alone decide: photos differ, neighbors do not matter."""
        levels = (255 * self.images).round().byte().cpu().numpy()
        return [crc32(image.tobytes(), seed) for image in levels]

    def __getitem__(self, chosen: Tensor) -> "Scene":
        views = {wanted: view[chosen] for wanted, view in self.views.items()}
        share = None if self.share is None else self.share[chosen]
        extents = None if self.extents is None else self.extents[chosen]
        landmarks, gray = self.landmarks[chosen], self.gray[chosen]
        return replace(
            self,
            images=self.images[chosen],
            views=views,
            landmarks=landmarks,
            gray=gray,
            share=share,
            extents=extents,
        )


def check_weights(weights: Sequence[float], surrogates: Sequence[Recognizer]) -> None:
    """Raises `SettingError` for weights, if any, that are not one positive number for each surrogate."""
    if weights and (len(weights) != len(surrogates) or not all(weight > 0 for weight in weights)):
        raise SettingError(f"the weights are {weights}; give {len(surrogates)} positive numbers")
