"""Cards: everything in which one set of weights differs from another, as data.

Those of published weights are in the package; a recognizer that was trained here has its own in the user's cache.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

from faceveil import cache, weights
from faceveil.errors import SettingError, WeightsError
from faceveil.files import one_line, publish
from faceveil.weights import File

_CARDS = Path(__file__).with_name("cards")
ALIKE = 0.01  # a threshold of a network whose embeddings all but coincide; those of published ones are 0.5 and more
FEW = 1_000  # pairs of strangers: of fewer none can be the one in a thousand that a threshold lets pass


@dataclass(frozen=True)
class Input:
    """What a network was trained to see: size, channel order, mean and scale in 8-bit levels, alignment template.

    Raises `SettingError` for another order than rgb or bgr.
    """

    height: int
    width: int
    channels: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    template: str

    def __post_init__(self) -> None:
        if self.channels not in ("rgb", "bgr"):
            raise SettingError(f"channels are {self.channels!r}; they are rgb or bgr")


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
    holds what `faceveil calibrate` found on Labeled Faces in the Wild, or from how many `strangers` thresholds come; it
    is empty where the weights are not at hand. `origin` names the recognizer from whose weights these were trained on.
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
    origin: str = ""

    @property
    def kin(self) -> str:
        """What it has in common with those that were trained on from it: what fools the one fools the others."""
        return self.origin or self.name

    @property
    def threshold(self) -> float:
        """The distance below which this recognizer says: the same person; `WeightsError` if none is known, or of use.

        A network that sees all alike has nearly 0.
        """
        for kind in ("published", "far_1e-3"):
            if kind in self.thresholds:
                found = self.thresholds[kind]
                if not (isinstance(found, int | float) and ALIKE < found < inf):
                    advice = "train it again, or choose another judge"
                    raise WeightsError(f"{self.name} tells nobody apart, with a threshold of {found!r}; {advice}")
                return found
        raise WeightsError(f"{self.name} has no threshold yet; measure it: faceveil calibrate LFW {self.name} --write")

    @property
    def judges(self) -> bool:
        """Whether it has a threshold of use, which does not come from a `FEW` pairs of strangers."""
        try:
            return self.threshold > 0 and self.measured.get("strangers", inf) >= FEW
        except WeightsError:
            return False


def published() -> set[str]:
    """The names of the cards of published weights."""
    return {card.stem for card in _CARDS.glob("*.toml")}


def names() -> list[str]:
    """The names of all cards, those of recognizers that were trained here included."""
    return sorted(published() | {card.parent.name for card in _own("*")})


def path(name: str) -> Path:
    """Where the card of that name lies; a name without one raises `SettingError`."""
    if name not in names():
        raise SettingError(f"no recognizer is called {name!r}; there are {', '.join(names())}")
    return _CARDS / f"{name}.toml" if name in published() else next(_own(name))


def read(name: str) -> Card:
    """The card of that name; raises `SettingError` for a name without one, `WeightsError` for a damaged card."""
    place = path(name)
    try:
        table = tomllib.loads(place.read_text("utf-8"))
        if other := [key for key in ("options", "thresholds", "measured") if not isinstance(table.get(key, {}), dict)]:
            raise TypeError(f"{other[0]} is no table")
        if find_spec(f"faceveil.recognizers.{table['architecture']}") is None:
            raise ValueError(f"there is no architecture {table['architecture']!r}")
        given = table.pop("input")
        return Card(
            name=name,
            published_accuracy=table.pop("published_accuracy", None),
            input=Input(**given | {key: tuple(given[key]) for key in ("mean", "scale")}),
            embedding=Embedding(**table.pop("embedding")),
            sources=tuple(_source(source) for source in table.pop("sources")),
            **table,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        found = f"{place} is damaged ({one_line(error)})"
        if name in published():
            raise WeightsError(f"{found}; install faceveil again") from error
        raise WeightsError(
            f"{found}; run: faceveil weights remove {name} --force, and train or add it again"
        ) from error


def read_all() -> tuple[list[Card], dict[str, str]]:
    """All cards that can be read, and what is wrong with each other, by its name."""
    found, damaged = list[Card](), dict[str, str]()
    for name in names():
        try:
            found.append(read(name))
        except WeightsError as error:
            damaged[name] = str(error)
    return found, damaged


def check(name: str) -> None:
    """Raises `SettingError` for what cannot be the name of a recognizer that is trained here."""
    cache.check(name, names())
    if name == weights.DOWNLOADS:
        raise SettingError(f"{name} is the name of another folder; choose another name")
    if name in published():
        raise SettingError(f"{name} is a published recognizer; choose another name")


def write(card: Card) -> None:
    """Puts a card into the user's cache, in the place of an older one; raises what `check` and `publish` do."""
    check(card.name)
    publish("\n".join(_lines(card)).encode(), weights.folder() / card.name / "card.toml", force=True)


def _own(name: str) -> Iterator[Path]:
    return weights.folder().glob(f"{name}/card.toml")


def _lines(card: Card) -> Iterator[str]:
    """A card as TOML, whose texts, numbers and lists are written as in JSON; the thresholds come last."""
    for key in ("title", "architecture", "licence", "trained_on"):
        yield _line(key, getattr(card, key))
    if card.origin:
        yield _line("origin", card.origin)
    if card.published_accuracy is not None:
        yield _line("published_accuracy", card.published_accuracy)
    yield from _table("options", card.options)
    yield from _table("input", asdict(card.input))
    yield from _table("embedding", asdict(card.embedding))
    for source in card.sources:
        yield from ("", "[[sources]]", _line("page", source.page))
        for file in source.files:
            yield from ("", "[[sources.files]]", *(_line(key, value) for key, value in asdict(file).items()))
    yield from _table("thresholds", card.thresholds)
    yield from _table("measured", card.measured)
    yield ""


def _table(name: str, table: Mapping[str, object]) -> Iterator[str]:
    if table:
        yield from ("", f"[{name}]", *(_line(key, value) for key, value in table.items()))


def _line(key: str, value: object) -> str:
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


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
