"""Which photo becomes which file."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faceveil.errors import SettingError
from faceveil.photo import SUFFIXES, format_named, format_of


@dataclass(frozen=True)
class Job:
    """A photo to read, and the file to write."""

    source: Path
    destination: Path


def plan(sources: Sequence[Path], output: Path | None = None, format: str | None = None) -> list[Job]:
    """The jobs of photos and folders of photos, in a fixed order.

    A photo goes beside itself, as NAME-cloaked, or under `output` with its own name; a folder goes under `output` as
    the tree that it is, in a folder of its own name where there are several. Raises `SettingError` where a folder has
    no `output`, where two photos would become one file, or where one would become itself.
    """
    folders = [source for source in sources if source.is_dir()]
    jobs = []
    for source in sources:
        if source not in folders:
            own = source.with_name(f"{source.stem}-cloaked{source.suffix}")
            jobs.append(Job(source, own if output is None else output / source.name))
            continue
        if output is None:
            raise SettingError(f"{source} is a folder; say where its cloaked photos go: -o OUT")
        under = output / Path(os.path.realpath(source)).name if len(folders) > 1 else output
        jobs += [Job(photo, under / photo.relative_to(source)) for photo in photos_in(source, output)]
    if format is not None:
        suffix = SUFFIXES[format_named(format)][0]
        jobs = [Job(job.source, job.destination.with_suffix(suffix)) for job in jobs]
    _check(jobs)
    return jobs


def photos_in(path: Path, apart_from: Path | None = None) -> Iterator[Path]:
    """The photos below a folder, by their suffixes; not hidden ones, nor those below another folder.

    The path of a photo gives that photo alone. A folder that cannot be read is given itself, to fail as a photo.
    """
    if not path.is_dir():
        yield path
        return
    other = apart_from and os.path.realpath(apart_from)
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=unreadable.append):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if name[0] != "." and os.path.realpath(here / name) != other)
        yield from (here / name for name in sorted(files) if name[0] != "." and format_of(here / name))
    yield from (Path(error.filename) for error in unreadable)


def _check(jobs: Sequence[Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.destination, job.source)
        if other != job.source:
            raise SettingError(f"{other} and {job.source} would both become {job.destination}; cloak one at a time")
        if os.path.realpath(job.destination) == os.path.realpath(job.source):
            raise SettingError(f"{job.source} would become itself; choose another folder with -o")
