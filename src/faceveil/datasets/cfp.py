"""Celebrities in Frontal-Profile (Sengupta et al., 2016, http://www.cfpw.io)."""

import csv
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faceveil.datasets.base import Dataset, Pair, Sample, photos
from faceveil.errors import SettingError

PROTOCOLS = ("FF", "FP")


@dataclass(frozen=True)
class CFP(Dataset):
    """Photos as `001/frontal/01.jpg` or `001/frontal_01.jpg`, and protocols: FF, frontal and frontal; FP, and profile.

    The pairs of FP come from the official folder, `Protocol/Split/FP`, or from a table, `pairs_FP.txt`: the fold, 1
    for one person or 0 for two, and two names of photos on each line, between tabs.
    """

    layout = "cfp"

    @classmethod
    def fits(cls, path: Path) -> bool:
        return any(_folds(path, name).is_dir() or _table(path, name).is_file() for name in PROTOCOLS)

    def __iter__(self) -> Iterator[Sample]:
        for file in photos(self.path):
            person = file.parent.parent if file.parent.name in ("frontal", "profile") else file.parent
            yield Sample(file.relative_to(self.path).as_posix(), person.name, file)

    def pairs(self) -> dict[str, list[Pair]]:
        """The protocols that are here, of "FF" and "FP"; raises `SettingError` where their files are damaged."""
        found = {}
        for name in PROTOCOLS:
            read = _official if _folds(self.path, name).is_dir() else _tabular
            try:
                found[name] = list(read(self.path, name))
            except FileNotFoundError:
                continue
            except (ValueError, IndexError) as error:
                raise SettingError(
                    f"the pairs of {name} in {self.path} are damaged ({error}); copy them again"
                ) from error
        return found


def _folds(path: Path, protocol: str) -> Path:
    return path / "Protocol" / "Split" / protocol


def _table(path: Path, protocol: str) -> Path:
    return path / f"pairs_{protocol}.txt"


def _tabular(path: Path, protocol: str) -> Iterator[Pair]:
    with _table(path, protocol).open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader((line for line in stream if not line.startswith("#")), delimiter="\t"):
            fold, same, first, second = row
            yield Pair(first, second, bool(int(same)), int(fold))


def _official(path: Path, protocol: str) -> Iterator[Pair]:
    """Folds 01 to 10, with `same.txt` and `diff.txt`: on each line two numbers, from 1, in the lists of photos."""
    firsts, seconds = (_listed(path / "Protocol", kind) for kind in protocol)
    for fold in sorted(_folds(path, protocol).iterdir()):
        for same in (True, False):
            for line in (fold / ("same.txt" if same else "diff.txt")).read_text("utf-8-sig").split():
                first, second = line.split(",")
                yield Pair(firsts[int(first)], seconds[int(second)], same, int(fold.name))


def _listed(protocol: Path, kind: str) -> dict[int, str]:
    """The photos F or P by number: `Pair_list_F.txt` holds lines like `1 ../Data/Images/001/frontal/01.jpg`."""
    lines = (protocol / f"Pair_list_{kind}.txt").read_text("utf-8-sig").splitlines()
    numbered = (line.split() for line in lines if line.strip())
    return {int(number): posixpath.normpath(f"Protocol/{name}") for number, name in numbered}
