from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.toys import recognizer
from bench.miniature import album
from faceveil import datasets, recognizers
from faceveil.bench import Cell, Plan, held_out, run
from faceveil.bench.held_out import ALL, FRONTIER, HELD_OUT, TREATMENTS, ZOO, against, at, besides
from faceveil.bench.material import Material, People
from faceveil.datasets import Faces
from faceveil.datasets.preparation import whole
from faceveil.errors import SettingError
from faceveil.faces.detect import Detector
from faceveil.methods.veil import STRENGTHS
from faceveil.photo import Photo, jpeg
from faceveil.protocols.robustness import shrink
from people import portrait


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two people with two photos each: one, seen from the other side, and darker."""
    folder = tmp_path_factory.mktemp("people")
    for person, shade in (("a", 1.0), ("b", 0.6)):
        (folder / person).mkdir()
        for number, pixels in enumerate((portrait(), portrait()[:, ::-1])):
            Photo.from_array((shade * pixels).astype(np.uint8)).save(folder / person / f"{number}.png")
    return folder


def judge(seed, published=0.5, strangers=0.5):
    toy = recognizer(seed)
    toy.card = replace(toy.card, thresholds={"published": published, "far_1e-3": strangers})
    return toy


@pytest.mark.parametrize("experiment", [HELD_OUT, FRONTIER], ids=lambda experiment: experiment.name)
def test_cloaks_whole_photos_and_lets_others_judge_the_files(experiment, photos, tmp_path):
    experiment = replace(experiment, quick=Plan(People(2, 2), experiment.quick.settings))
    kin = judge(3)
    kin.card = replace(kin.card, origin="toy-0")
    # no two embeddings are 3 apart, any two 0.02 or more; the last was not held out: it is kin to what is attacked
    judges = [judge(0), judge(1, published=0.02, strangers=3.0), judge(2, published=3.0, strangers=0.02), kin]
    done = run(experiment, {"a": datasets.open(photos)}, [tuple(judges[:1])], tmp_path, judges=judges, quick=True)
    for cell in done.cells:
        assert len(cell.found["probes"]) == 2
        assert cell.found["quality"]["SSIM"]["mean"] < 1
        for found in cell.found["judged"]["JPEG 75"].values():
            assert found["cloaked"]["pairs"] == [1, 1]
        for name, missed, said in (("toy-1", 0, True), ("toy-2", 1, False)):  # pairs by 1e-3, verdicts by the authors
            for found in (cell.found["judged"][steps][name] for steps in TREATMENTS):
                assert (found["cloaked"]["missed"], found["clear"]["missed"]) == ([missed] * 2, [missed] * 2)
                assert (found["said"], found["twice"], found["together"]) == ([said] * 2, missed, missed)
    table = experiment.table(done.cells)
    columns = [table.columns.index(name) for name in ("people", "judge")]
    shown = [tuple(row[i] for i in columns) for row in table.rows]
    assert shown == [("2", "toy-1"), ("2", "toy-2"), ("2", "mean")] * len(done.cells)
    assert experiment.figures(done.cells)


def test_clear_and_cloaked_photos_are_compared_with_the_persons_others(monkeypatch):
    """Places on a line: two people's other photos at 0 and 10, theirs before at 1 and 9, cloaked at 9 and 6.5."""
    places = {"before": [1.0, 9.0], "after": [9.0, 6.5], "known": [1.0, 0.0, 9.0, 10.0]}
    place = {name: torch.tensor(each)[:, None] for name, each in places.items()}
    names = tuple("abcd")
    faces = Faces(names, np.array([0, 0, 1, 1]), ("p", "q"), {}, np.arange(4), np.zeros((4, 12, 12, 3), np.uint8))
    net, other = recognizer(), judge(1, published=4.0, strangers=2.0)
    material = Material((), {net.wanted: faces}, faces.compare([]), (net,), (other,), 0, Path())
    material.embedded[other.name] = place["known"]
    monkeypatch.setattr(held_out, "sightings", lambda *given, cloaked: "after" if cloaked else "before")
    monkeypatch.setattr(held_out, "embed", lambda judge, version: place[version])
    judged = held_out._judged(material, np.array([0, 2]), [], Detector("cpu"), ("JPEG 75",))
    assert judged == {
        other.name: {
            "clear": {"missed": [0, 0], "pairs": [1, 1], "rank": 0.0},
            "cloaked": {"missed": [1, 1], "pairs": [1, 1], "rank": 0.5},
            "said": [True, False],
        }
    }


def test_what_a_website_does_is_done_to_the_file_or_to_the_photo_as_it_was(monkeypatch):
    looked = []
    monkeypatch.setattr(held_out, "find_again", lambda detector, photos, clear, faces: looked.append(photos) or [])
    clear, shared = portrait(), portrait()[:, ::-1]
    seen = [held_out.Seen(clear, whole([clear])[0][0], shared)]
    for cloaked, pixels in ((False, clear), (True, shared)):
        held_out.sightings(Detector("cpu"), seen, ("size 0.5", "JPEG 75"), cloaked=cloaked)
        assert np.array_equal(looked.pop(), [jpeg(shrink(pixels, 0.5), 75)])


def test_peers_are_as_strong_as_the_settings_say():
    def made(**settings):
        return held_out.method((recognizer(),), settings, 0)

    for name in ("tip-im", "m-di2", "bim"):
        assert made(method=name, epsilon=4.0).epsilon == 4
    assert {name: made(method="veil", strength=name).quality for name in STRENGTHS} == STRENGTHS


def test_shares_are_those_of_pairs_and_of_photos_that_match_nothing():
    def found(missed, said, twice):
        cloaked = {"missed": missed, "pairs": [4, 1], "rank": 0.5}
        clear = {"missed": [0, 0], "pairs": [4, 1], "rank": 0.0}
        return {"clear": clear, "cloaked": cloaked, "said": said, "twice": twice, "together": 0.75}

    seen = {"one": found([4, 0], [True, True], 1.0), "other": found([2, 1], [True, False], 0.5)}
    quality = {name: {"mean": 1.0} for name in ("SSIMULACRA2", "SSIM", "PSNR", "largest change")}
    judged = {"JPEG 75": seen, "3/4 of the size, JPEG 75": seen}
    settings = {"method": "veil", "strength": "light", "probes": 2}
    rows = HELD_OUT.table(
        [
            Cell(
                "lfw",
                "dlib",
                settings,
                1.0,
                {"probes": ["a", "b"], "quality": quality, "judged": judged, "seconds": 1.0},
            )
        ]
    ).rows
    # judge; clear, cloaked, resized, photos, rank, twice, of one run; called safe, and those that the other agrees on
    assert rows[0][4:14] == ("one", "0 %", "80 %", "80 %", "50 %", "50 %", "100 %", "75 %", "100 %", "50 %")
    assert rows[1][4:14] == ("other", "0 %", "60 %", "60 %", "50 %", "50 %", "50 %", "75 %", "50 %", "100 %")
    assert rows[2][4:14] == ("mean", "0 %", "70 %", "70 %", "50 %", "50 %", "75 %", "75 %", "75 %", "75 %")


def test_every_recognizer_and_every_architecture_is_held_out():
    named = {against(Cell("", group, {}, 0.0, {})): group.split("+") for group in HELD_OUT.recognizers}
    assert set(named) == {*(f"all but {name}" for name in ALL), "all but mobilefacenet", "dlib"}
    assert not set(ZOO["mobilefacenet"]) & set(named["all but mobilefacenet"])
    assert besides(*ALL[1:]) == "dlib"


def test_aligned_faces_are_no_use(tmp_path):
    with pytest.raises(SettingError, match="whole photos"):
        HELD_OUT.full.choose(album(tmp_path), 0)


@pytest.mark.zoo
def test_a_cloak_against_dlib_alone_hides_from_others(shared, monkeypatch, tmp_path):
    """The small form of docs/veil.md's table: more than 45 % of pairs, at SSIMULACRA2 70 and SSIM 0.93."""
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
    pytest.importorskip("ssimulacra2")
    judges = [recognizers.load(name) for name in ("mobilefacenet-y1", "mobilefacenet-foamliu")]
    lfw = {"lfw": datasets.open(shared / "data/lfw")}
    small = replace(HELD_OUT, quick=Plan(People(6, 3), at(6, {"method": "veil", "strength": "balanced"})))
    (cell,) = run(small, lfw, [(recognizers.load("dlib"),)], tmp_path, judges=judges, quick=True).cells
    for found in cell.found["judged"]["JPEG 75"].values():
        clear, cloaked = (np.sum(found[kind]["missed"]) / np.sum(found[kind]["pairs"]) for kind in ("clear", "cloaked"))
        assert clear < 0.2
        assert cloaked > 0.45
    assert cell.found["quality"]["SSIMULACRA2"]["mean"] > 70
    assert cell.found["quality"]["SSIM"]["mean"] > 0.93
