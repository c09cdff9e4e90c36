import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from attacks.toys import recognizer
from bench.miniature import album
from faceveil import datasets, recognizers
from faceveil.bench import EXPERIMENTS, Plan, run, write
from faceveil.bench.cilloni.breadth import BREADTH
from faceveil.bench.cilloni.clustering import CLUSTERING
from faceveil.bench.cilloni.identification import IDENTIFICATION
from faceveil.bench.cilloni.strategies import STRATEGIES
from faceveil.bench.cilloni.verification import VERIFICATION
from faceveil.bench.material import ListedPairs, People
from faceveil.cli.bench import app
from faceveil.errors import SettingError
from faceveil.methods.cilloni import MARGINS, SELECTIONS, Cilloni
from faceveil.protocols.clustering import Agglomerative, purity
from faceveil.protocols.identification import identify
from faceveil.protocols.verification import all_pairs, listed_pairs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"), people=3)


@pytest.fixture(scope="module")
def net():
    return recognizer()


def small(experiment, choose, *settings):
    return replace(experiment, full=Plan(choose, settings))


def test_the_full_version_has_five_strategies_at_ten_margins():
    settings = STRATEGIES.full.settings
    for select in SELECTIONS:
        margins = [each.get("margin") for each in settings if each["strategy"] == select]
        assert margins == ([None] if select == "none" else list(MARGINS))
    assert (STRATEGIES.full.choose.people, STRATEGIES.full.choose.photos) == (25, 10)


def test_strategies_are_measured_as_the_protocol_does(photos, net, tmp_path):
    clear, none, far, unreachable = (
        {"strategy": "clear"},
        {"strategy": "none"},
        {"strategy": "farthest", "margin": 1.0},
        {"strategy": "similar", "margin": 2.0},
    )
    done = run(small(STRATEGIES, People(3, 3), clear, none, far, unreachable), {"a": photos}, [(net,)], tmp_path)
    measured = [cell.found for cell in done.cells]
    faces = datasets.prepare(photos, "facenet", net.size)
    pairs = all_pairs(net(faces[:]), faces.labels)
    assert measured[0]["tpr"] == pairs.true_positive_rate(1.242)
    assert measured[0]["own_fpr"] == pairs.false_positive_rate(0.5)
    assert measured[0]["dssim"]["most"] == 0
    cloaked = net((255 * Cilloni((net,)).aligned(faces[:])).round() / 255)
    assert measured[1]["own_fpr"] == all_pairs(cloaked, faces.labels).false_positive_rate(0.5)
    assert 0 < measured[2]["dssim"]["least"] <= measured[2]["dssim"]["mean"] <= measured[2]["dssim"]["most"]
    assert np.shape(measured[2]["map"]) == (9, 2)
    assert measured[3] == {}
    write(done, tmp_path)
    assert len(list(tmp_path.glob("plot-*.png"))) == 3


def test_verification_compares_clear_and_cloaked_photos(photos, net, tmp_path):
    done = run(small(VERIFICATION, ListedPairs(), {"strategy": "none"}), {"a": photos}, [(net,)], tmp_path)
    (found,) = (cell.found for cell in done.cells)
    faces = datasets.prepare(photos, "facenet", net.size)
    compared = faces.compare(photos.pairs()["album"])
    expected = listed_pairs(net(faces[:]), compared.first, compared.second, compared.same)
    assert found["both clear"]["tpr_at"] == expected.true_positive_rate(1.242)
    assert found["both clear"]["auc"] == 1
    assert found["one cloaked"]["auc"] < 1
    assert len(found["both cloaked"]["tpr"]) == 150
    write(done, tmp_path)
    assert (tmp_path / "table.md").read_text("utf-8").count("| a    | toy-0      |") == 3


def test_verification_needs_a_list_of_pairs(net, tmp_path):
    folders = datasets.open(album(tmp_path / "album").path)
    with pytest.raises(SettingError, match="holds no list of pairs"):
        run(VERIFICATION, {"a": folders}, [(net,)], tmp_path / "out", quick=True)


def test_identification_is_measured_as_the_protocol_does(photos, net, tmp_path):
    """Of twenty people wanted there are three, and it says so."""
    sizes = {"people": 20, "depth": 2, "probes": 1, "times": 3}
    done = run(small(IDENTIFICATION, People(3, 3), sizes), {"a": photos}, [(net,)], tmp_path)
    (found,) = (cell.found for cell in done.cells)
    faces = datasets.prepare(photos, "facenet", net.size)
    embeddings = net(faces[:])
    expected = identify(embeddings, embeddings, faces.labels, people=3, depth=2, probes=1, times=3)
    assert found["people"] == 3
    assert found["accuracies"]["all clear"]["nearest neighbor"] == [expected["nearest neighbor"].mean(), 0]
    assert list(found["accuracies"]) == ["all clear", "clear enrolled only", "all cloaked"]
    write(done, tmp_path)
    rows = (tmp_path / "table.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 5 * 3
    assert rows[1] == "a,toy-0,3,nearest neighbor,all clear,100.00,0.00,,20.08 / 59.02"


def test_breadth_is_measured_as_far_as_there_are_people(photos, net, tmp_path):
    sizes = [{"breadth": n, "depth": depth, "probes": 2, "times": 3} for n, depth in ((2, 1), (3, 1), (4, 1), (2, 2))]
    done = run(small(BREADTH, People(3, 3), *sizes), {"a": photos}, [(net,)], tmp_path)
    two, three, four, deep = (cell.found for cell in done.cells)
    faces = datasets.prepare(photos, "facenet", net.size)
    embeddings = net(faces[:])
    expected = identify(embeddings, embeddings, faces.labels, people=2, depth=1, probes=2, times=3)
    assert two == {rule: each.mean() for rule, each in expected.items()}
    assert (three["nearest neighbor"], four, deep) == (1, {}, {})
    write(done, tmp_path)
    rows = (tmp_path / "table.csv").read_text("utf-8").splitlines()
    assert rows[2].startswith("a,toy-0,3,1,100.00,")
    assert len(rows) == 1 + 2  # what nobody has enough photos for is left out


def test_clustering_is_measured_as_the_protocol_does(photos, net, tmp_path):
    done = run(
        small(CLUSTERING, People(3, 3), {"people": 20, "depth": 3, "times": 2}), {"a": photos}, [(net,)], tmp_path
    )
    (found,) = (cell.found for cell in done.cells)
    faces = datasets.prepare(photos, "facenet", net.size)
    together = Agglomerative(count=3)(net(faces[:]))
    assert found["people"] == 3
    assert found["scores"]["count"]["purity"][0] == pytest.approx(purity(faces.labels, together))
    write(done, tmp_path)
    rows = (tmp_path / "table.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 2 * 4
    assert "27.18 / 48.07" in rows[1]


def test_takes_the_first_pairs_of_each_kind(photos):
    part = ListedPairs(1)(photos, 0)
    assert [pair.same for pair in part.listed] == [True, False]
    assert len(list(part)) == 3


def test_draws_the_same_people_from_a_seed(photos):
    def drawn(seed):
        return [sample.name for sample in People(2, 2)(photos, seed)]

    assert drawn(0) == drawn(0)
    assert len({tuple(drawn(seed)) for seed in range(5)}) > 1
    assert len(drawn(0)) == 4
    assert len(list(People(2, 2, spare=1)(photos, 0))) == 6


def command(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_lists_the_experiments():
    assert [each["name"] for each in json.loads(command("--json").stdout)] == list(EXPERIMENTS)
    assert "cilloni-strategies" in command().stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "no experiment"),
        (["cilloni-strategies"], "--data PATH"),
        (["cilloni-strategies", "--data", ".", "--judges", "dlib"], "--recognizers alone"),
    ],
)
def test_says_what_is_missing(words, said):
    with pytest.raises(SettingError, match=said):
        command(*words)


@pytest.mark.parametrize(("name", "most", "used"), [("verification", 2, (3, 5)), ("identification", 3, (3, 15))])
def test_the_command_takes_fewer_people_or_pairs(net, tmp_path, monkeypatch, name, most, used):
    monkeypatch.setattr(recognizers, "load", lambda name, device: net)
    monkeypatch.setattr(datasets, "open", lambda path: album(tmp_path / "album", people=5, photos=5))
    words = ("--data", "tiny=.", "--quick", "--at-most", most, "-o", tmp_path / "out", "--json")
    told = json.loads(command(f"cilloni-{name}", *words).stdout)["data"]["tiny"]
    assert (told["people"], told["photos"]) == used


def test_the_command_writes_a_report(photos, net, tmp_path, monkeypatch):
    monkeypatch.setattr(recognizers, "load", lambda name, device: net)
    monkeypatch.setattr(datasets, "open", lambda path: photos)
    words = ("cilloni-verification", "--data", f"tiny={photos.path}", "--quick", "-o", tmp_path / "out", "--json")
    told = json.loads(command(*words).stdout)
    assert list(told["data"]) == ["tiny"]
    assert (tmp_path / "out/index.html").is_file()
    assert "report: " in command(*words[:-1]).stdout
    assert torch.is_grad_enabled()
