import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceveil.objectives.heads import HEADS, ArcFace, CosFace, SphereFace, Triplets

ANGLES = torch.linspace(0.01, math.pi - 0.01, 200, dtype=torch.float64)


def arcface(angles):
    """ArcFace's Eq. 3 as far as it goes; then what its released code does."""
    return np.where(angles + 0.5 < math.pi, np.cos(angles + 0.5), np.cos(angles) - 0.5 * math.sin(0.5))


def cosface(angles):
    return np.cos(angles) - 0.35


def sphereface(angles):
    quarter = np.floor(4 * angles / math.pi)
    psi = (-1) ** quarter * np.cos(4 * angles) - 2 * quarter
    return (5 * np.cos(angles) + psi) / 6


MARGINS = [(ArcFace, arcface), (CosFace, cosface), (SphereFace, sphereface)]


@pytest.mark.parametrize(("kind", "expected"), MARGINS)
def test_the_margin_is_the_papers_at_every_angle(kind, expected):
    found = kind(4, 3).margin(ANGLES.cos()).numpy()
    assert np.allclose(found, expected(ANGLES.numpy()))


@pytest.mark.parametrize("kind", [CosFace, SphereFace])
def test_a_smaller_angle_is_always_better(kind):
    assert (kind(4, 3).margin(ANGLES.cos()).diff() < 0).all()


@pytest.mark.parametrize(("kind", "expected"), MARGINS)
def test_only_the_right_class_is_made_harder(kind, expected):
    head, features = kind(2, 2), torch.tensor([[3.0, 0.0]])
    head.centers.data = torch.tensor([[math.cos(0.4), math.sin(0.4)], [0.0, 7.0]])
    scale = 3.0 if kind is SphereFace else 64.0
    right = scale * float(expected(np.array(0.4)))
    assert head(features, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-right)), abs=1e-4)


def test_triplets_are_semi_hard():
    features, classes = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) // 4
    unit = F.normalize(features)
    d = [[float((a - b).square().sum()) for b in unit] for a in unit]
    expected = []
    for a in range(12):
        losses = []
        for p in (p for p in range(12) if p != a and classes[p] == classes[a]):
            wrong = [d[a][n] for n in range(12) if classes[n] != classes[a]]
            beyond = [each for each in wrong if each > d[a][p]]
            losses.append(max(0, d[a][p] - (min(beyond) if beyond else max(wrong)) + 0.2))
        expected.append(sum(losses) / 3)
    assert torch.allclose(Triplets(5, 3)(features, classes), torch.tensor(expected), atol=1e-5)


def test_a_batch_without_triplets_costs_nothing():
    head, features = Triplets(5, 3), torch.randn(3, 5)
    assert head(features, torch.arange(3)).tolist() == [0, 0, 0]
    assert head(features, torch.zeros(3, dtype=torch.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", HEADS)
def test_training_with_it_tells_people_apart(name):
    torch.manual_seed(0)
    classes = torch.arange(24) // 4
    inputs = torch.randn(6, 16)[classes] + 0.3 * torch.randn(24, 16)
    network, head = torch.nn.Linear(16, 4), HEADS[name](4, 6)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], 0.02)

    def gap():
        near = torch.cdist(F.normalize(network(inputs)), F.normalize(network(inputs)))
        same = classes[:, None] == classes
        return (near[~same].mean() - near[same].mean()).item()

    before = gap()
    for _ in range(60):
        optimizer.zero_grad()
        losses = head(network(inputs), classes)
        assert losses.shape == (24,)
        losses.mean().backward()
        optimizer.step()
    assert gap() > before + 0.2


@pytest.mark.parametrize("name", [name for name in HEADS if name != "triplet"])
def test_starts_from_what_is_known_of_people(name):
    torch.manual_seed(0)
    classes = torch.arange(40) // 5
    features = 3 * torch.randn(8, 16)[classes] + 0.3 * torch.randn(40, 16)
    random, head = (HEADS[name](16, 8) for _ in range(2))
    head.enroll(features, classes)
    assert head(features, classes).mean() < random(features, classes).mean() / 2
