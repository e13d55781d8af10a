"""What scorers make of a task's questions: pictures are decoded and words read once, however often they are asked.

It is kept for a run and not on disk: a scorer has no revision that would tell what was made by other weights.
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
#: What was held: by a scorer, with weights, of some keys, for some questions.
Key = tuple[Composition, Weights, tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """What a scorer made of questions.

    Attributes:
        rows: (q,) int64 the row of each question in ``data``; -1 where there is none.
        data: as ``Scorer.hold`` gives it.
        bad: why a question could not be held, by its number.
        ms: milliseconds of holding one question, as measured when that was done.
    """

    rows: Rows
    data: Held
    bad: Mapping[int, str]
    ms: float

    def of(self, numbers: Sequence[int]) -> Held:
        """Return what was made of some questions, in their order."""
        rows = self.rows[list(numbers)]
        return {name: values[rows] for name, values in self.data.items()}


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Questions that one stage gives to a scorer.

    Attributes:
        numbers: which.
        queries: the same, as the engine takes them.
        stage: the stage.
        examples: the stored items they take as examples.
    """

    numbers: Sequence[int]
    queries: Sequence[Query]
    stage: Compose
    examples: Mapping[str, Example]


def hold(session: Session, parts: Sequence[QuestionBatch], *, count: int, progress: bool | None = None) -> Holding:
    """Give all questions of one scorer to it.

    Args:
        session: where the scorer and the examples are.
        parts: the questions.
        count: how many questions the task has.
        progress: whether to show a bar; None where a terminal is watching.

    Raises:
        NoRoute: the scorer refuses what they hold, or how it is weighed.
        BadData: what it makes of questions cannot be put together.
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
    """Hold questions together, or one by one where that fails, to see which of them it is."""
    try:
        held = scorer.hold(list(asked.values()))
        if len(asked) == 1 and not all(np.isfinite(rows).all() for rows in held.values()):
            raise BadMedia(f"{scorer.name} made something of it that is not finite")
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
    """Return one array of each kind for all questions."""
    try:
        return {kind: np.stack([each[kind] for each in made]) for kind in (made[0] if made else ())}
    except (KeyError, ValueError) as error:
        raise BadData(f"the scorer {name} holds some questions in another form than others: {error}") from error


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, QuiverError) else f"{type(error).__name__}: {error}"
