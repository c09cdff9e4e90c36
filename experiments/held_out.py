"""What recognizers that a cloak was not made against say of the files that experiments/veil.py left.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/held_out.py ../shared/data/lfw out/veil/epsilon-8

For each recognizer on this machine: the share of pairs (photo, another clear photo of the person) that it does not
match at its own threshold for FAR 1e-3, the photo clear and cloaked, both after JPEG 75.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from compiled_dlib import open_rgb

from faceveil import recognizers
from faceveil.faces.detect import Detector
from faceveil.photo import jpeg
from faceveil.proof import Sighting, embed, landmarks_of
from faceveil.recognizers import card as cards
from faceveil.recognizers import store


def main(lfw: Path, out: Path) -> None:
    detector = Detector()

    def central(pixels: np.ndarray) -> Sighting:
        """The face nearest to the photo's center."""
        middle = np.array(pixels.shape[1::-1]) / 2
        face = min(detector([pixels])[0], key=lambda face: np.hypot(*(np.add(face.box[:2], face.box[2:]) / 2 - middle)))
        return Sighting(pixels, landmarks_of(face), True)

    pairs = [line.split("\t") for line in Path(__file__).with_name("people.tsv").read_text().splitlines()]
    known = [central(open_rgb(lfw / other)) for _, other in pairs]
    clear = [central(jpeg(open_rgb(lfw / own), 75)) for own, _ in pairs]
    cloaked = [central(jpeg(open_rgb(out / Path(own).name), 75)) for own, _ in pairs]
    print("| recognizer | not matched, clear | not matched, cloaked |\n|---|---|---|")
    for name in recognizers.names():
        if not store.installed(cards.read(name)):
            continue
        recognizer = recognizers.load(name)
        threshold = recognizer.card.thresholds["far_1e-3"]
        others = embed(recognizer, known)
        missed = [
            float((torch.linalg.vector_norm(embed(recognizer, faces) - others, dim=1) >= threshold).float().mean())
            for faces in (clear, cloaked)
        ]
        print(f"| `{name}` | {100 * missed[0]:.0f} % | {100 * missed[1]:.0f} % |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
