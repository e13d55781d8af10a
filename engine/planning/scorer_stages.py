"""Shared parts of plans with a scorer: the cost of a full scan, candidate depths, the first and the last stages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quiver.engine.core.column import Derived
from quiver.engine.core.graph import Recipe, references
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning import access_path, routes
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.scorer_choice import ScorerChoice
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.scorer_recall import Measured
from quiver.types import Query, keys_of

#: Default nanoseconds to score one dimension of a row for a single query: ARTEMIS's four products over rows of
#: 512 dimensions take one second per million rows, on one core that also does other work.
NS = 2.0
#: Milliseconds up to which a full scan is always taken.
SCAN_MS = 200.0
#: Candidates per list: at least DEPTH, and TIMES_K times k.
DEPTH, TIMES_K = 200, 20


def depth_of(k: int) -> int:
    """Return the default number of candidates to recall for k hits."""
    return max(DEPTH, TIMES_K * k)


@dataclass(frozen=True, slots=True)
class ScanCost:
    """The expected cost of scoring every matching row.

    Attributes:
        ms: milliseconds.
        rows: number of scored rows.
        measured: figures behind the estimate; None if it uses the pair latency, or NS.
    """

    ms: float
    rows: int
    measured: Measured | None

    @classmethod
    def of(cls, facts: Facts, scorer: ScorerChoice) -> "ScanCost":
        """Estimate the cost from measurements, or from the dimension of the vectors that the scorer reads."""
        found = facts.measured.get(scorer.composition)
        measured = found if found is not None and found.holds(facts.items) else None
        pace = facts.paces.get(scorer.composition)
        if measured is not None:
            ns = measured.ns
        elif pace is not None and pace.known:
            ns = pace.pair * 1e6
        else:
            ns = NS * sum(space.dim for space in scorer.composition.reads)
        return cls(facts.rows * ns / 1e6, facts.rows, measured)

    def __str__(self) -> str:
        source = self.measured or "estimated"
        return f"at most {self.rows:,} rows, about {self.ms:.3g} ms ({source})"


def with_spare(query: Query, scorer: ScorerChoice) -> Query:
    """Return the query with k raised by the number of references given by path; the answer drops these at the end."""
    return replace(query, k=query.k + len(references(query, scorer.composition)))


def score_all(query: Query, scorer: ScorerChoice, builder: PlanBuilder, why: str) -> None:
    """Add the stages of a full scan."""
    add_around(query, scorer, [scan(with_spare(query, scorer).k, scorer, builder.facts, why)], builder)


def scan(k: int, scorer: ScorerChoice, facts: Facts, why: str) -> Score:
    """Return the stage that scores every matching row."""
    made = [access_path.computed(column, facts) for column in scorer.columns if isinstance(column, Derived)]
    reason = "; ".join([f"best {k} by exact scores of all rows: {why}", *made])
    return Score(scorer.composition.name, k, reason)


def add_around(
    query: Query,
    scorer: ScorerChoice,
    body: Sequence[Stage],
    builder: PlanBuilder,
    *,
    recipe: Recipe | None = None,
) -> None:
    """Add the given stages, between the first and last stages of every plan with a scorer."""
    own = with_spare(query, scorer).k - query.k
    if own:
        builder.note("a reference given by its path is left out of the answer if it is a stored item")
    if len(keys_of(query.media)) + bool(query.like) > 1:
        builder.refuse("rank fusion", f"{scorer.composition.name} composes the inputs; scorer=none would fuse lists")
    more = f", and {own} more to replace references" if own else ""
    cut = Cut(query.k + own, f"the best {query.k}{more}")
    builder.add(_compose(query, scorer, recipe), *routes.narrow(query, builder.facts), *body, cut)


def _compose(query: Query, scorer: ScorerChoice, recipe: Recipe | None) -> Compose:
    inputs = " + ".join(keys_of(query.media) + ((f"stored {scorer.stands}",) if scorer.stands else ()))
    weights = "".join(f", {name} with weight {weight:g}" for name, weight in query.weights.items())
    why = f"{scorer.composition.encoder} composes {inputs} to find {scorer.composition.finds}{weights}"
    return Compose(scorer.composition, scorer.columns, scorer.stands, recipe, why)
