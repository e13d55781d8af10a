"""Tasks over a synthetic world: questions and right answers.

A right answer is decided by what was drawn, not by words: two captions that say the same in other words have the same
answers.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as numbers_from
from itertools import islice
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from quiver.benchmarks.datasets._pack import Split, made
from quiver.benchmarks.datasets._read import spec
from quiver.benchmarks.datasets.world.garment import FAMILY
from quiver.benchmarks.datasets.world.item import World
from quiver.benchmarks.datasets.world.model import FILM, split_of
from quiver.benchmarks.datasets.world.write import FORMAT, WRITERS, Row, claim, view
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task, check
from quiver.types import MEDIA, Item, Query

Keys = set[Hashable]
Asked = tuple[list[Item], list[Question]]
#: How many consecutive items of a kind make a unit of the splits.
UNIT = {"scenes": FILM, "stills": 1, "pairs": 1, "garments": FAMILY, "gestures": 1, "poses": 1}
HITS = ("Success@1", "Success@5", "Success@10", "MedR")
MEAN = ("APh@10", "APh@20", "APh@50", "APh@100", "Success@1")


def _subject(row: Row) -> Keys:
    return {(row["activity"], row["shape"], row["colour"])}


def _movers(row: Row) -> Keys:
    partner = {(row["activity"], row["partner_shape"], row["partner_colour"])} if row["partner_shape"] else set()
    return _subject(row) | partner


def _activity(row: Row) -> Keys:
    return {row["activity"]}


def _gesture(row: Row) -> Keys:
    return {row["gesture"]}


def _itself(row: Row) -> Keys:
    return {row["id"]}


def _product(row: Row) -> Keys:
    return {row["product"]}


def _change(row: Row) -> Keys:
    told = ("change", "old", "new", "shape", "colour", "material", "texture")
    return {tuple(row[name] for name in told)}


@dataclass(frozen=True, slots=True)
class Track:
    """Questions and right answers: the items that share a key with the question.

    Attributes:
        asks: kind of the askers. held: key of KEYS they hold.
        finds: kind of the items. wanted: key of KEYS they have.
        says: what is known of an asker. shows: what is known of an item; that which shares any of it is an answer.
        protocol: the rule in words. measures: what is reported.
        once: whether a product asks once, not with each of its photographs.
    """

    asks: str
    held: str
    finds: str
    wanted: str
    says: Callable[[Row], Keys]
    shows: Callable[[Row], Keys]
    protocol: str
    measures: tuple[str, ...] = HITS
    once: bool = False


def _scenes(held: str, wanted: str, says: Callable[[Row], Keys], shows: Callable[[Row], Keys], protocol: str) -> Track:
    return Track("scenes", held, "scenes", wanted, says, shows, protocol)


TOLD = "right is every scene in which some body has the shape, colour and activity told"
HEARD = "right is every scene of the activity told; shape and colour are not to be heard"
SAME = "right is the scene itself"
LEARNT = "captions of a scene (grade 5) and lines of its film (4 for the nearest) to the scene, with picture and sound"
TOLD_SO = "every sentence about a pair to the pair; right is every pair with that very change"
CHANGED = "right is every pair with that change of a body of that shape, colour, material and texture"
VIEWS = "unchanged pairs that differ in viewpoint and light alone compete, one for each changed pair"
TRACKS = {
    "text_video": _scenes("text", "video", _subject, _movers, f"plainest caption to scene; {TOLD}"),
    "video_text": _scenes("video", "text", _movers, _subject, f"scene to plainest captions; {TOLD}"),
    "text_audio": _scenes("text", "audio", _activity, _activity, f"plainest caption to sound; {HEARD}"),
    "audio_text": _scenes("audio", "text", _activity, _activity, f"sound to plainest captions; {HEARD}"),
    "audio_video": _scenes("audio", "video", _itself, _itself, f"sound to its picture; {SAME}"),
    "video_audio": _scenes("video", "audio", _itself, _itself, f"picture to its sound; {SAME}"),
    "films": _scenes("text", "video", _itself, _itself, LEARNT),
    "image_video": Track(
        "stills", "image", "scenes", "video", _activity, _activity, "still to scenes of its activity", MEAN
    ),
    "image_gesture": Track(
        "poses", "image", "gestures", "video", _gesture, _gesture, "blurred photograph to clips of its gesture", MEAN
    ),
    "pair_text": Track("pairs", "pair", "pairs", "text", _change, _change, f"pair to first sentences; {CHANGED}"),
    "text_pair": Track("pairs", "text", "pairs", "pair", _change, _change, f"first sentence to pairs; {CHANGED}"),
    "changes": Track("pairs", "text", "pairs", "pair", _change, _change, TOLD_SO),
    "changes_views": Track("pairs", "text", "pairs", "pair", _change, _change, f"{TOLD_SO}; {VIEWS}"),
    "text_image": Track(
        "garments",
        "text",
        "garments",
        "image",
        _product,
        _product,
        "product text to photographs of the product",
        once=True,
    ),
    "composed": Track(
        "garments",
        "image",
        "garments",
        "image",
        _itself,
        _itself,
        "garment and first wish to the garments that differ so and in nothing else; the reference does not compete",
    ),
}

#: What a track is called.
Called = Literal[
    "text_video",
    "video_text",
    "text_audio",
    "audio_text",
    "audio_video",
    "video_audio",
    "films",
    "image_video",
    "image_gesture",
    "pair_text",
    "text_pair",
    "changes",
    "changes_views",
    "text_image",
    "composed",
]


def load(
    *,
    track: Called = "text_video",
    split: Split = "test",
    seed: int = 0,
    count: int = 500,
    size: int = 64,
    folder: Path | None = None,
) -> Task:
    """Create a task over a synthetic world; missing files are rendered.

    Args:
        track: what is held and what is searched, see the module ``world``.
        split: which units of the world.
        seed: which world.
        count: so many items, the first of the split; as many ask, but for products and triplets.
        size: width and height of pictures in pixels.
        folder: where the files go, and are looked for; None for the cache folder of Quiver.

    Raises:
        BadData: the folder holds another world, or so few items make no question.
        BadSpec: a number is out of range.
    """
    if count < 1:
        raise BadSpec(f"world: count must be at least 1, not {count}")
    world = World(seed=seed, size=size)
    place = folder or made("world") / f"seed{seed}-size{size}"
    rule = TRACKS[track]
    items, questions = _ask(place, world, track, split, count)
    asked = [question for question in questions if question.relevant]
    name = spec("world", track=track, split=split, seed=seed, count=count, size=size)
    if not asked:
        raise BadData(f"{name}: there are too few items for a question; give a larger count")
    facts = json.dumps([FORMAT, name, asdict(world), rule.protocol])
    task = Task(
        name=name,
        revision=hashlib.sha256(facts.encode()).hexdigest(),
        items=items,
        questions=asked,
        measures=rule.measures,
        target=rule.wanted,
        protocol=rule.protocol,
        source="made by quiver.benchmarks.datasets.world",
        notes=_notes(len(questions) - len(asked)),
    )
    return check(task)


def _ask(place: Path, world: World, track: Called, split: str, count: int) -> Asked:
    """Return items and questions of a track; missing files are rendered."""
    if track == "composed":
        return _compose(place, world, split, count)
    if track == "films":
        return _films(place, world, split, count)
    if track == "changes":
        return _changes(place, world, split, count)
    if track == "changes_views":
        return _with_views(place, world, _changes(place, world, split, count))
    rule = TRACKS[track]
    asking = _rows(place, world, rule.asks, split, count)
    finding = asking if rule.asks == rule.finds else _rows(place, world, rule.finds, split, count)
    return _match(place, rule, asking, finding)


def _notes(idle: int) -> tuple[str, ...]:
    made_up = "made, not real: figures say what can be learned, not how well it works on photographs and recordings"
    return (made_up, f"{idle} questions not asked: nothing answers them") if idle else (made_up,)


def _rows(folder: Path, world: World, kind: str, split: str, count: int) -> list[Row]:
    """Render the first items of a split and return their rows."""
    indices = _indices(kind, split, count)
    claim(folder, world)
    return [WRITERS[kind](folder, world, index)[0] for index in tqdm(indices, desc=kind, unit="", disable=None)]


def _indices(kind: str, split: str, count: int) -> list[int]:
    wanted = (index for index in numbers_from() if split in ("all", split_of(index // UNIT[kind])))
    return list(islice(wanted, count))


def _match(folder: Path, rule: Track, asking: Sequence[Row], finding: Sequence[Row]) -> Asked:
    items: list[Item] = []
    answers: dict[Hashable, list[str]] = defaultdict(list)
    for row in finding:
        items.append(Item(row["id"], _media(folder, row, rule.wanted), _meta(row)))
        for key in rule.shows(row):
            answers[key].append(row["id"])
    questions = [
        Question(
            id=f"q_{row['id']}",
            query=Query(media=_media(folder, row, rule.held), target=rule.wanted),
            relevant={id: 1 for key in rule.says(row) for id in answers[key]},
        )
        for row in (_once(asking) if rule.once else asking)
    ]
    return items, questions


def _once(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each product, since all of its photographs have the same description."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["product"], row)
    return list(first.values())


def _films(folder: Path, world: World, split: str, count: int) -> Asked:
    """Return scenes with picture and sound, and as questions all that is said of them; for training."""
    rows = _rows(folder, world, "scenes", split, count)
    items = [Item(row["id"], _media(folder, row, "video") | _media(folder, row, "audio"), _meta(row)) for row in rows]
    questions: list[Question] = []
    lines: dict[tuple[str, float], tuple[str, dict[str, int]]] = {}
    for row, index in zip(rows, _indices("scenes", split, count), strict=True):
        scene = world.scene(index)
        for number, text in enumerate(scene.captions):
            questions.append(_said(f"{scene.id}_t{number}", text, {scene.id: FILM + 1}))
        for rank, line in enumerate(scene.narrations):
            when = round(line.offset + (index % FILM + 0.5) * world.seconds, 2)  # which tells a film's lines apart
            lines.setdefault((row["film"], when), (line.text, {}))[1][scene.id] = FILM - rank
    for number, ((film, _), (text, relevant)) in enumerate(sorted(lines.items())):
        questions.append(_said(f"{film}_n{number}", text, relevant))
    return items, questions


def _changes(folder: Path, world: World, split: str, count: int) -> Asked:
    """Return pairs, and as questions all sentences about them; for captions and their training."""
    rows = _rows(folder, world, "pairs", split, count)
    items = [Item(row["id"], _media(folder, row, "pair"), _meta(row)) for row in rows]
    answers: dict[Hashable, dict[str, int]] = defaultdict(dict)
    for row in rows:
        answers[next(iter(_change(row)))][row["id"]] = 1
    questions = [
        Question(
            id=f"{row['id']}_t{number}",
            query=Query(media={"text": text}, target="pair"),
            relevant=answers[next(iter(_change(row)))],
            source=row["id"],
        )
        for row, index in zip(rows, _indices("pairs", split, count), strict=True)
        for number, text in enumerate(world.pair(index).captions)
    ]
    return items, questions


def _with_views(folder: Path, world: World, asked: Asked) -> Asked:
    """Add a distractor to each changed pair: a view of its state before; with it, an unchanged pair that competes."""
    items, still = [], []
    for item in asked[0]:
        changed = item.meta["change"] != "none"
        row = {"id": item.id, **item.media}
        picture = str(folder / view(folder, world, row)) if changed else ""
        items.append(replace(item, meta={**item.meta, "distractor": picture}))
        if changed:
            seen = {"before": item.media["before"], "after": picture}
            still.append(Item(f"{item.id}_view", seen, {"change": "none", "distractor": ""}))
    unchanged = {item.id: 1 for item in [*items, *still] if item.meta["change"] == "none"}  # thousands: shared by all
    questions = [
        replace(question, relevant=unchanged) if question.source in unchanged else question for question in asked[1]
    ]
    return [*items, *still], questions


def _said(id: str, text: str, relevant: dict[str, int]) -> Question:
    return Question(id=id, query=Query(media={"text": text}, target="video"), relevant=relevant)


def _compose(folder: Path, world: World, split: str, count: int) -> Asked:
    rows = _rows(folder, world, "garments", split, count)
    items = [Item(row["id"], _media(folder, row, "image"), _meta(row)) for row in rows]
    last = _indices("garments", split, count)[-1]
    held = {item.id: item.media for item in items}
    questions = []
    for triplet in world.triplets(last + 1):
        if split in ("all", triplet.split):
            reference = world.garment(triplet.reference).id
            questions.append(
                Question(
                    id=f"{reference}-{triplet.attribute}-{triplet.new}",
                    query=Query(media={**held[reference], "text": triplet.texts[0]}, target="image"),
                    relevant={world.garment(target).id: 1 for target in triplet.targets},
                    exclude=(reference,),
                    source=reference,
                )
            )
    return items, questions


def _media(folder: Path, row: Row, key: str) -> dict[str, str]:
    if key == "text":
        return {"text": row["text"]}
    names = ("before", "after") if key == "pair" else (key,)
    return {name: str(folder / row[name]) for name in names}


def _meta(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "id" and name not in MEDIA}
