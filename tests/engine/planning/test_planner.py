"""A plan says which stages answer a query, in which order, and why not others."""

from dataclasses import asdict

import pytest

from quiver.engine.core.column import Column
from quiver.engine.core.graph import Graph
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import Query, Space

FINE = Space("mmv/va", 512, "cosine", "r1")
COARSE = Space("mmv/vat", 256, "cosine", "r1")
WORDS = Space("mmv/vt", 256, "cosine", "r1")
CLIP = Space("clip", 64, "cosine", "r2")
MMV = {
    "mmv": {
        "keys": {"video": [asdict(FINE)], "audio": [asdict(FINE)], "text": [asdict(COARSE)]},
        "bridges": [{"source": asdict(FINE), "target": asdict(COARSE)}],
    }
}
SOUNDS = Column("audio", FINE, "mmv")
COARSE_SOUNDS = Column("audio", COARSE, "mmv")


def facts(encoders, *columns, **more):
    return Facts(Graph.of(encoders, columns), items=1000, version=3, **more)


def labels(plan):
    return [stage.label for stage in plan.stages]


def test_words_without_a_text_space_use_full_text_and_say_so():
    made = plan(Query({"text": "a red dress"}), facts({}, SOUNDS))
    assert labels(made) == ["words", "cut"]
    assert made.notes[0].startswith("the text is searched by full-text search: no route from text")


def test_columns_of_one_space_are_merged_by_score_and_spaces_fused_by_rank():
    spec = {"clip": {"keys": {"image": [asdict(CLIP)]}, "bridges": []}}
    fine = {"other": {"keys": {"image": [asdict(FINE)]}, "bridges": []}}
    images, clips = Column("image", CLIP, "clip"), Column("video", CLIP, "clip")
    one = plan(Query({"image": "a.jpg"}), facts(spec, images, clips))
    assert labels(one)[-2:] == ["merge clip", "cut"]
    query = Query({"image": "a.jpg"}, fuse=True)
    two = plan(query, facts({**spec, **fine}, images, clips, Column("image", FINE, "other")))
    assert labels(two)[-3:] == ["merge clip", "fuse", "cut"]


def test_a_composed_query_is_fused_by_rank_even_within_one_space():
    spec = {"clip": {"keys": {"image": [asdict(CLIP)], "text": [asdict(CLIP)]}, "bridges": []}}
    made = plan(Query({"image": "a.jpg", "text": "in red"}), facts(spec, Column("image", CLIP, "clip")))
    assert labels(made)[-2:] == ["fuse", "cut"]
    (note,) = made.notes
    assert note.startswith("no trained composer takes these inputs together: each is searched separately")


def test_a_filter_comes_before_recall_with_its_exact_count():
    made = plan(Query(like=("x",), where="price < 5"), facts(MMV, SOUNDS, matching=12, examples=[SOUNDS.name]))
    assert labels(made)[0] == "filter"
    assert "12 of 1,000 items match (1.2%, counted)" in str(made)


def test_few_rows_are_scanned_exactly_and_many_by_an_index():
    few = plan(Query({"audio": "a.wav"}), facts(MMV, SOUNDS, built={SOUNDS.name: ("faiss",)}))
    assert few.stages[1].index == "exact" and few.refused[1].what.startswith("faiss index")
    many = Facts(Graph.of(MMV, [SOUNDS]), items=10**6, version=1, built={SOUNDS.name: ("faiss",)})
    assert plan(Query({"audio": "a.wav"}), many).stages[1].index == "faiss"


def test_an_index_or_space_that_does_not_exist_is_refused_by_name():
    with pytest.raises(BadSpec, match="there is no faiss index for audio in mmv/va"):
        plan(Query({"audio": "a.wav"}, index="faiss"), facts(MMV, SOUNDS))
    with pytest.raises(BadSpec, match="there is no space 'dino' here; spaces here: mmv/va"):
        plan(Query({"audio": "a.wav"}, spaces=("dino",)), facts(MMV, SOUNDS))


def test_plans_are_values():
    ask = Query({"audio": "a.wav"}), facts(MMV, SOUNDS)
    assert plan(*ask) == plan(*ask)
    assert plan(*ask).to_dict()["stages"][1]["route"]["column"]["space"]["name"] == "mmv/va"


def test_a_scorer_of_one_thing_waits_to_be_asked_for_where_the_thing_leads_elsewhere_too():
    judge = {"name": "judge", "holds": ["text"], "finds": "audio", "reads": [asdict(FINE)], "exact": False}
    spec = {"mmv": {**MMV["mmv"], "bridges": [], "scorers": [{**judge, "recalls": {"plain": [asdict(FINE)]}}]}}
    only = facts(spec, SOUNDS)
    assert labels(plan(Query({"text": "rain"}), only)) == ["compose judge", "score judge", "cut"]
    both = facts(spec, SOUNDS, Column("text", COARSE, "mmv"))
    assert labels(plan(Query({"text": "rain"}), both))[-2:] == ["recall text -> mmv/vat (text)", "cut"]
    assert labels(plan(Query({"text": "rain"}, target="audio"), both))[0] == "compose judge"
    assert labels(plan(Query({"text": "rain"}, scorer="judge"), both))[0] == "compose judge"


def test_of_one_encoders_spaces_the_finest_answers_unless_another_is_named():
    both = {"mmv": {"keys": {"video": [asdict(FINE), asdict(COARSE)], "audio": [asdict(FINE)]}, "bridges": []}}
    columns = [Column("video", FINE, "mmv"), Column("video", COARSE, "mmv")]
    made = plan(Query({"video": "a.mp4"}), facts(both, *columns))
    assert [stage.route.column.space for stage in made.stages if hasattr(stage, "route")] == [FINE]
    assert "mmv/va is the finest space of mmv for this" in [each.why for each in made.refused]
    named = plan(Query({"video": "a.mp4"}, spaces=("mmv/vat",)), facts(both, *columns))
    assert [stage.route.column.space for stage in named.stages if hasattr(stage, "route")] == [COARSE]
