"""The encoder and its scorer as an engine sees them: on features of the classic encoder."""

import pickle
from typing import get_args

import numpy as np
import pytest
import torch

from quiver import registry
from quiver.encoders.artemis import probe
from quiver.encoders.artemis.config import ATTENTIVE, Composer, Config
from quiver.encoders.artemis.model import Model
from quiver.errors import BadSpec
from quiver.protocols import Encoder, Scorer, ScorerInput

NAMES = get_args(Composer)


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, 3)
    return np.clip(base + rng.integers(-60, 60, (40, 48, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A model, whose weights are random, as ``quiver.encoders.artemis`` loads it."""

    def made(name: str, **changes) -> Encoder:
        config = Config.tiny(name, **({"image": "features:1120", "image_spec": "classic"} | changes))
        torch.manual_seed(0)
        model = Model(config)
        with torch.no_grad():
            for parameter in model.composer.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        folder = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder)
        return registry.load("encoders", f"artemis checkpoint='{folder}' device=cpu")

    return made


def stored(encoder: Encoder, count: int = 40) -> np.ndarray:
    read = encoder.reader("image")
    return encoder.embed("image", [read(picture(n)) for n in range(count)], encoder.spaces("image")[0])


def ask(name: str, **more) -> ScorerInput:
    media = {"image": [picture(3)], "text": ["long red"]}
    holds = {"em": ("text",), "cross_modal": ("text",), "visual_search": ("image",)}.get(name, ("image", "text"))
    return ScorerInput(**({"media": {key: media[key] for key in holds}} | more))


def scores(encoder: Encoder, *asked: ScorerInput) -> np.ndarray:
    scorer = encoder.scorers[0]
    return scorer.score(scorer.hold(asked), {scorer.reads[0]: stored(encoder)})


@pytest.mark.parametrize("name", NAMES)
def test_every_composer_keeps_the_contract(load, name) -> None:
    encoder = load(name)
    scorer: Scorer = encoder.scorers[0]
    space = encoder.spaces("image")[0]
    assert (scorer.name, scorer.finds, scorer.reads, space.name) == (name, "image", (space,), f"artemis/{name}")
    rows = stored(encoder)
    held = scorer.hold([ask(name), ask(name)])
    found = scorer.score(held, {space: rows})
    assert (found.shape, found.dtype) == ((2, 40), np.float32)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(sum(scorer.terms(held, {space: rows}).values()), found, atol=1e-6)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(scorer.score(held, {space: rows[order]}), found[:, order], atol=1e-6)
    alone = scorer.score({key: value[:1] for key, value in held.items()}, {space: rows[7:8]})
    np.testing.assert_allclose(alone[0, 0], found[0, 7], atol=1e-6)
    assert found.std() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_recalls_ask_one_probe_of_each_space_they_name(load, name) -> None:
    encoder = load(name)
    scorer, rows = encoder.scorers[0], stored(encoder)
    expected = {"artemis": ["single", "union", "lifted"], "em": ["single", "lifted"], "is": ["single", "lifted"]}
    assert list(scorer.recalls) == expected.get(name, ["single"])
    assert scorer.exact == (name not in ATTENTIVE) == (not encoder.bridges)
    held = scorer.hold([ask(name)])
    moments = {scorer.reads[0]: np.square(rows).mean(axis=0)}
    for recall, spaces in scorer.recalls.items():
        probes = scorer.probes(held, recall, moments)
        assert tuple(each.space for each in probes) == spaces
        assert all(each.vectors.shape == (1, 1, each.space.dim) for each in probes)
    with pytest.raises(BadSpec, match="recalls by single"):
        scorer.probes(held, "guess", moments)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ATTENTIVE])
def test_exact_recall_is_the_score(load, name) -> None:
    encoder = load(name)
    scorer, rows = encoder.scorers[0], stored(encoder)
    held = scorer.hold([ask(name)])
    (single,) = scorer.probes(held, "single", {scorer.reads[0]: np.square(rows).mean(axis=0)})
    np.testing.assert_allclose(single.vectors[:, 0] @ rows.T, scorer.score(held, {scorer.reads[0]: rows}), atol=1e-6)


def test_uniform_attention_is_recalled_exactly(load) -> None:
    encoder = load("artemis", attention="uniform")
    scorer, rows = encoder.scorers[0], stored(encoder)
    assert (scorer.exact, list(scorer.recalls), encoder.bridges) == (True, ["single"], ())
    held = scorer.hold([ask("artemis")])
    (single,) = scorer.probes(held, "single", {scorer.reads[0]: np.square(rows).mean(axis=0)})
    np.testing.assert_allclose(single.vectors[:, 0] @ rows.T, scorer.score(held, {scorer.reads[0]: rows}), atol=1e-6)


def test_lifted_probe_ranks_nearer_to_the_score_across_the_bridge(load) -> None:
    encoder = load("artemis")
    scorer, rows, (bridge,) = encoder.scorers[0], stored(encoder, 200), encoder.bridges
    assert bridge.source == scorer.reads[0]
    assert scorer.recalls["lifted"] == (bridge.target,)
    asked = [ask("artemis", media={"image": [picture(n)], "text": ["long red"]}) for n in range(20)]
    held = scorer.hold(asked)
    moments = {scorer.reads[0]: np.square(rows).mean(axis=0)}
    terms = {name: (held[name], held[f"{name} energy"]) for name in ("change", "keep")}
    means = probe.typical(terms, moments[scorer.reads[0]], rows)
    scorer.eye.model.typical.copy_(torch.tensor([means["change"], means["keep"]]))
    exact = scorer.score(held, {scorer.reads[0]: rows})
    (single,), (lifted,) = (scorer.probes(held, recall, moments) for recall in ("single", "lifted"))
    apart = []
    for products in (single.vectors[:, 0] @ rows.T, lifted.vectors[:, 0] @ bridge.map(rows).T):
        apart.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(products, exact, strict=True)]))
    assert apart[1] > apart[0]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("em", "cross_modal")])
def test_stored_item_as_reference_is_the_picture_it_was_made_of(load, name) -> None:
    encoder = load(name)
    row = stored(encoder)[3:4]
    words = {"text": ["long red"]} if name != "visual_search" else {}
    like = ScorerInput(words, {encoder.spaces("image")[0]: row}, originals={"image": [picture(3)]})
    np.testing.assert_allclose(scores(encoder, like), scores(encoder, ask(name)), atol=2e-5)


def test_cirplant_refuses_a_vector_whose_picture_is_not_there(load) -> None:
    encoder = load("cirplant")
    with pytest.raises(BadSpec, match="give the picture"):
        encoder.scorers[0].hold([ScorerInput({"text": ["red"]}, {encoder.spaces("image")[0]: stored(encoder)[:1]})])


def test_several_references_are_the_direction_between_them(load) -> None:
    encoder = load("visual_search")
    rows = stored(encoder)
    found = scores(encoder, ScorerInput({"image": [picture(3)]}, {encoder.spaces("image")[0]: rows[5:6]}))
    middle = rows[3] + rows[5]
    np.testing.assert_allclose(found[0], rows @ (middle / np.linalg.norm(middle)), atol=1e-5)


def test_several_wishes_are_one_text_in_their_order(load) -> None:
    encoder = load("em")
    one, two, turned, joint = (
        scores(encoder, ScorerInput({"text": texts}))
        for texts in (["long"], ["long", "red"], ["red", "long"], ["long red"])
    )
    for other in (one, turned, joint):
        assert np.abs(two - other).max() > 1e-4
    ids = encoder.scorers[0].words.batch([["long", "red"]])
    assert ids.tolist() == [[1, 8, 2, 5, 3]]


def test_several_wishes_are_the_mean_direction_where_only_single_ones_were_learnt(load) -> None:
    encoder = load("cross_modal", joint=False)
    one, two, both, turned = (
        scores(encoder, ScorerInput({"text": texts}))[0]
        for texts in (["long"], ["red"], ["long", "red"], ["red", "long"])
    )
    np.testing.assert_allclose(both, turned, atol=1e-6)
    middle = one + two
    np.testing.assert_allclose(both / np.linalg.norm(both), middle / np.linalg.norm(middle), atol=1e-5)


def test_features_of_wishes_are_averaged(load) -> None:
    changes = {"text": "features:16", "text_spec": "classic dim=16", "image": "features:1120"}
    encoder = load("cross_modal", **changes)
    classic = registry.load("encoders", "classic dim=16")
    space = classic.spaces("text")[0]
    rows = classic.embed("text", [classic.reader("text")(text) for text in ("long sleeves", "red")], space)
    middle = rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0))
    words = encoder.scorers[0].eye.model.encode_text(torch.from_numpy(middle[None])).numpy()
    found = scores(encoder, ScorerInput({"text": ["long sleeves", "red"]}))
    np.testing.assert_allclose(found[0], stored(encoder) @ words[0], atol=1e-5)


def test_weights_weigh_the_terms_of_artemis(load) -> None:
    encoder = load("artemis")
    scorer, rows = encoder.scorers[0], stored(encoder)
    plain, weighed = (scorer.hold([ask("artemis", weights=weights)]) for weights in ({}, {"image": 0.5, "text": 2.0}))
    before, after = (scorer.terms(held, {scorer.reads[0]: rows}) for held in (plain, weighed))
    np.testing.assert_allclose(after["keep"], 0.5 * before["keep"], atol=1e-6)
    np.testing.assert_allclose(after["change"], 2 * before["change"], atol=1e-6)
    moments = np.square(rows).mean(axis=0)
    (lifted,) = scorer.probes(weighed, "lifted", {scorer.reads[0]: moments})
    halves = [scorer.probes(scorer.hold([ask("artemis", weights=w)]), "lifted", {scorer.reads[0]: moments})[0].vectors
              for w in ({"image": 0.5, "text": 0.0}, {"image": 0.0, "text": 2.0})]  # fmt: skip
    np.testing.assert_allclose(lifted.vectors, sum(halves), atol=1e-5)


def test_weights_weigh_both_sides_of_late_fusion(load) -> None:
    encoder = load("late_fusion")
    rows = stored(encoder)
    np.testing.assert_allclose(scores(encoder, ask("late_fusion", weights={"text": 0.0}))[0], rows @ rows[3], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("artemis", "late_fusion")])
def test_weights_that_mean_nothing_are_refused(load, name) -> None:
    encoder = load(name)
    key = "text" if name != "visual_search" else "image"
    assert scores(encoder, ask(name, weights={key: 1.0})).shape == (1, 40)
    with pytest.raises(BadSpec, match="cannot weigh"):
        encoder.scorers[0].hold([ask(name, weights={key: 2.0})])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (ScorerInput({"text": ["red"]}), "needs a reference picture"),
        (ScorerInput({"image": [picture(1)]}), "needs a text of the wanted change"),
        (ask("artemis", weights={"image": 0.0, "text": 0.0}), "weight 0"),
        (ask("artemis", weights={"audio": 2.0}), "finite weights of image and text"),
        (ask("artemis", weights={"text": float("nan")}), "finite"),
        (
            ScorerInput({"image": [picture(1)], "text": ["in mauve", "pliant"]}),
            "knows no word of 'in mauve': it learnt 8",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(load, asked, why) -> None:
    with pytest.raises(BadSpec, match=why):
        load("artemis").scorers[0].hold([asked])


def test_vectors_that_keep_their_length_live_in_a_dot_space(load) -> None:
    assert load("tirg", image_unit=False).spaces("image")[0].metric == "dot"
    assert load("artemis", image_unit=False).spaces("image")[0].metric == "cosine"


def test_pictures_read_by_a_backbone_are_stored(load) -> None:
    encoder = load("late_fusion", image="timm:test_efficientnet", image_spec="", size=64)
    rows = stored(encoder, 5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert encoder.reader("image")(picture(1)).shape == (73, 73, 3)


def test_features_of_another_encoder_are_refused(load) -> None:
    with pytest.raises(BadSpec, match="learned from 32"):
        load("artemis", image="features:32")
    with pytest.raises(BadSpec, match="image_spec"):
        load("artemis", image_spec="")


def test_joined_features_are_read_together_and_in_order(load) -> None:
    small = "timm model=test_efficientnet pretrained=false size=32"
    spec = f"classic + {small}"
    encoder = load("visual_search", image="features:1376", image_spec=spec, dim=1376, project=False)
    rows = stored(encoder, 2)
    parts = []
    for each in ("classic", small):
        other = registry.load("encoders", each)
        read = other.reader("image")
        parts.append(other.embed("image", [read(picture(n)) for n in range(2)], other.spaces("image")[0]))
    np.testing.assert_allclose(rows, np.concatenate(parts, axis=1) / np.sqrt(2), atol=1e-5)
    again = pickle.loads(pickle.dumps(encoder.reader("image")))
    np.testing.assert_array_equal(again(picture(1))[0], encoder.reader("image")(picture(1))[0])
