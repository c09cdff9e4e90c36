import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from attacks.toys import recognizer
from faceveil import Photo, Protector
from faceveil.errors import WeightsError
from faceveil.faces.detect import Detector, Face
from faceveil.photo import resize
from faceveil.proof import TREATMENTS, FaceProof, Verdict, find_again, overlap, prove
from people import group, landscape, portrait


class Says(Detector):
    """Finds these faces in every picture."""

    def __init__(self, *faces: Face) -> None:
        self.faces, self.device = list(faces), torch.device("cpu")

    def __call__(self, photos):
        return [list(self.faces) for _ in photos]


def face(left: float, top: float, right: float, bottom: float) -> Face:
    x, y = np.linspace(left, right, 5)[1:4].tolist(), np.linspace(top, bottom, 5)[1:4].tolist()
    points = (x[0], y[0]), (x[2], y[0]), (x[1], y[1]), (x[0], y[2]), (x[2], y[2])
    return Face((left, top, right, bottom), points, 1.0)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def protector() -> Protector:
    return Protector()


def test_a_treatment_does_what_its_name_says():
    pixels, stream = noise(60, 1600, 3), io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=75)
    assert np.array_equal(TREATMENTS["JPEG 75"](pixels), np.asarray(Image.open(stream)))
    assert TREATMENTS["1080 px"](pixels).shape == (40, 1080, 3)
    assert np.array_equal(TREATMENTS["as saved"](pixels), pixels)


def test_who_is_recognized_once_is_recognized():
    """Below the threshold, not at it."""
    known, lost = (Verdict("some", "as saved", 0.0, after, 0.6, True) for after in (0.59, 0.6))
    assert (known.recognized, lost.recognized) == (True, False)
    proofs = [FaceProof(face(0.0, 0.0, 9.0, 9.0), True, said, 1.0, 1.0, 0) for said in ((lost, known), (lost, lost))]
    assert [proof.recognized for proof in proofs] == [True, False]


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


def test_the_face_found_again_is_the_one_in_the_same_place():
    """It is looked for from 70 on: there `same` is where the face was, and `beside` has 0.066 in common with it."""
    pixels, wanted = noise(300, 300, 3), face(100.0, 100.0, 140.0, 140.0)
    beside, same = face(0.0, 0.0, 45.0, 45.0), face(30.0, 30.0, 70.0, 70.0)
    (sighting,) = find_again(Says(beside, same), [pixels], pixels, [wanted])
    assert sighting.found
    assert np.allclose(sighting.landmarks[0].numpy(), same.landmarks)
    (sighting,) = find_again(Says(beside), [pixels], pixels, [wanted])
    assert not sighting.found
    assert np.allclose(sighting.landmarks[0].numpy(), same.landmarks)


def test_how_visible_a_cloak_is_counts_in_the_face_s_box_alone():
    clear = noise(120, 120, 3)
    shared = clear.copy()
    shared[:20] = 255 - shared[:20]
    (proof,) = prove(Says(), [recognizer()], (), clear, shared, [face(40.0, 40.0, 100.0, 100.0)])
    assert (proof.ssim, proof.psnr, proof.largest_change) == (1, np.inf, 0)
    shared = clear.copy()
    shared[50, 50] ^= 4
    (proof,) = prove(Says(), [recognizer()], (), clear, shared, [face(40.0, 40.0, 100.0, 100.0)])
    assert proof.largest_change == 4
    assert proof.psnr == pytest.approx(10 * np.log10(255**2 / (16 / 60**2)))


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
