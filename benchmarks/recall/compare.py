"""Compare two benchmarks: paired differences on their common questions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from quiver.benchmarks import metric
from quiver.benchmarks.metric import Scores, holm, parse
from quiver.benchmarks.recall.report import Report
from quiver.errors import BadData, BadSpec


def compare(a: Report, b: Report, *, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Test the systems of one report against those of the other.

    Systems of the same name are compared; if no requested name is in both reports, the first system of each is.
    All tests are corrected together for multiple testing.

    Returns:
        ``questions`` in both, ``only`` in one of them, and ``tests`` as in a report, with the values of ``a`` and
        ``b``.

    Raises:
        BadData: the reports differ in data, protocol or tie rule, or share no question or measure.
    """
    _alike(a, b)
    common = sorted(set(a["questions"]) & set(b["questions"]))
    if not common:
        raise BadData("the two benchmarks have no question in common; run both on the same data")
    measures = _measures(a, b)
    found = []
    for one, other in _pairs(a, b):
        systems = {"a": _scores(a, one, common, measures), "b": _scores(b, other, common, measures)}
        for each in metric.compare(systems, measures, resamples=resamples, seed=seed):
            values = {side: scores.mean(each.measure) for side, scores in systems.items()}
            found.append((replace(each, a=one["name"], b=other["name"]), values))
    corrected = holm([each.p for each, _ in found])
    return {
        "questions": len(common),
        "only": [len(a["questions"]) - len(common), len(b["questions"]) - len(common)],
        "tests": [
            {**asdict(each), "adjusted": p, "values": values}
            for (each, values), p in zip(found, corrected, strict=True)
        ],
    }


def _alike(a: Report, b: Report) -> None:
    """Refuse reports that were measured in different ways."""
    for what in ("revision", "protocol"):
        if a["dataset"][what] != b["dataset"][what]:
            raise BadData(
                f"not comparable, the {what} differs: {a['dataset']['name']} has {a['dataset'][what]!r},"
                f" {b['dataset']['name']} has {b['dataset'][what]!r}; run both on the same data"
            )
    if a["ties"] != b["ties"]:
        raise BadData(f"not comparable, the tie rule differs: {a['ties']} and {b['ties']}")


def _measures(a: Report, b: Report) -> list[str]:
    theirs = {parse(name).name for name in b["dataset"]["measures"]}
    spelt = [parse(name) for name in a["dataset"]["measures"]]
    shared = [each.name for each in spelt if each.name in theirs and not each.median]
    if not shared:
        raise BadData(
            "the two benchmarks have no common measure with a value per question: run both with the same --measure"
        )
    return shared


def _pairs(a: Report, b: Report) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    ours, theirs = ({each["name"]: each for each in r["systems"] if each["role"] != "random"} for r in (a, b))
    pairs = [(ours[name], theirs[name]) for name in ours if name in theirs]
    if not any(one["role"] == "asked" for one, _ in pairs):
        if not ours or not theirs:
            raise BadSpec("one of the benchmarks measured no system")
        pairs.insert(0, (next(iter(ours.values())), next(iter(theirs.values()))))
    return pairs


def _scores(report: Report, system: Mapping[str, Any], common: Sequence[str], measures: Sequence[str]) -> Scores:
    at = {id: n for n, id in enumerate(report["questions"])}
    rows = np.array([at[id] for id in common], np.int64)
    values = {name: np.asarray(system["per_query"][name], np.float64)[rows] for name in measures}
    groups = [report["groups"][row] for row in rows.tolist()]
    named = report.get("sources") or ()
    sources = [named[row] for row in rows.tolist()] if named else ()
    return Scores(values, groups, report["ties"], 0, 0, 0, 0, sources)
