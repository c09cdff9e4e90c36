from dataclasses import replace

import numpy as np
import pytest

from attacks.toys import recognizer
from faceveil import Photo
from faceveil.checking import check
from faceveil.faces.detect import Detector, Face
from faceveil.proof import TREATMENTS

FACE = Face((10.0, 10.0, 50.0, 50.0), ((20.0, 25.0), (40.0, 25.0), (30.0, 35.0), (22.0, 42.0), (38.0, 42.0)), 1.0)
NOISE = np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3)).astype(np.uint8)


class Everywhere(Detector):
    """Finds the same face in every photo."""

    def __init__(self):
        pass

    def __call__(self, photos):
        return [[FACE] for _ in photos]


@pytest.fixture
def away(tmp_path):
    """Photos by how far they are, from 0 to 1, on the way from one face to another."""

    def write(share):
        pixels = ((1 - share) * NOISE[0] + share * NOISE[1]).astype(np.uint8)
        return Photo.from_array(pixels).save(tmp_path / f"{share}.png")

    return write


def found(own, **gallery):
    return check(Everywhere(), [recognizer()], Photo.from_array(NOISE[0]), own, gallery).findings


def test_each_treatment_is_measured(away):
    """Noise does not survive JPEG; so small a photo is not made smaller."""
    saved, compressed, small = found([away(0.2)])
    assert [saved.treatment, compressed.treatment, small.treatment] == list(TREATMENTS)
    assert saved.distances != compressed.distances
    assert saved.distances == small.distances


def test_distances_are_in_the_order_of_the_persons_photos(away):
    first, second = found([away(0.9), away(0.1)])[0].distances
    assert first > second > 0


def test_the_rank_is_by_each_ones_nearest_photo(away):
    """Of two photos each the first is the nearer."""
    person = [away(0.2), away(0.9)]
    nearer, farther = [away(0.1), away(1.0)], [away(0.4), away(0.5)]
    nearest = [away(0.05)]
    assert found(person, ann=farther)[0].rank == 1
    assert found(person, ann=nearer)[0].rank == 2
    assert found(person, ann=nearer, bob=farther)[0].rank == 2
    assert found(person, ann=nearer, bob=farther, eve=nearest)[0].rank == 3
    assert found(person)[0].rank is None


def test_a_photo_at_the_threshold_does_not_match(away):
    (one, *_) = found([away(0.1), away(0.9)])
    near, far = one.distances
    assert near < far
    assert replace(one, threshold=far).matched == 1
