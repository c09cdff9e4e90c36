"""What a gradient tells of the photo that it was made of: APF's cloud "never gets the photo", but what does it get?

An attacker who holds photos and their gradients trains one network on both: from a gradient, it gives the embedding
that a recognizer has of the photo, and the photo. Then it meets gradients of people whom it has never seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from numpy import ndarray
from torch import Generator, Tensor, nn

from faceveil.attacks.quantization import Grid
from faceveil.bench import plots
from faceveil.bench.apf import PAPER, PROBE
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, number, percent
from faceveil.bench.material import BATCH, Material, People
from faceveil.datasets import Faces
from faceveil.files import publish
from faceveil.methods.apf import Apf
from faceveil.methods.apf.device import STIR
from faceveil.methods.scene import Scene
from faceveil.metrics import ssim
from faceveil.objectives.feature import PLAIN, Dodging, distance
from faceveil.recognizers import Recognizer
from faceveil.service.wire import CODES
from faceveil.types import Embeddings, Images

EPSILON = 8.0  # 8-bit levels (section 4.1)
STEPS = 10  # of the gradient's attack, as in the released code, where its kind says no other number
LONG, NO_DELTA = f"apf, {Apf.steps} steps", "apf, no delta"
BLOCK = 8  # pixels wide are the blocks of which some are kept

Rows = Int64[ndarray, " n"]
Gallery = Float[Tensor, "people d"]
Reduction = Callable[[Images, float, Generator], Images]  # shares of epsilon, how much, and what to draw from


@dataclass(frozen=True)
class Sent:
    """A way to send gradients: what becomes of them, and how many bits a number has."""

    reduce: Reduction
    bits: Callable[[float], float]


def _values(shares: Images, values: float, draw: Generator) -> Images:
    """As the service takes them: see `Grid`."""
    return Grid(EPSILON, int(values))(shares * (EPSILON / 255)) * (255 / EPSILON)


def _flipped(shares: Images, share: float, draw: Generator) -> Images:
    """Signs, of which a share is turned by chance."""
    return _signs(shares) * (1 - 2 * (torch.rand(shares.shape, generator=draw) < share).float())


def _blocks(shares: Images, width: float, draw: Generator) -> Images:
    """The sign of each block's mean; blocks are so many pixels wide."""
    return F.interpolate(_signs(F.avg_pool2d(shares, int(width))), scale_factor=int(width))


def _kept(shares: Images, share: float, draw: Generator) -> Images:
    """Signs in a share of the blocks, drawn by chance, and zeros in the others."""
    n, _, h, w = shares.shape
    kept = torch.rand(n, 1, h // BLOCK, w // BLOCK, generator=draw) < share
    return _signs(shares) * F.interpolate(kept.float(), scale_factor=BLOCK)


def _signs(shares: Images) -> Images:
    return _values(shares, 2, Generator())


WAYS: Mapping[str, Sent] = {
    "floats": Sent(lambda shares, amount, draw: shares, lambda amount: 32),
    "values": Sent(_values, lambda values: Grid(EPSILON, int(values)).bits),
    "signs, a share flipped": Sent(_flipped, lambda share: 1),
    "signs of blocks": Sent(_blocks, lambda width: 1 / width**2),
    "signs in a share of blocks": Sent(_kept, lambda share: share),
}


class Attacker(nn.Module):
    """From a gradient [n, 3, 112, 112], in shares of epsilon, to an embedding of unit length, and to a picture."""

    def __init__(self, length: int, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [
                nn.Sequential(nn.PixelUnshuffle(2), _layer(12, width, stride=2)),
                _layer(width, 2 * width, stride=2),
                _layer(2 * width, 4 * width, stride=2),
            ]
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * width * 49, length))
        self.up = nn.ModuleList([_larger(4 * width, 2 * width), _larger(4 * width, width)])
        self.last = nn.Sequential(nn.Conv2d(2 * width, 48, 3, padding=1), nn.PixelShuffle(4), nn.Sigmoid())

    def forward(self, gradients: Images) -> tuple[Embeddings, Images]:
        small = self.down[0](gradients)
        middle = self.down[1](small)
        x = self.down[2](middle)
        embeddings = F.normalize(self.head(x))
        x = torch.cat([self.up[0](x), middle], 1)
        x = torch.cat([self.up[1](x), small], 1)
        pictures: Tensor = self.last(x)
        return embeddings, pictures


def _layer(before: int, after: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)
    )


def _larger(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, 4 * after, 1), nn.PixelShuffle(2), _layer(after, after))


@dataclass(frozen=True, eq=False)
class Interception:
    """Photos and the gradients that were made of them, as they are sent at some settings.

    "gradient" is "one step", the gradient itself (Eq. 1 before its sign), or "apf", what the method finds in `STEPS`
    steps of DI2-FGSM, with delta (Eq. 13); "apf, 30 steps" as `protect` does it; "apf, no delta" without.
    """

    material: Material
    settings: Settings

    @cached_property
    def probe(self) -> Recognizer:
        """The device's recognizer, its fast copy."""
        return self.material.recognizer.surrogate()

    def of(self, faces: Faces, folder: Path) -> Images:
        """The gradients of faces as they arrive, in shares of epsilon; what they were made from is kept in a folder."""
        kind = str(self.settings["gradient"])
        path = folder / f"gradients, {kind}.npy"
        if not path.is_file():
            found = torch.cat([self._gradient(images, kind).cpu() for images in faces.batches(BATCH)])
            folder.mkdir(parents=True, exist_ok=True)
            publish(found.half().numpy().tobytes(), path, force=True)
        shares = torch.from_numpy(np.fromfile(path, np.float16)).reshape(len(faces), 3, 112, 112).float()
        draw = Generator().manual_seed(self.material.seed)
        reduce, amount = WAYS[str(self.settings["sent"])].reduce, float(self.settings["amount"])
        return torch.cat([reduce(some, amount, draw) for some in torch.split(shares, BATCH)])

    def _gradient(self, images: Images, kind: str) -> Images:
        images = images.to(self.probe.device)
        scene = Scene.cut(images, self.probe.card.input.template, (self.probe,))
        if kind == "one step":
            return self._one_step(images, scene)
        steps = Apf.steps if kind == LONG else STEPS
        method = Apf((self.probe,), steps=steps, scatter=kind != NO_DELTA, seed=self.material.seed)
        return method.gradient(scene) * (255 / EPSILON)

    def _one_step(self, images: Images, scene: Scene) -> Images:
        """Divided by its standard deviation; what is more than ten of them is cut."""
        away = scene.mean(lambda i, net: Dodging(net, scene.embed()[i], PLAIN))
        stir = 2 * torch.rand(images.shape[1:], generator=Generator().manual_seed(self.material.seed)) - 1
        near = (images + STIR / 255 * stir.to(images)).requires_grad_()
        (found,) = torch.autograd.grad(-away(near).sum(), near)
        return (found / found.std((1, 2, 3), keepdim=True).clamp(min=1e-20)).clamp(-10, 10)


def _learn(gradients: Images, faces: Faces, embeddings: Embeddings, epochs: int, batch: int, seed: int) -> Attacker:
    """An attacker that has seen every photo, and its mirror image, so many times."""
    draw = Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        attacker = Attacker(embeddings.shape[1])
        steps = epochs * (len(faces) // batch)
        optimizer = torch.optim.AdamW(attacker.parameters(), weight_decay=1e-2)
        pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(faces), generator=draw)[: len(faces) // batch * batch], batch):
                mirrored = [3] if torch.rand((), generator=draw) < 0.5 else []
                found, pictures = attacker(gradients[rows].flip(mirrored))
                loss = 1 - (found * embeddings[rows]).sum(1).mean()
                loss += 2 * (pictures - faces[rows.numpy()].flip(mirrored)).abs().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                pace.step()
    return attacker.eval()


def _measure(material: Material, settings: Settings) -> Found:
    """How often the person is found, how alike the picture is, and how much of a cloak is in what is sent."""
    interception, judge = Interception(material, settings), material.judges[0]
    lessons, tests = material.training[material.recognizer.wanted], material.faces
    known = _known(material, judge)
    mean = known.mean(0)
    attacker = _learn(
        interception.of(lessons, material.school),
        lessons,
        F.normalize(known - mean),
        int(settings["epochs"]),
        int(settings["batch"]),
        material.seed,
    )
    _, first, who = np.unique(tests.labels, return_index=True, return_inverse=True)
    probes = np.setdiff1d(np.arange(len(tests)), first)
    enrolled, clear = first[who[probes]], material.clear_to(judge) - mean
    gradients, images = interception.of(tests, material.folder)[probes], tests[probes]
    with torch.no_grad():
        embeddings, pictures = attacker(gradients)
        embeddings = embeddings + attacker(gradients.flip(3))[0]
    return {
        "people": len(first),
        "rank-1": _rank_1(embeddings, clear[first], who[probes]),
        "rank-1, clear": _rank_1(clear[probes], clear[first], who[probes]),
        "ssim": _ssim(images, pictures),
        "ssim, mean face": _ssim(images, lessons[:].mean(0).expand_as(images)),
        "protected": _protected(material, gradients, probes, enrolled) if gradients.abs().max() <= 1 else {},
    }


def _known(material: Material, judge: Recognizer) -> Embeddings:
    """A recognizer's embeddings of the photos that the attacker has; they are kept."""
    path = material.school / f"embeddings, {judge.name}.npy"
    faces = material.training[judge.wanted]
    if not path.is_file():
        with torch.no_grad():
            found = torch.cat([judge(images.to(judge.device)).cpu() for images in faces.batches(BATCH)])
        material.school.mkdir(parents=True, exist_ok=True)
        publish(found.numpy().tobytes(), path, force=True)
    return torch.from_numpy(np.fromfile(path, np.float32)).reshape(len(faces), -1)


def _rank_1(probes: Embeddings, gallery: Gallery, who: Rows) -> float:
    """The share of probes whose most alike in the gallery, of which person i is row i, is whom they show."""
    nearest = (F.normalize(probes) @ F.normalize(gallery).T).argmax(1)
    return float(np.mean(nearest.numpy() == who))


def _ssim(images: Images, others: Images) -> float:
    pairs = zip(*((255 * each).byte().permute(0, 2, 3, 1).numpy() for each in (images, others)), strict=True)
    return float(np.mean([ssim(*pair) for pair in pairs]))


def _protected(material: Material, shares: Images, probes: Rows, enrolled: Rows) -> dict[str, float]:
    """By judge, the share of photos that no longer match the person's enrolled one, with what is sent added."""
    cloaked = (255 * (material.faces[probes] + shares * (EPSILON / 255)).clamp(0, 1)).round() / 255
    return {
        judge.name: _beyond(judge, material.cloaked_to(judge, cloaked, probes), material.clear_to(judge)[enrolled])
        for judge in material.judges
    }


def _beyond(judge: Recognizer, embeddings: Embeddings, others: Embeddings) -> float:
    return float((distance(embeddings, others) >= judge.threshold).float().mean())


def _table(cells: Sequence[Cell]) -> Table:
    judges = list(dict.fromkeys(judge for cell in cells for judge in cell.found["protected"]))
    columns = ("data", "gradient", "sent", "amount", "bytes a face", "rank-1, %", "SSIM", *_not_matched(judges))
    rows = []
    for where, some in groups(cells).items():
        data = where.partition(" on ")[2]
        first = some[0].found
        rows += [
            (data, "(the photo itself)", "", "", "", percent(first["rank-1, clear"]), "1.000", *[""] * len(judges)),
            (data, "(nothing)", "", "", "0", percent(1 / first["people"]), number(first["ssim, mean face"])),
        ]
        rows[-1] += ("",) * len(judges)
        for cell in some:
            settings, found = cell.settings, cell.found
            sent, amount = str(settings["sent"]), float(settings["amount"])
            size = f"{CODES * WAYS[sent].bits(amount) / 8:.0f}"
            what = data, str(settings["gradient"]), sent, f"{amount:g}" if amount else "", size
            protected = (percent(found["protected"][j]) if found["protected"] else "" for j in judges)
            rows.append((*what, percent(found["rank-1"]), number(found["ssim"]), *protected))
    return Table(columns, tuple(rows))


def _not_matched(judges: Sequence[str]) -> list[str]:
    return [f"not matched by {judge}, %" for judge in judges]


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    for where, some in groups(cells).items():
        series: dict[str, tuple[list[float], list[float]]] = {}
        for cell in sorted(some, key=lambda cell: float(cell.settings["amount"])):
            if cell.found["protected"]:
                x, y = series.setdefault(f"{cell.settings['gradient']}: {cell.settings['sent']}", ([], []))
                x.append(float(np.mean(list(cell.found["protected"].values()))))
                y.append(cell.found["rank-1"])
        name = f"The person found from the gradient, beside the cloak's strength; {where}"
        figures[name] = plots.lines(
            series, "share of photos no longer matched, mean over judges", "rank-1 from the gradient", top=_top(series)
        )
    return figures


def _top(series: Mapping[str, plots.Points]) -> float:
    return max(0.05, *(max(y) for _, y in series.values())) if series else 1.0


def _settings(epochs: int, batch: int, most: int | None = None) -> tuple[Settings, ...]:
    ways: list[tuple[str, str, float]] = [
        ("one step", "floats", 0),
        ("one step", "values", 2),
        ("apf", "values", 2),
        ("apf", "floats", 0),
        ("apf", "signs, a share flipped", 0.25),
        ("apf", "signs of blocks", 4),
        ("apf", "signs of blocks", 8),
        (NO_DELTA, "values", 2),
        (LONG, "values", 2),
        ("apf", "signs, a share flipped", 0.4),
        ("apf", "signs in a share of blocks", 0.2),
        ("apf", "signs of blocks", 2),
        ("apf", "values", 3),
    ]
    return tuple(
        {"gradient": gradient, "sent": sent, "amount": amount, "epochs": epochs, "batch": batch}
        for gradient, sent, amount in ways[:most]
    )


LEAK = Experiment(
    name="apf-leak",
    title="What APF's cloud can learn of a photo from its gradient",
    paper=PAPER,
    original="(nowhere: the paper says that the cloud cannot access the photo, and does not measure what it gets)",
    printed={},
    notes=(
        "Rank-1 is how often the attacker's first guess, among the people of the test, each with another clear photo, "
        "is the person; in brackets stands what the photo itself would tell, and what chance and the mean face do. An "
        "attacker with more data, time or a larger network finds more: these are lower bounds. Not matched: the photos "
        "that a recognizer no longer takes for their person with what is sent added, before a cloud improves it."
    ),
    findings="One way to send trained again gave 41 % where 32 stand here (10 steps, signs).",
    recognizers=(PROBE,),
    full=Plan(People(50, 2, spare=2), _settings(epochs=10, batch=32), People(600, 1, spare=2)),
    quick=Plan(People(20, 2), _settings(epochs=2, batch=8, most=3), People(60, 1)),
    measure=_measure,
    table=_table,
    figures=_figures,
    judges=("mobilefacenet-y1", "facenet"),
)
