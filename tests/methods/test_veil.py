"""What a veil keeps, on toys: how plainly it is seen."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from attacks.toys import pictures, recognizer
from faceveil.errors import SettingError
from faceveil.faces.region import GRID, Region
from faceveil.methods.album import Album
from faceveil.methods.identities import bent
from faceveil.methods.scene import Scene
from faceveil.methods.veil import ONE, SEVERAL, SMALL, STRENGTHS, Veil, _windows
from faceveil.metrics.masking import detail
from faceveil.metrics.visibility import Visibility, error
from faceveil.objectives import views
from faceveil.recognizers import Recognizer
from photos import scene

FACE = torch.tensor([[[80.0, 90.0], [140.0, 92.0], [110.0, 130.0], [85.0, 165.0], [135.0, 165.0]]])


def region(scale: float) -> Region:
    """A face of that size in a smooth picture."""
    side = int(240 * scale) + 200
    return Region.around(FACE * scale + 60, scene(side, side))


def error_of(clear: torch.Tensor, cloaked: torch.Tensor, part: float = 1.0) -> float:
    """The error of the images' middle, cut out and enlarged."""
    edge = round(GRID * (1 - part) / 2)
    both = [each[..., edge : GRID - edge, edge : GRID - edge] for each in (clear, cloaked)]
    clear, cloaked = (F.interpolate(each, (GRID, GRID), mode="bilinear") for each in both)
    return float(Visibility(clear)(cloaked))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_is_seen_no_more_plainly_than_its_strength_says(strength):
    face, quality = region(1.0), STRENGTHS[strength]
    cloaked = Veil((recognizer(0),), quality, steps=8)([face])
    most = error(quality)
    assert face.extent > GRID
    assert 0.6 * most < error_of(face.images, cloaked) <= 1.001 * most


def test_a_small_face_is_looked_at_as_if_it_were_larger():
    face = region(0.25)
    part = face.extent / SMALL
    assert part < 0.6
    cloaked = Veil((recognizer(0),), steps=8)([face])
    most = error(STRENGTHS["balanced"])
    assert 0.7 * most < error_of(face.images, cloaked, part) < 1.1 * most
    assert error_of(face.images, cloaked) < 0.7 * most


def test_a_blurred_face_stays_blurred():
    pixels = np.asarray(Image.fromarray(scene(260, 260)).filter(ImageFilter.GaussianBlur(6)))
    face = Region.around(FACE, pixels)
    change = (Veil((recognizer(0),))([face]) - face.images).mean(1, keepdim=True)
    assert detail(change).std() < 0.012 * change.std()


def test_the_less_the_way_from_the_person_counts_the_nearer_a_cloak_comes_to_somebody_else():
    face, guide = region(0.7), recognizer(0)
    view = Scene.of([face], (guide,))
    (nobody,) = bent(view, view.embed(), 0)
    cloaks = [view.embed(Veil((guide,), away=away, steps=12)([face]))[0] for away in (0.1, 1.5, 10.0)]
    near, usual, far = (float((each - nobody).norm()) for each in cloaks)
    assert near < usual < far


class Eightfold(torch.nn.Module):
    """A network whose embeddings are eight times as long."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 8 * self.network(images)


def test_a_surrogate_counts_as_much_however_long_its_embeddings_are():
    images, other = pictures(2), recognizer(0)
    net = recognizer(1, normalized=False)
    longer = Recognizer(replace(net.card, thresholds={"published": 4.0}), Eightfold(net.network))
    cloaks = [Veil((other, each), steps=6).aligned(images) for each in (net, longer)]
    assert torch.allclose(*cloaks, atol=1e-4)
    assert not torch.allclose(cloaks[0], Veil((other,), steps=6).aligned(images), atol=1e-2)


def test_each_step_sees_a_face_as_it_is_stored(monkeypatch):
    """As the 8-bit file in half of the steps, as a JPEG of what may change in a quarter, at half its size in others."""
    stored, levels, net = [], [], recognizer()

    def jpeg(pixels, quality):
        stored.append((pixels.shape, quality, len(levels)))
        return views_jpeg(pixels, quality)

    views_jpeg = views.jpeg
    monkeypatch.setattr(views, "jpeg", jpeg)
    net.network.register_forward_pre_hook(lambda module, given: levels.append(127.5 * (given[0] + 1)))
    share = torch.zeros(1, 1, 12, 12)
    share[..., 2:11, 1:12] = 1
    Veil((net,), steps=40).cloak(replace(Scene.aligned(pictures(1), (net,)), share=share))
    whole = [torch.allclose(each, each.round(), atol=1e-3) for each in levels]
    assert {shape for shape, _, _ in stored} == {(9, 11, 3)}
    assert 60 <= min(quality for _, quality, _ in stored) < 75 < max(quality for _, quality, _ in stored) <= 95
    seen = {number for _, _, number in stored}
    assert 4 <= len(stored) <= 16
    assert 4 <= whole[-40:].count(False) <= 16
    assert 12 <= sum(each for number, each in enumerate(whole) if number not in seen) <= 28 + 1  # with the clear photo


def test_windows_hold_all_that_may_change():
    share = torch.zeros(2, 1, 20, 30)
    share[0, :, 3:8, 2:10] = 0.1
    share[1, :, 19, 29] = share[1, :, 4, 12] = 1
    assert _windows(share).tolist() == [[3, 8, 2, 10], [4, 20, 12, 30]]


@pytest.mark.parametrize("setting", [{"decay": 0.0}, {"stride": 0.5}, {"seed": 1}])
def test_a_setting_makes_another_cloak(setting):
    """The seed by the start and by what is seen; somebody else, whom it draws, too, hardly counts here."""
    images, nets = pictures(2), (recognizer(0),)
    usual, again, other = (Veil(nets, steps=4, away=1e5, **given).aligned(images) for given in ({}, {}, setting))
    assert torch.equal(usual, again)
    assert not torch.allclose(usual, other, atol=1e-3)


def test_where_the_way_from_other_cloaks_counts_nothing_none_are_kept():
    album, veil = Album(), Veil((recognizer(0),), steps=1, apart=0)
    assert not veil.keeps_apart
    assert Veil((recognizer(0),)).keeps_apart
    veil([region(0.5)], album)
    assert album.clear == ()


def test_a_quality_of_no_change_is_refused():
    with pytest.raises(SettingError, match="no change at all"):
        Veil((recognizer(0),), quality=100.0)


def test_goes_on_for_longer_where_one_surrogate_is_not_alone():
    def passes(others: int, **settings: int) -> int:
        guides, seen = [recognizer(i) for i in range(1 + others)], []
        guides[0].network.register_forward_hook(lambda *given: seen.append(1))
        Veil(tuple(guides), **settings)([region(0.5)])
        return len(seen)

    alone = passes(0)
    assert passes(1) - alone == SEVERAL.steps - ONE.steps > 0
    assert passes(1, steps=3) == passes(0, steps=3) == alone - ONE.steps + 3
