"""What photo programs that people run would make of cloaked photos, beside clear photos of the person."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from faceveil.checking import because, nearest
from faceveil.errors import FaceveilError, NoFaceError
from faceveil.faces.detect import Detector
from faceveil.files import one_line
from faceveil.photo import Photo
from faceveil.proof import Sighting, embed
from faceveil.protocols.apps import App
from faceveil.protocols.clustering import ALONE
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Pixels

View = tuple[Callable[[Pixels], Pixels], Recognizer]  # the preview that a program makes, and who looks at it
Sight = Float[Tensor, "_ d"] | None  # of the faces of a photo, the largest first, where one is found
Seen = Mapping[View, Sight]
Look = Callable[[Pixels, int | None], Seen]

MOST = {"cloaked": None, "clear": 2, "other": 1}  # faces looked at; a second one tells that a clear photo is crowded


@dataclass(frozen=True)
class Opinion:
    """What one program makes of the cloaked photos: with which others it takes them for one person.

    `recognizer` gave the embeddings; where it is not `own`, the program's, its threshold takes the place of that one's.
    A program that `sorts` puts photos of one person together, others compare photos two by two. `same` counts for each
    cloaked photo the clear ones that are taken for the same person; None where no face is found. `clear` counts the
    clear photos that are taken for the same person as another one, `together` the cloaked ones likewise. It has
    `judged` where it knows the person: by clear photos that it takes for one person, by a cloaked one that it takes for
    the same person, or by the one clear photo that is all it has to compare with.
    """

    program: str
    recognizer: str
    own: bool
    sorts: bool
    same: tuple[int | None, ...]
    clear: int
    together: int
    judged: bool

    @property
    def recognized(self) -> int:
        """How many cloaked photos are taken for the same person as a clear one."""
        return sum(bool(count) for count in self.same)


@dataclass(frozen=True)
class Opinions:
    """All opinions; `left_out` says why photos could not be used. Several faces are in the clear photos `crowded`."""

    cloaked: tuple[Path, ...]
    clear: tuple[Path, ...]
    others: int
    opinions: tuple[Opinion, ...]
    left_out: tuple[str, ...]
    crowded: tuple[Path, ...] = ()

    @property
    def recognizing(self) -> tuple[str, ...]:
        """The programs that recognize a cloaked photo."""
        return tuple(dict.fromkeys(opinion.program for opinion in self.opinions if opinion.recognized))

    @property
    def undecided(self) -> tuple[str, ...]:
        """The programs that, with some recognizer, have not judged."""
        return tuple(dict.fromkeys(opinion.program for opinion in self.opinions if not opinion.judged))

    @property
    def misled(self) -> tuple[str, ...]:
        """The programs that know the person, and recognize no cloaked photo."""
        others = {*self.recognizing, *self.undecided}
        return tuple(dict.fromkeys(opinion.program for opinion in self.opinions if opinion.program not in others))


def opinions(
    detector: Detector,
    programs: Sequence[tuple[str, App, Recognizer]],
    cloaked: Sequence[Path],
    against: Sequence[Path],
    gallery: Sequence[Path] = (),
) -> Opinions:
    """What programs, by their names, make of a face of each photo by the embeddings of a recognizer each.

    Of the cloaked photos it is the one nearest to the clear ones, of others the largest. Each looks at the preview that
    it makes of a photo; the detector stands in for its own. A clear photo with a cloaked one's pixels is left out.
    Raises `NoFaceError` where no cloaked, or no clear, photo shows a face.
    """
    look = partial(_look, detector, {(app.preview, judge) for _, app, judge in programs})
    left_out: list[str] = []
    marks: set[bytes] = set()
    shared, clear, others = (
        {path: seen for path in paths if (seen := _seen(path, look, kind, marks, left_out))}
        for kind, paths in (("cloaked", cloaked), ("clear", against), ("other", gallery))
    )
    for kind, photos in (("cloaked photo", shared), ("clear photo of the person", clear)):
        if not any(each is not None for seen in photos.values() for each in seen.values()):
            raise NoFaceError(f"no {kind} shows a face that is found{because(left_out)}; give others")
    told = []
    for name, app, judge in programs:
        sights = ([seen[app.preview, judge] for seen in some.values()] for some in (shared, clear, others))
        told.append(_opinion(name, app, judge, *sights))
    crowded = (
        path for path, seen in clear.items() if any(each is not None and len(each) > 1 for each in seen.values())
    )
    return Opinions(tuple(shared), tuple(clear), len(others), tuple(told), tuple(left_out), tuple(crowded))


def _seen(path: Path, look: Look, kind: str, marks: set[bytes], left_out: list[str]) -> Seen | None:
    """What is seen in a photo; nothing where it cannot be used. `marks` are hashes of the cloaked photos."""
    try:
        pixels = Photo.open(path).pixels
    except FaceveilError as error:
        left_out.append(str(error))
        return None
    mark = sha256(pixels.tobytes()).digest()
    if kind == "cloaked":
        marks.add(mark)
    elif mark in marks:
        left_out.append(f"{one_line(path)}: is a cloaked photo itself")
        return None
    seen = look(pixels, MOST[kind])
    if not any(each is not None for each in seen.values()):
        left_out.append(f"{one_line(path)}: no face found")
        return seen if kind == "cloaked" else None
    return seen


def _look(detector: Detector, views: Collection[View], pixels: Pixels, most: int | None) -> Seen:
    """The embeddings [n, d] of the largest faces in each view of a photo; None where no face is found."""
    seen: dict[View, Sight] = {}
    for preview in {preview for preview, _ in views}:
        small = preview(pixels)
        faces = detector([small])[0]
        for view in (view for view in views if view[0] == preview):
            found = [Sighting.of(face, small) for face in faces[:most]]
            seen[view] = embed(view[1], found) if found else None
    return seen


def _opinion(
    name: str, app: App, judge: Recognizer, shared: Sequence[Sight], clear: Sequence[Sight], others: Sequence[Sight]
) -> Opinion:
    own = app.card == judge.name
    rules = app if own else app.scaled(judge.threshold)
    faces, known, strangers = ([each for each in some if each is not None] for some in (shared, clear, others))
    known, strangers = ([each[:1] for each in some] for some in (known, strangers))
    found = [nearest(each[None], torch.cat(known)) if known else each[:1] for each in faces]
    before = _same(rules, [*known, *strangers])[: len(known), : len(known)]
    after = _same(rules, [*known, *strangers, *found])
    matches = after[len(after) - len(found) :, : len(known)]
    matched = iter(matches.sum(1).tolist())
    return Opinion(
        program=name,
        recognizer=judge.name,
        own=own,
        sorts=app.clusterer is not None,
        same=tuple(None if each is None else next(matched) for each in shared),
        clear=int(before.any(1).sum()),
        together=int(after[len(after) - len(found) :, len(after) - len(found) :].any(1).sum()),
        judged=bool(before.any() or matches.any() or (app.clusterer is None and len(known) == 1)),
    )


def _same(app: App, embeddings: Sequence[Embeddings]) -> Bool[ndarray, "m m"]:
    """Which photos it takes for one person, no photo with itself."""
    if not embeddings:
        return np.zeros((0, 0), np.bool_)
    together = torch.cat(list(embeddings))
    if app.clusterer is None:
        same = app.match(together, together)
    else:
        people = app.people(together)
        same = (people[:, None] == people) & (people != ALONE)
    return same & ~np.eye(len(same), dtype=np.bool_)
