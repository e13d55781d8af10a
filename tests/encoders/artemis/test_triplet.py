from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quiver.encoders.artemis import data, triplet
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.validate import Validation
from quiver.encoders.artemis.word import Vocabulary
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query

SHELF = {"a": "a.jpg", "b": "b.jpg", "c": "c.jpg", "d": "d.jpg"}


def question(id: str, *, image="a.jpg", text="in red", right=("b",), out=("a",), **more) -> Question:
    held = {name: value for name, value in (("image", image), ("text", text)) if value is not None}
    query = Query(media=held, like=more.pop("like", ()), target="image")
    return Question(id=id, query=query, relevant=dict.fromkeys(right, 1), exclude=out, **more)


def task(*questions: Question) -> Task:
    items = [Item(id, {"image": path}) for id, path in SHELF.items()] + [Item("words", {"text": "no picture"})]
    return Task("shelf", "0", items, questions, ("Success@10",), "image", "all compete", "made")


def test_questions_of_picture_and_words_become_places():
    of = triplet.gather(task(question("1", right=("d", "b")), question("2", image="other.jpg", right=("a",), out=())))
    assert of.pictures == ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "other.jpg")
    assert of.reference.tolist() == [0, 4]
    assert (of.start.tolist(), of.answer.tolist()) == ([0, 2, 3], [1, 3, 0])
    assert of.gallery.tolist() == [0, 1, 2, 3]


def test_a_stored_example_is_a_reference():
    of = triplet.gather(task(question("1", image=None, like=("c",))))
    assert of.reference.tolist() == [2]


def test_what_is_no_triplet_is_left_out_and_counted():
    whole = question("1")
    odd = [
        question("2", image=None),
        question("3", text=None),
        question("4", image=["a.jpg", "b.jpg"]),
        question("5", right=("words",)),
        question("6", right=("a",)),
    ]
    of = triplet.gather(task(whole, *odd))
    assert (len(of), of.left_out) == (1, 5)
    assert "5 questions hold no picture and words" in of.describe()
    with pytest.raises(BadData, match="shelf: none of its 5 questions"):
        triplet.gather(task(*odd))


def test_pictures_that_cannot_be_read_are_neither_asked_nor_answers_nor_searched():
    questions = [question("1", right=("b", "c")), question("2", image="b.jpg", out=("b",), right=("c",))]
    of = triplet.gather(task(*questions), np.array([True, False, True, True]))
    assert (of.reference.tolist(), of.answer.tolist(), of.gallery.tolist()) == ([0], [2], [0, 2, 3])


def test_every_answer_is_drawn_alike():
    of = triplet.gather(task(question("1", right=("b", "c", "d")), question("2", right=("c",))))
    drawn = of.draw(np.repeat([0, 1], 3000), np.random.default_rng(0))
    assert set(drawn[3000:]) == {2}
    np.testing.assert_allclose(np.bincount(drawn[:3000])[1:] / 3000, 1 / 3, atol=0.03)


def test_answers_of_others_that_are_right_too_and_what_is_left_out_do_not_compete():
    of = triplet.gather(task(question("1", right=("b", "c")), question("2", image="b.jpg", out=("b",), right=("a",))))
    same = of.same(np.array([0, 1, 0]), np.array([1, 0, 2]))
    # columns are b, a, c: question 1 is answered by b and c and leaves out a; question 2 is answered by a, leaves out b
    assert same.tolist() == [[True, True, True], [True, True, False], [True, True, True]]


def test_a_batch_holds_each_questions_own_reference_and_answer():
    of = triplet.gather(task(question("1"), question("2", image="c.jpg", out=("c",), text="in blue", right=("d",))))
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    vocabulary = Vocabulary(("blue", "in", "red"))
    plain = data.Table(features, np.zeros(2, np.float32), np.ones(2, np.float32))
    lessons = data.Lessons(of, plain, data.Tokens(vocabulary, of.wishes))
    batch = lessons.fetch(np.array([1, 0]), np.random.default_rng(0))
    assert batch["reference"].tolist() == [[4, 5], [0, 1]]
    assert batch["target"].tolist() == [[6, 7], [2, 3]]
    assert batch["words"].tolist() == [[1, 6, 5, 3], [1, 6, 7, 3]]
    assert batch["same"].tolist() == [[True, False], [False, True]]
    assert "same" not in replace(lessons, known=False).fetch(np.array([1, 0]), np.random.default_rng(0))


def test_wishes_are_heard_in_both_orders_while_training_and_in_theirs_otherwise():
    tokens = data.Tokens(Vocabulary(("long", "red")), (("red", "long"),))
    rng = np.random.default_rng(0)
    heard = {tuple(tokens(np.array([0]), rng)[0].tolist()) for _ in range(20)}
    assert heard == {(1, 6, 2, 5, 3), (1, 5, 2, 6, 3)}
    assert tokens(np.array([0])).tolist() == [[1, 6, 2, 5, 3]]


def test_features_of_wishes_are_the_mean_of_their_directions():
    vectors = {"red": [3.0, 0.0], "long": [0.0, 3.0]}
    asked = []

    def embed(texts):
        asked.extend(texts)
        return np.array([vectors[each] for each in texts], np.float32)

    heard = data.Sentences.of([("red",), ("red", "long"), ("red",)], embed)
    half = 0.5**0.5
    np.testing.assert_allclose(heard(np.array([0, 1, 2])), [[1, 0], [half, half], [1, 0]], atol=1e-6)
    assert asked == ["red", "red", "long"]


def test_a_folded_layer_takes_features_as_they_are():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (50, 4)).astype(np.float32)
    features[:, 2] = 7  # never changes
    table = data.Table.of(features, np.arange(40))
    rows = table(np.arange(40)).numpy()
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 0, 1], atol=1e-5)
    layer = nn.Linear(4, 3)
    wanted = layer(table(np.arange(50)))
    table.fold(layer)
    torch.testing.assert_close(layer(torch.from_numpy(features)), wanted, atol=1e-5, rtol=1e-5)


def line(*places: float) -> data.Table:
    """Pictures on a line: whatever is held, what lies further right scores higher by visual search."""
    features = np.array([[place, 0] for place in places], np.float32)
    return data.Table(features, np.zeros(2, np.float32), np.ones(2, np.float32))


def looker() -> Model:
    config = Config(composer="visual_search", dim=2, image="features:2", image_unit=False, project=False)
    return Model(config).eval()


@pytest.mark.parametrize(
    ("asked", "rank"),
    [
        (question("plain", right=("b",)), 2),  # c and d lie further right; a is left out
        (question("best answer counts", right=("b", "c")), 1),
        (question("reference competes", image="d.jpg", out=(), right=("c",)), 1),
        (question("reference is left out", image="d.jpg", out=("d",), right=("c",)), 0),
        (question("candidates", right=("b",), candidates=("a", "b", "c")), 1),
        (question("ties are lost", right=("a",), image="b.jpg", out=("b",)), 2),
    ],
)
def test_ranks_by_hand(asked, rank):
    look = line(3, 9, 3, 4) if asked.id == "ties are lost" else line(1, 2, 3, 4)
    assert Validation(triplet.gather(task(asked)), look, data.Silence()).ranks(looker()).tolist() == [rank]


def test_figures_are_averaged_within_groups_first():
    many = [question(f"{n}", right=("d",), group="colour") for n in range(3)]
    of = triplet.gather(task(*many, question("4", right=("b",), group="type")))
    figures = Validation(of, line(1, 2, 3, 4), data.Silence()).measure(looker())
    assert list(figures) == ["score", "R@1", "R@10", "R@50"]
    assert figures["R@1"] == pytest.approx(0.5)  # 1 of colour, 0 of type
    assert figures["R@10"] == 1
