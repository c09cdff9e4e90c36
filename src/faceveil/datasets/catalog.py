"""Data sets by their path, or by a name that was given to them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_origin

from faceveil import cache
from faceveil.datasets.base import Dataset
from faceveil.datasets.cfp import CFP
from faceveil.datasets.faces import Faces
from faceveil.datasets.folders import Distractors, Folders
from faceveil.datasets.lfw import LFW
from faceveil.datasets.pack import Pack
from faceveil.errors import SettingError
from faceveil.files import publish

# A path is read by the first that fits it.
LAYOUTS: dict[str, type[Dataset]] = {kind.layout: kind for kind in (Pack, CFP, LFW, Folders, Distractors)}


@dataclass(frozen=True)
class Entry:
    """A data set with a name: where it lies, how it is laid out, and what was found in it.

    `pairs` counts each protocol's pairs, `faces` the faces aligned to each template; `missing` says of every photo
    without a face why it has none.
    """

    name: str
    path: str
    layout: str
    photos: int
    identities: int
    pairs: dict[str, int]
    faces: dict[str, int]
    missing: dict[str, str]

    def save(self) -> None:
        """Puts it into the catalog, in the place of an older entry; raises `SettingError`, `UnwritablePhotoError`."""
        check(self.name)
        data = json.dumps(asdict(self)).encode()
        publish(data, _folder() / f"{self.name}.json", force=True)


_KINDS = {each.name: get_origin(each.type) or each.type for each in fields(Entry)}  # str, int or dict


def check(name: str) -> None:
    """Raises `SettingError` for what cannot be the name of a data set."""
    cache.check(name, (file.stem for file, _ in _files()))


def describe(name: str, dataset: Dataset, faces: Mapping[str, Faces]) -> Entry:
    """The entry of a data set whose faces were aligned, by template, now; those aligned earlier are remembered."""
    path, older = str(dataset.path.resolve()), find(name)
    latest = list(faces.values())[-1]
    return Entry(
        name=name,
        path=path,
        layout=dataset.layout,
        photos=len(latest) + len(latest.missing),
        identities=len(latest.identities),
        pairs={protocol: len(pairs) for protocol, pairs in dataset.pairs().items()},
        faces=(older.faces if older and older.path == path else {})
        | {template: len(each) for template, each in faces.items()},
        missing=latest.missing,
    )


def entries() -> Iterator[Entry]:
    """The catalog, in the order of the names; what is damaged is passed over."""
    return (entry for _, entry in _files() if entry)


def damaged() -> dict[str, Path]:
    """The files in the catalog that cannot be read, by name; preparing the data set again writes a new one."""
    return {file.stem: file for file, entry in _files() if entry is None}


def find(name: str) -> Entry | None:
    """The entry of that name, if there is one."""
    return next((entry for entry in entries() if entry.name == name), None)


def _folder() -> Path:
    return cache.folder() / "datasets"


def _files() -> Iterator[tuple[Path, Entry | None]]:
    return ((file, _read(file)) for file in sorted(_folder().glob("*.json")))


def _read(file: Path) -> Entry | None:
    """The entry in a file, or none where it is damaged."""
    try:
        table = json.loads(file.read_bytes())
        fits = all(type(table[name]) is kind for name, kind in _KINDS.items())
        return Entry(**table) if fits else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def open(where: str | Path, layout: str | None = None) -> Dataset:
    """The data set at a path or of a name in the catalog, read as it is laid out, or as `layout` says.

    Raises `SettingError` where there is no such place, or where it is laid out otherwise.
    """
    path = Path(where).expanduser()
    if not path.exists() and (entry := find(str(where))):
        path, layout = Path(entry.path), layout or entry.layout
    if not path.exists():
        names = ", ".join(entry.name for entry in entries()) or "none so far"
        raise SettingError(
            f"there is no data set at {path}; give the path of one, or the name of one prepared: {names}"
        )
    if layout is not None and layout not in LAYOUTS:
        raise SettingError(f"no layout is called {layout!r}; there are {', '.join(LAYOUTS)}")
    kind = next((LAYOUTS[name] for name in ([layout] if layout else LAYOUTS) if LAYOUTS[name].fits(path)), None)
    if kind is None:
        raise SettingError(f"{path} is not laid out as {layout or 'any data set'}; see: faceveil data prepare --help")
    return kind(path)
