"""``quiver bench ann``: compare Quiver with other systems, in the same run on the same vectors.

``bed`` writes the data and the true neighbours to disk; ``run`` starts processes (``worker``) for every index of every
system, one to build it and one to search it; ``track`` defines the measurements, ``clock`` times them; ``report`` and
``plot`` show a report, which is plain JSON.
"""

from collections.abc import Sequence
from pathlib import Path

from quiver.benchmarks.ann.clock import Pace
from quiver.benchmarks.ann.report import Report, page, read, remarks, tables, write
from quiver.benchmarks.ann.report import markdown as to_markdown
from quiver.benchmarks.ann.run import Options, measure, merged

__all__ = ["Options", "Pace", "measure", "merged", "present", "read", "remarks", "tables", "write"]


def present(
    reports: Sequence[Report],
    *,
    markdown: Path | None = None,
    html: Path | None = None,
    plots: Path | None = None,
) -> None:
    """Write reports in the requested formats.

    Args:
        reports: of different data sets.
        markdown: a file for tables; its text before the first line that begins with ``## `` is kept.
        html: a file for tables and plots.
        plots: a folder for plots, which the Markdown then includes.

    Raises:
        MissingExtra: plots are requested and matplotlib is not installed.
    """
    from quiver.benchmarks.ann import plot

    drawn = {r["dataset"]["name"]: plot.draw(r, plots) for r in reports} if plots is not None else {}
    if markdown is not None:
        seen = {
            name: [str(path.resolve().relative_to(markdown.resolve().parent)) for path in paths]
            for name, paths in drawn.items()
        }
        before = markdown.read_text("utf-8").partition("\n## ")[0] + "\n" if markdown.exists() else ""
        markdown.write_text(before + to_markdown(reports, plots=seen), "utf-8")
    if html is not None:
        pictures = {r["dataset"]["name"]: [plot.rendered(r)] for r in reports}
        html.write_text(page(reports, plots=pictures), "utf-8")
