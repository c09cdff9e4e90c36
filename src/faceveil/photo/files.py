"""Photos' files: read whole."""

import os
from io import BufferedIOBase, TextIOBase
from pathlib import Path

from faceveil.errors import SettingError, UnreadablePhotoError
from faceveil.files import one_line

MAX_BYTES = 1 << 30

Readable = str | Path | bytes | bytearray | memoryview | BufferedIOBase


def read(source: Readable) -> bytes:
    """The bytes of a file or of a binary stream, or those that are given.

    Raises `UnreadablePhotoError` where there is no such file, no byte in it, or more than 1 GiB, and `SettingError` for
    anything else.
    """
    try:
        if isinstance(source, str | Path):
            data = _read_file(Path(source))
        else:
            data = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else _read_stream(source)
    except OSError as error:
        reason = one_line(error.strerror or error)
        raise UnreadablePhotoError(f"cannot be read ({reason}); check its path and its permissions") from error
    _check(len(data))
    return data


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        if path.is_dir():
            os.scandir(path).close()  # raises where it cannot be read
        found = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
        raise UnreadablePhotoError(f"{found}; give the path of a photo")
    _check(path.stat().st_size)
    return path.read_bytes()


def _read_stream(stream: BufferedIOBase) -> bytes:
    if isinstance(stream, TextIOBase) or not hasattr(stream, "read"):
        raise SettingError(f"{type(stream).__name__} is no photo; give a path, bytes or a binary stream")
    if stream.seekable():
        stream.seek(0)
    return stream.read()


def _check(size: int) -> None:
    if size == 0:
        raise UnreadablePhotoError("is empty (0 bytes); copy or download it again")
    if size > MAX_BYTES:
        raise UnreadablePhotoError(f"is larger than {MAX_BYTES >> 20} MiB; save it smaller")
