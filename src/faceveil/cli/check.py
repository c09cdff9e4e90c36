"""`faceveil check`: what a tracker who has other photos of the person would measure."""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faceveil.cli.report import FAILED, fail, show_json
from faceveil.errors import SettingError, WeightsError
from faceveil.files import first, one_line

if TYPE_CHECKING:
    import torch

    from faceveil.checking import Check
    from faceveil.programs import Opinions
    from faceveil.recognizers import Recognizer

app = typer.Typer()

ALONE = "only dlib was asked, which cloaks are made against: others may still know the person"


@app.command()
def check(
    cloaked: Annotated[
        Path,
        typer.Argument(help="A cloaked photo, or with --as a folder.", show_default=False),
    ],
    against: Annotated[
        list[Path],
        typer.Option(
            help="Clear photos of the same person, or a folder of them; largest faces count.", show_default=False
        ),
    ],
    gallery: Annotated[
        Path | None,
        typer.Option(help="Other people: a folder for each, or one folder of photos.", show_default=False),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure with this recognizer (may be repeated).",
            show_default="all that are here; with --as the program's, or dlib",
        ),
    ] = None,
    programs: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="PROGRAM",
            help="Decide as a photo program does: all, or one of immich, photoprism-2024, nextcloud, face_recognition, "
            "... (may be repeated).",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False,
) -> None:
    """Measure a cloaked photo against *other*, clear photos of the person, and the person's rank in a gallery.

    Of several faces in the cloaked photo the one that is nearest to the person's is measured. With --as it says whether
    photo programs would take both for the same person, each with the preview that it makes, its threshold and its way
    of sorting photos into people; the gallery is then in the same album. Of a folder the photos whose names end in
    -cloaked are measured, and a line names those left out; where there is none, all are.

    Exit code 1: the cloaked face is taken for the same person in at least one of the photos, or nothing could be
    judged (no face is found, say, or no program knows the person from the clear photos). Exit code 2: the command was
    not understood, or a path that it names does not exist.

    Examples:

        faceveil check me-cloaked.jpg --against my-other-photos/ --gallery friends/

        faceveil check cloaked/ --against my-other-photos/ --as immich --as face_recognition
    """
    from faceveil import checking, recognizers
    from faceveil.device import choose
    from faceveil.faces.detect import Detector
    from faceveil.jobs import cloaked_in, photos_in
    from faceveil.photo import Photo

    _all_there([cloaked, *against, *([gallery] if gallery else [])])
    if cloaked.is_dir() and not programs:
        raise SettingError(f"{cloaked} is a folder; give the path of a photo, or say what to decide as: --as PROGRAM")
    on = choose(device)
    own = [photo for path in against for photo in photos_in(path)]
    if not own:
        found_none = f"no clear photo is in {', '.join(map(str, against))}, where -cloaked ones do not count"
        raise SettingError(f"{found_none}; give others with --against")
    if programs:
        shared, rest = cloaked_in(cloaked)
        if rest:
            fail(_left_out(cloaked, rest))
        _check_as(programs, judge, on, shared, own, photos_in(gallery) if gallery else [], as_json)
        return
    judges = [recognizers.load(name, on) for name in judge] if judge else _all_here(on)
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
        _tell_crowded(found.crowded)
        if not judge and [each.name for each in judges] == ["dlib"]:
            print(f"{ALONE}; another is had with: faceveil weights pull mobilefacenet-foamliu")
    if any(finding.matched for finding in found.findings):
        raise typer.Exit(FAILED)


def _all_there(paths: list[Path]) -> None:
    """Raises `SettingError` for the first path that does not exist."""
    for path in paths:
        if not os.path.lexists(path):
            raise SettingError(f"{one_line(path)}: does not exist; check its path")


def _all_here(on: "torch.device") -> list["Recognizer"]:
    """All recognizers that are here and can judge; says which are damaged."""
    from faceveil import recognizers
    from faceveil.recognizers import store

    found = []
    for card in store.judges():
        try:
            found.append(recognizers.load(card.name, on))
        except WeightsError as error:
            fail(f"warning: {error}")
    if not found:
        raise WeightsError("no recognizer that is here can judge; see: faceveil weights list")
    return found


def _left_out(folder: Path, photos: list[Path]) -> str:
    """Which photos of a folder are not measured, and how to have them measured."""
    named = first([photo.relative_to(folder) for photo in photos])
    said = f"{one_line(folder)}: photos left out, as not named -cloaked: {len(photos)} ({named})"
    return f"{said}; to check them, give them one by one, or in a folder of their own"


def _tell_crowded(photos: Sequence[Path]) -> None:
    """Say of which clear photos it may be somebody else's face that counts."""
    if photos:
        print(f"clear photos of several faces, of which the largest counts: {len(photos)} ({first(photos)})")


def _check_as(
    names: list[str],
    judge: list[str] | None,
    on: "torch.device",
    cloaked: list[Path],
    own: list[Path],
    gallery: list[Path],
    as_json: bool,
) -> None:
    """Say what photo programs make of the photos."""
    from faceveil import programs, recognizers
    from faceveil.faces.detect import Detector
    from faceveil.protocols import apps
    from faceveil.recognizers import card, store

    chosen = {name: apps.app(name) for each in names for name in (apps.APPS if each == "all" else [each])}

    def usual(app: apps.App) -> list[str]:
        return [app.card if app.card and store.installed(card.read(app.card)) else "dlib"]

    views = [(name, app, who) for name, app in chosen.items() for who in judge or usual(app)]
    loaded = {who: recognizers.load(who, on) for who in dict.fromkeys(who for _, _, who in views)}
    judged = [(name, app, loaded[who]) for name, app, who in views]
    found = programs.opinions(Detector(on), judged, cloaked, own, gallery)
    for reason in found.left_out:
        fail(reason)
    if as_json:
        show_json(_opinions_json(found))
    else:
        _show_opinions(found)
        _tell_crowded(found.crowded)
    if found.recognizing or not found.misled:
        raise typer.Exit(FAILED)


def _show_opinions(found: "Opinions") -> None:
    table = Table(box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    for head in ("program", "recognizer", "put with\nyou", "with\nanother", "clear\nones"):
        table.add_column(head, no_wrap=head != "recognizer", overflow="fold")
    cloaked, clear = len(found.cloaked), len(found.clear)
    for opinion in found.opinions:
        color = "red" if opinion.recognized else "green" if opinion.judged else "yellow"
        who = opinion.recognizer if opinion.own else f"{opinion.recognizer} (stand-in)"
        table.add_row(
            opinion.program,
            who,
            f"[{color}]{opinion.recognized} of {cloaked}[/]",
            f"{opinion.together} of {cloaked}",
            f"{opinion.clear} of {clear}",
        )
    console = Console()
    console.print(table)
    said = [
        "put with you: cloaked photos taken for the same person as a clear one; with another: as another cloaked one",
        "clear ones: your clear photos that are taken for the same person as another of them",
        "MTCNN finds the faces for all programs; their own detectors may find others",
    ]
    if not all(opinion.own for opinion in found.opinions):
        said.insert(
            0, "stand-in: not the program's own recognizer; it judges in that one's place, at its own threshold"
        )
    if {opinion.recognizer for opinion in found.opinions} == {"dlib"}:
        said.append(ALONE)
    for line in said:
        console.print(line, highlight=False)
    print(f"verdict: {_verdict(found)}")


def _verdict(found: "Opinions") -> str:
    """What the programs say that know the person, and which do not."""
    unknown = f"they know nobody from these clear photos (give more): {', '.join(found.undecided)}"
    if not (found.recognizing or found.misled):
        return f"NOTHING could be judged by these programs, as {unknown}"
    own = {each.program for each in found.opinions if each.own and (each.recognized or not found.recognizing)}
    who = [name if name in own else f"{name} (by a stand-in)" for name in found.recognizing or found.misled]
    said = f"{'RECOGNIZED' if found.recognizing else 'not recognized'} by {', '.join(who)}"
    return f"{said}\nnot to be judged, as {unknown}" if found.undecided else said


def _opinions_json(found: "Opinions") -> dict[str, object]:
    told = [vars(opinion) | {"recognized": opinion.recognized} for opinion in found.opinions]
    about = {"against": found.clear, "crowded": found.crowded, "others": found.others}
    return {"cloaked": found.cloaked, **about, "opinions": told}


def _show(cloaked: Path, found: "Check") -> None:
    table = Table(title=escape(one_line(cloaked)), box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    heads = ["recognizer", "file", "nearest", "median", "same\nbelow", "photos\nmatched"]
    for head in [*heads, *(["rank among\npeople"] if found.people else [])]:
        table.add_column(head, no_wrap=head != "recognizer", overflow="fold")
    for finding in found.findings:
        numbers = min(finding.distances), median(finding.distances), finding.threshold
        color = "red" if finding.matched else "green"
        matched = f"[{color}]{finding.matched} of {len(finding.distances)}[/]"
        rank = [f"{finding.rank} of {found.people + 1}"] if found.people else []
        table.add_row(finding.recognizer, finding.treatment, *(f"{d:.2f}" for d in numbers), matched, *rank)
    Console().print(table)
    if found.faces > 1:
        print(f"{found.faces} faces are in it; the one nearest to the clear photos counts")
    most = max(finding.matched for finding in found.findings)
    if most:
        print(f"verdict: RECOGNIZED in up to {most} of {len(found.photos)} clear photos")
    else:
        print(f"verdict: not recognized in any of {len(found.photos)} clear photos, by these recognizers")


def _report(cloaked: Path, found: "Check") -> dict[str, object]:
    findings = [vars(finding) | {"matched": finding.matched} for finding in found.findings]
    about = {"faces": found.faces, "against": found.photos, "crowded": found.crowded, "people": found.people}
    return {"cloaked": cloaked, **about, "findings": findings}
