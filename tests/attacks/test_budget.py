import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from attacks.toys import pictures
from faceveil.attacks.budget import L2, Linf, Unlimited, Unseen
from faceveil.errors import SettingError
from faceveil.metrics.visibility import Visibility

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


def unseen(images: torch.Tensor, most: float, levels: float = 40.0) -> Unseen:
    share = torch.ones_like(images[:, :1])
    share[..., :6] = 0
    return Unseen(Visibility(images), most, levels, share, share / 2)


def test_what_is_seen_too_plainly_comes_back_along_the_error_and_what_is_not_stays():
    images = pictures(2, size=48)
    budget, changed = unseen(images, 2.0), (images + change_of_brightness(2, 0.03)).clamp(0, 1)
    before = budget.visibility(changed)
    for _ in range(4):
        changed = budget.project(changed, images)
    assert (before > 3.5).all()
    assert (budget.visibility(changed) < 2.2).all()
    near = 0.3 + 0.4 * images + change_of_brightness(2, 0.002)
    assert torch.allclose(unseen(0.3 + 0.4 * images, 2.0).project(near, 0.3 + 0.4 * images), near, rtol=0, atol=1e-7)


def test_some_images_can_be_chosen_of_what_is_unseen():
    images, way = pictures(3, size=48), torch.randn(3, 1, 48, 48, generator=Generator().manual_seed(0))
    budget, some = unseen(images, 1.0), torch.tensor([False, True, False])
    changed = (images + budget.step(way, 0.05)).clamp(0, 1)
    alone = budget[some]
    assert torch.allclose(alone.step(way[some], 0.05), budget.step(way, 0.05)[some], atol=1e-6)
    assert torch.allclose(alone.project(changed[some], images[some]), budget.project(changed, images)[some], atol=1e-5)


def test_steps_of_detail_are_told_in_their_own_units():
    images = pictures(2, size=48)
    checks = (torch.arange(48)[:, None] + torch.arange(48)).remainder(2)[None, None] - 0.5
    whole, budget = torch.ones(2, 1, 48, 48), unseen(images, 2.0)
    step = budget.step(whole + checks, 1.0)[..., 12:-12, 12:-12]
    smooth = step.mean((2, 3), keepdim=True)
    assert torch.allclose(step, smooth * (1 + checks[..., 12:-12, 12:-12] / 4), atol=1e-5)  # the square of a half


def test_no_channel_moves_beyond_the_levels_and_no_hue_changes():
    images = 0.3 + 0.4 * pictures(2, size=48)
    moved = unseen(images, 100.0, 5).project(images + change_of_brightness(2, 0.1), images) - images
    assert 255 * moved.abs().max() == pytest.approx(5, abs=1e-3)
    both = unseen(images, 0.1, 5).project(images + change_of_brightness(2, 0.1), images) - images
    assert 255 * both.abs().max() <= 5 + 1e-3
    back = unseen(images, 1.0).project(images + change_of_brightness(2, 0.03), images) - images
    assert torch.allclose(back, back.mean(1, keepdim=True).expand_as(back), atol=1e-6)


def test_no_hue_changes_where_a_channel_is_near_its_end():
    """A dark red has no darker shade of as much color, and a little room to be lit; a gray has both."""
    images = torch.full((1, 3, 48, 48), 0.5)
    images[..., 20, 20], images[..., 30, 30] = torch.tensor([0.3, 0.1, 0.0]), torch.tensor([1.0, 0.98, 0.4])
    budget = unseen(images, 1e3)
    for way, red, light in ((-0.1, 0.0, -0.1), (0.1, 0.1, 0.0)):
        moved = budget.project(images + way, images) - images
        assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-7)
        found = moved[0, 0, 20, 20], moved[0, 0, 30, 30], moved[0, 0, 40, 40]
        assert torch.stack(found).tolist() == pytest.approx([red, light, way], abs=1e-6)
        back = budget.project(images + moved - way, images) - images
        assert torch.allclose(back, back[:, :1].expand_as(back), atol=1e-7)


def test_what_is_held_is_the_largest_part_that_is_not_seen():
    images = pictures(2, size=48)
    changed = (images + change_of_brightness(2, 0.03)).clamp(0, 1)
    budget = unseen(images, 2.0)
    held = budget.hold(changed, images)
    assert (budget.visibility(held) <= 2).all()
    assert (budget.visibility(images + 1.05 * (held - images)) > 2).all()
    assert torch.equal(unseen(images, 1e3).hold(changed, images), changed)


def test_unseen_steps_go_where_the_share_is_and_have_its_size():
    images = pictures(1, size=48)
    budget = unseen(images, 2.0)
    step = budget.step(change_of_brightness(1, 1.0), 0.5)
    assert step[..., :6].abs().max() == 0
    assert step.square().mean().sqrt() == pytest.approx(0.5 * (42 / 48) ** 0.5)
    assert torch.equal(budget[torch.tensor([True])].start(images, Generator().manual_seed(0))[..., :6], images[..., :6])


def change_of_brightness(n: int, size: float) -> torch.Tensor:
    return size * torch.randn(n, 1, 48, 48, generator=Generator().manual_seed(1))
