"""What an experiment is: settings and data sets and recognizers, of which every combination is a cell to measure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from faceveil.bench.material import Choice, Material

OURS = "ours"  # the paper of an experiment that nobody published
Settings = Mapping[str, str | float]
Found = dict[str, Any]  # what a cell's measurement found; all that JSON can hold


@dataclass(frozen=True)
class Cell:
    """One finished measurement: on which data set, by which recognizer, at which settings, and how long it took.

    Several recognizers that are attacked together are named with `+` between. `date` is the day (UTC) on which it was
    measured, and `versions` what it was measured with.
    """

    data: str
    recognizer: str
    settings: Settings
    seconds: float
    found: Found
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How much is measured: which photos of each data set take part, at which settings.

    Where something learns, `training` are its photos in the first data set; whoever they show takes no other part.
    """

    choose: Choice
    settings: tuple[Settings, ...]
    training: Choice | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text below their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Experiment:
    """A published experiment.

    `original` says on what the paper ran it, `printed` what it printed, by row and column, `notes` how to read it, and
    `findings` what we found ourselves, on data that docs/results.md tells of: no report of another's has them. Each of
    `recognizers` fills cells of its own; of several with `+` between, cloaks are made against all together. Cloaks are
    measured with the `judges`, or where there are none with their surrogates. `at_most` is how many people, pairs or
    probes it was limited to.

    `measure` fills one cell; `table` and `figures`, by their captions, show all of them.
    """

    name: str
    title: str
    paper: str
    original: str
    printed: Mapping[tuple[str, str], str]
    notes: str
    recognizers: tuple[str, ...]
    full: Plan
    quick: Plan
    measure: Callable[[Material, Settings], Found]
    table: Callable[[Sequence[Cell]], Table]
    figures: Callable[[Sequence[Cell]], Mapping[str, Figure]]
    findings: str = ""
    judges: tuple[str, ...] = ()
    at_most: int | None = None


def groups(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by their recognizer and data set, said in words."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(f"{cell.recognizer} on {cell.data}", []).append(cell)
    return found


def number(value: float | None, digits: int = 3) -> str:
    """A number in a table; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """A share in percent, as the papers print it."""
    return f"{100 * share:.2f}"


def change(before: float, after: float) -> str:
    """By how many percent a number rose or fell; nothing where it was 0."""
    return f"{100 * (after / before - 1):+.2f}" if before else ""
