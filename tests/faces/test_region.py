"""Where a face's cloak may be."""

import numpy as np
import pytest
import torch

from faceveil.faces.region import GRID, Region

FACE = torch.tensor([[[80.0, 90.0], [140.0, 92.0], [110.0, 130.0], [85.0, 165.0], [135.0, 165.0]]])
PIXELS = np.random.default_rng(0).integers(0, 256, (260, 220, 3), dtype=np.uint8)


def test_is_as_wide_as_the_aligned_face_and_no_smaller_than_the_grid():
    large, small = Region.around(FACE, PIXELS), Region.around(FACE / 4, PIXELS)
    assert large.side == np.ceil(large.extent) > GRID
    assert small.side == GRID
    assert small.extent == pytest.approx(large.extent / 4, rel=1e-5)


@pytest.mark.parametrize("shift", [(-90.0, 0.0), (80.0, 0.0), (0.0, -100.0), (0.0, 90.0)])
def test_nothing_is_cloaked_off_the_photo(shift):
    """The mask is that of the face in the middle of a larger photo, but for what lies outside."""
    cut, edge = Region.around(FACE + torch.tensor(shift), PIXELS), 150
    wide = Region.around(FACE + torch.tensor(shift) + edge, np.pad(PIXELS, ((edge, edge), (edge, edge), (0, 0))))
    mask, whole = cut.mask()[0, 0], wide.mask()[0, 0]
    places = (torch.arange(GRID) + 0.5) * cut.side / GRID
    rows, columns = cut.top + places, cut.left + places
    off = ((rows < 0) | (rows >= 260))[:, None] | ((columns < 0) | (columns >= 220))
    assert whole[off].max() > 0.5
    assert mask[off].max() == 0
    assert torch.allclose(mask[~off], whole[~off], atol=1e-5)
