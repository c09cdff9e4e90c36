"""`faceveil protect`: cloak photos, and prove it."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from faceveil.cli.report import FAILED, face_json, fail, show_json, show_proofs
from faceveil.errors import PhotoError, SettingError
from faceveil.files import one_line

if TYPE_CHECKING:
    from faceveil.batch import Outcome
    from faceveil.service.client import Remote

app = typer.Typer()

METHODS = """veil, or a published method: cilloni, bim, illc, tip-im, fawkes, lowkey, opom, advfaces, latent, apf, uap,
gap or rhp."""


SMALL, LARGE = 125, 250  # pixels: about the largest face whose cloak is not enlarged, and where one shows
LEAST = 50  # pixels: a face that is smaller can hardly be cloaked
AGAIN = "faceveil check measures what is there, --force makes it anew"


class Strength(StrEnum):
    """Presets of veil: how plainly a cloak may be seen."""

    light = "light"
    balanced = "balanced"
    strong = "strong"


@app.command()
def protect(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write into this folder, keeping names and folders.")
    ] = None,
    strength: Annotated[
        Strength | None,
        typer.Option(help="veil: how much may be seen, for how much protection.", show_default="balanced"),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="No pixel changes by more levels of 255.", show_default="the method's own")
    ] = None,
    method: Annotated[str, typer.Option(help=METHODS)] = "veil",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the method's own, such as mode=high (may be repeated)."
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(help="cilloni: none, farthest, random, random+farthest or similar.", show_default=False),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="tip-im: the weight of naturalness, 0 to 3.", show_default=False)
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            help="cilloni, bim, illc, tip-im, fawkes: photos of people to be taken for; nobody real without.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="apf: a cloud that makes the cloak stronger; it gets a gradient, no photo. Token: FACEVEIL_TOKEN. Its "
            "model, if that is not called apf: --set model=NAME.",
            show_default=False,
        ),
    ] = None,
    faces: Annotated[str, typer.Option(help="all, largest, or numbers such as 0,2 (0 is the largest face).")] = "all",
    only_like: Annotated[
        Path | None,
        typer.Option(
            help="Cloak only the faces of the person in this photo; fawkes and opom cloak them alike.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        bool,
        typer.Option(
            "--picture",
            help="Also write a before/after picture, for yourself: beside the photo, or into OUTPUT-proofs.",
        ),
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="Write JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF.", show_default="the photo's own")
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(min=64, help="Share a smaller copy, its longer side at most so many pixels.", show_default=False),
    ] = None,
    keep_metadata: Annotated[
        bool, typer.Option("--keep-metadata", help="Keep EXIF and XMP (place, time, camera); thumbnails are made anew.")
    ] = False,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            help="Cloak against this recognizer (may be repeated).",
            show_default="veil, lowkey: all that are here but one that judges; apf: its probe; else dlib",
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure with this recognizer and the surrogates alone (may be repeated).",
            show_default="all that are here",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**63 - 1, help="The same seed, photos, earlier cloaks and machine give the same cloaks."
        ),
    ] = 0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger photos.")] = 100_000_000,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False,
) -> None:
    """Cloak the faces in photos, and measure what it is worth on the files that were written.

    A photo is written beside itself as NAME-cloaked, or under OUTPUT; originals are never touched. A run that was
    stopped goes on where it was: what is there already is neither made nor measured again without --force. Photos
    without a face to cloak are not copied. veil leads a person's cloaks apart, so that they do not match each other:
    those of one run, and the last few that lie beside them from earlier ones.

    Exit code 1: some photo failed, nothing could be cloaked, or someone is still recognized.

    Examples:

        faceveil protect me.jpg --picture

        faceveil protect holiday/ -o cloaked/ --strength light --only-like me.jpg
    """
    from faceveil.batch import Writing, protect_files
    from faceveil.jobs import described, left_out, plan
    from faceveil.photo import Photo
    from faceveil.protection import Choice, Protector, quality

    jobs = plan(photos, output, format)
    others = left_out(photos, output)
    settings = _settings(setting or [])
    settings |= {name: value for name, value in {"select": select, "gamma": gamma}.items() if value is not None}
    if strength:
        settings["quality"] = quality(strength, method, settings)
    if server:
        settings["cloud"] = cloud = _cloud(method, server, epsilon, settings)
        cloud.greet()
        settings.pop("model", None)  # the server's, not one of this machine
    protector = Protector(
        method,
        epsilon,
        surrogate,
        judge,
        map(partial(Photo.open, max_pixels=max_pixels), _people(targets)) if targets else (),
        settings,
        Choice(_faces(faces), Photo.open(only_like, max_pixels) if only_like else None),
        device,
        seed,
    )
    writing = Writing(format, keep_metadata, force, max_pixels, longest)
    tally, reports = _Tally(), []
    asked = {"--epsilon": epsilon, "--set quality": None if strength else settings.get("quality")}
    weaker = [name for name, value in asked.items() if value is not None]
    stronger = _stronger(strength, weaker, longest) if method == "veil" else "try --method veil --force"
    for outcome in _followed(protect_files(protector, jobs, writing), len(jobs)):
        wanted = bool(outcome.faces) and (picture or (force and os.path.lexists(outcome.job.picture)))
        pictured = _picture(outcome, force) if wanted else None
        tally.add(outcome, pictured, missing=wanted and not pictured)
        if outcome.error:
            fail(outcome.error)
        advice = _advice(outcome, stronger) if method == "veil" and surrogate else stronger
        if as_json:
            reports.append(_report(outcome, pictured))
        elif len(jobs) == 1:
            _show(outcome, pictured, advice)
        elif outcome.recognized:
            fail(f"{one_line(outcome.job.destination)}: still recognized by {_by(outcome)}; {advice}")
    if as_json:
        show_json(
            {
                "photos": reports,
                "counts": tally.counts,
                "left_out": others,
                "surrogates": [each.name for each in protector.surrogates],
                "seed": seed,
            }
        )
    elif len(jobs) != 1:
        tally.show()
    if others and not as_json:
        print(f"left out, {described(others)}; save them in one of these formats")
    if tally.bad:
        raise typer.Exit(FAILED)


def _cloud(method: str, server: str, epsilon: float | None, settings: dict[str, object]) -> "Remote":
    """A server's cloud, which is asked for the model and the epsilon that are set; of what it warns, a line is said."""
    from faceveil.methods import build
    from faceveil.service.client import CloudAway, Remote

    if method != "apf":
        raise SettingError(f"--server is for --method apf; {method} works on this machine alone")
    warnings.simplefilter("always", CloudAway)  # each time that it is away, not the first alone
    warnings.showwarning = lambda message, *details: fail(f"warning: {message}")
    asked = vars(build(method, (), settings if epsilon is None else {**settings, "epsilon": epsilon}))
    return Remote(server, asked["epsilon"], os.environ.get("FACEVEIL_TOKEN"), asked["model"])


def _settings(words: list[str]) -> dict[str, object]:
    """NAME=VALUE, where a value is a number, true, false or a list as in JSON, or else text."""
    settings: dict[str, object] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise SettingError(f"--set is {word!r}; it is a name and a value, such as steps=50")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def _faces(words: str) -> str | list[int]:
    if words in ("all", "largest"):
        return words
    try:
        return [int(number) for number in words.split(",")]
    except ValueError:
        raise SettingError(f"--faces is {words!r}; it is all, largest, or numbers such as 0,2") from None


def _people(targets: Path) -> list[Path]:
    """The photos of those for whom a face is to be taken."""
    from faceveil.jobs import photos_in

    photos = photos_in(targets)
    if not photos:
        raise SettingError(f"there is no photo in {targets}; --targets is a photo of a person, or a folder of such")
    return photos


def _followed(outcomes: "Iterator[Outcome]", total: int) -> "Iterator[Outcome]":
    """The outcomes, with a progress bar of photos and faces on a terminal; what earlier runs cloaked is read first."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    faces = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=total)
        for outcome in outcomes:
            faces += len(outcome.faces)
            progress.update(task, advance=1, description=f"{faces} face{'s' * (faces != 1)}")
            yield outcome


class _Tally:
    """What became of many photos."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("cloaked", "skipped", "faceless", "failed", "recognized"), 0)
        self.notes: Counter[str] = Counter()
        self.pictures: list[Path] = []

    def add(self, outcome: "Outcome", pictured: Path | None, *, missing: bool) -> None:
        """One more, and its picture, if any, or that it is `missing`."""
        self.counts[outcome.status] += 1
        self.counts["recognized"] += outcome.recognized
        self.counts["failed"] += missing
        self.notes.update(_notes(outcome))
        self.pictures += [pictured] if pictured else []

    @property
    def bad(self) -> bool:
        """Whether some photo failed, nothing could be cloaked, or someone is still recognized."""
        counts = self.counts
        return bool(counts["failed"] or counts["recognized"] or not counts["cloaked"] + counts["skipped"])

    def show(self) -> None:
        """Each note once, where the pictures are, and a line about all."""
        for note, times in self.notes.items():
            print(f"note, of {times} photo{'s' * (times != 1)}: {note}")
        if self.pictures:
            told = f"before and after (for yourself, as they show clear faces): {len(self.pictures)}"
            print(f"{told} in {one_line(_common(self.pictures))}")
        print(self._summary())

    def _summary(self) -> str:
        """It says nothing of who is recognized in photos that were not measured."""
        words = "{cloaked} cloaked, {skipped} there already{unmeasured}"
        words += ", {faceless} without a face to cloak (not copied), {failed} failed"
        if not self.counts["skipped"]:
            return (words + ", {recognized} still recognized").format(**self.counts, unmeasured="")
        if self.counts["cloaked"]:
            words += ", {recognized} of those cloaked now still recognized"
        return f"{words}; {AGAIN}".format(**self.counts, unmeasured=" (not measured now)")


def _common(files: Sequence[Path]) -> str:
    """The folder in which all of these files are; of files on several disks that of the first."""
    for folders in ([file.parent for file in files], [file.parent.absolute() for file in files]):
        with suppress(ValueError):
            return os.path.commonpath(folders) or "."
    return str(files[0].parent)


def _picture(outcome: "Outcome", force: bool) -> Path | None:
    from faceveil.picture import before_after

    if outcome.clear is None or outcome.shared is None:
        return None
    picture = before_after(outcome.clear, outcome.shared, outcome.faces)
    try:
        return picture.save(outcome.job.picture, force=force)
    except PhotoError as error:
        fail(str(error))
        return None


def _show(outcome: "Outcome", pictured: Path | None, advice: str) -> None:
    """The report of one photo; the verdict comes last."""
    console = Console()
    destination = one_line(outcome.job.destination)
    if outcome.status == "skipped":
        print(f"{destination} is there already, and was not measured now; {AGAIN}")
    if not outcome.faces:
        return
    show_proofs(console, destination, outcome.faces, outcome.beside)
    for note in _notes(outcome, alone=True):
        print(f"note: {note}")
    print(f"cloaked in {outcome.seconds:.1f} s: {destination}")
    if pictured:
        print(f"before and after (for yourself): {one_line(pictured)}")
    known = sum(face.recognized for face in outcome.faces)
    if known:
        faces = f"{known} of {len(outcome.faces)} faces"
        print(f"verdict: STILL RECOGNIZED by {_by(outcome)}, {faces}; {advice}")
    else:
        print("verdict: not recognized, by the recognizers and after the treatments above")


def _notes(outcome: "Outcome", *, alone: bool = False) -> Iterator[str]:
    """What was lost in writing a photo, how many faces were not to be cloaked, and what to do about a large one.

    The cloak of a large face is enlarged, and so shows; a smaller copy helps, where no other face is too small in it.
    Of a photo `alone` it is told with its numbers.
    """
    yield from outcome.notes
    if outcome.beside:
        yield f"{outcome.beside} other face{'s are' if outcome.beside > 1 else ' is'} left clear"
    widths = [right - left for left, _, right, _ in (each.face.box for each in outcome.faces)]
    if outcome.clear and max(widths, default=0) >= LARGE:
        part = SMALL / max(widths)
        shows = f"on a face {f'{max(widths):.0f} pixels wide' if alone else f'of {LARGE} pixels or more'} a cloak shows"
        longest = round(max(outcome.clear.size) * part) if alone else "PIXELS"
        fits = min(widths) * part >= LEAST
        less = f"shows less: --longest {longest} --force" if fits else "shows less, but a small face in it is lost"
        yield f"{shows}; on a smaller copy it {less}"


def _by(outcome: "Outcome") -> str:
    """The recognizers that still know somebody."""
    return ", ".join(dict.fromkeys(verdict.recognizer for verdict in outcome.failing))


def _advice(outcome: "Outcome", stronger: str) -> str:
    """What may help where somebody is recognized, and surrogates were named: one more, or else what is stronger."""
    strangers = [verdict.recognizer for verdict in outcome.failing if not verdict.attacked]
    return f"cloak against it, too: --surrogate {strangers[0]} --force" if strangers else stronger


def _stronger(strength: Strength | None, weaker: Sequence[str], longest: int | None) -> str:
    """How to have a stronger cloak than was asked for, where some options made it `weaker`.

    A smaller copy is the last to be given up: it shows less.
    """
    if weaker:
        return f"try --force without {' and '.join(weaker)}"
    if strength != Strength.strong:
        return "try --strength strong --force"
    return "try --force without --longest" if longest else "nothing stronger is known here; better not share it"


def _report(outcome: "Outcome", pictured: Path | None) -> dict[str, object]:
    return {
        "photo": outcome.job.source,
        "cloaked": outcome.job.destination if outcome.written or outcome.status == "skipped" else None,
        "picture": pictured,
        "status": outcome.status,
        "error": outcome.error or None,
        "notes": outcome.notes,
        "seconds": outcome.seconds,
        "recognized": outcome.recognized if outcome.faces else None,
        "faces_left": outcome.beside,
        "faces": [face_json(face) for face in outcome.faces],
    }
