"""Do two photos show one person, where none, one or both of them are cloaked? (Cilloni et al., 2020, V-A.)"""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, number
from faceveil.bench.cilloni import PAPER, cloaked
from faceveil.bench.material import ListedPairs, Material
from faceveil.protocols.verification import FACENET, STEPS, crossing, listed_pairs, roc

VERSIONS = {"both clear": (0, 0), "one cloaked": (0, 1), "both cloaked": (1, 1)}  # which photo of a pair is cloaked


def _measure(material: Material, settings: Settings) -> Found:
    """The curves of listed pairs of which both photos are clear, the second is cloaked, or both are."""
    changed = cloaked(material).embeddings
    both, pairs, count = torch.cat([material.clear, changed]), material.pairs, len(material.faces)
    found = {}
    for version, (first, second) in VERSIONS.items():
        compared = listed_pairs(both, pairs.first + first * count, pairs.second + second * count, pairs.same)
        curve = roc(compared, STEPS)
        found[version] = {
            "auc": roc(compared).auc,
            "eer": crossing(compared),
            "tpr_at": compared.true_positive_rate(FACENET),
            "fpr_at": compared.false_positive_rate(FACENET),
            "tpr": curve.tpr.tolist(),
            "fpr": curve.fpr.tolist(),
        }
    return found


def _table(cells: Sequence[Cell]) -> Table:
    columns = ("data", "recognizer", "photos", "AUC", "AUC, paper", "EER", f"TPR at {FACENET}", f"FPR at {FACENET}")
    rows = []
    for cell in cells:
        for version, found in cell.found.items():
            auc, eer, tpr, fpr = (number(found[name]) for name in ("auc", "eer", "tpr_at", "fpr_at"))
            paper = VERIFICATION.printed.get((version, "AUC"), "")
            rows.append((cell.data, cell.recognizer, version, auc, paper, eer, tpr, fpr))
    return Table(columns, tuple(rows))


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, (cell,) in groups(cells).items():
        curves = {
            f"{version}: AUC {number(found['auc'])}": (found["fpr"], found["tpr"])
            for version, found in cell.found.items()
        }
        what = "verification of listed pairs (ROC), thresholds 0 to 3 in steps of 0.02"
        figures[f"Fig. 9: {what}; {where}"] = plots.curves(curves, "false positive rate", "true positive rate")
    return figures


VERIFICATION = Experiment(
    name="cilloni-verification",
    title="Verification of pairs of photos, clear and cloaked with no selection (Fig. 9)",
    paper=PAPER,
    original="Labeled Faces in the Wild, 3000 pairs of each kind, 96 x 96 pixels; FaceNet with 128 numbers",
    printed={("both cloaked", "AUC"): "as tossing a coin"},
    notes="The paper prints curves, not areas; it cloaks both photos of a pair, or does not say otherwise.",
    findings=(
        "Here one cloaked photo is never matched with a clear one, and two cloaked ones nearly always match: on the "
        "unit sphere they meet on the far side of it."
    ),
    recognizers=("facenet",),
    full=Plan(ListedPairs(), ({"strategy": "none"},)),
    quick=Plan(ListedPairs(10), ({"strategy": "none"},)),
    measure=_measure,
    table=_table,
    figures=_figures,
)
