"""Items whose files are gone are listed, and deleted where that is asked for; no others ever."""

import os
import tarfile

import pytest
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.cli import app
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
    assert "kept; prune=True deletes them" in listed.lines()[-1] and "2 deleted" in pruned.lines()[-1]


def test_a_renamed_file_is_added_under_its_new_name_and_gone_under_the_old_one(place):
    os.rename(place / "a/2.png", place / "a/two.png")
    report = quiver.open(place / "c").add(place / "a", prune=True, **FAST)
    assert (report.added, report.gone) == (1, ["a/2.png"])


def test_a_folder_that_is_gone_goes_with_its_items(place):
    remove(place, "a/in/3.png")
    (place / "a/in").rmdir()
    assert quiver.open(place / "c").add(place / "a", prune=True, **FAST).gone == ["a/in/3.png"]


def test_items_of_an_empty_folder_are_kept_until_their_number_is_confirmed(place):
    shop = quiver.open(place / "c")
    remove(place, "a/in/3.png", "a/2.png")
    report = shop.add(place / "a", sync=True, **FAST)
    assert (report.gone, report.emptied, report.deleted) == (["a/2.png"], ["a/in/3.png"], 0)
    assert f"{place}/a/in is empty: its 1 item is kept, since a disk may not be mounted there" in report.notes
    assert report.notes[-1] == "to delete these 2 items, confirm their number: add(..., prune=True, expect=2)"
    for expect in (0, 1, 3):
        with pytest.raises(BadSpec, match=rf"^2 items are gone, and {expect} were expected: nothing is deleted$"):
            shop.add(place / "a", prune=True, expect=expect, **FAST)
    assert ids(place) == ALL
    assert shop.add(place / "a", prune=True, **FAST).deleted == 1 and "a/in/3.png" in ids(place)
    assert shop.add(place / "a", prune=True, expect=1, **FAST).deleted == 1 and "a/in/3.png" not in ids(place)


def emptied(place, state):
    """Make nothing be left in the folder a, and return the number of its items."""
    os.rename(place / "a", place / "elsewhere")
    if state != "missing":
        (place / "a").mkdir()
    if state == "only other files":
        (place / "a/README.md").write_text("moved to the other disk")
    if state == "only empty folders":
        (place / "a/in").mkdir()
    return 4


STATES = ["missing", "empty", "only other files", "only empty folders"]


@pytest.mark.parametrize("state", STATES)
def test_items_of_a_source_in_which_nothing_is_left_are_counted_and_kept(place, state):
    count = emptied(place, state)
    for options in ({"sync": True}, {"prune": True}):
        report = quiver.open(place / "c").add(place / "a", **options, **FAST)
        assert (len(report.emptied), report.gone, report.deleted) == (count, [], 0) and ids(place) == ALL
        assert f"its {count} items are kept, since a disk may not be mounted there" in "".join(report.notes)
        assert f"to delete these {count} items" in report.notes[-1]
    with pytest.raises(BadSpec, match=f"{count} items are gone, and 3 were expected"):
        quiver.open(place / "c").add(place / "a", prune=True, expect=3, **FAST)
    assert ids(place) == ALL
    assert quiver.open(place / "c").add(place / "a", prune=True, expect=count, **FAST).deleted == count
    assert ids(place) == ["b/1.png", "b/2.png"]


@pytest.mark.parametrize("state", STATES)
def test_other_sources_of_the_same_add_are_compared_as_ever(place, state):
    emptied(place, state)
    remove(place, "b/2.png")
    report = quiver.open(place / "c").add(place / "a", place / "b", prune=True, **FAST)
    assert (report.gone, len(report.emptied), report.unchanged, report.deleted) == (["b/2.png"], 4, 1, 1)


def test_without_sync_an_emptied_folder_is_an_error_as_before(place):
    emptied(place, "empty")
    with pytest.raises(BadData, match="nothing to add in"):
        quiver.open(place / "c").add(place / "a", **FAST)


@pytest.mark.parametrize("strange", ["nowhere", "b/in", "c.csv", "c.tar"])
def test_a_source_that_was_never_added_is_an_error(place, strange):
    (place / "d").mkdir()
    for path in (place / "d", place / "d" / strange):
        with pytest.raises(BadData, match=r"nothing to add in|there is no file or folder"):
            quiver.open(place / "c").add(path, sync=True, **FAST)


def test_a_link_to_nothing_is_no_emptied_folder(place):
    os.rename(place / "a", place / "elsewhere")
    os.symlink(place / "nothing", place / "a")
    with pytest.raises(BadData, match="broken link"):
        quiver.open(place / "c").add(place / "a", prune=True, **FAST)
    assert ids(place) == ALL


@pytest.mark.parametrize("gone", [True, False])
def test_an_emptied_table_and_an_emptied_tar_are_counted_too(place, gone):
    shop = quiver.open(place / "c")
    table = place / "words.csv"
    table.write_text("text\none\ntwo\n")
    tar = pack(place, "a/1.png", "a/2.png")
    shop.add(table, tar, **FAST)
    before = ids(place)
    if gone:
        table.unlink()
        tar.unlink()
    else:
        table.write_text("text\n")
        tarfile.open(tar, "w").close()
    report = shop.add(table, tar, sync=True, **FAST)
    assert sorted(report.emptied) == ["s.tar/a-1", "s.tar/a-2", *(f"{place.name}/words.csv#{n}" for n in (0, 1))][:4]
    assert ids(place) == before
    assert shop.add(table, tar, prune=True, expect=4, **FAST).deleted == 4 and ids(place) == ALL


def test_one_file_that_is_gone_is_counted(place):
    remove(place, "a/2.png")
    report = quiver.open(place / "c").add(place / "a/2.png", sync=True, **FAST)
    assert report.emptied == ["a/2.png"] and ids(place) == ALL


def test_the_command_line_asks_before_it_deletes_items_of_an_emptied_folder(place, monkeypatch):
    emptied(place, "empty")
    command = ["add", str(place / "c"), str(place / "a"), "--prune"]

    def run(*options, terminal=False, answer="n"):
        monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
        return CliRunner().invoke(app, [*command, *options], input=answer, catch_exceptions=False)

    told = run().stderr
    assert "its 4 items are kept" in told and "--prune --expect 4, or --prune --yes" in told and ids(place) == ALL
    with pytest.raises(BadSpec, match="4 items are gone, and 5 were expected"):
        run("--expect", "5")
    assert ids(place) == ALL
    done = run("--yes").stderr
    assert "4 items of emptied folders, tables or tars are deleted" in done and "kept" not in done
    assert ids(place) == ["b/1.png", "b/2.png"]


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
    with pytest.raises(BadSpec, match="prune as True or False"):
        quiver.open(place / "c").add(place / "a", prune="yes", **FAST)
    for wrong in ({"expect": 3}, {"sync": True, "expect": 3}, {"prune": True, "expect": -1}):
        with pytest.raises(BadSpec, match=r"^expect is the number of items that prune=True deletes$"):
            quiver.open(place / "c").add(place / "a", **wrong, **FAST)
