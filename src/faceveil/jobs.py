"""Which photo becomes which file."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faceveil.errors import SettingError
from faceveil.files import first, one_line
from faceveil.photo import SUFFIXES, format_named, format_of

_WINDOWS = ("thumbs.db", "desktop.ini")  # its own files, in any folder of photos

CLOAKED, PROOF = "-cloaked", "-proof.png"  # how the names end of what we write beside a photo


@dataclass(frozen=True)
class Job:
    """A photo to read, the file to write, and where a picture of both would go; or why it is `refused`."""

    source: Path
    destination: Path
    picture: Path
    refused: str = ""


def plan(sources: Sequence[Path], output: Path | None = None, format: str | None = None) -> list[Job]:
    """The jobs of photos and folders of photos, in a fixed order.

    A photo goes beside itself, as NAME-cloaked, or under `output` with its own name; a folder goes under `output` as
    the tree that it is, in a folder of its own name where there are several. Pictures that show clear faces go beside
    a photo, or into a folder beside `output`, never into it. What an earlier run wrote is no photo to cloak.

    Of photos that would become one file the first does, and the others are refused. Raises `SettingError` where a
    folder has no `output`, where that is a file or the root of a disk, where there is no photo, and where one would
    overwrite another.
    """
    if output is not None and os.path.lexists(output) and not _is_folder(output):
        raise SettingError(f"-o {output} is a file; give a folder")
    folders = [source for source in sources if _is_folder(source)]
    jobs = []
    for source in dict.fromkeys(sources):
        if source not in folders:
            jobs.append(_beside(source) if output is None else _under(output, source, Path(source.name)))
            continue
        if output is None:
            raise SettingError(f"{source} is a folder; say where its cloaked photos go: -o OUT")
        own = Path(os.path.realpath(source)).name if len(folders) > 1 else ""
        jobs += [_under(output, photo, own / photo.relative_to(source)) for photo in photos_in(source, output)]
    if format is not None:
        suffix = SUFFIXES[format_named(format)][0]
        jobs = [replace(job, destination=job.destination.with_suffix(suffix)) for job in jobs]
    written = {os.path.realpath(path) for job in jobs for path in (job.destination, job.picture)}
    jobs = [job for job in dict.fromkeys(jobs) if not (_ours(job.source) and os.path.realpath(job.source) in written)]
    if not jobs:
        none = f"there is no photo in {', '.join(map(str, sources))}"
        if others := left_out(sources, output):
            raise SettingError(f"{none}, but {described(others)}; save them in one of these formats")
        raise SettingError(f"{none}; give photos, or folders of photos")
    return _checked(jobs)


def left_out(sources: Sequence[Path], output: Path | None = None) -> list[Path]:
    """The files below folders that are no photos by their suffixes; not hidden ones, nor those below `output`."""
    files = dict.fromkeys(file for source in sources for file in _below(source, output)[0])
    return [file for file in files if not format_of(file) and file.name.lower() not in _WINDOWS]


def described(others: Sequence[Path]) -> str:
    """How many files are no photos by their suffixes, and some of them, in a line."""
    return f"files not named as {', '.join(SUFFIXES)}: {len(others)} ({first(others)})"


def neighbors(jobs: Sequence[Job], most: int) -> list[Job]:
    """The photos beside these that were cloaked earlier, to where these will be: the last so many, the newest first."""
    given = {os.path.realpath(job.source) for job in jobs}
    found: dict[Job, float] = {}
    for (here, there), job in {(job.source.parent, job.destination.parent): job for job in jobs}.items():
        ending = job.destination.stem.removeprefix(job.source.stem)
        clear = {path.stem: path for path in _photos(here) if not (_ours(path) or os.path.realpath(path) in given)}
        for path, written in _photos(there).items():
            source = clear.get(path.stem.removesuffix(ending))
            if source and path.stem.endswith(ending):
                found[replace(job, source=source, destination=path)] = written
    return sorted(found, key=found.__getitem__, reverse=True)[:most]


def _photos(folder: Path) -> dict[Path, float]:
    """The photos that lie in a folder itself, but hidden ones, and when each was written; none if it is unreadable."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name[0] != "." and format_of(Path(entry.name))]
            return {folder / entry.name: entry.stat(follow_symlinks=False).st_mtime for entry in found}
    except OSError:
        return {}


def _beside(source: Path) -> Job:
    destination = source.with_name(f"{source.stem}{CLOAKED}{source.suffix}")
    return Job(source, destination, destination.with_name(destination.name + PROOF))


def _under(output: Path, source: Path, name: Path) -> Job:
    whole = output if output.name.strip(".") else output.resolve()  # "." and ".." have names, too
    if not whole.name:
        raise SettingError(f"-o {output} is the root of a disk; give a folder in it")
    pictures = whole.with_name(f"{whole.name}-proofs") / name
    return Job(source, output / name, pictures.with_name(pictures.name + PROOF))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, say: it will fail as a photo
        return False


def _ours(path: Path) -> bool:
    """Whether its name is one that an earlier run gave."""
    return _cloaked(path) or path.name.endswith(PROOF)


def _cloaked(path: Path) -> bool:
    return path.stem.endswith(CLOAKED)


def photos_in(path: Path, apart_from: Path | None = None) -> list[Path]:
    """The photos below a folder, by their suffixes; not hidden or cloaked ones, nor those below another folder.

    The path of a photo gives that photo alone. A folder that cannot be read is given itself, to fail as a photo.
    """
    files, others = _below(path, apart_from)
    return [file for file in files if format_of(file) and not _ours(file)] + others


def cloaked_in(path: Path) -> tuple[list[Path], list[Path]]:
    """The photos below a folder that are cloaked ones by their names, and those that are not and are left out.

    Where none is, as under an `output`, all are taken. The path of a photo gives that photo alone.
    """
    found, others = _below(path)
    cloaked, rest = [], []
    for photo in filter(format_of, found):
        if _cloaked(photo):
            cloaked.append(photo)
        elif not _ours(photo):
            rest.append(photo)
    return (cloaked + others, rest) if cloaked else (rest + others, [])


def _below(path: Path, apart_from: Path | None = None) -> tuple[list[Path], list[Path]]:
    """The files below a folder that are not hidden, and the folders that cannot be read; else the path by itself."""
    if not _is_folder(path):
        return [], [path]
    other = apart_from and _file(apart_from)
    found: list[Path] = []
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=unreadable.append):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if name[0] != "." and _file(here / name) != other)
        found += [here / name for name in sorted(files) if name[0] != "."]
    return found, [Path(error.filename) for error in unreadable]


def _checked(jobs: Sequence[Job]) -> list[Job]:
    sources = {_file(job.source): job.source for job in jobs}
    taken: dict[str, Path] = {}
    checked = []
    for job in jobs:
        for path in (job.destination, job.picture):
            if source := sources.get(_file(path)):
                raise SettingError(f"{job.source} would overwrite {source}; choose another folder with -o")
        other = taken.setdefault(_name(job.destination), job.source)
        told = f"{one_line(other)} becomes {one_line(job.destination)}, too; cloak it into another folder with -o"
        checked.append(replace(job, refused="" if other == job.source else f"{one_line(job.source)}: {told}"))
    return checked


def _file(path: Path) -> tuple[int, int] | str:
    """What a file is known by, whatever path leads there: its number on its disk; its path where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _name(path: Path) -> str:
    """The name of a file, in the letters that its disk tells apart."""
    real = os.path.realpath(path)
    return unicodedata.normalize("NFC", real).casefold() if _ignores_case(Path(real).parent) else real


def _ignores_case(folder: Path) -> bool:
    """Whether a disk takes "a" and "A" for one letter, as far as the name of a folder that is there tells."""
    for path in (folder, *folder.parents):
        swapped = path.name.swapcase()
        if swapped != path.name == swapped.swapcase() and path.exists():
            other = path.with_name(swapped)
            return other.exists() and other.samefile(path)
    return False
