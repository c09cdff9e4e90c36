"""`faceveil data`: data sets, prepared once for every measurement."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faceveil import datasets
from faceveil.cli.report import show_json, watch
from faceveil.datasets import Split, catalog
from faceveil.datasets.catalog import Entry
from faceveil.errors import SettingError
from faceveil.files import one_line
from faceveil.recognizers import card

app = typer.Typer(no_args_is_help=True, help="Data sets: photos of people, their faces aligned once and kept.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]
FOLDED = ("pairs", "faces", "path")  # columns that may take more than a line
SHOWN = 10  # photos left out that are named one by one


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The data sets that were prepared.

    Example: faceveil data list
    """
    found, damaged = list(catalog.entries()), catalog.damaged()
    if as_json:
        unread = [{"name": name, "damaged": str(file)} for name, file in damaged.items()]
        show_json([*map(asdict, found), *unread])
        return
    if not found and not damaged:
        typer.echo("no data set so far; prepare one with: faceveil data prepare NAME PATH")
        return
    table = Table(box=None, collapse_padding=True, pad_edge=False)
    for head in ("name", "layout", "photos", "people", "pairs", "faces", "left\nout", "path"):
        table.add_column(head, no_wrap=head not in FOLDED, overflow="fold")
    for entry in found:
        counts = str(entry.photos), str(entry.identities), _counts(entry.pairs, "\n"), _counts(entry.faces, "\n")
        table.add_row(entry.name, entry.layout, *counts, str(len(entry.missing)), escape(entry.path))
    for name, file in damaged.items():
        table.add_row(escape(name), "damaged", *"-----", escape(f"{file}; prepare it again"))
    Console().print(table)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="What to call it from now on.")],
    path: Annotated[Path, typer.Argument(help="The folder, or the .bin pack.")],
    *,
    recognizers: Annotated[list[str] | None, typer.Option("--for", help="A recognizer (again for more).")] = None,
    layout: Annotated[str | None, typer.Option(help=f"One of {', '.join(datasets.LAYOUTS)}.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find and align the faces of a data set; a run that was stopped goes on where it stood.

    The layout is recognized: a folder per person (FaceScrub, PubFig83, VGGFace2), LFW with its pairs.txt, CFP, a .bin
    pack (AgeDB-30, CFP-FP, LFW), a folder of distractors (MegaFace). Photos without a face are listed.

    Example: faceveil data prepare lfw ~/lfw --for dlib --for facenet
    """
    catalog.check(name)
    dataset = datasets.open(path, layout)
    older = catalog.find(name)
    if older and older.path != str(dataset.path.resolve()) and not force:
        raise SettingError(f"{name} is the data set in {older.path}; choose another name, or use --force")
    if next(iter(dataset), None) is None:
        raise SettingError(f"{path} holds no photo; give a folder of photos, or a .bin pack")
    inputs = [card.read(recognizer).input for recognizer in recognizers or ["dlib"]]
    faces = {}
    for template, size in dict.fromkeys((given.template, (given.height, given.width)) for given in inputs):
        label = f"{template}-{size[0]}x{size[1]}"
        found = partial(watch, what=f"{name} {label}", quiet=as_json)
        faces[label] = datasets.prepare(dataset, template, size, track=found)
    entry = catalog.describe(name, dataset, faces)
    entry.save()
    if as_json:
        show_json(asdict(entry))
    else:
        typer.echo(_summary(entry))


@app.command()
def split(
    where: Annotated[str, typer.Argument(metavar="NAME", help="A prepared data set, or a path.")],
    out: Annotated[Path, typer.Argument(help="The file to write, or - for standard output.")],
    *,
    protected: Annotated[int, typer.Option(help="People who are cloaked.")] = 0,
    gallery: Annotated[int, typer.Option(help="People whom a recognizer knows besides.")] = 0,
    targets: Annotated[int, typer.Option(help="People whom cloaks imitate.")] = 0,
    distractors: Annotated[int, typer.Option(help="People who are nobody's match.")] = 0,
    at_least: Annotated[int, typer.Option(help="Only people with this many photos.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    force: Force = False,
) -> None:
    """Draw people for the parts of an experiment, and write who plays which.

    Example: faceveil data split lfw people.json --protected 20 --targets 10 --at-least 2
    """
    people = [name for name, photos in datasets.open(where).identities().items() if photos >= at_least]
    counts = {"protected": protected, "gallery": gallery, "targets": targets, "distractors": distractors}
    drawn = Split.draw(people, counts, seed)
    if str(out) == "-":
        typer.echo(drawn.text(), nl=False)
    else:
        drawn.write(out, force=force)


def _counts(table: dict[str, int], between: str = ", ") -> str:
    return between.join(f"{name} {count}" for name, count in table.items()) or "-"


def _summary(entry: Entry) -> str:
    lines = [
        f"{entry.name}: {entry.photos} photos of {entry.identities} people, pairs {_counts(entry.pairs)}",
        f"faces: {_counts(entry.faces)}",
        *(f"left out: {one_line(photo)}: {one_line(reason)}" for photo, reason in list(entry.missing.items())[:SHOWN]),
    ]
    if len(entry.missing) > SHOWN:
        lines.append(f"left out: {len(entry.missing) - SHOWN} more; see: faceveil data list --json")
    return "\n".join(lines)
