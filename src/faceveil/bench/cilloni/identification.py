"""Whom does a photo show, where labeled photos, the photo or both are cloaked? (Cilloni et al., 2020, V-B.)"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, change, groups, percent
from faceveil.bench.cilloni import PAPER, PAPERS, cloaked
from faceveil.bench.material import Material, People
from faceveil.protocols.identification import RULES, identify, scenarios

CLEAR = "all clear"


def _measure(material: Material, settings: Settings) -> Found:
    """Mean and deviation of the accuracy of each rule in each scenario, of so many people as there are."""
    people, depth, probes, times = (int(settings[name]) for name in ("people", "depth", "probes", "times"))
    people = material.people(depth + probes, people)
    changed = cloaked(material).embeddings
    labels, seed = material.faces.labels, material.seed
    means = {}
    for scenario, (labeled, asked) in scenarios(material.clear, changed).items():
        found = identify(labeled, asked, labels, people=people, depth=depth, probes=probes, times=times, seed=seed)
        means[scenario] = {rule: [float(each.mean()), float(each.std())] for rule, each in found.items()}
    return {"people": people, "accuracies": means}


def _table(cells: Sequence[Cell]) -> Table:
    columns = ("data", "recognizer", "people", "rule", "photos", "accuracy", "deviation", "change", PAPERS)
    rows = []
    for cell in cells:
        accuracies = cell.found["accuracies"]
        for rule in RULES:
            clear = accuracies[CLEAR][rule][0]
            for scenario, found in accuracies.items():
                mean, deviation = found[rule]
                numbers = percent(mean), percent(deviation), change(clear, mean) if scenario != CLEAR else ""
                what = str(cell.found["people"]), rule, scenario
                rows.append((cell.data, cell.recognizer, *what, *numbers, IDENTIFICATION.printed[rule, scenario]))
    return Table(columns, tuple(rows))


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, (cell,) in groups(cells).items():
        accuracies, chance = cell.found["accuracies"], 1 / cell.found["people"]
        bars = {scenario: [mean for mean, _ in found.values()] for scenario, found in accuracies.items()}
        what = f"accuracy of identification among {cell.found['people']} people, in percent"
        figures[f"Table I: {what}; {where}"] = plots.bars(list(RULES), bars, "rule", "accuracy", chance=chance)
    return figures


IDENTIFICATION = Experiment(
    name="cilloni-identification",
    title="Identification by labeled photos, clear and cloaked with no selection (Table I)",
    paper=PAPER,
    original="PubFig83 and FaceScrub, 20 people, 20 labeled photos and 10 others of each, 96 x 96 pixels; FaceNet",
    printed={
        ("nearest neighbor", CLEAR): "20.08 / 59.02",
        ("nearest neighbor", "clear enrolled only"): "6.73 / 11.20",
        ("nearest neighbor", "all cloaked"): "7.00 / 8.47",
        ("nearest centroid", CLEAR): "25.45 / 57.88",
        ("nearest centroid", "clear enrolled only"): "8.12 / 11.28",
        ("nearest centroid", "all cloaked"): "7.93 / 8.43",
        ("k-NN", CLEAR): "21.27 / 57.37",
        ("k-NN", "clear enrolled only"): "7.04 / 11.22",
        ("k-NN", "all cloaked"): "6.47 / 7.93",
        ("weighted k-NN", CLEAR): "22.77 / 60.98",
        ("weighted k-NN", "clear enrolled only"): "7.13 / 11.57",
        ("weighted k-NN", "all cloaked"): "6.65 / 8.72",
        ("distance-bound NN", CLEAR): "14.53 / 14.18",
        ("distance-bound NN", "clear enrolled only"): "7.40 / 9.83",
        ("distance-bound NN", "all cloaked"): "7.32 / 8.14",
    },
    notes="Percentages: means over drawings of people and photos, deviations, and changes from clear photos.",
    recognizers=("facenet",),
    full=Plan(People(83, 30, spare=3), ({"people": 20, "depth": 20, "probes": 10, "times": 100},)),
    quick=Plan(People(6, 5), ({"people": 5, "depth": 3, "probes": 2, "times": 20},)),
    measure=_measure,
    table=_table,
    figures=_figures,
)
