"""``quiver bench``: measure recall on data sets, list them, and compare what was measured.

The benchmarks are imported when a command runs: they are heavy.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show

bench = typer.Typer(help="Measure Recall@K on data sets, with intervals, baselines and where the losses come from.")


@bench.command()
def recall(
    dataset: Annotated[str, typer.Argument(help="Data set spec, such as 'esc track=audio'; see `quiver bench list`.")],
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Encoder spec; may be repeated. Those joined by ' + ' answer together."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="TOML or JSON file of plans: index, depth, spaces, held, scorer, recall, weights, fuse, budget_ms."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="In place of the data set's own, the headline first; may be repeated.")
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write everything as JSON to this file; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of figures, plots, best and worst questions.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table for a README.")] = None,
    trec: Annotated[Path | None, typer.Option(help="Folder for TREC run and qrels files.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots (needs matplotlib).")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder that keeps vectors between runs; ~/.cache/quiver/bench if not said.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of intervals, tests and random orders.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Whether random and classic are measured too.")] = True,
) -> None:
    """Measure encoders on a data set, with random and classic in the same table."""
    from quiver.benchmarks.recall import measure as measured
    from quiver.benchmarks.recall import page, plot
    from quiver.benchmarks.recall import report as reports
    from quiver.benchmarks.recall.outcome import Options

    options = Options(work=work, measures=tuple(measure or ()), baselines=baselines, seed=seed)
    found = measured(dataset, tuple(encoder or ()), plan=plan, options=options)
    report = reports.describe(found, command=shlex.join(["quiver", *sys.argv[1:]]))
    if json is not None and json != "-":
        reports.write_json(Path(json), report)
    if markdown is not None:
        reports.write_markdown(markdown, report)
    if trec is not None:
        reports.write_trec(trec, found)
    if plots is not None:
        plot.draw(report, plots)
    if html is not None:
        page.write(html, found, report)
    if json == "-":
        show.write_json(report)
    else:
        titles, rows = reports.table(report)
        _print(titles, rows, reports.remarks(report))


@bench.command()
def ann(
    dataset: Annotated[str, typer.Argument(help="Vectors with known neighbours, such as 'sift100k split=all'.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A peer, or peer:index, such as faiss:HNSW32; may be repeated.")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="plain, filter, beyond, overhead, churn; may be repeated. plain if not said."),
    ] = None,
    grow: Annotated[bool, typer.Option("--grow", help="Measure the first 10,000, 30,000, ... rows too.")] = False,
    k: Annotated[int, typer.Option("-k", help="Places of each list.")] = 10,
    threads: Annotated[
        int | None, typer.Option(help="Threads and cores of each system; all cores if not said.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder that keeps vectors and indexes; ~/.cache/quiver/ann if not said.")
    ] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Tell CPU times: for a machine that others use; with --threads 1.")
    ] = False,
    build_only: Annotated[bool, typer.Option("--build-only", help="Build indexes, and measure another time.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON to this file.")] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Keep what that file has of other indexes and tracks.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write tables as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of tables and plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for the plot (needs matplotlib).")] = None,
) -> None:
    """Measure Quiver beside FAISS, hnswlib, usearch, LanceDB, Qdrant, Chroma and scikit-learn, as far as installed."""
    from quiver.benchmarks import ann as measured

    options = measured.Options(
        only=tuple(only or ()),
        tracks=tuple(track or ("plain",)),
        grow=grow,
        k=k,
        threads=threads,
        seed=seed,
        work=work,
        build_only=build_only,
        pace=measured.Pace(cpu=cpu_time),
    )
    command = shlex.join(["quiver", *sys.argv[1:]])
    before = measured.read(json) if merge and json is not None and json.exists() else None

    def keep(report: Any) -> Any:
        whole = report if before is None else measured.merged(before, report)
        if json is not None:
            measured.write(json, whole)
        return whole

    found = measured.measure(
        dataset, options, command=command, keep=keep, say=lambda text: print(text, file=sys.stderr)
    )
    if build_only:
        return
    report = keep(found)
    measured.present([report], markdown=markdown, html=html, plots=plots)
    _tables(measured.tables(report), measured.remarks(report))


@bench.command("page")
def page(
    reports: Annotated[list[Path], typer.Argument(help="JSON reports of `quiver bench ann`.")],
    markdown: Annotated[Path | None, typer.Option(help="Write tables as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of tables and plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots (needs matplotlib).")] = None,
) -> None:
    """Write reports of `quiver bench ann` as one page."""
    from quiver.benchmarks import ann as measured

    measured.present([measured.read(path) for path in reports], markdown=markdown, html=html, plots=plots)


@bench.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the data sets, and whether they are on disk."""
    from quiver.benchmarks.recall import listed

    found = listed()
    if json:
        show.write_json(found)
        return
    state = {True: "here", False: "not here", None: "-"}
    show.write_table(("data set", "on disk", "what it is"), [(e["name"], state[e["here"]], e["says"]) for e in found])


@bench.command()
def compare(
    a: Annotated[Path, typer.Argument(help="JSON of one `quiver bench recall`.")],
    b: Annotated[Path, typer.Argument(help="JSON of another, on the same data.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Of intervals and tests.")] = 0,
) -> None:
    """Test the second against the first, question by question."""
    from quiver.benchmarks.recall import compare as tests
    from quiver.benchmarks.recall import report as reports

    found = tests.compare(reports.read_json(a), reports.read_json(b), seed=seed)
    if json:
        show.write_json(found)
        return
    titles = ("measure", "a", "b", "a gets", "b gets", "b - a", "95%", "p (Holm)", "differ")
    _print(titles, [_test(each) for each in found["tests"]], _shared(found))


def _test(test: dict[str, Any]) -> list[str]:
    effect, values = test["effect"], test["values"]
    figures = [f"{values['a']:.3f}", f"{values['b']:.3f}", f"{effect['value']:+.3f}"]
    spread = f"[{effect['low']:+.3f}, {effect['high']:+.3f}]"
    return [test["measure"], test["a"], test["b"], *figures, spread, f"{test['adjusted']:.2g}", str(test["changed"])]


def _shared(found: dict[str, Any]) -> list[str]:
    only = [f"{count} only in {side}" for count, side in zip(found["only"], ("a", "b"), strict=True) if count]
    return [f"{found['questions']} questions in common" + (f"; {', '.join(only)} are left out" if only else "")]


def _tables(tables: Any, remarks: list[str]) -> None:
    for title, titles, rows in tables:
        print(f"\n{title}")
        show.write_table(titles, rows if sys.stdout.isatty() else [titles, *rows])
    print()
    for remark in remarks:
        print(remark)


def _print(titles: Any, rows: Any, remarks: list[str]) -> None:
    """Print a table and what is to be read with it; in a pipe, columns are parted by tabs, titles first."""
    show.write_table(titles, rows if sys.stdout.isatty() else [titles, *rows])
    print()
    for remark in remarks:
        print(remark)
