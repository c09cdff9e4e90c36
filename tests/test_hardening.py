"""Hardening: on a toy recognizer and people of noise; and, in kind, on a real one and real people."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from attacks.toys import recognizer
from faceveil import hardening
from faceveil.datasets import Faces, prepare
from faceveil.datasets.folders import Folders
from faceveil.errors import SettingError
from faceveil.hardening import Course, Obfuscator, harden
from faceveil.protocols.verification import all_pairs, equal_error_rate, false_non_match_rate, threshold_below
from faceveil.recognizers import load
from faceveil.recognizers.folding import normalize, restore
from faceveil.training import Engine

BIM = Obfuscator("bim", {"epsilon": 6.0, "identities": 5})
COURSE = Course(epochs=3, batch=8, rate=3e-3, held_out=0.3)


def crowd(people=8, photos=6, seed=0):
    """Photos of 12 x 12 noise, of which each person has a kind of their own; the last one's labels are unknown."""
    random = np.random.default_rng(seed)
    kinds = random.integers(40, 216, (people, 1, 12, 12, 3))
    levels = np.clip(kinds + random.integers(-30, 31, (people, photos, 12, 12, 3)), 0, 255).astype(np.uint8)
    labels = np.arange(people).repeat(photos)
    labels[-1] = -1
    names = tuple(f"{i}.png" for i in range(people * photos))
    store = levels.reshape(-1, 12, 12, 3)
    return Faces(names, labels, tuple(f"p{i}" for i in range(people)), {}, np.arange(people * photos), store)


def weights(hardened):
    return torch.cat([each.flatten() for each in hardened.recognizer.network.parameters()])


def run(folder, course=COURSE, obfuscators=(BIM,), **settings):
    return harden(recognizer(), crowd(), obfuscators, folder, course, engine=Engine("cpu"), **settings)


@pytest.mark.parametrize("change", [{}, {"head": "triplet"}, {"fresh": True}, {"flip": True}])
def test_learns_from_clear_and_obfuscated_photos(tmp_path, change):
    done = run(tmp_path, replace(COURSE, epochs=6, **change))
    for version in ("clear", "bim"):
        assert done.history[-1][version] < done.history[0][version]
    assert not torch.equal(weights(done), torch.cat([each.flatten() for each in recognizer().network.parameters()]))


@pytest.mark.parametrize(("flip", "least", "most"), [(False, 0.0, 0.0), (True, 0.3, 0.7)])
def test_some_photos_are_shown_mirrored_clear_and_obfuscated_alike(tmp_path, monkeypatch, flip, least, most):
    shown, forward = [], hardening._Classifier.forward

    def watch(self, images, *wanted):
        shown.append(images.detach())
        return forward(self, images, *wanted)

    monkeypatch.setattr(hardening._Classifier, "forward", watch)
    run(tmp_path, replace(COURSE, flip=flip))
    photos = crowd()[:]

    def near(images, others):
        return torch.stack([((image - others).abs().amax((1, 2, 3)) < 6.5 / 255).any() for image in images])

    for clear, obfuscated in zip(shown[::2], shown[1::2], strict=True):
        assert torch.equal(near(clear, photos), ~near(clear, photos.flip(3)))
        assert torch.equal(near(clear, photos), near(obfuscated, photos))
    mirrored = near(torch.cat(shown), photos.flip(3)).float().mean()
    assert least <= mirrored <= most


def test_an_anchor_keeps_clear_photos_where_they_were(tmp_path):
    faces, before = crowd(), recognizer()

    def moved(anchor):
        done = run(tmp_path / str(anchor), replace(COURSE, anchor=anchor), obfuscators=())
        return (done.recognizer(faces[:]) - before(faces[:])).norm(dim=1).mean()

    assert moved(100.0) < moved(0.0) / 2


def test_an_obfuscator_is_named_once(tmp_path):
    with pytest.raises(SettingError, match="named twice"):
        run(tmp_path, obfuscators=(BIM, BIM))


def test_nobody_held_out_is_learned_from_and_thresholds_come_from_them(tmp_path):
    done = run(tmp_path)
    faces = crowd()
    others = [who for who in faces.identities if who not in done.people]
    assert len(others) == 2
    first, second = (done.recognizer(faces[faces.of([who])]) for who in others)
    near = torch.cdist(first, second).flatten().sort().values
    assert done.recognizer.card.thresholds["far_1e-2"] == pytest.approx(near[int(0.01 * len(near))].item(), abs=1e-6)
    assert done.recognizer.threshold == done.recognizer.card.thresholds["far_1e-3"]
    assert done.recognizer.card.measured == {"strangers": len(near)}


def test_who_hardly_tells_people_apart_gets_no_threshold():
    faces, net = crowd(), recognizer()
    known = np.flatnonzero(faces.labels >= 0)
    mixed = replace(faces, labels=np.where(faces.labels >= 0, np.arange(len(faces.labels)) % 2, -1))
    assert hardening._calibrated(net, faces, known).thresholds.keys() == {"far_1e-2", "far_1e-3", "far_1e-4"}
    assert hardening._calibrated(net, mixed, known) == net.card


@pytest.mark.parametrize(("last", "found"), [(5.2, False), (4.4, True)], ids=["auc 5/8", "auc 6/8"])
def test_people_are_told_apart_where_three_quarters_of_the_comparisons_are_right(monkeypatch, last, found):
    """Two people's photos on a line: of 2 distances within a person and 4 between them, so many are in order."""
    places = torch.tensor([[0.0], [2.0], [2.5], [last]])
    monkeypatch.setattr(hardening, "_features", lambda recognizer, faces, rows: places[rows])
    faces, net = replace(crowd(2, 2), labels=np.array([0, 0, 1, 1])), recognizer(normalized=False)
    card = hardening._calibrated(net, faces, np.arange(4))
    assert card == (replace(net.card, thresholds=card.thresholds, measured={"strangers": 4}) if found else net.card)


def test_clear_photos_alone_may_teach(tmp_path):
    done = run(tmp_path, obfuscators=())
    assert list(done.history[0]) == ["clear"]


def test_the_card_tells_what_was_learned_from(tmp_path):
    card = run(tmp_path, name="harder").recognizer.card
    assert card.name == "harder"
    photos = 6 * 6 - ("p7" in run(tmp_path, name="harder").people)
    assert card.trained_on.endswith(f"then {photos} photos of 6 people, clear and cloaked with bim")


@pytest.mark.parametrize(("scratch", "kin"), [(False, "first"), (True, "toy-0-hardened")])
def test_is_kin_of_the_first_that_it_comes_from_and_of_nobody_from_scratch(tmp_path, scratch, kin):
    net = recognizer()
    net.card = replace(net.card, origin="first")
    course = replace(COURSE, epochs=1, scratch=scratch)
    done = harden(net, crowd(), (), tmp_path, course, engine=Engine("cpu"))
    assert done.recognizer.card.kin == kin


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", replace(COURSE, epochs=1))
    assert torch.equal(weights(run(tmp_path / "parts")), weights(whole))


def test_obfuscations_are_made_once_and_go_on_where_they_stood(tmp_path):
    shown = []

    def track(things, what):
        shown.append((what, len(things)))
        return things

    first = run(tmp_path, track=track)
    (kept,) = tmp_path.glob("bim-*.uint8")
    whole = kept.read_bytes()
    assert len(whole) == 36 * 12 * 12 * 3 or len(whole) == 35 * 12 * 12 * 3
    kept.write_bytes(whole[: 20 * 12 * 12 * 3 + 5])
    again = run(tmp_path, track=track)
    assert [count for what, count in shown if what == "bim: photos"] == [3, 2]
    assert kept.read_bytes() == whole
    assert torch.equal(weights(again), weights(first))


def test_fresh_obfuscations_differ_from_epoch_to_epoch(tmp_path, monkeypatch):
    seen = []
    method = Obfuscator.method

    def watch(self, surrogates, seed=None):
        seen.append((seed, next(surrogates[0].network.parameters()).detach().clone()))
        assert not any(each.requires_grad for each in surrogates[0].parameters())
        return method(self, surrogates, seed)

    monkeypatch.setattr(Obfuscator, "method", watch)
    run(tmp_path, replace(COURSE, fresh=True))
    assert len({seed for seed, _ in seen}) == len(seen) == 3 * 4
    assert all(not torch.equal(a, b) for (_, a), (_, b) in pairwise(seen))
    assert not list(tmp_path.glob("*.uint8"))


def test_recognizers_beside_the_pupil_are_taken_to_where_it_learns(tmp_path, monkeypatch):
    """The device without data stands for a second GPU."""
    beside, seen = recognizer(1), []

    class Unchanged:
        def aligned(self, images):
            return images

    def method(self, surrogates, seed=None):
        seen.append([net.device.type for net in surrogates])
        return Unchanged()

    def train(learners, step, examples, folder, **settings):
        step.pupil.to("meta")
        step._attack(BIM, crowd()[:4].to("meta"), 0)
        raise InterruptedError

    monkeypatch.setattr(Obfuscator, "method", method)
    monkeypatch.setattr(hardening, "train", train)
    with pytest.raises(InterruptedError):
        run(tmp_path, replace(COURSE, fresh=True), surrogates=(recognizer(), beside))
    assert seen == [["meta", "meta"]]


def test_another_folder_is_needed_for_other_settings(tmp_path):
    run(tmp_path)
    with pytest.raises(SettingError, match=r"rate 0\.003, not 0\.1"):
        run(tmp_path, replace(COURSE, rate=0.1))


def test_a_head_that_compares_photos_of_a_person_needs_several(tmp_path):
    with pytest.raises(SettingError, match="nobody has the 4 photos that the head triplet learns from together"):
        harden(recognizer(), crowd(photos=1), (BIM,), tmp_path, replace(COURSE, head="triplet"))
    assert not [*tmp_path.iterdir()]  # no photo was cloaked for nothing


def test_too_few_people_are_refused(tmp_path):
    with pytest.raises(SettingError, match="show 3 people who are known, 2 of them to measure by; two others are"):
        harden(recognizer(), crowd(3), (), tmp_path, COURSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; choose more than 0"),
        ({"batch": 1, "scratch": True}, "batch is 1; what learns from scratch is normalized by batch"),
        ({"batch": -1}, "batch is -1; choose more than 0"),
        ({"rate": float("inf")}, "rate is too far from 0"),
        ({"rate": 0.0}, "rate is 0; choose more than 0"),
        ({"anchor": -1.0}, "anchor is -1; choose 0 or more"),
        ({"seed": -1}, "seed is -1; choose 0 or more"),
        ({"held_out": -0.1}, "held_out is -0.1; choose 0 or more"),
        ({"held_out": 1.0}, "held_out is 1; choose a share of the people, less than 1"),
        ({"head": "quadratic"}, "no head is called 'quadratic'"),
    ],
)
def test_a_course_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(SettingError, match=message):
        replace(COURSE, **change)


def test_a_network_that_learned_from_scratch_has_its_old_layers_again(tmp_path):
    before = recognizer()
    done = run(tmp_path, replace(COURSE, scratch=True, head="cosface"))
    assert done.recognizer.network.state_dict().keys() == before.network.state_dict().keys()
    assert done.history[-1]["clear"] < done.history[0]["clear"]


def test_restoring_keeps_what_a_normalized_network_gives():
    torch.manual_seed(0)
    network = normalize(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5, 4)))
    images = torch.randn(64, 3, 3, 3)
    for _ in range(3):
        network(images)  # gathers statistics
    expected = network.eval()(images)
    assert torch.allclose(restore(network)(images), expected, atol=1e-6)
    assert not any(isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d) for each in network.modules())


@pytest.mark.zoo
def test_few_people_teach_a_real_recognizer_to_see_through_cloaks_on_others(shared, tmp_path, monkeypatch):
    """Ten people, eight photos each, five epochs; tested on ten others, whose cloaks were made before."""
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
    for number, person in enumerate(sorted(path for path in (shared / "data/pins").iterdir() if path.is_dir())[:20]):
        for photo in sorted(person.iterdir())[: 8 if number < 10 else 4]:
            link = tmp_path / ("learned" if number < 10 else "tested") / person.name / photo.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photo)
    learned, tested = (prepare(Folders(tmp_path / part), "arcface", (112, 112)) for part in ("learned", "tested"))
    base, attack = load("mobilefacenet-foamliu"), Obfuscator("bim", {"epsilon": 4.0})
    course = Course(epochs=5, batch=16, rate=3e-4, anchor=30.0, held_out=0)
    hardened = harden(base, learned, [attack], tmp_path / "run", course, engine=Engine("cpu")).recognizer
    clear = tested[:]
    cloaked = (255 * attack.method([base]).aligned(clear)).round() / 255

    def judged(judge):
        with torch.no_grad():
            seen, moved = judge(clear), judge(cloaked)
        own, mixed = all_pairs(seen, tested.labels), all_pairs(seen, tested.labels, moved)
        asr = false_non_match_rate(mixed.genuine, threshold_below(own.impostor, 1e-2))
        return asr, equal_error_rate(own), equal_error_rate(mixed)

    (asr, _, mixed_eer), (asr_after, clear_after, mixed_after) = judged(base), judged(hardened)
    assert asr > 0.6
    assert asr_after < asr - 0.15
    assert mixed_after < 0.75 * mixed_eer
    assert clear_after < 0.13
