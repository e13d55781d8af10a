"""Pairs, sounds and videos with sentences: official files where they are, and made files of the same form."""

import csv
import json

import pytest

from quiver.benchmarks import datasets
from quiver.benchmarks.datasets import (
    _place,
    audiocaps,
    clevr_change,
    clotho,
    image_editing_request,
    msr_vtt,
    spot_the_diff,
    youcook2,
)
from quiver.errors import BadData, BadSpec
from quiver.registry import load
from quiver.task import check


def put(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def table(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def texts(task):
    return [question.query.media["text"] for question in task.questions]


@pytest.fixture
def spot(tmp_path):
    rows = [
        {"img_id": "7", "sentences": ["the car left", " "]},
        {"img_id": "9", "sentences": ["no change"]},
        {"img_id": "7", "sentences": ["no change"]},
        {"img_id": "8", "sentences": [""]},
    ]
    put(tmp_path, "annotations/test.json", rows)
    return tmp_path


def test_spot_merges_the_records_of_one_pair_in_file_order(spot):
    task = check(spot_the_diff.load(folder=spot, partial=True))
    assert texts(task) == ["the car left", "no change", "no change"]
    assert [item.id for item in task.items] == ["7", "9", "8"]
    images = spot / "resized_images"
    assert task.items[0].media == {"before": str(images / "7.png"), "after": str(images / "7_2.png")}
    assert "2 sentences are empty: left out" in task.notes
    assert "1 ordered pairs have no caption: they compete, but no question asks for them" in task.notes
    assert "2 captions belong to several ordered pairs: each answers for its own only" in task.notes


def test_spot_asks_the_other_way_and_forgives_duplicates(spot):
    task = check(spot_the_diff.load(folder=spot, track="pair_to_text", duplicates="shared", partial=True))
    assert {question.id: set(question.relevant) for question in task.questions} == {
        "7": {"7#0", "7#1", "9#0"},
        "9": {"7#1", "9#0"},
    }
    assert set(task.questions[0].query.media) == {"before", "after"}
    assert (task.target, task.questions[0].query.target) == ("text", "text")


def test_spot_counts_are_checked(spot):
    with pytest.raises(BadData, match=r"test\.json: 4 records, expected 1,404"):
        spot_the_diff.load(folder=spot)


def test_a_pair_without_its_second_picture_is_missing(spot):
    for name in ("7.png", "7_2.png", "9.png"):
        put(spot, f"resized_images/{name}", "")
    task = _place.present(spot_the_diff.load(folder=spot, partial=True))
    assert [item.id for item in task.items] == ["7"]
    assert "2 of 3 items; 0 of 3 questions, and 1 more whose every answer is missing" in task.notes[-1]


@pytest.mark.data
def test_spot_is_read_whole(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = check(load("benchmarks.datasets", "spot_the_diff split=val"))
    assert (len(task.items), len(task.questions)) == (1493, 3310 - 6)
    assert (task.items[0].id, task.items[-1].id) == ("5406", "11903")
    said = [question.query.media["text"] for question in task.questions if "9264" in question.relevant]
    assert said[-1] == "in the right picture people are walking more in the foreground"
    train = spot_the_diff.load(split="train")
    assert (len(train.items), len(train.questions)) == (8566, 17676 - 53)
    assert train.questions[0].query.media["text"] == "there are no differences"


@pytest.fixture
def edits(tmp_path):
    rows = [
        {"img0": "a_0.jpg", "img1": "a_1.jpg", "sents": ["brighter ", "more light", "glow"], "uid": "u1"},
        {"img0": "a_0.jpg", "img1": "a_2.jpg", "sents": ["darker", "brighter", "dim"], "uid": "u2"},
        {"img0": "b_0.jpg", "img1": "b_1.jpg", "sents": ["crop", "cut", "zoom"], "uid": "u3"},
    ]
    put(tmp_path, "test.json", rows)
    return tmp_path


def test_edits_of_one_photo_compete_or_not(edits):
    task = check(image_editing_request.load(folder=edits, partial=True))
    assert {question.exclude for question in task.questions} == {()}
    assert "1 pairs edit a photo again: these compete" in task.notes
    apart = check(image_editing_request.load(folder=edits, same_source="excluded", partial=True))
    assert [question.exclude for question in apart.questions][::3] == [("u2",), ("u1",), ()]
    back = check(image_editing_request.load(folder=edits, track="pair_to_text", same_source="excluded", partial=True))
    assert back.questions[0].exclude == ("u2#0", "u2#1", "u2#2")
    assert [question.source for question in apart.questions][::3] == [question.source for question in back.questions]
    assert back.questions[0].source == back.questions[1].source != back.questions[2].source


def test_edit_ids_must_be_unique_and_counts_official(edits):
    with pytest.raises(BadData, match=r"test\.json: 3 pairs, expected 495"):
        image_editing_request.load(folder=edits)
    put(edits, "test.json", [{"img0": "a", "img1": "b", "sents": ["x"], "uid": "u"}] * 2)
    with pytest.raises(BadData, match="uid 'u' occurs twice"):
        image_editing_request.load(folder=edits, partial=True)


@pytest.mark.data
def test_image_editing_request_is_read_whole(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = check(load("benchmarks.datasets", "image_editing_request split=valid"))
    assert (len(task.items), len(task.questions)) == (383, 1149)
    assert (task.items[0].id, task.items[-1].id) == ("Reddit_1012", "Zhopped_969")
    assert texts(task)[0] == "make color brighter"
    train = image_editing_request.load(split="train")
    assert (len(train.items), len(train.questions)) == (3061, 3061)
    assert "1,052 pairs edit a photo again: these compete" in train.notes


@pytest.fixture
def clevr(tmp_path):
    names = [f"CLEVR_default_{n:06d}.png" for n in range(5)]
    kinds = ("color", "material", "add", "drop", "move")
    put(tmp_path, "splits.json", {"train": [0, 1, 2], "val": [3], "test": [4, 1]})
    put(tmp_path, "change_captions.json", {name: [f"thing {n} moved", "it changed"] for n, name in enumerate(names)})
    put(tmp_path, "no_change_captions.json", {name: ["no change was made"] for name in names})
    put(tmp_path, "type_mapping.json", {kind: [f"{n:06d}.png"] for n, kind in enumerate(kinds)})
    return tmp_path


def test_clevr_pairs_a_scene_with_its_change_and_with_its_distractor(clevr):
    task = check(clevr_change.load(folder=clevr, partial=True))
    assert [(item.id, item.meta["type"]) for item in task.items] == [("000004", "move"), ("000001", "material")]
    assert task.items[0].media == {
        "before": str(clevr / "images" / "CLEVR_default_000004.png"),
        "after": str(clevr / "sc_images" / "CLEVR_semantic_000004.png"),
    }
    assert task.items[0].meta["distractor"] == str(clevr / "nsc_images" / "CLEVR_nonsemantic_000004.png")
    both = check(clevr_change.load(folder=clevr, pairs="all", duplicates="shared", partial=True))
    assert [item.id for item in both.items] == ["000004", "000001", "000004_n", "000001_n"]
    assert both.items[2].media["after"] == str(clevr / "nsc_images" / "CLEVR_nonsemantic_000004.png")
    assert set(both.questions[-1].relevant) == {"000004_n", "000001_n"}


def test_clevr_scenes_without_sentences_or_of_another_number_are_refused(clevr):
    with pytest.raises(BadData, match=r"splits\.json: 2 scenes of test, expected 7,970"):
        clevr_change.load(folder=clevr)
    put(clevr, "splits.json", {"test": [4, 9]})
    with pytest.raises(BadData, match=r"change_captions\.json has no CLEVR_default_000009\.png"):
        clevr_change.load(folder=clevr, partial=True)
    put(clevr, "splits.json", {"test": "all"})
    with pytest.raises(BadData, match="must be a list of scene numbers"):
        clevr_change.load(folder=clevr, partial=True)


def test_a_clevr_picture_that_is_missing_is_named(clevr):
    task = clevr_change.load(folder=clevr, partial=True)
    for ref in _place.missing(task)[:-1]:
        put(clevr, ref, "")
    assert _place.missing(task) == [str(clevr / "sc_images" / "CLEVR_semantic_000001.png")]
    assert [item.id for item in _place.present(task).items] == ["000004"]


@pytest.fixture
def caps(tmp_path):
    rows = [
        {"audiocap_id": str(n), "youtube_id": f"clip{n // 5}", "start_time": "30", "caption": f"sound, {n % 7}"}
        for n in range(10)
    ]
    table(tmp_path, "dataset/test.csv", rows)
    return tmp_path


def test_audiocaps_groups_five_captions_of_a_clip(caps):
    task = check(audiocaps.load(folder=caps, partial=True))
    assert [item.id for item in task.items] == ["clip0_30", "clip1_30"]
    assert task.items[0].media == {"audio": str(caps / "audio" / "clip0_30.wav")}
    assert texts(task)[:2] == ["sound, 0", "sound, 1"]
    assert [set(question.relevant) for question in task.questions] == [{"clip0_30"}] * 5 + [{"clip1_30"}] * 5
    assert [question.source for question in task.questions] == ["clip0_30"] * 5 + ["clip1_30"] * 5
    back = check(audiocaps.load(folder=caps, track="audio_to_text", partial=True))
    assert [(question.id, len(question.relevant)) for question in back.questions] == [("clip0_30", 5), ("clip1_30", 5)]
    with pytest.raises(BadData, match=r"test\.csv: 10 captions, expected 4,875"):
        audiocaps.load(folder=caps)


@pytest.mark.data
def test_audiocaps_is_read_whole(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = check(load("benchmarks.datasets", "audiocaps split=val"))
    assert (len(task.items), len(task.questions)) == (495, 2475)
    assert task.items[0].id == "vfY_TJq7n_U_130"
    assert texts(task)[0].startswith("Rustling occurs, ducks quack")
    train = audiocaps.load(split="train")
    assert (len(train.items), len(train.questions)) == (49838, 49838)
    assert train.items[-1].id == "HC-utKUX3a4_50"
    assert train.questions[-1].query.media["text"] == "Humming with a distant train horn blowing"


@pytest.fixture
def recordings(tmp_path):
    rows = [
        {"file_name": f"rain {n}.wav", **{f"caption_{i}": f"rain {n} {i}" if n + i < 6 else "" for i in range(1, 6)}}
        for n in range(2)
    ]
    table(tmp_path, "clotho_captions_evaluation.csv", rows)
    (tmp_path / "evaluation").mkdir()
    return tmp_path


def test_clotho_reads_five_captions_and_counts_the_empty(recordings):
    task = check(clotho.load(folder=recordings, partial=True))
    assert task.items[1].media == {"audio": str(recordings / "evaluation" / "rain 1.wav")}
    assert len(task.questions) == 9
    assert "1 captions are empty: left out" in task.notes
    with pytest.raises(BadData, match=r"evaluation\.csv: 2 recordings, expected 1,045"):
        clotho.load(folder=recordings)


def test_clotho_names_must_be_unique(recordings):
    row = {"file_name": "a.wav", **{f"caption_{i}": "x" for i in range(1, 6)}}
    table(recordings, "clotho_captions_evaluation.csv", [row, row])
    with pytest.raises(BadData, match=r"file_name 'a\.wav' occurs twice"):
        clotho.load(folder=recordings, partial=True)


@pytest.mark.data
def test_clotho_is_read_whole(packs, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(packs))
    task = load("benchmarks.datasets", "clotho split=development")
    assert (len(task.items), len(task.questions)) == (2893, 14465)
    assert (task.items[0].id, task.items[-1].id) == ("Distorted AM Radio noise.wav", "Heavy rain - some people 2.wav")
    assert task.questions[-1].query.media["text"] == "Water is running while people are talking through it."
    assert "2,893 recordings: release v1" in task.notes


@pytest.fixture
def clips(tmp_path):
    rows = [
        {"key": f"ret{n}", "vid_key": f"msr{n}", "video_id": f"video{n}", "sentence": ("a dog runs", "a cat")[n % 2]}
        for n in range(3)
    ]
    table(tmp_path, "msrvtt_test.csv", rows)
    table(tmp_path, "MSRVTT_train.9k.csv", [{"video_id": "video8"}, {"video_id": "video9"}])
    spoken = [("video9", "one"), ("video8", "two"), ("video1", "test"), ("video9", "three")]
    sentences = [{"video_id": id, "caption": text, "sen_id": n} for n, (id, text) in enumerate(spoken)]
    put(tmp_path, "MSRVTT_data.json", {"videos": [], "sentences": sentences})
    return tmp_path


def test_msr_vtt_reads_both_spellings_of_its_test_list(clips):
    task = check(msr_vtt.load(folder=clips, partial=True))
    assert (task.items[0].id, task.items[0].media) == ("video0", {"video": str(clips / "videos" / "video0.mp4")})
    assert texts(task) == ["a dog runs", "a cat", "a dog runs"]
    (clips / "msrvtt_test.csv").rename(clips / "MSRVTT_JSFUSION_test.csv")
    renamed = msr_vtt.load(folder=clips, partial=True)
    assert (renamed.revision, texts(renamed)) == (task.revision, texts(task))
    shared = check(msr_vtt.load(folder=clips, duplicates="shared", partial=True))
    assert set(shared.questions[0].relevant) == {"video0", "video2"}
    with pytest.raises(BadData, match="3 videos, expected 1,000"):
        msr_vtt.load(folder=clips)


def test_msr_vtt_trains_on_the_videos_of_its_list(clips):
    task = check(msr_vtt.load(folder=clips, split="train9k", partial=True))
    assert [item.id for item in task.items] == ["video8", "video9"]
    assert texts(task) == ["two", "one", "three"]
    table(clips, "MSRVTT_train.9k.csv", [{"video_id": "video5"}])
    with pytest.raises(BadData, match="lists 'video5', which"):
        msr_vtt.load(folder=clips, split="train9k", partial=True)


STEPS = [
    ("60", "47", "226", "pick the ends", "xHr8"),
    ("98", "91", "226", "chop", "xHr8"),
    ("60", "47", "226", "cut", "xHr8"),
]


@pytest.fixture
def kitchen(tmp_path):
    table(
        tmp_path,
        "validation_youcook.csv",
        [dict(zip(("end", "start", "task", "text", "video_id"), step, strict=True)) for step in STEPS],
    )
    steps = [{"id": 0, "segment": [3, 9], "sentence": "stir"}, {"id": 1, "segment": [10, 12], "sentence": "serve"}]
    base = {
        "abc": {"subset": "training", "recipe_type": "101", "annotations": steps},
        "def": {"subset": "validation", "recipe_type": "101", "annotations": steps},
    }
    put(tmp_path, "youcookii_annotations_trainval.json", {"database": base})
    return tmp_path


def test_youcook_clips_are_windows_and_a_clip_that_stands_twice_is_one_item(kitchen):
    task = check(youcook2.load(folder=kitchen, partial=True))
    assert [item.id for item in task.items] == ["xHr8_47_60", "xHr8_91_98"]
    assert task.items[0].meta == {"video": "xHr8", "recipe": "226", "start": 47.0, "end": 60.0}
    assert task.items[0].media == {"video": str(kitchen / "clips" / "xHr8_47_60.mp4")}
    assert texts(task) == ["pick the ends", "cut", "chop"]
    assert "1 rows name a clip again: one item, each sentence a question" in task.notes
    with pytest.raises(BadData, match=r"validation_youcook\.csv: 3 sentences, expected 3,350"):
        youcook2.load(folder=kitchen)


def test_youcook_trains_on_its_training_part(kitchen):
    task = check(youcook2.load(folder=kitchen, split="train", partial=True))
    assert [item.id for item in task.items] == ["abc_3_9", "abc_10_12"]


@pytest.mark.parametrize(("start", "message"), [("61", "ends at 60 s, not after 61 s"), ("x", "'x' is not a time")])
def test_youcook_windows_must_be_windows(kitchen, start, message):
    row = {"end": "60", "start": start, "task": "1", "text": "t", "video_id": "v"}
    table(kitchen, "validation_youcook.csv", [row])
    with pytest.raises(BadData, match=message):
        youcook2.load(folder=kitchen, partial=True)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("audiocaps split=dev", "audiocaps split must be one of train, val, test, not 'dev'"),
        ("clotho track=text_to_video", "track must be one of text_to_audio, audio_to_text"),
        ("image_editing_request same_source=yes", "same_source must be one of compete, excluded"),
        ("clevr_change pairs=none", "pairs must be one of changed, all"),
        ("youcook2 duplicates=all", "duplicates must be one of own, shared"),
        ("msr_vtt level=3", "has no option 'level'; it takes folder, split, track, duplicates, partial"),
    ],
)
def test_options_are_checked_before_anything_is_read(spec, says):
    with pytest.raises(BadSpec, match=says):
        datasets.load(spec)
