"""Reports of captions as tables and files."""

from pathlib import Path
from typing import Any

from quiver.benchmarks.captioning.run import WHOLE, Report
from quiver.benchmarks.metric.caption import JAVA, MEASURES
from quiver.files import write_json as write
from quiver.files import write_text


def table(report: Report) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return titles and rows: one per system and part, figures in percent with their 95 % intervals.

    CIDEr-D, which goes to 10, is multiplied by 100 too, as papers do.
    """
    measures = [
        name for name in MEASURES if any(name in system["parts"]["all"]["figures"] for system in report["systems"])
    ]
    rows = []
    for system in report["systems"]:
        for part, found in system["parts"].items():
            cells = [_cell(found, name) for name in measures]
            rows.append([system["name"] if part == "all" else "", part, str(found["n"]), *cells])
    return ("captions by", "of", "n", *measures), rows


def _cell(found: dict[str, Any], name: str) -> str:
    if name not in found["figures"]:
        return "-"
    value = f"{100 * found['figures'][name]:.1f}"
    if name not in found["intervals"]:
        return value
    low, high = found["intervals"][name]
    return f"{value} [{100 * low:.1f}, {100 * high:.1f}]"


def remarks(report: Report) -> list[str]:
    """Return what has to be known beside the table."""
    options = report["options"]
    search = "greedy search" if options["beams"] == 1 else f"{options['beams']} beams"
    lines = [
        f"{report['dataset']}: {report['things']:,} of medium {report['medium']}, {report['sentences']:,} sentences; "
        f"{search}, {options['tokens']} tokens, all figures times 100; intervals: 95 %, bootstrap over sources",
        "n-gram weights of CIDEr-D come from the sentences of each part: parts cannot be compared by it",
    ]
    for system in report["systems"]:
        said = f"{system['name']}: {system['different']:,} different captions"
        if system["seconds"] is not None:
            said += f", {report['things'] / max(system['seconds'], 1e-9):.1f} a second with reading"
        if system["failures"]:
            said += f"; {len(system['failures'])} could not be read and have no caption, which counts"
        lines.append(said)
    parts = {part: found["figures"] for system in report["systems"] for part, found in system["parts"].items()}
    whole = [name for name in JAVA if name in parts["all"]]
    if whole and parts.keys() - set(WHOLE):
        lines.append(f"{' and '.join(whole)}: of all things and of changed ones; not measured by kind")
    absent = {name: why for system in report["systems"] for name, why in system["absent"].items()}
    return lines + [f"no {name}: {why}" for name, why in absent.items()] + [f"note: {note}" for note in report["notes"]]


def write_json(path: Path, report: Report) -> None:
    """Write a whole report, with all captions."""
    write(path, report, indent=1)


def write_markdown(path: Path, report: Report) -> None:
    """Write the table and its remarks."""
    titles, rows = table(report)
    lines = ["| " + " | ".join(row) + " |" for row in (titles, ["---"] * len(titles), *rows)]
    command = [f"`{report['command']}`", ""] if report["command"] else []
    write_text(path, "\n".join([*command, *lines, "", *(f"- {remark}" for remark in remarks(report))]) + "\n")
