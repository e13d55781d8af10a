"""Thumbnails that were drawn."""

from collections import OrderedDict

#: Bytes of thumbnails that are kept.
_KEPT = 64 << 20


class Thumbnails:
    """Thumbnails that were drawn, the last ones used, up to a number of bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, name: tuple[str, str, int]) -> bytes | None:
        """Return a thumbnail; None if it has to be drawn."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def put(self, name: tuple[str, str, int], drawn: bytes) -> None:
        """Keep a thumbnail."""
        if name not in self._kept:
            self._kept[name] = drawn
            self._bytes += len(drawn)
        while self._bytes > _KEPT:
            self._bytes -= len(self._kept.popitem(last=False)[1])
