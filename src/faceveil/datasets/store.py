"""What is kept between runs: files that only grow, so that a run that is killed loses no more than its last lines."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import UInt8
from numpy import ndarray

from faceveil.errors import SettingError

DIGEST = 64  # hexadecimal digits of a sha256


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made.

    Raises `SettingError` where one is there already, and where the folder cannot be written. The processes of one
    torchrun wait for each other instead.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", timeout=-1 if several else 0):
            yield
    except Timeout as error:
        raise SettingError(f"another faceveil is filling {folder}; wait until it has finished") from error
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror})"
        raise SettingError(f"{found}; make room, or name another place with FACEVEIL_CACHE") from error


class Journal:
    """A dictionary in a file, one JSON line `[key, value]` for each entry."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = dict(_whole_lines(path))

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._lines[key])[1]

    def add(self, entries: Mapping[str, object]) -> None:
        """Adds entries and sees to it that they are on the disk."""
        lines = {key: json.dumps([key, value]).encode() + b"\n" for key, value in entries.items()}
        _append(self._path, b"".join(lines.values()))
        self._lines |= lines


def _whole_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and lines; from the first damaged line on, the file is cut off."""
    path.touch()
    with path.open("r+b") as stream:
        end = 0
        for line in stream:
            try:
                key, _ = json.loads(line)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            yield key, line
            end += len(line)
        stream.truncate(end)


class Rows:
    """Images [n, height, width, 3] of 8 bits in one file, and in another the sha256 of the photo of each."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.size = size
        self._pixels, self._keys = folder / "images.uint8", folder / "photos.sha256"
        for path in (self._pixels, self._keys):
            path.touch()
        count = min(self._pixels.stat().st_size // self._bytes, self._keys.stat().st_size // (DIGEST + 1))
        os.truncate(self._pixels, count * self._bytes)
        os.truncate(self._keys, count * (DIGEST + 1))
        keys = self._keys.read_text("ascii", "replace").split("\n")[:count]
        if len(set(keys)) < count or not all(re.fullmatch(f"[0-9a-f]{{{DIGEST}}}", key) for key in keys):
            keys = []  # the power failed while they were written: which face is whose is not known
            os.truncate(self._pixels, 0)
            os.truncate(self._keys, 0)
        self._rows = {key: row for row, key in enumerate(keys)}

    @property
    def _bytes(self) -> int:
        return self.size[0] * self.size[1] * 3

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> int:
        return self._rows[key]

    def add(self, images: Mapping[str, UInt8[ndarray, "height width 3"]]) -> None:
        """Adds images by their photos' sha256, and sees to it that they are on the disk."""
        _append(self._pixels, b"".join(image.tobytes() for image in images.values()))
        _append(self._keys, "".join(f"{key}\n" for key in images).encode())
        self._rows |= {key: row for row, key in enumerate(images, len(self._rows))}

    def images(self) -> UInt8[ndarray, "n height width 3"]:
        """All images, on the disk until they are looked at."""
        shape = (len(self._rows), *self.size, 3)
        return np.memmap(self._pixels, np.uint8, "r", shape=shape) if self._rows else np.empty(shape, np.uint8)


def _append(path: Path, data: bytes) -> None:
    if not data:
        return
    with path.open("ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
