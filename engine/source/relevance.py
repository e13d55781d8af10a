"""Relevance judgements (qrels): which items are right answers of which queries, with a grade.

Read are TREC files (``query 0 item grade``, whitespace between), tables as BEIR and MTEB write them (columns
``query-id``, ``corpus-id``, ``score``), the same with other usual names, and JSON objects ``{query: {item: grade}}``.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from quiver.engine.source.table import is_table, open_table
from quiver.errors import BadData
from quiver.trec_ids import decode

#: Names of the columns of a table, the first that it has is taken.
QUERY = ("query-id", "query_id", "qid", "query", "question", "question_id", "topic", "topic_id")
ITEM = ("corpus-id", "corpus_id", "item", "item_id", "answer", "docid", "doc_id", "doc-id", "docno", "document", "pid")
GRADE = ("score", "grade", "relevance", "rel", "label", "judgement")
_WHOLE = re.compile(r"[-+]?[0-9]+")


class Judgement(NamedTuple):
    """One line of a file of judgements.

    Attributes:
        query: id of the query.
        item: id of the item.
        grade: 0 or less if the item is judged and not relevant.
        where: the line, for messages.
    """

    query: str
    item: str
    grade: int
    where: str


def grade_of(value: object, where: str) -> int:
    """Read a grade.

    Raises:
        BadData: it is not a whole number.
    """
    if isinstance(value, bool):
        return int(value)
    try:
        number = float(str(value))
    except ValueError:
        raise BadData(f"{where}: {value!r} is no finite number: a grade is a whole number, such as 1") from None
    if not abs(number) < 2**63:
        raise BadData(f"{where}: {value!r} is no finite number: a grade is a whole number, such as 1")
    if number != int(number):
        raise BadData(f"{where}: grade {value} is no whole number: multiply all grades until they are")
    return int(number)


def read(*paths: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements: grades by item, by query, in the order of the files.

    Args:
        paths: the files; of several files, a later one corrects the earlier ones.

    Raises:
        BadData: a file cannot be read, or judges an item twice for one query with different grades.
    """
    found: dict[str, dict[str, int]] = {}
    for path in paths:
        for query, grades in _one(os.path.expanduser(os.fspath(path))).items():
            found.setdefault(query, {}).update(grades)
    return found


def _one(path: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    first: dict[tuple[str, str], str] = {}
    for query, item, grade, where in _judgements(path):
        grades = found.setdefault(query, {})
        if grades.setdefault(item, grade) != grade:
            raise BadData(
                f"{where}: item {item!r} is judged twice for query {query!r}, as {grades[item]}"
                f" ({first[query, item].rpartition(':')[2].strip()}) and as {grade}: keep one line"
            )
        first.setdefault((query, item), where)
    if not found:
        raise BadData(f"{path} holds no judgements")
    return found


def _judgements(path: str) -> Iterator[Judgement]:
    if not os.path.isfile(path):
        raise BadData(f"there is no file {path} of judgements")
    if path.lower().endswith(".json"):
        return _object(path)
    if _is_trec(path) or not is_table(path):
        return _lines(path)
    return _rows(path)


def _is_trec(path: str) -> bool:
    """Whether the first line has the four columns of a TREC file; a header's last column is a name, not a grade."""
    if path.lower().endswith((".parquet", ".pq")):
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        words = next((words for line in file if (words := line.split())), [])
    return len(words) == 4 and _WHOLE.fullmatch(words[3]) is not None and words[1] in ("0", "Q0", "q0")


def _lines(path: str) -> Iterator[Judgement]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                where = f"{path}: line {number}"
                if words and len(words) != 4:
                    raise BadData(
                        f"{where} has {len(words)} columns; a TREC file has 4 (query 0 item grade), a table a line of"
                        " column names and a name that ends in .csv, .tsv, .jsonl or .parquet"
                    )
                if words:
                    yield Judgement(decode(words[0]), decode(words[2]), grade_of(words[3], where), where)
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def _object(path: str) -> Iterator[Judgement]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"cannot read judgements from {path}: {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(each, Mapping) for each in content.values()):
        raise BadData(f'{path} is no object of judgements: write {{"query id": {{"item id": grade}}}}')
    for query, grades in content.items():
        for item, grade in grades.items():
            where = f"{path}: query {query!r}"
            yield Judgement(query, item, grade_of(grade, where), where)


def _rows(path: str) -> Iterator[Judgement]:
    import pyarrow as pa

    table = open_table(os.path.abspath(path))
    names = table.schema.names
    query, item = _column(QUERY, names, path, "query ids"), _column(ITEM, names, path, "item ids")
    grade = next((name for name in GRADE if name in names), None)
    chosen = [query, item, *([grade] if grade else [])]
    row = 0

    def report(where: str, reason: str) -> None:
        raise BadData(f"{path}: {reason}")

    for batch in table.read(pa.schema([(name, pa.string()) for name in chosen]), report):
        columns: list[Sequence[str | None]] = [values.to_pylist() for values in batch.columns]
        grades: Iterable[str | None] = columns[2] if grade else ["1"] * len(batch)
        for asked, answer, value in zip(columns[0], columns[1], grades, strict=True):
            row += 1
            where = f"{path}: row {row}"
            if not asked or not answer:
                raise BadData(f"{where} has no {query if not asked else item}")
            if value in (None, ""):
                raise BadData(f"{where} has no {grade}")
            yield Judgement(asked, answer, grade_of(value, where), where)


def _column(usual: Sequence[str], names: Sequence[str], path: str, what: str) -> str:
    found = next((name for name in usual if name in names), None)
    if found is None:
        raise BadData(
            f"{path} has no column of {what}: call it {usual[0]!r} (or {', '.join(usual[1:4])}); its columns are"
            f" {', '.join(names)}"
        )
    return found
