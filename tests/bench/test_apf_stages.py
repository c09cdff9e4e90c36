from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from attacks.toys import recognizer
from bench.miniature import album
from faceveil.attacks.gap import GAP
from faceveil.bench.apf.stages import Genuine, Stages
from faceveil.bench.apf.tables import _whole
from faceveil.bench.material import Material
from faceveil.datasets import Faces
from faceveil.datasets.folders import Folders
from faceveil.errors import SettingError


@pytest.mark.parametrize("listed", [True, False])
def test_pairs_are_the_listed_ones_or_each_persons_first_two(tmp_path, listed):
    listing = album(tmp_path, people=5, photos=3)
    part = Genuine()(listing if listed else Folders(tmp_path), 0)
    assert [(pair.first, pair.second) for pair in part.listed] == [
        (f"person {who}/0.png", f"person {who}/1.png") for who in range(5)
    ]
    assert len(list(part)) == 10


def test_so_many_pairs_are_spread_over_the_list(tmp_path):
    part = Genuine(2)(album(tmp_path, people=5), 0)
    assert [pair.first for pair in part.listed] == ["person 0/0.png", "person 2/0.png"]


def test_refuses_a_data_set_in_which_nobody_has_two_photos(tmp_path):
    album(tmp_path, people=3, photos=1)
    with pytest.raises(SettingError, match="no two photos of one person"):
        Genuine()(Folders(tmp_path), 0)


def test_similarity_as_printed_has_one_window_the_whole_picture():
    clear = torch.randint(256, (3, 1, 21, 21), generator=torch.Generator().manual_seed(0)).expand(3, 3, 21, 21) / 255
    cloaked = (clear + 8 / 255 * clear.roll(1, 3).round()).clamp(0, 1)
    pairs = [[(255 * image[0]).numpy() for image in pair] for pair in zip(clear, cloaked, strict=True)]
    expected = [
        structural_similarity(*pair, win_size=21, data_range=255, use_sample_covariance=False) for pair in pairs
    ]
    assert _whole(clear, cloaked) == pytest.approx(expected, abs=1e-6)


def test_a_school_is_for_the_same_photos_and_servers(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)

    def learn(levels, server):
        names = tuple(f"{number}.png" for number in range(len(levels)))
        faces = Faces(names, np.arange(len(levels)), names, {}, np.arange(len(levels)), levels)
        training = {("arcface", (12, 12)): faces}
        nets = tuple(recognizer(seed, template="arcface") for seed in (0, server))
        pairs = faces.compare([])
        material = Material((), training, pairs, nets, nets, 0, Path(), training=training, school=tmp_path)
        return Stages(material, {}).universal(GAP(width=2, blocks=1, epochs=1), "gap")

    assert torch.equal(learn(levels, 1), learn(levels, 1))
    for other in ((255 - levels, 1), (levels, 2)):
        with pytest.raises(SettingError, match="is of a run with data"):
            learn(*other)
