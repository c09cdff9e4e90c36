"""Makes docs/results.md: every table measured here beside the published one, and the plots.

    python experiments/results.py [RUN ...]

Each RUN is the folder of a finished report (`faceveil bench EXPERIMENT --output RUN`). What its cells found is kept in
docs/results/, named as the folder is; all of it is put on the page, in the order in which `faceveil bench` lists the
experiments. Without a RUN the page is made again of what is kept.
"""

import json
import os
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from faceveil.bench import EXPERIMENTS, Run, report
from faceveil.bench.base import Settings

ROOT = Path(__file__).parents[1]
PAGE, KEPT = ROOT / "docs/results.md", ROOT / "docs/results"
HEAD = """# Results

The tables and figures of the papers, measured again with `faceveil bench` on the photos and recognizers that we have,
beside what the papers print. The papers' own data and weights are mostly not at hand: each caption says what was used
instead, and what differs in kind, with the likely cause. Each command measures its section again, on the original where
you have it; [data sets](cli.md#faceveil-data) and [recognizers](cli.md#faceveil-weights) are yours to bring.

Made by `make results` of [what the cells found](results/); not written by hand.
"""


def keep(folder: Path) -> None:
    """Copies a report's cells, with the data sets' paths as seen from the project; a quick version is left out."""
    told = json.loads((folder / "cells.json").read_text("utf-8"))
    if told["quick"]:
        return
    for used in told["data"].values():
        used["path"] = os.path.relpath(used["path"], ROOT)
    told["command"] = report.command(report.load(told, EXPERIMENTS[told["experiment"]]))
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{folder.name}.json").write_text(json.dumps(told, separators=(",", ":")) + "\n", "utf-8")


def runs() -> Iterator[tuple[str, Run]]:
    """What is kept, by its name: the experiments in their order, several runs of one by their names."""
    told = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(KEPT.glob("*.json"))}
    for name, experiment in EXPERIMENTS.items():
        for run, each in told.items():
            if each["experiment"] == name:
                yield run, report.load(each, experiment)


def page() -> str:
    """The page's text."""
    sections = [_section(name, run) for name, run in runs()]
    return "\n".join([HEAD, *sections])


def _section(name: str, run: Run) -> str:
    pictures = (
        f"![{about}](results/{name}-{number}.png)\n\n*{about}*\n"
        for number, about in enumerate(run.experiment.figures(run.cells), 1)
    )
    title = f"## {run.experiment.name}\n\n{run.experiment.paper}\n"
    told = f"\n**Found:** {run.experiment.findings}\n" if run.experiment.findings else ""
    return "\n".join(
        [title, report.text(run) + told + _missing(run), f"```console\n{report.command(run)}\n```\n", *pictures]
    )


def _missing(run: Run) -> str:
    """Says which settings of the experiment were not measured, on however many probes."""
    measured = {_kind(cell.settings) for cell in run.cells}
    wanted = dict.fromkeys(map(_kind, run.experiment.full.settings))
    left = [each for each in wanted if each not in measured]
    return f"\nNot measured yet: {'; '.join(left)}.\n" if left else ""


def _kind(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name != "probes")


def draw(name: str, run: Run) -> None:
    """Its plots, in few colors, so that they are small."""
    for number, figure in enumerate(run.experiment.figures(run.cells).values(), 1):
        picture = Image.open(BytesIO(report.png(figure))).convert("RGB").quantize(32, dither=Image.Dither.NONE)
        picture.save(KEPT / f"{name}-{number}.png", optimize=True)


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        keep(folder)
    for old in KEPT.glob("*.png"):
        old.unlink()
    for each in runs():
        draw(*each)
    PAGE.write_text(page(), "utf-8")
