import numpy as np
import pytest
import torch
from crowds import crowd, strangers
from sklearn.neighbors import NearestNeighbors

from faceveil.errors import SettingError
from faceveil.protocols import rank
from faceveil.protocols.rank import Parts, Rank, arrange, nearest, ranks


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(rank, "PROBES", 7)
    monkeypatch.setattr(rank, "BLOCK", 70)


@pytest.mark.parametrize("k", [1, 5, 12, 40])
def test_the_nearest_are_scikit_learns_however_small_the_pieces(k, small_pieces):
    probes, gallery = strangers(20, seed=1), strangers(40, seed=2)
    distances, rows = NearestNeighbors(n_neighbors=k).fit(gallery.numpy()).kneighbors(probes.numpy())
    found = nearest(probes, gallery, k)
    assert (found.rows == rows).all()
    assert np.allclose(found.distances, distances, atol=1e-4)
    assert nearest(probes, gallery, 99).rows.shape == (20, 40)


def test_a_gallery_may_lie_on_the_disk(tmp_path, small_pieces):
    gallery = strangers(50)
    np.save(tmp_path / "gallery.npy", gallery.numpy())
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    found = nearest(gallery[10:20], mapped, 1)
    assert found.rows[:, 0].tolist() == list(range(10, 20))


def test_ranks_of_an_example_on_a_line():
    """Gallery at 0, 1, 2, 3, 4 showing 7, 8, 7, 9, 8; probes of 7 at 0.9 and of 8 at 2.9; the target is 9."""
    gallery, labels = torch.arange(5.0)[:, None], np.array([7, 8, 7, 9, 8])
    probes, identities = torch.tensor([[0.9], [2.9]]), np.array([7, 8])
    assert ranks(probes, identities, gallery, labels, {9}, sizes=(1, 2, 3, 5)) == {
        1: Rank(0.5, 1.0),  # 8; 9
        2: Rank(0.5, 0.5),  # 8 7; 9 8
        3: Rank(0.5, 0.0),  # 8 7 7; 9 7 8 or 9 8 7
        5: Rank(1.0, 0.0),
    }


def test_a_gallery_without_the_persons_photos_is_refused():
    with pytest.raises(SettingError, match="no photo of 1 people"):
        ranks(strangers(2), np.array([0, 1]), strangers(3), np.array([0, 2, 3]), {2})


def test_clear_probes_are_found_and_disguised_ones_are_taken_for_targets():
    embeddings, labels = crowd(30, 5, spread=0.05)
    parts = arrange(labels, range(10), [10, 11], range(12, 30))
    gallery, whom = embeddings[parts.gallery], labels[parts.gallery]
    clear = ranks(embeddings[parts.probes], labels[parts.probes], gallery, whom, {10, 11}, (1, 4))
    assert clear == {1: Rank(0, 0), 4: Rank(0, 0)}
    disguised = embeddings[parts.targets[[0, 1] * 5]]
    assert ranks(disguised, labels[parts.probes], gallery, whom, {10, 11}, (1, 4)) == {1: Rank(1, 1), 4: Rank(1, 1)}


def test_no_photo_plays_two_parts():
    labels = np.repeat(np.arange(-1, 9), 4)
    parts = arrange(labels, [0, 1, 2], [3], [5, 6], seed=3)
    assert labels[parts.probes].tolist() == [0, 1, 2]
    assert labels[parts.targets].tolist() == [3]
    everything = np.concatenate([parts.probes, parts.targets, parts.gallery])
    assert sorted(everything) == np.flatnonzero(np.isin(labels, [0, 1, 2, 3, 5, 6])).tolist()
    again: Parts = arrange(labels, [0, 1, 2], [3], [5, 6], seed=3)
    assert again.probes.tolist() == parts.probes.tolist()
    with pytest.raises(SettingError, match="person 4 has 1 photos"):
        arrange(np.array([4, 5, 5]), [4], [5], [])
