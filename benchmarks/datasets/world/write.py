"""A made world as files with manifests; see ``world``."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from quiver.benchmarks.datasets.world.files import save_image, save_sound, save_table, save_video
from quiver.benchmarks.datasets.world.garment import Triplet
from quiver.benchmarks.datasets.world.item import Scene, World
from quiver.benchmarks.datasets.world.model import FILM
from quiver.errors import BadData, BadSpec
from quiver.files import once, staged, write_text

FORMAT = 1
Row = dict[str, Any]


def write(
    folder: Path, world: World, *, scenes: int = 0, stills: int = 0, pairs: int = 0, garments: int = 0
) -> dict[str, Path]:
    """Render the first items of each kind into a folder.

    Files that are there already are left alone, so that a broken run goes on where it stopped; every file
    appears whole or not at all. Manifests list exactly what was asked for. Pictures are PNG, videos MP4
    (yuv420p), sounds 16-bit WAV. Progress goes to a terminal only.

    Returns:
        Manifest name (``scenes``) to its path; kinds and tables without rows have none.

    Raises:
        BadData: the folder holds another world.
        BadSpec: a negative count.
    """
    counts = {"scenes": scenes, "stills": stills, "pairs": pairs, "garments": garments}
    if wrong := [kind for kind, count in counts.items() if count < 0]:
        raise BadSpec(f"{wrong[0]} must not be negative: {counts[wrong[0]]}")
    claim(folder, world)
    captions: list[Row] = []
    tables: dict[str, list[Row]] = {"captions": captions, "narrations": []}
    for kind, count in counts.items():
        tables[kind] = []
        for index in tqdm(range(count), desc=kind, unit="", disable=None):
            row, texts = WRITERS[kind](folder, world, index)
            tables[kind].append(row)
            captions += _captions(texts, row)
    tables["narrations"] = [row for index in range(scenes) for row in _narrations(world.scene(index))]
    tables["triplets"] = []
    for number, triplet in enumerate(world.triplets(garments)):
        row = _triplet(world, triplet, number)
        tables["triplets"].append(row)
        captions += _captions(triplet.texts, row)
    return {name: _table(folder / f"{name}.csv", rows) for name, rows in tables.items() if rows}


def claim(folder: Path, world: World) -> None:
    """Write a note of the folder's world, or refuse to mix two worlds."""
    note = folder / "world.json"
    text = json.dumps({"format": FORMAT, **asdict(world)}, indent=1)
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise BadData(
            f"{folder} contains another world, see {note}: choose an empty folder, or the settings of that world"
        )
    if not note.exists():
        write_text(note, text)


def _table(path: Path, rows: list[Row]) -> Path:
    with staged(path) as draft:
        save_table(draft, rows)
    return path


Written = tuple[Row, tuple[str, ...]]


def _scene(folder: Path, world: World, index: int) -> Written:
    scene = world.scene(index)
    video, audio = f"scenes/{scene.id}.mp4", f"scenes/{scene.id}.wav"
    once(folder / video, lambda path: save_video(path, scene.video, world.fps))
    once(folder / audio, lambda path: save_sound(path, scene.audio, world.rate))
    head = {"id": scene.id, "video": video, "audio": audio, "text": scene.captions[0], "split": scene.split}
    return {**head, "film": f"film{index // FILM:05d}", **scene.factors}, scene.captions


def _still(folder: Path, world: World, index: int) -> Written:
    still = world.still(index)
    image = f"stills/{still.id}.png"
    once(folder / image, lambda path: save_image(path, still.image))
    head = {"id": still.id, "image": image, "text": still.captions[0], "split": still.split}
    return {**head, **still.factors}, still.captions


def _pair(folder: Path, world: World, index: int) -> Written:
    pair = world.pair(index)
    before, after = f"pairs/{pair.id}_before.png", f"pairs/{pair.id}_after.png"
    once(folder / before, lambda path: save_image(path, pair.before))
    once(folder / after, lambda path: save_image(path, pair.after))
    head = {"id": pair.id, "before": before, "after": after, "text": pair.captions[0], "split": pair.split}
    return {**head, **pair.factors}, pair.captions


def view(folder: Path, world: World, row: Row) -> str:
    """Render the state before of a pair from another viewpoint and in another light; return the file's name."""
    name = f"pairs/{row['id']}_view.png"
    once(folder / name, lambda path: save_image(path, world.pair(int(row["id"].removeprefix("pair"))).view))
    return name


def _garment(folder: Path, world: World, index: int) -> Written:
    garment = world.garment(index)
    image = f"garments/{garment.id}.png"
    once(folder / image, lambda path: save_image(path, garment.image))
    name, description = garment.text
    head = {"id": garment.id, "image": image, "text": f"{name}. {description}", "split": garment.split}
    return {**head, "name": name, **garment.factors}, garment.text


def _gesture(folder: Path, world: World, index: int) -> Written:
    gesture = world.gesture(index)
    video = f"gestures/{gesture.id}.mp4"
    once(folder / video, lambda path: save_video(path, gesture.video, world.fps))
    return {"id": gesture.id, "video": video, "split": gesture.split, **gesture.factors}, ()


def _pose(folder: Path, world: World, index: int) -> Written:
    pose = world.pose(index)
    image = f"poses/{pose.id}.png"
    once(folder / image, lambda path: save_image(path, pose.image))
    return {"id": pose.id, "image": image, "split": pose.split, **pose.factors}, ()


WRITERS: dict[str, Callable[[Path, World, int], Written]] = {
    "scenes": _scene,
    "stills": _still,
    "pairs": _pair,
    "garments": _garment,
    "gestures": _gesture,
    "poses": _pose,
}


def _captions(texts: tuple[str, ...], row: Row) -> Iterator[Row]:
    for number, text in enumerate(texts):
        yield {
            "id": f"{row['id']}_t{number}",
            "text": text,
            "about": row["id"],
            "detail": number,
            "split": row["split"],
        }


def _narrations(scene: Scene) -> Iterator[Row]:
    for number, line in enumerate(scene.narrations):
        head = {"id": f"{scene.id}_n{number}", "text": line.text, "about": scene.id}
        yield {**head, "offset": line.offset, "split": scene.split}


def _triplet(world: World, triplet: Triplet, number: int) -> Row:
    reference = world.garment(triplet.reference).id
    return {
        "id": f"triplet{number:06d}",
        "image": f"garments/{reference}.png",
        "text": triplet.texts[0],
        "split": triplet.split,
        "reference": reference,
        "attribute": triplet.attribute,
        "old": triplet.old,
        "new": triplet.new,
        "targets": " ".join(world.garment(target).id for target in triplet.targets),
    }
