"""Labeled Faces in the Wild (Huang et al., 2007, http://vis-www.cs.umass.edu/lfw/)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from faceveil.datasets.base import Dataset, Pair, Sample
from faceveil.datasets.folders import Folders
from faceveil.errors import SettingError


@dataclass(frozen=True)
class LFW(Dataset):
    """A folder per person, `NAME/NAME_0001.jpg`, anywhere below the path, and `pairs.txt` beside them.

    The first line of `pairs.txt` says how many folds there are and how many pairs of each kind stand in each; then
    follow, fold by fold, `NAME 1 2` for one person and `NAME 1 NAME 2` for two.
    """

    layout = "lfw"

    @classmethod
    def fits(cls, path: Path) -> bool:
        return (path / "pairs.txt").is_file()

    def __iter__(self) -> Iterator[Sample]:
        return iter(Folders(self.path))

    def pairs(self) -> dict[str, list[Pair]]:
        """The protocol "LFW"; raises `SettingError` where `pairs.txt` is not as described."""
        names = {PurePosixPath(sample.name).stem: sample.name for sample in self}
        file = self.path / "pairs.txt"
        try:
            lines = [line.split() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
            folds, each = map(int, lines.pop(0))
            found = [_pair(line, names, number // (2 * each) + 1) for number, line in enumerate(lines)]
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise SettingError(f"{file} is no list of pairs ({error}); take LFW's own") from error
        if len(found) != 2 * folds * each:
            raise SettingError(f"{file} announces {2 * folds * each} pairs and holds {len(found)}; copy it again")
        return {"LFW": found}


def _pair(line: list[str], names: dict[str, str], fold: int) -> Pair:
    person, first, *other, second = line
    if len(other) > 1:
        raise ValueError(f"a line of {len(line)} words")
    stems = f"{person}_{int(first):04d}", f"{(other or [person])[0]}_{int(second):04d}"
    one, two = (names.get(stem, stem) for stem in stems)
    return Pair(one, two, not other, fold)
