"""TIP-IM (Yang et al., 2021): Towards Face Encryption by Generating Adversarial Identity Masks.

Away from the person and toward one of several targets; each step tries every target and takes the one that gains most
(Algorithm 1). https://arxiv.org/abs/2003.06814
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from faceveil.attacks.budget import L2, Budget, Linf
from faceveil.attacks.gradient import GradientAttack
from faceveil.attacks.transforms import Momentum
from faceveil.methods.base import Method
from faceveil.methods.identities import Candidates, apart, candidates
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.objectives.base import Drawn, Objective, View
from faceveil.objectives.diversity import Affinity, Padding
from faceveil.objectives.feature import RelativeIdentification
from faceveil.objectives.naturalness import Naturalness
from faceveil.recognizers import Recognizer
from faceveil.types import Directions, Images, Own

# G3 (Eq. 7), G1 (section 5.1, Center-Opt) and G2 (released code only): log(1 + ... exp(D(x, source) - D(x, target)))
GAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda gaps: gaps.exp().amax(-1).log1p(),
    "sum": lambda gaps: gaps.exp().sum(-1).log1p(),
    "min": lambda gaps: gaps.exp().amin(-1).log1p(),
}
SEARCHES = ("greedy", "nearest", "drawn", "each")

DIVERSITY = Padding()  # DIM's


@dataclass(frozen=True)
class Along(Linf):
    """Steps along the gradient, the root mean square of their changes their size; the same bound for each channel."""

    def step(self, gradient: Directions, size: float) -> Directions:
        return L2(self.levels, self.share).step(gradient, size)


NORMS: dict[str, type[Linf]] = {"linf": Linf, "l2": Along}

# What the paper compares with (section 5.1), and its released code as it is when nothing is said to it:
# TipIm(surrogates, **VARIANTS[name]).
VARIANTS: dict[str, dict[str, Any]] = {
    "mim": {"search": "each", "view": None},
    "dim": {"search": "each"},
    "mt-dim": {"search": "nearest"},
    "center-opt": {"gain": "sum"},
    "released": {"steps": 100, "step_size": 0.18, "norm": "l2", "view": Affinity(), "power": 1},
}


@dataclass(frozen=True)
class TipIm(Method):
    """Cloaks inside `epsilon` 8-bit levels, in `steps` steps of `step_size` levels with momentum (section 5.1).

    `targets` are embeddings [m, d] of others for each surrogate; without any, `identities` virtual ones, so that nobody
    real is impersonated. `gamma` weighs naturalness (Eq. 4; the paper tries 0 to 3). `view` is the input diversity: the
    paper names momentum alone (section 4.2), but its released code always has some, and without it (None) cloaks fool
    unknown recognizers less often. It is DIM's unless given; "released" has the code's.

    `norm` is a step's: `linf`, by the gradient's sign, or `l2`, along the gradient, the root mean square of its changes
    the `step_size`, as in the released code; no channel moves by more than `epsilon` with either.

    `search` is how a target is found: `greedy` (Algorithm 1), `nearest` (the one with the least loss at each step),
    `drawn` (at random at each step) or `each` (all of them, each with a cloak of its own, and the best kept). `gain`
    judges them, on distances to the `power`: squared ones in the paper, Euclidean ones in the released code.

    MT-DIM has "a dynamic assignment from same target set in the inner minimization", says the paper, without code: the
    target of least loss, `nearest`. With `drawn` it reaches one as seldom on the surrogate itself as Table 3 has it.
    """

    surrogates: tuple[Recognizer, ...]
    targets: tuple[Own, ...] = ()
    epsilon: float = 12.0
    steps: int = 50
    step_size: float = 1.5
    decay: float = 1.0
    norm: str = "linf"
    gamma: float = 0.0
    view: View | None = DIVERSITY
    search: str = "greedy"
    gain: str = "max"
    power: int = 2
    identities: int = 10
    batch: int = 8
    seed: int = 0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(SEARCHES, search=self.search)
        one_of(GAINS, gain=self.gain)
        one_of(NORMS, norm=self.norm)

    def cloak(self, scene: Scene) -> Images:
        """The cloaked images of a scene."""
        sources = scene.embed()
        aims = Aims(scene, sources, candidates(scene, sources, self.targets, self.identities, self.seed))
        if self.search == "greedy":
            return self._greedy(aims)
        attack = GradientAttack(
            self._budget(scene),
            self.steps,
            self.step_size / 255,
            (Momentum(self.decay),),
            seed=self.seed,
            views=(self.view,) if self.view else (),
        )
        if self.search == "nearest":
            return attack(scene.images, self._natural(aims.objective(), scene.images))
        each = tuple(self._natural(aims.objective(k), scene.images) for k in range(aims.count))
        if self.search == "drawn":
            return attack(scene.images, Drawn(each))
        finished = [attack(scene.images, objective) for objective in each]
        return self._best(aims, torch.stack(finished))[0]

    def _greedy(self, aims: "Aims") -> Images:
        """Algorithm 1, each image with targets of its own choice."""
        images, budget = aims.scene.images, self._budget(aims.scene)
        generator = Generator().manual_seed(self.seed)
        cloaked, memory = images, torch.zeros_like(images)
        for _ in range(self.steps):
            gradients = aims.gradients(cloaked, self.view, generator)
            if self.gamma:
                gradients = gradients + self.gamma * _gradient(Naturalness(images), cloaked)
            moved = self.decay * memory + gradients / gradients.abs().mean((2, 3, 4), keepdim=True).clamp(min=1e-12)
            steps = (budget.step(direction, self.step_size / 255) for direction in moved)
            cloaked, best = self._best(aims, torch.stack([budget.project(cloaked + step, images) for step in steps]))
            memory = moved[best, torch.arange(len(images))]
        return cloaked

    def _budget(self, scene: Scene) -> Budget:
        return NORMS[self.norm](self.epsilon, scene.share)

    def _best(self, aims: "Aims", cloaked: Float[Tensor, "k n 3 h w"]) -> tuple[Images, Tensor]:
        """For each image the one of its k cloaked versions that gains most, and which that is."""
        best = GAINS[self.gain](aims.gaps(cloaked, self.power)).argmax(0)
        return cloaked[best, torch.arange(len(best))], best

    def _natural(self, objective: Objective, images: Images) -> Objective:
        return objective + self.gamma * Naturalness(images) if self.gamma else objective


@dataclass(frozen=True)
class Aims:
    """The people in a scene, `sources` [n, d], and k targets for each, `targets` [n, k, d], for each surrogate.

    D is the surrogates' weighted mean of the squared distance, in units in which strangers have 2, as on the sphere.
    """

    scene: Scene
    sources: Sequence[Own]
    targets: Sequence[Candidates]

    @property
    def count(self) -> int:
        """The number of targets of an image."""
        return self.targets[0].shape[1]

    def objective(self, target: int | None = None) -> Objective:
        """Eq. 2 with one target, by number, or with the nearest."""

        def one(i: int, surrogate: Recognizer) -> Objective:
            chosen = self.targets[i] if target is None else self.targets[i][:, target, None]
            return self._unit(i) * RelativeIdentification(surrogate, self.sources[i], chosen)

        return self.scene.mean(one)

    def gradients(
        self, images: Images, view: View | None = None, generator: Generator | None = None
    ) -> Float[Tensor, "k n 3 h w"]:
        """The gradient of Eq. 2 for each target, all from one forward pass.

        With squared distances that of D(x, t) - D(x, r) is 2 J^T (r - t), where J is the embeddings' Jacobian, so each
        target needs a backward pass and nothing else. (Together, as one batched pass, they take longer.)
        """
        images = images.detach().requires_grad_()
        embeddings = self.scene.see(images if view is None else view(images, generator), generator)
        pulls = [
            2 * part * self._unit(i) * (self.sources[i] - some.transpose(0, 1))
            for i, (part, some) in enumerate(zip(self.scene.parts, self.targets, strict=True))
        ]
        each = [
            torch.autograd.grad(embeddings, images, pull, retain_graph=True)[0] for pull in zip(*pulls, strict=True)
        ]
        return torch.stack(each)

    def gaps(self, cloaked: Float[Tensor, "k n 3 h w"], power: int) -> Float[Tensor, "k n t"]:
        """D(x, source) - D(x, target) for k versions of the n images and each of t targets, distances to the power."""
        embeddings = zip(*map(self.scene.embed, cloaked), strict=True)  # all versions at once leave the caches
        gaps = []
        for i, some in enumerate(embeddings):
            seen = torch.stack(some)[:, :, None]
            own, others = ((seen - at).norm(dim=3) ** power for at in (self.sources[i][:, None], self.targets[i]))
            gaps.append(self._unit(i) ** (power / 2) * (own - others))
        return self.scene.combine(gaps)

    def _unit(self, i: int) -> float:
        return 2 / apart(self.scene.surrogates[i]) ** 2


def _gradient(objective: Objective, images: Images) -> Images:
    images = images.detach().requires_grad_()
    return torch.autograd.grad(objective(images).sum(), images)[0]
