"""Makes experiments/people.tsv: 100 people of LFW, the photo to cloak and another clear photo of each.

The first 100 people, by name, of whom compiled dlib finds a face in the first two photos and takes both for one person
(distance below 0.6): of whom a tracker would know.

    python experiments/people.py ../shared/data/lfw > experiments/people.tsv
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
from compiled_dlib import embed, open_rgb


def pairs(lfw: Path):
    for person in sorted((lfw / "photos").iterdir()):
        photos = sorted(person.glob("*.jpg"))[:2]
        if len(photos) == 2:
            embeddings = [embed(open_rgb(photo)) for photo in photos]
            if all(e is not None for e in embeddings) and np.linalg.norm(np.subtract(*embeddings)) < 0.6:
                yield [str(photo.relative_to(lfw)) for photo in photos]


if __name__ == "__main__":
    for pair in islice(pairs(Path(sys.argv[1])), 100):
        print(*pair, sep="\t")
