"""A file that is stored keeps its id, whatever id a later table gives it; nothing is there twice without a word."""

import os
import tarfile

import pytest
from PIL import Image

import quiver
from quiver.engine.storage.dataset import Table

FAST = {"encoder": "classic", "progress": False, "workers": 0}
NAMES = ["a.png", "b.png", "in/c.png"]


@pytest.fixture
def place(tmp_path):
    for n, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (60 * n, 200 - 30 * n, 7)).save(path)
    (tmp_path / "prices.csv").write_text("file,price\n" + "".join(f"{name},{n}\n" for n, name in enumerate(NAMES)))
    (tmp_path / "skus.csv").write_text("id,file,colour\n" + "".join(f"sku{n},{x},red\n" for n, x in enumerate(NAMES)))
    rows = "".join(f"row{n},photos/{name},8\n" for n, name in enumerate(NAMES))
    (tmp_path / "rows.csv").write_text("id,image,size\n" + rows)
    (tmp_path / "paths.csv").write_text("image,size\n" + "".join(f"photos/{name},9\n" for name in NAMES))
    return tmp_path


@pytest.fixture
def shop(place):
    return quiver.open(place / "c", catch_up=False)


def ids(place):
    return sorted(Table(f"{place}/c/items.lance").read(["id"])["id"].to_pylist())


PATHS = [f"photos/{name}" for name in NAMES]
SKUS = [f"sku{n}" for n in range(3)]


def kept(report, stored, given):
    return any(
        note.startswith("3 items are stored under another id already") and f"such as {stored} for {given}" in note
        for note in report.notes
    )


def test_a_later_table_with_other_ids_describes_the_stored_items(place, shop):
    shop.add(place / "photos", meta=place / "prices.csv", **FAST)
    report = shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    assert (report.added, report.updated, report.embedded) == (0, 3, 0) and kept(report, "photos/a.png", "sku0")
    assert ids(place) == PATHS
    assert shop.get("photos/b.png")[0].meta == {"price": 1, "colour": "red"}
    again = shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    assert (again.added, again.updated, again.unchanged) == (0, 0, 3)


def test_named_columns_of_ids_change_nothing_about_it(place, shop):
    shop.add(place / "photos", **FAST)
    report = shop.add(place / "photos", meta=place / "skus.csv", id_column="id", **FAST)
    assert ids(place) == PATHS and kept(report, "photos/a.png", "sku0")


@pytest.mark.parametrize("source", ["photos", "photos/*", "photos/a.png", "paths.csv"])
def test_ids_of_an_earlier_table_stay_when_the_files_come_without_it(place, shop, source):
    shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    report = shop.add(place / source, **FAST)
    assert report.added == 0 and ids(place) == SKUS
    assert "sku0" in "".join(report.notes)


def test_rows_of_a_table_without_ids_are_the_files_of_the_folder(place, shop):
    shop.add(place / "rows.csv", **FAST)
    report = shop.add(place / "photos", meta=place / "prices.csv", **FAST)
    assert report.added == 0 and ids(place) == ["row0", "row1", "row2"]
    assert shop.get("row2")[0].meta == {"size": 8, "price": 2}


def test_rows_with_ids_of_their_own_are_added_and_the_report_says_that_their_files_are_there(place, shop):
    shop.add(place / "photos", **FAST)
    report = shop.add(place / "rows.csv", **FAST)
    assert report.added == 3 and ids(place) == sorted([*PATHS, "row0", "row1", "row2"])
    told = [note for note in report.notes if "same files as an item with another id" in note]
    assert told and told[0].startswith("3 items have") and "row0 and photos/a.png" in told[0]
    assert not [note for note in shop.add(place / "rows.csv", **FAST).notes if "same files" in note]


def test_captions_of_one_image_stay_items_of_their_own(place, shop):
    table = place / "captions.csv"
    table.write_text("id,image,text\n1,photos/a.png,one\n2,photos/a.png,two\n")
    shop.add(table, **FAST)
    report = shop.add(place / "photos", **FAST)
    assert report.added == 3 and ids(place) == sorted(["1", "2", *PATHS])


def test_a_new_file_beside_stored_ones_gets_the_id_of_the_table(place, shop):
    shop.add(place / "photos", **FAST)
    Image.new("RGB", (16, 16), (1, 2, 3)).save(place / "photos/new.png")
    with (place / "skus.csv").open("a") as table:
        table.write("sku9,new.png,blue\n")
    report = shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    assert report.added == 1 and ids(place) == sorted([*PATHS, "sku9"])


def test_new_content_of_a_stored_file_is_an_update_of_its_item(place, shop):
    shop.add(place / "photos", **FAST)
    Image.new("RGB", (16, 16), (9, 9, 9)).save(place / "photos/a.png")
    report = shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    assert (report.added, report.embedded) == (0, 1) and ids(place) == PATHS


def test_a_link_to_the_folder_is_the_same_folder(place, shop):
    shop.add(place / "photos", meta=place / "skus.csv", **FAST)
    os.symlink(place / "photos", place / "link")
    report = shop.add(place / "link", **FAST)
    assert report.added == 0 and ids(place) == SKUS


def test_samples_of_a_tar_keep_their_ids(place, shop):
    with tarfile.open(place / "s.tar", "w") as tar:
        for name in NAMES:
            tar.add(place / "photos" / name, name)
    shop.add(place / "s.tar", **FAST)
    before = ids(place)
    assert shop.add(place / "s.tar", **FAST).added == 0 and ids(place) == before


def test_synchronising_under_other_ids_deletes_nothing(place, shop):
    shop.add(place / "photos", **FAST)
    report = shop.add(place / "photos", meta=place / "skus.csv", prune=True, **FAST)
    assert report.gone == [] and ids(place) == PATHS


def test_a_recognised_file_without_text_keeps_the_stored_text(tmp_path, shop):
    (tmp_path / "texts.csv").write_text("id,image,text,size\nsku,photos/a.png,a red shoe,9\n")
    shop.add(tmp_path / "texts.csv", workers=0, progress=False)
    report = shop.add(tmp_path / "photos", workers=0, progress=False)
    assert report.updated == 0 and report.unchanged == 1
    assert shop.get("sku")[0].meta == {"text": "a red shoe", "size": 9}
