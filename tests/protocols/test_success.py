import numpy as np
import pytest
import torch
from crowds import crowd, strangers
from scipy.spatial.distance import cdist
from sklearn.metrics import top_k_accuracy_score

from faceveil.errors import SettingError
from faceveil.protocols.success import (
    TOPS,
    Matching,
    attack_success_rate,
    likeness,
    matching,
    protection_success_rate,
)


def test_protection_is_what_scikit_learns_top_k_accuracy_leaves():
    random = np.random.default_rng(0)
    scores, truth = random.normal(size=(300, 80)).astype(np.float32), random.integers(0, 80, 300)
    scores[np.arange(300), truth] += 1
    found = protection_success_rate(torch.from_numpy(scores), truth)
    for top in TOPS:
        expected = top_k_accuracy_score(truth, scores, k=top, labels=np.arange(80))
        assert found[top] == pytest.approx(1 - expected)


def test_a_face_that_is_not_found_is_protected_and_a_tie_is_not():
    scores = torch.tensor([[2.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    truth = np.array([0, 1])
    assert protection_success_rate(scores, truth, tops=(1, 2)) == {1: 0, 2: 0}
    assert protection_success_rate(scores, truth, np.array([False, True]), tops=(1, 2)) == {1: 0.5, 2: 0.5}


def test_likeness_is_minus_the_distance_to_each_persons_nearest_photo():
    gallery, labels = crowd(4, 3)
    probes = strangers(5)
    away = cdist(probes, gallery).reshape(5, 4, 3).min(2)
    order = np.random.default_rng(0).permutation(12)
    assert np.allclose(likeness(probes, gallery[order], labels[order] + 7), -away, atol=1e-4)


def test_attack_success_is_what_is_no_longer_recognized_of_all():
    """9 of 10 were recognized, 2 still are: APF's Eq. 11 gives 0.7."""
    assert attack_success_rate(np.arange(10) < 9, np.arange(10) < 2) == pytest.approx(0.7)


def test_cloaks_that_all_go_one_way_match_each_other_but_not_the_original():
    clear, labels = crowd(5, 6, spread=0.01)
    away, _ = crowd(5, 6, spread=0.01, seed=9)
    assert matching(clear, away, labels, 0.5) == Matching(1, 0)


def test_cloaks_that_scatter_match_nothing():
    clear, labels = crowd(5, 6, spread=0.01)
    assert matching(clear, strangers(30), labels, 0.5) == Matching(1, 1)
    assert matching(clear, clear, labels, 0.5) == Matching(0, 0)


def test_the_rates_are_means_over_people_of_all_their_pairs():
    """On a line: person 0 keeps 1 of 2 matches with the enrolled photo and loses the pair, person 1 keeps all."""
    clear = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    cloaked = torch.tensor([[0.0], [0.1], [2.0], [9.0], [9.1], [9.2]])
    assert matching(clear, cloaked, np.repeat([0, 1], 3), 0.5) == Matching(0.25, 0.5)


def test_two_photos_are_too_few():
    with pytest.raises(SettingError, match="person 1 has 2 photos, and 3 are needed"):
        matching(strangers(5), strangers(5), np.array([0, 0, 0, 1, 1]), 0.5)
