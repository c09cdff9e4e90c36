"""One iteration of veil, everything in it, beside the bare float32 forward and backward pass of the same recognizer.

    OMP_WAIT_POLICY=passive python benchmarks/iteration.py --threads 1

Both run alternately in one process; medians, and the ratio's median over rounds.
"""

import argparse
import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from skimage.data import astronaut

from faceveil import recognizers
from faceveil.faces.detect import Detector
from faceveil.faces.region import Region
from faceveil.methods.veil import Veil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("two steps or more, to tell a step from what is done once")
    torch.set_num_threads(arguments.threads)
    recognizer = recognizers.load("dlib")
    photo = np.ascontiguousarray(astronaut())
    (face, *_) = Detector()([photo])[0]
    regions = [Region.around(face.points + i / 7, photo) for i in range(arguments.batch)]
    veil = Veil((recognizer,), steps=arguments.steps, batch=arguments.batch)
    recognizer.network.to(memory_format=torch.contiguous_format)  # as PyTorch lays it out by default
    images = torch.rand(arguments.batch, 3, *recognizer.size)

    def bare() -> None:
        moving = images
        for _ in range(arguments.steps):
            moving = moving.detach().requires_grad_()
            recognizer(moving).square().sum().backward()

    def cloak(steps: int) -> None:
        replace(veil, steps=steps)(regions)

    def seconds(work) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    bare(), cloak(1)
    rounds = []  # seconds of the bare loop, of veil's, and of all that is done once: the first step less another
    for _ in range(arguments.rounds):
        loop, first, whole = seconds(bare), seconds(lambda: cloak(1)), seconds(lambda: cloak(arguments.steps))
        step = (whole - first) / (arguments.steps - 1)
        rounds.append((loop, step * arguments.steps, first - step))
    scale = 1000 / arguments.steps
    title = f"{arguments.threads} threads, batch {arguments.batch}, medians of {arguments.rounds} rounds"
    print(f"{title}, milliseconds an iteration:")
    print(f"  bare float32 loop {scale * median(r[0] for r in rounds):.1f}")
    print(f"  veil              {scale * median(r[1] for r in rounds):.1f}")
    print(f"  ratio             {median(r[1] / r[0] for r in rounds):.2f}")
    print(f"once for a batch (masks, first embeddings): {1000 * median(r[2] for r in rounds):.0f} ms")


if __name__ == "__main__":
    main()
