"""The photos of a run: a person's cloaks in them are to stay apart."""

import torch
from jaxtyping import Bool
from torch import Tensor

from faceveil.recognizers import Recognizer
from faceveil.types import Own


class Album:
    """Faces that were cloaked already, as each surrogate saw them before, and sees them now; nothing else of them."""

    def __init__(self) -> None:
        self.clear: tuple[Own, ...] = ()
        self.cloaked: tuple[Own, ...] = ()

    def add(self, clear: tuple[Own, ...], cloaked: tuple[Own, ...]) -> None:
        """Faces, by surrogate, as they were and as they will be shared."""
        self.clear, self.cloaked = _more(self.clear, clear), _more(self.cloaked, cloaked)

    def same(self, surrogates: tuple[Recognizer, ...], sources: tuple[Own, ...]) -> Bool[Tensor, "n _"]:
        """Which of these clear faces [n], and of those in the album [m], show the same person [n, n + m].

        Those that the surrogates hold for one, on the mean of their distances in thresholds; nobody with themselves.
        """
        everybody = _more(sources, self.clear)
        pairs = zip(surrogates, sources, everybody, strict=True)
        away = torch.stack([torch.cdist(own, all_) / net.threshold for net, own, all_ in pairs]).mean(0)
        return (away < 1).triu(1) | (away < 1).tril(-1)


def _more(some: tuple[Own, ...], others: tuple[Own, ...]) -> tuple[Own, ...]:
    return tuple(map(torch.cat, zip(some, others, strict=True))) if some and others else some or others
