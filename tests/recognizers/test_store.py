import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from faceveil import files, recognizers, weights
from faceveil.cli.weights import app
from faceveil.errors import FaceveilError, SettingError, WeightsError
from faceveil.recognizers import card, store

NAME = "mobilefacenet-xiaoccer"


@pytest.fixture
def no_mirror(monkeypatch):
    monkeypatch.delenv("FACEVEIL_MIRROR")


@pytest.mark.usefixtures("no_mirror")
def test_loading_downloads_nothing_and_says_what_to_run():
    with pytest.raises(WeightsError, match=f"not on this machine; run: faceveil weights pull {NAME}"):
        recognizers.load(NAME)
    with pytest.raises(WeightsError, match="run: faceveil weights add mobilefacenet-espdl FILE"):
        recognizers.load("mobilefacenet-espdl")


@pytest.mark.zoo
def test_what_is_damaged_is_pulled_again_where_the_mirror_has_it():
    store.pull(card.read("mobilefacenet-espdl"))
    (kept,) = (weights.folder() / "mobilefacenet-espdl").glob("*.safetensors")
    kept.write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged; run: faceveil weights pull mobilefacenet-espdl"):
        recognizers.load("mobilefacenet-espdl")


@pytest.mark.zoo
def test_pulled_weights_work_without_their_source(shared, monkeypatch):
    images = torch.rand(1, 3, *recognizers.load(NAME).size)
    expected = recognizers.load(NAME)(images)
    store.pull(card.read(NAME))
    monkeypatch.delenv("FACEVEIL_MIRROR")
    assert store.installed(card.read(NAME)) == "cache"
    assert torch.equal(recognizers.load(NAME)(images), expected)
    (kept,) = (weights.folder() / NAME).glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="missing or damaged; run: faceveil weights"):
        recognizers.load(NAME)
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
    store.pull(card.read(NAME))
    assert torch.equal(recognizers.load(NAME)(images), expected)


@pytest.mark.zoo
def test_downloads_are_converted_and_then_thrown_away(shared, monkeypatch):
    monkeypatch.delenv("FACEVEIL_MIRROR")
    seen = []

    def download(file, progress):
        path = weights.folder() / "downloads" / file.sha256
        path.parent.mkdir(parents=True)
        shutil.copy(shared / "zoo" / "files" / file.name, path)
        progress(1, 2)
        return path

    monkeypatch.setattr(weights, "download", download)
    store.pull(card.read(NAME), lambda *told: seen.append(told))
    assert seen == [("1 of 1", 1, 2)]
    assert store.installed(card.read(NAME)) == "cache"
    assert [path.name for path in (weights.folder() / "downloads").iterdir()] in ([], ["lock"])
    with pytest.raises(WeightsError, match="mobilefacenet-espdl has no public address; run: faceveil weights add"):
        store.pull(card.read("mobilefacenet-espdl"))


@pytest.mark.zoo
def test_what_was_pulled_is_removed_without_a_question_and_the_mirror_stays(shared):
    store.pull(card.read(NAME))
    assert run("remove", NAME).stdout == f"{NAME}: removed\n"
    assert store.installed(card.read(NAME)) == "mirror"
    assert not (weights.folder() / NAME).exists()
    assert run("pull", NAME).stdout == f"{NAME}: cache\n"


def test_half_a_download_is_removed():
    part = weights.folder() / "downloads" / f"{card.read('facenet').sources[0].files[0].sha256}.part"
    part.parent.mkdir(parents=True)
    part.touch()
    store.remove("facenet")
    assert not part.exists()


def test_nothing_is_removed_of_what_a_package_brings():
    with pytest.raises(WeightsError, match="the cache holds nothing of dlib; faceveil weights list says where"):
        store.remove("dlib")
    assert store.installed(card.read("dlib")) == "package"


@pytest.mark.zoo
def test_weights_made_from_other_files_than_the_cards_do_not_count():
    store.pull(card.read(NAME))
    path = weights.folder() / NAME / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": {"068.ckpt": "0" * 64}}))
    assert store.installed(card.read(NAME)) == "mirror"


@pytest.mark.zoo
@pytest.mark.parametrize("damage", [b"", b'{"file": "x.safe', b"\xff\xfe", b"[1, 2]", b'{"file": 3}'])
def test_a_damaged_record_is_none(damage):
    store.pull(card.read(NAME))
    path = weights.folder() / NAME / "record.json"
    path.write_bytes(damage)
    assert store.record(card.read(NAME)) is None
    assert {row["name"]: row["installed"] for row in json.loads(run("list", "--json").stdout)}[NAME] == "mirror"
    assert run("pull", NAME).stdout == f"{NAME}: cache\n"


@pytest.mark.zoo
def test_two_pulls_do_the_work_once(monkeypatch):
    kept = []
    keep = store._keep

    def slowly(*given):
        kept.append(given)
        time.sleep(0.2)
        return keep(*given)

    monkeypatch.setattr(store, "_keep", slowly)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(store.pull, [card.read(NAME)] * 2))
    assert len(kept) == 1
    assert store.installed(card.read(NAME)) == "cache"


def test_another_file_than_the_cards_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="not a file that the card mobilefacenet-y1 knows"):
        store.add(card.read("mobilefacenet-y1"), tmp_path / "x.safetensors")


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("gdc.bias"), r"the tensor gdc\.bias is missing"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(128, 512)}),
            r"fc\.weight is \[128, 512\], not \[512, 512\]",
        ),
        (lambda state: state.update({"head": torch.zeros(1)}), "no place for the tensor head"),
    ],
)
def test_tensors_that_do_not_fit_are_named(shared, change, message):
    state = load_file(shared / "zoo" / "files" / "espdl-mobilefacenet-512.safetensors")
    change(state)
    with pytest.raises(WeightsError, match=message):
        store.fit(card.read("mobilefacenet-espdl"), state)


def blank(name, path):
    """An official file for a card of which no hash was published, all zeros."""
    with torch.device("meta"):
        network = store.untrained(card.read(name))
    torch.save({key: torch.zeros(tensor.shape) for key, tensor in network.state_dict().items()}, path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "300"})


@pytest.mark.zoo
def test_the_list_tells_what_is_here():
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows.keys() == set(card.names())
    assert rows["dlib"]["installed"] == "package"
    assert rows["facenet"]["installed"] == "mirror"
    assert rows["facenet"]["bytes"] == 4 * 23_467_824


def test_the_list_fits_into_80_columns_with_a_line_for_each():
    lines = CliRunner().invoke(app, ["list"], env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:-1]] == card.names()
    assert "untested with real weights here" in lines[-1]
    shown = {line.split()[0]: line for line in lines}
    assert "Apache-2.0 ..." in shown["facenet"]
    assert "non-commercial research" in shown["arcface-r50"]
    assert f"{100 * card.read('facenet').measured['accuracy']:.2f} ±" in shown["facenet"]


def test_the_markdown_table_has_a_full_row_for_each_recognizer():
    lines = run("list", "--markdown").stdout.splitlines()
    assert len(lines) == len(card.names()) + 2
    assert {line.count("|") for line in lines} == {10}
    assert "untested with real weights here" in next(line for line in lines if "`arcface-r50`" in line)


@pytest.mark.zoo
def test_pulling_and_verifying_by_command(shared):
    assert run("pull", NAME).stdout == f"{NAME}: cache\n"
    assert run("verify", NAME).stdout == f"{NAME}: intact\n"
    (kept,) = (weights.folder() / NAME).glob("*.safetensors")
    kept.unlink()
    assert run("verify", NAME, "--json").exit_code == 1
    file = shared / "zoo" / "files" / "xiaoccer-068.ckpt"
    assert "sha256 e839247c" in run("add", NAME, str(file)).stdout
    assert run("verify").exit_code == 0


@pytest.mark.usefixtures("no_mirror")
def test_a_damaged_package_is_told_among_the_others(tmp_path, monkeypatch):
    (file,) = card.read("dlib").sources[0].files
    path = tmp_path / file.package / file.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    (tmp_path / file.package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    store.add(card.read("openface"), blank("openface", tmp_path / "official.pth"))
    here = {row["name"]: row["installed"] for row in json.loads(run("list", "--json").stdout)}
    assert {name: place for name, place in here.items() if place} == {"dlib": "damaged", "openface": "cache"}
    assert "damaged" in next(line for line in run("list").stdout.splitlines() if line.split()[0] == "dlib")
    told = run("verify")
    assert told.exit_code == 1
    assert told.stdout.startswith(f"dlib: {path} has sha256")
    assert told.stdout.endswith("openface: intact\n")
    with pytest.raises(WeightsError, match="reinstall face_recognition_models"):
        store.pull(card.read("dlib"))


@pytest.mark.parametrize("command", [command.name or command.callback.__name__ for command in app.registered_commands])
def test_every_command_shows_an_example(command):
    assert "Example: faceveil weights" in run(command, "--help").stdout


@pytest.mark.parametrize("name", ["sphereface", "arcface-irse50", "openface"])
def test_an_official_file_that_is_no_longer_published_can_be_added(name, tmp_path):
    assert "kept as" in run("add", name, str(blank(name, tmp_path / "official.pth"))).stdout
    assert store.record(card.read(name)).sources == {"official.pth": weights.digest(tmp_path / "official.pth")}
    assert (
        recognizers.load(name)(torch.zeros(1, 3, *recognizers.load(name).size)).shape[1]
        == card.read(name).embedding.size
    )
    (tmp_path / "official.pth").unlink()


def test_a_full_disk_is_told_in_a_line_and_leaves_nothing(tmp_path, monkeypatch):
    official = blank("sphereface", tmp_path / "official.pth")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FaceveilError, match=r"cannot be written \(No space left on device\)"):
        store.add(card.read("sphereface"), official)
    assert not [path for path in (weights.folder() / "sphereface").iterdir() if path.name != "lock"]


def test_weights_of_ones_own_are_added_under_another_name(tmp_path):
    own = blank("sphereface", tmp_path / "own.pth")
    assert "give it a threshold" in run("add", "mine", str(own), "--like", "sphereface").stdout
    assert recognizers.load("mine")(torch.rand(1, 3, 112, 96)).shape == (1, 512)
    read = card.read("mine")
    assert (read.kin, read.thresholds, read.published_accuracy) == ("sphereface", {}, None)
    assert json.loads((weights.folder() / "mine/training.json").read_text())["sha256"] == weights.digest(own)
    for name, told in (("mine", "there is a recognizer mine"), ("dlib", "is a published recognizer")):
        with pytest.raises(SettingError, match=told):
            store.adopt(name, own, card.read("sphereface"))
    with pytest.raises(WeightsError, match="has the tensors of no MobileFaceNet"):
        store.adopt("other", own, card.read("mobilefacenet-foamliu"))
    with pytest.raises(WeightsError, match="is not a file"):
        store.adopt("other", tmp_path / "none.pth", card.read("sphereface"))
    assert "other" not in card.names()


@pytest.mark.parametrize("like", ["dlib", "mobilefacenet-foamliu"])
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path, like):
    (tmp_path / "x.dat").write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match=r"^[^\n]*x\.dat[^\n]*$"):
        store.adopt("mine", tmp_path / "x.dat", card.read(like))
    assert "mine" not in card.names()


def test_a_file_of_its_own_is_not_added_again(tmp_path):
    store.add(card.read("sphereface"), blank("sphereface", tmp_path / "official.pth"))
    (kept,) = (weights.folder() / "sphereface").glob("*.safetensors")
    with pytest.raises(WeightsError, match="is where faceveil keeps weights; give the official file"):
        store.add(card.read("sphereface"), kept)
    assert kept.is_file()


@pytest.mark.parametrize("change", [{"architecture": "mine"}, {"options": {"foo": 1}}])
def test_a_card_of_no_network_that_is_here_says_so(change):
    with pytest.raises(WeightsError, match="the card of dlib names no network that is here"):
        store.untrained(replace(card.read("dlib"), **change))


def test_what_a_killed_process_left_goes_with_the_next(tmp_path):
    half = weights.folder() / "sphereface" / f".faceveil-{files._HOST}-1-0-0.part"
    half.parent.mkdir(parents=True)
    half.touch()
    os.utime(half, (0, 0))
    store.add(card.read("sphereface"), blank("sphereface", tmp_path / "official.pth"))
    assert not half.exists()
