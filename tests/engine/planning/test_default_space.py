"""A search that names no space uses the default space of its key: a second encoder changes no answer in silence."""

from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.core.column import Column
from quiver.engine.core.graph import Graph
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import Item, Query, Space

OLD, NEW = Space("old", 8, "cosine", "r1"), Space("new", 16, "cosine", "r2")
WORDY, COARSE = Space("wordy", 8, "cosine", "r3"), Space("coarse", 4, "cosine", "r2")
IMAGE_OLD, IMAGE_NEW = Column("image", OLD, "old"), Column("image", NEW, "new")
TEXT_WORDY, TEXT_NEW = Column("text", WORDY, "wordy"), Column("text", NEW, "new")


#: Embeds a number as its square.
MODEL = """
import numpy as np
from quiver.media import TextReader
from quiver.types import Space


class Model:
    keys = ("text",)

    def spaces(self, key):
        return (Space("NAME", 1, "l2", "0"),) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return np.float32([[TURN * float(text) ** 2] for text in batch])


def load():
    return Model()
"""


def encoder(**keys):
    return {"keys": {key: [asdict(space) for space in spaces] for key, spaces in keys.items()}, "bridges": []}


ENCODERS = {
    "old": encoder(image=[OLD]),
    "wordy": encoder(text=[WORDY]),
    "new": encoder(image=[NEW], text=[NEW]),
}


def planned(query, *columns, defaults=None, encoders=ENCODERS, **more):
    made = plan(query, Facts(Graph.of(encoders, columns, defaults), items=1000, version=1, **more))
    return made, [str(stage.route) for stage in made.stages if hasattr(stage, "route")]


def test_the_first_encoder_of_a_key_answers_until_another_is_asked_for():
    query = Query({"image": "a.jpg"})
    before, routes = planned(query, IMAGE_OLD)
    assert routes == ["image -> old (image)"]
    made, routes = planned(query, IMAGE_OLD, IMAGE_NEW)
    assert routes == ["image -> old (image)"] and made.stages == before.stages and not made.notes
    (refused,) = made.refused
    assert refused.what == "image -> new (image)"
    assert refused.why == "old is the default for this query; spaces='new' or fuse asks for it"
    assert planned(query, IMAGE_NEW, IMAGE_OLD)[1] == ["image -> new (image)"]  # the columns are in order of age
    assert planned(Query({"image": "a.jpg"}, spaces="new"), IMAGE_OLD, IMAGE_NEW)[1] == ["image -> new (image)"]


@pytest.mark.parametrize("ask", [{"fuse": True}, {"spaces": ("old", "new")}])
def test_encoders_are_fused_where_the_query_asks_for_it(ask):
    made, routes = planned(Query({"image": "a.jpg"}, **ask), IMAGE_OLD, IMAGE_NEW)
    assert routes == ["image -> old (image)", "image -> new (image)"]
    assert [stage.label for stage in made.stages][-2:] == ["fuse", "cut"]


def test_the_default_of_a_key_can_be_chosen():
    query, chosen = Query({"image": "a.jpg"}), {"image": IMAGE_NEW.name}
    assert planned(query, IMAGE_OLD, IMAGE_NEW, defaults=chosen)[1] == ["image -> new (image)"]
    assert planned(query, IMAGE_OLD, defaults=chosen)[1] == ["image -> old (image)"]  # a default that is gone is none


def test_where_the_default_cannot_be_reached_the_first_encoder_that_can_answers():
    assert planned(Query({"text": "red"}, target="image"), IMAGE_OLD, IMAGE_NEW)[1] == ["text -> new (image)"]


def test_without_a_target_the_querys_own_key_comes_first_and_a_note_tells_what_was_not_searched():
    columns = IMAGE_OLD, TEXT_WORDY, IMAGE_NEW
    made, routes = planned(Query({"text": "red"}), *columns)
    assert routes == ["text -> wordy (text)"]
    assert made.notes == ("the text was searched in wordy only; target='image' searches with another encoder",)
    made, routes = planned(Query({"image": "a.jpg"}), *columns, TEXT_NEW)
    assert routes == ["image -> old (image)"] and len(made.notes) == 1
    every = planned(Query({"text": "red"}), IMAGE_NEW, TEXT_NEW)
    assert every[1] == ["text -> new (image)", "text -> new (text)"] and not every[0].notes  # one space, one scale


def test_examples_are_compared_in_the_default_space():
    examples = [IMAGE_OLD.name, IMAGE_NEW.name]
    assert planned(Query(like="x"), IMAGE_OLD, IMAGE_NEW, examples=examples)[1] == ["like -> old (image)"]
    only = planned(Query(like="x"), IMAGE_OLD, IMAGE_NEW, examples=[IMAGE_NEW.name])[1]
    assert only == ["like -> new (image)"]
    chosen = {"defaults": {"image": IMAGE_NEW.name}, "examples": examples}
    assert planned(Query(like="x"), IMAGE_OLD, IMAGE_NEW, **chosen)[1] == ["like -> new (image)"]


def test_a_coarse_space_can_be_the_default_of_an_encoder_with_a_finer_one():
    both = {"new": encoder(image=[NEW, COARSE])}
    fine, coarse = Column("image", NEW, "new"), Column("image", COARSE, "new")
    assert planned(Query({"image": "a.jpg"}), fine, coarse, encoders=both)[1] == ["image -> new (image)"]
    chosen = planned(Query({"image": "a.jpg"}), fine, coarse, encoders=both, defaults={"image": coarse.name})
    assert chosen[1] == ["image -> coarse (image)"]


def test_two_revisions_of_one_name_are_told_apart():
    twin = Column("image", Space("old", 8, "cosine", "beefbeefbeef"), "twin")
    encoders = {**ENCODERS, "twin": {"keys": {"image": [asdict(twin.space)]}, "bridges": []}}
    with pytest.raises(
        BadSpec, match="2 spaces here are called 'old': name one with its revision: old@beefbeef, old@r1"
    ):
        planned(Query({"image": "a.jpg"}, spaces="old"), IMAGE_OLD, twin, encoders=encoders)
    named = planned(Query({"image": "a.jpg"}, spaces="old@beefbeef"), IMAGE_OLD, twin, encoders=encoders)[0]
    assert [stage.route.column for stage in named.stages if hasattr(stage, "route")] == [twin]


def test_a_second_encoder_changes_no_score_and_a_chosen_default_is_kept(lab, tmp_path):
    for name, turn in (("one", 1), ("two", -1)):
        (lab / f"squares_{name}.py").write_text(MODEL.replace("NAME", name).replace("TURN", str(turn)))
    shop = quiver.open(tmp_path / "shop")
    shop.add(*(Item(f"i{n}", {"text": str(n)}) for n in range(20)), encoder="lab.squares_one", workers=0)
    before = [(hit.id, hit.score) for hit in shop.search(text="3", k=5)]
    shop.add(encoder="lab.squares_two", workers=0)
    assert [(hit.id, hit.score) for hit in shop.search(text="3", k=5)] == before
    assert [column["default"] for column in shop.info()["columns"]] == [True, False]
    assert "fuse" in shop.search(text="3", k=5, fuse=True)[0].trace

    run = CliRunner()
    done = run.invoke(app, ["default", shop.uri, "text", "two"], catch_exceptions=False)
    assert done.stdout == "searches for text use two\n"
    assert list(shop.search(text="3", k=1)[0].trace) == ["recall text -> two (text)"]
    assert [column["default"] for column in quiver.open(shop.uri).info()["columns"]] == [False, True]
    assert run.invoke(app, ["search", shop.uri, "--text", "3", "--fuse", "--json"]).stdout.count('"fuse"') > 1
    past = shop.checkout(shop.versions()[-2]["version"])
    assert list(past.search(text="3", k=1)[0].trace) == ["recall text -> one (text)"]  # a version keeps its default
    for key, space, problem in (
        ("text", "three", "no text vectors are stored in a space 'three'; text is stored in: one, two"),
        ("image", "one", "no image vectors are stored in a space 'one'; image is stored in: no space"),
        ("sound", "one", "key must be one of"),
    ):
        with pytest.raises(BadSpec, match=problem):
            shop.default(key, space)


def test_ready_made_vectors_keep_their_space_beside_an_encoder(tmp_path):
    shop = quiver.open(tmp_path / "shop")
    shop.add_vectors(np.eye(3), space="mine", ids=["a", "b", "c"])
    shop.add_vectors(np.eye(3)[::-1], space="other", ids=["a", "b", "c"])
    assert list(shop.search(like="a", k=1)[0].trace) == ["recall like -> mine (image)"]
