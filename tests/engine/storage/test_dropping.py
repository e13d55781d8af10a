"""An encoder is dropped whole and in one commit; all else stays."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadSpec
from quiver.types import Item

#: Embeds a number as itself and, more coarsely, as its tens; its scorer likes large numbers.
MODEL = """
import numpy as np
from quiver.media import TextReader
from quiver.types import Space

FINE, COARSE = Space("NAME/fine", 2, "l2", "REVISION"), Space("NAME/coarse", 2, "l2", "REVISION")


class Judge:
    name, holds, finds, reads, recalls, exact = "judge", ("text",), "text", (FINE,), {}, False

    def hold(self, asked):
        return {"x": np.zeros((len(asked), 1), np.float32)}

    def terms(self, held, columns):
        return {"size": columns[FINE][None, :, 0] + held["x"]}

    def score(self, held, columns):
        return self.terms(held, columns)["size"]


class Model:
    keys, scorers = ("text",), (Judge(),)

    def spaces(self, key):
        return (FINE, COARSE) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        scale = 1 if space == FINE else 10
        return np.float32([[float(text) // scale, 1] for text in batch])


def load():
    return Model()
"""


@pytest.fixture
def shop(lab, tmp_path):
    for module, name, revision in (("one", "same", "1111aaaa22"), ("two", "same", "3333bbbb44")):
        (lab / f"judges_{module}.py").write_text(MODEL.replace("NAME", name).replace("REVISION", revision))
    made = quiver.open(tmp_path / "shop")
    items = [Item(f"i{n}", {"text": str(n)}, {"price": n}) for n in range(50)]
    made.add(*items, encoder="lab.judges_one", workers=0)
    made.add(encoder="lab.judges_two", workers=0)
    made.add_vectors(np.eye(50), space="mine", ids=[f"i{n}" for n in range(50)], key="image")
    return made


def contents(shop):
    """Everything that is stored, apart from vectors of text."""
    items = [asdict(item) for item in shop.get([f"i{n}" for n in range(50)])]
    return items, shop.search(like="i3", spaces="mine", k=5).ids, shop.info()["meta"]


def test_an_encoder_goes_with_its_columns_indexes_and_scorers_in_one_commit(shop):
    shop.index("faiss factory=Flat", spaces=["same/fine@1111aaaa"])
    shop.index("lance kind=IVF_FLAT partitions=2", spaces=["same/coarse@1111aaaa"])
    shop.index("faiss factory=Flat", spaces=["same/fine@3333bbbb"])
    before, version = contents(shop), shop.info()["version"]
    folders = {path.name for path in (Path(shop.uri) / "cache").iterdir()}
    planned = shop.drop("lab.judges_one", dry_run=True)
    assert shop.info()["version"] == version and len(shop.info()["columns"]) == 5
    dropped = shop.drop("lab.judges_one")
    assert dropped == planned and dropped.encoder == "lab.judges_one"
    assert str(dropped).splitlines() == [
        "encoder lab.judges_one",
        "50 text vectors in same/fine, faiss index",
        "50 text vectors in same/coarse, lance index",
        "scorer judge (text -> text)",
        "searches for text use same/fine",
    ]
    info = shop.info()
    assert info["version"] == version + 1
    left = [(column["space"], column["revision"], column["default"], column["indexes"]) for column in info["columns"]]
    assert left == [
        ("same/fine", "3333bbbb44", True, ["exact", "faiss"]),
        ("same/coarse", "3333bbbb44", False, ["exact"]),
        ("mine", "given", True, ["exact"]),
    ]
    assert list(info["encoders"]) == ["lab.judges_two"] and contents(shop) == before
    gone = folders - {path.name for path in (Path(shop.uri) / "cache").iterdir()}
    assert gone == {"vec_text_same_fine_1111aaaa"}
    assert shop.search(text="7", k=1).ids == ("i7",)
    again = quiver.open(shop.uri)
    assert again.search(text="7", k=1, scorer="none").ids == ("i7",) and again.info() == info
    past = shop.checkout(version)
    assert len(past.info()["columns"]) == 5 and past.search(text="7", k=1, scorer="none").ids == ("i7",)


def test_what_was_dropped_comes_back_only_if_it_is_added_again(shop):
    shop.drop("lab.judges_two")
    shop.add(Item("new", {"text": "99"}), workers=0)
    assert list(shop.info()["encoders"]) == ["lab.judges_one"]
    assert shop.search(text="99", k=1, scorer="none").ids == ("new",)
    report = shop.add(encoder="lab.judges_two", workers=0)
    assert report.changed and list(shop.info()["encoders"]) == ["lab.judges_one", "lab.judges_two"]
    assert shop.search(text="99", k=1, spaces="same/fine@3333bbbb", scorer="none").ids == ("new",)


def test_a_chosen_default_that_is_dropped_moves_to_the_first_encoder_that_is_left(shop):
    shop.default("text", "same/fine@3333bbbb")
    assert shop.drop("lab.judges_two").defaults == {"text": "same/fine"}
    assert [column["default"] for column in shop.info()["columns"]] == [True, False, True]
    assert shop.drop("lab.judges_one").defaults == {"text": None}
    assert [column["space"] for column in shop.info()["columns"]] == ["mine"]


def test_ready_made_vectors_are_dropped_by_the_name_of_their_space(shop):
    dropped = shop.drop("mine")
    assert dropped.encoder is None and [column.vectors for column in dropped.columns] == [50]
    assert len(shop) == 50 and len(shop.info()["columns"]) == 4


def test_a_column_that_another_encoder_writes_too_stays(lab, shop):
    (lab / "twin.py").write_text((lab / "judges_one.py").read_text())
    shop.add(encoder="lab.twin", workers=0)
    dropped = shop.drop("lab.twin")
    assert dropped.columns == () and dropped.shared == ("text in same/fine", "text in same/coarse")
    assert len(shop.info()["columns"]) == 5 and "lab.twin" not in shop.info()["encoders"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "same/fine",
            "2 spaces here are called 'same/fine': name one with its revision: same/fine@1111aaaa, same/fine@33",
        ),
        (
            "other",
            "there is no encoder or space 'other' here; there are: lab.judges_one, lab.judges_two, mine, same/coarse, ",
        ),
        (7, "drop takes the spec of an encoder or the name of a space, not 7"),
    ],
)
def test_a_name_that_is_unknown_or_shared_drops_nothing(shop, name, problem):
    version = shop.info()["version"]
    with pytest.raises(BadSpec, match=problem):
        shop.drop(name)
    assert shop.info()["version"] == version


def test_the_command_line_shows_what_it_would_drop_and_asks(shop):
    run = CliRunner()
    shown = run.invoke(app, ["drop", shop.uri, "lab.judges_two", "--dry-run"], catch_exceptions=False)
    assert shown.stdout.startswith("encoder lab.judges_two\n50 text vectors in same/fine\n")
    with pytest.raises(
        BadSpec, match=r"this would drop encoder lab.judges_two; 50 text vectors in same/fine; .* add --yes"
    ):
        run.invoke(app, ["drop", shop.uri, "lab.judges_two"], catch_exceptions=False)
    assert len(shop.info()["columns"]) == 5
    done = run.invoke(app, ["drop", shop.uri, "same/coarse@3333bbbb", "--yes", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["encoder"] == "lab.judges_two" and len(shop.info()["columns"]) == 3


#: Drops an encoder in a process that is killed before or after the commit.
KILLED = """
import os, signal, sys
import lance, quiver

commit = lance.LanceDataset.commit

def killing(*args, **options):
    if sys.argv[2] == "after":
        commit(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

lance.LanceDataset.commit = killing
quiver.open(sys.argv[1], catch_up=False).drop("lab.judges_one")
"""


@pytest.mark.parametrize(("moment", "columns"), [("before", 5), ("after", 3)])
def test_killed_at_its_commit_a_drop_is_whole_or_has_not_happened(shop, moment, columns):
    before = contents(shop)
    done = subprocess.run([sys.executable, "-c", KILLED, shop.uri, moment], check=False)
    assert done.returncode == -signal.SIGKILL
    again = quiver.open(shop.uri)
    info = again.info()
    assert len(info["columns"]) == columns and len(info["encoders"]) == (columns - 1) // 2
    assert contents(again) == before
    again.drop("lab.judges_two")
    assert len(again.info()["columns"]) == columns - 2


def test_scorers_of_one_name_are_told_apart(shop):
    with pytest.raises(BadSpec, match="2 scorers here are called 'judge': name one by judge@1111aaaa, judge@3333bbbb"):
        shop.search(text="7", scorer="judge")
    for name, encoder in (("judge@3333bbbb", "lab.judges_two"), ("lab.judges_one", "lab.judges_one")):
        found = shop.search(text="7", k=1, scorer=name)
        assert found.ids == ("i49",) and found.plan.stages[0].composition.encoder == encoder
    unnamed = shop.explain(text="7", target="text")
    assert "scorer judge (text -> text) of lab.judges_two" in [each.what for each in unnamed.refused]


def test_a_column_of_lists_stands_in_the_way_of_no_drop(tmp_path):
    shop = quiver.open(tmp_path / "lists", catch_up=False)
    tags = {"tags": [["a", "b"], [], ["c"]], "deep": [[[1], [2]], [[3]], []]}
    shop.add(vectors=np.eye(3), ids=["x", "y", "z"], space="one", meta=tags)
    shop.add(vectors=np.eye(3)[::-1], ids=["x", "y", "z"], space="two", meta={"late": [[1], [2], [3]]})
    before = [item.meta for item in shop.get(["x", "y", "z"])]
    shop.drop("one")
    again = quiver.open(tmp_path / "lists", catch_up=False)
    assert [item.meta for item in again.get(["x", "y", "z"])] == before and before[0]["tags"] == ["a", "b"]
    assert again.search(vectors={"two": [0, 0, 1]}, k=1).ids == ("x",)
    with pytest.raises(BadSpec, match="no encoder or space 'one'"):
        again.drop("one")
