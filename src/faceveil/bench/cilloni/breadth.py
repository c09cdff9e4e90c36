"""How does identification depend on how many people and photos are labeled? (Cilloni et al., 2020, V-B.)"""

from collections.abc import Sequence
from math import floor
from statistics import mean

from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, percent
from faceveil.bench.cilloni import PAPER
from faceveil.bench.material import Material, People
from faceveil.protocols.identification import RULES, identify


def _sizes(breadths: Sequence[int], depths: Sequence[int], probes: int, times: int) -> tuple[Settings, ...]:
    return tuple(
        {"breadth": breadth, "depth": depth, "probes": probes, "times": times}
        for depth in depths
        for breadth in breadths
    )


def _measure(material: Material, settings: Settings) -> Found:
    """The mean accuracy of each rule on clear photos; nothing where too few people have as many photos."""
    breadth, depth, probes, times = (int(settings[name]) for name in ("breadth", "depth", "probes", "times"))
    if material.having(depth + probes) < breadth:
        return {}
    clear, labels, seed = material.clear, material.faces.labels, material.seed
    accuracies = identify(clear, clear, labels, people=breadth, depth=depth, probes=probes, times=times, seed=seed)
    return {rule: float(each.mean()) for rule, each in accuracies.items()}


def _table(cells: Sequence[Cell]) -> Table:
    columns = ("data", "recognizer", "people", "photos", *RULES, "times chance", "times chance, paper")
    rows = []
    for cell in cells:
        if not cell.found:
            continue
        breadth, depth = str(cell.settings["breadth"]), str(cell.settings["depth"])
        accuracies = [percent(cell.found[rule]) for rule in RULES]
        gain = f"{mean(_gain(cell, rule) for rule in RULES):.1f}"
        printed = BREADTH.printed.get((breadth, "times chance"), "")
        rows.append((cell.data, cell.recognizer, breadth, depth, *accuracies, gain, printed))
    return Table(columns, tuple(rows))


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, group in groups([cell for cell in cells if cell.found]).items():
        depths = {f"{cell.settings['depth']} photos of each": cell.settings["depth"] for cell in group}
        curves = {
            title: {rule: _curve([cell for cell in group if cell.settings["depth"] == depth], rule) for rule in RULES}
            for title, depth in depths.items()
        }
        gains = {rule: _gains(group, rule) for rule in RULES}
        breadths = _breadths(group)
        least = min(accuracy for curve in curves.values() for _, values in curve.values() for accuracy in values)
        figures[f"Fig. 10: accuracy of identification by clear photos; {where}"] = plots.lines_in_panels(
            curves, _PEOPLE, "accuracy", top=1.0, bottom=floor(10 * least) / 10, ticks=breadths
        )
        figures[f"Fig. 11: how many times better than chance, the mean over depths; {where}"] = plots.lines(
            gains | {"no mistake": (breadths, breadths)},
            _PEOPLE,
            "accuracy / accuracy of chance",
            top=max(breadths),
            ticks=breadths,
        )
    return figures


def _curve(cells: Sequence[Cell], rule: str) -> plots.Points:
    return [float(cell.settings["breadth"]) for cell in cells], [cell.found[rule] for cell in cells]


def _gains(cells: Sequence[Cell], rule: str) -> plots.Points:
    breadths = _breadths(cells)
    return breadths, [
        mean(_gain(cell, rule) for cell in cells if cell.settings["breadth"] == breadth) for breadth in breadths
    ]


def _breadths(cells: Sequence[Cell]) -> list[float]:
    return sorted({float(cell.settings["breadth"]) for cell in cells})


def _gain(cell: Cell, rule: str) -> float:
    return float(cell.found[rule]) * float(cell.settings["breadth"])


_PEOPLE = "people whose photos are labeled"
BREADTH = Experiment(
    name="cilloni-breadth",
    title="Identification by more or fewer labeled photos of more or fewer people (Fig. 10, 11)",
    paper=PAPER,
    original="PubFig83, 2 to 83 people, 5, 20 and 80 labeled photos of each, 96 x 96 pixels; FaceNet",
    printed={("5", "times chance"): "3", ("26", "times chance"): "10"},
    notes=(
        "Percentages, means over drawings of people and photos. The paper's gains over chance are means over depths. "
        "What too few people have enough photos for is left out."
    ),
    findings=(
        "Here nearly every photo is identified, so that the gain over chance is nearly the number of people; in the "
        "paper few are (Table I: 14 to 61 % of 20 people). The likely cause is the network: FaceNet is here a later "
        "one, that has 99.4 % on LFW; its training set is not stated."
    ),
    recognizers=("facenet",),
    full=Plan(People(83, 15, spare=75), _sizes((2, 5, 10, 20, 26, 40, 60, 83), (5, 20, 80), 10, 100)),
    quick=Plan(People(10, 10), _sizes((2, 5, 10), (2, 5), 5, 20)),
    measure=_measure,
    table=_table,
    figures=_figures,
)
