"""docs/results.md is what the kept cells say."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from faceveil.bench import EXPERIMENTS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results", ROOT / "experiments/results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(results):
    assert results.PAGE.read_text("utf-8") == results.page(), "run: make results"


def test_every_plot_is_there_and_no_other(results):
    shown = re.findall(r"\]\(results/(.+?\.png)\)", results.PAGE.read_text("utf-8"))
    assert shown
    assert sorted(shown) == sorted(file.name for file in results.KEPT.glob("*.png"))


def test_what_is_kept_names_no_folder_of_a_machine(results):
    for file in results.KEPT.glob("*.json"):
        told = json.loads(file.read_text("utf-8"))
        assert told["experiment"] in EXPERIMENTS
        assert not told["quick"]
        assert all(used["path"].startswith("../") for used in told["data"].values())
