"""Word pieces."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from quiver.encoders._pieces import SPECIAL, Pieces
from quiver.errors import BadData, MissingWeights


def test_special_pieces_come_first_and_padding_is_zero(pieces):
    assert [pieces.id(piece) for piece in SPECIAL] == [0, 1, 2, 3, 4]
    assert pieces.special.nonzero()[0].tolist() == [0, 2, 3, 4]
    assert len(pieces) == 21


def test_words_are_cut_into_pieces_that_make_them_up(pieces):
    (ids,) = pieces.split(["Sleeveless RED"])
    assert ids == [pieces.id("sleeve"), pieces.id("##less"), pieces.id("red")]
    assert pieces.continues[ids].tolist() == [False, True, False]
    assert pieces.split(["zebra"]) == [[pieces.id("[UNK]")]]


def test_training_joins_what_is_common_up_to_the_size_asked(corpus):
    made = Pieces.train(corpus, size=80)
    assert [made.id(piece) for piece in SPECIAL] == [0, 1, 2, 3, 4]
    assert made.split(["green dress"]) == [[made.id("green"), made.id("dress")]]
    assert len(Pieces.train(corpus, size=60)) == 60
    small = Pieces.train(corpus, size=60)
    names = {number: piece for piece, number in small.tokenizer.get_vocab().items()}
    cut = [names[number] for number in small.split(["sleeveless green"])[0]]
    assert len(cut) > 2
    assert "".join(cut).replace("##", "") == "sleevelessgreen"


def test_the_same_corpus_gives_the_same_vocabulary(corpus):
    made = [Pieces.train(corpus, size=60).tokenizer.get_vocab() for _ in range(5)]
    assert all(vocabulary == made[0] for vocabulary in made)


def test_texts_are_framed_cut_and_padded(pieces):
    red, a = pieces.id("red"), pieces.id("a")
    found = pieces.encode(["a red", "red red red red red red", ""], limit=5)
    assert found.tolist() == [[2, a, red, 3, 0], [2, red, red, red, 3], [2, 3, 0, 0, 0]]
    assert found.dtype == np.int64
    assert pieces.encode([], limit=5).shape == (0, 0)


def test_tags_get_what_the_caption_leaves_and_segment_one(pieces):
    red, a = pieces.id("red"), pieces.id("a")
    ids, types = pieces.encode_pairs(["a red", "red red red red red red red", ""], ["red red red", "a a", "a"], limit=7)
    assert ids.tolist() == [[2, a, red, 3, red, red, 3], [2, red, red, red, red, 3, 3], [2, 3, a, 3, 0, 0, 0]]
    assert types.tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0, 0]]


def test_save_and_open_give_the_same_pieces(pieces, tmp_path, corpus):
    pieces.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert np.array_equal(Pieces.open(path).encode(corpus, limit=20), pieces.encode(corpus, limit=20))


def test_a_vocabulary_of_bert_is_read_and_its_case_kept(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "red", "Red", "##s"]))
    assert Pieces.open(tmp_path).split(["Reds"]) == [[5, 7]]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert Pieces.open(tmp_path).split(["Reds"]) == [[6, 7]]


def test_a_text_that_names_a_special_piece_is_words(tmp_path):
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL, "[", "]", "pad", "red"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))  # as the files of transformers have them
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("[PAD]", add_special_tokens=False).ids == [0]
    assert Pieces.open(tmp_path).split(["[PAD]"]) == [[5, 7, 6]]


def test_what_is_no_bert_is_refused(tmp_path, pieces):
    with pytest.raises(MissingWeights, match=r"neither tokenizer\.json nor vocab\.txt"):
        Pieces.open(tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\nred")
    with pytest.raises(BadData, match=r"no \[PAD\], \[CLS\]"):
        Pieces.open(tmp_path)
    with pytest.raises(BadData, match="no piece 'zebra'"):
        pieces.id("zebra")
