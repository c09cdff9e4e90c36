"""Where faceveil keeps what can be had again: weights, aligned faces."""

import os
from pathlib import Path

from platformdirs import user_cache_dir

from faceveil.errors import SettingError


def folder() -> Path:
    """The folder that FACEVEIL_CACHE names, or else the user's cache; raises `SettingError` where there is neither."""
    try:
        return Path(os.environ.get("FACEVEIL_CACHE") or user_cache_dir("faceveil"))
    except RuntimeError as error:
        raise SettingError("this user has no home folder for weights; let FACEVEIL_CACHE name one") from error
