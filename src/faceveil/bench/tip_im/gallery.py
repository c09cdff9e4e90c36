"""TIP-IM's measurement: cloaked probes are looked for in a gallery of photos that no cloak was made with (5.1)."""

from dataclasses import asdict
from typing import Any

import numpy as np

from faceveil.bench.base import Found, Settings
from faceveil.bench.material import Material
from faceveil.errors import SettingError
from faceveil.methods.tip_im import VARIANTS, TipIm
from faceveil.protocols.quality import Summary, quality
from faceveil.protocols.rank import Parts, arrange, ranks

CLEAR = "clear"
METHODS: dict[str, dict[str, Any]] = {
    "MIM": VARIANTS["mim"],
    "DIM": VARIANTS["dim"],
    "MT-DIM": VARIANTS["mt-dim"],
    "MT-DIM, drawn": {"search": "drawn"},  # another reading of the paper: the target of each step is drawn by lot
    "Center-Opt": VARIANTS["center-opt"],
    "TIP-IM": {},
}
PROBES, TARGETS, PEOPLE = 100, 10, 1010  # the paper has 500 probes, and 1,010 people in all


def measure(material: Material, settings: Settings) -> Found:
    """Rank-N-T and Rank-N-UT by each judge, and each cloaked image's quality, of as many probes as there are."""
    parts = _parts(material, int(settings["probes"]), int(settings["targets"]))
    labels, clear = material.faces.labels, material.faces[parts.probes]
    cloaked = clear
    if settings["method"] != CLEAR:
        targets = tuple(material.clear_to(each)[parts.targets].to(each.device) for each in material.surrogates)
        guides = tuple(each.surrogate() for each in material.surrogates)
        how = METHODS[str(settings["method"])] | {"gamma": float(settings["gamma"]), "seed": material.seed}
        cloaked = material.cloak(TipIm(guides, targets, **how).aligned, parts.probes)
    told = set(labels[parts.targets].tolist())
    found = {}
    for judge in material.judges:
        seen, gallery = material.cloaked_to(judge, cloaked, parts.probes), material.clear_to(judge)[parts.gallery]
        every = ranks(seen, labels[parts.probes], gallery, labels[parts.gallery], told)
        found[judge.name] = {name: share for n, each in every.items() for name, share in _named(n, asdict(each))}
    how_good = quality(clear, cloaked)
    measures = {"ssim": how_good.ssim, "psnr": how_good.psnr, "mmd": how_good.mmd}
    return {
        "probes": len(parts.probes),
        "gallery": len(parts.gallery),
        "judges": found,
        "quality": {name: asdict(Summary.of(values)) for name, values in measures.items()}
        if settings["method"] != CLEAR
        else {},
    }


def _named(n: int, rank: dict[str, float]) -> list[tuple[str, float]]:
    return [(f"R{n}-T", rank["targeted"]), (f"R{n}-UT", rank["untargeted"])]


def _parts(material: Material, probes: int, targets: int) -> Parts:
    """Who plays which part; raises `SettingError` where only as many people have two photos as there are targets."""
    labels = material.faces.labels
    counts = np.bincount(labels[labels >= 0])
    several = np.random.default_rng(material.seed).permutation(np.flatnonzero(counts > 1))
    if len(several) <= targets:
        raise SettingError(f"{len(several)} people have 2 photos with a face, and {targets} are targets; give more")
    chosen, protected = several[:targets], several[targets : targets + probes]
    others = np.setdiff1d(np.flatnonzero(counts), [*chosen, *protected])
    return arrange(labels, protected.tolist(), chosen.tolist(), others.tolist(), material.seed)
