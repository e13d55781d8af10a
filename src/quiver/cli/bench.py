"""``quiver bench``: measure Recall@K and captions on data sets, list the data sets, compare two reports.

The benchmarks are imported when a command runs: they are heavy.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show, table
from quiver.cli.bench_mteb import mteb
from quiver.errors import BadSpec

bench = typer.Typer(help="Measure Recall@K on data sets, with confidence intervals, baselines and error attribution.")


@bench.command()
def recall(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="Data set spec (see `quiver bench list`), or your own questions: a table, a BEIR or MTEB folder, or a"
            " TOML file that names all of this."
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Encoder spec; may be repeated. Specs joined by ' + ' are searched together."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="TOML or JSON file of search settings: index, depth, spaces, held, scorer, recall, weights, budget_ms."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Measure instead of the data set's own, main one first; may be repeated.")
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write the full report as JSON to this file; - prints it.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page with figures, plots, best and worst questions.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the results as a Markdown table.")] = None,
    trec: Annotated[Path | None, typer.Option(help="Folder for TREC run and qrels files.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots (needs matplotlib).")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder that caches vectors between runs; default ~/.cache/quiver/bench.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of intervals, tests and random baseline.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Also measure the random and classic baselines.")] = True,
    queries: Annotated[
        str | None,
        typer.Option(help="Own questions: a table of queries (text, image, like, where ...), or vectors (npy)."),
    ] = None,
    relevant: table.Relevant = None,
    collection: Annotated[
        str | None, typer.Option(help="Own questions: the collection to measure, with its encoders and indexes.")
    ] = None,
    items: Annotated[
        list[str] | None,
        typer.Option(help="Own questions: folder, manifest or collection to embed and search; may be repeated."),
    ] = None,
    answer: Annotated[str, typer.Option(help="Own questions: column with the id of the answer.")] = "answer",
    target: Annotated[str | None, typer.Option(help="Own questions: medium to find, such as image.")] = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    trust: show.Trust = False,
) -> None:
    """Measure encoders on a data set, or a collection on your own questions, beside random and classic baselines.

    Own questions are a table of queries, with the ids of right answers in a column answer or in a file of judgements:
    quiver bench recall --queries queries.csv --relevant qrels.csv --collection shop
    """
    from quiver.benchmarks.recall import measure as measured
    from quiver.benchmarks.recall import page, plot
    from quiver.benchmarks.recall import report as reports
    from quiver.benchmarks.recall.outcome import Options
    from quiver.benchmarks.recall.own_questions import Own

    options = Options(work=work, measures=tuple(measure or ()), baselines=baselines, seed=seed)
    columns = table.given(
        meta=meta, key=key, media=media, text=text, image=image, id_column=id_column, path_column=path_column
    )
    own = Own(
        relevant=tuple(map(str, relevant or ())),
        collection=collection,
        items=tuple(items or ()),
        answer=answer,
        target=target,
        columns=columns,
        trust=trust,
    )
    found = measured(_asked(dataset, queries, own), tuple(encoder or ()), plan=plan, options=options, own=own)
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
        page.write(html, found, report, **_page_options(str(dataset or queries), own))
    if json == "-":
        show.write_json(report)
    else:
        titles, rows = reports.table(report)
        _print(titles, rows, reports.remarks(report))


def _asked(dataset: str | None, queries: str | None, own: Any) -> str:
    """Return the data set, or the table of own questions."""
    if (dataset is None) == (queries is None):
        raise BadSpec(
            "name one data set, as in `quiver bench recall esc50 --encoder classic`, or your own questions, as in"
            " `quiver bench recall --queries queries.csv --relevant qrels.csv --collection shop`"
        )
    asked = str(dataset or queries)
    described = any(own.columns.values()) and not asked.lower().endswith(".toml")
    if described and not (own.items or own.collection):
        first = f"--{next(name for name, value in own.columns.items() if value).replace('_', '-')}"
        raise BadSpec(f"{first} describes the files of --items: name these too")
    return asked


def _page_options(asked: str, own: Any) -> dict[str, Any]:
    """Return the options of the page: hits of own questions can be marked, and files of a stranger are hidden."""
    from quiver.benchmarks.recall import own_file, own_questions
    from quiver.trust import Reach

    place = own.collection or (own_file.read(asked).own.collection if own_file.is_file(asked) else None)
    hidden = {} if place is None else {"hidden": Reach(place, everything=own.trust).refuses}
    return {"label": own_file.is_file(asked) or own_questions.is_own(asked), **hidden}


@bench.command()
def ann(
    dataset: Annotated[
        str, typer.Argument(help="Data set of vectors with known neighbours, such as 'sift100k split=all'.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Measure only this peer, or peer:index such as faiss:HNSW32; may be repeated."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="plain, filter, beyond, overhead or churn; may be repeated. Default: plain."),
    ] = None,
    grow: Annotated[bool, typer.Option("--grow", help="Also measure the first 10,000, 30,000, ... rows.")] = False,
    k: Annotated[int, typer.Option("-k", help="Number of neighbours per query.")] = 10,
    threads: Annotated[int | None, typer.Option(help="Threads and cores per system; default: all cores.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder that caches vectors and indexes; default ~/.cache/quiver/ann.")
    ] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Report CPU time, for a shared machine; use with --threads 1.")
    ] = False,
    build_only: Annotated[bool, typer.Option("--build-only", help="Build the indexes without measuring.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the full report as JSON to this file.")] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Keep the results of other indexes and tracks in that file.")
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML page of tables and plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for the plot (needs matplotlib).")] = None,
) -> None:
    """Compare Quiver with FAISS, hnswlib, usearch, LanceDB, Qdrant, Chroma and scikit-learn, if installed."""
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
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML page of tables and plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots (needs matplotlib).")] = None,
) -> None:
    """Combine JSON reports of `quiver bench ann` into one page."""
    from quiver.benchmarks import ann as measured

    measured.present([measured.read(path) for path in reports], markdown=markdown, html=html, plots=plots)


@bench.command()
def caption(
    dataset: Annotated[
        str, typer.Argument(help="Data set spec with sentences about one medium, such as 'spot_the_diff split=test'.")
    ],
    encoder: Annotated[
        list[str] | None, typer.Option(help="Spec of an encoder that describes this medium; may be repeated.")
    ] = None,
    beams: Annotated[int, typer.Option(help="Width of the beam search; 1 is greedy.")] = 1,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="BLEU-4, ROUGE-L, CIDEr-D, METEOR or SPICE; may be repeated. Default: all of them."),
    ] = None,
    tokens: Annotated[
        str, typer.Option(help="How sentences are cut into words: plain, or ptb as in papers (needs Java).")
    ] = "plain",
    limit: Annotated[int | None, typer.Option(help="Caption this many things, drawn with the seed.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of draws and intervals.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Also measure a constant and a random sentence.")] = True,
    json: Annotated[
        str | None, typer.Option(help="Write the report with all captions to this file; - prints it.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown.")] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write examples with their captions, right and wrong as they come, as an HTML page, or as one picture"
            " if the name ends with .png, .jpg or .webp."
        ),
    ] = None,
) -> None:
    """Measure captions on a data set, with confidence intervals, by kind of change, and beside two baselines."""
    from quiver.benchmarks import captioning

    if tokens not in ("plain", "ptb"):
        raise BadSpec(f"--tokens is plain or ptb, not {tokens!r}")
    options = captioning.Options(
        beams=beams,
        measures=tuple(measure or ()),
        tokens="ptb" if tokens == "ptb" else "plain",
        limit=limit,
        seed=seed,
        baselines=baselines,
    )
    report = captioning.measure(
        dataset, tuple(encoder or ()), options=options, command=shlex.join(["quiver", *sys.argv[1:]])
    )
    if json is not None and json != "-":
        captioning.write_json(Path(json), report)
    if markdown is not None:
        captioning.write_markdown(markdown, report)
    if page is not None:
        captioning.write_page(page, report, dataset, tuple(encoder or ()))
    if json == "-":
        show.write_json(report)
    else:
        _print(*captioning.table(report), captioning.remarks(report))


@bench.command()
def composition(
    dataset: Annotated[
        str, typer.Argument(help="Data set spec of composed questions, such as 'fashion_products track=composed'.")
    ],
    encoder: Annotated[list[str], typer.Option(help="Encoder spec; may be repeated.")],
    questions: Annotated[int | None, typer.Option(help="Use the first so many questions.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder that caches vectors between runs; default ~/.cache/quiver/bench.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Audit composed questions: picture alone, words alone, both, hard negatives, and other wordings."""
    from quiver.benchmarks import datasets
    from quiver.benchmarks.recall import composition as audits
    from quiver.benchmarks.recall.outcome import Options
    from quiver.files import write_text

    task, options = datasets.load(dataset), Options(work=work, seed=seed)
    found = [audits.audit(task, each, questions=questions, options=options) for each in encoder]
    if markdown is not None:
        write_text(markdown, audits.markdown(found))
    if json:
        show.write_json(audits.values(found))
        return
    for each in found:
        _print(*each.table(), [f"{each.questions:,} questions, {each.encoder}", ""])


bench.command()(mteb)


@bench.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the data sets and whether they are on disk."""
    from quiver.benchmarks.recall import listed

    found = listed()
    if json:
        show.write_json(found)
        return
    state = {True: "here", False: "not here", None: "-"}
    show.write_table(("data set", "on disk", "what it is"), [(e["name"], state[e["here"]], e["says"]) for e in found])


@bench.command()
def compare(
    a: Annotated[Path, typer.Argument(help="JSON report of `quiver bench recall`.")],
    b: Annotated[Path, typer.Argument(help="Another report on the same data.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seed: Annotated[int, typer.Option(help="Random seed of intervals and tests.")] = 0,
) -> None:
    """Compare two reports question by question, with a paired significance test."""
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
    return [f"{found['questions']} questions in common" + (f"; {', '.join(only)} not compared" if only else "")]


def _tables(tables: Any, remarks: list[str]) -> None:
    for title, titles, rows in tables:
        print(f"\n{title}")
        show.write_table(titles, rows)
    print()
    for remark in remarks:
        print(remark)


def _print(titles: Any, rows: Any, remarks: list[str]) -> None:
    """Print a table and its remarks."""
    show.write_table(titles, rows)
    print()
    for remark in remarks:
        print(remark)
