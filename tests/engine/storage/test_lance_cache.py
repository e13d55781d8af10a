"""Lance's caches stay bounded in a process that reads for days while others write."""

import psutil

import quiver
from quiver.engine.storage import lance_cache


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
