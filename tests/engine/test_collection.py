import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.errors import BadCollection, BadSpec, NoRoute, QuiverError
from quiver.task import Question
from quiver.types import Item, Query


@pytest.fixture
def shop(tmp_path, photos, prices):
    collection = quiver.open(tmp_path / "shop")
    collection.add(photos, meta=prices, workers=1)
    return collection


def ids(result):
    return [hit.id for hit in result]


def test_a_picture_finds_its_own_colour_and_never_itself(shop):
    found = shop.search(like="photos/red3.png", k=7)
    assert {hit.meta["colour"] for hit in found} == {"red"} and "photos/red3.png" not in ids(found)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_a_file_is_found_as_the_item_it_is(shop, photos):
    best = shop.search(image=photos / "blue2.png", k=1)[0]
    assert best.id == "photos/blue2.png" and best.score == pytest.approx(1.0, abs=1e-5)
    assert best.uri == str(photos / "blue2.png")
    assert best.trace["recall image -> classic/image (image)"] == {"rank": 1, "score": best.score}


def test_a_condition_is_exact(shop):
    found = shop.search(like="photos/red0.png", where="price >= 20 AND colour <> 'blue'", k=50)
    assert {hit.meta["price"] for hit in found} == {20, 21, 22, 23}


def test_a_condition_that_cannot_be_read_is_quoted_with_its_fault(shop):
    with pytest.raises(BadSpec, match=r"cannot filter by 'cost < 5': there is no column 'cost'"):
        shop.search(like="photos/red0.png", where="cost < 5")


def test_words_search_the_metadata_by_full_text_and_say_so(shop):
    found = shop.search(text="green", k=30)
    assert [hit.meta["colour"] for hit in found] == ["green"] * 8
    assert "full-text search" in found.plan.notes[0]


def test_a_query_without_a_route_names_the_missing_arrow(shop, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(NoRoute, match="missing arrow: audio -> classic/image"):
        shop.search(audio=tmp_path / "a.wav")


def test_explain_and_search_make_the_same_plan(shop):
    ask = {"like": "photos/red0.png", "where": "price < 5"}
    assert shop.explain(**ask) == shop.search(**ask).plan
    assert [each.label for each in shop.search(**ask).actual] == [
        "filter",
        "recall like -> classic/image (image)",
        "cut",
        "fetch",
    ]


def test_a_batch_gives_what_single_queries_give(shop, photos):
    queries = [quiver.Query({"image": str(path)}, k=4) for path in sorted(photos.iterdir())[::5]]
    queries.insert(2, quiver.Query(like=("photos/red1.png",), k=2))
    for query, result in zip(queries, shop.search_batch(queries), strict=True):
        single = shop.search(query)
        assert ids(result) == ids(single)
        assert [h.score for h in result] == pytest.approx([h.score for h in single], abs=1e-5)


def test_more_than_there_is_gives_all_there_is(shop):
    assert len(shop.search(like="photos/red0.png", k=1000)) == 23


def test_several_examples_are_averaged_and_left_out(shop):
    found = shop.search(like=["photos/red0.png", "photos/blue0.png"], k=22)
    assert len(found) == 22 and not {"photos/red0.png", "photos/blue0.png"} & set(ids(found))


def test_a_composed_query_is_fused_from_image_and_words(shop, photos):
    found = shop.search(image=photos / "red0.png", text="blue", k=24)
    assert "each is searched separately" in " ".join(found.plan.notes)
    assert set(found[0].trace) == {"recall image -> classic/image (image)", "words", "fuse"}


def test_deleted_items_are_gone_at_once_and_from_later_searches_only(shop):
    before = shop.versions()[-1]["version"]
    assert shop.delete(["photos/red1.png"]) == 1
    assert shop.delete(where="colour = 'blue'") == 8
    found = shop.search(like="photos/red0.png", k=50)
    assert len(found) == 14 and "photos/red1.png" not in ids(found)
    assert len(shop.checkout(before).search(like="photos/red0.png", k=50)) == 23


def test_a_checked_out_version_cannot_be_changed(shop):
    past = shop.checkout(shop.versions()[-1]["version"])
    with pytest.raises(QuiverError, match="is checked out"):
        past.delete(["photos/red1.png"])


def test_metadata_is_updated_in_place_and_found_by_words(shop):
    assert shop.update_meta({"photos/red1.png": {"name": "a vermilion curiosity", "rating": 4.5}}) == 1
    (item,) = shop.get(["photos/red1.png"])
    assert item.meta["name"] == "a vermilion curiosity" and item.meta["price"] == 17 and item.meta["rating"] == 4.5
    assert ids(shop.search(text="vermilion")) == ["photos/red1.png"]
    assert "photos/red1.png" not in ids(shop.search(text="thing number 17", k=1))
    assert shop.search(like="photos/red0.png", where="rating > 4", k=5)[0].id == "photos/red1.png"
    with pytest.raises(BadSpec, match="no item has the id 'nobody'"):
        shop.update_meta({"nobody": {"name": "x"}})


def test_get_keeps_the_order_asked_and_leaves_out_what_is_not_there(shop):
    assert [item.id for item in shop.get(["photos/red2.png", "nobody", "photos/blue1.png"])] == [
        "photos/red2.png",
        "photos/blue1.png",
    ]


def test_an_example_that_does_not_exist_is_named(shop):
    with pytest.raises(BadSpec, match='no item has the id "it\'s gone"'):
        shop.search(like="it's gone")


def test_items_can_be_made_in_python(tmp_path, photos):
    collection = quiver.open(tmp_path / "made")
    items = [
        Item("a", {"text": "ein rotes Kleid"}, {"n": 1}),
        Item("b", {"text": "ein blauer Schuh"}, {"n": 2}),
        Item("c", {"before": photos / "red0.png", "after": photos / "blue0.png"}, {"n": 3}),
    ]
    report = collection.add(*items, workers=1)
    assert (report.added, report.embedded) == (3, 3)
    assert ids(collection.search(text="Kleid rot", target="text", k=1)) == ["a"]
    pair = {"before": photos / "red1.png", "after": photos / "blue1.png"}
    assert ids(collection.search(**pair, k=1)) == ["c"]


def test_an_image_with_a_caption_is_one_item_with_two_vectors(tmp_path, photos):
    collection = quiver.open(tmp_path / "captioned")
    collection.add(Item("a", {"image": photos / "red0.png", "text": "a red square"}), workers=1)
    info = collection.info()
    assert sorted(column["key"] for column in info["columns"]) == ["image", "text"]
    assert info["items"] == 1 and info["media"] == {"text": 1, "image": 1}


def test_a_place_without_a_collection_says_how_to_make_one(tmp_path):
    with pytest.raises(BadCollection, match=r"quiver\.open\('.*/nothing'\)\.add\('photos'\) makes one"):
        quiver.open(tmp_path / "nothing").search(text="a")


def test_text_among_numbers_makes_the_column_text_and_says_so(shop):
    report = shop.add(Item("x", {"text": "x"}, {"price": "cheap"}), workers=0)
    assert any("column price stored whole numbers, but the new data has text" in note for note in report.notes)
    assert [item.meta["price"] for item in shop.get(["x", "photos/red3.png"])] == ["cheap", "19"]


def test_ready_made_vectors_are_searched_by_vector_and_by_id(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((50, 16)).astype(np.float32)
    np.save(tmp_path / "emb.npy", data)
    collection = quiver.open(tmp_path / "vectors")
    assert collection.add_vectors(tmp_path / "emb.npy", space="mine").added == 50
    again = collection.add_vectors(tmp_path / "emb.npy", space="mine")
    assert (again.added, again.updated, again.unchanged) == (0, 0, 50)
    unit = data / np.linalg.norm(data, axis=1, keepdims=True)
    expected = np.argsort(-(unit @ unit[7]))
    found = collection.search(vectors={"mine": data[7]}, k=5)
    order = [item.id for item in collection.get([hit.id for hit in found])]
    assert [int(id.rsplit("#", 1)[-1].rsplit("/", 1)[-1].split("_")[-1]) for id in order] == expected[:5].tolist()
    assert ids(collection.search(like=found[0].id, k=4)) == ids(found)[1:]


def test_an_index_is_used_when_asked_and_finds_what_came_after_it(shop, tmp_path, photos):
    shop.search(like="photos/red0.png")
    (built,) = shop.index("faiss factory=Flat")
    assert built["vectors"] == 24
    exact = shop.search(like="photos/red0.png", k=8)
    assert ids(shop.search(like="photos/red0.png", k=8, index="faiss")) == ids(exact)
    twin = tmp_path / "later" / "twin.png"
    twin.parent.mkdir()
    Image.open(photos / "red0.png").save(twin)
    shop.add(twin, workers=1)
    found = shop.search(like="photos/red0.png", k=8, index="faiss")
    assert found[0].id.endswith("twin.png")
    shop.delete([found[0].id, "photos/red2.png"])
    assert not {found[0].id, "photos/red2.png"} & set(ids(shop.search(like="photos/red0.png", k=30, index="faiss")))


def test_a_changed_encoder_is_noticed_before_vectors_of_two_models_meet(tmp_path, lab):
    code = (
        "import numpy as np\nfrom quiver.types import Space\nfrom quiver.media import TextReader\n"
        "class Made:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('made', 2, 'cosine', REVISION),) if key == 'text' else ()\n"
        "    def reader(self, key): return TextReader()\n"
        "    def embed(self, key, batch, space): return np.tile(np.float32([1, 0]), (len(batch), 1))\n"
        "def load(): return Made()\n"
    )
    (lab / "changing.py").write_text("REVISION = 'one'\n" + code)
    collection = quiver.open(tmp_path / "c")
    collection.add(Item("a", {"text": "a"}), encoder="lab.changing", workers=1)
    assert ids(collection.search(text="b", target="text")) == ["a"]
    from lab import changing

    from quiver.engine.core import encoder

    changing.REVISION = "two"
    encoder.load.cache_clear()
    with pytest.raises(QuiverError, match=r"the encoder 'lab\.changing' has changed"):
        collection.search(text="b", target="text")
    encoder.load.cache_clear()


def test_a_collection_may_live_at_a_uri(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "cache"))
    collection = quiver.open(f"file://{tmp_path}/far")
    collection.add(photos, workers=1)
    collection.index("faiss factory=Flat")
    found = quiver.open(f"file://{tmp_path}/far").search(like="photos/red0.png", k=3, index="faiss")
    assert len(found) == 3 and collection.info()["columns"][0]["indexes"] == ["exact", "faiss"]
    assert list((tmp_path / "cache").rglob("built.json")) and not (tmp_path / "far" / "cache").exists()


def test_examples_of_different_media_each_search_their_own_spaces(tmp_path, photos):
    collection = quiver.open(tmp_path / "mixed")
    texts = [Item(f"t{n}", {"text": f"sentence {n}"}) for n in range(3)]
    collection.add(photos, *texts, workers=1)
    by_image, by_text = collection.search_batch([quiver.Query(like=("photos/red0.png",)), quiver.Query(like=("t0",))])
    assert all(hit.id.startswith("photos/") for hit in by_image)
    assert sorted(ids(by_text)) == ["t1", "t2"]


def test_a_query_crosses_a_bridge_to_where_the_items_are(tmp_path, photos, lab):
    (lab / "bridged.py").write_text(
        "import numpy as np\nfrom dataclasses import dataclass\nfrom quiver.types import Space\n"
        "from quiver.media import ImageReader, TextReader\n"
        "FINE, COARSE = Space('fine', 3, 'cosine', '0'), Space('coarse', 3, 'cosine', '0')\n"
        "WORDS = {'red': [0, 1, 0], 'green': [0, 0, 1], 'blue': [1, 0, 0]}\n"
        "@dataclass\nclass Turn:\n    source: Space\n    target: Space\n"
        "    def map(self, vectors): return np.roll(vectors, -1, axis=1)\n"
        "class Made:\n    keys = ('text', 'image')\n    bridges = (Turn(FINE, COARSE),)\n"
        "    def spaces(self, key): return {'text': (FINE,), 'image': (COARSE,)}.get(key, ())\n"
        "    def reader(self, key): return TextReader() if key == 'text' else ImageReader()\n"
        "    def embed(self, key, batch, space):\n"
        "        if key == 'text': return np.float32([WORDS[text] for text in batch])\n"
        "        data = np.float32([picture.mean(axis=(0, 1)) - 80 for picture in batch])\n"
        "        return data / np.linalg.norm(data, axis=1, keepdims=True)\n"
        "def load(): return Made()\n"
    )
    collection = quiver.open(tmp_path / "c")
    collection.add(photos, encoder="lab.bridged", workers=1)
    assert str(collection.explain(text="red").stages[1].route) == "text -> fine -> coarse (image)"
    for colour in ("red", "green", "blue"):
        assert all(id.startswith(f"photos/{colour}") for id in ids(collection.search(text=colour, k=8)))


def test_examples_are_left_out_of_every_list_of_a_composed_query(shop):
    found = shop.search(like="photos/red0.png", text="red", k=24)
    assert "fuse" in found[0].trace and "photos/red0.png" not in ids(found)


def test_a_column_that_cannot_be_indexed_does_not_keep_the_others_from_it(tmp_path):
    rng = np.random.default_rng(0)
    collection = quiver.open(tmp_path / "c")
    for space, count in (("many", 400), ("few", 10)):
        np.save(tmp_path / f"{space}.npy", rng.standard_normal((count, 8)).astype(np.float32))
        collection.add_vectors(tmp_path / f"{space}.npy", space=space)
    with pytest.raises(BadSpec, match=r"1 of 2 columns are done; faiss 'IVF16,Flat'"):
        collection.index("faiss factory=IVF16,Flat")
    indexes = {column["space"]: column["indexes"] for column in collection.info()["columns"]}
    assert indexes == {"many": ["exact", "faiss"], "few": ["exact"]}


@pytest.fixture
def digits(tmp_path):
    collection = quiver.open(tmp_path / "digits", catch_up=False)
    collection.add_vectors(np.eye(4), space="made", ids=["1", "2", "12", "3"], progress=False)
    return collection


def test_one_string_is_one_id_and_not_its_letters(digits):
    assert [item.id for item in digits.get("12")] == ["12"]
    assert digits.delete("12") == 1
    assert [item.id for item in digits.get(["1", "2", "12", "3"])] == ["1", "2", "3"]


def test_one_string_is_one_name_wherever_several_are_taken(digits):
    assert Query(like="12").like == ("12",) and Query(like=iter(["1", "2"])).like == ("1", "2")
    assert Query(like="1", unlike="23").unlike == ("23",)
    assert Query(like="1", spaces="made").spaces == ("made",)
    assert digits.search(like="12", spaces="made").ids == ("1", "2", "3")
    assert digits.index("faiss factory=Flat", spaces="made")[0]["vectors"] == 4
    assert len(digits.check(spaces="made")) <= 1
    assert Question("q", Query(like="1"), {"2": 1}, exclude="12", candidates="23").exclude == ("12",)


@pytest.mark.parametrize("ids", [12, [1, 2], [None], ["1", b"2"], b"12", None, [["1"]], {1: 2}])
def test_an_id_that_is_no_string_is_one_clear_line(digits, ids):
    for call in (digits.delete, digits.get, lambda ids: Query(like=ids)):
        with pytest.raises(BadSpec, match=r"^[^\n]+$"):
            call(ids)
    assert len(digits) == 4


def test_no_ids_delete_nothing(digits):
    assert digits.delete([]) == 0 and digits.delete(iter(())) == 0 and digits.get(()) == []
    for more in ({}, {"ids": ["1"], "where": "id = '2'"}, {"ids": [], "where": "id = '2'"}):
        with pytest.raises(BadSpec, match="either ids or a condition"):
            digits.delete(**more)
    assert len(digits) == 4


ODD = ["a'b", "''", "new\nline", "nul\0x", "ü😀", " ", "\\", '"', "`", "--", "; drop", "%_", "\u2028", "x' OR '1'='1"]


def test_ids_are_never_read_as_sql(tmp_path):
    collection = quiver.open(tmp_path / "odd", catch_up=False)
    collection.add_vectors(np.eye(len(ODD)), space="made", ids=ODD, progress=False)
    assert [item.id for item in collection.get(ODD)] == ODD
    assert [collection.search(like=id, k=1).plan is not None for id in ODD] == [True] * len(ODD)
    for left, id in enumerate(ODD, 1 - len(ODD)):
        assert collection.delete(id) == 1 and len(collection) == -left
    with pytest.raises(BadSpec, match="half a character"):
        collection.get("\ud83d")


def test_items_are_counted_by_a_condition(shop):
    assert shop.count() == len(shop) == 24 and shop.count("price < 4") == 4
    assert shop.count("price < :most AND colour IN :colours", {"most": 10, "colours": ["blue", "green"]}) == 10
    with pytest.raises(BadSpec, match="needs where"):
        shop.count(params={"most": 3})


def test_parameters_reach_every_search(shop):
    ask = {"like": "photos/red0.png", "where": "price >= ? AND colour <> ?", "params": [20, "blue"], "k": 50}
    found = shop.search(**ask)
    assert {hit.meta["price"] for hit in found} == {20, 21, 22, 23}
    assert "price >= ? AND colour <> ? (0=20, 1='blue')" in str(shop.explain(**ask))
    paged = [id for page in shop.pages(**{**ask, "k": 2}) for id in page.ids]
    assert sorted(paged) == sorted(found.ids)
    words = shop.search(text="thing", where="price IN :prices", params={"prices": [3, 9.0, 9.5]}, k=50)
    assert {hit.meta["price"] for hit in words} == {3, 9}
    other = shop.search(**{**ask, "params": [22, "blue"]})
    assert {hit.meta["price"] for hit in other} == {22, 23}
    with pytest.raises(BadSpec, match="needs where"):
        Query(like="a", params=[1])
    with pytest.raises(BadSpec, match="as a string"):
        Query(like="a", where=5)


def test_a_condition_may_use_other_words_after_a_column_came(shop):
    with pytest.raises(BadSpec, match="no column 'rating'"):
        shop.count("rating > 4")
    shop.update_meta({"photos/red0.png": {"rating": 4.5}})
    assert shop.count("rating > 4") == 1


def test_a_delete_takes_exactly_what_was_expected_or_nothing(shop):
    for expect in (7, 9, 0):
        with pytest.raises(BadSpec, match=rf"^8 items match, and {expect} were expected: nothing is deleted$"):
            shop.delete(where="colour = 'blue'", expect=expect)
    with pytest.raises(BadSpec, match="1 items match, and 2"):
        shop.delete(["photos/red0.png", "gone"], expect=2, missing_ok=True)
    assert len(shop) == 24
    assert shop.delete(where="colour = ?", params=["blue"], expect=8) == 8
    version = shop.info()["version"]
    assert shop.delete(where="colour = 'blue'") == 0 and shop.info()["version"] == version


@pytest.mark.parametrize("where", ["true", "1 = 1", "'a' = 'a' OR NULL", "NOT false", "1 + 1 = 2"])
def test_a_delete_by_a_condition_without_a_column_is_refused(shop, where):
    assert shop.count(where) == 24
    with pytest.raises(BadSpec, match="names no column"):
        shop.delete(where=where)
    assert len(shop) == 24 and shop.delete(where="id IS NOT NULL") == 24


def test_what_cannot_be_computed_is_one_line(shop):
    shop.update_meta({"photos/red0.png": {"price": 2**62}})
    with pytest.raises(BadSpec, match=r"^the condition cannot be computed: [^\n]+$"):
        shop.count("price * price * price > 0")
    assert len(shop) == 24
