"""HowTo100M and AudioSet: made files in their official forms, and parts of videos read through their references."""

import io
import json

import av
import numpy as np
import pytest

from quiver.benchmarks.datasets import _place, audioset, howto100m
from quiver.benchmarks.datasets.howto100m import Caption, nearest
from quiver.errors import BadData, BadSpec
from quiver.media import AudioReader, VideoReader
from quiver.task import check

LINES = {"start": [0, 3.5, 4, 9], "end": [2, 4.5, 6, 10], "text": ["first cut it", "then", " ", "now fry it"]}


@pytest.fixture(scope="module")
def film():
    """Ten seconds at 10 fps whose brightness is the time, with a sound that starts after five seconds."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for index in range(100):
            pixels = np.full((32, 32, 3), 20 + 2 * index, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        tone = 0.5 * np.sin(np.arange(160_000) / 5) * (np.arange(160_000) >= 80_000)
        for begin in range(0, 160_000, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 1024].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, begin
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return file.getvalue()


@pytest.fixture
def howto(tmp_path, film):
    (tmp_path / "captions").mkdir()
    (tmp_path / "videos").mkdir()
    (tmp_path / "HowTo100M_v1.csv").write_text("video_id,category_1\nabc,Food\ndef,Food\nghi,Food\ngone,Cars\n")
    (tmp_path / "captions/abc.json").write_text(json.dumps(LINES))
    (tmp_path / "captions/def.csv").write_text('start,end,text\n1.0,2.0,"so, here"\n2.0,8.0,we go\n')
    (tmp_path / "captions/ghi.csv").write_text("start,end,text\n")
    for name in ("abc.mp4", "def.webm", "ghi.mp4"):
        (tmp_path / "videos" / name).write_bytes(film)
    return tmp_path


def test_candidates_grow_to_the_side_that_keeps_the_time_short():
    ends = [(0, 2), (3, 4), (4, 5), (9, 10), (10, 11)]
    lines = [Caption(start, end, "x") for start, end in ends]
    assert nearest(lines, 2, 1) == [2]
    assert nearest(lines, 2, 3) == [2, 1, 0]  # 3 to 5, then 0 to 5 rather than 3 to 10
    assert nearest(lines, 2, 4) == [2, 1, 0, 3]
    assert nearest(lines, 4, 4) == [4, 3, 2, 1]  # clamped at the end
    assert nearest(lines, 0, 9) == [0, 1, 2, 3, 4]  # and at the beginning


def test_clips_are_captions_grown_to_the_least_length(howto):
    task = check(howto100m.load(folder=howto, partial=True, per_video=None))
    clips = {item.id: (item.media["video"].split("#t=")[1], item.meta["source_id"]) for item in task.items}
    assert clips == {
        "abc_0": ("0,3.2", "abc"),
        "abc_1": ("2.4,5.6", "abc"),
        "abc_2": ("7.9,11.1", "abc"),
        "def_0": ("0,3.2", "def"),
        "def_1": ("2,8", "def"),
    }
    fixed = howto100m.load(folder=howto, partial=True, per_video=None, cut="fixed")
    assert fixed.items[-1].media["audio"] == f"{howto}/videos/def.webm#t=3.4,6.6"
    assert "1 of 4 videos are not on disk: left out" in task.notes
    assert "1 videos have no captions: left out" in task.notes


def test_captions_ask_for_the_clips_they_are_near_to(howto):
    task = howto100m.load(folder=howto, partial=True, per_video=None, candidates=2)
    said = {question.query.media["text"]: question.relevant for question in task.questions}
    assert said == {
        "first cut it": {"abc_0": 2, "abc_1": 1},
        "then": {"abc_1": 2, "abc_0": 1, "abc_2": 1},
        "now fry it": {"abc_2": 2},
        "so, here": {"def_0": 2, "def_1": 1},
        "we go": {"def_1": 2, "def_0": 1},
    }


def test_draws_of_clips_depend_on_the_seed_alone(howto):
    draws = [[item.id for item in howto100m.load(folder=howto, partial=True, seed=n).items] for n in (0, 0, *range(8))]
    assert draws[0] == draws[1]
    assert all([id[:3] for id in draw] == ["abc", "def"] for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 1


def test_one_file_of_captions_reads_as_one_per_video(howto):
    apart = howto100m.load(folder=howto, partial=True, per_video=None)
    both = {"abc": LINES, "def": {"start": [1, 2], "end": [2, 8], "text": ["so, here", "we go"]}}
    (howto / "caption.json").write_text(json.dumps(both))
    together = howto100m.load(folder=howto, partial=True, per_video=None)
    assert (together.items, together.questions) == (apart.items, apart.questions)


def test_parts_of_a_video_are_read_in_step(howto):
    task = howto100m.load(folder=howto, partial=True, per_video=None)
    media = next(item.media for item in task.items if item.id == "def_1")  # 2 to 8 s
    frames = VideoReader(6)(media["video"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose((frames - 20) / 20, [2.5, 3.5, 4.5, 5.5, 6.5, 7.5], atol=0.1)
    loud = np.abs(AudioReader(16_000)(media["audio"]).reshape(6, -1)).max(axis=1) > 0.2
    assert loud.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("text", ['{"start": [1], "end": [2, 3], "text": ["a"]}', '{"start": [1]}', "no json"])
def test_captions_of_another_form_are_refused_by_name(howto, text):
    (howto / "captions/abc.json").write_text(text)
    with pytest.raises(BadData, match=r"captions/abc\.json: start, end and text"):
        howto100m.load(folder=howto, partial=True)


def test_howto_says_what_is_not_there(howto, tmp_path_factory):
    with pytest.raises(BadData, match="expected 1,238,911"):
        howto100m.load(folder=howto)
    with pytest.raises(BadData, match="howto100m is not on disk"):
        howto100m.load(folder=tmp_path_factory.mktemp("empty"))
    with pytest.raises(BadSpec, match="candidates=0"):
        howto100m.load(folder=howto, candidates=0)


@pytest.fixture
def audio_set(tmp_path, film):
    (tmp_path / "videos").mkdir()
    head = (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3\n# YTID, start_seconds, end_seconds, labels\n"
    )
    rows = '--xy, 2.000, 8.000, "/m/03v3yw,/m/0k4j"\nzz_1, 30.000, 40.000, "/m/09x0r"\ngone, 0.0, 10.0, "/m/0"\n'
    (tmp_path / "eval_segments.csv").write_text(head + rows)
    (tmp_path / "videos/--xy.mp4").write_bytes(film)
    (tmp_path / "videos/zz_1_30.mkv").write_bytes(film)
    return tmp_path


def test_audioset_takes_parts_of_videos_or_files_cut_before(audio_set):
    task = check(audioset.load(folder=audio_set, partial=True))
    assert [(item.id, item.media["video"], item.meta["labels"]) for item in task.items] == [
        ("--xy_2", f"{audio_set}/videos/--xy.mp4#t=2,8", "/m/03v3yw /m/0k4j"),
        ("zz_1_30", f"{audio_set}/videos/zz_1_30.mkv", "/m/09x0r"),
    ]
    assert [dict(question.relevant) for question in task.questions] == [{"--xy_2": 1}, {"zz_1_30": 1}]
    assert task.questions[0].query.media == {"audio": task.items[0].media["video"]}
    assert "1 of 3 parts are not on disk: left out" in task.notes
    assert _place.missing(task) == []


def test_audioset_says_what_is_not_there(audio_set):
    with pytest.raises(BadData, match="expected 20,371 or 20,383"):
        audioset.load(folder=audio_set)
    (audio_set / "eval_segments.csv").write_text("a, 1, 2\n")
    with pytest.raises(BadData, match="row 1 is not YTID, start, end, labels"):
        audioset.load(folder=audio_set, partial=True)
