"""``quiver index``: build an index of a collection's vectors, tuned to a recall that is kept."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show
from quiver.errors import BadSpec


def index(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    spec: Annotated[
        str | None,
        typer.Argument(help="Kind and options, such as 'faiss factory=IVF256,Flat'; the best there is by default."),
    ] = None,
    space: Annotated[list[str] | None, typer.Option(help="Only vectors of this space; may be repeated.")] = None,
    recall: Annotated[
        float | None,
        typer.Option(help="Promise that searches find this share of the true hits; 0.95 where no kind is named."),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Hits that is promised for.")] = 10,
    queries: Annotated[
        Path | None, typer.Option(help="What will be asked: vectors (npy), lines of text (txt), files or a manifest.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Memory that may be used, such as 8GB.")] = None,
    updates: Annotated[str, typer.Option(help="How often vectors change: rare or often.")] = "rare",
    check: Annotated[
        bool, typer.Option("--check", help="Build nothing: measure anew whether promises are kept.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build an index. Searches go on meanwhile, and find items added afterwards too."""
    import quiver

    if updates not in ("rare", "often"):
        raise BadSpec(f"--updates is rare or often, not {updates!r}")
    opened, spaces = quiver.open(collection), space or ()
    if check:
        found = opened.check(spaces=spaces)
        show.write_json(found) if json else _print_checks(found)
        return
    built = opened.index(
        spec,
        spaces=spaces,
        recall=recall,
        k=k,
        queries=queries,
        memory=memory,
        updates="often" if updates == "often" else "rare",
    )
    if json:
        show.write_json(built)
        return
    for each in built:
        what = " ".join([each["kind"], *(f"{name}={value}" for name, value in each["options"].items())])
        print(f"{what}: {each['vectors']:,} vectors ({each['column']}) in {each['seconds']} s; {each['why']}")
        if each["promise"] is not None:
            show_promise(each["promise"])


def show_promise(promise: dict[str, Any]) -> None:
    """Print a promise and, for each depth and selectivity, what keeps it."""
    print(
        f"  recall@{promise['k']} {promise['recall']}: {promise['state']};"
        f" measured {promise['at']} on {promise['source']}"
    )
    rows = [
        (
            each["k"],
            f"{each['selectivity']:.1%}",
            " ".join(f"{name}={value}" for name, value in each["spend"].items()) if each["spend"] else "exact scan",
            f"{each['recall']:.4f}" if each["spend"] else "1",
            f"{each['ms'] if each['spend'] else each['exact_ms']:.2f}",
            f"{each['exact_ms']:.2f}",
        )
        for each in promise["settings"]
    ]
    show.write_table(("k", "rows", "settings", "recall", "ms", "exact ms"), rows)


def _print_checks(found: list[dict[str, Any]]) -> None:
    if not found:
        print("nothing was promised: `quiver index --recall` does")
    for each in found:
        verdict = "kept" if each["kept"] else "not kept, and tuned anew"
        lowest = min((point["recall"] for point in each["found"]), default=1.0)
        print(f"{each['kind']} ({each['column']}): {each['recall']} promised, {lowest:.4f} found at worst: {verdict}")
        show_promise(each["promise"])
