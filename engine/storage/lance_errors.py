"""Errors of Lance, as one clear line each."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lance

from quiver.engine.core.sql import Sql
from quiver.engine.storage.write_lock import local_path
from quiver.errors import BadCollection, BadSpec, NoCollection, is_panic

#: Messages of Lance, in a search with a condition, that only a lost or damaged file causes.
_DAMAGE = re.compile(
    r"LanceError\(IO\)|not found: |panicked|corrupt|footer|failed to fill|invalid range|overflow|magic|protobuf|decode"
    r"|invalid seek|too small|unexpected end|checksum|Encountered|Generic \w+ error|External error: Wrapped",
    re.IGNORECASE,
)
#: Number of manifests tried to find the newest readable version.
_TRIES = 20


#: Start of Lance's message that a value of a condition cannot be computed, such as a sum with too many digits.
_COMPUTED = re.compile(r"Error applying filter expression to batch: Arrow error: ([^\n]*)")


@contextmanager
def reading(where: Sql | None, *, place: str) -> Iterator[None]:
    """Turn Lance's error about a condition or a damaged file into one clear line.

    Args:
        where: the condition.
        place: the dataset.

    Raises:
        BadSpec: a value of the condition cannot be computed.
        BadCollection: a file is damaged, or Lance panicked.
    """
    try:
        yield
    except BaseException as error:
        if not is_lance(error):
            raise
        computed = _COMPUTED.search(str(error)) if where is not None else None
        if computed is not None:
            raise BadSpec(f"the condition cannot be computed: {first_line(ValueError(computed[1]))}") from error
        if where is None or is_panic(error) or _DAMAGE.search(str(error)):
            raise damaged(place, error) from error
        raise BadSpec(f"Lance cannot filter by {where[:200]}: {first_line(error)}") from error


def is_lance(error: BaseException) -> bool:
    """Whether an error can come from Lance or Arrow, including panics."""
    return isinstance(error, OSError | ValueError | RuntimeError) or is_panic(error)


def damaged(place: str, error: BaseException) -> BadCollection:
    """Return the error for an unreadable file of a dataset, with a remedy."""
    advice = "it is an index: the next add or update_meta makes it anew" if "_indices" in str(error) else remedy(place)
    return BadCollection(f"{place} cannot be read: {first_line(error)}; {advice}")


def remedy(place: str) -> str:
    """Return the remedy for a damaged file of a dataset."""
    collection = place.rsplit("/", 1)[0]
    return f"put its files back from a backup, or open an older version: quiver.open({collection!r}).checkout(VERSION)"


def unreadable(place: str, version: int | None, error: BaseException) -> BadCollection:
    """Return the error for a dataset that cannot be opened: it or the version is missing, or it is damaged."""
    folder, collection = local_path(place), place.rsplit("/", 1)[0]
    kept = [] if folder is None else _versions(Path(folder))
    if version is not None and version not in kept and not (folder is None and _DAMAGE.search(str(error))):
        return BadCollection(f"there is no version {version} of {collection}: `quiver versions` lists them")
    if folder is None:
        gone = isinstance(error, ValueError) and "not found" in str(error).lower()
        return NoCollection(f"there is no dataset at {place}") if gone else damaged(place, error)
    if not kept and not any(Path(folder).glob("data/*")):
        return NoCollection(f"there is no dataset at {place}")
    if version is not None or not kept:
        return damaged(place, error)
    good = next((each for each in kept[1 : _TRIES + 1] if _opens(place, each)), None)
    advice = (
        remedy(place) if good is None else f"version {good} can be read: quiver.open({collection!r}).checkout({good})"
    )
    return BadCollection(
        f"{collection} is damaged: the manifest of version {kept[0]}, its newest, cannot be read"
        f" ({folder}/_versions: {first_line(error)}); {advice}"
    )


def _versions(folder: Path) -> list[int]:
    """Return the versions of a dataset that have a manifest, newest first."""
    found = []
    for path in folder.glob("_versions/*.manifest"):
        with suppress(ValueError):
            number = int(path.stem)
            found.append((1 << 64) - 1 - number if len(path.stem) == 20 else number)
    return sorted(found, reverse=True)


def _opens(place: str, version: int) -> bool:
    try:
        return bool(lance.dataset(place, version=version).count_rows() >= 0)
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            return False
        raise


def first_line(error: BaseException) -> str:
    """Return the message of a Lance error, without the position in Lance's source."""
    return re.split(r", \S+\.rs:\d+", str(error), maxsplit=1)[0].split("\n", 1)[0].rstrip(".")


def lost_race(error: BaseException) -> bool:
    """Whether a commit failed because another writer came first."""
    text = str(error).lower()
    return "conflict" in text or "already exists" in text or "concurrent" in text
