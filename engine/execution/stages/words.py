"""Words: full-text search (BM25) over the text and metadata of items."""

from dataclasses import dataclass

import numpy as np

from quiver.engine.core.ranking import Ranked
from quiver.engine.core.sql import Sql, among, both, none_of, present
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import record, spare
from quiver.engine.execution.session import EXCLUDED
from quiver.engine.storage import full_text
from quiver.types import WORDS, Floats, Rows, values_of

_NONE = (np.empty(0, np.float32), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Words:
    """Search the text of every query in the full-text index."""

    k: int
    target: str | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "words"

    def run(self, context: Context) -> int:
        """Search, and add the list."""
        wishes = [" ".join(map(str, values_of(query.media, "text"))) for query in context.queries]
        able = context.allow is None or len(context.allow) > 0
        found = [self._search(context, words, self.k + spare(context)) if able else _NONE for words in wishes]
        width = max(len(rows) for _, rows in found)
        scores = np.full((len(found), width), -np.inf, np.float32)
        rows = np.full((len(found), width), -1, np.int64)
        for n, (theirs, at) in enumerate(found):
            scores[n, : len(at)], rows[n, : len(at)] = theirs, at
        ranked = record(context, Ranked(self.label, scores, rows, origin=WORDS), self.k)
        context.lists.append(ranked)
        return ranked.count

    def _search(self, context: Context, text: str, k: int) -> tuple[Floats, Rows]:
        """Return scores and row numbers of one query, best first; ties go to the lower row number."""
        query = context.query
        where = both(
            _has(self.target),
            None if query.condition is None else context.session.sql(query.condition),
            None if query.candidates is None else among("id", query.candidates),
            none_of("id", query.exclude) if len(query.exclude) > EXCLUDED else None,
        )
        table = full_text.search(context.session.table, text, k, where=where)
        scores = table["_score"].to_numpy().astype(np.float32)
        rows = table["_rowid"].to_numpy().astype(np.int64)
        order = np.lexsort((rows, -scores))
        return scores[order], rows[order]


def _has(target: str | None) -> Sql | None:
    """Return the condition that an item has the target medium."""
    if target is None:
        return None
    return present("before", "after") if target == "pair" else present(target)
