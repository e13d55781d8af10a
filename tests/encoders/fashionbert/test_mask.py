"""What is hidden: whole words within a budget, and distinct patches."""

import numpy as np

from quiver.encoders.fashionbert.mask import mask_patches, mask_words

TEXT = "a red sleeveless dress with green belts and a sleeveless blue shirt with black sleeves"


def words_of(row, pieces):
    """The numbers of the words, -1 for special pieces."""
    word, out = -1, []
    for piece in row:
        word += not pieces.continues[piece] and not pieces.special[piece]
        out.append(-1 if pieces.special[piece] else word)
    return np.array(out)


def test_words_are_hidden_whole_within_the_budget(pieces):
    text = pieces.encode([TEXT, "a red dress", "sleeveless"] * 100, limit=60)
    _, picked = mask_words(text, pieces, np.random.default_rng(0))
    lengths = (text != pieces.id("[PAD]")).sum(axis=1)
    budget = np.minimum(10, np.maximum(1, np.rint(0.15 * lengths)))
    assert (picked.sum(axis=1) <= budget).all()
    for row, chosen in zip(text, picked, strict=True):
        words = words_of(row, pieces)
        assert not chosen[words < 0].any()
        assert all(len(set(chosen[words == word])) == 1 for word in range(words.max() + 1))
    assert picked[1::3].sum(axis=1).tolist() == [1] * 100  # of 5 pieces, one


def test_a_budget_that_is_left_goes_to_words_that_fit(pieces):
    text = pieces.encode(["sleeveless a"] * 50, limit=60)
    sizes = np.bincount(words_of(text[0], pieces)[1:-1])
    assert sizes.tolist() == [2, 1]
    _, picked = mask_words(text, pieces, np.random.default_rng(0))
    assert np.array_equal(picked.sum(axis=1), [1] * 50)  # the long word never fits, wherever it comes in the order
    assert picked[:, -2].all()


def test_no_more_than_most_are_hidden(pieces):
    text = pieces.encode([" ".join(["red"] * 60)] * 20, limit=62)
    _, picked = mask_words(text, pieces, np.random.default_rng(0), rate=0.5, most=7)
    assert picked.sum(axis=1).tolist() == [7] * 20


def test_pieces_of_a_word_are_hidden_by_themselves_when_told(pieces):
    text = pieces.encode(["sleeveless"] * 40, limit=60)
    assert not mask_words(text, pieces, np.random.default_rng(0))[1].any()
    assert mask_words(text, pieces, np.random.default_rng(0), whole=False)[1].sum(axis=1).tolist() == [1] * 40


def test_of_the_chosen_eighty_percent_become_mask_and_ten_stay(pieces):
    text = pieces.encode([" ".join(["red"] * 60)] * 1000, limit=62)
    before = text.copy()
    hidden, picked = mask_words(text, pieces, np.random.default_rng(0))
    assert np.array_equal(text, before)
    assert np.array_equal(hidden[~picked], text[~picked])
    given, real = hidden[picked], text[picked]
    assert len(given) == 9000
    masked, kept = (given == pieces.id("[MASK]")).mean(), (given == real).mean()
    assert abs(masked - 0.8) < 0.02
    # a random piece is the real one once in a vocabulary
    assert abs(kept - 0.1 - 0.1 / (~pieces.special).sum()) < 0.015
    assert not pieces.special[given[given != pieces.id("[MASK]")]].any()
    assert len(np.unique(given)) == (~pieces.special).sum() + 1


def test_every_word_is_as_likely_as_every_other(pieces):
    text = pieces.encode(["a red blue dress belts jeans black shirt"] * 4000, limit=60)
    _, picked = mask_words(text, pieces, np.random.default_rng(0))
    single = np.bincount(words_of(text[0], pieces)[1:-1]) == 1
    share = picked.mean(axis=0)[1:-1][np.repeat(single, np.bincount(words_of(text[0], pieces)[1:-1]))]
    assert share.std() / share.mean() < 0.1


def test_the_same_seed_hides_the_same(pieces, corpus):
    text = pieces.encode(corpus, limit=20)
    first, again, other = (mask_words(text, pieces, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_an_empty_text_has_nothing_to_hide(pieces):
    text = pieces.encode(["", "red"], limit=8)
    hidden, picked = mask_words(text, pieces, np.random.default_rng(0))
    assert not picked[0].any()
    assert np.array_equal(hidden[0], text[0])


def test_patches_are_distinct_and_any_may_be_chosen():
    chosen = mask_patches(500, 64, np.random.default_rng(0))
    assert chosen.sum(axis=1).tolist() == [6] * 500
    assert mask_patches(3, 64, np.random.default_rng(0), rate=0.08).sum(axis=1).tolist() == [5] * 3
    share = chosen.mean(axis=0)
    assert share.min() > 0.05
    assert share.max() < 0.15
