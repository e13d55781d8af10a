"""Processes that write to one collection at the same time: each id once, and every vector and value there."""

import itertools
import subprocess
import sys
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver import Item
from quiver.engine.core.encoder import load
from quiver.engine.ingest.known import Known
from quiver.engine.ingest.pipeline import Ingest, Report, commit
from quiver.engine.ingest.row_batch import Block
from quiver.engine.source.given import Given
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.write_lock import local_path, lock_of
from quiver.errors import CannotWrite

SMALL, LARGE = "classic dim=64", "classic dim=128"


@pytest.fixture(params=["", "file-object-store://"])
def place(request, tmp_path):
    """A folder, which has a lock, and the same folder as an object store, which has none."""
    return f"{request.param}{tmp_path}/c"


def rows(place):
    """Return all rows by id, after seeing that no id is there twice."""
    found = lance.dataset(f"{place}/items.lance").to_table().to_pylist()
    assert len({row["id"] for row in found}) == len(found), "an id is stored twice"
    return {row["id"]: row for row in found}


def begun(place, items, encoder=SMALL):
    """Begin to add items: all is looked up, decoded and embedded, nothing is committed."""
    table = Table(f"{place}/items.lance")
    ingest = Ingest(table, [load(encoder)], quarantine=Quarantine(f"{place}/quarantine.lance"))
    run = ingest.run(Given.of(items))
    next(run)
    return ingest, run


def texts(count, **meta):
    return [
        Item(f"x{n}", {"text": f"caption {n}"}, {name: f"{value} {n}" for name, value in meta.items()})
        for n in range(count)
    ]


def seeded(place):
    shop = quiver.open(place, catch_up=False)
    shop.add(Item("seed", {"text": "hello world"}, {"price": "1"}), encoder=SMALL, workers=1)  # makes the index on id
    return shop


def vectors(row):
    return {name for name, value in row.items() if name.startswith("vec_") and value is not None}


def test_the_same_new_items_added_twice_at_once_are_there_once(place):
    seeded(place)
    first, second = (begun(place, texts(20)) for _ in range(2))
    for ingest, run in (second, first):
        list(run)
        assert ingest.table.count() == 21
    found = rows(place)
    assert len(found) == 21 and all(vectors(row) for row in found.values())
    assert (second[0].report.added, first[0].report.added) == (20, 0)


def test_two_encoders_added_to_the_same_new_items_at_once_are_both_there(place):
    seeded(place)
    first, second = begun(place, texts(20), SMALL), begun(place, texts(20), LARGE)
    for _, run in (first, second):
        list(run)
    found = rows(place)
    assert [len(vectors(found[f"x{n}"])) for n in range(20)] == [2] * 20


def test_metadata_of_one_add_survive_another_that_has_none(place):
    seeded(place)
    for order in ((0, 1), (1, 0)):
        runs = [begun(place, texts(20, price=f"worth {order}")), begun(place, texts(20))]
        for n in order:
            list(runs[n][1])
        found = rows(place)
        assert [found[f"x{n}"]["price"] for n in range(20)] == [f"worth {order} {n}" for n in range(20)]
        assert all(f"worth {order} {n}" in found[f"x{n}"]["words"] for n in range(20))


def test_two_columns_written_at_once_are_both_there_and_so_are_their_words(place):
    shop = seeded(place)
    shop.add(*texts(20, colour="none", size="none"), encoder=SMALL, workers=1)
    tables = [Table(f"{place}/items.lance") for _ in range(2)]
    blocks = []
    for table, (name, value) in zip(tables, (("colour", "crimson"), ("size", "gigantic")), strict=True):
        (batch,) = Given.of([Item(f"x{n}", {}, {name: value}) for n in range(20)], media=False).batches(64)
        blocks.append(Block())
        blocks[-1].add(Known.look_up(table, batch, ()), dict.fromkeys(range(20)), {})
    for table, block in zip(tables, blocks, strict=True):
        commit(table, block, Report())
    found = rows(place)
    assert {(found[f"x{n}"]["colour"], found[f"x{n}"]["size"]) for n in range(20)} == {("crimson", "gigantic")}
    assert all("crimson" in found[f"x{n}"]["words"] and "gigantic" in found[f"x{n}"]["words"] for n in range(20))


def test_what_is_deleted_while_it_is_given_other_vectors_stays_deleted(place):
    shop = seeded(place)
    shop.add(*texts(4), encoder=SMALL, workers=1)
    ingest, run = begun(place, texts(4), LARGE)
    shop.delete(["x1"])
    list(run)
    assert set(rows(place)) == {"seed", "x0", "x2", "x3"}
    assert (ingest.report.added, ingest.report.embedded, ingest.report.unchanged) == (0, 3, 1)


def test_content_replaced_while_it_is_given_other_vectors_keeps_no_vector_of_the_old_content(place):
    shop = seeded(place)
    shop.add(*texts(2), encoder=SMALL, workers=1)
    _, run = begun(place, texts(2, note="mine"), LARGE)
    shop.add(Item("x1", {"text": "another caption"}), encoder=SMALL, workers=1)
    list(run)
    found = rows(place)
    assert len(vectors(found["x0"])) == 2 and len(vectors(found["x1"])) == 1
    assert found["x1"]["text"] == "another caption" and found["x1"]["note"] == "mine 1"
    assert (
        found["x1"]["words"].split() == ["another", "caption", "1", "mine", "1"][:2] + found["x1"]["words"].split()[2:]
    )


class Interleaved(Block):
    """A block during whose commit, between look-up and merge, something else happens once."""

    def __init__(self, meanwhile):
        super().__init__()
        self.meanwhile = [meanwhile]

    def changes(self, table):
        found = super().changes(table)
        while self.meanwhile:
            self.meanwhile.pop()()
        return found


def block_of(block, table, items, filled=None):
    (batch,) = Given.of(items).batches(64)
    block.add(
        Known.look_up(table, batch, ()), {n: f"hash of {items[n].media}" for n in range(len(items))}, filled or {}
    )
    return block


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ([("n", "a", {})], [("n", "a", {"price": "2"})], ("a", "2")),
        ([("n", "a", {"price": "3"})], [("n", "a", {})], ("a", "3")),
        ([("n", "a", {"price": "3"})], [("n", "b", {})], ("b", "3")),
        ([("seed", "hello world", {"price": "4"})], [("seed", "hello world", {"shade": "5"})], ("hello world", "4")),
    ],
)
def test_without_a_lock_a_commit_that_lost_the_race_is_made_again_from_the_look_up(tmp_path, theirs, ours, expected):
    place = f"file-object-store://{tmp_path}/c"
    seeded(place)
    mine, other = (Table(f"{place}/items.lance") for _ in range(2))
    mine.add_fields([pa.field("shade", pa.string())])
    made = [[Item(id, {"text": text}, meta) for id, text, meta in each] for each in (theirs, ours)]

    def meanwhile():
        other.refresh()
        commit(other, block_of(Block(), other, made[0]), Report())

    commit(mine, block_of(Interleaved(meanwhile), mine, made[1]), Report())
    row = rows(place)[ours[0][0]]
    assert (row["text"], row["price"]) == expected
    assert row["shade"] == ours[0][2].get("shade") and row["price"] in row["words"]


def test_encoders_recorded_at_once_are_both_there(place):
    seeded(place)
    for table, spec in [(Table(f"{place}/items.lance"), f"some spec={n}") for n in range(3)]:
        table.record(spec, {"keys": {}, "bridges": []})
    assert {f"some spec={n}" for n in range(3)} < Table(f"{place}/items.lance").encoders.keys()


def test_quarantines_of_two_writers_are_joined(place):
    seeded(place)
    one, two = (Quarantine(f"{place}/quarantine.lance") for _ in range(2))
    assert one.rows() == two.rows() == []
    one.add([("a", None, "torn"), ("b", None, "empty")])
    two.add([("c", None, "odd")])
    two.cure(["a"])
    one.cure(["c"])
    assert [row["id"] for row in quiver.open(place).info()["quarantine"]] == ["b"]


SIX = """
import sys, quiver
from quiver import Item
if __name__ == "__main__":
    place, n = sys.argv[1], int(sys.argv[2])
    shop = quiver.open(place, catch_up=False)
    print("ready", flush=True)
    sys.stdin.readline()
    items = [Item(f"x{i}", {"text": f"caption {i}"}, {f"from{n}": f"word{n}"}) for i in range(10 * n, 10 * n + 60)]
    shop.add(*items, encoder=f"classic dim={64 if n % 2 else 128}", workers=1, progress=False)
    shop.update_meta({f"x{i}": {f"more{n}": f"also{n}"} for i in range(10 * n, 10 * n + 60)})
"""


def test_six_writers_with_overlapping_keys_leave_each_id_once_with_every_vector_and_value(tmp_path):
    place = str(tmp_path / "c")
    seeded(place)
    command = [sys.executable, "-c", SIX, place]
    writers = [
        subprocess.Popen(
            [*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(6)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    ends = [writer.communicate(timeout=240) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 6, ends
    found = rows(place)
    assert set(found) == {"seed", *(f"x{i}" for i in range(110))}
    for n, i in itertools.product(range(6), range(110)):
        if 10 * n <= i < 10 * n + 60:
            row = found[f"x{i}"]
            assert (row[f"from{n}"], row[f"more{n}"]) == (f"word{n}", f"also{n}")
            assert {f"word{n}", f"also{n}"} <= set(row["words"].split())
    spaces = {n % 2 for n in range(6)}
    assert all(
        len(vectors(found[f"x{i}"])) == len(spaces & {n % 2 for n in range(6) if 10 * n <= i < 10 * n + 60})
        for i in range(110)
    )


HOLD = """
import sys
from quiver.engine.storage.write_lock import lock_of
with lock_of(sys.argv[1]).hold() as held:
    print(held, flush=True)
    sys.stdin.readline()
"""


def test_the_lock_of_a_process_that_is_killed_is_free_again_and_who_waits_is_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("quiver.engine.storage.write_lock._PATIENCE", 0.05)
    shop = seeded(str(tmp_path / "c"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "c")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "True\n"
    deleting = threading.Thread(target=shop.delete, args=(["seed"],))
    deleting.start()
    while "another process writes to" not in caplog.text:
        assert deleting.is_alive() and len(rows(str(tmp_path / "c"))) == 1
    holder.kill()
    holder.communicate()
    deleting.join(30)
    assert not deleting.is_alive() and not rows(str(tmp_path / "c"))


def test_the_lock_is_one_for_all_names_of_a_folder_and_can_be_taken_again_by_its_thread(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "c")
    lock = lock_of(str(tmp_path / "c"))
    assert lock_of(str(tmp_path / "link")) is lock and lock_of(f"file://{tmp_path}/c") is lock
    order = []

    def late():
        with lock.hold():
            order.append("late")

    with lock.hold() as outer, lock.hold() as inner:
        assert outer and inner
        waiting = threading.Thread(target=late)
        waiting.start()
        order.append("first")
    waiting.join(10)
    assert order == ["first", "late"]
    assert local_path("gs://bucket/c") is None
    with lock_of("s3://bucket/c").hold() as held:
        assert not held


def test_writers_decode_without_the_lock(tmp_path):
    place = str(tmp_path / "c")
    shop = seeded(place)
    _, run = begun(place, texts(4))
    shop.update_meta({"seed": {"price": "2"}})  # would wait for ever if the lock were held
    list(run)
    assert rows(place)["seed"]["price"] == "2" and len(rows(place)) == 5


def test_ready_made_vectors_of_two_writers_are_there_once(place):
    data = np.eye(8, dtype=np.float32)
    seeded(place)
    shops = [quiver.open(place, catch_up=False) for _ in range(2)]
    threads = [
        threading.Thread(
            target=shop.add_vectors, args=(data,), kwargs={"space": "made", "ids": [f"v{n}" for n in range(8)]}
        )
        for shop in shops
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = rows(place)
    assert len(found) == 9 and all(vectors(found[f"v{n}"]) for n in range(8))


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"cannot write .*/file/c"), lock_of(str(tmp_path / "file" / "c")).hold():
        pass
