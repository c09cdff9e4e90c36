"""`faceveil calibrate`: how accurate and how fast the recognizers are, measured on this machine."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Column, Table

from faceveil import datasets, recognizers
from faceveil.cli.report import show_json, watch
from faceveil.datasets import Dataset
from faceveil.errors import SettingError
from faceveil.protocols import calibration
from faceveil.protocols.calibration import Calibration, Speed
from faceveil.recognizers import card as cards
from faceveil.recognizers import store
from faceveil.types import Embeddings

app = typer.Typer()

BATCHES = (1, 16)
ENOUGH = 100_000  # pairs of strangers for a card: ten of them lie below the threshold for 1e-4


@app.command()
def calibrate(
    path: Annotated[Path, typer.Argument(help="Labeled Faces in the Wild: its folders of photos, and pairs.txt.")],
    names: Annotated[list[str] | None, typer.Argument(help="Recognizers (all that are here unless given).")] = None,
    *,
    write: Annotated[bool, typer.Option("--write", help="Put the numbers on the recognizers' cards.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure accuracy, thresholds and speed of recognizers on pairs of photos.

    Accuracy, in percent, is the mean over the folds of pairs.txt and their standard deviation. Below the distance under
    "1e-3" lies one in a thousand pairs of so many strangers; TAR is the percentage of genuine pairs below it. Speed is
    in milliseconds for an image, forward / forward and backward, alone and 16 at a time.

    Example: faceveil calibrate ~/lfw facenet dlib
    """
    dataset = datasets.open(path)
    lists, people = len(dataset.pairs()), len(dataset.identities())
    if lists != 1 or people < 2:
        found = f"{path} holds {lists} lists of pairs and names {people} people"
        raise SettingError(f"{found}; take the folders of LFW, with its pairs.txt")
    chosen = names or [card.name for card in store.here()]
    rows: list[tuple[str, Calibration, list[Speed]]] = []
    try:
        for name in chosen:
            rows.append(_measure(name, dataset, as_json))  # noqa: PERF401 (those before a failure stay)
    finally:  # what was measured is shown, and written, where a later one fails or is stopped
        if as_json:
            show_json([{"name": n, **asdict(c), "speed": list(map(asdict, s))} for n, c, s in rows])
        elif rows:
            for table in (_accuracies(rows), _speeds(rows)):
                Console().print(table)
        for name, measured, _ in rows if write else ():
            _write(name, measured)


def _write(name: str, measured: Calibration) -> None:
    """Puts the numbers on a card; raises `SettingError` where they come from too few strangers for verdicts."""
    if measured.strangers < ENOUGH:
        few = f"{name}: not written, as {measured.strangers} pairs of strangers are too few for its thresholds"
        raise SettingError(f"{few}; take the folders of LFW, or {ENOUGH:,} pairs")
    calibration.write(cards.path(name), measured)


def _measure(name: str, dataset: Dataset, quiet: bool) -> tuple[str, Calibration, list[Speed]]:
    recognizer, found = recognizers.load(name), partial(watch, what=f"{name}: faces", quiet=quiet)
    faces = datasets.prepare(dataset, *recognizer.wanted, track=found)
    (pairs,) = map(faces.compare, dataset.pairs().values())
    with torch.inference_mode():
        embeddings: Embeddings = torch.cat([recognizer(images) for images in faces.batches(16)])
    measured = calibration.calibrate(embeddings, faces.labels, pairs.first, pairs.second, pairs.same, pairs.fold)
    return name, measured, [calibration.speed(recognizer, batch) for batch in BATCHES]


def _accuracies(rows: list[tuple[str, Calibration, list[Speed]]]) -> Table:
    rates = [name.removeprefix("far_") for name in calibration.RATES]
    table = _table("name", "accuracy", "AUC", "TAR", *rates, "strangers")
    for name, measured, _ in rows:
        accuracy = f"{100 * measured.accuracy:.2f}±{100 * measured.accuracy_std:.2f}"
        cells = [f"{distance:.3f}" for distance in measured.thresholds.values()]
        table.add_row(
            name, accuracy, f"{measured.auc:.4f}", f"{100 * measured.tar:.1f}", *cells, str(measured.strangers)
        )
    return table


def _table(*heads: str) -> Table:
    return Table(*(Column(head, no_wrap=True) for head in heads), box=None, collapse_padding=True, pad_edge=False)


def _speeds(rows: list[tuple[str, Calibration, list[Speed]]]) -> Table:
    table = _table("name", *(f"ms of {batch}" for batch in BATCHES))
    for name, _, speeds in rows:
        table.add_row(name, *(f"{speed.forward:.1f}/{speed.both:.1f}" for speed in speeds))
    return table
