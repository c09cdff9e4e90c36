"""What a cloak is worth on faces that fill a large photo, and on smaller copies of those photos.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/portraits.py ../shared/data/london out/portraits

Of people with two large photos, both are cloaked at each size and strength, against all architectures but one; those
that were left out judge the files after JPEG 75. A row: the pairs (cloaked, the other photo, clear) that do not match,
on the mean over the architectures and with the worst recognizer, the same of clear pairs, and how visible it is.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from faceveil import bench, datasets, recognizers
from faceveil.bench.held_out import ALL, HELD_OUT, ZOO, at, besides
from faceveil.methods.veil import STRENGTHS
from faceveil.photo import Photo
from faceveil.photo.formats import format_of

GROUPS = {architecture: besides(*members) for architecture, members in ZOO.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder for each person")
    parser.add_argument("out", type=Path)
    parser.add_argument("--at-least", type=int, default=1000, help="pixels of the longer side")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1350, 800, 540, 400])
    parser.add_argument("--cloaks", nargs="+", default=list(STRENGTHS), help="strengths, or qualities")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = {}
    for size in arguments.sizes:
        copies = arguments.out / "photos" / str(size)
        people = copy(arguments.data, copies, size, arguments.at_least)
        data[f"{size} px"] = datasets.open(copies)
    loaded = {name: recognizers.load(name) for name in ALL}
    finished = bench.run(
        replace(HELD_OUT, full=replace(HELD_OUT.full, settings=at(people, *map(_cloak, arguments.cloaks)))),
        data,
        [tuple(loaded[name] for name in group.split("+")) for group in GROUPS.values()],
        arguments.out / "report",
        judges=list(loaded.values()),
    )
    print("| longer side | cloak | clear | cloaked | worst | two | of one run | SSIMULACRA2 | SSIM | PSNR | s a face |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for settings in finished.experiment.full.settings:
        for size in data:
            cells = [cell for cell in finished.cells if (cell.data, cell.settings) == (size, settings)]
            print(_row(size, str(settings.get("strength", settings.get("quality"))), cells))


def _cloak(name: str) -> dict[str, str | float]:
    return {"method": "veil", **({"quality": float(name)} if name[0].isdigit() else {"strength": name})}


def copy(source: Path, target: Path, longest: int, at_least: int) -> int:
    """Smaller copies of the photos that are large; how many people they show."""
    for file in filter(format_of, sorted(source.glob("*/*"))):
        photo = Photo.open(file)
        if max(photo.size) >= at_least:
            photo.smaller(longest).save(target / file.parent.name / file.name, force=True)
    return len(list(target.iterdir()))


def _row(size: str, cloak: str, cells: list) -> str:
    shares = []  # of an architecture that was left out: each recognizer's, clear, cloaked, of two, of two in one run
    for cell, members in zip(cells, ZOO.values(), strict=True):
        judged = [cell.found["judged"]["JPEG 75"][name] for name in members]
        shares.append(
            [[_share(each["clear"]), _share(each["cloaked"]), each["twice"], each["together"]] for each in judged]
        )
    clear, cloaked, twice, together = np.mean([np.mean(own, 0) for own in shares], 0)
    worst = min(own for each in shares for _, own, *_ in each)
    seen = [
        np.mean([cell.found["quality"][name]["mean"] for cell in cells]) for name in ("SSIMULACRA2", "SSIM", "PSNR")
    ]
    told = " | ".join(f"{share:.0%}" for share in (clear, cloaked, worst, twice, together))
    seconds = np.mean([cell.found["seconds"] for cell in cells])
    return f"| {size} | {cloak} | {told} | {seen[0]:.1f} | {seen[1]:.3f} | {seen[2]:.1f} | {seconds:.1f} |"


def _share(judged: dict) -> float:
    return float(np.sum(judged["missed"]) / np.sum(judged["pairs"]))


if __name__ == "__main__":
    main()
