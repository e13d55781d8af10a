"""Composed questions generated from attributes: a reference, and a new value for one attribute.

They work for any table whose rows have attributes. The texts are templates, not written by people.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, islice, zip_longest

import numpy as np

from quiver.errors import BadSpec
from quiver.paraphrases import Wording, worded
from quiver.task import Question, Task
from quiver.types import Item, Query, strings

#: Cell values that mean unknown.
UNKNOWN = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown"})
#: Template of a change, by the last word of the attribute's name; other attributes are named in the text.
PHRASES = {
    **dict.fromkeys(("colour", "color"), "the same in {value}"),
    **dict.fromkeys(("material", "size", "fabric"), "the same in {value}"),
    **dict.fromkeys(("gender", "age"), "the same for {value}"),
    **dict.fromkeys(("type", "category", "kind"), "the same as {value}"),
}
#: Default limit of questions per split.
QUERIES = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """One composed query.

    Attributes:
        reference: row of the reference.
        attribute: the attribute to change.
        value: its new value.
        targets: rows with the new value and otherwise the reference's attributes, ascending.
    """

    reference: int
    attribute: str
    value: str
    targets: tuple[int, ...]


class Changes:
    """All single changes between the rows of a table.

    Args:
        rows: attribute values by name, each row having all of ``attributes``.
        attributes: the attributes to compare; others may differ freely.
        unknown: values that mean unknown; rows with one are neither references nor targets.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, str]], attributes: Sequence[str], *, unknown: Sequence[str] = ()
    ) -> None:
        self._rows = rows
        self._attributes = tuple(attributes)
        self._known = [n for n, row in enumerate(rows) if not any(row[name] in unknown for name in attributes)]
        cells: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number in self._known:
            for name in attributes:
                cells[self._rest(number, name)][rows[number][name]].append(number)
        self._cells = {rest: {value: tuple(its[value]) for value in sorted(its)} for rest, its in cells.items()}

    def of(self, reference: int, attribute: str) -> list[Change]:
        """List the possible changes of one attribute of a reference, by value."""
        cell = self._cells[self._rest(reference, attribute)]
        own = self._rows[reference][attribute]
        return [Change(reference, attribute, value, targets) for value, targets in cell.items() if value != own]

    def draw(self, asked: Sequence[str], count: int, *, seed: int) -> list[Change]:
        """Draw random changes without repetition: attributes in turn, then references uniformly, then values.

        A smaller count gives a prefix of a larger one; if fewer changes than ``count`` exist, all are drawn.

        Raises:
            BadSpec: count is not positive.
        """
        if count < 1:
            raise BadSpec(f"queries must be at least 1, not {count}")
        streams = [self._stream(name, np.random.default_rng([seed, n])) for n, name in enumerate(asked)]
        turns = chain.from_iterable(zip_longest(*streams))
        return list(islice((change for change in turns if change is not None), count))

    def _stream(self, attribute: str, rng: np.random.Generator) -> Iterator[Change]:
        offers = []
        for number in self._known:
            changes = self.of(number, attribute)
            if changes:
                offers.append([changes[place] for place in rng.permutation(len(changes))])
        order = rng.permutation(len(offers))
        for turn in range(max(map(len, offers), default=0)):
            yield from (offers[place][turn] for place in order if turn < len(offers[place]))

    def _rest(self, row: int, attribute: str) -> tuple[str, ...]:
        """Return the values that must stay the same when one attribute changes."""
        kept = (self._rows[row][name] for name in self._attributes if name != attribute)
        return (attribute, *kept)


def edited(task: Task, attributes: Sequence[str], *, queries: int = QUERIES, wording: Wording = "plain") -> Task:
    """Generate questions that ask for a table's picture with one attribute changed.

    The right answers are all pictures with the new value and the reference's value in every other attribute; columns
    that are not named may differ. The reference does not compete.

    Args:
        task: items with an image, and attributes in their metadata; its own questions are not used.
        attributes: names of metadata columns, at least one.
        queries: number of questions to draw, attributes in turn.
        wording: how texts are worded; see ``quiver.paraphrases``.

    Returns:
        The task, possibly without questions; its protocol and notes say that texts are TEMPLATED.

    Raises:
        BadSpec: no item has such a column, or the number is not positive.
    """
    attributes = strings(attributes, "attributes")
    shown = [item for item in task.items if "image" in item.media]
    rows = [{name: _said(item, name) for name in attributes} for item in shown]
    columns = sorted({name for item in shown for name in item.meta})
    if absent := [name for name in attributes if not any(row[name] for row in rows)]:
        near = _near(absent[0], columns)
        hint = f"did you mean {near}? Its" if near else "its"
        raise BadSpec(f"{task.name}: no picture has a value of {absent[0]!r}: {hint} columns are {', '.join(columns)}")
    changes = Changes(rows, attributes, unknown=("",))
    drawn = changes.draw(attributes, queries, seed=0)
    told = ", ".join(attributes)
    protocol = (
        f"{task.protocol.partition(';')[0]}; TEMPLATED: a picture and the change of one of {told} to the pictures with "
        "the asked value and else equal in these; all items but the reference compete"
    )
    protocol += "" if wording == "plain" else f"; wording {wording}"
    mute = sum("" in row.values() for row in rows)
    notes = [f"{len(drawn):,} questions with TEMPLATED texts, generated from the columns {told}"]
    notes += [f"{mute:,} pictures lack one of these values; they are neither references nor answers"] * (mute > 0)
    return replace(
        task,
        revision=hashlib.sha256(f"{task.revision} {protocol} {queries}".encode()).hexdigest(),
        questions=[_question(shown, each, several=len(attributes) > 1, wording=wording) for each in drawn],
        measures=("Success@10", "Success@1", "Success@50"),
        target="image",
        protocol=protocol,
        notes=(*task.notes, *notes),
    )


def _near(name: str, columns: Sequence[str]) -> str:
    """Return the column with the most similar name; "" if none is similar."""
    bare = name.casefold()
    holding = [each for each in columns if bare in each.casefold() or each.casefold() in bare]
    return next(iter([*holding, *get_close_matches(name, columns, n=1)]), "")


def phrase(attribute: str, value: str) -> str:
    """Return the templated text of a change.

    >>> phrase("base_colour", "Red"), phrase("gender", "Women"), phrase("sleeve length", "long")
    ('the same in red', 'the same for women', 'the same with sleeve length long')
    """
    words = attribute.lower().replace("_", " ").replace("-", " ")
    template = PHRASES.get(words.rpartition(" ")[2], "the same with {words} {value}")
    return template.format(words=words, value=value.lower())


def _said(item: Item, name: str) -> str:
    value = str(item.meta.get(name, "")).strip()
    return "" if value.lower() in UNKNOWN else value


def _question(items: Sequence[Item], change: Change, *, several: bool, wording: Wording) -> Question:
    reference = items[change.reference]
    id = f"{reference.id} {change.attribute}={change.value}"
    text = worded(phrase(change.attribute, change.value), wording, seed=id)
    return Question(
        id=id,
        query=Query(media={"image": reference.media["image"], "text": text}, target="image"),
        relevant={items[target].id: 1 for target in change.targets},
        exclude=(reference.id,),
        group=change.attribute if several else "",
        source=reference.id,
    )
