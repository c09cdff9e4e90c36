from dataclasses import replace

import pytest
import torch

from attacks.toys import pictures, recognizer
from faceveil.methods.fawkes import MODES, Fawkes
from faceveil.methods.scene import Scene
from faceveil.objectives.dissimilarity import Dissimilarity


@pytest.fixture(scope="module")
def net():
    return recognizer(size=(32, 32))


@pytest.fixture(scope="module")
def images():
    return pictures(3, size=32)


@pytest.fixture(scope="module")
def people(net):
    return net(pictures(12, seed=5, size=32))


def test_the_released_modes():
    assert [(mode.dssim, mode.steps, mode.rate) for mode in MODES.values()] == [
        (0.004, 40, 25.0),
        (0.012, 75, 20.0),
        (0.017, 150, 15.0),
    ]


def test_a_larger_budget_is_used_and_none_exceeded(net):
    """Faces have less contrast than noise, where 15 levels are hardly seen."""
    images = 0.4 + 0.2 * pictures(3, size=32)
    low, high = (
        Dissimilarity(images)(Fawkes((net,), dssim=dssim, steps=40).aligned(images)) for dssim in (0.004, 0.017)
    )
    assert (low <= 0.004 + 1e-6).all()
    assert (high <= 0.017 + 1e-6).all()
    assert (high > 2 * low).all()


def test_no_channel_moves_beyond_epsilon(net, images):
    change = 255 * (Fawkes((net,), epsilon=1, dssim=1.0).aligned(images) - images).abs()
    assert change.max() == pytest.approx(1, abs=1e-3)


def test_the_budget_is_that_of_what_may_change(net):
    images, share = 0.4 + 0.2 * pictures(2, size=32), torch.zeros(2, 1, 32, 32)
    share[:, :, :12] = 1
    scene = replace(Scene.aligned(images, (net,)), share=share)
    unlike = Dissimilarity(images, share)(Fawkes((net,), dssim=0.004, steps=40).cloak(scene))
    assert (unlike <= 0.004 + 1e-6).all()
    assert (unlike > 0.002).all()


def test_moves_toward_the_most_dissimilar_person(net, images, people):
    away = torch.cdist(net(images), people)
    moved = torch.cdist(net(Fawkes((net,), (people,)).aligned(images)), people)
    rows, farthest = torch.arange(3), away.argmax(1)
    assert (moved[rows, farthest] < 0.7 * away[rows, farthest]).all()


def test_a_person_who_is_enrolled_has_one_target_far_from_every_photo(net, images, people):
    """Eq. 1: the largest of the least distances."""
    method = Fawkes((net,), (people,), steps=30).enroll(Scene.aligned(images, (net,)))
    chosen = torch.cdist(net(images), people).amin(0).argmax()
    assert torch.equal(method.targets[0], people[chosen, None])
    before, after = (torch.cdist(net(x), people[chosen, None]) for x in (images, method.aligned(images)))
    assert (after < 0.8 * before).all()


def test_nobody_real_is_a_target_unless_given(net, images):
    scene = Scene.aligned(images, (net,))
    enrolled = Fawkes((net,)).enroll(scene)
    assert enrolled.targets[0].shape == (1, 8)
    assert torch.equal(Fawkes((net,), seed=0).enroll(scene).targets[0], enrolled.targets[0])
    assert not torch.equal(Fawkes((net,), seed=1).enroll(scene).targets[0], enrolled.targets[0])


def test_the_released_aim_is_away_from_the_face_wherever_that_leads(net, images, people):
    clear = net(images)
    toward, away = (net(Fawkes((net,), (people,), aim=aim).aligned(images)) for aim in ("target", "away"))
    assert ((away - clear).norm(dim=1) > (toward - clear).norm(dim=1)).all()
