from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from attacks.toys import recognizer
from bench.miniature import album
from faceveil.attacks.gap import GAP
from faceveil.bench.apf import matching, tables
from faceveil.bench.apf.stages import Genuine, Stages
from faceveil.bench.apf.tables import _whole
from faceveil.bench.material import Material
from faceveil.datasets import Comparisons, Faces
from faceveil.datasets.folders import Folders
from faceveil.errors import SettingError
from faceveil.methods.apf import Apf
from faceveil.methods.scene import Scene


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


@pytest.fixture
def material():
    """Three people's photos of noise: of each an enrolled one, 0 to 2, and one to be cloaked, 3 to 5."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    net, names = recognizer(template="arcface"), tuple(f"{number}.png" for number in range(6))
    faces = Faces(names, np.array([0, 1, 2, 0, 1, 2]), ("a", "b", "c"), {}, np.arange(6), levels)
    pairs = Comparisons(np.arange(3), np.arange(3, 6), np.full(3, True), np.ones(3, np.int64), 0)
    return Material((), {net.wanted: faces}, pairs, (net,), (net,), 0, Path())


def test_success_is_the_share_that_matched_the_enrolled_photo_less_that_which_still_does(material, monkeypatch):
    """Places on a line; the toy's threshold is 0.5."""
    clear, cloaked = (torch.tensor(some)[:, None] for some in ([0.0, 10.0, 20.0, 0.4, 10.3, 20.1], [0.6, 11.0, 20.2]))
    material.embedded["toy-0"] = clear
    monkeypatch.setattr(Material, "cloaked_to", lambda *given: cloaked)
    found = Stages(material, {}).success(material.faces[:3], np.arange(3, 6), np.arange(3))
    assert found == {"toy-0": pytest.approx(2 / 3)}


def test_noise_is_added_to_the_photos_and_rounded_as_in_a_file(material):
    rows, noise = np.array([4, 1]), torch.linspace(-0.3, 0.3, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12)
    levels = 255 * Stages(material, {}).add(noise, rows)
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert (levels - (255 * (material.faces[rows] + noise)).clamp(0, 255)).abs().max() < 0.51


def test_gradients_lead_from_the_enrolled_photos_without_delta(material):
    stages, rows, enrolled = Stages(material, {"attack": "fgsm", "steps": 1}), np.array([3, 5]), np.array([0, 2])
    scenes = [Scene.cut(material.faces[some], "arcface", (stages.probe,)) for some in (rows, enrolled)]
    expected = Apf((stages.probe,), "fgsm", scatter=0.0).gradient(scenes[0], scenes[1].embed())
    assert torch.equal(stages.gradient((stages.probe,), rows, enrolled), expected)


class Told:
    """Stages that tell which of them were asked for: noise is a number, and so is what is said of it."""

    probe, servers = "probe", ("server",)

    def __init__(self, material, settings):
        pass

    def gradient(self, nets, rows, enrolled, scatter=0.0):
        assert (rows.tolist(), enrolled.tolist()) == ([3, 4, 5], [0, 1, 2])
        return torch.tensor({("probe",): [1.0], ("server",): [2.0]}[tuple(nets)])

    def transferred(self):
        return lambda gradient: gradient + 10

    def clouds(self, enhanced):
        return [lambda gradient, epoch=epoch: gradient + (200 if enhanced else 100) + 10 * epoch for epoch in (1, 2)]

    def add(self, noise, rows):
        return noise

    def success(self, images, rows, enrolled):
        return {"toy-0": float(images)}


def test_table_2_has_the_probe_s_gradient_then_eq_4_s_then_eq_9_s_and_the_servers(material, monkeypatch):
    monkeypatch.setattr(tables, "Stages", Told)
    monkeypatch.setattr(tables, "noise", lambda cloud, gradient: cloud(gradient))
    monkeypatch.setattr(tables, "_ssim", lambda *given: {})
    monkeypatch.setattr(tables, "_whole", lambda *given: np.ones(3))
    found = tables._measure(material, {"attack": "di2"})
    rates = {"g": 1, "g^": 11, "s without u": 121, "s": 221, "accessible": 2}
    assert found["rates"] == {stage: {"toy-0": rate} for stage, rate in rates.items()}
    assert found["curves"] == {"s without u": [11, 111, 121], "s": [11, 211, 221]}


@pytest.mark.parametrize(("away", "sources"), [("enrolled", [0, 2, 0, 2]), ("itself", [1, 3, 4, 5])])
@pytest.mark.parametrize(("delta", "scatter"), [("without", 0), ("with", 1), ("with 10 x", 10)])
def test_table_4_cloaks_all_but_each_persons_first_photo(material, monkeypatch, away, sources, delta, scatter):
    """Of the one, 0, 1 and 4, the cloaked ones match each other alone; of the other, 2, 3 and 5, the last the first."""
    asked = []

    class Asked(Told):
        def gradient(self, nets, rows, enrolled, scatter=0.0):
            asked.append((nets, rows.tolist(), enrolled.tolist(), scatter))
            return torch.tensor([1.0])

    faces = replace(material.faces, labels=np.array([0, 0, 1, 1, 0, 1]))
    material = replace(material, aligned={material.recognizer.wanted: faces})
    material.embedded["toy-0"] = torch.tensor([[0.0], [0.1], [9.0], [9.1], [0.2], [9.2]])
    monkeypatch.setattr(matching, "Stages", Asked)
    monkeypatch.setattr(matching, "noise", lambda cloud, gradient: cloud(gradient))
    monkeypatch.setattr(Material, "cloaked_to", lambda *given: torch.tensor([[3.0], [5.0], [3.2], [9.3]]))
    found = matching._measure(material, {"attack": "di2", "away from": away, "delta": delta})
    assert asked == [(("probe",), [1, 3, 4, 5], sources, scatter)]
    assert found == {"toy-0": {"original": 0.75, "adversarial": 0.5}}
