"""Cross-encoders of text pairs as scorers, held to the library itself."""

import numpy as np
import pytest

from quiver.encoders.cross_encoder import load
from quiver.errors import BadSpec, MissingWeights
from quiver.protocols import Scorer, ScorerInput

TEXTS = ["a red dress", "Zwei rote Bälle", "nothing of the kind, but longer"]


@pytest.fixture(scope="module")
def folder(write_transformers, tmp_path_factory):
    return write_pairs(write_transformers, tmp_path_factory.mktemp("pairs"))


def write_pairs(write_transformers, folder, labels=1):
    import transformers

    write_transformers.write_tokenizer(folder)
    config = transformers.BertConfig(**write_transformers.text, num_labels=labels, initializer_range=0.5)
    return write_transformers.write_model(folder, transformers.BertForSequenceClassification, config)


@pytest.fixture(scope="module")
def encoder(folder):
    return load(model=str(folder), characters=40, device="cpu")


def test_scores_are_the_librarys_logits(encoder, folder):
    import torch
    from sentence_transformers import CrossEncoder

    (scorer,) = encoder.scorers
    columns = {encoder.space: encoder.embed("text", TEXTS, encoder.space)}
    held = scorer.hold([ScorerInput({"text": ["red dress"]}), ScorerInput({"text": ["two", "balls"]})])
    found = scorer.score(held, columns)
    pairs = [(query, text) for query in ("red dress", "two balls") for text in TEXTS]
    theirs = CrossEncoder(str(folder), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(found.ravel(), theirs, atol=1e-5)
    assert np.ptp(found) > 0.1
    some = scorer.score({"text": held["text"][1:]}, {encoder.space: columns[encoder.space][[2, 0]]})
    np.testing.assert_allclose(some, found[1:, [2, 0]], atol=1e-5)
    np.testing.assert_array_equal(scorer.terms(held, columns)["match"], found)


def test_texts_are_stored_character_by_character(encoder):
    row = encoder.embed("text", ["Bälle 🎈"], encoder.space)[0]
    assert "".join(map(chr, row[:7].astype(int))) == "Bälle 🎈"
    assert not row[7:].any()
    assert encoder.embed("text", ["x" * 90], encoder.space).shape == (1, 40)


def test_a_stored_example_stands_for_its_text(encoder):
    (scorer,) = encoder.scorers
    rows = encoder.embed("text", TEXTS, encoder.space)
    stored, told = (
        scorer.hold([ScorerInput({}, {encoder.space: rows[:1]})]),
        scorer.hold([ScorerInput({"text": TEXTS[:1]})]),
    )
    np.testing.assert_array_equal(stored["text"], told["text"])


def test_it_has_no_recall(encoder):
    (scorer,) = encoder.scorers
    assert isinstance(scorer, Scorer)
    assert not scorer.recalls
    with pytest.raises(BadSpec, match="no recall method 'single'"):
        scorer.probes({}, "single", {})
    with pytest.raises(BadSpec, match="give text"):
        scorer.hold([ScorerInput({})])


def test_a_model_without_a_head_for_pairs_is_refused(write_transformers, tmp_path):
    with pytest.raises(BadSpec, match="is no cross-encoder"):
        load(model=str(write_transformers.build["bert"](tmp_path)), device="cpu")


def test_the_librarys_own_folder_is_read(folder, encoder, tmp_path):
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path))
    again = load(model=str(tmp_path), characters=40, device="cpu")
    columns = {encoder.space: encoder.embed("text", TEXTS, encoder.space)}
    held = encoder.scorers[0].hold([ScorerInput({"text": ["red"]})])
    np.testing.assert_allclose(
        again.scorers[0].score(held, columns), encoder.scorers[0].score(held, columns), atol=1e-6
    )


def test_models_of_several_classes_and_none_are_refused(write_transformers, tmp_path):
    with pytest.raises(BadSpec, match="gives 3 scores of a pair"):
        load(model=str(write_pairs(write_transformers, tmp_path, labels=3)), device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingWeights):
        load(model=str(tmp_path / "empty"), device="cpu")
    with pytest.raises(BadSpec, match="at least 1"):
        load(model=str(tmp_path), characters=0)


def test_by_default_all_of_a_text_that_the_model_reads_is_kept(folder):
    encoder = load(model=str(folder), device="cpu")
    from sentence_transformers import CrossEncoder

    tokens = CrossEncoder(str(folder), device="cpu").max_seq_length
    (space,) = encoder.spaces("text")
    assert space.dim == min(6 * tokens, 4096)


def test_a_text_that_is_cut_is_said(encoder, caplog):
    (space,) = encoder.spaces("text")
    encoder.embed("text", ["short", "x" * 41], space)
    assert "1 of 2 texts have more than 40 characters" in caplog.text
    assert "cross_encoder characters=41 reads all of them" in caplog.text
