"""How often are people not identified whose photos BIM and ILLC cloaked? (Ghafourian et al., 2023.)

As in the paper, cloaked photos are stored as JPEG, their faces are found again by MTCNN, brought to the size that each
network takes, and classified by it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Bool, Int64
from matplotlib.figure import Figure
from numpy import ndarray

from faceveil import metrics
from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, number
from faceveil.bench.material import Crowd, Material
from faceveil.datasets.preparation import subject, whole
from faceveil.errors import SettingError
from faceveil.faces.detect import Detector, Face
from faceveil.faces.region import Region
from faceveil.methods.deidentification import EPSILONS, Deidentification
from faceveil.methods.scene import Scene
from faceveil.objectives.cross_entropy import Softmax
from faceveil.photo import Photo, jpeg
from faceveil.proof import Sighting, embed, find_again, inside
from faceveil.protocols.quality import Summary
from faceveil.protocols.success import TOPS, protection_success_rate
from faceveil.recognizers import Recognizer
from faceveil.types import Pixels

CLEAR, METHODS = "clear", ("illc", "bim")
PROBES = 100  # the paper's rates are whole percents
PEOPLE = 500  # whom the classifiers tell apart; VGGFace2 has 8,631
JPEG = 75  # the quality of stored photos, Pillow's; the paper names none
SHOWN = (1, 5, 25)  # Fig. 3 to 5

PAPERS = {"facenet": "FaceNet", "vggface2-resnet50": "ResNet-50", "vggface2-senet50": "SENet-50"}

# Table 1, a line for each source, method and epsilon: Top-1, 5, 10, 25 and 50 of FaceNet, ResNet-50 and SENet-50
_TABLE = """
FaceNet illc 4 68 47 36 28 22 6 2 2 2 2 5 2 2 2 2
FaceNet illc 8 98 98 92 90 89 29 16 12 8 7 32 14 8 7 4
FaceNet illc 16 100 100 100 100 100 63 50 43 36 28 67 51 47 32 26
FaceNet illc 32 100 100 100 100 100 90 76 71 64 60 95 84 80 66 56
FaceNet illc 64 100 100 100 100 100 96 94 91 82 78 98 95 92 85 78
FaceNet illc 128 100 100 100 100 100 99 97 95 91 88 100 99 99 93 89
FaceNet bim 4 99 95 93 88 80 19 8 6 5 3 23 6 3 2 2
FaceNet bim 8 100 100 100 100 100 51 40 33 22 20 58 39 33 25 20
FaceNet bim 16 100 100 100 100 100 91 79 71 64 59 92 76 75 70 61
FaceNet bim 32 100 100 100 100 100 99 99 98 94 89 98 97 96 94 91
FaceNet bim 64 100 100 100 100 100 99 99 98 98 95 99 98 97 96 96
FaceNet bim 128 100 100 100 100 100 100 98 98 98 97 100 98 98 98 98
ResNet-50 illc 4 7 4 4 3 3 39 27 19 13 11 9 3 3 3 2
ResNet-50 illc 8 12 8 5 4 3 97 92 84 75 67 45 19 13 9 8
ResNet-50 illc 16 34 12 10 8 6 100 100 100 98 97 78 55 42 32 24
ResNet-50 illc 32 48 21 17 12 9 100 100 100 100 98 85 69 59 48 36
ResNet-50 illc 64 63 40 27 21 15 100 100 100 100 100 90 79 70 57 47
ResNet-50 illc 128 72 54 44 30 25 100 100 100 100 100 95 84 78 68 60
ResNet-50 bim 4 15 5 5 4 4 99 83 74 69 57 46 13 9 5 4
ResNet-50 bim 8 39 10 7 5 4 100 100 99 95 91 82 47 38 25 18
ResNet-50 bim 16 66 30 23 14 8 100 100 100 100 99 97 73 65 53 45
ResNet-50 bim 32 81 45 36 26 21 100 100 100 100 99 99 85 75 66 55
ResNet-50 bim 64 87 63 49 41 30 100 100 100 100 100 100 89 86 76 59
ResNet-50 bim 128 98 76 62 48 41 100 100 100 100 100 100 95 90 82 70
SENet-50 illc 4 7 4 4 2 2 12 5 4 2 2 46 26 19 14 12
SENet-50 illc 8 19 7 5 5 4 41 26 21 15 13 97 93 91 83 80
SENet-50 illc 16 42 25 21 13 9 78 61 55 46 35 100 100 100 100 98
SENet-50 illc 32 58 43 36 2 18 89 71 68 57 46 100 100 100 100 99
SENet-50 illc 64 70 56 47 36 29 95 84 72 62 61 100 100 100 100 100
SENet-50 illc 128 87 69 62 55 42 97 92 87 83 74 100 100 100 100 100
SENet-50 bim 4 16 7 5 4 4 46 15 10 8 6 100 89 83 76 71
SENet-50 bim 8 47 18 14 6 4 89 54 46 33 26 100 100 100 100 97
SENet-50 bim 16 73 35 30 24 15 96 77 66 58 46 100 100 100 100 100
SENet-50 bim 32 88 51 43 31 26 99 84 76 69 64 100 100 100 100 100
SENet-50 bim 64 95 73 61 49 41 100 88 86 80 78 100 100 100 100 100
SENet-50 bim 128 99 86 81 70 62 100 97 93 89 83 100 100 100 100 100
"""


def _printed() -> dict[tuple[str, str], str]:
    """By `SOURCE METHOD EPSILON` and `TARGET TOP`; by `* METHOD EPSILON` and `own TOP` or `others TOP` the ranges."""
    found: dict[tuple[str, str], str] = {}
    several: dict[tuple[str, str], list[int]] = {}
    columns = [(target, top) for target in PAPERS.values() for top in TOPS]
    for source, method, epsilon, *rates in map(str.split, _TABLE.split("\n")[1:-1]):
        for (target, top), rate in zip(columns, rates, strict=True):
            found[f"{source} {method} {epsilon}", f"{target} {top}"] = rate
            kind = "own" if target == source else "others"
            several.setdefault((f"* {method} {epsilon}", f"{kind} {top}"), []).append(int(rate))
    return found | {key: " to ".join(map(str, sorted({min(rates), max(rates)}))) for key, rates in several.items()}


@dataclass(frozen=True, eq=False)
class Probes:
    """Photos to be cloaked: their rows in the material, whom they show, and the face that each of them is of."""

    rows: Int64[ndarray, " n"]
    classes: Int64[ndarray, " n"]
    photos: tuple[Photo, ...]
    faces: tuple[Face, ...]


def _measure(material: Material, settings: Settings) -> Found:
    """Each judge's protection success rates, and the quality of each stored face, of as many probes as there are."""
    probes, epsilon = _probes(material, int(settings["probes"])), float(settings.get("epsilon", 0))
    clear = [photo.pixels for photo in probes.photos]
    cloaked = clear
    if epsilon:
        heads = tuple(_head(material, probes, surrogate) for surrogate in material.surrogates)
        cloaked = _cloaked(probes, Deidentification(material.surrogates, str(settings["method"]), epsilon, heads))
    stored = [jpeg(pixels, JPEG) for pixels in cloaked]
    detector = Detector(material.recognizer.device)
    versions = zip(stored, clear, probes.faces, strict=True)
    seen = [find_again(detector, [pixels], own, [face])[0] for pixels, own, face in versions]
    found = np.array([sighting.found for sighting in seen])
    boxes = [inside(face, pixels) for face, pixels in zip(probes.faces, clear, strict=True)]
    pairs = [(own[box], pixels[box]) for own, pixels, box in zip(clear, stored, boxes, strict=True)]
    measures = {"SSIM": metrics.ssim, "PSNR": metrics.psnr, "largest change": metrics.largest_change}
    return {
        "probes": len(probes.rows),
        "people": int(material.faces.labels.max()) + 1,
        "found": float(found.mean()),
        "rates": {judge.name: _rates(material, probes, judge, seen, found) for judge in material.judges},
        "quality": {
            name: asdict(Summary.of(np.array([float(act(*pair)) for pair in pairs]))) for name, act in measures.items()
        },
    }


@lru_cache(1)
def _probes(material: Material, most: int) -> Probes:
    """A photo of each of so many people who have another one; raises `SettingError` where nobody has."""
    labels = material.faces.labels
    random = np.random.default_rng(material.seed)
    several = random.permutation(np.flatnonzero(np.bincount(labels[labels >= 0]) > 1))[:most]
    if not len(several):
        raise SettingError("nobody has 2 photos with a face; give a folder with more")
    rows = np.array([random.choice(np.flatnonzero(labels == who)) for who in several])
    photos = tuple(Photo.open(BytesIO(material.samples[row].read())) for row in rows)
    detector = Detector(material.recognizer.device)
    return Probes(rows, labels[rows], photos, tuple(_face(detector, photo) for photo in photos))


def _face(detector: Detector, photo: Photo) -> Face:
    """Whom the photo is of; where no face is found it is one that was aligned, as in a pack."""
    found = detector([photo.pixels])[0] or whole([photo.pixels])[0]
    return subject(found, photo.width, photo.height)


@lru_cache(16)
def _head(material: Material, probes: Probes, recognizer: Recognizer) -> Softmax:
    """A recognizer's classifier of all people, trained on all photos but the probes."""
    others = np.setdiff1d(np.flatnonzero(material.faces.labels >= 0), probes.rows)
    classes = torch.from_numpy(material.faces.labels[others])
    device = recognizer.device
    return Softmax.train(material.clear_to(recognizer)[others].to(device), classes.to(device))


def _cloaked(probes: Probes, method: Deidentification) -> list[Pixels]:
    """The photos with their faces cloaked, away from the people's classes or toward the least likely ones."""
    cloaked = []
    for start in range(0, len(probes.photos), method.batch):
        some = slice(start, start + method.batch)
        photos, faces = probes.photos[some], probes.faces[some]
        regions = [
            Region.around(face.points, photo.pixels, photo.gray) for face, photo in zip(faces, photos, strict=True)
        ]
        scene = Scene.of(regions, method.guides)
        images = method.cloak(scene, torch.from_numpy(probes.classes[some]).to(scene.images.device)).cpu()
        for photo, region, image in zip(photos, regions, images, strict=True):
            pixels = photo.pixels.copy()
            region.paste(image - region.images[0], pixels, photo.pixels)
            cloaked.append(pixels)
    return cloaked


def _rates(
    material: Material, probes: Probes, judge: Recognizer, seen: Sequence[Sighting], found: Bool[ndarray, " n"]
) -> Found:
    scores = _head(material, probes, judge)(embed(judge, seen).to(judge.device))
    rates = protection_success_rate(scores, probes.classes, found)
    return {str(top): rate for top, rate in rates.items()}


def _table(cells: Sequence[Cell]) -> Table:
    columns = (
        "data",
        "source",
        "method",
        "epsilon",
        "target",
        *(f"Top-{top} (paper)" for top in TOPS),
        "found",
        "SSIM",
    )
    return Table(columns, tuple(_row(cell, target) for cell in cells for target in cell.found["rates"]))


def _row(cell: Cell, target: str) -> tuple[str, ...]:
    method, epsilon = str(cell.settings["method"]), str(cell.settings.get("epsilon", ""))
    rates = cell.found["rates"][target]
    shown = [
        f"{100 * rates[str(top)]:.0f}{_paper(cell, target, top)}" if top < cell.found["people"] else "" for top in TOPS
    ]
    found, ssim = f"{100 * cell.found['found']:.0f}", number(cell.found["quality"]["SSIM"]["quartiles"][1])
    return cell.data, cell.recognizer, method, epsilon, target, *shown, found, ssim


def _paper(cell: Cell, target: str, top: int) -> str:
    """What the paper has for these networks; else the range of what it has for the same, or for different, networks."""
    what = f"{cell.settings['method']} {cell.settings.get('epsilon')}"
    source, other = PAPERS.get(cell.recognizer, ""), PAPERS.get(target, "")
    own = target in cell.recognizer.split("+")
    if not (source and other):
        source, other = "*", "own" if own else "others"
    text = GHAFOURIAN.printed.get((f"{source} {what}", f"{other} {top}"), "")
    return f" ({text})" if text else ""


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    figures = {}
    least = min(cell.found["quality"]["SSIM"]["least"] for cell in cells)
    for where, group in groups(cells).items():
        methods = [method for method in METHODS if _of(group, method)]
        curves = {
            f"{method.upper()}, Top-{top}": {
                _judge(group[0], target): _curve(group, method, target, top) for target in group[0].found["rates"]
            }
            for method in methods
            for top in SHOWN
            if top < group[0].found["people"]
        }
        what = f"the share of {group[0].found['probes']} photos whose person is not among the best 1, 5 or 25"
        figures[f"Fig. 3 to 5: protection success rate, {what}, by the budget; cloaks against {where}"] = (
            plots.lines_in_panels(
                curves, "epsilon (8-bit levels; 0: clear)", "protection success rate", top=1.0, ticks=_epsilons(group)
            )
        )
        figure, panels = plots.panels(len(methods), width=4.5)
        for axes, method in zip(panels, methods, strict=True):
            summaries = {str(cell.settings["epsilon"]): cell.found["quality"]["SSIM"] for cell in _of(group, method)}
            plots.boxes(axes, summaries)
            axes.set(title=method.upper(), xlabel="epsilon (8-bit levels)", ylabel="SSIM of the face")
            axes.set_ylim(least - 0.05 * (1 - least), 1)
        figures[f"SSIM of the faces in stored photos; {plots.BOXES}; cloaks against {where}"] = figure
    return figures


def _judge(cell: Cell, target: str) -> str:
    return f"{target} (attacked)" if target in cell.recognizer.split("+") else target


def _epsilons(cells: Sequence[Cell]) -> list[float]:
    return sorted({float(cell.settings.get("epsilon", 0)) for cell in cells})


def _of(cells: Sequence[Cell], method: str) -> list[Cell]:
    return [cell for cell in cells if cell.settings["method"] == method]


def _curve(cells: Sequence[Cell], method: str, target: str, top: int) -> plots.Points:
    """By epsilon, from the clear photos' on."""
    cells = [*_of(cells, CLEAR), *_of(cells, method)]
    return (
        [float(cell.settings.get("epsilon", 0)) for cell in cells],
        [float(cell.found["rates"][target][str(top)]) for cell in cells],
    )


def _settings(probes: int, epsilons: Sequence[int]) -> tuple[Settings, ...]:
    cloaks: list[Settings] = [
        {"method": method, "epsilon": epsilon, "probes": probes} for method in METHODS for epsilon in epsilons
    ]
    return {"method": CLEAR, "probes": probes}, *cloaks


_AT_HAND = ("facenet", "mobilenetv1-vggface2", "dlib", "mobilefacenet-foamliu")
GHAFOURIAN = Experiment(
    name="ghafourian",
    title="Protection success rates of BIM and ILLC, in percent (Table 1, Fig. 3, 4, 5)",
    paper=("Ghafourian et al., 2023: Toward Face Biometric De-identification using Adversarial Examples"),
    original=(
        "VGGFace2 (8,631 people), 'N random subjects' of it, 100 by our reading; FaceNet at 160 x 160 pixels, "
        "ResNet-50 and SENet-50 at 224 x 224, all trained on VGGFace2"
    ),
    printed=_printed(),
    notes=(
        "In brackets the paper's: of the same architectures, else the range of what it prints for a network against "
        "itself, or against another; its 2.0 for Top-25 (SENet-50 to FaceNet, ILLC, epsilon 32) is below its own "
        "Top-50. The classifiers are heads on the recognizers' embeddings, trained on the people's other photos, and "
        "know the people of the data set, the paper's likely VGGFace2's 8,631: of fewer a person is more easily among "
        f"the best 5 to 50, which lowers those rates. Photos are stored as JPEG {JPEG}, clear ones too. `found` is the "
        "percentage of them in which MTCNN still finds the face, SSIM the median of the stored faces."
    ),
    findings=(
        "As in the paper, BIM carries over better than ILLC, and both more with epsilon; clear photos are missed in "
        "part, most by dlib, as heads that learned from a few photos of each person are weak."
    ),
    recognizers=_AT_HAND,
    full=Plan(Crowd(PROBES, PEOPLE - PROBES), _settings(PROBES, EPSILONS[:4])),
    quick=Plan(Crowd(8, 20), _settings(6, (8,))),
    measure=_measure,
    table=_table,
    figures=_figures,
    judges=_AT_HAND,
)
