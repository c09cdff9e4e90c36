"""The README's table of recognizers: accuracy (from the cards), speed, and the difference from independent programs.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/recognizers.py ../shared/zoo/expected

The accuracies are measured by `faceveil calibrate`. Independent outputs: compiled dlib for dlib; for the others the
embeddings that lie in the folder, made by other programs.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from compiled_dlib import RECOGNIZER

from faceveil import recognizers
from faceveil.protocols import calibration
from faceveil.recognizers import card as cards

HEAD = (
    "recognizer",
    "LFW accuracy",
    "AUC",
    "forward, ms",
    "forward + backward, ms",
    "as guide, ms",
    "cosine to others",
)


def independent(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, h, w, 3] and another program's embeddings of them."""
    if name != "dlib":
        expected = np.load(folder / f"{name}.npz")
        return expected["images"], expected["embeddings"]
    chips = np.ascontiguousarray(np.load(folder / "facenet.npz")["images"][:, 5:155, 5:155])
    return chips, np.array([RECOGNIZER.compute_face_descriptor(chip) for chip in chips])


def row(name: str, folder: Path) -> list[str]:
    recognizer = recognizers.load(name)
    measured = recognizer.card.measured
    images, expected = independent(name, folder)
    with torch.no_grad():
        found = recognizer.features(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    cosine = torch.cosine_similarity(found.double(), torch.from_numpy(expected).double()).min()
    speeds = [calibration.speed(recognizer, batch) for batch in (1, 16)]
    guide = calibration.speed(recognizer.surrogate(), 16)
    return [
        f"`{name}`",
        f"{100 * measured['accuracy']:.2f} ± {100 * measured['accuracy_std']:.2f} %",
        f"{measured['auc']:.4f}",
        " / ".join(f"{speed.forward:.1f}" for speed in speeds),
        " / ".join(f"{speed.both:.1f}" for speed in speeds),
        f"{guide.both:.1f}",
        f"1 - {1 - float(cosine):.0e}",
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name in recognizers.names():
        if cards.read(name).measured:
            print(f"| {' | '.join(row(name, Path(sys.argv[1])))} |", flush=True)
