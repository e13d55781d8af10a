"""Networks that are trained to the ground compute what their encoders do, before and after."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.two_tower.shop import recipe_of, shop_task

from quiver import registry
from quiver.encoders.two_tower import load, trunk
from quiver.encoders.two_tower.data import Features, Fetch, gather
from quiver.encoders.two_tower.model import TwoTower
from quiver.encoders.two_tower.train import train
from quiver.errors import BadSpec
from quiver.task import Task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def timm_spec() -> str:
    return "timm model=test_efficientnet size=32 pretrained=false"


@pytest.fixture(scope="module")
def text_spec(tmp_path_factory: pytest.TempPathFactory, write_sentence_transformers: Callable[..., Path]) -> str:
    return (
        f"sentence_transformers model={write_sentence_transformers(tmp_path_factory.mktemp('text') / 'bert', 'bert')}"
    )


def test_eye_sees_what_its_encoder_sees(timm_spec: str) -> None:
    encoder, eye = registry.load("encoders", timm_spec), trunk.open(timm_spec, "image", share=1.0)
    rng = np.random.default_rng(0)
    read = [encoder.reader("image")(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((40, 61), (33, 32))]
    expected = encoder.embed("image", read, encoder.spaces("image")[0])
    np.testing.assert_allclose(eye(eye.collate(read)).detach().numpy(), expected, atol=1e-5)


def test_ear_hears_what_its_encoder_hears(text_spec: str) -> None:
    encoder, ear = registry.load("encoders", text_spec), trunk.open(text_spec, "text", share=1.0)
    texts = ["a red hat", "cap", "a very long name of a very small bag"]
    expected = encoder.embed("text", texts, encoder.spaces("text")[0])
    ear.eval()
    np.testing.assert_allclose(ear(ear.collate(texts)).detach().numpy(), expected, atol=1e-5)


def test_share_says_how_much_is_trained_from_the_output_down(timm_spec: str) -> None:
    eye = trunk.open(timm_spec, "image", share=0.25)
    learnt = [name for name, each in eye.network.named_parameters() if each.requires_grad]
    names = [name for name, _ in eye.network.named_parameters() if not name.startswith("classifier")]
    assert learnt == names[-round(len(names) / 4) :]


@pytest.mark.parametrize("spec", ["classic", "timm model=test_efficientnet", ""])
def test_only_networks_of_two_libraries_are_trained(spec: str) -> None:
    with pytest.raises(BadSpec, match="only timm pictures and sentence_transformers text"):
        trunk.open(spec, "text", share=1.0)


def test_tuned_networks_are_kept_in_the_model_and_give_there_what_they_gave_in_training(
    task: Task, timm_spec: str, text_spec: str, tmp_path: Path
) -> None:
    recipe = recipe_of(
        image=f"{timm_spec} + classic",
        text=f"words + {text_spec}",
        tune="image,text",
        steps=4,
        tune_steps=6,
        tune_batch=8,
        tune_rate=0.001,
        tune_share=0.5,
    )
    outcome = train(task, None, tmp_path / "run", recipe=recipe)
    folder = tmp_path / "run" / "model"
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    config = TwoTower.open(moved).config
    assert config.towers["image"].spec.startswith("timm model=test_efficientnet")
    assert "./image.safetensors" in config.towers["image"].spec
    encoder = load(checkpoint=moved, device="cpu")
    before = registry.load("encoders", timm_spec)
    ref = before.reader("image")(task.items[0].media["image"])
    after = registry.load("encoders", f"timm model=test_efficientnet size=32 checkpoint='{moved}/image.safetensors'")
    assert not np.allclose(
        before.embed("image", [ref], before.space), after.embed("image", [ref], after.space), atol=1e-4
    )
    (space,) = encoder.spaces("text")
    assert outcome.step == 6
    picture = encoder.embed("image", [encoder.reader("image")(task.items[0].media["image"])], space)
    assert encoder.embed("text", [encoder.reader("text")("small red square")], space).shape == picture.shape


def test_tuning_that_does_not_help_is_undone(
    task: Task, timm_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(image=f"{timm_spec} + classic", tune="image", tune_steps=1, tune_batch=8, tune_rate=1e-9)
    outcome = train(task, task, tmp_path, recipe=recipe)
    assert outcome.step == recipe.loop.steps
    assert "no better" in capsys.readouterr().out
    assert not (tmp_path / "model" / "image.safetensors").exists()


def test_trunk_stays_in_evaluation_while_heads_are_trained(timm_spec: str) -> None:
    from quiver.encoders.two_tower.config import Base, Config

    eye = trunk.open(timm_spec, "image", share=1.0)
    towers = {"image": Base(spec=timm_spec, width=eye.width)}
    tuned = trunk.Tuned(TwoTower(Config(towers=towers, dim=4, dropout=0.5)), {"image": eye}).train()
    assert not any(each.training for each in eye.modules())
    assert tuned.model.towers["image"].head.drop.training
    given = {**eye.collate([np.zeros((32, 32, 3), np.uint8)]), "features": torch.empty(1, 0)}
    side = {"image": (torch.tensor([0]), given)}
    tuned((side, side)).ask.sum().backward()
    assert any(each.grad is not None for each in eye.network.parameters())


def test_a_picture_that_is_lost_while_networks_are_tuned_gives_way_to_another_row(
    timm_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = shop_task(tmp_path / "shop")
    pairs = gather(task, own=False)
    eye = trunk.open(timm_spec, "image", share=0.5)
    features = {key: Features(np.zeros((8, eye.width), np.float32), None) for key in pairs.things.refs}
    columns = trunk.columns(pairs.things.refs, features, {"image": eye}, folder=tmp_path)
    fetch = Fetch(pairs, columns)
    whole = fetch(np.arange(8), np.random.default_rng(0))
    lost = task.items[2].media["image"]
    Path(lost).write_bytes(b"damaged")
    again, same = (fetch(np.arange(8), np.random.default_rng(0)) for _ in range(2))
    assert torch.equal(again["things"], same["things"])
    changes = (again["things"] != whole["things"]).any(dim=1)
    assert changes.tolist() == [row == 2 for row in range(8)]
    assert f"note: {lost} is left out: " in capsys.readouterr().err
    found = columns["image"](np.arange(8))["pixels"]  # as validation asks
    assert found.shape == (8, 32, 32, 3) and not found[2].any()
