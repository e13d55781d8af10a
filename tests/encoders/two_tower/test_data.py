"""Questions and items become pairs, and what belongs together is never called wrong."""

import numpy as np
import pytest
from tests.encoders.two_tower.shop import task_of

from quiver.encoders.two_tower.data import Features, Fetch, gather
from quiver.encoders.two_tower.pairs import Ragged
from quiver.encoders.two_tower.word import GramReader, Grams, pad, split
from quiver.errors import BadData, BadMedia
from quiver.task import Question
from quiver.types import Item, Query


def ask(id: str, *relevant: str, exclude: tuple[str, ...] = (), **media: object) -> Question:
    return Question(id, Query(media=media), relevant=dict.fromkeys(relevant, 1), exclude=exclude)


PICTURES = [Item(name, {"image": f"{name}.png"}) for name in "abcd"]


def test_equal_names_are_one_thing_and_share_what_is_right() -> None:
    pairs = gather(task_of(PICTURES, [ask("1", "a", text="hat"), ask("2", "b", text="hat")]), own=True)
    assert pairs.ask[0] == pairs.ask[1]
    hat = pairs.ask[:1]
    assert pairs.related(hat, pairs.searched).tolist() == [[True, True, False, False]]
    assert len(pairs) == pairs.asked == 2


def test_several_right_items_are_drawn_alike() -> None:
    pairs = gather(task_of(PICTURES, [ask("1", "a", "c", "d", text="hat")]), own=True)
    fetch = Fetch(pairs, {"text": Features(np.zeros((1, 2), np.float32), None), "image": Features(np.eye(4), None)})
    batch = fetch(np.zeros(3000, np.int64), np.random.default_rng(0))
    _, count = np.unique(batch["things"][:, 1], return_counts=True)
    assert count.shape == (3,)
    assert abs(count - 1000).max() < 100


def test_all_items_compete_even_if_nobody_asks_for_them() -> None:
    pairs = gather(task_of(PICTURES, [ask("1", "a", text="hat")]), own=False)
    assert [pairs.things.refs["image"][pairs.things.row[each]] for each in pairs.searched] == [
        "a.png",
        "b.png",
        "c.png",
        "d.png",
    ]


def test_what_is_left_out_is_neither_right_nor_wrong() -> None:
    questions = [ask("1", "a", "b", exclude=("a",), image="a.png")]
    pairs = gather(task_of(PICTURES, questions), own=True)
    assert [each.tolist() for each in pairs.answers] == [[1]]
    assert pairs.related(pairs.ask, pairs.searched).tolist() == [[True, True, False, False]]


def test_item_with_two_keys_is_a_pair_of_its_own_unless_a_question_says_so_already() -> None:
    items = [Item("a", {"image": "a.png", "text": "hat"}), Item("b", {"image": "b.png", "text": "cap"})]
    pairs = gather(task_of(items, [ask("1", "a", text="hat")]), own=True)
    assert (len(pairs), pairs.asked) == (2, 1)
    assert [pairs.things.refs["text"][pairs.things.row[each]] for each in pairs.ask] == ["hat", "cap"]
    assert len(gather(task_of(items, [ask("1", "a", text="hat")]), own=False)) == 1


def test_question_may_want_another_key_than_the_task() -> None:
    items = [Item("a", {"audio": "a.wav"}), Item("b", {"image": "b.png"})]
    wants = Question("1", Query(media={"text": "bark"}, target="audio"), relevant={"a": 1})
    pairs = gather(task_of(items, [wants]), own=True)
    assert pairs.things.key(pairs.answers[0][0]) == "audio"


def test_pair_of_pictures_is_one_thing() -> None:
    items = [Item("a", {"before": "1.png", "after": "2.png"})]
    pairs = gather(task_of(items, [ask("1", "a", text="the door is open")], target="pair"), own=True)
    assert pairs.things.refs["pair"] == [("1.png", "2.png")]


def test_several_references_ask_one_by_one() -> None:
    pairs = gather(task_of(PICTURES, [ask("1", "a", text=["hat", "cap"])]), own=True)
    assert pairs.things.refs["text"] == ["hat", "cap"]
    assert len(pairs) == 2


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (ask("7", "a", text="in red", image="b.png"), "question 7 holds text, image"),
        (Question("7", Query(like=("b",)), relevant={"a": 1}), "question 7 holds stored items"),
    ],
)
def test_question_that_does_not_hold_one_thing_is_refused(question: Question, words: str) -> None:
    with pytest.raises(BadData, match=words):
        gather(task_of(PICTURES, [question]), own=True)


def test_task_without_anything_to_learn_is_refused() -> None:
    with pytest.raises(BadData, match="no question to learn from"):
        gather(task_of(PICTURES, []), own=True)
    with pytest.raises(BadData, match="no item that answers question 1 has audio"):
        gather(task_of(PICTURES, [ask("1", "a", text="hat")], target="audio"), own=True)


def test_rows_that_cannot_be_read_are_left_out() -> None:
    questions = [ask("1", "a", "b", text="hat"), ask("2", "b", text="cap"), ask("3", "c", text="bag")]
    pairs = gather(task_of(PICTURES, questions), own=True).without({"image": np.array([1]), "text": np.array([2])})
    assert [each.tolist() for each in pairs.answers] == [[0]]
    assert pairs.searched.tolist() == [0, 2, 3]
    with pytest.raises(BadData, match="no question is left"):
        pairs.without({"image": np.array([0])})


def test_words_neighbours_and_letters_are_ngrams() -> None:
    assert split("Red hat")[:3] == ["red", "hat", "red hat"]
    assert {"<re#", "<hat>#"} <= set(split("Red hat"))
    assert split("ab ab") == ["ab", "ab", "ab ab", *["<ab#", "ab>#", "<ab>#"] * 2]


def test_ngrams_of_a_text_are_rows_of_the_table_each_once_and_0_is_for_padding() -> None:
    rows = GramReader(50)("a bag and a bag")
    assert (np.diff(rows) > 0).all()
    assert (rows.min() >= 1, rows.max() <= 50) == (True, True)
    assert GramReader(50)("A BAG and a bag").tolist() == rows.tolist()
    assert pad([np.array([3, 4]), np.array([5])]).tolist() == [[3, 4], [5, 0]]
    with pytest.raises(BadMedia, match="empty"):
        GramReader(50)("  ")


def test_ngrams_of_many_texts_are_those_of_each_and_empty_texts_are_told() -> None:
    reader, texts = GramReader(500), ["a red bag", "  ", "hat", "two red hats"]
    grams, readable = Grams.read(reader, texts)
    assert readable.tolist() == [True, False, True, True] and len(grams) == 4 and grams.flat.dtype == np.int32
    rows = np.array([3, 0, 0, 1, 2])
    one_by_one = [reader(texts[row]) if readable[row] else np.empty(0, np.int64) for row in rows]
    assert np.array_equal(grams(rows), pad(one_by_one)) and grams(rows).dtype == np.int64
    assert grams(rows[:0]).shape == (0, 0) and grams(np.array([1, 1])).shape == (2, 0)


@pytest.mark.parametrize("seed", range(3))
def test_answers_drawn_together_are_those_drawn_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = Ragged.of([rng.integers(0, 99, size) for size in rng.integers(1, 6, 40)]).take(rng.permutation(40))
    rows = rng.integers(0, 40, 64)
    first, second = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 1])
    assert answers.draw(rows, first).tolist() == [int(second.choice(answers[row])) for row in rows]
    assert first.random() == second.random()
