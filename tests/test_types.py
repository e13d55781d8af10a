from pathlib import Path

import numpy as np
import pytest

import quiver
from quiver.errors import BadSpec, SpaceMismatch
from quiver.keywords import query_of
from quiver.types import Query, Space, Vectors, keys_of

SPACE = Space("made", 3, "cosine", "0")


def test_only_the_public_names_are_exported():
    public = {name for name in vars(quiver) if not name.startswith("_")}
    modules = {path.stem for path in Path(quiver.__file__).parent.iterdir()}
    assert public - modules <= set(quiver.__all__) | {"TYPE_CHECKING", "Any"}
    assert all(hasattr(quiver, name) for name in quiver.__all__)


def test_a_pair_needs_both_of_its_images():
    assert keys_of({"before": "a", "after": "b"}) == ("pair",)
    assert keys_of({"before": "a"}) == ()
    with pytest.raises(BadSpec, match="both before and after"):
        Query({"before": "a.jpg"})


def test_spaces_of_another_revision_are_other_spaces():
    assert Space("made", 3, "cosine", "0") == SPACE
    assert Space("made", 3, "cosine", "1") != SPACE


def test_vectors_of_another_width_are_refused():
    with pytest.raises(SpaceMismatch, match=r"takes \(n, 3\)"):
        Vectors(SPACE, np.arange(2), np.zeros((2, 4), np.float32))
    with pytest.raises(SpaceMismatch, match="3 row numbers for 2 vectors"):
        Vectors(SPACE, np.arange(3), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        ({}, "the query is empty"),
        ({"text": "a", "k": 0}, "k must be at least 1"),
        ({"text": "a", "target": "smell"}, "target must be one of"),
        ({"smell": "a"}, "search has no option 'smell': it has"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(ask, problem):
    with pytest.raises(BadSpec, match=problem):
        query_of(ask)
