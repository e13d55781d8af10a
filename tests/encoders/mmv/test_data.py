"""Batches hold what was filmed, in step, with the texts nearest to it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.mmv.films import FPS, RATE, film_task, write_film

from quiver.encoders.mmv.augment import Jitter
from quiver.encoders.mmv.config import Config
from quiver.encoders.mmv.data import Clips, Serving, gather, hear, seen
from quiver.encoders.mmv.store import BLOCK, Disk, Live, Media, Window, decode
from quiver.encoders.mmv.word import Tokeniser, Words
from quiver.errors import BadData
from quiver.media import moment
from quiver.task import Task
from quiver.types import Item

CONFIG = replace(Config.tiny(), frames=4, fps=8.0, shorter=18, size=16, rate=RATE, seconds=0.5, high=3900.0)
STILL = Serving(span=1.0, jitter=Jitter(flip=0, scale=0, colour=0, hue=0))
WORDS = Words.gather(["red dog green cat blue bird grey mouse white horse black bear running look"], width=8)
TOKENS = Tokeniser(WORDS.tokens, CONFIG.max_words)
WINDOW = Window(frames=4, fps=8.0, side=18, rate=RATE, seconds=0.5, span=1.0)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return film_task(tmp_path_factory.mktemp("films"))


def clips_of(task: Task, folder: Path, serving: Serving = STILL, config: Config = CONFIG) -> Clips:
    return Clips.of(task, config, TOKENS, folder=folder, serving=serving)


def greys(video: torch.Tensor) -> np.ndarray:
    """The grey of every frame, (B, T), as it was painted."""
    return (video.mean(dim=(2, 3, 4)) * 255).round().numpy()


def hertz(audio: torch.Tensor) -> np.ndarray:
    return np.abs(np.fft.rfft(audio.numpy())).argmax(axis=1) * RATE / audio.shape[1]


def texts(batch: dict[str, torch.Tensor]) -> list[list[str]]:
    tokens = ("", *TOKENS.tokens)
    return [
        [" ".join(tokens[id] for id in ids if id) for ids, there in zip(clip, told, strict=True) if there]
        for clip, told in zip(batch["text"].tolist(), batch["told"].tolist(), strict=True)
    ]


def test_texts_of_a_clip_come_nearest_first(task: Task) -> None:
    items = [replace(task.items[0], media={**task.items[0].media, "text": "its own"}), *task.items[1:]]
    clips = gather(replace(task, items=items, questions=list(task.questions)[::-1]))
    assert clips[0].texts == ("its own", "the red dog is running", "a red dog", "look 0")
    assert clips[1].texts == ("the green cat is running", "a green cat", "look 0")
    assert [clip.group for clip in clips] == [f"source_id reel{n // 2}" for n in range(6)]


def test_middles_of_clips_are_served_as_they_are(task: Task, tmp_path: Path) -> None:
    clips = clips_of(task, tmp_path)
    batch = clips.fetch(np.array([2, 0]), None)
    assert np.abs(greys(batch["video"]) - [[54, 56, 58, 60], [4, 6, 8, 10]]).max() <= 1  # frames 2 to 5 of 8
    assert batch["video"].shape == (2, 4, 16, 16, 3)
    assert hertz(batch["audio"]).tolist() == [300, 100]
    assert batch["audio"].shape == (2, 4000)
    assert batch["heard"].tolist() == [True, True]
    assert batch["group"][0] != batch["group"][1]
    assert texts(batch) == [["blue bird", "blue bird running", "look"], ["red dog", "red dog running", "look"]]
    assert clips.describe() == "6 clips, 6 with sound, 6 with text"
    assert torch.equal(*(clips.fetch(np.array([n]), None)["group"] for n in (2, 3)))


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_sound_is_in_step_with_the_frames(tmp_path: Path, cache: str) -> None:
    import soundfile

    media = write_film(tmp_path, 0, seconds=4.0)
    soundfile.write(media["audio"], np.linspace(0, 1, 4 * RATE), RATE)  # its level is its time
    part = {key: moment(ref, 1, 3.5) for key, ref in media.items()}
    items = [Item(f"{n}", part, {}) for n in range(2)]
    task = replace(film_task(tmp_path / "x", count=2), items=items, questions=[])
    serving = replace(STILL, cache=cache, span=2.5)  # type: ignore[arg-type]
    clips = clips_of(task, tmp_path / "clips", serving)
    starts = []
    for seed in range(12):
        batch = clips.fetch(np.array([0]), np.random.default_rng(seed))
        first = (batch["video"][0, 0].mean().item() * 255 / 2 + 0.5) / FPS  # the middle of the frame
        level = batch["audio"][0]
        assert level[500].item() * 4 == pytest.approx(first, abs=1 / FPS)
        assert (level[-1] - level[0]).item() * 4 == pytest.approx(0.5, abs=0.01)
        starts.append(first)
    assert 1 <= min(starts) < 1.6
    assert 2.4 < max(starts) <= 3.2


def test_draws_of_training_depend_on_the_generator_alone(task: Task, tmp_path: Path) -> None:
    clips = clips_of(task, tmp_path, replace(STILL, jitter=Jitter(noise=0.01), candidates=2))
    rows = np.array([0, 3, 5])
    first, again, other = (clips.fetch(rows, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["video"], other["video"])
    assert not torch.equal(first["audio"], other["audio"])


@pytest.mark.parametrize("jitter", [Jitter(), Jitter(scale=0, colour=0, hue=0)])
def test_clips_that_are_changed_later_end_as_those_that_are_changed_at_once(task, tmp_path, jitter) -> None:
    at_once, later = (
        clips_of(task, tmp_path, replace(STILL, jitter=jitter, later=later)).fetch(
            np.array([0, 3, 5]), np.random.default_rng(1)
        )
        for later in (False, True)
    )
    assert later["video"].dtype == torch.uint8 and at_once["video"].dtype == torch.float32
    changed = seen(later, CONFIG)
    assert changed.keys() == at_once.keys() and all(torch.equal(changed[name], at_once[name]) for name in at_once)


def test_more_texts_than_candidates_are_drawn_in_training(task: Task, tmp_path: Path) -> None:
    clips = clips_of(task, tmp_path, replace(STILL, candidates=2))
    assert texts(clips.fetch(np.array([0]), None)) == [["red dog", "red dog running"]]
    drawn = {tuple(texts(clips.fetch(np.array([0]), np.random.default_rng(seed)))[0]) for seed in range(20)}
    assert drawn == {("red dog", "red dog running"), ("red dog", "look"), ("red dog running", "look")}


def test_what_cannot_be_read_is_left_out_with_its_reason(task: Task, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    silent = {"video": task.items[2].media["video"]}
    items = [
        replace(task.items[0], media={**task.items[0].media, "video": str(broken)}),
        replace(task.items[1], media={**task.items[1].media, "audio": str(broken)}),
        replace(task.items[2], media=silent),
        replace(task.items[3], id="untold", media={"video": task.items[3].media["video"]}),
        *task.items[4:],
    ]
    questions = [each for each in task.questions if "film3" not in each.relevant]
    clips = clips_of(replace(task, items=items, questions=questions), tmp_path / "clips")
    assert clips.ids == ["film1", "film2", "film4", "film5"]
    assert clips.fetch(np.arange(4), None)["heard"].tolist() == [False, False, True, True]
    lines = [json.loads(line) for line in (tmp_path / "clips/quarantine.jsonl").read_text().splitlines()]
    assert [(line["key"], Path(line["ref"]).name) for line in lines] == [
        ("video", "broken.mp4"),
        ("audio", "broken.mp4"),
        ("audio", "2.mp4"),
        ("audio", "3.mp4"),
    ]
    assert "no sound" in lines[2]["reason"]


def test_live_clip_that_cannot_be_read_gives_way_to_another(task: Task, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    items = [replace(task.items[0], media={"video": str(broken), "audio": str(broken)}), *task.items[1:]]
    clips = clips_of(replace(task, items=items), tmp_path / "clips", replace(STILL, cache="none"))
    batch = clips.fetch(np.array([0, 4]), np.random.default_rng(0))
    said = texts(batch)
    assert said[0] != ["red dog", "red dog running", "look"]
    assert said[1][0] == "white horse"
    number = round(hertz(batch["audio"])[0] / 100) - 1
    assert (greys(batch["video"])[0, 0] + 1) // 25 == number  # frames, sound and texts are of one clip
    assert said[0][0] == gather(task)[number].texts[0].removeprefix("a ")
    nothing = [Media(str(broken), None)] * 3
    with pytest.raises(BadData, match="clips in a row cannot be decoded"):
        Live(nothing, WINDOW, tmp_path).read(np.array([0]), np.random.default_rng(0))


def test_live_clips_are_read_where_nine_of_ten_are_damaged_and_each_is_noted_once(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Media(task.items[0].media["video"], None)
    broken = [tmp_path / f"{number}.mp4" for number in range(9)]
    for path in broken:
        path.write_bytes(b"no film")
    live = Live([good, *(Media(str(path), None) for path in broken)], WINDOW, tmp_path)
    for _ in range(2):  # two passes
        raw = live.read(np.arange(10), np.random.default_rng(0))
        assert raw.rows.tolist() == [0] * 10
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(line["ref"] for line in lines) == [str(path) for path in broken]
    said = capsys.readouterr().err
    assert said.count("is left out: ") == 5 and f"note: {broken[0]} is left out: " in said


def test_decoded_clips_are_found_again_and_unfinished_ones_made(task: Task, tmp_path: Path) -> None:
    media = [Media(item.media["video"], item.media["audio"]) for item in task.items] * (BLOCK // 3)  # two blocks
    first = Disk(media, WINDOW, tmp_path, revision="1")
    blocks = sorted(first.folder.iterdir())
    assert [block.name for block in blocks] == ["000000", "000001"]
    stamps = {path: path.stat().st_mtime_ns for path in blocks[0].iterdir()}
    for path in [*blocks[1].iterdir()]:
        path.unlink()
    blocks[1].rmdir()
    again = Disk(media, WINDOW, tmp_path, revision="1")
    assert {path: path.stat().st_mtime_ns for path in blocks[0].iterdir()} == stamps
    rows = np.array([0, BLOCK, BLOCK + 3])
    assert (again.read(rows, None).video == first.read(rows, None).video).all()
    assert Disk(media, replace(WINDOW, side=12), tmp_path, revision="1").folder != first.folder
    assert Disk(media[:3], WINDOW, tmp_path, revision="2").folder != first.folder


def test_clip_shorter_than_asked_holds_its_last_frame_and_falls_silent(task: Task) -> None:
    media = task.items[0].media
    frames, samples, reasons = decode(Media(media["video"], media["audio"]), replace(WINDOW, frames=12, seconds=1.5))
    assert reasons == {}
    assert frames is not None
    assert np.abs(frames.mean(axis=(1, 2, 3)) - [0, 2, 4, 6, 8, 10, 12, 14, 14, 14, 14, 14]).max() <= 1
    assert samples is not None
    assert np.abs(samples[: RATE - 100]).max() > 0.4
    assert not samples[RATE:].any()


def test_features_stand_for_what_was_filmed(task: Task, tmp_path: Path) -> None:
    ready = replace(CONFIG, video="features:1120", video_spec="classic", audio="features:152")
    ready = replace(ready, audio_spec="classic + classic", text="features:16", text_spec="classic dim=16")
    clips = Clips.of(task, ready, None, folder=tmp_path, serving=STILL)
    batch = clips.fetch(np.array([1, 4]), np.random.default_rng(0))
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "video": (2, 1120), "audio": (2, 152), "heard": (2,), "text": (2, 5, 16), "told": (2, 5), "group": (2,),
    }  # fmt: skip
    assert torch.equal(hear(batch["audio"], ready), batch["audio"])
    assert not batch["text"][~batch["told"]].any()
    with pytest.raises(BadData, match="write video=features:1120"):
        Clips.of(task, replace(ready, video="features:65"), None, folder=tmp_path, serving=STILL)


def test_nothing_to_learn_from_is_said(task: Task, tmp_path: Path) -> None:
    mute = replace(CONFIG, audio=None)
    with pytest.raises(BadData, match="0 of 6 items can be learnt from"):
        clips_of(replace(task, questions=[]), tmp_path, config=mute)
    texts_only = replace(task, items=[Item("x", {"text": "a red dog"}, {})], questions=[])
    with pytest.raises(BadData, match="0 of 1 items"):
        clips_of(texts_only, tmp_path)
