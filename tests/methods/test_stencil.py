"""Cloaks that come at a template's size, brought to where the face is."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from attacks.toys import pictures, recognizer, regions
from faceveil import trained
from faceveil.attacks.universal import Universal
from faceveil.errors import SettingError, WeightsError
from faceveil.faces.region import GRID
from faceveil.methods.scene import Scene
from faceveil.methods.stencil import Stencil
from faceveil.methods.universal import UniversalMethod, keep
from faceveil.recognizers import Recognizer


@dataclass(frozen=True)
class Painted(Stencil):
    """Adds the same to every face."""

    surrogates: tuple[Recognizer, ...]
    paint: Tensor
    epsilon: float = 8.0
    batch: int = 2

    def perturbation(self, faces):
        return self.paint.expand(len(faces.images), -1, -1, -1)


@dataclass(frozen=True)
class Seeing(Stencil):
    """Adds a curved function of each face."""

    surrogates: tuple[Recognizer, ...]
    epsilon: float = 8.0
    batch: int = 3

    def perturbation(self, faces):
        return (40 * faces.images).sin() * 8 / 255


NETS = (recognizer(),)


def test_an_aligned_face_gets_what_is_added_as_it_is():
    net = recognizer(size=(112, 112), template="arcface")
    paint = 8 / 255 * torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0)).sign()
    images = pictures(2, size=112)
    assert torch.allclose(Painted((net,), paint).aligned(images), (images + paint).clamp(0, 1), atol=2e-4)


def test_the_face_alone_changes_and_by_no_more_than_epsilon():
    places = regions(2)
    cloaked = Painted(NETS, torch.full((1, 3, 112, 112), 0.5), epsilon=4)(places)
    clear, share = torch.cat([place.images for place in places]), torch.cat([place.mask() for place in places])
    change = (cloaked - clear).abs()
    assert change.max() <= 4 / 255 + 1e-6
    assert (change <= 4 / 255 * share + 1e-6).all()
    whole = (share == 1).expand_as(change) & (clear < 0.9)
    assert whole.any()
    assert torch.allclose(change[whole], torch.tensor(4 / 255), atol=1e-6)


def test_what_is_added_goes_where_the_face_shows_it():
    """A spot at the template's left eye lands on the left eye of the face in its photo."""
    place = regions(1)[0]
    paint = torch.zeros(1, 3, 112, 112)
    paint[..., 50:53, 37:40] = 1.0  # ArcFace's left eye lies at (38.8, 52.2), pixel centers at half-integers
    change = (Painted(NETS, paint, epsilon=8)([place]) - place.images)[0].abs().sum(0)
    rows, columns = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    center = torch.stack([(columns * change).sum(), (rows * change).sum()]) / change.sum()
    assert (center - place.on_grid[0, 0]).norm() < 0.1 * (place.on_grid[0, 0] - place.on_grid[0, 1]).norm()


def test_a_gray_photo_stays_gray():
    place = regions(1)[0]
    gray = replace(place, images=place.images.mean(1, keepdim=True).expand(-1, 3, -1, -1), gray=True)
    cloaked = Painted(NETS, torch.randn(1, 3, 112, 112))([gray])
    assert torch.allclose(cloaked[:, :1].expand_as(cloaked), cloaked, atol=1e-6)
    assert not torch.allclose(cloaked, gray.images, atol=1e-3)


def test_each_face_is_cloaked_as_if_alone():
    places = regions(3)
    together = Seeing(NETS)(places)
    alone = torch.cat([Seeing(NETS)([place]) for place in places])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.fixture
def kept(tmp_path):
    drawn = torch.randn(3, 112, 112, generator=torch.Generator().manual_seed(0)).sign()
    path = tmp_path / "drawn.safetensors"
    trained.write(keep(Universal(8 / 255 * drawn), 8.0, {"servers": ["toy-9"]}), path)
    return drawn, path


def test_a_universal_perturbation_is_scaled_to_epsilon(kept):
    drawn, path = kept
    scene = Scene.cut(pictures(2, size=112), "arcface", NETS)
    method = UniversalMethod(NETS, str(path), epsilon=4)
    assert torch.allclose(method.perturbation(scene), (4 / 255 * drawn).expand(2, -1, -1, -1), atol=1e-6)
    assert method.attacked == ("toy-9",)


def test_a_universal_perturbation_of_another_size_is_refused(kept, tmp_path):
    other = tmp_path / "small.safetensors"
    trained.write(keep(Universal(torch.zeros(3, 12, 12)), 8.0, {"servers": []}), other)
    with pytest.raises(WeightsError, match="holds a perturbation of"):
        UniversalMethod(NETS, str(other))
    with pytest.raises(WeightsError, match="advfaces holds a perturbation of"):
        UniversalMethod(NETS, "advfaces")
    with pytest.raises(SettingError, match="epsilon is 0"):
        UniversalMethod(NETS, str(kept[1]), epsilon=0)
