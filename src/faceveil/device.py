"""Where tensors live."""

import torch

from faceveil.errors import SettingError


def choose(name: str = "auto") -> torch.device:
    """The device cpu, cuda or mps; auto is the first of cuda, mps and cpu that there is.

    Raises `SettingError` for one that is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    found = [kind for kind, available in there.items() if available]
    if name == "auto":
        return torch.device(found[0])
    if name not in found:
        raise SettingError(f"there is no device {name!r} here; there is {', '.join(found)}")
    return torch.device(name)
