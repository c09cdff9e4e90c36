"""Every experiment's quick version, whole, on noise and with toys: nothing of it is left out but real faces."""

import json

import pytest

from attacks.toys import recognizer
from bench.miniature import album
from faceveil.bench import EXPERIMENTS, run, write
from faceveil.bench.report import load


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album"), people=12, photos=10)


OTHERS = {"held-out", "held-out-frontier", "apf-leak"}  # want whole photos, or more people: see their own tests


@pytest.mark.parametrize("name", sorted(EXPERIMENTS.keys() - OTHERS))
def test_the_quick_version_runs_and_reports(name, photos, tmp_path):
    experiment, judges = EXPERIMENTS[name], [recognizer(), recognizer(1, (24, 20))]
    done = run(
        experiment, {"a": photos}, [(judges[0],)], tmp_path, judges=judges if experiment.judges else (), quick=True
    )
    write(done, tmp_path)
    assert len(done.cells) == len(experiment.quick.settings)
    table = experiment.table(done.cells)
    assert len(table.rows) >= len(done.cells)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert experiment.figures(done.cells)
    assert load(json.loads((tmp_path / "cells.json").read_text("utf-8")), experiment) == done
