"""Queries and relevance judgements are read by one reader each, whatever program wrote the file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quiver.engine.source import queries, relevance
from quiver.engine.tasks import labelled_queries
from quiver.errors import BadData, BadSpec
from quiver.wording import command_line


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


JUDGED = {"q1": {"a b": 2, "c": 1}, "q2": {"c": 0}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qrels.txt", "q1 0 a%20b 2\nq1\t0\tc\t1\n\nq2 0 c 0\n"),
        ("test.tsv", "query-id\tcorpus-id\tscore\nq1\ta b\t2\nq1\tc\t1\nq2\tc\t0\n"),
        ("qrels.dev.tsv", "q1\t0\ta%20b\t2\nq1\t0\tc\t1\nq2\t0\tc\t0\n"),
        ("judged.csv", "qid,docid,relevance,who\nq1,a b,2,me\nq1,c,1.0,me\nq2,c,0,me\n"),
        ("test.jsonl", "".join(json.dumps({"query-id": q, "corpus-id": i, "score": s}) + "\n"
                               for q, i, s in [("q1", "a b", 2), ("q1", "c", 1), ("q2", "c", 0)])),
        ("qrels.json", json.dumps(JUDGED)),
    ],
)  # fmt: skip
def test_judgements_of_every_format_are_the_same(tmp_path, name, text):
    assert relevance.read(write(tmp_path / name, text)) == JUDGED


def test_judgements_may_be_parquet_and_a_grade_that_is_missing_is_one(tmp_path):
    pq.write_table(pa.table({"query-id": ["q1"], "corpus-id": ["a"], "score": [3]}), tmp_path / "a.parquet")
    assert relevance.read(tmp_path / "a.parquet") == {"q1": {"a": 3}}
    assert relevance.read(write(tmp_path / "a.csv", "qid,item\nq1,a\n")) == {"q1": {"a": 1}}


def test_a_later_file_corrects_an_earlier_one(tmp_path):
    first = write(tmp_path / "a.txt", "q1 0 a 1\nq1 0 b 1\n")
    assert relevance.read(first, write(tmp_path / "b.txt", "q1 0 a 0\nq2 0 c 1\n")) == {
        "q1": {"a": 0, "b": 1},
        "q2": {"c": 1},
    }


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "q1 0 a 1\nq1 0 a 2\n", r"line 2: item 'a' is judged twice for query 'q1', as 1 \(line 1\) and as 2"),
        ("a.txt", "q1 a 1\n", r"line 1 has 3 columns; a TREC file has 4"),
        ("a.txt", "q1 0 a 0.5\n", r"line 1: grade 0.5 is no whole number: multiply all grades"),
        ("a.txt", "q1 0 a inf\n", "line 1: 'inf' is no finite number"),
        ("a.txt", "", "holds no judgements"),
        ("a.csv", "qid,item\nq1,\n", "row 1 has no item"),
        ("a.csv", "qid,item,score\nq1,a,\n", "row 1 has no score"),
        ("a.csv", "qid,thing\nq1,a\n", "no column of item ids: call it 'corpus-id'"),
        ("a.json", "[1]", "is no object of judgements"),
    ],
)
def test_a_bad_judgement_is_one_line_that_names_its_place(tmp_path, name, text, says):
    with pytest.raises(BadData, match=says):
        relevance.read(write(tmp_path / name, text))


def test_queries_may_have_media_examples_conditions_targets_and_vectors(tmp_path):
    (tmp_path / "a.png").touch()
    rows = [
        {"id": "media", "text": "red", "image": "a.png", "target": "image"},
        {"id": "example", "like": ["x", "y"], "unlike": "z", "exclude": ["w"], "where": "price < 5"},
        {"id": "vector", "vector": [0.5, 1]},
    ]
    path = write(tmp_path / "q.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    media, example, vector = queries.read(path).queries
    assert media.given == {"media": {"text": "red", "image": str(tmp_path / "a.png")}, "target": "image"}
    assert example.given == {
        "media": {}, "like": ("x", "y"), "unlike": ("z",), "exclude": ("w",), "where": "price < 5",
    }  # fmt: skip
    assert vector.given["vector"].tolist() == [0.5, 1.0] and vector.id == "vector"
    csv = write(tmp_path / "q.csv", 'qid,like\none,x\ntwo,"[""x"", ""y""]"\nodd,[1] a\n')
    assert [each.given["like"] for each in queries.read(csv).queries] == [("x",), ("x", "y"), ("[1] a",)]


def test_vectors_of_queries_come_from_parquet_and_npy(tmp_path):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "q.npy", vectors)
    assert [each.id for each in queries.read(tmp_path / "q.npy").queries] == ["0", "1", "2"]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "vector": vectors.tolist()}), tmp_path / "q.parquet")
    read = queries.read(tmp_path / "q.parquet")
    assert [each.id for each in read.queries] == ["a", "b", "c"] and read.notes == ()
    assert np.array_equal([each.given["vector"] for each in read.queries], vectors)
    pq.write_table(pa.table({"vector": vectors.tolist()}), tmp_path / "bare.parquet")
    assert len(queries.read(tmp_path / "bare.parquet").queries) == 3


def test_beir_queries_are_read_as_they_are(tmp_path):
    line = {"_id": "q1", "text": "what is new", "metadata": {"url": "x"}}
    (query,) = queries.read(write(tmp_path / "queries.jsonl", json.dumps(line) + "\n")).queries
    assert query.id == "q1" and query.given == {"media": {"text": "what is new"}}


def test_rows_that_are_no_query_are_counted_and_unused_columns_named(tmp_path):
    path = write(tmp_path / "q.csv", "id,text,before,after,colour\n1,red,,,x\n2,,,,x\n3,,a.png,,x\n")
    (tmp_path / "a.png").touch()
    read = queries.read(path)
    assert [each.id for each in read.queries] == ["1"]
    assert read.notes == (
        "q.csv: no use for column colour",
        "q.csv: 2 rows left out, such as row 2: the query is empty: give one of text, image, audio, video, before,"
        " after, like, vector, vectors",
    )
    with pytest.raises(BadData, match=r"has no query: row 1: the query is empty"):
        queries.read(write(tmp_path / "empty.csv", 'id,text\n1,""\n'))


def test_one_id_of_two_queries_is_refused_and_equal_rows_are_joined(tmp_path):
    with pytest.raises(BadData, match=r"query id '1' stands for two queries, in row 1 and row 3"):
        queries.read(write(tmp_path / "a.csv", "id,text\n1,red\n2,blue\n1,green\n"))
    joined = queries.read(write(tmp_path / "b.csv", "id,text,answer,grade\n1,red,a,2\n1,red,b,1\n2,red,c,1\n"))
    assert [each.answers for each in joined.queries] == [{"a": 2, "b": 1, "c": 1}]
    assert any("1 rows ask the same as a row with another id, such as '2'" in note for note in joined.notes)
    with pytest.raises(BadData, match="row 2 grades answer 'a' otherwise than row 1"):
        queries.read(write(tmp_path / "c.csv", "text,answer,grade\nred,a,2\nred,a,1\n"))


def test_labelled_queries_count_what_has_no_counterpart(tmp_path):
    asked = write(tmp_path / "q.csv", "id,text,answer\n1,red,x\n2,blue,x\n3,green,x\n")
    judged = write(tmp_path / "qrels.txt", "1 0 a 1\n2 0 a 0\n9 0 a 1\n8 0 b 1\n")
    found = labelled_queries.read(asked, relevant=[judged])
    assert found.answers == [["a"]] and [each.id for each in found.asked] == ["1"]
    assert found.notes[0].endswith("its answers are not used, since --relevant names files of judgements")
    assert found.notes[1:] == (
        "left out: 2 judgements of 2 queries that q.csv lacks, such as '9' (qrels.txt)",
        "left out: 2 of 3 queries without any right answer, such as '2'",
    )
    with pytest.raises(BadData, match=r"no query of .* has a right answer in .*: its ids look like '1'; left out: 1"):
        labelled_queries.read(asked, relevant=[write(tmp_path / "other.txt", "9 0 a 1\n")])
    with pytest.raises(BadSpec, match="has no column of query ids, which --relevant refers to: call it id"):
        labelled_queries.read(write(tmp_path / "r.csv", "text\nred\n"), relevant=[judged])
    with pytest.raises(BadSpec, match=r"or give a file of judgements with --relevant"):
        labelled_queries.read(write(tmp_path / "s.csv", "text\nred\n"))


def test_a_missing_column_of_media_is_named_as_the_reader_would_type_it(tmp_path):
    table = write(tmp_path / "a.csv", "name,picture\na,b.png\n")
    with pytest.raises(BadData, match="image='COLUMN' or text='COLUMN'; its columns are name, picture"):
        queries.read(table)
    with command_line(), pytest.raises(BadData, match="--image COLUMN or --text COLUMN; its columns are name, picture"):
        queries.read(table)
