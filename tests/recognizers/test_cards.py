import re

import pytest
import torch

from faceveil import weights
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
