"""The most that a cloak of so little visibility could do on large faces: each recognizer judges cloaks against itself.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/white_box.py ../shared/data/london out/white-box

What veil cannot do where it knows the very recognizer, no cloak of its kind does against one that it does not know. A
row: the pairs (cloaked, the other photo, clear) that do not match, after JPEG 75; their mean distance, and that from
the photo itself as it was, in thresholds; and how visible it is.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from portraits import copy

from faceveil import datasets, recognizers
from faceveil.bench import held_out
from faceveil.bench.held_out import ALL, FALSE_MATCHES
from faceveil.faces.detect import Detector
from faceveil.methods.veil import ONE, Veil
from faceveil.objectives.feature import distance
from faceveil.proof import embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder for each person")
    parser.add_argument("out", type=Path)
    parser.add_argument("--at-least", type=int, default=1000, help="pixels of the longer side")
    parser.add_argument("--size", type=int, default=1350)
    parser.add_argument("--quality", type=float, default=64.0)
    parser.add_argument("--steps", type=int, default=ONE.steps)
    parser.add_argument("--away", type=float, default=ONE.away)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    copies = arguments.out / "photos" / str(arguments.size)
    copy(arguments.data, copies, arguments.size, arguments.at_least)
    samples = sorted(datasets.open(copies), key=lambda sample: sample.name)
    who = np.unique([sample.identity for sample in samples], return_inverse=True)[1]
    own = (who[:, None] == who) & ~np.eye(len(who), dtype=bool)
    detector = Detector()
    print("| judge, attacked itself | clear | cloaked | distance | from itself | SSIMULACRA2 | SSIM |")
    print("|---|---|---|---|---|---|---|")
    for name in ALL:
        judge = recognizers.load(name)
        veil = Veil((judge,), arguments.quality, away=arguments.away, steps=arguments.steps)
        seen = held_out.share(samples, detector, veil)
        before, after = (
            embed(judge, held_out.sightings(detector, seen, ("JPEG 75",), cloaked=each)) for each in (False, True)
        )
        threshold = judge.card.thresholds[FALSE_MATCHES]
        clear, cloaked = ((torch.cdist(each, before) / threshold).numpy()[own] for each in (before, after))
        moved = float((distance(after, before) / threshold).mean())
        visible = held_out.quality(seen)
        told = f"{(clear >= 1).mean():.0%} | {(cloaked >= 1).mean():.0%} | {cloaked.mean():.2f} | {moved:.2f}"
        print(f"| {name} | {told} | {visible['SSIMULACRA2']['mean']:.1f} | {visible['SSIM']['mean']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
