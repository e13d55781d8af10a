"""What a query may ask besides the nearest: pages, least scores, groups, and away from examples. Numbers by hand."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quiver
from quiver.errors import BadSpec
from quiver.types import Item, Query

KINDS = ("exact", "faiss", "lance")


def fan(folder, films, *, metric="cosine", name="v"):
    """A collection of unit vectors in the plane, one degree apart: v#n lies at n degrees, in the film given for it."""
    angles = np.radians(np.arange(len(films)))
    np.save(folder / f"{name}.npy", np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    pq.write_table(pa.table({"film": pa.array(films, pa.string()), "n": range(len(films))}), folder / "meta.parquet")
    collection = quiver.open(folder / "c")
    collection.add_vectors(folder / f"{name}.npy", space="plane", metric=metric, meta=folder / "meta.parquet")
    return collection


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Ninety frames of one degree each: twenty of film a, then b and c by turns, and five of no film."""
    films = ["a"] * 20 + ["b", "c"] * 32 + [None] * 5 + ["d"]
    collection = fan(tmp_path_factory.mktemp("frames"), films)
    collection.index("faiss factory=HNSW8")
    collection.index("lance kind=IVF_FLAT partitions=2")
    return collection


def at(degrees):
    return {"plane": np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)}


def numbers(result):
    return [hit.meta["n"] for hit in result]


def test_a_page_begins_where_the_last_one_ended(frames):
    pages = [frames.search(vectors=at(0), k=4, offset=offset) for offset in (0, 4, 8)]
    assert [numbers(page) for page in pages] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert numbers(frames.search(vectors=at(0), k=10, offset=85)) == [85, 86, 87, 88, 89]
    assert numbers(frames.search(vectors=at(0), k=10, offset=500)) == []
    assert "the first 8 are skipped" in str(pages[2].plan)


def test_pages_hold_everything_once(frames):
    pages = list(frames.pages(vectors=at(0), k=4, where="n < 50"))
    assert [len(page) for page in pages] == [4] * 12 + [2]
    assert [n for page in pages for n in numbers(page)] == list(range(50))


def test_pages_stay_at_the_version_of_the_first(tmp_path):
    collection = fan(tmp_path, ["a"] * 90)
    pages = collection.pages(vectors=at(0), k=2)
    seen = numbers(next(pages))
    collection.delete(where="n < 10 OR n > 80")
    for page in pages:
        seen += numbers(page)
    assert seen == list(range(90))
    assert numbers(collection.search(vectors=at(0), k=2)) == [10, 11]


def test_pages_of_groups_hold_every_group_once(frames):
    films = [[hit.meta.get("film") for hit in page] for page in frames.pages(vectors=at(0), k=2, group_by="film")]
    assert films == [["a", "b"], ["c", None], [None, None], [None, None], ["d"]]


def test_a_least_score_is_a_cosine(frames):
    found = frames.search(vectors=at(0), k=50, min_score=math.cos(math.radians(6.5)))
    assert numbers(found) == [0, 1, 2, 3, 4, 5, 6]
    assert len(frames.search(vectors=at(0), k=3, min_score=0.5)) == 3
    assert len(frames.search(vectors=at(180), k=3, min_score=0.5)) == 0
    assert [stage.label for stage in found.plan.stages][-2:] == ["above 0.993572", "cut"]


def test_a_least_score_counts_down_from_zero_under_l2(tmp_path):
    found = fan(tmp_path, ["a"] * 20, metric="l2").search(vectors=at(0), k=20, min_score=-0.01)
    assert numbers(found) == [n for n in range(20) if 2 - 2 * math.cos(math.radians(n)) <= 0.01] == [0, 1, 2, 3, 4, 5]


def test_a_least_score_of_ranks_means_nothing_and_is_refused(frames):
    with pytest.raises(BadSpec, match="these lists are fused by rank"):
        frames.search(vectors=at(0), like="v#3", min_score=0.5)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_the_best_of_every_film_is_found_however_deep_it_lies(frames, kind):
    found = frames.search(vectors=at(0), k=3, group_by="film", index=kind)
    assert numbers(found) == [0, 20, 21]
    everything = frames.search(vectors=at(0), k=20, group_by="film", index=kind)
    assert numbers(everything) == [0, 20, 21, 84, 85, 86, 87, 88, 89]


def test_groups_hold_so_many_of_each_and_no_more(frames):
    found = frames.search(vectors=at(18), k=2, group_size=3, group_by="film")
    assert numbers(found) == [18, 17, 19, 20, 22, 24]
    assert [numbers(group) for group in found.groups("film")] == [[18, 17, 19], [20, 22, 24]]
    assert found[3].trace["group film"]["rank"] == 4
    alone = frames.search(vectors=at(89), k=1, group_size=3, group_by="film")
    assert numbers(alone) == [89]


def test_pages_count_groups(frames):
    assert numbers(frames.search(vectors=at(0), k=2, offset=1, group_by="film")) == [20, 21]


def test_groups_keep_to_a_condition_and_to_a_least_score(frames):
    assert numbers(frames.search(vectors=at(0), k=9, group_by="film", where="n >= 21 AND n < 84")) == [21, 22]
    least = math.cos(math.radians(20.5))
    assert numbers(frames.search(vectors=at(0), k=9, group_by="film", min_score=least)) == [0, 20]


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_batch_groups_what_single_searches_group(frames, kind):
    """Some of them need a deeper list than others; tied frames, as many degrees away on either side, go by number."""
    asked = [
        Query(vectors=at(degrees), k=3, group_by="film", group_size=2, index=kind) for degrees in np.arange(0, 90, 4.5)
    ]
    for query, found in zip(asked, frames.search_batch(asked), strict=True):
        alone = frames.search(query)
        assert numbers(found) == numbers(alone)
        assert [hit.score for hit in found] == [hit.score for hit in alone]


def test_a_group_by_what_is_not_there_is_refused_by_explain_too(frames):
    with pytest.raises(BadSpec, match="there is no metadata column 'movie' to group by; columns here: text, film, n"):
        frames.explain(vectors=at(0), group_by="movie")


def test_away_from_an_example_is_twice_the_liked_less_the_unliked(frames):
    # 2 (cos 40, sin 40) - (cos 60, sin 60) points to atan2(0.4196, 1.0321) = 22.12 degrees.
    found = frames.search(like="v#40", unlike="v#60", k=3)
    assert numbers(found) == [22, 23, 21]
    assert found[0].score == pytest.approx(math.cos(math.radians(0.1235)), abs=1e-5)


def test_the_weight_of_what_is_unlike_says_how_far_away(frames):
    # p + w (p - n): 1.5 p - 0.5 n is (0.8991, 0.5312), which points to 30.57 degrees; w = 0 to 40.
    assert numbers(frames.search(like="v#40", unlike="v#60", weights={"unlike": 0.5}, k=1)) == [31]
    near = frames.search(like="v#40", unlike=["v#60", "v#41"], weights={"unlike": 0}, k=4)
    assert numbers(near) == [39, 38, 42, 37]


def test_several_liked_and_unliked_are_averaged_and_all_left_out(frames):
    # Means point to 40 and 60 degrees, cos 2 and cos 1 long: 2 cos 2 (40) - cos 1 (60) points to 22.14 degrees.
    found = frames.search(like=["v#38", "v#42"], unlike=["v#59", "v#61"], k=90)
    assert numbers(found)[:2] == [22, 23] and not {38, 42, 59, 61}.intersection(numbers(found))


def test_unlike_moves_away_under_l2_wherever_the_origin_is(tmp_path):
    np.save(tmp_path / "line.npy", np.float32([[100 + n, 5] for n in range(30)]))
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "line.npy", space="line", metric="l2")
    assert collection.search(like="line#10", unlike="line#14", k=1).ids == ("line#6",)


@pytest.mark.parametrize(
    ("ask", "fault"),
    [
        ({"unlike": "v#1"}, "needs something to find: give one of text, image"),
        ({"like": "v#1", "unlike": "v#1"}, "'v#1' is both in like and in unlike"),
        ({"like": "v#1", "group_size": 2}, "group_size needs group_by"),
        ({"like": "v#1", "offset": -1}, "offset must be at least 0"),
        ({"like": "v#1", "min_score": math.nan}, "min_score must be a finite number or 'auto'"),
        ({"like": "v#1", "reduce": "median"}, "reduce must be mean or max"),
        ({"like": "v#1", "hybrid": True}, "hybrid needs text"),
    ],
)
def test_what_contradicts_itself_is_refused(frames, ask, fault):
    with pytest.raises(BadSpec, match=fault):
        frames.search(**ask)


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_vectors_the_nearest_counts_on_every_kind(frames, kind):
    both = {"plane": np.stack([at(10)["plane"], at(70)["plane"]])}
    found = frames.search(vectors=both, k=6, index=kind, where="n <> 70")
    assert sorted(numbers(found)) == [9, 10, 11, 12, 69, 71] or sorted(numbers(found)) == [8, 9, 10, 11, 69, 71]
    assert found[0].meta["n"] == 10 and found[0].score == pytest.approx(1)


def test_of_several_examples_the_nearest_counts_where_the_best_is_asked(frames):
    assert numbers(frames.search(like=["v#10", "v#70"], k=1)) == [40]
    assert sorted(numbers(frames.search(like=["v#10", "v#70"], k=4, reduce="max"))) == [9, 11, 69, 71]


WORDS = "WORDS = {'red': 0, 'crimson': 4, 'blue': 90, 'sea': 86}\n"


@pytest.fixture
def shop(tmp_path, lab):
    """Texts of one or two words, embedded as the angle of the first word that is known."""
    (lab / "angle.py").write_text(
        "import numpy as np\nfrom quiver.types import Space\nfrom quiver.media import TextReader\n"
        + WORDS
        + "class Angle:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('angle', 2, 'cosine', '0'),) if key == 'text' else ()\n"
        "    def reader(self, key): return TextReader()\n"
        "    def embed(self, key, batch, space):\n"
        "        angles = np.radians([next(WORDS[w] for w in text.split() if w in WORDS) for text in batch])\n"
        "        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)\n"
        "def load(): return Angle()\n"
    )
    collection = quiver.open(tmp_path / "c")
    texts = {"a": "crimson hat", "b": "sea hat", "c": "blue coat", "d": "crimson coat", "e": "sea scarf"}
    collection.add(*(Item(id, {"text": text}) for id, text in texts.items()), encoder="lab.angle", workers=1)
    return collection


def test_text_is_searched_as_words_too_where_that_is_asked(shop):
    alone = shop.search(text="red coat", k=5)
    assert [stage.label for stage in alone.plan.stages][:2] == ["encode text into angle", "recall text -> angle (text)"]
    both = shop.search(text="red coat", k=5, hybrid=True)
    # By angle d and a tie before e and b, c last; by words c and d. d is first of both but for ties.
    assert both[0].id == "d" and set(both[0].trace) == {"recall text -> angle (text)", "words", "fuse"}
    ranks = {label: said["rank"] for label, said in both[0].trace.items()}
    expected = 1 / (60 + ranks["recall text -> angle (text)"]) + 1 / (60 + ranks["words"])
    assert both[0].score == pytest.approx(expected)


def test_the_weight_of_words_says_what_they_count(shop):
    order = shop.search(text="red coat", hybrid=True, weights={"words": 0}, k=5).ids
    assert order == shop.search(text="red coat", k=5).ids
    assert set(shop.search(text="red coat", hybrid=True, weights={"words": 9}, k=2).ids) == {"c", "d"}
    assert set(shop.search(text="red coat", hybrid=True, weights={"text": 0}, k=5).ids) == {"c", "d"}


def test_several_texts_count_by_their_mean_or_by_the_best(shop):
    assert shop.search(text=["red", "blue"], k=1)[0].score == pytest.approx(math.cos(math.radians(41)), abs=1e-5)
    found = shop.search(text=["red", "blue"], k=5, reduce="max")
    assert found.ids[0] == "c" and found[0].score == pytest.approx(1)
    assert [hit.score for hit in found[1:]] == pytest.approx([math.cos(math.radians(4))] * 4, abs=1e-5)
