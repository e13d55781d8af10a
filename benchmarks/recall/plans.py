"""Helpers that read a plan's use of scorers."""

from collections.abc import Sequence

from quiver.engine.execution.plan import Plan, Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.execution.stages.words import Words
from quiver.engine.statistics.rerank_weights import SCORER


def composes(made: Plan) -> bool:
    """Whether a scorer composes the inputs."""
    return any(isinstance(stage, Compose) for stage in made.stages)


def reranks(made: Plan) -> bool:
    """Whether a scorer reranks candidates that other routes recalled."""
    return any(isinstance(stage, Rerank) for stage in made.stages)


def recalls_for_scorer(made: Plan) -> bool:
    """Whether a scorer ranks candidates only, not all competing items."""
    return any(isinstance(stage, Rescore | Rerank) for stage in made.stages)


def up_to_reranker(made: Plan) -> Sequence[Stage]:
    """Return the stages that find the candidates of a reranker; all stages without a reranker."""
    at = next((n for n, stage in enumerate(made.stages) if isinstance(stage, Rerank)), None)
    return made.stages if at is None else [stage for stage in made.stages[:at] if not isinstance(stage, Compose)]


def summary(made: Plan) -> str | None:
    """Describe the use of a scorer in a line; None without a scorer."""
    compose = next((stage for stage in made.stages if isinstance(stage, Compose)), None)
    if compose is None:
        return None
    if any(isinstance(stage, Score) for stage in made.stages):
        return f"{compose.composition} scores all competing items"
    if not recalls_for_scorer(made):
        return f"{compose.composition} composes one query vector, searched like any vector"
    if compose.recipe is not None:
        return f"{compose.composition} scores the candidates of its recall method {compose.recipe.name}"
    lists = [stage.label.removeprefix("recall ") for stage in made.stages if isinstance(stage, Recall | Words)]
    weights = next(stage.weights for stage in made.stages if isinstance(stage, Rerank))
    blend = "safe blend, not fitted" if weights is None else "alone" if weights == SCORER else "learned weights"
    return f"{compose.composition} reranks the candidates of: {'; '.join(lists)} ({blend})"
