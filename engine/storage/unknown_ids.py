"""Ids that are not stored: one error for all operations that name items."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from quiver.engine.core.sql import Sql, text
from quiver.errors import BadSpec
from quiver.wording import nearest

if TYPE_CHECKING:
    from quiver.engine.storage.table_reader import TableReader

#: Unknown ids that are named, and most stored ids that are compared with a misspelt one.
_NAMED, _COMPARED = 3, 20_000


def check_stored(table: "TableReader", named: Iterable[str], stored: Collection[str]) -> None:
    """Check that all named ids are stored.

    Args:
        table: the collection.
        named: ids that a user gave.
        stored: those of them that are stored.

    Raises:
        BadSpec: some are not; the message names them, and the stored id nearest to the first.
    """
    absent = [id for id in dict.fromkeys(named) if id not in stored]
    if not absent:
        return
    some = ", ".join(map(repr, absent[:_NAMED]))
    more = f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else ""
    kind = "id" if len(absent) == 1 else "ids"
    near = _near(table, absent[0])
    hint = f"; did you mean {near!r}?" if near else ""
    raise BadSpec(f"no item has the {kind} {some}{more}{hint}")


def _near(table: "TableReader", id: str) -> str | None:
    """Return a stored id that ends or begins like an unknown one, such as ``photos/a.jpg`` for ``a.jpg``."""
    name = id.strip("/").rsplit("/", 1)[-1]
    for part in dict.fromkeys((f"/{name}", name)):
        found = part.strip("/") and table.first_ids(Sql(f"ends_with(`id`, {text(part)})"), limit=1)
        if found:
            return str(found[0])
    return nearest(id, table.first_ids(None, limit=_COMPARED))
