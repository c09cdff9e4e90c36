"""APF's stages on more pairs than `faceveil bench apf-tables` takes: does the cloud help, and by how many pairs?

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/apf_stages.py m-di2 out/apf-stages \
        --pins ../shared/data/pins --data ../shared/data/lfw ../shared/data/cfp [--pairs 400] [--photos 25] [--steps 30]

The same clouds, learned the same way, from as many photos or more. A row: the pairs that each stage hides from the
server; then how many pairs a stage wins and loses beside the one before, with the probability of a difference as large
by chance (a sign test).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.stats import binomtest

from faceveil import bench, datasets, recognizers
from faceveil.bench.apf import PROBE
from faceveil.bench.apf.stages import Genuine, Stages, noise
from faceveil.bench.apf.tables import ATTACKS, PLAIN, SCHOOL, STAGED, TABLES
from faceveil.objectives.feature import distance

SERVER = "facenet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pins", type=Path, required=True, help="who is learned from")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pairs", type=int, default=400, help="of each data set; 0 for all")
    parser.add_argument("--photos", type=int, default=SCHOOL.photos, help="how many of each person are learned from")
    parser.add_argument("--probe", default=PROBE, help="the device's recognizer")
    parser.add_argument("--steps", type=int, default=STAGED["steps"], help="of the attack; the paper's are 30")
    arguments = parser.parse_args()
    plan = replace(
        TABLES.full,
        choose=Genuine(arguments.pairs),
        settings=({**STAGED, "attack": arguments.attack, "steps": arguments.steps},),
        training=replace(SCHOOL, photos=arguments.photos),
    )
    data = {path.name: datasets.open(path) for path in (arguments.pins, *arguments.data)}
    nets = tuple(map(recognizers.load, (arguments.probe, SERVER)))
    finished = bench.run(
        replace(TABLES, name="apf-stages", full=plan, measure=measure), data, [nets], arguments.out, track=track
    )
    for cell in finished.cells:
        if cell.data != arguments.pins.name:
            print(row(cell.data, arguments.attack, {stage: np.array(own) for stage, own in cell.found.items()}))


def measure(material, settings):
    """The pairs that the server matches, before and at each stage."""
    stages, same = Stages(material, settings), material.pairs.same
    enrolled, rows = material.pairs.first[same], material.pairs.second[same]
    gradient = stages.gradient((stages.probe,), rows, enrolled)
    added = {"g": gradient, "g^": noise(stages.transferred(), gradient)}
    for enhanced, stage in ((False, PLAIN), (True, "s")):
        added[stage] = noise(stages.clouds(enhanced)[-1], gradient)
    added["accessible"] = stages.gradient(stages.servers, rows, enrolled)
    server = material.judges[-1]
    clear = material.clear_to(server)

    def matched(embeddings):
        return (distance(embeddings, clear[enrolled]) < server.threshold).tolist()

    hidden = {
        stage: matched(material.cloaked_to(server, stages.add(some, rows), rows)) for stage, some in added.items()
    }
    return {"clear": matched(clear[rows]), **hidden}


def row(data, attack, matched):
    """One line of text."""
    shares = {
        stage: 100 * (matched["clear"].mean() - some.mean()) for stage, some in matched.items() if stage != "clear"
    }
    told = [
        f"{data}, {attack}, {len(matched['clear'])} pairs:",
        *(f"{stage} {share:.1f}," for stage, share in shares.items()),
    ]
    for before, after in (("g", "g^"), ("g^", "s"), (PLAIN, "s"), ("s", "accessible")):
        won, lost = ((matched[one] & ~matched[other]).sum() for one, other in ((before, after), (after, before)))
        chance = binomtest(int(won), int(won + lost)).pvalue if won + lost else 1.0
        told.append(f"{before} -> {after} +{won} -{lost} (p = {chance:.2g});")
    return " ".join(told)


if __name__ == "__main__":
    main()
