"""Long videos and sounds become windows, which follow their film when it changes, and nothing else is deleted."""

import base64
import io
import json
import os
import re
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine import contact_sheet
from quiver.engine.execution import cards
from quiver.engine.ingest.decode import Job, Slot, decode
from quiver.engine.ingest.decode_windows import decode_all
from quiver.engine.storage.quarantine import Quarantine
from quiver.errors import BadData, BadSpec
from quiver.media import VideoReader

ENCODER = "classic frames=2"
RATE = 4
#: A colour for every scene of five seconds.
COLOURS = {"red": (220, 30, 30), "green": (30, 190, 40), "blue": (30, 50, 220), "yellow": (220, 210, 30)}


def film(path, scenes, seconds=5.0, **options):
    """Write scenes of one colour each, at the given length."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 8
        stream.options = {"sc_threshold": "0", **options}
        for scene in scenes:
            picture = np.full((48, 64, 3), COLOURS[scene], np.uint8)
            for _ in range(round(seconds * RATE)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def films(tmp_path, monkeypatch):
    """A folder with a film of 20 s, in four colours, and the collection's place beside it."""
    folder = tmp_path / "films"
    folder.mkdir()
    film(folder / "long.mp4", COLOURS)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def shelf(tmp_path):
    return quiver.open(tmp_path / "c", catch_up=False)


def add(collection, *sources, window=5, **options):
    return collection.add(*sources, window=window, workers=0, progress=False, **{"encoder": ENCODER, **options})


def ids(collection):
    """The ids of all items."""
    return sorted(collection.search(vectors={collection.info()["columns"][0]["space"]: _any(collection)}, k=1000).ids)


def _any(collection):
    return np.ones(collection.info()["columns"][0]["dim"], np.float32)


@pytest.fixture
def still(tmp_path):
    """The path of a picture of one colour."""

    def made(colour):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (64, 48), COLOURS[colour]).save(path)
        return path

    return made


def test_each_window_is_an_item_with_its_film_and_times(films, shelf, still):
    report = add(shelf, films)
    assert (report.added, report.embedded, report.quarantined) == (4, 4, 0)
    assert "1 film makes 4 windows" in report.notes
    (item,) = shelf.get("films/long.mp4#t=10,15")
    assert item.media == {"video": f"{films / 'long.mp4'}#t=10,15"}
    assert item.meta == {"film": "films/long.mp4", "start": 10.0, "end": 15.0}
    assert shelf.info()["windows"] == {"count": 4, "films": 1}
    for n, colour in enumerate(COLOURS):
        best = shelf.search(image=still(colour), target="video", k=1)[0]
        assert (best.id, best.meta["start"]) == (f"films/long.mp4#t={5 * n},{5 * n + 5}", 5.0 * n)


def test_adding_again_decodes_nothing(films, shelf, monkeypatch):
    add(shelf, films, stride=2.5)
    monkeypatch.setattr(VideoReader, "moments", None)
    again = add(shelf, films, stride=2.5)
    assert (again.added, again.updated, again.embedded, again.unchanged) == (0, 0, 0, 7)


def test_a_stride_beyond_the_window_tells_of_the_gaps(films, shelf):
    report = add(shelf, films, window=2, stride=5)
    gaps = "windows of 2 s every 5 s leave gaps: 3 s between two of them are in no window; stride='2' leaves none"
    assert gaps in report.notes and report.added == 4
    assert not any("gaps" in note for note in add(shelf, films, window=5, stride=5).notes)


def test_windows_are_what_the_same_moments_of_a_table_are(films, shelf):
    add(shelf, films)
    table = films / "moments.tsv"
    rows = ["video\ttitle", *(f"long.mp4#t={n},{n + 5}\tscene {n}" for n in (0, 5, 10, 15))]
    table.write_text("\n".join(rows) + "\n")
    report = shelf.add(table, workers=0, progress=False)
    assert (report.added, report.updated, report.embedded) == (0, 4, 0)  # the same items, with a title now
    assert shelf.get("films/long.mp4#t=5,10")[0].meta["title"] == "scene 5"


def test_conditions_and_groups_work_on_films_and_times(films, shelf, still):
    film(films / "other.mp4", ["blue", "red", "red"])
    add(shelf, films)
    red = shelf.search(image=still("red"), target="video", k=5, group_by="film")
    assert [hit.meta["film"] for hit in red] == ["films/long.mp4", "films/other.mp4"] or [
        hit.meta["film"] for hit in red
    ] == ["films/other.mp4", "films/long.mp4"]
    assert {hit.id.partition("#")[2] for hit in red} <= {"t=0,5", "t=5,10", "t=10,15"}
    late = shelf.search(image=still("red"), target="video", where="start >= 5 AND end <= 10", k=9)
    assert {hit.id for hit in late} == {"films/long.mp4#t=5,10", "films/other.mp4#t=5,10"}
    assert shelf.count("film = 'films/other.mp4'") == 3
    assert shelf.count("end - start < 5") == 0


def test_metadata_and_captions_of_a_film_are_those_of_its_windows(films, shelf, tmp_path):
    (films / "long.txt").write_text("four colours")
    meta = tmp_path / "meta.csv"
    meta.write_text("file,director\nlong.mp4,Varda\n")
    add(shelf, films, meta=meta)
    (item,) = shelf.get("films/long.mp4#t=15,20")
    assert item.meta["director"] == "Varda" and item.media["text"] == "four colours"
    assert add(shelf, films, meta=meta).unchanged == 4


def test_a_film_shorter_than_a_window_and_one_with_a_rest(films, shelf):
    film(films / "short.mp4", ["red"], seconds=2)
    film(films / "rest.mp4", ["red"], seconds=12)
    film(films / "tail.mp4", ["red"], seconds=10.25)
    add(shelf, films)
    assert [id for id in ids(shelf) if "long" not in id] == [
        *(f"films/rest.mp4#t={part}" for part in ("0,5", "5,10", "7,12")),
        "films/short.mp4#t=0,2",
        *(f"films/tail.mp4#t={part}" for part in ("0,5", "5,10.25")),
    ]


def test_a_film_that_shrank_replaces_its_windows_and_touches_nothing_else(films, shelf, still):
    film(films / "other.mp4", ["blue", "red"])
    add(shelf, films)
    shelf.add(quiver.Item("films/long.mp4#t=99,100", {"text": "mine"}, {"film": "films/long.mp4", "start": 99.0}),
              workers=0, progress=False)  # fmt: skip
    film(films / "long.mp4", ["yellow", "red"], seconds=3.5)
    report = add(shelf, films)
    assert (report.added, report.updated, report.unchanged) == (1, 1, 2)
    assert any("films/long.mp4 has changed: 3 windows of its former content are deleted" in n for n in report.notes)
    assert [item.id for item in shelf.get(["films/long.mp4#t=99,100", "films/long.mp4#t=5,10"])] == [
        "films/long.mp4#t=99,100"
    ]
    assert len(shelf) == 2 + 2 + 1
    assert shelf.search(image=still("yellow"), target="video", k=1)[0].id == "films/long.mp4#t=0,5"
    assert add(shelf, films).unchanged == 4


def test_windows_of_another_split_stay_and_are_told(films, shelf):
    add(shelf, films)
    report = add(shelf, films, window=8)
    assert (report.added, len(shelf)) == (3, 7)
    assert any("films/long.mp4 also has 4 windows of another split, which stay" in note for note in report.notes)
    film(films / "long.mp4", ["blue", "red"])  # windows of both splits are of content that is gone
    report = add(shelf, films, window=8)
    assert ids(shelf) == ["films/long.mp4#t=0,8", "films/long.mp4#t=2,10"]
    assert any("6 windows of its former content are deleted" in note for note in report.notes)


def test_windows_of_a_film_with_a_sound_of_its_own_stay_and_go_like_others(films, shelf, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(20 * 8000, np.float32), 8000)
    (tmp_path / "table.csv").write_text("id,video,audio\nlong,films/long.mp4,long.wav\n")
    add(shelf, "table.csv")
    report = add(shelf, "table.csv", window=8)
    assert (report.added, len(shelf)) == (3, 7)
    soundfile.write(tmp_path / "long.wav", np.full(20 * 8000, 0.5, np.float32), 8000)
    report = add(shelf, "table.csv", window=8)
    assert (report.updated, len(shelf)) == (3, 3)
    assert any("long has changed: 4 windows of its former content are deleted" in note for note in report.notes)


def test_a_killed_add_is_resumed_and_old_windows_go_then(films, shelf):
    add(shelf, films)
    film(films / "long.mp4", ["blue", "red"])
    ingest = shelf._changes
    assert ingest is not None
    shelf.add(quiver.Item("films/long.mp4#t=0,5", {"video": f"{films / 'long.mp4'}#t=0,5"}), workers=0, progress=False)
    report = add(shelf, films)  # as after a kill: one new window is stored, the old ones are still there
    assert (report.updated, report.unchanged) == (1, 1)
    assert ids(shelf) == ["films/long.mp4#t=0,5", "films/long.mp4#t=5,10"]


def test_a_film_that_is_unreadable_now_keeps_its_windows(films, shelf):
    add(shelf, films)
    whole = (films / "long.mp4").read_bytes()
    (films / "long.mp4").write_bytes(whole[: len(whole) // 2])  # such as a copy that is not complete yet
    report = add(shelf, films)
    assert report.quarantined == 1 and len(shelf) == 4
    assert [row["id"] for row in shelf.info()["quarantine"]] == ["films/long.mp4"]
    (films / "long.mp4").write_bytes(whole)
    assert add(shelf, films).unchanged == 4 and not shelf.info()["quarantine"]


def test_windows_of_a_damaged_part_are_quarantined_and_the_rest_is_added(films, shelf):
    path = film(films / "long.mp4", [*COLOURS, *COLOURS], bf="0")
    whole = path.read_bytes()
    with av.open(path) as container:
        entries = list(container.streams.video[0].index_entries)
    first, last = entries[40].pos, entries[60].pos  # from 10 to 15 s
    path.write_bytes(whole[:first] + bytes(last - first) + whole[last:])
    report = add(shelf, films)
    bad = {row["id"] for row in shelf.info()["quarantine"]}
    assert "films/long.mp4#t=10,15" in bad and bad <= {f"films/long.mp4#t={n},{n + 5}" for n in (5, 10, 15)}
    assert (report.added, report.quarantined) == (8 - len(bad), len(bad))
    (line,) = report.reasons
    assert line.count == len(bad) and "cannot be decoded" in line.reason
    path.write_bytes(whole)
    add(shelf, films)
    assert len(shelf) == 8 and not shelf.info()["quarantine"]


def test_files_without_video_or_length_are_one_clear_line_each(films, shelf):
    wave = np.sin(np.arange(8_000 * 12) / 3).astype(np.float32)
    soundfile.write(films / "sound.wav", wave, 8_000)
    os.rename(films / "sound.wav", films / "talk.mp4")
    (films / "junk.mkv").write_bytes(b"junk" * 99)
    (films / "empty.mp4").touch()
    report = add(shelf, films)
    reasons = {row["id"]: row["reason"] for row in shelf.info()["quarantine"]}
    assert set(reasons) == {"films/junk.mkv", "films/empty.mp4"}
    assert "is empty" in reasons["films/empty.mp4"] and all(text.count("\n") == 0 for text in reasons.values())
    assert report.added == 4 + 3  # the sound in talk.mp4 is split as a sound
    assert shelf.get("films/talk.mp4#t=7,12")[0].media == {"audio": f"{films / 'talk.mp4'}#t=7,12"}


def test_sounds_are_split_and_found(films, shelf):
    at = np.arange(8_000 * 5) / 8_000
    tones = {"low": 220, "high": 1760, "middle": 620}
    for name, pitch in tones.items():
        soundfile.write(films.parent / f"{name}.wav", np.sin(2 * np.pi * pitch * at), 8_000)
    soundfile.write(
        films / "tape.flac", np.concatenate([np.sin(2 * np.pi * pitch * at) for pitch in tones.values()]), 8_000
    )
    add(shelf, films / "tape.flac", encoder="classic")
    for n, name in enumerate(tones):
        best = shelf.search(audio=films.parent / f"{name}.wav", k=1)[0]
        assert (best.meta["start"], best.meta["end"]) == (5.0 * n, 5.0 * n + 5)


def test_pictures_and_texts_stay_whole(films, shelf, still):
    os.rename(still("red"), films / "red.png")
    (films / "note.txt").write_text("a note")
    add(shelf, films, encoder="classic")
    (picture,) = shelf.get("films/red.png")
    assert picture.meta == {} and len(shelf) == 6


def test_whole_films_beside_windows_are_told(films, shelf):
    add(shelf, films)
    report = shelf.add(films, workers=0, progress=False)
    assert report.added == 1 and any("1 film is stored whole beside the windows" in note for note in report.notes)
    assert any("films/long.mp4" in note and "whole" in note for note in add(shelf, films).notes)


def test_a_split_that_makes_no_sense_is_refused_before_anything_is_added(films, shelf, tmp_path):
    with pytest.raises(BadSpec, match="stride needs window"):
        shelf.add(films, stride=5)
    with pytest.raises(BadSpec, match=r"at least 0\.1"):
        shelf.add(films, window=0)
    with pytest.raises(BadSpec, match="name their files"):
        shelf.add(window=5)
    table = tmp_path / "scenes.csv"
    table.write_text("video,start\nfilms/long.mp4,3\n")
    with pytest.raises(BadData, match="column start, which window fills with seconds"):
        add(shelf, table)
    add(shelf, quiver.Item("a", {"text": "x"}, {"film": 7}), window=None, encoder="classic")
    with pytest.raises(BadData, match="column film of whole numbers"):
        add(shelf, films)
    words = quiver.open(tmp_path / "words", catch_up=False)
    words.add(quiver.Item("a", {"text": "x"}), encoder="classic", workers=0)
    assert len(words) == 1


def test_an_encoder_of_neither_videos_nor_sounds_is_named(films, tmp_path, lab):
    (lab / "words.py").write_text(
        "import numpy as np\nfrom quiver.types import Space\nfrom quiver.media import TextReader\n"
        "class Made:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('made', 2, 'cosine', '0'),) if key == 'text' else ()\n"
        "    def reader(self, key): return TextReader()\n"
        "    def embed(self, key, batch, space): return np.tile(np.float32([1, 0]), (len(batch), 1))\n"
        "def load(): return Made()\n"
    )
    with pytest.raises(BadSpec, match=r"lab\.words embeds neither"):
        quiver.open(tmp_path / "d").add(films, encoder="lab.words", window=5, workers=0)


def test_another_encoder_embeds_stored_windows_in_one_pass(films, shelf, monkeypatch):
    add(shelf, films)
    passes = []
    moments = VideoReader.moments

    def counted(reader, source, spans):
        passes.append(len(spans))
        return moments(reader, source, spans)

    monkeypatch.setattr(VideoReader, "moments", counted)
    report = shelf.add(encoder="classic frames=3", workers=0, progress=False)
    assert (report.embedded, passes) == (4, [4])


def test_windows_decoded_together_are_those_decoded_alone(films):
    path = films / "long.mp4"
    jobs = [Job(f"{n}", {"video": f"{path}#t={n},{n + 4}", "text": "a caption"}) for n in (0, 2, 4, 1, 3)]
    jobs.insert(2, Job("whole", {"video": str(path)}))
    jobs.append(Job("gone", {"video": f"{path}.not#t=1,2"}))
    jobs.append(Job("beyond", {"video": f"{path}#t=50,52"}))
    slots = [Slot("video", VideoReader(3)), Slot("text", str.upper)]
    for job, each in zip(jobs, decode_all(jobs, slots), strict=True):
        alone = decode(job, slots)
        assert (each.id, each.sha256 is None) == (job.id, alone.sha256 is None or alone.reason is not None)
        assert (each.reason is None) == (alone.reason is None)
        assert each.sha256 in (alone.sha256, None) and each.media.keys() == alone.media.keys()
        assert all(np.array_equal(each.media[n], alone.media[n]) for n in each.media)


def test_a_film_that_changes_while_it_is_read_is_said_so(films):
    path = films / "long.mp4"

    class Writing(VideoReader):
        def moments(self, source, spans):
            for n, each in enumerate(super().moments(source, spans)):
                if n == 1:
                    os.utime(path, ns=(1, 1))
                yield each

    jobs = [Job(f"{n}", {"video": f"{path}#t={n},{n + 1}"}) for n in range(3)]
    reasons = [each.reason for each in decode_all(jobs, [Slot("video", Writing(2))])]
    assert reasons[0] is None and all("changed while they were read" in reason for reason in reasons[1:])


def test_workers_split_films_and_the_command_line_shows_windows(films, tmp_path):
    film(films / "short.mp4", ["red"], seconds=2)

    def run(*arguments):
        done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    place = tmp_path / "shelf"
    out = run("add", place, films, "--encoder", ENCODER, "--window", "10", "--stride", "5", "--workers", "2")
    assert out.startswith("4 added")
    assert "windows: 4 of 2 films" in run("info", place)
    asked = ("search", place, "--video", f"{films / 'long.mp4'}#t=5,15", "-k", "1", "--target", "video")
    (hit,) = json.loads(run(*asked, "--json"))["hits"]
    assert (hit["id"], hit["meta"]["start"], hit["meta"]["end"]) == ("films/long.mp4#t=5,15", 5.0, 15.0)
    run(*asked, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    link = f"{(films / 'long.mp4').as_uri()}#t=5,15"
    assert f"<a href='{link}'>0:05 to 0:15</a>" in page
    assert page.count("#t=5,15'></video>") == 2  # the query and the hit
    assert "http" not in page.partition("</style>")[2].replace("http-equiv", "")


def test_a_page_shows_only_the_moment_of_a_large_file(films, shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "PLAYABLE", 80_000)
    rng = np.random.default_rng(0)
    tone = np.sin(np.arange(8_000 * 20) / 3)
    soundfile.write(films / "tape.wav", tone * rng.uniform(0.5, 1, len(tone)), 8_000)
    path = films / "long.mp4"
    path.write_bytes(path.read_bytes() + bytes(80_000))  # the reader does not mind, but the page does
    add(shelf, films, encoder="classic")
    for key, id in (("video", "films/long.mp4#t=5,10"), ("audio", "films/tape.wav#t=5,10")):
        query = quiver.Query(like=(id,), target=key, k=1)
        contact_sheet.write(tmp_path / "page.html", [(query, shelf.search(query))], collection=shelf)
        page = (tmp_path / "page.html").read_text()
        found = re.findall(rf"src='data:({key}/\w+);base64,([^']*)'></{key}>", page)
        assert [kind for kind, _ in found] == [{"video": "video/mp4", "audio": "audio/mpeg"}[key]] * 2
        for _, content in found:
            with av.open(io.BytesIO(base64.b64decode(content))) as container:
                assert container.duration / 1e6 == pytest.approx(5, abs=0.2)


def test_info_says_which_part_of_a_film_is_quarantined(tmp_path):
    place = tmp_path / "c"
    quiver.open(place).add(quiver.Item("a", {"text": "x"}), workers=0)
    bad = [(f"long.mp4#t={n},{n + 5}", f"long.mp4#t={n},{n + 5}", f"damaged at {n}") for n in (65, 60, 70)]
    Quarantine(f"{place}/quarantine.lance").add([*bad, ("x.mp4#t=0,1", None, "odd"), ("y.jpg", None, "empty")])
    out = CliRunner().invoke(app, ["info", str(place)]).stdout
    assert "  long.mp4: 3 windows from 1:00 to 1:15: damaged at 60\n" in out
    assert "  x.mp4#t=0,1: odd\n" in out and "  y.jpg: empty\n" in out


def test_films_in_a_tar_are_split(films, shelf, tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(films / "long.mp4", "000.mp4")
    assert add(shelf, tmp_path / "s.tar").added == 4
    assert shelf.get("s.tar/000#t=5,10")[0].meta["film"] == "s.tar/000"
    assert add(shelf, tmp_path / "s.tar").unchanged == 4


def test_sync_keeps_windows_whose_film_is_there_and_prunes_those_whose_film_is_gone(films, shelf):
    film(films / "other.mp4", ["red", "blue"])
    add(shelf, films)
    assert add(shelf, films, sync=True).gone == []
    os.remove(films / "other.mp4")
    report = add(shelf, films, prune=True)
    assert (report.deleted, len(shelf)) == (2, 4)


def test_a_folder_that_moved_keeps_its_windows(films, shelf):
    add(shelf, films)
    moved = films.rename(films.with_name("elsewhere"))
    report = add(shelf, moved)
    assert (report.added, report.moved, report.embedded) == (0, 4, 0)
    assert shelf.get("films/long.mp4#t=0,5")[0].media["video"] == f"{Path(moved) / 'long.mp4'}#t=0,5"


def test_films_from_rows_in_memory_and_items_are_split_too(films, shelf):
    add(shelf, {"id": "a", "video": str(films / "long.mp4"), "title": "colours"})
    add(shelf, quiver.Item("b", {"video": str(films / "long.mp4")}), window=10)
    assert ids(shelf) == [*(f"a#t={n},{n + 5}" for n in (0, 10, 15, 5)), "b#t=0,10", "b#t=10,20"]
    assert shelf.get("a#t=5,10")[0].meta == {"film": "a", "start": 5.0, "end": 10.0, "title": "colours"}
    moment = quiver.Item("films/long.mp4#t=5,15", {"video": f"{films / 'long.mp4'}#t=5,15"})
    add(shelf, moment, window=4)  # windows of a part of a film stand in the film's time
    assert [id for id in ids(shelf) if id.startswith("films")] == [
        f"films/long.mp4#t={part}" for part in ("11,15", "5,9", "9,13")
    ]
