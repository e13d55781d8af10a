"""Watch the vectors of an add: see ``vector_health``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quiver.engine.core.column import Column
from quiver.engine.core.encoder import Loaded
from quiver.engine.core.sql import present
from quiver.engine.ingest.decode import Decoded, Job
from quiver.engine.ingest.known import items_of
from quiver.engine.ingest.vector_health import AGAIN, Health, cosines
from quiver.engine.storage.table_reader import TableReader
from quiver.trust import Reach
from quiver.types import MEDIA, Floats, Item, Space

#: What was embedded again in this process: by collection, column and encoder. Once is enough.
_DONE: set[tuple[str, str, int]] = set()


class Again:
    """Stored items of a column that are embedded again, to compare their vectors.

    Args:
        column: the column.
        slot: the place of its key among the media that are decoded.
        found: some of its rows: id, media, sha256 and the vector.
        reach: the files that may be read; None for all.
    """

    def __init__(self, column: Column, slot: int, found: Any, reach: Reach | None) -> None:
        self.column = column
        hashes, rows = found["sha256"].to_pylist(), items_of(found)
        vectors = found[column.name].combine_chunks().flatten().to_numpy().reshape(len(found), column.space.dim)
        kept = [n for n, item in enumerate(rows) if hashes[n] is not None and _readable(item, reach)]
        self.jobs = [Job(rows[n].id, rows[n].media, hashes[n], (slot,)) for n in kept]
        self._slot, self._stored, self._hashes = slot, vectors[kept], [hashes[n] for n in kept]

    def compare(self, decoded: Sequence[Decoded], loaded: Loaded) -> dict[str, float]:
        """Return the cosine of stored and new vector by id, of the items whose content is still the same."""
        same = [
            n
            for n, each in enumerate(decoded)
            if each.sha256 == self._hashes[n] and each.reason is None and self._slot in each.media
        ]
        if not same:
            return {}
        media = [decoded[n].media[self._slot] for n in same]
        new: Floats = np.asarray(loaded.encoder.embed(self.column.key, media, self.column.space), np.float32)
        return dict(zip((decoded[n].id for n in same), cosines(self._stored[same], new), strict=True))


def _readable(item: Item, reach: Reach | None) -> bool:
    return reach is None or all(name == "text" or reach.refuses(uri) is None for name, uri in item.media.items())


class Watch:
    """The health of every column that an add fills.

    Args:
        table: the collection, before the add.
        fills: encoders and keys, by slot.
        reach: the files that may be read; None for all.
    """

    def __init__(self, table: TableReader, fills: Sequence[tuple[Loaded, str]], reach: Reach | None) -> None:
        self._health: dict[str, Health] = {}
        self._hidden = {space for loaded, _ in fills for space in getattr(loaded.encoder, "features", ())}
        self._again: list[tuple[Again, Loaded]] = []
        for slot, (loaded, key) in enumerate(fills):
            for space in loaded.encoder.spaces(key):
                column = Column(key, space, loaded.spec)
                done = (table.uri, column.name, id(loaded.encoder))
                if column.name in table.schema.names and done not in _DONE:
                    names = ["id", *MEDIA, "sha256", column.name]
                    found = table.table(names, present(column.name), limit=AGAIN)
                    self._again.append((Again(column, slot, found, reach), loaded))

    def see(self, name: str, key: str, space: Space, batch: tuple[Floats, Mapping[int, str], Sequence[Any]]) -> None:
        """Take note of the vectors of a batch.

        Args:
            name: of the column.
            key: of the items.
            space: of the vectors.
            batch: (n, dim) float32, the positions that have no vector, and what the vectors were made of.
        """
        data, bad, inputs = batch
        if space in self._hidden:
            self._health.setdefault(name, Health(f"{key} in {space.name}"))
            return
        if bad:
            kept = [n for n in range(len(data)) if n not in bad]
            data, inputs = data[kept], [inputs[n] for n in kept]
        self._health.setdefault(name, Health(f"{key} in {space.name}")).see(data, inputs)

    def embed_again(self, workers: Any, table: TableReader) -> None:
        """Embed some stored items of the columns that were filled, and compare: once in a process."""
        for again, loaded in self._again:
            health = self._health.get(again.column.name)
            if health is None or not again.jobs:
                continue
            for decoded in workers.map([again.jobs]):
                health.again = again.compare(decoded, loaded)
            _DONE.add((table.uri, again.column.name, id(loaded.encoder)))

    def notes(self) -> list[str]:
        """Return lines for the user."""
        return problems(self._health.values())


def problems(found: Iterable[Health]) -> list[str]:
    """Return the lines of several columns."""
    return [line for health in found for line in health.problems()]
