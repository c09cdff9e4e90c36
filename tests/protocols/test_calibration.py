import json
import os
import pickle
import tomllib
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from attacks.toys import recognizer
from faceveil import Photo, recognizers
from faceveil.cli.calibrate import app
from faceveil.errors import SettingError, WeightsError
from faceveil.protocols import calibration
from faceveil.protocols.calibration import accuracies, best_threshold, calibrate, write
from faceveil.protocols.verification import strangers
from faceveil.recognizers import card
from people import portrait

SEPARATION = 3.0


def gaussians(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Distances of genuine and impostor pairs: two unit Gaussians, three apart."""
    random = np.random.default_rng(0)
    return random.normal(0, 1, n), random.normal(SEPARATION, 1, n)


def test_the_best_threshold_of_two_gaussians_lies_between_them():
    genuine, impostor = gaussians()
    same = np.repeat([True, False], len(genuine))
    assert best_threshold(np.concatenate([genuine, impostor]), same) == pytest.approx(SEPARATION / 2, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_no_threshold_makes_fewer_errors_than_the_best(pairs):
    distances, same = np.array([d for d, _ in pairs], float), np.array([s for _, s in pairs])
    right = {t: ((distances < t) == same).sum() for t in (best_threshold(distances, same), *np.arange(-0.5, 10))}
    assert right[best_threshold(distances, same)] == max(right.values())


def test_a_clear_gap_is_split_in_the_middle():
    assert best_threshold(np.array([0.1, 0.2, 1.0, 1.1]), np.array([True, True, False, False])) == pytest.approx(0.6)


def people() -> tuple[torch.Tensor, np.ndarray]:
    """Embeddings of 200 people, three photos each, in 64 dimensions."""
    random = torch.Generator().manual_seed(0)
    centers = torch.randn(200, 1, 64, generator=random)
    photos = centers + 0.5 * torch.randn(200, 3, 64, generator=random)
    return photos.flatten(0, 1), np.repeat(np.arange(200), 3)


def test_that_share_of_strangers_lies_below_each_threshold():
    embeddings, labels = people()
    first, second = np.arange(0, 600, 3), np.arange(1, 600, 3)
    pairs = np.concatenate([first, first]), np.concatenate([second, np.roll(second, 5)])
    measured = calibrate(embeddings, labels, *pairs, np.repeat([True, False], 200), np.arange(400) % 4)
    assert measured.accuracy == 1
    assert measured.auc == 1
    assert measured.tar == 1
    far = strangers(embeddings, labels)
    for name, rate in {"far_1e-2": 1e-2, "far_1e-3": 1e-3, "far_1e-4": 1e-4}.items():
        assert (far < measured.thresholds[name]).mean() == pytest.approx(rate, abs=1 / len(far))


def test_the_true_acceptance_rate_is_that_below_one_stranger_in_a_thousand():
    """Some people's photos differ much more than others'."""
    random = torch.Generator().manual_seed(0)
    spread = torch.linspace(0.2, 2.0, 200)[:, None, None]
    photos = torch.randn(200, 1, 64, generator=random) + spread * torch.randn(200, 3, 64, generator=random)
    embeddings, labels, first = photos.flatten(0, 1), np.repeat(np.arange(200), 3), np.arange(0, 600, 3)
    pairs = np.concatenate([first, first]), np.concatenate([first + 1, np.roll(first, 5)])
    measured = calibrate(embeddings, labels, *pairs, np.repeat([True, False], 200), np.arange(400) % 4)
    away = cdist(embeddings, embeddings)
    apart = np.sort(away[labels[:, None] < labels])
    assert (measured.pairs, measured.folds, measured.strangers) == (400, 4, len(apart))
    shares = [(away[first, first + 1] < apart[int(rate * len(apart))]).mean() for rate in (1e-2, 1e-3, 1e-4)]
    assert shares[0] > shares[1] > shares[2] > 0
    assert measured.tar == pytest.approx(shares[1])


@pytest.mark.parametrize(
    ("same", "fold", "found"),
    [
        ([True, False, False], [1, 1, 1], "1 genuine and 2 impostor pairs in 1 folds"),
        ([True, True, True], [1, 2, 2], "3 genuine and 0 impostor pairs in 2 folds"),
    ],
)
def test_too_few_pairs_or_folds_are_refused(same, fold, found):
    embeddings, labels = people()
    with pytest.raises(SettingError, match=found):
        calibrate(embeddings, labels, np.arange(3), np.arange(3) + 3, np.array(same), np.array(fold))


def test_photos_of_nobody_known_have_no_strangers():
    """As those of a pack."""
    (embeddings, _), pairs = people(), np.arange(4)
    with pytest.raises(SettingError, match="show 0 people who are known; give photos of two at least"):
        calibrate(embeddings, np.full(600, -1), pairs, pairs + 4, pairs % 2 == 0, pairs // 2)


def test_the_accuracy_of_two_gaussians_is_that_of_the_best_threshold():
    genuine, impostor = gaussians(5000)
    distances, same = np.concatenate([genuine, impostor]), np.repeat([True, False], 5000)
    found = accuracies(distances, same, np.tile(np.arange(1, 11), 1000))
    assert len(found) == 10
    assert found.mean() == pytest.approx(NormalDist().cdf(SEPARATION / 2), abs=0.01)


def test_the_folds_are_those_of_the_data_set():
    """One fold lies twice as far apart as the others: the threshold 3, best elsewhere, fails its genuine pair."""
    distances = np.array([2.0, 4.0, 2.0, 4.0, 2.0, 4.0, 4.0, 8.0])
    same, fold = np.array([True, False] * 4), np.array([1, 1, 2, 2, 3, 3, 7, 7])
    assert accuracies(distances, same, fold).tolist() == [1, 1, 1, 0.5]


@pytest.mark.parametrize("name", ["dlib", "facenet", "openface"])
def test_what_is_written_on_a_card_can_be_read_and_written_again(name, tmp_path):
    original = card.path(name)
    path = tmp_path / f"{name}.toml"
    path.write_text(original.read_text())
    embeddings, labels = people()
    first = np.arange(0, 600, 3)
    pairs = np.concatenate([first, first]), np.concatenate([first + 1, np.roll(first, 5)])
    measured = calibrate(embeddings, labels, *pairs, np.repeat([True, False], 200), np.arange(400) % 4)
    write(path, measured)
    once = path.read_text()
    write(path, measured)
    assert path.read_text() == once
    table = tomllib.loads(once)
    before = tomllib.loads(original.read_text())
    assert table["measured"]["accuracy"] == 1
    assert table["thresholds"]["far_1e-3"] == pytest.approx(measured.thresholds["far_1e-3"], abs=1e-4)
    assert table["thresholds"].get("published") == before.get("thresholds", {}).get("published")
    assert table["sources"] == before["sources"]


def test_a_card_that_cannot_be_written_is_named_and_stays(tmp_path, monkeypatch):
    path, (embeddings, labels), pairs = tmp_path / "dlib.toml", people(), np.arange(4)
    path.write_text(card.path("dlib").read_text())
    measured = calibrate(embeddings, labels, pairs, pairs + 2, pairs % 2 == 0, pairs // 2)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WeightsError) as refused:
        write(path, measured)
    assert str(refused.value) == (
        f"the card {path} cannot be written (Read-only file system); see that its folder is writable and has room, "
        "and calibrate again"
    )
    assert path.read_text() == card.path("dlib").read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_refuses_photos_of_nobody_known(tmp_path):
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([bytes(64), bytes(64)], [True])))
    error = CliRunner().invoke(app, [str(tmp_path / "lfw.bin"), "dlib"]).exception
    assert isinstance(error, SettingError)
    assert str(error).endswith(
        "lfw.bin holds 1 lists of pairs and names 0 people; take the folders of LFW, with its pairs.txt"
    )


@pytest.fixture
def two_people(tmp_path, monkeypatch):
    """A folder of four photos and their pairs; recognizers of ours see them, at speeds that do not change."""
    for who, tint in {"ann": (1, 1, 1), "bob": (1, 0.4, 0.4)}.items():
        face = (portrait()[20:260, 60:300] * np.array(tint)).astype(np.uint8)
        for number, pixels in ((1, face), (2, face[:, ::-1])):
            photo = Photo.from_array(np.ascontiguousarray(pixels))
            photo.save(tmp_path / who / f"{who}_{number:04}.jpg")
    (tmp_path / "pairs.txt").write_text("2\t1\nann\t1\t2\nann\t1\tbob\t1\nbob\t1\t2\nann\t2\tbob\t2\n")
    monkeypatch.setattr(recognizers, "load", lambda name: recognizer())
    monkeypatch.setattr("faceveil.cli.calibrate.ENOUGH", 4)
    monkeypatch.setattr(calibration, "speed", lambda *given: calibration.Speed(1, 2.5, 7.5))
    return tmp_path


def test_the_command_shows_what_it_measured_before_it_writes(two_people, monkeypatch):
    """So that nothing was measured in vain where a card cannot be written."""
    written = []

    def refuse(path, measured):
        written.append(path)
        raise WeightsError("the card cannot be written")

    monkeypatch.setattr(calibration, "write", refuse)
    for words in (["--json"], []):
        shown = CliRunner().invoke(app, [str(two_people), "dlib", *words])
        assert (shown.exception, written) == (None, [])
        refused = CliRunner().invoke(app, [str(two_people), "dlib", "--write", *words])
        assert isinstance(refused.exception, WeightsError)
        assert written.pop() == card.path("dlib")
        assert "dlib" in refused.stdout
        assert refused.stdout == shown.stdout


def test_too_few_strangers_are_not_written(two_people, monkeypatch):
    monkeypatch.setattr("faceveil.cli.calibrate.ENOUGH", 5)
    monkeypatch.setattr(calibration, "write", lambda path, measured: pytest.fail("written"))
    refused = CliRunner().invoke(app, [str(two_people), "dlib", "--write"])
    assert "dlib: not written, as 4 pairs of strangers are too few" in str(refused.exception)
    assert refused.stdout.split()[-3:] == ["dlib", "2.5/7.5", "2.5/7.5"]


def test_the_tables_of_long_names_fit_eighty_columns(two_people, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [str(two_people), "mobilefacenet-xiaoccer", "mobilenetv1-vggface2"]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert [line.split()[0] for line in shown.splitlines()].count("mobilefacenet-xiaoccer") == 2
    assert "…" not in shown


@pytest.mark.parametrize("error", [WeightsError("facenet is not here"), KeyboardInterrupt()])
def test_the_command_keeps_what_it_measured_where_a_later_recognizer_fails(error, two_people, monkeypatch):
    written = []

    def load(name):
        if name == "facenet":
            raise error
        return recognizer()

    monkeypatch.setattr(recognizers, "load", load)
    monkeypatch.setattr(calibration, "write", lambda path, measured: written.append(path))
    stopped = CliRunner().invoke(app, [str(two_people), "dlib", "facenet", "openface", "--write", "--json"])
    assert stopped.exit_code
    assert [row["name"] for row in json.loads(stopped.stdout)] == ["dlib"]
    assert written == [card.path("dlib")]


@pytest.mark.zoo
def test_the_command_measures_on_photos(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
    lines = (shared / "data" / "lfw" / "pairs.txt").read_text().splitlines()
    chosen = [*lines[1:6], *lines[301:306], *lines[601:606], *lines[901:906]]  # of the first fold and of the second
    (tmp_path / "pairs.txt").write_text("\n".join(["2\t5", *chosen]) + "\n")
    for line in chosen:
        for name in line.split()[:: 2 if len(line.split()) == 4 else 3]:
            (tmp_path / name).exists() or (tmp_path / name).symlink_to(shared / "data" / "lfw" / "photos" / name)
    (row,) = json.loads(CliRunner().invoke(app, [str(tmp_path), "mobilefacenet-y1", "--json"]).stdout)
    assert CliRunner().invoke(app, [str(tmp_path), "mobilefacenet-y1"]).stderr == ""
    assert row["accuracy"] > 0.9
    assert (row["pairs"], row["folds"]) == (20, 2)
    assert row["thresholds"]["far_1e-4"] < row["thresholds"]["far_1e-2"]
    assert all(speed["both"] > speed["forward"] > 0 for speed in row["speed"])
