import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch

from faceveil import Photo, checking, programs, recognizers, weights
from faceveil.cli import main
from faceveil.cli.check import _show, _show_opinions
from faceveil.protocols.apps import APPS
from faceveil.recognizers import Recognizer, store
from people import group, landscape, portrait


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["check", *map(str, arguments)])
        raise SystemExit(0)
    return ended.value.code


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    Photo.from_array(portrait()).save(folder / "mine/1.jpg")
    Photo.from_array(np.ascontiguousarray(portrait()[:, ::-1])).save(folder / "mine/2.png")
    Photo.from_array(landscape()).save(folder / "mine/sea.png")
    Photo.from_array(portrait()).save(folder / "people/ann/1.png")
    Photo.from_array(np.ascontiguousarray(portrait()[:, ::-1] // 2)).save(folder / "people/bob/1.png")
    Photo.from_array(landscape()).save(folder / "people/sea/1.jpg")
    with pytest.raises(SystemExit) as ended:
        main(["protect", str(folder / "mine/1.jpg"), "-o", str(folder)])
        raise SystemExit(0)
    assert ended.value.code == 0
    return folder


def test_a_clear_photo_is_recognized(album, capfd):
    assert run(album / "mine/1.jpg", "--against", album / "mine") == 1
    said = capfd.readouterr()
    assert "verdict: RECOGNIZED in up to 1 of 1 clear photos" in said.out
    assert "sea.png: no face found" in said.err
    assert "1.jpg: is the cloaked photo itself" in said.err


def test_a_cloaked_photo_is_not_recognized_in_other_photos(album, capfd):
    assert run(album / "1.jpg", "--against", album / "mine/2.png") == 0
    assert "verdict: not recognized in any of 1 clear photos" in capfd.readouterr().out


@pytest.mark.parametrize(("distances", "code"), [((0.5, 0.7), 1), ((0.7, 0.5), 1), ((0.7, 0.7), 0)])
def test_one_treatment_that_matches_is_enough(album, monkeypatch, distances, code):
    findings = tuple(checking.Finding("some", "as saved", 0.6, (each,)) for each in distances)
    monkeypatch.setattr(checking, "check", lambda *_: checking.Check((Path("me.jpg"),), findings, 0, ()))
    assert run(album / "1.jpg", "--against", album / "mine/2.png") == code


def test_of_several_faces_the_one_nearest_to_the_person_is_measured(album, tmp_path, capfd):
    """The larger face is cloaked, the smaller is the person's clear one."""
    canvas = np.full((320, 560, 3), 120, np.uint8)
    canvas[:, :320] = Photo.open(album / "1.jpg").pixels
    canvas[80:240, 360:520] = portrait()[::2, ::2]
    both = Photo.from_array(canvas).save(tmp_path / "both.png")
    assert run(both, "--against", album / "mine/2.png") == 1
    said = capfd.readouterr().out
    assert "2 faces are in it; the one nearest to the clear photos counts" in said
    assert "RECOGNIZED in up to 1 of 1" in said
    assert run(both, "--against", album / "mine/2.png", "--as", "face_recognition") == 1
    assert "RECOGNIZED by face_recognition" in capfd.readouterr().out


def test_clear_photos_of_several_faces_are_told(album, tmp_path, capfd):
    many = Photo.from_array(group()).save(tmp_path / "many.png")
    for words in ([], ["--as", "face_recognition"]):
        assert run(album / "1.jpg", "--against", many, *words) == 0
        assert f"several faces, of which the largest counts: 1 ({many})" in capfd.readouterr().out
        assert run(album / "1.jpg", "--against", many, "--json", *words) == 0
        assert json.loads(capfd.readouterr().out)["crowded"] == [str(many)]


def test_the_rank_in_a_gallery_counts_the_people_who_are_nearer(album, capfd):
    assert run(album / "1.jpg", "--against", album / "mine/2.png", "--gallery", album / "people", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["people"] == 2
    assert {finding["treatment"] for finding in report["findings"]} == {"as saved", "JPEG 75", "1080 px"}
    assert all(finding["matched"] == 0 for finding in report["findings"])
    assert all(min(finding["distances"]) > 0.6 for finding in report["findings"])


def test_a_clear_photos_rank_is_by_whom_it_is_nearest(album, capfd):
    """Ann is the clear photo itself, stored without loss: the person, known by her mirror image, comes second."""
    run(album / "mine/1.jpg", "--against", album / "mine/2.png", "--gallery", album / "people", "--json")
    saved = json.loads(capfd.readouterr().out)["findings"][0]
    assert saved["rank"] == 2
    run(album / "mine/1.jpg", "--against", album / "people/ann/1.png", "--gallery", album / "people/bob", "--json")
    saved = json.loads(capfd.readouterr().out)["findings"][0]
    assert saved["rank"] == 1


def test_photos_without_a_face_are_an_error_of_one_line(album, capfd):
    assert run(album / "1.jpg", "--against", album / "mine/sea.png") == 1
    assert run(album / "mine/sea.png", "--against", album / "mine/2.png") == 1
    assert "--against" in capfd.readouterr().err


@pytest.mark.parametrize("words", [(), ("--as", "face_recognition")])
def test_the_error_says_why_no_clear_photo_can_be_used(album, capfd, words):
    assert run(album / "1.jpg", "--against", album / "1.jpg", "--against", album / "mine/sea.png", *words) == 1
    said = capfd.readouterr().err
    assert "photo itself, " in said
    assert "mine/sea.png: no face found)" in said
    assert said.count("\n") == 1


def test_of_many_reasons_the_first_are_given(album, tmp_path, capfd):
    for name in "abcd":
        copy(album / "1.jpg", tmp_path / f"{name}.jpg")
    assert run(album / "1.jpg", "--against", tmp_path) == 1
    said = capfd.readouterr().err
    assert "c.jpg: is the cloaked photo itself, ...)" in said
    assert "d.jpg" not in said


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_path_that_does_not_exist_is_named(album, capfd, place):
    """Of the cloaked photo, the clear ones and the gallery."""
    paths = [album / "1.jpg", album / "mine/2.png", album / "people"]
    paths[place] = "nope\n" + "e" * 300
    assert run(paths[0], "--against", paths[1], "--gallery", paths[2]) == 2
    said = capfd.readouterr().err
    assert said.startswith("faceveil: nope?eee")
    assert said.endswith("e: does not exist; check its path\n")
    assert said.count("\n") == 1


def test_a_folder_without_clear_photos_is_named(album, tmp_path, capfd):
    copy(album / "1.jpg", tmp_path / "1-cloaked.jpg")
    assert run(album / "1.jpg", "--against", tmp_path) == 2
    assert f"no clear photo is in {tmp_path}, where -cloaked ones do not count" in capfd.readouterr().err


def test_a_folder_is_checked_by_programs_only(album, capfd):
    assert run(album / "people", "--against", album / "mine/2.png") == 2
    assert "or say what to decide as: --as PROGRAM" in capfd.readouterr().err


def test_all_recognizers_that_are_here_and_can_judge_are_asked(album, capfd, monkeypatch):
    here = {"dlib": "package", "facenet": "mirror", "arcface-r50": "cache"}  # of which the last has no threshold
    loaded = recognizers.load("dlib", torch.device("cpu"))
    monkeypatch.setattr(store, "installed", lambda card: here.get(card.name, ""))
    named = partial(replace, loaded.card)
    monkeypatch.setattr(recognizers, "load", lambda name, on: Recognizer(named(name=name), loaded.network))
    words = (album / "1.jpg", "--against", album / "mine/2.png")
    run(*words, "--json")
    found = json.loads(capfd.readouterr().out)["findings"]
    assert list(dict.fromkeys(finding["recognizer"] for finding in found)) == ["dlib", "facenet"]
    run(*words)
    assert "only dlib was asked" not in capfd.readouterr().out


def test_weights_that_cannot_be_read_are_told_and_passed_over(album, capfd, monkeypatch):
    here = {"dlib": "package", "facenet": "cache"}  # where there is nothing
    monkeypatch.setattr(store, "installed", lambda card: here.get(card.name, ""))
    assert run(album / "1.jpg", "--against", album / "mine/2.png") == 0
    said = capfd.readouterr()
    assert "warning: the weights of facenet are not on this machine" in said.err
    assert "not recognized in any of 1 clear photos" in said.out


def test_where_dlib_alone_is_here_that_is_said(album, capfd, monkeypatch):
    monkeypatch.setattr(store, "installed", lambda card: "package" if card.name == "dlib" else "")
    run(album / "1.jpg", "--against", album / "mine/2.png")
    assert "only dlib was asked, which cloaks are made against" in capfd.readouterr().out


def test_a_damaged_card_of_another_recognizer_is_passed_over(album, capfd):
    bad = weights.folder() / "bad/card.toml"
    bad.parent.mkdir(parents=True)
    bad.touch()
    try:
        assert run(album / "1.jpg", "--against", album / "mine/2.png") == 0
    finally:
        bad.unlink()
    assert capfd.readouterr().err == ""


def test_no_verdict_where_no_program_can_judge(album, capfd):
    words = ("--against", album / "mine/2.png", "--as", "immich")
    assert run(album / "mine/1.jpg", *words) == 1
    said = capfd.readouterr().out
    assert said.endswith(
        "verdict: NOTHING could be judged by these programs, as they know nobody from these clear photos (give more): "
        "immich\n"
    )
    assert run(album / "mine/1.jpg", *words, "--json") == 1
    assert json.loads(capfd.readouterr().out)["opinions"][0]["judged"] is False


def test_the_verdict_speaks_of_the_programs_that_can_judge(album, capfd):
    words = ("--against", album / "mine/2.png", "--as", "face_recognition", "--as", "immich")
    assert run(album / "1.jpg", *words) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[-2] == "verdict: not recognized by face_recognition"
    assert said[-1].startswith("not to be judged, ")
    assert said[-1].endswith(": immich")


def test_tables_of_long_names_fit_eighty_columns(monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "80")
    name, paths = "mobilefacenet-xiaoccer", tuple(map(Path, "abcdefghijkl"))
    finding = checking.Finding(name, "as saved", 1.1, (1.2, 0.9) * 20, 10)
    _show(Path("me.jpg"), checking.Check(paths, (finding,), 25, ()))
    opinions = tuple(programs.Opinion(app, name, False, True, (1,), 2, 0, True) for app in APPS)
    _show_opinions(programs.Opinions(paths, paths, 3, opinions, ()))
    said = capfd.readouterr().out
    assert "\u2026" not in said
    assert f" {name}  as saved  0.90     1.05    1.10   20 of 40  10 of 26" in said
    assert all(app in said for app in APPS)


def test_programs_decide_by_their_own_rules(album, capfd):
    """One clear photo is enough to compare with, and too few to make a person of."""
    words = ("--against", album / "mine/2.png", "--as", "face_recognition", "--as", "immich")
    assert run(album / "mine/1.jpg", *words) == 1
    said = capfd.readouterr().out
    assert "verdict: RECOGNIZED by face_recognition" in said
    assert "know nobody from these clear photos (give more): immich" in said
    assert "stand-in: not the program's own recognizer" in said
    assert "only dlib was asked, which cloaks are made against" in said
    assert run(album / "1.jpg", *words, "--json") == 0
    told = {each["program"]: each for each in json.loads(capfd.readouterr().out)["opinions"]}
    assert {name: (each["own"], each["same"]) for name, each in told.items()} == {
        "face_recognition": (True, [0]),
        "immich": (False, [0]),
    }


def test_a_folder_of_cloaked_photos_is_checked_as_a_program_does(album, capfd):
    run(album / "people", "--against", album / "mine/2.png", "--as", "face_recognition", "--json")
    report = json.loads(capfd.readouterr().out)
    assert [each.rsplit("/", 2)[1] for each in report["cloaked"]] == ["ann", "bob", "sea"]
    assert report["opinions"][0]["same"][2] is None


def test_of_a_folder_with_clear_and_cloaked_photos_the_cloaked_ones_are_checked(album, tmp_path, capfd):
    copy(album / "mine/1.jpg", tmp_path / "1.jpg")
    copy(album / "1.jpg", tmp_path / "1-cloaked.jpg")
    assert run(tmp_path, "--against", album / "mine/2.png", "--as", "face_recognition", "--json") == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["cloaked"] == [str(tmp_path / "1-cloaked.jpg")]
    assert said.err == (
        f"faceveil: {tmp_path}: photos left out, as not named -cloaked: 1 (1.jpg); to check them, give them one by "
        "one, or in a folder of their own\n"
    )


def test_of_many_photos_that_are_left_out_the_first_are_named(album, tmp_path, capfd):
    copy(album / "1.jpg", tmp_path / "1-cloaked.jpg")
    for name in "abcdefg":
        (tmp_path / f"{name}.jpg").touch()
    run(tmp_path, "--against", album / "mine/2.png", "--as", "face_recognition")
    said = capfd.readouterr().err
    assert "left out, as not named -cloaked: 7 (a.jpg, b.jpg, c.jpg, d.jpg, e.jpg, ...); to check them" in said


def test_a_folder_of_which_all_photos_are_checked_leaves_out_none(album, tmp_path, capfd):
    copy(album / "1.jpg", tmp_path / "1.jpg")
    assert run(tmp_path, "--against", album / "mine/2.png", "--as", "face_recognition") == 0
    assert capfd.readouterr().err == ""


def test_an_unknown_program_is_an_error_of_one_line(album, capfd):
    assert run(album / "1.jpg", "--against", album / "mine/2.png", "--as", "picasa") == 2
    said = capfd.readouterr().err
    assert said.startswith("faceveil: no program is called 'picasa'; there are immich, ")
    assert said.count("\n") == 1
