from dataclasses import replace

import numpy as np
import pytest

from attacks.toys import recognizer
from faceveil import Photo
from faceveil.errors import NoFaceError
from faceveil.faces.detect import Detector, Face
from faceveil.programs import opinions
from faceveil.protocols.apps import DBSCAN, App

FACE = Face((10.0, 10.0, 50.0, 50.0), ((20.0, 25.0), (40.0, 25.0), (30.0, 35.0), (22.0, 42.0), (38.0, 42.0)), 1.0)


class Everywhere(Detector):
    """Finds the same face in every photo that is not black."""

    def __init__(self):
        pass

    def __call__(self, photos):
        return [[FACE] if pixels.any() else [] for pixels in photos]


COMPARING = App("toy", "none", 0.1, 0.1)
SORTING = replace(COMPARING, clusterer=DBSCAN(0.1, 3))
RED, GREEN, BLUE = (200, 40, 40), (40, 200, 40), (40, 40, 200)


@pytest.fixture
def plain(tmp_path):
    """Writes photos of plain colors; a color is a person, and the number beside it tells its photos apart."""

    def write(*colors):
        found = []
        for color in colors:
            number = len(list(tmp_path.iterdir()))
            pixels = np.full((60, 60, 3), color, np.uint8)
            pixels[-1, -1] = (any(color) * number, 0, 0)  # no other photo's pixels; far from the face
            found.append(Photo.from_array(pixels).save(tmp_path / f"{number}.png"))
        return found

    return write


def ask(app, cloaked, clear, gallery=(), card=None):
    found = opinions(Everywhere(), [("app", replace(app, card=card), recognizer())], cloaked, clear, gallery)
    (opinion,) = found.opinions
    return opinion, found


def test_who_compares_finds_the_photos_of_one_color(plain):
    opinion, _ = ask(COMPARING, plain(RED, GREEN, GREEN), plain(RED, RED, BLUE))
    assert (opinion.same, opinion.clear, opinion.together, opinion.sorts) == ((2, 0, 0), 2, 2, False)
    assert opinion.recognized == 1


def test_who_sorts_needs_enough_photos_of_a_person(plain):
    few, _ = ask(SORTING, plain(RED), plain(BLUE, RED))
    assert (few.same, few.clear) == ((0,), 0)
    enough, _ = ask(SORTING, plain(RED, GREEN), plain(BLUE, RED, RED, RED))
    assert (enough.same, enough.clear, enough.together) == ((3, 0), 3, 0)


def test_who_knows_nobody_has_not_judged(plain):
    """Who compares can do so with one photo; where several are not alike, it would not know the person either."""
    cases = [
        (COMPARING, [RED], True),
        (COMPARING, [RED, BLUE], False),
        (COMPARING, [RED, RED], True),
        (SORTING, [RED], False),
        (SORTING, [RED, RED, RED], True),
    ]
    for app, clear, judged in cases:
        opinion, found = ask(app, plain(GREEN), plain(*clear))
        assert opinion.judged is judged
        assert (found.misled, found.undecided) == ((("app",), ()) if judged else ((), ("app",)))


def test_who_recognizes_has_judged(plain):
    opinion, found = ask(SORTING, plain(RED, RED), plain(RED))
    assert (opinion.judged, found.recognizing, found.misled) == (True, ("app",), ())


def test_a_program_that_judges_with_one_recognizer_only_is_not_misled(plain):
    asked = [("app", COMPARING, recognizer()), ("app", SORTING, recognizer())]
    found = opinions(Everywhere(), asked, plain(GREEN), plain(RED))
    assert (found.recognizing, found.misled, found.undecided) == ((), (), ("app",))


def test_cloaked_photos_that_become_a_person_of_their_own_are_told(plain):
    opinion, _ = ask(SORTING, plain(GREEN, GREEN, GREEN), plain(RED))
    assert (opinion.recognized, opinion.together) == (0, 3)


def test_other_people_are_in_the_album(plain):
    """With two more photos of that color a clear one has a cluster, but its person's photos are still alone there."""
    opinion, found = ask(SORTING, plain(RED), plain(RED), plain(RED))
    assert (opinion.same, opinion.clear, found.others) == ((1,), 0, 1)


def test_a_recognizer_that_is_not_the_programs_own_counts_by_its_own_threshold(plain):
    """The toy's threshold is fifty times the program's, so that fifty times the distance is as near."""
    cloaked, clear, strict = plain(RED), plain((170, 60, 50)), replace(COMPARING, threshold=0.01, usual=0.01)
    own, _ = ask(strict, cloaked, clear, card="toy-0")
    other, _ = ask(strict, cloaked, clear)
    assert (own.own, own.same) == (True, (0,))
    assert (other.own, other.same) == (False, (1,))


def test_a_program_looks_at_the_preview_that_it_makes(plain):
    opinion, _ = ask(replace(COMPARING, preview=lambda pixels: np.full_like(pixels, 90)), plain(RED), plain(GREEN))
    assert opinion.same == (1,)


def test_photos_that_cannot_be_used_are_told(plain, tmp_path):
    cloaked, broken = plain(RED, (0, 0, 0)), tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    opinion, found = ask(COMPARING, cloaked, [*plain(RED), cloaked[0], broken])
    assert opinion.same == (1, None)
    said = "\n".join(found.left_out)
    assert "is a cloaked photo itself" in said
    assert "broken.jpg" in said
    assert said.count("no face found") == 1


@pytest.mark.parametrize(("cloaked", "clear"), [((0, 0, 0), RED), (RED, (0, 0, 0))])
def test_without_any_face_there_is_nothing_to_say(plain, cloaked, clear):
    with pytest.raises(NoFaceError, match="shows a face"):
        ask(COMPARING, plain(cloaked), plain(clear))
