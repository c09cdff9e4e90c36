from dataclasses import replace

import pytest

from attacks.toys import recognizer
from bench.miniature import album
from faceveil.bench import Cell, Plan, run, write
from faceveil.bench.material import Crowd
from faceveil.bench.tip_im import gallery
from faceveil.bench.tip_im.black_box import BLACK_BOX
from faceveil.bench.tip_im.naturalness import NATURALNESS
from faceveil.errors import SettingError
from faceveil.protocols.rank import ranks


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"), people=8)


@pytest.fixture(scope="module")
def nets():
    return recognizer(), recognizer(1, (24, 24))


def measured(experiment, photos, nets, folder, *settings):
    small = replace(experiment, full=Plan(Crowd(6, 9), settings))
    return run(small, {"a": photos}, [nets[:1]], folder, judges=nets)


def at(method, gamma=0.0, probes=4, targets=2):
    return {"method": method, "gamma": gamma, "probes": probes, "targets": targets}


def test_probes_are_ranked_as_the_protocol_does(photos, nets, tmp_path, monkeypatch):
    """Four are protected, two targets, all six others additional; nothing in the gallery made a cloak."""
    kept = {}

    def look(material, settings):
        kept["material"], kept["parts"] = material, gallery._parts(material, 4, 2)
        return gallery.measure(material, settings)

    done = measured(replace(BLACK_BOX, measure=look), photos, nets, tmp_path, at("clear"), at("TIP-IM"))
    clear, cloaked = (cell.found for cell in done.cells)
    parts, labels = kept["parts"], kept["material"].faces.labels
    assert (clear["probes"], clear["gallery"]) == (4, 24 - 4 - 2)
    assert not {*parts.probes, *parts.targets} & {*parts.gallery}
    for net in nets:
        seen = kept["material"].clear_to(net)
        told = set(labels[parts.targets].tolist())
        expected = ranks(seen[parts.probes], labels[parts.probes], seen[parts.gallery], labels[parts.gallery], told)
        assert clear["judges"][net.name]["R1-UT"] == expected[1].untargeted
        assert clear["judges"][net.name]["R5-T"] == expected[5].targeted
    assert clear["quality"] == {}
    assert cloaked["judges"]["toy-0"]["R1-UT"] > clear["judges"]["toy-0"]["R1-UT"]
    assert 0 < cloaked["quality"]["ssim"]["mean"] < 1


def test_every_method_is_measured_and_shown(photos, nets, tmp_path):
    methods = ("clear", *gallery.METHODS)
    done = measured(BLACK_BOX, photos, nets, tmp_path, *map(at, methods))
    found = [cell.found["judges"]["toy-0"] for cell in done.cells]
    assert all(each["R1-UT"] > found[0]["R1-UT"] for each in found[1:])
    write(done, tmp_path)
    lines = (tmp_path / "table.csv").read_text("utf-8").splitlines()
    assert lines[0] == "data,surrogate,method,rank,toy-0,toy-1,mean of the others"
    assert len(lines) == 1 + 4 * len(methods)
    assert len(list(tmp_path.glob("plot-*.png"))) == 3


def test_more_naturalness_is_nearer_to_the_photo(photos, nets, tmp_path):
    done = measured(NATURALNESS, photos, nets, tmp_path, at("TIP-IM"), at("TIP-IM", 1000.0))
    plain, natural = (cell.found["quality"] for cell in done.cells)
    assert natural["psnr"]["mean"] > plain["psnr"]["mean"]
    assert natural["mmd"]["mean"] < plain["mmd"]["mean"]
    write(done, tmp_path)
    assert (tmp_path / "plot-1.png").is_file()


def test_the_papers_numbers_stand_beside_the_same_pair_of_networks():
    """White-box numbers beside white-box ones; none beside another network of the surrogate's family."""
    assert BLACK_BOX.printed["MobileFace TIP-IM R1-T", "FaceNet"] == "28.8"
    assert BLACK_BOX.printed["ResNet50 DIM R5-UT", "CosFace"] == "61.8"
    assert BLACK_BOX.printed["MobileFace TIP-IM R1-T", "mean of the others"] == "32.1"  # of 44, 62.8, 12.6, 28.8, 12.4
    shares = {"R1-T": 0.5, "R5-T": 0.5, "R1-UT": 0.25, "R5-UT": 0.5}
    judges = {"mobilefacenet-y1": shares, "mobilefacenet-foamliu": shares, "facenet": shares, "dlib": shares}
    cell = Cell("lfw", "mobilefacenet-y1", at("MT-DIM"), 1.0, {"judges": judges})
    rows = BLACK_BOX.table([cell]).rows
    assert rows[0][4:] == ("50* (paper 40.2)", "50", "50 (paper 9.8)", "50", "50 (paper 9.6)")
    assert rows[2][4:7] == ("25* (paper 95.4)", "25", "25 (paper 74.6)")
    together = replace(cell, recognizer="mobilefacenet-y1+facenet")
    assert BLACK_BOX.table([together]).rows[0][4:] == ("50*", "50", "50*", "50", "50")


def test_a_crowd_takes_people_with_several_photos_first(photos, tmp_path):
    alone = album(tmp_path / "alone", people=3, photos=1)
    with pytest.raises(SettingError, match="0 people have 2 photos"):
        Crowd(4, 4)(alone, 0)
    part = Crowd(3, 2)(photos, 0)
    assert sorted(part.identities().values()) == [3] * 5
    assert [s.name for s in Crowd(3, 2)(photos, 0)] == [s.name for s in part]


def test_targets_leave_somebody_to_protect(photos, nets, tmp_path):
    with pytest.raises(SettingError, match="8 are targets"):
        measured(BLACK_BOX, photos, nets, tmp_path, at("clear", targets=8))
