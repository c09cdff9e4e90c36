"""Running an experiment: cell by cell, each saved when it is finished, so that a run that is stopped goes on."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceveil import __version__, datasets, weights
from faceveil.bench.base import Cell, Experiment, Settings
from faceveil.bench.material import Material, Part
from faceveil.datasets import Dataset, Faces, Sample
from faceveil.errors import SettingError
from faceveil.photo.files import publish, remove_leftovers
from faceveil.recognizers import Recognizer, store
from faceveil.recognizers.card import Card

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

    `weights` are the hashes of the files of each recognizer, by their names.
    """

    experiment: Experiment
    quick: bool
    seed: int
    data: Mapping[str, Used]
    weights: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str]
    cells: tuple[Cell, ...]


def run(
    experiment: Experiment,
    data: Mapping[str, Dataset],
    recognizers: Sequence[Recognizer],
    folder: Path,
    *,
    quick: bool = False,
    seed: int = 0,
    track: Track = lambda things, what: things,
) -> Run:
    """Measures every cell that `folder` does not hold yet, and gives them all; `track` may show how far it is.

    Raises `SettingError` for a folder that holds something else, and for a data set that does not suit the experiment.
    """
    kept = folder / "cells"
    if folder.exists() and not kept.is_dir() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"{folder} holds something else; choose a folder that is new or an earlier report's")
    remove_leftovers(kept)
    plan = experiment.quick if quick else experiment.full
    parts = {name: plan.choose(dataset, seed) for name, dataset in data.items()}
    files = {recognizer.name: _files(recognizer.card) for recognizer in recognizers}
    used: dict[str, Used] = {}
    tasks: list[Task] = []
    for name, part in parts.items():
        for recognizer in recognizers:
            faces = _prepare(part, recognizer, track)
            used[name] = Used(str(part.path), len(set(faces.labels[faces.labels >= 0])), len(faces), len(faces.missing))
            material = Material(recognizer, faces, faces.compare(part.listed), seed)
            what = f"{experiment.name} {__version__} {files[recognizer.name]} {seed} {_digest(material)}"
            tasks += [partial(_cell, experiment, name, material, each, kept, what) for each in plan.settings]
    cells = tuple(task() for task in track(tasks, f"{experiment.name}: cells"))
    return Run(experiment, quick, seed, used, files, _versions(), cells)


def _prepare(part: Part, recognizer: Recognizer, track: Track) -> Faces:
    def watch(photos: Sequence[Sample]) -> Iterable[Sample]:
        return track(photos, f"{part.path.name}: faces")

    return datasets.prepare(part, recognizer.card.input.template, recognizer.size, track=watch)


def _cell(experiment: Experiment, data: str, material: Material, settings: Settings, folder: Path, what: str) -> Cell:
    """The cell that was saved, where it was measured of the same images by the same weights; else a new one, saved."""
    name = hashlib.sha256(f"{what} {data} {material.recognizer.name} {json.dumps(settings)}".encode()).hexdigest()
    path = folder / f"{name[:16]}.json"
    if path.is_file():
        return Cell(**json.loads(path.read_text("utf-8")))
    start = time.perf_counter()
    found = experiment.measure(material, settings)
    seconds = round(time.perf_counter() - start, 1)
    text = json.dumps(asdict(Cell(data, material.recognizer.name, settings, seconds, found)))
    publish(text.encode(), path, force=True)
    return Cell(**json.loads(text))


def _digest(material: Material) -> str:
    """A hash of the aligned faces, whom they show, and the pairs of them."""
    found = hashlib.sha256(material.faces.labels.tobytes())
    for row in material.faces.rows:
        found.update(material.faces.store[row].tobytes())
    found.update(material.pairs.first.tobytes() + material.pairs.second.tobytes())
    return found.hexdigest()


def _files(card: Card) -> dict[str, str]:
    """The sha256 of each file that a recognizer's weights were read from, by its name."""
    if kept := store.record(card):
        return kept.sources
    here = (source for source in card.sources if all(map(weights.locate, source.files)))
    return next(({file.name: file.sha256 for file in source.files} for source in here), {})


def _versions() -> dict[str, str]:
    return {
        "faceveil": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
