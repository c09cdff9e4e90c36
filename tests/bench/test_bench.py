import csv
import importlib.util
import inspect
import json
import re
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import faceveil
from attacks.toys import recognizer
from bench.miniature import Counter, album, counting
from faceveil.bench import Table, plots, run, running, write
from faceveil.bench.cilloni.breadth import BREADTH
from faceveil.bench.cilloni.strategies import STRATEGIES
from faceveil.bench.material import People
from faceveil.bench.report import caption, command, load, record
from faceveil.bench.source import digest
from faceveil.errors import SettingError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="module")
def net():
    return recognizer()


def test_measures_every_setting_on_every_data_set_by_every_recognizer(photos, net, tmp_path):
    other = recognizer(1)
    done = run(counting(Counter()), {"a": photos, "b": photos}, [(net,), (other,)], tmp_path / "out")
    assert [(cell.data, cell.recognizer, cell.settings["level"]) for cell in done.cells] == [
        (data, name, level) for data in "ab" for name in ("toy-0", "toy-1") for level in (1.0, 2.0)
    ]
    assert {cell.found["photos"] for cell in done.cells} == {4}
    assert (done.data["a"].people, done.data["a"].photos, done.data["a"].missing) == (2, 4, 0)


def test_several_recognizers_fill_a_cell_and_others_judge(photos, net, tmp_path):
    """Each sees the same photos, aligned for itself; what a judge is changes the cell."""
    wide, seen = recognizer(1, (16, 20), template="arcface"), []

    def look(material, settings):
        seen.append(material)
        return {}

    experiment = replace(counting(look), table=lambda cells: Table(("a",), ()))
    groups = [(net, wide), (wide,)]
    done = run(experiment, {"a": photos}, groups, tmp_path, judges=[net], quick=True)
    assert [cell.recognizer for cell in done.cells[::2]] == ["toy-0+toy-1", "toy-1"]
    assert (done.judges, set(done.weights)) == (("toy-0",), {"toy-0", "toy-1"})
    both, alone = seen[0], seen[2]
    assert (both.recognizer, both.judges, alone.recognizer) == (net, (net,), wide)
    assert [sample.name for sample in both.samples] == list(alone.faces.names)
    assert alone.faces[:].shape[2:] == (16, 20)
    assert torch.equal(alone.clear_to(net), both.clear)
    assert both.folder != alone.folder
    assert "with toy-0+toy-1, toy-1, judged by toy-0; seed 0" in caption(done)
    assert command(done) == (
        f"faceveil bench counting --data a={photos.path} --recognizers toy-0+toy-1,toy-1 --judges toy-0 --quick"
    )
    run(experiment, {"a": photos}, groups, tmp_path, quick=True)
    assert len(seen) == 8


def test_a_judge_sees_the_change_of_its_own_image(photos, net, tmp_path):
    """The same image where it takes the same; else the clear one, changed in the place where the cloak lies."""
    other, found = recognizer(1, (24, 24)), {}

    def look(material, settings):
        rows = np.array([2, 0])
        cloaked = material.cloak(lambda images: (images + 0.2 * _corner(images)).clamp(0, 1), rows)
        kept = [np.abs((255 * cloaked - (255 * cloaked).round()).numpy()).max(), cloaked.shape]
        found["kept"] = kept
        found["own"] = material.cloaked_to(net, cloaked, rows), net(cloaked)
        clear = material.aligned["facenet", (24, 24)][rows]
        change = interpolate(cloaked - material.faces[rows], scale_factor=2, mode="bilinear")
        found["other"] = material.cloaked_to(other, cloaked, rows), other((clear + change).clamp(0, 1))
        found["still"] = material.cloaked_to(other, material.faces[rows], rows), other(clear)
        return {}

    run(
        replace(counting(look), table=lambda cells: Table(("a",), ())),
        {"a": photos},
        [(net,)],
        tmp_path,
        judges=[other],
    )
    assert found["kept"] == [pytest.approx(0, abs=1e-4), (2, 3, 12, 12)]
    for seen, expected in (found["own"], found["still"]):
        assert torch.allclose(seen, expected, atol=1e-5)
    near, far = ((a - b).norm(dim=1) for a, b in (found["other"], (found["other"][0], found["still"][0])))
    assert (near < 0.1 * far).all()


def _corner(images):
    corner = torch.zeros_like(images)
    corner[:, :, 2:6, 7:10] = 1
    return corner


def test_goes_on_where_it_was_stopped(photos, net, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(counting(Counter(stops_at=1)), {"a": photos}, [(net,)], tmp_path)
    again = Counter()
    first = run(counting(again), {"a": photos}, [(net,)], tmp_path)
    assert again.asked == 1
    assert run(counting(again), {"a": photos}, [(net,)], tmp_path).cells == first.cells
    assert again.asked == 1


def test_tells_on_which_days_and_with_what_its_cells_were_measured(photos, net, tmp_path, monkeypatch):
    """A run that only reads cells measures nothing, neither today nor with what is installed today."""

    def go_on(day, torch_version, measure):
        clock = type("Clock", (datetime,), {"now": lambda zone: datetime(2031, 1, day, tzinfo=zone)})
        monkeypatch.setattr(running, "datetime", clock)
        monkeypatch.setattr(torch, "__version__", torch_version)
        return run(counting(measure), {"a": photos}, [(net,)], tmp_path)

    with pytest.raises(KeyboardInterrupt):
        go_on(1, "7.1", Counter(stops_at=1))
    done, again = go_on(2, "7.2", Counter()), go_on(3, "7.3", Counter())
    for each in (done, again):
        assert (each.date, each.versions["PyTorch"]) == ("2031-01-02", "7.1, 7.2")
        assert each.versions["NumPy"] == np.__version__
        assert "seed 0, 2031-01-02." in caption(each)
    measured = [(cell.date, cell.versions["PyTorch"]) for cell in again.cells]
    assert measured == [("2031-01-01", "7.1"), ("2031-01-02", "7.2")]


def test_goes_on_where_no_cell_was_finished(photos, net, tmp_path):
    def learn_and_stop(material, settings):
        material.school.mkdir(parents=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(counting(learn_and_stop), {"a": photos}, [(net,)], tmp_path)
    assert run(counting(Counter()), {"a": photos}, [(net,)], tmp_path).cells


def test_what_is_measured_otherwise_is_measured_again(photos, net, tmp_path):
    measure = Counter()
    for setting in ({}, {"seed": 1}, {"quick": True}):
        run(counting(measure), {"a": photos}, [(net,)], tmp_path, **setting)
    run(counting(measure), {"a": album(tmp_path / "other", seed=1)}, [(net,)], tmp_path)
    assert measure.asked == 8


CODE = """
FACTOR = 2
OTHER = 3

def measure(material, settings):
    counted.append(1)
    return {"photos": _times(material), "level": settings["level"]}

def _times(material):
    return FACTOR * len(material.faces)
"""


@pytest.mark.parametrize(
    ("old", "new", "cells"),
    [
        ("FACTOR = 2", "FACTOR = 4", 4),
        ("len(material.faces)", "len(material.faces[:])", 4),
        ("OTHER = 3", "OTHER = 5", 2),
        ("return FACTOR", "# a remark\n    return FACTOR", 2),
    ],
)
def test_what_other_code_measured_is_measured_again(photos, net, tmp_path, monkeypatch, old, new, cells):
    """A change in what shows the cells, or in a remark, is none in what measures them."""
    counted = []
    for number, text in enumerate((CODE, CODE.replace(old, new))):
        module = tmp_path / f"measuring{number}.py"
        module.write_text(text)
        spec = importlib.util.spec_from_file_location("measuring", module)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "measuring", loaded)
        loaded.counted = counted
        spec.loader.exec_module(loaded)
        run(counting(loaded.measure), {"a": photos}, [(net,)], tmp_path / "out")
    assert len(counted) == cells


@pytest.mark.parametrize(
    ("place", "cells"),
    [
        ("methods/veil.py", 4),
        ("metrics/structure.py", 4),
        ("trained/uap.safetensors", 4),
        ("bench/report.py", 2),
        ("cli/bench.py", 2),
        ("service/server.py", 2),
    ],
)
def test_what_other_methods_or_metrics_measured_is_measured_again(photos, net, tmp_path, monkeypatch, place, cells):
    measure, changed, read = Counter(), Path(faceveil.__file__).parent / place, Path.read_bytes
    run(counting(measure), {"a": photos}, [(net,)], tmp_path)
    before = len(read(changed))
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" * (path == changed))
    assert len(changed.read_bytes()) == before + 1
    run(counting(measure), {"a": photos}, [(net,)], tmp_path)
    assert measure.asked == cells


def test_what_another_threshold_measured_is_measured_again(photos, net, tmp_path):
    measure, other = Counter(), recognizer()
    other.card = replace(other.card, thresholds={"published": 0.6})
    for each in (net, other, net):
        run(counting(measure), {"a": photos}, [(each,)], tmp_path)
    assert measure.asked == 4


def test_what_the_material_does_counts(monkeypatch):
    before, read = digest(STRATEGIES.measure), inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda module: read(module).replace(".round() / 255", " / 255"))
    assert digest(STRATEGIES.measure) != before


def test_what_the_measurements_of_a_paper_share_counts(monkeypatch):
    before = [digest(each.measure) for each in (STRATEGIES, BREADTH)]
    read = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda module: read(module).replace("Remembering(", "Forgetting("))
    after = [digest(each.measure) for each in (STRATEGIES, BREADTH)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]


def test_leaves_a_folder_alone_that_is_no_report(photos, net, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SettingError, match="something else"):
        run(counting(Counter()), {"a": photos}, [(net,)], tmp_path)


def test_says_that_people_have_too_few_photos(photos, net, tmp_path):
    experiment = counting(Counter())
    many = replace(experiment, full=replace(experiment.full, choose=People(2, 9)))
    with pytest.raises(SettingError, match="0 people have 9 photos"):
        run(many, {"a": photos}, [(net,)], tmp_path)


def test_the_report_says_the_same_everywhere(photos, net, tmp_path):
    done = run(counting(Counter()), {"a": photos}, [(net,)], tmp_path, quick=True, seed=3)
    write(done, tmp_path)
    rows = list(csv.reader((tmp_path / "table.csv").read_text("utf-8").splitlines()))
    assert rows == [["recognizer", "level", "<photos>"], ["toy-0", "1.0", "2"], ["toy-0", "2.0", "2"]]
    assert "| toy-0      | 2.0   | 2        |" in (tmp_path / "table.md").read_text("utf-8")
    told = json.loads((tmp_path / "cells.json").read_text("utf-8"))
    assert (told["experiment"], told["quick"], told["seed"]) == ("counting", True, 3)
    assert [cell["found"]["level"] for cell in told["cells"]] == [1.0, 2.0]
    assert {"faceveil", "PyTorch"} <= set(told["versions"])
    assert load(told, done.experiment) == done
    limited = replace(done, experiment=replace(done.experiment, at_most=2))
    assert "--at-most 2 --quick --seed 3" in command(limited)
    assert load(record(limited), done.experiment) == limited


def test_what_we_found_on_our_data_is_in_no_other_report(photos, net, tmp_path):
    experiment = replace(counting(Counter()), notes="how to read it", findings="what we found")
    finished = run(experiment, {"a": photos}, [(net,)], tmp_path)
    write(finished, tmp_path)
    pages = [(tmp_path / name).read_text("utf-8") for name in ("index.html", "table.md")]
    assert all("how to read it" in page and "what we found" not in page for page in pages)


def test_no_plot_of_an_earlier_run_stays(photos, net, tmp_path):
    finished = run(counting(Counter()), {"a": photos}, [(net,)], tmp_path)
    for name in ("plot-1.png", "plot-2.png", "plot-10.png", "plot-mine.png"):
        (tmp_path / name).write_bytes(b"older")
    write(finished, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("plot-*")) == ["plot-1.png", "plot-mine.png"]
    assert (tmp_path / "plot-1.png").read_bytes() != b"older"


def test_bars_below_zero_are_seen():
    (axes,) = plots.bars(["a", "b"], {"x": [0.9, -0.1], "y": [float("nan"), -0.5]}, "place", "share").axes
    assert axes.get_ylim()[0] < -0.5
    (axes,) = plots.bars(["a"], {"x": [0.9]}, "place", "share").axes
    assert axes.get_ylim()[0] == 0


def test_reads_a_run_whose_cells_do_not_tell_their_day(photos, net, tmp_path):
    done = run(counting(Counter()), {"a": photos}, [(net,)], tmp_path)
    told = record(done)
    for cell in told["cells"]:
        del cell["date"], cell["versions"]
    old = load(told | {"date": "2025-01-01", "versions": {"PyTorch": "2.9"}}, done.experiment)
    assert (old.date, old.versions) == ("2025-01-01", {"PyTorch": "2.9"})


def test_the_command_can_be_typed_where_a_path_has_spaces(net, tmp_path):
    mine = album(tmp_path / "my album")
    done = run(counting(Counter()), {"our a": mine}, [(net,)], tmp_path / "out", seed=3)
    words = shlex.split(command(done))
    assert words[:5] == ["faceveil", "bench", "counting", "--data", f"our a={mine.path}"]
    assert words[5:] == ["--recognizers", "toy-0", "--seed", "3"]


def test_the_page_stands_alone(photos, net, tmp_path):
    write(run(counting(Counter()), {"a": photos}, [(net,)], tmp_path), tmp_path)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "Photos &amp; levels" in page
    assert "<th>&lt;photos&gt;</th>" in page
    assert "Measured on a (2 people, 4 photos" in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert (tmp_path / "plot-1.png").read_bytes().startswith(b"\x89PNG")
