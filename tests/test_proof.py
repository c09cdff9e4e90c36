import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from attacks.toys import recognizer
from faceveil import Photo, Protector
from faceveil.errors import WeightsError
from faceveil.photo import resize
from faceveil.proof import find_again, overlap, prove
from people import group, landscape, portrait


@pytest.fixture(scope="module")
def protector() -> Protector:
    return Protector()


def test_a_clear_photo_is_recognized_and_unchanged(protector):
    photo = Photo.from_array(group())
    proofs = protector.prove(photo, photo, protector.find(photo))
    assert len(proofs) == 2
    for proof in proofs:
        assert proof.found
        assert proof.recognized
        assert (proof.ssim, proof.psnr, proof.largest_change) == (1, np.inf, 0)
        assert all(verdict.before == verdict.after < 0.4 for verdict in proof.verdicts)
        assert proof.verdicts[0].after < 0.1


def test_another_person_in_the_same_place_is_not_recognized(protector):
    """The portrait turned upside down is nobody's face; with the old landmarks it is embedded all the same."""
    photo = Photo.from_array(portrait())
    (proof,) = protector.prove(photo, photo.with_pixels(np.ascontiguousarray(portrait()[::-1])), protector.find(photo))
    assert not proof.found
    assert not proof.verdicts[0].recognized


def test_faces_are_found_again_in_smaller_versions(protector):
    photo = Photo.from_array(group())
    faces = protector.find(photo)
    half = resize(photo.pixels, 280)
    for face, sighting in zip(faces, find_again(protector.detector, [half], photo.pixels, faces), strict=True):
        assert sighting.found
        height, width, _ = sighting.window.shape
        assert 0 < sighting.landmarks[0, :, 0].min() < sighting.landmarks[0, :, 0].max() < width
        assert 0 < sighting.landmarks[0, :, 1].min() < sighting.landmarks[0, :, 1].max() < height
        eyes = np.diff(np.array(face.landmarks)[:2, 0])
        assert np.diff(sighting.landmarks[0, :2, 0].numpy()) == pytest.approx(eyes / 2, rel=0.1)


def test_where_no_face_is_left_the_old_landmarks_serve(protector):
    photo = Photo.from_array(portrait())
    faces = protector.find(photo)
    empty = resize(np.ascontiguousarray(landscape()[:200, :200].repeat(2, 0).repeat(2, 1)), 320)
    (sighting,) = find_again(protector.detector, [empty], photo.pixels, faces)
    assert not sighting.found
    eyes = np.diff(np.array(faces[0].landmarks)[:2, 0])
    assert np.diff(sighting.landmarks[0, :2, 0].numpy()) == pytest.approx(eyes, abs=1e-3)


def test_a_recognizer_that_sees_no_numbers_proves_nothing(protector):
    photo, nothing = Photo.from_array(portrait()), recognizer(0)
    nothing.network.register_forward_hook(lambda net, given, found: found * torch.nan)
    with pytest.raises(WeightsError, match="sees no numbers in a face"):
        prove(protector.detector, [nothing], (), photo.pixels, photo.pixels, protector.find(photo))


@pytest.mark.parametrize("other", [(5, 5, 25, 25), (0, 0, 20, 20), (20, 20, 30, 30), (2, 3, 4, 5)])
def test_overlap_is_the_jaccard_index_of_pixels(other):
    def drawn(box):
        canvas = np.zeros((32, 32), int)
        canvas[box[1] : box[3], box[0] : box[2]] = 1
        return canvas.ravel()

    box = (0, 0, 20, 20)
    assert overlap(np.array(box, float), np.array(other, float)) == pytest.approx(
        jaccard_score(drawn(box), drawn(other))
    )
