import numpy as np
import pytest
import torch
from crowds import crowd, strangers
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, RadiusNeighborsClassifier

from faceveil.errors import SettingError
from faceveil.protocols.drawing import draw
from faceveil.protocols.identification import NOBODY, RULES, Neighbors, identify, scenarios

ORACLES = {
    "nearest neighbor": KNeighborsClassifier(1),
    "nearest centroid": NearestCentroid(),
    "k-NN": KNeighborsClassifier(5),
    "weighted k-NN": KNeighborsClassifier(5, weights="distance"),
}


@pytest.mark.parametrize("name", ORACLES)
def test_rules_agree_with_scikit_learn(name):
    labeled, labels = crowd(6, 8, spread=0.5)
    asked, _ = crowd(6, 8, spread=0.5, seed=0)
    asked = asked.flip(0) + 0.3 * strangers(48)
    expected = ORACLES[name].fit(labeled.numpy(), labels + 3).predict(asked.numpy())
    assert RULES[name](asked, labeled, labels + 3).tolist() == expected.tolist()
    assert len(set(expected)) > 2


@pytest.mark.filterwarnings("ignore:Outlier label")
def test_every_photo_within_the_bound_can_vote_as_with_scikit_learn():
    labeled, labels = crowd(5, 6, spread=0.4)
    asked = labeled.flip(0) + 1.7 * strangers(30)
    oracle = RadiusNeighborsClassifier(1.3, outlier_label=NOBODY).fit(labeled.numpy(), labels)
    found = Neighbors(len(labeled), bound=1.3)(asked, labeled, labels)
    assert found.tolist() == oracle.predict(asked.numpy()).tolist()
    assert NOBODY in found


def test_the_nearest_is_nobody_beyond_the_bound():
    labeled, labels = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), np.array([7, 8])
    asked = torch.tensor([[1.0, 0.0], [1.5, 2.0]])
    assert RULES["distance-bound NN"](asked, labeled, labels).tolist() == [7, NOBODY]


def test_a_draw_repeats_no_photo_and_fits_the_labels():
    labels = np.repeat(np.arange(-1, 6), 5)
    drawn = draw(labels, 4, 3, np.random.default_rng(0))
    assert drawn.shape == (4, 3)
    assert len(np.unique(drawn)) == 12
    assert len(np.unique(labels[drawn])) == 4
    assert (labels[drawn] == labels[drawn][:, :1]).all()
    assert (labels[drawn] >= 0).all()
    with pytest.raises(SettingError, match="6 people have 5 photos, and 7 are needed"):
        draw(labels, 7, 5, np.random.default_rng(0))


def test_clear_photos_are_identified_and_strangers_by_chance():
    clear, labels = crowd(12, 12, spread=0.1)
    cloaked = strangers(len(clear))
    columns = {
        name: identify(*both, labels, people=10, depth=6, probes=5, times=20)
        for name, both in scenarios(clear, cloaked).items()
    }
    for rule in RULES:
        assert columns["all clear"][rule].mean() == 1
        if rule != "distance-bound NN":
            assert columns["clear enrolled only"][rule].mean() == pytest.approx(0.1, abs=0.05)
            assert columns["all cloaked"][rule].mean() == pytest.approx(0.1, abs=0.05)


def test_the_same_seed_draws_the_same():
    embeddings, labels = crowd(8, 6, spread=1)
    once, again, other = (
        identify(embeddings, embeddings, labels, people=5, depth=3, probes=3, times=5, seed=seed)["k-NN"].tolist()
        for seed in (1, 1, 2)
    )
    assert once == again != other
