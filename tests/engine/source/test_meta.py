import json

import pytest

from quiver.engine import source
from quiver.errors import BadData


def folder(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def csv(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def rows(stream):
    return [row for batch in stream.batches(2) for row in batch.to_pylist()]


def labels(stream):
    return {row["id"]: row["label"] for row in rows(stream)}


@pytest.mark.parametrize(
    ("written", "way"),
    [
        ("in/a.jpg", "path below the folder"),
        ("./in/a.jpg", "path below the folder"),
        ("p/in/a.jpg", "id"),
        ("../p/in/a.jpg", "path from the table"),
        ("a.jpg", "file name"),
        ("a", "stem"),
    ],
)
def test_rows_find_their_files_by_any_name_of_theirs(tmp_path, written, way):
    root = folder(tmp_path / "p", "in/a.jpg", "b.jpg")
    meta = csv(tmp_path / "tables/meta.csv", f"which,label\n{written},cat\nnowhere,dog\n")
    stream = source.open([root], meta=meta, key="which")
    assert labels(stream) == {"p/b.jpg": None, "p/in/a.jpg": "cat"}
    assert stream.notes == (
        f"meta.csv: column which names 1 of 2 files by {way}",
        "files without a row in meta.csv, their metadata null: 1",
        "rows of meta.csv without a file, or of a file named before: 1",
    )


def test_the_key_is_found_among_columns_that_sound_like_one(tmp_path):
    root = folder(tmp_path / "p", "a.jpg", "b.jpg")
    meta = csv(tmp_path / "p/meta.csv", "path,label,filename\nanimals/a,cat,a.jpg\nanimals/b,dog,b.jpg\n")
    stream = source.open([root], meta=meta)
    assert labels(stream) == {"p/a.jpg": "cat", "p/b.jpg": "dog"}
    assert stream.schema.names == ["path", "label"]  # the key is not repeated
    assert stream.notes == ("meta.csv: column filename names 2 of 2 files by path below the folder",)


def test_files_of_one_name_share_a_row_and_it_is_told(tmp_path):
    root = folder(tmp_path / "p", "x/a.jpg", "y/a.jpg", "z/b.jpg")
    stream = source.open([root], meta=csv(tmp_path / "m.csv", "file,label\na.jpg,cat\na.jpg,dog\nb.jpg,cow\n"))
    assert labels(stream) == {"p/x/a.jpg": "cat", "p/y/a.jpg": "cat", "p/z/b.jpg": "cow"}
    assert "files that share a row of m.csv with another of the same file name: 1" in stream.notes
    assert "rows of m.csv without a file, or of a file named before: 1" in stream.notes


def test_metadata_is_typed_and_the_unique_id_becomes_the_id(tmp_path):
    root = folder(tmp_path / "p", "a.jpg", "b.jpg", "c.jpg")
    meta = csv(tmp_path / "m.csv", "id,file,n,label\n007,a.jpg,1,x\n008,b.jpg,,y\n")
    stream = source.open([root], meta=meta)
    assert [str(kind) for kind in stream.schema.types] == ["int64", "string"]
    assert [(row["id"], row["n"], row["label"]) for row in rows(stream)] == [
        ("007", 1, "x"),
        ("008", None, "y"),
        ("p/c.jpg", None, None),
    ]
    kept = source.open([root], meta=meta, id_column="none")
    assert [row["id"] for row in rows(kept)] == ["p/a.jpg", "p/b.jpg", "p/c.jpg"]
    assert kept.schema.names == ["meta_id", "n", "label"]


def test_keys_with_leading_zeros_stay_as_written(tmp_path):
    root = folder(tmp_path / "p", "001.jpg", "1.jpg")
    stream = source.open([root], meta=csv(tmp_path / "m.csv", "key,label\n001,x\n1,y\n"))
    assert labels(stream) == {"p/001.jpg": "x", "p/1.jpg": "y"}


def test_a_table_adds_text_and_other_media(tmp_path):
    root = folder(tmp_path / "p", "a.jpg", "b.jpg", "s/a.ogg")
    meta = csv(tmp_path / "p/m.csv", "file,sound,caption\na.jpg,s/a.ogg,a cat\nb.jpg,,\n")
    stream = source.open([root], meta=meta, media="image,audio=sound,text=caption")
    first, second = rows(stream)
    assert (first["text"], first["audio"]) == ("a cat", f"{root}/s/a.ogg")
    assert (second["text"], second["audio"]) == (None, None)
    assert stream.schema.names == []


def test_jsonl_beside_several_folders(tmp_path):
    roots = [folder(tmp_path / "p", "a.jpg"), folder(tmp_path / "q", "b.ogg")]
    meta = csv(tmp_path / "m.jsonl", "\n".join(json.dumps({"file": f, "label": f[0]}) for f in ("a.jpg", "b.ogg")))
    assert labels(source.open(roots, meta=meta)) == {"p/a.jpg": "a", "q/b.ogg": "b"}


def test_ragged_rows_of_a_table_are_problems(tmp_path):
    root = folder(tmp_path / "p", "a.jpg", "b.jpg")
    stream = source.open([root], meta=csv(tmp_path / "m.csv", "file,label\na.jpg,cat\nb.jpg\n"))
    assert labels(stream) == {"p/a.jpg": "cat", "p/b.jpg": None}
    assert [found.reason for found in stream.problems()] == ["line 3 has 1 values where the header has 2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "nope"}, "has no column 'nope'; its columns are file, label"),
        ({"key": "label"}, "no value of label names a file such as a.jpg"),
        ({}, "no value of file names a file such as a.jpg"),
        ({"id_column": "nope", "key": "file"}, "no value of file names a file"),
    ],
)
def test_a_table_that_names_no_file_is_refused(tmp_path, options, message):
    root = folder(tmp_path / "p", "a.jpg")
    with pytest.raises(BadData, match=message):
        source.open([root], meta=csv(tmp_path / "m.csv", "file,label\nz.jpg,cat\n"), **options)


def test_a_table_needs_files_to_describe(tmp_path):
    folder(tmp_path, "a.jpg")
    manifest = csv(tmp_path / "list.csv", "file\na.jpg\n")
    with pytest.raises(BadData, match="is metadata of files"):
        source.open([manifest], meta=manifest)
