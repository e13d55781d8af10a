"""Paths in tables as people and other systems write them."""

import os
import sys
import unicodedata

import pytest

from quiver.engine import source
from quiver.errors import BadMedia
from quiver.media import digest

NAMES = ["Müller.png", "a b.png", "100%.png", "in/Ĝi ĉu.png", "ｱ.png", "plain.png", "per%20cent.png", "日本/語.png"]


@pytest.fixture(params=["NFC", "NFD"])
def folder(request, tmp_path):
    root = tmp_path / "photos"
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("files have no names of other languages here")
    for name in NAMES:
        path = root / unicodedata.normalize(request.param, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


WRITINGS = {
    "as it is": lambda name: name,
    "composed": lambda name: unicodedata.normalize("NFC", name),
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "escaped": lambda name: name.replace("%", "%25").replace(" ", "%20"),
    "with backslashes": lambda name: name.replace("/", "\\"),
    "with spaces around": lambda name: f"  {name}\u00a0",
    "with quotes around": lambda name: f"'{name}'",
    "with a dot": lambda name: f"./{name}",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_manifest_finds_the_files_that_are_meant(folder, writing):
    table = folder.parent / "m.tsv"
    table.write_text(
        "image\twho\n" + "".join(f"{WRITINGS[writing](f'photos/{name}')}\t{name}\n" for name in NAMES), encoding="utf-8"
    )
    rows = [row for batch in source.open([str(table)]).batches(9) for row in batch.to_pylist()]
    for row, name in zip(rows, NAMES, strict=True):
        with open(row["image"], "rb") as file:
            assert file.read() == name.encode()
        assert row["id"] == f"{folder.parent.name}/{os.path.relpath(row['image'], folder.parent)}"


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_table_beside_a_folder_names_the_files_that_are_meant(folder, writing):
    table = folder.parent / "m.tsv"
    table.write_text(
        "file\twho\n" + "".join(f"{WRITINGS[writing](name)}\t{name}\n" for name in NAMES), encoding="utf-8"
    )
    stream = source.open([str(folder)], meta=str(table))
    rows = [row for batch in stream.batches(9) for row in batch.to_pylist()]
    for row in rows:
        with open(row["image"], "rb") as file:
            assert row["who"] == file.read().decode()
    assert stream.notes[0].startswith("m.tsv: column file names 8 of 8 files by ")


def test_a_file_uri_is_a_path(folder):
    table = folder.parent / "m.csv"
    table.write_text(f"image\nfile://{folder}/a%20b.png\nFILE://localhost{folder}/plain.png\n{folder}/plain.png\n")
    rows = [row for batch in source.open([str(table)]).batches(9) for row in batch.to_pylist()]
    assert [row["image"] for row in rows] == [f"{folder}/a b.png", f"{folder}/plain.png"]


def test_a_file_is_taken_as_it_is_written_before_it_is_read_in_another_way(tmp_path):
    for name in ("a%20b.png", "a b.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "m.csv").write_text("image\na%20b.png\na b.png\n")
    rows = [row for batch in source.open([str(tmp_path / "m.csv")]).batches(9) for row in batch.to_pylist()]
    assert [os.path.basename(row["image"]) for row in rows] == ["a%20b.png", "a b.png"]


def test_files_that_differ_from_rows_in_case_alone_are_said(tmp_path):
    (tmp_path / "p").mkdir()
    for name in ("IMG_1.JPG", "img_2.jpg"):
        (tmp_path / "p" / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text("file,n\nimg_1.jpg,1\nimg_2.jpg,2\n")
    notes = source.open([str(tmp_path / "p")], meta=str(tmp_path / "m.csv")).notes
    assert (
        "files that match no row only because upper and lower case differ: 1, such as IMG_1.JPG and img_1.jpg" in notes
    )


def test_a_path_that_names_no_file_is_told_what_may_be_meant(tmp_path):
    (tmp_path / "IMG_1.JPG").write_bytes(b"x")
    with pytest.raises(
        BadMedia, match=r"no such file or directory: did you mean IMG_1.JPG\? Upper and lower case differ"
    ):
        digest([str(tmp_path / "img_1.jpg")])
    with pytest.raises(BadMedia, match=r"it is a Windows path, and this system is not Windows"):
        digest([f"{tmp_path}/C:\\photos\\a.jpg"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_texts_with_a_byte_order_mark_are_read_in_their_encoding(tmp_path, encoding):
    (tmp_path / "note.txt").write_text("für dich", encoding=encoding)
    rows = [row for batch in source.open([str(tmp_path)]).batches(9) for row in batch.to_pylist()]
    assert [row["text"] for row in rows] == ["für dich"]
