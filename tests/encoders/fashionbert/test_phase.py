"""The phases around the paper's: alignment, and ranking in groups."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.data import Pairs
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.phase import Fetch, Groups, Sides, aligned, contrast, hard, ranked

TEXTS = ("a red dress", "a blue dress", "blue jeans", "black jeans", "a black belts")


@pytest.fixture
def near_model(pieces):
    """A model that aligns, its weights large enough for every input to matter."""
    torch.manual_seed(0)
    made = FashionBert(replace(Config.tiny(), vocabulary=len(pieces), align=8, whole=1)).eval()
    for parameter in made.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    made.align.measure([[6, 7], [6]], [0, 1, 2, 3])
    return made


@pytest.fixture
def pairs() -> Pairs:
    """Six pictures; the first text has two of them."""
    rows = np.array([[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]])
    right = tuple(frozenset(each) for each in ({0, 1}, {2}, {3}, {4}, {5}))
    return Pairs(TEXTS, tuple("abcdef"), np.array([0, 0, 0, 1, 1, 2]), rows, right, "kind")


@pytest.fixture
def fetch(pairs, pieces) -> Fetch:
    features = np.random.default_rng(0).standard_normal((6, 5, 16)).astype(np.float16)
    return Fetch(pairs, features, pieces, 12, 0.0)


def test_contrast_is_the_mean_over_both_directions():
    scores = torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]]])
    # rows: 3/4 and 1/2; columns: 3/4 and 1/2
    wanted = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert contrast(scores, torch.zeros(1, 2, 2, dtype=torch.bool)).item() == pytest.approx(wanted)
    known = torch.tensor([[[False, True], [False, False]]])
    # row 0 and column 1 have nothing left to be confused with
    wanted = -(math.log(1 / 2) + math.log(3 / 4)) / 4
    assert contrast(scores, known).item() == pytest.approx(wanted)


def test_a_right_answer_that_stands_in_another_row_is_no_mistake():
    margins, known = torch.tensor([[[0.0, 5.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2, dtype=torch.bool)
    assert ranked(margins, known)["first"].item() == 0.5
    known[0, 0, 1] = True
    assert ranked(margins, known)["first"].item() == 1.0


def test_cross_gives_the_margin_of_every_pair_of_a_group(near_model, pieces, fetch):
    ids = torch.from_numpy(pieces.encode([*TEXTS, "red jeans"], limit=12))
    features = torch.from_numpy(fetch.features).float()
    with torch.no_grad():
        found = near_model.cross(ids, features, 3)
        for group in range(2):
            for row in range(3):
                for column in range(3):
                    text, picture = 3 * group + row, 3 * group + column
                    match = near_model(ids[text : text + 1], features[picture : picture + 1]).match[0]
                    assert found[group, row, column].item() == pytest.approx((match[1] - match[0]).item(), abs=1e-4)


def test_margins_hold_the_cosine_and_cached_scores_are_the_same(near_model, pieces, fetch):
    ids = torch.from_numpy(pieces.encode(TEXTS[:1], limit=12))
    features = torch.from_numpy(fetch.features).float()
    with torch.no_grad():
        kept = near_model.embed_patches(features)
        cosine = near_model.align(ids, near_model.words(ids), kept)
        plain = near_model(ids.expand(6, -1), features).match
        scored = near_model.score(ids, kept)
        near_model.align, align = None, near_model.align
        bare = near_model(ids.expand(6, -1), features).match
        near_model.align = align
    assert torch.allclose(scored, plain[:, 1] - plain[:, 0], atol=1e-4)
    assert torch.allclose(scored - (bare[:, 1] - bare[:, 0]), cosine, atol=1e-4)
    assert cosine.std() > 0.1


def test_special_pieces_do_not_count_and_rare_ones_count_more(near_model):
    align, text = near_model.align, torch.tensor([[2, 6, 7, 3, 0]])
    assert align.rarity[[2, 3, 0]].tolist() == [0, 0, 0]
    assert align.rarity[[6, 7]].tolist() == pytest.approx([math.log(3 / 2), math.log(3)])
    words = torch.randn(1, 5, 32)
    changed = words.clone()
    changed[:, [0, 3, 4]] = 9
    assert torch.equal(align.embed_text(text, words), align.embed_text(text, changed))
    assert align.embed_text(text, words).norm().item() == pytest.approx(1, abs=1e-5)


def test_groups_hold_no_text_or_picture_twice_and_start_with_their_row(fetch):
    ranking = replace(fetch, group=4)
    for row in range(6):
        found = ranking.alike(row, np.random.default_rng(row))
        texts, pictures = fetch.pairs.rows[found].T
        assert found[0] == row
        assert len(set(texts)) == len(set(pictures)) == 4
    jeans = replace(fetch, group=2).alike(3, np.random.default_rng(0))
    assert jeans == [3, 4]  # the only other pair of its sub-category
    near = replace(fetch, group=2, near=tuple(np.array([5]) for _ in TEXTS))
    assert {near.alike(3, np.random.default_rng(seed))[1] for seed in range(20)} == {4, 5}


def test_a_batch_is_one_group_while_aligning_and_marks_what_is_right(fetch, pieces):
    batch = fetch(np.array([0, 1, 2]), np.random.default_rng(0))
    assert type(batch) is Sides
    assert batch.known.tolist() == [[[False, True, False], [True, False, False], [False, False, False]]]
    assert batch.text[2, :5].tolist() == pieces.encode(["a blue dress"], limit=12)[0].tolist()
    groups = replace(fetch, group=2, hide=0.9)(np.array([0, 3]), np.random.default_rng(0))
    assert type(groups) is Groups
    assert groups.known.shape == (2, 2, 2)
    hidden = groups.text == pieces.id("[MASK]")
    assert hidden.any()
    special = torch.from_numpy(pieces.special)
    assert not special[replace(fetch, group=2)(np.array([0, 3]), np.random.default_rng(0)).text][hidden].any()


def test_hard_pictures_are_the_nearest_wrong_ones_of_the_aligned_space(near_model, fetch, monkeypatch):
    monkeypatch.setattr("quiver.encoders.fashionbert.phase.NEAR", 2)
    near = hard(near_model, fetch)
    with torch.no_grad():
        ids = torch.from_numpy(fetch.pieces.encode(TEXTS, limit=12))
        text = near_model.align.embed_text(ids, near_model.words(ids))
        image = near_model.align.embed_image(near_model.patches(torch.from_numpy(fetch.features)))
    for number, right in enumerate(fetch.pairs.right):
        order = [row for row in (text[number] @ image.T).argsort(descending=True).tolist() if row not in right]
        assert near[number].tolist() == order[:2]
    near_model.align = None
    assert hard(near_model, fetch) == ()


#: Pictures of three texts, none of which belongs to them.
NOBODY = (frozenset(), frozenset(), frozenset())


def test_alignment_compares_scaled_cosines():
    text, image = (functional.normalize(torch.randn(3, 4), dim=1) for _ in range(2))
    pairs = Pairs(("a", "b", "c"), ("0", "1", "2"), np.zeros(3, np.int64), np.zeros((0, 2), np.int64), NOBODY, "")
    numbers = torch.arange(3)[:, None].expand(-1, 2)
    sides = Sides(text, image, torch.zeros(1, 3, 3, dtype=torch.bool), numbers)
    found = aligned(pairs)(lambda batch: (batch.text, batch.patches, torch.tensor(5.0)), sides)
    logits = 5 * text @ image.T
    right = torch.arange(3)
    wanted = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
    assert found["loss"].item() == pytest.approx(wanted.item(), abs=1e-5)
