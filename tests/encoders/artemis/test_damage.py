"""Damaged pictures never end a training of pixels."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quiver.attribute_edits import edited
from quiver.encoders._settings import changed
from quiver.encoders.artemis import train
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.validate import Validation


@pytest.fixture
def damaged(shelf, tmp_path):
    """The shelf with three pictures that cannot be read."""
    folder = tmp_path / "pictures"
    shutil.copytree(Path(shelf.items[0].media["image"]).parent, folder)
    items = [replace(item, media={"image": str(folder / Path(item.media["image"]).name)}) for item in shelf.items]
    for item in items[:3]:
        Path(item.media["image"]).write_bytes(b"\x89PNG, but no picture")
    task = edited(replace(shelf, items=items, questions=[]), ("colour", "shape"))
    return replace(task, questions=task.questions[:48])


@pytest.fixture
def recipe():
    small = {"image": "timm:test_efficientnet", "pretrained": False, "size": 32, "batch": 8, "dim": 16, "embedding": 8}
    small |= {"first_epochs": 0.0, "schedule": "constant", "rate": 1e-3, "device": "cpu", "validations": 1}
    return changed(train.PRESETS["paper"], small | {"epochs": 0.0, "steps": 4})


def test_training_and_validation_go_on_and_name_the_files(damaged, recipe, tmp_path, capsys):
    outcome = train.train(damaged, damaged, tmp_path / "run", recipe=recipe)
    assert outcome.step == 4 and 0 <= outcome.figures["R@1"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "run/features/quarantine.jsonl").read_text().splitlines()]
    names = {item.media["image"] for item in damaged.items[:3]}
    assert {line["ref"] for line in lines} == names and len(lines) == len(names)
    said = capsys.readouterr().err
    assert "note: 3 of 24 image references cannot be read: see " in said and "is left out: " in said
    model = Model.open(tmp_path / "run/model")
    held = Validation.of(damaged, model, cache=tmp_path / "cache")
    assert len(held.triplets.gallery) == 21
    assert list(held.measure(model.eval())) == ["score", "R@1", "R@10", "R@50"]


def test_a_run_that_resumes_takes_the_same_rows(damaged, recipe, tmp_path):
    train.train(damaged, None, tmp_path / "parts", recipe=changed(recipe, {"loop.steps": 2}))
    train.train(damaged, None, tmp_path / "parts", recipe=recipe)
    train.train(damaged, None, tmp_path / "once", recipe=recipe)
    parts, once = (Model.open(tmp_path / name / "model").state_dict() for name in ("parts", "once"))
    assert all(torch.equal(each, once[name]) for name, each in parts.items())


def test_a_picture_that_is_lost_after_the_check_is_white_in_validation(damaged, recipe, tmp_path):
    model = Model(train._prepare(damaged, recipe, tmp_path)[1].config).eval()
    held = Validation.of(damaged, model, cache=tmp_path)
    Path(damaged.items[5].media["image"]).unlink()
    (place,) = (place for place, ref in enumerate(held.triplets.pictures) if ref == damaged.items[5].media["image"])
    assert (held.look(np.array([place, place])) == 255).all()
    assert 0 <= held.measure(model)["score"] <= 1
