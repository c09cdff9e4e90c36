"""What a veil keeps, on toys: how plainly it is seen."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from attacks.toys import recognizer
from faceveil.errors import SettingError
from faceveil.faces.region import GRID, Region
from faceveil.methods.identities import bent
from faceveil.methods.scene import Scene
from faceveil.methods.veil import ONE, SEVERAL, SMALL, STRENGTHS, Veil
from faceveil.metrics.masking import detail
from faceveil.metrics.visibility import Visibility, error
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
