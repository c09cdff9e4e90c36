import os
import pickle
import struct

import numpy as np
import pytest
from synthetic import png

from faceveil import datasets
from faceveil.datasets import Pair
from faceveil.errors import SettingError

PHOTOS = [png(level) for level in range(1, 41)]
SAME = [number % 3 == 0 for number in range(20)]


def python2(photos: list[bytes], same: list[bool]) -> bytes:
    """What Python 2 writes for `(photos, same)` in its highest protocol, 2, in which the published packs are."""
    strings = b"".join(b"T" + struct.pack("<i", len(photo)) + photo for photo in photos)
    return b"\x80\x02](" + strings + b"e](" + b"".join(b"\x88" if each else b"\x89" for each in same) + b"e\x86."


@pytest.mark.parametrize(
    "data",
    [
        python2(PHOTOS, SAME),
        *(pickle.dumps((PHOTOS, SAME), protocol) for protocol in (3, 4, 5)),
        *(pickle.dumps(([np.frombuffer(photo, np.uint8) for photo in PHOTOS], SAME), protocol) for protocol in (3, 5)),
    ],
    ids=["python2", "3", "4", "5", "arrays3", "arrays5"],
)
def test_reads_photos_pairs_and_ten_folds(tmp_path, data):
    (tmp_path / "agedb_30.bin").write_bytes(data)
    dataset = datasets.open(tmp_path / "agedb_30.bin")
    assert [sample.read() for sample in dataset] == PHOTOS
    assert dataset.pairs() == {
        "agedb_30": [
            Pair(f"{2 * n:06d}", f"{2 * n + 1:06d}", same, fold)
            for n, (same, fold) in enumerate(zip(SAME, np.repeat(range(1, 11), 2).tolist(), strict=True))
        ]
    }


class Program:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_never_runs_a_program_that_a_pack_brings(tmp_path):
    (tmp_path / "evil.bin").write_bytes(pickle.dumps((PHOTOS, SAME, Program(f"touch {tmp_path}/ran"))))
    assert len(list(datasets.open(tmp_path / "evil.bin"))) == len(PHOTOS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        python2(PHOTOS, SAME)[:-20],
        python2(PHOTOS[1:], SAME),
        pickle.dumps({"photos": PHOTOS}),
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"short",  # announces 2^63 bytes
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of 2^32 places
    ],
    ids=["empty", "text", "truncated", "odd", "other", "huge", "memo"],
)
def test_refuses_what_is_no_pack(tmp_path, data):
    (tmp_path / "pack.bin").write_bytes(data)
    with pytest.raises(SettingError, match=r"pack\.bin"):
        datasets.open(tmp_path / "pack.bin").pairs()
