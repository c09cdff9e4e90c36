"""The contract: a method cloaks faces in their photos, all of a batch together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property

import torch

from faceveil.errors import SettingError
from faceveil.faces.region import GRID, Region
from faceveil.methods.album import Album
from faceveil.methods.scene import STILL, Scene, check_weights
from faceveil.methods.settings import plain, within, wrong
from faceveil.recognizers import Recognizer
from faceveil.types import Images


class Method(ABC):
    """Faces to their cloaked images, `batch` of them at a time, against the `surrogates`.

    A face's cloak does not depend on the others; but a method that `keeps_apart` heeds those of the same person, if it
    is given an album. `jitter` is that of the faces' alignment (see `Alignment`), `weights` say how much each surrogate
    counts (equally unless given). Raises `SettingError` for a number that makes no sense (see `settings`).
    """

    surrogates: tuple[Recognizer, ...]
    batch: int
    jitter: tuple[float, float, float] = STILL
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every method is a dataclass
            if not within(plain(value := getattr(self, field.name)), field.name):
                raise SettingError(wrong(field.name, value, field.type))
        check_weights(self.weights, self.surrogates)

    @property
    def keeps_apart(self) -> bool:
        """Whether it heeds the faces of an album."""
        return False

    @abstractmethod
    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""

    def __call__(self, regions: Sequence[Region], album: Album | None = None) -> Images:
        """Cloaked images [n, 3, GRID, GRID] of faces in their photos, made with the surrogates' fast copies.

        With an album, a method that `keeps_apart` leads a person's cloaks apart, from those in it and from each other,
        and adds them to it; none of them where one cannot be made. `SettingError` for an album of other surrogates.
        """
        if not regions:
            return torch.empty(0, 3, GRID, GRID, device=self.surrogates[0].device)
        batches = [regions[i : i + self.batch] for i in range(0, len(regions), self.batch)]
        if album is None or not self.keeps_apart:
            return torch.cat([self._cloak(batch) for batch in batches])
        with album.seen_by(self.guides).whole():
            return torch.cat([self._cloak(batch, album) for batch in batches])

    def _cloak(self, regions: Sequence[Region], album: Album | None = None) -> Images:
        scene = Scene.of(regions, self.guides, self.jitter, self.weights, album)
        cloaked = self.cloak(scene)
        if album is not None:
            album.add(scene.embed(), scene.embed(cloaked))
        return cloaked

    def aligned(self, images: Images) -> Images:
        """Cloaked images [n, 3, h, w], aligned for the first surrogate as the images are."""
        return self.cloak(Scene.aligned(images, self.surrogates, self.weights))

    @property
    def attacked(self) -> tuple[str, ...]:
        """The names of the recognizers that cloaks are made against."""
        return tuple(surrogate.name for surrogate in self.surrogates)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever shares the last cloaks should know of them."""
        return ()

    @cached_property
    def guides(self) -> tuple[Recognizer, ...]:
        """The surrogates' fast copies."""
        return tuple(surrogate.surrogate() for surrogate in self.surrogates)


class Personal(Method):
    """A method that treats all photos of one person alike, once that person is enrolled; else each face alone."""

    @abstractmethod
    def enroll(self, scene: Scene) -> "Personal":
        """The same method for the one person whom the scene's images show."""
