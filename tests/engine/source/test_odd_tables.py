"""Tables as people have them: spaces, quotes, names that come twice, JSON that is not one object to a line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quiver.engine import source
from quiver.errors import BadData


def write(folder, name, text):
    for letter in "abcd":
        (folder / f"{letter}.jpg").write_bytes(b"x")
    path = folder / name
    path.write_bytes(text.encode())
    return str(path)


def rows(stream):
    return [row for batch in stream.batches(100) for row in batch.to_pylist()]


def test_spaces_around_names_and_values_do_not_count(tmp_path):
    stream = source.open([write(tmp_path, "t.csv", "file , price, name\na.jpg, 10 , red dress \n b.jpg,12.5,x\n")])
    found = rows(stream)
    assert [(row["price"], row["name"]) for row in found] == [(10.0, "red dress"), (12.5, "x")]
    assert [row["image"].rsplit("/", 1)[-1] for row in found] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("file,n\na.jpg,1\nb.jpg\nc.jpg,3,4\nd.jpg,5\n", [3, 4]),
        ('file,n\na.jpg,"1\n2"\nb.jpg\nc.jpg,"x\ny\nz"\nd.jpg\n', [4, 8]),
        ('file,n\n\na.jpg,"1\n2"\n\n\nb.jpg\n', [7]),
        ("file,n\r\na.jpg,1\r\nb.jpg\r\n", [3]),
        ('"file",\n"n\nm"\n', None),
    ],
)
def test_a_ragged_row_is_named_by_its_file_and_line(tmp_path, text, lines):
    path = write(tmp_path, "t.csv", text)
    if lines is None:
        with pytest.raises(BadData, match=r"no rows|no column of media"):
            source.open([path])
        return
    stream = source.open([path])
    rows(stream)
    assert [problem.id for problem in stream.problems()] == [f"t.csv#line{line}" for line in lines]
    assert all(problem.reason.startswith("line ") for problem in stream.problems())


def test_a_quote_inside_a_value_is_a_character(tmp_path):
    text = 'file,name\na.jpg,5" nail\nb.jpg,"6"" nail"\nc.jpg,the "best" one\n'
    found = rows(source.open([write(tmp_path, "t.csv", text)]))
    assert [row["name"] for row in found] == ['5" nail', '6" nail', 'the "best" one']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('file,name\na.jpg,"never closed\nb.jpg,x\n', "a quote is never closed"),
        (
            'file,name\na.jpg,"never closed\nb.jpg,x"y\nc.jpg,z\n',
            "line 3: .*a quote is not closed",
        ),
        ('file,name\na.jpg,"one\nb.jpg,"two"\nc.jpg,z\n', "a quote is"),
    ],
)
def test_a_quote_that_swallows_rows_is_refused_with_its_line(tmp_path, text, says):
    with pytest.raises(BadData, match=says):
        source.open([write(tmp_path, "t.csv", text)])


def test_names_that_come_twice_or_differ_in_case_are_told_apart_in_every_format(tmp_path):
    stream = source.open([write(tmp_path, "t.csv", "file,name,name,Name,\na.jpg,1,2,3,4\n")])
    assert stream.schema.names == ["name", "name_2", "Name_3", "column_5"]
    assert "t.csv: column 4, 'Name', is renamed to Name_3" in stream.notes
    stream = source.open([write(tmp_path, "t.jsonl", json.dumps({"file": "a.jpg", "n": 1, "N": 2, "a.n": 3}) + "\n")])
    assert stream.schema.names == ["n", "N_2", "a_n"]
    twice = pa.table([["a.jpg"], [1], [2]], names=["file", "n", "n"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(BadData, match="two columns are named 'n'"):
        source.open([str(tmp_path / "t.parquet")])


@pytest.mark.parametrize(
    "name", ["", "a`b", "_rowid", "_rowaddr", "a.b", "_score", "id", "vec_x", "\x00", "k" * 500, "_distance"]
)
def test_a_name_that_could_not_be_stored_is_changed_and_told(tmp_path, name):
    from quiver.engine.core.metadata import fault

    row = {"file": "a.jpg", "ok": 1, name: "x"}
    stream = source.open([write(tmp_path, "t.jsonl", json.dumps(row) + "\n")], id_column="none")
    assert all(fault(each) is None for each in stream.schema.names)
    assert len(stream.schema.names) == 1 or any(f"column {name!r} is stored as" in note for note in stream.notes)


OBJECTS = [{"file": "a.jpg", "n": 1}, {"file": "b.jpg", "n": 2}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2),
        "\n".join(json.dumps(each, indent=2) for each in OBJECTS),
        ",\n".join(json.dumps(each, indent=1) for each in OBJECTS),
        "\n\n" + json.dumps(OBJECTS[:1]) + "\n" + json.dumps(OBJECTS[1:]) + "\n",
        "\ufeff" + json.dumps(OBJECTS),
    ],
)
def test_json_that_is_not_one_object_to_a_line_is_read(tmp_path, text):
    assert [row["n"] for row in rows(source.open([write(tmp_path, "t.jsonl", text)]))] == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[{"file": "a.jpg"},\n{"file": oops}]',
            "not valid JSON: Expecting value at column 10 of line 2",
        ),
        ("5\nnull\n", "has no rows: line 1 is of type int, not an object"),
        ("[]", "has no rows"),
        ("", "has no rows"),
        ("{\n", "has no rows: line 1 is not JSON"),
    ],
)
def test_json_without_rows_says_what_is_there(tmp_path, text, says):
    with pytest.raises(BadData, match=says):
        source.open([write(tmp_path, "t.jsonl", text)])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"file": "b.jpg", "n": "cut \\ud83d"}', "line 2 has half a surrogate pair"),
        ('{"file": "b.jpg", "\\udc00": 1}', "line 2 has half a surrogate pair"),
        (
            '{"file": "b.jpg", "n": ' + "[" * 100_000 + "]" * 100_000 + "}",
            "line 2 is not JSON: it is nested",
        ),
        ('{"file": "b.jpg", "n": ' + "9" * 5000 + "}", "line 2 is not JSON: Exceeds the limit"),
        ('{"file": "b.jpg", "n": ' + "[" * 300 + "]" * 300 + "}", "line 2 is nested more than 200 deep"),
        ("{oops", "line 2 is not JSON"),
    ],
    ids=["half an emoji", "half in a name", "deep", "huge", "rather deep", "no JSON"],
)
def test_one_bad_line_is_turned_away_and_the_rest_goes_on(tmp_path, line, says):
    text = f'{{"file": "a.jpg", "n": "x"}}\n{line}\n{{"file": "c.jpg", "n": "whole \\ud83d\\ude00"}}\n'
    stream = source.open([write(tmp_path, "t.jsonl", text)])
    assert [row["n"] for row in rows(stream)] == ["x", "whole 😀"]
    (problem,) = stream.problems()
    assert says in problem.reason


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (["9007199254740993", "0.5"], "string", ["9007199254740993", "0.5"]),
        (["9007199254740993", "7"], "int64", [9007199254740993, 7]),
        (["9007199254740992", "0.5"], "double", [9007199254740992.0, 0.5]),
        (["1180591620717411303424", "7"], "string", ["1180591620717411303424", "7"]),
    ],
)
def test_large_whole_numbers_lose_no_digit(tmp_path, values, kind, read):
    lines = [f'{{"file": "{letter}.jpg", "n": {value}}}' for letter, value in zip("ab", values, strict=True)]
    csv = "file,n\n" + "".join(f"{letter}.jpg,{value}\n" for letter, value in zip("ab", values, strict=True))
    for name, text in {"t.jsonl": "\n".join(lines), "t.csv": csv}.items():
        stream = source.open([write(tmp_path, name, text)])
        assert str(stream.schema.field("n").type) == kind and [row["n"] for row in rows(stream)] == read
