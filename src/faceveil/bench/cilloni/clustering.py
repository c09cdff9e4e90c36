"""Which photos show one person, where some of them are cloaked? (Cilloni et al., 2020, V-C.)"""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, change, groups, percent
from faceveil.bench.cilloni import PAPER, PAPERS, cloaked
from faceveil.bench.material import Material, People
from faceveil.protocols.clustering import SCORES, SHARES, Agglomerative, cluster
from faceveil.protocols.verification import FACENET

PURITY = "purity"  # the paper's score


def _measure(material: Material, settings: Settings) -> Found:
    """The mean of each score, by the stop and the share of cloaked photos, of so many people as there are."""
    people, depth, times = (int(settings[name]) for name in ("people", "depth", "times"))
    people = material.people(depth, people)
    changed = cloaked(material).embeddings
    stops = {"distance": Agglomerative(distance=FACENET), "count": Agglomerative(count=people)}
    repeated = partial(cluster, people=people, depth=depth, times=times, seed=material.seed)
    found = repeated(material.clear, changed, material.faces.labels, clusterers=stops)
    means = {
        stop: {score: [float(found[share, stop, score].mean()) for share in SHARES] for score in SCORES}
        for stop in stops
    }
    return {"people": people, "scores": means}


def _table(cells: Sequence[Cell]) -> Table:
    columns = ("data", "recognizer", "people", "stop", "cloaked", PURITY, "change", PAPERS, *_OTHERS)
    rows = []
    for cell in cells:
        for stop, scores in cell.found["scores"].items():
            for i, share in enumerate(SHARES):
                what = cell.data, cell.recognizer, str(cell.found["people"]), stop, f"{share:.0%}"
                fall = change(scores[PURITY][0], scores[PURITY][i]) if share else ""
                paper = CLUSTERING.printed[stop, f"{share:.0%}"]
                others = (percent(scores[score][i]) for score in _OTHERS)
                rows.append((*what, percent(scores[PURITY][i]), fall, paper, *others))
    return Table(columns, tuple(rows))


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, (cell,) in groups(cells).items():
        curves = {
            _STOPS[stop]: {score: (SHARES, values) for score, values in scores.items()}
            for stop, scores in cell.found["scores"].items()
        }
        what = f"scores of the clusters of {cell.found['people']} people's photos"
        figures[f"Table II: {what}; {where}"] = plots.lines_in_panels(
            curves, "share of photos that are cloaked", "score", top=1.0, ticks=SHARES
        )
    return figures


_STOPS = {"distance": f"merged up to a distance of {FACENET}", "count": "merged until as many as people"}
_OTHERS = tuple(score for score in SCORES if score != PURITY)
CLUSTERING = Experiment(
    name="cilloni-clustering",
    title="Clustering of photos of which some are cloaked with no selection (Table II)",
    paper=PAPER,
    original="PubFig83 and FaceScrub, 20 people, 20 photos each, 96 x 96 pixels; FaceNet with 128 numbers",
    printed={
        ("distance", "0%"): "27.18 / 48.07",
        ("distance", "10%"): "25.57 / 43.86",
        ("distance", "50%"): "21.79 / 30.25",
        ("distance", "100%"): "18.03 / 20.36",
        ("count", "0%"): "22.95 / 42.52",
        ("count", "10%"): "20.62 / 36.15",
        ("count", "50%"): "17.30 / 22.59",
        ("count", "100%"): "15.47 / 16.50",
    },
    notes=(
        f"Percentages. Clusters are merged up to a distance of {FACENET}, or until there are as many as people. "
        "Purity, the paper's accuracy, leaves clusters of one photo out and flatters fragments; the F1 scores do not."
    ),
    findings=(
        "By F1 clusters suffer most where half of the photos are cloaked. Where all are, they hardly do on FaceScrub, "
        "and by 10 to 12 points on Pins, unlike in the paper: on the unit sphere, cloaked photos of one person meet "
        "on the far side of it."
    ),
    recognizers=("facenet",),
    full=Plan(People(83, 20, spare=3), ({"people": 20, "depth": 20, "times": 100},)),
    quick=Plan(People(6, 5), ({"people": 5, "depth": 4, "times": 20},)),
    measure=_measure,
    table=_table,
    figures=_figures,
)
