"""What the plans of a benchmark say of scorers."""

from collections.abc import Sequence

from quiver.engine.execution.plan import Plan, Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.execution.stages.words import Words


def composes(made: Plan) -> bool:
    """Say whether a scorer composes the inputs."""
    return any(isinstance(stage, Compose) for stage in made.stages)


def reranks(made: Plan) -> bool:
    """Say whether a scorer ranks candidates that other routes recalled."""
    return any(isinstance(stage, Rerank) for stage in made.stages)


def recalls_for_scorer(made: Plan) -> bool:
    """Say whether a scorer ranks candidates, and not everything that competes."""
    return any(isinstance(stage, Rescore | Rerank) for stage in made.stages)


def up_to_reranker(made: Plan) -> Sequence[Stage]:
    """Return the stages that find the candidates of a reranker; all stages where none ranks."""
    at = next((n for n, stage in enumerate(made.stages) if isinstance(stage, Rerank)), None)
    return made.stages if at is None else [stage for stage in made.stages[:at] if not isinstance(stage, Compose)]


def summary(made: Plan) -> str | None:
    """Say in a line what a scorer does; None where there is none."""
    compose = next((stage for stage in made.stages if isinstance(stage, Compose)), None)
    if compose is None:
        return None
    if any(isinstance(stage, Score) for stage in made.stages):
        return f"{compose.composition} scores everything that competes"
    if not recalls_for_scorer(made):
        return f"{compose.composition} is one dot product, searched as any vector"
    if compose.recipe is not None:
        return f"{compose.composition} scores again what its recall {compose.recipe.name} finds"
    lists = [stage.label.removeprefix("recall ") for stage in made.stages if isinstance(stage, Recall | Words)]
    return f"{compose.composition} scores again what others find: {'; '.join(lists)}"
