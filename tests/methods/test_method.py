"""What every method does with faces in photos: on one that only looks."""

from dataclasses import dataclass, field

import pytest
import torch

from attacks.toys import recognizer, regions
from faceveil.methods.album import Album
from faceveil.methods.base import Method
from faceveil.methods.scene import Scene
from faceveil.recognizers import Recognizer


@dataclass(frozen=True)
class Looking(Method):
    """Makes faces darker, and remembers the scenes."""

    surrogates: tuple[Recognizer, ...]
    jitter: tuple[float, float, float] = (0.1, 0.2, 0.3)
    weights: tuple[float, ...] = (3.0, 1.0)
    batch: int = 2
    seed: int = 0
    seen: list = field(default_factory=list)

    @property
    def keeps_apart(self):
        return True

    def cloak(self, scene):
        self.seen.append(scene)
        return 0.8 * scene.images


@pytest.fixture
def method():
    return Looking((recognizer(0), recognizer(1, normalized=False)))


def test_faces_come_in_batches_with_weights_and_jitter(method):
    places = regions(3)
    cloaked = method(places)
    assert torch.allclose(cloaked, 0.8 * torch.cat([place.images for place in places]))
    assert [len(scene.images) for scene in method.seen] == [2, 1]
    for scene in method.seen:
        assert scene.parts == (0.75, 0.25)
        assert {view.jitter for view in scene.views.values()} == {(0.1, 0.2, 0.3)}
        assert scene.album is None


def test_an_album_holds_faces_as_they_were_and_as_they_will_be_shared(method):
    places, album = regions(3), Album()
    cloaked = method(places, album)
    scene = Scene.of(places, method.guides)
    for kept, images in ((album.clear, scene.images), (album.cloaked, cloaked)):
        assert all(torch.allclose(own, seen, atol=1e-2) for own, seen in zip(kept, scene.embed(images), strict=True))
    assert all(scene.album is album for scene in method.seen)
    assert not torch.allclose(album.clear[0], album.cloaked[0], atol=0.1)
