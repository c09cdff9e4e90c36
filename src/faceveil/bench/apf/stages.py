"""What APF's experiments share: pairs of one person, a probe's gradients, and clouds that learned before."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int64
from numpy import ndarray
from safetensors.torch import load_file, save

from faceveil.attacks.universal import TrainedAttack, fooled
from faceveil.bench.base import Settings
from faceveil.bench.material import BATCH, AlignedPart, Material, Part
from faceveil.datasets import Dataset, Pair
from faceveil.errors import SettingError
from faceveil.files import publish
from faceveil.methods.apf import Apf
from faceveil.methods.apf.cloud import Cloud
from faceveil.methods.apf.learning import Learning, Lesson, pairs
from faceveil.methods.scene import Scene
from faceveil.methods.universal import dodging
from faceveil.objectives.feature import distance
from faceveil.protocols.success import attack_success_rate
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, digest
from faceveil.types import Images

Rows = Int64[ndarray, " n"]


@dataclass(frozen=True)
class Genuine:
    """So many pairs of one person, spread evenly over a data set's list, or all of them where `count` is 0.

    Of several lists it takes the last, CFP's FP; where there is none, the pairs are each person's first two photos.
    """

    count: int = 0

    def __call__(self, dataset: Dataset, seed: int) -> Part:
        """Raises `SettingError` for a data set without such pairs."""
        lists, here = list(dataset.pairs().values()), {sample.name: sample for sample in dataset}
        listed = lists[-1] if lists else _first_two(dataset)
        same = [pair for pair in listed if pair.same and {pair.first, pair.second} <= {*here}]
        if not same:
            raise SettingError(
                f"{dataset.path} has no two photos of one person to compare; give a folder of people with more"
            )
        every = max(1, len(same) // self.count) if self.count else 1
        chosen = same[::every][: self.count or None]
        named = dict.fromkeys(name for pair in chosen for name in (pair.first, pair.second))
        kind = AlignedPart if dataset.aligned else Part
        return kind(dataset.path, tuple(here[name] for name in named), tuple(chosen))


def _first_two(dataset: Dataset) -> list[Pair]:
    photos: dict[str, list[str]] = {}
    for sample in dataset:
        if sample.identity is not None:
            photos.setdefault(sample.identity, []).append(sample.name)
    return [Pair(own[0], own[1], same=True, fold=1) for own in photos.values() if len(own) > 1]


@dataclass(frozen=True, eq=False)
class Stages:
    """A material's probe and servers, and how APF is run on it: at the settings "attack", "steps" and those below.

    The photos that are learned from are the material's `training`; what was learned lies in its `school`.
    """

    material: Material
    settings: Settings

    @cached_property
    def probe(self) -> Recognizer:
        """The device's recognizer, its fast copy."""
        return self.material.recognizer.surrogate()

    @cached_property
    def servers(self) -> tuple[Recognizer, ...]:
        """The cloud's recognizers, their fast copies; the probe where there is no other."""
        return tuple(net.surrogate() for net in self.material.surrogates[1:] or self.material.surrogates)

    @property
    def template(self) -> str:
        """The template of the probe's faces."""
        return self.probe.card.input.template

    def gradient(self, nets: Sequence[Recognizer], rows: Rows, enrolled: Rows, scatter: float = 0.0) -> Images:
        """The change that the attack finds for some photos, as the recognizers see them, away from enrolled ones.

        With `scatter`, from places near those (Eq. 13), so many times as far as in the paper.
        """
        method = Apf(
            tuple(nets),
            str(self.settings["attack"]),
            steps=int(self.settings["steps"]),
            scatter=scatter,
            seed=self.material.seed,
        )
        found = []
        for start in range(0, len(rows), BATCH):
            here, there = (self._scene(some[start : start + BATCH], nets) for some in (rows, enrolled))
            found.append(method.gradient(here, there.embed()).cpu())
        return torch.cat(found)

    def learning(self, enhanced: bool) -> Learning:
        """How the cloud learns."""

        def count(name: str) -> int:
            return int(self.settings[name])

        return Learning(
            enhanced=enhanced,
            attack=str(self.settings["attack"]),
            rate=float(self.settings["rate"]),
            seed=self.material.seed,
            width=count("width"),
            steps=count("steps"),
            ascents=count("ascents"),
            transfers=count("transfers"),
            epochs=count("epochs"),
            batch=count("batch"),
        )

    def clouds(self, enhanced: bool) -> list[Cloud]:
        """The cloud, with u and E or without, after each epoch of Eq. 9; each is kept, as learning goes on but once."""
        learning = self.learning(enhanced)
        lesson = self._lesson(learning)
        kept = "enhanced" if enhanced else "plain"

        def file(epoch: int) -> Path:
            return lesson.folder / kept / f"epoch-{epoch}.safetensors"

        def keep(epoch: int, cloud: Cloud) -> dict[str, float]:
            publish(save(cloud.state_dict()), file(epoch), force=True)
            return {}

        last, _ = lesson.learn(keep)
        found = [copy.deepcopy(last) for _ in range(learning.epochs)]
        for epoch, cloud in enumerate(found, 1):
            cloud.load_state_dict(load_file(file(epoch)))
        return found

    def transferred(self) -> Cloud:
        """The cloud as it is before Eq. 9: T by Eq. 4 alone."""
        return self._lesson(replace(self.learning(enhanced=False), epochs=0)).learn()[0]

    def _lesson(self, learning: Learning) -> Lesson:
        return Lesson(
            self.lessons,
            pairs(self.material.training[self.material.recognizer.wanted].labels.tolist()),
            self.probe,
            self.servers,
            self.material.school / str(self.settings["attack"]),
            learning,
            self.template,
            self._engine,
        )

    @property
    def _engine(self) -> Engine:
        return Engine(self.material.recognizer.device.type)

    @property
    def lessons(self) -> Examples:
        """The faces that are learned from."""
        faces = self.material.training[self.material.recognizer.wanted]
        return Examples(len(faces), lambda rows: faces[rows], digest(faces.store[row] for row in faces.rows))

    def universal(self, attack: TrainedAttack, name: str, most: int = 0) -> Images:
        """What UAP, GAP or RHP learns to add to every face [1, 3, h, w]; it learns on the servers.

        It learns from all faces or, with `most`, from about so many of them.
        """
        faces = self.lessons
        every = max(1, faces.count // most) if most else 1
        told = f"every {every} of {faces.told}, to fool {', '.join(fooled(self.servers))}"
        some = Examples(len(range(0, faces.count, every)), lambda rows: faces.read(rows * every), told)
        aim = dodging(self.servers, self.template)
        return attack.fit(some, aim, self.material.school / name, self._engine).perturbation[None]

    def success(self, images: Images, rows: Rows, enrolled: Rows) -> dict[str, float]:
        """The attack success rate (Eq. 11) of cloaked images of some photos, by each judge's threshold."""
        rates = {}
        for judge in self.material.judges:
            clear, cloaked = self.material.clear_to(judge), self.material.cloaked_to(judge, images, rows)
            known = clear[enrolled]
            both = ((distance(some, known) < judge.threshold).numpy() for some in (clear[rows], cloaked))
            rates[judge.name] = attack_success_rate(*both)
        return rates

    def add(self, noise: Images, rows: Rows) -> Images:
        """Photos with noise added, rounded to 8 bits."""
        clear = self.material.faces[rows]
        return (255 * (clear + noise).clamp(0, 1)).round() / 255

    def _scene(self, rows: Rows, nets: Sequence[Recognizer]) -> Scene:
        images = self.material.faces[rows].to(nets[0].device)
        return Scene.cut(images, self.template, nets)


@torch.no_grad()
def noise(cloud: Callable[[Images], Images], gradient: Images) -> Images:
    """What a cloud makes of gradients, a batch at a time."""
    return torch.cat([cloud(gradient[start : start + BATCH]) for start in range(0, len(gradient), BATCH)])
