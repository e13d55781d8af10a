"""Tasks over a made world: what is right follows from what was drawn."""

import csv
from inspect import signature
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from quiver.benchmarks.datasets.world import World, load, write
from quiver.benchmarks.datasets.world.garment import ATTRIBUTES
from quiver.errors import BadData, BadSpec
from quiver.registry import load as by_spec

SMALL = {"seed": 3, "size": 16, "count": 40}
TRACKS = get_args(signature(load).parameters["track"].annotation)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all tests, so that every file is rendered once."""
    return tmp_path_factory.mktemp("world")


def sayings(task):
    return {each.id.removeprefix("q_"): set(each.relevant) for each in task.questions}


@pytest.mark.parametrize("track", TRACKS)
def test_every_file_of_a_task_is_there_and_another_reading_is_the_same(folder, track):
    task = load(track=track, folder=folder, **SMALL)
    media = [item.media for item in task.items] + [question.query.media for question in task.questions]
    assert [ref for refs in media for key, ref in refs.items() if key != "text" and not Path(ref).is_file()] == []
    again = by_spec("benchmarks.datasets", f"{task.name} folder={folder}")
    assert (again.revision, again.items, again.questions) == (task.revision, task.items, task.questions)
    assert {question.query.target for question in task.questions} == {task.target}


def test_a_caption_asks_for_whoever_does_what_it_tells(folder):
    task = load(track="text_video", folder=folder, split="train", **SMALL)
    world = World(seed=3, size=16)
    for question in task.questions:
        scene = world.scene(int(question.id.removeprefix("q_scene")))
        first = scene.play.movers[0].body
        does = (scene.play.activity, first.shape, first.colour)
        right = {
            item.id
            for item in task.items
            for mover in world.scene(int(item.id.removeprefix("scene"))).play.movers
            if (mover.act.activity, mover.body.shape, mover.body.colour) == does
        }
        assert set(question.relevant) == right
        assert question.query.media == {"text": scene.captions[0]}


def test_captions_of_scenes_answer_as_scenes_of_captions(folder):
    there = sayings(load(track="text_video", folder=folder, **SMALL))
    back = sayings(load(track="video_text", folder=folder, **SMALL))
    assert {(text, scene) for text, its in there.items() for scene in its} == {
        (text, scene) for scene, its in back.items() for text in its
    }


def test_sounds_are_right_by_activity_with_words_and_by_scene_with_pictures(folder):
    heard = load(track="text_audio", folder=folder, **SMALL)
    activity = {item.id: item.meta["activity"] for item in heard.items}
    for id, right in sayings(heard).items():
        assert right == {other for other, its in activity.items() if its == activity[id]}
    assert sayings(load(track="audio_video", folder=folder, **SMALL)) == {id: {id} for id in activity}


def test_changes_have_every_sentence_about_every_pair(folder):
    task = load(track="changes", folder=folder, **SMALL)
    world = World(seed=3, size=16)
    assert len(task.questions) == 4 * len(task.items)
    for item in task.items:
        pair = world.pair(int(item.id.removeprefix("pair")))
        own = [question for question in task.questions if question.source == item.id]
        assert [question.query.media["text"] for question in own] == list(pair.captions)
        assert all(item.id in question.relevant for question in own)
    same = [item.id for item in task.items if item.meta["change"] == "none"]
    nothing = next(question for question in task.questions if question.source == same[0])
    assert set(nothing.relevant) == set(same)


def test_films_have_picture_and_sound_and_all_that_is_said_of_them(folder):
    task = load(track="films", folder=folder, **SMALL)
    world = World(seed=3, size=16)
    assert all(set(item.media) == {"video", "audio"} for item in task.items)
    said = {item.id: {} for item in task.items}
    for question in task.questions:
        for id, grade in question.relevant.items():
            said[id][question.query.media["text"]] = grade
    for id, texts in said.items():
        scene = world.scene(int(id.removeprefix("scene")))
        assert {text for text, grade in texts.items() if grade == 5} == set(scene.captions)
        nearest = sorted((text for text in texts if texts[text] < 5), key=lambda text: -texts[text])
        assert nearest == [line.text for line in scene.narrations]
    films = {item.meta["film"] for item in task.items}
    assert len(films) == 10  # four scenes each
    assert 0 < sum(not any(grade < 5 for grade in texts.values()) for texts in said.values()) < 40  # silent films


def test_stills_ask_for_scenes_of_their_activity(folder):
    task = load(track="image_video", folder=folder, **SMALL)
    world = World(seed=3, size=16)
    activity = {item.id: item.meta["activity"] for item in task.items}
    for question in task.questions:
        still = world.still(int(question.id.removeprefix("q_still")))
        assert {activity[id] for id in question.relevant} == {still.play.activity}


def test_poses_ask_for_clips_of_their_gesture(folder):
    task = load(track="image_gesture", folder=folder, **SMALL)
    world = World(seed=3, size=16)
    gesture = {item.id: item.meta["gesture"] for item in task.items}
    for question in task.questions:
        pose = world.pose(int(question.id.removeprefix("q_pose")))
        assert set(question.relevant) == {id for id, name in gesture.items() if name == pose.gesture.name}


def test_pairs_that_nothing_happened_to_share_their_sentences(folder):
    task = load(track="pair_text", folder=folder, split="all", **SMALL)
    change = {item.id: item.meta["change"] for item in task.items}
    still = {id for id, its in change.items() if its == "none"}
    right = sayings(task)
    assert len(still) > 1
    assert all(right[id] == still for id in still)
    assert all(id in right[id] and not right[id] & still for id in set(right) - still)


def test_views_of_the_state_before_compete_as_unchanged_pairs(folder):
    task = load(track="changes_views", folder=folder, split="all", **SMALL)
    plain = load(track="changes", folder=folder, split="all", **SMALL)
    items = {item.id: item for item in task.items}
    assert task.revision != plain.revision
    changed = {item.id for item in plain.items if item.meta["change"] != "none"}
    assert set(items) == {item.id for item in plain.items} | {f"{id}_view" for id in changed}
    for id in changed:
        far = items[id].meta["distractor"]
        assert items[f"{id}_view"].media == {"before": items[id].media["before"], "after": far}
        first, again = (np.asarray(Image.open(path)).astype(int) for path in (items[id].media["before"], far))
        assert first.shape == again.shape
        assert 0 < np.abs(first - again).mean() < 60  # the same table, seen otherwise
    still = {id for id, item in items.items() if item.meta["change"] == "none"}
    for question, before in zip(task.questions, plain.questions, strict=True):
        assert set(question.relevant) == (set(before.relevant) if question.source in changed else still)


def test_a_product_asks_once_for_all_its_photographs(folder):
    task = load(track="text_image", folder=folder, split="train", **SMALL)
    product = {item.id: item.meta["product"] for item in task.items}
    assert len(task.questions) == len(set(product.values())) == 35  # five families of seven products
    assert sorted(len(each.relevant) for each in task.questions) == [1] * 30 + [2] * 5
    assert all(len({product[id] for id in each.relevant}) == 1 for each in task.questions)


def test_composed_targets_differ_in_what_was_asked_only(folder):
    task = load(track="composed", folder=folder, split="train", **SMALL)
    cut = {item.id: {name: item.meta[name] for name in ("type", *ATTRIBUTES)} for item in task.items}
    assert len(task.questions) > 60
    for question in task.questions:
        reference, attribute, new = question.id.split("-", 2)
        wanted = cut[reference] | {attribute: new}
        assert set(question.relevant) == {id for id, its in cut.items() if its == wanted}
        assert question.exclude == (question.source,) == (reference,)
        assert question.query.media["image"].endswith(f"{reference}.png")


def test_splits_share_no_item_and_count_is_of_the_split(folder):
    parts = [load(track="text_image", folder=folder, split=split, **SMALL) for split in ("train", "validation", "test")]
    ids = [{item.id for item in part.items} for part in parts]
    assert [len(each) for each in ids] == [40, 40, 40]
    assert len(set.union(*ids)) == 120
    assert [{item.meta["split"] for item in part.items} for part in parts] == [{"train"}, {"validation"}, {"test"}]


def test_a_task_reads_what_write_left(tmp_path):
    world = World(seed=3, size=16)
    tables = write(tmp_path, world, stills=4, scenes=12)
    with tables["scenes"].open(encoding="utf-8") as file:
        written = [row["id"] for row in csv.DictReader(file) if row["split"] == "test"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    task = load(track="text_video", folder=tmp_path, seed=3, size=16, count=4)
    assert [item.id for item in task.items] == written
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == times
    with pytest.raises(BadData, match="contains another world"):
        load(folder=tmp_path, seed=4, size=16, count=4)
    with pytest.raises(BadSpec, match="count must be at least 1"):
        load(folder=tmp_path, count=0)
