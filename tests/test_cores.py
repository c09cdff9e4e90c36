"""Work on several cores at once, with as many threads as PyTorch has."""

from functools import partial
from threading import Barrier, get_ident

import pytest
import torch

from faceveil.cores import side_by_side

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_gives_what_each_call_gives_in_their_order(threads):
    assert side_by_side([partial(pow, i, 2) for i in range(9)], CPU) == [i**2 for i in range(9)]
    assert side_by_side([], CPU) == []


def test_shares_the_threads_and_leaves_them_as_they_were(threads):
    workers = min(threads, 3)
    together = Barrier(workers)

    def count():
        together.wait(60)  # until as many are at work as may be
        return get_ident(), torch.get_num_threads()

    who, counts = zip(*side_by_side([count] * workers, CPU), strict=True)
    assert len(set(who)) == workers
    assert counts == (threads // workers,) * workers
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("graded", [True, False])
def test_gradients_are_recorded_where_they_are_outside(threads, graded):
    with torch.set_grad_enabled(graded):
        assert side_by_side([torch.is_grad_enabled] * 3, CPU) == [graded] * 3


def test_an_error_comes_out(threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side([partial(divmod, 1, divisor) for divisor in (1, 0, 2)], CPU)
