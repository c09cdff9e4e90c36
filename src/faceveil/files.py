"""Files: published whole or not at all; and what is said of them, in a line."""

import os
import platform
import re
import secrets
import time
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from faceveil.errors import UnwritablePhotoError

_TOKEN = secrets.token_hex(4)  # tells this process from an earlier one with the same number
_NUMBERS = count()
_HOST = re.sub(r"\W", "", platform.node())
_PART = re.compile(r"\.faceveil-(\w*)-(\d+)-(\w+)-\d+\.part")
_DAY = 86_400  # seconds, after which nobody writes still


def one_line(text: object) -> str:
    """A text that fits into a message: printable, and on one line."""
    return "".join(each if _fits(each) else "?" for each in str(text).strip())[:300]


def _fits(character: str) -> bool:
    """Whether a character is printable, a space of any width, or joins others or keeps them apart."""
    return character.isprintable() or character in "\u200c\u200d" or unicodedata.category(character) == "Zs"


def first(things: Sequence[object], most: int = 5) -> str:
    """The first of some things, in a line; "..." stands for more."""
    return ", ".join([*map(one_line, things[:most]), *["..."] * (len(things) > most)])


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
            found = "exists already; choose another place, or overwrite it (--force, or force=True in Python)"
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
