"""Recognizers trained by command: few people, one epoch, a small real recognizer."""

import json
import re
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from faceveil import cache, recognizers
from faceveil.cli.harden import _threshold
from faceveil.cli.harden import app as harden
from faceveil.cli.train import app as train
from faceveil.errors import SettingError
from faceveil.protection import at_hand
from faceveil.recognizers import card

BASE = "mobilefacenet-foamliu"


@pytest.fixture
def people(tmp_path, shared, monkeypatch):
    """The first three photos of five people."""
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
    for person in sorted((shared / "data/pins").iterdir())[:5]:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:3]:
            (tmp_path / "people" / person.name / photo.name).symlink_to(photo)
    return tmp_path / "people"


def call(app, *arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.zoo
def test_a_hardened_recognizer_is_here_like_any_other(people):
    told = call(harden, BASE, "--data", people, "--obfuscator", "bim", "--epochs", 1, "--batch", 4, "--name", "harder")
    loaded, images = recognizers.load("harder"), torch.rand(1, 3, 112, 112)
    assert loaded.threshold == pytest.approx(told["thresholds"]["far_1e-3"])
    assert not torch.equal(loaded(images), recognizers.load(BASE)(images))
    assert len(told["people"]) == 3
    assert told["strangers"] == card.read("harder").measured["strangers"] == 9  # pairs of two people's three photos
    assert not card.read("harder").judges  # by so few
    assert card.read("harder").kin == card.read(BASE).kin == BASE
    assert told["trained_on"] == f"{card.read(BASE).trained_on}; then 9 photos of 3 people, clear and cloaked with bim"
    assert told["epochs"][0].keys() == {"clear", "bim"}
    assert not (cache.folder() / "training" / "harder").exists()
    with pytest.raises(SettingError, match="there is a recognizer harder"):
        call(harden, BASE, "--data", people, "--obfuscator", "bim", "--name", "harder")


@pytest.mark.zoo
def test_a_recognizer_is_trained_from_scratch(people):
    told = call(train, "recognizer", "mine", "--data", people, "--epochs", 2, "--batch", 8)
    assert told["trained_on"] == "9 photos of 3 people, clear"
    assert card.read("mine").kin == "mine"
    assert recognizers.load("mine")(torch.rand(1, 3, 112, 112)).norm().item() == pytest.approx(1)


@pytest.mark.zoo
def test_a_recognizer_that_sees_all_people_alike_takes_no_part_in_protect(people):
    done = CliRunner().invoke(train, ["recognizer", "mine", "--data", str(people), "--epochs", "1", "--batch", "8"])
    assert re.match(r"mine: loss clear \d+\.\d{3}; ", done.stdout)
    assert "no threshold, so that protect leaves it out" in done.stdout
    assert not card.read("mine").judges
    assert "mine" not in at_hand()


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--obfuscator", "none"], "no method is called 'none'"),
        (["--obfuscator", "bim", "--head", "none"], "no head is called 'none'"),
        (["--obfuscator", "bim", "--name", "dlib"], "dlib is a published recognizer"),
        (["--obfuscator", "bim", "--precision", "8"], "precision is '8'"),
    ],
)
def test_what_cannot_be_is_said(people, arguments, message):
    with pytest.raises(SettingError, match=message):
        call(harden, BASE, "--data", people, *arguments)


@pytest.mark.zoo
def test_two_runs_of_one_name_do_not_meet(people):
    (cache.folder() / "training").mkdir(parents=True)
    with (
        FileLock(cache.folder() / "training" / "harder.lock"),
        pytest.raises(SettingError, match="another faceveil is training harder; wait, or choose another name"),
    ):
        call(harden, BASE, "--data", people, "--obfuscator", "bim", "--name", "harder")


@pytest.mark.zoo
def test_a_cache_that_cannot_be_written_is_told(people):
    cache.folder().mkdir(parents=True)
    (cache.folder() / "training").touch()
    with pytest.raises(SettingError, match=r"training cannot be written \(.*\); make room, or name another place"):
        call(harden, BASE, "--data", people, "--obfuscator", "bim", "--name", "harder")


@pytest.mark.zoo
def test_photos_that_are_left_out_are_told(people):
    (people / "nobody").mkdir()
    (people / "nobody" / "1.jpg").touch()
    done = CliRunner().invoke(train, ["recognizer", "mine", "--data", str(people), "--epochs", "1", "--batch", "8"])
    assert "warning: 1 of 16 photos left out, as nobody/1.jpg (" in done.stderr


def test_a_threshold_from_few_strangers_is_said_to_be():
    kept = replace(card.read(BASE), name="hard", thresholds={"far_1e-3": 0.75}, measured={"strangers": 9})
    few = _threshold(kept)
    assert few.startswith(
        "same person below 0.750, the nearest of only 9 pairs of strangers, so that protect leaves it out; "
    )
    assert _threshold(replace(kept, measured={"strangers": 1000})).endswith(
        "(one false match in 1,000, of 1000 pairs of strangers)"
    )
