"""The study of captions: seeds are averaged, differences use the same draws, and reranking counts ranks right."""

import numpy as np
import pytest

from quiver.benchmarks.captioning.reference import Thing
from quiver.benchmarks.study import change_captions

THINGS = [Thing(str(n), {}, [f"the {colour} ball turned blue"], source=str(n)) for n, colour in enumerate("abcdef")]
RIGHT = [thing.texts[0] for thing in THINGS]


def test_a_figure_is_the_mean_over_seeds():
    wrong = ["nothing has changed at all"] * 6
    found = change_captions._figures({"all right": [RIGHT], "half": [RIGHT, wrong]}, THINGS, list(range(6)))
    assert found["all right"]["ROUGE-L"]["mean"] == 1
    half = found["half"]["ROUGE-L"]
    assert (half["mean"], half["sd"], half["seeds"]) == (0.5, pytest.approx(np.sqrt(0.5)), 2)
    assert half["difference"] == [-0.5, -0.5]


class Reversed:
    """A scorer that prefers candidates of small numbers."""

    def hold(self, asked):
        return {"text": np.zeros((len(asked), 1), np.float32)}

    def score(self, held, columns):
        ((_, rows),) = columns.items()
        return -rows.T.astype(np.float32)


def test_reranking_moves_the_right_answer_within_the_candidates_alone():
    cosine = np.array([[0.1, 0.5, 0.9], [0.1, 0.8, 0.9], [0.9, 0.8, 0.1]], np.float32)
    rows = {"space": np.arange(3, dtype=np.float32)[:, None]}
    found = change_captions._rerank(cosine, np.eye(3, dtype=bool), Reversed(), [None] * 3, rows, depth=2)
    assert found["cosine"].tolist() == [3, 2, 3]
    assert found["likelihood"].tolist() == [3, 1, 3]  # the answers of the first and last are not among the best two


def test_what_answers_too_does_not_compete():
    cosine = np.array([[0.1, 0.5], [0.2, 0.1]], np.float32)
    rows = {"space": np.arange(2, dtype=np.float32)[:, None]}
    found = change_captions._rerank(cosine, np.ones((2, 2), bool), Reversed(), [None] * 2, rows, depth=2)
    assert found["cosine"].tolist() == found["likelihood"].tolist() == [1, 1]
