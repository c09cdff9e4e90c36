"""The photos of a run: a person's cloaks in them are to stay apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from faceveil.errors import SettingError
from faceveil.objectives.feature import Company
from faceveil.recognizers import Recognizer
from faceveil.types import Own


class Album:
    """Faces that were cloaked already, as each surrogate saw them before, and sees them now; nothing else of them.

    Others see faces otherwise: once it holds some, an album serves methods with these surrogates, in their order.
    """

    def __init__(self) -> None:
        self.surrogates: tuple[str, ...] = ()
        self.clear: tuple[Own, ...] = ()
        self.cloaked: tuple[Own, ...] = ()

    def seen_by(self, surrogates: Sequence[Recognizer]) -> "Album":
        """This album, for faces as these surrogates see them; `SettingError` where it holds faces seen by others."""
        names = tuple(surrogate.name for surrogate in surrogates)
        if self.clear and self.surrogates not in ((), names):
            known, found = ", ".join(self.surrogates), ", ".join(names)
            raise SettingError(f"this album holds faces as seen by {known}, not by {found}; use another Album")
        self.surrogates = names
        return self

    def add(self, clear: tuple[Own, ...], cloaked: tuple[Own, ...]) -> None:
        """Faces, by surrogate, as they were and as they will be shared."""
        self.clear, self.cloaked = _more(self.clear, clear), _more(self.cloaked, cloaked)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is added inside stays only where nothing fails: nobody is in the company of a cloak that is lost."""
        before = self.clear, self.cloaked
        try:
            yield
        except BaseException:
            self.clear, self.cloaked = before
            raise

    def company(self, surrogates: tuple[Recognizer, ...], sources: tuple[Own, ...]) -> list[Company]:
        """For each surrogate the cloaked faces of the people whom these clear faces [n] show, also as they are now.

        Two faces show one person where the surrogates say so, by the mean of their distances in thresholds. Raises
        what `seen_by` does.
        """
        everybody = _more(sources, self.seen_by(surrogates).clear)
        pairs = zip(surrogates, sources, everybody, strict=True)
        away = torch.stack([torch.cdist(own, all_) / net.threshold for net, own, all_ in pairs]).mean(0)
        same, n = (away < 1).triu(1) | (away < 1).tril(-1), len(away)  # nobody with themselves
        theirs = same[:, n:].any(0)
        same = torch.cat([same[:, :n], same[:, n:][:, theirs]], 1)
        return [Company(same, known[theirs]) for known in self.cloaked or (source[:0] for source in sources)]


def _more(some: tuple[Own, ...], others: tuple[Own, ...]) -> tuple[Own, ...]:
    return tuple(map(torch.cat, zip(some, others, strict=True))) if some and others else some or others
