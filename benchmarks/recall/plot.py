"""Plots of a benchmark: recall against latency, recall against depth, and losses by cause.

If a scorer reranks candidates, a further plot shows recall against its exact scan by number of candidates. Plots are
drawn from the JSON report. Matplotlib is an optional extra.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quiver.benchmarks.recall.attribution import CAUSES
from quiver.benchmarks.recall.report import Report, kept_at
from quiver.errors import BadSpec, optional

#: Okabe and Ito's colours, safe for colour-blind readers; black is left for text.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
_CAUSE_COLOURS = dict(zip(CAUSES, ("#888888", "#0072b2", "#e69f00", "#56b4e9", "#d55e00"), strict=True))
FORMATS = ("svg", "png", "pdf")


def draw(report: Report, folder: Path, *, format: str = "svg") -> list[Path]:
    """Write every plot that has data; return the paths.

    Raises:
        BadSpec: the format is not one of FORMATS.
        MissingExtra: matplotlib is not installed.
    """
    return save(rendered(report, format=format), folder, format=format)


def save(plots: Mapping[str, bytes], folder: Path, *, format: str) -> list[Path]:
    """Write plots to files of their names; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{format}" for name in plots]
    for path, content in zip(paths, plots.values(), strict=True):
        path.write_bytes(content)
    return paths


def rendered(report: Report, *, format: str = "svg") -> dict[str, bytes]:
    """Return every plot that has data, by name, as the bytes of a file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    plots: dict[str, Callable[[Any, Report], bool]] = {
        "latency": _latency,
        "depth": _depth,
        "attribution": _attribution,
        "kept": _kept,
    }
    return {name: content for name, plot in plots.items() if (content := render(plot, report, format))}


def render(plot: Callable[[Any, Report], bool], report: Report, format: str) -> bytes:
    """Render the axes that a function draws as the bytes of a file; empty if it reports no data.

    Raises:
        BadSpec: the format is not one of FORMATS.
        MissingExtra: matplotlib is not installed.
    """
    if format not in FORMATS:
        raise BadSpec(f"plot format must be one of {', '.join(FORMATS)}, not {format}")
    with optional():
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    # Text stays text, and ids do not change from run to run.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "quiver", "font.size": 10}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with rc_context(style):
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if not plot(axes, report):
            return b""
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        content = io.BytesIO()
        figure.savefig(content, format=format, dpi=160, metadata={"Date": None} if format == "svg" else None)
    return content.getvalue()


def _searched(report: Report) -> list[Mapping[str, Any]]:
    return [each for each in report["systems"] if each["role"] != "random"]


def _coloured(systems: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Return the colour of a system, the same in every plot; setups of one encoder share one."""
    families = list(dict.fromkeys(_family(each) for each in systems))
    return [(each, COLOURS[families.index(_family(each)) % len(COLOURS)]) for each in systems]


def _family(system: Mapping[str, Any]) -> str:
    return str(system["name"]).split(" | ")[0]


def _latency(axes: Any, report: Report) -> bool:
    """Plot the headline measure against search milliseconds per question."""
    headline, systems = report["headline"], [each for each in _searched(report) if each["latency_ms"]]
    systems = [each for each in systems if headline in each["figures"]]
    for number, (system, colour) in enumerate(_coloured(systems)):
        figure, ms = system["figures"][headline], system["latency_ms"]["batch"]
        spread = [[figure["value"] - figure["low"]], [figure["high"] - figure["value"]]]
        mark = "osD^vP*X"[number % 8]
        axes.errorbar([ms], [figure["value"]], yerr=spread, fmt=mark, color=colour, capsize=3, label=system["name"])
    _log(axes)
    axes.set_xlabel("search, ms per question (in batches; embedding not included)")
    axes.set_ylabel(headline)
    axes.set_title(f"{report['dataset']['name']}: {headline} against latency", fontsize=10)
    if systems:
        spent = [each["latency_ms"]["batch"] for each in systems]
        axes.set_xlim(min(spent) / 2, max(spent) * 2)
        _legend(axes)
    return bool(systems)


def _depth(axes: Any, report: Report) -> bool:
    """Plot Success@d by depth d: the upper bound for a reranker."""
    systems = [each for each in _searched(report) if len(each["curve"]) > 1]
    family: dict[str, int] = {}
    for system, colour in _coloured(systems):
        family[_family(system)] = family.get(_family(system), -1) + 1
        dash = ("-", "--", ":", "-.")[family[_family(system)] % 4]
        depths = [int(depth) for depth in system["curve"]]
        axes.plot(depths, list(system["curve"].values()), dash, color=colour, marker=".", label=system["name"])
    _log(axes)
    axes.set_xlabel("depth: candidates for a reranker")
    axes.set_ylabel("questions with a right answer among them")
    axes.set_title(f"{report['dataset']['name']}: upper bound for reranking", fontsize=10)
    axes.set_ylim(0, 1.02)
    if systems:
        _legend(axes)
    return bool(systems)


def _kept(axes: Any, report: Report) -> bool:
    """Plot recall against the scorer's exact scan by number of reranked candidates."""
    lines = _lines(report)
    for number, (name, points) in enumerate(lines.items()):
        depths, values = [depth for depth, _ in points], [figure["value"] for _, figure in points]
        ends = [[f["value"] - f["low"] for _, f in points], [f["high"] - f["value"] for _, f in points]]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(depths, values, yerr=ends, color=colour, marker="osD^vP*X"[number % 8], capsize=3, label=name)
    _log(axes)
    axes.set_xlabel("reranked candidates per list")
    axes.set_ylabel(f"recall@{kept_at(report)} against an exact scan")
    axes.set_title(f"{report['dataset']['name']}: recall against exact scoring", fontsize=10)
    axes.set_ylim(0, 1.02)
    if lines:
        _legend(axes)
    return bool(lines)


def _legend(axes: Any) -> None:
    """Draw the legend inside the axes, or beside them if there are many systems."""
    _, names = axes.get_legend_handles_labels()
    if len(names) <= 8:
        axes.legend(fontsize=8, frameon=False)
        return
    axes.figure.set_size_inches(7 + max(map(len, names)) / 16, max(4, 1 + len(names) / 7))
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))


def _lines(report: Report) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Return depths and their recall, by recall method of the candidates."""
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for system in _searched(report):
        stages, setup = system["plan"].get("stages", ()), system["setup"]
        depths = [stage["k"] for stage in stages if stage["stage"] == "recall"]
        if not depths or not any(stage["stage"] == "rescore" for stage in stages):
            continue
        words = [_family(system), setup.get("recall") or "planner", f"by {setup['index']}"]
        words += [f"{key} {weight:g}" for key, weight in setup.get("weights", ())]
        if figure := system.get("kept", {}).get(kept_at(report)):
            lines.setdefault(" ".join(words), []).append((max(depths), figure))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}


def _log(axes: Any) -> None:
    """Make the horizontal axis logarithmic, with plain numbers as labels."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _attribution(axes: Any, report: Report) -> bool:
    """Plot losses by cause; the whole bar is 1 minus the measure."""
    systems = [each for each in _searched(report) if each["attribution"]]
    names = [each["name"] for each in systems]
    left = [0.0] * len(systems)
    for cause in CAUSES:
        points = [each["attribution"]["points"][cause] for each in systems]
        if any(points):
            axes.barh(names, points, left=left, color=_CAUSE_COLOURS[cause], label=cause, height=0.6)
        left = [before + here for before, here in zip(left, points, strict=True)]
    if not any(left):
        return False
    axes.set_xlabel(f"lost of {report['headline']}")
    axes.set_title(f"{report['dataset']['name']}: losses of {report['headline']} by cause", fontsize=10)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.figure.set_size_inches(5 + max(map(len, names)) / 14, max(4, 1.5 + len(names) / 4))
    axes.legend(fontsize=8, frameon=False, ncols=len(CAUSES), loc="upper center", bbox_to_anchor=(0.4, -0.16))
    return True
