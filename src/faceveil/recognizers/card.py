"""Cards: everything in which one set of weights differs from another, as data."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from faceveil.errors import SettingError


@dataclass(frozen=True)
class File:
    """A file that weights are read from, and where it comes from: an installed package, or an address."""

    name: str
    sha256: str
    package: str = ""
    path: str = ""
    url: str = ""


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
class Card:
    """One recognizer's weights: where they come from, how they are fed and how their embeddings are judged.

    `thresholds` are Euclidean distances: below, two faces count as one person. "published" is the one that the
    authors recommend.
    """

    name: str
    title: str
    architecture: str
    licence: str
    trained_on: str
    published_accuracy: float
    input: Input
    embedding: Embedding
    thresholds: dict[str, float]
    files: tuple[File, ...]
    options: dict[str, object] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """The distance below which this recognizer says: the same person."""
        return self.thresholds["published"]


def names() -> list[str]:
    """The names of all cards."""
    return sorted(card.name.removesuffix(".toml") for card in _cards().iterdir() if card.name.endswith(".toml"))


@cache
def read(name: str) -> Card:
    """The card of that name; a name without one raises `SettingError`."""
    if name not in names():
        raise SettingError(f"no recognizer is called {name!r}; there are {', '.join(names())}")
    table = tomllib.loads((_cards() / f"{name}.toml").read_text("utf-8"))
    given = table.pop("input")
    return Card(
        name=name,
        input=Input(**given | {key: tuple(given[key]) for key in ("mean", "scale")}),
        embedding=Embedding(**table.pop("embedding")),
        files=tuple(File(**file) for file in table.pop("files")),
        **table,
    )


def _cards() -> resources.abc.Traversable:
    return resources.files("faceveil.recognizers") / "cards"
