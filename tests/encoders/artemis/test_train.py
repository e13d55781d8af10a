import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.torch import load_file

from quiver.encoders._settings import changed, parse
from quiver.encoders.artemis import load, train
from quiver.encoders.artemis.config import Composer
from quiver.encoders.artemis.train import PRESETS, Recipe
from quiver.errors import BadSpec
from quiver.protocols import ScorerInput


def recipe(**changes) -> Recipe:
    small = {"image": "classic", "dim": 32, "embedding": 16, "first_epochs": 0.0, "epochs": 20.0, "batch": 24}
    small |= {"rate": 3e-3, "schedule": "constant", "layers": 1, "heads": 2, "inner": 32, "dropout": 0.0}
    return changed(PRESETS["paper"], small | {"device": "cpu", "validations": 1} | changes)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("composer", get_args(Composer))
def test_every_composer_learns_what_it_can_see(shelf, cache, tmp_path, composer):
    gently = {"rate": 1e-3, "epochs": 30.0} if composer == "cirplant" else {}
    outcome = train.train(shelf, shelf, tmp_path, recipe=recipe(composer=composer, cache=cache, **gently))
    assert list(outcome.figures) == ["score", "R@1", "R@10", "R@50"]
    # a half is blind: words alone do not say which shape to keep, the picture alone not which colour to change to
    able = composer not in ("em", "is", "cross_modal", "visual_search")
    assert (outcome.figures["R@1"] > 0.7) == able, outcome.figures
    scorer = load(checkpoint=tmp_path / "model", device="cpu").scorers[0]
    assert scorer.name == composer


@pytest.mark.parametrize("hidden", [0, 32])
def test_what_is_loaded_ranks_as_what_was_trained(shelf, cache, tmp_path, hidden):
    outcome = train.train(shelf, shelf, tmp_path, recipe=recipe(cache=cache, hidden=hidden))
    encoder = load(checkpoint=tmp_path / "model", device="cpu")
    space, scorer = encoder.spaces("image")[0], encoder.scorers[0]
    read = encoder.reader("image")
    rows = encoder.embed("image", [read(item.media["image"]) for item in shelf.items], space)
    ids = [item.id for item in shelf.items]
    found = []
    for question in shelf.questions[::5]:
        media = {name: (value,) for name, value in question.query.media.items()}
        held = scorer.hold([ScorerInput(media=media)])
        values = scorer.score(held, {space: rows})[0]
        values[ids.index(question.exclude[0])] = -np.inf
        found.append(ids[int(values.argmax())] in question.relevant)
    assert np.mean(found) == pytest.approx(outcome.figures["R@1"], abs=0.1)
    assert np.mean(found) > 0.9


def test_pixels_are_learnt_in_two_phases_and_the_first_leaves_the_backbone_alone(shelf, tmp_path):
    some = replace(shelf, questions=shelf.questions[:32])
    small = recipe(image="timm:test_efficientnet", pretrained=False, size=32, batch=8, first_epochs=1.0, epochs=1.0)
    outcome = train.train(some, some, tmp_path, recipe=small)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == ["first", "second"]
    learnt = {phase: sum(line["phase"] == phase for line in lines) for phase in ("first", "second")}
    assert outcome.step == 4 and min(learnt.values()) > 0
    first = {path.name for path in (tmp_path / "resume").iterdir()}
    assert first == {"first", "second"}
    assert load(checkpoint=tmp_path / "model", device="cpu").keys == ("image",)


def test_words_may_be_features_of_another_encoder(shelf, cache, tmp_path):
    outcome = train.train(shelf, shelf, tmp_path, recipe=recipe(text="classic dim=64", cache=cache))
    assert outcome.figures["R@1"] > 0.9
    assert json.loads((tmp_path / "model/config.json").read_text())["text_spec"] == "classic dim=64"


def test_word_vectors_may_start_from_a_file(shelf, cache, tmp_path, capsys):
    glove = tmp_path / "glove.txt"
    glove.write_text("".join(f"{word} {' '.join(['0.25'] * 16)}\n" for word in ("red", "blue", "unheard")))
    train.train(shelf, None, tmp_path, recipe=recipe(cache=cache, glove=glove, epochs=1.0, rate=1e-9))
    assert f"{glove} has 2 of 12 words" in capsys.readouterr().out
    words = json.loads((tmp_path / "model/config.json").read_text())["words"]
    rows = load_file(tmp_path / "model/model.safetensors")["text.embed.weight"][5:]
    assert {word for word, row in zip(words, rows, strict=True) if (row - 0.25).abs().max() < 1e-6} == {"red", "blue"}


def test_a_run_that_is_done_is_not_done_again_and_another_recipe_is_refused(shelf, cache, tmp_path):
    short = recipe(epochs=1.0, cache=cache)
    again = [train.train(shelf, None, tmp_path, recipe=short) for _ in range(2)]
    assert (again[0].resumed, again[1].resumed) == (0, again[0].step)
    with pytest.raises(BadSpec, match="rate"):
        train.train(shelf, None, tmp_path, recipe=changed(short, {"loop.rate": 1.0}))


def test_the_papers_recipe_counts_in_epochs():
    paper = PRESETS["paper"]
    loops = [loop.counted(1000) for loop in (paper.first.loop(paper.loop), paper.loop)]  # 32,000 questions
    assert [(loop.steps, loop.halve_every, loop.rate, loop.validate_every) for loop in loops] == [
        (8000, 4000, 5e-4, 0),
        (50_000, 10_000, 2.5e-4, 1000),
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 0.0}, "epochs"),
        ({"least": 0}, "least"),
        ({"hidden": 8, "drop": 1.0}, "hidden"),
        ({"composer": "cirplant", "dim": 30, "heads": 4}, "heads"),
        ({"composer": "tirg", "mix": 0.5}, "mix"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(BadSpec, match=says):
        recipe(**wrong)


def test_settings_may_be_given_as_text():
    paper = PRESETS["paper"]
    given = parse(paper, {"composer": "em", "glove": "none", "epochs": "2", "first_epochs": "0"}, model="artemis")
    assert given == {"model.composer": "em", "towers.glove": None, "loop.epochs": 2.0, "first.epochs": 0.0}
    assert changed(paper, {"hidden": 64, "layers": 2}).model.bert.layers == 2
