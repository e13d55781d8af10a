"""An encoder of the user may return anything for a query: numbers of the right shape are used, all else is refused."""

import numpy as np
import pytest

import quiver
from quiver.errors import QuiverError
from quiver.media import TextReader
from quiver.types import Space


class Lengths:
    """Embeds a text as its length; ``returns`` changes the vectors afterwards."""

    keys, name, revision, space = ("text",), "lengths", "1", Space("lengths/text", 2, "l2", "1")

    def __init__(self, returns=lambda vectors: vectors):
        self.returns = returns

    def spaces(self, key):
        return (self.space,) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return self.returns(np.float32([[len(text), 1] for text in batch]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("lengths") / "shop"
    quiver.open(place, catch_up=False).add(
        [{"id": "short", "text": "ab"}, {"id": "long", "text": "abcdefgh"}], encoder=Lengths(), workers=0
    )
    return place


@pytest.mark.parametrize("returns", [np.ndarray.tolist, np.float64, lambda vectors: [tuple(each) for each in vectors]])
def test_lists_and_other_numbers_are_used(place, returns):
    shop = quiver.open(place, catch_up=False).use(Lengths(returns))
    assert shop.search(text="hijklmn", k=1).ids == ("long",)


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (lambda vectors: np.concatenate([vectors, vectors]), r"takes \(1, 2\) vectors, not \(2, 2\)"),
        (lambda vectors: vectors[:0], r"takes \(1, 2\) vectors, not \(0, 2\)"),
        (lambda vectors: vectors[0], r"takes \(1, 2\) vectors, not \(2,\)"),
        (lambda vectors: vectors[:, :1], r"takes \(1, 2\) vectors, not \(1, 1\)"),
        (lambda vectors: None, r"takes \(1, 2\) vectors, not \(\)"),
        (lambda vectors: ["a"], "something else than numbers"),
    ],
)
def test_all_else_is_refused_in_one_line(place, returns, says):
    shop = quiver.open(place, catch_up=False).use(Lengths(returns))
    with pytest.raises(QuiverError, match=says):
        shop.search(text="hijklmn", k=1)
