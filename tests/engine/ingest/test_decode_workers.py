import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import wave

import av
import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.encoders._frozen import Readers
from quiver.encoders.map_ivr.window import WindowReader, Windows
from quiver.encoders.transformers.within import Within
from quiver.encoders.two_tower.word import GramReader
from quiver.engine.core.messages import BadMessage, packed, receive
from quiver.engine.ingest.decode import Decoded, Hashed, Job, Slot, content_hash, stamps
from quiver.engine.ingest.decode_windows import decode_all
from quiver.engine.ingest.decode_workers import Workers, checked_count, limits_of
from quiver.engine.ingest.windows import SplitReader
from quiver.engine.ingest.worker_process import Limits, WorkerProcess, _result, resident
from quiver.errors import BadSpec
from quiver.media import AudioReader, ImageReader, PairReader, TextReader, VideoReader

#: Adds items; and what of it starts a process, which is quicker.
SCRIPT = "import quiver\nprint(quiver.open({place!r}).add({photos!r}, encoder='classic', progress=False).added)\n"
DECODES = """
from pathlib import Path
from quiver.engine.ingest.decode import Job, Slot
from quiver.engine.ingest.decode_workers import Workers
from quiver.media import ImageReader
with Workers([Slot("image", ImageReader())], count=1) as workers:
    (found,) = workers.map([[Job(path.name, {{"image": str(path)}}) for path in Path({photos!r}).iterdir()]])
print(len([each for each in found if each.reason is None]), *workers.notes)
"""


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


@pytest.fixture
def seized(lab):
    """A reader that a crafted file has taken over: it writes bytes of the file's to every pipe of its process."""
    (lab / "seized.py").write_text(
        "import os, stat\nfrom contextlib import suppress\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Reader:\n"
        "    def __call__(self, text):\n"
        "        if not text.startswith('write '): return text.upper()\n"
        "        for pipe in range(3, 64):\n"
        "            with suppress(OSError):\n"
        "                if stat.S_ISFIFO(os.fstat(pipe).st_mode): os.write(pipe, bytes.fromhex(text[6:]))\n"
        "        os._exit(0)\n"
    )
    import lab.seized

    return lab.seized


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def answer(*fields, body=b"", sizes=None):
    """Return an answer as a worker writes it, with any fields."""
    head = json.dumps(fields).encode()
    return struct.pack(">QQ", *(sizes or (len(head), len(body)))) + head + body


def read(keys, *fields, **media):
    """Return what the parent takes from an answer."""
    return _result(receive(io.BytesIO(answer(*fields)), most=0), Job("a", media or {"text": "a"}), keys)


BROKEN = "decoding this item broke its worker process, whose answer has the wrong form"
DIED = "decoding this item killed its worker process"
HASH = "0" * 64


def test_a_file_that_takes_over_its_worker_costs_itself_and_runs_nothing(seized, tmp_path):
    mark = tmp_path / "mark"
    unpickled = pickle.dumps(Evil(mark)) + bytes(1 << 12)
    pixels = {"array": ["|u1", [99], "C"]}
    crafted = [
        (unpickled, BROKEN),
        (answer(HASH, None, False, [0], ["A"], [0], [7]), BROKEN),
        (answer(HASH, None, False, [0], [pixels], [], [], body=bytes(99))[:-1], DIED),
    ]
    texts = ["a", *(text for data, _ in crafted for text in (f"write {data.hex()}", "b"))]
    assert decoded(seized.Reader(), *texts) == ["A", *(text for _, reason in crafted for text in (reason, "B"))]
    assert not mark.exists()


@pytest.mark.parametrize(
    "fields",
    [
        [], [HASH, None, False, [0], ["A"], []], [HASH, None, False, [0], ["A"], [], [], None],
        ["../../x", None, False, [0], ["A"], [], []], [HASH + "0", None, False, [0], ["A"], [], []],
        [7, None, False, [0], ["A"], [], []], [None, None, False, [], [], [], []],
        [HASH, 7, False, [0], ["A"], [], []], [HASH, ["A"], False, [0], ["A"], [], []],
        [HASH, None, False, [1], ["A"], [], []], [HASH, None, False, [-1], ["A"], [], []],
        [HASH, None, False, ["0"], ["A"], [], []], [HASH, None, False, [0.0], ["A"], [], []],
        [HASH, None, False, [False], ["A"], [], []], [HASH, None, False, [[0]], ["A"], [], []],
        [HASH, None, False, 0, ["A"], [], []], [HASH, None, False, [0], [], [], []],
        [HASH, None, False, [0], 7, [], []],
        [HASH, None, False, [], [], [0], [7]], [HASH, None, False, [], [], [9], ["A"]],
        [HASH, None, False, [], [], [0], []], [HASH, None, False, [0], [{"array": ["|O", [1], "C"]}], [], []],
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_refused(fields):
    assert read(("text", "image"), HASH, None, False, [0], ["A"], [], []) == Decoded("a", HASH, {0: "A"})
    with pytest.raises(BadMessage):
        read(("text", "image"), *fields)


def test_an_answer_cannot_name_other_files_or_another_item():
    found = read(("audio", "video"), HASH, None, True, [0], ["A"], [], [], video="a.mp4")
    assert (found.id, found.found, found.media) == ("a", {"audio": "a.mp4"}, {0: "A"})
    for is_sound in ("other.mp4", 1, None, {"dict": [["audio", "other.mp4"]]}):
        with pytest.raises(BadMessage):
            read(("audio", "video"), HASH, None, is_sound, [0], ["A"], [], [], video="a.mp4")
    for media in ({"video": "a.mp4", "audio": "a.wav"}, {"audio": "a.wav"}):
        with pytest.raises(BadMessage):  # it has a sound of its own
            read(("audio", "video"), HASH, None, True, [0], ["A"], [], [], **media)


def test_a_reason_has_an_end():
    found = read(("text",), None, "x" * 9999, False, [], [], [0], ["y" * 9999])
    assert (found.reason, found.failed) == ("x" * 4000, {0: "y" * 4000})


def test_a_value_that_is_not_plain_is_a_reason_that_says_what_to_do(lab):
    (lab / "classy.py").write_text(
        "from dataclasses import dataclass\nclass Thing: pass\n@dataclass(frozen=True)\nclass Reader:\n"
        "    def __call__(self, text): return Thing() if text == 'thing' else text\n"
    )
    import lab.classy

    thing, other = decoded(lab.classy.Reader(), "thing", "b")
    assert thing.startswith("a lab.classy.Thing is not plain: a reader must return text, numbers, bytes, numpy arrays")
    assert thing.endswith("workers=0") and other == "b"
    assert type(decoded(lab.classy.Reader(), "thing", count=0)[0]) is lab.classy.Thing


def test_all_kinds_of_media_and_errors_come_back_as_they_are_decoded_here(tmp_path, photos):
    """What a worker returns is bit for bit what this process decodes."""
    paths = sorted(str(path) for path in photos.iterdir())
    rng = np.random.default_rng(3)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(rng.integers(-9000, 9000, 16_000, dtype=np.int16).tobytes())
    frames = [Image.open(path) for path in paths[:5]]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:], duration=200)
    with av.open(tmp_path / "memo.mp4", "w") as container:  # a sound that is named like a film
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 24_000)).astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    sound, film, bad = (str(tmp_path / name) for name in ("sound.wav", "film.gif", "bad.png"))
    image = ImageReader(9)
    slots = [
        Slot("image", image), Slot("pair", PairReader(image)), Slot("video", VideoReader(3, image)),
        Slot("audio", AudioReader(8000)), Slot("text", TextReader()), Slot("audio", SplitReader("audio", 0.3, 0.2)),
        Slot("video", Readers((VideoReader(2, image), WindowReader(Windows(2), VideoReader(1, image))))),
        Slot("image", Within(ImageReader(), 100)), Slot("text", GramReader(64)),
    ]  # fmt: skip
    jobs = [
        Job("image", {"image": paths[0], "text": "e\u0301 caf\u00e9"}),
        Job("pair", {"before": paths[0], "after": paths[1]}),
        Job("film", {"video": film}),
        Job("sound", {"audio": sound}),
        *(Job(f"{key} {n}", {key: f"{own}#t={n / 5},{(n + 1) / 5}"}) for key, own in (("audio", sound), ("video", film))
          for n in range(3)),
        Job("stored", known := {"image": paths[2], "text": "a"}, known=content_hash(known), missing=(4,)),
        Job("hashed", {"audio": sound}, hashed=Hashed("", stamps({"audio": sound}))),
        Job("memo", {"video": str(tmp_path / "memo.mp4")}),
        Job("bad", {"image": bad}),
        Job("gone", {"image": str(tmp_path / "gone.png")}),
        Job("half", {"image": paths[3], "audio": bad}),
        Job("no text", {"image": paths[3], "text": " "}),
        Job("late", {"audio": f"{sound}#t=90,91"}),
    ]  # fmt: skip
    with Workers(slots, count=1) as workers:
        (there,) = workers.map([jobs])
    here = list(decode_all(jobs, slots))
    for one, other in zip(there, here, strict=True):
        assert written(one) == written(other), one.id
    assert {each.id for each in here if each.reason} == {"bad", "gone", "half", "late"}
    assert [len(each.media) for each in here if not each.reason][:4] == [4, 1, 2, 2]
    assert next(each for each in there if each.id == "memo").found == {"audio": str(tmp_path / "memo.mp4")}
    assert next(each for each in here if each.id == "no text").failed.keys() == {4, 8}


def written(result):
    """Return a result as bytes that tell types, shapes and every bit."""
    fields = [getattr(result, name) for name in ("id", "sha256", "media", "reason", "found", "failed")]
    return b"".join(packed(fields))


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
    assert started and all(worker._child.status is not None for worker in started)


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
    text = (SCRIPT if way == "script" else DECODES).format(place=str(tmp_path / "c"), photos=str(photos))
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
