"""Fashion products: studio photographs with gender, type, colour and name, and composed queries made of them.

Source: part of the Kaggle set Fashion Product Images (Myntra catalogue); pictures from
https://github.com/GaneshNeupane01/Fashion-Recommendation-System @7cf26342, attributes and names from
https://github.com/animmala3942/FashionProductRecommendationSystem @91e80367. Licence: UNCLEAR, neither states one: for
internal verification, not to be passed on. The pictures show people.
Counts of the development part: 7,668 products of 5,437 groups, 75 types, 42 colours, 5 genders, 5,714 names.

Tracks; all products of the split compete unless something else is said.
* text: product name to photograph, one question per product; relevant are all products of that very name.
* name: photograph to product name, the other way round; every product's name is an item.
* image: photograph to photographs of the same type, leave-one-out; its own group (same name, or same look, type and
  colour) does not compete.
* composed: a reference photograph with a change of its colour, gender or type (``change=``; ``any`` for all three in
  turn). Targets are all products that have the asked value and otherwise the reference's gender, type and colour,
  of these three; the reference does not compete. Texts are TEMPLATED, not written by people: "the same in red",
  "the same for women", "the same as a skirt"; pictures and labels are real. ``composed_varied`` and
  ``composed_unseen`` are the same questions in other words (see ``quiver.paraphrases``): the first for training, the
  second to measure what a training on the first never saw. References are drawn alike from those
  whose change has a target, then one of the values they can be asked for (``seed=``, ``queries=``).

``protocol=sampled`` is the 1 + 100 protocol of fashion matching (see ``_protocol``), on the tracks text and name:
negatives are of the same sub-category and of other names.

Splits: groups by the hash of their number, seven tenths train, one validation, two test; no name straddles.

Known faults: three photographs stand under two products of different groups (12193 = 12469, 12345 = 12346, 14985 =
15040); colours are catalogue words (Navy Blue beside Blue, Steel, Multi), three are "NA" and never asked for; Unisex
competes with Men and Women; every product has one photograph.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from quiver.attribute_edits import Changes
from quiver.benchmarks.datasets._caption import Asked, Entry, ask_text, ask_thing, repeated
from quiver.benchmarks.datasets._pack import Sample, Split, alike, finish, split_of, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._protocol import sampled
from quiver.benchmarks.datasets._read import Source, spec
from quiver.errors import BadSpec
from quiver.paraphrases import worded
from quiver.task import Question, Task
from quiver.types import Query

HOME = Home(
    name="fashion_products",
    url="https://github.com/GaneshNeupane01/Fashion-Recommendation-System (pictures) and "
    "https://github.com/animmala3942/FashionProductRecommendationSystem (attributes)",
    licence="unclear, none is stated: internal use only",
    put="meta.csv and images/ in the folder",
)
ROWS = 7_668
DISTINCT = {"group": 5_437, "article_type": 75, "base_colour": 42, "gender": 5}
COLUMNS = (
    "id",
    "gender",
    "master_category",
    "sub_category",
    "article_type",
    "base_colour",
    "season",
    "year",
    "usage",
    "name",
    "group",
)
MEASURES = {
    "text": ("Success@1", "Success@5", "Success@10", "MedR"),
    "name": ("Success@1", "Success@5", "Success@10", "MedR"),
    "image": ("Success@1", "Success@5", "P@10"),
    "composed": ("Success@10", "Success@1", "Success@50", "AP@50"),
}
PROTOCOL = {
    "text": "product name to photographs of products of that name; all products compete",
    "name": "photograph to its product's name, equal names alike; the names of all products compete",
    "image": "photograph to those of the same type, leave-one-out; the same product group does not compete",
    "composed": "photograph and templated change to products with the asked value and else the same gender, type and "
    "colour; all products but the reference compete",
}
#: Column by the word for what is changed.
CHANGED = {"colour": "base_colour", "gender": "gender", "type": "article_type"}
FOR = {"Men": "men", "Women": "women", "Boys": "boys", "Girls": "girls", "Unisex": "anyone"}
#: Types that are said in the plural, or have no number.
PLURAL = {
    "Boxers",
    "Briefs",
    "Capris",
    "Casual Shoes",
    "Cufflinks",
    "Flats",
    "Flip Flops",
    "Formal Shoes",
    "Free Gifts",
    "Gloves",
    "Heels",
    "Innerwear Vests",
    "Jeans",
    "Leggings",
    "Lounge Pants",
    "Lounge Shorts",
    "Necklace and Chains",
    "Perfume and Body Mist",
    "Sandals",
    "Shoe Accessories",
    "Shorts",
    "Socks",
    "Sports Sandals",
    "Sports Shoes",
    "Stockings",
    "Sunglasses",
    "Tights",
    "Track Pants",
    "Trousers",
}
SINGULAR = {"Clutches": "clutch", "Dresses": "dress", "Scarves": "scarf", "Tshirts": "t-shirt", "Watches": "watch"}


def load(
    *,
    track: Literal["text", "name", "image", "composed", "composed_varied", "composed_unseen"] = "text",
    split: Split = "test",
    change: Literal["colour", "gender", "type", "any"] = "colour",
    queries: int = 2_000,
    seed: int = 0,
    protocol: Literal["full", "sampled"] = "full",
    folder: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read the products of a split.

    Args:
        track: what is held and what is searched.
        split: part of the development part, see above.
        change: what composed queries ask to change.
        queries: how many composed queries to draw.
        seed: of the composed queries, or of the draws of ``sampled``.
        protocol: whether all products compete, or 100 others in each of five draws.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its pictures.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
        BadSpec: the track is not asked under that protocol.
    """
    if protocol == "sampled" and track not in ("text", "name"):
        raise BadSpec(f"fashion_products: protocol=sampled is for the tracks text and name, not {track}")
    source = Source(HOME, folder, partial=partial)
    samples = _samples(source, split, partial=partial)
    base, _, wording = track.partition("_")
    items, questions = _ask(source, samples, base, change, (queries, seed))
    questions = [_worded(each, wording) for each in questions] if wording else questions
    drawn = {"change": change, "queries": queries, "seed": seed} if base == "composed" else {}
    kind = {"protocol": protocol, "seed": seed} if protocol == "sampled" else {}
    task = source.task(
        spec("fashion_products", track=track, split=split, **drawn, **kind),
        items,
        questions,
        measures=MEASURES[base],
        target="text" if track == "name" else "image",
        protocol=PROTOCOL[base],
    )
    task = finish(task, partial=partial)
    return sampled(task, kind="sub_category", product="name", seed=seed) if protocol == "sampled" else task


def _samples(source: Source, split: str, *, partial: bool) -> list[Sample]:
    rows = source.rows("meta.csv", "file", *COLUMNS)
    source.count("meta.csv", "products", len(rows), ROWS)
    for column, expected in DISTINCT.items():
        source.count("meta.csv", f"values of {column}", len({row[column] for row in rows}), expected)
    root = source.path("meta.csv").parent
    whole(source, [root / row["file"] for row in rows], partial=partial)
    return [
        Sample(
            id=row["id"],
            media={"image": str(root / row["file"])},
            label=row["article_type"],
            group=row["group"],
            meta={name: row[name] for name in COLUMNS[1:]},
        )
        for row in rows
        if split in ("all", split_of(row["group"], pack="fashion_products"))
    ]


def _ask(source: Source, samples: list[Sample], track: str, change: str, drawn: tuple[int, int]) -> Asked:
    items = [sample.item for sample in samples]
    if track == "composed":
        questions = _composed(samples, tuple(CHANGED) if change == "any" else (change,), *drawn)
        source.note(drawn[0] - len(questions), "composed queries fewer than asked for: there are no more")
        source.notes.append("texts of composed queries are templated")
        return items, questions
    if track == "image":
        asked, alone = alike(samples, target="image")
        source.note(alone, "photographs not asked: no other group of their type is in the split")
        return items, asked
    entries = [Entry(each.id, each.media, (each.meta["name"],), each.meta) for each in samples]
    source.note(repeated(entries), "products share their name with another product: all of that name are right")
    if track == "text":
        found, asked = ask_text(entries, target="image", duplicates="shared")
    else:
        found, asked = ask_thing(entries, duplicates="shared")
        found = [replace(item, meta={**item.meta, **each.meta}) for item, each in zip(found, samples, strict=True)]
    # Products of one name ask, and are answered, alike: a name is one source.
    return found, [replace(each, source=next(iter(each.relevant))) for each in asked]


def _composed(samples: list[Sample], asked: Sequence[str], queries: int, seed: int) -> list[Question]:
    rows = [{word: sample.meta[column] for word, column in CHANGED.items()} for sample in samples]
    drawn = Changes(rows, tuple(CHANGED), unknown=("NA",)).draw(asked, queries, seed=seed)
    return [
        Question(
            id=f"{samples[each.reference].id}-{each.attribute}-{each.value.replace(' ', '_')}",
            query=Query(
                media={**samples[each.reference].media, "text": wish(each.attribute, each.value)}, target="image"
            ),
            relevant={samples[target].id: 1 for target in each.targets},
            exclude=(samples[each.reference].id,),
            group=each.attribute if len(asked) > 1 else "",
            source=samples[each.reference].id,
        )
        for each in drawn
    ]


def _worded(question: Question, wording: str) -> Question:
    text = worded(question.query.media["text"], wording, seed=question.id)
    return replace(question, query=replace(question.query, media={**question.query.media, "text": text}))


def wish(attribute: str, value: str) -> str:
    """Say in a template what should be different.

    >>> wish("colour", "Navy Blue"), wish("gender", "Women"), wish("type", "Skirts")
    ('the same in navy blue', 'the same for women', 'the same as a skirt')
    """
    if attribute == "colour":
        return f"the same in {'several colours' if value == 'Multi' else value.lower()}"
    if attribute == "gender":
        return f"the same for {FOR[value]}"
    if value in PLURAL:
        return f"the same as {value.lower()}"
    one = SINGULAR.get(value, value.removesuffix("s").lower())
    return f"the same as {'an' if one[0] in 'aeiou' else 'a'} {one}"
