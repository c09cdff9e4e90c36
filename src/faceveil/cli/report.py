"""What commands say: results on standard output, one-line errors and progress on standard error."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from faceveil.proof import FaceProof, Verdict

FAILED, USAGE = 1, 2

Thing = TypeVar("Thing")


def fail(message: str) -> None:
    """One line on standard error."""
    print(f"faceveil: {message}", file=sys.stderr)


def watch(things: Sequence[Thing], what: str, quiet: bool = False) -> Iterable[Thing]:
    """Things to go through, with a progress bar on a terminal, unless all is to be quiet."""
    console = Console(stderr=True)
    return track(things, what, console=console, transient=True, disable=quiet or not console.is_terminal)


def show_json(value: object) -> None:
    """A machine-readable report on standard output; numbers that are none (NaN, infinity) are null."""
    print(json.dumps(_finite(value), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_proofs(console: Console, name: Path, faces: "tuple[FaceProof, ...]") -> None:
    """A table of verdicts."""
    table = Table(title=escape(str(name)), box=box.SIMPLE)
    for column in ("face", "recognizer", "file", "before", "after", "same below", "verdict"):
        table.add_column(column, no_wrap=column != "same below")
    for number, face in enumerate(faces):
        for verdict in face.verdicts:
            color = "red" if verdict.recognized else "green"
            distances = f"{verdict.before:.2f}", f"{verdict.after:.2f}", f"{verdict.threshold:.2f}"
            who = verdict.recognizer + "*" * verdict.attacked
            table.add_row(str(number), who, verdict.treatment, *distances, f"[{color}]{verdict}[/]")
        table.add_section()
    console.print(table)
    console.print("* the cloak was made against it; others were held out", highlight=False)
    for number, face in enumerate(faces):
        found = "" if face.found else "; the detector no longer finds it"
        seen = f"SSIM {face.ssim:.3f}, PSNR {face.psnr:.1f} dB, largest change in the file {face.largest_change} of 255"
        console.print(f"face {number}: {seen}{found}", highlight=False)


def face_json(face: "FaceProof") -> dict[str, object]:
    """A face's proof, for machines."""
    return {
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
