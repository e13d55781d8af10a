"""A trained model works wherever its folder is moved, whatever becomes of the files it was trained with."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from quiver import registry, trust
from quiver.encoders._settings import changed
from quiver.errors import BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 220), "grey": (128, 128, 128)}
OFTEN = {"device": "cpu", "loop.batch": 4, "log_every": 50, "save_every": 0}
EYE, EAR = "onnx file=files/eye.onnx input=image size=16", "onnx file=files/ear.onnx input=waveform"
#: By model: the settings that name an encoder by a file, and those that keep the training short.
SETTINGS: dict[str, dict[str, Any]] = {
    "two_tower": {"image": f"{EYE} + classic", "dim": 8, "buckets": 16, "loop.steps": 2, "loop.warmup": 0},
    "artemis": {"image": f"{EYE} + classic", "dim": 8, "embedding": 4, "hidden": 0, "loop.epochs": 1.0, "warmup": 0},
    "fashionbert": {
        "features": "pixels", "side": 4, "rows": 1, "columns": 1, "whole": f"{EYE} + classic", "layers": 1,
        "hidden": 16, "heads": 2, "inner": 16, "max_text": 8, "vocabulary": 60, "model.align": 0, "loop.steps": 1,
        "rank.steps": 0, "precision": "fp32", "loop.warmup": 0, "negatives": "batch",
    },
    "mmv": {
        "video": None, "audio": "features:80", "audio_spec": f"{EAR} + classic", "weight_at": 1.0, "hidden": 8,
        "va": 8, "vat": 4, "word_width": 4, "word_hidden": 8, "loop.steps": 2, "precision": "fp32",
        "loop.warmup": 0, "cache": "disk",
    },
    "map_ivr": {
        "image": f"{EYE} + classic", "video": f"{EYE} frames=2 + motion", "hidden": 8, "dim": 8, "code": 4,
        "loop.epochs": 2.0, "validations": 0, "data.label": "category",
    },
    "clip4idc": {
        "image": "tokens:timm model=test_efficientnet checkpoint=files/cnn.safetensors", "grid.size": 64,
        "grid.rows": 1, "grid.columns": 1, "model.dim": 8, "model.vision.width": 12, "model.text.width": 12,
        "model.text.vocabulary": 60, "loop.steps": 1, "loop.warmup": 0,
    },
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_onnx: Callable[..., Path]) -> Path:
    """A working directory with encoders in files below it."""
    (tmp_path / "training/files").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "training")
    rng = np.random.default_rng(0)
    write_onnx(Path("files/eye.onnx"), "pictures", rng.normal(size=(4, 3, 3, 3)))
    write_onnx(Path("files/ear.onnx"), "sounds", rng.normal(size=(4, 1, 8)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(timm.create_model("test_efficientnet").state_dict(), "files/cnn.safetensors")
    return tmp_path


def shop(folder: Path) -> Task:
    """Four squares with sounds, each asked for by its name, and by another square with a wish."""
    folder.mkdir()
    items, questions = [], []
    for number, (colour, rgb) in enumerate(COLOURS.items()):
        Image.new("RGB", (32, 32), rgb).save(folder / f"{colour}.png")
        times = np.arange(4000) / 8000
        soundfile.write(folder / f"{colour}.wav", np.sin(2 * np.pi * 200 * (number + 1) * times), 8000)
        media = {
            "image": str(folder / f"{colour}.png"),
            "audio": str(folder / f"{colour}.wav"),
            "text": f"a {colour} one",
        }
        items.append(Item(colour, media, {"category": "square"}))
    for item, other in zip(items, items[1:] + items[:1], strict=True):
        questions.append(Question(f"name {item.id}", Query({"text": item.media["text"]}, target="image"), {item.id: 1}))
        wish = Query({"text": f"the same in {other.id}"}, like=(item.id,), target="image")
        questions.append(Question(f"wish {item.id}", wish, {other.id: 1}, exclude=(item.id,)))
    return Task("shop", "0", items, questions, ("Success@1",), "image", "", "made here")


def asked(task: Task, model: str) -> Task:
    """Keep the questions that a model learns from; one of sounds takes their texts from the items."""
    if model == "clip4idc":
        pairs = zip(task.items, task.items[1:] + task.items[:1], strict=True)
        both = [(a.id, {"before": a.media["image"], "after": b.media["image"]}, b.id) for a, b in pairs]
        items = [Item(id, {**media, "text": f"it turned {new}"}) for id, media, new in both]
        return replace(task, items=items, questions=[])
    wishes = {"artemis": True, "mmv": None}.get(model, False)
    kept = [each for each in task.questions if wishes is not None and bool(each.query.like) == wishes]
    if model == "map_ivr":  # a picture is a clip of one frame
        clips = [replace(item, media={key: item.media["image"] for key in ("image", "video")}) for item in task.items]
        return replace(task, items=clips, questions=[], target="video")
    if model == "mmv":
        return replace(
            task, items=[Item(i.id, {k: i.media[k] for k in ("audio", "text")}) for i in task.items], questions=[]
        )
    return replace(task, questions=kept)


def embedded(spec: str, key: str, ref: str | tuple[str, str]) -> np.ndarray:
    encoder = registry.load("encoders", spec)
    space = encoder.spaces(key)[0]
    return encoder.embed(key, [encoder.reader(key)(ref)], space), space


def as_somebody_else(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Forget which encoders this user has named: the folder is given to another person."""
    monkeypatch.setenv("QUIVER_CONFIG", str(folder / "their settings"))
    monkeypatch.setattr(trust, "_remembered", set())


@pytest.mark.parametrize("model", SETTINGS)
def test_a_model_is_moved_and_its_training_is_gone(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = asked(shop(here / "shop"), model)
    school = importlib.import_module(f"quiver.encoders.{model}.train")
    recipe = changed(school.PRESETS["cpu"], OFTEN | SETTINGS[model] | ({"bert": ""} if model == "fashionbert" else {}))
    school.train(task, None, Path("run"), recipe=recipe)
    key = {"mmv": "audio", "clip4idc": "pair"}.get(model, "image")
    red, blue = (str(here / "shop" / f"{colour}.{'wav' if model == 'mmv' else 'png'}") for colour in ("red", "blue"))
    ref = (red, blue) if key == "pair" else red
    before, space = embedded(f"{model} checkpoint=run/model device=cpu", key, ref)
    (here / "elsewhere").mkdir()
    as_somebody_else(monkeypatch, here)
    shutil.move("run/model", here / "elsewhere/received")
    monkeypatch.chdir(here / "elsewhere")
    shutil.rmtree(here / "training")
    after, same = embedded(f"{model} checkpoint=received device=cpu", key, ref)
    assert same == space  # so that vectors made before the move can be searched
    np.testing.assert_array_equal(after, before)


def test_a_model_on_top_of_a_model_takes_it_along(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quiver.encoders.two_tower.train import PRESETS, train

    task = asked(shop(here / "shop"), "two_tower")
    below = changed(PRESETS["cpu"], OFTEN | SETTINGS["two_tower"])
    train(task, None, Path("below"), recipe=below)
    train(task, None, Path("above"), recipe=changed(below, {"image": "two_tower checkpoint=below/model"}))
    ref = str(here / "shop/red.png")
    before, space = embedded("two_tower checkpoint=above/model", "image", ref)
    as_somebody_else(monkeypatch, here)
    shutil.move("above/model", here / "received")
    monkeypatch.chdir(here)
    shutil.rmtree(here / "training")
    after, same = embedded("two_tower checkpoint=received", "image", ref)
    assert same == space
    np.testing.assert_array_equal(after, before)


def test_encoders_below_may_be_named_anew_but_not_exchanged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quiver.encoders.two_tower import load
    from quiver.encoders.two_tower.train import PRESETS, train

    task = asked(shop(here / "shop"), "two_tower")
    train(task, None, Path("run"), recipe=changed(PRESETS["cpu"], OFTEN | SETTINGS["two_tower"]))
    as_somebody_else(monkeypatch, here)
    (here / "other").mkdir()
    shutil.move("files/eye.onnx", here / "other/eye.onnx")
    shutil.rmtree("run/model/encoders")
    encoder = load(checkpoint=Path("run/model"), image=f"onnx file={here}/other/eye.onnx input=image size=16 + classic")
    assert {"text", "image"} <= set(encoder.keys)
    with pytest.raises(BadSpec, match="gives other image vectors than those this two_tower model has learnt from"):
        load(checkpoint=Path("run/model"), image="classic")
