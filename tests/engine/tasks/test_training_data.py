import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quiver.engine.tasks.training_data import advice, full_name, is_dataset, join, lessons, with_columns
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task, check
from quiver.types import Item, Query


def manifest(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def ids(task):
    return [item.id for item in task.items]


@pytest.fixture
def pictures(photos):
    """A manifest of 24 pictures, captioned by colour."""
    names = sorted(path.name for path in photos.iterdir())
    return photos / "list.csv", [{"image": name, "text": f"a {name[:-5]} thing"} for name in names]


def test_a_manifest_is_split_by_the_hash_of_its_ids_and_stays_so(photos, pictures):
    path, rows = pictures
    learn, validation = lessons([manifest(path, rows)])
    assert set(ids(learn)).isdisjoint(ids(validation)) and len(learn.items) + len(validation.items) == 24
    assert f"a hash of the id ({len(learn.items)} train, {len(validation.items)} validation)" in learn.protocol
    fewer, _ = lessons([manifest(path, rows[:12])])
    assert ids(fewer) == [id for id in ids(learn) if id in {f"photos/{row['image']}" for row in rows[:12]}]


def test_about_one_in_ten_validates(tmp_path):
    path = manifest(tmp_path / "t.csv", [{"id": n, "text": f"number {n}"} for n in range(3000)])
    learn, validation = lessons([path])
    assert 250 < len(validation.items) < 350
    assert learn.target == "text" and not learn.questions


def test_a_group_stays_on_one_side(tmp_path):
    path = manifest(tmp_path / "t.csv", [{"id": n, "text": f"t{n}", "group": n // 10} for n in range(600)])
    learn, validation = lessons([path])
    groups = [{item.meta["group"] for item in task.items} for task in (learn, validation)]
    assert groups[0].isdisjoint(groups[1]) and len(groups[0] | groups[1]) == 60
    assert "a hash of column group" in learn.protocol


def test_a_column_split_is_honoured_and_test_rows_are_left_out(tmp_path):
    said = ["train", "val", "Test", "training", "validation", "train"]
    path = manifest(tmp_path / "t.csv", [{"id": n, "text": f"t{n}", "split": each} for n, each in enumerate(said)])
    learn, validation = lessons([path])
    assert ids(learn) == ["0", "3", "5"] and ids(validation) == ["1", "4"]
    assert "column split (3 train, 2 validation, 1 test)" in learn.protocol


@pytest.mark.parametrize(
    ("said", "says"),
    [(["train", "later"], "item 1 has split=later"), (["test", "val"], "none of its 2 items is in the train split")],
)
def test_a_split_that_cannot_be_made_is_refused(tmp_path, said, says):
    path = manifest(tmp_path / "t.csv", [{"id": n, "text": f"t{n}", "split": each} for n, each in enumerate(said)])
    with pytest.raises(BadData, match=says):
        lessons([path])


def test_without_validation_rows_there_is_no_validation_and_it_is_said(tmp_path):
    path = manifest(tmp_path / "t.csv", [{"id": "a", "text": "x", "split": "train"}])
    learn, validation = lessons([path])
    assert validation is None and "no validation part: the last state is kept" in learn.notes


def test_text_asks_for_its_item_and_for_those_of_equal_text(pictures):
    path, rows = pictures
    learn, validation = lessons([manifest(path, rows)])
    assert check(learn) is learn and check(validation) is validation
    assert learn.target == "image" and len(learn.questions) == len(learn.items)
    (question,) = (each for each in learn.questions if each.id == "photos/blue0.png")
    assert question.query == Query(media={"text": "a blue thing"}, target="image")
    assert set(question.relevant) == {id for id in ids(learn) if "blue" in id}


def test_a_folder_gives_items_without_questions_and_files_left_out_are_told(photos, pictures):
    learn, validation = lessons([str(photos)])
    assert len(learn.items) + len(validation.items) == 24 and not learn.questions and learn.target == "image"
    path, rows = pictures
    learn, _ = lessons([manifest(path, [*rows, {"image": "", "text": ""}])])
    assert any("1 left out, such as photos/list.csv#24: it has no media" in note for note in learn.notes)


PAIR = {"before": "a.png", "after": "b.png", "text": "the ball is gone", "split": "train"}


def test_the_distractor_of_a_pair_is_found_from_its_table_as_the_pair_is(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
        rows = [{**PAIR, "distractor": "views/a.png"}, {**PAIR, "before": "c.png", "distractor": ""}]
        rows.append({**PAIR, "before": "d.png", "distractor": str(tmp_path / "far.png")})
        rows.append({**PAIR, "before": "e.png", "distractor": "https://host/e.png"})
        manifest(tmp_path / name / "pairs.csv", rows)
    for spec, folders in (("one/pairs.csv", ["one"]), ("*/pairs.csv", ["one", "two"])):
        learn, _ = lessons([str(tmp_path / spec)])
        found = [item.meta.get("distractor") or "" for item in learn.items]
        rest = ["", str(tmp_path / "far.png"), "https://host/e.png"]
        assert found == [each for name in folders for each in (str(tmp_path / name / "views/a.png"), *rest)]
        assert learn.items[0].media["before"] == str(tmp_path / "one/a.png")


def test_the_distractor_in_a_parquet_of_large_strings_is_found_too(tmp_path):
    (tmp_path / "a.png").touch()
    rows = {**PAIR, "distractor": "views/a.png"}
    table = pa.table({name: pa.array([each], pa.large_string()) for name, each in rows.items()})
    pq.write_table(table, tmp_path / "pairs.parquet")
    learn, _ = lessons([str(tmp_path / "pairs.parquet")])
    assert learn.items[0].meta["distractor"] == str(tmp_path / "views/a.png")


def test_a_column_distractor_of_other_things_than_pairs_stays_as_it_is(tmp_path):
    path = manifest(tmp_path / "t.csv", [{"id": "a", "text": "x", "distractor": "y.png", "split": "train"}])
    learn, _ = lessons([path])
    assert learn.items[0].meta["distractor"] == "y.png"


def test_options_say_which_columns_are_meant(photos):
    path = manifest(photos / "list.csv", [{"image": "red0.png", "title": "red", "split": "train"}])
    learn, _ = lessons([f"{path} media=image,text=title"])
    assert dict(learn.items[0].media) == {"text": "red", "image": str(photos / "red0.png")}
    short, _ = lessons([f"{path} text=title"])
    assert dict(short.items[0].media) == dict(learn.items[0].media)
    says = r"list\.csv' has no option 'medium': did you mean media\? it takes meta, key, media, .*, as in --data \"list"
    with pytest.raises(BadSpec, match=says):
        lessons([f"{path} medium=image"])


def test_columns_given_beside_the_data_are_those_of_every_file(photos):
    rows = [{"the photo": "red0.png", "a, b name's": "red", "split": "train"}]
    path = manifest(photos / "list.csv", rows)
    specs = with_columns([path], {"text": "a, b name's", "image": "the photo", "meta": None})
    learn, _ = lessons(specs)
    assert dict(learn.items[0].media) == {"text": "red", "image": str(photos / "red0.png")}
    assert lessons([full_name(specs[0])])[0].revision == learn.revision  # which is what a run remembers
    own = with_columns([f"{path} text=split"], {"text": "a, b name's", "image": "the photo"})
    assert lessons(own)[0].items[0].media["text"] == "train"  # the spec's own word comes first
    with pytest.raises(
        BadSpec, match="--text applies to your own tables only, and esc50 is a data set: leave the option out"
    ):
        with_columns(["esc50"], {"text": "name", "image": None})


def test_a_column_of_nearly_that_name_is_offered_for_edits(photos):
    names = sorted(path.name for path in photos.iterdir())
    rows = [{"image": name, "base_colour": name[:-5], "gender": "all"} for name in names]
    path = manifest(photos / "list.csv", rows)
    for said in ("colour", "base_color", "Base_Colour"):
        with pytest.raises(BadSpec, match=f"no picture has a value of '{said}': did you mean base_colour"):
            lessons([f"{path} edits={said}"])
    with pytest.raises(BadSpec, match="'xyz': its columns are base_colour, gender"):
        lessons([f"{path} edits=xyz"])


def test_advice_is_a_command_for_the_columns_that_are_there(photos):
    names = sorted(path.name for path in photos.iterdir())
    rows = [
        {"image": n, "sku": f"x{i}", "product_name": f"a {n[:-5]} thing", "tone": n[:-5]} for i, n in enumerate(names)
    ]
    path = manifest(photos / "list.csv", rows)
    learn, _ = lessons([path])
    said = advice(learn, [path], model="two_tower", edits=False, more=["dim=8", "--out", "my runs"])
    assert said == f"Try: quiver train two_tower --data {path} --text product_name dim=8 --out 'my runs'"
    said = advice(learn, [path], model="artemis", edits=True)
    assert said == f"Try: quiver train artemis --data '{path} edits=product_name,tone'"
    learn, _ = lessons([str(photos)])
    assert "give a table with --meta TABLE --text COLUMN" in advice(learn, [str(photos)], model="x", edits=False)
    asked, _ = lessons([f"{path} text=product_name"])
    assert advice(asked, [path], model="x", edits=False) == ""


def task(name, media, questions=()):
    items = [Item(id, {"text": text}, {"from": name}) for id, text in media.items()]
    return Task(name, "0", items, list(questions), ("Success@1",), "text", f"{name}'s rule", f"{name}'s source")


def test_joining_keeps_a_shared_item_once_and_renames_what_only_shares_its_id():
    asks = [Question("q", Query(like=("a",), target="text"), {"a": 1}, exclude=("b",), candidates=("a", "b"))]
    one = task("shop track=x", {"a": "red", "b": "blue"}, asks)
    two = task("/files/more.csv", {"a": "green", "b": "blue"}, asks)
    joined = join([one, two])
    assert ids(joined) == ["shop/a", "b", "more.csv/a"]
    first, second = joined.questions
    assert (first.id, second.id) == ("shop/q", "more.csv/q")
    assert second.query.like == ("more.csv/a",) and dict(second.relevant) == {"more.csv/a": 1}
    assert second.exclude == ("b",) and second.candidates == ("more.csv/a", "b")
    assert joined.name == "shop track=x + /files/more.csv"


def test_joining_two_tracks_of_one_data_set_numbers_them():
    joined = join([task("shop track=x", {"a": "red"}), task("shop track=y", {"a": "blue"})])
    assert ids(joined) == ["shop#1/a", "shop#2/a"]


def test_a_data_set_gives_its_own_parts(lab):
    (lab / "data.py").write_text(
        "from typing import Literal\nfrom quiver.task import Task\nfrom quiver.types import Item\n"
        "def load(*, track: str = 'a', split: Literal['train', 'val', 'test'] = 'test'):\n"
        "    items = [Item(f'{split} {track}', {'text': 't'})]\n"
        "    return Task('lab.data', '0', items, [], ('Success@1',), 'text', 'rule', 'here')\n"
        "def more(): ...\n"
    )
    learn, validation = lessons(["lab.data track=b"])
    assert ids(learn) == ["train b"] and ids(validation) == ["val b"]
    assert is_dataset("lab.data track=b") and full_name("lab.data track=b") == "lab.data track=b"
    with pytest.raises(BadSpec, match=r"names a split: training reads the train and the validation part itself"):
        lessons(["lab.data split=test"])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("esc50", "esc50 has no training part: its splits are esc50, esc10"),
        ("sift100k", "sift100k consists of ready-made vectors"),
        ("nowhere.csv", "neither an existing file or folder nor a data set; data sets: activity"),
        ("worlds track=films", "neither an existing file or folder"),
    ],
)
def test_what_cannot_teach_is_refused_with_the_reason(spec, says):
    with pytest.raises(BadSpec, match=says):
        lessons([spec])


@pytest.mark.data
def test_real_packs_are_split_by_their_own_rule(packs):
    learn, validation = lessons(["fashion_products track=composed queries=50"])
    assert "split=train" in learn.name and "split=validation" in validation.name
    assert set(ids(learn)).isdisjoint(ids(validation)) and len(learn.questions) == 50
