"""Training: one loop for everything that learns here.

The engine is Lightning Fabric (the extra `train`, 14 MB): the same lines run on a CPU, on one GPU or on several
machines, and in mixed precision, while the loop stays ours, so that a step may train two modules in turn, as a GAN's
does. Bare torch.distributed would leave devices, the scaling of gradients and the wrapping of modules to us, and
Lightning's trainer would take the loop. Several devices: `torchrun --nproc-per-node 4 -m faceveil train ...`.
"""

import atexit
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from struct import error as StructError
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.files import publish, remove_leftovers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT = "checkpoint.pt"
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LIMIT = 2**63  # whole numbers of 64 bits are smaller

Indices = Int64[ndarray, " _"]
Figures = Mapping[str, float]
Track = Callable[[Sequence[Indices], str], Iterable[Indices]]  # batches to go through, and what is done to them


@dataclass(frozen=True)
class Engine:
    """On what is trained: the device (auto, cpu, cuda, mps) and the precision, one of `PRECISIONS`, 16-mixed on a GPU.

    How many devices and machines take part says torchrun; without it, one.
    """

    device: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SettingError(f"precision is {self.precision!r}; it is one of {', '.join(PRECISIONS)}")
        if ":" in self.device:
            kind = self.device.partition(":")[0]
            raise SettingError(f"training is on {kind}, not {self.device}; CUDA_VISIBLE_DEVICES says which there are")
        if self.precision == "16-mixed" and choose(self.device).type == "cpu":
            raise SettingError("16-mixed needs a GPU; on a CPU take bf16-mixed")

    def start(self) -> "Fabric":
        """The engine, running; raises `SettingError` where it is not installed."""
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise SettingError(
                'training needs Lightning Fabric; run in a clone of faceveil: pip install ".[train]"'
            ) from error
        every, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        fabric = Fabric(
            accelerator=choose(self.device).type,
            devices=here,
            num_nodes=every // here,
            strategy="ddp" if every > 1 else "auto",
            precision=self.precision,  # type: ignore[arg-type]
        )
        fabric.launch()
        if every > 1:
            atexit.register(_leave)
        return fabric


@dataclass(frozen=True)
class Learner:
    """A module that learns, and the optimizer of its parameters."""

    module: nn.Module
    optimizer: Optimizer


@dataclass(frozen=True)
class Examples:
    """What is learned from: `count` examples, and `read`, which gives a batch by indices [k]; `Faces` suits, say.

    `told` says which they are, in which order, as a `digest` of them does: a run goes on from its own only. Where it
    says nothing, others are mistaken for them.
    """

    count: int
    read: Callable[[Indices], Any]
    told: str = ""


def _leave() -> None:
    """Takes leave of the other devices; a process that ends without it may be aborted by their connection's threads."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Workshop:
    """Where a step works: the modules by name, as the engine wraps them, the epoch (from 1), what to draw from."""

    fabric: "Fabric"
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, Any]
    epoch: int
    generator: Generator

    @property
    def device(self) -> torch.device:
        """Where batches belong."""
        return self.fabric.device

    def descend(self, name: str, loss: Tensor) -> None:
        """One step of the module of that name down a loss."""
        self.optimizers[name].zero_grad()
        self.fabric.backward(loss)
        self.optimizers[name].step()


Step = Callable[[Workshop, Any], Mapping[str, Tensor]]


def positive(**settings: float) -> None:
    """Raises `SettingError` for the first of some settings that is not more than 0, or not less than `LIMIT`."""
    _check(settings, lambda value: value > 0, "more than 0")


def from_0(**settings: float) -> None:
    """Raises `SettingError` for the first of some settings that is not 0 or more, or not less than `LIMIT`."""
    _check(settings, lambda value: value >= 0, "0 or more")


def _check(settings: Figures, enough: Callable[[float], bool], least: str) -> None:
    for name, value in settings.items():
        if abs(value) >= LIMIT:
            raise SettingError(f"{name} is too far from 0; choose {least}, and less than 2**63")
        if not enough(value):
            raise SettingError(f"{name} is {value:g}; choose {least}")


def digest(parts: Iterable[object]) -> str:
    """A hash, 12 hexadecimal digits, of arrays, of modules by their weights, and of plain values."""
    found = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            found.update(piece)
    return found.hexdigest()[:12]


def _pieces(part: object) -> Iterator[bytes]:
    if isinstance(part, nn.Module):
        for tensor in part.state_dict().values():
            yield tensor.float().cpu().contiguous().numpy().tobytes()
    else:
        yield part.tobytes() if isinstance(part, ndarray) else json.dumps(part).encode()


def untracked(batches: Sequence[Indices], what: str) -> Sequence[Indices]:
    """Shows nothing."""
    return batches


def train(
    learners: Mapping[str, Learner],
    step: Step,
    examples: Examples,
    folder: Path,
    *,
    epochs: int,
    batch: int,
    seed: int = 0,
    engine: Engine | None = None,
    judge: Callable[[int], Figures] | None = None,
    track: Track = untracked,
    **settings: Any,
) -> list[dict[str, float]]:
    """Trains modules in place, epoch by epoch, and returns each epoch's figures: mean losses, and what `judge` finds.

    `step` takes a batch, descends by itself (see `Workshop`) and returns its losses by name. A batch is shared out
    among the devices, and figures are the mean of theirs; each epoch shows every example once in an order of its own,
    less what fills no whole batch. After each epoch `folder`/checkpoint.pt is replaced; where there is one, the run
    goes on from it, and ends with the same weights as if it had never been stopped: to the bit on the same machine's
    CPU, nearly on others, whose sums have no fixed order. The precision, what the examples are `told` to be, and
    further `settings`, plain values, are kept with it, so that a run of others is not mistaken for it.

    Raises `SettingError` where the folder holds a run of other settings or examples, one of more epochs, or not the
    same on all machines or cannot be written, for fewer examples than devices, and for losses that are no numbers.
    """
    engine = engine or Engine()
    fabric = engine.start()
    wrapped = {name: fabric.setup(learner.module, learner.optimizer) for name, learner in learners.items()}
    kept = {"batch": batch, "seed": seed, "precision": engine.precision, "data": examples.told, **settings}
    writable(folder)
    remove_leftovers(folder)
    history = _resume(fabric, learners, folder / CHECKPOINT, kept)
    _agree(fabric, folder, len(history))
    if len(history) > epochs:
        done = f"{folder / CHECKPOINT} has learned for {len(history)} epochs already, not {epochs}"
        raise SettingError(f"{done}; ask for {len(history)} or more, choose another folder, or delete it")
    for epoch in range(len(history) + 1, epochs + 1):
        torch.manual_seed(_number(seed, epoch, fabric.global_rank))
        generator = Generator().manual_seed(_number(seed, epoch, fabric.global_rank))
        modules = {name: module.train() for name, (module, _) in wrapped.items()}
        shop = Workshop(fabric, modules, {name: one for name, (_, one) in wrapped.items()}, epoch, generator)
        batches = _batches(examples.count, batch, _number(seed, epoch), fabric.global_rank, fabric.world_size)
        told = "".join(f", {name} {value:.4g}" for name, value in (history[-1] if history else {}).items())
        sums: dict[str, Tensor] = {}
        for chosen in track(batches, f"epoch {epoch} of {epochs}{told}") if fabric.is_global_zero else batches:
            for name, loss in step(shop, examples.read(chosen)).items():
                sums[name] = sums.get(name, 0) + loss.detach()
        sums = {name: torch.as_tensor(fabric.all_reduce(total)) for name, total in sums.items()}
        figures = {name: float(total) / len(batches) for name, total in sums.items()}
        if not all(map(math.isfinite, figures.values())):
            raise SettingError(f"the losses of epoch {epoch} are no numbers ({figures}); lower the learning rate")
        for module, _ in wrapped.values():
            module.eval()
        history.append(figures | dict(judge(epoch) if judge else {}))
        if fabric.is_global_zero:
            _keep(fabric, learners, folder / CHECKPOINT, kept, history)
        fabric.barrier()
    return history


def writable(folder: Path) -> None:
    """Makes a folder. Raises `SettingError` now, and not after an epoch, where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error


def _number(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _batches(count: int, size: int, seed: int, rank: int, world: int) -> list[Indices]:
    """This device's share of each batch."""
    if min(count, size) < world:
        raise SettingError(f"there are {count} examples in batches of {size} for {world} devices; take fewer devices")
    order = torch.randperm(count, generator=Generator().manual_seed(seed)).numpy()
    starts = range(0, max(count - size, 0) + 1, size)
    return [order[start : start + size][rank::world] for start in starts]


def _keep(
    fabric: "Fabric", learners: Mapping[str, Learner], path: Path, settings: Mapping[str, Any], history: list[Any]
) -> None:
    state = {
        "history": history,
        "modules": {name: learner.module.state_dict() for name, learner in learners.items()},
        "optimizers": {name: learner.optimizer.state_dict() for name, learner in learners.items()},
        "precision": fabric.strategy.precision.state_dict(),
    }
    keep(path, settings, state)


def _resume(
    fabric: "Fabric", learners: Mapping[str, Learner], path: Path, settings: Mapping[str, Any]
) -> list[dict[str, float]]:
    """What the checkpoint tells of earlier epochs, with its weights put into the learners; nothing without one."""
    state = resume(path, settings, fabric.device)
    if not state:
        return []
    with _readable(path):
        for name, learner in learners.items():
            learner.module.load_state_dict(state["modules"][name])
            learner.optimizer.load_state_dict(state["optimizers"][name])
        fabric.strategy.precision.load_state_dict(state["precision"])
        return list(state["history"])


def _agree(fabric: "Fabric", folder: Path, epochs: int) -> None:
    """Sees to it that all devices go on from the same epoch; only the first one writes what the others go on from."""
    found = torch.as_tensor(fabric.all_gather(torch.tensor(epochs)))
    if found.min() < found.max():
        counts = f"{folder} holds {found.min()} epochs on one, {found.max()} on another"
        raise SettingError(f"all machines need the same folder: {counts}; share it, or copy it to each")


def keep(path: Path, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Publishes a checkpoint: tensors and plain values by name, and the settings of the run that they are of.

    Raises `UnwritablePhotoError`.
    """
    stream = BytesIO()
    torch.save({"settings": dict(settings), **state}, stream)
    publish(stream.getvalue(), path, force=True)


def resume(path: Path, settings: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What `keep` was given, its tensors on a device; nothing where there is no such file.

    Raises `SettingError` for what is no checkpoint, and for one of other settings.
    """
    if not path.is_file():
        return {}
    with _readable(path):
        state = dict(torch.load(path, map_location=device, weights_only=True))
        earlier = dict(state.pop("settings"))
    if earlier != settings:
        both = {**earlier, **settings}
        other = next(name for name in both if earlier.get(name) != settings.get(name))
        found = f"{other} {earlier.get(other)!r}, not {settings.get(other)!r}"
        raise SettingError(f"{path} is of a run with {found}; choose another folder, or delete that file")
    return state


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Says of a file what it is where reading it fails."""
    try:
        yield
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, TypeError, StructError, UnpicklingError) as error:
        raise SettingError(f"{path} is no checkpoint of this run; delete it, or choose another folder") from error
