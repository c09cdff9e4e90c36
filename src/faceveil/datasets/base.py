"""What every data set is: photos of people in a fixed order, and the pairs by which a protocol compares them."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from faceveil.errors import SettingError, UnreadablePhotoError
from faceveil.photo.files import read
from faceveil.photo.formats import format_of


@dataclass(frozen=True)
class Sample:
    """One photo of a data set: its name there, whom it shows (None: somebody unknown) and where its bytes lie.

    A name is a path relative to the data set, with `/`; in a pack it is a number.
    """

    name: str
    identity: str | None
    path: Path
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        """The encoded photo; raises `UnreadablePhotoError` where its file cannot be read, or is none."""
        if self.length < 0:
            return read(self.path)
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                return stream.read(self.length)
        except OSError as error:
            raise UnreadablePhotoError(f"cannot be read ({error.strerror}); check its permissions") from error


@dataclass(frozen=True)
class Pair:
    """Two photos, by their names, whether they show one person, and the fold (from 1) in which they are compared."""

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class Dataset(ABC):
    """Photos and identities below a path. Iterating yields a `Sample` at a time, always in the same order.

    `aligned` tells that the photos are ArcFace's aligned images already, in which no face needs to be found.
    """

    path: Path

    layout: ClassVar[str]
    aligned: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fits(cls, path: Path) -> bool:
        """Whether a path is laid out in this way."""

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]: ...

    def pairs(self) -> dict[str, list[Pair]]:
        """The pairs of each protocol, by the protocol's name; a pair may name a photo that is not here."""
        return {}

    def identities(self) -> dict[str, int]:
        """How many photos there are of each person, in the order of the names."""
        return dict(sorted(Counter(sample.identity for sample in self if sample.identity is not None).items()))


def photos(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The photos in a folder and below it, in the order of their names; hidden files are passed over.

    So are links that lead back to a folder `above`. Raises `SettingError` where a folder cannot be read.
    """
    above |= {folder.resolve()}
    for entry in entries(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.resolve() not in above:
                yield from photos(entry, above)
        elif format_of(entry):
            yield entry


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in the order of the names; raises `SettingError` where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SettingError(f"{folder} cannot be read ({error.strerror}); check its permissions") from error
