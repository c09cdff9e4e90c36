from itertools import pairwise

import pytest
import torch

from attacks.toys import pictures, recognizer
from faceveil.errors import SettingError
from faceveil.methods.cilloni import MARGINS, SELECTIONS, Cilloni
from faceveil.methods.scene import Scene
from faceveil.objectives.triplet import Triplet


@pytest.fixture(scope="module")
def net():
    return recognizer()


@pytest.fixture(scope="module")
def images():
    return pictures(3)


@pytest.fixture(scope="module")
def people(net):
    return net(pictures(30, seed=5))


def chosen(method, images):
    sources = method.surrogates[0](images)
    others = method.targets[0].expand(len(images), -1, -1)
    return method._select(Scene.aligned(images, method.surrogates), [sources], [others])


def test_the_papers_numbers_are_the_defaults(net):
    method = Cilloni((net,))
    assert (method.step_size, method.slowest, method.negatives, method.select) == (2.5, 0.01, 5, "none")
    assert MARGINS == (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)


def test_each_way_selects_as_the_paper_says(net, images, people):
    away = torch.cdist(net(images), people)
    picked = {
        select: chosen(Cilloni((net,), (people,), select, margin=0.6), images)
        for select in SELECTIONS
        if select != "none"
    }
    assert [len(rounds) for rounds in picked.values()] == [1, 5, 6, 1]
    assert torch.equal(picked["farthest"][0], away.argmax(1))
    assert torch.equal(picked["random+farthest"][0], away.argmax(1))
    assert all(map(torch.equal, picked["random+farthest"][1:], picked["random"]))
    assert all(len(set(column)) == 5 for column in torch.stack(picked["random"], 1).tolist())
    assert len(torch.stack(picked["random"], 1).unique(dim=0)) == 3
    nearest = away[torch.arange(3), picked["similar"][0]]
    assert torch.equal(nearest, torch.where(away > 0.6, away, 9).amin(1))


def test_says_that_nobody_is_far_enough(net, images, people):
    with pytest.raises(SettingError, match=r"nobody is farther than the margin of 2"):
        Cilloni((net,), (people,), "similar", margin=2.0).aligned(images)


def test_without_a_selection_the_margin_has_no_effect(net, images):
    first, second = (Cilloni((net,), margin=margin).aligned(images) for margin in (0.2, 2.0))
    assert torch.equal(first, second)


def test_the_largest_change_of_one_step_is_two_and_a_half_levels(net, people):
    images = pictures(3).clamp(0.1, 0.9)
    cloaked = Cilloni((net,), (people,), "farthest", steps=1).aligned(images)
    assert torch.allclose(255 * (cloaked - images).abs().amax((1, 2, 3)), torch.full((3,), 2.5), atol=1e-3)


def test_halts_at_the_first_step_with_no_loss(net, images, people):
    """One step fewer leaves some loss, unless the walk got too slow before."""
    method = Cilloni((net,), (people,), "farthest", margin=0.2, slowest=-1.0)
    farthest = people[chosen(method, images)[0]]
    for i in range(3):
        loss = Triplet(net, net(images[i : i + 1]), farthest[i : i + 1], 0.2)
        walks = [
            Cilloni((net,), (people,), "farthest", 0.2, slowest=-1.0, steps=steps).aligned(images[i : i + 1])
            for steps in range(1, 40)
        ]
        losses = [float(loss(cloaked)) for cloaked in walks]
        first = losses.index(0.0)
        assert all(value > 0 for value in losses[:first])
        assert torch.equal(walks[first], method.aligned(images[i : i + 1]))


def test_several_negatives_are_processed_one_after_the_other(net, images, people):
    """Section IV-C, written out: each triplet until its loss is 0 or the distance hardly moves, from where it was."""
    method = Cilloni((net,), (people,), "random+farthest", margin=0.6, negatives=2, steps=20)
    rounds, cloaked = torch.stack(chosen(method, images), 1), method.aligned(images)
    for i in range(3):
        source, moved = net(images[i : i + 1]), images[i : i + 1]
        for negative in people[rounds[i]]:
            before = (net(moved) - negative).norm()
            for _ in range(20):
                seen = moved.clone().requires_grad_()
                loss = (net(seen) - negative).norm() - (net(seen) - source).norm().clamp(min=1e-6) + 0.6
                (gradient,) = torch.autograd.grad(loss.clamp(min=0), seen)
                moved = (moved - 2.5 / 255 * gradient / gradient.abs().max().clamp(min=1e-20)).clamp(0, 1)
                near = (net(moved) - negative).norm()
                if near - (net(moved) - source).norm() + 0.6 <= 0 or before - near < 0.01:
                    break
                before = near
        assert torch.allclose(cloaked[i : i + 1], moved, atol=1e-4)


def test_halts_where_the_distance_moves_less_than_the_threshold(net, images):
    """Every step before the last one moved by the threshold, the last one did not."""
    source = net(images[:1])
    walks = [Cilloni((net,), steps=steps).aligned(images[:1]) for steps in range(1, 200)]
    away = [float((net(cloaked) - source).norm()) for cloaked in walks]
    moves = [after - before for before, after in pairwise(away)]
    halted = next(i for i, move in enumerate(moves) if move < 0.01)
    assert torch.equal(walks[halted + 1], walks[-1])
    assert not torch.equal(walks[halted], walks[-1])
