"""Two sources never replace each other's items, and a source that has moved is recognised."""

import json
import os
import subprocess
import sys
import tarfile
from itertools import chain

import pytest
from PIL import Image

import quiver
from quiver.engine.storage.dataset import Table

FAST = {"encoder": "classic", "progress": False, "workers": 0}


def picture(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 255 - shade, shade // 2)).save(path)
    return path


def cards(place, *names, below="DCIM", count=3):
    """Folders of one name with pictures of one name, all of them different."""
    folders = []
    for number, name in enumerate(names):
        folders.append(place / name / below)
        for n in range(count):
            picture(folders[-1] / f"IMG_{n}.png", 10 + 60 * number + 7 * n)
    return folders


def ids(collection):
    return sorted(Table(f"{collection.uri}/items.lance").read(["id"])["id"].to_pylist())


def tar(path, folder):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


def table_of(folder, text=False):
    lines = [f"words of {folder.parent.name} {n}" if text else f"IMG_{n}.png" for n in range(3)]
    path = folder / "items.csv"
    path.write_text("\n".join(["text" if text else "image", *lines]) + "\n")
    return path


WAYS = {
    "folder": lambda folder: [folder],
    "files": lambda folder: sorted(folder.glob("*.png")),
    "glob": lambda folder: [folder / "*.png"],
    "tar": lambda folder: [tar(folder.parent / "tars/s.tar", folder)],
    "folder of tars": lambda folder: [tar(folder.parent / "tars/s.tar", folder).parent],
    "manifest": lambda folder: [table_of(folder)],
    "text manifest": lambda folder: [table_of(folder, text=True)],
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_sources_of_one_name_do_not_replace_each_other(tmp_path, way, together):
    sources = [WAYS[way](folder) for folder in cards(tmp_path, "card1", "card2", "card3")]
    shop = quiver.open(tmp_path / "c")
    reports = [shop.add(*chain(*sources), **FAST)] if together else [shop.add(*each, **FAST) for each in sources]
    assert sum(report.added for report in reports) == 9 and len(shop) == 9
    assert sum(report.updated + report.quarantined for report in reports) == 0
    assert any("card2/" in note for report in reports for note in report.notes)
    again = [shop.add(*each, **FAST) for each in reversed(sources)]
    assert [report.unchanged for report in again] == [3, 3, 3] and len(shop) == 9


@pytest.mark.parametrize("first", ["folder", "files", "glob", "manifest"])
@pytest.mark.parametrize("second", ["folder", "files", "glob", "manifest"])
def test_the_same_files_are_the_same_items_whichever_way_they_are_given(tmp_path, first, second):
    (folder,) = cards(tmp_path, "card1")
    shop = quiver.open(tmp_path / "c")
    assert shop.add(*WAYS[first](folder), **FAST).added == 3
    assert shop.add(*WAYS[second](folder), **FAST).unchanged == 3
    named = "" if first == "files" else "DCIM/"
    assert ids(shop) == [f"{named}IMG_0.png", f"{named}IMG_1.png", f"{named}IMG_2.png"]


def test_a_folder_in_a_folder_that_is_here_is_the_same_items_either_way_round(tmp_path):
    cards(tmp_path, "card1")
    down = quiver.open(tmp_path / "down")
    down.add(tmp_path / "card1", **FAST)
    assert down.add(tmp_path / "card1/DCIM", **FAST).unchanged == 3
    assert ids(down)[0] == "card1/DCIM/IMG_0.png"
    up = quiver.open(tmp_path / "up")
    up.add(tmp_path / "card1/DCIM", **FAST)
    assert up.add(tmp_path / "card1", **FAST).unchanged == 3
    assert ids(up)[0] == "DCIM/IMG_0.png"


def test_every_spelling_of_a_folder_is_one_folder(tmp_path, monkeypatch):
    (folder,) = cards(tmp_path, "card1")
    os.symlink(folder, tmp_path / "latest")
    os.symlink(tmp_path / "card1", tmp_path / "mount")
    monkeypatch.chdir(tmp_path / "card1")
    shop = quiver.open(tmp_path / "c")
    shop.add(folder, **FAST)
    for spelling in ("DCIM", "DCIM/", "./DCIM", "../card1/DCIM", "DCIM/../DCIM", "../latest", "../mount/DCIM"):
        report = shop.add(spelling, **FAST)
        assert (spelling, report.unchanged, report.moved) == (spelling, 3, 0)
    assert len(shop) == 3


def test_a_link_in_a_folder_to_a_folder_that_is_here_adds_nothing_twice(tmp_path):
    (folder,) = cards(tmp_path, "card1")
    (tmp_path / "all").mkdir()
    os.symlink(folder, tmp_path / "all/one")
    picture(tmp_path / "all/own/x.png", 9)
    os.symlink(tmp_path / "all/own", tmp_path / "all/again")
    shop = quiver.open(tmp_path / "c")
    shop.add(folder, **FAST)
    assert shop.add(tmp_path / "all", **FAST).added == 1
    assert ids(shop) == ["DCIM/IMG_0.png", "DCIM/IMG_1.png", "DCIM/IMG_2.png", "all/own/x.png"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", ["new/DCIM", "new/Pictures"])
def test_a_source_that_moved_keeps_its_ids_and_is_read_from_its_new_place(tmp_path, way, target):
    (folder,) = cards(tmp_path, "old")
    shop = quiver.open(tmp_path / "c")
    shop.add(*WAYS[way](folder), **FAST)
    before = ids(shop)
    paths = [str(path).replace(f"{tmp_path}/old/DCIM", f"{tmp_path}/{target}") for path in WAYS[way](folder)]
    paths = [path.replace(f"{tmp_path}/old/", f"{tmp_path}/new/") for path in paths]
    os.rename(tmp_path / "old", tmp_path / "new")
    if not (tmp_path / target).exists():
        os.rename(tmp_path / "new/DCIM", tmp_path / target)
    moved = shop.add(*paths, **FAST)
    assert ids(shop) == before
    assert (moved.added, moved.updated, moved.moved) == (0, 0, 0 if way == "text manifest" else 3)
    assert any("has moved to" in note for note in moved.notes)
    assert shop.add(*paths, **FAST).unchanged == 3
    second = shop.add(encoder="classic frames=4", progress=False, workers=0)
    assert second.quarantined == 0


def test_a_folder_that_moved_and_changed_a_little_is_recognised(tmp_path):
    (folder,) = cards(tmp_path, "old", count=8)
    shop = quiver.open(tmp_path / "c")
    shop.add(folder, **FAST)
    os.rename(tmp_path / "old", tmp_path / "new")
    picture(tmp_path / "new/DCIM/IMG_0.png", 200)
    picture(tmp_path / "new/DCIM/IMG_9.png", 201)
    report = shop.add(tmp_path / "new/DCIM", **FAST)
    assert (report.added, report.updated, report.moved) == (1, 1, 7)


def test_a_card_that_is_not_mounted_is_not_taken_for_another_one(tmp_path):
    one, two = cards(tmp_path, "card1", "card2")
    shop = quiver.open(tmp_path / "c")
    shop.add(one, **FAST)
    os.rename(tmp_path / "card1", tmp_path / "drawer")
    assert shop.add(two, **FAST).added == 3 and len(shop) == 6
    os.rename(tmp_path / "drawer", tmp_path / "card1")
    assert shop.add(one, **FAST).unchanged == 3


def test_another_card_at_the_same_place_is_said(tmp_path):
    one, _ = cards(tmp_path, "card1", "card2")
    shop = quiver.open(tmp_path / "c")
    shop.add(one, **FAST)
    os.rename(tmp_path / "card1", tmp_path / "drawer")
    os.rename(tmp_path / "card2", tmp_path / "card1")
    report = shop.add(one, **FAST)
    assert report.updated == 3
    assert any("all 3 stored items that were found again have new content" in note for note in report.notes)


def test_a_manifest_that_names_a_new_place_for_the_same_content_is_believed(tmp_path):
    picture(tmp_path / "a/x.png", 5)
    picture(tmp_path / "b/y.png", 5)
    shop = quiver.open(tmp_path / "c")
    for path in ("a/x.png", "b/y.png"):
        (tmp_path / "m.csv").write_text(f"id,image\n1,{path}\n")
        report = shop.add(tmp_path / "m.csv", **FAST)
    assert (report.moved, report.updated, report.unchanged, report.embedded) == (1, 0, 0, 0)
    assert shop.get(["1"])[0].media["image"] == str(tmp_path / "b/y.png")


def test_an_id_that_now_stands_for_another_file_is_said(tmp_path):
    shop = quiver.open(tmp_path / "c")
    for n, card in enumerate(("card1", "card2")):
        picture(tmp_path / card / "x.png", 50 * n)
        (tmp_path / card / "m.csv").write_text("id,image\n1,x.png\n")
        report = shop.add(tmp_path / card / "m.csv", **FAST)
    assert report.updated == 1
    (note,) = [note for note in report.notes if "another file" in note]
    assert "1 item now stands for another file with other content: 1 is " in note and "card1/x.png before" in note


def forget_roots(collection):
    """Make a collection what it was before roots were kept."""
    table = Table(f"{collection.uri}/items.lance")
    header = json.loads(table.dataset.schema.metadata[b"quiver"])
    header.pop("roots"), header.pop("loose", None)
    table.dataset.update_schema_metadata({"quiver": json.dumps(header)})


def test_ids_of_a_collection_from_before_roots_were_kept_stay(tmp_path):
    one, two = cards(tmp_path, "card1", "card2")
    shop = quiver.open(tmp_path / "c")
    loose = picture(tmp_path / "alone/z.png", 77)
    shop.add(one, WAYS["tar"](two)[0], quiver.Item("z.png", {"image": loose}), **FAST)
    before = ids(shop)
    forget_roots(shop)
    for again in (one, tmp_path / "card2/tars/s.tar"):
        assert shop.add(again, **FAST).unchanged == 3
    for again in (loose, tmp_path / "alone", tmp_path / "alone/*.png"):
        assert shop.add(again, **FAST).unchanged == 1
    assert shop.add(two, **FAST).added == 3
    assert ids(shop) == sorted([*before, *(f"card2/DCIM/IMG_{n}.png" for n in range(3))])


def test_roots_that_two_writers_choose_at_once_are_both_kept_under_names_of_their_own(tmp_path):
    table = Table.create(str(tmp_path / "items.lance"))
    assert table.record_roots([("/a/p", "p/")], before=[], loose=False)
    assert table.record_roots([("/b/q", "q/")], before=[], loose=False)
    assert table.roots == ([("/a/p", "p/"), ("/b/q", "q/")], False)
    assert not table.record_roots([("/b/p", "p/")], before=[], loose=False)


def test_two_processes_that_add_folders_of_one_name_at_once_lose_nothing(tmp_path):
    folders = cards(tmp_path, "card1", "card2")
    code = "import sys, quiver; quiver.open(sys.argv[1]).add(sys.argv[2], encoder='classic', progress=False)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "c", folder], stderr=subprocess.PIPE)
        for folder in folders
    ]
    problems = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], problems
    assert len(quiver.open(tmp_path / "c")) == 6


@pytest.mark.parametrize("way", ["items", "a table", "an item and a file", "a folder and a folder in it"])
def test_of_items_with_one_id_in_one_add_the_first_is_kept_and_the_others_are_said(tmp_path, way):
    (folder,) = cards(tmp_path, "card1", count=2)
    first, second = (folder / f"IMG_{n}.png" for n in range(2))
    (tmp_path / "m.csv").write_text(f"key,image\na,{first}\na,{second}\nb,{second}\n")
    made = quiver.Item("IMG_0.png", {"image": second})
    sources = {
        "items": [quiver.Item("a", {"image": first}), quiver.Item("a", {"image": second})],
        "a table": [tmp_path / "m.csv"],
        "an item and a file": [made, first],
        "a folder and a folder in it": [tmp_path / "card1", folder],
    }[way]
    shop = quiver.open(tmp_path / "c")
    report = shop.add(*sources, **FAST)
    stored = {item.id: item.media["image"] for item in shop.get(ids(shop))}
    if way == "items":
        assert (report.added, stored) == (1, {"a": str(first)})
    if way == "an item and a file":
        assert stored == {"IMG_0.png": str(second)}
    if way == "a folder and a folder in it":
        assert sorted(stored) == ["card1/DCIM/IMG_0.png", "card1/DCIM/IMG_1.png"]
        assert [str(each) for each in report.left_out] == [
            "2 items that were named twice (card1/DCIM/IMG_0.png, card1/DCIM/IMG_1.png)"
        ]
    if way in ("items", "an item and a file"):
        (reason,) = report.reasons
        assert reason.reason == "this id is repeated in the same add; the first item is kept: ids must be unique"
    assert report.updated == 0


def test_a_file_alone_is_called_by_its_name_and_its_folder_goes_on_so(tmp_path):
    one = cards(tmp_path, "card1")[0]
    shop = quiver.open(tmp_path / "c")
    shop.add(one / "IMG_0.png", **FAST)
    shop.add(one / "IMG_1.png", **FAST)
    assert ids(shop) == ["IMG_0.png", "IMG_1.png"]
    again = shop.add(one, **FAST)
    assert (again.added, again.unchanged) == (1, 2) and ids(shop) == ["IMG_0.png", "IMG_1.png", "IMG_2.png"]
    assert shop.add(one.parent, **FAST).added == 0


def test_files_alone_of_one_name_keep_apart_and_so_do_folders_below_a_root_without_a_prefix(tmp_path):
    one, two = cards(tmp_path, "card1", "card2")
    shop = quiver.open(tmp_path / "c")
    shop.add(one / "IMG_0.png", **FAST)
    shop.add(two / "IMG_0.png", **FAST)
    assert ids(shop) == ["DCIM/IMG_0.png", "IMG_0.png"]
    picture(one / "DCIM/IMG_0.png", 99)
    shop.add(one, **FAST)
    found = {item.id: item.media["image"] for item in shop.get(ids(shop))}
    assert len(found) == len(set(found.values())) == 5
    assert found["DCIM/IMG_0.png"] == str(two / "IMG_0.png") and found["IMG_0.png"] == str(one / "IMG_0.png")
    assert shop.add(one, two, **FAST).updated == 0
