from dataclasses import asdict

import pytest

from quiver.engine.core.column import Column
from quiver.engine.core.graph import Graph
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.facts import Facts
from quiver.errors import NoRoute
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


def test_a_route_may_cross_a_bridge():
    graph = Graph.of(MMV, [COARSE_SOUNDS])
    (route,) = graph.routes("video", target="audio")
    assert str(route) == "video -> mmv/va -> mmv/vat (audio)"
    assert [crossing.encoder for crossing in route.bridges] == ["mmv"]


def test_a_bridge_is_one_way():
    with pytest.raises(NoRoute, match="missing arrow: image -> mmv/va"):
        plan(Query({"image": "a.jpg"}), facts(MMV, SOUNDS))
    assert Graph.of(MMV, [SOUNDS]).path(COARSE, FINE) is None


def test_vectors_are_computed_where_the_query_cannot_reach_what_is_stored():
    (route,) = Graph.of(MMV, [SOUNDS]).routes("text", target="audio")
    assert str(route) == "text -> mmv/vat (audio from mmv/va)"
    made = plan(Query({"text": "rain"}, target="audio"), facts(MMV, SOUNDS))
    assert "computed: at most 1,000 vectors of mmv/va mapped to mmv/vat by mmv; best 10" in str(made)


def test_nothing_is_computed_that_is_stored_or_that_the_query_can_do_without():
    (stored,) = Graph.of(MMV, [SOUNDS, COARSE_SOUNDS]).routes("text", target="audio")
    assert stored.column == COARSE_SOUNDS and Graph.of(MMV, [SOUNDS, COARSE_SOUNDS]).derived == ()
    made = plan(Query({"video": "a.mp4"}), facts(MMV, SOUNDS))
    assert str(made.stages[1].route) == "video -> mmv/va (audio)"
    refused = {each.what: each.why for each in made.refused}
    assert "reaches the stored audio in mmv/va" in refused["audio in mmv/vat, computed from mmv/va"]


def test_a_space_that_is_named_is_computed_even_so():
    made = plan(Query({"video": "a.mp4"}, spaces=("mmv/vat",)), facts(MMV, SOUNDS))
    assert str(made.stages[1].route) == "video -> mmv/va -> mmv/vat (audio from mmv/va)"


def test_stored_items_cross_bridges_as_queries_do():
    texts = Column("text", COARSE, "mmv")
    graph = Graph.of(MMV, [SOUNDS, texts])
    assert [str(route) for route in graph.likenesses([texts.name], target="audio")] == [
        "like -> mmv/vat (audio from mmv/va)"
    ]
    assert [str(route) for route in graph.likenesses([SOUNDS.name], target="text")] == [
        "like -> mmv/va -> mmv/vat (text)"
    ]


def test_no_route_names_what_is_reached_what_is_stored_and_the_missing_arrow():
    apart = {"mmv": {**MMV["mmv"], "keys": {**MMV["mmv"]["keys"], "text": [asdict(WORDS)]}}}
    text = Graph.of(apart, [SOUNDS]).missing("text", target="audio")
    assert text == (
        "no route from text to audio: text is embedded in mmv/vt, audio is stored in mmv/va; "
        "missing arrow: text -> mmv/va"
    )
    made = plan(Query({"text": "rain"}, target="audio"), facts(apart, SOUNDS))
    assert [stage.label for stage in made.stages] == ["words", "cut"] and text in made.notes[0]
    nothing = Graph.of(MMV, [SOUNDS]).missing("text", target="video")
    assert nothing == "no video vectors are stored here (stored: audio): search with `--target audio`"
    unreachable = Graph.of(apart, [SOUNDS]).missing("text", target="video")
    assert unreachable == (
        "no video vectors are stored here (stored: audio): "
        "add video items with `quiver add COLLECTION SOURCE --encoder NAME`"
    )
    empty = Graph.of(MMV, []).missing("text", target=None)
    assert empty == "no vectors are stored here yet: embed the items with `quiver add COLLECTION --encoder classic`"
    alike = Graph.of(apart, [SOUNDS]).missing("like", target="audio")
    assert "the example items have no vectors that lead there" in alike


def test_two_revisions_of_one_name_do_not_meet():
    old = Column("image", Space("clip", 64, "cosine", "old"), "clip")
    encoders = {"clip": {"keys": {"image": [asdict(CLIP)]}, "bridges": []}}
    with pytest.raises(NoRoute):
        plan(Query({"image": "a.jpg"}), facts(encoders, old))


def test_features_that_only_a_reranker_reads_are_not_searched():
    patches = Space("judge/patches", 4096, "dot", "r1")
    scorer = {
        "name": "judge",
        "holds": ["text"],
        "finds": "image",
        "reads": [asdict(patches)],
        "recalls": {},
        "exact": False,
    }
    judge = {
        "judge": {
            "keys": {"image": [asdict(patches)]},
            "bridges": [],
            "scorers": [scorer],
            "features": [asdict(patches)],
        }
    }
    graph = Graph.of(judge, [Column("image", patches, "judge")])
    assert graph.features == {patches}
    assert graph.routes("image", target="image") == ()
