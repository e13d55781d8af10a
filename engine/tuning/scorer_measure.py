"""Measure a scorer on a collection.

Of one that recalls: what an exact scan costs, and what each way to recall candidates keeps of it. Of one that reranks:
what pairs cost, and from questions with known answers how much it counts against recall.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np

from quiver.engine.core.graph import Recipe
from quiver.engine.core.ranking import Ranked
from quiver.engine.core.sql import among
from quiver.engine.execution.context import Context, Reranked
from quiver.engine.execution.executor import run_stages
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.session import Session
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning import rerank_plan, routes, scorer_choice, scorer_plan
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.planner import plan
from quiver.engine.planning.scorer_choice import ScorerChoice
from quiver.engine.statistics import fusion_weights, rerank_weights, scorer_recall
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.fusion_weights import Balance
from quiver.engine.statistics.rerank_weights import SCORER, Blend
from quiver.engine.statistics.scorer_latency import SIZES, Pace
from quiver.engine.statistics.scorer_recall import Measured, RecipeRecall
from quiver.engine.storage.dataset import Example
from quiver.errors import BadSpec
from quiver.types import Query, Rows, keys_of
from quiver.wording import option

#: How much a reranker counts, or each of several lists.
Learnt = Blend | Balance
#: Candidates of each list that are tried, until all is found.
DEPTHS = (100, 200, 500, 1000, 2000, 5000)
#: Queries that are also asked alone, for the time they take.
_ALONE = 5


def measure(
    session: Session,
    queries: Sequence[Query],
    *,
    scorer: str | None = None,
    k: int = 10,
    depths: Sequence[int] = DEPTHS,
) -> Measured:
    """Try every way of a scorer to recall candidates, or time its pairs; keep the figures, and return them.

    Args:
        session: the collection, at its newest version.
        queries: a sample of what will be asked; all hold the same kinds of thing. Their conditions are left aside.
        scorer: which; None for the one the planner would choose.
        k: hits that count.
        depths: candidates of each list, ascending.

    Raises:
        BadSpec: there are no queries, they hold different things, or no scorer ranks what they ask for.
    """
    sample = ScorerSample.of(session, [replace(query, k=k) for query in queries], scorer)
    facts, composition = sample.facts, sample.scorer.composition
    trials: tuple[RecipeRecall, ...] = ()
    if composition.recalls:
        whole = [Score(composition.name, k, "")]
        truth = sample.answer(None, whole)
        ns = sample.ms(None, whole) * 1e6 / max(1, facts.items)
        trials = tuple(sample.trials(truth, depths))
    else:
        ns = sample.pace().pair * 1e6
    found = Measured(facts.version, facts.items, len(queries), k, ns, trials)
    scorer_recall.write(session.cache.root, composition, found)
    session.forget()
    return found


def fit(
    session: Session,
    queries: Sequence[Query],
    answers: Sequence[Sequence[str]],
    *,
    scorer: str | None = None,
    depth: int = 100,
    source: str,
) -> Learnt:
    """Learn how much a reranker counts against recall, or lists against each other, keep it, and return it.

    Args:
        session: the collection, at its newest version.
        queries: questions of one kind; their conditions are left aside.
        answers: the ids that answer each.
        scorer: which; None for the one the planner would choose, or for lists where it would choose none.
        depth: candidates of each question.
        source: where the questions come from.

    Raises:
        BadSpec: there are no queries, as many answers, nothing that reranks what they ask for, and no lists to fuse.
        BadData: recall finds no answer at all.
    """
    if len(answers) != len(queries):
        raise BadSpec(f"{len(queries)} queries have {len(answers)} answers: give the id or ids of each")
    ids = sorted({id for each in answers for id in each})
    found = session.table.read(["id"], where=among("id", ids)) if ids else None
    rows = {} if found is None else dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))
    right = [[rows[id] for id in each if id in rows] for each in answers]
    if scorer is None and (lists := _fused(session, queries, depth)):
        weighed = fusion_weights.learn(lists, right, c=RRF_C, source=source)
        fusion_weights.write(session.cache.root, weighed)
        session.forget()
        return weighed
    sample = ScorerSample.of(session, queries, scorer)
    composition = sample.scorer.composition
    if composition.recalls:
        raise BadSpec(f"{composition} recalls by itself: there is nothing to weigh its scores against")
    names, found = sample.match(depth)
    given = found.given
    marks = np.stack([np.isin(own, each) for own, each in zip(given.rows, right, strict=True)])
    learnt = rerank_weights.learn(given.scores, found.matched.scores, marks, source=source, lists=names)
    rerank_weights.write(session.cache.root, composition, learnt)
    session.forget()
    return learnt


def _fused(session: Session, queries: Sequence[Query], depth: int) -> list[Ranked]:
    """Return the lists that searches fuse by rank; none where they rank by a scorer, or by one list."""
    asked = _plain(queries)
    examples = _examples(session, asked)
    facts = replace(session.facts(asked[0], examples), balances={})
    stages = plan(replace(asked[0], k=depth), facts).stages
    at = next((n for n, stage in enumerate(stages) if isinstance(stage, Fuse)), None)
    if at is None or any(isinstance(stage, Compose) for stage in stages):
        return []
    context = Context(session, asked, examples)
    run_stages(stages[:at], context)
    return context.lists


def _plain(queries: Sequence[Query]) -> list[Query]:
    """Return queries of one kind without what narrows or bounds them.

    Raises:
        BadSpec: there are none, or they hold different things.
    """
    kinds = Counter(_contents(query) for query in queries)
    if not kinds:
        raise BadSpec("there are no queries: give some")
    if len(kinds) > 1:
        counted = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
        raise BadSpec(f"the queries are of several kinds ({counted}), but figures hold for one kind: give them apart")
    return [replace(query, where=None, params=(), index=None, budget_ms=None) for query in queries]


def _contents(query: Query) -> str:
    """Return in words what a query holds, such as ``image + text``."""
    others = [name for name in ("like", "vectors") if getattr(query, name)]
    return " + ".join([*keys_of(query.media), *others]) or "nothing"


def _no_scorer(query: Query) -> str:
    """Return the message for queries that no composer or reranker of the collection takes."""
    told = f"no reranker or composer of this collection takes queries of {_contents(query)}"
    if query.hybrid or query.fuse or len(query.spaces) > 1:
        return (
            f"{told}, and they have one list of results, so there is nothing to fuse: add an encoder that embeds them"
        )
    lists = f"{option('hybrid', True)} or {option('fuse', True)}"
    return f"{told}: add an encoder that has one, or search several lists at once, by {lists}, to weigh these"


def _examples(session: Session, queries: Sequence[Query]) -> Mapping[str, Example]:
    ids = sorted({id for query in queries for id in query.like})
    return session.table.examples(ids) if ids else {}


@dataclass(frozen=True, slots=True, eq=False)
class ScorerSample:
    """Queries to try ways on."""

    session: Session
    queries: Sequence[Query]
    examples: Mapping[str, Example]
    facts: Facts
    scorer: ScorerChoice

    @classmethod
    def of(cls, session: Session, queries: Sequence[Query], scorer: str | None) -> "ScorerSample":
        """Take queries without their conditions.

        Raises:
            BadSpec: there are none, they hold different things, or no scorer ranks what they ask for.
        """
        asked = [replace(query, scorer=scorer or query.scorer) for query in _plain(queries)]
        examples = _examples(session, asked)
        facts = session.facts(asked[0], examples)
        found = scorer_choice.choose(asked[0], PlanBuilder(facts))
        if found is None:
            raise BadSpec(_no_scorer(asked[0]))
        return cls(session, asked, examples, facts, found)

    def match(self, depth: int) -> tuple[tuple[str, ...], Reranked]:
        """Recall candidates and have all of them scored: the names of their lists, and candidates and scores.

        Raises:
            NoRoute: nothing else finds candidates.
        """
        wanted = replace(self.queries[0], target=self.scorer.composition.finds, k=depth)
        draft = PlanBuilder(self.facts)
        taken, words = routes.routes(wanted, draft)
        lists = routes.recalls(taken, depth, wanted, draft, words=words)
        context = Context(self.session, self.queries, self.examples)
        stages = [self._compose(None), *routes.encodes(taken), *lists, *rerank_plan.joined(lists, {}), Cut(depth, "")]
        run_stages([*stages, Rerank(self.scorer.composition.name, depth, None, SCORER, "")], context)
        assert context.reranked is not None
        return rerank_plan.names(lists), context.reranked

    def pace(self) -> Pace:
        """Time batches of pairs of every size, smaller ones last, and keep the figures."""
        context = Context(self.session, self.queries[:_ALONE], self.examples)
        run_stages([self._compose(None)], context)
        composer = context.scored_by
        pace = self.session.pace(self.scorer.composition).on(composer.device)
        rows = composer.residents[self.scorer.composition.reads[0]].rows()[: SIZES[0]]
        _, columns = composer.gather(rows)
        pace.spans = {}
        for size in (size for size in SIZES if size <= len(rows)):
            for n in range(-1, len(context.queries)):
                started = perf_counter()
                composer.terms_of(max(n, 0), {space: data[:size] for space, data in columns.items()})
                pace.note(size, (perf_counter() - started) * 1e3)
        pace.keep(now=True)
        return pace

    def _compose(self, recipe: Recipe | None) -> Compose:
        return Compose(self.scorer.composition, self.scorer.columns, self.scorer.stands, recipe, "")

    def answer(self, recipe: Recipe | None, stages: Sequence[Stage]) -> Rows:
        """Return the rows (q, k) that some stages find for all queries."""
        return self._run(self.queries, recipe, stages)[0]

    def ms(self, recipe: Recipe | None, stages: Sequence[Stage]) -> float:
        """Return the milliseconds of the stages for one query alone, median, after one that does not count."""
        return median(
            [self._run([query], recipe, stages)[1] for query in (self.queries[0], *self.queries[:_ALONE])][1:]
        )

    def _run(self, queries: Sequence[Query], recipe: Recipe | None, stages: Sequence[Stage]) -> tuple[Rows, float]:
        context = Context(self.session, queries, {id: self.examples[id] for query in queries for id in query.like})
        run_stages([self._compose(recipe)], context)
        actual = run_stages(stages, context)
        return context.lists[0].rows, sum(each.ms for each in actual)

    def trials(self, truth: Rows, depths: Sequence[int]) -> Iterator[RecipeRecall]:
        """Try every recipe with every index it can ask, deeper until it finds everything."""
        k = self.queries[0].k
        for recipe, index in self._ways():
            for depth in depths:
                if depth >= self.facts.items:
                    break
                tried = scorer_plan.Candidates(recipe, index, depth, "")
                recalls = scorer_plan.recalls(self.queries[0], self.scorer, tried, PlanBuilder(self.facts))
                stages: list[Stage] = [*recalls, Rescore(self.scorer.composition.name, k, "")]
                recall = _share(self.answer(recipe, stages), truth)
                yield RecipeRecall(recipe.name, index, depth, recall, self.ms(recipe, stages))
                if recall == 1:
                    break

    def _ways(self) -> Iterator[tuple[Recipe, str]]:
        for recipe in self.scorer.composition.recalls:
            ends = [self.facts.graph.end(self.scorer.composition.finds, space) for space in recipe.spaces]
            if any(end is None for end in ends):
                continue
            built = [set(self.facts.built.get(end.name, ())) for end in ends if end is not None]
            yield from ((recipe, index) for index in ("exact", *sorted(set.intersection(*built))))


def _share(found: Rows, truth: Rows) -> float:
    """Return the mean share of each query's true rows that were found."""
    shares = [np.isin(right[right >= 0], ours).mean() for ours, right in zip(found, truth, strict=True)]
    return float(np.mean(shares))
