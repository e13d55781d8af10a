"""The search of MAP-IVR in a collection ranks as the naive score, for every number of codes."""

import pytest

from quiver.benchmarks.speed.map_ivr_search import SPACE, bed, measure


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    made = bed(600, 3, (16, 24), tmp_path_factory.mktemp("bed"), seed=0)
    made.collection.index("faiss factory=IVF8,Flat", spaces=SPACE)
    return made


@pytest.mark.parametrize("h", [1, 4])
def test_the_first_hundred_are_those_of_the_naive_score(small, h):
    line = measure(small, h, "faiss factory=IVF8,Flat", (50, 600))
    assert line.apart < 1e-6
    assert line.same > 0.6  # scores that differ by less than rounding may change places
    for route in ("joint", "mean", "mean by index", "appearance"):
        assert 0 <= line.kept[f"{route}@50"] <= line.kept[f"{route}@600"] <= 1
    assert line.kept["mean@600"] == line.kept["appearance@600"] == 1  # every clip is a candidate


def test_more_codes_never_score_lower(small):
    one, four = (small.naive(0, h) for h in (1, 4))
    assert (four >= one - 1e-9).all()
    assert len(one) == 600
