import math
import re
from dataclasses import replace

import pytest
import torch

from faceveil import weights
from faceveil.errors import WeightsError
from faceveil.faces.templates import template
from faceveil.recognizers import card

CARDS = [card.read(name) for name in card.names()]


@pytest.mark.parametrize("read", CARDS, ids=card.names())
def test_a_card_is_complete(read):
    files = [file for source in read.sources for file in source.files]
    assert files
    assert all(re.fullmatch(f"[0-9a-f]{{64}}|{weights.UNPUBLISHED}", file.sha256) for file in files)
    assert all(source.page.startswith("http") for source in read.sources)
    assert read.licence
    assert read.trained_on
    assert read.input.channels in ("rgb", "bgr")
    points = template(read.input.template, (read.input.height, read.input.width))
    assert points.shape == (5, 2)
    assert torch.all(points > 0)
    assert torch.all(points < torch.tensor([read.input.width, read.input.height]))


@pytest.mark.parametrize("threshold", [math.nan, 0.0, -1.0, 0.0004, math.inf])
def test_a_threshold_that_tells_nobody_apart_is_none(threshold):
    useless = replace(card.read("facenet"), thresholds={"far_1e-3": threshold})
    assert not useless.judges
    with pytest.raises(WeightsError, match="facenet tells nobody apart"):
        _ = useless.threshold


@pytest.mark.parametrize(("strangers", "judges"), [(999, False), (1000, True)])
def test_a_threshold_from_few_strangers_judges_nobody_unasked(strangers, judges):
    few = replace(card.read("facenet"), thresholds={"far_1e-3": 1.0}, measured={"strangers": strangers})
    assert few.judges == judges
    assert few.threshold == 1


def test_the_origin_of_what_was_trained_on_is_kept():
    card.write(replace(card.read("dlib"), name="harder", origin="dlib"))
    assert (card.read("harder").origin, card.read("harder").kin, card.read("dlib").kin) == ("dlib", "dlib", "dlib")
