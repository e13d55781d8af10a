"""Cache of the inputs that scorers prepare from a task's questions: each is decoded and tokenised once.

The cache lasts for one run and is not stored: a scorer has no revision that could detect other weights.
Shapes: q questions of the task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from quiver.benchmarks.recall.setup import Weights
from quiver.engine.core.graph import Composition
from quiver.engine.execution.scorer_inputs import ask
from quiver.engine.execution.session import Session
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.ingest.progress import track
from quiver.engine.storage.dataset import Example
from quiver.errors import BadData, BadMedia, BadSpec, NoRoute, QuiverError
from quiver.protocols import Held, Scorer, ScorerInput
from quiver.types import Query, Rows

#: Questions that are given to a scorer together.
CHUNK = 64
#: Cache key: scorer, weights, keys of the query, and questions.
Key = tuple[Composition, Weights, tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """Inputs that a scorer prepared from questions.

    Attributes:
        rows: (q,) int64 the row of each question in ``data``; -1 if it has none.
        data: the result of ``Scorer.hold``.
        bad: reason why a question could not be prepared, by its number.
        ms: milliseconds of preparing one question, measured when it was prepared.
    """

    rows: Rows
    data: Held
    bad: Mapping[int, str]
    ms: float

    def of(self, numbers: Sequence[int]) -> Held:
        """Return the prepared inputs of some questions, in their order."""
        rows = self.rows[list(numbers)]
        return {name: values[rows] for name, values in self.data.items()}


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Questions that one stage gives to a scorer.

    Attributes:
        numbers: numbers of the questions.
        queries: the questions as queries of the engine.
        stage: the stage.
        examples: the stored items that they use as examples.
    """

    numbers: Sequence[int]
    queries: Sequence[Query]
    stage: Compose
    examples: Mapping[str, Example]


def hold(session: Session, parts: Sequence[QuestionBatch], *, count: int, progress: bool | None = None) -> Holding:
    """Let one scorer prepare all of its questions.

    Args:
        session: holds the scorer and the example items.
        parts: the questions.
        count: number of questions in the task.
        progress: whether to show a progress bar; None shows it on a terminal.

    Raises:
        NoRoute: the scorer refuses their inputs or weights.
        BadData: the prepared inputs differ in form between questions.
    """
    scorer = session.scorer(parts[0].stage.composition)
    made: dict[int, Held] = {}
    bad: dict[int, Exception] = {}
    chunks = [(part, at) for part in parts for at in range(0, len(part.numbers), CHUNK)]
    started = perf_counter()

    def run() -> Iterator[int]:
        for part, at in chunks:
            numbers, queries = part.numbers[at : at + CHUNK], part.queries[at : at + CHUNK]
            composition, stands = part.stage.composition, part.stage.stands
            asked = ask(queries, composition, stands, examples=part.examples, table=session.table, reach=session.reach)
            _hold(scorer, dict(zip(numbers, asked, strict=True)), made, bad)
            if not made and all(isinstance(error, BadSpec) for error in bad.values()):
                raise NoRoute(str(bad[min(bad)]))  # not this question's fault
            yield len(numbers)

    total = sum(len(part.numbers) for part in parts)
    for _ in track(run(), total=total, show=progress):
        pass
    ms = (perf_counter() - started) * 1e3 / max(total, 1)
    rows = np.full(count, -1, np.int64)
    rows[list(made)] = np.arange(len(made))
    return Holding(rows, _joined(scorer.name, list(made.values())), {n: _said(error) for n, error in bad.items()}, ms)


def _hold(scorer: Scorer, asked: Mapping[int, ScorerInput], made: dict[int, Held], bad: dict[int, Exception]) -> None:
    """Prepare questions together; if that fails, one by one, to find the bad ones."""
    try:
        held = scorer.hold(list(asked.values()))
        if len(asked) == 1 and not all(np.isfinite(rows).all() for rows in held.values()):
            raise BadMedia(f"{scorer.name} returned values that are not finite for it")
    except (QuiverError, OSError, ValueError, MemoryError) as error:
        if len(asked) == 1:
            bad |= dict.fromkeys(asked, error)
            return
        held = None
    if held is None or not all(np.isfinite(rows).all() for rows in held.values()):
        for number, each in asked.items():
            _hold(scorer, {number: each}, made, bad)
        return
    made |= {number: {name: rows[n] for name, rows in held.items()} for n, number in enumerate(asked)}


def _joined(name: str, made: Sequence[Held]) -> Held:
    """Concatenate each array over all questions."""
    try:
        return {kind: np.stack([each[kind] for each in made]) for kind in (made[0] if made else ())}
    except (KeyError, ValueError) as error:
        raise BadData(f"scorer {name} prepares questions in different forms: {error}") from error


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, QuiverError) else f"{type(error).__name__}: {error}"
