"""Training learns what belongs together, leaves a model that can be loaded, and goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.encoders.two_tower.shop import recipe_of, shop_task, task_of

from quiver.encoders._settings import changed, parse
from quiver.encoders.two_tower import load
from quiver.encoders.two_tower.train import PRESETS, train
from quiver.encoders.two_tower.validate import ranks
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop"))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def found(out: Path, task: Task) -> list[str]:
    """Return the product whose picture is nearest to each name."""
    encoder = load(checkpoint=out / "model", device="cpu")
    (space,) = encoder.spaces("image")
    rows = {}
    for key, refs in (("text", [item.id for item in task.items]), ("image", [i.media["image"] for i in task.items])):
        rows[key] = encoder.embed(key, [encoder.reader(key)(ref) for ref in refs], space)
    return [task.items[place].id for place in (rows["text"] @ rows["image"].T).argmax(1)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"text": "words + classic dim=64", "hidden": 32, "residual": True, "smoothing": 0.1},
        {"text": "classic dim=64", "loss": "sigmoid", "temperature": 0.1, "dropout": 0.1},
    ],
)
def test_every_product_is_learnt_by_heart_and_found_after_loading(
    task: Task, tmp_path: Path, changes: dict[str, Any]
) -> None:
    outcome = train(task, task, tmp_path, recipe=recipe_of(**changes))
    assert outcome.figures == dict.fromkeys(outcome.figures, 1.0)
    assert found(tmp_path, task) == [item.id for item in task.items]


def test_items_that_hold_both_are_enough_without_questions(tmp_path: Path) -> None:
    task = shop_task(tmp_path, own=True)
    train(task, None, tmp_path / "run", recipe=recipe_of())
    assert found(tmp_path / "run", task) == [item.id for item in task.items]
    with pytest.raises(BadData, match="no question"):
        train(task, None, tmp_path / "other", recipe=recipe_of(own=False))


def test_stopped_run_ends_as_an_undisturbed_one(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(dropout=0.2, word_dropout=0.3, steps=20, validate_every=10, save_every=4)
    train(task, task, tmp_path / "whole", recipe=recipe)
    from quiver.encoders.two_tower.data import Fetch

    fetch, calls = Fetch.__call__, [0]

    def interrupted(self: Fetch, rows: Any, rng: np.random.Generator) -> Any:
        calls[0] += 1
        if calls[0] == 13:
            raise KeyboardInterrupt
        return fetch(self, rows, rng)

    with monkeypatch.context() as patch:
        patch.setattr(Fetch, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(task, task, tmp_path / "cut", recipe=recipe)
    outcome = train(task, task, tmp_path / "cut", recipe=recipe)
    assert 0 < outcome.resumed < 20
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_pictures_and_videos_of_one_spec_share_a_tower(task: Task, tmp_path: Path) -> None:
    still = np.full((3, 32, 32, 3), 90, np.uint8)
    items = [*task.items, Item("film", {"video": still})]  # type: ignore[dict-item]
    wants = Question("film", Query(media={"text": "dark film"}, target="video"), relevant={"film": 1})
    train(task_of(items, [*task.questions, wants]), None, tmp_path, recipe=recipe_of(steps=5))
    encoder = load(checkpoint=tmp_path / "model", device="cpu")
    assert encoder.keys == ("text", "image", "video")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["towers"].keys() == {"text", "image"}
    (space,) = encoder.spaces("image")
    film = encoder.embed("video", [encoder.reader("video")(still)], space)
    frame = encoder.embed("image", [encoder.reader("image")(still[0])], space)
    np.testing.assert_allclose(film, frame, atol=1e-5)


def test_pictures_that_cannot_be_read_are_left_out(task: Task, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = Item("bad", {"image": str(tmp_path / "bad.png")})
    wants = Question("bad", Query(media={"text": "nothing"}), relevant={"bad": 1})
    broken = task_of([*task.items, bad], [*task.questions, wants])
    outcome = train(broken, broken, tmp_path / "run", recipe=recipe_of())
    assert outcome.figures["recall"] == 1
    assert "bad.png" in (tmp_path / "run" / "features" / "quarantine.jsonl").read_text()


def test_space_bears_the_name_of_the_run_or_the_one_given(task: Task, tmp_path: Path) -> None:
    train(task, None, tmp_path / "shop", recipe=recipe_of(steps=2))
    assert load(checkpoint=tmp_path / "shop" / "model").spaces("text")[0].name == "two_tower/shop"
    train(task, None, tmp_path / "other", recipe=recipe_of(steps=2, name="mine"))
    assert load(checkpoint=tmp_path / "other" / "model").spaces("text")[0].name == "two_tower/mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "words"}, "only text has words"),
        ({"text": "words + "}, "is no tower"),
        ({"image": "classic +  + classic"}, "is no tower"),
        ({"tune": "audio"}, r"tune\.towers names image, text or both"),
        ({"tune_share": 0.0}, r"tune\.share"),
        ({"temperature": 0.001}, "temperature"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"dim": 0}, "dim"),
        ({"steps": 0}, "steps"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"tune": "image"}, "only timm pictures"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    task: Task, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadSpec, match=words):
        train(task, None, tmp_path, recipe=recipe_of(**{"steps": 2, **changes}))


def test_validation_of_another_kind_is_refused(task: Task, tmp_path: Path) -> None:
    other = task_of(
        [Item("a", {"audio": "a.wav"})], [Question("1", Query(media={"text": "x"}), {"a": 1})], target="audio"
    )
    with pytest.raises(BadSpec, match="validation has audio"):
        train(task, other, tmp_path, recipe=recipe_of(steps=2))


def test_rank_counts_what_is_wrong_and_at_least_as_near() -> None:
    asking = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.8, -0.6], [1.0, 0.0]])
    known = torch.tensor([[False, True, False, True], [True, False, False, False]])
    # the first asks for row 1 (0.8; 0.8 ties, 0.6 is behind, 1.0 does not compete), the second for row 0 (0.8)
    assert ranks(asking, found, [np.array([1]), np.array([0])], known).tolist() == [2, 1]


def test_recipe_is_written_in_words_and_presets_are_those_of_the_papers() -> None:
    options = {"text": "words + classic", "hidden": "64", "tune": "image,text", "loss": "sigmoid", "cache": "kept"}
    recipe = changed(PRESETS["cpu"], parse(PRESETS["cpu"], options, model="two_tower"))
    assert (recipe.model.hidden, recipe.tune.keys, recipe.data.cache) == (64, ("image", "text"), Path("kept"))
    assert recipe.towers.text == "words + classic" and recipe.model.loss == "sigmoid"
    assert PRESETS.keys() == {"paper", "cpu"}
    paper = PRESETS["paper"]
    assert (paper.loop.batch, paper.loop.rate, paper.loop.warmup, paper.loop.decay) == (32_768, 5e-4, 2000, 0.2)
    assert paper.model.temperature == 0.07


def test_another_seed_gives_other_weights_and_the_same_one_the_same(task: Task, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(task, None, tmp_path / name, recipe=recipe_of(steps=2, seed=seed))
    head = "towers.image.head.linear.weight"
    a, b, c = (weights(tmp_path / name)[head] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
