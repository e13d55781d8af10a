"""``quiver demo``: add and search films, sounds and garments that are made on the spot; no network, no training."""

import csv
import shlex
import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show
from quiver.errors import require

_COUNTS = {"scenes": 120, "stills": 60, "pairs": 60, "garments": 240}
#: The model of films, sounds and text that ships with Quiver; it learnt from another made world than the one searched.
FILMS = "mmv checkpoint=world"
#: Training films of ``--steps``.
_FILMS = 1500
#: Hits of each answer.
_K = 8

Rows = Sequence[Mapping[str, str]]
#: What was asked, the query, and the ids of the right answers.
Asked = tuple[str, Any, frozenset[str]]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the generated data, the collection and the page.")] = Path(
        "out/demo"
    ),
    encoder: Annotated[
        list[str] | None, typer.Option(help="Further encoder of films and stills; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the generated data.")] = 0,
    steps: Annotated[
        int,
        typer.Option(help="Train the model of films for so many steps instead of taking the one that ships; 0: no."),
    ] = 0,
) -> None:
    """Make films, sounds and garments, add them to a collection, search it, and write a page of the answers."""
    import quiver
    from quiver.engine.contact_sheet import Answer, write
    from quiver.engine.execution.plan import render

    require("av", "soundfile", "torch", *(("accelerate",) if steps else ()), extra="all")
    world = out / f"world-{seed}"
    scenes, stills, pairs, garments = _render(world, seed)
    films = f"mmv checkpoint={_train(out / 'mmv', seed + 1, steps).resolve()}" if steps else FILMS
    place = out / f"collection-{'trained' if steps else 'shipped'}"
    collection = quiver.open(place)
    report = collection.add(scenes, stills, encoder=["classic", films, *(encoder or ())])
    report = report.plus(collection.add(pairs, garments, encoder="classic"))  # MMV knows no words of garments
    print(f"{report.added} added, {report.embedded} embedded, {report.quarantined} quarantined\n")
    answers = []
    for asked, query, right in _questions(world):
        result = collection.search(query)
        answers.append(Answer(query=query, result=result, asked=asked, right=right))
        print(asked)
        rows = [
            (
                "right" if hit.id in right else "",
                f"{hit.score:.3f}",
                hit.id,
                show.brief({"text": hit.meta.get("text", "")}),
            )
            for hit in result.hits[:3]
        ]
        show.write_table(("right", "score", "id", "says"), rows, header=False)
        print()
    print(render(answers[0].result.plan, answers[0].result.actual))
    page = out / "index.html"
    write(page, answers, collection=collection, title="Quiver demo: search in a made world")
    first = sum(answer.result.hits[0].id in answer.right for answer in answers if answer.result.hits)
    print(f"\nthe first hit is right for {first} of {len(answers)} questions; look at {page}")
    print(f"ask it yourself in a browser: quiver serve {shlex.quote(str(place))} --open")


def _render(folder: Path, seed: int) -> list[Path]:
    from quiver.benchmarks.datasets import world

    if folder.exists() and not (folder / "garments.csv").exists():
        shutil.rmtree(folder)
    written: dict[str, Path] = world.write(folder, world.World(seed=seed), **_COUNTS)
    return [written[kind] for kind in _COUNTS]


def _train(out: Path, seed: int, steps: int) -> Path:
    """Return the folder of an MMV model trained on another world; train it if it is not there yet."""
    from quiver.benchmarks import datasets
    from quiver.encoders._settings import changed
    from quiver.encoders.mmv.train import PRESETS, train

    model = out / "model"
    if not (model / "deflated.safetensors").is_file():
        films = f"world track=films seed={seed}"
        learn = datasets.load(f"{films} split=train count={_FILMS}")
        held = datasets.load(f"{films} split=validation count=200")
        settings = {"loop.steps": steps, "loop.validate_every": steps, "calibration_steps": 100}
        recipe = changed(PRESETS["cpu"], settings)
        print(f"\ntraining MMV for {steps} steps; {out} keeps it for the next run")
        train(learn, held, out, recipe=recipe)
    return model


def _questions(world: Path) -> Iterator[Asked]:
    tables = {name: _read(world / f"{name}.csv") for name in _COUNTS}
    yield from _films(world, tables["scenes"])
    yield from _garments(tables["garments"])
    yield from _changes(world, tables["pairs"])


def _read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _films(world: Path, scenes: Rows) -> Iterator[Asked]:
    """Ask across text, sounds and films, in the spaces of MMV."""
    told, heard, like = scenes[5], scenes[9], scenes[3]
    text = told["text"]
    yield (
        f"Which films show \u201c{text}\u201d? Right is every film in which a body of that shape and colour does that.",
        _query({"text": text}, "video", "mmv/vat"),
        _alike(scenes, _body(told), _body, _partner),
    )
    yield (
        f"Which sounds go with \u201c{text}\u201d? Right is every sound of that activity; colours cannot be heard.",
        _query({"text": text}, "audio", "mmv/vat"),
        _alike(scenes, told["activity"], _activity),
    )
    yield (
        "Which films are like this one? Right is every other film of its activity.",
        _query({}, "video", "mmv/va", like=(like["id"],)),
        _alike(scenes, like["activity"], _activity) - {like["id"]},
    )
    yield (
        "Which films could this sound belong to? Right is every film of the activity that is heard.",
        _query({"audio": str(world / heard["audio"])}, "video", "mmv/va"),
        _alike(scenes, heard["activity"], _activity),
    )
    yield (
        "Which sounds are like the sound of this film? Right is every other sound of its activity.",
        _query({}, "audio", "mmv/va", like=(like["id"],)),
        _alike(scenes, like["activity"], _activity) - {like["id"]},
    )


def _garments(garments: Rows) -> Iterator[Asked]:
    """Ask for a garment by example."""
    seen = garments[8]
    yield (
        "Which other photograph shows the product of this photograph? Each product was photographed twice at most.",
        _query({}, "image", "classic/image", like=(seen["id"],)),
        _alike(garments, seen["product"], _product) - {seen["id"]},
    )


def _changes(world: Path, pairs: Rows) -> Iterator[Asked]:
    pair = next(row for row in pairs if row["change"] != "none")
    media = {name: str(world / pair[name]) for name in ("before", "after")}
    yield (
        f"Between these two pictures something changed: {pair['text']} In which pairs is there such a change?",
        _query(media, "pair", "classic/pair"),
        _alike(pairs, pair["change"], lambda row: row["change"]),
    )


def _query(media: dict[str, str], target: str, *spaces: str, like: tuple[str, ...] = ()) -> Any:
    from quiver.types import Query

    return Query(media, target=target, spaces=spaces, like=like, k=_K)


def _alike(rows: Rows, wanted: Hashable, *facts: Any) -> frozenset[str]:
    """Return the ids of the rows of which some fact is the wanted one."""
    return frozenset(row["id"] for row in rows if any(fact(row) == wanted for fact in facts))


def _activity(row: Mapping[str, str]) -> str:
    return row["activity"]


def _body(row: Mapping[str, str]) -> tuple[str, ...]:
    return row["activity"], row["shape"], row["colour"]


def _partner(row: Mapping[str, str]) -> tuple[str, ...]:
    return row["activity"], row["partner_shape"], row["partner_colour"]


def _product(row: Mapping[str, str]) -> str:
    return row["product"]
