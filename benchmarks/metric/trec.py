"""TREC run and qrels files.

A run has six columns (query Q0 item rank score tag), qrels four (query 0 item grade). Columns are separated by
whitespace, and ids are written as ``quiver.trec_ids`` says.
Scores are the shortest text that reads back as the same float: ties stay ties, and no order changes. Other programs
order ties their own way (trec_eval by descending item id); to have them agree, write ``arrange(...)`` of a tie rule.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from quiver.benchmarks.metric.judgement import Judgements
from quiver.benchmarks.metric.ranking import Ragged, Ranking
from quiver.errors import BadData
from quiver.trec_ids import decode, encode


def write_run(path: str | Path, ranking: Ranking, *, queries: Sequence[str], items: Sequence[str], tag: str) -> None:
    """Write a ranking; a query without an answer has no line.

    Args:
        path: the file, replaced if it is there.
        ranking: one row per query.
        queries: (q,) ids.
        items: ids by row number.
        tag: the name of the run.

    Raises:
        BadData: an id or the tag is empty, or there are not as many queries.
    """
    if len(queries) != len(ranking):
        raise BadData(f"{path}: {len(queries)} query ids for a ranking of {len(ranking)}")
    names, label = [encode(item) for item in items], encode(tag)
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for query, rows, scores in zip(map(encode, queries), ranking.rows, ranking.scores, strict=True):
            kept = (rows >= 0) & (scores > -np.inf)
            pairs = zip(rows[kept].tolist(), scores[kept].astype(str).tolist(), strict=True)
            file.writelines(
                f"{query} Q0 {names[row]} {place} {score} {label}\n" for place, (row, score) in enumerate(pairs, 1)
            )


def read_run(path: str | Path, *, queries: Sequence[str], items: Sequence[str], depth: int = 1) -> Ranking:
    """Read a run, ordered by score; of equal scores the earlier line comes first.

    Args:
        path: the file.
        queries: (q,) ids; those that the file lacks have no answer.
        items: ids by row number.
        depth: places per query, at least; more where the file has more.

    Returns:
        With float64 scores: the numbers of the file, whose order and ties are those of any float that was written.

    Raises:
        BadData: a line has not six columns, names an unknown query or item, or has no finite score.
    """
    query, item = ({name: number for number, name in enumerate(names)} for names in (queries, items))
    owner, rows, scores = [], [], []
    for number, words in _lines(path, 6):
        owner.append(_known(query, words[0], f"{path}:{number}: query"))
        rows.append(_known(item, words[2], f"{path}:{number}: item"))
        scores.append(_number(words[4], f"{path}:{number}"))
    score = np.array(scores, np.float64)
    sorted_ = np.lexsort((-score, np.array(owner, np.int64)))
    at = np.array(owner, np.int64)[sorted_]
    place = np.arange(len(at)) - np.searchsorted(at, at)
    shape = (len(queries), max(depth, int(place.max(initial=0)) + 1))
    table, best = np.full(shape, -1, np.int64), np.full(shape, -np.inf)
    table[at, place], best[at, place] = np.array(rows, np.int64)[sorted_], score[sorted_]
    return Ranking(table, best)


def write_qrels(path: str | Path, judgements: Judgements, *, items: Sequence[str]) -> None:
    """Write what is relevant. Groups, and how many items compete, have no place in the format.

    Raises:
        BadData: an id is empty.
    """
    names, queries = [encode(item) for item in items], [encode(query) for query in judgements.ids]
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        pairs = zip(judgements.relevant.rows.tolist(), judgements.grades.tolist(), strict=True)
        for owner, (row, grade) in zip(judgements.relevant.owner.tolist(), pairs, strict=True):
            file.write(f"{queries[owner]} 0 {names[row]} {grade}\n")


def read_qrels(path: str | Path, *, queries: Sequence[str], items: Sequence[str]) -> Judgements:
    """Read what is relevant; all items compete, in one group (``dataclasses.replace`` sets them otherwise).

    Lines of grade 0 or less judge an item as not relevant, as does no line.

    Raises:
        BadData: a line has not four columns, names an unknown query or item, judges an item twice, or gives a grade
            that is no whole number.
    """
    query, item = ({name: number for number, name in enumerate(names)} for names in (queries, items))
    found: list[dict[int, int]] = [{} for _ in queries]
    for number, words in _lines(path, 4):
        where = f"{path}:{number}"
        grades, row = found[_known(query, words[0], f"{where}: query")], _known(item, words[2], f"{where}: item")
        if row in grades:
            raise BadData(f"{where}: item {items[row]!r} is judged twice for query {decode(words[0])!r}")
        grades[row] = _grade(words[3], where)
    found = [{row: grade for row, grade in grades.items() if grade > 0} for grades in found]
    return Judgements(
        ids=list(queries),
        relevant=Ragged.of([list(grades) for grades in found]),
        grades=np.array([grade for grades in found for grade in grades.values()], np.int64),
        competing=np.full(len(queries), len(items), np.int64),
        groups=[""] * len(queries),
    )


def _lines(path: str | Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if words and len(words) != columns:
                raise BadData(f"{path}:{number}: {len(words)} columns, where there should be {columns}")
            if words:
                yield number, words


def _known(names: dict[str, int], word: str, what: str) -> int:
    name = decode(word)
    if name not in names:
        raise BadData(f"{what} {name!r} is not known")
    return names[name]


def _grade(word: str, where: str) -> int:
    number = _number(word, where)
    if number != int(number) or abs(number) >= 2**63:
        raise BadData(f"{where}: grade {word} is no whole number: multiply all grades until they are")
    return int(number)


def _number(word: str, where: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise BadData(f"{where}: {word!r} is no finite number")
    return number
