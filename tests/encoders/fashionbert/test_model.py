"""FashionBERT: what it sees, its ways to a score, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.loss import Batch, losses
from quiver.encoders.fashionbert.mask import mask_patches, mask_words
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.score import margins
from quiver.errors import BadData, BadSpec


def margin(model, text, features):
    with torch.no_grad():
        match = model(text, features).match
    return match[:, 1] - match[:, 0]


def test_the_paper_config_is_bert_base_with_64_words_and_64_patches():
    with torch.device("meta"):
        made = FashionBert(Config())
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    assert Config().max_text + Config().patches == 128
    assert counts["words"] + counts["encoder"] + counts["pooler"] == 109_482_240  # what transformers counts
    assert counts["patches"] == 2048 * 768 + 64 * 768 + 2 * 768 + 2 * 768
    assert counts["guess_patch"] == 768 * 2048
    assert counts["guess_word"] == 768 * 768 + 768 + 2 * 768 + 30522


def test_padding_never_changes_a_score(model, text, features):
    scores = margin(model, text, features)
    for row in range(5):
        length = int((text[row] != 0).sum())
        alone = margin(model, text[row : row + 1, :length], features[row : row + 1])
        torch.testing.assert_close(alone, scores[row : row + 1], atol=1e-5, rtol=1e-5)


def test_the_order_of_patches_and_of_words_matters(model, text, features):
    scores = margin(model, text, features)
    swapped = text.clone()
    swapped[:, [1, 2]] = swapped[:, [2, 1]]
    assert (margin(model, text, features.flip(1)) - scores).abs().min() > 1e-3
    assert (margin(model, swapped, features) - scores)[[0, 2, 4]].abs().min() > 1e-3


def test_patch_types_are_a_table_of_their_own_of_which_row_one_counts(model, text, features):
    scores = margin(model, text, features)
    with torch.no_grad():
        model.words.segment.weight[1] += 1
        model.patches.kind.weight[0] += 1
    torch.testing.assert_close(margin(model, text, features), scores)
    with torch.no_grad():
        model.patches.kind.weight[1, ::2] += 1
    assert (margin(model, text, features) - scores).abs().max() > 1e-3


def test_a_hidden_patch_is_exactly_zero_and_keeps_its_position(model, text, features):
    hidden = torch.zeros(5, 4, dtype=torch.bool)
    hidden[:, 2] = True
    zeroed = features.clone()
    zeroed[:, 2] = 0
    before = features.clone()
    with torch.no_grad():
        out = model(text, features, hidden_BP=hidden)
        same = model(text, zeroed)
    assert torch.equal(out.match, same.match)
    assert out.patches.shape == (5, 16)
    assert torch.equal(features, before)


def test_only_words_and_patches_asked_for_are_guessed(model, text, features):
    picked = torch.zeros(5, 12, dtype=torch.bool)
    picked[0, 2] = picked[3, 1] = True
    out = model(text, features, picked)
    assert out.words.shape == (2, model.config.vocabulary)
    assert out.patches.shape == (0, 16)


def test_the_head_for_words_is_tied_to_their_table(model, text, features):
    picked = text != 0
    model(text, features, picked).words.square().sum().backward()
    never_read = torch.ones(model.config.vocabulary, dtype=torch.bool)
    never_read[text.unique()] = False
    assert (model.words.word.weight.grad[never_read].abs().amax(dim=1) > 0).all()


def test_the_short_way_gives_the_score_of_the_long_one(model, text, features):
    embedded = model.embed_patches(features)
    torch.testing.assert_close(model.score(text, embedded), margin(model, text, features), atol=1e-5, rtol=1e-5)


def test_the_last_block_for_the_first_token_alone_is_exact(model, text, features):
    tokens = torch.cat([model.words(text), model.patches(features)], dim=1)
    keep = torch.cat([text != 0, torch.ones(5, 4, dtype=torch.bool)], dim=1)
    whole = model.encoder(tokens, keep)[:, 0]
    torch.testing.assert_close(model.encoder.first(tokens, keep), whole, atol=1e-5, rtol=1e-5)


def test_one_text_goes_with_all_pictures_and_one_picture_with_all_texts(model, text, features):
    embedded = model.embed_patches(features)
    by_text = model.score(text[:1], embedded)
    torch.testing.assert_close(by_text, margin(model, text[:1].expand(5, -1), features), atol=1e-5, rtol=1e-5)
    by_picture = model.score(text, embedded[:1])
    paired = margin(model, text, features[:1].expand(5, -1, -1))
    torch.testing.assert_close(by_picture, paired, atol=1e-5, rtol=1e-5)


def test_margins_are_those_of_single_pairs_whatever_the_batch(model, text, features):
    texts = [row[row != 0].tolist() for row in text]
    pairs = np.stack(np.meshgrid(range(5), range(5)), axis=-1).reshape(-1, 2)[np.random.default_rng(0).permutation(25)]
    embedded = model.embed_patches(features).detach()
    expected = [float(margin(model, text[t : t + 1], features[p : p + 1])) for t, p in pairs]
    for at_once in (1, 4, 64):
        found = margins(model.train(), texts, embedded, pairs, at_once=at_once)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert model.training
    assert margins(model, texts, embedded, pairs[:0]).shape == (0,)


def test_bf16_keeps_the_order_of_candidates(model, text):
    features = torch.from_numpy(np.random.default_rng(3).standard_normal((60, 4, 16), np.float32))
    with torch.no_grad():
        exact = model.score(text[:1], model.embed_patches(features)).numpy()
        embedded = model.lower().embed_patches(features)
        rough = model.score(text[:1], embedded).numpy()
    assert embedded.dtype == torch.bfloat16
    assert rough.dtype == np.float32
    assert model.match.weight.dtype == torch.float32
    assert not np.array_equal(exact, rough)
    assert kendalltau(exact, rough).statistic > 0.95


def test_wrong_sizes_are_named(model, text, features):
    with pytest.raises(BadData, match=r"patches must be \(B, 4, 16\), not \(5, 4, 15\)"):
        model(text, features[..., :15])
    with pytest.raises(BadData, match=r"text must be \(B, at most 12\), not \(5, 13\)"):
        model(torch.nn.functional.pad(text, (0, 1)), features)
    with pytest.raises(BadData, match="5 texts do not go with 3 pictures"):
        model.score(text, model.embed_patches(features[:3]))
    with pytest.raises(BadData, match="text 1 has 0 pieces; from 1 to 12"):
        margins(model, [[2, 3], []], model.embed_patches(features), np.array([[0, 0]]))
    with pytest.raises(BadData, match="not among the 1 and 5 given"):
        margins(model, [[2, 3]], model.embed_patches(features), np.array([[0, 5]]))
    with pytest.raises(BadSpec, match="hidden=30 is not a multiple of heads=4"):
        replace(Config.tiny(), hidden=30)


def test_a_tiny_model_learns_one_batch_by_heart(pieces, corpus):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    made = FashionBert(replace(Config.tiny(), vocabulary=len(pieces), max_text=20, dropout=0.0))
    words = pieces.encode(corpus * 2, limit=20)
    features = rng.standard_normal((16, 4, 16)).astype(np.float32)[[*range(16), *np.roll(range(16), 1)]] * 2
    hidden_words, picked = mask_words(words, pieces, rng)
    arrays = (hidden_words, words, picked, features, mask_patches(32, 4, rng, rate=0.25), np.repeat([1, 0], 16))
    batch = Batch(*map(torch.from_numpy, arrays))
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    for _ in range(150):
        found = losses(made(batch.text, batch.patches, batch.picked, batch.hidden), batch)
        optimiser.zero_grad()
        sum(found.values.values()).backward()
        optimiser.step()
    assert found.values["mlm"] < 0.1
    assert found.values["tia"] < 0.01
    assert found.values["mpm"] < 0.1


def test_features_are_centred_and_scaled_kind_by_kind_and_hidden_ones_are_zero(pieces):
    config = replace(Config.tiny(), vocabulary=len(pieces), whole=1, dropout=0.0, feature_dropout=0.0)
    patches = FashionBert(config).patches
    rows = torch.randn(50, 5, 16) * 3 + 2
    rows[:, 4] += 10
    rows[..., 7] = 1  # never varies
    patches.measure(rows)
    assert torch.allclose(patches.mean[1], rows[:, 4].mean(0), atol=1e-5)
    assert torch.allclose(patches.spread[0, :7], rows[:, :4, :7].flatten(0, 1).std(0, correction=0), atol=1e-4)
    assert 0 < patches.spread[0, 7] < 0.1
    scaled = (rows - patches.mean[[0, 0, 0, 0, 1]]) / patches.spread[[0, 0, 0, 0, 1]]
    projected = torch.cat([patches.project(scaled[:, :4]), patches.wholes[0](scaled[:, 4:])], dim=1)
    projected[:, 1] = 0
    hidden = torch.zeros(50, 5, dtype=torch.bool)
    hidden[:, 1] = True
    wanted = patches.norm(projected + patches.position.weight + patches.kind.weight[1])
    assert torch.allclose(patches(rows, hidden), wanted, atol=1e-5)
