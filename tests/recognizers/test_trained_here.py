"""Recognizers that were trained here: their cards and weights in the user's cache."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import faceveil
from faceveil import recognizers, weights
from faceveil.cli.weights import app
from faceveil.errors import SettingError, UnwritablePhotoError, WeightsError
from faceveil.protocols import calibration
from faceveil.recognizers import card, store

NAME = "my-own.2"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return store._architecture(card.read("mobilefacenet-foamliu")).build(**card.read("mobilefacenet-foamliu").options)


def like(name, network):
    base = card.read("mobilefacenet-foamliu")
    own = replace(base, name=name, trained_on='"ours"', thresholds={"far_1e-3": 0.75}, measured={})
    return store.keep(own, network, {"people": ["a", "b"]})


def test_is_loaded_by_its_name_and_gives_the_same_embeddings(network):
    kept = like(NAME, network)
    assert card.read(NAME) == kept
    assert NAME in recognizers.names()
    loaded, images = recognizers.load(NAME), torch.rand(2, 3, 112, 112)
    assert loaded.threshold == 0.75
    assert torch.equal(loaded(images), recognizers.Recognizer(kept, network)(images))
    assert store.installed(kept) == "cache"
    assert json.loads((weights.folder() / NAME / "training.json").read_text()) == {"people": ["a", "b"]}


@pytest.mark.parametrize("name", card.published())
def test_a_card_can_be_written_and_read_again(name):
    given = replace(card.read(name), name="copy")
    card.write(given)
    assert card.read("copy") == given


def test_a_newer_one_replaces_it(network):
    like(NAME, network)
    network.fc.bias.data += 1
    like(NAME, network)
    assert len(list((weights.folder() / NAME).glob("*.safetensors"))) == 1
    assert torch.equal(store.network(card.read(NAME)).fc.bias, network.fc.bias)


def test_its_thresholds_can_be_calibrated(network):
    like(NAME, network)
    random = np.random.default_rng(0)
    labels = np.arange(60) // 3
    embeddings = torch.from_numpy(random.normal(size=(20, 4))[labels] + random.normal(size=(60, 4))).float()
    first, second = np.arange(0, 58), np.arange(2, 60)
    measured = calibration.calibrate(embeddings, labels, first, second, labels[first] == labels[second], first % 2)
    calibration.write(card.path(NAME), measured)
    calibration.write(card.path(NAME), measured)
    read = card.read(NAME)
    assert read.thresholds == {name: round(distance, 4) for name, distance in measured.thresholds.items()}
    assert read.measured["pairs"] == 58
    assert read.sources == card.read(NAME).sources != ()


def test_a_published_name_is_not_taken(network):
    with pytest.raises(SettingError, match="dlib is a published recognizer"):
        like("dlib", network)
    with pytest.raises(SettingError, match="cannot be a name"):
        like("../dlib", network)
    with pytest.raises(SettingError, match="FaceNet differs from facenet, which is there, in capitals alone"):
        like("FaceNet", network)
    with pytest.raises(SettingError, match="downloads is the name of another folder"):
        like("downloads", network)


def test_a_damaged_card_is_named(network):
    like(NAME, network)
    card.path(NAME).write_text('title = "half')
    with pytest.raises(WeightsError, match=f"{NAME}/card.toml is damaged"):
        recognizers.load(NAME)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: 'title = "half',
        lambda text: re.sub('architecture = ".*"', 'architecture = "nosuch"', text),
        lambda text: "sources = ['x']\n" + text.split("[[sources]]")[0],
        lambda text: "measured = 3\n" + text,
    ],
    ids=["half", "architecture", "sources", "measured"],
)
def test_a_damaged_card_stops_nobody_else(network, damage):
    like(NAME, network)
    card.path(NAME).write_text(damage(card.path(NAME).read_text()))
    assert NAME not in {each.name for each in store.here()}
    assert "dlib" in {each.name for each in faceveil.Protector().judges}
    listed = CliRunner().invoke(app, ["list", "--json"])
    (row,) = (row for row in json.loads(listed.stdout) if row["name"] == NAME)
    assert row["damaged"].endswith(f"run: faceveil weights remove {NAME} --force, and train or add it again")
    assert f"{NAME} " in CliRunner().invoke(app, ["list"]).stdout
    verified = CliRunner().invoke(app, ["verify"])
    assert verified.exit_code == 1
    assert "card.toml is damaged" in verified.stdout
    assert CliRunner().invoke(app, ["remove", NAME, "--force"]).stdout == f"{NAME}: removed\n"
    assert NAME not in card.names()


def test_damaged_weights_are_named(network):
    like(NAME, network)
    (kept,) = (weights.folder() / NAME).glob("*.safetensors")
    kept.write_bytes(b"x")
    with pytest.raises(
        WeightsError, match=f"damaged; run: faceveil weights remove {NAME} --force, and train or add it again"
    ):
        recognizers.load(NAME)


def test_is_removed_where_somebody_says_so(network):
    like(NAME, network)
    with pytest.raises(SettingError, match=f"{NAME} cannot be pulled again; to remove it nevertheless, add --force"):
        CliRunner().invoke(app, ["remove", "facenet", NAME], catch_exceptions=False)
    assert card.read(NAME)
    assert CliRunner().invoke(app, ["remove", NAME, "--force"]).exit_code == 0
    assert NAME not in recognizers.names()
    assert not (weights.folder() / NAME).exists()
    with pytest.raises(SettingError, match=f"no recognizer is called '{NAME}'"):
        store.remove(NAME)


def test_is_in_the_list(network):
    like(NAME, network)
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)}
    assert rows[NAME]["installed"] == "cache"
    assert rows[NAME]["trained_on"] == '"ours"'


def test_where_a_new_one_cannot_be_kept_the_older_one_is_whole(network, monkeypatch):
    old = like(NAME, network)
    published = store.publish

    def full(data, path, **given):
        if path.name == "training.json":
            raise UnwritablePhotoError("no space left")
        published(data, path, **given)

    monkeypatch.setattr(store, "publish", full)
    with pytest.raises(UnwritablePhotoError):
        like(NAME, store.untrained(card.read("mobilefacenet-foamliu")))
    assert card.read(NAME) == old
    images = torch.rand(2, 3, 112, 112)
    assert torch.equal(recognizers.load(NAME)(images), recognizers.Recognizer(old, network)(images))
