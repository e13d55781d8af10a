"""The collections that are served, by name."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from threading import Lock

from quiver.conditions import Condition
from quiver.engine.collection import Collection
from quiver.engine.collection import open as open_collection
from quiver.engine.server.keys import Key
from quiver.engine.server.problems import Problem
from quiver.errors import BadCollection, BadSpec
from quiver.types import Item

#: Versions of a collection that are held open for requests that name them.
_PINNED = 4
_NAME = re.compile(r"[\w.@ -]{1,100}")


class Served:
    """A collection that is served.

    Attributes:
        name: its name in addresses.
        collection: the collection at its newest version.
    """

    def __init__(self, name: str, collection: Collection) -> None:
        self.name, self.collection = name, collection
        #: A look at an object store is a request over the network, which no search should wait for.
        collection.looks = "://" not in collection.uri
        self._pins: OrderedDict[int, Collection] = OrderedDict()
        self._lock = Lock()

    def at(self, version: int | None) -> Collection:
        """Return the collection at a version; None for the newest.

        Raises:
            Problem: that version is gone, or does not exist yet.
        """
        if version is None:
            return self.collection
        with self._lock:
            if version in self._pins:
                self._pins.move_to_end(version)
                return self._pins[version]
        try:
            past = self.collection.checkout(version)
        except BadCollection:
            newest = self.look()
            if version < 1:
                raise Problem(404, f"there is no version {version} of {self.name}: the first is 1") from None
            if version > newest:
                raise Problem(
                    404, f"there is no version {version} of {self.name} yet: its newest is {newest}"
                ) from None
            raise Problem(410, f"version {version} of {self.name} was pruned: its newest is {newest}") from None
        with self._lock:
            self._pins[version] = past
            while len(self._pins) > _PINNED:
                self._pins.popitem(last=False)
        return past

    @property
    def version(self) -> int:
        """The newest version that was seen."""
        return self.collection.version

    def look(self) -> int:
        """Look for changes that other processes, or a write of this one, have made; returns the newest version."""
        self.collection.refresh()
        return self.version

    def wrote(self) -> None:
        """See a write of this process at once, where searches do not look by themselves."""
        if not self.collection.looks:
            self.look()

    def item(self, id: str, key: Key, *, version: int | None = None) -> Item:
        """Return an item that exists for a key.

        Raises:
            Problem: there is none.
        """
        found = self.visible([id], key, version=version)
        if not found:
            raise Problem(404, f"{self.name} has no item {id[:200]!r}; a slash within an id is written %2F in a path")
        return found[0]

    def visible(self, ids: Sequence[str], key: Key, *, version: int | None = None) -> list[Item]:
        """Return those of some items that exist for a key, in the order of the ids."""
        at = self.at(version)
        if key.condition is None:
            return at.get(ids)
        return at.get(at.stored(ids, where=key.condition))

    def types(self, version: int | None = None) -> dict[str, str]:
        """Return the Arrow types of the metadata columns."""
        return self.at(version).types

    def columns(self, condition: Condition) -> set[str]:
        """Return the columns that a condition names."""
        return self.collection.named(condition)

    def check_examples(self, ids: Iterable[str], key: Key, *, version: int | None = None) -> None:
        """Refuse examples that do not exist for a key, in the words for ids that are not stored.

        Raises:
            BadSpec: there is one.
        """
        named = list(dict.fromkeys(ids))
        if key.condition is None or not named:
            return
        present = set(self.at(version).stored(named, where=key.condition))
        if absent := [id for id in named if id not in present]:
            raise BadSpec(f"no item has the id {absent[0]!r}")


class Catalogue:
    """All collections that are served.

    Args:
        places: folders or URIs; each is served under its last part.
        trust: see ``quiver.open``.

    Raises:
        BadSpec: two have the same name, or a name cannot be part of an address.
        BadCollection: one is missing or damaged.
    """

    def __init__(self, places: Sequence[str], *, trust: bool = False) -> None:
        self._served: dict[str, Served] = {}
        for place in places:
            name, _, rest = place.partition("=")
            name, uri = (name, rest) if rest and "/" not in name else (PurePath(place.rstrip("/")).name, place)
            if not _NAME.fullmatch(name):
                raise BadSpec(f"{place} needs a name of letters and digits: give NAME={uri}")
            if name in self._served:
                raise BadSpec(f"two collections are called {name}: give one another name, as in other={uri}")
            collection = open_collection(uri, trust=trust)
            collection.count()  # it opens, or says why not
            self._served[name] = Served(name, collection)

    def names(self, key: Key) -> list[str]:
        """Return the collections that exist for a key."""
        return [name for name in self._served if key.reaches(name)]

    def all(self) -> Iterable[Served]:
        """Return every collection."""
        return self._served.values()

    def get(self, name: str, key: Key) -> Served:
        """Return a collection by name.

        Raises:
            Problem: there is none, or it does not exist for this key.
        """
        found = self._served.get(name)
        if found is None or not key.reaches(name):
            names = ", ".join(self.names(key)) or "none"
            raise Problem(404, f"no collection {name[:100]!r} is served here; there are: {names}", kind="no-collection")
        return found

    def close(self) -> None:
        """Close the collections."""
        for each in self._served.values():
            each.collection.close()
