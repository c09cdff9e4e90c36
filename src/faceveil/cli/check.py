"""`faceveil check`: what a tracker who has other photos of the person would measure."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faceveil.cli.report import FAILED, fail, show_json

if TYPE_CHECKING:
    from faceveil.checking import Check

app = typer.Typer()


@app.command()
def check(
    cloaked: Annotated[Path, typer.Argument(help="A cloaked photo; its largest face is measured.", show_default=False)],
    against: Annotated[
        list[Path], typer.Option(help="Clear photos of the same person, or a folder of them.", show_default=False)
    ],
    gallery: Annotated[
        Path | None,
        typer.Option(help="Other people: a folder for each, or one folder of photos.", show_default=False),
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="Measure with this recognizer (may be repeated).", show_default="dlib")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False,
) -> None:
    """Measure a cloaked photo against *other*, clear photos of the person, and the person's rank in a gallery.

    Exit code 1: the cloaked face is taken for the same person in at least one of the photos.

    Example:

        faceveil check me-cloaked.jpg --against my-other-photos/ --gallery friends/
    """
    from faceveil import checking, recognizers
    from faceveil.device import choose
    from faceveil.faces.detect import Detector
    from faceveil.jobs import photos_in
    from faceveil.photo import Photo

    on = choose(device)
    judges = [recognizers.load(name, on) for name in judge or ["dlib"]]
    own = [photo for path in against for photo in photos_in(path)]
    people: dict[str, list[Path]] = {}
    for photo in photos_in(gallery) if gallery else ():
        people.setdefault(photo.stem if photo.parent == gallery else str(photo.parent), []).append(photo)
    found = checking.check(Detector(on), judges, Photo.open(cloaked), own, people)
    for reason in found.left_out:
        fail(reason)
    if as_json:
        show_json(_report(cloaked, found))
    else:
        _show(cloaked, found)
    if any(finding.matched for finding in found.findings):
        raise typer.Exit(FAILED)


def _show(cloaked: Path, found: "Check") -> None:
    columns = ["recognizer", "file", "nearest", "median", "same below", "matched in"]
    table = Table(*columns, *(["rank"] if found.people else []), title=escape(str(cloaked)), box=box.SIMPLE)
    for finding in found.findings:
        numbers = min(finding.distances), median(finding.distances), finding.threshold
        color = "red" if finding.matched else "green"
        matched = f"[{color}]{finding.matched} of {len(finding.distances)} photos[/]"
        rank = [f"{finding.rank} of {found.people + 1} people"] if found.people else []
        table.add_row(finding.recognizer, finding.treatment, *(f"{d:.2f}" for d in numbers), matched, *rank)
    Console().print(table)
    most = max(finding.matched for finding in found.findings)
    if most:
        print(f"verdict: RECOGNIZED in up to {most} of {len(found.photos)} clear photos")
    else:
        print(f"verdict: not recognized in any of {len(found.photos)} clear photos, by these recognizers")


def _report(cloaked: Path, found: "Check") -> dict[str, object]:
    findings = [vars(finding) | {"matched": finding.matched} for finding in found.findings]
    return {"cloaked": cloaked, "against": found.photos, "people": found.people, "findings": findings}
