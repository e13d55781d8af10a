"""The scorers of a trained model, as the engine asks them."""

import numpy as np
import pytest
import torch

from quiver.encoders._patch.extract import Extractor
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.encoder import build, fast_bf16
from quiver.encoders.fashionbert.model import FashionBert
from quiver.errors import BadSpec, MissingWeights, SpaceMismatch
from quiver.protocols import Scorer, ScorerInput

TEXTS = ["a red dress", "blue", "a black sleeveless shirt", "green jeans and belts"]


@pytest.fixture(scope="module")
def folder(pieces, tmp_path_factory):
    torch.manual_seed(0)
    model = FashionBert(Config(
        vocabulary=len(pieces), hidden=32, layers=2, heads=4, inner=64, positions=24, max_text=12, rows=2, columns=2,
        feature=48,
    ))  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.pieces = pieces
    folder = tmp_path_factory.mktemp("run") / "model"
    model.save_pretrained(folder)
    Extractor(features="pixels", side=4, rows=2, columns=2).write(folder)
    return folder


@pytest.fixture(scope="module")
def stock(folder):
    return build(folder, device=torch.device("cpu"), precision="fp32")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 20, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def columns(stock, pictures):
    return {
        stock.spaces("image")[0]: stock.embed("image", pictures, stock.spaces("image")[0]),
        stock.spaces("text")[0]: stock.embed("text", TEXTS, stock.spaces("text")[0]),
    }


def margin(stock, text, picture) -> float:
    """What the whole model says of one pair, from the features."""
    model = stock.scorers[0].model
    ids = torch.from_numpy(stock.pieces.encode([text], limit=12))
    with torch.no_grad():
        match = model(ids, torch.from_numpy(stock.source.look([picture]))).match[0]
    return float(match[1] - match[0])


def test_both_directions_give_the_margin_of_the_whole_model(stock, pictures, columns):
    finds_image, finds_text = stock.scorers
    assert (finds_image.holds, finds_image.finds, finds_text.holds, finds_text.finds) == (
        ("text",), "image", ("image",), "text",
    )  # fmt: skip
    wanted = np.array([[margin(stock, text, picture) for picture in pictures] for text in TEXTS])
    held = finds_image.hold([ScorerInput({"text": [text]}) for text in TEXTS])
    np.testing.assert_allclose(finds_image.score(held, columns), wanted, atol=1e-4)
    held = finds_text.hold([ScorerInput({"image": [picture]}) for picture in pictures])
    np.testing.assert_allclose(finds_text.score(held, columns), wanted.T, atol=1e-4)


def test_no_score_depends_on_other_queries_or_candidates(stock, columns):
    scorer = stock.scorers[0]
    held = scorer.hold([ScorerInput({"text": [text]}) for text in TEXTS])
    whole = scorer.score(held, columns)
    some = {space: rows[[3, 1]] for space, rows in columns.items()}
    part = scorer.score({"text": held["text"][2:3]}, some)
    np.testing.assert_allclose(part, whole[2:3, [3, 1]], atol=1e-5)
    assert scorer.score({"text": held["text"][:2]}, {space: rows[:0] for space, rows in columns.items()}).shape == (
        2,
        0,
    )
    np.testing.assert_array_equal(scorer.terms(held, columns)["match"], whole)


def test_a_stored_example_stands_for_its_media(stock, pictures, columns):
    space = stock.spaces("image")[0]
    scorer = stock.scorers[1]
    stored = scorer.hold([ScorerInput({}, {space: columns[space][2:3]})])
    shown = scorer.hold([ScorerInput({"image": [pictures[2]]})])
    np.testing.assert_allclose(scorer.score(stored, columns), scorer.score(shown, columns), atol=1e-5)


def test_several_texts_are_one_and_several_pictures_are_refused(stock, pictures, columns):
    scorer = stock.scorers[0]
    two = scorer.hold([ScorerInput({"text": ["a red", "dress"]})])
    one = scorer.hold([ScorerInput({"text": ["a red dress"]})])
    np.testing.assert_array_equal(two["text"], one["text"])
    with pytest.raises(BadSpec, match="one image at a time, not 2"):
        stock.scorers[1].hold([ScorerInput({"image": pictures[:2]})])
    with pytest.raises(BadSpec, match="one text at a time, not 0"):
        scorer.hold([ScorerInput({})])


def test_it_has_no_recall(stock):
    assert all(isinstance(scorer, Scorer) and not scorer.recalls and not scorer.exact for scorer in stock.scorers)
    with pytest.raises(BadSpec, match="no recall method 'single'"):
        stock.scorers[0].probes({}, "single", {})


def test_bf16_scores_nearly_alike_and_stores_the_same(folder, stock, pictures, columns):
    low = build(folder, device=torch.device("cpu"), precision="bf16")
    assert low.columns == stock.columns
    space = stock.spaces("image")[0]
    np.testing.assert_array_equal(low.embed("image", pictures, space), columns[space])
    asked = [ScorerInput({"text": [text]}) for text in TEXTS]
    ours, theirs = (each.score(each.hold(asked), columns) for each in (low.scorers[0], stock.scorers[0]))
    np.testing.assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs).max())
    assert low.scorers[0].model.encoder.blocks[0].query.weight.dtype == torch.bfloat16
    assert fast_bf16(torch.device("cpu")) in (True, False)


def test_pieces_are_stored_as_their_numbers(stock, pieces, columns):
    rows = columns[stock.spaces("text")[0]]
    assert rows[1].tolist() == [*pieces.encode(["blue"], limit=12)[0].tolist(), *[0] * 9]


def test_folders_that_are_not_whole_are_refused(folder, tmp_path):
    with pytest.raises(MissingWeights, match=r"no config\.json"):
        build(tmp_path, device=torch.device("cpu"), precision="fp32")
    for file in folder.iterdir():
        if file.name != "patches.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(MissingWeights, match=r"patches\.json does not define the extraction"):
        build(tmp_path, device=torch.device("cpu"), precision="fp32")


def test_a_foreign_space_is_refused(stock, pictures):
    with pytest.raises(SpaceMismatch):
        stock.embed("image", pictures, stock.spaces("text")[0])
