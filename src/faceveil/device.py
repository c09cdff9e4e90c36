"""Where tensors live."""

import torch

from faceveil.errors import SettingError


def choose(name: str | torch.device = "auto") -> torch.device:
    """The device of that name, such as cpu, cuda, cuda:1 or mps; auto is the first of cuda, mps and cpu that there is.

    Raises `SettingError` for one that is not there.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0  # a driver may count what it cannot use
    counts = {"cuda": cuda, "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    found = [kind for kind, count in counts.items() if count]
    if name == "auto":
        return torch.device(found[0])
    try:
        device = torch.device(name)
        there = (device.index or 0) < counts.get(device.type, 0)
    except (RuntimeError, TypeError):
        there = False
    if not there:
        raise SettingError(f"there is no device {str(name)!r} here; there is {', '.join(found)}")
    return device
