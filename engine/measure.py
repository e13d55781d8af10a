"""Measure a scorer on a collection: what an exact scan costs, and what each way to recall candidates keeps of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np

from quiver.engine import composed, trial
from quiver.engine.fact import Facts
from quiver.engine.graph import Recipe
from quiver.engine.library import Library
from quiver.engine.plan import Stage
from quiver.engine.run import Run
from quiver.engine.stages.compose import Compose
from quiver.engine.stages.rescore import Rescore
from quiver.engine.stages.score import Score
from quiver.engine.table import Example
from quiver.engine.trial import Measured, Trial
from quiver.errors import BadSpec
from quiver.types import Query, Rows, keys_of

#: Candidates of each list that are tried, until all is found.
DEPTHS = (100, 200, 500, 1000, 2000, 5000)
#: Queries that are also asked alone, for the time they take.
_ALONE = 5


def measure(
    library: Library,
    queries: Sequence[Query],
    *,
    scorer: str | None = None,
    k: int = 10,
    depths: Sequence[int] = DEPTHS,
) -> Measured:
    """Try every way of a scorer to recall candidates, keep the figures in the cache, and return them.

    Args:
        library: the collection, at its newest version.
        queries: a sample of what will be asked; all hold the same kinds of thing. Their conditions are left aside.
        scorer: which; None for the one the planner would choose.
        k: hits that count.
        depths: candidates of each list, ascending.

    Raises:
        BadSpec: there are no queries, they hold different things, or no scorer ranks what they ask for.
    """
    if len({(keys_of(query.media), bool(query.like)) for query in queries}) != 1:
        raise BadSpec("a scorer is measured on queries that all hold the same kinds of thing, one at least")
    asked = [replace(query, where=None, index=None, k=k, scorer=scorer or query.scorer) for query in queries]
    examples = library.table.examples(sorted({id for query in asked for id in query.like}))
    facts = library.facts(asked[0], examples)
    fit = composed.fit(asked[0], facts, [])
    if fit is None:
        raise BadSpec(f"no scorer here composes {' + '.join(keys_of(asked[0].media))}")
    sample = Sample(library, asked, examples, facts, fit)
    whole = [Score(fit.composition.name, k, "")]
    truth = sample.answer(None, whole)
    ns = sample.ms(None, whole) * 1e6 / max(1, facts.items)
    trials = tuple(sample.trials(truth, depths))
    found = Measured(facts.version, facts.items, len(asked), k, ns, trials)
    trial.write(library.cache.root, fit.composition, found)
    library.forget()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Queries to try ways on."""

    library: Library
    queries: Sequence[Query]
    examples: Mapping[str, Example]
    facts: Facts
    fit: composed.Fit

    def answer(self, recipe: Recipe | None, stages: Sequence[Stage]) -> Rows:
        """Return the rows (q, k) that some stages find for all queries."""
        return self._run(self.queries, recipe, stages)[0]

    def ms(self, recipe: Recipe | None, stages: Sequence[Stage]) -> float:
        """Return the milliseconds of the stages for one query alone, median, after one that does not count."""
        return median(
            [self._run([query], recipe, stages)[1] for query in (self.queries[0], *self.queries[:_ALONE])][1:]
        )

    def _run(self, queries: Sequence[Query], recipe: Recipe | None, stages: Sequence[Stage]) -> tuple[Rows, float]:
        run = Run(self.library, queries, {id: self.examples[id] for query in queries for id in query.like})
        Compose(self.fit.composition, self.fit.columns, self.fit.stands, recipe, "").run(run)
        started = perf_counter()
        for stage in stages:
            stage.run(run)
        return run.lists[0].rows, (perf_counter() - started) * 1e3

    def trials(self, truth: Rows, depths: Sequence[int]) -> Iterator[Trial]:
        """Try every recipe with every index it can ask, deeper until it finds everything."""
        k = self.queries[0].k
        for recipe, index in self._ways():
            for depth in depths:
                if depth >= self.facts.items:
                    break
                way = composed.Way(recipe, index, depth, "")
                recalls = composed.recalls(self.queries[0], self.facts, self.fit, way, [])
                stages: list[Stage] = [*recalls, Rescore(self.fit.composition.name, k, "")]
                recall = _share(self.answer(recipe, stages), truth)
                yield Trial(recipe.name, index, depth, recall, self.ms(recipe, stages))
                if recall == 1:
                    break

    def _ways(self) -> Iterator[tuple[Recipe, str]]:
        for recipe in self.fit.composition.recalls:
            ends = [self.facts.graph.end(self.fit.composition.finds, space) for space in recipe.spaces]
            if any(end is None for end in ends):
                continue
            built = [set(self.facts.built.get(end.name, ())) for end in ends if end is not None]
            yield from ((recipe, index) for index in ("exact", *sorted(set.intersection(*built))))


def _share(found: Rows, truth: Rows) -> float:
    """Return the mean share of each query's true rows that were found."""
    shares = [np.isin(right[right >= 0], ours).mean() for ours, right in zip(found, truth, strict=True)]
    return float(np.mean(shares))
