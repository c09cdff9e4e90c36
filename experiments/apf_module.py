"""What a module of APF is worth: pairs that are no longer matched with the device's gradient alone, and with its noise.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/apf_module.py ../shared/data/lfw [--models apf FILE ...]

A face is cloaked as `protect --method apf` does it without an enrolled photo, and compared with another clear photo of
the person, at each recognizer's own threshold. A row: pairs not matched before and after.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from faceveil import datasets, recognizers
from faceveil.bench.apf.stages import Genuine
from faceveil.bench.held_out import ALL
from faceveil.methods.apf import Apf
from faceveil.methods.scene import Scene
from faceveil.objectives.feature import distance

TEMPLATE, SIZE, BATCH = "arcface", (112, 112), 32
PROBE = "mobilefacenet-foamliu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=["apf"])
    parser.add_argument("--pairs", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part = Genuine(arguments.pairs)(datasets.open(arguments.data), 0)
    faces = datasets.prepare(part, TEMPLATE, SIZE)
    rows = {name: row for row, name in enumerate(faces.names)}
    pairs = [(rows[pair.first], rows[pair.second]) for pair in part.listed if {pair.first, pair.second} <= {*rows}]
    known, clear = (faces[np.array(some)] for some in zip(*pairs, strict=True))
    probe = recognizers.load(PROBE).surrogate()
    methods = {"the gradient alone": Apf((probe,), cloud=lambda gradient: gradient)}
    methods |= {model: Apf((probe,), model=model) for model in arguments.models}
    nets = [recognizers.load(name) for name in ALL]
    print(f"{len(pairs)} pairs; | cloak | {' | '.join(ALL)} |")
    for name, method in methods.items():
        added = torch.cat([method.perturbation(Scene.cut(some, TEMPLATE, (probe,))) for some in clear.split(BATCH)])
        cloaked = (255 * (clear + added).clamp(0, 1)).round() / 255
        told = []
        for net in nets:
            here, before, after = (Scene.cut(some, TEMPLATE, (net,)).embed()[0] for some in (known, clear, cloaked))
            shares = [float((distance(some, here) >= net.threshold).float().mean()) for some in (before, after)]
            told.append(f"{shares[0]:.0%} -> {shares[1]:.0%}")
        print(f"| {name} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
