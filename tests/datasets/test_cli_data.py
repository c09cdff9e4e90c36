import json
import pickle

import pytest
from synthetic import lay, png
from typer.testing import CliRunner

from faceveil.cli.data import app
from faceveil.datasets import Split
from faceveil.errors import SettingError


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).stdout


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "pack.bin"
    path.write_bytes(pickle.dumps(([png(1), png(2), png(3), png(4)[:60] + bytes(9)], [True, False])))
    return path


def test_prepares_under_a_name_that_is_listed_and_opened(pack):
    assert "prepare one with" in run("list")
    told = json.loads(run("prepare", "tiny", pack, "--for", "mobilefacenet-y1", "--json"))
    assert told["pairs"] == {"pack": 2}
    assert told["faces"] == {"arcface-112x112": 3}
    assert list(told["missing"]) == ["000003"]
    assert json.loads(run("list", "--json")) == [told]
    assert "tiny" in run("list")


def test_lists_what_is_left_out(pack):
    assert "left out: 000003: the photo" in run("prepare", "tiny", pack)


def test_a_name_is_not_given_away_without_force(pack, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(pack.read_bytes())
    run("prepare", "tiny", pack, "--for", "mobilefacenet-y1")
    run("prepare", "tiny", pack, "--for", "mobilefacenet-xiaoccer", "--for", "mobilefacenet-foamliu")
    assert list(json.loads(run("list", "--json"))[0]["faces"]) == ["arcface-112x112", "arcface-112x96"]
    with pytest.raises(SettingError, match="--force"):
        run("prepare", "tiny", other)
    run("prepare", "tiny", other, "--for", "mobilefacenet-y1", "--force")
    entry = json.loads(run("list", "--json"))[0]
    assert (entry["path"], list(entry["faces"])) == (str(other), ["arcface-112x112"])


def test_splits_people_with_enough_photos(tmp_path):
    folder = lay(tmp_path / "photos", "a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/2.png")
    words = ("split", folder, "--protected", 1, "--targets", 1, "--at-least", 2)
    run(*words[:2], tmp_path / "split.json", *words[2:])
    split = Split.read(tmp_path / "split.json")
    assert {*split.roles["protected"], *split.roles["targets"]} == {"a", "c"}
    assert json.loads(run(*words[:2], "-", *words[2:]))["roles"]["gallery"] == []
