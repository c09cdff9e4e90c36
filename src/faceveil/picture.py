"""The before/after picture: each face clear, its cloak made stronger, cloaked, and what recognizers say."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceveil.photo import Photo
from faceveil.proof import FaceProof, Verdict
from faceveil.types import Pixels

SIDE = 360  # pixels of each panel
GAP = 16
LINE = 24
STRONGER = 4  # times, so that a cloak of 24 levels, and what JPEG adds to it, is shown in full
ROLE, FIRST, NEXT = 220, 370, 110  # pixels from the left: whether a recognizer was attacked, and its distances
RED, GREEN, GRAY, BLACK = (176, 32, 32), (24, 112, 48), (110, 110, 110), (24, 24, 24)
Color = tuple[int, int, int]


def before_after(clear: Photo, shared: Photo, faces: Sequence[FaceProof]) -> Photo:
    """One row for each face. It shows the clear face, so it is for the person's own eyes."""
    numbered = len(faces) > 1 or any(face.face.number for face in faces)
    rows = [_row(clear.pixels, shared.pixels, face, numbered) for face in faces]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + LINE + GAP), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    _write(sheet, GAP, top, "This picture shows the clear face: keep it to yourself.", RED)
    return Photo.from_array(np.asarray(sheet))


def _row(clear: Pixels, shared: Pixels, face: FaceProof, numbered: bool) -> Image.Image:
    before, after = _crop(clear, face), _crop(shared, face)
    cloak = (128 + STRONGER * (after.astype(np.int16) - before)).clip(0, 255).astype(np.uint8)
    which = f", face {face.face.number}" if numbered else ""
    panels = {f"original{which}": before, f"cloak, {STRONGER} times as strong": cloak, "cloaked": after}
    words = LINE * (2 + len(face.by_recognizer))
    row = Image.new("RGB", (3 * SIDE + 4 * GAP, SIDE + LINE + 2 * GAP + words), "white")
    for i, (name, pixels) in enumerate(panels.items()):
        left = GAP + i * (SIDE + GAP)
        _write(row, left, GAP // 2, name)
        row.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, LINE + GAP // 2))
    _tell(row, SIDE + LINE + GAP, face)
    return row


def _tell(row: Image.Image, top: int, face: FaceProof) -> None:
    """A line for each recognizer: the distances after each treatment, and the verdict on the nearest."""
    treatments = list(dict.fromkeys(verdict.treatment for verdict in face.verdicts))
    columns = [FIRST + i * NEXT for i in range(len(treatments))]
    below, said = FIRST + len(treatments) * NEXT, FIRST + len(treatments) * NEXT + 160
    for left, name in zip((GAP, *columns, below), ("recognizer", *treatments, "same person below"), strict=True):
        _write(row, left, top, name, GRAY)
    for i, (recognizer, verdicts) in enumerate(face.by_recognizer.items(), 1):
        line, worst = top + i * LINE, min(verdicts, key=lambda verdict: verdict.after)
        _write(row, GAP, line, recognizer)
        _write(row, ROLE, line, "made against it" if worst.attacked else "held out", GRAY)
        for left, verdict in zip(columns, verdicts, strict=True):
            _write(row, left, line, f"{verdict.after:.2f}", _color(verdict))
        _write(row, below, line, f"{worst.threshold:.2f}")
        _write(row, said, line, str(worst), _color(worst))
    most = max((verdict.before for verdict in face.verdicts), default=0)
    clear = f"Distances from the clear face (clear, and treated likewise: at most {most:.2f})."
    seen = f"SSIM {face.ssim:.3f}, PSNR {face.psnr:.1f} dB, largest change {face.largest_change} of 255."
    _write(row, GAP, top + (1 + len(face.by_recognizer)) * LINE, f"{clear} {seen}", GRAY)


def _write(image: Image.Image, left: int, top: int, text: str, color: Color = BLACK) -> None:
    ImageDraw.Draw(image).text((left, top), text, fill=color, font=ImageFont.load_default(16))


def _color(verdict: Verdict) -> Color:
    return RED if verdict.recognized else GREEN


def _crop(pixels: Pixels, face: FaceProof) -> Pixels:
    """The face with some room around it, square; black where that lies outside the photo."""
    left, top, right, bottom = face.face.box
    side = 1.5 * max(right - left, bottom - top)
    box = np.array([left + right - side, top + bottom - side, left + right + side, top + bottom + side]) / 2
    image = Image.fromarray(pixels).crop(tuple(box.round().astype(int).tolist()))
    return np.asarray(image)
