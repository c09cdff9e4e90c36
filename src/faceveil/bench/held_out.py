"""Does a cloak work against a recognizer that it was not made against? (Ours.)

Whole photos are cloaked as `protect` does it, against all recognizers but one, or but one architecture; those that were
left out judge the file's bytes after what a website does, beside the person's other photos as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Bool, Int64
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image

from faceveil import metrics
from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import m_di2
from faceveil.bench import plots
from faceveil.bench.base import OURS, Cell, Experiment, Found, Plan, Settings, Table, number
from faceveil.bench.material import Material, Part, People
from faceveil.datasets import Dataset, Sample
from faceveil.datasets.preparation import subject
from faceveil.errors import SettingError
from faceveil.faces.detect import Detector, Face
from faceveil.methods import Method, build
from faceveil.methods.album import Album
from faceveil.methods.scene import Scene
from faceveil.methods.veil import STRENGTHS
from faceveil.objectives.feature import Dodging, distance
from faceveil.photo import Photo
from faceveil.proof import Sighting, embed, find_again
from faceveil.protection import cloak
from faceveil.protocols.quality import Summary
from faceveil.protocols.rank import nearest
from faceveil.protocols.robustness import treatment
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, Pixels

ZOO: Mapping[str, tuple[str, ...]] = {  # the recognizers of each architecture whose weights can be had at once
    "dlib": ("dlib",),
    "facenet": ("facenet",),
    "mobilefacenet": ("mobilefacenet-espdl", "mobilefacenet-foamliu", "mobilefacenet-xiaoccer", "mobilefacenet-y1"),
    "mobilenetv1": ("mobilenetv1-vggface2",),
}
ALL = tuple(name for names in ZOO.values() for name in names)
TREATMENTS = {"JPEG 75": ("JPEG 75",), "3/4 of the size, JPEG 75": ("size 0.75", "JPEG 75")}
FALSE_MATCHES = "far_1e-3"
MARGIN = 0.25  # of a face's width: what is looked at around it
TOGETHER = 8  # photos
TWICE = 50  # people of whom two photos are cloaked


def besides(*left_out: str) -> str:
    """All recognizers but these, attacked together."""
    return "+".join(name for name in ALL if name not in left_out)


@dataclass(frozen=True)
class MDi2(Method):
    """M-DI2-FGSM away from the person: a peer.

    Its steps, their size and the decay are APF's (Zhang et al., 2020, section 4.1); each step sees faces through DI's
    `Padding`, where APF has three transformations, each half of the time (see docs/veil.md).
    """

    surrogates: tuple[Recognizer, ...]
    epsilon: float = 8.0
    batch: int = 16
    seed: int = 0

    def cloak(self, scene: Scene) -> Images:
        sources = scene.embed()
        objective = scene.mean(lambda i, guide: Dodging(guide, sources[i]))
        return m_di2(Linf(self.epsilon, scene.share), seed=self.seed)(scene.images, objective)


def method(surrogates: tuple[Recognizer, ...], settings: Settings, seed: int) -> Method:
    """The method of a cell: veil at a strength or a quality, or a published one at an epsilon."""
    name = str(settings["method"])
    if name == "m-di2":
        return MDi2(surrogates, float(settings["epsilon"]), seed=seed)
    own: dict[str, object] = {key: settings[key] for key in ("epsilon", "quality") if key in settings}
    if "strength" in settings:
        own["quality"] = STRENGTHS[str(settings["strength"])]
    return build(name, surrogates, {**own, "seed": seed})


@dataclass(frozen=True)
class Seen:
    """A photo of somebody, the subject's face in it, and its cloaked file, read again."""

    clear: Pixels
    face: Face
    shared: Pixels


def _measure(material: Material, settings: Settings) -> Found:
    first, second = _probes(material, int(settings["probes"]))
    detector = Detector(material.recognizer.device)
    cloaker = method(material.surrogates, settings, material.seed)
    album = Album()
    start = perf_counter()
    seen = share([material.samples[i] for i in first], detector, cloaker, album)
    seconds = (perf_counter() - start) / len(first)
    judged = {name: _judged(material, first, seen, detector, steps) for name, steps in TREATMENTS.items()}
    for run, known in {"twice": None, "together": album}.items():
        others = share([material.samples[i] for i in second[:TWICE]], detector, cloaker, known)
        for name, steps in TREATMENTS.items():
            again = sightings(detector, seen[:TWICE], steps), sightings(detector, others, steps)
            for judge in _jury(material):
                apart = distance(*(embed(judge, some) for some in again)) >= judge.card.thresholds[FALSE_MATCHES]
                judged[name][judge.name][run] = float(apart.float().mean())
    return {
        "probes": [material.faces.names[i] for i in first],
        "seconds": seconds,
        "quality": quality(seen),
        "judged": judged,
    }


def _jury(material: Material) -> list[Recognizer]:
    """The judges but those kin to an attacked one, of whom none was held out."""
    attacked = {net.card.kin: net.name for net in material.surrogates}
    return [judge for judge in material.judges if attacked.get(judge.card.kin, judge.name) == judge.name]


def share(samples: Sequence[Sample], detector: Detector, cloaker: Method, album: Album | None = None) -> list[Seen]:
    """Photos as they were and as they would be shared: found, cloaked, encoded and read again."""
    seen: list[Seen] = []
    for start in range(0, len(samples), TOGETHER):
        clear = [Photo.open(BytesIO(sample.read())) for sample in samples[start : start + TOGETHER]]
        faces = [subject(detector([photo.pixels])[0], photo.width, photo.height) for photo in clear]
        cloaked = cloak(cloaker, clear, [[face] for face in faces], album)
        for photo, face, shared in zip(clear, faces, cloaked, strict=True):
            seen.append(Seen(photo.pixels, face, Photo.open(BytesIO(shared.encode())).pixels))
    return seen


def _probes(material: Material, most: int) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
    """Two photos each of so many people, drawn by chance; of all who have two where there are fewer."""
    labels = material.faces.labels
    people, counts = np.unique(labels[labels >= 0], return_counts=True)
    drawn = np.random.default_rng(material.seed).permutation(people[counts > 1])[:most]
    if not len(drawn):
        raise SettingError("nobody has two photos; give a data set with several of each person")
    first, second = np.array([np.flatnonzero(labels == person)[:2] for person in np.sort(drawn)]).T
    return first, second


def sightings(
    detector: Detector, seen: Sequence[Seen], steps: Sequence[str], *, cloaked: bool = True
) -> list[Sighting]:
    """The faces found again in the files, or in the photos as they were, after what a website does."""
    found = []
    for each in seen:
        pixels = each.shared if cloaked else each.clear
        for step in steps:
            pixels = treatment(step)(pixels)
        found += find_again(detector, [pixels], each.clear, [each.face])
    return found


def _judged(
    material: Material, probes: Int64[ndarray, " n"], seen: Sequence[Seen], detector: Detector, steps: Sequence[str]
) -> dict[str, Found]:
    """What each judge says of the photos as they were and cloaked, both treated."""
    before, after = (sightings(detector, seen, steps, cloaked=cloaked) for cloaked in (False, True))
    others = np.setdiff1d(np.arange(len(material.faces)), probes)
    judged: dict[str, Found] = {}
    for judge in _jury(material):
        clear, cloaked = embed(judge, before), embed(judge, after)
        said = distance(cloaked, material.clear_to(judge)[probes]) >= judge.threshold  # what a user is told
        judged[judge.name] = {
            "clear": _missed(material, judge, probes, others, clear),
            "cloaked": _missed(material, judge, probes, others, cloaked),
            "said": said.tolist(),
        }
    return judged


def _missed(
    material: Material, judge: Recognizer, probes: Int64[ndarray, " n"], others: Int64[ndarray, " m"], seen: Embeddings
) -> Found:
    """By photo, the pairs with the person's others that do not match; and how often the nearest is not theirs."""
    known, labels = material.clear_to(judge)[others], material.faces.labels[others]
    apart = (torch.cdist(seen, known) >= judge.card.thresholds[FALSE_MATCHES]).numpy()
    own = labels == material.faces.labels[probes][:, None]
    top = labels[nearest(seen, known, 1).rows[:, 0]]
    return {
        "missed": (apart & own).sum(1).tolist(),
        "pairs": own.sum(1).tolist(),
        "rank": float((top != material.faces.labels[probes]).mean()),
    }


def quality(seen: Sequence[Seen]) -> Found:
    """How visible the cloaks are on the files, on each face and a margin around it."""
    pairs = [(each.clear[place], each.shared[place]) for each in seen for place in [_around(each.face, each.clear)]]
    measures: dict[str, Callable[[Pixels, Pixels], float]] = {
        "SSIMULACRA2": ssimulacra2,
        "SSIM": metrics.ssim,
        "PSNR": metrics.psnr,
        "largest change": metrics.largest_change,
    }
    return {name: asdict(Summary.of(np.array([float(act(*pair)) for pair in pairs]))) for name, act in measures.items()}


def _around(face: Face, pixels: Pixels) -> tuple[slice, slice]:
    left, top, right, bottom = face.box
    more = MARGIN * (right - left)
    rows = slice(int(max(top - more, 0)), int(min(bottom + more, pixels.shape[0])))
    return rows, slice(int(max(left - more, 0)), int(min(right + more, pixels.shape[1])))


def ssimulacra2(pixels: Pixels, others: Pixels) -> float:
    """SSIMULACRA2 of the package of that name: 100 is identical, 90 visually lossless.

    Raises `SettingError` where it is not installed.
    """
    try:
        from ssimulacra2 import compute_ssimulacra2
    except ImportError:
        raise SettingError(
            'ssimulacra2 is not installed; run in a clone of faceveil: pip install ".[ssimulacra2]"'
        ) from None
    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("clear.png", "cloaked.png")]
        for path, picture in zip(paths, (pixels, others), strict=True):
            Image.fromarray(np.ascontiguousarray(picture)).save(path)
        return float(compute_ssimulacra2(*paths))


def _shares(judged: Found) -> tuple[float, float]:
    """The shares of pairs, and of photos, that are not matched."""
    missed, pairs = np.array(judged["missed"]), np.array(judged["pairs"])
    return float(missed.sum() / pairs.sum()), float((missed == pairs).mean())


def _table(cells: Sequence[Cell]) -> Table:
    columns = (
        *("data", "cloak", "people", "against", "judge", "pairs not matched, clear", "cloaked", "after a resize"),
        *("photos", "Rank-1-UT", "two cloaked ones", "of one run", "called safe", "and safe from others"),
        *("SSIMULACRA2", "SSIM", "PSNR", "largest change", "s a face"),
    )
    return Table(columns, tuple(row for cell in cells for row in _rows(cell)))


def _rows(cell: Cell) -> list[tuple[str, ...]]:
    """A row for each judge that the cloaks were not made against, and one of their means."""
    seen = [number(cell.found["quality"][name]["mean"], digits) for name, digits in _DIGITS.items()]
    shares = {name: _row(cell, name) for name in _strangers(cell)}
    if len(shares) > 1:
        shares["mean"] = tuple(_mean(column) for column in zip(*shares.values(), strict=True))
    return [
        (
            *(cell.data, _cloak(cell), str(len(cell.found["probes"])), against(cell), name),
            *("" if np.isnan(share) else f"{100 * share:.0f} %" for share in own),
            *seen,
            f"{cell.found['seconds']:.1f}",
        )
        for name, own in shares.items()
    ]


_DIGITS = {"SSIMULACRA2": 1, "SSIM": 3, "PSNR": 1, "largest change": 0}


def _row(cell: Cell, judge: str) -> tuple[float, ...]:
    """A judge's shares, in the table's order; not a number where there is no other judge."""
    plain, resized = (cell.found["judged"][name][judge] for name in TREATMENTS)
    pairs, photos = _shares(plain["cloaked"])
    called = np.array(plain["said"])
    safe = [_safe(cell, name)[called].mean() for name in _strangers(cell) if name != judge and called.any()]
    return (
        *(_shares(plain["clear"])[0], pairs, _shares(resized["cloaked"])[0], photos, plain["cloaked"]["rank"]),
        *(
            plain["twice"],
            plain.get("together", np.nan),
            float(called.mean()),
            float(np.mean(safe)) if safe else np.nan,
        ),
    )


def _mean(shares: Sequence[float]) -> float:
    """The mean of those that are numbers."""
    known = [share for share in shares if not np.isnan(share)]
    return float(np.mean(known)) if known else np.nan


def _safe(cell: Cell, judge: str) -> Bool[ndarray, " n"]:
    """The photos that a judge matches with no other."""
    found = cell.found["judged"]["JPEG 75"][judge]["cloaked"]
    safe: Bool[ndarray, " n"] = np.equal(found["missed"], found["pairs"])
    return safe


def _strangers(cell: Cell) -> list[str]:
    """The judges that the cloaks were not made against, all where there is none."""
    judges = list(cell.found["judged"]["JPEG 75"])
    return [name for name in judges if name not in cell.recognizer.split("+")] or judges


def _cloak(cell: Cell) -> str:
    return " ".join(str(value) for key, value in cell.settings.items() if key != "probes")


def against(cell: Cell) -> str:
    """The recognizers that cloaks were made against, in few words."""
    return named(cell.recognizer)


def named(group: str) -> str:
    """Recognizers with `+` between, in few words."""
    names = group.split("+")
    left = [name for name in ALL if name not in names]
    for architecture, members in ZOO.items():
        if set(left) == set(members):
            return f"all but {architecture}" if len(members) > 1 else f"all but {left[0]}"
    return f"all but {left[0]}" if len(left) == 1 else " + ".join(names)


def _figures(cells: Sequence[Cell]) -> dict[str, Figure]:
    """By judge, what each group of recognizers is worth to make cloaks against."""
    figures = {}
    for how, data in dict.fromkeys((_cloak(cell), cell.data) for cell in cells):
        own = [cell for cell in cells if (_cloak(cell), cell.data) == (how, data)]
        judges = list(own[0].found["judged"]["JPEG 75"])
        shares: dict[str, dict[str, float]] = {"clear photos": {}}
        for cell in sorted(own, key=lambda cell: -len(cell.recognizer.split("+"))):
            for judge in _strangers(cell):
                clear, shares.setdefault(_group(cell, judge), {})[judge], *_ = _row(cell, judge)
                shares["clear photos"][judge] = clear
        judges = [judge for judge in judges if judge in shares["clear photos"]]
        bars = {name: [found.get(judge, np.nan) for judge in judges] for name, found in shares.items()}
        caption = f"Pairs not matched after JPEG 75, in percent, by who judges and whom cloaks were made against; {how}"
        places = [judge.replace("-", "-\n") for judge in judges]
        figures[f"{caption}; {data}"] = plots.bars(places, bars, "judge", "pairs not matched")
    return figures


def _group(cell: Cell, judge: str) -> str:
    """Whom cloaks were made against, as a judge sees it."""
    group = against(cell)
    return "against all but the judge" if group == f"all but {judge}" else f"against {group}"


def _frontier(cells: Sequence[Cell]) -> dict[str, Figure]:
    """For each method, protection against visibility, from its weakest setting to its strongest."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for cell in cells:
        shares = [_row(cell, judge)[1] for judge in _strangers(cell)]
        point = cell.found["quality"]["SSIMULACRA2"]["mean"], 100 * float(np.mean(shares))
        line = lines.setdefault(f"{against(cell)}, {cell.data}", {}).setdefault(str(cell.settings["method"]), [])
        line.append(point)
    panels = {where: {name: _line(points) for name, points in own.items()} for where, own in lines.items()}
    caption = (
        "Protection against visibility, after JPEG 75, the mean of the judges; above each panel, whom cloaks were made "
        "against; they were not made against those who judge"
    )
    return {caption: plots.lines_in_panels(panels, "SSIMULACRA2 (100: identical)", "pairs not matched, %", top=100.0)}


def _line(points: Sequence[tuple[float, float]]) -> plots.Points:
    across, up = zip(*sorted(points), strict=True)
    return across, up


def _everybody(dataset: Dataset, seed: int) -> Part:
    """All photos: those that are not cloaked are the gallery."""
    if dataset.aligned:
        raise SettingError(f"{dataset.path} holds aligned faces; whole photos are cloaked here, those of LFW, say")
    return Part(dataset.path, tuple(dataset))


def at(probes: int, *cloaks: Settings) -> tuple[Settings, ...]:
    """Settings with so many people."""
    return tuple({**cloak, "probes": probes} for cloak in cloaks)


_PRESETS: tuple[Settings, ...] = tuple({"method": "veil", "strength": strength} for strength in STRENGTHS)
_PEERS: tuple[Settings, ...] = tuple(
    {"method": name, "epsilon": epsilon} for name in ("tip-im", "m-di2", "bim") for epsilon in (4.0, 8.0, 12.0)
)

HELD_OUT = Experiment(
    name="held-out",
    title="Cloaks judged by recognizers that they were not made against",
    paper=OURS,
    original="LFW, 200 people with several photos",
    printed={},
    notes=(
        "A pair is a cloaked photo and another clear photo of the person; it does not match where their distance is "
        "at least the judge's threshold for one false match in 1,000. Of photos, those count that match none of the "
        "person's others. Rank-1-UT: the nearest of all other photos shows somebody else. Two cloaked ones: pairs "
        "of two cloaked photos that do not match, if each was cloaked on its own, and if in one run, of 50 of the "
        "people or fewer. Called safe: not recognized beside the photo itself, at the recognizer's own threshold, as "
        "`protect` says it of a recognizer that was held out; and safe from others: of these, the share that matches "
        "no photo of the person in the other judges' eyes. Visibility is that of the written file, on the face and a "
        "quarter of its width around it."
    ),
    findings=(
        "Rows of one MobileFaceNet left out, of dlib left out, and of light and strong against dlib are older: from "
        "when a pixel could move by 32 levels, not 24, and all but dlib's from before all its channels moved alike. "
        "On the same 200 people that left 0 to 1 point of pairs fewer, and SSIMULACRA2 1.3 to 2.0 higher."
    ),
    recognizers=(*map(besides, ALL), besides(*ZOO["mobilefacenet"]), "dlib"),
    full=Plan(_everybody, at(200, *_PRESETS)),
    quick=Plan(People(6, 2, 2), at(6, _PRESETS[1])),
    measure=_measure,
    table=_table,
    figures=_figures,
    judges=ALL,
)

FRONTIER = Experiment(
    name="held-out-frontier",
    title="Protection against visibility, beside published methods",
    paper=OURS,
    original=HELD_OUT.original,
    printed={},
    notes=HELD_OUT.notes,
    recognizers=(besides("facenet"), besides(*ZOO["mobilefacenet"])),
    full=Plan(_everybody, at(200, *_PRESETS, *_PEERS)),
    quick=Plan(People(4, 2, 2), at(4, _PRESETS[1], _PEERS[4])),
    measure=_measure,
    table=_table,
    figures=_frontier,
    judges=ALL,
)
