"""Work for several networks at once, a core for each: one network alone gains little from a second core."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

T = TypeVar("T")
_FIRST = Lock()  # of several threads that want a pool at once


def side_by_side(calls: Sequence[Callable[[], T]], device: torch.device) -> list[T]:
    """What the calls give, in their order; on a CPU side by side, each with its part of PyTorch's threads."""
    threads = torch.get_num_threads()
    workers = min(threads, len(calls))
    if workers < 2 or device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return [call() for call in calls]
    graded = torch.is_grad_enabled()

    def work(call: Callable[[], T]) -> T:
        with torch.set_grad_enabled(graded):
            return call()

    with _FIRST:
        pool = _pool(workers, threads)
    return list(pool.map(work, calls))


@lru_cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Workers that share so many threads; PyTorch counts those of each Python thread by itself."""
    pool, together = ThreadPoolExecutor(workers, "faceveil"), Barrier(workers)

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread's first look at the number takes all of them
        torch.set_num_threads(threads // workers)
        together.wait()

    list(pool.map(start, range(workers)))
    torch.set_num_threads(threads)  # for threads that are yet to start
    return pool
