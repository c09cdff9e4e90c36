from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks.toys import recognizer
from bench.miniature import album, counting
from faceveil import datasets
from faceveil.bench import Plan, run, vos
from faceveil.bench.base import Cell
from faceveil.bench.material import People, without
from faceveil.bench.vos import HARDENING, KINDS
from faceveil.errors import SettingError
from faceveil.hardening import Course, Hardened, Obfuscator, harden
from faceveil.protocols.verification import all_pairs, equal_error_rate, false_non_match_rate, threshold_below

LEARN = People(5, 3)
AT_BASE = {"hardened with": "bim", "obfuscator": "bim", "against": "base", "photos": 3, "epochs": 1, "anchor": 0.0}


@pytest.fixture(scope="module")
def net():
    return recognizer()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"), people=9)


@pytest.fixture(scope="module")
def done(photos, net, tmp_path_factory):
    other = album(tmp_path_factory.mktemp("other"), people=12, seed=5)
    settings = AT_BASE, {**AT_BASE, "against": "hardened"}, {**AT_BASE, "obfuscator": "illc", "photos": 1}
    small = replace(HARDENING, full=Plan(People(4, 3), settings, LEARN))
    return run(small, {"a": photos, "b": other}, [(net,)], tmp_path_factory.mktemp("out"))


def test_people_who_are_learned_from_take_no_other_part(photos, tmp_path, net):
    seen = []

    def measure(material, settings):
        seen.append((material.training[net.wanted].identities, material.faces.identities, material.school))
        return {"photos": 0, "level": 1.0}

    experiment = replace(counting(measure), full=Plan(People(9, 3), ({"level": 1.0},), LEARN))
    done = run(experiment, {"a": photos, "b": album(tmp_path / "b", people=12, seed=5)}, [(net,)], tmp_path / "out")
    (learned, rest, school), (again, others, same) = seen
    assert (len(learned), len(rest), len(others)) == (5, 4, 7)
    assert not set(learned) & {*rest, *others}
    assert (again, same) == (learned, school)
    assert done.data["a, learned from"].people == 5


def test_a_name_is_the_same_however_it_is_written(photos):
    left = without(photos, ["PERSON_3", "person-4"]).identities()
    assert sorted(left) == [f"person {number}" for number in (0, 1, 2, 5, 6, 7, 8)]


def test_measures_as_the_protocols_do(done, photos, net, tmp_path):
    here, faces = (datasets.prepare(choice(photos, 0), "facenet", net.size) for choice in (LEARN, lambda d, s: d))
    hard = harden(net, here, [Obfuscator("bim")], tmp_path, Course(epochs=1)).recognizer
    others = np.flatnonzero([name not in here.identities for name in np.array(faces.identities)[faces.labels]])
    images, labels = faces[others], faces.labels[others]
    cloaked = (255 * Obfuscator("bim").method((net.surrogate(),), 0).aligned(images)).round() / 255
    for judge, one in (("before", net), ("after", hard)):
        clear, moved = one(images), one(cloaked)
        kinds = all_pairs(clear, labels), all_pairs(moved, labels, clear), all_pairs(moved, labels)
        threshold, found = threshold_below(kinds[0].impostor), done.cells[0].found[judge]
        assert found["threshold"] == pytest.approx(threshold, abs=1e-5)
        for kind, pairs in zip(KINDS, kinds, strict=True):
            assert found[kind]["missed"] == pytest.approx(false_non_match_rate(pairs.genuine, threshold), abs=0.03)
            assert found[kind]["eer"] == pytest.approx(equal_error_rate(pairs), abs=0.03)
            assert sum(found[kind]["genuine"]) == pytest.approx(1, abs=1e-3)


def test_cloaks_are_made_against_the_one_that_was_asked_for(done):
    base, hardened = done.cells[0].found, done.cells[1].found
    assert base["before"][KINDS[0]] == hardened["before"][KINDS[0]]
    assert base["after"][KINDS[0]] == hardened["after"][KINDS[0]]
    away = [found["before"][KINDS[1]] for found in (base, hardened)]
    assert np.dot(away[0]["genuine"], away[0]["edges"][1:]) > np.dot(away[1]["genuine"], away[1]["edges"][1:])


def test_one_photo_of_each_person_is_compared_with_clear_ones_alone(done):
    assert KINDS[2] not in done.cells[2].found["before"]
    assert done.cells[2].found["before"][KINDS[1]]["genuine pairs"] == 4 * 2


def test_somebody_learned_from_is_not_tested(done, photos, net, tmp_path):
    faces = datasets.prepare(photos, "facenet", net.size)

    def meddle(material, settings):
        return HARDENING.measure(replace(material, training={net.wanted: faces}), settings)

    small = replace(HARDENING, measure=meddle, full=Plan(People(4, 3), (AT_BASE,), LEARN))
    with pytest.raises(SettingError, match="4 people are learned from and tested"):
        run(small, {"a": photos}, [(net,)], tmp_path / "out")


def test_papers_numbers_stand_beside_what_they_were_measured_for(done):
    found = done.cells[0].found
    cells = [
        Cell(data, "net", {**AT_BASE, "hardened with": learned, "obfuscator": name, "against": against}, 1.0, found)
        for data in "ab"
        for learned, name, against in (
            ("advfaces", "advfaces", "base"),
            ("advfaces", "fawkes", "base"),
            ("advfaces", "latent", "hardened"),
            ("veil", "veil", "base"),
        )
    ]
    table = HARDENING.table(cells)
    before, after = (table.columns.index(name) + 1 for name in ("ASR before", "ASR after"))
    papers = [(row[before], row[after]) for row in table.rows]
    nothing = ("", "")
    assert papers[:4] == [("91.0", "0.55"), ("90.7", "0.65"), nothing, nothing]
    assert papers[4:] == [("76.7", "7.90"), nothing, nothing, nothing]


def test_a_lesson_is_as_the_settings_say(photos, net, tmp_path, monkeypatch):
    given = []

    def watch(base, faces, obfuscators, folder, course, **settings):
        given.append(([each.name for each in obfuscators], course))
        return Hardened(base, (), [])

    monkeypatch.setattr(vos, "harden", watch)
    small = replace(HARDENING, full=Plan(People(4, 2), ({**AT_BASE, "epochs": 3, "anchor": 7.0},), LEARN))
    run(small, {"a": photos}, [(net,)], tmp_path, seed=5)
    assert given == [(["bim"], Course(epochs=3, anchor=7.0, seed=5))]


def test_fewer_than_one_stranger_in_a_thousand_lie_below_the_threshold():
    """Sixty people on a line, neighbors 1.01, 1.03, 1.05 ... apart, and another photo of the first one, far away."""
    labels = np.array([*range(60), 0])
    places = torch.tensor([*(i + i * i / 100 for i in range(60)), -200.0])[:, None]
    found = vos._judged(places, places[:1], labels, np.array([0]))
    strangers = 61 * 60 // 2 - 1
    assert found["threshold"] == pytest.approx(1.03, abs=5e-3)
    assert found[KINDS[0]]["far"] == pytest.approx(1 / strangers)
    assert (found[KINDS[0]]["missed"], found[KINDS[0]]["impostor pairs"]) == (1, strangers)


def test_numbers_stand_below_their_names():
    def judged(shift):
        return {kind: {"missed": (shift + i) / 100, "eer": (shift + 10 + i) / 100} for i, kind in enumerate(KINDS)}

    found = {"before": judged(1), "after": judged(51), "ssim": {"mean": 0.5}}
    (row,) = HARDENING.table([Cell("a", "net", AT_BASE, 1.0, found)]).rows
    names = HARDENING.table([]).columns
    shown = {
        name if name not in ("after", "paper") else f"{names[i - 1]}, {name}": row[i] for i, name in enumerate(names)
    }
    assert (shown["ASR before"], shown["ASR after"]) == ("2.00", "52.00")
    for name, before in (("FRR clear", 1), ("EER clear", 11), ("EER mixed", 12), ("EER obfuscated", 13)):
        assert (shown[f"{name} before"], shown[f"{name} before, after"]) == (f"{before}.00", f"{before + 50}.00")
    assert shown["SSIM"] == "0.500"


def test_shows_the_histograms_of_clear_pairs_once_and_of_each_cell(done):
    figures = HARDENING.figures(done.cells)
    assert [len(figure.axes) for figure in figures.values()] == [2 + 4 + 4 + 2] * 2
    assert torch.tensor(done.cells[0].found["before"][KINDS[0]]["edges"]).diff().min() > 0
