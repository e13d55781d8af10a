"""Items whose files are gone are listed, and deleted where that is asked for; no others ever."""

import os
import tarfile

import pytest
from PIL import Image

import quiver
from quiver.engine.storage.dataset import Table
from quiver.errors import BadData, BadSpec

FAST = {"encoder": "classic", "progress": False, "workers": 0}


@pytest.fixture
def place(tmp_path):
    """Two folders of pictures, one with a folder in it, texts, and a collection of them all."""
    for n, name in enumerate(["a/1.png", "a/2.png", "a/in/3.png", "b/1.png", "b/2.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * n, 200 - 30 * n, 7)).save(path)
    (tmp_path / "a/note.txt").write_text("a note")
    (tmp_path / "a/1.txt").write_text("a caption")
    quiver.open(tmp_path / "c").add(tmp_path / "a", tmp_path / "b", **FAST)
    return tmp_path


def ids(place):
    return sorted(Table(f"{place}/c/items.lance").read(["id"])["id"].to_pylist())


ALL = ["a/1.png", "a/2.png", "a/in/3.png", "a/note.txt", "b/1.png", "b/2.png"]


def remove(place, *names):
    for name in names:
        (place / name).unlink()


def test_what_is_gone_is_listed_and_kept_until_it_is_pruned(place):
    shop = quiver.open(place / "c")
    remove(place, "a/2.png", "a/note.txt", "b/2.png")
    listed = shop.add(place / "a", sync=True, **FAST)
    assert (sorted(listed.gone), listed.deleted, listed.unchanged) == (["a/2.png", "a/note.txt"], 0, 2)
    assert ids(place) == ALL
    assert shop.add(place / "a", **FAST).gone == []
    pruned = shop.add(place / "a", prune=True, **FAST)
    assert (sorted(pruned.gone), pruned.deleted) == (["a/2.png", "a/note.txt"], 2)
    assert ids(place) == ["a/1.png", "a/in/3.png", "b/1.png", "b/2.png"]
    assert "--sync --prune deletes them" in listed.lines()[-1] and "2 deleted" in pruned.lines()[-1]


def test_a_renamed_file_is_added_under_its_new_name_and_gone_under_the_old_one(place):
    os.rename(place / "a/2.png", place / "a/two.png")
    report = quiver.open(place / "c").add(place / "a", prune=True, **FAST)
    assert (report.added, report.gone) == (1, ["a/2.png"])


def test_a_folder_that_is_gone_goes_with_its_items(place):
    remove(place, "a/in/3.png")
    (place / "a/in").rmdir()
    assert quiver.open(place / "c").add(place / "a", prune=True, **FAST).gone == ["a/in/3.png"]


def test_items_of_an_empty_folder_are_kept_since_a_disk_may_not_be_mounted(place):
    remove(place, "a/in/3.png")
    report = quiver.open(place / "c").add(place / "a", prune=True, **FAST)
    assert report.gone == [] and ids(place) == ALL
    assert f"{place}/a/in is empty: its 1 items are kept, since a disk may not be mounted there" in report.notes


@pytest.mark.parametrize("state", ["missing", "empty", "a link to nothing"])
def test_a_root_that_is_not_there_deletes_nothing(place, state):
    os.rename(place / "a", place / "elsewhere")
    if state == "empty":
        (place / "a").mkdir()
    elif state == "a link to nothing":
        os.symlink(place / "nothing", place / "a")
    with pytest.raises(BadData, match=r"there is no file or folder|nothing to add in|broken link"):
        quiver.open(place / "c").add(place / "a", prune=True, **FAST)
    assert ids(place) == ALL


@pytest.mark.parametrize("source", ["a/1.png", "a/*.png"])
def test_single_files_and_globs_look_at_no_folder_but_theirs(place, source):
    remove(place, "a/2.png", "a/in/3.png", "b/1.png")
    (place / "a/in/other").touch()
    found = quiver.open(place / "c").add(place / source, sync=True, **FAST).gone
    assert found == (["a/2.png"] if source == "a/1.png" else ["a/2.png", "a/in/3.png"])


def test_a_file_that_is_there_is_never_gone(place):
    shop = quiver.open(place / "c")
    (place / "a/2.png").write_bytes(b"broken")
    assert shop.add(place / "a", prune=True, **FAST).gone == []
    assert shop.add(place / "a", prune=True, media="audio,text", **FAST).gone == []
    os.rename(place / "a/in/3.png", place / "a/in/.3.png")
    os.symlink(".3.png", place / "a/in/3.png")
    assert shop.add(place / "a", prune=True, **FAST).gone == []


def test_items_of_other_sources_are_never_touched(place):
    shop = quiver.open(place / "c")
    shop.add(
        quiver.Item("a/own.txt", {"text": "made in Python"}), quiver.Item("x", {"image": place / "b/1.png"}), **FAST
    )
    remove(place, "b/1.png")
    assert shop.add(place / "a", sync=True, **FAST).gone == ["a/own.txt"]  # it says that it is a text of that folder
    assert sorted(shop.add(place / "b", sync=True, **FAST).gone) == ["b/1.png", "x"]


def pack(place, *names):
    with tarfile.open(place / "s.tar", "w") as tar:
        for name in names:
            tar.add(place / name, name.replace("/", "-"))
    return place / "s.tar"


def test_samples_that_a_tar_no_longer_has_are_gone(place):
    shop = quiver.open(place / "c")
    shop.add(pack(place, "a/1.png", "a/2.png", "a/note.txt"), **FAST)
    report = shop.add(pack(place, "a/1.png"), prune=True, **FAST)
    assert sorted(report.gone) == ["s.tar/a-2", "s.tar/a-note"]
    assert ids(place) == sorted([*ALL, "s.tar/a-1"])


def test_a_tar_that_is_cut_off_deletes_nothing(place):
    shop = quiver.open(place / "c")
    path = pack(place, "a/1.png", "a/2.png")
    shop.add(path, **FAST)
    path.write_bytes(path.read_bytes()[:2700])
    assert shop.add(path, prune=True, **FAST).gone == []


def test_rows_that_a_table_no_longer_has_are_gone(place):
    shop = quiver.open(place / "c")
    table = place / "words.csv"
    table.write_text("text\none\ntwo\nthree\n")
    shop.add(table, **FAST)
    table.write_text("text\none\n")
    report = shop.add(table, prune=True, **FAST)
    assert sorted(report.gone) == [f"{place.name}/words.csv#1", f"{place.name}/words.csv#2"]


def test_files_that_a_table_named_and_that_are_gone_are_gone(place):
    shop = quiver.open(place / "c")
    table = place / "m.csv"
    table.write_text("id,image\none,b/1.png\ntwo,b/2.png\n")
    shop.add(table, **FAST)
    remove(place, "b/2.png", "a/2.png")
    table.write_text("id,image\none,b/1.png\n")
    assert sorted(shop.add(table, sync=True, **FAST).gone) == ["b/2.png", "two"]


def test_a_root_that_moved_is_compared_at_its_new_place(place):
    shop = quiver.open(place / "c")
    (place / "new").mkdir()
    os.rename(place / "a", place / "new/a")
    (place / "new/a/2.png").unlink()
    report = shop.add(place / "new/a", prune=True, **FAST)
    assert (report.gone, report.moved) == (["a/2.png"], 2)
    assert ids(place) == [id for id in ALL if id != "a/2.png"]


def test_sync_needs_something_to_compare(place):
    with pytest.raises(BadSpec, match="name the folders, tables or tars"):
        quiver.open(place / "c").add(sync=True, **FAST)
    with pytest.raises(BadSpec, match="prune must be True or False"):
        quiver.open(place / "c").add(place / "a", prune="yes", **FAST)
