"""veil, measured by compiled dlib: 100 people of LFW, cloaked by the command line as a person would.

    python experiments/veil.py ../shared/data/lfw out/veil --strength light balanced strong

For each strength: the share of cloaked files whose face, found and embedded again by compiled dlib, lies beyond 0.6
from another clear photo of the person, as saved, after JPEG 90 and 75, and at half its size and back; and how visible
it is.
Files and a sheet of twelve at 200 % stay in the folder for looking at.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from compiled_dlib import embed, open_rgb
from PIL import Image

from faceveil.bench.held_out import ssimulacra2
from faceveil.metrics import psnr, ssim
from faceveil.photo import jpeg


def half_and_back(pixels):
    height, width, _ = pixels.shape
    small = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


TREATMENTS = {
    "as saved": lambda pixels: pixels,
    "JPEG 90": lambda pixels: jpeg(pixels, 90),
    "JPEG 75": lambda pixels: jpeg(pixels, 75),
    "half and back": half_and_back,
}


def around(box, margin, shape):
    """Slices of the box, wider by that share of its width on each side, inside the photo."""
    left, top, right, bottom = box
    more = margin * (right - left)
    height, width, _ = shape
    rows = slice(int(max(top - more, 0)), int(min(bottom + more, height)))
    return rows, slice(int(max(left - more, 0)), int(min(right + more, width)))


def measure(lfw, out, strength, pairs):
    photos = [str(lfw / cloaked) for cloaked, _ in pairs]
    command = [
        sys.executable,
        "-m",
        "faceveil",
        "protect",
        *photos,
        "-o",
        str(out),
        "--strength",
        strength,
        "--surrogate",
        "dlib",
        "--judge",
        "dlib",
        "--json",
    ]
    report = json.loads(
        subprocess.run([*command, "--faces", "all", "--force"], capture_output=True, check=False).stdout
    )
    distances = {name: [] for name in TREATMENTS}
    quality = {"SSIM": [], "PSNR": [], "SSIMULACRA2": []}
    sheet = []
    for photo, (own, other) in zip(report["photos"], pairs, strict=True):
        clear, cloaked = open_rgb(lfw / own), open_rgb(photo["cloaked"])
        known = embed(open_rgb(lfw / other))
        for name, treat in TREATMENTS.items():
            found = embed(treat(cloaked))
            if found is not None:
                distances[name].append(np.linalg.norm(found - known))
        center = np.array(clear.shape[1::-1]) / 2
        boxes = [face["box"] for face in photo["faces"]]
        box = min(boxes, key=lambda box: np.hypot(*(np.add(box[:2], box[2:]) / 2 - center)))
        wider = around(box, 0.25, clear.shape)
        quality["SSIM"].append(ssim(clear[wider], cloaked[wider]))
        quality["PSNR"].append(psnr(clear[wider], cloaked[wider]))
        quality["SSIMULACRA2"].append(ssimulacra2(clear[wider], cloaked[wider]))
        sheet.append([clear[wider], cloaked[wider]])
    save_sheet(sheet[:: max(1, len(sheet) // 12)][:12], out.with_name(f"{out.name}-sheet.png"))
    row = {"strength": strength, "photos": len(pairs)}
    for name, values in distances.items():
        beyond, median = np.mean(np.array(values) > 0.6), np.median(values)
        row[name] = {"faces found": len(values), "beyond 0.6": float(beyond), "median": float(median)}
    row |= {name: float(np.mean(values)) for name, values in quality.items()}
    row["seconds per photo"] = float(np.mean([photo["seconds"] for photo in report["photos"]]))
    return row


def save_sheet(pairs, path):
    """Clear and cloaked faces side by side, four pairs a row, at 200 %."""
    cells = []
    for pair in pairs:
        cell = np.hstack(pair)
        cell = Image.fromarray(cell).resize((2 * cell.shape[1], 2 * cell.shape[0]), Image.Resampling.NEAREST)
        canvas = Image.new("RGB", (900, 500), "white")
        canvas.paste(cell, (0, 0))
        cells.append(np.asarray(canvas))
    rows = [np.hstack(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    Image.fromarray(np.vstack(rows)).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--strength", nargs="+", default=["light", "balanced", "strong"])
    parser.add_argument("--photos", type=int, default=100)
    arguments = parser.parse_args()
    lines = Path(__file__).with_name("people.tsv").read_text().splitlines()[: arguments.photos]
    pairs = [line.split("\t") for line in lines]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for strength in arguments.strength:
        rows.append(measure(arguments.lfw, arguments.out / strength, strength, pairs))
        print(json.dumps(rows[-1]), flush=True)
    (arguments.out / "veil.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
