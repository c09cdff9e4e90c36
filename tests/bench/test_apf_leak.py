from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from attacks.toys import recognizer
from bench.miniature import album
from faceveil import datasets
from faceveil.bench import EXPERIMENTS, Plan, run, write
from faceveil.bench.apf.leak import LEAK, NO_DELTA, WAYS, Interception, _learn, _rank_1
from faceveil.bench.material import Material, People
from faceveil.datasets import Comparisons
from faceveil.service import wire

SIDE = (wire.SIDE, wire.SIDE)


def reduced(way, amount, shares, seed=0):
    return WAYS[way].reduce(shares, amount, Generator().manual_seed(seed))


@pytest.fixture
def shares():
    return 2 * torch.rand(4, 3, *SIDE, generator=Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_turns_a_share_of_the_signs(shares, share):
    turned = reduced("signs, a share flipped", share, shares) != shares.sign()
    assert float(turned.float().mean()) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_sends_the_sign_of_each_block(shares, width):
    found = reduced("signs of blocks", width, shares)
    blocks = found.unfold(2, width, width).unfold(3, width, width)
    means = shares.unfold(2, width, width).unfold(3, width, width).mean((4, 5))
    assert torch.equal(blocks, means.sign()[..., None, None].expand_as(blocks))


def test_sends_signs_in_a_share_of_the_blocks(shares):
    found = reduced("signs in a share of blocks", 0.3, shares)
    assert float((found != 0).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(found[found != 0], shares.sign()[found != 0])


@pytest.mark.parametrize(
    ("way", "amount", "size"),
    [
        ("floats", 0, 150528),
        ("values", 2, 4704),
        ("values", 3, 9408),
        ("signs, a share flipped", 0.25, 4704),
        ("signs of blocks", 4, 294),
        ("signs in a share of blocks", 0.5, 2352),
    ],
)
def test_says_how_much_is_sent(way, amount, size):
    assert wire.CODES * WAYS[way].bits(amount) / 8 == size


def test_counts_first_guesses():
    gallery = torch.eye(3)
    assert _rank_1(torch.tensor([[2.0, 1, 0], [0, 1, 3], [0, 0, 1]]), gallery, np.array([0, 1, 2])) == pytest.approx(
        2 / 3
    )


def test_learns_to_see_what_gives_the_photo_away(tmp_path):
    faces = datasets.prepare(album(tmp_path / "album", 6, 3), "arcface", SIDE)
    images, embeddings = faces[:], torch.nn.functional.one_hot(torch.from_numpy(faces.labels), 6).float()
    attacker = _learn(2 * images - 1, faces, embeddings, epochs=16, batch=9, seed=0)
    with torch.no_grad():
        found, seen = attacker(2 * images - 1)
    assert (seen - images).abs().mean() < 0.7 * (images.mean(0) - images).abs().mean()
    assert np.array_equal(found.argmax(1).numpy(), faces.labels)
    assert not attacker.training


@pytest.mark.parametrize("kind", ["one step", NO_DELTA])
def test_photos_are_taken_to_the_network(shares, kind):
    """The device without data stands for a GPU: it refuses tensors of the CPU."""
    probe = recognizer(0, SIDE, template="arcface").to("meta")
    none = np.arange(0)
    material = Material((), {}, Comparisons(none, none, none > 0, none, 0), (probe,), (), 0, Path())
    found = Interception(material, {})._gradient(shares, kind)
    assert (found.device.type, found.shape) == ("meta", shares.shape)


def test_is_measured_whole(tmp_path):
    probe, judge = recognizer(0, SIDE, template="arcface"), recognizer(1, SIDE, template="arcface")
    photos = album(tmp_path / "album", 5, 2)
    settings = tuple({**each, "epochs": 1, "batch": 4} for each in LEAK.full.settings[:3])
    plan = Plan(People(3, 2), settings, People(2, 2))
    done = run(replace(LEAK, full=plan), {"a": photos}, [(probe,)], tmp_path / "out", judges=[judge])
    write(done, tmp_path / "out")
    found = [cell.found for cell in done.cells]
    assert {each["people"] for each in found} == {3}
    assert {each["rank-1, clear"] for each in found} == {1.0}
    assert found[0]["protected"] == {}
    assert set(found[2]["protected"]) == {judge.name}
    lines = (tmp_path / "out/table.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 2 + len(settings)
    assert lines[1].startswith("a,(the photo itself),,,,100.00,1.000,")
    assert lines[2].startswith("a,(nothing),,,0,33.33,")
    assert lines[5].startswith("a,apf,values,2,4704,")


def test_can_be_asked_for():
    assert EXPERIMENTS["apf-leak"] is LEAK
