"""The before/after picture: each face clear, its cloak ten times as strong, cloaked, and what recognizers say."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceveil.photo import Photo
from faceveil.proof import FaceProof
from faceveil.types import Pixels

SIDE = 360  # pixels of each panel
GAP = 16
LINE = 22
RED, GREEN, BLACK = (176, 32, 32), (24, 112, 48), (24, 24, 24)


def before_after(clear: Photo, shared: Photo, faces: Sequence[FaceProof]) -> Photo:
    """One row for each face. It shows the clear face, so it is for the person's own eyes."""
    rows = [_row(clear.pixels, shared.pixels, face) for face in faces]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + LINE + GAP), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    words = "This picture shows the clear face: keep it to yourself."
    ImageDraw.Draw(sheet).text((GAP, top), words, fill=RED, font=ImageFont.load_default(15))
    return Photo.from_array(np.asarray(sheet))


def _row(clear: Pixels, shared: Pixels, face: FaceProof) -> Image.Image:
    before, after = _crop(clear, face), _crop(shared, face)
    difference = 10 * (after.astype(np.int16) - before)
    panels = {"original": before, "cloak x10": (128 + difference).clip(0, 255).astype(np.uint8), "cloaked": after}
    words = LINE * (1 + len(face.verdicts))
    row = Image.new("RGB", (3 * SIDE + 4 * GAP, SIDE + LINE + 2 * GAP + words), "white")
    draw = ImageDraw.Draw(row)
    title, text = ImageFont.load_default(17), ImageFont.load_default(15)
    for i, (name, pixels) in enumerate(panels.items()):
        left = GAP + i * (SIDE + GAP)
        draw.text((left, GAP // 2), name, fill=BLACK, font=title)
        row.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, LINE + GAP // 2))
    top = SIDE + LINE + GAP
    seen = f"SSIM {face.ssim:.3f}    PSNR {face.psnr:.1f} dB    largest change {face.largest_change} of 255"
    draw.text((GAP, top), seen, fill=BLACK, font=text)
    for i, verdict in enumerate(face.verdicts, 1):
        made = "made against it" if verdict.attacked else "held out"
        line = f"{verdict.recognizer} ({made}), {verdict.treatment}: distance {verdict.before:.2f} before"
        line += f", {verdict.after:.2f} after, same person below {verdict.threshold:.2f}: "
        draw.text((GAP, top + i * LINE), line, fill=BLACK, font=text)
        width = draw.textlength(line, font=text)
        draw.text((GAP + width, top + i * LINE), str(verdict), fill=RED if verdict.recognized else GREEN, font=text)
    return row


def _crop(pixels: Pixels, face: FaceProof) -> Pixels:
    """The face with some room around it, square; black where that lies outside the photo."""
    left, top, right, bottom = face.face.box
    side = 1.5 * max(right - left, bottom - top)
    box = np.array([left + right - side, top + bottom - side, left + right + side, top + bottom + side]) / 2
    image = Image.fromarray(pixels).crop(tuple(box.round().astype(int).tolist()))
    return np.asarray(image)
