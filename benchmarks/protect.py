"""End to end: seconds and peak memory of `faceveil protect` on large photos and on many, as a person runs it.

    python benchmarks/protect.py ../shared/data

A 12-megapixel photo with one face and with four (studio portraits enlarged onto a plain ground), and 200 photos of LFW.
Each runs in a process of its own, start included; the last lines say where the time goes in one process.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

WIDE, HIGH = 4000, 3000


def large(portraits: list[Path], faces: int) -> Image.Image:
    """12 megapixels with that many faces, each some 600 pixels wide."""
    canvas = Image.new("RGB", (WIDE, HIGH), (140, 150, 160))
    across = max(1, faces // 2)
    for i, path in enumerate(portraits[:faces]):
        portrait = Image.open(path).convert("RGB").resize((1400, 1400), Image.Resampling.LANCZOS)
        canvas.paste(portrait, (100 + (i % across) * 1900, 50 + (i // across) * 1450))
    noise = np.random.default_rng(0).integers(-3, 4, (HIGH, WIDE, 1))
    return Image.fromarray((np.asarray(canvas) + noise).clip(0, 255).astype(np.uint8))


def run(label: str, photos: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "faceveil", "protect", *map(str, photos), "-o", out, "--json"]
        start = time.perf_counter()
        subprocess.run(command, check=False, capture_output=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{label}: {seconds:.1f} s, peak memory of all runs so far {peak:.0f} MiB", flush=True)


def where(photo: Path) -> None:
    """Where the time goes for one photo, models loaded."""
    from faceveil import Photo, Protector

    protector = Protector()
    for turn in ("cold", "warm"):
        marks = [time.perf_counter()]
        clear = Photo.open(photo)
        marks.append(time.perf_counter())
        faces = protector.find(clear)
        marks.append(time.perf_counter())
        (cloaked,) = protector.cloak([clear], [faces])
        marks.append(time.perf_counter())
        with tempfile.TemporaryDirectory() as folder:
            shared = Photo.open(cloaked.save(Path(folder) / "me.jpg"))
        marks.append(time.perf_counter())
        protector.prove(clear, shared, faces)
        marks.append(time.perf_counter())
        parts = zip(("read", "find", "cloak", "write and read again", "prove"), np.diff(marks), strict=True)
        print(f"{turn}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="not needed with --photo")
    parser.add_argument("--photo", type=Path, help="only say where the time goes for this one")
    arguments = parser.parse_args()
    if arguments.photo:
        where(arguments.photo)
        return
    data = arguments.data or parser.error("give the folder of the data, or --photo")
    portraits = sorted((data / "london").glob("*/neutral_*.jpg"))[:4]
    with tempfile.TemporaryDirectory() as folder:
        photos = []
        for faces in (1, 4):
            photos.append(Path(folder) / f"{faces}.jpg")
            large(portraits, faces).save(photos[-1], quality=95)
            run(f"12 megapixels, {faces} face{'s' * (faces > 1)}", photos[-1:])
        run("200 photos of LFW", sorted((data / "lfw/photos").glob("*/*_0001.jpg"))[:200])
        for photo in photos:
            where(photo)


if __name__ == "__main__":
    main()
