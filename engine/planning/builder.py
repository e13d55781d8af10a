"""Plan builder: collects the chosen stages, the refused alternatives and the notes for the user."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from quiver.engine.execution.plan import Plan, Refused, Stage
from quiver.engine.statistics.facts import Facts


@dataclass(slots=True)
class PlanBuilder:
    """Collects the parts of a plan.

    Attributes:
        facts: statistics used by the planner.
        stages: stages in order of execution.
        refused: refused alternatives with reasons.
        notes: notes for the user.
    """

    facts: Facts
    stages: list[Stage] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *stages: Stage) -> None:
        """Add stages at the end."""
        self.stages += stages

    def refuse(self, what: str, why: str) -> None:
        """Record a refused alternative and the reason."""
        self.refused.append(Refused(what, why))

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self.notes.append(text)

    def draft(self) -> "PlanBuilder":
        """Return an empty builder with the same statistics, for a part of the plan that may be discarded."""
        return PlanBuilder(self.facts)

    def build(self, stages: Sequence[Stage] | None = None) -> Plan:
        """Return the plan; ``stages`` replaces the collected stages."""
        chosen = self.stages if stages is None else stages
        return Plan(tuple(chosen), tuple(self.refused), tuple(self.notes), self.facts.version, self.facts.items)
