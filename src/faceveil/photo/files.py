"""Files: read whole, published whole or not at all."""

import os
import platform
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedIOBase, TextIOBase
from itertools import count
from pathlib import Path

from faceveil.errors import SettingError, UnreadablePhotoError, UnwritablePhotoError

MAX_BYTES = 1 << 30

Readable = str | Path | bytes | bytearray | memoryview | BufferedIOBase

_TOKEN = secrets.token_hex(4)  # tells this process from an earlier one with the same number
_NUMBERS = count()
_HOST = re.sub(r"\W", "", platform.node())
_PART = re.compile(r"\.faceveil-(\w*)-(\d+)-(\w+)-\d+\.part")
_DAY = 86_400  # seconds, after which nobody writes still


def one_line(text: object) -> str:
    """A text that fits into a message: printable, and on one line."""
    return "".join(character if character.isprintable() else "?" for character in str(text).strip())[:300]


def first(things: Sequence[object], most: int = 5) -> str:
    """The first of some things, in a line; "..." stands for more."""
    return ", ".join([*map(one_line, things[:most]), *["..."] * (len(things) > most)])


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


def publish(data: bytes, path: Path, *, force: bool = False) -> None:
    """Writes a file under its name only once it is complete, and over another file only with `force`.

    Missing folders are made. Where the file system has no hard links, another program that takes the same name in
    the same instant may lose its file. Raises `UnwritablePhotoError`, and leaves no file behind.
    """
    part = path.parent / f".faceveil-{_HOST}-{os.getpid()}-{_TOKEN}-{next(_NUMBERS)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            (os.replace if force else _link)(part, path)
        finally:
            with suppress(OSError):  # it is gone, or another program looks at it
                part.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FileExistsError) and os.path.lexists(path):
            found = "exists already; choose another place, or overwrite it with --force"
        else:
            found = f"cannot be written ({one_line(getattr(error, 'strerror', None) or error)}); choose another place"
        raise UnwritablePhotoError(f"{one_line(path)}: {found}") from error


def _link(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        part.rename(path)


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files of processes that were killed while they wrote into a folder.

    Those of another machine that shares the folder are left for a day.
    """
    with suppress(OSError):
        for part in folder.glob(".faceveil-*.part"):
            with suppress(OSError):
                if (match := _PART.fullmatch(part.name)) and _is_left(part, *match.groups()):
                    part.unlink()


def _is_left(part: Path, host: str, process: str, token: str) -> bool:
    if time.time() - part.stat().st_mtime > _DAY:
        return True
    return host == _HOST and not _is_writing(int(process), token)


def _is_writing(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN
    if os.name != "posix":
        return False  # elsewhere an open file cannot be removed anyway
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
