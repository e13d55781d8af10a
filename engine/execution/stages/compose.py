"""Compose: a scorer embeds the inputs of the query together, once."""

from dataclasses import dataclass

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.graph import Composition, Recipe
from quiver.engine.execution.context import Context
from quiver.engine.execution.scorer_batch import Composer
from quiver.engine.execution.scorer_inputs import ask
from quiver.errors import failing
from quiver.protocols import Held, Scorer


@dataclass(frozen=True, slots=True)
class Compose:
    """Give every query of the batch to a scorer.

    Attributes:
        composition: the scorer.
        columns: the vectors it reads, in the order of its spaces.
        stands: the key that example items provide; None without examples.
        recipe: recall recipe of the candidates; None for a full scan.
        reason: reason for the stage.
    """

    composition: Composition
    columns: tuple[Column | Derived, ...]
    stands: str | None
    recipe: Recipe | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"compose {self.composition.name}"

    def run(self, context: Context) -> int:
        """Embed the queries and make the probes for the following recall stages; return the number of queries."""
        session, composition = context.session, self.composition
        loaded = session.encoder(composition.encoder)
        scorer = loaded.scorer(composition)
        residents = dict(zip(composition.reads, map(session.resident, self.columns), strict=True))
        context.composition = composition
        with loaded.lock:
            held = self._hold(context, scorer)
        context.composer = Composer(scorer, held, len(context.queries), residents, self.label, loaded.lock)
        if self.recipe is not None:
            probes = context.composer.probes(self.recipe)
            context.probes = dict(zip(composition.asks(self.recipe), probes, strict=True))
        return len(context.queries)

    def _hold(self, context: Context, scorer: Scorer) -> Held:
        session, queries = context.session, context.queries
        if session.query_cache is not None:
            return session.query_cache.held(queries, self.composition)
        examples, table, reach = context.examples, session.table, session.reach
        asked = ask(queries, self.composition, self.stands, examples=examples, table=table, reach=reach)
        with failing(f"the scorer {scorer.name}", "prepare the query"):
            return scorer.hold(asked)
