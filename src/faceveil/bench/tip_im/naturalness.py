"""What does it cost to look natural? (Yang et al., 2021, 5.3.)"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Plan, Settings, Table, groups, number
from faceveil.bench.material import Crowd
from faceveil.bench.tip_im import PAPER
from faceveil.bench.tip_im.black_box import BLACK_BOX, OTHERS, PAPERS, others_mean
from faceveil.bench.tip_im.gallery import PEOPLE, TARGETS, measure

GAMMAS = (0.0, 1.0, 2.0, 3.0, 10.0)  # the paper tries 0 to 3
PROBES = 30
BATCH = 50  # the MMD of a batch of photos that are unlike each other is that of single photos divided by their number


def _settings(probes: int, targets: int, gammas: Sequence[float]) -> tuple[Settings, ...]:
    return tuple({"method": "TIP-IM", "gamma": gamma, "probes": probes, "targets": targets} for gamma in gammas)


def _table(cells: Sequence[Cell]) -> Table:
    columns = (
        *("data", "surrogate", "gamma", "PSNR", "PSNR, paper", "SSIM", "SSIM, paper", "MMD", "MMD, paper"),
        *("R1-T, white-box", f"R1-T, {OTHERS}", f"R1-UT, {OTHERS}"),
    )
    return Table(columns, tuple(map(_row, cells)))


def _row(cell: Cell) -> tuple[str, ...]:
    gamma, found = float(cell.settings["gamma"]), cell.found["quality"]
    psnr, ssim, mmd = (found[name]["mean"] for name in ("psnr", "ssim", "mmd"))
    paper = [
        NATURALNESS.printed.get((f"{PAPERS.get(cell.recognizer)} {gamma:g}", name), "")
        for name in ("PSNR", "SSIM", "MMD")
    ]
    own = cell.found["judges"].get(cell.recognizer, {}).get("R1-T")
    shares = [number(share, 2) for share in (own, others_mean(cell, "R1-T"), others_mean(cell, "R1-UT"))]
    measured = number(psnr, 2), number(ssim, 4), number(mmd / BATCH, 4)
    pairs = [text for pair in zip(measured, paper, strict=True) for text in pair]
    return cell.data, cell.recognizer, f"{gamma:g}", *pairs, *shares


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, group in groups(cells).items():
        gammas = [float(cell.settings["gamma"]) for cell in group]
        curves = {
            f"R1-T, {judge}": (gammas, [cell.found["judges"][judge]["R1-T"] for cell in group])
            for judge in group[0].found["judges"]
        }
        curves["SSIM"] = gammas, [cell.found["quality"]["ssim"]["mean"] for cell in group]
        what = "Rank-1-T of each judge, and mean SSIM, by the weight of naturalness"
        figures[f"Fig. 5: {what}; {where}"] = plots.lines(
            curves, "gamma", "share of probes; SSIM", top=1.0, ticks=gammas
        )
    return figures


NATURALNESS = Experiment(
    name="tip-im-naturalness",
    title="How natural cloaks look by the weight of naturalness, and what that costs (Table 5, Fig. 5)",
    paper=PAPER,
    original=f"{BLACK_BOX.original}; gamma 0 to 3",
    printed={
        ("ArcFace 0", "PSNR"): "25.26",
        ("ArcFace 1", "PSNR"): "25.59",
        ("ArcFace 2", "PSNR"): "26.08",
        ("ArcFace 3", "PSNR"): "27.63",
        ("ArcFace 0", "SSIM"): "0.6520",
        ("ArcFace 1", "SSIM"): "0.6690",
        ("ArcFace 2", "SSIM"): "0.6986",
        ("ArcFace 3", "SSIM"): "0.7817",
        ("ArcFace 0", "MMD"): "0.7567",
        ("ArcFace 1", "MMD"): "0.7562",
        ("ArcFace 2", "MMD"): "0.7554",
        ("ArcFace 3", "MMD"): "0.7518",
        ("MobileFace 0", "PSNR"): "25.24",
        ("MobileFace 1", "PSNR"): "25.18",
        ("MobileFace 2", "PSNR"): "25.72",
        ("MobileFace 3", "PSNR"): "27.19",
        ("MobileFace 0", "SSIM"): "0.6490",
        ("MobileFace 1", "SSIM"): "0.6523",
        ("MobileFace 2", "SSIM"): "0.6828",
        ("MobileFace 3", "SSIM"): "0.7533",
        ("MobileFace 0", "MMD"): "0.7567",
        ("MobileFace 1", "MMD"): "0.7568",
        ("MobileFace 2", "MMD"): "0.7559",
        ("MobileFace 3", "MMD"): "0.7525",
        ("ResNet50 0", "PSNR"): "25.14",
        ("ResNet50 1", "PSNR"): "25.26",
        ("ResNet50 2", "PSNR"): "25.74",
        ("ResNet50 3", "PSNR"): "27.21",
        ("ResNet50 0", "SSIM"): "0.6507",
        ("ResNet50 1", "SSIM"): "0.6595",
        ("ResNet50 2", "SSIM"): "0.6897",
        ("ResNet50 3", "SSIM"): "0.760",
        ("ResNet50 0", "MMD"): "0.7570",
        ("ResNet50 1", "MMD"): "0.7567",
        ("ResNet50 2", "MMD"): "0.7558",
        ("ResNet50 3", "MMD"): "0.7525",
    },
    notes=(
        "MMD is that of single photos divided by 50, the batch that the paper's numbers fit: of photos that are unlike "
        "each other, a batch of n has an n-th of it."
    ),
    recognizers=BLACK_BOX.recognizers,
    full=Plan(Crowd(PROBES + TARGETS, PEOPLE - PROBES - TARGETS), _settings(PROBES, TARGETS, GAMMAS)),
    quick=Plan(Crowd(6, 20), _settings(3, 3, (0.0, 3.0))),
    measure=measure,
    table=_table,
    figures=_figures,
    judges=BLACK_BOX.judges,
)
