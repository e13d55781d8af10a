"""Stills, clips and activities out of tasks; windows, proposals, and the mean of the chosen ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.benchmarks.datasets.world.files import save_video
from quiver.encoders.map_ivr.config import Config
from quiver.encoders.map_ivr.data import UNNAMED, Fetch, gather
from quiver.encoders.map_ivr.feature import Cut, confidences, extract_clips, learn_confidence, pool
from quiver.encoders.map_ivr.model import MapIvr
from quiver.encoders.map_ivr.window import WindowReader, Windows, read_proposals
from quiver.errors import BadData, BadMedia
from quiver.media import VideoReader, moment, times
from quiver.task import Question, Task
from quiver.types import Item, Query

SHOWN = {"a": "dig", "b": "dig", "c": "row", "d": "row", "e": "row"}


def task(questions, **meta):
    items = [Item(id, {"video": f"{id}.mp4"}, {"activity": name, **meta}) for id, name in SHOWN.items()]
    return Task("made", "0", items, questions, ("APh@10",), "video", "", "")


def still(id, right, **more):
    return Question(id, Query(media={"image": f"{id}.png"}, target="video"), dict.fromkeys(right, 1), **more)


BOTH = [still("1", "ab"), still("2", "cde", exclude=("c",))]


@pytest.mark.parametrize("label", [None, "activity"])
def test_activities_are_a_column_or_what_answers_the_same_stills(label):
    pairs = gather(task(BOTH), label=label)
    assert pairs.classes == ("dig", "row")
    assert pairs.label.tolist() == [0, 1]
    assert [each.tolist() for each in pairs.answers] == [[0, 1], [3, 4]]
    assert [each.tolist() for each in pairs.out] == [[], [2]]
    assert pairs.shown == [("dig",), ("dig",), ("row",), ("row",), ("row",)]


def test_a_clip_that_answers_no_still_is_of_the_activity_that_its_column_says():
    pairs = gather(task([still("1", "ab"), still("2", "cd")]))
    assert pairs.classes == ("dig", "row")
    assert pairs.shown[4] == ("row",)


def test_activities_without_a_column_are_numbered():
    items = [replace(item, meta={}) for item in task(BOTH).items]
    pairs = gather(replace(task(BOTH), items=items))
    assert [name.startswith(UNNAMED) for name in pairs.classes] == [True, True]
    assert len(set(pairs.label.tolist())) == 2


def test_several_activities_of_a_clip_are_split_and_a_still_has_that_of_most_answers():
    questions = [still("1", "abc")]
    items = [
        Item(id, {"video": id}, {"doing": doing})
        for id, doing in (("a", "dig | sing"), ("b", "sing"), ("c", "dig|sing"))
    ]
    pairs = gather(replace(task(questions), items=items), label="doing")
    assert pairs.classes == ("dig", "sing")
    assert pairs.label.tolist() == [1]
    assert pairs.right[0].tolist() == [0, 1, 2]


def test_a_still_is_paired_only_with_clips_that_show_its_activity():
    items = [Item(id, {"video": id}, {"doing": doing}) for id, doing in (("a", "dig"), ("b", "dig"), ("c", "row"))]
    pairs = gather(replace(task([still("1", "abc")]), items=items), label="doing")
    assert (pairs.answers[0].tolist(), pairs.right[0].tolist()) == ([0, 1, 2], [0, 1])


def test_only_candidates_compete():
    pairs = gather(task([still("1", "ab", candidates=("b", "c"))]))
    assert pairs.answers[0].tolist() == [1]
    assert pairs.out[0].tolist() == [0, 3, 4]


def test_a_still_whose_only_clip_is_its_own_is_left_out_and_counted():
    pairs = gather(task([*BOTH, still("3", "a", exclude=("a",))]))
    assert len(pairs) == 2
    assert pairs.notes == ("1 stills left out: no other clip shows their activity",)


def test_a_class_with_one_clip_is_always_paired_with_it():
    pairs = gather(task([still("1", "a"), still("2", "cde")]))
    rng = np.random.default_rng(0)
    fetch = Fetch(pairs, np.eye(2, dtype=np.float32), np.eye(5, dtype=np.float32))
    for _ in range(5):
        assert fetch(np.array([0]), rng)["video"].argmax(dim=1).item() == 0


def test_a_table_of_pictures_and_clips_is_paired_by_its_label():
    items = [Item(id, {"video": id, "image": f"{id}.png"}, {"activity": name}) for id, name in SHOWN.items()]
    pairs = gather(replace(task([]), items=items), label="activity")
    assert len(pairs) == 5
    assert pairs.answers[0].tolist() == [1]  # its own clip does not compete
    assert pairs.answers[2].tolist() == [3, 4]


def test_what_is_missing_is_said():
    with pytest.raises(BadData, match="no item has a video"):
        gather(Task("made", "0", [Item("a", {"image": "a"})], BOTH, (), "video", "", ""))
    with pytest.raises(BadData, match="no question has a picture"):
        gather(task([]))
    with pytest.raises(BadData, match="no clip has a value in the column 'verb'; its columns are activity"):
        gather(task(BOTH), label="verb")
    with pytest.raises(BadData, match="no still has a clip of its activity"):
        gather(task([still("1", "a", exclude=("a",))]))


def test_unreadable_stills_and_clips_are_left_out():
    pairs, kept = gather(task(BOTH)).without(np.array([True, True]), np.array([True, False, True, True, False]))
    assert kept.tolist() == [0, 1]
    assert [each.tolist() for each in pairs.answers] == [[0], [3]]
    assert [each.tolist() for each in pairs.out] == [[1, 4], [1, 2, 4]]
    assert len(pairs.clips) == 5  # places stay
    pairs, kept = gather(task(BOTH)).without(np.array([False, True]), np.ones(5, bool))
    assert (kept.tolist(), len(pairs.notes)) == ([1], 1)
    with pytest.raises(BadData, match="no still that can be read"):
        gather(task(BOTH)).without(np.array([False, True]), np.array([True, True, True, False, False]))


def test_pairs_are_drawn_anew_and_every_answer_is_drawn():
    fetch = Fetch(gather(task(BOTH)), np.eye(2, dtype=np.float32), np.eye(5, dtype=np.float32))
    drawn = [fetch(np.array([0, 1]), np.random.default_rng(step))["video"].argmax(dim=1).tolist() for step in range(40)]
    assert {first for first, _ in drawn} == {0, 1}
    assert {second for _, second in drawn} == {3, 4}
    again = fetch(np.array([0, 1]), np.random.default_rng(7))["video"].argmax(dim=1).tolist()
    assert again == drawn[7]


# Windows


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Eight frames in one second, each of its own grey."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    save_video(path, np.stack([np.full((32, 32, 3), 20 + 25 * t, np.uint8) for t in range(8)]), 8.0)
    return path


def greys(windows, source):
    frames, scores = WindowReader(windows, VideoReader(frames=1))(source)
    return [int(frame.mean()) for frame in frames], scores


def test_windows_have_equal_lengths_and_cover_the_clip(film):
    parts, scores = Windows(4).cut(str(film))
    assert scores == [None] * 4
    assert [times(part)[1:] for part in parts] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    found, _ = greys(Windows(4), str(film))
    assert np.diff(found).min() > 30  # each window shows its own frames


def test_windows_of_a_moment_lie_in_it(film):
    parts, _ = Windows(2).cut(moment(film, 0.5, 1))
    assert [times(part)[1:] for part in parts] == [(0.5, 0.75), (0.75, 1.0)]


def test_one_window_is_the_clip_itself(film):
    assert Windows(1).cut(str(film)) == ([str(film)], [None])


def test_frames_are_cut_without_padding():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 4, 4, 3), np.uint8)
    parts, scores = Windows(3).cut(frames)
    assert [part[:, 0, 0, 0].tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    parts, scores = Windows(9).cut(frames)
    assert (len(parts), len(scores)) == (5, 5)


def test_a_clip_of_one_frame_has_windows_of_that_frame(tmp_path):
    save_video(tmp_path / "one.mp4", np.full((1, 32, 32, 3), 90, np.uint8), 8.0)
    found, _ = greys(Windows(4), str(tmp_path / "one.mp4"))
    assert found
    assert np.ptp(found) <= 1


def test_an_animation_is_one_window(tmp_path):
    from PIL import Image

    frames = [Image.new("RGB", (32, 32), (60 * n, 0, 0)) for n in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    assert Windows(3).cut(str(tmp_path / "a.gif"))[0] == [str(tmp_path / "a.gif")]


def test_a_broken_clip_is_bad_media(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"\0" * 300)
    with pytest.raises(BadMedia, match=r"b\.mp4"):
        Windows(3).cut(str(tmp_path / "b.mp4"))


def proposals(folder, text):
    path = folder / "proposals.csv"
    path.write_text(text)
    return path


def test_proposals_replace_windows_and_keep_their_scores(film):
    path = proposals(
        film.parent, "path,start,stop,score\nfilm.mp4,0.1,0.3,0.9\nfilm.mp4,0.5,0.8,0.2\nother.mp4,0,1,1\n"
    )
    windows = Windows(4, read_proposals(path))
    parts, scores = windows.cut(str(film))
    assert ([times(part)[1:] for part in parts], scores) == ([(0.1, 0.3), (0.5, 0.8)], [0.9, 0.2])
    parts, scores = windows.cut(moment(film, 0.4, 0.7))  # only those whose middle lies in the moment, cut to it
    assert ([times(part)[1:] for part in parts], scores) == ([(0.5, 0.7)], [0.2])
    assert len(windows.cut(moment(film, 0.85, 1))[0]) == 4  # none there: windows of equal length


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,start\na,1\n", "no column 'stop'"),
        ("path,start,stop\na,1,one\n", "line 2: start, stop and score must be numbers"),
        ("path,start,stop\na,0,1\nb,3,2\n", "line 3: a proposal needs a path and seconds"),
        ("path,start,stop,score\na,0,1,nan\n", "line 2"),
    ],
)
def test_bad_proposals_are_named_by_line(tmp_path, text, says):
    with pytest.raises(BadData, match=says):
        read_proposals(proposals(tmp_path, text))
    with pytest.raises(BadData, match="no such file"):
        read_proposals(tmp_path / "none.csv")


def test_the_mean_is_of_the_windows_of_highest_score():
    rows = np.eye(4, dtype=np.float32)
    score = np.array([0.1, 0.9, 0.5, 0.8])
    np.testing.assert_allclose(pool(rows, score, 2), [0, 0.5, 0, 0.5])
    np.testing.assert_allclose(pool(rows[[2, 0, 3, 1]], score[[2, 0, 3, 1]], 2), [0, 0.5, 0, 0.5])
    np.testing.assert_allclose(pool(rows, score, 1), rows[1])
    for keep in (0, 4, 9):  # all there are, never a row of zeros more
        np.testing.assert_allclose(pool(rows, score, keep), 0.25)
    rows[0] = 7  # a window that is not chosen does not matter
    np.testing.assert_allclose(pool(rows, score, 2), [0, 0.5, 0, 0.5])


def test_the_classifier_of_windows_prefers_those_that_show_an_activity():
    rng = np.random.default_rng(0)
    pairs = gather(task(BOTH))
    centres = np.repeat(np.eye(2, 10, dtype=np.float32), [2, 3], axis=0)  # of each clip's activity
    shows = np.tile([True, False], 5 * 20)
    owner = np.repeat(np.arange(5), 40)
    rows = (centres[owner] * shows[:, None] + 0.1 * rng.normal(size=(200, 10))).astype(np.float32)
    cut = Cut(rows, owner, np.full(200, np.nan), 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MapIvr(Config.tiny(classes=2)).eval()
    learn_confidence(model, cut, pairs)
    found = confidences(model)(rows)
    assert found[shows].mean() > found[~shows].mean() + 0.1
    kept = cut.pooled(20, confidences(model))
    assert (kept * centres).sum(axis=1).min() > 0.75  # the mean of all windows would have 0.5


def test_a_clip_that_cannot_be_read_is_not_seen(film, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 300)
    cut = extract_clips("motion frames=2", [str(film), str(tmp_path / "broken.mp4")], Windows(2), cache=tmp_path / "f")
    assert cut.seen.tolist() == [True, False]
    assert cut.owner.tolist() == [0, 0]
    pooled = cut.pooled(0, lambda rows: rows[:, 0])
    np.testing.assert_allclose(pooled[0], cut.rows.mean(axis=0), atol=1e-6)
    assert not pooled[1].any()
    assert "broken.mp4" in (tmp_path / "f/quarantine.jsonl").read_text()
