"""What commands say: results on standard output, one-line errors and progress on standard error."""

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from faceveil.files import one_line

if TYPE_CHECKING:
    from faceveil.datasets import Faces
    from faceveil.proof import FaceProof, Verdict

FAILED, USAGE, STOPPED = 1, 2, 130

Thing = TypeVar("Thing")


def fail(message: str) -> None:
    """One line on standard error."""
    print(f"faceveil: {message}", file=sys.stderr)


def watch(things: Sequence[Thing], what: str, quiet: bool = False) -> Iterable[Thing]:
    """Things to go through, with a progress bar on a terminal, unless all is to be quiet."""
    console = Console(stderr=True)
    return track(things, what, console=console, transient=True, disable=quiet or not console.is_terminal)


def tell_missing(faces: "Faces") -> None:
    """Warn, once of several devices, of photos that cannot be read or show no face that was found."""
    if faces.missing and os.environ.get("RANK", "0") == "0":
        count, (name, why) = len(faces.missing), next(iter(faces.missing.items()))
        fail(f"warning: {count} of {count + len(faces)} photos left out, as {one_line(name)} ({one_line(why)})")


def show_json(value: object) -> None:
    """A machine-readable report on standard output; numbers that are none (NaN, infinity) are null."""
    print(json.dumps(_finite(value), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_proofs(console: Console, name: str, faces: "tuple[FaceProof, ...]", beside: int = 0) -> None:
    """A table for each face: a row for each recognizer, with the distance after each treatment.

    Faces have the numbers that --faces takes, where there are several with those `beside` them.
    """
    for face in faces:
        which = f", face {face.face.number}" if len(faces) + beside > 1 else ""
        console.print(_distances(f"{name}{which}", face))
        found = "" if face.found else "; the detector no longer finds it"
        seen = f"SSIM {face.ssim:.3f}, PSNR {face.psnr:.1f} dB, largest change in the file {face.largest_change} of 255"
        console.print(f"{seen}{found}", highlight=False)
    attacked = all(verdict.attacked for face in faces for verdict in face.verdicts)
    others = "nobody else was asked (faceveil weights list: who could be)" if attacked else "others were held out"
    console.print(f"* the cloak was made against it, or one like it; {others}", highlight=False)
    most = max((verdict.before for face in faces for verdict in face.verdicts), default=0)
    console.print(f"distances from the clear face (clear, and treated likewise: at most {most:.2f})", highlight=False)


def _distances(title: str, face: "FaceProof") -> Table:
    table = Table(title=escape(title), box=box.SIMPLE, title_justify="left", collapse_padding=True, pad_edge=False)
    table.add_column("recognizer", no_wrap=True)
    for treatment in dict.fromkeys(verdict.treatment for verdict in face.verdicts):
        table.add_column(treatment, no_wrap=True, justify="right")
    table.add_column("same below", justify="right", min_width=5)
    table.add_column("verdict", no_wrap=True)
    for recognizer, verdicts in face.by_recognizer.items():
        after = (_colored(f"{verdict.after:.2f}", verdict.recognized) for verdict in verdicts)
        worst = min(verdicts, key=lambda verdict: verdict.after)
        who = recognizer + "*" * worst.attacked
        table.add_row(who, *after, f"{worst.threshold:.2f}", _colored(str(worst), worst.recognized))
    return table


def _colored(text: str, recognized: bool) -> str:
    return f"[{'red' if recognized else 'green'}]{text}[/]"


def face_json(face: "FaceProof") -> dict[str, object]:
    """A face's proof, for machines."""
    return {
        "number": face.face.number,
        "box": face.face.box,
        "score": face.face.score,
        "found": face.found,
        "recognized": face.recognized,
        "ssim": face.ssim,
        "psnr": face.psnr,
        "largest_change": face.largest_change,
        "verdicts": [_verdict_json(verdict) for verdict in face.verdicts],
    }


def _verdict_json(verdict: "Verdict") -> dict[str, object]:
    return vars(verdict) | {"recognized": verdict.recognized}
