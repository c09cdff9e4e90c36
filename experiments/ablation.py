"""What each part of veil is worth: the whole, and versions of it that lack or change one thing.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/ablation.py ../shared/data/lfw --people 16

Two photos of each person are cloaked against dlib, FaceNet and MobileNet; four MobileFaceNets judge the files after
JPEG 75. A row: the pairs (cloaked, another clear photo) and the pairs of two cloaked photos that do not match, how
visible it is, and the time.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from faceveil import bench, datasets, recognizers
from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import GradientAttack
from faceveil.attacks.transforms import Colorless, Momentum, Smoothing
from faceveil.bench import held_out
from faceveil.bench.held_out import ALL, HELD_OUT, ZOO, at, besides
from faceveil.bench.material import People
from faceveil.methods.identities import bent, virtual
from faceveil.methods.scene import Scene
from faceveil.methods.veil import Veil
from faceveil.metrics.masking import allowance
from faceveil.objectives.feature import Dodging, RelativeIdentification
from faceveil.objectives.views import JPEG, Halving, OneOf, Rounding
from faceveil.types import Images


@dataclass(frozen=True)
class Variant(Veil):
    """veil with parts that can be changed; what is not changed is as there, but nothing stops early."""

    toward: str = "bent"  # or random: an embedding for each photo, or nobody: only away
    even: float = 0.0  # levels, the same for every pixel of the face, in place of the allowance
    colors: bool = False  # each channel moves on its own
    smoothing: int = 0  # the width of a Gaussian over the gradient
    suffering: bool = True  # JPEG, halving and rounding in the loop
    dropout: float = 0.0  # after the surrogates' activations (ghost networks)

    def cloak(self, scene: Scene) -> Images:
        sources = scene.embed()
        if self.toward == "random":
            seeds = scene.seeds(self.seed)
            others = [virtual(*pair, 1, seeds)[:, 0] for pair in zip(scene.surrogates, sources, strict=True)]
        else:
            others = list(bent(scene, sources, self.seed))

        def objective(i, guide):
            if self.toward == "nobody":
                return Dodging(guide, sources[i])
            return guide.threshold**-2 * RelativeIdentification(guide, sources[i], others[i][:, None])

        levels = self.even * scene.share
        if not self.even:
            levels = allowance(scene.images, scene.share, torch.full((len(levels),), self.dissimilarity), self.epsilon)
        largest = self.even or self.epsilon
        walk = (*(() if self.colors else (Colorless(),)), Momentum(self.decay))
        if self.smoothing:
            walk = (Smoothing(self.smoothing), *walk)
        attack = GradientAttack(
            Linf(largest, levels / largest), self.steps, self.stride * largest / 255, walk, random_start=True
        )
        suffered = OneOf((JPEG(60, 95), Halving(), Rounding(), Rounding()) if self.suffering else (Rounding(),))
        ghosts = [
            layer.register_forward_hook(self._drop)
            for guide in scene.surrogates
            for layer in guide.modules()
            if self.dropout and type(layer).__name__ in ("PReLU", "ReLU", "ReLU6")
        ]
        cloaked = attack(scene.images, scene.mean(objective).through(suffered))
        for ghost in ghosts:
            ghost.remove()
        return cloaked

    def _drop(self, layer, images, found):
        kept = torch.empty(found.shape[1:], dtype=found.dtype).bernoulli_(1 - self.dropout)
        return found * kept / (1 - self.dropout)


VARIANTS = {
    "veil": {},
    "twice the steps": {"steps": 50},
    "half the steps, twice as long": {"steps": 12, "stride": 0.25},
    "only away from the person": {"toward": "nobody"},
    "toward random embeddings": {"toward": "random"},
    "12 levels on all of the face": {"even": 12.0},
    "colors, too": {"colors": True},
    "gradients smoothed, 5 pixels": {"smoothing": 5},
    "no jitter of the alignment": {"jitter": (0.0, 0.0, 0.0)},
    "half the jitter": {"jitter": (0.03, 0.03, 0.02)},
    "no JPEG, halving or rounding": {"suffering": False},
    "momentum 1": {"decay": 1.0},
    "dropout 0.1 in the surrogates": {"dropout": 0.1},
    "at most 24 levels": {"epsilon": 24.0},
    "at most 12 levels": {"epsilon": 12.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held_out.method = lambda surrogates, settings, seed: Variant(
        surrogates, seed=seed, **VARIANTS[str(settings["method"])]
    )
    surrogates = tuple(recognizers.load(name) for name in besides(*ZOO["mobilefacenet"]).split("+"))
    judges = [recognizers.load(name) for name in ALL if name in ZOO["mobilefacenet"]]
    people = People(arguments.people, 2, 3)
    print("| version | pairs | two cloaked ones | SSIMULACRA2 | SSIM | s a face |\n|---|---|---|---|---|---|")
    for name in arguments.only:
        plan = bench.Plan(people, at(arguments.people, {"method": name}))
        data = {arguments.data.name: datasets.open(arguments.data)}
        experiment = replace(HELD_OUT, name="ablation", full=plan)
        (cell,) = bench.run(experiment, data, [surrogates], arguments.out, judges=judges).cells
        judged = cell.found["judged"]["JPEG 75"].values()
        pairs = np.mean([np.sum(each["cloaked"]["missed"]) / np.sum(each["cloaked"]["pairs"]) for each in judged])
        twice = np.mean([each["twice"] for each in judged])
        seen = cell.found["quality"]
        visible = f"{seen['SSIMULACRA2']['mean']:.1f} | {seen['SSIM']['mean']:.3f}"
        print(f"| {name} | {pairs:.0%} | {twice:.0%} | {visible} | {cell.found['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
