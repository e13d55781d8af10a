"""Sentences and pairs from tasks, and the batches that are made of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quiver.encoders.clip4idc.data import Captions, Features, Fetch, Sentences, gather
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query


def task(items, questions, target="pair"):
    return Task("made", "0", items, questions, ("Success@1",), target, "", "")


def pair(name, **meta):
    return Item(name, {"before": f"{name}.b", "after": f"{name}.a"}, meta)


def ask(id, text, *right, exclude=()):
    return Question(id, Query({"text": text}, target="pair"), dict.fromkeys(right, 1), exclude=exclude)


def test_the_sample_is_a_sentence_and_equal_sentences_share_their_answers():
    found = gather(
        task(
            [pair("x"), pair("y"), pair("z")],
            [ask("1", "it moved", "x"), ask("2", "It  moved", "y"), ask("3", "it is gone", "z", exclude=("x",))],
        )
    )
    assert len(found) == 3
    assert found.texts == ["it moved", "it is gone"]
    assert found.ask.tolist() == [0, 0, 1]
    assert [each.tolist() for each in found.answers] == [[0], [1], [2]]
    assert found.right.toarray().tolist() == [[True, True, False], [False, False, True]]
    # rows of the batch: sentence of 1, sentence of 2, sentence of 3; pairs x, y, z
    related = found.related(found.ask, np.array([0, 1, 2]))
    assert related.tolist() == [[True, True, False], [True, True, False], [True, False, True]]


def test_pairs_that_ask_for_sentences_give_the_same_rows():
    texts = [Item("t0", {"text": "it moved"}), Item("t1", {"text": "it is gone"}), Item("t2", {"text": "unsaid"})]
    questions = [
        Question("x", Query({"before": "x.b", "after": "x.a"}, target="text"), {"t0": 1, "t1": 1}),
        Question("y", Query({"before": "y.b", "after": "y.a"}, target="text"), {"t0": 1}),
    ]
    found = gather(task(texts, questions, "text"))
    assert found.texts == ["it moved", "it is gone"]
    assert [(a, each.tolist()) for a, each in zip(found.ask.tolist(), found.answers, strict=True)] == [
        (0, [0]), (1, [0]), (0, [1]),
    ]  # fmt: skip
    assert found.pictures == ["x.b", "x.a", "y.b", "y.a"]


def test_items_with_their_own_text_need_no_questions():
    items = [Item("x", {"before": "x.b", "after": "x.a", "text": "it moved"}), pair("y")]
    found = gather(task(items, []))
    assert (found.texts, len(found), len(found.pairs)) == (["it moved"], 1, 2)


@pytest.mark.parametrize(
    ("items", "questions", "says"),
    [
        ([pair("x")], [], "no sentence about a pair"),
        ([Item("x", {"image": "x.png"})], [ask("1", "it moved", "x")], "answers question 1 has pictures before and"),
        ([pair("x")], [Question("1", Query({"image": "q.png"}), {"x": 1})], "question 1 holds image; clip4idc takes"),
        ([pair("x")], [Question("1", Query({"text": ("a", "b")}), {"x": 1})], "a sentence must be a text"),
    ],
)
def test_what_is_no_sentence_about_a_pair_is_named(items, questions, says):
    with pytest.raises(BadData, match=says):
        gather(task(items, questions))


def made(**changes) -> Captions:
    items = [pair("x", distractor="x.d"), pair("y", distractor="y.d"), pair("z")]
    found = gather(task(items, [ask("1", "one", "x"), ask("2", "two", "y"), ask("3", "three", "z", "x")]))
    return replace(found, **changes)


def test_unreadable_pictures_take_their_pairs_along_and_distractors_alone():
    found = made()
    assert found.pictures == ["x.b", "x.a", "x.d", "y.b", "y.a", "y.d", "z.b", "z.a"]
    mask = np.ones(8, bool)
    mask[[1, 5]] = False  # the picture after of x, and the distractor of y
    kept = found.readable(mask)
    assert kept.ask.tolist() == [1, 2]
    assert [each.tolist() for each in kept.answers] == [[1], [2]]
    assert kept.pairs[:, 2].tolist() == [2, -1, -1]
    with pytest.raises(BadData, match="no sentence is left"):
        found.readable(np.zeros(8, bool))


def test_distractors_replace_the_picture_before_in_their_share_of_batches():
    found = made()
    rows = np.arange(8, dtype=np.float16)[:, None, None]
    sentences = Sentences(np.array([[5, 3, 0], [5, 6, 3], [5, 3, 0]]), end=3)
    batch = Fetch(found, sentences, Features(rows), distractors=1.0)(np.array([0, 1]), np.random.default_rng(0))
    given, pictures = batch["given"]
    assert pictures[:, :, 0, 0].tolist() == [[2, 1], [5, 4]]
    assert batch["rows"].tolist() == [[0, 0], [1, 1]]
    assert given.tolist() == [[5, 3, 0], [5, 6, 3]]
    never = Fetch(found, sentences, Features(rows), distractors=0.0)
    assert never(np.array([0, 1]), np.random.default_rng(0))["given"][1][:, :, 0, 0].tolist() == [[0, 1], [3, 4]]
    assert never(np.array([0]), np.random.default_rng(0))["given"][0].shape == (1, 2)  # cut to its longest sentence
    half = Fetch(found, sentences, Features(rows), distractors=0.5)
    rng = np.random.default_rng(1)
    firsts = torch.stack([half(np.array([0]), rng)["given"][1][0, 0, 0, 0] for _ in range(200)])
    assert 60 < int((firsts == 2).sum()) < 140
    both = {int(half(np.array([2]), rng)["rows"][0, 1]) for _ in range(30)}
    assert both == {0, 2}  # any right pair of a sentence is drawn
