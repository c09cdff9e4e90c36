"""Which recognizers a cloud fools that learned on others (Table 3)."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from faceveil.bench import plots
from faceveil.bench.apf import PAPER, PROBE
from faceveil.bench.apf.stages import Genuine, Stages, noise
from faceveil.bench.apf.tables import SCHOOL, TINY, TWO_CORES
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, percent
from faceveil.bench.material import Material, People

RAW = "raw"  # the paper's name for the probe's gradient alone


def _measure(material: Material, settings: Settings) -> Found:
    """Each judge's success rates: for the probe's gradient, and for what the cloud makes of it."""
    stages, same = Stages(material, settings), material.pairs.same
    enrolled, rows = material.pairs.first[same], material.pairs.second[same]
    gradient = stages.gradient((stages.probe,), rows, enrolled)
    cloud = stages.clouds(enhanced=True)[-1]
    added = {RAW: gradient, "s": noise(cloud, gradient)}
    return {name: stages.success(stages.add(each, rows), rows, enrolled) for name, each in added.items()}


def _rows(cells: Sequence[Cell]) -> list[tuple[str, str, dict[str, float]]]:
    """Data, what the cloud learned on, and the rates; the probe alone once for each data set."""
    alone = {cell.data: (cell.data, RAW, cell.found[RAW]) for cell in cells}
    learned = [(cell.data, "+".join(cell.recognizer.split("+")[1:]) or PROBE, cell.found["s"]) for cell in cells]
    return [*alone.values(), *learned]


def _table(cells: Sequence[Cell]) -> Table:
    judges = list(cells[0].found["s"])
    columns = ("data", "learned on", *judges, "average", "average, paper")
    rows = [
        (
            data,
            name,
            *(percent(rates[judge]) for judge in judges),
            percent(sum(rates.values()) / len(rates)),
            TRANSFER.printed.get((name, "average"), ""),
        )
        for data, name, rates in _rows(cells)
    ]
    return Table(columns, tuple(rows))


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for data in dict.fromkeys(cell.data for cell in cells):
        series = {name: list(rates.values()) for own, name, rates in _rows(cells) if own == data}
        places = list(cells[0].found["s"])
        figures[f"Table 3: attack success rates by who judges; {data}"] = plots.bars(
            places, series, "judge", "attack success rate"
        )
    return figures


TRANSFER = Experiment(
    name="apf-transfer",
    title="APF against recognizers that its cloud did not learn on: attack success rates in percent (Table 3)",
    paper=PAPER,
    original="LFW, the probe's gradient by DI2-FGSM; FaceNet, SphereFace and ArcFace",
    printed={
        (RAW, "average"): "75.1",
        ("facenet", "average"): "89.6",
        ("mobilenetv1-vggface2", "average"): "91.1 (SphereFace)",
        ("mobilefacenet-espdl", "average"): "88.5 (ArcFace)",
        ("facenet+mobilenetv1-vggface2", "average"): "91.7 (FaceNet, SphereFace)",
    },
    notes=(
        "Raw: the probe's gradient alone. Other recognizers stand in for two of the paper's: one trained on VGGFace2 "
        "for SphereFace, a MobileFaceNet for ArcFace. Where a judge is among those that the cloud learned on, it is no "
        "black box. Clouds and attacks are as small as in apf-tables; here T and E learn by Eq. 9 alone, in 4 epochs."
    ),
    findings=(
        "On LFW a cloud helps, as in the paper, against those that it did not learn on, too; by less, and two servers "
        "are no better than one, likely for how little it learned. The 25 pairs of pins tell no difference: what is "
        "still matched there stays so."
    ),
    recognizers=(
        f"{PROBE}+facenet",
        f"{PROBE}+mobilenetv1-vggface2",
        f"{PROBE}+mobilefacenet-espdl",
        f"{PROBE}+facenet+mobilenetv1-vggface2",
    ),
    full=Plan(Genuine(100), ({"attack": "di2", **TWO_CORES},), SCHOOL),
    quick=Plan(Genuine(4), ({"attack": "di2", **TINY},), People(3, 3)),
    measure=_measure,
    table=_table,
    figures=_figures,
    judges=("facenet", "mobilenetv1-vggface2", "mobilefacenet-espdl"),
)
