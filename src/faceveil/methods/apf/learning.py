"""How the cloud learns: to turn gradients of the probe into noise that fools servers (APF, 3.4 and 3.5)."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from faceveil import weights
from faceveil.attacks.quantization import Grid
from faceveil.attacks.universal import Perturbation, fooled
from faceveil.files import publish
from faceveil.methods.apf import Apf
from faceveil.methods.apf.cloud import Cloud
from faceveil.methods.scene import Scene
from faceveil.objectives.feature import Dodging, distance
from faceveil.recognizers import Recognizer
from faceveil.training import (
    CHECKPOINT,
    Engine,
    Examples,
    Figures,
    Indices,
    Learner,
    Step,
    Track,
    Workshop,
    digest,
    from_0,
    keep,
    positive,
    resume,
    train,
    untracked,
)
from faceveil.types import Images, Own

TARGET = "fgsm"  # Eq. 4 learns the servers' gradients of Eq. 1, whatever attack finds the probe's
BATCH = 32  # photos whose gradients are found together, and kept in one file

Pairs = Sequence[tuple[int, int]]  # a photo, and another of the same person, the enrolled one, by index
Judge = Callable[[int, Cloud], Figures]


@dataclass(frozen=True)
class Learning:
    """How a cloud of `width` channels is trained within `epsilon` levels; the paper's numbers (4.1) where it has any.

    The first `transfers` epochs are Eq. 4 (5 with several servers), then come `epochs` of Eq. 9 (10), with u and E
    where `enhanced`; without any, and not `enhanced`, the cloud is T as Eq. 4 leaves it. `attack`, in `steps` steps,
    finds the probe's gradients. The cloud is given one of so many `values` for each number of a gradient (see `Grid`;
    0: the number itself). Gradients lead away from the enrolled photo or, with `own`, from near the photo itself (Eq.
    13), as where none is known. u is found in `ascents` steps. `rate` is Adam's learning rate.
    """

    width: int = 64
    epsilon: float = 8.0
    enhanced: bool = True
    values: int = 0
    own: bool = False
    attack: str = "di2"
    steps: int = 30
    ascents: int = 100
    transfers: int = 1
    epochs: int = 50
    batch: int = 100
    rate: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        positive(width=self.width, steps=self.steps, batch=self.batch, rate=self.rate)
        from_0(ascents=self.ascents, transfers=self.transfers, epochs=self.epochs, seed=self.seed)
        Apf((), self.attack, self.epsilon, steps=self.steps)  # raises `SettingError` for no attack, or no budget
        if self.values:
            Grid(self.epsilon, self.values)  # raises `SettingError`, too


def pairs(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Each photo of a person with two or more, and that person's next one, by their labels; -1 is nobody's."""
    photos: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        photos.setdefault(label, []).append(index)
    several = [own for who, own in photos.items() if who >= 0 and len(own) > 1]
    return [(here, there) for own in several for here, there in zip(own, own[1:] + own[:1], strict=True)]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from: faces, aligned to a template, pairs of them, the probe, the servers.

    What was found is kept in the folder, which is for the same faces (see `Examples.told`) and recognizers only: a run
    that was stopped goes on. The servers count equally, each distance in units of its threshold: embeddings of
    different lengths cannot be added as in Eq. 10.
    """

    faces: Examples
    pairs: Pairs
    probe: Recognizer
    servers: tuple[Recognizer, ...]
    folder: Path
    learning: Learning
    template: str = "arcface"
    engine: Engine | None = None
    track: Track = untracked

    def learn(self, judge: Judge | None = None) -> tuple[Cloud, list[dict[str, float]]]:
        """The cloud, and what each epoch of Eq. 9 found, with what `judge` says of the cloud after it.

        Raises `SettingError` where the folder holds a run of other faces, recognizers or settings.
        """
        learning = self.learning
        torch.manual_seed(learning.seed)
        cloud = Cloud(learning.width, learning.epsilon, learning.enhanced, learning.values, self._size)
        with weights.alone(self.folder):
            told = {"data": self._shown, **self._nets}
            resume(self.folder / CHECKPOINT, told, torch.device("cpu"))
            keep(self.folder / CHECKPOINT, told, {})
            self._keep((self.probe,), learning.attack)
            if learning.transfers:
                self._keep(self.servers, TARGET)
            if learning.enhanced:
                cloud.universal.copy_(self._universal() * self._unit)
        judged = None if judge is None else partial(_ask, judge, cloud)
        if learning.transfers:
            self._train("transfer", cloud.transfer, self._transfer, learning.transfers)
        place, history = "enhanced" if learning.enhanced else "plain", list[dict[str, float]]()
        if learning.epochs:
            history = self._train(place, cloud, self._enhance, learning.epochs, judged)
        return cloud.eval().cpu().requires_grad_(False), history

    @property
    def _unit(self) -> float:
        return 255 / self.learning.epsilon

    @cached_property
    def _size(self) -> tuple[int, int]:
        height, width = self._clear(np.arange(1)).shape[2:]
        return height, width

    @cached_property
    def _enrolled(self) -> dict[str, Own]:
        """Each recognizer's embeddings of the enrolled photo of each pair."""
        there = np.array([second for _, second in self.pairs])
        return {net.name: self._embed(net, there) for net in (self.probe, *self.servers)}

    def _embed(self, net: Recognizer, photos: Indices) -> Own:
        parts = (photos[start : start + BATCH] for start in range(0, len(photos), BATCH))
        return torch.cat([self._scene(self.faces.read(part), (net,)).embed()[0].cpu() for part in parts])

    def _scene(self, images: Images, nets: Sequence[Recognizer]) -> Scene:
        return Scene.cut(images.to(nets[0].device), self.template, nets)

    def _clear(self, rows: Indices) -> Images:
        """The photos of those pairs."""
        images: Images = self.faces.read(np.array([self.pairs[row][0] for row in rows]))
        return images

    def _gradient(self, net: Recognizer, attack: str, rows: Indices) -> Images:
        """The gradient g of those pairs by one recognizer and attack."""
        learning = self.learning
        method = Apf((net,), attack, learning.epsilon, steps=learning.steps, scatter=learning.own, seed=learning.seed)
        scene = self._scene(self._clear(rows), (net,))
        sources = None if learning.own else (self._enrolled[net.name][rows].to(scene.images),)
        return method.gradient(scene, sources).cpu()

    def _keep(self, nets: Sequence[Recognizer], attack: str) -> None:
        """Finds the gradients of all pairs, the mean of several recognizers' (Eq. 5), and keeps them in files."""
        starts = range(0, len(self.pairs), BATCH)
        batches = [np.arange(start, min(start + BATCH, len(self.pairs))) for start in starts]
        todo = [rows for rows in batches if not self._file(nets, attack, int(rows[0])).is_file()]
        for rows in self.track(todo, f"gradients of {', '.join(net.name for net in nets)}"):
            found = torch.stack([self._gradient(net, attack, rows) for net in nets]).mean(0)
            _save(found.half(), self._file(nets, attack, int(rows[0])))

    def _kept(self, nets: Sequence[Recognizer], attack: str, rows: Indices) -> Images:
        found = [np.load(self._file(nets, attack, int(row)), mmap_mode="r")[row % BATCH] for row in rows]
        return torch.from_numpy(np.stack(found)).float()

    def _file(self, nets: Sequence[Recognizer], attack: str, row: int) -> Path:
        """Where the gradients of a pair and its neighbors are kept; what they depend on has a folder of its own."""
        name = self._name("gradients", nets, attack, self.learning.steps, self.learning.own)
        return self.folder / name / f"{row // BATCH:06}.npy"

    def _name(self, what: str, nets: Sequence[Recognizer], *settings: object) -> str:
        known = [self._known[net.name] for net in nets]
        return f"{what}-{digest([[self._shown, known, self.learning.epsilon, self.learning.seed, *settings]])}"

    @cached_property
    def _shown(self) -> str:
        """Which faces these are, and their pairs."""
        return digest([self.faces.told, self.template, self.pairs])

    @cached_property
    def _known(self) -> dict[str, str]:
        """Each recognizer as the folder knows it."""
        nets = (self.probe, *self.servers)
        return dict(zip((net.name for net in nets), fooled(nets), strict=True))

    @property
    def _nets(self) -> dict[str, Any]:
        """The recognizers, as a checkpoint tells of them."""
        servers = [self._known[server.name] for server in self.servers]
        return {"probe": self._known[self.probe.name], "servers": servers}

    def _universal(self) -> Perturbation:
        """u of Eq. 7, by steps of a level up the gradient's sign: far from all faces, whatever the face."""
        file = self.folder / f"{self._name('universal', self.servers, self.learning.ascents)}.npy"
        if not file.is_file():
            draw = Generator().manual_seed(self.learning.seed)
            u = (2 * torch.rand(3, *self._size, generator=draw) - 1) / (10 * 255)
            every = [self._enrolled[server.name] for server in self.servers]
            order = [
                torch.randint(len(self.pairs), (BATCH,), generator=draw).numpy() for _ in range(self.learning.ascents)
            ]
            for rows in self.track(order, "universal perturbation"):
                scene = self._scene(self._clear(rows), self.servers)
                seen = u.to(scene.images).detach().requires_grad_()
                embeddings = scene.see((scene.images + seen).clamp(0, 1))
                away = [
                    torch.cdist(own, other.to(own)).mean() / server.threshold
                    for own, other, server in zip(embeddings, every, self.servers, strict=True)
                ]
                (gradient,) = torch.autograd.grad(scene.combine(away), seen)
                u = (u + gradient.sign().cpu() / 255).clamp(-1 / self._unit, 1 / self._unit)
            _save(u, file)
        return torch.from_numpy(np.load(file))

    def _seen(self, rows: Indices) -> Images:
        """What the cloud is given for those pairs."""
        found, values = self._kept((self.probe,), self.learning.attack, rows), self.learning.values
        return Grid(self.learning.epsilon, values)(found) if values else found

    def _transfer(self, shop: Workshop, rows: Indices) -> dict[str, Tensor]:
        """A step of Eq. 4, between gradients of unit length: it tells what is right, and not how much is sure.

        Between gradients as they are, as printed, the least error is a noise so faint that it fools nobody.
        """
        both = self._seen(rows), self._kept(self.servers, TARGET, rows)
        given, wanted = (images.to(shop.device) * self._unit for images in both)
        loss = distance(*(F.normalize(each.flatten(1)) for each in (shop.modules["cloud"](given), wanted))).mean()
        shop.descend("cloud", loss)
        return {"transfer": loss}

    def _enhance(self, shop: Workshop, rows: Indices) -> dict[str, Tensor]:
        """A step of Eq. 9."""
        scene = self._scene(self._clear(rows), [server.to(shop.device) for server in self.servers])
        noise = shop.modules["cloud"](self._seen(rows).to(shop.device))
        enrolled = [self._enrolled[server.name][rows].to(shop.device) for server in self.servers]
        loss = scene.mean(lambda i, server: Dodging(server, enrolled[i]))((scene.images + noise).clamp(0, 1)).mean()
        shop.descend("cloud", loss)
        return {"dodging": loss}

    def _train(
        self, place: str, module: nn.Module, step: Step, epochs: int, judge: Callable[[int], Figures] | None = None
    ) -> list[dict[str, float]]:
        count = len(self.pairs)
        settings = asdict(replace(self.learning, epochs=epochs, batch=min(self.learning.batch, count)))
        for name in ("enhanced", "ascents") if place == "transfer" else ():
            del settings[name]  # they make no difference yet
        return train(
            {"cloud": Learner(module, torch.optim.Adam(module.parameters(), self.learning.rate))},
            step,
            Examples(count, lambda rows: rows, self._shown),
            self.folder / place,
            engine=self.engine,
            judge=judge,
            track=self.track,
            **self._nets,
            **settings,
        )


def _ask(judge: Judge, cloud: Cloud, epoch: int) -> Figures:
    return judge(epoch, cloud)


def _save(tensor: Tensor, file: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, tensor.numpy())
    publish(stream.getvalue(), file, force=True)
