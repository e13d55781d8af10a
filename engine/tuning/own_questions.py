"""Questions with known answers from the collection itself: its texts, or its items with a value that others share."""

from collections import defaultdict

import numpy as np

from quiver.engine.core.column import Column
from quiver.engine.core.sql import present
from quiver.engine.execution.session import Session
from quiver.engine.storage import groups
from quiver.errors import BadSpec
from quiver.types import KEYS, Query
from quiver.wording import either, option

#: Largest number of questions; more would narrow the bounds little.
QUESTIONS = 500


def own_questions(session: Session, *, by: str | None, target: str | None) -> tuple[list[Query], list[list[str]], str]:
    """Return questions, the ids of all right answers of each, and their source in words.

    Args:
        session: the collection.
        by: a metadata column: stored items ask for the items with the same value. None: texts of items ask for the
            items that have this text.
        target: the key to find.

    Raises:
        BadSpec: the column does not exist, or items have no texts or no such medium.
    """
    if target is not None and target not in KEYS:
        raise BadSpec(f"{option('target')} must be one of {', '.join(KEYS)}, not {target!r}")
    column, vectors = by or "text", _vectors(session, target, besides="text" if by is None else "")
    if by is not None:
        groups.check(session.table, by)
    wanted = vectors.key
    found = session.table.read(["id", column], where=present(column, vectors.name))
    alike: dict[object, list[str]] = defaultdict(list)
    for id, value in zip(found["id"].to_pylist(), found[column].to_pylist(), strict=True):
        alike[value].append(id)
    draw = np.random.default_rng(0).permutation
    if by is None:
        texts = sorted(str(value) for value in alike if str(value).strip())
        chosen = [texts[n] for n in draw(len(texts))[:QUESTIONS]]
        return [Query({"text": text}, target=wanted) for text in chosen], [alike[text] for text in chosen], "own texts"
    able = sorted((id, value) for value, ids in alike.items() if len(ids) > 1 for id in ids)
    drawn = [able[n] for n in draw(len(able))[:QUESTIONS]]
    answers = [[other for other in alike[value] if other != id] for id, value in drawn]
    return [Query(like=(id,), target=wanted) for id, _ in drawn], answers, f"own items by {by}"


def _vectors(session: Session, target: str | None, *, besides: str) -> Column:
    """Return the vectors to find: the default ones of the target, or of the first medium but one.

    Raises:
        BadSpec: there are none.
    """
    graph = session.graph
    keys = [target] if target is not None else [column.key for column in graph.columns if column.key != besides]
    found = next((column for key in keys if (column := graph.default(key)) is not None), None)
    if found is None:
        ask = either("`quiver threshold COLLECTION questions.csv`", "threshold(queries, answers)")
        raise BadSpec(
            "a threshold needs questions: texts of items with vectors of another medium, a metadata column whose"
            f" values items share ({option('by')}), or questions with answers ({ask})"
        )
    return found
