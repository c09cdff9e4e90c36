import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.methods.opom import SPANS, Opom, affine_hull, center, convex_hull
from faceveil.methods.scene import Scene

TRIANGLE = torch.tensor([[0.0, 0, 1], [4, 0, 1], [0, 3, 1]])


@pytest.fixture(scope="module")
def net():
    return recognizer(size=(112, 112), template="arcface")


@pytest.fixture(scope="module")
def photos():
    """Ten photos of one person: one picture with much noise."""
    return (0.5 * pictures(1, size=112) + 0.5 * pictures(10, 7, 112)).clamp(0, 1)


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        ((1, 1, 1), (1, 1, 1)),  # inside
        ((1, 1, 5), (1, 1, 1)),  # above
        ((2, -3, 0), (2, 0, 1)),  # beyond an edge
        ((9, -1, 1), (4, 0, 1)),  # beyond a corner
        ((2 + 3, 1.5 + 4, 1), (2, 1.5, 1)),  # beyond the slanting edge
    ],
)
def test_the_convex_hull_of_a_triangle(place, nearest):
    found = convex_hull(TRIANGLE, torch.tensor([place], dtype=torch.float32))[0]
    assert found.tolist() == pytest.approx(nearest, abs=0.02)


def test_the_affine_hull_of_a_triangle_is_its_plane():
    found = affine_hull(TRIANGLE, torch.tensor([[9.0, -7, 4], [1, 1, 1]]))
    assert torch.allclose(found, torch.tensor([[9.0, -7, 1], [1, 1, 1]]), atol=1e-5)


def test_the_affine_hull_of_many_photos_is_no_larger():
    """Beside the projection on an orthonormal basis: in float32 rounding would add a direction."""
    features, moved = (F.normalize(torch.randn(10, 128, generator=Generator().manual_seed(i))) for i in range(2))
    directions = (features[1:] - features[:1]).T.double().numpy()
    basis, _ = np.linalg.qr(directions)
    away = (moved - features[:1]).double().numpy()
    expected = features[:1].double().numpy() + away @ basis @ basis.T
    np.testing.assert_allclose(affine_hull(features, moved), expected, atol=1e-6)


def test_the_center_is_the_mean():
    assert torch.equal(center(TRIANGLE, torch.rand(2, 3)), torch.tensor([[4 / 3, 1, 1]]).expand(2, 3))


@pytest.mark.parametrize("span", SPANS)
def test_one_cloak_for_all_photos_of_a_person_moves_those_unseen_too(net, photos, span):
    method = Opom((net,), span=span).enroll(Scene.aligned(photos[:5], (net,)))
    cloaked = method.aligned(photos)
    between = (photos > 8.5 / 255) & (photos < 1 - 8.5 / 255)
    change = torch.where(between, cloaked - photos, torch.nan)
    assert float((change.nan_to_num(-9).amax(0) - change.nan_to_num(9).amin(0)).clamp(min=0).max()) < 1e-5
    noise = 8 / 255 * (2 * torch.rand(3, 112, 112) - 1).sign()
    moved, stirred = ((net(x[5:]) - net(photos[5:])).norm(dim=1) for x in (cloaked, (photos + noise).clamp(0, 1)))
    assert (moved > 2 * stirred).all()


def test_a_step_is_as_large_as_it_is_told(net, photos):
    """Two steps from one start: a quarter of a level, or a whole one, along the same gradient's sign."""
    faces = Scene.aligned(photos[:2], (net,))
    short, long = (255 * Opom((net,), steps=1, step_size=size).perturbation(faces) for size in (0.25, 1.0))
    free = (short.abs() < 7) & (long != short)
    assert free.float().mean() > 0.5
    assert torch.allclose((long - short).abs()[free], torch.tensor(0.75), atol=1e-4)


def test_without_enrollment_each_face_has_its_own(net, photos):
    cloaked = Opom((net,), steps=4).aligned(photos[:2])
    first, second = cloaked - photos[:2]
    assert float((first - second).abs().mean()) > 2 / 255


def test_the_papers_numbers_are_the_defaults(net):
    method = Opom((net,))
    assert (method.epsilon, method.step_size, method.steps, method.span) == (8, 1, 16, "convex-hull")
