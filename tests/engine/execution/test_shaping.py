"""How answers are shaped: sorted by a column, near-duplicates folded, diverse, away from texts, files and items."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.core import given_encoder
from quiver.engine.core.diversity import mmr
from quiver.engine.core.near_duplicates import leaders, unit
from quiver.errors import BadSpec, NoRoute
from quiver.types import Query, Space

DEGREES = [0, 1, 2, 10, 11, 30, 50, 51, 70, 90]
PRICES = [5, None, 3, 9, 3, 1, None, 8, 2, 4]


def at(degrees):
    angle = np.radians(degrees)
    return np.array([math.cos(angle), math.sin(angle)], np.float32)


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    """Ten vectors in the plane at some degrees, with prices, of which two are missing."""
    collection = quiver.open(tmp_path_factory.mktemp("fan") / "fan", catch_up=False)
    meta = {"price": PRICES, "shade": ["b", "a"] * 5, "ok": [True, False] * 5, "tags": [["x"]] * 10}
    vectors = np.stack([at(each) for each in DEGREES])
    collection.add_vectors(vectors, ids=[f"v{each}" for each in DEGREES], space="plane", meta=meta)
    return collection


# order_by


def test_the_best_by_score_are_sorted_by_a_column_and_missing_values_come_last(fan):
    assert fan.search(vector=at(0), k=5).ids == ("v0", "v1", "v2", "v10", "v11")
    assert fan.search(vector=at(0), k=5, order_by="price").ids == ("v2", "v11", "v0", "v10", "v1")
    assert fan.search(vector=at(0), k=5, order_by="price desc").ids == ("v10", "v0", "v2", "v11", "v1")
    assert fan.search(vector=at(0), k=3, order_by="shade DESC").ids == ("v0", "v2", "v1")
    assert fan.search(vector=at(0), k=4, order_by="ok").ids == ("v1", "v10", "v0", "v2")
    found = fan.search(vector=at(0), k=3, order_by="price")
    assert [hit.score for hit in found] != sorted([hit.score for hit in found], reverse=True)
    assert "sorted by price, smallest first; ties by score, hits without a value last" in str(found.plan)
    assert found[0].trace["order price"]["rank"] == 1


def test_pages_and_offsets_are_sorted_within_their_cut(fan):
    pages = [page.ids for page in fan.pages(vector=at(0), k=5, order_by="price")]
    assert pages == [fan.search(vector=at(0), k=5, offset=offset, order_by="price").ids for offset in (0, 5)]
    assert pages[1] == ("v30", "v70", "v90", "v51", "v50")
    assert [page.ids for page in fan.pages(vector=at(0), k=5, order_by="price desc")][1][0] == "v51"


def test_groups_are_chosen_by_score_and_their_hits_sorted(fan):
    assert fan.search(vector=at(0), k=2, group_by="shade").ids == ("v0", "v1")
    assert fan.search(vector=at(0), k=2, group_by="shade", group_size=2, order_by="price").ids == (
        "v2", "v0", "v10", "v1",
    )  # fmt: skip


def test_a_batch_is_sorted_query_by_query(fan):
    found = fan.search_batch(vector=np.stack([at(0), at(90)]), k=3, order_by="price desc")
    assert [each.ids for each in found] == [("v0", "v2", "v1"), ("v51", "v90", "v70")]
    assert [each.ids for each in fan.search_batch(vector=at(0)[None], k=3, where="price > 99", order_by="price")] == [
        ()
    ]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("prize", "there is no metadata column 'prize' to sort by; columns here: text, price"),
        ("prize desc", "there is no metadata column 'prize' to sort by"),
        ("tags", "cannot sort by 'tags': its values are lists"),
        (" ", "order_by is empty"),
        (3, "order_by must be a string"),
    ],
)
def test_what_cannot_be_sorted_by_is_one_line(fan, order, says):
    with pytest.raises(BadSpec, match=says):
        fan.search(vector=at(0), order_by=order)


# deduplicate


def test_near_duplicates_of_better_hits_are_folded_and_counted(fan):
    found = fan.search(vector=at(0), k=3, deduplicate=math.cos(math.radians(5)))
    assert found.ids == ("v0", "v10", "v30")
    assert [hit.folded for hit in found] == [2, 1, 0]
    assert fan.search(vector=at(0), k=2, offset=1, deduplicate=math.cos(math.radians(5))).ids == ("v10", "v30")
    assert fan.search(vector=at(0), k=2).hits[0].folded == 0
    assert found.to_dict()["hits"][0]["trace"]["deduplicate"]["folded"] == 2


def test_equal_vectors_are_folded_at_the_threshold_one_whatever_their_length(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    base = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    ids = [str(n) for n in range(40)]
    collection.add_vectors(np.concatenate([base, base * 3]), ids=ids, space="mine", metric="dot")
    found = collection.search(vector=base[0], k=20, deduplicate=1)
    assert len(found) == 20 and [hit.folded for hit in found] == [1] * 20


def test_a_search_goes_deeper_until_there_are_enough_hits(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    angles = np.concatenate([np.full(700, 1.0), np.arange(10, 60)])
    numbers = list(range(750))
    vectors = np.stack([at(each) for each in angles])
    collection.add_vectors(vectors, ids=[str(n) for n in numbers], space="plane", meta={"n": numbers})
    found = collection.search(vector=at(0), k=5, deduplicate=0.99999)
    assert [hit.meta["n"] for hit in found] == [0, 700, 701, 702, 703] and found[0].folded == 699
    many = collection.search_batch(vector=np.stack([at(0), at(59)]), k=5, deduplicate=0.99999)
    assert many[0].ids == found.ids and [hit.folded for hit in many[1]] == [0] * 5
    assert collection.search(vector=at(0), k=60, deduplicate=0.99999).ids[-1] == "749"
    assert len(collection.search(vector=at(0), k=9, deduplicate=0.99999, where="n < 700")) == 1
    pages = [page.ids for page in collection.pages(vector=at(0), k=20, deduplicate=0.99999)]
    assert [len(page) for page in pages] == [20, 20, 11] and len({id for page in pages for id in page}) == 51


def test_leaders_are_those_of_a_naive_loop():
    rng = np.random.default_rng(3)
    data = unit(
        (rng.normal(size=(60, 3))[rng.integers(0, 60, 1300)] + rng.normal(size=(1300, 3)) * 0.05).astype(np.float32)
    )
    leader, near = leaders(data, 0.99)
    expected, heads = [], []
    for n, vector in enumerate(data):
        best = max(((float(vector @ data[head]), -place) for place, head in enumerate(heads)), default=(-2, 0))
        if best[0] >= 0.99 - 1e-6:
            expected.append(heads[-best[1]])
        else:
            heads.append(n)
            expected.append(n)
    same = leader == np.array(expected)
    ties = np.abs(near - np.einsum("nd,nd->n", data, data[np.array(expected)])) < 1e-5
    assert (same | ties).all() and (leader == np.arange(1300)).sum() == len(heads)
    few, _ = leaders(data, 0.99, most=5)
    assert (np.unique(few[few >= 0]) == np.array(heads[:5])).all()
    best = (data @ data[heads[:5]].T).max(axis=1)
    assert ((few >= 0) == (best >= 0.99 - 1e-6)).all()


# diversity


def naive(scores, data, k, d):
    """MMR in the words of its definition."""
    low, high = min(scores), max(scores)
    relevance = [(s - low) / (high - low) if high > low else 1.0 for s in scores]
    chosen = []
    while len(chosen) < min(k, len(scores)):
        rest = [n for n in range(len(scores)) if n not in chosen]
        value = {
            n: (1 - d) * relevance[n] - d * max((float(data[n] @ data[m]) for m in chosen), default=0.0) for n in rest
        }
        chosen.append(max(rest, key=lambda n: (value[n], -n)))
    return chosen


@given(st.integers(1, 30), st.integers(1, 12), st.floats(0, 1), st.integers(0, 10**6))
def test_the_order_is_that_of_the_definition(n, k, d, seed):
    rng = np.random.default_rng(seed)
    data = unit(rng.normal(size=(n, 4)).astype(np.float32))
    scores = np.sort(rng.normal(size=n))[::-1]
    assert mmr(scores, data, k, d).tolist() == naive(scores.tolist(), data, k, d)


def test_diverse_hits_come_from_more_candidates_than_are_shown(fan):
    assert fan.search(vector=at(0), k=3, diversity=0).ids == ("v0", "v1", "v2")
    found = fan.search(vector=at(0), k=3, diversity=0.7)
    vectors = np.stack([at(each) for each in DEGREES])
    assert found.ids == tuple(f"v{DEGREES[n]}" for n in naive((vectors @ at(0)).tolist(), vectors, 3, 0.7))
    assert found[0].id == "v0" and "v90" in found.ids
    assert found[0].score == pytest.approx(1) and "maximal marginal relevance" in str(found.plan)
    alone = fan.search(vector=at(0), k=3, diversity=0.7, offset=1)
    assert alone.ids == fan.search(vector=at(0), k=4, diversity=0.7).ids[1:]
    near = fan.search(vector=at(0), k=10, diversity=0.9, deduplicate=math.cos(math.radians(5)))
    assert set(near.ids) == {"v0", "v10", "v30", "v50", "v70", "v90"} and near[0].folded == 2
    pages = [id for page in fan.pages(vector=at(0), k=4, diversity=0.7) for id in page.ids]
    assert sorted(pages) == sorted(f"v{each}" for each in DEGREES)


def test_a_threshold_holds_before_hits_are_compared(fan):
    found = fan.search(vector=at(0), k=9, diversity=1, min_score=math.cos(math.radians(12)))
    assert set(found.ids) == {"v0", "v1", "v2", "v10", "v11"}


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"deduplicate": 0}, "deduplicate must be a cosine similarity above 0 and at most 1, such as 0.98, not 0"),
        ({"deduplicate": 1.01}, "not 1.01"),
        ({"deduplicate": True}, "not True"),
        ({"deduplicate": math.nan}, "not nan"),
        ({"deduplicate": "0.9"}, "not '0.9'"),
        ({"diversity": -0.1}, "diversity must be a share from 0 to 1, such as 0.3, not -0.1"),
        ({"diversity": 2}, "not 2"),
        ({"diversity": 0.3, "group_by": "shade"}, "diversity does not go together with group_by"),
        ({"deduplicate": 0.9, "group_by": "shade"}, "deduplicate does not go together with group_by"),
    ],
)
@pytest.mark.parametrize("method", ["search", "search_batch", "pages", "explain"])
def test_what_cannot_be_is_one_line_everywhere(fan, method, ask, says):
    vector = at(0)[None] if method == "search_batch" else at(0)
    with pytest.raises(BadSpec, match=says):
        list(getattr(fan, method)(vector=vector, **ask))


def test_words_alone_cannot_be_compared(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    rows = [{"id": f"t{n}", "text": f"a red dress {n}", "vector": at(n)} for n in range(3)]
    collection.add(rows, space="mine")
    for ask, name in (({"deduplicate": 0.9}, "deduplicate"), ({"diversity": 0.5}, "diversity")):
        with pytest.raises(BadSpec, match=f"{name} compares vectors, and this search ranks by words only"):
            collection.search(text="red", **ask)
    assert collection.search(text="red", order_by="text desc", k=2).ids == ("t1", "t0")
    with pytest.raises(NoRoute, match="ranks by words only, and has no vector to move"):
        collection.search(text="red", unlike="t1")


# unlike


class Colours:
    """Embeds texts by their words for colours, and pictures by their mean colour, in one space."""

    name, revision = "colours", "1"
    space = Space("colours", 3, "cosine", "1")
    other = Space("words", 2, "cosine", "1")
    keys = ("text", "image", "audio")

    def spaces(self, key):
        return (self.other,) if key == "audio" else (self.space,)

    def reader(self, key):
        return str

    def embed(self, key, batch, space):
        if key == "text":
            found = [[text.count(word) for word in ("red", "green", "blue")] for text in batch]
        else:
            found = [np.asarray(Image.open(path).convert("RGB"), np.float32).mean(axis=(0, 1)) for path in batch]
        data = np.asarray(found, np.float32)
        return data / np.maximum(np.linalg.norm(data, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def paint(tmp_path, monkeypatch):
    """Plain pictures of some colours, and a collection of them."""
    monkeypatch.setattr(given_encoder, "_GIVEN", {})
    for name, colour in {
        "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "violet": (255, 0, 255), "olive": (255, 255, 0),
    }.items():  # fmt: skip
        (tmp_path / "paint").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(tmp_path / "paint" / f"{name}.png")
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add(tmp_path / "paint", encoder=Colours(), workers=0)
    return collection, tmp_path / "paint"


def names(found):
    return [id.rpartition("/")[2].removesuffix(".png") for id in found.ids]


def test_a_text_moves_away_from_a_text_a_picture_and_an_item(paint):
    collection, folder = paint
    near = collection.search(text="red", k=3)
    assert names(near)[0] == "red" and set(names(near)[1:]) == {"violet", "olive"}
    for away in (
        {"unlike_text": "blue"},
        {"unlike_image": str(folder / "blue.png")},
        {"unlike": near.ids[0].replace("red", "blue")},
        {"unlike_text": ["blue", "blue"], "unlike_image": str(folder / "blue.png")},
    ):
        found = collection.search(text="red", k=3, **away)
        assert names(found) == ["red", "olive", "violet"] or names(found) == ["olive", "red", "violet"], away
        assert "moved away from the negative examples" in str(found.plan)


def test_the_query_vector_is_p_plus_w_times_p_less_n(paint):
    collection, folder = paint
    p, n = np.array([1, 0, 0]), (np.array([0, 0, 1]) + np.array([0, 1, 0]) + np.array([0, 1, 0])) / 3
    items = {"red": [1, 0, 0], "olive": [1, 1, 0], "violet": [1, 0, 1], "green": [0, 1, 0]}
    for weight in (0.5, 1.0, 2.0):
        found = collection.search(
            image=str(folder / "red.png"), unlike_text="blue", unlike_image=[str(folder / "green.png")] * 2,
            weights={"unlike": weight}, k=5,
        )  # fmt: skip
        moved = p + weight * (p - n)
        scores = dict(zip(names(found), (hit.score for hit in found), strict=True))
        for name, vector in items.items():
            unit_vector = np.array(vector) / np.linalg.norm(vector)
            cosine = moved @ unit_vector / np.linalg.norm(moved)
            assert scores[name] == pytest.approx(cosine, abs=1e-3) or scores[name] == pytest.approx(
                moved @ unit_vector, abs=1e-3
            )


def test_likes_vectors_and_batches_take_negative_texts(paint):
    collection, _ = paint
    red = next(id for id in collection.search(text="red").ids if "red" in id)
    assert names(collection.search(like=red, unlike_text="blue", k=2)) == ["olive", "violet"]
    assert names(collection.search(like=red, unlike_text="green", k=2)) == ["violet", "olive"]
    moved = collection.search(vector=[2.0, 0, 0], unlike_text="blue", k=3)
    assert names(moved)[-1] == "violet"
    queries = [Query({"text": "red"}, unlike_media={"text": each}) for each in ("blue", "green")]
    assert [names(each)[-1] for each in collection.search_batch([replace_k(q) for q in queries])] == ["violet", "olive"]


def replace_k(query):
    return Query(query.media, unlike_media=query.unlike_media, k=3)


def test_what_cannot_be_a_negative_example_is_one_line(paint):
    collection, _ = paint
    with pytest.raises(NoRoute, match="audio is embedded in words; missing arrow: audio -> colours"):
        collection.search(text="red", unlike_audio="a.wav")
    with pytest.raises(NoRoute, match="missing arrow: video -> colours"):
        collection.search(text="red", unlike_video="a.mp4")
    for ask, says in (
        ({"unlike_text": "blue"}, "needs something to find"),
        ({"text": "red", "unlike_text": " "}, "unlike_text is empty: give words"),
        ({"text": "red", "unlike_text": []}, "unlike_text is an empty list"),
        ({"text": "red", "unlike_text": 5}, "text must be a string"),
        ({"text": "red", "weights": {"unlike": 1}}, "there is a weight for 'unlike'"),
    ):
        with pytest.raises(BadSpec, match=says):
            collection.search(**ask)
    with pytest.raises(BadSpec, match="a mapping from text, image, audio, video to values"):
        Query({"text": "a"}, unlike_media={"pair": "b"})


def test_the_command_line_takes_all_of_it(fan, tmp_path):
    def run(*words):
        done = CliRunner().invoke(app, ["search", fan.uri, *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    ids = [
        hit["id"] for hit in json.loads(run("--vector", "1,0", "-k", "3", "--order-by", "price desc", "--json"))["hits"]
    ]
    assert ids == ["v0", "v2", "v1"]
    lines = run("--vector", "1,0", "-k", "3", "--deduplicate", "0.996").splitlines()
    assert [line.split("\t")[2] for line in lines] == ["v0", "v10", "v30"] and lines[0].endswith("\t+2")
    assert "v90" in run("--vector", "1,0", "-k", "3", "--diversity", "0.7")
    page = tmp_path / "page.html"
    run("--vector", "1,0", "-k", "3", "--deduplicate", "0.996", "--html", str(page))
    assert "2 near-duplicates folded" in page.read_text()
    with pytest.raises(BadSpec, match=r"--unlike-image: there is no file no\.png"):
        run("--vector", "1,0", "--unlike-image", "no.png")
