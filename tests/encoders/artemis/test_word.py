import gzip
import json

import numpy as np
import pytest
import torch

from quiver.encoders.artemis.config import Bert, Config
from quiver.encoders.artemis.text import Bigru, fill, glove
from quiver.encoders.artemis.word import Vocabulary, collect, pieces, split
from quiver.errors import BadData, BadSpec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Is Black/white, with 2 V-neck straps.", "is black white with v neck straps"),
        ("isn't a shirt (much longer)", "isnt a shirt ( much longer )"),
        ("I cannot, gonna wanna!", "i can not gon na wan na"),
        ("ist größer, \u0939\u093f\u0928\u094d\u0926\u0940", "ist größer \u0939\u093f\u0928\u094d\u0926\u0940"),
        ("12 !?", ""),
    ],
)
def test_words_are_cut_by_the_rule(text, words) -> None:
    assert split(text) == words.split()


@pytest.mark.data
@pytest.mark.parametrize(("name", "expected"), [("fashion_iq", 3775), ("shoes", 1330)])
def test_training_captions_have_the_published_number_of_words(packs, name, expected) -> None:
    folder = packs / "annotations" / name

    def read(file):
        return json.loads(gzip.decompress((folder / file).read_bytes()))

    if name == "fashion_iq":
        kinds = ("dress", "shirt", "toptee")
        captions = [text for kind in kinds for each in read(f"cap.{kind}.train.json.gz") for text in each["captions"]]
    else:
        kept = set(gzip.decompress((folder / "train_im_names.txt.gz").read_bytes()).decode().split("\n"))
        captions = [e["RelativeCaption"] for e in read("relative_captions_shoes.json.gz") if e["ImageName"] in kept]
    assert len(collect(captions)) == expected


def test_wishes_are_joined_and_unknown_words_are_kept_as_such() -> None:
    vocabulary = Vocabulary(collect(["red dress", "long red sleeves"]))
    assert vocabulary.words == ("dress", "long", "red", "sleeves")
    assert vocabulary.size == 9
    assert vocabulary.ids(["Red dress"]) == [1, 7, 5, 3]
    assert vocabulary.ids(["Red dress", "purple sleeves"]) == [1, 7, 5, 2, 4, 8, 3]
    batch = vocabulary.batch([["red"], ["long dress"]])
    assert batch.tolist() == [[1, 7, 3, 0], [1, 6, 5, 3]]


def test_rare_words_are_left_out() -> None:
    assert collect(["red dress", "red shoe"], least=2) == ("red",)


def test_word_pieces_are_those_of_bert(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "dress", "##es", "long", "sleeve", "##d", "-", "and", "is"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = Config(composer="cirplant", dim=12, words=pieces(tmp_path / "vocab.txt"), pieces=True, bert=Bert(length=9))
    ours = Vocabulary.of(config)
    assert ours.size == 13
    theirs = transformers.BertTokenizer(vocab={word: place for place, word in enumerate(words)})
    for text in ("Red dresses", "is long-sleeved", "RÉD qqq", "red " * 20):
        assert ours.ids([text]) == theirs(text, truncation=True, max_length=9)["input_ids"], text
    assert ours.ids(["red", "long"]) == [2, 4, 11, 7, 3]


def test_vocabulary_that_is_none_is_refused(tmp_path) -> None:
    (tmp_path / "vocab.txt").write_text("red\ndress")
    with pytest.raises(BadData, match=r"\[CLS\]"):
        pieces(tmp_path / "vocab.txt")
    with pytest.raises(BadSpec, match=r"words"):
        Vocabulary.of(Config())
    with pytest.raises(BadSpec, match="twice"):
        Vocabulary(("red", "red")).ids(["red"])


def test_glove_fills_the_words_it_has(tmp_path) -> None:
    (tmp_path / "glove.txt").write_text("red 1 2 3\n. . 4 5 6\nlong 0.5 -1 2e-3\nblue 7 8 9\n")
    rows, found = glove(tmp_path / "glove.txt", ("long", "purple", "red"), width=3)
    assert found == 2
    np.testing.assert_allclose(rows[[5, 7]], [[0.5, -1, 2e-3], [1, 2, 3]])
    tower = Bigru(8, 3, 4)
    before = tower.embed.weight.detach().clone()
    fill(tower.embed, rows)
    torch.testing.assert_close(tower.embed.weight[7], torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(tower.embed.weight[[0, 4, 6]], before[[0, 4, 6]])


def test_glove_file_that_is_none_is_refused(tmp_path) -> None:
    (tmp_path / "glove.txt").write_text("red 1 2 3\nlong 1 x 2\n")
    with pytest.raises(BadData, match=r"line 2"):
        glove(tmp_path / "glove.txt", ("red", "long"), width=3)
    with pytest.raises(BadData, match="none of the 2 words"):
        glove(tmp_path / "glove.txt", ("red", "long"), width=2)
