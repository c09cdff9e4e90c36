"""What we trained ourselves and ship: NAME.safetensors, and beside it NAME.json with its hash and its recipe."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from faceveil.errors import WeightsError
from faceveil.files import publish

_FOLDER = Path(__file__).parent

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Trained:
    """Tensors by name, in float32; the `options` with which their module is built; the `recipe` that made them.

    A recipe tells the command, the data, the seed, how long it took, and what else one needs to make them again; it
    names, as `servers`, the recognizers that they learned to fool.
    """

    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of the recognizers that it learned to fool."""
        return tuple(self.recipe["servers"])

    def build(self, kind: Callable[..., Module]) -> Module:
        """The module of these options with these tensors, in eval mode, not to be trained further.

        Raises `WeightsError` where they do not fit it.
        """
        try:
            module = kind(**self.options)
            module.load_state_dict(dict(self.tensors))
        except (RuntimeError, TypeError) as error:
            told = shorten(str(error), 100, placeholder=" ...")
            raise WeightsError(f"what was trained is no {kind.__name__} ({told}); give another module") from error
        return module.eval().requires_grad_(False)


def names() -> list[str]:
    """The names of what ships."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def read(where: str | Path) -> Trained:
    """What ships under a name, or what was trained into a file of safetensors.

    Raises `WeightsError` where there is no such thing, and for a file that is not the one its recipe tells of.
    """
    path = _FOLDER / f"{where}.safetensors" if str(where) in names() else Path(where)
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        data = path.read_bytes()
        if sha256(data).hexdigest() != note["sha256"]:
            raise WeightsError(f"{path} is not the file that {path.stem}.json tells of; train it, or install, again")
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
        found = Trained(tensors, note["options"], note["recipe"])
        if isinstance(found.recipe["servers"], str) or not all(isinstance(name, str) for name in found.servers):
            raise WeightsError(f"{path.stem}.json does not tell which recognizers it learned to fool; train it again")
        return found
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        there = ", ".join(names())
        raise WeightsError(
            f"{where} is neither a file of safetensors with its .json, nor one that ships: {there}"
        ) from error


def write(trained: Trained, path: Path, *, kind: torch.dtype = torch.float16, force: bool = False) -> None:
    """Writes NAME.safetensors, in half precision unless `kind` says otherwise, and its NAME.json.

    Raises `UnwritablePhotoError`.
    """
    data = save({name: tensor.detach().cpu().to(kind).contiguous() for name, tensor in trained.tensors.items()})
    note = {"sha256": sha256(data).hexdigest(), "options": dict(trained.options), "recipe": dict(trained.recipe)}
    publish(data, path, force=force)
    publish((json.dumps(note, indent=1) + "\n").encode(), path.with_suffix(".json"), force=force)
