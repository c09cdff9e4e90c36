"""RHP (Li et al., 2020): Regional Homogeneity: Towards Learning Transferable Universal Adversarial Perturbations.

https://arxiv.org/abs/1904.00979
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from faceveil.attacks.universal import Aim, TrainedAttack, Universal
from faceveil.errors import SettingError
from faceveil.training import Engine, Examples, Learner, Track, Workshop, from_0, positive, train, untracked
from faceveil.types import Images


class RegionNorm(nn.Module):
    """Batch normalization of each region on its own, over its pixels and channels; regions are a grid's cells.

    It starts at zero (`zero_init` in the released code). The image's sides must be multiples of the grid's.
    """

    def __init__(self, regions: tuple[int, int]) -> None:
        super().__init__()
        self.regions = regions
        self.norm = nn.BatchNorm1d(regions[0] * regions[1])
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Images) -> Images:
        n, channels, height, width = x.shape
        rows, columns = self.regions
        if height % rows or width % columns:
            raise SettingError(f"{rows} x {columns} regions do not divide images of {height} x {width}; choose others")
        cells = x.reshape(n, channels, rows, height // rows, columns, width // columns).permute(0, 1, 3, 5, 2, 4)
        normed = self.norm(cells.reshape(-1, rows * columns)).view(cells.shape)
        back: Tensor = normed.permute(0, 1, 4, 2, 5, 3).reshape(x.shape)
        return back


class GradientTransformer(nn.Module):
    """The gradient plus a region norm of its 1x1 convolution; from no gradient at all, the universal direction."""

    def __init__(self, regions: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = RegionNorm(regions)

    def forward(self, gradient: Images) -> Images:
        y: Tensor = gradient + self.norm(self.convolution(gradient))
        return y


@dataclass(frozen=True)
class RHP(TrainedAttack):
    """A transformer of gradients learns the one step that lowers the loss most; what it makes of zeros is universal.

    Regions are so many `columns`, each one pixel wide where they are 0, as in the released code, whose optimizer and
    learning rate these are, too. The gradient passes the sign as if it were not. That of a face is taken up to a level
    of noise away from it, as a face has no direction away from itself.
    """

    epsilon: float = 8.0
    columns: int = 0
    rate: float = 1.25e-4
    epochs: int = 10
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(rate=self.rate, epochs=self.epochs)
        from_0(columns=self.columns)

    def fit(
        self, images: Examples, aim: Aim, folder: Path, engine: Engine | None = None, track: Track = untracked
    ) -> Universal:
        size = images.read(np.arange(1)).shape[1:]
        torch.manual_seed(self.seed)
        transformer = GradientTransformer((1, self.columns or size[2]))
        optimizer = torch.optim.Adam(transformer.parameters(), self.rate)

        def step(shop: Workshop, clear: Images) -> dict[str, Tensor]:
            clear = clear.to(shop.device)
            objective = aim(clear)
            stirred = torch.rand(clear.shape, generator=shop.generator).to(clear)
            start = (clear + (2 * stirred - 1) / 255).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(objective(start).sum(), start)
            moved = shop.modules["transformer"](gradient)
            direction = moved + (moved.sign() - moved).detach()
            loss = objective((clear - self.radius * direction).clamp(0, 1)).mean()
            shop.descend("transformer", loss)
            return {"loss": loss}

        learners = {"transformer": Learner(transformer, optimizer)}
        train(learners, step, images, folder, engine=engine, track=track, attack="rhp", **asdict(self))
        device = next(transformer.parameters()).device
        none = torch.zeros((1, *size), device=device)
        with torch.no_grad():
            return Universal(-self.radius * transformer.eval()(none)[0].sign().cpu())
