"""Who plays which part in an experiment, drawn by person."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from faceveil.errors import SettingError
from faceveil.files import publish

ROLES = ("protected", "gallery", "targets", "distractors")


@dataclass(frozen=True)
class Split:
    """Disjoint groups of people: a name of `ROLES` to the identities that play it, in the order drawn."""

    seed: int
    roles: Mapping[str, tuple[str, ...]]

    @classmethod
    def draw(cls, identities: Iterable[str], counts: Mapping[str, int], seed: int = 0) -> "Split":
        """As many people for each role as asked for; the same on every machine, and for every order of `identities`.

        People are lined up by the sha256 of seed and name, so a person who is added later moves nobody to the front.
        Raises `SettingError` for a role that does not exist, and where there are too few people.
        """
        people = sorted(set(identities), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        if unknown := set(counts) - set(ROLES):
            raise SettingError(f"no role is called {min(unknown)!r}; there are {', '.join(ROLES)}")
        if min(counts.values(), default=0) < 0 or sum(counts.values()) > len(people):
            raise SettingError(f"{sum(counts.values())} people asked for, and there are {len(people)}; ask for fewer")
        line = iter(people)
        return cls(seed, {role: tuple(islice(line, counts.get(role, 0))) for role in ROLES})

    @classmethod
    def read(cls, path: Path) -> "Split":
        """A split that was written; raises `SettingError` where the file is none."""
        try:
            table = json.loads(path.read_text("utf-8-sig"))
            return cls(int(table["seed"]), {role: tuple(table["roles"][role]) for role in ROLES})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"{path} is no split of people ({error}); write one with: faceveil data split"
            ) from error

    def text(self) -> str:
        """JSON, with each role's people."""
        return json.dumps({"seed": self.seed, "roles": dict(self.roles)}, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path, *, force: bool = False) -> None:
        """Writes its text, over another file only with `force`; raises `UnwritablePhotoError`."""
        publish(self.text().encode(), path, force=force)
