"""The study of candidates for MaxSim, on a tiny BERT."""

import pytest
from tests.encoders import families

from quiver.benchmarks.study.many_vectors import main, read
from quiver.errors import BadData


def test_shares_of_the_ranking_by_all_vectors_are_told(tmp_path, capsys):
    table = tmp_path / "texts.csv"
    rows = [f"a red ball {n} and a {word} dog" for n in range(60) for word in ("blue", "small")]
    table.write_text("caption\n" + "\n".join(rows) + "\n")
    bert = families.bert(tmp_path / "bert")
    main([str(table), "--count", "110", "--asked", "5", "--tokens", "12", "--bert", str(bert)])
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("110 texts, 5 queries; ranking all takes ")
    (row,) = [line for line in told if line.startswith("| 100 by exact")]  # 100 of 110 are candidates
    assert float(row.split("|")[2]) > 0.8


def test_texts_are_drawn_without_repeats(tmp_path):
    table = tmp_path / "texts.csv"
    table.write_text("caption\na\nb\na\nc\n")
    assert sorted(read(table, "caption", 3)) == ["a", "b", "c"]
    with pytest.raises(BadData, match="has 3 distinct texts, fewer than 4"):
        read(table, "caption", 4)
    with pytest.raises(BadData, match="has no column text; its columns are caption"):
        read(table, "text", 1)
