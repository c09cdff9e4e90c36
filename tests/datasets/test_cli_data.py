import json
import pickle

import pytest
from synthetic import lay, png
from typer.testing import CliRunner

from faceveil import datasets
from faceveil.cli.data import app
from faceveil.datasets import Split, catalog
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


def test_a_photo_s_name_forges_no_line(tmp_path):
    lay(tmp_path, "a/1.png", "a/2.png")
    (tmp_path / "a/x\nleft out: nothing\x1b[1A.jpg").write_bytes(b"no photo")
    told = run("prepare", "tiny", tmp_path)
    assert told.count("\nleft out: ") == 3 and "\x1b" not in told


def test_a_folder_without_photos_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match="holds no photo; give a folder of photos"):
        run("prepare", "tiny", tmp_path / "empty")
    assert "prepare one with" in run("list")


def test_the_list_is_folded_to_eighty_columns_not_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = f"/{'folder/' * 20}end"
    catalog.Entry("tiny", path, "pack", 13233, 5749, {"pack": 6000}, {"arcface": 13233}, {}).save()
    said = run("list")
    assert "\u2026" not in said
    rows = said.splitlines()[2:]
    assert "".join(row.split()[-1] for row in rows) == path


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


@pytest.mark.parametrize("damage", [b"", b'{"name": "bad"', b"\xff", b"[]", b"{}"])
def test_a_damaged_entry_is_listed_and_the_others_are_read(pack, cache, damage):
    run("prepare", "tiny", pack, "--for", "mobilefacenet-y1")
    bad = cache / "datasets" / "bad.json"
    bad.write_bytes(damage)
    entries = json.loads(run("list", "--json"))
    assert [entry["name"] for entry in entries] == ["tiny", "bad"]
    assert entries[1] == {"name": "bad", "damaged": str(bad)}
    assert "damaged" in run("list")
    assert datasets.open("tiny").path == pack
    run("prepare", "bad", pack, "--for", "mobilefacenet-y1")
    assert [entry["photos"] for entry in json.loads(run("list", "--json"))] == [4, 4]


def test_an_entry_of_other_types_is_damaged(pack, cache):
    run("prepare", "tiny", pack, "--for", "mobilefacenet-y1")
    file = cache / "datasets" / "tiny.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"missing": None}))
    assert json.loads(run("list", "--json")) == [{"name": "tiny", "damaged": str(file)}]


def test_a_name_is_checked_before_the_work(pack, cache):
    with pytest.raises(SettingError, match="cannot be a name"):
        run("prepare", "../x", pack)
    assert not cache.exists()


def test_a_name_of_other_capitals_is_refused(pack):
    """Where a disk takes them for one, the one's entry would be the other's."""
    run("prepare", "tiny", pack, "--for", "mobilefacenet-y1")
    with pytest.raises(SettingError, match="Tiny differs from tiny, which is there, in capitals alone"):
        run("prepare", "Tiny", pack)


def test_progress_is_shown_on_a_terminal_only(pack):
    words = ["prepare", "tiny", str(pack), "--for", "mobilefacenet-y1"]
    assert CliRunner().invoke(app, words).stderr == ""
    assert "tiny arcface" in CliRunner().invoke(app, words, env={"FORCE_COLOR": "1"}).stderr


def test_splits_people_with_enough_photos(tmp_path):
    folder = lay(tmp_path / "photos", "a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/2.png")
    words = ("split", folder, "--protected", 1, "--targets", 1, "--at-least", 2)
    run(*words[:2], tmp_path / "split.json", *words[2:])
    split = Split.read(tmp_path / "split.json")
    assert {*split.roles["protected"], *split.roles["targets"]} == {"a", "c"}
    assert json.loads(run(*words[:2], "-", *words[2:]))["roles"]["gallery"] == []
