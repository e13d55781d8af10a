"""Other words for templated changes: those for training and those for measuring never meet."""

import pytest

from quiver.errors import BadSpec
from quiver.paraphrases import TRAINED, UNSEEN, paraphrases, worded


@pytest.mark.parametrize(
    ("text", "bare", "wanted", "shown"),
    [
        ("the same in navy blue", "navy blue", "navy blue", "in navy blue"),
        ("the same for women", "women", "for women", "for women"),
        ("the same as a skirt", "a skirt", "a skirt", "as a skirt"),
        ("the same with long sleeves", "long sleeves", "with long sleeves", "with long sleeves"),
    ],
)
def test_a_template_is_said_in_other_words(text, bare, wanted, shown):
    polite = f"i want this but {wanted} please"
    assert paraphrases(text) == [bare, polite, f"could you show me a similar thing {shown}"]


def test_texts_of_no_template_stay():
    assert paraphrases("is shinier") == ["is shinier"]


def test_no_wording_is_both_trained_and_measured():
    assert TRAINED.keys() == UNSEEN.keys() == {"in", "for", "as", "with"}
    for way in TRAINED:
        assert not set(TRAINED[way]) & set(UNSEEN[way]) and all("{v}" in each for each in (*TRAINED[way], *UNSEEN[way]))


def test_a_question_keeps_its_wording_and_questions_differ():
    said = [worded("the same in red", "varied", seed=str(n)) for n in range(200)]
    assert said == [worded("the same in red", "varied", seed=str(n)) for n in range(200)]
    assert set(said) == {each.format(v="red") for each in TRAINED["in"]}
    assert worded("the same in red", "plain", seed="a") == "the same in red"
    assert worded("is shinier", "unseen", seed="a") == "is shinier"
    with pytest.raises(BadSpec, match="wording must be one of plain, varied, unseen, not 'odd'"):
        worded("the same in red", "odd", seed="a")
