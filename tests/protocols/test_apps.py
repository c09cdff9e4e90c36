import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from crowds import crowd, strangers
from PIL import Image
from sklearn import cluster
from sklearn.metrics import adjusted_rand_score

from faceveil import recognizers
from faceveil.datasets.folders import Folders
from faceveil.datasets.preparation import prepare
from faceveil.errors import SettingError
from faceveil.protocols.apps import APPS, DBSCAN, HDBSCAN, Immich, PhotoPrism, Preview, app
from faceveil.protocols.clustering import ALONE, bcubed

SORTING = [name for name, each in APPS.items() if each.clusterer]


def album():
    """Eight people with ten photos each, and thirty strangers."""
    embeddings, labels = crowd(8, 10, spread=0.03, size=128)
    return torch.cat([embeddings, strangers(30, size=128)]), np.concatenate([labels, np.arange(100, 130)])


@pytest.mark.parametrize(
    ("name", "cosine"),
    [("immich", 0.5), ("deepface-default", 0.68), ("insightface", 1 - 0.48), ("opencv-sface", 1 - 0.363)],
)
def test_thresholds_are_the_published_cosine_distances(name, cosine):
    """OpenCV prints both: cosine similarity 0.363 and Euclidean distance 1.128."""
    angle = math.acos(1 - cosine)
    assert app(name).threshold == pytest.approx(2 * math.sin(angle / 2), abs=1e-3)


@pytest.mark.parametrize("name", SORTING)
def test_every_program_sorts_an_album_of_clear_photos(name):
    embeddings, labels = album()
    found = app(name).people(embeddings)
    assert adjusted_rand_score(labels[:80], found[:80]) == 1
    assert ALONE not in found[:80]


@pytest.mark.parametrize("name", sorted(set(SORTING) - {"photoprism-2026-arcface", "photoprism-2026-mobilefacenet"}))
def test_no_program_makes_people_of_strangers(name):
    found = app(name).people(strangers(30, size=128))
    assert (found == ALONE).all()


@pytest.mark.zoo
def test_every_program_sorts_real_photos_by_a_free_recognizer(shared, tmp_path):
    for person in sorted((shared / "data" / "facescrub").iterdir())[:4]:
        (tmp_path / "photos" / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:10]:
            (tmp_path / "photos" / person.name / photo.name).symlink_to(photo)
    dlib = recognizers.load("dlib")
    faces = prepare(Folders(tmp_path / "photos"), dlib.card.input.template, dlib.size, folder=tmp_path / "faces")
    with torch.no_grad():
        embeddings = torch.cat([dlib(images) for images in faces.batches()])
    for name in SORTING:
        found = app(name).scaled(dlib.threshold).people(embeddings)
        assert bcubed(faces.labels, found).precision == 1, name
        assert bcubed(faces.labels, found).recall > 0.6, name


def test_our_parts_are_scikit_learns():
    embeddings, _ = album()
    ours, theirs = DBSCAN(0.9, 4)(embeddings), cluster.DBSCAN(eps=0.9, min_samples=4).fit_predict(embeddings.numpy())
    assert ours.tolist() == theirs.tolist()
    model = cluster.HDBSCAN(min_cluster_size=6, min_samples=4, copy=True)
    assert HDBSCAN(4, 6)(embeddings).tolist() == model.fit_predict(embeddings.numpy()).tolist()
    assert (HDBSCAN(4, 6)(embeddings[:5]) == ALONE).all()


@pytest.mark.parametrize("name", SORTING)
@pytest.mark.parametrize("photos", [0, 1, 2])
def test_hardly_any_photos_make_no_people(name, photos):
    assert (app(name).people(strangers(photos)) == ALONE).all()


def test_immich_groups_as_dbscan_by_cosine_distance_where_people_are_apart():
    embeddings, _ = album()
    expected = cluster.DBSCAN(eps=0.5, min_samples=3, metric="cosine").fit_predict(embeddings.numpy())
    assert adjusted_rand_score(app("immich").people(embeddings), expected) == 1


def test_immich_does_not_merge_people_whom_a_later_photo_connects():
    line = torch.tensor([[0.0], [0.1], [0.2], [1.8], [1.9], [2.0], [1.0]])
    assert Immich(1.0, 3)(line).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert set(cluster.DBSCAN(eps=1.0, min_samples=3).fit_predict(line)) == {0}


def test_immich_attaches_a_photo_with_few_neighbors_but_founds_nobody_on_it():
    line = torch.tensor([[1.15], [0.0], [0.1], [0.2], [5.0], [5.1]])
    assert Immich(1.0, 3)(line).tolist() == [0, 0, 0, 0, ALONE, ALONE]


def test_immich_takes_a_photo_at_the_distance_for_near_and_for_a_core_one_with_just_enough():
    line = torch.tensor([[0.0], [1.0], [2.0]])
    assert Immich(1.0, 3)(line).tolist() == cluster.DBSCAN(eps=1.0, min_samples=3).fit_predict(line).tolist()
    assert set(Immich(1.0, 3)(line)) == {0}


def circle(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_photoprism_attaches_what_lies_within_radius_and_reach():
    """The center is at 0 degrees, the radius 2 sin(1) = 0.035: with 0.3 more, a chord of 0.335, or 19.3 degrees."""
    rules = PhotoPrism(distance=0.04, core=3, radius=0.35, match=0.3)
    photos = circle(-2, -1, 0, 1, 2, 19, 20, 100)
    assert rules(photos).tolist() == [0, 0, 0, 0, 0, 0, ALONE, ALONE]


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({"radius": 0.35}, [True, True, True, True, True]),
        ({"radius": 0.35, "percentile": 50}, [False, True, True, True, False]),
        ({"radius": 0.02}, [False, True, True, True, False]),
    ],
)
def test_photoprisms_radius_holds_a_percentile_of_the_photos_and_has_an_end(settings, reached):
    """From the center at 0 degrees two photos are 2 degrees away, a chord of 0.035, and two 4, a chord of 0.070."""
    rules = PhotoPrism(distance=0.04, core=3, match=0.02, **settings)
    found = rules(circle(-4, -2, 0, 2, 4, 100)).tolist()
    assert found == [*(0 if each else ALONE for each in reached), ALONE]


def test_photoprism_leaves_out_what_lies_between_two_people():
    rules = PhotoPrism(distance=0.04, core=3, radius=0.35, match=0.5, margin=0.01)
    photos = circle(-1, 0, 1, 39, 40, 41, 20, 18)
    assert rules(photos).tolist() == [0, 0, 0, 1, 1, 1, ALONE, 0]
    assert (rules(photos[:5]) == ALONE).all()  # fewer than twice the core


@pytest.mark.parametrize(
    ("name", "preview", "rules"),
    [
        ("immich", Preview(1440, 80), Immich(1.0, 3)),
        ("photoprism-2024", Preview(1280, 83), PhotoPrism(0.64, 4, 0.35, 0.46)),
        ("photoprism-2026-sface", Preview(720, 83), PhotoPrism(0.78, 5, 0.6, 0.35, 95, 0.01)),
        ("photoprism-2026-facenet", Preview(720, 83), PhotoPrism(0.64, 5, 0.42, 0.4, 95, 0.01)),
        ("photoprism-2026-auraface", Preview(720, 83), PhotoPrism(0.98, 5, 0.76, 0.35, 95, 0.01)),
        ("photoprism-2026-arcface", Preview(720, 83), PhotoPrism(1.07, 5, 0.67, 0.55, 95, 0.01)),
        ("photoprism-2026-mobilefacenet", Preview(720, 83), PhotoPrism(1.03, 5, 0.64, 0.49, 95, 0.01)),
        ("nextcloud", Preview(1024, 80), HDBSCAN(4, 6)),
        ("insightface", np.copy, DBSCAN((2 * (1 - 0.48)) ** 0.5, 2)),
    ],
)
def test_programs_come_with_these_settings(name, preview, rules):
    assert (app(name).preview, app(name).clusterer) == (preview, rules)


def test_two_faces_at_the_threshold_match():
    """As face_recognition's compare_faces has it."""
    one = replace(app("face_recognition"), threshold=1.0)
    assert one.match(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [1.01, 0.0]])).tolist() == [[True, False]]


def test_immich_looks_at_a_preview():
    assert app("immich").preview(np.zeros((2000, 3000, 3), np.uint8)).shape == (960, 1440, 3)


def test_a_program_without_a_preview_sees_the_photo_itself():
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert (app("face_recognition").preview(photo) == photo).all()
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=80)
    assert (app("immich").preview(photo) == np.array(Image.open(stream))).all()


def test_rules_can_be_fitted_to_another_recognizer():
    embeddings = 1.4 * album()[0]  # dlib's are about that long
    away = torch.cdist(embeddings, embeddings).numpy()
    fitted = app("photoprism-2026-sface").scaled(1.128 / 0.78 / 2)
    assert (fitted.match(embeddings, embeddings) == (away <= 0.5)).all()
    half = PhotoPrism(0.5, 5, 0.6 / 0.78 / 2, 0.35 / 0.78 / 2, percentile=95, margin=0.01 / 0.78 / 2)
    assert (fitted.people(embeddings) == half(embeddings)).all()


def test_dlibs_embeddings_keep_their_length():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.59, 0.0], [1.61, 0.0]])
    assert app("face_recognition").match(one, other).tolist() == [[True, False]]
    assert app("opencv-sface").match(one, other).all()


def test_who_only_compares_sorts_nothing_and_who_is_unknown_is_named():
    with pytest.raises(SettingError, match="only compares faces"):
        app("face_recognition").people(strangers(3))
    with pytest.raises(SettingError, match="no program is called 'picasa'"):
        app("picasa")
