"""Where faceveil keeps what can be had again: weights, aligned faces."""

import os
from pathlib import Path

from platformdirs import user_cache_dir


def folder() -> Path:
    """The user's cache, or the folder that FACEVEIL_CACHE names."""
    return Path(os.environ.get("FACEVEIL_CACHE") or user_cache_dir("faceveil"))
