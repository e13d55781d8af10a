"""The first commands of a newcomer: what is mistaken for something else is named, with a command that works."""

import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadCollection, BadSpec, CannotWrite, NoCollection, QuiverError


@pytest.fixture
def shop(tmp_path, photos, prices, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiver.open("shop", catch_up=False).add(photos, meta=prices, workers=0)
    return tmp_path / "shop"


def run(line):
    return CliRunner().invoke(app, shlex.split(line))


def refusal(line):
    done = run(line)
    assert isinstance(done.exception, QuiverError), done.output
    message = str(done.exception)
    assert "\n" not in message and not done.stdout
    return message


def advised(message):
    """Return the command that a message shows."""
    return message.split("`")[1].removeprefix("quiver ")


@pytest.mark.parametrize(
    "line",
    [
        "add photos",
        "add photos --encoder classic --meta prices.csv --key file",
        "add photos photos",
    ],
)
def test_a_forgotten_collection_is_answered_by_a_command_that_works(tmp_path, photos, prices, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    before = sorted(photos.iterdir())
    message = refusal(line)
    assert "not a collection" in message
    again = advised(message)
    assert again.partition(" --")[2] == line.partition(" --")[2]
    assert run(f"{again} --workers 0").exit_code == 0 and len(quiver.open(again.split()[1])) == 24
    assert sorted(photos.iterdir()) == before, "nothing is written among somebody's photos"


def test_a_collection_is_never_made_among_photos_nor_in_another_collection(shop, photos):
    for place in (photos, photos / "red0.png", shop / "data", shop / "items.lance"):
        for add in (
            lambda place: quiver.open(place).add(photos, workers=0),
            lambda place: quiver.open(place).add_vectors(np.eye(2), ids=["a", "b"], space="s", progress=False),
        ):
            with pytest.raises((BadCollection, CannotWrite)):
                add(place)
    assert len(list(photos.iterdir())) == 24 and not (shop / "data").exists()


@pytest.mark.parametrize(
    ("line", "works"),
    [
        ("add photos shop", "add shop photos"),
        ("get photos/red0.png shop", "get shop photos/red0.png"),
        ("delete photos/red0.png shop", "delete shop photos/red0.png"),
        ("index exact shop", "index shop exact"),
    ],
)
def test_swapped_arguments_are_put_in_order(shop, line, works):
    message = refusal(line)
    assert message == f"the collection comes first: `quiver {works}`" and len(quiver.open(shop)) == 24


@pytest.mark.parametrize(
    "command", ["search {} --id a", "info {}", "versions {}", "count {}", "delete {} a", "get {} a"]
)
def test_what_stands_where_a_collection_should_is_named(shop, command):
    assert "photos is a folder of files (24 images), not a collection" in refusal(command.format("photos"))
    assert "prices.csv is a file, not a collection" in refusal(command.format("prices.csv"))
    assert "did you mean shop?" in refusal(command.format("shpo"))
    assert "part of the collection" in refusal(command.format("shop/items.lance"))
    assert "collections there are shop;" in refusal(command.format("elsewhere"))


def test_python_gets_its_own_words(shop, photos):
    with pytest.raises(NoCollection, match=r"quiver\.open\('.*/photos-collection'\)\.add\('.*/photos'\) makes one"):
        quiver.open(photos).info()
    with pytest.raises(BadSpec, match=r"is a collection, not files to add: add to it, as in quiver\.open\("):
        quiver.open(shop.parent / "other").add(shop)
    with pytest.raises(BadSpec, match=r"delete\('a\.jpg'\)"):
        quiver.open(shop).delete()
    assert "`quiver delete COLLECTION a.jpg`" in refusal("delete shop")


def test_an_unknown_id_is_named_everywhere_and_nothing_happens(shop):
    opened = quiver.open(shop)
    version = opened.info()["version"]
    told = r"^no item has the id 'red0\.png'; did you mean 'photos/red0\.png'\?$"
    for call in (
        lambda: opened.delete("red0.png"),
        lambda: opened.delete(["photos/red1.png", "red0.png"]),
        lambda: opened.update_meta({"red0.png": {"price": 1}, "photos/red1.png": {"price": 1}}),
        lambda: opened.search(like="red0.png"),
        lambda: opened.search(like="photos/red1.png", unlike="red0.png"),
        lambda: opened.get("red0.png", missing_ok=False),
    ):
        with pytest.raises(BadSpec, match=told):
            call()
    for line in ("get shop red0.png", "delete shop red0.png photos/red1.png", "search shop --like red0.png"):
        assert refusal(line) == "no item has the id 'red0.png'; did you mean 'photos/red0.png'?"
    assert opened.info()["version"] == version
    many = refusal("delete shop x1 x2 x3 x4 x5")
    assert many.startswith("no item has the ids 'x1', 'x2', 'x3' and 2 more")
    assert opened.delete(["photos/red1.png", "red0.png"], missing_ok=True) == 1 and len(opened) == 23


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--id photos/red0.png --where 'price > 100'", "price > 100: 0 of 24 items match"),
        ("--id photos/red0.png --min-score 2", "every score is below --min-score 2"),
        ("--id photos/red0.png --offset 50", "--offset 50 skips all hits"),
        ("--text zebra", "no text or metadata contains these words"),
    ],
)
def test_a_search_without_hits_says_why(shop, options, why):
    done = run(f"search shop {options}")
    assert done.exit_code == 0 and done.stdout == ""
    assert f"note: no hits: {why}" in done.stderr.strip().splitlines()[-1]
    found = run(f"search shop {options} --json")
    assert json.loads(found.stdout)["hits"] == [] and len(found.stdout.splitlines()) == 1


def test_a_search_without_items_says_why(shop):
    quiver.open(shop).delete(where="id IS NOT NULL")
    done = run("search shop --image photos/red0.png")
    assert done.stdout == "" and "note: no hits: the collection has no items" in done.stderr


def test_tables_have_titles_in_a_pipe_and_every_reader_has_json(shop):
    assert run("versions shop").stdout.splitlines()[0] == "version\tat\titems"
    info = run("info shop").stdout.splitlines()
    assert info[0] == f"collection: {shop}" and info[2] == "items: 24 (24 image)"
    assert "embeds\tspace\tdim\tmetric\trevision\tindexes\tencoder\tdefault" in info
    built = run("index shop 'faiss factory=IVF4,Flat' --recall 0.9").stdout.splitlines()
    titles = "k\trows\tsettings\trecall\tms\texact ms"
    assert titles in built and titles in run("index shop --check").stdout.splitlines()
    assert titles in run("info shop").stdout.splitlines()
    assert run("quarantine shop").stdout == "id\tfile\tat\treason\n"
    assert run("count shop --where 'price < :most' --param most=5").stdout == "5\n"
    readers = ["info", "versions", "count", "quarantine", "get", "search", "index"]
    more = {"get": "photos/red0.png", "search": "--id photos/red0.png", "index": "--check"}
    for command in readers:
        json.loads(run(f"{command} shop {more.get(command, '')} --json").stdout)


def test_an_index_is_at_most_wholly_behind(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    rng = np.random.default_rng(0)

    def add(count, name):
        vectors = rng.standard_normal((count, 8))
        shop.add_vectors(vectors, ids=[f"{name}{n}" for n in range(count)], space="s", progress=False)
        (column,) = shop.info()["columns"]
        return column["behind"].get("faiss")

    add(100, "a")
    shop.index("faiss factory=Flat", recall=None)
    seen = [add(10, f"b{n}-") for n in range(3)]  # later ones rewrite the rows of earlier ones into one file
    assert seen[0] == {"tail": 10, "dead": 0, "share": 10 / 110}
    assert all(0 < each["share"] <= 1 and each["tail"] <= len(shop) for each in seen)
    lines = run(f"info {tmp_path / 'c'}").stdout
    assert f"behind: {seen[-1]['tail']} vectors are scanned beside it)" in lines
