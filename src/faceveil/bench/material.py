"""What a cell works on: aligned faces of the photos that take part, as one recognizer sees them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from faceveil.datasets import Comparisons, Dataset, Faces, Pair, Sample
from faceveil.errors import SettingError
from faceveil.protocols.quality import quality
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images

BATCH = 16


@dataclass(frozen=True)
class Part(Dataset):
    """Some photos of a data set, and those of its pairs that are wanted."""

    samples: tuple[Sample, ...]
    listed: tuple[Pair, ...] = ()

    layout = "part"

    @classmethod
    def fits(cls, path: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def pairs(self) -> dict[str, list[Pair]]:
        return {"listed": list(self.listed)} if self.listed else {}


class AlignedPart(Part):
    """The same of a data set whose photos are aligned."""

    aligned = True


Choice = Callable[[Dataset, int], Part]  # the photos of a data set that take part, drawn from a seed


@dataclass(frozen=True)
class People:
    """So many photos of each of so many people, or of all people with as many photos where there are fewer.

    Up to `spare` more of each stand in for photos without a face.
    """

    people: int
    photos: int
    spare: int = 0

    def __call__(self, dataset: Dataset, seed: int) -> Part:
        """Raises `SettingError` where nobody else has as many photos as one person has."""
        owned: dict[str, list[Sample]] = {}
        for sample in dataset:
            if sample.identity is not None:
                owned.setdefault(sample.identity, []).append(sample)
        enough = [who for who, samples in owned.items() if len(samples) >= self.photos]
        if len(enough) < 2:
            raise SettingError(
                f"{dataset.path}: {len(enough)} people have {self.photos} photos; give a folder with more"
            )
        drawn = sorted(enough, key=lambda who: _lot(seed, who))[: self.people]
        samples = [
            s for who in drawn for s in sorted(owned[who], key=lambda s: _lot(seed, s.name))[: self.photos + self.spare]
        ]
        return _part(dataset, samples)


@dataclass(frozen=True)
class ListedPairs:
    """The first pairs of each kind in a data set's list, or all of them where `each` is 0."""

    each: int = 0

    def __call__(self, dataset: Dataset, seed: int) -> Part:
        """Raises `SettingError` for a data set without a list of pairs."""
        lists = dataset.pairs()
        if not lists:
            raise SettingError(f"{dataset.path} holds no list of pairs; give LFW with its pairs.txt, CFP or a pack")
        listed = next(iter(lists.values()))
        kinds = [[pair for pair in listed if pair.same is same] for same in (True, False)]
        chosen = [pair for kind in kinds for pair in (kind[: self.each] if self.each else kind)]
        named = {name for pair in chosen for name in (pair.first, pair.second)}
        return _part(dataset, [sample for sample in dataset if sample.name in named], chosen)


@dataclass(frozen=True)
class Cloaked:
    """Embeddings of cloaked images, after rounding to 8 bits, and each image's structural dissimilarity."""

    embeddings: Embeddings
    dssim: Float[ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Material:
    """Aligned faces, the pairs of them, the recognizer that sees them, and a seed for all that is drawn."""

    recognizer: Recognizer
    faces: Faces
    pairs: Comparisons
    seed: int

    @cached_property
    def clear(self) -> Embeddings:
        """The embeddings of the photos as they are."""
        return torch.cat([self._embed(images) for images in self._batches()])

    def people(self, photos: int, most: int) -> int:
        """How many people, of at least two, have so many photos with a face; `most` at the most."""
        counts = np.bincount(self.faces.labels[self.faces.labels >= 0])
        return max(2, min(most, int((counts >= photos).sum())))

    def cloaked(self, cloak: Callable[[Images], Images]) -> Cloaked:
        """The photos cloaked, a batch at a time."""
        embeddings, dssim = [], []
        for images in self._batches():
            rounded = (255 * cloak(images)).round() / 255
            embeddings.append(self._embed(rounded))
            dssim.append(quality(images, rounded).dssim)
        return Cloaked(torch.cat(embeddings), np.concatenate(dssim))

    def _batches(self) -> Iterator[Images]:
        return (images.to(self.recognizer.scale.device) for images in self.faces.batches(BATCH))

    def _embed(self, images: Images) -> Embeddings:
        with torch.no_grad():
            embeddings: Embeddings = self.recognizer(images)
        return embeddings.cpu()


def _part(dataset: Dataset, samples: list[Sample], pairs: list[Pair] | None = None) -> Part:
    return (AlignedPart if dataset.aligned else Part)(dataset.path, tuple(samples), tuple(pairs or ()))


def _lot(seed: int, name: str) -> bytes:
    """Lines people up by chance, the same on every machine."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
