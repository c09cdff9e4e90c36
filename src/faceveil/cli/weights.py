"""`faceveil weights`: the recognizers' weights on this machine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from faceveil import weights
from faceveil.cli.report import show_json
from faceveil.errors import SettingError, WeightsError
from faceveil.recognizers import card as cards
from faceveil.recognizers import store
from faceveil.recognizers.card import Card

app = typer.Typer(no_args_is_help=True, help="The recognizers' weights: what is here, what can be had, is it intact.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UNTESTED = "untested with real weights here"


@app.command("list")
def list_(
    as_json: Json = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table in Markdown, with more numbers.")
    ] = False,
) -> None:
    """Every recognizer: are its weights here, how large are they, under which licence, how accurate on LFW.

    Example: faceveil weights list
    """
    known, damaged = cards.read_all()
    if as_json:
        show_json([*map(_row, known), *({"name": name, "damaged": fault} for name, fault in damaged.items())])
        return
    if as_markdown:
        typer.echo("\n".join(_markdown(known)))
        return
    table = Table(Column("name", no_wrap=True), "here", Column("MB", justify="right"), "licence", "LFW, %", box=None)
    for card in known:
        here, megabytes = store.installed(card) or "-", f"{store.size(card) / 1e6:.1f}"
        accuracy = _accuracy(card).removesuffix(" %") if "accuracy" in card.measured else "untested"
        table.add_row(card.name, here, megabytes, _short(card.licence), accuracy)
    for name in damaged:
        table.add_row(name, "damaged", *"---")
    Console().print(table)
    typer.echo(f"LFW: measured, or {UNTESTED}; more: --json, --markdown")


@app.command()
def pull(names: Annotated[list[str], typer.Argument(help="Recognizers, as in the list.")]) -> None:
    """Fetch weights from their public source, or from the folder that FACEVEIL_MIRROR names, and check their hash.

    A download that broke off goes on where it stopped.

    Example: faceveil weights pull facenet
    """
    for card in map(cards.read, names):
        _pull(card)
        typer.echo(f"{card.name}: {store.installed(card)}")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The recognizer, as in the list; with --like a new name.")],
    file: Annotated[Path, typer.Argument(help="The official file: safetensors, PyTorch, MXNet, Torch7 or NumPy.")],
    like: Annotated[
        str | None,
        typer.Option(help="The file holds weights of your own for the network of this recognizer.", show_default=False),
    ] = None,
) -> None:
    """Convert an official file that you have, and record its hash; nothing in it is executed.

    With --like, weights that you trained, or got from somebody who did, become a recognizer under a name of their own;
    `faceveil calibrate LFW NAME --write` gives it a threshold. For networks of another kind see README, Your own
    recognizer.

    Example: faceveil weights add arcface-irse50 model_ir_se50.pth

    Example: faceveil weights add mine fine-tuned.safetensors --like mobilefacenet-foamliu
    """
    if like:
        store.adopt(name, file, cards.read(like))
        typer.echo(f"{name}: added, like {like}; give it a threshold: faceveil calibrate LFW {name} --write")
        return
    record = store.add(cards.read(name), file)
    typer.echo(f"{name}: added, sha256 {weights.digest(file)}, kept as {record.file}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Recognizers (all that are here unless given).")] = None,
    as_json: Json = False,
) -> None:
    """Check the hash of weights and that they fit their network; exits with 1 where one does not.

    Example: faceveil weights verify
    """
    chosen, damaged = (map(cards.read, names), {}) if names else (store.here(), cards.read_all()[1])
    found = {card.name: _fault(card) for card in chosen} | damaged
    if as_json:
        show_json(found)
    else:
        for name, fault in found.items():
            typer.echo(f"{name}: {fault or 'intact'}")
    if any(found.values()):
        raise typer.Exit(1)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Recognizers, as in the list.")],
    force: Annotated[bool, typer.Option("--force", help="Also what cannot be pulled again.")] = False,
) -> None:
    """Remove weights from the cache; those that were trained here, or added, cannot be pulled again.

    Recognizers that come with a package, or lie where FACEVEIL_MIRROR says, stay.

    Example: faceveil weights remove facenet

    Example: faceveil weights remove mobilefacenet-foamliu-hardened --force
    """
    for name in names:
        cards.path(name)
        if not force and not _comes_back(name):
            raise SettingError(f"{name} cannot be pulled again; to remove it nevertheless, add --force")
    for name in names:
        store.remove(name)
        typer.echo(f"{name}: removed")


def _comes_back(name: str) -> bool:
    """Whether `pull` can bring a recognizer's weights; never those of a damaged card."""
    try:
        return store.to_be_had(cards.read(name))
    except WeightsError:
        return False


def _row(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "installed": store.installed(card),
        "bytes": store.size(card),
        "licence": card.licence,
        "trained_on": card.trained_on,
        "accuracy": card.measured.get("accuracy"),
        "page": card.sources[0].page,
    }


def _short(licence: str) -> str:
    """A licence's name; "..." stands for conditions and remarks, of which --json tells."""
    name = re.split(r" \(| there;", licence)[0]
    return name if name == licence else f"{name} ..."


def _accuracy(card: Card) -> str:
    if "accuracy" not in card.measured:
        return UNTESTED
    return f"{100 * card.measured['accuracy']:.2f} ± {100 * card.measured['accuracy_std']:.2f} %"


def _markdown(known: list[Card]) -> Iterator[str]:
    """The lines of a table; at the distance in the last column but one, one pair of strangers in 1,000 is accepted."""
    yield "| recognizer | input | trained on | licence | LFW published | LFW measured | AUC | FAR 1e-3 at | TAR there |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for card in known:
        published = f"{100 * card.published_accuracy:.2f} %" if card.published_accuracy else "-"
        numbers = ["-"] * 3
        if "accuracy" in card.measured:
            auc, tar = card.measured["auc"], card.measured["tar"]
            numbers = [f"{auc:.4f}", f"{card.thresholds['far_1e-3']:.3f}", f"{100 * tar:.1f} %"]
        size = f"{card.input.height} x {card.input.width}"
        about = [f"`{card.name}`", size, card.trained_on, card.licence, published, _accuracy(card)]
        yield f"| {' | '.join(about + numbers)} |"


def _fault(card: Card) -> str:
    try:
        store.network(card)
    except WeightsError as error:
        return str(error)
    return ""


def _pull(card: Card) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(card.name, total=None)

        def watch(which: str, done: int, total: int) -> None:
            shown.update(task, description=f"{card.name}, file {which}", completed=done, total=total or None)

        store.pull(card, watch)
