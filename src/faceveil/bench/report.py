"""The report of a run: a page, a table, plots, and everything for machines."""

import base64
import csv
import html
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from io import BytesIO, StringIO
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from faceveil.bench.base import OURS, Cell, Experiment, Table
from faceveil.bench.running import Run, Used
from faceveil.files import publish

_CODE = re.compile("`(.+?)`")
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
h1 { line-height: 1.2; text-wrap: balance }
p, figcaption, summary { max-width: 50em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #8886; padding: .2em .7em; text-align: left; vertical-align: bottom }
td { white-space: nowrap }
tr:hover td { background: #8882 }
div { overflow-x: auto }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
img { max-width: 100%; background: white }
figure { margin: 2em 0 }
figcaption { color: #777 }
summary { cursor: pointer; font-weight: bold }
"""


def write(run: Run, folder: Path) -> None:
    """Writes index.html, table.md, table.csv, cells.json and plots into a folder, in place of an earlier run's."""
    table = run.experiment.table(run.cells)
    pictures = {caption: png(figure) for caption, figure in run.experiment.figures(run.cells).items()}
    files = {
        "index.html": _page(run, table, pictures).encode(),
        "table.md": text(run).encode(),
        "table.csv": _csv(table).encode(),
        "cells.json": json.dumps(record(run), indent=1).encode(),
    }
    files |= {f"plot-{number}.png": picture for number, picture in enumerate(pictures.values(), 1)}
    for name, data in files.items():
        publish(data, folder / name, force=True)
    for older in folder.iterdir():
        if re.fullmatch(r"plot-\d+\.png", older.name) and older.name not in files:
            older.unlink()


def text(run: Run) -> str:
    """The title, the table and its caption, in Markdown."""
    return f"{run.experiment.title}\n\n{_markdown(run.experiment.table(run.cells))}\n\n{caption(run)}\n"


def caption(run: Run) -> str:
    """On what it was measured, by which command, and on what the paper measured it."""
    used = (
        f"{name} ({used.people} people, {used.photos} photos, {used.missing} more without a face that was found)"
        for name, used in run.data.items()
    )
    judged = f", judged by {', '.join(run.judges)}" if run.judges else ""
    what = f"{'A quick version, measured' if run.quick else 'Measured'} on {' and '.join(used)}"
    where = f"{what} with {', '.join(_makers(run))}{judged}; seed {run.seed}, {run.date}"
    whose = "In full" if run.experiment.paper == OURS else "The paper's"
    return f"{where}. {whose}: {run.experiment.original}. {run.experiment.notes}".rstrip()


def command(run: Run) -> str:
    """What to type to measure it again."""
    names = dict.fromkeys(cell.data for cell in run.cells)
    words = ["faceveil", "bench", run.experiment.name]
    words += chain.from_iterable(("--data", f"{name}={run.data[name].path}") for name in names)
    if tuple(_makers(run)) != run.experiment.recognizers:
        words += ["--recognizers", ",".join(_makers(run))]
    if run.judges != run.experiment.judges:
        words += ["--judges", ",".join(run.judges)]
    if run.experiment.at_most:
        words += ["--at-most", str(run.experiment.at_most)]
    words += ["--quick"] * run.quick + ["--seed", str(run.seed)] * bool(run.seed)
    return shlex.join(words)


def _makers(run: Run) -> list[str]:
    return list(dict.fromkeys(cell.recognizer for cell in run.cells))


def record(run: Run) -> dict[str, object]:
    """The run for machines: its settings, all hashes and versions, and its cells."""
    return {
        "experiment": run.experiment.name,
        "paper": run.experiment.paper,
        "quick": run.quick,
        "at_most": run.experiment.at_most,
        "seed": run.seed,
        "data": {name: asdict(used) for name, used in run.data.items()},
        "judges": run.judges,
        "weights": run.weights,
        "versions": run.versions,
        "date": run.date,
        "command": command(run),
        "seconds": round(sum(cell.seconds for cell in run.cells), 1),
        "cells": [asdict(cell) for cell in run.cells],
    }


def load(told: Mapping[str, Any], experiment: Experiment) -> Run:
    """The run of an experiment that `record` wrote; cells that do not tell their day and versions have the run's."""
    common = {"date": told["date"], "versions": told["versions"]}
    return Run(
        experiment=replace(experiment, at_most=told.get("at_most")),
        quick=told["quick"],
        seed=told["seed"],
        data={name: Used(**used) for name, used in told["data"].items()},
        judges=tuple(told["judges"]),
        weights=told["weights"],
        cells=tuple(Cell(**common | cell) for cell in told["cells"]),
    )


def png(figure: Figure) -> bytes:
    """A figure as it stands in reports."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _markdown(table: Table) -> str:
    """A table whose columns stand below each other in plain text, too."""
    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    lines = [table.columns, tuple("-" * width for width in widths), *table.rows]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def _csv(table: Table) -> str:
    stream = StringIO()
    csv.writer(stream).writerows([table.columns, *table.rows])
    return stream.getvalue()


def _page(run: Run, table: Table, pictures: Mapping[str, bytes]) -> str:
    title, facts = html.escape(run.experiment.title), record(run)
    measured = _CODE.sub(r"<code>\1</code>", html.escape(caption(run)))
    shown = {
        key: facts[key] for key in ("experiment", "quick", "seed", "data", "judges", "weights", "versions", "seconds")
    }
    figures = (
        f'<figure><img alt="{html.escape(about)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        f"<figcaption>{html.escape(about)}</figcaption></figure>"
        for about, picture in pictures.items()
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<p>{html.escape(run.experiment.paper)}</p>
<p>{measured}</p>
<pre>{html.escape(command(run))}</pre>
<div><table>{_row("th", table.columns)}{"".join(_row("td", row) for row in table.rows)}</table></div>
{"".join(figures)}
<details><summary>Data, weights and versions</summary><pre>{html.escape(json.dumps(shown, indent=1))}</pre></details>
</html>
"""


def _row(tag: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in texts)}</tr>"
