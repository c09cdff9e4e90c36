import pytest
import torch

from faceveil.errors import SettingError
from faceveil.recognizers import Ensemble, Recognizer, card, store

NAMES = ("mobilefacenet-y1", "mobilefacenet-xiaoccer", "mobilefacenet-espdl")


@pytest.fixture(scope="module")
def members() -> tuple[Recognizer, ...]:
    torch.manual_seed(0)
    cards = [card.read(name) for name in NAMES]
    return tuple(Recognizer(read, store._architecture(read).build(**read.options)) for read in cards)


def test_faces_are_cut_once_for_members_that_see_the_same(members):
    cuts = []

    def cut(template, size):
        cuts.append((template, size))
        return torch.full((2, 3, *size), 0.5)

    embeddings = Ensemble(members).embed(cut)
    assert cuts == [("arcface", (112, 112)), ("arcface", (112, 96))]
    assert [len(e[0]) for e in embeddings] == [128, 128, 512]
    for member, embedding in zip(members, embeddings, strict=True):
        assert torch.equal(embedding, member(torch.full((2, 3, *member.size), 0.5)))


def test_losses_are_averaged_by_weight_and_for_each_image(members):
    losses = [torch.tensor([1.0, 10.0]), torch.tensor([2.0, 20.0]), torch.tensor([6.0, 60.0])]
    assert Ensemble(members).combine(losses).tolist() == pytest.approx([3.0, 30.0])
    assert Ensemble(members, (2.0, 1.0, 1.0)).combine(losses).tolist() == pytest.approx([2.5, 25.0])


def test_surrogates_keep_the_weights(members):
    assert Ensemble(members, (2.0, 1.0, 1.0)).surrogate().weights == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0, 1.0)])
def test_weights_that_do_not_fit_are_refused(members, weights):
    with pytest.raises(SettingError, match="give 3 positive numbers"):
        Ensemble(members, weights)
    with pytest.raises(SettingError, match="no recognizers"):
        Ensemble(())
