"""Plans as values: stages in order, the reason for each, and the refused alternatives.

A plan can be printed, compared and written as JSON. The command line and the benchmarks run the same plans.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, overload

from quiver.engine.execution.frames import Frames
from quiver.types import Hit

if TYPE_CHECKING:
    import pyarrow as pa

    from quiver.engine.execution.context import Context
    from quiver.trust import Reach


class Stage(Protocol):
    """One step of a plan: a frozen dataclass that describes its work and runs it."""

    @property
    def reason(self) -> str:
        """Why the planner chose it."""
        ...

    @property
    def label(self) -> str:
        """A short name, unique within its plan; it is the stage's key in the trace of a hit."""
        ...

    def run(self, context: "Context") -> int:
        """Run the stage: read lists from the context and put lists back.

        Returns:
            Number of rows passed on, summed over the queries of the batch.
        """
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """An alternative that was not taken."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages that answer a query, with reasons.

    Attributes:
        stages: in order of execution.
        refused: refused alternatives with reasons.
        notes: notes for the user, for example that text is searched by full-text search.
        version: version of the collection at planning time.
        items: number of items of that version.
    """

    stages: tuple[Stage, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    version: int = 0
    items: int = 0

    def __str__(self) -> str:
        return render(self)

    def __repr__(self) -> str:
        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-compatible values."""
        return {
            "version": self.version,
            "items": self.items,
            "stages": [describe(stage) for stage in self.stages],
            "refused": [asdict(refused) for refused in self.refused],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Actual:
    """Measurements of a stage: rows passed on, and milliseconds of wall time."""

    label: str
    rows: int
    ms: float


@dataclass(frozen=True, slots=True)
class Result(Frames):
    """An answer, with its plan.

    Attributes:
        hits: hits, best first; ids and metadata are read on first access.
        plan: the executed plan.
        stages: rows and milliseconds of each stage, over the whole batch.
        partial: whether the plan was not carried out in full: the latency budget ended before all candidates were
            reranked, or before enough groups were found. The notes name the skipped part.
        reach: returns the rules on which files may be shown; None shows no files.
    """

    hits: Sequence[Hit]
    plan: Plan
    stages: tuple[Actual, ...] = ()
    partial: bool = False
    reach: "Callable[[], Reach] | None" = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, n: int) -> Hit: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[Hit]: ...
    def __getitem__(self, n: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[n]

    def __repr__(self) -> str:
        from quiver.engine.execution import output

        return output.text(self)

    def _repr_html_(self) -> str:
        """Show the hits as a grid of pictures in a notebook, without scripts or remote content."""
        reach = None if self.reach is None else self.reach()
        from quiver.engine.execution import output

        return output.html(self, _nothing if reach is None else reach.refuses)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the hits as dicts: id, score, media by name, then metadata; an absent value is None.

        A metadata column that is called ``score`` becomes ``meta_score``.
        """
        from quiver.engine.execution import output

        return output.to_list(self.hits)

    def to_arrow(self) -> "pa.Table":
        """Return the hits as an Arrow table with the columns of ``to_list``; metadata have their stored types."""
        from quiver.engine.execution import output

        return output.to_arrow(self.hits, getattr(self.hits, "types", {}))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the hits; cheaper than the hits themselves."""
        ids: tuple[str, ...] | None = getattr(self.hits, "ids", None)
        return tuple(hit.id for hit in self.hits) if ids is None else ids

    def groups(self, column: str) -> list[tuple[Hit, ...]]:
        """Return the hits by their value of a metadata column, the best group first.

        A hit without a value is a group of its own.
        """
        found: dict[Any, list[Hit]] = {}
        for n, hit in enumerate(self.hits):
            value = hit.meta.get(column)
            found.setdefault((n, None) if value is None else value, []).append(hit)
        return [tuple(hits) for hits in found.values()]

    @property
    def actual(self) -> tuple[Actual, ...]:
        """Rows and milliseconds of each stage, and of reading the accessed hits."""
        return (*self.stages, Actual("fetch", len(self.hits), getattr(self.hits, "ms", 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Return hits, plan and measurements as JSON-compatible values."""
        hits, plan = [plain(asdict(hit)) for hit in self.hits], self.plan.to_dict()
        plan["actual"] = [asdict(actual) for actual in self.actual]
        return {"hits": hits, "plan": plan, "partial": self.partial}


def _nothing(reference: str) -> str:
    """Refuse every file, because it is unknown which may be shown."""
    return f"{reference} is not shown here: search the collection again"


def describe(stage: Stage) -> dict[str, Any]:
    """Return a stage as JSON-compatible values, its kind first."""
    values = {field.name: plain(getattr(stage, field.name)) for field in fields(stage)}  # type: ignore[arg-type]
    return {"stage": type(stage).__name__.lower(), "label": stage.label, **values}


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples, dates and numpy scalars into JSON values.

    JSON has neither NaN nor infinity: such a number becomes None, which is written as null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def expected(stage: Stage) -> str:
    """Format the expected time and recall of a stage, from ``ms`` and ``recall``; each may be None."""
    forms = {"ms": "{:.2f} ms", "recall": "recall {:.3f}"}
    known = {name: getattr(stage, name, None) for name in forms}
    return ", ".join(forms[name].format(value) for name, value in known.items() if value is not None)


def render(plan: Plan, actual: Sequence[Actual] = ()) -> str:
    """Format a plan for people, in order of execution, with measurements if given."""

    def cost(measured: Actual | None, estimate: str = "") -> str:
        if measured is None:
            return f" [{estimate} expected]" if estimate else ""
        expected = f"; {estimate} expected" if estimate else ""
        return f" [{measured.rows:,} rows, {measured.ms:.2f} ms{expected}]"

    done = {each.label: each for each in actual}
    lines = [f"plan for version {plan.version} ({plan.items:,} items)"]
    for number, stage in enumerate(plan.stages, 1):
        lines.append(f"  {number}. {stage.label}: {stage.reason}{cost(done.get(stage.label), expected(stage))}")
    fetched = done.get("fetch")
    if fetched:
        total = sum(each.ms for each in actual)
        lines.append(f"  {len(plan.stages) + 1}. fetch: metadata of the hits{cost(fetched)}; all {total:.2f} ms")
    lines += [f"refused {refused.what}: {refused.why}" for refused in plan.refused]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)
