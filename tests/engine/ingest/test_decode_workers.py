import os
import signal
import subprocess
import sys

import pytest

import quiver
from quiver.engine.ingest.decode import Job, Slot
from quiver.engine.ingest.decode_workers import Workers, checked_count, limits_of
from quiver.engine.ingest.worker_process import Limits, WorkerProcess, resident
from quiver.errors import BadSpec
from quiver.media import TextReader

SCRIPT = "import quiver\nprint(quiver.open({place!r}).add({photos!r}, encoder='classic', progress=False).added)\n"


@pytest.fixture
def hostile(lab):
    """A reader that does what a text says."""
    (lab / "hostile.py").write_text(
        "import os, time\nfrom dataclasses import dataclass\n@dataclass(frozen=True)\nclass Reader:\n"
        "    mark: str = ''\n"
        "    def __call__(self, text):\n"
        "        if text == 'die': os._exit(9)\n"
        "        if text == 'hang': time.sleep(600)\n"
        "        if text == 'grow': return len(bytearray(3 << 30))\n"
        "        if text == 'print': os.write(1, b'noise'); print('noise')\n"
        "        if text == 'odd': raise KeyError('odd')\n"
        "        if text == 'once' and not os.path.exists(self.mark): open(self.mark, 'w').close(); os._exit(9)\n"
        "        return text.upper()\n"
    )
    import lab.hostile

    return lab.hostile


def decoded(reader, *texts, limits=None, count=1, size=64):
    jobs = [Job(f"{n}", {"text": text}) for n, text in enumerate(texts)]
    with Workers([Slot("text", reader)], count=count, limits=limits) as workers:
        chunks = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        results = [result for chunk in workers.map(chunks) for result in chunk]
    assert [result.id for result in results] == [job.id for job in jobs]
    return [result.reason or result.media[0] for result in results]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_chunks_come_back_in_the_order_they_went(count):
    texts = [f"text {n}" for n in range(50)]
    assert decoded(TextReader(), *texts, count=count, size=4) == texts


def test_a_worker_that_dies_costs_the_one_item_it_was_at(hostile):
    died = "decoding this item killed its worker process"
    assert decoded(hostile.Reader(), "a", "die", "b", "die", "c") == ["A", died, "B", died, "C"]


def test_an_item_is_not_blamed_for_a_death_that_does_not_repeat(hostile, tmp_path):
    assert decoded(hostile.Reader(str(tmp_path / "mark")), "a", "once", "b") == ["A", "ONCE", "B"]


def test_an_item_that_hangs_is_left_out_after_the_seconds_allowed(hostile):
    found = decoded(hostile.Reader(), "a", "hang", "b", limits=Limits(0.5, 1 << 30))
    assert found == ["A", "decoding took more than 0.5 s: raise max_seconds to allow it", "B"]


def test_an_item_that_needs_too_much_memory_is_left_out(hostile):
    found = decoded(hostile.Reader(), "a", "grow", "b", limits=Limits(120, 1 << 30))
    assert found == ["A", "decoding needs more than 1 GB of memory: raise max_memory to allow it", "B"]


def test_a_library_that_prints_does_not_disturb_the_results(hostile, capfd):
    assert decoded(hostile.Reader(), "print", "b") == ["PRINT", "B"]


def test_an_error_nobody_foresaw_is_a_reason_and_the_rest_goes_on(hostile):
    assert decoded(hostile.Reader(), "odd", "b") == ["KeyError: 'odd'", "B"]


def test_a_reader_that_cannot_be_sent_to_a_worker_is_run_here_and_no_item_is_blamed():
    with Workers([Slot("text", lambda text: text[::-1])], count=1) as workers:
        (results,) = workers.map([[Job("a", {"text": "abc"})]])
    assert results[0].media == {0: "cba"}
    assert workers.notes[0].startswith("decoding without worker processes, and so without limits: a reader cannot be")


def test_a_frozen_program_decodes_in_its_own_process(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert decoded(TextReader(), "a", "b") == ["a", "b"]


def test_a_worker_that_is_killed_while_idle_is_replaced(hostile):
    with Workers([Slot("text", TextReader())], count=1) as workers:
        chunks = ([Job(f"{n}", {"text": "x"})] for n in range(5))
        stream = workers.map(chunks)
        assert next(stream)[0].reason is None
        for worker in list(workers._alive):
            os.kill(worker.pid, signal.SIGKILL)
        assert [chunk[0].reason for chunk in stream] == [None] * 4


def test_workers_end_with_the_pool_even_where_it_is_left_early(hostile):
    with Workers([Slot("text", hostile.Reader())], count=2) as workers:
        stream = workers.map([[Job("a", {"text": "a"})], *([Job("b", {"text": "hang"})] for _ in range(5))])
        next(stream)
        started = list(workers._alive)
    assert started and all(worker._process.poll() is not None for worker in started)


def test_the_memory_of_a_process_is_read():
    assert resident(os.getpid()) > 1 << 20
    worker = WorkerProcess([Slot("text", TextReader())], Limits(10, 1 << 30))
    assert worker.resident() > 1 << 20
    worker.close()


@pytest.mark.parametrize("workers", [-1, 1.5, True, "2"])
def test_a_number_of_workers_that_cannot_be_is_one_clear_line(tmp_path, photos, workers):
    with pytest.raises(BadSpec, match="workers must be a whole number of at least 0"):
        quiver.open(tmp_path / "c").add(photos, workers=workers)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("options", [{"max_seconds": 0}, {"max_memory": -1}, {"max_memory": "much"}, {"wrokers": 2}])
def test_an_option_that_cannot_be_is_one_clear_line(tmp_path, photos, options):
    with pytest.raises(BadSpec, match=r"max_seconds must|max_memory must|memory must look like|no option 'wrokers'"):
        quiver.open(tmp_path / "c").add(photos, **options)
    assert not (tmp_path / "c").exists()


def test_limits_have_defaults_that_leave_room_on_the_machine():
    assert checked_count(None) >= 1 and checked_count(0) == 0
    assert limits_of(1).seconds == 120
    assert 1 << 30 <= limits_of(64).memory <= limits_of(1).memory <= 4 << 30


@pytest.mark.parametrize("way", ["script", "stdin", "code", "module"])
def test_a_program_without_a_main_guard_adds_items(tmp_path, photos, way):
    text = SCRIPT.format(place=str(tmp_path / "c"), photos=str(photos))
    (tmp_path / "ingest.py").write_text(text)
    arguments = {"script": ["ingest.py"], "stdin": ["-"], "code": ["-c", text], "module": ["-m", "ingest"]}[way]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        input=text if way == "stdin" else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "24", "")
