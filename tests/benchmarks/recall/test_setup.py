import json

import pytest

from quiver.benchmarks.recall.setup import Setup, read, specs_of
from quiver.errors import BadData, BadSpec


def test_lists_stand_for_one_plan_each(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [[plan]]
        index = ["exact", "faiss factory=HNSW8"]
        depth = [5, 20]
        [[plan]]
        name = "image"
        held = "image"
        """
    )
    assert [setup.label for setup in read(path)] == [
        "exact depth 5",
        "exact depth 20",
        "faiss factory=HNSW8 depth 5",
        "faiss factory=HNSW8 depth 20",
        "image",
    ]
    assert read(path)[-1] == Setup(held=("image",), name="image")


def test_answers_are_shaped_as_in_a_search(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("[[plan]]\ndiversity = [0.3, 0.6]\ndeduplicate = 0.98\n")
    assert [setup.label for setup in read(path)] == [
        "exact diversity 0.3 deduplicate 0.98",
        "exact diversity 0.6 deduplicate 0.98",
    ]
    with pytest.raises(BadSpec, match="diversity must be from 0 to 1, not 1"):
        Setup(diversity=1.5)


def test_ways_of_a_scorer_are_crossed_and_named(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [[plan]]
        recall = ["single", "lifted"]
        depth = [50, 200]
        [[plan]]
        scorer = "none"
        weights = ["image=1,text=2", "image=1, text=0.5"]
        """
    )
    setups = read(path)
    assert [setup.label for setup in setups] == [
        "exact recall single depth 50",
        "exact recall single depth 200",
        "exact recall lifted depth 50",
        "exact recall lifted depth 200",
        "exact scorer none weights image=1,text=2",
        "exact scorer none weights image=1,text=0.5",
    ]
    assert setups[-1] == Setup(scorer="none", weights=(("image", 1.0), ("text", 0.5)))
    assert setups[0].exactly() == Setup(depth=50)


def test_a_plan_says_how_an_unfitted_reranker_counts(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('[[plan]]\nrecall = "routes"\nblend = ["alone", "safe"]\n')
    assert [setup.label for setup in read(path)] == ["exact recall routes", "exact recall routes blend safe"]
    for wrong in ({"blend": "half"}, {"blend": "safe", "scorer": "judge"}):
        with pytest.raises(BadSpec, match="plan: blend"):
            Setup(**wrong)


def test_json_says_the_same_as_toml(tmp_path):
    toml, plain = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('[[plan]]\nindex = "auto"\nspaces = ["a", "b"]\ndepth = 7\n')
    plain.write_text(json.dumps([{"index": "auto", "spaces": ["a", "b"], "depth": 7}]))
    assert read(toml) == read(plain) == (Setup("auto", ("a", "b"), (), 7),)


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ("", BadData, "lists no plans"),
        ("[[plan]", BadData, "cannot read plans from"),
        ("[[plan]]\nindx = 'exact'", BadSpec, "unknown option indx in a plan"),
        ("[[plan]]\nindex = 'hnsw'", BadSpec, "must be auto or one of exact, faiss, lance, not 'hnsw'"),
        ("[[plan]]\ndepth = 0", BadSpec, "depth must be at least 1"),
        ("[[plan]]\ndepth = 'deep'", BadSpec, "depth must be a whole number or a list of them, not 'deep'"),
        ("[[plan]]\ndepth = true", BadSpec, "depth must be a whole number"),
        ("[[plan]]\nweights = 'image:2'", BadSpec, "weights are written as 'image=1,text=2', not 'image:2'"),
        (
            "[[plan]]\nweights = 'smell=2'",
            BadSpec,
            "a weight is key=number, at least 0, key among text, image",
        ),
        ("[[plan]]\nweights = 'image=-1'", BadSpec, "not image=-1"),
        ("[[plan]]\nscorer = 'none'\nrecall = 'single'", BadSpec, "needs a scorer, but scorer=none"),
        ("[[plan]]\nspaces = ['a']\nrecall = 'single'", BadSpec, "leave out spaces"),
        ("[[plan]]\nheld = ['smell']", BadSpec, "held must be among text, image"),
        ("[[plan]]\n[[plan]]", BadSpec, "two plans are called 'exact'"),
        ("[[plan]]\nname = 3", BadSpec, "name must be a str"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_line(tmp_path, text, error, problem):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(error) as stopped:
        read(path)
    assert problem in str(stopped.value) and "\n" not in str(stopped.value)


def test_a_missing_plan_file_is_named(tmp_path):
    with pytest.raises(BadData, match=r"nowhere\.toml"):
        read(tmp_path / "nowhere.toml")


def test_encoders_that_answer_together_are_parted_by_a_plus():
    assert specs_of("classic dim=8 + timm model=x") == ("classic dim=8", "timm model=x")
