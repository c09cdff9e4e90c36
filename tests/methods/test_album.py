from dataclasses import replace

import pytest
import torch

from attacks.toys import pictures, recognizer, regions
from faceveil.errors import SettingError
from faceveil.methods.album import Album
from faceveil.methods.scene import Scene
from faceveil.methods.veil import Veil
from faceveil.objectives.feature import Company, RelativeIdentification, distance


@pytest.fixture(scope="module")
def net():
    return recognizer()


def test_a_company_is_as_near_as_its_nearest_and_nobody_is_company_to_themselves():
    embeddings, known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]]), torch.tensor([[1.0, 3.0], [0.0, 2.0]])
    same = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    company = Company(same, known)
    assert company(embeddings).tolist() == pytest.approx([2.0, 1.0, 0.0])  # of 2 and 9; of 2, 5 and 1; of none
    chosen = company[torch.tensor([False, True, True])]
    assert chosen(embeddings[1:]).tolist() == pytest.approx([1.0, 0.0])


def test_company_pushes_only_the_image_that_looks_at_it():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    company = Company(torch.tensor([[False, True], [True, False]]), torch.zeros(0, 2))
    (pushed,) = torch.autograd.grad(company(embeddings)[0], embeddings)
    assert torch.allclose(pushed, torch.tensor([[2.0, -2.0], [0.0, 0.0]]))


def test_the_way_from_company_is_taken_off_the_loss(net):
    images = pictures(3)
    sources, known = net(pictures(3, seed=4)), net(pictures(2, seed=5))
    same = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]).bool()
    alone = RelativeIdentification(net, sources, known[:1].expand(3, 1, -1))
    beside = RelativeIdentification(net, sources, known[:1].expand(3, 1, -1), company=Company(same, known))
    away = torch.cdist(net(images), torch.cat([net(images), known])).square().masked_fill(~same, torch.inf).amin(1)
    expected = alone(images) - torch.where(same.any(1), away, 0.0)
    assert torch.allclose(beside(images), expected, atol=1e-5)


def test_an_album_knows_who_is_the_same_by_the_mean_of_distances_in_thresholds():
    nets = recognizer(0), recognizer(1)  # both have the threshold 0.5
    album = Album()
    album.add((torch.tensor([[0.0, 0.1]]), torch.tensor([[0.0, 0.8]])), (torch.zeros(1, 2), torch.zeros(1, 2)))
    album.add((torch.tensor([[9.0, 9.0]]), torch.tensor([[9.0, 9.0]])), (torch.ones(1, 2), torch.ones(1, 2)))
    sources = torch.tensor([[0.0, 0.0], [0.0, 0.2], [9.0, 9.0]])
    for company in album.company(nets, (sources, sources)):
        alike = [[False, True, False, True, False], [True, False, False, True, False], [False] * 4 + [True]]
        assert company.same.tolist() == alike
    (company, _) = album.company(nets, (sources[:2], sources[:2]))
    assert company.same.tolist() == [[False, True, True], [True, False, True]]
    assert company.known.tolist() == [[0.0, 0.0]]  # the stranger's is no company
    assert [len(some) for some in (*album.clear, *album.cloaked)] == [2, 2, 2, 2]


def test_people_are_the_same_below_the_threshold_alone(net):
    """The toy's is 0.5; the first two are 0.9 of it apart, the last is 1.1 from the second."""
    (company,) = Album().company((net,), (torch.tensor([[0.0, 0.0], [0.45, 0.0], [1.0, 0.0]]),))
    assert company.same.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_veil_leads_photos_of_one_person_apart_where_it_has_an_album(net):
    images = pictures(2)
    images = torch.stack([images[0], (images[0] + 0.02).clamp(0, 1), images[1]])
    veil = Veil((net,), steps=10)

    def apart(album):
        scene = Scene.aligned(images, veil.surrogates)
        (found,) = scene.embed(veil.cloak(replace(scene, album=album)))
        return found

    alone, beside = apart(None), apart(Album())
    assert distance(*beside[:2, None]) > 1.2 * distance(*alone[:2, None])
    assert torch.equal(beside[2], alone[2])  # a stranger's cloak stays as it is


def test_what_fails_leaves_nothing_in_the_album(net, monkeypatch):
    veil, album = Veil((net,), steps=1, batch=1), Album()
    veil(regions(2), album)
    known = album.clear, album.cloaked
    cloak = Veil.cloak

    def fail_at_the_second(veil, scene):
        if len(album.clear[0]) == 3:
            raise MemoryError
        return cloak(veil, scene)

    monkeypatch.setattr(Veil, "cloak", fail_at_the_second)
    with pytest.raises(MemoryError):
        veil(regions(2), album)
    assert (album.clear, album.cloaked) == known


def test_veil_leads_a_photo_away_from_what_was_shared_before(net):
    photo = pictures(1)
    veil, album = Veil((net,), steps=10), Album()
    before, now = (Scene.aligned(images, veil.surrogates) for images in (photo, (photo + 0.02).clamp(0, 1)))
    (shared,) = before.embed(veil.cloak(before))
    album.add(before.embed(), (shared,))
    alone, beside = (now.embed(veil.cloak(replace(now, album=some)))[0] for some in (None, album))
    assert distance(beside, shared) > 1.2 * distance(alone, shared)


@pytest.mark.parametrize("others", [(1,), (0, 1), (1, 0)])
def test_an_album_serves_the_surrogates_whose_embeddings_it_holds(net, others):
    veil, album = Veil((net,), steps=1), Album()
    veil(regions(1), album)
    known = album.cloaked
    wrong = ", ".join(f"toy-{seed}" for seed in others)
    with pytest.raises(
        SettingError, match=f"^this album holds faces as seen by toy-0, not by {wrong}; use another Album$"
    ):
        Veil(tuple(map(recognizer, others)), steps=1)(regions(1), album)
    assert album.cloaked == known
    veil(regions(1), album)
    assert [len(some) for some in album.cloaked] == [2]


def test_the_order_of_surrogates_is_an_albums_own():
    nets, album = (recognizer(0), recognizer(1)), Album()
    Veil(nets, steps=1)(regions(1), album)
    with pytest.raises(SettingError, match=r"seen by toy-0, toy-1, not by toy-1, toy-0; use another"):
        album.company(nets[::-1], album.clear)


def test_an_empty_album_serves_anybody(net):
    album = Album().seen_by((net,))
    Veil((recognizer(1),), steps=1)(regions(1), album)
    assert album.surrogates == ("toy-1",)
