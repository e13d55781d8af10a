"""Index files: the one whose note is in place is served, and everything else goes."""

import json

import numpy as np
import pytest

from quiver.engine.core.column import Column
from quiver.engine.storage.index_files import Cache
from quiver.indexers import exact
from quiver.types import Space, Vectors

SPACE = Space("made", 4, "l2", "given")
COLUMN = Column("image", SPACE, None)
NOTE = {"files": {"0": "a"}, "options": {}, "vectors": 20, "counts": {"0": 20}}


@pytest.fixture
def cache(tmp_path):
    return Cache(str(tmp_path))


def index(seed=0):
    data = np.random.default_rng(seed).standard_normal((20, 4)).astype(np.float32)
    return exact.build(Vectors(SPACE, np.arange(20), data), device="cpu")


def names(cache):
    return sorted(path.name for path in cache.path(COLUMN, "exact").iterdir() if not path.name.endswith(".lock"))


def test_what_was_saved_is_opened_with_the_fragments_it_was_built_from(cache):
    assert cache.kinds(COLUMN) == {} and cache.stamp(COLUMN, "exact") is None and cache.open(COLUMN, "exact") is None
    assert cache.save(COLUMN, "exact", index(), NOTE)
    found, files = cache.open(COLUMN, "exact")
    assert files == {0: "a"}
    query = np.ones((1, 4), np.float32)
    assert (found.search(query, 20)[1] == index().search(query, 20)[1]).all()
    assert cache.kinds(COLUMN)["exact"]["vectors"] == 20


def test_another_index_takes_its_place_and_leaves_nothing_behind(cache):
    cache.save(COLUMN, "exact", index(), NOTE)
    first, stamp = names(cache), cache.stamp(COLUMN, "exact")
    cache.promise(COLUMN, "exact").write_text("{}")
    assert cache.save(COLUMN, "exact", index(1), NOTE)
    assert len(names(cache)) == 2 and names(cache) != first and cache.stamp(COLUMN, "exact") != stamp
    assert not cache.promise(COLUMN, "exact").exists(), "a promise of the other index"


def test_what_grew_out_of_an_index_that_is_gone_is_not_published(cache):
    cache.save(COLUMN, "exact", index(), NOTE)
    stamp = cache.stamp(COLUMN, "exact")
    cache.save(COLUMN, "exact", index(1), NOTE)
    served = names(cache)
    assert not cache.save(COLUMN, "exact", index(2), NOTE, instead=stamp)
    assert names(cache) == served
    assert cache.save(COLUMN, "exact", index(2), NOTE, instead=cache.stamp(COLUMN, "exact"))


def test_drafts_of_processes_that_died_are_swept_away(cache):
    cache.save(COLUMN, "exact", index(), NOTE)
    folder = cache.path(COLUMN, "exact")
    (folder / ".index-0123456789ab.0123").mkdir()
    (folder / "index-0123456789ab").mkdir()
    (folder / ".built.0123456789ab.json").write_text("{")
    cache.save(COLUMN, "exact", index(), NOTE)
    assert len(names(cache)) == 2 and "built.json" in names(cache)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', json.dumps({**NOTE, "folder": "../../elsewhere"})])
def test_a_damaged_note_is_as_good_as_none(cache, text):
    cache.save(COLUMN, "exact", index(), NOTE)
    (cache.path(COLUMN, "exact") / "built.json").write_text(text)
    assert cache.kinds(COLUMN) == {} and cache.open(COLUMN, "exact") is None


def test_a_folder_of_no_known_kind_counts_for_nothing(cache):
    cache.save(COLUMN, "exact", index(), NOTE)
    strange = cache.path(COLUMN, "strange.module")
    strange.mkdir(parents=True)
    (strange / "built.json").write_text((cache.path(COLUMN, "exact") / "built.json").read_text())
    assert list(cache.kinds(COLUMN)) == ["exact"]


def test_a_lock_is_held_by_one_at_a_time(cache):
    other = Cache(str(cache.root.parent))
    with cache.lock(COLUMN, "exact", "some.lock", wait=False) as ours:
        held = other.lock(COLUMN, "exact", "some.lock", wait=False)
        with held as theirs:
            assert ours and not theirs
    with cache.lock(COLUMN, "exact", "some.lock", wait=False) as again:
        assert again
