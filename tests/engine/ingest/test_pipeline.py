import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.engine.storage.dataset import Table


def contents(collection):
    """Everything a collection holds, in an order of its own: rows by id, vectors included."""
    table = Table(f"{collection.uri}/items.lance").dataset.to_table()
    return table.sort_by("id").to_pydict()


def test_what_is_unchanged_is_skipped_and_what_changed_is_embedded_anew(tmp_path, photos):
    collection = quiver.open(tmp_path / "c")
    assert collection.add(photos, workers=1).added == 24
    again = collection.add(photos, workers=1)
    assert (again.added, again.updated, again.embedded, again.unchanged) == (0, 0, 0, 24)
    Image.new("RGB", (24, 24), "yellow").save(photos / "red0.png")
    changed = collection.add(photos, workers=1)
    assert (changed.added, changed.updated, changed.embedded, changed.unchanged) == (0, 1, 1, 23)
    best = collection.search(image=photos / "red0.png", k=1)[0]
    assert best.id == "photos/red0.png" and best.score == pytest.approx(1.0, abs=1e-5)
    assert len(collection) == 24


def test_metadata_that_comes_later_changes_no_vector(tmp_path, photos, prices):
    collection = quiver.open(tmp_path / "c")
    collection.add(photos, workers=1)
    later = collection.add(photos, meta=prices, workers=1)
    assert (later.added, later.updated, later.embedded) == (0, 24, 0)
    assert collection.get(["photos/blue0.png"])[0].meta["price"] == 0
    kept = collection.add(photos, workers=1)
    assert kept.unchanged == 24 and collection.get(["photos/blue0.png"])[0].meta["colour"] == "blue"


def test_bad_files_are_quarantined_with_their_reason_and_the_rest_goes_on(tmp_path, photos):
    good = (photos / "red0.png").read_bytes()
    (photos / "empty.png").touch()
    (photos / "half.png").write_bytes(good[: len(good) // 2])
    (photos / "prose.jpg").write_text("this is no picture")
    (photos / "huge.png").write_bytes(good[:16] + (60000).to_bytes(4, "big") * 2 + good[24:])
    (photos / "misnamed.jpg").write_bytes(good)
    collection = quiver.open(tmp_path / "c")
    report = collection.add(photos, workers=2)
    assert (report.added, report.quarantined) == (25, 4)
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    assert set(reasons) == {f"photos/{name}" for name in ("empty.png", "half.png", "prose.jpg", "huge.png")}
    assert "empty" in reasons["photos/empty.png"]
    (photos / "half.png").write_bytes(good)
    assert collection.add(photos, workers=1).added == 1
    assert "photos/half.png" not in {row["id"] for row in collection.info()["quarantine"]}


def test_a_file_that_kills_its_worker_takes_only_itself_down(tmp_path, lab):
    (lab / "deadly.py").write_text(
        "import os, numpy as np\nfrom dataclasses import dataclass\nfrom quiver.types import Space\n"
        "@dataclass(frozen=True)\nclass Reader:\n    def __call__(self, text):\n"
        "        if 'poison' in text: os._exit(9)\n        return text\n"
        "class Made:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('made', 2, 'cosine', '0'),) if key == 'text' else ()\n"
        "    def reader(self, key): return Reader()\n"
        "    def embed(self, key, batch, space): return np.tile(np.float32([1, 0]), (len(batch), 1))\n"
        "def load(): return Made()\n"
    )
    items = [quiver.Item(f"{n}", {"text": "poison" if n == 3 else f"water {n}"}) for n in range(6)]
    collection = quiver.open(tmp_path / "c")
    report = collection.add(*items, encoder="lab.deadly", workers=1)
    assert (report.added, report.quarantined) == (5, 1)
    assert collection.info()["quarantine"][0]["reason"] == "decoding this item killed its worker process"


def test_an_item_its_encoder_cannot_take_is_quarantined_alone(tmp_path, lab):
    (lab / "picky.py").write_text(
        "import numpy as np\nfrom quiver.types import Space\nfrom quiver.media import TextReader\n"
        "class Made:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('made', 2, 'cosine', '0'),) if key == 'text' else ()\n"
        "    def reader(self, key): return TextReader()\n"
        "    def embed(self, key, batch, space):\n"
        "        if 'no' in batch: raise ValueError('not this')\n"
        "        return np.float32([[1, 0] if text != 'nan' else [np.nan, 0] for text in batch])\n"
        "def load(): return Made()\n"
    )
    items = [quiver.Item(text, {"text": text}) for text in ("yes", "no", "nan", "fine")]
    collection = quiver.open(tmp_path / "c")
    assert collection.add(*items, encoder="lab.picky", workers=1).added == 2
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    assert reasons == {
        "no": "lab.picky: ValueError: not this",
        "nan": "lab.picky: 1 of its 2 numbers are missing or not finite",
    }


def test_a_second_encoder_fills_its_own_column_and_leaves_the_first_alone(tmp_path, photos, prices):
    collection = quiver.open(tmp_path / "c")
    collection.add(photos, meta=prices, workers=1)
    before = contents(collection)
    second = "timm model=test_vit pretrained=false"
    backfill = collection.add(encoder=second, workers=1)
    assert (backfill.added, backfill.embedded) == (0, 24)
    after = contents(collection)
    assert {name: after[name] for name in before} == before
    assert len(collection.info()["columns"]) == 2
    assert collection.add(encoder=second, workers=1).embedded == 0
    both = collection.search(image=photos / "red0.png", k=3, fuse=True)
    assert both[0].id == "photos/red0.png" and "fuse" in both[0].trace


def test_content_that_changed_loses_the_vectors_of_encoders_that_did_not_see_it(tmp_path, photos):
    second = "timm model=test_vit pretrained=false"
    collection = quiver.open(tmp_path / "c")
    collection.add(photos, encoder=["classic", second], workers=1)
    Image.new("RGB", (24, 24), "yellow").save(photos / "red0.png")
    collection.add(photos, encoder="classic", workers=1)
    columns = {column["space"]: column for column in collection.info()["columns"]}
    assert len(collection.search(like="photos/red1.png", spaces=["classic/image"], k=50)) == 23
    timm = next(name for name in columns if name.startswith("timm"))
    assert len(collection.search(like="photos/red1.png", spaces=[timm], k=50)) == 22
    assert collection.add(encoder=second, workers=1).embedded == 1
    assert len(collection.search(like="photos/red1.png", spaces=[timm], k=50)) == 23


ADD = """
import sys, quiver
from quiver.engine.ingest import pipeline
if __name__ == "__main__":
    pipeline.COMMIT_ROWS = 64
    quiver.open(sys.argv[1]).add(sys.argv[2], workers=1)
"""
#: The same, but the process and its workers die right before or right after the n-th block is committed.
DIE = """
import os, signal, sys, quiver
from quiver.engine.ingest import pipeline
pipeline.COMMIT_ROWS = 64
commit, count = pipeline.commit, 0

def counted(table, block, report):
    global count
    count += 1
    if (sys.argv[3], int(sys.argv[4])) == ("before", count):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    done = commit(table, block, report)
    if (sys.argv[3], int(sys.argv[4])) == ("after", count):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    return done

pipeline.commit = counted
quiver.open(sys.argv[1]).add(sys.argv[2], workers=1)
"""
#: How often a run is killed at a random moment besides; QUIVER_KILLS=20 for the long form.
KILLS = int(os.environ.get("QUIVER_KILLS", "1"))


def start_add(collection, folder):
    return subprocess.Popen(
        [sys.executable, "-c", ADD, str(collection), str(folder)], start_new_session=True, stderr=subprocess.PIPE
    )


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for n in range(400):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{n:03d}.png")
    return folder


def test_killed_at_any_moment_and_run_again_gives_the_rows_of_an_undisturbed_run(tmp_path, many):
    assert start_add(tmp_path / "undisturbed", many).communicate() == (None, b"")
    expected = contents(quiver.open(tmp_path / "undisturbed"))
    for when, number, rows in [("before", 1, 0), ("after", 1, 64), ("before", 4, 192), ("after", 6, 384)]:
        place = tmp_path / f"{when}{number}"
        words = [sys.executable, "-c", DIE, str(place), str(many), when, str(number)]
        done = subprocess.run(words, start_new_session=True, check=False)
        assert done.returncode == -signal.SIGKILL
        finish(place, many, expected, rows)
    rng = random.Random(5)
    for n in range(KILLS):  # whatever the moment is
        place = tmp_path / f"killed{n}"
        process = start_add(place, many)
        time.sleep(rng.uniform(0.5, 4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        finish(place, many, expected)


def finish(place, folder, expected, rows=None):
    """Run the same command again on what a kill left: whole blocks, ``rows`` of them where that is known."""
    killed = quiver.open(place)
    left = len(killed) if (place / "items.lance").exists() else 0
    assert left in range(0, 449, 64) or left == 400
    assert rows is None or left == rows
    killed.add(folder, workers=1)
    assert contents(killed) == expected
    assert killed.info()["quarantine"] == []


def test_what_was_done_is_kept_when_someone_stops_it(tmp_path, many):
    from quiver.engine import source
    from quiver.engine.core.encoder import load
    from quiver.engine.ingest.pipeline import Ingest
    from quiver.engine.storage.quarantine import Quarantine

    table = Table.create(str(tmp_path / "items.lance"))
    ingest = Ingest(table, [load("classic")], quarantine=Quarantine(str(tmp_path / "bad.lance")))
    run = ingest.run(source.open([str(many)]))
    done = next(run) + next(run)
    assert table.count() == 0
    run.close()
    assert table.count() == done == 128


def test_metadata_that_another_process_adds_meanwhile_does_not_trip_a_run(tmp_path, photos):
    import pyarrow as pa

    from quiver.engine.core.encoder import load
    from quiver.engine.ingest.pipeline import Ingest
    from quiver.engine.source.given import Given
    from quiver.engine.storage.quarantine import Quarantine

    items = [quiver.Item(f"t{n}", {"text": f"text {n}"}) for n in range(64)]
    items.append(quiver.Item("picture", {"image": photos / "red0.png"}))
    table = Table.create(str(tmp_path / "items.lance"))
    ingest = Ingest(table, [load("classic")], quarantine=Quarantine(str(tmp_path / "bad.lance")))
    run = ingest.run(Given.of(items))
    next(run)
    Table(table.uri).add_fields([pa.field("price", pa.int64())])
    assert list(run) == [1]
    assert table.count() == 65 and "price" in table.meta


def test_two_processes_adding_at_once_neither_double_nor_lose(tmp_path, many):
    processes = [start_add(tmp_path / "both", many) for _ in range(2)]
    problems = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], problems
    both = quiver.open(tmp_path / "both")
    found = contents(both)["id"]
    assert len(found) == len(set(found)) == 400


def test_two_processes_with_different_encoders_fill_both_columns(tmp_path, photos):
    quiver.open(tmp_path / "both").add(photos, workers=1)
    code = "import sys, quiver\nif __name__ == '__main__': quiver.open(sys.argv[1]).add(encoder=sys.argv[2], workers=1)"
    specs = ["timm model=test_vit pretrained=false", "timm model=test_efficientnet pretrained=false", "classic"]
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "both", spec], stderr=subprocess.PIPE)
        for spec in specs
    ]
    problems = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], problems
    both = quiver.open(tmp_path / "both")
    assert sorted(both.info()["encoders"]) == sorted(specs)
    for column in both.info()["columns"]:
        assert len(both.search(like="photos/red0.png", spaces=[column["space"]], k=50)) == 23


def test_workers_end_when_the_main_process_is_killed(tmp_path, many):
    process = start_add(tmp_path / "orphans", many)
    tasks = Path(f"/proc/{process.pid}/task")
    if not Path(f"{tasks}/{process.pid}/children").exists():
        process.kill()
        process.communicate()
        pytest.skip("this system does not list the children of a process")
    workers = []
    while not workers and process.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            workers = [pid for children in tasks.glob("*/children") for pid in children.read_text().split()]
    process.kill()
    process.communicate()
    for _ in range(100):
        alive = {pid for pid in workers if Path(f"/proc/{pid}").exists()}
        if not alive:
            break
        time.sleep(0.1)
    assert workers and not alive
