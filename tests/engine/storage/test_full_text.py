import lance
import pytest

import quiver
from quiver.engine.storage import full_text
from quiver.engine.storage.dataset import Table
from quiver.types import Item, Query

TEXTS = {
    "zh": "我喜欢红色的裙子和蓝色的鞋",
    "ja": "赤いドレスを着た女性",
    "th": "ชุดสีแดงสวยมาก",
    "en": "a long red dress, worn while running",
    "de": "Ein blaues Kleid für Mädchen",
    "ru": "красное платье",
    "link": "Sunset over Paris, photo by https://example.org/@someone?a=zebra",
    "glued": "看这里https://example.org/zebra我喜欢大象",
    "bare": "https://example.org/zebra",
}


def fill(place):
    collection = quiver.open(place, catch_up=False)
    collection.add(*[Item(id, {"text": text}) for id, text in TEXTS.items()], encoder="classic", progress=False)
    return collection, Table(f"{place}/items.lance")


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("talk"))[1]


def found(table, words, **more):
    ids = dict(zip(table.rows().tolist(), table.read(["id"])["id"].to_pylist(), strict=True))
    return {ids[row] for row in full_text.search(table, words, 10, **more)["_rowid"].to_pylist()}


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("裙子", {"zh"}),
        ("红色", {"zh"}),
        ("ドレス", {"ja"}),
        ("สีแดง", {"th"}),
        ("Dress", {"en"}),
        ("run", {"en"}),
        ("madchen", {"de"}),
        ("платье", {"ru"}),
        ("sunset", {"link"}),
        ("大象", {"glued"}),
        ("zebra", set()),
    ],
)
def test_a_word_of_any_script_finds_its_text_and_a_link_is_no_word(talk, words, right):
    assert found(talk, words) == right


@pytest.mark.parametrize(
    "words",
    [
        '"red dress"', '"red', 'red"', "red AND (dress", "(red OR", "NOT red", "red*", "words:red", "+red -blue",
        "red~2", "red^3", "[red TO", "red\\", "red\x00dress", "red 😀", "red \ud83d", "'red'", "red\n\tdress", "{red:",
    ],
)  # fmt: skip
def test_words_have_no_query_language(talk, words):
    assert "en" in found(talk, words)


@pytest.mark.parametrize("words", ["", "   ", '"', "!!!", "😀", "\ud83d", "the", "a" * 200_000, "*", "()"])
def test_a_text_without_a_known_word_finds_nothing(talk, words):
    assert found(talk, words) == set()


def test_a_very_long_text_is_searched_by_its_beginning(talk):
    assert found(talk, "dress " * 100_000) == {"en"}


def test_rows_newer_than_the_index_are_found_in_every_script(tmp_path):
    _, table = fill(tmp_path)
    new = table.read(["id", "words"]).slice(0, 1).select(["words"]).append_column("id", [["new"]])
    table.commit(lambda dataset: dataset.merge_insert("id").when_not_matched_insert_all().execute(new))
    assert found(table, TEXTS["zh"][-1:]) == {"zh", "new"} and found(table, "裙子") == {"zh", "new"}


def test_an_index_of_an_earlier_version_is_replaced_and_the_words_of_links_come_back(tmp_path):
    collection, table = fill(tmp_path)
    lost = table.read(["id"]).select(["id"]).slice(6, 1).append_column("words", [[""]])
    table.commit(lambda _: table.merge(lost, insert=False))
    table.commit(lambda dataset: dataset.create_scalar_index("words", "INVERTED", replace=True))
    assert found(table, "裙子") == set() and found(table, "sunset") == set()
    note = "splits text at spaces only"
    assert any(note in each for each in collection.explain(text="a", hybrid=True).notes)
    report = collection.add(Item("more", {"text": "more"}), progress=False)
    assert any("full-text index was rebuilt" in each for each in report.notes)
    assert not any(note in each for each in collection.explain(text="a", hybrid=True).notes)
    table.refresh()
    assert found(table, "裙子") == {"zh"} and found(table, "sunset") == {"link"}
    again = lance.dataset(table.uri).version
    assert collection.add(Item("more", {"text": "more"}), progress=False).notes == []
    assert lance.dataset(table.uri).version - again < 5


def test_a_quoted_phrase_is_searched_by_the_collection(tmp_path):
    collection, _ = fill(tmp_path)
    hits = collection.search(Query({"text": '"red dress"'}, hybrid=True, weights={"text": 0, "words": 1}))
    assert hits.ids[0] == "en"
