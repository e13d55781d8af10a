"""What Lance says when something goes wrong, in one line each."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from quiver.errors import BadSpec


@contextmanager
def reading(where: str | None, *, names: Sequence[str]) -> Iterator[None]:
    """Turn Lance's complaints about a user's condition into one clear line, with the names it may use."""
    try:
        yield
    except (ValueError, OSError) as error:
        if where is None:
            raise
        text = first_line(error).removeprefix("Invalid user input: ").removeprefix("Schema error: ")
        text, unknown, _ = text.partition(". Valid fields are")
        hint = f"; there are {', '.join(names)}" if unknown else ""
        raise BadSpec(f"cannot filter by {where!r}: {text}{hint}") from error


def first_line(error: BaseException) -> str:
    """Return what a Lance error says, without the place in Lance's source."""
    return re.split(r", \S+\.rs:\d+", str(error), maxsplit=1)[0].split("\n", 1)[0].rstrip(".")


def lost_race(error: Exception) -> bool:
    """Tell whether a commit failed because another writer came first."""
    text = str(error).lower()
    return "conflict" in text or "already exists" in text or "concurrent" in text
