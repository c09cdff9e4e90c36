"""Running an experiment: cell by cell, each saved when it is finished, so that a run that is stopped goes on."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceveil import __version__, datasets, weights
from faceveil.bench import source
from faceveil.bench.base import Cell, Experiment, Settings
from faceveil.bench.material import Material, Part, without
from faceveil.datasets import Comparisons, Dataset, Faces, Sample
from faceveil.errors import SettingError
from faceveil.files import publish, remove_leftovers
from faceveil.recognizers import Recognizer, Wanted, store
from faceveil.recognizers.card import Card
from faceveil.types import Embeddings

Task = Callable[[], Cell]
Track = Callable[[Sequence[Any], str], Iterable[Any]]  # things to go through, and what is done to them


@dataclass(frozen=True)
class Used:
    """What took part of a data set; photos without a face are `missing`."""

    path: str
    people: int
    photos: int
    missing: int


@dataclass(frozen=True)
class Run:
    """A finished run: its cells, and all that one needs to know to run it again.

    `judges` are the names of those that cloaks were measured with, where others made them. `weights` are the hashes of
    the files of each recognizer, by their names.
    """

    experiment: Experiment
    quick: bool
    seed: int
    data: Mapping[str, Used]
    judges: tuple[str, ...]
    weights: Mapping[str, Mapping[str, str]]
    cells: tuple[Cell, ...]

    @property
    def date(self) -> str:
        """The day of the last cell."""
        return max(cell.date for cell in self.cells)

    @property
    def versions(self) -> dict[str, str]:
        """What the cells were measured with; all versions, with commas, where a run went on with others."""
        names = dict.fromkeys(chain.from_iterable(cell.versions for cell in self.cells))
        return {
            name: ", ".join(dict.fromkeys(cell.versions[name] for cell in self.cells if name in cell.versions))
            for name in names
        }


def run(
    experiment: Experiment,
    data: Mapping[str, Dataset],
    recognizers: Sequence[tuple[Recognizer, ...]],
    folder: Path,
    *,
    judges: Sequence[Recognizer] = (),
    quick: bool = False,
    seed: int = 0,
    track: Track = lambda things, what: things,
) -> Run:
    """Measures every cell that `folder` does not hold yet, and gives them all; `track` may show how far it is.

    Each of `recognizers` is one or several that fill a cell together; without judges they are their own.

    Raises `SettingError` for a folder that holds something else, and for a data set that does not suit the experiment.
    """
    kept = folder / "cells"
    if folder.exists() and not kept.is_dir() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"{folder} holds something else; choose a folder that is new or an earlier report's")
    remove_leftovers(kept)
    plan = experiment.quick if quick else experiment.full
    lessons = plan.training(next(iter(data.values())), seed) if plan.training else None
    others = {name: without(dataset, lessons.identities()) if lessons else dataset for name, dataset in data.items()}
    parts = {name: plan.choose(dataset, seed) for name, dataset in others.items()}
    everybody = {each.name: each for each in (*chain.from_iterable(recognizers), *judges)}
    files = {name: _files(each.card) for name, each in everybody.items()}
    code = source.digest(experiment.measure)
    inputs = list(dict.fromkeys(each.wanted for each in everybody.values()))
    training = {each: _prepare(lessons, each, track) for each in inputs} if lessons else {}
    learned = {each: _digest(some) for each, some in training.items()}
    used = {f"{next(iter(data))}, learned from": _used(lessons, next(iter(training.values())))} if lessons else {}
    tasks: list[Task] = []
    for name, part in parts.items():
        aligned = {each: _prepare(part, each, track) for each in inputs}
        faces, embedded = next(iter(aligned.values())), dict[str, Embeddings]()
        used[name] = _used(part, faces)
        here = {sample.name: sample for sample in part}
        samples, pairs = tuple(here[photo] for photo in faces.names), faces.compare(part.listed)
        digests = {each: _digest(some, pairs) for each, some in aligned.items()}
        for group in recognizers:
            cards = {each.name: (repr(each.card), files[each.name]) for each in (*group, *judges)}
            seen = [[(cards[each.name], digests[each.wanted]) for each in some] for some in (group, judges)]
            taught = [[(cards[each.name], learned[each.wanted]) for each in group]] if lessons else []
            what = f"{experiment.name} {code} {seed} {name} {json.dumps(seen + taught)}"
            material = Material(
                *(samples, aligned, pairs, group, tuple(judges) or group, seed, folder / "shared" / _hash(what)),
                embedded,
                training,
                folder / "school" / _hash(f"{code} {seed} {json.dumps(taught)}"),
            )
            tasks += [partial(_cell, experiment, name, material, each, kept, what) for each in plan.settings]
    kept.mkdir(parents=True, exist_ok=True)
    cells = tuple(task() for task in track(tasks, f"{experiment.name}: cells"))
    return Run(experiment, quick, seed, used, tuple(each.name for each in judges), files, cells)


def _used(part: Part, faces: Faces) -> Used:
    return Used(str(part.path), len(set(faces.labels[faces.labels >= 0])), len(faces), len(faces.missing))


def _prepare(part: Part, wanted: Wanted, track: Track) -> Faces:
    def watch(photos: Sequence[Sample]) -> Iterable[Sample]:
        return track(photos, f"{part.path.name}: faces")

    return datasets.prepare(part, *wanted, track=watch)


def _cell(experiment: Experiment, data: str, material: Material, settings: Settings, folder: Path, what: str) -> Cell:
    """The cell that was saved, where the same code measured the same images by the same weights; else a new one."""
    path = folder / f"{_hash(f'{what} {json.dumps(settings)}')}.json"
    if path.is_file():
        return Cell(**json.loads(path.read_text("utf-8")))
    start = time.perf_counter()
    found = experiment.measure(material, settings)
    seconds = round(time.perf_counter() - start, 1)
    together = "+".join(each.name for each in material.surrogates)
    text = json.dumps(asdict(Cell(data, together, settings, seconds, found, _today(), _versions())))
    publish(text.encode(), path, force=True)
    return Cell(**json.loads(text))


def _hash(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _digest(faces: Faces, pairs: Comparisons | None = None) -> str:
    """A hash of the aligned faces, whom they show, and the pairs of them."""
    found = hashlib.sha256(faces.labels.tobytes())
    for row in faces.rows:
        found.update(faces.store[row].tobytes())
    if pairs:
        found.update(pairs.first.tobytes() + pairs.second.tobytes())
    return found.hexdigest()


def _files(card: Card) -> dict[str, str]:
    """The sha256 of each file that a recognizer's weights were read from, by its name."""
    if kept := store.record(card):
        return kept.sources
    here = (source for source in card.sources if all(map(weights.locate, source.files)))
    return next(({file.name: file.sha256 for file in source.files} for source in here), {})


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _versions() -> dict[str, str]:
    return {
        "faceveil": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
