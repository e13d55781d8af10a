"""Plot of recall against queries per second, batched and alone: a line per index, a dot per exact search."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quiver.benchmarks.ann.report import name
from quiver.benchmarks.recall.plot import COLOURS, render, save

Report = Mapping[str, Any]
_LOWEST = 0.7  # lowest recall of practical use


def draw(report: Report, folder: Path, *, format: str = "svg") -> list[Path]:
    """Write the plot of a report, named after its data set; return its path, or None without data.

    Raises:
        BadSpec: the format is not one of FORMATS.
        MissingExtra: matplotlib is not installed.
    """
    content = rendered(report, format=format)
    return save({report["dataset"]["name"].split()[0]: content} if content else {}, folder, format=format)


def rendered(report: Report, *, format: str = "svg") -> bytes:
    """Return the plot as the bytes of a file; empty without data."""
    return render(_recall, report, format)


def _recall(axes: Any, report: Report) -> bool:
    systems = [system for system in report["systems"] if system.get("points")]
    figure = axes.figure
    figure.set_size_inches(11, 4.6)
    axes.remove()
    second = "CPU second" if report["clock"] == "cpu" else "second"
    for number, (key, title) in enumerate((("qps", "in batches of 256"), ("qps_alone", "one at a time"))):
        part = figure.add_subplot(1, 2, number + 1)
        _lines(part, systems, key)
        part.set_yscale("log")
        part.set_xlabel(f"recall@{report['k']}")
        part.set_ylabel(f"queries per {second}, {title}")
        part.grid(alpha=0.25)
    data = report["dataset"]
    figure.suptitle(f"{data['name']}: {data['rows']:,} x {data['dim']}, {report['threads']} threads", fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside right upper")
    return bool(systems)


def _lines(axes: Any, systems: Sequence[Report], key: str) -> None:
    peers = list(dict.fromkeys(system["peer"] for system in systems))
    drawn: dict[str, int] = {}
    for system in systems:
        colour = COLOURS[peers.index(system["peer"]) % len(COLOURS)]
        turn = drawn[system["peer"]] = drawn.get(system["peer"], -1) + 1
        points = _front([(p["recall"], p[key]) for p in system["points"] if p["recall"] >= _LOWEST])
        if points:
            dash = "" if len(points) == 1 else ("-", "--", ":", "-.")[turn % 4]
            mark = "*" if system["exact"] else "osD^vPX"[turn % 7]
            axes.plot(*zip(*points, strict=True), dash, marker=mark, color=colour, markersize=4, label=name(system))


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto-optimal points, by recall."""
    best: list[tuple[float, float]] = []
    for recall, speed in sorted(points, reverse=True):
        if not best or speed > best[-1][1]:
            best.append((recall, speed))
    return best[::-1]
