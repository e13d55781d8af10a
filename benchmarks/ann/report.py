"""Tables, Markdown and HTML of ``quiver bench ann``, all made from the JSON report."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quiver import files
from quiver.benchmarks.ann.bed import FILTERS, SELECTIVITIES
from quiver.benchmarks.ann.run import FORMAT
from quiver.benchmarks.ann.track import TARGET, TARGETS, cheapest
from quiver.errors import BadData

BUSY = "times are CPU times of all threads of the process, because the machine was shared; a second is a CPU second"
Report = Mapping[str, Any]
Table = tuple[str, Sequence[str], list[list[str]]]


def read(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        BadData: the file cannot be read, is no report, or is of another version of the format.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"cannot read a benchmark from {path}: {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT or "threads" not in report:
        raise BadData(f"{path} is no report of this Quiver's `quiver bench ann`")
    return report


def write(path: Path, report: Report) -> None:
    """Write a report as JSON, atomically."""
    files.write_json(path, _rounded(report), indent=1)


def _rounded(value: Any) -> Any:
    """Return the same with numbers rounded to six digits, to keep files small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def name(system: Report) -> str:
    """Return the display name of a system."""
    return f"{system['peer'].replace('_', ' ')} {system['index']}"


def tables(report: Report) -> list[Table]:
    """Return all tables of a report: title, column titles and rows of each."""
    made = [_reaching(report, share) for share in TARGETS]
    made += [_exact(report), _built(report), _overhead(report), *_filtered(report), _beyond(report)]
    made += [_churn(report), _growth(report)]
    return [table for table in made if table[2]]


def _measured(report: Report) -> list[Report]:
    return [system for system in report["systems"] if system.get("points")]


def _speed(point: Mapping[str, Any]) -> list[str]:
    spread = f"{point['recall']:.3f} [{point['low']:.3f}, {point['high']:.3f}]"
    times = [f"{point[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")]
    return [spread, *times, f"{point['qps_alone']:,.0f}", f"{point['qps']:,.0f}"]


_SPEED = ("recall [95 %]", "p50 ms", "p95 ms", "p99 ms", "a second, alone", "a second, batched")


def _knobs(point: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in point["knobs"].items()) or "-"


def _reaching(report: Report, share: float) -> Table:
    lines = []
    for system in _measured(report):
        if not system["exact"] and (point := cheapest(system["points"], share)):
            lines.append((point["qps"], [name(system), _knobs(point), *_speed(point)]))
    ordered = [line for _, line in sorted(lines, key=lambda pair: -pair[0])]
    missed = [name(s) for s in _measured(report) if not s["exact"] and not cheapest(s["points"], share)]
    title = f"Approximate, the cheapest setting of each index with recall@{report['k']} of at least {share}"
    return title + (f" (not reached by {', '.join(missed)})" if missed else ""), ("index", "setting", *_SPEED), ordered


def _exact(report: Report) -> Table:
    found = sorted((s for s in _measured(report) if s["exact"]), key=lambda system: -system["points"][0]["qps"])
    return "Exact", ("index", *_SPEED), [[name(system), *_speed(system["points"][0])] for system in found]


def _built(report: Report) -> Table:
    lines = []
    for system in report["systems"]:
        if "error" in system:
            lines.append([name(system), system.get("version", "-"), f"failed: {system['error']}", *["-"] * 4])
        elif built := system.get("build"):
            opened = system.get("open", {"core_s": 0.0})
            seconds = f"{built['core_s']:,.1f}"
            sizes = [_mib(each) for each in (built["disk_mib"], built.get("peak_mib"), system.get("serve_mib"))]
            lines.append([name(system), system["version"], seconds, f"{opened['core_s']:.1f}", *sizes])
    titles = ("index", "version", "build, core s", "open, core s", "on disk MiB", "building MiB", "serving MiB")
    return "Building, size and memory", titles, lines


def _mib(size: float | None) -> str:
    return "-" if size is None else f"{size:,.0f}"


def _overhead(report: Report) -> Table:
    lines = []
    for system in report["systems"]:
        if cost := system.get("overhead"):
            alone, many = cost["alone_ms"] - cost["alone_raw_ms"], cost["batch_ms"] - cost["batch_raw_ms"]
            figures = [f"{cost[key]:.3f}" for key in ("alone_ms", "alone_raw_ms")]
            figures += [f"{alone:+.3f}", *(f"{cost[key]:.2f}" for key in ("batch_ms", "batch_raw_ms"))]
            lines.append([name(system), _knobs(cost), *figures, f"{many / cost['batch_raw_ms']:+.0%}"])
    titles = (
        "index",
        "setting",
        "one query, ms",
        "FAISS alone, ms",
        "more, ms",
        "batch of 256, ms",
        "FAISS alone, ms",
        "more",
    )
    return "The planner's overhead over the FAISS call inside it, by turns, medians", titles, lines


def _filtered(report: Report) -> list[Table]:
    made: list[Table] = []
    for column in FILTERS:
        lines = []
        for system in report["systems"]:
            found = {each["selectivity"]: each for each in system.get("filter") or () if each["column"] == column}
            if found:
                cells = [
                    f"{found[share]['recall']:.3f} / {found[share]['p50_ms']:.2f}" if share in found else "-"
                    for share in SELECTIVITIES
                ]
                lines.append([name(system), *cells])
        without = [name(s) for s in report["systems"] if "filter" in s and s["filter"] is None]
        where = "anywhere" if column == "scattered" else "together, near one row"
        title = f"Filtered, rows that pass lie {where}: recall@{report['k']} / p50 ms by share of rows"
        title += f" (cannot filter: {', '.join(without)})" if without else ""
        made.append((title, ("index", *(f"{share:g}" for share in SELECTIVITIES)), lines))
    return made


def _beyond(report: Report) -> Table:
    lines = []
    for system in report["systems"]:
        if not system.get("beyond") or system["exact"] or not (point := cheapest(system["points"], TARGET)):
            continue
        there = next((each for each in system["beyond"] if each["knobs"] == point["knobs"]), None)
        reach = cheapest(system["beyond"], TARGET)
        again = [_knobs(reach), f"{point['qps'] / reach['qps']:.1f}"] if reach else ["not reached", "-"]
        lines.append([name(system), _knobs(point), f"{there['recall']:.3f}" if there else "-", *again])
    titles = ("index", f"setting for {TARGET}", "recall beyond", f"setting for {TARGET} beyond", "times as slow")
    return "Queries of another distribution (made)", titles, lines


def _churn(report: Report) -> Table:
    lines = []
    for system in report["systems"]:
        if found := system.get("churn"):
            steps = found["steps"]
            recalls = " ".join(f"{step['replaced']:.0%}:{step['recall']:.3f}" for step in steps)
            waits = [each for each in found["found_after_s"] if each is not None]
            wait = f"{np.median(waits):.3f} / {max(waits):.3f}" if waits else "-"
            lost = len(found["found_after_s"]) - len(waits)
            rate = f"{np.median([step['rows_a_second'] for step in steps[1:]]):,.0f}"
            rebuilt = f"{found['rebuilt']['recall']:.3f} / {found['rebuilt']['p50_ms']:.2f}"
            now = f"{steps[-1]['recall']:.3f} / {steps[-1]['p50_ms']:.2f}"
            wait += f" ({lost} never)" if lost else ""
            lines.append([name(system), _knobs(found), recalls, now, rebuilt, rate, wait])
    titles = ("index", "setting", "recall by share replaced", "at the end, recall / p50 ms", "built anew")
    return (
        "Change: rows deleted and others added",
        (*titles, "rows a second", "added row found after s, median / most"),
        lines,
    )


def _growth(report: Report) -> Table:
    sizes = sorted(
        {each["rows"] for s in report["systems"] for each in s.get("growth", ())} | {report["dataset"]["rows"]}
    )
    lines = []
    for system in report["systems"]:
        if not system.get("growth"):
            continue
        known: dict[int, float] = {}
        for rows, points in _by_size(report, system):
            point = cheapest(points, TARGET, by="qps_alone")
            known |= {rows: point["p50_ms"]} if point else {}
        cells = [f"{known[rows]:.2f}" if rows in known else "-" for rows in sizes]
        lines.append([name(system), *cells, f"{slope(known):.2f}" if len(known) > 1 else "-"])
    titles = ("index", *(f"{rows:,}" for rows in sizes), "exponent")
    return f"Growth: p50 ms of one query at recall of at least {TARGET}, by rows; 1 would be linear", titles, lines


def _by_size(report: Report, system: Report) -> list[tuple[int, Sequence[Mapping[str, Any]]]]:
    smaller = [(each["rows"], each.get("points", ())) for each in system["growth"]]
    return [*smaller, (report["dataset"]["rows"], system.get("points", ()))]


def slope(known: Mapping[int, float]) -> float:
    """Return the exponent of a power of the rows, fitted to milliseconds by rows.

    >>> round(slope({10: 1.0, 1000: 10.0}), 3)
    0.5
    """
    return float(np.polyfit(np.log(list(known)), np.log(list(known.values())), 1)[0])


def remarks(report: Report) -> list[str]:
    """Return the remarks below the tables."""
    data, machine = report["dataset"], report["machine"]
    shape = f"{data['rows']:,} x {data['dim']}, {data['metric']}, {data['queries']:,} queries"
    said = [
        f"{data['name']}, revision {data['revision'][:12]}: {shape}; {data['source']}",
        f"{machine['processor']}, {report['threads']} threads on as many cores, {machine['memory_gib']} GiB; seed "
        f"{report['seed']}",
        *([BUSY] if report["clock"] == "cpu" else []),
        "; ".join(f"{key} {value}" for key, value in report["versions"].items()),
        *(f"data: {note}" for note in data["notes"]),
        *(f"not installed, left out: {each['peer']} (needs {each['needs']})" for each in report["absent"]),
    ]
    commands = sorted({s["command"] for s in report["systems"] if s.get("command")})
    commits = sorted({(s.get("commit") or "?")[:8] for s in report["systems"]})
    return [*said, *(f"command: {each}" for each in commands), f"commits: {', '.join(commits)}"]


def markdown(reports: Sequence[Report], *, plots: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return reports as one Markdown page.

    Args:
        reports: of different data sets.
        plots: paths of plots relative to the page, by name of the data set.
    """
    lines = []
    for report in reports:
        data = report["dataset"]["name"]
        lines += [f"## {data}", "", *(f"![{data}]({path})" for path in (plots or {}).get(data, ())), ""]
        for title, titles, rows in tables(report):
            lines += [f"**{title}.**", "", _line(titles), _line(["---"] * len(titles)), *map(_line, rows), ""]
        lines += [*(f"- {each}" for each in remarks(report)), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page(reports: Sequence[Report], *, plots: Mapping[str, Sequence[bytes]]) -> str:
    """Return reports as one HTML page that needs no other file; plots are SVG, by name of the data set."""
    parts = ["<!doctype html><meta charset=utf-8><title>quiver bench ann</title><style>", _STYLE, "</style>"]
    for report in reports:
        data = report["dataset"]["name"]
        parts += [f"<h1>{html.escape(data)}</h1>", *(plot.decode() for plot in plots.get(data, ()))]
        for title, titles, rows in tables(report):
            head = "".join(f"<th>{html.escape(each)}" for each in titles)
            body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows)
            parts += [f"<h2>{html.escape(title)}</h2><table><tr>{head}{body}</table>"]
        parts += ["<ul>", *(f"<li>{html.escape(each)}" for each in remarks(report)), "</ul>"]
    return "\n".join(parts)


_STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:75em;padding:0 1em}h2{font-size:1em}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.2em .7em;text-align:left}"
    "td{border-top:1px solid #ddd}"
    "svg{max-width:100%;height:auto}"
)
