"""Training: it learns a made task, chooses lambda, keeps it, and goes on where it was stopped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.encoders.map_ivr.conftest import QUICK, made

from quiver.encoders._settings import changed
from quiver.encoders._train.log import read
from quiver.encoders._train.update import Updates
from quiver.encoders.map_ivr.model import MapIvr
from quiver.encoders.map_ivr.train import PRESETS, train
from quiver.errors import BadData, BadSpec
from quiver.task import Question
from quiver.types import Query


def recipe(**changes):
    return changed(PRESETS["tiny"], QUICK | changes)


def test_it_learns_a_made_task_and_stores_lambda(trained):
    lines = read(trained / "log.jsonl")
    last = [line for line in lines if line["kind"] == "validation"][-1]
    assert last["APh@100"] == 1
    assert {"blend", "appearance", "moving", "kl", "active", "spread", "dead"} <= set(last)
    assert {"motion_activity", "appearance_activity", "motion_person", "appearance_person"} <= set(last)
    logged = [line for line in lines if line["kind"] == "train"][-1]
    assert {"classify", "orthogonal", "kl", "rebuild", "active", "dead"} <= set(logged)
    best = max((line for line in lines if line["kind"] == "validation"), key=lambda line: line["APh@100"])
    config = MapIvr.open(trained / "model").config
    assert config.blend == best["blend"]
    assert config.classes == ("dig", "row", "ski")
    assert config.positive is False  # motion has negative features
    assert (config.name, config.image.width) == ("hands", 1120)


def test_features_that_are_never_negative_are_measured_as_such(task, tmp_path):
    made_with = {"video": "classic frames=2", "loop.epochs": 1.0, "validations": 0}
    train(task, None, tmp_path, recipe=recipe(**made_with))
    assert MapIvr.open(tmp_path / "model").config.positive is True


def test_a_fixed_lambda_is_kept_and_without_validation_it_is_one_half(task, tmp_path):
    short = {"loop.epochs": 1.0, "validations": 0}
    train(task, task, tmp_path / "a", recipe=recipe(blend=0.25, **short))
    train(task, None, tmp_path / "b", recipe=recipe(**short))
    assert [MapIvr.open(tmp_path / run / "model").config.blend for run in "ab"] == [0.25, 0.5]


def test_a_stopped_run_ends_as_one_that_was_not(task, tmp_path, monkeypatch):
    settings = recipe(**{"loop.epochs": 4.0, "validations": 2, "save_every": 2, "model.dropout": 0.2})
    train(task, task, tmp_path / "whole", recipe=settings)
    advance = Updates.advance

    def stop(updates, step, parts, *, rate):
        if step == 3:
            raise KeyboardInterrupt
        return advance(updates, step, parts, rate=rate)

    monkeypatch.setattr(Updates, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        train(task, task, tmp_path / "cut", recipe=settings)
    monkeypatch.setattr(Updates, "advance", advance)
    assert train(task, task, tmp_path / "cut", recipe=settings).resumed > 0
    one, two = (load_file(tmp_path / run / "model/model.safetensors") for run in ("whole", "cut"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=0)


def test_windows_are_chosen_by_confidence(task, tmp_path):
    train(task, task, tmp_path, recipe=recipe(**{"windows": 3, "keep": 1, "loop.epochs": 1.0, "validations": 1}))
    model = MapIvr.open(tmp_path / "model")
    assert (model.config.windows, model.config.keep) == (3, 1)
    assert model.confidence.weight.abs().max() > 0.1  # it was learnt, from zeros


def test_a_file_of_proposals_takes_the_place_of_windows(task, tmp_path):
    from pathlib import Path

    clips = [item.media["video"] for item in task.items]
    folder = Path(clips[0]).parent
    lines = ["path,start,stop,score", *(f"{Path(clip).name},0,0.5,1" for clip in clips)]
    (folder / "windows.csv").write_text("\n".join(lines) + "\n")
    short = {"loop.epochs": 1.0, "validations": 0}
    train(task, None, tmp_path / "a", recipe=recipe(**{"data.proposals": folder / "windows.csv"}, **short))
    train(task, None, tmp_path / "b", recipe=recipe(**short))
    one, two = (load_file(tmp_path / run / "model/model.safetensors")["motion.0.weight"] for run in "ab")
    assert not torch.equal(one, two)


def test_a_broken_still_a_broken_clip_and_an_unknown_activity_do_not_end_the_run(tmp_path, capsys):
    learn, held = made(tmp_path / "learn"), made(tmp_path / "held", seed=1)
    (tmp_path / "learn/dig1.png").write_bytes(b"not a picture")
    (tmp_path / "learn/row2.mp4").write_bytes(b"\0" * 400)
    kept = [question for question in learn.questions if not question.id.startswith("ski")]
    learn = replace(learn, questions=kept, items=[item for item in learn.items if not item.id.startswith("ski")])
    train(learn, held, tmp_path / "run", recipe=recipe(**{"loop.epochs": 1.0, "validations": 1}))
    said = capsys.readouterr().out
    assert "training on 7 stills and 8 clips of 2 activities" in said
    assert "1 stills left out: they, or all clips of their activity, cannot be read" in said
    assert "4 validation stills show activities that are not in training, such as 'ski'" in said
    text = (tmp_path / "run/features/quarantine.jsonl").read_text()
    assert "dig1.png" in text
    assert "row2.mp4" in text


def test_a_class_with_one_clip_is_learnt_and_a_still_of_it_alone_is_left_out(tmp_path, capsys):
    task = made(tmp_path / "clips", clips=2)
    lone = task.items[0]
    items = [item for item in task.items if item.id != "dig1"]
    questions = [
        replace(
            each, relevant={id: 1 for id in each.relevant if id != "dig1"}, exclude=tuple(set(each.exclude) - {"dig1"})
        )
        for each in task.questions
    ]
    own = Question("own", Query(media={"image": lone.media["video"]}, target="video"), {"dig0": 1}, exclude=("dig0",))
    train(
        replace(task, items=items, questions=[*questions, own]),
        None,
        tmp_path / "run",
        recipe=recipe(**{"loop.epochs": 1.0}),
    )
    assert "2 stills left out: no other clip shows their activity" in capsys.readouterr().out


def test_a_task_without_stills_is_one_clear_line(task, tmp_path):
    with pytest.raises(BadData, match=r"data\.label=COLUMN"):
        train(replace(task, questions=[]), None, tmp_path, recipe=recipe())


def test_an_encoder_that_sees_no_clips_is_refused(task, tmp_path):
    with pytest.raises(BadSpec, match="embeds video, not image"):
        train(task, None, tmp_path, recipe=recipe(image="motion"))


def test_the_recipe_is_as_documented():
    paper = PRESETS["paper"]
    assert (paper.model.hidden, paper.model.dim, paper.model.code) == (2048, 1024, 1024)
    assert (paper.loop.rate, paper.loop.clip, paper.loop.epochs, paper.loop.optimiser) == (2e-4, 1.0, 30.0, "adam")
    with pytest.raises(BadSpec, match="blend must be from 0 to 1"):
        changed(paper, {"blend": 1.2})


def test_the_config_is_json_that_names_its_encoders(trained):
    config = json.loads((trained / "model/config.json").read_text())
    assert config["video"]["spec"] == "classic frames=2 + motion frames=4"
    assert config["classes"] == ["dig", "row", "ski"]
    assert np.isclose(config["video"]["width"], 1120 + 121)
