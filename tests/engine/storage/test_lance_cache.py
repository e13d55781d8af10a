"""Lance's caches stay bounded in a process that reads for days while others write."""

import gc
import os
from pathlib import Path

import numpy as np
import psutil
import pytest

import quiver
from quiver.engine.storage import lance_cache, table_reader


def test_the_cache_of_indexes_follows_their_size_on_disk(tmp_path):
    least = 64 << 20
    assert lance_cache.index_bytes(str(tmp_path / "items.lance")) == least
    index = tmp_path / "items.lance/_indices/one/pages.lance"
    index.parent.mkdir(parents=True)
    with index.open("wb") as file:
        file.truncate(100 << 20)  # sparse: it takes no room
    assert lance_cache.index_bytes(str(tmp_path / "items.lance")) == 200 << 20
    total = psutil.virtual_memory().total
    with index.open("wb") as file:
        file.truncate(total // 2)
    assert lance_cache.index_bytes(str(tmp_path / "items.lance")) == max(least, total // 4)
    assert lance_cache.index_bytes("s3://bucket/shop/items.lance") == max(least, total // 16)


def test_a_collection_is_opened_with_bounded_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_cache, "METADATA", 4096)
    monkeypatch.setattr(lance_cache, "index_bytes", lambda uri: 4096)
    shop = quiver.open(tmp_path / "c")
    shop.add_vectors([[float(n), 1.0] for n in range(50)], ids=[f"i{n}" for n in range(50)], space="s", progress=False)
    for n in range(6):
        shop.update_meta({f"i{n}": {"price": n}})
        assert shop.count(f"id = 'i{n}' AND price = {n}") == 1
    size = shop._searcher.session().table.dataset.session().size_bytes()
    assert size < 64 * 1024


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
def test_a_reader_does_not_hold_ever_more_files_open_while_others_write(tmp_path, monkeypatch):
    monkeypatch.setattr(table_reader, "MOVES", 3)
    writer = quiver.open(tmp_path / "shop", catch_up=False)
    vectors = np.eye(200, 4, dtype=np.float32) + 1
    first = {
        "space": "mine",
        "ids": [f"first{n}" for n in range(200)],
        "meta": {"t": [f"thing {n}" for n in range(200)]},
    }
    writer.add_vectors(vectors, **first, text="t", progress=False)
    writer.index()  # with it comes the index of words
    reader = quiver.open(tmp_path / "shop", catch_up=False)
    held = []
    for n in range(7):
        writer.add_vectors(vectors[:1], space="mine", ids=[str(n)], text="t", meta={"t": ["new"]}, progress=False)
        assert len(reader.search(text="new", k=20)) == n + 1
        held.append(indexes_open(tmp_path))
    assert max(held) <= 4 and held[-1] >= 1
    reader.close()


def indexes_open(folder):
    """The number of files of full-text indexes that this process has open."""
    gc.collect()
    names = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    links = [os.readlink(name) for name in names if name.is_symlink()]
    return sum(link.startswith(str(folder)) and "_indices" in link for link in links)
