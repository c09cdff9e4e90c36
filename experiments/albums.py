"""Do a person's cloaked photos match each other? Each cloaked on its own, all in one run, and one after another.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/albums.py ../shared/data/lfw --people 50 --photos 2

So many photos each of some people are cloaked against all architectures but one, and against dlib alone; those that
were left out judge the files after JPEG 75. "beside" is a run of `protect` for each photo, in a folder that holds the
person's earlier ones. A row: the pairs (cloaked, another clear photo) and the pairs of two
cloaked photos of a person that do not match, the pairs of two people's cloaked photos that do, and how visible it is.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from faceveil import datasets, recognizers
from faceveil.batch import protect_files
from faceveil.bench import held_out
from faceveil.bench.held_out import ALL, FALSE_MATCHES, ZOO, besides
from faceveil.bench.material import People
from faceveil.datasets.preparation import subject
from faceveil.faces.detect import Detector
from faceveil.jobs import plan
from faceveil.methods.album import Album
from faceveil.methods.veil import Veil
from faceveil.proof import embed
from faceveil.protection import Protector

RUNS = ("apart", "together", "beside")
GROUPS = (*(besides(*members) for members in ZOO.values()), "dlib")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--photos", type=int, default=2, help="of each")
    parser.add_argument("--against", nargs="+", default=GROUPS, help='"dlib", "dlib+facenet" ...')
    parser.add_argument("--quality", type=float, default=Veil.quality)
    parser.add_argument("--away", type=float, default=Veil.away)
    parser.add_argument("--apart", type=float, default=Veil.apart)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = sorted(People(arguments.people, arguments.photos)(datasets.open(arguments.data), 0), key=lambda s: s.name)
    who = np.unique([sample.identity for sample in samples], return_inverse=True)[1]
    own = (who[:, None] == who) & ~np.eye(len(who), dtype=bool)
    detector = Detector()
    print("| against | judge | run | pairs | two cloaked | others' match | SSIMULACRA2 | s a face |")
    print("|---|---|---|---|---|---|---|---|")
    for group in arguments.against:
        surrogates = tuple(map(recognizers.load, group.split("+")))
        veil = Veil(surrogates, arguments.quality, away=arguments.away, apart=arguments.apart)
        for run in arguments.runs:
            start = time.perf_counter()
            if run == "beside":
                seen = beside(samples, who, group.split("+"), vars(arguments))
            else:
                seen = held_out.share(samples, detector, veil, Album() if run == "together" else None)
            seconds = (time.perf_counter() - start) / len(seen)
            visible = held_out.quality(seen)["SSIMULACRA2"]["mean"]
            clear, cloaked = (held_out.sightings(detector, seen, ("JPEG 75",), cloaked=each) for each in (False, True))
            for name in ALL:
                if name in group.split("+"):
                    continue
                judge = recognizers.load(name)
                before, after = embed(judge, clear), embed(judge, cloaked)
                threshold = judge.card.thresholds[FALSE_MATCHES]
                missed, apart = ((torch.cdist(after, each) >= threshold).numpy() for each in (before, after))
                shares = missed[own].mean(), apart[own].mean()
                others = 1 - apart[who[:, None] != who].mean()
                told = f"{shares[0]:.0%} | {shares[1]:.0%} | {others:.1%} | {visible:.1f} | {seconds:.1f}"
                print(f"| {held_out.named(group)} | {name} | {run} | {told} |", flush=True)


def beside(samples, who, names, arguments):
    """The photos as they were and as `protect` shares them, each in a run of its own beside the person's others."""
    own = {name: arguments[name] for name in ("quality", "away", "apart")}
    protector = Protector(surrogates=names, judges=names[:1], settings=own)
    seen = []
    with TemporaryDirectory() as folder:
        for sample, person in zip(samples, who, strict=True):
            photo = Path(folder, str(person), Path(sample.name).name)
            photo.parent.mkdir(exist_ok=True)
            photo.write_bytes(sample.read())
            (outcome,) = protect_files(protector, plan([photo]))
            face = subject(protector.find(outcome.clear), outcome.clear.width, outcome.clear.height)
            seen.append(held_out.Seen(outcome.clear.pixels, face, outcome.shared.pixels))
    return seen


if __name__ == "__main__":
    main()
