"""What each part of veil is worth: the whole, and versions of it that lack or change one thing.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/ablation.py ../shared/data/lfw --people 16

Two photos of each person are cloaked against dlib, FaceNet and MobileNet, or those that --against names; four
MobileFaceNets judge the files after JPEG 75. A row: the pairs (cloaked, another clear photo) and the pairs of two
cloaked photos that do not match, how visible it is, and the time.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from faceveil import bench, datasets, recognizers
from faceveil.attacks.budget import Linf, Unseen
from faceveil.attacks.gradient import GradientAttack, Stop
from faceveil.attacks.transforms import Colorless, Momentum, Smoothing, VarianceTuning
from faceveil.bench import held_out
from faceveil.bench.held_out import ALL, HELD_OUT, ZOO, at, besides
from faceveil.bench.material import People
from faceveil.methods import build
from faceveil.methods.identities import bent, virtual
from faceveil.methods.scene import Scene
from faceveil.methods.veil import SMALL, Veil
from faceveil.metrics.masking import STABILITY, detail_masking, masking
from faceveil.metrics.visibility import Visibility, error
from faceveil.objectives.base import Drawn, Objective
from faceveil.objectives.diversity import Blocks, Dimming, Spectrum, Tinting
from faceveil.objectives.feature import Dodging, RelativeIdentification
from faceveil.objectives.views import JPEG, Halving, OneOf, Rounding
from faceveil.types import Images

VIEWS = {
    "plain": (),
    "three": (Dimming(1.0),) * 3,
    "spectrum": (Spectrum(),) * 3,
    "blocks": (Blocks(),) * 3,
    "scales": tuple(map(Dimming, (1.0, 0.5, 0.25))),
    "tints": (Tinting(20.0),) * 3,
}
BRANCHES = ("conv2", "up")  # the last convolutions of residual branches, dlib's and FaceNet's
INNER = {"dlib": "blocks.9", "facenet": "block17", "mobilenetv1-vggface2": "pw.10"}


@dataclass(frozen=True)
class Variant(Veil):
    """veil with parts that can be changed; what is not changed is as there."""

    toward: str = "bent"  # or random: an embedding for each photo, or nobody: only away
    mirror: tuple[float, ...] = ()  # how far it bends, how it is lit, at how many places a side; as `bent` has it
    even: float = 0.0  # levels, the same for every pixel of the face, and steps by the gradient's sign
    dissimilarity: float = 0.0  # such steps inside levels by the local variance that cost so much structure
    root: float = 0.25  # those levels follow the variance by this power
    masked: float = 1.0  # steps follow the masking by this power
    detailed: bool = True  # those of detail follow that of detail
    signs: bool = False  # steps by the gradient's sign
    smoothing: int = 0  # the width of a Gaussian over the gradient
    suffering: bool = True  # JPEG, halving and rounding in the loop
    views: str = "plain"  # a step's gradient is the mean of those through each
    neighbors: int = 0  # of variance tuning
    drawn: bool = False  # one surrogate for each step
    hardest: bool = False  # the surrogate that is left least, for each face at each step
    inner: float = 0.0  # the weight of the change of an inner layer
    dropout: float = 0.0  # after the surrogates' convolutions (ghost networks)
    perturbed: float = 0.0  # noise on the surrogates' weights at each step, as a share of each
    skipping: float = 1.0  # the part of the gradient that passes residual branches (skip gradient method)
    smooth: bool = False  # the gradient passes rectifiers as it would pass softplus
    restarts: int = 1  # of which the best is kept
    start: str = ""  # a trained method, from whose cloak the walk starts
    warped: float = 0.0  # pixels by which the face is bent first, in the way that leads farthest
    done: float = 0.0  # thresholds beyond which a face is left alone, looked at every five steps; 0 for never
    faded: float = 0.0  # thresholds: of the change, the smallest part that all surrogates see so far; 0 for all of it

    def cloak(self, scene: Scene) -> Images:
        sources, inner = self._clear(scene)
        if self.toward == "random":
            seeds = scene.seeds(self.seed)
            others = [virtual(*pair, 1, seeds)[:, 0] for pair in zip(scene.surrogates, sources, strict=True)]
        else:
            others = list(bent(scene, sources, self.seed, *self.mirror))

        def lead(i, guide):
            if self.toward == "nobody":
                return Dodging(guide, sources[i])
            return guide.threshold**-2 * RelativeIdentification(guide, sources[i], others[i][:, None], self.walk.away)

        def objective(i, guide):
            return lead(i, guide) + self.inner * Change(guide, inner[i]) if self.inner else lead(i, guide)

        suffered = OneOf((JPEG(60, 95), Halving(), Rounding(), Rounding()) if self.suffering else (Rounding(),))
        aim = self._together(scene, objective)
        images = self._warp(scene, aim.through(suffered)) if self.warped else scene.images
        budget, step = self._budget(scene, images)
        start = None
        if self.start:
            first = build(self.start, scene.surrogates, {"seed": self.seed}).cloak(scene)
            start = budget.project(images + first - scene.images, images)
        walk = (
            *((VarianceTuning(4 / 255, self.neighbors),) if self.neighbors else ()),
            *((Smoothing(self.smoothing),) if self.smoothing else ()),
            Colorless(),
            Momentum(self.decay),
        )
        attack = GradientAttack(budget, self.walk.steps, step, walk, random_start=True, views=VIEWS[self.views])
        away = Largest(each(scene, lambda i, guide: Dodging(guide, sources[i]))).through(JPEG(75, 75))
        stop = Stop(away, -self.done) if self.done else None
        with ExitStack() as altered:
            self._alter(scene, altered)
            tries = [
                replace(attack, seed=self.seed + i)(images, aim.through(suffered), stop, start)
                for i in range(self.restarts)
            ]
        if isinstance(budget, Unseen):
            tries = [budget.hold(each, images) for each in tries]
        with torch.no_grad():
            best = torch.stack([aim(each) for each in tries]).argmin(0)
            cloaked = torch.stack(tries)[best, torch.arange(len(best))]
            return fade(cloaked, scene.images, lambda images: away(images) <= -self.faded) if self.faded else cloaked

    def _together(self, scene, objective):
        """One objective of the surrogates'."""
        if not (self.drawn or self.hardest):
            return scene.mean(objective)
        return (Drawn if self.drawn else Largest)(each(scene, objective))

    def _budget(self, scene, images):
        """What may change, and a step's size."""
        if not (self.even or self.dissimilarity):
            share = scene.share * masking(images) ** self.masked
            fine = scene.share * detail_masking(images) ** self.masked if self.detailed else share
            visibility = Visibility(images, (scene.extents / SMALL).clamp(max=1))
            kind = Signed if self.signs else Unseen
            return kind(visibility, error(self.quality), self.epsilon, share, fine), self.stride / 255
        levels = self.even * scene.share
        if not self.even:
            levels = allowance(images, scene.share, self.dissimilarity, min(self.epsilon, 16.0), self.root)
        largest = float(levels.max())
        return Linf(largest, levels / largest), largest / 8 / 255

    def _warp(self, scene, aim, places=12, steps=30):
        """The faces, bent smoothly by at most so many pixels."""
        shape, generator = [len(scene.images), 3, *scene.images.shape[2:]], torch.Generator().manual_seed(self.seed)
        here = F.affine_grid(torch.eye(2, 3).expand(shape[0], 2, 3), shape, align_corners=True)

        def bend(shift):
            smooth = F.interpolate(shift, shape[2:], mode="bicubic", align_corners=True) * scene.share
            there = here + (2 * self.warped / shape[3]) * smooth.permute(0, 2, 3, 1)
            bent = F.grid_sample(scene.images, there, mode="bicubic", padding_mode="border", align_corners=True)
            return bent.clamp(0, 1)

        shift = 0.1 * torch.randn(shape[0], 2, places, places, generator=generator)
        momentum = torch.zeros_like(shift)
        for _ in range(steps):
            shift.requires_grad_()
            (gradient,) = torch.autograd.grad(aim(bend(shift), generator).sum(), shift)
            momentum = 0.7 * momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
            shift = (shift.detach() - 0.15 * momentum.sign()).clamp(-1, 1)
        return bend(shift)

    def _clear(self, scene):
        """The surrogates' embeddings and inner features of the photos as they are."""
        seen = {}
        with ExitStack() as hooks:
            for guide in scene.surrogates if self.inner else ():
                keep = partial(lambda name, layer, given, found: seen.update({name: found}), guide.name)
                hooks.enter_context(guide.network.get_submodule(INNER[guide.name]).register_forward_hook(keep))
            return scene.embed(), [seen.get(guide.name) for guide in scene.surrogates]

    def _alter(self, scene, altered):
        """Changes how the surrogates, or gradients in them, work."""
        for guide in scene.surrogates:
            for name, layer in guide.network.named_modules():
                if self.dropout and isinstance(layer, nn.Conv2d):
                    altered.enter_context(layer.register_forward_hook(self._drop))
                if self.perturbed and isinstance(layer, nn.Conv2d):
                    altered.enter_context(layer.register_forward_hook(self._perturb))
                if self.skipping < 1 and name.split(".")[-1] in BRANCHES:
                    altered.enter_context(layer.register_forward_hook(self._skip))
        if self.smooth:
            altered.enter_context(Smooth())

    def _drop(self, layer, images, found):
        kept = torch.empty(found.shape[1:], dtype=found.dtype).bernoulli_(1 - self.dropout)
        return found * kept / (1 - self.dropout)

    def _perturb(self, layer, given, found):
        noise = self.perturbed * layer.weight * torch.randn_like(layer.weight)
        return found + layer._conv_forward(given[0], noise, None)

    def _skip(self, layer, images, found):
        return self.skipping * found + (1 - self.skipping) * found.detach()


def each(scene, make):
    """An objective for each surrogate, by number, seen through its view."""
    return tuple(make(i, net).through(scene.views[net.wanted]) for i, net in enumerate(scene.surrogates))


def allowance(images, share, dissimilarity, largest, root):
    """Levels by a power of the local variance: the expected 1 - SSIM is as wanted where the share is not 0."""
    structure = STABILITY * masking(images).square()
    shape, seen = share * (structure / STABILITY) ** root, (share > 0).float()
    low, high = torch.zeros(len(images), 1, 1, 1), torch.full((len(images), 1, 1, 1), largest)
    for _ in range(16):
        middle = (low + high) / 2
        square = (middle * shape).clamp(max=largest).square() / 2
        cost = (seen * square / (structure + square)).sum((1, 2, 3), keepdim=True) / seen.sum((1, 2, 3), keepdim=True)
        low, high = torch.where(cost > dissimilarity, low, middle), torch.where(cost > dissimilarity, middle, high)
    return (low * shape).clamp(max=largest)


def fade(cloaked, images, enough):
    """The smallest part of each change, to a hundredth, that is enough; all of it where even that is not."""
    low, high = images.new_zeros(len(images), 1, 1, 1), images.new_ones(len(images), 1, 1, 1)
    for _ in range(7):
        part = (low + high) / 2
        fits = enough(images + part * (cloaked - images))[:, None, None, None]
        low, high = torch.where(fits, low, part), torch.where(fits, part, high)
    return images + high * (cloaked - images)


@dataclass(frozen=True)
class Signed(Unseen):
    """Steps by the gradient's sign, as long where a pixel may change much."""

    def step(self, gradient, size):
        return -size * self.share * gradient.sign()


@dataclass(frozen=True)
class Largest(Objective):
    """The largest of several losses: what is left to do where all must be low."""

    terms: tuple[Objective, ...]

    def __call__(self, images, generator=None):
        return torch.stack([term(images, generator) for term in self.terms]).amax(0)

    def __getitem__(self, chosen):
        return Largest(tuple(term[chosen] for term in self.terms))


@dataclass(frozen=True)
class Change(Objective):
    """Minus the change of an inner layer's features, as a share of their energy."""

    guide: recognizers.Recognizer
    clear: torch.Tensor

    def __call__(self, images, generator=None):
        seen = []
        with self.guide.network.get_submodule(INNER[self.guide.name]).register_forward_hook(
            lambda layer, given, found: seen.append(found)
        ):
            self.guide(images)
        energy = self.clear.square().flatten(1).mean(1)
        return -(seen[0] - self.clear).square().flatten(1).mean(1) / energy

    def __getitem__(self, chosen):
        return Change(self.guide, self.clear[chosen])


class Smooth(TorchFunctionMode):
    """Rectifiers are what they were, but the gradient passes them as it would pass softplus (ReLU smoothing)."""

    def __torch_function__(self, function, types, given=(), named=None):
        found = function(*given, **(named or {}))
        if function not in (F.relu, F.relu6):
            return found
        soft = F.softplus(given[0], beta=10)
        if function is F.relu6:
            soft = soft - F.softplus(given[0] - 6, beta=10)
        return soft + (found - soft).detach()


VARIANTS = {
    "veil": {},
    "50 steps": {"steps": 50},
    "25 steps": {"steps": 25},
    "15 steps": {"steps": 15},
    "12 steps": {"steps": 12},
    "8 steps": {"steps": 8},
    "steps half as long": {"stride": 0.5},
    "momentum 0.7": {"decay": 0.7},
    "momentum 0.8": {"decay": 0.8},
    "detail masked as all is": {"detailed": False},
    "the same, momentum 0.7": {"detailed": False, "decay": 0.7},
    "steps by the gradient's sign": {"signs": True},
    "steps by the root of the masking": {"masked": 0.5},
    "the same, at most 24 levels, quality 20": {"masked": 0.5, "epsilon": 24.0, "quality": 20.0},
    "the same steps on all of the face": {"masked": 0.0},
    "steps by the sign, levels by the variance (the veil before)": {"dissimilarity": 0.13},
    "only away from the person": {"toward": "nobody"},
    "toward random embeddings": {"toward": "random"},
    "the mirror bent by 0.1 at 5 x 5 places, evenly lit, away 1": {"mirror": (0.1, 0.0, 5), "away": 1.0},
    "the mirror bent by 0.1 at 3 x 3 places, away 1": {"mirror": (0.1, 0.2, 3), "away": 1.0},
    "the mirror bent by 0.1 at 8 x 8 places, evenly lit": {"mirror": (0.1, 0.0, 8)},
    "the mirror bent by 0.1 at 3 x 3 places": {"mirror": (0.1, 0.2, 3)},
    "the mirror bent at 3 x 3 places, lit by 0.4, away 2": {"mirror": (0.07, 0.4, 3), "away": 2.0},
    "away 1": {"away": 1.0},
    "away 3": {"away": 3.0},
    "away 8": {"away": 8.0},
    "away 1.5": {"away": 1.5},
    "away 1.5, quality 30": {"away": 1.5, "quality": 30.0},
    "only away, 8 levels on all of the face": {"toward": "nobody", "even": 8.0},
    "only away, 12 levels on all of the face": {"toward": "nobody", "even": 12.0},
    "only away, 0.05": {"toward": "nobody", "dissimilarity": 0.05},
    "only away, 0.08": {"toward": "nobody", "dissimilarity": 0.08},
    "only away, 0.10": {"toward": "nobody", "dissimilarity": 0.10},
    "only away, 0.10, by the square root of the variance": {"toward": "nobody", "dissimilarity": 0.10, "root": 0.5},
    "only away, 0.10, by the mask alone": {"toward": "nobody", "dissimilarity": 0.10, "root": 0.0},
    "only away, 0.05, by the eighth root": {"toward": "nobody", "dissimilarity": 0.05, "root": 0.125},
    "only away, 0.05, momentum 0.9": {"toward": "nobody", "dissimilarity": 0.05, "decay": 0.9},
    "only away, 0.05, twice the jitter": {"toward": "nobody", "dissimilarity": 0.05, "jitter": (0.12, 0.12, 0.08)},
    "12 levels on all of the face": {"even": 12.0},
    "gradients smoothed, 5 pixels": {"smoothing": 5},
    "no jitter of the alignment": {"jitter": (0.0, 0.0, 0.0)},
    "half the jitter": {"jitter": (0.03, 0.03, 0.02)},
    "twice the jitter": {"jitter": (0.12, 0.12, 0.08)},
    "no JPEG, halving or rounding": {"suffering": False},
    "momentum 1": {"decay": 1.0},
    "the mean gradient of three looks": {"views": "three"},
    "of three spectra (SSA)": {"views": "spectrum"},
    "of three block shuffles (BSR)": {"views": "blocks"},
    "of three scales (SI)": {"views": "scales"},
    "of three tints": {"views": "tints"},
    "variance tuning, three neighbors": {"neighbors": 3},
    "one surrogate for each step": {"drawn": True},
    "the surrogate that is left least": {"hardest": True},
    "an inner layer's change, too": {"inner": 0.5},
    "half the gradient through residual branches (SGM)": {"skipping": 0.5},
    "rectifiers smoothed in the gradient": {"smooth": True},
    "the best of three starts": {"restarts": 3},
    "from the cloak of the generator that ships (AdvFaces)": {"start": "advfaces"},
    "dropout 0.05 in the surrogates": {"dropout": 0.05},
    "dropout 0.1 in the surrogates": {"dropout": 0.1},
    "noise of 0.1 on the surrogates' weights": {"perturbed": 0.1},
    "left alone beyond 1.1 thresholds": {"done": 1.1},
    "left alone beyond 1.5 thresholds": {"done": 1.5},
    "25 steps, left alone beyond 1.3 thresholds": {"steps": 25, "done": 1.3},
    "25 steps, left alone beyond 1.5 thresholds": {"steps": 25, "done": 1.5},
    "25 steps, left alone beyond 1.7 thresholds": {"steps": 25, "done": 1.7},
    "faded to 1.1 thresholds": {"faded": 1.1},
    "faded to 1.3 thresholds": {"faded": 1.3},
    "the face bent by up to 3 pixels, nothing else": {"warped": 3.0, "even": 1e-3},
    "the face bent by up to 1 pixel, and quality 50": {"warped": 1.0, "quality": 50.0},
    "quality 30": {"quality": 30.0},
    "quality 50 (light)": {"quality": 50.0},
    "quality 10 (strong)": {"quality": 10.0},
    "at most 48 levels": {"epsilon": 48.0},
    "at most 16 levels": {"epsilon": 16.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS))
    parser.add_argument("--against", default=besides(*ZOO["mobilefacenet"]), help="dlib, dlib+facenet ...")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=NUMBER", help="for all versions: away=1.5 ...")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    own = {name: float(number) for name, number in (word.split("=") for word in arguments.set)}
    held_out.method = lambda surrogates, settings, seed: Variant(
        surrogates, seed=seed, **own | VARIANTS[str(settings["method"])]
    )
    surrogates = tuple(recognizers.load(name) for name in arguments.against.split("+"))
    judges = [recognizers.load(name) for name in ALL if name in ZOO["mobilefacenet"]]
    people = People(arguments.people, 2, 3)
    print("| version | pairs | two cloaked ones | SSIMULACRA2 | SSIM | s a face |\n|---|---|---|---|---|---|")
    for name in arguments.only:
        plan = bench.Plan(people, at(arguments.people, {"method": name, **own}))
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
