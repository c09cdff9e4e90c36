"""Settings for every test: one thread, shapes checked at run time, and where the real photos and weights lie."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# no test depends on which weights this machine happens to hold, nor changes that
os.environ.pop("FACEVEIL_MIRROR", None)
os.environ["FACEVEIL_CACHE"] = tempfile.mkdtemp(prefix="faceveil-tests-")
atexit.register(shutil.rmtree, os.environ["FACEVEIL_CACHE"], ignore_errors=True)

from jaxtyping import install_import_hook

install_import_hook("faceveil", "runtime.check")

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared"

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights beside the project."""
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    missing = pytest.mark.skip(reason=f"needs real photos and weights in {SHARED}, which is missing")
    for item in items:
        if "zoo" in item.keywords:
            item.add_marker(missing)
