"""Training learns what belongs together, leaves a model that can be loaded, and goes on where it stopped."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.encoders.mmv.films import film_task

from quiver.encoders._settings import changed, parse
from quiver.encoders._train.device import settled
from quiver.encoders.mmv import load
from quiver.encoders.mmv.config import GRAPHS, Config, Graph
from quiver.encoders.mmv.data import Clips, Serving
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.train import PRESETS, Recipe, train
from quiver.encoders.mmv.validate import ranks, recalls
from quiver.encoders.mmv.word import Tokeniser, Words
from quiver.errors import BadSpec
from quiver.task import Task

READY = {"video": "features:1120", "video_spec": "classic", "audio": "features:76", "audio_spec": "classic"}


def recipe_of(graph: Graph = "fac", **changes: object) -> Recipe:
    config = replace(Config.tiny(graph), frames=4, fps=8.0, seconds=0.5, rate=8000, high=3900.0)
    settings = {"steps": 60, "batch": 8, "learning_rate": 0.01, "warmup": 5, "precision": "fp32", "cache": "disk"}
    still = {"flip": 0.0, "scale": 0.0, "colour": 0.0, "hue": 0.0, "device": "cpu", "calibration_steps": 20}
    often = {"validate_every": 20, "save_every": 0, "log_every": 20}
    return changed(replace(PRESETS["paper"], model=config), {**settings, **still, **often, **changes})


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    task = film_task(tmp_path_factory.mktemp("films"), count=8)
    items = [replace(item, meta={}) for item in task.items]  # each is its own reel
    return replace(task, items=items, questions=[each for each in task.questions if each.id.startswith("caption")])


def test_a_batch_is_learnt_by_heart(task: Task, tmp_path: Path) -> None:
    outcome = train(task, task, tmp_path, recipe=recipe_of())
    assert next(iter(outcome.figures)) == "recall"
    assert outcome.figures["recall"] > 0.9
    encoder = load(checkpoint=tmp_path / "model")
    assert encoder.keys == ("text", "image", "audio", "video")
    space = encoder.spaces("text")[0]
    embedded = {
        key: encoder.embed(key, [encoder.reader(key)(source) for source in sources], space)
        for key, sources in {
            "video": [item.media["video"] for item in task.items],
            "text": [question.query.media["text"] for question in task.questions[::2]],
        }.items()
    }
    found = (embedded["text"] @ embedded["video"].T).argmax(axis=1)
    assert np.mean(found == np.arange(8)) > 0.8


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_graph_learns_from_features(task: Task, tmp_path: Path, graph: Graph) -> None:
    outcome = train(task, task, tmp_path, recipe=recipe_of(graph, **READY))
    figures = outcome.figures
    assert figures["text_video_R@1"] > 0.8
    assert figures["video_text_R@1"] > 0.8
    assert figures["audio_video_R@1"] > 0.8
    assert ("text_audio_R@1" in figures) == (graph != "disjoint")
    assert load(checkpoint=tmp_path / "model").keys == ("text", "audio", "video")


def test_calibration_is_kept_beside_the_weights(task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(task, None, tmp_path, recipe=recipe_of(steps=5))
    said = capsys.readouterr().out
    assert "training on 8 clips, 8 with sound, 8 with text" in said
    before, after = (float(part.split()[0]) for part in said.split("pictures: ")[1].split("calibration, "))
    assert after < before
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "words.txt", "deflated.safetensors"} <= names
    assert json.loads((tmp_path / "model/config.json").read_text())["frames"] == 4


def test_stopped_run_ends_where_an_undisturbed_one_does(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(steps=12, save_every=4, calibration_steps=0, flip=0.5, colour=0.5, folder=tmp_path / "clips")
    train(task, None, tmp_path / "whole", recipe=recipe)
    fetch = Clips.fetch

    def stop(self: Clips, rows: np.ndarray, rng: np.random.Generator | None) -> Mapping[str, torch.Tensor]:
        calls.append(1)
        if len(calls) > 8:
            raise KeyboardInterrupt
        return fetch(self, rows, rng)

    calls: list[int] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Clips, "fetch", stop)
        train(task, None, tmp_path / "broken", recipe=recipe)
    outcome = train(task, None, tmp_path / "broken", recipe=recipe)
    assert 4 <= outcome.resumed <= 8
    whole, broken = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_clips_without_sound_or_text_are_learnt_together(task: Task, tmp_path: Path) -> None:
    items = [replace(item, media={"video": item.media["video"]}) for item in task.items[:4]] + list(task.items[4:])
    questions = [each for each in task.questions if int(each.id[7]) < 6]
    mixed = replace(task, items=items, questions=questions)
    sight = {name: value for name, value in READY.items() if name.startswith("video")}
    outcome = train(mixed, mixed, tmp_path, recipe=recipe_of(**sight))
    assert outcome.figures["text_video_R@1"] > 0.8  # of six
    assert outcome.figures["audio_video_R@1"] > 0.7  # of four


def test_model_is_that_of_the_seed(task: Task, tmp_path: Path) -> None:
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        train(task, None, tmp_path / name, recipe=recipe_of(steps=1, seed=seed, calibration_steps=0))
    first, again, other = (MMV.open(tmp_path / name / "model").state_dict() for name in "abc")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["graph.heads.audio_va.weight"], other["graph.heads.audio_va.weight"])


def test_word_vectors_come_from_a_file(task: Task, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red 1 2\nNew_York 1 1\ndog 3 4\ncat 5 6\n")
    train(task, None, tmp_path, recipe=recipe_of(steps=1, vectors=tmp_path / "words.txt", word_width=2, vocabulary=2))
    model = MMV.open(tmp_path / "model")
    assert model.tokens == ("red", "dog")
    assert model.state_dict()["towers.text.table"].tolist() == [[0, 0], [1, 2], [3, 4]]


def test_ranks_count_what_is_nearer_and_share_what_is_as_near() -> None:
    asking = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    assert ranks(asking, found).tolist() == [1.0, 1.5, 1.5]
    assert ranks(torch.ones(9, 2), torch.ones(9, 2)).tolist() == [5.0] * 9  # a model that tells nothing apart
    assert ranks(torch.eye(4), torch.eye(4)[[1, 2, 3, 0]])[0] == 3  # two others are as far


def test_untrained_model_finds_as_chance_does(task: Task, tmp_path: Path) -> None:
    config = recipe_of("shared").model
    words = Words.gather((question.query.media["text"] for question in task.questions), width=config.word_width)
    tokeniser = Tokeniser(words.tokens, config.max_words)
    clips = Clips.of(task, config, tokeniser, folder=tmp_path, serving=Serving())
    figures = recalls(MMV(config, words=words).eval(), clips, batch=3)
    assert len(figures) == 13  # six directions, two depths, and the mean
    trained = [name for name in figures if "video" in name]
    assert figures["recall"] == pytest.approx(np.mean([figures[name] for name in trained]))
    assert all(figures[name.replace("@1", "@10")] == 1 for name in figures if name.endswith("@1"))  # of eight


def test_presets_hold_the_papers_recipe_and_one_for_a_cpu() -> None:
    paper, cpu = PRESETS["paper"], PRESETS["cpu"]
    assert (paper.loop.batch, paper.loop.rate, paper.loop.warmup, paper.loop.decay) == (4096, 0.002, 5000, 0)
    model = paper.model
    assert (model.frames, model.fps, model.size, model.rate, model.bands) == (32, 10.0, 200, 48_000, 80)
    assert (paper.jitter.colour, paper.jitter.hue, cpu.jitter.hue) == (1.0, 0.2, 0.0)
    assert model == Config.paper()
    assert cpu.model.frames / cpu.model.fps == cpu.model.seconds == 2.0


def test_settings_are_named_in_full_or_short_and_a_rate_may_be_two_things() -> None:
    options = {"graph": "shared", "audio": "none", "steps": "7", "span": "10", "model.rate": "8000"}
    given = parse(PRESETS["paper"], options, model="mmv")
    assert given == {
        "model.graph": "shared", "model.audio": None, "loop.steps": 7, "data.span": 10.0, "model.rate": 8000
    }  # fmt: skip
    with pytest.raises(BadSpec, match=r"rate may be model\.rate \(of the sound, in Hz\) or loop\.rate \(peak "):
        parse(PRESETS["paper"], {"rate": "1e-3"}, model="mmv")
    assert parse(PRESETS["paper"], {"learning_rate": "1e-3"}, model="mmv") == {"loop.rate": 1e-3}


@pytest.mark.parametrize(
    "options", [{"candidates": 0}, {"hue": 0.7}, {"steps": 0}, {"yamnet": Path("x")}, {"unit": True}]
)
def test_impossible_recipe_is_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(BadSpec):
        recipe_of("shared", **options)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads Linux's list of what the processor can")
def test_auto_is_half_precision_where_the_processor_multiplies_it() -> None:
    can = set(Path("/proc/cpuinfo").read_text().split())
    wanted = "bf16" if can & {"avx512_bf16", "amx_bf16"} else "fp32"
    assert settled(recipe_of(precision="auto").loop).precision == wanted
    assert settled(recipe_of(precision="fp32").loop).precision == "fp32"
