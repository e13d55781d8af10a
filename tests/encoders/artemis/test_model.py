from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from quiver.encoders.artemis import composer, probe, score
from quiver.encoders.artemis.config import ATTENTIVE, Composer, Config
from quiver.encoders.artemis.model import Model
from quiver.errors import BadSpec, MissingWeights

NAMES = get_args(Composer)


def build(name: str, **changes) -> Model:
    torch.manual_seed(0)
    return Model(Config.tiny(name, **changes))


def batch(references: int = 8):
    """Eight triplets of pictures of 12 numbers; a word says which number of the reference the target has changed."""
    torch.manual_seed(1)
    reference = torch.randn(references, 12).repeat(8 // references, 1)
    places = torch.arange(8)
    target = reference.clone()
    target[places, places] += 3
    start, end = torch.full((8, 1), 1), torch.full((8, 1), 3)
    return {"reference": reference, "words": torch.cat([start, 5 + places[:, None], end], dim=1), "target": target}


def learn(model: Model, given, *, steps: int):
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    for _ in range(steps):
        out = model(given)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
    return out


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_is_learned_by_heart(name) -> None:
    model = build(name).train()
    given = batch(8 if name == "visual_search" else 2)
    assert model(given)["first"] < 1 or name == "visual_search"
    out = learn(model, given, steps=80)
    assert out["loss"] < 0.3
    assert model(given)["first"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_of_the_towers_changes_the_loss_but_little(name) -> None:
    model, given = build(name).eval(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(given)["loss"]
    half.backward()
    assert half.item() == pytest.approx(model(given)["loss"].item(), rel=0.05)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ATTENTIVE])
def test_triplets_teach_too(name) -> None:
    model = build(name, objective="triplet", triplets=3).train()
    given = batch()
    first = model.eval()(given)["loss"].item()
    learn(model.train(), given, steps=25)
    assert model.eval()(given)["loss"].item() < first / 2


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_a_batch_are_those_of_what_is_stored(name) -> None:
    model = build(name, image_unit=False).eval()
    given = batch()
    with torch.no_grad():
        terms = model.terms(model.encode_reference(given["reference"]), model.encode_text(given["words"]))
        stored = model.encode_image(given["target"])
        scanned = sum(score.scan(score.arrays(terms), stored.numpy()).values())
        np.testing.assert_allclose(scanned, model.scores(given).numpy(), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_what_is_read(name, tmp_path: Path) -> None:
    model = build(name).eval()
    model.typical.fill_(0.25)
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again = Model.open(tmp_path)
    assert again.config == model.config
    torch.testing.assert_close(again.scores(batch()), model.scores(batch()).detach())
    torch.testing.assert_close(again.typical, model.typical)


def test_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"config\.json"):
        Model.open(tmp_path)
    build("artemis").save_pretrained(tmp_path)
    save_file(build("em").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(MissingWeights, match="no whole artemis model"):
        Model.open(tmp_path)


def test_penalty_makes_attention_more_even() -> None:
    given, evenness = batch(), []
    for spread in (0.0, 10.0):
        model = build("artemis", spread=spread).train()
        for half in (model.composer.explicit, model.composer.implicit):
            torch.nn.init.normal_(half.attention.layers[2].weight)
        out = learn(model, given, steps=60)
        assert ("spread" in out) == (spread > 0)
        attention = model.composer.explicit.attention(model.encode_text(given["words"])).detach()
        norm = score.norm2(attention.square(), model.encode_image(given["target"]).detach()).sqrt()
        evenness.append((norm.std(dim=1) / norm.mean(dim=1)).mean().item())
    assert evenness[1] < evenness[0] / 2


def test_typical_values_follow_the_right_answers_and_can_be_measured() -> None:
    model = build("artemis").train()
    given = batch()
    with torch.no_grad():
        own = score.values(*model._compose(given))
        for _ in range(300):
            model(given)
    means = [own[name].diagonal().mean().item() for name in ("change", "keep")]
    np.testing.assert_allclose(model.typical.numpy(), means, atol=3e-3)
    model.eval()(given)
    np.testing.assert_allclose(model.typical.numpy(), means, atol=3e-3)
    stored = model.encode_image(torch.randn(400, 12))
    reference, words = model.encode_reference(given["reference"]), model.encode_text(given["words"])
    model.settle(reference, words, stored)
    with torch.no_grad():
        terms = score.arrays(model.terms(reference, words))
    rows = stored.detach().numpy()
    expected = probe.typical(terms, np.square(rows).mean(axis=0), rows)
    assert model.typical.tolist() == pytest.approx([expected["change"], expected["keep"]], abs=1e-6)


def test_backbone_and_word_vectors_rest_while_frozen() -> None:
    model = build("artemis", image="timm:test_efficientnet", size=32)
    model.freeze()
    resting = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert resting == {f"image.backbone.{n}" for n, _ in model.image.backbone.named_parameters()} | {
        "text.embed.weight"
    }
    model.freeze(False)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_right_answers_of_others_do_not_compete() -> None:
    model = build("late_fusion").eval()
    given = batch()
    assert model({**given, "same": torch.ones(8, 8, dtype=torch.bool)})["loss"].item() == pytest.approx(0, abs=1e-6)


def test_single_vectors_are_what_is_scored() -> None:
    model = build("tirg").eval()
    given = batch()
    terms, target = model._compose(given)
    torch.testing.assert_close(composer.vector(terms) @ target.T, model.scores(given))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"composer": "sum"}, "composer"),
        ({"image": "resnet50"}, "image is"),
        ({"image": "features:many"}, "positive number"),
        ({"text": "gpt"}, "text is"),
        ({"objective": "triplet"}, "single vectors"),
        ({"composer": "tirg", "mix": 0.5}, "attention"),
        ({"mix": 1.5}, "out of range"),
        ({"composer": "cirplant", "text": "features:4"}, "reads words"),
        ({"pieces": True}, "cirplant"),
        ({"project": False}, "project=true"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes, why) -> None:
    with pytest.raises(BadSpec, match=why):
        replace(Config.tiny(), **changes)
