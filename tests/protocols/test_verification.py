from statistics import NormalDist

import numpy as np
import pytest
from crowds import crowd
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import roc_auc_score, roc_curve

from faceveil.errors import SettingError
from faceveil.protocols.verification import (
    STEPS,
    Pairs,
    all_pairs,
    crossing,
    equal_error_rate,
    false_non_match_rate,
    histogram,
    listed_pairs,
    roc,
    strangers,
    threshold_below,
)

SEPARATION = 2.0
EER = NormalDist().cdf(-SEPARATION / 2)  # of two unit Gaussians


def gaussians(n: int = 100_000) -> Pairs:
    random = np.random.default_rng(0)
    return Pairs(random.normal(5, 1, n), random.normal(5 + SEPARATION, 1, n))


def test_there_are_as_many_pairs_as_cilloni_counts_each_once():
    embeddings, labels = crowd(25, 10)
    pairs = all_pairs(embeddings, labels)
    assert 2 * len(pairs.genuine) == 2_250
    assert 2 * len(pairs.impostor) == 60_000
    assert np.allclose(np.sort(np.concatenate([pairs.genuine, pairs.impostor])), np.sort(pdist(embeddings)), atol=1e-3)


def test_pairs_of_two_versions_leave_out_a_photo_and_its_own_other_version(monkeypatch):
    monkeypatch.setattr("faceveil.protocols.verification.ROWS", 7)  # several pieces
    (clear, labels), (cloaked, _) = crowd(5, 4), crowd(5, 4, seed=1)
    labels[-1] = -1  # unknown
    pairs = all_pairs(clear, labels, cloaked)
    same = labels[:, None] == labels
    known = np.outer(labels >= 0, labels >= 0)
    away = cdist(clear, cloaked)
    assert np.allclose(np.sort(pairs.genuine), np.sort(away[same & known & ~np.eye(20, dtype=bool)]), atol=1e-3)
    assert np.allclose(np.sort(pairs.impostor), np.sort(away[~same & known]), atol=1e-3)


def test_strangers_are_all_pairs_of_different_people_who_are_known_once():
    embeddings, labels = crowd(6, 3)
    labels[[4, -1]] = -1  # unknown
    known = [i for i in range(18) if labels[i] >= 0]
    away = cdist(embeddings, embeddings)
    expected = [away[i, j] for i in known for j in known if i < j and labels[i] != labels[j]]
    assert np.allclose(np.sort(strangers(embeddings, labels)), np.sort(expected), atol=1e-3)


def test_people_with_one_photo_each_are_strangers_and_nobody_alone_is():
    embeddings, labels = crowd(4, 1)
    assert len(strangers(embeddings, labels)) == 6
    with pytest.raises(SettingError, match="show 1 people who are known"):
        strangers(embeddings[:2], np.array([0, -1]))


def test_listed_pairs_are_sorted_by_their_truth():
    embeddings, labels = crowd(3, 2)
    first, second = np.array([0, 2, 0]), np.array([1, 3, 4])
    pairs = listed_pairs(embeddings, first, second, labels[first] == labels[second])
    assert pairs.genuine == pytest.approx([cdist(embeddings, embeddings)[i, i + 1] for i in (0, 2)], abs=1e-4)
    assert pairs.impostor == pytest.approx([cdist(embeddings, embeddings)[0, 4]], abs=1e-4)


def test_pairs_of_one_kind_alone_are_refused():
    embeddings, labels = crowd(4, 1)
    with pytest.raises(SettingError, match="0 genuine and 6 impostor pairs"):
        all_pairs(embeddings, labels)


def test_the_curve_and_its_area_are_scikit_learns():
    pairs = gaussians(500)
    pairs = Pairs(pairs.genuine.round(1), pairs.impostor.round(1))  # with ties
    truth = np.repeat([True, False], 500)
    distances = np.concatenate([pairs.genuine, pairs.impostor])
    fpr, tpr, _ = roc_curve(truth, -distances, drop_intermediate=False)
    curve = roc(pairs)
    assert np.allclose(curve.fpr, fpr)
    assert np.allclose(curve.tpr, tpr)
    assert curve.auc == pytest.approx(roc_auc_score(truth, -distances))


def test_cillonis_thresholds_are_150_and_lose_little_area():
    pairs = Pairs(gaussians().genuine / 5, gaussians().impostor / 5)
    curve = roc(pairs, STEPS)
    assert len(curve.tpr) == 150
    assert curve.thresholds[-1] == pytest.approx(2.98)
    assert curve.tpr[50] == pairs.true_positive_rate(1.0)
    assert curve.fpr[50] == pairs.false_positive_rate(1.0)
    assert curve.auc == pytest.approx(NormalDist().cdf(SEPARATION / 2**0.5), abs=3e-3)


def test_rates_are_the_ones_of_two_gaussians():
    pairs = gaussians()
    assert pairs.true_positive_rate(6) == pytest.approx(NormalDist().cdf(1), abs=5e-3)
    assert pairs.false_positive_rate(6) == pytest.approx(EER, abs=5e-3)
    assert equal_error_rate(pairs) == pytest.approx(EER, abs=3e-3)
    assert crossing(pairs) == pytest.approx(EER, abs=3e-3)


def test_a_pair_at_the_threshold_does_not_match():
    pairs = Pairs(np.array([0.5, 0.4]), np.array([0.5, 0.6]))
    assert (pairs.true_positive_rate(0.5), pairs.false_positive_rate(0.5)) == (0.5, 0)


def test_the_crossing_is_the_one_that_scipy_finds_on_scikit_learns_curve():
    pairs = gaussians(37)
    fpr, tpr, _ = roc_curve(np.repeat([True, False], 37), -np.concatenate([pairs.genuine, pairs.impostor]))
    expected = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)
    assert crossing(pairs) == pytest.approx(expected)


def test_the_equal_error_rate_of_a_small_example():
    """FAR and FRR are 0 and 1/2 at threshold 2, 1/3 and 1/2 at 3, 1/3 and 0 at 4."""
    pairs = Pairs(np.array([1.0, 3.0]), np.array([2.0, 4.0, 5.0]))
    assert equal_error_rate(pairs) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert crossing(pairs) == pytest.approx(1 / 3)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.sampled_from([1e-3, 0.05, 0.1, 0.3, 1.0]))
def test_no_larger_threshold_keeps_the_rate(distances, rate):
    impostor = np.array(distances, float)
    threshold = threshold_below(impostor, rate)
    assert (impostor < threshold).mean() < rate
    assert (impostor < np.nextafter(threshold, np.inf)).mean() >= rate


def test_the_threshold_of_a_gaussian_is_its_quantile():
    pairs = gaussians()
    assert threshold_below(pairs.impostor) == pytest.approx(5 + SEPARATION + NormalDist().inv_cdf(1e-3), abs=0.1)
    with pytest.raises(SettingError, match="choose one in"):
        threshold_below(pairs.impostor, 0)


def test_attack_success_counts_what_does_not_match():
    assert false_non_match_rate(np.array([0.2, 0.5, 0.9, 1.0]), 0.5) == 0.75


def test_histograms_hold_every_pair():
    pairs = gaussians(1000)
    found = histogram(Pairs(abs(pairs.genuine), abs(pairs.impostor)), 20)
    assert len(found.edges) == 21
    assert found.genuine.sum() == pytest.approx(1)
    assert found.impostor.sum() == pytest.approx(1)
