"""Vectors that are not stored but computed over a bridge: they are found as if they were stored."""

import numpy as np
import pytest

import quiver
from quiver.engine.core import encoder
from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec, SpaceMismatch
from quiver.types import Item, Query

#: Sounds live in a fine space, words in a coarse one; a bridge leads from fine to coarse. STORED fills both for sounds.
MODULE = """
import zlib
from dataclasses import dataclass
import numpy as np
from quiver.errors import BadMedia
from quiver.types import Space

FINE, COARSE = Space("fine", 12, "cosine", "0" * 8), Space("coarse", 6, "cosine", "0" * 8)
TURN = np.random.default_rng(5).standard_normal((12, 6)).astype(np.float32)
MAPPED = []

def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

class Bridge:
    source, target = FINE, COARSE

    def map(self, vectors):
        MAPPED.append(len(vectors))
        return unit(vectors @ TURN)

@dataclass
class Read:
    def __call__(self, source):
        return np.load(source)

@dataclass
class Words:
    def __call__(self, source):
        return source

class Model:
    keys, bridges = ("text", "audio"), (Bridge(),)

    def __init__(self, homes):
        self.homes = homes

    def spaces(self, key):
        return {"audio": self.homes, "text": (COARSE,)}.get(key, ())

    def reader(self, key):
        return {"audio": Read(), "text": Words()}[key]

    def embed(self, key, batch, space):
        if key == "text":
            seeds = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(6) for text in batch]
            return unit(np.stack(seeds))
        fine = unit(np.stack(batch))
        return fine if space == FINE else unit(fine @ TURN)

def load(*, stored: bool = False):
    return Model((FINE, COARSE) if stored else (FINE,))
"""


@pytest.fixture
def sounds(tmp_path, lab):
    """Makes items of sounds, which are vectors in .npy files."""
    (lab / "mmv.py").write_text(MODULE)
    rng = np.random.default_rng(3)

    def make(stem, count):
        made = []
        for n in range(count):
            np.save(tmp_path / f"{stem}{n}.npy", rng.standard_normal(12).astype(np.float32))
            made.append(Item(f"{stem}{n}", {"audio": str(tmp_path / f"{stem}{n}.npy")}, {"n": n}))
        return made

    encoder.load.cache_clear()  # another test's module of the same name
    yield make
    encoder.load.cache_clear()


def pair(tmp_path, items):
    """The same items twice: with coarse vectors to be computed, and with stored ones."""
    computed, stored = quiver.open(tmp_path / "computed"), quiver.open(tmp_path / "stored")
    computed.add(*items, encoder="lab.mmv", workers=1)
    stored.add(*items, encoder="lab.mmv stored=true", workers=1)
    return computed, stored


def same(computed, stored, **ask):
    ours, theirs = computed.search(**ask), stored.search(**ask)
    assert [hit.id for hit in ours] == [hit.id for hit in theirs]
    assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-6)
    return ours


def test_computed_vectors_give_the_answers_of_stored_ones(tmp_path, sounds):
    made = sounds("a", 150)
    computed, stored = pair(tmp_path, made)
    for text in ("rain", "a dog barks"):
        found = same(computed, stored, text=text, target="audio", k=40)
        assert str(found.plan.stages[1].route) == "text -> coarse (audio from fine)"
        same(computed, stored, text=text, where="n % 3 = 1", k=60)
    same(computed, stored, audio=made[7].media["audio"], spaces=["coarse"], k=30)
    for collection in (computed, stored):
        collection.delete(["a3", "a4"])
        collection.add(Item("c", {"audio": made[9].media["audio"]}, {"n": 1}), workers=1)
    same(computed, stored, text="rain", k=200)


def test_they_are_computed_once_and_then_only_what_is_new(tmp_path, sounds, monkeypatch):
    monkeypatch.setattr(Table, "tidy", lambda table: None)  # joining fragments rewrites all of them
    collection = quiver.open(tmp_path / "c")
    collection.add(*sounds("a", 150), encoder="lab.mmv", workers=1)
    from lab import mmv

    for text in ("rain", "wind"):
        collection.search(text=text, target="audio")
    assert mmv.MAPPED == [150]
    collection.delete(["a3", "a4"])
    assert len(collection.search(text="rain", target="audio", k=200)) == 148
    assert mmv.MAPPED == [150]
    collection.add(*sounds("b", 20), workers=1)
    assert len(collection.search(text="rain", target="audio", k=200)) == 168
    assert mmv.MAPPED == [150, 20]


def test_computed_vectors_can_be_indexed_where_their_space_is_named(tmp_path, sounds):
    computed, stored = pair(tmp_path, sounds("a", 150))
    (built,) = computed.index("faiss factory=Flat", spaces=["coarse"])
    assert built["column"] == "audio in coarse, computed from fine"
    for collection in (computed, stored):
        collection.delete(["a3", "a4"])
    query = Query({"text": "rain"}, target="audio", k=20)
    asked = computed.search(Query({"text": "rain"}, target="audio", k=20, index="faiss"))
    assert [hit.id for hit in asked] == [hit.id for hit in stored.search(query)]
    with pytest.raises(BadSpec, match="lance indexes stored columns only"):
        computed.index("lance", spaces=["coarse"])


def test_a_bridge_that_is_gone_is_named(tmp_path, sounds):
    computed, _ = pair(tmp_path, sounds("a", 20))
    from lab import mmv

    mmv.Model.bridges = ()
    with pytest.raises(SpaceMismatch, match="it had a bridge from fine@00000000 to coarse@00000000"):
        computed.search(text="rain", target="audio")
