"""Where faceveil keeps what can be had again: weights, aligned faces."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_cache_dir

from faceveil.errors import SettingError


def folder() -> Path:
    """The folder that FACEVEIL_CACHE names, or else the user's cache; raises `SettingError` where there is neither."""
    try:
        return Path(os.environ.get("FACEVEIL_CACHE") or user_cache_dir("faceveil"))
    except RuntimeError as error:
        raise SettingError("this user has no home folder for weights; let FACEVEIL_CACHE name one") from error


def check(name: str, others: Iterable[str]) -> None:
    """Raises `SettingError` for what cannot be the name of something that is kept here beside the others.

    Some disks take two names for one that differ in capitals alone.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise SettingError(f"{name!r} cannot be a name; use letters, digits, '.', '-' and '_'")
    if other := next((each for each in others if each != name and each.casefold() == name.casefold()), None):
        raise SettingError(f"{name} differs from {other}, which is there, in capitals alone; choose another name")
