"""Encoders given as objects: stored by name and revision, and asked for again."""

import subprocess
import sys

import numpy as np
import pytest

import quiver
from quiver.engine.core import given_encoder
from quiver.errors import BadSpec, MissingEncoder, SpaceMismatch
from quiver.types import Space


class Letters:
    """Embeds a text as the counts of four letters."""

    def __init__(self, name="letters", revision="1", dim=4):
        self.name, self.revision = name, revision
        self.space = Space("letters", dim, "cosine", f"{revision}")
        self.keys = ("text",)

    def spaces(self, key):
        return (self.space,) if key == "text" else ()

    def reader(self, key):
        return str

    def embed(self, key, batch, space):
        counts = np.array([[text.count(letter) for letter in "abcdefgh"[: space.dim]] for text in batch], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.setattr(given_encoder, "_GIVEN", {})


@pytest.fixture
def shop(tmp_path):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    rows = [{"id": letter, "text": letter * 3} for letter in "abcd"]
    assert collection.add(rows, encoder=Letters(), workers=0).embedded == 4
    return collection


def test_an_object_embeds_items_and_queries(shop):
    assert shop.search(text="bbba", k=2).ids == ("b", "a")
    assert list(shop.info().encoders) == ["object name=letters revision=1"]
    assert shop.add([{"id": "e", "text": "cccd"}], workers=0).embedded == 1
    assert shop.search(text="cccd", k=1).ids == ("e",)


def test_another_process_asks_for_it_by_name_and_takes_it(shop, tmp_path):
    given_encoder._GIVEN.clear()
    asks = r"'letters', revision '1', was given as an object, and has to be given again: shop\.use\(model\)"
    again = quiver.open(shop.uri)
    with pytest.raises(MissingEncoder, match=asks):
        again.search(text="b", target="text")
    assert again.search(like="a", k=1) and again.count() == 4  # what needs no model works
    with pytest.raises(MissingEncoder, match=r"the one given has revision 2"):
        again.use(Letters(revision="2")).search(text="b", target="text")
    assert again.use(Letters()).search(text="bbb", k=1).ids == ("b",)
    code = f"import quiver; quiver.open({shop.uri!r}).search(text='b')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has to be given again" in done.stderr.strip().splitlines()[-1]


def test_an_object_with_other_spaces_than_it_had_is_refused(shop):
    given_encoder._GIVEN.clear()
    changed = Letters()
    changed.space = Space("letters", 4, "cosine", "another")
    with pytest.raises(SpaceMismatch, match="has changed"):
        shop.use(changed).search(text="b")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": None}, "states its name, by which later searches ask for it: Letters.name is None"),
        ({"revision": ""}, "states its revision"),
        ({"revision": 3}, "Letters.revision is 3"),
    ],
)
def test_an_object_states_its_name_and_revision(tmp_path, change, problem):
    encoder = Letters()
    for name, value in change.items():
        setattr(encoder, name, value)
    with pytest.raises(BadSpec, match=problem.replace(".", r"\.")):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=encoder)
    assert not (tmp_path / "c").exists()


def test_what_is_no_encoder_is_told_what_it_lacks(tmp_path):
    class Half:
        name, revision = "half", "1"

        def embed(self, key, batch, space):
            return None

    with pytest.raises(BadSpec, match=r"Half is no encoder: it lacks keys, spaces, reader"):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=[Half()])
    with pytest.raises(BadSpec, match="encoder must be a string"):
        quiver.open(tmp_path / "c").add([{"id": "a", "text": "a"}], encoder=7)
