"""How long a gradient attack takes, beside the loop that nobody can do without, and beside other libraries.

    python benchmarks/attacks.py [--recognizers dlib facenet] [--steps 50] [--batch 16] [--repeats 3]
    python benchmarks/attacks.py --loop [--recognizers dlib facenet] [--steps 50] [--batch 16] [--repeats 3]
    python benchmarks/attacks.py --targets 10 [--recognizers dlib facenet] [--batch 4] [--repeats 3]

An L-infinity attack on one batch, all contenders in turn within one run, one thread. The bare loop is what is written
below; "ours, fast" attacks the recognizer's 16-bit copy, as `protect` does. Times are CPU seconds, the least of the
repeats, since other programs can only add to them; memory is the peak of a process of its own, beyond what it held
before. Libraries that are not installed are left out: pip install foolbox, and with --no-deps torchattacks,
adversarial-robustness-toolbox, six and tqdm.

Nearly all of that time is the recognizer's, the same for all: with --loop it is what a step costs without one.

With --targets it is TIP-IM's gradients for so many targets: passes of its own for each, or one forward pass for all.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor, nn

from faceveil import recognizers
from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import bim
from faceveil.methods.identities import candidates
from faceveil.methods.scene import Scene
from faceveil.methods.tip_im import Aims
from faceveil.objectives.feature import PLAIN, Dodging
from faceveil.recognizers import Recognizer

EPSILON, STEP = 8 / 255, 2 / 255
Attack = Callable[[Tensor], Tensor]


class Classifier(nn.Module):
    """Class 0 is likely where an image is near its source, so that to leave it is to dodge."""

    def __init__(self, recognizer: Recognizer, sources: Tensor) -> None:
        super().__init__()
        self.recognizer, self.sources = recognizer, sources

    def forward(self, images: Tensor) -> Tensor:
        away = (self.recognizer(images) - self.sources).square().sum(1)
        return torch.stack([-away, torch.zeros_like(away)], 1)


def bare(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    def attack(images: Tensor) -> Tensor:
        cloaked = images
        for _ in range(steps):
            cloaked = cloaked.detach().requires_grad_()
            away = (recognizer(cloaked) - sources).square().sum()
            (gradient,) = torch.autograd.grad(away, cloaked)
            cloaked = cloaked.detach() + STEP * gradient.sign()
            cloaked = torch.min(torch.max(cloaked, images - EPSILON), images + EPSILON).clamp(0, 1)
        return cloaked

    return attack


def ours(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    return lambda images: bim(Linf(8), steps, STEP)(images, Dodging(recognizer, sources, PLAIN))


def fast(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    return ours(recognizer.surrogate(), sources, steps)


def torchattacks(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    import torchattacks as library

    model = Classifier(recognizer, sources).eval()
    attack = library.PGD(model, EPSILON, STEP, steps, random_start=False)
    return lambda images: attack(images, torch.zeros(len(images), dtype=torch.long))


def foolbox(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    import foolbox as library

    model = library.PyTorchModel(Classifier(recognizer, sources).eval(), bounds=(0, 1), device="cpu")
    attack = library.attacks.LinfBasicIterativeAttack(steps=steps, abs_stepsize=STEP)
    return lambda images: attack(model, images, torch.zeros(len(images), dtype=torch.long), epsilons=EPSILON)[1]


def art(recognizer: Recognizer, sources: Tensor, steps: int) -> Attack:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    shape = (3, *recognizer.size)
    model = Classifier(recognizer, sources).eval()
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, 2, clip_values=(0, 1), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=EPSILON, eps_step=STEP, max_iter=steps, batch_size=len(sources), verbose=False
    )
    return lambda images: torch.from_numpy(
        attack.generate(images.numpy(), np.eye(2, dtype=np.float32)[np.zeros(len(images), dtype=int)])
    )


CONTENDERS = {"bare loop": bare, "ours": ours, "ours, fast": fast}
LIBRARIES = {"torchattacks": torchattacks, "foolbox": foolbox, "art": art}
CONTENDERS |= {name: contender for name, contender in LIBRARIES.items() if find_spec(name)}


def prepare(name: str, contender: str, batch: int, steps: int) -> tuple[Recognizer, Tensor, Tensor, Attack]:
    recognizer = recognizers.load(name)
    images = torch.rand(batch, 3, *recognizer.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sources = recognizer((images + 0.02).clamp(0, 1))
    return recognizer, images, sources, CONTENDERS[contender](recognizer, sources, steps)


def peak(name: str, contender: str, batch: int) -> float:
    """MiB beyond what the process held before the first step."""
    command = [sys.executable, __file__, "--recognizers", name, "--peak", contender, "--batch", str(batch)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system at once
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def own_peak(name: str, contender: str, batch: int) -> float:
    _, images, _, attack = prepare(name, contender, batch, 3)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on (Linux)
    before = resident("VmRSS")
    attack(images)
    return resident("VmHWM") - before


def resident(which: str) -> float:
    """MiB of this process in memory, now (VmRSS) or at the peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


class Weightless(nn.Module):
    """A recognizer that takes next to no time; its gradients are laid out as real ones are, channels last."""

    def __init__(self, batch: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        weights = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
        self.weights = weights.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weights).mean((2, 3))


def compare_loops(name: str, batch: int, steps: int, repeats: int) -> None:
    """What a step costs besides the recognizer."""
    size = recognizers.load(name).size
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    recognizer: Any = Weightless(batch, size)
    sources = recognizer((images + 0.02).clamp(0, 1))
    taken: dict[str, list[float]] = {contender: [] for contender in CONTENDERS if contender != "ours, fast"}
    for _ in range(repeats):
        for contender, seconds in taken.items():
            attack = CONTENDERS[contender](recognizer, sources, steps)
            start = time.process_time()
            attack(images)
            seconds.append(time.process_time() - start)
    print(f"the loop alone, batch {batch} of {name}'s size, {steps} steps (least of {repeats})")
    for contender, seconds in taken.items():
        print(f"{contender:14}{1000 * min(seconds) / steps:9.2f} CPU ms a step")


def compare(name: str, batch: int, steps: int, repeats: int) -> None:
    attacks = {contender: prepare(name, contender, batch, steps) for contender in CONTENDERS}
    seconds: dict[str, list[float]] = {contender: [] for contender in attacks}
    strength = {}
    for _ in range(repeats):
        for contender, (recognizer, images, sources, attack) in attacks.items():
            start = time.process_time()
            cloaked = attack(images)
            seconds[contender].append(time.process_time() - start)
            with torch.no_grad():
                strength[contender] = float((recognizer(cloaked) - sources).norm(dim=1).mean())
    print(f"{name}, batch {batch}, {steps} steps (least of {repeats})")
    print(f"{'':14}{'CPU s':>9}{'of bare':>9}{'MiB':>7}{'distance':>10}")
    for contender, taken in seconds.items():
        print(
            f"{contender:14}{min(taken):9.2f}{min(taken) / min(seconds['bare loop']):9.2f}"
            f"{peak(name, contender, batch):7.0f}{strength[contender]:10.3f}"
        )


def compare_targets(name: str, count: int, batch: int, repeats: int) -> None:
    recognizer = recognizers.load(name)
    images = torch.rand(batch, 3, *recognizer.size, generator=torch.Generator().manual_seed(0))
    taken: dict[str, list[float]] = {"each alone": [], "together": [], "together, fast": []}
    for surrogate, ways in ((recognizer, ("each alone", "together")), (recognizer.surrogate(), ("together, fast",))):
        scene = Scene.aligned(images, (surrogate,))
        sources = scene.embed()
        aims = Aims(scene, sources, candidates(scene, sources, (), count, 0))
        moved = (images + 0.02).clamp(0, 1)
        for _ in range(repeats):
            for way in ways:
                start = time.process_time()
                if way == "each alone":
                    for target in range(count):
                        seen = moved.clone().requires_grad_()
                        torch.autograd.grad(aims.objective(target)(seen).sum(), seen)
                else:
                    aims.gradients(moved)
                taken[way].append(time.process_time() - start)
    print(f"{name}, batch {batch}, {count} targets (least of {repeats})")
    for way, seconds in taken.items():
        print(f"{way:14}{min(seconds):9.2f}{min(seconds) / min(taken['each alone']):9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time gradient attacks.")
    parser.add_argument("--recognizers", nargs="+", default=["dlib", "facenet"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--targets", type=int, default=0)
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(own_peak(options.recognizers[0], options.peak, options.batch))
        return
    for name in options.recognizers:
        if options.targets:
            compare_targets(name, options.targets, options.batch, options.repeats)
        elif options.loop:
            compare_loops(name, options.batch, options.steps, options.repeats)
        else:
            compare(name, options.batch, options.steps, options.repeats)


if __name__ == "__main__":
    main()
