from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache_and_mirror(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's own cache; the real weights are in the mirror."""
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
