"""A plan while it is made: the stages chosen so far, the alternatives refused, and notes for the user."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from quiver.engine.execution.plan import Plan, Refused, Stage
from quiver.engine.statistics.facts import Facts


@dataclass(slots=True)
class PlanBuilder:
    """Collects the parts of a plan.

    Attributes:
        facts: the statistics that choices rest on.
        stages: in order of execution.
        refused: alternatives and why they were not taken.
        notes: what the user should know.
    """

    facts: Facts
    stages: list[Stage] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *stages: Stage) -> None:
        """Add stages at the end."""
        self.stages += stages

    def refuse(self, what: str, why: str) -> None:
        """Say why an alternative was not taken."""
        self.refused.append(Refused(what, why))

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self.notes.append(text)

    def draft(self) -> "PlanBuilder":
        """Return an empty builder on the same statistics, for a part that may be given up."""
        return PlanBuilder(self.facts)

    def build(self, stages: Sequence[Stage] | None = None) -> Plan:
        """Return the plan, with other stages than those collected where given."""
        chosen = self.stages if stages is None else stages
        return Plan(tuple(chosen), tuple(self.refused), tuple(self.notes), self.facts.version, self.facts.items)
