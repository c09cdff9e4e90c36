"""`faceveil harden`: a recognizer that cloaks work less against."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from faceveil import cache, datasets, recognizers
from faceveil.cli.report import show_json, tell_missing, watch
from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.hardening import VOS, Course, Obfuscator, harden
from faceveil.recognizers import Card, Recognizer, store
from faceveil.recognizers import card as cards
from faceveil.training import Engine

app = typer.Typer()


@app.command("harden")
def harden_(
    recognizer: Annotated[str, typer.Argument(help="The recognizer to start from.")],
    *,
    data: Annotated[str, typer.Option(help="A data set of people: PATH, or the name of one prepared.")],
    obfuscator: Annotated[
        list[str], typer.Option(help="A method that cloaks the photos, as of protect --method (may be repeated).")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call the new recognizer.", show_default="RECOGNIZER-hardened")
    ] = None,
    epochs: Annotated[int, typer.Option(help="How often each photo is seen.")] = VOS.epochs,
    batch: Annotated[int, typer.Option(help="Photos in a batch.")] = VOS.batch,
    rate: Annotated[float, typer.Option("--lr", help="Adam's learning rate.")] = VOS.rate,
    head: Annotated[str, typer.Option(help="linear, arcface, cosface, sphereface or triplet.")] = VOS.head,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Cloak anew in each epoch, against what was learned so far; slow.")
    ] = False,
    anchor: Annotated[
        float, typer.Option(help="Keep to what the recognizer knew of clear photos, by so much (such as 10).")
    ] = VOS.anchor,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            help="Cloak against this recognizer, too (may be repeated).", show_default="the one to start from"
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="The share of people whom thresholds are measured on.")
    ] = VOS.held_out,
    seed: Annotated[int, typer.Option(help="Another seed, another order and other people held out.")] = VOS.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or, on a GPU, 16-mixed.")] = "32-true",
    force: Annotated[bool, typer.Option("--force", help="Replace a recognizer of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a recognizer on photos and on their cloaked twins (Vos, 2023), and keep it under a name of its own.

    The new recognizer is then here like any other: it judges what protect and check do, or is a surrogate. Its
    thresholds come from the people held out; where it hardly tells them apart, or they are few, protect leaves it out
    until `faceveil calibrate LFW NAME --write` has measured better ones. A run that was stopped goes on where it
    stood; on several devices: torchrun --nproc-per-node 4 -m faceveil harden ...

    Example: faceveil harden mobilefacenet-foamliu --data ~/facescrub --obfuscator advfaces
    """
    base = cards.read(recognizer)
    course = Course(epochs, batch, rate, head, fresh, anchor=anchor, held_out=held_out, seed=seed)
    start = Recognizer(base, store.network(base))
    beside = [recognizers.load(each) for each in surrogate or []]
    methods = [Obfuscator(each) for each in obfuscator]
    learn(
        start,
        name or f"{recognizer}-hardened",
        data,
        methods,
        beside,
        course,
        Engine(device, precision),
        force,
        as_json,
    )


def learn(
    start: Recognizer,
    name: str,
    data: str,
    obfuscators: Sequence[Obfuscator],
    beside: Sequence[Recognizer],
    course: Course,
    engine: Engine,
    force: bool,
    as_json: bool,
) -> None:
    """Trains a recognizer, keeps it in the store under a name, and says what it is; a stopped run goes on."""
    cards.check(name)
    if name in cards.names() and not force:
        raise SettingError(f"there is a recognizer {name}; choose another name, or replace it with --force")
    first = os.environ.get("RANK", "0") == "0"
    device, folder = choose(engine.device), cache.folder() / "training" / name
    watched = partial(watch, quiet=as_json or not first)
    found = partial(watched, what="faces")
    faces = datasets.prepare(datasets.open(data), *start.wanted, track=found)
    tell_missing(faces)
    surrogates = [each.to(device) for each in (start, *beside)]
    with _alone(folder) if first else nullcontext():
        done = harden(
            start, faces, obfuscators, folder, course, name=name, surrogates=surrogates, engine=engine, track=watched
        )
        if not first:
            return
        about = {"data": data, "people": done.people, "course": vars(course), "epochs": done.history}
        kept = store.keep(done.recognizer.card, done.recognizer.network, about)
        shutil.rmtree(folder)
    if as_json:
        told = {"trained_on": kept.trained_on, "thresholds": kept.thresholds, **kept.measured}
        show_json({"name": name, **told, **about})
    else:
        typer.echo(f"{name}: {_losses(done.history)}; {kept.trained_on}; {_threshold(kept)}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps another run of that name out, whose checkpoints would be taken for those of this one."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise SettingError(f"another faceveil is training {folder.name}; wait, or choose another name") from error
    except OSError as error:
        found = f"{folder.parent} cannot be written ({error.strerror})"
        raise SettingError(f"{found}; make room, or name another place with FACEVEIL_CACHE") from error
    try:
        yield
    finally:
        lock.release()


def _losses(history: Sequence[dict[str, float]]) -> str:
    ends = (history[0], history[-1]) if len(history) > 1 else history
    told = (f"{name} {' -> '.join(f'{_loss(end[name])}' for end in ends)}" for name in history[-1])
    return f"loss {', '.join(told)}"


def _loss(value: float) -> str:
    return f"{value:.3f}" if value < 1e4 else f"{value:.3g}"


def _threshold(card: Card) -> str:
    """Where it takes two photos for one person, and how to measure that where it was done badly, or not at all."""
    better = f"measure it: faceveil calibrate LFW {card.name} --write"
    if not card.thresholds:
        told = "no threshold, so that protect leaves it out: nobody was held out, or it hardly tells them apart"
        return f"{told}; train with more photos or --epochs or, where losses rise, a lower --lr; or {better}"
    told, strangers = f"same person below {card.threshold:.3f}", int(card.measured["strangers"])
    if strangers < cards.FEW:
        few = f"the nearest of only {strangers} pairs of strangers, so that protect leaves it out"
        return f"{told}, {few}; {better}"
    return f"{told} (one false match in 1,000, of {strangers} pairs of strangers)"
