import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quiver.engine import source
from quiver.engine.source.roots import Roots
from quiver.errors import BadData


def table(folder, text, name="list.csv"):
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").write_bytes(b"x")
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def rows(stream, size=100):
    return [row for batch in stream.batches(size) for row in batch.to_pylist()]


def types(stream):
    return {field.name: str(field.type) for field in stream.schema}


def values(stream, name):
    return [row[name] for row in rows(stream)]


def test_a_folder_and_its_manifest_give_the_same_ids_and_references(tmp_path):
    path = table(tmp_path / "pets", "file,label\na.jpg,cat\n./in/b.ogg,dog\n")
    (tmp_path / "pets/in").mkdir()
    (tmp_path / "pets/in/b.ogg").write_bytes(b"x")
    listed, walked = rows(source.open([path])), rows(source.open([str(tmp_path / "pets")]))
    assert [row["id"] for row in listed] == ["pets/a.jpg", "pets/in/b.ogg"]
    assert [{key: row[key] for key in walked[0]} for row in listed] == walked
    assert [row["label"] for row in listed] == ["cat", "dog"]


def test_paths_outside_the_folder_and_uris_name_themselves(tmp_path):
    path = table(tmp_path / "p", "path\na.jpg\n../q/b.jpg\ns3://bucket/c.jpg\nhttps://host/d.jpg?w=1\n")
    found = rows(source.open([path]))
    outside = str(tmp_path / "q/b.jpg")
    assert [row["id"] for row in found] == ["p/a.jpg", outside, "s3://bucket/c.jpg", "https://host/d.jpg?w=1"]
    assert [row["image"] for row in found][1:] == [outside, "s3://bucket/c.jpg", "https://host/d.jpg?w=1"]


def test_types_hold_for_the_whole_file(tmp_path):
    long = "".join(f"a.jpg,{n},{n},{n}.5,0{n % 10}\n" for n in range(300_000))  # over one block of 8 MiB
    path = table(tmp_path / "p", "file,count,mixed,price,label\n" + long + "a.jpg,7,none,8,10\n")
    stream = source.open([path], id_column="count")
    assert types(stream) == {"count": "string", "mixed": "string", "price": "double", "label": "string"}
    assert stream.total == 300_001
    last = list(stream.batches(1000))[-1].to_pylist()
    assert (last[-1]["mixed"], last[-1]["price"], last[-1]["label"]) == ("299999", 299999.5, "09")


@pytest.mark.parametrize(
    ("written", "kind", "read"),
    [
        (["1", "-2", ""], "int64", [1, -2, None]),
        (["1", "2.5", ""], "double", [1.0, 2.5, None]),
        (["1e3", ".5", "-0.25"], "double", [1000.0, 0.5, -0.25]),
        (["007", "12", ""], "string", ["007", "12", ""]),
        (["99999999999999999999", "1", "2"], "string", ["99999999999999999999", "1", "2"]),
        (["9223372036854775807", "", ""], "int64", [2**63 - 1, None, None]),
        (["true", "False", ""], "bool", [True, False, None]),
        (["true", "1", "0"], "string", ["true", "1", "0"]),
        (["0x1f", "1", "2"], "string", ["0x1f", "1", "2"]),
        (
            ["2024-02-29", "", "2025-01-01"],
            "date32[day]",
            [datetime.date(2024, 2, 29), None, datetime.date(2025, 1, 1)],
        ),
        (["2024-02-31", "2024-01-01", ""], "string", ["2024-02-31", "2024-01-01", ""]),
        (
            ["2024-02-29T10:00:00.5", "2024-02-29", ""],
            "timestamp[us]",
            [datetime.datetime(2024, 2, 29, 10, 0, 0, 500000), datetime.datetime(2024, 2, 29), None],
        ),
        (
            ["2024-02-29 10:00+02:00", "2024-02-29T10:00Z", ""],
            "timestamp[us, tz=UTC]",
            [
                datetime.datetime(2024, 2, 29, 8, tzinfo=datetime.UTC),
                datetime.datetime(2024, 2, 29, 10, tzinfo=datetime.UTC),
                None,
            ],
        ),
        (["2024-02-29T10:00Z", "2024-02-29T10:00", ""], "string", ["2024-02-29T10:00Z", "2024-02-29T10:00", ""]),
        (["", "", ""], "null", [None, None, None]),
    ],
)
def test_a_csv_column_has_the_type_that_all_its_values_fit(tmp_path, written, kind, read):
    path = table(tmp_path / "p", "file,value\n" + "".join(f"{n}.jpg,{value}\n" for n, value in enumerate(written)))
    (tmp_path / "p/0.jpg").write_bytes(b"x")
    stream = source.open([path])
    assert types(stream) == {"value": kind}
    assert values(stream, "value") == read


def test_names_are_kept_and_those_that_cannot_be_are_told(tmp_path):
    header = "file,base colour,Brand.Name,uri,_rank,vec_a,vector,base_colour,,цвет,Brand_Name"
    path = table(tmp_path / "p", header + "\na.jpg,1,2,3,4,5,6,7,8,9,10\n")
    stream = source.open([path])
    kept = ["base colour", "Brand_Name", "uri", "_rank", "meta_vec_a", "meta_vector", "base_colour"]
    assert stream.schema.names == [*kept, "column_9", "цвет", "Brand_Name_2"]
    told = [note for note in stream.notes if " is stored as " in note]
    assert told == [
        "column 'Brand.Name' is stored as Brand_Name",
        "column 'vec_a' is stored as meta_vec_a",
        "column 'vector' is stored as meta_vector",
        "column 'Brand_Name' is stored as Brand_Name_2",
    ]


def test_a_collection_of_an_earlier_version_goes_on_with_its_columns(tmp_path):
    path = table(tmp_path / "p", "file,base colour,uri,size-cm\na.jpg,1,2,3\n")
    columns = ("base_colour", "meta_uri", "size-cm", "size_cm")
    stream = source.open([path], roots=Roots(columns=columns))
    assert stream.schema.names == ["base_colour", "meta_uri", "size-cm"]
    assert "column 'base colour' is stored as base_colour" in stream.notes


def test_a_unique_id_column_is_the_id_and_none_keeps_the_paths(tmp_path):
    path = table(tmp_path / "p", "file,id,sku\na.jpg,01,x\nb.jpg,02,y\n")
    assert values(source.open([path]), "id") == ["01", "02"]
    assert source.open([path]).schema.names == ["sku"]
    kept = source.open([path], id_column="none")
    assert values(kept, "id") == ["p/a.jpg", "p/b.jpg"]
    assert kept.schema.names == ["meta_id", "sku"]
    named = source.open([path], id_column="sku")
    assert values(named, "id") == values(named, "sku") == ["x", "y"]


def test_an_id_column_that_repeats_is_not_the_id_unless_named(tmp_path):
    path = table(tmp_path / "p", "file,id\na.jpg,1\nb.jpg,1\nc.jpg,\n")
    stream = source.open([path])
    assert values(stream, "id") == ["p/a.jpg", "p/b.jpg", "p/c.jpg"]
    assert "column id has '1' in rows 1 and 2, so it is not used as id" in stream.notes
    named = source.open([path], id_column="id")
    assert values(named, "id") == ["1"]
    assert [found.uri for found in named.problems()] == [str(tmp_path / "p/c.jpg"), str(tmp_path / "p/b.jpg")]


def test_ragged_rows_are_problems_with_their_row(tmp_path):
    stream = source.open([table(tmp_path / "p", 'file,label\na.jpg,x\nb.jpg\nc.jpg,"two\nlines"\nd.jpg,1,2\n')])
    assert values(stream, "label") == ["x", "two\nlines"]
    assert stream.total == 2
    assert [found.reason for found in stream.problems()] == [
        "line 3 has 1 values where the header has 2",
        "line 6 has 3 values where the header has 2",
    ]


def test_a_row_without_media_or_of_an_unknown_kind_is_a_problem(tmp_path):
    stream = source.open([table(tmp_path / "p", "file,n\na.jpg,1\n,2\nx.bin,3\nb.jpg,4\n")])
    assert values(stream, "n") == [1, 4]
    assert [(found.id, found.reason[:30]) for found in stream.problems()] == [
        ("p/list.csv#1", "it has no media (looked in fil"),
        ("p/x.bin", "x.bin has no known extension: "),
    ]


def test_media_says_what_paths_without_extension_are(tmp_path):
    path = table(tmp_path / "p", "file\na.jpg\nx\n")
    assert values(source.open([path], media="image"), "image")[1] == str(tmp_path / "p/x")


def test_columns_named_as_media_are_media(tmp_path):
    text = "before,after,text,label\na.jpg,b.jpg,longer sleeves,1\na.jpg,,shorter,2\n,,only words,3\n"
    stream = source.open([table(tmp_path / "p", text)])
    first, last = rows(stream)
    assert (first["id"], first["text"], first["after"]) == ("p/a.jpg", "longer sleeves", str(tmp_path / "p/b.jpg"))
    assert (last["id"], last["text"], last["before"]) == ("p/list.csv#2", "only words", None)
    assert [found.reason for found in stream.problems()] == ["a pair needs both before and after"]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("before,aftre,text", "no column 'after': did you mean 'aftre'[?] Name it, as in media='after=COLUMN'"),
        ("image,after,text", "no column 'before': name it, as in media='before=COLUMN', or name the media to take"),
    ],
)
def test_a_table_with_half_a_pair_is_refused_unless_media_say_which_columns(header, told, tmp_path):
    path = table(tmp_path / "p", f"{header}\na.jpg,b.jpg,longer sleeves\n")
    with pytest.raises(BadData, match=f"list.csv: a pair needs both before and after, .*{told}"):
        source.open([path])
    (tmp_path / "p/b.jpg").write_bytes(b"x")
    (one,) = rows(source.open([path], media="text"))
    assert one["text"] == "longer sleeves"
    if "aftre" in header:
        (pair,) = rows(source.open([path], media="after=aftre"))
        assert (pair["before"], pair["after"]) == (str(tmp_path / "p/a.jpg"), str(tmp_path / "p/b.jpg"))


def test_a_text_column_goes_with_a_path_column(tmp_path):
    (found,) = rows(source.open([table(tmp_path / "p", "text,file\nhello,a.jpg\n")]))
    assert (found["text"], found["image"]) == ("hello", str(tmp_path / "p/a.jpg"))


def test_a_caption_is_metadata_beside_media_and_text_without(tmp_path):
    beside = source.open([table(tmp_path / "p", "file,caption\na.jpg,a hat\n")])
    assert (values(beside, "text"), values(beside, "caption")) == ([None], ["a hat"])
    assert any("text='caption' makes it the items' text" in note for note in beside.notes)
    path = table(tmp_path / "p", "file,caption\na.jpg,a hat\n")
    assert values(source.open([path], media="text=caption"), "text") == ["a hat"]
    alone = source.open([table(tmp_path / "q", "caption,n\na hat,1\nno,2\n", "words.csv")])
    assert [(row["id"], row["text"]) for row in rows(alone)] == [("q/words.csv#0", "a hat"), ("q/words.csv#1", "no")]


def test_a_column_that_only_sounds_like_paths_is_passed_over(tmp_path):
    stream = source.open([table(tmp_path / "p", "file,path,photo\nx1,animals/birds,a.jpg\n")], path_column="photo")
    assert values(stream, "image") == [str(tmp_path / "p/a.jpg")]
    found = source.open([table(tmp_path / "p", "path,uri\nanimals/birds,a.jpg\n")])
    assert values(found, "image") == [str(tmp_path / "p/a.jpg")]
    assert found.schema.names == ["path"]


def test_a_path_to_a_text_file_gives_its_content(tmp_path):
    path = table(tmp_path / "p", "file\nw.txt\nno.txt\n")
    (tmp_path / "p/w.txt").write_text("words\n")
    stream = source.open([path])
    assert [(row["id"], row["text"]) for row in rows(stream)] == [("p/w.txt", "words")]
    assert "No such file" in stream.problems()[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"file,label\na.jpg,caf\xe9\n", r"line 2, byte 20 \(0xe9\) is not UTF-8"),
        (b"file,caf\xe9\na.jpg,x\n", r"line 1, byte 8 \(0xe9\) is not UTF-8"),
        ("file,label\na.jpg,1\n".encode("utf-16"), r"line 1, byte 0 \(0xff\) is not UTF-8"),
        ("", "is empty"),
        ("file,label\n", "has no rows"),
        ("label,n\nx,1\n", "no column of media.*its columns are label, n"),
        ("file\nno.jpg\nnot.jpg\n", "none of the first 2 files exists"),
        ('file,n\na.jpg,"1\nb.jpg,2\n', "a quote is never closed"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(BadData, match=message):
        source.open([table(tmp_path / "p", text)])


def test_a_byte_order_mark_and_semicolons_are_read(tmp_path):
    stream = source.open([table(tmp_path / "p", "\ufefffile;n\r\na.jpg;1,5\r\n".encode())])
    assert (values(stream, "id"), values(stream, "n")) == (["p/a.jpg"], ["1,5"])
    assert stream.notes == ("list.csv: columns are separated by ';'",)
    assert values(source.open([table(tmp_path / "p", "file\tn\na.jpg\t1,5\n", "list.tsv")]), "n") == ["1,5"]


@pytest.mark.parametrize("option", [{"id_column": "nope"}, {"path_column": "nope"}, {"media": "text=nope"}])
def test_an_unknown_column_is_refused_with_those_there_are(tmp_path, option):
    with pytest.raises(BadData, match="has no column 'nope'; its columns are file, n"):
        source.open([table(tmp_path / "p", "file,n\na.jpg,1\n")], **option)


def test_jsonl_keeps_types_lists_and_flattens_one_level(tmp_path):
    lines = [
        {"file": "a.jpg", "n": 1, "tags": ["x", "y"], "size": {"w": 3, "at": {"deep": 1}}, "day": "2024-01-02"},
        {"file": "b.jpg", "n": 2.5, "tags": [], "sku": "007", "mixed": 1, "box": [1, 2]},
        {"file": "c.jpg", "mixed": "é", "flag": True, "day": ""},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\n[1]\n{oops\n"
    stream = source.open([table(tmp_path / "p", text, "list.jsonl")])
    assert types(stream) == {
        "n": "double",
        "tags": "list<item: string>",
        "day": "date32[day]",
        "size_w": "int64",
        "size_at": "string",
        "sku": "string",
        "mixed": "string",
        "box": "list<item: int64>",
        "flag": "bool",
    }
    found = rows(stream)
    assert [row["n"] for row in found] == [1.0, 2.5, None]
    assert [row["mixed"] for row in found] == [None, "1", "é"]
    assert [row["tags"] for row in found] == [["x", "y"], [], None]
    assert (found[0]["size_at"], found[1]["box"]) == ('{"deep": 1}', [1, 2])
    assert found[0]["day"] == datetime.date(2024, 1, 2)
    assert [found.reason for found in stream.problems()] == [
        "line 5 is of type list, not an object",
        "line 6 is not JSON: Expecting property name enclosed in double quotes at column 2",
    ]
    assert any("flattened one level" in note for note in stream.notes)


def test_jsonl_in_latin_1_is_refused_with_the_byte(tmp_path):
    with pytest.raises(BadData, match=r"line 1, byte 13 \(0xe9\)"):
        source.open([table(tmp_path / "p", '{"file": "café.jpg"}\n'.encode("latin-1"), "list.jsonl")])


def test_parquet_types_become_those_of_metadata(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    stamp = datetime.datetime(2024, 1, 2, 3)
    columns = {
        "file": pa.array(["a.jpg", "b.jpg"]),
        "n": pa.array([1, None], pa.int8()),
        "f": pa.array([0.5, 1], pa.float16()),
        "u": pa.array([2**64 - 1, 1], pa.uint64()),
        "at": pa.array([stamp, None], pa.timestamp("ns")),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "s": pa.array([{"w": 1, "h": 2}, None]),
        "tags": pa.array([["a"], []], pa.list_(pa.large_string())),
        "emb": pa.array([[0.5, 1.0], [1.0, 2.0]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    stream = source.open([str(tmp_path / "list.parquet")])
    assert types(stream) == {
        "n": "int64",
        "f": "double",
        "u": "string",
        "at": "timestamp[us]",
        "kind": "string",
        "s_w": "int64",
        "s_h": "int64",
        "tags": "list<item: string>",
    }
    first, second = rows(stream)
    assert (first["n"], first["f"], first["u"], first["at"], first["kind"]) == (1, 0.5, str(2**64 - 1), stamp, "x")
    assert (second["s_w"], second["tags"], second["n"]) == (None, [], None)
    assert any("column emb is left out" in note for note in stream.notes)


def test_a_broken_parquet_file_is_refused(tmp_path):
    with pytest.raises(BadData, match="is not a complete Parquet file"):
        source.open([table(tmp_path / "p", b"PAR1 oh no", "list.parquet")])


def test_a_chain_has_the_columns_of_all_and_keeps_the_first_of_an_id(tmp_path):
    one = table(tmp_path / "p", "file,n,only\na.jpg,1,x\nb.jpg,2,y\n")
    two = table(tmp_path / "p", "file,n,code\nb.jpg,2.5,7\nc.jpg,3,8\n", "more.csv")
    (tmp_path / "p/b.jpg").write_bytes(b"x")
    three = table(tmp_path / "q", "file,code\nz.jpg,red\na.jpg,blue\n", "last.csv")
    stream = source.open([one, two, three])
    assert types(stream) == {"n": "double", "only": "string", "code": "string"}
    assert stream.total == 6
    found = [(row["id"], row["n"], row["only"], row["code"]) for row in rows(stream)]
    assert found == [
        ("p/a.jpg", 1.0, "x", None),
        ("p/b.jpg", 2.0, "y", None),
        ("p/c.jpg", 3.0, None, "8"),
        ("q/z.jpg", None, None, "red"),
        ("q/a.jpg", None, None, "blue"),
    ]
    assert [found.id for found in stream.problems()] == ["p/b.jpg"]


def test_a_glob_of_tables_opens_each(tmp_path):
    table(tmp_path / "p", "file\na.jpg\n", "one.csv")
    table(tmp_path / "p", "file\na.jpg\nb.jpg\n", "two.csv")
    assert values(source.open([str(tmp_path / "p/*.csv")]), "id") == ["p/a.jpg", "p/b.jpg"]
    with pytest.raises(BadData, match="matches no file"):
        source.open([str(tmp_path / "p/*.jsonl")])
