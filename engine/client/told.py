"""Results as a service tells them, in the classes that a collection in a folder returns."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin

from quiver.engine.execution.plan import Actual, Plan, Refused, Result
from quiver.records import (
    ColumnSummary,
    FacetRange,
    Facets,
    FacetValue,
    IndexLag,
    IndexSetting,
    Quarantined,
    RecallTarget,
    Summary,
    ThresholdSummary,
    Version,
    Windows,
)
from quiver.types import Hit, Item


@dataclass(frozen=True, slots=True)
class ToldStage:
    """A stage of a plan that a service told.

    Attributes:
        kind: its kind, such as ``recall``.
        label: its name in the trace.
        reason: why the planner chose it.
        values: everything that is told of it.
        ms: expected milliseconds; None if unknown.
        recall: expected recall; None if unknown.
    """

    kind: str
    label: str
    reason: str
    values: Mapping[str, Any]
    ms: float | None = None
    recall: float | None = None

    def run(self, context: Any) -> int:
        """Refuse to run: the service has run it.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a stage that a service told is run there")


@dataclass(frozen=True, slots=True, repr=False)
class ToldPlan(Plan):
    """A plan that a service told; it prints like any other."""

    told: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-compatible values."""
        return dict(self.told or {})

    def __str__(self) -> str:
        return Plan.__str__(self)


class ToldHits(tuple[Hit, ...]):
    """Hits that a service told, with the Arrow types of their metadata that JSON has no form for."""

    types: Mapping[str, Any]


def plan_of(told: Mapping[str, Any]) -> Plan:
    """Return a plan."""
    known = {"stage", "label", "reason", "ms", "recall"}
    stages = tuple(
        ToldStage(
            each["stage"],
            each["label"],
            each.get("reason", ""),
            {name: value for name, value in each.items() if name not in known},
            each.get("ms"),
            each.get("recall"),
        )
        for each in told["stages"]
    )
    refused = tuple(Refused(**each) for each in told["refused"])
    return ToldPlan(stages, refused, tuple(told["notes"]), told["version"], told["items"], told)


def result_of(told: Mapping[str, Any], base: str) -> Result:
    """Return an answer.

    Args:
        told: the answer as JSON.
        base: address of the service, for links.
    """
    types = told.get("types", {})
    hits = ToldHits(_hit(each, base, types) for each in told["hits"])
    hits.types = _arrow(types)
    stages = tuple(Actual(**each) for each in told.get("actual", ()) if each["label"] != "fetch")
    return Result(hits, plan_of(told["plan"]), stages, told["partial"])


def _hit(told: Mapping[str, Any], base: str, types: Mapping[str, str]) -> Hit:
    media = _media(told["media"], base)
    uri = next((value for name, value in media.items() if name != "text"), None)
    folded = {"deduplicate": {"folded": told["folded"]}} if told.get("folded") else {}
    trace = told.get("trace") or folded
    return Hit(told["id"], told["score"], uri, _meta(told["meta"], types), trace, media)


def item_of(told: Mapping[str, Any], base: str, types: Mapping[str, str]) -> Item:
    """Return an item."""
    return Item(told["id"], _media(told["media"], base), _meta(told["meta"], types))


def _media(told: Mapping[str, str], base: str) -> dict[str, str]:
    return {name: value if name == "text" else urljoin(base, value) for name, value in told.items()}


def _meta(told: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    if not types:
        return dict(told)
    return {name: _value(value, types.get(name, "")) for name, value in told.items()}


def _value(value: Any, kind: str) -> Any:
    """Return a value of a type that JSON has no form for."""
    if not isinstance(value, str):
        return value
    if kind.startswith("date"):
        return datetime.date.fromisoformat(value[:10])
    if kind.startswith("timestamp"):
        return datetime.datetime.fromisoformat(value)
    if kind.startswith("time"):
        return datetime.time.fromisoformat(value)
    return Decimal(value) if kind.startswith("decimal") else value


def _arrow(types: Mapping[str, str]) -> dict[str, Any]:
    if not types:
        return {}
    import pyarrow as pa

    def parsed(kind: str) -> Any:
        if found := re.fullmatch(r"timestamp\[(\w+)(?:, tz=(.+))?\]", kind):
            return pa.timestamp(found[1], found[2])
        if found := re.fullmatch(r"list<\w+: (.+)>", kind):
            return pa.list_(parsed(found[1]))
        if found := re.fullmatch(r"date32\[day\]|(time\d\d)\[(\w+)\]", kind):
            return getattr(pa, found[1])(found[2]) if found[1] else pa.date32()
        return pa.type_for_alias(kind)

    return {name: parsed(kind) for name, kind in types.items()}


def summary_of(told: Mapping[str, Any], quarantine: Sequence[Mapping[str, Any]], uri: str) -> Summary:
    """Return the description of a collection."""
    rows = [Quarantined(each["id"], each["file"], each["reason"], each["at"]) for each in quarantine]
    columns = [_column(each) for each in told["columns"]]
    kept = {each.name: told[each.name] for each in fields(Summary) if each.name in told}
    windows = Windows(**told["windows"]) if told["windows"] else Windows()
    learned = [ThresholdSummary(**each) for each in told.get("thresholds", ())]
    more = {"uri": uri, "columns": columns, "windows": windows, "quarantine": rows, "thresholds": learned}
    return Summary(**{**kept, **more})


def _column(told: Mapping[str, Any]) -> ColumnSummary:
    behind = {kind: IndexLag(**each) for kind, each in told["behind"].items()}
    promises = {kind: target_of(each) for kind, each in told["promises"].items()}
    return ColumnSummary(**{**told, "behind": behind, "promises": promises})


def target_of(told: Mapping[str, Any]) -> RecallTarget:
    """Return a recall target."""
    return RecallTarget(**{**told, "settings": [IndexSetting(**each) for each in told["settings"]]})


def version_of(told: Mapping[str, Any]) -> Version:
    """Return a version."""
    return Version(told["version"], told["at"], told["items"])


def facets_of(told: Mapping[str, Any]) -> Facets:
    """Return the values of a column with their counts."""
    kind = told.get("type", "")
    values = [FacetValue(_value(each["value"], kind), each["count"]) for each in told["values"]]
    ranges = [
        FacetRange(_value(each["low"], kind), _value(each["high"], kind), each["count"]) for each in told["ranges"]
    ]
    known = {each.name: told[each.name] for each in fields(Facets)}
    ends = {"low": _value(told["low"], kind), "high": _value(told["high"], kind)}
    return Facets(**{**known, **ends, "values": values, "ranges": ranges or ()})
