import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.datasets import ROLES, Split
from faceveil.errors import SettingError, UnwritablePhotoError

PEOPLE = [f"person {number}" for number in range(50)]
COUNTS = {"protected": 5, "gallery": 20, "targets": 3, "distractors": 10}


@given(st.permutations(PEOPLE), st.integers())
def test_groups_are_disjoint_and_do_not_depend_on_the_order(people, seed):
    split = Split.draw(people, COUNTS, seed)
    everybody = [name for role in ROLES for name in split.roles[role]]
    assert {role: len(names) for role, names in split.roles.items()} == COUNTS
    assert len(set(everybody)) == len(everybody)
    assert split == Split.draw(PEOPLE, COUNTS, seed)


def test_another_seed_draws_others():
    assert Split.draw(PEOPLE, COUNTS, 1) != Split.draw(PEOPLE, COUNTS, 2)


def test_the_draw_is_the_order_of_sha256():
    """As `printf 0:a | sha256sum` has it: d 7d98, a 9df3, c be08, b e021."""
    assert Split.draw("abcd", {"protected": 4}).roles["protected"] == tuple("dacb")


def test_is_shared_as_a_file(tmp_path):
    split = Split.draw(PEOPLE, COUNTS, 7)
    split.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == split
    with pytest.raises(UnwritablePhotoError, match="--force"):
        split.write(tmp_path / "split.json")


@pytest.mark.parametrize(
    ("counts", "told"), [({"gallery": 51}, "51 people"), ({"crowd": 1}, "crowd"), ({"targets": -1}, "-1 people")]
)
def test_says_what_cannot_be_drawn(counts, told):
    with pytest.raises(SettingError, match=told):
        Split.draw(PEOPLE, counts)


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 0, "roles": {}}'])
def test_says_which_file_is_no_split(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(SettingError, match=r"split\.json"):
        Split.read(tmp_path / "split.json")
