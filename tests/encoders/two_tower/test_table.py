"""Pairs from columns are those from single items and questions."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from quiver.encoders.two_tower.data import Fetch, gather
from quiver.encoders.two_tower.pairs import Ragged
from quiver.encoders.two_tower.table import gather_table
from quiver.engine.tasks import training_data
from quiver.errors import BadData
from quiver.item_table import ItemTable, TextQuestions
from quiver.task import Task
from quiver.types import Item


def task(rng, *, count=60, media=("text", "image")):
    """Return a catalogue with texts and pictures that occur several times, and holes."""
    columns = {"id": [f"p{n}" for n in range(count)]}
    for key in media:
        many = rng.integers(2, count)
        refs = [f"{key} {n}" for n in rng.integers(0, many, count)]
        columns[key] = [None if rng.random() < 0.2 else ref for ref in refs]
    columns["colour"] = [None if n % 3 else "red" for n in range(count)]
    items = ItemTable(pa.table(columns))
    return Task("made", "0", items, TextQuestions(items, "image"), ("Success@1",), "image", "all", "made")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("media", [("text", "image"), ("image", "text", "audio"), ("text", "image", "video", "audio")])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_from_columns_are_those_from_objects(own, media, seed):
    made = task(np.random.default_rng(seed), media=media)
    if (made.questions.wanted != 1).any():  # some ask for sounds: those are read one by one
        made = replace(made, items=ItemTable(made.items.table.filter(made.items.table["image"].is_valid())))
        made = replace(made, questions=TextQuestions(made.items, "image"))
    plain = replace(made, items=list(made.items), questions=list(made.questions))
    fast, slow = gather_table(made, own=own), gather(plain, own=own)
    assert fast is not None and fast.describe() == slow.describe() and fast.asked == slow.asked
    assert {key: list(refs) for key, refs in fast.things.refs.items()} == slow.things.refs
    assert list(fast.things.refs) == list(slow.things.refs)
    for name in ("kind", "row"):
        assert np.array_equal(getattr(fast.things, name), getattr(slow.things, name))
    assert np.array_equal(fast.ask, slow.ask) and np.array_equal(fast.searched, slow.searched)
    assert [each.tolist() for each in fast.answers] == [each.tolist() for each in slow.answers]
    assert (fast.known != slow.known).nnz == 0
    lost = {"image": np.array([0, 2]), "text": np.array([1])}
    one, other = fast.without(lost), slow.without(lost)
    assert np.array_equal(one.ask, other.ask) and one.asked == other.asked
    assert [each.tolist() for each in one.answers] == [each.tolist() for each in other.answers]
    columns = {key: lambda rows: {} for key in fast.things.refs}
    batches = [Fetch(pairs, columns)(np.arange(8), np.random.default_rng(3))["things"] for pairs in (one, other)]
    assert batches[0].tolist() == batches[1].tolist()


def test_items_are_made_when_they_are_asked_for():
    made = task(np.random.default_rng(0), media=("text", "image", "audio"))
    items = list(made.items)
    assert made.items == items and made.items[7] == items[7] == made.items[-53] and made.items[3:9:2] == items[3:9:2]
    assert isinstance(items[0], Item) and items[0].id == "p0" and items[0].meta == {"colour": "red"}
    assert items[1].meta == {} and set(items[1].media) <= {"text", "image", "audio"}
    with pytest.raises(IndexError):
        made.items[60]
    questions = list(made.questions)
    assert [made.questions[n] for n in range(len(questions))] == questions == made.questions[:]
    by_text = {}
    for item in items:
        if "text" in item.media and len(item.media) > 1:
            wanted = next(key for key in ("image", "audio") if key in item.media)
            by_text.setdefault((item.media["text"], wanted), []).append(item.id)
    told = {(each.query.media["text"], each.query.target): list(each.relevant) for each in questions}
    assert told == by_text and len(questions) == sum(map(len, by_text.values()))


def test_digest_sees_every_value_and_no_seam():
    table = pa.table({"id": ["a", "b", "c"], "text": ["x", None, "z"], "n": [1, 2, 3]})
    seamed = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    digests = {ItemTable(each).digest() for each in (table, seamed, table.slice(0).combine_chunks())}
    assert len(digests) == 1
    for column, value in (("id", ["a", "b", "d"]), ("text", ["x", "", "z"]), ("n", [1, 2, 4])):
        changed = table.set_column(table.column_names.index(column), column, [value])
        assert ItemTable(changed).digest() not in digests


def test_shared_numbers_of_rows():
    rows = [np.array([3, 4]), np.array([], np.int64), np.array([5])]
    of = Ragged.of(rows)
    shared = Ragged(of.start[[0, 0, 2]], of.stop[[0, 0, 2]], of.flat)
    assert [each.tolist() for each in shared] == [[3, 4], [3, 4], [5]] and shared.counts.tolist() == [2, 2, 1]
    assert [each.tolist() for each in shared.where(of.flat != 3)] == [[4], [4], [5]]
    row, number = shared.spread()
    assert row.tolist() == [0, 0, 1, 1, 2] and number.tolist() == [3, 4, 3, 4, 5]
    assert [each.tolist() for each in of[1:]] == [[], [5]]


def test_parts_of_tables_stay_what_they_were(tmp_path):
    """A group is hashed as Python writes it, so that items stay in their part from version to version."""
    for name in "abcdefghijkl":
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    rows = [f"{name}.jpg,caption {name},{n / 2 if n % 4 else ''}" for n, name in enumerate("abcdefghijkl")]
    (tmp_path / "shop.csv").write_text("image,text,group\n" + "\n".join(rows) + "\n")
    learn, held = training_data.lessons(str(tmp_path / "shop.csv"))
    parts = {item.media["text"][-1]: "learn" for item in learn.items}
    parts |= {item.media["text"][-1]: "held" for item in (held.items if held else ())}
    import hashlib

    for item in [*learn.items, *(held.items if held else ())]:
        digest = hashlib.sha256(str(item.meta.get("group", item.id)).encode()).digest()
        part = "held" if int.from_bytes(digest[:8], "big") % 10 == 0 else "learn"
        assert parts[item.media["text"][-1]] == part
    (tmp_path / "shop.csv").write_text("image,text,split\na.jpg,x,train\nb.jpg,y,TEST \nc.jpg,z,no\n")
    with pytest.raises(BadData, match=r"has split=no; it must be train, validation or test"):
        training_data.lessons(str(tmp_path / "shop.csv"))
