"""The packs of the ArcFace world: `lfw.bin`, `agedb_30.bin`, `cfp_fp.bin` and the like."""

import mmap
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faceveil.datasets.base import Dataset, Pair, Sample
from faceveil.errors import SettingError

FOLDS = 10
SMALLEST = 64  # bytes; no photo is smaller, and every other string in a pack is
BYTES = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
TRUTH = {"NEWTRUE": True, "NEWFALSE": False}


@dataclass(frozen=True)
class Pack(Dataset):
    """One file with the encoded photos of all pairs, aligned and 112 x 112, and whether each pair is one person.

    The file is a pickle of `(photos, same)`, and a pickle can run any program when it is opened. So it never is: its
    opcodes are only listed, the place of each long byte string is noted, and photos are cut out of the file as they
    are asked for. NumPy's byte arrays, which some packs hold in place of byte strings, are read in the same way.
    """

    layout = "pack"
    aligned = True

    @classmethod
    def fits(cls, path: Path) -> bool:
        return path.is_file() and path.suffix == ".bin"

    def __iter__(self) -> Iterator[Sample]:
        """The photos in their order, named 000000 on; raises `SettingError` where the file is no pack."""
        photos, _ = self._index
        for number, (offset, length) in enumerate(photos):
            yield Sample(_name(number), None, self.path, offset, length)

    def pairs(self) -> dict[str, list[Pair]]:
        """One protocol, with the file's name, and ten folds of consecutive pairs; `SettingError` as above."""
        _, same = self._index
        return {
            self.path.stem: [
                Pair(_name(2 * number), _name(2 * number + 1), is_same, number * FOLDS // len(same) + 1)
                for number, is_same in enumerate(same)
            ]
        }

    @cached_property
    def _index(self) -> tuple[list[tuple[int, int]], list[bool]]:
        """Offset and length of each photo, and the truth about each pair."""
        photos: list[tuple[int, int]] = []
        same: list[bool] = []
        try:
            with self.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for opcode, argument, _ in pickletools.genops(data):  # type: ignore[arg-type] # it reads and tells
                    if opcode.name in BYTES and (length := len(argument or "")) >= SMALLEST:
                        photos.append((data.tell() - length, length))
                        same.clear()  # so far they were part of arrays
                    elif opcode.name in TRUTH:
                        same.append(TRUTH[opcode.name])
        except (ValueError, OSError) as error:
            raise SettingError(f"{self.path} is no pack of photos ({error}); copy or download it again") from error
        if not same or len(photos) != 2 * len(same):
            raise SettingError(f"{self.path} holds {len(photos)} photos for {len(same)} pairs; it is no pack of pairs")
        return photos, same


def _name(number: int) -> str:
    return f"{number:06d}"
