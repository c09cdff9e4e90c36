"""A small experiment, and data sets whose photos are aligned and show nothing."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from faceveil.bench import Experiment, Plan, Table
from faceveil.bench.material import People
from faceveil.bench.plots import lines
from faceveil.datasets import Pair
from faceveil.datasets.folders import Folders


class Album(Folders):
    """Folders of aligned photos, of which each person's first two are a genuine pair, and neighbors an impostor one."""

    aligned = True

    def pairs(self):
        names = {}
        for sample in self:
            names.setdefault(sample.identity, []).append(sample.name)
        people = list(names.values())
        same = [Pair(own[0], own[1], True, 1) for own in people]
        return {"album": same + [Pair(a[0], b[0], False, 1) for a, b in pairwise(people)]}


def album(folder: Path, people: int = 4, photos: int = 3, seed: int = 0) -> Album:
    """Noise of which each person has a kind of their own."""
    random = np.random.default_rng(seed)
    for who in range(people):
        face = random.integers(40, 216, (14, 14, 3))
        for number in range(photos):
            levels = np.clip(face + random.integers(-25, 26, face.shape), 0, 255).astype(np.uint8)
            path = folder / f"person {who}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels.repeat(8, 0).repeat(8, 1)).save(path)
    return Album(folder)


class Counter:
    """A measurement that tells how many photos there are, and counts how often it was asked."""

    def __init__(self, stops_at: int = -1) -> None:
        self.asked, self.stops_at = 0, stops_at

    def __call__(self, material, settings):
        if self.asked == self.stops_at:
            raise KeyboardInterrupt
        self.asked += 1
        return {"photos": len(material.faces), "level": settings["level"]}


def counting(measure: Counter):
    """The photos of two people, counted at two levels."""
    plan = Plan(People(2, 2), ({"level": 1.0}, {"level": 2.0}))
    return Experiment(
        name="counting",
        title="Photos & levels",
        paper="",
        original="other photos",
        printed={},
        notes="",
        recognizers=(),
        full=plan,
        quick=replace(plan, choose=People(2, 1)),
        measure=measure,
        table=lambda cells: Table(
            ("recognizer", "level", "<photos>"),
            tuple((cell.recognizer, str(cell.settings["level"]), str(cell.found["photos"])) for cell in cells),
        ),
        figures=lambda cells: {"levels": lines({"a": ([1.0, 2.0], [0.5, 1.0])}, "level", "number", top=2.0)},
    )
