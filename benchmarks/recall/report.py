"""Reports of a benchmark: JSON, table, Markdown and TREC files.

Tables are made from the JSON, so that an old file prints the same table again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quiver import files
from quiver.benchmarks import machine
from quiver.benchmarks.metric import parse, write_qrels, write_run
from quiver.benchmarks.recall.outcome import Bench, Outcome
from quiver.engine.execution.plan import plain
from quiver.errors import BadData

FORMAT = 1
Report = Mapping[str, Any]


def describe(bench: Bench, *, command: str = "") -> dict[str, Any]:
    """Return all results, and a description of data, machine and versions, as JSON-able values.

    Args:
        bench: the results.
        command: the command line that produced them.
    """
    task = bench.task
    return {
        "format": FORMAT,
        "command": command,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": {
            "name": task.name,
            "revision": task.revision,
            "protocol": task.protocol,
            "source": task.source,
            "notes": list(task.notes),
            "items": len(task.items),
            "questions": len(task.questions),
            "target": task.target,
            "measures": list(task.measures),
        },
        "headline": bench.headline,
        "ties": next((each.scores.tie for each in bench.outcomes if each.role != "random"), "pessimistic"),
        "seed": bench.seed,
        "depth": bench.depth,
        "commit": machine.commit(),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "notes": list(bench.notes),
        "evaluation_seconds": bench.seconds,
        "systems": [_system(each, bench) for each in bench.outcomes],
        "refused": [asdict(each) for each in bench.refused],
        "significance": [asdict(each) for each in bench.comparisons],
        "questions": list(bench.judgements.ids),
        "groups": list(bench.judgements.groups),
        "sources": list(bench.judgements.sources),
    }


def _system(outcome: Outcome, bench: Bench) -> dict[str, Any]:
    attributed = outcome.attribution.to_dict() if outcome.attribution else None
    if attributed:
        for example in (each for some in attributed["examples"].values() for each in some):
            example["answer"] = bench.task.items[example["answer"]].id
    scores = outcome.scores
    return {
        "name": outcome.name,
        "role": outcome.role,
        "encoders": list(outcome.encoders),
        "setup": plain(outcome.setup),
        "spaces": list(outcome.spaces),
        "plan": plain(outcome.plan),
        "figures": {name: asdict(interval) for name, interval in outcome.intervals.items()},
        "groups": {name: scores.by_group(name) for name in scores.values} if len(scores.members) > 1 else {},
        "n": scores.n,
        "ties": scores.ties if outcome.role != "random" else 0,
        "cut": scores.cut,
        "unanswered": scores.missing,
        "missing": plain(outcome.missing),
        "latency_ms": plain(outcome.latency),
        "seconds": dict(outcome.seconds),
        "attribution": attributed,
        "curve": {str(depth): share for depth, share in outcome.curve.items()},
        "kept": {str(depth): asdict(interval) for depth, interval in outcome.kept.items()},
        "notes": list(outcome.notes),
        "per_query": {name: values.tolist() for name, values in scores.values.items()},
    }


def write_json(path: Path, report: Report) -> None:
    """Write a report atomically."""
    files.write_json(path, report, indent=1)


def read_json(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        BadData: the file cannot be read, is no report, or is of a newer Quiver.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"cannot read a benchmark from {path}: {error}") from error
    if not isinstance(report, dict) or "systems" not in report:
        raise BadData(f"{path} is not a benchmark report; `quiver bench recall ... --json FILE` writes one")
    if report.get("format") != FORMAT:
        raise BadData(f"{path} has format {report.get('format')}; this Quiver reads {FORMAT}")
    return report


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return column titles and one row per system, with the interval of the headline measure."""
    measures = _columns(report)
    deep = kept_at(report)
    titles = ["system", *(_title(report, name) for name in measures)]
    titles += [*([] if deep is None else [f"kept@{deep}"]), "n", "ties", "missing", "ms"]
    return titles, [_row(report, system, measures, deep) for system in report["systems"]]


def kept_at(report: Report) -> str | None:
    """Return the cutoff of the ``kept@k`` column: 10 if it was measured, else the largest."""
    depths = sorted({int(depth) for each in report["systems"] for depth in each.get("kept", {})})
    return str(10 if 10 in depths else depths[-1]) if depths else None


def _columns(report: Report) -> list[str]:
    names = [str(parse(name).name) for name in report["dataset"]["measures"]]
    headline = report["headline"]
    return [headline, *(name for name in names if name != headline)] if headline in names else names


def _title(report: Report, name: str) -> str:
    level = next(each["figures"][name]["level"] for each in report["systems"] if name in each["figures"])
    return f"{name} [{level:.0%}]" if name == _columns(report)[0] else name


def _row(report: Report, system: Mapping[str, Any], measures: Sequence[str], deep: str | None) -> list[str]:
    figures = [_figure(name, system["figures"].get(name), spread=n == 0) for n, name in enumerate(measures)]
    figures += [] if deep is None else [_figure(f"R@{deep}", system.get("kept", {}).get(deep), spread=False)]
    latency = system["latency_ms"]
    missing = _missing(system["missing"]) if system["role"] != "random" else "-"
    ties = str(system["ties"]) if system["role"] != "random" else "-"
    return [system["name"], *figures, str(system["n"]), ties, missing, f"{latency['batch']:.2f}" if latency else "-"]


def _figure(name: str, figure: Mapping[str, Any] | None, *, spread: bool) -> str:
    if figure is None:
        return "-"
    form = ".3f" if parse(name).rising else ".1f"  # a share, or a rank
    value = format(figure["value"], form)
    return f"{value} [{figure['low']:{form}}, {figure['high']:{form}}]" if spread else value


def _missing(missing: Mapping[str, Any]) -> str:
    items, unread = len(missing["items"]), len(missing["unread"])
    parts = ([f"{items} items"] if items else []) + ([f"{unread} questions"] if unread else [])
    return ", ".join(parts) or "0"


def remarks(report: Report) -> list[str]:
    """Return the remarks below the table: protocol, exclusions, losses by cause, tests."""
    data = report["dataset"]
    lines = [
        f"{data['name']}, revision {data['revision'][:12]}: {data['questions']:,} questions, {data['items']:,} items",
        f"protocol: {data['protocol']}",
        f"ties: {report['ties']}; missing items and questions count as not found; ms: search per question, in batches",
        *(f"data: {note}" for note in data["notes"]),
        *(f"note: {note}" for note in report["notes"]),
        *_sourced(report),
    ]
    if any(each.get("kept") for each in report["systems"]):
        lines.append(
            "kept@k: recall of the index: share of the exact top k (by search, or by the scorer's scan) that are found"
        )
    for system in report["systems"]:
        lines += [f"{system['name']}: {note}" for note in (*_gone(system), *system["notes"], *_losses(system))]
    lines += [f"refused {each['name']}: {each['why']}" for each in report["refused"]]
    return lines + [sentence(each) for each in report["significance"]]


def _sourced(report: Report) -> list[str]:
    """Describe the resampling unit of the intervals if it is not the question."""
    named = report.get("sources") or []
    if not named:
        return []
    count = len({name for name in named if name}) + sum(not name for name in named)
    return [
        f"intervals: resampled over {count:,} sources with all of their questions ({len(named):,} in all); tests flip"
        " the signs of all questions of a source together"
    ]


def _gone(system: Mapping[str, Any]) -> list[str]:
    missing = system["missing"]
    lines = []
    if missing["items"]:
        id, why = next(iter(missing["items"].items()))
        lines.append(
            f"{len(missing['items'])} items are missing ({id}: {why}); {missing['touched']} questions therefore lack a"
            f" right answer, {missing['hopeless']} lack all; these count as misses"
        )
    if missing["unread"]:
        id, why = next(iter(missing["unread"].items()))
        lines.append(f"{len(missing['unread'])} questions could not be searched and count as misses ({id}: {why})")
    if system["cut"]:
        lines.append(f"{system['cut']} result lists end within a tie; a deeper search could change them")
    return lines


def _losses(system: Mapping[str, Any]) -> list[str]:
    found = system["attribution"]
    if not found or not found["lost"]:
        return []
    parts = [f"{cause} {count}" for cause, count in found["counts"].items() if count]
    gained = f"; {found['gained']} are found that exact search misses" if found["gained"] else ""
    out, into = found["moved_out"], found.get("moved_in", 0)
    moved = f"; the reranker moved {into} in and {out} out" if out or into else ""
    return [f"{found['measure']} loses {found['lost']} of {found['total']}: {', '.join(parts)}{moved}{gained}"]


def sentence(test: Mapping[str, Any]) -> str:
    """Format a paired test as one line."""
    effect = test["effect"]
    change = f"{effect['value']:+.3f} [{effect['low']:+.3f}, {effect['high']:+.3f}]"
    return (
        f"{test['b']} against {test['a']}: {test['measure']} {change}, p = {test['adjusted']:.2g}"
        f" (paired permutation test, Holm), {test['changed']} of {test['n']} questions differ"
    )


def markdown(report: Report) -> str:
    """Return the table as Markdown, with its remarks and the command that made it."""
    titles, rows = table(report)
    lines = [_line(titles), _line(["---", *("---:" for _ in titles[1:])]), *(_line(row) for row in rows), ""]
    lines += [f"- {_escaped(remark)}" for remark in remarks(report)]
    machine_, versions = report["machine"], report["versions"]
    where = f"{machine_['processor']}, {machine_['cores']} cores, {machine_['memory_gib']} GiB"
    lines.append(f"- {where}; quiver {versions['quiver']}, commit {report['commit'] or 'unknown'}; {report['at']}")
    if report["command"]:
        lines += ["", f"    {report['command']}"]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write_markdown(path: Path, report: Report) -> None:
    """Write the table to a file."""
    files.write_text(path, markdown(report))


def write_trec(folder: Path, bench: Bench) -> list[Path]:
    """Write ``qrels.txt`` and a run for each system; returns their paths.

    Scores are written unchanged, so that ties stay ties.
    """
    items = [item.id for item in bench.task.items]
    paths = [folder / "qrels.txt"]
    with files.staged(paths[0]) as draft:
        write_qrels(draft, bench.judgements, items=items)
    for outcome in bench.outcomes:
        if outcome.ranking is not None:
            tag = re.sub(r"[^\w.@-]+", "-", outcome.name).strip("-")
            paths.append(folder / f"{tag}.run")
            with files.staged(paths[-1]) as draft:
                write_run(draft, outcome.ranking, queries=bench.judgements.ids, items=items, tag=tag)
    return paths
