"""A plot of a run: losses above, validation figures below."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quiver.encoders._train.log import read

#: Entries of a line of the log that are neither losses nor measures.
_OTHER = frozenset({"phase", "kind", "step", "epoch", "rate", "gradient", "rows_per_second"})


def draw(out: Path) -> str | None:
    """Draw ``out/curve.png`` from ``out/log.jsonl``, phases one after the other.

    Returns:
        Why there is no picture, in one line, or None.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return "no curve.png: matplotlib is not installed (pip install 'quiver-search[bench]')"
    lines = _placed(read(out / "log.jsonl"))
    kinds = [kind for kind in ("train", "validation") if any(line["kind"] == kind for line in lines)]
    if not kinds:
        return "no curve.png: nothing was logged"
    figure = Figure(figsize=(8, 3 * len(kinds)), layout="constrained")
    for axes, kind in zip(figure.subplots(len(kinds), squeeze=False)[:, 0], kinds, strict=True):
        _plot(axes, [line for line in lines if line["kind"] == kind])
        axes.set(xlabel="step", ylabel="loss" if kind == "train" else kind)
    figure.savefig(out / "curve.png", dpi=120)
    return None


def _placed(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add ``at`` to every line: its step, counted through all phases."""
    start, starts = 0, {}
    for phase in dict.fromkeys(line["phase"] for line in lines):
        starts[phase] = start
        start += max(line["step"] for line in lines if line["phase"] == phase)
    return [{**line, "at": starts[line["phase"]] + line["step"]} for line in lines]


def _plot(axes: Any, lines: Sequence[Mapping[str, Any]]) -> None:
    for phase in dict.fromkeys(line["phase"] for line in lines):
        own = [line for line in lines if line["phase"] == phase]
        for name in dict.fromkeys(name for line in own for name in line if name not in _OTHER and name != "at"):
            points = [(line["at"], line[name]) for line in own if name in line]
            axes.plot(*zip(*points, strict=True), marker=".", label=f"{phase} {name}".lstrip())
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
