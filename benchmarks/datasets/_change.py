"""Composed queries made from attributes: a reference, and one attribute that should be another.

Any table whose rows have attributes can be asked so; the words for a change are the caller's, and templated.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np

from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One composed query.

    Attributes:
        reference: row of the reference.
        attribute: what should be different.
        value: what it should be.
        targets: rows that have the value and otherwise the reference's attributes, ascending.
    """

    reference: int
    attribute: str
    value: str
    targets: tuple[int, ...]


class Changes:
    """All single changes between the rows of a table.

    Args:
        rows: attribute values by name, each row having all of ``attributes``.
        attributes: those that count; others may differ freely.
        unknown: values that say nothing: rows that have one are neither references nor targets.
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
        """List the changes of one attribute that a reference can be asked for, by value."""
        cell = self._cells[self._rest(reference, attribute)]
        own = self._rows[reference][attribute]
        return [Change(reference, attribute, value, targets) for value, targets in cell.items() if value != own]

    def draw(self, asked: Sequence[str], count: int, *, seed: int) -> list[Change]:
        """Draw changes at random, each once: the attributes asked for in turn, references alike, then values.

        The first of many drawn are the many of a smaller count; where there are fewer than count, all are drawn.

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
        """Return what must stay the same when one attribute changes."""
        kept = (self._rows[row][name] for name in self._attributes if name != attribute)
        return (attribute, *kept)
