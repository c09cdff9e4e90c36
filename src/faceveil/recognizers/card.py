"""Cards: everything in which one set of weights differs from another, as data."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from faceveil.errors import SettingError, WeightsError
from faceveil.weights import File

_CARDS = Path(__file__).with_name("cards")


@dataclass(frozen=True)
class Input:
    """What a network was trained to see: size, channel order, mean and scale in 8-bit levels, alignment template."""

    height: int
    width: int
    channels: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    template: str


@dataclass(frozen=True)
class Embedding:
    """The size of the embeddings, and whether the recognizer gives them unit length."""

    size: int
    normalized: bool


@dataclass(frozen=True)
class Source:
    """One way to come by the weights: all of these files, and the page that tells about them."""

    files: tuple[File, ...]
    page: str = ""


@dataclass(frozen=True)
class Card:
    """One recognizer's weights: where they come from, how they are fed and how their embeddings are judged.

    `thresholds` are Euclidean distances: below, two faces count as one person. "published" is the one that the
    authors recommend, "far_1e-3" the one that one in a thousand pairs of strangers passes, measured here. `measured`
    holds what `faceveil calibrate` found on Labeled Faces in the Wild; it is empty where the weights are not at hand.
    """

    name: str
    title: str
    architecture: str
    licence: str
    trained_on: str
    published_accuracy: float | None
    input: Input
    embedding: Embedding
    sources: tuple[Source, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """The distance below which this recognizer says: the same person; `WeightsError` if none is known."""
        for kind in ("published", "far_1e-3"):
            if kind in self.thresholds:
                return self.thresholds[kind]
        raise WeightsError(f"{self.name} has no threshold yet; measure it: faceveil calibrate {self.name}")


def names() -> list[str]:
    """The names of all cards."""
    return sorted(card.stem for card in _CARDS.glob("*.toml"))


def path(name: str) -> Path:
    """Where the card of that name lies; a name without one raises `SettingError`."""
    if name not in names():
        raise SettingError(f"no recognizer is called {name!r}; there are {', '.join(names())}")
    return _CARDS / f"{name}.toml"


@cache
def read(name: str) -> Card:
    """The card of that name; a name without one raises `SettingError`."""
    table = tomllib.loads(path(name).read_text("utf-8"))
    given = table.pop("input")
    return Card(
        name=name,
        published_accuracy=table.pop("published_accuracy", None),
        input=Input(**given | {key: tuple(given[key]) for key in ("mean", "scale")}),
        embedding=Embedding(**table.pop("embedding")),
        sources=tuple(_source(source) for source in table.pop("sources")),
        **table,
    )


def _source(table: dict[str, Any]) -> Source:
    files = tuple(File(**file) for file in table.get("files", ()))
    if "manifest" in table:
        lines = (_CARDS / table["manifest"]).read_text("utf-8").splitlines()
        files = tuple(_listed(line, table["base"]) for line in lines)
    return Source(files, table.get("page", ""))


def _listed(line: str, base: str) -> File:
    """One file of a manifest, whose lines are those of sha256sum: a hash, two spaces and a path."""
    sha256, path = line.split("  ")
    return File(name=path.rsplit("/", 1)[-1], sha256=sha256, url=f"{base}/{path}")
