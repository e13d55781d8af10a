"""Order: sort the hits of an answer by a metadata column."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import without_references
from quiver.types import Rows


@dataclass(frozen=True, slots=True)
class Order:
    """Sort the hits that the score chose; ties keep the order of the scores, hits without a value come last.

    Attributes:
        column: the metadata column.
        descending: whether the largest value comes first.
        offset: number of top hits to skip before sorting.
        keep: number of hits to sort; None for all of the list.
        reason: reason for the stage.
    """

    column: str
    descending: bool
    offset: int
    keep: int | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"order {self.column}"

    def run(self, context: Context) -> int:
        """Cut the list to the answer, and sort it."""
        ranked = without_references(context, context.lists[0])
        if self.keep is not None:
            ranked = ranked.cut(self.offset + self.keep, start=self.offset)
        order = np.argsort(self._places(context, ranked.rows), axis=1, kind="stable")
        rows = np.take_along_axis(ranked.rows, order, 1)
        made = Ranked(self.label, np.take_along_axis(ranked.scores, order, 1), rows, ranked.space, ranked.origin)
        context.lists = [made]
        context.trail.append(made)
        return made.count

    def _places(self, context: Context, rows: Rows) -> Rows:
        """Return the place of the value of each row in the wanted order; equal values have equal places."""
        every = np.unique(rows[rows >= 0])
        places = np.full(rows.shape, len(every) + 2, np.int64)
        if not len(every):
            return places
        values = context.session.values(self.column, every)
        valid = pc.is_valid(values)
        if pa.types.is_floating(values.type):
            valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(values), False)))
        held = values.filter(valid)
        comparable = held.cast(pa.int8()) if pa.types.is_boolean(held.type) else held
        order = "descending" if self.descending else "ascending"
        ranks = np.full(len(every), len(every) + 1, np.int64)
        ranks[valid.to_numpy(zero_copy_only=False)] = pc.rank(comparable, order, tiebreaker="dense").to_numpy()
        places[rows >= 0] = ranks[np.searchsorted(every, rows[rows >= 0])]
        return places
