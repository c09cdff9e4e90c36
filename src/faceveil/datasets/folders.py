"""Folders of photos: one for each person, or one for everybody."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faceveil.datasets.base import Dataset, Sample, entries, photos


@dataclass(frozen=True)
class Folders(Dataset):
    """A folder per person, as in FaceScrub, PubFig83, VGGFace2 and PINS; the innermost folder names the person."""

    layout = "folders"

    @classmethod
    def fits(cls, path: Path) -> bool:
        return path.is_dir() and any(entry.is_dir() for entry in entries(path))

    def __iter__(self) -> Iterator[Sample]:
        for file in photos(self.path):
            yield Sample(file.relative_to(self.path).as_posix(), file.parent.name, file)


@dataclass(frozen=True)
class Distractors(Dataset):
    """Photos of people who are nobody's match, as MegaFace's million; folders below mean nothing."""

    layout = "distractors"

    @classmethod
    def fits(cls, path: Path) -> bool:
        return path.is_dir()

    def __iter__(self) -> Iterator[Sample]:
        for file in photos(self.path):
            yield Sample(file.relative_to(self.path).as_posix(), None, file)
