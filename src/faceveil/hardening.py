"""Hardening: a recognizer learns from clear photos and from cloaked ones, so that cloaks work less against it.

Vos, 2023, Creating a Defense against Face De-Identification, Algorithm 1. The same loop trains one from scratch.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn

from faceveil import weights
from faceveil.attacks.universal import fooled
from faceveil.datasets import Faces
from faceveil.errors import SettingError
from faceveil.methods import Method, build
from faceveil.objectives.cross_entropy import Classes
from faceveil.objectives.heads import HEADS, TrainingHead
from faceveil.protocols.calibration import limits
from faceveil.protocols.verification import all_pairs, roc, strangers
from faceveil.recognizers import Card, Recognizer
from faceveil.recognizers.card import ALIKE
from faceveil.recognizers.folding import normalize, restore
from faceveil.training import Engine, Examples, Learner, Track, Workshop, digest, from_0, positive, train, untracked
from faceveil.types import Embeddings, Images

PIECE = 16  # photos that are obfuscated, or embedded, together
APART = 0.75  # the area under the ROC curve (chance: 0.5) with less than which people are hardly told apart

Rows = Int64[ndarray, " _"]
Levels = UInt8[ndarray, "_ _ _ 3"]  # images of 8 bits


@dataclass(frozen=True)
class Obfuscator:
    """A method of `METHODS` by name, and settings of its own."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def method(self, surrogates: Sequence[Recognizer], seed: int | None = None) -> Method:
        """The method against these recognizers, with another seed where one is given."""
        again = {} if seed is None else {"seed": seed}
        return build(self.name, surrogates, {**self.settings, **again})


@dataclass(frozen=True)
class Course:
    """How long and how a recognizer learns; the defaults are Vos's (section 4), and so is the linear head.

    `rate` is Adam's, `head` one of `HEADS`. With `fresh`, photos are obfuscated anew in each epoch, against the
    recognizer as it is by then (adversarial training: Madry et al., 2018, https://arxiv.org/abs/1706.06083), else once,
    against the recognizer that there was. With `scratch`, for a network of random weights, its layers are normalized by
    batch until they have learned. `flip` shows every second photo mirrored (ArcFace's released code). `anchor` weighs
    the squared distance between a photo's direction and the one that its clear version had before: with it, less of
    what the recognizer knew is lost (0 in the paper).
    The share `held_out` of the people, at least two, is not learned from: thresholds are measured on them.
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-4
    head: str = "linear"
    fresh: bool = False
    scratch: bool = False
    flip: bool = False
    anchor: float = 0.0
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise SettingError(f"no head is called {self.head!r}; there are {', '.join(HEADS)}")
        positive(epochs=self.epochs, batch=self.batch, rate=self.rate)
        from_0(anchor=self.anchor, held_out=self.held_out, seed=self.seed)
        if self.scratch and self.batch < 2:
            raise SettingError("batch is 1; what learns from scratch is normalized by batch, and needs 2 or more")
        if self.held_out >= 1:
            raise SettingError(f"held_out is {self.held_out:g}; choose a share of the people, less than 1")


VOS = Course()


@dataclass(frozen=True)
class Hardened:
    """A recognizer that has learned, from which people's photos, and each epoch's mean losses."""

    recognizer: Recognizer
    people: tuple[str, ...]
    history: list[dict[str, float]]


def harden(
    recognizer: Recognizer,
    faces: Faces,
    obfuscators: Sequence[Obfuscator],
    folder: Path,
    course: Course = VOS,
    *,
    name: str = "",
    surrogates: Sequence[Recognizer] = (),
    engine: Engine | None = None,
    track: Track = untracked,
) -> Hardened:
    """A copy of a recognizer that has learned from its `faces`, clear and obfuscated batches taking turns.

    Each batch of clear photos is followed by the same photos obfuscated by each of the obfuscators. (Algorithm 1 shows
    all clear photos of an epoch first; then each epoch would end with obfuscated ones alone.) The final layer has as
    many outputs as there are identities, and is removed afterwards. It is fitted to the features of the clear photos
    first: what a random one asks for would spoil them (Kumar et al., 2022, https://arxiv.org/abs/2202.10054).
    Statistics of batch normalization stay as they are. From scratch, neither.

    Obfuscations are made against the `surrogates`, of which the first takes the recognizer's own images; the recognizer
    alone unless given. `folder` keeps them, and what has been learned after each epoch: a run that was stopped goes on.

    What is to be kept in the store starts from `store.network`: `recognizers.load` has folded batch normalization into
    other layers. Raises `SettingError` for fewer than two people to learn from or to hold out, and for a folder of
    another run.
    """
    if len({obfuscator.name for obfuscator in obfuscators}) < len(obfuscators):
        raise SettingError("an obfuscator is named twice; name each once")
    learned, judged = _divide(faces, course)
    torch.manual_seed(course.seed)
    head = HEADS[course.head](recognizer.card.embedding.size, len(np.unique(faces.labels[learned])))
    if np.bincount(_classes(faces, learned)).max() < head.together:
        found = f"nobody has the {head.together} photos that the head {course.head} learns from together"
        raise SettingError(f"{found}; give more photos of each person, or choose another --head")
    network = deepcopy(recognizer.network)
    device = recognizer.device
    pupil = Recognizer(recognizer.card, normalize(network) if course.scratch else network).to(device)
    before = _features(pupil, faces, learned)
    if not course.scratch:
        head.enroll(before, torch.from_numpy(_classes(faces, learned)))
    classifier = _Classifier(pupil, head, course).requires_grad_(True)
    surrogates = tuple(surrogates) or (recognizer,)
    made = {} if course.fresh else _obfuscate(faces, learned, obfuscators, surrogates, folder, track)
    anchors = F.normalize(before)
    lesson = _Lesson(faces, learned, head.together, pupil, anchors, obfuscators, surrogates[1:], made, course.flip)
    history = train(
        {"classifier": Learner(classifier, torch.optim.Adam(classifier.parameters(), course.rate))},
        lesson,
        Examples(len(lesson.groups), lambda chosen: chosen, _shown(faces, learned)),
        folder,
        engine=engine,
        track=track,
        obfuscators=_told(obfuscators, surrogates),
        **asdict(replace(course, batch=max(1, course.batch // head.together))),
    )
    people = tuple(faces.identities[label] for label in np.unique(faces.labels[learned]))
    restore(network)
    card = _card(recognizer.card, name, len(learned), people, obfuscators, course.scratch)
    card = _calibrated(Recognizer(card, network.to(device)).to(device), faces, judged)
    return Hardened(Recognizer(card, network).to(device), people, history)


@dataclass(frozen=True, eq=False)
class _Lesson:
    """One step: a batch of clear photos, then the same photos by each obfuscator."""

    faces: Faces
    learned: Rows
    together: int
    pupil: Recognizer
    anchors: Embeddings
    obfuscators: Sequence[Obfuscator]
    beside: Sequence[Recognizer]
    made: Mapping[str, Levels]
    flip: bool

    @cached_property
    def classes(self) -> Rows:
        """The class of each photo in `learned`."""
        return _classes(self.faces, self.learned)

    @cached_property
    def groups(self) -> Int64[ndarray, "_ together"]:
        """Places in `learned` of photos that stand side by side in a batch, each group of one person."""
        own = (np.flatnonzero(self.classes == who) for who in np.unique(self.classes))
        whole = [photos[: len(photos) // self.together * self.together] for photos in own]
        return np.concatenate(whole).reshape(-1, self.together)

    def __call__(self, shop: Workshop, chosen: Rows) -> dict[str, Tensor]:
        places = self.groups[chosen].ravel()
        wanted = torch.from_numpy(self.classes[places]).to(shop.device), self.anchors[places].to(shop.device)
        mirrored = torch.rand(len(places), generator=shop.generator) < 0.5 * self.flip
        losses = {}
        for version, images in self._versions(shop, places):
            shown = torch.where(mirrored.to(shop.device)[:, None, None, None], images.flip(3), images)
            loss = shop.modules["classifier"](shown, *wanted)
            shop.descend("classifier", loss)
            losses[version] = loss
        return losses

    def _versions(self, shop: Workshop, places: Rows) -> Iterator[tuple[str, Images]]:
        """Each version of the photos, made when the versions before it have been learned from."""
        clear = self.faces[self.learned[places]].to(shop.device)
        yield "clear", clear
        for obfuscator in self.obfuscators:
            if obfuscator.name in self.made:
                levels = torch.from_numpy(self.made[obfuscator.name][places]).to(shop.device)
                yield obfuscator.name, levels.permute(0, 3, 1, 2) / 255
            else:
                seed = int(torch.randint(2**31, (), generator=shop.generator))
                yield obfuscator.name, self._attack(obfuscator, clear, seed)

    def _attack(self, obfuscator: Obfuscator, clear: Images, seed: int) -> Images:
        """The photos obfuscated against the recognizer as it is now."""
        self.pupil.requires_grad_(False)
        was, _ = self.pupil.training, self.pupil.eval()
        beside = [net.to(clear.device) for net in self.beside]
        cloaked = obfuscator.method((self.pupil, *beside), seed).aligned(clear)
        self.pupil.train(was).requires_grad_(True)
        return (255 * cloaked.detach()).round() / 255


class _Classifier(nn.Module):
    """A recognizer and its head: images, their classes, and the directions of their features before, to a mean loss."""

    def __init__(self, recognizer: Recognizer, head: TrainingHead, course: Course) -> None:
        super().__init__()
        self.recognizer, self.head, self.course = recognizer, head, course

    def forward(self, images: Images, classes: Classes, anchors: Embeddings) -> Tensor:
        features = self.recognizer.features(images)
        losses: Tensor = self.head(features, classes)
        return (losses + self.course.anchor * (F.normalize(features) - anchors).square().sum(1)).mean()

    def train(self, mode: bool = True) -> "_Classifier":
        super().train(mode)
        self.recognizer.train(mode and self.course.scratch)
        return self


def _divide(faces: Faces, course: Course) -> tuple[Rows, Rows]:
    """The photos of the people who are learned from, and of those who are held out."""
    people = np.random.default_rng(course.seed).permutation(np.unique(faces.labels[faces.labels >= 0]))
    count = max(2, round(course.held_out * len(people))) if course.held_out else 0
    if len(people) - count < 2:
        found = f"the photos show {len(people)} people who are known, {count} of them to measure by"
        raise SettingError(f"{found}; two others are needed: give folders of more people, or a smaller --held-out")
    known = np.flatnonzero(faces.labels >= 0)
    held = np.isin(faces.labels[known], people[:count])
    return known[~held], known[held]


def _obfuscate(
    faces: Faces,
    rows: Rows,
    obfuscators: Sequence[Obfuscator],
    surrogates: Sequence[Recognizer],
    folder: Path,
    track: Track,
) -> dict[str, Levels]:
    """Photos by each obfuscator, in files that only grow, so that nothing is made twice."""
    made: dict[str, Levels] = {}
    shape = (len(rows), *faces.store.shape[1:])
    for obfuscator in obfuscators:
        what = digest([_shown(faces, rows), _told([obfuscator], surrogates)])
        path = folder / f"{obfuscator.name}-{what}.uint8"
        with weights.alone(folder), path.open("ab") as stream:
            done = stream.tell() // int(np.prod(shape[1:]))
            done -= done % PIECE if done < len(rows) else 0
            stream.truncate(done * int(np.prod(shape[1:])))
            method = obfuscator.method([surrogate.surrogate() for surrogate in surrogates])
            pieces = [rows[start : start + PIECE] for start in range(done, len(rows), PIECE)]
            for piece in track(pieces, f"{obfuscator.name}: photos"):
                cloaked = method.aligned(faces[piece].to(surrogates[0].device))
                levels = (255 * cloaked).round().to(torch.uint8).permute(0, 2, 3, 1)
                stream.write(levels.cpu().numpy().tobytes())
                stream.flush()
                os.fsync(stream.fileno())  # or after a power cut what was not written counts as made
        made[obfuscator.name] = np.memmap(path, np.uint8, "r", shape=shape)
    return made


def _calibrated(recognizer: Recognizer, faces: Faces, judged: Rows) -> Card:
    """The card, with thresholds measured on these photos, where there are any, and people are told apart by them."""
    if not len(judged):
        return recognizer.card
    features, labels = _features(recognizer, faces, judged), faces.labels[judged]
    embeddings = F.normalize(features) if recognizer.card.embedding.normalized else features
    apart = strangers(embeddings, labels)
    found = replace(recognizer.card, thresholds=limits(apart), measured={"strangers": len(apart)})
    several = len(np.unique(labels)) < len(labels)
    useful = ALIKE < found.thresholds["far_1e-3"] < inf
    alike = several and roc(all_pairs(embeddings, labels)).auc < APART
    return found if useful and not alike else recognizer.card


def _features(recognizer: Recognizer, faces: Faces, rows: Rows) -> Embeddings:
    device = recognizer.device
    pieces = [rows[start : start + PIECE] for start in range(0, len(rows), PIECE)]
    with torch.no_grad():
        return torch.cat([recognizer.features(faces[piece].to(device)).cpu() for piece in pieces])


def _classes(faces: Faces, rows: Rows) -> Rows:
    """The classes of photos, from 0."""
    return np.unique(faces.labels[rows], return_inverse=True)[1]


def _card(
    card: Card, name: str, photos: int, people: Sequence[str], obfuscators: Sequence[Obfuscator], scratch: bool
) -> Card:
    seen = " and ".join(["clear", *(f"cloaked with {obfuscator.name}" for obfuscator in obfuscators)])
    here = f"{photos} photos of {len(people)} people, {seen}"
    title, trained = (card.title.split(" (")[0], here) if scratch else (card.title, f"{card.trained_on}; then {here}")
    return replace(
        card,
        name=name or f"{card.name}-hardened",
        title=f"{title}, trained here",
        trained_on=trained,
        published_accuracy=None,
        thresholds={},
        measured={},
        origin="" if scratch else card.kin,
    )


def _told(obfuscators: Sequence[Obfuscator], surrogates: Sequence[Recognizer]) -> str:
    """Obfuscators and the weights of what they were made against, as text."""
    return json.dumps([[asdict(each) for each in obfuscators], fooled(surrogates)], default=str)


def _shown(faces: Faces, rows: Rows) -> str:
    """A hash of photos and of whom they show."""
    return digest([faces.labels[rows], *(faces.store[row] for row in faces.rows[rows])])
