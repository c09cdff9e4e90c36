from itertools import combinations

import numpy as np
import pytest
import torch
from crowds import crowd, strangers
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

from faceveil.protocols.clustering import ALONE, CLUSTERERS, Agglomerative, Agreement, bcubed, cluster, pairwise, purity

GROUPS = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=30)


def apart(clusters: np.ndarray) -> np.ndarray:
    return np.where(clusters == ALONE, 100 + np.arange(len(clusters)), clusters)


@pytest.mark.parametrize("method", ["average", "complete", "single"])
def test_both_stops_agree_with_scipy(method):
    embeddings, _ = crowd(8, 6, spread=0.5)
    tree = linkage(embeddings.numpy(), method)
    for ours, theirs in [
        (Agglomerative(distance=0.9, linkage=method), fcluster(tree, 0.9, "distance")),
        (Agglomerative(count=5, linkage=method), fcluster(tree, 5, "maxclust")),
    ]:
        assert adjusted_rand_score(ours(embeddings), theirs) == 1
        assert len(set(theirs)) > 1


def test_the_papers_configurations_stop_at_1242_and_at_20():
    assert {"distance": Agglomerative(distance=1.242), "count": Agglomerative(count=20)} == CLUSTERERS


def test_purity_is_the_papers_weighted_average_without_single_photos():
    """Clusters of 4 (3 of one person), 2 (both of one) and 1: (4 * 3/4 + 2 * 2/2) / 6."""
    labels, clusters = np.array([0, 0, 0, 1, 1, 1, 2]), np.array([5, 5, 5, 5, 6, 6, 7])
    assert purity(labels, clusters) == pytest.approx(5 / 6)


def test_a_person_in_two_pure_clusters_is_wholly_pure_but_not_found():
    labels, clusters = np.zeros(8, int), np.repeat([0, 1], 4)
    assert purity(labels, clusters) == 1
    assert pairwise(labels, clusters) == Agreement(1, 12 / 28)
    assert bcubed(labels, clusters) == Agreement(1, 0.5)


def test_where_every_photo_is_alone_nothing_was_found():
    labels, clusters = np.array([0, 0, 1]), np.full(3, ALONE)
    assert purity(labels, clusters) == 0
    assert pairwise(labels, clusters) == Agreement(0, 0)
    assert pairwise(labels, clusters).f1 == 0


@given(GROUPS)
def test_pairs_are_counted_as_by_scikit_learn(pairs):
    labels, clusters = np.array(pairs).T
    (_, wrong), (lost, right) = pair_confusion_matrix(labels, apart(clusters))
    found = pairwise(labels, clusters)
    assert found.precision == pytest.approx(right / max(right + wrong, 1))
    assert found.recall == pytest.approx(right / max(right + lost, 1))


@given(GROUPS)
def test_bcubed_is_the_mean_over_photos(pairs):
    labels, clusters = np.array(pairs).T
    same, together = labels[:, None] == labels, apart(clusters)[:, None] == apart(clusters)
    found = bcubed(labels, clusters)
    assert found.precision == pytest.approx(((same & together).sum(1) / together.sum(1)).mean())
    assert found.recall == pytest.approx(((same & together).sum(1) / same.sum(1)).mean())


@pytest.mark.parametrize(("merged", "precision"), [((1, 2), 0.76), ((0, 2), 0.58)])
def test_bcubed_of_bagga_and_baldwins_printed_examples(merged, precision):
    """Chains of 5, 2 and 5 mentions; a program merges the second and the third, or the first and the third."""
    labels = np.repeat([0, 1, 2], [5, 2, 5])
    clusters = np.where(np.isin(labels, merged), 9, labels)
    assert bcubed(labels, clusters).precision == pytest.approx(precision, abs=5e-3)
    assert bcubed(labels, clusters).recall == 1


def test_scores_fall_with_the_share_of_cloaked_photos():
    clear, labels = crowd(6, 12, spread=0.1)
    found = cluster(
        clear, strangers(len(clear)), labels, people=5, depth=10, times=3, clusterers={"count": Agglomerative(count=5)}
    )
    for score in ("purity", "pairwise F1", "B-cubed F1"):
        means = [found[share, "count", score].mean() for share in (0, 0.1, 0.5, 1)]
        assert means[0] == 1
        assert all(more > less for more, less in combinations(means[:3], 2))
        assert means[3] < 0.6


def test_what_is_cloaked_is_that_share():
    clear, labels = crowd(2, 10)
    seen = []

    def count(embeddings):
        seen.append(int((embeddings == 0).all(1).sum()))
        return np.zeros(len(embeddings), np.int64)

    cluster(clear, 0 * clear, labels, people=2, depth=10, times=2, clusterers={"count": count})
    assert seen == [0, 2, 10, 20] * 2


def test_who_takes_part_and_what_is_cloaked_is_drawn_each_time_from_the_seed():
    """Photos are told by their number, cloaked ones by its negative."""
    numbers, labels = np.arange(1.0, 41), np.repeat(np.arange(4), 10)
    embeddings = torch.from_numpy(numbers).float()[:, None]

    def seen(seed):
        kept = []

        def keep(given):
            kept.append(given[:, 0].int().tolist())
            return np.zeros(len(given), np.int64)

        settings = {"people": 2, "depth": 5, "times": 3, "shares": (0.2, 0.5), "clusterers": {"kept": keep}}
        cluster(embeddings, -embeddings, labels, seed=seed, **settings)
        return kept

    turns = seen(0)
    assert seen(0) == turns != seen(1)
    for few, more in zip(turns[::2], turns[1::2], strict=True):
        chosen = [abs(number) for number in few]
        assert chosen == [abs(number) for number in more]
        assert sorted(np.bincount(labels[np.array(chosen) - 1]).tolist(), reverse=True)[:2] == [5, 5]
        cloaked, others = ({-number for number in some if number < 0} for some in (few, more))
        assert (len(cloaked), len(others)) == (2, 5)
        assert cloaked < others
    assert len({tuple(turn) for turn in turns[::2]}) == 3
    assert len({frozenset(labels[number - 1] for number in map(abs, turn)) for turn in turns}) > 1
    assert any(len({labels[-number - 1] for number in turn if number < 0}) == 2 for turn in turns)
    assert any((abs(number) - 1) % 10 >= 5 for turn in turns for number in turn)
