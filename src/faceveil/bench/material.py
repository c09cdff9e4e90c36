"""What a cell works on: the photos that take part, and their faces as each recognizer sees them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray

from faceveil.datasets import Comparisons, Dataset, Faces, Pair, Sample
from faceveil.errors import SettingError
from faceveil.faces.align import similarity, warp
from faceveil.faces.templates import template
from faceveil.protocols.quality import quality
from faceveil.recognizers import Recognizer, Wanted
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
        owned = _owned(dataset)
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
class Crowd:
    """All photos of so many people with two or more, and of so many others, or of all where there are fewer."""

    several: int
    others: int

    def __call__(self, dataset: Dataset, seed: int) -> Part:
        """Raises `SettingError` where fewer than two people have two photos."""
        owned = _owned(dataset)
        line = sorted(owned, key=lambda who: _lot(seed, who))
        chosen = [who for who in line if len(owned[who]) > 1][: self.several]
        if len(chosen) < 2:
            raise SettingError(f"{dataset.path}: {len(chosen)} people have 2 photos; give a folder with more")
        chosen += [who for who in line if who not in chosen][: self.others]
        return _part(dataset, [sample for who in chosen for sample in owned[who]])


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
    """The photos that take part, in one order for all, with their faces aligned once for every input that is wanted.

    Cloaks are made against the `surrogates` together, and measured with each of the `judges`. `recognizer` is the first
    surrogate, the only one of most experiments, and `faces` are those that it sees. `folder` is for what the cells of
    these recognizers, photos and this seed share: it may not be there yet.

    `training` are the faces that something may learn from, aligned like the others, and `school` is for what was
    learned from them: it is the same for every data set.
    """

    samples: tuple[Sample, ...]
    aligned: Mapping[Wanted, Faces]
    pairs: Comparisons
    surrogates: tuple[Recognizer, ...]
    judges: tuple[Recognizer, ...]
    seed: int
    folder: Path
    embedded: dict[str, Embeddings] = field(default_factory=dict, repr=False)
    training: Mapping[Wanted, Faces] = field(default_factory=dict)
    school: Path = Path()

    @property
    def recognizer(self) -> Recognizer:
        """The first surrogate."""
        return self.surrogates[0]

    @property
    def faces(self) -> Faces:
        """The faces as the first surrogate sees them."""
        return self.aligned[self.recognizer.wanted]

    @property
    def clear(self) -> Embeddings:
        """The first surrogate's embeddings of the photos as they are."""
        return self.clear_to(self.recognizer)

    def clear_to(self, judge: Recognizer) -> Embeddings:
        """A recognizer's embeddings of the photos as they are; they are made once."""
        if judge.name not in self.embedded:
            batches = self.aligned[judge.wanted].batches(BATCH)
            self.embedded[judge.name] = torch.cat([_embed(judge, images) for images in batches])
        return self.embedded[judge.name]

    def people(self, photos: int, most: int) -> int:
        """How many people to take where each needs so many photos with a face: at least two, `most` at the most."""
        return max(2, min(most, self.having(photos)))

    def having(self, photos: int) -> int:
        """How many people have so many photos with a face."""
        counts = np.bincount(self.faces.labels[self.faces.labels >= 0])
        return int((counts >= photos).sum())

    def cloaked(self, cloak: Callable[[Images], Images]) -> Cloaked:
        """The photos cloaked, a batch at a time."""
        embeddings, dssim = [], []
        for images in self.faces.batches(BATCH):
            rounded = self._cloak(cloak, images)
            embeddings.append(_embed(self.recognizer, rounded))
            dssim.append(quality(images, rounded).dssim)
        return Cloaked(torch.cat(embeddings), np.concatenate(dssim))

    def cloak(self, cloak: Callable[[Images], Images], rows: Int64[ndarray, " n"]) -> Images:
        """Cloaked images of these photos as the first surrogate sees them, rounded to 8 bits, on the CPU."""
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        return torch.cat([self._cloak(cloak, self.faces[batch]) for batch in batches])

    def cloaked_to(self, judge: Recognizer, cloaked: Images, rows: Int64[ndarray, " n"]) -> Embeddings:
        """A recognizer's embeddings of photos that `cloak` gave cloaked images of.

        Where the judge takes other images than the first surrogate, only the change is brought into the images that it
        takes of the clear photos, as `protect` brings it into a photo: no face is sampled again.
        """
        own, theirs = self.aligned[self.recognizer.wanted], self.aligned[judge.wanted]
        matrix = similarity(template(*self.recognizer.wanted)[None], template(*judge.wanted))
        embeddings = []
        for start in range(0, len(rows), BATCH):
            some, images = rows[start : start + BATCH], cloaked[start : start + BATCH]
            if own is not theirs:
                change = warp(images - own[some], matrix.expand(len(some), 2, 3), judge.size)
                images = (255 * (theirs[some] + change)).round().clamp(0, 255) / 255
            embeddings.append(_embed(judge, images))
        return torch.cat(embeddings)

    def _cloak(self, cloak: Callable[[Images], Images], images: Images) -> Images:
        return (255 * cloak(images.to(self.recognizer.device)).cpu()).round() / 255


def _embed(recognizer: Recognizer, images: Images) -> Embeddings:
    with torch.no_grad():
        embeddings: Embeddings = recognizer(images.to(recognizer.device))
    return embeddings.cpu()


def without(dataset: Dataset, people: Iterable[str]) -> Dataset:
    """The photos of everybody else; a name is the same however its letters are cased and its words are joined.

    Of a data set's lists of pairs the last one is kept (CFP's FP), as far as it is of these photos.
    """
    left_out = set(map(plain, people))
    here = [each for each in dataset if each.identity is None or plain(each.identity) not in left_out]
    names = {each.name for each in here}
    listed = list(dataset.pairs().values())[-1:]
    return _part(dataset, here, [pair for some in listed for pair in some if {pair.first, pair.second} <= names])


def plain(name: str) -> str:
    """A person's name without what data sets write differently."""
    return "".join(filter(str.isalnum, name.casefold()))


def _owned(dataset: Dataset) -> dict[str, list[Sample]]:
    """The photos of each person who is known."""
    owned: dict[str, list[Sample]] = {}
    for sample in dataset:
        if sample.identity is not None:
            owned.setdefault(sample.identity, []).append(sample)
    return owned


def _part(dataset: Dataset, samples: list[Sample], pairs: list[Pair] | None = None) -> Part:
    return (AlignedPart if dataset.aligned else Part)(dataset.path, tuple(samples), tuple(pairs or ()))


def _lot(seed: int, name: str) -> bytes:
    """Lines people up by chance, the same on every machine."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
