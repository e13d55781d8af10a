"""Against numbers of the reference, sushizixin/CLIP4IDC (MIT), and against the invariants that its figure promises."""

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.golden import golden, weights

from quiver.encoders.clip4idc.config import Vision
from quiver.encoders.clip4idc.loss import contrast
from quiver.encoders.clip4idc.vision import Pairs, translate

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def pictures(held, order=("before", "after")):
    return torch.stack([torch.from_numpy(held[f"in/{name}"]) for name in order], dim=1)


@torch.no_grad()
def test_each_stage_of_the_tokens_is_the_references(official):
    model, held = official
    shown, pairs = pictures(held)[:2], model.pairs
    np.testing.assert_allclose(pairs.embed(shown), held["out/tokens_after_ln_pre_first2pairs"], **CLOSE)
    intra = pairs.intra(shown)
    np.testing.assert_allclose(intra, held["out/tokens_after_intra_first2pairs"], **CLOSE)
    joined = pairs.join(intra)
    np.testing.assert_allclose(joined, held["out/tokens_after_ln_mid_first2pairs"], **CLOSE)
    np.testing.assert_allclose(pairs.inter(joined), held["out/tokens_after_inter_first2pairs"], **CLOSE)


@torch.no_grad()
def test_vectors_and_similarities_are_the_references(official):
    model, held = official
    tokens = model.tokens(pictures(held))
    np.testing.assert_allclose(tokens, held["out/visual_tokens_projected"], **CLOSE)
    np.testing.assert_allclose(model.pairs.pool(tokens), held["out/pair_vector"], **CLOSE)
    swapped = model.pairs.pool(model.tokens(pictures(held, ("after", "before"))))
    np.testing.assert_allclose(swapped, held["out/pair_vector_swapped"], **CLOSE)
    ids = torch.from_numpy(held["in/input_ids"])
    np.testing.assert_allclose(model.sentences.tokens(ids), held["out/text_tokens_projected"], **CLOSE)
    np.testing.assert_allclose(model.sentences(ids), held["out/text_vector"], **CLOSE)
    made = model((ids, pictures(held)))
    np.testing.assert_allclose(made.scale * made.text @ made.pair.T, held["out/similarity_matrix"], **CLOSE)


@torch.no_grad()
def test_a_batch_cut_to_its_longest_sentence_has_the_same_vectors(official):
    model, held = official
    ids = torch.from_numpy(held["in/input_ids"])
    longest = int((ids == 49).int().argmax(dim=1).max()) + 1
    assert longest < ids.shape[1]
    np.testing.assert_allclose(model.sentences(ids[:, :longest]), held["out/text_vector"], **CLOSE)


def test_loss_and_gradients_are_the_references(official):
    model, held = official
    made = model((torch.from_numpy(held["in/input_ids"]), pictures(held)))
    logits = made.scale * made.text @ made.pair.T
    loss = contrast(logits, known=torch.zeros(5, 5, dtype=torch.bool))
    np.testing.assert_allclose(loss.detach(), held["out/loss"], **CLOSE)
    own = {
        "bef_embedding": "before", "aft_embedding": "after", "ln_mid.weight": "ln_mid.weight",
        "ln_mid.bias": "ln_mid.bias", "proj": "proj", "class_embedding": "class_embedding",
    }  # fmt: skip
    names = {f"clip.visual.{theirs}": f"pairs.{ours}" for theirs, ours in own.items()}
    names |= {"clip.logit_scale": "scale", "clip.text_projection": "sentences.text_projection"}
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names.values()])
    for theirs, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, held[f"out/grad/{theirs}"], **CLOSE, err_msg=theirs)


@torch.no_grad()
def test_another_grid_takes_its_own_place_of_the_second_class_token():
    held = golden("clip4idc_visual32")
    pairs = Pairs(Vision(size=32, patch=8, rows=4, columns=4, width=64, layers=4, intra=3, heads=4), 24).eval()
    pairs.load_state_dict(translate(weights(held, "w/")))
    shown = torch.from_numpy(held["in/images_before_after_interleaved"]).unflatten(0, (-1, 2))
    np.testing.assert_allclose(pairs.intra(shown), held["out/tokens_after_intra"], **CLOSE)
    np.testing.assert_allclose(pairs.inter(pairs.join(pairs.intra(shown))), held["out/tokens_after_inter"], **CLOSE)
    tokens = pairs(shown)
    np.testing.assert_allclose(tokens, held["out/tokens_projected"], **CLOSE)
    assert pairs.classes == (0, 17)
    np.testing.assert_allclose(pairs.pool(tokens), held["own/pair_vector_generalised_index17"], **CLOSE)


@torch.no_grad()
def test_before_the_inter_blocks_a_picture_knows_nothing_of_the_other(official):
    model, held = official
    shown, pairs = pictures(held), model.pairs
    other = shown.clone()
    other[:, 1] = torch.randn(other[:, 1].shape, generator=torch.Generator().manual_seed(0))
    first, second = pairs.intra(shown), pairs.intra(other)
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert (first[:, 1] - second[:, 1]).abs().amax() > 0.1
    half = pairs.config.patches + 1
    np.testing.assert_array_equal(pairs.join(first)[:, :half], pairs.join(second)[:, :half])
    assert (pairs(shown)[:, :half] - pairs(other)[:, :half]).abs().amax(dim=(1, 2)).min() > 0.01


@torch.no_grad()
def test_the_order_matters_by_the_kinds_and_the_joint_places_alone(official):
    model, held = official
    shown, pairs = pictures(held), model.pairs
    assert (pairs.pool(pairs(shown)) - pairs.pool(pairs(shown.flip(1)))).abs().amax(dim=1).min() > 0.01
    kept = [each.clone() for each in (pairs.after, pairs.joint)]
    half = pairs.config.patches + 1
    pairs.after.copy_(pairs.before)
    pairs.joint[half:] = pairs.joint[:half]
    try:
        np.testing.assert_allclose(pairs.pool(pairs(shown)), pairs.pool(pairs(shown.flip(1))), atol=1e-5)
    finally:
        pairs.after.copy_(kept[0])
        pairs.joint.copy_(kept[1])


@torch.no_grad()
def test_attention_is_that_of_the_last_block_and_not_more_than_all(official):
    model, held = official
    shown, pairs = pictures(held), model.pairs
    maps = pairs.attention(shown)
    assert maps.shape == (5, 2, 7, 7)
    assert maps.min() >= 0
    assert (maps.sum(dim=(1, 2, 3)) < 1).all()
    tokens = pairs.join(pairs.intra(shown))
    x, last = pairs.blocks[-1].ln_1(tokens), pairs.blocks[-1].attn
    query, key, _ = (x @ last.in_proj_weight.T + last.in_proj_bias).chunk(3, dim=2)
    query, key = (each.unflatten(2, (2, 64)).transpose(1, 2) for each in (query, key))
    naive = (query @ key.transpose(2, 3) / 8).softmax(dim=3)[:, :, [0, 50]].mean(dim=(1, 2))
    np.testing.assert_allclose(maps[:, 1].flatten(1), naive[:, 51:], atol=1e-6)


def test_loss_is_the_same_both_ways_and_leaves_out_what_is_known():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    none = torch.zeros(4, 4, dtype=torch.bool)
    assert contrast(logits, known=none) == pytest.approx(float(contrast(logits.T, known=none)), abs=1e-6)
    known = none.clone()
    known[0, 2] = True
    first = logits[0, [0, 1, 3]].log_softmax(0)[0]  # by hand: pair 2 does not compete for sentence 0
    column = logits[1:, 2].log_softmax(0)[1]
    rest = logits.log_softmax(1).diagonal()[1:].sum() + logits.log_softmax(0).diagonal()[[0, 1, 3]].sum()
    assert float(contrast(logits, known=known)) == pytest.approx(float(-(first + column + rest) / 8), abs=1e-6)
    assert float(contrast(logits, known=known | torch.eye(4, dtype=torch.bool))) == pytest.approx(
        float(contrast(logits, known=known)), abs=1e-6
    )
