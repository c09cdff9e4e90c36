"""A photo in, a cloaked photo and proofs out; see `batch` for files, of any number."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from typing import Any

import torch

from faceveil import recognizers
from faceveil.device import choose
from faceveil.errors import NoFaceError, SettingError
from faceveil.faces.detect import Detector, Face
from faceveil.faces.region import Region
from faceveil.faces.templates import template
from faceveil.files import one_line
from faceveil.methods import ENSEMBLES, SURROGATES, Method, Personal, build
from faceveil.methods.album import Album
from faceveil.methods.scene import Scene
from faceveil.methods.settings import one_of
from faceveil.methods.veil import STRENGTHS
from faceveil.objectives.feature import distance
from faceveil.photo import Photo
from faceveil.proof import FaceProof, Sighting, embed, prove
from faceveil.recognizers import Recognizer, store
from faceveil.types import Embeddings, Own, Pixels

FOREIGN = (RuntimeError, MemoryError)  # what PyTorch raises, and what fails for want of memory


@dataclass(frozen=True)
class Result:
    """A cloaked photo, and a proof for each of its cloaked faces, measured on its file's bytes in its own format."""

    photo: Photo
    faces: tuple[FaceProof, ...]
    seconds: float
    beside: int = 0  # faces that were found, and left as they are

    @property
    def recognized(self) -> bool:
        """Whether anyone whose face was cloaked is still recognized."""
        return any(face.recognized for face in self.faces)


@dataclass(frozen=True)
class Choice:
    """Which faces of a photo are cloaked: all, the largest, or some by number (0 is the largest).

    With `only_like`, a photo, only those in which the recognizer sees the person whose face is largest in it.
    """

    faces: str | Sequence[int] = "all"
    only_like: Photo | None = None

    def __post_init__(self) -> None:
        numbers = isinstance(self.faces, Sequence) and all(map(_whole, self.faces))
        if self.faces not in ("all", "largest") and not (numbers and self.faces):
            raise SettingError(f"faces is {self.faces!r}; it is all, largest, or numbers (0 is the largest face)")
        if not isinstance(self.faces, str) and min(self.faces) < 0:
            raise SettingError(f"there is no face {min(self.faces)}; give numbers from 0, which is the largest face")


def _whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


class Protector:
    """Everything that is loaded once: the detector, the method with its surrogates, and the recognizers that judge."""

    @torch.inference_mode(False)
    def __init__(
        self,
        method: str = "veil",
        epsilon: float | None = None,
        surrogates: Sequence[str | Recognizer] | None = None,
        judges: Sequence[str | Recognizer] | None = None,
        targets: Iterable[Photo] = (),
        settings: Mapping[str, Any] | None = None,
        choice: Choice | None = None,
        device: str = "auto",
        seed: int = 0,
        strength: str | None = None,
    ) -> None:
        """Load what a method of `METHODS` needs; `epsilon`, in 8-bit levels, and `settings` are its own.

        What is not given is as in its paper; veil's `strength` is light, balanced or strong. Cloaks are made against
        the `surrogates`: unless they are named, veil's and LowKey's against all that are `at_hand`, APF's with its own
        probe, other methods' against dlib. The `judges` measure them, too: all recognizers on this machine unless they
        are named. Both are names, or recognizers of one's own on the same device. `targets` are photos of people as
        whom a method may disguise a face.

        Raises `SettingError` for a method or settings that make no sense, `WeightsError` for a recognizer that is not
        here, has no threshold, or does not fit its card, and `NoFaceError` where `targets` or `only_like` show no face.
        """
        own = {"seed": seed, **(settings or {})}
        if strength is not None:
            own["quality"] = quality(strength, method, own)
        self.device = choose(device)
        if any(isinstance(given, str | Recognizer) for given in (surrogates, judges)) or surrogates in ((), []):
            raise SettingError("surrogates and judges are lists of recognizers or names, and one surrogate is needed")
        if judges is None:
            judges = [card.name for card in store.judges()]
        if surrogates is None:
            surrogates = at_hand() if method in ENSEMBLES else SURROGATES.get(method, ("dlib",))
        loaded = {
            one: one if isinstance(one, Recognizer) else recognizers.load(one, self.device)
            for one in dict.fromkeys([*surrogates, *judges])
        }
        self.detector = Detector(self.device)
        self.surrogates = tuple(loaded[one] for one in surrogates)
        self.judges = tuple(loaded.values())
        if len({recognizer.name for recognizer in self.judges}) < len(self.judges):
            alike = ", ".join(recognizer.name for recognizer in self.judges)
            raise SettingError(f"each recognizer needs a name of its own, and these are {alike}")
        for recognizer in self.judges:
            _ = recognizer.threshold  # raises `WeightsError` now, before anything is written
        for one in loaded:
            if isinstance(one, Recognizer):
                one.check(guides=one in self.surrogates)
                _ = template(*one.wanted)  # raises `SettingError` for an alignment that is not known
        if epsilon is not None:
            own["epsilon"] = epsilon
        if targets:
            own["targets"] = self._targets(targets)
        self.method = self._built = build(method, self.surrogates, own)
        self.choice = choice or Choice()
        self._wanted = self._person(self.choice.only_like) if self.choice.only_like else None
        self.enroll([])

    def find(self, photo: Photo) -> list[Face]:
        """The faces of a photo that are to be cloaked, the largest first; raises `NoFaceError` where there is none."""
        return self.look(photo)[0]

    def look(self, photo: Photo) -> tuple[list[Face], int]:
        """The same, and how many other faces it shows."""
        found = self.detector([photo.pixels])[0]
        chosen = self._chosen(photo, found)
        return chosen, len(found) - len(chosen)

    def _chosen(self, photo: Photo, faces: list[Face]) -> list[Face]:
        if not faces:
            raise NoFaceError("no face found, nothing written; faces must be 24 pixels wide or more")
        if self.choice.faces == "largest":
            faces = faces[:1]
        elif not isinstance(self.choice.faces, str):
            missing = [number for number in self.choice.faces if number >= len(faces)]
            if missing:
                there = (
                    f"the {len(faces)} found are 0 to {len(faces) - 1}" if len(faces) > 1 else "there is only face 0"
                )
                raise NoFaceError(f"there is no face {missing[0]}; {there}")
            faces = [faces[number] for number in dict.fromkeys(self.choice.faces)]
        if not (wanted := self._like(photo, faces)):
            raise NoFaceError("none of its faces is like the person's; nothing written")
        return wanted

    def enroll(self, photos: Iterable[Photo]) -> None:
        """Let a method that cloaks a person's photos alike know the person of `only_like`, by that photo and these.

        Without `only_like`, and for other methods, nothing happens; photos without the person are passed over.
        """
        known, method = self.choice.only_like, self._built
        if known is None or not isinstance(method, Personal):
            return
        regions = self._seen(known)
        for photo in photos:
            with suppress(*FOREIGN):  # it fails again when it is cloaked, and is told of then
                regions += self._seen(photo)
        self.method = method.enroll(Scene.of(regions, method.guides, method.jitter, method.weights))

    def cloak(
        self, photos: Sequence[Photo], faces: Sequence[Sequence[Face]], album: Album | None = None
    ) -> list[Photo]:
        """The photos with those faces cloaked, all of them together (see `cloak`)."""
        return cloak(self.method, photos, faces, album)

    def see(self, photo: Photo, faces: Sequence[Face]) -> tuple[Own, ...]:
        """The embeddings of faces by each surrogate that guides cloaks."""
        return Scene.of(_regions(photo, faces), self.method.guides).embed()

    def prove(
        self, clear: Photo, shared: Photo, faces: Sequence[Face], attacked: Sequence[str] | None = None
    ) -> tuple[FaceProof, ...]:
        """The proofs of a clear photo's faces in the photo that is shared.

        `attacked` names the recognizers that its cloak was made against; they are those of the last one unless given.
        Their kin, trained on from one of them or before it, were attacked, too.
        """
        attacked = self.method.attacked if attacked is None else attacked
        kin = {*attacked, *(judge.card.kin for judge in self.judges if judge.name in attacked)}
        attacked = [*attacked, *(judge.name for judge in self.judges if judge.card.kin in kin)]
        return tuple(prove(self.detector, self.judges, attacked, clear.pixels, shared.pixels, faces))

    def _seen(self, photo: Photo) -> list[Region]:
        """The largest face of the person in a photo, if there is one."""
        return _regions(photo, self._like(photo, self.detector([photo.pixels])[0])[:1])

    def _like(self, photo: Photo, faces: list[Face]) -> list[Face]:
        """Those of a photo's faces in which the first surrogate sees the person; all where nobody is wanted."""
        if self._wanted is None or not faces:
            return faces
        near = distance(self._embed(photo.pixels, faces), self._wanted.expand(len(faces), -1))
        return [face for face, d in zip(faces, near.tolist(), strict=True) if d < self.surrogates[0].threshold]

    def _person(self, photo: Photo) -> Embeddings:
        faces = self.detector([photo.pixels])[0]
        if not faces:
            name = one_line(photo.path or "the photo of the person")
            raise NoFaceError(f"{name}: shows no face to look for; give a clear photo of the person")
        return self._embed(photo.pixels, faces[:1])

    def _targets(self, photos: Iterable[Photo]) -> tuple[Embeddings, ...]:
        """For each surrogate, the embeddings of the largest face of each photo that shows one."""
        seen = [
            [embed(surrogate, [Sighting.of(face, photo.pixels)]) for surrogate in self.surrogates]
            for photo in photos
            for face in self.detector([photo.pixels])[0][:1]
        ]
        if not seen:
            raise NoFaceError("no photo of a target shows a face; give others")
        return tuple(map(torch.cat, zip(*seen, strict=True)))

    def _embed(self, pixels: Pixels, faces: Sequence[Face]) -> Embeddings:
        return embed(self.surrogates[0], [Sighting.of(face, pixels) for face in faces])


def at_hand() -> tuple[str, ...]:
    """The recognizers on this machine, but one that is left to judge: the most accurate that has others of its kind.

    Those that were trained on from it, or it from them, are left out with it.
    """
    here = store.judges()
    kinds = [kind for kind, _ in {(card.architecture, card.kin) for card in here}]
    ours = [card for card in here if kinds.count(card.architecture) > 1]
    judge = max(ours, key=lambda card: card.measured.get("accuracy", 0.0), default=None)
    return tuple(card.name for card in here if judge is None or card.kin != judge.kin)


def quality(strength: str, method: str, settings: Mapping[str, Any]) -> float:
    """The quality that a strength stands for; `SettingError` for another method than veil, or beside a quality."""
    if method != "veil":
        raise SettingError(f"strength is for veil; give {method} an epsilon")
    if "quality" in settings:
        raise SettingError("strength sets the quality; leave out one of the two")
    one_of(STRENGTHS, strength=strength)
    return STRENGTHS[strength]


def cloak(
    method: Method, photos: Sequence[Photo], faces: Sequence[Sequence[Face]], album: Album | None = None
) -> list[Photo]:
    """The photos with those faces cloaked by a method, all of them together.

    With an album, a person's cloaks are to stay apart from those in it, and from each other (see `Album`). Raises what
    the method does: `SettingError` for settings that do not suit the faces, `RuntimeError` out of memory, say.
    """
    with torch.inference_mode(False):
        regions = [_regions(photo, found) for photo, found in zip(photos, faces, strict=True)]
        together = [region for own in regions for region in own]
        cloaked = iter(method(together, album).cpu())
    shared = []
    for photo, own in zip(photos, regions, strict=True):
        pixels = photo.pixels.copy()
        for region in own:
            region.paste(next(cloaked) - region.images[0], pixels, photo.pixels)
        shared.append(photo.with_pixels(pixels))
    return shared


def _regions(photo: Photo, faces: Sequence[Face]) -> list[Region]:
    return [Region.around(face.points, photo.pixels, photo.gray) for face in faces]


def protect(photo: Photo, protector: Protector | None = None, album: Album | None = None, **settings: Any) -> Result:
    """Cloak the faces of a photo, and measure what it is worth on the bytes of the file that will be shared.

    `settings` are those of `Protector`; one that is made once serves any number of photos. With an album, veil's cloaks
    of a person's photos are kept apart. Raises `NoFaceError`, and what `Protector` raises; `SettingError` for settings
    beside a protector, which has its own.
    """
    start = time.perf_counter()
    if not isinstance(photo, Photo) or not isinstance(protector, Protector | None):
        raise SettingError(
            "protect takes a Photo, such as Photo.open(PATH) or Photo.from_array(ARRAY), and a Protector"
        )
    if protector and settings:
        raise SettingError(f"the protector has its own settings; leave out {', '.join(settings)}, or make another one")
    protector = protector or Protector(**settings)
    faces, beside = protector.look(photo)
    (cloaked,) = protector.cloak([photo], [faces], album)
    shared = Photo.open(BytesIO(cloaked.encode()), photo.width * photo.height)
    proofs = protector.prove(photo, shared, faces)
    return Result(cloaked, proofs, time.perf_counter() - start, beside)
