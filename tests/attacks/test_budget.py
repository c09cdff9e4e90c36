import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from attacks.toys import pictures
from faceveil.attacks.budget import L2, Linf, Unlimited
from faceveil.errors import SettingError

BUDGETS = st.one_of(
    st.builds(Linf, st.floats(0.25, 64)), st.builds(L2, st.floats(0.25, 64)), st.builds(lambda: Unlimited(None))
)
SEEDS = st.integers(0, 10**6)


def change(seed: int, size: float) -> torch.Tensor:
    return size * torch.randn(3, 3, 12, 12, generator=Generator().manual_seed(seed))


@given(BUDGETS, SEEDS, st.floats(0, 1))
def test_projecting_twice_is_projecting_once(budget, seed, size):
    images = pictures(3, seed)
    once = budget.project(images + change(seed, size), images)
    assert torch.allclose(budget.project(once, images), once, atol=1e-6)
    assert once.min() >= 0
    assert once.max() <= 1


@given(st.floats(1, 64), SEEDS, st.floats(0, 1))
def test_no_level_moves_too_far_after_rounding_to_8_bits(levels, seed, size):
    budget, images = Linf(levels), pictures(3, seed)
    stored = budget.rounded(budget.project(images + change(seed, size), images), images)
    moved = 255 * (stored - images)
    assert torch.allclose(moved, moved.round(), atol=1e-3)
    assert moved.abs().max() <= levels + 1e-3


@given(st.floats(0.25, 64), SEEDS, st.floats(0, 1))
def test_the_root_mean_square_stays_small_after_rounding_to_8_bits(levels, seed, size):
    budget, images = L2(levels), pictures(3, seed)
    stored = budget.rounded(budget.project(images + change(seed, size), images), images)
    moved = 255 * (stored - images)
    assert torch.allclose(moved, moved.round(), atol=1e-3)
    assert moved.square().mean((1, 2, 3)).sqrt().max() <= levels * (1 + 1e-3)


@given(st.integers(1, 64), SEEDS, st.floats(0, 1))
def test_whole_levels_need_no_rounding_toward_the_image(levels, seed, size):
    budget, images = Linf(levels), pictures(3, seed)
    cloaked = budget.project(images + change(seed, size), images)
    assert torch.equal(budget.rounded(cloaked, images), (255 * cloaked).round() / 255)


@pytest.mark.parametrize("budget", [Linf(6), L2(6), Unlimited()])
def test_images_inside_are_left_alone(budget):
    images = pictures(2)
    near = (images + 1 / 255).clamp(max=1)
    assert torch.allclose(budget.project(near, images), near)


@pytest.mark.parametrize("budget", [Linf(6), L2(6), Unlimited()])
def test_starts_inside_and_alike_for_every_image(budget):
    gray = torch.full((2, 3, 12, 12), 0.5)
    start = budget.start(gray, Generator().manual_seed(0))
    assert torch.allclose(budget.project(start, gray), start)
    assert torch.equal(start[0], start[1])
    assert not torch.equal(start, gray)
    assert torch.equal(start, budget.start(gray, Generator().manual_seed(0)))


def test_l2_steps_against_the_gradient_by_its_size():
    step = L2(6).step(change(0, 3.0), 2 / 255)
    assert torch.allclose(step.square().mean((1, 2, 3)).sqrt(), torch.full((3,), 2 / 255))
    assert torch.cosine_similarity(step.flatten(1), change(0, 1.0).flatten(1)).allclose(torch.tensor(-1.0))


def test_unlimited_steps_by_the_gradient_with_its_largest_change_given():
    step = Unlimited().step(change(0, 3.0), 2.5 / 255)
    assert torch.allclose(step.abs().amax((1, 2, 3)), torch.full((3,), 2.5 / 255))
    assert torch.cosine_similarity(step.flatten(1), change(0, 1.0).flatten(1)).allclose(torch.tensor(-1.0))


@pytest.mark.parametrize("kind", [lambda share: Linf(6, share), lambda share: L2(6, share), Unlimited])
def test_pixels_without_a_share_stay_and_some_images_can_be_chosen(kind):
    share = torch.zeros(3, 1, 12, 12)
    share[1:, :, 4:8] = 1
    step = kind(share).step(change(0, 1.0), 1 / 255)
    assert (step[0] == 0).all()
    assert (step[1, :, 4:8] != 0).all()
    assert (step[1, :, :4] == 0).all()
    chosen = kind(share)[torch.tensor([False, True, True])]
    assert torch.equal(chosen.share, share[1:])


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("levels", [0, -1, 256])
def test_says_what_an_epsilon_counts(kind, levels):
    with pytest.raises(SettingError, match="8-bit levels"):
        kind(levels)
