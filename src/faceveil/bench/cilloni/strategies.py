"""Whom should a face be pulled toward, and how far? (Cilloni et al., 2020, IV.)"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, number
from faceveil.bench.cilloni import PAPER, cloaked
from faceveil.bench.material import Material, People
from faceveil.methods.cilloni import MARGINS, SELECTIONS
from faceveil.protocols.quality import Summary
from faceveil.protocols.verification import FACENET, all_pairs
from faceveil.types import Embeddings

CLEAR = "clear"
PROJECTED = 1.0  # the margin of Fig. 8


def _strategies(margins: Sequence[float]) -> tuple[Settings, ...]:
    """Photos as they are, `none`, on which the margin has no effect, and the other strategies at each margin."""
    alone: list[Settings] = [{"strategy": CLEAR}, {"strategy": "none"}]
    others = [select for select in SELECTIONS if select != "none"]
    return (*alone, *(_at(select, margin) for select in others for margin in margins))


def _at(select: str, margin: float) -> Settings:
    return {"strategy": select, "margin": margin}


def _measure(material: Material, settings: Settings) -> Found:
    """Verification of all pairs, and the DSSIM of each image; nothing where nobody is farther than the margin."""
    strategy, margin = str(settings["strategy"]), float(settings.get("margin", PROJECTED))
    clear, dssim = material.clear, np.zeros(len(material.faces))
    embeddings: Embeddings = clear
    if strategy == "similar" and (torch.cdist(clear, clear).amax(1) <= margin).any():
        return {}
    if strategy != CLEAR:
        targets = (clear.to(material.recognizer.device),)
        changed = cloaked(material, targets=targets, select=strategy, margin=margin)
        embeddings, dssim = changed.embeddings, changed.dssim
    pairs, own = all_pairs(embeddings, material.faces.labels), material.recognizer.threshold
    return {
        "tpr": pairs.true_positive_rate(FACENET),
        "fpr": pairs.false_positive_rate(FACENET),
        "own_tpr": pairs.true_positive_rate(own),
        "own_fpr": pairs.false_positive_rate(own),
        "dssim": asdict(Summary.of(dssim)),
        "map": _map(embeddings, material.seed) if margin == PROJECTED else None,
        "labels": material.faces.labels.tolist(),
    }


def _map(embeddings: Embeddings, seed: int) -> list[list[float]]:
    """Embeddings on a plane, by t-SNE."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    projected = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings.numpy())
    return [[round(float(value), 3) for value in point] for point in projected]


def _table(cells: Sequence[Cell]) -> Table:
    columns = (
        *("data", "recognizer", "strategy", "margin", "TPR", "TPR, paper", "FPR", "FPR, paper"),
        *("TPR, own threshold", "FPR, own threshold", "DSSIM", "DSSIM, paper", "deviation", "largest", "seconds"),
    )
    return Table(columns, tuple(map(_row, cells)))


def _row(cell: Cell) -> tuple[str, ...]:
    strategy, margin = str(cell.settings["strategy"]), str(cell.settings.get("margin", "any"))
    paper = {rate: STRATEGIES.printed.get((strategy, rate), "") for rate in ("TPR", "FPR", "DSSIM")}
    found = cell.found or {"dssim": {}}
    tpr, fpr, own_tpr, own_fpr = (number(found.get(rate)) for rate in ("tpr", "fpr", "own_tpr", "own_fpr"))
    mean, std, most = (number(found["dssim"].get(name), 4) for name in ("mean", "std", "most"))
    return (
        *(cell.data, cell.recognizer, strategy, margin, tpr, paper["TPR"], fpr, paper["FPR"]),
        *(own_tpr, own_fpr, mean, paper["DSSIM"], std, most, f"{cell.seconds:.0f}"),
    )


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, group in groups(cells).items():
        curves = {
            select: [cell for cell in group if cell.settings["strategy"] == select and cell.found]
            for select in (CLEAR, *SELECTIONS)
        }
        boxes = {select: curve for select, curve in curves.items() if select != CLEAR and curve}
        figures[f"Fig. 6: DSSIM of photos and their cloaked versions; {plots.BOXES}; {where}"] = _boxes(boxes)
        rates = {select: _at_margins(curve) for select, curve in curves.items() if curve}
        what = f"pairs of one person nearer than {FACENET}; a line ends where for some photo nobody is farther"
        figures[f"Fig. 7: true positive rate, the share of {what}; {where}"] = plots.lines(
            rates, "margin", "true positive rate", top=1.0, ticks=_measured(group)
        )
        maps = {select: cell.found for select, curve in curves.items() for cell in curve if cell.found["map"]}
        what = f"embeddings on a plane (t-SNE, whose axes have no unit), margin {PROJECTED:g}, a mark for each person"
        figures[f"Fig. 8: {what}; {where}"] = _maps(maps)
    return figures


def _measured(cells: Sequence[Cell]) -> list[float]:
    return sorted({float(cell.settings["margin"]) for cell in cells if "margin" in cell.settings})


def _at_margins(curve: Sequence[Cell]) -> plots.Points:
    """True positive rates by margin; a level line where the margin has no effect."""
    points = [(margin, cell.found["tpr"]) for cell in curve for margin in _margins(cell)]
    return [margin for margin, _ in points], [rate for _, rate in points]


def _margins(cell: Cell) -> tuple[float, ...]:
    return (float(cell.settings["margin"]),) if "margin" in cell.settings else (MARGINS[0], MARGINS[-1])


def _boxes(curves: Mapping[str, Sequence[Cell]]) -> Figure:
    figure, panels = plots.panels(len(curves))
    most = max(cell.found["dssim"]["most"] for curve in curves.values() for cell in curve)
    places = list(map(str, _measured([cell for curve in curves.values() for cell in curve])))
    for axes, (select, curve) in zip(panels, curves.items(), strict=True):
        margins = {str(cell.settings.get("margin", "any")): cell.found["dssim"] for cell in curve}
        plots.boxes(axes, margins, places if set(margins) <= set(places) else ())
        axes.set(title=select, xlabel="margin", ylabel="DSSIM", ylim=(0, 1.05 * most))
    return figure


def _maps(maps: Mapping[str, Found]) -> Figure:
    figure, panels = plots.panels(len(maps))
    for axes, (select, found) in zip(panels, maps.items(), strict=True):
        points, labels = np.array(found["map"]), np.array(found["labels"])
        for label, look in zip(np.unique(labels), plots.marks(), strict=False):
            axes.plot(*points[labels == label].T, linestyle="", markersize=5, markeredgecolor="black", **look)
        axes.set(title=select, xlabel="first axis", ylabel="second axis", xticks=[], yticks=[])
    return figure


STRATEGIES = Experiment(
    name="cilloni-strategies",
    title="Five ways to choose whom a cloaked face is pulled toward, at ten margins (Fig. 6, 7, 8)",
    paper=PAPER,
    original="FaceScrub, 25 people, 10 photos each, 96 x 96 pixels; FaceNet with 128 numbers",
    printed={
        ("clear", "TPR"): "0.91",
        ("clear", "FPR"): "0.06",
        ("none", "TPR"): "0.084",
        ("none", "FPR"): "0.027",
        ("none", "DSSIM"): "0.0099",
        ("farthest", "TPR"): "about 0.4",
        ("farthest", "FPR"): "0.08 to 0.11",
        ("farthest", "DSSIM"): "0.0104",
        ("random", "TPR"): "0.37 to 0.21",
        ("random", "FPR"): "0.07 to 0.09",
        ("random", "DSSIM"): "0.0156",
        ("random+farthest", "TPR"): "0.37 to 0.52",
        ("random+farthest", "FPR"): "0.08 to 0.095",
        ("random+farthest", "DSSIM"): "0.0157",
        ("similar", "TPR"): "0.87 to 0.08",
        ("similar", "FPR"): "0.06 to 0.11",
        ("similar", "DSSIM"): "0.0074",
    },
    notes=(
        f"TPR and FPR count pairs nearer than {FACENET}, the paper's threshold, or than the recognizer's own. The "
        "paper's numbers are its ranges or means over all margins; none are given for each of them. An empty row: for "
        "some photo nobody is farther than the margin."
    ),
    findings=(
        "With three people, farthest keeps more true and more false matches than in the paper, as there are only two "
        "others to be pulled toward, and the random ones change photos twice as much: likely the other recognizer, "
        "whose distances move less at a step."
    ),
    recognizers=("facenet",),
    full=Plan(People(25, 10), _strategies(MARGINS)),
    quick=Plan(People(5, 4), _strategies((PROJECTED,))),
    measure=_measure,
    table=_table,
    figures=_figures,
)
